"""Frozen text encoders, and the disk cache of what they encoded.

`cache.encode_cached` is what a pipeline stage calls; `loading.load_encoder` gives the model itself, for live queries.
torch is imported when a model is loaded, so that a cache hit stays cheap.
"""
