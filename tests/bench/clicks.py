"""What people click: arguments for every query behind the dashboard's pages, drawn from a snapshot's heads and tails."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import duckdb
import numpy as np

import app.queries
from app.queries import agreement, item_filter, judging, query_log, sellers
from app.queries import codebook as codes
from app.queries import map as maps
from app.queries import query as queries

Query = Callable[..., Any]
_HEAD = 3.0
"""Lists run from the head to the tail; place u^3 of one: every second click is in its first eighth."""
_TABLE, _CODES, _LIT = 5_000, 50, 2_000
"""Rows of a table's first page, of one that offers what was found, and points that are lit on the map."""


class Click(NamedTuple):
    """One query as a page asks it."""

    name: str
    query: Query
    args: tuple[Any, ...]


def every_query() -> dict[str, Query]:
    """Every public function of app/queries that takes a cursor, by 'module.name'."""
    found = {}
    for module in pkgutil.iter_modules(app.queries.__path__):
        part = importlib.import_module(f"app.queries.{module.name}")
        for name, made in inspect.getmembers(part, inspect.isfunction):
            asks = list(inspect.signature(made).parameters)[:1] == ["cursor"]
            if asks and made.__module__ == part.__name__ and not name.startswith("_"):
                found[f"{module.name}.{name}"] = made
    return found


class Deck:
    """What can be clicked in a snapshot, drawn with a seed."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._cursor = cursor
        self.snapshot, self.run = self._rows("SELECT snapshot_id, default_run FROM snapshot")[0]
        runs = [run for (run,) in self._rows("SELECT run_id FROM runs WHERE levels IS NOT NULL ORDER BY run_id")]
        self.base = next((run for run in runs if run != self.run), self.run)
        self._queries = self._rows(
            f"""SELECT query_id, text FROM queries WHERE query_id IN (SELECT query_id FROM scores WHERE run_id = '{self.run}')
                ORDER BY frequency DESC, query_id"""
        )
        self._items = self._rows(
            "SELECT item_id, title FROM items ORDER BY popularity DESC NULLS LAST, item_id LIMIT 100000"
        )
        self._categories = self._names("SELECT category FROM categories ORDER BY n_items DESC, category")
        self._values = {
            dimension: self._names(
                f"""SELECT "value" FROM exposure WHERE run_id = '{self.run}' AND discount = 'log2' AND dimension = '{dimension}'
                    ORDER BY n_items DESC, "value" """
            )
            for dimension in self._names(
                f"SELECT DISTINCT dimension FROM exposure WHERE run_id = '{self.run}' ORDER BY 1"
            )
        }
        self._prefixes = {
            level: self._names(
                f"SELECT prefix FROM codes WHERE run_id = '{self.run}' AND level = {level} AND n_items > 0 ORDER BY n_items DESC, prefix"
            )
            for level in (1, 2, 3)
        }
        self._pairs = self._rows(
            f"SELECT DISTINCT query_id, item_id FROM contributions WHERE run_id = '{self.run}' ORDER BY hash(query_id, item_id) LIMIT 2000"
        )
        self._ledger = self._rows(
            f"SELECT DISTINCT verdict, level, feature FROM loss_ledger WHERE run_id = '{self.run}' ORDER BY ALL"
        )
        self._keys = list(item_filter.attribute_keys(cursor)["name"])
        self._own_dimensions = sellers.attributes(cursor)
        self._extent = maps.extent(cursor, self.run)
        self._word = {"words": self._words()}

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._cursor.execute(sql).fetchall()

    def _names(self, sql: str) -> list[str]:
        return [name for (name,) in self._rows(sql)]

    def _words(self) -> list[str]:
        return self._names(
            """SELECT word FROM (SELECT unnest(regexp_extract_all(lower(title), '[a-z]{4,}')) AS word
               FROM (FROM items ORDER BY hash(item_id) LIMIT 20000)) GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1000"""
        )

    def one(self, of: Any) -> Any:
        """An element of a list, more often of its beginning."""
        return of[int(len(of) * self._rng.random() ** _HEAD)]

    def any(self, *of: Any) -> Any:
        """One of a few, each as often."""
        return of[int(self._rng.integers(len(of)))]

    def query(self) -> str:
        return str(self.one(self._queries)[0])

    def text(self) -> str:
        return str(self.one(self._queries)[1])

    def item(self) -> str:
        return str(self.any(self.one(self._items), self.pair()[::-1])[0])

    def pair(self) -> tuple[str, str]:
        query, item = self.any(*self._pairs) if self._pairs else (self.query(), self.one(self._items)[0])
        return str(query), str(item)

    def category(self) -> str:
        return str(self.one(self._categories))

    def word(self) -> str:
        return str(self.one(self._word["words"]))

    def prefix(self, *levels: int) -> str:
        return str(self.one(self._prefixes[self.any(*(levels or (1, 2, 3)))]))

    def sids(self) -> tuple[str, ...]:
        return tuple(
            self._names(
                f"SELECT sid FROM beams WHERE run_id = '{self.run}' AND query_id = '{self.query()}' ORDER BY rank"
            )
        )

    def prefixes(self) -> tuple[str, ...]:
        """Those of a query's search tree."""
        found = self._names(
            f"SELECT DISTINCT prefix FROM beam_nodes WHERE run_id = '{self.run}' AND query_id = '{self.query()}' ORDER BY 1"
        )
        return tuple(found)

    def answered(self) -> tuple[str, tuple[str, ...]]:
        """A query and its candidates."""
        query = self.query()
        return query, tuple(
            self._names(
                f"SELECT item_id FROM scores WHERE run_id = '{self.run}' AND query_id = '{query}' ORDER BY item_id"
            )
        )

    def value(self, *dimensions: str) -> tuple[str, str]:
        """A dimension of the audit and one of its values."""
        dimension = self.any(*(dimensions or tuple(self._values)))
        return dimension, str(self.one(self._values[dimension]))

    def box(self, *, whole: float = 0.4) -> maps.Box:
        """All of the map, or a part of it that somebody zoomed into."""
        if self._rng.random() < whole:
            return maps.EVERYWHERE
        x0, x1, y0, y1 = self._extent
        x, y, part = self._rng.random(), self._rng.random(), self.any(0.5, 0.2, 0.05) / 2
        return (
            float(x0 + (x - part) * (x1 - x0)), float(x0 + (x + part) * (x1 - x0)),
            float(y0 + (y - part) * (y1 - y0)), float(y0 + (y + part) * (y1 - y0)),
        )  # fmt: skip

    def part(self) -> tuple[str, str]:
        """A part of the map that somebody chose."""
        kind = self.any("region", "words", "code")
        if kind == "region":
            return kind, ",".join(f"{number:.4f}" for number in self.box(whole=0))
        return kind, self.word() if kind == "words" else self.prefix()

    def filter(self) -> item_filter.Filter:
        """A seller's items, or those of a price."""
        return self.any(
            item_filter.Filter(),
            item_filter.Filter(seller=self.value("seller")[1]),
            item_filter.Filter(price=(10.0, 50.0, "USD")),
        )

    def asked(self) -> query_log.Asked:
        """A view of the query log."""
        return query_log.Asked(
            self.run, self.any(*query_log.ORDERS), self.any(None, None, *query_log.TIERS),
            category=self.any(None, None, self.category()), judged=self.any(None, None, *query_log.JUDGED),
            words=self.any("", "", self.word()),
        )  # fmt: skip


def _by_name(d: Deck) -> dict[str, Callable[[], Any]]:
    """What most queries call their arguments."""
    return {
        "run_id": lambda: d.run, "beside": lambda: d.snapshot, "base_run": lambda: d.base, "query_id": d.query, "item_id": d.item,
        "category": d.category, "prefix": d.prefix, "prefixes": d.prefixes, "sids": d.sids, "sid": lambda: d.prefix(3),
        "text": d.text, "level": lambda: d.any(1, 2, 3), "given": lambda: (), "limit": lambda: _TABLE, "offset": lambda: 0,
        "discount": lambda: d.any("log2", "top10", "click"), "metric": lambda: queries.METRIC, "segment": lambda: "all",
        "which": d.filter, "box": d.box, "key": lambda: d.one(d._keys), "file": lambda: "", "rules": lambda: "",
        "most": lambda: 20, "on": lambda: d.run,
    }  # fmt: skip


def _special(d: Deck) -> dict[str, Callable[[], tuple[Any, ...]]]:
    """Arguments that belong together, or mean what they mean in one query alone."""
    colours = ("tier", "department", "code", "seller", *maps.AMOUNTS)

    def value(*dimensions: str) -> tuple[str, ...]:
        return d.value(*dimensions)

    return {
        "agreement.disputed": lambda: (d.run, d.any(*agreement.KINDS), 1_000, 0),
        "agreement.counts": lambda: (d.run, d.any(*agreement.KINDS)),
        "beams.certainty": lambda: (d.run, 0.5),
        "beams.evidence": lambda: (d.run, d.query(), d.prefixes(), 3),
        "beams.items_of": lambda: (d.run, d.query(), d.prefix(), 200),
        "beams.learnt_from": lambda: (d.run, d.query(), tuple(d.text().lower().split()), d.sids()),
        "brands.named": lambda: (d.text(), 3),
        "brands.usual": lambda: (d.answered()[1][:10],),
        "codebook.codes": lambda: (d.run, codes.Wanted(d.any(0, 1, 2, 3), d.any("", d.word())), (), _CODES, 0),
        "codebook.count_codes": lambda: (d.run, codes.Wanted(d.any(0, 1, 2, 3), d.any("", d.word())), ()),
        "codebook.items": lambda: (d.run, d.prefix(), _TABLE, 0),
        "codebook.mix": lambda: (d.run, d.prefix(), d.any(*codes.MIXES)),
        "codebook.owners": lambda: (d.run, int(d.prefix(1))),
        "codebook.residuals": lambda: (d.run, d.any("", d.prefix(), d.prefix())),
        "codebook.tree": lambda: (d.run, d.any("", d.prefix(1)), 2_500, ()),
        "codebook.typical": lambda: (d.run, d.prefix(), 5),
        "comparison.pair": lambda: (d.snapshot, d.run, d.base, *d.pair()),
        "comparison.exposure": lambda: (d.snapshot, d.run, d.base, d.any("log2", "click"), d.value()[0]),
        "coverage.codes": lambda: (d.run, d.category(), 2),
        "coverage.counted": lambda: (d.run, item_filter.Filter(seller=d.value("seller")[1])),
        "coverage.queries": lambda: (d.run, d.category(), ""),
        "data.count_rows": lambda: (d.any("items", "queries", "judgments"), d.any("", d.word())),
        "data.log_sums": lambda: (d.any("all", "position", "day"),),
        "data.rows": lambda: (d.any("items", "queries", "judgments"), d.any("", d.word()), 5_000, d.any(0, 5_000)),
        "explain.contributions": lambda: (d.run, *d.pair()),
        "explain.labels": lambda: (d.run, d.prefixes()),
        "explain.ranker_weights": lambda: (d.run, "rich"),
        "explain.strongest": lambda: (d.run, 50),
        "groups.attribute": lambda: (d.run, d.one(d._own_dimensions)),
        "groups.crossing": lambda: (d.run, *d.value("seller", "category")),
        "item_filter.names": lambda: (d.any("seller", "brand"),),
        "judging.pair": d.pair,
        "judging.queue": lambda: (d.run, d.any(*judging.PARTS), 100, 0),
        "map.amounts": lambda: (d.run, d.any(*(c for c in maps.AMOUNTS if c != "reached")), 2),
        "map.density": lambda: (d.run, d.any(1, 2, 3), d.box(), maps.BINS),
        "map.marked_values": lambda: (d.run, d.any(*maps.KINDS), 1),
        "map.names": lambda: (d.run, d.box(), 40),
        "map.points": lambda: (d.run, d.any(1, 2), d.box(), maps.MOST_POINTS, d.any(*colours), d.query()),
        "map.vocabulary": lambda: (50_000,),
        "map_parts.asked": lambda: (d.run, d.text(), 8),
        "map_parts.held_by": lambda: (d.run, *d.part(), d.base),
        "map_parts.kept": lambda: (d.run, *d.any(("", ""), d.part())),
        "map_parts.of_query": lambda: (d.run, d.query(), 5_000, 0),
        "map_parts.carried": lambda: (d.run, *d.part()),
        "map_parts.size": lambda: (d.run, *d.part()),
        "map_parts.surroundings": lambda: (d.run, *d.part()),
        "map_parts.places": lambda: (d.run, *d.part(), d.box(), _LIT, ""),
        "map_parts.rows": lambda: (d.run, *d.part(), _TABLE, 0),
        "names.words": lambda: (d.run, d.any(0, 2), ()),
        "overview.hits": lambda: (d.run, d.any("hit", "item_hit")),
        "overview.ladder": lambda: (d.run, "auc", "all"),
        "policy.labels": lambda: (d.run, d.any("seller", "category", "tier", "code")),
        "query.item_facts": lambda: (d.run, *d.answered()),
        "query.ledger": lambda: (d.run, d.any(*queries.LEDGER)),
        "query.ledger_pairs": lambda: (d.run, *d.one(d._ledger), "query tier", d.any("head", "tail")),
        "query.search_items": lambda: (d.any(d.word(), d.text(), d.item()), 50),
        "query.suggested_targets": lambda: (d.run, d.query(), 50),
        "query_log.found": lambda: tuple(d.asked()),
        "query_log.neighbours": lambda: (*d.asked()[:2], None, None, None, None, "", d.query()),
        "query_log.page": lambda: (*d.asked(), 50, 0),
        "query_sets.nothing_relevant": lambda: (d.run, 1_000),
        "query_sets.texts": lambda: (d.run, tuple(d.text() for _ in range(50))),
        "sellers.causes": lambda: (d.run, *value(), "log2"),
        "sellers.change": lambda: (d.run, *value(), d.any("log2", "top10", "click")),
        "sellers.concentration": lambda: (d.run, "log2", d.value()[0]),
        "sellers.drivers": lambda: (d.run, *value("seller", "category")),
        "sellers.exposure": lambda: (d.run, d.any("log2", "click"), d.value()[0]),
        "sellers.ledger": lambda: (d.run, *value()),
        "sharing.conflicts": lambda: (d.run, d.any("", d.prefix()), 5_000, 0),
        "sharing.count_conflicts": lambda: (d.run, d.any("", d.prefix())),
        "sharing.count_mixed": lambda: (d.run, d.any("", d.prefix())),
        "sharing.mixed": lambda: (d.run, d.any("", d.prefix()), _TABLE, 0),
        "sharing.shared": lambda: (d.run, d.any("", d.prefix()), d.any(True, False), (), 5_000, 0),
        "sharing.sharing": lambda: (d.run, d.any("", d.prefix())),
        "what_if.groups": lambda: (d.any("seller", "category"),),
        "what_if.sample": lambda: (d.run, *d.value("seller", "category"), 40),
        "what_if.busiest": lambda: (d.run, d.pair()[1], 8),
    }  # fmt: skip


def clicks(deck: Deck, times: int) -> Iterator[Click]:
    """Every query `times` times with other arguments, those without arguments as often."""
    special, by_name = _special(deck), _by_name(deck)
    for name, query in sorted(every_query().items()):
        wanted = list(inspect.signature(query).parameters)[1:]
        for _ in range(times):
            yield Click(name, query, special[name]() if name in special else tuple(by_name[part]() for part in wanted))
