"""How attractive a (query, item) pair is: from its grade, from its own clicks, from pairs placed alike; never from a score.

A judged pair starts from the rate of its grade in the log; any other from a logistic regression of measured pairs on
where the two rankings place them. Clicks of its own then move it, as far as they outweigh chance (best linear estimate).
The same is done twice: for clicks, and for purchases (attractiveness x conversion).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.click_model import (
    CLICK_MODEL_COLUMNS,
    FITTED,
    MIN_EXAMINED,
    STATED,
    Examination,
    SearchLog,
)

STATED_ATTRACTIVENESS = (0.05, 0.5)
STATED_CONVERSION = (0.02, 0.12)
"""At grade 0 and at the highest, where the log cannot tell; between them as (2^grade - 1) / (2^highest - 1)."""
READINGS = ("neutral", "alike")
METRICS = ("uctr", "uctcvr")
TOP = 3
_RIDGE = 1.0  # prior precision of every logit effect but the constant: nothing known, no effect
UNSHOWN, TRIED, REGULAR = 0, 1, 2


class Evidence(NamedTuple):
    """The pairs on a page of either ranking (P), and what is known of them."""

    query: np.ndarray  # (P,) query of each pair.
    places: np.ndarray  # (2, P) depth, as `place_of` gives it, with and without SIDs.
    logged: np.ndarray  # (P,) number of the pair in the log, -1 where never shown.
    grade: np.ndarray  # (P,) grade cell, -1 where not judged.
    log: SearchLog
    log_grade: np.ndarray  # (pairs of the log,) their grade cells.
    regular: np.ndarray  # (pairs of the log,) bool: shown as a rule (`regulars`).
    n_grades: int
    n_queries: int


class Rates(NamedTuple):
    """Estimates of one kind of event (a click, a purchase) for an examined pair."""

    estimate: np.ndarray  # (P,) in 0..1.
    own: np.ndarray  # (P,) weight of a pair's own clicks in it.
    judged: np.ndarray  # (P,) bool: it starts from a grade.
    slope: np.ndarray
    """(P, F) how the estimates move with the parameters: the rates of the grades, then the logit effects of placement."""
    influence: np.ndarray
    """(Q, F) what each query adds to the parameters: resampled `counts` times, they move by (counts - 1) @ influence."""
    parameter: np.ndarray  # (F,)
    by_log: bool  # False: nothing but stated rates.


def place_of(rank: np.ndarray, slots: int) -> np.ndarray:
    """Depth of ranks from 1: 0 first three, 1 on the page, then 2 to twice, 3 to five times the page, 4 beyond."""
    return np.searchsorted([TOP, slots, 2 * slots, 5 * slots], rank, side="left")


N_PLACES = 5


def grade_cells(grade: np.ndarray, max_grade: float) -> np.ndarray:
    """(M,) whole grades 0..5 that stand for `grade` (scales above 5 are cut into six even steps); -1 where unknown."""
    scale = 1.0 if max_grade <= 5 else 5.0 / max_grade
    cell = np.floor(np.nan_to_num(grade, nan=0.0) * scale + 0.5)
    return np.where(np.isnan(grade), -1, cell).astype(np.int64)


def stated_rate(ends: tuple[float, float], n_cells: int) -> np.ndarray:
    """(n_cells,) from grade 0 to the highest, between `ends` as the gain 2^grade - 1 (Chapelle et al. 2009)."""
    gain = (2.0 ** np.arange(n_cells) - 1.0) / max(2.0 ** (n_cells - 1) - 1.0, 1.0)
    return ends[0] + (ends[1] - ends[0]) * gain


class _Shown(NamedTuple):
    """The log by pair."""

    examined: np.ndarray  # Impressions x examination.
    twice: np.ndarray  # Impressions x examination^2.
    clicks: np.ndarray


def estimate(evidence: Evidence, examination: Examination, reading: str) -> tuple[Rates, Rates]:
    """Attractiveness, and attractiveness x conversion, of every pair.

    `reading` says what is assumed of pairs placed unlike by the two rankings: 'neutral' forgets which ranking is which,
    so that neither gains by what was never measured; 'alike' lets unmeasured pairs differ as measured ones do.
    """
    log, n_grades = evidence.log, evidence.n_grades
    look = examination.at(log.position)
    shown = _Shown(
        by_pair(log, log.impressions * look), by_pair(log, log.impressions * look**2), by_pair(log, log.clicks)
    )
    clicks = _attractiveness(evidence, shown, stated_rate(STATED_ATTRACTIVENESS, n_grades), reading)
    return clicks, _buying(evidence, shown, clicks)


def _attractiveness(evidence: Evidence, shown: _Shown, stated: np.ndarray, reading: str) -> Rates:
    n_grades, n_queries = evidence.n_grades, evidence.n_queries
    in_log = evidence.logged >= 0
    at = evidence.logged[in_log]
    speaks = grades_in_log(evidence, shown.examined)
    by_log = bool(speaks.any()) or bool(shown.examined[at].sum() >= MIN_EXAMINED)
    events, examined, twice = (np.zeros(len(in_log)) for _ in range(3))
    kind = np.full(len(in_log), UNSHOWN)
    level, level_influence = stated, np.zeros((n_queries, n_grades))
    judged = evidence.grade >= 0
    if by_log:
        for ours, theirs in ((events, shown.clicks), (examined, shown.examined), (twice, shown.twice)):
            ours[in_log] = theirs[at]
        kind[in_log] = np.where(evidence.regular[at], REGULAR, TRIED)
        level, level_influence = _grade_rates(evidence, shown.clicks, shown.examined)
        # A grade that the log hardly shows keeps its stated rate.
        level, level_influence = np.where(speaks, level, stated), level_influence * speaks
        judged &= speaks[evidence.grade]  # a grade speaks only where the log shows how it is clicked

    # What was never shown is known by grades alone; what was shown, by its clicks.
    of_grade = np.where(judged, level[evidence.grade], 0.0)
    rate = np.where(examined > 0, events / np.maximum(examined, 1e-12), of_grade)
    known = (examined > 0) | judged
    mean = max(float(rate[known].mean()), 1e-6) if known.any() else float(level.mean())
    # Pairs differ by about their mean: beyond 1 / mean examined impressions, more of them teach nothing more.
    trust = np.where(examined > 0, examined / (examined + 1.0 / mean), judged * 1.0)
    x = _placement(evidence.places, kind, reading)
    b, influence = _logistic(x, rate, trust, evidence.query, n_queries)
    placed = _sigmoid(x @ b) if known.any() else np.full(len(rate), mean)

    start = np.where(judged, of_grade, placed)
    own = np.zeros(len(start))
    for group in (judged & (examined > 0), ~judged & (examined > 0)):
        own[group] = _own_weight(events[group], examined[group], twice[group], start[group])
    slope = np.zeros((len(start), n_grades + x.shape[1]))
    slope[np.flatnonzero(judged), evidence.grade[judged]] = 1.0 - own[judged]
    slope[~judged, n_grades:] = x[~judged] * ((1.0 - own) * placed * (1.0 - placed))[~judged, None]
    return Rates(
        np.clip(start + own * (rate - start), 0.0, 1.0), own, judged, slope,
        np.hstack([level_influence, influence]), np.concatenate([level, b]), by_log,
    )  # fmt: skip


def _buying(evidence: Evidence, shown: _Shown, attractive: Rates) -> Rates:
    """Attractiveness x conversion; conversion given a click from the grade, else from how attractive the pair is."""
    n_grades, log = evidence.n_grades, evidence.log
    in_log = evidence.logged >= 0
    at = evidence.logged[in_log]
    purchases = by_pair(log, log.purchases)
    level = stated_rate(STATED_CONVERSION, n_grades)
    rises = np.argsort(attractive.parameter[:n_grades], kind="stable")
    conversion = np.interp(attractive.estimate, attractive.parameter[:n_grades][rises], level[rises])
    conversion = np.where(attractive.judged, level[evidence.grade], conversion)
    slope, influence = np.zeros((len(in_log), n_grades + 4)), np.zeros((evidence.n_queries, n_grades + 4))
    b = np.zeros(4)
    if attractive.by_log and purchases_recorded(evidence):
        clicks, bought = np.zeros(len(in_log)), np.zeros(len(in_log))
        clicks[in_log], bought[in_log] = shown.clicks[at], purchases[at]
        speaks = grades_in_log(evidence, shown.examined)
        bought_by_grade, influence[:, :n_grades] = _grade_rates(evidence, purchases, shown.clicks)
        level, influence[:, :n_grades] = np.where(speaks, bought_by_grade, level), influence[:, :n_grades] * speaks
        rate = bought / np.maximum(clicks, 1e-12)
        # A pair of unsure attractiveness converts, once clicked, as the better ones that it may be.
        logit = np.log(np.clip(attractive.estimate, 1e-4, 1 - 1e-4) / np.clip(1 - attractive.estimate, 1e-4, 1.0))
        unsure = np.where(attractive.judged, 0.0, 1.0 - attractive.own)
        x = np.column_stack([np.ones(len(logit)), logit, unsure, unsure * logit])
        b, influence[:, n_grades:] = _logistic(x, rate, clicks, evidence.query, evidence.n_queries)
        fitted = _sigmoid(x @ b)
        start = np.where(attractive.judged, level[evidence.grade], fitted)
        own = np.zeros(len(start))
        for group in (attractive.judged & (clicks > 0), ~attractive.judged & (clicks > 0)):
            own[group] = _own_weight(bought[group], clicks[group], clicks[group], start[group])
        conversion = np.clip(start + own * (rate - start), 0.0, 1.0)
        judged = np.flatnonzero(attractive.judged)
        slope[judged, evidence.grade[judged]] = 1.0 - own[judged]
        slope[:, n_grades:] = x * (np.where(attractive.judged, 0.0, 1.0 - own) * fitted * (1 - fitted))[:, None]
    return Rates(
        attractive.estimate * conversion, attractive.own, attractive.judged,
        np.hstack([attractive.slope * conversion[:, None], slope * attractive.estimate[:, None]]),
        np.hstack([attractive.influence, influence]), np.concatenate([attractive.parameter, level, b]),
        attractive.by_log,
    )  # fmt: skip


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _placement(places: np.ndarray, kind: np.ndarray, reading: str) -> np.ndarray:
    """(P, F) regressors: a constant, how the old page treated the pair, and its depth in either ranking."""
    depth = np.arange(1, N_PLACES)
    first, second = (np.asarray(place)[:, None] == depth for place in places)
    columns = [np.ones((len(kind), 1)), (kind == UNSHOWN)[:, None], (kind == REGULAR)[:, None]]
    return np.hstack([*columns, *((first * 1.0 + second,) if reading == "neutral" else (first, second))]).astype(float)


def _logistic(
    x: np.ndarray, rate: np.ndarray, trust: np.ndarray, query: np.ndarray, n_queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logit effects (F,) of x on rates, each pair weighing `trust`, and their influence (Q, F); a weak ridge."""
    ridge = np.full(x.shape[1], _RIDGE)
    ridge[0] = 1e-6
    b = np.zeros(x.shape[1])
    for _ in range(60):
        p = 1.0 / (1.0 + np.exp(-(x @ b)))
        score = x * (trust * (rate - p))[:, None]
        inverse = np.linalg.inv((x * (trust * p * (1 - p))[:, None]).T @ x + np.diag(ridge))
        step = inverse @ (score.sum(axis=0) - ridge * b)
        b = b + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    by_query = np.zeros((n_queries, x.shape[1]))
    np.add.at(by_query, query, score)
    return b, by_query @ inverse


def _grade_rates(evidence: Evidence, events: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Events over trials (pairs of the log,) of every grade, and the influence (Q, G) of the queries on it."""
    known = evidence.log_grade >= 0
    cell = (evidence.log.pairs["query"].to_numpy(np.int64)[known], evidence.log_grade[known])
    top, bottom = (np.zeros((evidence.n_queries, evidence.n_grades)) for _ in range(2))
    np.add.at(top, cell, events[known])
    np.add.at(bottom, cell, trials[known])
    total = np.maximum(bottom.sum(axis=0), 1e-12)
    rate = top.sum(axis=0) / total
    return rate, (top - rate * bottom) / total


def _own_weight(events: np.ndarray, examined: np.ndarray, twice: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Weight of events / examined against `rate` in the best linear estimate of each pair's own rate.

    How far pairs differ from `rate` (squared coefficient of variation) is what their events vary more than chance would
    have it: Var = examined r - twice r^2 (1 + cv^2) + examined^2 r^2 cv^2.
    """
    mean = examined * rate
    scale = (rate**2 * (examined**2 - twice)).sum()
    spread = ((events - mean) ** 2 - mean + twice * rate**2).sum()
    cv2 = max(float(spread / scale), 0.0) if scale > 0 else 0.0
    chance = np.maximum(mean - twice * rate**2 * (1 + cv2), 1e-12)
    return cv2 * mean**2 / (cv2 * mean**2 + chance)


def regulars(log: SearchLog, n_queries: int) -> np.ndarray:
    """(pairs of the log,) bool: shown in more than half of its query's sessions, so the old page and not a trial; a
    query's sessions are the impressions of its busiest position."""
    cell, row = np.unique(log.query * (log.position.max(initial=0) + 1) + log.position, return_inverse=True)
    sessions = np.zeros(n_queries)
    np.maximum.at(
        sessions,
        cell // (log.position.max(initial=0) + 1),
        np.bincount(row, weights=log.impressions, minlength=len(cell)),
    )
    return by_pair(log, log.impressions) > 0.5 * sessions[log.pairs["query"].to_numpy(np.int64)]


def purchases_recorded(evidence: Evidence) -> bool:
    """Whether the log says anything of purchases."""
    return bool(len(evidence.log.purchases)) and not bool(np.isnan(evidence.log.purchases).all())


def grades_in_log(evidence: Evidence, examined: np.ndarray) -> np.ndarray:
    """(G,) bool: grades whose pairs the log showed often enough."""
    known = evidence.log_grade >= 0
    seen = np.bincount(evidence.log_grade[known], weights=examined[known], minlength=evidence.n_grades)
    return seen >= MIN_EXAMINED


def by_pair(log: SearchLog, value: np.ndarray) -> np.ndarray:
    """(pairs,) sums of one value a row of the log."""
    return np.bincount(log.pair, weights=value, minlength=len(log.pairs))


def rates_table(evidence: Evidence, examination: Examination, readings: dict[str, tuple[Rates, Rates]]) -> pd.DataFrame:
    """`click_model` rows: attractiveness and conversion by grade, and under each reading the mean attractiveness given
    to pairs that were neither judged nor shown, by where the two rankings place them."""
    clicks, purchases = next(iter(readings.values()))
    examined = by_pair(evidence.log, evidence.log.impressions * examination.at(evidence.log.position))
    known = evidence.log_grade >= 0
    seen = np.bincount(evidence.log_grade[known], weights=examined[known], minlength=evidence.n_grades)
    fitted = grades_in_log(evidence, examined) & clicks.by_log
    bought = fitted & purchases_recorded(evidence)
    rows: list[dict[str, object]] = []
    for g in range(evidence.n_grades):
        attractive, n_clicks = float(clicks.parameter[g]), float(seen[g] * clicks.parameter[g])
        rows.append(_parameter("attractiveness", g, attractive, clicks.influence[:, g], seen[g], bool(fitted[g])))
        at = clicks.influence.shape[1] + g
        conversion = float(purchases.parameter[at])
        influence = purchases.influence[:, at]
        rows.append(_parameter("conversion", g, conversion, influence, n_clicks if bought[g] else 0, bool(bought[g])))
    for reading, (rates, _) in readings.items():
        unknown = ~rates.judged & (evidence.logged < 0)
        found = pd.DataFrame({"key": _place_names(evidence.places, reading), "value": rates.estimate})[unknown]
        for key, values in found.groupby("key")["value"]:
            source = FITTED if clicks.by_log else STATED
            rows.append({"parameter": f"unmeasured_{reading}", "key": key, "value": float(values.mean()),
                         "n": len(values), "source": source})  # fmt: skip
    return pd.DataFrame(rows, columns=list(CLICK_MODEL_COLUMNS))


def _place_names(places: np.ndarray, reading: str) -> np.ndarray:
    """(P,) 'first 3; page': where either ranking puts a pair, with SIDs first where the reading tells them apart."""
    names = np.array([f"first {TOP}", "page", "off the page", "off the page", "off the page"], dtype=object)
    first, second = places if reading == "alike" else (places.min(axis=0), places.max(axis=0))
    return names[first] + "; " + names[second]


def _parameter(name: str, grade: int, value: float, influence: np.ndarray, n: float, fitted: bool) -> dict[str, object]:
    error = 1.96 * float(np.sqrt((influence**2).sum()))
    ends = {"low": max(value - error, 0.0), "high": min(value + error, 1.0)} if fitted else {}
    source = FITTED if fitted else STATED
    return {"parameter": name, "key": f"grade {grade}", "value": value, "n": int(n), "source": source} | ends
