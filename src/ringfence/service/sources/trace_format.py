"""The kernel's own descriptions of its trace data: ``events/header_page`` and each event's ``format`` file.

Source: Linux Documentation/trace/events.rst ("Event formats"), kernel/trace/trace_events.c (f_show),
include/trace/stages (``__data_loc``, ``__rel_loc``). Nothing here knows a field's place: the files say it, and kernels
differ in it. x86 only: numbers are little-endian.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ringfence.errors import FormatError

Fields = Mapping[str, int | bytes]
"""An event's fields by name: a scalar as a number, an array, text or structure as its bytes."""


class Place(Enum):
    """Where a field's value is: in the field itself, or where the field points (from the event's or its own end)."""

    HERE = "here"
    DATA_LOC = "__data_loc"
    REL_LOC = "__rel_loc"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: bytes from the start of the event. ``is_array``: its value is bytes, whatever its size."""

    name: str
    offset: int
    size: int
    signed: bool
    is_array: bool
    place: Place

    def value(self, payload: bytes) -> int | bytes:
        """The field in an event. Raises FormatError if it, or what it points to, is not within the event."""
        raw = _part(payload, self.offset, self.size, self.name)
        if self.place is not Place.HERE:
            where = int.from_bytes(raw, "little")
            start, length = where & 0xFFFF, where >> 16 & 0xFFFF
            if self.place is Place.REL_LOC:
                start += self.offset + self.size
            return _part(payload, start, length, self.name)
        if self.is_array and not self.size:
            return payload[self.offset :]
        if self.is_array or self.size not in {1, 2, 4, 8}:
            return raw
        return int.from_bytes(raw, "little", signed=self.signed)


def _part(payload: bytes, start: int, length: int, name: str) -> bytes:
    if start + length > len(payload):
        raise FormatError(f"field {name} ends beyond its trace event of {len(payload)} bytes", offset=start)
    return payload[start : start + length]


_FIELD = re.compile(
    r"^\s*field:\s*(?P<type>[^;]*?)(?P<name>\w+)(?P<array>\[[^\];]*\])?;"
    r"\s*offset:(?P<offset>\d{1,6});\s*size:(?P<size>\d{1,6});(?:\s*signed:(?P<signed>[01]);)?",
    re.MULTILINE,
)
_NAME = re.compile(r"^name: (?P<name>\w+)$", re.MULTILINE)
_ID = re.compile(r"^ID: (?P<id>\d{1,5})$", re.MULTILINE)
_SYMBOLIC = re.compile(r"__print_symbolic\(REC->(?P<field>\w+),(?P<pairs>(?:\s*\{[^{}]*\},?)+)\s*\)")
_PAIR = re.compile(r'\{\s*(?P<value>-?(?:0x[0-9a-fA-F]+|\d+))[uUlL]*\s*,\s*"(?P<text>[^"]*)"\s*\}')

MAX_FORMAT_BYTES: Final = 64 << 10
"""The largest description that is read; the longest of those used here has some 6 KiB."""


_POINTED: Final = (Place.DATA_LOC, Place.REL_LOC)


def _fields(text: str) -> tuple[Field, ...]:
    return tuple(
        Field(
            name=match["name"],
            offset=int(match["offset"]),
            size=int(match["size"]),
            signed=match["signed"] == "1",
            is_array=match["array"] is not None,
            place=next(
                (place for place in (Place.DATA_LOC, Place.REL_LOC) if place.value in match["type"]), Place.HERE
            ),
        )
        for match in _FIELD.finditer(text)
    )


@dataclass(frozen=True, slots=True)
class EventFormat:
    """An event as this kernel makes it. ``symbols``: for fields that are enums, the kernel's word for each number."""

    system: str
    name: str
    id: int
    fields: tuple[Field, ...]
    symbols: Mapping[str, Mapping[int, str]]

    def decode(self, payload: bytes) -> dict[str, int | bytes]:
        """All fields of an event. Raises FormatError if one is not within it."""
        return {field.name: field.value(payload) for field in self.fields}

    def word(self, field: str, value: int) -> str:
        """What the kernel calls a value of an enum; the number itself if it has no word for it."""
        return self.symbols.get(field, {}).get(value, str(value))


def parse_event(text: str, system: str) -> EventFormat:
    """A ``format`` file. Raises FormatError if it has no name, no id or no fields."""
    name, number, fields = _NAME.search(text), _ID.search(text), _fields(text)
    if name is None or number is None or not fields:
        raise FormatError("no description of a trace event")
    symbols = {
        match["field"]: {int(pair["value"], 0): pair["text"] for pair in _PAIR.finditer(match["pairs"])}
        for match in _SYMBOLIC.finditer(text)
    }
    return EventFormat(system, name["name"], int(number["id"]), fields, symbols)


@dataclass(frozen=True, slots=True)
class PageFormat:
    """A page of the ring buffer: where its time stamp, its commit word and its data are, in bytes."""

    timestamp: Field
    commit: Field
    data: Field

    @property
    def page_bytes(self) -> int:
        """The whole page: what one read of trace_pipe_raw gives."""
        return self.data.offset + self.data.size


def parse_header_page(text: str) -> PageFormat:
    """``events/header_page``. Raises FormatError if a field is missing."""
    fields = {field.name: field for field in _fields(text)}
    try:
        return PageFormat(fields["timestamp"], fields["commit"], fields["data"])
    except KeyError as error:
        raise FormatError(f"header_page has no field {error}") from None
