"""Numbers in sentences."""

from __future__ import annotations


def counted(n: int, one: str, many: str) -> str:
    """'1 query', '1,200 queries'."""
    return f"{n:,} {one if n == 1 else many}"
