"""The API's operations: each asks what the control socket asks, and answers as it does."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta

from ringfence.decision.policy import Operation
from ringfence.diagnosis.fault_case import Ending
from ringfence.service import answers, parts
from ringfence.service import control_protocol as say
from ringfence.service.answers import Doorkeeping
from ringfence.service.http.routes import Answer, Call, Method, Nothing, Route, Scope
from ringfence.views import host_picture
from ringfence.views.host_picture import HostPicture, Ingredients
from ringfence.world.identities import CaseId, DomainId

CaseNumber = Annotated[int, Meta(ge=1, le=say.MOST_NUMBER, description="The number of a case.")]
DomainNumber = Annotated[int, Meta(ge=0, le=0xFFFF, description="The number of a domain.")]
DomainName = Annotated[str, Meta(min_length=1, max_length=255)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request."""


class Cases(Asked, frozen=True, kw_only=True):
    """Cases: the open ones; with ``closed``, the newest of the closed ones as well."""

    closed: bool = False


class Parts(Asked, frozen=True, kw_only=True):
    """Parts: those that something is held against; with ``all``, those too that are only watched, or were cleared."""

    all: bool = False


class Word(Asked, frozen=True, kw_only=True):
    """A person's word on an operation that waits for it."""

    case: CaseNumber
    domain: DomainNumber
    operation: Operation


class Instruction(Asked, frozen=True, kw_only=True):
    """An operation on a domain, which is named by its number or its name."""

    operation: Operation
    domain: DomainNumber | DomainName


class Clearing(Asked, frozen=True, kw_only=True):
    """A person's word that a part was repaired or replaced, or is not at fault (acquitted): what is held against it
    ends.

    ``part`` is named as the parts are; ``serial`` is the number of what is in its place.
    """

    part: Annotated[str, Meta(min_length=1, max_length=256)]
    how: Ending
    because: Annotated[str, Meta(max_length=1_024)] = ""
    serial: Annotated[str, Meta(max_length=256)] = ""


async def health(call: Call[Nothing]) -> Answer:
    """How the service is, and what is wrong; what is counted of clients is what this door has counted."""
    counted = call.door.counted
    keeping = Doorkeeping(
        clients=counted.connections,
        slow_readers=counted.slow,
        turned_away=counted.too_often,
        bad_lines=counted.refused,
    )
    found = await call.ask(lambda desk: call.house.status(desk, keeping))
    if isinstance(found, say.Refused):
        return found
    return msgspec.structs.replace(
        found, you=call.who.words, you_may=tuple(each for each in Scope if each in call.who.scopes)
    )


async def cases(call: Call[Cases]) -> Answer:
    """Cases, the oldest first."""
    return await call.ask(lambda desk: answers.cases(desk, closed=call.asked.closed))


async def parts_of(call: Call[Parts]) -> Answer:
    """The parts that something is held against: looked at in the writer's thread, judged in another."""
    known = await call.ask(parts.look)
    if isinstance(known, say.Refused):
        return known
    return await call.compute(lambda: parts.parts(known, everything=call.asked.all))


async def domains(call: Call[Nothing]) -> Answer:
    """The domains of the host."""
    return await call.ask(answers.domains)


async def picture(call: Call[Nothing]) -> Answer:
    """The host as a picture: taken in the writer's thread, drawn in another."""
    known = await call.ask(lambda desk: (Ingredients.of(desk.loop.state), desk.world.host.name))
    if isinstance(known, say.Refused):
        return known
    return await call.compute(lambda: host_picture.picture(*known))


async def approvals(call: Call[Nothing]) -> Answer:
    """What waits for a person's word."""
    return await call.ask(answers.approvals)


async def approve(call: Call[Word]) -> Answer:
    """Grant what waits."""
    return await _say_word(call, granted=True)


async def reject(call: Call[Word]) -> Answer:
    """Deny what waits."""
    return await _say_word(call, granted=False)


async def _say_word(call: Call[Word], *, granted: bool) -> Answer:
    asked = call.asked
    word = say.Approve(
        case=CaseId(asked.case), domain=DomainId(asked.domain), operation=asked.operation, granted=granted
    )
    return await call.ask(lambda desk: answers.approve(desk, word, call.who.words))


async def do(call: Call[Instruction]) -> Answer:
    """Do an operation on a domain."""
    request = say.Do(operation=call.asked.operation, domain=named(call.asked.domain))
    return await call.ask(lambda desk: answers.do(desk, request, call.who.words))


def named(domain: int | str) -> DomainId | str:
    """A domain as a request of the control socket names it."""
    return DomainId(domain) if isinstance(domain, int) else domain


async def clear(call: Call[Clearing]) -> Answer:
    """End what is held against a part."""
    asked = call.asked
    request = say.Clear(part=asked.part, how=asked.how, because=asked.because, serial=asked.serial)
    known = await call.ask(parts.look)
    key = known if isinstance(known, say.Refused) else await call.compute(lambda: parts.meant(known, request.part))
    if isinstance(key, say.Refused):
        return key
    return await call.ask(lambda desk: parts.clear(desk, request, key, call.who.words))


_CHECKED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)

ROUTES = (
    Route(
        method=Method.GET, path="/api/v1/health", name="health", needs=Scope.READ, asked=Nothing, answers=say.Health,
        handler=health, summary="How the service is, and what is wrong",
    ),
    Route(
        method=Method.GET, path="/api/v1/cases", name="cases", needs=Scope.READ, asked=Cases, answers=say.CaseList,
        handler=cases, summary="The open cases, and how far each part is",
    ),
    Route(
        method=Method.GET, path="/api/v1/domains", name="domains", needs=Scope.READ, asked=Nothing,
        answers=say.DomainList, handler=domains, summary="The domains of the host",
    ),
    Route(
        method=Method.GET, path="/api/v1/parts", name="parts", needs=Scope.READ, asked=Parts, answers=say.PartList,
        handler=parts_of, summary="The parts of the machine that something is held against, the worst first",
    ),
    Route(
        method=Method.GET, path="/api/v1/host", name="host", needs=Scope.READ, asked=Nothing, answers=HostPicture,
        handler=picture, summary="The host as a picture: what erred, how much, and what was taken out of use",
    ),
    Route(
        method=Method.GET, path="/api/v1/approvals", name="approvals", needs=Scope.READ, asked=Nothing,
        answers=say.ApprovalList, handler=approvals, summary="What waits for a person's word, the most urgent first",
    ),
    Route(
        method=Method.POST, path="/api/v1/approve", name="approve", needs=Scope.APPROVE, asked=Word, answers=say.Done,
        handler=approve, refuses=_CHECKED, summary="Grant an operation that waits for a person's word",
    ),
    Route(
        method=Method.POST, path="/api/v1/reject", name="reject", needs=Scope.APPROVE, asked=Word, answers=say.Done,
        handler=reject, refuses=_CHECKED, summary="Deny an operation that waits for a person's word",
    ),
    Route(
        method=Method.POST, path="/api/v1/do", name="do", needs=Scope.OPERATE, asked=Instruction, answers=say.Done,
        handler=do, refuses=_CHECKED, summary="Do an operation on a domain; it is checked, and journaled (II.4)",
    ),
    Route(
        method=Method.POST, path="/api/v1/clear", name="clear", needs=Scope.ADMINISTER, asked=Clearing,
        answers=say.Done, handler=clear, refuses=_CHECKED,
        summary="Say that a part was repaired or replaced, or is not at fault: what is held against it ends",
    ),
)  # fmt: skip
"""What the control socket answers, too."""
