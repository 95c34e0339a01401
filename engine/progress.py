"""How long-running library code reports progress, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)` at least every second or so of work."""


def silent(done: int, total: int) -> None:
    """The progress nobody watches."""
