"""Events and steps of every kind, made from their declared fields."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.journal.events import KINDS, STEPS, Event, StepWire, on_wire
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.world.steps import Step

few = st.integers(0, 3)
"""Numbers that meet again: cases, domains, orders, tokens, frames."""
words = st.sampled_from(("", "a", "b", 'ä "\n\\', "\0\u2028\U0001f512"))

records = st.builds(
    Record,
    origin=st.builds(Origin, st.sampled_from(("-", "a.log")), st.none() | few),
    format=st.sampled_from(Format),
    raw=st.binary(max_size=4),
    registers=st.builds(Registers, status=st.none() | st.integers(0, (1 << 64) - 1), tsc=st.none() | few),
    bank=st.none() | few,
    cpu=st.none() | few,
    vendor=st.none() | st.sampled_from(Vendor),
    time=st.none() | st.floats(0, 4e9),
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotated type, as far as events and steps use one."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, NewType):
        return few
    if origin in {Union, UnionType}:
        return st.one_of([values(each) for each in arguments])
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(values(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*(values(each) for each in arguments))
    if kind is StepWire:
        return steps.map(on_wire)
    if kind is Record:
        return records
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})
    if issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return {
        NoneType: st.none(),
        bool: st.booleans(),
        int: few | st.sampled_from((1 << 40, (1 << 63) - 1)),
        str: words,
        bytes: st.binary(max_size=3),
        float: st.floats(0, 4e9),
    }[kind]


steps: st.SearchStrategy[Step] = st.one_of([values(kind) for kind in STEPS.values()])
events: st.SearchStrategy[Event] = st.one_of([values(kind) for kind in KINDS.values()])
