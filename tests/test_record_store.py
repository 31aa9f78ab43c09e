"""The record's store: one copy per episode, FHIR R4 search, valid resources only, bundles in and out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mlb_env.errors import ContentError
from mlb_env.record.bundles import as_chart, collection, read_resources, to_lines
from mlb_env.record.definitions import search_parameters, value_sets
from mlb_env.record.search import BadSearch, bundle, parse_query, search
from mlb_env.record.session import Session
from mlb_env.record.store import Base, Missing, Store
from mlb_env.record.validate import problems

SYNTHEA = Path(__file__).resolve().parents[2] / "shared" / "data" / "fhir-synthea-r4"


def observation(id_: str, patient: str, code: str, when: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": id_, "status": "final", "subject": {"reference": f"Patient/{patient}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": f"test {code}"}], "text": f"name of {code}"},
        "effectiveDateTime": when, "valueQuantity": {"value": value, "unit": "mmol/L"}, **more,
    }  # fmt: skip


@pytest.fixture
def store() -> Store:
    return Store(
        Base.of(
            [
                {"resourceType": "Patient", "id": "a", "name": [{"text": "沈桂芬", "family": "Shen", "given": ["Guifen"]}], "gender": "female",
                 "birthDate": "1950-02-03"},
                {"resourceType": "Patient", "id": "b", "name": [{"text": "沈桂芳", "family": "Shen", "given": ["Guifang"]}], "gender": "female",
                 "birthDate": "1950-09-21"},
                observation("o1", "a", "2823-3", "2026-05-01", 4.1),
                observation("o2", "a", "2823-3", "2026-05-20T08:30:00+08:00", 3.1),
                observation("o3", "a", "718-7", "2026-05-20", 124, status="preliminary"),
                observation("o4", "b", "2823-3", "2026-05-21", 5.6),
                {"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "code": {"text": "panel"},
                 "subject": {"reference": "Patient/a"}, "result": [{"reference": "Observation/o2"}, {"reference": "Observation/o3"}]},
                {"resourceType": "Schedule", "id": "s", "active": True, "actor": [{"display": "clinic"}]},
            ]
        )
    )  # fmt: skip


def found(store: Store, kind: str, query: str) -> list[str]:
    return [r.partition("/")[2] for r in search(store, kind, parse_query(query)).matches]


# --- one copy per episode -----------------------------------------------------------------------------------------------


def test_writes_of_one_episode_are_not_seen_by_another(store: Store) -> None:
    other = Store(store.base)
    made = store.create(observation("x", "a", "1", "2026-06-01", 1), turn=1, minute=0)
    store.update("Patient/a", {"gender": "other"}, turn=1, minute=0)
    store.delete("Observation/o1", turn=1, minute=0)
    assert made in store and made not in other
    assert other.read("Patient/a")["gender"] == "female" and "Observation/o1" in other
    assert found(other, "Observation", "patient=a&code=2823-3") == ["o1", "o2"] and found(store, "Observation", "patient=a&code=2823-3") == ["o2"]


def test_what_is_read_is_a_copy(store: Store) -> None:
    store.read("Patient/a")["name"].clear()
    assert store.read("Patient/a")["name"]


def test_every_write_is_kept_with_before_and_after_and_gets_a_version(store: Store) -> None:
    made = store.create({"resourceType": "Flag", "status": "active"}, turn=2, minute=5)
    store.update(made, {"status": "inactive"}, turn=3, minute=6, by="clinician")
    store.delete(made, turn=4, minute=7)
    create, update, delete = store.changes
    assert create.after and create.after["meta"]["versionId"] == "1" and create.by == "agent"
    assert update.before and update.before["status"] == "active" and update.after and update.after["meta"]["versionId"] == "2" and update.by == "clinician"
    assert delete.operation == "delete" and delete.before and delete.after is None
    with pytest.raises(Missing):
        store.read(made)


def test_a_new_id_never_takes_one_of_the_chart() -> None:
    store = Store(Base.of([{"resourceType": "Flag", "id": "n1", "status": "active"}]))
    assert store.create({"resourceType": "Flag", "status": "active"}, turn=1, minute=0) == "Flag/n2"


# --- search -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("patient=a&code=2823-3", ["o1", "o2"]),
        ("subject=Patient/a&code=http://loinc.org|2823-3", ["o1", "o2"]),
        ("patient=Patient/a&code=http://other|2823-3", []),
        ("code=2823-3,718-7&patient=a", ["o1", "o2", "o3"]),
        ("status=final&patient=a", ["o1", "o2"]),
        ("status:not=final", ["o3"]),
        ("code:text=name of 718", ["o3"]),
        ("date=2026-05-20", ["o2", "o3"]),
        ("date=ge2026-05-20&patient=a", ["o2", "o3"]),
        ("date=gt2026-05-20", ["o4"]),
        ("date=lt2026-05", []),
        ("date=ge2026-05-01&date=lt2026-05-20", ["o1"]),
        ("date=2026-05", ["o1", "o2", "o3", "o4"]),
        ("value-quantity=gt5", ["o3", "o4"]),
        ("value-quantity=4.1||mmol/L", ["o1"]),
        ("value-quantity=4", ["o1"]),
        ("value-quantity=4.0", []),
        ("value-quantity=4.1||mg/dL", []),
        ("_id=o1,o4", ["o1", "o4"]),
        ("encounter:missing=true&patient=b", ["o4"]),
        ("patient=a&_sort=-date,_id", ["o2", "o3", "o1"]),
        ("_sort=value-quantity", ["o2", "o1", "o4", "o3"]),
    ],
)
def test_searching(store: Store, query: str, expected: list[str]) -> None:
    assert found(store, "Observation", query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [("name=沈", ["a", "b"]), ("name:contains=桂芬", ["a"]), ("name=guif", ["a", "b"]), ("given:exact=Guifen", ["a"]), ("given:exact=guifen", []),
     ("birthdate=1950-09-21", ["b"]), ("birthdate=lt1950-06", ["a"]), ("gender=female&family=shen", ["a", "b"])],
)  # fmt: skip
def test_searching_people(store: Store, query: str, expected: list[str]) -> None:
    assert found(store, "Patient", query) == expected


def test_searches_find_what_this_episode_wrote_and_not_what_it_changed_away(store: Store) -> None:
    store.update("Observation/o1", {"status": "amended"}, turn=1, minute=0)
    store.create(observation("", "a", "2823-3", "2026-06-01", 4.4), turn=1, minute=0)
    assert found(store, "Observation", "patient=a&code=2823-3") == ["o1", "o2", "n1"]
    assert found(store, "Observation", "patient=a&code=2823-3&status=final") == ["o2", "n1"]
    assert found(store, "Observation", "status=amended") == ["o1"]


def test_pages_link_to_one_another_and_cover_everything_once(store: Store) -> None:
    seen: list[str] = []
    query = "_count=2&_sort=_id"
    while query:
        page = json.loads(bundle(store, search(store, "Observation", parse_query(query))))
        assert page["total"] == 4
        seen += [e["resource"]["id"] for e in page["entry"]]
        query = next((link["url"].partition("?")[2] for link in page["link"] if link["relation"] == "next"), "")
    assert seen == ["o1", "o2", "o3", "o4"]


def test_includes_bring_what_is_referred_to_and_what_refers(store: Store) -> None:
    report = search(store, "DiagnosticReport", parse_query("_include=DiagnosticReport:result&_include=DiagnosticReport:patient"))
    assert report.included == ("Observation/o2", "Observation/o3", "Patient/a")
    person = search(store, "Patient", parse_query("_id=a&_revinclude=DiagnosticReport:patient"))
    assert person.included == ("DiagnosticReport/r1",)
    modes = [e["search"]["mode"] for e in json.loads(bundle(store, report))["entry"]]
    assert modes == ["match", "include", "include", "include"]


def test_counting_without_resources(store: Store) -> None:
    counted = json.loads(bundle(store, search(store, "Observation", parse_query("_summary=count"))))
    assert counted["total"] == 4 and "entry" not in counted


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("colour=red", "no search parameter 'colour'; it has: _id"),
        ("code:above=1", "no modifier 'above'; it has: missing, not, text"),
        ("patient.name=x", "chained search is not served"),
        ("date=yesterday", "is not a date"),
        ("date=2026-02-31", "not a date of the calendar"),
        ("value-quantity=big", "is not a number"),
        ("code=", "has no value"),
        ("_count=-1", "not a whole number"),
        ("_count=999999999999", "not a whole number"),
        ("_sort=colour", "no search parameter 'colour'"),
        ("_include=Observation:code", "is not one of"),
        ("_format=xml", "JSON is"),
        ("status:missing=maybe", "true or false"),
        ("&&&", "is not a query"),
    ],
)
def test_a_search_that_cannot_be_carried_out_says_what_would_do(store: Store, query: str, says: str) -> None:
    with pytest.raises(BadSearch, match=says.replace("(", r"\(")):
        search(store, "Observation", parse_query(query))


# --- validation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": "done"}, "status: 'done' is not one of"),
        ({"status": None}, "status"),
        ({"colour": "red"}, "colour"),
        ({"effectiveDateTime": "tomorrow"}, "effectiveDateTime"),
        ({"valueString": "x"}, "value"),
        ({"resourceType": "Spaceship"}, "not a FHIR R4 resource"),
        ({"resourceType": ""}, "resourceType is missing"),
        ({"subject": {"reference": "Patient/nobody"}}, "there is no Patient/nobody"),
        ({"code": "718-7"}, "code"),
    ],
)
def test_invalid_resources_are_named_by_element(store: Store, change: dict[str, Any], says: str) -> None:
    resource = {k: v for k, v in {**observation("x", "a", "1", "2026-05-01", 1), **change}.items() if v is not None}
    assert any(says in p for p in problems(resource, store.__contains__)), problems(resource, store.__contains__)


def test_what_is_no_resource_at_all_is_said_so() -> None:
    for value in ([], "x", None, 5):
        assert problems(value)


def test_the_value_sets_and_parameters_name_elements_that_exist() -> None:
    """Each path of our two tables leads somewhere in the library's models."""
    from fhir.resources.R4B import get_fhir_model_class

    def element(model: type[Any], path: str) -> bool:
        head, _, rest = path.partition(".")
        field = next((f for n, f in model.model_fields.items() if (f.alias or n) == head), None)
        if field is None or not rest:
            return field is not None
        inner = re.search(r"(\w+)Type\b", str(field.annotation))
        return inner is not None and element(get_fhir_model_class(inner.group(1)), rest)

    wrong = [f"{kind}.{path}" for kind, listed in value_sets().items() for path in listed if not element(get_fhir_model_class(kind), path)]
    wrong += [
        f"{kind}.{path}" for kind, listed in search_parameters().items() for p in listed.values() for path in p.paths if not element(get_fhir_model_class(kind), path)
        and p.name != "_lastUpdated"
    ]  # fmt: skip
    assert not wrong


# --- bundles ------------------------------------------------------------------------------------------------------------


def transaction() -> dict[str, Any]:
    return {
        "resourceType": "Bundle", "type": "transaction",
        "entry": [
            {"fullUrl": "urn:uuid:p", "resource": {"resourceType": "Patient", "id": "p", "gender": "male"}},
            {"fullUrl": "urn:uuid:o", "resource": {**observation("o", "x", "1", "2026-01-01", 1), "subject": {"reference": "urn:uuid:p"}}},
        ],
    }  # fmt: skip


def test_a_bundle_comes_in_with_its_references_and_goes_out_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_text(json.dumps(transaction()), encoding="utf-8")
    resources = read_resources(file)
    assert resources[1]["subject"]["reference"] == "Patient/p"
    out = tmp_path / "out.json"
    out.write_text(json.dumps(collection(resources)), encoding="utf-8")
    assert read_resources(out) == resources and not problems(collection(resources))
    lines = tmp_path / "out.ndjson"
    lines.write_text(to_lines(resources), encoding="utf-8")
    assert read_resources(lines) == resources
    assert as_chart(resources, file)[0]["subject"]["reference"] == "Patient/self"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON"),
        (b"{\"resourceType\": \"Bundle\", \"entry\": [", "is not JSON"),
        (b"[1, 2]", "is not a FHIR resource"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"resourceType": "Bundle", "entry": [5]}', "list of objects"),
        (b'{"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {"resourceType": "Patient"}}]}', "no id"),
        (b'{"resourceType": "Patient", "id": "a", "gender": "lady"}', "gender: 'lady' is not one of"),
        (b'{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "id": "a"}}, {"resource": {"resourceType": "Patient", "id": "a"}}]}',
         "stands twice"),
        (b"[" * 100_000, "is not JSON"),
    ],
)  # fmt: skip
def test_a_broken_bundle_is_one_sentence_with_its_place(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(content)
    with pytest.raises(ContentError, match=says) as caught:
        read_resources(file)
    assert "b.json" in str(caught.value)


@pytest.mark.skipif(not SYNTHEA.is_dir(), reason="shared/data is not beside this checkout")
def test_the_charts_of_synthea_validate_load_and_answer() -> None:
    for file in sorted(SYNTHEA.glob("*_*.json")):
        resources = read_resources(file)
        session = Session(Store(Base.of(resources)))
        (patient,) = (r["id"] for r in resources if r["resourceType"] == "Patient")
        answer = session.handle("GET", f"Observation?patient={patient}&category=vital-signs&_sort=-date&_count=5")
        page = json.loads(answer.body)
        dates = [e["resource"]["effectiveDateTime"] for e in page["entry"]]
        assert answer.status == 200 and page["total"] > 20 and len(dates) == 5 and dates == sorted(dates, reverse=True)
        everything = json.loads(session.handle("GET", f"Patient/{patient}/$everything").body)
        assert everything["total"] > 100
