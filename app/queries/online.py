"""SELECTs of the simulated online effect: the effect under every reading, and the click model behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

SCENARIOS = ("estimate", "neutral", "alike", "beyond")


def effect(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """Every metric and scenario, the estimate first; empty where nothing was simulated."""
    return cursor.execute(
        """
        SELECT * EXCLUDE (run_id) FROM online WHERE run_id = ?
        ORDER BY list_position(['uctr', 'uctcvr'], metric), list_position(?, scenario), decay
        """,
        [run_id, list(SCENARIOS)],
    ).df()


def click_model(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """What was fitted from the log or stated: parameter, key, value, low, high, n, source."""
    return cursor.execute(
        """
        SELECT parameter, key, value, low, high, n, source FROM click_model WHERE run_id = ?
        ORDER BY list_position(['decay', 'examination', 'examination_free', 'attractiveness', 'conversion',
                                'unmeasured_neutral', 'unmeasured_alike'], parameter), try_cast(key AS INTEGER), key
        """,
        [run_id],
    ).df()
