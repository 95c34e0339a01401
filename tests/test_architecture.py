"""The arrows of the design, kept by reading imports: who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("engine/**/*.py"), *ROOT.glob("app/**/*.py")])

BASE = {"errors", "config", "progress", "threads", "logs", "on_ray", "leftovers", "seal"}
PARTS = {
    "datasets", "encoders", "quantizers", "generator", "relevance", "audit", "evaluation", "projection", "store",
}  # fmt: skip
ALLOWED = {
    **{name: BASE for name in BASE},
    "checkpoint": BASE,
    **{name: BASE | {name} for name in PARTS},
    **{name: BASE | {name, "checkpoint"} for name in ("quantizers", "generator")},
    "runs": BASE | PARTS,
    "labeling": BASE | PARTS | {"runs", "problem", "labeling"},
    "problem": BASE | PARTS | {"runs", "problem"},
    "assigning": BASE | PARTS | {"runs", "problem", "assigning"},
    "answering": BASE | PARTS | {"runs", "problem", "assigning", "answering"},
    "learning": BASE | PARTS | {"runs", "problem", "answering", "learning"},
    "reporting": BASE | PARTS | {"runs", "problem", "reporting"},
    "pipeline": BASE | PARTS | {"runs", "problem", "assigning", "answering", "learning", "labeling", "reporting"},
    "importing": BASE | PARTS | {"runs", "problem", "reporting", "importing"},
    "ablation": BASE | PARTS | {"runs", "problem", "pipeline", "ablation"},
    "console": BASE | {"runs"},
    "mcp": BASE | {"store"},
    "cli": BASE | PARTS
           | {"runs", "problem", "labeling", "assigning", "answering", "reporting", "pipeline", "importing", "ablation", "console", "mcp", "cli"},
    "__main__": {"cli"},
    "__init__": set(),
}  # fmt: skip
"""For each part of the engine, the parts it may import."""

APP_MAY_IMPORT = ("engine.store", "engine.leftovers", "engine.errors", "engine.logs", "engine.audit", "engine.answering.live", "engine.labeling.naming",
                  "engine.labeling.prompt",
                  "engine.relevance.attribution", "engine.relevance.scorer", "engine.relevance.prefix",
                  "engine.relevance.trees", "engine.relevance.table", "engine.relevance.words")  # fmt: skip
DUCKDB_HOMES = ("engine/store/", "engine/datasets/", "engine/reporting/answers.py", "app/queries/", "app/fetch.py")
HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "umap", "faiss", "lightgbm", "scipy.stats")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Full dotted names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def engine_part(dotted: str) -> str | None:
    """'engine.relevance.scorer.Scorer' -> 'relevance'."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "engine" and len(parts) > 1 else None


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [f for f in FILES if relative(f).startswith("engine/")], ids=relative)
def test_engine_arrows(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[1]
    assert own in ALLOWED, f"{own} has no place in the design: add it to ALLOWED with its arrows"
    for name in imports(path):
        assert name.split(".")[0] not in {"app", "streamlit"}, f"engine imports {name}"
        part = engine_part(name)
        assert part is None or part in ALLOWED[own] | {"__version__"}, f"{own} may not import engine.{part}"


@pytest.mark.parametrize("path", [f for f in FILES if relative(f).startswith("app/")], ids=relative)
def test_app_arrows(path: Path) -> None:
    where = relative(path)
    for name in imports(path):
        if name.split(".")[0] == "engine":
            assert name.startswith(APP_MAY_IMPORT), f"the app may not import {name}"
        if where.startswith(("app/queries/", "app/charts/", "app/text.py")):
            assert name.split(".")[0] != "streamlit", f"{where} imports streamlit"
    for name in imports(path, top_level_only=True):
        assert not name.startswith(("engine.answering", "engine.labeling")), f"{where} must import {name} lazily"
        assert not name.startswith(HEAVY), f"{where} imports {name} at start"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_duckdb_stays_home(path: Path) -> None:
    if not relative(path).startswith(DUCKDB_HOMES):
        assert "duckdb" not in {name.split(".")[0] for name in imports(path)}, "duckdb is imported elsewhere"


@pytest.mark.parametrize("path", sorted(ROOT.glob("app/views/*.py")), ids=relative)
def test_views_hold_no_sql(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.upper().split()
            assert not ("SELECT" in words and "FROM" in words), f"{path.name}:{node.lineno} holds SQL"


def test_app_starts_without_torch() -> None:
    """Importing every module of the app, as its first page does, pulls no heavy library."""
    code = (
        "import importlib, pkgutil, sys, app\n"
        "for m in pkgutil.walk_packages(app.__path__, 'app.'):\n"
        "    m.name.endswith(('__main__', '.main')) or m.name.startswith('app.views.') or importlib.import_module(m.name)\n"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "sys.exit(f'imported at start: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_pages_folder() -> None:
    """Streamlit would turn it into pages of its own."""
    assert not (ROOT / "app" / "pages").exists()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_names_say_something(path: Path) -> None:
    assert path.stem not in {"utils", "helpers", "misc", "common", "manager"}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_file_is_run_as_code(path: Path) -> None:
    """docs/security.md: no pickle is unpacked, nothing is evaluated, no shell takes a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert not re.fullmatch(
            r"eval|exec|os\.system|(pickle|joblib|dill|marshal)\..*|.*\.(read_pickle|unsafe_load)", name
        )
        assert "True" not in (given.get("shell"), given.get("allow_pickle"), given.get("trust_remote_code")), (
            node.lineno
        )
        assert name != "torch.load" or given.get("weights_only") == "True", node.lineno
