"""Servers on loopback: an episode's record as a FHIR R4 endpoint."""
