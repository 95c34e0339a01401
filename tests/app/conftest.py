"""Workspaces for the dashboard's tests, from full to missing, and a page opened the way a browser opens it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from exact_ranker import write_exact_ranker
from filled_snapshot import OTHER_RUN, RUN, write_snapshot
from streamlit.testing.v1 import AppTest

from engine.store.snapshot import open_snapshot
from tests.conftest import Trained

MAIN = Path(__file__).parents[2] / "app" / "main.py"


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every table filled; scores, contributions and exposure that really follow from a stored ranker. Read-only."""
    folder = tmp_path_factory.mktemp("full")
    write_exact_ranker(write_snapshot(folder))
    return folder


@pytest.fixture(scope="session")
def boosted_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `workspace`, ranked by boosted trees. Read-only."""
    folder = tmp_path_factory.mktemp("boosted")
    write_exact_ranker(write_snapshot(folder, runs=(OTHER_RUN,)))
    return folder


@pytest.fixture(params=["mlp", "boosted"])
def ranked_workspace(request: pytest.FixtureRequest) -> Path:
    """`workspace`, then `boosted_workspace`: what must hold whatever the ranker is."""
    return request.getfixturevalue("workspace" if request.param == "mlp" else "boosted_workspace")


@pytest.fixture(scope="session")
def two_runs_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run ranked by an MLP and one ranked by boosted trees. Read-only."""
    folder = tmp_path_factory.mktemp("two")
    write_exact_ranker(write_snapshot(folder, runs=(RUN, OTHER_RUN)))
    return folder


@pytest.fixture(scope="session")
def bare_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot that knows its runs and nothing else. Read-only."""
    folder = tmp_path_factory.mktemp("bare")
    write_snapshot(folder, fill="bare")
    return folder


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot without a single run. Read-only."""
    folder = tmp_path_factory.mktemp("empty")
    write_snapshot(folder, fill="empty")
    return folder


@pytest.fixture
def own_workspace(workspace: Path, tmp_path: Path) -> Path:
    """A copy of the full workspace that a test may change."""
    return Path(shutil.copytree(workspace, tmp_path / "workspace"))


@pytest.fixture
def cursor(workspace: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only cursor on the full snapshot."""
    (path,) = (workspace / "snapshots").glob("*.duckdb")
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


@pytest.fixture
def bare_cursor(bare_workspace: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only cursor on the snapshot without rows."""
    (path,) = (bare_workspace / "snapshots").glob("*.duckdb")
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """`open_page(view, workspace, **query_params)`: the page, already run from the entry point."""

    def opened(view: str, workspace: Path, /, **query_params: str) -> AppTest:
        monkeypatch.setenv("SIDELIGHT_WORKSPACE", str(workspace))
        page = AppTest.from_file(str(MAIN), default_timeout=60)
        page.run()
        if view != "overview":
            page.switch_page(f"views/{view}.py")
        for name, value in query_params.items():
            page.query_params[name] = value
        return page.run()

    return opened


@pytest.fixture(scope="session")
def true_workspace(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A marketplace that was really trained: the shared tiny one, or the workspace that SIDELIGHT_TRUE_WORKSPACE names."""
    if named := os.environ.get("SIDELIGHT_TRUE_WORKSPACE"):
        return Path(named)
    return Path(shutil.copytree(trained.workspace, tmp_path_factory.mktemp("true") / "workspace"))


@pytest.fixture
def true_page(open_page: Callable[..., AppTest], true_workspace: Path) -> Callable[..., AppTest]:
    """`true_page(view, **query_params)`: a page of that workspace, whose sentences and counts are held against `sql`."""
    return lambda view, /, **params: open_page(view, true_workspace, **params)


@pytest.fixture(scope="session")
def sql(true_workspace: Path) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """`sql(query, *values)`: rows of the snapshot that `true_page` shows."""
    snapshot = open_snapshot(true_workspace)
    yield lambda query, *values: snapshot.cursor().execute(query, list(values)).fetchall()
    snapshot.close()
