"""The dashboard's entry point: the door, the pages, and the snapshot and run every one of them reads.

Started by `python -m app`.
"""

import logging
import sys
import time
from pathlib import Path

import streamlit as st

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:  # `streamlit run app/main.py` puts app/ on the path, not the root
    sys.path.insert(0, ROOT)

from app.components import live, login, session  # noqa: E402
from app.components.links import PAGES, arrive  # noqa: E402
from app.fetch import current  # noqa: E402

ASSETS = Path(__file__).parent / "assets"
SIDEBAR = 230  # pixels
st.set_page_config(
    page_title="Sidelight", page_icon=str(ASSETS / "icon.svg"), layout="wide", initial_sidebar_state=SIDEBAR
)
st.html(ASSETS / "style.css")
st.html(f"<script>{(ASSETS / 'history.js').read_text()}</script>", unsafe_allow_javascript=True)
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")
began = time.perf_counter()
listed = [p.page() for p in PAGES.values()]
if not login.let_in():
    st.navigation(listed, position="hidden")  # so that the address asked for stays one that exists
    st.stop()
page = st.navigation(listed)
shown = session.start()
login.who()
if shown:
    arrive(page.url_path)
    try:
        page.run()
    finally:  # a page may stop early
        session.name_in_address()
    logging.getLogger("app.main").info(
        "page", extra={"page": page.url_path or "overview", "seconds": round(time.perf_counter() - began, 3),
                       "snapshot": current().snapshot_id, "run": current().run_id})  # fmt: skip
    live.warm()  # after the page, which does not wait for it
