"""A trained generator of either size, and what it is prompted with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.config import GeneratorConfig
from engine.generator.beam import Decoder, Prompted
from engine.generator.model import load_generator
from engine.generator.trie import SidTrie


class Generator(NamedTuple):
    """A trained decoder and the SIDs that it may spell."""

    config: GeneratorConfig
    model: Decoder
    trie: SidTrie

    def read(self, query_x: np.ndarray, texts: Sequence[str]) -> Prompted:
        """Queries (Q) read once, for any number of searches."""
        return Prompted.read(self.model, prompts(self.config, query_x, texts))


def prompts(config: GeneratorConfig, query_x: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """What a generator is prompted with, a row a query: embeddings (Q, D), or the texts (Q,) for a language model."""
    return query_x if config.kind == "compact" else np.array(texts, dtype=object)


def load_decoder(config: GeneratorConfig, folder: Path, trie: SidTrie) -> Decoder:
    """The trained generator in `folder`. Raises ModelError where it does not belong to `trie`."""
    if config.kind == "compact":
        return load_generator(folder, trie)
    from engine.generator.full import load_full_generator  # transformers takes seconds to import

    return load_full_generator(folder, trie)
