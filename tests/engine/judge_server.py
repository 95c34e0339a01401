"""A small OpenAI-compatible server on 127.0.0.1 for tests and benchmarks of the judge: real sockets, no model.

`with JudgeServer(answer) as server:` where `answer(Asked) -> Said` decides what each request gets.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One request as the server saw it."""

    body: dict[str, Any]
    headers: dict[str, str]
    number: int
    """From 1, over all requests."""
    at: float
    """Monotonic seconds."""

    @property
    def user(self) -> str:
        """The pair, as it was shown."""
        return next(m["content"] for m in self.body["messages"] if m["role"] == "user")

    @property
    def pair(self) -> tuple[str, str]:
        """Query and title."""
        shown = json.loads(self.user)
        return shown["query"], shown["item"]["title"]


@dataclass(frozen=True)
class Said:
    """What a request gets."""

    text: str | None = None
    """Content of a completion; None where `body` is the whole response."""
    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    """Seconds before anything is sent."""
    hang_up: bool = False
    """Close the connection without a word."""
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 300, "completion_tokens": 20})


def graded(grade: object, reason: str = "it fits", **more: Any) -> Said:
    """A well-formed judgment."""
    return Said(json.dumps({"reason": reason, "grade": grade}), **more)


def failing(status: int, message: str = "no", **more: Any) -> Said:
    """An error as such servers write it."""
    return Said(status=status, body=json.dumps({"error": {"message": message, "code": status}}), **more)


class JudgeServer:
    """Serves until the `with` block ends; `asked` keeps every request, `most_at_once` the largest concurrency."""

    def __init__(self, answer: Callable[[Asked], Said]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> JudgeServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/chat/completions":
                    self._send(404, b'{"error": {"message": "no such path"}}', {})
                    return
                with outer._lock:
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                    asked = Asked(body, dict(self.headers.items()), len(outer.asked) + 1, time.monotonic())
                    outer.asked.append(asked)
                try:
                    said = outer.answer(asked)
                    outer._stop.wait(said.wait)
                finally:
                    with outer._lock:
                        outer._now -= 1
                if said.hang_up:
                    self.close_connection = True
                    return
                content = said.body
                if said.text is not None:
                    message = {"role": "assistant", "content": said.text}
                    completion = {"model": body["model"], "choices": [{"index": 0, "message": message}]}
                    content = json.dumps(completion | ({"usage": said.usage} if said.usage else {}))
                self._send(said.status, content.encode(), said.headers)

            def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                try:
                    self.send_response(status)
                    for name, value in {"Content-Type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up, as it may

            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler
