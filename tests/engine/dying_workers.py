"""Work for a cluster whose workers die on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.answering import batch
from engine.errors import DataError


@dataclass(frozen=True)
class Doing:
    """Work that fails in a chosen way at block 3."""

    folder: Path
    how: str

    def __call__(self) -> Callable[[int], list[int]]:
        def do(number: int) -> list[int]:
            if number == 3 and self.how == "says so":
                raise DataError("block 3 is not to be read")
            if number == 3 and (self.how == "kills" or not (self.folder / "killed").exists()):
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return [number, os.getpid()]

        return do


@dataclass(frozen=True)
class Killed(batch.Answering):
    """Answering whose worker is killed once, in the middle of writing a block's tables."""

    def __call__(self) -> Callable[[int], int]:
        work = super().__call__()

        def once(number: int) -> int:
            mark = self.folder.with_name("killed")
            if number == 1 and not mark.exists():
                mark.touch()
                whole = batch.write_arrow

                def dies(*given: object) -> None:
                    whole(*given)  # type: ignore[arg-type]
                    os.kill(os.getpid(), signal.SIGKILL)

                batch.write_arrow = dies
            return work(number)

        return once
