"""Sets of queries in numbers: a table of the run in view, and every set in every run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import query_sets as charts
from app.components.figure import chosen_point, figure, table
from app.components.links import choose
from app.components.query_log import take
from app.components.states import nothing
from app.fetch import current, fetch
from app.queries import query_sets as queries
from app.queries import snapshot as snapshot_queries
from app.rankers import run_name
from engine.audit.intervals import mean_interval
from engine.store.query_sets import QuerySet

KIND = "kind: "
"""Before the name of a set that the catalogue itself makes: the queries of one kind."""


class Measured(NamedTuple):
    """A set in one run."""

    queries: int
    known: int
    """Held by the snapshot."""
    searches: float
    measured: int
    """Judged queries held out of training: what the means rest on."""
    value: float
    value_without: float
    difference: float
    low: float
    high: float

    @property
    def enough(self) -> bool:
        """Whether its means are shown."""
        return self.measured >= text.LEAST_QUERIES


def measure(found: pd.DataFrame) -> Measured:
    """What the rows of `queries.texts` or `queries.by_kind` say together."""
    own = found.dropna(subset=["difference"])
    interval = mean_interval(own["difference"].to_numpy(dtype=np.float64))
    known = int(found["query_id"].notna().sum()) if "query_id" in found else len(found)
    return Measured(
        len(found), known, float(found["frequency"].sum()), len(own), float(own["value"].mean()),
        float(own["value_without"].mean()), interval.value, interval.low, interval.high,
    )  # fmt: skip


def measures(sets: list[QuerySet], *, ranked: bool) -> None:
    """The table, and where anything is judged the sets x runs."""
    listed = fetch(snapshot_queries.runs)
    runs = [str(r) for r in listed.loc[listed["method"] != "none", "run_id"]] if ranked else [current().run_id]
    by_run = {run: _measured(sets, run) for run in runs}
    names = list(dict.fromkeys(name for made in by_run.values() for name in made))
    if not names:
        nothing("There is no set to measure yet.", remedy="Make one above: judged test queries of it are measured.")
        return
    _table(sets, by_run[current().run_id])
    if ranked:
        called = {str(r): run_name(str(r), str(m)) for r, m in zip(listed["run_id"], listed["method"], strict=True)}
        _by_run(by_run, names, called)


def _measured(sets: list[QuerySet], run: str) -> dict[str, Measured]:
    """Every set, the catalogue's own kinds last, in one run."""
    made = {each.name: measure(fetch(queries.texts, run, each.texts)) for each in sets if each.texts}
    kinds = {f"{KIND}{kind}": measure(part) for kind, part in fetch(queries.by_kind, run).groupby("kind")}
    return made | {name: of for name, of in kinds.items() if name not in made}


def _table(sets: list[QuerySet], own: dict[str, Measured]) -> None:
    tags = {each.name: ", ".join(each.tags) for each in sets}
    told = pd.DataFrame(
        [
            {
                "name": name, "tags": tags.get(name, "of the catalogue"), "queries": m.queries, "known": m.known, "searches": m.searches,
                "n": m.measured, "without": m.value_without if m.enough else np.nan, "with": m.value if m.enough else np.nan,
                "difference": m.difference if m.enough else np.nan, "interval": _interval(m),
            }
            for name, m in own.items()
        ]
    )  # fmt: skip
    yours = sum(bool(each.texts) for each in sets)
    table(
        told,
        title="Sets of queries",
        key="sets",
        define="query_sets",
        n=f"{text.plural(yours, 'set', 'sets')} of yours, {text.plural(len(own) - yours, 'kind', 'kinds')} of the catalogue",
        show=["name", "n", "without", "with", "difference", "interval", "queries", "known", "searches", "tags"],
        columns={
            "name": st.column_config.TextColumn("Set", width=210),
            "tags": st.column_config.TextColumn("Tags", width=130),
            "queries": st.column_config.NumberColumn("Queries", format="localized", width=70),
            "known": st.column_config.NumberColumn("In this snapshot", format="localized", width=110),
            "searches": st.column_config.NumberColumn("Searches", format="localized", width=75),
            "n": st.column_config.NumberColumn("Measured (n)", width=95, help=text.DEFINITIONS["judged"]),
            "without": st.column_config.NumberColumn("nDCG@10 without", format="%.3f", width=125),
            "with": st.column_config.NumberColumn("with SIDs", format="%.3f", width=75),
            "difference": st.column_config.NumberColumn("difference", format="%+.3f", width=85),
            "interval": st.column_config.TextColumn("95 % interval", width=120),
        },
        on_select=lambda: take("sets", told, "name", "set"),
        height=380,
    )  # fmt: skip


def _interval(of: Measured) -> str:
    return text.interval(of.low, of.high) if of.enough else text.TOO_SMALL if of.measured else "nothing measured"


def _by_run(by_run: dict[str, dict[str, Measured]], names: list[str], called: dict[str, str]) -> None:
    """Sets x runs; the changes of a single run are drawn with their intervals."""
    asked = st.segmented_control(
        "Show", ("difference", "nDCG@10"), default="difference", required=True, key="measure", bind="query-params"
    )
    signed = asked != "nDCG@10"
    drawn = pd.DataFrame(
        [
            {"name": name, "column": column, "value": value if of.enough else np.nan, "n": of.measured, "low": of.low, "high": of.high}
            for name in names
            for run, made in by_run.items()
            if (of := made.get(name)) is not None
            for column, value in _cells(called[run], of, signed)
        ]
    )  # fmt: skip
    drawn["said"] = [
        (f"{v:+.3f}" if signed else f"{v:.3f}") if v == v else text.TOO_SMALL if n else "–"
        for v, n in zip(drawn["value"], drawn["n"], strict=True)
    ]
    if drawn["value"].isna().all():
        nothing(f"No set has {text.LEAST_QUERIES} judged test queries yet, so there is nothing to compare.")
        return
    one = signed and len(by_run) == 1
    n = f"{text.plural(len(names), 'set', 'sets')} x {text.plural(len(by_run), 'run', 'runs')}; each over its judged test queries"
    small = drawn["name"].nunique() - drawn.dropna(subset=["value"])["name"].nunique()
    figure(
        charts.changes(drawn) if one else charts.heatmap(drawn, signed=signed, unit="difference of nDCG@10" if signed else "nDCG@10"),
        title="What SIDs change, set by set" if one else "Sets of queries, run by run",
        key="sets-heatmap",
        data=drawn,
        n=n + (f"; {small} with n too small {'are not drawn' if one else 'have no number'}" if small else ""),
        alt=_takeaway(drawn, signed),
        define="query_sets",
        subtitle="Filled: the 95 % interval is clear of zero. Click a point for the queries of its set."
        if one
        else "Click a cell for the queries of its set.",
        on_select=_take_cell,
    )  # fmt: skip


def _cells(run: str, of: Measured, signed: bool) -> list[tuple[str, float]]:
    """The columns of a run with the set's number there."""
    if signed:
        return [(f"{run}: difference", of.difference)]
    return [(f"{run}: without", of.value_without), (f"{run}: with SIDs", of.value)]


def _takeaway(drawn: pd.DataFrame, signed: bool) -> str:
    worst = drawn.dropna(subset=["value"]).sort_values("value").iloc[0]
    return f"Lowest {'change' if signed else 'nDCG@10'}: {worst['name']} with {worst['said']}"


def _take_cell() -> None:
    point = chosen_point("sets-heatmap")
    if point:
        choose("set", str(point[0] if isinstance(point, list) else point))
