"""Resources from files and to files: FHIR R4 Bundles (Synthea's transaction bundles too) and lines of JSON.

References inside a bundle (`urn:uuid:...`) become "Type/id". What is wrong is one sentence that names the file and the entry;
nothing is taken in by halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..catalog.play import Play
from ..catalog.read import read_lines, read_text
from ..errors import ContentError
from ..spec.jsontext import BadJson, parse_json
from ..spec.scenario import RecordTask
from .store import Base, Resource, Store, dumps
from .validate import problems

MAX_FILE = 200_000_000  # bytes


def read_resources(path: Path, *, validated: bool = True) -> list[Resource]:
    """The resources of a Bundle, of one resource, or of a file with one a line (.ndjson), in order.

    Raises:
        ContentError: the file cannot be read, is no JSON, or holds what is not valid FHIR R4; the first problem is named.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ContentError(f"cannot be read ({error.strerror})", path=str(path)) from None
    if size > MAX_FILE:
        raise ContentError(f"has {size} bytes; at most {MAX_FILE} are read", path=str(path))
    found = list(read_lines(path)) if path.suffix == ".ndjson" else _entries(_object(read_text(path), path), path)
    seen: set[str] = set()
    for number, resource in enumerate(found, 1):
        reference = f"{resource.get('resourceType')}/{resource.get('id')}"
        where = f"resource {number} ({reference})"
        if not resource.get("resourceType") or not resource.get("id"):
            raise ContentError(f"resource {number} has no resourceType or no id", path=str(path))
        if reference in seen:
            raise ContentError(f"{where} stands twice", path=str(path))
        seen.add(reference)
        if validated and (wrong := problems(resource)):
            raise ContentError(f"{where} is not valid FHIR R4: {wrong[0]}", path=str(path))
    return found


def _object(text: str, path: Path) -> Resource:
    try:
        value = parse_json(text)
    except BadJson as error:
        raise ContentError(f"is not JSON ({error})", path=str(path)) from None
    if not isinstance(value, dict):
        raise ContentError("is not a FHIR resource (a JSON object with a resourceType)", path=str(path))
    return value


def _entries(value: Resource, path: Path) -> list[Resource]:
    if value.get("resourceType") != "Bundle":
        return [value]
    entries = value.get("entry", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) and isinstance(e.get("resource"), dict) for e in entries):
        raise ContentError("entry has to be a list of objects with a resource each", path=str(path))
    return from_bundle(entries)


def from_bundle(entries: Iterable[Mapping[str, Any]]) -> list[Resource]:
    """The resources of a Bundle's entries, with ids, and references among them as "Type/id"."""
    made: list[Resource] = []
    names: dict[str, str] = {}
    for entry in entries:
        resource = dict(entry["resource"])
        full = str(entry.get("fullUrl", ""))
        if not resource.get("id") and full.startswith("urn:uuid:"):
            resource["id"] = full.removeprefix("urn:uuid:")
        if full:
            names[full] = f"{resource.get('resourceType')}/{resource.get('id')}"
        made.append(resource)
    return [_renamed(resource, names) for resource in made]


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: names.get(v, v) if k == "reference" and isinstance(v, str) else _renamed(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def as_chart(resources: list[Resource], path: Path) -> list[Resource]:
    """A person's resources as the chart of a case: the one Patient becomes `Patient/self` and is itself left out, since the case makes it.

    Raises:
        ContentError: there is no Patient, or several.
    """
    people = [f"Patient/{r['id']}" for r in resources if r["resourceType"] == "Patient"]
    if len(people) != 1:
        raise ContentError(f"holds {len(people)} Patient resources; a chart is of one person", path=str(path))
    names = {people[0]: "Patient/self"}
    return [_renamed(r, names) for r in resources if r["resourceType"] != "Patient"]


def to_lines(resources: Iterable[Resource]) -> str:
    """One resource a line."""
    return "".join(dumps(r) + "\n" for r in resources)


def chart_of(store: Store, patient: str) -> Iterator[Resource]:
    """The person, and everything that belongs to them, in order."""
    for reference in store.references():
        if store.owner(reference) == patient:
            yield store.read(reference)


def collection(resources: Iterable[Resource]) -> Resource:
    """A Bundle of type collection."""
    return {"resourceType": "Bundle", "type": "collection",
            "entry": [{"fullUrl": f"{r['resourceType']}/{r['id']}", "resource": r} for r in resources]}  # fmt: skip


def world_of(play: Play, task: RecordTask) -> Base:
    """The shared base of a record task's world; tasks of the same file share one.

    Raises:
        ContentError: the file is missing or broken.
    """
    assert play.world is not None
    try:
        changed = play.world.stat().st_mtime_ns
    except OSError as error:
        raise ContentError(f"the world of this task cannot be read ({error.strerror})", path=str(play.world)) from None
    return _load(play.world, changed, task.now[19:].replace("Z", "+00:00"))


@lru_cache(maxsize=8)
def _load(path: Path, changed: int, zone: str) -> Base:
    """A world file, read once for each state of the file (`changed`)."""
    return Base.of(read_resources(path, validated=False), zone)
