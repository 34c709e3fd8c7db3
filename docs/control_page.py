"""The generated page of the control socket's language: its requests, replies, and bounds, from their declarations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Final, get_args

import msgspec

from ringfence.decision.policy import Operation
from ringfence.service import control, control_protocol, writer
from ringfence.service.rights import NEEDED
from ringfence.world.steps import Status

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]
Page = Callable[[str, str, Iterable[str]], str]

_PARTS: Final = (
    control_protocol.CaseLine,
    control_protocol.CasePart,
    control_protocol.DomainLine,
    control_protocol.ApprovalLine,
    control_protocol.PartLine,
    control_protocol.EngineLine,
)


def _type_of(kind: type[msgspec.Struct], name: str) -> str:
    """A field's type as it is declared, there or in what the kind is made from."""
    return next(
        str(each.__annotations__[name]) for each in kind.__mro__ if name in getattr(each, "__annotations__", {})
    )


def _fields(kind: type[msgspec.Struct]) -> str:
    named = (field for field in msgspec.structs.fields(kind) if field.name != "version")
    return ", ".join(f"`{each.name}`{'' if each.required else '?'}: {_type_of(kind, each.name)}" for each in named)


def _rows(kinds: Iterable[type[msgspec.Struct]], *, tagged: bool) -> Iterable[tuple[str, ...]]:
    for kind in kinds:
        tag = kind.__struct_config__.tag if tagged else kind.__name__
        doc = " ".join(inspect.cleandoc(kind.__doc__ or "").replace("``", "`").split())
        yield f"`{tag}`", doc, _fields(kind) or "-"


def _requests() -> Iterable[tuple[str, ...]]:
    kinds = get_args(control_protocol.Request)
    for kind, (name, meaning, fields) in zip(kinds, _rows(kinds, tagged=True), strict=True):
        yield name, str(NEEDED[kind]), meaning, fields


def _bounds(table: Table) -> str:
    rows = (
        ("bytes of a request's line", str(control_protocol.MAX_LINE_BYTES), "answered `line too long`, then closed"),
        ("bytes of a reply's line", str(control_protocol.MAX_REPLY_BYTES), "a client may give up beyond"),
        ("clients at a time", str(control.MOST_CLIENTS), "the next one is answered `busy`"),
        ("bytes that wait for one client", str(control.BUFFER_BYTES), "beyond the kernel's own buffer"),
        ("seconds that they may wait", f"{control.SLOW_S:g}", "the client is dropped, and counted as a slow reader"),
        ("seconds between two requests", f"{control.IDLE_S:g}", "the connection is closed"),
        ("requests that wait for the writer", str(writer.INBOX), "the next one is answered `busy`"),
        ("events of one request", str(control_protocol.MOST_EVENTS), "`after` goes on from there"),
    )
    return table(("bound", "value", "beyond it"), rows)


def control_socket(page: Page, table: Table) -> str:
    """The page."""
    heads = ("name", "meaning", "fields")
    codes = ", ".join(f"`{each}`" for each in control_protocol.Code)
    operations = ", ".join(f"`{each}`" for each in Operation)
    statuses = ", ".join(f"`{each}`" for each in Status)
    return page(
        "The control socket",
        f"A unix stream socket (`control.sock` in the state directory), version {control_protocol.VERSION} of its "
        "language: one JSON object a line each way, UTF-8. A request names itself in `request`, a reply in `reply`; a "
        f'request may say `"version":{control_protocol.VERSION}` and should. Each request is answered by one reply; '
        "`events` by any number of `event` and then `end`. A field that no declaration here names is an error in a "
        "request, and to be ignored in a reply. Fields marked `?` may be left out.\n\nWho may: the kernel says who "
        "connected (SO_PEERCRED, SO_PEERGROUPS). Root and the service's own user may do everything; others what "
        "`[rights]` in the configuration gives them, and the members of `ringfence run --read-group` may look.",
        [
            "## Requests\n",
            table(("name", "needs the right to", "meaning", "fields"), _requests()),
            f"An *Operation* is one of {operations}.\n",
            "## Replies\n",
            table(heads, _rows(get_args(control_protocol.Reply), tagged=True)),
            f"A *Code* is one of {codes}. A *StepStatus* is one of {statuses}.\n",
            "## Parts of replies\n",
            table(heads, _rows(_PARTS, tagged=False)),
            "## Bounds\n",
            _bounds(table),
        ],
    )
