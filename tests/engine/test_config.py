"""Settings: checked at construction, one dial for codebook sizes."""

from __future__ import annotations

import pytest

from engine.config import Config, QuantizerConfig, codebook_sizes, preset
from engine.errors import ConfigError


def test_config_round_trip() -> None:
    config = preset("paper", seed=3)
    assert Config.from_json(config.to_json()) == config
    assert config.quantizer.sizes == (216, 512, 512)


@pytest.mark.parametrize(
    ("n_items", "counts", "sizes"),
    [
        (6_000, [6_000 // 216] * 216, (216, 8, 8)),  # even categories: 27 / 7 -> 4, clamped to 8
        (1_000, [900, *[10] * 10], (11, 128, 8)),  # most items see 811 others: 811 / 7 = 116 -> 128
        (60, [], (8, 8, 8)),
        (49_000, [], (84, 64, 8)),  # 583 / 7 = 83 -> 64, then 9 / 7 -> 8 (clamped)
    ],
)
def test_codebook_sizes(n_items: int, counts: list[int], sizes: tuple[int, ...]) -> None:
    assert codebook_sizes(n_items, counts) == sizes


def test_what_is_not_allowed_says_what_is() -> None:
    with pytest.raises(ConfigError, match="allowed: default, demo, paper, tiny"):
        preset("huge")
    with pytest.raises(ConfigError, match="at least 2"):
        QuantizerConfig(sizes=(216, 1))
