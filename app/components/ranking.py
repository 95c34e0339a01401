"""A query's scored items with their catalogue facts and their rank with and without SIDs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.components.answer import Answer
from app.components.figure import table
from app.components.links import address
from app.components.metric import metric_card
from app.components.states import unfilled
from app.fetch import current, fetch
from app.queries import query as queries
from app.queries import snapshot as snapshot_queries
from app.rankers import unit

SIDE = 10
"""Places shown of each ranking side by side."""


def rows(given: Answer) -> pd.DataFrame:
    """`given.scores` with title, seller, category, SID, grade, and the change of rank in words; by rank."""
    run = current().run_id
    facts = fetch(queries.item_facts, run, given.query_id, tuple(sorted(set(given.scores["item_id"]))))
    out = given.scores.merge(facts, on="item_id", how="left").sort_values(["rank", "item_id"], na_position="last")
    out["move"] = [text.move(a, b) for a, b in zip(out["rank"], out["rank_without_sid"], strict=True)]
    levels = fetch(snapshot_queries.run, run).levels
    out["match"] = [text.match(m, levels, p) for m, p in zip(out["match_level"], out["matched_prefix"], strict=True)]
    out["depth"] = [text.match(m, levels, None) for m in out["match_level"]]
    out["explain"] = out["item_id"].map(lambda i: address("explain", {"q": given.query_id or given.text, "item": i}))
    return out.reset_index(drop=True)


def columns() -> dict[str, object]:
    """Column headers of a ranking, with units."""
    counted = unit(fetch(snapshot_queries.run, current().run_id).ranker)
    return {
        "rank": st.column_config.NumberColumn("Rank with SIDs"),
        "rank_without_sid": st.column_config.NumberColumn("Rank without", help=text.DEFINITIONS["without"]),
        "move": "Change",
        "title": st.column_config.TextColumn("Title", width=260),
        "grade": st.column_config.NumberColumn("Grade", format="%.1f", help=text.DEFINITIONS["grade"]),
        "match": st.column_config.TextColumn("SID match", help=text.DEFINITIONS["match"]),
        "seller": "Seller",
        "category": "Category",
        "score": st.column_config.NumberColumn(
            f"Score, {counted.column}", format="%.3f", help=text.DEFINITIONS[counted.define]
        ),
        "score_without_sid": st.column_config.NumberColumn(f"Score without, {counted.column}", format="%.3f"),
        "expected_grade": st.column_config.NumberColumn("Expected grade", format="%.2f"),
        "first_stage_rank": st.column_config.NumberColumn("First-stage rank"),
        "explain": st.column_config.LinkColumn("Why", display_text="explain"),
        "item_id": "Item",
    }


def _score() -> str:
    """Key of the definition of the run's score."""
    return unit(fetch(snapshot_queries.run, current().run_id).ranker).define


def show(given: Answer) -> None:
    """The ranking with and without SIDs: the first places side by side, then every scored item."""
    if given.scores.empty:
        unfilled("No item was retrieved or judged for this query, so there is no ranking.", needs=("scores with SIDs",))
        _under(given)
        return
    ranked = rows(given)
    retrieved = ranked[ranked["rank"].notna()]
    _own_metrics(given)
    compared = bool(retrieved["rank_without_sid"].notna().any())
    if compared:
        _side_by_side(given, retrieved)
    else:
        unfilled("This query was not ranked without SIDs.", needs=("scores without SIDs",))
    _everything(given, ranked, retrieved)


def _under(given: Answer) -> None:
    """What the beams point at, where nothing is ranked: in their order, items of one SID as they come."""
    found = fetch(queries.items_under, current().run_id, tuple(given.beams["sid"]))
    if found.empty:
        return
    found = found.merge(given.beams[["sid", "rank", "log_prob"]], on="sid").sort_values(["rank", "item_id"])
    table(
        found.assign(probability=100 * np.exp(found["log_prob"])),
        title="Items under the beams",
        key="under",
        n=f"{text.plural(len(found), 'item', 'items')} of {text.plural(len(given.beams), 'beam', 'beams')}, all",
        define="beam",
        filters={"query": given.text},
        show=["rank", "sid", "title", "category", "seller", "probability", "item_id"],
        columns={
            "rank": st.column_config.NumberColumn("Beam", width=56), "sid": "SID",
            "title": st.column_config.TextColumn("Title", width=260), "category": "Category", "seller": "Seller",
            "probability": st.column_config.NumberColumn("Probability of the SID, %", format="%.2f"), "item_id": "Item",
        },
    )  # fmt: skip


def _side_by_side(given: Answer, retrieved: pd.DataFrame) -> None:
    """How many candidates move, and the first places of both rankings."""
    up = int((retrieved["rank"] < retrieved["rank_without_sid"]).sum())
    down = int((retrieved["rank"] > retrieved["rank_without_sid"]).sum())
    entered = int(((retrieved["rank"] <= SIDE) & (retrieved["rank_without_sid"] > SIDE)).sum())
    st.markdown(
        f"With SIDs {up} of {len(retrieved)} candidates move up, {down} down; {text.plural(entered, 'enters', 'enter')} the "
        f"first {SIDE}.",
        help=text.DEFINITIONS["without"],
    )
    left, right = st.columns(2)
    for place, by, name in ((left, "rank", "With SIDs"), (right, "rank_without_sid", "Without SIDs")):
        with place:
            first = retrieved.sort_values(by).head(SIDE)
            table(
                first,
                title=name,
                key=f"first-{by}",
                n=f"first {len(first)} of {len(retrieved)} candidates",
                define="without" if by == "rank_without_sid" else _score(),
                filters={"query": given.text},
                show=[by, *(["move"] if by == "rank" else []), "title", "grade", "depth", "seller", "explain"],
                columns=columns()
                | {
                    by: st.column_config.NumberColumn("Rank", width=40),
                    "move": st.column_config.TextColumn("Change", width=72),
                    "title": st.column_config.TextColumn("Title", width=140 if by == "rank" else 210),
                    "grade": st.column_config.NumberColumn(
                        "Grade", width=45, format="%.1f", help=text.DEFINITIONS["grade"]
                    ),
                    "depth": st.column_config.TextColumn("Match", width=58, help=text.DEFINITIONS["match"]),
                    "seller": st.column_config.TextColumn("Seller", width=88),
                    "explain": st.column_config.LinkColumn("Why", width=50, display_text="explain"),
                },
                alt=f"First {SIDE} places {name[:1].lower()}{name[1:]}",
            )


def _everything(given: Answer, ranked: pd.DataFrame, retrieved: pd.DataFrame) -> None:
    """Every scored item as a table."""
    judged = int(ranked["judged"].sum())
    lost = int((~ranked["retrieved"]).sum())
    table(
        ranked,
        title="Every scored item",
        key="ranking",
        n=f"{len(retrieved)} candidates, all, and {text.plural(lost, 'judged item', 'judged items')} not retrieved; "
        f"{judged} judged in all",
        define=_score(),
        filters={"query": given.text},
        show=["rank", "rank_without_sid", "move", "title", "grade", "match", "seller", "explain", "category", "score",
              "score_without_sid", "expected_grade", "first_stage_rank", "item_id"],
        columns=columns(),
        height=420,
    )  # fmt: skip


def _own_metrics(given: Answer) -> None:
    """The query's own nDCG and the like, where it is judged."""
    if given.query_id is None or given.live:
        return
    found = fetch(queries.query_metrics, current().run_id, given.query_id)
    if found.empty:
        return
    judged = given.query["n_judged"] if given.query is not None else None
    st.caption("How this query's judged items are ordered among themselves", help=text.DEFINITIONS["own_ndcg"])
    for place, row in zip(st.columns(max(3, len(found))), found.to_dict("records"), strict=False):
        with place:
            metric_card(
                f"{text.METRIC_NAMES.get(row['metric'], row['metric'])} with SIDs",
                row["value"],
                n=judged,
                unit="judged items",
                define=row["metric"] if row["metric"] != "ndcg@10" else "own_ndcg",
                least=1,
                note=f"{_against(row)}one query, so no interval",
            )


def _against(row: Mapping[Hashable, Any]) -> str:
    """A query's metric without SIDs, and the change; nothing where that is unknown."""
    if pd.isna(row["difference"]):
        return ""
    return f"{row['value_without']:.3f} without: {row['difference']:+.3f}, {text.direction(row['difference'])}; "
