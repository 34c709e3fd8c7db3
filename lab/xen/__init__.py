"""Debian's Xen under software emulation, with a Dom0 in an initramfs."""
