"""The journal of model calls: what an interrupted episode has been told already is not paid for twice; and cassettes, by which a whole run
is repeated without a model.

While a run goes on, every reply is a line of calls.jsonl: episode, role, number of the call, hash of the request, reply. A resumed
episode is played again from its start and fed with them; it goes on live where they end. What it asks has to be what it asked before.
A cassette is the same file kept apart and looked up by what was asked, whichever episode asked it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import orjson
from pydantic import ValidationError

from ..effects import ChatReply, ChatRequest, Edge, Effect, Failure, Reply
from ..errors import RunError, RunStops, UserError
from ..spec.action import ToolCall
from ..spec.base import Model
from ..spec.trajectory import Usage
from .budget import Budget, BudgetSpent

CALLS, PART = "calls.jsonl", "calls-{}.jsonl"
_SYNC_S = 3.0


class Call(Model):
    """One recorded call. `index`: the number of the call within its role and episode; `request`: hash of what was asked; `usd`: what it cost,
    where the price is known."""

    episode: str
    role: str
    index: int
    request: str
    reply: dict[str, Any]
    usd: float | None = None

    @property
    def tokens(self) -> int:
        return (self.reply.get("prompt_tokens") or 0) + (self.reply.get("completion_tokens") or 0)


class CallsDiffer(RunStops):
    """A resumed episode asks something else than it asked before it was interrupted."""


def request_hash(request: ChatRequest, trial: int) -> str:
    """What a call is known by: role, trial, model, messages, tools, parameters, seed. Addresses, keys, time-outs and retries are not in it."""
    settings = request.settings
    asked = [request.role, trial, settings.model, list(request.messages), list(request.tools), settings.temperature, settings.max_tokens,
             settings.extra_body, request.seed]  # fmt: skip
    try:
        text = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    except TypeError:  # half surrogate pairs, integers beyond 64 bits
        text = json.dumps(asked, sort_keys=True, default=str).encode()
    return hashlib.sha256(text).hexdigest()[:24]


def price(request: ChatRequest, reply: ChatReply) -> float | None:
    """What a call cost in US dollars; None where a price or a count is not known."""
    settings = request.settings
    if settings.usd_prompt is None or settings.usd_completion is None or reply.prompt_tokens is None or reply.completion_tokens is None:
        return None
    return (reply.prompt_tokens * settings.usd_prompt + reply.completion_tokens * settings.usd_completion) / 1e6


def dump(reply: ChatReply) -> dict[str, Any]:
    return {
        "content": reply.content, "tool_calls": [c.model_dump(mode="json") for c in reply.tool_calls], "thinking": reply.thinking,
        "refusal": reply.refusal, "finish_reason": reply.finish_reason, "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
    }  # fmt: skip


def load(data: dict[str, Any]) -> ChatReply:
    """The reply as it was.

    Raises:
        ValidationError, TypeError: the line was tampered with.
    """
    return ChatReply(**{**data, "tool_calls": tuple(ToolCall.model_validate(c) for c in data.get("tool_calls", ()))})


class CallLog:
    """An append-only file of calls. A line that a kill cut short is left out when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stream: IO[bytes] | None = None
        self._synced = time.monotonic()
        self._whole = -1  # the size up to the last whole line, once read

    def read(self) -> list[Call]:
        """The calls so far.

        Raises:
            UserError: a line in the middle is broken: the file is no log of calls.
        """
        if not self.file.exists():
            return []
        data = self.file.read_bytes()
        lines, found, size = data.split(b"\n"), [], 0
        for number, line in enumerate(lines, 1):
            if not line:
                size += number < len(lines)
                continue
            try:
                call = Call.model_validate_json(line)
                load(call.reply)
            except (ValidationError, TypeError, ValueError):
                if number == len(lines):  # cut short by a kill
                    break
                raise UserError(f"{self.file}, line {number}: not a recorded call; restore the file, or remove it to make the calls anew") from None
            if number == len(lines):  # whole, but its end was lost: it is written anew
                break
            size += len(line) + 1
            found.append(call)
        self._whole = size
        return found

    def lock(self) -> None:
        """Keep other writers out, making the file where it is not there.

        Raises:
            UserError: another process writes to it, or it cannot be written.
        """
        try:
            self._stream = self.file.open("ab")
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UserError(f"'{self.file}' is being written by another run; give each run a recording of its own") from None
        except OSError as error:
            raise UserError(f"'{self.file}' cannot be written ({error.strerror})") from None

    def add(self, call: Call) -> None:
        """Append one call; it survives the end of this process when this returns.

        Raises:
            RunError: the disk is full, or cannot be written.
        """
        try:
            if self._stream is None:
                self._stream = self.file.open("ab")
            if 0 <= self._whole < self._stream.seek(0, os.SEEK_END):
                self._stream.truncate(self._whole)  # the line that was cut short
            self._whole = -1
            self._stream.write(call.model_dump_json().encode() + b"\n")
            self._stream.flush()
            if time.monotonic() - self._synced > _SYNC_S:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise RunError(f"'{self.file}' cannot be written ({error.strerror}); the run can be resumed") from None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def gathered(folder: Path) -> CallLog:
    """The log of a run folder, with what processes that are gone left in logs of their own (`own_log`).

    Raises:
        UserError: one of them is no log of calls.
        RunError: the disk cannot be written.
    """
    log, parts = CallLog(folder / CALLS), sorted(folder.glob(PART.format("*")))
    if parts:
        calls = log.read() + [call for part in parts for call in CallLog(part).read()]
        written = folder / (CALLS + ".tmp")
        try:
            with written.open("wb") as stream:
                stream.writelines(call.model_dump_json().encode() + b"\n" for call in calls)
                stream.flush()
                os.fsync(stream.fileno())
            written.replace(log.file)
            for part in parts:
                part.unlink()
        except OSError as error:
            raise RunError(f"'{log.file}' cannot be written ({error.strerror}); the run can be resumed") from None
    return log


def discard(folder: Path) -> None:
    """Take the logs of a finished run away."""
    for file in (folder / CALLS, *folder.glob(PART.format("*"))):
        file.unlink(missing_ok=True)


def own_log(folder: Path) -> Path:
    """A new log for one process: what it was answered is on the disk before anybody else knows of it.

    Raises:
        RunError: the disk cannot be written.
    """
    try:
        for number in itertools.count(1):
            with contextlib.suppress(FileExistsError):
                file = folder / PART.format(number)
                file.open("xb").close()
                break
        return file
    except OSError as error:
        raise RunError(f"'{folder}' cannot be written ({error.strerror}); the run can be resumed") from None


class Cassette:
    """Replies by what was asked. `strict`: what it does not hold fails, instead of being asked live and added."""

    def __init__(self, file: Path, *, strict: bool = False) -> None:
        if strict and not file.exists():
            raise UserError(f"--offline-strict: there is no recording '{file}'")
        self.log, self.strict = CallLog(file), strict
        if not strict:
            self.log.lock()
        self._replies: dict[str, list[ChatReply]] = {}
        for call in self.log.read():
            self._replies.setdefault(call.request, []).append(load(call.reply))

    def find(self, request: str, occurrence: int) -> ChatReply | None:
        """The reply to the `occurrence`-th asking (from 0) of the same thing in one episode."""
        replies = self._replies.get(request, [])
        return replies[occurrence] if occurrence < len(replies) else None

    def add(self, call: Call, reply: ChatReply) -> None:
        """Record a new reply. Two episodes that ask the same at the same time both record theirs."""
        self._replies.setdefault(call.request, []).append(reply)
        self.log.add(call)


class Keeps(Protocol):
    """Where new calls go."""

    def add(self, call: Call) -> None: ...


@dataclass
class Calls:
    """The calls of one run: where new ones are kept, and the cassette if one was given. `fed`: replies that were not paid for again. `halted`:
    why no further call is begun; empty while calls are."""

    keeps: Keeps
    cassette: Cassette | None = None
    budget: Budget = field(default_factory=Budget)
    recorded: dict[str, dict[tuple[str, int], Call]] = field(default_factory=dict)
    fed: int = 0
    halted: str = ""

    @classmethod
    def open(cls, journal: CallLog, done: Iterable[str], cassette: Cassette | None = None, budget: Budget | None = None) -> Calls:
        """The calls of a run folder; those of episodes that are finished are not needed any more, but were paid for."""
        finished, calls = set(done), cls(journal, cassette, budget or Budget())
        for call in journal.read():
            calls.budget.add(call.tokens, call.usd)
            if call.episode not in finished:
                calls.remember(call)
        calls.halted = calls.budget.gone()
        return calls

    def remember(self, call: Call) -> None:
        """Feed this reply when its episode is played again."""
        self.recorded.setdefault(call.episode, {})[call.role, call.index] = call

    def add(self, call: Call) -> None:
        """Keep a new call. Where it spends the budget, no further one is begun.

        Raises:
            RunError: the disk is full, or cannot be written.
        """
        self.keeps.add(call)
        self.count(call)

    def count(self, call: Call) -> None:
        """A call that is kept elsewhere."""
        self.budget.add(call.tokens, call.usd)
        self.halted = self.halted or self.budget.gone()

    def forget(self, episode: str) -> int:
        """Leave out what was recorded of an episode: its agent does not resume inside. Returns how many calls that were."""
        return len(self.recorded.pop(episode, {}))

    def edge(self, inner: Edge, episode: str, trial: int) -> EpisodeEdge:
        """The edge of one episode."""
        return EpisodeEdge(inner, self, episode, trial)


class EpisodeEdge:
    """Numbers and hashes the model calls of one episode, feeds what is recorded, and records what is new. Everything else passes through.

    `stopped`: what has to stop the run came up in this episode, whatever the agent made of it.
    """

    def __init__(self, inner: Edge, calls: Calls, episode: str, trial: int) -> None:
        self._inner, self._calls, self._episode, self._trial = inner, calls, episode, trial
        self._indexes: dict[str, int] = {}
        self._occurrences: dict[str, int] = {}
        self._usd: dict[str, float | None] = {}
        self.stopped: RunStops | None = None

    def priced(self, role: str, usage: Usage) -> Usage:
        """A role's usage with what it cost, where the price of each of its calls is known."""
        return usage.model_copy(update={"cost": round(usd, 9)}) if (usd := self._usd.get(role)) is not None else usage

    def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        made: list[Reply] = []
        for effect in effects:
            if not isinstance(effect, ChatRequest):
                made += self._inner.perform((effect,))
                continue
            place = self._place(effect)
            known = self._known(effect, *place)
            made.append(known if known is not None else self._kept(self._inner.perform((effect,))[0], effect, *place))
        return tuple(made)

    async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        places = [self._place(e) if isinstance(e, ChatRequest) else None for e in effects]
        if len(effects) == 1:  # the usual case, without a task of its own
            return (await self._one(effects[0], places[0]),)
        return tuple(await asyncio.gather(*(self._one(e, p) for e, p in zip(effects, places, strict=True))))

    async def _one(self, effect: Effect, place: tuple[int, str, int] | None) -> Reply:
        if not isinstance(effect, ChatRequest) or place is None:
            return (await self._inner.aperform((effect,)))[0]
        known = self._known(effect, *place)
        return known if known is not None else self._kept((await self._inner.aperform((effect,)))[0], effect, *place)

    def _place(self, request: ChatRequest) -> tuple[int, str, int]:
        """The number of the call in its role, its hash, and how often the same was asked before."""
        index = self._indexes.get(request.role, 0)
        self._indexes[request.role] = index + 1
        digest = request_hash(request, self._trial)
        occurrence = self._occurrences.get(digest, 0)
        self._occurrences[digest] = occurrence + 1
        return index, digest, occurrence

    def _known(self, request: ChatRequest, index: int, digest: str, occurrence: int) -> Reply | None:
        """The reply that is on record.

        Raises:
            CallsDiffer: another request stands in its place.
        """
        call = self._calls.recorded.get(self._episode, {}).get((request.role, index))
        if call is not None:
            if call.request != digest:
                raise self._stops(CallsDiffer(f"the episode {self._episode} cannot be gone on with: call {index + 1} of its {request.role} asks something else than "
                                  "before the interruption (the agent is not a function of the transcript, or something it reads has changed); "
                                  "let the agent say `resumes_inside = False`, or start a new run"))  # fmt: skip
            return self._fed(load(call.reply), request)
        cassette = self._calls.cassette
        found = cassette.find(digest, occurrence) if cassette is not None else None
        if found is not None:
            return self._fed(found, request)
        if self._calls.halted:
            raise self._stops(BudgetSpent(self._calls.halted))
        return None if cassette is None or not cassette.strict else Failure(f"--offline-strict: call {index + 1} of the {request.role} is not in the recording")

    def _stops(self, error: RunStops) -> RunStops:
        self.stopped = error
        return error

    def _fed(self, reply: ChatReply, request: ChatRequest) -> ChatReply:
        self._calls.fed += 1
        self._count(request, reply)
        return reply

    def _count(self, request: ChatRequest, reply: ChatReply) -> float | None:
        """What the call cost, counted for its role: one call of unknown price makes the whole unknown."""
        usd = price(request, reply)
        so_far = self._usd.get(request.role, 0.0)
        self._usd[request.role] = None if so_far is None or usd is None else so_far + usd
        return usd

    def _kept(self, reply: Reply, request: ChatRequest, index: int, digest: str, occurrence: int) -> Reply:
        """Record a new reply; a failure is not recorded, so that it is tried again."""
        del occurrence
        if isinstance(reply, ChatReply):
            usd = self._count(request, reply)
            call = Call(episode=self._episode, role=request.role, index=index, request=digest, reply=dump(reply), usd=usd)
            try:
                self._calls.add(call)
                if self._calls.cassette is not None:
                    self._calls.cassette.add(call, reply)
            except RunError as error:  # of the disk, not of the episode
                raise self._stops(RunStops(str(error))) from None
        return reply
