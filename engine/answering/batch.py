"""Every query of the catalogue, answered block by block into partitioned Parquet, here or on a Ray cluster; a stopped batch goes
on at its block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.answering.answer import Answers, answer, stored_block
from engine.answering.served import Served, load_served, weights_table
from engine.generator.tables import beams_table
from engine.problem import Problem
from engine.problem.division import asked_queries
from engine.problem.queries import queries_at
from engine.progress import Progress
from engine.runs import Run, write_arrow, write_table
from engine.threads import limit_block, limit_torch, one_thread, thread_count

BLOCK = 512
"""Queries a block: memory follows it, and a block is done again when the process dies inside it. Larger ones share more
games of a tree (`tree_attribution`). Another number makes other parts: raise the stage's version with it."""


class _Part(NamedTuple):
    number: int
    position: np.ndarray
    asked: bool
    """Whether somebody asked these queries; of synthetic ones, which train the generator, only beams are kept."""


def answer_all(run: Run, problem: Problem, *, block: int = BLOCK) -> None:
    """Answer every query of the catalogue: tables scores, contributions, reference_points, beams, beam_nodes,
    free_beams as folders of parts, and ranker_weights; without judgments beams alone."""

    compact = run.config.generator.kind == "compact"

    def body(folder: Path, progress: Progress) -> None:
        served = load_served(run, problem)
        if served.rankers:
            write_table(folder, "ranker_weights", weights_table(served.rankers))
        parts = list(_parts(served, block))
        todo = [part for part in parts if not (folder / "done" / f"{part.number}").is_file()]
        if run.on_ray is None:
            done = _here(served, todo, folder, compact)
        else:
            work = Answering(run.elsewhere(), folder.resolve(), block)
            done = run.on_ray.over(work, [part.number for part in todo], gpu=not compact)
        for ready, _ in enumerate(done, start=len(parts) - len(todo)):
            progress(ready + 1, len(parts))

    run.offer_tables(run.stage("answer", "Answering the queries", body))


@dataclass(frozen=True)
class Answering:
    """Blocks of queries to files of their rows; opened once a worker."""

    run: Run
    folder: Path
    block: int

    def __call__(self) -> Callable[[int], int]:
        """Loads what the run has learnt; gives the function that answers the block of a number."""
        served = load_served(self.run)
        parts = list(_parts(served, self.block))

        def work(number: int) -> int:
            limit_block()
            if not (self.folder / "done" / f"{number}").is_file():
                _answer_part(served, parts[number], self.folder)
            return number

        return work


def _here(served: Served, todo: list[_Part], folder: Path, compact: bool) -> Iterator[None]:
    """Answers the blocks side by side in this process."""

    def work(part: _Part) -> None:
        _answer_part(served, part, folder)

    # A language model needs every core. The limit is set here, once: workers that set it would undo each other's.
    pool = ThreadPoolExecutor(thread_count(), initializer=limit_torch) if compact else ThreadPoolExecutor(1)
    with one_thread(compact):
        try:
            yield from pool.map(work, todo)
        finally:
            pool.shutdown(cancel_futures=True)  # blocks at work are finished, others are not begun


def _parts(served: Served, block: int) -> Iterator[_Part]:
    asked = asked_queries(served.problem.catalogue)
    starts = [(asked, start, True) for start in range(0, len(asked), block) if served.rankers or served.sids]
    if served.sids is not None:
        made = np.setdiff1d(np.arange(len(served.problem.catalogue.queries)), asked)
        starts += [(made, start, False) for start in range(0, len(made), block)]
    for number, (position, start, was_asked) in enumerate(starts):
        yield _Part(number, position[start : start + block], was_asked)


def _answer_part(served: Served, part: _Part, folder: Path) -> None:
    """Write one block's rows; the empty file done/<number> last."""
    name = f"part-{part.number:05d}"
    if part.asked:
        for table, frame in _tables(answer(served, stored_block(served, part.position))).items():
            (folder / table).mkdir(exist_ok=True)
            write_arrow(folder / table, name, frame)
    else:
        assert served.sids is not None
        queries = queries_at(served.problem, part.position)
        generator = served.sids.generator
        found = generator.read(queries.x, queries.texts).search(
            generator.trie, width=served.config.generator.beam_width
        )
        (folder / "beams").mkdir(exist_ok=True)
        write_table(folder / "beams", name, beams_table(found.beams, generator.trie, queries.id))
    (folder / "done").mkdir(exist_ok=True)
    (folder / "done" / f"{part.number}").touch()


def _tables(answers: Answers) -> dict[str, pa.Table]:
    """Arrow tables by name; the signals of a pair as a list of fixed length."""
    frames = {name: frame for name, frame in answers._asdict().items() if isinstance(frame, pd.DataFrame)}
    return {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}
