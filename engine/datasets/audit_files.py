"""Reads and validates SIDs, beams and scores that another system made, with the same care for rows as a catalogue's.

A SID is a text in one of the spellings of `engine.datasets.sid_text`, or lies in columns `code_1`, `code_2` ...; what
other systems call these columns is in `engine.datasets.sid_columns`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import duckdb
import pyarrow as pa

from engine.datasets.contract import AUDIT_FILES, COLUMNS, ROUNDING, DatasetSettings
from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.raw import Cell, RawTable, literal
from engine.datasets.sid_columns import item_columns, no_common_ids, sid_column
from engine.datasets.sid_levels import SUFFIXES, Suffix, find_suffix, running_on
from engine.datasets.sid_text import BadSid, parse_sid, read_sid
from engine.datasets.table_file import ContentDigest
from engine.datasets.validation import Validator
from engine.errors import DataError

_CODES = pa.list_(pa.int32())
TABLES: dict[str, pa.Schema] = {
    "sids": pa.schema({"item_id": pa.string(), "codes": _CODES}),
    "beams": pa.schema({"query_id": pa.string(), "rank": pa.int32(), "codes": _CODES, "log_prob": pa.float64()}),
    "scores": pa.schema(
        {"query_id": pa.string(), "item_id": pa.string(), "score": pa.float64(), "score_without_sid": pa.float64()}
    ),
}
"""What is handed on of each file, rows in the order of the input (beams by query and rank)."""


class AuditFiles(NamedTuple):
    """What another system made; None for a file that is not there."""

    sids: pa.Table | None
    beams: pa.Table | None
    scores: pa.Table | None

    def fingerprint(self) -> str:
        """16 hex digits of a sha256 over the content."""
        digest = hashlib.sha256()
        for name, table in self._asdict().items():
            content = ContentDigest()
            if table is not None:
                content.update(table)
            digest.update(f"\0{name}:{-1 if table is None else table.num_rows}:{content.hexdigest()}".encode())
        return digest.hexdigest()[:16]


def _codes(text: str) -> list[int] | None:
    try:
        return list(parse_sid(text))
    except BadSid:
        return None


def _fault(text: str) -> str | None:
    try:
        parse_sid(text)
    except BadSid as error:
        return str(error)
    return None


def _names(text: str) -> str | None:
    try:
        return " ".join(read_sid(text).names) or None
    except BadSid:
        return None


class AuditValidator(Validator):
    """Checks the files of an audit after those of the catalogue they speak of, in the same connection.

    `sid_suffix` is one of `sid_levels.SUFFIXES`, or None: then SIDs with a suffix are refused with both named.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, settings: DatasetSettings, *, sid_suffix: str | None = None
    ) -> None:
        super().__init__(connection, settings)
        if sid_suffix not in (None, *SUFFIXES):
            raise DataError(f"sid_suffix '{sid_suffix}' is unknown; allowed: {', '.join(SUFFIXES)}")
        self.sid_suffix = sid_suffix
        self.suffix: Suffix | None = None
        for name, function, kind in (
            ("sid_codes", _codes, "INTEGER[]"), ("sid_names", _names, "VARCHAR"), ("sid_fault", _fault, "VARCHAR")
        ):  # fmt: skip
            connection.create_function(name, function, ["VARCHAR"], kind, null_handling="special")  # type: ignore[call-overload]

    def check(self, table: str, raw: RawTable) -> None:
        """As for a catalogue's file. Raises DataError where a required column is missing."""
        if table in AUDIT_FILES:
            self._name_columns(table, raw)
        super().check(table, raw)

    def _name_columns(self, table: str, raw: RawTable) -> None:
        """Gives columns the contract's names: `item_id`, and `sid` for whole SIDs or a column a level."""
        known = {column.name for column in COLUMNS[table]}
        codes: list[str] = []
        if "sid" in known - set(raw.columns):
            codes = sid_column([name for name in raw.columns if name not in known], raw.file)
        if "item_id" in known - set(raw.columns):
            items = item_columns(name for name in raw.columns if name not in codes and name not in known)
            if item := max(items, key=lambda name: self._n_items_named(raw, name), default=None):
                raw.columns["item_id"] = raw.columns.pop(item)
                self._say_columns(table, raw, "item_id", f"'{item}'")
        if len(codes) == 1:
            raw.columns["sid"] = raw.columns.pop(codes[0])
            self._say_columns(table, raw, "sid", f"'{codes[0]}'")
        elif codes:
            self._join_codes(raw, codes)
            self._say_columns(table, raw, "sid", f"'{codes[0]}' ... '{codes[-1]}', a column a level")

    def _say_columns(self, table: str, raw: RawTable, name: str, found: str) -> None:
        change = f'{name} = "..." under [columns.{table}]'
        self.decisions.append(Decision(raw.file, "columns", f"{name} = {found}", "names of other systems", change))

    def _n_items_named(self, raw: RawTable, column: str) -> int:
        """Rows of a file whose value in `column` is the id of an item."""
        place = raw.columns[column].place
        return self.one(
            f"""SELECT count(*) FROM {raw.name} WHERE trim(CAST({place} AS VARCHAR)) IN
            (SELECT item_id FROM {self.accepted("items")})"""
        )

    def _join_codes(self, raw: RawTable, names: list[str]) -> None:
        """Makes a column `sid` of one column a level, which it replaces. Levels missing at the end are none."""
        parts = ", '-', ".join(f"coalesce(CAST({raw.columns[name].place} AS VARCHAR), '')" for name in names)
        self.connection.execute(f"ALTER TABLE {raw.name} ADD COLUMN joined VARCHAR")
        self.connection.execute(
            f"UPDATE {raw.name} SET joined = nullif(regexp_replace(concat({parts}), '[-\\s]+$', ''), '')"
        )
        for name in names:
            del raw.columns[name]
        raw.columns["sid"] = Cell("joined", "VARCHAR")

    def _check_sids(self, raw: RawTable) -> None:
        self._check_ids(raw)
        self._check_item("sids")
        self._check_codes("sids", raw)
        self._check_duplicates("sids", "item_id", "item_id", "duplicate id")
        without = self.one(
            f"""SELECT count(*) FROM {self.accepted("items")}
            WHERE item_id NOT IN (SELECT item_id FROM {self.accepted("sids")})"""
        )
        if without:
            self.warnings.append(f"{raw.file}: {without:,} items have no SID")
        if note := running_on(self.connection, self.accepted("sids"), raw.file):
            self.warnings.append(note)

    def _check_ids(self, raw: RawTable) -> None:
        """Raises DataError where SIDs and items have no id in common: the one or the other is of another catalogue."""
        ids = {
            table: f"(SELECT item_id FROM {self.accepted(table)} WHERE item_id IS NOT NULL)"
            for table in ("sids", "items")
        }
        if self.one(f"SELECT count(*) FROM {ids['sids']} WHERE item_id IN {ids['items']}"):
            return
        first, second = (
            [row[0] for row in self.connection.execute(f"FROM {rows} LIMIT 2").fetchall()] for rows in ids.values()
        )
        if first and second:
            raise no_common_ids(raw.file, first, self.raw["items"].file, second)

    def _check_beams(self, raw: RawTable) -> None:
        self._check_asked("beams", raw)
        self._check_codes("beams", raw)
        if self.suffix and self.suffix.treat == "drop":
            self._keep_best_beams(raw)
        self._check_duplicates("beams", "_key, rank", "rank", "rank given twice for a query")
        self._check_duplicates("beams", "_key, codes", "sid", "SID given twice for a query")
        if "sids" in self.raw:
            unheld = self.one(
                f"""SELECT count(*) FROM {self.accepted("beams")}
                WHERE codes NOT IN (SELECT codes FROM {self.accepted("sids")})"""
            )
            if unheld:
                self.warnings.append(f"{raw.file}: {unheld:,} beams are SIDs that no item holds; kept as given")
        rising = self.one(
            f"""SELECT count(DISTINCT _key) FROM (SELECT _key, log_prob > lag(log_prob) OVER (PARTITION BY _key ORDER BY rank)
            + {ROUNDING} AS rises FROM {self.accepted("beams")}) WHERE rises"""
        )
        if rising:
            self.warnings.append(f"{raw.file}: log_prob rises with the rank for {rising:,} queries; kept as given")

    def _keep_best_beams(self, raw: RawTable) -> None:
        """Beams that differed in the suffix alone are one SID now."""
        again = f"""(SELECT _row FROM {self.accepted("beams")} WHERE codes IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY _key, codes ORDER BY rank) > 1)"""
        if n := self.one(f"SELECT count(*) FROM {again}"):
            self.connection.execute(f"DELETE FROM typed_beams WHERE _row IN {again}")
            self.warnings.append(
                f"{raw.file}: {n:,} beams differ from a better one in the suffix alone and are left out"
            )

    def _check_scores(self, raw: RawTable) -> None:
        self._check_asked("scores", raw)
        self._check_item("scores")
        self._check_duplicates("scores", "_key, item_id", "item_id", "pair scored twice")
        if "score_without_sid" in raw.columns:
            some = self.one(
                f"SELECT count(*) FROM {self.accepted('scores')} WHERE score_without_sid IS NULL AND score IS NOT NULL"
            )
            if some:
                self.warnings.append(
                    f"{raw.file}: {some:,} rows have no score_without_sid; with and without SIDs are then compared on the others"
                )

    def _check_asked(self, table: str, raw: RawTable) -> None:
        """Queries that the catalogue has; where no file of it names any, those of the audit become its queries."""
        self._check_query(table, raw)
        named = [name for name in ("interactions", "judgments") if name in self.raw]
        if "queries" not in self.raw and named:
            known = " UNION ALL ".join(f"SELECT _key FROM {self.accepted(name)}" for name in named)
            files = " or ".join(self.raw[name].file for name in named)
            self._break(table, "query", "unknown query", f"t._key NOT IN (SELECT _key FROM ({known}) WHERE _key IS NOT NULL)",
                        literal(f"no accepted row of {files} names it; a queries file with it would"))  # fmt: skip

    def _check_codes(self, table: str, raw: RawTable) -> None:
        """Adds `codes` INTEGER[], and rejects SIDs that cannot be understood or have other levels than most."""
        name = f"spelled_{table}"
        self.connection.execute(
            f"""CREATE TEMP TABLE {name} AS
            SELECT *, CASE WHEN codes IS NULL THEN sid_fault(sid) END AS why,
            CASE WHEN codes IS NOT NULL AND regexp_matches(sid, '[A-Za-z]') THEN sid_names(sid) END AS names
            FROM (SELECT sid, sid_codes(sid) AS codes FROM (SELECT DISTINCT sid FROM typed_{table} WHERE sid IS NOT NULL))"""
        )
        self.connection.execute(f"ALTER TABLE typed_{table} ADD COLUMN codes INTEGER[]")
        self.connection.execute(f"ALTER TABLE typed_{table} ADD COLUMN names VARCHAR")
        self.connection.execute(
            f"UPDATE typed_{table} SET codes = s.codes, names = s.names FROM {name} s WHERE s.sid = typed_{table}.sid"
        )
        self._break(table, "sid", "not a SID", f"t.sid IN (SELECT sid FROM {name} WHERE why IS NOT NULL)",
                    f"(SELECT why FROM {name} s WHERE s.sid = t.sid)")  # fmt: skip
        of = "sids" if "sids" in self.raw else table
        most = f"the SIDs of {self.raw[of].file} have" if of != table else "most have"
        self._check_names(table, of, most)
        self._treat_suffix(table, of)
        usual = self.one(
            f"SELECT len(codes) FROM {self.accepted(of)} WHERE codes IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
        )
        if usual is not None:
            remedy = "'; if the last code of some is a suffix, add --sid-suffix drop or --sid-suffix level'"
            suffix = f"CASE WHEN {table == of} AND abs(len(t.codes) - {usual}) = 1 THEN {remedy} ELSE '' END"
            self._break(table, "sid", "SIDs of unequal length", f"len(t.codes) <> {usual}",
                        f"'it has ' || len(t.codes) || {literal(f' levels where {most} {usual}')} || {suffix}")  # fmt: skip

    def _check_names(self, table: str, of: str, most: str) -> None:
        """Of two SIDs whose levels are named otherwise, codes at the same place mean different things."""
        usual = self.one(
            f"SELECT names FROM {self.accepted(of)} WHERE names IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
        )
        if usual is not None:
            self._break(table, "sid", "levels are named otherwise",
                        f"NOT (starts_with(t.names || ' ', {literal(usual + ' ')}) OR starts_with({literal(usual + ' ')}, t.names || ' '))",
                        f"'its levels are ' || t.names || {literal(f' where {most} {usual}')}")  # fmt: skip

    def _treat_suffix(self, table: str, of: str) -> None:
        label, known = self.raw[table].file, self.suffix
        if table == of:
            known = self.suffix = find_suffix(self.connection, self.accepted(table), label, self.sid_suffix)
            if known:
                self.warnings.append(known.told(label))
            elif self.sid_suffix:
                self.warnings.append(f"{label}: sid_suffix = {self.sid_suffix} changes nothing: no SID has a suffix")
        if known is None:
            return
        if table != of and known.treat == "level" and not known.shift:
            self._break(table, "sid", "suffix of no item",
                        f"len(t.codes) = {known.base + 1} AND t.codes[{known.base + 1}] = 0",
                        "'0 stands for no suffix, and no item has the suffix 0'")  # fmt: skip
        known.apply(self.connection, f"typed_{table}")


def audit_files(validator: Validator) -> AuditFiles:
    """The accepted rows of the files of an audit."""
    select = {
        "sids": "SELECT item_id, codes FROM {0} ORDER BY _row",
        "beams": "SELECT _key AS query_id, rank, codes, log_prob FROM {0} ORDER BY min(_row) OVER (PARTITION BY _key), rank",
        "scores": "SELECT _key AS query_id, item_id, score, score_without_sid FROM {0} ORDER BY _row",
    }
    found: dict[str, pa.Table | None] = dict.fromkeys(AUDIT_FILES)
    for name, sql in select.items():
        if name in validator.raw:
            rows = validator.connection.execute(sql.format(validator.accepted(name))).to_arrow_table()
            found[name] = rows.select(TABLES[name].names).cast(TABLES[name]).combine_chunks()
    if all(table is None or not table.num_rows for table in found.values()):
        raise DataError(
            "nothing to audit: the folder has no accepted row of sids, beams or scores; add sids.csv (item_id, sid), "
            "beams.csv (query, rank, sid, log_prob) or scores.csv (query, item_id, score, score_without_sid)"
        )
    return AuditFiles(**found)
