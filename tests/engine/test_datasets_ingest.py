"""Catalogues: derived queries, equal content stored once, nothing half-written, the committed sample."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pandas import DataFrame
from pandas.testing import assert_frame_equal

from engine.datasets.contract import TABLES, plain_columns
from engine.datasets.ingest import ingest, list_catalogues, load, validate
from engine.errors import DataError

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "data" / "sample"
TABLE_NAMES = ("items", "queries", "interactions", "judgments")


def shop(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    files.setdefault("items", "item_id,title\na,Red kettle\nb,Blue kettle\nc,Green pan\n")
    for stem, content in files.items():
        (folder / ("dataset.toml" if stem == "toml" else f"{stem}.csv")).write_text(content, encoding="utf-8")
    return folder


# ---------------------------------------------------------------- the sample


def test_sample_is_clean_and_whole(tmp_path: Path) -> None:
    done = ingest(SAMPLE, tmp_path)
    assert done.report.n_rejected == 0
    assert done.report.issues == ()
    catalogue = done.catalogue
    assert len(catalogue.items) == 60
    assert catalogue.items[["category", "seller", "price", "currency", "created_at"]].notna().all(axis=None)
    assert catalogue.settings.currency == "EUR"
    assert set(catalogue.judgments["split"]) == {"train", "valid", "test"}
    assert catalogue.judgments["n_raters"].max() == 2
    assert set(catalogue.interactions["source"]) == {"log", "synthetic"}
    for name in TABLE_NAMES:
        assert list(getattr(catalogue, name).columns) == plain_columns(name)


def converted(source: Path, target: Path, suffix: str) -> Path:
    """The sample in another format, same content."""
    target.mkdir()
    for path in source.glob("*.csv"):
        rows = pd.read_csv(path, dtype=str)
        out = target / f"{path.stem}{suffix.removesuffix('.gz')}"
        if ".parquet" in suffix:
            for column in rows.columns.intersection(["price", "grade", "clicks", "frequency"]):
                rows[column] = rows[column].astype(float)
            rows.to_parquet(out)
        elif ".jsonl" in suffix:
            rows.to_json(out, orient="records", lines=True)
        else:
            rows.to_csv(out, sep="\t" if ".tsv" in suffix else ",", index=False, lineterminator="\r\n")
        if suffix.endswith(".gz"):
            (target / f"{path.stem}{suffix}").write_bytes(gzip.compress(out.read_bytes()))
            out.unlink()
    (target / "dataset.toml").write_bytes((source / "dataset.toml").read_bytes())
    return target


@pytest.mark.parametrize("suffix", [".parquet", ".tsv", ".jsonl", ".csv.gz", ".jsonl.gz"])
def test_fingerprint_is_of_the_content_not_of_the_format(tmp_path: Path, suffix: str) -> None:
    first = ingest(SAMPLE, tmp_path / "ws").catalogue
    again = ingest(converted(SAMPLE, tmp_path / "other", suffix), tmp_path / "ws2").catalogue
    assert again.fingerprint == first.fingerprint
    for name in TABLE_NAMES:
        assert_frame_equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("items.csv", "34.90", "34.91"),
        ("items.csv", "Halden electric kettle", "Halden  electric kettle"),
        ("interactions.csv", "q01,i02,399,64", "q01,i02,399,65"),
        ("judgments.csv", "q01,i01,3", "q01,i01,2"),
        ("dataset.toml", "relevant_grade = 2", "relevant_grade = 3"),
    ],
)
def test_fingerprint_changes_with_any_content(tmp_path: Path, file: str, old: str, new: str) -> None:
    first = ingest(SAMPLE, tmp_path / "ws").catalogue.fingerprint
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in SAMPLE.iterdir():
        text = path.read_text()
        (folder / path.name).write_text(text.replace(old, new, 1) if path.name == file else text)
        assert old in text or path.name != file
    assert ingest(folder, tmp_path / "ws").catalogue.fingerprint != first


def test_a_folder_s_name_is_no_content(tmp_path: Path) -> None:
    one = ingest(shop(tmp_path / "one"), tmp_path / "ws").catalogue.fingerprint
    assert ingest(shop(tmp_path / "two"), tmp_path / "ws").catalogue.fingerprint == one
    named = shop(tmp_path / "three", toml='name = "Three"\n')
    assert ingest(named, tmp_path / "ws").catalogue.fingerprint != one


def test_equal_content_is_stored_once(tmp_path: Path) -> None:
    first = ingest(SAMPLE, tmp_path).catalogue
    folder = tmp_path / "catalogues" / first.fingerprint
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()}
    assert ingest(SAMPLE, tmp_path).catalogue.fingerprint == first.fingerprint
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()} == before
    assert [p.name for p in (tmp_path / "catalogues").iterdir()] == [first.fingerprint]


def test_the_same_content_with_other_rejects_keeps_the_newer_rejects(tmp_path: Path) -> None:
    clean = "item_id,title\n" + "".join(f"k{n},Kettle\n" for n in range(60))
    first = ingest(shop(tmp_path / "one", items=clean), tmp_path / "ws").catalogue
    second = ingest(shop(tmp_path / "two", items=clean + "k1,Twice\n"), tmp_path / "ws").catalogue
    assert (first.fingerprint, first.n_rejected) == (second.fingerprint, 0)
    assert second.n_rejected == 1
    assert len(pd.read_parquet(tmp_path / "ws" / "catalogues" / first.fingerprint / "rejects.parquet")) == 1


def test_a_half_written_catalogue_is_replaced(tmp_path: Path) -> None:
    name = ingest(SAMPLE, tmp_path).catalogue.fingerprint
    (tmp_path / "catalogues" / name / "catalogue.json").unlink()
    with pytest.raises(DataError, match="is not among none at all"):
        load(tmp_path, name)
    assert ingest(SAMPLE, tmp_path).catalogue.fingerprint == name


def test_two_processes_storing_the_same_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(SAMPLE, tmp_path / "other")
    real = os.replace

    def late(source: Path, target: Path) -> None:
        shutil.copytree(tmp_path / "other" / "catalogues" / target.name, target)
        real(source, target)

    monkeypatch.setattr(os, "replace", late)
    assert len(ingest(SAMPLE, tmp_path / "ws").catalogue.items) == 60


def test_what_a_killed_ingest_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", "import sys, pathlib, engine.datasets.storage as s\n"
         "with s.staging(pathlib.Path(sys.argv[1])) as folder: print(folder, flush=True); input()", str(tmp_path)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.stdout
    left = Path(killed.stdout.readline().strip())
    ingest(SAMPLE, tmp_path)
    assert left.is_dir(), "its process is at work"
    killed.kill()
    killed.communicate()
    ingest(SAMPLE, tmp_path)
    assert not left.exists()


def test_load_and_list(tmp_path: Path) -> None:
    stored = ingest(SAMPLE, tmp_path).catalogue
    loaded = load(tmp_path, stored.fingerprint[:6])
    assert loaded.settings == stored.settings
    for name in TABLE_NAMES:
        assert_frame_equal(getattr(stored, name), getattr(loaded, name))
    listed = list_catalogues(tmp_path)
    assert listed.loc[0, ["name", "n_items", "n_rejected"]].tolist() == ["Sample shop", 60, 0]
    assert listed["fingerprint"].tolist() == [stored.fingerprint]
    assert list_catalogues(tmp_path / "nowhere").empty
    with pytest.raises(DataError, match="catalogue 'beef0000' is not among"):
        load(tmp_path, "beef0000")
    (tmp_path / "catalogues" / stored.fingerprint / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"is damaged .* ingest again"):
        load(tmp_path, stored.fingerprint)


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    """In another process, with another hash seed."""
    name = ingest(SAMPLE, tmp_path / "one").catalogue.fingerprint
    code = (
        "from pathlib import Path; from engine.datasets.ingest import ingest; import sys;"
        f"ingest(Path({str(SAMPLE)!r}), Path({str(tmp_path / 'two')!r}));"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, env=os.environ | {"PYTHONHASHSEED": "7"})
    for table in TABLES:
        one, two = (tmp_path / w / "catalogues" / name / f"{table}.parquet" for w in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), table


# ---------------------------------------------------------------- queries


def test_queries_are_derived_where_no_file_gives_them(tmp_path: Path) -> None:
    folder = shop(
        tmp_path / "shop",
        interactions="query,item_id,impressions,clicks\nRed  Kettle,a,10,2\nred kettle,b,5,1\nPAN,c,,4\nwok,c,,\n",
        judgments="query,item_id,grade\npan,c,3\n Teapot ,a,1\n",
    )
    catalogue = ingest(folder, tmp_path / "ws").catalogue
    queries = catalogue.queries[catalogue.queries["source"] != "synthetic"]
    assert queries[["query_id", "text", "frequency", "source"]].to_numpy().tolist() == [
        ["red kettle", "Red  Kettle", 15.0, "log"],
        ["pan", "PAN", 4.0, "log"],
        ["wok", "wok", 1.0, "log"],
        ["teapot", "Teapot", 1.0, "judged"],
    ]
    logged = catalogue.interactions[catalogue.interactions["source"] == "log"]
    assert logged["query_id"].tolist() == ["red kettle", "red kettle", "pan", "wok"]
    assert logged["clicks"].tolist() == [2, 1, 4, 1], "a row that states no count is one click"


def test_queries_file_with_ids_texts_kinds_and_frequencies(tmp_path: Path) -> None:
    folder = shop(
        tmp_path / "shop",
        queries="query_id,text,frequency,kind\nq2,pan,,vernacular\nq1,kettle,7,\nq3,wok,,\n",
        interactions="query_id,item_id,clicks\nq1,a,1\nq2,c,4\n",
        judgments="query,item_id,grade\nKettle,a,3\nWok,c,1\n",
    )
    catalogue = ingest(folder, tmp_path / "ws").catalogue
    queries = catalogue.queries[catalogue.queries["source"] != "synthetic"].reset_index(drop=True)
    assert queries["query_id"].tolist() == ["q2", "q1", "q3"]
    assert queries["frequency"].tolist() == [4.0, 7.0, 1.0]
    assert queries["source"].tolist() == ["log", "log", "judged"]
    assert queries["kind"][0] == "vernacular"
    assert pd.isna(queries["kind"][1])
    assert catalogue.judgments["query_id"].tolist() == ["q1", "q3"]


def test_ids_and_texts_in_the_log_itself(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", interactions="query_id,query,item_id\nq1,kettle,a\nq1,Kettle,b\nq2,,a\n")
    done = ingest(folder, tmp_path / "ws", max_reject_share=0.5)
    real = done.catalogue.queries[done.catalogue.queries["source"] == "log"]
    assert real[["query_id", "text"]].to_numpy().tolist() == [["q1", "kettle"]]
    assert done.report.n_rejected == 1


def test_raters_are_averaged_and_their_rows_kept(tmp_path: Path) -> None:
    rows = "query,item_id,grade,source,rater\nkettle,a,3,human,r1\nkettle,a,2,human,r2\nkettle,a,0,llm,judge\nkettle,b,1,,\n"
    catalogue = ingest(shop(tmp_path / "shop", judgments=rows), tmp_path / "ws").catalogue
    assert catalogue.judgments["grade"].tolist() == pytest.approx([5 / 3, 1])
    assert catalogue.judgments["source"].tolist() == ["human+llm", "unstated"]
    assert catalogue.judgments["n_raters"].tolist() == [3, 1]
    raw = pd.read_parquet(tmp_path / "ws" / "catalogues" / catalogue.fingerprint / "judgments_raw.parquet")
    assert raw["grade"].tolist() == [3, 2, 0, 1]
    assert raw["rater"].tolist()[:3] == ["r1", "r2", "judge"]


def test_embeddings_in_text_and_in_lists_are_one_content(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    rows = DataFrame({"item_id": list("abcde"), "title": "Kettle"})
    names = []
    for kind in ("csv", "parquet"):
        folder = tmp_path / kind
        folder.mkdir()
        if kind == "csv":
            texts = [str([float(v) for v in vector]) for vector in vectors]
            rows.assign(image_embedding=texts).to_csv(folder / "items.csv", index=False)
        else:
            rows.assign(image_embedding=[*vectors]).to_parquet(folder / "items.parquet")
        catalogue = ingest(folder, tmp_path / "ws").catalogue
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_array_equal(catalogue.image_vectors().items, unit)
        stored = pq.read_table(catalogue.folder / "items.parquet")["image_embedding"].to_pylist()
        np.testing.assert_array_equal(np.array(stored, np.float32), vectors)
        names.append(catalogue.fingerprint)
    assert names[0] == names[1]


# ---------------------------------------------------------------- what the disk refuses


def test_disk_full_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = pq.ParquetWriter.write_table, []

    def full(*args: object, **kwargs: object) -> None:
        written.append(args)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args, **kwargs)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DataError, match=r"no space left on the disk of .*; nothing was stored: free some space"):
        ingest(SAMPLE, tmp_path)
    assert len(written) > 3
    assert list((tmp_path / "catalogues").iterdir()) == []
    monkeypatch.undo()
    assert ingest(SAMPLE, tmp_path).report.ok, "and afterwards it works"


def test_disk_full_while_duckdb_spills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise duckdb.IOException('Could not write file "spill": No space left on device')

    monkeypatch.setattr("engine.datasets.ingest.assemble", full)
    with pytest.raises(DataError, match="no space left on the disk"):
        ingest(SAMPLE, tmp_path)
    assert list((tmp_path / "catalogues").iterdir()) == []


def test_a_workspace_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="cannot be read or written"):
        ingest(SAMPLE, tmp_path / "file")


def test_a_killed_ingest_leaves_no_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ingest(SAMPLE, tmp_path)
    assert list((tmp_path / "catalogues").iterdir()) == []
    assert list_catalogues(tmp_path).empty


def test_validate_stores_nothing_and_progress_ends(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert validate(SAMPLE).ok
    ingest(SAMPLE, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
