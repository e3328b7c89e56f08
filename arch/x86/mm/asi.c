// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation (ASI): restricted kernel page tables, without the
 * memory that holds user data. For more info see
 * Documentation/arch/x86/asi.rst.
 *
 * Invariants:
 *
 * - A PMD entry of the restricted direct map is none (absent) or equal to
 *   init_mm's: protections can never differ. Entries of init_mm change under
 *   pgd_lock or mem_hotplug_lock, and the restricted one follows before either
 *   is released, and before TLBs are flushed.
 * - Which of the two it is, is decided by asi_zap_direct_map() and
 *   asi_restore_direct_map() alone, that is by the page allocator. All others
 *   keep absent what is absent.
 * - The entry of a pageblock whose type is movable is absent, and no CPU's TLB
 *   has it, from before the type is set until after it is another one.
 * - Page tables of the restricted direct map are added, never freed or
 *   replaced: a walk needs no lock.
 * - A restricted PGD is one CPU's: no other loads it. In its kernel half the
 *   direct map's entries are those of asi_pgd, all others init_mm's.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/bitmap.h>
#include <linux/cpuhotplug.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pgalloc.h>
#include <linux/string.h>

#include <asm/cmdline.h>
#include <asm/mmu_context.h>
#include <asm/setup.h>
#include <asm/tlbflush.h>

#include "asi_internal.h"
#include "asi_window.h"
#include "mm_internal.h"

/* === Data ================================================================= */

static bool asi_wanted __initdata;

/* The direct map's top-level entries: the template of all restricted PGDs. */
static pgd_t *asi_pgd __ro_after_init;

/* What it has not, a bit for each PMD; of memory beyond, nothing is known. */
unsigned long *asi_absent __ro_after_init;
unsigned long asi_nr_absent __ro_after_init;

/* The direct map's slots in a PGD; nothing else has an address in them. */
static unsigned int asi_first_slot __ro_after_init;
static unsigned int asi_last_slot __ro_after_init;

/* Orders writes to the restricted direct map's PMD entries. */
DEFINE_RAW_SPINLOCK(asi_lock);

/* Orders who adds page tables to the restricted direct map. */
static DEFINE_MUTEX(asi_populate_lock);

/* What the page allocator had done; in PMDs, but for the flushes. */
atomic_long_t asi_zapped;
atomic_long_t asi_restored;
atomic_long_t asi_flushes;

DEFINE_PER_CPU_ALIGNED(struct asi_cpu, asi_cpu);
EXPORT_PER_CPU_SYMBOL(asi_cpu);

/* === Boot ================================================================= */

static int __init asi_setup(char *str)
{
	return kstrtobool(str, &asi_wanted);
}
early_param("asi", asi_setup);

/**
 * asi_region_align() - how KASLR has to align the kernel's memory regions
 *
 * The direct map's top-level entries are replaced in restricted page tables, so
 * that it must not share one with vmalloc.
 *
 * Context: Boot, after the command line has been parsed.
 * Return: the alignment in bytes.
 */
unsigned long __init asi_region_align(void)
{
	return asi_wanted ? PGDIR_SIZE : PUD_SIZE;
}

/*
 * Whether the owner has given up page-table isolation by name. It may be off
 * for other reasons: mitigations=off, or a kernel built without it.
 */
static bool __init asi_pti_given_up(void)
{
	char arg[4];

	if (cmdline_find_option_bool(boot_command_line, "nopti"))
		return true;
	return cmdline_find_option(boot_command_line, "pti", arg,
				   sizeof(arg)) == 3 && !strcmp(arg, "off");
}

static const char * __init asi_refused(void)
{
	BUILD_BUG_ON(TLB_NR_DYN_ASIDS > ASI_GUEST_SLOT);

	if (cpu_feature_enabled(X86_FEATURE_XENPV))
		return "a Xen PV guest does not own its page tables";
	/* The two exclude each other, and PTI protects more where it is needed. */
	if (boot_cpu_has_bug(X86_BUG_CPU_MELTDOWN) && !asi_pti_given_up())
		return "the CPU needs page-table isolation";
	if (cpu_feature_enabled(X86_FEATURE_PTI))
		return "page-table isolation is on";
	if (!boot_cpu_has(X86_FEATURE_NX))
		return "the CPU has no NX";
	if (pageblock_order < PMD_SHIFT - PAGE_SHIFT)
		return "pageblocks are smaller than 2 MB";
	/* Without grouping all memory is unmovable, that is, present. */
	if (PHYS_PFN(memblock_phys_mem_size()) <
	    pageblock_nr_pages * MIGRATE_TYPES)
		return "too little memory to group pages by mobility";
	if (pgd_index(VMALLOC_START) <= asi_last_slot)
		return "the direct map shares page tables with vmalloc";
	return NULL;
}

/**
 * asi_check_boottime() - decide whether there will be restricted page tables
 *
 * As with other mitigations, what is asked for by name wins over mitigations=.
 *
 * Context: Boot, before the direct map is made: it depends on it.
 */
void __init asi_check_boottime(void)
{
	const char *reason;

	if (!asi_wanted)
		return;
	asi_first_slot = pgd_index(PAGE_OFFSET);
	asi_last_slot = pgd_index(PAGE_OFFSET + DIRECT_MAP_PHYSMEM_END);

	reason = asi_refused();
	if (reason) {
		pr_info("off: %s\n", reason);
		return;
	}
	setup_force_cpu_cap(X86_FEATURE_ASI);
	if (boot_cpu_has_bug(X86_BUG_CPU_MELTDOWN))
		pr_warn("without page-table isolation user mode can read all memory that is mapped\n");

	/*
	 * The direct map's translations are not global. When one is flushed, other
	 * PCIDs are marked to be flushed when they are used next, and those
	 * that INVLPGB takes care of are not among them.
	 */
	setup_clear_cpu_cap(X86_FEATURE_INVLPGB);
}

/* === The restricted direct map ============================================ */

static pmd_t *asi_walk(pgd_t *pgd, unsigned long addr)
{
	p4d_t *p4d;
	pud_t *pud;

	pgd += pgd_index(addr);
	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) || WARN_ON_ONCE(pud_leaf(*pud)))
		return NULL;
	return pmd_offset(pud, addr);
}

/**
 * asi_direct_map_pmd() - find the restricted PMD entry of a direct-map address
 * @addr: The address.
 *
 * Context: Any; asi_enabled() is true.
 * Return: the entry, for good, or NULL when there never was memory so near that
 * it has a page table.
 */
pmd_t *asi_direct_map_pmd(unsigned long addr)
{
	/* The page allocator is at work before asi_init(). */
	if (!asi_pgd || !asi_in_direct_map(addr))
		return NULL;
	return asi_walk(asi_pgd, addr);
}

pmd_t asi_init_mm_pmd(unsigned long addr)
{
	pmd_t *pmd = asi_walk(init_mm.pgd, addr);

	return pmd ? READ_ONCE(*pmd) : __pmd(0);
}

/* A hint for those who copy: what is wrong about it costs an exit. */
static void asi_note_absent(unsigned long addr, bool absent)
{
	unsigned long bit = __pa(addr) >> PMD_SHIFT;

	if (bit < asi_nr_absent)
		__assign_bit(bit, asi_absent, absent);
}

/*
 * Make what init_mm has for @addr the restricted entry; if it is absent, only
 * with @restore. init_mm's is read under the lock. Whoever has changed it calls
 * this afterwards, so the last one to come here sees the last change.
 */
static void asi_copy_pmd(unsigned long addr, bool restore)
{
	pmd_t *pmd = asi_direct_map_pmd(addr);
	unsigned long flags;

	if (!pmd)
		return;
	raw_spin_lock_irqsave(&asi_lock, flags);
	if (restore || !pmd_none(*pmd))
		set_pmd(pmd, asi_init_mm_pmd(addr));
	if (restore)
		asi_note_absent(addr, false);
	raw_spin_unlock_irqrestore(&asi_lock, flags);
}

void __asi_sync_direct_map(unsigned long addr)
{
	/* The change may be of another mapping: kernel image, vmalloc, EFI. */
	asi_copy_pmd(addr, false);
}

/**
 * asi_zap_direct_map() - take memory out of the restricted direct map
 * @pfn: First page frame, aligned to a PMD.
 * @nr: Number of pages, a multiple of what a PMD maps.
 *
 * The caller flushes, by asi_flush_direct_map(), before it relies on the
 * absence.
 *
 * Context: Any but NMI; asi_enabled() is true.
 */
void asi_zap_direct_map(unsigned long pfn, unsigned long nr)
{
	unsigned long addr = (unsigned long)__va(PFN_PHYS(pfn));
	unsigned long end = addr + nr * PAGE_SIZE, flags;

	VM_WARN_ON_ONCE(!IS_ALIGNED(addr | end, PMD_SIZE));

	for (; addr < end; addr += PMD_SIZE) {
		pmd_t *pmd = asi_direct_map_pmd(addr);

		if (!pmd)
			continue;
		raw_spin_lock_irqsave(&asi_lock, flags);
		asi_note_absent(addr, true);
		pmd_clear(pmd);
		raw_spin_unlock_irqrestore(&asi_lock, flags);
		atomic_long_inc(&asi_zapped);
	}
}

/**
 * asi_flush_direct_map() - flush what has been zapped
 * @pfn: First page frame.
 * @nr: Number of pages.
 *
 * Context: Task context, interrupts on: sends IPIs.
 */
void asi_flush_direct_map(unsigned long pfn, unsigned long nr)
{
	unsigned long addr = (unsigned long)__va(PFN_PHYS(pfn));

	flush_tlb_kernel_range(addr, addr + nr * PAGE_SIZE);
	atomic_long_inc(&asi_flushes);
}

/**
 * asi_restore_direct_map() - put memory back into the restricted direct map
 * @pfn: First page frame, aligned to a PMD.
 * @nr: Number of pages, a multiple of what a PMD maps.
 *
 * From then on whatever is in it can be read through restricted page tables.
 * No flush is needed: no CPU caches an absent entry.
 *
 * Context: Any but NMI; asi_enabled() is true.
 */
void asi_restore_direct_map(unsigned long pfn, unsigned long nr)
{
	unsigned long addr = (unsigned long)__va(PFN_PHYS(pfn));
	unsigned long end = addr + nr * PAGE_SIZE;

	VM_WARN_ON_ONCE(!IS_ALIGNED(addr | end, PMD_SIZE));

	for (; addr < end; addr += PMD_SIZE) {
		asi_copy_pmd(addr, true);
		atomic_long_inc(&asi_restored);
	}
}

/* A page for a page table; none of them is ever freed. */
static void *asi_table(void)
{
	return (void *)get_zeroed_page(GFP_KERNEL);
}

static int asi_populate_pmd(unsigned long addr)
{
	pgd_t *pgd = asi_pgd + pgd_index(addr);
	p4d_t *p4d;
	pud_t *pud;
	void *table;

	if (pgd_none(*pgd)) {
		table = asi_table();
		if (!table)
			return -ENOMEM;
		set_pgd(pgd, __pgd(__pa(table) | _KERNPG_TABLE));
	}
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d)) {
		table = asi_table();
		if (!table)
			return -ENOMEM;
		set_p4d(p4d, __p4d(__pa(table) | _KERNPG_TABLE));
	}
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud)) {
		table = asi_table();
		if (!table)
			return -ENOMEM;
		set_pud(pud, __pud(__pa(table) | _KERNPG_TABLE));
	}
	return 0;
}

/* Make page tables for @start to @end, with new entries absent. */
static int asi_populate(u64 start, u64 end)
{
	unsigned long addr = (unsigned long)__va(start) & PUD_MASK;
	unsigned long last = (unsigned long)__va(end - 1);
	int err = 0;

	guard(mutex)(&asi_populate_lock);
	for (; addr <= last && !err; addr += PUD_SIZE)
		err = asi_populate_pmd(addr);
	return err;
}

/*
 * Memory is added absent: nothing of the kernel's is in it, and what is going
 * to be is not known yet. A failure leaves page tables behind, without entries.
 */
int __asi_add_memory(u64 start, u64 size)
{
	int err = asi_populate(start, start + size);

	if (!err)
		__asi_sync_pgds((unsigned long)__va(start),
				(unsigned long)__va(start + size - 1));
	return err;
}

void __asi_remove_memory(u64 start, u64 size)
{
	unsigned long pfn = PHYS_PFN(ALIGN_DOWN(start, PMD_SIZE));

	/*
	 * Its entries are going to be cleared in init_mm, and PTE tables below
	 * them freed. Sections are larger than a PMD; so are the parts of them
	 * that devices add.
	 */
	asi_zap_direct_map(pfn, PHYS_PFN(ALIGN(start + size, PMD_SIZE)) - pfn);
}

/* === Top-level page tables ================================================ */

static bool asi_slot_in_direct_map(unsigned int slot)
{
	return slot >= asi_first_slot && slot <= asi_last_slot;
}

pgd_t asi_kernel_entry(unsigned int slot)
{
	return asi_slot_in_direct_map(slot) ? asi_pgd[slot] :
					      swapper_pg_dir[slot];
}

static void asi_sync_root(pgd_t *root, unsigned int first, unsigned int last)
{
	unsigned int slot;

	for (slot = first; slot <= last; slot++) {
		/* The entry of the windows is the CPU's own. */
		if (slot != pgd_index(EPHMAP_BASE_ADDR))
			WRITE_ONCE(root[slot], asi_kernel_entry(slot));
	}
}

void __asi_sync_pgds(unsigned long start, unsigned long end)
{
	unsigned int cpu, slot;

	guard(spinlock)(&pgd_lock);
	for_each_possible_cpu(cpu) {
		struct asi_cpu *asi = per_cpu_ptr(&asi_cpu, cpu);

		if (!asi->pgds)
			continue;
		for (slot = 0; slot < ASI_NR_SLOTS; slot++)
			asi_sync_root(asi_root(asi, slot), pgd_index(start),
				      pgd_index(end));
	}
}

/*
 * Before a CPU first comes up, and for the one that boots: after boot has put into
 * init_mm what no CPU could be told of (espfix), before user mode. It is kept for
 * good.
 */
static int asi_prepare_cpu(unsigned int nr)
{
	struct asi_cpu *cpu = per_cpu_ptr(&asi_cpu, nr);
	unsigned int slot;
	pgd_t *pgds, window;

	if (cpu->pgds)
		return 0;
	pgds = asi_tables(nr, ASI_PGDS_ORDER);
	if (!pgds)
		return -ENOMEM;
	if (asi_window_prepare(nr, &window)) {
		free_pages((unsigned long)pgds, ASI_PGDS_ORDER);
		return -ENOMEM;
	}
	guard(spinlock)(&pgd_lock);
	cpu->pgds = pgds;
	for (slot = 0; slot < ASI_NR_SLOTS; slot++) {
		pgd_t *root = asi_root(cpu, slot);

		asi_sync_root(root, KERNEL_PGD_BOUNDARY, PTRS_PER_PGD - 1);
		root[pgd_index(ASI_WINDOW_BASE)] =
			slot == ASI_GUEST_SLOT ?
				asi_kernel_entry(pgd_index(ASI_WINDOW_BASE)) :
				window;
	}
	WRITE_ONCE(cpu->pa, __sme_pa(pgds));
	return 0;
}

static int __init asi_prepare_cpus(void)
{
	int err;

	if (!asi_enabled())
		return 0;
	err = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "x86/asi:prepare",
				asi_prepare_cpu, asi_window_dead);
	if (err < 0)
		panic("asi: no memory for page tables\n");
	return 0;
}
early_initcall(asi_prepare_cpus);

/* === The restricted direct map, at boot ======================================== */

/*
 * Whether a block is of a sensitive type. What has no struct pages is no user's.
 * A block may be in no zone by one of its ends: page frame 0 is in none.
 */
bool asi_block_is_movable(unsigned long pfn)
{
	unsigned long ends[] = { pfn, pfn + pageblock_nr_pages - 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		struct page *page = pfn_to_online_page(ends[i]);

		if (page && zone_spans_pfn(page_zone(page), ends[i]))
			return get_pageblock_visibility(page) == VIS_USER;
	}
	return false;
}

/* The page allocator is at work already: the types of its blocks are right. */
static void __init asi_init_direct_map(void)
{
	unsigned long pfn;
	bool users;

	for (pfn = 0; pfn < max_pfn; pfn += pageblock_nr_pages) {
		users = page_is_deferred(pfn) ? deferred_block_is_users(pfn) :
						asi_block_is_movable(pfn);
		if (!users)
			asi_restore_direct_map(pfn, pageblock_nr_pages);
	}
}

/* All of it is absent at first. Memory may be added up to max_possible_pfn. */
static int __init asi_alloc_absent(void)
{
	unsigned long nr = DIV_ROUND_UP(max(max_pfn, max_possible_pfn),
					PTRS_PER_PTE);
	size_t bytes = BITS_TO_LONGS(nr) * sizeof(long);
	unsigned int order = min(get_order(bytes), MAX_PAGE_ORDER);

	asi_absent = (unsigned long *)__get_free_pages(GFP_KERNEL, order);
	if (!asi_absent)
		return -ENOMEM;
	asi_nr_absent = min(nr, (PAGE_SIZE << order) * BITS_PER_BYTE);
	bitmap_fill(asi_absent, asi_nr_absent);
	return 0;
}

/**
 * asi_init() - make the restricted direct map
 *
 * Context: Boot: the page allocator works, no mm but init_mm exists, no other
 *          CPU is up.
 */
void __init asi_init(void)
{
	if (!asi_enabled())
		return;
	asi_pgd = asi_table();
	if (!asi_pgd || asi_populate(0, PFN_PHYS(max_pfn)) ||
	    asi_alloc_absent())
		panic("asi: no memory for page tables\n");
	asi_init_direct_map();
}
