"""The dashboard with a model that takes its time and says what it is asked: `python -m tests.browser.slow_model [options of app]`."""

from __future__ import annotations

import sys
import time
from typing import Any

from app.__main__ import main
from engine.answering.live import LiveRun

SECONDS = 1.0

_query = LiveRun.query


def _slowly(self: LiveRun, text: str, **more: Any) -> Any:
    sys.stdout.write(f"asked: {text}\n")
    sys.stdout.flush()
    time.sleep(SECONDS)
    return _query(self, text, **more)


if __name__ == "__main__":
    LiveRun.query = _slowly  # type: ignore[method-assign]
    sys.exit(main())
