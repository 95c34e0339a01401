"""Whether two seeds of one method divide the items alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from engine.runs import Run


def stability(runs: Sequence[Run]) -> tuple[list[list[float]], int]:
    """By level, the adjusted Rand index (Hubert and Arabie 1985) of the prefixes of every two runs of one method; and how
    many items it rests on.

    1: every two items share a prefix in both runs or in neither, whatever the codes are called; 0: as by chance.
    """
    sids = [_codes(run) for run in runs]
    common = sids[0].index
    for codes in sids[1:]:
        common = common.intersection(codes.index)
    prefixes = [_prefixes(np.stack(codes.loc[common].to_list())) for codes in sids if len(common)]
    by_level = [
        [float(adjusted_rand_score(a, b)) for a, b in itertools.combinations(level, 2)]
        for level in zip(*prefixes, strict=True)
    ]
    return by_level, len(common)


def _codes(run: Run) -> pd.Series:
    """The codes of every item that has a SID, by item."""
    return pd.read_parquet(run.folder / "tables" / "sids.parquet", columns=["item_id", "codes"]).set_index("item_id")[
        "codes"
    ]


def _prefixes(codes: np.ndarray) -> list[np.ndarray]:
    """By level, the number (N,) of each item's prefix, of SIDs (N, L)."""
    return [np.unique(codes[:, : level + 1], axis=0, return_inverse=True)[1].ravel() for level in range(codes.shape[1])]
