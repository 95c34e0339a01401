"""What a trained run stores of signals and boosted scores, each number against a direct computation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from engine.config import SIGNALS
from engine.datasets.contract import Catalogue
from engine.datasets.ingest import load
from engine.learning.rankers import ladder
from engine.learning.signals import measured_signals
from engine.problem.division import Division, divide
from engine.relevance.attribution import GROUPS
from engine.relevance.features import DENSE
from engine.relevance.prefix import match_pairs
from engine.relevance.signals.cluster import SMOOTHING
from engine.relevance.signals.feedback import SHARPNESS
from engine.relevance.signals.memory import PSEUDO_COUNT
from engine.relevance.signals.own import OWN, PLAIN
from engine.relevance.signals.protocol import Columns
from engine.relevance.tree_attribution import tree_shapley
from engine.relevance.trees import TreeScorer
from engine.relevance.words import Reader
from engine.runs import Run, load_arrays
from engine.store.snapshot import open_snapshot
from tests.conftest import Trained


class Pairs(NamedTuple):
    """Every pair of table `scores`, in its order."""

    query: np.ndarray
    item: np.ndarray
    rank: np.ndarray
    """First stage's; 0 where not retrieved."""
    grade: np.ndarray
    """NaN where not judged."""


class Stored(NamedTuple):
    """A finished run's artefacts and tables."""

    run: Run
    catalogue: Catalogue
    division: Division
    pairs: Pairs
    judged: np.ndarray
    """(J,) rows of `pairs`."""
    columns: dict[str, Columns]
    signals: dict[str, np.ndarray]
    beams: dict[str, np.ndarray]
    codes: np.ndarray
    scores: pd.DataFrame
    reference: pd.DataFrame
    named: list[str]
    """What `scores.signals` holds, by table `runs`."""
    weights: dict[str, dict[str, np.ndarray]]


def read(trained: Trained, run_id: str) -> Stored:
    run = Run.load(trained.workspace, run_id)
    catalogue = load(trained.workspace, trained.fingerprint)
    scores = pd.read_parquet(run.folder / "tables" / "scores")
    grades = catalogue.judgments[["query_id", "item_id", "grade"]]
    pairs = Pairs(
        pd.Index(catalogue.queries["query_id"]).get_indexer(scores["query_id"]),
        pd.Index(catalogue.items["item_id"]).get_indexer(scores["item_id"]),
        scores["first_stage_rank"].fillna(0).to_numpy(np.int64),
        scores[["query_id", "item_id"]].merge(grades, how="left", on=["query_id", "item_id"])["grade"].to_numpy(),
    )
    snapshot = open_snapshot(trained.workspace, trained.snapshot_id)
    try:
        of_run = f"WHERE run_id = '{run_id}'"
        about = snapshot.cursor().execute(f"SELECT signal_columns FROM runs {of_run}").fetchone()
        assert about is not None
        kept = snapshot.cursor().execute(f"SELECT * FROM ranker_weights {of_run}").df()
    finally:
        snapshot.close()
    weights: dict[str, dict[str, np.ndarray]] = {}
    for row in kept.itertuples():
        weights.setdefault(row.ranker, {})[row.name] = np.reshape(row.values, row.shape)
    with_sid = run.config.method != "none"
    signals = run.stage_folder("signals")
    tokens = run.stage_folder("tokenize") / "stack0" / "codes.safetensors"
    return Stored(
        run, catalogue, divide(catalogue, run.config.split), pairs, np.flatnonzero(scores["judged"]),
        columns_of(signals) if with_sid else {},
        signals_of(run, scores) if with_sid else {},
        beams_of(run, catalogue) if with_sid else {},
        load_arrays(tokens)["codes"] if with_sid else np.zeros((0, 0)),
        scores,
        pd.read_parquet(run.folder / "tables" / "reference_points").set_index("query_id"),
        [column["name"] for column in json.loads(about[0])], weights,
    )  # fmt: skip


def columns_of(folder: Path) -> dict[str, Columns]:
    stored = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    return {kind: Columns(*map(tuple, parts)) for kind, parts in stored.items()}


def signals_of(run: Run, scores: pd.DataFrame) -> dict[str, np.ndarray]:
    """What was learnt from, and as 'served' the signals of every answered pair."""
    found = load_arrays(run.stage_folder("signals") / "signals.safetensors")
    every = np.stack(scores["signals"].to_numpy())
    return found | {"served": every[:, len(PLAIN) - len(DENSE) :]}


def beams_of(run: Run, catalogue: Catalogue) -> dict[str, np.ndarray]:
    """Table `beams` as (Q, K, L) codes and level_log_prob."""
    table = pd.read_parquet(run.folder / "tables" / "beams")
    levels = len(table["codes"].iloc[0])
    shape = (len(catalogue.queries), int(table["rank"].max()), levels)
    at = (pd.Index(catalogue.queries["query_id"]).get_indexer(table["query_id"]), table["rank"].to_numpy() - 1)
    codes, level_log_prob = np.full(shape, -1), np.full(shape, -np.inf)
    codes[at], level_log_prob[at] = np.stack(table["codes"]), np.stack(table["level_log_probs"])
    return {"codes": codes, "level_log_prob": level_log_prob}


@pytest.fixture(scope="module")
def stored(trained: Trained) -> Stored:
    return read(trained, trained.dsirm_run)


def vectors(stored: Stored) -> dict[str, np.ndarray]:
    return load_arrays(stored.run.shared_folder("vectors") / "text.safetensors")


def stored_columns(stored: Stored) -> np.ndarray:
    """(P, F) what a boosted ranker reads, from table `scores` alone."""
    return np.column_stack([stored.scores[list(DENSE)].to_numpy(), np.stack(stored.scores["signals"].to_numpy())])


# ---------------------------------------------------------------- the stage


def test_every_block_is_as_wide_as_its_columns(stored: Stored) -> None:
    sid, twin, config = stored.columns["sid"], stored.columns["twin"], stored.run.config.signals
    measured = list(measured_signals(stored.run.config))
    assert set(measured) == set(SIGNALS)
    assert list(dict.fromkeys(sid.signal)) == measured
    levels = stored.codes.shape[1]
    for name in measured:
        at = [level for level, signal in zip(sid.level, sid.signal, strict=True) if signal == name]
        assert sorted(set(at)) == list(range(1, levels + 1)), name
    assert set(twin.level) == {0}
    assert len(set(sid.name + twin.name)) == len(sid.name) + len(twin.name)
    served = sid.of(config.served).name
    shapes = {name: values.shape for name, values in stored.signals.items()}
    judged = len(stored.judged)
    assert shapes.pop("served") == (len(stored.pairs.query), len(served))
    assert {shapes.pop(name) for name in ("sid", "sid_fit", "placebo", "placebo_fit")} == {(judged, len(sid.name))}
    assert {shapes.pop(name) for name in ("twin", "twin_fit")} == {(judged, len(twin.name))}
    assert not shapes
    take = [sid.name.index(name) for name in served]
    np.testing.assert_array_equal(stored.signals["served"][stored.judged], stored.signals["sid"][:, take])


def test_columns_hold_what_their_names_say(stored: Stored) -> None:
    """match, logp and list by hand: a column under a neighbour's name would not agree."""
    names, served, pairs = stored.columns["sid"].name, stored.signals["served"], stored.pairs
    levels = stored.codes.shape[1]
    depth = stored.scores["match_level"].to_numpy()
    assert 0 < (depth > 0).mean() < 1
    for level in range(1, levels + 1):
        np.testing.assert_array_equal(served[:, names.index(f"match_{level}")], depth >= level)

    probability = np.cumsum(stored.beams["level_log_prob"], axis=2)
    compared = 0
    for row in np.flatnonzero(depth == levels)[::7]:
        q, i = pairs.query[row], pairs.item[row]
        beam = np.flatnonzero((stored.beams["codes"][q] == stored.codes[i]).all(axis=1))[0]
        found = [served[row, names.index(f"logp_{level}")] for level in range(1, levels + 1)]
        np.testing.assert_allclose(found, probability[q, beam], atol=1e-4)
        compared += 1
    assert compared > 20

    config = stored.run.config.signals
    titles = load_arrays(stored.run.shared_folder("stacks") / "stacks.safetensors")
    stacks = [stored.codes, *(titles[f"stack{s}"] for s in range(config.stacks))]
    for row in stored.judged[:: len(stored.judged) // 40]:
        q, i = pairs.query[row], pairs.item[row]
        listed = np.flatnonzero((pairs.query == q) & (pairs.rank > 0) & (pairs.rank <= config.list_depth))
        listed = listed[pairs.item[listed] != i]
        weight = 1 / np.log2(pairs.rank[listed] + 1)
        for level in range(1, levels + 1):
            shares = [
                weight[(codes[pairs.item[listed], :level] == codes[i, :level]).all(axis=1)].sum() / weight.sum()
                for codes in stacks
                if codes.shape[1] >= level
            ]
            assert served[row, names.index(f"list_{level}")] == pytest.approx(np.mean(shares), abs=1e-6)


def test_training_rows_come_from_the_stack_of_their_fold(stored: Stored) -> None:
    producer = stored.division.producer[stored.pairs.query[stored.judged]]
    names = stored.columns["sid"].name
    matches = load_arrays(stored.run.stage_folder("match") / "matches.safetensors")
    for level in range(1, stored.codes.shape[1] + 1):
        found = stored.signals["sid_fit"][:, names.index(f"match_{level}")]
        np.testing.assert_array_equal(found, matches["level_fit"] >= level)
    own = producer == 0
    np.testing.assert_array_equal(stored.signals["sid_fit"][own], stored.signals["sid"][own])
    if len(stored.division.seen) > 1:
        assert (stored.signals["sid_fit"][~own] != stored.signals["sid"][~own]).any()


def test_the_placebo_shuffles_sids_among_items(stored: Stored) -> None:
    names, query = stored.columns["sid"].name, stored.pairs.query[stored.judged]
    shuffled = np.random.default_rng(stored.run.config.seed).permutation(len(stored.codes))
    assert (stored.codes[shuffled] != stored.codes).any(axis=1).mean() > 0.9
    wrong = match_pairs(stored.codes[shuffled], stored.beams["codes"], query, stored.pairs.item[stored.judged]).level
    grade = stored.pairs.grade[stored.judged]
    for level in range(1, stored.codes.shape[1] + 1):
        column = names.index(f"match_{level}")
        np.testing.assert_array_equal(stored.signals["placebo"][:, column], wrong >= level)
    deep = names.index("match_1")
    told = [np.corrcoef(stored.signals[block][:, deep], grade)[0, 1] for block in ("sid", "placebo")]
    assert told[0] > 0.2 > 0.1 > abs(told[1]), "shuffled SIDs say nothing of relevance"

    rungs = ladder(stored.run.config, stored.columns["sid"], stored.columns["twin"], _twin_of(stored))
    assert (rungs["rich_placebo"].rows, rungs["rich_placebo"].columns) == ("placebo", rungs["rich"].columns)
    scores = load_arrays(stored.run.stage_folder("rank") / "judged.safetensors")
    assert set(scores) == {"cosine", *rungs}
    assert np.corrcoef(scores["rich_placebo"], scores["rich"])[0, 1] < 0.999


def _twin_of(stored: Stored) -> dict[str, str]:
    return {name: made.twin for name, made in measured_signals(stored.run.config).items() if made.twin}


# ---------------------------------------------------------------- what a single item's own columns know


READER = Reader("en")


def own_by_hand(stored: Stored) -> Callable[..., list[float]]:
    """OWN of (query, item) positions, from the catalogue's tables; `itself`: the query's own feedback counted."""
    catalogue, x = stored.catalogue, vectors(stored)["queries"]
    ids, items = catalogue.queries["query_id"], catalogue.items["item_id"]
    text = catalogue.queries["text"].str.casefold().str.split().str.join(" ").to_numpy()
    train = ids[stored.division.split.split == "train"]
    graded = catalogue.judgments[catalogue.judgments["query_id"].isin(train)]
    graded = graded.assign(value=graded["grade"] / catalogue.settings.max_grade)
    log = catalogue.interactions
    clicked = log.assign(value=log["clicks"].fillna(0) + 3 * log["purchases"].fillna(0)).query("value > 0")
    clicked = clicked.groupby(["query_id", "item_id"])["value"].sum().reset_index()
    clicked["value"] /= clicked.groupby("query_id")["value"].transform("sum")
    position = pd.Series(np.arange(len(ids)), index=ids)
    words = [READER.tokens(title) for title in catalogue.items["title"]]
    counts = pd.Series([word for title in words for word in title]).value_counts()
    background = counts / counts.sum()

    def heard(said: pd.DataFrame, q: int, itself: bool) -> pd.DataFrame:
        """Feedback of the query's neighbours, each with its weight."""
        past = position[said["query_id"].unique()].to_numpy()
        past = past if itself else past[text[past] != text[q]]
        cosine = x[past] @ x[q]
        nearest = np.argsort(-cosine, kind="stable")[: stored.run.config.signals.neighbours]
        weight = pd.Series(np.exp((cosine[nearest] - cosine[nearest[0]]) / SHARPNESS), index=ids[past[nearest]])
        said = said[said["query_id"].isin(weight.index)]
        return said.assign(weight=said["query_id"].map(weight))

    def columns(q: int, i: int, *, itself: bool = False) -> list[float]:
        grades, clicks = heard(graded, q, itself), heard(clicked, q, itself)
        mean = np.average(grades["value"], weights=grades["weight"])
        here = grades[grades["item_id"] == items[i]]
        weight, value = here["weight"].sum(), (here["weight"] * here["value"]).sum()
        share = clicks["weight"] * clicks["value"]
        asked = [word for word in READER.tokens(catalogue.queries["text"][q]) if word in background]
        fits = [
            np.log((words[i].count(w) + SMOOTHING * background[w]) / (len(words[i]) + SMOOTHING) / background[w])
            for w in asked
        ]
        return [
            (value + PSEUDO_COUNT * mean) / (weight + PSEUDO_COUNT),
            np.log1p(weight),
            share[clicks["item_id"] == items[i]].sum() / share.sum(),
            float(np.mean(fits)) if fits else 0.0,
            *query_by_hand([-np.log(background[w]) for w in asked]),
        ]

    return columns


def query_by_hand(rarity: list[float]) -> list[float]:
    """Number, mean, highest, lowest; zeros where no word is known."""
    return [len(rarity), np.mean(rarity), max(rarity), min(rarity)] if rarity else [0.0] * 4


def test_own_columns_never_count_the_querys_own_feedback(stored: Stored) -> None:
    pairs, by_hand = stored.pairs, own_by_hand(stored)
    split = stored.division.split.split[pairs.query[stored.judged]]
    clicked = set(zip(stored.division.pair_query, stored.division.pair_item, strict=True))
    of_train = stored.judged[split == "train"]
    both = [row for row in of_train if (pairs.query[row], pairs.item[row]) in clicked]
    chosen = [*of_train[:: len(of_train) // 15], *both[:15], *stored.judged[split == "test"][::97]]
    at = [stored.named.index(name) for name in OWN]
    leaking = 0
    for row in chosen:
        found = np.asarray(stored.scores["signals"][row])[at]
        q, i = int(pairs.query[row]), int(pairs.item[row])
        np.testing.assert_allclose(found, by_hand(q, i), atol=2e-5, err_msg=f"row {row}")
        leaking += not np.allclose(found, by_hand(q, i, itself=True), atol=1e-3)
    assert leaking > 10, "the comparison could not tell a query that reads itself"


# ---------------------------------------------------------------- the scores


def test_stored_columns_are_the_plain_ones_then_the_served_signals(stored: Stored) -> None:
    served = stored.columns["sid"].of(stored.run.config.signals.served).name
    assert stored.named == [*PLAIN[len(DENSE) :], *served]
    pairs, scores = stored.pairs, stored.scores
    np.testing.assert_array_equal(scores["query_id"], stored.catalogue.queries["query_id"].to_numpy()[pairs.query])
    np.testing.assert_array_equal(scores["item_id"], stored.catalogue.items["item_id"].to_numpy()[pairs.item])
    signals = np.stack(scores["signals"].to_numpy())
    np.testing.assert_array_equal(signals[:, -len(served) :], stored.signals["served"])
    own = load_arrays(stored.run.shared_folder("own") / "own.safetensors")["values"]
    np.testing.assert_array_equal(signals[stored.judged, -len(served) - own.shape[1] : -len(served)], own)
    dense = scores[list(DENSE)].assign(mm_dm=scores["mm_dm"].where(scores["mm_missing"] == 0))
    mean = dense[scores["retrieved"]].groupby(scores["query_id"]).mean().reindex(scores["query_id"])
    expected = (dense - mean.to_numpy()).fillna(0.0)  # without an image, or a list: nothing to say
    centred = stored.named[: -len(served) - own.shape[1]]
    assert len(centred) == len(DENSE) - 2  # all but the flag, and the length of the query
    for column, name in enumerate(centred):
        values = expected[name.removesuffix("_centred")]
        assert name == "qs_numbers_centred" or values.std() > 0.01
        np.testing.assert_allclose(signals[:, column], values, atol=1e-5, err_msg=name)


def test_scores_follow_from_the_stored_columns_and_weights(stored: Stored, trained: Trained) -> None:
    for run in (stored, read(trained, trained.none_run)):
        values = stored_columns(run)
        every = [*DENSE, *run.named]
        main = "rich" if run.columns else "strong_gbm"
        assert set(run.weights) == {main, "strong_gbm"}
        for ranker, column in ((main, "score"), ("strong_gbm", "score_without_sid")):
            read_by = every if ranker == main else PLAIN
            scorer = TreeScorer.from_arrays(run.weights[ranker], read_by)
            found = scorer.score(values[:, [every.index(name) for name in read_by]])
            assert np.ptp(found) > 0.5
            assert np.abs(found - run.scores[column]).max() < 1e-9, (run.run.run_id, ranker)


def test_contributions_follow_from_the_stored_columns_and_reference(stored: Stored) -> None:
    scorer = TreeScorer.from_arrays(stored.weights["rich"], [*DENSE, *stored.named])
    reference = np.column_stack(
        [stored.reference[list(DENSE)].to_numpy(), np.stack(stored.reference["signals"].to_numpy())]
    )
    assert np.abs(scorer.score(reference) - stored.reference["score"]).max() < 1e-9
    by_query = pd.Series(np.arange(len(reference)), index=stored.reference.index)

    players = {
        name: tuple(c for c in scorer.columns if c.removesuffix("_centred") in group)
        for name, group in {"dm": ["dm"], "mm_dm": ["mm_dm", "mm_missing"], "ct": ["ct"],
                            "qs": GROUPS["qs"]}.items()
    }  # fmt: skip
    players["own"] = OWN
    sid = stored.columns["sid"]
    for name, signal, level in zip(*sid, strict=True):
        if signal in stored.run.config.signals.served:
            players[f"sid_{level}.{signal}"] = (*players.get(f"sid_{level}.{signal}", ()), name)
    assert sorted(c for group in players.values() for c in group) == sorted(scorer.columns), "every column has a player"

    table = pd.read_parquet(stored.run.folder / "tables" / "contributions")
    assert set(table["feature"]) == set(players)
    wide = table.pivot(index=["query_id", "item_id"], columns="feature", values="value")
    rows = stored.scores.reset_index().set_index(["query_id", "item_id"]).loc[wide.index]
    at = by_query[rows.index.get_level_values(0)].to_numpy()
    gap = rows["score"].to_numpy() - stored.reference["score"].to_numpy()[at] - wide.sum(axis=1).to_numpy()
    assert np.abs(gap).max() < 1e-6
    some = np.linspace(0, len(rows) - 1, 40).astype(int)
    made = tree_shapley(scorer, stored_columns(stored)[rows["index"].to_numpy()[some]], reference[at[some]], players)
    np.testing.assert_allclose(made.values, wide.iloc[some][list(made.features)], atol=1e-9)


def test_switched_off_sids_stand_at_the_querys_mean(stored: Stored) -> None:
    """`score_sid_off`: dense and own columns as they are, SID columns at the reference, no match."""
    scorer = TreeScorer.from_arrays(stored.weights["rich"], [*DENSE, *stored.named])
    values, n = stored_columns(stored), len(stored.columns["sid"].of(stored.run.config.signals.served).name)
    known = stored.scores["query_id"].isin(stored.reference.index).to_numpy()
    off = np.stack(stored.reference["signals"].loc[stored.scores["query_id"][known]].to_numpy())[:, -n:]
    values = np.column_stack([values[known, :-n], off])
    assert np.abs(scorer.score(values) - stored.scores["score_sid_off"][known]).max() < 1e-9
    served = stored.columns["sid"].of(stored.run.config.signals.served).name
    matches = [i for i, name in enumerate(served) if name.startswith("match_")]
    assert (off[:, matches] == 0).all()
    mean = pd.DataFrame(stored.signals["served"], columns=list(served))[stored.pairs.rank > 0]
    mean = mean.groupby(stored.pairs.query[stored.pairs.rank > 0]).mean()
    ids = stored.catalogue.queries["query_id"].to_numpy()[mean.index]
    found = np.stack(stored.reference["signals"].loc[ids].to_numpy())[:, -n:]
    rest = [i for i in range(n) if i not in matches]
    np.testing.assert_allclose(found[:, rest], mean.to_numpy()[:, rest], atol=1e-4)
