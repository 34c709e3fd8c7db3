"""The published schemas: closed sets are written out in them, and what does not belong is refused."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import jsonschema
import msgspec
import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import Event, diagnose
from ringfence.diagnosis.severity import ErrorClass, Severity
from ringfence.record.evidence import Claim, ClaimKind, Delivery, Format, Origin, Record, Registers
from ringfence.views import jsonl, summary
from ringfence.views.text import counted

RECORD = Record(
    origin=Origin("x", 1), format=Format.PRINTK, raw=b"", vendor=Vendor.INTEL, cpuid=0x606A6, bank=13, cpu=1, time=0.0,
    delivery=Delivery.POLLED, claims=(Claim(ClaimKind.OTHER, "a word"),),
    registers=Registers(status=0x8C00004000800090, addr=0x1000, misc=0x86, mcg_status=0),
)  # fmt: skip


def plain(line: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(jsonl.encode(line))
    return found


def finding_line() -> dict[str, Any]:
    event = Event(0, diagnose(RECORD), 0, Relation.LATCHED)
    return plain(jsonl.line(event))


def group_line() -> dict[str, Any]:
    tally = summary.Tally()
    tally.add(Event(0, diagnose(RECORD), 1))
    (line,) = summary.lines(tally)
    return plain(line)


@pytest.mark.parametrize(
    ("path", "members"),
    [
        (("class",), ErrorClass),
        (("severity",), Severity),
        (("delivery",), Delivery),
        (("format",), Format),
        (("relation",), Relation),
        (("address", "kind"), AddressKind),
        (("claims", 0, "kind"), ClaimKind),
    ],
)
def test_a_closed_set_is_closed_in_the_schema_of_a_finding(path: tuple[str | int, ...], members: type[StrEnum]) -> None:
    validator = jsonschema.Draft202012Validator(jsonl.schema())
    for value in (*members, "something else"):
        line: Any = finding_line()
        validator.validate(line)
        holder = line
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = str(value)
        assert validator.is_valid(line) == (value != "something else")


def test_the_lines_of_a_summary_have_a_schema_of_their_own() -> None:
    schema = summary.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(group_line())
    assert not validator.is_valid(group_line() | {"severity": "BAD"})
    assert not validator.is_valid({name: value for name, value in group_line().items() if name != "events"})
    assert not validator.is_valid(finding_line())


def test_one_is_singular() -> None:
    assert [counted(number, "event") for number in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
    tally = summary.Tally()
    tally.add(Event(0, diagnose(RECORD), 1))
    assert "1 event;" in summary.text(tally)
    tally.add(Event(1, diagnose(RECORD), 1))
    assert "2 events;" in summary.text(tally)
