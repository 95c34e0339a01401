"""A listing written otherwise: nothing changes where nothing was changed, and what changes is what was changed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.answering.live import LiveRun
from engine.assigning.assign import place_items
from engine.errors import DataError
from tests.conftest import Trained


@pytest.fixture(scope="module")
def live(trained: Trained) -> LiveRun:
    return LiveRun.load(trained.workspace, trained.dsirm_run)


@pytest.fixture(scope="module")
def pair(live: LiveRun) -> tuple[str, str]:
    """A query and the item it ranks third."""
    text = str(live.served.problem.catalogue.queries["text"].iloc[3])
    scores = live.query(text).scores
    assert scores is not None
    return text, str(scores.loc[scores["rank"] == 3, "item_id"].iloc[0])


def row(scores, item):  # type: ignore[no-untyped-def]
    return scores[scores["item_id"] == item].iloc[0]


def test_the_same_listing_gives_the_same_answer_bit_for_bit(live: LiveRun, pair: tuple[str, str]) -> None:
    text, item = pair
    own = live.served.problem.catalogue.items.set_index("item_id").loc[item]
    made = live.edited(text, item, own["title"], own["attributes"])
    assert made.sid == made.new_sid
    before, after = made.before.scores, made.after.scores
    assert before is not None
    assert after is not None
    assert before["item_id"].tolist() == after["item_id"].tolist()
    for column in ("score", "rank", "match_level", "qs", "dm"):
        assert before[column].tolist() == after[column].tolist(), column


def test_another_title_is_encoded_quantized_and_indexed(live: LiveRun, pair: tuple[str, str]) -> None:
    text, item = pair
    position = live.served.item_ids.tolist().index(item)
    items = live.served.problem.catalogue.items
    kept = live.served.sids.codes.copy()  # type: ignore[union-attr]
    title = f"{text} {text}"
    made = live.edited(text, item, title, None)
    new = row(made.after.scores, item)
    assert new["qs_coverage"] == 1.0
    assert new["dm"] > row(made.before.scores, item)["dm"]
    here = items.iloc[[position]].assign(title=title)
    codes = place_items(live.run, live.served.problem.catalogue, here, live._encode(title))
    assert made.new_sid == "-".join(map(str, codes[0]))
    # What is served is not touched.
    assert (live.served.sids.codes == kept).all()  # type: ignore[union-attr]
    assert items["title"].iloc[position] != title
    again = live.edited(text, item, str(items["title"].iloc[position]), items["attributes"].iloc[position])
    assert row(again.after.scores, item)["score"] == row(made.before.scores, item)["score"]


def test_an_attribute_is_read_by_the_text_beside_the_title(live: LiveRun, pair: tuple[str, str]) -> None:
    text, item = pair
    own = live.served.problem.catalogue.items.set_index("item_id").loc[item]
    attributes = json.dumps({**json.loads(own["attributes"] or "{}"), "made for": text})
    made = live.edited(text, item, own["title"], attributes)
    before, after = row(made.before.scores, item), row(made.after.scores, item)
    assert after["qs_fields"] > before["qs_fields"]
    assert after["qs"] == pytest.approx(before["qs"])
    assert made.sid == made.new_sid, "SIDs read titles alone"


def test_rewritten_in_bulk_agrees_with_one_alone(live: LiveRun, pair: tuple[str, str]) -> None:
    queries = live.served.problem.catalogue.queries
    text, item = pair
    query = str(queries.loc[queries["text"] == text, "query_id"].iloc[0])
    steps = list(live.rewritten([(query, item)]))
    assert len(steps) == 3, "one a kind, also where nothing can be written so"
    made = pd.concat(steps, ignore_index=True)
    assert set(made["kind"]) <= {"typo", "reorder", "stuffing"}
    attributes = live.served.problem.catalogue.items.set_index("item_id").loc[item, "attributes"]
    for each in made.to_dict("records"):
        alone = live.edited(text, item, each["new_title"], attributes)
        assert (each["sid"], each["new_sid"]) == (alone.sid, alone.new_sid)
        assert each["new_score"] == pytest.approx(float(row(alone.after.scores, item)["score"]))
        old, new = each["sid"].split("-"), each["new_sid"].split("-")
        assert each["flipped"] == next((i + 1 for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b), 0)
        scores = alone.before.scores
        assert scores is not None
        others = scores.loc[scores["retrieved"] & (scores["item_id"] != item), "score"]
        if np.isfinite(each["new_rank"]):
            assert each["new_rank"] == (others > each["new_score"]).sum() + 1
        assert each["rank"] == 3


def test_an_unknown_item_is_named(live: LiveRun) -> None:
    with pytest.raises(DataError, match="nobody"):
        next(live.rewritten([(str(live.served.problem.catalogue.queries["query_id"].iloc[0]), "nobody")]))
