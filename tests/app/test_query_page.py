"""The Query page from the entry point: stored and live answers, the ranking, the verdict on a lost target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import pytest
from exact_ranker import only_snapshot
from streamlit.testing.v1 import AppTest
from told import told

from app.components import live

Open = Callable[..., AppTest]
LOST = "Where was it lost?"
LEDGER = "Where relevant items are lost"


def said(page: AppTest) -> str:
    """Every text of a page."""
    parts = (
        page.title,
        page.subheader,
        page.markdown,
        page.caption,
        page.text,
        page.info,
        page.warning,
        page.error,
        page.success,
    )
    return "\n".join(str(e.value) for part in parts for e in part)


class Pair(NamedTuple):
    """A query and one of its items."""

    run_id: str
    query_id: str
    text: str
    item_id: str


@pytest.fixture(scope="session")
def pairs(workspace: Path) -> dict[str, Pair]:
    """Pairs of each fate: 'found' on page one, 'not retrieved', 'outranked' with its whole SID kept, 'lost' in the beam."""
    where = {
        "found": "s.rank = 1",
        "not retrieved": "NOT s.retrieved",
        "outranked": "s.rank > 10 AND s.match_level = r.levels",
        "lost": "s.rank > 10 AND s.match_level = 0",
    }
    found = {}
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        for fate, condition in where.items():
            row = connection.execute(
                f"""
                SELECT s.run_id, s.query_id, q.text, s.item_id FROM scores s JOIN queries q USING (query_id)
                JOIN runs r USING (run_id) WHERE r.method = 'dsirm' AND {condition} ORDER BY ALL LIMIT 1
                """
            ).fetchone()
            assert row is not None, fate
            found[fate] = Pair(*row)
    return found


def test_without_a_query_the_log_is_offered(open_page: Open, workspace: Path) -> None:
    page = open_page("query", workspace)
    assert not page.exception
    assert "Choose a row to open that query" in said(page)
    assert page.dataframe[0].value["frequency"].is_monotonic_decreasing


def test_the_log_can_be_ordered_by_the_worst_regression(open_page: Open, workspace: Path) -> None:
    page = open_page("query", workspace, order="worst regression")
    assert page.dataframe[0].value["difference"].dropna().is_monotonic_increasing


def test_a_stored_query_is_shown_from_the_snapshot_by_text_or_id(
    open_page: Open,
    workspace: Path,
    pairs: dict[str, Pair],
) -> None:
    pair = pairs["found"]
    for asked in (pair.query_id, pair.query_id + " "):
        page = open_page("query", workspace, q=asked)
        assert not page.exception
        assert "From the snapshot" in said(page)
        assert pair.text in said(page)


def test_the_beam_table_has_every_stored_prefix(open_page: Open, workspace: Path, pairs: dict[str, Pair]) -> None:
    pair = pairs["found"]
    page = open_page("query", workspace, q=pair.query_id, tried="true")
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        expected = connection.execute(
            "SELECT prefix FROM beam_nodes WHERE run_id = ? AND query_id = ? ORDER BY level, rank",
            [pair.run_id, pair.query_id],
        ).df()
    (nodes,) = [f.value for f in page.dataframe if "step_log_prob" in f.value.columns]
    assert nodes["prefix"].tolist() == expected["prefix"].tolist()
    assert "The generator bets most on" in said(page)


def test_the_ranking_is_one_difference_list(open_page: Open, ranked_workspace: Path) -> None:
    with duckdb.connect(str(only_snapshot(ranked_workspace)), read_only=True) as connection:
        [(query,)] = connection.execute(
            "SELECT query_id FROM scores WHERE NOT retrieved GROUP BY query_id HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
        ).fetchall()
    page = open_page("query", ranked_workspace, q=query, view="Ranking")
    assert not page.exception
    assert not page.error
    (rows,) = (frame.value for frame in page.dataframe)
    moved = rows[rows["retrieved"]]
    assert moved["rank"].tolist() == list(range(1, len(moved) + 1))
    assert sorted(moved["rank_without_sid"]) == list(range(1, len(moved) + 1))
    assert (rows.loc[~rows["retrieved"], "move"] == "not retrieved").all()
    assert moved.loc[moved["rank"] < moved["rank_without_sid"], "move"].str.startswith("▲").all()
    assert moved["explain"].str.contains("/explain?").all()
    assert rows["dots"].str.len().eq(3).all()
    assert rows["sids"].notna().all()
    assert ((rows["bar"].str.contains("%230072B2")) == (rows["sids"] >= 0)).all()


def test_the_ranking_is_filtered_by_move_mark_seller_and_words(
    open_page: Open, workspace: Path, pairs: dict[str, Pair]
) -> None:
    def listed(**params: str) -> pd.DataFrame:
        page = open_page("query", workspace, q=pairs["not retrieved"].query_id, view="Ranking", **params)
        assert not page.exception
        return page.dataframe[0].value

    rows = listed()
    up = listed(moves="up")
    assert len(up)
    assert (up["rank"] < up["rank_without_sid"]).all()
    assert not ((up["rank"] <= 10) & (up["rank_without_sid"] > 10)).any()
    judged = listed(marked="judged")
    assert judged["item_id"].tolist() == rows.loc[rows["judged"], "item_id"].tolist()
    seller = rows["seller"].iloc[0]
    assert listed(**{"from": seller})["item_id"].tolist() == rows.loc[rows["seller"] == seller, "item_id"].tolist()
    word = rows["title"].iloc[0].split()[0]
    assert listed(item=word.upper())["title"].str.lower().str.contains(word.lower(), regex=False).all()


def test_a_chosen_row_of_the_ranking_is_told_level_by_level(open_page: Open, ranked_workspace: Path) -> None:
    with duckdb.connect(str(only_snapshot(ranked_workspace)), read_only=True) as connection:
        [(query, item, title, rank, without, sids)] = connection.execute(
            """
            SELECT s.query_id, s.item_id, i.title, s.rank, s.rank_without_sid, sum(c.value)
            FROM scores s JOIN items i USING (item_id) JOIN contributions c USING (query_id, item_id)
            WHERE c.feature LIKE 'sid_%' AND s.rank = 2 GROUP BY ALL ORDER BY s.query_id LIMIT 1
            """
        ).fetchall()
    page = open_page("query", ranked_workspace, q=query, view="Ranking", item=item)
    assert not page.exception
    assert title in [t.value for t in page.text]
    words = told(page)
    assert any(f"Rank {without} without SIDs, rank {rank} with them" in line for line in words), words
    assert any(line.startswith(f"SIDs add {sids:+.3f} to its score") for line in words), words
    parts = next(f.value for f in page.dataframe if "total" in f.value.columns)
    assert parts["total"].sum() == pytest.approx(sids, abs=1e-6)


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("found", "on page one, at rank 1 of"),
        ("not retrieved", "Not retrieved"),
        ("outranked", "Matched but outranked"),
        ("lost", "Lost in the beam at level"),
    ],
)
def test_a_target_gets_one_verdict(
    open_page: Open,
    workspace: Path,
    pairs: dict[str, Pair],
    fate: str,
    words: str,
) -> None:
    pair = pairs[fate]
    page = open_page("query", workspace, q=pair.query_id, item=pair.item_id, view=LOST)
    assert not page.exception
    verdicts = [e.value for part in (page.success, page.warning) for e in part]
    assert len(verdicts) == 1
    assert words in verdicts[0]


def test_an_unknown_target_is_said_and_the_page_stays(open_page: Open, workspace: Path, pairs: dict[str, Pair]) -> None:
    page = open_page("query", workspace, q=pairs["found"].query_id, item="no such thing", view=LOST)
    assert not page.exception
    assert "no such thing" in page.warning[0].value
    assert "From the snapshot" in said(page)


def test_a_new_query_needs_the_run_and_says_so(open_page: Open, workspace: Path) -> None:
    page = open_page("query", workspace, q="a text nobody ever typed")
    assert not page.exception
    assert "cannot be answered" in page.warning[0].value


class Warm:
    """A loaded model that answers every text with one stored query's tables."""

    state, waited, reason = "ready", 12.0, ""

    def __init__(self, path: Path, pair: Pair) -> None:
        self.asked: list[str] = []
        with duckdb.connect(str(path), read_only=True) as connection:
            self.tables = [
                connection.execute(
                    f"SELECT * EXCLUDE (run_id) FROM {t} WHERE run_id = ? AND query_id = ?", pair[:2]
                ).df()
                for t in ("beams", "beam_nodes", "free_beams", "scores", "contributions")
            ]
            point = connection.execute(
                "SELECT * FROM reference_points WHERE run_id = ? AND query_id = ?", pair[:2]
            ).df()
        self.reference = point.iloc[0].to_dict()

    def query(self, text: str, width: int | None = None) -> Any:
        self.asked.append(text)
        beams, nodes, free, scores, contributions = self.tables
        timings = {"import": 1.0, "encode": 11.0, "beam": 22.0, "score": 33.0, "total": 66.0}
        return _Result(beams, nodes, free, scores, contributions, self.reference, timings)

    def width_that_keeps(self, text: str, item_id: str) -> int:
        return 17


class _Result(NamedTuple):
    beams: pd.DataFrame
    beam_nodes: pd.DataFrame
    free_beams: pd.DataFrame
    scores: pd.DataFrame
    contributions: pd.DataFrame
    reference: dict[str, Any]
    timings_ms: dict[str, float]


def test_a_new_query_is_generated_live_with_its_times(
    open_page: Open,
    workspace: Path,
    pairs: dict[str, Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm = Warm(only_snapshot(workspace), pairs["found"])
    monkeypatch.setattr(live, "model", lambda workspace, run_id: warm)
    page = open_page("query", workspace, q="never seen before")
    assert not page.exception
    assert "Generated live" in said(page)
    assert "encode 11 ms · beam 22 ms · score 33 ms · total 66 ms" in said(page)
    assert "12.0 s, once per server" in said(page)
    assert set(warm.asked) == {"never seen before"}


def test_the_width_that_keeps_a_lost_target_is_searched_on_a_button(
    open_page: Open,
    workspace: Path,
    pairs: dict[str, Pair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm = Warm(only_snapshot(workspace), pairs["lost"])
    monkeypatch.setattr(live, "model", lambda workspace, run_id: warm)
    page = open_page("query", workspace, q=pairs["lost"].query_id, item=pairs["lost"].item_id, view=LOST)
    (button,) = [b for b in page.button if "beam width" in b.label]
    button.click().run()
    rank = warm.tables[3].set_index("item_id")["rank"][pairs["lost"].item_id]
    answer = "A beam of width 17 keeps its whole SID; answered with that width, its rank is"
    assert f"{answer} {rank:.0f} (now {rank:.0f}). **That alone does not bring it to page one**" in said(page)


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("found", "A wider beam is not needed"),
        ("not retrieved", "A wider beam cannot help**: the first stage did not retrieve it"),
        ("outranked", "A wider beam cannot help**: the beam kept its whole SID already"),
    ],
)
def test_no_width_is_searched_where_none_can_help(
    open_page: Open, workspace: Path, pairs: dict[str, Pair], fate: str, words: str
) -> None:
    page = open_page("query", workspace, q=pairs[fate].query_id, item=pairs[fate].item_id, view=LOST)
    assert words in said(page)
    assert not [b for b in page.button if "beam width" in b.label]


def test_while_the_model_warms_the_page_says_so(
    open_page: Open,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Warming:
        state, waited, reason = "warming", 4.0, ""

    monkeypatch.setattr(live, "model", lambda workspace, run_id: Warming())
    page = open_page("query", workspace, q="never seen before")
    assert not page.exception
    assert "4 s so far" in str(page.get("progress")[0].proto)


@pytest.mark.parametrize("name", ["query", "explain", "sellers"])
def test_empty_bare_and_missing_snapshots_are_told_apart(
    open_page: Open, empty_workspace: Path, bare_workspace: Path, tmp_path: Path, name: str
) -> None:
    empty = open_page(name, empty_workspace, q="x", item="y", value="z")
    assert not empty.exception
    assert "no run with semantic identifiers" in said(empty)
    bare = open_page(name, bare_workspace, q="x", item="y", value="z")
    assert not bare.exception
    assert not [e for e in bare.error if "could not be shown" in e.value]
    missing = open_page(name, tmp_path)
    assert not missing.exception
    assert "Nothing to look at yet" in said(missing)


def test_two_runs_are_compared_by_the_items_their_beams_point_at(open_page: Open, two_runs_workspace: Path) -> None:
    with duckdb.connect(str(only_snapshot(two_runs_workspace)), read_only=True) as connection:
        runs = [
            r
            for (r,) in connection.execute("SELECT run_id FROM runs WHERE method = 'dsirm' ORDER BY run_id").fetchall()
        ]
        shared = connection.execute(
            "SELECT query_id FROM beams GROUP BY 1 HAVING count(DISTINCT run_id) = 2 ORDER BY 1 LIMIT 1"
        ).fetchone()
        assert shared is not None
        page = open_page("query", two_runs_workspace, q=shared[0], run=runs[0], base=runs[1])
        assert not page.exception
        pointed = [
            {
                i
                for (i,) in connection.execute(
                    "SELECT s.item_id FROM sids s JOIN beams b USING (run_id, sid) WHERE s.run_id = ? AND b.query_id = ?",
                    [run, shared[0]],
                ).fetchall()
            }
            for run in runs
        ]
    assert f"{len(pointed[0] & pointed[1]):,} in both, {len(pointed[0] - pointed[1]):,} only here" in said(page)
    stale = open_page("query", two_runs_workspace, q=shared[0], run=runs[0], base="gone")
    assert not stale.exception
    assert any("gone" in w.value for w in stale.warning)


def test_the_log_exports_every_query_and_tells_unjudged_from_not_evaluated(open_page: Open, workspace: Path) -> None:
    rows = open_page("query", workspace).dataframe[0].value
    known = rows["difference"].notna()
    assert rows.loc[known, "direction"].isin(["▲ better", "▼ worse", "= same"]).all()
    judged = rows["n_judged"].fillna(0) > 0
    assert (rows.loc[~known & judged, "direction"] == "not a test query").all()
    assert (rows.loc[~known & ~judged, "direction"] == "not judged").all()


def test_the_reading_counts_the_level_1_codes_of_whole_beams(
    open_page: Open, workspace: Path, pairs: dict[str, Pair]
) -> None:
    pair = pairs["found"]
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT codes[1]) FROM beams WHERE run_id = ? AND query_id = ?", pair[:2]
        ).fetchone()
    assert found is not None
    beams, starts = found
    words = f"its {beams} beams start in {starts} level\\-1 code"
    assert words in said(open_page("query", workspace, q=pair.query_id))


def test_a_query_without_relevant_items_offers_what_sids_push_down(
    open_page: Open, workspace: Path, pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = Warm(only_snapshot(workspace), pairs["found"])
    monkeypatch.setattr(live, "model", lambda workspace, run_id: warm)
    page = open_page("query", workspace, q="never seen before", view=LOST)
    assert not page.exception
    assert "SIDs push down most" in said(page)
    offered = page.dataframe[0].value
    fall = offered["rank"] - offered["rank_without_sid"]
    assert (fall > 0).all()
    assert fall.is_monotonic_decreasing


def test_a_live_answer_without_image_match_says_so(
    open_page: Open, workspace: Path, pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = Warm(only_snapshot(workspace), pairs["found"])
    warm.tables[3] = warm.tables[3].assign(mm_missing=1.0, mm_dm=0.0)
    monkeypatch.setattr(live, "model", lambda workspace, run_id: warm)
    assert "Image match is unknown" in said(open_page("query", workspace, q="nothing to see"))
    warm.tables[3] = warm.tables[3].assign(mm_missing=0.0)
    assert "Image match is unknown" not in said(open_page("query", workspace, q="something to see"))


def test_a_bad_order_tier_or_view_is_said(open_page: Open, workspace: Path, pairs: dict[str, Pair]) -> None:
    log = open_page("query", workspace, order="by taste", tier="middle")
    assert [word in said(log) for word in ("by taste", "middle")] == [True, True]
    page = open_page("query", workspace, q=pairs["found"].query_id, view="sideways")
    assert not page.exception
    assert any("sideways" in w.value for w in page.warning)


def test_the_path_says_why_a_prefix_is_not_stored(open_page: Open, workspace: Path, pairs: dict[str, Pair]) -> None:
    pair = pairs["lost"]
    page = open_page("query", workspace, q=pair.query_id, item=pair.item_id, view=LOST)
    path = next(f.value for f in page.dataframe if "margin" in f.value.columns)
    for above, below in zip(path["state"], path["state"].iloc[1:], strict=False):
        assert (below == "○ not tried: pruned above") == (above != "● kept"), path["state"].tolist()


def test_the_ledger_opens_into_its_queries(open_page: Open, ranked_workspace: Path) -> None:
    with duckdb.connect(str(only_snapshot(ranked_workspace)), read_only=True) as connection:
        [(total, found)] = connection.execute(
            "SELECT count(*), count(*) FILTER (s.rank <= 10) FROM judgments j JOIN snapshot n ON j.grade >= n.relevant_grade "
            "LEFT JOIN scores s ON s.query_id = j.query_id AND s.item_id = j.item_id"
        ).fetchall()
    page = open_page("query", ranked_workspace, part=LEDGER, ledger="category")
    assert f"{found:,} of {total:,}** judged relevant items are on page one" in said(page)
    assert not page.exception
    (rows,) = (f.value for f in page.dataframe)
    cell = rows.iloc[0]
    page = open_page("query", ranked_workspace, part=LEDGER, ledger="category", fate=cell["name"], group=cell["value"])
    pairs = page.dataframe[1].value
    assert len(pairs) == cell["n_pairs"]
    assert (pairs["category"] == cell["value"]).all()
    assert all("view=Where" in address and "item=" in address for address in pairs["open"])
