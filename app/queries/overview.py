"""What the Overview page reads: headline metrics, comparisons, health lights, findings, stories."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from app.rankers import MLP, STRONGEST, learner

LADDER = (
    "cosine", "weak", "strong", "control", "placebo", "naive", "sid",
    "plain_gbm", "strong_gbm", "match_gbm", "match_twin", "logp_gbm", "logp_twin", "memory_gbm", "memory_twin", "cluster_gbm",
    "cluster_twin", "list_gbm", "list_twin",
    "rich_placebo", "rich_naive", "rich", "twins", "rich_twins", "given_without", "given",
)  # fmt: skip
"""The order of the rungs: the paper's MLP, then gradient boosting, then imported scores."""
HELD_OUT = ("all", "seen", "new", "split=train, out of fold", "split=train")
"""Segments of the generator's hits, from test queries to those that it was trained on."""
SEGMENTS = (
    "all", "seen", "new", "tier=head", "tier=torso", "tier=tail",
    "category_tier=head", "category_tier=torso", "category_tier=tail",
)  # fmt: skip


class Light(NamedTuple):
    """A health light: what it says, what it was held against, and the page that explains it."""

    title: str
    verdict: str | None
    value: str
    threshold: str
    page: str
    params: dict[str, str]
    define: str
    needs: tuple[str, ...] = ()
    """What it rests on that a run may be made without."""


def headline(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """With, without and difference per metric and segment: the run's own ranker and its baseline by the same learner.

    Columns: metric, segment, with_value/with_low/with_high, without_value/without_low/without_high, n, difference,
    low, high, p_value; segments in their order of SEGMENTS.
    """
    rows = cursor.execute(
        """
        SELECT c.metric, c.segment,
               w.value AS with_value, w.low AS with_low, w.high AS with_high,
               o.value AS without_value, o.low AS without_low, o.high AS without_high,
               c.difference, c.low, c.high, c.p_value, c.n
        FROM comparisons c
        LEFT JOIN metrics w ON w.run_id = c.run_id AND w.segment = c.segment AND w.metric = c.ranker || '.' || c.metric
        LEFT JOIN metrics o ON o.run_id = c.run_id AND o.segment = c.segment AND o.metric = c.baseline || '.' || c.metric
        JOIN runs r ON r.run_id = c.run_id AND c.ranker = r.ranker AND c.baseline = r.baseline
        WHERE c.run_id = ?
        """,
        [run_id],
    ).df()
    order = {segment: i for i, segment in enumerate(SEGMENTS)}
    rows = rows[rows["segment"].isin(order)]
    return rows.sort_values(
        ["metric", "segment"], key=lambda s: s.map(order) if s.name == "segment" else s
    ).reset_index(drop=True)


def inventory(cursor: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, int]:
    """How many items hold a SID, how many distinct SIDs there are, and how many queries have beams."""
    row = cursor.execute(
        """
        SELECT (SELECT count(*) FROM sids WHERE run_id = $run), (SELECT count(DISTINCT sid) FROM sids WHERE run_id = $run),
               (SELECT count(DISTINCT query_id) FROM beams WHERE run_id = $run)
        """,
        {"run": run_id},
    ).fetchone()
    assert row is not None
    return dict(zip(("items", "sids", "asked"), map(int, row), strict=True))


def ladder(cursor: duckdb.DuckDBPyConnection, run_id: str, metric: str, segment: str) -> pd.DataFrame:
    """Every ranker's value of one metric on one segment, with its paired difference from the baseline of its learner.

    Columns: ranker, family ('mlp' | 'boosted' | None: no training, or imported), value, low, high, n, baseline (None for
    a baseline itself and where there is none), difference, difference_low, difference_high, p_value. Rungs that this
    dashboard has no place for come last.
    """
    rows = cursor.execute(
        """
        SELECT split_part(metric, '.', 1) AS ranker, value, low, high, n FROM metrics
        WHERE run_id = ? AND segment = ? AND metric = split_part(metric, '.', 1) || '.' || ?
        """,
        [run_id, segment, metric],
    ).df()
    rows["family"] = pd.Series([learner(ranker) for ranker in rows["ranker"]], dtype=object)
    # What no learner trained is held against the paper's baseline; imported scores against the imported ones.
    others = {"cosine": STRONGEST[MLP], "given": "given_without"}
    against = [(r, others.get(r, STRONGEST.get(f))) for r, f in zip(rows["ranker"], rows["family"], strict=True)]
    rows["baseline"] = pd.Series([None if r == baseline else baseline for r, baseline in against], dtype=object)
    tests = cursor.execute(
        """
        WITH own AS (FROM comparisons WHERE run_id = ? AND segment = ? AND metric = ?)
        SELECT ranker, baseline, difference, low AS difference_low, high AS difference_high, p_value FROM own
        UNION ALL BY NAME  -- a test says the same of the two the other way round
        SELECT baseline AS ranker, ranker AS baseline, -difference AS difference, -high AS difference_low,
               -low AS difference_high, p_value FROM own
        """,
        [run_id, segment, metric],
    ).df()
    rows = rows.merge(tests.drop_duplicates(["ranker", "baseline"]), on=["ranker", "baseline"], how="left")
    place = {ranker: i for i, ranker in enumerate(LADDER)}
    return rows.sort_values(
        "ranker", key=lambda names: names.map(lambda r: place.get(r, len(place))), kind="stable"
    ).reset_index(drop=True)


def against_cosine(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Trained rankers of a run and whether they earn their training: AUC on all test queries, less raw cosine's.

    Columns: ranker, served (the run's own), value, cosine, difference, low, high, n; the served one first.
    """
    return cursor.execute(
        """
        SELECT c.ranker, c.ranker = r.ranker AS served, w.value, o.value AS cosine, c.difference, c.low, c.high, c.n
        FROM comparisons c
        JOIN runs r USING (run_id)
        JOIN metrics w ON w.run_id = c.run_id AND w.segment = c.segment AND w.metric = c.ranker || '.auc'
        JOIN metrics o ON o.run_id = c.run_id AND o.segment = c.segment AND o.metric = 'cosine.auc'
        WHERE c.run_id = ? AND c.baseline = 'cosine' AND c.metric = 'auc' AND c.segment = 'all'
        ORDER BY served DESC, c.ranker
        """,
        [run_id],
    ).df()


def hits(cursor: duckdb.DuckDBPyConnection, run_id: str, counted: str) -> pd.DataFrame:
    """How often the beams hold a relevant item, by depth, on queries that the generator saw less and more of; `counted`
    'item_hit' (by item) or 'hit' (by SID).

    Columns: level, segment (of HELD_OUT, in that order), value, low, high, n.
    """
    rows = cursor.execute(
        """
        SELECT regexp_extract(metric, 'level_(\\d+)$', 1)::INTEGER AS level, segment, value, low, high, n
        FROM metrics WHERE run_id = ? AND regexp_matches(metric, '^' || ? || '@\\d+\\.level_\\d+$')
        """,
        [run_id, counted],
    ).df()
    order = {segment: i for i, segment in enumerate(HELD_OUT)}
    rows = rows[rows["segment"].isin(order)]
    return rows.sort_values(["level", "segment"], key=lambda s: s.map(order) if s.name == "segment" else s).reset_index(
        drop=True
    )


def generation(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """How well the generator aims: hits and prefix survival per level, diversity, validity, recall; the hits also on the
    training queries, where a higher number is the memory that ranking features must not see.

    Columns: metric, segment ('all' = test queries | 'split=train...'), value, low, high, n.
    """
    return cursor.execute(
        """
        SELECT metric, segment, value, low, high, n FROM metrics
        WHERE run_id = ? AND (segment = 'all' OR starts_with(segment, 'split=train'))
          AND (regexp_matches(metric, '^(item_)?hit@') OR starts_with(metric, 'prefix_survival') OR starts_with(metric, 'recall@')
               OR starts_with(metric, 'beam_diversity') OR metric IN ('validity', 'free_validity'))
        ORDER BY CASE WHEN starts_with(metric, 'item_hit@') THEN 0 WHEN starts_with(metric, 'hit@') THEN 1
                      WHEN starts_with(metric, 'prefix_survival') THEN 2
                      WHEN starts_with(metric, 'beam_diversity') THEN 3 ELSE 4 END, metric, segment
        """,
        [run_id],
    ).df()


def findings(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """What to look at first: a headline a kind (member 0), the most urgent first, then its worst members; `params` as a dict."""
    rows = cursor.execute("SELECT * EXCLUDE (run_id) FROM findings WHERE run_id = ? ORDER BY position", [run_id]).df()
    rows["params"] = [json.loads(p) if isinstance(p, str) else {} for p in rows["params"]]
    rows["detail"] = rows["detail"].fillna("")
    return rows


def stories(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """An example, a query won, one lost, one ambiguous, each in one sentence; with the query's text and searches, the item's
    title and SID, its ranks, and how far a beam agrees with it."""
    return cursor.execute(
        """
        SELECT s.kind, s.query_id, s.item_id, s.sentence, s.rank, s.rank_without_sid, s.matched_prefix,
               q.text, q.frequency, i.title, d.sid
        FROM stories s LEFT JOIN queries q USING (query_id) LEFT JOIN items i USING (item_id)
        LEFT JOIN sids d USING (run_id, item_id)
        WHERE s.run_id = ? ORDER BY list_position(['example', 'won', 'lost', 'ambiguous'], s.kind)
        """,
        [run_id],
    ).df()


def lights(cursor: duckdb.DuckDBPyConnection, run_id: str) -> list[Light]:
    """The six health lights; verdict None where the snapshot does not hold what one rests on."""
    return [
        _code_use(cursor, run_id),
        _aliasing(cursor, run_id),
        _purity(cursor, run_id),
        _protection(cursor, run_id),
        _validity(cursor, run_id),
        _concentration(cursor, run_id),
    ]


_MISSING = "Not measured in this run"


def _health(cursor: duckdb.DuckDBPyConnection, run_id: str, metric: str) -> list[tuple[Any, ...]]:
    return cursor.execute(
        """
        SELECT level, value, threshold, verdict FROM health
        WHERE run_id = ? AND metric = ? AND NOT coalesce(by_construction, false) AND level IS NOT NULL
        ORDER BY list_position(['bad', 'warn', 'good', 'info'], verdict), value
        """,
        [run_id, metric],
    ).fetchall()


def _code_use(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Light:
    rows = _health(cursor, run_id, "utilisation")
    if not rows:
        return Light("Codes in use (utilisation)", None, _MISSING, "", "codebook", {}, "utilisation")
    level, value, threshold, verdict = rows[0]
    held = f"Every free level should use at least {100 * threshold:.0f} % of its codes" if threshold is not None else ""
    return Light(
        "Codes in use (utilisation)", verdict, f"{100 * value:.1f} % of the codes of level {level}, the least used level", held,
        "codebook", {"level": str(level)}, "utilisation",
    )  # fmt: skip


def _aliasing(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Light:
    row = cursor.execute(
        "SELECT value, threshold, verdict FROM health WHERE run_id = ? AND level IS NULL AND metric = 'harmful_share'",
        [run_id],
    ).fetchone()
    shared, harmful = cursor.execute(
        "SELECT count(*), count(*) FILTER (harmful) FROM sid_sharing WHERE run_id = ?", [run_id]
    ).fetchone() or (0, 0)
    if row is None or row[0] is None:
        return Light("Unlike items under one SID (aliasing)", None, _MISSING, "", "codebook", {}, "harmful_aliasing")
    held = f"At most {100 * row[1]:.0f} % of items may share a SID with items unlike them" if row[1] is not None else ""
    value = f"{100 * row[0]:.1f} % of items share a SID with items unlike them ({harmful:,} of {shared:,} shared SIDs)"
    return Light(
        "Unlike items under one SID (aliasing)",
        row[2],
        value,
        held,
        "codebook",
        {"view": "Shared SIDs"},
        "harmful_aliasing",
    )


def _purity(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Light:
    rows = _health(cursor, run_id, "category_purity")
    if rows:
        level, value, threshold, verdict = rows[0]
        held = f"Good: at least {100 * threshold:.0f} % of items in their prefix's main category" if threshold else ""
        said = f"{100 * value:.1f} % at level {level}, the least pure free level"
        return Light(
            "Codes keep to one category (purity)", verdict, said, held, "codebook", {"level": str(level)}, "purity"
        )
    forced = cursor.execute(
        """
        SELECT min(value) FROM health
        WHERE run_id = ? AND metric = 'category_purity' AND by_construction AND level IS NOT NULL
        """,
        [run_id],
    ).fetchone()
    if forced is None or forced[0] is None:
        return Light(
            "Codes keep to one category (purity)",
            None,
            _MISSING,
            "",
            "codebook",
            {"health": "true"},
            "purity",
            ("categories",),
        )
    least = "100 %" if forced[0] == 1 else f"{100 * forced[0]:.1f} % or more"
    said = f"{least} at every level, by construction"
    held = "Not judged: level 1 belongs to categories, so prefixes cannot mix them"
    return Light(
        "Codes keep to one category (purity)", "info", said, held, "codebook", {"health": "true"}, "by_construction"
    )


def _protection(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Light:
    counts = dict(
        cursor.execute(
            "SELECT protected, count(*) FROM coverage WHERE run_id = ? AND tier = 'tail' AND protected IS NOT NULL GROUP BY 1",
            [run_id],
        ).fetchall()
    )
    if not counts:
        known = cursor.execute(
            "SELECT count(*) FROM coverage WHERE run_id = ? AND protected IS NOT NULL", [run_id]
        ).fetchone()
        said = "No category of this catalogue falls into the tail" if known and known[0] else _MISSING
        return Light(
            "Small categories served (tail protection)",
            None,
            said,
            "",
            "coverage",
            {},
            "protection",
            ("categories", "judgments"),
        )
    yes, no, small = counts.get("yes", 0), counts.get("no", 0), counts.get("n too small", 0)
    verdict = "info" if yes + no == 0 else "good" if no == 0 else "bad" if no > yes else "warn"
    value = f"{no} of {yes + no} tail categories judged are not protected" + (
        f"; {small} too small to judge" if small else ""
    )
    return Light(
        "Small categories served (tail protection)", verdict, value, "Good: none unprotected. Poor: more unprotected than protected",
        "coverage", {"tier": "tail"}, "protection",
    )  # fmt: skip


def _validity(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Light:
    row = cursor.execute(  # of judged test queries; where there are none, of all
        """
        SELECT coalesce(
            (SELECT value FROM metrics WHERE run_id = $run AND metric = 'validity' AND segment = 'all'),
            (SELECT avg((n_items > 0)::INTEGER) FROM beams WHERE run_id = $run))
        """,
        {"run": run_id},
    ).fetchone()
    free = cursor.execute("SELECT avg(valid::INTEGER) FROM free_beams WHERE run_id = ?", [run_id]).fetchone()
    if row is None or row[0] is None:
        return Light("Guessed SIDs exist (beam validity)", None, _MISSING, "", "query", {}, "validity", ("beams",))
    value = f"{100 * row[0]:.1f} % of the guessed SIDs (beams) exist in the catalogue"
    if free and free[0] is not None:
        value += f"; {100 * free[0]:.1f} % when the model guesses freely"
    verdict = "good" if row[0] >= 1.0 else "bad"
    return Light(
        "Guessed SIDs exist (beam validity)",
        verdict,
        value,
        "Good: 100 %, as only SIDs that exist are searched",
        "query",
        {},
        "validity",
    )


def _concentration(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Light:
    row = cursor.execute(
        """
        SELECT value, value_without, difference, low, high FROM exposure_concentration
        WHERE run_id = ? AND discount = 'log2' AND dimension = 'seller' AND metric = 'gini'
        """,
        [run_id],
    ).fetchone()
    page, params = "sellers", {"dimension": "seller"}
    if row is None or row[0] is None:
        return Light(
            "Exposure in few hands (concentration)", None, _MISSING, "", page, params, "concentration", ("judgments",)
        )
    value, without, difference, low, _ = row
    verdict = "info" if low is None else "bad" if low > 0.01 else "warn" if low > 0 else "good"
    said = f"Unevenness over sellers (Gini) {value:.3f} with SIDs, {without:.3f} without ({difference:+.3f})"
    held = "Good: no rise clear of zero. Poor: a rise of more than 0.01, interval included"
    return Light("Exposure in few hands (concentration)", verdict, said, held, page, params, "concentration")
