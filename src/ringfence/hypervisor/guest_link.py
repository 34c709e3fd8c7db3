"""Dom0's side of the talk with a guest's agent, without I/O: one ``GuestLink`` a domain, all of them in ``GuestLinks``.

All that a guest says is hostile until it was checked (guest.protocol). A link speaks for its own domain only: which one
that is was said when it was made, by who knows it from the transport. Whatever is thrown away is counted (``thrown``).
Nothing here grows with what a guest sends: one unfinished line, a bounded number of open orders, of remembered ends,
and one counter a kind.

How a backend uses it::

    links = GuestLinks()                                # one for all domains
    link = links.of(domain, uuid)                       # the link of a domain; uuid tells it from a later one
    link.connected(now_ms)                              # its channel (a unix socket, a mailbox) is open
    room = link.room(now_ms)                            # so many bytes may be read from it now: leave the rest there
    link.heard(sock.recv(room), now_ms)                 # in any pieces; a mailbox has ``said`` for a whole message
    for line in link.outgoing(): sock.sendall(line)     # each with its newline
    link.disconnected()                                 # what is unanswered is told again after the next hello
    domains = links.seen(domains, now_ms)               # in the situation
    result = link.tell(order, now_ms)                   # in carry_out, for NotifyGuest: RUNNING or REFUSED
    links.ended(now_ms)                                 # in arrivals: (order, result) of each that has ended
    links.probe(order)                                  # in probe
    links.keep({domain: uuid, ...})                     # now and then: the domains that are there

``hypervisor.guest_stream.GuestStream`` does the five lines in the middle for a socket.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from ringfence.guest import protocol
from ringfence.guest.protocol import Alive, Answer, Hello, Outcome, ProtocolError, Range, Told, Unwelcome, Welcome, What
from ringfence.quick import changed
from ringfence.world.domain import Domain, McaHandler
from ringfence.world.identities import DOM0, PAGE_BYTES, DomainId, GuestFrame, StepId
from ringfence.world.steps import NotifyGuest, Order, Result, Status

BEAT_S: Final = 10
"""An agent says that it is alive so often."""
SILENT_MS: Final = 3 * BEAT_S * 1000
"""An agent that has said nothing for so long is taken to be gone: three beats."""
COMING_MS: Final = 15_000
"""From when a domain is first seen: so long an agent that was there before this process may not have said so yet."""
ANSWER_MS: Final = 30_000
"""For an answer: a hook script and the restart of a unit take seconds. A case waits less (policy: deadlines.guest)."""
MOST_OPEN: Final = 32
"""Orders that wait for one guest's answer at a time: a guest with so many lost pages has other troubles."""
ENDS_KEPT: Final = 64
"""Orders of a link whose end is remembered, to tell an answer that comes twice from one that was made up."""
MESSAGES_AT_ONCE: Final = 32
MESSAGES_PER_S: Final = 2
"""A well-behaved agent says one message in ten seconds, and one for each that it was told."""
BYTES_AT_ONCE: Final = 16_384
BYTES_PER_S: Final = 4_096
"""What is read from one guest: twice as much as its messages may be."""
MOST_LINKS: Final = 4_096
"""Domains that are followed; a host has fewer."""


class Thrown(StrEnum):
    """Why something that a guest said was thrown away."""

    TOO_LONG = "too long"
    NOT_JSON = "no message at all"
    UNKNOWN = "of an unknown kind"
    BAD_FIELD = "with a bad field"
    FLOOD = "too many at a time"
    UNREGISTERED = "before it has registered"
    NEVER_TOLD = "an answer to what it was never told"
    OTHER_CASE = "an answer for another case"
    TWICE = "a second answer"
    LATE = "an answer after the deadline"


_THROWN: Final = {
    protocol.Fault.TOO_LONG: Thrown.TOO_LONG,
    protocol.Fault.NOT_JSON: Thrown.NOT_JSON,
    protocol.Fault.UNKNOWN: Thrown.UNKNOWN,
    protocol.Fault.BAD_FIELD: Thrown.BAD_FIELD,
}


class Bucket:
    """So many at once, and so many a second after that; time is handed in, and never runs backwards here."""

    def __init__(self, at_once: int, per_s: int) -> None:
        self._most, self._per_s = at_once * 1000, per_s
        self._left = self._most
        self._at_ms: int | None = None

    def left(self, now_ms: int) -> int:
        """How many there are now."""
        if self._at_ms is None or now_ms > self._at_ms:
            since_ms = 0 if self._at_ms is None else now_ms - self._at_ms
            self._left = min(self._most, self._left + since_ms * self._per_s)
            self._at_ms = now_ms
        return self._left // 1000

    def take(self, count: int, now_ms: int) -> bool:
        """Take them if they are there."""
        if self.left(now_ms) < count:
            return False
        self._left -= count * 1000
        return True


def ranges(pages: Iterable[GuestFrame]) -> tuple[Range, ...]:
    """Pages as ranges, those that lie together as one, none longer than a message may say."""
    found: list[Range] = []
    for page in sorted(set(pages)):
        address = page * PAGE_BYTES
        last = found[-1] if found else None
        if last is not None and last.address + last.size_bytes == address and last.size_bytes < protocol.RANGE_BYTES:
            found[-1] = Range(last.address, last.size_bytes + PAGE_BYTES)
        else:
            found.append(Range(address))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Open:
    told: Told
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class _Ended:
    result: Result
    further: Thrown
    """What another answer is."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that has registered: what it calls itself, and what it says that it can do."""

    name: str
    can: tuple[protocol.Ability, ...]


@dataclass(slots=True)
class GuestLink:
    """The talk with one domain's agent. ``thrown`` counts what was thrown away, ``agent`` is who registered last."""

    domain: DomainId
    uuid: str = ""
    answer_ms: int = ANSWER_MS
    agent: Agent | None = None
    thrown: Counter[Thrown] = field(default_factory=Counter)
    _heard_ms: int | None = None
    _seen_ms: int | None = None
    _open: dict[StepId, _Open] = field(default_factory=dict)
    _ended: OrderedDict[StepId, _Ended] = field(default_factory=OrderedDict)
    _to_tell: list[tuple[StepId, Result]] = field(default_factory=list)
    _outbox: OrderedDict[tuple[str, int], bytes] = field(default_factory=OrderedDict)
    _lines: protocol.Lines = field(default_factory=protocol.Lines)
    _messages: Bucket = field(default_factory=lambda: Bucket(MESSAGES_AT_ONCE, MESSAGES_PER_S))
    _bytes: Bucket = field(default_factory=lambda: Bucket(BYTES_AT_ONCE, BYTES_PER_S))

    # --- the channel

    def connected(self) -> None:
        """The channel is open, or begins anew: whoever is there is asked to say hello."""
        self.disconnected()
        self._say(protocol.Who())

    def disconnected(self) -> None:
        """The channel is gone, and the agent with it; what is open stays so until its deadline."""
        self.agent = None
        self._outbox.clear()
        self._lines.reset()

    def outgoing(self) -> tuple[bytes, ...]:
        """What is to be said, each message with its newline; it is not said again."""
        found = tuple(line + b"\n" for line in self._outbox.values())
        self._outbox.clear()
        return found

    def room(self, now_ms: int) -> int:
        """How many bytes may be read from its stream now: what is left there stops whoever sends too much."""
        return self._bytes.left(now_ms)

    def heard(self, data: bytes, now_ms: int) -> None:
        """Bytes of its stream, in any pieces."""
        self._bytes.take(min(len(data), self._bytes.left(now_ms)), now_ms)
        for line in self._lines.of(data):
            if line is None:
                self.thrown[Thrown.TOO_LONG] += 1
            else:
                self.said(line, now_ms)

    def said(self, line: bytes, now_ms: int) -> None:
        """One whole message, whatever it is."""
        if not self._messages.take(1, now_ms):
            self.thrown[Thrown.FLOOD] += 1
            return
        try:
            message = protocol.from_guest(line)
        except ProtocolError as error:
            self.thrown[_THROWN[error.fault]] += 1
            return
        if isinstance(message, Hello):
            self._hello(message, now_ms)
            return
        if self.agent is None:
            self.thrown[Thrown.UNREGISTERED] += 1
            self._say(protocol.Who())
            return
        self._heard_ms = now_ms
        match message:
            case Alive():
                pass
            case Answer():
                self._answered(message, now_ms)

    def not_understood(self) -> None:
        """Something came in which there is no message at all."""
        self.thrown[Thrown.NOT_JSON] += 1

    # --- what a backend wants

    def handler(self, now_ms: int) -> McaHandler:
        """Whether an agent is registered and was heard of lately."""
        self._may_come(now_ms)
        if self.agent is None or self._heard_ms is None or now_ms - self._heard_ms > SILENT_MS:
            return McaHandler.NONE
        return McaHandler.AGENT

    def seen(self, domain: Domain, now_ms: int) -> Domain:
        """Its domain with the handler that has registered, and what was thrown away."""
        handler = self.handler(now_ms)
        if handler is McaHandler.NONE and not self.thrown:
            return domain
        name = "" if self.agent is None else self.agent.name
        thrown = tuple((str(why), self.thrown[why]) for why in Thrown if self.thrown[why])
        return changed(domain, handler=handler, agent=name, thrown=thrown)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is waited for."""
        return bool(self._open or self._to_tell)

    def tell(self, order: Order, now_ms: int) -> Result:
        """Tell it of its pages; RUNNING if it is said, its end comes by ``ended``. The same order once more is the same
        message once more. REFUSED if there is no agent, or no message could say it: then nothing is said. A domain that
        was first seen a moment ago may have one: it is told as soon as that says hello.
        """
        step = order.step
        if not isinstance(step, NotifyGuest) or step.domain != self.domain:
            return Result(Status.REFUSED, "it is not for this guest")
        if self.handler(now_ms) is McaHandler.NONE and not self._may_come(now_ms):
            return Result(Status.REFUSED, "no agent has registered in it, or it has fallen silent")
        if order.id in self._ended:
            return self._ended[order.id].result
        if order.id not in self._open and len(self._open) >= MOST_OPEN:
            return Result(Status.REFUSED, f"it has not answered {MOST_OPEN} others")
        told = Told(
            id=order.id,
            case=order.case if order.case is not None else 0,
            what=What.ENDANGERED if step.endangered else What.LOST,
            must_act=step.must_act,
            ranges=ranges(step.pages),
            deadline_ms=self.answer_ms,
        )
        try:
            protocol.encoded(told)
        except ProtocolError as error:
            return Result(Status.REFUSED, f"no message can say it: {error}")
        self._say_told(self._open.setdefault(order.id, _Open(told, now_ms + self.answer_ms)), now_ms)
        return Result(Status.RUNNING, "its agent is told of the pages")

    def ended(self, now_ms: int) -> tuple[tuple[StepId, Result], ...]:
        """The orders that have ended since the last look: answered, or not in time."""
        for number, each in list(self._open.items()):
            if each.deadline_ms <= now_ms:
                silent = f"its agent has not answered within {self.answer_ms / 1000:g} s"
                self._end(number, Result(Status.FAILED, silent), Thrown.LATE)
        found = tuple(self._to_tell)
        self._to_tell.clear()
        return found

    def gone(self) -> None:
        """The domain has ended: nobody will answer."""
        for number in list(self._open):
            self._end(number, Result(Status.FAILED, "the domain has ended before its agent answered"))

    def probe(self, order: StepId) -> Result | None:
        """What became of an order, None if it was not told in this life."""
        if order in self._open:
            return Result(Status.RUNNING)
        ended = self._ended.get(order)
        return None if ended is None else ended.result

    # --- inside

    def _may_come(self, now_ms: int) -> bool:
        """Whether an agent has not had the time to register: an order of an earlier life waits for it."""
        if self._seen_ms is None:
            self._seen_ms = now_ms
        return self._heard_ms is None and now_ms - self._seen_ms < COMING_MS

    def _say(self, message: protocol.FromHost) -> None:
        # Once each: who asks again and again gets one answer, however much he asks.
        number = message.id if isinstance(message, Told) else 0
        self._outbox[type(message).__name__, number] = protocol.encoded(message)

    def _say_told(self, what: _Open, now_ms: int) -> None:
        self._say(replace(what.told, deadline_ms=max(0, what.deadline_ms - now_ms)))

    def _hello(self, hello: Hello, now_ms: int) -> None:
        lowest, highest = max(hello.lowest, protocol.VERSIONS[0]), min(hello.highest, protocol.VERSIONS[1])
        if lowest > highest:
            self.agent = None
            spoken = "{} to {}".format(*protocol.VERSIONS)
            self._say(Unwelcome(f"the agent speaks versions {hello.lowest} to {hello.highest}, this host {spoken}"))
            return
        self.agent = Agent(hello.agent, hello.can)
        self._heard_ms = now_ms
        self._outbox.pop((protocol.Who.__name__, 0), None)
        self._say(Welcome(highest, BEAT_S))
        for each in self._open.values():
            self._say_told(each, now_ms)

    def _answered(self, answer: Answer, now_ms: int) -> None:
        number = StepId(answer.id)
        known = self._open.get(number)
        if known is None:
            ended = self._ended.get(number)
            self.thrown[Thrown.NEVER_TOLD if ended is None else ended.further] += 1
        elif known.told.case != answer.case:
            self.thrown[Thrown.OTHER_CASE] += 1
        elif known.deadline_ms <= now_ms:
            self.thrown[Thrown.LATE] += 1
        else:
            self._end(number, result_of(answer))

    def _end(self, number: StepId, result: Result, further: Thrown = Thrown.TWICE) -> None:
        del self._open[number]
        self._outbox.pop((Told.__name__, number), None)
        self._ended[number] = _Ended(result, further)
        self._to_tell.append((number, result))
        while len(self._ended) > ENDS_KEPT:
            self._ended.popitem(last=False)


_STATUS: Final = {
    Outcome.HEALED: Status.DONE,
    Outcome.REFUSED: Status.REFUSED,
    Outcome.FAILED: Status.FAILED,
    Outcome.NOT_OURS: Status.FAILED,
}


def result_of(answer: Answer) -> Result:
    """An answer as the end of a step, in words that say whose they are."""
    said = [f"its agent says: {answer.outcome}"]
    if answer.did:
        said.append(", ".join(answer.did))
    if answer.why:
        said.append(answer.why)
    return Result(_STATUS[answer.outcome], "; ".join(said))


class GuestLinks:
    """The links of all domains."""

    def __init__(self, answer_ms: int = ANSWER_MS) -> None:
        self._answer_ms = answer_ms
        self._links: dict[DomainId, GuestLink] = {}
        self._gone: list[tuple[StepId, Result]] = []

    def __iter__(self) -> Iterator[GuestLink]:
        return iter(tuple(self._links.values()))

    def of(self, domain: DomainId, uuid: str = "") -> GuestLink:
        """The link of a domain. One whose number was another domain's is a new one. Raises KeyError for Dom0, and
        beyond ``MOST_LINKS``.
        """
        known = self._links.get(domain)
        if known is not None and known.uuid == uuid:
            return known
        if domain == DOM0 or (known is None and len(self._links) >= MOST_LINKS):
            raise KeyError(domain)
        if known is not None:
            self._forget(known)
        return self._links.setdefault(domain, GuestLink(domain, uuid, self._answer_ms))

    def known(self, domain: DomainId) -> GuestLink | None:
        """The link of a domain that has one."""
        return self._links.get(domain)

    def keep(self, domains: Mapping[DomainId, str]) -> None:
        """These domains are there, by number and UUID: the links of others are let go."""
        for link in list(self._links.values()):
            if domains.get(link.domain) != link.uuid:
                self._forget(link)

    def handler(self, domain: DomainId, now_ms: int) -> McaHandler:
        """The handler of a domain, for the situation."""
        link = self._links.get(domain)
        return McaHandler.NONE if link is None else link.handler(now_ms)

    def seen(self, domains: Iterable[Domain], now_ms: int) -> tuple[Domain, ...]:
        """Domains with what their agents have made known of themselves, for the situation."""
        return tuple(
            each if (link := self._links.get(each.id)) is None or link.uuid != each.uuid else link.seen(each, now_ms)
            for each in domains
        )

    def tell(self, order: Order, now_ms: int) -> Result:
        """Carry a NotifyGuest out."""
        link = self._links.get(order.step.domain) if isinstance(order.step, NotifyGuest) else None
        if link is None:
            return Result(Status.REFUSED, "no agent has registered in it")
        return link.tell(order, now_ms)

    @property
    def is_busy(self) -> bool:
        """Whether anybody's answer is waited for."""
        return bool(self._gone) or any(link.is_busy for link in self._links.values())

    def ended(self, now_ms: int) -> tuple[tuple[StepId, Result], ...]:
        """The orders that have ended since the last look, of all domains."""
        found = [*self._gone, *(end for link in self._links.values() for end in link.ended(now_ms))]
        self._gone.clear()
        return tuple(found)

    def probe(self, order: StepId) -> Result:
        """What became of an order; UNKNOWN if it was not told in this life: it may be told again, for an agent that has
        answered an order gives the same answer once more.
        """
        for link in self._links.values():
            if (found := link.probe(order)) is not None:
                return found
        return Result(Status.UNKNOWN, "it was not told in this life")

    def _forget(self, link: GuestLink) -> None:
        del self._links[link.domain]
        link.gone()
        self._gone.extend(link.ended(0))
