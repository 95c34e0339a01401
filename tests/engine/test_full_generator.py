"""The full generator: a tiny Qwen3 with its own tokenizer, saved to a folder, goes the way a published model goes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from engine.config import GeneratorConfig
from engine.errors import ModelError
from engine.generator import full_training
from engine.generator.beam import beam_search, sequence_log_probs
from engine.generator.examples import Lessons
from engine.generator.full import FullGenerator, load_full_generator, load_language_model
from engine.generator.full_training import train_full_generator
from engine.generator.tokens import PROMPT_HEAD, PROMPT_TAIL, initial_rows, prompts, sid_token
from engine.generator.training import GeneratorFit
from engine.generator.trie import SidTrie
from tests.engine.tiny_language_model import write_language_model

SIZES = (4, 5, 3)
KINDS = ("lamp", "shoe", "drill", "tent")
COLOURS = ("red", "blue", "green", "black", "white")
MAKERS = ("acme", "zenith", "orion")
EPOCHS = {"alignment_epochs": 10.0, "query_epochs": 20.0}


class Shop(NamedTuple):
    """Items whose title says their SID in words, queries that say part of it, and how they are asked for."""

    titles: list[str]
    codes: np.ndarray
    queries: list[str]
    pair_query: np.ndarray
    pair_item: np.ndarray
    pair_weight: np.ndarray
    new_queries: list[str]
    new_target: np.ndarray


@pytest.fixture(scope="module")
def shop() -> Shop:
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, size, 90) for size in SIZES], axis=1)
    words = [(KINDS[a], COLOURS[b], MAKERS[c]) for a, b, c in codes]
    titles = [f"{maker} {colour} {kind} number {i}" for i, (kind, colour, maker) in enumerate(words)]
    queries = [f"{colour} {kind} by {maker}" for kind, colour, maker in words[:60]]
    new = [f"{kind} of {maker} in {colour}" for kind, colour, maker in words[60:]]
    pairs = np.arange(60)
    return Shop(titles, codes, queries, pairs, pairs, np.ones(60, dtype=np.float32), new, codes[60:])


@pytest.fixture(scope="module")
def trie(shop: Shop) -> SidTrie:
    return SidTrie.build(shop.codes, SIZES)


@pytest.fixture(scope="module")
def vectors() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.normal(size=(size, 12)).astype(np.float32) for size in SIZES]


@pytest.fixture(scope="module")
def publish(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a language model to a folder of its own."""
    texts = [*shop.titles, *shop.queries, *shop.new_queries]

    def write(**how: Any) -> Path:
        return write_language_model(tmp_path_factory.mktemp("hub") / "tiny-lm", texts, **how)

    return write


@pytest.fixture(scope="module")
def folder(publish: Callable[..., Path]) -> Path:
    return publish()


def _config(folder: Path, **changes: Any) -> GeneratorConfig:
    settings = {"kind": "full", "model": str(folder), "batch": 32, "full_lr": 4e-3, "max_tokens": 16} | EPOCHS | changes
    return GeneratorConfig(**settings)


def _train(
    shop: Shop, vectors: list[np.ndarray], config: GeneratorConfig, seed: int = 0, **kwargs: Any
) -> GeneratorFit:
    lessons = Lessons(shop.titles, shop.codes, shop.queries, shop.pair_query, shop.pair_item, shop.pair_weight, SIZES)
    return train_full_generator(lessons, vectors, config, seed=seed, **kwargs)


@pytest.fixture(scope="module")
def fit(shop: Shop, vectors: list[np.ndarray], folder: Path) -> GeneratorFit:
    return _train(shop, vectors, _config(folder))


@pytest.fixture(scope="module")
def untrained(folder: Path, vectors: list[np.ndarray]) -> FullGenerator:
    return FullGenerator.initialise(load_language_model(str(folder)), SIZES, vectors, 16, seed=0).eval()


def _texts(texts: list[str]) -> np.ndarray:
    return np.array(texts, dtype=object)


def _hits(model: Any, trie: SidTrie, texts: list[str], wanted: np.ndarray, width: int = 5) -> float:
    found = beam_search(model, _texts(texts), trie, width=width).beams.codes
    assert (trie.find(found.reshape(-1, len(SIZES))) >= 0).all(), "constrained beams are valid, all of them"
    return float((found == wanted[:, None]).all(-1).any(1).mean())


def _weights(model: Any) -> dict[str, torch.Tensor]:
    model.train()
    state = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    model.eval()
    return state


def _equal(a: Any, b: Any) -> bool:
    one, other = _weights(a), _weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------ words and rows


def test_a_prompt_is_cut_in_the_text_alone_and_reads_no_token_of_the_model(untrained: FullGenerator) -> None:
    tokenizer = untrained.tokenizer
    long, short, empty = prompts(tokenizer, ["red lamp " * 50, "red lamp", ""], 7)
    assert len(long) == len(empty) - 1 + 7, "an empty text is the space before it"
    assert tokenizer.decode(short) == f"{PROMPT_HEAD} red lamp{PROMPT_TAIL}"
    assert tokenizer.decode(long).endswith(PROMPT_TAIL)
    sids = {int(token) for ids in untrained.ids for token in ids}
    for text in ("<sid_1_2> lamp", "<|end|>"):
        forged = prompts(tokenizer, [text], 16)[0]
        assert not sids.union({tokenizer.eos_token_id}).intersection(forged), "typed text is never a token of ours"
        assert tokenizer.decode(forged) == f"{PROMPT_HEAD} {text}{PROMPT_TAIL}"
    assert prompts(tokenizer, [], 7) == []
    assert len(prompts(tokenizer, ["half an emoji \ud83d"], 16)[0]) > len(empty)


def test_every_code_is_one_token(untrained: FullGenerator) -> None:
    tokenizer = untrained.tokenizer
    for level, ids in enumerate(untrained.ids, start=1):
        for code, token in enumerate(ids.tolist()):
            assert tokenizer(sid_token(level, code), add_special_tokens=False)["input_ids"] == [token]
    assert torch.cat(untrained.ids).unique().numel() == sum(SIZES)


@pytest.mark.parametrize(("d", "width"), [(6, 16), (16, 16), (40, 16)])
def test_rows_keep_the_distances_of_the_codebook(d: int, width: int) -> None:
    rng = np.random.default_rng(1)
    vectors = [rng.normal(size=(30, d)) * 3, rng.normal(size=(8, d)) + 5]
    rows = initial_rows(vectors, width, seed=0)
    assert rows.shape == (38, width)
    for part, level in zip((rows[:30], rows[30:]), vectors, strict=True):
        assert np.linalg.norm(part, axis=1).mean() == pytest.approx(1, abs=1e-5)
        have = np.linalg.norm(part[:, None] - part, axis=-1)
        want = np.linalg.norm(level[:, None] - level, axis=-1)
        agreement = np.corrcoef(have.ravel(), want.ravel())[0, 1]
        assert agreement > 0.99999 if d <= width else agreement > 0.8
    assert not np.array_equal(rows, initial_rows(vectors, width, seed=1))


def test_codes_that_are_all_alike_start_at_the_mean() -> None:
    rows = initial_rows([np.ones((3, 4)), np.eye(4)], 8, seed=0)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[:3], 0, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_have_the_mean_and_the_spread_of_the_models_own(
    publish: Callable[..., Path], vectors: list[np.ndarray], tied: bool
) -> None:
    base = load_language_model(str(publish(tied=tied)))
    before = base.model.get_input_embeddings().weight.detach().clone()
    generator = FullGenerator.initialise(base, SIZES, vectors, 16, seed=0)
    ends = (generator.model.get_input_embeddings(), generator.model.get_output_embeddings())
    assert (ends[0].weight is ends[1].weight) == tied
    ids = torch.cat(generator.ids)
    for end in ends:
        own = end.weight.detach()[[i for i in range(len(end.weight)) if i not in set(ids.tolist())]]
        new, mean = end.weight.detach()[ids], own.mean(0)
        torch.testing.assert_close((new - mean).norm(dim=1).mean(), (own - mean).norm(dim=1).mean())
    kept = generator.model.get_input_embeddings().weight.detach()
    old = [i for i in range(len(before)) if i not in set(ids.tolist())]
    assert torch.equal(kept[old], before[old]), "the model's own words stay as they were"
    settings = generator.model.generation_config
    assert not settings.do_sample
    assert (settings.temperature, settings.top_k, settings.repetition_penalty) == (None, None, None)


# ------------------------------------------------------------------ decoding


def test_equals_plain_forward_passes(untrained: FullGenerator, shop: Shop) -> None:
    texts = ["red lamp", shop.titles[3], "x"]
    codes = np.array([[[0, 1], [2, 4], [1, 2]], [[3, 0], [3, 1], [2, 2]]]).transpose(2, 0, 1)
    codes = np.concatenate([codes, codes[:1] * 0])[:3]  # (Q, 2 paths, L)
    first, cache = untrained.prefill(texts)
    swapped = np.array([[1, 0]] * 3)
    second, after = untrained.step(cache, codes[:, :, 0], np.zeros((3, 2), dtype=np.int64))
    third, _ = untrained.step(after, codes[:, :, 1], swapped)
    again, _ = untrained.step(cache, codes[:, :, 0], np.zeros((3, 2), dtype=np.int64))
    np.testing.assert_array_equal(again, second)  # a step leaves the cache that it extends
    for q, prompt in enumerate(untrained.prompts(texts)):
        for w in range(2):
            path = [untrained.ids[0][codes[q, 1 - w, 0]], untrained.ids[1][codes[q, w, 1]]]
            tokens = torch.tensor([[*prompt, *map(int, path)]])
            with torch.no_grad():
                plain = untrained.model(input_ids=tokens).logits[0, len(prompt) - 1 :].numpy()
            assert plain.std() > 0.01, "the comparison must see something"
            np.testing.assert_allclose(first[q], plain[0, :4], atol=1e-5)
            np.testing.assert_allclose(second[q, 1 - w], plain[1, 4:9], atol=1e-5)
            np.testing.assert_allclose(third[q, w], plain[2, 9:], atol=1e-5)


def test_teacher_forcing_equals_decoding(untrained: FullGenerator, shop: Shop) -> None:
    codes = torch.from_numpy(shop.codes[:4])
    first, cache = untrained.prefill(shop.titles[:4])
    zeros = np.zeros((4, 1), dtype=np.int64)
    second, after = untrained.step(cache, shop.codes[:4, :1], zeros)
    third, _ = untrained.step(after, shop.codes[:4, 1:2], zeros)
    untrained.train().model.eval()
    with torch.no_grad():
        forced = untrained.forward(untrained.prompts(shop.titles[:4]), codes)
    untrained.eval()
    for got, want in zip(forced, (first, second[:, 0], third[:, 0]), strict=True):
        np.testing.assert_allclose(got.numpy(), want, atol=1e-5)


def test_padding_changes_nothing(fit: GeneratorFit, shop: Shop, trie: SidTrie) -> None:
    texts = _texts([*shop.queries, "", "one very long query that stretches every other prompt in its batch by a lot"])
    together = beam_search(fit.model, texts, trie, width=4, batch=64).beams
    alone = beam_search(fit.model, texts, trie, width=4, batch=1).beams
    np.testing.assert_array_equal(together.codes, alone.codes)
    np.testing.assert_allclose(together.level_log_prob, alone.level_log_prob, atol=1e-4)


def test_probabilities_sum_to_one_over_the_catalogue(fit: GeneratorFit, shop: Shop, trie: SidTrie) -> None:
    texts, sids = _texts(shop.new_queries[:5]), trie.sids
    pair_query = np.repeat(np.arange(5), len(sids))
    log_probs = sequence_log_probs(fit.model, texts, trie, pair_query, np.tile(sids, (5, 1)), batch=3)
    np.testing.assert_allclose(np.exp(log_probs.sum(1)).reshape(5, -1).sum(1), 1, atol=1e-4)
    best = beam_search(fit.model, texts, trie, width=len(sids)).beams
    np.testing.assert_allclose(
        np.sort(best.log_prob, axis=1), np.sort(log_probs.sum(1).reshape(5, -1), axis=1), atol=1e-4
    )


def test_transformers_generate_finds_the_same_beams(
    fit: GeneratorFit, shop: Shop, trie: SidTrie, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fit.model.save(tmp_path / "model", trie.fingerprint)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", padding_side="left")
    tokens = [
        tokenizer.convert_tokens_to_ids([sid_token(level, c) for level, c in enumerate(sid, 1)]) for sid in trie.sids
    ]
    allowed: dict[tuple[int, ...], set[int]] = {}
    for sid in tokens:
        for depth in range(len(sid)):
            allowed.setdefault(tuple(sid[:depth]), set()).add(sid[depth])
    inputs = tokenizer(
        [f"{PROMPT_HEAD} {text}{PROMPT_TAIL}" for text in shop.new_queries[:8]], return_tensors="pt", padding=True
    )
    start = inputs["input_ids"].shape[1]
    out = model.generate(
        **inputs,
        num_beams=5,
        num_return_sequences=5,
        length_penalty=0.0,
        prefix_allowed_tokens_fn=lambda _, seen: sorted(allowed[tuple(seen[start:].tolist())]),
        return_dict_in_generate=True,
        output_scores=True,
    )
    ours = beam_search(fit.model, _texts(shop.new_queries[:8]), trie, width=5).beams
    code_of = {int(token): code for ids in fit.model.ids for code, token in enumerate(ids)}
    theirs = np.array([[code_of[t] for t in row] for row in out.sequences[:, start:].tolist()]).reshape(8, 5, -1)
    np.testing.assert_array_equal(ours.codes, theirs)
    np.testing.assert_allclose(ours.log_prob, out.sequences_scores.numpy().reshape(8, 5), atol=1e-4)


def test_models_that_cannot_decode_beams_are_errors(publish: Callable[..., Path], vectors: list[np.ndarray]) -> None:
    from transformers import BertLMHeadModel, GPT2LMHeadModel, MambaForCausalLM

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    for kind, settings in (
        (BertLMHeadModel, small | {"initializer_range": 0.5}),
        (MambaForCausalLM, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    ):
        base = load_language_model(str(publish(implementation=kind, **settings)))
        generator = FullGenerator.initialise(base, SIZES, vectors, 16, seed=0)
        with pytest.raises(ModelError, match=r"differ|cannot decode"):
            generator.check()
    positions = publish(implementation=GPT2LMHeadModel, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3)
    FullGenerator.initialise(load_language_model(str(positions)), SIZES, vectors, 16, seed=0).check()


# ------------------------------------------------------------------ training


def test_learns_what_queries_ask_for(fit: GeneratorFit, untrained: FullGenerator, shop: Shop, trie: SidTrie) -> None:
    history = fit.history
    assert list(history.columns) == ["step", "name", "value"]
    assert {"alignment.loss", "alignment.loss_3", "query.loss", "query.loss_1", "lr"} <= set(history["name"])
    last = history.groupby("name")["value"].last()
    assert last["query.loss"] < 0.6 * np.log(SIZES).sum()
    assert last[["query.loss_1", "query.loss_2", "query.loss_3"]].sum() == pytest.approx(last["query.loss"], rel=1e-5)
    assert _hits(fit.model, trie, shop.queries, shop.codes[:60]) > 0.9
    held_out = _hits(fit.model, trie, shop.new_queries, shop.new_target)
    chance = _hits(untrained, trie, shop.new_queries, shop.new_target)
    assert held_out > 0.5
    assert held_out > chance + 0.3
    free = beam_search(fit.model, _texts(shop.queries), trie, width=1, constrained=False).beams.codes[:, 0]
    assert (trie.find(free) >= 0).mean() > 0.8, "it learned which SIDs exist"


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_micro_batches_add_up_to_the_batch(
    publish: Callable[..., Path], folder: Path, shop: Shop, vectors: list[np.ndarray], lora_rank: int
) -> None:
    taken = {}
    for accumulate in (1, 5, 64):
        config = _config(folder, accumulate=accumulate, lora_rank=lora_rank)
        generator = FullGenerator.initialise(load_language_model(str(folder)), SIZES, vectors, 16, seed=0).train()
        if lora_rank:
            with full_training._seeded(0):
                generator.model = full_training._with_adapters(generator, lora_rank)
        prompted = generator.prompts(shop.titles)
        training = full_training._Training(generator, prompted, [], config, 0, None)
        losses = training.gradient(np.arange(32), shop.codes[:32])
        taken[accumulate] = losses, {n: w.grad for n, w in training.learning().items() if w.grad is not None}
    whole = taken.pop(1)
    largest = max(float(gradient.abs().max()) for gradient in whole[1].values())
    assert largest > 1e-3
    for losses, gradients in taken.values():
        torch.testing.assert_close(losses, whole[0])
        assert gradients.keys() == whole[1].keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, whole[1][name], atol=1e-6 * max(1.0, largest), rtol=1e-4)


class Interrupted(Exception):
    """Raised by a progress callback."""


SHORT = {"alignment_epochs": 2.0, "query_epochs": 4.0}  # 6 + 8 steps of 32


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 4, "accumulate": 3}], ids=["all weights", "adapters"])
def test_a_killed_training_resumes_bit_for_bit(
    publish: Callable[..., Path],
    shop: Shop,
    vectors: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, int],
) -> None:
    config = _config(publish(attention_dropout=0.1), **SHORT, **settings)
    whole = _train(shop, vectors, config)
    assert not _equal(whole.model, _train(shop, vectors, config, seed=1).model)
    monkeypatch.setattr(full_training, "CHECKPOINT_SECONDS", 0.0)
    checkpoint = tmp_path / "ckpt"
    for stop in (4, 9):
        calls: list[int] = []

        def interrupt(done: int, total: int, stop: int = stop, calls: list[int] = calls) -> None:
            calls.append(done)
            assert total == 14
            torch.rand(3)  # others draw random numbers too
            if done == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            _train(shop, vectors, config, checkpoint=checkpoint, progress=interrupt)
        assert calls[0] == (0 if stop == 4 else 4)
    resumed = _train(shop, vectors, config, checkpoint=checkpoint)
    assert _equal(resumed.model, whole.model)
    assert resumed.history.equals(whole.history)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt"]

    calls = []
    _train(shop, vectors, config, checkpoint=checkpoint, progress=lambda done, _: calls.append(done))
    assert calls == [14], "a finished training is taken as it is"
    other = dataclasses.replace(config, full_lr=1e-3)
    calls = []
    _train(shop, vectors, other, checkpoint=checkpoint, progress=lambda done, _: calls.append(done))
    assert calls[0] == 0, "a checkpoint of another training is not taken up"


@pytest.mark.parametrize("tied", [True, False])
def test_adapters_learn_and_merge(
    publish: Callable[..., Path], shop: Shop, vectors: list[np.ndarray], trie: SidTrie, tmp_path: Path, tied: bool
) -> None:
    folder = publish(tied=tied)
    fit = _train(shop, vectors, _config(folder, lora_rank=8, full_lr=1e-2))
    assert _hits(fit.model, trie, shop.queries, shop.codes[:60]) > 0.6
    base = FullGenerator.initialise(load_language_model(str(folder)), SIZES, vectors, 16, seed=0)
    before, after = _weights(base), _weights(fit.model)
    assert before.keys() == after.keys(), "merged: a plain model again"
    ids = torch.cat(base.ids)
    words = torch.ones(len(before["model.embed_tokens.weight"]), dtype=torch.bool)
    words[ids] = False
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert not torch.equal(before[name][ids], after[name][ids]), f"{name}: the new rows learn"
        assert torch.equal(before[name][words], after[name][words]), f"{name}: the model's own words do not"
    assert torch.equal(after["model.embed_tokens.weight"], after["lm_head.weight"]) == tied
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])
    assert torch.equal(before["model.norm.weight"], after["model.norm.weight"])

    fit.model.save(tmp_path / "model", trie.fingerprint)
    assert _equal(load_full_generator(tmp_path / "model", trie), fit.model)
    assert not list((tmp_path / "model").glob("adapter*"))


def test_untied_embeddings_learn(
    publish: Callable[..., Path], shop: Shop, vectors: list[np.ndarray], trie: SidTrie
) -> None:
    fit = _train(shop, vectors, _config(publish(tied=False)))
    assert _hits(fit.model, trie, shop.queries, shop.codes[:60]) > 0.9
    state = _weights(fit.model)
    assert not torch.equal(state["model.embed_tokens.weight"], state["lm_head.weight"])


def test_titles_alone_serve_a_catalogue_without_logs(
    shop: Shop, vectors: list[np.ndarray], folder: Path, trie: SidTrie
) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    quiet = shop._replace(queries=[], pair_query=nothing, pair_item=nothing, pair_weight=nothing.astype(np.float32))
    fit = _train(quiet, vectors, _config(folder))
    assert not fit.history["name"].str.startswith("query").any()
    assert _hits(fit.model, trie, shop.titles, shop.codes) > 0.8


# ------------------------------------------------------------------ keeping


def test_a_saved_generator_answers_alike(fit: GeneratorFit, shop: Shop, trie: SidTrie, tmp_path: Path) -> None:
    path = tmp_path / "model"
    for _ in range(2):  # the second writes over the first
        fit.model.save(path, trie.fingerprint)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    loaded = load_full_generator(path, trie)
    assert _equal(loaded, fit.model)
    texts = _texts(shop.new_queries)
    found, again = (beam_search(model, texts, trie, width=5).beams for model in (fit.model, loaded))
    np.testing.assert_array_equal(found.codes, again.codes)
    np.testing.assert_array_equal(found.level_log_prob, again.level_log_prob)
    settings = json.loads((path / "generation_config.json").read_text())
    assert settings["do_sample"] is False
    assert not {"temperature", "top_k", "top_p", "repetition_penalty"} & {
        k for k, v in settings.items() if v is not None
    }


def test_another_trie_is_an_error(fit: GeneratorFit, shop: Shop, trie: SidTrie, tmp_path: Path) -> None:
    fit.model.save(tmp_path / "model", trie.fingerprint)
    other = SidTrie.build(shop.codes[:40] % 3, SIZES)
    with pytest.raises(ModelError, match="other SIDs"):
        load_full_generator(tmp_path / "model", other)


def test_missing_or_damaged_models_are_errors(fit: GeneratorFit, trie: SidTrie, tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(ModelError, match="no language model at"):
        load_full_generator(path, trie)
    fit.model.save(path, trie.fingerprint)
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged"):
        load_full_generator(path, trie)
    weights.unlink()
    with pytest.raises(ModelError, match="damaged"):
        load_full_generator(path, trie)
    (path / "sids.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged"):
        load_full_generator(path, trie)


def test_a_downloaded_model_is_found_by_its_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network, where an earlier download lies in the hub's cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="hf download acme/tiny"):
        load_language_model("acme/tiny")
    cached = tmp_path / "models--acme--tiny"
    shutil.copytree(folder, cached / "snapshots" / ("0" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    found, same = load_language_model("acme/tiny"), load_language_model(str(folder))
    assert len(found.tokenizer) == len(same.tokenizer)
    for name, weight in same.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], weight)


def test_a_model_that_is_not_to_be_had_is_an_error(
    shop: Shop, vectors: list[np.ndarray], folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    for name, said in (
        (str(tmp_path / "nowhere"), "could not be loaded"),
        (str(tmp_path), "local folder"),
        ("Qwen/Qwen3-none", "hf download Qwen/Qwen3-none"),
    ):
        with pytest.raises(ModelError, match=said):
            _train(shop, vectors, _config(tmp_path, model=name))
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "no-tokenizer")
    with pytest.raises(ModelError, match="no tokenizer"):
        load_language_model(str(tmp_path / "no-tokenizer"))
