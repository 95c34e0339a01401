"""What if titles were written otherwise in bulk? Typing errors, another order and stuffed words, for sampled items of a group."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.components import live
from app.components.explanation import shown_run
from app.components.figure import table
from app.components.links import address
from app.components.states import bad_parameter, lacks, nothing, unfilled
from app.fetch import current, fetch
from app.queries import what_if as queries
from engine.audit.intervals import Interval, mean_interval, wilson
from engine.errors import EngineError

GROUPS = {"Category": "category", "Seller": "seller"}  # the words stand in the address
KINDS = {"typo": "A typing error", "reorder": "Words in another order", "stuffing": "Three frequent words appended"}
KEPT = 16
Key = tuple[str, str, str, str, int]


def bulk() -> None:
    """Choose a group and how many of its items; what writing their titles otherwise does to SIDs and places."""
    if lacks("judgments") or not shown_run().ranker:
        unfilled("This run ranks nothing, so there are no places to change.", needs=("judgments",))
        return
    word = st.segmented_control(
        "Items of a", list(GROUPS), default="Category", required=True, key="among", bind="query-params"
    )
    word = str(word or "Category")
    dimension = GROUPS[word]
    names = fetch(queries.groups, dimension)
    if not names:
        nothing(f"The catalogue knows no {word.lower()}.")
        return
    key = f"in_{dimension}"
    asked = st.query_params.get(key)
    if asked and asked not in names:
        bad_parameter(dimension, asked, f"Shown instead: {text.escape(names[0])}.")
    left, right = st.columns([2, 1])
    with left:
        value = st.selectbox(word, names, key=key, bind="query-params")
    with right:
        n = st.slider("Sampled items", 10, 100, 40, step=10, key="n", bind="query-params")
    sampled = fetch(queries.sample, current().run_id, dimension, str(value), int(n))
    st.caption(text.DEFINITIONS["bulk"])
    if sampled.empty:
        nothing("No stored query ranks an item of this group.")
        return
    total, ranked = int(sampled["n_items"].iloc[0]), int(sampled["n_ranked"].iloc[0])
    st.caption(
        f"{len(sampled)} of {text.plural(ranked, 'item', 'items')} that some stored query ranks ({total:,} in all), drawn by a hash of "
        f"their ids; each for the most asked query that ranks it in its first {queries.PLACES} (else for the one that ranks it best)."
    )
    if not st.toggle("Write their titles otherwise and ask again (some seconds)", key="bulk", bind="query-params"):
        return
    where = current()
    made = _results((where.snapshot_id, where.run_id, dimension, str(value), int(n)), sampled)
    if made is not None:
        told(made, sampled, f"{word} {value}")


@st.cache_resource
def _kept() -> OrderedDict[Key, pd.DataFrame]:
    """The last results, shared by the sessions of this server."""
    return OrderedDict()


def _results(key: Key, sampled: pd.DataFrame) -> pd.DataFrame | None:
    """The rewritten titles' rows; None while the model cannot be asked, which was then said."""
    if key in _kept():
        return _kept()[key]
    model = live.model(str(current().workspace), current().run_id)
    if model.state == "warming":
        live.wait(model)
        return None
    if model.state == "failed":
        live.unavailable(model)
        return None
    bar = st.progress(0.0)
    pairs = list(zip(sampled["query_id"], sampled["item_id"], strict=True))
    found = []
    try:
        steps = model.ask(lambda run: run.rewritten(pairs))
        for done, name in enumerate(KINDS.values()):
            bar.progress(done / len(KINDS), f"{name} …")
            found.append(model.ask(lambda _: next(steps)))  # a turn each: others' questions come between
    except EngineError as error:
        bar.empty()
        nothing(text.escape(error))
        return None
    bar.empty()
    made = pd.concat([rows for rows in found if len(rows)] or found[:1], ignore_index=True)
    _kept()[key] = made
    while len(_kept()) > KEPT:
        _kept().popitem(last=False)
    return made


def summary(made: pd.DataFrame) -> pd.DataFrame:
    """For each kind: n, how often the first code and the whole SID change, the mean loss of places, with intervals."""
    rows = []
    for kind in KINDS:
        of = made[made["kind"] == kind]
        there = of[of["rank"].notna() & of["new_rank"].notna()]
        first = wilson(int((of["flipped"] == 1).sum()), len(of))
        whole = wilson(int((of["flipped"] > 0).sum()), len(of))
        places = mean_interval((there["new_rank"] - there["rank"]).to_numpy(dtype=float))
        fell = wilson(int(((of["rank"] <= 10) & ~(of["new_rank"] <= 10)).sum()), int((of["rank"] <= 10).sum()))
        rows.append(
            (kind, len(of), first, whole, places, fell, int((of["rank"].notna() & of["new_rank"].isna()).sum()))
        )
    return pd.DataFrame(rows, columns=["kind", "n", "first", "whole", "places", "fell", "lost"])


def told(made: pd.DataFrame, sampled: pd.DataFrame, group: str) -> None:
    """One sentence a kind, and every rewritten title."""
    for row in summary(made).to_dict("records"):
        st.markdown(in_words(row))
    rows = made.merge(sampled[["item_id", "text"]], on="item_id").assign(
        kind=made["kind"].map(KINDS), level=np.where(made["flipped"] > 0, made["flipped"].astype(str), ""),
        open=[address("what-if", {"try": "Listing", "q": q, "item": i, "title": t}) for q, i, t in zip(made["query_id"], made["item_id"], made["new_title"], strict=True)],
    )  # fmt: skip
    table(
        rows.assign(fall=rows["new_rank"] - rows["rank"]).sort_values("fall", ascending=False, na_position="first"),
        title="Every title written otherwise",
        key="bulk",
        n=f"{text.plural(len(rows), 'title', 'titles')} of {text.plural(len(sampled), 'item', 'items')}, all",
        define="bulk",
        show=["kind", "title", "new_title", "text", "rank", "new_rank", "level", "open"],
        columns={
            "kind": st.column_config.TextColumn("What is done", width=130), "title": st.column_config.TextColumn("Title", width=190),
            "new_title": st.column_config.TextColumn("Written so", width=190),
            "text": st.column_config.TextColumn("Query", width=190), "rank": st.column_config.NumberColumn("Rank", width="small"),
            "new_rank": st.column_config.NumberColumn("Rank so", width="small", help="Blank: no longer retrieved"),
            "level": st.column_config.TextColumn("SID from level", width="small", help="Blank: the SID stays"),
            "open": st.column_config.LinkColumn("Open", display_text="edit"),
        },
        filters={"group": group, "sampled items": str(len(sampled))},
        height=380,
    )  # fmt: skip


def in_words(row: Mapping[Hashable, Any]) -> str:
    """One kind's outcome, with its n and intervals."""
    kind, n = str(row["kind"]), int(row["n"])
    first, whole, places, fell = (Interval(*row[k]) for k in ("first", "whole", "places", "fell"))
    if n < text.LEAST_QUERIES:
        return (
            f"**{KINDS[kind]}** ({text.plural(n, 'title', 'titles')}): {text.TOO_SMALL} for a rate; see the rows below."
        )
    lost = f", {row['lost']} {'is' if row['lost'] == 1 else 'are'} no longer retrieved" if row["lost"] else ""
    page = (
        f" Of {fell.n} on page one, {text.number(fell.value, 'percent')} leave it {text.interval(fell.low, fell.high, 'percent')}."
        if fell.n >= text.LEAST_QUERIES
        else f" Only {fell.n} were on page one: {text.TOO_SMALL} for a rate."
    )
    return (
        f"**{KINDS[kind]}** ({n} titles): the SID changes in {text.number(whole.value, 'percent')} "
        f"{text.interval(whole.low, whole.high, 'percent')}, already its first code in {text.number(first.value, 'percent')} "
        f"{text.interval(first.low, first.high, 'percent')}; the place falls by {places.value:+.1f} on average "
        f"[{places.low:+.1f}, {places.high:+.1f}] ({places.n} that stay retrieved{lost}).{page}"
    )
