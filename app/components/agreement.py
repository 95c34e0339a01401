"""Who judged, how far they agree, and where the served ranking, people and a judge disagree most."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.components.figure import table
from app.components.links import address
from app.components.states import nothing
from app.fetch import current, deferred, fetch
from app.queries import agreement as queries
from app.text import escape

LABELS = {
    "ranking": "The ranking against people",
    "judge": "A judge against people",
    "people": "People among themselves",
}
KINDS = {"judge": "a language model", "others": "one rater, all others", "raters": "two raters"}
MEASURES = {"percent": "Same grade", "binary_percent": "Same side of relevant"}
KAPPAS = {"kappa": "Kappa", "kappa_quadratic": "Kappa, quadratic", "binary_kappa": "Kappa, relevant or not"}
COUNT = st.column_config.NumberColumn
SHOWN = 200


def who_judged() -> None:
    """Who rated how much, and how far raters agree."""
    st.header("Who judged", anchor=False, help=text.DEFINITIONS["rater"])
    n_ratings, n_pairs, n_shared, unnamed = fetch(queries.overlap)
    if not n_ratings:
        nothing("Nobody judged anything in this catalogue.", remedy="A judgments file fills this: `data/README.md`.")
        return
    st.markdown(escape(rated(n_ratings, n_pairs, n_shared, unnamed)))
    rows = fetch(queries.raters)
    if set(rows["source"]) == {"synthetic"}:
        st.caption(":material/info: These grades were generated with the catalogue: no person gave them.")
    table(
        rows.assign(rater=rows["rater"].fillna("not named")), title="Raters", key="raters", heading=False, define="rater",
        n=f"{text.plural(n_ratings, 'rating', 'ratings')}, all", height=300,
        columns={
            "rater": st.column_config.TextColumn("Rater", width=220), "source": "Source",
            "n_ratings": COUNT("Ratings", format="localized"), "n_queries": COUNT("Queries", format="localized"),
            "mean": COUNT("Mean grade", format="%.2f"), "n_shared": COUNT("Of pairs that others rated too", format="localized"),
        },
        percent={"relevant": "Relevant"},
    )  # fmt: skip
    _agreement(n_shared, unnamed)


def rated(n_ratings: int, n_pairs: int, n_shared: int, unnamed: int) -> str:
    """How many ratings of how many pairs there are, in two sentences."""
    several = (
        f"{text.plural(n_shared, 'pair has', 'pairs have')} two ratings or more" if n_shared else "each pair has one"
    )
    who = (
        "Every rating names its rater"
        if not unnamed
        else "No rating names its rater"
        if unnamed == n_ratings
        else f"{unnamed:,} of the ratings name no rater"
    )
    return (
        f"{text.plural(n_ratings, 'rating', 'ratings')} of {text.plural(n_pairs, 'pair', 'pairs')}: {several}. {who}."
    )


def _agreement(n_shared: int, unnamed: int) -> None:
    rows = fetch(queries.agreement)
    if rows.empty:
        nothing(
            "How far raters agree cannot be told: "
            + (
                "no pair was rated twice."
                if not n_shared
                else "no two named raters have 30 ratings in common."
                if not unnamed
                else "no two raters that can be told apart have 30 ratings in common."
            ),
            remedy="Judge pairs here that others judged (the switch at the top of this page), or ask a language model: "
            "`python -m engine judge`.",
        )
        return
    st.markdown(escape(agreed(rows.iloc[0])))
    shown = rows.assign(kind=rows["kind"].map(KINDS))
    for name in (*MEASURES, *KAPPAS):
        shown[f"{name}_interval"] = [_interval(row, name) for row in rows.to_dict("records")]
    table(
        shown, title="Agreement of raters", key="rater-agreement", define="rater_agreement", height=340,
        n=f"{text.plural(len(rows), 'comparison', 'comparisons')}, all; in brackets 95 % over queries",
        show=["kind", "rater", "against", "n_pairs", *(f"{name}_interval" for name in (*MEASURES, *KAPPAS))],
        columns={
            "kind": "Compared", "rater": st.column_config.TextColumn("Rater", width=170),
            "against": st.column_config.TextColumn("Against", width=150), "n_pairs": COUNT("Ratings", format="localized"),
            **{f"{name}_interval": st.column_config.TextColumn(f"{label} (%)", width=150) for name, label in MEASURES.items()},
            **{f"{name}_interval": st.column_config.TextColumn(label, width=150) for name, label in KAPPAS.items()},
        },
    )  # fmt: skip


def agreed(row: pd.Series) -> str:
    """The first comparison in a sentence."""
    return (
        f"{row['rater']} gives the same grade as {row['against']} on {_interval(row.to_dict(), 'percent')} % of "
        f"{text.plural(row['n_pairs'], 'rating', 'ratings')}; beyond chance, kappa is {_interval(row.to_dict(), 'kappa')}."
    )


def _interval(row: dict[Hashable, Any], name: str) -> str | None:
    """'84.2 [80.1, 88.0]' of shares, '.62 [.55, .70]' of kappas; None where it is not defined."""
    values = [float(row.get(f"{name}{part}", float("nan"))) for part in ("", "_low", "_high")]
    if values[0] != values[0]:
        return None
    told = [f"{100 * value:.1f}" if name in MEASURES else f"{value:.2f}" for value in values]
    return told[0] if values[1] != values[1] else f"{told[0]} [{told[1]}, {told[2]}]"


def disagreement() -> None:
    """The pairs worth looking at, each one click from its explanation."""
    st.header("Where they disagree most", anchor=False, help=text.DEFINITIONS["disputed"])
    kind = st.segmented_control(
        "Who disagrees", queries.KINDS, default="ranking", key="against", bind="query-params", format_func=LABELS.__getitem__,
        required=True,
    )  # fmt: skip
    run = current().run_id
    n, sure, of = fetch(queries.counts, run, kind)
    if not n:
        nothing(empty(kind, of), remedy=REMEDIES[kind] if not of else None)
        return
    st.markdown(escape(told(kind, n, sure, of)))
    if set(fetch(queries.raters)["source"]) == {"synthetic"}:
        st.caption(":material/info: “People” is what the catalogue states: here grades that were generated with it.")
    rows = fetch(queries.disputed, run, kind, SHOWN, 0)
    ranking = kind == "ranking"
    table(
        rows.assign(
            range=[_range(row) for row in rows.to_dict("records")],
            open=[address("explain", {"q": q, "item": i}) for q, i in zip(rows["query_id"], rows["item_id"], strict=True)],
        ),
        title=f"Disputed grades: {LABELS[kind].lower()}", key="disputed", heading=False, define="disputed",
        filters={"against": str(kind)}, height=430, full=deferred(queries.disputed, run, kind, n, 0),
        n=f"{text.plural(n, 'pair', 'pairs')}, all" if n == len(rows) else f"the {len(rows):,} surest of {n:,} pairs, all in the CSV",
        show=["open", *(("sure", "against", "others") if ranking else ("sure",)), "text", "title", "people",
              *(() if ranking else ("range",)), *(("judge",) if rows["judge"].notna().any() else ()), "expected_grade", "rank", "n_ratings", "split"],
        columns={
            "open": st.column_config.LinkColumn("Why", display_text="explain", width=66),
            "sure": COUNT("Grades apart", format="%.2f", width=95), "against": COUNT("Misplaced against", format="localized", width=125),
            "others": COUNT("of", format="localized", width=45), "text": st.column_config.TextColumn("Query", width=180),
            "title": st.column_config.TextColumn("Title", width=260), "people": COUNT("People", format="%.2f", width=65),
            "range": st.column_config.TextColumn("from, to", width=80), "judge": COUNT("Judge", format="%.2f", width=60),
            "expected_grade": COUNT("Ranking expects", format="%.2f", width=115), "rank": COUNT("Rank", width=55),
            "n_ratings": COUNT("Ratings", width=70), "split": st.column_config.TextColumn("Split", width=60),
        },
        percent={"sure": "Surely misplaced"} if ranking else {},
    )  # fmt: skip


def _range(row: dict[Hashable, Any]) -> str:
    """The lowest and the highest of people's ratings."""
    low, high = row["lowest"], row["highest"]
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


REMEDIES = {
    "ranking": "Train on judged queries, then publish.",
    "judge": "Ask one: `python -m engine judge --endpoint URL --model NAME`, then publish.",
    "people": "Judge pairs here (the switch at the top of this page), or give a judgments file with several raters a pair.",
}


def empty(kind: str, of: int) -> str:
    """Why there is no such pair."""
    if of:
        return f"Nothing is disputed among {text.plural(of, 'pair', 'pairs')}."
    return {
        "ranking": "No judged pair was scored by this run.",
        "judge": "No language model judged a pair that people judged.",
        "people": "No pair was rated twice by people.",
    }[kind]


def told(kind: str, n: int, sure: int, of: int) -> str:
    """How many pairs are disputed, and how many surely, in a sentence."""
    pairs = f"{n:,} of {text.plural(of, 'pair', 'pairs')}"
    if kind == "ranking":
        return (
            f"On {pairs} that people judged, the served ranking stands against their grade: a relevant item below irrelevant ones, "
            f"or the reverse. {sure:,} surely so: against more than half of what the query has of the other side."
        )
    if kind == "judge":
        return f"On {pairs} that both judged, the judge's grade is not people's; on {sure:,} it is a grade or more from the nearest of theirs."
    return f"On {pairs} that people rated twice or more, they differ; on {sure:,} by a grade or more."
