"""The model host: a machine with its machine-check hardware, and a hypervisor that runs on it.

The fault model of the hardware (``machine`` and what it is made of; the software's stands in ``host``).

What is modelled:

- Banks with their MSRs, by thread, core or socket: what may be written, the overwrite rules, corrected-error counts
  that stop, green and yellow status, CMCI and AMD's threshold and deferred interrupts, MCA_DESTAT, errors that are
  logged though they are not enabled.
- Memory in lines of 64 bytes: correctable faults that pass or stay, uncorrectable ones that are latent until a read, a
  store of part of the line, a device or the patrol scrubber finds them, and poison from then on. Poison is consumed by
  loads and instruction fetches and by nothing else; a store of the whole line clears it. Two correctable faults of one
  line in different devices make it uncorrectable.
- Each error is logged as the platform logs it: a memory controller's report first, the consumer's own after it. Where
  there is no poison, bad data reaches the CPU and the error is fatal.
- #MC: to all CPUs on Intel, which gather within a bound, or to one by LMCE and on AMD; stuck CPUs do not come; with
  MCIP set or CR4.MCE clear the processor shuts down. Warm reset keeps the banks, cold reset clears them.
- Everything happens on one clock. Chance comes from one ``random.Random`` and decides only how long CPUs gather.

What is not, and why:

- Contents of memory and caches: no decision depends on them. A line that goes bad in a cache is a fault of its own
  (``CacheWriteback``); a cached good copy of a bad line is not thought of, so each read meets the line in memory.
- Firmware that comes first (SMI, eMCA): its records come in through the formats of ``record``, not through MSRs.
- Spared, mirrored and swapped memory, page-policy, refresh and row hammer: whoever injects chooses the lines.
- The real ECC codes and address maps: a syndrome is the device and its bits, as plain numbers; real maps hash.
- MCG_CTL is kept and switches nothing: no maker documents what its bits stand for. CPUs that are offline stay out of
  every broadcast, where real ones come and are ignored. MCi_CTL counts as a whole: any bit set enables the bank.
- Devices: a DMA of poison is told to the device's side alone; AER and IOMMU faults are no machine checks.
- Time within a machine check: handlers take no time, only the gathering does.
"""
