"""How a person talks. A persona changes how much, when and in which manner, never what is true."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import LL, Id, L, Model

Manner = Literal["empathy", "dismissive", "jargon", "scolding", "many_questions"]
InformantKind = Literal["self", "parent", "spouse", "adult_child", "carer", "bystander"]


class Persona(Model):
    """One way of talking. All wordings are seeded choices; none of them carries a fact of a case.

    language: the level of words the person uses and understands: `lay` (asks what technical words mean), `plain`, `professional`.
    max_answers: topics answered in one turn. volunteers: says related things unasked (where a fact allows it).
    lead, tail: fillers around an answer, each with the chance `filler_rate`.
    hears: the longest turn that is caught in full (characters in Chinese; words in English are half of it); None: any. Longer
        turns are asked to be said again, twice at most.
    recall: chance that an item of the past, drugs or family comes to mind when first asked for; asked again it does.
    guarded: so many questions on the past, habits and family are met with "why do you ask?" until the agent gives a reason or
        shows understanding.
    tension: how upset the person is at the start (0 to 3); understanding lowers it, `irritants` raise it. At 3 the person lets it
        out before answering (`vents`); when it falls to 0, says so (`settles`).
    reactions: what is said back to a manner of the agent's, once per manner.
    theory: what the person holds from the internet or hearsay, said with the second answer. It names no disease.
    informants: the kinds of informant it fits; empty: any.
    """

    id: Id
    label: L
    description: L
    language: Literal["lay", "plain", "professional"] = "plain"
    max_answers: int = Field(default=3, ge=1, le=6)
    volunteers: bool = True
    lead: LL = LL()
    tail: LL = LL()
    filler_rate: float = Field(default=0.3, ge=0, le=1)
    hears: int | None = Field(default=None, ge=20)
    recall: float = Field(default=1.0, ge=0, le=1)
    guarded: int = Field(default=0, ge=0, le=5)
    tension: int = Field(default=0, ge=0, le=3)
    irritants: tuple[Manner, ...] = ("dismissive", "scolding")
    vents: LL = LL()
    settles: LL = LL()
    reactions: dict[Manner, LL] = {}
    theory: LL = LL()
    informants: tuple[InformantKind, ...] = ()


class Personas(Model):
    """The file patients/personas.yaml."""

    personas: tuple[Persona, ...]
