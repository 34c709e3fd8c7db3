"""How tests run here: hypothesis has no deadlines (this is no stopwatch), and the same examples every time unless told.
No test leaves a thread behind: a service that leaves one at its end does so in production, too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("RINGFENCE_HYPOTHESIS", "same"))

THREAD_ENDS_S = 10.0
"""A thread that was told to end may be in the midst of something."""

FOR_GOOD = ("libvirt", "asyncio_")
"""How the names of those begin that go on. The event loop of libvirt's library, one for each process that has loaded
it: the library has no call that ends it (virEventRegisterDefaultImpl). asyncio's own threads for ``to_thread``: they
come one by one in a service that several tests share, and ``asyncio.run`` waits for them at its end.
"""


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    new = [each for each in threading.enumerate() if each not in before and not each.name.startswith(FOR_GOOD)]
    end_s = time.monotonic() + THREAD_ENDS_S
    for each in new:
        each.join(max(0.0, end_s - time.monotonic()))
    assert not [each.name for each in new if each.is_alive()], "a thread is left behind"
