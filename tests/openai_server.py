"""A real HTTP server on loopback that speaks OpenAI's chat-completions wire format and does what a test scripts.

    with OpenAIServer(text("Good morning.")) as server:
        ... settings = ModelSettings(model="m", base_url=server.url) ...
        server.requests[0].body["messages"]

Each request takes the next scripted behaviour. A script that has run out answers 400 and says so, except where `forever` is
given: a function of the request that makes the behaviour.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """What the server was sent. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request. `wait_s`: before it answers. `drop`: close without an answer."""

    payload: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drop: bool = False


def completion(message: dict[str, Any], *, finish_reason: str = "stop", usage: dict[str, Any] | None = None) -> Behaviour:
    """An answer with one choice. `usage` None: 10 prompt tokens, 5 completion tokens; {}: the answer has no usage."""
    answer: dict[str, Any] = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}],
    }  # fmt: skip
    counts = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15} if usage is None else usage
    return Behaviour(json.dumps(answer | ({"usage": counts} if counts else {})).encode())


def text(content: str, **more: Any) -> Behaviour:
    """An answer in words. Further keywords are fields of the message, such as `reasoning_content`."""
    return completion({"content": content, **more})


def calls(*tool_calls: tuple[str, Any, str | None], content: str | None = None, finish_reason: str = "tool_calls") -> Behaviour:
    """An answer with tool calls, each (name, arguments, id); arguments that are no text are written as JSON."""
    made = []
    for name, arguments, ident in tool_calls:
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        made.append({"type": "function", "function": {"name": name, "arguments": written}} | ({"id": ident} if ident else {}))
    return completion({"content": content, "tool_calls": made}, finish_reason=finish_reason)


def error(status: int, message: str = "it broke", *, headers: dict[str, str] | None = None, **fields: Any) -> Behaviour:
    """An error in OpenAI's form. Keywords are fields of the error, such as `code`."""
    body = json.dumps({"error": {"message": message, "type": "error", **fields}}).encode()
    return Behaviour(body, status=status, headers=headers or {})


def raw(payload: str, *, status: int = 200, content_type: str = "application/json") -> Behaviour:
    """Any text at all."""
    return Behaviour(payload.encode(), status=status, content_type=content_type)


def hang(seconds: float = 30.0) -> Behaviour:
    """No answer for a while (or until the server is closed)."""
    return Behaviour(wait_s=seconds, drop=True)


def drop() -> Behaviour:
    """The connection is closed without an answer."""
    return Behaviour(drop=True)


class OpenAIServer:
    """The server; use it as a context manager. Port 0: the system picks a free one."""

    def __init__(self, *script: Behaviour, forever: Callable[[Request], Behaviour] | None = None) -> None:
        self.requests: list[Request] = []
        self._script, self._forever = deque(script), forever
        self._lock, self._closing = Lock(), Event()

    def queue(self, *script: Behaviour) -> None:
        """Add to the script."""
        with self._lock:
            self._script.extend(script)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def _next(self, request: Request) -> Behaviour:
        with self._lock:
            self.requests.append(request)
            if self._script:
                return self._script.popleft()
        return self._forever(request) if self._forever else error(400, "the test's script has run out")

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5.0

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                behaviour = outer._next(Request(self.path, headers, json.loads(sent)))
                if behaviour.wait_s:
                    outer._closing.wait(behaviour.wait_s)
                if behaviour.drop:
                    self.close_connection = True
                    return
                self.send_response(behaviour.status)
                for name, value in behaviour.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", behaviour.content_type)
                self.send_header("Content-Length", str(len(behaviour.payload)))
                self.end_headers()
                self.wfile.write(behaviour.payload)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that gave up waiting

        self._server = Server(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
