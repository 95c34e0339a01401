"""A colleague on the wire: speaks Streamlit's protocol as a browser does, and draws nothing."""

from __future__ import annotations

import asyncio
import re
import time
from urllib.parse import unquote

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

from app.serving import COOKIE
from tests.soak.colleague import FAILED, PATIENCE, Colleague

SIDE = re.compile(r"snap-[0-9a-f]+(?=, published)")
QUIET = 0.2
"""Seconds without a word after which a page that has ended stays as it is: a script may have asked to run again."""


class OnWire(Colleague):
    """Asks for pages and presses what they hold; a page is ready when its script has ended."""

    kind = "wire"
    _socket: ClientConnection | None = None

    async def _come(self, path: str) -> None:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self._url}/", timeout=PATIENCE)
        self._cookie = answer.cookies[COOKIE]
        self._began = time.monotonic()
        await self._open(path)

    async def _go_away(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    async def _open(self, path: str) -> None:
        await self._go_away()
        self._path, _, self._query = path.partition("?")
        self._elements: dict[tuple[int, ...], Delta] = {}
        self._pages: dict[str, str] = {}
        self._page_hash = self._session = ""
        self._socket = await connect(
            f"{self._url.replace('http', 'ws', 1)}/_stcore/stream", subprotocols=["streamlit"],  # type: ignore[list-item]
            additional_headers={"Cookie": f"{COOKIE}={self._cookie}"}, max_size=None, open_timeout=PATIENCE,
        )  # fmt: skip
        await self._run(page_name=self._path)

    async def _run(self, *widgets: WidgetState, page_name: str = "", fragment: str = "") -> None:
        """Have the script run with what was just pressed."""
        asked = BackMsg()
        state = asked.rerun_script
        state.query_string, state.page_name, state.page_script_hash = self._query, page_name, self._page_hash
        state.fragment_id = fragment
        state.widget_states.widgets.extend(widgets)
        await self._send(asked)

    async def _send(self, asked: BackMsg) -> None:
        assert self._socket is not None
        await self._socket.send(asked.SerializeToString())

    async def _hear(self, within: float) -> ForwardMsg:
        """The server's next word. Raises TimeoutError."""
        assert self._socket is not None
        told = ForwardMsg()
        told.ParseFromString(await asyncio.wait_for(self._socket.recv(decode=False), within))
        kind = told.WhichOneof("type")
        if kind == "new_session":
            self._session, self._page_hash = told.new_session.initialize.session_id, told.new_session.page_script_hash
            self._stale = set(self._elements)
        elif kind == "navigation":
            self._pages = {page.url_pathname: page.page_script_hash for page in told.navigation.app_pages}
            self._page_hash = told.navigation.page_script_hash
        elif kind == "page_info_changed":
            self._query = told.page_info_changed.query_string
        elif kind == "delta" and told.delta.WhichOneof("type") == "new_element":
            self._elements[tuple(told.metadata.delta_path)] = told.delta
            self._stale.discard(tuple(told.metadata.delta_path))
        elif kind == "script_finished" and told.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
            for place in self._stale:
                del self._elements[place]
            self._stale = set()
        return told

    async def _ready(self, what: str) -> None:
        ended = 0.0
        while True:
            try:
                told = await self._hear(QUIET if ended else PATIENCE)
            except TimeoutError:
                if not ended:
                    raise
                break
            if told.WhichOneof("type") == "new_session":
                ended = 0.0
            elif told.WhichOneof("type") == "script_finished":
                early = told.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN
                ended = 0.0 if early else time.monotonic()
        failed = [d.new_element.exception.message for d in self._of("exception")]
        failed += [d.new_element.alert.body for d in self._of("alert") if FAILED.search(d.new_element.alert.body)]
        self._looked(what, ended - self._began, self._side(), failed)

    def _of(self, kind: str) -> list[Delta]:
        return [d for d in self._elements.values() if d.new_element.WhichOneof("type") == kind]

    def _side(self) -> str:
        found = [SIDE.search(d.new_element.markdown.body.replace("\\", "")) for d in self._of("markdown")]
        return next((match[0] for match in found if match), "")

    def _address(self) -> str:
        return self._path + (f"?{self._query}" if self._query else "")

    async def _menu(self) -> None:
        self._path = self._draw.choice(sorted(self._pages))
        self._page_hash, self._query, self._began = self._pages[self._path], "", time.monotonic()
        await self._run()
        await self._ready("menu")

    async def _choose(self) -> None:
        groups = [d for d in self._of("button_group") if not d.new_element.button_group.disabled]
        if groups:
            chosen = self._draw.choice(groups)
            group = chosen.new_element.button_group
            option = self._draw.choice(group.options).content
            self._began = time.monotonic()
            pressed = WidgetState(id=group.id)
            pressed.string_array_value.data.append(option)
            await self._run(pressed, fragment=chosen.fragment_id)
            await self._ready("choice")

    async def _newer(self) -> None:
        for found in self._of("button"):
            if found.new_element.button.label == "Reload with the newer one":
                self._began = time.monotonic()
                await self._run(
                    WidgetState(id=found.new_element.button.id, trigger_value=True), fragment=found.fragment_id
                )
                await self._ready("newer snapshot")
                self._seen.turned += 1

    async def _export(self) -> None:
        buttons = [d.new_element.download_button for d in self._of("download_button")]
        files = [button.deferred_file_id for button in buttons if button.label == "CSV" and button.deferred_file_id]
        if not files:
            return
        asked = BackMsg()
        asked.backend_operation_request.request_id = str(time.monotonic())
        asked.backend_operation_request.session_id = self._session
        asked.backend_operation_request.deferred_file.file_id = self._draw.choice(files)
        self._began = time.monotonic()
        await self._send(asked)
        while (told := await self._hear(PATIENCE)).WhichOneof("type") != "backend_operation_response":
            pass
        answer = told.backend_operation_response
        if answer.error_msg:
            raise RuntimeError(answer.error_msg)
        url = f"{self._url}/{answer.deferred_file.url.lstrip('/')}"
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            others = (await client.get(url)).status_code
            file = await client.get(url, headers={"Cookie": f"{COOKIE}={self._cookie}"})
            self._seen.seconds.setdefault((self.kind, "export"), []).append(time.monotonic() - self._began)
            own = (await client.get(url, headers={"Cookie": f"{COOKIE}={self._cookie}"})).status_code
        name = unquote(re.findall(r'filename="(.*)"', file.headers["content-disposition"])[0])
        self._checked(self._side(), name, file.text, others, own)
