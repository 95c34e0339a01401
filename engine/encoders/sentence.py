"""Any other encoder, by way of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.encoders.fingerprint import model_fingerprint
from engine.encoders.minilm import PACKAGED
from engine.encoders.texts import by_length, encode_distinct
from engine.errors import ModelError
from engine.progress import Progress, silent


class SentenceEncoder:
    """Any sentence-transformers model, by hub name or local folder, in float32."""

    def __init__(self, model: str, *, max_tokens: int, batch: int) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(model, model_kwargs={"dtype": "float32"})
        # A hub name or folder can fail in as many ways as there are files in it; the user's remedy is the same.
        except Exception as error:
            raise ModelError(
                f"encoder '{model}' could not be loaded ({str(error).splitlines()[0] if str(error) else error!r}); "
                f"allowed: '{PACKAGED}', a sentence-transformers name that can be downloaded, or a local model folder"
            ) from error
        self.name = model
        fingerprint = model_fingerprint(model)
        if fingerprint is None:
            raise ModelError(f"encoder '{model}' was loaded, but its files are not in the local model cache")
        self.fingerprint = fingerprint
        own = self._model.max_seq_length
        self._model.max_seq_length = max_tokens if own is None else min(max_tokens, own)
        self._batch = batch
        dim = self._model.get_embedding_dimension()
        if dim is None:
            raise ModelError(f"encoder '{model}' does not state the width of its embeddings")
        self.dim = int(dim)

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """Embeddings (N, D) float32, L2-normalised."""
        return encode_distinct(texts, self.dim, self._encode_all, progress)

    def _encode_all(self, texts: list[str], progress: Progress) -> np.ndarray:
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        done = 0
        # Characters stand in for tokens here: the tokenizer belongs to the model and may not be a fast one.
        for chunk in by_length([len(text) for text in texts], self._batch):
            rows = [texts[position] for position in chunk]
            vectors[chunk] = self._model.encode(
                rows, batch_size=self._batch, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
            )
            done += len(chunk)
            progress(done, len(texts))
        return vectors
