"""A module that was swapped is noticed by its serial number, and by nothing that is none."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.decision.policy import DEFAULT
from ringfence.diagnosis.fault_case import Ending
from ringfence.journal import events as ev
from ringfence.journal.state import State, apply
from ringfence.journal.store import Reader
from ringfence.record.binary import smbios
from ringfence.service.attendants import House
from ringfence.service.model_world import ModelWorld, nothing
from ringfence.service.modules import BY_FIRMWARE, ModuleWatch, modules_of, noticed, serial_of
from ringfence.service.policy_source import loaded
from ringfence.service.writer import Writer
from ringfence.world.situation import Suspect
from tests.record.smbios_tables import END_OF_TABLE, memory_device
from tests.service.processes import PATIENCE_S


def table(**serials: str) -> tuple[ev.Module, ...]:
    """The modules of a machine whose sockets hold these serial numbers, an empty one where there is none."""
    devices = b"".join(
        memory_device(at, socket.encode(), size=0x4000 if serial else 0, module=(b"Maker", serial.encode(), b"Part"))
        for at, (socket, serial) in enumerate(serials.items(), 1)
    )
    return modules_of(smbios.read(devices + END_OF_TABLE))


def over_time(*seen: tuple[ev.Module, ...]) -> list[ev.Event]:
    """What starts of the service on these modules write into one journal."""
    state, written = State(), list[ev.Event]()
    for at_ms, modules in enumerate(seen):
        for event in noticed(modules, state, at_ms):
            written.append(event)
            apply(state, event)
    return written


def test_a_swapped_module_is_cleared_and_said_in_words() -> None:
    *_, cleared, seen = over_time(table(A1="10A0B1", B1="10A0B2"), table(A1="20C0D1", B1="10A0B2"))
    assert isinstance(cleared, ev.Cleared)
    assert (cleared.suspect, cleared.name, cleared.how) == (Suspect.DIMM, "A1", Ending.REPLACED)
    assert (cleared.who, cleared.serial) == (BY_FIRMWARE, "20C0D1")
    assert isinstance(seen, ev.ModulesSeen)
    assert seen.changed == ("in A1 sits the module with serial number 20C0D1, and no longer 10A0B1",)


def test_modules_that_changed_places_are_told_with_their_places() -> None:
    *_, seen = over_time(table(A1="10A0B1", B1="10A0B2"), table(A1="10A0B2", B1="10A0B1"))
    assert isinstance(seen, ev.ModulesSeen)
    assert seen.changed == (
        "in A1 sits the module with serial number 10A0B2, which was in B1, and no longer 10A0B1 (now in B1)",
        "in B1 sits the module with serial number 10A0B1, which was in A1, and no longer 10A0B2 (now in A1)",
    )


def test_the_first_look_and_the_same_modules_again_clear_nothing() -> None:
    same = table(A1="10A0B1", B1="10A0B2")
    written = over_time(same, same, same)
    assert [type(each) for each in written] == [ev.ModulesSeen]
    assert written[0] == ev.ModulesSeen(at_ms=0, modules=same)


NO_NUMBERS = (
    "", "Unknown", "Not Specified", "NO DIMM", "00000000", "FFFFFFFF", "0", "SerNum0", "Serial Number", "None", "N/A",
    "Default string", "To Be Filled By O.E.M.", "[Empty]", "DIMM_SN: Unknown", "0123456789", "--------",
)  # fmt: skip


@pytest.mark.parametrize("text", [each for each in NO_NUMBERS if "SN:" not in each])
def test_what_firmware_writes_for_want_of_a_number_is_none(text: str) -> None:
    assert not serial_of(text)
    assert not over_time(table(A1="10A0B1"), table(A1="10A0B1"), table(A1=text or "Unknown"))[2:]


@pytest.mark.parametrize("text", ["12345678", "10a0b1", "S1AB 2C", "00AD011942A1B2C3D4", "E0000001"])
def test_a_real_number_is_one(text: str) -> None:
    assert serial_of(f" {text} ") == text.upper()


def test_numbers_that_are_all_the_same_tell_nothing() -> None:
    both = table(A1="10A0B1", B1="10A0B2"), table(A1="10A0B9", B1="10A0B9")
    assert not [each for each in over_time(*both) if isinstance(each, ev.Cleared)]


def test_a_module_that_was_pulled_out_tells_nothing_and_another_in_its_place_later_does() -> None:
    written = over_time(table(A1="10A0B1", B1="10A0B2"), table(A1="", B1="10A0B2"), table(A1="10A0B3", B1="10A0B2"))
    assert [(each.at_ms, each.name) for each in written if isinstance(each, ev.Cleared)] == [(2, "A1")]
    assert not over_time(table(A1="10A0B1"), table(A1=""), table(A1="10A0B1"))[1:]


def test_what_a_person_said_of_a_module_is_no_surprise_at_the_next_start() -> None:
    state = State()
    for event in noticed(table(A1="10A0B1", B1="10A0B2"), state, 0):
        apply(state, event)
    told = ev.Cleared(at_ms=1, suspect=Suspect.DIMM, name="A1", how=Ending.REPLACED, who="root", serial="20C0D1")
    apply(state, told)
    assert not noticed(table(A1="20C0D1", B1="10A0B2"), state, 2)
    apply(state, ev.Cleared(at_ms=3, suspect=Suspect.DIMM, name="A1", how=Ending.REPLACED, who="root"))
    (seen,) = noticed(table(A1="30E0F1", B1="10A0B2"), state, 4)
    assert isinstance(seen, ev.ModulesSeen)
    assert not seen.changed


_serials = st.sampled_from(["10A0B1", "10A0B2", "10A0B3", "Unknown", "00000000", ""])


@given(st.lists(st.tuples(_serials, _serials, _serials), max_size=6))
def test_whatever_is_seen_a_part_is_cleared_only_where_two_different_numbers_of_one_socket_follow(
    seen: list[tuple[str, str, str]],
) -> None:
    looks = [table(A1=a, B1=b, C1=c) for a, b, c in seen]
    written = over_time(*looks)
    cleared = [(each.at_ms, each.name) for each in written if isinstance(each, ev.Cleared)]
    numbers: dict[str, list[tuple[str, int]]] = {}
    for at, look in enumerate(looks):
        for module in look:
            numbers.setdefault(module.name, []).extend([(module.serial, at)] if module.serial else [])
    wanted = sorted(
        (at, name) for name, found in numbers.items() for (was, _), (now, at) in pairwise(found) if was != now
    )
    assert cleared == wanted


# --- at a start -----------------------------------------------------------------------------------------------------


def watched(tmp_path: Path, table_file: Path) -> list[ev.Event]:
    """What a start of the service with this table of the firmware has written about modules."""
    path, began, ended = tmp_path / "journal.sqlite", threading.Event(), threading.Event()
    writer = Writer(
        path, lambda boot, *_: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot), loaded(None), plugins={},
        told=lambda _: began.set(), ended=lambda _: ended.set(),
    )  # fmt: skip
    writer.start()
    assert began.wait(PATIENCE_S)
    asyncio.run(ModuleWatch(table_file).attend(cast(House, SimpleNamespace(writer=writer))))
    writer.stop("the test is over")
    assert ended.wait(PATIENCE_S)
    writer.join()
    with Reader(path) as reader:
        return [each for _, each in reader.events() if isinstance(each, ev.Cleared | ev.ModulesSeen)]


def test_the_service_looks_at_its_start_and_a_table_that_is_none_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "DMI"
    assert watched(tmp_path, path) == []
    path.write_bytes(memory_device(1, b"A1", module=(b"M", b"10A0B1", b"P")) + END_OF_TABLE)
    (first,) = watched(tmp_path, path)
    assert isinstance(first, ev.ModulesSeen)
    path.write_bytes(b"no table" * 9)
    assert len(watched(tmp_path, path)) == 1
    path.write_bytes(memory_device(1, b"A1", module=(b"M", b"20C0D1", b"P")) + END_OF_TABLE)
    _, cleared, seen = watched(tmp_path, path)
    assert isinstance(cleared, ev.Cleared)
    assert isinstance(seen, ev.ModulesSeen)
    assert seen.changed == ("in A1 sits the module with serial number 20C0D1, and no longer 10A0B1",)
