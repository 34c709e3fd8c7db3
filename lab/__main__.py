"""The lab by hand: ``python -m lab xen up``, then ``shell``, ``run``, ``inject``, ``console``, ``down``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lab import rows, wheel
from lab.debian import LabError, cache
from lab.kvm.by_hand import kvm
from lab.machine import Machine
from lab.passed import PASSED
from lab.remote import Remote
from lab.xen.dom0 import install
from lab.xen.image import image
from lab.xen.machine import CPU_MODELS, Hardware, start


def _machine() -> Machine:
    return Machine(cache() / "by-hand" / "xen")


def _running() -> Machine:
    machine = _machine()
    if machine.pid is None:
        raise click.ClickException("no machine runs: python -m lab xen up")
    return machine


@click.group()
def main() -> None:
    """Machines in software emulation, with real hypervisors."""


main.add_command(kvm)


@main.group()
def xen() -> None:
    """Debian's Xen with a Dom0 that has Ringfence."""


@xen.command()
@click.option("--cpu", type=click.Choice(sorted(CPU_MODELS)), default="intel", show_default=True)
@click.option("--memory", "memory_mib", type=int, default=1536, show_default=True, help="MiB of the machine.")
@click.option("--dom0-memory", "dom0_mib", type=int, default=512, show_default=True, help="MiB of Dom0.")
@click.option("--reboots", is_flag=True, help="Let it reboot, where else it would end.")
@click.option("--erst", is_flag=True, help="With an error record store that outlives its reboots.")
@click.option("--kernel-driver", is_flag=True, help="Let Dom0's kernel take the telemetry (/dev/mcelog).")
def up(*, cpu: str, memory_mib: int, dom0_mib: int, reboots: bool, erst: bool, kernel_driver: bool) -> None:  # noqa: PLR0913 (an option each)
    """Switch it on, until Dom0 answers."""
    machine = _machine()
    if machine.pid is not None:
        raise click.ClickException("one runs already: python -m lab xen down")
    hardware = Hardware(
        cpu=cpu, memory_mib=memory_mib, dom0_mib=dom0_mib, reboots=reboots, erst=erst, kernel_driver=kernel_driver
    )
    made = image()
    start(machine, made, hardware, extra=wheel.archive(made.choice.python, made.tree), tied=False)
    with Remote(machine) as dom0:
        install(dom0)
    click.echo(f"It is up; its files are in {machine.home}.")


@xen.command()
def down() -> None:
    """Switch it off."""
    _running().stop()


@xen.command()
@click.argument("command", nargs=-1, required=True)
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True)
def run(command: tuple[str, ...], timeout_s: float) -> None:
    """Run one command in Dom0."""
    with Remote(_running()) as dom0:
        done = dom0.run(" ".join(command), timeout_s=timeout_s)
    click.echo(done.out, nl=False)
    click.echo(done.err, nl=False, err=True)
    sys.exit(1 if done.code is None else done.code)


@xen.command()
def shell() -> None:
    """Commands in Dom0, a line each, until the end of the input."""
    with Remote(_running()) as dom0:
        while True:
            try:
                line = input("dom0# ")
            except EOFError:
                return
            done = dom0.run(line)
            click.echo(done.out + done.err, nl=False)


@xen.command()
@click.argument("cpu", type=int)
@click.argument("bank", type=int)
@click.argument("registers", nargs=4, metavar="STATUS MCG_STATUS ADDR MISC")
@click.option("--broadcast", is_flag=True, help="To all CPUs, as Intel's machine checks are.")
def inject(cpu: int, bank: int, registers: tuple[str, str, str, str], *, broadcast: bool) -> None:
    """Have CPU report an error in BANK; the registers are hexadecimal numbers (0x...)."""
    status, mcg_status, addr, misc = (int(each, 0) for each in registers)
    click.echo(_running().machine_check(cpu, bank, status, mcg_status, addr, misc, broadcast=broadcast))


@xen.command()
def console() -> None:
    """Where the consoles' logs are."""
    home: Path = _machine().home
    click.echo(f"{home / 'com1.log'} (Xen and Dom0)")


@main.command()
def keep_rows() -> None:
    """Write what the last run of the tests showed into docs/rows-shown.json, and the page that is made of it."""
    if not PASSED.exists():
        raise click.ClickException("no run has left its results here: python3 dev.py lab")
    rows.keep(json.loads(PASSED.read_text(encoding="utf-8")))
    click.echo(f"{rows.SHOWN.relative_to(Path.cwd())} written; now: python3 dev.py docs")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"lab: {error}")
