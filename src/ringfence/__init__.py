"""Ringfence: machine-check evidence, explained and acted upon, on virtualization hosts."""

__version__ = "0.1.0"
