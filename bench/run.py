"""Measures Ringfence beside another program on the same logs, and prints a table of ratios.

    python bench/run.py [--peer mcelog=PATH] [--mix intel] [--mix corpus --corpus DIR] [--records N]
                        [--distinct] [--big]

Each run is a whole process, from its start to its end, with its output thrown away. The runs alternate: every mode
once, then every mode again, five times (what takes above ten seconds, once); what is shown is the median, with the
fastest and the slowest. A ratio is the median of the peer's seconds divided by the mode's: 4.0 is four times as many
records in the same time. The logs are written anew (bench/generate.py, seeded) and are in the page cache.

mcelog runs as ``mcelog --ascii --no-dmi --file LOG``. It decodes no record of a processor with scalable MCA, and splits
records at the fields PPIN, SYND and IPID: its times stand for reading the same bytes, not for the same work.

``--big`` reads 2 GB of repeated log and shows the memory that the process and its helpers hold together at their peak
(proportional set size, sampled; pages of the file itself are the kernel's).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

ROUNDS: Final = 5
LONG_S: Final = 10.0
"""What takes longer than this is not repeated: it is no close race."""

GENERATED: Final = ("intel", "mixed", "smca")
GENERATE: Final = (sys.executable, str(Path(__file__).with_name("generate.py")))
BIG_BYTES: Final = 2 << 30
SAMPLE_S: Final = 0.05
RINGFENCE: Final = str(Path(sys.executable).with_name("ringfence"))
SINGLE: Final = ("decode", "--status", "0xbe00000000800400", "--cpu", "0:306f2", "--bank", "3")

TABLE: Final = """
import sys
from ringfence import api
print(api.table(sys.argv[1]).num_rows)
"""


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run a program on a log; ``goal`` is the ratio to the peer that the project promises, or None."""

    name: str
    command: tuple[str, ...]
    goal: float | None = None


@dataclass(slots=True)
class Measured:
    """What the runs of one mode took; ``failed`` is how the first bad one ended."""

    mode: Mode
    seconds: list[float]
    failed: str = ""


def modes(log: Path, scratch: Path) -> list[Mode]:
    """What Ringfence is asked to do with a log."""
    return [
        Mode("text", (RINGFENCE, "decode", str(log)), 1.5),
        Mode("--summary", (RINGFENCE, "decode", "--summary", str(log)), 4.0),
        Mode("--parquet", (RINGFENCE, "decode", "--parquet", str(scratch / "out.parquet"), str(log)), 4.0),
        Mode("API table", (sys.executable, "-c", TABLE, str(log)), 4.0),
        Mode("--json", (RINGFENCE, "decode", "--json", str(log))),
    ]


def peer_mode(name: str, path: str, log: Path) -> Mode:
    """How a peer is run on a log. Raises ValueError for one that is not known."""
    if name != "mcelog":
        raise ValueError(f"no such peer: {name} (known: mcelog)")
    return Mode(name, (path, "--ascii", "--no-dmi", "--file", str(log)))


def run(command: Sequence[str]) -> tuple[float, str]:
    """Seconds from start to end, and how it failed, or an empty string."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    seconds = time.perf_counter() - start
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return seconds, f"exit {done.returncode}: {' '.join(last)}" if done.returncode else ""


def alternate(wanted: Iterable[Mode]) -> list[Measured]:
    """Run every mode once, then every mode again: what slows the machine for a while slows all."""
    measured = [Measured(mode, []) for mode in wanted]
    for _ in range(ROUNDS):
        for each in measured:
            if not each.failed and max(each.seconds, default=0.0) < LONG_S:
                seconds, each.failed = run(each.mode.command)
                each.seconds.append(seconds)
    return measured


def table(measured: Sequence[Measured], records: int, peer: str | None) -> list[str]:
    """The lines of the table: seconds, records per second, and the ratio to the peer."""
    lines = [f"{'mode':<12}{'median s':>10}{'min':>8}{'max':>8}{'records/s':>12}{'x peer':>8}{'goal':>6}"]
    medians = {each.mode.name: statistics.median(each.seconds) for each in measured if not each.failed}
    for each in measured:
        name = each.mode.name
        if each.failed:
            lines.append(f"{name:<12} not measured: {each.failed}")
            continue
        ratio = f"{medians[peer] / medians[name]:.2f}" if peer in medians else "-"
        goal = f"{each.mode.goal:.1f}" if each.mode.goal is not None else "-"
        lines.append(
            f"{name:<12}{medians[name]:>10.3f}{min(each.seconds):>8.3f}{max(each.seconds):>8.3f}"
            f"{records / medians[name]:>12,.0f}{ratio:>8}{goal:>6}"
        )
    return lines


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in below for each in _family(int(child)))]


def _held_kib(pid: int) -> int:
    """Proportional set size of a process and all below it, in KiB."""
    total = 0
    for each in _family(pid):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total


def memory(command: Sequence[str]) -> tuple[float, int, str]:
    """Seconds, the peak of what is held in MiB, and how the command failed."""
    peak = 0
    ended = threading.Event()
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:

        def watch() -> None:
            nonlocal peak
            while not ended.wait(SAMPLE_S):
                peak = max(peak, _held_kib(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
    failed = f"exit {process.returncode}" if process.returncode else ""
    return time.perf_counter() - start, max(peak, usage.ru_maxrss) >> 10, failed


def big(log: Path, scratch: Path) -> list[str]:
    """Memory on 2 GB of log."""
    path = scratch / "big.log"
    text = log.read_bytes()
    with path.open("wb") as sink:
        for _ in range(-(-BIG_BYTES // len(text))):
            sink.write(text)
    lines = [f"{'2 GB log':<12}{'s':>10}{'MiB held':>10}"]
    for mode in modes(path, scratch):
        seconds, mebibytes, failed = memory(mode.command)
        lines.append(f"{mode.name:<12}{seconds:>10.1f}{mebibytes:>10} {failed}")
    path.unlink()
    return lines


def write_log(  # noqa: PLR0913, PLR0917 (one parameter an option of the generator)
    log: Path, mix: str, records: int, seed: int, corpus: Path | None, distinct: bool
) -> str:
    """Write a log, and say what it holds. Raises subprocess.CalledProcessError if that fails."""
    command = [*GENERATE, "--mix", mix, "--records", str(records), "--seed", str(seed), "--out", str(log)]
    command += ["--corpus", str(corpus)] if corpus is not None else []
    command += ["--distinct"] if distinct else []
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr.strip()


def machine() -> str:
    """What the numbers were measured on."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def versions() -> str:
    """The versions that matter to the numbers."""
    found = [f"Python {platform.python_version()}"]
    for package in ("ringfence", "numpy", "pyarrow"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} is not installed")
    return ", ".join(found)


def single_record() -> str:
    """What one record typed by hand takes, start to end."""
    (measured,) = alternate([Mode("one record", (RINGFENCE, *SINGLE))])
    if measured.failed:
        return f"one record, start to end: not measured: {measured.failed}"
    middle, low, high = (1000 * of(measured.seconds) for of in (statistics.median, min, max))
    return f"one record, start to end: {middle:.0f} ms ({low:.0f} to {high:.0f}; goal: under 250)"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer", metavar="NAME=PATH", help="a program to compare with, as mcelog=/usr/sbin/mcelog")
    parser.add_argument("--mix", action="append", choices=(*GENERATED, "corpus"), help="default: all generated ones")
    parser.add_argument("--corpus", type=Path, help="the folder that --mix corpus repeats")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--distinct", action="store_true", help="logs in which hardly two records are worded alike")
    parser.add_argument("--big", action="store_true", help="measure memory on 2 GB of log as well")
    asked = parser.parse_args()
    peer, _, path = (asked.peer or "").partition("=")
    print(f"{machine()}\n{versions()}\n{single_record()}")
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as name:
        scratch = Path(name)
        log = scratch / "records.log"
        for mix in asked.mix or GENERATED:
            print(f"\n{mix}: {write_log(log, mix, asked.records, asked.seed, asked.corpus, asked.distinct)}")
            wanted = [peer_mode(peer, path, log)] if peer else []
            print("\n".join(table(alternate([*wanted, *modes(log, scratch)]), asked.records, peer or None)), flush=True)
        if asked.big:
            print("\n" + "\n".join(big(log, scratch)))


if __name__ == "__main__":
    main()
