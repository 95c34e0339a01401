"""How new items lie under a codebook that was trained without them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FAR = 0.95
"""Of the distances of the items that the codebook was trained on: beyond this quantile an item lies far."""
FAR_SHARE = 0.15
"""With more of the new items far, the codebook does not fit them; 1 - FAR is what items of the old kind give."""


class Load(NamedTuple):
    """How items share SIDs."""

    items_per_sid: float
    shared: float  # Share of items whose SID another one holds.
    largest_bucket: int

    @staticmethod
    def of(held: np.ndarray) -> Load:
        """Of SIDs (S,) that hold so many items each, 0 allowed for some."""
        held = held[held > 0]
        return Load(float(held.mean()), float(held[held > 1].sum() / held.sum()), int(held.max()))


class Distance(NamedTuple):
    """How far new items lie from their SID, beside those that the codebook was trained on."""

    median_distance: float
    median_distance_base: float
    beyond_p95: float  # Share farther than quantile FAR of the old ones.

    @staticmethod
    def of(new: np.ndarray, old: np.ndarray) -> Distance:
        """Of distances (M,) of the new and (N,) of the old items."""
        return Distance(float(np.median(new)), float(np.median(old)), float((new > np.quantile(old, FAR)).mean()))
