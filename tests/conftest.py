"""One tiny marketplace, trained and published once a session, shared by every test that needs a real run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pandas as pd
import pytest

from engine.config import Config, override, preset

# A busy machine takes its time; that is no failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).parents[1]
TINY_ITEMS = 500


def tiny(method: str = "dsirm") -> Config:
    """The settings of the shared runs: the tiny preset, with the whole ladder of rankers."""
    return override(preset("tiny", method=method), ["ranker.ladder=full"])


class Trained(NamedTuple):
    """A workspace with a published snapshot of two finished runs."""

    workspace: Path
    fingerprint: str
    none_run: str
    dsirm_run: str
    snapshot_id: str


@pytest.fixture(scope="session")
def marketplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract files of a tiny generated marketplace."""
    from engine.datasets.marketplace import write_marketplace

    folder = tmp_path_factory.mktemp("marketplace") / "files"
    write_marketplace(folder, n_items=TINY_ITEMS, seed=0)
    return folder


@pytest.fixture(scope="session")
def trained(marketplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Ingested, both methods trained on the tiny preset, mapped and published."""
    from engine import pipeline
    from engine.datasets.ingest import ingest

    workspace = tmp_path_factory.mktemp("trained")
    fingerprint = ingest(marketplace, workspace).catalogue.fingerprint
    none_run, dsirm_run = (pipeline.train(workspace, fingerprint, tiny(method)).run_id for method in ("none", "dsirm"))
    pipeline.project(workspace, dsirm_run)
    return Trained(workspace, fingerprint, none_run, dsirm_run, pipeline.publish(workspace, [none_run, dsirm_run]))


class TwoTrained(NamedTuple):
    """A workspace with two snapshots: of a catalogue that three methods were trained on, and of an earlier export of it."""

    workspace: Path
    runs: tuple[str, ...]
    """Of the current snapshot: no SIDs, DSIRM, residual k-means; with their ablation."""
    snapshot_id: str
    earlier_run: str
    earlier_id: str


def _earlier(files: Path, folder: Path) -> Path:
    """An earlier export of a marketplace: 12 of its items have other ids, 8 more did not exist, and queries count from the other end."""
    shutil.copytree(files, folder)
    items = pd.read_parquet(files / "items.parquet")["item_id"]
    ids = dict(zip(items[8:], ("old-" + items[8:20]).tolist() + items[20:].tolist(), strict=True))
    queries = pd.read_parquet(files / "queries.parquet")["query_id"]
    renamed = {"item_id": ids, "query_id": dict(zip(queries, queries[::-1], strict=True))}
    for path in folder.glob("*.parquet"):
        rows = pd.read_parquet(path)
        for name in renamed.keys() & set(rows):
            rows[name] = rows[name].map(renamed[name])
        rows.dropna(subset=list(renamed.keys() & set(rows))).to_parquet(path)
    return folder


@pytest.fixture(scope="session")
def two_trained(marketplace: Path, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> TwoTrained:
    """A second method on the catalogue of `trained`, an ablation of both, and a run and a snapshot of an earlier export."""
    from engine import pipeline
    from engine.ablation.ablate import conclude
    from engine.ablation.plan import Job, Plan
    from engine.datasets.ingest import ingest

    def lean(method: str, seed: int) -> Config:
        return override(preset("tiny", method=method, seed=seed), ["ranker.ladder=lean"])

    folder = tmp_path_factory.mktemp("two-trained")
    workspace = Path(shutil.copytree(trained.workspace, folder / "workspace"))
    shutil.rmtree(workspace / "snapshots")
    earlier = ingest(_earlier(marketplace, folder / "earlier"), workspace).catalogue.fingerprint
    earlier_run = pipeline.train(workspace, earlier, lean("dsirm", 1)).run_id
    earlier_id = pipeline.publish(workspace, [earlier_run])
    kmeans = pipeline.train(workspace, trained.fingerprint, lean("rkmeans", 0)).run_id
    runs = {"none": trained.none_run, "dsirm": trained.dsirm_run, "rkmeans": kmeans}
    jobs = [Job(method, 0, run, True) for method, run in runs.items()]
    conclude(Plan(workspace, trained.fingerprint, "tiny", tuple(runs), (0,), jobs), [])
    ids = tuple(runs.values())
    return TwoTrained(workspace, ids, pipeline.publish(workspace, list(ids)), earlier_run, earlier_id)
