"""Pages of imported runs: every page opens, and says in a sentence what was not among the imported files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.imported_files import write_files

Open = Callable[..., AppTest]
VIEWS = ("overview", "codebook", "coverage", "query", "explain", "what_if", "sellers", "data")
FILES = {
    "everything": {},
    "no probabilities": {"log_prob": False},
    "sids": {"beams": False, "scores": False},
    "sids and beams": {"scores": False},
    "sids and scores with SIDs": {"beams": False, "without": False},
    "scores": {"sids": False, "beams": False},
    "beams": {"sids": False, "scores": False},
    "sids alone, unjudged": {"beams": False, "scores": False, "judgments": False},
}


@pytest.fixture(scope="module", params=list(FILES))
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    from engine import pipeline
    from engine.config import preset
    from engine.importing.run import ImportSettings, import_run

    folder = tmp_path_factory.mktemp("imported")
    config = preset("tiny")
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, exposure_resamples=200))
    files = write_files(folder / "files", **FILES[request.param])
    made = import_run(files, folder / "ws", ImportSettings(config, embed=False))
    pipeline.publish(folder / "ws", [made.run.run_id])
    return request.param, folder / "ws"


def said(page: AppTest) -> str:
    assert not page.exception, page.exception[0].value
    assert not page.error, page.error[0].value
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "metric", "text")
    return "\n".join(str(e.value) for kind in kinds for e in page.get(kind)).replace("\\", "")


@pytest.mark.parametrize("view", VIEWS)
def test_pages_open_and_name_what_is_missing(open_page: Open, imported: tuple[str, Path], view: str) -> None:
    case, workspace = imported
    words = said(open_page(view, workspace))
    assert "This run was imported" in words
    missing = {
        "everything": None,
        "no probabilities": "probabilities of beams",
        "sids": "beams, scores with SIDs and scores without SIDs",
        "sids and beams": "scores with SIDs and scores without SIDs",
        "sids and scores with SIDs": "beams and scores without SIDs",
        "scores": "SIDs and beams",
        "beams": "SIDs, scores with SIDs and scores without SIDs",
        "sids alone, unjudged": "beams, scores with SIDs and scores without SIDs",
    }[case]
    assert ("were not among its files" in words) == (missing is not None)
    assert missing is None or f"{missing[:1].upper()}{missing[1:]} were not among its files" in words
    assert "nan" not in words.lower().replace("finance", "").split()


@pytest.mark.parametrize("view", ["Beams", "Ranking", "Where was it lost?"])
def test_a_query_of_the_files(open_page: Open, imported: tuple[str, Path], view: str) -> None:
    case, workspace = imported
    words = said(open_page("query", workspace, q="kettle 0", view=view))
    if case.startswith("sids alone"):
        assert "no model" in words
    elif view == "Beams" and case in ("everything", "no probabilities", "sids and beams"):
        assert "search tree" in words


def test_a_pair_of_the_files(open_page: Open, imported: tuple[str, Path]) -> None:
    _, workspace = imported
    words = said(open_page("explain", workspace, q="kettle 0", item="i00"))
    assert "nan" not in words.lower().split()


def test_a_category(open_page: Open, imported: tuple[str, Path]) -> None:
    case, workspace = imported
    words = said(open_page("coverage", workspace, category="Home > Kettles"))
    if case in ("scores", "beams"):
        assert "This run was imported, and SIDs were not among its files." in words
        return
    assert ("not judged" in words.lower()) == (case not in ("everything", "no probabilities"))


def test_the_files_of_the_import_are_told(open_page: Open, imported: tuple[str, Path]) -> None:
    case, workspace = imported
    page = open_page("data", workspace)
    words = said(page)
    (files,) = (f.value for f in page.dataframe if "n_read" in f.value.columns)
    own = {"sids", "beams", "scores"}
    if case == "everything":
        assert own <= set(files["table"])
    assert len(files["file"].unique()) == len(files)
    assert f"rows of {len(files)} files were read" in words
    assert (files["n_read"] == files["n_accepted"] + files["n_rejected"] + files["n_skipped"]).all()
