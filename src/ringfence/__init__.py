"""Ringfence: machine-check evidence, explained and acted upon, on virtualization hosts."""
