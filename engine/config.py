"""Every setting of a run, as frozen dataclasses checked at construction, and the presets.

`resolve(preset, catalogue sizes)` gives the full `Config` of a run; it is saved beside the weights.
A preset is a function that changes another preset.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.errors import ConfigError


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _check_least(part: object, section: str, least: float, *names: str, most: float = math.inf) -> None:
    """Raises ConfigError unless the fields `names` (or each number of a tuple) are from `least` to `most`, and numbers."""
    for name in names:
        value = getattr(part, name)
        numbers = value if isinstance(value, tuple) else (value,)
        allowed = f"at least {least:g}" if most == math.inf else f"allowed: {least:g} to {most:g}"
        ok = value is None or all(math.isfinite(n) and least <= n <= most for n in numbers)
        _check(ok, f"{section}.{name}={value}; {allowed}")


def is_date(text: str | None) -> bool:
    """Whether `text` is None, or a day like 2025-05-01."""
    try:
        return text is None or bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


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
        _check_least(self, "encoder", 1, "batch")


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
    seed: int = 0
    """Of every drawn division; apart from the run's seed, so that runs of other seeds meet the same test queries."""
    until: str | None = None
    """A date (YYYY-MM-DD): interactions after it supervise nothing, as if training had happened on that day."""

    def __post_init__(self) -> None:
        _check(is_date(self.until), f"split.until='{self.until}'; a date like 2025-05-01")
        _check_least(self, "split", 2, "folds", "cv_folds")
        _check_least(self, "split", 1, "cv_repeats")
        _check_least(self, "split", 0, "cross_validate_below", "seed", "valid_share")
        _check(
            self.test_share > 0 and self.valid_share + self.test_share < 1, "split shares must leave training queries"
        )


@dataclass(frozen=True, kw_only=True)
class ClickGradesConfig:
    """How judgments are read from a search log at ingest; no part of a run, whose catalogue holds what was read."""

    min_examined: float = 5.0
    """Impressions x examination of their position that a pair needs: a well-liked item hardly goes so often unclicked."""
    min_pairs: int = 2
    """Pairs that a query needs: one alone orders nothing."""
    min_queries: int = 20
    """Queries needed to train on and as many to hold out; with fewer nothing is read, or the log is not cut by date."""
    best: float = 0.95
    """The attractiveness that the highest grade stands for: this quantile over examined impressions."""
    thresholds: tuple[float, ...] | None = None
    """Shares of it at which the grades 1, 2, ... begin; None: midway (in ratio) between what the audit's click model
    states of neighbouring grades, such as .15, .34, .70 for grades to 3."""
    min_purchases: int = 2
    """A grade from 1 on rises by one where a pair was bought so often, and more often a click than chance has it; 0: never."""
    later: float = 0.3
    """Share of a dated log that is kept for grading held-out queries and supervises nothing."""

    def __post_init__(self) -> None:
        _check_least(self, "click_grades", 1, "min_pairs", "min_queries")
        _check_least(self, "click_grades", 0, "min_purchases")
        _check(0 < self.min_examined < math.inf, f"click_grades.min_examined={self.min_examined}; it must be above 0")
        _check_least(self, "click_grades", 0.5, "best", most=1)
        _check_least(self, "click_grades", 0.05, "later", most=0.95)
        at = self.thresholds
        _check(
            at is None or (all(0 < t <= 1 for t in at) and list(at) == sorted(set(at))),
            f"click_grades.thresholds={at}; rising shares above 0, at most 1",
        )


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """The tokenizer of items; unless said otherwise a field is of DSIRM's contrastive quantizer."""

    kind: str = "contrastive"
    """`contrastive` (DSIRM), `local` (DSIRM with deeper codes made for their own parent), `rqvae` (TIGER), `hierarchical`
    (DSI: k-means within k-means), `kmeans` (RK-means); as controls `category-path` (the path in the taxonomy) and `hash`
    (of the item's id)."""
    text: str = "title"
    """What SIDs, title stacks and the signals' dense twins read of an item: `title`, or `keywords` (half the title's vector,
    half the mean of its key terms')."""
    sizes: tuple[int, ...] | None = None
    """Codes per level, e.g. (216, 512, 512); None derives them from the catalogue."""
    levels: int = 3
    """L, where `sizes` is derived."""
    size_factor: float = 1.0
    """Multiplies every derived size but that of a category level."""
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
    repel_weight: float = 0.0
    """Weight of the repulsion of items that share a SID though they were graded apart for a training query, or are of
    different categories."""
    ema_decay: float = 0.99
    """Decay of the codebook's moving averages."""
    category_level: bool = True
    """Level 1 belongs to categories where the catalogue has them."""
    rotation_trick: bool = False
    """Rotation trick in place of the straight-through gradient."""
    restart_every: int = 50
    """Steps between searches for dead codes."""
    dynamic_steps: int = 0
    """Steps in which the text encoder's last layer learns along (dynamic encoding); 0: frozen, as in the paper."""

    def __post_init__(self) -> None:
        kinds = (*QUANTIZERS, *CONTROLS)
        _check(self.kind in kinds, f"quantizer.kind='{self.kind}'; allowed: {', '.join(kinds)}")
        _check(self.text in ITEM_TEXTS, f"quantizer.text='{self.text}'; allowed: {', '.join(ITEM_TEXTS)}")
        _check(
            self.text == "title" or not self.dynamic_steps,
            f"quantizer.text={self.text} with dynamic_steps={self.dynamic_steps}: dynamic encoding reads titles alone; set one",
        )
        _check(1 <= self.levels <= 8, f"quantizer.levels={self.levels}; allowed: 1..8")
        _check_least(self, "quantizer", 1, "dim", "restart_every")
        _check_least(self, "quantizer", 0, "steps", "dynamic_steps")
        _check_least(self, "quantizer", 0, "contrastive_weight", "commitment_weight", "reconstruction_weight")
        _check_least(self, "quantizer", 0, "repel_weight")
        _check_least(self, "quantizer", 1e-9, "lr", most=1)
        _check(self.size_factor > 0, f"quantizer.size_factor={self.size_factor}; above 0")
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
    """The generator: `compact`, a small Qwen3-architecture decoder with a soft query prefix, or `full`, a language
    model with a text prompt."""

    kind: str = "compact"
    """`compact` or `full`."""
    model: str = "Qwen/Qwen3-0.6B"
    """full: any causal language model, by name or local path."""
    lora_rank: int = 0
    """full: rank of LoRA adapters; 0 trains every weight."""
    accumulate: int = 1
    """full: micro-batches a step is cut into: less memory, the same gradient up to rounding."""
    max_tokens: int = 32
    """full: the query's text is cut after this many tokens."""
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    prefix_tokens: int = 4
    """Soft tokens projected from the frozen query embedding."""
    alignment_epochs: float = 4.0
    """Passes over item titles (title -> SID), before the queries."""
    alignment_titles: int = 400_000
    """Most titles that alignment reads, passes added up; of a larger catalogue a sample."""
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
    full_lr: float | None = None
    """full: peak learning rate; None: 5e-5 for every weight, 2e-4 for LoRA adapters."""
    beam_width: int = 5
    """K, the SIDs predicted per query (paper: 5)."""
    kept_nodes: int = 20
    """Beam nodes stored a level, pruned branches included."""

    def __post_init__(self) -> None:
        _check(self.kind in ("compact", "full"), f"generator.kind='{self.kind}'; allowed: compact, full")
        _check(
            self.accumulate >= 1 and self.lora_rank >= 0 and self.max_tokens >= 4,
            "generator: accumulate >= 1, lora_rank >= 0, max_tokens >= 4",
        )
        _check_least(
            self,
            "generator",
            1,
            "hidden",
            "layers",
            "heads",
            "prefix_tokens",
            "batch",
            "kept_nodes",
            "alignment_titles",
        )
        _check_least(self, "generator", 0, "alignment_epochs", "query_epochs")
        _check_least(self, "generator", 1e-9, "lr", "full_lr", most=1)
        _check(self.hidden % self.heads == 0, f"generator.hidden={self.hidden} must divide by heads={self.heads}")
        _check(0 <= self.title_share < 1, f"generator.title_share={self.title_share}; allowed: 0 to below 1")
        _check(
            0 <= self.label_smoothing < 1, f"generator.label_smoothing={self.label_smoothing}; allowed: 0 to below 1"
        )
        _check(1 <= self.beam_width <= 256, f"generator.beam_width={self.beam_width}; allowed: 1..256")


@dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """The rankers. Both kinds are trained and reported in every run; `kind` says which one serves."""

    kind: str = "boosted"
    """`boosted` (LightGBM over dense features and SID signals) or `mlp` (the paper's ordinal MLP over dense features
    and the embedded match level)."""
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
    ladder: str = "lean"
    """`lean`: the served ranker and what it is compared with (its baseline, the paper's pair, the dense twins, one
    placebo); `full`: every ranker that explains why the served one is believed."""

    def __post_init__(self) -> None:
        _check(self.kind in ("boosted", "mlp"), f"ranker.kind='{self.kind}'; allowed: boosted, mlp")
        _check(self.ladder in ("lean", "full"), f"ranker.ladder='{self.ladder}'; allowed: lean, full")
        _check(len(self.hidden) == 2, f"ranker.hidden={','.join(map(str, self.hidden))}; two widths, such as 64,32")
        _check_least(self, "ranker", 1, "hidden", "match_embedding", "epochs", "batch", "members")
        _check_least(self, "ranker", 1e-9, "lr", most=1)
        _check_least(self, "ranker", 0, "weight_decay")


@dataclass(frozen=True, kw_only=True)
class SignalsConfig:
    """SID signals beside the paper's scalar (METHOD section 3, "what moves the number")."""

    served: tuple[str, ...] = ("match", "logp", "memory", "cluster", "list")
    """Signals that the served boosted ranker reads."""
    stacks: int = 8
    """Residual k-means stacks of different resolution made of titles alone, over which signals are averaged beside
    the run's own SIDs."""
    neighbours: int = 50
    """Training queries whose feedback a query's memory reads."""
    list_depth: int = 50
    """Retrieved candidates of the query that list signals read."""

    def __post_init__(self) -> None:
        _check(set(self.served) <= set(SIGNALS), f"signals.served={self.served}; allowed: {', '.join(SIGNALS)}")
        _check_least(self, "signals", 0, "stacks")
        _check_least(self, "signals", 1, "neighbours", "list_depth")


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """The first stage: what is ranked, and alone counts for exposure."""

    top: int = 200
    """Candidates a query."""
    explained: int = 20
    """Top-ranked candidates per query whose contributions are stored (judged pairs always are)."""

    def __post_init__(self) -> None:
        _check_least(self, "retrieval", 1, "top", "explained")


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """The UMAP map."""

    landmarks: int = 20_000
    """Items, stratified by category, on which UMAP is fitted; the rest are placed among them."""
    neighbors: int = 15

    def __post_init__(self) -> None:
        _check_least(self, "projection", 2, "landmarks", "neighbors")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Bootstrap and thresholds."""

    resamples: int = 2_000
    """Bootstrap resamples of queries for metrics."""
    exposure_resamples: int = 10_000
    """Bootstrap resamples of queries for exposure shares."""

    def __post_init__(self) -> None:
        _check_least(self, "evaluation", 10, "resamples", "exposure_resamples")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The resolved settings of one run."""

    preset: str = "default"
    method: str = "dsirm"
    """One of METHODS."""
    seed: int = 0
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)
    signals: SignalsConfig = field(default_factory=SignalsConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def served_ranker(self) -> str:
        """The rung of the ladder whose score is the run's `score`."""
        if self.method == "none":
            return self.baseline_ranker
        return "rich" if self.ranker.kind == "boosted" else "sid"

    @property
    def baseline_ranker(self) -> str:
        """The rung without SIDs by the same learner: `score_without_sid`."""
        return "strong_gbm" if self.ranker.kind == "boosted" else "strong"

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


QUANTIZERS = ("contrastive", "local", "rqvae", "hierarchical", "kmeans")
CONTROLS = ("category-path", "hash")
"""Kinds of tokenizer that follow a rule and learn nothing."""
ITEM_TEXTS = ("title", "keywords")
SIGNALS = ("match", "logp", "memory", "cluster", "list")


def _quantizer(config: Config, **changes: Any) -> Config:
    return dataclasses.replace(config, quantizer=dataclasses.replace(config.quantizer, **changes))


METHODS: dict[str, Callable[[Config], Config]] = {
    "dsirm": lambda config: config,
    "tiger": partial(_quantizer, kind="rqvae", category_level=False),
    "dsi": partial(_quantizer, kind="hierarchical", category_level=False),
    "rkmeans": partial(_quantizer, kind="kmeans", category_level=False),
    "category-path": partial(_quantizer, kind="category-path"),
    "hash": partial(_quantizer, kind="hash", category_level=False),
    "none": lambda config: config,
    "dsirm-local": partial(_quantizer, kind="local"),
    "dsirm-repel": partial(_quantizer, repel_weight=1.0),
    "dsirm-keywords": partial(_quantizer, text="keywords"),
    "dsirm-no-contrastive": partial(_quantizer, contrastive_weight=0.0),
    "dsirm-no-category": partial(_quantizer, category_level=False),
    "dsirm-rotation": partial(_quantizer, rotation_trick=True),
    "dsirm-dynamic": partial(_quantizer, dynamic_steps=60),
    "dsirm-2-levels": partial(_quantizer, levels=2),
    "dsirm-4-levels": partial(_quantizer, levels=4),
    "dsirm-half-k": partial(_quantizer, size_factor=0.5),
    "dsirm-double-k": partial(_quantizer, size_factor=2.0),
}
"""What a method changes in a preset. `none`: the rankers without SIDs alone."""


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
    """The published configuration: K = 216/512/512, batch 256, tau .07, weights 1/1/.1; the scalar match level alone,
    read by the ordinal MLP."""
    base = default()
    return dataclasses.replace(
        base,
        preset="paper",
        quantizer=dataclasses.replace(base.quantizer, sizes=(216, 512, 512)),
        ranker=dataclasses.replace(base.ranker, kind="mlp"),
        signals=dataclasses.replace(base.signals, served=("match",)),
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
        signals=dataclasses.replace(base.signals, stacks=2, neighbours=20, list_depth=20),
        retrieval=dataclasses.replace(base.retrieval, top=50),
        projection=dataclasses.replace(base.projection, landmarks=200),
        evaluation=dataclasses.replace(base.evaluation, resamples=200, exposure_resamples=1_000),
    )


PRESETS = {"default": default, "demo": demo, "paper": paper, "tiny": tiny}


def preset(name: str, *, method: str = "dsirm", seed: int = 0) -> Config:
    """The preset of that name. Raises ConfigError for an unknown preset or method."""
    _check(name in PRESETS, f"preset '{name}' is unknown; allowed: {', '.join(PRESETS)}")
    _check(method in METHODS, f"method '{method}' is unknown; allowed: {', '.join(METHODS)}")
    return dataclasses.replace(METHODS[method](PRESETS[name]()), method=method, seed=seed)


def override(config: Config, settings: Sequence[str]) -> Config:
    """`config` with `settings` like 'generator.kind=full' or 'quantizer.sizes=216,512,512' changed.

    Raises ConfigError for a setting that does not exist, or a value of the wrong type or outside what is allowed.
    """
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        part = getattr(config, section, None)
        names = {f.name: str(f.type) for f in dataclasses.fields(part)} if dataclasses.is_dataclass(part) else {}
        if not (equals and dot and key in names):
            sections = [f.name for f in dataclasses.fields(Config) if dataclasses.is_dataclass(getattr(config, f.name))]
            known = ", ".join(f"{section}.{n}" for n in names) or ", ".join(f"{s}.<name>" for s in sections)
            raise ConfigError(f"setting '{setting}' is unknown; write name=value, with one of: {known}")
        assert dataclasses.is_dataclass(part)
        assert not isinstance(part, type)
        changed: dict[str, Any] = {section: dataclasses.replace(part, **{key: _parse(text.strip(), names[key], name)})}
        config = dataclasses.replace(config, **changed)
    return config


def click_grades(settings: Sequence[str]) -> ClickGradesConfig:
    """`ClickGradesConfig` with `settings` like 'click_grades.min_examined=3' changed. Raises ConfigError as `override` does."""
    names = {f"click_grades.{f.name}": str(f.type) for f in dataclasses.fields(ClickGradesConfig)}
    changed = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name.strip() not in names:
            raise ConfigError(f"setting '{setting}' is unknown; write name=value, with one of: {', '.join(names)}")
        key = name.strip()
        changed[key.partition(".")[2]] = _parse(text.strip(), names[key], key)
    return ClickGradesConfig(**changed)


def _parse(text: str, kind: str, name: str) -> Any:
    """The value that `text` spells for a field of type `kind`."""
    optional, kind = kind.endswith(" | None"), kind.removesuffix(" | None")
    if optional and text.lower() in ("none", ""):
        return None
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind.startswith("tuple"):
            parse = int if "int" in kind else float if "float" in kind else str
            return tuple(parse(part.strip()) for part in text.split(",") if part.strip())
        return {"int": int, "float": float, "str": str}[kind](text)
    except (KeyError, ValueError):
        allowed = {"bool": "true or false", "int": "a whole number", "float": "a number"}
        raise ConfigError(f"{name}='{text}'; allowed: {allowed.get(kind, 'values with commas between')}") from None


def codebook_sizes(n_items: int, n_categories: int, levels: int = 3, factor: float = 1.0) -> tuple[int, ...]:
    """Codes per level for a catalogue: about 5-10 items an occupied prefix (METHOD section 1).

    K1 = categories used, or k-means cells where there are fewer than two; each deeper level takes the power of two
    nearest to what is left divided by 7, clamped to 8..512. `factor` multiplies the sizes that no category sets.
    """
    cells = max(2, round(factor * max(8, min(216, round(math.sqrt(n_items / 7))))))
    first = n_categories if n_categories > 1 else cells
    sizes = [first]
    left = n_items / first
    for _ in range(levels - 1):
        size = max(2, round(factor * max(8, min(512, 2 ** round(math.log2(max(left / 7, 1)))))))
        sizes.append(size)
        left = max(left / size, 1)
    return tuple(sizes)
