"""`dataset.toml`: what it says of a dataset, and how the files beside it are to be read where that is not to be found out.

max_grade = 3                 settings of the dataset (`contract.DatasetSettings`)
[read]                        how files are read: these for all of them ...
decimal = ","
[read.items]                  ... and these for one
encoding = "cp1252"
[columns]                     what the files call columns of the contract: in whichever file has it ...
title = "Produktname"
[columns.judgments]           ... or in one
grade = "stars"
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from engine.datasets.contract import COLUMNS, DatasetSettings, close_matches
from engine.errors import DataError

EVENTS = ("impression", "view", "click", "cart", "purchase", "ignore")
"""What a kind of event may be."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """`[read]`: what is not to be found out, for one file. None: find it."""

    encoding: str | None = None  # A codec of Python: 'utf-8', 'cp1252', 'shift_jis' ...
    delimiter: str | None = None  # Between values, one character.
    quote: str | None = None  # Around values, one character; '' where marks are data.
    header: tuple[str, ...] | None = None  # Names of the columns of a file without a header line.
    decimal: str | None = None  # Decimal sign of prices and other numbers, '.' or ','.
    day_first: bool | None = None  # Whether 03/04/2025 is in April.
    several_paths: bool | None = None  # Whether a comma, ';' or '|' in a category begins another path.
    events: Mapping[str, str] | None = None  # Kind of event as the file writes it -> one of `EVENTS`.
    position_base: int | None = None  # The number of the first position, 0 or 1.
    source: str | None = None  # Of judgments, where the file does not say: human, llm ...
    sid_suffix: str | None = None  # 'drop' or 'level': a last code that only some SIDs have.

    def __post_init__(self) -> None:
        def check(ok: bool, name: str, allowed: str) -> None:
            if not ok:
                raise DataError(f"dataset.toml: [read] {name} = {getattr(self, name)!r}; allowed: {allowed}")

        for name in ("delimiter", "quote"):
            mark = getattr(self, name) or ","
            check(len(mark) == 1 and mark not in "\r\n\0", name, "one character, no line break")
        check(self.quote is None or self.quote.isascii(), "quote", "a character of ASCII")
        check(
            self.quote is None or self.quote != (self.delimiter or ","), "quote", "another character than the delimiter"
        )
        check(self.delimiter != "", "delimiter", "one character")
        check(self.header != (), "header", "a list of names")
        check(self.decimal in (None, ".", ","), "decimal", "'.' or ','")
        check(self.position_base in (None, 0, 1), "position_base", "0 or 1")
        check(self.sid_suffix in (None, "drop", "level"), "sid_suffix", "'drop' or 'level'")
        check(
            all(kind in EVENTS for kind in (self.events or {}).values()), "events", f"kinds among {', '.join(EVENTS)}"
        )
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, UnicodeError):  # Python knows codecs that are none of text, such as zlib.
                check(False, "encoding", "an encoding such as utf-8, cp1252, shift_jis")


class SettingsFile(NamedTuple):
    """A read `dataset.toml`."""

    settings: DatasetSettings
    stated: frozenset[str]  # Names of the settings that the file states.
    warnings: tuple[str, ...] = ()
    read: Mapping[str, ReadOptions] = {}  # By file of the contract; '' for the others.
    columns: Mapping[str, Mapping[str, str]] = {}  # File of the contract -> column of the contract -> name in the file.

    @property
    def named(self) -> bool:
        """False where the name is only the folder's."""
        return "name" in self.stated

    def options(self, table: str) -> ReadOptions:
        """How a file of the contract is to be read."""
        return self.read.get(table) or self.read.get("") or ReadOptions()


def default_settings(name: str) -> SettingsFile:
    """What holds where there is no `dataset.toml`."""
    return SettingsFile(DatasetSettings(name=name or "dataset"), frozenset())


def read_settings(folder: Path) -> SettingsFile:
    """The settings of a dataset folder; defaults where there is no `dataset.toml`.

    Raises DataError for a file that is not TOML, values of the wrong type and values outside what is allowed.
    """
    path, own = folder / "dataset.toml", default_settings(folder.resolve().name)
    if not path.exists():
        return own
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"dataset.toml is not valid TOML: {error}; mend that line or remove the file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"dataset.toml is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"dataset.toml cannot be read: {error.strerror or error}") from None

    warnings: list[str] = []
    read = _read_options(raw.pop("read", {}), warnings)
    columns = _columns(raw.pop("columns", {}))
    values = _values(DatasetSettings, raw, "", warnings)
    scale = {"relevant_grade": min(own.settings.relevant_grade, values["max_grade"])} if "max_grade" in values else {}
    settings = DatasetSettings(**{"name": own.settings.name, **scale, **values})
    return SettingsFile(settings, frozenset(values), tuple(warnings), read, columns)


def _values(kind: type, raw: Mapping[str, Any], place: str, warnings: list[str]) -> dict[str, Any]:
    """The fields of a dataclass that a table of the file states, each of its type. Raises DataError."""
    fields = {f.name: str(f.type) for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in fields:
            hint = close_matches(key, list(fields))
            warnings.append(
                f"dataset.toml: {place}'{key}' is not a setting" + (f"; did you mean '{hint[0]}'?" if hint else "")
            )
            continue
        wanted = fields[key]
        if wanted.startswith("tuple"):
            ok, allowed = isinstance(value, list) and all(isinstance(v, str) for v in value), 'a list like ["category"]'
            value = tuple(value) if ok else value
        elif wanted.startswith("float"):
            ok, allowed = isinstance(value, int | float) and not isinstance(value, bool), "a number"
            value = float(value) if ok else value
        elif wanted.startswith("int"):
            ok, allowed = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        elif wanted.startswith("bool"):
            ok, allowed = isinstance(value, bool), "true or false"
        elif wanted.startswith("Mapping"):
            ok = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
            allowed = 'a table like {view_item = "impression"}'
        else:
            ok, allowed = isinstance(value, str), "text in quotes"
        if not ok:
            raise DataError(f"dataset.toml: {place}{key} = {value!r}; it must be {allowed}")
        values[key] = value
    return values


def _tables(raw: object, name: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What a table of the file says for all files, and for single ones."""
    if not isinstance(raw, dict):
        raise DataError(f"dataset.toml: {name} = {raw!r}; it must be a table, [{name}]")
    single = {key: value for key, value in raw.items() if key in COLUMNS and isinstance(value, dict)}
    return {key: value for key, value in raw.items() if key not in single}, single


def _read_options(raw: object, warnings: list[str]) -> dict[str, ReadOptions]:
    common, single = _tables(raw, "read")
    every = _values(ReadOptions, common, "[read] ", warnings)
    found = {"": ReadOptions(**every)}
    for table, own in single.items():
        found[table] = ReadOptions(**every | _values(ReadOptions, own, f"[read.{table}] ", warnings))
    return found


def _columns(raw: object) -> dict[str, dict[str, str]]:
    common, single = _tables(raw, "columns")
    found: dict[str, dict[str, str]] = {table: {} for table in COLUMNS}
    known = {column.name for columns in COLUMNS.values() for column in columns}
    for place, stated in (("columns", common), *((f"columns.{table}", own) for table, own in single.items())):
        tables = [place.partition(".")[2]] if "." in place else list(COLUMNS)
        for ours, theirs in stated.items():
            named = {c.name for c in COLUMNS[tables[0]]} if len(tables) == 1 else known
            if ours not in named or not isinstance(theirs, str):
                hint = close_matches(ours, sorted(named))
                raise DataError(
                    f"dataset.toml: [{place}] {ours} = {theirs!r}; write a column of the contract = the file's name for it, "
                    + f'like {(hint or ["title"] if "title" in named else ["query"])[0]} = "{ours}"'
                )
            for table in tables:
                if ours in {c.name for c in COLUMNS[table]}:
                    found[table][ours] = theirs
    return found
