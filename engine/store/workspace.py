"""Where everything is kept: the folder that commands and the dashboard share, and what an id names in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.errors import ConfigError, RunError, shown

VARIABLE = "SIDELIGHT_WORKSPACE"
FORMER_VARIABLE = "SIDSCOPE_WORKSPACE"
DEFAULT = Path(__file__).resolve().parents[2] / "data" / "workspace"
RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")


def from_environment() -> Path:
    """`SIDELIGHT_WORKSPACE`, else data/workspace. Raises ConfigError where only the product's former variable is set."""
    if VARIABLE not in os.environ and FORMER_VARIABLE in os.environ:
        raise ConfigError(
            f"{FORMER_VARIABLE} is not read any more, for the product is called Sidelight now: "
            f"set {VARIABLE}={os.environ[FORMER_VARIABLE]} (or give --workspace)."
        )
    return Path(os.environ.get(VARIABLE) or DEFAULT)


def run_folder(workspace: Path, run_id: str) -> Path:
    """Where a run lies. Raises RunError for what cannot be an id: no other text becomes a path."""
    if not RUN_ID.fullmatch(run_id):
        raise RunError(f"Run '{shown(run_id)}' is not in {workspace / 'runs'}: an id reads dsirm-default-01234567.")
    return workspace / "runs" / run_id
