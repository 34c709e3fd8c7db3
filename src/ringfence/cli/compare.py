"""``ringfence compare``: what the concept gains over Xen as it is, by running both on the model host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ringfence.service.comparison import Row, Side, Tally


@click.command("compare", short_help="What the concept gains over Xen as it is: both are run on the model host.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each case.")
def compare_command(as_json: bool) -> None:
    """Let the same errors happen to four model hosts: one that follows the concept, Xen 4.17 and Xen 4.20 alone, and
    Xen 4.20 with Ringfence in Dom0; and say what became of host, guests and page on each. Takes a few seconds.

    \b
    Exit codes: 0 compared; 2 usage.
    """
    from ringfence.service.comparison import SIDES, compare, tally  # noqa: PLC0415 (other commands start without it)

    rows = compare()
    if as_json:
        for row in rows:
            click.echo(json.dumps(_as_json(row, SIDES)))
        return
    width = max(len(side.name) for side in SIDES)
    for side in SIDES:
        click.echo(f"{side.name:<{width}}  {side.says}")
    for row in rows:
        click.echo(f"\n{row.case.platform}: {row.case.says}")
        for side, ending in zip(SIDES, row.endings, strict=True):
            click.echo(f"  {side.name:<{width}}  {ending}")
    click.echo("\nIn all")
    for each in tally(rows):
        click.echo(f"  {each.side.name:<{width}}  {_in_all(each)}")


def _in_all(tally: Tally) -> str:
    return (
        f"{tally.hosts_stand} of {tally.hosts} hosts stand that need not halt; of {tally.guests} guests"
        f" {tally.guests_live} live, {tally.guests_renewed} are restarted, {tally.guests_lost} lost"
    )


def _as_json(row: Row, sides: tuple[Side, ...]) -> dict[str, object]:
    return {
        "platform": row.case.platform,
        "case": row.case.says,
        "must_halt": row.case.must_halt,
        "endings": {
            side.name: {
                "host": ending.host,
                "guests": [
                    {"name": fate.name, "end": fate.end, "told_by": list(fate.channels)} for fate in ending.guests
                ],
                "page": ending.page,
                "dom0": ending.dom0,
                "no_new_guests": ending.no_new_guests,
                "evidence_kept": ending.evidence_kept,
                "unseen": ending.is_unseen,
                "says": str(ending),
            }
            for side, ending in zip(sides, row.endings, strict=True)
        },
    }
