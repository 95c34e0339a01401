"""Whether a wider beam would bring a lost item back: the width that keeps its SID, and its rank at that width."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components import live
from app.components.answer import Answer
from app.fetch import current
from engine.audit.lost import FOUND, LOST_IN_BEAM, NOT_RETRIEVED, PAGE, Lost
from engine.errors import EngineError


def width(given: Answer, id: str, found: Lost, known: bool) -> None:
    """The search for a width on demand, where it can help at all; else why it cannot."""
    if not known:
        return
    if found.verdict != LOST_IN_BEAM:
        needless = "is not needed" if found.verdict == FOUND else "cannot help"
        st.markdown(f"**A wider beam {needless}**: {_cannot(found.verdict)}.", help=text.DEFINITIONS["width"])
        return
    where = current()
    model = live.model(str(where.workspace), where.run_id)
    if model.state == "failed":
        st.caption(f"The beam width that would have kept it needs the run's model: {text.escape(model.reason)}.")
        return
    pressed = st.button(
        "Find the beam width that keeps it", icon=":material/width:", disabled=model.state == "warming",
        help=text.DEFINITIONS["width"],
    )  # fmt: skip
    if model.state == "warming":
        live.wait(model)
    elif pressed:
        _search(given, id, found, model)


def _cannot(verdict: str) -> str:
    if verdict == NOT_RETRIEVED:
        return "the first stage did not retrieve it, and a beam adds no candidates"
    if verdict == FOUND:
        return "it is on page one already"
    return "the beam kept its whole SID already, and it was outranked all the same"


def _search(given: Answer, id: str, found: Lost, model: live.Model) -> None:
    """Search for the width, then answer the query with it: keeping the SID alone says nothing of the rank."""
    try:
        with st.spinner("Searching with wider and narrower beams …"):
            needed = model.width_that_keeps(given.text, id)
            tables = [model.query(given.text, at).scores for at in (None, needed)] if needed is not None else []
    except EngineError as error:
        st.error(f"The width could not be searched: {text.escape(error)}", icon=":material/error:")
        return
    if needed is None:
        st.info("**No width helps**: even a beam of 256 loses it.", icon=":material/width:")
        return
    ranks = [t.loc[t["item_id"] == id, "rank"].dropna() if t is not None else pd.Series(dtype=float) for t in tables]
    if any(own.empty for own in ranks):
        st.info(f"A beam of width {needed} keeps its whole SID; its rank there is unknown.", icon=":material/width:")
        return
    now, rank = (int(own.iloc[0]) for own in ranks)
    verdict = "**This would help**" if rank <= PAGE else "**That alone does not bring it to page one**"
    st.info(
        f"A beam of width {needed} keeps its whole SID; answered with that width, its rank is {rank} (now {now}). {verdict}.",
        icon=":material/width:",
    )
