"""What can be done with a catalogue: `ingest` says it, `train` does it, and a run keeps why the rest is empty."""

from __future__ import annotations

from typing import NamedTuple

from engine.audit.click_model import lacking
from engine.datasets.contract import Catalogue
from engine.problem.division import interactions


class Possible(NamedTuple):
    """What a catalogue allows besides SIDs, their codebook and the map, which items alone make."""

    rank: bool  # Judged pairs: rankers can learn, and what rests on scores can be told.
    generate: bool  # Queries that lead to items: a generator can learn to predict SIDs.
    lacks: dict[str, str]
    """What is absent (judgments, clicks, queries, categories): what is empty for that, and which file would fill it."""

    def sentence(self) -> str:
        """What there will be, and what not."""
        there = [name for needs, name in _RESTS.items() if needs not in self.lacks]
        absent = [f"{name} (no {needs})" for needs, name in _RESTS.items() if needs in self.lacks]
        said = f"With this: {', '.join(['SIDs', 'codebook', 'map', *there])}."
        return f"{said} Not: {'; '.join(absent)}." if absent else said


_RESTS = {"categories": "coverage by category", "queries": "beams", "judgments": "relevance, exposure"}
"""What rests on what may be absent."""


def possible(catalogue: Catalogue) -> Possible:
    """What can be done with `catalogue`, whatever the method."""
    lacks = {}
    rank = len(catalogue.judgments) > 0
    generate = rank or len(interactions(catalogue, None)) > 0
    if not rank:
        amiss = (
            lacking(catalogue.interactions) or "ingest again with --judgments-from-log auto, which says what is amiss"
        )
        lacks["judgments"] = (
            "No judgments: relevance is not ranked. Add judgments (query, item_id, grade) and ingest again."
        )
        lacks["clicks"] = f"Grades can also be read from clicks: {amiss}."
    if not generate:
        lacks["queries"] = (
            "No query leads to an item: SIDs are learnt from the items alone, and nothing teaches a generator, so there are no "
            "beams. Add interactions (query, item_id, clicks), or item fields to make queries of (category, brand, "
            "attributes), and ingest again."
        )
    if catalogue.items["category"].isna().all():
        lacks["categories"] = (
            "No categories: coverage and purity are told by category, so they are empty. Fill the items' column category and "
            "ingest again."
        )
    return Possible(rank, generate, lacks)
