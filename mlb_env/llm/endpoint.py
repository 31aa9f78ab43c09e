"""The edge to model endpoints: carries chat requests out over the official openai package, and asks the person.

    with ModelEdge() as edge:
        (reply,) = edge.perform((ChatRequest(...),))

A failure is a reply (`effects.Failure`), never an exception. Retries (429, 408, 409, 5xx, timeouts, dropped connections; `Retry-After` is honoured,
pauses are jittered) are the openai package's own; an answer with status 200 that is none (no JSON, cut short, no choices) is asked for again here, within
the same number of attempts.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from ..effects import AskHuman, ChatReply, ChatRequest, Effect, Failure, HumanReply, ModelSettings, RecordRequest, Reply
from ..errors import UserError
from . import wire
from .pace import Gate, Paces
from .record_edge import RecordEdge

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI
    from openai._types import RequestOptions

_PATH = "/chat/completions"
_LONGEST_WAIT_S = 125.0  # between attempts; the openai package waits at most two minutes where a server says Retry-After
_GRACE_S = 5.0
_NO_ANSWER = (json.JSONDecodeError, RecursionError, UnicodeDecodeError)  # of an answer with status 200
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


@dataclass(frozen=True)
class _Endpoint:
    """An address and the key for it: what one client serves."""

    url: str | None
    key: str = field(repr=False)


class ModelEdge:
    """Carries effects out. Clients are made on first use, one per endpoint (and per event loop), and may be used again
    after a close.

    Args:
        paces: rate limits of the endpoints; in any case an endpoint that says it is overloaded is asked less.
        ask: answers `AskHuman`; blocks until the person has. None: asking fails, saying so. It is called in the calling
            thread, also by `aperform`: there is one keyboard, so one question at a time.
    """

    def __init__(self, *, ask: Callable[[AskHuman], str] | None = None, paces: Paces | None = None) -> None:
        self._ask = ask
        self._paces = paces or Paces()
        self._records = RecordEdge()
        self._lock = Lock()
        self._jitter = Random()  # of pauses; nothing that is written depends on it
        self._clients: dict[_Endpoint, tuple[OpenAI, Gate]] = {}
        self._async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Endpoint, tuple[AsyncOpenAI, Gate]]] = WeakKeyDictionary()

    @staticmethod
    def check(settings: ModelSettings) -> None:
        """Whether the settings can be used at all; nothing is sent.

        Raises:
            UserError: the key is missing where one is needed, or the base URL is no http(s) address.
        """
        _endpoint(settings)

    # --- the two ways -----------------------------------------------------------------------------------------------

    def perform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        """Carry effects out one after the other. Replies come in the order of the effects.

        `timeout_s` bounds connecting and every silence of an attempt.
        """
        return tuple(self._effect(e) for e in effects)

    def _effect(self, effect: Effect) -> Reply:
        match effect:
            case AskHuman():
                return self._person(effect)
            case RecordRequest():
                return self._records.perform(effect)
        return self._chat(effect)

    async def aperform(self, effects: tuple[Effect, ...]) -> tuple[Reply, ...]:
        """Carry effects out at the same time. Replies come in the order of the effects.

        As `perform`; besides, an endpoint that never falls silent and never finishes is given up after the time that
        all attempts could take.
        """
        if len(effects) == 1:  # the usual case, without a task of its own
            return (await self._aeffect(effects[0]),)
        return tuple(await asyncio.gather(*(self._aeffect(e) for e in effects)))

    async def _aeffect(self, effect: Effect) -> Reply:
        match effect:
            case AskHuman():
                return self._person(effect)
            case RecordRequest():
                return await self._records.aperform(effect)
        return await self._achat(effect)

    def _person(self, question: AskHuman) -> Reply:
        if self._ask is None:
            return Failure(f"the {question.role} is a person, and nobody can be asked in this session")
        try:
            return HumanReply(wire.clean(self._ask(question)))
        except EOFError:
            return Failure(f"the {question.role} is a person, and the input has ended")

    def _chat(self, request: ChatRequest) -> Reply:
        try:
            endpoint = _endpoint(request.settings)
            client, gate = self._client(endpoint)
        except UserError as error:
            return Failure(str(error))
        speaker = _speaker(request, endpoint, str(client.base_url))
        try:
            body = wire.body(request, speaker.host)
        except Exception as error:
            return _failure(error, speaker)
        left = request.settings.retries
        while True:
            gate.wait(expected := gate.about(body))
            reply: Reply | None = None
            try:
                reply = wire.read(client.post(_PATH, cast_to=object, body=body, options=_options(request.settings, left)), speaker)
            except Exception as error:
                reply = _failure(error, speaker)
                if not isinstance(error, _NO_ANSWER):
                    return reply
            finally:
                gate.leave(**_outcome(reply, expected))
            if left == 0 or not isinstance(reply, Failure):
                return reply
            left -= 1
            time.sleep(self._pause(request.settings.retries - left))

    async def _achat(self, request: ChatRequest) -> Reply:
        try:
            endpoint = _endpoint(request.settings)
            client, gate = self._async_client(endpoint)
        except UserError as error:
            return Failure(str(error))
        speaker = _speaker(request, endpoint, str(client.base_url))
        try:
            body = wire.body(request, speaker.host)
        except Exception as error:
            return _failure(error, speaker)
        retries, timeout = request.settings.retries, request.settings.timeout_s
        left = retries
        while True:
            await gate.aenter(expected := gate.about(body))
            reply: Reply | None = None
            try:
                async with asyncio.timeout((left + 1) * timeout + left * _LONGEST_WAIT_S + _GRACE_S):
                    reply = wire.read(await client.post(_PATH, cast_to=object, body=body, options=_options(request.settings, left)), speaker)
            except Exception as error:
                reply = _failure(error, speaker)
                if not isinstance(error, _NO_ANSWER):
                    return reply
            finally:
                gate.aleave(**_outcome(reply, expected))
            if left == 0 or not isinstance(reply, Failure):
                return reply
            left -= 1
            await asyncio.sleep(self._pause(retries - left))

    def _pause(self, attempt: int) -> float:
        """Seconds before the next attempt, after an answer that is none."""
        return min(_FIRST_PAUSE_S * 2.0 ** (attempt - 1), _LONGEST_PAUSE_S) * (0.75 + 0.5 * self._jitter.random())

    # --- clients ----------------------------------------------------------------------------------------------------

    def _client(self, endpoint: _Endpoint) -> tuple[OpenAI, Gate]:
        with self._lock:
            if endpoint not in self._clients:
                from openai import DefaultHttpxClient, OpenAI

                gate = Gate(self._paces.of(endpoint.url))
                watched = DefaultHttpxClient(event_hooks={"request": [partial(_asked, gate)], "response": [partial(_saw, gate)]})
                try:
                    self._clients[endpoint] = OpenAI(api_key=endpoint.key, base_url=endpoint.url, http_client=watched), gate
                except Exception as error:
                    raise _no_client(endpoint, error) from error
            return self._clients[endpoint]

    def _async_client(self, endpoint: _Endpoint) -> tuple[AsyncOpenAI, Gate]:
        with self._lock:
            clients = self._async_clients.setdefault(asyncio.get_running_loop(), {})
            if endpoint not in clients:
                from openai import AsyncOpenAI, DefaultAioHttpClient

                gate = Gate(self._paces.of(endpoint.url))
                # aiohttp: with hundreds of calls in flight the default transport spends most of a core on its pool
                watched = DefaultAioHttpClient(event_hooks={"request": [partial(_aasked, gate)], "response": [partial(_asaw, gate)]})
                try:
                    clients[endpoint] = AsyncOpenAI(api_key=endpoint.key, base_url=endpoint.url, http_client=watched), gate
                except Exception as error:
                    raise _no_client(endpoint, error) from error
            return clients[endpoint]

    def close(self) -> None:
        """Close the connections of `perform`."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client, _ in clients.values():
            client.close()

    async def aclose(self) -> None:
        """Close the connections of `aperform` in the running event loop, and those of `perform`."""
        with self._lock:
            clients = self._async_clients.pop(asyncio.get_running_loop(), {})
        for client, _ in clients.values():
            await client.close()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _endpoint(settings: ModelSettings) -> _Endpoint:
    """Where a role's model is, and the key for it.

    A server named by `base_url` (one's own, say) may need no key: then the key is "none".

    Raises:
        UserError: see `ModelEdge.check`.
    """
    variable, url = settings.key_variable, settings.base_url
    if url is not None:
        _check_url(url)
    key = os.environ.get(variable, "").strip()
    if not key and url is None:
        raise UserError(f"the environment variable {variable} is not set; set it, or name another with --key-variable")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the environment variable {variable} holds characters that no key has; set it again")
    return _Endpoint(url, key or "none")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0  # .port raises if no number
    except ValueError:
        good = False
    if not good:
        raise UserError(f"the base URL '{url.rpartition('@')[2]}' is no address; give one like http://127.0.0.1:8000/v1")


def _no_client(endpoint: _Endpoint, error: Exception) -> UserError:
    where = f"the base URL of {wire.host_of(endpoint.url)}" if endpoint.url else "the openai package's own settings"
    return UserError(f"no client can be made for {where} ({type(error).__name__})")


def _speaker(request: ChatRequest, endpoint: _Endpoint, base_url: str) -> wire.Speaker:
    return wire.Speaker(request.role, request.settings, wire.host_of(base_url), endpoint.key)


def _options(settings: ModelSettings, retries: int) -> RequestOptions:
    return {"max_retries": retries, "timeout": settings.timeout_s}


# --- what the gate is told -----------------------------------------------------------------------------------------------


def _asked(gate: Gate, request: Any) -> None:
    if request.headers.get("x-stainless-retry-count", "0") != "0":
        gate.again()


def _saw(gate: Gate, response: Any) -> None:
    try:
        after: float | None = float(response.headers.get("retry-after", ""))
    except ValueError:  # none, or a date, which the openai package reads for the call itself
        after = None
    gate.saw(response.status_code, after)


async def _aasked(gate: Gate, request: Any) -> None:
    _asked(gate, request)


async def _asaw(gate: Gate, response: Any) -> None:
    _saw(gate, response)


def _outcome(reply: Reply | None, expected: float) -> dict[str, Any]:
    used = None
    if isinstance(reply, ChatReply) and reply.prompt_tokens is not None:
        used = reply.prompt_tokens, reply.completion_tokens or 0
    return {"well": isinstance(reply, ChatReply), "expected": expected, "used": used}


def _failure(error: Exception, speaker: wire.Speaker) -> Failure:
    """The failure behind an exception of the openai package, which lets a few of its parts' own exceptions through."""
    import openai

    lost = _lost_connection(error)
    if lost is None and isinstance(error, openai.APITimeoutError | TimeoutError):
        return wire.too_slow(speaker)
    if lost is not None:
        return wire.unreachable(lost, speaker)
    if isinstance(error, openai.APIConnectionError):
        return wire.unreachable(error.__cause__, speaker)
    if isinstance(error, openai.APIStatusError):
        return wire.refused(error.status_code, error.body if error.body is not None else error.response.text, speaker)
    if isinstance(error, _NO_ANSWER):
        return wire.not_json(speaker)
    if isinstance(error, TypeError | ValueError):  # of the request: content or extra_body that is no JSON
        return Failure(f"the request to {speaker} cannot be written as JSON: {speaker.quote(error)}")
    return Failure(f"{speaker} failed: {type(error).__name__}: {speaker.quote(error)}")


def _lost_connection(error: BaseException) -> BaseException | None:
    """What broke the connection, somewhere among the causes: the transport over aiohttp calls a refused or dropped connection a time-out."""
    import aiohttp

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectionError) and not isinstance(cause, TimeoutError):
            return cause
        cause = cause.__cause__
    return None
