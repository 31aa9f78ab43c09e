"""The front of the importers: formats, sources, the folder that is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlb_env.errors import UserError
from mlb_env.importers import FORMATS, import_content

GOOD = {"system_prompt": "${question}", "examples": [{"question": "怎么办？"}]}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "MAEthic.json").write_text(json.dumps(GOOD), encoding="utf-8")
    return folder


def test_the_formats() -> None:
    assert sorted(FORMATS) == ["agentclinic", "medagentbench", "mlb-release"]


def test_an_unknown_format_lists_the_formats(src: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no import format 'csv' \(there are: agentclinic, medagentbench, mlb-release\)"):
        import_content("csv", src, tmp_path / "out")


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_a_source_that_is_not_there(format_: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the source '.*nowhere' does not exist"):
        import_content(format_, tmp_path / "nowhere", tmp_path / "out")


def test_a_folder_in_use_is_refused_and_left_alone(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is not empty"):
        import_content("mlb-release", src, out)
    with pytest.raises(UserError, match="is a file"):
        import_content("mlb-release", src, out / "mine.txt")
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_an_empty_folder_and_missing_parents_are_taken(src: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert import_content("mlb-release", src, tmp_path / "out").written == {"MAEthic": 1}
    assert import_content("mlb-release", src, tmp_path / "a" / "b").written == {"MAEthic": 1}
    assert (tmp_path / "a" / "b" / "scenarios" / "MedSE" / "MAEthic.jsonl").is_file()


def test_where_nothing_can_be_imported_nothing_is_left_and_the_reasons_are_given(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "MAEthic.json").write_text("[1, 2", encoding="utf-8")
    with pytest.raises(UserError, match=r"nothing in '.*' can be imported as mlb-release: MAEthic: .*broken JSON"):
        import_content("mlb-release", folder, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["src"]


def test_a_failure_halfway_leaves_nothing(src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlb_env.importers.mlb_release.write_jsonl", fails)
    with pytest.raises(Exception, match=r"out' cannot be written \(No space left on device\)"):
        import_content("mlb-release", src, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["src"]


def test_what_is_written_is_reported(src: Path, tmp_path: Path) -> None:
    report = import_content("mlb-release", src, tmp_path / "out")
    assert report.model_dump() == {"format": "mlb-release", "written": {"MAEthic": 1}, "skipped": (), "notes": ()}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
