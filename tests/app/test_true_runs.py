"""Every sentence and count of the Runs page, recomputed from rows of the two snapshots it compares."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from streamlit.testing.v1 import AppTest
from told import find, plain, told

from engine.audit.health import BARS
from engine.store.snapshot import list_snapshots, open_snapshot
from tests.conftest import TwoTrained

Rows = Callable[..., pd.DataFrame]
LEAST = 30
PAIRS = ["within", "without", "across"]
MEASURES = {"ndcg@10": "Order of the first ten (nDCG@10)", "within_query_auc": "Relevant above irrelevant in a query (within-query AUC)"}  # fmt: skip


class Side(NamedTuple):
    """A run in its snapshot; `rows(sql, *values)` reads that."""

    snapshot_id: str
    run: str
    rows: Rows

    def column(self, sql: str, *values: object) -> list[Any]:
        return self.rows(sql, *values).iloc[:, 0].tolist()


class Two(NamedTuple):
    """What the page compares: this run with the other one."""

    here: Side
    there: Side
    page: Callable[..., AppTest]
    """`page(part, **params)`, made once."""

    @property
    def both(self) -> tuple[Side, Side]:
        return self.here, self.there


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that SIDELIGHT_TRUE_WORKSPACE names, or that of `two_trained`."""
    if named := os.environ.get("SIDELIGHT_TRUE_WORKSPACE"):
        return Path(named)
    made: TwoTrained = request.getfixturevalue("two_trained")
    return Path(shutil.copytree(made.workspace, tmp_path_factory.mktemp("true-two") / "workspace"))


@pytest.fixture(scope="session")
def readers(folder: Path) -> Iterator[dict[str, Rows]]:
    """By snapshot, the current one first: `rows(sql, *values)` of it."""
    opened = [open_snapshot(folder, s.snapshot_id) for s in sorted(list_snapshots(folder), key=lambda s: not s.current)]
    yield {s.snapshot_id: lambda sql, *values, of=s: of.cursor().execute(sql, list(values)).df() for s in opened}
    for snapshot in opened:
        snapshot.close()


@pytest.fixture(scope="module")
def pages() -> dict[object, AppTest]:
    return {}


@pytest.fixture
def two(
    request: pytest.FixtureRequest, folder: Path, readers: dict[str, Rows], pages: dict[object, AppTest],
    open_page: Callable[..., AppTest],
) -> Two:  # fmt: skip
    """The current snapshot's own choice against: another run with SIDs, the run without of its seed, a run of the other snapshot."""
    kind = request.param
    current, *others = readers
    rows = readers[current]
    run, seed = rows("SELECT run_id, seed FROM runs JOIN snapshot ON run_id = default_run").iloc[0]
    if kind == "across":
        beside = others[0] if others else pytest.skip("one snapshot alone")
        [base] = readers[beside]("SELECT default_run FROM snapshot")["default_run"]
    else:
        beside = current
        which = "method <> 'none'" if kind == "within" else "method = 'none' AND seed = ?"
        base = rows(
            f"SELECT run_id FROM runs WHERE run_id <> ? AND {which} ORDER BY run_id LIMIT 1",
            *([run] if kind == "within" else [run, int(seed)]),
        )["run_id"].iloc[0]
    address = base if beside == current else f"{beside}:{base}"

    def page(part: str = "Measures", **params: str) -> AppTest:
        key = (kind, part, *sorted(params.items()))
        if key not in pages:
            pages[key] = open_page("runs", folder, run=run, base=address, part=part, **params)
        assert not pages[key].exception
        assert not pages[key].error
        return pages[key]

    return Two(Side(current, run, rows), Side(beside, base, readers[beside]), page)


def table(page: AppTest, *columns: str) -> pd.DataFrame:
    (found,) = [t.value for t in page.dataframe if set(columns) <= set(t.value.columns)]
    return found


def same_queries(page: AppTest) -> pd.DataFrame:
    """The table of what was paired by query, by measure and part."""
    (found,) = [t.value for t in page.dataframe if "reading" in t.value.columns and "better" not in t.value.columns]
    return found.set_index(["measure", "part"])


def alt(page: AppTest) -> list[str]:
    return [element.proto.alt for element in page.get("plotly_chart")]


def points(value: float) -> str:
    return f"{100 * value:+.2f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def close(value: float, expected: float, text: str = "") -> None:
    assert value == pytest.approx(expected, abs=1e-12, nan_ok=True), text


# ---------------------------------------------------------------- the same queries


def paired_queries(two: Two) -> pd.DataFrame:
    """query_id, base_id of queries with the same words; words that several have are paired in the order of ids."""
    sides = []
    for side in two.both:
        rows = side.rows("SELECT query_id, text, frequency, tier FROM queries ORDER BY query_id")
        sides.append(rows.assign(place=rows.groupby("text").cumcount()))
    here, there = sides
    there = there[["query_id", "text", "place"]].rename(columns={"query_id": "base_id"})
    return here.merge(there, on=["text", "place"])


def paired(two: Two, metric: str) -> pd.DataFrame:
    """The queries that both were judged on, with both values."""
    here, there = (
        side.rows("SELECT query_id, value FROM query_metrics WHERE run_id = ? AND metric = ?", side.run, metric)
        for side in two.both
    )
    there = there.rename(columns={"query_id": "base_id", "value": "base_value"})
    made = paired_queries(two).merge(here, on="query_id").merge(there, on="base_id")
    return made.assign(difference=made["value"] - made["base_value"])


def bootstrap(change: pd.Series) -> tuple[float, float]:
    """The percentile interval of a mean, queries drawn one by one."""
    values = change.to_numpy()
    drawn = values[np.random.default_rng(1).integers(len(values), size=(4_000, len(values)))].mean(axis=1)
    return tuple(np.quantile(drawn, [0.025, 0.975]))  # type: ignore[return-value]


def agrees(low: float, high: float, change: pd.Series) -> None:
    """An interval is that of a bootstrap, up to the chance of a few hundred draws."""
    expected = bootstrap(change)
    room = 0.2 * (expected[1] - expected[0]) + 1e-9
    assert abs(low - expected[0]) <= room
    assert abs(high - expected[1]) <= room


def tally(change: pd.Series) -> tuple[int, int, int]:
    return int((change > 0).sum()), int((change == 0).sum()), int((change < 0).sum())


@pytest.mark.parametrize("two", PAIRS, indirect=True)
class TestIsItBetter:
    def test_whose_catalogues_they_are(self, two: Two) -> None:
        here, there = (side.rows("SELECT fingerprint FROM snapshot")["fingerprint"].iloc[0] for side in two.both)
        said = any("made of different catalogues" in line for line in told(two.page()))
        assert said == (here != there)
        names = [side.run.split("-", 1)[1] for side in two.both]
        other = "" if two.here.snapshot_id == two.there.snapshot_id else f" ({two.there.snapshot_id})"
        assert find(two.page(), rf"^.+ · {names[0]} against .+ · {names[1]}{re.escape(other)}, matched on the query\.$")

    def test_cards_and_verdict(self, two: Two) -> None:
        page = two.page()
        for metric, name in MEASURES.items():
            rows = paired(two, metric)
            card = next(m for m in page.metric if plain(m.label) == f"Change of {name}")
            if len(rows) < LEAST:
                assert card.value == "n too small"
                continue
            assert card.value == f"{points(rows['difference'].mean())} pp"
            line = find(
                page,
                rf"^95 % interval \[(\S+), (\S+)\] pp · n = {len(rows):,} queries · {rows['base_value'].mean():.3f} to {rows['value'].mean():.3f}$",
            )
            agrees(float(line[1]) / 100, float(line[2]) / 100, rows["difference"])
        rows = paired(two, "ndcg@10")
        won, same, lost = tally(rows["difference"])
        assert f"Queries better / same / worse: {won:,} / {same:,} / {lost:,}" in told(page)
        assert f"by nDCG@10 · n = {len(rows):,} queries" in told(page)
        if len(rows) < LEAST:
            assert find(page, rf"^n too small: both runs were judged on {len(rows):,} quer")
            return
        line = find(
            page,
            r"^(.+ · \S+) (orders the first ten better|orders the first ten worse|cannot be told from the other in how it orders the first ten): "
            rf"nDCG@10 {re.escape(points(rows['difference'].mean()))} pp \[(\S+), (\S+)\] pp on {len(rows):,} queries, paired\.$",
        )
        assert line[1].endswith(two.here.run.split("-", 1)[1])
        exact = same_queries(page).loc[("ndcg@10", "all")]
        assert [line[3], line[4]] == [points(exact["low"]), points(exact["high"])], "one quantity, one interval"
        clear = "better" if exact["low"] > 0 else "worse" if exact["high"] < 0 else "cannot"
        assert clear in line[2]

    def test_on_the_same_queries(self, two: Two) -> None:
        shown = same_queries(two.page())
        expected = {
            (metric, part): own
            for metric in MEASURES
            for part in ("all", "head", "torso", "tail")
            if len(own := (rows := paired(two, metric))[(rows["tier"] == part) | (part == "all")])
        }
        assert set(shown.index) == set(expected)
        for key, own in expected.items():
            row = shown.loc[key]
            assert row["n"] == len(own)
            if len(own) < LEAST:
                assert row[["base_value", "value", "difference", "low", "high"]].isna().all()
                assert row["reading"] == "n too small"
                continue
            for name in ("base_value", "value", "difference"):
                close(row[name], own[name].mean(), f"{key} {name}")
            agrees(row["low"], row["high"], own["difference"])
            clear = "better" if row["low"] > 0 else "worse" if row["high"] < 0 else ""
            assert row["reading"] == (f"{clear}, interval clear of zero" if clear else "not separable from zero")

    def test_query_by_query(self, two: Two) -> None:
        for metric, name in MEASURES.items():
            page, rows = two.page("Query by query", paired=name), paired(two, metric)
            judged = "SELECT count(*) FROM query_metrics WHERE run_id = ? AND metric = ?"
            [here], [there] = (side.column(judged, side.run, metric) for side in two.both)
            won, same, lost = tally(rows["difference"])
            assert find(
                page,
                rf"^{len(rows):,} quer(y was|ies were) judged in both \({here:,} here, {there:,} there\): {won:,} better, {same:,} the same, {lost:,} worse\.$",
            )
            assert alt(page) == [f"{won:,} queries better, {lost:,} worse, {same:,} the same by {name}."]
            shown = table(page, "base_value", "difference", "tier", "open")
            assert find(page, rf"^{won + lost:,} of {len(rows):,} queries · ")
            assert len(shown) == won + lost
            assert shown["difference"].is_monotonic_increasing
            merged = shown.merge(rows, on="query_id", suffixes=("", "_true"))
            assert len(merged) == len(shown)
            for column in ("text", "value", "base_value", "difference", "tier", "frequency"):
                assert merged[column].equals(merged[f"{column}_true"]), column
            spec = json.loads(page.get("plotly_chart")[0].proto.spec)["data"]
            assert [trace["name"] for trace in spec] == [
                f"{word} ({n:,})" for word, n in (("worse", lost), ("better", won)) if n
            ]
            whole = two.page("Query by query", paired=name, changed="false")
            assert len(table(whole, "base_value", "difference", "tier", "open")) == len(rows)


@pytest.mark.parametrize("two", ["without"], indirect=True)
def test_what_sids_change_has_one_interval(two: Two) -> None:
    """Against the run without SIDs of its seed the page speaks of the quantity that the snapshot stores."""
    shown = same_queries(two.page()).reset_index()
    stored = two.here.rows(
        "SELECT metric AS measure, replace(segment, 'tier=', '') AS part, difference, low, high, n FROM comparisons JOIN runs USING (run_id, ranker, baseline) WHERE run_id = ?",
        two.here.run,
    )
    both = shown.merge(stored, on=["measure", "part"], suffixes=("", "_stored"))
    both = both[both["n"] >= LEAST]
    assert {"ndcg@10", "within_query_auc"} <= set(both.loc[both["part"] == "all", "measure"])
    for column in ("difference", "low", "high", "n"):
        assert both[column].tolist() == pytest.approx(both[f"{column}_stored"].tolist(), abs=1e-9), column
    listed = table(two.page(), "ndcg_lift", "run_id").set_index("run_id").loc[two.here.run]
    low, high = points(listed["ndcg_lift_low"]), points(listed["ndcg_lift_high"])
    assert find(two.page(), re.escape(f"nDCG@10 {points(listed['ndcg_lift'])} pp [{low}, {high}] pp on"))


# ---------------------------------------------------------------- everything measured

NEITHER = re.compile(
    r"entropy|prefixes|perplexity$|_random$|by_category|_category$|margin_|^hit@|prefix_survival|beam_diversity"
)
LOWER = re.compile(
    r"^(aliasing|harmful_share|dead_codes|gini|hourglass|largest_bucket|same_sid_others|flip_rate\.\w+)$"
)

NUMBERS = ("value", "low", "high", "base_value", "base_low", "base_high", "difference")


def direction(measure: str) -> str:
    return "neither" if NEITHER.search(measure) else "lower" if LOWER.search(measure) else "higher"


def measured(side: Side) -> dict[tuple[str, str, str], tuple[float, float, float, float]]:
    """value, low, high, n by kind, measure and part; the run's own ranker and its baseline by what they are."""
    ranker, baseline = side.rows("SELECT ranker, baseline FROM runs WHERE run_id = ?", side.run).iloc[0]
    made = {}
    ranking = "SELECT metric, segment, value, low, high, n FROM metrics WHERE run_id = ?"
    codebook = "SELECT metric, level, value, low, high, n FROM health WHERE run_id = ? AND by_construction IS NOT TRUE"
    for metric, segment, *rest in side.rows(ranking, side.run).itertuples(index=False):
        first, dot, name = metric.partition(".")
        if first != "detectable_difference":
            role = "served" if first == ranker else "baseline" if first == baseline else first
            made["ranking", f"{role}{dot}{name}", segment] = tuple(rest)
    for metric, level, *rest in side.rows(codebook, side.run).itertuples(index=False):
        made["codebook", metric, "whole SID" if pd.isna(level) else f"level {level:.0f}"] = tuple(rest)
    return made


PARTS = {"all": "test queries", "seen": "seen queries", "new": "new queries", "split=train": "training queries",
         "split=train, out of fold": "training queries, out of fold"}  # fmt: skip


def part_name(kind: str, part: str) -> str:
    if kind == "codebook" or part in PARTS:
        return PARTS.get(part, part)
    what, _, tier = part.partition("=")
    return f"{tier} queries" if what == "tier" else f"queries of {tier} categories"


@pytest.mark.parametrize("two", PAIRS, indirect=True)
def test_everything_that_both_measured(two: Two) -> None:
    here, there = (measured(side) for side in two.both)
    common = {key for key in here.keys() & there.keys() if pd.notna(here[key][0]) and pd.notna(there[key][0])}
    shown = table(two.page(differing="false"), "better", "base_low", "kind")
    found = {(r["kind"], r["measure"], r["part"]): r for r in shown.to_dict("records")}
    assert len(found) == len(shown)
    expected = {
        (kind, measure, part_name(kind, part)): (here[of], there[of]) for of in common for kind, measure, part in [of]
    }
    assert found.keys() <= expected.keys()
    hidden = {measure.partition(".")[0] for _, measure, _ in expected.keys() - found.keys()}
    assert hidden <= {"attribute_predictability", "attribute_by_category", "margin_flipped", "margin_kept"}
    for key, row in found.items():
        (value, low, high, n), (base, base_low, base_high, base_n) = expected[key]
        assert row["better"] == direction(key[1]), key
        if key[0] == "ranking" and min(n, base_n) < LEAST:
            assert row["reading"] == "n too small"
            assert np.isnan([row[name] for name in NUMBERS]).all()
            continue
        true = [value, low, high, base, base_low, base_high, value - base]
        assert [row[name] for name in NUMBERS] == pytest.approx(true, abs=1e-12, nan_ok=True), key
        if value == base:
            assert row["reading"] == "the same"
        elif row["better"] == "neither":
            assert row["reading"] == "differs"
        else:
            word = "better" if (value > base) == (row["better"] == "higher") else "worse"
            known = not np.isnan([low, high, base_low, base_high]).any()
            apart = low > base_high or high < base_low
            more = ", intervals apart" if apart else ", could be chance" if known else ""
            assert row["reading"] == word + more, key
    differing = table(two.page(), "better", "base_low", "kind")
    assert len(differing) == int((shown["difference"].abs() > 0).sum())
    assert find(two.page(), rf"^{len(differing):,} of {len(shown):,} measures · ")


def test_directions_are_those_of_the_bars() -> None:
    judged = dict.fromkeys(BARS) | {
        "dead_code_share": "dead_codes", "largest_bucket_share": "largest_bucket", "neighbour_lift": "neighbour_agreement",
    }  # fmt: skip
    for name, measure in judged.items():
        assert direction(measure or name) == ("higher" if BARS[name].higher_is_better else "lower")


# ---------------------------------------------------------------- settings, learning, cost


def flat(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{name}.{key}" if name else key).items()}
    return {name: json.dumps(value)}


def settings(side: Side) -> dict[str, str]:
    row = side.rows("SELECT git_commit, config, versions FROM runs WHERE run_id = ?", side.run).iloc[0]
    versions = {f"version of {name}": version for name, version in json.loads(row["versions"]).items()}
    return flat(json.loads(row["config"])) | versions | {"git commit": row["git_commit"] or "unknown"}


@pytest.mark.parametrize("two", PAIRS, indirect=True)
class TestHowTheyWereMade:
    def test_settings(self, two: Two) -> None:
        here, there = (settings(side) for side in two.both)
        names = here.keys() | there.keys()
        differ = {name for name in names if here.get(name) != there.get(name)}
        page = two.page("Settings")
        word = "setting differs" if len(differ) == 1 else "settings differ"
        assert find(page, rf"^{len(differ):,} {word}, of {len(names):,}\.$")
        shown = table(page, "setting").set_index("setting")
        assert find(page, rf"^{len(differ):,} of {len(names):,} settings · ")
        assert set(shown.index) == differ
        for name, row in shown.iterrows():
            assert (row["value"], row["base_value"]) == (here.get(str(name)), there.get(str(name)))
        assert set(table(two.page("Settings", differently="false"), "setting")["setting"]) == names

    def test_learning(self, two: Two) -> None:
        noted = {
            side: side.rows("SELECT stage || ': ' || replace(name, '_', ' ') AS curve, step, value FROM training WHERE run_id = ? ORDER BY stage, name, step", side.run)
            for side in two.both
        }  # fmt: skip
        curves = sorted({c for rows in noted.values() for c in rows["curve"]})
        page = two.page("While learning")
        menu = next(box for box in page.selectbox if box.key == "curve")
        assert [plain(o) for o in menu.options] == curves
        for curve in {curves[0], next(c for c in curves if c.startswith("rank"))}:
            page = two.page("While learning", curve=curve)
            mine = [rows[rows["curve"] == curve] for rows in noted.values()]
            assert find(page, rf"^While learning: {re.escape(curve)}$")
            assert find(page, rf"^{sum(map(len, mine)):,} notes, all · ")
            (said,) = alt(page)
            assert re.findall(r"from (\S+) to ([^;\s]+)", said) == [
                (f"{rows['value'].iloc[0]:.4g}", f"{rows['value'].iloc[-1]:.4g}") for rows in mine if len(rows)
            ]

    def test_cost(self, two: Two) -> None:
        page = two.page("Cost")
        costs = [
            side.rows("SELECT stage, seconds, peak_mb, cached FROM stages WHERE run_id = ?", side.run)
            for side in two.both
        ]
        own = [rows.loc[~rows["cached"], "seconds"].sum() / 60 for rows in costs]
        said = [f"{v:.3f}" if v < 10 else f"{v:,.1f}" for v in own]
        assert find(
            page,
            rf"^This run took {said[0]} minutes of its own, the other {said[1]}; what was taken from another run's cache is not counted\.$",
        )
        shown = table(page, "stage", "seconds_base").set_index("stage")
        assert set(shown.index) == set(costs[0]["stage"]) | set(costs[1]["stage"])
        assert shown.index.is_unique
        assert find(page, rf"^{len(shown):,} rows, all · ")
        for suffix, rows in zip(("", "_base"), costs, strict=True):
            for stage, row in shown.iterrows():
                true = rows[rows["stage"] == stage]
                if true.empty:
                    assert pd.isna(row[f"seconds{suffix}"])
                else:
                    names = ("seconds", "peak_mb", "cached")
                    assert [row[f"{n}{suffix}"] for n in names] == [true[n].iloc[0] for n in names]


# ---------------------------------------------------------------- codes


class Moved(NamedTuple):
    """Common items with both SIDs, and who moved."""

    items: pd.DataFrame
    """item_id, codes, base_codes, category."""
    moved: np.ndarray
    """(N, L) bool: at the level or above."""
    matched: list[int]
    """By level, codes with a match."""


def sids(side: Side) -> pd.DataFrame:
    return side.rows("SELECT item_id, codes FROM sids WHERE run_id = ?", side.run)


def churn(two: Two) -> Moved:
    """Item by item: prefixes matched by the assignment that keeps most items, children within matched parents."""
    here, there = sids(two.here), sids(two.there).rename(columns={"codes": "base_codes"})
    items = here.merge(there, on="item_id")
    items = items.merge(two.here.rows("SELECT item_id, category FROM items"), on="item_id", how="left")
    new, old = (np.stack(items[name].to_list()) for name in ("codes", "base_codes"))
    levels = min(new.shape[1], old.shape[1])
    moved, matched = np.ones((len(items), levels), dtype=bool), []
    cells = [np.arange(len(items))]
    for level in range(levels):
        kept = []
        for cell in cells:
            held = pd.crosstab(old[cell, level], new[cell, level])
            for a, b in zip(*linear_sum_assignment(-held.to_numpy()), strict=True):
                if held.iloc[a, b]:
                    kept.append(cell[(old[cell, level] == held.index[a]) & (new[cell, level] == held.columns[b])])
        for cell in kept:
            moved[cell, level] = False
        matched.append(len(kept))
        cells = kept
    return Moved(items, moved, matched)


def code_name(side: Side, code: int) -> str:
    [label] = side.column("SELECT label FROM codes WHERE run_id = ? AND prefix = ?", side.run, str(code)) or [None]
    return f"{code} ({label})" if label else str(code)


@pytest.mark.parametrize("two", ["within", "across"], indirect=True)
class TestCodes:
    def test_how_many_moved(self, two: Two) -> None:
        page, found = two.page("Codes"), churn(two)
        here, there = (set(sids(side)["item_id"]) for side in two.both)
        new, gone, levels = len(here - there), len(there - here), found.moved.shape[1]
        share = found.moved.mean(axis=0)
        assert find(
            page,
            rf"^Of {len(here & there):,} items in both runs, {percent(share[0])} moved to another code at level 1 and {percent(share[-1])} to another one at level {levels} or above, "
            rf"once every code is matched with the one it became\. {new:,} items? (is|are) new in this run and {gone:,} items? (is|are) gone; neither counts as moved\.$",
        )
        shown = table(page, "level", "moved", "rand")
        assert shown["level"].tolist() == list(range(1, levels + 1))
        assert shown["moved"].tolist() == pytest.approx((100 * share).tolist())
        assert shown["codes"].tolist() == found.matched
        assert alt(page)[0] == "; ".join(f"level {i + 1}: {percent(s)} moved" for i, s in enumerate(share))
        for level in range(levels):
            prefixes = [[str(c[: level + 1]) for c in found.items[name]] for name in ("codes", "base_codes")]
            close(shown["rand"].iloc[level], adjusted_rand_score(*prefixes))
        assert sum(line.startswith(f"{len(found.items):,} items in both, all · ") for line in told(page)) == 2

    def test_what_another_seed_alone_moves(self, two: Two) -> None:
        others = two.here.rows(
            """SELECT o.run_id, o.seed FROM runs o JOIN runs m
               ON json_merge_patch(o.config, '{"seed": null}') = json_merge_patch(m.config, '{"seed": null}')
               WHERE m.run_id = ? AND o.seed <> m.seed ORDER BY o.created_at, o.run_id""",
            two.here.run,
        )
        page = two.page("Codes")
        if others.empty:
            assert any("this snapshot holds no run that differs in its seed alone" in line for line in told(page))
            return
        found = [churn(two._replace(there=two.here._replace(run=run))) for run in others["run_id"]]
        shares = np.array([moves.moved.mean(axis=0)[[0, -1]] for moves in found])
        first, deepest = shares.mean(axis=0)
        assert find(
            page,
            rf"^Another seed alone, all else the same, moves {percent(first)} of the items at level 1 and {percent(deepest)} at",
        )
        shown = table(page, "other_seed", "rand_first")
        assert shown["run_id"].tolist() == others["run_id"].tolist()
        assert shown["other_seed"].tolist() == others["seed"].tolist()
        assert shown[["moved_first", "moved_deepest"]].to_numpy() == pytest.approx(100 * shares)
        for moves, rand in zip(found, shown["rand_first"], strict=True):
            close(rand, adjusted_rand_score(*([c[0] for c in moves.items[name]] for name in ("codes", "base_codes"))))

    def test_the_first_match_keeps_most_items(self, two: Two) -> None:
        """No exchange of two matches would keep more: the assignment is the best of its neighbours."""
        found = churn(two)
        old, new = (found.items[name].str[0].to_numpy() for name in ("base_codes", "codes"))
        held = pd.crosstab(old, new)
        kept = ~found.moved[:, 0]
        became = dict(zip(old[kept], new[kept], strict=True))
        assert len(set(became.values())) == len(became)
        for a, b in became.items():
            for c, d in became.items():
                assert held.loc[a, b] + held.loc[c, d] >= held.loc[a, d] + held.loc[c, b] or a == c

    def test_where_they_went(self, two: Two) -> None:
        page, found = two.page("Codes"), churn(two)
        went = found.moved[:, 0]
        if not went.any():
            assert "Every item kept its level-1 code, whatever that is called now." in told(page)
            return
        old, new = (found.items[name].str[0].to_numpy()[went] for name in ("base_codes", "codes"))
        streams = pd.Series(list(zip(old, new, strict=True))).value_counts()
        first = streams.head(24)
        assert find(
            page,
            rf"^{len(first):,} of {len(streams):,} streams, {first.sum():,} of {streams.sum():,} items · ",
        )
        line = re.fullmatch(r"The largest stream: ([\d,]+) items from (.+) to (.+)\.", alt(page)[1])
        assert line
        assert line[1] == f"{streams.max():,}"
        largest = streams[streams == streams.max()].index
        assert (line[2], line[3]) in [(code_name(two.there, a), code_name(two.here, b)) for a, b in largest]
        drawn = json.loads(page.get("plotly_chart")[1].proto.spec)["data"][0]["link"]
        assert len(drawn["source"]) == len(first)

    def test_by_category(self, two: Two) -> None:
        page, found = two.page("Codes"), churn(two)
        shown = table(page, "moved_first", "moved_last")
        assert shown["n"].sum() == len(found.items)
        for row in shown.to_dict("records"):
            own = (found.items["category"] == row["category"]).to_numpy()
            if pd.isna(row["category"]):
                own = found.items["category"].isna().to_numpy()
            assert row["n"] == own.sum()
            assert row["moved_first"] == pytest.approx(100 * found.moved[own, 0].mean())
            assert row["moved_last"] == pytest.approx(100 * found.moved[own, -1].mean())
        assert shown["moved_first"].is_monotonic_decreasing
        assert find(page, rf"^{len(shown):,} categor(y|ies), all · ")

    def test_queries_that_mean_something_else(self, two: Two) -> None:
        page = two.page("Codes")
        held = set(sids(two.here)["item_id"]) & set(sids(two.there)["item_id"])
        reach = [
            {
                query: set(own["item_id"].dropna()) & held
                for query, own in side.rows(
                    "SELECT query_id, item_id FROM beams LEFT JOIN sids USING (run_id, sid) WHERE run_id = ?", side.run
                ).groupby("query_id")
            }
            for side in two.both
        ]
        rows = paired_queries(two)
        rows = rows[rows["query_id"].isin(reach[0].keys()) & rows["base_id"].isin(reach[1].keys())]
        whole = len(rows)
        if whole > 2_000:
            rows = rows.sort_values(["frequency", "query_id"], ascending=[False, True], kind="stable").head(2_000)
        pairs = [(reach[0][a], reach[1][b]) for a, b in zip(rows["query_id"], rows["base_id"], strict=True)]
        rows = rows.assign(
            n_true=[len(a) for a, _ in pairs], base_n_true=[len(b) for _, b in pairs], common_true=[len(a & b) for a, b in pairs],
            alike_true=[len(a & b) / len(a | b) if a | b else np.nan for a, b in pairs],
        )  # fmt: skip
        known = rows[rows["alike_true"].notna()]
        other = known[known["alike_true"] < 0.5]
        most = r" \(the 2,000 most asked\)" if whole >= 2_000 else ""
        searches = rf" They carry {percent(other['frequency'].sum() / known['frequency'].sum())} of the searches of these\." if len(other) else ""  # fmt: skip
        assert find(
            page,
            rf"^Of {len(known):,} queries with beams in both runs that reach an item of both{most}, {len(other):,} reach other items for the most part: "
            rf"less than half of what the beams of either run reach is common\.?{searches}$",
        )
        shown = table(page, "alike", "common")
        assert find(page, rf"^{len(rows):,} queries, the least alike first · ")
        merged = shown.merge(rows, on="query_id", suffixes=("", "_of"))
        assert len(merged) == len(shown) == len(rows)
        for name in ("n", "base_n", "common"):
            assert (merged[name] == merged[f"{name}_true"]).all()
        assert merged["alike"].tolist() == pytest.approx((100 * merged["alike_true"]).tolist(), nan_ok=True)
        assert shown["alike"].dropna().is_monotonic_increasing
        change = paired(two, "ndcg@10").set_index("query_id")["difference"]
        true = merged["query_id"].map(change)
        assert merged["difference"].tolist() == pytest.approx(true.tolist(), nan_ok=True)


@pytest.mark.parametrize("two", ["without"], indirect=True)
def test_a_run_without_sids_has_no_codes_to_drift(two: Two) -> None:
    assert sids(two.there).empty
    assert find(two.page("Codes"), r"^The two runs give SIDs to no item in common, so nothing can have moved\.$")


# ---------------------------------------------------------------- runs and methods


@pytest.mark.parametrize("two", ["within"], indirect=True)
class TestRunsAndMethods:
    def test_every_run(self, two: Two) -> None:
        shown = table(two.page(), "ndcg_lift", "run_id")
        runs = two.here.rows("SELECT * FROM runs").set_index("run_id")
        assert set(shown["run_id"]) == set(runs.index)
        assert shown["created_at"].is_monotonic_decreasing
        assert shown.loc[shown["shown"] != "", "run_id"].tolist() == [two.here.run]
        metrics = two.here.rows("FROM metrics WHERE segment = 'all'").set_index(["run_id", "metric"])
        lifts = two.here.rows("FROM comparisons WHERE segment = 'all'").set_index(["run_id", "ranker", "baseline", "metric"])  # fmt: skip
        for row in shown.to_dict("records"):
            run = runs.loc[row["run_id"]]
            for column in ("method", "preset", "seed", "seconds", "peak_mb", "n_test_queries"):
                assert row[column] == run[column]
            close(row["seconds"], sum(two.here.column("SELECT seconds FROM stages WHERE run_id = ?", row["run_id"])))
            for name, metric in (("auc", "auc"), ("ndcg", "ndcg@10")):
                assert row[name] == metrics.loc[(row["run_id"], f"{run['ranker']}.{metric}"), "value"]
                key = (row["run_id"], run["ranker"], run["baseline"], metric)
                if key not in lifts.index:
                    assert run["ranker"] == run["baseline"]
                    assert pd.isna(row[f"{name}_lift"])
                    continue
                stored = lifts.loc[key]
                for column, there in ((f"{name}_lift", "difference"), (f"{name}_lift_low", "low"), (f"{name}_lift_high", "high")):  # fmt: skip
                    assert row[column] == stored[there]

    def test_methods_side_by_side(self, two: Two) -> None:
        ladder = two.here.rows("FROM ladder")
        if ladder.empty:
            assert find(two.page("Methods"), "^No ablation is in this snapshot")
            return
        page = two.page("Methods")
        whole = table(page, "what", "seed_sd")
        assert len(whole) == len(ladder)
        assert find(page, rf"^{len(ladder):,} rows, all · ")
        assert not whole.duplicated(["method", "what", "segment"]).any(), "one name, one number"
        assert whole.drop(columns=["what", "name"]).equals(ladder)
        for lifted in whole[whole["measure"] == "auc_lift"].to_dict("records"):
            parts = whole[(whole["measure"] == "auc") & (whole["method"] == lifted["method"]) & (whole["segment"] == lifted["segment"])]  # fmt: skip
            value = parts.set_index("ranker")["value"]
            close(lifted["value"], value[lifted["ranker"]] - value[lifted["baseline"]])
            assert "by SIDs" not in lifted["what"]
        menu = next(box for box in page.selectbox if box.key == "rung")
        for chosen in [menu.value, *sorted({w for w in whole["what"] if "Change of AUC" in w})[:2]]:
            page = two.page("Methods", rung=chosen)
            mine = whole[(whole["what"] == chosen) & whole["segment"].isin(["all", np.nan])]
            methods, seeds = mine["method"].nunique(), mine["n_seeds"].max()
            assert find(page, rf"^{methods} methods?, {seeds} seeds? each at most · ")
            assert chosen in told(page)
            best = mine.loc[mine["value"].idxmax(), "name"]
            assert f"{chosen}, by method; the highest: {best}." in alt(page)
            spec = json.loads(page.get("plotly_chart")[0].proto.spec)["data"][0]
            assert sorted(spec["y"]) == sorted(mine["name"])

    def test_method_against_method(self, two: Two) -> None:
        rows = two.here.rows("FROM method_comparisons WHERE segment = 'all'")
        if rows.empty:
            return
        page = two.page("Methods")
        corrected = rows["p_seeds_holm"].where(rows["p_seeds_holm"].notna(), rows["p_holm"])
        clear = int((corrected < 0.05).sum())
        assert find(
            page,
            rf"^{clear} of {len(rows):,} comparisons? of two methods (is|are) clear \(p below 0\.05 after Holm's correction for all of them\)\.$",
        )
        shown = table(page, "first", "second", "p_holm")
        assert shown["difference"].is_monotonic_decreasing
        ladder = two.here.rows("FROM ladder WHERE measure = 'auc' AND segment = 'all'").set_index(["method", "ranker"])
        for row in shown.to_dict("records"):
            if row["n_seeds"] == ladder["n_seeds"].max():
                first, second = (
                    ladder.loc[(row[name], row["ranker"]), "value"] for name in ("method", "baseline_method")
                )
                close(row["difference"], first - second)
        for p, corrected in (("p_value", "p_holm"), ("p_seeds", "p_seeds_holm")):
            known = shown[shown[p].notna()].sort_values(p, kind="stable")
            steps = known[p].to_numpy() * np.arange(len(known), 0, -1)
            assert known[corrected].tolist() == pytest.approx(np.minimum(np.maximum.accumulate(steps), 1).tolist())
