"""Every sentence and count of the Explain page, recomputed from SQL."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from told import find, plain, told

from engine.relevance.attribution import GROUPS
from engine.relevance.trees import TreeScorer

Sql = Callable[..., list[tuple[Any, ...]]]
Page = Callable[..., AppTest]
NAMES = {
    "dm": "text similarity", "mm_dm": "image match", "ct": "category agreement", "qs": "word match",
    "own": "what the item itself tells", "match": "SIDs: match with a beam", "logp": "SIDs: generator's probability",
    "memory": "SIDs: memory of past queries", "cluster": "SIDs: words under the code", "list": "SIDs: share of the result list",
}  # fmt: skip
DENSE = [c for columns in GROUPS.values() for c in columns]


class Pair(NamedTuple):
    run: str
    query: str
    item: str


@pytest.fixture(params=["matched", "unmatched", "far down"])
def pair(request: pytest.FixtureRequest, sql: Sql) -> Pair:
    """A pair whose contributions are stored: one that a beam matches, one that none does, one beyond the first ten."""
    condition = {
        "matched": "s.match_level > 0 AND s.rank = 4",
        "unmatched": "s.match_level = 0 AND s.rank BETWEEN 2 AND 9",
        "far down": "s.rank BETWEEN 12 AND 18 AND s.match_level > 0",
    }[request.param]
    [(run, query, item)] = sql(
        f"""
        SELECT s.run_id, s.query_id, s.item_id FROM scores s JOIN runs r USING (run_id) JOIN queries q USING (query_id)
        WHERE r.method = 'dsirm' AND s.retrieved AND {condition} AND EXISTS (
            FROM contributions c WHERE c.run_id = s.run_id AND c.query_id = s.query_id AND c.item_id = s.item_id)
          AND (SELECT count(*) FROM queries o WHERE lower(o.text) = lower(q.text)) = 1
        ORDER BY q.frequency DESC, s.query_id, s.item_id LIMIT 1
        """
    )
    return Pair(run, query, item)


@pytest.fixture
def page(true_page: Page, pair: Pair) -> AppTest:
    opened = true_page("explain", q=pair.query, item=pair.item)
    assert not opened.exception
    assert not opened.error
    return opened


def one(sql: Sql, query: str, *values: object) -> Any:
    [(value,)] = sql(query, *values)
    return value


def by_signal(sql: Sql, pair: Pair) -> dict[str, float]:
    rows = sql(
        "SELECT coalesce(nullif(split_part(feature, '.', 2), ''), feature), sum(value) FROM contributions "
        "WHERE run_id = ? AND query_id = ? AND item_id = ? GROUP BY 1",
        *pair,
    )
    return dict(rows)


def test_the_sentence_to_copy(page: AppTest, pair: Pair, sql: Sql) -> None:
    sentence = page.code[0].value
    [(title, text, rank, without, depth, beam, levels, coverage)] = sql(
        """
        SELECT i.title, q.text, s.rank, s.rank_without_sid, s.match_level, s.beam_rank, r.levels, s.qs_coverage
        FROM scores s JOIN items i USING (item_id) JOIN queries q USING (query_id) JOIN runs r USING (run_id)
        WHERE s.run_id = ? AND s.query_id = ? AND s.item_id = ?
        """,
        *pair,
    )
    n = one(sql, "SELECT count(*) FROM scores WHERE run_id = ? AND query_id = ? AND retrieved", pair.run, pair.query)
    matched = f"Beam {beam} matches its SID down to level {depth} of {levels}" if depth else "No beam matches its SID"
    parts = sorted(by_signal(sql, pair).items(), key=lambda p: -abs(p[1]))

    def side(start: str, chosen: list[tuple[str, float]]) -> str:
        words = [
            f"{NAMES[f]} ({v:+.2f}{', though its title holds none of the query' + chr(39) + 's words' if f == 'qs' and v > 0 and coverage == 0 else ''})"
            for f, v in chosen[:2]
        ]
        return f"{start} {' and '.join(words)}"

    raised, lowered = [p for p in parts if p[1] >= 0.005], [p for p in parts if p[1] <= -0.005]
    reasons = [side(s, c) for s, c in (("raised most by", raised), ("lowered most by", lowered)) if c]
    assert sentence == (
        f"“{' '.join(title.split())}” for “{text}”: rank {rank} of {n} with SIDs, rank {without} without them (another ranker, trained "
        f"apart). {matched}. Against this query's mean candidate its score is {'; '.join(reasons)}."
    )


def test_facts_scores_and_place(page: AppTest, pair: Pair, sql: Sql) -> None:
    [(score, off, without, rank, rank_without)] = sql(
        "SELECT score, score_sid_off, score_without_sid, rank, rank_without_sid FROM scores WHERE run_id = ? AND query_id = ? AND item_id = ?",
        *pair,
    )
    n = one(sql, "SELECT count(*) FROM scores WHERE run_id = ? AND query_id = ? AND retrieved", pair.run, pair.query)
    lines = told(page)
    assert f"Score with SIDs: {score:.3f}" in lines
    assert f"SID switched off: {off:.3f}" in lines
    assert f"Score without SIDs: {without:.3f}" in lines
    assert f"rank {rank} of {n}" in lines
    assert f"rank {rank_without} of {n}; another ranker: serves comparisons" in lines
    assert f"Rank {rank} of {n}. Keys: K goes to the item above, J to the one below." in lines
    [(title, seller, category, price, currency, grade)] = sql(
        """
        SELECT title, seller, category, price, currency, (SELECT avg(grade) FROM judgments j WHERE j.query_id = ? AND j.item_id = i.item_id)
        FROM items i WHERE item_id = ?
        """,
        pair.query, pair.item,
    )  # fmt: skip
    assert " ".join(title.split()) in lines
    facts = [
        f"seller {seller}" if seller else None, category, f"{price:,.2f} {currency or ''}".strip() if price else None,
        "not judged" if grade is None else f"grade {grade:.1f}",
    ]  # fmt: skip
    assert " · ".join(f for f in facts if f) in lines


def test_the_waterfall_draws_the_stored_contributions(page: AppTest, pair: Pair, sql: Sql) -> None:
    trace = json.loads(page.get("plotly_chart")[0].proto.spec)["data"][0]
    stored = sql("SELECT feature, value FROM contributions WHERE run_id = ? AND query_id = ? AND item_id = ?", *pair)
    depth = one(sql, "SELECT match_level FROM scores WHERE run_id = ? AND query_id = ? AND item_id = ?", *pair)
    steps = [t for t in trace["text"][1:-1]]
    signed = sorted(f"{v:+.3f}" for f, v in stored if not (f.endswith(".match") and int(f[4]) > depth))
    assert sorted(s.split()[-1] for s in steps if "no match" not in s) == signed
    silent = sum(f.endswith(".match") and int(f[4]) > depth for f, _ in stored)
    assert sum("no match: 0.00" in s for s in steps) == silent
    reference = one(sql, "SELECT p.score FROM reference_points p JOIN runs r USING (run_id) WHERE run_id = ? AND query_id = ? AND p.ranker = r.ranker", pair.run, pair.query)  # fmt: skip
    total = reference + sum(v for _, v in stored)
    line = find(page, r"reference ([-\d.]+) \+ contributions ([-+\d.]+) = ([-\d.]+); score ([-\d.]+)")
    assert [float(g) for g in line.groups()] == pytest.approx([reference, total - reference, total, total], abs=2e-6)


def columns(sql: Sql, pair: Pair) -> dict[str, float]:
    """What the ranker read beside the dense columns."""
    [(listed, values)] = sql(
        "SELECT r.signal_columns, s.signals FROM scores s JOIN runs r USING (run_id) WHERE run_id = ? AND query_id = ? AND item_id = ?", *pair
    )  # fmt: skip
    return dict(zip([c["name"] for c in json.loads(listed)], values, strict=True))


def test_evidence_of_the_match(true_page: Page, pair: Pair, sql: Sql) -> None:
    page = true_page("explain", q=pair.query, item=pair.item, signal="Match with a beam")
    [(depth, beam, sid)] = sql(
        "SELECT match_level, beam_rank, sid FROM scores s JOIN sids d USING (run_id, item_id) WHERE s.run_id = ? AND query_id = ? AND item_id = ?",
        *pair,
    )
    beams = sql(
        "SELECT b.rank, b.sid, b.log_prob, c.label FROM beams b LEFT JOIN codes c ON c.run_id = b.run_id AND c.prefix = b.sid "
        "WHERE b.run_id = ? AND b.query_id = ? ORDER BY b.rank", pair.run, pair.query,
    )  # fmt: skip
    adds = by_signal(sql, pair)["match"]
    assert find(page, rf"^Match with a beam: .* It adds {re.escape(f'{adds:+.2f}')} to this score\.$")
    prefix = "-".join(sid.split("-")[: max(depth, 1)])
    label = one(sql, "SELECT label FROM codes WHERE run_id = ? AND prefix = ?", pair.run, prefix) or "no name"
    if depth:
        _, code, log_prob, name = beams[beam - 1]
        assert f"Beam {beam} of {len(beams)}, “{name or 'no name'}” ({code}), probability {100 * np.exp(log_prob):.1f} %, agrees with the item's SID down to level {depth} of 3, “{label}” ({prefix})." in told(page)  # fmt: skip
        assert code.startswith(prefix)
    else:
        assert f"No match: none of the {len(beams)} beams begins with the item's first code, “{label}” ({prefix}). The match adds 0.00." in told(page)  # fmt: skip
        assert not [c for _, c, *_ in beams if c.split("-")[0] == prefix]
        assert adds == 0
    frame = frame_with(page, "agrees")
    for (_, code, _, _), agrees in zip(beams, frame["agrees"], strict=True):
        same = [a == b for a, b in zip(code.split("-"), sid.split("-"), strict=True)]
        assert agrees == (same.index(False) if False in same else len(same))


def test_evidence_of_the_generator(true_page: Page, pair: Pair, sql: Sql) -> None:
    page = true_page("explain", q=pair.query, item=pair.item, signal="Generator's probability")
    read = columns(sql, pair)
    frame = frame_with(page, "times")
    for level in (1, 2, 3):
        logp, pmi = read[f"logp_{level}"], read[f"pmi_{level}"]
        row = frame[frame["level"] == level].iloc[0]
        assert row["probability"] == pytest.approx(100 * np.exp(logp), rel=1e-5)
        assert row["usual"] == pytest.approx(100 * np.exp(logp - pmi), rel=1e-4)
        assert row["times"] == pytest.approx(np.exp(pmi), rel=1e-4)
        stored = sql("SELECT rank, kept, log_prob FROM beam_nodes WHERE run_id = ? AND query_id = ? AND prefix = ?", pair.run, pair.query, row["prefix"])  # fmt: skip
        if stored:
            [(rank, kept, log_prob)] = stored
            assert row["met"] == f"branch {rank}, {'kept' if kept else 'pruned'}"
            assert log_prob == pytest.approx(logp, abs=1e-4), "one probability, told twice"
        else:
            assert row["met"] == "not among the stored branches"
    assert find(page, rf"In the beam search: {re.escape(frame['met'].iloc[0])}\.$")


def warmed(page: AppTest) -> AppTest:
    """The page once the model has been loaded."""
    for _ in range(120):
        if not any("The model is being loaded" in str(getattr(p.proto, "text", "")) for p in page.get("progress")):
            return page
        time.sleep(1)
        page.run()
    raise AssertionError("the model was not loaded in two minutes")


def test_evidence_of_the_list(true_page: Page, pair: Pair, sql: Sql) -> None:
    page = warmed(true_page("explain", q=pair.query, item=pair.item, signal="Share of the result list"))
    depth = one(sql, "SELECT CAST(config -> '$.signals.list_depth' AS INTEGER) FROM runs WHERE run_id = ?", pair.run)
    others = sql(
        "SELECT d.codes FROM scores s JOIN sids d USING (run_id, item_id) WHERE s.run_id = ? AND query_id = ? AND first_stage_rank <= ? AND item_id <> ?",
        pair.run, pair.query, depth, pair.item,
    )  # fmt: skip
    own = one(sql, "SELECT codes FROM sids WHERE run_id = ? AND item_id = ?", pair.run, pair.item)
    counts = [sum(codes[:level] == own[:level] for (codes,) in others) for level in (1, 2, 3)]
    line = find(
        page,
        r"^Of the query's other (\d+) first candidates .*?, (\d+) under its level-1 code, (\d+) under its level-2 code and (\d+) under",
    )
    assert [int(g) for g in line.groups()] == [len(others), *counts]
    frame = frame_with(page, "first_stage_rank")
    assert len(frame) == len(others)
    assert [(frame["shared"] >= level).sum() for level in (1, 2, 3)] == counts
    n = int(find(page, r"The signal is a mean over (\d+) clusterings").group(1))
    assert n == 1 + one(
        sql, "SELECT CAST(config -> '$.signals.stacks' AS INTEGER) FROM runs WHERE run_id = ?", pair.run
    )
    read = columns(sql, pair)
    for level in (1, 2, 3):
        value = (frame["weight"] * frame[f"together_{level}"]).sum() / n / frame["weight"].sum()
        assert value == pytest.approx(read[f"list_{level}"], abs=1e-5), "what is shown is what the ranker read"


def test_evidence_of_memory_and_words(true_page: Page, pair: Pair, sql: Sql) -> None:
    page = warmed(true_page("explain", q=pair.query, item=pair.item, signal="Memory of past queries"))
    line = find(page, r"^Read were the (\d+) graded and (\d+) clicked past queries")
    most = one(sql, "SELECT CAST(config -> '$.signals.neighbours' AS INTEGER) FROM runs WHERE run_id = ?", pair.run)
    assert all(0 < int(g) <= most for g in line.groups())
    pieces = find(
        page,
        r"(\d[\d,]*) pieces of their feedback are on items .*?, (\d+) of them on items under this run's own first code",
    )
    frame = frame_with(page, "said")
    assert int(pieces.group(1).replace(",", "")) == len(frame)
    assert int(pieces.group(2)) == (frame["shared"] > 0).sum()
    text = one(sql, "SELECT text FROM queries WHERE query_id = ?", pair.query)
    assert text not in set(frame["text"]), "never the query's own feedback"
    for row in frame.head(20).to_dict("records"):
        if row["kind"] == "grade":
            graded = one(
                sql, "SELECT avg(grade) FROM judgments j JOIN queries q USING (query_id) WHERE q.query_id = ? AND j.item_id = ? AND q.split = 'train'",
                row["query_id"], row["item_id"],
            )  # fmt: skip
            assert row["said"] == f"grade {graded:.1f}"
    words = warmed(true_page("explain", q=pair.query, item=pair.item, signal="Words under the code"))
    counted = re.findall(
        r"“([^”]+)” in (\d+) of (\d+)",
        find(words, r"^(?:Titles under the item's first code|No title of the catalogue).*").group(0),
    )
    code = one(sql, "SELECT code_1 FROM sids WHERE run_id = ? AND item_id = ?", pair.run, pair.item)
    under = one(sql, "SELECT count(*) FROM sids WHERE run_id = ? AND code_1 = ?", pair.run, code)
    assert {int(n) for _, _, n in counted} <= {under}


def frame_with(page: AppTest, column: str) -> Any:
    """The table that has this column."""
    return next(f.value for f in page.dataframe if column in f.value.columns)


def test_why_above_or_below(page: AppTest, pair: Pair, sql: Sql) -> None:
    line = find(page, r"^This item is (above|below) “(.*?)” by ([\d.]+) points of predicted grade: (.*)\.$")
    above, title, gap, reasons = line.groups()
    shown = next(s for s in page.selectbox if s.key == "other").value
    [(score,)] = sql("SELECT score FROM scores WHERE run_id = ? AND query_id = ? AND item_id = ?", *pair)
    [(theirs, name)] = sql("SELECT score, title FROM scores JOIN items USING (item_id) WHERE run_id = ? AND query_id = ? AND item_id = ?", pair.run, pair.query, shown)  # fmt: skip
    assert above == ("above" if score > theirs else "below")
    assert " ".join(name.split()).startswith(title.removesuffix("…"))
    assert float(gap) == pytest.approx(abs(score - theirs), abs=0.005)
    mine, other = by_signal(sql, pair), by_signal(sql, Pair(pair.run, pair.query, shown))
    if other:  # stored too
        differences = sum(float(v) for v in re.findall(r" ([-+]\d+\.\d+)(?:,|$)", reasons))
        assert differences == pytest.approx(score - theirs, abs=0.03)
        assert sum(mine.values()) - sum(other.values()) == pytest.approx(score - theirs, abs=1e-6)


def served(sql: Sql, pair: Pair) -> TreeScorer:
    ranker = one(sql, "SELECT p.ranker FROM reference_points p JOIN runs r USING (run_id) WHERE run_id = ? AND query_id = ? AND starts_with(p.ranker, r.ranker)", pair.run, pair.query)  # fmt: skip
    arrays = {
        name: np.array(values, dtype=float).reshape(shape)
        for name, shape, values in sql(
            'SELECT name, shape, "values" FROM ranker_weights WHERE run_id = ? AND ranker = ?', pair.run, ranker
        )
    }
    listed = json.loads(one(sql, "SELECT signal_columns FROM runs WHERE run_id = ?", pair.run))
    return TreeScorer.from_arrays(arrays, (*DENSE, *(c["name"] for c in listed)))


def test_the_smallest_change_reaches_its_goal_by_the_served_ranker(true_page: Page, pair: Pair, sql: Sql) -> None:
    ranker = served(sql, pair)
    [(*dense, signals, score, rank)] = sql(
        f"SELECT {', '.join(DENSE)}, signals, score, rank FROM scores WHERE run_id = ? AND query_id = ? AND item_id = ?",
        *pair,
    )
    own = np.array([*dense, *signals], dtype=float)
    assert ranker.score(own[None])[0] == pytest.approx(score, abs=1e-6)
    others = np.array(
        [
            s
            for (s,) in sql(
                "SELECT score FROM scores WHERE run_id = ? AND query_id = ? AND item_id <> ? AND retrieved", *pair
            )
        ]
    )
    goals = ["Pass the one above", "Fall behind the one below", *(["Enter the first 10"] if rank > 10 else [])]
    for goal in goals:
        page = true_page("explain", q=pair.query, item=pair.item, goal=goal)
        assert next(g for g in page.button_group if g.key == "goal").value in (goal, [goal])
        bar = {"P": others[others > score].min(), "F": others[others < score].max(), "E": np.sort(others)[-10]}[goal[0]]
        sign = -1 if goal.startswith("Fall") else 1
        frame = next(f.value for f in page.dataframe if "enough" in f.value.columns)
        for row in frame.to_dict("records"):
            assert (row["enough"] == "yes") == (sign * row["score"] > sign * bar)
            assert row["rank"] == (others > row["score"]).sum() + 1
            if row["column"] in ranker.columns:
                changed, at = own.copy(), ranker.columns.index(row["column"])
                step = row["value"] - own[at]
                changed[at] = row["value"]
                if f"{row['column']}_centred" in ranker.columns:
                    changed[ranker.columns.index(f"{row['column']}_centred")] += step
                assert ranker.score(changed[None])[0] == pytest.approx(row["score"], abs=1e-9)
        best = frame.iloc[0]
        lines = " ".join(plain(m.value) for m in page.markdown)
        if best["enough"] == "yes":
            n = (frame["enough"] == "yes").sum() - 1
            assert f"To {goal[0].lower() + goal[1:]}, the smallest single change is {best['what']} from {best['own']:.3f} to {best['value']:.3f} ({best['size']:.2f} spreads" in lines  # fmt: skip
            assert f"score {score:.3f} → {best['score']:.3f}, rank {best['rank']}." in lines
            assert (f"{n} other single change" in lines) == (n > 0)
            assert best["size"] == frame.loc[frame["enough"] == "yes", "size"].min()
        else:
            assert f"{abs(bar - best['score']):.3f} short of {bar:.3f}" in lines


def test_the_pairs_to_start_from(true_page: Page, sql: Sql) -> None:
    page = true_page("explain")
    assert not page.exception
    frame = frame_with(page, "rank_without_sid")
    run = one(sql, "SELECT run_id FROM runs WHERE method = 'dsirm'")
    assert frame["sid"].abs().is_monotonic_decreasing
    for row in frame.head(5).to_dict("records"):
        total = one(
            sql, "SELECT sum(value) FROM contributions WHERE run_id = ? AND query_id = ? AND item_id = ? AND starts_with(feature, 'sid_')",
            run, row["query_id"], row["item_id"],
        )  # fmt: skip
        assert row["sid"] == pytest.approx(total)
        grade = one(
            sql, "SELECT avg(grade) FROM judgments WHERE query_id = ? AND item_id = ?", row["query_id"], row["item_id"]
        )
        assert row["grade"] == pytest.approx(grade)


def test_words_of_the_log_are_offered_where_none_is_typed_whole(true_page: Page, sql: Sql) -> None:
    [(text,)] = sql(
        "SELECT text FROM queries WHERE len(string_split(text, ' ')) > 2 AND frequency > 0 ORDER BY frequency DESC LIMIT 1"
    )
    words = " ".join(text.split()[:2])
    page = warmed(true_page("explain", q=words))
    if one(sql, "SELECT count(*) FROM queries WHERE lower(text) = lower(?)", words):
        pytest.skip("the first two words are a query of their own")
    n = one(
        sql, "SELECT count(*) FROM queries q WHERE query_id IN (SELECT query_id FROM scores) AND contains(lower(text), ?) AND contains(lower(text), ?)",
        *words.lower().split(),
    )  # fmt: skip
    group = next(g for g in page.button_group if g.key == "alike")
    assert f"({n} quer" in group.label
