"""Wording that stands in for colour, and the matching of typed queries."""

from __future__ import annotations

import pytest

from app import rankers, text
from app.queries import overview
from engine.config import METHODS, SIGNALS
from engine.reporting.evaluation import COMPARISONS
from engine.store.query_sets import normalise


@pytest.mark.parametrize(
    ("rank", "without", "words"),
    [
        (3, 10, "▲ 7 up"),
        (10, 3, "▼ 7 down"),
        (4, 4, "= same"),
        (float("nan"), 4, "not retrieved"),
        (None, None, "not retrieved"),
    ],
)
def test_moves_are_told_in_words(rank: float | None, without: float | None, words: str) -> None:
    assert text.move(rank, without) == words


def test_match_is_told_in_words() -> None:
    assert text.match(0, 3, None) == "no match"
    assert text.match(2, 3, "17-203") == "2 of 3 (17-203)"
    assert text.match(float("nan"), 3, None) == text.UNKNOWN


def test_match_is_told_in_dots() -> None:
    assert [text.dots(m, 3) for m in (0, 2, 3, float("nan"))] == ["○○○", "●●○", "●●●", text.UNKNOWN]


def test_direction_needs_a_judged_query() -> None:
    assert [text.direction(d) for d in (0.1, -0.1, 0.0, None, float("nan"))] == [
        "▲ better", "▼ worse", "= same", "not judged", "not judged",
    ]  # fmt: skip


def test_feature_names_know_every_feature() -> None:
    assert text.feature_name("dm") == "Text similarity (dm)"
    assert text.feature_name("sid_2", "lamp") == "SID level 2 (lamp)"
    assert text.feature_name("sid_2.memory", "lamp") == "SID level 2 (lamp): Memory of past queries"
    assert text.feature_name("sid.list") == "SID: Share of the result list"
    assert text.feature_name("sid_1.new_one") == "SID level 1: new_one"
    assert text.feature_name("new_one") == "new_one"


def test_every_method_and_ranker_of_the_engine_has_a_name() -> None:
    assert set(METHODS) | {"imported"} == set(rankers.METHOD_NAMES) == set(rankers.METHOD_MEANINGS)
    rungs = {name for pair in COMPARISONS for name in pair}
    assert rungs <= set(overview.LADDER)
    assert not [r for r in rungs if rankers.ranker_name(r) == r]
    assert set(SIGNALS) == set(rankers.SIGNAL_NAMES) == set(rankers.SIGNAL_MEANINGS)
    assert {r for r in rungs if rankers.learner(r) is None} == {"cosine"}
    assert (rankers.ranker_name("new"), rankers.method_name("new"), rankers.learner("new")) == ("new", "new", None)


def test_normalise_ignores_case_spaces_and_composition() -> None:
    assert normalise("  Café   LAMP ") == normalise("cafe\u0301 lamp")
    assert normalise("lamp") != normalise("lamps")
