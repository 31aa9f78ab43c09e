"""The store: FHIR R4 resources as mappings, shared below, copied on write above.

A store costs nothing to make: the base is shared by all episodes of a case and never changed; writes go to an overlay that
belongs to one episode, and each write is kept as a change. Reading hands out copies, so that nobody can change the base.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from ..spec.trajectory import RecordChange

Resource = dict[str, Any]


class Missing(Exception):
    """There is no such resource."""


class Store:
    """One episode's copy of a record.

    Args:
        base: reference ("Observation/o1") -> resource; shared, never changed.
    """

    def __init__(self, base: Mapping[str, Resource]) -> None:
        self._base = base
        self._overlay: dict[str, Resource | None] = {}
        self._serial = 0
        self.changes: list[RecordChange] = []

    def _get(self, reference: str) -> Resource:
        found = self._overlay[reference] if reference in self._overlay else self._base.get(reference)
        if found is None:
            raise Missing(reference)
        return found

    def read(self, reference: str) -> Resource:
        """A copy of one resource.

        Raises:
            Missing: there is no such resource.
        """
        return copy.deepcopy(self._get(reference))

    def __contains__(self, reference: str) -> bool:
        return self._overlay.get(reference, self._base.get(reference)) is not None

    def references(self) -> Iterator[str]:
        """All references, in the order of the base, then of creation."""
        for reference in self._base:
            if self._overlay.get(reference, True) is not None:
                yield reference
        for reference, resource in self._overlay.items():
            if resource is not None and reference not in self._base:
                yield reference

    def search(self, resource_type: str, *, patient: str | None = None, text: str = "") -> list[Resource]:
        """Copies of the resources of a type, of one patient (their id), whose texts hold `text` (case-free)."""
        wanted = text.strip().lower()
        result = []
        prefix = resource_type + "/"
        for reference in self.references():
            if reference.startswith(prefix):
                resource = self._get(reference)
                if patient is not None and owner(resource) not in (patient, None):
                    continue
                if wanted and not any(wanted in t.lower() for t in texts(resource)):
                    continue
                result.append(copy.deepcopy(resource))
        return result

    def create(self, resource: Resource, *, turn: int, minute: int) -> str:
        """Add a resource under a new id; returns its reference."""
        self._serial += 1
        created = copy.deepcopy(resource)
        created["id"] = f"n{self._serial}"
        reference = f"{created['resourceType']}/{created['id']}"
        self._overlay[reference] = created
        self.changes.append(
            RecordChange(turn=turn, minute=minute, operation="create", reference=reference, after=copy.deepcopy(created))
        )
        return reference

    def update(self, reference: str, values: Mapping[str, Any], *, turn: int, minute: int) -> None:
        """Set fields of a resource.

        Raises:
            Missing: there is no such resource.
        """
        before = self.read(reference)
        after = {**before, **copy.deepcopy(dict(values))}
        self._overlay[reference] = after
        self.changes.append(
            RecordChange(
                turn=turn, minute=minute, operation="update", reference=reference, before=before, after=copy.deepcopy(after)
            )
        )


def owner(resource: Resource) -> str | None:
    """The id of the patient a resource belongs to; None for what belongs to nobody (slots, schedules)."""
    if resource["resourceType"] == "Patient":
        return str(resource["id"])
    for key in ("subject", "patient", "beneficiary", "for"):
        reference = resource.get(key, {}).get("reference", "") if isinstance(resource.get(key), dict) else ""
        if reference.startswith("Patient/"):
            return reference.removeprefix("Patient/")
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
