"""A language model with random weights, in a folder as a hub would hold it, its tokenizer trained on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.generator.tokens import PROMPT_HEAD, PROMPT_TAIL


def write_language_model(
    folder: Path, texts: Iterable[str], *, tied: bool = True, implementation: type | None = None, **settings: Any
) -> Path:
    """A Qwen3 of two narrow layers (its vocabulary padded, as published ones are), or an `implementation` of `transformers`, with `settings` of its configuration."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    made = Tokenizer(models.BPE(unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>"]
    made.train_from_iterator(
        [f"{PROMPT_HEAD} {text}{PROMPT_TAIL}" for text in texts],
        trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=special),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<|end|>")
    torch.manual_seed(0)
    if implementation is None:
        narrow = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "head_dim": 12, "vocab_size": len(tokenizer) + 5}  # fmt: skip
        model = Qwen3ForCausalLM(Qwen3Config(**{**narrow, "tie_word_embeddings": tied, **settings}))
    else:
        model = implementation(implementation.config_class(vocab_size=len(tokenizer), **settings))
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_k=20, top_p=0.95, repetition_penalty=1.3, eos_token_id=0
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
