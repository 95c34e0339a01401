"""What the columns of raw tables mean: names, missing values, numbers, dates, paths, events, grades, ids; each decided from all rows.

Nothing is computed here: a column's cell becomes the SQL that reads it, so that a file is gone through once when it is typed.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from engine.datasets.contract import AUDIT_FILES, COLUMNS, Column, DatasetSettings
from engine.datasets.reading import categories, events, grades, shapes
from engine.datasets.reading.dates import read_dates
from engine.datasets.reading.decisions import Decision, Doubts, brief, listed, read_option
from engine.datasets.reading.names import folded, map_names
from engine.datasets.reading.numbers import read_numbers
from engine.datasets.reading.raw import BLANK, Asked, Cell, RawTable, literal
from engine.datasets.settings import SettingsFile
from engine.datasets.sid_columns import sid_column
from engine.errors import DataError

MISSING = ("\\N", "NULL", "null", "NaN", "nan", "N/A", "n/a", "#N/A", "<NA>", "NaT", "None", "none", "undefined", "-")
"""What programs write where there is no value."""
NO_TITLE = ("\\N", "NULL", "null", "NaN", "nan", "#N/A", "<NA>")
"""The same where a name may stand: nothing is called so."""
_ENTITY = "&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
_TAG = "</?[A-Za-z][^<>]*>"
_TEXTS = ("text", "label", "category")
_REALS = {"number": True, "grade": False, "rank": False, "score": False, "log_prob": False}
"""Kinds that are numbers, and whether people write them."""
_ID_STYLES = {
    "without the '.0' of a number": "regexp_replace({0}, '\\.0+$', '')",
    "without leading zeros": "regexp_replace({0}, '^0+(\\d)', '\\1')",
    "whatever their case": "lower({0})",
    "by the last part of a path": "regexp_extract({0}, '([^/]+)/?$', 1)",
}


class Interpretation:
    """Reads the meaning of the raw tables of one dataset, in the contract's order."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: SettingsFile) -> None:
        self.connection = connection
        self.file = settings
        self.settings: DatasetSettings = settings.settings
        self.decisions: list[Decision] = []
        self.doubts = Doubts()
        self.warnings: list[str] = []
        connection.execute("SET TimeZone = 'UTC'")
        connection.create_function("attribute_pairs", _pairs, ["VARCHAR"], "VARCHAR")
        connection.create_function("unescape", _unescape, ["VARCHAR"], "VARCHAR")

    def read(self, raws: Mapping[str, RawTable]) -> None:
        """Fills the `columns` of every table. Raises Doubt, all questions at once, and DataError for missing columns."""
        faults = []
        for table, raw in raws.items():
            try:
                self._map_columns(table, raw)
            except DataError as error:
                faults.append(str(error))
        if faults:
            raise DataError("; ".join(faults))
        if "items" in raws:
            self._choose_id(raws)
        for table, raw in raws.items():
            shapes.fold(self, table, raw)
            self._skip_empty(raw)
            self._read_texts(table, raw)
            self._read_columns(table, raw)
        if "items" in raws:
            self._match_ids(raws)
        self.doubts.ask()

    # ------------------------------------------------------------ names

    def _map_columns(self, table: str, raw: RawTable) -> None:
        stated = self.file.columns.get(table, {})
        cells = dict(raw.given)
        own = {folded(c.name): c.name for c in COLUMNS[table]}
        spelt = Counter(map(folded, cells))
        twice = [n for n in cells if spelt[folded(n)] > 1 and folded(n) in own]
        if len({n.casefold() for n in twice}) < len(twice):
            raise DataError(f"{raw.file} names column '{twice[0].casefold()}' more than once; rename or remove one")
        if table not in ("items", *AUDIT_FILES):
            cells |= shapes.nested_cells(self, raw)
        empty = self._empty(raw, cells)
        mapped = map_names(table, list(cells), stated, empty)
        by_file = {theirs: ours for ours, theirs in mapped.items()}
        raw.columns = {ours: cells[theirs] for ours, theirs in mapped.items()}
        raw.spoken = {ours: theirs for ours, theirs in mapped.items() if ours != theirs}
        known = {c.name for c in COLUMNS[table]}
        for name, cell in raw.given.items():
            if name not in by_file:
                raw.columns[name if name not in known else f"{name} (as given)"] = cell
        self._leave_empty(table, raw, empty)
        self._require(table, raw)
        foreign = {ours: theirs for ours, theirs in raw.spoken.items() if folded(ours) != folded(theirs)}
        if foreign:
            pairs = ", ".join(f"{ours} = '{brief(theirs)}'" for ours, theirs in foreign.items())
            why = "[columns] says so" if set(foreign) <= set(stated) else "known names of other programs"
            self.decide(raw, "columns", pairs, why, f'{next(iter(foreign))} = "..." under [columns.{table}]')
        unknown = [name for name in raw.columns if name not in known and name not in empty]
        if table in AUDIT_FILES:
            unknown = [n for n in unknown if not re.fullmatch(r"\D*\d+", folded(n))]
        if unknown:
            fate = "kept as attributes" if table == "items" else "ignored"
            self.warnings.append(f"{raw.file}: unknown columns {fate}: {listed(unknown, most=12)}")

    @staticmethod
    def _leave_empty(table: str, raw: RawTable, empty: set[str]) -> None:
        """An optional column without any value says nothing: it is as if it were not there."""
        held = {name for name in raw.columns if raw.called(name) not in empty}
        for column in COLUMNS[table]:
            names_query = column.name in ("query", "query_id") and not {"query", "query_id"} & held
            if column.name in raw.columns and not (column.required or column.name in held or names_query):
                del raw.columns[column.name]
                raw.spoken.pop(column.name, None)

    def _require(self, table: str, raw: RawTable) -> None:
        named = list(raw.columns)
        lacking = [c.name for c in COLUMNS[table] if c.required and c.name not in named]
        if "sid" in lacking and sid_column([n for n in named if n not in {c.name for c in COLUMNS[table]}], raw.file):
            lacking.remove("sid")
        if any(c.name == "query" for c in COLUMNS[table]) and not {"query", "query_id"} & set(named):
            lacking.insert(0, "query")
        if lacking:
            what = listed(lacking, most=9)
            raise DataError(
                f"{raw.file} has no column {what}, {'which is' if len(lacking) == 1 else 'which are'} required; it has "
                f'{listed(named, most=12)}; rename one, or say which it is: {lacking[0]} = "its name here" under '
                f"[columns.{table}] in dataset.toml"
            )

    def _empty(self, raw: RawTable, cells: Mapping[str, Cell]) -> set[str]:
        """Those of the cells that hold no value."""
        if not cells:
            return set()
        row = self._row(f"SELECT {', '.join(f'count({cell.place})' for cell in cells.values())} FROM {raw.name}")
        return {name for name, n in zip(cells, row, strict=True) if n == 0}

    def _choose_id(self, raws: Mapping[str, RawTable]) -> None:
        """Of the columns that could be the items' id, that which the other files speak of."""
        items = raws["items"]
        if "item_id" in self.file.columns.get("items", {}):
            return
        refs = [f"SELECT CAST({r.columns['item_id'].place} AS VARCHAR) AS id FROM {r.name}" for t, r in raws.items()
                if t != "items" and "item_id" in r.columns]  # fmt: skip
        used = items.called("item_id")
        candidates = [used, *self._other_ids(items)]
        if not refs or len(candidates) < 2:
            return
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE spoken_of AS SELECT DISTINCT id FROM ({' UNION ALL '.join(refs)}) WHERE id IS NOT NULL"
        )

        def known(name: str) -> int:
            place = items.given[name].place
            return int(self._row(f"""SELECT count(*) FROM spoken_of WHERE id IN
                (SELECT CAST({place} AS VARCHAR) FROM {items.name} WHERE {place} IS NOT NULL)""")[0])  # fmt: skip

        counts = {name: known(name) for name in candidates}
        best = max(counts, key=lambda name: counts[name])
        if counts[best] > counts[used]:
            items.columns[used if used != "item_id" else "item_id (as given)"] = items.columns["item_id"]
            items.columns.pop(best, None)
            items.columns["item_id"] = items.given[best]
            items.spoken["item_id"] = best
            self.decide(items, "ids", f"item_id = '{best}'",
                        f"the other files name {counts[best]:,} of its values and {counts[used]:,} of '{used}'",
                        f'item_id = "{used}" under [columns.items]')  # fmt: skip

    @staticmethod
    def _other_ids(items: RawTable) -> list[str]:
        also = {folded(a) for a in (COLUMNS["items"][0].name, *COLUMNS["items"][0].also)}
        return [name for name in items.given if folded(name) in also and name != items.called("item_id")]

    # ------------------------------------------------------------ values

    def _skip_empty(self, raw: RawTable) -> None:
        texts = [c.place for c in raw.given.values() if c.kind == "VARCHAR"]
        tests = [f"{c.place} IS NULL" for c in raw.given.values() if c.kind != "VARCHAR"]
        if texts:
            # One pattern over all of them, and only where the first is blank: there may be a thousand columns.
            rest = BLANK.format(f"concat_ws('', {', '.join(texts)})")
            tests.append(f"CASE WHEN {texts[0]} IS NULL OR {BLANK.format(texts[0])} THEN {rest} ELSE false END")
        raw.skipped["empty"] = " AND ".join(tests) or "false"

    def _read_texts(self, table: str, raw: RawTable) -> None:
        """Missing values by their words; entities and, in descriptions, tags."""
        known = {c.name: c for c in COLUMNS[table]}
        tests = []
        for name, cell in raw.columns.items():
            column = known.get(name)
            if cell.kind != "VARCHAR" or (column is None and table != "items"):
                continue
            plain = column is None or column.required or column.kind == "text"
            words = "', '".join(NO_TITLE if plain else MISSING)
            tests.append((name, "missing", f"{cell.place} IN ('{words}')"))
            if name == "description" and "html" in folded(raw.called(name)):
                tests.append((name, "tags", f"regexp_matches({cell.place}, '{_TAG}')"))
            if column is not None and column.kind in _TEXTS:
                entity = f"regexp_matches({cell.place}, '{_ENTITY}')"
                tests.append((name, "entities", f"CASE WHEN contains({cell.place}, '&') THEN {entity} ELSE false END"))
        if not tests:
            return
        # Each FILTER would hold a block of every other one's values: gigabytes for some thousand columns.
        row = self._row(
            f"SELECT {', '.join(f'count(CASE WHEN {sql} THEN 1 END)' for *_, sql in tests)} FROM {raw.name}"
        )
        for (name, what, test), n in zip(tests, row, strict=True):
            if not n:
                continue
            cell, called = raw.columns[name], brief(raw.called(name))
            now, found, why = cell.place, "", f"{n:,} values hold some"
            if what == "missing":
                now = f"CASE WHEN {test} THEN NULL ELSE {now} END"
                found, why = "words for a missing value are missing", f"{n:,} values like {MISSING[1]}, nan, N/A"
            elif what == "tags":
                now = f"trim(regexp_replace(regexp_replace({now}, '{_TAG}', ' ', 'g'), '[ \\t]+', ' ', 'g'))"
                found = "HTML tags are left out"
            else:
                now = f"CASE WHEN {test} THEN unescape({now}) ELSE {now} END"
                found = "entities such as &amp; are decoded"
            if name in known:
                self.decide(raw, called, found, why, "the file")
            raw.columns[name] = Cell(now, "VARCHAR", cell.exact)

    def _read_columns(self, table: str, raw: RawTable) -> None:
        options = self.file.options(table)
        if options.source and table == "judgments" and "source" not in raw.columns:
            raw.columns["source"] = Cell(literal(options.source), "VARCHAR")
        for column in COLUMNS[table]:
            if column.name not in raw.columns:
                continue
            cell, called = raw.columns[column.name], brief(raw.called(column.name))
            if column.kind == "id":
                raw.columns[column.name] = _id_cell(cell)
            elif column.name == "event":
                self._read_events(raw, options.events or {})
            elif column.kind == "grade":
                self._read_grades(raw, column, cell, options.decimal)
            elif column.kind in _REALS:
                self._read_number(table, raw, column, options.decimal)
                if column.name == "position":
                    self._read_positions(raw, options.position_base)
            elif column.kind == "time":
                dates = read_dates(Asked(self.connection, raw, table, called, cell), options.day_first)
                raw.columns[column.name] = Cell(dates.sql, "TIMESTAMP", said=cell.given)
                if dates.doubt:
                    self.doubts.append(dates.doubt)
                elif dates.found:
                    change = read_option(table, "day_first", "true") if "first" in dates.found else "the file"
                    self.decide(raw, called, dates.found, dates.because, change)
            elif column.kind == "object":
                self._read_pairs(raw, column.name)
            elif column.kind == "category":
                self._read_categories(raw, options.several_paths)

    def _read_number(self, table: str, raw: RawTable, column: Column, decimal: str | None) -> None:
        cell, called = raw.columns[column.name], brief(raw.called(column.name))
        asked = Asked(self.connection, raw, table, called, cell)
        found = read_numbers(asked, decimal, grouped=_REALS[column.kind])
        raw.columns[column.name] = Cell(found.sql, "DOUBLE", said=cell.given)
        if found.doubt:
            self.doubts.append(found.doubt)
        elif found.found:
            self.decide(raw, called, found.found, found.because, read_option(table, "decimal", '","'))
        if found.currency and column.name == "price" and "currency" not in raw.columns:
            raw.columns["currency"] = Cell(found.currency, "VARCHAR")

    def _read_positions(self, raw: RawTable, stated: int | None) -> None:
        cell = raw.columns["position"]
        base = stated
        why = "dataset.toml says so"
        if base is None:
            lowest = self._row(f"SELECT min({cell.place}) FROM {raw.name}")[0]
            base, why = (0, "the lowest one is 0") if lowest == 0 else (1, "")
        if base == 0:
            raw.columns["position"] = cell._replace(place=f"({cell.place}) + 1", said=cell.given)
            self.decide(
                raw, raw.called("position"), "positions count from 0: 1 is added", why, "[read] position_base = 1"
            )

    def _read_categories(self, raw: RawTable, several: bool | None) -> None:
        cell = raw.columns["category"]
        text = cell.place if cell.kind == "VARCHAR" else f"CAST(to_json({cell.place}) AS VARCHAR)"
        values = [v for (v,) in self.connection.execute(
            f"SELECT DISTINCT {text} FROM {raw.name} WHERE {text} IS NOT NULL").fetchall()]  # fmt: skip
        stated = self.settings.category_separator if "category_separator" in self.file.stated else None
        found = categories.read_categories(values, stated, several)
        if found.found is None:
            raw.columns["category"] = Cell(f"nullif(trim({text}), '')", "VARCHAR", said=cell.given)
            return
        between = stated or categories.SEPARATOR
        self._keep("category_paths", {
            "value": list(found.paths), "path": [between.join(p) or None for p in found.paths.values()],
            "others": [json.dumps([between.join(p) for p in found.others[v]], ensure_ascii=False) if v in found.others else None
                       for v in found.paths],
        })  # fmt: skip
        raw.columns["category"] = Cell(
            f"(SELECT p.path FROM category_paths p WHERE p.value = {text})", "VARCHAR", said=cell.given
        )
        if found.others:
            raw.columns["other categories"] = Cell(
                f"(SELECT CAST(p.others AS JSON) FROM category_paths p WHERE p.value = {text})", "JSON"
            )
        self.decide(
            raw, raw.called("category"), found.found, found.because, 'category_separator = " / " in dataset.toml'
        )

    def _read_pairs(self, raw: RawTable, name: str) -> None:
        """Attributes as 'colour : red|size : 7', which no JSON is."""
        cell = raw.columns[name]
        if cell.kind != "VARCHAR":
            return
        given, pairs = self._row(
            f"""SELECT count(*), count(*) FILTER (regexp_matches({cell.place}, '^\\s*[^{{[|:]*:')) FROM {raw.name}
            WHERE trim({cell.place}) <> ''"""
        )
        if pairs > 0.5 * given:
            raw.columns[name] = Cell(f"attribute_pairs({cell.place})", "VARCHAR", said=cell.given)
            self.decide(raw, raw.called(name), "pairs of name and value, with '|' between them",
                        f"{pairs:,} of {given:,} values are", "a JSON object in each row")  # fmt: skip

    def _read_events(self, raw: RawTable, stated: Mapping[str, str]) -> None:
        cell = raw.columns.pop("event")
        text = f"CAST({cell.place} AS VARCHAR)"
        tally = dict(self.connection.execute(
            f"SELECT {text}, count(*) FROM {raw.name} WHERE {text} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 1000").fetchall())  # fmt: skip
        kinds, unknown = events.kinds_of(tally, stated)
        counts = events.counts_of(kinds.values())
        taken = {"impressions", "clicks", "purchases"} & set(raw.columns)
        if taken or not counts:
            self.warnings.append(
                f"{raw.file}: '{brief(raw.called('event'))}' is ignored: "
                + (
                    f"counts are given ({listed(sorted(taken))})"
                    if taken
                    else f"no kind in it is known ({listed(tally)})"
                )
            )
            return
        for count in ("impressions", "clicks", "purchases"):
            values = [v for v, kind in kinds.items() if counts.get(kind) == count]
            raw.columns[count] = Cell(f"CAST({_among(text, values)} AS DOUBLE)", "DOUBLE")
        raw.by_event = True
        counted = [v for v, kind in kinds.items() if kind in counts]
        self._count_shown(raw, counts)
        raw.skipped["events that are no impression, click or purchase"] = (
            f"NOT coalesce({_among(text, counted)}, false)"
        )
        by_kind: dict[str, list[str]] = {}
        for value, kind in kinds.items():
            by_kind.setdefault(counts.get(kind, "not counted"), []).append(value)
        said = "; ".join(f"{kind}: {listed(vs, most=6)}" for kind, vs in by_kind.items())
        if unknown:
            said += f"; unknown, not counted: {listed(unknown, most=6)}"
            self.warnings.append(
                f"{raw.file}: {sum(tally[v] for v in unknown):,} events of unknown kinds are not counted: {listed(unknown, most=6)}; "
                f'say what they are, like events = {{{json.dumps(brief(unknown[0]))} = "click"}} under [read.interactions] in dataset.toml'
            )
        self.decide(raw, raw.called("event"), said, "known names of events", '[read] events = {view_item = "click"}')

    def _count_shown(self, raw: RawTable, counts: Mapping[str, str]) -> None:
        """A click is on something shown: where most clicked pairs have no impression of their own, each click is one too."""
        if not {"impressions", "clicks"} <= set(counts.values()):
            return
        asked = raw.columns.get("query") or raw.columns["query_id"]
        pairs = f"SELECT DISTINCT {asked.place} AS q, {raw.columns['item_id'].place} AS i FROM {raw.name} WHERE "
        clicked, shown = (f"({pairs} {raw.columns[c].place} = 1)" for c in ("clicks", "impressions"))
        n, alone = self._row(
            f"SELECT count(*), count(*) FILTER (s.i IS NULL) FROM {clicked} c LEFT JOIN {shown} s ON s.q = c.q AND s.i = c.i"
        )
        if n and alone > 0.5 * n:
            both = f"greatest({raw.columns['impressions'].place}, {raw.columns['clicks'].place})"
            raw.columns["impressions"] = Cell(both, "DOUBLE")
            self.decide(raw, raw.called("event"), "a click counts as an impression too",
                        f"{alone:,} of {n:,} clicked pairs of query and item have no impression of their own",
                        "a row for each impression")  # fmt: skip

    def _read_grades(self, raw: RawTable, column: Column, cell: Cell, decimal: str | None) -> None:
        text = f"CAST({cell.place} AS VARCHAR)"
        raw.skipped["without a grade: not judged"] = (
            f"({text} IS NULL OR regexp_full_match({text}, '[\\s\\pZ]*')) AND NOT ({raw.skipped['empty']})"
        )
        words = dict(self.connection.execute(
            f"""SELECT {text}, count(*) FROM {raw.name} WHERE {text} IS NOT NULL AND trim({text}) <> ''
            AND TRY_CAST(replace({text}, ',', '.') AS DOUBLE) IS NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 50""").fetchall())  # fmt: skip
        top = self.settings.max_grade if "max_grade" in self.file.stated else None
        graded = f"SELECT 1 FROM {raw.name} WHERE TRY_CAST({text} AS DOUBLE) IS NOT NULL LIMIT 1"
        numbers = grades.words_of(words, top) if words and not self.connection.execute(graded).fetchone() else None
        if numbers:
            cases = " ".join(f"WHEN {literal(word)} THEN {n}" for word, n in numbers.items())
            sql = f"(CASE {text} {cases} ELSE TRY_CAST({text} AS DOUBLE) END)"
            raw.columns["grade"] = Cell(sql, "DOUBLE", said=cell.given)
            said = ", ".join(f"{word} = {n}" for word, n in sorted(numbers.items(), key=lambda p: -p[1]))
            self.decide(raw, raw.called("grade"), said, "words of a known scale", "numbers in the file")
        else:
            self._read_number("judgments", raw, column, decimal)
        self._scale(raw)

    def _scale(self, raw: RawTable) -> None:
        """The grade scale, where `dataset.toml` is silent."""
        place = raw.columns["grade"].place
        counts = self.connection.execute(
            f"""SELECT g, count(*) FROM (SELECT {place} AS g FROM {raw.name})
            WHERE isfinite(g) AND g BETWEEN 0 AND 1000 GROUP BY g ORDER BY g"""
        ).fetchall()
        values = grades.without_outliers(dict(counts))
        if not values:
            return
        lowest, highest, whole = values[0], values[-1], all(value == int(value) for value in values)
        stated, own = {"max_grade", "relevant_grade"} & self.file.stated, self.settings
        scale = grades.scale_of(lowest, own.max_grade if "max_grade" in stated else highest, whole=whole)
        if len(stated) < 2 and scale is not None:
            top = own.max_grade if "max_grade" in stated else scale.max_grade
            if "relevant_grade" in stated:
                scale = grades.Scale(max(top, own.relevant_grade), own.relevant_grade)
            self.settings = dataclasses.replace(
                own, max_grade=max(top, scale.max_grade), relevant_grade=scale.relevant_grade
            )
            why = f"grades from {lowest:g} to {highest:g} occur"
            if stated:
                why += f"; {next(iter(stated))} is stated"
            self.decide(raw, "grades", f"0 to {self.settings.max_grade:g}, relevant from {scale.relevant_grade:g}", why,
                        "max_grade = 3, relevant_grade = 2 in dataset.toml")  # fmt: skip
        relevant, natural = self.settings.relevant_grade, grades.scale_of(lowest, highest, whole=whole)
        if highest < relevant or lowest >= relevant:
            side = (
                f"none reaches relevant_grade = {relevant:g}"
                if highest < relevant
                else f"all reach relevant_grade = {relevant:g}"
            )
            remedy = (
                f"max_grade = {natural.max_grade:g} and relevant_grade = {natural.relevant_grade:g}"
                if natural and highest < relevant
                else "grades of both sides"
            )
            self.warnings.append(
                f"{raw.file}: grades from {lowest:g} to {highest:g} occur, and {side}: no ranker can learn or be measured; it needs {remedy}"
                + (" in dataset.toml, or neither, and they are found" if stated and highest < relevant else "")
            )

    # ------------------------------------------------------------ ids

    def _match_ids(self, raws: Mapping[str, RawTable]) -> None:
        """Ids that the files write in two ways are matched where one item alone can be meant."""
        items = raws["items"]
        own = f"trim(CAST({items.columns['item_id'].place} AS VARCHAR))"
        others = {table: raw for table, raw in raws.items() if table != "items" and "item_id" in raw.columns}
        if others:
            self.connection.execute(f"CREATE TEMP TABLE own_ids AS SELECT DISTINCT {own} AS id FROM {items.name}")
        for table, raw in others.items():
            cell = raw.columns["item_id"]
            ref = f"trim(CAST({cell.place} AS VARCHAR))"
            self.connection.execute(
                f"""CREATE OR REPLACE TEMP TABLE strange AS SELECT DISTINCT {ref} AS id FROM {raw.name}
                WHERE {ref} IS NOT NULL AND {ref} NOT IN (SELECT id FROM own_ids WHERE id IS NOT NULL)"""
            )
            n_strange = self._row("SELECT count(*) FROM strange")[0]
            if not n_strange:
                continue
            for style, sql in _ID_STYLES.items():
                mine, theirs = sql.format("o.id"), sql.format("s.id")
                n = self._row(
                    f"""SELECT count(*) FROM strange s JOIN (SELECT {mine} AS id FROM own_ids o GROUP BY 1 HAVING count(*) = 1) o
                    ON o.id = {theirs}"""
                )[0]
                if n < 0.5 * n_strange:
                    continue
                name = f"ids_{table}"
                self.connection.execute(
                    f"""CREATE TEMP TABLE {name} AS SELECT s.id AS theirs, o.own FROM strange s JOIN
                    (SELECT {mine} AS id, min(o.id) AS own FROM own_ids o GROUP BY 1 HAVING count(*) = 1) o ON o.id = {theirs}"""
                )
                raw.columns["item_id"] = Cell(
                    f"coalesce((SELECT m.own FROM {name} m WHERE m.theirs = {ref}), {ref})", "VARCHAR", said=cell.given
                )
                self.decide(raw, raw.called("item_id"), f"ids are matched {style}",
                            f"{n:,} of {n_strange:,} unknown ids are those of an item so", "equal ids in both files")  # fmt: skip
                break

    # ------------------------------------------------------------ small parts

    def decide(self, raw: RawTable, what: str, found: str, because: str, change: str) -> None:
        """Notes a decision."""
        self.decisions.append(Decision(raw.file, brief(what), found, because, change))

    def _row(self, sql: str) -> tuple[Any, ...]:
        row = self.connection.execute(sql).fetchone()
        assert row is not None
        return row

    def _keep(self, name: str, columns: Mapping[str, list[str | None]]) -> None:
        table = pa.table({key: pa.array(values, pa.string()) for key, values in columns.items()})
        self.connection.register(f"{name}_given", table)
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {name}_given")
        self.connection.unregister(f"{name}_given")


def _id_cell(cell: Cell) -> Cell:
    """A whole number that was kept as a float is the number."""
    if cell.kind.startswith(("DOUBLE", "FLOAT", "DECIMAL")):
        whole = f"CAST(TRY_CAST({cell.place} AS HUGEINT) AS VARCHAR)"
        return Cell(f"CASE WHEN {cell.place} = floor({cell.place}) THEN {whole} ELSE CAST({cell.place} AS VARCHAR) END",
                    "VARCHAR", said=f"CAST({cell.place} AS VARCHAR)")  # fmt: skip
    return cell


def _pairs(text: str) -> str | None:
    """`color : red|color : blue|size:7` -> {"color": "red; blue", "size": "7"}, as JSON.

    A part without a colon belongs to the value before it, which held a '|'; a value without a name is 'unnamed'.
    """
    found: dict[str, list[str]] = {}
    last: list[str] | None = None
    for part in text.split("|"):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not colon and name:
            if last:
                last[-1] = f"{last[-1]}|{name}"
            else:
                found.setdefault("unnamed", []).append(name)
        elif value:
            last = found.setdefault(name or "unnamed", [])
            last.append(value)
    joined = {name: "; ".join(dict.fromkeys(values)) for name, values in found.items()}
    return json.dumps(joined, ensure_ascii=False) if joined else None


def _unescape(text: str) -> str:
    return re.sub(_ENTITY, lambda found: html.unescape(found.group()), text)


def _among(text: str, values: list[str]) -> str:
    return f"({text} IN ({', '.join(map(literal, values))}))" if values else "false"
