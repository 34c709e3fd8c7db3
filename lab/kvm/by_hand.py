"""The KVM host by hand: ``python -m lab kvm up``, and what every machine has."""

from __future__ import annotations

import click

from lab import by_hand
from lab.kvm import host
from lab.kvm.image import image
from lab.kvm.warm import BARE, GUEST, HUGE, booted, go_on

kvm = by_hand.commands("kvm", "A Debian host with KVM and libvirt, guests, and Ringfence.")


@kvm.command()
def up() -> None:
    """Switch it on, with Ringfence of this tree and a guest that runs."""
    machine = by_hand.off("kvm")
    go_on(machine, booted(image()), tied=False)
    click.echo(
        f"It is up: {GUEST} runs; {HUGE} (virsh resume {HUGE}) and {BARE} (QEMU without libvirt) are stopped.\n"
        f"A second libvirtd: {host.OTHER_URI}\nIts files are in {machine.home}."
    )
