"""Who else acts on the same errors, read from a directory that has a host's files."""

from __future__ import annotations

from pathlib import Path

from ringfence.service.sources.host_facts import HostFiles, Topic, is_firmware_first, statements


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_host_with_nothing_of_interest_has_nothing_said_of_it(tmp_path: Path) -> None:
    put(tmp_path, proc__cmdline="root=/dev/sda1 quiet\n")
    assert statements(HostFiles(tmp_path, ("usb 1-1: new device",))) == ()


def test_the_collector_of_corrected_errors_is_found_with_its_settings(tmp_path: Path) -> None:
    put(tmp_path, sys__kernel__debug__ras__cec__action_threshold="1023\n")
    (found,) = statements(HostFiles(tmp_path))
    assert (found.topic, found.evidence) == (Topic.RAS_CEC, "action_threshold=1023")


def test_kernel_parameters_that_matter_are_named_word_for_word(tmp_path: Path) -> None:
    put(tmp_path, proc__cmdline="ro mce=no_cmci mce=2,100 ras=cec_disable ghes.disable=1 mce=nonsense")
    found = [each.evidence for each in statements(HostFiles(tmp_path))]
    assert found == ["mce=no_cmci", "mce=2,100", "ras=cec_disable", "ghes.disable=1"]


def test_rasdaemon_isolates_pages_unless_it_is_told_not_to(tmp_path: Path) -> None:
    # Its default is soft, 50 in 24 h (misc/rasdaemon.env)
    proc = "proc__123__comm"
    put(tmp_path, **{proc: "rasdaemon\n"})
    by_default = statements(HostFiles(tmp_path))
    assert [each.topic for each in by_default] == [Topic.DAEMON, Topic.PAGE_ISOLATION]
    assert "50 corrected errors in 24h" in by_default[1].text
    put(tmp_path, etc__sysconfig__rasdaemon='# x\nPAGE_CE_ACTION="off"\nCPU_ISOLATION_ENABLE="yes"\n')
    told = statements(HostFiles(tmp_path))
    assert [each.evidence for each in told] == ["rasdaemon", "CPU_ISOLATION_ENABLE=yes"]


def test_mcelog_takes_records_away_and_pages_out_of_use(tmp_path: Path) -> None:
    put(tmp_path, proc__7__comm="mcelog\n", etc__mcelog__mcelog="")
    put(
        tmp_path / "etc" / "mcelog",
        **{"mcelog.conf": "[page]\nmemory-ce-threshold = 2 / 24h\nmemory-ce-action = soft\n"},
    )
    found = statements(HostFiles(tmp_path))
    assert "must not read that device" in found[0].consequence
    assert "2 / 24h" in found[1].text and found[1].evidence == "memory-ce-action = soft"


def test_a_firmware_first_host_is_recognised_by_what_its_kernel_said(tmp_path: Path) -> None:
    log = (
        "[    0.5] GHES: APEI firmware first mode is enabled by APEI bit and WHEA _OSC.",
        "[    0.6] HEST: Enabling Firmware First mode for corrected errors.",
    )
    found = statements(HostFiles(tmp_path, log))
    assert is_firmware_first(found) and [each.evidence for each in found] == list(log)


def test_a_table_alone_does_not_make_a_host_firmware_first(tmp_path: Path) -> None:
    put(tmp_path, sys__firmware__acpi__tables__HEST="", sys__firmware__acpi__tables__EINJ="")
    found = statements(HostFiles(tmp_path))
    assert len(found) == 2 and not is_firmware_first(found)


def test_a_kernel_that_panics_at_every_uncorrected_error_is_told(tmp_path: Path) -> None:
    put(tmp_path, proc__sys__vm__memory_failure_recovery="0\n", proc__sys__vm__memory_failure_early_kill="1\n")
    assert [each.evidence for each in statements(HostFiles(tmp_path))] == ["0", "1"]
