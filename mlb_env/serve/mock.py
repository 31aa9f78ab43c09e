"""A mock model endpoint: OpenAI's chat-completions wire format, seeded answers, latency, and faults on demand. For benchmarks and tests of
runners; its answers mean nothing.

An answer depends on the seed and on what was sent, and on nothing else, so that a run against it is the same each time; faults are drawn
from the seed and the number of the request. Where tools are offered and it has spoken `turns` times, it calls the closing tool with a
random valid form.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ..errors import UserError
from ..shotgun import random_value
from ..spec.forms import CLOSING

FAULTS = ("429", "500", "hang", "drop", "garbage", "cut", "half", "empty")
QUESTIONS = (
    "When did this start, and how bad is it?", "Does anything make it better or worse?", "Do you take any medicines?", "Are you allergic to anything?",
    "Have you had a fever?", "这个情况多久了？", "平时吃什么药？", "有没有过敏？",
)  # fmt: skip
DROP, HANG, CUT = 0, 1, 2  # in place of a status
HANG_S = 600.0
MAX_HEAD, MAX_BODY = 64_000, 50_000_000  # bytes


@dataclass(frozen=True)
class MockSettings:
    """`latency_s` before each answer, uniformly more or less by `jitter_s`; `turns`: what it says before it concludes; `faults`: share of
    the requests for each kind: 429 (with Retry-After), 500, hang (no answer at all), drop (the connection), garbage (no JSON), cut (the connection breaks
    midway), half (JSON that ends midway), empty (no choices)."""

    latency_s: float = 0.2
    jitter_s: float = 0.0
    turns: int = 6
    seed: int = 0
    faults: dict[str, float] = field(default_factory=dict)


def read_faults(text: str) -> dict[str, float]:
    """ "429=0.05,drop=0.01" as shares.

    Raises:
        UserError: an unknown fault, a share outside 0 to 1, more than 1 in all.
    """
    found: dict[str, float] = {}
    for part in (p.strip() for p in text.split(",") if p.strip()):
        name, _, share = part.partition("=")
        if name not in FAULTS:
            raise UserError(f"--faults {part}: there are {', '.join(FAULTS)} (429=0.05,drop=0.01)")
        try:
            found[name] = float(share)
        except ValueError:
            raise UserError(f"--faults {part}: the share has to be a number from 0 to 1") from None
    if any(not 0 <= s <= 1 for s in found.values()) or sum(found.values()) > 1:
        raise UserError(f"--faults {text}: shares are from 0 to 1, and not more than 1 in all")
    return found


@dataclass
class Counters:
    """What a mock did: requests, and how many were under way at most."""

    requests: int = 0
    now: int = 0
    most: int = 0
    faults: int = 0


def answer(body: dict[str, Any], settings: MockSettings) -> dict[str, Any]:
    """The completion for a request body; a function of both and of nothing else."""
    messages = body.get("messages", [])
    digest = hashlib.sha256(json.dumps([settings.seed, body], ensure_ascii=False, sort_keys=True).encode()).hexdigest()
    rng = Random(digest)
    spoken = sum(m.get("role") == "assistant" for m in messages if isinstance(m, dict))
    tools = {t["function"]["name"]: t["function"] for t in body.get("tools", [])}
    closing = next((name for name in tools if name in CLOSING), None)
    message: dict[str, Any] = {"role": "assistant", "content": rng.choice(QUESTIONS)}
    if closing is not None and spoken + 1 >= settings.turns:
        arguments = random_value(tools[closing]["parameters"], rng)
        message["tool_calls"] = [{"id": f"call_{digest[:8]}", "type": "function",
                                  "function": {"name": closing, "arguments": json.dumps(arguments, ensure_ascii=False)}}]  # fmt: skip
    words = sum(len(str(m.get("content") or "")) for m in messages if isinstance(m, dict)) // 4
    return {
        "id": f"mock-{digest[:12]}", "object": "chat.completion", "created": 0, "model": body.get("model", "mock"),
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}],
        "usage": {"prompt_tokens": words, "completion_tokens": len(str(message)) // 4, "total_tokens": words + len(str(message)) // 4},
    }  # fmt: skip


class MockServer:
    """A running mock. `url`: its base address for OpenAI clients. Use it as a context manager."""

    def __init__(self, settings: MockSettings, port: int = 0) -> None:
        self.settings, self.counters = settings, Counters()
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failed: OSError | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = ""

    def __enter__(self) -> MockServer:
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        try:
            server = await asyncio.start_server(self._connection, "127.0.0.1", self._port, backlog=1024)
        except OSError as error:
            self._failed = error
            return
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.gather(*(t for t in asyncio.all_tasks(self._loop) if t is not asyncio.current_task()), return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except asyncio.CancelledError:
            pass  # the server is closing, and says so itself
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # a client that hangs up or speaks no HTTP ends its own connection, nobody else's
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; returns whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        came = self._loop.time()
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        length = int(headers.get("content-length", "0"))
        if length > MAX_BODY:
            return False
        data = await reader.readexactly(length)
        counters = self.counters
        number = counters.requests
        counters.requests += 1
        counters.now += 1
        counters.most = max(counters.most, counters.now)
        try:
            status, payload, more = self._answered(lines[0], data, number)
            rng = Random(f"{self.settings.seed}/{number}/wait")
            wait = self.settings.latency_s + rng.uniform(-1, 1) * self.settings.jitter_s
            await asyncio.sleep(max(0.0, came + wait - self._loop.time()))  # its own work is part of the latency
        finally:
            counters.now -= 1
        if status == HANG:
            await asyncio.sleep(HANG_S)
        if status in (DROP, HANG):
            return False
        sent = 200 if status == CUT else status
        writer.write(f"HTTP/1.1 {sent} -\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n{more}\r\n".encode() + (payload[: len(payload) // 2] if status == CUT else payload))
        await writer.drain()
        if status == CUT:
            return False
        return headers.get("connection", "").lower() != "close"

    def _answered(self, first: str, data: bytes, number: int) -> tuple[int, bytes, str]:
        """Status (or DROP, HANG, CUT), body and further headers."""
        method, _, path = first.partition(" ")
        if method != "POST" or not path.partition(" ")[0].endswith("/chat/completions"):
            return 404, b'{"error": {"message": "POST /v1/chat/completions is served"}}', ""
        fault = self._fault(number)
        if fault is not None:
            self.counters.faults += 1
        match fault:
            case "429":
                return 429, b'{"error": {"message": "slow down"}}', "Retry-After: 1\r\n"
            case "500":
                return 500, b'{"error": {"message": "it broke"}}', ""
            case "drop":
                return DROP, b"", ""
            case "hang":
                return HANG, b"", ""
            case "garbage":
                return 200, b"<html>not json</html>", ""
            case "empty":
                return 200, b'{"choices": []}', ""
        try:
            body = json.loads(data)
        except ValueError:
            return 400, b'{"error": {"message": "the body is not JSON"}}', ""
        payload = json.dumps(answer(body, self.settings), ensure_ascii=False).encode()
        match fault:
            case "half":
                return 200, payload[: len(payload) // 2], ""
            case "cut":
                return CUT, payload, ""
        return 200, payload, ""

    def _fault(self, number: int) -> str | None:
        drawn = Random(f"{self.settings.seed}/{number}/fault").random()
        for name, share in self.settings.faults.items():
            if drawn < share:
                return name
            drawn -= share
        return None
