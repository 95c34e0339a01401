"""Relevance: retrieval, features, prefix matching, ranker, exact attribution."""
