"""The first stage's indexes, built once for all runs of an encoder and read by every process that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from engine.datasets.contract import Catalogue
from engine.problem.texts import item_texts
from engine.problem.vectors import Vectors, encoder_key
from engine.progress import Progress
from engine.relevance.lexical import LexicalIndex
from engine.relevance.retrieval import FirstStage
from engine.relevance.vectors import VectorIndex
from engine.relevance.words import detect
from engine.runs import Run, load_arrays, save_arrays, write_text

_LISTS = "vectors.faiss"
_RECALLED = 100
"""Queries, evenly spread, by which the inverted lists are compared with every vector."""


def index(run: Run, catalogue: Catalogue, vectors: Vectors) -> FirstStage:
    """Index titles and vectors."""

    def body(folder: Path, progress: Progress) -> None:
        save_arrays(folder / "words.safetensors", **lexical_index(catalogue).arrays())
        made = VectorIndex(vectors.items)
        made.save(folder / _LISTS)
        asked = vectors.queries[:: max(len(vectors.queries) // _RECALLED, 1)][:_RECALLED]
        top = run.config.retrieval.top
        recall = made.recall(asked, top) if len(asked) else None
        about = {"settings": made.settings, "recall": recall, "n": len(asked), "top": top}
        write_text(folder / "about.json", json.dumps(about))

    key = (*encoder_key(run), run.config.retrieval.top)
    folder = run.shared("index", "Indexing titles and vectors", key, body, after=("vectors",))
    return _read(folder, vectors, run.config.retrieval.top)


def lexical_index(catalogue: Catalogue) -> LexicalIndex:
    """Titles and what is written beside them, indexed."""
    return LexicalIndex(catalogue.items["title"].tolist(), language_of(catalogue), beside(catalogue.items))


def language_of(catalogue: Catalogue) -> str | None:
    """ISO 639-1 code of the language whose stems stand for words: as stated, or detected; None: words as written."""
    stated = catalogue.settings.language
    if stated is None:
        return detect(catalogue.items["title"].tolist())
    return None if stated == "none" else stated


def beside(items: pd.DataFrame) -> list[str] | None:
    """Brand, category, attribute values and description of each item as one text; None where no item has any."""
    columns = ("brand", "category", "attributes", "description")
    return None if items[list(columns)].isna().all(axis=None) else item_texts(items, *columns)


def load_index(run: Run, vectors: Vectors) -> FirstStage:
    """That of a finished run. Raises RunError where the cache was deleted."""
    return _read(run.shared_folder("index"), vectors, run.config.retrieval.top)


def recall_note(run: Run) -> str | None:
    """What a reader should know of a first stage that does not compare with every item; None where it does."""
    about = json.loads((run.shared_folder("index") / "about.json").read_text(encoding="utf-8"))
    if about["settings"] == "exact" or about["recall"] is None:
        return None
    return (
        f"The first stage searches vectors by inverted lists ({about['settings']}): {about['recall']:.1%} of the true "
        f"{about['top']} nearest are found ({about['n']} queries)."
    )


def _read(folder: Path, vectors: Vectors, top: int) -> FirstStage:
    lexical = LexicalIndex.from_arrays(load_arrays(folder / "words.safetensors"))
    return FirstStage(VectorIndex(vectors.items, saved=folder / _LISTS), lexical, top=top)
