"""The model of a run, loaded in the background: importing it takes over ten seconds, and no page waits for that.

live.warm()                             # loads it soon, once a page has been shown
model = live.model(workspace, run_id)   # loads it now, returns at once
model.state                             # 'warming' | 'ready' | 'failed'
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner_utils.script_run_context import get_run_yield_check, get_script_run_ctx

from app.fetch import current
from app.serving import COOKIE, stopping
from app.text import escape, plural
from app.turns import Turns
from engine.errors import EngineError, RunError
from engine.store.workspace import run_folder

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from engine.answering.live import Explained, LiveResult, LiveRun

_logger = logging.getLogger(__name__)
Answered = TypeVar("Answered")

ASKING = "Asking the model …"
TYPICAL_SECONDS = 20
"""What warming usually takes; said while nothing better is known."""
HEAD_START = 3.0
"""Seconds that a model nobody asks for waits, so that its imports do not slow the first page's rendering."""


class Model:
    """One run's model, shared by every browser session of this server."""

    def __init__(self, workspace: Path, run_id: str) -> None:
        self.run_id = run_id
        self.reason = ""
        self.seconds: float | None = None
        self._run: LiveRun | None = None
        self._began = time.monotonic()
        self._turns = Turns()
        self._wanted = threading.Event()
        if run_id.startswith("imported-"):
            self.reason = "the run was imported, so there is no model to ask; only queries of its files can be shown"
        elif run_folder(workspace, run_id).is_dir():
            threading.Thread(target=self._load, args=(workspace,), name=f"warm {run_id}", daemon=True).start()
        else:
            self.reason = f"the folder of run {run_id} is not in this workspace; only stored queries can be shown"

    @property
    def state(self) -> Literal["warming", "ready", "failed"]:
        """Whether the model can answer."""
        return "failed" if self.reason else "warming" if self._run is None else "ready"

    @property
    def waited(self) -> float:
        """Seconds since loading began, or the seconds it took."""
        return self.seconds if self.seconds is not None else time.monotonic() - self._began

    def hurry(self) -> None:
        """Somebody asks for it: load without waiting for the page."""
        self._wanted.set()

    def query(self, text: str, width: int | None = None) -> LiveResult:
        """Beams, scores and contributions of any text. Raises EngineError."""
        asked = {} if width is None else {"width": width}
        return self.ask(
            lambda run: run.query(text, **asked), "query", text, width, words="Generating SIDs and scoring …"
        )

    def width_that_keeps(self, text: str, item_id: str) -> int | None:
        """The beam width at which the item's SID stays in the beam; None where even the widest loses it."""
        return self.ask(lambda run: run.width_that_keeps(text, item_id), "width", text, item_id)

    def explain(self, text: str, item_id: str) -> Explained:
        """Contributions of any item of the catalogue, retrieved or not. Raises EngineError."""
        return self.ask(lambda run: run.explain(text, item_id), "explain", text, item_id)

    def ask(self, question: Callable[[LiveRun], Answered], *key: Hashable, words: str = ASKING) -> Answered:
        """What `question` makes of the loaded run: one at a time, browsers in turn, and once only where a `key` names it.

        Meanwhile the page says how many answers come before; a page that was left asks no more. Raises EngineError.
        """
        places: list[DeltaGenerator] = []  # made only where somebody waits: an element more would move those below

        def told(before: int) -> None:
            if not places:
                places.append(st.empty())
            places[0].caption(f":material/hourglass_top: {plural(before, 'answer', 'answers')} before yours …")

        try:
            with st.spinner(words):
                return self._turns.answer(
                    _asker(), lambda: question(self._ready()), key=key or None, still=get_run_yield_check() or _always, told=told
                )  # fmt: skip
        finally:
            for place in places:
                place.empty()

    def _ready(self) -> LiveRun:
        if self._run is None:
            raise RunError(self.reason or "the model is still being loaded")
        return self._run

    def _load(self, workspace: Path) -> None:
        self._wanted.wait(HEAD_START)
        self._began = time.monotonic()
        try:
            from engine.answering.live import LiveRun

            self._run = LiveRun.load(workspace, self.run_id)
            self.seconds = time.monotonic() - self._began
        except EngineError as error:
            self.reason = str(error)
        except Exception as error:  # in a thread of its own: the page must hear of it, the log has the trace
            if not stopping.is_set():  # an import that the end cuts short is no news
                _logger.exception("warming %s", self.run_id)
            self.reason = f"{type(error).__name__}: {error}"


def _asker() -> str:
    """Whose turn a question takes: the browser's, which may show many pages; else the page's own."""
    context = get_script_run_ctx(suppress_warning=True)
    return st.context.cookies.get(COOKIE) or (context.session_id if context else "")


def _always() -> None:
    """Outside of a page's run nothing says that nobody waits."""


@st.cache_resource(max_entries=2, show_spinner=False)
def _model(workspace: str, run_id: str) -> Model:
    return Model(Path(workspace), run_id)


def model(workspace: str, run_id: str) -> Model:
    """The model of a run, to be used; the first call starts to load it and returns at once."""
    asked = _model(workspace, run_id)
    asked.hurry()
    return asked


def warm() -> None:
    """Have the current run's model loaded `HEAD_START` seconds after the first page."""
    where = current()
    if where.run_id:
        _model(str(where.workspace), where.run_id)


@st.fragment(run_every=1.0)
def wait(waiting: Model) -> None:
    """Say that the model is being loaded and for how long; show the page again when it is ready."""
    if waiting.state != "warming":
        st.rerun()
    st.progress(
        min(0.97, waiting.waited / TYPICAL_SECONDS),
        f"The model is being loaded to answer new queries: {waiting.waited:.0f} s so far, usually about "
        f"{TYPICAL_SECONDS} s, once per server. Queries of the log are shown without waiting.",
    )


def unavailable(failed: Model) -> None:
    """Why no new query can be answered."""
    st.warning(f"New queries cannot be answered: {escape(failed.reason)}", icon=":material/cloud_off:")
