"""How hypothesis runs here: no deadlines (this is no stopwatch), and the same examples every time unless asked."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("RINGFENCE_HYPOTHESIS", "same"))
