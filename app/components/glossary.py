"""Every word of the dashboard with its definition, a search away: beside every page."""

from __future__ import annotations

import streamlit as st

from app.glossary import search
from app.text import escape

MOST = 12


def glossary() -> None:
    """A popover that looks words up; its content is drawn when it is opened."""
    with st.popover(
        "Words explained", icon=":material/dictionary:", on_change="rerun", key="glossary", width="content"
    ) as opened:
        if not opened.open:
            return
        words = st.text_input("Look up", key="glossary-words", placeholder="beam, exposure, nDCG ...")
        found = search(words)
        for name, said in found[:MOST]:
            st.markdown(f"**{escape(name)}**  \n{escape(said)}")
        if not found:
            st.markdown("No definition holds these words.")
        elif len(found) > MOST:
            st.caption(f"The first {MOST} of {len(found)}; type a word to find others.")
