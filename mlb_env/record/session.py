"""One user's session at the record: FHIR REST interactions on a store, with validation and the rights of a role.

The same `handle` answers the agents' raw FHIR tools and the HTTP server, so that both behave alike. Nothing is raised for
what a client sent: the answer is an OperationOutcome, and the record is as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .definitions import search_parameters
from .rights import RIGHTS, Role, may_not_write
from .search import BadSearch, bundle, parse_query, search
from .store import Missing, Resource, Store, dumps, owner
from .validate import outcome, problems

Refused = Literal["", "role", "foreign", "malformed"]
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,60}")
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
MAX_BODY = 10_000_000  # characters of one body
MAX_ENTRIES = 2000  # of a batch


@dataclass(frozen=True)
class Answer:
    """What an interaction came to: an HTTP status, a JSON body, why it was refused, and the references that it showed or wrote."""

    status: int
    body: str
    refused: Refused = ""
    refs: tuple[str, ...] = ()
    kind: str = ""  # the resource type it was about

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def problem(self) -> str:
        """The first diagnostics of an OperationOutcome."""
        issues = json.loads(self.body).get("issue", []) if not self.ok else []
        return "; ".join(i["diagnostics"] for i in issues)


def fault(status: int, text: str | list[str], code: str, refused: Refused = "", kind: str = "") -> Answer:
    """A failed interaction, as an OperationOutcome."""
    return Answer(status, dumps(outcome([text] if isinstance(text, str) else text, code)), refused, kind=kind)


@dataclass
class Session:
    """A role's view of a store. `patient`: the person whom the session is about; what belongs to others is closed to roles with rights to
    the own chart only. `turn` and `minute` are set by the caller before each interaction."""

    store: Store
    role: Role = "clinician"
    patient: str | None = None
    base_url: str = ""
    turn: int = 0
    minute: int = 0

    def handle(self, method: str, path: str, body: str = "") -> Answer:
        """One interaction: GET Type?query, GET Type/id, GET Patient/id/$everything, POST Type, PUT Type/id, DELETE Type/id, POST
        Type/_search, POST of a batch or transaction Bundle to the base.

        Args:
            method: GET, POST, PUT or DELETE.
            path: relative, with its query ("Observation?patient=self&code=718-7").
            body: the resource, or the form of a _search.
        """
        where, _, query = path.strip().lstrip("/").partition("?")
        if not where and method == "POST":
            return self._bundle(body)
        kind, _, rest = where.partition("/")
        if not _TYPE.fullmatch(kind):
            return fault(404, f"'{where[:80]}' is not Type, or Type/id (Observation, Patient/self)", "not-found", "malformed")
        if kind not in search_parameters() and not any(True for _ in self.store.references(kind)):
            listed = ", ".join(sorted(search_parameters()))
            return fault(404, f"this record system does not hold {kind}; it holds {listed}", "not-supported", "malformed", kind)
        if method == "GET" and rest.endswith("/$everything") and kind == "Patient":
            return self._everything(rest.removesuffix("/$everything"))
        if method == "POST" and rest == "_search":
            return self._search(kind, "&".join(q for q in (query, body) if q))
        if rest and not _ID.fullmatch(rest):
            return fault(404, f"'{rest[:80]}' is not an id; ids have 1 to 64 letters, digits, '-' or '.'", "not-found", "malformed", kind)
        match method, bool(rest):
            case "GET", False:
                return self._search(kind, query)
            case "GET", True:
                return self._read(kind, f"{kind}/{rest}")
            case "POST", False:
                return self._write(kind, "", body)
            case "PUT", True:
                return self._write(kind, rest, body)
            case "DELETE", True:
                return self._delete(kind, f"{kind}/{rest}")
        return fault(405, f"{method} is not possible on '{where[:80]}'", "not-supported", "malformed", kind)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _open(self, reference: str) -> bool:
        """Whether this session may see a resource."""
        return not RIGHTS[self.role].own_chart_only or self.store.owner(reference) in (self.patient, None)

    def _search(self, kind: str, query: str) -> Answer:
        try:
            pairs = parse_query(query)
            if asked := self._foreign(kind, pairs):
                return fault(403, f"'{asked[:60]}' is another person; your role opens the chart of {self.patient} only", "forbidden", "foreign", kind)
            found = search(self.store, kind, pairs, allowed=self._open if RIGHTS[self.role].own_chart_only else None)
        except BadSearch as error:
            return fault(400, str(error), error.code, "malformed", kind)
        return Answer(200, bundle(self.store, found, self.base_url), refs=(*found.matches, *found.included), kind=kind)

    def _foreign(self, kind: str, pairs: list[tuple[str, str]]) -> str:
        """Another person whom a search names, where that is not allowed."""
        if not RIGHTS[self.role].own_chart_only:
            return ""
        for name, value in pairs:
            if name in ("patient", "subject", "beneficiary", "patient:Patient", "subject:Patient") or (kind == "Patient" and name == "_id"):
                for one in value.split(","):
                    if one.removeprefix("Patient/") != self.patient:
                        return one
        return ""

    def _read(self, kind: str, reference: str) -> Answer:
        try:
            if not self._open(reference):
                return fault(403, f"{reference} belongs to another person; your role opens the chart of {self.patient} only", "forbidden",
                             "foreign", kind)  # fmt: skip
            return Answer(200, self.store.text(reference), refs=(reference,), kind=kind)
        except Missing:
            return fault(404, f"there is no {reference}", "not-found", kind=kind)

    def _everything(self, patient: str) -> Answer:
        reference = f"Patient/{patient}"
        first = self._read("Patient", reference)
        if not first.ok:
            return first
        refs = tuple(r for r in self.store.references() if self.store.owner(r) == patient)
        entries = ",".join(f'{{"fullUrl":{dumps(self.base_url + r)},"resource":{self.store.text(r)}}}' for r in refs)
        return Answer(200, f'{{"resourceType":"Bundle","type":"searchset","total":{len(refs)},"entry":[{entries}]}}', refs=refs, kind="Patient")

    # --- writing ----------------------------------------------------------------------------------------------------

    def _write(self, kind: str, id_: str, body: str) -> Answer:
        resource, problem = read_resource(body)
        if resource is None:
            return fault(400, problem, "structure", "malformed", kind)
        if resource.get("resourceType") != kind:
            return fault(400, f"resourceType is '{resource.get('resourceType')}', the address says {kind}", "invalid", "malformed", kind)
        if id_ and resource.setdefault("id", id_) != id_:
            return fault(400, f"the id in the resource is '{resource['id']}', the address says {id_}", "invalid", "malformed", kind)
        if refusal := may_not_write(self.role, resource):
            return fault(403, refusal, "forbidden", "role", kind)
        if found := problems({**resource, "id": id_ or "new"}, self.store.__contains__):
            return fault(422, found, "invalid", "malformed", kind)
        reference = f"{kind}/{id_}"
        if RIGHTS[self.role].own_chart_only and (owner(resource) or self.patient) != self.patient:
            return fault(403, f"the resource is about another person; your role writes about {self.patient} only", "forbidden", "foreign", kind)
        if not id_:
            made = self.store.create(resource, turn=self.turn, minute=self.minute)
            return Answer(201, self.store.text(made), refs=(made,), kind=kind)
        if reference not in self.store:
            return fault(404, f"there is no {reference}; create it by POST {kind}, which gives it its id", "not-found", kind=kind)
        if not self._open(reference):
            return fault(403, f"{reference} belongs to another person", "forbidden", "foreign", kind)
        if may_not_write(self.role, self.store.read(reference)):
            return fault(403, f"{reference} is no longer a proposal; your role ({self.role}) does not change it", "forbidden", "role", kind)
        self.store.put(resource, turn=self.turn, minute=self.minute)
        return Answer(200, self.store.text(reference), refs=(reference,), kind=kind)

    def _delete(self, kind: str, reference: str) -> Answer:
        if not RIGHTS[self.role].any_write:
            return fault(403, f"your role ({self.role}) deletes nothing", "forbidden", "role", kind)
        try:
            self.store.delete(reference, turn=self.turn, minute=self.minute)
        except Missing:
            return fault(404, f"there is no {reference}", "not-found", kind=kind)
        return Answer(204, "", refs=(reference,), kind=kind)


    def _bundle(self, body: str) -> Answer:
        """A batch, each entry for itself; or a transaction: all of it or nothing."""
        given, problem = read_resource(body)
        if given is None:
            return fault(400, problem, "structure", "malformed", "Bundle")
        entries = given.get("entry", [])
        if given.get("type") not in ("batch", "transaction") or not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
            return fault(400, f"a Bundle of type batch or transaction with at most {MAX_ENTRIES} entries is expected", "invalid", "malformed", "Bundle")
        before = self.store.mark()
        answers: list[Answer] = []
        for number, entry in enumerate(entries, 1):
            request = entry.get("request", {}) if isinstance(entry, dict) else {}
            resource = entry.get("resource") if isinstance(entry, dict) else None
            answer = self.handle(str(request.get("method", "")), str(request.get("url", "")) or "/", "" if resource is None else dumps(resource))
            if not answer.ok and given["type"] == "transaction":
                self.store.back_to(before)
                return fault(answer.status, f"entry {number}: {answer.problem}; nothing of the transaction was written", "invalid", answer.refused, "Bundle")
            answers.append(answer)
        listed = ",".join(_response(a) for a in answers)
        refs = tuple(r for a in answers for r in a.refs)
        return Answer(200, f'{{"resourceType":"Bundle","type":"{given["type"]}-response","entry":[{listed}]}}', refs=refs, kind="Bundle")


def _response(answer: Answer) -> str:
    """One entry of a response Bundle."""
    place = f',"location":{dumps(answer.refs[0])}' if answer.status == 201 else ""
    part = "resource" if answer.ok else "outcome"
    carried = f'"resource":{answer.body},' if answer.ok and answer.body else ""
    problem = f',"outcome":{answer.body}' if part == "outcome" else ""
    return f'{{{carried}"response":{{"status":"{answer.status}"{place}{problem}}}}}'


def read_resource(body: str) -> tuple[Resource | None, str]:
    """The JSON object in a body, or one sentence on why there is none."""
    if len(body) > MAX_BODY:
        return None, f"the body has {len(body)} characters; one resource may have {MAX_BODY}"
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        return None, f"the body is not JSON ({error})"
    if not isinstance(value, Mapping):
        return None, "the body has to be a JSON object with a resourceType"
    resource: dict[str, Any] = dict(value)
    return resource, ""
