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
