"""The one-page answer to a complaint, on the screen, on paper and as a file."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd
import streamlit as st

from app import one_page, text
from app.components.export import offer
from app.components.links import address
from app.export import slug
from app.fetch import current
from app.one_page import OnePage, Section

PRINT = Path(__file__).parents[1] / "assets" / "print.css"


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
        offer(
            "One page, HTML", lambda: one_page.document(page).encode(), mime="text/html", key="one-page-file",
            name=f"{slug(page.title)[:60] or 'answer'}-{slug(discount)}-{slug(current().snapshot_id)}.html",
            help="The same answer as one file that needs nothing else",
        )  # fmt: skip
        if st.button("Print", icon=":material/print:", key="one-page-print", help="Only the answer is printed, on A4"):
            st.html("<script>setTimeout(() => window.print(), 300)</script>", unsafe_allow_javascript=True)
        with st.popover("Command", icon=":material/terminal:", help="The same file from a shell"):
            st.code(_command(page.title, dimension, discount), language=None, wrap_lines=True)


def _command(value: str, dimension: str, discount: str) -> str:
    where = current()
    named = [
        "--snapshot",
        where.snapshot_id,
        "--run",
        where.run_id,
        "--of",
        f"{dimension}={value}",
        "--discount",
        discount,
    ]
    return shlex.join(["python", "-m", "engine", "report", *named, "--out", "answer.html"])


def _lines(section: Section, examples: pd.DataFrame) -> list[str]:
    """Its lines as Markdown; an example links to its explanation."""
    if len(section.lines) == 1:
        return [text.escape(section.lines[0])]
    if not section.title.lower().endswith("examples"):
        return [f"- {text.escape(line)}" for line in section.lines]
    links = [address("explain", {"q": r["query_id"], "item": r["item_id"]}) for r in examples.to_dict("records")]
    return [f"- {text.escape(line)} [why]({to})" for line, to in zip(section.lines, links, strict=True)]
