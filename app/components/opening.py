"""The opening strip of Overview: what a SID is, told with one real query, its beams, an item and its rank."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from app import text
from app.components.links import link
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
    asked, found = st.columns(2, gap="medium")
    with asked, st.container(border=True, height="stretch", gap="xsmall"):
        st.caption("1 · Somebody searches")
        searches = text.plural(example["frequency"], "search", "searches")
        st.markdown(f"**{escape(example['text'])}** ({searches})")
        st.caption("2 · The generator's best guesses (beams)", help=text.DEFINITIONS["beam"])
        st.markdown(_beams(run, str(example["query_id"]), matched))
        link("query", "Follow the query", {"q": example["query_id"], "item": example["item_id"]})
    with found, st.container(border=True, height="stretch", gap="xsmall"):
        st.caption("3 · An item, its codes named (✓ guessed)", help=text.DEFINITIONS["match"])
        st.markdown(f"**{escape(example['title'])}**")
        st.markdown(_codes(fetch(explain.prefix_labels, run, str(example["sid"])), matched))
        st.caption("4 · Its rank", help=text.DEFINITIONS["without"])
        st.markdown(f"**{before:.0f}** without SIDs → **{after:.0f}** with SIDs: {text.move(after, before)}")
        link("explain", "Why this item", {"q": example["query_id"], "item": example["item_id"]})
    st.caption(escape(example["sentence"]))


def _beams(run: str, query_id: str, matched: str) -> str:
    """The best beams as paragraphs of Markdown, the one that agrees with the item among them and marked."""
    beams = fetch(query.beams, run, query_id)
    beams = beams.assign(agrees=[_under(sid, matched) for sid in beams["sid"]])
    best = beams.head(BEAMS)
    if not best["agrees"].any():
        best = pd.concat([best.head(BEAMS - 1), beams[beams["agrees"]].head(1)])
    ways = {sid: ["-".join(sid.split("-")[:level]) for level in range(1, sid.count("-") + 2)] for sid in best["sid"]}
    named = fetch(explain.labels, run, tuple(prefix for way in ways.values() for prefix in way)).dropna()
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
