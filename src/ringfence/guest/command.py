"""The command line of the agent: its options are declared once, for ``ringfence guest`` and for the agent by itself."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ringfence
from ringfence.guest import policy, transports
from ringfence.guest.agent import Agent, Service, hello
from ringfence.guest.healing import Healer
from ringfence.guest.hooks import hooks
from ringfence.guest.pages import Pages
from ringfence.guest.transports import Way, way

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its name, what it does, and what its value is called (empty: it has none)."""

    name: str
    help: str
    metavar: str = ""
    default: str = ""


OPTIONS: Final = (
    Option(
        "transport",
        "The way to the host: auto, xenstore, virtio-serial, vsock, unix:PATH, or xenstore:PATH.",
        metavar="TRANSPORT",
        default=transports.AUTO,
    ),
    Option(
        "config",
        f"What the agent may do, a TOML file. By default {policy.DEFAULT_FILE}, if it is there.",
        metavar="FILE",
    ),
    Option("dry-run", "Change nothing: say what would be done, and answer with a refusal."),
    Option("json", "Say what happens as JSON, one object a line."),
    Option("check", "Say what this guest can do and by which way, and end: 0 if it could be told and heal, else 1."),
    Option("pack", "Write the agent into FILE, which needs Python 3.11 and nothing else, and end.", metavar="FILE"),
)
SHORT: Final = "In a guest: be told of lost and endangered pages, and heal."
DESCRIPTION: Final = """\
Run in a guest until SIGTERM: register with Ringfence on the host, be told of pages that are lost or endangered, take \
them out of use, run the hooks of the guest's administrator, and answer what was done. It needs root, and Linux."""
EXITS: Final = "Exit codes: 0 ended in order; 1 there is no way to a host; 2 usage, or a file cannot be read."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says."""

    transport: str = transports.AUTO
    config: str = ""
    dry_run: bool = False
    json: bool = False
    check: bool = False
    pack: str = ""


def run(asked: Asked, pages: Pages | None = None) -> int:
    """The command; its exit code. ``pages`` are this machine's, if no others are given."""
    if asked.pack:
        return _pack(Path(asked.pack))
    try:
        given = _policy(asked)
        found = way(asked.transport)
    except policy.PolicyError as error:
        return _refuse(EXIT_USAGE, str(error), "Nothing of the file is in force: see docs/guest.md for every key.")
    except ValueError as error:
        return _refuse(EXIT_USAGE, str(error), "See --help.")
    except OSError as error:
        advice = (
            "Give the guest a virtio-serial port named org.ringfence.guest.0, or a vsock device; on Xen, mount xenfs."
        )
        return _refuse(EXIT_FAILED, error.strerror or str(error), advice)
    healer = Healer(given, pages or Pages(), dry_run=asked.dry_run)
    if asked.check:
        return _check(healer, found)
    log = _Log(as_json=asked.json)
    agent = Agent(hello(healer, ringfence.__version__), log)
    log("started", f"policy: {_in_words(given)}; can: {', '.join(healer.can) or 'nothing'}")
    Service(agent, healer, found, log).run()
    log("ended", "ended in order")
    return 0


def _policy(asked: Asked) -> policy.Policy:
    if asked.config:
        return policy.read(Path(asked.config))
    return policy.read(policy.DEFAULT_FILE) if policy.DEFAULT_FILE.exists() else policy.Policy()


def _in_words(given: policy.Policy) -> str:
    return ", ".join([*(f"{what}: {action}" for what, action in given.pages.items()), f"owner: {given.owner}"])


def _refuse(code: int, message: str, advice: str) -> int:
    sys.stderr.write(f"ringfence guest: {message}\n  {advice}\n")
    return code


def _check(healer: Healer, found: Way) -> int:
    good, bad = hooks(healer.policy.hooks)
    can = healer.can
    needed = {f"{action}" for action in healer.policy.pages.values()} - {policy.PageAction.NOTHING}
    missing = sorted(needed - {str(each) for each in can})
    lines = [
        f"way to the host   {found.word}" + ("" if found.is_here() else ": it is not here"),
        f"policy            {_in_words(healer.policy)}",
        f"can               {', '.join(can) or 'nothing'}",
        f"hooks             {', '.join(each.name for each in good) or 'none'} ({healer.policy.hooks})",
        *(f"hook not run      {each.name}: {each.why}" for each in bad),
        *(
            f"missing           {each}: run it as root, on a kernel with MEMORY_FAILURE and MEMORY_HOTPLUG"
            for each in missing
        ),
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return EXIT_FAILED if missing or not found.is_here() else 0


class _Log:
    """Says what happens on standard output, each line at once; a guest's service manager adds the time to text."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: str, text: str, /, **facts: object) -> None:
        if self._as_json:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            text = json.dumps({"at": at, "event": event, "text": text, **facts})
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


_MAIN: Final = "from ringfence.guest.__main__ import main\nraise SystemExit(main())\n"


def _pack(file: Path) -> int:
    """Write the agent as one file that Python runs (zipapp): this package, and nothing else."""
    import zipfile  # noqa: PLC0415 (a guest that runs the agent does not need it)

    try:
        with file.open("wb") as out:
            out.write(b"#!/usr/bin/env python3\n")
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
                for name, content in sorted(_content().items()):
                    # A time of its own would make two files of the same sources differ.
                    packed.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
        file.chmod(0o755)
    except OSError as error:
        return _refuse(EXIT_USAGE, f"{file}: {error.strerror}", "Name another file with --pack.")
    return 0


def _content() -> Mapping[str, bytes]:
    home = Path(ringfence.__file__).parent
    sources = {f"ringfence/guest/{each.name}": each.read_bytes() for each in (home / "guest").glob("*.py")}
    return {"__main__.py": _MAIN.encode(), "ringfence/__init__.py": (home / "__init__.py").read_bytes(), **sources}
