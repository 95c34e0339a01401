"""Fine-tune a language model to spell SIDs: titles first, then queries with titles among them, as the compact one.

The loss is the compact generator's: at each level, cross-entropy over that level's own codes with smoothed labels, on
SID tokens alone. Over the whole vocabulary the model would also learn that a SID token and no word comes next, which
decoding never asks: a beam reads the logits of one level's codes and no others, and both generators stay comparable.

A batch is sorted by length and cut into `accumulate` micro-batches; each adds its share of the batch's mean loss, so
the gradient is that of the whole batch up to rounding. Every random number derives from (seed, step), so the step is
the whole random state; a checkpoint holds it with the weights that learn, the optimizer and the history, and a resumed
training equals an uninterrupted one bit for bit on the CPU (same machine, library versions and thread count).

`accelerate` places the model: float32 on the CPU, bfloat16 arithmetic over float32 weights on a GPU that has it.
Adapters of `peft` (LoRA on every linear layer, and the rows of the SID tokens) are merged at the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor, nn
from torch.nn import functional as F

from engine.checkpoint import read_checkpoint, write_checkpoint
from engine.config import GeneratorConfig
from engine.generator.examples import Stage, draw, schedule, stage_of
from engine.generator.full import FullGenerator, load_language_model
from engine.generator.training import CLIP_NORM, WEIGHT_DECAY, GeneratorFit, inputs_of
from engine.progress import Progress, silent

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

CHECKPOINT_SECONDS = 600.0
"""Between checkpoints: a kill costs ten minutes at most, whether a step takes a moment or a minute."""
REPORT_EVERY = 10
"""Steps between history rows."""
ALL_WEIGHTS_LR = 5e-5
ADAPTERS_LR = 2e-4
"""Peak learning rates where `GeneratorConfig.full_lr` is not set: usual ones for fine-tuning, not tuned here."""
LORA_SCALE = 2
"""alpha / rank of the adapters."""


def train_full_generator(
    item_texts: Sequence[str],
    item_codes: np.ndarray,
    query_texts: Sequence[str],
    pair_query: np.ndarray,
    pair_item: np.ndarray,
    pair_weight: np.ndarray,
    sizes: tuple[int, ...],
    code_vectors: list[np.ndarray],
    config: GeneratorConfig,
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> GeneratorFit:
    """Fine-tune `config.model`, from its published weights or from `checkpoint` of this very training.

    Args:
        item_texts: N titles.
        item_codes: (N, L) int64 SIDs.
        query_texts: Q queries.
        pair_query: (P,) int64 query of each interaction; may be empty (titles alone then).
        pair_item: (P,) int64 its item.
        pair_weight: (P,) float32 its strength; pairs of strength 0 are left out.
        sizes: codes per level.
        code_vectors: L arrays (K_l, d): what the new tokens' embeddings start from.
        config: model, epochs, learning rate, adapters, micro-batches.
        seed: fixes new rows, adapters, order and draws.
        progress: called as (done, total) in steps; an exception it raises ends the training, resumable.
        checkpoint: file written every ten minutes and at the end; one of other inputs or settings is ignored.

    Raises:
        ModelError: the model is not to be had, or cannot decode beams.
    """
    with _seeded(seed):
        base = load_language_model(config.model)
        generator = FullGenerator.initialise(base, sizes, code_vectors, config.max_tokens, seed=seed)
        generator.check()
        generator.train()
        if config.lora_rank:
            generator.model = _with_adapters(generator, config.lora_rank)
    prompted = generator.prompts([*item_texts, *query_texts])
    items, queries = np.arange(len(item_texts)), len(item_texts) + np.arange(len(query_texts))
    every = np.ones(len(items), dtype=np.float32)
    stages = [
        stage_of("alignment", items, item_codes, (items, items, every), config.alignment_epochs, config.batch),
        stage_of("query", queries, item_codes, (pair_query, pair_item, pair_weight), config.query_epochs, config.batch),
    ]
    total = sum(stage.steps for stage in stages)
    training = _Training(generator, prompted, stages, config, seed, checkpoint)
    done = training.resume()
    progress(done, total)
    before = 0
    for number, stage in enumerate(stages):
        for step in range(max(done - before, 0), stage.steps):
            x, codes = draw(stages, number, step, config, seed=seed)
            training.step(stage.name, x, codes, schedule(step, stage.steps))
            if training.overdue or training.done == total:
                training.save()
            progress(training.done, total)
        before += stage.steps
    history = DataFrame(training.history, columns=["step", "name", "value"])
    return GeneratorFit(training.finish(), history)


class _Training:
    """Model, optimizer and history between steps, and their checkpoint."""

    def __init__(
        self,
        generator: FullGenerator,
        prompted: list[list[int]],
        stages: list[Stage],
        config: GeneratorConfig,
        seed: int,
        checkpoint: Path | None,
    ) -> None:
        self.generator, self.prompted, self.config, self.seed = generator, prompted, config, seed
        self.checkpoint = checkpoint
        self.inputs = ""
        if checkpoint is not None:
            tokens = [np.asarray(prompt, dtype=np.int64) for prompt in prompted]
            weights = [weight.detach().cpu().numpy() for weight in generator.model.parameters()]
            self.inputs = inputs_of(stages, generator.sizes, config, seed, arrays=[*tokens, *weights])
        self.peak_lr = config.full_lr or (ADAPTERS_LR if config.lora_rank else ALL_WEIGHTS_LR)
        self.accelerator = _accelerator()
        optimizer = torch.optim.AdamW(self._learning().values(), lr=self.peak_lr, weight_decay=WEIGHT_DECAY, fused=True)
        self.generator.model, self.optimizer = self.accelerator.prepare(generator.model, optimizer)
        self.done = 0
        self.history: list[tuple[int, str, float]] = []
        self._saved_at = time.monotonic()

    @property
    def overdue(self) -> bool:
        """It is time for a checkpoint."""
        return time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS

    def step(self, stage: str, x: np.ndarray, codes: np.ndarray, lr_share: float) -> None:
        """One update on the prompts at positions `x` (B,) and SIDs (B, L)."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak_lr * lr_share
        self.optimizer.zero_grad()
        with _seeded(self.seed, self.done):
            losses = self.gradient(x, codes)
        self.accelerator.clip_grad_norm_(self._learning().values(), CLIP_NORM)
        self.optimizer.step()
        self.done += 1
        if self.done == 1 or self.done % REPORT_EVERY == 0:
            values = losses.tolist()
            self.history.append((self.done, f"{stage}.loss", sum(values)))
            self.history.extend((self.done, f"{stage}.loss_{i}", value) for i, value in enumerate(values, start=1))
            self.history.append((self.done, "lr", self.peak_lr * lr_share))

    def gradient(self, x: np.ndarray, codes: np.ndarray) -> Tensor:
        """Add the gradient of a batch's loss, micro-batch by micro-batch; the mean loss of each level (L,)."""
        device = self.accelerator.device
        by_length = np.argsort([len(self.prompted[position]) for position in x], kind="stable")
        total = torch.zeros(codes.shape[1], device=device)
        for rows in np.array_split(by_length, min(self.config.accumulate, len(x))):
            target = torch.from_numpy(codes[rows]).to(device)
            logits = self.generator.forward([self.prompted[position] for position in x[rows]], target)
            smoothing = self.config.label_smoothing
            losses = torch.stack(
                [
                    F.cross_entropy(level.float(), target[:, i], label_smoothing=smoothing, reduction="sum")
                    for i, level in enumerate(logits)
                ]
            ) / len(x)
            self.accelerator.backward(losses.sum())
            total += losses.detach()
        return total

    def save(self) -> None:
        """Write the checkpoint, if one is wanted."""
        self._saved_at = time.monotonic()
        if self.checkpoint is None:
            return
        state = {
            "done": self.done,
            "weights": {name: weight.detach() for name, weight in self._learning().items()},
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        write_checkpoint(self.checkpoint, self.inputs, state)

    def resume(self) -> int:
        """Take up the checkpoint where it belongs to this training; the steps already done."""
        state = None if self.checkpoint is None else read_checkpoint(self.checkpoint, self.inputs)
        if state is None:
            return 0
        with torch.no_grad():
            for name, weight in self._learning().items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
        self.history = [tuple(row) for row in state["history"]]
        return self.done

    def finish(self) -> FullGenerator:
        """The generator alone, adapters merged, ready to decode."""
        model = self.accelerator.unwrap_model(self.generator.model, keep_fp32_wrapper=False)
        self.generator.model = model.merge_and_unload() if self.config.lora_rank else model
        return self.generator.eval()

    def _learning(self) -> dict[str, nn.Parameter]:
        """The weights that learn; tied ones once."""
        return {name: weight for name, weight in self.generator.model.named_parameters() if weight.requires_grad}


def _accelerator() -> Accelerator:
    """One process on a CUDA device, or on the CPU; bfloat16 only where a GPU computes in it."""
    from accelerate import Accelerator

    cuda = torch.cuda.is_available()
    mixed = "bf16" if cuda and torch.cuda.is_bf16_supported() else "no"
    return Accelerator(mixed_precision=mixed, cpu=not cuda)


def _with_adapters(generator: FullGenerator, rank: int) -> PreTrainedModel:
    """LoRA on every linear layer; of the embeddings, tied or not, the SID tokens' rows learn and no others."""
    from peft import LoraConfig, get_peft_model

    model = generator.model
    ids = torch.cat(generator.ids).tolist()
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    names = [name for name, module in model.named_modules() if any(module is end for end in ends)]
    adapters = LoraConfig(
        r=rank,
        lora_alpha=LORA_SCALE * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        trainable_token_indices={name: ids for name in names},
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, adapters)


@contextlib.contextmanager
def _seeded(*seed: int) -> Iterator[None]:
    """Torch's random numbers, on every device, from `seed` alone; as they were afterwards."""
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield
