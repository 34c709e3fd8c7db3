"""Where lines of memory are, and what becomes of bad ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.hypervisor.model.memory import Found, Health, Line, Memory
from ringfence.hypervisor.model.memory_map import LINE_BYTES, MemoryMap, line_of, lines_of
from ringfence.world.identities import PAGE_BYTES, Frame, PhysAddr

GIB = 1 << 30
LINE = PhysAddr(0x1000)
MAPS = st.builds(MemoryMap, st.integers(1, 4), st.integers(1, 9).map(lambda n: n * GIB), st.integers(1, 8))


@given(st.data())
def test_every_line_has_one_place_and_every_place_one_line(data: st.DataObject) -> None:
    memory = data.draw(MAPS)
    frame = data.draw(st.sampled_from(memory.frames).flatmap(lambda run: st.integers(run.start, run.stop - 1)))
    line = PhysAddr(frame * PAGE_BYTES + LINE_BYTES * data.draw(st.integers(0, 63)))
    place = memory.locate(line)
    assert memory.address(place) == line
    assert memory.of_normalised(place.socket, place.channel, memory.normalised(line)) == line


@given(MAPS)
def test_the_frames_are_all_of_memory_and_nothing_of_the_devices_hole(memory: MemoryMap) -> None:
    assert sum(map(len, memory.frames)) * PAGE_BYTES == memory.bytes
    for run in memory.frames:
        assert memory.is_memory(PhysAddr(run.start * PAGE_BYTES))
        assert memory.is_memory(PhysAddr(run.stop * PAGE_BYTES - 1))
    assert not memory.is_memory(memory.top)
    assert not memory.is_memory(PhysAddr(0xFEE0_0000))
    with pytest.raises(ValueError, match="not memory"):
        memory.locate(memory.top)


def test_neighbouring_lines_go_round_the_channels() -> None:
    memory = MemoryMap(1, 16 * GIB, 6)
    assert [memory.locate(line).channel for line in lines_of(Frame(0))[:7]] == [0, 1, 2, 3, 4, 5, 0]
    assert line_of(PhysAddr(0x107F)) == 0x1040


def test_a_place_that_no_dimm_has_is_refused() -> None:
    memory = MemoryMap(1, GIB, 2)
    beyond = MemoryMap(1, 64 * GIB, 2).locate(PhysAddr(60 * GIB))
    with pytest.raises(ValueError, match="no such place"):
        memory.address(beyond)


def test_a_transient_correctable_fault_is_healed_by_its_correction_and_a_stuck_one_is_not() -> None:
    memory = Memory()
    memory.spoil(LINE, Line(Health.CORRECTABLE))
    assert [memory.read(LINE).found for _ in range(2)] == [Found.CORRECTED, Found.GOOD]
    memory.spoil(LINE, Line(Health.CORRECTABLE, lasting=True))
    assert [memory.read(LINE).found for _ in range(3)] == [Found.CORRECTED] * 3


def test_an_uncorrectable_line_is_reported_once_and_is_poison_from_then_on() -> None:
    memory = Memory()
    memory.spoil(LINE, Line(Health.LATENT))
    assert [memory.read(LINE).found for _ in range(3)] == [Found.UNCORRECTED, Found.POISON, Found.POISON]


@pytest.mark.parametrize(("lasting", "found"), [(False, Found.GOOD), (True, Found.UNCORRECTED)])
def test_a_store_of_the_whole_line_clears_poison_until_broken_cells_are_read_again(lasting: bool, found: Found) -> None:
    memory = Memory()
    memory.spoil(LINE, Line(Health.LATENT, lasting=lasting))
    memory.read(LINE)
    memory.write(LINE)
    assert memory.read(LINE).found is found


@given(st.lists(st.sampled_from(Health), min_size=1, max_size=4))
def test_a_line_never_gets_better_by_a_further_fault(faults: list[Health]) -> None:
    order = list(Health)
    memory = Memory()
    for fault in faults:
        memory.spoil(LINE, Line(fault))
    held = memory.at(LINE)
    assert held is not None
    assert held.health is max(faults, key=order.index)


def test_two_correctable_faults_in_different_devices_make_a_line_uncorrectable() -> None:
    memory = Memory()
    memory.spoil(LINE, Line(Health.CORRECTABLE, lasting=True, device=1))
    memory.spoil(LINE, Line(Health.CORRECTABLE, lasting=True, device=1))
    assert memory.read(LINE).found is Found.CORRECTED
    memory.spoil(LINE, Line(Health.CORRECTABLE, lasting=True, device=2))
    assert memory.read(LINE).found is Found.UNCORRECTED


def test_power_off_leaves_broken_cells_alone() -> None:
    memory = Memory()
    memory.spoil(LINE, Line(Health.LATENT, lasting=True))
    memory.read(LINE)
    memory.spoil(PhysAddr(0x2000), Line(Health.LATENT))
    memory.power_off()
    assert memory.bad_lines == (LINE,)
    assert memory.read(LINE).found is Found.UNCORRECTED
