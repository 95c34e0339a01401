"""Stories: told only where the served ranker's contributions say so, and recomputed from the answers by SQL."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

from engine.audit.stories import STORY_COLUMNS, beam_entropies, stories_table
from tests.conftest import Trained

BEAMS = pd.DataFrame(
    {
        "query_id": ["q1", "q1", "q2", "q3", "q3"],
        "code": [3, 3, 3, 3, 4],
        "log_prob": np.log([0.6, 0.2, 0.5, 0.3, 0.1]),
    }
)
QUERIES = pd.DataFrame(
    {
        "query_id": ["q1", "q2", "q3", "q4"],
        "text": ["red lamp", "trail shoe", "jaguar", "boot"],
        "frequency": [1.0, 2.0, 3.0, 9.0],
    }
)
METRICS = pd.DataFrame(
    [("q1", "ndcg@10", -0.5), ("q2", "ndcg@10", 0.4), ("q3", "auc", -0.8), ("q4", "ndcg@10", 0.1)],
    columns=["query_id", "metric", "difference"],
)
MOVES = pd.DataFrame(
    [
        ("q1", "lamp", "Red lamp", 9, 1, 0, None, 0.0, -0.4, 0.1, False),
        ("q2", "shoe", "Trail shoe", 2, 14, 2, "3-1", 0.2, 0.31, -0.05, True),
        ("q4", "boot", "Boot", 1, 3, 3, "3-1-4", 0.1, 0.2, 0.3, True),
    ],
    columns=[
        *("query_id", "item_id", "title", "rank", "rank_without_sid", "match_level", "matched_prefix", "match", "sid"),
        *("other", "beam_fits"),
    ],
)
LABELS = {"3": "Shoes", "4": "Cars", "3-1": "trail · gtx"}


def told(moves: pd.DataFrame = MOVES, **more: pd.DataFrame) -> pd.DataFrame:
    given = {"beams": BEAMS, "query_metrics": METRICS, "queries": QUERIES} | more
    return stories_table(moves, labels=LABELS, **given).set_index("kind")


def test_beam_entropy_by_hand() -> None:
    entropy = beam_entropies(BEAMS).set_index("query_id")["entropy"]
    assert entropy["q1"] == pytest.approx(0.0)  # both beams begin with code 3
    assert entropy["q3"] == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))


def test_four_stories_in_one_sentence_each() -> None:
    table = told()
    assert table["query_id"].to_dict() == {"example": "q4", "won": "q2", "lost": "q1", "ambiguous": "q3"}
    assert table.loc["won", "sentence"] == (
        "For 'trail shoe', SIDs lift the relevant 'Trail shoe' from rank 14 to 2: against the items it passed, in points of "
        "score, its SID adds 0.31 and all else takes 0.05; a beam of the query agrees with it down to code 3-1 (trail · gtx)."
    )
    assert "from rank 1 to 9: against the items that passed it" in table.loc["lost", "sentence"]
    assert "its SID takes 0.40 and all else adds 0.10." in table.loc["lost", "sentence"]
    assert "75 % code 3 (Shoes), 25 % code 4 (Cars)" in table.loc["ambiguous", "sentence"]


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"match": 0.0}, {"example", "won"}),  # the match is not among its reasons
        ({"match_level": 0}, {"example", "won"}),
        ({"beam_fits": False}, {"example", "won"}),  # the best beam is elsewhere
        ({"sid": -0.01}, {"example", "won"}),
        ({"other": 0.7}, {"won", "lost"}),  # all else is more of the reason
        ({"rank": 12, "rank_without_sid": 15}, {"example", "lost"}),  # never on page one; nothing fell
    ],
)
def test_no_story_rather_than_a_false_one(change: dict[str, object], gone: set[str]) -> None:
    moves = (
        MOVES.assign(**change) if "rank" in change else MOVES.where(MOVES["query_id"] == "q1", MOVES.assign(**change))
    )
    if "other" in change:
        moves = MOVES.assign(**change)
    assert {"example", "won", "lost", "ambiguous"} - set(told(moves).index) == gone


def test_what_happens_on_page_one_is_told_first() -> None:
    """A larger rise and a larger fall where nobody looks do not come before smaller ones on page one."""
    deep = MOVES[MOVES["query_id"] != "q4"].assign(
        query_id=lambda m: m["query_id"] + "-deep", rank=[164, 43], rank_without_sid=[157, 122]
    )
    more = {
        "queries": pd.concat([QUERIES, QUERIES.assign(query_id=QUERIES["query_id"] + "-deep")]),
        "query_metrics": pd.concat([METRICS, METRICS.assign(query_id=METRICS["query_id"] + "-deep", difference=[-0.9, 0.9, 0, 0])]),
    }  # fmt: skip
    assert told(pd.concat([deep, MOVES]), **more)["query_id"].to_dict() == told()["query_id"].to_dict()
    assert told(deep, **more).loc[["won", "lost"], "query_id"].tolist() == ["q2-deep", "q1-deep"]


def test_without_traffic_or_moves_nothing_is_told() -> None:
    assert set(told(queries=QUERIES.assign(frequency=[0.0, 5.0, 0.0, 0.0])).index) == {"example"}
    empty = stories_table(MOVES.iloc[:0], BEAMS.iloc[:3], METRICS, QUERIES, LABELS)
    assert empty.empty
    assert tuple(empty.columns) == STORY_COLUMNS


def test_every_story_of_a_run_is_what_its_answers_say(trained: Trained) -> None:
    """Ranks, amounts and rules of every story, recomputed by SQL over the published snapshot."""
    file = trained.workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"
    with duckdb.connect(str(file), read_only=True) as connection:
        stories = connection.execute("SELECT * FROM stories WHERE run_id = ?", [trained.dsirm_run]).df()
        assert set(stories["kind"]) >= {"example", "lost"}
        for row in stories[stories["item_id"].notna()].to_dict("records"):
            [(rank, without, level, frequency, grade)] = connection.execute(
                """
                SELECT s.rank, s.rank_without_sid, s.match_level, q.frequency, j.grade
                FROM scores s JOIN queries q USING (query_id) JOIN judgments j USING (query_id, item_id)
                WHERE s.run_id = $run AND s.query_id = $query AND s.item_id = $item
                """,
                {"run": trained.dsirm_run, "query": row["query_id"], "item": row["item_id"]},
            ).fetchall()
            assert (row["rank"], row["rank_without_sid"]) == (rank, without)
            assert frequency > 0
            assert grade >= 2
            rose = rank < without
            sums = connection.execute(
                f"""
                SELECT c.item_id,
                       sum(c.value) FILTER (starts_with(c.feature, 'sid_')),
                       sum(c.value) FILTER (NOT starts_with(c.feature, 'sid_')),
                       sum(c.value) FILTER (regexp_matches(c.feature, '^sid_[0-9]+.match$'))
                FROM contributions c JOIN scores s USING (run_id, query_id, item_id)
                WHERE c.run_id = $run AND c.query_id = $query AND (c.item_id = $item OR
                      s.rank {">" if rose else "<"} $rank AND s.rank_without_sid {"<" if rose else ">"} $without)
                GROUP BY c.item_id
                """,
                {"run": trained.dsirm_run, "query": row["query_id"], "item": row["item_id"], "rank": rank, "without": without},
            ).fetchall()  # fmt: skip
            own = next(each for each in sums if each[0] == row["item_id"])
            sid, other = (own[k] - np.mean([e[k] for e in sums if e[0] != row["item_id"]]) for k in (1, 2))
            assert (row["sid"], row["other"]) == pytest.approx((sid, other), abs=1e-9)
            words = [f"its SID {'adds' if sid >= 0 else 'takes'} {abs(sid):.2f}"]
            words += [
                f"all else {'adds' if other >= 0 else 'takes'} {abs(other):.2f}",
                f"from rank {without} to {rank}",
            ]
            assert all(each in row["sentence"] for each in words)
            if row["kind"] == "lost":
                assert sid < 0
            else:
                assert (sid > 0, level > 0, own[3] > 0) == (True, True, True)
            if row["kind"] != "example":
                assert abs(sid) >= abs(other)
