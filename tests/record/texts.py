"""What the tests of textual formats share: text in, evidence out."""

from __future__ import annotations

from ringfence.record.evidence import Evidence, Record, Unrecognised
from ringfence.record.text.lines import RawLine
from ringfence.record.text.reader import read


def evidence(text: str) -> list[Evidence]:
    lines = (RawLine(number, line.encode()) for number, line in enumerate(text.splitlines(), start=1))
    return list(read(lines, "log"))


def records(text: str) -> list[Record]:
    """The records of a text in which nothing is unrecognised."""
    found = evidence(text)
    assert not [item for item in found if isinstance(item, Unrecognised)], found
    return [item for item in found if isinstance(item, Record)]


def record(text: str) -> Record:
    found = records(text)
    assert len(found) == 1, found
    return found[0]


def said(one: Record) -> list[str]:
    return [f"{claim.kind}: {claim.text}" for claim in one.claims]
