"""What SIDs are worth and how many findings there are, in sentences that pages and the report share."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from app import text

Row = dict[Hashable, Any]


def change(row: Row) -> str:
    return f"{text.number(row['difference'], 'points')} {text.interval(row['low'], row['high'], 'points')}"


def in_short(worth: pd.DataFrame, metric: str) -> str:
    """The answer in one sentence; '' where it rests on too little."""
    rows: dict[Hashable, Row] = {row["role"]: row for row in worth.to_dict("records") if row["n"] >= text.LEAST_QUERIES}
    if "sids" not in rows:
        return ""
    name, sids = text.METRIC_NAMES[metric], rows["sids"]
    start = {1: "SIDs help", -1: "SIDs harm", 0: "No effect of SIDs can be told from chance"}[sign(sids)]
    said = f"{start}: {name} {change(sids)}"
    if "twin" not in rows or "beyond" not in rows:
        return f"{said}."
    beyond = {
        1: "which is less: codes add to them",
        -1: "which is more: codes take from them",
        0: "that codes add to them cannot be shown",
    }[sign(rows["beyond"])]
    return f"{said}. The same ideas without SIDs (dense twins) give {change(rows['twin'])}: {beyond}."


def sign(row: Row) -> int:
    """1 or -1 where the interval is clear of zero, else 0."""
    return int(row["low"] > 0) - int(row["high"] < 0)


SESSIONS = {"uctr": "sessions with a click", "uctcvr": "sessions with a purchase"}


def simulated(rows: pd.DataFrame) -> str:
    """What SIDs would do online, in a simulation; '' where nothing was simulated."""
    if rows.empty:
        return ""
    effective = float(rows["effective_n"].iloc[0])
    if effective < text.LEAST_QUERIES:
        return f"{text.TOO_SMALL} ({text.number(effective, 'count')} equally frequent queries)"
    said = text.listed([
        f"{SESSIONS.get(row['metric'], row['metric'])} {text.number(row['relative'], 'change')} "
        f"{text.interval(row['relative_low'], row['relative_high'], 'change')}" for row in rows.to_dict("records")
    ])  # fmt: skip
    unclear = ((rows["relative_low"] <= 0) & (rows["relative_high"] >= 0)).all()
    return f"{said}, not separable from zero" if unclear else said


def counted(found: pd.DataFrame) -> str:
    """How many kinds are how urgent."""
    heads = found[found["member"] == 0]
    counts = heads["severity"].value_counts()
    said = [f"{counts[word]} {meaning}" for word, meaning in _COUNTED.items() if counts.get(word)]
    return f"Of {text.plural(len(heads), 'thing', 'things')} looked at: {text.listed(said)}."


_COUNTED = {
    "act": "to act on",
    "watch": "to watch",
    "note": "to note",
    "unknown": "with too few observations to tell",
    "good": "well",
}
