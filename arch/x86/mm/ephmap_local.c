// SPDX-License-Identifier: GPL-2.0
/*
 * Ephemeral map (ephmap), x86-64: the local scope, windows in the kernel half of
 * a process' own mm, for Address Space Isolation. See Documentation/mm/ephmap.rst.
 *
 * Invariants:
 *
 * - An mm's ordinary and restricted PGD have the same window entry: whether a
 *   CPU leaves the restricted address space in a session makes no difference to
 *   what it reaches.
 * - Page tables of windows are added, never freed or replaced, while the mm
 *   exists: a walk needs no lock. They are freed with the PGD. Then no CPU has it
 *   loaded, and what one may still cache of it is of a PCID that is flushed
 *   before it is used again.
 * - When no session is open, no PTE is present in this CPU's window and this CPU
 *   caches none; and a CPU that loads the mm, or has it loaded while no session
 *   of it is open anywhere, caches none of other CPUs' windows.
 */
#include <linux/asi.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pgalloc.h>

#include <asm/ephmap.h>
#include <asm/ephmap_local.h>

/**
 * arch_ephmap_local_ptes() - find the page table of a window
 * @mm: The mm.
 * @cpu: The CPU whose window it is.
 *
 * Context: Any; the mm exists.
 * Return: the table, for as long as the mm exists, or NULL if there is none yet.
 */
pte_t *arch_ephmap_local_ptes(struct mm_struct *mm, unsigned int cpu)
{
	unsigned long addr = arch_ephmap_base(cpu);
	p4d_t *p4d = p4d_offset(pgd_offset(mm, addr), addr);
	pud_t *pud;
	pmd_t *pmd;

	if (p4d_none(p4dp_get(p4d)))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(pudp_get(pud)))
		return NULL;
	pmd = pmd_offset(pud, addr);
	if (pmd_none(pmdp_get(pmd)))
		return NULL;
	return (pte_t *)pmd_page_vaddr(*pmd);
}

/*
 * Readers sleep elsewhere, with locks of file systems held: do not wait for
 * memory. Who gets none does without a window.
 */
static void *ephmap_table(void)
{
	return (void *)get_zeroed_page(GFP_NOWAIT | __GFP_ACCOUNT);
}

/*
 * The top-level entry that the mm's two PGDs have in common. Who sees it in the
 * ordinary one, and flushes then, has flushed what was in the other one.
 */
static void ephmap_set_pgd(pgd_t *pgd, pgd_t entry)
{
	set_pgd(asi_restricted_pgd(pgd), entry);
	smp_wmb();	/* Pairs with the flush after ephmap_owns_p4d(). */
	set_pgd(pgd, entry);
}

static bool ephmap_owns_p4d(pgd_t *pgd, unsigned long addr)
{
	return pgtable_l5_enabled() &&
	       pgd_val(*pgd) != pgd_val(*pgd_offset_k(addr));
}

/*
 * With 5-level paging the window's PGD entry is that of the kernel image. Give
 * the mm a P4D table of its own, a copy that stays true: see
 * ephmap_private_p4d().
 */
static int ephmap_add_p4d(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	void *table;

	if (!pgtable_l5_enabled() || ephmap_owns_p4d(pgd, addr))
		return 0;
	table = ephmap_table();
	if (!table)
		return -ENOMEM;
	copy_page(table, (void *)pgd_page_vaddr(*pgd_offset_k(addr)));
	scoped_guard(spinlock, &pgd_lock) {
		if (!ephmap_owns_p4d(pgd, addr)) {
			ephmap_set_pgd(pgd, __pgd(__pa(table) | _KERNPG_TABLE));
			table = NULL;
		}
	}
	free_page((unsigned long)table);
	return 0;
}

static int ephmap_add_pud(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d = p4d_offset(pgd, addr);
	void *table;

	if (!p4d_none(p4dp_get(p4d)))
		return 0;
	table = ephmap_table();
	if (!table)
		return -ENOMEM;
	/*
	 * CPUs may have cached the P4D table that the mm had before. So they
	 * forget it before anybody sees an entry in the new one.
	 */
	if (pgtable_l5_enabled())
		flush_tlb_mm(mm);
	scoped_guard(spinlock, &pgd_lock) {
		if (p4d_none(*p4d)) {
			unsigned long entry = __pa(table) | _KERNPG_TABLE;

			if (pgtable_l5_enabled())
				set_p4d(p4d, __p4d(entry));
			else
				ephmap_set_pgd(pgd, __pgd(entry));
			table = NULL;
		}
	}
	free_page((unsigned long)table);
	return 0;
}

static int ephmap_add_pmd(struct mm_struct *mm, unsigned long addr)
{
	pud_t *pud = pud_offset(p4d_offset(pgd_offset(mm, addr), addr), addr);
	void *table;

	if (!pud_none(pudp_get(pud)))
		return 0;
	table = ephmap_table();
	if (!table)
		return -ENOMEM;
	scoped_guard(spinlock, &pgd_lock) {
		if (pud_none(*pud)) {
			set_pud(pud, __pud(__pa(table) | _KERNPG_TABLE));
			table = NULL;
		}
	}
	free_page((unsigned long)table);
	return 0;
}

static int ephmap_add_pte(struct mm_struct *mm, unsigned long addr)
{
	p4d_t *p4d = p4d_offset(pgd_offset(mm, addr), addr);
	pmd_t *pmd = pmd_offset(pud_offset(p4d, addr), addr);
	void *table;

	if (!pmd_none(pmdp_get(pmd)))
		return 0;
	table = ephmap_table();
	if (!table)
		return -ENOMEM;
	scoped_guard(spinlock, &pgd_lock) {
		if (pmd_none(*pmd)) {
			set_pmd(pmd, __pmd(__pa(table) | _KERNPG_TABLE));
			table = NULL;
		}
	}
	free_page((unsigned long)table);
	return 0;
}

/**
 * arch_ephmap_add_local() - make the page tables of a window
 * @mm: current->mm.
 * @cpu: The CPU whose window it is.
 *
 * What there is already is kept, also when there is no memory for the rest: it
 * goes with the mm.
 *
 * Context: Task context, interrupts on; does not sleep.
 * Return: 0, or -ENOMEM.
 */
int arch_ephmap_add_local(struct mm_struct *mm, unsigned int cpu)
{
	unsigned long addr = arch_ephmap_base(cpu);

	if (ephmap_add_p4d(mm, addr) || ephmap_add_pud(mm, addr) ||
	    ephmap_add_pmd(mm, addr) || ephmap_add_pte(mm, addr))
		return -ENOMEM;
	return 0;
}

static void ephmap_free_pmd(pmd_t *pmd)
{
	unsigned int i;

	for (i = 0; i < PTRS_PER_PMD && i < nr_cpu_ids; i++) {
		if (!pmd_none(pmd[i]))
			free_page(pmd_page_vaddr(pmd[i]));
	}
	free_page((unsigned long)pmd);
}

/**
 * arch_ephmap_free_local() - free the page tables of an mm's windows
 * @mm: An mm whose PGD is about to be freed.
 *
 * Context: Any that may free pages; no CPU has the mm loaded.
 */
void arch_ephmap_free_local(struct mm_struct *mm)
{
	pgd_t *pgd = pgd_offset(mm, EPHMAP_BASE_ADDR);
	p4d_t *p4d;
	pud_t *pud;
	unsigned int i;

	if (!asi_enabled())
		return;
	p4d = p4d_offset(pgd, EPHMAP_BASE_ADDR);
	if (!p4d_none(*p4d)) {
		pud = p4d_pgtable(*p4d);
		for (i = 0; i < DIV_ROUND_UP(nr_cpu_ids, PTRS_PER_PMD); i++) {
			if (!pud_none(pud[i]))
				ephmap_free_pmd(pud_pgtable(pud[i]));
		}
		free_page((unsigned long)pud);
	}
	if (ephmap_owns_p4d(pgd, EPHMAP_BASE_ADDR))
		free_page(pgd_page_vaddr(*pgd));
}

/**
 * arch_ephmap_flush_both() - drop window addresses from this CPU's TLB
 * @addr: First address.
 * @nr: Number of pages, at most EPHMAP_MAX_PAGES; they are unmapped.
 *
 * In the restricted address space of the mm that is loaded, and in the other one.
 *
 * Context: Preemption off.
 */
void arch_ephmap_flush_both(unsigned long addr, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		flush_tlb_one_user(addr + i * PAGE_SIZE);
}

/**
 * arch_ephmap_flush_others() - drop window addresses from other CPUs' TLBs
 * @mm: current->mm.
 * @addr: First address.
 * @nr: Number of pages, not 0.
 *
 * No other code uses this CPU's window, but speculation might. CPUs that have the
 * mm loaded are sent an IPI, others flush before they load it.
 *
 * Context: Task context, interrupts on.
 */
void arch_ephmap_flush_others(struct mm_struct *mm, unsigned long addr,
			      unsigned int nr)
{
	flush_tlb_mm_range(mm, addr, addr + nr * PAGE_SIZE, PAGE_SHIFT, false);
}
