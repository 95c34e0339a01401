"""The ladder: its plan, its workers (killed, failing), and every number of its table against a direct computation."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from engine import pipeline
from engine.ablation import report
from engine.ablation.ladder import LADDER_COLUMNS, Tables, ladder_tables
from engine.ablation.plan import LADDERS, WHOLE, Cost, Costs, Job, Plan, make_plan, methods_of, run_cost, time_left
from engine.ablation.stability import stability
from engine.ablation.workers import THREAD_VARIABLES, Standing, run_jobs, train_command, worker_environment
from engine.cli import app
from engine.config import METHODS, override, preset
from engine.errors import ConfigError, RunError
from engine.evaluation.bootstrap import Estimate, mean_estimate, mean_over_redrawn_runs, resample_queries
from engine.evaluation.significance import holm
from engine.runs import Run, newest_ablation, save_arrays, write_table
from tests.conftest import ROOT, Trained

VERSIONS = {"rank": 1}


def plan_of(workspace: Path, methods: tuple[str, ...] = ("none", "dsirm"), seeds: int = 2) -> Plan:
    return make_plan(workspace, "f" * 16, "tiny", methods, seeds, lambda config: VERSIONS)


# ---------------------------------------------------------------- plan


def test_the_plan_names_the_runs_that_train_would_make(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert [(job.method, job.seed) for job in plan.jobs] == [("none", 0), ("dsirm", 0), ("none", 1), ("dsirm", 1)]
    assert not (tmp_path / "runs").exists(), "a plan touches nothing"
    run = Run.create(tmp_path, plan.fingerprint, override(preset("tiny", method="dsirm", seed=1), [WHOLE]), VERSIONS)
    assert run.run_id == plan.jobs[3].run_id
    run.finish({"stages": []})
    again = plan_of(tmp_path)
    assert [job.finished for job in again.jobs] == [False, False, False, True]
    assert again.folder == plan.folder == plan_of(tmp_path, ("dsirm", "none")).folder
    assert plan_of(tmp_path, seeds=1).folder != plan.folder


def test_settings_reach_every_run_and_its_worker(tmp_path: Path) -> None:
    settings = ["signals.stacks=0", "split.folds=4"]
    plan = make_plan(tmp_path, "f" * 16, "tiny", ("none", "dsirm"), 1, lambda config: VERSIONS, settings)
    config = override(preset("tiny", method="dsirm"), [WHOLE, *settings])
    assert plan.jobs[1].run_id == Run.create(tmp_path, plan.fingerprint, config, VERSIONS).run_id
    assert plan.folder != plan_of(tmp_path, seeds=1).folder
    words = train_command(plan, plan.jobs[1])
    assert [words[i + 1] for i, word in enumerate(words) if word == "--set"] == settings
    with pytest.raises(ConfigError, match=r"signals\.served=\('tower',\)"):
        make_plan(tmp_path, "f", "tiny", ("none",), 1, lambda config: VERSIONS, ["signals.served=tower"])


def test_methods_are_checked_before_anything_is_spent() -> None:
    assert methods_of(None, "core") == ("none", "dsirm", "tiger", "dsi", "rkmeans", "category-path", "hash")
    assert set(LADDERS["all"]) == set(METHODS)
    assert methods_of("dsirm, none", "core") == ("dsirm", "none")
    with pytest.raises(ConfigError, match=r"Method 'dsrim' is unknown; allowed: .*dsirm"):
        methods_of("none,dsrim", "core")
    with pytest.raises(ConfigError, match="Ladder 'everything' is unknown; allowed: core, all"):
        methods_of(None, "everything")
    with pytest.raises(ConfigError, match="needs a method and a seed"):
        make_plan(Path(), "f", "tiny", [], 3, lambda config: VERSIONS)


def test_time_left_is_that_of_workers_who_take_the_next_run() -> None:
    assert time_left([], [10.0, 20.0, 30.0], 2) == 40.0  # 10 + 30 beside 20
    assert time_left([5.0, 50.0], [10.0, 20.0], 2) == 50.0
    assert time_left([], [10.0, None], 2) is None
    assert time_left([], [], 2) == 0.0


def finished_run(workspace: Path, method: str, seed: int, seconds: float, *, resamples: int = 200) -> Run:
    """A run folder with a manifest: a shared stage of 1,000 s, and two stages of its own."""
    config = override(preset("tiny", method=method, seed=seed), [WHOLE])
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, resamples=resamples))
    run = Run.create(workspace, "f" * 16, config, VERSIONS)
    (run.folder / "stages" / "vectors.shared").write_text("vectors-0")
    stages = [("vectors", 1000.0, 900.0), ("tokenize", seconds / 4, 500.0), ("rank", 3 * seconds / 4, 700.0)]
    run.finish({"stages": [{"stage": s, "seconds": t, "peak_mb": mb, "cached": False} for s, t, mb in stages]})
    return run


def test_estimates_come_from_finished_runs_of_the_catalogue(tmp_path: Path) -> None:
    assert run_cost(finished_run(tmp_path, "dsirm", 0, 40.0).folder) == Cost(40.0, 700.0)
    finished_run(tmp_path, "none", 0, 4.0)
    plan = plan_of(tmp_path, ("none", "dsirm", "tiger"))
    costs = Costs.read(tmp_path, "f" * 16, "tiny")
    assert costs.seconds("dsirm") == costs.seconds("tiger") == 52.0  # with 12 s for a start
    assert costs.seconds("none") == 16.0
    assert costs.peak_mb() == 700.0
    assert Costs.read(tmp_path, "another", "tiny").seconds("dsirm") is None
    rows = {row[0]: row[1:] for row in report.plan_section(plan, costs).rows}
    assert rows["dsirm"] == ["1", "1", "52 s", "of 1 finished"]
    assert rows["tiger"] == ["2", "0", "52 s", "like the other methods"]
    assert report.plan_sentence(plan, costs, 2) == (
        "4 of 6 runs to do, 2 finished already; time with 2 workers: about 2 min."  # 52 + 52 beside 16 + 52
    )
    assert "unknown until a run of each kind" in report.plan_sentence(plan, Costs(), 1)
    done = plan._replace(jobs=[job._replace(finished=True) for job in plan.jobs])
    assert "All 6 runs are finished" in report.plan_sentence(done, costs, 1)


# ---------------------------------------------------------------- workers

FAKE = """
import json, os, sys, time
from pathlib import Path
run, seconds, end = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
(run / "stages").mkdir(parents=True, exist_ok=True)
print("  … Shared inputs", flush=True)
time.sleep(seconds)
(run / "stages" / "tokenize.part").mkdir(exist_ok=True)
print("  … Training the quantizer", flush=True)
time.sleep(seconds)
if end == "fails":
    sys.exit("the codebook collapsed")
if end == "killed":
    os.kill(os.getpid(), 9)
if end == "finishes":
    stage = {"stage": "tokenize", "seconds": 3.0, "peak_mb": 1.0, "cached": False, "threads": os.environ["OMP_NUM_THREADS"]}
    (run / "run.json").write_text(json.dumps({"stages": [stage]}))
"""


def fake_command(ends: dict[str, str], seconds: float = 0.15):
    """Workers that sleep, then end as said of their method ('finishes' unless said)."""

    def command(plan: Plan, job: Job) -> list[str]:
        folder = plan.workspace / "runs" / job.run_id
        return [sys.executable, "-S", "-c", FAKE, str(folder), str(seconds), ends.get(job.method, "finishes")]

    return command


def test_the_first_run_prepares_alone_then_workers_share_the_rest(tmp_path: Path) -> None:
    plan, seen = plan_of(tmp_path, seeds=3), list[Standing]()
    costs = Costs()
    outcomes = run_jobs(plan, costs, workers=2, watch=seen.append, command=fake_command({}), poll_seconds=0.01)
    assert sorted(o.job for o in outcomes) == sorted(plan.jobs)
    assert all(o.ok and not o.reason for o in outcomes)
    assert max(len(s.running) for s in seen) == 2
    alone = [s for s in seen if any(w.doing == "Shared inputs" and w.job == plan.jobs[0] for w in s.running)]
    assert alone
    assert all(len(s.running) == 1 for s in alone)
    assert any(w.doing == "Training the quantizer" for s in seen for w in s.running)
    assert seen[0].left is None
    assert seen[-1].left is not None, "the first finished run tells how long the others take"
    assert [c.seconds for c in costs.known["dsirm"]] == [3.0] * 3
    assert report.standing_lines(alone[0])[0] == "0 of 6 runs finished"
    assert report.standing_lines(alone[0]._replace(left=80.0))[0].endswith("; about 80 s left")
    assert report.standing_lines(alone[0]._replace(left=0.0))[0].endswith("; longer than expected")
    assert "none, seed 0: Shared inputs" in report.standing_lines(alone[0])[1]
    assert not plan_of(tmp_path, seeds=3).todo
    assert run_jobs(plan_of(tmp_path, seeds=3), costs, workers=2, command=fake_command({"dsirm": "fails"})) == []


@pytest.mark.parametrize(
    ("end", "reason"),
    [("fails", "exit code 1"), ("killed", "killed by SIGKILL (out of memory?)"), ("stops", "ended without finishing")],
)
def test_a_failed_worker_stops_no_other_and_is_reported(tmp_path: Path, end: str, reason: str) -> None:
    plan = plan_of(tmp_path, ("dsirm", "none"), seeds=2)
    command = fake_command({"dsirm": end}, seconds=0.02)
    outcomes = run_jobs(plan, Costs(), workers=2, command=command, poll_seconds=0.01)
    assert {o.job.method for o in outcomes if o.ok} == {"none"}
    failed = [o for o in outcomes if not o.ok]
    assert [o.job.method for o in failed] == ["dsirm", "dsirm"]
    assert failed[0].reason.startswith(reason)
    text = "\n".join(report.failure_lines(failed[0]))
    assert str(failed[0].log) in text
    assert "Training the quantizer" in text
    assert end != "fails" or "the codebook collapsed" in text
    run_jobs(plan_of(tmp_path, ("dsirm", "none"), seeds=2), Costs(), workers=2, command=command, poll_seconds=0.01)
    assert failed[0].log.read_text().count("$ ") == 2, "a log keeps every attempt"


def test_ctrl_c_ends_the_workers(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)

    def interrupted(standing: Standing) -> None:
        if len(standing.running) == 2:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(plan, Costs(), workers=2, watch=interrupted, command=fake_command({}, seconds=1.0), poll_seconds=0.01)
    assert time.monotonic() - began < 8
    time.sleep(1.2)
    assert not list((tmp_path / "runs").glob("*/run.json")), "no worker is left to finish its run"


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.ablation.workers.cores", lambda: 4)
    assert {worker_environment(2, {})[name] for name in THREAD_VARIABLES} == {"2"}
    assert worker_environment(8, {})["OMP_NUM_THREADS"] == "1"
    assert worker_environment(2, {"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3", "the user's own word counts"


def test_a_second_worker_waits_where_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.ablation.workers.free_memory_mb", lambda: 1_000.0)
    seen = list[Standing]()
    costs = Costs({"dsirm": [Cost(1.0, 900.0)]})
    outcomes = run_jobs(
        plan_of(tmp_path), costs, workers=2, watch=seen.append, command=fake_command({}, 0.02), poll_seconds=0.01
    )
    assert len(outcomes) == 4
    assert max(len(s.running) for s in seen) == 1


# ---------------------------------------------------------------- statistics


def test_holm_by_hand() -> None:
    # .005 x 4, .01 x 3, .03 x 2, .04 x 1 = .02, .03, .06, .04; the last may not fall below the one before.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, np.nan, 0.5])), [1.0, np.nan, 1.0])
    assert len(holm(np.array([]))) == 0


def test_redrawn_runs_vary_like_the_mean_of_new_runs() -> None:
    rng = np.random.default_rng(0)
    draws = 20_000
    values = np.array([0.1, 0.4, 0.7, 0.2])
    estimates = [Estimate(v, v, v, 9, np.full(draws, v)) for v in values]
    assert np.ptp(mean_estimate(estimates).draws) == 0, "with the runs as they are only queries vary"
    found = mean_over_redrawn_runs(estimates, rng.integers(4, size=(draws, 4)))
    assert found.value == pytest.approx(values.mean())
    assert found.draws.std() == pytest.approx(values.std(ddof=1) / np.sqrt(4), rel=0.02)


# ---------------------------------------------------------------- table

QUERIES, ITEMS, TESTED = 40, 12, 25


class Made:
    """Made-up runs: 40 queries of 12 judged items, 25 of them test queries; what each ranker scored."""

    def __init__(self, workspace: Path, methods: tuple[str, ...], seeds: int) -> None:
        rng = np.random.default_rng(0)
        self.workspace = workspace
        self.query = np.repeat(np.arange(QUERIES), ITEMS)
        self.grade = rng.integers(0, 4, len(self.query)).astype(np.float64)
        self.relevant = self.grade >= 2
        self.split = np.array(["test"] * TESTED + ["train"] * (QUERIES - TESTED))[rng.permutation(QUERIES)]
        self.seen = rng.random(QUERIES) < 0.3
        self.tail = rng.random(QUERIES) < 0.4
        self.tested = self.split[self.query] == "test"
        self.scores: dict[tuple[str, int], dict[str, np.ndarray]] = {}
        self.level: dict[tuple[str, int], np.ndarray] = {}
        self.sharing: dict[tuple[str, int], np.ndarray] = {}
        cache = workspace / "cache" / "judged-0"
        cache.mkdir(parents=True)
        cache.with_suffix(".json").write_text("{}")
        save_arrays(cache / "judged.safetensors", position=np.arange(QUERIES), query=self.query, grade=self.grade)
        self.runs = [self._run(rng, method, seed) for method in methods for seed in range(seeds)]

    def _run(self, rng: np.random.Generator, method: str, seed: int) -> Run:
        run = finished_run(self.workspace, method, seed, 10.0 + seed, resamples=60)
        (run.folder / "stages" / "judged.shared").write_text("judged-0")
        noise = np.random.default_rng(100 + seed)  # baselines: one draw a seed, whatever the method
        names = {"weak": 3.0, "strong": 2.0, "strong_gbm": 1.9}
        scores = {name: self.grade + noise.normal(0, sd, len(self.grade)) for name, sd in names.items()}
        if method != "none":
            own = {"sid": 1.8, "rich": 1.4, "placebo": 2.0, "rich_placebo": 1.9}
            scores |= {name: self.grade + rng.normal(0, sd, len(self.grade)) for name, sd in own.items()}
        if method == "dsirm":  # a rung that other methods' runs lack
            scores["twins"] = scores["strong_gbm"] * 2.0
            scores["rich_twins"] = scores["rich"] * 2.0
        self.scores[method, seed] = scores
        rank = run.folder / "stages" / "rank"
        rank.with_suffix(".json").write_text("{}")
        rank.mkdir()
        save_arrays(rank / "judged.safetensors", **scores)
        tables, catalogue = run.folder / "tables", run.folder / "catalogue"
        catalogue.mkdir()
        ids = np.array([f"q{position}" for position in range(QUERIES)])
        category = np.where(self.tail, "rare", "common")
        write_table(
            catalogue, "items", pd.DataFrame({"category": ["rare", "common", None], "tier": ["tail", "head", None]})
        )
        columns = {"query_id": ids, "split": self.split, "seen": self.seen, "category": category}
        write_table(catalogue, "queries", pd.DataFrame(columns))
        served = "strong_gbm" if method == "none" else "rich"
        write_table(
            tables,
            "runs",
            pd.DataFrame({"ranker": [served], "level1": [{"none": None, "dsirm": "category"}.get(method, "kmeans")]}),
        )
        if method != "none":
            level = rng.integers(0, 3, len(self.query))
            self.level[method, seed] = level
            match = run.folder / "stages" / "match"
            match.with_suffix(".json").write_text("{}")
            match.mkdir()
            self.sharing[method, seed] = sharing = rng.integers(1, 5, (len(self.query), 2)).astype(np.int32)
            save_arrays(match / "matches.safetensors", level=level, sharing=sharing)
            codes = np.column_stack([np.arange(20) % 2, (np.arange(20) // 2 + seed * (method == "tiger")) % 2])
            write_table(tables, "sids", pd.DataFrame({"item_id": [f"i{i}" for i in range(20)], "codes": list(codes)}))
            health = [(1, "utilisation", 1.0, True), (2, "utilisation", 0.5 + seed / 10, False), (2, "entropy", 3.0, False),
                      (None, "aliasing", 0.25, False), (2, "flip_rate.typo", 0.1 + seed / 10, False),
                      (2, "attribute_gain", 0.05, False), (2, "attribute_gain.colour", 0.5, False),
                      (None, "label_score", np.nan, False)]  # fmt: skip
            write_table(tables, "health", pd.DataFrame(health, columns=["level", "metric", "value", "by_construction"]))
        return run

    def auc(
        self, method: str, seed: int, ranker: str, mask: np.ndarray | None = None, weights: np.ndarray | None = None
    ):
        """Directly, by scikit-learn: over test queries in `mask` (Q,), resampled by `weights` (Q_test,)."""
        rows = self.tested & (np.ones(QUERIES, dtype=bool) if mask is None else mask)[self.query]
        of_query = np.zeros(QUERIES)
        of_query[self.split == "test"] = 1.0 if weights is None else weights
        counts = of_query[self.query[rows]]
        return roc_auc_score(self.relevant[rows], self.scores[method, seed][ranker][rows], sample_weight=counts)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"), ("none", "dsirm", "tiger", "dsi"), 3)


@pytest.fixture(scope="module")
def tables(made: Made) -> Tables:
    return ladder_tables(made.runs, relevant_grade=2.0)


def row(tables: Tables, **conditions: object) -> pd.Series:
    chosen = tables.ladder
    for name, value in conditions.items():
        chosen = chosen[chosen[name].isna() if value is None else (chosen[name] == value).fillna(False)]
    assert len(chosen) == 1, conditions
    return chosen.iloc[0]


def test_auc_and_lift_are_means_over_seeds_of_the_test_queries(made: Made, tables: Tables) -> None:
    assert (tables.n_queries, tables.n_pairs) == (TESTED, TESTED * ITEMS)
    assert list(tables.ladder.columns) == LADDER_COLUMNS
    segments = {"all": None, "new": ~made.seen, "seen": made.seen, "category_tier=tail": made.tail}
    for segment, mask in segments.items():
        for method, ranker in (("none", "strong_gbm"), ("dsirm", "sid"), ("tiger", "rich"), ("dsi", "rich_placebo")):
            values = [made.auc(method, seed, ranker, mask) for seed in range(3)]
            found = row(tables, method=method, measure="auc", ranker=ranker, segment=segment)
            assert found["value"] == pytest.approx(np.mean(values))
            assert found["seed_sd"] == pytest.approx(np.std(values, ddof=1))
            assert found["n_seeds"] == 3
    lift = row(tables, method="dsirm", measure="auc_lift", ranker="rich", baseline="strong_gbm", segment="all")
    per_seed = [made.auc("dsirm", s, "rich") - made.auc("dsirm", s, "strong_gbm") for s in range(3)]
    assert lift["value"] == pytest.approx(np.mean(per_seed))
    assert lift["seed_sd"] == pytest.approx(np.std(per_seed, ddof=1))
    assert bool(lift["served"])


def draws_of(made: Made, method: str, ranker: str, resamples: int) -> np.ndarray:
    """(S, R) resampled AUC, one scikit-learn call each."""
    weights = resample_queries(TESTED, resamples, seed=0)
    return np.array([[made.auc(method, s, ranker, weights=w) for w in weights] for s in range(3)])


def test_intervals_and_tests_follow_from_one_matrix_of_resamples(made: Made, tables: Tables) -> None:
    resamples = made.runs[0].config.evaluation.resamples
    sid, strong, other = (
        draws_of(made, method, ranker, resamples)
        for method, ranker in (("dsirm", "sid"), ("dsirm", "strong"), ("tiger", "sid"))
    )
    found = row(tables, method="dsirm", measure="auc", ranker="sid", segment="all")
    np.testing.assert_allclose(
        found[["low", "high"]].astype(float), np.quantile(sid.mean(0), [0.025, 0.975]), atol=1e-6
    )
    found = row(tables, method="dsirm", measure="auc_lift", ranker="sid", baseline="strong", segment="all")
    expected = np.quantile((sid - strong).mean(0), [0.025, 0.975])
    np.testing.assert_allclose(found[["low", "high"]].astype(float), expected, atol=1e-6)

    tests = tables.comparisons.set_index(["baseline_method", "ranker", "segment"])
    test = tests.loc[("tiger", "sid", "all")]
    difference = (sid - other).mean(0)
    np.testing.assert_allclose(test[["low", "high"]].astype(float), np.quantile(difference, [0.025, 0.975]), atol=1e-6)
    tail = min((difference <= 0).sum(), (difference >= 0).sum())
    assert test["p_value"] == pytest.approx(min(1.0, 2 * (tail + 1) / (resamples + 1)))
    assert test["difference"] == pytest.approx(
        np.mean([made.auc("dsirm", s, "sid") - made.auc("tiger", s, "sid") for s in range(3)])
    )
    assert test["high_seeds"] - test["low_seeds"] > test["high"] - test["low"], "new seeds add their noise"


def test_holm_covers_methods_and_rankers_of_a_segment(tables: Tables) -> None:
    assert set(tables.comparisons["method"]) == {"dsirm"}
    for _, family in tables.comparisons.groupby("segment"):
        assert set(zip(family["baseline_method"], family["ranker"], strict=True)) == {
            (other, ranker) for other in ("tiger", "dsi") for ranker in ("sid", "rich")
        }
        for p, corrected in (("p_value", "p_holm"), ("p_seeds", "p_seeds_holm")):
            running, by_hand = 0.0, {}
            for place, (at, value) in enumerate(family[p].sort_values(kind="stable").items()):
                running = max(running, min(1.0, value * (len(family) - place)))
                by_hand[at] = running
            for at, value in by_hand.items():
                assert family.loc[at, corrected] == pytest.approx(value)


def test_hits_health_and_cost_by_hand(made: Made, tables: Tables) -> None:
    for depth in (1, 2):
        for segment, mask in (("new", ~made.seen), ("seen", made.seen)):
            per_seed, by_item = [], []
            for seed in range(3):
                level, sharing = made.level["tiger", seed], made.sharing["tiger", seed][:, depth - 1]
                hits, credits = [], []
                for q in np.flatnonzero((made.split == "test") & mask):
                    own = (made.query == q) & made.relevant
                    if own.any():
                        hits.append(float(level[own].max() >= depth))
                        credits.append(max((level[own] >= depth) / sharing[own]))
                per_seed.append(np.mean(hits))
                by_item.append(np.mean(credits))
            items = row(tables, method="tiger", measure="item_hit@5", level=depth, segment=segment)
            assert items["value"] == pytest.approx(np.mean(by_item))
            found = row(tables, method="tiger", measure="hit@5", level=depth, segment=segment)
            assert found["value"] == pytest.approx(np.mean(per_seed))
            assert found["low"] <= found["value"] <= found["high"]
    used = row(tables, method="dsi", measure="utilisation", level=2)
    assert used["value"] == pytest.approx(0.6)
    assert used["seed_sd"] == pytest.approx(0.1)
    assert not used["by_construction"]
    assert row(tables, method="dsi", measure="utilisation", level=1)["by_construction"]
    assert row(tables, method="dsi", measure="aliasing")["value"] == 0.25
    assert row(tables, method="none", measure="seconds")["value"] == pytest.approx(11.0)
    assert row(tables, method="none", measure="peak_mb")["value"] == 700.0


def test_measures_stand_beside_item_hits(made: Made, tables: Tables) -> None:
    flips = row(tables, method="dsi", measure="flip_rate.typo", level=2)
    assert (flips["value"], flips["seed_sd"]) == pytest.approx((0.2, 0.1))
    sections = {s.title: s for s in report.sections(tables.ladder, tables.comparisons)}
    hit = row(tables, method="dsi", measure="item_hit@5", level=2, segment="all")["value"]
    for title, column, cell in (
        ("Meaning", "attribute gain, level 2", "0.050 ±0.000"), ("Robustness", "typo flips, level 2", "0.200 ±0.100"),
    ):  # fmt: skip
        cells = {r[0]: dict(zip(sections[title].columns, r, strict=True)) for r in sections[title].rows}
        assert cells["dsi"][column] == cell
        assert cells["dsi"]["item_hit@5, level 2"].startswith(f"{hit:.3f} [")
        assert not any("colour" in name or "label" in name for name in sections[title].columns)
    assert "reward collapse" in sections["SID hits"].note
    assert "deepest level" in sections["Item hits"].note


def test_stability_is_the_agreement_of_pairs_over_seeds(tables: Tables) -> None:
    same = row(tables, method="dsi", measure="stability", level=2)
    assert (same["value"], same["n_seeds"], same["n"]) == (1.0, 3, 20)
    assert not row(tables, method="dsi", measure="stability", level=1)["by_construction"]
    assert row(tables, method="dsirm", measure="stability", level=1)["by_construction"]
    # Seeds 0 and 2 give tiger equal codes, seed 1 has 0 and 1 exchanged at level 2: other names, the same division.
    assert row(tables, method="tiger", measure="stability", level=2)["value"] == 1.0


def test_stability_by_hand(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path, "dsi", seed, 1.0) for seed in (0, 1)]
    for run, codes in zip(runs, ([[0], [0], [1], [1]], [[0], [1], [1], [1], [5]]), strict=True):
        ids = [f"i{i}" for i in range(len(codes))]
        write_table(run.folder / "tables", "sids", pd.DataFrame({"item_id": ids, "codes": codes}))
    # Of 6 pairs 2 are together in the first, 3 in the second, 1 in both; by chance 2 * 3 / 6 = 1: no better than that.
    assert stability(runs) == ([[0.0]], 4)


def test_missing_rungs_are_left_blank(tables: Tables) -> None:
    assert tables.ladder.query("method == 'none' and ranker in ['sid', 'rich', 'placebo']").empty
    sections = {s.title: s for s in report.sections(tables.ladder, tables.comparisons)}
    lift = {r[0]: dict(zip(sections["Lift"].columns[1:], r[1:], strict=True)) for r in sections["Lift"].rows}
    assert "none" not in lift
    assert lift["tiger"]["rich_twins − twins"] == "–"
    assert lift["dsirm"]["rich_twins − twins"] != "–"
    book = {r[0]: r[1:] for r in sections["Codebook"].rows}
    assert book["dsirm"][0] == "1.000 ±0.000†"
    assert book["dsirm"][1] == "0.600 ±0.100"
    assert [r[0] for r in sections["Without SIDs"].rows] == ["weak", "strong", "strong_gbm"]
    assert [r[0] for r in sections["Relevance"].rows] == ["none", "dsirm", "tiger", "dsi"]


def test_one_seed_has_no_spread_and_no_seed_interval(made: Made) -> None:
    first = ladder_tables([run for run in made.runs if run.config.seed == 0], relevant_grade=2.0)
    assert first.ladder["seed_sd"].isna().all()
    assert first.comparisons[["low_seeds", "p_seeds", "p_seeds_holm"]].isna().all(axis=None)
    assert first.comparisons["p_holm"].notna().all()
    methods = report.sections(first.ladder, first.comparisons)[-1]
    assert methods.rows[0][-1] == "–"


def test_runs_with_other_test_queries_are_refused(tmp_path: Path) -> None:
    made = Made(tmp_path, ("dsirm",), 2)
    path = made.runs[1].folder / "catalogue"
    queries = pd.read_parquet(path / "queries.parquet")
    queries.loc[queries["split"].eq("test").idxmax(), "split"] = "train"
    write_table(path, "queries", queries)
    with pytest.raises(RunError, match="other queries"):
        ladder_tables(made.runs, relevant_grade=2.0)


def test_a_saved_ablation_reads_back_and_is_found_by_its_runs(made: Made, tables: Tables, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ("none", "dsirm"), seeds=2)
    ids = [job.run_id for job in plan.jobs]
    about = {"dataset": "Made up", "relevant_grade": 2.0, "evaluation": "holdout", "resamples": 200}
    report.save(plan, tables, ids, [], about)
    manifest = json.loads((plan.folder / "ablation.json").read_text())
    ladder, comparisons = (pd.read_parquet(plan.folder / f"{name}.parquet") for name in ("ladder", "comparisons"))
    pd.testing.assert_frame_equal(comparisons, tables.comparisons)
    text = (plan.folder / "ladder.md").read_text()
    assert text == report.markdown(manifest, ladder, comparisons)
    assert "25 test queries with 300 judged pairs" in text
    assert "| dsirm − tiger | sid | all |" in text
    assert newest_ablation(tmp_path, [*ids, "another"]) == plan.folder
    assert newest_ablation(tmp_path, ids[1:]) is None


# ---------------------------------------------------------------- the command, on real runs


@pytest.fixture(scope="module")
def workspace(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained workspace: both methods are finished at seed 0."""
    target = tmp_path_factory.mktemp("ablated")
    for name in ("catalogues", "cache", "runs"):
        shutil.copytree(trained.workspace / name, target / name)
    return target


def ablate(workspace: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine", "ablate", "--preset", "tiny", "--workspace", str(workspace), "--json"]
    return subprocess.Popen(
        [*command, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def test_finished_runs_are_compared_and_published_as_they_are(trained: Trained, workspace: Path) -> None:
    process = ablate(workspace, "--methods", "none,dsirm", "--seeds", "1")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "All 2 runs are finished" in out
    said = json.loads(out.strip().splitlines()[-1])
    assert said["runs"] == [trained.none_run, trained.dsirm_run]
    assert said["snapshot_id"].startswith("snap-")
    assert newest_ablation(workspace, said["runs"]) == Path(said["folder"])
    ladder = pd.read_parquet(Path(said["folder"]) / "ladder.parquet")
    assert len(said["ladder"]) == len(ladder)
    metrics = pd.read_parquet(workspace / "runs" / trained.dsirm_run / "tables" / "metrics.parquet")
    known = {(m.metric, m.segment): m.value for m in metrics.itertuples()}
    compared = 0
    for row in ladder[ladder["method"] == "dsirm"].itertuples():
        name = f"{row.ranker}.{row.measure}" if isinstance(row.ranker, str) else f"{row.measure}.level_{row.level}"
        if row.measure in ("auc", "ndcg@10", "hit@5", "item_hit@5"):
            assert row.value == pytest.approx(known[name, row.segment], nan_ok=True), name
            compared += 1
    assert compared > 20


def test_killed_ablations_go_on_even_two_at_once(workspace: Path) -> None:
    """kill -9 of the command and its workers, then the same command twice at the same time."""
    words = ("--methods", "none", "--seeds", "3", "--no-publish", "--workers", "2")
    plan = make_plan(workspace, _fingerprint(workspace), "tiny", ["none"], 3, pipeline.versions)
    assert [job.seed for job in plan.todo] == [1, 2]
    process = ablate(workspace, *words)
    stages = workspace / "runs" / plan.todo[0].run_id / "stages"
    deadline = time.monotonic() + 120
    while not (stages / "rank.part").is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = make_plan(workspace, _fingerprint(workspace), "tiny", ["none"], 3, pipeline.versions)
    assert len(again.todo) == 2, "the command ended before it could be killed"
    both = [ablate(workspace, *words) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        assert "2 of 3 runs to do, 1 finished already" in out
    assert not make_plan(workspace, _fingerprint(workspace), "tiny", ["none"], 3, pipeline.versions).todo
    ladder = pd.read_parquet(plan.folder / "ladder.parquet")
    assert set(ladder["n_seeds"]) == {3}
    assert sorted(path.name for path in plan.folder.iterdir()) == [
        "ablation.json", "comparisons.parquet", "ladder.md", "ladder.parquet", "logs",
    ]  # fmt: skip


def test_a_run_that_goes_on_alone_takes_the_threads_it_began_with(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers share the cores; after a kill that spared one run's results the other would have had them all."""

    class Asked(Exception):
        pass

    def asked(plan: Plan, costs: Costs, *, workers: int, **_: Any) -> None:
        assert [job.method for job in plan.todo] == ["hash"]
        raise Asked(workers)

    monkeypatch.setattr("engine.ablation.workers.run_jobs", asked)
    words = ["--methods", "none,hash", "--seeds", "1", "--workers", "2", "--no-publish", "--workspace", str(workspace)]
    outcome = CliRunner().invoke(app, ["ablate", "--preset", "tiny", *words])
    assert isinstance(outcome.exception, Asked), outcome.output
    assert outcome.exception.args == (2,)


def test_a_run_that_cannot_be_trained_is_reported_and_the_rest_compared(trained: Trained, workspace: Path) -> None:
    shutil.copytree(workspace / "runs" / trained.none_run, workspace / "kept")
    try:
        broken = workspace / "runs" / trained.none_run
        (broken / "run.json").unlink()
        shutil.rmtree(broken / "stages" / "rank")
        (broken / "stages" / "rank.json").unlink()
        (broken / "stages" / "rank.part").write_text("a file where a folder is to be")
        process = ablate(workspace, "--methods", "none,dsirm", "--seeds", "1")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1, out + err
        said = json.loads(out.strip().splitlines()[-1])
        assert [f["run_id"] for f in said["failed"]] == [trained.none_run]
        assert said["snapshot_id"] is None
        assert said["runs"] == [trained.dsirm_run]
        assert "none, seed 0 failed: exit code 1" in err
        assert said["failed"][0]["log"] in err
        assert "rank.part" in err, "the log's last lines name the error"
        assert "Traceback" in Path(said["failed"][0]["log"]).read_text()
    finally:
        shutil.rmtree(broken)
        shutil.move(workspace / "kept", broken)


def _fingerprint(workspace: Path) -> str:
    return next(path.name for path in (workspace / "catalogues").iterdir() if path.is_dir())
