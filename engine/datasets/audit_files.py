"""Reads and validates SIDs, beams and scores that another system made, with the same care for rows as a catalogue's.

A SID may be written `17-203-88`, as a JSON list of numbers or tokens (`["<a_17>", "<b_203>"]`), as tokens in a row
(`<a_17><b_203>`), or in columns `code_1`, `code_2` ... Codes are kept as given; tokens are ordered by their letters.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

import duckdb
import pyarrow as pa

from engine.datasets.contract import AUDIT_FILES, MAX_ID_CHARACTERS, ROUNDING, DatasetSettings
from engine.datasets.reading.raw import Cell, RawTable
from engine.datasets.table_file import ContentDigest
from engine.datasets.validation import Validator
from engine.errors import DataError

MAX_LEVELS = 16
MAX_CODE = 1_000_000

_CODES = pa.list_(pa.int32())
TABLES: dict[str, pa.Schema] = {
    "sids": pa.schema({"item_id": pa.string(), "codes": _CODES}),
    "beams": pa.schema({"query_id": pa.string(), "rank": pa.int32(), "codes": _CODES, "log_prob": pa.float64()}),
    "scores": pa.schema(
        {"query_id": pa.string(), "item_id": pa.string(), "score": pa.float64(), "score_without_sid": pa.float64()}
    ),
}
"""What is handed on of each file, rows in the order of the input (beams by query and rank)."""

_NUMBER = r"(\d+)(?:\.0+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:\s*[-,;_/\s]\s*{_NUMBER})*")
_TOKEN = re.compile(r"<?\|?([A-Za-z]+(?:_(?:\d+|[A-Za-z]+))*?)_?(\d+)\|?>?(?=[<\s,;|-]|$)")
_CODE_COLUMN = re.compile(r"(?:code|sid)_?(\d+)")


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


class BadSid(ValueError):
    """A SID that cannot be understood; the message says why."""


def parse_sid(text: str) -> tuple[int, ...]:
    """The codes of a SID in any of the spellings above. Raises BadSid."""
    if len(text) > MAX_ID_CHARACTERS:
        raise BadSid(f"at most {MAX_ID_CHARACTERS:,} characters")
    bare = " ".join(re.sub(r"[\[\]()\"']", " ", text).split())
    if _NUMBERS.fullmatch(bare):
        codes = [int(found) for found in re.findall(_NUMBER, bare)]
    else:
        tokens = _TOKEN.findall(bare)
        if not tokens or re.sub(r"[\s,;-]", "", _TOKEN.sub("", bare)):
            raise BadSid("write it as 17-203-88, [17, 203, 88] or <a_17><b_203><c_88>")
        names = [name.casefold() for name, _ in tokens]
        if len(set(names)) == 1 < len(names):
            # One name for every level (`<sid_17><sid_203>`): the order alone tells the level.
            names = [str(place) for place in range(len(names))]
        if len(set(names)) < len(names):
            raise BadSid("it gives a level twice")
        codes = [int(code) for _, (_, code) in sorted(zip(names, tokens, strict=True), key=lambda p: (len(p[0]), p[0]))]
    if len(codes) > MAX_LEVELS:
        raise BadSid(f"it has {len(codes)} levels; at most {MAX_LEVELS}")
    if max(codes) > MAX_CODE:
        raise BadSid(f"a code is above {MAX_CODE:,}")
    return tuple(codes)


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


class AuditValidator(Validator):
    """Checks the files of an audit after those of the catalogue they speak of, in the same connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: DatasetSettings) -> None:
        super().__init__(connection, settings)
        for name, function, kind in (("sid_codes", _codes, "INTEGER[]"), ("sid_fault", _fault, "VARCHAR")):
            connection.create_function(name, function, ["VARCHAR"], kind, null_handling="special")  # type: ignore[call-overload]

    def check(self, table: str, raw: RawTable) -> None:
        """As for a catalogue's file. Raises DataError where a required column is missing."""
        if table in ("sids", "beams"):
            self._join_codes(raw)
        super().check(table, raw)

    def _join_codes(self, raw: RawTable) -> None:
        """Makes a column `sid` of `code_1`, `code_2` ... (or `sid_0`, `sid_1` ...), which it replaces."""
        if "sid" in raw.columns:
            return
        found = {name: match for name in raw.columns if (match := _CODE_COLUMN.fullmatch(name.strip().casefold()))}
        if not found:
            return
        names = sorted(found, key=lambda name: int(found[name].group(1)))
        numbers = [int(found[name].group(1)) for name in names]
        if numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise DataError(
                f"{raw.file} has the columns {', '.join(names)}; levels must follow each other: code_1, code_2, ... "
                "or sid_0, sid_1, ..."
            )
        parts = ", '-', ".join(f"coalesce(CAST({raw.columns[name].place} AS VARCHAR), '')" for name in names)
        empty = "-" * (len(names) - 1)
        self.connection.execute(f"ALTER TABLE {raw.name} ADD COLUMN joined VARCHAR")
        self.connection.execute(f"UPDATE {raw.name} SET joined = nullif(concat({parts}), '{empty}')")
        for name in names:
            del raw.columns[name]
        raw.columns["sid"] = Cell("joined", "VARCHAR")

    def _check_sids(self, raw: RawTable) -> None:
        self._check_item("sids")
        self._check_codes("sids", raw)
        self._check_duplicates("sids", "item_id", "item_id", "duplicate id")
        without = self.one(
            f"""SELECT count(*) FROM {self.accepted("items")}
            WHERE item_id NOT IN (SELECT item_id FROM {self.accepted("sids")})"""
        )
        if without:
            self.warnings.append(f"{raw.file}: {without:,} items have no SID")

    def _check_beams(self, raw: RawTable) -> None:
        self._check_asked("beams", raw)
        self._check_codes("beams", raw)
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
                        f"'no accepted row of {files} names it; a queries file with it would'")  # fmt: skip

    def _check_codes(self, table: str, raw: RawTable) -> None:
        """Adds `codes` INTEGER[], and rejects SIDs that cannot be understood or have another number of levels."""
        name = f"spelled_{table}"
        self.connection.execute(
            f"""CREATE TEMP TABLE {name} AS
            SELECT *, CASE WHEN codes IS NULL THEN sid_fault(sid) END AS why FROM (SELECT sid, sid_codes(sid) AS codes
            FROM (SELECT DISTINCT sid FROM typed_{table} WHERE sid IS NOT NULL))"""
        )
        self.connection.execute(f"ALTER TABLE typed_{table} ADD COLUMN codes INTEGER[]")
        self.connection.execute(
            f"UPDATE typed_{table} SET codes = s.codes FROM {name} s WHERE s.sid = typed_{table}.sid"
        )
        self._break(table, "sid", "not a SID", f"t.sid IN (SELECT sid FROM {name} WHERE why IS NOT NULL)",
                    f"(SELECT why FROM {name} s WHERE s.sid = t.sid)")  # fmt: skip
        of = "sids" if "sids" in self.raw else table
        usual = self.one(
            f"SELECT len(codes) FROM {self.accepted(of)} WHERE codes IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
        )
        if usual is not None:
            most = f"the SIDs of {self.raw[of].file} have" if of != table else "most have"
            self._break(table, "sid", "SIDs of unequal length", f"len(t.codes) <> {usual}",
                        f"'it has ' || len(t.codes) || ' levels where {most} {usual}'")  # fmt: skip


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
