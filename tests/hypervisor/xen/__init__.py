"""The parts of Xen's backend that need no Xen; what does is shown in the lab."""
