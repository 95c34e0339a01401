"""Our residual quantizer against vector-quantize-pytorch and faiss at the same sizes: training step and assignment.

    python -m tests.bench.bench_quantizer [--rounds 5] [--threads 1]

Codebooks of 216/512/512 vectors of width 128. Rivals are timed in turn within each round, in one process, so that a
busy machine slows them alike; medians, and the median over rounds of each rival's time over ours.

- Training step: linear encoder 384 -> 128, quantization with straight-through gradient, linear decoder, reconstruction
  and commitment losses, backward, AdamW, moving-average update of the codebooks; batch 512. The two differ in the
  quantizer alone.
- Assignment of 100,000 vectors. All get the same codebooks and must find the same codes, up to ties within rounding.
  The floor is the bare matrix products, one a level, in the chunks that serve them best.
- Reconstruction: squared error on held-out rows after equal steps of the same training.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import faiss
import numpy as np
import torch
from torch import nn
from vector_quantize_pytorch import ResidualVQ

from engine.quantizers.losses import commitment, reconstruction, straight_through
from engine.quantizers.residual import ResidualCodebooks
from tests.bench.rivals import alternate

SIZES = (216, 512, 512)
DIM = 128
WIDTH = 384
BATCH = 512
N_ROWS = 100_000
DECAY = 0.99
LR = 1e-3


def rows(n: int, width: int, *, seed: int) -> torch.Tensor:
    """Unit vectors (n, width) in 300 clusters of unequal size, as titles are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(300, width))
    cluster = rng.integers(0, rng.integers(1, 301, size=n))
    x = torch.from_numpy((centres[cluster] + 0.8 * rng.normal(size=(n, width))).astype(np.float32))
    return nn.functional.normalize(x, dim=1)


def library(codebooks: ResidualCodebooks | None = None) -> ResidualVQ:
    """vector-quantize-pytorch's residual quantizer at our sizes, with our codebooks where they are given."""
    theirs = ResidualVQ(
        dim=DIM, num_quantizers=len(SIZES), codebook_size=SIZES, decay=DECAY, kmeans_init=False,
        threshold_ema_dead_code=0, commitment_weight=1.0,
    )  # fmt: skip
    if codebooks is not None:
        give(theirs, codebooks)
    return theirs


def give(theirs: ResidualVQ, codebooks: ResidualCodebooks) -> None:
    """Sets its codebooks, and what their moving averages start from, to ours."""
    for level, layer in enumerate(theirs.layers):
        book = layer._codebook
        book.embed.data.copy_(codebooks.vectors[level][None])
        book.embed_avg.data.copy_(codebooks.sums[level][None])
        book.cluster_size.data.copy_(codebooks.mass[level][None])


class Trainee:
    """Linear encoder and decoder around a quantizer; `step` is one whole training step, and returns its loss."""

    def __init__(self, theirs: ResidualVQ | None, ours: ResidualCodebooks | None) -> None:
        torch.manual_seed(0)
        self.encoder = nn.Linear(WIDTH, DIM)
        self.decoder = nn.Linear(DIM, WIDTH)
        self.theirs = theirs
        self.ours = ours
        self.optimizer = torch.optim.AdamW([*self.encoder.parameters(), *self.decoder.parameters()], lr=LR)

    def step(self, x: torch.Tensor) -> float:
        latent = self.encoder(x)
        if self.ours is not None:
            result = self.ours.quantize(latent)
            loss = reconstruction(self.decoder(straight_through(latent, result.quantized)), x) + commitment(result)
        else:
            assert self.theirs is not None
            quantized, _, commitments = self.theirs(latent)
            # It takes the mean over the d dimensions where we take their sum.
            loss = reconstruction(self.decoder(quantized), x) + DIM * commitments.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.ours is not None:
            self.ours.update(result, DECAY)
        return loss.item()

    @torch.no_grad()
    def error(self, x: torch.Tensor) -> float:
        """Squared reconstruction error of held-out rows."""
        latent = self.encoder(x)
        if self.ours is not None:
            quantized = self.ours.quantize(latent).quantized
        else:
            assert self.theirs is not None
            quantized = self.theirs.eval()(latent)[0]
            self.theirs.train()
        return reconstruction(self.decoder(quantized), x).item()


def trainees(x: torch.Tensor) -> tuple[Trainee, Trainee]:
    """Ours and the library's, from equal weights and equal codebooks (k-means of what the encoder says at first)."""
    ours = Trainee(None, ResidualCodebooks(SIZES, DIM))
    with torch.no_grad():
        start = ours.encoder(x[:20_000])
    assert ours.ours is not None
    ours.ours.fit(start, None, seed=0)
    return ours, Trainee(library(ours.ours), None)


def training(x: torch.Tensor, rounds: int, steps: int = 10) -> None:
    """Print the time of a step of both, and what they reach."""
    ours, theirs = trainees(x)
    held_out = rows(4_000, WIDTH, seed=2)
    # Each has its own stream of the same batches: both take equal steps.
    streams = {id(t): np.random.default_rng(4) for t in (ours, theirs)}
    before = ours.error(held_out), theirs.error(held_out)

    def some_steps(trainee: Trainee) -> Callable[[], object]:
        stream = streams[id(trainee)]
        return lambda: [trainee.step(x[torch.from_numpy(stream.integers(len(x), size=BATCH))]) for _ in range(steps)]

    seconds = alternate([some_steps(ours), some_steps(theirs)], rounds) / steps
    a, b = np.median(seconds, axis=0) * 1e3
    ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
    n_steps = steps * (rounds + 1)
    print(f"| quantizer | ms a training step | against ours | held-out error at the start | after {n_steps} steps |")
    print("|---|---|---|---|---|")
    print(f"| ours | {a:.2f} | 1.00x | {before[0]:.4f} | {ours.error(held_out):.4f} |")
    print(f"| vector-quantize-pytorch | {b:.2f} | {ratio:.2f}x | {before[1]:.4f} | {theirs.error(held_out):.4f} |")


def faiss_flat(codebooks: ResidualCodebooks, x: np.ndarray) -> Callable[[], np.ndarray]:
    """One exact index a level over the residuals."""
    vectors = [np.ascontiguousarray(v.numpy()) for v in codebooks.vectors]
    indexes = []
    for level in vectors:
        index = faiss.IndexFlatL2(DIM)
        index.add(level)
        indexes.append(index)

    def assign() -> np.ndarray:
        residual, codes = x, []
        for index, level in zip(indexes, vectors, strict=True):
            code = index.search(residual, 1)[1][:, 0]
            residual = residual - level[code]
            codes.append(code)
        return np.stack(codes, axis=1)

    return assign


def faiss_residual(codebooks: ResidualCodebooks, x: np.ndarray) -> Callable[[], np.ndarray]:
    """faiss's own residual quantizer, greedy as ours (beam 1). It takes powers of two alone, so level 1 is padded
    with code vectors too far away to be chosen."""
    bits = [int(np.ceil(np.log2(size))) for size in SIZES]
    quantizer = faiss.ResidualQuantizer(DIM, faiss_sizes(bits))
    quantizer.max_beam_size = 1
    padded = [
        np.concatenate([v.numpy(), np.full((2**b - len(v), DIM), 1e3, dtype=np.float32)])
        for v, b in zip(codebooks.vectors, bits, strict=True)
    ]
    faiss.copy_array_to_vector(np.concatenate(padded).ravel(), quantizer.codebooks)
    quantizer.is_trained = True

    def assign() -> np.ndarray:
        packed = quantizer.compute_codes(x)
        value = np.zeros(len(x), dtype=np.int64)
        for byte in range(packed.shape[1]):
            value |= packed[:, byte].astype(np.int64) << (8 * byte)
        shifts = np.concatenate([[0], np.cumsum(bits)[:-1]])
        return np.stack([(value >> s) & (2**b - 1) for s, b in zip(shifts.tolist(), bits, strict=True)], axis=1)

    return assign


def faiss_sizes(bits: list[int]) -> faiss.UInt64Vector:
    """Bits a level, as faiss takes them."""
    vector = faiss.UInt64Vector()
    for b in bits:
        vector.push_back(b)
    return vector


def bare(codebooks: ResidualCodebooks, x: torch.Tensor, chunk: int) -> Callable[[], object]:
    """The matrix products of all levels, with nothing made of them."""

    def multiply() -> None:
        for at in range(0, len(x), chunk):
            for vectors in codebooks.vectors:
                torch.mm(x[at : at + chunk], vectors.T)

    return multiply


def fastest_chunk(codebooks: ResidualCodebooks, x: torch.Tensor) -> int:
    """The rows at once with which the bare products are fastest."""
    chunks = (512, 1024, 2048, 8192, len(x))
    seconds = alternate([bare(codebooks, x, chunk) for chunk in chunks], 3)
    return chunks[int(np.median(seconds, axis=0).argmin())]


def agreement(found: np.ndarray, codebooks: ResidualCodebooks, x: torch.Tensor) -> tuple[float, float]:
    """Share of rows with our codes; and, where another code was chosen first, the greatest difference of the two
    squared distances, in float64 (a tie: nil within float32's rounding)."""
    ours = codebooks.assign(x).numpy()
    differing = np.flatnonzero((found != ours).any(axis=1))
    gap = 0.0
    for row in differing:
        level = int((found[row] != ours[row]).argmax())
        residual = x[row].double() - sum(codebooks.vectors[at][ours[row, at]].double() for at in range(level))
        pair = codebooks.vectors[level][[int(ours[row, level]), int(found[row, level])]].double()
        one, other = (residual - pair).square().sum(dim=1).tolist()
        gap = max(gap, abs(one - other))
    return 1 - len(differing) / len(found), gap


@torch.inference_mode()
def assignment(x: torch.Tensor, rounds: int) -> None:
    """Print the time of all rivals on the same codebooks, and whether they agree."""
    codebooks = ResidualCodebooks(SIZES, DIM)
    codebooks.fit(x[:20_000].clone(), None, seed=0)
    theirs = library(codebooks).eval()
    rivals: dict[str, Callable[[], object]] = {
        "ours": lambda: codebooks.assign(x).numpy(),
        "ours, with norms and quantized vectors": lambda: codebooks.encode(x).codes,
        "vector-quantize-pytorch, eval": lambda: theirs(x[None])[1][0].numpy(),
        "faiss, exact index a level": faiss_flat(codebooks, x.numpy()),
        "faiss ResidualQuantizer, beam 1": faiss_residual(codebooks, x.numpy()),
    }
    chunk = fastest_chunk(codebooks, x)
    seconds = alternate([*rivals.values(), bare(codebooks, x, chunk)], rounds)
    median = np.median(seconds, axis=0) * 1e3
    print(f"| assignment of {len(x):,} vectors | ms | against ours | against the bare products | same codes |")
    print("|---|---|---|---|---|")
    for index, name in enumerate([*rivals, f"bare matrix products ({chunk} rows at once)"]):
        over_ours, over_bare = (float(np.median(seconds[:, index] / seconds[:, other])) for other in (0, -1))
        same = ""
        if name in rivals:
            share, gap = agreement(np.asarray(rivals[name]()), codebooks, x)
            same = f"{share:.3%}" + (f", else a tie to {gap:.0e}" if share < 1 else "")
        print(f"| {name} | {median[index]:.0f} | {over_ours:.2f}x | {over_bare:.2f}x | {same} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    print(
        f"{'/'.join(map(str, SIZES))} codes, width {DIM}, batch {BATCH}, {arguments.threads} threads, "
        f"median of {arguments.rounds}\n"
    )
    training(rows(20_000, WIDTH, seed=1), 3 * arguments.rounds)
    print()
    assignment(rows(N_ROWS, DIM, seed=5), arguments.rounds)


if __name__ == "__main__":
    main()
