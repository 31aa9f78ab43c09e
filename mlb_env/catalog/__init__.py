"""The catalog: finds and validates content."""
