"""The word match of a pair opened: what became of each word of the query in the title."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components.figure import table
from app.fetch import fetch
from app.queries.snapshot import info
from engine.relevance.words import Reader, WordFound, account


def word_match(query: str, title: str, row: pd.Series) -> None:
    """Word by word, and the lexical columns of the pair's `row` of scores that rankers read."""
    language = fetch(info)["language"]
    found = account(Reader(language), query, title)
    if not found:
        st.caption("The query holds no word that could be looked for.")
        return
    st.markdown(text.escape(" · ".join(in_words(each) for each in found)))
    told = pd.DataFrame(
        {
            "word": [each.word for each in found],
            "found": ["there" if each.near == 1.0 else "nearly" if each.like else "missing" for each in found],
            "like": [", ".join(each.like) for each in found],
            "near": [each.near for each in found],
        }
    )
    table(
        told,
        title="The query's words in the title",
        key="words",
        n=f"{text.plural(len(found), 'word', 'words')}, {_read_as(language)}",
        define="qs_words",
        columns={"word": "Query word", "found": "In the title", "like": "Words of the title", "near": "Nearness"},
        percent={"near": "Nearness"},
        filters={"query": query, "item": str(row["item_id"])},
        height="content",
    )
    columns = [name for name in text.LEXICAL_NAMES if pd.notna(row.get(name))]
    if columns:
        with st.expander("What the rankers read of it", icon=":material/match_word:"):
            lines = [f"- {text.LEXICAL_NAMES[name]}: {row[name]:.2f} (`{name}`)" for name in columns]
            st.markdown("\n".join(lines), help=text.DEFINITIONS["qs_columns"])


def in_words(found: WordFound) -> str:
    """'drils' is near 'drill'."""
    if found.near == 1.0:
        same = found.like[0] == found.word
        return f"“{found.word}” is there" + ("" if same else f", as “{found.like[0]}”")
    if found.like:
        return f"“{found.word}” is near “{' '.join(found.like[:2])}” ({found.near:.0%})"
    return f"“{found.word}” is missing"


def _read_as(language: str | None) -> str:
    return f"stems of language '{language}'" if language else "compared as they are written"
