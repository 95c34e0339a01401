"""Why one seller's, category's or band's exposure changed: a sentence, the parts, the codes, the queries and the items."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.causes import named
from app.charts import exposure as charts
from app.components.figure import figure, table
from app.components.links import address
from app.components.states import imported, nothing, panel
from app.fetch import current, fetch
from app.queries import groups
from app.queries import sellers as queries
from app.queries.groups import CROSSED

SIDE = 12  # parts drawn; the table has all


def causes(dimension: str, value: str, discount: str, stored: float) -> None:
    """What moved the items of one value; each table adds up to its change `stored`."""
    made = fetch(queries.change, current().run_id, dimension, value, discount)
    if made.by_query.empty:
        nothing("None of its items changed place on any query, so there is nothing to explain.")
        return
    rows = named(fetch(queries.causes, current().run_id, dimension, value, discount))
    filters = {"dimension": dimension, "value": value, "discount": discount}
    sums = {"Parts": rows[rows["told"] == "signal"], "codes": rows[rows["told"] == "prefix"], "queries": made.by_query}
    if rows.empty:
        del sums["Parts"], sums["codes"]
        nothing(
            "What moved its items is told by the contributions of the ranker, which "
            + (
                "an imported run does not have."
                if imported()
                else "are summed when a snapshot is made, for stored groups alone."
            )
        )
    views = [
        *(["By signal", "By code"] if len(rows) else []),
        "By query",
        "By item",
        *(["By part of it"] if dimension in CROSSED else []),
    ]
    places = st.tabs(views, key="told", on_change="rerun", bind="query-params")
    for name, place in zip(views, places, strict=True):
        if not place.open:
            continue
        with place, panel(name, height=300):
            if name == "By signal":
                _parts(sums["Parts"], filters)
            elif name == "By code":
                _by_code(sums["codes"], filters)
            elif name == "By query":
                _by_query(made, filters)
            elif name == "By item":
                _by_item(made, filters)
            else:
                _crossed(dimension, value, discount, filters)
    totals = {name: 100 * float(told["net"].sum()) for name, told in sums.items()}
    said = ", ".join(
        f"{name} {'add up ' if not place else ''}to {total:+.4f} pp"
        for place, (name, total) in enumerate(totals.items())
    )
    line = f"{text.sentence(said)}; the audited change is {100 * stored:+.4f} pp."
    if max(abs(total - 100 * stored) for total in totals.values()) > 1e-4:
        st.error(f"{line} They should be equal: do not trust these causes.", icon=":material/error:")
    else:
        st.caption(f":material/check: {line}", help=text.DEFINITIONS["cause"])


def _parts(rows: pd.DataFrame, filters: dict[str, str]) -> None:
    shown = rows.head(SIDE)[["name", "net"]].rename(columns={"net": "value"})
    if len(rows) > SIDE:
        more = pd.DataFrame({"name": [f"{len(rows) - SIDE} smaller parts"], "value": [rows["net"].iloc[SIDE:].sum()]})
        shown = pd.concat([shown, more], ignore_index=True)
    figure(
        charts.causes(shown),
        title="What moved its items",
        key="causes",
        data=rows.drop(columns=["told", "prefix", "label"]),
        n=f"{text.plural(len(rows), 'part', 'parts')}, all",
        alt=f"The largest part of the change: {shown['name'].iloc[0]} with {100 * shown['value'].iloc[0]:+.3f} pp",
        define="cause",
        filters=filters,
        subtitle="By level and signal of SIDs: what favoured its items when they rose, and those that passed them when they fell.",
    )


_PERCENT = {
    name: st.column_config.NumberColumn(title, width=75, format="%+.4f")
    for name, title in (("gain", "Gain, pp"), ("loss", "Loss, pp"), ("net", "Net, pp"), ("change", "Change, pp"))
}
_LINK = st.column_config.LinkColumn


def _by_code(codes: pd.DataFrame, filters: dict[str, str]) -> None:
    codes = _points(codes.drop(columns=["told", "signal"]))
    codes["open"] = [address("codebook", {"code": p}) if isinstance(p, str) else None for p in codes["prefix"]]
    table(
        codes, title="By code", key="cause-codes", define="cause", filters=filters, height=320, heading=False,
        show=["name", "net", "gain", "loss", "n_queries", "open"],
        columns=_PERCENT
        | {
            "name": st.column_config.TextColumn("Code of what was put ahead", width=320),
            "n_queries": st.column_config.NumberColumn("Queries", format="localized"),
            "open": _LINK("Code card", display_text="open"),
        },
    )  # fmt: skip


def _by_query(made: queries.Change, filters: dict[str, str]) -> None:
    rows = _points(made.by_query)
    rows["open"] = [address("query", {"q": q, "view": "Ranking"}) for q in rows["query_id"]]
    table(
        rows, title="By query", key="cause-queries", define="cause", filters=filters, height=320, heading=False,
        show=["text", "net", "gain", "loss", "frequency", "open"],
        columns=_PERCENT
        | {
            "text": st.column_config.TextColumn("Query", width=320),
            "frequency": st.column_config.NumberColumn("Searches", format="localized"),
            "open": _LINK("Ranking", display_text="open"),
        },
    )  # fmt: skip


def _by_item(made: queries.Change, filters: dict[str, str]) -> None:
    moved = _points(made.items)
    moved["move"] = [text.move(a, b) for a, b in zip(moved["rank"], moved["rank_without_sid"], strict=True)]
    moved["open"] = [
        address("explain", {"q": q, "item": i}) for q, i in zip(moved["query_id"], moved["item_id"], strict=True)
    ]
    table(
        moved, title="Its items that moved most", key="cause-items", define="exposure_change", filters=filters, height=320, heading=False,
        n=f"{len(moved)} places{', the largest changes' if len(moved) == queries.ITEMS else ', all'}",
        show=["title", "text", "rank_without_sid", "rank", "move", "matched_prefix", "change", "open"],
        columns=_PERCENT
        | {
            "title": st.column_config.TextColumn("Item", width=260), "text": st.column_config.TextColumn("Query", width=170),
            "rank_without_sid": st.column_config.NumberColumn("Rank without", width=90), "rank": st.column_config.NumberColumn("with SIDs", width=75),
            "move": st.column_config.TextColumn("In words", width=85), "matched_prefix": st.column_config.TextColumn("Its match", width=75),
            "open": _LINK("Why", display_text="explain", width=70),
        },
    )  # fmt: skip


def _crossed(dimension: str, value: str, discount: str, filters: dict[str, str]) -> None:
    """The same change within each category, or by seller."""
    rows = groups.under(fetch(groups.crossing, current().run_id, dimension, value), discount)
    if rows.empty:
        nothing("Nothing is ranked with and without SIDs.")
        return
    rows = rows.assign(
        **{f"{name}_pct": 100 * rows[name] for name in ("difference", "low", "high", "share", "share_without")}
    )
    rows.loc[rows["verdict"] == text.TOO_SMALL, ["low_pct", "high_pct", "q_value"]] = float("nan")
    number, across = st.column_config.NumberColumn, text.DIMENSION_NAME[CROSSED[dimension]]
    table(
        rows, title="By part of it", key="crossing", define="crossing", filters=filters, height=320, heading=False,
        show=["value", "verdict", "difference_pct", "low_pct", "high_pct", "share_without_pct", "share_pct", "n_items", "n_queries", "effective_n"],
        columns={
            "value": st.column_config.TextColumn(across, width=220), "verdict": st.column_config.TextColumn("In words", width=150),
            "difference_pct": number("Change, pp", format="%+.3f", width=85), "low_pct": number("95 % from, pp", format="%+.3f", width=95),
            "high_pct": number("to, pp", format="%+.3f", width=75), "share_without_pct": number("Without SIDs, %", format="%.3f", width=105),
            "share_pct": number("With SIDs, %", format="%.3f", width=90), "n_items": number("Items", format="localized", width=60),
            "n_queries": number("Queries", format="localized", width=65), "effective_n": number("Effective n", format="%.0f", width=85),
        },
    )  # fmt: skip


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    """Fractions of exposure as percentage points."""
    return rows.assign(**{name: 100 * rows[name] for name in ("gain", "loss", "net", "change") if name in rows})
