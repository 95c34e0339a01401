"""One chat completion from an OpenAI-compatible endpoint, whatever happens on the way.

What may pass is tried again: 408, 425, 429, 5xx, timeouts and broken connections, with exponential backoff and jitter,
not before the server's Retry-After (heeded up to 10 minutes). A parameter that the server does not know
(`response_format` first of all) is left out from then on. What cannot pass (a wrong key or address) ends the run with
EndpointError.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2

from engine.errors import ConfigError, EngineError

_PASSING = frozenset({408, 425, 429})
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 600.0
CHARACTERS_PER_TOKEN = 4.0
"""Where a server states no usage, and for the plan: a rule of thumb for English and byte-pair vocabularies."""
_MOST_BYTES = 4 * 2**20
"""Of one answer, unpacked; a server that sends more is not listened to."""
_MOST_TOKENS = 10**9
"""Of one answer; a server that states more is not believed."""

_WORDS = {
    "response_format": ("response_format", "json_schema", "structured", "guided", "grammar"),
    "max_tokens": ("max_completion_tokens",),
    "temperature": ("temperature",),
    "seed": ("seed",),
}
"""What a refusal (400 or 422) of an optional parameter mentions."""


class EndpointError(EngineError):
    """The endpoint cannot be used as given; the message says what it answered."""


class Unreachable(Exception):
    """No answer to one request after every try."""


class Refused(Exception):
    """The endpoint will not answer this request, however often it is asked."""


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """Where and how to ask. Raises ConfigError for values outside what is allowed."""

    url: str  # Address up to and including the version, such as http://127.0.0.1:8000/v1.
    model: str
    key_env: str | None = None  # Environment variable that holds the API key; the key itself is neither kept nor shown.
    parallel: int = 8  # Requests at once.
    timeout: float = 60.0  # Seconds until a request counts as lost.
    tries: int = 6  # Requests for one answer before it is given up.
    backoff: float = 1.0  # Seconds before the second try; doubled for each further one.
    temperature: float = 0.0
    max_tokens: int = 512  # Of an answer; models that think aloud first need more.
    seed: int = 0

    def __post_init__(self) -> None:
        def check(ok: bool, text: str) -> None:
            if not ok:
                raise ConfigError(text)

        no_address = f"--endpoint '{self.url}' is no address; give one like http://127.0.0.1:8000/v1"
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{no_address} ({error})") from None
        check(parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0, no_address)
        check(
            "@" not in parts.netloc and not parts.query and not parts.fragment,
            "--endpoint must hold no user, password or query; put a secret into an environment variable: --key-env NAME",
        )
        check(bool(self.model.strip()), "--model is blank; give the name that the endpoint serves")
        check(1 <= self.parallel <= 1024, f"--parallel {self.parallel}; allowed: 1 to 1024")
        check(self.timeout > 0, f"--timeout {self.timeout}; it must be above 0 seconds")
        check(self.tries >= 1, f"--tries {self.tries}; at least 1")
        check(self.backoff >= 0, f"backoff = {self.backoff}; it must not be negative")
        check(0 <= self.temperature <= 2, f"--temperature {self.temperature}; allowed: 0 to 2")
        check(self.max_tokens >= 16, f"--max-tokens {self.max_tokens}; at least 16")

    @property
    def completions(self) -> str:
        """The address that is asked."""
        return self.url.rstrip("/") + "/chat/completions"

    def key(self) -> str | None:
        """The API key. Raises ConfigError where the variable is named but not set, or holds what no key can."""
        if self.key_env is None:
            return None
        found = os.environ.get(self.key_env, "").strip()
        if not found:
            raise ConfigError(f"--key-env names {self.key_env}, which is not set; set it, or leave --key-env out")
        if not (found.isascii() and found.isprintable()):
            raise ConfigError(
                f"--key-env names {self.key_env}, whose value holds a character that no key has (a typographic quotation "
                f"mark or a line break, say); set it again"
            )
        return found


class _Answered(NamedTuple):
    """What came over the wire."""

    status: int
    text: str  # JSON is UTF-8, whatever the headers call it.
    retry_after: str | None


class Reply(NamedTuple):
    """A completion."""

    text: str
    tokens_in: int
    tokens_out: int
    estimated: bool  # Whether the tokens are a guess from the texts' lengths: the server stated none.
    left_out: tuple[str, ...]
    """Parameters that the request went without, because the server does not take them; sorted."""
    served_model: str  # The model that the server says it used.

    @property
    def structured(self) -> bool:
        """Whether the server took the schema."""
        return "response_format" not in self.left_out


@dataclass
class Endpoint:
    """An open connection: `async with Endpoint(settings) as endpoint: await endpoint.ask(...)`."""

    settings: EndpointSettings
    requests: int = 0  # HTTP requests sent so far.
    left_out: frozenset[str] = frozenset()  # Parameters that this server proved not to take.
    _not_before: float = 0.0
    _jitter: random.Random = field(default_factory=lambda: random.Random(0))

    async def __aenter__(self) -> Endpoint:
        s = self.settings
        self._key = s.key()
        limits = httpx2.Limits(max_connections=s.parallel, max_keepalive_connections=s.parallel)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx2.AsyncClient(
            headers=headers, timeout=s.timeout, limits=limits, trust_env=not _is_local(s.url)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, messages: list[dict[str, str]], response_format: Mapping[str, Any]) -> Reply:
        """One completion. Raises Unreachable, Refused (this request only), EndpointError (no request can succeed)."""
        left_out, tried = self.left_out, 0
        while True:
            left_out |= self.left_out
            problem, wait = "", 0.0
            try:
                status, text, retry_after = await self._send(messages, response_format, left_out)
            except TimeoutError:
                problem = f"no answer within {self.settings.timeout:g} s"
            except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
                raise EndpointError(f"{self.settings.url}: {error}") from None
            except httpx2.RequestError as error:
                problem = self.hide_key(f"{type(error).__name__}: {error}")
            else:
                if status == 200:
                    reply = self._read(text, messages, left_out)
                    if reply is not None:
                        self.left_out = left_out
                        return reply
                    problem = f"status 200 without a completion: {text[:200]}"
                elif status in (400, 422):
                    # The schema first, whatever else is named: some servers repeat the whole request.
                    named, schema = _suspects(text) - left_out, {"response_format"} - left_out
                    suspects = named & schema or named or schema
                    if not suspects:
                        raise Refused(f"status {status}: {text[:500]}")
                    left_out |= suspects  # kept for later requests only if this one succeeds without them
                    continue
                elif (status in _PASSING or status >= 500) and "insufficient_quota" not in text:
                    problem, wait = f"status {status}: {text[:200]}", _retry_after(retry_after)
                elif status == 413:
                    raise Refused(f"status {status}: {text[:500]}")
                else:
                    raise EndpointError(f"{self.settings.completions} answered {_meaning(status)}: {text[:300]}")
            tried += 1
            if tried >= self.settings.tries:
                raise Unreachable(f"{problem} (given up after {tried} tries)")
            await self._back_off(tried, wait)

    async def _send(
        self, messages: list[dict[str, str]], response_format: Mapping[str, Any], left_out: frozenset[str]
    ) -> _Answered:
        s = self.settings
        while (early := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(early)
        body: dict[str, Any] = {"model": s.model, "messages": messages}
        body["max_completion_tokens" if "max_tokens" in left_out else "max_tokens"] = s.max_tokens
        optional = {"temperature": s.temperature, "seed": s.seed, "response_format": response_format}
        body.update({name: value for name, value in optional.items() if name not in left_out})
        self.requests += 1
        # httpx times out each read; this bounds the request as a whole, a dripping answer included.
        async with asyncio.timeout(s.timeout):
            try:
                # ASCII, since texts may hold half of a surrogate pair, which UTF-8 cannot.
                asked, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
                async with self._client.stream("POST", s.completions, content=asked, headers=kind) as response:
                    content = bytearray()
                    async for part in response.aiter_bytes():
                        content += part
                        if len(content) > _MOST_BYTES:
                            raise Refused(
                                f"status {response.status_code}: an answer of more than {_MOST_BYTES >> 20} MB"
                            )
                text = self.hide_key(content.decode("utf-8", "replace"))
                return _Answered(response.status_code, text, response.headers.get("retry-after"))
            except httpx2.TimeoutException:
                raise TimeoutError from None

    async def _back_off(self, tried: int, retry_after: float) -> None:
        wait = min(_LONGEST_WAIT, self.settings.backoff * 2.0 ** (tried - 1) * self._jitter.uniform(0.5, 1.5))
        if retry_after > 0:
            # The server spoke to all of us: requests not sent yet wait too ...
            self._not_before = max(self._not_before, time.monotonic() + retry_after)
            # ... but not all up to the same instant.
            wait = retry_after + min(wait, 1.0)
        await asyncio.sleep(wait)

    def _read(self, answer: str, messages: list[dict[str, str]], left_out: frozenset[str]) -> Reply | None:
        try:
            found = json.loads(answer)
            message = found["choices"][0]["message"]
            text = message.get("content") or message.get("refusal") or ""
            text = text if isinstance(text, str) else json.dumps(text)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        usage = found["usage"] if isinstance(found.get("usage"), dict) else {}
        counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
        stated = [n for n in counts if isinstance(n, int) and 0 <= n <= _MOST_TOKENS]
        if guessed := len(stated) < 2:
            stated = [estimate_tokens("".join(m["content"] for m in messages)), estimate_tokens(text)]
        return Reply(
            text=self.hide_key(text),  # escapes of JSON may have hidden it before
            tokens_in=stated[0],
            tokens_out=stated[1],
            estimated=guessed,
            left_out=tuple(sorted(left_out)),
            served_model=str(found.get("model") or self.settings.model),
        )

    def hide_key(self, text: str) -> str:
        """A server's text as it may be shown and stored."""
        return text.replace(self._key, "***") if self._key else text


def estimate_tokens(text: str) -> int:
    """Roughly how many tokens a text takes."""
    return max(1, round(len(text) / CHARACTERS_PER_TOKEN))


def _suspects(text: str) -> frozenset[str]:
    folded = text.casefold()
    return frozenset(name for name, words in _WORDS.items() if any(word in folded for word in words))


def _retry_after(value: str | None) -> float:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3); 0 where there is none."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if seconds == seconds else 0.0


def _meaning(status: int) -> str:
    known = {
        401: "401 (the key is missing or wrong; name its variable with --key-env)",
        402: "402 (payment is needed)",
        403: "403 (the key may not use this)",
        404: "404 (no such address or model; most addresses end in /v1)",
        429: "429 (the account's quota is used up)",
    }
    return known.get(status, str(status))


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
