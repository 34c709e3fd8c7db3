"""Real Xen, from a PV Dom0: the telemetry by hypercall 48, the host by sysctl, domains by Xen's own toolstack."""
