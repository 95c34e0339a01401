"""DSIRM's variants: codes of their own for every parent, and repulsion of what must not share a SID."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config import QuantizerConfig
from engine.quantizers.contrastive import QuantizerFit, train_contrastive
from engine.quantizers.local import LocalQuantizer
from engine.quantizers.losses import REPEL_MARGIN, repulsion
from engine.quantizers.protocol import Known
from engine.quantizers.sampling import ApartSampler, Graded
from engine.quantizers.tokenizer import load_quantizer
from tests.engine.test_contrastive import CONFIG, SIZES, World, lessons, world
from tests.engine.test_tokenizers import Killed, killed_at, prefix, purity

LOCAL = dataclasses.replace(CONFIG, kind="local")


@pytest.fixture(scope="module")
def data() -> World:
    return world()


# ---------------------------------------------------------------- local codes


def test_local_codes_keep_level_1_and_tell_kinds_apart_that_shared_codes_mix(data: World) -> None:
    sizes = (6, 5)
    known = Known(data.category)
    shared, local = (train_contrastive(lessons(data), c, sizes, seed=3).quantizer for c in (CONFIG, LOCAL))
    assert isinstance(local, LocalQuantizer)
    ours, theirs = local.encode_items(data.item_x, known), shared.encode_items(data.item_x, known)
    np.testing.assert_array_equal(ours.codes[:, 0], data.category)
    np.testing.assert_allclose(ours.latent, theirs.latent, atol=1e-6)  # the training is the same
    assert purity(prefix(ours.codes, 2), data.fine) > purity(prefix(theirs.codes, 2), data.fine) + 0.02
    # Balanced: cells of a category hold like numbers of items.
    counts = np.array([np.bincount(ours.codes[data.category == c, 1], minlength=5) for c in range(6)])
    assert (counts > 0).all()


def test_a_later_item_goes_to_the_nearest_child_of_its_parent(data: World, tmp_path: Path) -> None:
    fit = train_contrastive(lessons(data), dataclasses.replace(LOCAL, steps=20), SIZES, seed=3)
    later = world(seed=1).item_x[:40]
    code = np.where(np.arange(40) % 2, np.arange(40) % 6, -1)
    result = fit.quantizer.encode_items(later, Known(code))
    first = fit.quantizer.codebooks.vectors[0].numpy()
    tree = fit.quantizer.tree.levels
    for row, (z, codes) in enumerate(zip(result.latent, result.codes, strict=True)):
        nearest = int(np.square(first - z).sum(axis=1).argmin())
        at = int(codes[0])
        assert at == (code[row] if code[row] >= 0 else nearest)
        distances = [1.0, np.linalg.norm(z - first[at])]
        for level, chosen in zip(tree, codes[1:], strict=True):
            children = level.centroids[level.first[at] : level.first[at + 1]]
            assert np.square(children - z).sum(axis=1).argmin() == chosen
            distances.append(np.linalg.norm(z - children[chosen]))
            at = int(level.first[at] + chosen)
        np.testing.assert_allclose(result.residual_norms[row], distances, atol=1e-5)
        np.testing.assert_allclose(result.quantized[row], tree[-1].centroids[at])
    fit.quantizer.save(tmp_path)
    again = load_quantizer(tmp_path)
    for one, other in zip(again.encode_items(later, Known(code)), result, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        again.encode_queries(data.query_x).codes, fit.quantizer.encode_queries(data.query_x).codes
    )


def test_a_code_that_no_item_has_leads_down_too(data: World) -> None:
    """More codes than categories: nobody comes there but a query would have a way on; unowned codes are out of reach."""
    fit = train_contrastive(lessons(data), dataclasses.replace(LOCAL, steps=3), (9, 4, 3), seed=0)
    codes = fit.quantizer.encode_queries(data.query_x).codes
    assert codes[:, 0].max() < 6
    assert (codes.max(axis=0) < (9, 4, 3)).all()


# ---------------------------------------------------------------- repulsion


def test_repulsion_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]], requires_grad=True)
    other = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.8, 0.6]])
    # Cosines 1, 0 and .8 over a margin of .5.
    assert REPEL_MARGIN == 0.5
    loss = repulsion(one, other)
    assert loss.item() == pytest.approx((0.5 + 0 + 0.3) / 3)
    loss.backward()
    assert one.grad is not None
    assert one.grad[1].abs().sum() == 0
    assert one.grad[2, 1] > 0  # a step down leads away from the other
    assert repulsion(one[:0], other[:0]).item() == 0


def test_pairs_graded_apart_are_of_one_query_relevant_first() -> None:
    query = np.array([4, 4, 4, 7, 9, 9])
    item = np.array([0, 1, 2, 3, 0, 5])
    relevant = np.array([True, False, False, True, False, True])
    sampler = ApartSampler(Graded(query, item, relevant))
    drawn = sampler.draw(400, np.random.default_rng(0))
    assert len(sampler) == 2  # query 7 has nothing irrelevant
    found, count = np.unique(drawn, axis=0, return_counts=True)
    assert found.tolist() == [[0, 1], [0, 2], [5, 0]]
    assert 160 < count[2] < 240  # queries evenly, not pairs
    assert ApartSampler(None).draw(3, np.random.default_rng(0)).shape == (0, 2)
    assert len(ApartSampler(Graded(query, item, np.ones(6, dtype=bool)))) == 0


def repelled(data: World, graded: Graded | None, weight: float, **changes: object) -> QuantizerFit:
    config = dataclasses.replace(CONFIG, lr=1e-2, repel_weight=weight, category_level=False)
    given = lessons(data, categories=False)._replace(graded=graded)
    if "category" in changes:
        given = given._replace(known=Known(category=changes["category"]))  # type: ignore[arg-type]
    return train_contrastive(given, config, (4, 4), seed=3)


def test_items_graded_apart_come_to_share_fewer_sids(data: World) -> None:
    rng = np.random.default_rng(5)
    # Every query finds one half of the items relevant and the other not, though the halves look alike.
    half = data.item_x[:, 0] > 0
    query = np.repeat(np.arange(300), 6)
    item = rng.integers(900, size=len(query))
    graded = Graded(query, item, half[item])
    plain, apart = repelled(data, graded, 0.0), repelled(data, graded, 5.0)
    pairs = ApartSampler(graded).draw(4000, np.random.default_rng(1))

    def shared(fit: QuantizerFit) -> float:
        sid = prefix(fit.quantizer.encode_items(data.item_x, None).codes, 2)
        return float((sid[pairs[:, 0]] == sid[pairs[:, 1]]).mean())

    assert shared(apart) < 0.8 * shared(plain)
    assert "repel" in set(apart.history.name)
    assert "repel" not in set(plain.history.name)
    none = repelled(data, None, 5.0)
    assert (none.history[none.history.name == "repel"].value == 0).all(), "nothing was graded, no category is known"
    np.testing.assert_array_equal(
        none.quantizer.encode_items(data.item_x, None).codes, plain.quantizer.encode_items(data.item_x, None).codes
    )


def test_items_of_other_categories_come_to_share_fewer_sids(data: World) -> None:
    category = [f"c{fine % 3}" if fine % 7 else None for fine in data.fine.tolist()]
    plain, apart = repelled(data, None, 0.0), repelled(data, None, 5.0, category=category)
    named = np.array([name or "" for name in category])

    def mixed(fit: QuantizerFit) -> float:
        sid = prefix(fit.quantizer.encode_items(data.item_x, None).codes, 2)
        same = sid[:, None] == sid
        other = (named[:, None] != named) & (named != "") & (named[:, None] != "")
        return float((same & other).sum() / same.sum())

    assert mixed(apart) < 0.9 * mixed(plain)


@pytest.mark.parametrize("change", [{"kind": "local"}, {"repel_weight": 1.0}], ids=str)
def test_interrupted_it_resumes_to_the_same_bits(data: World, change: dict[str, object], tmp_path: Path) -> None:
    config: QuantizerConfig = dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
    graded = Graded(np.repeat(np.arange(50), 4), np.arange(200), np.arange(200) % 2 == 0)
    given = lessons(data)._replace(graded=graded)
    whole = train_contrastive(given, config, SIZES, seed=3)
    with pytest.raises(Killed):
        train_contrastive(given, config, SIZES, seed=3, checkpoint=tmp_path / "c", progress=killed_at(130, 150))
    resumed = train_contrastive(given, config, SIZES, seed=3, checkpoint=tmp_path / "c")
    assert resumed.history.equals(whole.history)
    known = Known(data.category)
    ours, theirs = (fit.quantizer.encode_items(data.item_x, known) for fit in (resumed, whole))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
