"""The opening strip of Overview: what a SID is, told with one real query, its beams, an item and its rank."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import streamlit as st

from app import text
from app.components import names
from app.components.links import link
from app.components.states import unfilled
from app.fetch import current, fetch
from app.queries import explain, overview, query
from app.text import escape

BEAMS = 3  # shown; the Query page has all


def opening() -> None:
    """The strip; the sentence alone where the run tells no story of kind 'example'."""
    st.markdown(escape(text.WHAT_IS_A_SID))
    run = current().run_id
    rows = fetch(overview.stories, run).query("kind == 'example'")
    if rows.empty:
        return
    example = rows.iloc[0]
    matched = str(example["matched_prefix"])
    before, after = example["rank_without_sid"], example["rank"]
    with st.grid(4, min_column_width=230, gap="small"):
        with _step("1 · Somebody searches"):
            st.markdown(f"**{escape(text.shortened(example['text'], 120))}**")
            if example["frequency"] > 0:
                st.caption(f"asked {text.plural(example['frequency'], 'time', 'times')} in the search log")
        with _step("2 · A model guesses addresses (beams)", text.DEFINITIONS["beam"]):
            st.markdown(_beams(run, str(example["query_id"]), matched))
            link("query", "Follow the query", {"q": example["query_id"], "item": example["item_id"]})
        with _step("3 · An item's address, code by code (✓ guessed)", text.DEFINITIONS["match"]):
            st.markdown(f"**{escape(text.shortened(example['title'], 120))}**")
            st.markdown(_codes(names.renamed(fetch(explain.prefix_labels, run, str(example["sid"]))), matched))
            link("codebook", "Its code", {"code": matched})
        with _step("4 · Its place in the results", text.DEFINITIONS["without"]):
            st.markdown(f"**{before:.0f}** without SIDs → **{after:.0f}** with SIDs: {text.move(after, before)}")
            st.caption(escape(text.shortened(example["sentence"], 600)))
            link("explain", "Why this item", {"q": example["query_id"], "item": example["item_id"]})


@contextmanager
def _step(caption: str, help: str | None = None) -> Iterator[None]:
    with st.container(border=True, height="stretch", gap="xsmall"):
        st.caption(caption, help=help)
        yield


STORY_NAMES = {
    "won": ("A query won", ":material/trending_up:"),
    "lost": ("A query lost", ":material/trending_down:"),
    "ambiguous": ("A query that can mean several things", ":material/call_split:"),
}


def stories() -> None:
    """Queries that show what codes do, each told from the ranker's own contributions; the example opens the page."""
    rows = fetch(overview.stories, current().run_id).query("kind != 'example'")
    st.subheader("Three stories" if len(rows) == 3 else "Stories", anchor=False, help=text.DEFINITIONS["story"])
    if rows.empty:
        unfilled(
            "No query of this run tells a story: in none with traffic are SIDs the reason why a relevant item moved.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
        return
    with st.grid(3, min_column_width=230, gap="small"):
        for row in rows.to_dict("records"):
            name, icon = STORY_NAMES.get(str(row["kind"]), (str(row["kind"]), ":material/menu_book:"))
            with st.container(border=True, height="stretch"):
                st.markdown(f"{icon} **{escape(name)}**")
                st.markdown(escape(text.shortened(row["sentence"], 600)))
                item = {"item": row["item_id"]} if isinstance(row["item_id"], str) else {}
                link("query", "Follow the query", {"q": row["query_id"]} | item)
                if item:
                    link("explain", "Why this item", {"q": row["query_id"]} | item)


def _beams(run: str, query_id: str, matched: str) -> str:
    """The best beams as paragraphs of Markdown, the one that agrees with the item among them and marked."""
    beams = fetch(query.beams, run, query_id)
    beams = beams.assign(agrees=[_under(sid, matched) for sid in beams["sid"]])
    best = beams.head(BEAMS)
    if not best["agrees"].any():
        best = pd.concat([best.head(BEAMS - 1), beams[beams["agrees"]].head(1)])
    ways = {sid: ["-".join(sid.split("-")[:level]) for level in range(1, sid.count("-") + 2)] for sid in best["sid"]}
    named = names.renamed(fetch(explain.labels, run, tuple(prefix for way in ways.values() for prefix in way))).dropna()
    first = dict(zip(named["prefix"], named["label"].str.split(" · ").str[0], strict=True))
    lines = []
    for row in best.to_dict("records"):
        chain = " › ".join(first.get(prefix, "no name") for prefix in ways[row["sid"]])
        likely = f"{100 * math.exp(row['log_prob']):.1f} % likely"
        lines.append(f"{'✓ ' if row['agrees'] else ''}**{escape(row['sid'])}** {escape(chain)}, {escape(likely)}")
    return "\n\n".join(lines)


def _codes(labels: pd.DataFrame, matched: str) -> str:
    """The item's codes as paragraphs of Markdown, each with its name and whether a beam agrees down to it."""
    return "\n\n".join(
        f"{'✓' if _under(matched, str(row['prefix'])) else '✗'} **{escape(row['prefix'].split('-')[-1])}** "
        f"{escape(row['label'] or 'no name')} · {text.plural(row['n_items'], 'item', 'items')}"
        for row in labels.to_dict("records")
    )


def _under(sid: str, prefix: str) -> bool:
    """Whether a SID lies under a prefix."""
    return sid == prefix or sid.startswith(f"{prefix}-")
