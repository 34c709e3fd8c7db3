"""The host as a picture: what erred, how much, and what was taken out of use."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence.cli.main import main
from ringfence.diagnosis.spread import NOWHERE, Sighting
from ringfence.journal.state import State, replay
from ringfence.journal.store import Reader
from ringfence.record.evidence import Location
from ringfence.views.host_picture import DAY_MS, PAGES_SHOWN, PARTS_SHOWN, Ingredients, picture
from ringfence.world.identities import CpuId, Frame
from ringfence.world.situation import Suspect


def seen(at_ms: int, count: int = 1, syndrome: int | None = None, place: Location = NOWHERE) -> Sighting:
    return Sighting(at_ms, count, syndrome, Frame(7), None, place)


def state_of(**history: list[Sighting]) -> State:
    """A state in which DIMMs of these names erred."""
    known = {(Suspect.DIMM, name): deque(sightings) for name, sightings in history.items()}
    return State(now_ms=2 * DAY_MS, epoch_ms=1_000, boot="3", history=known)


def test_a_module_has_its_place_its_counts_and_its_times() -> None:
    sightings = [seen(5, 3, 0xA), seen(2 * DAY_MS - 1, 2, 0xB, Location(socket=1, channel=2, slot=0, rank=1))]
    shown = picture(Ingredients.of(state_of(A1=sightings)), "model")
    (module,) = shown.dimms
    assert (module.name, module.errors, module.errors_day, module.distinct) == ("A1", 5, 2, 2)
    assert (module.socket, module.channel, module.slot, module.rank) == (1, 2, 0, None)
    assert (module.first_wall_ms, module.last_wall_ms) == (1_005, 2 * DAY_MS + 999)
    assert (shown.hypervisor, shown.boot, shown.now_wall_ms) == ("model", "3", 2 * DAY_MS + 1_000)


def test_a_module_that_never_erred_is_drawn_where_firmware_names_it_and_once_only() -> None:
    state = state_of(A1=[seen(5)])
    state.modules = {"A1": "4711", "B2": "4712"}
    shown = picture(Ingredients.of(state), "model")
    assert [(each.name, each.errors, each.stage) for each in shown.dimms] == [("A1", 1, ""), ("B2", 0, "")]


def test_a_page_that_is_bad_stays_so_over_a_reboot_that_puts_it_back() -> None:
    state = state_of()
    state.faults.pages = {Frame(7): 1, Frame(8): 512}
    state.faults.back_pages = {Frame(8)}
    state.faults.cpus = {CpuId(3): None, CpuId(1): None}
    state.faults.back_cpus = {CpuId(1)}
    state.offlined = {"A1": {Frame(7): 1}}
    state.history[Suspect.PAGE, "0x7"] = deque([seen(1, 4)])
    shown = picture(Ingredients.of(state), "model")
    first, second = shown.pages
    assert (first.frame, first.address, first.dimm, first.errors, first.out_of_use) == (7, "0x7000", "A1", 4, True)
    assert (second.frame, second.pages, second.out_of_use, second.stays_bad) == (8, 512, False, True)
    assert [(each.cpu, each.out_of_use) for each in shown.cpus] == [(1, False), (3, True)]


def test_without_a_wall_clock_there_is_no_time_of_day() -> None:
    state = state_of(A1=[seen(5)])
    state.epoch_ms = None
    shown = picture(Ingredients.of(state), "model")
    assert shown.now_wall_ms is None
    assert shown.dimms[0].last_wall_ms is None


def test_what_is_beyond_the_bounds_is_counted_and_what_erred_last_is_shown() -> None:
    state = state_of(**{f"d{number:04}": [seen(number)] for number in range(PARTS_SHOWN + 3)})
    for number in range(PAGES_SHOWN + 5):
        state.history[Suspect.PAGE, f"{number:#x}"] = deque([Sighting(number, 1, None, Frame(number))])
    shown = picture(Ingredients.of(state), "model")
    assert len(shown.dimms) == PARTS_SHOWN
    assert shown.dimms[0].name == "d0003"
    assert shown.parts_beyond == 3
    assert (len(shown.pages), shown.pages_beyond) == (PAGES_SHOWN, 5)
    assert shown.pages[0].frame == PAGES_SHOWN + 4


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "journal.sqlite"
    assert CliRunner().invoke(main, ["demo", "--speed", "0", "--json", "--journal", str(path)]).exit_code == 0
    return path


def test_the_demos_stuck_cell_shows_in_page_rank_and_module(demo: Path) -> None:
    with Reader(demo) as reader:
        state = replay(reader.events())
    shown = picture(Ingredients.of(state), "model")
    assert shown.dimms
    for module in shown.dimms:
        ranks = [each for each in shown.ranks if each.name.startswith(f"{module.name} rank")]
        assert module.errors == sum(each.errors for each in ranks)
        assert {each.channel for each in ranks} == {module.channel}
    worst = max(shown.pages, key=lambda each: each.errors)
    assert worst.errors >= 10
    assert worst.out_of_use
