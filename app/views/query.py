"""Query: what the generator predicts for a query, how that changes the ranking, and where a target was lost."""

import math

import pandas as pd
import streamlit as st

from app import text
from app.charts import beams as beam_charts
from app.components import ranking
from app.components.answer import Answer, answer, labels, origin
from app.components.figure import chosen_point, chosen_row, figure, table
from app.components.ledger import ledger
from app.components.links import address, button, choose, link
from app.components.lost import lost
from app.components.states import bad_parameter, has_run, header, imported, lacks, nothing, panel, unfilled
from app.fetch import current, deferred, fetch
from app.queries import query as queries
from app.queries import snapshot as snapshot_queries
from app.rankers import method_name

ORDERS = {"most frequent": "frequency", "worst regression": "regression", "best gain": "gain", "A to Z": "text"}
# Orders, and columns of the log, that rest on judgments.
MEASURED = ("regression", "gain")
MEASURES = ("split", "n_judged", "value_without", "value", "difference", "direction")
TIERS = ("all", "head", "torso", "tail")
VIEWS = ("Beams", "Ranking", "Where was it lost?")
LOG_ROWS = 2_000


def choose_from_log() -> None:
    """The query log as a table: choosing a row writes the bound `q`."""
    run, ranked = current().run_id, not lacks("judgments")
    if lacks("queries"):
        unfilled("There are no queries.", needs=("beams",))
        return
    orders = tuple(name for name, by in ORDERS.items() if ranked or by not in MEASURED)
    _known("order", orders)
    _known("tier", TIERS)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.segmented_control(
            "Order", orders, default="most frequent", required=True,
            key="order", bind="query-params", help=text.DEFINITIONS["regression"],
        )  # fmt: skip
        tier = st.segmented_control(
            "Tier", TIERS, default="all", required=True, key="tier", bind="query-params",
            help=text.DEFINITIONS["query_tier"],
        )  # fmt: skip
        words = st.text_input("Containing", key="words", bind="query-params", placeholder="words of the query")
    wanted = (run, ORDERS[order or "most frequent"], None if tier == "all" else tier, words or "")
    rows, every = _in_words(fetch(queries.log, *wanted, LOG_ROWS)), deferred(queries.log, *wanted, None)
    if rows.empty:
        plain = not words and tier in (None, "all")
        unfilled(
            "No query of this run is like that.",
            needs=("beams", "scores with SIDs") if plain else (),
            remedy="Clear the words or choose another tier.",
        )
        return
    found = int(rows["n_found"].iloc[0])
    table(
        rows,
        title="Query log",
        n=f"{found:,} queries, all"
        if len(rows) == found
        else f"the first {len(rows):,} of {found:,} queries, all in the CSV",
        define="regression",
        filters={"order": order, "tier": tier, "words": words},
        show=["text", "frequency", "tier", *(MEASURES if ranked else ("source", "category"))],
        columns={
            "text": st.column_config.TextColumn("Query", width=260),
            "frequency": st.column_config.NumberColumn("Searches", format="localized"),
            "tier": "Tier",
            "split": "Split",
            "source": "Source",
            "category": "Category",
            "n_judged": st.column_config.NumberColumn("Judged", help="Judged items"),
            "value_without": st.column_config.NumberColumn("nDCG@10 without", format="%.3f"),
            "value": st.column_config.NumberColumn("with SIDs", format="%.3f"),
            "difference": st.column_config.NumberColumn("difference", format="%+.3f"),
            "direction": st.column_config.TextColumn("In words", width=105),
        },
        height=420,
        full=lambda: _in_words(every()),
        heading=False,
        on_select=lambda: _take_row(rows),
    )
    measured = " nDCG@10 is measured on judged test queries alone." if ranked else ""
    st.caption(f"Choose a row to open that query.{measured}")


def _known(name: str, allowed: tuple[str, ...]) -> None:
    """Say so where the link asks for what the control does not offer; it then shows its first value."""
    asked = st.query_params.get(name)
    if asked and asked not in allowed:
        bad_parameter(name, asked, f"Shown instead: {text.escape(allowed[0])}.")


def _in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """The log with the direction of each difference in words."""
    unknown = rows["n_judged"].fillna(0).gt(0).map({True: "not a test query", False: "not judged"})
    return rows.assign(direction=rows["difference"].map(text.direction).where(rows["difference"].notna(), unknown))


def _take_row(rows: pd.DataFrame) -> None:
    row = chosen_row("query-log", rows)
    if row is not None:
        choose("q", str(row["handle"]))


def about(given: Answer) -> None:
    """What is known of the query, and how the answer came about."""
    row = given.query
    st.subheader("Answer", anchor=False)
    st.text(given.text)
    origin(given)
    if row is None:
        st.caption("Not in the log and not judged: nothing about it was stored.")
        return
    seen = "its clicks were used in training" if pd.notna(row["seen"]) and bool(row["seen"]) else "new to the generator"
    facts = [
        _searches(row["frequency"]),
        f"{row['tier']} tier" if pd.notna(row["tier"]) else None,
        f"split {row['split']}" if pd.notna(row["split"]) else None,
        "synthetic query" if row["source"] == "synthetic" else None,
        seen if pd.notna(row["seen"]) else None,
        text.plural(row["n_judged"], "judged item", "judged items") if pd.notna(row["n_judged"]) else None,
        f"id {row['query_id']}",
    ]
    st.caption(text.escape(" · ".join(f for f in facts if f)), help=text.DEFINITIONS["seen"])


def _searches(frequency: float | None) -> str:
    """How often the query was asked."""
    if frequency is None or pd.isna(frequency):
        return "frequency unknown"
    return (
        text.plural(frequency, "search", "searches") if frequency > 0 else "not in the search log, so without traffic"
    )


def marked(nodes: pd.DataFrame, run: str) -> pd.DataFrame:
    """Beam nodes with their label, whether the whole SID is shared, and probabilities in plain numbers."""
    facts = fetch(queries.prefix_facts, run, tuple(sorted(set(nodes["prefix"])))).set_index("prefix")
    nodes = nodes.copy()
    nodes["label"] = nodes["prefix"].map(facts["label"]).astype(object)
    deepest = nodes["level"].max()
    harmful = nodes["prefix"].map(facts["harmful"]).astype(object).eq(True)
    shared = (nodes["level"] == deepest) & (nodes["n_items"] > 1)
    nodes["mark"] = ""
    nodes.loc[shared, "mark"] = "aliased"
    nodes.loc[shared & harmful, "mark"] = "harmful"
    nodes["probability"] = 100 * nodes["step_log_prob"].map(math.exp)
    nodes["cumulative"] = 100 * nodes["log_prob"].map(math.exp)
    nodes["state"] = nodes["kept"].map({True: "● kept", False: "○ pruned"})
    nodes["sharing"] = nodes["mark"].map({"": "", "aliased": "aliased", "harmful": "aliased, not alike"})
    nodes.loc[(nodes["level"] == deepest) & (nodes["n_items"] == 1), "sharing"] = "unique"
    nodes["valid"] = nodes["n_items"] > 0
    nodes["open"] = nodes["prefix"].map(lambda p: address("codebook", {"code": p}))
    return nodes


def beam_trie(given: Answer) -> None:
    """The search tree, drawn and as an equal table."""
    run = current().run_id
    if given.nodes.empty and imported():
        unfilled("Of an imported run the beams alone are known, not the search tree they come from.", needs=("beams",))
        return
    if given.nodes.empty:
        nothing("No beams were stored for this query.", remedy="Switch on “Generate live”.")
        return
    nodes = marked(given.nodes, run)
    kept = nodes[nodes["kept"] & (nodes["level"] == nodes["level"].max())]
    held = kept["cumulative"].sum()
    st.markdown(text.escape(_reading(nodes, kept)))
    pruned = st.slider("Pruned branches drawn a level", 0, 15, 4, key="pruned", bind="query-params", width=320)
    figure(
        beam_charts.trie(nodes, pruned=pruned),
        title="Beam trie",
        key="trie",
        data=nodes.drop(columns="open"),
        n=f"{len(nodes)} prefixes tried, {int(nodes['kept'].sum())} kept; the table has all of them",
        alt=f"Search tree: the {len(kept)} kept SIDs hold {held:.1f} % of the probability",
        define="beam",
        filters={"query": given.text},
        on_select=lambda: None,  # the selection is read below
        subtitle="A number is the code and how likely it is given its parent. ×3: three items share the SID, "
        "with ⚠ they are not alike. Click a point for a link to its code card.",
    )
    point = chosen_point("trie")
    if point:
        prefix = str(point[0] if isinstance(point, list) else point)
        name = nodes.set_index("prefix")["label"].get(prefix)
        label = text.escape(name) if isinstance(name, str) and name else "no label"
        link("codebook", f"Code card of {text.escape(prefix)} · {label}", {"code": prefix})
    table(
        nodes,
        title="Every prefix tried",
        key="nodes",
        define="beam",
        filters={"query": given.text},
        show=["level", "rank", "state", "prefix", "label", "probability", "cumulative", "log_prob", "n_items",
              "valid", "sharing", "open"],
        columns={
            "level": "Level", "rank": "Rank", "state": "State", "prefix": "Prefix",
            "label": st.column_config.TextColumn("Label", width="medium"),
            "probability": st.column_config.NumberColumn("Given parent, %", format="%.1f"),
            "cumulative": st.column_config.NumberColumn("From root, %", format="%.1f"),
            "log_prob": st.column_config.NumberColumn("Log-probability", format="%.3f", help="Cumulative: from the root"),
            "n_items": st.column_config.NumberColumn("Items", format="localized", help="Items under the prefix"),
            "valid": st.column_config.CheckboxColumn("Exists", help=text.DEFINITIONS["validity"]),
            "sharing": st.column_config.TextColumn("Whole SID", width=110, help=text.DEFINITIONS["aliasing"]),
            "open": st.column_config.LinkColumn("Code card", display_text="open"),
        },
        height=380,
    )  # fmt: skip


def _reading(nodes: pd.DataFrame, kept: pd.DataFrame) -> str:
    """The tree in one sentence."""
    if kept.empty:
        return "No whole SID was kept."
    best = kept.sort_values("rank").iloc[0]
    name = f" ({best['label']})" if isinstance(best["label"], str) and best["label"] else ""
    starts = kept.groupby(kept["prefix"].str.split("-").str[0])["cumulative"].sum() / kept["cumulative"].sum()
    spread = abs(float((starts * starts.map(math.log2)).sum()))
    sure = (
        "sure of one meaning"
        if spread < 0.5
        else "spread over several meanings"
        if spread > 1.5
        else "undecided between a few"
    )
    return (
        f"The generator bets most on {best['prefix']}{name} with {best['cumulative']:.1f} %; its {text.plural(len(kept), 'beam', 'beams')} start in "
        f"{text.plural(len(starts), 'level-1 code', 'level-1 codes')}, point at "
        f"{text.plural(kept['n_items'].sum(), 'item', 'items')} and hold "
        f"{kept['cumulative'].sum():.1f} % of all probability: {sure} (entropy over level-1 codes {spread:.2f} bits)."
    )


def other_beams(given: Answer) -> None:
    """Constrained against unconstrained decoding, and this run against another one."""
    run = current().run_id
    left, right = st.columns(2)
    with left:
        beams = given.beams[["rank", "sid", "log_prob"]].assign(
            label=given.beams["sid"].map(labels(run, given.beams["sid"]))
        )
        _beam_table(beams, "Constrained to SIDs that exist", "beams", given)
    with right:
        free = given.free_beams
        if free.empty:
            nothing("Unconstrained beams were not stored for this query.")
        else:
            free = free[["rank", "sid", "log_prob", "valid"]].assign(label=free["sid"].map(labels(run, free["sid"])))
            valid = int(free["valid"].sum())
            _beam_table(free, "Unconstrained", "free", given)
            st.caption(
                f"{valid} of {len(free)} unconstrained beams exist in the catalogue; "
                f"{len(set(free['sid']) & set(given.beams['sid']))} are the same as constrained ones.",
                help=text.DEFINITIONS["validity"],
            )
    runs = fetch(snapshot_queries.runs)
    others = [r for r in runs.loc[runs["method"] != "none", "run_id"] if r != run]
    if not others or given.query_id is None:
        return
    _known("base", tuple(others))
    base = st.selectbox("Beside the beams of run", others, key="base", bind="query-params")
    theirs = fetch(queries.beams, base, given.query_id)
    if theirs.empty:
        nothing(f"Run {text.escape(base)} stored no beams for this query.")
        return
    ours = set(fetch(queries.items_under, run, tuple(given.beams["sid"]))["item_id"])
    items = set(fetch(queries.items_under, base, tuple(theirs["sid"]))["item_id"])
    method = method_name(fetch(snapshot_queries.run, base).method)
    _beam_table(theirs[["rank", "sid", "log_prob", "label"]], f"Run {base} ({method})", "base", given)
    st.caption(
        "Codes of two runs have nothing in common, so the runs are compared by the items their beams point at: "
        f"{len(ours & items):,} in both, {len(ours - items):,} only here, {len(items - ours):,} only in {text.escape(base)}."
    )


def _beam_table(beams: pd.DataFrame, title: str, key: str, given: Answer) -> None:
    beams = beams.assign(probability=100 * beams["log_prob"].map(math.exp))
    shown = [c for c in ("rank", "sid", "label", "probability", "valid") if c in beams]
    table(
        beams,
        title=title,
        key=f"beams-{key}",
        define="beam",
        filters={"query": given.text},
        show=shown,
        columns={
            "rank": "Rank", "sid": "SID", "label": st.column_config.TextColumn("Label", width="medium"),
            "probability": st.column_config.NumberColumn("Probability, %", format="%.2f"),
            "valid": st.column_config.CheckboxColumn("Exists"),
        },
    )  # fmt: skip


header("Query", "What does the system think a query means, what does that change, and where was an item lost?")
if has_run():
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = st.text_input(
            "Query", key="q", bind="query-params", type="search",
            placeholder="Type anything, or choose from the log below", help=text.DEFINITIONS["cached"],
        )  # fmt: skip
        fresh = st.toggle(
            "Generate live", key="live", bind="query-params", help=text.DEFINITIONS["live"], width="content"
        )
    if not (asked or "").strip():
        with panel("Query log", height=420):
            choose_from_log()
        if not lacks("judgments"):
            st.header("Where relevant items are lost", anchor=False, help=text.DEFINITIONS["ledger"])
            with panel("Loss ledger", height=420):
                ledger()
    else:
        button("Choose another from the log", "q", "", id="back-to-log", icon=":material/list:")
        given = answer(str(asked), fresh=fresh)
        if given is not None:
            with panel("Answer"):
                about(given)
            _known("view", VIEWS)
            beams_tab, ranking_tab, lost_tab = st.tabs(VIEWS, key="view", bind="query-params", on_change="rerun")
            if beams_tab.open:
                with beams_tab:
                    with panel("Beam trie", height=420):
                        beam_trie(given)
                    with panel("Other beams", height=200):
                        other_beams(given)
            if ranking_tab.open:
                with ranking_tab, panel("Ranking", height=420):
                    ranking.show(given)
            if lost_tab.open:
                with lost_tab, panel("Where was it lost?", height=300):
                    lost(given)
