"""Where was it lost? One verdict for a target item that a query does not show on page one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.prefixes import sid_texts
from engine.audit.traffic import PAGE

NOT_RETRIEVED, LOST_IN_BEAM, OUTRANKED, FOUND = "not retrieved", "lost in the beam", "outranked", "found"


class Lost(NamedTuple):
    """What became of the target."""

    verdict: str  # 'not retrieved' | 'lost in the beam' | 'outranked' | 'found'.
    level: int | None  # The level (1-based) at which the beam lost it.
    feature: str | None  # The feature that outranks it: the largest shortfall against page one.
    rank: int | None
    """In the beam at that level where it was lost there (None: below the stored branches), else in the ranking."""
    margin: float | None
    """By how much it fell short there (negative), or led (positive). Beam: log-probability against the last kept
    branch. Ranking: score against the last item of page one; where found, against the first item past it."""
    gaps: pd.DataFrame
    """feature, gap: the target's contribution minus the mean of page one; empty unless outranked."""


def _missing(*, verdict: str, level: int | None = None, rank: int | None = None, margin: float | None = None) -> Lost:
    return Lost(verdict, level, None, rank, margin, pd.DataFrame({"feature": [], "gap": []}))


def lost_target(
    item_id: str,
    codes: np.ndarray | None,
    ranking: pd.DataFrame,
    beam_nodes: pd.DataFrame | None,
    contributions: pd.DataFrame,
    *,
    k: int = PAGE,
) -> Lost:
    """The verdict for one item and one query.

    Args:
        item_id: the target.
        codes: (L,) its SID; None for a run without SIDs.
        ranking: the query's rows of `scores`: item_id, score, rank (unknown: not retrieved).
        beam_nodes: the query's rows of `beam_nodes`: level, prefix, log_prob, rank, kept. None without SIDs.
        contributions: item_id, feature, value of the target and of the items of page one (measured from the same
            reference point, so that the gaps sum to the target's score minus the mean score of those items).
        k: page one ends at this rank.

    The questions are asked in this order: is it on page one (found)? was it retrieved at all? did the beam keep every
    prefix of its SID? else it was matched and outranked, and the feature named is the one with the most negative gap.
    """
    retrieved = ranking[ranking["rank"].notna()]
    own = retrieved[retrieved["item_id"] == item_id]
    if not len(own):
        return _missing(verdict=NOT_RETRIEVED)
    rank, score = int(own["rank"].iloc[0]), float(own["score"].iloc[0])
    if rank <= k:
        after = retrieved.loc[retrieved["rank"] == k + 1, "score"]
        return _missing(verdict=FOUND, rank=rank, margin=score - float(after.iloc[0]) if len(after) else None)
    if codes is not None and beam_nodes is not None and len(beam_nodes):
        lost = _lost_level(np.asarray(codes, dtype=np.int64), beam_nodes)
        if lost is not None:
            return lost
    last = retrieved.loc[retrieved["rank"] == k, "score"]
    margin = score - float(last.iloc[0]) if len(last) else None
    gaps = _gaps(item_id, set(retrieved.loc[retrieved["rank"] <= k, "item_id"]), contributions)
    feature = str(gaps["feature"].iloc[0]) if len(gaps) and gaps["gap"].iloc[0] < 0 else None
    return Lost(OUTRANKED, None, feature, rank, margin, gaps)


def _lost_level(codes: np.ndarray, beam_nodes: pd.DataFrame) -> Lost | None:
    """The first level at which no kept branch is the target's prefix."""
    for level in range(1, len(codes) + 1):
        nodes = beam_nodes[beam_nodes["level"] == level]
        kept = nodes[nodes["kept"].astype(bool)]
        own = nodes[nodes["prefix"] == sid_texts(codes[None, :level])[0]]
        if len(own) and bool(own["kept"].iloc[0]):
            continue
        rank = int(own["rank"].iloc[0]) if len(own) else None
        margin = float(own["log_prob"].iloc[0] - kept["log_prob"].min()) if len(own) and len(kept) else None
        return _missing(verdict=LOST_IN_BEAM, level=level, rank=rank, margin=margin)
    return None


def _gaps(item_id: str, page: set[str], contributions: pd.DataFrame) -> pd.DataFrame:
    """The target's contributions minus the means over the explained items of page one, most negative first."""
    own = contributions[contributions["item_id"] == item_id].groupby("feature")["value"].sum()
    others = contributions[contributions["item_id"].isin(page)].groupby("feature")["value"].mean()
    gap = (own - others).dropna().rename("gap").rename_axis("feature").reset_index()
    return gap.sort_values(["gap", "feature"], ignore_index=True)


def needed_width(search: Callable[[int], bool], cap: int = 256) -> int | None:
    """The beam width that keeps the target, found by doubling and bisection on real searches.

    Args:
        search: whether a beam search of that width keeps the target; called at most 2 log2(cap) + 1 times.
        cap: largest width tried.

    Returns:
        A width that keeps it while the next narrower one tried does not (a wider beam may in rare cases lose what a
        narrower one keeps; the width returned was always seen to keep it). None if even `cap` loses it.
    """
    lost, width = 0, 1
    while not search(width):
        if width >= cap:
            return None
        lost, width = width, min(2 * width, cap)
    while width - lost > 1:
        middle = (lost + width) // 2
        if search(middle):
            width = middle
        else:
            lost = middle
    return width
