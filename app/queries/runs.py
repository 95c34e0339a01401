"""What the Runs page reads of one run: what it measured, how it was set, how it learnt, what it cost; and the ablation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pandas as pd

SERVED, BASELINE = "served", "baseline"
"""In place of the names of the run's own ranker and of what it is held against, which differ between runs."""


def table(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Every run, newest first, with its own ranker's AUC and nDCG@10 on all test queries and what SIDs change in them.

    Columns: run_id, method, preset, seed, created_at, seconds, peak_mb, codes (per level), ranker, n_test_queries, then per measure m of
    auc and ndcg: m, m_low, m_high, m_lift, m_lift_low, m_lift_high (NULL where it was not measured).
    """
    return cursor.execute(
        """
        SELECT r.run_id, r.method, r.preset, r.seed, r.created_at, r.seconds, r.peak_mb, array_to_string(r.sizes, ' × ') AS codes, r.ranker, r.n_test_queries,
               a.value AS auc, a.low AS auc_low, a.high AS auc_high,
               ca.difference AS auc_lift, ca.low AS auc_lift_low, ca.high AS auc_lift_high,
               g.value AS ndcg, g.low AS ndcg_low, g.high AS ndcg_high,
               cg.difference AS ndcg_lift, cg.low AS ndcg_lift_low, cg.high AS ndcg_lift_high
        FROM runs r
        LEFT JOIN metrics a ON a.run_id = r.run_id AND a.segment = 'all' AND a.metric = r.ranker || '.auc'
        LEFT JOIN metrics g ON g.run_id = r.run_id AND g.segment = 'all' AND g.metric = r.ranker || '.ndcg@10'
        LEFT JOIN comparisons ca ON ca.run_id = r.run_id AND ca.segment = 'all' AND ca.metric = 'auc'
             AND ca.ranker = r.ranker AND ca.baseline = r.baseline
        LEFT JOIN comparisons cg ON cg.run_id = r.run_id AND cg.segment = 'all' AND cg.metric = 'ndcg@10'
             AND cg.ranker = r.ranker AND cg.baseline = r.baseline
        ORDER BY r.created_at DESC, r.run_id
        """
    ).df()


def measured(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Every measure of a run: of its rankers and generator by segment, and of its codebook by level.

    Columns: kind ('ranking' | 'codebook'), measure, part (the segment; 'level 2' or 'whole SID'), value, low, high, n. The
    run's own ranker is called 'served', its baseline 'baseline', so that runs ranked otherwise are comparable.
    """
    return cursor.execute(
        """
        SELECT 'ranking' AS kind, CASE split_part(m.metric, '.', 1) WHEN r.ranker THEN $served || m.metric[length(r.ranker) + 1:]
                    WHEN r.baseline THEN $baseline || m.metric[length(r.baseline) + 1:] ELSE m.metric END AS measure,
               m.segment AS part, m.value, m.low, m.high, m.n
        FROM metrics m JOIN runs r USING (run_id)
        WHERE m.run_id = $run AND NOT starts_with(m.metric, 'detectable_difference')
        UNION ALL
        SELECT 'codebook', metric, coalesce('level ' || level, 'whole SID'), value, low, high, n
        FROM health WHERE run_id = $run AND NOT coalesce(by_construction, false)
        """,
        {"run": run_id, "served": SERVED, "baseline": BASELINE},
    ).df()


def settings(cursor: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, str]:
    """How a run was made, by dotted name: its configuration, its seed, the versions of libraries, the commit."""
    row = cursor.execute(
        "SELECT method, preset, seed, git_commit, config, versions FROM runs WHERE run_id = ?", [run_id]
    ).fetchone()
    assert row is not None, "pages show only runs that the snapshot holds"
    method, preset, seed, commit, config, versions = row
    told = {"method": method, "preset": preset, "seed": str(seed), "git commit": commit or "unknown"}
    told |= dict(_flat(json.loads(config or "{}")))
    return told | {f"version of {name}": str(v) for name, v in json.loads(versions or "{}").items()}


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", json.dumps(value)


def curves(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """What was noted while a run learnt: stage, name, step, value."""
    return cursor.execute(
        "SELECT stage, name, step, value FROM training WHERE run_id = ? ORDER BY stage, name, step", [run_id]
    ).df()


def ladder(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """The ablation's means over seeds, all columns of table `ladder`; empty without one."""
    return cursor.execute("FROM ladder").df()


def method_comparisons(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Methods against each other on all test queries, the largest difference first, all columns of their table."""
    return cursor.execute("FROM method_comparisons WHERE segment = 'all' ORDER BY difference DESC").df()
