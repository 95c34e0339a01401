"""Settings: checked at construction, one dial for codebook sizes."""

from __future__ import annotations

import re

import pytest

from engine.config import Config, QuantizerConfig, codebook_sizes, override, preset
from engine.errors import ConfigError


def test_config_round_trip() -> None:
    config = preset("paper", seed=3)
    assert Config.from_json(config.to_json()) == config
    assert config.quantizer.sizes == (216, 512, 512)


@pytest.mark.parametrize(
    ("n_items", "n_categories", "sizes"),
    [
        (6_000, 216, (216, 8, 8)),  # 27.8 / 7 -> 4, clamped to 8
        (100_000, 216, (216, 64, 8)),  # 463 / 7 = 66 -> 64, then 7.2 / 7 -> 1, clamped to 8
        (60, 0, (8, 8, 8)),
        (49_000, 0, (84, 64, 8)),  # 583 / 7 = 83 -> 64
    ],
)
def test_codebook_sizes(n_items: int, n_categories: int, sizes: tuple[int, ...]) -> None:
    assert codebook_sizes(n_items, n_categories) == sizes


def test_what_is_not_allowed_says_what_is() -> None:
    with pytest.raises(ConfigError, match="allowed: default, demo, paper, tiny"):
        preset("huge")
    with pytest.raises(ConfigError, match="at least 2"):
        QuantizerConfig(sizes=(216, 1))


def test_settings_override_a_preset() -> None:
    changed = override(
        preset("tiny"),
        ["quantizer.sizes=216,512,512", "generator.lora_rank=16", "split.until=2025-05-01",
         "signals.served=match,memory", "ranker.lr=1e-3", "quantizer.sizes = 8, 4"],
    )  # fmt: skip
    assert changed.quantizer.sizes == (8, 4)
    assert changed.generator.lora_rank == 16
    assert changed.signals.served == ("match", "memory")
    assert changed.split.until == "2025-05-01"
    assert changed.ranker.lr == 1e-3
    assert override(changed, ["quantizer.sizes=none"]).quantizer.sizes is None
    assert Config.from_json(changed.to_json()) == changed


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("generator.kind", "name=value"),
        ("generator.kynd=full", "generator.lora_rank"),
        ("method=dsirm", "quantizer.<name>"),
        ("generator.kind=huge", "allowed: compact, full"),
        ("generator.lora_rank=many", "a whole number"),
        ("quantizer.category_level=perhaps", "true or false"),
        ("signals.served=tower", "allowed: match, logp, memory, cluster, list"),
        ("split.until=yesterday", "a date like"),
        ("split.seed=-1", "at least 0"),
        ("split.valid_share=-1", "at least 0"),
        ("quantizer.dim=0", "at least 1"),
        ("quantizer.lr=nan", "allowed: 1e-09 to 1"),
        ("generator.heads=0", "at least 1"),
        ("generator.lr=1e30", "allowed: 1e-09 to 1"),
        ("generator.query_epochs=-1", "at least 0"),
        ("ranker.hidden=8", "two widths"),
        ("ranker.members=0", "at least 1"),
        ("encoder.batch=0", "at least 1"),
        ("retrieval.top=0", "at least 1"),
        ("projection.neighbors=0", "at least 2"),
        ("evaluation.resamples=0", "at least 10"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        override(preset("tiny"), [setting])
