// SPDX-License-Identifier: GPL-2.0
/*
 * Ephemeral map (ephmap), x86-64: the page tables of a private window and
 * their local flush. See Documentation/mm/ephmap.rst.
 */
#include <linux/build_bug.h>
#include <linux/cpufeature.h>
#include <linux/gfp.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/pgalloc.h>
#include <linux/rwsem.h>
#include <linux/seqlock.h>
#include <linux/slab.h>

#include <asm/ephmap.h>
#include <asm/tlb.h>

/**
 * arch_ephmap_supported() - whether this machine can have private windows
 *
 * A Xen PV guest does not own its page tables: every update is a hypercall on
 * a page that must be read-only to the guest. Without NX a window would be
 * executable.
 *
 * Context: Boot.
 * Return: false when ephmap must stay off.
 */
bool arch_ephmap_supported(void)
{
	return !cpu_feature_enabled(X86_FEATURE_XENPV) &&
	       boot_cpu_has(X86_FEATURE_NX);
}

/*
 * With 5-level paging the window's P4D entry shares the last PGD entry with
 * the kernel image, its KASAN shadow, the CPU entry area and the espfix stacks.
 * Their P4D entries are set once during boot, before any window exists, so a
 * copy of that P4D table stays true. And sync_global_pgds(), which insists on
 * equal PGD entries, is never asked about the last one: it serves the direct
 * map, vmemmap, and new PGD entries of vmalloc.
 */
static p4d_t *ephmap_private_p4d(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);

	if (pgtable_l5_enabled()) {
		void *p4d = (void *)__get_free_page(GFP_KERNEL);

		if (!p4d)
			return NULL;
		copy_page(p4d, (void *)pgd_page_vaddr(*pgd));
		set_pgd(pgd, __pgd(__pa(p4d) | _KERNPG_TABLE));
	}
	return p4d_offset(pgd, addr);
}

static void ephmap_free_private_p4d(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	void *p4d;

	if (!pgtable_l5_enabled() || pgd_val(*pgd) == pgd_val(*pgd_offset_k(addr)))
		return;
	p4d = (void *)pgd_page_vaddr(*pgd);
	set_pgd(pgd, *pgd_offset_k(addr));
	free_page((unsigned long)p4d);
}

/*
 * An mm that is only ever loaded as a temporary one, with what pgd_alloc(),
 * sync_global_pgds() and switch_mm_irqs_off() use; compare efi_mm. No task has it,
 * and nobody takes a reference or looks for VMAs in it.
 *
 * mm_alloc() would also make counters and CIDs, which take 80 bytes for each
 * possible CPU, or 96 with CONFIG_SCHED_CACHE. In an mm for each CPU that would be
 * 320 MB, or 384, with 2048 CPUs.
 */
static struct mm_struct *ephmap_alloc_mm(void)
{
	struct mm_struct *mm;

	mm = kzalloc(struct_size(mm, flexible_array, cpumask_size()),
		     GFP_KERNEL);
	if (!mm)
		return NULL;
	mt_init_flags(&mm->mm_mt, MM_MT_FLAGS);
	mt_set_external_lock(&mm->mm_mt, &mm->mmap_lock);
	atomic_set(&mm->mm_users, 1);
	atomic_set(&mm->mm_count, 1);
	seqcount_init(&mm->write_protect_seq);
	init_rwsem(&mm->mmap_lock);
	spin_lock_init(&mm->page_table_lock);
	INIT_LIST_HEAD(&mm->mmlist);
	mm_init_cpumask(mm);
	if (!pgd_alloc(mm)) {
		kfree(mm);
		return NULL;
	}
	/* It is loaded as a temporary mm only. */
	init_new_context(NULL, mm);
	set_notrack_mm(mm);
	return mm;
}

static void ephmap_free_mm(struct mm_struct *mm)
{
	destroy_context(mm);
	pgd_free(mm, mm->pgd);
	kfree(mm);
}

/**
 * arch_ephmap_create_mm() - make the private mm of a CPU, with its window
 * @cpu: The CPU whose window it holds.
 * @ptes: Where to store the window's page table, all entries none.
 *
 * Nothing needs to be allocated later: the tables reach down to the PTEs.
 *
 * Context: Process context, may sleep.
 * Return: the mm, or NULL when out of memory.
 */
struct mm_struct *arch_ephmap_create_mm(unsigned int cpu, pte_t **ptes)
{
	unsigned long addr = arch_ephmap_base(cpu);
	struct mm_struct *mm;
	pud_t *pud;
	pmd_t *pmd;
	pte_t *pte;
	p4d_t *p4d;

	BUILD_BUG_ON(P4D_SIZE / PMD_SIZE < CONFIG_NR_CPUS);

	mm = ephmap_alloc_mm();
	if (!mm)
		return NULL;
	pud = (pud_t *)get_zeroed_page(GFP_KERNEL);
	pmd = (pmd_t *)get_zeroed_page(GFP_KERNEL);
	pte = (pte_t *)get_zeroed_page(GFP_KERNEL);
	if (!pud || !pmd || !pte)
		goto err_free;
	p4d = ephmap_private_p4d(mm, addr);
	if (!p4d)
		goto err_free;
	if (WARN_ON_ONCE(!p4d_none(*p4d)))
		goto err_free_p4d;

	set_p4d(p4d, __p4d(__pa(pud) | _KERNPG_TABLE));
	set_pud(pud + pud_index(addr), __pud(__pa(pmd) | _KERNPG_TABLE));
	set_pmd(pmd + pmd_index(addr), __pmd(__pa(pte) | _KERNPG_TABLE));
	*ptes = pte;
	return mm;

err_free_p4d:
	ephmap_free_private_p4d(mm, addr);
err_free:
	free_page((unsigned long)pte);
	free_page((unsigned long)pmd);
	free_page((unsigned long)pud);
	ephmap_free_mm(mm);
	return NULL;
}

/**
 * arch_ephmap_flush() - drop window addresses from this CPU's TLB
 * @addr: First address.
 * @nr: Number of pages, at most EPHMAP_MAX_PAGES.
 *
 * The mappings are not global and exist in the mm that is loaded now and in no
 * user page table, so INVLPG covers everything this CPU can have cached: no
 * other PCID needs one, also under PTI.
 *
 * Context: The scope's mm loaded, preemption off.
 * Return: the number of pages flushed.
 */
unsigned int arch_ephmap_flush(unsigned long addr, unsigned int nr)
{
	unsigned int flushed;

	for (flushed = 0; flushed < nr; flushed++)
		invlpg(addr + flushed * PAGE_SIZE);
	return flushed;
}
