// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation (ASI): the audit of restricted page tables, counters, and
 * what made CPUs leave. For more info see Documentation/arch/x86/asi.rst.
 */
#include <linux/asi.h>
#include <linux/asi_park.h>
#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>
#include <linux/workqueue.h>

#include <asm/ephmap.h>
#include <asm/tlbflush.h>

#include "asi_internal.h"
#include "asi_window.h"
#include "mm_internal.h"

#define CREATE_TRACE_POINTS
#include <asm/trace/asi.h>

/* === Why CPUs leave ======================================================= */

/* Where the kernel was when it left the restricted address space, how often. */
struct asi_caller {
	unsigned long ip;
	atomic_long_t exits;
};

#define ASI_CALLERS_BITS	9
#define ASI_CALLERS_PROBES	16

static struct asi_caller asi_callers[1 << ASI_CALLERS_BITS];
static atomic_long_t asi_callers_lost;

static void asi_count_caller(unsigned long ip)
{
	unsigned int i, slot = hash_long(ip, ASI_CALLERS_BITS);

	for (i = 0; i < ASI_CALLERS_PROBES; i++) {
		struct asi_caller *caller =
			&asi_callers[(slot + i) % ARRAY_SIZE(asi_callers)];
		unsigned long old = READ_ONCE(caller->ip);

		if (!old)
			old = cmpxchg(&caller->ip, 0, ip);
		if (!old || old == ip) {
			atomic_long_inc(&caller->exits);
			return;
		}
	}
	atomic_long_inc(&asi_callers_lost);
}

/**
 * asi_note_fault() - count and trace what made asi_fault() return true
 * @regs: Of the page fault.
 * @addr: What was touched.
 *
 * Context: Any, NMI included; instrumentation is allowed.
 */
void asi_note_fault(struct pt_regs *regs, unsigned long addr)
{
	bool user = addr < TASK_SIZE_MAX;

	this_cpu_inc(asi_cpu.nr.exits[user ? ASI_EXIT_USER : ASI_EXIT_FAULT]);
	asi_count_caller(regs->ip);
	trace_asi_exit(addr, regs->ip, user);
}

/* === Page tables that are freed =========================================== */

/* Whether a PGD names a page table among @nr page frames from @pfn on. */
static bool asi_root_names(struct asi_cpu *cpu, unsigned int slot,
			   unsigned long pfn, unsigned long nr)
{
	unsigned int entry;

	for_each_set_bit(entry, cpu->space[slot].used,
			 ASI_USER_WORDS * BITS_PER_LONG) {
		pgd_t pgd = READ_ONCE(asi_root(cpu, slot)[entry]);

		if (!pgd_none(pgd) &&
		    PHYS_PFN(pgd_val(pgd) & PTE_PFN_MASK) - pfn < nr)
			return true;
	}
	return false;
}

/*
 * No CPU has a PGD loaded that names a page table which is freed. One that is not
 * loaded may. What is loaded is asked twice: it may change meanwhile.
 */
void __asi_check_free(unsigned long pfn, unsigned int order)
{
	unsigned int nr, slot, tries;
	u16 asid;

	for_each_online_cpu(nr) {
		struct asi_cpu *cpu = per_cpu_ptr(&asi_cpu, nr);

		if (!cpu->pgds)
			continue;
		for (tries = 0; tries < 3; tries++) {
			asid = per_cpu(cpu_tlbstate.loaded_mm_asid, nr);
			slot = cpu_feature_enabled(X86_FEATURE_PCID) ?
				       asid : READ_ONCE(cpu->slot);
			/* Another one's while a temporary mm is loaded. */
			if (cpu->space[slot].ctx_id !=
				    per_cpu(cpu_tlbstate.ctxs[asid].ctx_id, nr) ||
			    !asi_root_names(cpu, slot, pfn, 1UL << order))
				break;
			cpu_relax();
		}
		WARN_ONCE(tries == 3, "asi: pfn %#lx is a page table of CPU %u\n",
			  pfn, nr);
	}
}

/* === Audit ================================================================ */

/* One of enum asi_user_data, or -1 for none. */
static int asi_mapping_kind(struct address_space *mapping)
{
	if (shmem_mapping(mapping))
		return ASI_SHMEM;
	if (mapping_no_direct_map(mapping))
		return ASI_SECRETMEM;
	if (mapping_inaccessible(mapping))
		return ASI_GUEST_MEMFD;
	if (mapping->host && S_ISBLK(mapping->host->i_mode))
		return ASI_BDEV;
	/* A filesystem's own, or what the kernel shares with users (AIO). */
	if (mapping->host && IS_PRIVATE(mapping->host))
		return -1;
	if (test_bit(AS_KERNEL_FILE, &mapping->flags))
		return -1;
	/* Names are metadata. */
	if (mapping->host && (S_ISDIR(mapping->host->i_mode) ||
			      S_ISLNK(mapping->host->i_mode)))
		return -1;
	return ASI_FILE;
}

static int asi_folio_kind(struct folio *folio)
{
	struct address_space *mapping;
	int kind = -1;

	if (folio_test_slab(folio) || folio_test_pgtable(folio))
		return -1;
	if (folio_test_hugetlb(folio))
		return ASI_HUGETLB;
	if (folio_test_anon(folio))
		return ASI_ANON;
	if (!READ_ONCE(folio->mapping) || page_has_movable_ops(&folio->page))
		return -1;
	/* Without its lock the folio may be truncated, and the inode freed. */
	if (!folio_trylock(folio))
		return ASI_BUSY;
	mapping = folio->mapping;
	if (mapping && !folio_test_anon(folio))
		kind = asi_mapping_kind(mapping);
	folio_unlock(folio);
	return kind;
}

/*
 * What kind of user data a page holds, -1 for none. A page that is being freed
 * or allocated may be taken for what it was or what it will be.
 */
static int asi_page_kind(struct page *page)
{
	struct folio *folio = page_folio(page);
	int kind = -1;

	if (!folio_try_get(folio)) {
		if (get_pageblock_visibility(page) != VIS_USER)
			return -1;
		/* Frozen pages have no references; slab's are most. */
		return PageSlab(page) ? -1 : ASI_FREE;
	}
	if (folio == page_folio(page))
		kind = asi_folio_kind(folio);
	folio_put(folio);
	return kind;
}

static int asi_pfn_kind(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);

	return page && !PageReserved(page) ? asi_page_kind(page) : -1;
}

static void asi_audit_page(struct asi_audit *audit, unsigned long pfn)
{
	int kind = asi_pfn_kind(pfn);

	audit->present++;
	if (kind >= 0)
		audit->user_data[kind]++;
}

/* Which pages can be reached through a PMD entry. Swap bits mean nothing here. */
static void asi_pmd_pages(pmd_t pmd, unsigned long *pages)
{
	unsigned long i;
	pte_t *ptes;

	bitmap_zero(pages, PTRS_PER_PTE);
	if (!(pmd_flags(pmd) & _PAGE_PRESENT))
		return;
	if (pmd_leaf(pmd)) {
		bitmap_fill(pages, PTRS_PER_PTE);
		return;
	}
	ptes = (pte_t *)pmd_page_vaddr(pmd);
	for (i = 0; i < PTRS_PER_PTE; i++) {
		if (pte_flags(READ_ONCE(ptes[i])) & _PAGE_PRESENT)
			__set_bit(i, pages);
	}
}

/*
 * Compare the restricted entry for @addr with init_mm's, and say which pages it
 * reaches. CPA splits and collapses under pgd_lock: it is not seen between two
 * steps, and a PTE table is not freed while it is read.
 */
static void asi_audit_pmd(struct asi_audit *audit, unsigned long addr,
			  unsigned long *pages)
{
	unsigned long pfn = PHYS_PFN(__pa(addr));
	bool movable = asi_block_is_movable(pfn);
	pmd_t *pmd = asi_direct_map_pmd(addr);
	pmd_t init, restricted;

	guard(spinlock)(&pgd_lock);
	scoped_guard(raw_spinlock_irqsave, &asi_lock) {
		init = asi_init_mm_pmd(addr);
		restricted = pmd ? READ_ONCE(*pmd) : __pmd(0);
	}
	/* What the CPU sets in one of them by itself means nothing. */
	if (!pmd_none(restricted) &&
	    ((pmd_val(restricted) ^ pmd_val(init)) &
	     ~(pmdval_t)(_PAGE_ACCESSED | _PAGE_DIRTY)))
		audit->different++;
	if (pmd_none(restricted) && !pmd_none(init))
		audit->absent += PTRS_PER_PTE;
	/* The block may have got its type before, or after, it was looked at. */
	if (movable == asi_block_is_movable(pfn)) {
		audit->movable += movable && !pmd_none(restricted);
		audit->kernel += !movable && pmd_none(restricted) &&
				 pfn_to_online_page(pfn);
	}
	asi_pmd_pages(restricted, pages);
}

/**
 * asi_audit_range() - count what the restricted direct map reaches
 * @audit: Where to add the counts.
 * @start: First page frame, aligned to a PMD.
 * @end: Page frame after the last.
 *
 * Context: May sleep.
 */
void asi_audit_range(struct asi_audit *audit, unsigned long start,
		     unsigned long end)
{
	DECLARE_BITMAP(pages, PTRS_PER_PTE);
	unsigned long i, pfn;

	get_online_mems();
	for (pfn = start; pfn < end; pfn += PTRS_PER_PTE) {
		asi_audit_pmd(audit, (unsigned long)__va(PFN_PHYS(pfn)), pages);
		/* Without the lock: to put a folio may free it. */
		for_each_set_bit(i, pages, PTRS_PER_PTE)
			asi_audit_page(audit, pfn + i);
		cond_resched();
	}
	put_online_mems();
}

/* With 5 levels the window's top-level entry is that of others, too. */
static void asi_audit_window_entry(struct asi_audit *audit, pgd_t entry)
{
	pgd_t init = asi_kernel_entry(pgd_index(ASI_WINDOW_BASE));
	p4d_t *p4d, *init_p4d;
	unsigned int i;

	audit->wrong += !pgd_present(entry);
	if (!pgtable_l5_enabled() || !pgd_present(entry))
		return;
	p4d = (p4d_t *)pgd_page_vaddr(entry);
	init_p4d = (p4d_t *)pgd_page_vaddr(init);
	for (i = 0; i < PTRS_PER_P4D; i++) {
		bool same = !((p4d_val(p4d[i]) ^ p4d_val(init_p4d[i])) &
			      ~(p4dval_t)(_PAGE_ACCESSED | _PAGE_DIRTY));

		/* init_mm has the ephmap's tables, or none, at these addresses. */
		audit->wrong += same == (i == p4d_index(ASI_WINDOW_BASE));
	}
}

static void asi_audit_root(struct asi_audit *audit, pgd_t *root, bool guest)
{
	unsigned int slot;

	audit->pgds++;
	for (slot = KERNEL_PGD_BOUNDARY; slot < PTRS_PER_PGD; slot++) {
		if (slot == pgd_index(ASI_WINDOW_BASE) && !guest)
			asi_audit_window_entry(audit, root[slot]);
		else
			audit->wrong += pgd_val(root[slot]) !=
					pgd_val(asi_kernel_entry(slot));
	}
}

/* The caller holds pgd_lock, and memory stays online. */
void asi_audit_roots(struct asi_audit *audit)
{
	unsigned int cpu, slot;

	for_each_possible_cpu(cpu) {
		struct asi_cpu *asi = per_cpu_ptr(&asi_cpu, cpu);

		if (!asi->pgds)
			continue;
		for (slot = 0; slot < ASI_NR_SLOTS; slot++)
			asi_audit_root(audit, asi_root(asi, slot),
				       slot == ASI_GUEST_SLOT);
		for (slot = 0; slot < KERNEL_PGD_BOUNDARY; slot++)
			audit->wrong +=
				pgd_val(asi_root(asi, ASI_GUEST_SLOT)[slot]) != 0;
	}
}

/**
 * asi_audit_pgds() - check the kernel half of all restricted PGDs, and that those
 *		      for guests have no other
 * @audit: Where to add the counts.
 *
 * Context: May sleep.
 */
void asi_audit_pgds(struct asi_audit *audit)
{
	get_online_mems();
	scoped_guard(spinlock, &pgd_lock)
		asi_audit_roots(audit);
	put_online_mems();
}

static void asi_audit_leaf(struct asi_audit *audit, unsigned long pfn,
			   unsigned long nr)
{
	unsigned long i;
	int kind;

	for (i = 0; i < nr; i++) {
		kind = asi_pfn_kind(pfn + i);
		if (kind >= 0 && kind != ASI_FREE && kind != ASI_BUSY)
			audit->mapped++;
	}
}

static int asi_audit_pud_entry(pud_t *pudp, unsigned long addr,
			       unsigned long next, struct mm_walk *walk)
{
	pud_t pud = READ_ONCE(*pudp);

	if (pud_present(pud) && pud_leaf(pud))
		asi_audit_leaf(walk->private, pud_pfn(pud), PHYS_PFN(PUD_SIZE));
	return 0;
}

static int asi_audit_pmd_entry(pmd_t *pmdp, unsigned long addr,
			       unsigned long next, struct mm_walk *walk)
{
	pmd_t pmd = READ_ONCE(*pmdp);

	if (pmd_present(pmd) && pmd_leaf(pmd))
		asi_audit_leaf(walk->private, pmd_pfn(pmd), PTRS_PER_PTE);
	cond_resched();
	return 0;
}

static int asi_audit_pte_entry(pte_t *ptep, unsigned long addr,
			       unsigned long next, struct mm_walk *walk)
{
	pte_t pte = READ_ONCE(*ptep);

	if (pte_present(pte))
		asi_audit_leaf(walk->private, pte_pfn(pte), 1);
	return 0;
}

static const struct mm_walk_ops asi_audit_ops = {
	.pud_entry = asi_audit_pud_entry,
	.pmd_entry = asi_audit_pmd_entry,
	.pte_entry = asi_audit_pte_entry,
};

/**
 * asi_audit_mapped() - count user data that is mapped outside the direct map
 * @audit: Where to add the counts.
 *
 * What the kernel maps of a user's pages, by vmap() and by the fixmap, is mapped
 * in all address spaces until it is unmapped again, and in TLBs until vmalloc flushes.
 *
 * Context: May sleep.
 */
void asi_audit_mapped(struct asi_audit *audit)
{
	get_online_mems();
	/* Who owns a range frees its page tables under the read lock. */
	mmap_write_lock(&init_mm);
	walk_kernel_page_table_range(VMALLOC_START, VMALLOC_END + 1,
				     &asi_audit_ops, NULL, audit);
	walk_kernel_page_table_range(FIXADDR_START, FIXADDR_TOP, &asi_audit_ops,
				     NULL, audit);
	mmap_write_unlock(&init_mm);
	put_online_mems();
}

/* A1, A3, A8 by themselves, once a second, with CONFIG_DEBUG_ASI. */
static void asi_debug_audit(struct work_struct *work)
{
	DECLARE_BITMAP(pages, PTRS_PER_PTE);
	struct asi_audit audit = {};
	unsigned long pfn;

	get_online_mems();
	for (pfn = 0; pfn < max_pfn; pfn += PTRS_PER_PTE) {
		asi_audit_pmd(&audit, (unsigned long)__va(PFN_PHYS(pfn)), pages);
		cond_resched();
	}
	put_online_mems();
	asi_audit_pgds(&audit);
	WARN_ON_ONCE(audit.different);
	WARN_ON_ONCE(audit.movable);
	WARN_ON_ONCE(audit.wrong);
	schedule_delayed_work(to_delayed_work(work), HZ);
}

static DECLARE_DEFERRABLE_WORK(asi_debug_work, asi_debug_audit);

static const char * const asi_user_data_names[] = {
	[ASI_ANON]	  = "anonymous",
	[ASI_SHMEM]	  = "shmem",
	[ASI_SECRETMEM]	  = "secretmem",
	[ASI_GUEST_MEMFD] = "guest_memfd",
	[ASI_HUGETLB]	  = "hugetlb",
	[ASI_BDEV]	  = "block_device",
	[ASI_FILE]	  = "file",
	[ASI_FREE]	  = "free_movable",
	[ASI_BUSY]	  = "busy",
};

static_assert(ARRAY_SIZE(asi_user_data_names) == ASI_NR_USER_DATA);

static int audit_show(struct seq_file *m, void *unused)
{
	struct asi_audit audit = {};
	unsigned int kind;

	asi_audit_range(&audit, 0, max_pfn);
	asi_audit_pgds(&audit);
	asi_audit_mapped(&audit);

	seq_printf(m, "pgds %lu\n", audit.pgds);
	seq_printf(m, "wrong_pgd_entries %lu\n", audit.wrong);
	seq_printf(m, "different_pmd_entries %lu\n", audit.different);
	seq_printf(m, "movable_blocks_present %lu\n", audit.movable);
	seq_printf(m, "kernel_blocks_absent %lu\n", audit.kernel);
	seq_printf(m, "pages_absent %lu\n", audit.absent);
	seq_printf(m, "pages_present %lu\n", audit.present);
	for (kind = 0; kind < ASI_NR_USER_DATA; kind++)
		seq_printf(m, "user_%s %lu\n", asi_user_data_names[kind],
			   audit.user_data[kind]);
	seq_printf(m, "user_mapped %lu\n", audit.mapped);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(audit);

/**
 * asi_read_stats() - read the counters since boot
 * @stats: Where to.
 *
 * Context: Any. CPUs go on counting meanwhile.
 */
void asi_read_stats(struct asi_stats *stats)
{
	unsigned long *sum = (unsigned long *)&stats->cpus;
	unsigned int cpu, i;

	memset(stats, 0, sizeof(*stats));
	for_each_possible_cpu(cpu) {
		unsigned long *nr = (unsigned long *)per_cpu_ptr(&asi_cpu.nr, cpu);

		for (i = 0; i < sizeof(stats->cpus) / sizeof(*sum); i++)
			sum[i] += READ_ONCE(nr[i]);
	}
	stats->zapped = atomic_long_read(&asi_zapped);
	stats->restored = atomic_long_read(&asi_restored);
	stats->flushes = atomic_long_read(&asi_flushes);
}

static const char * const asi_drain_names[] = {
	[ASI_DRAIN_FULL]   = "full",
	[ASI_DRAIN_SWITCH] = "switch",
	[ASI_DRAIN_IDLE]   = "idle",
	[ASI_DRAIN_TIME]   = "time",
	[ASI_DRAIN_ASKED]  = "asked",
};

static_assert(ARRAY_SIZE(asi_drain_names) == ASI_NR_DRAIN);

static int stats_show(struct seq_file *m, void *unused)
{
	unsigned long flushed = 0;
	struct asi_stats stats;
	unsigned int cpu, kind;

	asi_read_stats(&stats);
	seq_printf(m, "zapped %lu\n", stats.zapped);
	seq_printf(m, "restored %lu\n", stats.restored);
	seq_printf(m, "flushes %lu\n", stats.flushes);
	seq_printf(m, "enters %lu\n", stats.cpus.enters[ASI_USER]);
	seq_printf(m, "enters_guest %lu\n", stats.cpus.enters[ASI_GUEST]);
	seq_printf(m, "reenters %lu\n", stats.cpus.reenters);
	seq_printf(m, "exits_fault %lu\n", stats.cpus.exits[ASI_EXIT_FAULT]);
	seq_printf(m, "exits_user %lu\n", stats.cpus.exits[ASI_EXIT_USER]);
	seq_printf(m, "exits_switch %lu\n", stats.cpus.exits[ASI_EXIT_SWITCH]);
	seq_printf(m, "exits_asked %lu\n", stats.cpus.exits[ASI_EXIT_ASKED]);
	seq_printf(m, "switches %lu\n", stats.cpus.switches);
	seq_printf(m, "parked %lu\n", stats.cpus.parked);
	seq_printf(m, "hits %lu\n", stats.cpus.hits);
	for (kind = 0; kind < ASI_NR_DRAIN; kind++)
		seq_printf(m, "drains_%s %lu\n", asi_drain_names[kind],
			   stats.cpus.drains[kind]);
	for_each_possible_cpu(cpu)
		flushed += READ_ONCE(per_cpu(asi_window.flushed, cpu));
	seq_printf(m, "window_flushed %lu\n", flushed);
	seq_printf(m, "rebounds %lu\n", stats.cpus.rebounds);
	seq_printf(m, "flushes_other %lu\n", stats.cpus.invpcids);
	seq_printf(m, "flushes_late %lu\n", stats.cpus.late);
	for (kind = 0; kind < ASI_NR_FLUSH; kind++)
		seq_printf(m, "flushed_%s %lu\n", asi_flush_names[kind],
			   stats.cpus.flushed[kind]);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(stats);

static int exits_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(asi_callers); i++) {
		unsigned long ip = READ_ONCE(asi_callers[i].ip);

		if (ip)
			seq_printf(m, "%ld %pS\n",
				   atomic_long_read(&asi_callers[i].exits),
				   (void *)ip);
	}
	seq_printf(m, "%ld others\n", atomic_long_read(&asi_callers_lost));
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(exits);

static int __init asi_debugfs_init(void)
{
	struct dentry *dir;

	if (!asi_enabled())
		return 0;
	dir = debugfs_create_dir("asi", NULL);
	debugfs_create_file("audit", 0400, dir, NULL, &audit_fops);
	debugfs_create_file("stats", 0400, dir, NULL, &stats_fops);
	debugfs_create_file("exits", 0400, dir, NULL, &exits_fops);
	if (IS_ENABLED(CONFIG_DEBUG_ASI))
		schedule_delayed_work(&asi_debug_work, HZ);
	return 0;
}
late_initcall(asi_debugfs_init);
