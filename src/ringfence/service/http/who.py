"""Who sends a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.service.http.routes import Scope
from ringfence.service.http.sessions import Session
from ringfence.service.rights import Peer, Right


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody: ``words`` are how the journal names them, ``key`` tells clients apart where they are counted.

    ``token`` is the name of the token that was shown, empty for who came by the unix socket or showed none; ``session``
    is the one that a cookie named.
    """

    words: str
    key: str
    scopes: frozenset[Scope] = frozenset()
    token: str = ""
    session: Session | None = None

    def may(self, needed: Scope | None) -> bool:
        """Whether they may do what needs this."""
        return needed is None or needed in self.scopes

    @property
    def is_known(self) -> bool:
        """Whether they have shown who they are."""
        return bool(self.scopes)


def at(address: str) -> Who:
    """Somebody at a network address who has shown nothing."""
    return Who(f"somebody at {address}", f"address {address}")


def with_token(name: str, scopes: frozenset[Scope], address: str) -> Who:
    """Who shows a token."""
    return Who(f"token {name} (HTTP from {address})", f"token {name}", scopes, name)


def by_socket(peer: Peer, right: Right) -> Who:
    """Who came by the unix socket: every right on the control socket is a scope here. Asks the user database: call it
    in a thread.
    """
    return Who(f"{peer.in_words()} by HTTP", f"uid {peer.uid}", frozenset(Scope(each) for each in right.held))
