"""Judgments read from a search log: position-debiased clicks as grades, for a shop that nobody has judged.

`python -m engine ingest FOLDER` reads them where there is a log and no judgment (`--judgments-from-log`). A grade says
what shoppers click, not what is relevant; `ClickGradesConfig` states every number. Circularity is met thrice: queries are
split; in a dated log held-out queries are graded by later clicks, and nothing learns from those; what a held-out query's
clicks may still teach, `engine.problem.division.supervising` decides.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom

from engine.audit.attractiveness import STATED_ATTRACTIVENESS, by_pair, stated_rate
from engine.audit.click_model import STATED, Examination, fit_examination, lacking, search_log
from engine.audit.pair_rates import pair_rates
from engine.audit.wording import counted
from engine.config import ClickGradesConfig, SplitConfig
from engine.datasets.contract import (
    CLICK_GRADES,
    IMPLICIT,
    TABLES,
    DatasetSettings,
    LogReader,
    ReadFromLog,
    normalise_query,
)
from engine.errors import ConfigError, DataError
from engine.labeling.agreement import Agreement, Interval, measure_agreement
from engine.relevance.folds import split_queries

MODES = ("auto", "always", "never")
HIGHEST_STEPS = 5
"""A scale of more grades is cut into so many steps."""
CHANCE = 0.05
"""A pair's purchases count as more than chance below this (one-sided binomial test against the log's conversion)."""
_PAIR = ["query_id", "item_id"]
_NOTHING = (TABLES["judgments"].empty_table().to_pandas(), CLICK_GRADES.empty_table().to_pandas())


class Graded(NamedTuple):
    """What one part of a log says of its pairs."""

    pairs: pd.DataFrame  # Columns of `CLICK_GRADES`.
    examination: Examination


class _Halves(NamedTuple):
    """Judgments with their split, and the day after which the log grades held-out queries (None: it was not cut)."""

    pairs: pd.DataFrame  # Columns of `CLICK_GRADES` and split.
    examination: Examination
    grades_after: str | None


def log_reader(mode: str, config: ClickGradesConfig = ClickGradesConfig()) -> LogReader | None:  # noqa: B008
    """What `ingest` reads judgments with; None for 'never'.

    'auto' reads where nobody judged anything, and says what the log lacks; 'always' reads beside judgments too, for
    training queries alone, and raises DataError for what is lacking. Raises ConfigError for another mode.
    """
    if mode not in MODES:
        raise ConfigError(f"--judgments-from-log {mode}; allowed: {', '.join(MODES)}")
    return None if mode == "never" else partial(_read, mode == "always", config)


def _read(
    demanded: bool,
    config: ClickGradesConfig,
    items: pd.DataFrame,
    queries: pd.DataFrame,
    interactions: pd.DataFrame,
    judgments: pd.DataFrame,
    settings: DatasetSettings,
) -> ReadFromLog:
    judged = len(judgments) > 0
    if judged and not demanded:
        return ReadFromLog(*_NOTHING, settings.grades_after, ())
    lacks = lacking(interactions)
    found, grades_after, notes = _NOTHING[1].assign(split=[]), settings.grades_after, []
    if lacks is None and judged:
        graded = grade_pairs(interactions, items, queries, settings, config)
        notes.append(_agreement(graded.pairs, judgments, settings))
        found, examination = _for_training(graded.pairs, queries, judgments), graded.examination
    elif lacks is None:
        found, examination, grades_after = _divided(items, queries, interactions, settings, config)
    n = found["query_id"].nunique()
    if lacks is None and not judged and (n < 2 * config.min_queries or found["split"].nunique() < 3):
        lacks = (
            f"{counted(n, 'query has', 'queries have')} {config.min_pairs} items or more with {config.min_examined:g} "
            f"examined impressions each, and {2 * config.min_queries} are needed; give a longer log"
        )
    if lacks is not None:
        said = f"No judgments were read from clicks: {lacks}"
        if demanded:
            raise DataError(f"{said}. Nothing was stored.")
        return ReadFromLog(*_NOTHING, settings.grades_after, (f"{said} (docs/data.md, 'Judgments from the log')",))
    if len(found):
        notes.insert(0, _what_was_read(found, grades_after, examination))
    rows = found.assign(source=IMPLICIT, n_raters=0)[TABLES["judgments"].names]
    return ReadFromLog(rows, found[CLICK_GRADES.names], grades_after, tuple(notes))


def grade_pairs(
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    queries: pd.DataFrame,
    settings: DatasetSettings,
    config: ClickGradesConfig,
) -> Graded:
    """Every pair of the log that was examined often enough, of queries with enough such pairs, sorted by query and item."""
    log = search_log(interactions, pd.Index(queries["query_id"]))
    examination = fit_examination(log, len(queries))
    category = pd.factorize(items["category"])[0]
    place = pd.Index(items["item_id"]).get_indexer(pd.Index(log.pairs["item_id"]))
    rates = pair_rates(log, examination, category[place].astype(np.int64), least=config.min_examined)
    found = log.pairs[_PAIR].iloc[rates.pair].reset_index(drop=True).assign(
        attractiveness=rates.rate, low=rates.low, high=rates.high, examined=rates.examined, clicks=rates.clicks,
        purchases=by_pair(log, log.purchases)[rates.pair],
    )  # fmt: skip
    found["grade"] = grades(found, settings.max_grade, config)
    enough = found.groupby("query_id")["item_id"].transform("size") >= config.min_pairs
    return Graded(found.loc[enough, CLICK_GRADES.names].reset_index(drop=True), examination)


def grades(pairs: pd.DataFrame, max_grade: float, config: ClickGradesConfig) -> np.ndarray:
    """(N,) grades 0..`max_grade` of pairs with attractiveness, examined, clicks, purchases (NaN: not recorded)."""
    scale = grade_scale(max_grade)
    at = np.array(config.thresholds or stated_thresholds(len(scale)))
    if len(at) != len(scale) - 1:
        raise ConfigError(
            f"click_grades.thresholds={config.thresholds}; grades to {max_grade:g} need {len(scale) - 1} of them"
        )
    if pairs.empty:
        return np.zeros(0)
    attractive, examined = pairs["attractiveness"].to_numpy(), pairs["examined"].to_numpy()
    rises = np.argsort(attractive, kind="stable")
    reached = np.cumsum(examined[rises]) >= config.best * examined.sum() * (1 - 1e-12)
    best = attractive[rises][np.argmax(reached)]
    step = np.searchsorted(at * best, attractive, side="right")
    bought, clicks = pairs["purchases"].to_numpy(np.float64), pairs["clicks"].to_numpy(np.float64)
    if config.min_purchases and bool(np.isfinite(bought).any()) and clicks.sum() > 0:
        usual = min(float(np.nansum(bought) / clicks.sum()), 1.0)
        often = (bought >= config.min_purchases) & (
            binom.sf(np.nan_to_num(bought) - 1, np.round(clicks), usual) < CHANCE
        )
        step = np.where(often & (step > 0), np.minimum(step + 1, len(scale) - 1), step)
    return scale[step]


def grade_scale(max_grade: float) -> np.ndarray:
    """Grades from 0 to `max_grade`: whole ones, or five even steps where there are more; 0 and the highest below 2."""
    steps = int(min(max(np.floor(max_grade), 1), HIGHEST_STEPS))
    return np.arange(steps + 1) if steps == max_grade else np.linspace(0.0, max_grade, steps + 1)


def stated_thresholds(n_grades: int) -> tuple[float, ...]:
    """Where grades begin, as shares of the highest one's attractiveness: the geometric mean of neighbouring grades."""
    rate = stated_rate(STATED_ATTRACTIVENESS, n_grades)
    return tuple((np.sqrt(rate[1:] * rate[:-1]) / rate[-1]).tolist())


def _divided(
    items: pd.DataFrame,
    queries: pd.DataFrame,
    interactions: pd.DataFrame,
    settings: DatasetSettings,
    config: ClickGradesConfig,
) -> _Halves:
    """Logged queries by split: training ones graded by the earlier part of the log, held-out ones by the later."""
    logged = queries["query_id"].isin(interactions["query_id"]).to_numpy()
    groups = queries["text"].map(normalise_query).tolist()
    drawn = split_queries(
        queries["query_id"].tolist(), logged, None, SplitConfig(cross_validate_below=0), seed=0, groups=groups
    )
    split = pd.Series(drawn.split, index=queries["query_id"])

    def graded(rows: pd.DataFrame, *parts: str) -> Graded:
        done = grade_pairs(rows, items, queries, settings, config)
        pairs = done.pairs.assign(split=done.pairs["query_id"].map(split))
        return done._replace(pairs=pairs[pairs["split"].isin(parts)])

    until = settings.grades_after or cut(interactions, config.later)
    if until is not None:
        ends = pd.Timestamp(until) + pd.Timedelta(days=1)
        earlier = graded(interactions[interactions["date"] < ends], "train")
        later = graded(interactions[interactions["date"] >= ends], "valid", "test")
        fewest = min(part.pairs["query_id"].nunique() for part in (earlier, later))
        if settings.grades_after is not None or fewest >= config.min_queries:
            pairs = pd.concat([earlier.pairs, later.pairs], ignore_index=True)
            return _Halves(pairs, earlier.examination, until)
    whole = graded(interactions, "train", "valid", "test")
    return _Halves(whole.pairs.reset_index(drop=True), whole.examination, None)


def cut(interactions: pd.DataFrame, later: float) -> str | None:
    """The day after which about a share `later` of the impressions fall; None where most of them have no date, or one day."""
    seen = interactions["impressions"].fillna(0.0)
    by_day = seen.groupby(interactions["date"].dt.strftime("%Y-%m-%d")).sum().sort_index()
    by_day = by_day[by_day > 0]
    if len(by_day) < 2 or by_day.sum() < 0.5 * seen.sum():
        return None
    before = by_day.cumsum().iloc[:-1] / by_day.sum()
    return str((before - (1 - later)).abs().idxmin())


def _for_training(pairs: pd.DataFrame, queries: pd.DataFrame, judgments: pd.DataFrame) -> pd.DataFrame:
    """Pairs of queries that nobody judged, nor a query that reads the same."""
    text = queries.set_index("query_id")["text"].map(normalise_query)
    judged = set(text[text.index.isin(judgments["query_id"])])
    return pairs[~pairs["query_id"].map(text).isin(judged)].assign(split="train").reset_index(drop=True)


def _agreement(pairs: pd.DataFrame, judgments: pd.DataFrame, settings: DatasetSettings) -> str:
    found = agreement(pairs, judgments, settings)
    if found is None:
        return "No pair has both a grade read from clicks and one given, so their agreement is unknown"
    n = f"{counted(found.n_pairs, 'pair', 'pairs')} of {counted(found.n_queries, 'query', 'queries')}"

    def cell(m: Interval) -> str:
        return f"{m.value:.2f} [{m.low:.2f}, {m.high:.2f}]"

    return (
        f"On {n} with both, clicks give the judges' grade to {found.percent.value:.0%} (kappa {cell(found.kappa)}, quadratic "
        f"{cell(found.kappa_quadratic)}) and the same side of relevant to {found.binary_percent.value:.0%} (kappa "
        f"{cell(found.binary_kappa)}); 95 % intervals by query"
    )


def agreement(pairs: pd.DataFrame, judgments: pd.DataFrame, settings: DatasetSettings) -> Agreement | None:
    """Agreement of grades read from clicks with those given, on pairs with both; None where there are none."""
    both = pairs.merge(judgments, on=_PAIR, suffixes=("", "_given"))
    if both.empty:
        return None
    return measure_agreement(
        both["grade"].to_numpy(), both["grade_given"].to_numpy(), both["query_id"].to_numpy(),
        grades=grade_scale(settings.max_grade).tolist(), relevant_grade=settings.relevant_grade,
    )  # fmt: skip


def _what_was_read(found: pd.DataFrame, grades_after: str | None, examination: Examination) -> str:
    held = found["split"].ne("train")
    parts = (
        f"{counted(len(found), 'judgment', 'judgments')} of {counted(found['query_id'].nunique(), 'query', 'queries')}"
    )
    kept = ""
    if held.any():
        n = counted(found.loc[held, "query_id"].nunique(), "query", "queries")
        by = f"by clicks after {grades_after}, which supervise nothing" if grades_after else "and supervise nothing"
        kept = f"; {n} are held out {'and graded ' if grades_after else ''}{by}"
    look = (
        "stated, since the log shows too few items at several positions" if examination.source == STATED else "fitted"
    )
    return (
        f"{parts} were read from clicks (source '{IMPLICIT}'; examination falls as position^-{examination.decay:.2f}, "
        f"{look}){kept}. They measure agreement with clicks, not relevance"
    )
