"""The trained ranker without its training library: ordinal MLP logits in float64 numpy.

The dashboard and the attribution evaluate rankers from the `ranker_weights` table through this module alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ModelError

VALUE, MISSING = "mm_dm", "mm_missing"
"""The one feature that may be absent, and its flag; an absent value must be 0 in the dense block."""

_CHUNK = 16_384


@dataclass(frozen=True)
class Member:
    """One network. `dense` (F, H1) and `match` (L+1, H1, absent without SIDs) map the standardised dense block and
    the match level to the first hidden layer; `match` is the embedding already multiplied by its weights."""

    dense: np.ndarray
    match: np.ndarray | None
    bias: np.ndarray
    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    thresholds: np.ndarray
    replacement: float  # Standardised value that stands for an absent `mm_dm` (learned).


@dataclass(frozen=True)
class Scorer:
    """An ensemble of ordinal MLPs: proportional odds over sorted grades, P(grade >= g_k) = sigmoid(logit - theta_k).

    `columns` names the F dense columns in order; `mean` and `scale` (F,) standardise them; `grade_values` (G,)
    ascend. `levels` is L, or None for a ranker without SIDs.
    """

    columns: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    grade_values: np.ndarray
    members: tuple[Member, ...]

    @property
    def levels(self) -> int | None:
        """Levels of the SIDs this ranker reads; None where it reads none."""
        match = self.members[0].match
        return None if match is None else len(match) - 1

    @property
    def thresholds(self) -> np.ndarray:
        """(G-1,) ordered thresholds of the averaged logit: the mean of the members'."""
        return np.mean([member.thresholds for member in self.members], axis=0)

    def standardise(self, dense: np.ndarray) -> np.ndarray:
        """(M, F) standardised columns, `mm_missing` weighing how much of `mm_dm` is the learned value (added later).

        Linear in its input on purpose: the mean candidate, where the flag is a fraction, is then the mean of inputs.
        """
        dense = np.asarray(dense, dtype=np.float64)
        if dense.ndim != 2 or dense.shape[1] != len(self.columns):
            raise ModelError(
                f"the ranker takes columns {', '.join(self.columns)}; the dense block has shape {dense.shape}"
            )
        z = (dense - self.mean) / self.scale
        if VALUE in self.columns and MISSING in self.columns:
            value, flag = self.columns.index(VALUE), self.columns.index(MISSING)
            z[:, value] += dense[:, flag] * self.mean[value] / self.scale[value]
        return z

    def first_layer(self, dense: np.ndarray, columns: Sequence[str] | None = None) -> np.ndarray:
        """(M, members, H1): what the given columns (default all) of `dense` (M, F) add to the first hidden layer.

        The layer is additive over columns, so that players of an attribution can be switched one by one.
        """
        chosen = [self.columns.index(name) for name in (self.columns if columns is None else columns)]
        z = self.standardise(dense)
        weights = np.stack([member.dense[chosen] for member in self.members], axis=1)  # (F', members, H1)
        out = np.einsum("mf,fkh->mkh", z[:, chosen], weights, optimize=True)
        names = [self.columns[i] for i in chosen]
        if VALUE in names and MISSING in self.columns:
            value, flag = self.columns.index(VALUE), self.columns.index(MISSING)
            learned = np.stack([member.replacement * member.dense[value] for member in self.members])
            out += np.asarray(dense, dtype=np.float64)[:, flag, None, None] * learned
        return out

    def match_layer(self, level: np.ndarray) -> np.ndarray:
        """(M, members, H1): what the match level (M,) int adds to the first hidden layer."""
        tables = [member.match for member in self.members if member.match is not None]
        if len(tables) != len(self.members):
            raise ModelError("this ranker was trained without SIDs and takes no match level")
        return np.stack(tables, axis=1)[np.asarray(level, dtype=np.int64)]

    def head(self, first: np.ndarray) -> np.ndarray:
        """(M,) logit of first hidden layers (M, members, H1) before bias and activation."""
        total = np.zeros(len(first))
        for k, member in enumerate(self.members):
            hidden = np.maximum(first[:, k] + member.bias, 0.0) @ member.hidden + member.hidden_bias
            total += np.maximum(hidden, 0.0) @ member.output
        return total / len(self.members)

    def logit(self, dense: np.ndarray, match_level: np.ndarray | None = None) -> np.ndarray:
        """(M,) float64 ranking logit of `dense` (M, F) and, for a ranker with SIDs, `match_level` (M,) in 0..L."""
        dense = np.asarray(dense)
        if (match_level is None) != (self.levels is None):
            raise ModelError("a ranker with SIDs needs a match level, a ranker without takes none")
        out = np.empty(len(dense))
        for start in range(0, len(dense), _CHUNK):
            part = slice(start, start + _CHUNK)
            first = self.first_layer(dense[part])
            if match_level is not None:
                first += self.match_layer(match_level[part])
            out[part] = self.head(first)
        return out

    def grade_probabilities(self, logit: np.ndarray) -> np.ndarray:
        """(M, G-1): P(grade >= g_k) for the second to the last grade."""
        x = np.asarray(logit, dtype=np.float64)[:, None] - self.thresholds
        return 0.5 * (1.0 + np.tanh(0.5 * x))

    def expected_grade(self, logit: np.ndarray) -> np.ndarray:
        """(M,) expected grade; rises with the logit, within the first and the last grade."""
        return self.grade_values[0] + self.grade_probabilities(logit) @ np.diff(self.grade_values)

    def arrays(self) -> dict[str, np.ndarray]:
        """Named float64 arrays, the rows of `ranker_weights`; with `columns` they restore the scorer."""
        named: dict[str, np.ndarray] = {"mean": self.mean, "scale": self.scale, "grade_values": self.grade_values}
        for k, member in enumerate(self.members):
            parts = {
                "layer1.weight": member.dense,
                "layer1.bias": member.bias,
                "layer2.weight": member.hidden,
                "layer2.bias": member.hidden_bias,
                "layer3.weight": member.output,
                "thresholds": member.thresholds,
                "mm_replacement": np.array([member.replacement]),
            }
            if member.match is not None:
                parts["layer1.match"] = member.match
            named.update({f"member{k}.{name}": value for name, value in parts.items()})
        return {name: np.asarray(value, dtype=np.float64) for name, value in named.items()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray], columns: Sequence[str]) -> Scorer:
        """The inverse of `arrays`. Raises ModelError where an array is missing or does not fit the columns."""
        try:
            n_members = sum(name.endswith(".layer1.weight") for name in arrays)
            members = tuple(
                Member(
                    dense=arrays[f"member{k}.layer1.weight"],
                    match=arrays.get(f"member{k}.layer1.match"),
                    bias=arrays[f"member{k}.layer1.bias"],
                    hidden=arrays[f"member{k}.layer2.weight"],
                    hidden_bias=arrays[f"member{k}.layer2.bias"],
                    output=arrays[f"member{k}.layer3.weight"],
                    thresholds=arrays[f"member{k}.thresholds"],
                    replacement=float(arrays[f"member{k}.mm_replacement"][0]),
                )
                for k in range(n_members)
            )
            scorer = Scorer(tuple(columns), arrays["mean"], arrays["scale"], arrays["grade_values"], members)
        except KeyError as missing:
            raise ModelError(f"the ranker's weights lack the array {missing}") from None
        if not members or any(len(member.dense) != len(columns) for member in members):
            raise ModelError(f"the ranker's weights do not fit the columns {', '.join(columns)}")
        return scorer
