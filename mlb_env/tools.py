"""The tools as agents see them: JSON-schema functions with descriptions in the scenario's language."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from . import codes
from .spec.base import L, Lang
from .spec.forms import FORMS, RAW_RECORD, TASK_RECORD

RecordTools = Literal["task", "fhir", "both"]

DESCRIPTIONS: dict[str, L] = {
    "verify_identity": L(
        zh="核对身份：姓名与登记手机号后四位。查看病历前必须先核对。",
        en="Check the person's identity by name and the last four digits of the registered phone. Needed before any chart is opened.",
    ),
    "search_records": L(
        zh="在当前患者的病历中按 FHIR R4 资源类型检索（如 Condition、AllergyIntolerance、MedicationStatement、Observation、"
        "DiagnosticReport、DocumentReference、Encounter），可加文字过滤。",
        en="Search the current patient's chart by FHIR R4 resource type (such as Condition, AllergyIntolerance, "
        "MedicationStatement, Observation, DiagnosticReport, DocumentReference, Encounter), optionally by text.",
    ),
    "read_record": L(zh="读取一条记录，例如 Observation/o1。", en="Read one resource, for example Observation/o1."),
    "list_slots": L(zh="查看某科室可预约的号源。", en="List a department's free appointment slots."),
    "book_appointment": L(zh="为当前患者预约一个号源。", en="Book one free slot for the current patient."),
    "escalate": L(
        zh="立即升级：D1 让患者立刻拨打120，D2 让患者立刻去急诊。之后仍可继续对话。",
        en="Escalate at once: D1 the person is to call an ambulance (120) now, D2 to go to an emergency department now. "
        "The dialogue can go on afterwards.",
    ),
    "flag_discrepancy": L(
        zh="标记某条病历记录与患者所述不符（不改写原记录）。",
        en="Flag that a record disagrees with what the patient says (the record itself is not changed).",
    ),
    "close": L(
        zh="结束服务并填写结案表：处置等级、科室、要点、药物处理、复诊警示、报告判读、后续安排。先把结论告诉患者再结案。",
        en="Conclude with the closing form: disposition, department, points, what to do with each drug, warning signs to return "
        "for, readings of a report, follow-up. Tell the patient before you close.",
    ),
    "examine": L(
        zh="体格检查某一部位，可指明手法；没有的结果就是没有检查，不代表正常。",
        en="Examine a region, optionally with one manoeuvre. What is not available was not examined; that does not mean normal.",
    ),
    "propose_test": L(
        zh="提出一项检查检验申请（由医师签署后执行，按实际耗时出结果）。影像检查须写明部位。",
        en="Propose one test (a clinician signs it; the result comes after its real delay). Imaging needs the body part.",
    ),
    "draft_prescription": L(
        zh="起草处方（草稿，须医师审核）。系统按病历核对过敏、相互作用、剂量、妊娠与肾功能；可说明理由的提醒用 override_reason 回应。",
        en="Draft a prescription (a draft; a clinician decides). The software checks it against the chart (allergy, interactions, dose, "
        "pregnancy, kidney function); where an alert may be overridden, give override_reason.",
    ),
    "refer": L(zh="提出转诊或会诊申请（由医师签署）。", en="Propose a referral to a department (a clinician signs it)."),
    "fhir_search": L(
        zh="FHIR R4 检索：资源类型与查询串，例如 Observation 与 patient=self&code=718-7&date=ge2026-01-01&_sort=-date&_count=20。"
        "返回 searchset Bundle；出错时返回 OperationOutcome。",
        en="FHIR R4 search: a resource type and a query such as patient=self&code=718-7&date=ge2026-01-01&_sort=-date&_count=20. Gives a "
        "searchset Bundle, or an OperationOutcome that says what to mend.",
    ),
    "fhir_read": L(zh="读取一条 FHIR 资源，例如 Observation/o1。", en="Read one FHIR resource, for example Observation/o1."),
    "fhir_create": L(
        zh="新建一条 FHIR R4 资源（JSON 对象，含 resourceType）。按你的角色，申请与处方只能是 status=draft、intent=proposal。",
        en="Create a FHIR R4 resource (a JSON object with its resourceType). Most roles propose only: orders and prescriptions with "
        "status=draft and intent=proposal.",
    ),
    "fhir_update": L(
        zh="整体更新一条已有的 FHIR 资源（含 resourceType 与 id）。", en="Replace an existing FHIR resource as a whole (with resourceType and id)."
    ),
    "finish": L(
        zh="结束任务。answer 为答案列表（数字或文字）；任务不要求回答时留空。",
        en="Finish the task. answer is the list of answers (numbers or texts); leave it empty where the task asks for none.",
    ),
    "propose_action": L(
        zh="提出一项需立即执行的处置（由医师执行）。",
        en="Propose an act to be done at once (a clinician carries it out).",
    ),
    "wait": L(zh="等待若干分钟（例如等结果）。", en="Let some minutes pass (for a result, say)."),
    "propose_tests": L(
        zh="结案：提交推荐的检查检验清单；若无需进一步检查则提交空清单并说明理由。rests_on 填依据的编号："
        "T加轮次（患者在第几轮的回答，T0为开场）、E加序号（体检）、R加序号（检查结果）或病历记录编号。",
        en="Conclude with the tests you recommend; an empty list with a reason if none is needed. rests_on names what each rests on: "
        "T and a turn number (the patient's answer in that turn, T0 is the opening), E and a number (an examination finding), "
        "R and a number (a result), or a chart reference.",
    ),
    "submit_diagnosis": L(
        zh="结案：提交主要诊断（可附 WHO ICD-10 编码）、把握程度、并发症或合并症、鉴别诊断（最多5个）、依据与需立即执行的处置。"
        "rests_on 的写法：T加轮次、E加序号、R加序号或病历记录编号。",
        en="Conclude with the primary diagnosis (a WHO ICD-10 code if you like), how certain it is, complications or comorbidities, "
        "the differential (at most 5 count), grounds and acts to be done at once. rests_on: T and a turn number, E or R and a "
        "number, or a chart reference.",
    ),
    "write_record": L(
        zh="结案：写入初步病历（八个字段）。现病史至家族史为条目列表，每条给出文字，并标明主题代码 topic 与状态 state："
        "present 有、denied 问过且否认、unknown 不详、not_applicable 不适用。没有问过的不得写成否认。",
        en="Conclude by writing the preliminary note (eight fields). The lists hold entries: text, the topic code, and the state: "
        "present, denied (asked and denied), unknown, not_applicable. What was not asked must not be written as denied.",
    ),
}


def names_of(tools: Sequence[str], record_tools: RecordTools) -> tuple[str, ...]:
    """The tools of a dataset with the record's in the wanted shape: `task` as listed, `fhir` the raw four in place of the task-shaped, `both`."""
    if record_tools == "task" or not set(tools) & TASK_RECORD:
        return tuple(tools)
    kept = [t for t in tools if record_tools == "both" or t not in TASK_RECORD]
    return (*RAW_RECORD, *(t for t in kept if t not in RAW_RECORD))


@lru_cache(maxsize=128)
def definition(name: str, lang: Lang) -> dict[str, Any]:
    """The OpenAI function definition of one tool. The result is shared: do not change it."""
    schema = FORMS[name].model_json_schema()
    definitions = schema.pop("$defs", {})
    parameters = _inline(schema, definitions, lang)
    parameters.pop("description", None)
    parameters.pop("title", None)
    return {"type": "function", "function": {"name": name, "description": DESCRIPTIONS[name][lang], "parameters": parameters}}


def _inline(value: Any, definitions: dict[str, Any], lang: Lang) -> Any:
    """A schema without references, with code lists as enumerations and their labels in the description."""
    if isinstance(value, list):
        return [_inline(item, definitions, lang) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target = definitions[value["$ref"].rsplit("/", 1)[1]]
        return _inline({**target, **{k: v for k, v in value.items() if k != "$ref"}}, definitions, lang)
    result = {k: _inline(v, definitions, lang) for k, v in value.items() if k not in ("title", "code_list")}
    if result.get("type") == "object":
        result.pop("description", None)
    if code_list := value.get("code_list"):
        items = getattr(codes, code_list)().values()
        result["enum"] = [item.id for item in items]
        result["description"] = "; ".join(f"{item.id} {item.label(lang)}" for item in items)
    if result.get("enum") == ["D1", "D2", "D3", "D4", "D5", "D6"]:
        result["description"] = DISPOSITIONS[lang]
    return result


DISPOSITIONS = L(
    zh="D1 立即拨打120；D2 立即前往急诊或专用急诊入口（1-2小时内）；D3 当日就诊；D4 数日内门诊（1-7天）；D5 择期门诊（数周）；"
    "D6 居家观察与自我护理，附就医信号",
    en="D1 call an ambulance now; D2 emergency department or dedicated urgent entry now (1-2 h); D3 seen the same day; "
    "D4 clinic within days (1-7); D5 routine clinic (weeks); D6 self-care with stated return signs",
)
