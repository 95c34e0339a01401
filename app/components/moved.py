"""What moved an item of a ranking: its place without and with SIDs, and what every level and signal of its SID adds."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components.answer import Answer, reference
from app.components.explanation import explain, load_ranker, sid_level, sid_signal
from app.components.figure import table
from app.components.links import choose, link
from app.fetch import current, fetch
from app.queries import snapshot as snapshot_queries
from app.rankers import SIGNAL_NAMES, unit
from engine.errors import EngineError


def moved_item(given: Answer, row: pd.Series) -> None:
    """A drawer on one row of the ranking; closing it lets go of the bound `item`."""

    @st.dialog("What moved it", width="medium", position="right", on_dismiss=lambda: choose("item", ""))
    def drawer() -> None:
        _told(given, row)

    drawer()


def _told(given: Answer, row: pd.Series) -> None:
    st.text(str(row["title"]))
    facts = [str(row[name]) for name in ("seller", "category", "sid") if isinstance(row[name], str)]
    st.caption(text.escape(" · ".join(facts)))
    st.markdown(
        f"{_places(row)} SID match: {row['dots']} ({text.escape(row['match'])}).", help=text.DEFINITIONS["match"]
    )
    if pd.notna(row["rank"]):
        _parts(given, row)
    params = {"q": given.query_id or given.text, "item": row["item_id"]}
    link("explain", "Explain this pair", params)
    link("query", "Where was it lost?", params | {"view": "Where was it lost?"})
    if isinstance(row["matched_prefix"], str):
        link("codebook", f"Code card of {text.escape(row['matched_prefix'])}", {"code": row["matched_prefix"]})


def _places(row: pd.Series) -> str:
    """Where it stands, without and with SIDs."""
    if pd.isna(row["rank"]):
        return "**Not retrieved**: it was judged, and is not among the candidates."
    if pd.isna(row["rank_without_sid"]):
        return f"**Rank {int(row['rank'])}** with SIDs; its rank without them is unknown."
    return f"Rank {int(row['rank_without_sid'])} without SIDs, **rank {int(row['rank'])}** with them: {row['move']}."


def _parts(given: Answer, row: pd.Series) -> None:
    """What SIDs add to its score, by level and signal."""
    point = reference(given)
    try:
        made = explain(load_ranker(point), given, row)
    except EngineError as error:
        st.caption(f"What SIDs add cannot be told: {text.escape(error)}.")
        return
    ours = [(f, float(v)) for f, v in zip(made.features, made.values, strict=True) if f.startswith("sid_")]
    rest = float(made.values.sum()) - sum(v for _, v in ours)
    counted = unit(fetch(snapshot_queries.run, current().run_id).ranker)
    st.markdown(
        f"SIDs add **{sum(v for _, v in ours):+.3f}** to its score ({counted.axis}), everything else {rest:+.3f}, from the "
        f"query's reference {made.reference:.3f} to {made.score:.3f}.",
        help=text.DEFINITIONS["contributions"],
    )
    parts = pd.DataFrame(
        {
            "level": [int(sid_level(f).removeprefix("sid_")) for f, _ in ours],
            "signal": [SIGNAL_NAMES.get(sid_signal(f).removeprefix("sid."), "Match with a beam") if "." in f else "Match with a beam" for f, _ in ours],
            "value": [v for _, v in ours],
        }
    )  # fmt: skip
    wide = parts.pivot_table(index="signal", columns="level", values="value", aggfunc="sum", sort=False)
    wide = wide.reindex(sorted(wide.columns), axis=1)
    wide.columns = [f"level_{level}" for level in wide.columns]
    wide = wide.assign(total=wide.sum(axis=1)).reset_index()
    number = {
        name: st.column_config.NumberColumn(name.replace("_", " ").capitalize(), format="%+.3f")
        for name in wide.columns[1:]
    }
    table(
        wide,
        title="What SIDs add, by level and signal",
        key="ranking-parts",
        n=f"{len(ours)} parts, {made.origin}",
        define="contributions",
        filters={"query": given.text, "item": str(row["item_id"])},
        columns={"signal": st.column_config.TextColumn("Signal", width=190), **number},
        height="content",
    )
