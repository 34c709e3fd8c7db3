"""``ringfence simulate``: its exit codes and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence.cli.main import main
from tests.sim import bugs


def simulate(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["simulate", *arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_it_says_what_it_went_through() -> None:
    code, said = simulate("--seeds", "2", "--hours", "2", "--jobs", "1")
    assert code == 0
    assert said.startswith("2 seed(s) of 2 h of the scenario 'default'")
    assert said.endswith("No law was broken.\n")
    assert "kills of Ringfence" in said


def test_json_is_one_object() -> None:
    code, said = simulate("--seeds", "1", "--hours", "1", "--jobs", "1", "--scenario", "quiet", "--json")
    told = json.loads(said)
    assert (code, told["seeds"], told["failure"]) == (0, 1, None)
    assert told["went_through"]["kills"] == 0


def test_a_broken_law_is_told_with_a_file_that_breaks_it_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    next(bug for bug in bugs.BUGS if bug.name == "first aid leaves the mappings").plant(monkeypatch)
    monkeypatch.chdir(tmp_path)
    code, said = simulate("--seeds", "5", "--hours", "2", "--jobs", "1")
    assert code == 1
    assert "L1 broken" in said
    (file,) = tmp_path.glob("*.jsonl")
    assert f"--replay {file.name}" in said
    code, said = simulate("--replay", file.name)
    assert code == 1
    assert "could reach frame" in said


def test_a_file_that_is_no_scenario_is_exit_code_2(tmp_path: Path) -> None:
    code, said = simulate("--scenario", str(tmp_path / "none.toml"))
    assert code == 2
    assert "No such file" in said


def test_the_scenarios_are_listed() -> None:
    code, said = simulate("--scenarios")
    assert code == 0
    assert "hostile-guests" in said
