"""Who may do what: by the kernel's word on who connected, and what the configuration grants."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import pytest

from ringfence.decision.policy import Operation
from ringfence.diagnosis.fault_case import Ending
from ringfence.service import control_protocol as say
from ringfence.service.configuration.rights import Grant, Rights
from ringfence.service.rights import NEEDED, Peer, Right, Roster, allows
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame
from tests.service.processes import PATIENCE_S, Service, service

ME, READER, STRANGER = Peer(1, 1000, frozenset({1000})), Peer(1, 4001, frozenset({77})), Peer(1, 4002, frozenset({78}))
NOBODY = pwd.getpwnam("nobody")
ROOT_GROUP, DAEMON_GROUP = grp.getgrgid(0).gr_name, grp.getgrgid(1).gr_name

REQUESTS: tuple[say.Request, ...] = (
    say.Status(),
    say.Events(),
    say.Cases(),
    say.Domains(),
    say.Approvals(),
    say.Parts(),
    say.PageQuery(frame=Frame(1)),
    say.Metrics(),
    say.Approve(case=CaseId(1), domain=DomainId(1), operation=Operation.PAUSE, granted=True),
    say.Do(operation=Operation.PAUSE, domain="x"),
    say.Unpause(domain="x"),
    say.Page(to=say.Switch.OFFLINE, frame=Frame(1)),
    say.Cpu(to=say.Switch.ONLINE, cpu=CpuId(1)),
    say.Clear(part="x", how=Ending.REPAIRED),
    say.Reload(),
    say.TestWebhook(name="x"),
)

MAY = {
    "Status": "read approve operate administer",
    "Events": "read approve operate administer",
    "Cases": "read approve operate administer",
    "Domains": "read approve operate administer",
    "Approvals": "read approve operate administer",
    "PageQuery": "read approve operate administer",
    "Parts": "read approve operate administer",
    "Metrics": "read approve operate administer",
    "Approve": "approve operate administer",
    "Do": "operate administer",
    "Unpause": "operate administer",
    "Page": "operate administer",
    "Cpu": "operate administer",
    "Clear": "administer",
    "Reload": "administer",
    "TestWebhook": "administer",
}


def test_every_right_is_tried_with_every_request() -> None:
    assert {type(each) for each in REQUESTS} == set(get_args(say.Request)) == set(NEEDED)
    found = {type(each).__name__: " ".join(right for right in Right if allows(right, each)) for each in REQUESTS}
    assert found == MAY


def test_each_right_holds_those_before_it() -> None:
    assert {right: right.held for right in Right} == {
        Right.NOTHING: (),
        Right.READ: (Right.READ,),
        Right.APPROVE: (Right.READ, Right.APPROVE),
        Right.OPERATE: (Right.READ, Right.APPROVE, Right.OPERATE),
        Right.ADMINISTER: (Right.READ, Right.APPROVE, Right.OPERATE, Right.ADMINISTER),
    }


@pytest.mark.parametrize(
    ("peer", "roster", "right"),
    [
        (Peer(1, 0, frozenset({0})), Roster(), Right.ADMINISTER),
        (ME, Roster(), Right.ADMINISTER),
        (READER, Roster(), Right.NOTHING),
        (READER, Roster(groups={77: Right.READ}), Right.READ),
        (STRANGER, Roster(groups={77: Right.READ}), Right.NOTHING),
        (Peer(1, 4002, frozenset({78, 77})), Roster(groups={77: Right.APPROVE}), Right.APPROVE),
        (READER, Roster({4001: Right.READ}, {77: Right.OPERATE}), Right.OPERATE),
        (READER, Roster({4001: Right.OPERATE}, {77: Right.READ}), Right.OPERATE),
        (STRANGER, Roster({4001: Right.ADMINISTER}, {77: Right.ADMINISTER}), Right.NOTHING),
    ],
)
def test_a_peer_has_the_most_that_its_user_or_one_of_its_groups_was_given(
    peer: Peer, roster: Roster, right: Right
) -> None:
    assert roster.right_of(peer, own_uid=1000) is right


def test_a_name_that_is_granted_twice_has_the_greater_right_and_one_that_nobody_knows_gives_nothing() -> None:
    rights = Rights(
        administer=Grant(users=("nobody",)),
        read=Grant(users=("nobody", "no-such-user"), groups=(ROOT_GROUP, "no-such-group")),
    )
    roster = Roster.of(rights)
    assert roster.users == {NOBODY.pw_uid: Right.ADMINISTER}
    assert roster.groups == {0: Right.READ}
    assert roster.unknown == ("user no-such-user", "group no-such-group")


@pytest.mark.parametrize(
    ("roster", "door"),
    [
        (Roster(), (0o600, None)),
        (Roster(groups={77: Right.READ}), (0o660, 77)),
        (Roster(groups={77: Right.READ, 78: Right.OPERATE}), (0o666, None)),
        (Roster(users={4001: Right.READ}), (0o666, None)),
        (Roster({4001: Right.READ}, {77: Right.READ}), (0o666, None)),
    ],
)
def test_the_sockets_file_lets_in_as_few_as_can_be(roster: Roster, door: tuple[int, int | None]) -> None:
    assert roster.door == door


_CONNECTED = """
import os, socket, sys
os.setgroups([7, 8, 9]); os.setgid(5); os.setuid(int(sys.argv[2]))
made = socket.socket(socket.AF_UNIX); made.connect(sys.argv[1]); made.recv(1)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_kernel_says_who_connected_with_all_groups() -> None:
    # pytest's own directories are closed to everybody else
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        Path(directory).chmod(0o755)
        path = Path(directory) / "s"
        listening.settimeout(PATIENCE_S)
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o666)
        process = subprocess.Popen([sys.executable, "-c", _CONNECTED, str(path), str(NOBODY.pw_uid)])
        connection, _ = listening.accept()
        peer = Peer.of(connection)
        connection.close()
        process.wait(timeout=PATIENCE_S)
    assert peer == Peer(process.pid, NOBODY.pw_uid, frozenset({5, 7, 8, 9}))
    assert peer.in_words() == f"nobody (uid {NOBODY.pw_uid}, pid {process.pid})"


# --- on a running service -------------------------------------------------------------------------------------------

_AS = """
import os, socket, sys
os.setgroups([int(each) for each in sys.argv[3].split()]); os.setgid(65534); os.setuid(65534)
made = socket.socket(socket.AF_UNIX); made.connect(sys.argv[1])
made.sendall(sys.argv[2].encode()); made.shutdown(socket.SHUT_WR)
while said := made.recv(4096): sys.stdout.write(said.decode())
"""


def said_to(of: Service, asked: str, groups: str = "") -> str:
    """What a user without any name is answered, with these supplementary groups."""
    command = [sys.executable, "-c", _AS, str(of.socket), asked, groups]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S).stdout


STATUS = '{"request":"status"}\n'
PAUSE = '{"request":"do","operation":"pause","domain":"mail-hvm"}\n'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_rights_come_from_the_configuration_and_go_with_it(tmp_path: Path) -> None:
    config = tmp_path / "ringfence.toml"
    config.write_text(f'[rights]\nread.groups = ["{ROOT_GROUP}"]\noperate.groups = ["{DAEMON_GROUP}"]\n')
    with service("--config", str(config)) as running:
        running.start()
        running.socket.parent.chmod(0o755)
        assert '"code":"not allowed"' in said_to(running, STATUS)
        assert '"you_may":["read"]' in said_to(running, STATUS, "0")
        assert "this needs the right to operate" in said_to(running, PAUSE, "0")
        assert '"you_may":["read","approve","operate"]' in said_to(running, STATUS, "0 1")
        assert '"reply":"done"' in said_to(running, PAUSE, "1")
        assert '"code":"not allowed"' in said_to(running, '{"request":"reload"}\n', "1")
        config.write_text("")
        assert isinstance(running.ask(say.Reload()), say.Reloaded)
        assert running.socket.stat().st_mode & 0o777 == 0o600
        running.socket.chmod(0o666)
        assert '"code":"not allowed"' in said_to(running, STATUS, "0 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_right_that_is_taken_away_does_not_outlive_its_connection(tmp_path: Path) -> None:
    config = tmp_path / "ringfence.toml"
    config.write_text('[rights.read]\ngroups = ["daemon"]\n'.replace("daemon", DAEMON_GROUP))
    program = """
import os, socket, sys
os.setgroups([1]); os.setgid(65534); os.setuid(65534)
made = socket.socket(socket.AF_UNIX); made.connect(sys.argv[1]); lines = made.makefile()
for _ in sys.stdin:
    made.sendall(b'{"request":"status"}\\n'); print(lines.readline().strip(), flush=True)
"""
    with service("--config", str(config)) as running:
        running.start()
        running.socket.parent.chmod(0o755)
        client = subprocess.Popen(
            [sys.executable, "-c", program, str(running.socket)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write("\n")
        client.stdin.flush()
        before = client.stdout.readline()
        config.write_text("")
        running.ask(say.Reload())
        after, _ = client.communicate("\n", timeout=PATIENCE_S)
    assert '"reply":"health"' in before
    assert '"code":"not allowed"' in after
