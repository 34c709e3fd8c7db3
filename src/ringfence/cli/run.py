"""``ringfence run``: the service."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import JOURNAL, config_option, default_config, socket_option, socket_path, state_dir_option
from ringfence.errors import RingfenceError

EXIT_FAILED = Exit.NO
EXIT_UNREADABLE = Exit.USAGE


@click.command("run", short_help="The service: watch a host, decide, act, and remember.")
@click.option(
    "--hypervisor",
    type=click.Choice(["auto", "xen", "kvm", "model"]),
    default="auto",
    show_default=True,
    help="What the host runs; the model is a host in software, within this process.",
)
@config_option
@click.option("--policy", type=click.Path(dir_okay=False), help="A policy file, in place of the configuration's.")
@click.option("--seed", type=int, default=1, show_default=True, help="The model's chance.")
@click.option(
    "--scenario",
    metavar="NAME|FILE",
    help="Errors on the model, on their time: demo, a scenario's name, or a TOML file. None by default.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="What to follow, in place of the configuration: host, none, file:PATH, socket:PATH, cper:DIRECTORY, "
    "rasdaemon:DATABASE. Repeatable. host by default with kvm, and with auto unless on Xen; with model, none.",
)
@click.option(
    "--read-group", metavar="GROUP", help="Whose members may look over the control socket, besides whom [rights] lets."
)
@state_dir_option
@socket_option
@click.pass_context
def run_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    hypervisor: str,
    config: Path | None,
    policy: str | None,
    seed: int,
    scenario: str | None,
    sources: tuple[str, ...],
    read_group: str | None,
    state_dir: Path,
    socket: Path | None,
) -> None:
    """Run until SIGTERM or SIGINT. What happens is in the journal in --state-dir, and at the control socket: see
    ringfence status, events, cases, domains, approve, reject, do.

    SIGHUP, as `ringfence config reload`, loads configuration and policy again; a file that is bad changes nothing, and
    is said so. Killed and started again on the same state, the service goes on where it stood.

    \b
    Exit codes: 0 ended in order; 1 it could not go on; 2 usage, or a file cannot be read.
    """
    if hypervisor == "xen" and not Path("/dev/xen/privcmd").exists():
        raise click.UsageError("--hypervisor xen: this is no Dom0 (no /dev/xen/privcmd); see ringfence doctor")

    from ringfence.service.configured import Asked  # noqa: PLC0415
    from ringfence.service.household import attendants  # noqa: PLC0415
    from ringfence.service.model_world import play  # noqa: PLC0415 (other commands start without all this)
    from ringfence.service.notify import Notifier  # noqa: PLC0415
    from ringfence.service.process import Process, Settings  # noqa: PLC0415
    from ringfence.service.rights import group_number  # noqa: PLC0415
    from ringfence.service.sources.host_facts import HostFiles, what_runs  # noqa: PLC0415

    watches_host = hypervisor == "kvm" or (hypervisor == "auto" and scenario is None)
    if hypervisor == "auto":
        found = what_runs(HostFiles())
        # What is played is played on the model.
        hypervisor = "model" if found.hypervisor == "kvm" and scenario is not None else found.hypervisor
        watches_host = watches_host and hypervisor != "xen"
        click.echo(f"ringfence: {found.in_words}", err=True)
    try:
        settings = Settings(
            state_dir=state_dir,
            journal=state_dir / JOURNAL,
            socket=socket_path(state_dir, socket),
            play=None if scenario is None else play(scenario, seed),
            seed=seed,
            hypervisor=hypervisor,
            asked=Asked(
                config=config or default_config(),
                required=config is not None,
                policy=policy,
                read_group=read_group,
                sources=sources or None,
                watches_host=watches_host,
            ),
        )
        if read_group is not None:
            group_number(read_group)
        process = Process(settings, Notifier.of_environment(), partial(attendants, hypervisor=hypervisor))
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    except RingfenceError as error:
        click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    except OSError as error:
        click.echo(f"ringfence: {state_dir}: {error.strerror}\n  Name another directory with --state-dir.", err=True)
        ctx.exit(EXIT_UNREADABLE)
    os.umask(0o077)  # what it writes is for its own user, unless it says otherwise
    try:
        process.run()
    except RingfenceError as error:
        click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
        ctx.exit(EXIT_FAILED)
