"""Adapter for ESCI, Amazon's Shopping Queries dataset: one locale, the small (ranking) or the large version.

Source: github.com/amazon-science/esci-data (Reddy et al., 2022, arXiv 2206.06588; Apache 2.0 licence). Both Parquet files
stream through DuckDB into Parquet, so that the 1.2 million products of the large version never lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb

from engine.datasets.reading.files import source_folder
from engine.datasets.reading.raw import first_line
from engine.errors import DataError

EXAMPLES = "shopping_queries_dataset_examples.parquet"
PRODUCTS = "shopping_queries_dataset_products.parquet"
SOURCES = "shopping_queries_dataset_sources.csv"
FILES = (EXAMPLES, PRODUCTS)
LOCALES = ("us", "es", "jp")
VERSIONS = ("small", "large")
MEMORY = "1GB"
"""Most that DuckDB may hold; above it spills to disk."""

_COLUMNS = {
    EXAMPLES: ("query", "query_id", "product_id", "product_locale", "esci_label", "small_version", "large_version", "split"),
    PRODUCTS: ("product_id", "product_title", "product_description", "product_bullet_point", "product_brand",
               "product_color", "product_locale"),
    SOURCES: ("query_id", "source"),
}  # fmt: skip
_VIEWS = {EXAMPLES: "examples", PRODUCTS: "products", SOURCES: "sources"}
_LANGUAGES = {"us": "English (US)", "es": "Spanish", "jp": "Japanese"}
_LFS = b"version https://git-lfs"


def adapt(source: Path, contract: Path, *, locale: str = "us", version: str = "small") -> list[Path]:
    """Writes items, queries and judgments as Parquet, and dataset.toml, into the folder `contract`.

    Kept are the examples of one locale and version and the products they name. `source` holds the two Parquet files,
    or is a clone of the repository with them in `shopping_queries_dataset/`; where `shopping_queries_dataset_sources.csv`
    is there too, it gives each query's kind. Raises DataError where a file or column is lacking or a file is damaged.
    """
    hint = "the folder 'shopping_queries_dataset' of the repository amazon-science/esci-data"
    folder = source_folder(source, "an ESCI", FILES, "shopping_queries_dataset", hint)
    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(contract / "spill"),
        "memory_limit": MEMORY,
        "autoinstall_known_extensions": "false",
    }
    try:
        with duckdb.connect(config=config) as connection:
            connection.execute("SET enable_progress_bar = false")
            with_kinds = (folder / SOURCES).is_file()
            for name in (*FILES, SOURCES) if with_kinds else FILES:
                _open(connection, folder / name)
            chosen = f"(SELECT * FROM examples WHERE product_locale = '{locale}' AND {version}_version = 1)"
            if not connection.execute(f"SELECT count(*) FROM {chosen}").fetchone()[0]:  # type: ignore[index]
                raise DataError(f"{EXAMPLES} has no example of locale '{locale}' in the {version} version")
            _write_items(connection, chosen, locale, contract)
            _write_queries(connection, chosen, contract, with_kinds=with_kinds)
            _write_judgments(connection, chosen, contract)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise
        raise DataError(
            f"the files of {folder} cannot be read ({first_line(error)}); copy or download them again"
        ) from None
    (contract / "dataset.toml").write_text(_settings(locale, version), encoding="utf-8")
    return []


ADAPTERS: dict[str, Callable[[Path, Path], list[Path]]] = {
    "esci": adapt,
    **{
        f"esci:{locale}" + (":large" if version == "large" else ""): partial(adapt, locale=locale, version=version)
        for locale in LOCALES
        for version in VERSIONS
    },
}
"""`esci` is `esci:us`; `:large` takes the large version in place of the small one."""


def _open(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """View `examples`, `products` or `sources` on its file."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise DataError(f"{path.name} is only a pointer of git-lfs; fetch the file itself with 'git lfs pull'")
    kind, view = ("CSV" if path.name == SOURCES else "Parquet"), _VIEWS[path.name]
    quoted = str(path).replace("'", "''")
    read = {
        "CSV": f"read_csv('{quoted}', header = true, delim = ',', all_varchar = true)",
        "Parquet": f"read_parquet('{quoted}')",
    }
    try:
        connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {read[kind]}")
        there = [row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()]
    except duckdb.Error as error:
        raise DataError(
            f"{path.name} cannot be read as {kind} ({first_line(error)}); copy or download it again"
        ) from None
    lacking = [name for name in _COLUMNS[path.name] if name not in there]
    if lacking:
        raise DataError(f"{path.name} lacks {', '.join(lacking)}; it has {', '.join(there)}")


def _copy(connection: duckdb.DuckDBPyConnection, select: str, target: Path) -> None:
    quoted = str(target).replace("'", "''")
    connection.execute(f"COPY ({select}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)")


def _write_items(connection: duckdb.DuckDBPyConnection, chosen: str, locale: str, contract: Path) -> None:
    # Bullet points are features as sellers write them, one a line: attributes, beside the colour.
    attributes = """nullif(CAST(json_merge_patch('{}', json_object('color', nullif(trim(product_color), ''),
        'bullet points', nullif(trim(product_bullet_point), ''))) AS VARCHAR), '{}')"""
    _copy(
        connection,
        f"""SELECT product_id AS item_id, product_title AS title, product_brand AS brand,
            product_description AS description, {attributes} AS attributes
        FROM products WHERE product_locale = '{locale}' AND product_id IN (SELECT product_id FROM {chosen})""",
        contract / "items.parquet",
    )


def _write_queries(connection: duckdb.DuckDBPyConnection, chosen: str, contract: Path, *, with_kinds: bool) -> None:
    kind, joined = "NULL::VARCHAR", ""
    if with_kinds:
        kind = "s.source"
        joined = """LEFT JOIN (SELECT query_id, any_value(source) AS source FROM sources GROUP BY query_id) s
            ON s.query_id = CAST(q.query_id AS VARCHAR)"""
    _copy(
        connection,
        f"""SELECT CAST(q.query_id AS VARCHAR) AS query_id, q.text, {kind} AS kind
        FROM (SELECT query_id, min(query) AS text FROM {chosen} GROUP BY query_id) q {joined} ORDER BY q.query_id""",
        contract / "queries.parquet",
    )


def _write_judgments(connection: duckdb.DuckDBPyConnection, chosen: str, contract: Path) -> None:
    # A label that is none of the four is left to validation.
    label = "CAST(esci_label AS VARCHAR)"
    grade = (
        f"CASE trim({label}) WHEN 'E' THEN '3' WHEN 'S' THEN '2' WHEN 'C' THEN '1' WHEN 'I' THEN '0' ELSE {label} END"
    )
    _copy(
        connection,
        f"""SELECT CAST(query_id AS VARCHAR) AS query_id, product_id AS item_id, {grade} AS grade, 'human' AS source, split
        FROM {chosen}""",
        contract / "judgments.parquet",
    )


def _settings(locale: str, version: str) -> str:
    return f"""name = "ESCI {_LANGUAGES[locale]}, {version}"
source = "Shopping Queries dataset (amazon-science/esci-data), locale {locale}, {version} version; Reddy et al., 2022"
license = "Apache-2.0"
# Exact 3, Substitute 2, Complement 1, Irrelevant 0. The benchmark's own gains (1, 0.1, 0.01, 0) put the line above Substitute.
max_grade = 3
relevant_grade = 3
"""
