"""The one-page answer to a complaint, on the screen, on paper and as a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from app import one_page, text
from app.components.causes import named, sentence
from app.components.links import address
from app.components.states import imported
from app.export import slug
from app.fetch import current, fetch
from app.one_page import OnePage, Section
from app.queries import sellers as queries
from app.queries import snapshot

PRINT = Path(__file__).parents[1] / "assets" / "print.css"
_NOT_TOLD = (
    "What moved its items, by signal and code, is told for sellers, categories, brands, price bands and ages{why}."
)


def collected(dimension: str, discount: str, row: pd.Series) -> OnePage:
    """The answer for one row of the exposure table."""
    run, value, change = current().run_id, str(row["value"]), float(row["difference"])
    made = fetch(queries.change, run, dimension, value, discount)
    rows = named(fetch(queries.causes, run, dimension, value, discount))
    signal, codes = rows[rows["told"] == "signal"], rows[rows["told"] == "prefix"]
    causes = []
    if len(signal):
        causes = [_plain(sentence(signal))]
    elif len(made.by_query):
        causes = [
            _NOT_TOLD.format(
                why=", where the ranker's contributions are known; an imported run has none" if imported() else ""
            )
        ]
    shown = one_page.examples(made.items, change)
    sections = [
        Section("What caused it", causes),
        Section(f"{one_page.EXAMPLES} examples" if len(shown) == one_page.EXAMPLES else "Examples", one_page.example_lines(shown)),
        Section("Codes through which most of it went", one_page.code_lines(codes, change)),
        Section(
            "What would change it",
            [line for line in (one_page.queries_line(made.by_query, change), *one_page.ledger_lines(fetch(queries.ledger, run, dimension, value))) if line],
        ),
    ]  # fmt: skip
    info, where = fetch(snapshot.info), current()
    foot = [
        f"{info['dataset']}, run {run}, snapshot {where.snapshot_id}. A place counts by {discount}: {text.DEFINITIONS['discount']}",
        text.WHAT_IS_A_SID, text.DEFINITIONS["exposure_change"], text.DEFINITIONS["effective_n"], text.DEFINITIONS["merit"], text.DEFINITIONS["cause"],
    ]  # fmt: skip
    kind = text.DIMENSION_NAME.get(dimension, text.sentence(dimension.removeprefix(queries.ATTRIBUTE)))
    bars = [(str(r["name"]), 100 * float(r["net"])) for r in signal.head(8).to_dict("records")]
    return OnePage(kind, value, one_page.answer(kind, value, row), one_page.numbers(row), sections, bars, foot)


def _plain(markdown: str) -> str:
    """A sentence of our own without its marks: it is escaped again where it is shown."""
    return markdown.replace("**", "").replace("\\", "")


def draw(page: OnePage, dimension: str, discount: str, examples: pd.DataFrame) -> None:
    """The answer on the screen; only it is printed."""
    st.html(PRINT)
    with st.container(key="one-page", gap="small"):
        st.caption(text.escape(page.kind))
        st.header(text.escape(text.shortened(page.title, 200)), anchor=False)
        st.markdown(text.escape(page.answer))
        with st.grid(len(page.numbers), min_column_width=150):
            for number in page.numbers:
                with st.container(gap="xxsmall"):
                    st.metric(number.label, number.value, help=text.DEFINITIONS[number.define], border=True)
                    st.caption(text.escape(number.note))
        for section in page.sections:
            if section.lines:
                st.markdown(f"**{text.escape(section.title)}**")
                st.markdown("\n".join(_lines(section, examples)))
        with st.container(key="printed-foot"):
            st.caption(text.escape(page.foot[0]), help=" ".join(page.foot[1:]))
    with st.container(horizontal=True, key="one-page-buttons"):
        st.download_button(
            "One page, HTML", one_page.document(page), mime="text/html", icon=":material/download:", key="one-page-file", on_click="ignore",
            file_name=f"{slug(page.title)[:60] or 'answer'}-{slug(discount)}-{slug(current().snapshot_id)}.html",
            help="The same answer as one file that needs nothing else",
        )  # fmt: skip
        if st.button("Print", icon=":material/print:", key="one-page-print", help="Only the answer is printed, on A4"):
            st.html("<script>setTimeout(() => window.print(), 300)</script>", unsafe_allow_javascript=True)


def _lines(section: Section, examples: pd.DataFrame) -> list[str]:
    """Its lines as Markdown; an example links to its explanation."""
    if len(section.lines) == 1:
        return [text.escape(section.lines[0])]
    if not section.title.lower().endswith("examples"):
        return [f"- {text.escape(line)}" for line in section.lines]
    links = [address("explain", {"q": r["query_id"], "item": r["item_id"]}) for r in examples.to_dict("records")]
    return [f"- {text.escape(line)} [why]({to})" for line, to in zip(section.lines, links, strict=True)]
