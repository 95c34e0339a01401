"""What reporting is handed by learning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd


class Learned(NamedTuple):
    """The SIDs of a run as they are served."""

    codes: np.ndarray  # (N, L) int64.
    residual_norms: np.ndarray  # (N, L + 1) float32.
    latent: np.ndarray  # (N, d) float32, the items before quantization.
    sizes: tuple[int, ...]  # Codes a level.
    forced: np.ndarray  # (N,) bool: level 1 came from the item's category.
    category_codes: pd.DataFrame  # category, code_1, code_name, merged; empty where level 1 is k-means.


class Matched(NamedTuple):
    """How deep the judged pairs agree with the beams of their queries."""

    codes: np.ndarray  # (N, L) int64 SIDs of the items.
    asked: np.ndarray  # (q,) int64 positions of the judged queries ...
    beams: np.ndarray  # (q, K, L) ... and their beams.
    level: np.ndarray  # (J,) match level of the judged pairs ...
    level_fit: np.ndarray  # ... and the same under the stack that did not see the pair's query.
    sharing: np.ndarray  # (J, L) items under the item's prefix of every level ...
    sharing_fit: np.ndarray  # ... and the same under that stack.


class Ranked(NamedTuple):
    """The judged pairs (J,) and what every ranker says of them."""

    query: np.ndarray  # int64 position of the query among all.
    grade: np.ndarray
    rank: np.ndarray  # int64 first-stage rank; 0 where not retrieved.
    scores: dict[str, np.ndarray]  # (J,) by ranker.
    matched: Matched | None  # None for a run without SIDs.
