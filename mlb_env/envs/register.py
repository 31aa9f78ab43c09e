"""Registers one Gymnasium environment per dimension: mlb/MedKQA-v0 to mlb/SmartCare-v0."""

from __future__ import annotations

import gymnasium

from ..spec.scenario import DIMENSIONS


def register() -> None:
    """Register what is not registered yet. Names only: nothing of the engine is loaded here."""
    for dimension in DIMENSIONS:
        name = f"mlb/{dimension}-v0"
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point="mlb_env.envs.env:MlbEnv",
                vector_entry_point="mlb_env.envs.vector:MlbVectorEnv",
                kwargs={"dimension": dimension},
            )
