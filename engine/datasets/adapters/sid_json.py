"""Adapter for SIDs of generative recommenders: the index of LC-Rec, LETTER and MiniOneRec, and their item texts.

`NAME.index.json` is {"0": ["<a_183>", "<b_70>", "<c_232>"], ...}; `NAME.item.json`, which may be missing, is
{"0": {"title": ..., "description": ..., "brand": ..., "categories": "Beauty,Hair Care"}, ...}. Lists of plain numbers,
texts like `17-203-88` and a bare list of SIDs (its places are the ids) are understood too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from engine.errors import DataError

INDEX, ITEM = "*index*.json", "*item*.json"
SEPARATOR = " > "
_TEXTS = ("title", "description", "brand", "categories", "category")


def adapt(source: Path, contract: Path) -> None:
    """Writes items.jsonl, sids.jsonl and dataset.toml into the folder `contract`, items in the order of the item file.

    An item without a title is named after its id, and `title` is marked as derived. SIDs are carried over as they are:
    reading the files of an audit understands and checks them (`engine.datasets.audit_files`).
    Raises DataError where there is no index or more than one, or a file is not what it should be.
    """
    index_path = _only(source, INDEX)
    if index_path is None:
        raise DataError(
            f"{source} is not a folder of SIDs: it has no index (NAME.index.json, "
            f'{{"item id": ["<a_1>", "<b_7>", ...]}}); NAME.item.json beside it gives titles'
        )
    item_path = _only(source, ITEM, index_path)
    index = _object(index_path, listed=True)
    items = _object(item_path, listed=True) if item_path else {}
    unnamed = 0
    # JSON in ASCII: half of a surrogate pair, which UTF-8 cannot hold, is left to validation.
    with (contract / "items.jsonl").open("w", encoding="utf-8") as file:
        for item_id in dict.fromkeys([*items, *index]):
            row = _item(item_id, items.get(item_id))
            if "title" not in row:
                row["title"], unnamed = f"Item {item_id}", unnamed + 1
            file.write(json.dumps(row) + "\n")
    with (contract / "sids.jsonl").open("w", encoding="utf-8") as file:
        for item_id, sid in index.items():
            file.write(json.dumps({"item_id": item_id, "sid": sid}) + "\n")
    name = index_path.name.split(".")[0]
    derived = "# Items without a title are named after their ids.\nderived = ['title']\n" if unnamed else ""
    settings = f"name = {json.dumps(name)}\nsource = {json.dumps(f'SID index {index_path.name}')}\n"
    (contract / "dataset.toml").write_text(settings + derived, encoding="utf-8")


def _only(source: Path, pattern: str, other: Path | None = None) -> Path | None:
    """The one file of that pattern; None where there is none."""
    found = [path for path in sorted(source.glob(pattern)) if path != other]
    if len(found) > 1:
        raise DataError(f"{source} holds {', '.join(p.name for p in found)}; keep the one to read")
    return found[0] if found else None


def _object(path: Path, *, listed: bool) -> dict[str, Any]:
    """A JSON object, its keys as given; a bare list by its places."""
    try:
        found = json.loads(path.read_bytes(), object_pairs_hook=lambda pairs: _once(path, pairs))
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name}:{error.lineno} is not JSON: {error.msg} at character {error.colno}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        raise DataError(f"{path.name} cannot be read as JSON: {error}") from None
    if listed and isinstance(found, list):
        found = {str(place): value for place, value in enumerate(found)}
    if not isinstance(found, dict) or not found:
        raise DataError(f'{path.name} holds no JSON object of items; it should be like {{"0": ...}}')
    return found


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are given once: of two SIDs of an item none is the right one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise DataError(f"{path.name} gives '{twice[:60]}' twice; keep one")
    return found


def _item(item_id: str, features: object) -> dict[str, object]:
    """One row of the contract; what it has no column for becomes attributes."""
    row: dict[str, object] = {"item_id": item_id}
    if isinstance(features, str):
        features = {"title": features}
    if not isinstance(features, dict):
        return row
    for name in ("title", "description", "brand"):
        text = _text(features.get(name))
        if text:
            row[name] = text
    category = _path(features.get("categories") or features.get("category"))
    if category:
        row["category"] = category
    rest = {key: value for key, value in features.items() if key not in _TEXTS and value not in (None, "", [], {})}
    if rest:
        row["attributes"] = rest
    return row


def _text(value: object) -> str:
    """Descriptions come as a text or as a list of paragraphs."""
    parts = value if isinstance(value, list) else [value]
    return "\n".join(str(part).strip() for part in parts if part is not None and str(part).strip())


def _path(value: object) -> str:
    """A path of categories from a list, from the first of several lists, or from a text.

    LC-Rec joins the parts with a bare comma: a comma with a space after it belongs to a name ('Clothing, Shoes & Jewelry').
    """
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    parts = value if isinstance(value, list) else re.split(r",(?!\s)|\s*[>|]\s*", str(value or ""))
    return SEPARATOR.join(str(part).strip() for part in parts if str(part).strip())
