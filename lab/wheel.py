"""Ringfence itself for a machine of the lab: its wheel with what it needs, for that machine's Python."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from lab import cpio
from lab.debian import LabError, alone, cache, compile_python

ROOT: Final = Path(__file__).resolve().parent.parent
PLACE: Final = "opt/ringfence"

_START: Final = f"""\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/{PLACE}")
from ringfence.cli.main import main
main()
"""


@alone("files")
def archive(python: str, root: Path) -> bytes:
    """A cpio archive with Ringfence under /opt and ``ringfence`` in /usr/bin, for the Python ("3.13") of a Debian."""
    found = cpio.Archive()
    with tempfile.TemporaryDirectory() as place:
        into = Path(place, "ringfence")
        shutil.copytree(_needed(python), into)
        with zipfile.ZipFile(_wheel(Path(place, "wheel"))) as wheel:
            wheel.extractall(into)
        compile_python(root, python, into, f"/{PLACE}")
        found.tree(into, PLACE)
    found.file("usr/lib/python3/dist-packages/ringfence.pth", f"/{PLACE}\n".encode())
    found.file("usr/bin/ringfence", _START.encode(), 0o755)
    return found.packed()


def _wheel(into: Path) -> Path:
    """The wheel of the tree as it is now."""
    _uv("build", "--wheel", "--out-dir", str(into), str(ROOT))
    (wheel,) = into.glob("*.whl")
    return wheel


def _needed(python: str) -> Path:
    """What the base install needs, unpacked; made once for each set of versions."""
    constraints = ROOT / "constraints.txt"
    into = cache() / f"needed-{python}-{hashlib.sha256(constraints.read_bytes()).hexdigest()[:12]}"
    if not into.exists():
        _uv(
            "pip", "install", "--python-version", python, "--python-platform", "x86_64-manylinux_2_28", "--only-binary",
            ":all:", "--target", str(into), "-c", str(constraints), "click", "msgspec", "backports.zstd",
        )  # fmt: skip
    return into


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    done = subprocess.run([uv, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr[-2000:]}")
