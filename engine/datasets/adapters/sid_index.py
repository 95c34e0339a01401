"""Adapter for SIDs of generative recommenders: an index of any shape that `sid_files` knows, and the texts of its items.

Texts lie beside it, in NAME.item.json, item.json or items.json: `{"0": {"title": ..., "description": ..., "brand": ...,
"categories": "Beauty,Hair Care"}, ...}` or a list of such records. They may be missing; and where the folder has the
contract's own items file, that is read instead and the index gives the SIDs alone.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.datasets.adapters.sid_files import (
    JSON,
    LINES,
    SUFFIXES,
    TABLES,
    SidFile,
    are_sids,
    by_id,
    column_names,
    load_json,
    read_sids,
    records,
    suffix,
)
from engine.datasets.contract import COLUMNS
from engine.datasets.reading.names import file_like, file_named, stem_of
from engine.datasets.sid_columns import folded, no_common_ids
from engine.errors import DataError

INDEX = "*index*.json"
SIDS = "sids.jsonl"  # What is made of one.
SEPARATOR = " > "
FEW = 0.5
"""Where fewer of the SIDs have a text, the two files may be of different catalogues."""

_NAMED = re.compile(r"index|indice|sid|semantic|sem_?ids?|codes?(?![a-z])|item2(?:id)?tokens?", re.IGNORECASE)
_OTHER = re.compile(
    r"inter(?!nal)|user|seq|hist|train|valid|test|review|(?<![a-z])emb|config|vocab|neighbou?r|beam|score|log(?![a-z])",
    re.IGNORECASE,
)
"""Names of files of such folders that hold lists of numbers and no SIDs, such as NAME.inter.json."""
_INDEX_WORDS = re.compile(
    r"[_-]?(?:(?:item|id)s?(?:2|_to_)(?:sid|semantic_id|token)s?|(?:sid|semantic_id)s?(?:2|_to_)(?:item|id)s?)[_-]?"
    r"|[_-](?:semantic_ids?|sids?|index)$|^(?:semantic_ids?|sids?|index)[_-]",
    re.IGNORECASE,
)
_ITEM_FILE = re.compile(r"item|meta|product|catalog|title|text", re.IGNORECASE)
_UNREADABLE = (".pt", ".pth", ".npy", ".npz", ".pkl", ".pickle", ".h5", ".safetensors")
_TITLES = ("title", "name", "product_title", "product_name", "item_title", "item_name", "goods_name")
_FIELDS = {**dict.fromkeys(_TITLES, "title"), "description": "description", "brand": "brand"}
_PATHS = ("categories", "category")
_NO_TEXT = ("", "nan", "none", "null")


class Adapted(NamedTuple):
    """What an index became."""

    notes: list[str]  # For the report.
    files: dict[str, str]  # Contract file -> the user's file that its rows are of.


def is_index(source: Path) -> bool:
    """Whether a path is for this adapter: a file, or a folder with SIDs that are not in the contract's files."""
    if source.is_file():
        return True
    if not source.is_dir() or (_contract_file(source, "items") and _contract_file(source, "sids")):
        return False
    return bool(_candidates(source))


def adapt(source: Path, contract: Path, dataset: str | None = None) -> Adapted:
    """Writes the contract files of an index (a file, or the folder it lies in) into `contract`.

    An item without a title is named after its id, and `title` is marked as derived. SIDs are carried over as they are:
    reading the files of an audit understands and checks them (`engine.datasets.audit_files`).
    Raises DataError where there is no index, where there are several and `dataset` names none of them, where no text is of
    an item that has a SID, and where a file is not what it should be.
    """
    index = _chosen(source, dataset)
    folder = source if source.is_dir() else source.parent
    header = "\n" if index.header else ""  # keeps the lines of the user's file
    with (contract / SIDS).open("w", encoding="utf-8") as file:
        file.write(header)
        for item_id, sid in index.sids:
            file.write(json.dumps({"item_id": item_id, "sid": sid}, default=str) + "\n")
    notes = [f"SIDs were read from {index.path.name}" + (": items by SID, turned round" if index.inverted else "")]
    files = {"sids": index.path.name}
    own_items = _items_files(folder, index.path)
    _place_others(folder, contract, own_items)
    if own_items:
        return Adapted(notes, files)
    item_path, texts = _texts(folder, index, only=dataset is None and source.is_dir())
    held = list(dict.fromkeys(item_id for item_id, _ in index.sids))
    if item_path is not None:
        files["items"] = item_path.name
        common = sum(item_id in texts for item_id in held)
        if not common:
            raise no_common_ids(index.path.name, held, item_path.name, list(texts))
        if common < FEW * len(held):
            notes.append(
                f"only {common:,} of {len(held):,} items of {index.path.name} have a text in {item_path.name}; the others "
                "are named after their ids"
            )
    else:
        files["items"] = index.path.name
    unnamed = 0
    # JSON in ASCII: half of a surrogate pair, which UTF-8 cannot hold, is left to validation.
    with (contract / "items.jsonl").open("w", encoding="utf-8") as file:
        for item_id in dict.fromkeys([*texts, *held]):
            row = _item(item_id, texts.get(item_id))
            if "title" not in row:
                row["title"], unnamed = f"Item {item_id}", unnamed + 1
            file.write(json.dumps(row, default=str) + "\n")
    _write_settings(folder, contract, index.path, derived=unnamed > 0)
    return Adapted(notes, files)


def _write_settings(folder: Path, contract: Path, index: Path, *, derived: bool) -> None:
    """What the index tells of a dataset, where the user's own dataset.toml does not state it."""
    own = folder / "dataset.toml"
    text = own.read_bytes() if own.is_file() else b""
    told = {"name": _label(index), "source": f"SID index {index.name}"} | ({"derived": ["title"]} if derived else {})
    try:
        stated = tomllib.loads(text.decode("utf-8-sig"))
    except ValueError:
        stated = told  # reading it says what is wrong
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in told.items() if key not in stated]
    (contract / "dataset.toml").write_bytes("".join(lines).encode() + text.removeprefix(b"\xef\xbb\xbf"))


# ---------------------------------------------------------------- which files


def _chosen(source: Path, dataset: str | None) -> SidFile:
    """The SIDs of the file given, or of the one in a folder that `dataset` means."""
    if source.is_file():
        if suffix(source) not in SUFFIXES:
            remedy = (
                "save the codes as .json, {item id: [codes]}" if suffix(source) in _UNREADABLE else "give one of them"
            )
            raise DataError(f"{source.name} is not read: SIDs are read from {', '.join(SUFFIXES)}; {remedy}")
        found = read_sids(source, named=True)
        if found is None:
            raise DataError(
                f'{source.name} holds no SIDs; expected are {{"item id": ["<a_1>", "<b_7>"]}}, or a table with item_id and '
                "sid or code_1, code_2, ..."
            )
        return found
    candidates = _candidates(source)
    if not candidates:
        there = ", ".join(sorted(p.name for p in source.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{source} is not a folder of SIDs: it has no index (NAME.index.json, "
            f'{{"item id": ["<a_1>", "<b_7>", ...]}}, or a table with item_id and sid); it holds {there}'
        )
    labels = _labels([found.path for found in candidates])
    if dataset is not None:
        candidates = [
            f for f in candidates if dataset.casefold() in (labels[f.path].casefold(), f.path.name.casefold())
        ]
        if not candidates:
            raise DataError(f"--dataset {dataset} is none of the datasets of {source}: {', '.join(labels.values())}")
    if len(candidates) > 1:
        both = ", ".join(f"{labels[found.path]} ({found.path.name})" for found in candidates)
        choices = " or ".join(f"--dataset {labels[found.path]}" for found in candidates)
        raise DataError(
            f"{source} holds the SIDs of {len(candidates)} datasets: {both}; import it with {choices}, or give one of these files"
        )
    return candidates[0]


def _candidates(folder: Path) -> list[SidFile]:
    """Files of a folder with SIDs: those that are named so, else any whose values are all SIDs, else its items file."""
    files = [
        p for p in sorted(folder.iterdir()) if p.is_file() and suffix(p) in SUFFIXES and not p.name.startswith(".")
    ]
    paths = [p for p in files if p.match(INDEX) or not _OTHER.search(stem(p))]
    paths = [p for p in paths if file_named(stem(p)) in (None, "sids")]
    named = [p for p in paths if _NAMED.search(stem(p))]
    found = [read for p in named if (read := read_sids(p, named=p.match(INDEX) or "sid" in stem(p).casefold()))]
    found = [each for each in found if are_sids(sid for _, sid in each.sids)] or found
    for others in ([p for p in paths if p not in named], [p for p in files if file_named(stem(p)) == "items"]):
        found = found or [read for p in others if (read := _if_any(p))]
    forward = [{item_id for item_id, _ in each.sids} for each in found if not each.inverted]
    return [f for f in found if not f.inverted or {item_id for item_id, _ in f.sids} not in forward]


def _if_any(path: Path) -> SidFile | None:
    try:
        return read_sids(path, named=False)
    except DataError:
        return None  # it is no index by its name: others may be


def stem(path: Path) -> str:
    """The name without endings of the format: `caps.index` for `caps.index.json.gz`."""
    return stem_of(path.name)


def _label(path: Path) -> str:
    """The dataset in a file's name: `caps` of caps.index.json and of caps_id2sid.json."""
    first = stem(path).split(".")[0]
    return _INDEX_WORDS.sub("", first) or first


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file: its dataset, or the whole name where several are of one."""
    labels = {path: _label(path) for path in paths}
    twice = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    return {path: stem(path) if label in twice else label for path, label in labels.items()}


def _contract_file(folder: Path, table: str) -> bool:
    """Whether a table of the folder is that file of the contract by its name; texts in JSON are read here."""
    return any(p.is_file() and _is_named(p, table) and suffix(p) not in JSON for p in folder.iterdir())


def _is_named(path: Path, table: str) -> bool:
    return stem(path) != path.name and file_named(stem(path)) == table


def _items_files(folder: Path, index: Path) -> list[Path]:
    """The contract's items file of a folder, told by its name, else by its columns."""
    if _contract_file(folder, "items"):
        return [p for p in folder.iterdir() if p.is_file() and _is_named(p, "items")]
    tables = [p for p in sorted(folder.iterdir()) if p.is_file() and suffix(p) in (*TABLES, *LINES) and p != index]
    return [p for p in tables if file_like(column_names(p)) == "items"]


def _place_others(folder: Path, contract: Path, items: list[Path]) -> None:
    """Puts the contract's own files of `folder` beside the SIDs: the catalogue, beams and scores."""
    others = [p for p in folder.iterdir() if p.is_file() and file_named(stem(p)) in set(COLUMNS) - {"sids", "items"}]
    for path in [*items, *others, *(folder.glob("dataset.toml") if items else ())]:
        try:
            (contract / path.name).symlink_to(path.resolve())
        except OSError:  # a system without links
            shutil.copyfile(path, contract / path.name)


# ---------------------------------------------------------------- texts of items


def _texts(folder: Path, index: SidFile, *, only: bool) -> tuple[Path | None, dict[str, object]]:
    """The file with the texts of an index, and what it says by item; what the index itself says where there is none.

    Where the index is the `only` one of its folder, a file of any name may be that of its texts.
    """
    paths = [p for p in sorted(folder.iterdir()) if p.is_file() and suffix(p) in (".json", *LINES) and p != index.path]
    paths = [
        p for p in paths if _ITEM_FILE.search(stem(p)) and not _NAMED.search(stem(p)) and not _OTHER.search(stem(p))
    ]
    label = _label(index.path)
    own = [p for p in paths if re.match(rf"{re.escape(label)}[._-]", p.name) or label in re.split(r"[._-]", stem(p))]
    bare = [p for p in paths if p.name.split(".")[0].casefold() in ("item", "items", "meta", "metadata", "products")]
    paths = own or bare or (paths if only else [])
    if index.features and any(folded(name) in _TITLES for name in next(iter(index.features.values()))):
        return None, dict(index.features)
    if len(paths) > 1:
        raise DataError(f"{folder} holds {', '.join(p.name for p in paths)}; keep the one with the texts of the items")
    if not paths:
        return None, dict(index.features)
    content = records(paths[0]) if suffix(paths[0]) in LINES else load_json(paths[0])
    texts = by_id(content)
    if not texts:
        raise DataError(
            f'{paths[0].name} holds no JSON object of items; it should be like {{"0": {{"title": "Red kettle"}}}}'
        )
    return paths[0], texts


def _item(item_id: str, features: object) -> dict[str, object]:
    """One row of the contract; what it has no column for becomes attributes."""
    row: dict[str, object] = {"item_id": item_id}
    if isinstance(features, str):
        features = {"title": features}
    if not isinstance(features, dict):
        return row
    features = {name: value for name, given in features.items() if (value := _present(given)) is not None}
    by_name = {folded(name): name for name in reversed(features)}
    taken = set()
    for name, column in _FIELDS.items():
        if column not in row and name in by_name and (text := _text(features[by_name[name]])):
            row[column] = text
            taken.add(by_name[name])
    for name in _PATHS:
        if "category" not in row and name in by_name and (path := _path(features[by_name[name]])):
            row["category"] = path
    taken |= {by_name[name] for name in (*_PATHS, "title", "description", "brand", "item_id") if name in by_name}
    rest = {key: value for key, value in features.items() if key not in taken and value not in ("", [], {})}
    if rest:
        row["attributes"] = rest
    return row


def _present(value: object) -> object:
    """A value without NaN and infinities, which JSON does not know and pandas writes for what is missing."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, list):
        return [kept for each in value if (kept := _present(each)) is not None]
    if isinstance(value, dict):
        return {name: kept for name, each in value.items() if (kept := _present(each)) is not None}
    return value


def _text(value: object) -> str:
    """Descriptions come as a text or as a list of paragraphs; 'nan' and 'None' are what programs write for none."""
    parts = value if isinstance(value, list) else [value]
    texts = [str(part).strip() for part in parts if isinstance(part, str | int | float) and not isinstance(part, bool)]
    return "\n".join(text for text in texts if text.casefold() not in _NO_TEXT)


def _path(value: object) -> str:
    """A path of categories from a list, from the first of several lists, or from a text.

    LC-Rec joins the parts with a bare comma: a comma with a space after it belongs to a name ('Clothing, Shoes & Jewelry').
    """
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    parts = value if isinstance(value, list) else re.split(r",(?!\s)|\s*[>|]\s*", str(value or ""))
    return SEPARATOR.join(text for part in parts if (text := str(part).strip()).casefold() not in _NO_TEXT)
