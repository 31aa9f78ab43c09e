"""Build hook: the standard wheel carries the content folders inside the package; an editable install reads the checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ContentHook(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel" and version == "standard":
            for folder in ("scenarios", "patients", "agents"):
                build_data["force_include"][folder] = f"mlb_env/_content/{folder}"
