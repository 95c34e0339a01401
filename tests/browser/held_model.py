"""The dashboard with a model that says what it is asked, and does not answer while the file $HOLD is there:

HOLD=/tmp/hold python -m tests.browser.held_model [options of app]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from app.__main__ import main
from engine.answering.live import LiveRun

_query = LiveRun.query


def _held(self: LiveRun, text: str, **more: Any) -> Any:
    sys.stdout.write(f"asked: {text}\n")
    sys.stdout.flush()
    while Path(os.environ["HOLD"]).exists():
        time.sleep(0.05)
    return _query(self, text, **more)


if __name__ == "__main__":
    LiveRun.query = _held  # type: ignore[method-assign]
    sys.exit(main())
