"""What an agent does about pages, on files that are read and written, with hook scripts and processes that run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from errno import EBUSY, EIO
from pathlib import Path

import pytest

from ringfence.guest.healing import ATTEMPTS, Healed, Healer
from ringfence.guest.hooks import VETO
from ringfence.guest.pages import Flag, Owner, Pages
from ringfence.guest.policy import OwnerAction, PageAction, Policy
from ringfence.guest.protocol import Ability, Deed, Outcome, Range, Told, What
from tests.guest.kernel import PAGES, Kernel


def told(what: What = What.LOST, *pages: int, size: int = 4096, deadline_ms: int = 20_000) -> Told:
    return Told(
        id=1, case=2, what=what, must_act=what is What.LOST, deadline_ms=deadline_ms,
        ranges=tuple(Range(page * 4096, size) for page in pages or (5,)),
    )  # fmt: skip


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "root")


@pytest.fixture
def hooks(tmp_path: Path) -> Callable[[str, str], Path]:
    home = tmp_path / "hooks"
    home.mkdir(mode=0o755)

    def add(name: str, script: str) -> Path:
        (home / name).write_text(f"#!/bin/sh\n{script}\n")
        (home / name).chmod(0o755)
        return home

    return add


def outcome(healed: Healed) -> tuple[Outcome, tuple[Deed, ...]]:
    return healed.answer.outcome, healed.answer.did


def test_a_lost_page_is_given_up_and_an_endangered_one_copied_away(kernel: Kernel) -> None:
    healer = Healer(Policy(), kernel)
    assert outcome(healer.heal(told(What.LOST, 5))) == (Outcome.HEALED, (Deed.HARD_OFFLINED,))
    assert outcome(healer.heal(told(What.ENDANGERED, 6, size=8192))) == (Outcome.HEALED, (Deed.SOFT_OFFLINED,))
    assert kernel.taken(kernel.hard_offline) == [5]
    assert kernel.taken(kernel.soft_offline) == [6, 7]
    assert kernel.flags(7) == Flag.HWPOISON
    assert kernel.corrupted_kib() == 12


def test_the_answer_is_for_the_message(kernel: Kernel) -> None:
    answer = Healer(Policy(), kernel).heal(told()).answer
    assert (answer.id, answer.case, answer.why) == (1, 2, "")


def test_a_page_that_is_out_of_use_already_is_not_touched_again(kernel: Kernel) -> None:
    kernel.mark(5, Flag.HWPOISON)
    assert outcome(Healer(Policy(), kernel).heal(told())) == (Outcome.HEALED, (Deed.OFFLINE_ALREADY,))
    assert not list(kernel.hard_offline.parent.glob("*.all"))


def test_pages_that_are_not_there_are_not_ours(kernel: Kernel) -> None:
    kernel.mark(6, Flag.NOPAGE)
    healer = Healer(Policy(), kernel)
    assert outcome(healer.heal(told(What.LOST, 6, PAGES + 1))) == (Outcome.NOT_OURS, ())
    healed = healer.heal(told(What.LOST, 5, 6))
    assert outcome(healed) == (Outcome.HEALED, (Deed.HARD_OFFLINED,))
    assert healed.answer.why == "1 of 2 pages are not of this guest"


def test_a_kernel_that_refuses_is_quoted(kernel: Kernel) -> None:
    kernel.refuses[5] = [EIO]
    healed = Healer(Policy(), kernel).heal(told(What.LOST, 5, 6))
    assert outcome(healed) == (Outcome.FAILED, (Deed.HARD_OFFLINED,))
    assert healed.answer.why == "1 of 2 pages stay in use; 0x5000: the kernel answers error 5"


def test_a_busy_page_is_tried_again_and_not_for_ever(kernel: Kernel) -> None:
    kernel.refuses = {5: [EBUSY] * (ATTEMPTS - 1), 6: [EBUSY] * ATTEMPTS}
    healer = Healer(Policy(), kernel)
    assert healer.heal(told(What.ENDANGERED, 5)).answer.outcome is Outcome.HEALED
    assert healer.heal(told(What.ENDANGERED, 6)).answer.outcome is Outcome.FAILED


def test_what_only_pretends_to_be_done_is_not_taken_for_done(kernel: Kernel, tmp_path: Path) -> None:
    kernel.pretends = {5}
    healed = Healer(Policy(), kernel).heal(told())
    assert healed.answer.outcome is Outcome.FAILED
    assert "0x5000: it is still in use all the same" in healed.answer.why
    blind = Kernel(tmp_path / "blind", shows=False)
    blind.pretends = {5}
    assert "HardwareCorrupted" in Healer(Policy(), blind).heal(told()).answer.why
    assert Healer(Policy(), blind).heal(told(What.LOST, 6)).answer.outcome is Outcome.HEALED


def test_where_the_kernel_shows_nothing_that_is_said(tmp_path: Path) -> None:
    blind = Kernel(tmp_path / "blind", shows=False)
    (tmp_path / "blind/proc/meminfo").write_text("MemTotal: 1 kB\n")
    blind.pretends = {5}
    assert Healer(Policy(), blind).heal(told()).answer.why == "the kernel does not show whether they are out of use"


def test_a_dry_run_and_a_policy_that_does_nothing_change_nothing(kernel: Kernel) -> None:
    dry = Healer(Policy(), kernel, dry_run=True).heal(told())
    assert outcome(dry) == (Outcome.REFUSED, (Deed.DRY_RUN,))
    assert dry.answer.why == "dry run: 1 page(s) would have been hard-offlined"
    idle = Policy(pages={What.LOST: PageAction.NOTHING, What.ENDANGERED: PageAction.NOTHING})
    assert outcome(Healer(idle, kernel).heal(told())) == (Outcome.REFUSED, ())
    assert kernel.flags(5) == Flag(0)


def test_more_pages_than_can_be_looked_at_are_refused_at_once(kernel: Kernel) -> None:
    healed = Healer(Policy(), kernel).heal(told(What.LOST, 0, size=1 << 30))
    assert healed.answer.why == "more than 4096 pages at once"


def test_what_it_can_do_is_seen_before_it_is_asked(kernel: Kernel, hooks: Callable[[str, str], Path]) -> None:
    policy = Policy(owner=OwnerAction.KILL, hooks=hooks("10-log", "true"))
    assert Healer(policy, kernel).can == (
        Ability.SOFT_OFFLINE, Ability.HARD_OFFLINE, Ability.FIND_OWNER, Ability.KILL, Ability.HOOKS,
    )  # fmt: skip
    assert Healer(Policy(), Pages(kernel.root / "nowhere")).can == ()


# --- owners ---------------------------------------------------------------------------------------------------------


def test_the_processes_that_map_a_page_are_found_with_their_units(kernel: Kernel) -> None:
    kernel.process(40, "post gres", [4, 5], "postgresql.service")
    kernel.process(41, "shell", [7])
    kernel.process(42, "other", [8, 5, 9])
    assert kernel.owners([5]) == [Owner(40, 4711, "post gres", "postgresql.service"), Owner(42, 4711, "other", "")]
    assert kernel.owners([6]) == []


def test_the_unit_of_a_process_is_the_system_s_and_no_group_that_a_user_has_named_so(kernel: Kernel) -> None:
    kernel.process(40, "mine", [5], "user@1000.service/app.slice/postgresql.service")
    assert [each.unit for each in kernel.owners([5])] == ["user@1000.service"]


def test_a_look_that_takes_too_long_ends_with_what_it_has(kernel: Kernel) -> None:
    kernel.process(40, "first", [5])
    kernel.process(41, "second", [5])
    times = iter([0.0, 0.0, 0.0, 99.0])
    assert [each.pid for each in kernel.owners([5], lambda: next(times, 99.0))] == [40]


def test_on_this_kernel_a_process_is_found_by_a_page_that_it_has() -> None:
    """The real /proc: pagemap shows frames to root alone."""
    own = Pages()
    entry = int.from_bytes(_pagemap_entry(), "little")
    frame = entry & ((1 << 55) - 1)
    if not entry >> 63 or not frame:
        pytest.skip("pagemap does not show frames here")
    assert os.getpid() in [each.pid for each in own.owners([frame])]


def _pagemap_entry() -> bytes:
    with Path("/proc/self/maps").open() as maps:
        address = next(int(line.split("-")[0], 16) for line in maps if "[heap]" in line or "[stack]" in line)
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        for page in range(address >> 12, (address >> 12) + 64):
            pagemap.seek(page * 8)
            if (entry := pagemap.read(8)) and entry[7] & 0x80:
                return entry
    return bytes(8)


def test_an_owner_is_killed_if_the_policy_says_so(kernel: Kernel) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        kernel.process(process.pid, "victim", [5])
        healed = Healer(Policy(owner=OwnerAction.KILL), kernel).heal(told(What.LOST, 5, 6))
        assert outcome(healed) == (Outcome.HEALED, (Deed.HARD_OFFLINED, Deed.KILLED))
        assert healed.answer.why == f"killed {process.pid} (victim)"
        assert process.wait(10) == -9


def test_a_process_that_came_after_the_owner_and_has_its_number_is_not_killed(
    kernel: Kernel, hooks: Callable[[str, str], Path]
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        kernel.process(process.pid, "victim", [5])
        stat = kernel.root / "proc" / str(process.pid) / "stat"
        home = hooks("meanwhile", f"sed -i s/4711/4712/ {stat}")
        healed = Healer(Policy(owner=OwnerAction.KILL, hooks=home), kernel).heal(told())
        assert Deed.KILLED not in healed.answer.did
        assert process.poll() is None
        process.kill()


def test_nobody_is_killed_for_an_endangered_page_by_default_or_in_a_dry_run(kernel: Kernel) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        kernel.process(process.pid, "bystander", [5])
        Healer(Policy(owner=OwnerAction.KILL), kernel).heal(told(What.ENDANGERED, 5))
        kernel.mark(5, Flag(0))
        Healer(Policy(owner=OwnerAction.KILL), kernel, dry_run=True).heal(told())
        Healer(Policy(), kernel).heal(told())
        assert process.poll() is None
        process.kill()


def test_init_and_the_agent_itself_are_never_killed(kernel: Kernel) -> None:
    kernel.process(os.getpid(), "agent", [5])
    healed = Healer(Policy(owner=OwnerAction.KILL), kernel).heal(told())
    assert healed.answer.why == "init and the agent are not killed"


def test_a_unit_is_restarted_if_it_is_named_and_no_other(kernel: Kernel, tmp_path: Path) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    systemctl.chmod(0o755)
    kernel.process(40, "a", [5], "one.service")
    kernel.process(41, "b", [5], "two.service")
    policy = Policy(owner=OwnerAction.RESTART_UNIT, units=frozenset({"one.service"}))
    healed = Healer(policy, kernel, systemctl=str(systemctl)).heal(told())
    assert outcome(healed) == (Outcome.HEALED, (Deed.HARD_OFFLINED, Deed.RESTARTED_UNIT))
    assert healed.answer.why == "restarted one.service; two.service is not among the units that may be restarted"
    assert (tmp_path / "said").read_text() == "--no-ask-password restart -- one.service\n"
    systemctl.write_text("#!/bin/sh\nexit 3\n")
    kernel.mark(5, Flag(0))
    again = Healer(policy, kernel, systemctl=str(systemctl)).heal(told())
    assert again.answer.did == (Deed.HARD_OFFLINED,)
    assert "systemctl ended with 3" in again.answer.why


# --- hooks ----------------------------------------------------------------------------------------------------------


def test_hooks_run_before_and_after_with_what_they_need_to_know(
    kernel: Kernel, hooks: Callable[[str, str], Path], tmp_path: Path
) -> None:
    kernel.process(40, "post\ngr:es;`a`", [5], "postgresql.service")
    home = hooks("20-second", f"echo second $RINGFENCE_STAGE >> {tmp_path}/said")
    hooks("10-first", f"env | grep ^RINGFENCE | sort >> {tmp_path}/said")
    hooks("30.dpkg-old", f"echo never >> {tmp_path}/said")
    healed = Healer(Policy(hooks=home), kernel).heal(told(What.LOST, 5, 6))
    assert outcome(healed) == (Outcome.HEALED, (Deed.RAN_HOOK, Deed.HARD_OFFLINED))
    assert (
        (tmp_path / "said").read_text()
        == """\
RINGFENCE_CASE=2
RINGFENCE_DRY_RUN=0
RINGFENCE_MUST_ACT=1
RINGFENCE_OUTCOME=
RINGFENCE_OWNERS=40:post_gr_es_a_:postgresql.service
RINGFENCE_PAGES=0x5000 0x6000
RINGFENCE_STAGE=before
RINGFENCE_WHAT=lost
second before
RINGFENCE_CASE=2
RINGFENCE_DRY_RUN=0
RINGFENCE_MUST_ACT=1
RINGFENCE_OUTCOME=healed
RINGFENCE_OWNERS=40:post_gr_es_a_:postgresql.service
RINGFENCE_PAGES=0x5000 0x6000
RINGFENCE_STAGE=after
RINGFENCE_WHAT=lost
second after
"""
    )


def test_a_hook_can_say_no_beforehand(kernel: Kernel, hooks: Callable[[str, str], Path]) -> None:
    healed = Healer(Policy(hooks=hooks("no", f"exit {VETO}")), kernel).heal(told())
    assert outcome(healed) == (Outcome.REFUSED, (Deed.RAN_HOOK,))
    assert healed.answer.why == "hook no: it ended with 75"
    assert kernel.flags(5) == Flag(0)


def gone(sleeper: Path) -> bool:
    """Whether a process that was killed ends: the kernel does that in its own time."""
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            if b"sleep" not in sleeper.read_bytes():
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_a_hook_that_fails_or_hangs_stops_nothing_and_leaves_no_process(
    kernel: Kernel, hooks: Callable[[str, str], Path], tmp_path: Path
) -> None:
    home = hooks("a-fails", "exit 1")
    hooks("b-hangs", f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    healed = Healer(Policy(hooks=home, hook_s=1), kernel).heal(told(deadline_ms=1_200))
    assert outcome(healed) == (Outcome.HEALED, (Deed.RAN_HOOK, Deed.HARD_OFFLINED))
    assert [(each.name, each.code) for each in healed.hooks] == [
        ("a-fails", 1), ("b-hangs", None), ("a-fails", 1), ("b-hangs", None),
    ]  # fmt: skip
    sleeper = Path("/proc") / (tmp_path / "pid").read_text().strip() / "cmdline"
    assert gone(sleeper)


def test_a_hook_that_others_could_write_is_not_run(kernel: Kernel, hooks: Callable[[str, str], Path]) -> None:
    home = hooks("open", f"exit {VETO}")
    (home / "open").chmod(0o777)
    healed = Healer(Policy(hooks=home), kernel).heal(told())
    assert healed.answer.outcome is Outcome.HEALED
    assert [(each.name, each.why) for each in healed.hooks] == [("open", "others may write it")]
    (home / "open").chmod(0o755)
    home.chmod(0o777)
    assert Healer(Policy(hooks=home), kernel).heal(told()).hooks[0].why == "others may write it"
