"""Why one seller's, category's or band's exposure changed, in words: the page, its one-page answer and the command line share them."""

from __future__ import annotations

import pandas as pd

from app import text
from engine.audit.causes import PARTS, SIDS

BELOW, NOT_SIDS, UNKNOWN = PARTS
NAMES = {
    BELOW: "Through SIDs, below the explained places",
    NOT_SIDS: "Not through SIDs: all else",
    UNKNOWN: "Not explained",
}


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a name each: a level and signal of SIDs, a code with its label, or what is not through SIDs."""
    names = []
    for row in rows.to_dict("records"):
        if row["part"] != SIDS:
            names.append(NAMES[row["part"]])
        elif row["told"] == "signal":
            signal = f".{row['signal']}" if isinstance(row["signal"], str) else ""
            names.append(text.feature_name(f"sid_{int(row['level'])}{signal}"))
        elif not isinstance(row["prefix"], str):
            names.append("All other codes")
        else:
            label = row["label"].split(" · ")[0] if isinstance(row["label"], str) and row["label"] else ""
            names.append(f"{row['prefix']} ({label})" if label else row["prefix"])
    return rows.assign(name=names)


def sentence(rows: pd.DataFrame) -> str:
    """The causes in one sentence, from the rows told by signal."""

    def points(net: float) -> str:
        return text.number(net, "share_points")

    sids = rows[rows["part"] == SIDS]
    net = rows.groupby("part")["net"].sum()
    said = []
    if len(sids):
        level = sids.groupby("level")["net"].sum()
        side = 1.0 if net[SIDS] >= 0 else -1.0
        main = int(level.index[int((level * side).to_numpy().argmax())])
        inside = f"level {main}: {points(level[main])}"
        signals = sids[(sids["level"] == main) & sids["signal"].notna()]
        if len(signals):
            signal = signals["name"].iloc[int((signals["net"] * side).to_numpy().argmax())].partition(": ")[2]
            inside += f", mostly {signal[:1].lower()}{signal[1:]}"
        said.append(f"{points(net[SIDS])} go through SIDs ({inside})")
    for part, words in (
        (NOT_SIDS, "not through SIDs"),
        (BELOW, "through SIDs below the places that are explained in full"),
        (UNKNOWN, "not explained"),
    ):
        if part in net:
            said.append(f"{points(net[part])} {words}")
    return f"Of the {points(float(rows['net'].sum()))}, {text.listed(said)}."
