"""``ringfence doctor``: what clashes and what is missing on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import (
    JOURNAL,
    config_option,
    default_config,
    socket_option,
    socket_path,
    state_dir_option,
)

if TYPE_CHECKING:
    from ringfence.service.doctor_findings import Checked, Finding

EXIT_WELL = Exit.DONE
EXIT_NOT_WELL = Exit.NO

_COLOURS: Final = {"wrong": "red", "warning": "yellow", "note": "cyan"}


@click.command("doctor", short_help="What clashes and what is missing on this machine, and what to do about it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--all", "everything", is_flag=True, help="The checks too that found nothing.")
@config_option
@state_dir_option
@socket_option
@click.pass_context
def doctor_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context, as_json: bool, everything: bool, config: Path | None, state_dir: Path, socket: Path | None
) -> None:
    """Look at the service, its files, and the machine; say what is wrong, what that means, and what to do.

    It changes nothing. As root it sees more: the journal, the tables of the firmware, the kernel's log.

    \b
    Exit codes: 0 nothing need be done; 1 something is wrong, or will hurt on a bad day; 2 usage.
    """
    from ringfence.service.doctor import examined, is_well  # noqa: PLC0415 (other commands start without it)
    from ringfence.service.doctor_facts import gather  # noqa: PLC0415

    checked = examined(
        gather(
            root=Path("/"),
            state_dir=state_dir,
            journal=state_dir / JOURNAL,
            socket=socket_path(state_dir, socket),
            config=config or default_config(),
            config_required=config is not None,
        )
    )
    well = is_well(checked)
    if as_json:
        click.echo(json.dumps({"well": well, "checks": [_plain(each) for each in checked]}, ensure_ascii=False))
    else:
        click.echo(_text(checked, everything=everything), nl=False)
    ctx.exit(EXIT_WELL if well else EXIT_NOT_WELL)


def _plain(checked: Checked) -> dict[str, object]:
    findings = [
        {
            "severity": each.severity,
            "text": each.text,
            "means": each.means,
            "advice": each.advice,
            "evidence": each.evidence,
        }
        for each in checked.findings
    ]
    return {"id": checked.check.id, "question": checked.check.question, "findings": findings}


def _text(checked: tuple[Checked, ...], *, everything: bool) -> str:
    """The worst first; notes last, and what is well if it is wanted."""
    lines: list[str] = []
    for severity in _COLOURS:
        for one in checked:
            for each in one.findings:
                if each.severity == severity:
                    lines += _finding(one, each)
    counts = [sum(each.severity == severity for one in checked for each in one.findings) for severity in _COLOURS]
    good = [one for one in checked if not one.findings]
    if everything:
        lines += [f"{click.style('good', fg='green')}     {one.check.id}: {one.check.question}" for one in good]
    lines.append(
        f"{len(checked)} checks: {counts[0]} wrong, {_counted(counts[1], 'warning')}, {_counted(counts[2], 'note')}, "
        f"{len(good)} good"
    )
    return "".join(f"{line}\n" for line in lines)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _finding(one: Checked, each: Finding) -> list[str]:
    from ringfence.views.text import printable  # noqa: PLC0415 (other commands start without it)

    word = click.style(f"{each.severity:<8}", fg=_COLOURS[each.severity])
    lines = [f"{word} {one.check.id}: {printable(each.text)}"]
    lines += [f"         {printable(each.means)}"] if each.means else []
    lines += [f"         -> {printable(each.advice)}"] if each.advice else []
    lines += [f"         [{printable(each.evidence)}]"] if each.evidence else []
    return lines
