"""Semantic identifiers as words of a language model: the prompt, one new token per (level, code), and where it starts.

New rows start from the codebook. The code vectors of a level are centred, written in their principal coordinates (all
of them where the model is at least as wide as the codebook) and laid along random orthonormal directions of the
model's space, so that distances between codes survive unchanged; they are scaled and moved to the mean and the mean
spread of the model's own rows, so that no new token stands out by its size. Levels share the directions, because a SID
is a sum of code vectors. The isometry needs no fit and says nothing that the codebook does not; a least-squares map
onto the words of titles would, but it presumes that those words' rows are good. This is ours, not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT_HEAD = "Product search:"
"""Stands before a space and the text, a query's or a title's ..."""
PROMPT_TAIL = "\nSemantic ID:"
"""... and this behind it; the first SID token comes next."""
MOST_CHARACTERS = 20_000
"""Texts are cut here before tokenizing: a 1 MB title would take a second, for tokens that are cut anyway."""


def sid_token(level: int, code: int) -> str:
    """The token of a code: `<sid_1_17>` for code 17 (0-based) of level 1 (1-based)."""
    return f"<sid_{level}_{code}>"


def token_ids(tokenizer: PreTrainedTokenizerBase, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
    """L arrays (K_l,) int64: the token of each code of each level; unknown ones are added to the tokenizer first."""
    from tokenizers import AddedToken

    names = [[sid_token(level, code) for code in range(size)] for level, size in enumerate(sizes, start=1)]
    new = [AddedToken(name, special=True, normalized=False) for level in names for name in level]
    tokenizer.add_tokens(new, special_tokens=True)
    return tuple(np.asarray(tokenizer.convert_tokens_to_ids(level), dtype=np.int64) for level in names)


def prompts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """The prompt of each text, its text cut after `max_tokens` tokens.

    A text that spells a token of the model's own (`<sid_1_17>`, `<|im_end|>`) is read as plain characters.
    """
    # The tokenizer keeps this setting between calls; the same one everywhere is safe for threads that share it.
    plain = {"split_special_tokens": True}
    head, tail = tokenizer([PROMPT_HEAD, PROMPT_TAIL], add_special_tokens=False, **plain)["input_ids"]
    start = tokenizer(PROMPT_HEAD, **plain)["input_ids"][:1]
    bos = start if start == [tokenizer.bos_token_id] else []
    # Lone surrogates (half an emoji in a damaged export) are no text that a tokenizer accepts.
    clean = [" " + text[:MOST_CHARACTERS].encode("utf-8", "replace").decode("utf-8") for text in texts]
    bodies = tokenizer(clean, add_special_tokens=False, **plain)["input_ids"] if clean else []
    return [[*bos, *head, *body[:max_tokens], *tail] for body in bodies]


def initial_rows(code_vectors: Sequence[np.ndarray], width: int, *, seed: int) -> np.ndarray:
    """(K_1 + .. + K_L, width) float32: the codes' directions from the mean row, of mean length 1 at each level.

    Args:
        code_vectors: L arrays (K_l, d), one d for all.
        width: of the language model's embeddings.
        seed: fixes the orthonormal directions.
    """
    centred = [np.asarray(vectors, dtype=np.float64) for vectors in code_vectors]
    centred = [vectors - vectors.mean(axis=0) for vectors in centred]
    joined = np.concatenate(centred)
    _, _, axes = np.linalg.svd(joined, full_matrices=False)
    axes = axes[:width]  # fewer than d where the model is narrower than the codebook, or the codes span less
    directions, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, len(axes))))
    rows = joined @ axes.T @ directions.T
    bounds = [0, *accumulate(map(len, centred))]
    for start, end in pairwise(bounds):
        length = np.linalg.norm(rows[start:end], axis=1).mean()
        rows[start:end] /= max(length, 1e-12)
    return rows.astype(np.float32)


@torch.no_grad()
def place_rows(weight: Tensor, ids: Tensor, rows: Tensor) -> None:
    """Write `rows` (n, H) of mean length 1 into `weight` (V, H) at `ids` (n,): mean and spread are the other rows'."""
    own = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    own[ids] = False
    known = weight[own]
    mean = known.mean(dim=0)
    spread = (known - mean).norm(dim=1).mean()
    weight[ids] = mean + spread * rows.to(weight)
