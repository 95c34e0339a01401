"""The one-page answer from the command line: the page's own words and numbers, those of SQL, and names of any kind."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from exact_ranker import only_snapshot
from filled_snapshot import HOSTILE
from streamlit.testing.v1 import AppTest
from told import told

from app import report

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]
ROOT = Path(__file__).parents[2]
NAMES = {
    "markup": '<img src=x onerror="window.__ran=1"><script>window.__ran=1</script>',
    "emoji": "👩‍👩‍👧 🛋️ שלום",
    "equals": "=1+1 & a=b; $(touch x) 'q' \"d\" `b` \\",
    "turned": "\u202eright-to-left",
    "long": "unbroken" * 60,
    "lines": "two\nlines",
}


def words(path: Path) -> list[str]:
    """Every text of a file, one an element."""
    body = path.read_text(encoding="utf-8").split("</style>")[1]
    return [" ".join(html.unescape(part).split()) for part in re.split(r"<[^>]+>", body) if part.strip()]


def written(workspace: Path, out: Path, of: str, *more: str) -> list[str]:
    assert report.main(["-w", str(workspace), "--of", of, "--out", str(out), *more]) == 0
    return words(out)


@pytest.mark.parametrize(
    ("dimension", "discount"), [("seller", "log2"), ("category", "click"), ("brand", "top10"), ("price_band", "log2")]
)
def test_it_says_what_the_page_says_and_what_sql_says(
    true_page: Page, true_workspace: Path, sql: Sql, tmp_path: Path, dimension: str, discount: str
) -> None:
    rows = sql(
        """SELECT "value", share, share_without, difference, n_items, n_queries, effective_n FROM exposure
           WHERE run_id = (SELECT default_run FROM snapshot) AND dimension = ? AND discount = ? ORDER BY difference""",
        dimension, discount,
    )  # fmt: skip
    for value, share, without, change, items, queries, effective in (rows[0], rows[-1]):
        page = true_page("sellers", dimension=dimension.replace("_", " "), discount=discount, value=str(value))
        assert not page.exception
        lines = written(true_workspace, tmp_path / "a.html", f"{dimension}={value}", "--discount", discount)
        shown = " ".join(told(page))
        cards = {f"{m.label}: {m.value}" for m in page.metric}
        end = lines.index("What moved its items, in percentage points of all exposure") if change else len(lines)
        for place, line in enumerate(lines[:end]):
            card = any(line in text for text in cards)
            assert card or line in shown, (place, line)
        said = " ".join(lines)
        assert (
            f"it had {100 * without:.2f} % of all exposure without them and has {100 * share:.2f} % with them" in said
        )
        assert f", {100 * change:+.3f} pp" in said
        assert f"{100 * without:.2f} % without; {items:,} item" in said
        assert f"worth {effective:,.0f} equally frequent ones" in said
        assert f"among the results of {queries:,} quer" in said
        bars = re.findall(r"[+-]\d+\.\d{4} pp", " ".join(lines[end:]))
        stored = sql(
            """SELECT net FROM causes WHERE run_id = (SELECT default_run FROM snapshot) AND dimension = ? AND discount = ?
               AND "value" = ? AND told = 'signal' ORDER BY abs(net) DESC LIMIT 8""",
            dimension, discount, value,
        )  # fmt: skip
        assert bars == [f"{100 * net:+.4f} pp" for (net,) in stored]


def test_the_pages_command_writes_the_pages_file(open_page: Page, workspace: Path, tmp_path: Path) -> None:
    for dimension, value, more in (("seller", "Alpha", {}), ("other", HOSTILE, {"attribute": "colour"})):
        page = open_page("sellers", workspace, dimension=dimension, value=value, discount="click", **more)
        [command] = [c.value for c in page.code if "--of" in c.value]
        python, m, engine, name, *line = shlex.split(command)
        assert (python, m, engine, name) == ("python", "-m", "engine", "report")
        line[line.index("--out") + 1] = str(tmp_path / "a.html")
        assert report.main(["-w", str(workspace), *line]) == 0
        shown = " ".join(told(page))
        lead = next(line for line in words(tmp_path / "a.html") if "with semantic identifiers: it had" in line)
        assert lead in shown
        assert "A place counts by click" in " ".join(words(tmp_path / "a.html"))


def renamed(workspace: Path, name: str) -> None:
    with duckdb.connect(str(only_snapshot(workspace))) as connection:
        connection.execute("UPDATE items SET seller = ? WHERE seller = 'Alpha'", [name])
        for table in ("exposure", "causes"):
            connection.execute(
                f"UPDATE {table} SET \"value\" = ? WHERE dimension = 'seller' AND \"value\" = 'Alpha'", [name]
            )
        connection.execute("UPDATE items SET title = title || ?", [name])


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_name_is_text(own_workspace: Path, workspace: Path, tmp_path: Path, name: str) -> None:
    plain = written(workspace, tmp_path / "plain.html", "seller=Alpha")
    renamed(own_workspace, name)
    lines = written(own_workspace, tmp_path / "a.html", f"seller={name}")
    made = (tmp_path / "a.html").read_text(encoding="utf-8")
    tags = set(re.findall(r"<(\w+)", made))
    assert tags == set(re.findall(r"<(\w+)", (tmp_path / "plain.html").read_text(encoding="utf-8")))
    assert not re.search(r"<script|<link|\ssrc=|\shref=|url\(", html.unescape(re.sub(r"&lt;.*?&gt;", "", made)))
    assert "\u202e" not in made
    assert len(lines) == len(plain)
    assert lines[1] == plain[1].replace("Alpha", " ".join(name.replace("\u202e", "").split()))[:119].rstrip() + "…" * (
        len(name) > 120
    )
    digits = re.compile(r"[+-]\d+\.\d+ pp")
    assert digits.findall(" ".join(lines)) == digits.findall(" ".join(plain))


def test_whatever_the_case(workspace: Path, tmp_path: Path) -> None:
    assert written(workspace, tmp_path / "a.html", "seller= alpha ") == written(
        workspace, tmp_path / "b.html", "seller=Alpha"
    )


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("seller=Alpho", "no seller is called 'Alpho'; did you mean 'Alpha'?"),
        ("seller=0815", "no seller is called '0815'; there are 3 sellers, such as '"),
        ("seller=", "no seller is called ''; there are 3 sellers, such as '"),
        ("shop=Alpha", "--of 'shop=Alpha' must be WHO=NAME, such as 'seller=Blue Barn'; WHO is one of: seller, category, brand"),
        ("Alpha", "--of 'Alpha' must be WHO=NAME"),
        ("colour=reds", "no colour is called 'reds'; did you mean 'red'?"),
        ("seller=\x1b[2J", "no seller is called '\\x1b[2J'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_with_what_is_near(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], of: str, said: str
) -> None:
    assert report.main(["-w", str(workspace), "--of", of, "--out", str(tmp_path / "a.html")]) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "a.html").exists()


def test_a_run_without_an_audit_says_so(bare_workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["-w", str(bare_workspace), "--of", "seller=Alpha"]) == 1
    assert "holds no exposure audit" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        ["--of", "seller=Alpha", "--base", "x"],
        ["--of", "seller=Alpha", "--csv", "t"],
        ["--discount", "click"],
        ["--config", "g"],
    ],
)
def test_options_of_the_other_kind_are_wrong_usage(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        report.main(line)
    assert "usage: python -m engine report" in capsys.readouterr().err


def test_an_unknown_discount_names_the_known(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["-w", str(workspace), "--of", "seller=Alpha", "--discount", "free"]) == 1
    assert "--discount 'free' is unknown; allowed: log2" in capsys.readouterr().err


def test_the_engines_command_with_examples(own_workspace: Path, tmp_path: Path) -> None:
    command, leases = [sys.executable, "-m", "engine", "report"], own_workspace / "snapshots" / "leases"
    before = sorted(leases.glob("*"))
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert 'python -m engine report --of "seller=Blue Barn" --out answer.html' in shown
    done = subprocess.run(
        [*command, "-w", str(own_workspace), "--of", "seller=Alpha"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"answer\.html: \d+ KB, Seller Alpha, run \S+ of snap-\S+\n", done.stdout)
    assert (tmp_path / "answer.html").is_file()
    assert sorted(leases.glob("*")) == before
