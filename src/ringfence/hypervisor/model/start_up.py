"""What an operating system does at start so that machine checks arrive (SDM vol. 3B 17.8).

Plain register writes through the machine's own interface: what was logged before stays for whoever looks for leftovers.
"""

from __future__ import annotations

from ringfence.arch import mcg, mci_ctl2, mci_misc, msrs, smca_registers
from ringfence.hypervisor.model.banks import APIC, COUNTER_FULL, WORD, Scheme
from ringfence.hypervisor.model.machine import Machine
from ringfence.world.identities import CpuId


def enable_machine_check(
    machine: Machine, cpu: CpuId, *, interrupts: bool = True, threshold: int = 1, local: bool = True
) -> None:
    """Enables #MC on a CPU and in every bank that it reaches.

    ``interrupts``: also CMCI, or AMD's threshold and deferred interrupts; ``threshold``: after so many corrected
    errors. ``local``: Intel's LMCE, if there is one.
    """
    cap = machine.rdmsr(cpu, msrs.MCG_CAP)
    scheme = machine.settings.platform.scheme
    if mcg.CTL_P.of(cap):
        machine.wrmsr(cpu, msrs.MCG_CTL, WORD)
    if mcg.LMCE_P.of(cap):
        machine.wrmsr(cpu, msrs.MCG_EXT_CTL, mcg.LMCE_EN.mask if local else 0)
    for bank in range(mcg.COUNT.of(cap)):
        machine.wrmsr(cpu, msrs.MC0_CTL + msrs.MC_STRIDE * bank, WORD)
        if interrupts:
            _enable_interrupts(machine, cpu, bank, scheme, threshold)
    machine.set_cr4_mce(cpu, enabled=True)


def _enable_interrupts(machine: Machine, cpu: CpuId, bank: int, scheme: Scheme, threshold: int) -> None:
    if scheme is Scheme.INTEL:
        if mcg.CMCI_P.of(machine.rdmsr(cpu, msrs.MCG_CAP)):
            ctl2 = mci_ctl2.CMCI_EN.mask | mci_ctl2.THRESHOLD.put(threshold)
            machine.wrmsr(cpu, msrs.MC0_CTL2 + bank, ctl2)
        return
    misc = msrs.MC0_CTL + msrs.MC_STRIDE * bank + msrs.Legacy.MISC
    if mci_misc.COUNTER_PRESENT.of(machine.rdmsr(cpu, misc)):
        preset = mci_misc.ERROR_COUNT.put(COUNTER_FULL - threshold)
        machine.wrmsr(cpu, misc, mci_misc.COUNTER_ENABLE.mask | mci_misc.INT_TYPE.put(APIC) | preset)
    if scheme is Scheme.SMCA:
        config = msrs.SMCA_BANK0 + msrs.SMCA_STRIDE * bank + msrs.Smca.CONFIG
        held = machine.rdmsr(cpu, config)
        if smca_registers.DEFERRED_INT_TYPE_SUPPORTED.of(held):
            enabled = smca_registers.MCAX_ENABLE.mask | smca_registers.DEFERRED_INT_TYPE.put(APIC)
            machine.wrmsr(cpu, config, held | enabled)
