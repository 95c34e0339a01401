"""The README tells the truth: its commands exist, its tree is the tree, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import app

ROOT = Path(__file__).parents[1]
DOCS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
README = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else ""


def fenced(text: str) -> list[str]:
    """Lines of the fenced shell blocks."""
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def command_lines() -> list[tuple[str, str]]:
    """(document, line) of every `python -m engine ...`, `python -m app ...` and `make ...` in the documents."""
    found = []
    for path in DOCS:
        for line in fenced(path.read_text(encoding="utf-8")):
            line = line.removeprefix("$ ").split("#")[0].split("&&")[0].strip()
            line = re.sub(r"^(\S*/)?python3? -m", "python -m", line)
            if line.startswith(("python -m engine", "python -m app", "python -m tests", "make ")):
                found.append((path.name, line))
    return found


def test_there_is_a_readme_with_commands() -> None:
    lines = [line for name, line in command_lines() if name == "README.md"]
    assert "make demo" in lines
    assert "make test" in lines
    assert any(line.startswith("python -m engine ingest") for line in lines)


@pytest.mark.parametrize(("document", "line"), command_lines())
def test_commands_exist(document: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert words[1] in targets, f"{document}: make {words[1]}"
    elif words[2] == "engine":
        import typer

        commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        if words[3:] and not words[3].startswith("-"):
            assert words[3] in commands, f"{document}: engine {words[3]}"
            known = {
                name for parameter in commands[words[3]].params for name in (*parameter.opts, *parameter.secondary_opts)
            }
            if words[3] == "report":  # its options are those of the program that it starts
                shown = subprocess.run(
                    [sys.executable, "-m", "app.report", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
                )
                known |= set(re.findall(r"--?[a-z]+", shown.stdout))
            for word in words[4:]:
                if word.startswith("-"):
                    assert word.split("=")[0] in known | {"--help"}, f"{document}: {word} of engine {words[3]}"
    elif words[2] == "app":
        done = subprocess.run(
            [sys.executable, "-m", "app", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for word in words[3:]:
            if word.startswith("--"):
                assert word.split("=")[0] in done.stdout, f"{document}: {word} of app"
    else:
        assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").exists() or (
            ROOT / words[2].replace(".", "/")
        ).is_dir()


def situation(title: str) -> list[str]:
    """The commands of one of the README's situations of own data."""
    block = README.split(f"*{title}", 1)[1].split("```bash\n", 1)[1].split("```", 1)[0]
    return [line.strip() for line in block.splitlines() if line.strip()]


def run_lines(lines: list[str], folder: Path) -> list[str]:
    """Runs commands as they stand, in a folder of their own; their output."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "SIDELIGHT_WORKSPACE": str(folder / "workspace"), "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    said = []
    for line in lines:
        assert line.startswith("python -m engine ")
        command = [sys.executable, *shlex.split(line)[1:]]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        said.append(done.stdout)
    return said


def test_a_shopify_export_and_ratings_from_quepid(tmp_path: Path) -> None:
    kinds, makes = ["tray", "cap", "jar", "mug", "bowl", "lamp"], ["oak", "wool", "steel", "blue"]
    titles = [f"{make} {kind} {n} cm" for n in (10, 20, 30) for make in makes for kind in kinds]
    rows = ["Handle,Title,Body (HTML),Vendor,Product Category,Type,Variant SKU,Variant Price,Image Src"]
    for n, title in enumerate(titles):
        handle = title.replace(" ", "-")
        rows += [
            f"{handle},{title},<p>Fine</p>,Halden,Home > {title.split()[1]}s,,S{n},{n}.50,a.jpg",
            f"{handle},,,,,,L{n},{n}.90,",
        ]
    (tmp_path / "products_export.csv").write_text("\n".join(rows))
    ratings = [
        f"{query},{title.replace(' ', '-')},{3 if query in title else n % 2}"
        for query in (*kinds, *makes, *(f"{make} {kind}" for make in makes for kind in kinds))
        for n, title in enumerate(titles)
        if query in title or n % 9 == 0
    ]
    (tmp_path / "quepid_ratings.csv").write_text("query,docid,rating\n" + "\n".join(ratings))
    ingested, _, published = run_lines(situation("A Shopify export"), tmp_path)
    assert "item_id = 'Handle'" in ingested
    assert "72 × products_export.csv: variants and pictures of a product" in ingested
    assert "Published" in published


def test_sids_that_lc_rec_made(tmp_path: Path) -> None:
    folder = tmp_path / "Instruments"
    folder.mkdir()
    index = {str(n): [f"<a_{n % 4}>", f"<b_{n % 5}>", f"<c_{n}>"] for n in range(40)}
    items = {str(n): {"title": f"Drum {n}", "categories": f"Music,Drums {n % 4}"} for n in range(40)}
    (folder / "Instruments.index.json").write_text(json.dumps(index))
    (folder / "Instruments.item.json").write_text(json.dumps(items))
    looked, _, published = run_lines(situation("SIDs that LC-Rec made"), tmp_path)
    assert "python -m engine import Instruments/" in looked
    assert "Published" in published


def test_tree_is_the_tree() -> None:
    """Every path of the README's file tree exists."""
    block = re.search(r"```text\n(.*?)```", README, flags=re.DOTALL)
    assert block, "the README shows the file tree in a ```text block"
    stack: list[tuple[int, str]] = []
    checked = 0
    for line in block.group(1).splitlines():
        match = re.match(r"^(\s*)(\S+)", line)
        if not match:
            continue
        indent, name = len(match.group(1)), match.group(2).rstrip(",")
        stack = [(i, n) for i, n in stack if i < indent]
        path = ROOT.joinpath(*[n for _, n in stack], name)
        if name != "data/workspace/":
            assert path.exists(), f"{path.relative_to(ROOT)} is in the README's tree and not in the repository"
        checked += 1
        if name.endswith("/"):
            stack.append((indent, name))
    assert checked > 15


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
