"""One way from a query to its answer: stored rows are live rows, whatever the size of the block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.answering.answer import Answers, answer, stored_block
from engine.answering.live import LIVE_ID, LiveRun
from engine.answering.served import Served, load_served
from engine.problem.division import asked_queries
from engine.runs import Run
from tests.conftest import Trained

KEYS = {
    "scores": ["query_id", "item_id"],
    "contributions": ["query_id", "item_id", "feature"],
    "reference_points": ["query_id"],
    "beams": ["query_id", "rank"],
    "beam_nodes": ["query_id", "level", "rank"],
    "free_beams": ["query_id", "rank"],
}


def same_rows(found: pd.DataFrame, stored: pd.DataFrame, table: str) -> None:
    """Every column: reals within 1e-9, all else exactly; rows by their key."""
    keys = KEYS[table]
    found, stored = (frame.sort_values(keys, ignore_index=True) for frame in (found, stored))
    assert found[keys].equals(stored[keys].astype(found[keys].dtypes)), table
    assert set(found.columns) == set(stored.columns)
    for column in found.columns.difference(keys):
        a, b = found[column], stored[column]
        if column in ("signals", "level_log_probs", "codes"):
            a, b = np.stack(a.to_numpy()), np.stack(b.to_numpy())
            np.testing.assert_allclose(a, b, rtol=0, atol=0 if column == "codes" else 1e-9, err_msg=f"{table}.{column}")
        elif pd.api.types.is_float_dtype(a) and not column.endswith("rank"):
            np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=0, atol=1e-9, err_msg=f"{table}.{column}")
        else:
            assert (a.fillna(-1).to_numpy() == b.fillna(-1).to_numpy()).all(), f"{table}.{column}"


@pytest.fixture(scope="module", params=["dsirm", "none"])
def run(request: pytest.FixtureRequest, trained: Trained) -> Run:
    return Run.load(trained.workspace, trained.dsirm_run if request.param == "dsirm" else trained.none_run)


@pytest.fixture(scope="module")
def served(run: Run) -> Served:
    return load_served(run)


def stored(run: Run, table: str, query_ids: np.ndarray | None = None) -> pd.DataFrame:
    filters = None if query_ids is None else [("query_id", "in", list(query_ids))]
    return pd.read_parquet(run.folder / "tables" / table, filters=filters)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_rows_do_not_depend_on_the_block(run: Run, served: Served, size: int) -> None:
    asked = asked_queries(served.problem.catalogue)
    asked = asked[:: max(len(asked) // (60 if size == 1 else 300), 1)]
    made: list[Answers] = [
        answer(served, stored_block(served, asked[s : s + size])) for s in range(0, len(asked), size)
    ]
    ids = served.problem.catalogue.queries["query_id"].to_numpy()[asked]
    for table in KEYS:
        parts = [getattr(answers, table) for answers in made]
        if parts[0] is None:
            assert run.config.method == "none"
            continue
        rows = pd.concat(parts, ignore_index=True)
        assert len(rows) > 0
        same_rows(rows, stored(run, table, ids), table)


def test_a_stored_query_asked_live_has_its_stored_rows(trained: Trained) -> None:
    run = Run.load(trained.workspace, trained.dsirm_run)
    live = LiveRun.load(trained.workspace, trained.dsirm_run)
    queries = pd.read_parquet(run.folder / "catalogue" / "queries.parquet")
    some = queries[queries["source"] != "synthetic"].drop_duplicates("text").iloc[::97]
    assert len(some) >= 3
    for row in some.itertuples():
        result = live.query(f"  {row.text.upper()} ")
        for table in ("scores", "contributions", "beams", "beam_nodes", "free_beams"):
            same_rows(getattr(result, table), stored(run, table, np.array([row.query_id])), table)
        point = stored(run, "reference_points", np.array([row.query_id])).iloc[0]
        assert result.reference["score"] == pytest.approx(point["score"], abs=1e-9)
        np.testing.assert_array_equal(result.reference["signals"], point["signals"])


def test_a_new_query_and_any_item_are_answered(trained: Trained) -> None:
    live = LiveRun.load(trained.workspace, trained.dsirm_run)
    result = live.query("something nobody has asked before")
    assert set(result.scores["query_id"]) == {LIVE_ID}
    ranked = result.scores.dropna(subset=["rank"])
    assert sorted(ranked["rank"]) == list(range(1, len(ranked) + 1))
    items = live.served.problem.catalogue.items["item_id"]
    unseen = items[~items.isin(result.scores["item_id"])].iloc[0]
    explained = live.explain("something nobody has asked before", unseen)
    assert explained.score - explained.reference == pytest.approx(sum(explained.contributions.values()), abs=1e-6)
    top = ranked.sort_values("rank")["item_id"].iloc[0]
    own = result.contributions[result.contributions["item_id"] == top].set_index("feature")["value"]
    again = live.explain("something nobody has asked before", top)
    assert again.contributions == pytest.approx(own.to_dict(), abs=1e-9)


def test_a_stopped_batch_goes_on_at_its_block(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of a block: what was written is not done again, and the rows are the same."""
    import shutil

    from engine.answering import batch
    from engine.problem import posed

    source = Run.load(trained.workspace, trained.dsirm_run)
    for name in ("catalogues", "cache", "runs"):
        shutil.copytree(trained.workspace / name, tmp_path / name)
    run = Run.load(tmp_path, trained.dsirm_run)
    shutil.rmtree(run.stage_folder("answer"))
    (run.folder / "stages" / "answer.json").unlink()
    for table in KEYS:
        shutil.rmtree(run.folder / "tables" / table)
    calls: list[int] = []
    whole = batch.answer

    def dies(served: Served, block: batch.Block) -> Answers:  # type: ignore[name-defined]
        calls.append(len(block.queries.id))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(served, block)

    monkeypatch.setattr(batch, "answer", dies)
    problem = posed(run)
    with pytest.raises(KeyboardInterrupt):
        batch.answer_all(run, problem, block=50)
    done = len(calls)
    kept = len(list((run.folder / "stages" / "answer.part" / "done").iterdir()))
    assert kept > 0
    batch.answer_all(run, problem, block=50)
    asked = len(asked_queries(problem.catalogue))
    assert len(calls) - done == -(-asked // 50) - kept, "finished blocks were not done again"
    for table in KEYS:
        same_rows(stored(run, table), stored(source, table), table)
