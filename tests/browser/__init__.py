"""The console in a real browser; not part of the default run: ``python3 dev.py browser``."""
