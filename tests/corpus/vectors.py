"""What a vector of the corpus is: a real log, and what must come out of it.

The registers and the forms of the lines are facts of the source that each log names; host names are taken out, and so
is what stood around the lines. What must come out was judged from the registers by the manuals that the decoder and
the severity rules cite, and from what the source says that the error was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.meaning import AddressKind
from ringfence.diagnosis.severity import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One event of a log.

    ``unit``, ``error``, ``model``, ``note`` and ``assumed`` are phrases that must stand in the finding's unit, error,
    microarchitecture, one of its notes and one of its assumptions. ``rule`` is the severity rule that decides.
    ``address``, ``kind`` and ``names_a_page`` are of the address, ``place`` is all that is known of the location,
    ``counted`` is what the bank itself counts, ``reports`` how many further reports the event has.
    """

    severity: Severity
    unit: str
    error: str
    rule: str
    cpu: int | None = None
    socket: int | None = None
    bank: int | None = None
    time: float | None = None
    model: str | None = None
    address: int | None = None
    kind: AddressKind = AddressKind.NONE
    names_a_page: bool = False
    place: Mapping[str, int | str] = field(default_factory=dict)
    counted: int | None = None
    count: int = 1
    reports: int = 0
    note: str = ""
    assumed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log as it stood in its source. ``stated`` is the processor that a user names beside it."""

    name: str
    source: str
    text: str
    events: tuple[Seen, ...]
    unrecognised: int = 0
    stated: KnownProcessor | None = None
