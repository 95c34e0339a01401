"""Grades that people give on the dashboard: every answer a line, appended, so that two raters lose nothing of each other and a
killed server nothing at all.

WORKSPACE/judged/answers.jsonl    one JSON object a line: an answer, or {"takes_back": <id of an answer>, ...}
WORKSPACE/judged/answers.lock     held while a line is appended

store = JudgedStore(workspace)
mine = store.add(Answer(...))                   # on the disk when this returns
store.take_back(mine.answer_id, rater="Ada")
store.standing()                                # the newest answer of each rater to each pair, those taken back left out
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from engine.errors import DataError

LONGEST_NAME, LONGEST_REASON = 60, 500
"""Letters of a rater's name, and of a reason."""
MOST_BYTES = 256 * 2**20
"""Of the file: it is read whole."""
SOURCE = "human"
"""`source` of these judgments."""
COLUMNS = ("query_id", "query", "item_id", "grade", "source", "rater", "reason", "judged_at")
"""Of the export: the contract's judgments, and two columns that it passes over."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One grade that one person gave one pair."""

    rater: str
    """As they called themselves."""
    dataset: str
    """Name of the catalogue: the same ids mean other things in another one."""
    query_id: str
    query: str
    """Its text."""
    item_id: str
    grade: float
    max_grade: float
    """Of the scale that the grade is on."""
    relevant_grade: float
    reason: str = ""
    answer_id: str = ""
    """Given by the store, as the time is."""
    judged_at: str = ""
    """UTC, ISO 8601."""


class JudgedStore:
    """The answers of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self.path = workspace / "judged" / "answers.jsonl"

    def add(self, answer: Answer) -> Answer:
        """Keep an answer; returns it with its id and time. Raises DataError where the disk refuses it, or for no name."""
        kept = dataclasses.replace(
            answer,
            rater=rater_name(answer.rater),
            reason=_line(answer.reason)[:LONGEST_REASON],
            answer_id=uuid.uuid4().hex,
            judged_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._append(dataclasses.asdict(kept))
        return kept

    def take_back(self, answer_id: str, *, rater: str) -> None:
        """An answer no longer stands; its line stays. Raises DataError where the disk refuses it."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        self._append({"takes_back": answer_id, "rater": rater, "judged_at": stamp})

    def standing(self) -> list[Answer]:
        """The newest answer of each rater to each pair that was not taken back, in the order given.

        Raises DataError where the file cannot be read; a line that a crash tore, or a hand spoiled, is passed over.
        """
        answers: dict[str, Answer] = {}
        for said in self._lines():
            if "takes_back" in said:
                answers.pop(str(said["takes_back"]), None)
            elif (answer := _answer(said)) is not None:
                answers[answer.answer_id] = answer
        newest = {(a.dataset, a.rater, a.query_id, a.item_id): a.answer_id for a in answers.values()}
        kept = set(newest.values())
        return [answer for answer in answers.values() if answer.answer_id in kept]

    def _append(self, said: dict[str, Any]) -> None:
        line = json.dumps(said, ensure_ascii=True).encode("ascii") + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.path.with_suffix(".lock")), self.path.open("a+b") as file:
                size = file.seek(0, os.SEEK_END)
                if size + len(line) > MOST_BYTES:
                    raise DataError(f"{self.path} would grow beyond {MOST_BYTES >> 20} MB; move it away")
                if size:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a torn line stays alone, and the next answer whole
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror or error}") from error
        for line in lines:
            try:
                said = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(said, dict):
                yield said


def rater_name(name: str) -> str:
    """A rater's name on one line. Raises DataError for one that is blank or too long.

    What a spreadsheet would take for a formula loses its first signs: the name is exported as it stands.
    """
    name = _line(name).lstrip("=+-@ ")
    if not 0 < len(name) <= LONGEST_NAME:
        raise DataError(f"a rater needs a name of 1 to {LONGEST_NAME} letters")
    return name


def export_rows(answers: list[Answer]) -> list[dict[str, str]]:
    """Answers as rows of COLUMNS: what `judgments.csv` holds, and `engine ingest` takes."""
    return [
        {
            "query_id": a.query_id, "query": a.query, "item_id": a.item_id, "grade": f"{a.grade:g}", "source": SOURCE,
            "rater": a.rater, "reason": a.reason, "judged_at": a.judged_at,
        }
        for a in answers
    ]  # fmt: skip


def _answer(said: dict[str, Any]) -> Answer | None:
    """A line as an answer; None where it is none."""
    try:
        answer = Answer(**said)
        numbers = (answer.grade, answer.max_grade, answer.relevant_grade)
        texts = [value for name, value in said.items() if name not in ("grade", "max_grade", "relevant_grade")]
        sound = all(math.isfinite(n) for n in numbers) and all(isinstance(t, str) for t in texts) and answer.answer_id
        return answer if sound else None
    except (TypeError, OverflowError):
        return None


def _line(said: str) -> str:
    """On one line, printable characters alone."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
