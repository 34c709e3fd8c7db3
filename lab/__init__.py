"""Machines in software emulation, on which Ringfence meets real hypervisors and real kernels."""
