"""``ringfence badlist``: what was once judged bad, for the boot loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringfence.cli.exits import Exit, say_damage
from ringfence.cli.state_dir import JOURNAL, state_dir_option
from ringfence.errors import JournalDamagedError, RingfenceError

if TYPE_CHECKING:
    from ringfence.diagnosis.badlist import BadList, BootOption

EXIT_UNREADABLE = Exit.USAGE
EXIT_IN_PART = Exit.PART


@click.command("badlist", short_help="Pages, CPUs and DIMMs once judged bad, for the boot loader.")
@click.option("--xen", "form", flag_value="xen", help="Xen's badpage= alone.")
@click.option("--linux", "form", flag_value="linux", help="Linux's memmap= alone, as the kernel must see it.")
@click.option("--grub", "form", flag_value="grub", help="memmap= as it stands in /etc/default/grub, within quotes.")
@click.option("--json", "form", flag_value="json", help="One JSON object.")
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="A journal, instead of the state's.")
@state_dir_option
@click.pass_context
def badlist_command(ctx: click.Context, form: str | None, journal: Path | None, state_dir: Path) -> None:
    """Print what Ringfence has taken out of use on this host, and which parts stand accused.

    A reboot forgets it. Ringfence takes it out again when it starts; what the boot loader is told is not even used
    until then. A page that does not fit in a boot option is counted on standard error.

    \b
    Exit codes: 0 printed; 2 usage, or the journal cannot be read; 3 the journal is damaged: what holds of it is
    printed, and something may be missing.
    """
    from ringfence.diagnosis import badlist as bad_lists  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.recall import recall  # noqa: PLC0415
    from ringfence.journal.salvage import Found, state_of_what_holds  # noqa: PLC0415
    from ringfence.journal.store import Reader  # noqa: PLC0415

    path = journal if journal is not None else state_dir / JOURNAL
    whole = True
    try:
        try:
            with Reader(path) as reader:
                bad = recall(reader).state.faults.bad
        except JournalDamagedError as error:
            found, whole = Found(), False
            bad = state_of_what_holds(path, found).faults.bad
            say_damage(error, found)
    except RingfenceError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    match form:
        case "xen":
            _option(bad_lists.xen_badpage(bad))
        case "linux":
            _option(bad_lists.linux_memmap(bad))
        case "grub":
            _option(bad_lists.linux_memmap(bad, bad_lists.Quoting.DEFAULT_GRUB))
        case "json":
            click.echo(json.dumps(_as_json(bad), ensure_ascii=False))
        case _:
            click.echo(_text(bad), nl=False)
    if not whole:
        ctx.exit(EXIT_IN_PART)


def _option(option: BootOption) -> None:
    """An option on a line of its own; nothing if there is nothing to say."""
    if option.text:
        click.echo(option.text)
    if option.left_off:
        click.echo(f"{_pages(option.left_off)} did not fit; Ringfence takes them out when it starts.", err=True)


def _pages(number: int) -> str:
    return f"{number} page{'s' * (number != 1)}"


def _as_json(bad: BadList) -> dict[str, object]:
    from ringfence.diagnosis.badlist import Quoting, linux_isolcpus, linux_memmap, xen_badpage  # noqa: PLC0415

    options = {
        "xen": xen_badpage(bad),
        "linux": linux_memmap(bad),
        "grub": linux_memmap(bad, Quoting.DEFAULT_GRUB),
        "linux_cpus": linux_isolcpus(bad),
    }
    return {
        "pages": [{"first_frame": first, "pages": pages} for first, pages in bad.pages],
        "cpus": list(bad.cpus),
        "parts": [
            {"suspect": each.suspect, "name": each.name, "stage": each.stage, "evidence": list(each.evidence)}
            for each in bad.parts
        ],
        "options": {name: {"text": each.text, "left_off": each.left_off} for name, each in options.items()},
    }


def _text(bad: BadList) -> str:
    from ringfence.diagnosis.badlist import Quoting, linux_isolcpus, linux_memmap, xen_badpage  # noqa: PLC0415

    if not (bad.pages or bad.cpus or bad.parts):
        return "Nothing is known to be bad.\n"
    lines: list[str] = []
    if bad.pages:
        xen, linux = xen_badpage(bad), linux_memmap(bad)
        lines += [
            f"{_pages(bad.page_count)} out of use:",
            *(f"  frame {first:#x}" + (f", {pages} of them" if pages > 1 else "") for first, pages in bad.pages),
            "For Xen's command line (under Xen this one, not memmap):",
            f"  {xen.text}{_rest(xen)}",
            "For Linux's command line, in /etc/default/grub within double quotes:",
            f"  {linux_memmap(bad, Quoting.DEFAULT_GRUB).text}{_rest(linux)}",
            "  After a boot, /proc/cmdline must show:",
            f"  {linux.text}",
        ]
    if bad.cpus:
        lines += [
            f"CPUs out of use: {', '.join(str(cpu) for cpu in bad.cpus)}",
            "  No boot option leaves single CPUs out. Linux schedules nothing there with:",
            f"  {linux_isolcpus(bad).text}",
        ]
    if bad.parts:
        lines.append("Parts at fault:")
        for each in bad.parts:
            lines.append(f"  {each.suspect} {each.name}: {each.stage}".replace("page page", "page"))
            lines += [f"    {sentence}" for sentence in each.evidence]
    return "".join(f"{line}\n" for line in lines)


def _rest(option: BootOption) -> str:
    return f"  ({_pages(option.left_off)} did not fit: taken out when Ringfence starts)" if option.left_off else ""
