"""Carries out an agent's tool calls: the part that every desk has. The raw FHIR tools and `finish` live here; toolbox.py adds the
hospital around a patient.

Nothing is raised for what an agent sends: a wrong call gets one sentence that says what to mend, and every call is logged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ValidationError

from .effects import Flow, RecordReply, RecordRequest
from .record.session import Answer, Session, fault, read_resource
from .record.store import Resource, dumps
from .spec import forms
from .spec.action import ToolCall
from .spec.base import Lang, Model
from .spec.jsontext import BadJson, parse_json
from .spec.trajectory import RecordChange, ToolEvent

Refused = Literal["", "role", "identity", "foreign", "malformed", "alert"]


@dataclass
class Done:
    """What a call came to."""

    text: str
    ok: bool = True
    refused: Refused = ""
    refs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    minutes: int = 0
    alerts: tuple[str, ...] = ()


class Desk:
    """The tools of one episode. `turn` and `minute` are those of the call being carried out.

    Args:
        tools: the names that this role has.
        session: the role's session at the record.
        lang: of the texts.
        external: the address of a FHIR server that stands in for the store; the requests then leave as effects.
    """

    def __init__(self, tools: Sequence[str], session: Session, lang: Lang, external: str | None = None) -> None:
        self._tools, self._session, self._lang, self._external = tuple(tools), session, lang, external
        self.events: list[ToolEvent] = []
        self.conclusion: dict[str, Any] | None = None
        self.acts: list[str] = []  # codes of acts done, for the course
        self.answer: Answer | None = None  # of the last interaction with the record's store
        self._turn = self._minute = 0

    def publish(self, url: str) -> None:
        """The record's base address in its answers."""
        self._session.base_url = url

    @property
    def changes(self) -> list[RecordChange]:
        """What was written to the record, in order."""
        return self._session.store.changes

    def call(self, call: ToolCall, *, turn: int, minute: int) -> Flow[tuple[str, Done]]:
        """Carry one call out. Returns the tool's name and what it came to; never raises for what an agent sent."""
        self._turn, self._minute, self.answer = turn, minute, None
        self._session.turn, self._session.minute = turn, minute
        arguments: dict[str, Any] = {}
        if call.name not in forms.FORMS or call.name not in self._tools:
            known = call.name in forms.FORMS
            listed = ", ".join(self._tools)
            done = self._error(
                f"你的角色没有工具 {call.name}；可用的工具：{listed}" if known and self._zh
                else f"没有名为 {call.name[:60]} 的工具；可用的工具：{listed}" if self._zh
                else f"your role does not have the tool {call.name}; it has: {listed}" if known
                else f"there is no tool {call.name[:60]}; there are: {listed}",
                refused="role" if known else "malformed",
            )  # fmt: skip
        else:
            form, problem = _read(call)
            if form is None:
                done = self._error(problem, refused="malformed")
            else:
                arguments = form.model_dump(mode="json")
                handler: Callable[[Any], Done | Flow[Done]] = getattr(self, f"_do_{call.name}")
                made = handler(form)
                done = (yield from made) if isinstance(made, Generator) else made
        if done.ok:
            self._show(done.refs)
        self.events.append(
            ToolEvent(
                turn=turn, minute=minute, name=call.name[:80], arguments=arguments, ok=done.ok,
                error="" if done.ok else done.text, refused=done.refused, refs=done.refs, labels=done.labels, alerts=done.alerts,
            )
        )  # fmt: skip
        return call.name, done

    def due(self, minute: int) -> list[str]:
        """What has come in by now, as notices. Nothing does at a bare desk."""
        return []

    # --- helpers ----------------------------------------------------------------------------------------------------

    @property
    def _zh(self) -> bool:
        return self._lang == "zh"

    def _say(self, zh: str, en: str) -> str:
        return zh if self._zh else en

    def _error(self, text: str, refused: Refused = "") -> Done:
        return Done(text, ok=False, refused=refused)

    def _show(self, refs: tuple[str, ...]) -> None:
        """What these references make known."""

    # --- the record -------------------------------------------------------------------------------------------------

    def _do_fhir_search(self, form: forms.FhirSearch) -> Done | Flow[Done]:
        query = form.query.strip().lstrip("?")
        return self._interact("GET", f"{form.resource_type.strip()}{'?' if query else ''}{query}")

    def _do_fhir_read(self, form: forms.FhirRead) -> Done | Flow[Done]:
        return self._interact("GET", form.reference)

    def _do_fhir_create(self, form: forms.FhirCreate) -> Done | Flow[Done]:
        return self._interact("POST", str(form.resource.get("resourceType", "")), form.resource)

    def _do_fhir_update(self, form: forms.FhirUpdate) -> Done | Flow[Done]:
        return self._interact("PUT", f"{form.resource.get('resourceType', '')}/{form.resource.get('id', '')}", form.resource)

    def _interact(self, method: Literal["GET", "POST", "PUT"], path: str, resource: Resource | None = None) -> Done | Flow[Done]:
        body = "" if resource is None else dumps(resource)
        if self._external is None:
            self.answer = self._session.handle(method, path, body)
            return _done(self.answer)
        return self._ask_outside(method, path, body)

    def _ask_outside(self, method: Literal["GET", "POST", "PUT"], path: str, body: str) -> Flow[Done]:
        """The same on an external server. Its writes are kept as changes, as it answered them; a server that fails ends the episode."""
        assert self._external is not None
        (reply,) = yield (RecordRequest(base_url=self._external, method=method, path=path, body=body),)
        if not isinstance(reply, RecordReply):
            raise RecordFailed(getattr(reply, "reason", "the record server gave no answer"))
        resource, problem = read_resource(reply.body) if reply.body.strip() else ({}, "")
        if resource is None:
            raise RecordFailed(f"the record server answered {method} {path.partition('?')[0]} with what is not a resource ({problem})")
        if reply.status >= 400:
            text = reply.body if resource.get("resourceType") == "OperationOutcome" else f"HTTP {reply.status}"
            return Done(text, ok=False, refused="malformed" if reply.status in (400, 422) else "")
        refs = _references_of(resource)
        if method != "GET":
            refs = refs or (f"{path.partition('?')[0]}/{reply.created}",)
            after = resource if resource.get("id") else {**json.loads(body), "id": reply.created}
            self._session.store.changes.append(
                RecordChange(turn=self._turn, minute=self._minute, operation="create" if method == "POST" else "update", reference=refs[0],
                             after=after)
            )  # fmt: skip
        return Done(reply.body or dumps({"created": refs[0]}), refs=refs, labels=refs)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _conclude(self, form: Model) -> Done:
        self.conclusion = form.model_dump(mode="json")
        return Done(self._say("已提交。", "Submitted."))

    def _do_finish(self, form: forms.Finish) -> Done:
        return self._conclude(form)


class RecordFailed(Exception):
    """The external record server failed: the episode cannot go on and is left without a score."""


def _done(answer: Answer) -> Done:
    return Done(answer.body or "{}", ok=answer.ok, refused=answer.refused, refs=answer.refs, labels=answer.refs)


def refuse(status: int, text: str, code: str, refused: Refused = "") -> Done:
    """A refused interaction, in the form the raw tools answer with."""
    return replace(_done(fault(status, text, code)), refused=refused)


def _references_of(resource: Resource) -> tuple[str, ...]:
    if resource.get("resourceType") == "Bundle":
        return tuple(r for entry in resource.get("entry", []) for r in _references_of(entry.get("resource", {})))
    if resource.get("resourceType") and resource.get("id"):
        return (f"{resource['resourceType']}/{resource['id']}",)
    return ()


def _read(call: ToolCall) -> tuple[Model | None, str]:
    """The validated arguments, or one sentence on what is wrong with them."""
    try:
        data = parse_json(call.arguments) if call.arguments.strip() else {}
    except BadJson as error:
        return None, f"{call.name}: the arguments are not valid JSON ({error})"
    try:
        return forms.FORMS[call.name].model_validate(data), ""
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        return None, f"{call.name}: {place}: {first['msg'].removeprefix('Value error, ')}"
