"""The dashboard's server: Streamlit's own, behind a guard.

The guard adds headers that keep pages out of other sites' frames and their requests on this server, gives an export to the
browser that asked for it alone, closes Streamlit's metrics unless they are asked for, and says when a snapshot can be shown.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import SnapshotError
from engine.store.snapshot import current_id, open_snapshot

_logger = logging.getLogger(__name__)
COOKIE = "sidelight"
"""Names a browser, so that what one made is not given to another; it says nothing of a person."""
HEADERS = {
    # Streamlit and Plotly write styles and scripts into the page; a catalogue's product images may be anywhere
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob: http: https:",
            "font-src 'self' data:",
            "connect-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "frame-ancestors 'self'",
        )
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
METRICS = "/_stcore/metrics"
READY = "/ready"
MEDIA = "/media/"
stopping = threading.Event()
"""Set once the server ends: what fails in its threads from then on is no news."""
KEPT_SECONDS = 600.0
KEPT_BYTES = 256 * 2**20


class Export(NamedTuple):
    """A file that a browser asked for."""

    data: bytes
    file_name: str
    mime: str
    at: float


class Exports:
    """Files made for a browser, held until it fetches them: ten minutes, and 256 MB together, the oldest first to go.

    Streamlit's own store answers whoever knows the address, and forgets a file when scripts end between making and fetching.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Export] = OrderedDict()
        self._bytes = 0

    def keep(self, owner: str, data: bytes, file_name: str, mime: str) -> None:
        """Hold a file under the id that Streamlit gives it."""
        from streamlit.runtime.memory_media_file_storage import _calculate_file_id

        key, now = (_calculate_file_id(data, mime, file_name), owner), time.monotonic()
        with self._lock:
            self._drop(key)
            self._kept[key] = Export(data, file_name, mime, now)
            self._bytes += len(data)
            while len(self._kept) > 1 and (
                self._bytes > KEPT_BYTES or now - next(iter(self._kept.values())).at > KEPT_SECONDS
            ):
                self._drop(next(iter(self._kept)))

    def of(self, owner: str, file_id: str) -> Export | None:
        """The file, if this browser asked for it."""
        with self._lock:
            found = self._kept.get((file_id, owner))
        return found if found and time.monotonic() - found.at <= KEPT_SECONDS else None

    def _drop(self, key: tuple[str, str]) -> None:
        if gone := self._kept.pop(key, None):
            self._bytes -= len(gone.data)


EXPORTS = Exports()


class Guard:
    """ASGI middleware around Streamlit's application."""

    def __init__(self, app: ASGIApp, *, metrics: bool) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        known = request.cookies.get(COOKIE)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if known is None and headers.get("content-type", "").startswith("text/html"):
                    headers.append("Set-Cookie", _cookie(request))
            await send(message)

        await (self._refusal(request, known or "") or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request, owner: str) -> Response | None:
        """What is answered instead of Streamlit's answer: an export to its browser, 404 to others and for closed metrics."""
        path = request.scope["path"]
        if path == METRICS and not self._metrics:
            return PlainTextResponse("Not found", 404)
        if not path.startswith(MEDIA):
            return None
        found = EXPORTS.of(owner, Path(path).stem)
        if found:
            disposition = f'attachment; filename="{found.file_name}"'
            return Response(found.data, media_type=found.mime, headers={"Content-Disposition": disposition})
        return PlainTextResponse("Not found", 404) if _download(Path(path).name) else None


def _download(name: str) -> bool:
    """Whether Streamlit holds that file for somebody to download; images of pages are nobody's own."""
    from streamlit import runtime
    from streamlit.runtime.media_file_storage import MediaFileKind, MediaFileStorageError

    try:
        return bool(runtime.get_instance().media_file_mgr._storage.get_file(name).kind == MediaFileKind.DOWNLOADABLE)
    except MediaFileStorageError:
        return False


def _cookie(request: Request) -> str:
    made: SimpleCookie = SimpleCookie({COOKIE: secrets.token_urlsafe(24)})
    made[COOKIE]["path"], made[COOKIE]["httponly"], made[COOKIE]["samesite"] = "/", True, "Lax"
    if "https" in (request.url.scheme, request.headers.get("x-forwarded-proto")):
        made[COOKIE]["secure"] = True
    return made[COOKIE].OutputString()


def readiness(workspace: Path) -> Route:
    """GET /ready: 200 with the current snapshot's id where it opens, else 503 and why, without a path."""

    def looked() -> Response:
        found = current_id(workspace)
        try:
            open_snapshot(workspace, found).close()
        except SnapshotError:
            why = "the current snapshot cannot be opened: python -m engine doctor" if found else "nothing is published"
            return JSONResponse({"ready": False, "why": why}, 503)
        return JSONResponse({"ready": True, "snapshot": found})

    async def answer(_: Request) -> Response:
        return await run_in_threadpool(looked)

    return Route(READY, answer)


def _page_failed(error: Exception) -> None:
    import streamlit as st

    where = st.session_state.get("_current")  # none where it failed before a snapshot was chosen
    told = {"run": where.run_id, "snapshot": where.snapshot_id} if where else {}
    _logger.error("page failed", exc_info=error, extra=told)


def serve(script: Path, settings: dict[str, Any], workspace: Path, *, metrics: bool) -> None:
    """Serve a script under Streamlit's `settings` (by dotted names) until interrupted; then give the snapshots' leases back."""
    import streamlit as st

    @contextlib.asynccontextmanager
    async def lifespan(_: st.App) -> AsyncIterator[None]:
        yield
        stopping.set()
        from app.fetch import handles  # late: its caches want Streamlit's runtime

        handles().close()  # here, because a signal ends the process before `run` returns

    guard = Middleware(Guard, metrics=metrics)
    failed = _page_failed if logging.getLogger().handlers else None  # else Streamlit's own words are enough
    _logger.info("serving", extra={"workspace": str(workspace)})
    with contextlib.suppress(KeyboardInterrupt):  # raised again once everything was closed
        made = st.App(
            script, routes=[readiness(workspace)], middleware=[guard], lifespan=lifespan, on_script_error=failed
        )
        made.run(config=settings)
    _logger.info("stopped")
