"""``ringfence token``: who may talk to the service over HTTP, and do what."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import state_dir_option
from ringfence.errors import RingfenceError

if TYPE_CHECKING:
    from ringfence.service.http.tokens import Token

EXIT_REFUSED = Exit.NO

_SCOPES = ("read", "approve", "operate", "administer")
"""As ``service.http.routes.Scope``; a test holds them together. Completion starts without all that."""
_UNIT_S = {"m": 60, "h": 3_600, "d": 86_400, "y": 31_536_000}
_LONGEST_S = 100 * _UNIT_S["y"]


class _Scopes(click.ParamType[tuple[str, ...]]):
    """Scopes with commas between them."""

    name = "scopes"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The scopes, each once, in their own order."""
        if isinstance(value, tuple):
            return value
        given = [each.strip() for each in value.split(",")]
        for each in given:
            if each not in _SCOPES:
                self.fail(f"{each!r} is none of {', '.join(_SCOPES)}", param, ctx)
        return tuple(each for each in _SCOPES if each in given)


class _Span(click.ParamType[int]):
    """A span of time: 90d, 12h."""

    name = "span"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,9})([mhdy])", value)
        span_s = int(found[1]) * _UNIT_S[found[2]] if found else 0
        if not 0 < span_s <= _LONGEST_S:
            self.fail(f"{value!r} is no span of time; write 30m, 12h, 90d or 1y", param, ctx)
        return span_s


@click.group("token", short_help="Who may talk to the service over HTTP: create, list, revoke tokens.")
def token_command() -> None:
    """Tokens for the HTTP API and the console. They lie in the state directory, as hashes: a token is shown once, when
    it is made. Changes hold at once; the service need not run.
    """


@token_command.command("create", short_help="Make a token, and show it this once.")
@click.option("--name", required=True, help="What the journal calls who uses it.")
@click.option(
    "--scope",
    "scopes",
    type=_Scopes(),
    default="read",
    show_default=True,
    metavar="SCOPE[,SCOPE...]",
    help=f"What it allows: {', '.join(_SCOPES)}. None holds another one.",
)
@click.option("--expires", type=_Span(), metavar="SPAN", help="When it ends, from now: 12h, 90d, 1y.  [default: never]")
@state_dir_option
@click.pass_context
def create_command(
    ctx: click.Context, name: str, scopes: tuple[str, ...], expires: int | None, state_dir: Path
) -> None:
    """Make a token. It alone goes to standard output, so that it can be kept where it is used:

    \b
        ringfence token create --name prometheus --scope read > /etc/prometheus/ringfence.token

    \b
    Exit codes: 0 made; 1 refused; 2 usage.
    """
    from ringfence.service.http import tokens  # noqa: PLC0415 (other commands start without it)
    from ringfence.service.http.routes import Scope  # noqa: PLC0415

    now_ms = _now_ms()
    ends_ms = None if expires is None else now_ms + expires * 1000
    try:
        secret = tokens.create(
            state_dir / tokens.FILE,
            name,
            tuple(Scope(each) for each in scopes),
            wall_ms=now_ms,
            expires_wall_ms=ends_ms,
        )
    except RingfenceError as error:
        _refused(ctx, error)
    click.echo(f"ringfence: token {name} may {', '.join(scopes)}, {_until(ends_ms)}; it is shown only now:", err=True)
    click.echo(secret)


@token_command.command("list", short_help="The tokens, with what they may do and when they end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@state_dir_option
@click.pass_context
def list_command(ctx: click.Context, as_json: bool, state_dir: Path) -> None:
    """List the tokens; never what they are.

    \b
    Exit codes: 0 done; 1 refused; 2 usage.
    """
    from ringfence.service.http import tokens  # noqa: PLC0415 (other commands start without it)

    try:
        found = tokens.read(state_dir / tokens.FILE)
    except RingfenceError as error:
        _refused(ctx, error)
    if as_json:
        for each in found:
            click.echo(json.dumps(_plain(each)))
        return
    _show(found)


def _show(found: tuple[Token, ...]) -> None:
    from ringfence.cli.control_text import table, when  # noqa: PLC0415 (other commands start without it)

    if not found:
        click.echo("there is no token: ringfence token create makes one")
        return
    now_ms = _now_ms()
    rows = (
        (
            each.name,
            ", ".join(each.scopes),
            when(each.created_wall_ms),
            "never" if each.expires_wall_ms is None else when(each.expires_wall_ms),
            "" if each.is_valid(now_ms) else "ENDED",
        )
        for each in found
    )
    click.echo(table(("NAME", "SCOPES", "MADE", "ENDS", ""), rows), nl=False)


@token_command.command("revoke", short_help="Take a token away, with every session that it began.")
@click.argument("name")
@state_dir_option
@click.pass_context
def revoke_command(ctx: click.Context, name: str, state_dir: Path) -> None:
    """Take the token NAME away. Whoever uses it is refused from the next request on.

    \b
    Exit codes: 0 done; 1 refused, or there is none of this name; 2 usage.
    """
    from ringfence.service.http import tokens  # noqa: PLC0415 (other commands start without it)

    try:
        tokens.revoke(state_dir / tokens.FILE, name)
    except RingfenceError as error:
        _refused(ctx, error)
    click.echo(f"token {name} is revoked")


def _plain(each: Token) -> dict[str, object]:
    return {
        "name": each.name,
        "scopes": list(each.scopes),
        "created_wall_ms": each.created_wall_ms,
        "expires_wall_ms": each.expires_wall_ms,
        "valid": each.is_valid(_now_ms()),
    }


def _until(ends_ms: int | None) -> str:
    if ends_ms is None:
        return "without an end"
    return f"until {datetime.fromtimestamp(ends_ms / 1000, UTC):%Y-%m-%d %H:%M}Z"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _refused(ctx: click.Context, error: RingfenceError) -> NoReturn:
    click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
    ctx.exit(EXIT_REFUSED)
