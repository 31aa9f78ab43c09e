"""The arguments of every tool, and the closing forms by which an agent concludes.

The forms are generic: the same fields and code lists for every scenario of a dataset, so they tell nothing about any one
case. Rules read these structures and never free text for meaning.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from .. import codes
from .base import Model
from .case import AtomState, Disposition, DrugAction, RecordField, Significance


def _of(name: str) -> AfterValidator:
    """A validator: the text is a code of the code list `name`."""

    def check(value: str) -> str:
        known = getattr(codes, name)()
        if value not in known:
            raise ValueError(f"'{value}' is not one of the codes of '{name}'; see the tool's schema")
        return value

    return AfterValidator(check)


def _coded(name: str) -> object:
    return Field(json_schema_extra={"code_list": name})


DepartmentCode = Annotated[str, _of("departments"), _coded("departments")]
SignCode = Annotated[str, _of("signs"), _coded("signs")]
ActCode = Annotated[str, _of("acts"), _coded("acts")]
TopicCode = Annotated[str, _of("topics"), _coded("topics")]
RegionCode = Annotated[str, _of("regions"), _coded("regions")]
ManoeuvreCode = Annotated[str, _of("manoeuvres"), _coded("manoeuvres")]
Text = Annotated[str, Field(max_length=4000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


# --- service desk -------------------------------------------------------------------------------------------------------


class VerifyIdentity(Model):
    name: Name
    phone_last4: Annotated[str, Field(max_length=20)]


class SearchRecords(Model):
    resource_type: Name
    text: Text = ""
    patient: Name = "self"


class ReadRecord(Model):
    reference: Name  # "Observation/r1"


class FhirSearch(Model):
    """`query` as in a FHIR address: "patient=self&code=718-7&date=ge2026-01-01&_sort=-date"."""

    resource_type: Name
    query: Text = ""


class FhirRead(Model):
    reference: Name  # "Observation/r1"


class FhirCreate(Model):
    resource: dict[str, Any]


class FhirUpdate(Model):
    """The whole resource, with its resourceType and id."""

    resource: dict[str, Any]


class ListSlots(Model):
    department: DepartmentCode


class BookAppointment(Model):
    slot: Name
    reason: Text = ""


class Escalate(Model):
    disposition: Literal["D1", "D2"]
    reason: Text = ""


class FlagDiscrepancy(Model):
    reference: Name
    note: Text


class DrugPoint(Model):
    name: Name
    action: DrugAction
    mg_per_dose: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    mg_per_day: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Reading(Model):
    item: Name  # the name or id of the report's line, as shown
    significance: Significance


class NextStep(Model):
    department: DepartmentCode
    window: Disposition
    what: Text = ""


class Close(Model):
    """The service desk's closing form."""

    disposition: Disposition
    department: DepartmentCode
    points: Annotated[list[Text], Field(max_length=20)] = []
    drugs: Annotated[list[DrugPoint], Field(max_length=20)] = []
    return_signs: Annotated[list[SignCode], Field(max_length=8)] = []
    readings: Annotated[list[Reading], Field(max_length=40)] = []
    follow_up: NextStep | None = None
    handed_over: bool = False


# --- clinical assistant -------------------------------------------------------------------------------------------------


class Examine(Model):
    region: RegionCode
    manoeuvre: ManoeuvreCode | None = None


class ProposeTest(Model):
    """One test asked for along the way (MADiagnosis)."""

    name: Name
    body_part: Annotated[str, Field(max_length=100)] = ""
    reason: Text = ""


class DraftPrescription(Model):
    """`dose` is the text of the prescription. The two numbers, in mg, are what the prescribing software checks against the limits.
    `override_reason` answers an alert that may be overridden."""

    drug: Name
    dose: Annotated[str, Field(max_length=200)] = ""
    mg_per_dose: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    mg_per_day: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    reason: Text = ""
    override_reason: Text = ""
    status: Annotated[str, Field(max_length=20)] = "draft"


class Refer(Model):
    department: DepartmentCode
    urgency: Literal["routine", "urgent", "stat"] = "routine"
    reason: Annotated[str, Field(min_length=1, max_length=4000)]


class ProposeAction(Model):
    act: ActCode
    reason: Text = ""


class Wait(Model):
    minutes: Annotated[int, Field(ge=1, le=240)]


class ProposedTest(Model):
    name: Name
    body_part: Annotated[str, Field(max_length=100)] = ""
    priority: Literal["now", "today", "routine"] = "today"
    reason: Text = ""
    rests_on: Annotated[list[Name], Field(max_length=20)] = []


class ProposeTests(Model):
    """The closing form of MAInspection; an empty list means that no further test is needed."""

    tests: Annotated[list[ProposedTest], Field(max_length=60)]
    none_reason: Text = ""


class NamedDiagnosis(Model):
    name: Name
    code: Annotated[str, Field(max_length=20)] = ""  # WHO ICD-10


class GroundPoint(Model):
    text: Text
    rests_on: Annotated[list[Name], Field(max_length=20)] = []


class SubmitDiagnosis(Model):
    """The closing form of MADiagnosis."""

    primary: NamedDiagnosis
    certainty: Literal["definite", "probable", "possible"]
    complications: Annotated[list[Name], Field(max_length=20)] = []
    differential: Annotated[list[Name], Field(max_length=40)] = []
    grounds: Annotated[list[GroundPoint], Field(max_length=40)] = []
    immediate_actions: Annotated[list[ActCode], Field(max_length=70)] = []


# --- scribe -------------------------------------------------------------------------------------------------------------


class NoteEntry(Model):
    """One statement of the note. `topic` and `state` are what rules read; `text` is the note."""

    text: Text
    topic: TopicCode | None = None
    state: AtomState | None = None


class WriteRecord(Model):
    """The closing form of MARecord: eight fields; sex, age and chief complaint are text."""

    sex: Annotated[str, Field(max_length=20)]
    age: Annotated[str, Field(max_length=20)]
    chief_complaint: Text
    present_illness: Annotated[list[NoteEntry], Field(max_length=400)]
    past_history: Annotated[list[NoteEntry], Field(max_length=400)]
    personal_history: Annotated[list[NoteEntry], Field(max_length=400)]
    marital_history: Annotated[list[NoteEntry], Field(max_length=400)]
    family_history: Annotated[list[NoteEntry], Field(max_length=400)]


# --- record tasks -------------------------------------------------------------------------------------------------------


class Finish(Model):
    """The closing form of a task in the record: the answer as a list; empty where the task asks for none."""

    answer: Annotated[list[Annotated[str, Field(max_length=2000)] | int | float], Field(max_length=50)] = []


NOTE_LISTS: tuple[RecordField, ...] = ("present_illness", "past_history", "personal_history", "marital_history", "family_history")
FORMS: dict[str, type[Model]] = {
    "verify_identity": VerifyIdentity, "search_records": SearchRecords, "read_record": ReadRecord, "list_slots": ListSlots,
    "book_appointment": BookAppointment, "escalate": Escalate, "flag_discrepancy": FlagDiscrepancy, "close": Close,
    "examine": Examine, "propose_test": ProposeTest, "draft_prescription": DraftPrescription, "propose_action": ProposeAction,
    "wait": Wait, "propose_tests": ProposeTests, "submit_diagnosis": SubmitDiagnosis, "write_record": WriteRecord,
    "refer": Refer, "fhir_search": FhirSearch, "fhir_read": FhirRead, "fhir_create": FhirCreate, "fhir_update": FhirUpdate,
    "finish": Finish,
}  # fmt: skip
CLOSING = frozenset({"close", "propose_tests", "submit_diagnosis", "write_record", "finish"})
RAW_RECORD = ("fhir_search", "fhir_read", "fhir_create", "fhir_update")
# The task-shaped tools whose work the raw ones can do.
TASK_RECORD = frozenset({"search_records", "read_record", "list_slots", "book_appointment", "flag_discrepancy", "draft_prescription",
                         "propose_test", "refer"})  # fmt: skip
