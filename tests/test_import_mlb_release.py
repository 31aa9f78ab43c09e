"""Import of the MLB release: the authors' prompts with their items, in every form, with the quirks of the release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlb_env.catalog.load import Catalog, open_catalog
from mlb_env.errors import UserError
from mlb_env.importers import ImportReport, import_content
from mlb_env.prompts import item_prompt

RELEASE = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlb_release"
MCQ = "请选出正确选项，价格为$5。\n## 问题：\n${question}\n选项：\n${options}\n输出："
TEXT = "请抽取。\n${question}\n输出："
OPEN = "请用中文回答以下问题：\n${question}"

FIXTURE: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "CMExam": (MCQ, [{"question": "首选的检查是 A 胸片 B 心电图 C 血糖", "answer": "B"}]),
    "MAKnowledge": (MCQ, [{"question": "哪些含铁丰富？['A 牛奶', 'B 猪肝', 'C 鸭血']", "answer": "B,C"}]),
    "CHIP-CDN": (
        "归一化：\n${question}\n候选标准词：\n${options}\n术语：",
        [{"question": "左肾结实\n候选标准词：\n肾结石\n肾结石##肾积水\n肾囊肿\n", "answer": "肾结石"}],
    ),
    "CMeEE": (TEXT, [{"question": "患者头痛，口服布洛芬。", "answer": {"症状和体征": ["头痛"], "药物": ["布洛芬"]}}]),
    "CMeIE": (
        TEXT,
        [
            {
                "question": "麻疹@高热，可并发肺炎，吃糖。",
                "answer": {
                    "关系": [
                        {"关系": "并发症", "头实体": "麻疹", "尾实体": "肺炎"},
                        {"关系": "相关(症状)", "头实体": "麻疹", "尾实体": "高热"},
                        {"关系": "饮食", "头实体": "麻疹", "尾实体": "糖"},
                    ]
                },
            }
        ],
    ),
    "CHIP-CDEE": (
        TEXT,
        [{"question": "无发热，左胸隐痛。", "answer": [
            {"主体词": "发热", "发生状态'": "否定", "描述词": [], "解剖部位": []},
            {"主体词": "隐痛", "发生状态": "", "描述词": [], "解剖部位": ["左胸"]},
        ]}],
    ),
    "MAEESymp": (TEXT, [{"question": "头晕三天。", "answer": {"症状": ["头晕"]}}]),
    "MAEthic": (OPEN, [{"question": "家属要求隐瞒病情，怎么办？"}]),
    "MADiagnosis": (OPEN, [{"question": "病历：口干多饮。", "answer": {"诊断": "糖尿病", "诊断依据": ["口干多饮", "血糖升高"]}}]),
}  # fmt: skip


def write(folder: Path, name: str, data: Any, *, bom: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8-sig" if bom else "utf-8")
    return path


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for name, (prompt, examples) in FIXTURE.items():
        write(tmp_path / "src" / "MLB_benchmark_dataset", name, {"system_prompt": prompt, "examples": examples})
    return tmp_path / "src"


def run(src: Path) -> tuple[ImportReport, Catalog]:
    out = src.parent / "out"
    report = import_content("mlb-release", src, out)
    return report, open_catalog([out], bundled=False)


def one(tmp_path: Path, name: str, *items: Any, prompt: str = MCQ) -> tuple[ImportReport, Catalog]:
    write(tmp_path / "src", name, {"system_prompt": prompt, "examples": list(items)})
    return run(tmp_path / "src")


def item(catalog: Catalog, name: str) -> Any:
    return catalog.plays[name][0].item


def test_each_dataset_keeps_its_dimension_and_takes_mlbs_own_form(release: Path) -> None:
    report, catalog = run(release)
    assert report.written == dict.fromkeys(sorted(FIXTURE), 1)
    assert report.skipped == ()
    forms = {name: (d.dimension, d.form) for name, d in catalog.datasets.items()}
    assert forms == {
        "CMExam": ("MedKQA", "choice"), "MAKnowledge": ("SmartServ", "choice"), "CHIP-CDN": ("MedRU", "normalisation"),
        "CMeEE": ("MedRU", "extraction"), "CMeIE": ("MedRU", "extraction"), "CHIP-CDEE": ("MedRU", "extraction"),
        "MAEESymp": ("MedRU", "extraction"), "MAEthic": ("MedSE", "open"), "MADiagnosis": ("SmartCare", "keypoints"),
    }  # fmt: skip
    for dataset in catalog.datasets.values():
        assert (dataset.edition, dataset.role, dataset.tools, dataset.policy) == ("mlb-release", None, (), None)
        assert dataset.prompt is not None and dataset.prompt.langs == dataset.title.langs == ("zh",)
    assert all(play.langs == ("zh",) for plays in catalog.plays.values() for play in plays)


def test_the_prompt_is_the_authors_with_its_slots_filled(release: Path) -> None:
    _, catalog = run(release)
    wanted = "请选出正确选项，价格为$5。\n## 问题：\n首选的检查是\n选项：\nA. 胸片\nB. 心电图\nC. 血糖\n输出："
    assert item_prompt(catalog.plays["CMExam"][0], "zh") == wanted
    wanted = "归一化：\n左肾结实\n候选标准词：\n肾结石\n肾结石##肾积水\n肾囊肿\n术语："
    assert item_prompt(catalog.plays["CHIP-CDN"][0], "zh") == wanted
    assert item_prompt(catalog.plays["CMeEE"][0], "zh") == "请抽取。\n患者头痛，口服布洛芬。\n输出："
    assert item_prompt(catalog.plays["MADiagnosis"][0], "zh") == "请用中文回答以下问题：\n病历：口干多饮。"


def test_multiple_choice(release: Path) -> None:
    _, catalog = run(release)
    first, second = item(catalog, "CMExam"), item(catalog, "MAKnowledge")
    assert (first.id, first.family, first.answer, first.form) == ("cmexam-r0001", "cmexam-r0001", ("B",), "single")
    assert (second.options.zh, second.answer, second.form) == (("牛奶", "猪肝", "鸭血"), ("B", "C"), "multiple")
    assert first.provenance.author == "MLB authors" and first.provenance.author_kind == "imported"


def test_extraction_gold_is_in_our_neutral_keys(release: Path) -> None:
    report, catalog = run(release)
    entities = item(catalog, "CMeEE").gold["zh"]
    assert entities["symptom"] == ["头痛"] and entities["drug"] == ["布洛芬"] and entities["disease"] == []
    assert item(catalog, "MAEESymp").gold["zh"] == ["头晕"]
    assert item(catalog, "CHIP-CDEE").gold["zh"] == [
        {"subject": "发热", "status": "negated", "descriptors": [], "sites": []},
        {"subject": "隐痛", "status": "", "descriptors": [], "sites": ["左胸"]},
    ]
    relations = item(catalog, "CMeIE").gold["zh"]
    assert [r["relation"] for r in relations] == ["complication", "related_symptom", "饮食"]
    assert catalog.datasets["CMeIE"].values["饮食"].zh == "饮食"
    assert any("饮食" in note for note in report.notes)


def test_open_sets_carry_our_marks(release: Path) -> None:
    _, catalog = run(release)
    assert catalog.datasets["MAEthic"].marks == open_catalog().datasets["MAEthic"].marks != ()


def test_key_points_are_the_entries_of_the_gold_answer(release: Path) -> None:
    _, catalog = run(release)
    points = [(p.topic, p.text.zh) for p in item(catalog, "MADiagnosis").points]
    assert points == [("诊断", "糖尿病"), ("诊断依据", "口干多饮"), ("诊断依据", "血糖升高")]


def test_the_folder_the_inner_folder_and_one_file_are_sources(release: Path) -> None:
    inner = release / "MLB_benchmark_dataset"
    assert len(import_content("mlb-release", inner, release.parent / "a").written) == len(FIXTURE)
    assert import_content("mlb-release", inner / "CMExam.json", release.parent / "b").written == {"CMExam": 1}


def test_full_data_as_an_array_with_the_merged_prompts_and_as_jsonl_beside_the_file(tmp_path: Path) -> None:
    inner = tmp_path / "src" / "MLB_benchmark_dataset"
    items = [{"question": f"第{n}题 A 甲 B 乙", "answer": "A", "id": n, "type": "single"} for n in range(3)]
    write(inner, "MAExam", items)
    write(inner, "CMExam", {"system_prompt": MCQ, "examples": items[:1]})
    lines = "".join(json.dumps(i, ensure_ascii=False) + "\n" for i in items)
    (inner / "CMExam.jsonl").write_text(lines, encoding="utf-8")
    write(tmp_path / "src", "prompt_inference_22datasets", {"MAExam": MCQ})
    report, catalog = run(tmp_path / "src")
    assert report.written == {"CMExam": 3, "MAExam": 3}
    assert "MAExam: the field 'type' of 3 items was not imported" in report.notes
    assert [(s.where, s.reason) for s in report.skipped] == [("CMExam.jsonl, line 1", "is the same as an earlier item")]
    assert [p.id for p in catalog.plays["CMExam"]] == ["cmexam-r0001", "cmexam-r0003", "cmexam-r0004"]


def test_quirks_of_the_release(tmp_path: Path) -> None:
    prompt = "任务\\n说明\\n${question}\n选项：\\n${options}\\n输出 '\"x\"': $HOME ${other}"
    write(tmp_path / "src", "CMExam", {"system_prompt": prompt, "examples": [{"question": "问？A.甲B.乙", "answer": "A"}]}, bom=True)
    _, catalog = run(tmp_path / "src")
    wanted = "任务\\n说明\n问？\n选项：\nA. 甲\nB. 乙\\n输出 '\"x\"': $HOME ${other}"
    assert item_prompt(catalog.plays["CMExam"][0], "zh") == wanted


@pytest.mark.parametrize(
    ("name", "prompt", "bad", "reason"),
    [
        ("CMExam", MCQ, {"question": "没有选项", "answer": "A"}, "no options"),
        ("CMExam", MCQ, {"question": "问 A 甲 B 乙", "answer": "答案"}, "not a list of letters"),
        ("CMExam", MCQ, {"question": "问 A 甲 B 乙", "answer": "E"}, "beyond the 2 options"),
        ("CMExam", MCQ, {"question": "问 A 甲 B 乙", "answer": "A,A"}, "stands twice"),
        ("CMExam", MCQ, {"question": "A 甲 B 乙", "answer": "A"}, "no text before the options"),
        ("CMExam", MCQ, {"answer": "A"}, "no question"),
        ("CMExam", MCQ, "text", "no question"),
        ("CHIP-CDN", MCQ, {"question": "短语\n候选标准词：\n甲\n乙", "answer": "丙"}, "not one of the candidates"),
        ("CHIP-CDN", MCQ, {"question": "短语", "answer": "丙"}, "no candidates"),
        ("CMeIE", TEXT, {"question": "文", "answer": {"关系": [{"关系": "病因", "头实体": "甲"}]}}, "lacks its name, head or tail"),
        ("CHIP-CDEE", TEXT, {"question": "文", "answer": [{"主体词": "甲", "程度": "重"}]}, "unknown key"),
        ("MAEESymp", TEXT, {"question": "文", "answer": {"症状": [3]}}, "not a list of texts"),
        ("MARecord", OPEN, {"question": "文", "answer": "糖尿病"}, "not an object"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_reported_and_the_rest_is_imported(
    tmp_path: Path, name: str, prompt: str, bad: Any, reason: str
) -> None:
    good: dict[str, dict[str, Any]] = {
        "CMExam": {"question": "对 A 甲 B 乙", "answer": "A"}, "CHIP-CDN": {"question": "对\n候选标准词：\n甲", "answer": "甲"},
        "CMeIE": {"question": "对", "answer": {"关系": []}}, "CHIP-CDEE": {"question": "对", "answer": []},
        "MAEESymp": {"question": "对", "answer": {"症状": []}}, "MARecord": {"question": "对", "answer": {"主诉": ["头痛"]}},
    }  # fmt: skip
    report, catalog = one(tmp_path, name, bad, good[name], prompt=prompt)
    assert report.written == {name: 1}
    assert [s.where for s in report.skipped] == [f"{name}.json, item 1"]
    assert reason in report.skipped[0].reason
    assert catalog.plays[name][0].id.endswith("-r0002")


def test_unknown_datasets_and_prompts_without_slots_are_reported(tmp_path: Path) -> None:
    good = {"question": "对 A 甲 B 乙", "answer": "A"}
    write(tmp_path / "src", "OtherExam", {"system_prompt": MCQ, "examples": [good]})
    write(tmp_path / "src", "MAExam", {"system_prompt": "${question}", "examples": [good]})
    write(tmp_path / "src", "MAHalt", [good])
    (tmp_path / "src" / "MASafety.json").write_text("{", encoding="utf-8")
    report, _ = one(tmp_path, "CMExam", good)
    assert report.written == {"CMExam": 1}
    reasons = {s.where: s.reason for s in report.skipped}
    assert "not one of the 22 datasets" in reasons["OtherExam.json"]
    assert "no slot ${options}" in reasons["MAExam"]
    assert "has no prompt" in reasons["MAHalt"]
    assert "broken JSON" in reasons["MASafety"]


def test_a_folder_without_datasets_names_the_folder_and_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty' holds no dataset files; expected .*CMExam\.json"):
        import_content("mlb-release", tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_source_gives_the_same_bytes(release: Path) -> None:
    def tree(name: str) -> dict[str, bytes]:
        import_content("mlb-release", release, release.parent / name)
        root = release.parent / name
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    first = tree("one")
    assert first == tree("two")
    assert "scenarios/MedKQA/CMExam.jsonl" in first


@pytest.mark.skipif(not RELEASE.is_dir(), reason="the MLB release is not beside the project (../shared/data/mlb_release)")
def test_the_whole_release_is_imported(tmp_path: Path) -> None:
    report = import_content("mlb-release", RELEASE, tmp_path / "out")
    catalog = open_catalog([tmp_path / "out"], bundled=False)
    assert report.skipped == ()
    assert len(report.written) == 22 == len(catalog.datasets)
    for name, plays in catalog.plays.items():
        source = json.loads((RELEASE / "MLB_benchmark_dataset" / f"{name}.json").read_text(encoding="utf-8"))
        assert len(plays) == len(source["examples"])
        before = source["system_prompt"].split("${question}")[0]
        assert item_prompt(plays[0], "zh").startswith(before)
