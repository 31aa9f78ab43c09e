"""The one place that talks to model endpoints."""
