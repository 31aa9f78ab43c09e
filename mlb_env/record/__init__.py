"""The record system: FHIR R4 resources, one isolated copy per episode."""
