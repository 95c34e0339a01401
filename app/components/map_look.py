"""A closer look at a part of the map: how faithful the map is there, what is over-represented, and the items themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.components.figure import chosen_row, paged_table, table
from app.components.links import choose
from app.components.states import bad_parameter
from app.fetch import fetch
from app.queries import map as maps
from app.queries import map_parts as parts
from app.text import escape
from engine.audit.enrichment import enriched

IN_VIEW = "the part in view"
FIELDS = {"category": "Category", "code": "Code", "seller": "Seller", "brand": "Brand", "word": "Word of titles"}
OPTIONS = {"drawn": "drawn region", "found": "items lit up", "code": "chosen code", "view": "part in view"}


class Look(NamedTuple):
    """A part of the map: how `app.queries.map_parts` names it, and its name in words (plain text)."""

    kind: str
    text: str
    name: str


def chosen(run: str, code: str, found: str, box: maps.Box | None) -> Look | None:
    """The part to look at: what was drawn, else the items found, else the code, else what a zoom left; where there are
    several, a control asks which."""
    raw = st.query_params.get("sel")
    if raw and parts.region(raw) is None:
        bad_parameter("sel", raw, "Draw a box or a lasso on the map.")
        raw = None
    offered = {}
    if raw:
        offered["drawn"] = Look("region", raw, "the drawn region")
    if found and fetch(parts.size, run, "words", found):
        offered["found"] = Look("words", found, f"the items with “{found[:60]}”")
    if code:
        offered["code"] = Look("code", code, f"code {code}")
    if box:
        offered["view"] = Look("region", ",".join(f"{v:.4f}" for v in box), IN_VIEW)
    if len(offered) < 2:
        return next(iter(offered.values()), None)
    if st.session_state.get("look") not in (None, *offered):
        del st.session_state["look"]
    asked = st.segmented_control(
        "Look closer at", list(offered), default=next(iter(offered)), required=True, key="look", bind="query-params",
        format_func=OPTIONS.__getitem__,
    )  # fmt: skip
    return offered[asked or next(iter(offered))]


def show(run: str, look: Look | None, whole: int) -> None:
    """How many, how faithful, what stands out, and the items."""
    if look is None:
        st.caption(
            "Draw a box or a lasso, light up items or choose a code: what is over-represented among them is told here, "
            "with the items and how faithful the map is around them."
        )
        return
    n = fetch(parts.size, run, look.kind, look.text)
    st.subheader(f"A closer look at {escape(look.name)}", anchor=False, help=text.DEFINITIONS["enrichment"])
    if not n:
        st.caption("No item lies there.")
        return
    st.markdown(f"**{text.plural(n, 'item', 'items')}**, {text.part(n, whole)} of the {whole:,} on the map.")
    faithful(run, look)
    compared = compare(fetch(parts.carried, run, look.kind, look.text), look)
    _standing_out(compared, look)
    paged_table(
        parts.rows, (run, look.kind, look.text), rows=n, title="Items looked at", key="map-rows", chooses=("item_id", "item"),
        filters={"part": f"{look.kind} {look.text}"}, define="neighbours_kept", height=420,
        show=["title", "category", "seller", "brand", "price", "currency", "sid", "kept", "item_id"],
        columns={
            "title": st.column_config.TextColumn("Title", width=330), "category": st.column_config.TextColumn("Category", width=200), "seller": "Seller",
            "brand": "Brand", "price": st.column_config.NumberColumn("Price", format="%.2f"), "currency": "Currency", "sid": "SID",
            "item_id": "Item",
        },
        percent={"kept": "Neighbours kept"},
    )  # fmt: skip


def faithful(run: str, look: Look) -> None:
    """The share of true neighbours that the map keeps around these items, beside the whole map."""
    whole, here = fetch(parts.kept, run, "", ""), fetch(parts.kept, run, look.kind, look.text)
    trust = fetch(maps.faithfulness, run)
    if whole.empty or trust is None:
        st.caption("How faithful the map is around single items was not measured.")
        return
    said = escape(told_kept(here, whole, int(trust["neighbours"])))
    st.caption(said, help=text.DEFINITIONS["neighbours_kept"])


def told_kept(here: pd.DataFrame, whole: pd.DataFrame, neighbours: int) -> str:
    """A sentence on neighbours kept (rows: kept, n) in a part and on the whole map; an interval of the mean, normal, 95 %."""
    n, mean, far = mean_kept(here)
    total, overall, _ = mean_kept(whole)
    start = f"Faithfulness here: of an item's {neighbours} nearest neighbours "
    if n < text.LEAST_QUERIES:
        return f"{start}the map keeps: {text.TOO_SMALL} ({text.plural(n, 'measured item', 'measured items')})."
    verdict = "fewer than" if mean + far < overall else "more than" if mean - far > overall else "about as many as"
    return (
        f"{start}the map keeps {text.number(mean, 'percent')} {text.interval(mean - far, mean + far, 'percent')}, mean over {n:,} "
        f"measured items: {verdict} on the whole map ({text.number(overall, 'percent')} over {total:,})."
    )


def mean_kept(rows: pd.DataFrame) -> tuple[int, float, float]:
    """Items, their mean share kept, and half the width of its interval."""
    kept, count = rows["kept"].to_numpy(dtype=np.float64), rows["n"].to_numpy(dtype=np.float64)
    n = count.sum()
    if n < 2:
        return int(n), float("nan"), float("nan")
    mean = kept @ count / n
    variance = ((kept - mean) ** 2) @ count / (n - 1)
    return int(n), float(mean), float(1.96 * np.sqrt(variance / n))


def compare(carried: pd.DataFrame, look: Look) -> pd.DataFrame:
    """What the part carries against the rest, less what holds by the choice itself: the chosen code, those above and below it,
    the words that were looked for. First what most items carry beyond expectation.

    Adds name, share_inside, share_outside, beyond (items more than at the rate elsewhere), log_odds, low, stands_out.
    """
    given = np.zeros(len(carried), dtype=bool)
    if look.kind == "code":
        own = [f"{v}-".startswith(f"{look.text}-") or f"{look.text}-".startswith(f"{v}-") for v in carried["value"]]
        given = (carried["field"] == "code").to_numpy() & np.array(own, dtype=bool)
    elif look.kind == "words":
        own = [any(word in v for word in parts.words(look.text)) for v in carried["value"]]
        given = (carried["field"] == "word").to_numpy() & np.array(own, dtype=bool)
    rows = carried[~given].reset_index(drop=True)
    counts = (rows[name].to_numpy(dtype=np.float64) for name in ("inside", "outside", "n_inside", "n_outside"))
    found = enriched(*counts)
    labelled = rows["label"].notna()
    rows["name"] = rows["value"].where(~labelled, rows["value"] + " " + rows["label"].fillna(""))
    rows["share_inside"] = rows["inside"] / rows["n_inside"]
    rows["share_outside"] = rows["outside"] / rows["n_outside"].where(rows["n_outside"] > 0)
    rows["beyond"] = rows["inside"] - rows["n_inside"] * rows["share_outside"].fillna(0.0)
    rows = rows.assign(log_odds=found.log_odds, low=found.low, stands_out=found.stands_out)
    return rows.sort_values(["beyond", "low", "value"], ascending=[False, False, True], ignore_index=True)


def _standing_out(compared: pd.DataFrame, look: Look) -> None:
    """The first of each kind in a sentence, then all that stand out; the export holds everything compared."""
    clear = compared[compared["stands_out"]]
    m = len(compared)
    if not m:
        st.caption(
            f"Nothing to compare: no code, seller, brand or word is carried by {parts.LEAST_WITH} of them or more."
        )
        return
    if clear.empty:
        st.markdown(
            f"Nothing stands out: none of the {m:,} codes, categories, sellers, brands and words compared is clearly more common "
            "here than elsewhere."
        )
        return
    st.markdown(f"What sets them apart: {'; '.join(strongest(clear))}.")

    def light_up() -> None:
        row = chosen_row("map-enriched", clear)
        if row is not None:
            choose("code" if row["field"] == "code" else "lit", str(row["value"]))

    table(
        clear.assign(kind=clear["field"].map(FIELDS)), title="What is over-represented", key="map-enriched", height=320, full=lambda: compared,
        n=f"{len(clear):,} of {m:,} compared stand out", define="enrichment", filters={"part": f"{look.kind} {look.text}"},
        on_select=light_up,
        show=["kind", "name", "inside", "share_inside", "outside", "share_outside", "beyond", "log_odds", "low"],
        columns={
            "kind": "Kind", "name": st.column_config.TextColumn("Name", width=230),
            "inside": st.column_config.NumberColumn("Here (items)", format="localized"),
            "outside": st.column_config.NumberColumn("Elsewhere (items)", format="localized"),
            "beyond": st.column_config.NumberColumn("More than expected", format="%.0f"),
            "log_odds": st.column_config.NumberColumn("Log-odds ratio", format="%.2f"),
            "low": st.column_config.NumberColumn("At least (95 %)", format="%.2f"),
        },
        percent={"share_inside": "Here", "share_outside": "Elsewhere"},
    )  # fmt: skip


def strongest(clear: pd.DataFrame) -> list[str]:
    """The first value of each kind with its two shares, as Markdown."""
    told = []
    for field, name in FIELDS.items():
        rows = clear[clear["field"] == field]
        if len(rows):
            row = rows.iloc[0]
            here, there = (text.number(row[share], "percent") for share in ("share_inside", "share_outside"))
            told.append(f"{name.lower()} **{escape(str(row['name'])[:80])}** ({here} of them, {there} of the rest)")
    return told
