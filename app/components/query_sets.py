"""Sets of queries: put together by people, kept by text beside the snapshots, measured in every run of this one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import query_sets as charts
from app.components.export import download, slug
from app.components.figure import chosen_point, figure, table
from app.components.links import choose
from app.components.query_log import take
from app.components.states import bad_parameter, lacks, nothing
from app.fetch import current, fetch
from app.queries import query_sets as queries
from app.queries import snapshot as snapshot_queries
from app.rankers import run_name
from engine.audit.intervals import mean_interval
from engine.errors import EngineError
from engine.store.query_sets import TAGS, QuerySet, QuerySets, normalise, read_csv, rows

KIND = "kind: "
"""Before the name of a set that the catalogue itself makes: the queries of one kind."""
LARGEST_FILE = 5 * 2**20
ZERO = "nothing relevant retrieved"
NEW = "a new set"


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


def show() -> None:
    """The sets with their measures, the heatmap over runs, one set's queries, and how sets are made and exchanged."""
    sets = _store().all()
    st.markdown(
        f"A set is a list of queries under one name; it is kept by text, so it outlives every snapshot. There "
        f"{'is' if len(sets) == 1 else 'are'} **{text.plural(len(sets), 'set', 'sets')}** of yours.",
        help=text.DEFINITIONS["query_sets"],
    )
    _make(sets)
    if not lacks("judgments"):
        _heatmap(sets)
    elif sets:
        _plain(sets)
    _one(sets)


def add_one(query: str) -> None:
    """A small control that puts the query in view into a set."""
    sets = _store().all()
    key = normalise(query)
    inside = [each.name for each in sets if key in map(normalise, each.texts)]
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Add to a set", icon=":material/playlist_add:", type="tertiary"):
            name = _which(sets, "add")
            if st.button("Add this query", type="primary", disabled=not name):
                _put(name, [query], ())
                st.rerun()
        if inside:
            st.caption(text.escape(f"In your {'set' if len(inside) == 1 else 'sets'} {text.listed(inside)}"))


def _store() -> QuerySets:
    return QuerySets(current().workspace)


def _which(sets: list[QuerySet], key: str) -> str:
    """The name of a set, chosen or new."""
    names = [each.name for each in sets]
    chosen = st.selectbox("Set", [*names, NEW], key=f"set-{key}") if names else NEW
    if chosen != NEW:
        return str(chosen)
    return str(st.text_input("Name of the new set", key=f"set-name-{key}", max_chars=60) or "").strip()


def _put(name: str, texts: list[str], tags: tuple[str, ...]) -> None:
    """Add texts, and say what became of them."""
    try:
        added = _store().add(name, texts, tags)
    except EngineError as error:
        st.error(text.escape(error), icon=":material/error:")
        return
    said = [f"{text.plural(added.new, 'query', 'queries')} added to “{name}”"]
    said += [f"{added.known:,} in it already"] if added.known else []
    said += [f"{added.refused:,} left out: too long, or the set is full"] if added.refused else []
    st.toast(text.escape("; ".join(said) + "."), icon=":material/playlist_add_check:")


def _make(sets: list[QuerySet]) -> None:
    """Add by pasting lines or by a file."""
    with st.expander("Make or extend a set", icon=":material/playlist_add:", expanded=not sets):
        paste, file = st.columns(2)
        with paste, st.form("paste", border=False, clear_on_submit=True):
            names = [each.name for each in sets]
            name = st.selectbox(
                "Set", names, index=None, accept_new_options=True, placeholder="choose, or type a new name"
            )
            tags = st.multiselect("Tags", _tags(sets), accept_new_options=True, placeholder="mine, seasonal, brand ...")
            lines = st.text_area("Queries, one a line", height=120)
            if st.form_submit_button("Add them", icon=":material/playlist_add:"):
                if name and (lines or "").strip():
                    _put(str(name), str(lines).splitlines(), tuple(tags))
                    st.rerun()
                st.warning("A set needs a name and at least one query.", icon=":material/edit:")
        with file:
            st.caption("CSV with the columns set, tags, text: what the CSV button below gives.")
            given = st.file_uploader("Sets from a CSV file", type="csv", key="set-file", max_upload_size=5)
            if given is not None and st.button("Add the sets of the file", icon=":material/upload:"):
                _read(given.getvalue())
            if sets:
                download(
                    "Query sets",
                    lambda: pd.DataFrame(rows(sets)),
                    key="all-sets",
                    definition=text.DEFINITIONS["query_sets"],
                )
            if not lacks("judgments") and st.button(f"Make a set of queries with {ZERO}", icon=":material/search_off:"):
                found = fetch(queries.nothing_relevant, current().run_id, 1_000)
                _put(ZERO, list(found), ("zero result",))
                st.rerun()


def _read(data: bytes) -> None:
    try:
        given = read_csv(data[:LARGEST_FILE])
    except EngineError as error:
        st.error(text.escape(error), icon=":material/error:")
        return
    for each in given:
        _put(each.name, list(each.texts), each.tags)
    st.rerun()


def _tags(sets: list[QuerySet]) -> list[str]:
    return list(dict.fromkeys((*TAGS, *(tag for each in sets for tag in each.tags))))


def measure(found: pd.DataFrame) -> Measured:
    """What the rows of `queries.texts` or `queries.by_kind` say together."""
    own = found.dropna(subset=["difference"])
    interval = mean_interval(own["difference"].to_numpy(dtype=np.float64))
    known = int(found["query_id"].notna().sum()) if "query_id" in found else len(found)
    return Measured(
        len(found), known, float(found["frequency"].sum()), len(own), float(own["value"].mean()),
        float(own["value_without"].mean()), interval.value, interval.low, interval.high,
    )  # fmt: skip


def _measured(sets: list[QuerySet], run: str) -> dict[str, Measured]:
    """Every set, the catalogue's own kinds last, in one run."""
    made = {each.name: measure(fetch(queries.texts, run, each.texts)) for each in sets if each.texts}
    kinds = fetch(queries.by_kind, run)
    return made | {f"{KIND}{kind}": measure(part) for kind, part in kinds.groupby("kind")}


def _heatmap(sets: list[QuerySet]) -> None:
    """Sets x runs, and the same as a table."""
    listed = fetch(snapshot_queries.runs)
    runs = [str(r) for r in listed.loc[listed["method"] != "none", "run_id"]]
    by_run = {run: _measured(sets, run) for run in runs}
    names = list(dict.fromkeys(name for made in by_run.values() for name in made))
    if not names:
        nothing("No query of a set was measured.", remedy="Make a set above: judged test queries of it are measured.")
        return
    own = by_run[current().run_id]
    _table(sets, own, names)
    asked = st.segmented_control(
        "Heatmap of", ("difference", "nDCG@10"), default="difference", required=True, key="measure", bind="query-params"
    )
    signed = asked != "nDCG@10"
    called = {str(r): run_name(str(r), str(m)) for r, m in zip(listed["run_id"], listed["method"], strict=True)}
    cells = []
    for name in names:
        for run in runs:
            if name not in by_run[run]:
                continue
            made = by_run[run][name]
            if not signed:
                cells.append((name, f"{called[run]}: without", made.value_without, made.measured))
            cells.append(
                (
                    name,
                    f"{called[run]}: difference" if signed else f"{called[run]}: with SIDs",
                    made.difference if signed else made.value,
                    made.measured,
                )
            )
    drawn = pd.DataFrame(cells, columns=["name", "column", "value", "n"])
    small = drawn["n"] < text.LEAST_QUERIES
    drawn["said"] = [
        "–" if not n else text.TOO_SMALL if s else f"{v:+.3f}" if signed else f"{v:.3f}"
        for v, n, s in zip(drawn["value"], drawn["n"], small, strict=True)
    ]
    drawn.loc[small, "value"] = np.nan
    figure(
        charts.heatmap(drawn, signed=signed, unit="difference of nDCG@10" if signed else "nDCG@10"),
        title="Sets of queries, run by run",
        key="sets-heatmap",
        data=drawn,
        n=f"{text.plural(len(names), 'set', 'sets')} x {text.plural(len(runs), 'run', 'runs')}; each over its judged test queries",
        alt=_takeaway(drawn, signed),
        define="query_sets",
        subtitle="Click a cell for the queries of its set.",
        on_select=_take_cell,
    )  # fmt: skip


def _takeaway(drawn: pd.DataFrame, signed: bool) -> str:
    large = drawn.dropna(subset=["value"])
    if large.empty:
        return "No set has enough judged test queries for a number"
    worst = large.sort_values("value").iloc[0]
    return f"Lowest {'change' if signed else 'nDCG@10'}: {worst['name']} with {worst['said']}"


def _take_cell() -> None:
    point = chosen_point("sets-heatmap")
    if point:
        choose("set", str(point[0] if isinstance(point, list) else point))


def _table(sets: list[QuerySet], own: dict[str, Measured], names: list[str]) -> None:
    """Every set with its measures in the run in view."""
    tags = {each.name: ", ".join(each.tags) for each in sets}
    told = pd.DataFrame(
        [
            {
                "name": name, "tags": tags.get(name, "of the catalogue"), "queries": m.queries, "known": m.known, "searches": m.searches,
                "n": m.measured, "without": _mean(m.value_without, m), "with": _mean(m.value, m), "difference": _mean(m.difference, m),
                "interval": text.interval(m.low, m.high) if m.measured >= text.LEAST_QUERIES else text.TOO_SMALL if m.measured else "–",
            }
            for name, m in own.items()
        ]
    )  # fmt: skip
    table(
        told,
        title="Sets of queries",
        key="sets",
        define="query_sets",
        n=f"{text.plural(len(sets), 'set', 'sets')} of yours, {text.plural(len(own) - sum(bool(e.texts) for e in sets), 'kind', 'kinds')} of the catalogue",
        show=["name", "tags", "queries", "known", "searches", "n", "without", "with", "difference", "interval"],
        columns={
            "name": st.column_config.TextColumn("Set", width=220), "tags": "Tags",
            "queries": st.column_config.NumberColumn("Queries", format="localized", width=70),
            "known": st.column_config.NumberColumn("In this snapshot", format="localized", width=110),
            "searches": st.column_config.NumberColumn("Searches", format="localized", width=75),
            "n": st.column_config.NumberColumn("Measured (n)", width=95, help=text.DEFINITIONS["judged"]),
            "without": st.column_config.NumberColumn("nDCG@10 without", format="%.3f"),
            "with": st.column_config.NumberColumn("with SIDs", format="%.3f", width=80),
            "difference": st.column_config.NumberColumn("difference", format="%+.3f", width=85),
            "interval": st.column_config.TextColumn("95 % interval", width=130),
        },
        on_select=lambda: take("sets", told, "name", "set"),
        height=380,
    )  # fmt: skip


def _mean(value: float, of: Measured) -> float:
    return value if of.measured >= text.LEAST_QUERIES else float("nan")


def _plain(sets: list[QuerySet]) -> None:
    """Sets where nothing is judged: what the snapshot knows of them."""
    run = current().run_id
    _table(sets, {each.name: measure(fetch(queries.texts, run, each.texts)) for each in sets}, [e.name for e in sets])


def _one(sets: list[QuerySet]) -> None:
    """The queries of the chosen set, its tags, and the ways to change it."""
    kinds = (
        []
        if lacks("judgments")
        else [f"{KIND}{k}" for k in dict.fromkeys(fetch(queries.by_kind, current().run_id)["kind"])]
    )
    options = [*(each.name for each in sets), *kinds]
    asked = st.query_params.get("set")
    if asked and asked not in options:
        bad_parameter("set of queries", asked, "Choose one of the list.")
    if not options:
        return
    name = st.selectbox(
        "Queries of the set", options, index=None, key="set", bind="query-params", placeholder="choose a set", width=360
    )
    if name is None:
        return
    own = next((each for each in sets if each.name == name), None)
    if own is None:
        kind = str(name).removeprefix(KIND)
        st.button(
            f"Open the log of kind {text.escape(kind)}",
            icon=":material/list:",
            type="tertiary",
            on_click=_to_kind,
            args=(kind,),
        )
        return
    _queries(own)
    _change(own)


def _to_kind(kind: str) -> None:
    choose("part", "Query log")
    choose("kind", kind)


def _queries(own: QuerySet) -> None:
    found = fetch(queries.texts, current().run_id, own.texts)
    said = {normalise(t): t for t in own.texts}
    found = found.assign(
        text=found["normal"].map(said),
        state=[_state(row) for row in found.to_dict("records")],
    )
    table(
        found,
        title=f"Queries of {own.name}",
        key="set-queries",
        define="query_sets",
        filters={"set": own.name},
        n=f"{text.plural(len(found), 'query', 'queries')}, all",
        show=["text", "state", "frequency", "n_judged", "value_without", "value", "difference", "n_candidates"],
        columns={
            "text": st.column_config.TextColumn("Query", width=300), "state": st.column_config.TextColumn("State", width=170),
            "frequency": st.column_config.NumberColumn("Searches", format="localized"), "n_judged": "Judged",
            "value_without": st.column_config.NumberColumn("nDCG@10 without", format="%.3f"),
            "value": st.column_config.NumberColumn("with SIDs", format="%.3f"),
            "difference": st.column_config.NumberColumn("difference", format="%+.3f"),
            "n_candidates": st.column_config.NumberColumn("Candidates", format="localized"),
        },
        chooses=("text", "q"),
        height=380,
    )  # fmt: skip
    st.caption("Choose a row to open that query; one that the snapshot does not know is answered live.")


def _state(row: Mapping[Hashable, Any]) -> str:
    """What the snapshot knows of a query."""
    if pd.isna(row["query_id"]):
        return "not in this snapshot"
    if pd.notna(row["difference"]):
        return f"measured, {text.direction(float(row['difference']))}"
    return "judged, not a test query" if pd.notna(row["n_judged"]) and row["n_judged"] else "not judged"


def _change(own: QuerySet) -> None:
    """Tags, removal of queries and of the set; the export of all sets."""
    store = _store()
    with st.expander("Change this set", icon=":material/edit:"):
        with st.form(f"change-{slug(own.name)}", border=False):
            tags = st.multiselect("Tags", _tags([own]), default=list(own.tags), accept_new_options=True)
            gone = st.multiselect("Take out", list(own.texts))
            if st.form_submit_button("Save", icon=":material/save:"):
                store.tag(own.name, tags)
                store.take_out(own.name, gone)
                st.rerun()
        st.button("Remove the whole set", icon=":material/delete:", type="tertiary", on_click=_remove, args=(own.name,))


def _remove(name: str) -> None:
    _store().remove(name)
    choose("set", None)
