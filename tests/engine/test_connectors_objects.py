"""Object stores and tables in parts: a local S3 server, a web server on loopback, fsspec's memory, folders."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.cli import main
from engine.datasets.connectors import objects
from engine.datasets.connectors.source import Source, fetch, fetched
from engine.datasets.ingest import ingest, validate
from engine.errors import DataError
from tests.conftest import ROOT

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"


def table(start: int, count: int = 2, **more: list[object]) -> pa.Table:
    numbers = range(start, start + count)
    return pa.table({"item_id": list(map(str, numbers)), "title": [f"Lamp {n}" for n in numbers], **more})


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 that keeps everything in memory."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """Bucket `shop` with folder `2026`, reached by credentials of the environment."""
    for name, value in (("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_DEFAULT_REGION", "us-east-1"),
                        ("AWS_ENDPOINT_URL", s3_server), ("AWS_CONFIG_FILE", "/dev/null"),
                        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"), ("AWS_EC2_METADATA_DISABLED", "true")):  # fmt: skip
        monkeypatch.setenv(name, value)
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    store.mkdir("shop")
    for name, rows in (("part-0", table(0, 100)), ("part-1", table(100, 50, brand=["halden"] * 50))):
        with store.open(f"shop/2026/items/{name}.parquet", "wb") as file:
            pq.write_table(rows, file)
    store.pipe("shop/2026/items/_SUCCESS", b"")
    store.pipe("shop/2026/judgments.csv", b"query,item_id,grade\nlamp,1,3\nlamp,2,0\n")
    store.pipe("shop/2026/pictures/1.jpg", b"not data")
    store.pipe("shop/2026/dataset.toml", b"relevant_grade = 1.0\n")
    yield store
    store.rm("shop", recursive=True)


def test_a_folder_of_s3_is_ingested(
    bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts are one table, its own settings stay, and no credential is said or stored."""
    monkeypatch.setattr(sys, "argv", ["engine", "ingest", "s3://shop/2026/", "--workspace", str(tmp_path), "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    assert KEY not in captured.out + captured.err
    (folder,) = (tmp_path / "catalogues").iterdir()
    settings = json.loads((folder / "catalogue.json").read_text())["settings"]
    assert settings["name"] == "2026"
    assert settings["source"] == "s3://shop/2026/"
    assert settings["relevant_grade"] == 1.0
    items = pq.read_table(folder / "items.parquet").to_pylist()
    assert [row["item_id"] for row in items] == [str(n) for n in range(150)]
    assert [row["brand"] for row in items] == [None] * 100 + ["halden"] * 50
    assert all(SECRET.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_is_copied(bucket: object, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(Source("s3://shop/2026"), tmp_path, lambda *at: seen.append(at))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset.toml", "items", "judgments.csv"]
    assert seen[-1] == (1, 1)
    whole = tmp_path / "whole"
    whole.mkdir()
    fetch(Source("s3://shop/2026", everything=True), whole)
    assert (whole / "pictures" / "1.jpg").read_bytes() == b"not data"
    assert (whole / "items" / "part-1.parquet").exists()
    one = tmp_path / "one"
    one.mkdir()
    fetch(Source("s3://shop/2026/judgments.csv"), one)
    assert sorted(p.name for p in one.iterdir()) == ["dataset.toml", "judgments.csv"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://nobody/x", "s3://nobody/x does not exist, or holds nothing"),
        ("s3://shop/2027/", "s3://shop/2027/ does not exist, or holds nothing"),
        ("s3://shop/2026/pictures", None),
        ("gs://shop/x", "needs the package gcsfs: pip install gcsfs"),
        ("nothing://shop/x", "nothing://shop/x cannot be read: Protocol not known: nothing"),
        ("memory://empty", "memory://empty does not exist"),
    ],
)
def test_what_cannot_be_read(bucket: object, tmp_path: Path, url: str, said: str | None) -> None:
    if said is None:
        fetch(Source(url), tmp_path)
        assert (tmp_path / "1.jpg").exists()
    else:
        with pytest.raises(DataError, match=said):
            fetch(Source(url), tmp_path)


def test_refused_and_unreachable_stores(bucket: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DataError, match=r"s3://shop/2026 cannot be read \(credentials: AWS_ACCESS_KEY_ID") as caught:
        fetch(Source("s3://shop/2026"), tmp_path)
    assert SECRET not in str(caught.value)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", not_installed)
    with pytest.raises(
        DataError, match=r"pip install s3fs==2026\.9\.0 \(or all of them: pip install -r requirements-connect"
    ):
        fetch(Source("s3://shop/2026"), tmp_path)


def test_memory_and_names_that_would_leave_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/sidelight/shop/items.csv", b"item_id,title\n1,Lamp\n")
    store.pipe("/sidelight/shop/.hidden.csv", b"x")
    scratch = contextlib.nullcontext(tmp_path)
    with fetched(Source("memory://sidelight/shop"), scratch) as folder:
        assert folder == tmp_path / "shop"
        assert sorted(p.name for p in folder.iterdir()) == ["dataset.toml", "items.csv"]
        assert ingest(folder, tmp_path / "workspace").catalogue.settings.source == "memory://sidelight/shop"
    monkeypatch.setattr(
        type(store), "find",
        lambda *_, **__: {"/sidelight/shop/../../evil.csv": {"type": "file", "size": 1}},
    )  # fmt: skip
    with pytest.raises(DataError, match="lies outside the folder"):
        fetch(Source("memory://sidelight/shop"), tmp_path)
    monkeypatch.undo()
    store.rm("/sidelight", recursive=True)


def test_a_disk_that_is_too_small_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "from").mkdir()
    pq.write_table(table(0), tmp_path / "from" / "items.parquet")
    monkeypatch.setattr(objects.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match=r"GB to copy; the disk of .* has 0\.0 GB left"):
        fetch(Source(f"file://{tmp_path}/from"), tmp_path)


def test_one_file_of_a_web_server(tmp_path: Path) -> None:
    """A signed address: what follows `?` is a secret."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(ROOT / "data" / "sample"))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            fetch(Source(f"{where}/items.csv?X-Amz-Signature=hush-hush"), tmp_path)
            with pytest.raises(DataError) as caught:
                fetch(Source(f"{where}/none.csv?X-Amz-Signature=hush-hush"), tmp_path)
        finally:
            server.shutdown()
    assert (tmp_path / "items.csv").read_bytes() == (ROOT / "data" / "sample" / "items.csv").read_bytes()
    assert f'source = "{where}/items.csv"' in (tmp_path / "dataset.toml").read_text()
    assert "hush" not in str(caught.value)
    assert f"{where}/none.csv" in str(caught.value)


# -- parts


@pytest.mark.parametrize("name", ["items", "items.parquet"])
def test_a_local_table_in_parts(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "shop"
    for at, rows in (
        ("lang=de/part-0.parquet", table(0, price=pa.array([1, 2], pa.int32()))),
        ("lang=en/part-0.parquet", table(2, price=pa.array([1.5, None]))),
    ):
        path = folder / name / at
        path.parent.mkdir(parents=True)
        pq.write_table(rows, path)
    (folder / name / "_SUCCESS").touch()
    (folder / name / "_temporary.parquet").write_bytes(b"junk")
    (folder / "judgments.csv").write_text("query,item_id,grade\nlamp,1,3\n")
    items = ingest(folder, tmp_path / "workspace").catalogue.items
    assert items["item_id"].tolist() == ["0", "1", "2", "3"]
    assert items["price"].tolist()[:3] == [1.0, 2.0, 1.5]
    assert [json.loads(text)["lang"] for text in items["attributes"]] == ["de", "de", "en", "en"]


def test_parts_that_are_no_table(tmp_path: Path) -> None:
    parts = tmp_path / "items"
    parts.mkdir()
    pq.write_table(table(0), parts / "a.parquet")
    (tmp_path / "items.csv").write_text("item_id,title\n1,Lamp\n")
    with pytest.raises(DataError, match=r"items and items\.csv are both 'items'; keep one"):
        validate(tmp_path)
    (tmp_path / "items.csv").unlink()
    (parts / "b.parquet").write_bytes(b"cut short")
    with pytest.raises(DataError, match=r"items cannot be read as Parquet .*; it may be cut short"):
        validate(tmp_path)
    for path in parts.iterdir():
        pq.write_table(table(0, 0), path)
    with pytest.raises(DataError, match="items has no rows"):
        validate(tmp_path)
