"""Tables whose rows are not what the contract's rows are: variants under a product, values inside a JSON column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.datasets.reading.names import folded
from engine.datasets.reading.raw import Cell, RawTable, literal

if TYPE_CHECKING:
    from engine.datasets.reading.interpretation import Interpretation

DEPTH = 3
"""Objects inside objects that are looked into."""


def nested_cells(reading: Interpretation, raw: RawTable) -> dict[str, Cell]:
    """The values inside columns of JSON objects (UBI's event_attributes) as columns of their own: 'a.b.c'."""
    found: dict[str, Cell] = {}
    texts: dict[str, str] = {}
    for name, (place, kind, *_) in raw.given.items():
        struct = kind.startswith(("STRUCT", "MAP"))
        if struct or kind in ("VARCHAR", "JSON"):
            texts[name] = f"CAST(to_json({place}) AS VARCHAR)" if struct else place
    tests = ", ".join(f"bool_or({text} LIKE '{{%')" for text in texts.values())
    # One look at all columns: there may be a thousand of them.
    held = reading.connection.execute(f"SELECT {tests} FROM {raw.name}").fetchone() if texts else None
    for name, text in (each for each, any_object in zip(texts.items(), held or (), strict=False) if any_object):
        sample = reading.connection.execute(
            f"SELECT {text} FROM {raw.name} WHERE {text} LIKE '{{%' LIMIT 20"
        ).fetchall()
        paths: dict[tuple[str, ...], None] = {}
        for (value,) in sample:
            try:
                paths |= dict.fromkeys(_leaves(json.loads(value)))
            except (ValueError, RecursionError):
                continue
        for path in paths:
            steps = "$" + "".join(f'."{step}"' for step in path)
            if '"' not in "".join(path):
                found[f"{name}.{'.'.join(path)}"] = Cell(
                    f"json_extract_string(try(json({text})), {literal(steps)})", "VARCHAR"
                )
    return found


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and len(path) < DEPTH:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif path and not isinstance(value, list | dict):
        yield path


def fold(reading: Interpretation, table: str, raw: RawTable) -> None:
    """Rows of variants and pictures belong to the product above them (Shopify) or named in them (WooCommerce)."""
    if table != "items":
        return
    names = {folded(name): cell for name, cell in raw.given.items()}
    title = raw.columns["title"].place
    if "handle" in names and "title" in names and names["handle"].place != title:
        handle = names["handle"].place
        rows = f"(SELECT {{0}} AS v, rowid AS r, {handle} AS h FROM {raw.name})"
        first = f"(SELECT arg_min(x.v, x.r) FROM {rows} x WHERE x.h = {handle} AND x.v IS NOT NULL)"
        if raw.columns["item_id"].place == handle:
            raw.skipped["variants and pictures of a product"] = f"({title} IS NULL AND {handle} IS NOT NULL)"
        else:
            # An item is a variant: it takes what only its product's first row says.
            for name in ("title", "category", "seller", "brand", "description"):
                cell = raw.columns.get(name)
                if cell is not None and cell.kind == "VARCHAR":
                    raw.columns[name] = Cell(f"coalesce({cell.place}, {first.format(cell.place)})", "VARCHAR")
            raw.skipped["pictures of a product"] = f"({raw.columns['item_id'].place} IS NULL AND {handle} IS NOT NULL)"
        reading.decide(raw, "rows", "variants and pictures belong to the product of their Handle", "columns of a Shopify export",
                       'item_id = "Variant SKU" under [columns.items], for variants as items')  # fmt: skip
    elif {"type", "parent", "sku"} <= set(names):
        kind = names["type"].place
        variations = f"SELECT count(*) FROM {raw.name} WHERE lower({kind}) = 'variation'"
        row = reading.connection.execute(variations).fetchone()
        if row and row[0]:
            raw.skipped["variations of a product"] = f"lower({kind}) = 'variation'"
            reading.decide(
                raw, "rows", "variations belong to their parent product", "columns of a WooCommerce export", "the file"
            )
