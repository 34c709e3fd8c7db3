"""Where physical addresses lie: the hole for devices, whose socket, and which cells of which DIMM.

The map is plain and the model's own (real ones hash): below 3 GiB an address is memory, from 3 to 4 GiB it belongs to
devices, from 4 GiB on memory goes on. Each socket owns one run of memory. Within it the lines of 64 bytes go round the
channels; within a channel, from the lowest bits: 128 columns (of a line each), 16 banks, the ranks, the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from ringfence.record.evidence import Location
from ringfence.world.identities import PAGE_BYTES, Frame, PhysAddr, SocketId

LINE_BYTES: Final = 64
LINES_OF_PAGE: Final = PAGE_BYTES // LINE_BYTES
COLUMNS: Final = 128
BANKS: Final = 16
RANKS_OF_DIMM: Final = 2
DIMMS_OF_CHANNEL: Final = 2
_RANKS: Final = RANKS_OF_DIMM * DIMMS_OF_CHANNEL
_GIB: Final = 1 << 30
_HOLE: Final = 3 * _GIB
_ABOVE: Final = 4 * _GIB


class DramPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a line is. ``channel`` counts through the socket, ``rank`` within the DIMM, ``column`` in lines."""

    socket: SocketId
    channel: int
    slot: int
    rank: int
    bank: int
    row: int
    column: int

    @property
    def chip_select(self) -> int:
        """The rank as the channel counts them."""
        return self.slot * RANKS_OF_DIMM + self.rank

    @property
    def location(self) -> Location:
        """As a location of the evidence."""
        return Location(
            socket=self.socket,
            channel=self.channel,
            slot=self.slot,
            rank=self.rank,
            bank=self.bank,
            row=self.row,
            column=self.column,
        )


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """The memory of a machine. Raises ValueError unless each socket has at least 1 GiB, in whole GiB."""

    sockets: int
    bytes_of_socket: int
    channels: int

    def __post_init__(self) -> None:
        if self.bytes_of_socket < _GIB or self.bytes_of_socket % _GIB:
            raise ValueError(f"a socket has memory in whole GiB, not {self.bytes_of_socket} bytes")

    @property
    def bytes(self) -> int:
        """How much memory there is."""
        return self.sockets * self.bytes_of_socket

    @property
    def top(self) -> PhysAddr:
        """The address behind the last byte of memory."""
        return self._address(self.bytes)

    def is_memory(self, addr: PhysAddr) -> bool:
        """Whether an address is one of memory."""
        return 0 <= addr < self.bytes if addr < _HOLE else _ABOVE <= addr < self.top

    @property
    def frames(self) -> tuple[range, ...]:
        """The frames that are memory, as one or two runs."""
        low = range(min(_HOLE, self.bytes) // PAGE_BYTES)
        high = range(_ABOVE // PAGE_BYTES, self.top // PAGE_BYTES)
        return (low, high) if high else (low,)

    def locate(self, addr: PhysAddr) -> DramPlace:
        """Where an address is. Raises ValueError if it is not memory."""
        socket, offset = divmod(self.offset(addr), self.bytes_of_socket)
        line, channel = divmod(offset // LINE_BYTES, self.channels)
        line, column = divmod(line, COLUMNS)
        line, bank = divmod(line, BANKS)
        row, chip_select = divmod(line, _RANKS)
        slot, rank = divmod(chip_select, RANKS_OF_DIMM)
        return DramPlace(
            socket=SocketId(socket), channel=channel, slot=slot, rank=rank, bank=bank, row=row, column=column
        )

    def address(self, place: DramPlace) -> PhysAddr:
        """The first byte of a line. Raises ValueError if the machine has no such place."""
        line = (place.row * _RANKS + place.chip_select) * BANKS + place.bank
        line = (line * COLUMNS + place.column) * self.channels + place.channel
        offset = line * LINE_BYTES
        fits = (
            0 <= place.socket < self.sockets
            and 0 <= place.channel < self.channels
            and 0 <= place.column < COLUMNS
            and 0 <= place.bank < BANKS
            and 0 <= place.chip_select < _RANKS
            and 0 <= offset < self.bytes_of_socket
        )
        if not fits:
            raise ValueError(f"no such place: {place}")
        return self._address(place.socket * self.bytes_of_socket + offset)

    def normalised(self, addr: PhysAddr) -> int:
        """The address within the memory of its own channel, as an AMD UMC logs it."""
        offset = self.offset(addr) % self.bytes_of_socket
        return offset // LINE_BYTES // self.channels * LINE_BYTES + addr % LINE_BYTES

    def of_normalised(self, socket: SocketId, channel: int, normalised: int) -> PhysAddr:
        """The address that a UMC's normalised address stands for: what Linux's address translation library does."""
        line, byte = divmod(normalised, LINE_BYTES)
        offset = (line * self.channels + channel) * LINE_BYTES + byte
        return self._address(socket * self.bytes_of_socket + offset)

    def offset(self, addr: PhysAddr) -> int:
        """How many bytes of memory lie below an address. Raises ValueError if it is not memory."""
        if not self.is_memory(addr):
            raise ValueError(f"{addr:#x} is not memory")
        return addr if addr < _HOLE else addr - (_ABOVE - _HOLE)

    def _address(self, offset: int) -> PhysAddr:
        return PhysAddr(offset if offset < _HOLE else offset + (_ABOVE - _HOLE))


def line_of(addr: PhysAddr) -> PhysAddr:
    """The line that an address is in."""
    return PhysAddr(addr - addr % LINE_BYTES)


def lines_of(frame: Frame) -> tuple[PhysAddr, ...]:
    """The lines of a page."""
    first = frame * PAGE_BYTES
    return tuple(PhysAddr(line) for line in range(first, first + PAGE_BYTES, LINE_BYTES))
