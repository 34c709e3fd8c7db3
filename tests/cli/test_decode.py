"""The decode command as its user runs it: what it prints, where, and with which exit code it ends."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from ringfence.cli.main import main
from ringfence.views import jsonl

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# linux-edac, November 2020 (a fatal memory error of a Cascade Lake), and a libvirt user's corrected one (Comet Lake).
FATAL = (
    "mce: [Hardware Error]: CPU 18: Machine Check Exception: 5 Bank 7: be00000001010091\n"
    "mce: [Hardware Error]: TSC ae4b410af0b8 ADDR 314d193000 MISC 200400c008002086 \n"
    "mce: [Hardware Error]: PROCESSOR 0:50657 TIME 1605843017 SOCKET 1 APIC 40 microcode 5000021\n"
)
CORRECTED = (
    "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 0: 9000004000010005\n"
    "mce: [Hardware Error]: TSC 95596a63008b \n"
    "mce: [Hardware Error]: PROCESSOR 0:a0653 TIME 1684022949 SOCKET 0 APIC 0 microcode f6\n"
)
UNREADABLE = "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 7: be0000##########\n"
NOTHING = "systemd[1]: Started Session 42 of user root.\n"
NO_EVIDENCE = "No machine-check evidence found.\n"


def decode(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["decode", *map(str, arguments)], input=stdin)


def process(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(RUN + list(map(str, arguments)), input=stdin, capture_output=True, check=False, timeout=30)


RUN = [sys.executable, "-c", "from ringfence.cli.main import main; main(prog_name='ringfence')", "decode"]


@pytest.fixture
def log(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "kern.log"
        path.write_text(text)
        return path

    return write


Write = Callable[[str], Path]


# --- exit codes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (FATAL, [], 0),
        (NOTHING, [], 0),
        ("", [], 0),
        (UNREADABLE, [], 0),
        (FATAL, ["--fail-on", "fatal"], 1),
        (FATAL, ["--fail-on", "corrected"], 1),
        (FATAL, ["--fail-on", "UNCORRECTED"], 1),
        (CORRECTED, ["--fail-on", "corrected"], 1),
        (CORRECTED, ["--fail-on", "uncorrected"], 0),
        (CORRECTED, ["--fail-on", "deferred"], 0),
        (NOTHING, ["--fail-on", "corrected"], 0),
        (UNREADABLE, ["--strict"], 3),
        (UNREADABLE, ["--fail-on", "corrected"], 0),
        (CORRECTED, ["--strict"], 0),
        # The error weighs more than what could not be read beside it.
        (FATAL + UNREADABLE, ["--strict", "--fail-on", "fatal"], 1),
        (CORRECTED + UNREADABLE, ["--strict", "--fail-on", "fatal"], 3),
    ],
)
@pytest.mark.parametrize("view", [[], ["--json"], ["--summary"]])
def test_the_exit_code_says_what_was_found(
    log: Write, text: str, options: list[str], code: int, view: list[str]
) -> None:
    assert decode(log(text), *options, *view).exit_code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fail-on", "none"],
        ["--fail-on", "awful"],
        ["--status", "xyz"],
        ["--status", "11112222333344445"],
        ["--status", "0x1", "--bank", "256"],
        ["--status", "0x1", "--cpu", "motorola:68000"],
        ["--bank", "3"],
        ["--addr", "0x1000"],
        ["--no-such-option"],
    ],
)
def test_a_wrong_option_is_a_usage_error_that_says_what_is_wrong(arguments: list[str]) -> None:
    result = decode(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert result.stdout == ""


def test_typed_registers_and_files_do_not_go_together(log: Write) -> None:
    result = decode(log(FATAL), "--status", "0x1")
    assert result.exit_code == 2
    assert "give no FILE with it" in result.stderr


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_an_error_is_told_in_one_sentence_then_where_what_to_do_and_why(log: Write) -> None:
    lines = decode(log(FATAL)).stdout.splitlines()
    assert lines[0].startswith("Fatal error: Memory read error on channel 1")
    assert "kern.log:1, 2020-11-20T03:30:17Z" in lines[1]
    assert lines[2].startswith("  reported by  CPU 18, socket 1, bank 7: ")
    labels = [line[2:15].strip() for line in lines[2:] if line[2:15].strip()]
    assert [label for label in labels if label in {"reported by", "where", "address", "do", "because"}] == [
        "reported by", "where", "address", "do", "because",
    ]  # fmt: skip


def test_verbose_names_every_field_of_the_registers(log: Write) -> None:
    shown = decode(log(FATAL), "--verbose").stdout
    assert re.search(r"^ +63 +VAL = 0x1", shown, re.MULTILINE)
    assert re.search(r"^ +15:0 +MCACOD = 0x91", shown, re.MULTILINE)
    assert "VAL = " not in decode(log(FATAL)).stdout


def test_what_cannot_be_read_is_shown_and_counted(log: Write) -> None:
    result = decode(log(FATAL + UNREADABLE))
    assert "| " + UNREADABLE.strip() in result.stdout
    assert result.stderr == "ringfence: 1 piece of evidence could not be read\n"


def test_a_summary_groups_what_is_alike_worst_first(log: Write) -> None:
    other = CORRECTED.replace("1684022949", "1684022999").replace("95596a63008b", "95596a63999b")
    shown = decode(log(CORRECTED + FATAL + other), "--summary").stdout.splitlines()
    assert re.match(r" +1 x Fatal error: ", shown[0])
    assert re.match(r" +2 x Corrected error: Internal parity error", shown[3])
    assert "first 2023-05-14T00:09:09Z, last 2023-05-14T00:09:59Z" in shown[4]


def test_an_empty_input_says_so(log: Write) -> None:
    assert decode(log("")).stdout == NO_EVIDENCE
    assert decode(log(NOTHING)).stdout == NO_EVIDENCE
    assert decode(log(""), "--summary").stdout == NO_EVIDENCE
    assert decode(log(""), "--json").stdout == ""


def test_every_json_line_keeps_to_the_published_schema(log: Write) -> None:
    validator = jsonschema.Draft202012Validator(jsonl.schema())
    lines = decode(log(CORRECTED + FATAL + UNREADABLE), "--json").stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        validator.validate(json.loads(line))
    fatal = json.loads(lines[1])
    assert (fatal["severity"], fatal["class"], fatal["cpu"], fatal["socket"]) == ("FATAL", "uncorrected", 18, 1)
    assert fatal["registers"]["status"] == "0xbe00000001010091"
    assert json.loads(lines[2])["raw"] == UNREADABLE.strip()


def test_a_summary_in_json_is_one_object_a_group(log: Write) -> None:
    lines = decode(log(CORRECTED + FATAL), "--summary", "--json").stdout.splitlines()
    assert [json.loads(line)["severity"] for line in lines] == ["FATAL", "CORRECTED"]


# --- typed registers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["0xbe00000000800400", "be00000000800400", "0xBE000000_00800400", "be000000'00800400"]
)
@pytest.mark.parametrize("cpu", ["0:206c2", "intel:0x206c2", "Intel:206C2"])
def test_typed_registers_are_decoded_however_they_are_written(status: str, cpu: str) -> None:
    result = decode("--status", status, "--cpu", cpu, "--bank", "5", "--mcg-status", "4", "--json")
    finding = json.loads(result.stdout)
    assert (finding["severity"], finding["error"]) == ("FATAL", "Internal timer error")
    assert (finding["microarchitecture"], finding["delivery"], finding["bank"]) == ("Westmere-EP", "#MC", 5)


def test_registers_of_scalable_mca_can_be_typed_too() -> None:
    result = decode(
        "--status", "dc2040000000011b", "--ipid", "9600050f00", "--synd", "40200a401000", "--addr", "65aa27c0",
        "--cpu", "amd:800f11", "--bank", "15", "--json",
    )  # fmt: skip
    finding = json.loads(result.stdout)
    assert (finding["severity"], finding["error"]) == ("CORRECTED", "DRAM ECC error")
    assert finding["address"]["kind"] == "normalised"


def test_a_stated_processor_is_used_where_the_log_names_none(log: Write) -> None:
    bare = log("CPU 0: Machine Check Exception: 4 Bank 4: b200000000070f0f\nTSC 1cb2201501c\n")
    assert "names none" in decode(bare).stdout
    assert json.loads(decode(bare, "--cpu", "2:f48", "--json").stdout)["error"] == "northbridge watchdog timeout"
    # What the log itself says counts more.
    assert json.loads(decode(log(CORRECTED), "--cpu", "2:f48", "--json").stdout)["vendor"] == "Intel"


# --- files and directories -------------------------------------------------------------------------------------------

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
    "bz2": bz2.compress,
    "UTF-8 with a mark": lambda log: b"\xef\xbb\xbf" + log,
    "UTF-16, little-endian": lambda log: b"\xff\xfe" + log.decode().encode("utf-16-le"),
    "UTF-16, big-endian": lambda log: b"\xfe\xff" + log.decode().encode("utf-16-be"),
}


@pytest.mark.parametrize("form", PACK)
def test_a_compressed_or_otherwise_encoded_log_is_told_by_its_content(tmp_path: Path, form: str) -> None:
    plain = tmp_path / "plain"
    plain.write_text(FATAL + CORRECTED)
    for name in (f"log.{form}", "log"):
        packed = tmp_path / name
        packed.write_bytes(PACK[form](plain.read_bytes()))
        assert decode(packed).stdout == decode(plain).stdout.replace(str(plain), str(packed))


@pytest.mark.parametrize("form", ["--summary", "--json", "--verbose"])
def test_a_record_whose_time_nobody_set_has_none(log: Callable[[str], Path], form: str) -> None:
    unset = re.sub(r"TIME \d+", "TIME 0", FATAL + CORRECTED)
    assert unset.count("TIME 0") == 2
    assert "1970" not in decode(log(unset), form).stdout


def test_a_log_packed_twice_is_read_too(tmp_path: Path) -> None:
    packed = tmp_path / "log.xz.gz"
    packed.write_bytes(gzip.compress(lzma.compress(FATAL.encode())))
    assert decode(packed).stdout.startswith("Fatal error: ")


def many_corrected(count: int) -> bytes:
    """Records of which no two are alike, so that they do not pack to nothing."""
    lines = []
    for number in range(count):
        address = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFC0
        lines.append(CORRECTED.replace("95596a63008b", f"{number + 1:x} ADDR {address:x} MISC 86"))
    return "".join(lines).encode()


def test_a_damaged_gz_is_read_up_to_the_damage_and_the_rest_is_shown_as_unreadable(tmp_path: Path) -> None:
    packed = tmp_path / "cut.gz"
    whole = gzip.compress(many_corrected(200))
    packed.write_bytes(whole[: len(whole) * 2 // 3])
    result = decode(packed, "--json", "--strict")
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert sum("severity" in finding for finding in findings) > 100
    assert findings[-1]["unrecognised"].startswith("the rest cannot be unpacked: ")
    assert result.exit_code == 3


@pytest.mark.parametrize("form", ["zst", "bz2"])
def test_a_packed_log_from_which_nothing_can_be_unpacked_is_a_source_that_cannot_be_read(
    tmp_path: Path, form: str
) -> None:
    packed = tmp_path / f"cut.{form}"
    whole = PACK[form](FATAL.encode())
    packed.write_bytes(whole[: len(whole) // 2])
    result = decode(packed)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"ringfence: {packed}: ")
    assert result.stdout == NO_EVIDENCE


def test_directories_are_read_file_by_file_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "kern.log.1.gz").write_bytes(gzip.compress(CORRECTED.encode()))
    (tmp_path / "kern.log").write_text(FATAL)
    (tmp_path / "other.log").write_text(NOTHING)
    found = [json.loads(line)["file"] for line in decode(tmp_path, "--json").stdout.splitlines()]
    assert found == [str(tmp_path / "kern.log"), str(tmp_path / "b" / "kern.log.1.gz")]


def test_an_empty_directory_has_no_evidence(tmp_path: Path) -> None:
    assert decode(tmp_path).stdout == NO_EVIDENCE


@pytest.mark.parametrize("order", [0, 1])
def test_a_file_that_is_not_there_is_complained_of_and_the_others_are_read(log: Write, order: int) -> None:
    names = [str(log(CORRECTED)), "/no/such/file"]
    result = decode(*(names if order else reversed(names)))
    assert result.exit_code == 2
    assert result.stdout.startswith("Corrected error: ")
    assert result.stderr.startswith("ringfence: /no/such/file: No such file or directory\n  ")


def test_an_error_that_was_asked_for_weighs_more_than_a_missing_file(log: Write) -> None:
    assert decode(log(FATAL), "/no/such/file", "--fail-on", "fatal").exit_code == 1


def test_binary_evidence_is_told_by_its_content(tmp_path: Path) -> None:
    from ringfence.record.binary.struct_mce import StructMce  # noqa: PLC0415 (this test alone needs it)

    dump = tmp_path / "mcelog"
    dump.write_bytes(StructMce(status=0xBD000000000000C0, addr=0x1000, misc=0x8C, bank=5, cpuid=0x306F2).pack(88) * 2)
    (event,) = (json.loads(line) for line in decode(dump, "--json").stdout.splitlines())
    assert (event["format"], event["offset"], event["severity"]) == ("linux-struct-mce", 0, "SRAO")
    assert [report["offset"] for report in event["reports"]] == [88]


# --- standard input, pipes and terminals -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_a_log_can_be_piped_in(arguments: tuple[str, ...]) -> None:
    done = process(*arguments, stdin=FATAL.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Fatal error: ")
    assert b"standard input:1" in done.stdout


def test_a_compressed_log_can_be_piped_in() -> None:
    assert process(stdin=gzip.compress(FATAL.encode())).stdout.startswith(b"Fatal error: ")


def test_an_empty_pipe_has_no_evidence() -> None:
    done = process()
    assert (done.returncode, done.stdout, done.stderr) == (0, NO_EVIDENCE.encode(), b"")


def test_a_record_in_a_silent_pipe_is_shown_before_the_pipe_ends() -> None:
    with subprocess.Popen(RUN, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(FATAL.encode())
        running.stdin.flush()
        # Blocks until the line is there: without following, it would come only after the pipe is closed below.
        assert running.stdout.readline().startswith(b"Fatal error: ")
        running.stdin.close()
        assert running.wait(30) == 0


def test_a_pipe_that_trickles_is_read_to_its_end() -> None:
    with subprocess.Popen(RUN, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for place in range(0, len(FATAL), 7):
            running.stdin.write(FATAL[place : place + 7].encode())
            running.stdin.flush()
        running.stdin.close()
        shown = running.stdout.read()
    assert shown == process(stdin=FATAL.encode()).stdout


@pytest.mark.parametrize("view", [(), ("--json",), ("--verbose",)])
def test_a_reader_that_has_had_enough_is_no_fault(tmp_path: Path, view: tuple[str, ...]) -> None:
    log = tmp_path / "kern.log"
    log.write_bytes(many_corrected(3000))
    with subprocess.Popen([*RUN, str(log), *view], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline()
        running.stdout.close()
        complaint = running.stderr.read()
    assert complaint == b""
    assert running.returncode == 141


def on_a_terminal(*arguments: str) -> bytes:
    """What the command writes when its standard output is a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen([*RUN, *arguments], stdin=subprocess.DEVNULL, stdout=follower) as running:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux says EIO when the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert running.returncode == 0
    return shown


COLOUR = b"\x1b["


def test_colours_are_for_terminals_or_for_those_who_ask(log: Write) -> None:
    name = str(log(FATAL + UNREADABLE))
    assert COLOUR in on_a_terminal(name)
    assert COLOUR not in on_a_terminal(name, "--color", "never")
    assert COLOUR not in process(name).stdout
    assert COLOUR in process(name, "--colour", "always").stdout
    assert COLOUR in process(name, "--color", "always", "--summary").stdout
    assert COLOUR not in on_a_terminal(name, "--json")


def test_what_a_log_says_never_reaches_a_terminal_as_an_escape_sequence(log: Write) -> None:
    hostile = FATAL.replace("MISC", "\x1b]0;owned\x07\x1b[2J MISC") + "mce: [Hardware Error]: Machine check: \x1b[31m\n"
    for view in ((), ("--verbose",), ("--summary",), ("--json",)):
        assert "\x1b" not in decode(log(hostile), *view).stdout


# --- the command around it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "ringfence" in result.stdout
    assert "_RINGFENCE_COMPLETE" in result.stdout


def test_completion_offers_the_options_of_decode() -> None:
    offered = subprocess.run(
        RUN[:-1],
        env={
            **os.environ,
            "_RINGFENCE_COMPLETE": "bash_complete",
            "COMP_WORDS": "ringfence decode --st",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert offered.stdout.split() == [b"plain,--strict", b"plain,--status"]


def test_help_shows_examples_and_exit_codes() -> None:
    shown = decode("--help").stdout
    assert "ringfence decode --summary" in shown
    assert "Exit codes: 0 read; 1 --fail-on reached" in shown


def test_the_command_names_its_version() -> None:
    assert re.fullmatch(r"ringfence, version \d+\.\d+\.\d+\n", CliRunner().invoke(main, ["--version"]).stdout)


def test_a_table_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text(FATAL)
    done = process(str(log), "--parquet", str(tmp_path / "nowhere" / "out.parquet"))
    assert done.returncode == 2
    assert b"No such file or directory" in done.stderr
    assert b"may write" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_table_has_the_events_of_a_log(tmp_path: Path) -> None:
    log, out = tmp_path / "kern.log", tmp_path / "out.parquet"
    log.write_text(FATAL)
    assert process(str(log), "--parquet", str(out)).returncode == 0
    (row,) = pq.read_table(out).to_pylist()
    assert (row["severity"], row["line"], row["count"], row["unrecognised"]) == ("FATAL", 1, 1, None)
