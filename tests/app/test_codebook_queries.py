"""Names in words, what conflicts under one SID: worked by hand, and against the tables themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from filled_snapshot import RUN

from app import health
from app.queries import codebook, names, sharing
from engine.store.building import SCHEMA

Cursor = duckdb.DuckDBPyConnection


@pytest.fixture
def small() -> Iterator[Cursor]:
    """Two levels; SID 1-1 holds A, B, C, SID 1-2 holds D, E of two categories; relevant from grade 2."""
    with duckdb.connect() as connection:
        connection.execute(Path(SCHEMA).read_text(encoding="utf-8"))
        connection.execute(
            """
            INSERT INTO snapshot (snapshot_id, schema_version, created_at, dataset, fingerprint, relevant_grade)
            VALUES ('s', 7, now()::TIMESTAMP, 'd', 'f', 2);
            INSERT INTO codes (run_id, level, prefix, parent, code, label, n_items, n_categories, top_category, exposure, exposure_without) VALUES
                ('r', 1, '1', NULL, 1, 'TV Stands', 5, 2, 'Furniture > TV Stands', .5, .4),
                ('r', 2, '1-1', '1', 1, 'oakridge · pine', 3, 1, 'Furniture > TV Stands', .3, .3),
                ('r', 2, '1-2', '1', 2, NULL, 2, 2, 'Furniture > TV Stands', .2, .1),
                ('r', 1, '11', NULL, 11, 'Lamps', 0, 0, NULL, 0, 0);
            INSERT INTO items (item_id, title, category) VALUES ('A', 'a', 'x'), ('B', 'b', 'x'), ('C', 'c', 'x'), ('D', 'd', 'x'), ('E', 'e', 'y');
            INSERT INTO sids (run_id, item_id, sid, codes) VALUES ('r', 'A', '1-1', [1, 1]), ('r', 'B', '1-1', [1, 1]), ('r', 'C', '1-1', [1, 1]),
                ('r', 'D', '1-2', [1, 2]), ('r', 'E', '1-2', [1, 2]), ('other', 'A', '1-1', [1, 1]);
            INSERT INTO sid_sharing VALUES ('r', '1-1', 3, 1, 1, true, 'grades'), ('r', '1-2', 2, 2, 0, true, 'categories'),
                ('other', '1-1', 9, 1, 9, true, 'grades');
            INSERT INTO queries (query_id, text, frequency) VALUES ('q', 'pine stand', 5), ('p', 'stand', 9);
            INSERT INTO judgments (query_id, item_id, grade) VALUES ('q', 'A', 3), ('q', 'B', 2), ('q', 'C', 1), ('p', 'A', 3), ('p', 'B', 2), ('p', 'D', 0);
            """
        )
        yield connection


class TestNames:
    def test_a_name_is_the_labels_of_its_levels(self, small: Cursor) -> None:
        assert names.names(small, "r", "1-1", ()) == ["TV Stands", "oakridge, pine"]
        assert names.names(small, "r", "1-2", ()) == ["TV Stands", "code 1-2"]
        assert names.names(small, "r", "11", ()) == ["Lamps"], "'1' is no ancestor of '11'"
        assert names.names(small, "r", "9-9", ()) == []

    def test_what_people_named_stands_for_the_label_on_every_level_below(self, small: Cursor) -> None:
        given = (("1", "Media <b>furniture</b>"),)
        rows = codebook.codes(small, "r", codebook.Wanted(2), given, 10, 0)
        assert list(rows["path"]) == ["Media <b>furniture</b> > oakridge, pine", "Media <b>furniture</b> > code 1-2"]
        assert list(rows["name"]) == ["oakridge, pine", "code 1-2"]
        assert list(rows["inside"]) == ["Media <b>furniture</b>"] * 2
        assert codebook.count_codes(small, "r", codebook.Wanted(0, "media PINE"), given) == 1
        assert codebook.count_codes(small, "r", codebook.Wanted(0, "media PINE"), ()) == 0

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (codebook.Wanted(0, "stands"), ["1", "1-1", "1-2"]), (codebook.Wanted(2, "tv oakridge"), ["1-1"]),
            (codebook.Wanted(0, "1-2"), ["1-2"]), (codebook.Wanted(0, "oakridge lamps"), []), (codebook.Wanted(0, "", True), ["1", "1-2"]),
            (codebook.Wanted(1, "lamps", True), []),
        ],
    )  # fmt: skip
    def test_codes_are_found_by_words_of_their_names(
        self, small: Cursor, wanted: codebook.Wanted, found: list[str]
    ) -> None:
        assert sorted(codebook.codes(small, "r", wanted, (), 10, 0)["prefix"]) == found
        assert codebook.count_codes(small, "r", wanted, ()) == len(found)

    def test_words_for_suggestions(self, small: Cursor) -> None:
        assert names.words(small, "r", 2, (("1-2", "drawers, oak"),)) == [
            "Furniture", "TV Stands", "drawers", "oak", "oakridge", "pine",
        ]  # fmt: skip


class TestConflicts:
    def test_each_pair_that_a_query_tells_apart(self, small: Cursor) -> None:
        assert sharing.count_conflicts(small, "r", "") == (2, 1, 1), "of A, B relevant and C not, for q alone"
        rows = sharing.conflicts(small, "r", "1-1", 10, 0)
        assert rows[["query", "relevant_id", "relevant_grade", "other_id", "other_grade"]].to_numpy().tolist() == [
            ["pine stand", "A", 3.0, "C", 1.0], ["pine stand", "B", 2.0, "C", 1.0],
        ]  # fmt: skip
        assert sharing.count_conflicts(small, "r", "1-2") == (0, 0, 0)

    def test_items_of_several_categories(self, small: Cursor) -> None:
        assert sharing.count_mixed(small, "r", "") == 2
        assert sharing.mixed(small, "r", "1", 10, 0)[["sid", "category", "title"]].to_numpy().tolist() == [
            ["1-2", "x", "d"], ["1-2", "y", "e"],
        ]  # fmt: skip
        assert sharing.count_mixed(small, "r", "1-1") == 0

    def test_counts_by_reason(self, small: Cursor) -> None:
        assert sharing.sharing(small, "r", "") == {
            "n": 2, "items": 5, "n_grades": 1, "items_grades": 3, "n_categories": 1, "items_categories": 2,
        }  # fmt: skip
        assert sharing.sharing(small, "r", "9") == {"n": 0, "items": 0}

    def test_harmful_ones_alone_and_first(self, cursor: Cursor) -> None:
        counts = sharing.sharing(cursor, RUN, "")
        rows = sharing.shared(cursor, RUN, "", False, (), 1_000, 0)
        assert len(rows) == counts["n"]
        assert rows["harmful"].is_monotonic_decreasing
        alone = sharing.shared(cursor, RUN, "", True, (), 1_000, 0)
        assert list(alone["sid"]) == list(rows.loc[rows["harmful"], "sid"])
        assert len(alone) == counts.get("n_grades", 0) + counts.get("n_categories", 0)


class TestHealthInWords:
    @staticmethod
    def rows(*measures: tuple[int | None, str, float, float | None, str, str | None]) -> pd.DataFrame:
        return pd.DataFrame(measures, columns=["level", "metric", "value", "threshold", "verdict", "note"])

    def test_a_bottleneck_says_why_and_against_which_bar(self) -> None:
        note = "against the deeper level alone: level 1 follows the categories"
        (said,) = health.sentences(self.rows((2, "hourglass", 0.062, 0.05, "warn", note)))
        assert said.verdict == "warn"
        assert said.words == (
            "Level 2 is a mild bottleneck, because its codes are used less evenly than those of the deeper level (level 1 follows "
            "the categories and does not count): hourglass index 0.062, good up to 0.05."
        )
        (said,) = health.sentences(self.rows((2, "hourglass", 0.2, 0.05, "bad", None)))
        assert (
            "a serious bottleneck, because its codes are used less evenly than those of the levels beside it"
            in said.words
        )

    def test_what_is_well_is_said_first_and_poor_before_watch(self) -> None:
        said = health.sentences(
            self.rows(
                (2, "utilisation", 1.0, 0.95, "good", None), (3, "utilisation", 0.99, 0.95, "good", None),
                (2, "perplexity_ratio", 0.5, 0.7, "warn", None), (2, "perplexity", 4.0, None, "info", None),
                (None, "harmful_share", 0.3, 0.02, "bad", None), (None, "aliasing", 0.7, 0.5, "warn", None),
                (None, "largest_bucket", 84, 30, "warn", None), (1, "utilisation", 0.2, 0.95, "info", None),
            )
        )  # fmt: skip
        assert [s.verdict for s in said] == ["good", "bad", "warn", "warn"]
        assert said[0].words == "Nearly all codes are in use (levels 2 and 3)."
        assert said[1].words.startswith("30.0 % of all items are under a SID that holds items of different categories")
        assert (
            "as if only 4.000 codes were in use, 0.500 of the level's size (perplexity / size, good from 0.7)"
            in said[2].words
        )
        assert said[3].words == (
            "Items are crowded under few SIDs: 70.0 % share their whole SID with another (aliasing, good up to 50.0 %) and the most "
            "crowded SID holds 84 (good up to 30). Between alike items sharing is wanted; 30.0 % of all items are under one that does harm."
        )

    def test_every_measure_with_a_bar_has_a_sentence(self) -> None:
        from engine.audit.health import BARS

        told = {
            "dead_code_share": "utilisation",
            "largest_bucket_share": "largest_bucket",
            "neighbour_lift": "neighbour_agreement",
        }
        for bar in BARS:
            metric = told.get(bar, bar)
            for verdict in ("warn", "bad"):
                (said,) = health.sentences(self.rows((2, metric, 0.5, 0.7, verdict, None)))
                assert said.verdict == verdict
                assert "good " in said.words

    def test_nothing_judged_says_nothing(self) -> None:
        assert health.sentences(self.rows((1, "utilisation", 1.0, 0.95, "info", None))) == []
