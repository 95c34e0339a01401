"""The Data page: every sentence against SQL, state in the address, hostile words, uploads off and on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from filled_snapshot import HOSTILE, N, Q
from streamlit.testing.v1 import AppTest

from app.components import judgments_upload
from engine.datasets.ingest import ingest, load
from engine.datasets.judged_file import check_judgments
from engine.errors import DataError
from engine.store import uploads

Open = Callable[..., AppTest]


def said(page: AppTest) -> str:
    assert not page.exception, page.exception[0].value
    assert not page.error, page.error[0].value
    kinds = ("header", "subheader", "markdown", "caption", "info", "warning", "code")
    return "\n".join(str(e.value) for kind in kinds for e in page.get(kind)).replace("\\", "")


def test_sentences_are_those_of_the_rows(open_page: Open, workspace: Path, cursor: duckdb.DuckDBPyConnection) -> None:
    words = said(open_page("data", workspace))
    (judged,) = cursor.execute("SELECT count(*) FROM judgments").fetchone() or (0,)
    (synthetic,) = cursor.execute("SELECT count(*) FROM queries WHERE source = 'synthetic'").fetchone() or (0,)
    assert (
        f"{N} items, {Q} queries ({synthetic} of them made from item fields, with 4 rows of a log of their own), {judged} judged pairs "
        "and 10 rows of the search log." in words
    )
    assert (
        f"{N + 3 + Q + judged} rows of 3 files were read: {N + Q + judged} accepted, 2 rejected, 1 passed over."
        in words
    )
    assert f"Most were rejected in items.csv: 2 of {N + 2} that were not passed over (1.6 %)." in words
    assert "2 things were found out from the files themselves; look at what is marked ●: 1 of them" in words
    assert (
        "2 broken rules cost rows, most often “duplicate id” in items.csv (1 row); 1 broken rule cost a value only"
        in words
    )
    (relevant,) = cursor.execute("SELECT avg((grade >= 2)::INT) FROM judgments").fetchone() or (0,)
    assert f"{100 * relevant:.1f} % of judged pairs are relevant: grade 2 or more of 3" in words
    assert "1 of 3 columns filled in part, 1 empty" in words
    assert "The log states no day." in words
    assert "9 of 10 rows" in words


def test_the_file_is_in_the_address(open_page: Open, workspace: Path) -> None:
    words = said(open_page("data", workspace, file="queries.csv"))
    assert "Nothing had to be found out about this file." in words
    assert "No row of this file broke a rule" in words
    page = open_page("data", workspace, file="gone.csv")
    assert "There is no file “gone.csv” here. Shown: all files." in said(page)
    assert page.selectbox(key="file").value == "all files"


def test_rows_by_address(open_page: Open, workspace: Path, cursor: duckdb.DuckDBPyConnection) -> None:
    (n,) = cursor.execute("SELECT count(*) FROM judgments WHERE query_id = 'q01'").fetchone() or (0,)
    page = open_page("data", workspace, table="judgments", find="q01", page="9")
    assert f"{n} judgments, all" in said(page)
    assert page.selectbox(key="table").value == "judgments"
    assert "No row of items holds “no such”." in said(open_page("data", workspace, find="no such"))
    assert "the table" not in said(open_page("data", workspace, table="sellers; DROP TABLE items", page="x"))


def test_hostile_words_are_shown_as_text(open_page: Open, workspace: Path) -> None:
    page = open_page("data", workspace, find=HOSTILE)
    said(page)
    shown = "\n".join(str(e.value) for kind in ("markdown", "caption") for e in page.get(kind))
    assert "Bold" in shown
    assert "<b>" not in shown
    assert ":red[" not in shown
    (row,) = (f.value for f in page.dataframe if "popularity" in f.value.columns)
    assert row["title"].tolist() == [HOSTILE]


def test_rejected_rows_open(open_page: Open, workspace: Path) -> None:
    page = open_page("data", workspace)
    page.session_state["rejected"] = True
    said(page.run())
    (rows,) = (f.value for f in page.dataframe if "content" in f.value.columns)
    assert rows["line"].tolist() == [2, 9]


def test_off_says_how_to_allow(open_page: Open, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(uploads.ALLOWED, raising=False)
    page = open_page("data", workspace)
    assert "python -m app --allow-upload" in said(page)
    assert not page.get("file_uploader")
    monkeypatch.setenv(uploads.ALLOWED, "0")
    assert "This server takes no files" in said(open_page("data", workspace))


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory: pytest.TempPathFactory, workspace: Path) -> Path:
    """The filled snapshot, beside a catalogue of its fingerprint that has items A0 ... A9 and two judgments."""
    folder = tmp_path_factory.mktemp("catalogued") / "ws"
    shutil.copytree(workspace, folder)
    source = folder.parent / "in"
    source.mkdir()
    (source / "items.csv").write_text("item_id,title\n" + "".join(f"A{i},lamp {i}\n" for i in range(10)))
    (source / "dataset.toml").write_text("max_grade = 3\nrelevant_grade = 2\n")
    (source / "judgments.csv").write_text("query,item_id,grade\nlamp,A1,3\nlamp,A2,0\n")
    name = ingest(source, folder).catalogue.fingerprint
    (path,) = (folder / "snapshots").glob("*.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE snapshot SET fingerprint = ?", [name])
    return folder


FILE = b"query,item_id,grade\nlamp,A1,2\nred lamp,A3,1\nlamp,ZZ,3\nlamp,A4,7\nlamp,A5,\n"


def test_handed_in_is_kept_checked_and_told(open_page: Open, catalogued: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(uploads.ALLOWED, "1")
    kept = uploads.keep(catalogued, "<b>mine</b>*.csv", FILE)
    words = said(open_page("data", catalogued))
    assert "5 rows read: 2 accepted, 2 rejected, 1 passed over." in words
    assert (
        "judge 2 pairs of 2 queries: 1 of the pairs are judged in this catalogue already, 1 of the queries are new to it"
        in words
    )
    assert "1 item is unknown to it" in words
    assert kept.sha256 in words
    place = kept.path.relative_to(catalogued)
    asked = f"python -m engine ingest FOLDER/items.csv FOLDER/queries.csv WORKSPACE/{place} --workspace WORKSPACE"
    assert asked in words
    assert str(catalogued) not in words
    page = open_page("data", catalogued, upload="../../x")
    said(page)
    assert page.query_params["upload"] in (kept.upload_id, [kept.upload_id])


def test_what_cannot_be_read_says_why(catalogued: Path) -> None:
    bad = uploads.keep(catalogued, "x.parquet", b"PAR1 not really")
    name = next((catalogued / "catalogues").iterdir()).name
    found, failed = judgments_upload.check.__wrapped__(str(catalogued), name, str(bad.path))
    assert not found
    assert "judgments.parquet" in failed


def test_an_upload_is_kept_once_and_never_overwritten(tmp_path: Path) -> None:
    first = uploads.keep(tmp_path, "../../etc/pass\0wd.CSV", FILE)
    assert first.path == tmp_path / "uploads" / first.upload_id / "judgments.csv"
    assert first.path.read_bytes() == FILE
    assert "\0" not in first.name
    assert uploads.keep(tmp_path, "again.csv", FILE) == first
    other = uploads.keep(tmp_path, "other.csv", FILE + b"lamp,A6,1\n")
    assert {u.upload_id for u in uploads.uploads(tmp_path)} == {first.upload_id, other.upload_id}
    assert not list((tmp_path / "uploads").glob("*.tmp"))


@pytest.mark.parametrize(
    ("name", "data"),
    [("x.exe", b"1"), ("judgments", b"1"), ("x.csv", b""), ("x.csv", b"0" * (uploads.MOST_MB * 2**20 + 1))],
)
def test_what_is_not_taken(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(DataError):
        uploads.keep(tmp_path, name, data)
    assert not (tmp_path / "uploads").exists()


def test_the_told_command_ingests(catalogued: Path, tmp_path: Path) -> None:
    """With the folder where FOLDER stands: the uploaded judgments take the place of the dataset's own."""
    import pandas as pd

    kept = uploads.keep(catalogued, "mine.csv", FILE)
    told = judgments_upload.command(
        pd.DataFrame({"file": ["items.csv", "judgments.csv"], "table": ["items", "judgments"]}),
        False,
        str(kept.path),
        str(tmp_path),
    )
    assert told == f"python -m engine ingest FOLDER/items.csv {kept.path} --workspace {tmp_path}"
    done = ingest([catalogued.parent / "in" / "items.csv", kept.path], tmp_path, max_reject_share=0.5)
    assert len(done.catalogue.judgments) == 2
    assert judgments_upload.command(pd.DataFrame(), True, "x", "y") is None


def test_a_check_says_what_ingest_would(catalogued: Path, tmp_path: Path) -> None:
    path = tmp_path / "judgments.csv"
    path.write_bytes(FILE)
    (fingerprint,) = (p.name for p in (catalogued / "catalogues").iterdir() if not p.name.startswith("."))
    checked = check_judgments(path, load(catalogued, fingerprint))
    # Another scale is told as such, and by ingest only where dataset.toml states one.
    done = ingest([catalogued.parent / "in" / "items.csv", path], tmp_path / "ws", max_reject_share=0.5)
    (file,) = (f for f in done.report.files if f.table == "judgments")
    assert checked.report.files == (file,)
    assert [(i.rule, i.count) for i in checked.report.issues] == [(i.rule, i.count) for i in done.report.issues]
