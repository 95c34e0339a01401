"""Blocks on a cluster of two workers: the rows of the local path, whoever dies on the way."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engine import on_ray
from engine.answering import batch
from engine.cli import app
from engine.encoders import cache
from engine.errors import ConfigError, DataError, RunError
from engine.labeling.answers import read_answers
from engine.labeling.endpoint import EndpointError, EndpointSettings
from engine.labeling.judge import make_plan, run_plan
from engine.labeling.pairs import PairTexts
from engine.labeling.prompt import Prompt
from engine.on_ray import OnRay, connected
from engine.problem import posed
from engine.runs import Run
from tests.conftest import Trained
from tests.engine.dying_workers import Doing, Killed
from tests.engine.judge_server import Asked, JudgeServer, Said, graded

TABLES = ("scores", "contributions", "reference_points", "beams", "beam_nodes", "free_beams")


@pytest.fixture(scope="module")
def cluster() -> Iterator[OnRay]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        if "ray" not in sys.modules:  # Ray reads it when it is imported
            patch.setenv("RAY_AUTH_MODE", "token")
            patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray

        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
        yield connected()
        ray.shutdown()


def test_each_block_is_done_once_by_two_workers_though_one_dies(cluster: OnRay, tmp_path: Path) -> None:
    made = list(cluster.over(Doing(tmp_path, "dies once"), list(range(12))))
    assert sorted(number for number, _ in made) == list(range(12))
    assert len({pid for _, pid in made} - {os.getpid()}) >= 2


def test_what_a_block_says_is_said_here(cluster: OnRay, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^block 3 is not to be read$"):
        list(cluster.over(Doing(tmp_path, "says so"), list(range(6))))


def test_a_block_that_kills_every_worker_ends_the_work(
    cluster: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "TRIES", 1)
    with pytest.raises(RunError, match=r"Finished blocks are kept: repeat the command.*--ray-cpus"):
        list(cluster.over(Doing(tmp_path, "kills"), list(range(6))))


def test_a_node_that_does_not_see_the_workspace_is_named(
    cluster: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connected(shared=tmp_path / "workspace").workers == cluster.workers == 2
    monkeypatch.setattr(on_ray, "_sees", lambda path: os.path.exists(path + " elsewhere"))
    with pytest.raises(
        RunError, match=r"node .* does not see .*/workspace: the workspace must lie on a disk that every"
    ):
        connected(shared=tmp_path / "workspace")
    assert list((tmp_path / "workspace").iterdir()) == []


def test_what_is_missing_is_named(cluster: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--ray-cpus 3: the cluster has 2 CPUs"):
        connected(cpus=3)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^--on ray needs Ray: pip install -r requirements-ray\.txt$"):
        connected()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no such host:6379", "127.0.0.1:99999"])
def test_an_address_where_no_cluster_is(address: str) -> None:
    with pytest.raises(ConfigError, match=f"--ray-address {address}: no cluster to be had there .* Give 'auto'"):
        on_ray._start(address)


def test_another_place_is_refused(trained: Trained) -> None:
    done = CliRunner().invoke(app, ["train", "--workspace", str(trained.workspace), "--on", "moon"])
    assert isinstance(done.exception, ConfigError)
    assert "--on 'moon' is unknown; allowed: here, ray" in str(done.exception)


# ------------------------------------------------------------------ answers


def unanswered(trained: Trained, folder: Path) -> Run:
    """The run as it was before its queries were answered."""
    for name in ("catalogues", "cache", "runs"):
        shutil.copytree(trained.workspace / name, folder / name)
    run = Run.load(folder, trained.dsirm_run)
    shutil.rmtree(run.stage_folder("answer"))
    run.stage_folder("answer").with_suffix(".json").unlink()
    for table in TABLES:
        shutil.rmtree(run.folder / "tables" / table)
    return run


@pytest.fixture(scope="module")
def here(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = unanswered(trained, tmp_path_factory.mktemp("here"))
    batch.answer_all(run, posed(run), block=100)
    return run


@pytest.mark.parametrize("how", ["a worker dies", "two blocks a worker"])
def test_answers_are_those_of_the_local_path(
    cluster: OnRay, here: Run, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    run = unanswered(trained, tmp_path)
    if how == "a worker dies":
        monkeypatch.setattr(batch, "Answering", Killed)
    wide = cluster._replace(cpus=2, workers=1) if how == "two blocks a worker" else cluster
    seen: list[tuple[int, int]] = []
    run.watcher.start = lambda stage, title: lambda *at: seen.append(at)  # type: ignore[method-assign]
    batch.answer_all(replace(run, on_ray=wide), posed(run), block=100)
    assert (run.folder / "stages" / "killed").exists() == (how == "a worker dies")
    parts = len(list((run.stage_folder("answer") / "done").iterdir()))
    assert seen == [(done, parts) for done in range(1, parts + 1)]
    for table in TABLES:
        made, expected = (sorted((r.folder / "tables" / table).iterdir()) for r in (run, here))
        assert [path.name for path in made] == [path.name for path in expected]
        for path, twin in zip(made, expected, strict=True):
            assert pq.read_table(path).equals(pq.read_table(twin)), path.name  # bit for bit
    assert len(pd.read_parquet(run.folder / "tables" / "scores").drop_duplicates(["query_id", "item_id"])) == len(
        pd.read_parquet(here.folder / "tables" / "scores")
    )


# ------------------------------------------------------------------ vectors


def encoded(texts: list[str], folder: Path, where: OnRay | None = None) -> np.ndarray:
    return cache.encode_cached(texts, model="minilm", max_tokens=16, batch=8, cache=folder, on_ray=where)


def test_vectors_are_those_of_the_local_path(cluster: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOCK", 30)
    texts = [f"{'long and ' * (n % 5)}shoe {n % 90}" for n in range(120)] + ["half an emoji \ud83d", ""]
    expected = encoded(texts, tmp_path / "here")
    np.testing.assert_array_equal(encoded(texts, tmp_path / "ray", cluster), expected)
    assert [path.suffix for path in (tmp_path / "ray").iterdir()] == [".npy"]
    np.testing.assert_array_equal(encoded([], tmp_path / "none", cluster), np.empty((0, 384), dtype=np.float32))


def test_a_stopped_encoding_goes_on_at_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOCK", 10)
    texts = [f"shoe {n}" for n in range(35)]
    sizes: list[int] = []
    encode = cache.load_encoder(max_tokens=16, batch=8).__class__.encode

    def stops(self: object, block: list[str], *more: object) -> np.ndarray:
        sizes.append(len(block))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return encode(self, block, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("engine.encoders.minilm.MiniLMEncoder.encode", stops)
    with pytest.raises(KeyboardInterrupt):
        encoded(texts, tmp_path)
    (parts,) = tmp_path.iterdir()
    assert sorted(path.name for path in parts.iterdir()) == ["00000.npy", "00001.npy"]
    made = encoded(texts, tmp_path)
    assert sizes == [10, 10, 10, 10, 5]
    monkeypatch.undo()
    np.testing.assert_allclose(made, encoded(texts, tmp_path / "whole"), atol=1e-6)


# ------------------------------------------------------------------ judgments


@pytest.mark.parametrize("healthy", [True, False])
def test_a_judge_is_asked_by_workers(cluster: OnRay, trained: Trained, tmp_path: Path, healthy: bool) -> None:
    from engine.datasets.ingest import load

    data = load(trained.workspace, trained.fingerprint)
    texts, prompt = PairTexts(data), Prompt.for_scale(data.settings.max_grade)
    pairs = data.judgments[["query_id", "item_id"]].head(150).reset_index(drop=True)

    def says(asked: Asked) -> Said:
        return graded(len(asked.pair[1]) % 3) if healthy else Said(status=500, body="down")

    found = {}
    for place in (None, cluster):
        with JudgeServer(says) as server:
            folder = tmp_path / ("here" if place is None else "ray")
            settings = EndpointSettings(url=server.url, model="m", parallel=6, tries=1, backoff=0.01)
            plan = make_plan(pairs, texts, prompt, read_answers(folder))
            if not healthy:
                with pytest.raises(EndpointError, match="20 pairs in a row without an answer"):
                    run_plan(plan, texts, prompt, settings, folder, on_ray=place)
                continue
            tally = run_plan(plan, texts, prompt, settings, folder, on_ray=place)
            assert (tally.ok, tally.requests, len(server.asked)) == (150, 150, 150)
            found[place] = read_answers(folder).table.sort_values(["query_id", "item_id"], ignore_index=True)
    if healthy:
        assert found[None].drop(columns="requests").equals(found[cluster].drop(columns="requests"))
