"""The same paths on a GPU and on the CPU of one machine: steps and queries a second, memory, and how far the answers are apart.

    python -m tests.bench.bench_gpu [--items 20000] [--minutes 10]

Encoder, quantizer, compact generator, and a language model of Qwen3-0.6B's shape with random weights, each through the code that a run
uses. What is compared was made once, on the CPU: vectors of equal texts, codes by one quantizer, beams of one generator's weights.
Tolerances: vectors 1e-4 an entry; of codes and beams 99 in 100 alike (ties within rounding may go either way). The training of
the language model computes in bfloat16 on a GPU that does, its answers in float32, as in the product. Without a GPU it says so, and runs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

SIZES = (216, 512, 512)
QWEN3_06B = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
             "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936}  # fmt: skip
PAPER_MS = (17.9, 24.3)
"""Mean and P99 of one live generation in the paper (arXiv 2606.04374), another model on other machines."""
VECTOR_TOLERANCE = 1e-4
LEAST_ALIKE = 0.99


class Task(NamedTuple):
    """How much is done."""

    items: int = 20_000
    queries: int = 1_000
    steps: int = 60
    """Of each training that is timed."""
    slow_steps: int = 0
    """The same of a language model on the CPU; the true one would need over 20 GB and minutes."""
    slow_queries: int = 16
    """That a language model answers on the CPU."""
    sizes: tuple[int, ...] = SIZES
    shape: dict[str, int] | None = None
    """Of the language model; None is the true one."""
    preset: str = "demo"


class Enough(Exception):
    """As many steps as are timed were taken."""


def paced(train: Callable[[Callable[[int, int], None]], object], steps: int) -> float:
    """Steps a second of a training, the first two left out; it is ended after `steps`."""
    at: list[float] = []

    def progress(done: int, total: int) -> None:
        at.append(time.perf_counter())
        if done > steps:
            raise Enough

    with contextlib.suppress(Enough):
        train(progress)
    warm = at[min(2, len(at) - 2) :]
    return (len(warm) - 1) / (warm[-1] - warm[0])


def rate(count: int, work: Callable[[], object]) -> float:
    """`count` a second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def prepare(folder: Path, task: Task) -> None:
    """Titles, queries, pairs, and the language model: equal for both."""
    from engine.datasets.marketplace import write_marketplace
    from tests.engine.tiny_language_model import write_language_model

    write_marketplace(folder / "files", n_items=task.items, seed=0)
    titles = pd.read_parquet(folder / "files" / "items.parquet", columns=["title"])["title"]
    settings = QWEN3_06B if task.shape is None else task.shape
    write_language_model(folder / "language-model", titles.head(2_000), **settings)


def measure(folder: Path, task: Task, *, first: bool) -> dict[str, Any]:
    """Everything once on this process's device; `first` makes what both compare. Arrays go to `folder`, figures are returned."""
    import torch

    from engine.config import preset
    from engine.encoders.loading import load_encoder
    from engine.generator.beam import beam_search
    from engine.generator.examples import Lessons
    from engine.generator.full import FullGenerator, load_language_model
    from engine.generator.full_training import train_full_generator
    from engine.generator.model import load_generator
    from engine.generator.training import train_generator
    from engine.generator.trie import SidTrie
    from engine.quantizers.contrastive import train_contrastive
    from engine.quantizers.sampling import TrainingSet
    from engine.quantizers.tokenizer import load_quantizer

    config = preset(task.preset)
    read = {name: pd.read_parquet(folder / "files" / f"{name}.parquet") for name in ("items", "queries", "judgments")}
    titles = read["items"]["title"].tolist()
    texts = read["queries"]["text"].drop_duplicates().head(task.queries).tolist()
    place = {words: row for row, words in enumerate(texts)}
    text_of = read["queries"].set_index("query_id")["text"]
    pairs = read["judgments"].assign(query=lambda t: t["query_id"].map(text_of).map(place)).dropna(subset=["query"])
    rows = pd.Series(range(len(titles)), read["items"]["item_id"])
    pair_query, pair_item = pairs["query"].to_numpy(np.int64), rows[pairs["item_id"]].to_numpy(np.int64)
    weight = pairs["grade"].to_numpy(np.float32)
    found: dict[str, Any] = {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"}

    encoder = load_encoder(max_tokens=config.encoder.max_tokens)
    encoder.encode(titles[:64])
    vectors: list[np.ndarray] = []
    found["titles encoded a second"] = rate(len(titles), lambda: vectors.append(encoder.encode(titles)))
    item_x, query_x = vectors[0], encoder.encode(texts)
    kept: dict[str, np.ndarray] = {"vectors": item_x}

    if first:
        np.savez(folder / "equal.npz", item_x=item_x, query_x=query_x)
        data = TrainingSet(item_x, query_x, pair_query, pair_item, weight)
        made = train_contrastive(data, config.quantizer, task.sizes, seed=0)
        made.quantizer.save(folder / "quantizer")
    quantizer = load_quantizer(folder / "quantizer")
    found["items given a SID a second"] = rate(len(titles), lambda: quantizer.encode_items(item_x, None))
    kept["codes"] = quantizer.encode_items(item_x, None).codes

    equal = np.load(folder / "equal.npz")
    codes = quantizer.encode_items(equal["item_x"], None).codes.astype(np.int64)
    trie = SidTrie.build(codes, task.sizes)
    lessons = Lessons(equal["item_x"], codes, equal["query_x"], pair_query, pair_item, weight, task.sizes)
    found["compact generator: steps a second"] = paced(
        lambda progress: train_generator(lessons, config.generator, seed=0, progress=progress), task.steps
    )
    if first:
        train_generator(lessons, config.generator, seed=0).model.save(folder / "compact.safetensors", trie.fingerprint)
    compact = load_generator(folder / "compact.safetensors", trie)
    beam_search(compact, equal["query_x"][:64], trie)
    found["compact generator: queries a second"] = rate(
        len(texts), lambda: kept.update(beams=beam_search(compact, equal["query_x"], trie).beams.codes)
    )
    found |= latency("compact generator", [equal["query_x"][i : i + 1] for i in range(len(texts))],
                     lambda one: beam_search(compact, one, trie))  # fmt: skip

    spelled = lessons._replace(items=titles, queries=texts)
    code_vectors = [np.random.default_rng(level).normal(size=(size, 128)).astype(np.float32)
                    for level, size in enumerate(task.sizes)]  # fmt: skip
    slow = not torch.cuda.is_available()
    name = str(folder / "language-model")
    settings = type(config.generator)(kind="full", model=name, batch=config.generator.batch)
    if steps := task.slow_steps if slow else task.steps:
        found["language model: steps a second"] = paced(
            lambda progress: train_full_generator(spelled, code_vectors, settings, seed=0, progress=progress), steps
        )
    if not slow:
        found["language model: GB while training"] = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    base = load_language_model(name)
    full = FullGenerator.initialise(base, task.sizes, code_vectors, settings.max_tokens, seed=0)
    full = full.to("cpu" if slow else "cuda").eval()
    asked = np.array(texts[: task.slow_queries] if slow else texts, dtype=object)
    beam_search(full, asked[:2], trie)
    answered: list[np.ndarray] = []
    found["language model: queries a second"] = rate(
        len(asked), lambda: answered.append(beam_search(full, asked, trie).beams.codes)
    )
    kept["language model's beams"] = answered[0][: task.slow_queries]
    found |= latency("language model", [asked[i : i + 1] for i in range(min(len(asked), 100))],
                     lambda one: beam_search(full, one, trie))  # fmt: skip
    if not slow:
        found["language model: GB while answering"] = torch.cuda.max_memory_allocated() / 1e9
    np.savez(folder / f"{'first' if first else 'second'}.npz", **kept)  # type: ignore[arg-type]
    return found


def latency(what: str, blocks: Sequence[np.ndarray], answer: Callable[[np.ndarray], object]) -> dict[str, float]:
    """Mean and P99 of one query's search, in milliseconds."""
    spent = []
    for block in blocks:
        began = time.perf_counter()
        answer(block)
        spent.append(1000 * (time.perf_counter() - began))
    return {
        f"{what}: ms a query, mean": float(np.mean(spent)),
        f"{what}: ms a query, P99": float(np.quantile(spent, 0.99)),
    }


def apart(folder: Path) -> list[tuple[str, float, bool]]:
    """What is compared, by how much both agree, and whether that is within tolerance."""
    one, other = np.load(folder / "first.npz"), np.load(folder / "second.npz")
    gap = float(np.abs(one["vectors"] - other["vectors"]).max())
    told = [("largest difference of a vector's entry", gap, gap <= VECTOR_TOLERANCE)]
    for name in ("codes", "beams", "language model's beams"):
        alike = float((one[name] == other[name]).all(axis=-1).mean())
        told.append((f"{name} alike", alike, alike >= LEAST_ALIKE))
    return told


def report(figures: Sequence[dict[str, Any]], agreement: Sequence[tuple[str, float, bool]]) -> str:
    """Both as Markdown."""
    names = dict.fromkeys(name for found in figures for name in found if name != "device")
    lines = [f"| | {' | '.join(found['device'] for found in figures)} |", "|---" * (len(figures) + 1) + "|"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(f'{found[name]:,.2f}' if name in found else '' for found in figures)} |")
    lines += ["", "| both | | |", "|---|---|---|"]
    lines += [f"| {what} | {value:.3g} | {'within tolerance' if well else 'NOT WITHIN TOLERANCE'} |"
              for what, value, well in agreement]  # fmt: skip
    mean, p99 = PAPER_MS
    return "\n".join([*lines, "", f"The paper's own generation, elsewhere: mean {mean} ms, P99 {p99} ms."])


def main() -> int:
    """Run on the CPU, then on the GPU, each in a process of its own; 1 where they are too far apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=Task().items)
    parser.add_argument("--minutes", type=float, default=10.0, help="most that it may take")
    parser.add_argument("--part", nargs=2, metavar=("first|second", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    task = Task(items=given.items)
    if given.part:
        which, folder = given.part
        print(json.dumps(measure(Path(folder), task, first=which == "first")))
        return 0
    import torch

    if not torch.cuda.is_available():
        print("There is no GPU that PyTorch can use here: nothing was run.")
        return 0
    ends = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as temporary:
        folder, figures = Path(temporary), []
        prepare(folder, task)
        for which, hidden in (("first", {"CUDA_VISIBLE_DEVICES": ""}), ("second", {})):
            line = [
                sys.executable,
                "-m",
                "tests.bench.bench_gpu",
                "--items",
                str(given.items),
                "--part",
                which,
                str(folder),
            ]
            done = subprocess.run(line, env=os.environ | hidden, stdout=subprocess.PIPE, text=True, check=True,
                                  timeout=max(ends - time.monotonic(), 1))  # fmt: skip
            figures.append(json.loads(done.stdout.splitlines()[-1]))
        agreement = apart(folder)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; PyTorch {torch.__version__}; {given.items:,} items\n"
    )
    print(report(figures, agreement))
    return int(not all(well for *_, well in agreement))


if __name__ == "__main__":
    sys.exit(main())
