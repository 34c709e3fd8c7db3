#!/usr/bin/env python3
"""Everything that a newcomer and a developer runs: set-up, the main job, the tests, the checks.

Needs nothing but Python 3.11 and pip: it makes ``.venv`` beside itself, fetches uv into it, and lets uv install what
pyproject.toml asks for at the versions of constraints.txt. The system's own Python is never touched (PEP 668).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
EXTRAS = "columnar,console,web,dev"
STAMP = VENV / ".set-up"
INPUTS = ("pyproject.toml", "constraints.txt", "dev.py")


def run(*command: str | Path) -> int:
    """Run a command in the project's root, its output shown; returns its exit code."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "UV_NO_PROGRESS": "1"}
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=False).returncode


def must(*command: str | Path) -> None:
    """Run a command; leave with its exit code if it fails."""
    if code := run(*command):
        sys.exit(code)


def set_up() -> None:
    """Make or refresh ``.venv``; nothing is done while its inputs are unchanged."""
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever runs this may have an older Python)
        sys.exit("Ringfence needs Python 3.11 or newer; this is " + sys.version.split()[0])
    state = hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in INPUTS)).hexdigest()
    if STAMP.exists() and STAMP.read_text() == state:
        return
    print("setting up .venv (once) ...", file=sys.stderr, flush=True)
    if not (BIN / "python").exists():
        must(sys.executable, "-m", "venv", "--without-pip", VENV)
    uv = shutil.which("uv") or str(BIN / "uv")
    if not Path(uv).exists():
        must(sys.executable, "-m", "pip", "--python", BIN / "python", "install", "--quiet", "uv")
    must(uv, "pip", "install", "--quiet", "--python", BIN / "python", "-c", "constraints.txt", "-e", f".[{EXTRAS}]")
    STAMP.write_text(state)


CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("format", ("ruff", "format", "--check", ".")),
    ("lint", ("ruff", "check", ".")),
    ("types", ("mypy",)),
    ("layers", ("lint-imports",)),
    ("docs", ("python", "-m", "docs.generate", "--check")),
    ("tests", ("pytest", "-n", "2")),
)


def check() -> int:
    """Format, lint, types, layers, docs and tests; says which failed."""
    failed = []
    for name, (tool, *arguments) in CHECKS:
        print(f"--- {name}", flush=True)
        if run(BIN / tool, *arguments):
            failed.append(name)
    print("failed: " + ", ".join(failed) if failed else "all checks passed")
    return 1 if failed else 0


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def browser(arguments: list[str]) -> int:
    """The console's tests in a real browser: the one that is installed, for none is downloaded."""
    chromium = os.environ.get("RINGFENCE_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        sys.exit(
            "the console's tests need Chromium, and there is none here.\n"
            "  Debian: apt-get install chromium. Elsewhere: set RINGFENCE_CHROMIUM to the program's path."
        )
    uv = shutil.which("uv") or BIN / "uv"
    must(uv, "pip", "install", "--quiet", "--python", BIN / "python", "-c", "constraints.txt", "-e", ".[browser]")
    os.environ["RINGFENCE_CHROMIUM"] = chromium
    return run(BIN / "pytest", *(arguments or ["tests/browser"]))


LAB = (("qemu-system-x86_64", "qemu-system-x86"), ("setpriv", "util-linux"), ("dpkg-deb", "dpkg"))


def lab(arguments: list[str]) -> int:
    """The tests on real hypervisors under software emulation. What they need is said, not skipped over."""
    if missing := [package for program, package in LAB if shutil.which(program) is None]:
        sys.exit(
            "the lab needs programs that are not here.\n"
            f"  Debian: apt-get install --no-install-recommends {' '.join(missing)}. Elsewhere it does not run."
        )
    # As a module: the labs are no part of the package, and are found from here.
    # Xen's machines and KVM's each have a processor: side by side, the two labs take the time of one.
    both = ("-n", "2", "lab/tests")
    return run(BIN / "python", "-m", "pytest", "-v", "-p", "lab.passed", *(arguments or both))


HANDED_ON = {
    "run": "run ringfence (default: the demo)",
    "test": "run the tests",
    "browser": "run the console's tests in the Chromium here",
    "lab": "run the tests on real hypervisors under emulation",
}
"""The commands that hand their arguments on, and what each does."""


def main() -> int:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, says in HANDED_ON.items():
        commands.add_parser(name, help=f"set up, then {says}; what follows is handed on", add_help=False)
    commands.add_parser("check", help="set up, then format check, lint, types, layers, docs, tests")
    commands.add_parser("fix", help="format and fix what can be fixed")
    commands.add_parser("docs", help="write the generated reference pages anew")
    commands.add_parser("lock", help="write constraints.txt anew from pyproject.toml")
    options, arguments = parser.parse_known_args()
    if arguments and options.command not in HANDED_ON:
        parser.error(f"{options.command} takes no arguments")
    set_up()
    match options.command:
        case "run":
            return run(BIN / "ringfence", *(arguments or ["demo"]))
        case "test":
            return run(BIN / "pytest", "-n", "2", *arguments)
        case "browser":
            return browser(arguments)
        case "lab":
            return lab(arguments)
        case "check":
            return check()
        case "fix":
            return run(BIN / "ruff", "check", "--fix", ".") or run(BIN / "ruff", "format", ".")
        case "docs":
            return run(BIN / "python", "-m", "docs.generate")
        case _:
            uv = shutil.which("uv") or BIN / "uv"
            return run(
                uv, "pip", "compile", "--quiet", "--universal", "--all-extras", "--upgrade", "--no-header",
                "--no-annotate", "--no-emit-index-url", "-o", "constraints.txt", "pyproject.toml",
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
