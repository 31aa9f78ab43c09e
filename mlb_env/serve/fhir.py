"""A FHIR R4 endpoint on loopback: an episode's record, or a chart from a file, for agents and clients that speak FHIR REST.

Behind an episode every request is an action: it is logged in the trajectory as the raw tool that it amounts to, and graded.
Beside FHIR, `POST $step` carries out any action ({"content": ..., "tool_calls": [...]}) and `POST $finish` concludes a record task.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Protocol
from urllib.parse import unquote, urlsplit

from ..episode import Episode
from ..record.session import MAX_BODY, Answer, Session, fault
from ..record.store import dumps
from ..spec.action import Action, ToolCall
from ..spec.jsontext import BadJson, parse_json

PATH = "/fhir"
MEDIA = "application/fhir+json; charset=utf-8"


class Backend(Protocol):
    """What answers the requests."""

    def handle(self, method: str, path: str, body: str) -> Answer: ...

    def publish(self, url: str) -> None:
        """The base address under which it is served."""


class ChartBackend:
    """A session on a store, without an episode."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def publish(self, url: str) -> None:
        self._session.base_url = url + "/"

    def handle(self, method: str, path: str, body: str) -> Answer:
        if path.partition("?")[0].startswith("$"):
            return fault(404, "there is no episode behind this record; $step and $finish need one", "not-found")
        return self._session.handle(method, path, body)


class EpisodeBackend:
    """An episode whose record is served: each request is one action of it. `on_end` is called once, when it is over."""

    def __init__(self, episode: Episode, on_end: Callable[[Episode], None]) -> None:
        self._episode, self._on_end = episode, on_end

    def publish(self, url: str) -> None:
        self._episode.publish_record(url + "/")

    def handle(self, method: str, path: str, body: str) -> Answer:
        if self._episode.over:
            return fault(410, f"the episode is over ({self._episode.stop_reason})", "expired")
        action, problem = _action(method, path, body)
        if action is None:
            return fault(400, problem, "invalid", "malformed")
        observation = self._episode.step(action)
        if self._episode.over:
            self._on_end(self._episode)
        if path.startswith("$"):
            return Answer(200, dumps({"over": self._episode.over, "messages": [m.model_dump(mode="json") for m in observation.messages]}))
        answer = self._episode.answer
        if answer is not None and answer.ok:
            return answer
        text = next((m.content for m in observation.messages if m.speaker == "tool"), "")
        if answer is not None and not answer.ok:
            return answer
        return Answer(403, text) if text.startswith("{") else fault(403, text, "forbidden", "role")


def _action(method: str, path: str, body: str) -> tuple[Action | None, str]:
    """The action that a request amounts to, or one sentence on why there is none."""
    where, _, query = path.partition("?")
    try:
        data: Any = parse_json(body) if body.strip() else {}
    except BadJson as error:
        if method != "POST" or not where.endswith("_search"):
            return None, f"the body is not JSON ({error})"
        data = {}
    if where == "$step":
        if not isinstance(data, dict):
            return None, "$step takes an object with content and tool_calls"
        return Action.from_text(dumps(data)), ""
    if where == "$finish":
        return Action(tool_calls=(ToolCall.of("finish", **(data if isinstance(data, dict) else {"answer": data})),)), ""
    kind, _, id_ = where.partition("/")
    match method:
        case "POST" if id_ == "_search":
            joined = "&".join(q for q in (query, body) if q)
            return Action(tool_calls=(ToolCall.of("fhir_search", resource_type=kind, query=joined),)), ""
        case "GET" if not id_:
            return Action(tool_calls=(ToolCall.of("fhir_search", resource_type=kind, query=query),)), ""
        case "GET":
            return Action(tool_calls=(ToolCall.of("fhir_read", reference=where),)), ""
        case "POST" if isinstance(data, dict) and kind:
            return Action(tool_calls=(ToolCall.of("fhir_create", resource=data),)), ""
        case "PUT" if isinstance(data, dict) and id_:
            if data.setdefault("id", id_) != id_ or data.get("resourceType") != kind:
                return None, f"the resource is {data.get('resourceType')}/{data['id']}, the address says {where}"
            return Action(tool_calls=(ToolCall.of("fhir_update", resource=data),)), ""
    return None, f"{method} {where[:80]} is not served behind an episode"


@dataclass
class FhirServer:
    """A running endpoint. `url`: its FHIR base address."""

    url: str
    _server: ThreadingHTTPServer
    _thread: threading.Thread

    def close(self) -> None:
        """Stop serving; requests under way are answered."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> FhirServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(backend: Backend, capability: dict[str, Any], *, port: int = 0) -> FhirServer:
    """Serve a backend on 127.0.0.1, in a thread of its own; requests are carried out one at a time.

    Args:
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    lock = threading.Lock()

    def respond(method: str, path: str, body: str) -> Answer:
        with lock:
            return backend.handle(method, path, body)

    handler = type("Handler", (_Handler,), {"respond": staticmethod(respond), "capability": dumps(capability)})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    url = f"http://127.0.0.1:{server.server_address[1]}{PATH}"
    backend.publish(url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    return FhirServer(url, server, thread)


class _Handler(BaseHTTPRequestHandler):
    """HTTP on one side, `Backend.handle` on the other."""

    protocol_version = "HTTP/1.1"
    capability: ClassVar[str]
    respond: ClassVar[Callable[[str, str, str], Answer]]
    timeout = 60  # seconds of silence of a client

    def _serve(self) -> None:
        body, refusal = self._body()
        answer = refusal or self._route(body)
        self._send(answer)

    def _body(self) -> tuple[str, Answer | None]:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            return "", fault(413, f"a body may have {MAX_BODY} bytes", "too-long")
        try:
            return self.rfile.read(int(length)).decode("utf-8"), None
        except UnicodeDecodeError:
            return "", fault(400, "the body is not UTF-8", "structure", "malformed")

    def _route(self, body: str) -> Answer:
        parts = urlsplit(self.path)
        if parts.path != PATH and not parts.path.startswith(PATH + "/"):
            return fault(404, f"FHIR is served under {PATH}", "not-found")
        inner = unquote(parts.path.removeprefix(PATH).strip("/"))
        if inner == "metadata" and self.command == "GET":
            return Answer(200, self.capability)
        if self.command not in ("GET", "POST", "PUT", "DELETE"):
            return fault(405, f"{self.command} is not served; GET, POST, PUT and DELETE are", "not-supported")
        return type(self).respond(self.command, inner + (f"?{parts.query}" if parts.query else ""), body)

    def _send(self, answer: Answer) -> None:
        payload = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", MEDIA)
        self.send_header("Content-Length", str(len(payload)))
        if answer.status == 201 and answer.refs:
            host = self.headers.get("Host", "127.0.0.1")
            self.send_header("Location", f"http://{host}{PATH}/{answer.refs[0]}")
        if answer.status in (200, 201) and answer.refs and len(answer.refs) == 1:
            version = _version(answer.body)
            if version:
                self.send_header("ETag", f'W/"{version}"')
        self.end_headers()
        if self.command != "HEAD" and answer.status != 204:
            self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve  # noqa: N815  names of http.server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is written about requests: the trajectory has them."""


def _version(body: str) -> str:
    resource = json.loads(body) if body.startswith("{") else {}
    return str(resource.get("meta", {}).get("versionId", "")) if isinstance(resource, dict) else ""
