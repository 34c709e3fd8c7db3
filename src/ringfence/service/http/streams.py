"""Events as they come: server-sent events (WHATWG HTML, 9.2), which a client that was cut off takes up where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ringfence.journal.store import Reader
from ringfence.service import control_protocol as say
from ringfence.service.control_protocol import json_of
from ringfence.service.histories import BATCH, Context, batch_of, words_after
from ringfence.service.http.bounds import HEARTBEAT_S
from ringfence.service.http.problems import problem
from ringfence.service.http.routes import EVENT_STREAM, Answer, Call, Stream

LAST_EVENT_ID = "last-event-id"


class Followed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Follow the journal: from the event after this number on, or from now on."""

    after: (
        Annotated[int, Meta(ge=0, le=say.MOST_NUMBER, description="The last event that is known already.")] | None
    ) = None


async def follow(call: Call[Followed]) -> Answer:
    """Every event after the last one that the client knows, each once and in order, and then those that come."""
    after = call.asked.after
    if known := call.headers.get(LAST_EVENT_ID, ""):
        if not (known.isdecimal() and known.isascii() and int(known[:20]) <= say.MOST_NUMBER):
            return problem(HTTPStatus.BAD_REQUEST, f"Last-Event-ID {known[:40]!r} is no number of an event")
        after = int(known)
    news = call.house.news
    if after is not None and after > news.last:
        advice = "Is it another journal's number? Begin without Last-Event-ID."
        return problem(HTTPStatus.BAD_REQUEST, f"the journal has {news.last} events, and none {after}", advice)
    context = await call.ask(Context.of)
    if isinstance(context, say.Refused):
        return context
    if not call.door.follow(call.who.key):
        detail = "too many streams are open"
        return problem(
            HTTPStatus.TOO_MANY_REQUESTS, detail, "Close one: each page of the console has one.", retry_after_s=10
        )
    return Stream(EVENT_STREAM, _pieces(call, context, news.last if after is None else after))


async def _pieces(call: Call[Followed], context: Context, number: int) -> AsyncGenerator[bytes, None]:
    """The stream's pieces. The journal is the queue: a batch of it is all that waits for one client.

    Where retention has dropped what the client would have heard next, it is told so: ``event: gap``.
    """
    try:
        words = await asyncio.to_thread(words_after, call.house.journal, context, number)
        if number < (dropped := await asyncio.to_thread(_dropped, call.house.journal)):
            yield b'event: gap\ndata: {"after":%d,"dropped":%d}\n\n' % (number, dropped)
        yield _mark(number)
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await call.house.news.after(number)
            except TimeoutError:
                yield _mark(number)
                continue
            batch = await asyncio.to_thread(batch_of, call.house.journal, number, BATCH)
            if not batch:
                continue
            number = batch[-1][0]
            yield b"".join(map(_message, words.all(batch))) or _mark(number)
    finally:
        call.door.unfollow(call.who.key)


def _dropped(journal: Path) -> int:
    """The last event of which nothing need be there any more (retention)."""
    with Reader(journal) as reader:
        return reader.base.number


def _message(event: say.Event) -> bytes:
    return b"id: %d\nevent: event\ndata: %b\n\n" % (event.number, json_of(event))


def _mark(number: int) -> bytes:
    """A sign of life. It has an id and no data, so that no event is dispatched, and who comes again goes on from here
    (9.2.6: the last event ID is set before the empty data is seen).
    """
    return b": alive\nid: %d\n\n" % number
