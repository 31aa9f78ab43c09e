"""Content files: every error names file, line and field, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlb_env.catalog.load import Catalog, open_catalog
from mlb_env.catalog.read import parse_yaml, read_jsonl, read_yaml
from mlb_env.errors import ContentError, UserError
from mlb_env.spec.persona import Personas
from mlb_env.spec.scenario import ChoiceItem

from .run_kit import write_content, write_mine

GOOD = "personas:\n- id: plain\n  label: {zh: 普通, en: plain}\n  description: {zh: 一, en: one}\n"


def personas(tmp_path: Path, text: str | bytes) -> Personas:
    path = tmp_path / "personas.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, Personas)


def test_a_good_file_is_read_with_windows_line_ends_and_a_byte_order_mark_too(tmp_path: Path) -> None:
    for data in (GOOD.encode(), GOOD.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + GOOD.encode()):
        assert personas(tmp_path, data).personas[0].id == "plain"


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("id: [broken\n", 2, None, "broken YAML"),
        (GOOD + "  mood: sad\n", 5, "personas.0.mood", "unknown field 'mood'"),
        (GOOD.replace("id: plain", "name: plain"), 2, "personas.0.id", "missing"),
        (GOOD + "  max_answers: many\n", 5, "personas.0.max_answers", "many"),
        (GOOD + "  max_answers: 99\n", 5, "personas.0.max_answers", "99"),
        (GOOD + "  id: other\n", 5, None, "the key 'id' stands twice"),
        ("", None, None, "empty"),
        (b"personas:\n- id: \xff\xfe\n", 2, None, "UTF-8"),
    ],
)
def test_an_error_names_line_and_field(tmp_path: Path, text: str | bytes, line: int | None, field: str | None, words: str) -> None:
    with pytest.raises(ContentError) as caught:
        personas(tmp_path, text)
    error = caught.value
    assert error.line == line and error.field == field and words in str(error) and "personas.yaml" in str(error)
    assert "\n" not in str(error)


def test_a_yaml_no_stays_a_word_and_a_date_stays_text() -> None:
    assert parse_yaml("{a: no}", "x") == {"a": "no"}
    assert parse_yaml("{b: 2026-03-01}", "x") == {"b": "2026-03-01"}
    assert parse_yaml("{c: true, d: on}", "x") == {"c": True, "d": "on"}


@pytest.mark.parametrize(("line", "words"), [('{"id": "x"', "broken JSON"), ('{"id": "x", "wrong": 1}', "and"), ("[]", "valid")])
def test_an_error_in_an_item_file_names_its_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ContentError) as caught:
        read_jsonl(path, ChoiceItem)
    assert caught.value.line == 2 and words in str(caught.value)


def test_folders_that_cannot_be_played_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Catalog([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no scenarios"):
        Catalog([tmp_path / "empty"])


def test_a_folder_of_the_environment_variable_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("MLB_CONTENT", str(tmp_path / "mine"))
    with pytest.raises(UserError, match="mine"):
        open_catalog()


def test_unknown_names_are_refused_with_what_there_is(catalog: Catalog) -> None:
    with pytest.raises(UserError, match=r"no dataset 'Nope'.*CMExam"):
        catalog.select(dataset=["Nope"])
    with pytest.raises(UserError, match="no scenario 'nope'"):
        catalog.select(scenario=["nope"])


LONG = "9" * 5000


@pytest.mark.parametrize("value", ["!!float x", '!!int ""', "!!bool x", "!!timestamp x", "!!int x", LONG, "0x" + LONG])
def test_a_value_that_cannot_be_made_is_named_with_its_line(value: str) -> None:
    with pytest.raises(ContentError) as caught:
        parse_yaml(f"a: 1\nb: {value}\n", "x.yaml")
    assert caught.value.line == 2 and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_numbers_are_still_numbers() -> None:
    assert parse_yaml("[1, -2, 0x10, 1.5, !!float 2, true]", "x") == [1, -2, 16, 1.5, 2.0, True]


@pytest.mark.parametrize("line", [LONG, f'{{"id": {LONG}}}', "[" * 100_000])
def test_any_broken_json_in_an_item_file_names_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ContentError, match="broken JSON") as caught:
        read_jsonl(path, ChoiceItem)
    assert caught.value.line == 2


# --- scenarios without a task definition of their own -------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder as docs/writing-a-case.md has it made: one case and one scenario, no task definition."""
    return write_mine(tmp_path / "mine")


def test_scenarios_without_a_task_definition_are_of_the_bundled_dataset(mine: Path, catalog: Catalog) -> None:
    own = open_catalog([mine], bundled=False)
    assert [p.id for p in own.select()] == ["my-scenario"] and own.datasets["MADiagnosis"] == catalog.datasets["MADiagnosis"]


def test_they_are_added_to_the_bundled_ones(mine: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLB_CONTENT", str(mine))
    ids = [p.id for p in open_catalog().select(dataset=["MADiagnosis"])]
    assert ids == [*(p.id for p in catalog.plays["MADiagnosis"]), "my-scenario"]


def test_an_id_that_is_taken_is_refused_and_the_variable_named(mine: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = catalog.plays["MADiagnosis"][0].id
    path = mine / "scenarios" / "SmartCare" / "MADiagnosis" / "my.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("my-scenario", taken), encoding="utf-8")
    monkeypatch.setenv("MLB_CONTENT", str(mine))
    with pytest.raises(ContentError, match=rf"my\.yaml.*'{taken}' stands twice.*MLB_CONTENT"):
        open_catalog()
    monkeypatch.setenv("MLB_CONTENT", str(mine / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere.*MLB_CONTENT"):
        open_catalog()


def test_items_without_a_task_definition_are_of_the_bundled_dataset(tmp_path: Path) -> None:
    content = write_content(tmp_path / "c", items=3)
    (content / "MedKQA" / "CMExam.yaml").unlink()
    assert len(open_catalog([content], bundled=False).select()) == 3
    (content / "MedKQA" / "CMExam.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(ContentError, match=r"CMExam\.jsonl: holds no items"):
        open_catalog([content], bundled=False)


@pytest.mark.parametrize(("place", "words"), [
    ("SmartCare/MADiagnoses/my.yaml", "no bundled dataset 'MADiagnoses' in SmartCare"),
    ("SmartServ/MADiagnosis/my.yaml", "no bundled dataset 'MADiagnosis' in SmartServ"),
    ("MedKQA/Nope.jsonl", "no bundled dataset 'Nope' in MedKQA"),
    ("SmartCare/MADiagnosis.jsonl", "MADiagnosis is interactive"),
    ("MedKQA/CMExam/my.yaml", "CMExam.jsonl: no such file"),
])  # fmt: skip
def test_scenarios_of_no_dataset_are_named(tmp_path: Path, place: str, words: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ContentError, match=words):
        Catalog([tmp_path])
