"""Graded judgments by a language model behind any OpenAI-compatible endpoint, and how far they agree with people."""
