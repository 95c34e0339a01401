"""The judge over real HTTP on 127.0.0.1: structured answers, every kind of failure, resume, agreement, export."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from engine.datasets.contract import Catalogue
from engine.datasets.ingest import ingest
from engine.errors import ConfigError, DataError, RunError
from engine.labeling.agreement import POOLED, cohen_kappa, human_ceiling, measure_agreement, quadratic_kappa
from engine.labeling.answers import ANSWERS, AnswerStore, judge_folder, read_answers, write_settings
from engine.labeling.endpoint import Endpoint, EndpointError, EndpointSettings, Refused, Unreachable
from engine.labeling.judge import Plan, Prices, Tally, make_plan, run_plan
from engine.labeling.pairs import Choice, PairTexts, choose_pairs, human_judgments, individual_ratings, read_ratings
from engine.labeling.prompt import MalformedAnswer, Prompt, Shown
from engine.labeling.report import Exported, Terms, export, report, write_agreement
from engine.runs import write_text
from tests.conftest import ROOT
from tests.engine.judge_server import Asked, JudgeServer, Said, failing, graded

INDIVIDUAL = ROOT.parent / "shared" / "data" / "icecat" / "ratings_individual.csv"
MESSAGES = [{"role": "user", "content": json.dumps({"query": "kettle", "item": {"title": "kettle"}})}]
PROMPT = Prompt.for_scale(3)


def settings(server: JudgeServer, **changes: Any) -> EndpointSettings:
    quick = {"url": server.url, "model": "stand-in", "backoff": 0.01, "timeout": 5.0, "tries": 4}
    return EndpointSettings(**{**quick, **changes})


def ask(server: JudgeServer, times: int = 1, **changes: Any) -> list[Any]:
    async def all_of_them() -> list[Any]:
        async with Endpoint(settings(server, **changes)) as endpoint:
            return [await endpoint.ask(MESSAGES, PROMPT.response_format) for _ in range(times)]

    return asyncio.run(all_of_them())


def script(*said: Said) -> Callable[[Asked], Said]:
    """The n-th request gets the n-th word, later ones the last."""
    return lambda asked: said[min(asked.number, len(said)) - 1]


class Sample:
    """The committed sample dataset, ingested."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.catalogue: Catalogue = ingest(ROOT / "data" / "sample", workspace).catalogue
        self.texts = PairTexts(self.catalogue)
        self.people = human_judgments(workspace, self.catalogue)
        shown = [self.texts.of(q, i) for q, i in zip(self.people["query_id"], self.people["item_id"], strict=True)]
        self.grade = {(s.query, s.title): g for s, g in zip(shown, self.people["grade"], strict=True)}

    def pairs(self, kind: str = "judged", **how: Any) -> pd.DataFrame:
        return choose_pairs(Choice(kind, **how), self.workspace, self.catalogue, self.people)

    def run(self, server: JudgeServer, pairs: pd.DataFrame | None = None, **changes: Any) -> tuple[Tally, Path]:
        how = {k: changes.pop(k) for k in ("limit", "retry_failed", "prices") if k in changes}
        chosen = settings(server, **changes)
        folder = judge_folder(self.workspace, self.catalogue.fingerprint, PROMPT, chosen)
        write_settings(folder, self.catalogue.fingerprint, PROMPT, chosen)
        plan = make_plan(self.pairs() if pairs is None else pairs, self.texts, PROMPT, read_answers(folder), **how)
        prices = how.get("prices", Prices())
        return run_plan(plan, self.texts, PROMPT, chosen, folder, prices=prices), folder


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "workspace")


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ANSWERS).read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------- prompt


def test_prompt_shows_the_pair_as_data_and_every_grade() -> None:
    shown = Shown(
        "kettle", "Steel kettle", "Halden", "Home > Kettles", '{"colour": "steel", "empty": "", "litres": 1.7}'
    )
    system, user = PROMPT.messages(shown)
    assert json.loads(user["content"]) == {
        "query": "kettle",
        "item": {
            "title": "Steel kettle", "brand": "Halden", "category": "Home > Kettles",
            "attributes": {"colour": "steel", "litres": "1.7"},
        },
    }  # fmt: skip
    assert all(f"\n{grade} = " in system["content"] for grade in range(4))
    bare = json.loads(PROMPT.messages(Shown("k" * 5000, "t" * 1_000_000, None, None, "not JSON"))[1]["content"])
    assert set(bare["item"]) == {"title"}
    assert (len(bare["query"]), len(bare["item"]["title"])) == (301, 401)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ('{"reason": "a", "grade": 2}', 2),
        ('Sure!\n```json\n{"grade": 3, "reason": "it has {braces}"}\n```', 3),
        ('<think>{"grade": 0} or so</think> {"reason": "b", "grade": "1"}', 1),
        ('{"grade": 0}\nNo, better: {"reason": "c", "grade": 2.0}', 2),
    ],
)
def test_answers_are_found_in_text(text: str, grade: int) -> None:
    assert PROMPT.read(text).grade == grade


@pytest.mark.parametrize(
    "text",
    ["", "grade 3", '{"reason": "x"}', '{"grade": 4}', '{"grade": -1}', '{"grade": 1.5}', '{"grade": true}',
     '{"grade": null}', '{"grade": NaN}', '{"grade": "high"}', '{"reason": "cut off", "grade": ', "[3]",
     "<think>so the grade {"],
)  # fmt: skip
def test_malformed_answers_are_refused(text: str) -> None:
    with pytest.raises(MalformedAnswer):
        PROMPT.read(text)


def test_prompt_fingerprint_follows_every_word(tmp_path: Path) -> None:
    own = tmp_path / "grades.toml"
    own.write_text('[grades]\n1 = "no"\n2 = "some"\n3 = "yes"\n', encoding="utf-8")
    prompt = Prompt.from_file(own, 3)
    assert prompt.scale == (1, 2, 3)
    assert len({prompt.fingerprint, PROMPT.fingerprint, Prompt.for_scale(4).fingerprint}) == 3
    assert PROMPT.fingerprint == Prompt.for_scale(3.0).fingerprint
    with pytest.raises(MalformedAnswer):
        prompt.read('{"grade": 0}')
    own.write_text('[grades]\n1 = "no"\n4 = "yes"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="grade '4'"):
        Prompt.from_file(own, 3)
    with pytest.raises(ConfigError, match="--grades"):
        Prompt.for_scale(2.5)
    assert all(Prompt.for_scale(top).scale == tuple(range(top + 1)) for top in range(1, 11))


# ---------------------------------------------------------------- one request, whatever happens


def test_schema_key_and_settings_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    with JudgeServer(lambda asked: graded(2)) as server:
        (reply,) = ask(server, key_env="JUDGE_KEY", max_tokens=99, seed=5)
    (asked,) = server.asked
    assert asked.headers["Authorization"] == "Bearer sk-secret"
    schema = asked.body["response_format"]["json_schema"]
    assert (asked.body["response_format"]["type"], schema["strict"]) == ("json_schema", True)
    assert schema["schema"]["properties"]["grade"]["enum"] == [0, 1, 2, 3]
    assert {k: asked.body[k] for k in ("model", "temperature", "max_tokens", "seed")} == {
        "model": "stand-in", "temperature": 0.0, "max_tokens": 99, "seed": 5,
    }  # fmt: skip
    assert (reply.structured, reply.tokens_in, reply.tokens_out, reply.estimated) == (True, 300, 20, False)


def test_refused_response_format_is_left_out_from_then_on() -> None:
    def answer(asked: Asked) -> Said:
        if "response_format" in asked.body:
            return failing(400, "Either json_schema or grammar can be specified, but not both")
        return Said('Here you are: {"reason": "fits", "grade": 3}')

    with JudgeServer(answer) as server:
        replies = ask(server, times=3)
    assert [PROMPT.read(r.text).grade for r in replies] == [3, 3, 3]
    assert not any(r.structured for r in replies)
    assert ["response_format" in a.body for a in server.asked] == [True, False, False, False]


def test_other_parameters_are_dropped_only_where_that_helps() -> None:
    def newer(asked: Asked) -> Said:
        if "max_tokens" in asked.body:
            return failing(400, "Unsupported parameter: use 'max_completion_tokens' instead")
        if "temperature" in asked.body:
            return failing(400, "'temperature' does not support 0.0 with this model")
        return graded(1)

    with JudgeServer(newer) as server:
        assert len(ask(server, times=2)) == 2
    assert len(server.asked) == 4
    assert set(server.asked[-1].body) == {"model", "messages", "response_format", "seed", "max_completion_tokens"}

    def too_long(asked: Asked) -> Said:
        return failing(400, "too long, sunflower seeds") if asked.number <= 3 else graded(1)

    async def refuse_then_answer(server: JudgeServer) -> bool:
        async with Endpoint(settings(server)) as endpoint:
            with pytest.raises(Refused, match="too long"):
                await endpoint.ask(MESSAGES, PROMPT.response_format)
            return (await endpoint.ask(MESSAGES, PROMPT.response_format)).structured

    with JudgeServer(too_long) as server:
        assert asyncio.run(refuse_then_answer(server)), "one bad request must not cost the schema of all others"
    assert {"seed", "response_format"} <= set(server.asked[-1].body)


def test_a_server_that_repeats_the_request_costs_the_schema_alone(sample: Sample) -> None:
    def echo(asked: Asked) -> Said:
        return failing(422, f"bad request: {asked.body}") if "response_format" in asked.body else graded(1)

    with JudgeServer(echo) as server:
        _, folder = sample.run(server, limit=2, parallel=1)
    assert {"temperature", "seed", "max_tokens"} <= set(server.asked[-1].body)
    assert [r["left_out"] for r in records(folder)] == [["response_format"]] * 2


def test_half_of_a_surrogate_pair_is_sent_and_kept(sample: Sample) -> None:
    with JudgeServer(script(Said("a cut emoji \ud83d"), graded(2))) as server:
        tally, folder = sample.run(server, limit=1)
    assert tally.ok == 1
    assert server.asked[1].body["messages"][2]["content"] == "a cut emoji \ud83d"
    assert server.asked[1].headers["Content-Type"] == "application/json"
    assert len(read_answers(folder).usable()) == 1


@pytest.mark.parametrize("usage", [[1], {"prompt_tokens": -30, "completion_tokens": 6},
                                   {"prompt_tokens": 10**400, "completion_tokens": 6}])  # fmt: skip
def test_usage_that_cannot_be_counts_as_none(usage: object) -> None:
    body = json.dumps({"choices": [{"message": {"content": '{"grade": 2}'}}], "usage": usage})
    with JudgeServer(lambda asked: Said(body=body)) as server:
        (reply,) = ask(server)
    assert reply.estimated
    assert 0 < reply.tokens_in < 10_000


def test_retry_after_is_waited_for() -> None:
    date = email.utils.formatdate(time.time() + 2, usegmt=True)
    said = script(failing(429, headers={"Retry-After": "0.4"}), failing(503, headers={"Retry-After": date}), graded(2))
    with JudgeServer(said) as server:
        ask(server)
    first, second, third = (a.at for a in server.asked)
    assert 0.4 <= second - first < 1.5
    assert 0.4 <= third - second < 3.5


def test_server_errors_broken_connections_and_garbage_are_tried_again() -> None:
    said = script(failing(500), Said(hang_up=True), Said(body="<html>busy</html>"), graded(2))
    with JudgeServer(said) as server:
        (reply,) = ask(server)
    assert PROMPT.read(reply.text).grade == 2
    assert len(server.asked) == 4


def test_backoff_grows() -> None:
    with JudgeServer(script(failing(500), failing(502), failing(504), graded(2))) as server:
        ask(server, backoff=0.2)
    gaps = np.diff([a.at for a in server.asked])
    assert np.all(gaps >= np.array([0.1, 0.2, 0.4]))  # 0.2, 0.4, 0.8 s, each times 0.5 at least
    assert np.all(gaps <= np.array([0.3, 0.6, 1.2]) + 0.5)


def test_backoff_is_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    async def back_off() -> None:
        endpoint = Endpoint(EndpointSettings(url="http://host/v1", model="m"))
        for _ in range(50):
            await endpoint._back_off(20, 0.0)

    monkeypatch.setattr("engine.labeling.endpoint.asyncio.sleep", note)
    asyncio.run(back_off())
    assert max(waits) == 60.0


def test_a_hang_longer_than_the_timeout_is_lost_and_asked_again() -> None:
    with JudgeServer(script(graded(1, wait=30.0), graded(2))) as server:
        began = time.monotonic()
        (reply,) = ask(server, timeout=0.4)
    assert PROMPT.read(reply.text).grade == 2
    assert time.monotonic() - began < 5
    with JudgeServer(lambda asked: graded(1, wait=30.0)) as server, pytest.raises(Unreachable, match=r"within 0\.2 s"):
        ask(server, timeout=0.2, tries=2)


@pytest.mark.parametrize(("status", "says"), [(401, "--key-env"), (403, "403"), (404, "/v1")])
def test_what_cannot_pass_ends_at_once(status: int, says: str) -> None:
    with JudgeServer(lambda asked: failing(status, "denied")) as server, pytest.raises(EndpointError, match=says):
        ask(server)
    assert len(server.asked) == 1
    with JudgeServer(lambda asked: failing(429, "insufficient_quota")) as server, pytest.raises(EndpointError):
        ask(server)
    assert len(server.asked) == 1


def test_the_key_is_neither_shown_nor_stored(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    with JudgeServer(lambda a: failing(401, "wrong key sk-secret")) as server, pytest.raises(EndpointError) as error:
        ask(server, key_env="JUDGE_KEY")
    assert "sk-secret" not in str(error.value)
    with JudgeServer(lambda a: graded(2, reason="your key is sk-secret")) as server:
        _, folder = sample.run(server, key_env="JUDGE_KEY", limit=3)
    for path in folder.iterdir():
        assert "sk-secret" not in path.read_text(encoding="utf-8"), path.name
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(ConfigError, match="JUDGE_KEY"):
        settings(server, key_env="JUDGE_KEY").key()
    monkeypatch.setenv("JUDGE_KEY", "\u201csk-secret\u201d")
    with pytest.raises(ConfigError, match="JUDGE_KEY") as odd:
        settings(server, key_env="JUDGE_KEY").key()
    assert "sk-secret" not in str(odd.value)


@pytest.mark.parametrize(
    "changes",
    [{"url": "localhost:8000"}, {"url": "http://127.0.0.1:99999/v1"}, {"url": "http://[::1/v1"}, {"url": "http://me:secret@host/v1"}, {"url": "http://host/v1?key=secret"},
     {"model": " "}, {"parallel": 0}, {"timeout": 0}, {"tries": 0}, {"temperature": 3}, {"max_tokens": 1}],
)  # fmt: skip
def test_settings_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EndpointSettings(**{"url": "http://host/v1", "model": "m", **changes})


# ---------------------------------------------------------------- many pairs


def test_every_answer_is_kept_with_its_question(sample: Sample) -> None:
    with JudgeServer(lambda asked: graded(sample.grade[asked.pair] // 1)) as server:
        tally, folder = sample.run(server)
    kept = records(folder)
    assert tally.ok == len(kept) == len(sample.people) == len(server.asked)
    assert {(r["query_id"], r["item_id"]) for r in kept} == set(
        zip(sample.people["query_id"], sample.people["item_id"], strict=True)
    )
    first = kept[0]
    assert json.loads(first["raw"][0])["grade"] == first["grade"]
    assert (first["prompt_hash"], first["model"], first["endpoint"]) == (PROMPT.fingerprint, "stand-in", server.url)
    assert first["reason"] == "it fits"


def test_concurrency_is_bounded_and_used(sample: Sample) -> None:
    with JudgeServer(lambda asked: graded(1, wait=0.05)) as server:
        sample.run(server, parallel=5, limit=40)
    assert server.most_at_once == 5


def test_cost_and_tokens_add_up(sample: Sample) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 50}
    prices = Prices(2.0, 10.0)
    said = script(Said("no", usage=usage), graded(3, usage=usage))
    with JudgeServer(said) as server:
        tally, _ = sample.run(server, limit=10, prices=prices, parallel=1)
    assert (tally.ok, tally.requests, len(server.asked)) == (10, 11, 11)  # the unusable answer is paid for as well
    assert (tally.tokens_in, tally.tokens_out, tally.estimated) == (11_000, 550, False)
    assert tally.cost == pytest.approx(11_000 * 2e-6 + 550 * 10e-6)
    with JudgeServer(lambda asked: graded(1, usage=None)) as server:
        tally, _ = sample.run(server, limit=5, model="silent about usage")
    assert tally.estimated
    assert tally.tokens_in > 5 * 100
    assert tally.cost is None


def test_plan_is_close_to_what_it_costs(sample: Sample) -> None:
    plan = make_plan(sample.pairs(), sample.texts, PROMPT, read_answers(sample.workspace), prices=Prices(1.0, 4.0))
    characters = sum(
        len(m["content"])
        for q, i in zip(plan.pairs["query_id"], plan.pairs["item_id"], strict=True)
        for m in PROMPT.messages(sample.texts.of(q, i))
    )
    assert plan.tokens_in == pytest.approx(characters / 4, rel=0.01)
    assert plan.cost == pytest.approx((plan.tokens_in + 4 * plan.tokens_out) / 1e6)


def test_malformed_answers_get_one_sharper_question_then_are_recorded(sample: Sample) -> None:
    bad = set(list(sample.grade)[:3])

    def answer(asked: Asked) -> Said:
        if asked.pair not in bad:
            return Said("I'd say 3") if len(asked.body["messages"]) == 2 else graded(3)
        return Said(f"grade {len(asked.body['messages'])}")

    with JudgeServer(answer) as server:
        tally, folder = sample.run(server)
        asked_before = len(server.asked)
        n = len(sample.people)
        failed = [r for r in records(folder) if r["status"] == "malformed"]
        again, _ = sample.run(server)
        assert (again.done, len(server.asked)) == (0, asked_before), "a recorded failure is not asked again by itself"
        retried, _ = sample.run(server, retry_failed=True)
    assert (tally.ok, tally.malformed, asked_before) == (n - 3, 3, 2 * n)
    assert [r["raw"] for r in failed] == [["grade 2", "grade 4"]] * 3
    assert all(r["grade"] is None and "no JSON object" in r["error"] for r in failed)
    sharper = next(a for a in server.asked if len(a.body["messages"]) == 4)
    assert "cannot be used" in sharper.body["messages"][-1]["content"]
    assert (retried.malformed, len(read_answers(folder).usable())) == (3, n - 3)


def test_one_hopeless_pair_does_not_lose_the_rest(sample: Sample) -> None:
    hopeless, too_long = list(sample.grade)[:2]

    def answer(asked: Asked) -> Said:
        if asked.pair == hopeless:
            return failing(500)
        return failing(413, "too large") if asked.pair == too_long else graded(1)

    with JudgeServer(answer) as server:
        tally, folder = sample.run(server, tries=3)
    assert (tally.unreachable, tally.refused, tally.ok) == (1, 1, len(sample.people) - 2)
    assert Counter(a.pair for a in server.asked)[hopeless] == 3
    with JudgeServer(lambda asked: graded(1)) as server:
        tally, _ = sample.run(server)
    assert [a.pair for a in server.asked] == [hopeless], "what got no answer is asked again by the next run"
    assert len(read_answers(folder).usable()) == len(sample.people) - 1


def test_an_endpoint_that_is_gone_stops_the_run(sample: Sample) -> None:
    with JudgeServer(lambda a: graded(1) if a.number <= 10 else failing(503)) as server:
        with pytest.raises(EndpointError, match="20 pairs in a row"):
            sample.run(server, tries=1, parallel=4)
        folder = judge_folder(sample.workspace, sample.catalogue.fingerprint, PROMPT, settings(server))
    assert len(read_answers(folder).usable()) == 10
    nobody = EndpointSettings(url="http://127.0.0.1:9/v1", model="m", tries=1, backoff=0.0, timeout=2.0)
    plan = make_plan(sample.pairs(), sample.texts, PROMPT, read_answers(sample.workspace))
    with pytest.raises(EndpointError, match="ConnectError"):
        run_plan(plan, sample.texts, PROMPT, nobody, sample.workspace / "judgments" / "x")


def test_torn_line_is_passed_over_and_nothing_else_lost(sample: Sample) -> None:
    with JudgeServer(lambda asked: graded(1)) as server:
        _, folder = sample.run(server, limit=5)
        path = folder / ANSWERS
        path.write_bytes(path.read_bytes()[:-20])
        assert (len(read_answers(folder).table), read_answers(folder).torn) == (4, 1)
        tally, _ = sample.run(server, limit=5)
    assert tally.ok == 5
    answers = read_answers(folder)
    assert (len(answers.usable()), answers.torn) == (9, 1)


def test_a_full_disk_ends_the_run_with_its_own_error(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine.labeling.answers.os.fsync", full)
    with JudgeServer(lambda asked: graded(1)) as server, pytest.raises(OSError, match="No space left"):
        sample.run(server)


def test_two_judges_do_not_write_at_once(sample: Sample, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom engine.errors import RunError\n"
        "from engine.labeling.answers import AnswerStore\n"
        "try:\n    AnswerStore(Path(sys.argv[1])).__enter__()\nexcept RunError as error:\n    sys.exit(7)\n"
    )
    with AnswerStore(tmp_path / "held"):
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path / "held")], cwd=ROOT, check=False)
    assert second.returncode == 7
    with AnswerStore(tmp_path / "held"), pytest.raises(RunError, match=r"Another judge \(process \d+ on .* since "):
        AnswerStore(tmp_path / "held").__enter__()


def test_other_questions_have_other_folders(tmp_path: Path) -> None:
    base = EndpointSettings(url="http://a/v1", model="org/model 7b")
    folder = judge_folder(tmp_path, "f" * 16, PROMPT, base)
    assert folder.parent == tmp_path / "judgments"
    assert folder.name.startswith("org-model-7b-")
    assert folder == judge_folder(tmp_path, "f" * 16, PROMPT, dataclasses.replace(base, url="http://b/v1", parallel=2))
    others = [
        judge_folder(tmp_path, "e" * 16, PROMPT, base),
        judge_folder(tmp_path, "f" * 16, Prompt.for_scale(2), base),
        judge_folder(tmp_path, "f" * 16, PROMPT, dataclasses.replace(base, temperature=0.5)),
        judge_folder(tmp_path, "f" * 16, PROMPT, dataclasses.replace(base, model="other")),
    ]
    assert len({folder, *others}) == 5


# ---------------------------------------------------------------- the command


def command(server: JudgeServer, workspace: Path, *more: object) -> list[str]:
    return [
        sys.executable, "-m", "engine", "judge", "--endpoint", server.url, "--model", "stand-in",
        "--workspace", str(workspace), "--json", *map(str, more),
    ]  # fmt: skip


def output(server: JudgeServer, workspace: Path, *more: object, code: int = 0) -> tuple[str, dict[str, Any]]:
    done = subprocess.run(
        command(server, workspace, *more), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    return (done.stderr, {}) if code else (done.stdout, json.loads(done.stdout.splitlines()[-1]))


def test_stopped_again_and_again_only_the_missing_pairs_are_asked(sample: Sample) -> None:
    n, answered = len(sample.people), 0
    with JudgeServer(lambda asked: graded(2, wait=0.05)) as server:
        for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            before = len(server.asked)
            process = subprocess.Popen(
                command(server, sample.workspace, "--parallel", 3), cwd=ROOT, stdout=subprocess.PIPE, text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
            )  # fmt: skip
            deadline = time.monotonic() + 60
            while len(server.asked) < before + 30:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(how)
            said, _ = process.communicate(timeout=30)
            if how != signal.SIGKILL:
                assert process.returncode == 130
                assert "Stopped" in said
            (folder,) = (sample.workspace / "judgments").iterdir()
            already, answered = answered, len(read_answers(folder).usable())
            assert already + 20 <= answered < n, how.name
        before = len(server.asked)
        _, found = output(server, sample.workspace, "--parallel", 3)
    assert len(server.asked) - before == n - answered
    assert (found["asked"], found["answered"], len(read_answers(folder).usable())) == (n - answered, n, n)
    times = Counter(a.pair for a in server.asked)
    assert sum(times.values()) - len(times) <= 3 * 3, "only what was under way is asked twice"


def test_command_plans_measures_and_exports_only_then(sample: Sample, tmp_path: Path) -> None:
    target = tmp_path / "labels" / "judgments.csv"
    prices = ("--price-in", 0.5, "--price-out", 2)
    with JudgeServer(lambda asked: graded(int(sample.grade.get(asked.pair, 1)))) as server:
        text, found = output(server, sample.workspace, *prices, "--plan")
        assert found["to_ask"] == len(sample.people)
        assert "about 0.0" in text
        assert not server.asked
        error, _ = output(server, sample.workspace, "--limit", 20, "--export", target, code=1)
        assert "measured on 20 human pairs" in error
        assert not target.exists()
        text, found = output(server, sample.workspace, *prices, "--export", target)
        assert found["agreement"]["n_pairs"] == len(sample.people)
        assert "Grades of people (rows)" in text
        assert (Path(found["folder"]) / "agreement.json").is_file()
        assert found["exported"] == {
            "file": target.name, "labels": 0, "held_out": 0, "already_judged": len(sample.people), "human": 0, "earlier": 0,
            "new_queries": 0,
        }  # fmt: skip


def test_a_server_that_grades_nothing_is_a_failure(sample: Sample) -> None:
    with JudgeServer(lambda asked: Said(status=500)) as server:
        output(server, sample.workspace, "--limit", 2, "--tries", 1, code=1)
        output(server, sample.workspace, "--limit", 0)


# ---------------------------------------------------------------- pairs


def test_samples_are_nested_and_seeded(sample: Sample) -> None:
    small, large = sample.pairs(sample=20, seed=3), sample.pairs(sample=60, seed=3)
    assert small.equals(large.head(20))
    assert not small.equals(sample.pairs(sample=20, seed=4))
    assert len(sample.pairs(split="test")) + len(sample.pairs(split="valid")) + len(sample.pairs(split="train")) == len(
        sample.people
    )
    with pytest.raises(ConfigError, match="judged or retrieved"):
        sample.pairs("other")
    with pytest.raises(ConfigError, match="--split"):
        sample.pairs(split="tests")


def test_human_judgments_leave_models_out(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\na,lamp\nb,pan\n", encoding="utf-8")
    (tmp_path / "judgments.csv").write_text(
        "query,item_id,grade,source,rater,split\nlamp,a,3,human,x,\nlamp,a,2,human,y,train\nlamp,a,0,llm,m,\n"
        "lamp,b,0,llm,m,\n",
        encoding="utf-8",
    )
    catalogue = ingest(tmp_path, tmp_path / "w").catalogue
    people = human_judgments(tmp_path / "w", catalogue)
    assert people.to_dict("records") == [
        {"query_id": "lamp", "item_id": "a", "grade": 2.5, "source": "human", "split": "train"}
    ]
    assert individual_ratings(tmp_path / "w", catalogue)["rater"].tolist() == ["x", "y"]


def test_queries_of_no_wanted_source_are_said(sample: Sample) -> None:
    queries = sample.catalogue.queries
    sample.catalogue = sample.catalogue.with_tables(queries=queries[queries["source"] == "synthetic"])
    n = len(sample.catalogue.queries)
    with pytest.raises(ConfigError, match=rf"--queries 'log,judged' names no query .* has {n} synthetic"):
        sample.pairs("retrieved")


def test_labels_of_retrieved_pairs_go_through_ingest(sample: Sample, tmp_path: Path) -> None:
    pairs = sample.pairs("retrieved", top=5, sources="log,judged,synthetic")
    split = sample.people.set_index("query_id")["split"].groupby(level=0).first()
    assert set(pairs["query_id"].map(split).fillna("none")) <= {"train", "none"}
    assert not set(zip(pairs["query_id"], pairs["item_id"], strict=True)) & set(
        zip(sample.people["query_id"], sample.people["item_id"], strict=True)
    )
    with JudgeServer(lambda asked: graded(int(sample.grade.get(asked.pair, 1)))) as server:
        tally, folder = sample.run(server, pairs)
        assert tally.ok == len(pairs)
        target = tmp_path / "new" / "judgments.csv"
        how = (folder, target, sample.workspace, sample.catalogue)
        with pytest.raises(ConfigError, match="on 0 human pairs"):
            export(*how, read_answers(folder))
        forced = export(*how, read_answers(folder), Terms(force="a rehearsal"))
        mark = json.loads(target.with_name("judgments.csv.agreement.json").read_text(encoding="utf-8"))
        assert "on 0 human pairs" in mark["objection"]
        assert (mark["reason"], mark["measured"]) == ("a rehearsal", None)
        sample.run(server)
    answers = read_answers(folder)
    ratings = individual_ratings(sample.workspace, sample.catalogue)
    found = report(answers, sample.people, ratings, PROMPT, relevant_grade=2)
    turned = report(answers._replace(table=answers.table.iloc[::-1]), sample.people, ratings, PROMPT, relevant_grade=2)
    assert found.agreement
    assert turned.agreement
    assert turned.agreement.to_dict() == found.agreement.to_dict(), "whoever was answered first"
    write_agreement(folder, found, answers)
    done = export(*how, answers, Terms(with_human=True))
    assert done.labels == forced.labels == len(pairs)
    assert done.already_judged == len(sample.people)
    mark = json.loads(target.with_name("judgments.csv.agreement.json").read_text(encoding="utf-8"))
    assert (mark["objection"], mark["measured"]["human_pairs"]) == (None, len(sample.people))

    for name in ("items.csv", "queries.csv", "interactions.csv", "dataset.toml"):
        (target.parent / name).write_bytes((ROOT / "data" / "sample" / name).read_bytes())
    assert done.new_queries > 0
    new_queries = target.with_name("judgments.new_queries.csv").read_text(encoding="utf-8").splitlines()[1:]
    with (target.parent / "queries.csv").open("a", encoding="utf-8") as queries:
        queries.writelines(f"{line},\n" for line in new_queries)
    target.with_name("judgments.new_queries.csv").unlink()
    taken = ingest(target.parent, tmp_path / "again")
    assert taken.report.n_rejected == 0
    old = sample.catalogue.judgments.set_index(["query_id", "item_id"])
    new = taken.catalogue.judgments.set_index(["query_id", "item_id"])
    assert len(new) == len(old) + done.labels
    pd.testing.assert_frame_equal(new.loc[old.index], old)
    labels = new.drop(old.index)
    assert set(labels["source"]) == {"llm"}
    assert set(labels["split"]) == {"train"}


class Labelled(NamedTuple):
    """Three items, a judgment by people of one query and two of an earlier model of another, which is judged again."""

    catalogue: Catalogue
    workspace: Path
    folder: Path

    def export(self, target: Path, *, with_human: bool = False) -> Exported:
        answers = read_answers(self.folder)
        terms = Terms(force="a test", with_human=with_human)
        return export(self.folder, target, self.workspace, self.catalogue, answers, terms)


@pytest.fixture
def labelled(tmp_path: Path) -> Labelled:
    source, workspace = tmp_path / "source", tmp_path / "w"
    source.mkdir()
    (source / "items.csv").write_text("item_id,title\na,lamp\nb,pan\nc,pot\n", encoding="utf-8")
    (source / "judgments.csv").write_text(
        "query,item_id,grade,source,rater,split\nlamp,a,3,human,x,train\npan,a,0,llm,old,train\npan,b,2,llm,old,train\n",
        encoding="utf-8",
    )
    catalogue = ingest(source, workspace).catalogue
    chosen = EndpointSettings(url="http://host/v1", model="new")
    folder = judge_folder(workspace, catalogue.fingerprint, PROMPT, chosen)
    write_settings(folder, catalogue.fingerprint, PROMPT, chosen)
    with AnswerStore(folder) as store:
        for item_id in "bc":
            store.append({"query_id": "pan", "item_id": item_id, "status": "ok", "grade": 3})
    return Labelled(catalogue, workspace, folder)


def test_earlier_labels_stay_unless_judged_again(labelled: Labelled, tmp_path: Path) -> None:
    done = labelled.export(tmp_path / "all.csv", with_human=True)
    assert (done.human, done.earlier, done.labels) == (1, 1, 2)
    assert "2 labels and 1 human judgments and 1 earlier labels" in done.sentence()
    rows = pd.read_csv(tmp_path / "all.csv")
    assert rows[["query_id", "item_id", "grade", "rater"]].to_numpy().tolist() == [
        ["lamp", "a", 3, "x"], ["pan", "a", 0, "old"], ["pan", "b", 3, "new"], ["pan", "c", 3, "new"],
    ]  # fmt: skip


def test_judgments_of_people_are_not_written_over(labelled: Labelled, tmp_path: Path) -> None:
    target = tmp_path / "source" / "judgments.csv"
    before = target.read_bytes()
    with pytest.raises(ConfigError, match="may hold judgments of people"):
        labelled.export(target)
    assert target.read_bytes() == before
    labelled.export(target, with_human=True)
    with pytest.raises(ConfigError, match="may hold judgments of people"):
        labelled.export(target)  # people's are still in it
    for _ in range(2):
        assert labelled.export(tmp_path / "labels.csv").labels == 2  # a judge's own file is


def test_labels_never_stand_without_their_mark(
    labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, text: str) -> None:
        write_text(path, text)
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.labeling.report.write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        labelled.export(tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv.agreement.json").is_file()
    assert not (tmp_path / "labels.csv").exists()


def test_labels_no_better_than_chance_are_refused(sample: Sample, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with JudgeServer(lambda asked: graded(int(rng.integers(4)))) as server:
        _, folder = sample.run(server, parallel=1)
    answers = read_answers(folder)
    write_agreement(folder, report(answers, sample.people, sample.people.head(0).assign(rater=""), PROMPT,
                                   relevant_grade=2), answers)  # fmt: skip
    with pytest.raises(ConfigError, match="no better than chance"):
        export(folder, tmp_path / "judgments.csv", sample.workspace, sample.catalogue, answers)
    with pytest.raises(ConfigError, match="no better than chance"):  # a blank is no reason
        export(folder, tmp_path / "judgments.csv", sample.workspace, sample.catalogue, answers, Terms(force=" "))
    assert not (tmp_path / "judgments.csv").exists()


def test_generated_truth_is_no_person(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    rows = [f"query {n},i{n % 7},{n % 4},synthetic" for n in range(140)]
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},lamp {n}\n" for n in range(7)), "utf-8")
    (folder / "judgments.csv").write_text("\n".join(["query,item_id,grade,source", *rows]) + "\n", "utf-8")
    catalogue = ingest(folder, tmp_path / "w").catalogue
    people, texts = human_judgments(tmp_path / "w", catalogue), PairTexts(catalogue)
    with JudgeServer(lambda asked: graded(int(asked.pair[0].split()[1]) % 4)) as server:
        chosen = settings(server)
        target = judge_folder(tmp_path / "w", catalogue.fingerprint, PROMPT, chosen)
        write_settings(target, catalogue.fingerprint, PROMPT, chosen)
        pairs = choose_pairs(Choice("judged"), tmp_path / "w", catalogue, people)
        run_plan(make_plan(pairs, texts, PROMPT, read_answers(target)), texts, PROMPT, chosen, target)
    answers = read_answers(target)
    found = report(answers, people, individual_ratings(tmp_path / "w", catalogue), PROMPT, relevant_grade=2)
    assert found.agreement is not None
    assert (found.agreement.percent.value, found.agreement.n_pairs, found.human_pairs) == (1.0, 140, 0)
    assert "generated truth" in found.rows("m")[0][0]
    write_agreement(target, found, answers)
    with pytest.raises(ConfigError, match="on 0 human pairs"):
        export(target, tmp_path / "judgments.csv", tmp_path / "w", catalogue, answers)


# ---------------------------------------------------------------- agreement


def test_agreement_worked_by_hand() -> None:
    # People:  0 0 0 0 1 1 2 2 3 3   Judge: 0 0 0 1 1 2 2 3 3 0
    people = np.array([0, 0, 0, 0, 1, 1, 2, 2, 3, 3])
    judge = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 0])
    found = measure_agreement(judge, people, np.repeat(list("abcde"), 2), grades=range(4), relevant_grade=2)
    assert found.confusion.tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    assert found.percent.value == 0.6
    # Chance: (4*4 + 2*2 + 2*2 + 2*2) / 100 = .28
    assert found.kappa.value == pytest.approx((0.6 - 0.28) / (1 - 0.28))
    # Squared distances: 1 + 1 + 1 + 9 = 12. By chance: both have sum 12 and sum of squares 28 over 10 pairs, so
    # 28 + 28 - 2 * 12 * 12 / 10 = 27.2.
    assert found.kappa_quadratic.value == pytest.approx(1 - 12 / 27.2)
    # Relevant: people 4, judge 4, both 3.
    assert found.binary_percent.value == pytest.approx(0.8)
    assert found.binary_kappa.value == pytest.approx((0.8 - 0.52) / 0.48)
    assert [found.recall[g].value for g in range(4)] == [0.75, 0.5, 0.5, 0.5]
    assert (found.n_pairs, found.n_queries) == (10, 5)


@pytest.mark.parametrize("seed", range(4))
def test_kappa_equals_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 4, 300)
    judge = np.where(rng.random(300) < 0.6, people, rng.integers(0, 4, 300))
    found = measure_agreement(judge, people, rng.integers(0, 30, 300), grades=range(4), relevant_grade=2, resamples=10)
    assert found.kappa.value == pytest.approx(cohen_kappa_score(people, judge))
    assert found.kappa_quadratic.value == pytest.approx(cohen_kappa_score(people, judge, weights="quadratic"))
    assert found.binary_kappa.value == pytest.approx(cohen_kappa_score(people >= 2, judge >= 2))


def test_undefined_is_not_a_number() -> None:
    found = measure_agreement(np.full(5, 2), np.full(5, 2), np.arange(5), grades=range(4), relevant_grade=2)
    assert found.percent == (1.0, 1.0, 1.0)
    assert all(np.isnan(m.value) for m in (found.kappa, found.kappa_quadratic, found.binary_kappa, found.recall[0]))
    assert found.to_dict()["kappa"] == {"value": None, "low": None, "high": None}
    one_query = measure_agreement(np.array([0, 3]), np.array([0, 3]), np.zeros(2), grades=range(4), relevant_grade=2)
    assert one_query.kappa.value == 1
    assert np.isnan(one_query.kappa.low)
    assert np.isnan(cohen_kappa(np.zeros((2, 2))))
    assert np.isnan(quadratic_kappa(np.zeros(6)))


def test_means_of_raters_round_half_up_and_keep_their_side() -> None:
    found = measure_agreement(
        np.array([2, 2, 1]), np.array([1.5, 2.4, 4 / 3]), np.arange(3), grades=range(4), relevant_grade=2
    )
    assert found.percent.value == 1
    assert found.binary_percent.value == pytest.approx(2 / 3)  # a mean of 1.5 is below 2
    assert found.kappa_quadratic.value < 1


def test_interval_is_by_query_and_covers() -> None:
    """Whole queries that agree or not: pairs are no independent draws, and the interval must know it."""
    rng = np.random.default_rng(0)
    inside = 0
    for draw in range(40):
        agrees = rng.random(60) < 0.7
        query = np.repeat(np.arange(60), 20)
        people = rng.integers(0, 2, len(query))
        judge = np.where(agrees[query], people, 1 - people)
        found = measure_agreement(judge, people, query, grades=(0, 1), relevant_grade=1, resamples=300, seed=draw)
        inside += found.percent.low <= 0.7 <= found.percent.high
        assert found.percent.high - found.percent.low > 0.15  # by pair it would be .05
    assert inside >= 34


def test_raters_against_each_other_by_hand() -> None:
    rows = [("q", f"i{n}", rater, grade) for n in range(40) for rater, grade in
            (("a", n % 4), ("b", n % 4 if n < 30 else (n + 1) % 4), ("c", n % 4))]  # fmt: skip
    rows += [("p", "i0", "lonely", 1.0)]
    ratings = pd.DataFrame(rows, columns=["query_id", "item_id", "rater", "grade"])
    found = human_ceiling(ratings, grades=range(4), relevant_grade=2, resamples=10)
    assert {(c.first, c.second): c.agreement.percent.value for c in found.between} == {
        ("a", "b"): 0.75, ("a", "c"): 1.0, ("b", "c"): 0.75,
    }  # fmt: skip
    left = {c.first: c.agreement for c in found.left_out}
    assert set(left) == {POOLED, "a", "b", "c"}
    assert left["b"].percent.value == 0.75
    assert (left[POOLED].n_pairs, left["a"].n_pairs) == (120, 40)
    assert human_ceiling(ratings.head(27), grades=range(4), relevant_grade=2) == ([], [])


def test_read_ratings_layouts(tmp_path: Path) -> None:
    wide, tall = tmp_path / "wide.csv", tmp_path / "tall.csv"
    wide.write_text("query,docid,agent_1_rating,agent_2_rating,final_rating\nUSB  Cable,7,3,,3\n", encoding="utf-8")
    tall.write_text("query,item_id,rater,grade\nusb cable,7,agent_1,3\n", encoding="utf-8")
    assert read_ratings(wide).equals(read_ratings(tall))
    assert read_ratings(wide).to_dict("records") == [
        {"query_id": "usb cable", "item_id": "7", "rater": "agent_1", "grade": 3.0}
    ]
    wide.write_text("query,docid,agent_1_rating,agent_2_rating,grade\nUSB  Cable,7,3,,2\n", encoding="utf-8")
    assert read_ratings(wide).equals(read_ratings(tall)), "a column 'grade' without raters is nobody's own"
    tall.write_text("query,item_id,rater,grade\nusb cable,7,agent_1,good\n", encoding="utf-8")
    with pytest.raises(DataError, match="'good'"):
        read_ratings(tall)
    tall.write_text("query,item_id,grade\nusb cable,7,3\n", encoding="utf-8")
    with pytest.raises(DataError, match="a column a rater"):
        read_ratings(tall)


@pytest.mark.skipif(not INDIVIDUAL.is_file(), reason=f"{INDIVIDUAL} is not here: the Icecat ratings are not committed")
def test_human_ceiling_on_icecat() -> None:
    ratings = read_ratings(INDIVIDUAL)
    raw = pd.read_csv(INDIVIDUAL)
    found = human_ceiling(ratings, grades=range(4), relevant_grade=2, resamples=200)
    assert [(c.first, c.second) for c in found.between] == [
        ("agent_1", "agent_2"), ("agent_1", "agent_3"), ("agent_2", "agent_3"),
    ]  # fmt: skip
    for c in found.between:
        a, b = raw[f"{c.first}_rating"], raw[f"{c.second}_rating"]
        assert c.agreement.n_pairs == len(raw) == 2501
        assert c.agreement.percent.value == pytest.approx((a == b).mean())
        assert c.agreement.kappa.value == pytest.approx(cohen_kappa_score(a, b))
        assert c.agreement.kappa_quadratic.value == pytest.approx(cohen_kappa_score(a, b, weights="quadratic"))
    others = raw[["agent_2_rating", "agent_3_rating"]].mean(axis=1)
    first = next(c.agreement for c in found.left_out if c.first == "agent_1")
    assert first.binary_percent.value == pytest.approx(((others >= 2) == (raw["agent_1_rating"] >= 2)).mean())
    assert found.left_out[0].first == POOLED
    assert 0.5 < found.left_out[0].agreement.kappa.value < 0.7


def test_agreement_recovers_the_noise_of_a_stand_in(sample: Sample) -> None:
    """The whole way, over HTTP: a judge that says people's grade or, for a known share of pairs, another."""
    keys = list(sample.grade)
    wrong = {keys[n] for n in np.random.default_rng(0).permutation(len(keys))[:17]}

    def answer(asked: Asked) -> Said:
        grade = int(np.floor(sample.grade[asked.pair] + 0.5))
        return graded((grade + 2) % 4 if asked.pair in wrong else grade)

    with JudgeServer(answer) as server:
        _, folder = sample.run(server)
    ratings = individual_ratings(sample.workspace, sample.catalogue)
    found = report(read_answers(folder), sample.people, ratings, PROMPT, relevant_grade=2)
    assert found.agreement is not None
    n = len(sample.people)
    expected = 1 - sum(sample_key in wrong for sample_key in sample_keys(sample)) / n
    assert found.agreement.percent.value == pytest.approx(expected)
    assert (found.human_pairs, found.reference_sources) == (n, {"human": n})


def sample_keys(sample: Sample) -> list[tuple[str, str]]:
    shown = [sample.texts.of(q, i) for q, i in zip(sample.people["query_id"], sample.people["item_id"], strict=True)]
    return [(s.query, s.title) for s in shown]


def test_plan_of_nothing_asks_nothing(sample: Sample, tmp_path: Path) -> None:
    with JudgeServer(lambda asked: graded(1)) as server:
        empty = Plan(sample.pairs().head(0), 0, 0, 0, 0, None)
        tally = run_plan(empty, sample.texts, PROMPT, settings(server), tmp_path / "j")
    assert (tally.done, len(server.asked)) == (0, 0)
