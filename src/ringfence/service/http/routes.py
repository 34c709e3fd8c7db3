"""What a route is. The table of them (``table.ROUTES``) is all that routing and the OpenAPI description go by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from msgspec import Struct

from ringfence.errors import DeclarationError
from ringfence.service import control_protocol as say
from ringfence.service.asking import ask
from ringfence.service.http.bounds import BODY_BYTES

if TYPE_CHECKING:
    from ringfence.service.attendants import House
    from ringfence.service.http.door import Door
    from ringfence.service.http.who import Who
    from ringfence.service.writer import Desk

A = TypeVar("A", bound=Struct)
T = TypeVar("T")

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"


class Method(StrEnum):
    """The methods that are used: GET changes nothing, the others may (RFC 9110, 9.2.1)."""

    GET = "GET"
    POST = "POST"
    DELETE = "DELETE"


class Scope(StrEnum):
    """What a token allows: to look, to say a person's word on what waits for it, to give instructions of one's own, to
    say that a part was repaired or is not at fault. None holds another one.
    """

    READ = "read"
    APPROVE = "approve"
    OPERATE = "operate"
    ADMINISTER = "administer"


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """A request that says nothing but its path."""


# --- what a handler gives ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plain:
    """A body that is no JSON of a struct: a page of metrics, the API's own description."""

    media: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """A body without an end: each piece is sent as it comes. Who does not read is dropped (``Bounds.slow_s``)."""

    media: str
    pieces: AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class WithCookie:
    """An answer that sets the session's cookie; an empty one takes it away."""

    answer: Struct
    cookie: str


Answer = Struct | Plain | Stream | WithCookie
"""What a handler gives: a struct (``say.Refused`` and ``Problem`` become problems by their status), or one of these."""


# --- what a handler gets ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[A]):
    """One request, checked: who may do this asks for that. ``headers`` are by their names in lower case, ``cookie``
    is the session's, empty without one.
    """

    asked: A
    who: Who
    house: House
    door: Door
    headers: Mapping[str, str]
    cookie: str

    async def ask(self, what: Callable[[Desk], T]) -> T | say.Refused:
        """Have something answered in the writer's thread."""
        return await ask(self.house.writer, what)

    async def compute(self, what: Callable[[], T]) -> T:
        """Have something read from the journal, or computed, in a thread; few at a time (``Bounds.readers``)."""
        async with self.door.reading:
            return await asyncio.to_thread(what)


# --- a route ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[A]):
    """One operation.

    ``name`` is its operationId. ``asked`` has a field for each ``{parameter}`` of the path; the others are parameters
    of the query for GET, and the members of the JSON body for the other methods. ``needs`` None: anybody may, without a
    token. ``answers`` is what a success is, None for a body that is no struct's; ``refuses`` are statuses beside those
    that every route has. A body has at most ``body_bytes``. ``without_csrf``: whoever has a session need not prove that
    the request comes from a page of ours.
    """

    method: Method
    path: str
    name: str
    summary: str
    needs: Scope | None
    asked: type[A]
    handler: Callable[[Call[A]], Awaitable[Answer]]
    answers: type | None = None
    media: str = JSON
    refuses: tuple[HTTPStatus, ...] = ()
    body_bytes: int = BODY_BYTES
    without_csrf: bool = False
    in_path: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """Raises DeclarationError if the path and what is asked for contradict each other."""
        object.__setattr__(self, "in_path", tuple(re.findall(r"{(\w+)}", self.path)))
        fields = set(self.asked.__struct_fields__)
        if missing := set(self.in_path) - fields:
            raise DeclarationError(f"{self.name}: the path names {', '.join(sorted(missing))}, which nobody asks for")
        if self.in_path and self.has_body:
            raise DeclarationError(f"{self.name}: a request with a body has all it says in it")

    @property
    def changes(self) -> bool:
        """Whether it changes something that the journal keeps."""
        return self.needs in {Scope.APPROVE, Scope.OPERATE, Scope.ADMINISTER}

    @property
    def has_body(self) -> bool:
        """Whether what is asked for comes in a body."""
        return self.method is not Method.GET and bool(self.asked.__struct_fields__)


AnyRoute = Route[Any]
"""A route whatever it is asked for: what the table holds. Each was checked against its handler where it was made."""
