"""Numbers in sentences."""

from __future__ import annotations


def counted(n: int, one: str, many: str) -> str:
    """'1 query', '1,200 queries'."""
    return f"{n:,} {one if n == 1 else many}"


def percent(share: float, digits: int = 1) -> str:
    """A share: '6.9 %'."""
    return f"{100 * share:.{digits}f} %"


def points(change: float, digits: int = 2) -> str:
    """A change of a share: '-0.13 pp'."""
    return f"{100 * change:+.{digits}f} pp"
