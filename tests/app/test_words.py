"""One definition each: tooltips, the word finder and docs/metrics.md say the same, plain words first."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from app import text
from app.glossary import DOCUMENT, NAMES, name, search, written
from engine.audit.severity import BARS, LEAST_QUERIES, SEVERITIES


def test_the_documentation_says_what_the_tooltips_say() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert written(document) == document, "run: python -m app.glossary"
    assert document.count("<!-- end of words -->") == 1


def test_no_page_prints_a_placeholder() -> None:
    """'in its first {queries.PLACES}' of a text that lost its f: a name in braces, in a text that is not formatted."""
    found = []
    for path in sorted((Path(text.__file__).parent).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            said = [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
            found += [(path.name, s) for s in said if re.search(r"(?<![%{])\{[a-z_]+\.[A-Za-z_]+[^{}]*\}", s)]
    assert not found


def test_every_name_is_of_a_definition_and_names_one_thing() -> None:
    assert set(NAMES) <= set(text.DEFINITIONS)
    names = [name(key) for key in text.DEFINITIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("key", ["auc", "ndcg@10", "beam", "exposure", "effective_n", "aliasing", "hourglass", "nmi"])
def test_plain_words_lead_and_the_term_stands_beside(key: str) -> None:
    assert re.fullmatch(r"[A-Z][a-z' ,A-Z]+ \([\w@ -]+\)|[A-Z][a-z' ,A-Z]+ \([\w ]+\)", name(key))


def test_measures_are_called_alike_everywhere() -> None:
    assert all(text.METRIC_NAMES[key] == NAMES[key] for key in ("auc", "ndcg@10", "within_query_auc", "hhi", "gini"))


def test_words_are_found_by_their_names_first() -> None:
    assert "(beams)" in search("beams")[0][0]
    assert [found for found, _ in search("")] == sorted((name(key) for key in text.DEFINITIONS), key=str.lower)
    assert search("nothing of the kind 0815") == []


def test_severities_are_the_engines() -> None:
    assert tuple(text.SEVERITY_NAMES) == SEVERITIES
    said = text.DEFINITIONS["severity"]
    for word, bar in BARS.items():
        part = said[said.index(f"{text.SEVERITY_NAMES[word]}: ") :].split(". ")[0]
        assert f"{100 * bar.relative:.0f} %" in part
        assert f"{100 * bar.absolute:g} pp" in part
    assert f"{LEAST_QUERIES} equally frequent queries" in said
