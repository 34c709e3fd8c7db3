"""Debian's packages as files: fetched by apt with a state of its own, unpacked, never installed.

Nothing of the machine that this runs on is changed, and no root is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import lzma
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR: Final = os.environ.get("RINGFENCE_LAB_MIRROR", "http://deb.debian.org/debian")
FETCH_S: Final = 300
"""For one package; a kernel has about 110 MB."""
AT_ONCE: Final = 4

_URI: Final = re.compile(r"^'(?P<uri>http[^']+)' (?P<file>\S+) (?P<size>\d+)(?: (?P<sum>SHA256:[0-9a-f]{64}))?")


class LabError(Exception):
    """The lab cannot do what is asked; the message says what to do."""


def cache() -> Path:
    """Where packages and images are kept: ``RINGFENCE_LAB_CACHE``, else $XDG_CACHE_HOME/ringfence-lab."""
    given = os.environ.get("RINGFENCE_LAB_CACHE")
    home = os.environ.get("XDG_CACHE_HOME")
    place = Path(given) if given else (Path(home) if home else Path.home() / ".cache") / "ringfence-lab"
    place.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def alone(what: str) -> Iterator[None]:
    """One builder of a thing at a time, of all processes that share the cache: the labs start at the same moment."""
    with (cache() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def tool(name: str, package: str) -> str:
    """The path of a program. Raises LabError, naming Debian's package, if it is not there."""
    found = shutil.which(name)
    if found is None:
        raise LabError(f"{name} is not installed: apt-get install --no-install-recommends {package}")
    return found


@dataclass(frozen=True, slots=True)
class Package:
    """A package's file, where it comes from, and its SHA-256 if the archive's index gave it."""

    uri: str
    name: str
    sum: str


class Release:
    """One release of Debian ("trixie"), as apt knows it without anything being installed."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self._home = cache() / f"apt-{suite}"

    def packages(self, *names: str) -> tuple[Package, ...]:
        """These packages with all that they depend on. Raises LabError if apt cannot say."""
        self._configure()
        given = self._apt("install", "--print-uris", "-y", "-qq", *names)
        found = [match for line in given.splitlines() if (match := _URI.match(line))]
        if not found:
            raise LabError(f"apt names no packages for {', '.join(names)}:\n{given[-2000:]}")
        return tuple(Package(match["uri"], match["file"], match["sum"] or "") for match in found)

    def _configure(self) -> None:
        for each in ("lists/partial", "cache/archives/partial"):
            (self._home / each).mkdir(parents=True, exist_ok=True)
        (self._home / "status").write_text("")
        (self._home / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {self.suite} main\n")
        settings = {
            "Dir::State::Lists": self._home / "lists",
            "Dir::State::status": self._home / "status",
            "Dir::Cache": self._home / "cache",
            "Dir::Etc::sourcelist": self._home / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "APT::Architecture": "amd64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::ForceHash": "SHA256",
        }
        text = "".join(f'{key} "{value}";\n' for key, value in settings.items())
        (self._home / "apt.conf").write_text(text)
        self._apt("update", "-qq")

    def _apt(self, *arguments: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._home / "apt.conf")}
        done = subprocess.run(
            [tool("apt-get", "apt"), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"apt-get {' '.join(arguments[:2])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout


def unpacked(packages: tuple[Package, ...]) -> Path:
    """A directory with the files of these packages; made once for each set of versions."""
    key = hashlib.sha256("\n".join(sorted(each.name for each in packages)).encode()).hexdigest()[:16]
    root = cache() / f"root-{key}"
    if root.exists():
        return root
    with ThreadPoolExecutor(AT_ONCE) as pool:
        files = list(pool.map(_fetched, packages))
    making = root.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    for file in files:
        subprocess.run([tool("dpkg-deb", "dpkg"), "-x", file, making], check=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        _merge(making, name)
    making.rename(root)
    return root


def _merge(root: Path, name: str) -> None:
    """Make /bin a link to /usr/bin, and so on: packages of Debian 12 have files in both, and rely on base-files."""
    if (root / name).is_symlink():
        return  # base-files of Debian 13 has the link itself
    (root / "usr" / name).mkdir(parents=True, exist_ok=True)
    if (root / name).is_dir():
        shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(root / name)
    (root / name).symlink_to(f"usr/{name}")


def _fetched(package: Package) -> Path:
    folder = cache() / "packages"
    folder.mkdir(exist_ok=True)
    path = folder / package.name
    if not path.exists():
        with urlopen(package.uri, timeout=FETCH_S) as reply:
            data: bytes = reply.read()
        wanted = package.sum.removeprefix("SHA256:")
        if wanted and hashlib.sha256(data).hexdigest() != wanted:
            raise LabError(f"{package.uri} is not what Debian's index says that it is")
        making = path.with_suffix(".making")
        making.write_bytes(data)
        making.rename(path)
    return path


def compile_python(root: Path, python: str, folder: Path, there: str) -> None:
    """Compile the modules under ``folder`` with the Python ("3.13") of an unpacked tree, as Debian's packages do when
    they are installed: under emulation it takes minutes. ``there`` is what the folder is called on the machine.
    """
    home = root / "usr"
    libraries = home / "lib" / "x86_64-linux-gnu"
    loader = next(libraries.glob("ld-linux-x86-64.so.*"))
    # An archive for the kernel has no times: what is compiled is taken as it is (PEP 552).
    done = subprocess.run(
        [
            loader, "--library-path", libraries, home / "bin" / f"python{python}", "-m", "compileall", "-q",
            "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", there, folder,
        ],
        env={"PYTHONHOME": str(home), "PATH": os.environ.get("PATH", "")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LabError(
            f"Python {python} of Debian cannot compile {folder}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


# --- kernel modules ---------------------------------------------------------------------------------------------------

_DEPENDS: Final = re.compile(rb"\0depends=([^\0]*)\0")


def kernel(root: Path) -> str:
    """The version of the one kernel that is there."""
    (version,) = [each.name for each in (root / "usr/lib/modules").iterdir()]
    return version


def modules(root: Path, *names: str) -> tuple[tuple[str, bytes], ...]:
    """Modules with what they depend on, each after what it needs, unpacked: (name, ELF).

    Names that the kernel has built in are passed over. Raises LabError for one that it has not at all.
    """
    home = root / "usr/lib/modules" / kernel(root)
    files = {path.name.split(".")[0].replace("-", "_"): path for path in home.rglob("*.ko*")}
    built_in = (home / "modules.builtin").read_text()
    found: dict[str, bytes] = {}

    def load(name: str) -> None:
        name = name.replace("-", "_")
        if name in found:
            return
        if name not in files:
            if re.search(rf"/{name.replace('_', '[-_]')}\.ko", built_in):
                return
            raise LabError(f"the kernel {home.name} has no module {name}")
        path = files[name]
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        match = _DEPENDS.search(data)
        for needed in match[1].decode().split(",") if match and match[1] else ():
            load(needed)
        found[name] = data

    for each in names:
        load(each)
    return tuple(found.items())
