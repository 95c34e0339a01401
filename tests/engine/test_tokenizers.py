"""Every tokenizer behind the one interface: planted clusters found, codes kept on disk, equal bits, interruptions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional
from vector_quantize_pytorch import ResidualVQ

from engine.config import CONTROLS, METHODS, QUANTIZERS, Config, QuantizerConfig
from engine.encoders.loading import load_encoder, trainable_top
from engine.errors import ModelError
from engine.progress import Progress, silent
from engine.quantizers.clustering import fit_kmeans, stack_sizes, title_stacks
from engine.quantizers.dynamic import STEP_COST, Texts, train_encoder
from engine.quantizers.hierarchical import fit_hierarchical
from engine.quantizers.nearest import CHUNK
from engine.quantizers.protocol import Known, Quantizer
from engine.quantizers.residual import ResidualCodebooks
from engine.quantizers.rqvae import STEPS, train_rqvae
from engine.quantizers.sampling import TrainingSet
from engine.quantizers.tokenizer import TokenizerFit, load_quantizer, train_tokenizer

WIDTH = 24
CONFIG = QuantizerConfig(dim=16, steps=120, batch=64, restart_every=20)
SIZES = (6, 5)
TAUGHT = ("contrastive", "local")
OTHERS = tuple(kind for kind in QUANTIZERS if kind not in TAUGHT)


class Planted(NamedTuple):
    """Rows near 30 kinds, 5 in each of 6 groups."""

    x: np.ndarray
    group: np.ndarray
    kind: np.ndarray


def planted(n: int = 900, *, shared: bool, seed: int = 0) -> Planted:
    """`shared`: the five offsets of a kind from its group are the same in all groups, as residual codes assume."""
    rng = np.random.default_rng(seed)
    groups = orthogonal(rng, 6)
    offsets = 0.4 * np.stack([orthogonal(rng, 5) for _ in range(6)])
    kind = rng.integers(30, size=n)
    group = kind // 5
    x = groups[group] + offsets[0 if shared else group, kind % 5] + 0.02 * rng.normal(size=(n, WIDTH))
    return Planted(x.astype(np.float32), group, kind)


def orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    """n orthogonal unit vectors."""
    return np.linalg.qr(rng.normal(size=(WIDTH, n)))[0].T


def train(
    data: Planted,
    kind: str,
    *,
    config: QuantizerConfig = CONFIG,
    category: np.ndarray | None = None,
    seed: int = 0,
    sizes: tuple[int, ...] = SIZES,
    **arguments: object,
) -> TokenizerFit:
    """A query is an item said in another language, and leads to it."""
    pair = np.arange(300)
    queries = data.x[:300] @ orthogonal(np.random.default_rng(8), WIDTH).astype(np.float32)
    lessons = TrainingSet(data.x, queries, pair, pair, np.ones(300, dtype=np.float32), Known(category))
    return train_tokenizer(lessons, dataclasses.replace(config, kind=kind), sizes, seed=seed, **arguments)  # type: ignore[arg-type]


def one_to_one(a: np.ndarray, b: np.ndarray) -> bool:
    """Each value of `a` goes with one of `b`, and the reverse."""
    return len(np.unique(np.stack([a, b]), axis=1).T) == len(np.unique(a)) == len(np.unique(b))


def prefix(codes: np.ndarray, levels: int) -> np.ndarray:
    """A number for each distinct prefix."""
    return np.unique(codes[:, :levels], axis=0, return_inverse=True)[1].ravel()


def purity(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of rows that are of their cluster's most frequent kind."""
    table = np.zeros((found.max() + 1, truth.max() + 1))
    np.add.at(table, (found, truth), 1)
    return float(table.max(axis=1).sum() / len(found))


# ------------------------------------------------------------------------------------------- planted clusters


def test_residual_kmeans_finds_groups_and_the_offsets_that_they_share() -> None:
    data = planted(shared=True)
    codes = train(data, "kmeans").quantizer.encode_items(data.x, None).codes
    assert one_to_one(codes[:, 0], data.group)
    assert one_to_one(codes[:, 1], data.kind % 5)


def test_hierarchy_finds_kinds_of_which_each_group_has_its_own() -> None:
    data = planted(shared=False)
    hierarchy = train(data, "hierarchical").quantizer.encode_items(data.x, None).codes
    assert one_to_one(hierarchy[:, 0], data.group)
    assert purity(prefix(hierarchy, 2), data.kind) > 0.95
    # Five residual codes cannot serve thirty offsets: what tells the two tokenizers apart.
    residual = train(data, "kmeans").quantizer.encode_items(data.x, None).codes
    assert purity(prefix(residual, 2), data.kind) < purity(prefix(hierarchy, 2), data.kind) - 0.05


def test_tiger_finds_groups_and_kinds_and_uses_every_code() -> None:
    data = planted(shared=True)
    fit = train(data, "rqvae")
    result = fit.quantizer.encode_items(data.x, None)
    assert purity(result.codes[:, 0], data.group) > 0.95
    # The group alone would make it .24.
    assert purity(prefix(result.codes, 2), data.kind) > 0.65
    last = fit.history[fit.history.step == STEPS * CONFIG.steps].set_index("name").value
    assert last["usage_1"] == last["usage_2"] == 1
    first = fit.history[fit.history.step == 10].set_index("name").value
    assert last["reconstruction"] < 0.3 * first["reconstruction"]
    assert last["loss"] == pytest.approx(last["reconstruction"] + 0.25 * last["commitment"], rel=1e-5)
    assert not fit.history.duplicated(["step", "name"]).any()


def test_tiger_restarts_codes_that_nothing_chooses() -> None:
    data = planted(shared=True)
    # Far more codes than kinds: some are without members in every period, and are moved.
    fit = train(data, "rqvae", sizes=(64, 4))
    moved = fit.history[fit.history.name == "restarts_1"]
    assert moved.value.sum() > 0
    assert moved.step.tolist() == list(range(40, 2 * CONFIG.steps, 2 * CONFIG.restart_every))


@pytest.mark.parametrize("kind", OTHERS)
def test_shapes_and_residuals_fit_together(kind: str) -> None:
    data = planted(shared=False)
    quantizer = train(data, kind).quantizer
    for result in (quantizer.encode_items(data.x, None), quantizer.encode_queries(data.x)):
        assert result.codes.shape == (900, 2)
        assert result.codes.dtype == np.int64
        assert (result.codes >= 0).all()
        assert (result.codes < SIZES).all()
        assert result.latent.dtype == result.quantized.dtype == result.residual_norms.dtype == np.float32
        assert result.residual_norms.shape == (900, 3)
        np.testing.assert_allclose(result.residual_norms[:, 0], np.linalg.norm(result.latent, axis=1), atol=1e-5)
        last = np.linalg.norm(result.latent - result.quantized, axis=1)
        np.testing.assert_allclose(result.residual_norms[:, -1], last, atol=1e-5)
        assert (np.diff(result.residual_norms.mean(axis=0)) < 0).all()
    assert quantizer.encode_queries(np.empty((0, WIDTH), dtype=np.float32)).codes.shape == (0, 2)


@pytest.mark.parametrize("kind", OTHERS)
def test_only_dsirm_looks_at_categories(kind: str) -> None:
    data = planted(shared=False)
    wrong = np.random.default_rng(0).integers(6, size=900)
    plain, told = train(data, kind), train(data, kind, category=wrong)
    assert not told.quantizer.forced_level
    ours, theirs = plain.quantizer.encode_items(data.x, None), told.quantizer.encode_items(data.x, Known(wrong))
    np.testing.assert_array_equal(ours.codes, theirs.codes)
    forced = train(data, "contrastive", config=dataclasses.replace(CONFIG, steps=3), category=wrong).quantizer
    assert forced.encode_items(data.x, Known(wrong)).codes[:, 0].tolist() == wrong.tolist()


# -------------------------------------------------------------------------------------------------- hierarchy


def test_hierarchical_codes_mean_something_under_their_parent_alone() -> None:
    data = planted(shared=False)
    quantizer = fit_hierarchical(data.x, (6, 5, 3), seed=0)
    result = quantizer.encode_items(data.x, None)
    first, second, third = quantizer.tree.levels
    assert len(first.centroids) == 6
    # Each row descends to the nearest child of the cluster it is in, by distances worked out one at a time.
    for x, (a, b, c) in zip(data.x[:200], result.codes[:200].tolist(), strict=True):
        at = 0
        for level, code in zip(quantizer.tree.levels, (a, b, c), strict=True):
            children = level.centroids[level.first[at] : level.first[at + 1]]
            assert np.linalg.norm(children - x, axis=1).argmin() == code
            at = level.first[at] + code
    # The nearest of all clusters of a level may well be under another parent; a query is not sent there.
    far = first.centroids[0] * 3
    assert quantizer.encode_queries(far[None]).codes[0, 0] == 0
    # The same code under different parents is a different place.
    same_code = [second.centroids[second.first[p]] for p in range(6)]
    assert np.linalg.norm(same_code[0] - same_code[1]) > 0.5
    # Every cluster that exists has members.
    assert len(np.unique(result.codes, axis=0)) == len(third.centroids)


def test_small_clusters_number_their_members_and_equal_titles_share_a_code() -> None:
    rng = np.random.default_rng(0)
    big, small = rng.normal(size=(200, 4)) + 50, rng.normal(size=(3, 4)) - 50
    x = np.concatenate([big, small, small[:1]]).astype(np.float32)
    codes = fit_hierarchical(x, (2, 8, 4), seed=0).encode_items(x, None).codes
    assert len(set(codes[:200, 0].tolist())) == 1
    assert codes[200, 0] != codes[0, 0]
    assert sorted(codes[200:203, 1].tolist()) == [0, 1, 2]
    assert codes[200:203, 2].tolist() == [0, 0, 0]
    assert codes[203].tolist() == codes[200].tolist()
    assert len(set(codes[:200, 1].tolist())) == 8


def test_near_twins_leave_no_way_down_without_an_end() -> None:
    """Twins that float32 hardly tells apart may be drawn into one cluster: the other one is empty, and queries come by."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    twins = x + rng.normal(size=x.shape).astype(np.float32) * 5e-9
    items = np.concatenate([x, twins])
    quantizer = fit_hierarchical(items, (4, 32, 8), seed=0)
    for asked in (items, twins[:, ::-1]):
        assert (quantizer.encode_queries(np.ascontiguousarray(asked)).codes >= 0).all()


@pytest.mark.parametrize("n", [1, 5])
def test_catalogues_smaller_than_a_codebook(n: int) -> None:
    data = planted(n, shared=True)
    pair = np.arange(n)
    for kind in QUANTIZERS:
        config = QuantizerConfig(kind=kind, dim=8, steps=6, batch=16, restart_every=2)
        fit = train_tokenizer(TrainingSet(data.x, data.x, pair, pair, np.ones(n)), config, (8, 4), seed=0)
        assert len(np.unique(fit.quantizer.encode_items(data.x, None).codes, axis=0)) == n


# ---------------------------------------------------------------------------------------- an independent check


def codebooks_of(x: np.ndarray, sizes: tuple[int, ...]) -> ResidualCodebooks:
    return fit_kmeans(x, sizes, seed=0).codebooks


def library(codebooks: ResidualCodebooks) -> ResidualVQ:
    """vector-quantize-pytorch's residual quantizer with our codebooks."""
    theirs = ResidualVQ(
        dim=codebooks.dim, num_quantizers=len(codebooks.sizes), codebook_size=codebooks.sizes, kmeans_init=False
    )
    for layer, vectors in zip(theirs.layers, codebooks.vectors, strict=True):
        layer._codebook.embed.data.copy_(vectors[None])
    return theirs.eval()


@pytest.mark.parametrize("n", [1, 700, 2 * CHUNK + 1])
def test_codes_and_quantized_vectors_agree_with_an_independent_library(n: int) -> None:
    rng = np.random.default_rng(1)
    codebooks = codebooks_of(rng.normal(size=(2000, 16)).astype(np.float32), (32, 16, 8))
    x = rng.normal(size=(n, 16)).astype(np.float32)
    with torch.no_grad():
        quantized, codes, _ = library(codebooks)(torch.from_numpy(x[None]))
    ours = codebooks.encode(torch.from_numpy(x))
    np.testing.assert_array_equal(ours.codes, codes[0].numpy())
    np.testing.assert_allclose(ours.quantized, quantized[0].numpy(), atol=1e-5)
    stepwise = codebooks.quantize(torch.from_numpy(x))
    np.testing.assert_array_equal(ours.codes, stepwise.codes.numpy())
    np.testing.assert_allclose(ours.residual_norms, stepwise.residuals.norm(dim=2).T.numpy(), atol=1e-5)


def test_whole_catalogue_assignment_obeys_forced_and_owned_codes() -> None:
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.normal(size=(CHUNK + 50, 8)).astype(np.float32))
    codebooks = codebooks_of(x.numpy(), (6, 4))
    codebooks.owned[3] = False
    forced = torch.from_numpy(rng.integers(-1, 3, size=len(x)))
    codes = codebooks.assign(x, forced)
    np.testing.assert_array_equal(codes, codebooks.quantize(x, forced).codes)
    known = forced >= 0
    assert torch.equal(codes[known, 0], forced[known])
    free = codes[~known, 0]
    assert 3 not in free
    distance = torch.cdist(x[~known], codebooks.vectors[0])
    distance[:, 3] = torch.inf
    assert torch.equal(free, distance.argmin(dim=1))


# ------------------------------------------------------------------------------------- bits, disk, interruptions


def equal_codes(a: Quantizer, b: Quantizer, x: np.ndarray) -> bool:
    return all(
        np.array_equal(ours, theirs)
        for one, other in ((a.encode_items(x, None), b.encode_items(x, None)), (a.encode_queries(x), b.encode_queries(x)))
        for ours, theirs in zip(one, other, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_equal_inputs_give_equal_bits_and_other_seeds_do_not(kind: str) -> None:
    data = planted(shared=False)._replace(x=np.random.default_rng(3).normal(size=(900, WIDTH)).astype(np.float32))
    config = dataclasses.replace(CONFIG, steps=20)
    torch.manual_seed(1)
    one = train(data, kind, config=config)
    torch.manual_seed(2)  # nothing may depend on the global generator
    same, other = train(data, kind, config=config), train(data, kind, config=config, seed=1)
    assert equal_codes(one.quantizer, same.quantizer, data.x)
    assert one.history.equals(same.history)
    assert not equal_codes(one.quantizer, other.quantizer, data.x)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_a_saved_quantizer_of_any_kind_gives_the_same_codes(kind: str, tmp_path: Path) -> None:
    data = planted(shared=False)
    quantizer = train(data, kind, config=dataclasses.replace(CONFIG, steps=5)).quantizer
    quantizer.save(tmp_path / "quantizer")
    loaded = load_quantizer(tmp_path / "quantizer")
    assert type(loaded) is type(quantizer)
    assert loaded.sizes == SIZES
    assert equal_codes(quantizer, loaded, data.x)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("damage", ["missing", "unknown", "settings", "weights", "cut"])
def test_damaged_and_unknown_quantizers_are_model_errors(kind: str, damage: str, tmp_path: Path) -> None:
    settings, weights = tmp_path / "quantizer.json", tmp_path / "quantizer.safetensors"
    if damage != "missing":
        train(planted(shared=True), kind, config=dataclasses.replace(CONFIG, steps=2)).quantizer.save(tmp_path)
    if damage == "unknown":
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "kind": "lattice"}))
    elif damage == "settings":
        settings.write_text(json.dumps({"kind": kind}))
    elif damage == "weights":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:200])
    message = {"missing": "no quantizer in", "unknown": "'lattice'"}.get(damage, f"no {kind} quantizer")
    with pytest.raises(ModelError, match=message):
        load_quantizer(tmp_path)


class Killed(Exception):
    pass


def killed_at(step: int, of: int) -> Progress:
    """Dies at that step of a training of so many."""

    def progress(done: int, total: int) -> None:
        if (done, total) == (step, of):
            raise Killed

    return progress


def test_tiger_interrupted_resumes_to_the_same_bits(tmp_path: Path) -> None:
    data = planted(shared=True)
    whole = train(data, "rqvae")
    checkpoint = tmp_path / "stage" / "checkpoint"
    with pytest.raises(Killed):
        train(data, "rqvae", checkpoint=checkpoint, progress=killed_at(230, 240))
    assert checkpoint.exists()
    steps: list[int] = []
    resumed = train(data, "rqvae", checkpoint=checkpoint, progress=lambda done, total: steps.append(done))
    assert steps[0] == 201
    assert equal_codes(resumed.quantizer, whole.quantizer, data.x)
    assert resumed.history.equals(whole.history)
    assert list(checkpoint.parent.iterdir()) == []


def test_tiger_takes_up_no_checkpoint_of_other_items(tmp_path: Path) -> None:
    data = planted(shared=True)
    other = planted(shared=True, seed=9)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        train(other, "rqvae", checkpoint=checkpoint, progress=killed_at(230, 240))
    model, _ = train_rqvae(data.x, dataclasses.replace(CONFIG, kind="rqvae"), SIZES, seed=0, checkpoint=checkpoint)
    assert equal_codes(model, train(data, "rqvae").quantizer, data.x)


# --------------------------------------------------------------------------------------------------- ablations


@pytest.mark.parametrize(
    "change",
    [
        {"contrastive_weight": 0.0},
        {"category_level": False},
        {"rotation_trick": True},
        {"rotation_trick": True, "kind": "rqvae"},
    ],
    ids=str,
)
def test_each_ablation_trains_and_is_another_training(change: dict[str, object]) -> None:
    data = planted(shared=False)
    config = dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
    fit = train(data, config.kind, config=config, category=data.group)
    plain = train(data, config.kind, config=dataclasses.replace(CONFIG, kind=config.kind), category=data.group)
    assert not fit.history.equals(plain.history)
    loss = fit.history[fit.history.name == "loss"].value
    assert loss.iloc[-1] < loss.iloc[0]
    assert fit.quantizer.forced_level == (config.kind == "contrastive" and config.category_level)


@pytest.mark.parametrize("kind", QUANTIZERS)
@pytest.mark.parametrize("sizes", [(6,), (2, 8), (6, 4, 4, 2), (2, 2, 2)], ids=str)
def test_any_number_of_levels_and_codes(kind: str, sizes: tuple[int, ...], tmp_path: Path) -> None:
    data = planted(shared=False)
    fit = train(data, kind, config=dataclasses.replace(CONFIG, steps=10), sizes=sizes)
    codes = fit.quantizer.encode_items(data.x, None).codes
    assert codes.shape == (900, len(sizes))
    assert (codes.max(axis=0) == np.array(sizes) - 1).all()
    assert set(fit.history.name) >= {f"usage_{level + 1}" for level in range(len(sizes))}
    fit.quantizer.save(tmp_path)
    assert equal_codes(load_quantizer(tmp_path), fit.quantizer, data.x)


def test_every_method_names_a_tokenizer_that_exists() -> None:
    kinds = {METHODS[method](Config()).quantizer.kind for method in METHODS}
    assert kinds == {*QUANTIZERS, *CONTROLS}


# ------------------------------------------------------------------------------------------------ title stacks


def test_title_stacks_grow_finer_use_every_level_and_are_seeded() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 16)) + 3 * rng.normal(size=(60, 16))[rng.integers(60, size=3000)]
    x = x.astype(np.float32)
    calls: list[tuple[int, int]] = []
    stacks = title_stacks(x, 5, seed=7, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(stack + 1, 5) for stack in range(5)]
    for codes, sizes in zip(stacks, stack_sizes(3000, 5), strict=True):
        assert codes.shape == (3000, 3)
        assert codes.dtype == np.int64
        assert [len(np.unique(codes[:, level])) for level in range(3)] == list(sizes)
    for levels in (1, 2, 3):
        cells = [len(np.unique(codes[:, :levels], axis=0)) for codes in stacks]
        assert cells == sorted(cells)
        assert cells[-1] > 1.5 * cells[0]
    for ours, again in zip(stacks, title_stacks(x, 5, seed=7), strict=True):
        np.testing.assert_array_equal(ours, again)
    assert any((a != b).any() for a, b in zip(stacks, title_stacks(x, 5, seed=8), strict=True))


@pytest.mark.parametrize("n_items", [1, 200, 6_000, 55_000, 100_000, 1_000_000])
@pytest.mark.parametrize("n_stacks", [0, 1, 2, 8])
def test_stack_sizes_suit_any_catalogue(n_items: int, n_stacks: int) -> None:
    sizes = stack_sizes(n_items, n_stacks)
    assert len(sizes) == n_stacks
    assert all(min(stack) >= 2 for stack in sizes)
    leaves = [float(np.prod(stack)) for stack in sizes]
    assert leaves == sorted(leaves)
    if n_items >= 1000 and n_stacks > 1:
        assert n_items / leaves[0] == pytest.approx(60, rel=0.35)
        assert n_items / leaves[-1] == pytest.approx(5, rel=0.35)
    if n_items >= 50_000:
        assert len(set(sizes)) == n_stacks


# -------------------------------------------------------------------------------------------- dynamic encoding


class States(NamedTuple):
    hidden: np.ndarray
    first: np.ndarray
    row: np.ndarray


class ToyEncoder:
    """A text is numbers, each a token; the last layer is one linear map, then the mean, then unit length."""

    def __init__(self, width: int = 12) -> None:
        self.tokens = np.random.default_rng(0).normal(size=(40, width)).astype(np.float16)
        self.computed = 0

    def states(self, texts: Sequence[str], progress: Progress = silent) -> States:
        self.computed += 1
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        tokens = [[int(word) for word in text.split()] for text in distinct]
        first = np.concatenate([[0], np.cumsum([len(words) for words in tokens])])
        hidden = self.tokens[np.concatenate(tokens).astype(int)]
        return States(hidden, first, np.array([distinct[text] for text in texts]))

    def weights(self) -> dict[str, torch.Tensor]:
        return {"linear": torch.eye(self.tokens.shape[1])}

    def embed(self, weights: dict[str, torch.Tensor], hidden: torch.Tensor, first: np.ndarray) -> torch.Tensor:
        rows = torch.repeat_interleave(torch.from_numpy(np.diff(first)))
        mapped = hidden @ weights["linear"].T
        total = torch.zeros(len(first) - 1, hidden.shape[1]).index_add(0, rows, mapped)
        return functional.normalize(total, dim=1)


class Spoken(NamedTuple):
    """Items name their kind in one vocabulary and noise in another; queries name the kind in a third."""

    texts: Texts
    item_x: np.ndarray
    query_x: np.ndarray
    kind: np.ndarray
    query_kind: np.ndarray


def spoken(n: int = 400) -> Spoken:
    rng = np.random.default_rng(4)
    kind, query_kind = rng.integers(8, size=n), rng.integers(8, size=n // 2)
    noise = rng.integers(16, 40, size=(n, 3))
    items = [f"{k} {' '.join(map(str, words))}" for k, words in zip(kind, noise, strict=True)]
    queries = [f"{8 + k} {rng.integers(16, 40)}" for k in query_kind]
    encoder = ToyEncoder()
    states = encoder.states([*items, *queries])
    x = encoder.embed(encoder.weights(), torch.from_numpy(states.hidden.astype(np.float32)), states.first).numpy()
    x = x[states.row]
    return Spoken(Texts(items, queries, encoder), x[:n], x[n:], kind, query_kind)


DYNAMIC = dataclasses.replace(CONFIG, dynamic_steps=60, dim=8, steps=30, lr=3e-3)


def lessons_of(data: Spoken) -> TrainingSet:
    """The first half of the queries, each with every item of its kind."""
    query, item = np.nonzero(data.query_kind[:100, None] == data.kind[None])
    return TrainingSet(data.item_x, data.query_x, query, item, np.ones(len(query), dtype=np.float32))


def gap(item_x: np.ndarray, query_x: np.ndarray, data: Spoken) -> float:
    """Cosine of held-out queries to items of their kind, less that to others."""
    cosine, same = query_x[100:] @ item_x.T, data.query_kind[100:, None] == data.kind[None]
    return float(cosine[same].mean() - cosine[~same].mean())


@pytest.fixture
def fast_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy's map from the identity needs larger steps than a transformer layer."""
    monkeypatch.setattr("engine.quantizers.dynamic.LAYER_LR", 0.02)


@pytest.mark.usefixtures("fast_layer")
def test_dynamic_encoding_teaches_the_encoder_what_queries_mean() -> None:
    data = spoken()
    fit = train_tokenizer(lessons_of(data), DYNAMIC, (8, 4), seed=0, texts=data.texts)
    assert gap(fit.item_x, fit.query_x, data) > 2 * gap(data.item_x, data.query_x, data)
    np.testing.assert_allclose(np.linalg.norm(fit.item_x, axis=1), 1, atol=1e-5)
    # Equal texts hold equal vectors, and the quantizer reads the new ones.
    texts = list(data.texts.queries)
    twice = next(text for text in texts if texts.count(text) > 1)
    rows = [row for row, text in enumerate(texts) if text == twice]
    assert (fit.query_x[rows] == fit.query_x[rows[0]]).all()
    codes = fit.quantizer.encode_items(fit.item_x, None).codes
    assert len(set(codes[:, 0].tolist())) == 8
    assert {"dynamic_loss", "dynamic_contrastive", "loss", "usage_1"} <= set(fit.history.name)
    assert not fit.history.duplicated(["step", "name"]).any()
    dynamic = fit.history[fit.history.name == "dynamic_contrastive"].value
    assert dynamic.iloc[-1] < dynamic.iloc[0]


def test_without_steps_encoding_again_changes_nothing() -> None:
    data = spoken()
    frozen = dataclasses.replace(DYNAMIC, dynamic_steps=0)
    again = train_encoder(lessons_of(data), frozen, (8, 4), data.texts, seed=0)
    np.testing.assert_allclose(again.item_x, data.item_x, atol=1e-6)
    np.testing.assert_allclose(again.query_x, data.query_x, atol=1e-6)


@pytest.mark.usefixtures("fast_layer")
@pytest.mark.parametrize("while_learning", ["encoder", "quantizer"])
def test_dynamic_encoding_interrupted_resumes_to_the_same_bits(while_learning: str, tmp_path: Path) -> None:
    data = spoken()
    whole_cost = STEP_COST * 60 + 30
    killed = {"encoder": STEP_COST * 50, "quantizer": STEP_COST * 60 + 15}[while_learning]

    def run(progress: Progress, checkpoint: Path | None) -> TokenizerFit:
        return train_tokenizer(
            lessons_of(data), DYNAMIC, (8, 4), seed=0, texts=data.texts, progress=progress, checkpoint=checkpoint
        )

    whole = run(silent, None)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        run(killed_at(killed, whole_cost), checkpoint)
    steps: list[int] = []
    resumed = run(lambda done, total: steps.append(done), checkpoint)
    assert steps[0] == {"encoder": STEP_COST * 41, "quantizer": STEP_COST * 60 + 1}[while_learning]
    assert steps == sorted(steps)
    assert steps[-1] == whole_cost
    np.testing.assert_array_equal(resumed.item_x, whole.item_x)
    assert equal_codes(resumed.quantizer, whole.quantizer, whole.item_x)
    assert resumed.history.equals(whole.history)
    assert list(tmp_path.iterdir()) == []


TITLES = ["Vanity Mirror, Brushed Nickel, LED backlit", "baby romper", "x", "", "naïve café \ud83d", "baby romper"]


def test_the_trainable_layer_starts_as_the_encoder_it_was_cut_from() -> None:
    top = trainable_top(max_tokens=16)
    states = top.states(TITLES)
    assert top.states(list(TITLES)) is states  # computed once for all trainings
    assert states.row[5] == states.row[1]
    weights = top.weights()
    for weight in weights.values():
        weight.requires_grad_()
    vectors = top.embed(weights, torch.from_numpy(states.hidden.astype(np.float32)), states.first)
    frozen = load_encoder(max_tokens=16).encode(TITLES)
    np.testing.assert_allclose(vectors[torch.from_numpy(states.row)].detach().numpy(), frozen, atol=3e-4)
    vectors[0, 0].backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights.values())
    # One training must not change what the next starts from.
    with torch.no_grad():
        weights["output.dense.weight"].zero_()
    assert top.weights()["output.dense.weight"].abs().sum() > 0


def test_other_encoders_say_that_they_stay_frozen() -> None:
    with pytest.raises(ModelError, match="dynamic encoding trains the last layer of 'minilm'"):
        trainable_top("some/model", max_tokens=16)
