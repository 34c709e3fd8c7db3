"""``ringfence config``: check the configuration, print it, say what a key means, have the service load it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import config_option, default_config, socket_option, socket_path, state_dir_option
from ringfence.errors import FileError, RingfenceError

if TYPE_CHECKING:
    from ringfence.service.configuration.file import ConfigurationFile, Setting

EXIT_GOOD = Exit.DONE
EXIT_BAD = Exit.NO
EXIT_UNREADABLE = Exit.USAGE


@click.group("config", short_help="Check, explain and print the configuration; load it again.")
def config_command() -> None:
    """What the service goes by is said by one TOML file; a key that is left out has its default."""


@config_command.command("default")
def default_command() -> None:
    """Print the default configuration, every key with its meaning and range. A good start for one's own."""
    from ringfence.service.configuration.configuration import DEFAULT  # noqa: PLC0415 (other commands start without it)
    from ringfence.service.configuration.file import write  # noqa: PLC0415

    click.echo(write(DEFAULT), nl=False)


@config_command.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the file, for editors that complete and check TOML by one."""
    from ringfence.service.configuration.file import schema  # noqa: PLC0415 (other commands start without it)

    click.echo(json.dumps(schema(), indent=2))


@config_command.command("check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check_command(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """Check the configuration in FILE, and the policy that it holds or names: every problem is named with its line, its
    key, and what is allowed. Without FILE, check the one that the service would take.

    \b
    Exit codes: 0 all is good; 1 it is not; 2 usage, or a file cannot be read.
    """
    from ringfence.decision.policy import DEFAULT  # noqa: PLC0415 (other commands start without it)
    from ringfence.service.configured import Asked, in_force  # noqa: PLC0415

    path = file or default_config()
    problems: list[dict[str, object]] = []
    remarks: tuple[str, ...] = ()
    try:
        found = in_force(Asked(config=path, required=file is not None), DEFAULT)
        remarks = tuple(f"[rights] names {each}: not known on this machine" for each in found.roster.unknown)
        policy = found.policy.file.path or "the default"
        where = f"{path}: good" if found.file.path else f"{path}: there is none; every key has its default"
        said = "\n  ".join((f"{where}; policy: {policy}", *remarks))
    except FileError as error:
        problems = [
            {"file": error.path, "line": each.line, "key": each.key, "problem": each.problem, "allowed": each.allowed}
            for each in error.problems
        ]
        said = f"{error}\n{error.advice}"
    except RingfenceError as error:
        _unreadable(ctx, error)
    if as_json:
        plain = {"file": str(path), "good": not problems, "problems": problems, "remarks": remarks}
        said = json.dumps(plain, ensure_ascii=False)
    click.echo(said, err=bool(problems) and not as_json)
    ctx.exit(EXIT_BAD if problems else EXIT_GOOD)


@config_command.command("explain")
@click.argument("key", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
@click.pass_context
def explain_command(ctx: click.Context, key: str | None, as_json: bool, config: Path | None) -> None:
    """Say what KEY means (http.enabled), or every key of a table (http), or of all; its value, and where that comes
    from: a line of the file, or the default.

    \b
    Exit codes: 0 said; 1 the file is bad; 2 usage, there is no such key, or the file cannot be read.
    """
    from ringfence.service.configuration.file import load  # noqa: PLC0415 (other commands start without it)

    try:
        found = load(config or default_config(), required=config is not None)
    except FileError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_BAD)
    except RingfenceError as error:
        _unreadable(ctx, error)
    said = _explained(found, key or "")
    if not said:
        known = ", ".join(_names())
        click.echo(f"ringfence: there is no key {key}\n  Keys and tables: {known}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    if as_json:
        click.echo(json.dumps({"file": found.path, "keys": said}, ensure_ascii=False))
    else:
        click.echo("\n".join(_in_words(each) for each in said))


def _names() -> list[str]:
    from ringfence.service.configuration.file import all_keys  # noqa: PLC0415 (other commands start without it)

    return [".".join(path) for path, _ in all_keys()]


Key = dict[str, str]
"""What is said of a key: its name, value, origin, meaning, what is allowed, and when a change applies."""


def _in_words(key: Key) -> str:
    value = f" = {key['value']}" if "value" in key else ""
    return (
        f"{key['key']}{value}  [{key['origin']}]\n  {key['meaning']}\n"
        f"  Allowed: {key['allowed']}. A change applies {key['applies']}."
    )


def _explained(found: ConfigurationFile, wanted: str) -> list[Key]:
    """The keys that are wanted, those of tables that are not there among them."""
    from ringfence.service.configuration.file import Setting, all_keys, settings  # noqa: PLC0415

    present = tuple(settings(found.configuration))
    lines: list[Key] = []
    for path, key in all_keys():
        name = ".".join(path)
        if key.table is not None or not (not wanted or name == wanted or name.startswith(f"{wanted}.")):
            continue
        here = [each for each in present if tuple(part for part in each.path if isinstance(part, str)) == path]
        lines += [_setting(each, found.origin(each.path)) for each in here]
        if not here:
            lines.append(_setting(Setting(path, key, ""), "no such table stands in the file"))
    return lines + _policy_key(wanted.removeprefix("policy.")) if wanted.startswith("policy.") else lines


def _setting(setting: Setting, origin: str) -> Key:
    key = setting.key
    return {
        "key": setting.name,
        "value": setting.shown or "(nothing)",
        "origin": origin,
        "meaning": key.meaning,
        "allowed": key.allowed,
        "applies": str(key.applies),
    }


def _policy_key(path: str) -> list[Key]:
    """A key of the policy; `ringfence policy explain` says what the policy does."""
    from ringfence.decision.policy_keys import BY_PATH  # noqa: PLC0415 (other commands start without it)

    key = BY_PATH.get(path)
    if key is None:
        return []
    why = f" ({key.why})" if key.why else ""
    return [
        {
            "key": f"policy.{key.path}",
            "origin": f"default {key.kind.write(key.default)}",
            "meaning": key.meaning,
            "allowed": f"{key.kind.allowed}{why}",
            "applies": "at once",
        }
    ]


@config_command.command("reload")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@state_dir_option
@socket_option
@click.pass_context
def reload_command(ctx: click.Context, as_json: bool, state_dir: Path, socket: Path | None) -> None:
    """Have the service load its configuration and its policy again, and say what changed, and what needs a restart.
    A file that is bad changes nothing.

    \b
    Exit codes: 0 loaded; 1 refused; 2 usage; 3 the service is not running.
    """
    from ringfence.cli.control import Service, show  # noqa: PLC0415 (other commands start without it)
    from ringfence.service import control_protocol as say  # noqa: PLC0415
    from ringfence.service.configured import in_words  # noqa: PLC0415

    line, reply = Service(ctx, socket_path(state_dir, socket)).ask(say.Reload())
    if as_json:
        show(line)
    elif isinstance(reply, say.Reloaded):
        click.echo(in_words(reply))


def _unreadable(ctx: click.Context, error: RingfenceError) -> NoReturn:
    click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
    ctx.exit(EXIT_UNREADABLE)
