"""Names that people give to codes, kept apart from snapshots: a new snapshot of the same run has them again.

rename(workspace, run_id, "79-2", "Dome tents", by="Ada")
given(workspace, run_id)                        # {"79-2": Name("79-2", "Dome tents", "Ada", "2026-11-30T10:00:00+00:00", False)}
undo(workspace, run_id, "79-2")                 # what it was called before

The document `code_names` of engine/store/kept.py: {run_id: {prefix: [entry, ...]}}, the newest entry last; an entry without
a name gives the computed label back.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import DataError
from engine.store.kept import Kept

DOCUMENT = "code_names"
LONGEST = 80
"""Characters of a name, and of who gave it."""
ENDPOINT, MODEL, KEY_ENV = "SIDELIGHT_JUDGE_ENDPOINT", "SIDELIGHT_JUDGE_MODEL", "SIDELIGHT_JUDGE_KEY_ENV"
"""Environment variables of the dashboard: who proposes names (docs/judge.md), by which key's variable."""
MOST_KEPT = 20
"""Earlier names of one code."""
_TEXTS = ("name", "by", "at")


class Name(NamedTuple):
    """What somebody called a code."""

    prefix: str
    name: str  # '' where the computed label was given back.
    by: str
    at: str  # UTC, ISO 8601.
    proposed: bool  # The words were a language model's, and somebody took them.


def can_be_proposed() -> bool:
    """Whether this server knows a language model to ask."""
    return bool(os.environ.get(ENDPOINT) and os.environ.get(MODEL))


def _line(said: str) -> str:
    """On one line, printable characters alone."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())


def rename(workspace: Path, run_id: str, prefix: str, name: str, *, by: str, proposed: bool = False) -> None:
    """Call a code so from now on; a blank name gives its label back. Raises DataError for a name too long, or a full disk."""
    name, by = _line(name), _line(by)[:LONGEST] or "somebody"
    if len(name) > LONGEST:
        raise DataError(f"the name has {len(name)} characters; allowed: {LONGEST}")
    entry = {"name": name, "by": by, "at": datetime.now(UTC).isoformat(timespec="seconds"), "proposed": proposed}

    def change(said: dict[str, Any]) -> dict[str, Any]:
        of_run = _entries(workspace, said, run_id)
        of_run[prefix] = [*of_run.get(prefix, [])[-MOST_KEPT + 1 :], entry]
        return said | {run_id: of_run}

    Kept(workspace, DOCUMENT).update(change)


def undo(workspace: Path, run_id: str, prefix: str) -> None:
    """Take the newest name of a code back. Raises DataError where the disk refuses it."""

    def change(said: dict[str, Any]) -> dict[str, Any]:
        of_run = _entries(workspace, said, run_id)
        of_run[prefix] = of_run.get(prefix, [])[:-1]
        return said | {run_id: {prefix: entries for prefix, entries in of_run.items() if entries}}

    Kept(workspace, DOCUMENT).update(change)


def history(workspace: Path, run_id: str) -> list[Name]:
    """Every name that codes of a run were given, by code, the oldest first. Raises DataError for a damaged document."""
    entries = _entries(workspace, Kept(workspace, DOCUMENT).read(), run_id)
    return [
        Name(prefix, entry["name"], entry["by"], entry["at"], bool(entry["proposed"]))
        for prefix, of_code in sorted(entries.items())
        for entry in of_code
    ]


def _entries(workspace: Path, said: dict[str, Any], run_id: str) -> dict[str, list[dict[str, Any]]]:
    """What the document holds of a run, by prefix. Raises DataError where it does not read as names."""
    of_run = said.get(run_id, {})
    lists = list(of_run.values()) if isinstance(of_run, dict) else [None]
    entries = [entry for each in lists for entry in (each if isinstance(each, list) else [None])]
    if not all(
        isinstance(e, dict) and all(isinstance(e.get(k), str) for k in _TEXTS) and "proposed" in e for e in entries
    ):
        raise DataError(f"{Kept(workspace, DOCUMENT).path} does not read as names; mend it or move it away")
    return dict(of_run)


def given(workspace: Path, run_id: str) -> dict[str, Name]:
    """What codes of a run are called now, by prefix, where people named them."""
    newest = {name.prefix: name for name in history(workspace, run_id)}
    return {prefix: name for prefix, name in newest.items() if name.name}
