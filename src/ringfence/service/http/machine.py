"""What a person does on the machine and to the service itself, by the API: pages, CPUs, the configuration, a webhook.

Each asks what the control socket asks (``ringfence page``, ``cpu``, ``do unpause``, ``config reload``, ``webhook
test``), is checked as that is (II.4), and is journaled with who did it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from msgspec import Meta

from ringfence.service import answers, parts
from ringfence.service import control_protocol as say
from ringfence.service.http.api import Asked, DomainName, DomainNumber, named
from ringfence.service.http.routes import Answer, Call, Method, Nothing, Route, Scope
from ringfence.world.identities import CpuId, Frame

MOST_FRAMES = 1 << 40
"""Of x86: a physical address has at most 52 bits (SDM vol. 3A 4.1.4), a page 12 of them."""

FrameNumber = Annotated[int, Meta(ge=0, lt=MOST_FRAMES, description="The number of a frame of the host: of 4 KiB.")]
CpuNumber = Annotated[int, Meta(ge=0, le=65_535, description="The number of a logical CPU.")]


class PageSwitch(Asked, frozen=True, kw_only=True):
    """A page of the host is taken out of use, or put back."""

    to: say.Switch
    frame: FrameNumber


class CpuSwitch(Asked, frozen=True, kw_only=True):
    """A logical CPU of the host is taken out of use, or put back."""

    to: say.Switch
    cpu: CpuNumber


class OnePage(Asked, frozen=True, kw_only=True):
    """A page by its frame's number."""

    frame: FrameNumber


class Paused(Asked, frozen=True, kw_only=True):
    """A paused domain, which is named by its number or its name."""

    domain: DomainNumber | DomainName


class Webhook(Asked, frozen=True, kw_only=True):
    """A receiver of events, by the name that the configuration gives it."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]


async def page(call: Call[PageSwitch]) -> Answer:
    """Take a page out of use, or put it back."""
    return await _step(call, say.Page(to=call.asked.to, frame=Frame(call.asked.frame)))


async def cpu(call: Call[CpuSwitch]) -> Answer:
    """Take a CPU out of use, or put it back."""
    return await _step(call, say.Cpu(to=call.asked.to, cpu=CpuId(call.asked.cpu)))


async def unpause(call: Call[Paused]) -> Answer:
    """Let a paused domain run again."""
    return await _step(call, say.Unpause(domain=named(call.asked.domain)))


async def _step(call: Call[PageSwitch] | Call[CpuSwitch] | Call[Paused], asked: say.Step) -> Answer:
    return await call.ask(lambda desk: answers.step(desk, asked, call.who.words))


async def one_page(call: Call[OnePage]) -> Answer:
    """What is known of a page."""
    return await call.ask(lambda desk: parts.page(desk, Frame(call.asked.frame)))


async def reload(call: Call[Nothing]) -> Answer:
    """Load configuration and policy again."""
    return await call.house.reload(call.who.words)


async def test_webhook(call: Call[Webhook]) -> Answer:
    """Try a webhook out."""
    return await call.house.test(call.asked.name)


_REFUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)

ROUTES = (
    Route(
        method=Method.GET, path="/api/v1/pages/{frame}", name="onePage", needs=Scope.READ, asked=OnePage,
        answers=say.PageKnown, handler=one_page, summary="What Ringfence knows of a page of the host",
    ),
    Route(
        method=Method.POST, path="/api/v1/page", name="page", needs=Scope.OPERATE, asked=PageSwitch, answers=say.Done,
        handler=page, refuses=_REFUSES, summary="Take a page of the host out of use, or put it back (II.3)",
    ),
    Route(
        method=Method.POST, path="/api/v1/cpu", name="cpu", needs=Scope.OPERATE, asked=CpuSwitch, answers=say.Done,
        handler=cpu, refuses=_REFUSES, summary="Take a CPU of the host out of use, or put it back (II.3)",
    ),
    Route(
        method=Method.POST, path="/api/v1/unpause", name="unpause", needs=Scope.OPERATE, asked=Paused,
        answers=say.Done, handler=unpause, refuses=_REFUSES,
        summary="Let a paused domain run again, if no open case is about it",
    ),
    Route(
        method=Method.POST, path="/api/v1/reload", name="reload", needs=Scope.ADMINISTER, asked=Nothing,
        answers=say.Reloaded, handler=reload, refuses=_REFUSES,
        summary="Load the configuration and the policy again; a file that is bad changes nothing",
    ),
    Route(
        method=Method.POST, path="/api/v1/webhooks/test", name="testWebhook", needs=Scope.ADMINISTER, asked=Webhook,
        answers=say.Tested, handler=test_webhook, refuses=_REFUSES,
        summary="Send a test event to a webhook, once, and say what came back",
    ),
)  # fmt: skip
"""What the control socket answers, too."""
