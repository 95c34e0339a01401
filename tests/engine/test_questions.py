"""Named questions, the schema, and `engine query`: what other programs build on."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engine.cli import app, main
from engine.errors import ConfigError
from engine.store import questions, rows, schema
from engine.store.snapshot import SCHEMA_VERSION
from tests.conftest import Trained

ROOT = Path(__file__).parents[2]

FINGERPRINTS = {7: "7badf2de8310bb6d", 8: "a252177f4417b2af"}
"""What a schema version stands for. Changed schema.sql? Raise SCHEMA_VERSION, add its line here, tell it in CHANGELOG.md."""

COLUMNS = {
    "findings": "position severity kind title detail n of_n absolute relative low high traffic sure page params",
    "runs": "run_id method preset seed ranker baseline auc auc_lift low high p_value n_queries seconds created_at",
    "worse-queries": "query_id text frequency tier split ndcg_with ndcg_without difference",
    "losses": "verdict level feature n_pairs n_queries share share_found_without",
    "lost-target": "query_id query item_id title sid grade verdict level feature gap rank rank_without_sid first_stage_rank match_level",
    "ranking": "rank rank_without_sid item_id title category seller score score_without_sid match_level matched_prefix grade",
    "explain": "feature value rank score reference match_level matched_prefix",
    "code": "prefix level label label_score terms n_items n_sids typical_items purity category_entropy top_category n_categories n_sellers "
    "n_brands price_low price_median price_high exposure exposure_without n_queries query_weight dead under_used",
    "beams": "rank sid probability level_log_probs n_items label top_category",
    "exposure": "value verdict share share_without difference low high q_value n_items catalogue_share merit n_queries effective_n",
    "coverage": "category tier protected judged_by reason n_items in_beam in_top_k unshared purity auc_lift low high n_queries "
    "pooled_lift pooled_low pooled_high",
    "sharing": "sid reason n_items n_categories n_conflicts label top_category query_weight",
}  # fmt: skip
"""Promised in docs/programs.md: columns are added, none is renamed or removed."""


def test_a_schema_version_is_one_schema() -> None:
    assert FINGERPRINTS.get(SCHEMA_VERSION) == schema.fingerprint()


def test_the_schema_is_told_whole() -> None:
    with duckdb.connect() as connection:
        connection.execute((ROOT / "engine" / "store" / "schema.sql").read_text(encoding="utf-8"))
        known = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    told = {(t.name, c.name, c.type) for t in schema.tables() for c in t.columns}
    assert told == set(known)
    by_name = {t.name: {c.name: c for c in t.columns} for t in schema.tables()}
    assert by_name["snapshot"]["relevant_grade"].comment == "a grade at or above this is 'relevant'"
    assert by_name["runs"]["lacks"].comment.endswith("NULL: imported"), "a comment goes on over lines"
    assert by_name["findings"]["kind"].required
    assert not by_name["findings"]["detail"].required
    (ledger,) = (t for t in schema.tables() if t.name == "loss_ledger")
    assert ledger.about.startswith("Every judged pair at or above relevant_grade")
    assert ledger.section == "audit"


def test_the_documents_tell_the_same() -> None:
    assert (ROOT / "docs" / "schema.md").read_text(encoding="utf-8") == schema.markdown(SCHEMA_VERSION), (
        "python -m engine schema > docs/schema.md"
    )
    programs = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")
    for question in questions.QUESTIONS.values():
        assert f"| `{question.name}` | {question.sentence} |" in programs


def test_there_are_twelve_questions_with_the_promised_columns(trained: Trained) -> None:
    assert set(COLUMNS) == set(questions.QUESTIONS)
    assert len(COLUMNS) == 12
    path = trained.workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        given = questions.example(connection, trained.dsirm_run) | {"run": trained.dsirm_run}
        for question in questions.QUESTIONS.values():
            found = questions.ask(
                connection, question, {name: given[name] for name in question.parameters if name in given}
            )
            assert found.column_names == COLUMNS[question.name].split(), question.name
            if question.name not in ("sharing", "worse-queries"):  # nothing may be wrong there
                assert found.num_rows, question.name


def test_a_lost_target_is_told_as_the_ledger_tells_it(trained: Trained) -> None:
    path = trained.workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        ledger = connection.execute(
            "SELECT query_id, item_id, verdict, level, feature, rank FROM loss_ledger WHERE run_id = $1 "
            "QUALIFY row_number() OVER (PARTITION BY verdict, level ORDER BY query_id, item_id) <= 5",
            [trained.dsirm_run],
        ).fetchall()
        assert len({verdict for _, _, verdict, *_ in ledger}) >= 2
        for query_id, item_id, *expected in ledger:
            given = {"run": trained.dsirm_run, "query": query_id, "item": item_id}
            (told,) = questions.ask(connection, questions.QUESTIONS["lost-target"], given).to_pylist()
            assert [told["verdict"], told["level"], told["feature"], told["rank"]] == expected


def test_what_is_given_wrong_is_said() -> None:
    ranking = questions.QUESTIONS["ranking"]
    with pytest.raises(ConfigError, match="needs query"):
        questions.values(ranking, {})
    with pytest.raises(ConfigError, match="has no parameter 'item'; it has: run, query, limit"):
        questions.values(ranking, {"query": "x", "item": "y"})
    for limit in ("0", "-1", "x", "1e3", "100001", "²"):
        with pytest.raises(ConfigError, match="limit is a number"):
            questions.values(ranking, {"query": "x", "limit": limit})
    assert questions.values(ranking, {"query": "x"}) == {"run": None, "query": "x", "limit": 20}
    with pytest.raises(ConfigError, match="There is no question"):
        questions.find("rankings")


def test_rows_as_json_and_csv() -> None:
    table = pa.table({"a": [1.5, float("nan")], "b": [["x"], None], "c": ["=1", 'say "hi"']})
    assert json.loads(rows.as_json(table, {"question": "q"})) == {
        "question": "q", "n_rows": 2, "rows": [{"a": 1.5, "b": ["x"], "c": "=1"}, {"a": None, "b": None, "c": 'say "hi"'}],
    }  # fmt: skip
    assert list(csv.reader(io.StringIO(rows.as_csv(table)))) == [["a", "b", "c"], ["1.5", '["x"]', "=1"], ["", "", 'say "hi"']]  # fmt: skip


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["query", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_query_on_the_command_line(trained: Trained, tmp_path: Path) -> None:
    where = ["--workspace", str(trained.workspace)]
    told = json.loads(run("findings", *where, "-p", f"run={trained.dsirm_run}"))
    assert told["snapshot_id"] == trained.snapshot_id
    assert told["parameters"] == {"run": trained.dsirm_run}
    assert told["n_rows"] == len(told["rows"]) > 0
    text = run("exposure", *where, "-p", "dimension=category", "-p", "limit=3", "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(text)))) == 3
    file = tmp_path / "coverage.parquet"
    assert "coverage" in run("coverage", *where, "--output", str(file))
    table = pq.read_table(file)
    assert table.column_names == COLUMNS["coverage"].split()
    assert json.loads(table.schema.metadata[b"sidelight"])["snapshot_id"] == trained.snapshot_id
    listed = " ".join(run("--list").split())
    assert all(name in listed for name in questions.QUESTIONS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "There is no question 'nonsense'"),
        (["findings", "-p", "run"], "is no NAME=VALUE"),
        (["findings", "--format", "xml"], "Format 'xml' is unknown"),
        (["findings", "--format", "parquet"], "Parquet needs a file"),
        (["findings"], "No snapshot in"),
    ],
)
def test_query_says_what_is_wrong(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["engine", "query", *arguments, "--workspace", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert words in capsys.readouterr().err
