"""A PV guest's own number for a frame: from Xen's table, by the layout of its hypercall."""

from __future__ import annotations

from struct import pack, unpack

from ringfence.hypervisor.xen.numbers import MOST_EXTENTS, Numbers
from ringfence.world.identities import Frame

FIRST = 0x5000


class Xen:
    """A machine of a gigabyte: one extent of the table, from ``FIRST`` on, in which frame f is number f + 7."""

    address = 0x10000

    def __init__(self) -> None:
        self.memory = bytearray(1 << 18)
        self.calls: list[tuple[int, ...]] = []
        self.entries: dict[int, int] = {}

    def write(self, offset: int, data: bytes) -> int:
        self.memory[offset : offset + len(data)] = data
        return self.address + offset

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.memory[offset : offset + size])

    def call(self, number: int, *arguments: int) -> int:
        self.calls.append((number, *arguments))
        at = arguments[1] - self.address
        most, start, _ = unpack("<I4xQI4x", self.read(at, 24))
        told = min(most, 1)
        self.write(start - self.address, pack("<Q", FIRST) * told)
        self.write(at + 16, pack("<I", told))
        return 0

    def page(self, frame: int) -> bytes:
        if frame < FIRST:
            raise OSError(22, "no")
        first = (frame - FIRST) * 512
        return b"".join(pack("<Q", self.entries.get(each, each + 7)) for each in range(first, first + 512))


def test_a_frame_has_the_number_that_stands_at_its_place() -> None:
    xen = Xen()
    numbers = Numbers(xen, xen)
    assert [numbers.of(Frame(each)) for each in (0, 511, 512, 262_143)] == [7, 518, 519, 262_150]
    assert xen.calls[0] == (12, 5, xen.address)


def test_marks_are_no_numbers_and_beyond_the_table_is_none() -> None:
    xen = Xen()
    xen.entries = {3: (1 << 64) - 1, 4: (1 << 64) - 2}
    numbers = Numbers(xen, xen)
    assert [numbers.of(Frame(each)) for each in (3, 4, 262_144, -1, MOST_EXTENTS << 18)] == [None] * 5


def test_a_xen_that_refuses_is_no_number() -> None:
    class Deaf(Xen):
        def call(self, number: int, *arguments: int) -> int:
            raise OSError(38, "no")

    assert Numbers(Deaf(), Xen()).of(Frame(1)) is None
