"""The model host: a machine with its machine-check hardware, and a hypervisor that runs on it."""
