"""Who may do what in the record, by role (clinical design 0.1). Nobody but a clinician signs: agents propose and draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["service_desk", "clinical_assistant", "scribe", "clinician"]


@dataclass(frozen=True)
class Rights:
    """`write`: resource type -> what its elements have to be (one of); `own_chart_only`: no other person's chart is opened."""

    own_chart_only: bool = True
    any_write: bool = False
    write: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


_PROPOSED: dict[str, tuple[str, ...]] = {"status": ("draft",), "intent": ("proposal",)}
RIGHTS: dict[Role, Rights] = {
    "service_desk": Rights(write={"Appointment": {"status": ("booked", "proposed", "cancelled")}, "Flag": {}, "Task": {"intent": ("proposal",)}}),
    "clinical_assistant": Rights(
        write={
            "ServiceRequest": _PROPOSED, "MedicationRequest": _PROPOSED, "Flag": {}, "Task": {"intent": ("proposal",)},
            "Appointment": {"status": ("booked", "proposed", "cancelled")},
        }
    ),
    "scribe": Rights(write={"Composition": {"status": ("preliminary",)}, "Flag": {}}),
    "clinician": Rights(own_chart_only=False, any_write=True),
}  # fmt: skip


def may_not_write(role: Role, resource: Mapping[str, Any]) -> str:
    """Why a role may not write a resource as it is, in one sentence; "" if it may."""
    rights = RIGHTS[role]
    if rights.any_write:
        return ""
    kind = str(resource.get("resourceType", ""))
    if kind not in rights.write:
        return f"your role ({role}) does not write {kind}; it writes {', '.join(sorted(rights.write)) or 'nothing'}"
    for element, allowed in rights.write[kind].items():
        if resource.get(element) not in allowed:
            return f"your role ({role}) writes {kind} with {element}={' or '.join(allowed)} only; a clinician signs"
    return ""
