"""A state of the journal as bytes and back, so that a start need not fold the whole journal anew.

A snapshot stands beside the events: one that cannot be read, or that another version wrote, is not used, and the events
are folded from the first. Where those are gone (``journal.retention``) the snapshot of another version is read by the
names of its fields: what that version did not know has its default. What a snapshot stands for (after which event, with
which CRC) is for who keeps it to say (``journal.store``).
"""

from __future__ import annotations

import zlib
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Final, get_type_hints

import msgspec

from ringfence.diagnosis.spread import Sighting
from ringfence.errors import FormatError
from ringfence.journal.case import OpenOrder
from ringfence.journal.events import StepWire, on_wire
from ringfence.journal.state import State, sightings_kept
from ringfence.world.identities import CaseId, StepId
from ringfence.world.situation import Suspect
from ringfence.world.steps import Order

FOLD: Final = 4
"""Which fold made the state: to be raised whenever ``state.apply`` makes something else of the same events."""

_APART: Final = frozenset({"orders", "history"})
"""Fields of the state that need a form of their own."""


class _Order(msgspec.Struct, array_like=True):
    """An open order: its step by name, as the journal's events have it."""

    order: StepId
    step: StepWire
    given_in: CaseId | None
    case: CaseId
    attempt: int
    intended_ms: int
    life: int
    boot: str
    running: bool
    dimm: str | None


class _History(msgspec.Struct, array_like=True):
    """The errors of a suspect, oldest first: their places in the list of all, as most count for several suspects."""

    suspect: Suspect
    name: str
    sightings: list[int]


_EMPTY: Final = State()
_KINDS: Final = {name: kind for name, kind in get_type_hints(State).items() if name not in _APART}

_Plain = msgspec.defstruct(
    "_Plain",
    [
        (name, kind, msgspec.field(default_factory=partial(deepcopy, getattr(_EMPTY, name))))
        for name, kind in _KINDS.items()
    ],
)
"""All other fields, by their names: complete by construction, and to be read by a version that has more of them."""


@dataclass(frozen=True, slots=True)
class _Wire:
    plain: msgspec.Raw
    orders: list[_Order]
    sightings: list[Sighting]
    history: list[_History]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[_Wire]] = msgspec.msgpack.Decoder(_Wire)
_PLAIN: Final = msgspec.msgpack.Decoder(_Plain)


SHAPE: Final = zlib.crc32(f"{FOLD} {[*_KINDS]} {msgspec.inspect.multi_type_info([*_KINDS.values(), _Wire])}".encode())
"""From what the parts are called and of which types they are, all the way down. Versions that differ in it count
differently: the events are folded anew if they are there."""


def encode(state: State) -> bytes:
    """The state as bytes. Raises FormatError if a count in it has more than 64 bits, as no host's has."""
    sightings: list[Sighting] = []
    places: dict[int, int] = {}
    history: list[_History] = []
    for (suspect, name), seen in state.history.items():
        of: list[int] = []
        for each in seen:
            place = places.get(id(each))
            if place is None:
                place = places[id(each)] = len(sightings)
                sightings.append(each)
            of.append(place)
        history.append(_History(suspect, name, of))
    plain = _Plain(*(getattr(state, name) for name in _Plain.__struct_fields__))
    orders = [_order(known) for known in state.orders.values()]
    try:
        return _ENCODER.encode(_Wire(msgspec.Raw(_ENCODER.encode(plain)), orders, sightings, history))
    except OverflowError as error:
        raise FormatError(f"there is no snapshot of such a state: {error}") from error


def decode(blob: bytes) -> State:
    """The state of ``encode``. Raises FormatError for anything else."""
    try:
        wire = _DECODER.decode(blob)
        plain = _PLAIN.decode(wire.plain)
        state = State(**{name: getattr(plain, name) for name in _Plain.__struct_fields__})
        for each in wire.orders:
            state.orders[each.order] = OpenOrder(
                Order(each.order, each.step.step, each.given_in), each.case, each.attempt, each.intended_ms, each.life,
                each.boot, each.running, each.dimm,
            )  # fmt: skip
        for known in wire.history:
            seen = [wire.sightings[place] for place in known.sightings]
            state.history[known.suspect, known.name] = deque(seen, maxlen=sightings_kept((known.suspect, known.name)))
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError, RecursionError) as error:
        raise FormatError(f"this is no snapshot of the journal's state: {error}") from error
    return state


def _order(known: OpenOrder) -> _Order:
    order = known.order
    return _Order(
        order.id, on_wire(order.step), order.case, known.case, known.attempt, known.intended_ms, known.life, known.boot,
        known.running, known.dimm,
    )  # fmt: skip
