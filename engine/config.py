"""Every setting of a run, as frozen dataclasses checked at construction, and the presets.

`resolve(preset, catalogue sizes)` gives the full `Config` of a run; it is saved beside the weights.
A preset is a function that changes another preset.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field

from engine.errors import ConfigError


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The frozen text encoder."""

    model: str = "minilm"
    """`minilm` (packaged), or any sentence-transformers name or local path."""
    max_tokens: int = 64
    """Texts are cut after this many tokens."""
    batch: int = 64
    """Texts encoded at once."""

    def __post_init__(self) -> None:
        _check(8 <= self.max_tokens <= 8192, f"encoder.max_tokens={self.max_tokens}; allowed: 8..8192")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How judged queries are divided, and the folds of cross-fitting."""

    folds: int = 3
    """Folds of the training queries: fold f's features come from a stack that never saw fold f."""
    valid_share: float = 0.15
    """Share of judged queries used to choose, where the judgments carry no split."""
    test_share: float = 0.35
    """Share of judged queries used to report, where the judgments carry no split."""
    cross_validate_below: int = 500
    """With fewer judged queries: repeated 5-fold cross-validation by query in place of a split."""
    cv_folds: int = 5
    """Folds of that cross-validation."""
    cv_repeats: int = 3
    """Repeats of that cross-validation, each with its own division."""

    def __post_init__(self) -> None:
        _check(self.folds >= 2, f"split.folds={self.folds}; at least 2")
        _check(
            self.test_share > 0 and self.valid_share + self.test_share < 1, "split shares must leave training queries"
        )


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """The DSIRM quantizer (METHOD: query-bridged contrastive residual quantization)."""

    sizes: tuple[int, ...] | None = None
    """Codes per level, e.g. (216, 512, 512); None derives them from the catalogue."""
    dim: int = 128
    """Width d of the shared space that is quantized."""
    steps: int = 600
    """Optimizer steps."""
    batch: int = 256
    """Query-item pairs a step (paper: 256)."""
    lr: float = 3e-4
    """AdamW learning rate of the projections (chosen on Icecat; docs/LOG.md)."""
    tau: float = 0.07
    """InfoNCE temperature (paper)."""
    contrastive_weight: float = 1.0
    commitment_weight: float = 1.0
    reconstruction_weight: float = 0.1
    ema_decay: float = 0.99
    """Decay of the codebook's moving averages."""
    category_level: bool = True
    """Level 1 belongs to categories where the catalogue has them."""
    rotation_trick: bool = False
    """Rotation trick in place of the straight-through gradient."""
    restart_every: int = 50
    """Steps between searches for dead codes."""

    def __post_init__(self) -> None:
        _check(
            self.sizes is None or (len(self.sizes) >= 1 and min(self.sizes) >= 2),
            f"quantizer.sizes={self.sizes}; each at least 2",
        )
        _check(
            self.tau > 0 and 0 < self.ema_decay < 1 and self.batch >= 2,
            "quantizer: tau > 0, 0 < ema_decay < 1, batch >= 2",
        )


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """The compact generator: a small Qwen3-architecture decoder with a soft query prefix."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4
    prefix_tokens: int = 4
    """Soft tokens projected from the frozen query embedding."""
    alignment_epochs: float = 4.0
    """Passes over item titles (title -> SID), before the queries."""
    query_epochs: float = 12.0
    """Length of the query stage (query -> SIDs of items it led to), in passes over the training queries; the titles
    mixed in count towards it."""
    title_share: float = 0.5
    """Share of the query stage's examples that are titles in place of queries, lest the titles be forgotten."""
    label_smoothing: float = 0.1
    """Share of every target spread evenly over the codes of its level."""
    batch: int = 128
    """Examples a step (paper: 128)."""
    lr: float = 2e-3
    beam_width: int = 5
    """K, the SIDs predicted per query (paper: 5)."""
    kept_nodes: int = 20
    """Beam nodes stored a level, pruned branches included."""

    def __post_init__(self) -> None:
        _check(self.hidden % self.heads == 0, f"generator.hidden={self.hidden} must divide by heads={self.heads}")
        _check(0 <= self.title_share < 1, f"generator.title_share={self.title_share}; allowed: 0 to below 1")
        _check(
            0 <= self.label_smoothing < 1, f"generator.label_smoothing={self.label_smoothing}; allowed: 0 to below 1"
        )
        _check(1 <= self.beam_width <= 256, f"generator.beam_width={self.beam_width}; allowed: 1..256")


@dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """The ordinal MLP over the dense features and the embedded match level."""

    hidden: tuple[int, int] = (64, 32)
    """Widths of the two hidden layers of the 3-layer MLP."""
    match_embedding: int = 8
    """Width of the embedding of the match level."""
    epochs: int = 40
    """Most passes; the validation split stops earlier."""
    batch: int = 256
    lr: float = 2e-3
    weight_decay: float = 1e-4
    members: int = 3
    """Networks started from different seeds whose logits are averaged (less noise between methods)."""


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """The first stage: what is ranked, and alone counts for exposure."""

    top: int = 200
    """Candidates a query."""
    explained: int = 20
    """Top-ranked candidates per query whose contributions are stored (judged pairs always are)."""


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """The UMAP map."""

    landmarks: int = 20_000
    """Items, stratified by category, on which UMAP is fitted; the rest are placed among them."""
    neighbors: int = 15


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Bootstrap and thresholds."""

    resamples: int = 2_000
    """Bootstrap resamples of queries for metrics."""
    exposure_resamples: int = 10_000
    """Bootstrap resamples of queries for exposure shares."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The resolved settings of one run."""

    preset: str = "default"
    method: str = "dsirm"
    """`dsirm` or `none` (the no-SID rankers alone)."""
    seed: int = 0
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; the same config gives the same text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Config:
        """The inverse of `to_json`."""
        raw = json.loads(text)
        parts = {
            f.name: f.default_factory
            for f in dataclasses.fields(Config)
            if f.default_factory is not dataclasses.MISSING
        }
        for name, kind in parts.items():
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in raw[name].items()}
            raw[name] = kind(**values)
        return Config(**raw)


METHODS = ("dsirm", "none")


def default() -> Config:
    """Any catalogue: sizes follow from it."""
    return Config()


def demo() -> Config:
    """The bundled marketplace in minutes on two cores."""
    base = default()
    return dataclasses.replace(
        base,
        preset="demo",
        encoder=dataclasses.replace(base.encoder, max_tokens=32),
        split=dataclasses.replace(base.split, folds=2),
        projection=dataclasses.replace(base.projection, landmarks=3_000),
    )


def paper() -> Config:
    """The published sizes: K = 216/512/512, batch 256, tau .07, weights 1/1/.1."""
    base = default()
    return dataclasses.replace(
        base, preset="paper", quantizer=dataclasses.replace(base.quantizer, sizes=(216, 512, 512))
    )


def tiny() -> Config:
    """Seconds on a few hundred items: for tests."""
    base = demo()
    return dataclasses.replace(
        base,
        preset="tiny",
        quantizer=dataclasses.replace(base.quantizer, dim=32, steps=60, batch=64, restart_every=20),
        generator=dataclasses.replace(
            base.generator, hidden=32, layers=1, heads=2, alignment_epochs=4.0, query_epochs=6.0
        ),
        ranker=dataclasses.replace(base.ranker, hidden=(16, 8), match_embedding=4, epochs=30, batch=64, members=1),
        retrieval=dataclasses.replace(base.retrieval, top=50),
        projection=dataclasses.replace(base.projection, landmarks=200),
        evaluation=dataclasses.replace(base.evaluation, resamples=200, exposure_resamples=1_000),
    )


PRESETS = {"default": default, "demo": demo, "paper": paper, "tiny": tiny}


def preset(name: str, *, method: str = "dsirm", seed: int = 0) -> Config:
    """The preset of that name. Raises ConfigError for an unknown preset or method."""
    _check(name in PRESETS, f"preset '{name}' is unknown; allowed: {', '.join(PRESETS)}")
    _check(method in METHODS, f"method '{method}' is unknown; allowed: {', '.join(METHODS)}")
    return dataclasses.replace(PRESETS[name](), method=method, seed=seed)


def codebook_sizes(n_items: int, n_categories: int, levels: int = 3) -> tuple[int, ...]:
    """Codes per level for a catalogue: about 5-10 items an occupied prefix (METHOD section 1).

    K1 = categories used, or k-means cells where there are none; each deeper level takes the power of two
    nearest to what is left divided by 7, clamped to 8..512.
    """
    first = n_categories or max(8, min(216, round(math.sqrt(n_items / 7))))
    sizes = [first]
    left = n_items / first
    for _ in range(levels - 1):
        size = max(8, min(512, 2 ** round(math.log2(max(left / 7, 1)))))
        sizes.append(size)
        left = max(left / size, 1)
    return tuple(sizes)
