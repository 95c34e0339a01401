"""The first stage's indexes, built once for all runs of an encoder and read by every process that answers."""

from __future__ import annotations

from pathlib import Path

from engine.datasets.contract import Catalogue
from engine.problem.vectors import Vectors, encoder_key
from engine.progress import Progress
from engine.relevance.lexical import LexicalIndex
from engine.relevance.retrieval import FirstStage
from engine.relevance.vectors import VectorIndex
from engine.runs import Run, load_arrays, save_arrays

_LISTS = "vectors.faiss"


def index(run: Run, catalogue: Catalogue, vectors: Vectors) -> FirstStage:
    """Index titles and vectors."""

    def body(folder: Path, progress: Progress) -> None:
        save_arrays(folder / "words.safetensors", **LexicalIndex(catalogue.items["title"].tolist()).arrays())
        VectorIndex(vectors.items).save(folder / _LISTS)

    folder = run.shared("index", "Indexing titles and vectors", encoder_key(run), body, after=("vectors",))
    return _read(folder, vectors, run.config.retrieval.top)


def load_index(run: Run, vectors: Vectors) -> FirstStage:
    """That of a finished run. Raises RunError where the cache was deleted."""
    return _read(run.shared_folder("index"), vectors, run.config.retrieval.top)


def _read(folder: Path, vectors: Vectors, top: int) -> FirstStage:
    lexical = LexicalIndex.from_arrays(load_arrays(folder / "words.safetensors"))
    return FirstStage(VectorIndex(vectors.items, saved=folder / _LISTS), lexical, top=top)
