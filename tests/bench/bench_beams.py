"""Milliseconds a query of our beam search, of `transformers.generate` on the same model, and of the bare forwards.

    python -m tests.bench.bench_beams [--rounds 15] [--threads 2]

Random weights of the default shapes and a random trie sized like the demo's. `generate` gets the same weights, the
same width and the same trie through `prefix_allowed_tokens_fn`, with its scores renormalised over the allowed
codes as ours are; both must find the same SIDs. The floor runs the same forward passes on the same shapes and
searches nothing. All are timed in turn within each round, so that a busy machine slows them alike; medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.config import GeneratorConfig
from engine.generator.beam import beam_search
from engine.generator.model import CompactGenerator
from engine.generator.trie import SidTrie
from tests.bench.rivals import alternate
from tests.engine.qwen3_twin import as_transformers, soft_prompt

QUERY_DIM = 384
N_ITEMS = 6_000


class Measured(NamedTuple):
    """Medians at one batch size, in milliseconds a query."""

    batch: int
    ours: float
    generate: float
    floor: float
    """Our forward passes alone."""
    floor_transformers: float
    """The `transformers` forward passes alone, with its key-value cache."""
    same_sids: float
    """Share of queries whose K SIDs agree, in order."""
    score_gap: float
    """Greatest difference of a beam's log-probability."""


class Setting(NamedTuple):
    """One model, its twin, a trie and queries."""

    model: CompactGenerator
    twin: Any
    trie: SidTrie
    query_x: np.ndarray
    width: int


def setting(sizes: tuple[int, ...], config: GeneratorConfig, *, seed: int = 0) -> Setting:
    """Random weights, spread wide enough that probabilities differ, and 6,000 random items."""
    model = CompactGenerator.initialise(sizes, QUERY_DIM, config, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    rng = np.random.default_rng(seed)
    # Zipf-like first codes, as categories are; deeper codes even.
    first = np.minimum(rng.zipf(1.3, N_ITEMS) - 1, rng.integers(0, sizes[0], N_ITEMS))
    codes = np.stack([first, *(rng.integers(0, size, N_ITEMS) for size in sizes[1:])], axis=1)
    query_x = rng.normal(size=(64, QUERY_DIM)).astype(np.float32)
    query_x /= np.linalg.norm(query_x, axis=1, keepdims=True)
    model.eval()
    return Setting(model, as_transformers(model), SidTrie.build(codes, sizes), query_x, config.beam_width)


class Constraint:
    """The trie as `prefix_allowed_tokens_fn`: the tokens that may follow what a beam has spelled."""

    def __init__(self, s: Setting) -> None:
        self.followers: dict[tuple[int, ...], list[int]] = {}
        offsets = s.model.architecture.offsets
        for sid in s.trie.sids.tolist():
            tokens = [offset + code for offset, code in zip(offsets, sid, strict=False)]
            for depth, token in enumerate(tokens):
                followers = self.followers.setdefault(tuple(tokens[:depth]), [])
                if not followers or followers[-1] != token:
                    followers.append(token)

    def __call__(self, _: int, spelled: torch.Tensor) -> list[int]:
        return self.followers[tuple(spelled.tolist())]


def generate(s: Setting, constraint: Constraint, query_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (Q, K, L) and log-probabilities (Q, K) by `transformers.generate` under the same constraint."""
    prompt = soft_prompt(s.model, query_x)
    out = s.twin.generate(
        inputs_embeds=prompt,
        attention_mask=torch.ones(prompt.shape[:2], dtype=torch.int64),
        prefix_allowed_tokens_fn=constraint,
        num_beams=s.width,
        num_return_sequences=s.width,
        max_new_tokens=s.trie.levels,
        do_sample=False,
        renormalize_logits=True,
        length_penalty=0.0,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    tokens = out.sequences.numpy().reshape(len(query_x), s.width, -1)
    codes = tokens - np.asarray(s.model.architecture.offsets[:-1])
    return codes, out.sequences_scores.numpy().reshape(len(query_x), s.width)


def bare(s: Setting, query_x: np.ndarray) -> None:
    """Our forward passes of a search, with nothing searched."""
    _, cache = s.model.prefill(query_x)
    some = np.tile(np.arange(s.width), (len(query_x), 1))
    for level in range(s.trie.levels - 1):
        _, cache = s.model.step(cache, some % s.model.sizes[level], some if level else np.zeros_like(some))


@torch.inference_mode()
def bare_transformers(s: Setting, query_x: np.ndarray) -> None:
    """The forward passes of a search in `transformers`, with nothing searched."""
    cache = s.twin(inputs_embeds=soft_prompt(s.model, query_x), use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_repeat_interleave(s.width)
    tokens = torch.zeros(len(query_x) * s.width, 1, dtype=torch.int64)
    for _ in range(s.trie.levels - 1):
        cache = s.twin(input_ids=tokens, past_key_values=cache, use_cache=True).past_key_values


def measure(s: Setting, batch: int, rounds: int) -> Measured:
    """Time all four in turn, `rounds` times, and compare what the two searches find."""
    queries = s.query_x[:batch]
    constraint = Constraint(s)
    rivals: list[Callable[[], object]] = [
        lambda: beam_search(s.model, queries, s.trie, width=s.width, batch=batch),
        lambda: generate(s, constraint, queries),
        lambda: bare(s, queries),
        lambda: bare_transformers(s, queries),
    ]
    seconds = alternate(rivals, rounds)
    ours, theirs, floor, floor_transformers = np.median(seconds, axis=0) * 1e3 / batch

    beams = beam_search(s.model, s.query_x, s.trie, width=s.width).beams
    codes, scores = generate(s, constraint, s.query_x)
    same = (beams.codes == codes).all((1, 2))
    return Measured(
        batch,
        ours,
        theirs,
        floor,
        floor_transformers,
        float(same.mean()),
        float(np.abs(beams.log_prob - scores)[same].max(initial=0.0)),
    )


def main() -> None:
    """Print one row a trie and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = GeneratorConfig()
    print(
        f"hidden {config.hidden}, {config.layers} layers, {config.prefix_tokens} soft tokens, width {config.beam_width}, "
        f"{N_ITEMS} items, {arguments.threads} threads, median of {arguments.rounds}; ms a query"
    )
    print(
        "| sizes | batch | ours | generate | bare forwards | ours / bare | bare, transformers | generate / ours | same |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for sizes in ((216, 8, 8), (100, 32, 16), (216, 512, 512)):
        s = setting(sizes, config)
        for batch in (1, 64):
            m = measure(s, batch, arguments.rounds)
            print(
                f"| {'/'.join(map(str, sizes))} | {m.batch} | {m.ours:.2f} | {m.generate:.2f} | {m.floor:.2f} | "
                f"{m.ours / m.floor:.2f}x | {m.floor_transformers:.2f} | {m.generate / m.ours:.1f}x | "
                f"{m.same_sids:.0%}, gap {m.score_gap:.0e} |"
            )


if __name__ == "__main__":
    main()
