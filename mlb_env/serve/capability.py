"""The CapabilityStatement of the FHIR endpoint, made from the search parameters that are really served."""

from __future__ import annotations

from typing import Any

from ..record.definitions import search_parameters

INTERACTIONS = ("read", "search-type", "create", "update", "delete")


def statement(date: str, version: str) -> dict[str, Any]:
    """A CapabilityStatement, as `GET metadata` gives it."""
    return {
        "resourceType": "CapabilityStatement", "status": "active", "date": date, "kind": "instance", "fhirVersion": "4.0.1",
        "format": ["json"], "software": {"name": "mlb-env", "version": version},
        "implementation": {"description": "the record of one simulated episode; research use only"},
        "rest": [
            {
                "mode": "server",
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
                "resource": [
                    {
                        "type": kind, "versioning": "versioned", "interaction": [{"code": code} for code in INTERACTIONS],
                        "searchInclude": [f"{kind}:{p.name}" for p in parameters.values() if p.kind == "reference"],
                        "searchParam": [{"name": p.name, "type": p.kind} for p in parameters.values()],
                        **({"operation": [{"name": "everything",
                                           "definition": "http://hl7.org/fhir/OperationDefinition/Patient-everything"}]}
                           if kind == "Patient" else {}),
                    }
                    for kind, parameters in search_parameters().items()
                ],
            }
        ],
    }  # fmt: skip
