"""What limits the interrupts of corrected errors, read back from a directory that has a host's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.service.sources.host_facts import HostFiles, Topic
from ringfence.service.sources.interrupt_throttle import throttle


def put(root: Path, cpu: int = 0, **files: str) -> None:
    for name, text in files.items():
        path = root / f"sys/devices/system/machinecheck/machinecheck{cpu}" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def said(root: Path) -> list[tuple[str, str]]:
    return [(each.text, each.evidence) for each in throttle(HostFiles(root))]


def test_a_machine_without_settings_is_said_to_have_none(tmp_path: Path) -> None:
    (found,) = throttle(HostFiles(tmp_path))
    assert found.topic is Topic.THROTTLE and "cannot be limited" in found.consequence


def test_an_intel_machine_as_it_starts(tmp_path: Path) -> None:
    put(tmp_path, check_interval="300\n", cmci_disabled="0\n", ignore_ce="0\n")
    assert said(tmp_path) == [
        ("corrected errors interrupt where the processor can (CMCI)", "0"),
        ("banks are polled every 300 s at the slowest", "300"),
    ]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (
            {"cmci_disabled": "1", "check_interval": "60"},
            "corrected errors do not interrupt (CMCI is off): they are polled",
        ),
        ({"ignore_ce": "1", "check_interval": "60"}, "corrected errors are ignored"),
        ({"cmci_disabled": "0", "check_interval": "0"}, "banks are not polled"),
    ],
)
def test_each_setting_is_told(tmp_path: Path, files: dict[str, str], text: str) -> None:
    put(tmp_path, 0, **files)
    assert text in [found for found, _ in said(tmp_path)]


def test_amds_counters_are_told_together_with_their_limits(tmp_path: Path) -> None:
    for cpu in (0, 1):
        put(tmp_path, cpu, umc_0__dram_ecc__threshold_limit="4095\n", umc_0__dram_ecc__interrupt_enable="1\n")
    put(tmp_path, l3_cache_0__l3_cache_0__threshold_limit="10\n", l3_cache_0__l3_cache_0__interrupt_enable="0\n")
    ((text, evidence),) = said(tmp_path)
    assert text == "2 of 3 threshold counters (AMD) interrupt, after 10 to 4095 errors each"
    assert evidence == "threshold_limit=10"


def test_a_counter_without_an_interrupt_is_said_so(tmp_path: Path) -> None:
    put(tmp_path, umc_0__dram_ecc__threshold_limit="4095\n")
    assert said(tmp_path)[0][0] == "none of 1 threshold counters (AMD) interrupts"


@pytest.mark.parametrize("text", ["", "no number", "9" * 40, "-1", "\x00"])
def test_a_file_that_says_nonsense_is_left_out(tmp_path: Path, text: str) -> None:
    put(tmp_path, check_interval=text, umc_0__dram_ecc__threshold_limit=text)
    assert said(tmp_path) == []
