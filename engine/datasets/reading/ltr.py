"""Learning-to-rank judgments: `grade qid:1 1:0.5 2:0.1 # item` (SVMlight, RankLib, LETOR; Lemur wiki "RankLib File Format").

Features (`1:0.5`) are skipped: what Sidelight ranks by it measures itself. The item is named by the comment alone:

    4 qid:1 # 7555                       Elasticsearch Learning to Rank; its header may say '# qid:1: rambo' (or 'rambo*1')
    4 qid:1 # 7555<tab>rambo             the query's text, or the item's title: a query's where each qid has only one
    4 qid:1 1:0.5 # 7555 rambo           the same, as Quepid exports it
    2 qid:10 1:0.03 #docid = GX029-35    LETOR; Terrier also writes 'docno ='

The file is read twice: the first time for the texts of its qids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.datasets.reading.lines import NOT_UTF8, bad_row, is_text, number, numbered_lines, whole_lines
from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record

_ROW = re.compile(r"\s*([+-]?[\d.]+)\s+qid:(\S+)((?:\s+[^\s:#]+:[^\s#]+)*)\s*(?:#(.*))?")
_HEADER = re.compile(r"\s*#\s*qid:([^\s:]+)\s*:\s*(.*?)(?:\*[\d.]+)?\s*")  # '*2' is the weight of the query
_NAMED = re.compile(r"\bdoc(no|id)\s*=\s*(\S+)")


def recognise(head: str) -> bool:
    """Whether the first line that is no comment begins with a grade and a qid, or a comment gives a qid its text."""
    lines = whole_lines(head)
    rows = [line for line in lines if not line.lstrip().startswith("#")]
    return bool(_ROW.fullmatch(rows[0]) if rows else any(_HEADER.fullmatch(line) for line in lines))


def records(path: Path) -> Iterator[Record | BadRow]:
    """One record a line: query_id, item_id, grade, and query where the file tells it."""
    texts = _query_texts(path)
    for place, line in numbered_lines(path):
        if line.lstrip().startswith("#"):
            continue
        found = _ROW.fullmatch(line)
        grade = number(found[1]) if found else None
        if not is_text(line):
            yield bad_row(place, NOT_UTF8, line)
        elif found is None or grade is None:
            yield bad_row(place, "it is not 'grade qid:ID features # item': write it like '3 qid:1 1:0.5 # B01'", line)
        elif not (item := _comment(found[4])[0]):
            yield bad_row(place, "it names no item; write the item's id behind the features, after '#'", line)
        else:
            query = {"query": texts[found[2]]} if found[2] in texts else {}
            yield Record(place, {"query_id": found[2], **query, "item_id": item, "grade": grade})


def _comment(comment: str | None) -> tuple[str, str]:
    """(item id, the text behind it) of what stands after '#'."""
    named = {kind: value for kind, value in _NAMED.findall(comment or "")}
    if named:
        return named.get("no") or named["id"], ""
    item, *rest = (comment or "").strip().split(None, 1) or [""]
    return item, " ".join(rest).strip()


def _query_texts(path: Path) -> dict[str, str]:
    """The text of each qid: from the header, else from the comments where those of a qid all say the same."""
    header: dict[str, str] = {}
    behind: dict[str, set[str]] = {}
    for _, line in numbered_lines(path):
        if said := _HEADER.fullmatch(line):
            if said[2] and is_text(line):
                header[said[1]] = said[2]
        elif not header and (row := _ROW.fullmatch(line)) and is_text(line):
            texts = behind.setdefault(row[2], set())
            if len(texts) < 2:
                texts.add(_comment(row[4])[1])
    if header or any(len(texts) > 1 for texts in behind.values()):
        return header
    return {qid: text for qid, (text,) in behind.items() if text}
