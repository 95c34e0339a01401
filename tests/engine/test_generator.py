"""The compact generator: the same network as in transformers, learns a toy task, resumes bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.config import GeneratorConfig
from engine.errors import ModelError
from engine.generator import training
from engine.generator.beam import beam_search, sequence_log_probs
from engine.generator.examples import FINAL_LR_SHARE, Lessons, draw, schedule, stage_of, window
from engine.generator.model import CompactGenerator, load_generator
from engine.generator.training import GeneratorFit, train_generator
from engine.generator.trie import SidTrie
from tests.engine.qwen3_twin import as_transformers, soft_prompt

SIZES = (5, 4, 3)
CONFIG = GeneratorConfig(
    hidden=32, layers=2, heads=4, prefix_tokens=3, alignment_epochs=12.0, query_epochs=20.0, batch=32, lr=5e-3
)


class Toy(NamedTuple):
    """Items whose embedding is the sum of one direction per code, and queries near one to three items each."""

    item_x: np.ndarray
    item_codes: np.ndarray
    query_x: np.ndarray
    pair_query: np.ndarray
    pair_item: np.ndarray
    pair_weight: np.ndarray


@pytest.fixture(scope="module")
def toy() -> Toy:
    rng = np.random.default_rng(0)
    directions = [rng.normal(size=(size, 24)) for size in SIZES]
    codes = np.stack([rng.integers(0, size, 150) for size in SIZES], axis=1)
    x = sum(vectors[codes[:, level]] for level, vectors in enumerate(directions)) + 0.1 * rng.normal(size=(150, 24))
    target = rng.integers(0, 150, 80)
    query_x = x[target] + 0.3 * rng.normal(size=(80, 24))
    pair_query = np.concatenate([np.arange(80), rng.integers(0, 60, 30)])
    pair_item = np.concatenate([target, rng.integers(0, 150, 30)])
    weight = np.concatenate([np.full(80, 4.0), np.full(30, 0.5)])
    return Toy(
        (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32),
        codes,
        (query_x / np.linalg.norm(query_x, axis=1, keepdims=True)).astype(np.float32),
        pair_query,
        pair_item,
        weight.astype(np.float32),
    )


def _train(toy: Toy, config: GeneratorConfig = CONFIG, seed: int = 0, **kwargs: Any) -> GeneratorFit:
    return train_generator(Lessons(*toy, SIZES), config, seed=seed, **kwargs)


@pytest.fixture(scope="module")
def fit(toy: Toy) -> GeneratorFit:
    return _train(toy)


@pytest.fixture(scope="module")
def trie(toy: Toy) -> SidTrie:
    return SidTrie.build(toy.item_codes, SIZES)


def _equal(a: CompactGenerator, b: CompactGenerator) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------ the network


@pytest.mark.parametrize(
    ("sizes", "heads", "layers", "prefix_tokens"), [((7, 5, 4), 4, 2, 4), ((9,), 1, 1, 2), ((4, 3, 3, 2), 3, 3, 1)]
)
def test_equals_the_transformers_model(sizes: tuple[int, ...], heads: int, layers: int, prefix_tokens: int) -> None:
    config = GeneratorConfig(hidden=24 * heads, heads=heads, layers=layers, prefix_tokens=prefix_tokens)
    model = CompactGenerator.initialise(sizes, 16, config, seed=3)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # norm weights off one, matrices large enough to matter
        torch.nn.init.normal_(parameter, float(parameter.ndim == 1), 0.15, generator=generator)
    model.eval()
    twin = as_transformers(model)
    assert twin.config.num_key_value_heads == (heads // 2 if heads % 2 == 0 else heads)

    a = model.architecture
    query_x = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    codes = np.stack([np.random.default_rng(1).integers(0, size, 6) for size in sizes], axis=1)
    tokens = torch.from_numpy(codes[:, :-1] + np.array(a.offsets[: a.levels - 1], dtype=np.int64))
    with torch.no_grad():
        spelled = twin.get_input_embeddings()(tokens)
        expected = twin(inputs_embeds=torch.cat([soft_prompt(model, query_x), spelled], dim=1)).logits
        forced = model(torch.from_numpy(query_x), torch.from_numpy(codes))
    logits, cache = model.prefill(query_x)
    no_parents = np.zeros((6, 1), dtype=np.int64)
    for level in range(len(sizes)):
        own = slice(a.offsets[level], a.offsets[level + 1])
        reference = expected[:, prefix_tokens - 1 + level, own].numpy()
        assert np.abs(reference).max() > 0.1, "the comparison must see something"
        if level > 0:
            logits, cache = model.step(cache, codes[:, level - 1 : level], no_parents)
            logits = logits[:, 0]
        np.testing.assert_allclose(forced[level].numpy(), reference, atol=1e-5)
        np.testing.assert_allclose(logits, reference, atol=1e-5)


def test_initial_weights_follow_the_seed() -> None:
    one, same, other = (CompactGenerator.initialise(SIZES, 8, CONFIG, seed=seed) for seed in (1, 1, 2))
    assert _equal(one, same)
    assert not _equal(one, other)


def test_decoding_needs_eval_mode() -> None:
    model = CompactGenerator.initialise(SIZES, 8, CONFIG, seed=0).train()
    with pytest.raises(AssertionError, match="eval"):
        model.prefill(np.zeros((1, 8), dtype=np.float32))


# ------------------------------------------------------------------ training


def test_learns_the_toy_task(toy: Toy, fit: GeneratorFit, trie: SidTrie) -> None:
    history = fit.history
    assert list(history.columns) == ["step", "name", "value"]
    assert {"alignment.loss", "alignment.loss_3", "query.loss", "query.loss_1", "lr"} <= set(history["name"])
    for stage in ("alignment", "query"):
        loss = history.loc[history["name"] == f"{stage}.loss", "value"]
        assert loss.iloc[-1] < 0.5 * np.log(SIZES).sum()
    parts = history[history["name"].str.startswith("query.loss_")].groupby("step")["value"].sum()
    whole = history[history["name"] == "query.loss"].set_index("step")["value"]
    np.testing.assert_allclose(parts, whole.loc[parts.index], rtol=1e-6)

    best = beam_search(fit.model, toy.query_x, trie, width=5).beams
    favourite = toy.item_codes[toy.pair_item[:80]]
    assert (best.codes == favourite[:, None]).all(-1).any(1).mean() > 0.9
    valid = beam_search(fit.model, toy.query_x, trie, width=1, constrained=False).beams.codes[:, 0]
    assert (trie.find(valid) >= 0).mean() > 0.8, "it learned which SIDs exist"


def test_alignment_alone_serves_a_catalogue_without_logs(toy: Toy, trie: SidTrie) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    silent = toy._replace(pair_query=nothing, pair_item=nothing, pair_weight=nothing.astype(np.float32))
    fit = _train(silent)
    assert not fit.history["name"].str.startswith("query").any()
    found = beam_search(fit.model, toy.item_x, trie, width=5).beams.codes
    assert (found == toy.item_codes[:, None]).all(-1).any(1).mean() > 0.8


def test_same_seed_same_bits(toy: Toy, fit: GeneratorFit) -> None:
    again = _train(toy)
    assert _equal(fit.model, again.model)
    assert again.history.equals(fit.history)
    assert not _equal(fit.model, _train(toy, seed=1).model)


class Interrupted(Exception):
    """Raised by a progress callback."""


@pytest.mark.parametrize("stop", [20, 40, 60, 80, 100])
def test_a_killed_training_resumes_bit_for_bit(
    toy: Toy, fit: GeneratorFit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 30)
    checkpoint = tmp_path / "generator.ckpt"

    def interrupt(done: int, total: int) -> None:
        if done == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        _train(toy, checkpoint=checkpoint, progress=interrupt)
    assert checkpoint.exists() == (stop >= 30)
    calls: list[tuple[int, int]] = []
    resumed = _train(toy, checkpoint=checkpoint, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (stop // 30 * 30, 107)
    assert calls[-1] == (107, 107)
    assert _equal(resumed.model, fit.model)
    assert resumed.history.equals(fit.history)
    assert [path.name for path in tmp_path.iterdir()] == ["generator.ckpt"]


def test_a_finished_checkpoint_is_taken_as_it_is(toy: Toy, fit: GeneratorFit, tmp_path: Path) -> None:
    _train(toy, checkpoint=tmp_path / "ckpt")
    calls: list[tuple[int, int]] = []
    again = _train(toy, checkpoint=tmp_path / "ckpt", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(107, 107)]
    assert _equal(again.model, fit.model)


@pytest.mark.parametrize("change", ["seed", "config", "data"])
def test_a_checkpoint_of_another_training_is_not_taken_up(toy: Toy, tmp_path: Path, change: str) -> None:
    checkpoint = tmp_path / "ckpt"
    _train(toy, checkpoint=checkpoint)
    other = toy._replace(item_codes=toy.item_codes[::-1]) if change == "data" else toy
    config = GeneratorConfig(**{**vars(CONFIG), "lr": 4e-3}) if change == "config" else CONFIG
    seed = 1 if change == "seed" else 0
    assert _equal(_train(other, config, seed, checkpoint=checkpoint).model, _train(other, config, seed).model)


def test_an_epoch_visits_every_query_once_and_draws_by_strength(toy: Toy) -> None:
    pairs = (np.array([4, 7, 4, 9, 4]), np.array([0, 3, 1, 2, 5]), np.array([3.0, 1.0, 1.0, 0.0, 0.0]))
    stage = stage_of("query", np.eye(12, dtype=np.float32), toy.item_codes, pairs, 1.0, 2)
    assert stage.x.argmax(1).tolist() == [4, 7], "query 9 has no interaction of positive strength"
    drawn = []
    for step in range(2_000):
        x, codes = window(stage, step, 2, seed=(0, 1))
        assert sorted(x.argmax(1).tolist()) == [4, 7]
        drawn.append(codes[x.argmax(1) == 4][0].tolist())
        assert codes[x.argmax(1) == 7][0].tolist() == toy.item_codes[3].tolist()
    share = np.mean([row == toy.item_codes[0].tolist() for row in drawn])
    assert set(map(tuple, drawn)) == {tuple(toy.item_codes[0].tolist()), tuple(toy.item_codes[1].tolist())}
    assert share == pytest.approx(0.75, abs=0.04)


def test_batches_run_over_the_borders_of_epochs() -> None:
    codes = np.arange(5)[:, None]
    items = np.arange(5)
    stage = stage_of("alignment", np.eye(5, dtype=np.float32), codes, (items, items, np.ones(5)), 3.0, 4)
    assert stage.steps == 4
    stream = np.concatenate([window(stage, step, 4, seed=(0, 0))[1][:, 0] for step in range(5)])
    epochs = stream.reshape(4, 5)
    assert (np.sort(epochs, axis=1) == np.arange(5)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1
    wide, _ = window(stage, 1, 13, seed=(0, 0))
    assert wide.shape == (13, 5), "a batch may hold several epochs"


def test_titles_stay_among_the_examples_of_the_query_stage() -> None:
    items, codes = np.arange(6), np.arange(6)[:, None]
    queries = (np.array([0, 1, 2]), np.array([3, 4, 5]), np.ones(3))
    titles = stage_of("alignment", np.zeros((6, 2), np.float32), codes, (items, items, np.ones(6)), 1.0, 8)
    asked = stage_of("query", np.ones((3, 2), np.float32), codes, queries, 4.0, 8)
    for share, n_titles in ((0.0, 0), (0.25, 2), (0.5, 4)):
        config = GeneratorConfig(batch=8, title_share=share)
        drawn = [draw([titles, asked], 1, step, config, seed=0) for step in range(3)]
        assert [(x[:, 0] == 0).sum() for x, _ in drawn] == [n_titles] * 3
        spelled = np.concatenate([target[x[:, 0] == 0, 0] for x, target in drawn])
        assert len(set(spelled.tolist())) == min(3 * n_titles, 6), "titles come epoch by epoch too"
        assert all((target[x[:, 0] == 1] >= 3).all() for x, target in drawn)
        alone, _ = draw([titles, asked], 0, 0, config, seed=0)
        assert (alone == 0).all()


def test_the_learning_rate_warms_up_and_decays(fit: GeneratorFit) -> None:
    shares = [schedule(step, 200) for step in range(200)]
    assert shares[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert (np.diff(shares[10:]) < 0).all()
    assert shares[10] == 1.0
    assert shares[-1] == pytest.approx(FINAL_LR_SHARE, abs=1e-3)
    assert schedule(0, 1) == 1.0


# ------------------------------------------------------------------ keeping


def test_a_saved_generator_answers_alike(toy: Toy, fit: GeneratorFit, trie: SidTrie, tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    fit.model.save(path, trie.fingerprint)
    loaded = load_generator(path, trie)
    assert _equal(loaded, fit.model)
    pairs, codes = toy.pair_query, toy.item_codes[toy.pair_item]
    np.testing.assert_array_equal(
        sequence_log_probs(loaded, toy.query_x, trie, pairs, codes),
        sequence_log_probs(fit.model, toy.query_x, trie, pairs, codes),
    )
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_another_trie_is_an_error(toy: Toy, fit: GeneratorFit, trie: SidTrie, tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    fit.model.save(path, trie.fingerprint)
    other = SidTrie.build(toy.item_codes[1:] % 2, SIZES)
    with pytest.raises(ModelError, match="other SIDs"):
        load_generator(path, other)


def test_missing_or_damaged_weights_are_errors(fit: GeneratorFit, trie: SidTrie, tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    with pytest.raises(ModelError, match="no generator at"):
        load_generator(path, trie)
    fit.model.save(path, trie.fingerprint)
    assert "model.embed_tokens.weight" in load_file(path)
    whole = path.read_bytes()
    for content in (b"", b"not weights", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            load_generator(path, trie)
