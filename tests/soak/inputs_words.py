"""Words: settings and files of settings, the judge's answers, what people keep (names, notes, sets of queries, grades)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from engine.audit.gate_config import GateConfig
from engine.config import PRESETS, Config, click_grades, override
from engine.datasets.connectors.address import address, masked
from engine.errors import DataError
from engine.labeling import endpoint, naming
from engine.labeling.answers import read_answers
from engine.labeling.prompt import MalformedAnswer, Prompt, Shown, json_objects
from engine.reporting.gate import read_rules
from engine.store import names
from engine.store.judged import Answer, JudgedStore, export_rows
from engine.store.notes import KINDS, Notes
from engine.store.query_sets import MOST_TEXTS, QuerySets, read_csv, rows
from tests.soak.contract import Tried, drawn, tried
from tests.soak.hostile import changed, value, word, written

_GATE = '[gate]\nfail_on = "watch"\nundecided = "own"\nmust_decide = ["ndcg"]\nleast = 30\nresamples = 2000\nfindings = true\n[gate.ndcg]\nharmless = 0.0\nwatch = 0.01\nact = 0.02\n'  # fmt: skip
_GRADES = '[grades]\n0 = "irrelevant: nothing to do with it"\n1 = "partly"\n2 = "relevant"\n3 = "perfect"\n'
_SECRETS = (
    '[auth]\nredirect_uri = "https://a.example.org/oauth2callback"\ncookie_secret = "0123456789012345678901234567890123"\n'
    'client_id = "a"\nclient_secret = "b"\nserver_metadata_url = "https://login.example.org/x"\n'
    '[allow]\nemails = ["ada@example.org"]\ndomains = ["example.org"]\neveryone = false\nhours = 12\n'
)
_URLS = ("postgresql://user:secret-1@host/shop", "sqlite:///shop.db", "s3://bucket/folder/?key=secret-1", "snowflake://u:secret-1@acc/db/sch", "https://host/items.csv")  # fmt: skip
_SETTINGS = [
    (f"{part.name}.{field.name}", str(getattr(getattr(Config(), part.name), field.name)))
    for part in dataclasses.fields(Config) if dataclasses.is_dataclass(getattr(Config(), part.name))
    for field in dataclasses.fields(getattr(Config(), part.name))
]  # fmt: skip


def _wrong_file(rng: random.Random, text: str) -> bytes:
    """A file of settings in which something went wrong: its letters, or the value of a line."""
    if rng.random() < 0.5:
        return changed(rng, text).encode("utf-8", "surrogatepass")
    lines = text.splitlines(keepends=True)
    at = rng.choice([n for n, line in enumerate(lines) if "=" in line])
    name, _, _ = lines[at].partition("=")
    odd = ("1", "-1", "0", "1.5", "nan", "inf", "true", '"x"', '""', "[]", "[1]", '["x"]', "[[]]", "{}", "{a = 1}", "2025-01-01", "1e308", "99999999999999999999", '"""a\nb"""')  # fmt: skip
    lines[at] = f"{name}= {rng.choice((*odd, json.dumps(word(rng).encode('utf-8', 'replace').decode())))}\n"
    return "".join(lines).encode("utf-8", "surrogatepass")


def settings(place: Path) -> Callable[[int, int], Tried]:
    """`--set`, the gate's rules, definitions of grades, secrets, URLs: every setting there is, with values of every kind."""
    from app.login import settings as login

    file = place / "settings.toml"

    def option(rng: random.Random) -> tuple[str, Callable[[], str]]:
        name, usual = rng.choice(_SETTINGS)
        said = rng.choice(
            (usual, word(rng), changed(rng, usual), "99999999999999999999", "-1", "nan", "inf", "1e-320", "0")
        )
        given = f"{name}={said}" if rng.random() < 0.85 else changed(rng, f"{name}={said}")
        base = PRESETS[rng.choice([*PRESETS])]()

        def work() -> str:
            found = override(base, [given])
            again = Config.from_json(found.to_json())
            return "" if again.to_json() == found.to_json() else "another config read back"

        return given, work

    def clicks(rng: random.Random) -> tuple[str, Callable[[], str]]:
        given = (
            changed(rng, "click_grades.thresholds=.15,.34,.7")
            if rng.random() < 0.5
            else f"click_grades.later={word(rng)}"
        )
        return given, lambda: "" if click_grades([given]) else "nothing"

    def of_file(text: str, read: Callable[[], object]) -> Callable[[random.Random], tuple[bytes, Callable[[], str]]]:
        def made(rng: random.Random) -> tuple[bytes, Callable[[], str]]:
            given = _wrong_file(rng, text)

            def work() -> str:
                file.write_bytes(given)
                read()
                return ""

            return given, work

        return made

    def rules() -> GateConfig:
        return read_rules(file)

    def secrets() -> object:
        login.cache_clear()
        return login((str(file),))

    def url(rng: random.Random) -> tuple[str, Callable[[], str]]:
        usual = rng.choice(_URLS)
        given = changed(rng, usual) if rng.random() < 0.7 else usual + word(rng)

        def work() -> str:
            shown, found = masked(given), address(given)
            odd = (
                "secret-1" in shown
                and "://" in given
                and "secret-1@" in given
                and given.count("@") == 1
                and given.startswith("postgresql://user:")
            )
            return f"the password is shown: {shown!r}" if odd or ("secret-1" in found.public and usual == given) else ""

        return given, work

    ways: dict[str, Callable[[random.Random], tuple[Any, Callable[[], str]]]] = {
        "--set": option, "clicks": clicks, "gate": of_file(_GATE, rules), "secrets": of_file(_SECRETS, secrets), "url": url,
        "grades": of_file(_GRADES, lambda: Prompt.from_file(file, 3).messages(Shown("q", "t", None, None, None))),
    }  # fmt: skip

    def attempt(seed: int, number: int) -> Tried:
        kind = [*ways][number % len(ways)]
        given, work = ways[kind](drawn(seed, number, "settings"))
        return tried(f"settings: {kind}", given, work)

    return attempt


def judge(place: Path) -> Callable[[int, int], Tried]:
    """What a language model, or whatever answers in its place, says: replies over HTTP, answers as text, and as they are kept."""
    prompt = Prompt.for_scale(3)
    spoken = '<think>hm {"grade": 1}</think> Sure!\n```json\n{"reason": "a kettle", "grade": 3}\n```'
    reply = {"model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": spoken}}], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}  # fmt: skip
    line = {
        "query_id": "q1",
        "item_id": "i1",
        "status": "ok",
        "grade": 3,
        "tokens_in": 9,
        "tokens_out": 9,
        "requests": 1,
    }
    said = endpoint.EndpointSettings(url="http://127.0.0.1:9/v1", model="m", tries=2, backoff=0)

    def text(rng: random.Random) -> tuple[str, Callable[[], str]]:
        given = rng.choice((changed(rng, spoken), word(rng), json.dumps({"reason": word(rng), "grade": value(rng)}), f'{{"grade": {word(rng)}}}'))  # fmt: skip

        def work() -> str:
            json_objects(given)
            found = prompt.read(given)
            return "" if found.grade in prompt.scale and len(found.reason) <= 1_000 else f"{found}"

        return given, work

    def over_http(rng: random.Random) -> tuple[Any, Callable[[], str]]:
        status = rng.choice((200, 200, 200, 200, 200, 400, 401, 404, 413, 422, 429, 500, 302))
        body = written(rng, reply) if rng.random() < 0.9 else word(rng).encode("utf-8", "surrogatepass") * 1_000
        headers = {"retry-after": rng.choice(("-1", "nan", "soon", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "1e-3")),
                   "content-type": rng.choice(("application/json", "text/html", "application/json; charset=utf-16", "x"))}  # fmt: skip

        async def asked() -> str:
            async with endpoint.Endpoint(said) as place:
                await place._client.aclose()
                place._client = httpx2.AsyncClient(
                    transport=httpx2.MockTransport(lambda _: httpx2.Response(status, content=body, headers=headers))
                )
                found = await place.ask(
                    prompt.messages(Shown(word(rng), word(rng), None, None, word(rng))), prompt.response_format
                )
                return "" if isinstance(found.text, str) and min(found.tokens_in, found.tokens_out) >= 0 else f"{found}"

        def work() -> str:
            try:
                return asyncio.run(asked())
            except (endpoint.Refused, endpoint.Unreachable) as error:  # as those say it who ask
                raise DataError(f"it did not answer: {error}") from error

        return (status, headers, body[:600]), work

    def name(rng: random.Random) -> tuple[str, Callable[[], str]]:
        given = changed(rng, '{"name": "Dome tents"}') if rng.random() < 0.5 else json.dumps({"name": value(rng)})
        return given, lambda: "" if 0 < len(naming._read(given)) <= names.LONGEST else "no name"

    def kept(rng: random.Random) -> tuple[bytes, Callable[[], str]]:
        lines = [
            json.dumps(line).encode(),
            *(written(rng, line).replace(b"\n", b" ") for _ in range(3)),
            b'{"query_id": "q',
            b"",
        ]
        rng.shuffle(lines)
        given = b"\n".join(lines)

        def work() -> str:
            (place / "answers.jsonl").write_bytes(given)
            found = read_answers(place)
            found.usable(), found.settled(retry_failed=False)
            lines = sum(bool(each.strip()) for each in given.split(b"\n"))
            return "" if len(found.table) + found.torn <= lines else f"{len(found.table)} answers of {lines} lines"

        return given, work

    ways: dict[str, Callable[[random.Random], tuple[Any, Callable[[], str]]]] = {"text": text, "HTTP": over_http, "name": name, "kept": kept}  # fmt: skip

    def attempt(seed: int, number: int) -> Tried:
        kind = [*ways][number % len(ways)]
        given, work = ways[kind](drawn(seed, number, "judge"))
        return tried(f"judge: {kind}", given, work, refusals=(MalformedAnswer,))

    return attempt


def keeping(place: Path) -> Callable[[int, int], Tried]:
    """Names, notes, sets of queries and grades: hostile words into them, and documents that a hand or a disk spoiled."""
    answer = {"rater": "Ada", "dataset": "d", "query_id": "q1", "query": "kettle", "item_id": "i1", "grade": 2.0, "max_grade": 3.0, "relevant_grade": 2.0,
              "reason": "r", "answer_id": "a1", "judged_at": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    whole: dict[str, object] = {
        "notes": {"notes": [{"id": "1", "kind": "item", "key": "i1", "about": "Kettle", "words": "w", "by": "Ada", "at": "2026-01-01T00:00:00+00:00"}]},
        "code_names": {"run-1": {"17-2": [{"name": "Tents", "by": "Ada", "at": "2026-01-01T00:00:00+00:00", "proposed": False}]}},
        "query_sets": {"mine": {"tags": ["brand"], "texts": ["kettle", "mug"]}},
    }  # fmt: skip

    def spoil(rng: random.Random) -> dict[str, bytes]:
        made = {}
        for name, usual in whole.items():
            if rng.random() < 0.5:
                path = place / "kept" / f"{name}.json"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(made.setdefault(name, written(rng, usual)))
        return made

    def sets(rng: random.Random) -> tuple[Any, Callable[[], str]]:
        said, texts = spoil(rng), [word(rng) for _ in range(rng.choice((1, 3, 30)))]
        name, tags = word(rng) if rng.random() < 0.5 else "mine", [word(rng)]

        def work() -> str:
            store = QuerySets(place)
            given = [t for t in texts if " ".join(t.split())]
            counted = store.add(name, texts, tags)
            if sum(counted) != len(given):
                return f"{counted} of {len(given)}"
            held = {each.name: each for each in store.all()}[" ".join(name.split())]
            if len(held.texts) > MOST_TEXTS or read_csv(_csv(rows([held]))) is None:
                return f"{held}"
            store.take_out(name, texts)
            store.tag(name, tags)
            store.remove(name)
            return ""

        return (said, name, texts), work

    def file(rng: random.Random) -> tuple[bytes, Callable[[], str]]:
        usual = 'set,tags,text\nmine,a;b,kettle\n"yours, too",,"mug ""red"""\n'
        given = changed(rng, usual).encode("utf-8", "surrogatepass")
        return given, lambda: "" if all(each.name for each in read_csv(given)) else "a set without a name"

    def noted(rng: random.Random) -> tuple[Any, Callable[[], str]]:
        said, words, key = spoil(rng), word(rng), word(rng)
        kind = rng.choice(KINDS)

        def work() -> str:
            store = Notes(place)
            made = store.add(kind, key, words, about=word(rng), by=word(rng))
            if made not in store.of(kind, key) or made not in store.all():
                return f"{made} is not there"
            store.remove(made.id)
            return "" if made not in store.all() else "it stayed"

        return (said, kind, key, words), work

    def called(rng: random.Random) -> tuple[Any, Callable[[], str]]:
        said, name, prefix, run = (
            spoil(rng),
            word(rng),
            rng.choice(("17-2", word(rng))),
            rng.choice(("run-1", word(rng))),
        )

        def work() -> str:
            names.rename(place, run, prefix, name, by=word(rng))
            now = names.given(place, run).get(prefix)
            if bool(now) != bool("".join(c for c in name if c.isprintable()).strip()):
                return f"called {now}"
            names.undo(place, run, prefix)
            return ""

        return (said, run, prefix, name), work

    def graded(rng: random.Random) -> tuple[Any, Callable[[], str]]:
        lines = [written(rng, answer).replace(b"\n", b" ") for _ in range(4)]
        rater = word(rng)

        def work() -> str:
            store = JudgedStore(place)
            store.path.parent.mkdir(exist_ok=True)
            store.path.write_bytes(b"\n".join(lines) + b'\n{"rater": "A')
            before = store.standing()
            mine = store.add(Answer(**answer | {"rater": rater, "reason": word(rng), "answer_id": ""}))
            if mine not in store.standing() or len(store.standing()) not in (len(before), len(before) + 1):
                return f"{mine} is not there"
            export_rows(store.standing())
            store.take_back(mine.answer_id, rater=rater)
            return "" if mine not in store.standing() else "it stands still"

        return (lines, rater), work

    ways: dict[str, Callable[[random.Random], tuple[Any, Callable[[], str]]]] = {
        "query sets": sets, "query sets as CSV": file, "notes": noted, "names": called, "grades": graded,
    }  # fmt: skip

    def attempt(seed: int, number: int) -> Tried:
        kind = [*ways][number % len(ways)]
        shutil.rmtree(place / "kept", ignore_errors=True)
        given, work = ways[kind](drawn(seed, number, "keeping"))
        return tried(f"kept: {kind}", given, work)

    return attempt


def _csv(found: list[dict[str, str]]) -> bytes:
    import pandas as pd

    from app.export import csv as written_csv

    return written_csv(pd.DataFrame(found), "Sets", snapshot="s", run="r", filters={})
