"""Every signal by name, and the dense twin of each."""

from __future__ import annotations

from collections.abc import Mapping

from engine.config import SignalsConfig
from engine.relevance.signals.cluster import ClusterLanguageModel, TitlesLanguageModel
from engine.relevance.signals.contrastive import ContrastiveCosine
from engine.relevance.signals.listed import ListCosine, ListShare
from engine.relevance.signals.logp import LogProbability
from engine.relevance.signals.match import Match
from engine.relevance.signals.memory import KernelMemory, Memory
from engine.relevance.signals.protocol import Columns, Signal


def signals(config: SignalsConfig) -> dict[str, Signal]:
    """Every SID signal by its name in the configuration."""
    made: tuple[Signal, ...] = (
        Match(),
        LogProbability(),
        Memory(),
        ClusterLanguageModel(),
        ListShare(config.list_depth),
    )
    return {signal.name: signal for signal in made}


def twins(config: SignalsConfig) -> dict[str, Signal]:
    """The dense twin of every SID signal, by the SID signal's name; `match` and `logp` share theirs."""
    made: tuple[Signal, ...] = (
        ContrastiveCosine(),
        KernelMemory(),
        TitlesLanguageModel(),
        ListCosine(config.list_depth),
    )
    by_name = {twin.name: twin for twin in made}
    return {name: by_name[signal.twin] for name, signal in signals(config).items() if signal.twin is not None}


def columns_of(made: Mapping[str, Signal], levels: int) -> Columns:
    """The columns of some signals by name, in their order."""
    found = [(column.name, name, column.level) for name, each in made.items() for column in each.columns(levels)]
    return Columns(*map(tuple, zip(*found, strict=True))) if found else Columns((), (), ())


def served_columns(config: SignalsConfig, levels: int) -> Columns:
    """Those of the SID signals that the served boosted ranker reads."""
    return columns_of({name: made for name, made in signals(config).items() if name in config.served}, levels)
