"""Tokenizers: an item embedding to a hierarchical code, behind one protocol."""
