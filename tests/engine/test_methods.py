"""Every tokenizer, the paper's own configuration and a language model, each trained and served end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from engine import pipeline
from engine.answering.live import LiveRun
from engine.assigning.assign import assign
from engine.config import METHODS, Config, override, preset
from engine.datasets.contract import Catalogue
from engine.datasets.ingest import ingest
from engine.datasets.marketplace import write_marketplace
from engine.errors import RunError
from engine.learning import rankers
from engine.quantizers.controls import hash_codes
from engine.quantizers.tokenizer import load_quantizer
from engine.relevance.features import DENSE
from engine.relevance.scorer import Scorer
from engine.runs import Run, load_arrays
from engine.store.snapshot import open_snapshot
from tests.engine.tiny_language_model import write_language_model

TRAINED = (
    "tiger", "dsi", "rkmeans", "category-path", "hash", "dsirm-local", "dsirm-repel", "dsirm-2-levels", "dsirm-4-levels",
    "dsirm-dynamic", "dsirm-keywords",
)  # fmt: skip
TOKENIZERS = {
    "contrastive": "ContrastiveQuantizer",
    "local": "LocalQuantizer",
    "category-path": "PathQuantizer",
    "hash": "HashQuantizer",
    "rqvae": "RqVae",
    "hierarchical": "HierarchicalQuantizer",
    "kmeans": "KMeansQuantizer",
}
SHARED = ("vectors", "index", "judged", "own", "stacks")


class Shop(NamedTuple):
    """A workspace with one small catalogue."""

    workspace: Path
    catalogue: Catalogue


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("methods")
    write_marketplace(folder / "files", n_items=300, seed=1)
    return Shop(folder / "workspace", ingest(folder / "files", folder / "workspace").catalogue)


def train(shop: Shop, config: Config) -> Run:
    return pipeline.train(shop.workspace, shop.catalogue.fingerprint, config)


def tables(run: Run, *names: str) -> list[pd.DataFrame]:
    return [pd.read_parquet(next((run.folder / "tables").glob(f"{name}*"))) for name in names]


def live_answer_is_the_stored_one(shop: Shop, run: Run, query: int) -> None:
    """The same beams, scores and ranks, and beams that are SIDs."""
    live = LiveRun.load(shop.workspace, run.run_id)
    row = shop.catalogue.queries.iloc[query]
    result = live.query(row["text"])
    beams, scores, sids = tables(run, "beams", "scores", "sids")
    stored = beams[beams["query_id"] == row["query_id"]].sort_values("rank")
    assert result.beams["sid"].tolist() == stored["sid"].tolist()
    assert set(result.beams["sid"]) <= set(sids["sid"])
    ours = scores[scores["query_id"] == row["query_id"]]
    both = result.scores.merge(ours, on="item_id", suffixes=("", "_stored"))
    assert len(both) == len(ours) == len(result.scores) > 20
    assert np.ptp(both["score"]) > 0.05
    for column in ("score", "score_without_sid", "score_sid_off"):
        if run.config.generator.kind == "compact":
            np.testing.assert_allclose(both[column], both[f"{column}_stored"], atol=1e-9, err_msg=column)
        else:  # a language model answers in its own precision: now and then a tree's split lies between
            assert (abs(both[column] - both[f"{column}_stored"]) < 1e-5).mean() > 0.9, column
            np.testing.assert_allclose(both[column], both[f"{column}_stored"], atol=0.1, err_msg=column)


@pytest.fixture(autouse=True)
def served_rankers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that serve and their baselines: the whole ladder is trained once, in the run that all tests share."""

    def served(*given: Any) -> dict[str, rankers.Rung]:
        return {name: rung for name, rung in whole(*given).items() if name in ("strong", "sid", "strong_gbm", "rich")}

    whole = rankers.ladder
    monkeypatch.setattr(rankers, "ladder", served)


@pytest.fixture
def asked(shop: Shop) -> int:
    """Position of a judged query."""
    return int(np.flatnonzero(shop.catalogue.queries["query_id"].isin(shop.catalogue.judgments["query_id"]))[3])


# ---------------------------------------------------------------- tokenizers


@pytest.mark.parametrize("method", TRAINED)
def test_a_method_trains_and_serves(shop: Shop, asked: int, method: str) -> None:
    config = preset("tiny", method=method)
    if config.quantizer.dynamic_steps:
        config = override(config, ["quantizer.dynamic_steps=8"])
    run = train(shop, config)
    about, sids, codes, beams, contributions = tables(run, "runs", "sids", "codes", "beams", "contributions")
    levels = 2 if "2" in method else 4 if "4" in method else 3
    taught = method.startswith("dsirm")
    first = "category" if taught else {"category-path": "category", "hash": "hash"}.get(method, "kmeans")
    assert about.loc[0, ["method", "levels", "level1"]].tolist() == [
        method, levels, first,
    ]  # fmt: skip
    assert len(about["sizes"][0]) == levels

    tokenizer = load_quantizer(run.stage_folder("tokenize") / "stack0" / "quantizer")
    assert type(tokenizer).__name__ == TOKENIZERS[config.quantizer.kind]
    assert sids["item_id"].tolist() == shop.catalogue.items["item_id"].tolist()
    own = np.stack(sids["codes"].to_numpy())
    assert own.shape == (len(shop.catalogue.items), levels)
    assert (own >= 0).all()
    assert (own < about["sizes"][0]).all()
    distinct = [len(np.unique(own[:, :level], axis=0)) for level in range(1, levels + 1)]
    assert distinct[0] > 1
    assert (np.diff(distinct) > 0).all(), "every level tells items apart"
    if first == "category":
        named = (
            shop.catalogue.items["category"].str.split(" > ").str[: None if taught else 1].map(" > ".join).to_numpy()
        )
        for code in np.unique(own[:, 0]):
            assert len(set(named[own[:, 0] == code])) == 1
    assert set(codes["level"]) == set(range(1, levels + 1))
    assert set(beams["sid"]) <= set(sids["sid"])

    stacks = [load_arrays(run.stage_folder("tokenize") / f"stack{s}" / "codes.safetensors")["codes"] for s in (0, 1)]
    assert np.array_equal(*stacks) == (not taught), "what queries supervise is learnt anew for every fold"
    deepest = {int(name[4]) for name in contributions["feature"] if name.startswith("sid_")}
    assert deepest == set(range(1, levels + 1))
    for stage in SHARED:
        made = len([p for p in (shop.workspace / "cache").glob(f"{stage}-*") if p.is_dir()])
        # Key terms come last: title stacks are made of other vectors then.
        assert made == 1 + (stage == "stacks" and method == "dsirm-keywords"), f"{stage} made {made} times"
    live_answer_is_the_stored_one(shop, run, asked)


@pytest.mark.parametrize("method", TRAINED)
def test_new_items_get_the_sids_that_the_run_would_give_them(shop: Shop, tmp_path: Path, method: str) -> None:
    """Its own items under other ids; a run whose encoder learnt along says that it cannot. Follows the trainings above."""
    config = preset("tiny", method=method)
    if config.quantizer.dynamic_steps:
        config = override(config, ["quantizer.dynamic_steps=8"])
    run = train(shop, config)
    items = shop.catalogue.items
    items.assign(item_id="+" + items["item_id"]).to_csv(tmp_path / "items.csv", index=False)
    if config.quantizer.dynamic_steps:
        with pytest.raises(RunError, match="trained its encoder's last layer along"):
            assign(tmp_path, shop.workspace, run.run_id)
        return
    done = assign(tmp_path, shop.workspace, run.run_id)
    assert done.generation is not None
    made = pd.read_parquet(run.folder / "generations" / "1" / "assigned.parquet")
    (sids,) = tables(run, "sids")
    if method == "hash":
        sizes = tuple(tables(run, "runs")[0]["sizes"][0].tolist())
        assert np.stack(made["codes"].to_numpy()).tolist() == hash_codes(made["item_id"].tolist(), sizes).tolist()
        return
    assert (done.generation["n_items"], done.generation["n_new_sids"]) == (len(items), 0)
    by_category = method.startswith("dsirm") or method == "category-path"
    assert (done.generation["n_unknown_category"] == 0) == by_category, "none where level 1 is not forced"
    tied = items["popularity"].duplicated(keep=False).to_numpy() & (method == "category-path")  # then ids decide
    assert made["sid"][~tied].tolist() == sids["sid"][~tied].tolist()


def test_methods_are_published_together(shop: Shop) -> None:
    """Runs of different depth in one snapshot."""
    configs = [preset("tiny", method=method) for method in ("rkmeans", "dsirm-2-levels")]
    runs = [train(shop, config).run_id for config in configs]
    snapshot = open_snapshot(shop.workspace, pipeline.publish(shop.workspace, runs))
    try:
        depth = snapshot.cursor().execute("SELECT run_id, max(len(codes)) FROM sids GROUP BY run_id").fetchall()
    finally:
        snapshot.close()
    assert dict(depth) == dict(zip(runs, (3, 2), strict=True))


def test_every_method_is_its_own_configuration() -> None:
    made = {preset("tiny", method=method).to_json().replace(f'"method":"{method}"', "") for method in METHODS}
    assert len(made) == len(METHODS) - 1, "only 'none' and 'dsirm' share settings"


# ---------------------------------------------------------------- the paper's configuration


def test_the_papers_configuration_serves_its_own_ranker(shop: Shop, asked: int) -> None:
    """Ordinal MLP over dense features and the scalar match level."""
    run = train(shop, override(preset("tiny"), ["ranker.kind=mlp", "signals.served=match"]))
    about, scores, contributions, weights, points = tables(
        run, "runs", "scores", "contributions", "ranker_weights", "reference_points"
    )
    assert about.loc[0, ["ranker", "baseline"]].tolist() == ["sid", "strong"]
    assert json.loads(about["signal_columns"][0]) == []
    assert "signals" not in scores or scores["signals"].isna().all()
    assert set(contributions["feature"]) == {"dm", "mm_dm", "ct", "qs", "sid_1", "sid_2", "sid_3"}
    for ranker, column in (("sid", "score"), ("strong", "score_without_sid")):
        kept = weights[weights["ranker"] == ranker]
        arrays = {r.name: np.reshape(r.values, r.shape) for r in kept.itertuples()}
        level = scores["match_level"].to_numpy() if ranker == "sid" else None
        logit = Scorer.from_arrays(arrays, DENSE).logit(scores[list(DENSE)].to_numpy(), level)
        assert np.abs(logit - scores[column]).max() < 1e-9
    assert scores["match_level"].nunique() > 1
    summed = contributions.groupby(["query_id", "item_id"])["value"].sum().rename("sum").reset_index()
    both = summed.merge(scores, on=["query_id", "item_id"]).merge(points[["query_id", "score"]], on="query_id")
    assert np.abs(both["score_x"] - both["score_y"] - both["sum"]).max() < 1e-6
    live_answer_is_the_stored_one(shop, run, asked)


# ---------------------------------------------------------------- a language model


def test_a_language_model_goes_the_whole_way(shop: Shop, asked: int, tmp_path: Path) -> None:
    texts = [*shop.catalogue.items["title"], *shop.catalogue.queries["text"]]
    folder = write_language_model(tmp_path / "tiny-lm", texts)
    settings = ["generator.kind=full", f"generator.model={folder}", "generator.alignment_epochs=1",
                "generator.query_epochs=2", "generator.full_lr=0.004", "generator.max_tokens=16"]  # fmt: skip
    run = train(shop, override(preset("tiny"), settings))
    about, beams, free, training, metrics = tables(run, "runs", "beams", "free_beams", "training", "metrics")
    assert about["generator"][0] == "full"
    losses = training[training["stage"] == "generate"].groupby("name")["value"]
    assert losses.last()["query.loss"] < losses.first()["alignment.loss"]
    asked_for = shop.catalogue.queries["source"] != "synthetic"
    assert set(free["query_id"]) == set(shop.catalogue.queries["query_id"][asked_for])
    assert set(beams["query_id"]) == set(shop.catalogue.queries["query_id"])
    assert metrics.loc[metrics["metric"] == "validity", "value"].notna().any()
    assert (run.stage_folder("generate") / "stack0" / "model" / "tokenizer.json").is_file()
    live_answer_is_the_stored_one(shop, run, asked)
