"""Asking for the judgment of every pair: a plan, many requests at once, every answer stored as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from engine.labeling.answers import MALFORMED, OK, REFUSED, UNREACHABLE, Answers, AnswerStore
from engine.labeling.endpoint import (
    Endpoint,
    EndpointError,
    EndpointSettings,
    Refused,
    Reply,
    Unreachable,
    estimate_tokens,
)
from engine.labeling.pairs import PairTexts
from engine.labeling.prompt import PROMPT_VERSION, MalformedAnswer, Prompt, Shown
from engine.on_ray import OnRay

_GUESSED_ANSWER_TOKENS = 45
"""One short sentence and a grade in JSON, for the plan."""
BLOCK = 64
"""Pairs a block where workers elsewhere ask: so many answers are asked for again when one dies."""
_GUESSED_FROM = 200
"""Prompts whose length is measured for the plan."""
_GIVEN_UP_IN_A_ROW = 20
"""So many pairs without any answer between them mean that the endpoint is gone."""


class Prices(NamedTuple):
    """Per million tokens, in whatever currency; None where not stated."""

    tokens_in: float | None = None
    tokens_out: float | None = None

    def cost(self, tokens_in: float, tokens_out: float) -> float | None:
        """None where neither price is stated."""
        if self.tokens_in is None and self.tokens_out is None:
            return None
        return (tokens_in * (self.tokens_in or 0.0) + tokens_out * (self.tokens_out or 0.0)) / 1e6


class Plan(NamedTuple):
    """What a run will do, before it does."""

    pairs: pd.DataFrame  # query_id, item_id of the pairs to ask now.
    chosen: int  # Pairs chosen, answered ones included.
    answered: int  # Of those, pairs whose answer is already stored.
    tokens_in: int  # Estimates, of all pairs to ask.
    tokens_out: int
    cost: float | None


@dataclass
class Tally:
    """Where a run stands; tokens count every answer paid for, unusable ones included."""

    total: int
    prices: Prices = field(default_factory=Prices)
    ok: int = 0
    malformed: int = 0
    refused: int = 0
    unreachable: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: bool = False  # Whether some tokens are guesses, because the server stated none.
    structured: bool = True  # Whether the server took the answer's schema, as far as it was asked.
    began: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Pairs that are through, with whatever end."""
        return self.ok + self.malformed + self.refused + self.unreachable

    @property
    def cost(self) -> float | None:
        """So far, by the stated prices."""
        return self.prices.cost(self.tokens_in, self.tokens_out)

    @property
    def rate(self) -> float:
        """Pairs a second."""
        return self.done / max(time.monotonic() - self.began, 1e-9)

    def remark(self) -> str:
        """What stands beside the bar."""
        return f"{self.rate:.1f} pairs/s · {self._spent()}"

    def summary(self) -> str:
        """What came of it."""
        failed = [(self.malformed, "malformed"), (self.refused, "refused"), (self.unreachable, "without an answer")]
        parts = [f"{self.ok:,} graded", *(f"{n:,} {what}" for n, what in failed if n)]
        if not self.structured:
            parts.append("the server takes no schema, so answers were read as text")
        return f"{', '.join(parts)}; {self.requests:,} requests, {self.rate:.1f} pairs/s, {self._spent()}"

    def _spent(self) -> str:
        about = "about " if self.estimated else ""
        cost = "" if self.cost is None else f" · cost {self.cost:,.2f}"
        return f"{about}{self.tokens_in:,} + {self.tokens_out:,} tokens{cost}"

    def add(self, record: dict[str, Any]) -> None:
        """Count one stored answer."""
        setattr(self, record["status"], getattr(self, record["status"]) + 1)
        self.tokens_in += record["tokens_in"]
        self.tokens_out += record["tokens_out"]
        self.estimated |= record["tokens_estimated"]
        self.structured &= record["structured"] is not False


def make_plan(
    pairs: pd.DataFrame,
    texts: PairTexts,
    prompt: Prompt,
    answers: Answers,
    *,
    limit: int | None = None,
    retry_failed: bool = False,
    prices: Prices = Prices(),  # noqa: B008 - immutable
) -> Plan:
    """What is left to ask of `pairs` (query_id, item_id), at most `limit` of them, in their order."""
    settled = answers.settled(retry_failed=retry_failed)
    keys = list(zip(pairs["query_id"], pairs["item_id"], strict=True))
    left = [n for n, key in enumerate(keys) if key not in settled]
    todo = pairs.iloc[left if limit is None else left[:limit]].reset_index(drop=True)
    measured = todo.head(_GUESSED_FROM)
    lengths = [
        estimate_tokens("".join(m["content"] for m in prompt.messages(texts.of(q, i))))
        for q, i in zip(measured["query_id"], measured["item_id"], strict=True)
    ]
    tokens_in = round(sum(lengths) / max(len(lengths), 1) * len(todo))
    tokens_out = _GUESSED_ANSWER_TOKENS * len(todo)
    return Plan(
        todo, len(pairs), len(pairs) - len(left), tokens_in, tokens_out, prices.cost(tokens_in, tokens_out)
    )  # fmt: skip


def plan_rows(
    plan: Plan, prompt: Prompt, settings: EndpointSettings, folder: Path, catalogue: str
) -> list[tuple[str, str]]:
    """The plan as a table of two columns."""
    cost = "not known: give --price-in and --price-out" if plan.cost is None else f"about {plan.cost:,.2f}"
    return [
        ("pairs chosen", f"{plan.chosen:,} of {catalogue}"),
        ("already answered", f"{plan.answered:,}"),
        ("to ask now", f"{len(plan.pairs):,}, {settings.parallel} at once"),
        ("model", f"{settings.model} at {settings.url}"),
        ("prompt", f"{PROMPT_VERSION} ({prompt.fingerprint}), grades {', '.join(map(str, prompt.scale))}"),
        ("tokens, estimated", f"{plan.tokens_in:,} in, {plan.tokens_out:,} out"),
        ("cost", cost),
        ("answers", str(folder)),
    ]


def run_plan(
    plan: Plan,
    texts: PairTexts,
    prompt: Prompt,
    settings: EndpointSettings,
    folder: Path,
    *,
    prices: Prices = Prices(),  # noqa: B008 - immutable
    watch: Callable[[Tally], None] = lambda tally: None,
    on_ray: OnRay | None = None,
) -> Tally:
    """Ask for every pair of the plan and store each answer in `folder` at once; `watch` hears of each.

    A pair that gets no answer, or no usable one, is stored as such and the rest goes on. With `on_ray`, its workers ask,
    a block of pairs at a time and `settings.parallel` requests at once between them all; answers are stored here, by block.
    Raises EndpointError where no request can succeed, or twenty pairs in a row got no answer; RunError where another
    process writes there; OSError where an answer cannot be stored.
    Interrupted at any point, the same call goes on with what is missing.
    """
    tally = Tally(len(plan.pairs), prices)
    pairs = zip(plan.pairs["query_id"], plan.pairs["item_id"], strict=True)
    asked = (Pair(query_id, item_id, texts.of(query_id, item_id)) for query_id, item_id in pairs)
    with AnswerStore(folder) as store:

        def keep(record: dict[str, Any], requests: int) -> None:
            store.append(record)
            tally.requests += requests
            tally.add(record)
            watch(tally)

        if on_ray is None:
            asyncio.run(_ask_all(asked, len(plan.pairs), prompt, settings, keep))
        else:
            workers = min(on_ray.workers, settings.parallel)
            work = Judging(prompt, replace(settings, parallel=settings.parallel // workers))
            every = list(asked)
            blocks = [every[start : start + BLOCK] for start in range(0, len(every), BLOCK)]
            for made in on_ray.over(work, blocks, most=workers):
                for record, requests in made["kept"]:
                    keep(record, requests)
                if made["failed"]:
                    raise EndpointError(made["failed"])
    return tally


class Pair(NamedTuple):
    """A pair to ask for."""

    query_id: str
    item_id: str
    shown: Shown


@dataclass(frozen=True)
class Judging:
    """Blocks of pairs to their answers; opened once a worker."""

    prompt: Prompt
    settings: EndpointSettings

    def __call__(self) -> Callable[[list[Any]], dict[str, Any]]:
        """The function that asks for a block: what is to be kept, and why the rest was not asked, if it was not."""

        def judge(block: list[Any]) -> dict[str, Any]:
            kept: list[tuple[dict[str, Any], int]] = []
            pairs = (Pair(query_id, item_id, Shown(*shown)) for query_id, item_id, shown in block)
            try:
                asyncio.run(
                    _ask_all(pairs, len(block), self.prompt, self.settings, lambda record, n: kept.append((record, n)))
                )
            except EndpointError as error:
                return {"kept": kept, "failed": str(error)}
            return {"kept": kept, "failed": ""}

        return judge


async def _ask_all(
    todo: Iterator[Pair], count: int, prompt: Prompt, settings: EndpointSettings,
    keep: Callable[[dict[str, Any], int], None],
) -> None:  # fmt: skip
    """Each answer goes to `keep`, with the requests sent since the last one."""
    silence = told = 0
    async with Endpoint(settings) as endpoint:

        async def work() -> None:
            nonlocal silence, told
            for pair in todo:
                record = await _judge_pair(endpoint, prompt, pair.shown)
                stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
                sent, told = endpoint.requests - told, endpoint.requests
                keep({"query_id": pair.query_id, "item_id": pair.item_id, **record, "at": stamp}, sent)
                silence = silence + 1 if record["status"] == UNREACHABLE else 0
                if silence >= _GIVEN_UP_IN_A_ROW:
                    raise EndpointError(
                        f"{settings.url} left {silence} pairs in a row without an answer; the last: {record['error']}. "
                        f"Answers so far are kept; repeat the command when it is back."
                    )

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(settings.parallel, count)):
                    group.create_task(work())
        except* (EndpointError, OSError) as errors:
            raise errors.exceptions[0] from None


async def _judge_pair(endpoint: Endpoint, prompt: Prompt, shown: Shown) -> dict[str, Any]:
    """The record of one pair: its grade, or why there is none, and everything that was answered."""
    began, settings = time.monotonic(), endpoint.settings
    record: dict[str, Any] = {
        "status": MALFORMED, "grade": None, "reason": None, "raw": [], "error": None, "model": settings.model,
        "served_model": None, "endpoint": settings.url, "prompt_version": PROMPT_VERSION,
        "prompt_hash": prompt.fingerprint, "structured": None, "left_out": None, "tokens_in": 0, "tokens_out": 0,
        "tokens_estimated": False,
    }  # fmt: skip
    messages = prompt.messages(shown)
    try:
        for _ in range(2):
            reply = await endpoint.ask(messages, prompt.response_format)
            _note(record, reply)
            try:
                judgment = prompt.read(reply.text)
            except MalformedAnswer as problem:
                record["error"] = str(problem)
                messages = prompt.sharper(messages, reply.text, str(problem))
            else:
                record |= {"status": OK, "grade": judgment.grade, "reason": judgment.reason, "error": None}
                break
    except Unreachable as error:
        record |= {"status": UNREACHABLE, "error": str(error)}
    except Refused as error:
        record |= {"status": REFUSED, "error": str(error)}
    return record | {"seconds": round(time.monotonic() - began, 3)}


def _note(record: dict[str, Any], reply: Reply) -> None:
    record["raw"].append(reply.text)
    record["served_model"] = reply.served_model
    record["structured"] = reply.structured
    record["left_out"] = list(reply.left_out)
    record["tokens_in"] += reply.tokens_in
    record["tokens_out"] += reply.tokens_out
    record["tokens_estimated"] |= reply.estimated
