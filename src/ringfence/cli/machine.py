"""``ringfence page`` and ``ringfence cpu``: what a person does on the machine itself (II.3)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ringfence.cli.state_dir import socket_option, socket_path, state_dir_option

if TYPE_CHECKING:
    from ringfence.service import control_protocol as say

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")

MOST_FRAMES: Final = 1 << 40
"""Of x86: a physical address has at most 52 bits (SDM vol. 3A 4.1.4), a page 12 of them."""

PAGE_SHIFT: Final = 12


def _number(_: click.Context, __: click.Parameter, value: str) -> int:
    """A number as people write one: 0x12 or 18. Raises BadParameter for anything else, or what is in no machine."""
    try:
        found = int(value, 0)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no number; write 0x1234 or 4660") from None
    if not 0 <= found < MOST_FRAMES << PAGE_SHIFT:
        raise click.BadParameter(f"{value!r} is no place in a machine's memory")
    return found


@click.command("page", short_help="Take a page of the host out of use, put it back, or ask what is known of it.")
@click.argument("what", type=click.Choice(["offline", "online", "query"]))
@click.argument("number", callback=_number)
@click.option("--address", is_flag=True, help="NUMBER is a physical address; without it, a frame's number.")
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def page_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context, what: str, number: int, address: bool, as_json: bool, state_dir: Path, socket: Path | None
) -> None:
    """Take the page with frame NUMBER out of use, put it back into use, or say what Ringfence knows of it.

    A page that a domain has is out of use as soon as the domain lets go of it. One that a fault stands against is not
    put back: acquit it first. The journal says who did it. In a dry run nothing is done.

    \b
    Exit codes: 0 done; 1 refused, or failed; 2 usage; 3 the service is not running.
    """
    from ringfence.cli.control import Service, done, show  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415
    from ringfence.world.identities import Frame  # noqa: PLC0415

    frame = Frame(number >> PAGE_SHIFT if address else number)
    if frame >= MOST_FRAMES:
        raise click.UsageError(f"{number:#x} is no frame: if it is an address, say --address")
    service = Service(ctx, socket_path(state_dir, socket))
    if what != "query":
        done(ctx, service, say.Page(to=say.Switch(what), frame=frame), f"{what} page {frame:#x}", as_json=as_json)
        return
    line, reply = service.ask(say.PageQuery(frame=frame))
    if as_json:
        show(line)
    elif isinstance(reply, say.PageKnown):
        click.echo(_page(reply))


def _page(known: say.PageKnown) -> str:
    first = known.frame << PAGE_SHIFT
    use = "out of use" if known.out_of_use else "in use, as far as Ringfence knows"
    dimm = f", of DIMM {known.dimm}" if known.dimm else ""
    cases = f"; open cases {', '.join(map(str, known.cases))}" if known.cases else ""
    span = f"addresses {first:#x} to {first + (1 << PAGE_SHIFT) - 1:#x}"
    return f"page {known.frame:#x} ({span}{dimm}): {use}; {known.state}, {known.errors} corrected errors counted{cases}"


@click.command("cpu", short_help="Take a CPU of the host out of use, or put it back.")
@click.argument("what", type=click.Choice(["offline", "online"]))
@click.argument("cpu", type=click.IntRange(0, 65_535))
@_json_option
@state_dir_option
@socket_option
@click.pass_context
def cpu_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context, what: str, cpu: int, as_json: bool, state_dir: Path, socket: Path | None
) -> None:
    """Take logical CPU number CPU out of use, or put it back into use. CPU 0 cannot be taken out.

    One that a fault stands against is not put back: acquit it first. The journal says who did it. In a dry run nothing
    is done.

    \b
    Exit codes: 0 done; 1 refused, or failed; 2 usage; 3 the service is not running.
    """
    from ringfence.cli.control import Service, done  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415
    from ringfence.world.identities import CpuId  # noqa: PLC0415

    service = Service(ctx, socket_path(state_dir, socket))
    done(ctx, service, say.Cpu(to=say.Switch(what), cpu=CpuId(cpu)), f"{what} CPU {cpu}", as_json=as_json)


COMMANDS = (page_command, cpu_command)
"""All of them."""
