"""What the gate holds a run to: bars of every measure, and what happens where nothing can be said.

A frozen dataclass checked at construction; `engine/reporting/gate.py` reads it from a TOML file (docs/gate.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.audit.severity import ACT, NOTE, WATCH
from engine.errors import ConfigError

FAIL_ON = (ACT, WATCH, NOTE)
"""Least severity of a regression that turns the gate red."""
OTHER_WORDS = {"high": ACT, "medium": WATCH, "low": NOTE}
"""As other tools call the same levels."""
UNDECIDED_IS = ("own", "fail", "pass")


def level(word: str) -> str:
    """The product's own word for a level: 'high' is 'act'. Raises ConfigError."""
    named = OTHER_WORDS.get(str(word), word)
    if named not in FAIL_ON:
        also = ", ".join(f"{other} = {own}" for other, own in OTHER_WORDS.items())
        raise ConfigError(f"fail-on '{word}' is unknown; allowed: {', '.join(FAIL_ON)} ({also})")
    return named


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Of one measure, in its own unit (all are shares from 0 to 1), as a loss against the baseline."""

    harmless: float = 0.0
    """A loss up to this is none: a regression's whole interval must lie beyond it. It is the bar of 'note' too."""
    watch: float
    """From this loss on it is one to watch ..."""
    act: float
    """... and from this on one to act on."""

    def __post_init__(self) -> None:
        numbers = (self.harmless, self.watch, self.act)
        known = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
        if not known or not 0 <= self.harmless <= self.watch <= self.act <= 1:
            raise ConfigError(
                f"gate bars harmless={self.harmless}, watch={self.watch}, act={self.act}; "
                "allowed: numbers with 0 <= harmless <= watch <= act <= 1"
            )

    def of(self, severity: str) -> float:
        """The loss from which a regression has that severity."""
        return {ACT: self.act, WATCH: self.watch, NOTE: self.harmless}[severity]


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """The rules of one gate. Sections of the TOML file have the names of the fields."""

    fail_on: str = ACT
    """The least severity that fails: act, watch or note."""
    undecided: str = "own"
    """Where a check of `must_decide` cannot be decided: an outcome of its `own`, or `fail`, or `pass`."""
    must_decide: tuple[str, ...] = ("ndcg", "auc")
    """Measures that must be decided over all queries. What else cannot be decided is said and turns nothing red."""
    least: int = 30
    """Queries (of tail protection: categories) that a check must rest on, as of findings."""
    resamples: int = 2_000
    """Bootstrap resamples of the queries."""
    findings: bool = True
    """Whether a finding that is new or more urgent than in the baseline fails by its own severity."""
    ndcg: Bars = field(default_factory=partial(Bars, watch=0.01, act=0.02))
    """Mean nDCG@10 of judged test queries, overall and by tier."""
    auc: Bars = field(default_factory=partial(Bars, watch=0.005, act=0.01))
    """Pooled AUC of judged pairs of test queries, overall and by tier."""
    item_hit: Bars = field(default_factory=partial(Bars, watch=0.02, act=0.05))
    """Chance to name the best relevant item by a whole SID among the beams."""
    tail_protection: Bars = field(default_factory=partial(Bars, watch=0.03, act=0.06))
    """Share of tail categories that are protected."""
    concentration: Bars = field(default_factory=partial(Bars, watch=0.01, act=0.02))
    """Exposure share of the ten sellers that are seen most."""
    utilisation: Bars = field(default_factory=partial(Bars, watch=0.05, act=0.10))
    """Share of a level's codes that items hold."""
    harmful_sharing: Bars = field(default_factory=partial(Bars, watch=0.05, act=0.10))
    """Share of items that share their SID with items unlike them."""

    def __post_init__(self) -> None:
        level(self.fail_on)
        if self.undecided not in UNDECIDED_IS:
            raise ConfigError(f"gate.undecided='{self.undecided}'; allowed: {', '.join(UNDECIDED_IS)}")
        if unknown := set(self.must_decide) - set(MEASURES):
            raise ConfigError(f"gate.must_decide names {sorted(unknown)}; allowed: {', '.join(MEASURES)}")
        for name, smallest in (("least", 2), ("resamples", 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < smallest:
                raise ConfigError(f"gate.{name}={value}; allowed: whole numbers from {smallest}")
        if not isinstance(self.findings, bool):
            raise ConfigError(f"gate.findings={self.findings}; allowed: true, false")


MEASURES = tuple(f.name for f in dataclasses.fields(GateConfig) if f.type == "Bars")
"""Measures with bars, in the order in which they are told."""


def gate_config(settings: Mapping[str, Any]) -> GateConfig:
    """The rules from a `[gate]` table; a section may state some of its bars and keep the others. Raises ConfigError."""
    default = GateConfig()
    known = [f.name for f in dataclasses.fields(GateConfig)]
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"gate.{name} is unknown; allowed: {', '.join(known)}")
        if name in MEASURES:
            bars = [f.name for f in dataclasses.fields(Bars)]
            if not isinstance(value, dict) or set(value) - set(bars):
                raise ConfigError(f"gate.{name}={value}; a section with {', '.join(bars)}")
            changed[name] = dataclasses.replace(getattr(default, name), **value)
        elif name == "must_decide":
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise ConfigError(f"gate.must_decide={value}; a list of {', '.join(MEASURES)}")
            changed[name] = tuple(value)
        else:
            changed[name] = value
    if "fail_on" in changed:
        changed["fail_on"] = level(changed["fail_on"])
    return dataclasses.replace(default, **changed)
