"""What SIDs are worth: the served ranker, what the same ideas give without SIDs, what a shuffled SID gives, simulated clicks."""

from __future__ import annotations

import duckdb
import pandas as pd

CHECKS = {"rich": ("twins", "rich_placebo"), "sid": ("control", "placebo")}
"""By served ranker: the same ideas without SIDs, and the same ranker on shuffled SIDs."""


def worth(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Paired differences on all test queries, one row a metric and role, where the run holds them.

    Roles: 'sids' (served ranker less its baseline), 'twin' and 'placebo' (less the same baseline), 'beyond' (served ranker
    less the twin). Columns: metric, role, difference, low, high, p_value, n.
    """
    run = cursor.execute("SELECT ranker, baseline FROM runs WHERE run_id = ?", [run_id]).fetchone()
    ranker, baseline = run or (None, None)
    twin, placebo = CHECKS.get(str(ranker), (None, None))
    pairs = pd.DataFrame(
        [
            ("sids", ranker, baseline),
            ("twin", twin, baseline),
            ("placebo", placebo, baseline),
            ("beyond", ranker, twin),
        ],
        columns=["role", "ranker", "baseline"],
    )
    tests = cursor.execute(
        """
        WITH own AS (FROM comparisons WHERE run_id = ? AND segment = 'all')
        SELECT metric, ranker, baseline, difference, low, high, p_value, n FROM own
        UNION ALL BY NAME  -- a test says the same of the two the other way round
        SELECT metric, baseline AS ranker, ranker AS baseline, -difference AS difference, -high AS low, -low AS high,
               p_value, n FROM own
        """,
        [run_id],
    ).df()
    found = pairs.merge(tests, on=["ranker", "baseline"], how="inner")
    return found.drop_duplicates(["role", "metric"])[
        ["metric", "role", "difference", "low", "high", "p_value", "n"]
    ].reset_index(drop=True)


def simulated(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """The simulated change online: metric ('uctr', 'uctcvr'), relative, relative_low, relative_high, n_queries, effective_n."""
    return cursor.execute(
        """
        SELECT metric, relative, relative_low, relative_high, n_queries, effective_n FROM online
        WHERE run_id = ? AND scenario = 'estimate' ORDER BY metric DESC
        """,
        [run_id],
    ).df()
