"""``ringfence policy``: check a policy file, say in words what it does, print the default."""

from __future__ import annotations

import json
from typing import NoReturn

import click

from ringfence.cli.exits import Exit
from ringfence.errors import PolicyError, RingfenceError, SourceError

EXIT_GOOD = Exit.DONE
EXIT_BAD = Exit.NO
EXIT_UNREADABLE = Exit.USAGE


@click.group("policy", short_help="Check, explain and print policies.")
def policy_command() -> None:
    """What Ringfence does about machine checks is said by a policy: a TOML file, or the default without one."""


@policy_command.command("default")
def default_command() -> None:
    """Print the default policy, every key with its meaning and range. A good start for one's own."""
    from ringfence.decision.policy import DEFAULT  # noqa: PLC0415 (other commands start without it)
    from ringfence.decision.policy_file import write  # noqa: PLC0415

    click.echo(write(DEFAULT), nl=False)


@policy_command.command("check")
@click.argument("file", type=click.Path(path_type=str))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check_command(ctx: click.Context, file: str, as_json: bool) -> None:
    """Check the policy in FILE: every problem is named with its line, its key, and what is allowed.

    \b
    Exit codes: 0 the policy is good; 1 it is not; 2 usage, or FILE cannot be read.
    """
    from ringfence.service.policy_source import load  # noqa: PLC0415 (other commands start without it)

    problems: list[dict[str, object]] = []
    try:
        loaded = load(file)
        said = f"{file}: good, {len(loaded.policy.domains)} rule(s) for domains"
    except PolicyError as error:
        problems = [
            {"line": each.line, "key": each.key, "problem": each.problem, "allowed": each.allowed}
            for each in error.problems
        ]
        said = f"{error}\n{error.advice}"
    except SourceError as error:
        _unreadable(ctx, error)
    if as_json:
        said = json.dumps({"file": file, "good": not problems, "problems": problems}, ensure_ascii=False)
    click.echo(said, err=bool(problems) and not as_json)
    ctx.exit(EXIT_BAD if problems else EXIT_GOOD)


@policy_command.command("explain")
@click.argument("file", type=click.Path(path_type=str), required=False)
@click.option("--domain", "name", help="Only what holds for the domain of this name, with --uuid and --label.")
@click.option("--uuid", default="", help="The UUID of --domain, for rules that name one.")
@click.option("--label", "labels", multiple=True, help="A label of --domain, for rules that name some.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def explain_command(  # noqa: PLR0913, PLR0917 (one parameter an option)
    ctx: click.Context, file: str | None, name: str | None, uuid: str, labels: tuple[str, ...], as_json: bool
) -> None:
    """Say in words what the policy in FILE would do, or without FILE the default.

    For each row of the concept: when it applies, what happens, and where each value comes from.

    \b
    Exit codes: 0 said; 1 FILE is no good policy; 2 usage, or FILE cannot be read.
    """
    from ringfence.decision.policy_explained import explain  # noqa: PLC0415 (other commands start without it)
    from ringfence.service.policy_source import load  # noqa: PLC0415
    from ringfence.views import policy as view  # noqa: PLC0415
    from ringfence.world.domain import Domain, DomainKind  # noqa: PLC0415
    from ringfence.world.identities import DomainId  # noqa: PLC0415

    if name is None and (uuid or labels):
        raise click.UsageError("--uuid and --label go with --domain")
    try:
        loaded = load(file)
    except PolicyError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_BAD)
    except SourceError as error:
        _unreadable(ctx, error)
    # Rules look at name, UUID and labels alone: what else a domain is does not matter here.
    domain = (
        Domain(id=DomainId(1), name=name, kind=DomainKind.HVM, uuid=uuid.lower(), labels=frozenset(labels))
        if name is not None
        else None
    )
    explained = explain(loaded, domain)
    if as_json:
        click.echo(json.dumps(view.plain(loaded, explained), ensure_ascii=False))
    else:
        click.echo(view.text(loaded, explained, name), nl=False)


def _unreadable(ctx: click.Context, error: RingfenceError) -> NoReturn:
    click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
    ctx.exit(EXIT_UNREADABLE)
