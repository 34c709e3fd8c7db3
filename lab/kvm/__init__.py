"""A Debian host with KVM and libvirt under software emulation, and real guests in it."""
