"""A position-based click model: what a search log says of examination, attractiveness and conversion.

P(click) = examination(position) x attractiveness(pair); P(purchase) = P(click) x conversion(pair). Examination is
position^-decay, position 1 being always examined (Richardson et al. 2007; Joachims et al. 2017). The decay is learnt only
from pairs shown at two positions or more: the share of a pair's clicks at each of its positions does not depend on how
attractive the pair is (intervention harvesting, Agarwal et al. 2019). Where the log cannot tell, parameters are stated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

STATED_DECAY = 1.0
STATED_BAND = (0.5, 1.5)
"""Decays between which the truth is taken to lie where the log cannot tell."""
MIN_CLICKS = 200
"""Clicks on pairs shown at two positions or more, below which the decay is stated."""
MAX_STANDARD_ERROR = 0.25
"""Of the decay, above which it is stated."""
MIN_EXAMINED = 100.0
"""Examined impressions below which a rate is not read from the log."""
MAX_DECAY = 3.0
STATED, FITTED = "stated", "fitted"
CLICK_MODEL_COLUMNS = ("parameter", "key", "value", "low", "high", "n", "source")


class SearchLog(NamedTuple):
    """Impressions with a known position, summed over dates; sorted by pair."""

    query: np.ndarray  # (M,) position of the query among those replayed.
    pair: np.ndarray  # (M,) number of the (query, item) pair.
    position: np.ndarray  # (M,) from 1.
    impressions: np.ndarray
    clicks: np.ndarray
    purchases: np.ndarray  # (M,) NaN where the log does not record purchases.
    pairs: pd.DataFrame  # query_id, item_id, query: one row a pair, in the order of its number.


class Examination(NamedTuple):
    """How many look at a position."""

    decay: float
    source: str  # 'fitted' or 'stated'.
    influence: np.ndarray
    """(Q,) what each query adds to the decay: resampling queries `counts` times moves it by (counts - 1) @ influence."""
    n_clicks: int  # Clicks on pairs shown at two positions or more.

    def at(self, position: np.ndarray) -> np.ndarray:
        """Examination of positions from 1; position 1 is 1."""
        return np.asarray(position, dtype=np.float64) ** -self.decay


def lacking(interactions: pd.DataFrame) -> str | None:
    """What the log needs before attractiveness can be told from it, as the end of a sentence; None where it has all."""
    rows = interactions[interactions["source"].ne("synthetic")] if "source" in interactions else interactions
    if rows.empty:
        return "they need a search log; add interactions with the columns query, item_id, impressions, clicks, position"
    why = {
        "impressions": "how often the item was shown there; a click says nothing without the times it was passed over",
        "clicks": "how often it was clicked there, 0 too",
        "position": "from 1; without it a click cannot be told from a good place",
    }
    absent = [name for name in why if rows[name].isna().all()]
    if not absent and rows[list(why)].notna().all(axis=1).any():
        return None
    if not absent:
        return (
            "no row of the log has impressions, clicks and position together; sum them up by query, item and position"
        )
    return "the log has no " + "; no ".join(f"'{name}' (add it: {why[name]})" for name in absent)


def search_log(interactions: pd.DataFrame, query_ids: pd.Index) -> SearchLog:
    """The rows of `interactions` of those queries that say how often an item was shown, where, and clicked.

    Rows without impressions, clicks or position are left out (they cannot be corrected for position), clicks count at
    most once an impression. A missing number of purchases counts as none where any row has one.
    """
    known = interactions[["impressions", "clicks", "position"]].notna().all(axis=1) & (interactions["impressions"] > 0)
    known &= (interactions["position"] >= 1) & interactions["query_id"].isin(query_ids)
    if "source" in interactions:
        known &= interactions["source"].fillna("log") == "log"
    rows = interactions[known]
    rows = rows.assign(
        position=rows["position"].round().astype(np.int64),
        purchases=rows["purchases"].fillna(0.0) if rows["purchases"].notna().any() else np.nan,
    )
    keys = ["query_id", "item_id", "position"]
    summed = rows.groupby(keys, sort=True)[["impressions", "clicks", "purchases"]].sum(min_count=1).reset_index()
    pair = summed.groupby(["query_id", "item_id"], sort=True).ngroup().to_numpy(np.int64)
    pairs = summed[["query_id", "item_id"]].drop_duplicates(ignore_index=True).astype(str)
    pairs["query"] = query_ids.get_indexer(pd.Index(pairs["query_id"]))
    impressions = summed["impressions"].to_numpy(np.float64)
    clicks = np.minimum(summed["clicks"].to_numpy(np.float64), impressions)
    return SearchLog(
        pairs["query"].to_numpy(np.int64)[pair],
        pair,
        summed["position"].to_numpy(np.int64),
        impressions,
        clicks,
        np.minimum(summed["purchases"].to_numpy(np.float64), clicks),
        pairs,
    )


def fit_examination(log: SearchLog, n_queries: int) -> Examination:
    """The decay, fitted where pairs moved between positions often enough, else `STATED_DECAY`."""
    moved = _moved(log)
    n_clicks = int(log.clicks[moved].sum())
    stated = Examination(STATED_DECAY, STATED, np.zeros(n_queries), n_clicks)
    if n_clicks < MIN_CLICKS:
        return stated
    decay, influence = _conditional_fit(log, moved, -np.log(log.position[moved])[:, None], n_queries)
    error = float(np.sqrt((influence**2).sum()))
    if error > MAX_STANDARD_ERROR or not 0 <= decay[0] <= MAX_DECAY:
        return stated
    return Examination(float(decay[0]), FITTED, influence[:, 0], n_clicks)


def examination_table(log: SearchLog, examination: Examination, slots: int) -> pd.DataFrame:
    """`click_model` rows: the decay; examination of every slot as replayed; and, as a check of the curve's form, as the
    log alone gives it without any form (`examination_free`)."""
    error = float(np.sqrt((examination.influence**2).sum()))
    known = examination.source == FITTED
    decay = {"parameter": "decay", "key": "", "value": examination.decay, "n": examination.n_clicks}
    decay |= {"low": examination.decay - 1.96 * error, "high": examination.decay + 1.96 * error} if known else {}
    rows = [decay | {"source": examination.source}]
    for slot in range(1, slots + 1):
        ends = [slot ** -(examination.decay + sign * 1.96 * error) for sign in (1, -1)]
        rows.append(
            {"parameter": "examination", "key": str(slot), "value": float(slot**-examination.decay),
             "low": ends[0] if known else np.nan, "high": ends[1] if known else np.nan,
             "n": int(log.impressions[log.position == slot].sum()), "source": examination.source}
        )  # fmt: skip
    if known:
        rows += _free_rows(log, len(examination.influence), slots)
    return pd.DataFrame(rows, columns=list(CLICK_MODEL_COLUMNS))


def _free_rows(log: SearchLog, n_queries: int, slots: int) -> list[dict[str, object]]:
    """Examination of slots 2.. relative to slot 1, each its own parameter."""
    rows = _moved(log, deepest=slots)
    clicked = np.bincount(log.position[rows], weights=log.clicks[rows], minlength=slots + 1)
    free = np.flatnonzero(clicked[2:] > 0) + 2
    if clicked[1] == 0 or not len(free):
        return []
    rows &= np.isin(log.position, [1, *free])
    rows = _moved(log, within=rows)
    fitted, influence = _conditional_fit(log, rows, (log.position[rows][:, None] == free).astype(np.float64), n_queries)
    error = np.sqrt((influence**2).sum(axis=0))
    return [
        {"parameter": "examination_free", "key": str(slot), "value": float(np.exp(value)),
         "low": float(np.exp(value - 1.96 * e)), "high": float(np.exp(value + 1.96 * e)),
         "n": int(clicked[slot]), "source": FITTED}
        for slot, value, e in zip(free, fitted, error, strict=True)
    ]  # fmt: skip


def _moved(log: SearchLog, *, deepest: int | None = None, within: np.ndarray | None = None) -> np.ndarray:
    """(M,) rows of clicked pairs shown at two positions or more (among the rows `within`, down to `deepest`)."""
    rows = np.ones(len(log.pair), dtype=bool) if within is None else within.copy()
    if deepest is not None:
        rows &= log.position <= deepest
    n = len(log.pairs)
    shown_at = np.bincount(log.pair[rows], minlength=n)
    clicks = np.bincount(log.pair[rows], weights=log.clicks[rows], minlength=n)
    return rows & ((shown_at >= 2) & (clicks > 0))[log.pair]


def _conditional_fit(log: SearchLog, rows: np.ndarray, x: np.ndarray, n_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """b (p,) of log examination = x @ b, and its influence (Q, p), from how each pair's clicks fall on its positions.

    Given a pair's clicks, the expected share at a position is impressions x examination over the pair's sum of them, in
    which its attractiveness cancels. The estimating equation is unbiased whatever the distribution of clicks; solved by
    Newton steps (the likelihood is a conditional logit's, concave).
    """
    clicks, impressions = log.clicks[rows], log.impressions[rows]
    first = np.flatnonzero(np.r_[True, np.diff(log.pair[rows]) != 0])
    size = np.diff(np.r_[first, len(clicks)])
    total = np.add.reduceat(clicks, first)
    b = np.zeros(x.shape[1])
    for _ in range(50):
        weight = impressions * np.exp(x @ b)
        share = weight / np.repeat(np.add.reduceat(weight, first), size)
        mean = np.add.reduceat(share[:, None] * x, first)
        off = x - np.repeat(mean, size, axis=0)
        score = clicks[:, None] * off
        information = (off * (share * np.repeat(total, size))[:, None]).T @ off
        inverse = np.linalg.pinv(information)
        step = inverse @ score.sum(axis=0)
        b = b + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    by_query = np.zeros((n_queries, x.shape[1]))
    np.add.at(by_query, log.query[rows], score)
    return b, by_query @ inverse
