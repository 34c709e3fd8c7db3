"""The commands that talk to the running service: status, events, cases, domains, approve, reject, do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ringfence.cli import completion
from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import socket_option, socket_path, state_dir_option

if TYPE_CHECKING:
    from ringfence.service import control_protocol as say

EXIT_REFUSED = Exit.NO
EXIT_USAGE = Exit.USAGE
EXIT_NOT_RUNNING = Exit.PART

ANSWER_S = 30.0
"""The service answers within a turn; a disk that hangs is worth so much patience."""

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_OPERATIONS = ("pause", "save", "restore", "migrate", "shutdown", "restart", "destroy")
"""As ``decision.policy.Operation``; a test holds them together. Completion starts without all that."""


class Service:
    """One connection to the service. Ends the command with the right exit code where there is none."""

    def __init__(self, ctx: click.Context, path: Path) -> None:
        self._ctx, self._path = ctx, path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        ctx.call_on_close(self._socket.close)
        self._socket.settimeout(ANSWER_S)
        try:
            self._socket.connect(str(path))
        except PermissionError:
            advice = "Root and the service's own user may; others by [rights] in the configuration."
            self.end(EXIT_REFUSED, f"{path}: you may not use this socket", advice)
        except OSError as error:
            why = error.strerror or str(error)
            self._not_running(why)
        self._lines = self._socket.makefile("rb")
        ctx.call_on_close(self._lines.close)

    def _not_running(self, why: str) -> NoReturn:
        advice = (
            "Start it: systemctl start ringfence, or ringfence run. "
            "If it runs already, name its --state-dir or its --socket."
        )
        self.end(EXIT_NOT_RUNNING, f"the service is not running ({self._path}: {why})", advice)

    def end(self, code: int, message: str, advice: str = "") -> NoReturn:
        """End the command."""
        click.echo(f"ringfence: {message}" + (f"\n  {advice}" if advice else ""), err=True)
        self._ctx.exit(code)

    def replies(self, request: say.Request) -> Iterator[tuple[bytes, say.Reply]]:
        """Ask, and give each reply with its line, until the one that ends the answer. A refusal ends the command."""
        import msgspec  # noqa: PLC0415 (other commands start without it)

        from ringfence.service import control_protocol as say  # noqa: PLC0415

        follows = isinstance(request, say.Events) and request.follow
        try:
            self._socket.sendall(say.line_of(request))
            self._socket.settimeout(None if follows else ANSWER_S)
            while line := self._lines.readline(say.MAX_REPLY_BYTES):
                reply = say.reply_of(line)
                if isinstance(reply, say.Refused):
                    self.end(EXIT_REFUSED, f"{reply.code}: {reply.message}", reply.advice)
                yield line, reply
                if not isinstance(reply, say.Event):
                    return
        except msgspec.DecodeError as error:
            self.end(EXIT_REFUSED, f"the service's answer cannot be read: {error}", "Is it of the same version?")
        except OSError as error:
            self._not_running(error.strerror or str(error))
        self._not_running("it hung up")

    def ask(self, request: say.Request) -> tuple[bytes, say.Reply]:
        """Ask, and give the one reply with its line."""
        return next(self.replies(request))


def show(line: bytes) -> None:
    """A reply as it came."""
    click.echo(line.decode(), nl=False)


@click.command("status", short_help="How the service is, and what is wrong.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def status_command(ctx: click.Context, as_json: bool, state_dir: Path, socket: Path | None) -> None:
    """Say how the service is: the host, what is open, what waits for you, and everything that is wrong.

    \b
    Exit codes: 0 done; 1 refused; 2 usage; 3 the service is not running.
    """
    from ringfence.cli import control_text  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    line, reply = Service(ctx, socket_path(state_dir, socket)).ask(say.Status())
    if as_json:
        show(line)
    elif isinstance(reply, say.Health):
        click.echo(control_text.status(reply), nl=False)


@click.command("events", short_help="What happens, and why: the last events, or live.")
@click.option("--last", type=click.IntRange(0, 100_000), default=20, show_default=True, help="So many events.")
@click.option("--after", type=click.IntRange(min=0), help="Those after the event of this number, at most --last.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes.")
@click.option("--details", is_flag=True, help="With the reasons and sums of each.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def events_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    last: int,
    after: int | None,
    follow: bool,
    details: bool,
    as_json: bool,
    state_dir: Path,
    socket: Path | None,
) -> None:
    """Show what the journal says, in words. With --follow, go on until you stop it, or the service ends.

    \b
    Exit codes: 0 done; 1 refused; 2 usage; 3 the service is not running, or ended while you followed.
    """
    from ringfence.cli import control_text  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    service = Service(ctx, socket_path(state_dir, socket))
    try:
        for line, reply in service.replies(say.Events(last=last, after=after, follow=follow)):
            if isinstance(reply, say.Event):
                click.echo(line.decode() if as_json else control_text.event(reply, details=details), nl=not as_json)
    except KeyboardInterrupt:
        ctx.exit(0)


@click.command("cases", short_help="The cases that are open, and how far each part is.")
@click.option("--all", "closed", is_flag=True, help="The newest of the closed ones as well.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def cases_command(ctx: click.Context, closed: bool, as_json: bool, state_dir: Path, socket: Path | None) -> None:
    """List the open cases. `ringfence explain CASE` says why, step by step.

    \b
    Exit codes: 0 done; 1 refused; 2 usage; 3 the service is not running.
    """
    from ringfence.cli import control_text  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    line, reply = Service(ctx, socket_path(state_dir, socket)).ask(say.Cases(closed=closed))
    if as_json:
        show(line)
    elif isinstance(reply, say.CaseList):
        click.echo(control_text.cases(reply), nl=False)


@click.command("domains", short_help="The domains of the host, and the cases about each.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def domains_command(ctx: click.Context, as_json: bool, state_dir: Path, socket: Path | None) -> None:
    """List the host's domains.

    \b
    Exit codes: 0 done; 1 refused; 2 usage; 3 the service is not running.
    """
    from ringfence.cli import control_text  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    line, reply = Service(ctx, socket_path(state_dir, socket)).ask(say.Domains())
    if as_json:
        show(line)
    elif isinstance(reply, say.DomainList):
        click.echo(control_text.domains(reply), nl=False)


@click.command("approve", short_help="Grant an operation that waits for you; without CASE, list what waits.")
@click.argument("case", type=int, required=False, shell_complete=completion.waiting_cases)
@click.argument("domain", required=False, shell_complete=completion.waiting_domains)
@click.option("--operation", type=click.Choice(_OPERATIONS), help="Which, if several wait for this case and domain.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def approve_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    case: int | None,
    domain: str | None,
    operation: str | None,
    as_json: bool,
    state_dir: Path,
    socket: Path | None,
) -> None:
    """Grant the operation of CASE that waits for a person's word, for DOMAIN (number or name) if several do.

    Without CASE, list what waits, with the time that is left.

    \b
    Exit codes: 0 done; 1 refused (nothing waits, or its time is over); 2 usage; 3 the service is not running.
    """
    _say_word(ctx, case, domain, operation, as_json, socket_path(state_dir, socket), granted=True)


@click.command("reject", short_help="Deny an operation that waits for you; without CASE, list what waits.")
@click.argument("case", type=int, required=False, shell_complete=completion.waiting_cases)
@click.argument("domain", required=False, shell_complete=completion.waiting_domains)
@click.option("--operation", type=click.Choice(_OPERATIONS), help="Which, if several wait for this case and domain.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def reject_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    case: int | None,
    domain: str | None,
    operation: str | None,
    as_json: bool,
    state_dir: Path,
    socket: Path | None,
) -> None:
    """Deny the operation of CASE that waits for a person's word, for DOMAIN (number or name) if several do.

    What comes next without it is the policy's to say. Without CASE, list what waits, with the time that is left.

    \b
    Exit codes: 0 done; 1 refused (nothing waits, or its time is over); 2 usage; 3 the service is not running.
    """
    _say_word(ctx, case, domain, operation, as_json, socket_path(state_dir, socket), granted=False)


def _say_word(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    case: int | None,
    domain: str | None,
    operation: str | None,
    as_json: bool,
    path: Path,
    *,
    granted: bool,
) -> None:
    from ringfence.cli import control_text  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415
    from ringfence.world.identities import CaseId, DomainId  # noqa: PLC0415

    service = Service(ctx, path)
    line, reply = service.ask(say.Approvals())
    assert isinstance(reply, say.ApprovalList)  # noqa: S101 (the protocol says so; narrowed for the type checker)
    if case is None:
        click.echo(line.decode() if as_json else control_text.approvals(reply), nl=False)
        return
    waiting = [
        each
        for each in reply.approvals
        if each.case == case
        and (domain is None or domain in {str(each.domain), each.name})
        and (operation is None or operation == each.operation)
    ]
    if not waiting:
        advice = "Its time may be over. Without a case, this command lists what waits."
        service.end(EXIT_REFUSED, f"nothing of case {case} waits for a word", advice)
    if waiting[1:]:
        several = ", ".join(f"{each.operation} {each.name}" for each in waiting)
        service.end(
            EXIT_USAGE, f"several operations of case {case} wait: {several}", "Name the domain and --operation."
        )
    chosen = waiting[0]
    line, reply = service.ask(
        say.Approve(
            case=CaseId(chosen.case), domain=DomainId(chosen.domain), operation=chosen.operation, granted=granted
        )
    )
    word = "granted" if granted else "denied"
    click.echo(
        line.decode() if as_json else f"{word}: {chosen.operation} {chosen.name}, case {chosen.case}\n", nl=False
    )


@click.command("do", short_help="Do an operation on a domain: pause, unpause, save, migrate, restart, ...")
@click.argument("operation", type=click.Choice((*_OPERATIONS, "unpause")))
@click.argument("domain", shell_complete=completion.domains)
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def do_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context, operation: str, domain: str, as_json: bool, state_dir: Path, socket: Path | None
) -> None:
    """Do OPERATION on DOMAIN (number or name). It is checked: that you may, that the domain exists, that its state
    allows it; the result is reported, and the journal says who did it.

    An operation that takes time is begun, and its end is journaled in its case: see ringfence events, ringfence cases.

    \b
    Exit codes: 0 done or begun; 1 refused, or failed; 2 usage; 3 the service is not running.
    """
    from ringfence.decision.policy import Operation  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415
    from ringfence.world.identities import DomainId  # noqa: PLC0415

    whom = DomainId(int(domain)) if domain.isdecimal() and domain.isascii() else domain
    asked = say.Unpause(domain=whom) if operation == "unpause" else say.Do(operation=Operation(operation), domain=whom)
    done(ctx, Service(ctx, socket_path(state_dir, socket)), asked, f"{operation} {domain}", as_json=as_json)


def done(ctx: click.Context, service: Service, asked: say.Change, what: str, *, as_json: bool) -> None:
    """Ask for something to be done, and say what became of it so far; ends the command if it failed."""
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (other commands start without it)
    from ringfence.world.steps import Status  # noqa: PLC0415

    line, reply = service.ask(asked)
    assert isinstance(reply, say.Done)  # noqa: S101 (the protocol says so; narrowed for the type checker)
    because = f": {reply.because}" if reply.because else ""
    click.echo(line.decode() if as_json else f"case {reply.case}: {what} {reply.status}{because}\n", nl=False)
    if reply.status in {Status.FAILED, Status.UNKNOWN}:
        ctx.exit(EXIT_REFUSED)


COMMANDS = (
    status_command,
    events_command,
    cases_command,
    domains_command,
    approve_command,
    reject_command,
    do_command,
)
"""All of them."""
