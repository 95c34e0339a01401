"""The history of a training, row by row: losses, and how much of each codebook is used."""

from __future__ import annotations

import numpy as np
import pandas as pd

Row = tuple[int, str, float]
"""step, name, value."""


def use_of_codes(step: int, level: int, count: np.ndarray) -> list[Row]:
    """usage_<l> (share of codes used) and perplexity_<l> (2**entropy) of `count` (K,) members of each code."""
    share = count[count > 0] / count.sum()
    perplexity = float(np.exp(-(share * np.log(share)).sum()))
    return [
        (step, f"usage_{level + 1}", float((count > 0).mean())),
        (step, f"perplexity_{level + 1}", perplexity),
    ]


def use_of_levels(step: int, codes: np.ndarray, sizes: tuple[int, ...]) -> list[Row]:
    """The same for every level of the SIDs `codes` (N, L)."""
    return [
        row
        for level, size in enumerate(sizes)
        for row in use_of_codes(step, level, np.bincount(codes[:, level], minlength=size))
    ]


def table(rows: list[Row]) -> pd.DataFrame:
    """step, name, value."""
    return pd.DataFrame(rows, columns=["step", "name", "value"])
