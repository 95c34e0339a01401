"""Judgments as JSON documents of search-quality tools -> query, item_id, grade.

- RRE (Rated Ranking Evaluator): topics > query_groups > queries, with `relevant_documents` beside a group's queries as
  {"3": ["id1"]} (by grade) or {"id1": {"gain": 3}}; groups or queries may stand at the top (Quepid writes RRE so).
- Elasticsearch and OpenSearch `_rank_eval`: {"requests": [{"id", "request" or "params", "ratings": [{"_id", "rating"}]}]}.
- Quepid's exports of a case and of its ratings: {"queries": [{"query_text" or "query", "ratings": {"id1": 3}}]}.
- OpenSearch Search Relevance Workbench: {"judgmentRatings": [{"query", "ratings": [{"docId", "rating"}]}]}.

Such files are made by hand or for people's ratings: they are read whole. A record's place is the number of its query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.datasets.reading.lines import bad_row, is_text
from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record
from engine.errors import DataError

_LISTS = ("requests", "judgmentRatings", "queries", "query_groups", "topics")
_TEXT_QUERIES = ("match", "match_phrase", "match_phrase_prefix", "match_bool_prefix", "multi_match", "combined_fields",
                 "query_string", "simple_query_string")  # fmt: skip
_NAMES = {"query": ("query_text", "query", "queryText"), "params": ("query_string", "query", "q", "text", "search_text"),
          "placeholders": ("$query", "$q", "$keywords"), "item": ("_id", "docId", "doc_id", "docid", "item_id", "id"),
          "grade": ("rating", "grade", "gain", "relevance")}  # fmt: skip


def recognise(head: str) -> bool:
    """Whether a JSON object opens with one of the lists of these tools, and ratings in it."""
    head = head.removeprefix("\ufeff").lstrip()
    depth, names = 0, set()
    for token in re.finditer(r'[{\[]|[}\]]|"((?:[^"\\]|\\.)*)"(\s*:)?', head if head.startswith("{") else ""):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if token[2] and (depth == 1 or token[1] in ("ratings", "relevant_documents")):
            names.add(token[1])
    return bool(names & set(_LISTS)) and bool(names & {"ratings", "relevant_documents"})


def records(path: Path) -> Iterator[Record | BadRow]:
    """One record a rating. Raises DataError for a file that is not JSON, or none of these layouts."""
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) - 1 or error.msg.startswith("Unterminated")
        remedy = "it may be cut short: copy or write it again" if cut else "mend that place"
        raise DataError(
            f"{path.name}:{error.lineno} is not JSON at character {error.colno}: {error.msg}; {remedy}"
        ) from None
    except RecursionError:
        raise DataError(f"{path.name} is nested too deeply; judgments need six levels") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except ValueError:
        raise DataError(f"{path.name} holds a number of thousands of digits; write numbers as they are meant") from None
    if not isinstance(document, dict) or not any(isinstance(document.get(name), list) for name in _LISTS):
        raise DataError(f"{path.name} holds no list of judgments: it needs one of {', '.join(map(repr, _LISTS))}")
    for place, group in enumerate(_groups(document), start=1):
        yield from _ratings(place, group)


def _groups(node: Mapping[str, object]) -> Iterator[object]:
    """The objects that hold ratings, in the order of the file."""
    if {"ratings", "relevant_documents"} & node.keys():
        yield node
        return
    for name in _LISTS:
        inner = node.get(name)
        for each in inner if isinstance(inner, list) else []:
            if isinstance(each, dict) and any(isinstance(each.get(below), list) for below in _LISTS):
                yield from _groups(each)
            else:
                yield each


def _ratings(place: int, group: object) -> Iterator[Record | BadRow]:
    shown = json.dumps(group, ensure_ascii=False)
    if not isinstance(group, dict):
        yield bad_row(place, "it is not a JSON object", shown)
        return
    if not is_text(shown):
        yield bad_row(place, "it holds half of a surrogate pair, which is not text", shown)
        return
    queries = _queries(group)
    if not queries:
        yield bad_row(place, "it names no query; write its text under 'query' (RRE: 'placeholders', '$query')", shown)
        return
    rated = group.get("ratings", group.get("relevant_documents"))
    if not isinstance(rated, list | dict | None):
        yield bad_row(place, "its ratings are neither a list nor an object", shown)
        return
    for item, grade in _pairs(rated or []):
        if item is None:
            yield bad_row(place, "one of its ratings names no item; write the item's id under '_id' or 'docId'", shown)
            continue
        for query in queries:
            yield Record(place, {"query": query, "item_id": item, "grade": grade})


def _pairs(rated: list[object] | dict[str, object]) -> Iterator[tuple[object, object]]:
    """(item id, grade) in any of the ways to write them; an id of None where there is none."""
    if isinstance(rated, list):
        for each in rated:
            yield (_first(each, "item"), _first(each, "grade")) if isinstance(each, dict) else (None, None)
        return
    for key, value in rated.items():
        if isinstance(value, list):
            yield from ((item, key) for item in value)  # By grade.
        else:
            yield key, _first(value, "grade") if isinstance(value, dict) else value


def _first(values: Mapping[str, object], kind: str) -> object:
    return next((values[name] for name in _NAMES[kind] if values.get(name) is not None), None)


def _queries(group: Mapping[str, object]) -> list[str]:
    """The texts of a group's queries, each once."""
    inner = group.get("queries")
    found = [_query(each) for each in (inner if isinstance(inner, list) else [group])]
    return list(dict.fromkeys(text for text in found if text))


def _query(each: object) -> str | None:
    """The text of a query: its own, a parameter of its template, what its search request looks for; else its id."""
    if isinstance(each, str) or not isinstance(each, dict):
        return each if isinstance(each, str) else None
    for kind in ("query", "params", "placeholders"):
        values = each if kind == "query" else each.get(kind)
        if isinstance(values, dict):
            texts = [value for value in values.values() if isinstance(value, str)]
            text = _first(values, kind)
            if isinstance(text, str) and text.strip():
                return text
            if kind != "query" and len(texts) == 1:
                return texts[0]
    sought = set(_sought(each.get("request")))
    if len(sought) == 1:
        return sought.pop()
    name = each.get("id")
    return str(name) if isinstance(name, str | int) else None


def _sought(node: object) -> Iterator[str]:
    """Texts that a search request looks for; those that only filter aside."""
    if isinstance(node, list):
        for each in node:
            yield from _sought(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key not in _TEXT_QUERIES or not isinstance(value, dict):
                if key not in ("filter", "must_not"):
                    yield from _sought(value)
                continue
            fields = [value] if "query" in value and not isinstance(value["query"], dict) else list(value.values())
            for field in fields:
                text = field.get("query") if isinstance(field, dict) else field
                if isinstance(text, str | int) and not isinstance(text, bool):
                    yield str(text)
