"""Documents that people write beside the snapshots: whole, one writer after the other, and never a path of somebody's choice."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError
from engine.store import kept as module
from engine.store.kept import Kept


def _count(said: dict[str, Any]) -> dict[str, Any]:
    return said | {"n": said.get("n", 0) + 1}


def test_what_is_kept_is_read_again_whatever_it_says(tmp_path: Path) -> None:
    said = {"صف": ["lamp", "\ud800 half a letter", "<b>"], "": {}}
    assert Kept(tmp_path, "names").read() == {}
    assert Kept(tmp_path, "names").update(lambda _: said) == said
    assert Kept(tmp_path, "names").read() == said
    assert Kept(tmp_path, "other").read() == {}


def test_writers_of_one_process_and_of_several_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from engine.store.kept import Kept\n"
        "for _ in range(20): Kept(Path(sys.argv[1]), 'counted').update(lambda s: s | {'n': s.get('n', 0) + 1})"
    )
    others = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Kept(tmp_path, "counted").update(_count), range(40)))
    assert [other.wait(timeout=60) for other in others] == [0, 0]
    assert Kept(tmp_path, "counted").read() == {"n": 80}
    assert not list(tmp_path.glob("kept/*.tmp"))


def test_a_change_that_fails_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path, "names")
    kept.update(_count)
    with pytest.raises(ZeroDivisionError):
        kept.update(lambda said: {"n": 1 / 0})
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(DataError, match=r"names\.json would have"):
        kept.update(lambda said: said | {"long": "x" * 20})
    assert kept.read() == {"n": 1}


@pytest.mark.parametrize("broken", ["{", "[1]", "\xff"])
def test_a_file_that_is_no_document_is_named(tmp_path: Path, broken: str) -> None:
    kept = Kept(tmp_path, "names")
    kept.update(_count)
    kept.path.write_bytes(broken.encode("latin-1"))
    with pytest.raises(DataError, match=r"names\.json"):
        kept.read()
    with pytest.raises(DataError, match=r"names\.json"):
        kept.update(_count)
