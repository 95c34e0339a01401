"""What reporting is handed by learning, named in one place."""

from engine.stages.artefacts import load_arrays
from engine.stages.identifiers import Identifiers
from engine.stages.inputs import Division, Pairs
from engine.stages.ranking import PLAIN, Rankers, baseline_ranker, main_ranker
from engine.stages.signals import SignalTables

__all__ = [
    "PLAIN",
    "Division",
    "Identifiers",
    "Pairs",
    "Rankers",
    "SignalTables",
    "baseline_ranker",
    "load_arrays",
    "main_ranker",
]
