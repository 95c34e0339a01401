"""URLs that may hold a secret: expanded from the environment, and never shown with it.

Whatever is stored of a URL is `public`; whatever a driver says passes `hide` before anybody reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote

from engine.errors import DataError

SERVERS = ("postgresql", "postgres", "snowflake")
"""Databases whose URL holds a user and a password."""
DATABASES = (*SERVERS, "bigquery", "sqlite", "duckdb")
HIDDEN = "***"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SECRET_NAMES = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_KEY|(?:^|_)KEY$", re.IGNORECASE)
_HARMLESS = {"sslmode", "host", "port", "dbname", "schema", "database", "warehouse", "role", "connect_timeout",
             "application_name", "options", "versionid"}  # fmt: skip
"""Parameters of a URL that are no secrets; of any other the value is hidden."""
_DATA_FILE = re.compile(r"\.(parquet|csv|tsv|txt|xml|xlsx|jsonl?|ndjson)(\.gz)?$", re.IGNORECASE)
_SHORTEST = 4
"""A shorter variable of the environment is not looked for in messages: it would blot out every other word."""


class _Parts(NamedTuple):
    scheme: str
    user: str | None
    password: str | None
    place: str  # Host and path, or bucket and key.
    query: str


@dataclass(frozen=True)
class Address:
    """A URL to read from. Its `repr` shows no secret."""

    url: str = field(repr=False)  # With secrets.
    expanded: tuple[str, ...] = field(repr=False, default=())  # Values of `${VARIABLE}`s in user, password, parameters.

    @property
    def scheme(self) -> str:
        """'postgresql', 's3', ... in small letters."""
        return _parts(self.url).scheme

    @property
    def is_database(self) -> bool:
        """Whether statements are asked of it; else files are copied from it."""
        return self.scheme in DATABASES

    @property
    def place(self) -> str:
        """What follows '://', without user, password and parameters."""
        return _parts(self.url).place

    @property
    def public(self) -> str:
        """The URL without user, password and parameters: what may be shown and stored."""
        return f"{self.scheme}://{self.place}"

    @property
    def name(self) -> str:
        """What a dataset from there is called: its database, folder or bucket; of a
        database file its stem, of another file its folder."""
        path = PurePosixPath(unquote(self.place).rstrip("/"))
        name = path.name
        if self.scheme in ("sqlite", "duckdb"):
            name = path.stem
        elif not self.is_database and _DATA_FILE.search(name):
            name = path.parent.name or path.stem
        return re.sub(r"[^\w .-]+", "_", name).strip(" .") or self.scheme

    def hide(self, text: str) -> str:
        """`text`, such as a driver's message, without any secret of the URL or of the environment."""
        text = text.replace(self.url, self.public)
        for secret in sorted(set(self._secrets()), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        # A part of a URL that a driver divided in its own way.
        return re.sub(r"(://)[^\s/@'\"]*:[^\s@'\"]*@", rf"\1{HIDDEN}@", text)

    def _secrets(self) -> Iterator[str]:
        parts = _parts(self.url)
        given = [parts.password, *self.expanded]
        if parts.scheme not in SERVERS:
            given.append(parts.user)
        for pair in re.split("[&;]", parts.query):
            name, _, value = pair.partition("=")
            if name.casefold() not in _HARMLESS:
                given.append(value)
        for secret in filter(None, given):
            yield from {secret, unquote(secret), quote(unquote(secret), safe="")}
        for name, value in os.environ.items():
            if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST:
                yield value


def is_url(text: str) -> bool:
    """Whether this names a place elsewhere, not a folder on disk."""
    return _URL.fullmatch(text) is not None or _VARIABLE.fullmatch(text) is not None


def address(given: str) -> Address:
    """The address that a user gave; each `${VARIABLE}` is replaced by its value, encoded where the URL asks for it.

    Raises DataError for what is no URL, an unknown variable, and a password that makes the URL ambiguous; the
    message never repeats the URL.
    """
    whole = _VARIABLE.fullmatch(given)
    if whole:
        return address(_value(whole).strip())
    if _URL.fullmatch(given) is None or re.search(r"::[\w+.-]*://", given):  # fsspec's chains
        raise DataError(
            f"--from is not a URL; expected is one like postgresql://user@host/database, sqlite:///shop.db, "
            f"duckdb:///shop.duckdb or s3://bucket/folder/ (databases: {', '.join(DATABASES)}; else any URL of fsspec)"
        )
    expanded: list[str] = []

    def encoded(match: re.Match[str]) -> str:
        expanded.append(_value(match))
        return quote(expanded[-1], safe="")

    parts = _parts(given)
    user, password = (text and _VARIABLE.sub(encoded, text) for text in (parts.user, parts.password))
    query, place = _VARIABLE.sub(encoded, parts.query), _VARIABLE.sub(_value, parts.place)
    found = Address(f"{parts.scheme}://{_who(user, password)}{place}" + f"?{query}" * bool(query), tuple(expanded))
    parts = _parts(found.url)
    if parts.scheme in SERVERS:
        hosts = parts.place.partition("/")[0].split(",")
        odd_host = not all(re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?", host) for host in hosts)
        if odd_host or set((parts.user or "") + (parts.password or "")) & set("@/?#"):
            raise DataError(
                "the user or password in --from holds a character that a URL must encode (@ as %40, / as %2F, ? as %3F, "
                "# as %23, : as %3A); write it so, or name a variable of the environment: "
                "postgresql://user:${DB_PASSWORD}@host/database"
            )
    return found


def masked(argument: str) -> str:
    """An argument of the command line, for showing the command again: passwords and parameters of URLs blotted out.

    `${VARIABLE}`s stay, since they are no secrets.
    """

    def mask(match: re.Match[str]) -> str:
        parts = _parts(match.group())
        user = parts.user
        if user and (parts.scheme not in SERVERS or set(user) & set("@/?#")):
            user = _blotted(user)
        pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
        query = "&".join(n + eq + (v if n.casefold() in _HARMLESS else _blotted(v)) for n, eq, v in pairs)
        return f"{parts.scheme}://{_who(user, parts.password and _blotted(parts.password))}{parts.place}" + (
            f"?{query}" if query else ""
        )

    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://.*", mask, argument, flags=re.DOTALL)


def _blotted(value: str) -> str:
    return value if not value or _VARIABLE.fullmatch(value) else HIDDEN


def _who(user: str | None, password: str | None) -> str:
    return "" if user is None else user + ("" if password is None else f":{password}") + "@"


def _value(match: re.Match[str]) -> str:
    name = match.group(1)
    if not os.environ.get(name):
        raise DataError(f"--from names the variable ${{{name}}}, which is not set; set it in the environment")
    return os.environ[name]


def _parts(url: str) -> _Parts:
    """The parts of a URL, read so that a password with odd letters never ends up in `place`."""
    match = _URL.fullmatch(url)
    if match is None:
        return _Parts("", None, None, "", "")
    scheme, rest = match.group(1).casefold(), match.group(2)
    before, at, after = rest.rpartition("@")
    authority = re.split("[/?#]", before, maxsplit=1)[0]
    # Of other than servers, an @ behind the host belongs to a path, unless what is before it looks like a password.
    has_user = bool(at) and (scheme in SERVERS or authority == before or ":" in authority)
    who, rest = (before, after) if has_user else ("", rest)
    place, _, query = rest.partition("?")
    user, colon, password = who.partition(":")
    return _Parts(scheme, user if has_user else None, password if colon else None, place.partition("#")[0], query)
