/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ephemeral map (ephmap): where the windows are, and how x86-64 fills and
 * flushes them. Used by mm/ephmap.c, and what makes and frees page tables.
 */
#ifndef _ASM_X86_EPHMAP_H
#define _ASM_X86_EPHMAP_H

#include <linux/cpufeature.h>
#include <linux/mmu_context.h>
#include <linux/pgtable.h>

/*
 * The 512 GB between the CPU entry area and the espfix stacks, which nothing
 * else uses: outside what KASLR randomizes, and where KASAN keeps the zero
 * shadow, so that instrumented code may touch a window. It is a PGD entry with
 * 4-level paging and a P4D entry with 5-level paging. init_mm has none there:
 * each mm with a window has its own, and PTI never copies it to user tables.
 *
 * Every CPU has its own PMD-sized window in its private mm. With Address Space
 * Isolation a CPU has another window here, in its restricted page tables:
 * arch/x86/mm/asi_copy.c.
 */
#define EPHMAP_PGD_ENTRY	_AC(-3, UL)
#define EPHMAP_BASE_ADDR	(EPHMAP_PGD_ENTRY << P4D_SHIFT)

static inline unsigned long arch_ephmap_base(unsigned int cpu)
{
	return EPHMAP_BASE_ADDR + cpu * PMD_SIZE;
}

/*
 * Whether a range touches the windows. A probe (BPF, kprobe events) that runs
 * inside a session must not read what the session maps:
 * copy_from_kernel_nofault() refuses these addresses.
 */
static inline bool ephmap_window_overlaps(unsigned long addr, size_t size)
{
	return IS_ENABLED(CONFIG_EPHMAP) &&
	       addr < EPHMAP_BASE_ADDR + P4D_SIZE &&
	       addr + size > EPHMAP_BASE_ADDR;
}

bool arch_ephmap_supported(void);
struct mm_struct *arch_ephmap_create_mm(unsigned int cpu, pte_t **ptes);
unsigned int arch_ephmap_flush(unsigned long addr, unsigned int nr);

/* Present, accessed, non-executable, supervisor, non-global. */
static inline pgprot_t arch_ephmap_prot(bool write)
{
	pgprot_t prot = write ? PAGE_KERNEL : PAGE_KERNEL_RO;

	return __pgprot(pgprot_val(prot) & ~_PAGE_GLOBAL);
}

/*
 * Map @nr pages from @pfn on: what set_ptes() does, without what an entry that
 * is present and no user's does not need.
 */
static __always_inline void arch_ephmap_set_ptes(pte_t *ptes, unsigned long pfn,
						 unsigned int nr, bool write)
{
	pteval_t pte = (phys_addr_t)pfn << PAGE_SHIFT |
		       pgprot_val(arch_ephmap_prot(write));
	unsigned int i;

	for (i = 0; i < nr; i++)
		set_pte(ptes + i, __pte(pte + i * PAGE_SIZE));
}

static inline struct mm_struct *arch_ephmap_enter(struct mm_struct *mm)
{
	return use_temporary_mm(mm);
}

/*
 * Flush @nr pages at @addr and return to @prev_mm. Without PCIDs the write to
 * CR3 flushes all that is not global. Returns the number of pages flushed.
 */
static inline unsigned int arch_ephmap_leave(struct mm_struct *prev_mm,
					     unsigned long addr,
					     unsigned int nr)
{
	unsigned int flushed = nr;

	if (cpu_feature_enabled(X86_FEATURE_PCID))
		flushed = arch_ephmap_flush(addr, nr);
	unuse_temporary_mm(prev_mm);
	return flushed;
}

#endif /* _ASM_X86_EPHMAP_H */
