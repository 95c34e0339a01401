"""A command of the engine, run in a process of its own: for what the app may not import, and for strangers' files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def answered(*arguments: str, longest: float) -> tuple[dict[str, Any], str]:
    """What `python -m engine ARGUMENTS --json` answers, or why it does not; `longest`: seconds. Paths must be absolute."""
    asked = [sys.executable, "-m", "engine", *arguments, "--json"]
    try:
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=longest, check=False)
    except subprocess.TimeoutExpired:
        return {}, f"it took longer than {longest:g} s."
    last = done.stdout.strip().splitlines()[-1:] or [""]
    if last[0].startswith("{"):
        found: dict[str, Any] = json.loads(last[0])
        return found, ""
    said = (done.stderr.strip() or done.stdout.strip()).split("Error:")[-1]
    return {}, " ".join(said.split())[-600:] or f"it ended with code {done.returncode}."
