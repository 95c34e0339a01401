"""Vectors of the data's own encoder: read from any format, checked, stored, and used in place of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pandas import DataFrame

from engine import pipeline
from engine.config import preset
from engine.datasets.contract import GivenText
from engine.datasets.ingest import Ingested, ingest, load, validate
from engine.datasets.vectors import read_vectors
from engine.encoders import cache
from engine.encoders.given import text_vectors
from engine.errors import DataError
from engine.labeling.pairs import retrieved_pairs
from engine.runs import load_arrays

ITEMS = DataFrame({"item_id": list("abcd"), "title": ["Red kettle", "Blue kettle", "Green pan", "Steel pan"],
                   "category": ["Kitchen > Kettles"] * 2 + ["Kitchen > Pans"] * 2})  # fmt: skip
QUERIES = DataFrame({"query_id": ["q1", "q2", "q3"], "text": ["kettle", "pan", "red"]})


def cells(vectors: Sequence[Any]) -> list[str | None]:
    return [v if v is None or isinstance(v, str) else json.dumps([float(x) for x in v]) for v in vectors]


def shop(folder: Path, items: Sequence[Any], queries: Sequence[Any] | None = None, suffix: str = ".csv") -> Path:
    """Items, and queries where given, with these vectors."""
    folder.mkdir(exist_ok=True)
    given = {"items": (ITEMS, items)} | ({"queries": (QUERIES, queries)} if queries is not None else {})
    for name, (rows, vectors) in given.items():
        path = folder / f"{name}{suffix}"
        if suffix == ".csv":
            rows.assign(text_embedding=cells(vectors)).to_csv(path, index=False)
        elif suffix == ".jsonl":
            lists = [None if v is None else [float(x) for x in v] for v in vectors]
            rows.assign(text_embedding=lists).to_json(path, orient="records", lines=True, double_precision=15)
        else:
            table = pa.Table.from_pandas(rows, preserve_index=False)
            width = next(len(v) for v in vectors if v is not None)
            kind = pa.list_(pa.float32(), width) if suffix == ".parquet" else pa.list_(pa.float64())
            lists = [None if v is None else np.asarray(v, np.float64).tolist() for v in vectors]
            pq.write_table(table.append_column("text_embedding", pa.array(lists, kind)), path)
    return folder


def taken(tmp_path: Path, items: Sequence[Any], queries: Sequence[Any] | None = None) -> Ingested:
    return ingest(shop(tmp_path / "shop", items, queries), tmp_path / "ws")


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


# ---------------------------------------------------------------- read and stored


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_vectors_of_any_format_are_stored_as_given_and_used_at_length_1(
    tmp_path: Path, vectors: np.ndarray, suffix: str
) -> None:
    folder = shop(tmp_path / "shop", vectors[:4], [vectors[4], None, vectors[6]], suffix)
    done = ingest(folder, tmp_path / "ws")
    catalogue = done.catalogue
    assert done.report.n_rejected == 0
    assert catalogue.given_text == GivenText(5, 2)
    assert "text_embedding" not in catalogue.items
    assert catalogue.items["attributes"].isna().all(), "a known column is no attribute"
    stored = pq.read_table(catalogue.folder / "items.parquet")["text_embedding"].to_pylist()
    np.testing.assert_array_equal(np.array(stored, np.float32), vectors[:4])
    found = catalogue.text_vectors()
    assert found.items is not None
    assert found.queries is not None
    assert found.items.dtype == found.queries.dtype == np.float32
    assert found.items.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(found.items, unit(vectors[:4]), rtol=1e-6)
    in_order = found.queries[catalogue.queries.query("source == 'log'").index]
    np.testing.assert_allclose(in_order[[0, 2]], unit(vectors[[4, 6]]), rtol=1e-6)
    assert np.isnan(in_order[1]).all()
    notes = " ".join(done.report.warnings)
    assert "text_embedding has lengths from" in notes
    assert "items.text_embedding" not in notes
    assert f"1 rows of queries{suffix} have none" in notes


def test_equal_vectors_are_one_catalogue_and_others_another(tmp_path: Path, vectors: np.ndarray) -> None:
    names = []
    for n, suffix in enumerate((".csv", ".jsonl", ".parquet")):
        names.append(ingest(shop(tmp_path / str(n), vectors[:4], None, suffix), tmp_path / "ws").catalogue.fingerprint)
    others = ingest(shop(tmp_path / "others", vectors[1:5]), tmp_path / "ws").catalogue.fingerprint
    assert names[0] == names[1] == names[2] != others


def test_unit_vectors_and_an_empty_column_are_nothing_to_remark_on(tmp_path: Path, vectors: np.ndarray) -> None:
    done = taken(tmp_path, unit(vectors[:4]), unit(vectors[4:]))
    assert done.report.warnings == ()
    empty = ingest(shop(tmp_path / "empty", [None] * 4, [None] * 3), tmp_path / "ws").catalogue
    assert empty.given_text is None
    assert empty.text_vectors() == (None, None)


def test_a_catalogue_stored_before_there_were_vectors_loads(tmp_path: Path, vectors: np.ndarray) -> None:
    catalogue = taken(tmp_path, vectors[:4]).catalogue
    for name in ("items", "queries"):
        path = catalogue.folder / f"{name}.parquet"
        pq.write_table(pq.read_table(path).drop_columns("text_embedding"), path)
    manifest = json.loads((catalogue.folder / "catalogue.json").read_text())
    del manifest["given_text"], manifest["files"]  # nor were there checksums
    (catalogue.folder / "catalogue.json").write_text(json.dumps(manifest))
    old = load(tmp_path / "ws", catalogue.fingerprint)
    assert old.given_text is None
    assert old.text_vectors() == (None, None)


@settings(max_examples=25)
@given(
    x=arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(1, 9)),
    data=st.data(),
)
def test_stored_rows_come_back_in_their_places(
    tmp_path_factory: pytest.TempPathFactory, x: np.ndarray, data: st.DataObject
) -> None:
    there = np.array(data.draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x))))
    path = tmp_path_factory.mktemp("column") / "t.parquet"
    lists = [row.tolist() if held else None for row, held in zip(x, there, strict=True)]
    table = pa.table({"v": pa.array(lists, pa.list_(pa.float32()))})
    pq.write_table(table, path, row_group_size=data.draw(st.integers(1, 12)))
    found = read_vectors(path, "v")
    if not there.any():
        assert found is None
        return
    assert found is not None
    np.testing.assert_allclose(found[there], unit(x)[there], rtol=1e-6)
    assert np.isnan(found[~there]).all()


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (None, "(missing) -> every item needs one where any has one"),
        ("", "(missing) -> every item needs one where any has one"),
        ("[1, x]", "'[1, x]' -> write it as [0.1, 0.2, ...], finite numbers only"),
        ("[]", "'[]' -> write it as"),
        ("[1, NaN]", "'[1, NaN]' -> write it as"),
        ("[1, 1e60]", "'[1, 1e60]' -> write it as"),
        ("[1, 2, 3]", "'[1, 2, 3]' -> it has 3 numbers where most have 2"),
        ("[0, 0.0]", "'[0, 0.0]' -> its length is 0.0, so it has no direction"),
        ("[1e-30, 0]", "so it has no direction"),
    ],
)
def test_an_unusable_vector_of_an_item_is_an_error_with_its_place(tmp_path: Path, bad: str | None, why: str) -> None:
    folder = shop(tmp_path / "shop", [[1, 2], bad, [3, 4], bad])
    with pytest.raises(DataError) as error:
        validate(folder)
    text = str(error.value)
    assert "items.csv: 2 of 4 rows have no usable text_embedding, the first items.csv:3 " in text
    assert why in text
    assert "give every item one, or leave the column out" in text


def test_a_rejected_row_needs_no_vector(tmp_path: Path) -> None:
    items = 'item_id,title,text_embedding\na,Kettle,"[1, 0]"\nb,,\nb,Pan,"[0, 1]"\n'
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "items.csv").write_text(items)
    done = ingest(tmp_path / "shop", tmp_path / "ws", max_reject_share=0.5)
    assert done.report.n_rejected == 1
    np.testing.assert_array_equal(done.catalogue.text_vectors().items, np.eye(2))


@pytest.mark.parametrize(
    ("bad", "why"),
    [("[1, 2, 3]", "it has 3 numbers where items.text_embedding has 2"), ("[0, 0]", "its length is 0.0"),
     ("x", "write it as")],
)  # fmt: skip
def test_an_unusable_vector_of_a_query_is_an_error(tmp_path: Path, bad: str, why: str) -> None:
    folder = shop(tmp_path / "shop", [[1, 2]] * 4, [None, bad, [1, 1]])
    with pytest.raises(DataError, match=r"1 of 3 rows have no usable text_embedding, the first queries.csv:3") as error:
        validate(folder)
    assert why in str(error.value)


def test_vectors_of_queries_alone_are_an_error(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", [None] * 4, [[1, 2]] * 3)
    with pytest.raises(DataError, match=r"queries.csv gives text_embedding, items.csv does not"):
        validate(folder)


def test_that_queries_will_be_encoded_is_said(tmp_path: Path, vectors: np.ndarray) -> None:
    said = "items.csv gives text_embedding (5 numbers), but queries have none: they are encoded with encoder.model"
    done = taken(tmp_path, vectors[:4])
    assert said in " ".join(done.report.warnings)
    assert set(done.catalogue.queries["source"]) == {"synthetic"}
    assert done.catalogue.given_text == GivenText(5, 0)


def test_no_synthetic_query_joins_queries_that_all_have_vectors(tmp_path: Path, vectors: np.ndarray) -> None:
    assert set(taken(tmp_path, vectors[:4], vectors[4:]).catalogue.queries["source"]) == {"log"}


# ---------------------------------------------------------------- used


def unwanted(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError(f"encoded {texts}")


@given(lacking=st.lists(st.booleans(), min_size=5, max_size=5))
def test_only_queries_without_a_vector_are_encoded(lacking: list[bool]) -> None:
    rng = np.random.default_rng(1)
    items, known = rng.normal(size=(2, 3)), rng.normal(size=(5, 3)).astype(np.float32)
    known[lacking] = np.nan
    asked: set[str] = set()

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.update(texts)
        return np.array([[float(text), 0, 0] for text in texts])

    texts = [str(n) for n in range(5)]
    made = text_vectors(["a", "b"], texts, (items, known), encode)
    assert asked == {text for text, alone in zip(texts, lacking, strict=True) if alone}
    assert made.items is items
    for n, alone in enumerate(lacking):
        np.testing.assert_array_equal(made.queries[n], [n, 0, 0] if alone else known[n])
    assert np.isnan(known).any(axis=1).tolist() == lacking, "the given ones are not written to"


def test_an_encoder_of_another_width_is_refused_before_much_is_encoded() -> None:
    def encode(texts: Sequence[str]) -> np.ndarray:
        assert len(texts) == 1
        return np.ones((1, 384))

    with pytest.raises(DataError, match=r"3 of 3 queries have no text_embedding, the first 'x', .* 384 .* have 4"):
        text_vectors(["a"], ["x", "y", "z"], (np.ones((1, 4)), None), encode)


def test_a_run_on_given_vectors_encodes_nothing(
    marketplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    rng, sides = np.random.default_rng(0), {}
    for path in marketplace.iterdir():
        if path.stem in ("items", "queries"):
            rows = pd.read_parquet(path)
            sides[path.stem] = rng.normal(size=(len(rows), 24)).astype(np.float32)
            rows.assign(text_embedding=list(sides[path.stem])).to_parquet(folder / path.name)
        else:
            (folder / path.name).write_bytes(path.read_bytes())
    catalogue = ingest(folder, tmp_path / "ws").catalogue

    def encoder(*_: object, **__: object) -> None:
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr(cache, "load_encoder", encoder)
    run = pipeline.train(tmp_path / "ws", catalogue.fingerprint, preset("tiny", method="none"))
    used = load_arrays(run.shared_folder("vectors") / "text.safetensors")
    np.testing.assert_allclose(used["items"], unit(sides["items"]), rtol=1e-5)
    np.testing.assert_allclose(used["queries"], unit(sides["queries"]), rtol=1e-5)
    manifest = run.manifest()
    assert manifest["given_text"] == {"width": 24, "queries": len(sides["queries"])}
    assert "Text vectors of 24 numbers came with the data." in manifest["notes"]
    assert len(retrieved_pairs(tmp_path / "ws", catalogue, top=3)) == 3 * len(catalogue.queries)

    dynamic = preset("tiny", method="dsirm-dynamic")
    with pytest.raises(DataError, match=r"set quantizer\.dynamic_steps=0"):
        pipeline.train(tmp_path / "ws", catalogue.fingerprint, dynamic)


def test_queries_without_vectors_need_an_encoder_of_that_width(tmp_path: Path, vectors: np.ndarray) -> None:
    folder = shop(tmp_path / "shop", vectors[:4], [vectors[4], None, vectors[5]])
    (folder / "judgments.csv").write_text("query_id,item_id,grade\nq1,a,3\nq1,c,0\nq2,c,3\nq2,a,0\nq3,a,3\nq3,d,0\n")
    catalogue = ingest(folder, tmp_path / "ws").catalogue
    with pytest.raises(DataError, match=r"the first 'pan', and encoder.model makes 384 numbers where .* have 5"):
        pipeline.train(tmp_path / "ws", catalogue.fingerprint, preset("tiny", method="none"))
