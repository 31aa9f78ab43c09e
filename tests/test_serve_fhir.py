"""`mlb serve fhir`: real HTTP, a published client library (fhirpy) that works unchanged, and a third-party server that answers alike."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ForbiddenError, OperationOutcome, ResourceNotFound

from mlb_env.catalog.play import Play
from mlb_env.episode import Episode
from mlb_env.judge.grade import grade
from mlb_env.record.session import Session
from mlb_env.record.store import Base, Store
from mlb_env.serve.capability import statement
from mlb_env.serve.fhir import ChartBackend, EpisodeBackend, FhirServer, serve

CAPABILITY = statement("2026-06-01T08:00:00+08:00", "test")
OBSERVATION = {"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
               "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2026-06-01T09:00:00+08:00",
               "valueQuantity": {"value": 118, "unit": "mmHg"}}  # fmt: skip


def world() -> list[dict[str, Any]]:
    people = [{"resourceType": "Patient", "id": f"p{i}", "name": [{"family": family, "given": [given], "text": text}], "gender": gender,
               "birthDate": f"19{50 + i}-0{i}-1{i}", "identifier": [{"system": "urn:mrn", "value": f"M{i}"}]}
              for i, (family, given, text, gender) in enumerate(
                  [("Shen", "Guifen", "沈桂芬", "female"), ("Shen", "Guifang", "沈桂芳", "female"), ("He", "Xiu", "何秀", "male")], 1)]  # fmt: skip
    made = [
        {**OBSERVATION, "id": f"o{i}{day}", "subject": {"reference": f"Patient/p{i}"}, "effectiveDateTime": f"2026-0{i}-{day:02}",
         "status": "final" if day % 2 else "preliminary", "code": {"coding": [{"system": "http://loinc.org", "code": code}]}}
        for i in (1, 2, 3) for day, code in enumerate(("2823-3", "718-7", "2823-3", "6301-6"), 1)
    ]  # fmt: skip
    return [*people, *made]


@pytest.fixture
def chart() -> Iterator[FhirServer]:
    with serve(ChartBackend(Session(Store(Base.of(world())))), CAPABILITY) as server:
        yield server


def test_a_published_client_reads_searches_pages_creates_updates_and_deletes(chart: FhirServer) -> None:
    client = SyncFHIRClient(chart.url)
    patient = client.resources("Patient").search(identifier="M1").first()
    assert patient["name"][0]["family"] == "Shen"
    found = client.resources("Observation").search(patient="p1", code="2823-3").sort("-date").fetch()
    assert [o["id"] for o in found] == ["o13", "o11"]
    everything = client.resources("Observation").sort("date").limit(5).fetch_all()
    assert len(everything) == 12 and len({o["id"] for o in everything}) == 12
    made = client.resource("Observation", **{k: v for k, v in OBSERVATION.items() if k != "resourceType"})
    made.save()
    assert made["id"] and made["meta"]["versionId"] == "1"
    made["status"] = "amended"
    made.save()
    assert client.reference("Observation", made["id"]).to_resource()["status"] == "amended"
    made.delete()
    with pytest.raises(ResourceNotFound):
        client.reference("Observation", made["id"]).to_resource()


def test_the_published_client_gets_operation_outcomes(chart: FhirServer) -> None:
    client = SyncFHIRClient(chart.url)
    with pytest.raises(OperationOutcome, match="no search parameter 'colour'"):
        client.resources("Observation").search(colour="red").fetch()
    with pytest.raises(OperationOutcome, match="status: 'done' is not one of"):
        client.resource("Observation", **{**OBSERVATION, "status": "done", "resourceType": "Observation"}).save()


def test_the_capability_statement_is_valid_and_true(chart: FhirServer) -> None:
    from fhir.resources.R4B.capabilitystatement import CapabilityStatement

    got = httpx.get(f"{chart.url}/metadata")
    assert got.headers["content-type"].startswith("application/fhir+json")
    read = CapabilityStatement.model_validate_json(got.text)
    observation = next(r for r in read.rest[0].resource if r.type == "Observation")
    for parameter in observation.searchParam:
        value = {"date": "2026", "quantity": "1", "reference": "Patient/p1"}.get(parameter.type, "x")
        assert httpx.get(f"{chart.url}/Observation", params={parameter.name: value}).status_code == 200, parameter.name


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/Observation/none", b"", 404),
        ("GET", "/../secret", b"", 404),
        ("POST", "/Observation", b"\xff\xfe", 400),
        ("POST", "/Observation", b'{"resourceType": "Obs', 400),
        ("POST", "/Observation", b"[" * 50_000, 400),
        ("PATCH", "/Observation/o11", b"[]", 405),
        ("POST", "/$finish", b"{}", 404),
        ("PUT", "/Observation/o11", b"{}", 400),
        ("GET", "/Observation?" + "a=1&" * 200, b"", 400),
    ],
)
def test_bad_requests_get_an_outcome_and_change_nothing(chart: FhirServer, method: str, path: str, body: bytes, status: int) -> None:
    before = httpx.get(f"{chart.url}/Observation", params={"_count": 500}).json()
    got = httpx.request(method, chart.url + path, content=body)
    assert got.status_code == status and got.json()["resourceType"] == "OperationOutcome"
    assert httpx.get(f"{chart.url}/Observation", params={"_count": 500}).json() == before


def test_a_body_that_is_too_long_is_refused_and_a_client_that_hangs_up_harms_nobody(chart: FhirServer) -> None:
    host, port = chart.url.removeprefix("http://").removesuffix("/fhir").split(":")
    with socket.create_connection((host, int(port))) as link:
        link.sendall(b"POST /fhir/Observation HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert b"413" in link.recv(200)
    with socket.create_connection((host, int(port))) as link:
        link.sendall(b"POST /fhir/Observation HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
    assert httpx.get(f"{chart.url}/Patient/p1").status_code == 200


# --- an episode behind it -----------------------------------------------------------------------------------------------


def test_requests_are_actions_of_the_episode_and_are_graded(interactive: list[Play]) -> None:
    play = next(p for p in interactive if p.id == "madiagnosis-p04")
    episode = Episode(play, lang="en", record_tools="both", max_turns=100)
    episode.reset()
    ended: list[Episode] = []
    with serve(EpisodeBackend(episode, ended.append), CAPABILITY) as server:
        client = SyncFHIRClient(server.url)
        drugs = client.resources("MedicationStatement").search(patient="self").fetch()
        assert any("arfarin" in d["medicationCodeableConcept"]["text"] for d in drugs)
        with pytest.raises(ForbiddenError, match="another person"):
            client.resources("Observation").search(patient="other").fetch()
        said = httpx.post(f"{server.url}/$step", json={"content": "Which medicines do you take?"}).json()
        assert any(m["speaker"] == "patient" for m in said["messages"])
        order = {"resourceType": "ServiceRequest", "status": "draft", "intent": "proposal", "subject": {"reference": "Patient/self"}, "code": {"text": "INR"}}
        assert httpx.post(f"{server.url}/ServiceRequest", json=order).status_code == 201
        call = {"name": "submit_diagnosis", "arguments": json.dumps({"primary": {"name": "over-anticoagulation"}, "certainty": "probable"})}
        assert httpx.post(f"{server.url}/$step", json={"tool_calls": [call]}).json()["over"]
        assert httpx.get(f"{server.url}/Patient/self").status_code == 410
    trajectory = episode.trajectory()
    assert ended == [episode] and [e.name for e in trajectory.tools][:2] == ["fhir_search", "fhir_search"]
    assert any(h.criterion.startswith("X3") for h in grade(trajectory, play).score.harms)


def test_the_command_serves_until_the_end_and_ctrl_c_keeps_the_trajectory(tmp_path: Path) -> None:
    saved = tmp_path / "t.jsonl"
    command = [sys.executable, "-m", "mlb_env", "serve", "fhir", "madiagnosis-p06", "--port", "0", "--save", str(saved)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as server:
        assert server.stdout is not None
        url = next(line for line in server.stdout if line.startswith("FHIR R4 at")).split()[3].rstrip(";")
        assert httpx.get(f"{url}/Patient/self").json()["id"] == "self"
        server.send_signal(signal.SIGINT)
        assert "stopped from the keyboard" in server.stdout.read()
    assert server.returncode == 0 and json.loads(saved.read_text(encoding="utf-8"))["failure"] == "stopped from the keyboard"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "serves one thing"),
        (["nothing-of-the-kind"], "there is no scenario"),
        (["cmexam-001"], "mlb"),
        (["madiagnosis-p06", "--lang", "fr"], "there are en and zh"),
        (["--bundle", "no.json"], "cannot be read"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], says: str) -> None:
    done = subprocess.run([sys.executable, "-m", "mlb_env", "serve", "fhir", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


# --- a third-party server answers alike ---------------------------------------------------------------------------------

PEER = os.environ.get("MLB_FHIRPEER", "")
QUERIES = [  # of the subset that the peer serves: it knows no `patient=<bare id>`, no includes, no quantities
    "Patient?name=Guifen", "Patient?family=Shen", "Patient?birthdate=1951-01-11", "Patient?identifier=M3", "Patient?gender=male",
    "Observation?subject=Patient/p1", "Observation?subject=Patient/p2&code=2823-3", "Observation?code=http://loinc.org|718-7",
    "Observation?status=preliminary", "Observation?date=ge2026-02-01&date=lt2026-03-01", "Observation?date=gt2026-03-02",
    "Observation?_id=o11", "Observation?code=2823-3,6301-6&subject=Patient/p3",
]  # fmt: skip


@pytest.mark.fhirpeer
@pytest.mark.skipif(not PEER, reason="MLB_FHIRPEER (node_modules with Medplum's server) is not set; see make test-fhirpeer")
def test_the_same_calls_get_the_same_answers_from_a_third_party_server(chart: FhirServer, tmp_path: Path) -> None:
    file = tmp_path / "world.ndjson"
    file.write_text("".join(json.dumps(r) + "\n" for r in world()), encoding="utf-8")
    script = Path(__file__).with_name("fhirpeer") / "server.mjs"
    with subprocess.Popen(["node", str(script), PEER, str(file)], stdout=subprocess.PIPE, text=True) as peer:
        try:
            assert peer.stdout is not None
            theirs = f"http://127.0.0.1:{peer.stdout.readline().strip()}/fhir"
            for query in QUERIES:
                ours, other = (httpx.get(f"{base}/{query}", timeout=20).json() for base in (chart.url, theirs))
                ids = [sorted(e["resource"]["id"] for e in page.get("entry", [])) for page in (ours, other)]
                assert ids[0] == ids[1] and ids[0] and ours["total"] == other["total"], (query, ids)
            for base in (chart.url, theirs):
                client = SyncFHIRClient(base)
                made = client.resource("Observation", **{k: v for k, v in OBSERVATION.items() if k != "resourceType"})
                made.save()
                back = json.loads(json.dumps(client.reference("Observation", made["id"]).to_resource(), default=dict))
                assert {k: back[k] for k in OBSERVATION} == OBSERVATION
                made["status"] = "amended"
                made.save()
                assert client.resources("Observation").search(_id=made["id"]).first()["status"] == "amended"
                missing = httpx.get(f"{base}/Observation/none")
                assert missing.status_code == 404 and missing.json()["issue"][0]["code"] == "not-found"
            # known differences: the peer's name search leaves `name.text` out, and what it does not know it ignores, where we say so
            assert httpx.get(f"{chart.url}/Patient?name=沈桂芬").json()["total"] == 1 and httpx.get(f"{theirs}/Patient?name=沈桂芬").json()["total"] == 0
            for query, status in (("Observation?colour=red", 400), ("Spaceship?x=1", 404)):
                assert httpx.get(f"{chart.url}/{query}").status_code == status and httpx.get(f"{theirs}/{query}").status_code in (200, 400, 404)
        finally:
            peer.kill()
            time.sleep(0.1)
