"""Every raw answer of a judge, kept: WORKSPACE/judgments/<name>-<hash8>/answers.jsonl, one JSON object a line.

A line is on the disk before the next pair is asked, so that a killed run loses only what was under way. The hash
covers catalogue, model, prompt and the settings that shape an answer: answers to other questions live elsewhere. The
newest line of a pair counts. A line torn by a crash is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import filelock
import pandas as pd

from engine.errors import RunError
from engine.labeling.endpoint import EndpointSettings
from engine.labeling.prompt import PROMPT_VERSION, Prompt
from engine.runs import write_text
from engine.store.held import holder, sign

ANSWERS, SETTINGS, AGREEMENT = "answers.jsonl", "judge.json", "agreement.json"
OK, MALFORMED, REFUSED, UNREACHABLE = "ok", "malformed", "refused", "unreachable"
_COLUMNS = ("query_id", "item_id", "status", "grade", "tokens_in", "tokens_out", "requests")


_MOST = 1e6
"""No scale has such a grade: a line that states one is spoiled."""


class Answers(NamedTuple):
    """The newest answer of every pair: query_id, item_id, status, grade (NaN unless 'ok'), tokens, requests."""

    table: pd.DataFrame
    torn: int  # Lines that could not be read.

    def usable(self) -> pd.DataFrame:
        """Those with a grade."""
        return self.table[self.table["status"] == OK]

    def settled(self, *, retry_failed: bool) -> set[tuple[str, str]]:
        """Pairs that need not be asked again: unreachable ones always are, otherwise failed ones where wanted."""
        done = {OK} if retry_failed else {OK, MALFORMED, REFUSED}
        kept = self.table[self.table["status"].isin(done)]
        return set(zip(kept["query_id"], kept["item_id"], strict=True))


class AnswerStore:
    """Appends answers; open it as a context manager, which keeps other processes out.

    Raises RunError where another process is writing into the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "judge.lock"
        self._lock = filelock.FileLock(self._path)
        self._file: BinaryIO | None = None

    def __enter__(self) -> AnswerStore:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunError(
                f"Another judge ({holder(self._path)}) is writing into {self.folder}; wait for it or stop it."
            ) from None
        sign(self._path)
        path = self.folder / ANSWERS
        self._file = path.open("ab")
        if path.stat().st_size and not _ends_a_line(path):
            self._file.write(b"\n")  # a torn line stays alone, and the next answer whole
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._file is not None:
                self._file.close()
        finally:
            self._lock.release()

    def append(self, record: dict[str, Any]) -> None:
        """One answer, on the disk when this returns."""
        assert self._file is not None
        self._file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def judge_folder(
    workspace: Path, fingerprint: str, prompt: Prompt, settings: EndpointSettings, name: str | None = None
) -> Path:
    """Where the answers of this judge to this catalogue lie; the address is left out, a model may move."""
    asked = {
        "fingerprint": fingerprint, "model": settings.model, "prompt": prompt.fingerprint,
        "temperature": settings.temperature, "max_tokens": settings.max_tokens, "seed": settings.seed,
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", name or settings.model).strip("-.")[:60] or "judge"
    return workspace / "judgments" / f"{slug}-{key}"


def write_settings(folder: Path, fingerprint: str, prompt: Prompt, settings: EndpointSettings) -> None:
    """What was asked, in words, beside the answers."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = {
        "fingerprint": fingerprint, "model": settings.model, "temperature": settings.temperature,
        "max_tokens": settings.max_tokens, "seed": settings.seed, "prompt_version": PROMPT_VERSION,
        "prompt_hash": prompt.fingerprint, "grades": {str(g): text for g, text in prompt.definitions.items()},
    }  # fmt: skip
    write_text(folder / SETTINGS, json.dumps(stated, ensure_ascii=False, indent=1))


def read_answers(folder: Path) -> Answers:
    """All answers so far; an empty table where there are none."""
    path = folder / ANSWERS
    newest: dict[tuple[str, str], tuple[Any, ...]] = {}
    torn = 0
    for record in _records(path) if path.is_file() else ():
        if record is None:
            torn += 1
        else:
            newest[record["query_id"], record["item_id"]] = tuple(record.get(name) for name in _COLUMNS)
    table = pd.DataFrame(list(newest.values()), columns=list(_COLUMNS))
    return Answers(table.astype({"grade": "float64"}), torn)


def _records(path: Path) -> Iterator[dict[str, Any] | None]:
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                record: Any = json.loads(line.decode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError):
                record = None
            yield record if _is_answer(record) else None


def _is_answer(record: object) -> bool:
    """Whether a line says what became of a pair; a hand, or a disk, may have spoiled it."""
    if not isinstance(record, dict):
        return False
    texts, grade = (record.get(name) for name in ("query_id", "item_id", "status")), record.get("grade")
    number = isinstance(grade, int | float) and not isinstance(grade, bool) and abs(grade) <= _MOST
    return all(isinstance(text, str) for text in texts) and (number or (grade is None and record["status"] != OK))


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
