"""The lab by hand: ``python -m lab xen up``, then ``shell``, ``run``, ``inject``, ``console``, ``down``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lab import rows
from lab.debian import LabError
from lab.kvm.by_hand import kvm
from lab.passed import PASSED
from lab.xen.by_hand import xen


@click.group()
def main() -> None:
    """Machines in software emulation, with real hypervisors."""


main.add_command(kvm)
main.add_command(xen)


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
