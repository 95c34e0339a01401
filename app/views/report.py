"""Report: one file that holds the audit of this run, for people who do not open the dashboard; and every note."""

from pathlib import Path

import streamlit as st

from app import gate, report, text
from app.components.export import offer
from app.components.notes import in_words
from app.components.states import has_run, header, nothing, panel
from app.export import slug
from app.fetch import base, current, handles
from app.text import escape
from engine.store.notes import Note, Notes

KINDS = {
    "run": "Runs",
    "finding": "Findings",
    "seller": "Sellers",
    "query": "Queries",
    "item": "Items",
    "code": "Codes",
}


@st.cache_data(max_entries=50, ttl=600, show_spinner="Asking the gate …")
def _asked(workspace: str, run: tuple[str, str], other: tuple[str, str]) -> gate.Audit:
    return gate.ask(Path(workspace), run, other)


def offered() -> None:
    """The button, and what the file holds."""
    where, compared, opened = current(), base(), handles()
    other = report.Other(*compared) if compared else None
    audit = _asked(str(where.workspace), (where.snapshot_id, where.run_id), tuple(other)) if other else None

    def whole() -> report.Report:
        return report.of(opened, where.workspace, where.snapshot_id, where.run_id, other, audit)

    made = whole()
    titles = text.listed([f"“{section.title}”" for section in made.sections])
    st.markdown(escape(f"It holds {titles}, what the words mean, and where the numbers come from."))

    offer(  # the file is made when it is asked for, outside of the page's run
        "Report, HTML", lambda: report.document(whole()).encode(), mime="text/html", key="report-file",
        name=f"audit-{slug(where.run_id)}-{slug(where.snapshot_id)}.html", help="One file that needs nothing else and prints on A4",
    )  # fmt: skip
    st.caption("The same from a shell, with every table as CSV beside it:")
    chosen = f" --base {compared.address()}" if compared else ""
    st.code(
        f"python -m engine report --snapshot {where.snapshot_id} --run {where.run_id}{chosen} --out audit.html --csv tables",
        language=None,
        wrap_lines=True,
    )
    with st.expander("What it says", expanded=True):
        for line in made.lead:
            st.markdown(escape(line))
        for section in made.sections:
            st.markdown(f"**{escape(section.title)}**")
            for note in section.notes:
                _note(note)
            for line in section.lines:
                st.markdown(escape(line))


def every_note() -> None:
    """All notes by what they are about."""
    found = Notes(current().workspace).all()
    if not found:
        nothing(
            "Nobody has noted anything yet.",
            remedy="Codes, queries, items, sellers, findings and runs have a *Note* button on their pages.",
        )
    for kind, title in KINDS.items():
        mine = [note for note in found if note.kind == kind]
        if mine:
            st.markdown(f"**{title}**")
        for note in mine:
            _note(note)


def _note(note: Note) -> None:
    st.markdown(f":material/sticky_note_2: {escape(text.shortened(note.about, 120))}: {in_words(note)}")


header("Report", "The audit of this run as one file for a meeting: its numbers are those of the pages.")
if has_run():
    with panel("Report", height=320):
        offered()
st.header("Notes", anchor=False, help=text.DEFINITIONS["notes"])
with panel("Notes"):
    every_note()
