"""SQL over what a run answered: its tables of pairs and beams as they lie on disk, in parts or in one file.

    with Answers(run.folder / "tables") as answers:
        answers.query("SELECT query_id, count(*) AS n FROM scores WHERE rank <= $k GROUP BY query_id", k=10)

Memory follows the result of a query, not the pairs: what does not fit is spilled to the system's temporary folder.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

import duckdb
import pandas as pd

from engine.leftovers import working_folder

TABLES = ("scores", "contributions", "beams", "beam_nodes", "free_beams", "reference_points")
MEMORY = "512MB"
"""Of DuckDB's own; it spills beyond."""


class Answers:
    """The tables `TABLES` of a folder as views (`<table>/part-*.parquet`, else `<table>.parquet`), as far as there are any."""

    def __init__(self, folder: Path, *, memory: str = MEMORY) -> None:
        self._scratch = contextlib.ExitStack()
        self._place = scratch = self._scratch.enter_context(working_folder("answers"))
        self._connection = duckdb.connect(
            str(scratch / "scratch.duckdb"),
            config={
                "memory_limit": memory,
                "temp_directory": str(scratch / "spill"),
                "preserve_insertion_order": False,  # every result that has an order says so
                "python_enable_replacements": False,
            },
        )
        self._tables = {name: files for name in TABLES if (files := _files(folder, name))}
        for name, files in self._tables.items():
            self._connection.read_parquet(files).create_view(name)

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._scratch.close()

    def has(self, table: str) -> bool:
        """Whether the run has such answers."""
        return table in self._tables

    def query(self, sql: str, **values: object) -> pd.DataFrame:
        """The rows of one statement; `values` are its parameters ($name)."""
        return self._connection.execute(sql, values or None).df()

    def lookup(self, name: str, frame: pd.DataFrame, *, more: bool = False) -> None:
        """Make a small table known to statements under a new name; with `more`, add its rows to those known already."""
        file = self._place / f"{name}.parquet"
        frame.to_parquet(file, index=False)
        rows = self._connection.read_parquet(str(file))
        if more:
            rows.insert_into(name)
        else:
            rows.create(name)


def _files(folder: Path, table: str) -> list[str]:
    parts = sorted((folder / table).glob("*.parquet"))
    return [str(path) for path in parts or [folder / f"{table}.parquet"] if path.is_file()]
