"""Simulated online effect: the logged query mix replayed under both rankings through a position-based click model.

A session asks one query and sees the first `SLOTS` results; slot k is clicked with probability examination(k) x
attractiveness, independently. UCTR is the share of sessions with a click, UCTCVR with a purchase: proxies, since logs
without users know sessions only. How attractive a pair is comes from three sources, none of them a ranker's score:

- *judged*: the click rate of its grade in the log, moved by its own clicks;
- *shown*: its own clicks, corrected for examination;
- *unmeasured*: what measured pairs placed alike are. The reading `neutral` takes "2nd by one, 30th by the other" as one
  placement, whichever ranker it is, so that neither gains by what was never measured; `alike` takes it as two, as if
  unmeasured pairs differed like measured ones; `beyond` goes as far again, for the old ranker chose what is measured.

The point estimate is neutral's; the interval spans the bootstrap intervals of all three readings (and of a band of decays
where examination is stated). It is a simulation: what shoppers would do on pages that nobody has seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.attractiveness import (
    METRICS,
    READINGS,
    Evidence,
    Rates,
    estimate,
    grade_cells,
    place_of,
    rates_table,
    regulars,
)
from engine.audit.click_model import (
    CLICK_MODEL_COLUMNS,
    FITTED,
    MIN_EXAMINED,
    STATED,
    STATED_BAND,
    Examination,
    examination_table,
    fit_examination,
    search_log,
)
from engine.audit.exposure import drawn_sums, resample_counts
from engine.audit.traffic import traffic_weights

ONLINE_COLUMNS = (
    *("metric", "scenario", "decay", "value", "value_without", "difference", "low", "high"),
    *("relative", "relative_low", "relative_high", "sessions_per_arm", "sessions_per_arm_cautious"),
    *("judged", "shown", "unmeasured", "judged_without", "shown_without", "unmeasured_without", "changed"),
    *("examination", "attractiveness", "slots", "n_queries", "effective_n"),
)
SLOTS = 10
BEYOND = 1.0
"""How much further than 'alike' the reading 'beyond' goes, in steps from 'neutral' to 'alike'."""
_DECAY_STEP = 0.05
_Z_TWO_SIDED, _Z_POWER = 1.959964, 0.841621  # 5 % two-sided, 80 % power


class OnlineEffect(NamedTuple):
    """Tables of the schema, less `run_id`."""

    online: pd.DataFrame
    click_model: pd.DataFrame


class _Replay(NamedTuple):
    """What is replayed, as numbers."""

    pages: np.ndarray  # (2, Q, S) pair in each slot with and without SIDs, -1 where the list has ended.
    weight: np.ndarray  # (Q,) sessions of each query.
    evidence: Evidence


class _Effect(NamedTuple):
    """One metric under one scenario: value and bootstrap draws, with and without SIDs."""

    value: np.ndarray  # (2,)
    draws: np.ndarray  # (2, R)


def online_effect(
    scores: pd.DataFrame,
    queries: pd.DataFrame,
    interactions: pd.DataFrame,
    judgments: pd.DataFrame,
    *,
    max_grade: float,
    resamples: int = 2_000,
    seed: int = 0,
) -> OnlineEffect:
    """Tables `online` and `click_model`; both empty where nothing was ranked or neither log nor judgments say anything.

    Args:
        scores: query_id, item_id, rank, rank_without_sid of the pairs that either ranking puts on its page (further
            pairs are passed over).
        queries: query_id, frequency (sessions; every query 1 where there is no traffic at all).
        interactions: query_id, item_id, impressions, clicks, purchases, position. Give only those after the run's
            training where that can be told apart: what a ranker learnt from speaks well of it.
        judgments: query_id, item_id, grade.
        max_grade: highest grade of the scale.
        resamples, seed: of the bootstrap by query.
    """
    replay = _prepare(scores, queries, interactions, judgments, max_grade)
    if replay is None:
        return OnlineEffect(pd.DataFrame(columns=list(ONLINE_COLUMNS)), pd.DataFrame(columns=list(CLICK_MODEL_COLUMNS)))
    evidence = replay.evidence
    examination = fit_examination(evidence.log, evidence.n_queries)
    counts = resample_counts(evidence.n_queries, resamples, seed)
    fitted = {reading: estimate(evidence, examination, reading) for reading in READINGS}
    clicks = fitted[READINGS[0]][0]
    shared = _coverage(replay, clicks, examination) | {
        "examination": examination.source, "attractiveness": FITTED if clicks.by_log else STATED, "slots": SLOTS,
        "n_queries": evidence.n_queries, "effective_n": replay.weight.sum() ** 2 / (replay.weight**2).sum(),
    }  # fmt: skip
    looks = [examination]
    if examination.source == STATED:
        looks += [examination._replace(decay=decay) for decay in STATED_BAND]
    scenarios = [(look.decay, name, both) for look in looks for name, both in _readings(replay, look, counts).items()]
    rows = []
    for m, metric in enumerate(METRICS):
        span = _row(scenarios[0][2][m], [both[m] for _, _, both in scenarios])
        rows.append({"metric": metric, "scenario": "estimate", "decay": examination.decay} | span | shared)
        rows += [
            {"metric": metric, "scenario": name, "decay": decay} | _row(both[m], [both[m]]) | shared
            for decay, name, both in scenarios
        ]
    parameters = [examination_table(evidence.log, examination, SLOTS), rates_table(evidence, examination, fitted)]
    return OnlineEffect(pd.DataFrame(rows, columns=list(ONLINE_COLUMNS)), pd.concat(parameters, ignore_index=True))


def _readings(replay: _Replay, examination: Examination, counts: np.ndarray) -> dict[str, list[_Effect]]:
    """Both metrics under every reading of what was never measured."""
    neutral, alike = (_effects(replay, examination, reading, counts) for reading in READINGS)
    beyond = [
        _Effect(far.value + BEYOND * (far.value - near.value), far.draws + BEYOND * (far.draws - near.draws))
        for near, far in zip(neutral, alike, strict=True)
    ]
    return {"neutral": neutral, "alike": alike, "beyond": beyond}


def _prepare(
    scores: pd.DataFrame,
    queries: pd.DataFrame,
    interactions: pd.DataFrame,
    judgments: pd.DataFrame,
    max_grade: float,
) -> _Replay | None:
    keys = ["query_id", "item_id"]
    weight = pd.Series(traffic_weights(queries["frequency"].to_numpy(dtype=np.float64)), index=queries["query_id"])
    rows = scores[scores["rank"].notna() & scores["rank_without_sid"].notna()]
    rows = rows[(rows[["rank", "rank_without_sid"]].min(axis=1) <= SLOTS) & (rows["query_id"].map(weight) > 0)]
    rows = _named(rows[[*keys, "rank", "rank_without_sid"]])
    query_ids = pd.Index(np.unique(rows["query_id"].to_numpy(dtype=object)))
    log = search_log(_named(interactions), query_ids)
    grades = _named(judgments[[*keys, "grade"]].groupby(keys, as_index=False).mean())
    number = log.pairs.assign(logged=np.arange(len(log.pairs)))[[*keys, "logged"]]
    rows = rows.merge(grades, "left", keys).merge(number, "left", keys)
    log_grade = log.pairs.merge(grades, "left", keys)["grade"].to_numpy(np.float64)
    shown = log.impressions[np.isin(log.pair, rows["logged"].dropna())].sum()
    if not len(rows) or (rows["grade"].isna().all() and shown < MIN_EXAMINED):
        return None
    query = query_ids.get_indexer(pd.Index(rows["query_id"])).astype(np.int64)
    ranks = rows[["rank", "rank_without_sid"]].to_numpy(np.int64).T
    pages = np.full((2, len(query_ids), SLOTS), -1, dtype=np.int64)
    for page, rank in zip(pages, ranks, strict=True):
        seen = np.flatnonzero(rank <= SLOTS)
        page[query[seen], rank[seen] - 1] = seen
    evidence = Evidence(
        query,
        place_of(ranks, SLOTS),
        rows["logged"].fillna(-1).to_numpy(np.int64),
        grade_cells(rows["grade"].to_numpy(np.float64), max_grade),
        log,
        grade_cells(log_grade, max_grade),
        regulars(log, len(query_ids)),
        int(grade_cells(np.array([max_grade]), max_grade)[0]) + 1,
        len(query_ids),
    )
    return _Replay(pages, weight.loc[query_ids].to_numpy(np.float64), evidence)


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Ids as text: an empty table has columns of no type."""
    return table.assign(query_id=table["query_id"].astype(str), item_id=table["item_id"].astype(str))


def _effects(replay: _Replay, examination: Examination, reading: str, counts: np.ndarray) -> list[_Effect]:
    """UCTR and UCTCVR with draws: queries are resampled, and with them the rates and the decay they teach."""
    total = drawn_sums(counts, replay.weight)
    moved = drawn_sums(counts, examination.influence) - examination.influence.sum()
    steps = [examination._replace(decay=examination.decay + sign * _DECAY_STEP) for sign in (1, -1)]
    nearby = [estimate(replay.evidence, step, reading) for step in steps] if examination.source == FITTED else []
    effects = []
    for m, rates in enumerate(estimate(replay.evidence, examination, reading)):
        drift = drawn_sums(counts, rates.influence) - rates.influence.sum(axis=0)
        value, draws = np.empty(2), np.empty((2, len(counts)))
        for side, page in enumerate(replay.pages):
            own, gradient = _session(page, rates, examination)
            value[side] = replay.weight @ own / replay.weight.sum()
            change = drawn_sums(counts, replay.weight * own)
            change += (drawn_sums(counts, replay.weight[:, None] * gradient) * drift).sum(axis=1)
            if nearby:
                up, down = (_session(page, near[m], step)[0] for near, step in zip(nearby, steps, strict=True))
                change += drawn_sums(counts, replay.weight * (up - down) / (2 * _DECAY_STEP)) * moved
            draws[side] = change / total
        effects.append(_Effect(value, draws))
    return effects


def _session(page: np.ndarray, rates: Rates, examination: Examination) -> tuple[np.ndarray, np.ndarray]:
    """(Q,) P(at least one event in a session), and its gradient (Q, F) with respect to the parameters of the rates."""
    look = examination.at(np.arange(1, page.shape[1] + 1))
    hit = look * np.where(page >= 0, rates.estimate[page], 0.0)
    none = np.prod(1.0 - hit, axis=1)
    slope = np.where(page >= 0, none[:, None] * look / np.maximum(1.0 - hit, 1e-9), 0.0)
    return 1.0 - none, np.einsum("qs,qsf->qf", slope, rates.slope[page])


def _coverage(replay: _Replay, rates: Rates, examination: Examination) -> dict[str, float]:
    """Shares of the replayed attention by the source its attractiveness rests on, and on slots that SIDs change."""
    look = examination.at(np.arange(1, replay.pages.shape[2] + 1)) * replay.weight[:, None]
    out: dict[str, float] = {}
    for page, suffix in zip(replay.pages, ("", "_without"), strict=True):
        attention = np.where(page >= 0, look, 0.0)
        parts = {"judged": rates.judged * 1.0, "shown": np.where(rates.judged, 0.0, rates.own)}
        for name, part in parts.items():
            out[name + suffix] = float((attention * part[page]).sum() / attention.sum())
        out["unmeasured" + suffix] = 1.0 - out["judged" + suffix] - out["shown" + suffix]
    unlike = replay.pages[0] != replay.pages[1]
    return out | {"changed": float((look * unlike).sum() / (look * (replay.pages >= 0).any(axis=0)).sum())}


def _row(effect: _Effect, spanned: list[_Effect]) -> dict[str, float]:
    """One row of `online`: the effect, with the interval that spans those of `spanned`."""
    value, without = (float(v) for v in effect.value)
    ends = [np.quantile(e.draws[0] - e.draws[1], [0.025, 0.975]) for e in spanned]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [np.nanquantile(e.draws[0] / e.draws[1] - 1.0, [0.025, 0.975]) for e in spanned]
    nearest = min(low, high, key=abs) if low * high > 0 else 0.0
    return {
        "value": value, "value_without": without, "difference": value - without, "low": low, "high": high,
        "relative": (value - without) / without if without > 0 else np.nan,
        "relative_low": float(min(r[0] for r in ratios)), "relative_high": float(max(r[1] for r in ratios)),
        "sessions_per_arm": sessions_per_arm(without, value),
        "sessions_per_arm_cautious": sessions_per_arm(without, without + nearest),
    }  # fmt: skip


def sessions_per_arm(share: float, other: float) -> float:
    """Sessions an A/B test needs in each arm to tell two shares apart (80 % power, 5 % two-sided); NaN where equal.

    n = (z_.975 + z_.8)^2 (p (1 - p) + q (1 - q)) / (p - q)^2, sessions taken as independent; users who come again need
    more.
    """
    if share == other or not np.isfinite(share + other):
        return float("nan")
    variance = share * (1 - share) + other * (1 - other)
    return float(np.ceil((_Z_TWO_SIDED + _Z_POWER) ** 2 * variance / (share - other) ** 2))
