"""What a method asks of a catalogue, checked before anything is trained."""

from __future__ import annotations

from engine.config import Config
from engine.datasets.contract import Catalogue
from engine.errors import DataError
from engine.problem.possible import possible


def require(catalogue: Catalogue, config: Config) -> None:
    """Raises DataError where `config` cannot be trained on this catalogue."""
    name, settings, can = catalogue.settings.name, config.quantizer, possible(catalogue)
    if config.method == "none" and not can.rank:
        raise DataError(
            f"Method 'none' trains rankers alone, and catalogue '{name}' has nothing to teach them. "
            f"{can.lacks['judgments']} {can.lacks['clicks']} Other methods train SIDs without any."
        )
    if settings.kind == "category-path" and catalogue.items["category"].nunique() < 2:
        raise DataError(
            f"Method 'category-path' makes SIDs of category paths, and catalogue '{name}' names "
            f"{catalogue.items['category'].nunique()} categories; fill the items' column category (two or more), or leave "
            "this method out."
        )
    if catalogue.given_text and settings.dynamic_steps:
        raise DataError(
            f"Catalogue '{name}' brings its own vectors (text_embedding), and dynamic encoding would train another encoder "
            "than theirs; set quantizer.dynamic_steps=0, or leave that column out."
        )
