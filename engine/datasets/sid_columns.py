"""What tables of SIDs call their columns: ids of items, SIDs in one column, codes in a column a level."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from engine.datasets.contract import SID_NAMES, words
from engine.datasets.sid_text import MAX_LEVELS
from engine.errors import DataError

ITEM_NAMES = words(
    "item_id item iid itemid item_ids items id ids asin parent_asin product_id product productid sku "
    "docid doc_id video_id videoid vid photo_id pid goods_id movie_id movieid song_id track_id news_id "
    "article_id book_id offer_id listing_id business_id gmap_id item_idx item_index raw_id original_id "
    "key"
)
"""Names of the column of item ids, compared without case and with `_` for spaces, dots and dashes."""

_WHOLE = ("sid", *SID_NAMES, "tokens", "sid_text", "sid_str", "code", "index")
"""Names of the column of whole SIDs, likelier ones first."""

CODE_NAMES = (
    *("code", "codes", "sid", "semantic_id", "semid", "sem_id", "sid_code", "semantic_code", "codebook", "sid_level"),
    *("semantic_level", "code_level", "level", "c", "cb", "l", "layer", "token", "sid_token", "token_id", "codeword"),
    *("quantizer", "rq", "cluster", "digit"),
)
"""Names that are followed by the number of the level."""

_CODE_COLUMN = re.compile(r"(.*?)_?(\d+)(?:_(?:code|id|token|sid))?")
_PLACES = ("column_1", "unnamed:_0", "unnamed_0")
"""What readers call the column without a name that pandas writes first."""


class SidColumns(NamedTuple):
    """Where a table has its SIDs."""

    item: str
    codes: list[str]  # One column of whole SIDs, or one a level in their order.


def folded(name: str) -> str:
    """`Semantic ID.0` -> `semantic_id_0`."""
    return re.sub(r"[\s.\-_]+", "_", name.strip().casefold())


def sid_column(names: Sequence[str], label: str) -> list[str]:
    """The columns of the SID among `names`: one, or one a level in their order; none where there are none.

    `sid` itself counts first, then known names of levels, known names of a whole SID, and any other name that is
    counted from 0 or 1, if there is one only. Raises DataError where levels do not follow each other and where two
    families of columns could be meant.
    """
    by_name = {folded(name): name for name in names}
    if "sid" in by_name:
        return [by_name["sid"]]
    families: dict[str, dict[int, str]] = {}
    for name, own in by_name.items():
        if found := _CODE_COLUMN.fullmatch(name):
            families.setdefault(found[1], {})[int(found[2])] = own
    whole = {stem: [levels[n] for n in sorted(levels)] for stem, levels in families.items() if _follow(levels)}
    known = [whole[stem] for stem in whole if stem in CODE_NAMES]
    if not known and (broken := next((families[stem] for stem in families if stem in CODE_NAMES), None)):
        raise DataError(
            f"{label} has the columns {', '.join(broken[n] for n in sorted(broken))}; levels must follow each other: "
            "code_1, code_2, ... or sid_0, sid_1, ..."
        )
    candidates = known or [
        *([[by_name[name]] for name in _WHOLE if name in by_name][:1]),
    ] or [columns for columns in whole.values() if len(columns) > 1]  # fmt: skip
    if len(candidates) > 1:
        both = " and in ".join(f"{columns[0]} ... {columns[-1]}" for columns in candidates[:2])
        raise DataError(f"{label} may have its SIDs in {both}; remove the columns that are not meant")
    return candidates[0] if candidates else []


def _follow(levels: Mapping[int, str]) -> bool:
    first = min(levels)
    return first < 2 and len(levels) <= MAX_LEVELS and sorted(levels) == list(range(first, first + len(levels)))


def item_columns(names: Iterable[str]) -> list[str]:
    """Columns that may name the item, likelier ones first: known names, then any `..._id`, then one without a name."""
    by_name = {folded(name): name for name in names}
    known = [name for name in ITEM_NAMES if name in by_name]
    other = [name for name in by_name if re.fullmatch(r".+(_id|id)", name) and name not in (*_WHOLE, *known)]
    return [by_name[name] for name in (known or other or [name for name in _PLACES if name in by_name])]


def sid_columns(names: Sequence[str], label: str) -> SidColumns | None:
    """The columns of a table of SIDs; None for a table without them. Raises DataError as `sid_column` does."""
    codes = sid_column(names, label)
    items = item_columns(name for name in names if name not in codes)
    return SidColumns(items[0], codes) if codes and items else None


def joined(values: Sequence[object]) -> str | None:
    """One text of the codes of an item, a column a level; a level that is missing at the end is none."""
    texts = ["" if value is None or value != value else str(value).strip() for value in values]
    while texts and not texts[-1]:
        texts.pop()
    return "-".join(texts) or None


def no_common_ids(first: str, these: Sequence[str], second: str, those: Sequence[str]) -> DataError:
    """Two files that should speak of the same items, and two ids of each."""
    told = [" and ".join(f"'{each[:40]}'" for each in ids[:2]) for ids in (these, those)]
    return DataError(
        f"{first} and {second} have no item in common: the one names {told[0]}, the other {told[1]}; "
        "write both with the same ids"
    )
