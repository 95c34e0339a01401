"""What people write beside the snapshots of a workspace and a new snapshot must not lose: names, notes, sets of queries.

WORKSPACE/kept/<name>.json    one small document, replaced whole
WORKSPACE/kept/<name>.lock    held while it is changed, so that two writers change it one after the other

kept = Kept(workspace, "query_sets")
kept.read()                                     # {} where nothing was kept yet
kept.update(lambda said: said | {"mine": []})   # what it holds afterwards
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

from engine.errors import DataError
from engine.leftovers import replacing

NAME = re.compile(r"[a-z][a-z_]{0,40}")
"""No other text becomes a path."""
MOST_BYTES = 8 * 2**20
"""Of a document: it is read and written whole."""


class Kept:
    """One document of a workspace: a JSON object that people change and programs read."""

    def __init__(self, workspace: Path, name: str) -> None:
        assert NAME.fullmatch(name), name
        self.path = workspace / "kept" / f"{name}.json"

    def read(self) -> dict[str, Any]:
        """What it holds; empty where nothing was kept yet. Raises DataError for a file that is no JSON object."""
        try:
            said = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{self.path} cannot be read: {error}; mend it or move it away") from error
        if not isinstance(said, dict):
            raise DataError(f"{self.path} holds no JSON object; mend it or move it away")
        return said

    def update(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Replace what it holds by `change` of it, alone among all writers; returns the new.

        Raises DataError where the document would grow too large, or the disk refuses it.
        """
        with self._alone():
            new = change(self.read())
            written = json.dumps(new, ensure_ascii=True, indent=1).encode("utf-8")
            if len(written) > MOST_BYTES:
                raise DataError(f"{self.path.name} would have {len(written):,} bytes; allowed: {MOST_BYTES:,}")
            with replacing(self.path) as writing:
                writing.write_bytes(written)
        return new

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the document's lock. The system lets go of it when the holder dies."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.path.with_suffix(".lock")):
                yield
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror or error}") from error
