"""Orders aside: their ends are told once, and known after a kill."""

from __future__ import annotations

import select
import threading
from pathlib import Path

from ringfence.hypervisor.kvm.aside import MOST, Aside, Trace, Work
from ringfence.world.identities import StepId
from ringfence.world.steps import Result, Status

DONE = Result(Status.DONE, "so")
ORDER = StepId(7)


def _after(go: threading.Event) -> Work:
    """What is done when it may."""

    def work() -> Result:
        go.wait(30)
        return DONE

    return work


def _ended(aside: Aside) -> tuple[tuple[StepId, Result], ...]:
    """The next ends, when there are some."""
    assert select.select([aside.ready], [], [], 30)[0]
    return aside.ended()


def test_what_ends_at_once_is_told_at_once_and_not_again(tmp_path: Path) -> None:
    aside = Aside(tmp_path)
    assert aside.begin(ORDER, lambda: DONE, wait_s=30) == DONE
    assert aside.ended() == () and aside.known(ORDER) == DONE


def test_what_takes_longer_runs_and_its_end_makes_the_file_readable(tmp_path: Path) -> None:
    aside, go = Aside(tmp_path), threading.Event()
    assert aside.begin(ORDER, _after(go)).status is Status.RUNNING
    running = aside.known(ORDER)
    assert isinstance(running, Result) and running.status is Status.RUNNING and aside.running == 1
    go.set()
    assert _ended(aside) == ((ORDER, DONE),)
    assert aside.ended() == () and not select.select([aside.ready], [], [], 0)[0]


def test_another_life_knows_how_an_order_ended_and_which_has_no_end(tmp_path: Path) -> None:
    aside = Aside(tmp_path)
    trace = Trace(what="save", key="u", process=(1, 2))
    aside.begin(ORDER, lambda: DONE, trace=trace, wait_s=30)
    hangs = threading.Event()
    aside.begin(StepId(8), _after(hangs), trace=trace)
    again = Aside(tmp_path)
    assert again.known(ORDER) == DONE
    assert again.known(StepId(8)) == trace
    assert again.known(StepId(9)) is None
    hangs.set()
    _ended(aside)


def test_a_trace_that_is_damaged_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_bytes(b"{")
    assert Aside(tmp_path).known(ORDER) is None


def test_a_fault_of_its_own_ends_an_order_as_unknown(tmp_path: Path) -> None:
    def breaks() -> Result:
        raise KeyError("x")

    result = Aside(tmp_path).begin(ORDER, breaks, wait_s=30)
    assert result.status is Status.UNKNOWN and "KeyError" in result.because


def test_no_more_run_than_there_is_room_for(tmp_path: Path) -> None:
    aside, go = Aside(tmp_path), threading.Event()
    for number in range(MOST):
        aside.begin(StepId(number), _after(go))
    assert aside.begin(StepId(MOST), lambda: DONE).status is Status.REFUSED
    go.set()


def test_an_order_that_runs_is_not_begun_again(tmp_path: Path) -> None:
    aside, goes_on, begun = Aside(tmp_path), threading.Event(), list[int]()

    def work() -> Result:
        begun.append(1)
        goes_on.wait(30)
        return Result(Status.DONE)

    for _ in range(3):
        assert aside.begin(StepId(1), work).status is Status.RUNNING
    goes_on.set()
    assert select.select([aside.ready], [], [], 30)[0]
    assert aside.ended() == ((StepId(1), Result(Status.DONE)),)
    assert len(begun) == 1


def test_what_hangs_takes_no_room_from_what_does_not(tmp_path: Path) -> None:
    aside, goes_on = Aside(tmp_path), threading.Event()

    def hangs() -> Result:
        goes_on.wait(30)
        return Result(Status.DONE)

    for number in range(MOST):
        assert aside.begin(StepId(number), hangs, lane="libvirt").status is Status.RUNNING
    assert aside.begin(StepId(MOST), hangs, lane="libvirt").status is Status.REFUSED
    assert aside.begin(StepId(MOST + 1), lambda: Result(Status.DONE), wait_s=30).status is Status.DONE
    goes_on.set()
