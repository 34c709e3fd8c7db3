"""One request from its head to its answer: who asks, whether they may, what they ask for, and the answer's form."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from ringfence.errors import RingfenceError, SourceError
from ringfence.service import control_protocol as say
from ringfence.service.control_protocol import json_of
from ringfence.service.http import problems, static, who
from ringfence.service.http.asked import asked_of
from ringfence.service.http.connections import Connection
from ringfence.service.http.listening import host_of
from ringfence.service.http.problems import Problem, of_refusal, problem
from ringfence.service.http.routes import JSON, Answer, AnyRoute, Call, Method, Plain, Stream, WithCookie
from ringfence.service.http.sessions import COOKIE, CSRF_HEADER, is_csrf
from ringfence.service.http.who import Who
from ringfence.service.rights import Roster

if TYPE_CHECKING:
    from ringfence.service.attendants import House
    from ringfence.service.http.door import Door

SECURITY: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "Ringfence",
}
"""Of every answer: nothing from elsewhere is loaded, nobody frames it, no type is guessed, no address is told on."""

_NO_TOKEN: Final = problem(
    HTTPStatus.UNAUTHORIZED,
    "a token is needed",
    "Make one with: ringfence token create; say it in the header Authorization: Bearer TOKEN.",
)
_NO_CSRF: Final = problem(
    HTTPStatus.FORBIDDEN,
    f"a change within a session needs its CSRF token in the header {CSRF_HEADER.title()}",
    "GET /api/v1/session gives it to a page of this service.",
)
_OTHER_ORIGIN: Final = problem(
    HTTPStatus.FORBIDDEN, "the change comes from a page of another site", "Use the console of this service."
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class App:
    """What answers requests. ``connection_of`` gives the connection of a request, ``names`` what clients may call the
    service, ``roster`` who may do what over a unix socket.
    """

    def __init__(  # noqa: PLR0913 (what it serves, to whom, and who may)
        self,
        house: House,
        door: Door,
        routes: Iterable[AnyRoute],
        *,
        connection_of: Callable[[web.BaseRequest], Connection],
        names: Callable[[], frozenset[str]],
        roster: Callable[[], Roster],
    ) -> None:
        self._house, self._door = house, door
        self._connection_of, self._names, self._roster = connection_of, names, roster
        self._files = static.files()
        self.web = web.Application()
        for each in routes:
            self.web.router.add_route(each.method, each.path, self._handler(each))
        self.web.router.add_get("/{name:(?!api/).*}", self._static)
        self.web.middlewares.append(self._guarded)

    # --- around every request ---------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = self._connection_of(request)
        connection.begin(self._door.monotonic_s())
        self._door.counted.requests += 1
        try:
            response = self._host_refused(request, connection) or await handler(request)
        except web.HTTPException as error:
            response = _said(problem(HTTPStatus(error.status), _of_aiohttp(error, request)))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except ConnectionError:
            raise
        except Exception as error:
            # A fault in serving one client is no reason to end the service; it must be seen.
            self._door.counted.faults += 1
            sys.stderr.write(f"ringfence: {request.method} {request.path!r} failed: {error!r}\n")
            response = _said(_FAILED)
        finally:
            connection.end(self._door.monotonic_s())
        if not response.prepared:
            response.headers.update(SECURITY)
        return response

    def _host_refused(self, request: web.Request, connection: Connection) -> web.Response | None:
        """On the network, a request must name this service: a page whose name was made to lead here
        does not (DNS rebinding).
        """
        if connection.peer is not None or host_of(request.headers.get("Host", "")) in self._names():
            return None
        detail = f"this service is not called {request.headers.get('Host', '')!r}"
        advice = "Use a name of this machine, or add that one under [http] names."
        return _said(problem(HTTPStatus.MISDIRECTED_REQUEST, detail, advice))

    # --- the API ------------------------------------------------------------------------------------------------------

    def _handler(self, route: AnyRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            answer = await self._answer(route, request)
            if isinstance(answer, Stream):
                return await self._stream(answer, route, request)
            found = _response(answer)
            if found.status >= HTTPStatus.BAD_REQUEST:
                self._door.counted.refused += 1
            if isinstance(answer, WithCookie):
                self._set_cookie(found, answer.cookie, secure=request.secure)
            return found

        return handle

    async def _answer(self, route: AnyRoute, request: web.Request) -> Answer:
        found = await self._who(request, self._connection_of(request))
        if isinstance(found, Problem):
            return found
        if wait_s := self._door.rates.take(found.key, self._door.monotonic_s()):
            return self._door.too_often(wait_s)
        if not found.may(route.needs):
            return _lacking(route, found) if found.is_known else _NO_TOKEN
        if route.method is not Method.GET and (refused := self._foreign(route, request, found)) is not None:
            return refused
        if route.changes and (wait_s := self._door.changes.take(found.key, self._door.monotonic_s())):
            return self._door.too_often(wait_s)
        asked = await self._asked(route, request)
        if isinstance(asked, Problem):
            return asked
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(
            asked=asked,
            who=found,
            house=self._house,
            door=self._door,
            headers=headers,
            cookie=request.cookies.get(COOKIE, ""),
        )
        try:
            return await route.handler(call)
        except RingfenceError as error:  # the journal cannot be read, a token's file is damaged
            return of_refusal(say.Refused(code=say.Code.FAILED, message=str(error), advice=error.advice))

    async def _who(self, request: web.Request, connection: Connection) -> Who | Problem:
        """Who asks, by what they show: a token, a session's cookie, or the kernel's word on a unix socket."""
        shown = request.headers.get("Authorization")
        try:
            if shown is not None:
                return self._by_token(shown, connection.address or "the unix socket")
            if (cookie := request.cookies.get(COOKIE)) is not None:
                return self._by_cookie(cookie, connection.address or "the unix socket")
        except SourceError as error:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), error.advice, retry_after_s=60)
        if connection.peer is not None:
            right = self._roster().right_of(connection.peer, own_uid=os.geteuid())
            return await asyncio.to_thread(who.by_socket, connection.peer, right)
        return who.at(connection.address)

    def _by_token(self, header: str, address: str) -> Who | Problem:
        scheme, _, secret = header.partition(" ")
        token = self._door.tokens.of(secret.strip(), self._door.wall_ms()) if scheme.lower() == "bearer" else None
        if token is not None:
            return who.with_token(token.name, frozenset(token.scopes), address)
        return self._door.wrong_token(f"address {address}")

    def _by_cookie(self, cookie: str, address: str) -> Who:
        session = self._door.sessions.of(cookie, self._door.monotonic_s())
        if session is None or not self._door.tokens.holds(session.token, self._door.wall_ms()):
            return who.at(address)
        return replace(who.with_token(session.token.name, frozenset(session.token.scopes), address), session=session)

    def _foreign(self, route: AnyRoute, request: web.Request, found: Who) -> Problem | None:
        """A change that a page of another site has a browser send is refused."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("Host", ""):
            return _OTHER_ORIGIN
        if found.session is None or route.without_csrf:
            return None
        if not is_csrf(found.session, request.headers.get(CSRF_HEADER, "")):
            return _NO_CSRF
        return None

    async def _asked(self, route: AnyRoute, request: web.Request) -> msgspec.Struct | Problem:
        body: bytes | Problem = b""
        if route.has_body:
            if request.content_type != JSON or "Content-Encoding" in request.headers:
                return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body must be {JSON}, as it is")
            body = await self._body(request, route.body_bytes)
        return body if isinstance(body, Problem) else asked_of(route, request.match_info, request.query, body)

    async def _body(self, request: web.Request, most: int) -> bytes | Problem:
        """The body, which is looked at only after it is known who sends it."""
        found = bytearray()
        try:
            async with asyncio.timeout(self._door.bounds.body_s):
                async for piece in request.content.iter_any():
                    found += piece
                    if len(found) > most:
                        detail = f"the body of this request has at most {most} bytes"
                        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        except TimeoutError:
            detail = f"the body did not come within {self._door.bounds.body_s:g} s"
            return problem(HTTPStatus.REQUEST_TIMEOUT, detail)
        return bytes(found)

    async def _may_still(self, route: AnyRoute, request: web.Request) -> bool:
        """Whether who was let in would be let in now: a token may be revoked while its stream is open."""
        found = await self._who(request, self._connection_of(request))
        return isinstance(found, Who) and found.may(route.needs)

    async def _stream(self, answer: Stream, route: AnyRoute, request: web.Request) -> web.StreamResponse:
        """Send pieces as they come, until there are no more, the client has gone, or may not have them any more."""
        connection = self._connection_of(request)
        response = web.StreamResponse(headers={**SECURITY, "Content-Type": answer.media, "Cache-Control": "no-store"})
        gone = asyncio.ensure_future(connection.gone.wait())
        try:
            await response.prepare(request)
            while True:
                piece = asyncio.ensure_future(_next(answer.pieces))
                await asyncio.wait({piece, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    piece.cancel()
                    await asyncio.wait({piece})
                    break
                if not (sent := piece.result()) or not await self._may_still(route, request):
                    break
                await response.write(sent)
        except ConnectionError:
            pass  # it is gone
        finally:
            gone.cancel()
            await answer.pieces.aclose()
        return response

    @staticmethod
    def _set_cookie(response: web.StreamResponse, cookie: str, *, secure: bool) -> None:
        if cookie:
            response.set_cookie(COOKIE, cookie, httponly=True, samesite="Strict", secure=secure, path="/")
        else:
            response.del_cookie(COOKIE, httponly=True, samesite="Strict", secure=secure, path="/")

    # --- the console's files ------------------------------------------------------------------------------------------

    async def _static(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.match_info["name"])
        if file is None:
            return _said(problem(HTTPStatus.NOT_FOUND, "there is no such page", "The API is under /api/v1/."))
        headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
        if file.etag in {
            each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")
        }:
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return web.Response(body=file.body, headers={**headers, "Content-Type": file.media})


# --- the form of answers ----------------------------------------------------------------------------------------------


_FAILED: Final = problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "this is a defect of Ringfence",
    "Please report it with what the service said on its standard error.",
)


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes:
    """The next piece; an empty one is the end."""
    return await anext(pieces, b"")


def _lacking(route: AnyRoute, found: Who) -> Problem:
    has = ", ".join(sorted(found.scopes))
    detail = f"this needs the scope {route.needs}; {found.words} has {has}"
    return problem(HTTPStatus.FORBIDDEN, detail, f"Make a token with it: ringfence token create --scope {route.needs}")


def _of_aiohttp(error: web.HTTPException, request: web.Request) -> str:
    match error.status:
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return f"{request.method} is not for this path"
        case HTTPStatus.NOT_FOUND:
            return "there is nothing at this path"
        case _:
            return error.reason


def _response(answer: msgspec.Struct | Plain | WithCookie) -> web.Response:
    if isinstance(answer, Plain):
        return web.Response(body=answer.body, headers={"Content-Type": answer.media, "Cache-Control": "no-cache"})
    value = answer.answer if isinstance(answer, WithCookie) else answer
    if isinstance(value, say.Refused):
        value = of_refusal(value)
    return _said(value)


def _said(value: msgspec.Struct) -> web.Response:
    """A struct as JSON, a problem with its status."""
    headers = {"Content-Type": JSON, "Cache-Control": "no-store"}
    if not isinstance(value, Problem):
        return web.Response(body=json_of(value), headers=headers)
    headers["Content-Type"] = problems.MEDIA
    if value.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="ringfence"'
    if value.retry_after_s:
        headers["Retry-After"] = str(value.retry_after_s)
    return web.Response(status=value.status, body=json_of(value), headers=headers)


class Protocol(web.RequestHandler):
    """The library's protocol, but what is no HTTP is refused in this service's words, which do not tell which library
    reads it (the library's own have its version in the header Server).
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what the library cannot read; it ends the connection."""
        super().handle_error(request, status, exc, message)  # raises if an answer has begun already
        of = HTTPStatus(status)
        read = of is HTTPStatus.INTERNAL_SERVER_ERROR
        detail = "the request failed" if read else "this is no HTTP request that can be read"
        said = _said(problem(of, detail, "" if read else "Speak HTTP/1.1; https where TLS is configured."))
        said.headers.update(SECURITY)
        said.force_close()
        return said


def protocol_of(made: asyncio.Protocol) -> asyncio.Protocol:
    """The library's protocol for one connection, as ``Protocol``."""
    if isinstance(made, web.RequestHandler):
        made.__class__ = Protocol
    return made
