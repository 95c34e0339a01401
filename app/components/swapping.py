"""What puts an item above or below another one of the same query."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.charts import waterfall as charts
from app.components.answer import Answer
from app.components.contributions import TOLERANCE
from app.components.explanation import SPLITS, Explanation, Ranker, explain, shown_run, split
from app.components.figure import figure
from app.components.links import button
from app.components.states import bad_parameter, nothing
from app.rankers import BOOSTED, learner, unit
from engine.relevance.attribution import minimal_swap


def swap(ranker: Ranker, given: Answer, made: Explanation, rows: pd.DataFrame, row: pd.Series, by: str) -> None:
    """What puts this item above or below another one; the SID's part by signals, or as `by`, a key of SPLITS, says."""
    by = "signals" if by == next(iter(SPLITS)) else by  # twenty bars tell less than nine
    ranked = rows[rows["rank"].notna()]
    others = neighbours(ranked, row)
    if not others:
        nothing("There is no other ranked item to compare with.")
        return
    asked = st.query_params.get("other")
    names = dict(others)
    if asked and asked not in names:
        bad_parameter("other", asked, "It is not among the candidates of this query.")
    other_id = st.selectbox(
        "Compare with", list(names), format_func=lambda i: names[i], key="other", bind="query-params",
        help="The neighbours in the ranking first, then every candidate.",
    )  # fmt: skip
    other = ranked[ranked["item_id"] == other_id].iloc[0]
    made, theirs = split(made, by), split(explain(ranker, given, other), by)
    upper, lower = (made, theirs) if made.score >= theirs.score else (theirs, made)
    found = minimal_swap(upper.values, lower.values, upper.features)
    this_above = upper is made
    sign = 1 if this_above else -1  # as the chart: for this item against the other
    digits = 2 if found.gap >= 0.05 else 4  # of neighbours in a long list
    reasons = ", ".join(f"{text.feature_name(f)} {sign * value:+.{digits}f}" for f, value in found.reasons)
    rest = f", the others together {sign * found.rest:+.{digits}f}" if len(found.reasons) < len(upper.features) else ""
    if found.gap < TOLERANCE:
        st.markdown("Both have the same score; the first-stage order decides.")
    else:
        st.markdown(
            f"This item is **{'above' if this_above else 'below'}** “{text.escape(text.shortened(other['title']))}” by "
            f"**{found.gap:.{digits}f}**{_counted()}: {text.escape(reasons + rest)}."
        )
    parts = pd.DataFrame({"name": [text.feature_name(f) for f in made.features], "value": made.values - theirs.values})
    figure(
        charts.swap(parts, "this item", "the other", unit(shown_run().ranker).difference),
        title="This item against the other",
        key="swap",
        data=parts,
        n="2 items",
        alt=f"This item is {'above' if this_above else 'below'} the other by {found.gap:.{digits}f}: {reasons}",
        define="swap",
        filters={"query": given.text, "item": str(row["item_id"]), "other": str(other_id)},
    )
    button("Explain the other item", "item", str(other_id), id="explain-other", icon=":material/balance:")


def _counted() -> str:
    """What a gap between two scores is counted in, after the number."""
    family = learner(shown_run().ranker)
    return " points of predicted grade" if family == BOOSTED else " logits" if family else ""


def neighbours(ranked: pd.DataFrame, row: pd.Series) -> list[tuple[str, str]]:
    """(item id, name) of the other candidates: the one above, the one below, then all by rank.

    An item without a rank stands where its score would put it.
    """
    others = ranked[ranked["item_id"] != row["item_id"]].sort_values("rank")
    if pd.notna(row["rank"]):
        above = others[others["rank"] < row["rank"]].tail(1)
        below = others[others["rank"] > row["rank"]].head(1)
    else:
        above = others[others["score"] > row["score"]].tail(1)
        below = others[others["score"] <= row["score"]].head(1)
    parts = [above.assign(lead="the one above: "), below.assign(lead="the one below: "), others.assign(lead="")]
    listed = pd.concat(parts).drop_duplicates("item_id").to_dict("records")
    return [(str(r["item_id"]), f"{r['lead']}rank {int(r['rank'])}, {text.shortened(r['title'])}") for r in listed]
