"""The item vectors that SIDs see: of the title, or of the title and the item's key terms (`quantizer.text`).

Title stacks and the dense twins of the signals read the same ones, so that a lift is not the vectors'. Retrieval, the dense
features and the generator's lessons keep the title's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from engine.errors import DataError
from engine.problem.texts import item_texts
from engine.problem.vectors import Vectors, encode_texts, encoder_key
from engine.progress import Progress, silent
from engine.runs import Run, load_arrays, save_arrays, write_text

KEY_TERMS = 5
"""Terms an item, at most."""
LEAST_ITEMS = 2
"""Items that hold a term: what one alone holds tells nothing of another."""
MOST_TERMS = 50_000
"""Terms of a catalogue, the most frequent ones: an encoder's time is bounded."""
_READ = ("title", "attributes", "description")
_TOKEN = r"(?u)\b[^\W\d_][\w-]+\b"
"""Two characters at least, the first a letter: sizes and article numbers are no key terms."""


class Terms(NamedTuple):
    """The terms of a catalogue."""

    words: list[str]  # In sorted order.
    idf: np.ndarray  # (V,) float64 log((1 + N) / (1 + items that hold it)) + 1, as scikit-learn has it.


def item_views(run: Run, items: pd.DataFrame, vectors: Vectors) -> np.ndarray:
    """(N, D) float32 unit vectors that SIDs see of the catalogue's items.

    Raises DataError where the titles' vectors came with the data and the run's encoder makes others.
    """
    if run.config.quantizer.text == "title":
        return vectors.items

    def body(folder: Path, progress: Progress) -> None:
        terms = learn_terms(items)
        write_text(folder / "terms.json", json.dumps({"words": terms.words, "idf": terms.idf.tolist()}))
        save_arrays(folder / "views.safetensors", views=with_terms(run, items, vectors.items, terms, progress))

    folder = run.shared("keywords", "Encoding key terms", encoder_key(run), body, after=("vectors",))
    return load_arrays(folder / "views.safetensors")["views"]


def load_views(run: Run, vectors: Vectors) -> np.ndarray:
    """Those of a finished run. Raises RunError where the cache was deleted."""
    if run.config.quantizer.text == "title":
        return vectors.items
    return load_arrays(run.shared_folder("keywords") / "views.safetensors")["views"]


def new_views(run: Run, items: pd.DataFrame, title_x: np.ndarray, progress: Progress = silent) -> np.ndarray:
    """(M, D) the same of items that came later, by the terms of the run's catalogue."""
    if run.config.quantizer.text == "title":
        return title_x
    kept = json.loads((run.shared_folder("keywords") / "terms.json").read_text(encoding="utf-8"))
    return with_terms(run, items, title_x, Terms(kept["words"], np.array(kept["idf"])), progress)


def learn_terms(items: pd.DataFrame) -> Terms:
    """The terms of titles, attribute values and descriptions."""
    texts = item_texts(items, *_READ)
    try:
        counter = CountVectorizer(token_pattern=_TOKEN, min_df=min(LEAST_ITEMS, len(texts)), binary=True)
        held = np.asarray(counter.fit_transform(texts).sum(axis=0)).ravel()
    except ValueError:  # not one term
        return Terms([], np.zeros(0))
    words = counter.get_feature_names_out()
    kept = np.sort(np.lexsort((np.arange(len(words)), -held))[:MOST_TERMS])
    return Terms(words[kept].tolist(), np.log((1 + len(texts)) / (1 + held[kept])) + 1)


def key_terms(items: pd.DataFrame, terms: Terms) -> sparse.csr_matrix:
    """(N, V) float32: 1 / (number of the item's key terms) at each of them.

    Key terms have the greatest count x IDF; of equal ones the first in the alphabet. An item without terms has an empty row.
    """
    if not terms.words:
        return sparse.csr_matrix((len(items), 0), dtype=np.float32)
    counter = CountVectorizer(token_pattern=_TOKEN, vocabulary=terms.words)
    count = counter.transform(item_texts(items, *_READ)).tocsr()
    row = np.repeat(np.arange(len(items)), np.diff(count.indptr))
    order = np.lexsort((count.indices, -count.data * terms.idf[count.indices], row))
    rank = np.arange(len(order)) - count.indptr[row[order]]
    kept = order[rank < KEY_TERMS]
    number = np.minimum(np.diff(count.indptr), KEY_TERMS)
    share = (1 / number[row[kept]]).astype(np.float32)
    return sparse.csr_matrix((share, (row[kept], count.indices[kept])), shape=count.shape)


def with_terms(
    run: Run, items: pd.DataFrame, title_x: np.ndarray, terms: Terms, progress: Progress = silent
) -> np.ndarray:
    """(N, D) float32: half the title's vector, half the mean of its key terms', each distinct term encoded once, to unit
    length; an item without key terms keeps its title's."""
    share = key_terms(items, terms)
    used = np.unique(share.indices)
    if not len(used):
        return title_x
    x = encode_texts(run, [terms.words[term] for term in used], progress)
    if x.shape[1] != title_x.shape[1]:
        raise DataError(
            f"quantizer.text=keywords encodes key terms with '{run.config.encoder.model}' ({x.shape[1]} numbers), but the "
            f"items' text_embedding has {title_x.shape[1]}; name the encoder that made those (encoder.model), or use titles "
            "alone (quantizer.text=title)."
        )
    mean = np.asarray(share[:, used] @ x)
    mixed = np.where((np.diff(share.indptr) > 0)[:, None], 0.5 * title_x + 0.5 * mean, title_x)
    return (mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)).astype(np.float32)
