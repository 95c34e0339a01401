"""Catalogues that nobody has judged: items alone, items with categories, items with a log whose clicks cannot be graded."""

from __future__ import annotations

import shutil
from pathlib import Path

from pandas import DataFrame, read_csv

ITEMS = Path(__file__).parent / "cases" / "items-alone" / "items.csv"
KINDS = ("items", "categories", "log")


def write_unjudged(folder: Path, kind: str) -> Path:
    """The 12 items of the case, as `kind` says more of them."""
    folder.mkdir(parents=True)
    shutil.copyfile(ITEMS, folder / "items.csv")
    items = read_csv(ITEMS)
    noun = items["title"].str.split().str[1]
    if kind == "categories":
        kept = noun.isin(["tray", "jar", "mug", "bowl", "ladle"])
        items.assign(category=kept.map({True: "Home > Kitchen", False: "Wear > Caps"})).to_csv(
            folder / "items.csv", index=False
        )
    if kind == "log":
        log = DataFrame({"query": noun, "item_id": items["item_id"], "clicks": range(1, 1 + len(items))})
        log.to_csv(folder / "interactions.csv", index=False)
    return folder
