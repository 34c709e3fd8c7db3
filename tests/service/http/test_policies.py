"""The policy over HTTP: what is in force, and what another one would do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.decision.policy_file import write
from ringfence.service.http import bounds, trial
from ringfence.service.http.trial import Trial
from tests.service.http.serving import Served

ASKING = """
[otherwise]
on_ue = "leave"
on_srar = "operate"
operations = ["destroy"]
"""


class Held(asyncio.Lock):
    """As the lock is while another policy is tried."""

    def locked(self) -> bool:
        return True


def tried(place: Served, text: str, **more: object) -> Any:
    return place.over_unix().post("/api/v1/policy/dry-run", {"text": text, **more}).json


def test_the_policy_in_force_is_shown_with_its_text_and_in_words(shared: Served) -> None:
    said = shared.over_unix().get("/api/v1/policy").json
    assert said["text"] == write(DEFAULT)
    assert (said["path"], said["dry_run"]) == ("", False)
    rows = {row for part in said["explained"]["rules"] for each in part["rows"] for row in each["rows"]}
    assert "I.2c-dom0" in rows


def test_a_text_that_is_no_policy_is_told_line_by_line(shared: Served) -> None:
    said = tried(shared, 'unlocated = "panic"\n[otherwise]\non_ue = 3\ncolour = "red"\n')
    assert said["good"] is False
    assert [(each["line"], each["key"]) for each in said["problems"]] == [
        (1, "unlocated"),
        (3, "otherwise.on_ue"),
        (4, "otherwise.colour"),
    ]
    assert all(each["problem"] for each in said["problems"])


def test_the_policy_in_force_differs_from_itself_in_nothing(shared: Served) -> None:
    said = tried(shared, write(DEFAULT), last=10)
    assert said["good"] is True
    assert len(said["events"]) == 10
    assert said["differing"] == 0
    assert all(each["in_force"] == each["proposed"] for each in said["events"])


def test_another_policy_is_tried_on_the_last_records_and_changes_nothing(shared: Served) -> None:
    before = shared.over_unix().get("/api/v1/policy").json["digest"]
    said = tried(shared, ASKING, last=12, stand_in="hvm-plain")
    assert 0 < said["differing"] < len(said["events"])
    assert said["differing"] == sum(each["differs"] for each in said["events"])
    numbers = [each["number"] for each in said["events"]]
    assert numbers == sorted(set(numbers))
    other = next(each for each in said["events"] if each["differs"])
    assert other["in_force"] != other["proposed"]
    assert "hvm-plain" in said["assumed"]
    assert shared.over_unix().get("/api/v1/policy").json["digest"] == before


def test_one_policy_is_tried_at_a_time(shared: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.door, "trying", Held())
    said = shared.over_unix().post("/api/v1/policy/dry-run", {"text": ""})
    assert (said.status, said.headers["retry-after"]) == (503, "5")


def test_a_trial_that_takes_too_long_is_ended(shared: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LONGEST_S", 0.01)
    said = shared.over_unix().post("/api/v1/policy/dry-run", {"text": ASKING})
    assert said.status == 503
    assert "took longer than" in said.json["detail"]


def test_the_process_of_a_trial_says_why_it_failed() -> None:
    bad = Trial(in_force="x = ", proposed="", events=(), stand_in="pv")
    ended = subprocess.run(
        [sys.executable, "-m", trial._PROCESS], input=msgspec.json.encode(bad), capture_output=True, check=False
    )
    assert ended.returncode == 1
    assert b"policy.toml" in ended.stderr


def test_every_policy_that_is_not_too_long_fits_into_a_body() -> None:
    longest = msgspec.json.encode(
        {"text": "\x01" * bounds.MOST_POLICY_CHARACTERS, "last": 200, "stand_in": "hvm-plain"}
    )
    assert len(longest) <= bounds.POLICY_BODY_BYTES
