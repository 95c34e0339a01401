"""Key terms beside the title: which they are, worked by hand; the vectors they make, and where these are read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import pipeline
from engine.answering.shelf import shelf_of
from engine.config import override, preset
from engine.datasets.ingest import ingest
from engine.errors import ConfigError, DataError
from engine.problem import keywords as module
from engine.problem import posed
from engine.problem.feedback import collect_feedback
from engine.problem.keywords import _READ, key_terms, learn_terms, load_views, new_views
from engine.problem.texts import item_texts
from engine.problem.vectors import encode_texts, load_vectors
from engine.runs import Run
from tests.engine.test_given_vectors import shop as shop_with_vectors

ITEMS = pd.DataFrame(
    {
        "title": ["Red mug 330ml", "Blue mug", "Oak table", "Red red lamp"],
        "attributes": ['{"material":"clay","year":2020}', '{"material":"clay"}', None, '{"room":null}'],
        "description": ["A mug of clay.", None, "Solid oak", "Oak foot"],
    }
)


def test_texts_hold_title_attribute_values_and_description() -> None:
    assert item_texts(ITEMS, *_READ) == [
        "Red mug 330ml clay 2020 A mug of clay.", "Blue mug clay", "Oak table Solid oak", "Red red lamp Oak foot",
    ]  # fmt: skip


def test_key_terms_are_those_of_the_greatest_count_times_idf_that_two_items_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terms = learn_terms(ITEMS)
    assert terms.words == ["clay", "mug", "oak", "red"]  # numbers are no terms, nor what one item alone holds
    np.testing.assert_allclose(terms.idf, math.log(5 / 3) + 1)
    monkeypatch.setattr(module, "KEY_TERMS", 2)
    found = key_terms(ITEMS, terms).toarray()
    half = 0.5
    # clay 2, mug 2, red 1; clay 1, mug 1; oak 2; red 2, oak 1.
    np.testing.assert_allclose(found, [[half, half, 0, 0], [half, half, 0, 0], [0, 0, 1, 0], [0, 0, half, half]])
    monkeypatch.setattr(module, "KEY_TERMS", 1)
    assert key_terms(ITEMS, terms).toarray().argmax(axis=1).tolist() == [0, 0, 2, 3]  # of equals, the first


def test_a_catalogue_without_common_terms_keeps_its_titles() -> None:
    lone = pd.DataFrame({"title": ["1", "22"], "attributes": [None, None], "description": [None, None]})
    terms = learn_terms(lone)
    assert terms.words == []
    assert key_terms(lone, terms).shape == (2, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose SIDs see key terms."""
    from engine.datasets.marketplace import write_marketplace

    folder = tmp_path_factory.mktemp("keywords")
    write_marketplace(folder / "files", n_items=300, seed=2)
    catalogue = ingest(folder / "files", folder / "ws").catalogue
    return pipeline.train(folder / "ws", catalogue.fingerprint, preset("tiny", method="dsirm-keywords"))


def test_vectors_are_half_title_half_the_mean_of_the_terms(run: Run) -> None:
    problem = posed(run)
    items, vectors = problem.catalogue.items, load_vectors(run, problem.catalogue)
    terms = learn_terms(items)
    share = key_terms(items, terms)
    views = load_views(run, vectors)
    assert (np.diff(share.indptr) <= 5).all()
    for row in (0, 7, 120):
        words = [terms.words[term] for term in share[row].indices]
        mixed = vectors.items[row] / 2 + encode_texts(run, words).mean(axis=0) / 2
        np.testing.assert_allclose(views[row], mixed / np.linalg.norm(mixed), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(views, axis=1), 1, atol=1e-5)
    # SIDs, their dense twins and title stacks read them; the dense features keep the titles'.
    np.testing.assert_array_equal(problem.views, views)
    np.testing.assert_array_equal(shelf_of(problem, collect_feedback(problem, None)).item_x, views)
    assert not np.array_equal(problem.vectors.items, views)


def test_later_items_get_the_vectors_that_the_run_would_give_them(run: Run) -> None:
    problem = posed(run)
    some = problem.catalogue.items.iloc[40:60].reset_index(drop=True)
    made = new_views(run, some, problem.vectors.items[40:60])
    np.testing.assert_allclose(made, problem.views[40:60], atol=1e-6)
    strange = some.assign(title="zzz", description=None, attributes=None)
    np.testing.assert_array_equal(new_views(run, strange, problem.vectors.items[40:60]), problem.vectors.items[40:60])


def test_vectors_of_another_width_and_dynamic_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dynamic encoding reads titles alone"):
        override(preset("tiny", method="dsirm-keywords"), ["quantizer.dynamic_steps=3"])
    with pytest.raises(ConfigError, match=r"quantizer.text='all'; allowed: title, keywords"):
        override(preset("tiny"), ["quantizer.text=all"])
    vectors = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    folder = shop_with_vectors(tmp_path / "shop", vectors[:4], [vectors[4], vectors[5], vectors[6]])
    (folder / "judgments.csv").write_text("query_id,item_id,grade\nq1,a,3\nq1,c,0\nq2,c,3\nq2,a,0\nq3,a,3\nq3,d,0\n")
    items = pd.read_csv(folder / "items.csv").assign(description="a common word")
    items.to_csv(folder / "items.csv", index=False)
    catalogue = ingest(folder, tmp_path / "ws").catalogue
    with pytest.raises(DataError, match=r"with 'minilm' \(384 numbers\), but the items' text_embedding has 5"):
        pipeline.train(tmp_path / "ws", catalogue.fingerprint, preset("tiny", method="dsirm-keywords"))
