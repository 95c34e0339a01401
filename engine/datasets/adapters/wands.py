"""Adapter for WANDS, Wayfair's home goods with human relevance labels.

Source: github.com/wayfair/WANDS (Chen et al., ECIR 2022; MIT licence): `product.csv`, `query.csv`, `label.csv`, tab-separated.
Rows are carried over one to one, so that a row or line named by validation is the same in the source.
"""

from __future__ import annotations

import json
from pathlib import Path

from engine.datasets.adapters.carry import Carried, carry_rows
from engine.datasets.reading.files import source_folder

FILES = ("product.csv", "query.csv", "label.csv")
GRADES = {"exact": "2", "partial": "1", "irrelevant": "0"}
_PRODUCT = {
    "product_id": "item_id", "product_name": "title", "product_class": "product class",
    "category hierarchy": "category", "product_description": "description", "product_features": "attributes",
    "rating_count": "popularity", "average_rating": "average rating", "review_count": "review count",
}  # fmt: skip
_SPELLING = {"category_hierarchy": "category hierarchy"}
"""The README spells one column with an underscore where the file has a space."""
_QUERY = {"query_id": "query_id", "query": "text", "query_class": "kind"}
_LABEL = {"query_id": "query_id", "product_id": "item_id", "label": "grade"}
_SETTINGS = """name = "WANDS (Wayfair)"
source = "WANDS, Wayfair ANnotation Dataset (wayfair/WANDS); Chen et al., ECIR 2022"
license = "MIT"
# Exact 2, Partial 1, Irrelevant 0. Most labels are Partial, so only Exact tells items apart.
max_grade = 2
relevant_grade = 2
category_separator = " / "
"""


def adapt(source: Path, contract: Path) -> None:
    """Writes items.csv, queries.csv, judgments.csv and dataset.toml into the folder `contract`.

    `source` holds the three files, or is a clone of the repository with them in `dataset/`. The number of ratings is
    the popularity, the class of a query its kind; the source has no sellers, brands, prices and log.
    Raises DataError where the source lacks a file or a column.
    """
    hint = "the folder 'dataset' of the repository wayfair/WANDS"
    folder = source_folder(source, "a WANDS", FILES, "dataset", hint)
    tables = {
        "product": ("items", Carried(names=_PRODUCT, delimiter="\t", spelling=_SPELLING, convert=_CLEAN)),
        "query": ("queries", Carried(names=_QUERY, delimiter="\t")),
        "label": (
            "judgments",
            Carried(names=_LABEL, delimiter="\t", convert={"label": _grade}, constant={"source": "human"}),
        ),
    }
    for name, (table, how) in tables.items():
        carry_rows(folder / f"{name}.csv", contract / f"{table}.csv", how)
    (contract / "dataset.toml").write_text(_SETTINGS, encoding="utf-8")


def _missing(value: str) -> str:
    """What pandas, by which the files were written, means by a missing value."""
    return "" if value.strip().casefold() == "nan" else value


def _grade(label: str) -> str:
    """2, 1, 0; a label that is none of the three is left to validation."""
    return GRADES.get(label.strip().casefold(), label)


def _features(text: str) -> str:
    """`color : red|color : blue|size:7` -> {"color": "red; blue", "size": "7"}, as JSON.

    A part without a colon belongs to the value before it, which held a '|'; a value without a name is 'unnamed'.
    """
    found: dict[str, list[str]] = {}
    last: list[str] | None = None
    for part in _missing(text).split("|"):
        name, colon, value = part.partition(":")
        if not colon:
            if last and part.strip():
                last[-1] = f"{last[-1]}|{part.strip()}"
            elif part.strip():
                found.setdefault("unnamed", []).append(part.strip())
            continue
        if value.strip():
            last = found.setdefault(name.strip() or "unnamed", [])
            last.append(value.strip())
    joined = {name: "; ".join(dict.fromkeys(values)) for name, values in found.items()}
    return json.dumps(joined, ensure_ascii=False) if joined else ""


_MAY_BE_MISSING = ("rating_count", "average_rating", "review_count", "category hierarchy", "product_description",
                   "product_class")  # fmt: skip
_CLEAN = {**dict.fromkeys(_MAY_BE_MISSING, _missing), "product_features": _features}
