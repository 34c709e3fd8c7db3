"""The port, and the worlds behind it: a model of a host, Xen, KVM."""
