"""DSIRM's quantizer: each loss against numbers worked by hand, the codebooks' rules, and training end to end."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine.config import QuantizerConfig
from engine.errors import ModelError
from engine.quantizers.contrastive import QuantizerFit, train_contrastive
from engine.quantizers.kmeans import balance, kmeans
from engine.quantizers.losses import commitment, info_nce, reconstruction, rotate, straight_through
from engine.quantizers.protocol import Known
from engine.quantizers.residual import ResidualCodebooks, Residuals
from engine.quantizers.sampling import PairSampler, TrainingSet
from engine.quantizers.tokenizer import load_quantizer

NOTHING_KNOWN = torch.zeros(2, 2, dtype=torch.bool)


class World(NamedTuple):
    """Items in clusters; queries speak of a cluster in a shifted language."""

    item_x: np.ndarray
    query_x: np.ndarray
    pair_query: np.ndarray
    pair_item: np.ndarray
    pair_weight: np.ndarray
    category: np.ndarray
    fine: np.ndarray
    query_fine: np.ndarray


def world(n_items: int = 900, n_queries: int = 400, width: int = 24, seed: int = 0) -> World:
    """6 categories of 5 kinds each; a query is its kind's centre in another basis, plus noise, with 4 clicked items."""
    rng = np.random.default_rng(seed)
    kind_centre = np.repeat(rng.normal(size=(6, width)), 5, axis=0) + 0.7 * rng.normal(size=(30, width))
    fine = rng.integers(30, size=n_items)
    query_fine = rng.integers(30, size=n_queries)
    item_x = kind_centre[fine] + 0.4 * rng.normal(size=(n_items, width))
    turn = 0.4 * np.eye(width) + rng.normal(size=(width, width)) / math.sqrt(width)
    query_x = (kind_centre[query_fine] + 0.4 * rng.normal(size=(n_queries, width))) @ turn
    pairs = [(q, i) for q in range(n_queries) for i in rng.choice(np.flatnonzero(fine == query_fine[q]), 4)]
    pair_query, pair_item = np.array(sorted(set(pairs))).T
    return World(
        unit(item_x), unit(query_x), pair_query, pair_item, np.ones(len(pair_item), dtype=np.float32), fine // 5, fine,
        query_fine,
    )  # fmt: skip


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


CONFIG = QuantizerConfig(dim=16, steps=150, batch=64, restart_every=25, lr=3e-3)
SHORT = dataclasses.replace(CONFIG, steps=30)
SIZES = (6, 8, 8)


def train(w: World, config: QuantizerConfig = CONFIG, *, categories: bool = True, **arguments: object) -> QuantizerFit:
    return train_contrastive(lessons(w, categories=categories), config, SIZES, seed=3, **arguments)  # type: ignore[arg-type]


def lessons(w: World, *, categories: bool = True) -> TrainingSet:
    return TrainingSet(
        w.item_x, w.query_x, w.pair_query, w.pair_item, w.pair_weight, Known(w.category if categories else None)
    )


@pytest.fixture(scope="module")
def data() -> World:
    return world()


@pytest.fixture(scope="module")
def fit(data: World) -> QuantizerFit:
    return train(data)


# ------------------------------------------------------------------------------------------------------ losses


def test_info_nce_by_hand() -> None:
    # Cosines: q0 = i0, q1 at 60 degrees from i0 and 30 from i1; lengths must not matter.
    query = torch.tensor([[2.0, 0.0], [0.5, math.sqrt(0.75)]])
    item = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    tau = 0.5
    s00, s01, s10, s11 = 1 / tau, 0 / tau, 0.5 / tau, math.sqrt(0.75) / tau
    rows = [math.log(math.exp(s00) + math.exp(s01)) - s00, math.log(math.exp(s10) + math.exp(s11)) - s11]
    columns = [math.log(math.exp(s00) + math.exp(s10)) - s00, math.log(math.exp(s01) + math.exp(s11)) - s11]
    expected = (sum(rows) / 2 + sum(columns) / 2) / 2
    assert info_nce(query, item, NOTHING_KNOWN, tau).item() == pytest.approx(expected, abs=1e-6)


def test_known_positives_are_no_negatives_in_either_direction() -> None:
    query, item = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.eye(3, 4)
    known = torch.eye(3, dtype=torch.bool)
    known[0, 2] = True
    masked = info_nce(query, item, known, 0.07)
    s = functional.normalize(query, dim=1) @ item.T / 0.07
    rows = [
        torch.logsumexp(s[0, :2], 0) - s[0, 0],
        torch.logsumexp(s[1], 0) - s[1, 1],
        torch.logsumexp(s[2], 0) - s[2, 2],
    ]
    columns = [
        torch.logsumexp(s[:, 0], 0) - s[0, 0],
        torch.logsumexp(s[:, 1], 0) - s[1, 1],
        torch.logsumexp(s[1:, 2], 0) - s[2, 2],
    ]
    assert masked.item() == pytest.approx(float(sum(rows) + sum(columns)) / 6, rel=1e-5)
    # All known: the positive alone is left, and the loss is nil, not a NaN.
    assert info_nce(query, item, torch.ones(3, 3, dtype=torch.bool), 0.07).item() == pytest.approx(0, abs=1e-6)


def test_commitment_and_reconstruction_reductions() -> None:
    # One level, two rows: squared distances 1 + 4 and 0, mean over rows 2.5; two levels of it: the mean stays.
    residuals = torch.tensor([[[9.0, 9.0], [9.0, 9.0]], [[1.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]])
    result = Residuals(torch.zeros(2, 2, dtype=torch.int64), residuals, torch.zeros(2, 2, 2))
    assert commitment(result).item() == pytest.approx(2.5)
    assert reconstruction(torch.tensor([[1.0, 1.0, 0.0]]), torch.zeros(1, 3)).item() == pytest.approx(2.0)


def test_straight_through_and_rotation_give_the_quantized_value_and_a_gradient_to_the_latent() -> None:
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(5, 7, generator=generator, requires_grad=True)
    quantized = torch.randn(5, 7, generator=generator)
    upstream = torch.randn(5, 7, generator=generator)
    for estimator in (straight_through, rotate):
        value = estimator(latent, quantized)
        torch.testing.assert_close(value, quantized, atol=1e-5, rtol=1e-4)
        (gradient,) = torch.autograd.grad(value, latent, upstream)
        length = quantized.norm(dim=1) / latent.norm(dim=1) if estimator is rotate else torch.ones(5)
        # A rotation keeps lengths, so only the scale changes the gradient's; straight-through changes nothing.
        torch.testing.assert_close(gradient.norm(dim=1), upstream.norm(dim=1) * length.detach())
    torch.testing.assert_close(torch.autograd.grad(straight_through(latent, quantized), latent, upstream)[0], upstream)


# ---------------------------------------------------------------------------------------------------- sampling


def test_mask_covers_every_known_pair_repeats_included() -> None:
    rng = np.random.default_rng(0)
    pair_query, pair_item = rng.integers(9, size=60), rng.integers(12, size=60)
    sampler = PairSampler(pair_query, pair_item, np.ones(60, dtype=np.float32), n_items=12)
    query, item = sampler.draw(40, rng)
    positives = set(zip(pair_query.tolist(), pair_item.tolist(), strict=True))
    expected = np.array([[(q, i) in positives for i in item.tolist()] for q in query.tolist()])
    np.testing.assert_array_equal(sampler.known(query, item), expected)
    assert expected.diagonal().all()
    assert (expected[item[:, None] == item[None, :]].sum()) > 40  # the same item twice in the batch is masked


def test_pairs_are_drawn_in_proportion_to_their_weight() -> None:
    sampler = PairSampler(np.array([1, 0, 2]), np.array([5, 4, 6]), np.array([3, 1, 0], dtype=np.float32), n_items=7)
    query, item = sampler.draw(20_000, np.random.default_rng(0))
    assert set(zip(query.tolist(), item.tolist(), strict=True)) == {(0, 4), (1, 5)}
    assert (query == 1).mean() == pytest.approx(0.75, abs=0.02)


# --------------------------------------------------------------------------------------------------- codebooks


def codebooks(*levels: list[list[float]]) -> ResidualCodebooks:
    books = ResidualCodebooks(tuple(len(level) for level in levels), len(levels[0][0]))
    books.vectors = [torch.tensor(level) for level in levels]
    books.mass = [torch.full((len(level),), 1 / len(level)) for level in levels]
    books.sums = [vectors * mass[:, None] for vectors, mass in zip(books.vectors, books.mass, strict=True)]
    return books


def test_levels_quantize_the_residual_of_the_level_above() -> None:
    books = codebooks([[1.0, 0.0], [0.0, 1.0]], [[0.2, 0.0], [0.0, -0.3]])
    result = books.quantize(torch.tensor([[1.25, 0.0], [0.0, 0.72]]))
    assert result.codes.tolist() == [[0, 0], [1, 1]]
    torch.testing.assert_close(result.residuals[2], torch.tensor([[0.05, 0.0], [0.0, 0.02]]))
    torch.testing.assert_close(result.quantized, torch.tensor([[1.2, 0.0], [0.0, 0.7]]))


def test_known_categories_force_level_1_and_the_others_take_the_nearest_owned_code() -> None:
    books = codebooks([[1.0, 0.0], [0.0, 1.0], [0.0, 0.9]], [[0.0, 0.0]])
    books.owned[1] = False
    latent = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert books.quantize(latent, torch.tensor([0, -1, -1])).codes[:, 0].tolist() == [0, 2, 0]


def test_moving_average_by_hand() -> None:
    books = codebooks([[1.0], [-1.0]])
    # Mass (1/2, 1/2), sums (1/2, -1/2); rows 2, 2, 4 go to code 0. decay .9: mass .45 + .1, sum .45 + .1 * 8/3.
    result = books.quantize(torch.tensor([[2.0], [2.0], [4.0]]))
    books.update(result, 0.9)
    assert books.mass[0].tolist() == pytest.approx([0.55, 0.45])
    assert books.vectors[0][0].item() == pytest.approx((0.45 + 0.1 * 8 / 3) / 0.55)
    assert books.vectors[0][1].item() == pytest.approx(-1.0)  # without members a vector stays where it is
    for _ in range(200):
        books.update(books.quantize(torch.tensor([[2.0], [2.0], [4.0]])), 0.9)
    assert books.vectors[0][0].item() == pytest.approx(8 / 3, rel=1e-5)


def test_dead_codes_restart_on_badly_served_rows() -> None:
    books = codebooks([[0.0, 0.0], [50.0, 50.0], [60.0, 60.0]])
    rows = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    moved = books.restart(0, torch.tensor([False, True, True]), rows, np.random.default_rng(0))
    assert moved == 2
    assert sorted(books.vectors[0][1:].tolist()) == [[0.0, 4.0], [3.0, 0.0]]  # never the row that is served exactly
    assert sorted(books.quantize(rows).codes[:, 0].tolist()) == [0, 1, 2]
    assert books.restart(0, torch.zeros(3, dtype=torch.bool), rows, np.random.default_rng(0)) == 0


def test_forced_level_is_the_mean_of_its_members() -> None:
    latent = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.0, 1.0], [0.3, 0.3]])
    books = ResidualCodebooks((4, 2), 2)
    books.fit(latent, torch.tensor([2, 2, 0, -1]), seed=0)
    torch.testing.assert_close(books.vectors[0][2], torch.tensor([0.9, 0.1]))
    assert books.owned.tolist() == [True, False, True, False]


def test_kmeans_finds_clusters_is_seeded_and_always_gives_k() -> None:
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(12, 6))
    x = (np.repeat(centres, 50, axis=0) + 0.1 * rng.normal(size=(600, 6))).astype(np.float32)
    found = kmeans(x, 12, seed=1, redo=5)
    np.testing.assert_array_equal(found, kmeans(x, 12, seed=1, redo=5))
    near = np.linalg.norm(x[:, None] - found[None], axis=2).argmin(axis=1)
    assert len(set(near.tolist())) == 12
    few = kmeans(x[:3], 8, seed=1)
    assert few.shape == (8, 6)
    assert len(np.unique(few, axis=0)) == 8
    alike = kmeans(np.ones((20, 4), dtype=np.float32), 5, seed=0)
    assert alike.shape == (5, 4)
    assert np.isfinite(alike).all()


def test_balancing_evens_out_cells_at_no_cost_in_distortion() -> None:
    rng = np.random.default_rng(0)
    # Rows of very unequal length, as residuals are: k-means alone gives the long ones cells of their own.
    x = (rng.normal(size=(3000, 12)) * rng.gamma(0.6, size=(3000, 1))).astype(np.float32)

    def perplexity_and_distortion(centroids: np.ndarray) -> tuple[float, float]:
        squared = np.square(x[:, None] - centroids[None]).sum(axis=2)
        share = np.bincount(squared.argmin(axis=1), minlength=len(centroids)) / len(x)
        return float(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())), float(squared.min(axis=1).mean())

    starts = [kmeans(x, 16, seed=seed) for seed in range(4)]
    plain = np.mean([perplexity_and_distortion(start) for start in starts], axis=0)
    balanced = np.mean([perplexity_and_distortion(balance(x, start, seed=0)) for start in starts], axis=0)
    assert balanced[0] > 1.1 * plain[0]
    assert balanced[1] < 1.01 * plain[1]
    np.testing.assert_array_equal(balance(x, starts[0], seed=0), balance(x, starts[0], seed=0))


# ---------------------------------------------------------------------------------------------------- training


def test_shapes_and_residuals_fit_together(data: World, fit: QuantizerFit) -> None:
    result = fit.quantizer.encode_items(data.item_x, Known(data.category))
    assert result.codes.shape == (900, 3)
    assert result.codes.dtype == np.int64
    assert result.residual_norms.shape == (900, 4)
    assert result.latent.dtype == result.quantized.dtype == result.residual_norms.dtype == np.float32
    np.testing.assert_allclose(result.residual_norms[:, 0], 1, atol=1e-5)
    last = np.linalg.norm(result.latent - result.quantized, axis=1)
    np.testing.assert_allclose(result.residual_norms[:, 3], last, atol=1e-5)
    assert (np.diff(result.residual_norms.mean(axis=0)) < 0).all()
    assert fit.quantizer.encode_queries(np.empty((0, 24), dtype=np.float32)).codes.shape == (0, 3)


def test_level_1_belongs_to_categories(data: World, fit: QuantizerFit) -> None:
    assert fit.quantizer.forced_level
    wrong = (data.category + 1) % 6
    assert fit.quantizer.encode_items(data.item_x, Known(wrong)).codes[:, 0].tolist() == wrong.tolist()
    free = fit.quantizer.encode_items(data.item_x, None).codes[:, 0]
    assert (free == data.category).mean() > 0.9
    mixed = np.where(np.arange(900) % 2, data.category, -1)
    codes = fit.quantizer.encode_items(data.item_x, Known(mixed)).codes[:, 0]
    assert codes[1::2].tolist() == data.category[1::2].tolist()
    assert codes[::2].tolist() == free[::2].tolist()


def test_every_code_is_used_and_history_says_so(data: World, fit: QuantizerFit) -> None:
    codes = fit.quantizer.encode_items(data.item_x, Known(data.category)).codes
    final = fit.history[fit.history.step == CONFIG.steps].set_index("name").value
    for level, size in enumerate(SIZES):
        share = np.bincount(codes[:, level], minlength=size) / len(codes)
        assert (share > 0).mean() >= 0.95
        perplexity = 2 ** -(share[share > 0] * np.log2(share[share > 0])).sum()
        assert perplexity > 0.7 * size
        assert final[f"usage_{level + 1}"] == pytest.approx((share > 0).mean())
        assert final[f"perplexity_{level + 1}"] == pytest.approx(perplexity)
    assert not fit.history.duplicated(["step", "name"]).any()
    parts = {"loss", "contrastive", "commitment", "reconstruction"}
    assert parts <= set(fit.history.name)
    assert final["loss"] == pytest.approx(
        final["contrastive"] + final["commitment"] + 0.1 * final["reconstruction"], rel=1e-5
    )
    first = fit.history[fit.history.step == 10].set_index("name").value
    assert final["contrastive"] < first["contrastive"]


def held_out_agreement(config: QuantizerConfig) -> np.ndarray:
    """Share of (held-out query, item of its kind) whose codes agree down to each level."""
    w = world(n_queries=600, seed=5)
    trained = w.pair_query < 300
    fit = train(
        w._replace(**{f"pair_{k}": getattr(w, f"pair_{k}")[trained] for k in ("query", "item", "weight")}), config
    )
    items = fit.quantizer.encode_items(w.item_x, Known(w.category)).codes[w.pair_item[~trained]]
    queries = fit.quantizer.encode_queries(w.query_x).codes[w.pair_query[~trained]]
    agreement: np.ndarray = (items == queries).cumprod(axis=1).mean(axis=0)
    return agreement


def test_contrastive_training_brings_new_queries_to_the_codes_of_their_items() -> None:
    bridged = held_out_agreement(CONFIG)
    apart = held_out_agreement(dataclasses.replace(CONFIG, contrastive_weight=0.0))
    assert bridged[0] > apart[0] + 0.05
    assert bridged[1] > apart[1] + 0.05


def test_without_categories_level_1_is_kmeans_cells(data: World) -> None:
    for chosen in (
        train(data, SHORT, categories=False),
        train(data, dataclasses.replace(SHORT, category_level=False)),
        train(data._replace(category=np.full(900, -1)), SHORT),
    ):
        assert not chosen.quantizer.forced_level
        codes = chosen.quantizer.encode_items(data.item_x, Known(data.category)).codes
        assert len(set(codes[:, 0].tolist())) == 6
        assert "restarts_1" in set(chosen.history.name)


def test_without_pairs_items_alone_train(data: World) -> None:
    nothing = np.empty(0, dtype=np.int64)
    fit = train(data._replace(pair_query=nothing, pair_item=nothing, pair_weight=nothing.astype(np.float32)), SHORT)
    assert (fit.history[fit.history.name == "contrastive"].value == 0).all()
    assert fit.history[fit.history.name == "reconstruction"].value.iloc[-1] < 1


def test_rotation_trick_trains_and_is_another_training(data: World) -> None:
    fit = train(data, dataclasses.replace(SHORT, rotation_trick=True))
    assert not equal(fit, train(data, SHORT))
    contrastive = fit.history[fit.history.name == "contrastive"].value
    assert contrastive.iloc[-1] < contrastive.iloc[0]


def equal(a: QuantizerFit, b: QuantizerFit) -> bool:
    ours, theirs = a.quantizer.tensors(), b.quantizer.tensors()
    return a.history.equals(b.history) and all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def test_equal_inputs_give_equal_bits_and_other_seeds_do_not(data: World, fit: QuantizerFit) -> None:
    torch.manual_seed(99)  # nothing may depend on the global generator
    assert equal(train(data), fit)
    other = train_contrastive(lessons(data), CONFIG, SIZES, seed=4)
    assert not equal(other, fit)


class Killed(Exception):
    pass


def killed_at(step: int) -> object:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


def test_interrupted_training_resumes_to_the_same_bits(data: World, fit: QuantizerFit, tmp_path: Path) -> None:
    checkpoint = tmp_path / "stage" / "checkpoint"
    with pytest.raises(Killed):
        train(data, checkpoint=checkpoint, progress=killed_at(60))
    assert not checkpoint.exists()
    with pytest.raises(Killed):
        train(data, checkpoint=checkpoint, progress=killed_at(130))
    assert checkpoint.exists()
    steps: list[int] = []
    resumed = train(data, checkpoint=checkpoint, progress=lambda done, total: steps.append(done))
    assert steps[0] == 101
    assert equal(resumed, fit)
    assert list(checkpoint.parent.iterdir()) == []


@pytest.mark.parametrize("what", ["other config", "damaged"])
def test_a_checkpoint_of_something_else_is_not_taken_up(
    data: World, fit: QuantizerFit, tmp_path: Path, what: str
) -> None:
    checkpoint = tmp_path / "checkpoint"
    config = dataclasses.replace(CONFIG, tau=0.1) if what == "other config" else CONFIG
    with pytest.raises(Killed):
        train(data, config, checkpoint=checkpoint, progress=killed_at(120))
    if what == "damaged":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert equal(train(data, checkpoint=checkpoint), fit)


def test_saved_quantizer_gives_the_same_codes(data: World, fit: QuantizerFit, tmp_path: Path) -> None:
    fit.quantizer.save(tmp_path / "quantizer")
    loaded = load_quantizer(tmp_path / "quantizer")
    assert loaded.sizes == SIZES
    assert loaded.forced_level
    for ours, theirs in (
        (
            fit.quantizer.encode_items(data.item_x, Known(data.category)),
            loaded.encode_items(data.item_x, Known(data.category)),
        ),
        (fit.quantizer.encode_queries(data.query_x), loaded.encode_queries(data.query_x)),
    ):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("damage", ["missing", "settings", "weights", "shape"])
def test_damaged_quantizers_are_model_errors(fit: QuantizerFit, tmp_path: Path, damage: str) -> None:
    if damage != "missing":
        fit.quantizer.save(tmp_path)
    settings, weights = tmp_path / "quantizer.json", tmp_path / "quantizer.safetensors"
    if damage == "settings":
        settings.write_text("{}")
    elif damage == "weights":
        weights.write_bytes(weights.read_bytes()[:500])
    elif damage == "shape":
        settings.write_text(settings.read_text().replace('"dim": 16', '"dim": 8'))
    message = "no quantizer in" if damage in ("missing", "settings") else "no contrastive quantizer"
    with pytest.raises(ModelError, match=message):
        load_quantizer(tmp_path)


def test_catalogues_smaller_than_a_codebook(data: World) -> None:
    few = slice(0, 5)
    learnt = TrainingSet(data.item_x[few], data.query_x[:2], np.array([0, 1]), np.array([0, 3]), np.ones(2))
    fit = train_contrastive(learnt, dataclasses.replace(CONFIG, steps=12, dim=32), (8, 8), seed=0)
    codes = fit.quantizer.encode_items(data.item_x[few], None).codes
    assert codes.shape == (5, 2)
    assert len(np.unique(codes, axis=0)) == 5
