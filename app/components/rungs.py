"""The comparisons behind the headline: by segment, ranker by ranker, and how well the generator aims."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import rankers, text
from app.charts import overview as charts
from app.components.figure import figure, table
from app.components.states import nothing, unfilled
from app.fetch import current, fetch
from app.queries import overview as queries
from app.queries import snapshot
from app.text import escape


def lift() -> None:
    """Where SIDs help and where not, segment by segment."""
    rows = fetch(queries.headline, current().run_id)
    metric = measure(rows)
    if metric is None:
        unfilled("No segment has both rankings.", needs=("scores with SIDs", "scores without SIDs"))
        return
    mine, name = rows[rows["metric"] == metric], text.METRIC_NAMES[metric]
    if (mine["n"] >= text.LEAST_QUERIES).sum() < 2:
        nothing(f"Fewer than two segments have {text.LEAST_QUERIES} test queries: there is nothing to compare.")
        return
    clear = mine[(mine["low"] > 0) & (mine["n"] >= text.LEAST_QUERIES)]
    st.markdown("  \n".join(map(escape, tiers_in_words(mine))))
    figure(
        charts.lift(mine),
        title=f"Where SIDs help: {name} by segment",
        subtitle="With SIDs minus the strong ranker without, 95 % intervals, paired by query",
        data=mine,
        n=f"{len(mine)} segments, all test queries",
        define="lift",
        filters={"metric": metric},
        key="lift",
        alt=f"{name} lift per segment; the interval is clear of zero and positive in {len(clear)} of {len(mine)} segments.",
    )


def tiers_in_words(rows: pd.DataFrame) -> list[str]:
    """What SIDs change for rare and for frequent queries and categories: a sentence each. `rows`: as of `charts.lift`."""
    told = []
    for row in rows[rows["segment"].str.endswith("tier=tail") | rows["segment"].str.endswith("tier=head")].to_dict(
        "records"
    ):
        name, n = charts.SEGMENT_NAMES[str(row["segment"])], f"n = {int(row['n']):,}"
        if row["n"] < text.LEAST_QUERIES:
            told.append(f"{name}: {text.TOO_SMALL} ({n}).")
            continue
        difference, between = text.number(row["difference"], "points"), text.interval(row["low"], row["high"], "points")
        told.append(f"{name}: {difference} {between}, {text.evidence(row['low'], row['high'])} ({n}).")
    return told


HITS = {
    "SID": ("hit", "Queries with a relevant item among the beams, by depth; sharing a SID makes a hit easier"),
    "item": ("item_hit", "A hit counts 1 / the items under the prefix, by depth; the deepest level compares methods"),
}
"""Ways to count hits: the measure, and what it says."""


def gap() -> None:
    """How much better the beams aim at queries that the generator was trained on."""
    rows = fetch(queries.hits, current().run_id, "hit")
    enough = rows[rows["n"] >= text.LEAST_QUERIES]
    if enough.empty:
        st.subheader("Trained on and held out", anchor=False, help=text.DEFINITIONS["train_gap"])
        unfilled(
            "How often the beams hold a relevant item was not measured on enough test queries.", needs=("SIDs", "beams")
        )
        return
    counted = st.segmented_control(
        "Hits counted by", list(HITS), default="SID", required=True, key="hits_by", bind="query-params",
        help=text.DEFINITIONS["train_gap"],
    ) or "SID"  # fmt: skip
    measure, meaning = HITS[counted]
    rows = fetch(queries.hits, current().run_id, measure)
    told = gap_in_words(rows[rows["n"] >= text.LEAST_QUERIES])
    if counted == "item":
        told = f"Counted by item. {told}"
    figure(
        charts.hits(rows),
        title="Trained on and held out: hits of the beams",
        subtitle=meaning,
        data=rows,
        n=f"{len(set(rows['segment']))} groups of queries, all",
        define="train_gap",
        filters={"hits_by": counted},
        key="hits",
        alt=told,
    )
    st.markdown(escape(told))


def gap_in_words(rows: pd.DataFrame) -> str:
    """The gap at the deepest level in a sentence, and what it means."""
    level = int(rows["level"].max())
    hit = rows[rows["level"] == level].set_index("segment")["value"].to_dict()
    if not {"all", "split=train"} <= set(hit):
        return "There are too few judged training queries to compare the test queries with."
    said = {name: text.number(value, "percent") for name, value in hit.items()}
    start = (
        f"At level {level} the beams of a generator that was trained on a query hit {said['split=train']} of the time, "
    )
    fair = "split=train, out of fold"
    if fair in hit:
        memory = hit["split=train"] - hit[fair]
        told = (
            f"{start}those of one that never saw it {said[fair]} ({text.number(memory, 'points')} on the same queries)"
        )
    else:
        memory = hit["split=train"] - hit["all"]
        told = f"{start}{text.number(memory, 'points')} more often than on test queries"
    meaning = (
        "What is gained by having seen a query is memory, not skill: a ranker taught with it would trust SIDs too much, so "
        "it learns from out-of-fold features alone."
        if memory > 0
        else "Having seen a query gains nothing here; the ranker learns from out-of-fold features all the same."
    )
    return f"{told}. Test queries: {said['all']}. {meaning}"


def measure(rows: pd.DataFrame) -> str | None:
    """The measure that segments and rankers are shown by; None where there is none."""
    known = [m for m in text.METRIC_NAMES if m in set(rows["metric"])]
    if not known:
        return None
    chosen = st.selectbox(
        "Measure", known, format_func=lambda m: text.METRIC_NAMES[m], key="metric", bind="query-params", width=420
    )
    return chosen or known[0]


def ladder() -> None:
    """Every ranker of the run on one metric."""
    metric = measure(fetch(queries.headline, current().run_id)) or "auc"
    name = text.METRIC_NAMES[metric]
    steps = fetch(queries.ladder, current().run_id, metric, "all")
    if steps.empty or steps["n"].max() < text.LEAST_QUERIES:
        st.subheader(f"Ladder of rankers: {escape(name)}", anchor=False, help=text.DEFINITIONS["ladder"])
        nothing(f"{text.TOO_SMALL}: fewer than {text.LEAST_QUERIES} test queries.")
        return
    run = fetch(snapshot.run, current().run_id)
    main = steps[steps["ranker"].isin((*rankers.MAIN, run.ranker, run.baseline))]
    shown = steps
    if len(main) < len(steps) and not st.toggle(
        f"All {len(steps)} rankers: every SID signal beside its dense twin", key="rungs", bind="query-params"
    ):
        shown = main
    best = rankers.ranker_name(str(steps["ranker"].iloc[int(steps["value"].argmax())]))
    figure(
        charts.ladder(
            shown,
            metric_name=name,
            own=run.ranker,
            ceiling=fetch(snapshot.info)["oracle_auc"] if metric == "auc" else None,
        ),
        title=f"Ladder of rankers: {name}",
        subtitle="From text similarity alone to everything, on the same test queries; ● ranks this run's results; beside each: the "
        "difference from its baseline",
        data=steps.assign(name=steps["ranker"].map(rankers.ranker_name)),
        n=f"{len(shown)} of {len(steps)} rankers, {text.number(steps['n'].max(), 'count')} test queries, all",
        define="ladder",
        filters={"metric": metric},
        key="ladder",
        alt=f"{name} of {len(shown)} rankers; the highest of all is: {best}.",
    )


def generator() -> None:
    """How often the beams hold what relevant items carry, and whether every beam exists."""
    rows = fetch(queries.generation, current().run_id)
    if rows.empty:
        unfilled("This run was not measured on test queries.", needs=("SIDs", "beams"))
        return
    named = rows.assign(
        measure=[text.generation_name(m) for m in rows["metric"]], on=[text.segment_name(s) for s in rows["segment"]]
    )
    small = named["n"] < text.LEAST_QUERIES
    named["note"] = small.map({True: text.TOO_SMALL, False: ""})
    named.loc[small, ["value", "low", "high"]] = float("nan")
    table(
        named, title="How well the generator aims", define="generation", n="test queries, all",
        show=["measure", "on", "value", "low", "high", "n", *(["note"] if small.any() else [])],
        columns={
            "measure": st.column_config.TextColumn("Measure", width=330),
            "on": st.column_config.TextColumn("Measured on", width=190),
            "note": "Note",
            "n": st.column_config.NumberColumn("Queries", format="localized"),
        },
        percent={"value": "Value", "low": "Low", "high": "High"},
    )  # fmt: skip
