"""Fine-tune a language model to spell SIDs: titles first, then queries with titles among them, as the compact one.

The loss is the compact generator's: at each level, cross-entropy over that level's own codes with smoothed labels, on
SID tokens alone. Over the whole vocabulary the model would also learn that a SID token and no word comes next, which
decoding never asks: a beam reads the logits of one level's codes and no others, and both generators stay comparable.

A batch is sorted by length and cut into `accumulate` micro-batches; each adds its share of the batch's mean loss, so
the gradient is that of the whole batch up to rounding. Every random number derives from (seed, step), so the step is
the whole random state; a checkpoint holds it with the weights that learn, the optimizer and the history, and a resumed
training equals an uninterrupted one bit for bit on the CPU (same machine, library versions and thread count).

Under `torchrun` each process takes its share of a batch (`together`), and of the random numbers.

`accelerate` places the model: float32 on the CPU, bfloat16 arithmetic over float32 weights on a GPU that has it.
Adapters of `peft` (LoRA on every linear layer, and the rows of the SID tokens) are merged at the end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.config import GeneratorConfig
from engine.errors import ConfigError, RunError
from engine.generator import together
from engine.generator.examples import Lessons, Stage, stages_of
from engine.generator.full import FullGenerator, load_language_model
from engine.generator.training import CLIP_NORM, GeneratorFit, Training, inputs_of
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
    lessons: Lessons,
    code_vectors: list[np.ndarray],
    config: GeneratorConfig,
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> GeneratorFit:
    """Fine-tune `config.model`, from its published weights or from `checkpoint` of this very training.

    Args:
        lessons: titles and queries, SIDs, interactions.
        code_vectors: L arrays (K_l, d): what the new tokens' embeddings start from.
        config: model, epochs, learning rate, adapters, micro-batches.
        seed: fixes new rows, adapters, order and draws.
        progress: called as (done, total) in steps; an exception it raises ends the training, resumable.
        checkpoint: file written every ten minutes and at the end; one of other inputs or settings is ignored.

    Raises:
        ModelError: the model is not to be had, or cannot decode beams.
        ConfigError: more processes train together than a batch has examples.
        RunError: they do not see the same checkpoint.
    """
    if together.processes() > config.batch:
        raise ConfigError(
            f"generator.batch={config.batch}: {together.processes()} processes need so many examples each step"
        )
    together.tell((lessons, code_vectors, config, seed, checkpoint))
    with _seeded(seed):
        base = load_language_model(config.model)
        generator = FullGenerator.initialise(base, lessons.sizes, code_vectors, config.max_tokens, seed=seed)
        generator.check()
        generator.train()
        if config.lora_rank:
            generator.model = _with_adapters(generator, config.lora_rank)
    n_items, n_queries = len(lessons.items), len(lessons.queries)
    prompted = generator.prompts([*lessons.items, *lessons.queries])
    places = lessons._replace(items=np.arange(n_items), queries=n_items + np.arange(n_queries))
    training = _Training(generator, prompted, stages_of(places, config), config, seed, checkpoint)
    training.run(progress)
    return GeneratorFit(training.finish(), training.table())


def follow() -> None:
    """Train along with process 0, in another process of the same `torchrun`, whenever it trains a language model."""
    for lessons, code_vectors, config, seed, checkpoint in together.told():
        train_full_generator(lessons, code_vectors, config, seed=seed, checkpoint=checkpoint)


class _Training(Training):
    report_every = REPORT_EVERY

    def __init__(
        self,
        generator: FullGenerator,
        prompted: list[list[int]],
        stages: list[Stage],
        config: GeneratorConfig,
        seed: int,
        checkpoint: Path | None,
    ) -> None:
        self.generator, self.prompted = generator, prompted
        super().__init__(stages, config, seed, config.full_lr or (ADAPTERS_LR if config.lora_rank else ALL_WEIGHTS_LR))
        if checkpoint is not None:
            tokens = [np.asarray(prompt, dtype=np.int64) for prompt in prompted]
            weights = [weight.detach().cpu().numpy() for weight in generator.model.parameters()]
            self.keep(checkpoint, inputs_of(stages, generator.sizes, config, seed, arrays=[*tokens, *weights]))
        self.accelerator = _accelerator()
        # Placed, not wrapped: gradients are added up here (`together`), once a step.
        self.generator.model = self.accelerator.prepare_model(generator.model, evaluation_mode=True)
        self.optimizer = self.accelerator.prepare_optimizer(self.optimizer)
        self._saved_at = time.monotonic()

    @property
    def overdue(self) -> bool:
        return time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS

    def save(self) -> None:
        self._saved_at = time.monotonic()
        if together.rank() == 0:
            super().save()

    def resume(self) -> None:
        super().resume()
        if not together.agreed(self.done):
            raise RunError(
                f"The processes of torchrun do not see the same checkpoint {self.checkpoint}: the workspace must lie on a disk "
                "that all their machines mount at the same path."
            )

    def learning(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.generator.model.named_parameters() if weight.requires_grad}

    def clip(self) -> None:
        self.accelerator.clip_grad_norm_(self.learning().values(), CLIP_NORM)

    def gradient(self, x: np.ndarray, codes: np.ndarray) -> Tensor:
        """Micro-batch by micro-batch, on the prompts at positions `x` (B,)."""
        device = self.accelerator.device
        by_length = np.argsort([len(self.prompted[position]) for position in x], kind="stable")
        total = torch.zeros(codes.shape[1], device=device)
        smoothing = self.config.label_smoothing
        own = together.share(by_length)
        with _seeded(self.seed, self.done, *([together.rank()] if together.rank() else [])):
            for rows in np.array_split(own, min(self.config.accumulate, len(own))):
                target = torch.from_numpy(codes[rows]).to(device)
                logits = self.generator.forward([self.prompted[position] for position in x[rows]], target)
                losses = torch.stack(
                    [
                        F.cross_entropy(level.float(), target[:, i], label_smoothing=smoothing, reduction="sum")
                        for i, level in enumerate(logits)
                    ]
                ) / len(x)
                self.accelerator.backward(losses.sum())
                total += losses.detach()
        together.add_up(self.learning().values(), total)
        return total

    def finish(self) -> FullGenerator:
        """The generator alone, adapters merged, ready to decode."""
        model = self.accelerator.unwrap_model(self.generator.model, keep_fp32_wrapper=False)
        self.generator.model = model.merge_and_unload() if self.config.lora_rank else model
        return self.generator.eval()


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
