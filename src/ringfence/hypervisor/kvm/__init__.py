"""KVM: the host's kernel does the first aid, QEMU holds the guests, libvirt operates them; joined behind the port."""
