"""An operation of the toolstack outlives whoever began it, and its end is seen by the next life."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ringfence.errors import HypervisorError
from ringfence.hypervisor.xen.toolstack import Toolstack
from ringfence.world.identities import StepId
from ringfence.world.steps import Result, Status

ORDER = StepId(7)


def toolstack(home: Path, script: str) -> Toolstack:
    xl = home / "xl"
    xl.write_text(f"#!/bin/sh\n{script}\n")
    xl.chmod(0o755)
    return Toolstack(home / "operations", str(xl))


def until_ended(found: Toolstack) -> tuple[tuple[StepId, Result], ...]:
    told: tuple[tuple[StepId, Result], ...] = ()
    for _ in range(500):
        told += found.ended()
        if told and not found.has_children:
            return told
        time.sleep(0.02)
    raise AssertionError("it did not end")


def test_what_ended_well_is_done_and_told_once(tmp_path: Path) -> None:
    found = toolstack(tmp_path, 'test "$1 $2" = "destroy 3"')
    assert found.begin(ORDER, ("destroy", "3")).status is Status.RUNNING
    assert until_ended(found) == ((ORDER, Result(Status.DONE)),)
    assert found.ended() == ()
    assert not found.is_busy


def test_what_failed_says_it_in_xls_own_words(tmp_path: Path) -> None:
    found = toolstack(tmp_path, "echo libxl: error: no such domain >&2; exit 5")
    found.begin(ORDER, ("save", "3", "/nowhere"))
    ((_, result),) = until_ended(found)
    assert result == Result(Status.FAILED, "libxl: error: no such domain (exit code 5)")


def test_the_next_life_sees_what_runs_and_how_it_ended(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    found = toolstack(tmp_path, f"while [ ! -e {gate} ]; do sleep 0.02; done")
    found.begin(ORDER, ("save", "3", "file"))
    while not (tmp_path / "operations" / "7.pid").exists():
        time.sleep(0.01)
    next_life = Toolstack(tmp_path / "operations", str(tmp_path / "xl"))
    assert next_life.probe(ORDER).status is Status.RUNNING
    next_life.watch(ORDER)
    gate.touch()
    assert until_ended(next_life) == ((ORDER, Result(Status.DONE)),)
    until_ended(found)


def test_of_what_left_no_trace_nobody_knows(tmp_path: Path) -> None:
    found = toolstack(tmp_path, "exit 0")
    assert found.probe(StepId(99)).status is Status.UNKNOWN


def test_without_xl_there_is_no_toolstack(tmp_path: Path) -> None:
    with pytest.raises(HypervisorError, match="xl is not installed"):
        Toolstack(tmp_path, str(tmp_path / "none"))
