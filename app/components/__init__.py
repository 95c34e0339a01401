"""Widgets used by two or more views."""
