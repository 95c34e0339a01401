"""A finding, and a headline with its worst members."""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """One row of table `findings`: a headline or a member; the columns are explained in schema.sql."""

    severity: str
    title: str
    detail: str
    page: str
    params: dict[str, str]
    n: int | None = None
    of_n: int | None = None
    absolute: float | None = None
    relative: float | None = None
    low: float | None = None
    high: float | None = None
    traffic: float | None = None
    sure: bool | None = None


class Group(NamedTuple):
    """All that is told of one kind."""

    kind: str
    headline: Told
    members: list[Told]  # Worst first.
