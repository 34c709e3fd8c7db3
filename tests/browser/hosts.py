"""A real ``ringfence run`` with the HTTP API switched on, on a port of its own, that can be stopped and started."""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import sample
from typing import IO

from tests.service.processes import ASKING, RINGFENCE

PATIENCE_S = 60.0
"""For a service to come up; it takes about one second on an idle machine."""

HOSTILE = "<img src=x onerror=alert(1)>"
"""A domain's name: guests and toolstacks choose what they like."""

APPROVING = """
approve = ["destroy"]
[deadlines]
approval = "10min"
[otherwise]
on_ue = "operate"
on_srar = "operate"
operations = ["destroy"]
"""
"""Whatever is done to a domain waits for a person, longer than a test lasts."""


QUIET = """
based_on = "quiet"
mishaps = {}
[[guests]]
name = "still"
kind = "HVM"
"""
"""A scenario in which nothing happens: what comes into a list is what a test puts there."""


NOBODY = '[[webhook]]\nname = "pager"\nurl = "http://127.0.0.1:1/"\n'
"""A receiver that is not there: nothing listens at port 1 (tcpmux, RFC 1078)."""

FAULTY = (
    "Feb  3 04:05:06 host kernel: EDAC MC0: 30 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 "
    "slot:0 page:0x12345 offset:0x40 grain:32 syndrome:0x0 -  area:DRAM err_code:0001:0091 socket:0 ha:0 "
    "channel_mask:2 rank:1)\n"
)
"""What a kernel wrote of a DIMM whose one page erred thirty times: both pass their thresholds, then nothing happens."""


def asking(*names: str) -> str:
    """A scenario in which guests of these names lose pages, more than one a second, and nothing halts the host."""
    guests = "".join(f"[[guests]]\nname = '{name}'\nkind = 'HVM'\n" for name in names)
    return f"{ASKING}{guests}"


@dataclass(slots=True)
class Host:
    """One service with its directory. ``policy`` and ``scenario`` are texts: None is the default, and the demo;
    ``more`` is what its configuration has besides. With a ``log`` nothing is played: it stands in for the machine that
    wrote it.
    """

    directory: Path
    policy: str | None = None
    scenario: str | None = None
    port: int = 0
    more: str = ""
    log: str | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log: IO[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def write(self) -> None:
        """Write its files, and find it a port."""
        self.port = self.port or _free_port()
        (self.directory / "state").mkdir(parents=True, exist_ok=True)
        if self.policy is not None:
            (self.directory / "policy.toml").write_text(self.policy, encoding="utf-8")
        (self.directory / "ringfence.toml").write_text(
            f'[http]\nenabled = true\nlisten = ["127.0.0.1:{self.port}"]\n{self.more}', encoding="utf-8"
        )
        if self.log is not None:
            (self.directory / "kernel.log").write_text(self.log, encoding="utf-8")
        if self.scenario is not None:
            (self.directory / "scenario.toml").write_text(self.scenario, encoding="utf-8")

    def command(self, *arguments: str) -> str:
        """Run a ringfence command about this host, and give what it prints."""
        command = [str(RINGFENCE), *arguments, "--state-dir", str(self.directory / "state")]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def token(self, name: str, scopes: str) -> str:
        return self.command("token", "create", "--name", name, "--scope", scopes).strip()

    def start(self) -> None:
        self._log = (self.directory / "log").open("ab")
        played = ("--scenario", "demo" if self.scenario is None else str(self.directory / "scenario.toml"))
        heard = ("--source", f"file:{self.directory / 'kernel.log'}")
        self._process = subprocess.Popen(
            [
                *(RINGFENCE, "run", "--hypervisor", "model"),
                *("--config", str(self.directory / "ringfence.toml")),
                *(() if self.policy is None else ("--policy", str(self.directory / "policy.toml"))),
                *("--state-dir", str(self.directory / "state"), *(played if self.log is None else heard)),
            ],
            stdout=self._log,
            stderr=self._log,
        )
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError(f"the service does not serve:\n{(self.directory / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _free_port() -> int:
    """A port that nobody has, and that the kernel gives to no connection of its own accord: those begin at 32768
    (ip_local_port_range), and one that had it would be taken for the service, or keep it away.
    """
    for port in sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port of a hundred is free")
