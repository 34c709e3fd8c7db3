"""``ringfence parts``, ``acquit``, ``repaired``: what is held against which part of the machine, and the end of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringfence.cli import completion
from ringfence.cli.state_dir import socket_option, socket_path, state_dir_option

if TYPE_CHECKING:
    from ringfence.service import control_protocol as say

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.command("parts", short_help="The parts of the machine, and what is held against each.")
@click.option("--all", "everything", is_flag=True, help="Those too that are only watched, or were cleared.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def parts_command(ctx: click.Context, everything: bool, as_json: bool, state_dir: Path, socket: Path | None) -> None:
    """List the parts that errors were counted for: DIMMs, ranks, rows, cells, pages, cores, caches, links, sockets.

    For each, the worst first: where it stands, its errors and how many different syndromes they have, what speaks for
    and against it, and how full its engine is, with where that threshold comes from.

    \b
    Exit codes: 0 done; 1 refused; 2 usage; 3 the service is not running.
    """
    from ringfence.cli.control import Service, show  # noqa: PLC0415 (other commands start without it)
    from ringfence.cli.parts_text import parts  # noqa: PLC0415
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    line, reply = Service(ctx, socket_path(state_dir, socket)).ask(say.Parts(all=everything))
    if as_json:
        show(line)
    elif isinstance(reply, say.PartList):
        click.echo(parts(reply, everything=everything), nl=False)


@click.command("acquit", short_help="A part was not at fault: what was counted against it does not count any more.")
@click.argument("part", shell_complete=completion.parts)
@click.option("--because", required=True, help="Why not: a cosmic ray, a defect of the firmware. The journal keeps it.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def acquit_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context, part: str, because: str, as_json: bool, state_dir: Path, socket: Path | None
) -> None:
    """Say that PART was not at fault. PART is named as `ringfence parts --all` names it.

    \b
    Exit codes: 0 done; 1 refused, or no such part; 2 usage; 3 the service is not running.
    """
    from ringfence.diagnosis.fault_case import Ending  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    _clear(ctx, say.Clear(part=part, how=Ending.ACQUITTED, because=because), socket_path(state_dir, socket), as_json)


@click.command("repaired", short_help="A part was mended or replaced: what was counted against it counts no more.")
@click.argument("part", shell_complete=completion.parts)
@click.option("--replaced", is_flag=True, help="Another part is in its place.")
@click.option("--serial", default="", help="The serial number of what is in its place now; implies --replaced.")
@click.option("--because", default="", help="What was done. The journal keeps it.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def repaired_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    part: str,
    replaced: bool,
    serial: str,
    because: str,
    as_json: bool,
    state_dir: Path,
    socket: Path | None,
) -> None:
    """Say that PART was mended (reseated, its firmware updated), or replaced by another. PART is named as `ringfence
    parts --all` names it. A DIMM that was exchanged is noticed by its serial number as well, if the firmware gives it.

    \b
    Exit codes: 0 done; 1 refused, or no such part; 2 usage; 3 the service is not running.
    """
    from ringfence.diagnosis.fault_case import Ending  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    how = Ending.REPLACED if replaced or serial else Ending.REPAIRED
    asked = say.Clear(part=part, how=how, because=because, serial=serial)
    _clear(ctx, asked, socket_path(state_dir, socket), as_json)


def _clear(ctx: click.Context, asked: say.Clear, path: Path, as_json: bool) -> None:
    from ringfence.cli.control import Service, show  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415

    line, reply = Service(ctx, path).ask(asked)
    if as_json:
        show(line)
    elif isinstance(reply, say.Done):
        click.echo(reply.because)


COMMANDS = (parts_command, acquit_command, repaired_command)
"""All of them."""
