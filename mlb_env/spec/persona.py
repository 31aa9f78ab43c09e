"""How a person talks. A persona changes how much and in which manner, never what is true."""

from __future__ import annotations

from pydantic import Field

from .base import LL, Id, L, Model


class Persona(Model):
    """`max_answers`: topics answered in one turn. `volunteers`: says related things unasked (where a fact allows it).

    `lead` and `tail`: seeded fillers around an answer; they carry no fact.
    """

    id: Id
    label: L
    description: L
    max_answers: int = Field(default=3, ge=1, le=6)
    volunteers: bool = True
    lead: LL = LL()
    tail: LL = LL()
    filler_rate: float = Field(default=0.3, ge=0, le=1)


class Personas(Model):
    """The file patients/personas.yaml."""

    personas: tuple[Persona, ...]
