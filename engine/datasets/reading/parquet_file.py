"""Reads Parquet: a file, or a folder of parts that are one table."""

from __future__ import annotations

from pathlib import Path

import duckdb

from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.raw import Cell, RawTable, count, first_line, own_names, places, quoted
from engine.errors import DataError

MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Whether a file begins like one."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def parts_of(folder: Path) -> list[Path]:
    """The Parquet parts under a folder that is one table, in the order of their paths; `date=2025-05-01/` is a column of theirs.

    Names that begin with `_` or `.` are passed over, as Spark does.
    """
    found = (path for path in folder.rglob("*.parquet") if path.is_file())
    return sorted(path for path in found if not any(p[0] in "._" for p in path.relative_to(folder).parts))


class ParquetFile:
    """A Parquet file, or a folder of parts, of which the columns are known."""

    def __init__(self, label: str, path: Path) -> None:
        """Raises DataError where it is damaged."""
        self.label = label
        self.paths = [str(part) for part in parts_of(path)] if path.is_dir() else [str(path)]
        self.several = path.is_dir()
        with duckdb.connect() as connection:
            try:
                found = connection.execute(f"DESCRIBE SELECT * FROM {self._source()}", [self.paths]).fetchall()
            except (duckdb.Error, UnicodeDecodeError) as error:
                raise self._damaged(error) from None
        self.columns = [(row[0], row[1]) for row in found]

    def _source(self) -> str:
        return f"read_parquet(?, union_by_name = {self.several}, hive_partitioning = {self.several})"

    def _damaged(self, error: Exception) -> DataError:
        said = first_line(error)
        for path in self.paths:
            said = said.replace(path, Path(path).name if self.several else self.label)
        return DataError(
            f"{self.label} cannot be read as Parquet ({said}); it may be cut short: copy or write it again"
        )

    @property
    def names(self) -> list[str]:
        """Of its columns."""
        return [name for name, _ in self.columns]

    @property
    def is_table(self) -> bool:
        """It always is one."""
        return True

    def decisions(self) -> list[Decision]:
        """Its types are stated in it: nothing is left to find out."""
        return [Decision(self.label, "format", "Parquet", "it begins like one; types are its own", "another file")]

    def load(self, connection: duckdb.DuckDBPyConnection, table: str) -> RawTable:
        """Loads table `raw_<table>`. Raises DataError where it is damaged."""
        name = f"raw_{table}"
        names = own_names(self.names, table, self.label)
        # Text written without its UTF-8 mark arrives as bytes.
        kinds = ["VARCHAR" if kind == "BLOB" else kind for _, kind in self.columns]
        columns = {each: Cell(at, kind) for each, at, kind in zip(names, places(len(names)), kinds, strict=True)}
        select = ", ".join(
            (f"decode({quoted(given)})" if kind == "BLOB" else quoted(given)) + f" AS {cell.place}"
            for (given, kind), cell in zip(self.columns, columns.values(), strict=True)
        )
        try:
            connection.execute(f"CREATE TABLE {name} AS SELECT {select} FROM {self._source()}", [self.paths])
        except duckdb.OutOfMemoryException:
            raise
        except (duckdb.Error, UnicodeDecodeError) as error:
            if "No space left" in str(error):
                raise
            raise self._damaged(error) from None
        return RawTable(name, self.label, columns, count(connection, name))
