"""Events and steps go to the disk and come back as they were."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import get_args

import msgspec
import pytest
from hypothesis import given

from ringfence.hypervisor.port import Token
from ringfence.journal.events import (
    KINDS,
    STEPS,
    Carried,
    Event,
    Intended,
    Received,
    StepWire,
    Unread,
    from_text,
    on_wire,
    to_text,
)
from ringfence.record.evidence import Format, Origin, Record
from ringfence.world.identities import CaseId, DomainId, GuestFrame, StepId
from ringfence.world.steps import NotifyGuest, Status, Step
from tests.journal.strategies import events, steps


@given(steps)
def test_every_step_comes_back_as_it_was(step: Step) -> None:
    wire = on_wire(step)
    assert wire.step == step
    assert msgspec.json.decode(msgspec.json.encode(wire), type=StepWire) == wire
    assert {name for name, _ in wire.given} == {field.name for field in fields(step)}


@given(events)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    text = to_text(event)
    assert from_text(text) == event
    assert "\n" not in text
    assert json.loads(text)["kind"] == type(event).__name__


def test_the_names_on_the_disk_are_those_of_the_unions() -> None:
    assert tuple(KINDS.values()) == get_args(Event)
    assert tuple(STEPS.values()) == get_args(Step)
    assert all(kind.__struct_config__.tag == name for name, kind in KINDS.items())


def test_every_kind_of_event_has_a_time_first_and_says_what_it_means() -> None:
    for kind in KINDS.values():
        assert kind.__struct_fields__[0] == "at_ms"
        assert kind.__doc__


def test_a_line_of_the_journal_can_be_read_by_a_person() -> None:
    step = on_wire(NotifyGuest(DomainId(5), (GuestFrame(1), GuestFrame(2))))
    assert to_text(Intended(at_ms=7, order=StepId(1), case=CaseId(3), step=step)) == (
        '{"kind":"Intended","at_ms":7,"order":1,"case":3,"step":{"kind":"NotifyGuest",'
        '"given":[["domain",5],["pages",[1,2]],["must_act",true],["endangered",false]]}}'
    )


def test_a_kind_of_a_later_version_is_kept_with_the_numbers_it_uses() -> None:
    text = '{"kind":"Foreseen","at_ms":5,"case":8,"order":13,"token":21,"more":{"x":1}}'
    read = from_text(text)
    assert isinstance(read, Unread)
    assert (read.kind, read.at_ms, read.case, read.order, read.token, read.text) == ("Foreseen", 5, 8, 13, 21, text)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ('{"kind":"CoolDown","given":[]}', "no step is called CoolDown"),
        ('{"kind":"DestroyDomain","given":[["domain",1],["gently",true]]}', "DestroyDomain has no field gently"),
        ('{"kind":"DestroyDomain","given":[["domain","one"]]}', "Expected `int`"),
        ('{"kind":"DestroyDomain","given":[]}', "missing required field `domain`"),
    ],
)
def test_a_step_that_is_not_understood_is_never_half_understood(step: str, why: str) -> None:
    read = from_text(f'{{"kind":"Intended","at_ms":5,"case":8,"order":13,"step":{step}}}')
    assert isinstance(read, Unread)
    assert why in read.why
    assert (read.case, read.order) == (8, 13)


def test_a_value_of_a_later_version_makes_the_event_an_unread_one() -> None:
    read = from_text('{"kind":"Carried","at_ms":5,"order":13,"status":"half done"}')
    assert isinstance(read, Unread)
    assert (read.kind, read.order) == ("Carried", 13)


def test_a_field_of_a_later_version_is_passed_over() -> None:
    read = from_text('{"kind":"Carried","at_ms":5,"order":13,"status":"done","took_ms":8}')
    assert read == Carried(at_ms=5, order=StepId(13), status=Status.DONE)


def test_text_that_is_no_unicode_does_not_keep_evidence_out() -> None:
    record = Record(origin=Origin("kern\udce4.log"), format=Format.PRINTK, raw=b"\xff\x00")
    event = Received(at_ms=1, token=Token(1), case=None, urgent=True, record=record, severity="SRAR", summary="?")
    read = from_text(to_text(event))
    assert isinstance(read, Received)
    assert read.record.raw == b"\xff\x00"
    assert read.record.origin.file == "kern\\udce4.log"
