"""Adapter for the Icecat electronics catalogue of the Chorus project, with its human relevance ratings.

Source: github.com/o19s/chorus; product data under the Icecat Open Content License, ratings by Supahands.
Products are carried over one to one, so that a row named by validation is the same in the source; ratings are read as they are.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from engine.datasets.reading.files import source_folder
from engine.datasets.reading.raw import first_line
from engine.errors import DataError

FILES = ("products.parquet", "ratings.csv")
_ITEM = {
    "item_id": "id", "title": "title", "category": "category_derived", "brand": "supplier",
    "description": "short_description", "created_at": "date_released",
}  # fmt: skip
_COLUMNS = (*_ITEM.values(), "price", "attributes")
_SETTINGS = """name = "Icecat electronics"
source = "Chorus project (o19s/chorus): Icecat products, ratings by Supahands"
license = "Icecat Open Content License (products); shared with the community by Supahands (ratings)"
max_grade = 3
relevant_grade = 2
# Guessed from titles; the source has no categories.
derived = ["category"]
[read.judgments]
source = "human"
"""


def adapt(source: Path, contract: Path) -> list[Path]:
    """Writes items.parquet and dataset.toml into the folder `contract`, and gives the ratings to read beside them.

    The supplier is a brand: the source has no sellers, and its price is in cents. Grades are the final ratings.
    Raises DataError where the source lacks a file or a column, or a file is damaged.
    """
    source_folder(source, "an Icecat", FILES, "", "ratings: query,docid,rating")
    _write_items(source / "products.parquet", contract / "items.parquet")
    (contract / "dataset.toml").write_text(_SETTINGS, encoding="utf-8")
    return [source / "ratings.csv"]


def _write_items(products: Path, items: Path) -> None:
    with duckdb.connect() as connection:
        try:
            found = connection.execute("SELECT * FROM read_parquet(?)", [str(products)]).to_arrow_table()
        except duckdb.Error as error:
            raise DataError(
                f"{products.name} cannot be read as Parquet ({first_line(error)}); copy or download it again"
            ) from None
    lacking = [c for c in _COLUMNS if c not in found.column_names]
    if lacking:
        raise DataError(f"{products.name} lacks {', '.join(lacking)}; it has {', '.join(found.column_names)}")
    more = found.select([name for name in ("name", "ean") if name in found.column_names]).to_pylist()
    texts = found.column("attributes").to_pylist()
    made = {name: found.column(given) for name, given in _ITEM.items()}
    made["price"] = pa.array([_units(price) for price in found.column("price").to_pylist()])
    made["attributes"] = pa.array([_attributes(*row) for row in zip(texts, more, strict=True)], pa.string())
    pq.write_table(pa.table(made), items)


def _units(cents: object) -> str | None:
    """The price in units of its currency, as text; what is no number is left to validation."""
    if cents is None:
        return None
    try:
        return f"{float(str(cents)) / 100:.2f}"
    except ValueError:
        return str(cents)


@cache
def _attribute_name(key: str) -> str:
    return re.sub(r"[_\s]+", " ", re.sub(r"^[tnb]_", "", key)).strip() or key


def _attributes(text: str | None, more: dict[str, object]) -> str | None:
    """`t_product_colour` -> `product colour`; a text keeps the name that a number or flag shares with it."""
    try:
        raw = json.loads(text) if text else {}
    except ValueError:
        return text
    if not isinstance(raw, dict):
        return text
    clean: dict[str, object] = {}
    for key in sorted(raw, key=lambda k: ("tnb".find(k[:1]), k)):
        value = raw[key]
        name = _attribute_name(key)
        if value is None or value == "":
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        clean[name if name not in clean else f"{name} ({key[:1]})"] = value
    for name, value in more.items():
        if value:
            clean.setdefault(name, value)
    return json.dumps(clean)  # ASCII: half of a surrogate pair is left to validation
