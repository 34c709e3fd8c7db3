"""Dom0's side of the mailboxes in which guests' agents are told and answer (guest.mailbox), by the xenstore.

The path names the domain, and xenstored lets nobody but the domain itself and Dom0 write there: whose word it is, is
never asked of the word. Nodes are looked at and not watched: a guest that writes without end makes Dom0 read no more
often. Dom0 writes only where an agent's node is.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ringfence.guest.mailbox import GUEST_NODE, HOST_NODE, Mailbox
from ringfence.guest.xenstore import DEVICES, Kind, Store
from ringfence.hypervisor.guest_link import GuestLink, GuestLinks
from ringfence.world.domain import Domain
from ringfence.world.identities import DomainId, StepId
from ringfence.world.steps import Order, Result

ABSENT_MS: Final = 5_000
"""A guest without an agent is looked at so often: an agent that comes is registered within that time."""
PRESENT_MS: Final = 1_000
"""A guest whose node is there; one that owes an answer is looked at each time."""
TURN_S: Final = 0.02
"""For answers within one turn: one comes in a fraction of a millisecond, and the next question waits for it. What is
not asked by then is asked in the next turn, in the order in which it was due."""
PATIENCE_MS: Final = 30_000
"""For an answer of the xenstore, for which nobody waits; on an overloaded host seconds were seen."""
AGAIN_MS: Final = (1_000, 30_000)
"""Until the xenstore is opened again: doubled from the first to the second while it does not answer."""


@dataclass(slots=True)
class _Box:
    link: GuestLink
    mailbox: Mailbox = field(default_factory=lambda: Mailbox(secrets.randbits(32)))
    next_ms: int = 0
    write_ms: int = 0
    seen: bytes | None = None
    written: bytes = b""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question. Linux keeps its words in the file's own buffer until a thread of its own sends them
    (xenbus_dev_frontend.c, xenbus_xs.c: xenbus_dev_request_and_reply): a second one would go in the first one's place,
    and one domain's node be taken for another's. So there is one at a time.
    """

    box: _Box
    kind: Kind
    number: int
    at_ms: int


def open_store() -> Store:
    """The xenstore of this Dom0. Raises OSError."""
    device = next((each for each in DEVICES if each.exists()), Path(DEVICES[0]))
    return Store(device)


class GuestStore:
    """The agents of all domains of this host. ``ended`` is to be called often: with it all goes on."""

    def __init__(self, open_: Callable[[], Store] = open_store) -> None:
        self._open = open_
        self._links = GuestLinks()
        self._boxes: dict[DomainId, _Box] = {}
        self._store: Store | None = None
        self._asked: _Asked | None = None
        self._again_ms, self._pause_ms = 0, AGAIN_MS[0]
        self.problem = ""
        """Why agents are not heard now, a sentence; empty if all is well."""

    @property
    def is_busy(self) -> bool:
        """Whether an agent's answer is waited for."""
        return self._links.is_busy

    def keep(self, domains: Iterable[Domain]) -> None:
        """These domains are there; the agents of others are let go."""
        here = {each.id: each.uuid for each in domains if each.lives and not each.is_dom0}
        self._links.keep(here)
        for number, uuid in here.items():
            known = self._boxes.get(number)
            try:
                link = self._links.of(number, uuid)
            except KeyError:
                continue
            if known is None or known.link is not link:
                self._boxes[number] = _Box(link)
        for number in self._boxes.keys() - here.keys():
            del self._boxes[number]

    def seen(self, domains: tuple[Domain, ...], now_ms: int) -> tuple[Domain, ...]:
        """The domains, which are those that are there now, with the handlers that they have registered."""
        self.keep(domains)
        return self._links.seen(domains, now_ms)

    def tell(self, order: Order, now_ms: int) -> Result:
        """Carry a NotifyGuest out."""
        result = self._links.tell(order, now_ms)
        self._turn(now_ms)
        return result

    def probe(self, order: StepId) -> Result:
        """What became of a NotifyGuest."""
        return self._links.probe(order)

    def ended(self, now_ms: int) -> tuple[tuple[StepId, Result], ...]:
        """Look at the mailboxes: what has ended since the last look."""
        self._turn(now_ms)
        return self._links.ended(now_ms)

    def close(self) -> None:
        """End the connection to the xenstore; it is opened again when it is needed."""
        if self._store is not None:
            self._store.close()
            self._store = None
        self._asked = None
        for box in self._boxes.values():
            box.written = b""

    # --- inside

    def _turn(self, now_ms: int) -> None:
        if now_ms < self._again_ms:
            return
        try:
            if self._store is None:
                self._store = self._open()
            self._ask_on(self._store, now_ms)
            if self._asked is not None and now_ms - self._asked.at_ms > PATIENCE_MS:
                raise TimeoutError(f"no answer within {PATIENCE_MS / 1000:g} s")
        except OSError as error:
            why = error.strerror or str(error)
            self.problem = f"the xenstore cannot be talked to, so guests' agents are not heard: {why}"
            self._again_ms = now_ms + self._pause_ms
            self._pause_ms = min(2 * self._pause_ms, AGAIN_MS[1])
            self.close()

    def _ask_on(self, store: Store, now_ms: int) -> None:
        """Ask what is due, one after the other, for as long as answers come."""
        self._take(store, now_ms)
        until_s = time.monotonic() + TURN_S
        looked: set[DomainId] = set()
        while self._asked is None and (due := self._due(now_ms, looked)) is not None:
            self._ask(store, *due, now_ms)
            if due[1] is Kind.READ:
                looked.add(due[0].link.domain)
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not store.wait(left_s):
                return
            self._take(store, now_ms)

    def _due(self, now_ms: int, looked: Container[DomainId]) -> tuple[_Box, Kind] | None:
        """What is to be asked next: what is to be said goes first; each node is looked at once a turn."""
        for box in self._boxes.values():
            for line in box.link.outgoing():
                box.mailbox.put(line.removesuffix(b"\n"))
            if box.seen is None or not box.mailbox.knows_other or now_ms < box.write_ms:
                continue
            if box.mailbox.node != box.written:
                return box, Kind.WRITE
        boxes = (box for box in self._boxes.values() if box.link.domain not in looked)
        due = (box for box in boxes if box.next_ms <= now_ms or box.link.is_busy)
        found = min(due, key=lambda box: (not box.link.is_busy, box.next_ms), default=None)
        return None if found is None else (found, Kind.READ)

    def _ask(self, store: Store, box: _Box, kind: Kind, now_ms: int) -> None:
        node, value = GUEST_NODE, b""
        if kind is Kind.WRITE:
            node, value = HOST_NODE, box.mailbox.node
            box.written = value
        number = store.ask(kind, f"/local/domain/{box.link.domain}/{node}", value)
        self._asked = _Asked(box, kind, number, now_ms)

    def _take(self, store: Store, now_ms: int) -> None:
        for packet in store.answers():
            self._pause_ms, self.problem = AGAIN_MS[0], ""
            asked = self._asked
            if asked is None or packet.request not in {asked.number, 0}:
                continue  # nobody asked this; old kernels give back no number
            self._asked = None
            if self._boxes.get(asked.box.link.domain) is not asked.box:
                continue  # its domain has gone meanwhile
            if asked.kind is Kind.READ:
                self._seen(asked.box, None if packet.kind == Kind.ERROR else packet.payload, now_ms)
            elif packet.kind == Kind.ERROR:
                # A refusal (a quota that a guest has used up, a node that it made another's) is of this guest alone.
                asked.box.written, asked.box.write_ms = b"", now_ms + ABSENT_MS

    def _seen(self, box: _Box, node: bytes | None, now_ms: int) -> None:
        box.next_ms = now_ms + (ABSENT_MS if node is None else PRESENT_MS)
        if node is None and box.seen is not None:
            box.link.disconnected()
            box.mailbox, box.written = Mailbox(secrets.randbits(32)), b""
        elif node is not None and node != box.seen:
            self._read(box, node, now_ms)
        box.seen = node

    @staticmethod
    def _read(box: _Box, node: bytes, now_ms: int) -> None:
        before = box.mailbox.bad
        message = box.mailbox.look(node)
        if box.mailbox.begins_anew():
            box.link.connected()
        if message is not None:
            box.link.said(message, now_ms)
        elif box.mailbox.bad != before:
            box.link.not_understood()
