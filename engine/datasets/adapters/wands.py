"""WANDS, Wayfair's home goods with human relevance labels: its files are read as they are, with what no file of it says.

Source: github.com/wayfair/WANDS (Chen et al., ECIR 2022; MIT licence): `product.csv`, `query.csv`, `label.csv`, tab-separated.
"""

from __future__ import annotations

from pathlib import Path

from engine.datasets.reading.files import source_folder

FILES = ("product.csv", "query.csv", "label.csv")
_SETTINGS = """name = "WANDS (Wayfair)"
source = "WANDS, Wayfair ANnotation Dataset (wayfair/WANDS); Chen et al., ECIR 2022"
license = "MIT"
# Exact 2, Partial 1, Irrelevant 0. Most labels are Partial, so only Exact tells items apart.
max_grade = 2
relevant_grade = 2
category_separator = " / "
[read.judgments]
source = "human"
"""


def adapt(source: Path, contract: Path) -> list[Path]:
    """Writes dataset.toml into the folder `contract`, and gives the three files to read beside it.

    `source` holds them, or is a clone of the repository with them in `dataset/`. The number of ratings is the popularity,
    the class of a query its kind; the source has no sellers, brands, prices and log. Raises DataError where it lacks a file.
    """
    hint = "the folder 'dataset' of the repository wayfair/WANDS"
    folder = source_folder(source, "a WANDS", FILES, "dataset", hint)
    (contract / "dataset.toml").write_text(_SETTINGS, encoding="utf-8")
    return [folder / name for name in FILES]
