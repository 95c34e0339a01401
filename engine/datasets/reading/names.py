"""Names of columns: what other programs call the columns of the contract (`Column.also`), and which file a table is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from engine.datasets.contract import AUDIT_FILES, COLUMNS, SID_NAMES, Column
from engine.datasets.sid_columns import CODE_NAMES

_CODE = re.compile(rf"(?:{'|'.join(name.replace('_', '') for name in CODE_NAMES)})\d+")
_FILE_NAMES = {
    "items": ("item", "products", "product", "catalog", "catalogue", "feed"),
    "queries": ("query", "searches", "searchterms", "ubiqueries"),
    "interactions": ("interaction", "log", "logs", "searchlog", "clicks", "events", "ubievents", "clickstream"),
    "judgments": ("judgement", "judgements", "judgment", "ratings", "rating", "qrels", "labels", "label", "grades"),
    "sids": ("sid", "semanticids", "codes"),
    "beams": ("beam",),
    "scores": ("score",),
}


def folded(name: str) -> str:
    """One spelling for names that differ in case, separators, or the prefix of a feed: 'g:product_type' -> 'producttype'."""
    name = re.sub(r"^(?:g:|_source\.|attributes\.|node\.)", "", name.strip().casefold())
    return re.sub(r"[\W_]+", "", name)


_OWN = {table: {folded(c.name): c for c in columns} for table, columns in COLUMNS.items()}
_ALSO = {
    table: {folded(a): c for c in reversed(columns) for a in reversed(c.also)} for table, columns in COLUMNS.items()
}


def known_names(names: Iterable[str], table: str | None) -> int:
    """How many columns of the contract a list of names names."""
    own = {folded(name) for name in names if len(name) <= 80}
    best = 0
    for each in [table] if table else COLUMNS:
        matched = {c.name for name in own if (c := _OWN[each].get(name) or _ALSO[each].get(name))}
        best = max(best, len(matched) + any(_CODE.fullmatch(name) for name in own) * (each in AUDIT_FILES))
    return best


def file_named(stem: str) -> str | None:
    """The file of the contract that a file's name (without endings) says it is: its own name, or one that others use."""
    name = folded(stem)
    if name in COLUMNS:
        return name
    return next((table for table, others in _FILE_NAMES.items() if name in others), None)


def file_like(names: Collection[str]) -> str | None:
    """The file of the contract that a table with such columns is; None where they do not say."""

    def has(table: str, *wanted: str) -> bool:
        matched = {c.name for n in own if (c := _OWN[table].get(n) or _ALSO[table].get(n))}
        return set(wanted) <= matched

    own = {folded(name) for name in names}
    codes = any(_CODE.fullmatch(name) for name in own) or bool(own & {"sid", *(folded(name) for name in SID_NAMES)})
    asked = has("judgments", "query") or has("judgments", "query_id")
    if asked and has("judgments", "item_id"):
        if has("judgments", "grade"):
            return "judgments"
        acts = ("event", "clicks", "impressions", "purchases", "position")
        if any(has("interactions", act) for act in acts) or "date" in own or has("interactions", "date"):
            return "interactions"
        return None
    if asked and codes:
        return "beams"
    if has("items", "item_id", "title"):
        return "items"
    if has("items", "item_id") and codes:
        return "sids"
    if has("queries", "query_id", "text"):
        return "queries"
    return None


def map_names(
    table: str, names: Collection[str], stated: Mapping[str, str], empty: Collection[str] = ()
) -> dict[str, str]:  # fmt: skip
    """Column of the contract -> column of the file: those stated, then the contract's own, then those of other programs.

    Columns without any value (`empty`) are taken only where nothing else is there.
    """
    exact = {name: name for name in names} | {name.casefold(): name for name in reversed(list(names))}
    by_fold: dict[str, list[str]] = {}
    for name in names:
        by_fold.setdefault(folded(name), []).append(name)
    found: dict[str, str] = {ours: exact[theirs] for ours, theirs in stated.items() if theirs in exact}
    taken = set(found.values())

    def candidates(column: Column) -> list[str]:
        spellings = [folded(column.name), *(folded(a) for a in column.also)]
        every = [n for s in dict.fromkeys(spellings) for n in by_fold.get(s, []) if n not in taken]
        return sorted(every, key=lambda n: n in empty and n.casefold() != column.name)

    # A column's own name first, so that no other column takes it by one of its other names.
    for only_own in (True, False):
        for column in COLUMNS[table]:
            if column.name in found:
                continue
            possible = candidates(column)
            own = [n for n in possible if folded(n) == folded(column.name)]
            if only_own and not own:
                continue
            if possible:
                found[column.name] = (own if only_own else possible)[0]
                taken.add(found[column.name])
    return found


def stem_of(name: str) -> str:
    """'Products.CSV.gz' -> 'Products'."""
    while "." in name and name.rpartition(".")[2].casefold() in ENDINGS:
        name = name.rpartition(".")[0]
    return name


ENDINGS = ("gz", "zip", "csv", "tsv", "tab", "txt", "json", "jsonl", "ndjson", "parquet", "pq", "xlsx", "xlsm", "xml", "rss",
           "atom")  # fmt: skip
"""Endings of files that may be tables, in lower case."""
