"""A snapshot of the state is the state: now, and after whatever comes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from ringfence.errors import FormatError
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal import snapshot
from ringfence.journal.snapshot import decode, encode
from ringfence.journal.state import SIGHTINGS_KEPT, State, apply
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.world.identities import Frame
from ringfence.world.situation import Suspect
from tests.journal.strategies import events


def corrected(at_ms: int, syndrome: int) -> ev.Received:
    record = Record(origin=Origin("-"), format=Format.TYPED, raw=b"", registers=Registers(status=1 << 63))
    return ev.Received(
        at_ms=at_ms, token=Token(at_ms), case=None, urgent=False, record=record, severity="corrected", summary="",
        corrected=True, frame=Frame(7), rank="DIMM A rank 0", dimm="DIMM A", syndrome=syndrome,
    )  # fmt: skip


def _encoded(state: State) -> bytes:
    """Events of which the numbers are as large as they can be add up to more than a snapshot holds: it says so."""
    try:
        return encode(state)
    except FormatError:
        reject()


@given(st.lists(events, max_size=30), st.lists(events, max_size=10))
def test_what_is_read_back_is_what_was_written_and_goes_on_alike(before: list[ev.Event], after: list[ev.Event]) -> None:
    state = State()
    for event in before:
        apply(state, event)
    other = decode(_encoded(state))
    assert other == state
    for event in after:
        apply(state, event)
        apply(other, event)
    assert other == state


def test_a_history_stays_bounded_and_an_error_that_counts_for_many_stays_one() -> None:
    state = State()
    for number in range(SIGHTINGS_KEPT - 1):
        apply(state, corrected(number, number))
    other = decode(encode(state))
    assert other == state
    one, two = other.history[Suspect.DIMM, "DIMM A"], other.history[Suspect.RANK, "DIMM A rank 0"]
    assert one[-1] is two[-1]
    for number in range(SIGHTINGS_KEPT, SIGHTINGS_KEPT + 9):
        apply(state, corrected(number, number))
        apply(other, corrected(number, number))
    assert other == state
    assert one.maxlen == SIGHTINGS_KEPT


@given(st.binary(max_size=40))
def test_what_is_no_snapshot_is_said_to_be_none(blob: bytes) -> None:
    with pytest.raises(FormatError, match="no snapshot"):
        decode(blob)


@given(st.lists(events, max_size=10), st.integers(0), st.integers(0, 255))
def test_a_snapshot_that_was_altered_gives_a_state_or_is_said_to_be_none(
    made_of: list[ev.Event], where: int, byte: int
) -> None:
    state = State()
    for event in made_of:
        apply(state, event)
    blob = bytearray(_encoded(state))
    blob[where % len(blob)] = byte
    try:
        found = decode(bytes(blob))
    except FormatError:
        return
    assert isinstance(found, State)


def test_the_shape_is_the_same_in_every_process() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from ringfence.journal import snapshot; print(snapshot.SHAPE)"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert int(told.stdout) == snapshot.SHAPE
