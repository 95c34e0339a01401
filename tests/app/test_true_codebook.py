"""The Codebook says only what the snapshot holds: every sentence and count of it, recomputed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from told import find, told

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]
UNDER = "(s.sid = $1 OR starts_with(s.sid, $1 || '-'))"


@pytest.fixture(scope="module")
def run(sql: Sql) -> str:
    [(run,)] = sql("SELECT default_run FROM snapshot")
    return str(run)


@pytest.fixture(scope="module")
def chosen(sql: Sql, run: str) -> list[str]:
    """Codes of every kind: the largest of each level, one with conflicts, one that one item holds."""
    largest = sql("SELECT arg_max(prefix, n_items) FROM codes WHERE run_id = ? GROUP BY level ORDER BY level", run)
    conflicting = sql("SELECT arg_max(sid, n_conflicts) FROM sid_sharing WHERE run_id = ? AND n_conflicts > 0", run)
    single = sql("SELECT min(prefix) FROM codes WHERE run_id = ? AND n_items = 1 AND level > 1", run)
    return [str(prefix) for [prefix] in (*largest, *conflicting, *single) if prefix]


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def health(sql: Sql, run: str, metric: str, level: int | None) -> tuple[Any, ...]:
    [row] = sql(
        "SELECT value, threshold, verdict FROM health WHERE run_id = ? AND metric = ? AND level IS NOT DISTINCT FROM ?",
        run,
        metric,
        level,
    )
    return row


def health_lines(page: AppTest) -> list[str]:
    """The sentences on the codebook's health, from their first word on."""
    lines = [re.sub(r"^:\w+\[\] ?", "", line) for line in told(page)]
    return [line for line in lines if line.startswith(("Well:", "Poor:", "To watch:"))]


def name_of(sql: Sql, run: str, prefix: str) -> str:
    parts = prefix.split("-")
    labels = []
    for depth in range(1, len(parts) + 1):
        ancestor = "-".join(parts[:depth])
        [(label,)] = sql("SELECT label FROM codes WHERE run_id = ? AND prefix = ?", run, ancestor)
        labels.append(label.replace(" · ", ", ") if label else f"code {ancestor}")
    return " > ".join(labels)


class TestHealth:
    def test_each_verdict_that_is_not_good_is_told_with_its_own_numbers(
        self, true_page: Page, sql: Sql, run: str
    ) -> None:
        page = true_page("codebook")
        lines = health_lines(page)
        expected = sql(
            "SELECT metric, level, value, threshold, verdict FROM health WHERE run_id = ? AND verdict IN ('warn', 'bad')",
            run,
        )
        spoken = {
            "hourglass": ("bottleneck", "hourglass index {:.3f}"), "utilisation": ("leaves codes unused", None),
            "perplexity_ratio": ("few codes", "{:.3f} of the level's size"), "harmful_share": ("harmful sharing", None),
            "aliasing": ("share their whole SID", None), "largest_bucket": ("most crowded SID holds", "{:,.0f} (good"),
            "same_sid_others": ("drawn at random", None), "category_purity": ("mixes categories", None),
            "neighbour_agreement": ("parts items that are alike", None),
        }  # fmt: skip
        for metric, level, value, _, verdict in expected:
            if metric == "dead_codes":
                continue
            words, number = spoken[metric]
            own = [li for li in lines if words in li and (level is None or f"Level {level} " in li)]
            assert len(own) == 1, (metric, level, lines)
            assert not own[0].startswith("Well:")
            if metric not in ("aliasing", "largest_bucket", "same_sid_others"):
                assert own[0].startswith("Poor:" if verdict == "bad" else "To watch:")
            assert (number.format(value) if number else percent(value) if value <= 1 else f"{value:.1f}") in own[0]
        amiss = {(metric, level) for metric, level, *_ in expected}
        assert len([li for li in lines if not li.startswith("Well:")]) == len(
            {
                ("crowding", None) if m in ("aliasing", "largest_bucket", "same_sid_others") else (m, lv)
                for m, lv in amiss
                if m != "dead_codes"
            }
        )

    def test_what_is_well_names_the_levels_whose_verdict_is_good(self, true_page: Page, sql: Sql, run: str) -> None:
        good = dict(
            sql(
                "SELECT metric, list(level ORDER BY level) FROM health WHERE run_id = ? AND verdict = 'good' AND level IS NOT NULL GROUP BY 1",
                run,
            )
        )
        words = {
            "utilisation": "nearly all codes are in use", "perplexity_ratio": "items are spread evenly over codes", "hourglass": "no bottleneck",
            "category_purity": "codes keep categories apart", "neighbour_agreement": "items that are alike share codes",
        }  # fmt: skip
        well = [line for line in health_lines(true_page("codebook")) if line.startswith("Well:")]
        assert len(well) == bool(good)
        for metric, said in words.items():
            if metric in good:
                levels = [str(level) for level in good[metric]]
                listed = " and ".join([", ".join(levels[:-1]), levels[-1]] if len(levels) > 1 else levels)
                assert f"{said} (level{'s' if len(levels) > 1 else ''} {listed})" in well[0].lower()
            else:
                assert said not in "".join(well).lower()

    def test_the_expander_counts_the_verdicts(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("codebook")
        (label,) = [e.label for e in page.expander if "Every measure" in e.label]
        counted = [int(n) for n in re.findall(r"\d+", label)]
        shown = sql("SELECT verdict, count(*) FROM health WHERE run_id = ? GROUP BY 1", run)
        assert counted == [dict(shown).get(verdict, 0) for verdict in ("bad", "warn", "good")]


class TestCard:
    def test_name_counts_and_label(self, true_page: Page, sql: Sql, run: str, chosen: list[str]) -> None:
        for prefix in chosen:
            page = true_page("codebook", code=prefix, view="Shared SIDs")
            said = told(page)
            name = name_of(sql, run, prefix)
            [row] = sql(
                """
                SELECT count(*), count(DISTINCT s.sid), count(DISTINCT i.category), count(DISTINCT i.seller), count(DISTINCT i.brand),
                       mode(i.category), median(i.price)
                FROM sids s JOIN items i USING (item_id) WHERE s.run_id = $2 AND """ + UNDER, prefix, run,
            )  # fmt: skip
            n_items, n_sids, n_categories, n_sellers, n_brands, _, median = row
            at = said.index(f"Code {prefix}, level {prefix.count('-') + 1}")
            bold = [line for line in said[at:] if re.fullmatch(r"[\d.,]+( %)?|unknown", line)][:8]
            assert bold[:2] == [f"{n_items:,}", f"{n_sids:,}"]
            [(n_queries,)] = sql(
                f"SELECT count(DISTINCT s.query_id) FROM beams s WHERE s.run_id = $2 AND {UNDER}", prefix, run
            )
            assert bold[2] == f"{n_queries:,}"
            [(traffic,)] = sql(
                f"""SELECT coalesce(sum(frequency) FILTER (query_id IN (SELECT query_id FROM beams s WHERE s.run_id = $2 AND {UNDER})), 0)
                           / sum(frequency) FROM queries""", prefix, run,
            )  # fmt: skip
            assert bold[3] == percent(traffic)
            counted = "" if n_categories == 1 else f"{n_categories} categories, "
            sellers, brands = f"{n_sellers} seller{'s' * (n_sellers != 1)}", f"{n_brands} brand{'s' * (n_brands != 1)}"
            assert re.search(
                rf"; {counted}{sellers}, {brands}; price .*, median {median:,.2f}\.$", "\n".join(said), re.M
            )
            called = name.rpartition(" > ")[2] if prefix.count("-") else name
            assert any(called in line for line in said)
            [(score, n)] = sql(
                "SELECT label_score, label_items FROM codes WHERE run_id = ? AND prefix = ?", run, prefix
            )
            if score is None:
                assert any(
                    line.startswith(("How well the label fits was not measured", "It has no label")) for line in said
                )
            else:
                found = find(
                    page, r"^The computed label (.*): an item is .* label (.*) of the time \((\d+) items?, (.*);"
                )
                assert found[2] == percent(score)
                assert int(found[3]) == n
                assert found[4] == ("all" if n == n_items else f"of {n_items:,}")

    def test_terms_are_held_by_the_share_of_items_that_is_told(
        self, true_page: Page, sql: Sql, run: str, chosen: list[str]
    ) -> None:
        prefix = chosen[1]
        page = true_page("codebook", code=prefix, view="Shared SIDs")
        [(titles, names)] = sql(
            f"""SELECT list(lower(i.title)), list(lower(trim(string_split(i.category, ' > ')[-1])))
                FROM sids s JOIN items i USING (item_id) WHERE s.run_id = $2 AND {UNDER}""", prefix, run,
        )  # fmt: skip
        for term, share in re.findall(
            r"(?:Set apart by: |; )([^;]+?) \((\d+) % of its items\)", find(page, "^Set apart by: .*")[0]
        ):
            held = sum(term.rstrip("s") in title or term == name for title, name in zip(titles, names, strict=True))
            assert held / len(titles) >= int(share) / 100 - 0.005, (term, share)

    def test_place_among_siblings(self, true_page: Page, sql: Sql, run: str, chosen: list[str]) -> None:
        for prefix in chosen[:2]:
            rows = sql(
                "SELECT prefix FROM codes WHERE run_id = ? AND parent IS NOT DISTINCT FROM ? AND level = ? AND n_items > 0 ORDER BY code",
                run, prefix.rpartition("-")[0] or None, prefix.count("-") + 1,
            )  # fmt: skip
            place = [p for (p,) in rows].index(prefix) + 1
            assert f"{place:,} of {len(rows):,}" in told(true_page("codebook", code=prefix, view="Shared SIDs"))

    def test_an_item_says_how_many_share_its_sid(self, true_page: Page, sql: Sql, run: str) -> None:
        for order in ("DESC", "ASC"):
            [(item, sid)] = sql(
                f"SELECT item_id, sid FROM sids WHERE run_id = ? ORDER BY n_sharing {order}, item_id LIMIT 1", run
            )
            [(others,)] = sql("SELECT count(*) - 1 FROM sids WHERE run_id = ? AND sid = ?", run, sid)
            shared = (
                "held by this item alone" if not others else f"shared with {others:,} other item{'s' * (others != 1)}"
            )
            page = true_page("codebook", item=item, view="Shared SIDs")
            assert f"{name_of(sql, run, sid)} (SID {sid}, {shared})" in told(page)


REASONS = {
    "categories": "hold items? of different categories",
    "grades": "items of which one query found some relevant and others not",
    "alike": "items that were judged alike",
    "unjudged": "never judged",
}


class TestSharing:
    def test_shared_sids_by_what_their_items_and_judgments_say(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("codebook", view="Shared SIDs")
        found = find(page, r"^([\d,]+) SIDs? (?:is|are) held by two items or more \(([\d,]+) items\): (.*)\.$")
        [(n, items)] = sql(
            "SELECT count(*), sum(n) FROM (SELECT sid, count(*) AS n FROM sids WHERE run_id = ? GROUP BY 1 HAVING n > 1)",
            run,
        )
        assert [int(found[k].replace(",", "")) for k in (1, 2)] == [n, items]
        reasons = sql(
            """
            WITH held AS (SELECT s.sid, count(*) AS n, count(DISTINCT i.category) AS categories
                          FROM sids s JOIN items i USING (item_id) WHERE s.run_id = $1 GROUP BY 1 HAVING count(*) > 1),
                 pools AS (SELECT s.sid, j.query_id, count(*) AS n, count(*) FILTER (j.grade >= (SELECT relevant_grade FROM snapshot)) AS relevant
                           FROM sids s JOIN judgments j USING (item_id) WHERE s.run_id = $1 GROUP BY ALL HAVING count(*) > 1),
                 seen AS (SELECT sid, bool_or(relevant BETWEEN 1 AND n - 1) AS apart FROM pools GROUP BY 1)
            SELECT CASE WHEN categories > 1 THEN 'categories' WHEN apart THEN 'grades' WHEN seen.sid IS NOT NULL THEN 'alike'
                        ELSE 'unjudged' END AS reason, count(*) FROM held LEFT JOIN seen USING (sid) GROUP BY 1
            """, run,
        )  # fmt: skip
        for reason, words in REASONS.items():
            told_n = re.search(rf"([\d,]+) (?:holds?|was|were) ?(?:{words})", found[3])
            expected = dict(reasons).get(reason, 0)
            assert (int(told_n[1].replace(",", "")) if told_n else 0) == expected, (reason, found[3])

    def test_conflicts_are_pairs_that_a_query_graded_apart(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("codebook", view="Shared SIDs")
        expected = sql(
            """
            SELECT a.query_id, x.sid, a.item_id, a.grade, b.item_id, b.grade FROM judgments a JOIN judgments b ON a.query_id = b.query_id
            JOIN sids x ON x.item_id = a.item_id AND x.run_id = $1 JOIN sids y ON y.item_id = b.item_id AND y.run_id = $1 AND x.sid = y.sid
            WHERE a.grade >= (SELECT relevant_grade FROM snapshot) AND b.grade < (SELECT relevant_grade FROM snapshot)
            """, run,
        )  # fmt: skip
        assert expected, "the tiny marketplace has conflicts"
        found = find(page, r"^([\d,]+) pairs? of items in ([\d,]+) conflicts? .* of ([\d,]+) SIDs?\. Choose")
        said = [int(found[k].replace(",", "")) for k in (1, 2, 3)]
        assert said == [len(expected), len({(q, s) for q, s, *_ in expected}), len({s for _, s, *_ in expected})]
        [(stored,)] = sql("SELECT sum(n_conflicts) FROM sid_sharing WHERE run_id = ?", run)
        assert said[1] == stored
        shown = next(d.value for d in page.dataframe if "relevant_title" in d.value)
        columns = ["query_id", "sid", "relevant_id", "relevant_grade", "other_id", "other_grade"]
        assert set(map(tuple, shown[columns].to_numpy().tolist())) == set(expected)
        titles = dict(sql("SELECT item_id, title FROM items"))
        texts = dict(sql("SELECT query_id, text FROM queries"))
        for row in shown.head(20).itertuples():
            assert (row.relevant_title, row.other_title) == (titles[row.relevant_id], titles[row.other_id])
            assert row.query == texts[row.query_id]

    def test_a_card_speaks_of_its_own_code_alone(self, true_page: Page, sql: Sql, run: str) -> None:
        [(sid, n, conflicts)] = sql(
            "SELECT sid, n_items, n_conflicts FROM sid_sharing WHERE run_id = ? ORDER BY n_conflicts DESC, sid LIMIT 1",
            run,
        )
        page = true_page("codebook", code=sid, card="Sharing", view="Table")
        assert any(
            line.startswith(f"1 SID is held by two items or more ({n:,} items): 1 holds ") for line in told(page)
        )
        assert int(find(page, r"pairs? of items in (\d+) conflicts?")[1]) == conflicts


class TestTable:
    def test_codes_of_a_level_by_name(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("codebook", view="Table", level="2")
        rows = next(d.value for d in page.dataframe if "inside" in d.value)
        [(n,)] = sql("SELECT count(*) FROM codes WHERE run_id = ? AND level = 2", run)
        assert len(rows) == n
        for row in rows.head(10).itertuples():
            assert f"{row.inside} > {row.name}" == name_of(sql, run, row.prefix)
            [(items, categories)] = sql(
                f"SELECT count(*), count(DISTINCT i.category) FROM sids s JOIN items i USING (item_id) WHERE s.run_id = $2 AND {UNDER}",
                row.prefix, run,
            )  # fmt: skip
            assert (row.n_items, row.n_categories) == (items, categories)

    def test_mixed_codes_only(self, true_page: Page, sql: Sql, run: str) -> None:
        for level in ("1", "2"):
            page = true_page("codebook", view="Table", level=level, mixed="true")
            [(mixed,)] = sql(
                "SELECT count(*) FROM codes WHERE run_id = ? AND level = ? AND n_categories > 1", run, int(level)
            )
            frames = [d.value for d in page.dataframe if "inside" in d.value]
            assert sum(len(frame) for frame in frames) == mixed
            if not mixed:
                assert any(f"No code of level {level} mixes categories" in line for line in told(page))

    def test_words_for_a_code_find_it(self, true_page: Page, sql: Sql, run: str) -> None:
        [(label, prefix)] = sql(
            "SELECT label, prefix FROM codes WHERE run_id = ? AND level = 1 ORDER BY n_items DESC LIMIT 1", run
        )
        word = max(re.findall(r"\w+", label), key=len)
        rows = next(d.value for d in true_page("codebook", code=word).dataframe if "inside" in d.value)
        assert prefix in set(rows["prefix"])
        assert all(word.lower() in f"{row.path} {row.top_category} {row.label}".lower() for row in rows.itertuples())
