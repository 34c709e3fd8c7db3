"""What a host and the agent in a guest say to each other: version 1, one JSON object a line.

Shared by both sides. Each message is bounded, each of its fields is, and whoever reads takes nothing for granted: what
is not understood raises ProtocolError, whose ``fault`` is one of few. A sentence of the other side comes as printable
ASCII, or not at all. docs/guest.md has every message with an example.

A message never says from which domain it is: that is the transport's to know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

VERSIONS: Final = (1, 1)
"""The lowest and the highest version that is spoken here."""
MESSAGE_BYTES: Final = 2_000
"""Of one message, its newline aside: what the xenstore takes as a value of a guest is 2048 bytes
(quota_max_entry_size, xen/tools/xenstored/core.c), and the mailbox puts up to 48 before it."""
MOST_RANGES: Final = 48
"""Of pages in one message: 48 of the longest fill three quarters of it."""
PAGE_BYTES: Final = 4096
"""The smallest page of x86: every address and size is a multiple of it."""
TOP: Final = 1 << 52
"""Physical addresses of x86 have 52 bits at most (SDM vol. 3A 4.1.4)."""
RANGE_BYTES: Final = 1 << 30
"""The largest page of x86."""
MOST_NUMBER: Final = (1 << 63) - 1
MOST_DEADLINE_MS: Final = 3_600_000
MOST_BEAT_S: Final = 3_600
WHY_CHARACTERS: Final = 200
NAME_CHARACTERS: Final = 64
MOST_WORDS: Final = 16
WORD_CHARACTERS: Final = 32


class Fault(StrEnum):
    """Why something that came is no message."""

    TOO_LONG = "too long"
    NOT_JSON = "not JSON"
    UNKNOWN = "of an unknown kind"
    BAD_FIELD = "with a field that is not as it should be"


class ProtocolError(ValueError):
    """What came is no message of this protocol."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class What(StrEnum):
    """What is wrong with pages that a guest is told of."""

    LOST = "lost"
    """An uncorrected error: their content is gone, and must not be read."""
    ENDANGERED = "endangered"
    """Corrected errors: their content is good, and may not be for long."""


class Ability(StrEnum):
    """What an agent can do; a word that the host does not know is left out."""

    SOFT_OFFLINE = "soft-offline"
    HARD_OFFLINE = "hard-offline"
    FIND_OWNER = "find-owner"
    KILL = "kill"
    RESTART_UNIT = "restart-unit"
    HOOKS = "hooks"


class Outcome(StrEnum):
    """How an agent answers."""

    HEALED = "healed"
    """The pages are out of use, verified where the kernel lets one."""
    REFUSED = "refused"
    """It was not tried: the guest's own policy, or a hook, is against it."""
    FAILED = "failed"
    """It was tried, and the pages are still in use."""
    NOT_OURS = "not-ours"
    """The guest has no memory there."""


class Deed(StrEnum):
    """What an agent did; a word that the host does not know is left out."""

    SOFT_OFFLINED = "soft-offlined"
    HARD_OFFLINED = "hard-offlined"
    OFFLINE_ALREADY = "offline-already"
    KILLED = "killed"
    RESTARTED_UNIT = "restarted-unit"
    RAN_HOOK = "ran-hook"
    DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class Range:
    """Pages that lie together: ``address`` is guest-physical (PV: pseudo-physical), both are bytes."""

    address: int
    size_bytes: int = PAGE_BYTES


# --- what a host says ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Who:
    """Who is there? Answered by ``Hello``."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The agent is registered. It shall say that it is alive every ``beat_s`` seconds."""

    version: int
    beat_s: int


@dataclass(frozen=True, slots=True)
class Unwelcome:
    """The agent is not registered."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Pages of the guest are lost or endangered.

    ``id`` names this message in the answer; the same comes again, with the same ``id``, if the host does not know
    whether it has arrived. ``must_act`` is false where it is told "for purely notification purposes" (I.3a-inform).
    ``deadline_ms`` is from when it is read; a later answer is too late.
    """

    id: int
    case: int
    what: What
    must_act: bool
    ranges: tuple[Range, ...]
    deadline_ms: int


FromHost: TypeAlias = Who | Welcome | Unwelcome | Told

# --- what an agent says -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The agent registers: the versions that it speaks, its name and version, and what it can do."""

    lowest: int
    highest: int
    agent: str
    can: tuple[Ability, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a ``Told``; ``id`` and ``case`` are its."""

    id: int
    case: int
    outcome: Outcome
    did: tuple[Deed, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Alive:
    """The agent's heartbeat."""


FromGuest: TypeAlias = Hello | Answer | Alive


# --- fields -------------------------------------------------------------------------------------------------------


def text(said: str, characters: int = WHY_CHARACTERS) -> str:
    """A sentence as it is passed on: printable ASCII, ``?`` for anything else, cut to its bound."""
    return "".join(each if " " <= each <= "~" else "?" for each in said[:characters])


def _number(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"a number from {least} to {most} is expected")
        return value

    return read


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false is expected")
    return value


def _text(characters: int) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if type(value) is not str:
            raise ValueError("a text is expected")
        return text(value, characters)

    return read


def _one_of(words: type[StrEnum]) -> Callable[[Any], Any]:
    known = {str(each): each for each in words}

    def read(value: Any) -> StrEnum:
        if type(value) is not str or value not in known:
            raise ValueError(f"one of {', '.join(known)} is expected")
        return known[value]

    return read


def _some_of(words: type[StrEnum]) -> Callable[[Any], Any]:
    """The known ones among few words: a later version has more."""
    known = {str(each): each for each in words}

    def read(value: Any) -> tuple[StrEnum, ...]:
        if type(value) is not list or len(value) > MOST_WORDS:
            raise ValueError(f"a list of {MOST_WORDS} words at most is expected")
        if any(type(each) is not str or len(each) > WORD_CHARACTERS for each in value):
            raise ValueError(f"words of {WORD_CHARACTERS} characters at most are expected")
        return tuple(dict.fromkeys(known[each] for each in value if each in known))

    return read


def _ranges(value: Any) -> tuple[Range, ...]:
    if type(value) is not list or not 1 <= len(value) <= MOST_RANGES:
        raise ValueError(f"1 to {MOST_RANGES} ranges are expected")
    found = []
    for each in value:
        if type(each) is not list or len(each) != 2 or any(type(part) is not int for part in each):
            raise ValueError("an address and a size are expected")
        address, size = each
        fits = 0 <= address < TOP and PAGE_BYTES <= size <= RANGE_BYTES and address + size <= TOP
        if not fits or address % PAGE_BYTES or size % PAGE_BYTES:
            raise ValueError("whole pages within physical memory are expected")
        found.append(Range(address, size))
    return tuple(found)


def _of_range(value: Any) -> list[list[int]]:
    return [[each.address, each.size_bytes] for each in value]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message: its name on the wire and in the class, how it is read, what it means, how it is written."""

    name: str
    read: Callable[[Any], Any]
    means: str
    write: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: its class, and its word on the wire."""

    says: str
    of: type
    fields: tuple[Field, ...] = field(default=())


_NUMBER: Final = _number(0, MOST_NUMBER)
_VERSION: Final = _number(1, 255)

KINDS_FROM_HOST: Final = (
    Kind("who", Who),
    Kind(
        "welcome",
        Welcome,
        (
            Field("version", _VERSION, "the version that both speak"),
            Field("beat_s", _number(1, MOST_BEAT_S), "seconds between two heartbeats"),
        ),
    ),
    Kind("unwelcome", Unwelcome, (Field("why", _text(WHY_CHARACTERS), "why it is not registered"),)),
    Kind(
        "told",
        Told,
        (
            Field("id", _NUMBER, "names it in the answer"),
            Field("case", _NUMBER, "the host's case, for people"),
            Field("what", _one_of(What), "lost: their content is gone; endangered: it is good, yet"),
            Field("must_act", _flag, "false: it is told for its information, and may do nothing"),
            Field("ranges", _ranges, "address and size in bytes, guest-physical, whole pages", _of_range),
            Field("deadline_ms", _number(0, MOST_DEADLINE_MS), "milliseconds for the answer"),
        ),
    ),
)
"""What a host says."""

KINDS_FROM_GUEST: Final = (
    Kind(
        "hello",
        Hello,
        (
            Field("lowest", _VERSION, "the lowest version that it speaks"),
            Field("highest", _VERSION, "the highest"),
            Field("agent", _text(NAME_CHARACTERS), "its name and version"),
            Field("can", _some_of(Ability), "what it can do", list),
        ),
    ),
    Kind(
        "answer",
        Answer,
        (
            Field("id", _NUMBER, "of the message that it answers"),
            Field("case", _NUMBER, "of the same message"),
            Field("outcome", _one_of(Outcome), "healed, refused, failed or not-ours"),
            Field("did", _some_of(Deed), "what it did", list),
            Field("why", _text(WHY_CHARACTERS), "for people"),
        ),
    ),
    Kind("alive", Alive),
)
"""What an agent says."""


# --- the wire -----------------------------------------------------------------------------------------------------

_OF_HOST: Final = {kind.says: kind for kind in KINDS_FROM_HOST}
_OF_GUEST: Final = {kind.says: kind for kind in KINDS_FROM_GUEST}
_OF_CLASS: Final = {kind.of: kind for kind in (*KINDS_FROM_HOST, *KINDS_FROM_GUEST)}


def encoded(message: FromHost | FromGuest) -> bytes:
    """A message as one line, without the newline. Raises ProtocolError if it is beyond its bounds."""
    kind = _OF_CLASS[type(message)]
    body = {each.name: each.write(getattr(message, each.name)) for each in kind.fields}
    line = json.dumps({"say": kind.says, **body}, separators=(",", ":")).encode()
    _decoded(line, {kind.says: kind})
    return line


def from_host(line: bytes) -> FromHost:
    """A message that a host said. Raises ProtocolError."""
    found: FromHost = _decoded(line, _OF_HOST)
    return found


def from_guest(line: bytes) -> FromGuest:
    """A message that an agent said. Raises ProtocolError."""
    found: FromGuest = _decoded(line, _OF_GUEST)
    return found


def _decoded(line: bytes, kinds: Mapping[str, Kind]) -> Any:
    if len(line) > MESSAGE_BYTES:
        raise ProtocolError(Fault.TOO_LONG, f"a message has {MESSAGE_BYTES} bytes at most, this one {len(line)}")
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(Fault.NOT_JSON, "it is not JSON") from error
    says = said.get("say") if isinstance(said, dict) else None
    kind = kinds.get(says) if isinstance(says, str) else None
    if kind is None:
        raise ProtocolError(Fault.UNKNOWN, f"no message is called {text(repr(says), NAME_CHARACTERS)}")
    given = {}
    for each in kind.fields:
        if each.name not in said:
            raise ProtocolError(Fault.BAD_FIELD, f"{kind.says}: {each.name} is missing")
        try:
            given[each.name] = each.read(said[each.name])
        except ValueError as error:
            raise ProtocolError(Fault.BAD_FIELD, f"{kind.says}: {each.name}: {error}") from error
    return kind.of(**given)


class Lines:
    """A stream of bytes as lines. It holds one unfinished line, up to the bound of a message."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skips = False

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished line is kept."""
        return len(self._held)

    def reset(self) -> None:
        """The stream begins anew."""
        self._held.clear()
        self._skips = False

    def of(self, data: bytes) -> list[bytes | None]:
        """The lines that are complete now; None stands for one that was too long, and is not kept. Empty ones are left
        out: whoever connects sends one, so that nothing of before runs into its first message.
        """
        found: list[bytes | None] = []
        *whole, rest = data.split(b"\n")
        for each in whole:
            line = bytes(self._held) + each
            self._held.clear()
            if self._skips or len(line) > MESSAGE_BYTES:
                found.append(None)
            elif line:
                found.append(line)
            self._skips = False
        if self._skips or len(self._held) + len(rest) > MESSAGE_BYTES:
            self._held.clear()
            self._skips = True
        else:
            self._held += rest
        return found
