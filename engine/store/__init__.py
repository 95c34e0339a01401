"""Snapshots: the schema, building, opening."""
