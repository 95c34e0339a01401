"""Adapter for WANDS, Wayfair's home goods with human relevance labels.

Source: github.com/wayfair/WANDS (Chen et al., ECIR 2022; MIT licence): `product.csv`, `query.csv`, `label.csv`, tab-separated.
Rows are carried over one to one, so that a row or line named by validation is the same in the source.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

from engine.datasets.contract import shown
from engine.errors import DataError

FILES = ("product.csv", "query.csv", "label.csv")
GRADES = {"exact": "2", "partial": "1", "irrelevant": "0"}
_PRODUCT = {
    "product_id": "item_id", "product_name": "title", "product_class": "product class",
    "category hierarchy": "category", "product_description": "description", "product_features": "attributes",
    "rating_count": "popularity", "average_rating": "average rating", "review_count": "review count",
}  # fmt: skip
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
    folder = source if (source / FILES[0]).is_file() else source / "dataset"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{source} is not a WANDS folder: it has no {' and no '.join(missing)}; expected are {', '.join(FILES)} "
            f"(the folder 'dataset' of the repository wayfair/WANDS)"
        )
    number = {"rating_count": _missing, "average_rating": _missing, "review_count": _missing}
    text = {"category hierarchy": _missing, "product_description": _missing, "product_class": _missing}
    _carry(
        folder / "product.csv", contract / "items.csv", _PRODUCT, {**number, **text, "product_features": _features}, {}
    )
    _carry(folder / "query.csv", contract / "queries.csv", _QUERY, {}, {})
    _carry(folder / "label.csv", contract / "judgments.csv", _LABEL, {"label": _grade}, {"source": "human"})
    (contract / "dataset.toml").write_text(_SETTINGS, encoding="utf-8")


def _carry(
    source: Path,
    target: Path,
    names: dict[str, str],
    convert: dict[str, Callable[[str], str]],
    constant: dict[str, str],
) -> None:
    """Row for row from a tab-separated to a comma-separated file, with the contract's names and values.

    A row with too few or too many values stays too short or too long: it is for validation to reject it.
    """
    limit = csv.field_size_limit(sys.maxsize >> 32)
    try:
        with (
            source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as read,
            target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as written,
        ):
            rows = csv.reader(read, delimiter="\t")
            # The README spells one column with an underscore where the file has a space.
            header = [name.strip().replace("category_hierarchy", "category hierarchy") for name in next(rows, [])]
            lacking = [name for name in names if name not in header]
            if lacking:
                raise DataError(
                    f"{source.name} lacks {', '.join(lacking)}; its header is {shown(' '.join(header))}, "
                    f"expected is {' '.join(names)} separated by tabs"
                )
            kept = [place for place, name in enumerate(header) if name in names]
            change = {place: convert[header[place]] for place in kept if header[place] in convert}
            writer = csv.writer(written, lineterminator="\n")
            writer.writerow([*(names[header[place]] for place in kept), *constant])
            for row in rows:
                if not row:
                    writer.writerow([])
                    continue
                whole = len(row) == len(header)
                values = [change.get(place, str)(row[place]) for place in kept if place < len(row)]
                if whole:
                    writer.writerow([*values, *constant.values()])
                elif len(row) < len(header):
                    writer.writerow(row[: len(kept) - 1])
                else:
                    writer.writerow([*values, *constant.values(), *row[len(header) :]])
    finally:
        csv.field_size_limit(limit)


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
