"""Examples that are run: a page's console blocks hold what the program really prints.

In a page, a fence that follows ``<!-- file: NAME -->`` is an input file. Each line ``$ command`` of a ``console`` fence
is run by ``sh`` in a directory with these files; what it prints (standard output, then standard error) stands below it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_FILE = re.compile(r"^<!-- file: (?P<name>[\w.-]+) -->\n```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 30
"""No example works for more than a second; a hanging one must not hang the check."""


def _run(command: str, folder: Path) -> str:
    tools = Path(sys.executable).parent
    environment = {"PATH": f"{tools}{os.pathsep}{os.defpath}", "COLUMNS": "110", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run(  # noqa: S603 (the commands are those of our own pages)
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.stdout + done.stderr


def commands(page: str) -> list[str]:
    """The commands of a page's console fences, in order."""
    return [
        line.removeprefix("$ ")
        for fence in _CONSOLE.finditer(page)
        for line in fence["body"].splitlines()
        if line.startswith("$ ")
    ]


def renewed(page: str) -> str:
    """The page with the output below each command as the program prints it now."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in _FILE.finditer(page):
            (folder / file["name"]).write_text(file["text"], encoding="utf-8")

        def fence(match: re.Match[str]) -> str:
            shown = "\n".join(f"$ {command}\n{_run(command, folder)}" for command in commands(match[0]))
            return f"```console\n{shown}```"

        return _CONSOLE.sub(fence, page)
