"""The generated marketplace: deterministic, in the contract's form, and of the kind its documentation says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.datasets.ingest import validate
from engine.datasets.marketplace import clicks, content_hash, judgments, write_marketplace
from engine.datasets.marketplace.items import generate_items
from engine.datasets.marketplace.queries import KINDS, write_queries
from engine.datasets.marketplace.taxonomy import build_taxonomy
from engine.datasets.marketplace.truth import grade, utility
from engine.datasets.marketplace.vocabulary import load_vocabulary

N = 500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marketplace")
    write_marketplace(path, n_items=N, seed=3)
    return path


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {
        name: pd.read_parquet(folder / f"{name}.parquet") for name in ("items", "queries", "interactions", "judgments")
    }


def words(text: str) -> set[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return {w.rstrip("s") for w in re.findall(r"[a-z0-9]+", text.lower()) if w not in ENGLISH_STOP_WORDS and len(w) > 1}


def test_same_seed_same_content_other_seed_other_content(folder: Path, tmp_path: Path) -> None:
    write_marketplace(tmp_path / "again", n_items=N, seed=3)
    write_marketplace(tmp_path / "other", n_items=N, seed=4)
    assert content_hash(tmp_path / "again") == content_hash(folder)
    assert content_hash(tmp_path / "other") != content_hash(folder)


@pytest.mark.parametrize("n_items", [120, 400])
def test_small_sizes_work(tmp_path: Path, n_items: int) -> None:
    seen: list[int] = []
    write_marketplace(tmp_path, n_items=n_items, seed=0, progress=lambda done, total: seen.append(done))
    assert len(pd.read_parquet(tmp_path / "items.parquet")) == n_items
    assert seen == sorted(seen)
    assert seen[-1] == 100


def test_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_items=10"):
        write_marketplace(tmp_path, n_items=10)


def test_passes_the_contract_without_rejects(folder: Path) -> None:
    report = validate(folder)
    assert report.ok
    assert report.n_rejected == 0
    assert report.issues == ()


def test_settings_say_that_it_is_generated(folder: Path) -> None:
    settings = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    assert settings["name"] == "Bundled marketplace"
    assert "Generated" in settings["source"]
    assert {"image_embedding", "interactions", "judgments"} <= set(settings["simulated"])
    assert 0.85 < settings["oracle_auc"] < 1


def test_ids_are_unique_and_references_hold(tables: dict[str, pd.DataFrame]) -> None:
    items, queries = tables["items"], tables["queries"]
    assert items["item_id"].is_unique
    assert queries["query_id"].is_unique
    assert queries["text"].is_unique
    for name in ("interactions", "judgments"):
        assert tables[name]["item_id"].isin(items["item_id"]).all()
        assert tables[name]["query_id"].isin(queries["query_id"]).all()
    assert not tables["judgments"].duplicated(["query_id", "item_id"]).any()


def test_every_kind_of_query_is_there(tables: dict[str, pd.DataFrame]) -> None:
    assert set(tables["queries"]["kind"]) == set(KINDS)


def test_clicks_fall_with_position_and_never_exceed_impressions(tables: dict[str, pd.DataFrame]) -> None:
    log = tables["interactions"]
    assert (log["clicks"] <= log["impressions"]).all()
    assert (log["purchases"] <= log["clicks"]).all()
    rate = log.groupby("position")[["clicks", "impressions"]].sum()
    rate = rate["clicks"] / rate["impressions"]
    assert rate[1] > rate[4] > rate[10]
    assert pd.to_datetime(log["date"]).nunique() == clicks.DAYS // 7


def test_vernacular_queries_have_clicks_by_exploration(tables: dict[str, pd.DataFrame]) -> None:
    log = tables["interactions"].merge(tables["queries"][["query_id", "kind"]])
    clicked = log[log["kind"] == "vernacular"].groupby("query_id")["clicks"].sum()
    assert (clicked > 0).mean() > 0.5


def test_splits_are_by_query_and_most_judged_queries_are_new(tables: dict[str, pd.DataFrame]) -> None:
    judged = tables["judgments"]
    assert (judged.groupby("query_id")["split"].nunique() == 1).all()
    split = judged.drop_duplicates("query_id")
    shares = split["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.5, abs=0.08)
    assert shares["test"] == pytest.approx(0.35, abs=0.08)
    seen = split["query_id"].isin(tables["interactions"]["query_id"]).mean()
    assert 0.1 < seen < 0.3


def test_some_offers_have_no_picture_and_words_without_sight_no_embedding(tables: dict[str, pd.DataFrame]) -> None:
    assert 0.03 < tables["items"]["image_embedding"].isna().mean() < 0.25
    queries = tables["queries"]
    assert queries.loc[queries["kind"] == "vernacular", "image_space_embedding"].isna().all()
    assert queries.loc[queries["kind"] == "category", "image_space_embedding"].notna().all()
    lengths = tables["items"]["image_embedding"].dropna().map(lambda x: float(np.linalg.norm(x)))
    assert np.allclose(lengths, 1, atol=1e-2)


def test_vocabulary_has_216_leaves_and_vernacular_avoids_sellers_words() -> None:
    vocabulary = load_vocabulary()
    assert len(vocabulary.departments) == 24
    assert len(vocabulary.leaves) == 216
    for leaf in vocabulary.leaves:
        values = [value for a in leaf.attributes for value in vocabulary.attributes[a].values]
        sold = words(" ".join([leaf.name, *leaf.types, *leaf.features, *values]))
        for phrase in leaf.vernacular:
            assert not words(phrase.text) & sold, f"{leaf.path}: {phrase.text}"


def test_demo_size_has_all_leaves_of_zipf_sizes() -> None:
    taxonomy = build_taxonomy(6000, seed=0)
    assert len(taxonomy.leaves) == 216
    assert taxonomy.sizes.sum() == 6000
    assert 4 <= taxonomy.sizes.min() <= 8
    assert taxonomy.sizes.max() > 20 * np.median(taxonomy.sizes)


def test_splits_leave_eight_test_queries_a_department_at_demo_size() -> None:
    department = np.repeat(np.arange(24), 1500 // 24)
    split = judgments.split(department, np.random.default_rng(0))
    for d in range(24):
        assert (split[department == d] == "test").sum() >= 8


def test_truth_prefers_what_the_query_asks_for() -> None:
    taxonomy = build_taxonomy(N, seed=0)
    items = generate_items(taxonomy, seed=0)
    intents = write_queries(taxonomy, items, 200, seed=0)
    every = np.arange(len(items))
    for q in np.flatnonzero(np.array([KINDS[k] == "brand_type" for k in intents.kind]))[:10]:
        value = utility(taxonomy, items, intents, np.full(len(items), q), every) - 0.04 * items.quality
        right_leaf = items.leaf == intents.leaves[q, 0]
        right_brand = items.brand == intents.brand[q]
        right_type = (intents.types[q, 0] >> items.type) & 1 == 1
        exact = right_leaf & right_brand & right_type
        assert exact.any()
        assert np.allclose(value[exact], 1)
        assert (value[right_leaf & ~(right_brand & right_type)] < 0.62).all()
        assert (value[~right_leaf] <= 0.15).all()


def test_grades_are_cut_at_the_stated_utilities() -> None:
    assert grade(np.array([0.0, 0.24, 0.25, 0.61, 0.62, 0.83, 0.84, 1.0])).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_label_noise_is_as_stated() -> None:
    taxonomy = build_taxonomy(N, seed=0)
    items = generate_items(taxonomy, seed=0)
    intents = write_queries(taxonomy, items, 300, seed=0)
    nothing = np.full((len(intents), 20), -1, dtype=np.int64)
    pairs = judgments.judge(taxonomy, items, intents, nothing, nothing, seed=0)
    slipped = pairs.grade != grade(pairs.utility)
    assert slipped.mean() == pytest.approx(judgments.NOISE, abs=0.012)


def test_simulated_clicks_follow_the_stated_model() -> None:
    taxonomy = build_taxonomy(N, seed=0)
    items = generate_items(taxonomy, seed=0)
    intents = write_queries(taxonomy, items, 40, seed=0)
    legacy = np.tile(np.arange(clicks.SLOTS_SHOWN * 2), (len(intents), 1))
    sessions = np.full(len(intents), 2000)
    log = clicks.simulate(taxonomy, items, intents, legacy, sessions, np.random.default_rng(0))
    grades = grade(utility(taxonomy, items, intents, log.query, log.item))
    for position in (1, 5):
        for g in (0, 3):
            rows = (log.position == position) & (grades == g)
            expected = position**-clicks.EXAMINATION_DECAY * clicks.ATTRACTIVENESS[g]
            shown = log.impressions[rows].sum()
            error = 4 * np.sqrt(expected * (1 - expected) / shown)
            assert log.clicks[rows].sum() / shown == pytest.approx(expected, abs=error)
    kept = (legacy[log.query, np.minimum(log.position - 1, 19)] == log.item) * log.impressions
    assert kept.sum() / log.impressions.sum() == pytest.approx(1 - clicks.EXPLORATION, abs=0.03)
