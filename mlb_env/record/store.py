"""The store: FHIR R4 resources, shared below, copied on write above.

A `Base` is what stands in the record before an episode: it is indexed once, shared by all episodes of a case, and never
changed. A `Store` is one episode's copy: it costs nothing to make; writes go to an overlay of its own, and each write is
kept as a change. What is handed out is a copy or a text, so that nobody can change what lies below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

from ..spec.trajectory import RecordChange
from .definitions import Parameter, search_parameters
from .values import keys_of, values_of

Resource = dict[str, Any]
Author = Literal["agent", "clinician", "system"]
ZONE = "+08:00"  # mainland China


class Missing(Exception):
    """There is no such resource."""


class Base:
    """Resources that many episodes share, indexed by need.

    Args:
        resources: reference ("Observation/o1") -> resource. They are kept as they are and must not be changed afterwards.
        zone: the offset of times that state none ("+08:00").
    """

    def __init__(self, resources: Mapping[str, Resource], zone: str = ZONE) -> None:
        self.resources = dict(resources)
        self.zone = zone
        self.by_type: dict[str, list[str]] = {}
        for reference in self.resources:
            self.by_type.setdefault(reference.partition("/")[0], []).append(reference)
        self._texts: dict[str, str] = {}
        self._values: dict[tuple[str, str], list[Any]] = {}
        self._keys: dict[tuple[str, str], dict[str, set[str]]] = {}

    @classmethod
    def of(cls, resources: Iterable[Resource], zone: str = ZONE) -> Base:
        """From resources that have an id each."""
        return cls({f"{r['resourceType']}/{r['id']}": r for r in resources}, zone)

    def text(self, reference: str) -> str:
        """A resource as compact JSON."""
        if (text := self._texts.get(reference)) is None:
            text = self._texts[reference] = dumps(self.resources[reference])
        return text

    def values(self, reference: str, parameter: Parameter) -> list[Any]:
        """What a search parameter finds in a resource."""
        key = (reference, parameter.name)
        if (found := self._values.get(key)) is None:
            found = self._values[key] = values_of(self.resources[reference], parameter, self.zone)
        return found

    def having(self, kind: str, parameter: Parameter, key: str) -> set[str]:
        """References of a type whose token or reference parameter has a key."""
        if (index := self._keys.get((kind, parameter.name))) is None:
            index = {}
            for reference in self.by_type.get(kind, ()):
                for value in self.values(reference, parameter):
                    for one in keys_of(value):
                        index.setdefault(one, set()).add(reference)
            self._keys[kind, parameter.name] = index
        return index.get(key, set())

    @cached_property
    def owners(self) -> dict[str, str | None]:
        """Reference -> id of the patient it belongs to."""
        return {reference: owner(resource) for reference, resource in self.resources.items()}


class Store:
    """One episode's copy of a record.

    Args:
        base: what was there before.
        clock: episode minute -> FHIR instant, for `meta.lastUpdated`; None: the record has no clock, and stamps versions only.
    """

    def __init__(self, base: Base, clock: Callable[[int], str] | None = None) -> None:
        self.base = base
        self._clock = clock
        self.overlay: dict[str, Resource | None] = {}
        self._serial = 0
        self.changes: list[RecordChange] = []

    def clock(self, minute: int) -> str:
        """The instant of an episode minute ("" without a clock)."""
        return self._clock(minute) if self._clock else ""

    def _get(self, reference: str) -> Resource:
        found = self.overlay[reference] if reference in self.overlay else self.base.resources.get(reference)
        if found is None:
            raise Missing(reference)
        return found

    def read(self, reference: str) -> Resource:
        """A copy of one resource.

        Raises:
            Missing: there is no such resource.
        """
        copied: Resource = json.loads(self.text(reference))
        return copied

    def text(self, reference: str) -> str:
        """One resource as compact JSON.

        Raises:
            Missing: there is no such resource.
        """
        resource = self._get(reference)
        return dumps(resource) if reference in self.overlay else self.base.text(reference)

    def __contains__(self, reference: str) -> bool:
        return self.overlay.get(reference, self.base.resources.get(reference)) is not None

    def owner(self, reference: str) -> str | None:
        """The id of the patient that a resource belongs to.

        Raises:
            Missing: there is no such resource.
        """
        resource = self._get(reference)
        return owner(resource) if reference in self.overlay else self.base.owners[reference]

    def references(self, kind: str | None = None) -> Iterator[str]:
        """All references (of a type), in the order of the base, then of creation."""
        for reference in self.base.resources if kind is None else self.base.by_type.get(kind, ()):
            if self.overlay.get(reference, True) is not None:
                yield reference
        for reference, resource in self.overlay.items():
            if resource is not None and reference not in self.base.resources and (kind is None or reference.startswith(kind + "/")):
                yield reference

    def values(self, reference: str, parameter: Parameter) -> list[Any]:
        """What a search parameter finds in a resource of this store."""
        if reference not in self.overlay:
            return self.base.values(reference, parameter)
        return values_of(self._get(reference), parameter, self.base.zone)

    def find(self, kind: str, *, patient: str | None = None, text: str = "") -> list[str]:
        """References of the resources of a type, of one patient (their id) or of nobody, whose texts hold `text` (case-free)."""
        wanted = text.strip().lower()
        return [
            reference for reference in self.references(kind)
            if (patient is None or self.owner(reference) in (patient, None))
            and (not wanted or any(wanted in t.lower() for t in texts(self._get(reference))))
        ]  # fmt: skip

    def mark(self) -> tuple[dict[str, Resource | None], int, int]:
        """The state of now, for `back_to`."""
        return dict(self.overlay), self._serial, len(self.changes)

    def back_to(self, mark: tuple[dict[str, Resource | None], int, int]) -> None:
        """Undo what was written since `mark`."""
        self.overlay, self._serial, kept = dict(mark[0]), mark[1], mark[2]
        del self.changes[kept:]

    # --- writes -----------------------------------------------------------------------------------------------------

    def _stamp(self, resource: Resource, version: int, minute: int) -> Resource:
        meta = {**resource.get("meta", {}), "versionId": str(version)}
        if self._clock:
            meta["lastUpdated"] = self._clock(minute)
        return {**resource, "meta": meta}

    def create(self, resource: Resource, *, turn: int, minute: int, by: Author = "agent") -> str:
        """Add a resource under a new id; returns its reference."""
        self._serial += 1
        kind = resource["resourceType"]
        while f"{kind}/n{self._serial}" in self.base.resources:  # an imported chart may use such ids
            self._serial += 1
        created = self._stamp({**_copy(resource), "id": f"n{self._serial}"}, 1, minute)
        reference = f"{kind}/{created['id']}"
        self.overlay[reference] = created
        self.changes.append(
            RecordChange(turn=turn, minute=minute, operation="create", reference=reference, after=_copy(created), by=by)
        )
        return reference

    def update(self, reference: str, values: Mapping[str, Any], *, turn: int, minute: int, by: Author = "agent") -> None:
        """Set fields of a resource.

        Raises:
            Missing: there is no such resource.
        """
        self.put({**self.read(reference), **_copy(dict(values))}, turn=turn, minute=minute, by=by)

    def put(self, resource: Resource, *, turn: int, minute: int, by: Author = "agent") -> str:
        """Replace a resource as a whole; returns its reference.

        Raises:
            Missing: there is no such resource.
        """
        reference = f"{resource['resourceType']}/{resource['id']}"
        before = self.read(reference)
        version = int(before.get("meta", {}).get("versionId", "1")) if str(before.get("meta", {}).get("versionId", "1")).isdigit() else 1
        after = self._stamp(_copy(resource), version + 1, minute)
        self.overlay[reference] = after
        self.changes.append(
            RecordChange(turn=turn, minute=minute, operation="update", reference=reference, before=before, after=_copy(after), by=by)
        )
        return reference

    def delete(self, reference: str, *, turn: int, minute: int, by: Author = "agent") -> None:
        """Take a resource out.

        Raises:
            Missing: there is no such resource.
        """
        before = self.read(reference)
        self.overlay[reference] = None
        self.changes.append(RecordChange(turn=turn, minute=minute, operation="delete", reference=reference, before=before, by=by))


def dumps(value: Any) -> str:
    """Compact JSON, Chinese as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _copy(resource: Resource) -> Resource:
    copied: Resource = json.loads(json.dumps(resource))
    return copied


def searchable(kind: str) -> dict[str, Parameter]:
    """The search parameters of a type; those of every type where the type is not one of the hospital's own."""
    known = search_parameters()
    if kind in known:
        return known[kind]
    return {name: p for name, p in known["Observation"].items() if name in ("_id", "_lastUpdated", "identifier", "patient", "subject", "status")}


OWNER_FIELDS = ("subject", "patient", "beneficiary", "for", "individual")


def owner(resource: Resource) -> str | None:
    """The id of the patient a resource belongs to; None for what belongs to nobody (slots, schedules)."""
    if resource["resourceType"] == "Patient":
        return str(resource["id"])
    for key in OWNER_FIELDS:
        reference = resource.get(key, {}).get("reference", "") if isinstance(resource.get(key), dict) else ""
        if reference.startswith("Patient/"):
            return str(reference.removeprefix("Patient/"))
    for participant in resource.get("participant", ()) if resource["resourceType"] == "Appointment" else ():
        reference = participant.get("actor", {}).get("reference", "")
        if reference.startswith("Patient/"):
            return str(reference.removeprefix("Patient/"))
    return None


def texts(value: Any) -> Iterator[str]:
    """All strings in a resource."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
