"""Where was it lost? A target item, one verdict, what SIDs did to it, its path through the beam, and whether a wider one helps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import waterfall as charts
from app.components import items, names
from app.components.answer import Answer, reference
from app.components.explanation import explain_all, load_ranker, shown_run
from app.components.figure import figure, table
from app.components.links import address, link
from app.components.states import imported, lacks, nothing, unfilled
from app.components.width import width
from app.fetch import current, fetch
from app.queries import explain as queries
from app.rankers import unit
from engine.audit.lost import FOUND, LOST_IN_BEAM, NOT_RETRIEVED, OUTRANKED, PAGE, Lost, lost_target
from engine.errors import RunError


def lost(given: Answer) -> None:
    """One verdict for a target item: where it was lost, its rank and margin there, and what would have kept it."""
    if imported():
        nothing(
            "Where an item was lost is told by the search tree and the ranker; of an imported run neither is known."
        )
        return
    if lacks("judgments"):
        unfilled("Nothing is ranked.", needs=("judgments",))
        return
    item = items.find(items.ask("Target item"), given)
    if item is None:
        return
    id = str(item["item_id"])
    full = fetch(queries.item, current().run_id, id).iloc[0]
    known = isinstance(full["sid"], str)
    codes = np.asarray(full["codes"], dtype=np.int64) if known else None
    rows = given.scores
    own = rows[rows["item_id"] == id]
    told = pd.DataFrame({"item_id": [], "feature": [], "value": []})
    if not own.empty and pd.notna(own["rank"].iloc[0]) and (point := reference(given)) is not None:
        try:
            told = explain_all(load_ranker(point), rows[(rows["rank"] <= PAGE) | (rows["item_id"] == id)])
        except RunError as error:
            st.caption(f"Through which feature it is outranked cannot be told: {text.escape(error)}.")
    verdict = lost_target(id, codes, rows, given.nodes, told)
    st.text(str(full["title"]))
    _verdict(verdict, id, full, given)
    if not own.empty and pd.notna(own["rank"].iloc[0]):
        _by_sids(own.iloc[0], told, rows)
    width(given, id, verdict, known)
    if known:
        _path(verdict, str(full["sid"]), given)
    if verdict.verdict == OUTRANKED and len(verdict.gaps):
        gaps = verdict.gaps.assign(name=verdict.gaps["feature"].map(text.feature_name), value=verdict.gaps["gap"])
        figure(
            charts.swap(gaps, "the target", "page one", unit(shown_run().ranker).difference),
            title="Target against the mean of page one",
            key="gaps",
            data=gaps,
            n=f"the target and the {PAGE} items of page one",
            alt=f"Largest shortfall: {gaps['name'].iloc[0]} with {gaps['gap'].iloc[0]:+.3f}",
            define="lost",
            filters={"query": given.text, "item": id},
        )
    if not own.empty:
        link("explain", "Explain this pair", {"q": given.query_id or given.text, "item": id})


def _by_sids(own: pd.Series, told: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Its rank without SIDs, and what SIDs add to it against what they add to page one."""
    rank, without = int(own["rank"]), own["rank_without_sid"]
    if pd.isna(without):
        st.markdown("Its rank without SIDs is unknown.", help=text.DEFINITIONS["without"])
    else:
        on_page = {
            (True, True): "it is on page one either way",
            (True, False): "without SIDs it would be on page one",
            (False, True): "SIDs bring it to page one",
            (False, False): "it is on page one neither way",
        }[(without <= PAGE, rank <= PAGE)]
        st.markdown(
            f"Rank **{int(without)} without SIDs**, {rank} with them ({text.move(rank, without)}): {on_page}.",
            help=text.DEFINITIONS["without"],
        )
    parts = told[told["feature"].str.startswith("sid_")].groupby("item_id")["value"].sum()
    page = parts.reindex(rows.loc[(rows["rank"] <= PAGE) & (rows["item_id"] != own["item_id"]), "item_id"]).dropna()
    if own["item_id"] not in parts.index or page.empty:
        return
    mine, theirs = float(parts[own["item_id"]]), float(page.mean())
    gap = mine - theirs
    others = "the others of page one" if rank <= PAGE else "page one"
    st.markdown(
        f"SIDs add **{mine:+.3f}** to its score and {theirs:+.3f} on average to {others} ({text.plural(len(page), 'item', 'items')}): against "
        f"it they {'gain' if gap >= 0 else 'cost'} it **{abs(gap):.3f}** ({unit(shown_run().ranker).difference}).",
        help=text.DEFINITIONS["sid_part"],
    )  # fmt: skip


def _verdict(found: Lost, id: str, item: pd.Series, given: Answer) -> None:
    """The verdict in words, with rank and margin."""
    retrieved = int(given.scores["rank"].notna().sum())
    if found.verdict == FOUND:
        margin = f", {found.margin:+.3f} ahead of the first item past page one" if found.margin is not None else ""
        st.success(
            f"**Not lost**: it is on page one, at rank {found.rank} of {retrieved}{margin}.",
            icon=":material/check_circle:",
        )
    elif found.verdict == NOT_RETRIEVED:
        st.warning(
            f"**Not retrieved**: it is not among the {retrieved} candidates of the first stage (words and text similarity), "
            "so it has no rank at all. SIDs only reorder what was retrieved.",
            icon=":material/search_off:",
        )
    elif found.verdict == LOST_IN_BEAM:
        place = (
            f"rank {found.rank} of the prefixes tried there" if found.rank else "below all the prefixes stored there"
        )
        short = (
            f"; it missed the last kept branch by {-found.margin:.2f} in log-probability"
            if found.margin is not None
            else ""
        )
        own = given.scores.loc[given.scores["item_id"] == id, "rank"].iloc[0]
        st.warning(
            f"**Lost in the beam at level {found.level}**: its prefix was {place}{short}. It is ranked {int(own)} of "
            f"{retrieved} with what match was left.",
            icon=":material/content_cut:",
        )
    else:
        name = f", mainly through **{text.escape(text.feature_name(found.feature))}**" if found.feature else ""
        short = f"; {-found.margin:.3f} short of page one" if found.margin is not None else ""
        st.warning(
            f"**Matched but outranked**{name}: rank {found.rank} of {retrieved}{short}.",
            icon=":material/arrow_downward:",
        )
    if not isinstance(item["sid"], str):
        st.caption("This item has no SID in this run.")


def _path(found: Lost, sid: str, given: Answer) -> None:
    """The target's prefixes level by level: was each kept, at which rank, how far from the last kept branch."""
    path = names.renamed(fetch(queries.prefix_labels, current().run_id, sid))
    nodes = given.nodes.set_index("prefix")
    last = given.nodes[given.nodes["kept"]].groupby("level")["log_prob"].min()
    inside = path["prefix"].isin(nodes.index)
    for name in ("rank", "log_prob", "kept"):
        path[name] = path["prefix"].map(nodes[name].to_dict())
    path["margin"] = path["log_prob"] - path["level"].map(last.to_dict())
    stored = given.nodes.groupby("level").size()
    path["state"] = [
        "● kept" if k is True else "○ pruned" if i else _absent(path, level, int(stored.get(level, 0)))
        for level, k, i in zip(path["level"], path["kept"], inside, strict=True)
    ]
    path["open"] = path["prefix"].map(lambda p: address("codebook", {"code": p}))
    table(
        path,
        title="Its path through the beam",
        key="path",
        define="lost",
        filters={"query": given.text},
        show=["level", "label", "state", "rank", "log_prob", "margin", "n_items", "prefix", "open"],
        columns={
            "level": st.column_config.NumberColumn("Level", width=50),
            "prefix": "Prefix", "label": st.column_config.TextColumn("Label", width=280),
            "state": st.column_config.TextColumn("State", width=200), "rank": st.column_config.NumberColumn("Rank", width=50),
            "log_prob": st.column_config.NumberColumn("Log-probability", format="%.3f", help="Cumulative: from the root"),
            "margin": st.column_config.NumberColumn("Against the last kept", format="%+.3f"),
            "n_items": st.column_config.NumberColumn("Items", format="localized", help="Items under the prefix"),
            "open": st.column_config.LinkColumn("Code card", display_text="open"),
        },
    )  # fmt: skip


def _absent(path: pd.DataFrame, level: int, stored: int) -> str:
    """Why a prefix of the path is not among the stored ones: never tried, or tried and too improbable."""
    above = path.loc[path["level"] == level - 1, "kept"]
    tried = above.eq(True).all()  # of none: level 1 is always tried
    return f"○ pruned, below the {stored} stored" if tried else "○ not tried: pruned above"
