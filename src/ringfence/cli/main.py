"""The ``ringfence`` command."""

from __future__ import annotations

import click

from ringfence import __version__
from ringfence.cli.backup import backup_command
from ringfence.cli.badlist import badlist_command
from ringfence.cli.compare import compare_command
from ringfence.cli.config import config_command
from ringfence.cli.control import COMMANDS as CONTROL_COMMANDS
from ringfence.cli.decode import decode_command
from ringfence.cli.demo import demo_command
from ringfence.cli.doctor import doctor_command
from ringfence.cli.explain import explain_command
from ringfence.cli.export import export_command
from ringfence.cli.guest import guest_command
from ringfence.cli.journal import journal_command
from ringfence.cli.machine import COMMANDS as MACHINE_COMMANDS
from ringfence.cli.outlets import metrics_command, webhook_command
from ringfence.cli.parts import COMMANDS as PARTS_COMMANDS
from ringfence.cli.policy import policy_command
from ringfence.cli.replay import replay_command
from ringfence.cli.run import run_command
from ringfence.cli.simulate import simulate_command
from ringfence.cli.token import token_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ringfence")
def main() -> None:
    """Machine-check evidence, explained and acted upon, on virtualization hosts."""


@main.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    For bash: eval "$(ringfence completion bash)"
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 (only this command needs it)

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click cannot complete {shell}")
    click.echo(kind(main, {}, "ringfence", "_RINGFENCE_COMPLETE").source())


main.add_command(run_command)
for _each in (*CONTROL_COMMANDS, *MACHINE_COMMANDS, *PARTS_COMMANDS):
    main.add_command(_each)
main.add_command(metrics_command)
main.add_command(webhook_command)
main.add_command(decode_command)
main.add_command(policy_command)
main.add_command(config_command)
main.add_command(doctor_command)
main.add_command(explain_command)
main.add_command(demo_command)
main.add_command(replay_command)
main.add_command(simulate_command)
main.add_command(compare_command)
main.add_command(guest_command)
main.add_command(badlist_command)
main.add_command(export_command)
main.add_command(backup_command)
main.add_command(journal_command)
main.add_command(token_command)
