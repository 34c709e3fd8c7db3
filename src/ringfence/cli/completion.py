"""What the shell offers for an argument: names that the running service knows, asked when the tabulator is pressed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from ringfence.cli.state_dir import default_state_dir, socket_path

if TYPE_CHECKING:
    from ringfence.service import control_protocol as say

PATIENCE_S: Final = 1.0
"""Whoever presses the tabulator does not wait longer for names."""

_HARMLESS: Final = re.compile(r"[A-Za-z0-9_ .:,#@%+/-]+")
"""What stands in a command line as it is. Guests and boards choose their names, and a shell would run ``$(...)`` of
one that was completed (bash(1), Expansion): such names are not offered.
"""


def parts(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The parts of the machine."""
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (commands start without it)

    reply = _asked(ctx, say.Parts(all=True))
    known = reply.parts if isinstance(reply, say.PartList) else ()
    return _fitting(((each.part, str(each.state)) for each in known), incomplete)


def domains(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The guests of the host."""
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (commands start without it)

    reply = _asked(ctx, say.Domains())
    known = reply.domains if isinstance(reply, say.DomainList) else ()
    return _fitting(((_name(each), f"domain {each.domain}, {each.state}") for each in known if each.domain), incomplete)


def waiting_cases(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The cases of which something waits for a person's word."""
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (commands start without it)

    reply = _asked(ctx, say.Approvals())
    known = reply.approvals if isinstance(reply, say.ApprovalList) else ()
    return _fitting(((str(each.case), f"{each.operation} {each.name}") for each in known), incomplete)


def waiting_domains(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The domains about which something waits for a person's word, in the case that stands before."""
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (commands start without it)

    reply = _asked(ctx, say.Approvals())
    known = reply.approvals if isinstance(reply, say.ApprovalList) else ()
    about = (each for each in known if each.case == ctx.params.get("case"))
    return _fitting(((_name(each), f"domain {each.domain}, {each.operation}") for each in about), incomplete)


def webhooks(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The receivers of events."""
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (commands start without it)

    reply = _asked(ctx, say.Status())
    return _fitting(((each, "") for each in (reply.webhooks if isinstance(reply, say.Health) else ())), incomplete)


def _asked(ctx: click.Context, request: say.Question) -> say.Reply | None:
    """The service's answer, None if it does not answer at once."""
    import msgspec  # noqa: PLC0415 (commands start without it)

    from ringfence.service.client import ask_once  # noqa: PLC0415

    path = socket_path(Path(ctx.params.get("state_dir") or default_state_dir()), ctx.params.get("socket"))
    try:
        return ask_once(path, request, PATIENCE_S)
    except (OSError, msgspec.DecodeError):
        return None


def _name(line: say.DomainLine | say.ApprovalLine) -> str:
    """A domain's name, or its number if the name is no word for a command line."""
    return line.name if _HARMLESS.fullmatch(line.name) else str(line.domain)


def _fitting(known: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    """What begins as it was begun, with what is said of it; each once."""
    begun = incomplete.lower()
    found = {name: means for name, means in known if _HARMLESS.fullmatch(name) and name.lower().startswith(begun)}
    return [CompletionItem(name, help=means or None) for name, means in found.items()]
