"""One tiny marketplace, trained and published once a session, shared by every test that needs a real run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import hypothesis
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
