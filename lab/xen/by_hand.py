"""The Xen machine by hand: ``python -m lab xen up``, and what every machine has."""

from __future__ import annotations

import click

from lab import by_hand, wheel
from lab.remote import Remote
from lab.xen.dom0 import install
from lab.xen.image import image
from lab.xen.machine import CPU_MODELS, Hardware, start

xen = by_hand.commands("xen", "Debian's Xen with a Dom0 that has Ringfence.")


@xen.command()
@click.option("--cpu", type=click.Choice(sorted(CPU_MODELS)), default="intel", show_default=True)
@click.option("--memory", "memory_mib", type=int, default=1536, show_default=True, help="MiB of the machine.")
@click.option("--dom0-memory", "dom0_mib", type=int, default=512, show_default=True, help="MiB of Dom0.")
@click.option("--reboots", is_flag=True, help="Let it reboot, where else it would end.")
@click.option("--erst", is_flag=True, help="With an error record store that outlives its reboots.")
@click.option("--kernel-driver", is_flag=True, help="Let Dom0's kernel take the telemetry (/dev/mcelog).")
def up(*, cpu: str, memory_mib: int, dom0_mib: int, reboots: bool, erst: bool, kernel_driver: bool) -> None:  # noqa: PLR0913 (an option each)
    """Switch it on, until Dom0 answers."""
    machine = by_hand.off("xen")
    hardware = Hardware(
        cpu=cpu, memory_mib=memory_mib, dom0_mib=dom0_mib, reboots=reboots, erst=erst, kernel_driver=kernel_driver
    )
    made = image()
    start(machine, made, hardware, extra=wheel.archive(made.choice.python, made.tree), tied=False)
    with Remote(machine) as dom0:
        install(dom0)
    click.echo(f"It is up; its files are in {machine.home}.")
