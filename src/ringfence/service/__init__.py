"""The long-running process: its loop, the wiring to a hypervisor, and the hypervisor's seat."""
