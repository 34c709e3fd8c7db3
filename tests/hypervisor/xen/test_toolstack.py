"""An operation of the toolstack outlives whoever began it, and its end is seen by the next life."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from ringfence.errors import HypervisorError
from ringfence.hypervisor.xen.toolstack import Toolstack
from ringfence.world.domain import Domain, DomainKind
from ringfence.world.identities import DomainId, StepId
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


XL = """
case "$1" in
save) echo saved > "$3"; test -z "$FAILS" ;;
restore) test -s "$2" && echo "restored $2" >> "$HOME_OF_XL/did" ;;
destroy) echo "destroyed $2" >> "$HOME_OF_XL/did" ;;
esac
"""


@pytest.fixture
def acting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolstack:
    monkeypatch.setenv("HOME_OF_XL", str(tmp_path))
    return toolstack(tmp_path, XL)


def test_a_save_is_there_when_all_of_it_is(acting: Toolstack, tmp_path: Path) -> None:
    file = tmp_path / "a domain.save"
    acting.save(ORDER, DomainId(3), file)
    assert until_ended(acting) == ((ORDER, Result(Status.DONE)),)
    assert file.read_text() == "saved\n"
    assert list(tmp_path.glob("*.making")) == []


def test_a_save_that_fails_leaves_no_file(acting: Toolstack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "1")
    file = tmp_path / "a.save"
    acting.save(ORDER, DomainId(3), file)
    ((_, result),) = until_ended(acting)
    assert result.status is Status.FAILED
    assert list(tmp_path.glob("a.save*")) == []


@pytest.mark.parametrize(("instead_of", "before"), [(None, ""), (DomainId(4), "destroyed 4\n")])
def test_what_is_restored_takes_the_place_of_who_is_there(
    acting: Toolstack, tmp_path: Path, instead_of: DomainId | None, before: str
) -> None:
    file = tmp_path / "a.save"
    file.write_text("saved")
    acting.restore(ORDER, file, instead_of)
    assert until_ended(acting) == ((ORDER, Result(Status.DONE)),)
    assert (tmp_path / "did").read_text() == f"{before}restored {file}\n"


CONFIGURATION = """
# name = "other"
name = "web"; memory = 256
"""
CREATES = """
case "$*" in
"create -n "*) test -z "$(grep bad "$3")" || exit 3 ;;
esac
echo "$*" >> "$HOME_OF_XL/did"
"""


def restarted(home: Path, name: str) -> tuple[Result, list[str]]:
    found = toolstack(home, CREATES)
    found.configurations = home / "xen"
    said = found.restart(ORDER, Domain(id=DomainId(3), name=name, kind=DomainKind.PV, uuid="u-3"))
    if said.status is Status.RUNNING:
        ((_, said),) = until_ended(found)
    did = home / "did"
    return said, did.read_text().splitlines() if did.exists() else []


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME_OF_XL", str(tmp_path))
    (tmp_path / "xen").mkdir()
    (tmp_path / "xen" / "web.cfg").write_text(CONFIGURATION)
    return tmp_path


def test_a_domain_is_created_anew_from_its_file_as_the_domain_that_it_was(configured: Path) -> None:
    result, did = restarted(configured, "web")
    assert result == Result(Status.DONE)
    file, same = configured / "xen" / "web.cfg", 'uuid="u-3"'
    assert did == [f"create -n {file} {same}", "destroy 3", f"create {file} {same}"]


@pytest.mark.parametrize("name", ["db", "../xen/web", ".web", ""])
def test_a_domain_of_which_there_is_no_file_is_not_destroyed(configured: Path, name: str) -> None:
    result, did = restarted(configured, name)
    assert (result.status, did) == (Status.REFUSED, [])
    assert "not known" in result.because


@pytest.mark.parametrize("text", ['name = "other"\n', "memory = 256\n", '# name = "web"\n'])
def test_a_file_of_another_domain_is_not_believed(configured: Path, text: str) -> None:
    (configured / "xen" / "web.cfg").write_text(text)
    result, did = restarted(configured, "web")
    assert (result.status, did) == (Status.REFUSED, [])
    assert "no configuration of web" in result.because


def test_what_xl_cannot_read_destroys_nobody(configured: Path) -> None:
    (configured / "xen" / "web.cfg").write_text('name = "web"\nbad\n')
    result, did = restarted(configured, "web")
    assert (result.status, did) == (Status.FAILED, [])


def test_a_cpu_is_switched_in_a_process_of_its_own_that_says_why_it_cannot(acting: Toolstack, tmp_path: Path) -> None:
    """It finds its modules however this process was started: without site packages, too."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    acting.python = str(python)
    assert acting.cpu(ORDER, 3, online=False).status is Status.RUNNING
    ((_, result),) = until_ended(acting)
    assert result.status is Status.FAILED
    assert "/dev/xen/privcmd" in result.because


def test_what_lasts_longer_than_it_may_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = tmp_path / "gate"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.02; done\n")
    python.chmod(0o755)
    monkeypatch.setattr("ringfence.hypervisor.xen.toolstack.LONGEST_CPU_S", 0.0)
    found = toolstack(tmp_path, "exit 0")
    found.python = str(python)
    found.cpu(ORDER, 3, online=False)
    time.sleep(0.01)
    ((_, result),) = found.ended()
    assert result.status is Status.UNKNOWN
    assert "is not waited for" in result.because
    gate.touch()
    while found.has_children:
        found.ended()
        time.sleep(0.01)
