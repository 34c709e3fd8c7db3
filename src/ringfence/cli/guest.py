"""``ringfence guest``: the agent inside a guest."""

from __future__ import annotations

import click

from ringfence.guest.command import DESCRIPTION, EXITS, OPTIONS, SHORT, Asked, Option, run
from ringfence.guest.transports import AUTO, UNIX, WAYS

_WORDS = (AUTO, *(each.word for each in WAYS), UNIX)


def _option(option: Option) -> click.Option:
    declared = [f"--{option.name}"]
    if not option.metavar:
        return click.Option(declared, is_flag=True, help=option.help)
    if option.metavar == "FILE":
        return click.Option(
            declared, type=click.Path(dir_okay=False), metavar=option.metavar, default=option.default, help=option.help
        )
    return click.Option(
        declared,
        metavar=option.metavar,
        default=option.default,
        show_default=True,
        help=option.help,
        shell_complete=lambda _ctx, _param, word: [each for each in _WORDS if each.startswith(word)],
    )


@click.pass_context
def _guest(ctx: click.Context, /, **given: str | bool) -> None:
    ctx.exit(run(Asked(**given)))  # type: ignore[arg-type]  # the names and types are those of OPTIONS


guest_command = click.Command(
    "guest",
    callback=_guest,
    params=[_option(each) for each in OPTIONS],
    help=f"{DESCRIPTION}\n\n\b\n{EXITS}",
    short_help=SHORT,
)
"""The command."""
