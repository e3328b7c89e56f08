/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ephemeral map (ephmap), the local scope: what x86-64 does for each session.
 * Used by mm/ephmap.c and mm/ephmap.h only. The rest is in arch/x86/mm/ephmap_local.c.
 */
#ifndef _ASM_X86_EPHMAP_LOCAL_H
#define _ASM_X86_EPHMAP_LOCAL_H

#include <linux/asi.h>
#include <linux/cpumask.h>

#include <asm/tlb.h>
#include <asm/tlbflush.h>

/* With asi=on there are windows in users' mms. Nobody needs them otherwise. */
static __always_inline bool arch_ephmap_has_local(void)
{
	return asi_enabled();
}

/*
 * Whether this CPU has @mm loaded: a private session has another one, and the
 * address space for guests has no windows.
 */
static __always_inline bool arch_ephmap_is_loaded(struct mm_struct *mm)
{
	return this_cpu_read(cpu_tlbstate.loaded_mm) == mm &&
	       asi_class() != ASI_GUEST;
}

/* What no other mm has, nor ever had; not 0. */
static __always_inline u64 arch_ephmap_mm_id(struct mm_struct *mm)
{
	return mm->context.ctx_id;
}

/* Whether this CPU is in the restricted address space of the loaded mm. */
static __always_inline bool arch_ephmap_is_restricted(void)
{
	return this_cpu_read(asi_cpu.class) == ASI_USER;
}

/*
 * In which address space this CPU is, since when: a number to compare with
 * others of this CPU.
 *
 * A CPU that says the same twice in a session was in one address space all the
 * time. It leaves the restricted one by a page fault or for a private session,
 * and nothing but an NMI, or an exception of its kind, takes it back there
 * before user mode is entered.
 */
static __always_inline unsigned long arch_ephmap_space(void)
{
	if (unlikely(!arch_ephmap_is_restricted()))
		return ULONG_MAX;
	return this_cpu_read(asi_cpu.nr.reenters);
}

void arch_ephmap_flush_both(unsigned long addr, unsigned int nr);
void arch_ephmap_flush_others(struct mm_struct *mm, unsigned long addr,
			      unsigned int nr);

/*
 * Drop @nr pages at @addr, which are unmapped by now, from TLBs: on this CPU in
 * the address space that is loaded, and in the other of the two if it was loaded
 * since arch_ephmap_space() has said @space; and on CPUs other than @self that
 * run threads of the process. Those that have run one since and do not any more
 * flush when they do again.
 */
static __always_inline void
arch_ephmap_flush_local(struct mm_struct *mm, const struct cpumask *self,
			unsigned long addr, unsigned int nr,
			unsigned long space)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		invlpg(addr + i * PAGE_SIZE);
	/*
	 * Who leaves the restricted address space from here on finds nothing
	 * to cache.
	 */
	if (unlikely(arch_ephmap_space() != space))
		arch_ephmap_flush_both(addr, nr);
	/*
	 * INVLPG has serialized: the entries were none before the mask is read.
	 * Pairs with switch_mm(): it sets its bit, then loads CR3.
	 */
	if (nr && unlikely(!cpumask_equal(mm_cpumask(mm), self)))
		arch_ephmap_flush_others(mm, addr, nr);
}

#endif /* _ASM_X86_EPHMAP_LOCAL_H */
