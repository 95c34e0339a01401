"""Small random rankers written into a snapshot, with the scores, contributions and exposure they really give.

The page tests need numbers that belong together: a waterfall that sums, a what-if that reproduces the stored score.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd

from engine.audit.online import online_effect
from engine.relevance.attribution import GROUPS, Attribution, boosted_players, query_reference, shapley
from engine.relevance.features import centre
from engine.relevance.scorer import Member, Scorer
from engine.relevance.signals.own import OWN
from engine.relevance.tree_attribution import tree_shapley
from engine.relevance.trees import TreeScorer
from engine.reporting.causes import causes_table
from engine.reporting.drivers import drivers_table
from engine.reporting.ledger import loss_ledger
from engine.store.building import derive
from tests.answered import aggregates, exposures

DENSE = tuple(column for columns in GROUPS.values() for column in columns)


def random_scorer(rng: np.random.Generator, *, levels: int | None, members: int = 2, hidden: int = 8) -> Scorer:
    """An untrained MLP of the right shape; `levels` None for one without SIDs."""

    def member() -> Member:
        steps = None if levels is None else np.cumsum(np.abs(rng.normal(0, 0.8, (levels + 1, hidden))), axis=0)
        return Member(
            dense=rng.normal(0, 0.5, (len(DENSE), hidden)),
            match=steps,
            bias=rng.normal(0, 0.2, hidden),
            hidden=rng.normal(0, 0.5, (hidden, hidden)),
            hidden_bias=rng.normal(0, 0.2, hidden),
            output=np.abs(rng.normal(0, 0.5, hidden)),
            thresholds=np.array([-1.0, 0.0, 1.0]),
            replacement=0.1,
        )

    return Scorer(
        DENSE,
        np.full(len(DENSE), 0.5),
        np.full(len(DENSE), 0.3),
        np.arange(4.0),
        tuple(member() for _ in range(members)),
    )


def random_trees(
    rng: np.random.Generator, values: np.ndarray, columns: tuple[str, ...], *, trees: int = 40
) -> TreeScorer:
    """A forest of full trees of depth 4 that split at values the columns take; leaves small and random."""
    depth = 4
    inner, nodes = 2**depth - 1, 2 ** (depth + 1) - 1
    parts: dict[str, list[float]] = {name: [] for name in ("feature", "threshold", "left", "right", "value")}
    for tree in range(trees):
        order: list[int] = []

        def visit(heap: int, order: list[int] = order) -> None:  # preorder of a heap
            order.append(heap)
            if heap < inner:
                visit(2 * heap + 1)
                visit(2 * heap + 2)

        visit(0)
        place = {heap: tree * nodes + i for i, heap in enumerate(order)}
        for heap in order:
            leaf = heap >= inner
            feature = -1 if leaf else int(rng.integers(len(columns)))
            parts["feature"].append(feature)
            parts["threshold"].append(0.0 if leaf else float(np.nextafter(rng.choice(values[:, feature]), -np.inf)))
            parts["left"].append(-1 if leaf else place[2 * heap + 1])
            parts["right"].append(-1 if leaf else place[2 * heap + 2])
            parts["value"].append(float(rng.normal(1.5 / trees, 0.15)) if leaf else 0.0)
    arrays = {name: np.array(found) for name, found in parts.items()}
    arrays |= {"root": np.arange(trees) * nodes, "grade_range": np.array([0.0, 3.0])}
    arrays["slope"] = rng.normal(0.0, 0.05, len(columns))
    return TreeScorer.from_arrays(arrays, columns)


class _Ranking(NamedTuple):
    """A run's ranker and baseline, made to agree with what the snapshot will hold."""

    ranker: str
    scorers: dict[str, Scorer | TreeScorer]
    signals: np.ndarray | None
    """(M, C) float32 beside the dense columns."""
    point: np.ndarray
    """(Q, F) references."""
    predict: Callable[[str, np.ndarray, np.ndarray], np.ndarray]
    """(name, values (M, F), match level (M,)) -> (M,)."""
    attribute: Callable[[np.ndarray, np.ndarray, np.ndarray], Attribution]
    """(values (M, F), match level (M,), references (M, F))."""
    first_sid: int
    """The first of the F columns that is a SID's."""


def write_exact_ranker(path: Path, *, seed: int = 0, explained: int = 8) -> None:
    """Replace scores, exposure, online effect, references, contributions and weights of every run with SIDs in the snapshot at `path`.

    Contributions are stored for the first `explained` items of either ranking and judged ones, so that others are computed
    on demand.
    """
    rng = np.random.default_rng(seed)
    with duckdb.connect(str(path)) as connection:
        runs = connection.execute(
            "SELECT run_id, levels, ranker, signal_columns FROM runs WHERE method = 'dsirm' ORDER BY run_id"
        ).fetchall()
        for run_id, levels, ranker, listed in runs:
            scores = connection.execute(
                "SELECT * FROM scores WHERE run_id = ? ORDER BY query_id, item_id", [run_id]
            ).df()
            scores["mm_missing"] = (scores["mm_missing"] > 0.5).astype(float)
            scores.loc[scores["mm_missing"] == 1, "mm_dm"] = 0.0
            made = _boosted(rng, scores, json.loads(listed)) if ranker == "rich" else _mlp(rng, scores, levels)
            tables = _rescored(scores.drop(columns="run_id"), made, explained)
            tables["ranker_weights"] = pd.concat([_weights(scorer, name) for name, scorer in made.scorers.items()])
            items, queries, judgments = (
                connection.execute(f"SELECT * FROM {name}").df() for name in ("items", "queries", "judgments")
            )
            scored = tables["scores"]
            tables |= exposures(scored, items, queries, judgments, resamples=200)
            # The boosted run knows no log: what its simulation assumes is stated.
            log = _log(rng, scored) if made.ranker == "sid" else _log(rng, scored.head(0))
            effect = online_effect(scored, queries, log, judgments, max_grade=3.0, resamples=200)
            tables |= {"online": effect.online, "click_model": effect.click_model}
            nodes, sids, categories = (
                connection.execute(f"SELECT * FROM {name} WHERE run_id = ?", [run_id]).df() if name != "categories"
                else connection.execute("SELECT * FROM categories").df()
                for name in ("beam_nodes", "sids", "categories")
            )  # fmt: skip
            codes = np.array(sids.set_index("item_id")["codes"][items["item_id"]].tolist())
            given = {"scores": scored, "contributions": tables["contributions"], "beam_nodes": nodes}
            with aggregates(items, queries, judgments, **given) as sums:
                tables |= {
                    "causes": causes_table(sums, codes),
                    "drivers": drivers_table(sums, items, categories, explained),
                    "loss_ledger": loss_ledger(sums, items, queries, codes, 2.0),
                }
            for table, rows in tables.items():
                connection.execute(f'DELETE FROM "{table}" WHERE run_id = ?', [run_id])
                file = path.with_name(f"{table}.parquet")
                rows.assign(run_id=run_id).to_parquet(file, index=False)
                connection.execute(f'INSERT INTO "{table}" BY NAME SELECT * FROM read_parquet(?)', [str(file)])
                file.unlink()
        connection.execute(_REACHED)
        derive(connection)


_REACHED = """
UPDATE coverage SET in_top_k = n.in_top_k, shown = n.shown
FROM (
    SELECT s.run_id, i.category, count(*) AS shown,
           count(*) FILTER ((s.run_id, s.sid) IN (SELECT (run_id, sid) FROM beams)) AS in_top_k
    FROM sids s JOIN items i USING (item_id)
    WHERE (s.run_id, s.item_id) IN (SELECT (run_id, item_id) FROM scores WHERE rank <= 10) GROUP BY ALL
) n WHERE coverage.run_id = n.run_id AND coverage.category = n.category
"""
"""How far items come, by the new ranks."""


def _mlp(rng: np.random.Generator, scores: pd.DataFrame, levels: int) -> _Ranking:
    with_sid, without = random_scorer(rng, levels=levels), random_scorer(rng, levels=None)

    def predict(name: str, values: np.ndarray, level: np.ndarray) -> np.ndarray:
        return with_sid.logit(values, level) if name == "sid" else without.logit(values)

    return _Ranking(
        "sid", {"sid": with_sid, "strong": without}, None, _reference(scores[list(DENSE)].to_numpy(), scores), predict,
        lambda values, level, point: shapley(with_sid, values, level, point), len(DENSE),
    )  # fmt: skip


def _boosted(rng: np.random.Generator, scores: pd.DataFrame, listed: list[dict[str, object]]) -> _Ranking:
    dense = scores[list(DENSE)].to_numpy()
    query = pd.factorize(scores["query_id"])[0]
    retrieved = scores["retrieved"].to_numpy(dtype=bool)
    level = scores["match_level"].to_numpy()
    blocks = [
        centre(dense.astype(np.float32), query, retrieved, int(query.max()) + 1),
        rng.random((len(scores), len(OWN))),
    ]
    sid = tuple((str(c["name"]), str(c["signal"]), int(str(c["level"]))) for c in listed if c["signal"] is not None)
    for _, signal, at in sid:
        drawn = rng.normal(-at, 1.0, len(scores)) + (level >= at)
        blocks.append(((level >= at) * 1.0 if signal == "match" else drawn)[:, None])
    signals = np.hstack(blocks).astype(np.float32)
    values = np.hstack([dense, signals])
    columns = (*DENSE, *(str(c["name"]) for c in listed))
    first_sid = len(columns) - len(sid)
    rich = random_trees(rng, values, columns)
    plain = random_trees(rng, values, columns[:first_sid])
    point = _reference(values, scores)
    point[:, [i for i, name in enumerate(columns) if name.startswith("match_")]] = 0.0
    point[:, len(DENSE) :] = point[:, len(DENSE) :].astype(np.float32)

    def predict(name: str, given: np.ndarray, _: np.ndarray) -> np.ndarray:
        return rich.score(given) if name == "rich" else plain.score(given[:, :first_sid])

    return _Ranking(
        "rich", {"rich": rich, "strong_gbm": plain}, signals, point, predict,
        lambda given, _, at: tree_shapley(rich, given, at, boosted_players(columns, sid)), first_sid,
    )  # fmt: skip


def _reference(values: np.ndarray, scores: pd.DataFrame) -> np.ndarray:
    query, names = pd.factorize(scores["query_id"])
    inside = scores["retrieved"].to_numpy(dtype=bool)
    return query_reference(values[inside], query[inside], len(names))


def _log(rng: np.random.Generator, scores: pd.DataFrame) -> pd.DataFrame:
    """Impressions of retrieved items at two places each, the first looked at more often; clicks follow `dm`."""
    shown = scores[scores["retrieved"]]
    parts = []
    for shift in (0, 4):
        position = shown["rank_without_sid"].to_numpy(dtype=np.float64) % 10 + 1 + shift
        impressions = np.full(len(shown), 400)
        clicks = rng.binomial(impressions, np.clip(shown["dm"] * 0.4, 0, 1) / position)
        parts.append(
            shown[["query_id", "item_id"]].assign(
                position=position, impressions=impressions, clicks=clicks, purchases=rng.binomial(clicks, 0.1)
            )
        )
    return pd.concat(parts, ignore_index=True)


def _weights(scorer: Scorer | TreeScorer, ranker: str) -> pd.DataFrame:
    named = scorer.arrays()
    return pd.DataFrame(
        {
            "ranker": ranker,
            "name": list(named),
            "shape": [list(array.shape) for array in named.values()],
            "values": [array.ravel() for array in named.values()],
        }
    )


def _rescored(scores: pd.DataFrame, made: _Ranking, explained: int) -> dict[str, pd.DataFrame]:
    dense, level = scores[list(DENSE)].to_numpy(), scores["match_level"].to_numpy()
    values = dense if made.signals is None else np.hstack([dense, made.signals])
    query, names = pd.factorize(scores["query_id"])
    baseline = next(name for name in made.scorers if name != made.ranker)
    off = values.copy()
    off[:, made.first_sid :] = made.point[query][:, made.first_sid :]
    scores["score"] = made.predict(made.ranker, values, level)
    scores["score_sid_off"] = made.predict(made.ranker, off, np.zeros_like(level))
    scores["score_without_sid"] = made.predict(baseline, values, level)
    scores["expected_grade"] = made.scorers[made.ranker].expected_grade(scores["score"].to_numpy())
    scores["expected_grade_without_sid"] = made.scorers[baseline].expected_grade(scores["score_without_sid"].to_numpy())
    scores["signals"] = None if made.signals is None else list(made.signals)
    retrieved = scores[scores["retrieved"]].groupby("query_id")
    scores["rank"] = retrieved["score"].rank(ascending=False, method="first")
    scores["rank_without_sid"] = retrieved["score_without_sid"].rank(ascending=False, method="first")
    top = (scores["rank"] <= explained) | (scores["rank_without_sid"] <= explained)
    chosen = np.flatnonzero((top | scores["judged"]).to_numpy())
    told = made.attribute(values[chosen], level[chosen], made.point[query[chosen]])
    contributions = pd.DataFrame(
        {
            "query_id": np.repeat(scores["query_id"].to_numpy()[chosen], len(told.features)),
            "item_id": np.repeat(scores["item_id"].to_numpy()[chosen], len(told.features)),
            "feature": np.tile(told.features, len(chosen)),
            "value": told.values.ravel(),
        }
    )
    references = pd.DataFrame(made.point[:, : len(DENSE)], columns=list(DENSE)).assign(
        query_id=names, ranker=made.ranker, score=made.predict(made.ranker, made.point, np.zeros(len(names), dtype=np.int64)),
        signals=list(made.point[:, len(DENSE) :].astype(np.float32)),
    )  # fmt: skip
    return {"scores": scores, "contributions": contributions, "reference_points": references}


def only_snapshot(workspace: Path) -> Path:
    """The snapshot file of a workspace that has one."""
    (path,) = (workspace / "snapshots").glob("*.duckdb")
    return path
