"""What embeddings rest on besides texts and settings: our arithmetic, and the weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.encoders.minilm import MINILM_SHA256, PACKAGED

ARITHMETIC = 2
"""Raise it when an encoder's arithmetic changes: cache keys and run ids name it beside the fingerprint."""


def model_fingerprint(model: str) -> str | None:
    """Names a model's weights without loading them; None when they are not on this machine yet."""
    if model == PACKAGED:
        return MINILM_SHA256
    folder = Path(model)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            relative = path.relative_to(folder)
            if any(part.startswith(".") for part in relative.parts):
                continue
            digest.update(f"{relative.as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    # A name without an owner is one of sentence-transformers' own, as in that library.
    for name in (model, f"sentence-transformers/{model}"):
        try:
            config = try_to_load_from_cache(name, "config.json")
        except HFValidationError:
            return None
        if isinstance(config, str):
            return f"{name}@{Path(config).parent.name}"  # the folder of a cached revision is named by its commit
    return None
