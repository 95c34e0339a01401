"""The Explain page from the entry point: sums, contributions on demand, swap, what-if, bad links."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from exact_ranker import only_snapshot
from streamlit.testing.v1 import AppTest

Open = Callable[..., AppTest]
NOT_STORED = "s.retrieved AND NOT EXISTS (FROM contributions c WHERE c.query_id = s.query_id AND c.item_id = s.item_id)"
"""A pair whose contributions are computed on demand."""


def one_pair(workspace: Path, condition: str) -> dict[str, object]:
    """The first scored pair that meets the condition, as a dict of the `scores` columns."""
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        rows = connection.execute(
            f"SELECT s.* FROM scores s JOIN runs r USING (run_id) WHERE r.method = 'dsirm' AND {condition} ORDER BY ALL LIMIT 1"
        ).df()
    assert len(rows) == 1
    return rows.iloc[0].to_dict()


def metric(page: AppTest, label: str) -> str:
    return next(m.value for m in page.metric if m.label == label)


def test_stored_contributions_sum_to_the_score(open_page: Open, ranked_workspace: Path) -> None:
    pair = one_pair(ranked_workspace, "s.rank = 2 AND s.match_level > 0")
    page = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"])
    assert not page.exception
    assert not page.error
    (line,) = [c.value for c in page.caption if "they differ by" in c.value]
    total, score = re.search(r"= (-?[\d.]+); score (-?[\d.]+)", line).groups()  # type: ignore[union-attr]
    assert float(total) == pytest.approx(float(score), abs=1e-6)
    assert float(score) == pytest.approx(pair["score"], abs=1e-6)
    assert any("stored in the snapshot" in c.value for c in page.caption)


def test_contributions_that_were_not_stored_are_computed_and_sum_too(open_page: Open, ranked_workspace: Path) -> None:
    pair = one_pair(ranked_workspace, NOT_STORED)
    page = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"])
    assert not page.exception
    assert not page.error
    assert any("computed just now" in c.value for c in page.caption)
    assert any(f"score {pair['score']:.6f}" in c.value for c in page.caption)


def test_a_sum_that_misses_the_score_raises_the_red_banner(open_page: Open, workspace: Path, tmp_path: Path) -> None:
    broken = tmp_path / "workspace"
    shutil.copytree(workspace, broken, ignore=shutil.ignore_patterns("leases"))
    pair = one_pair(broken, "s.rank = 2")
    with duckdb.connect(str(only_snapshot(broken))) as connection:
        connection.execute(
            "UPDATE contributions SET value = value + 1e-4 WHERE query_id = ? AND item_id = ? AND feature = 'dm'",
            [pair["query_id"], pair["item_id"]],
        )
    page = open_page("explain", broken, q=pair["query_id"], item=pair["item_id"])
    assert any("do not trust this explanation" in e.value for e in page.error)


def test_what_if_gives_the_exact_score_and_rank(open_page: Open, workspace: Path) -> None:
    pair = one_pair(workspace, "s.rank BETWEEN 2 AND 8 AND s.match_level > 0 AND s.score_sid_off < s.score - 0.1")
    page = open_page("explain", workspace, q=pair["query_id"], item=pair["item_id"])
    assert float(metric(page, "New score")) == pytest.approx(pair["score"], abs=5e-4)
    assert int(metric(page, "New rank")) == pair["rank"]
    next(s for s in page.select_slider if s.label == "SID match level").set_value(0).run()
    assert not page.exception
    assert float(metric(page, "New score")) == pytest.approx(pair["score_sid_off"], abs=5e-4)
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        above = connection.execute(
            "SELECT count(*) FROM scores WHERE run_id = ? AND query_id = ? AND item_id <> ? AND retrieved AND score > ?",
            [pair["run_id"], pair["query_id"], pair["item_id"], pair["score_sid_off"]],
        ).fetchone()
    assert above is not None
    assert int(metric(page, "New rank")) == above[0] + 1


def test_another_pair_starts_from_its_own_values(open_page: Open, ranked_workspace: Path) -> None:
    first = one_pair(ranked_workspace, "s.rank = 2 AND s.match_level > 0")
    page = open_page("explain", ranked_workspace, q=first["query_id"], item=first["item_id"])
    next(s for s in page.select_slider if s.label == "SID match level").set_value(0).run()
    other = one_pair(ranked_workspace, f"s.query_id = '{first['query_id']}' AND s.rank = 4")
    next(t for t in page.text_input if t.label == "Item").set_value(other["item_id"]).run()
    assert float(metric(page, "New score")) == pytest.approx(other["score"], abs=5e-4)


def test_the_swap_names_the_gap_to_the_item_above(open_page: Open, ranked_workspace: Path) -> None:
    pair = one_pair(ranked_workspace, "s.rank = 3")
    above = one_pair(ranked_workspace, f"s.query_id = '{pair['query_id']}' AND s.rank = 2")
    page = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"])
    (sentence,) = [m.value for m in page.markdown if m.value.startswith("This item is **")]
    assert "**below**" in sentence
    assert f"**{above['score'] - pair['score']:.2f}**" in sentence  # type: ignore[operator]


def test_bad_links_leave_a_usable_page(open_page: Open, ranked_workspace: Path) -> None:
    pair = one_pair(ranked_workspace, "s.rank = 1")
    unknown_item = open_page("explain", ranked_workspace, q=pair["query_id"], item="nothing like this")
    assert not unknown_item.exception
    assert "nothing like this" in unknown_item.warning[0].value
    unknown_other = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"], other="zzz")
    assert not unknown_other.exception
    assert any("zzz" in w.value for w in unknown_other.warning)
    out_of_range = open_page(
        "explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"], match="9", set_dm="1e9"
    )
    assert not out_of_range.exception
    assert float(metric(out_of_range, "New score")) == pytest.approx(pair["score"], abs=5e-4)


def test_without_weights_the_page_says_what_is_missing(open_page: Open, workspace: Path, tmp_path: Path) -> None:
    bare = tmp_path / "workspace"
    shutil.copytree(workspace, bare, ignore=shutil.ignore_patterns("leases"))
    pair = one_pair(bare, "s.rank = 2")
    with duckdb.connect(str(only_snapshot(bare))) as connection:
        connection.execute("DELETE FROM ranker_weights")
    page = open_page("explain", bare, q=pair["query_id"], item=pair["item_id"])
    assert not page.exception
    assert any("no weights" in i.value for i in page.info)


def test_a_judged_item_that_was_not_retrieved_is_explained_without_a_rank(
    open_page: Open, ranked_workspace: Path
) -> None:
    pair = one_pair(ranked_workspace, "NOT s.retrieved")
    page = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"])
    assert not page.exception
    assert not page.error
    assert any("not retrieved" in c.value for c in page.caption)
    assert any("they differ by" in c.value for c in page.caption)


def test_an_item_without_image_is_not_said_to_match_one(open_page: Open, ranked_workspace: Path) -> None:
    for condition, name in (("s.mm_missing = 1", "No image (mm_dm)"), ("s.mm_missing = 0", "Image match (mm_dm)")):
        pair = one_pair(ranked_workspace, f"{condition} AND s.rank < 10")
        page = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"])
        assert not page.exception
        names = page.get("plotly_chart")[0].proto.spec
        assert name in names


def test_an_unretrieved_item_is_compared_with_where_its_score_would_put_it(
    open_page: Open, ranked_workspace: Path
) -> None:
    pair = one_pair(ranked_workspace, "NOT s.retrieved")
    page = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"])
    assert not page.exception
    with duckdb.connect(str(only_snapshot(ranked_workspace)), read_only=True) as connection:
        above = connection.execute(
            "SELECT max(rank) FROM scores WHERE run_id = ? AND query_id = ? AND retrieved AND score > ?",
            [pair["run_id"], pair["query_id"], pair["score"]],
        ).fetchone()[0]  # type: ignore[index]
    shown = next(s for s in page.selectbox if s.key == "other").options[0]
    assert f"rank {above}," in shown if above else shown.startswith("the one below: rank 1,")
    assert "not retrieved of" not in " ".join(c.value for c in page.caption)


def test_what_if_without_any_sid_signal_is_the_score_with_the_sid_off(open_page: Open, boosted_workspace: Path) -> None:
    pair = one_pair(
        boosted_workspace, "s.rank BETWEEN 2 AND 8 AND s.match_level > 0 AND abs(s.score_sid_off - s.score) > 0.05"
    )
    page = open_page("explain", boosted_workspace, q=pair["query_id"], item=pair["item_id"])
    assert float(metric(page, "New score")) == pytest.approx(pair["score"], abs=5e-4)
    next(s for s in page.select_slider if s.label == "SID match level").set_value(0).run()
    next(p for p in page.pills if p.label == "SID signals at their own value").set_value([]).run()
    assert not page.exception
    assert float(metric(page, "New score")) == pytest.approx(pair["score_sid_off"], abs=5e-4)


def bars(page: AppTest) -> list[tuple[str, float]]:
    """The steps of the waterfall, each with the line that it stands on."""
    chart = json.loads(page.get("plotly_chart")[0].proto.spec)
    trace, axis = chart["data"][0], chart["layout"]["yaxis"]
    ticks = np.array(values_of(axis["tickvals"]))
    lines = [axis["ticktext"][int(np.abs(ticks - y).argmin())] for y in values_of(trace["y"])]
    return list(zip(lines, values_of(trace["x"]), strict=True))


def values_of(numbers: object) -> list[float]:
    """A trace's numbers, also where plotly packs them."""
    if isinstance(numbers, dict):
        return np.frombuffer(base64.b64decode(numbers["bdata"]), dtype=numbers["dtype"]).tolist()
    return list(numbers)  # type: ignore[call-overload]


def test_every_split_of_a_boosted_explanation_sums_to_the_score(open_page: Open, boosted_workspace: Path) -> None:
    pair = one_pair(boosted_workspace, "s.rank = 2")
    signals = {"SID:<br>Match with a beam", "SID:<br>Generator's probability", "SID:<br>Memory of past queries"}
    levels = {"SID level 1", "SID level 2", "SID level 3"}
    expected = {
        "SID levels": (levels, 3),
        "signals": (signals, 3),
        "level and signal": (signals, 9),
        None: (signals, 9),
    }
    for by, (lines, n) in expected.items():
        page = open_page(
            "explain", boosted_workspace, q=pair["query_id"], item=pair["item_id"], **({"split": by} if by else {})
        )
        assert not page.exception
        (first, reference), *steps, (last, score) = bars(page)
        assert (first, last) == ("reference", "score")
        assert reference + sum(value for _, value in steps) == pytest.approx(score, abs=1e-6)
        assert score == pytest.approx(pair["score"], abs=1e-9)
        sid = [name.split(" (")[0].split(",")[0] for name, _ in steps if name.startswith("SID")]
        assert (set(sid), len(sid)) == (lines, n)
    assert (
        "split"
        in open_page("explain", boosted_workspace, q=pair["query_id"], item=pair["item_id"], split="x").warning[0].value
    )


def test_where_nothing_matched_the_waterfall_says_no_match(open_page: Open, ranked_workspace: Path) -> None:
    """A level that no beam matched must not read as a match."""
    for condition, silent in (("s.match_level = 0", (1, 2, 3)), ("s.match_level = 2", (3,)), ("s.match_level = 3", ())):
        pair = one_pair(ranked_workspace, f"{condition} AND s.retrieved")
        page = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"])
        assert not page.exception
        trace = json.loads(page.get("plotly_chart")[0].proto.spec)["data"][0]
        noted = [t for t in trace["text"] if "no match: 0.00" in t]
        assert len(noted) == len(silent)
        by_level = open_page("explain", ranked_workspace, q=pair["query_id"], item=pair["item_id"], split="SID levels")
        chart = json.loads(by_level.get("plotly_chart")[0].proto.spec)
        lines = [t for t in chart["layout"]["yaxis"]["ticktext"] if t.startswith("SID level")]
        boosted = [n for n, line in enumerate(lines, 1) if line.endswith(", no match")]
        assert boosted in ([], list(silent)), "an MLP's level is its match, and is noted in place of its number"
        assert len(boosted) == len(silent) or len([t for t in chart["data"][0]["text"] if "no match" in t]) == len(
            silent
        )


def test_scores_are_counted_in_the_unit_of_their_ranker(
    open_page: Open, workspace: Path, boosted_workspace: Path
) -> None:
    for folder, axis, other in (
        (workspace, "ranking logit", "predicted grade"),
        (boosted_workspace, "predicted grade", "logit"),
    ):
        pair = one_pair(folder, "s.rank = 2")
        page = open_page("explain", folder, q=pair["query_id"], item=pair["item_id"])
        assert axis in page.get("plotly_chart")[0].proto.spec
        (sentence,) = [m.value for m in page.markdown if m.value.startswith("This item is **")]
        assert ("points of predicted grade" in sentence) == (folder == boosted_workspace)
        told = [*(c.value for c in page.caption), sentence, page.get("plotly_chart")[1].proto.spec]
        assert not [t for t in told if other in t]


def test_cross_validated_weights_explain_the_queries_that_they_scored(open_page: Open, own_workspace: Path) -> None:
    pair = one_pair(own_workspace, NOT_STORED)
    with duckdb.connect(str(only_snapshot(own_workspace))) as connection:
        connection.execute("UPDATE reference_points SET ranker = 'sid.cv3'")
        connection.execute("UPDATE ranker_weights SET ranker = 'sid.cv3' WHERE ranker = 'sid'")
    page = open_page("explain", own_workspace, q=pair["query_id"], item=pair["item_id"])
    assert not page.exception
    assert any("computed just now" in c.value for c in page.caption)
    assert any("they differ by" in c.value for c in page.caption)
