/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address Space Isolation: what its files in arch/x86/mm/ know of each other. For
 * more info see Documentation/arch/x86/asi.rst.
 */
#ifndef _X86_MM_ASI_INTERNAL_H
#define _X86_MM_ASI_INTERNAL_H

#include <linux/asi.h>
#include <linux/atomic.h>
#include <linux/pgtable.h>
#include <linux/spinlock.h>

/* Orders writes to the restricted direct map's PMD entries. */
extern raw_spinlock_t asi_lock;

/* What the page allocator had done; in PMDs, but for the flushes. */
extern atomic_long_t asi_zapped;
extern atomic_long_t asi_restored;
extern atomic_long_t asi_flushes;

extern const char * const asi_flush_names[ASI_NR_FLUSH];

/* One of a CPU's restricted PGDs. */
static __always_inline pgd_t *asi_root(struct asi_cpu *cpu, unsigned int slot)
{
	return cpu->pgds + slot * PTRS_PER_PGD;
}

pgd_t asi_kernel_entry(unsigned int slot);
pmd_t asi_init_mm_pmd(unsigned long addr);
bool asi_block_is_movable(unsigned long pfn);

#endif /* _X86_MM_ASI_INTERNAL_H */
