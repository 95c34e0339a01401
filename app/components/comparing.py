"""Two runs against each other: measures, queries, settings, learning and cost."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import runs as charts
from app.components.figure import figure, table
from app.components.health import known_as
from app.components.links import address
from app.components.metric import metric_card
from app.components.states import nothing
from app.fetch import Base, current, fetch, fetch_both, fetch_of
from app.queries import comparison, snapshot
from app.queries import runs as queries
from app.rankers import ranker_name, run_name
from app.text import escape
from engine.audit.intervals import Interval

PAIRED = ("ndcg@10", "within_query_auc")
"""Measures that every judged query has of its own."""
LOWER_IS_BETTER = frozenset(
    ("aliasing", "harmful_share", "dead_codes", "gini", "hourglass", "largest_bucket", "same_sid_others", "flip_rate.typo",
     "flip_rate.reorder", "flip_rate.stuffing")
)  # fmt: skip
NEITHER_IS_BETTER = frozenset(
    ("entropy", "prefixes", "perplexity", "neighbour_agreement_random", "attribute_by_category", "coclick_alignment_random",
     "coclick_alignment_category", "coclick_lift_category", "margin_flipped.typo", "margin_kept.typo")
)  # fmt: skip
"""What describes a codebook, or its catalogue, without praise or blame."""
EASIER_WHEN_COARSER = ("hit@", "prefix_survival.", "beam_diversity.")
"""Beginnings of what a generator reaches by SID: the more items share a prefix the easier (METHOD section 4), so that between two
codebooks neither is better. Hits counted by item compare them."""
NUMBER = st.column_config.NumberColumn


class Pair(NamedTuple):
    """The run that is looked at and the one it is compared with."""

    run: str
    base: Base
    name: str
    base_name: str

    @property
    def filters(self) -> dict[str, str]:
        """What exports say of it."""
        return {"compared with": self.base.address()}


def pair(base: Base) -> Pair:
    """Both runs with names that tell them apart."""
    names = []
    for snapshot_id, run in ((current().snapshot_id, current().run_id), base):
        runs = fetch_of(snapshot_id, snapshot.runs).set_index("run_id")
        names.append(run_name(run, str(runs.loc[run, "method"])))
    if base.snapshot_id != current().snapshot_id:
        names[1] += f" ({base.snapshot_id})"
    return Pair(current().run_id, base, *names)


# ---------------------------------------------------------------- queries


def by_query(two: Pair, metric: str) -> pd.DataFrame:
    """The queries that both were judged on, the worst change first."""
    return fetch_both(comparison.by_query, two.base.snapshot_id, two.run, two.base.run_id, metric)


def changes(two: Pair, metric: str) -> dict[str, Interval]:
    """The mean change over those queries, 'all' and by tier of traffic."""
    return fetch_both(comparison.changes, two.base.snapshot_id, two.run, two.base.run_id, metric)


def headline(two: Pair) -> None:
    """Whether it is better, on the same queries: a card a measure, and the verdict in words."""
    st.markdown(f"**{escape(two.name)}** against **{escape(two.base_name)}**, matched on the query.")
    if not fetch_both(comparison.same_catalogue, two.base.snapshot_id):
        st.caption(
            ":material/info: The two snapshots were made of different catalogues: only queries with the same words and items with "
            "the same id are compared, and a change may be the data's."
        )
    found = {metric: by_query(two, metric) for metric in PAIRED}
    if not any(map(len, found.values())):
        nothing("No query was judged in both runs, so which ranks better is not known.")
        return
    with st.grid(len(found) + 1, min_column_width=210):
        for metric, rows in found.items():
            with st.container():
                change = changes(two, metric)["all"]
                metric_card(
                    f"Change of {text.METRIC_NAMES[metric]}", change.value, low=change.low, high=change.high, n=change.n, form="points",
                    define="paired_runs",
                    note=f"{text.number(rows['base_value'].mean())} to {text.number(rows['value'].mean())}" if change.n >= text.LEAST_QUERIES else "",
                )  # fmt: skip
        with st.container():
            counts = comparison.tally(found["ndcg@10"])
            st.metric(
                "Queries better / same / worse", f"{counts.won:,} / {counts.tied:,} / {counts.lost:,}", border=True,
                help=text.DEFINITIONS["paired_runs"],
            )  # fmt: skip
            st.caption(escape(f"by nDCG@10 · n = {len(found['ndcg@10']):,} queries"))
    st.markdown(escape(verdict(two)))


def verdict(two: Pair) -> str:
    """Whether the run orders the first ten better than the base, in a sentence."""
    change = changes(two, PAIRED[0])["all"]
    if change.n < text.LEAST_QUERIES:
        return f"{text.TOO_SMALL}: both runs were judged on {text.plural(change.n, 'query', 'queries')}, fewer than {text.LEAST_QUERIES}."
    said = {
        "better, interval clear of zero": "orders the first ten better",
        "worse, interval clear of zero": "orders the first ten worse",
    }.get(text.evidence(change.low, change.high), "cannot be told from the other in how it orders the first ten")
    return (
        f"{two.name} {said}: nDCG@10 {text.number(change.value, 'points')} {text.interval(change.low, change.high, 'points')} "
        f"on {change.n:,} queries, paired."
    )


def queries_side_by_side(two: Pair) -> None:
    """Win, tie, loss; every query with both values."""
    metric = st.segmented_control(
        "Measure", PAIRED, default=PAIRED[0], required=True, key="paired", bind="query-params",
        format_func=lambda m: text.METRIC_NAMES[m],
    ) or PAIRED[0]  # fmt: skip
    rows = by_query(two, metric)
    here, there = fetch_both(comparison.judged, two.base.snapshot_id, two.run, two.base.run_id, metric)
    if rows.empty:
        nothing(f"{here:,} queries were judged in this run, {there:,} in the other, and none in both.")
        return
    counts = comparison.tally(rows)
    st.markdown(
        escape(
            f"{text.plural(len(rows), 'query was', 'queries were')} judged in both ({here:,} here, {there:,} there): "
            f"{counts.won:,} better, {counts.tied:,} the same, {counts.lost:,} worse."
        )
    )
    only = st.toggle("Differences only", value=True, key="changed", bind="query-params")
    shown = rows[rows["difference"] != 0] if only else rows
    name = text.METRIC_NAMES[metric]
    figure(
        charts.changes(shown, metric_name=name), title="Queries by change", key="query-changes", data=shown, filters=two.filters,
        n=f"{len(shown):,} of {len(rows):,} queries", define="paired_runs",
        alt=f"{counts.won:,} queries better, {counts.lost:,} worse, {counts.tied:,} the same by {name}.",
    )  # fmt: skip
    beside = {"base": two.base.address()}
    table(
        shown.assign(open=[address("query", {"q": q, "view": "Ranking"} | beside) for q in shown["query_id"]]),
        title="Query by query, the worst change first", key="query-by-query", filters=two.filters | {"measure": metric}, height=460,
        n=f"{len(shown):,} of {len(rows):,} queries", define="paired_runs",
        show=["open", "text", "frequency", "tier", "base_value", "value", "difference"],
        columns={
            "open": st.column_config.LinkColumn("", display_text="open", width=60),
            "text": st.column_config.TextColumn("Query", width="large"), "frequency": NUMBER("Searches", format="localized"),
            "tier": "Tier", "base_value": NUMBER("Other run", format="%.3f"), "value": NUMBER("This run", format="%.3f"),
            "difference": NUMBER("Change", format="%+.3f"),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- measures


def paired(two: Pair) -> pd.DataFrame:
    """Change of every paired measure, over all queries that both were judged on and by tier of traffic.

    Columns: measure, part, base_value, value, difference, low, high, n.
    """
    made = []
    for metric in PAIRED:
        rows = by_query(two, metric)
        for part, change in changes(two, metric).items():
            if change.n:
                own = rows if part == "all" else rows[rows["tier"] == part]
                made.append((metric, part, own["base_value"].mean(), own["value"].mean(), *change))
    return pd.DataFrame(made, columns=["measure", "part", "base_value", "value", "difference", "low", "high", "n"])


def measures(two: Pair) -> None:
    """What can be paired by query first, then everything else that both measured."""
    rows = paired(two)
    if len(rows):
        small = rows["n"] < text.LEAST_QUERIES
        rows["reading"] = [
            text.TOO_SMALL if few else text.evidence(low, high)
            for few, low, high in zip(small, rows["low"], rows["high"], strict=True)
        ]
        rows.loc[small, ["base_value", "value", "difference", "low", "high"]] = np.nan
        table(
            rows.assign(name=rows["measure"].map(text.METRIC_NAMES)), title="On the same queries", key="paired-measures", define="paired_runs",
            filters=two.filters, n="queries judged in both, all",
            show=["name", "part", "base_value", "value", "difference", "low", "high", "n", "reading"],
            columns={
                "name": st.column_config.TextColumn("Measure", width=330), "part": "Queries by traffic", "base_value": NUMBER("Other run", format="%.4f"),
                "value": NUMBER("This run", format="%.4f"), "difference": NUMBER("Change", format="%+.4f"),
                "low": NUMBER("Low", format="%+.4f"), "high": NUMBER("High", format="%+.4f"), "n": NUMBER("Queries", format="localized"),
                "reading": st.column_config.TextColumn("Reading", width="medium"),
            },
        )  # fmt: skip
    rows = side_by_side(two)
    only = st.toggle("Differences only", value=True, key="differing", bind="query-params")
    shown = rows[rows["difference"].abs() > 0] if only else rows
    if shown.empty:
        nothing(
            "Nothing measured on enough queries differs." if len(rows) else "The two runs measured nothing in common."
        )
        return
    table(
        shown, title="Everything that both measured", key="all-measures", define="unpaired_runs", filters=two.filters, height=460,
        n=f"{len(shown):,} of {len(rows):,} measures",
        show=["name", "part", "base_value", "value", "difference", "better", "reading", "base_low", "base_high", "low", "high"],
        columns={
            "name": st.column_config.TextColumn("Measure", width="large"), "part": "Of", "base_value": NUMBER("Other run", format="%.4f"),
            "value": NUMBER("This run", format="%.4f"), "difference": NUMBER("Change", format="%+.4f"), "better": "Better is",
            "reading": st.column_config.TextColumn("Reading", width="medium"),
            "base_low": NUMBER("Other: low", format="%.4f"), "base_high": NUMBER("high", format="%.4f"),
            "low": NUMBER("This: low", format="%.4f"), "high": NUMBER("high", format="%.4f"),
        },
    )  # fmt: skip


def side_by_side(two: Pair) -> pd.DataFrame:
    """Every measure that both runs have: name, part, value and base_value with their own intervals, difference, better, reading."""
    here, there = fetch(queries.measured, two.run), fetch_of(two.base.snapshot_id, queries.measured, two.base.run_id)
    rows = here.merge(there, on=["kind", "measure", "part"], suffixes=("", "_base")).rename(
        columns={f"{name}_base": f"base_{name}" for name in ("value", "low", "high", "n")}
    )
    rows["name"] = [measure_name(kind, name) for kind, name in zip(rows["kind"], rows["measure"], strict=True)]
    rows = rows[(rows["name"] != "") & rows[["value", "base_value"]].notna().all(axis=1)].copy()
    rows["part"] = [
        p if kind == "codebook" else text.segment_name(p) for kind, p in zip(rows["kind"], rows["part"], strict=True)
    ]
    few = (rows["kind"] == "ranking") & (rows[["n", "base_n"]].min(axis=1) < text.LEAST_QUERIES)
    rows.loc[few, ["value", "low", "high", "base_value", "base_low", "base_high"]] = np.nan
    rows["difference"] = rows["value"] - rows["base_value"]
    rows["better"] = [better(name) for name in rows["measure"]]
    rows["reading"] = [_reading(row) for row in rows.to_dict("records")]
    return rows.sort_values(["kind", "name", "part"], kind="stable", ascending=[False, True, True]).reset_index(
        drop=True
    )


def better(measure: str) -> str:
    """'higher', 'lower' or 'neither' of a measure."""
    if measure in NEITHER_IS_BETTER or measure.startswith(EASIER_WHEN_COARSER):
        return "neither"
    return "lower" if measure in LOWER_IS_BETTER else "higher"


def _reading(row: dict[Hashable, Any]) -> str:
    """What a change of two measures that were not paired says: two intervals apart are surely different, others may be too."""
    if pd.isna(row["difference"]):
        return text.TOO_SMALL
    if not row["difference"]:
        return "the same"
    if row["better"] == "neither":
        return "differs"
    gained = (row["difference"] > 0) == (row["better"] == "higher")
    apart = row["low"] > row["base_high"] or row["high"] < row["base_low"]
    known = all(v == v and v is not None for v in (row["low"], row["high"], row["base_low"], row["base_high"]))
    return ("better" if gained else "worse") + (", intervals apart" if apart else ", could be chance" if known else "")


def measure_name(kind: str, measure: str) -> str:
    """A measure in words; '' for one that pages do not show."""
    if kind == "codebook":
        known = known_as(measure)
        return known[0] if known else ""
    first, _, rest = measure.partition(".")
    if rest in text.METRIC_NAMES:
        who = {queries.SERVED: "This run's ranker", queries.BASELINE: "Its baseline without SIDs"}.get(
            first
        ) or ranker_name(first)
        return f"{who}: {text.METRIC_NAMES[rest]}"
    return text.generation_name(measure)


# ---------------------------------------------------------------- settings, learning, cost


def settings(two: Pair) -> None:
    """How the two were made, differences only by default."""
    rows = settings_side_by_side(two)
    only = st.toggle("Differences only", value=True, key="differently", bind="query-params")
    differing = rows[rows["value"] != rows["base_value"]]
    shown = differing if only else rows
    st.markdown(escape(f"{text.plural(len(differing), 'setting differs', 'settings differ')}, of {len(rows):,}."))
    if shown.empty:
        return
    table(
        shown, title="Settings", key="settings", heading=False, filters=two.filters, height=460, n=f"{len(shown):,} of {len(rows):,} settings",
        columns={
            "setting": st.column_config.TextColumn("Setting", width="large"), "base_value": st.column_config.TextColumn("Other run", width="medium"),
            "value": st.column_config.TextColumn("This run", width="medium"),
        },
    )  # fmt: skip


def settings_side_by_side(two: Pair) -> pd.DataFrame:
    """setting, base_value, value; None where a run has no such setting."""
    here, there = fetch(queries.settings, two.run), fetch_of(two.base.snapshot_id, queries.settings, two.base.run_id)
    names = list(dict.fromkeys([*there, *here]))
    return pd.DataFrame(
        {"setting": names, "base_value": [there.get(n) for n in names], "value": [here.get(n) for n in names]},
        dtype=object,
    )


def learning(two: Pair | None) -> None:
    """A measure while the runs learnt, one at a time."""
    here = fetch(queries.curves, current().run_id)
    sides = [here.assign(run="this run" if two is None else two.name)]
    if two:
        there = fetch_of(two.base.snapshot_id, queries.curves, two.base.run_id)
        sides.append(there.assign(run=two.base_name))
    rows = pd.concat(sides, ignore_index=True)
    if rows.empty:
        nothing("Nothing was noted while these runs learnt." if two else "Nothing was noted while this run learnt.")
        return
    rows["of"] = rows["stage"] + ": " + rows["name"].str.replace("_", " ", regex=False)
    offered = sorted(rows["of"].unique())
    chosen = st.selectbox("Measured while learning", offered, key="curve", bind="query-params", width=420) or offered[0]
    mine = rows[rows["of"] == chosen]
    figure(
        charts.curves(mine, name=chosen.partition(": ")[2]), title=f"While learning: {chosen}", key="curves", define="curves",
        data=mine[["run", "stage", "name", "step", "value"]], n=f"{len(mine):,} notes, all", filters={"curve": chosen} | (two.filters if two else {}),
        alt="; ".join(f"{run}: from {g['value'].iloc[0]:.4g} to {g['value'].iloc[-1]:.4g}" for run, g in mine.groupby("run", sort=False)),
    )  # fmt: skip


def cost(two: Pair | None) -> None:
    """Time and memory of every stage."""
    here = fetch(snapshot.stages, current().run_id)
    rows = here
    if two:
        there = fetch_of(two.base.snapshot_id, snapshot.stages, two.base.run_id)
        rows = there.merge(here, on="stage", how="outer", suffixes=("_base", ""), sort=False)
    if rows.empty:
        nothing("What these runs cost was not noted.")
        return
    total = here.loc[~here["cached"].astype(bool), "seconds"].sum()
    told = f"This run took {text.number(total / 60)} minutes of its own"
    if two:
        other = there.loc[~there["cached"].astype(bool), "seconds"].sum()
        told += f", the other {text.number(other / 60)}"
    st.markdown(escape(f"{told}; what was taken from another run's cache is not counted."))
    both = [f"{name}_base" for name in ("seconds", "peak_mb", "cached")] if two else []
    table(
        rows, title="Stages", key="cost", heading=False, define="cost", filters=two.filters if two else None, height=460,
        show=["stage", *both, "seconds", "peak_mb", "cached"],
        columns={
            "stage": "Stage", "seconds_base": NUMBER("Other: time (s)", format="%.1f"), "peak_mb_base": NUMBER("Other: peak memory (MB)", format="localized"),
            "cached_base": "Other: from cache", "seconds": NUMBER("Time (s)", format="%.1f"), "peak_mb": NUMBER("Peak memory (MB)", format="localized"),
            "cached": "From cache",
        },
    )  # fmt: skip
