"""Commands that every machine of the lab has, by hand: ``run``, ``shell``, ``inject``, ``console``, ``down``."""

from __future__ import annotations

import sys

import click

from lab.debian import cache
from lab.machine import Machine
from lab.remote import Remote


def machine(name: str) -> Machine:
    """The machine of that name, whether it runs or not."""
    return Machine(cache() / "by-hand" / name)


def off(name: str) -> Machine:
    """The machine, which must not run. Raises ClickException if it does."""
    found = machine(name)
    if found.pid is not None:
        raise click.ClickException(f"one runs already: python -m lab {name} down")
    return found


def _running(name: str) -> Machine:
    found = machine(name)
    if found.pid is None:
        raise click.ClickException(f"no machine runs: python -m lab {name} up")
    return found


def commands(name: str, help_text: str) -> click.Group:
    """The group of a machine's commands; ``up`` is its own to add."""

    @click.group(name, help=help_text)
    def group() -> None:
        pass

    @group.command()
    def down() -> None:
        """Switch it off."""
        _running(name).stop()

    @group.command()
    @click.argument("command", nargs=-1, required=True)
    @click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True)
    def run(command: tuple[str, ...], timeout_s: float) -> None:
        """Run one command on it."""
        with Remote(_running(name)) as host:
            done = host.run(" ".join(command), timeout_s=timeout_s)
        click.echo(done.out, nl=False)
        click.echo(done.err, nl=False, err=True)
        sys.exit(1 if done.code is None else done.code)

    @group.command()
    def shell() -> None:
        """Commands on it, a line each, until the end of the input."""
        with Remote(_running(name)) as host:
            while True:
                try:
                    line = input(f"{name}# ")
                except EOFError:
                    return
                done = host.run(line)
                click.echo(done.out + done.err, nl=False)

    @group.command()
    @click.argument("cpu", type=int)
    @click.argument("bank", type=int)
    @click.argument("registers", nargs=4, metavar="STATUS MCG_STATUS ADDR MISC")
    @click.option("--broadcast", is_flag=True, help="To all CPUs, as Intel's machine checks are.")
    def inject(cpu: int, bank: int, registers: tuple[str, str, str, str], *, broadcast: bool) -> None:
        """Have CPU report an error in BANK; the registers are hexadecimal numbers (0x...)."""
        status, mcg_status, addr, misc = (int(each, 0) for each in registers)
        click.echo(_running(name).machine_check(cpu, bank, status, mcg_status, addr, misc, broadcast=broadcast))

    @group.command()
    def console() -> None:
        """Where the console's log is."""
        click.echo(machine(name).home / "com1.log")

    return group
