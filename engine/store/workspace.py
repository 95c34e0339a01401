"""Where everything is kept: the folder that commands and the dashboard share."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import ConfigError

VARIABLE = "SIDELIGHT_WORKSPACE"
FORMER_VARIABLE = "SIDSCOPE_WORKSPACE"
DEFAULT = Path(__file__).resolve().parents[2] / "data" / "workspace"


def from_environment() -> Path:
    """`SIDELIGHT_WORKSPACE`, else data/workspace. Raises ConfigError where only the product's former variable is set."""
    if VARIABLE not in os.environ and FORMER_VARIABLE in os.environ:
        raise ConfigError(
            f"{FORMER_VARIABLE} is not read any more, for the product is called Sidelight now: "
            f"set {VARIABLE}={os.environ[FORMER_VARIABLE]} (or give --workspace)."
        )
    return Path(os.environ.get(VARIABLE) or DEFAULT)
