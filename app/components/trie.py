"""A query's beams: what the generator bets on, drawn as its search tree, with the evidence for each beam."""

from __future__ import annotations

import math
import re

import pandas as pd
import streamlit as st

from app import text
from app.charts import beams as charts
from app.components import names
from app.components.answer import Answer, labels
from app.components.figure import chosen_point, figure, table
from app.components.links import address, choose, link
from app.components.query_log import known, take
from app.components.states import bad_parameter, imported, nothing, unfilled
from app.fetch import current, deferred, fetch
from app.queries import beams as queries
from app.queries import query as query_queries
from app.queries import snapshot as snapshot_queries
from app.rankers import method_name

UNSURE = 0.2
"""A generator whose beams hold less of the probability together is said not to know the query."""
TITLES = 3
"""Shown of a prefix on hover."""
ITEMS = 500
"""Rows shown under a prefix; the export has all."""


def show(given: Answer) -> None:
    """The reading in one sentence, the tree, the evidence per beam, the items of a chosen one, other ways to search."""
    if given.beams.empty and given.nodes.empty:
        nothing("No beams were stored for this query.", remedy="Switch on “Generate live”.")
        return
    facts = _facts(given)
    _sure(given)
    if given.nodes.empty and imported():
        unfilled("Of an imported run the beams alone are known, not the search tree they come from.", needs=("beams",))
    elif given.nodes.empty:
        nothing("No search tree was stored for this query.", remedy="Switch on “Generate live”.")
    else:
        _tree(given, facts)
    _beams(given, facts)
    _chosen(given, facts)
    if not given.nodes.empty and st.toggle("Every prefix tried, as a table", key="tried", bind="query-params"):
        _nodes(given, facts)


def _facts(given: Answer) -> pd.DataFrame:
    """What is known of every prefix of the answer: label, name in words, sharing, and what stands under it."""
    whole = given.beams["sid"].tolist()
    above = ["-".join(sid.split("-")[:level]) for sid in whole for level in range(1, sid.count("-") + 2)]
    prefixes = tuple(sorted({*given.nodes["prefix"], *above}))
    run = current().run_id
    facts = names.renamed(fetch(query_queries.prefix_facts, run, prefixes)).set_index("prefix")
    under = fetch(queries.evidence, run, given.query_id, prefixes, TITLES).set_index("prefix")
    facts = facts.join(under)
    facts["name"] = [in_words(prefix, dict(zip(facts.index, facts["label"], strict=True))) for prefix in facts.index]
    return facts


def in_words(prefix: str, label: dict[str, str]) -> str:
    """A prefix in words: the first term of each of its levels, 'usb hub > adjustable > black'."""
    codes = prefix.split("-")
    terms = [label.get("-".join(codes[: level + 1])) for level in range(len(codes))]
    return " > ".join(str(term).split(" · ")[0] if isinstance(term, str) and term else "no label" for term in terms)


def _sure(given: Answer) -> None:
    """What the generator bets on; a warning where it does not know the query, with what that has meant for others."""
    st.markdown(text.escape(_reading(given)))
    if given.beams.empty or given.beams["log_prob"].isna().any():
        return
    held = float(given.beams["log_prob"].map(math.exp).sum())
    if held >= UNSURE:
        return
    seen = fetch(queries.certainty, current().run_id, UNSURE)
    st.warning(
        text.escape(
            f"The generator does not know this query: its {text.plural(len(given.beams), 'beam', 'beams')} hold {100 * held:.1f} % of "
            f"the probability together, below the bar of {100 * UNSURE:.0f} %. {_meant(seen)}"
        ),
        icon=":material/help_center:",
    )
    st.caption("What is the bar?", help=text.DEFINITIONS["unsure"])


def _meant(seen: queries.Certainty) -> str:
    """What falling below the bar has meant for the run's judged test queries."""
    if seen.below + seen.above == 0:
        return "No judged query tells what that means here."
    below = text.estimate(seen.hits_below / seen.below if seen.below else None, seen.below, "percent")
    above = text.estimate(seen.hits_above / seen.above if seen.above else None, seen.above, "percent")
    return (
        f"A beam reaches a relevant item of judged test queries below the bar in {below} (n = {seen.below:,}), of those above it "
        f"in {above} (n = {seen.above:,})."
    )


def _reading(given: Answer) -> str:
    """The beams in one sentence."""
    kept = given.beams.sort_values("rank")
    if kept.empty:
        return "No whole SID was kept."
    best, n = kept.iloc[0], text.plural(len(kept), "beam", "beams")
    label = labels(current().run_id, pd.Series([best["sid"]])).get(best["sid"], "")
    name = f" ({label})" if label else ""
    first = kept["sid"].str.split("-").str[0]
    starts, items = (
        text.plural(first.nunique(), "level-1 code", "level-1 codes"),
        text.plural(kept["n_items"].sum(), "item", "items"),
    )
    if kept["log_prob"].isna().any():
        return f"The first of its {n} is {best['sid']}{name}; they start in {starts} and point at {items}."
    probability = kept["log_prob"].map(math.exp)
    share = probability.groupby(first).sum() / probability.sum()
    spread = abs(float((share * share.map(math.log2)).sum()))
    sure = (
        "sure of one meaning"
        if spread < 0.5
        else "spread over several meanings"
        if spread > 1.5
        else "undecided between a few"
    )
    return (
        f"The generator bets most on {best['sid']}{name} with {100 * probability.iloc[0]:.1f} %; its {n} start in {starts}, point at "
        f"{items} and hold {100 * probability.sum():.1f} % of all probability: {sure} (entropy over level-1 codes "
        f"{spread:.2f} bits)."
    )  # fmt: skip


def marked(nodes: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Beam nodes with name and first titles, whether the whole SID is shared, and probabilities in plain numbers."""
    nodes = nodes.copy()
    for column in ("label", "name", "titles", "n_relevant"):
        nodes[column] = nodes["prefix"].map(facts[column]).astype(object)
    deepest = nodes["level"].max()
    harmful = nodes["prefix"].map(facts["harmful"]).astype(object).eq(True)
    shared = (nodes["level"] == deepest) & (nodes["n_items"] > 1)
    nodes["mark"] = ""
    nodes.loc[shared, "mark"] = "aliased"
    nodes.loc[shared & harmful, "mark"] = "harmful"
    nodes["probability"] = 100 * nodes["step_log_prob"].map(math.exp)
    nodes["cumulative"] = 100 * nodes["log_prob"].map(math.exp)
    nodes["state"] = nodes["kept"].map({True: "● kept", False: "○ pruned"})
    nodes["sharing"] = nodes["mark"].map({"": "", "aliased": "shared", "harmful": "shared, not alike"})
    nodes.loc[(nodes["level"] == deepest) & (nodes["n_items"] == 1), "sharing"] = "unique"
    nodes["valid"] = nodes["n_items"] > 0
    nodes["open"] = nodes["prefix"].map(lambda p: address("codebook", {"code": p}))
    return nodes


def _tree(given: Answer, facts: pd.DataFrame) -> None:
    """The search tree; a click on a point chooses its prefix."""
    nodes = marked(given.nodes, facts)
    kept = nodes[nodes["kept"] & (nodes["level"] == nodes["level"].max())]
    pruned = st.slider("Pruned branches drawn a level", 0, 15, 4, key="pruned", bind="query-params", width=320)
    figure(
        charts.trie(nodes, pruned=pruned),
        title="Beam trie",
        key="trie",
        data=nodes.drop(columns="open"),
        n=f"{len(nodes)} prefixes tried, {int(nodes['kept'].sum())} kept; the table has all of them",
        alt=f"Search tree: the {len(kept)} kept SIDs hold {kept['cumulative'].sum():.1f} % of the probability",
        define="beam",
        filters={"query": given.text},
        on_select=_take_point,
        subtitle="A number is the code and how likely it is given its parent. ×3: three items share the SID, "
        "with ⚠ they are not alike. Point at it for its first titles, click it for its items.",
    )


def _take_point() -> None:
    point = chosen_point("trie")
    if point:
        choose("beam", str(point[0] if isinstance(point, list) else point))


def _beams(given: Answer, facts: pd.DataFrame) -> None:
    """One row a beam: its name, probability, first titles, what of it is relevant, and what it was learnt from."""
    rows = given.beams[["rank", "sid", "log_prob", "n_items"]].copy()
    rows["probability"] = 100 * rows["log_prob"].astype(float).map(math.exp)
    for column in ("name", "n_relevant", "n_judged", "titles"):
        rows[column] = rows["sid"].map(facts[column])
    rows["titles"] = rows["titles"].map(
        lambda t: (
            "  |  ".join(" ".join(x.split())[:200] for x in t) if isinstance(t, list) or hasattr(t, "tolist") else ""
        )
    )
    rows["learnt"] = rows["sid"].map(_learnt(given)).fillna("")
    relevant = fetch(queries.relevant_count, given.query_id) if given.query_id else 0
    held = int(rows["n_relevant"].fillna(0).sum())
    if relevant:
        st.markdown(
            f"**{held} of the {text.plural(relevant, 'item', 'items')}** judged relevant to this query "
            f"{'is' if held == 1 else 'are'} under one of its beams.",
            help=text.DEFINITIONS["beam"],
        )  # fmt: skip
    table(
        rows,
        title="What each beam points at",
        key="beams-beams",
        n=f"{text.plural(len(rows), 'beam', 'beams')}, all",
        define="beam",
        filters={"query": given.text},
        show=["rank", "name", "probability", "n_items", *(["n_relevant"] if relevant else []), "titles", "learnt", "sid"],
        columns={
            "rank": st.column_config.NumberColumn("Beam", width=50),
            "name": st.column_config.TextColumn("In words", width=250),
            "probability": st.column_config.NumberColumn("Probability, %", format="%.1f", width=95),
            "n_items": st.column_config.NumberColumn("Items", format="localized", width=50, help="Items that hold the SID"),
            "n_relevant": st.column_config.NumberColumn("Relevant", width=70, help="Items under it that were judged relevant to this query"),
            "titles": st.column_config.TextColumn("First titles", width=330),
            "learnt": st.column_config.TextColumn("Like queries it was learnt from", width=230, help=text.DEFINITIONS["learnt"]),
            "sid": "SID",
        },
        row_height=66,
        on_select=lambda: take("beams-beams", rows, "sid", "beam"),
    )  # fmt: skip


def _learnt(given: Answer) -> dict[str, str]:
    """SID -> judged training queries alike that have relevant items under it."""
    words = tuple(w for w in dict.fromkeys(re.split(r"\W+", given.text.lower())) if w)
    rows = fetch(queries.learnt_from, current().run_id, given.query_id, words, tuple(given.beams["sid"]))
    said = {}
    for sid, part in rows.groupby("sid"):
        first = "; ".join(" ".join(t.split())[:60] for t in part["text"].head(3))
        said[str(sid)] = first + (f"; {len(part) - 3} more" if len(part) > 3 else "")
    return said


def _chosen(given: Answer, facts: pd.DataFrame) -> None:
    """The items under the chosen prefix, with their place in this query's ranking."""
    options = facts.index.tolist()
    asked = st.query_params.get("beam")
    if asked and asked not in options:
        bad_parameter("beam", asked, "Choose one of this query's beams.")
    prefix = st.selectbox(
        "Items under", options, index=None, key="beam", bind="query-params", width=320,
        placeholder="a beam, or a prefix of one",
    )  # fmt: skip
    if prefix is None:
        return
    run, fact = current().run_id, facts.loc[prefix]
    rows, every = (
        fetch(queries.items_of, run, given.query_id, prefix, ITEMS),
        deferred(queries.items_of, run, given.query_id, prefix, None),
    )
    ranks = given.scores.set_index("item_id")["rank"] if not given.scores.empty else pd.Series(dtype=float)
    rows = rows.assign(rank=rows["item_id"].map(ranks.to_dict()).astype(float))
    n = int(fact["n_under"]) if pd.notna(fact["n_under"]) else 0
    st.markdown(f"**{text.escape(fact['name'])}**: {text.plural(n, 'item', 'items')} under {text.escape(prefix)}.")
    link("codebook", "Its code card", {"code": prefix})
    table(
        rows,
        title=f"Items under {prefix}",
        key="under-beam",
        n=f"{len(rows):,} items, all" if len(rows) == n else f"the first {len(rows):,} of {n:,} items, all in the CSV",
        define="beam",
        filters={"query": given.text, "prefix": prefix},
        show=["title", "grade", "rank", "seller", "category", "sid"],
        columns={
            "title": st.column_config.TextColumn("Title", width=460),
            "grade": st.column_config.NumberColumn("Grade", format="%.1f", width=60, help=text.DEFINITIONS["grade"]),
            "rank": st.column_config.NumberColumn("Rank with SIDs", width=105, help="Empty: not among the candidates of this query"),
            "seller": "Seller", "category": "Category", "sid": "SID",
        },
        height=320,
        full=every,
        heading=False,
    )  # fmt: skip


def _nodes(given: Answer, facts: pd.DataFrame) -> None:
    nodes = marked(given.nodes, facts)
    nodes["titles"] = nodes["titles"].map(
        lambda t: "  |  ".join(t) if isinstance(t, list) or hasattr(t, "tolist") else ""
    )
    table(
        nodes,
        title="Every prefix tried",
        key="nodes",
        define="beam",
        filters={"query": given.text},
        show=["level", "rank", "state", "prefix", "name", "probability", "cumulative", "log_prob", "n_items",
              "n_relevant", "valid", "sharing", "open"],
        columns={
            "level": "Level", "rank": "Rank", "state": "State", "prefix": "Prefix",
            "name": st.column_config.TextColumn("In words", width=220),
            "probability": st.column_config.NumberColumn("Given parent, %", format="%.1f"),
            "cumulative": st.column_config.NumberColumn("From root, %", format="%.1f"),
            "log_prob": st.column_config.NumberColumn("Log-probability", format="%.3f", help="Cumulative: from the root"),
            "n_items": st.column_config.NumberColumn("Items", format="localized", help="Items under the prefix"),
            "n_relevant": st.column_config.NumberColumn("Relevant", help="Of them judged relevant to this query"),
            "valid": st.column_config.CheckboxColumn("Exists", help=text.DEFINITIONS["validity"]),
            "sharing": st.column_config.TextColumn("Whole SID", width=110, help=text.DEFINITIONS["aliasing"]),
            "open": st.column_config.LinkColumn("Code card", display_text="open"),
        },
        height=380,
        heading=False,
    )  # fmt: skip


def others(given: Answer) -> None:
    """Constrained against unconstrained decoding, and this run against another one."""
    run = current().run_id
    st.subheader("Other ways to search", anchor=False)
    if given.free_beams.empty:
        nothing("Unconstrained beams were not stored for this query.")
    else:
        free = given.free_beams[["rank", "sid", "log_prob", "valid"]]
        free = free.assign(label=free["sid"].map(labels(run, free["sid"])))
        valid = int(free["valid"].sum())
        _beam_table(free, "Unconstrained", "free", given)
        st.caption(
            f"{valid} of {len(free)} unconstrained beams exist in the catalogue; "
            f"{len(set(free['sid']) & set(given.beams['sid']))} are the same as constrained ones.",
            help=text.DEFINITIONS["validity"],
        )
    runs = fetch(snapshot_queries.runs)
    rest = [r for r in runs.loc[runs["method"] != "none", "run_id"] if r != run]
    if not rest or given.query_id is None:
        return
    known("base", tuple(rest))
    base = st.selectbox("Beside the beams of run", rest, key="base", bind="query-params")
    theirs = fetch(query_queries.beams, base, given.query_id)
    if theirs.empty:
        nothing(f"Run {text.escape(base)} stored no beams for this query.")
        return
    ours = set(fetch(query_queries.items_under, run, tuple(given.beams["sid"]))["item_id"])
    items = set(fetch(query_queries.items_under, base, tuple(theirs["sid"]))["item_id"])
    method = method_name(fetch(snapshot_queries.run, base).method)
    _beam_table(theirs[["rank", "sid", "log_prob", "label"]], f"Run {base} ({method})", "base", given)
    st.caption(
        "Codes of two runs have nothing in common, so the runs are compared by the items their beams point at: "
        f"{len(ours & items):,} in both, {len(ours - items):,} only here, {len(items - ours):,} only in {text.escape(base)}."
    )


def _beam_table(beams: pd.DataFrame, title: str, key: str, given: Answer) -> None:
    beams = beams.assign(probability=100 * beams["log_prob"].astype(float).map(math.exp))
    shown = [c for c in ("rank", "label", "probability", "valid", "sid") if c in beams]
    table(
        beams,
        title=title,
        key=f"beams-{key}",
        define="beam",
        filters={"query": given.text},
        show=shown,
        columns={
            "rank": st.column_config.NumberColumn("Beam", width=50), "sid": "SID",
            "label": st.column_config.TextColumn("Label", width=320),
            "probability": st.column_config.NumberColumn("Probability, %", format="%.2f"),
            "valid": st.column_config.CheckboxColumn("Exists"),
        },
    )  # fmt: skip
