"""Who loses exposure when the ranking uses SIDs: the headline of a dimension and its largest losers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from engine.audit import groups
from engine.audit.finding import Group, Told
from engine.audit.severity import BARS, GOOD, LEAST_QUERIES, SEVERITIES, SURE, UNKNOWN, WATCH, Harm, severity, worst
from engine.audit.wording import percent, points

MERIT_PAIRS = 30
"""Judged pairs from which on judged relevance tells what exposure a group earns."""


def exposure_group(exposure: pd.DataFrame, dimension: str, many: str) -> Group | None:
    """Values of a dimension that clearly lose a good part of their exposure; all of them together are one harm as well."""
    rows = exposure[
        (exposure["discount"] == "log2") & (exposure["dimension"] == dimension) & (exposure["value"] != groups.UNKNOWN)
    ]
    if rows.empty:
        return None
    kind, params, least = many.lower(), {"dimension": dimension}, percent(BARS[WATCH].relative, 0)
    known = rows[rows["effective_n"] >= LEAST_QUERIES]
    if known.empty:
        title = f"{many}: too few queries to tell whether any of {len(rows):,} loses exposure"
        return Group(kind, Told(UNKNOWN, title, "", "sellers", params, 0, len(rows)), [])
    small = "" if len(known) == len(rows) else f"; for {len(rows) - len(known):,} the queries are too few to tell"
    lost = known[(known["q_value"] <= SURE) & (known["difference"] < 0)]
    lost = lost.assign(relative=-lost["difference"] / lost["share_without"])
    large = lost[lost["relative"] >= BARS[WATCH].relative]
    if large.empty:
        title = f"{many}: none of {len(rows):,} clearly loses {least} of its exposure or more"
        detail = f"{_most(lost)}{small}"
        return Group(kind, Told(GOOD, title, detail, "sellers", params, 0, len(rows), sure=True), [])
    together, held = -float(large["difference"].sum()), float(large["share_without"].sum())
    members = [_loser(dimension, row) for row in large.sort_values(["difference", "value"]).to_dict("records")]
    loses = "loses {} of its" if len(large) == 1 else "lose {} of their"
    title = f"{many}: {len(large):,} of {len(rows):,} clearly {loses.format(least)} exposure or more"
    detail = (
        f"together {points(-together, 3)} of all exposure: {percent(together / held)} of the {percent(held, 2)} that they hold "
        f"without SIDs{small}"
    )
    word = worst([*(one.severity for one in members), severity(Harm(together, together / held, sure=True))])
    headline = Told(
        word,
        title,
        detail,
        "sellers",
        params,
        len(large),
        len(rows),
        together,
        together / held,
        traffic=held,
        sure=True,
    )
    return Group(kind, headline, members)


def _most(lost: pd.DataFrame) -> str:
    """The largest clear loss where none reaches the bar."""
    if lost.empty:
        return "no loss is clear"
    row = lost.sort_values(["relative", "value"], ascending=[False, True]).iloc[0]
    return (
        f"the most that one clearly loses: {row['value']}, {percent(row['relative'])} of its own, "
        f"{points(row['difference'], 3)} of all exposure"
    )


def _loser(dimension: str, row: dict[Hashable, Any]) -> Told:
    """One value that clearly loses exposure. One that still holds more than its judged relevance earns is nothing to act on."""
    word = severity(Harm(-row["difference"], row["relative"], sure=True))
    merit = ""
    if not pd.isna(row["merit"]) and row["n_merit_pairs"] >= MERIT_PAIRS:
        earned = row["merit"] <= row["share"]
        merit = f"; {'still more' if earned else 'less'} than the {percent(row['merit'], 2)} that its judged relevance earns"
        word = max(word, WATCH, key=SEVERITIES.index) if earned else word
    return Told(
        word,
        f"{row['value']} loses {percent(row['relative'])} of its exposure",
        f"{percent(row['share_without'], 2)} of all exposure without SIDs, {percent(row['share'], 2)} with them: "
        f"{points(row['difference'], 3)} [{100 * row['low']:+.3f}, {100 * row['high']:+.3f}]{merit}",
        "sellers", {"dimension": dimension, "value": str(row["value"])}, absolute=-row["difference"], relative=row["relative"],
        low=-row["high"], high=-row["low"], traffic=row["share_without"], sure=True,
    )  # fmt: skip
