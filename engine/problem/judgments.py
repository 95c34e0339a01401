"""The judged pairs as positions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.datasets.contract import Catalogue


class Judgments(NamedTuple):
    """Judged pairs (J,), sorted by query, then item."""

    query: np.ndarray  # int64 position among the catalogue's queries.
    item: np.ndarray  # int64 position of the item.
    grade: np.ndarray  # float64.


def judged_pairs(catalogue: Catalogue) -> Judgments:
    """Every judged pair of the catalogue."""
    judgments = catalogue.judgments
    query = pd.Index(catalogue.queries["query_id"]).get_indexer(judgments["query_id"]).astype(np.int64)
    item = pd.Index(catalogue.items["item_id"]).get_indexer(judgments["item_id"]).astype(np.int64)
    order = np.lexsort((item, query))
    return Judgments(query[order], item[order], judgments["grade"].to_numpy(dtype=np.float64)[order])
