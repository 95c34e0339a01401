"""The rules of the contract, as SQL over the files as read; broken ones become issues, never crashes.

Every rule leaves the row, its column and the reason in table `broken`; a row in it is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType

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
from engine.datasets.reading.decisions import Decision, brief, listed
from engine.datasets.reading.raw import BLANK, Cell, RawTable, literal, quoted
from engine.errors import DataError

# Few values have anything to trim: the pattern that finds them is twice as fast as the one that does it.
_TRIM = r"""nullif(CASE WHEN regexp_matches({0}, '^[\s\pZ]|[\s\pZ]$')
    THEN regexp_replace({0}, '^[\s\pZ]+|[\s\pZ]+$', '', 'g') ELSE {0} END, '')"""
# Plain ASCII in single spaces is most of most logs, and needs no Python.
_KEY = r"CASE WHEN regexp_full_match({0}, '[!-~]+( [!-~]+)*') THEN lower({0}) ELSE normalise_query({0}) END"
_SPELLINGS = 1 << 17
"""Texts of queries that are held with their spelling, since logs repeat themselves."""


class _Rule(NamedTuple):
    """What a single value can break."""

    column: str
    name: str
    condition: str
    why: str
    costs: str


class Validator:
    """Checks the raw tables of one dataset, in the contract's order, inside one DuckDB connection.

    Leaves a table `typed_<file>` per file (`_row`, then every column of the contract in its own type, NULL where
    absent; accepted rows alone, in the order of the file) and the table `broken(file, _row, col, rule, value, why,
    other_row, costs)`: a fault costs the row, or only the value where the contract can do without it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: DatasetSettings) -> None:
        self.connection = connection
        self.settings = settings
        self.warnings: list[str] = []
        self.decisions: list[Decision] = []
        self.raw: dict[str, RawTable] = {}
        self._settled: set[str] = set()
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        spell = lru_cache(_SPELLINGS)(normalise_query)
        connection.create_function(
            "normalise_query",
            lambda texts: pa.array([t and spell(t) for t in texts.to_pylist()], pa.string()),
            ["VARCHAR"],
            "VARCHAR",
            type=PythonUDFType.ARROW,
        )
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
        self._create_typed(table, raw)
        for column in COLUMNS[table]:
            if column.name in raw.columns and column.kind == "embedding":
                self._check_embedding(table, column.name, given_values(column.name, raw))
        getattr(self, f"_check_{table}")(raw)
        self.connection.execute(f"DELETE FROM typed_{table} WHERE _row IN ({_rejected(table)})")
        self._settled.add(table)

    def _count_skipped(self, raw: RawTable) -> None:
        # One by one as filters, which look no further in a row than to the first value that settles it.
        counts = {why: self.one(f"SELECT count(*) FROM {raw.name} WHERE {sql}") for why, sql in raw.skipped.items()}
        raw.n_skipped = {why: n for why, n in counts.items() if n}

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
        """Makes `typed_<table>` and notes everything that single values break, in one pass over the file."""
        names = ", ".join(quoted(c.name) for c in COLUMNS[table])
        rules, rows = self._value_rules(table, raw), self._rows(table, raw)
        key, meaning = self._key_sql(table, raw)
        faulty = " OR ".join(f"({rule.condition})" for rule in rules) or "false"
        self.connection.execute(
            f"""CREATE TABLE typed_{table} AS SELECT _row, {names}{key and f", {key} AS _key"}, coalesce({faulty}, false) AS _faulty
            FROM ({rows}) t {meaning}"""
        )
        # Where values were looked up in another table, rows come in any order.
        if self.one(f"SELECT bool_or(late) FROM (SELECT _row < lag(_row) OVER () AS late FROM typed_{table})"):
            self.connection.execute(
                f"CREATE OR REPLACE TABLE typed_{table} AS SELECT * FROM typed_{table} ORDER BY _row"
            )
        if self.one(f"SELECT 1 FROM typed_{table} WHERE _faulty LIMIT 1"):
            self._note_faults(table, raw, rules, rows)

    def _note_faults(self, table: str, raw: RawTable, rules: list[_Rule], rows: str) -> None:
        flags = ", ".join(f"coalesce({rule.condition}, false) AS b{n}" for n, rule in enumerate(rules))
        values = {c: f"left(CAST({raw.columns[c].given} AS VARCHAR), 200) AS v_{c}" for c in {r.column for r in rules}}
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE faulty AS SELECT _row, {flags}, {", ".join(values.values())}
            FROM ({rows} AND {raw.name}.rowid IN (SELECT _row FROM typed_{table} WHERE _faulty)) t"""
        )
        for n, rule in enumerate(rules):
            self.connection.execute(
                f"""INSERT INTO broken SELECT '{table}', _row, '{rule.column}', {literal(rule.name)}, v_{rule.column},
                {literal(rule.why)}, NULL, '{rule.costs}' FROM faulty WHERE b{n}"""
            )
        optional = {c.name: "0" if c.name in _COUNTS else "NULL" for c in COLUMNS[table] if not c.required}
        for name in {rule.column for rule in rules if rule.costs == "value"}:
            # What cannot be read counts nothing; a count left out would be one click.
            self._update(table, name, optional[name])

    def _update(self, table: str, column: str, value: str) -> None:
        """Where a value of the column is broken, it becomes another one."""
        spoiled = f"SELECT _row FROM broken WHERE file = '{table}' AND col = '{column}' AND costs = 'value'"
        self.connection.execute(f"UPDATE typed_{table} SET {quoted(column)} = {value} WHERE _row IN ({spoiled})")

    def _break(
        self,
        table: str,
        column: str,
        rule: str,
        condition: str,
        why: str,
        *,
        given: str = "true",
        other: str = "NULL",
        costs: str = "row",
    ) -> None:
        """Notes the rows of `typed_<table>` t where `condition` holds, and `given` of the raw row; `why` is SQL text."""
        raw = self.raw[table]
        value = raw.columns[column].given if column in raw.columns else "NULL"
        # Few rows are broken: they are found before anything is read beside them.
        self.connection.execute(
            f"""INSERT INTO broken WITH hit AS MATERIALIZED (SELECT * FROM typed_{table} t WHERE {condition})
            SELECT '{table}', t._row, '{column}', {literal(rule)}, left(CAST({value} AS VARCHAR), 200), {why}, {other}, '{costs}'
            FROM hit t JOIN {raw.name} ON {raw.name}.rowid = t._row WHERE {given}"""
        )
        if costs == "value":
            self._update(table, column, "NULL")

    def _value_rules(self, table: str, raw: RawTable) -> list[_Rule]:
        """The rules that single values of the columns of a file can break."""
        found = [
            _Rule(column.name, rule, condition, why, "row" if column.required or column.name == "query" else "value")
            for column in COLUMNS[table]
            if column.name in raw.columns
            for kinds, rule, condition, why in self._rules(raw, column)
            if column.kind in kinds.split()
        ]
        for column in COLUMNS[table]:
            if column.required and column.name in raw.columns:
                why = f"every row needs a {brief(raw.called(column.name))}"
                missing = f"NOT {given_values(column.name, raw)}"
                found.append(_Rule(column.name, "required value is missing", missing, why, "row"))
        return found

    def _rules(self, raw: RawTable, column: Column) -> tuple[tuple[str, str, str, str], ...]:
        """What a single value can break: kinds of columns, the rule, the SQL condition, what to write instead."""
        cell = raw.columns[column.name]
        t, text = f"t.{quoted(column.name)}", f"CAST({cell.given} AS VARCHAR)"
        given, top = given_values(column.name, raw), self.settings.max_grade
        separator = literal(self.settings.category_separator)
        levels, finite = f"string_split({t}, {separator})", f"isfinite({t})"
        unread = f"CASE WHEN {t} IS NULL THEN {given} ELSE NOT {finite} END"
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
            ("time", "not a date", f"CASE WHEN {t} IS NULL THEN {given} AND {text} NOT IN {MISSING_DATES} ELSE false END",
             "write it as 2024-05-31 or 2024-05-31T12:00:00Z"),
            ("time", "date out of range", f"{t} < TIMESTAMP '1800-01-01' OR {t} >= TIMESTAMP '2201-01-01'",
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
        self._break(table, name, "not a list of numbers", self.unreadable(typed),
                    literal("write it as [0.1, 0.2, ...], finite numbers only"), given=given, costs="value")  # fmt: skip
        self._break(table, name, "absurdly long embedding", f"len({typed}) > {MAX_EMBEDDING}",
                    literal(f"at most {MAX_EMBEDDING:,} numbers"), costs="value")  # fmt: skip
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
        return (
            f"typed_{table}"
            if table in self._settled
            else f"(SELECT * FROM typed_{table} WHERE _row NOT IN ({_rejected(table)}))"
        )

    def _check_duplicates(self, table: str, key: str, column: str, rule: str, *, where: str = "true") -> None:
        """Keeps the first accepted row of each key."""
        rows = f"{self.accepted(table)} WHERE {where}"
        if not self.one(f"SELECT 1 FROM {rows} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"):
            return
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE again AS SELECT _row, min(_row) OVER (PARTITION BY {key}) AS first_row
            FROM {rows} QUALIFY _row <> first_row"""
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
        if over and not raw.by_event:
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
        """Makes the table `spelling_<table>` of texts and the given query that each means, where texts tell it."""
        if "query_id" in raw.columns and "queries" not in self.raw:
            if "query" not in raw.columns:
                raise DataError(
                    f"{raw.file} names queries by 'query_id', but no queries file gives their text; "
                    f"add queries.csv with query_id,text or a column 'query' with the text"
                )
            self._take_ids_for_sessions(table, raw)
        if "query" in raw.columns and "queries" in self.raw and "query_id" not in raw.columns:
            text = raw.columns["query"].place
            self.connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE spelling_{table} AS SELECT s.text AS spelled, k.key AS meant FROM (
                SELECT DISTINCT nullif(CAST({text} AS VARCHAR), '') AS text FROM {raw.name}) s JOIN (
                SELECT {_KEY.format("text")} AS normal, arg_min(query_id, _row) AS key
                FROM {self.accepted("queries")} GROUP BY normal) k ON k.normal = {_KEY.format("s.text")}"""
            )

    def _take_ids_for_sessions(self, table: str, raw: RawTable) -> None:
        """Ids that are given anew for each search, or shared by several texts, name searches, not queries."""
        query, id_ = raw.columns["query"], raw.columns["query_id"]
        row = self.connection.execute(
            f"""SELECT count(DISTINCT id), count(DISTINCT text), count(*) FROM (SELECT DISTINCT CAST({id_.place} AS VARCHAR) AS id,
            lower(trim(regexp_replace(CAST({query.place} AS VARCHAR), '\\s+', ' ', 'g'))) AS text FROM {raw.name})
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

    def _key_sql(self, table: str, raw: RawTable) -> tuple[str, str]:
        """SQL of the query_id that a row means, and of the join that tells it; '' where rows mean none."""
        if "query" not in {c.name for c in COLUMNS[table]}:
            return "", ""
        if "query_id" in raw.columns:
            return "query_id", ""
        if "queries" in self.raw:
            return "meant", f"LEFT JOIN spelling_{table} ON spelled = query"
        return _KEY.format("query"), ""

    def _check_query(self, table: str, raw: RawTable) -> None:
        """Rejects rows of unknown queries, and rows that name none."""
        by_id = "query_id" in raw.columns
        text = "query" in raw.columns
        column = "query_id" if by_id else "query"
        self._break(table, column, "required value is missing", f"t.{column} IS NULL OR {BLANK.format(f't.{column}')}",
                    literal(f"every row needs a {column}"))  # fmt: skip
        if by_id and text and "queries" in self.raw:
            self.warnings.append(f"{raw.file}: 'query' ignored, the queries file gives the text of each query_id")
        elif by_id and text:
            self._break(table, "query", "required value is missing", f"t.query IS NULL OR {BLANK.format('t.query')}",
                        literal("without a queries file every row needs its query's text"))  # fmt: skip
        if "queries" in self.raw:
            known = "t._key IS NULL OR t._key NOT IN (SELECT query_id FROM " + self.accepted("queries") + ")"
            stated = f"NOT coalesce({BLANK.format(f't.{column}')}, true)"
            self._break(table, column, "unknown query", f"{stated} AND ({known})",
                        literal(f"{self.raw['queries'].file} has no accepted row with it"))  # fmt: skip

    def _check_item(self, table: str) -> None:
        items = "SELECT item_id FROM " + self.accepted("items")
        ids = self.connection.execute(f"{items} LIMIT 2").fetchall()
        own = (
            f" (its {self.raw['items'].called('item_id')} are like {listed(brief(id_) for (id_,) in ids)})"
            if ids
            else ""
        )
        self._break(table, "item_id", "unknown item", f"t.item_id NOT IN ({items})",
                    literal(f"{self.raw['items'].file} has no accepted row with it{own}"))  # fmt: skip


def given_values(name: str, raw: RawTable) -> str:
    """SQL: whether the raw row says anything in a column."""
    cell = raw.columns[name]
    # A list is never blank, and long ones are slow to spell out.
    blank = f"{cell.given} IS NULL" if cell.kind.endswith("]") else BLANK.format(f"CAST({cell.given} AS VARCHAR)")
    return f"(NOT coalesce({blank}, true))"


def _rejected(table: str) -> str:
    """SQL of the rows that some rule has rejected."""
    return f"SELECT _row FROM broken WHERE file = '{table}' AND costs = 'row'"


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
        pairs = ", ".join(f"{literal(name)}, {place}" for name, place in extras.items())
        # The inner merge drops the NULLs of absent values.
        present = f"json_merge_patch('{{}}', json_object({pairs}))"
        attributes = f"json_merge_patch({present}, coalesce({attributes}, '{{}}'))"
    return f"nullif(CAST({attributes} AS VARCHAR), '{{}}')"


def row_json(raw: RawTable) -> str:
    """SQL for a raw row, whole, as JSON, by the names of its file."""
    return (
        "CAST(json_object("
        + ", ".join(f"{literal(name)}, {cell.place}" for name, cell in raw.given.items())
        + ") AS VARCHAR)"
    )
