"""The rules of the contract, as SQL over the files as read; broken ones become issues, never crashes.

Every rule leaves the row, its column and the reason in table `broken`; a row in it is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb

from engine.datasets.contract import (
    COLUMNS,
    MAX_CATEGORY_DEPTH,
    MAX_EMBEDDING,
    MAX_ID_CHARACTERS,
    MAX_NUMBER,
    MAX_RANK,
    MAX_TEXT_BYTES,
    ROUNDING,
    SPLITS,
    Column,
    DatasetSettings,
    normalise_query,
)
from engine.datasets.reading.dates import MISSING as MISSING_DATES
from engine.datasets.reading.decisions import Decision, brief
from engine.datasets.reading.raw import Cell, RawTable, quoted
from engine.datasets.reading.raw import literal as _literal
from engine.errors import DataError

_BLANK = r"regexp_full_match({0}, '[\s\pZ]*')"
_TRIM = r"nullif(regexp_replace({0}, '^[\s\pZ]+|[\s\pZ]+$', '', 'g'), '')"


class Validator:
    """Checks the raw tables of one dataset, in the contract's order, inside one DuckDB connection.

    Leaves a table `typed_<file>` per file (`_row`, then every column of the contract in its own type, NULL where
    absent) and the table `broken(file, _row, col, rule, value, why, other_row, costs)`: a fault costs the row, or only
    the value where the contract can do without it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: DatasetSettings) -> None:
        self.connection = connection
        self.settings = settings
        self.warnings: list[str] = []
        self.decisions: list[Decision] = []
        self.raw: dict[str, RawTable] = {}
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.create_function("normalise_query", normalise_query, ["VARCHAR"], "VARCHAR")
        connection.execute(
            """CREATE TABLE broken(file VARCHAR, _row BIGINT, col VARCHAR, rule VARCHAR, value VARCHAR, why VARCHAR,
            other_row BIGINT, costs VARCHAR)"""
        )

    # ------------------------------------------------------------ one file

    def check(self, table: str, raw: RawTable) -> None:
        """Types, checks and cross-checks one file, of which the columns have been interpreted.

        Raises DataError where queries are named by ids that no file explains.
        """
        self.raw[table] = raw
        if "query" in {c.name for c in COLUMNS[table]}:
            self._find_queries(table, raw)
        self._count_skipped(raw)
        self._check_values(table, raw)
        self._create_typed(table, raw)
        for column in COLUMNS[table]:
            if column.name in raw.columns and column.kind == "embedding":
                self._check_embedding(table, column.name, given_values(column.name, raw))
        getattr(self, f"_check_{table}")(raw)

    def _count_skipped(self, raw: RawTable) -> None:
        counts = ", ".join(f"count(*) FILTER ({sql})" for sql in raw.skipped.values())
        row = self.connection.execute(f"SELECT {counts} FROM {raw.name}").fetchone() if counts else ()
        raw.n_skipped = {why: n for why, n in zip(raw.skipped, row or (), strict=True) if n}

    def _rows(self, table: str, raw: RawTable) -> str:
        """SQL of the rows of a raw table that are not skipped: `_row`, its columns, and those of the contract in their types."""
        known = [c.name for c in COLUMNS[table]]
        select = []
        for column in COLUMNS[table]:
            if column.name in raw.columns:
                value = _typed(column, raw.columns[column.name])
            else:
                value = f"CAST(NULL AS {_SQL_TYPE.get(column.kind, 'VARCHAR')})"
            if column.kind == "object":
                extras = {name: cell.place for name, cell in raw.columns.items() if name not in known}
                value = _with_extras(value, extras)
            select.append(f"{value} AS {quoted(column.name)}")
        passed = [sql for why, sql in raw.skipped.items() if why in raw.n_skipped]
        where = " AND ".join(f"NOT coalesce({sql}, false)" for sql in passed) or "true"
        return f"SELECT {raw.name}.rowid AS _row, *, {', '.join(select)} FROM {raw.name} WHERE {where}"

    def _create_typed(self, table: str, raw: RawTable) -> None:
        names = ", ".join(quoted(c.name) for c in COLUMNS[table])
        key = self._key_sql(table, raw)
        if key:
            names += f", {key} AS _key"
        self.connection.execute(f"CREATE TABLE typed_{table} AS SELECT _row, {names} FROM ({self._rows(table, raw)})")
        optional = {c.name: "0" if c.name in _COUNTS else "NULL" for c in COLUMNS[table] if not c.required}
        spoiled = self.connection.execute(
            "SELECT DISTINCT col FROM broken WHERE file = ? AND costs = 'value'", [table]
        ).fetchall()
        for (name,) in spoiled:
            # What cannot be read counts nothing; a count left out would be one click.
            self.connection.execute(
                f"""UPDATE typed_{table} SET {quoted(name)} = {optional[name]} WHERE _row IN
                (SELECT _row FROM broken WHERE file = '{table}' AND col = '{name}' AND costs = 'value')"""
            )

    def _break(
        self,
        table: str,
        column: str,
        rule: str,
        condition: str,
        why: str,
        *,
        value: str | None = None,
        other: str = "NULL",
        costs: str = "row",
    ) -> None:
        """Notes the rows of `typed_<table>` t (beside their raw row) where `condition` holds; `why` is SQL text."""
        raw = self.raw[table]
        if value is None:
            value = raw.columns[column].given if column in raw.columns else "NULL"
        self.connection.execute(
            f"""INSERT INTO broken SELECT '{table}', t._row, '{column}', {_literal(rule)},
            left(CAST({value} AS VARCHAR), 200), {why}, {other}, '{costs}'
            FROM typed_{table} t JOIN {raw.name} ON {raw.name}.rowid = t._row WHERE {condition}"""
        )
        if costs == "value":
            self.connection.execute(
                f"""UPDATE typed_{table} SET {quoted(column)} = NULL WHERE _row IN (SELECT _row FROM broken
                WHERE file = '{table}' AND col = '{column}' AND rule = {_literal(rule)})"""
            )

    def _check_values(self, table: str, raw: RawTable) -> None:
        """Everything that a single value can break, in one pass over the file."""
        found = [
            (column.name, rule, condition, why, "row" if column.required or column.name == "query" else "value")
            for column in COLUMNS[table]
            if column.name in raw.columns
            for kinds, rule, condition, why in self._rules(raw, column)
            if column.kind in kinds.split()
        ]
        for column in COLUMNS[table]:
            if column.required and column.name in raw.columns:
                why = f"every row needs a {brief(raw.called(column.name))}"
                found.append(
                    (column.name, "required value is missing", f"NOT {given_values(column.name, raw)}", why, "row")
                )
        if not found:
            return
        names = [f"b{n}" for n in range(len(found))]
        flags = ", ".join(
            f"coalesce({condition}, false) AS {name}" for name, (_, _, condition, *_) in zip(names, found, strict=True)
        )
        values = {c: f"left(CAST({raw.columns[c].given} AS VARCHAR), 200) AS v_{c}" for c in {f[0] for f in found}}
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE faulty AS SELECT * FROM (SELECT _row, {flags}, {", ".join(values.values())}
            FROM ({self._rows(table, raw)}) t) WHERE {" OR ".join(names)}"""
        )
        for name, (of, rule, _, why, costs) in zip(names, found, strict=True):
            self.connection.execute(
                f"""INSERT INTO broken SELECT '{table}', _row, '{of}', {_literal(rule)}, v_{of}, {_literal(why)}, NULL, '{costs}'
                FROM faulty WHERE {name}"""
            )

    def _rules(self, raw: RawTable, column: Column) -> tuple[tuple[str, str, str, str], ...]:
        """What a single value can break: kinds of columns, the rule, the SQL condition, what to write instead."""
        cell = raw.columns[column.name]
        t, text = f"t.{quoted(column.name)}", f"CAST({cell.given} AS VARCHAR)"
        given, top = given_values(column.name, raw), self.settings.max_grade
        separator = _literal(self.settings.category_separator)
        levels, finite = f"string_split({t}, {separator})", f"isfinite({t})"
        unread = f"{given} AND ({t} IS NULL OR NOT {finite})"
        json_type = f"coalesce(json_type(try({_as_json(cell)})), '')"
        return (
            ("id", "absurdly long id", f"length({t}) > {MAX_ID_CHARACTERS}", f"at most {MAX_ID_CHARACTERS:,} characters"),
            ("text label object", "absurdly large value", f"strlen({text}) > {MAX_TEXT_BYTES}",
             f"at most {MAX_TEXT_BYTES:,} bytes"),
            ("object", "not a JSON object", f"{given} AND {json_type} <> 'OBJECT'", 'write it as {"colour": "red"}'),
            ("number grade", "not a number", unread, "write a number like 12.5"),
            ("number", "number out of range", f"{finite} AND NOT {t} BETWEEN 0 AND {MAX_NUMBER!r}",
             f"allowed: 0 to {MAX_NUMBER:g}"),
            ("grade", "grade out of range", f"{finite} AND NOT {t} BETWEEN 0 AND {top!r}",
             f"allowed: 0 to {top:g} (max_grade in dataset.toml)"),
            ("time", "not a date", f"{given} AND {text} NOT IN {MISSING_DATES} AND {t} IS NULL",
             "write it as 2024-05-31 or 2024-05-31T12:00:00Z"),
            ("time", "date out of range", f"{t} IS NOT NULL AND NOT coalesce(try(year({t})), 0) BETWEEN 1800 AND 2200",
             "allowed: years 1800 to 2200"),
            ("split", "unknown split", f"{t} IS NOT NULL AND {t} NOT IN {SPLITS}", f"allowed: {', '.join(SPLITS)}"),
            ("category", "category is too deep", f"len({levels}) > {MAX_CATEGORY_DEPTH}",
             f"at most {MAX_CATEGORY_DEPTH} levels, separated by {separator} (category_separator)"),
            ("rank log_prob score", "not a number", unread, "write a finite number like -1.25"),
            ("rank", "not a rank", f"{finite} AND NOT ({t} = floor({t}) AND {t} BETWEEN 1 AND {MAX_RANK})",
             f"ranks are whole numbers from 1 to {MAX_RANK:,}; the best beam has rank 1"),
            ("log_prob", "not a log-probability", f"{finite} AND {t} > {ROUNDING}",
             "the logarithm of a probability is at most 0; leave the column out where there is none"),
            ("score", "number out of range", f"{finite} AND abs({t}) > {MAX_NUMBER!r}",
             f"allowed: {-MAX_NUMBER:g} to {MAX_NUMBER:g}"),
        )  # fmt: skip

    def _check_embedding(self, table: str, name: str, given: str) -> None:
        typed = f"t.{quoted(name)}"
        self._break(table, name, "not a list of numbers", f"{given} AND ({self.unreadable(typed)})",
                    _literal("write it as [0.1, 0.2, ...], finite numbers only"), costs="value")  # fmt: skip
        self._break(table, name, "absurdly long embedding", f"len({typed}) > {MAX_EMBEDDING}",
                    _literal(f"at most {MAX_EMBEDDING:,} numbers"), costs="value")  # fmt: skip
        usual = self.usual_length(name, f"typed_{table} t")
        if usual is not None:
            self._break(
                table, name, "embeddings of unequal length", f"len({typed}) > 0 AND len({typed}) <> {usual}",
                f"'it has ' || len({typed}) || ' numbers where most have {usual}'", costs="value",
            )  # fmt: skip

    @staticmethod
    def unreadable(typed: str) -> str:
        """SQL: whether a given list of numbers could not be read as one."""
        return f"{typed} IS NULL OR len({typed}) = 0 OR len(list_filter({typed}, lambda v: v IS NULL OR NOT isfinite(v))) > 0"

    def usual_length(self, name: str, rows: str) -> int | None:
        """The commonest length of the lists t.`name` of `rows`; of equally common ones the shortest."""
        n = f"len(t.{quoted(name)})"
        return self.one(f"SELECT {n} FROM {rows} WHERE {n} > 0 GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1")

    def one(self, sql: str) -> Any:
        """The first value of the first row; None where there is none."""
        row = self.connection.execute(sql).fetchone()
        return None if row is None else row[0]

    # ------------------------------------------------------------ cross-checks

    def accepted(self, table: str) -> str:
        """SQL of the rows of a file that no rule has rejected so far."""
        return f"(SELECT * FROM typed_{table} WHERE _row NOT IN (SELECT _row FROM broken WHERE file = '{table}' AND costs = 'row'))"

    def _check_duplicates(self, table: str, key: str, column: str, rule: str, *, where: str = "true") -> None:
        """Keeps the first accepted row of each key."""
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE again AS SELECT _row, min(_row) OVER (PARTITION BY {key}) AS first_row
            FROM {self.accepted(table)} WHERE {where} QUALIFY _row <> first_row"""
        )
        first = "(SELECT first_row FROM again a WHERE a._row = t._row)"
        self._break(table, column, rule, "t._row IN (SELECT _row FROM again)",
                    "'already given at {line}; the first is kept'", other=first)  # fmt: skip

    def _check_items(self, raw: RawTable) -> None:
        self._check_duplicates("items", "item_id", "item_id", "duplicate id")

    def _check_queries(self, raw: RawTable) -> None:
        self._check_duplicates("queries", "query_id", "query_id", "duplicate id")
        if "image_space_embedding" in raw.columns and "image_embedding" in self.raw["items"].columns:
            size = self.one(f"SELECT max(len(image_embedding)) FROM {self.accepted('items')}")
            if size is not None:
                length = 'len(t."image_space_embedding")'
                self._break(
                    "queries", "image_space_embedding", "embedding of another space",
                    f"{length} > 0 AND {length} <> {size}",
                    f"'it has ' || {length} || ' numbers where items.image_embedding has {size}'", costs="value",
                )  # fmt: skip

    def _check_interactions(self, raw: RawTable) -> None:
        self._check_query("interactions", raw)
        self._check_item("interactions")
        over = self.one(f"SELECT count(*) FROM {self.accepted('interactions')} WHERE clicks > impressions")
        if over:
            self.warnings.append(f"{raw.file}: {over:,} rows have more clicks than impressions; kept as given")
        if {"impressions", "clicks", "purchases"}.isdisjoint(raw.columns):
            self.warnings.append(f"{raw.file}: no impressions, clicks or purchases; each row counts as one click")

    def _check_judgments(self, raw: RawTable) -> None:
        self._check_query("judgments", raw)
        self._check_item("judgments")
        self._check_duplicates("judgments", "_key, item_id, coalesce(source, ''), rater", "item_id",
                               "same rater judged the pair twice", where="rater IS NOT NULL")  # fmt: skip
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE again AS
            SELECT _row, split, first_value(split) OVER w AS first_split, first_value(_row) OVER w AS first_row
            FROM {self.accepted("judgments")} WHERE split IS NOT NULL
            WINDOW w AS (PARTITION BY _key ORDER BY _row) QUALIFY split <> first_split"""
        )
        self._break(
            "judgments", "split", "query in two splits", "t._row IN (SELECT _row FROM again)",
            "'its query is in ' || (SELECT first_split FROM again a WHERE a._row = t._row) || ' since {line}; one split a query'",
            other="(SELECT first_row FROM again a WHERE a._row = t._row)", costs="value",
        )  # fmt: skip

    def _find_queries(self, table: str, raw: RawTable) -> None:
        """Makes the table `spelling_<table>` of the texts of queries and the query_id that each means, where texts tell it."""
        if "query_id" in raw.columns and "queries" not in self.raw:
            if "query" not in raw.columns:
                raise DataError(
                    f"{raw.file} names queries by 'query_id', but no queries file gives their text; "
                    f"add queries.csv with query_id,text or a column 'query' with the text"
                )
            self._take_ids_for_sessions(table, raw)
        if "query" not in raw.columns:
            return
        # Distinct texts first: a Python function is slow, and logs repeat themselves.
        text = raw.columns["query"].place
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE spelling_{table} AS SELECT text, normalise_query(text) AS key
            FROM (SELECT DISTINCT nullif(CAST({text} AS VARCHAR), '') AS text FROM {raw.name}) WHERE text IS NOT NULL"""
        )
        if "queries" in self.raw and "query_id" not in raw.columns:
            self.connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE spelling_{table} AS SELECT s.text, k.key FROM spelling_{table} s JOIN (
                SELECT normalise_query(text) AS normal, arg_min(query_id, _row) AS key
                FROM {self.accepted("queries")} GROUP BY normal) k ON k.normal = s.key"""
            )

    def _take_ids_for_sessions(self, table: str, raw: RawTable) -> None:
        """Ids that are given anew for each search, or shared by several texts, name searches, not queries."""
        query, id_ = raw.columns["query"], raw.columns["query_id"]
        row = self.connection.execute(
            f"""SELECT count(DISTINCT id), count(DISTINCT text), count(*) FROM (SELECT DISTINCT CAST({id_.place} AS VARCHAR) AS id,
            lower(trim(regexp_replace(CAST({query.place} AS VARCHAR), '\s+', ' ', 'g'))) AS text FROM {raw.name})
            WHERE id IS NOT NULL AND text IS NOT NULL"""
        ).fetchone()
        assert row is not None
        ids, texts, pairs = row
        if ids <= 1.05 * texts and pairs <= 1.05 * ids:
            return
        raw.columns["query (of the search)"] = raw.columns.pop("query_id")
        if any(c.name == "session" for c in COLUMNS[table]):
            raw.columns.setdefault("session", id_)
        self.decisions.append(Decision(
            raw.file, raw.called("query_id"), "queries are told by their texts, ids are kept as sessions",
            f"{ids:,} ids name {texts:,} texts", "a queries file with one id a text",
        ))  # fmt: skip

    def _key_sql(self, table: str, raw: RawTable) -> str | None:
        """SQL of the query_id that a row means; None where rows mean none."""
        if "query" not in {c.name for c in COLUMNS[table]}:
            return None
        return (
            "query_id" if "query_id" in raw.columns else f"(SELECT s.key FROM spelling_{table} s WHERE s.text = query)"
        )

    def _check_query(self, table: str, raw: RawTable) -> None:
        """Rejects rows of unknown queries, and rows that name none."""
        by_id = "query_id" in raw.columns
        text = "query" in raw.columns
        column = "query_id" if by_id else "query"
        self._break(table, column, "required value is missing", f"t.{column} IS NULL OR {_BLANK.format(f't.{column}')}",
                    _literal(f"every row needs a {column}"))  # fmt: skip
        if by_id and text and "queries" in self.raw:
            self.warnings.append(f"{raw.file}: 'query' ignored, the queries file gives the text of each query_id")
        elif by_id and text:
            self._break(table, "query", "required value is missing", f"t.query IS NULL OR {_BLANK.format('t.query')}",
                        _literal("without a queries file every row needs its query's text"))  # fmt: skip
        if "queries" in self.raw:
            known = "t._key IS NULL OR t._key NOT IN (SELECT query_id FROM " + self.accepted("queries") + ")"
            stated = f"NOT coalesce({_BLANK.format(f't.{column}')}, true)"
            self._break(table, column, "unknown query", f"{stated} AND ({known})",
                        _literal(f"{self.raw['queries'].file} has no accepted row with it"))  # fmt: skip

    def _check_item(self, table: str) -> None:
        items = "SELECT item_id FROM " + self.accepted("items")
        self._break(table, "item_id", "unknown item", f"t.item_id NOT IN ({items})",
                    _literal(f"{self.raw['items'].file} has no accepted row with it"))  # fmt: skip


def given_values(name: str, raw: RawTable) -> str:
    """SQL: whether the raw row says anything in a column."""
    cell = raw.columns[name]
    # A list is never blank, and long ones are slow to spell out.
    blank = f"{cell.given} IS NULL" if cell.kind.endswith("]") else _BLANK.format(f"CAST({cell.given} AS VARCHAR)")
    return f"(NOT coalesce({blank}, true))"


# ---------------------------------------------------------------- typed values

_REALS = ("number", "grade", "rank", "score", "log_prob")
_COUNTS = ("impressions", "clicks", "purchases")
_SQL_TYPE = dict.fromkeys(_REALS, "DOUBLE") | {"time": "TIMESTAMP", "embedding": "FLOAT[]", "vector": "FLOAT[]"}


def _typed(column: Column, cell: Cell) -> str:
    """SQL for an interpreted column in its contract type; NULL where it is absent, blank or wrong."""
    text = cell.place if cell.kind == "VARCHAR" else f"CAST({cell.place} AS VARCHAR)"
    convert: dict[str, Callable[[], str]] = {
        **dict.fromkeys((*_REALS, "time"), lambda: cell.place),
        **dict.fromkeys(
            ("embedding", "vector"), lambda: f"TRY_CAST({cell.place if cell.kind.endswith(']') else text} AS FLOAT[])"
        ),
        "object": lambda: f"CAST(try({_as_json(cell)}) AS VARCHAR)",
        "text": lambda: f"nullif({text}, '')",
    }
    return convert.get(column.kind, lambda: _TRIM.format(text))()


def _as_json(cell: Cell) -> str:
    return f"json(CAST({cell.place} AS VARCHAR))" if cell.kind in ("VARCHAR", "JSON") else f"to_json({cell.place})"


def _with_extras(attributes: str, extras: dict[str, str]) -> str:
    """Unknown columns join the attributes; where both name one, the attributes' own value stands."""
    if extras:
        pairs = ", ".join(f"{_literal(name)}, {place}" for name, place in extras.items())
        # The inner merge drops the NULLs of absent values.
        present = f"json_merge_patch('{{}}', json_object({pairs}))"
        attributes = f"json_merge_patch({present}, coalesce({attributes}, '{{}}'))"
    return f"nullif(CAST({attributes} AS VARCHAR), '{{}}')"


def row_json(raw: RawTable) -> str:
    """SQL for a raw row, whole, as JSON, by the names of its file."""
    return (
        "CAST(json_object("
        + ", ".join(f"{_literal(name)}, {cell.place}" for name, cell in raw.given.items())
        + ") AS VARCHAR)"
    )
