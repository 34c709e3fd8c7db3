"""What Ringfence tells others, from the command line: the numbers it exposes, and a test of a webhook."""

from __future__ import annotations

from pathlib import Path

import click

from ringfence.cli import completion
from ringfence.cli.control import EXIT_REFUSED, Service, show
from ringfence.cli.state_dir import socket_option, socket_path, state_dir_option


@click.command("metrics", short_help="The service's numbers, as Prometheus or OpenMetrics text.")
@click.option("--openmetrics", is_flag=True, help="In OpenMetrics; without it, in Prometheus' text format.")
@state_dir_option
@socket_option
@click.pass_context
def metrics_command(ctx: click.Context, openmetrics: bool, state_dir: Path, socket: Path | None) -> None:
    """Print the service's numbers as a monitoring system reads them. docs/metrics.md says which number means what.

    \b
    Exit codes: 0 done; 1 refused; 2 usage; 3 the service is not running.
    """
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (other commands start without it)

    _, reply = Service(ctx, socket_path(state_dir, socket)).ask(say.Metrics(openmetrics=openmetrics))
    if isinstance(reply, say.Exposed):
        click.echo(reply.text, nl=False)


@click.group("webhook", short_help="Try a webhook out.")
def webhook_command() -> None:
    """Receivers of events are named in the configuration ([[webhook]]); `ringfence status` says how they do."""


@webhook_command.command("test")
@click.argument("name", shell_complete=completion.webhooks)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@state_dir_option
@socket_option
@click.pass_context
def test_command(ctx: click.Context, name: str, as_json: bool, state_dir: Path, socket: Path | None) -> None:
    """Send a test event to the webhook NAME, once, and say what came back. The service sends it, so that its network,
    its rights and its secret are tested as well.

    \b
    Exit codes: 0 taken; 1 not taken, or refused; 2 usage; 3 the service is not running.
    """
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (other commands start without it)
    from ringfence.views.text import printable  # noqa: PLC0415

    line, reply = Service(ctx, socket_path(state_dir, socket)).ask(say.TestWebhook(name=name))
    assert isinstance(reply, say.Tested)  # noqa: S101 (the protocol says so; narrowed for the type checker)
    if as_json:
        show(line)
    else:
        word = click.style("taken", fg="green") if reply.taken else click.style("NOT TAKEN", fg="red", bold=True)
        sign = "signed" if reply.signed else "not signed"
        click.echo(f"{word} after {reply.took_ms} ms, {sign}: {printable(reply.message)}\n  {printable(reply.url)}")
        if not reply.status:
            click.echo("  The unit that is shipped has no network: docs/webhooks.md has the drop-in that gives it one.")
    if not reply.taken:
        ctx.exit(EXIT_REFUSED)
