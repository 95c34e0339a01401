"""Every sentence and count of the Overview, computed again from the snapshot: see `true_page` for which one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from told import find, told

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]


def pp(value: float, digits: int = 2) -> str:
    return f"{100 * value:+.{digits}f} pp"


def span(low: float, high: float) -> str:
    return f"[{100 * low:+.2f}, {100 * high:+.2f}] pp"


def seen(low: float, high: float) -> str:
    return (
        "better, interval clear of zero"
        if low > 0
        else "worse, interval clear of zero"
        if high < 0
        else "not separable from zero"
    )


@pytest.fixture
def run(sql: Sql) -> str:
    return str(sql("SELECT default_run FROM snapshot")[0][0])


@pytest.fixture
def page(true_page: Page) -> AppTest:
    opened = true_page("overview")
    assert not opened.exception
    return opened


class TestOpening:
    def test_the_catalogue(self, page: AppTest, sql: Sql) -> None:
        (name,) = sql("SELECT dataset FROM snapshot")[0]
        counts = sql(
            "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM queries), (SELECT count(*) FROM judgments)"
        )
        items, queries, judgments = counts[0]
        assert find(
            page, f"^{name}: {items:,} items, {queries:,} queries, {judgments:,} judgments, [\\d,]+ interactions\\.$"
        )

    def test_the_example(self, page: AppTest, sql: Sql, run: str) -> None:
        rows = sql(
            """SELECT s.query_id, q.text, q.frequency, i.title, d.sid, c.rank, c.rank_without_sid
               FROM stories s JOIN queries q USING (query_id) JOIN items i USING (item_id) JOIN sids d USING (run_id, item_id)
               JOIN scores c USING (run_id, query_id, item_id) WHERE s.run_id = ? AND s.kind = 'example'""",
            run,
        )
        if not rows:
            return
        query_id, asked, frequency, title, sid, rank, before = rows[0]
        lines = told(page)
        assert asked in lines
        assert title in lines
        assert f"asked {frequency:,.0f} {'time' if frequency == 1 else 'times'} in the search log" in lines
        assert f"{before} without SIDs → {rank} with SIDs: ▲ {before - rank} up" in lines
        beams = {
            b: p for b, p in sql("SELECT sid, log_prob FROM beams WHERE run_id = ? AND query_id = ?", run, query_id)
        }
        paths = ["-".join(sid.split("-")[:level]) for level in range(1, len(sid.split("-")) + 1)]
        matched = max(
            (i for i, p in enumerate(paths, 1) if any(b == p or b.startswith(f"{p}-") for b in beams)), default=0
        )
        (codes,) = [line for line in lines if f"✓ {paths[0]} " in line and "likely" not in line]
        for level, path in enumerate(paths, 1):
            label, n = sql("SELECT label, n_items FROM codes WHERE run_id = ? AND prefix = ?", run, path)[0]
            mark = "✓" if level <= matched else "✗"
            assert f"{mark} {path.split('-')[-1]} {label or 'no name'} · {n:,} {'item' if n == 1 else 'items'}" in codes
        (guesses,) = [line for line in lines if "% likely" in line]
        shown = [b for b in beams if f"{b} " in guesses and f"{100 * math.exp(beams[b]):.1f} % likely" in guesses]
        assert len(shown) >= min(3, len(beams))

    def test_stories_move_as_they_say(self, page: AppTest, sql: Sql, run: str) -> None:
        for sentence, before, rank, sid in sql(
            """SELECT s.sentence, c.rank_without_sid, c.rank, s.sid FROM stories s JOIN scores c USING (run_id, query_id, item_id)
               WHERE s.run_id = ?""",
            run,
        ):
            plain = " ".join(sentence.split())
            assert plain in told(page)
            assert f"from rank {before} to {rank}:" in plain
            assert f"its SID {'adds' if sid >= 0 else 'takes'} {abs(sid):.2f}" in plain


class TestBenefit:
    @pytest.mark.parametrize("metric", ["auc", "ndcg@10"])
    def test_with_without_twins_and_placebo(self, page: AppTest, sql: Sql, run: str, metric: str) -> None:
        (ranker, baseline) = sql("SELECT ranker, baseline FROM runs WHERE run_id = ?", run)[0]
        lines = told(page)

        def test(a: str, b: str) -> tuple[float, float, float, float, int] | None:
            sides = [(a, b, 1), (b, a, -1)]
            for one, other, sign in sides:
                rows = sql(
                    """SELECT difference, low, high, p_value, n FROM comparisons
                       WHERE run_id = ? AND ranker = ? AND baseline = ? AND metric = ? AND segment = 'all'""",
                    run, one, other, metric,
                )  # fmt: skip
                if rows:
                    d, low, high, p, n = rows[0]
                    return (d, low, high, p, n) if sign > 0 else (-d, -high, -low, p, n)
            return None

        sids = test(ranker, baseline)
        if sids is None:
            return
        difference, low, high, p, n = sids
        name = {"auc": "Relevant above irrelevant (AUC)", "ndcg@10": "Order of the first ten (nDCG@10)"}[metric]
        if n < 30:
            assert f"{name}: n too small." in lines
            return
        chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
        assert f"{name}: {seen(low, high)} (paired by query, {chance})." in lines
        for side, label in ((ranker, "with SIDs"), (baseline, "without SIDs")):
            value, a, b = sql(
                "SELECT value, low, high FROM metrics WHERE run_id = ? AND metric = ? AND segment = 'all'",
                run, f"{side}.{metric}",
            )[0]  # fmt: skip
            assert f"{label}: {value:.3f}" in lines
            assert f"95 % interval [{a:.3f}, {b:.3f}] · n = {n:,} queries" in lines
        assert f"difference: {pp(difference)}" in lines
        assert f"95 % interval {span(low, high)} · n = {n:,} queries" in lines
        twin, placebo = {"rich": ("twins", "rich_placebo"), "sid": ("control", "placebo")}[ranker]
        if (alike := test(twin, baseline)) and (beyond := test(ranker, twin)):
            assert (
                f"{pp(alike[0])} {span(alike[1], alike[2])} the same ideas without SIDs (dense twins); SIDs beyond them "
                f"{pp(beyond[0])} {span(beyond[1], beyond[2])}, {seen(beyond[1], beyond[2])}."
            ) in lines
            if metric == "ndcg@10":
                start = (
                    "SIDs help" if low > 0 else "SIDs harm" if high < 0 else "No effect of SIDs can be told from chance"
                )
                end = (
                    "which is less: codes add to them" if beyond[1] > 0
                    else "which is more: codes take from them" if beyond[2] < 0
                    else "that codes add to them cannot be shown"
                )  # fmt: skip
                assert (
                    f"{start}: {name} {pp(difference)} {span(low, high)}. The same ideas without SIDs (dense twins) give "
                    f"{pp(alike[0])} {span(alike[1], alike[2])}: {end}."
                ) in lines
        if shuffled := test(placebo, baseline):
            assert (
                f"{pp(shuffled[0])} {span(shuffled[1], shuffled[2])} shuffled SIDs (placebo), which must give nothing: "
                f"{seen(shuffled[1], shuffled[2])}."
            ) in lines

    def test_the_simulation_in_one_line(self, page: AppTest, sql: Sql, run: str) -> None:
        rows = sql(
            """SELECT metric, relative, relative_low, relative_high, effective_n FROM online
               WHERE run_id = ? AND scenario = 'estimate'""",
            run,
        )
        if not rows:
            assert not [line for line in told(page) if line.startswith("Simulated, not measured")]
            return
        line = find(page, "^Simulated, not measured: (.*)$")[1]
        for metric, value, low, high, effective in rows:
            words = {"uctr": "sessions with a click", "uctcvr": "sessions with a purchase"}[metric]
            said = f"{words} {100 * value:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}] %"
            assert (said in line) == (effective >= 30)
            assert ("n too small" in line) == (effective < 30)
        unclear = all(low <= 0 <= high for _, _, low, high, _ in rows)
        assert ("not separable from zero" in line) == (unclear and rows[0][4] >= 30)


class TestFindings:
    """The headlines, recounted; that every row stored is on the page; that the order is by urgency."""

    def test_every_finding_is_on_the_page(self, page: AppTest, sql: Sql, run: str) -> None:
        lines = told(page)
        rows = sql("SELECT severity, title, detail, member, kind FROM findings WHERE run_id = ? ORDER BY position", run)
        assert rows
        for _, title, detail, _, _ in rows:
            assert " ".join(f"{title} {f':small[{detail}]' if detail else ''}".split()) in lines
        heads = [word for word, _, _, member, _ in rows if member == 0]
        words = {
            "act": "to act on",
            "watch": "to watch",
            "note": "to note",
            "unknown": "with too few observations to tell",
            "good": "well",
        }
        said = [f"{heads.count(word)} {meaning}" for word, meaning in words.items() if word in heads]
        joined = " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)
        assert f"Of {len(heads)} {'thing' if len(heads) == 1 else 'things'} looked at: {joined}." in lines
        assert heads == sorted(heads, key=list(words).index)

    def test_queries(self, sql: Sql, run: str) -> None:
        headline = self.headline(sql, run, "queries")
        n, fell, rose = sql(
            """SELECT count(*), count(*) FILTER (difference <= -0.05), count(*) FILTER (difference >= 0.05)
               FROM query_metrics WHERE run_id = ? AND metric = 'ndcg@10'""",
            run,
        )[0]
        if headline is None:
            assert n == 0
            return
        title, detail, _, _ = headline
        assert title == f"{fell:,} of {n:,} judged test queries lose 0.05 of nDCG@10 or more; {rose:,} gain as much"
        known, share, effective = sql(
            """SELECT count(*), sum(q.frequency) / (SELECT sum(frequency) FROM queries), sum(q.frequency) ** 2 / sum(q.frequency ** 2)
               FROM query_metrics m JOIN queries q USING (query_id)
               WHERE m.run_id = ? AND m.metric = 'ndcg@10' AND q.frequency > 0""",
            run,
        )[0]
        assert detail.startswith(
            f"{known:,} of them are in the search log, with {100 * (share or 0):.1f} % of all searches"
        )
        if (effective or 0) < 30:
            assert f"worth {effective or 0:.0f} equally frequent queries" in detail

    def test_page_one(self, sql: Sql, run: str) -> None:
        headline = self.headline(sql, run, "page one")
        there, left, came, n = sql(
            """SELECT count(*) FILTER (rank_without_sid <= 10),
                      count(*) FILTER (rank_without_sid <= 10 AND NOT coalesce(rank <= 10, false)),
                      count(*) FILTER (rank <= 10 AND NOT coalesce(rank_without_sid <= 10, false)), count(DISTINCT query_id)
               FROM loss_ledger WHERE run_id = ?""",
            run,
        )[0]
        if headline is None:
            assert there == 0
            return
        title, detail, _, _ = headline
        assert title == f"Page one: {left:,} of {there:,} relevant items leave it with SIDs; {came:,} come onto it"
        assert f"{n:,} judged queries" in detail
        assert n < 30 or detail.startswith(f"net {pp((came - left) / there)} [")

    @pytest.mark.parametrize(
        ("dimension", "kind"),
        [("seller", "sellers"), ("category", "categories"), ("brand", "brands"), ("price_band", "price bands"), ("age", "new and old items")],
    )  # fmt: skip
    def test_exposure(self, sql: Sql, run: str, dimension: str, kind: str) -> None:
        headline = self.headline(sql, run, kind)
        n, known = sql(
            """SELECT count(*), count(*) FILTER (effective_n >= 30) FROM exposure
               WHERE run_id = ? AND discount = 'log2' AND dimension = ? AND value <> '(unknown)'""",
            run, dimension,
        )[0]  # fmt: skip
        if headline is None:
            assert n == 0
            return
        title, detail, _, _ = headline
        lost = sql(
            """SELECT value, share_without, difference, low, high FROM exposure
               WHERE run_id = ? AND discount = 'log2' AND dimension = ? AND value <> '(unknown)' AND effective_n >= 30
                 AND q_value <= 0.05 AND difference < 0""",
            run, dimension,
        )  # fmt: skip
        large = [row for row in lost if -row[2] / row[1] >= 0.05]
        name = kind[0].upper() + kind[1:]
        if not known:
            assert title == f"{name}: too few queries to tell whether any of {n:,} loses exposure"
            return
        if known < n:
            assert detail.endswith(f"; for {n - known:,} the queries are too few to tell")
        if not large:
            assert title == f"{name}: none of {n:,} clearly loses 5 % of its exposure or more"
            most = max(lost, key=lambda row: -row[2] / row[1], default=None)
            assert detail.startswith(
                "no loss is clear" if most is None
                else f"the most that one clearly loses: {most[0]}, {-100 * most[2] / most[1]:.1f} % of its own"
            )  # fmt: skip
            return
        loses = "loses 5 % of its" if len(large) == 1 else "lose 5 % of their"
        assert title == f"{name}: {len(large):,} of {n:,} clearly {loses} exposure or more"
        together, held = sum(row[2] for row in large), sum(row[1] for row in large)
        assert detail.startswith(
            f"together {pp(together, 3)} of all exposure: {-100 * together / held:.1f} % of the {100 * held:.2f} %"
        )
        for title, detail, severity, params in self.members(sql, run, kind):
            value = json.loads(params)["value"]
            (row,) = [row for row in large if row[0] == value]
            relative = -row[2] / row[1]
            assert title == f"{value} loses {100 * relative:.1f} % of its exposure"
            assert f"{pp(row[2], 3)} [{100 * row[3]:+.3f}, {100 * row[4]:+.3f}]" in detail
            large_enough = relative >= 0.05 and -row[2] >= 0.0001
            assert severity in (("act", "watch") if large_enough else ("note",))

    def test_coverage(self, sql: Sql, run: str) -> None:
        headline = self.headline(sql, run, "coverage")
        judged, open_ = sql(
            "SELECT count(*) FILTER (protected <> 'n too small'), count(*) FILTER (protected = 'no') FROM coverage WHERE run_id = ?",
            run,
        )[0]  # fmt: skip
        if headline is None:
            return
        many = "judged category" if judged == 1 else "judged categories"
        end = "is not protected" if open_ == 1 else "are not protected" if open_ else "is unprotected"
        assert not judged or headline[0] == f"Coverage: {open_ or 'none'} of {judged:,} {many} {end}"

    def test_sharing(self, sql: Sql, run: str) -> None:
        headline = self.headline(sql, run, "sharing")
        shared, harmful, items, exposure = sql(
            """SELECT count(*), count(*) FILTER (s.harmful), sum(s.n_items) FILTER (s.harmful), sum(c.exposure) FILTER (s.harmful)
               FROM sid_sharing s LEFT JOIN codes c ON c.run_id = s.run_id AND c.prefix = s.sid WHERE s.run_id = ?""",
            run,
        )[0]  # fmt: skip
        assert headline is not None
        many = "shared SID" if shared == 1 else "shared SIDs"
        assert headline[0].startswith(f"Sharing: {harmful or 'none'} of {shared:,} {many} ")
        if harmful:
            many = "item" if items == 1 else "items"
            assert headline[1].startswith(f"{items:,} {many}, {100 * (exposure or 0):.1f} % of all exposure")
        (unjudged,) = sql("SELECT count(*) FROM sid_sharing WHERE run_id = ? AND reason = 'unjudged'", run)[0]
        assert (f"{unjudged:,} other" in headline[1]) == (unjudged > 0)

    def headline(self, sql: Sql, run: str, kind: str) -> tuple[Any, ...] | None:
        rows = sql(
            "SELECT title, detail, severity, params FROM findings WHERE run_id = ? AND kind = ? AND member = 0",
            run,
            kind,
        )
        return rows[0] if rows else None

    def members(self, sql: Sql, run: str, kind: str) -> list[tuple[Any, ...]]:
        return sql(
            "SELECT title, detail, severity, params FROM findings WHERE run_id = ? AND kind = ? AND member > 0",
            run,
            kind,
        )


class TestLights:
    def test_codes_in_use(self, page: AppTest, sql: Sql, run: str) -> None:
        level, value = sql(
            """SELECT level, value FROM health WHERE run_id = ? AND metric = 'utilisation' AND NOT by_construction
               ORDER BY list_position(['bad', 'warn', 'good', 'info'], verdict), value LIMIT 1""",
            run,
        )[0]
        assert f"{100 * value:.1f} % of the codes of level {level}, the least used level" in told(page)

    def test_unlike_items_under_one_sid(self, page: AppTest, sql: Sql, run: str) -> None:
        shared, harmful, items = sql(
            "SELECT count(*), count(*) FILTER (harmful), coalesce(sum(n_items) FILTER (harmful), 0) FROM sid_sharing WHERE run_id = ?",
            run,
        )[0]  # fmt: skip
        (n,) = sql("SELECT count(*) FROM sids WHERE run_id = ?", run)[0]
        assert (
            f"{100 * items / n:.1f} % of items share a SID with items unlike them ({harmful:,} of {shared:,} shared SIDs)"
        ) in told(page)

    def test_small_categories(self, page: AppTest, sql: Sql, run: str) -> None:
        counts = dict(
            sql("SELECT protected, count(*) FROM coverage WHERE run_id = ? AND tier = 'tail' AND protected IS NOT NULL GROUP BY 1", run)
        )  # fmt: skip
        if counts:
            no, yes, small = (counts.get(word, 0) for word in ("no", "yes", "n too small"))
            more = f"; {small} too small to judge" if small else ""
            assert f"{no} of {yes + no} tail categories judged are not protected{more}" in told(page)

    def test_guessed_sids_exist(self, page: AppTest, sql: Sql, run: str) -> None:
        (missing,) = sql("SELECT count(*) FROM beams WHERE run_id = ? AND n_items = 0", run)[0]
        assert missing == 0
        assert find(page, r"^100\.0 % of the guessed SIDs \(beams\) exist in the catalogue")

    def test_exposure_in_few_hands(self, page: AppTest, sql: Sql, run: str) -> None:
        found = find(page, r"^Unevenness over sellers \(Gini\) ([\d.]+) with SIDs, ([\d.]+) without")
        for share, said in (("share", found[1]), ("share_without", found[2])):
            shares = sorted(
                value for (value,) in sql(
                    f"SELECT {share} FROM exposure WHERE run_id = ? AND discount = 'log2' AND dimension = 'seller' "
                    "AND value <> '(unknown)'", run,
                )
            )  # fmt: skip
            n, total = len(shares), sum(shares)
            gini = 2 * sum(i * x for i, x in enumerate(shares, 1)) / (n * total) - (n + 1) / n
            assert float(said) == pytest.approx(gini, abs=6e-4)


class TestDetails:
    def test_kinds_of_queries(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("overview", details="Kinds of queries", metric="auc")
        (n, large) = sql(
            """SELECT count(*), count(*) FILTER (n >= 30) FROM comparisons c JOIN runs r USING (run_id, ranker, baseline)
               WHERE c.run_id = ? AND c.metric = 'auc' AND NOT starts_with(c.segment, 'split')""",
            run,
        )[0]
        if large >= 2:
            assert find(page, f"^{n} segments, all test queries")
            for segment, name in (("tier=tail", "Tail queries"), ("category_tier=tail", "Tail categories")):
                for difference, low, high, count in sql(
                    """SELECT c.difference, c.low, c.high, c.n FROM comparisons c JOIN runs r USING (run_id, ranker, baseline)
                       WHERE c.run_id = ? AND c.metric = 'auc' AND c.segment = ?""",
                    run,
                    segment,
                ):
                    words = (
                        f"{name}: {100 * difference:+.2f} pp [{100 * low:+.2f}, {100 * high:+.2f}] pp, "
                        f"{'better' if low > 0 else 'worse' if high < 0 else 'not separable from zero'}"
                        if count >= 30
                        else f"{name}: n too small (n = {count:.0f})"
                    )
                    assert any(words in line for line in told(page)), words

    def test_ranker_by_ranker(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("overview", details="Ranker by ranker", metric="ndcg@10")
        n, most = sql(
            "SELECT count(*), max(n) FROM metrics WHERE run_id = ? AND segment = 'all' AND metric LIKE '%.ndcg@10'", run
        )[0]
        if most >= 30:
            found = find(page, r"^(\d+) of (\d+) rankers, ([\d,]+) test queries, all")
            assert (int(found[2]), found[3]) == (n, f"{most:,}")

    def test_how_well_the_model_guesses(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("overview", details="How well the model guesses")
        hits = {
            segment: (level, value) for segment, level, value in sql(
                """SELECT segment, max_by(l, l), max_by(value, l) FROM (
                       SELECT segment, value, regexp_extract(metric, 'level_(\\d+)$', 1)::INTEGER AS l FROM metrics
                       WHERE run_id = ? AND n >= 30 AND regexp_matches(metric, '^hit@\\d+\\.level_\\d+$')) GROUP BY segment""",
                run,
            )
        }  # fmt: skip
        if {"all", "split=train", "split=train, out of fold"} <= set(hits):
            level, trained = hits["split=train"]
            apart = hits["split=train, out of fold"][1]
            assert find(
                page,
                f"^At level {level} the beams of a generator that was trained on a query hit {100 * trained:.1f} % of the time, "
                f"those of one that never saw it {100 * apart:.1f} % \\({100 * (trained - apart):+.2f} pp on the same queries\\)\\. "
                f"Test queries: {100 * hits['all'][1]:.1f} %\\.".replace("+", "\\+"),
            )

    def test_what_decides(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("overview", details="What decides a place")
        (share,) = sql(
            """SELECT sum(share) FILTER (starts_with(feature, 'sid_')) FROM drivers
               WHERE run_id = ? AND cohort = 'all' AND "value" = 'all'""",
            run,
        )[0]
        if share is not None and share >= 0.05:
            assert find(page, f"^What decides the place of any result.*semantic identifiers \\({100 * share:.0f} %\\)")

    def test_this_run(self, true_page: Page, sql: Sql, run: str) -> None:
        page = true_page("overview", details="This run")
        seed, sizes, queries = sql("SELECT seed, sizes, n_test_queries FROM runs WHERE run_id = ?", run)[0]
        assert find(page, f"^Run {run}: .* seed {seed}.*Codes per level {' × '.join(map(str, sizes))}")
        assert find(page, f"^Evaluation: \\w+, {queries:,} test queries$")


class TestTour:
    def test_it_leads_to_what_this_snapshot_holds(self, page: AppTest, sql: Sql, run: str) -> None:
        story = sql(
            """SELECT q.text, i.title, s.matched_prefix FROM stories s JOIN queries q USING (query_id) JOIN items i USING (item_id)
               WHERE s.run_id = ? AND s.kind = 'example'""",
            run,
        )
        assert [b for b in page.button if b.label == "Dismiss the tour"]
        if story:
            asked, title, prefix = story[0]
            (name,) = sql("SELECT label FROM codes WHERE run_id = ? AND prefix = ?", run, prefix.split("-")[0])[0]
            assert find(page, f"^3 · What the model guesses for “{asked[:30]}")
            assert title[:30] in find(page, "^4 · Why “(.*)” stands where it does")[1]
            assert name[:30] in find(page, "^2 · What every code means, like (.*)")[1]

    def test_dismissed_it_gives_way_to_a_way_back(self, page: AppTest) -> None:
        (dismiss,) = [b for b in page.button if b.label == "Dismiss the tour"]
        dismiss.click().run()
        assert not [b for b in page.button if b.label == "Dismiss the tour"]
        (again,) = [b for b in page.button if b.label == "Show the tour again"]
        again.click().run()
        assert [b for b in page.button if b.label == "Dismiss the tour"]
