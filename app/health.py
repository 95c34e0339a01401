"""What the health of a codebook means, in sentences: one for what is well, one for each verdict that is not good.

Each sentence gives the measure's value and the bar that it is held against, as the snapshot's own rows have them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from app.text import listed, number, sentence


class Said(NamedTuple):
    """One sentence on the codebook's health."""

    verdict: str  # 'good' | 'warn' | 'bad'.
    words: str
    define: str = ""  # Key of app.text.DEFINITIONS.
    measure: str = ""


Row = Mapping[Hashable, Any]


def _where(row: Row) -> str:
    return "The whole SID" if pd.isna(row["level"]) else f"Level {int(row['level'])}"


def _degree(row: Row) -> str:
    return "mild" if row["verdict"] == "warn" else "serious"


def _bar(row: Row, form: str, way: str) -> str:
    if pd.isna(row["threshold"]):
        return "no bar is stored"
    return f"good {way} {row['threshold']:g}" if form == "number" else f"good {way} {number(row['threshold'], form)}"


def _of(rows: pd.DataFrame, row: Row, metric: str) -> float:
    """Another measure of the same level; NaN where it is not there."""
    level: pd.Series[bool] = rows["level"].isna() if pd.isna(row["level"]) else rows["level"] == row["level"]
    found = rows.loc[level & (rows["metric"] == metric), "value"]
    return float(found.iloc[0]) if len(found) else float("nan")


def _utilisation(rows: pd.DataFrame, row: Row) -> str:
    dead = number(_of(rows, row, "dead_codes"), "count")
    return (
        f"{_where(row)} leaves codes unused: {number(row['value'], 'percent')} of them hold items ({_bar(row, 'percent', 'from')}), "
        f"{dead} hold none."
    )


def _perplexity(rows: pd.DataFrame, row: Row) -> str:
    even = number(_of(rows, row, "perplexity"))
    return (
        f"{_where(row)} puts most items under few codes: they are spread as if only {even} codes were in use, "
        f"{number(row['value'])} of the level's size (perplexity / size, {_bar(row, 'number', 'from')})."
    )


def _hourglass(rows: pd.DataFrame, row: Row) -> str:
    alone = str(row.get("note") or "").startswith("against the deeper level alone")
    beside = "the deeper level (level 1 follows the categories and does not count)" if alone else "the levels beside it"
    return (
        f"{_where(row)} is a {_degree(row)} bottleneck, because its codes are used less evenly than those of {beside}: "
        f"hourglass index {number(row['value'])}, {_bar(row, 'number', 'up to')}."
    )


def _aliasing(row: Row) -> str:
    return f"{number(row['value'], 'percent')} share their whole SID with another (aliasing, {_bar(row, 'percent', 'up to')})"


def _largest(row: Row) -> str:
    return f"the most crowded SID holds {number(row['value'], 'count')} ({_bar(row, 'count', 'up to')})"


def _others(row: Row) -> str:
    return f"one drawn at random shares its SID with {number(row['value'])} others on average ({_bar(row, 'number', 'up to')})"


def _crowding(rows: pd.DataFrame, crowded: list[Row]) -> Said:
    """One sentence on how many items share a SID, which is no fault between alike items."""
    parts = [CROWDING[str(row["metric"])](row) for row in crowded]
    worst = "bad" if any(row["verdict"] == "bad" for row in crowded) else "warn"
    harm = rows.loc[rows["metric"] == "harmful_share", "value"]
    known = len(harm) and pd.notna(harm.iloc[0])
    more = f"; {number(float(harm.iloc[0]), 'percent')} of all items are under one that does harm" if known else ""
    words = f"Items are crowded under few SIDs: {listed(parts)}. Between alike items sharing is wanted{more}."
    return Said(worst, words, "aliasing", "aliasing")


def _harmful(rows: pd.DataFrame, row: Row) -> str:
    note = f" This is {row['note']}." if isinstance(row.get("note"), str) and row["note"] else ""
    return (
        f"{number(row['value'], 'percent')} of all items are under a SID that holds items of different categories, or items that "
        f"one query found relevant and not (harmful sharing, {_bar(row, 'percent', 'up to')}): no SID tells them apart.{note}"
    )


def _purity(rows: pd.DataFrame, row: Row) -> str:
    return (
        f"{_where(row)} mixes categories: {number(row['value'], 'percent')} of its items lie in the commonest category of their "
        f"code (purity, {_bar(row, 'percent', 'from')})."
    )


def _neighbours(rows: pd.DataFrame, row: Row) -> str:
    chance = number(_of(rows, row, "neighbour_agreement_random"), "percent")
    return (
        f"{_where(row)} parts items that are alike: {number(row['value'], 'percent')} of true nearest neighbours share its codes, "
        f"{chance} of random pairs do ({_bar(row, 'percent', 'from')})."
    )


SENTENCES: dict[str, tuple[Callable[[pd.DataFrame, Row], str], str]] = {
    "hourglass": (_hourglass, "hourglass"),
    "utilisation": (_utilisation, "utilisation"),
    "perplexity_ratio": (_perplexity, "perplexity_ratio"),
    "category_purity": (_purity, "purity"),
    "neighbour_agreement": (_neighbours, "neighbour_agreement"),
    "harmful_share": (_harmful, "harmful_aliasing"),
}
"""By measure, in the order they are told. `dead_codes` says what `utilisation` does."""
CROWDING: dict[str, Callable[[Row], str]] = {
    "aliasing": _aliasing,
    "largest_bucket": _largest,
    "same_sid_others": _others,
}
"""Told together, last."""
WELL = {
    "utilisation": "nearly all codes are in use",
    "perplexity_ratio": "items are spread evenly over codes",
    "hourglass": "no bottleneck",
    "category_purity": "codes keep categories apart",
    "neighbour_agreement": "items that are alike share codes",
    "harmful_share": "hardly any sharing does harm",
    "aliasing": "few items share a whole SID",
    "largest_bucket": "no SID is crowded",
    "same_sid_others": "an item shares its SID with few others",
}


def sentences(rows: pd.DataFrame) -> list[Said]:
    """What is well in one sentence, then each measure that is poor or to watch, poor ones first.

    `rows` of table `health`: level, metric, value, threshold, verdict, note.
    """
    judged = rows[rows["metric"].isin((*SENTENCES, *CROWDING)) & rows["verdict"].isin(("good", "warn", "bad"))]
    amiss: list[Row] = judged[judged["verdict"] != "good"].to_dict("records")  # type: ignore[assignment]
    made = []
    for row in amiss:
        if row["metric"] in SENTENCES:
            words, define = SENTENCES[str(row["metric"])]
            made.append(Said(str(row["verdict"]), words(rows, row), define, str(row["metric"])))
    made.sort(key=lambda said: (said.verdict != "bad", list(SENTENCES).index(said.measure)))
    if crowded := [row for metric in CROWDING for row in amiss if row["metric"] == metric]:
        made.append(_crowding(rows, crowded))
    well = _well(judged[judged["verdict"] == "good"])
    return [Said("good", well), *made] if well else made


def _well(good: pd.DataFrame) -> str:
    """'Nearly all codes are in use (levels 2 and 3, 100.0 %), ...'."""
    parts = []
    for metric in (*SENTENCES, *CROWDING):
        own = good[good["metric"] == metric]
        if own.empty:
            continue
        at = [str(int(level)) for level in own["level"].dropna()]
        place = f"level{'s' if len(at) > 1 else ''} {listed(at)}" if at else ""
        parts.append(f"{WELL[metric]} ({place})" if place else WELL[metric])
    return f"{sentence(listed(parts))}." if parts else ""
