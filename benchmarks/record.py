"""The record's speed and size, on a large chart.

    python benchmarks/record.py [--bundle FILE ...] [--repeat N]

The chart is made of the given FHIR bundles (Synthea's, for example), repeated under new ids until it has 1,000 resources of one person;
without a bundle, of made-up observations. Printed: a reset to a fresh isolated copy (median, and beside it the copying of the whole chart
that it saves), searches and reads each second on one core, and the memory of 500 concurrent copies with writes in each.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from mlb_env.record.bundles import read_resources
from mlb_env.record.session import Session
from mlb_env.record.store import Base, Resource, Store

AT_LEAST = 1000
EPISODES = 500


def chart(bundles: list[Path]) -> list[Resource]:
    """At least 1,000 resources of one person, Patient/p."""
    source: list[Resource] = [r for file in bundles for r in read_resources(file, validated=False)] or [
        {"resourceType": "Observation", "id": f"o{i}", "status": "final", "subject": {"reference": "Patient/p"},
         "code": {"coding": [{"system": "http://loinc.org", "code": str(1000 + i % 40)}], "text": f"analyte {i % 40}"},
         "effectiveDateTime": f"20{10 + i % 15}-{1 + i % 12:02}-{1 + i % 28:02}", "valueQuantity": {"value": i, "unit": "mmol/L"}}
        for i in range(AT_LEAST)
    ]  # fmt: skip
    people = {f"Patient/{r['id']}" for r in source if r["resourceType"] == "Patient"}
    rest = [r for r in source if r["resourceType"] != "Patient"]
    made: list[Resource] = [{"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1960-01-01"}]
    turn = 0
    while len(made) < AT_LEAST:
        for r in rest:
            text = json.dumps({**r, "id": f"{r['id']}-{turn}"[-64:]})
            for person in people:
                text = text.replace(f'"{person}"', '"Patient/p"')
            made.append(json.loads(text))
        turn += 1
    return made


def each_second(work: Any, seconds: float = 1.0) -> float:
    """How often something is done in a second."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(50):
            work(done)
            done += 1
    return done / (time.perf_counter() - start)


def memory() -> float:
    """The most memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--repeat", type=int, default=2000)
    given = parser.parse_args()
    resources = chart(given.bundle)
    base = Base.of(resources)
    codes = sorted({c["code"] for r in resources if r["resourceType"] == "Observation" for c in r["code"].get("coding", [])})
    observations = list(base.by_type["Observation"])
    print(f"chart: {len(resources)} resources, {len(observations)} observations, {len(codes)} codes")

    times = []
    for _ in range(given.repeat):
        start = time.perf_counter()
        Store(base)
        times.append(time.perf_counter() - start)
    text = json.dumps(resources)
    start = time.perf_counter()
    json.loads(text)
    whole = time.perf_counter() - start
    median = statistics.median(times)
    print(f"reset: {median * 1000:.4f} ms median (copying the chart as a whole: {whole * 1000:.1f} ms; ratio {median / whole:.6f})")

    desk = Session(Store(base))
    searches = [f"Observation?patient=p&code={code}&_sort=-date&_count=10" for code in codes]
    print(f"search: {each_second(lambda i: desk.handle('GET', searches[i % len(searches)])):,.0f} a second (patient, code, sorted by date, 10 a page)")
    print(f"read:   {each_second(lambda i: desk.handle('GET', observations[i % len(observations)])):,.0f} a second")
    desk.handle("PUT", observations[0], json.dumps({**desk.store.read(observations[0]), "status": "amended"}))
    print(f"search after a write: {each_second(lambda i: desk.handle('GET', searches[i % len(searches)])):,.0f} a second")

    before = memory()
    copies = [Session(Store(base)) for _ in range(EPISODES)]
    for i, copy in enumerate(copies):
        for number in range(20):
            resource_ = {**copy.store.read(observations[number % len(observations)]), "note": [{"text": f"episode {i}"}]}
            copy.store.create(resource_, turn=1, minute=0)
        assert f"episode {i}" in copy.handle("GET", "Observation?patient=p&_id=n1").body
    print(f"memory: {memory():.0f} MiB in all with {EPISODES} copies of 20 writes each ({memory() - before:.0f} MiB of it theirs)")


if __name__ == "__main__":
    main()
