"""A browser's session: begun with a token, so that the token itself is kept nowhere in the browser."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta

from ringfence.service.http.api import Asked
from ringfence.service.http.routes import Answer, Call, Method, Nothing, Route, Scope, WithCookie


class Login(Asked, frozen=True, kw_only=True):
    """Begin a session."""

    token: Annotated[str, Meta(min_length=1, max_length=256, description="A token of `ringfence token create`.")]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who you are to the service, and what you may do.

    ``token`` is the name of your token, empty on a unix socket; ``csrf`` is what a change within a session says in the
    header X-Csrf-Token, empty without a session, which ends in ``left_s`` at the latest.
    """

    who: str
    scopes: tuple[Scope, ...]
    token: str = ""
    csrf: str = ""
    left_s: int | None = None


async def begin(call: Call[Login]) -> Answer:
    """Begin a session; its cookie cannot be read by scripts, nor sent by another site."""
    door = call.door
    token = door.tokens.of(call.asked.token, door.wall_ms())
    if token is None:
        return door.wrong_token(call.who.key)
    cookie, session = door.sessions.begin(token, door.monotonic_s())
    me = Me(
        who=f"token {token.name}",
        scopes=tuple(sorted(token.scopes)),
        token=token.name,
        csrf=session.csrf,
        left_s=round(door.bounds.session_s),
    )
    return WithCookie(me, cookie)


async def me(call: Call[Nothing]) -> Answer:
    """Who asks."""
    session, door = call.who.session, call.door
    return Me(
        who=call.who.words,
        scopes=tuple(sorted(call.who.scopes)),
        token=call.who.token,
        csrf=session.csrf if session is not None else "",
        left_s=round(session.began_s + door.bounds.session_s - door.monotonic_s()) if session is not None else None,
    )


async def end(call: Call[Nothing]) -> Answer:
    """End the session, if there is one."""
    call.door.sessions.end(call.cookie)
    return WithCookie(Me(who="somebody", scopes=()), "")


ROUTES = (
    Route(
        method=Method.GET, path="/api/v1/session", name="me", needs=Scope.READ, asked=Nothing, answers=Me, handler=me,
        summary="Who you are, what you may do, and your session's CSRF token",
    ),
    Route(
        method=Method.POST, path="/api/v1/session", name="login", needs=None, asked=Login, answers=Me, handler=begin,
        refuses=(HTTPStatus.UNAUTHORIZED,), without_csrf=True,
        summary="Begin a browser's session with a token: sets a cookie",
    ),
    Route(
        method=Method.DELETE, path="/api/v1/session", name="logout", needs=None, asked=Nothing, answers=Me, handler=end,
        summary="End the session",
    ),
)  # fmt: skip
