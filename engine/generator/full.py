"""The full generator: a causal language model of `transformers` that spells semantic identifiers, prompted by text.

The prompt is read once a query. Every beam step after it runs as one row of W tokens that share the prompt's keys and
values: a mask lets each token see the prompt and its own ancestors and nothing else, and positions say how deep it is.
So no key is copied however wide the beam, and the parents of a step are rows of a mask. Prompts of a batch are padded
on the left; the mask hides the padding, which therefore changes no result.

Once `eval()` is called the model's head holds the SID tokens alone: nothing else may follow a prompt, and a head over
150,000 words would cost more memory than the model. What `save` writes is a plain `transformers` folder with its whole
vocabulary, which `AutoModelForCausalLM` loads anywhere.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import ModelError
from engine.generator.tokens import PROMPT_HEAD, initial_rows, place_rows, prompts, token_ids
from engine.generator.trie import SidTrie
from engine.leftovers import replacing

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

ABOUT = "sids.json"
"""Beside the model's own files: sizes, fingerprint of the trie, tokens of a prompt's text."""
AGREEMENT = 1e-3
"""Greatest difference of logits, relative to the largest, between decoding and a plain forward pass."""


class LanguageModel(NamedTuple):
    """A model and its tokenizer, in float32 on the CPU."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


class TextCache(NamedTuple):
    """Keys and values of the prompts and of every beam step since, one copy a query: beams share their ancestors.

    A step makes a new cache and leaves this one as it is.
    """

    level: int  # Levels decoded: the next step feeds codes of level `level + 1`.
    past: DynamicCache
    visible: Tensor  # (Q, W, S) bool: which of the S positions each row of the last step sees.
    length: Tensor  # (Q,) int64 tokens of each prompt.


class SidHead(nn.Module):
    """The rows of an output layer that belong to SID tokens, level after level."""

    def __init__(self, whole: nn.Module, ids: Tensor) -> None:
        super().__init__()
        weight, bias = whole.weight, getattr(whole, "bias", None)
        assert isinstance(weight, Tensor)
        self.weight = nn.Parameter(weight.detach()[ids].clone(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach()[ids].clone(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits (.., K_1 + .. + K_L) of hidden states (.., H)."""
        return F.linear(hidden, self.weight, self.bias)


class FullGenerator:
    """p(SID | text), level by level. `eval()` readies `prefill` and `step`, `train()` readies `forward`."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sizes: Sequence[int], max_tokens: int
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.sizes = tuple(int(size) for size in sizes)
        self.max_tokens = max_tokens
        self.ids = tuple(torch.from_numpy(ids) for ids in token_ids(tokenizer, sizes))
        self._offsets = (0, *accumulate(self.sizes))
        self._whole_head: nn.Module | None = None

    @staticmethod
    def initialise(
        base: LanguageModel, sizes: Sequence[int], code_vectors: Sequence[np.ndarray], max_tokens: int, *, seed: int
    ) -> FullGenerator:
        """A generator of `base`, changed in place: SID tokens added, their rows started from the codebook."""
        from transformers import GenerationConfig

        model, tokenizer = base
        known = model.get_input_embeddings().num_embeddings
        generator = FullGenerator(model, tokenizer, sizes, max_tokens)
        ids = torch.cat(generator.ids)
        model.resize_token_embeddings(max(known, len(tokenizer)), mean_resizing=False)
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        rows = torch.from_numpy(initial_rows(code_vectors, embedding.embedding_dim, seed=seed))
        for weight in {id(layer.weight): layer.weight for layer in (embedding, head)}.values():
            place_rows(weight, ids, rows)
        if getattr(head, "bias", None) is not None:
            head.bias.data[ids] = 0.0
        # Whatever the model was published with (sampling, penalties, top-k) would bend the beams of `generate`.
        model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=len(generator.sizes),
            renormalize_logits=True,
            pad_token_id=generator.pad_id,
        )
        return generator

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def pad_id(self) -> int:
        """The token that fills prompts up; the mask hides it."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id or 0)

    def to(self, device: torch.device | str) -> FullGenerator:
        """Move the weights."""
        self.model.to(device)
        return self

    def eval(self) -> FullGenerator:
        """Ready to decode: the head holds SID tokens alone."""
        if self._whole_head is None:
            self._whole_head = self.model.get_output_embeddings()
            self.model.set_output_embeddings(SidHead(self._whole_head, torch.cat(self.ids).to(self.device)))
        self.model.eval()
        return self

    def train(self) -> FullGenerator:
        """Ready to learn: the whole head is back."""
        if self._whole_head is not None:
            self.model.set_output_embeddings(self._whole_head)
            self._whole_head = None
        self.model.train()
        return self

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text's prompt."""
        return prompts(self.tokenizer, texts, self.max_tokens)

    def forward(self, prompted: Sequence[Sequence[int]], codes: Tensor) -> list[Tensor]:
        """Teacher-forced logits, L tensors (B, K_l), from B prompts and codes (B, L); the last is unread."""
        levels = len(self.sizes)
        tokens, mask = self._padded(prompted)
        spelled = [ids.to(self.device)[codes[:, level]] for level, ids in enumerate(self.ids[:-1])]
        tokens = torch.cat([tokens, *(column[:, None] for column in spelled)], dim=1)
        mask = F.pad(mask, (0, levels - 1), value=1)
        found = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=_positions(mask),
            use_cache=False,
            logits_to_keep=levels,
        ).logits[:, -levels:]
        return [found[:, level, ids.to(self.device)] for level, ids in enumerate(self.ids)]

    @torch.inference_mode()
    def prefill(self, queries: Sequence[str]) -> tuple[np.ndarray, TextCache]:
        """Logits (Q, K_1) for level 1 and the cache, from the texts of Q queries."""
        from transformers import DynamicCache

        assert self._whole_head is not None, "call eval() before decoding"
        tokens, mask = self._padded(self.prompts([str(text) for text in queries]))
        past = DynamicCache()
        found = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=_positions(mask),
            past_key_values=past,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return self._level(found, 0), TextCache(0, past, mask.bool()[:, None], mask.sum(dim=1))

    @torch.inference_mode()
    def step(self, cache: TextCache, codes: np.ndarray, parents: np.ndarray) -> tuple[np.ndarray, TextCache]:
        """Logits (Q, W, K_next) after each beam's newest code, and the cache of one step more.

        Args:
            cache: from `prefill` or an earlier step.
            codes: (Q, W) int64, the beams' codes at level `cache.level + 1`.
            parents: (Q, W) int64, the row of the previous step that each beam extends; 0 after `prefill`.
        """
        n_queries, width = codes.shape
        rows = torch.as_tensor(parents, device=self.device)[..., None].expand(-1, -1, cache.visible.shape[-1])
        own = torch.eye(width, dtype=torch.bool, device=self.device).expand(n_queries, -1, -1)
        visible = torch.cat([cache.visible.gather(1, rows), own], dim=-1)
        hidden = torch.finfo(torch.float32).min
        past = copy.copy(cache.past)  # the library appends to its own layers; their tensors are shared
        past.layers = [copy.copy(layer) for layer in cache.past.layers]
        found = self.model(
            input_ids=self.ids[cache.level].to(self.device)[torch.as_tensor(codes, device=self.device)],
            attention_mask=torch.zeros_like(visible, dtype=torch.float32).masked_fill(~visible, hidden)[:, None],
            position_ids=(cache.length + cache.level)[:, None].expand(-1, width),
            past_key_values=past,
            use_cache=True,
        ).logits
        after = TextCache(cache.level + 1, past, visible, cache.length)
        return self._level(found, after.level), after

    @torch.inference_mode()
    def check(self) -> None:
        """Compare decoding with plain forward passes, one text and no cache at a time.

        Raises ModelError where they differ: the model is not a causal decoder of plain attention (a recurrent or a
        bidirectional one, or one that derives positions from the mask), and its beams would be wrong.
        """
        texts = ["a", "a longer text of several words"]
        codes = np.array([[0, self.sizes[0] - 1]] * len(texts))
        try:
            first, cache = self.eval().prefill(texts)
            found = [first[:, None]]
            if len(self.sizes) > 1:
                found.append(self.step(cache, codes, np.zeros_like(codes))[0])
            for row, prompt in enumerate(self.prompts(texts)):
                for column in range(found[-1].shape[1]):
                    tokens = [*prompt, int(self.ids[0][codes[row, column]])]
                    plain = self.model(input_ids=torch.tensor([tokens], device=self.device), use_cache=False).logits[0]
                    for level, decoded in enumerate(found):
                        expected = self._level(plain[len(prompt) - 1 + level], level)
                        got = decoded[row, min(column, decoded.shape[1] - 1)]
                        if np.abs(got - expected).max() > AGREEMENT * max(1.0, np.abs(expected).max()):
                            raise ModelError(f"{type(self.model).__name__}: beams differ from a plain forward pass")
        except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError, IndexError) as error:
            raise ModelError(
                f"{type(self.model).__name__} cannot decode beams ({_first_line(error)}); "
                "use a causal language model of plain attention, such as Qwen/Qwen3-0.6B"
            ) from error

    def save(self, path: Path, trie_fingerprint: str) -> None:
        """Write the folder `path`: a `transformers` model with its tokenizer, and the trie it belongs to."""
        decoding = self._whole_head is not None
        about = {"sizes": self.sizes, "trie_fingerprint": trie_fingerprint, "max_tokens": self.max_tokens}
        with replacing(path) as writing:
            with _no_bars():
                self.train().model.save_pretrained(writing)
            self.tokenizer.save_pretrained(writing)
            (writing / ABOUT).write_text(json.dumps(about), encoding="utf-8")
            if path.exists():
                shutil.rmtree(path)
        if decoding:
            self.eval()

    def _padded(self, prompted: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Tokens (B, T) padded on the left, and the mask (B, T) int64 that is 1 on real ones."""
        longest = max(map(len, prompted))
        tokens = np.full((len(prompted), longest), self.pad_id, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, prompt in enumerate(prompted):
            tokens[row, longest - len(prompt) :] = prompt
            mask[row, longest - len(prompt) :] = 1
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(mask).to(self.device)

    def _level(self, logits: Tensor, level: int) -> np.ndarray:
        """The logits of one level's codes among those of all SID tokens, on the last axis."""
        return logits[..., self._offsets[level] : self._offsets[level + 1]].float().cpu().numpy()


def load_language_model(name: str) -> LanguageModel:
    """The causal language model of that hub name or local folder, in float32.

    With `HF_HUB_OFFLINE=1` a hub name is looked for among the files downloaded before, and nowhere else.
    Raises ModelError when it is not to be had.
    """
    found = "a local folder" if Path(name).is_dir() else "the model hub and its local cache"
    try:
        base = _load(name)
    # A hub name or folder can fail in as many ways as there are files in it; the user's remedy is the same.
    except Exception as error:
        raise ModelError(
            f"language model '{name}' could not be loaded from {found} ({_first_line(error)}); download it where there "
            f"is network ('hf download {name}'), or give generator.model a folder that save_pretrained wrote, with its "
            "tokenizer"
        ) from error
    if base.model.get_output_embeddings() is None or not hasattr(base.model.get_output_embeddings(), "weight"):
        raise ModelError(f"language model '{name}' has no output layer over its vocabulary; use a causal one")
    return base


def load_full_generator(path: Path, trie: SidTrie) -> FullGenerator:
    """The generator saved at `path`, ready to decode.

    Raises ModelError when the folder is missing or damaged, or was trained for SIDs other than those of `trie`.
    """
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        trained_for, sizes, max_tokens = about["trie_fingerprint"], tuple(about["sizes"]), int(about["max_tokens"])
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(f"no language model at {path}; train the run again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path / ABOUT} is damaged ({_first_line(error)}); train the run again") from error
    if trained_for != trie.fingerprint:
        raise ModelError(
            f"{path} was trained for other SIDs: trie {trained_for[:12]}, the run's is {trie.fingerprint[:12]}; "
            "train the run again"
        )
    try:
        base = _load(str(path), local_files_only=True)
    except Exception as error:
        raise ModelError(f"{path} is damaged ({_first_line(error)}); train the run again") from error
    generator = FullGenerator(*base, sizes, max_tokens)
    return generator.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _load(name: str, *, local_files_only: bool = False) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _no_bars():
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local_files_only)
        model, info = AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float32, local_files_only=local_files_only, output_loading_info=True
        )
    # Where a folder has no tokenizer, the library makes up one without words.
    if not set(tokenizer(PROMPT_HEAD)["input_ids"]) - {tokenizer.unk_token_id}:
        raise ValueError("it has no tokenizer that can spell a prompt")
    # The library would fill them with random numbers and go on.
    if info["missing_keys"]:
        raise ValueError(f"its files lack the weights {', '.join(sorted(info['missing_keys'])[:3])}")
    return LanguageModel(model, tokenizer)


def _positions(mask: Tensor) -> Tensor:
    """(B, T) position of each real token in its own prompt; 0 on padding."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0]


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """The library's own progress bars would tear the console's."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
