"""The lines of a record as Linux prints them (arch/x86/kernel/cpu/mce/core.c, __print_mce), many at a time.

Each reader takes the positions of the lines' bodies (behind the tag) and says for which lines it is sure: the line then
consists of the fields below in this order, in the kernel's own spelling, up to its end, and of nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringfence.arch.mcg import MCIP
from ringfence.record.columns.digits import (
    Flags,
    Positions,
    Text,
    Words,
    decimal8,
    decimal16,
    hexadecimal8,
    hexadecimal16,
    mask,
    word,
)


class Present(IntFlag):
    """Which of the fields that may be missing a record has."""

    ADDR = 1
    MISC = 2
    PPIN = 4
    SYND = 8
    IPID = 16
    MICROCODE = 32
    IP = 64


REGISTERS: Final = (Present.ADDR, Present.MISC, Present.PPIN, Present.SYND, Present.IPID)
"""The optional registers of a TSC line in the order in which they are printed."""

_MCIP: Final = np.uint64(MCIP.mask)
_BLANK: Final = np.uint8(0x20)
_COLON: Final = np.uint8(0x3A)


def _integers(words: Words) -> Positions:
    return words.astype(np.intp)


@dataclass(frozen=True, slots=True)
class Heads:
    """``CPU %d: Machine Check[ Exception]: %Lx Bank %d: %016Lx``."""

    sure: Flags
    cpu: NDArray[np.uint32]
    bank: NDArray[np.uint16]
    mcg_status: Words
    status: Words


def read_heads(text: Text, body: Positions, ends: Positions) -> Heads:
    """Read head lines. A status has sixteen digits; CPU, MCG_STATUS and bank at most 6, 8 and 3."""
    cpu, length = decimal8(text.words(body + 4))
    sure = (length > 0) & (length <= np.uint64(6))
    at = body + 4 + _integers(length)
    rows = text.rows(at, 2)
    sure &= rows[:, 0] == word(b": Machin")
    exception = rows[:, 1] == word(b"e Check ")
    sure &= exception | (rows[:, 1] == word(b"e Check:"))
    at += 16
    if exception.any():
        sure[exception] &= text.equal(at[exception], b"Exception:")
        at += 10 * exception
    sure &= text.characters[at] == _BLANK
    at += 1
    mcg_status, length = hexadecimal8(text.words(at))
    # Kernels before 2.6.38 print "Exception" for polled records too: that needs the reader of single lines.
    sure &= (length > 0) & (exception == ((mcg_status & _MCIP) != 0))
    at += _integers(length)
    sure &= text.equal(at, b" Bank ")
    at += 6
    bank, length = decimal8(text.words(at))
    sure &= (length > 0) & (length <= np.uint64(3))
    at += _integers(length)
    sure &= text.equal(at, b": ")
    at += 2
    status, length = hexadecimal16(text.rows(at, 2))
    sure &= (length == np.uint64(16)) & (at + 16 == ends)
    return Heads(sure, cpu.astype(np.uint32), bank.astype(np.uint16), mcg_status, status)


@dataclass(frozen=True, slots=True)
class Stamps:
    """``TSC %llx [ADDR %llx ][MISC %llx ][PPIN %llx ][SYND %llx ][IPID %llx ]``; absent registers are zero."""

    sure: Flags
    tsc: Words
    registers: dict[Present, Words]
    present: NDArray[np.uint8]


_NAME_BY_ROW: Final = np.array([*(word(f" {register.name} ".encode()) for register in REGISTERS), 0], np.uint64)
_BIT_BY_ROW: Final = np.array([*REGISTERS, 0], np.uint8)
_ROW_BY_LETTER: Final = np.full(256, len(REGISTERS), np.uint8)
"""The names differ in their first letter."""
_ROW_BY_LETTER[[ord(str(register.name)[0]) for register in REGISTERS]] = range(len(REGISTERS))


def _at_end(text: Text, at: Positions, ends: Positions) -> Flags:
    """Where a line ends at the position, or after one more blank."""
    finished: Flags = at == ends
    blank = np.flatnonzero(at + 1 == ends)
    finished[blank[text.characters[at[blank]] == _BLANK]] = True
    return finished


def _named_value(text: Text, at: Positions) -> tuple[Words, Words, Flags, Positions]:
    """Six characters of a name with its blanks, a hexadecimal number, whether it has digits, and where it ends."""
    behind = at + 6
    value, length = hexadecimal16(text.rows(behind, 2))
    return text.words(at) & mask(6), value, length > 0, behind + _integers(length)


def read_stamps(text: Text, body: Positions, ends: Positions) -> Stamps:
    """Read TSC lines, with or without the blank that the kernel leaves at their end."""
    count = len(body)
    sure = np.zeros(count, np.bool_)
    present = np.zeros(count, np.uint8)
    # One row for each register, and one for what has no known name.
    registers = np.zeros((len(REGISTERS) + 1, count), np.uint64)
    # ": TSC " is as long as " ADDR ", and the tag before the body always ends in ": ".
    _, tsc, readable, at = _named_value(text, body - 2)
    pending = np.arange(count)
    latest = np.zeros(count, np.uint8)
    while True:
        finished = _at_end(text, at, ends)
        sure[pending[readable & finished]] = True
        unread = np.flatnonzero(readable & ~finished)
        if not len(unread):
            break
        pending, ends, latest, at = pending[unread], ends[unread], latest[unread], at[unread]
        name, value, readable, at = _named_value(text, at)
        row = _ROW_BY_LETTER[(name >> np.uint64(8)).astype(np.uint8)]
        registers[row, pending] = value
        this = _BIT_BY_ROW[row]
        # Each register once, and in the kernel's order; this also bounds the loop.
        readable &= (name == _NAME_BY_ROW[row]) & (this > latest)
        present[pending] |= this
        latest = this
    return Stamps(sure, tsc, dict(zip(REGISTERS, registers, strict=False)), present)


@dataclass(frozen=True, slots=True)
class Processors:
    """``PROCESSOR %u:%x TIME %llu SOCKET %u APIC %x[ microcode %x]``; ``vendor`` is Linux's X86_VENDOR number."""

    sure: Flags
    vendor: NDArray[np.uint8]
    cpuid: NDArray[np.uint32]
    time: NDArray[np.int64]
    socket: NDArray[np.int32]
    apicid: NDArray[np.uint32]
    microcode: NDArray[np.uint32]
    with_microcode: Flags


def read_processors(text: Text, body: Positions, ends: Positions) -> Processors:
    """Read PROCESSOR lines, of which kernels before 3.0 leave the microcode out. A vendor has one digit."""
    sure = text.equal(body + 8, b"R ")
    at = body + 10
    vendor, length = decimal8(text.words(at))
    sure &= length == np.uint64(1)
    at += _integers(length)
    sure &= text.characters[at] == _COLON
    at += 1
    cpuid, length = hexadecimal8(text.words(at))
    sure &= length > 0
    at += _integers(length)
    sure &= text.equal(at, b" TIME ")
    at += 6
    time, length = decimal16(text.rows(at, 2))
    sure &= length > 0
    at += _integers(length)
    sure &= text.equal(at, b" SOCKET ")
    at += 8
    socket, length = decimal8(text.words(at))
    sure &= length > 0
    at += _integers(length)
    sure &= text.equal(at, b" APIC ")
    at += 6
    apicid, length = hexadecimal8(text.words(at))
    sure &= length > 0
    at += _integers(length)
    without = _at_end(text, at, ends)
    with_microcode = text.equal(at, b" microcode ")
    at += 11
    microcode, length = hexadecimal8(text.words(at))
    with_microcode &= (length > 0) & _at_end(text, at + _integers(length), ends)
    sure &= without | with_microcode
    return Processors(
        sure,
        vendor.astype(np.uint8),
        cpuid.astype(np.uint32),
        time.astype(np.int64),
        socket.astype(np.int32),
        apicid.astype(np.uint32),
        (microcode * with_microcode).astype(np.uint32),
        with_microcode,
    )


_RIP: Final = re.compile(
    rb"RIP(?P<inexact> !INEXACT!)? (?P<cs>[0-9a-f]{2,4}):<(?P<ip>[0-9a-f]{16})>(?: \{[\w.+/ \[\]-]+\}| ?)\n", re.ASCII
)


def read_rip(buffer: bytes, body: int, end: int) -> tuple[int, int, bool] | None:
    """CS, the instruction pointer and whether it is exact (MCG_STATUS.EIPV), or None if the line is not plain.

    ``RIP[ !INEXACT!] %02x:<%016Lx> [{symbol+offset/size}]``; read one by one, for few records have it.
    """
    found = _RIP.fullmatch(buffer, body, end + 1)
    return (int(found["cs"], 16), int(found["ip"], 16), not found["inexact"]) if found else None
