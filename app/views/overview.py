"""Overview: what a SID is, whether SIDs help, what to look at first, how healthy they are, and the details."""

import streamlit as st

from app import text
from app.components import beside, drivers, rungs, tour
from app.components.benefit import benefit
from app.components.findings import findings
from app.components.identity import catalogue, run_facts
from app.components.links import link
from app.components.metric import health_light
from app.components.opening import opening, stories
from app.components.states import has_run, header, panel, why_empty
from app.fetch import current, fetch
from app.queries import overview as queries
from app.text import escape


def health() -> None:
    """Six lights."""
    found = fetch(queries.lights, current().run_id)
    with st.grid(3, min_column_width=260, gap="small"):
        for light in found:
            health_light(
                light.title, light.verdict, value=light.value, threshold=light.threshold or why_empty(light.needs),
                page=light.page, params=light.params, define=light.define,
            )  # fmt: skip


def decides() -> None:
    """What mainly decides a ranking, in a sentence."""
    if said := drivers.summary():
        st.markdown(f":material/tune: {escape(said)}", help=text.DEFINITIONS["drivers"])
    else:
        st.markdown("What decides a ranking is not known: this run explains no result.")
    link("sellers", "What decides the results of a seller or category")


def generator() -> None:
    """How well the model guesses, in a chart and a table."""
    with panel("Trained on and held out", height=360):
        rungs.gap()
    with panel("Generator"):
        rungs.generator()


DETAILS = {
    "What decides a place": decides,  # words first: a chart's program, at once, would hold up the numbers above
    "Kinds of queries": rungs.lift,
    "Ranker by ranker": rungs.ladder,
    "How well the model guesses": generator,
    "This run": run_facts,
}


def details() -> None:
    """One tab at a time is drawn."""
    tabs = st.tabs(list(DETAILS), key="details", on_change="rerun", bind="query-params")
    for (name, show), tab in zip(DETAILS.items(), tabs, strict=True):
        if tab.open:
            with tab, panel(name, height=360):
                show()


header("Overview", "Do semantic identifiers help this catalogue's search, and what should be looked at first?")
with panel("What this snapshot is", height=40):
    catalogue()
ran = has_run()
if ran and tour.wanted():
    with panel("Tour"):
        tour.tour()
st.header("What is a SID?", anchor=False)
with panel("How it works", height=260):
    opening()
if ran:
    with panel("Stories"):
        stories()
    st.header("Do SIDs help?", anchor=False)
    with panel("Headline"):
        benefit()
        beside.overview()
    st.header("What should I look at first?", anchor=False, help=text.DEFINITIONS["severity"])
    with panel("Findings"):
        findings()
    st.header(
        "Health", anchor=False,
        help="Each light holds one measure against a threshold that it names, and links to the page that explains it. A finding "
        "above weighs harm by traffic, so a measure can be poor where nothing is to be done.",
    )  # fmt: skip
    with panel("Health lights"):
        health()
    st.header("Details", anchor=False)
    with panel("Details"):
        details()
if ran and not tour.wanted():
    tour.again()
