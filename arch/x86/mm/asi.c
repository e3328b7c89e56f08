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
 * - asi_cpu::class is set before a CPU loads restricted page tables, and reset
 *   after it has loaded others. Exceptions that come with interrupts off leave
 *   both as they were.
 * - A restricted PGD is one CPU's: no other loads it. In its kernel half the
 *   direct map's entries are those of asi_pgd, all others init_mm's.
 * - In its user half what is present is the mm's to which the PGD belongs, once
 *   the flushes are done that its tlb_gen counts. It is written by its CPU only,
 *   with interrupts off. While the PGD is not loaded what it names may have been
 *   freed: it is brought up to date before it is loaded. That for guests has no
 *   user half.
 * - What the policy has flushed when a CPU leaves is flushed while it is still
 *   restricted; what it has flushed on entry, while it is so already.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/asi_park.h>
#include <linux/bitmap.h>
#include <linux/cpuhotplug.h>
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/kvm_types.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/pgalloc.h>
#include <linux/sched/smt.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#include <asm/cmdline.h>
#include <asm/cpu.h>
#include <asm/ephmap.h>
#include <asm/mmu_context.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/sections.h>
#include <asm/setup.h>
#include <asm/tlbflush.h>
#include <asm/trap_pf.h>

#include "asi_window.h"
#include "mm_internal.h"

#define CREATE_TRACE_POINTS
#include <asm/trace/asi.h>

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
static DEFINE_RAW_SPINLOCK(asi_lock);

/* Orders who adds page tables to the restricted direct map. */
static DEFINE_MUTEX(asi_populate_lock);

/* What the page allocator had done; in PMDs, but for the flushes. */
static atomic_long_t asi_zapped;
static atomic_long_t asi_restored;
static atomic_long_t asi_flushes;

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

static pmd_t asi_init_mm_pmd(unsigned long addr)
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

static pgd_t asi_kernel_entry(unsigned int slot)
{
	return asi_slot_in_direct_map(slot) ? asi_pgd[slot] :
					      swapper_pg_dir[slot];
}

static pgd_t *asi_root(struct asi_cpu *cpu, unsigned int slot)
{
	return cpu->pgds + slot * PTRS_PER_PGD;
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

/* === User halves ========================================================== */

/* The restricted PGD of the mm that is loaded, if it is a tracked one. */
static unsigned int asi_loaded_slot(void)
{
	return cpu_feature_enabled(X86_FEATURE_PCID) ?
		       this_cpu_read(cpu_tlbstate.loaded_mm_asid) :
		       this_cpu_read(asi_cpu.slot);
}

/*
 * Make the user half of a PGD that of @mm. asi_gen is read first: who clears an
 * entry counts afterwards, so whatever is copied here and is cleared later makes
 * the two differ. Whoever calls this has read tlb_gen before, so that no table is
 * freed whose entry this CPU still has: who frees it has it flushed by a greater
 * tlb_gen, here as well.
 */
static void asi_fill(struct asi_cpu *cpu, unsigned int slot, struct mm_struct *mm)
{
	struct asi_space *space = &cpu->space[slot];
	u64 gen = atomic64_read(&mm->context.asi_gen);
	bool same = space->ctx_id == mm->context.ctx_id;
	unsigned int word, i;

	if (same && space->gen == gen)
		return;
	smp_rmb();	/* Pairs with atomic64_inc() after an entry is written. */
	for (word = 0; word < ASI_USER_WORDS; word++) {
		unsigned long used = READ_ONCE(mm->context.asi_used[word]);
		unsigned long bits = used | space->used[word];

		for_each_set_bit(i, &bits, BITS_PER_LONG) {
			unsigned int entry = word * BITS_PER_LONG + i;

			WRITE_ONCE(asi_root(cpu, slot)[entry],
				   READ_ONCE(mm->pgd[entry]));
		}
		/* An NMI may add one to what is loaded. */
		if (same)
			this_cpu_or(asi_cpu.space[slot].used[word], used);
		else
			space->used[word] = used;
	}
	space->ctx_id = mm->context.ctx_id;
	space->gen = gen;
}

/*
 * An entry that is added is never cached before: other CPUs copy it when they miss
 * it. If nothing else has changed this CPU's copy is the latest one.
 */
void __asi_user_entry_added(struct mm_struct *mm, pgd_t *pgd)
{
	unsigned int slot, entry = offset_in_page(pgd) / sizeof(pgd_t);
	struct asi_space *space;
	struct asi_cpu *cpu;
	u64 gen;

	set_bit(entry, mm->context.asi_used);
	gen = atomic64_inc_return(&mm->context.asi_gen);

	guard(irqsave)();
	if (this_cpu_read(cpu_tlbstate.loaded_mm) != mm)
		return;
	cpu = this_cpu_ptr(&asi_cpu);
	slot = asi_loaded_slot();
	space = &cpu->space[slot];
	if (space->ctx_id != mm->context.ctx_id)
		return;
	__set_bit(entry, space->used);
	WRITE_ONCE(asi_root(cpu, slot)[entry], READ_ONCE(*pgd));
	if (space->gen == gen - 1)
		space->gen = gen;
}

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

/* @mm is loaded: a tracked one, or the caller does not care. */
void __asi_update_space(struct mm_struct *mm)
{
	if (!is_notrack_mm(mm))
		asi_fill(this_cpu_ptr(&asi_cpu), asi_loaded_slot(), mm);
}

/*
 * Whether a block is of a sensitive type. What has no struct pages is no user's.
 * A block may be in no zone by one of its ends: page frame 0 is in none.
 */
static bool asi_block_is_movable(unsigned long pfn)
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

/* === Flush policy ========================================================= */

static const char * const asi_flush_names[] = {
	[ASI_FLUSH_IBPB] = "ibpb",
	[ASI_FLUSH_RSB]	 = "rsb",
	[ASI_FLUSH_VERW] = "verw",
	[ASI_FLUSH_L1D]	 = "l1d",
};

static_assert(ARRAY_SIZE(asi_flush_names) == ASI_NR_FLUSH);

struct asi_policy asi_policy __read_mostly;

/* asi_flush=: the kinds, or -1 for what the CPU needs. */
static int asi_flush_wanted __initdata = -1;

/*
 * What a class is to be kept apart from: whose data may not be in buffers when
 * it is entered. What processes do to each other, and what a guest's control does
 * to its VMM, is left to the mitigations that there are without ASI.
 */
static const unsigned long asi_apart[] = {
	[ASI_USER]  = ASI_TAINT_KERNEL_DATA | ASI_TAINT_OTHER_DATA |
		      ASI_TAINT_GUEST_DATA,
	[ASI_GUEST] = ASI_TAINT_KERNEL_DATA | ASI_TAINT_OTHER_DATA |
		      ASI_TAINT_USER_DATA,
};

/* What a class leaves in the CPU. */
static const unsigned long asi_leaves[] = {
	[ASI_USER]  = ASI_TAINT_USER_CONTROL | ASI_TAINT_USER_DATA,
	[ASI_GUEST] = ASI_TAINT_GUEST_CONTROL | ASI_TAINT_GUEST_DATA,
};

static int __init asi_flush_setup(char *str)
{
	unsigned int kinds = 0;
	char *name;
	int kind;

	if (!str)
		return -EINVAL;
	if (!strcmp(str, "auto"))
		return 0;
	while ((name = strsep(&str, ","))) {
		if (!strcmp(name, "none"))
			continue;
		kind = match_string(asi_flush_names, ASI_NR_FLUSH, name);
		if (kind < 0) {
			pr_warn("asi_flush=: unknown: %s\n", name);
			return 0;
		}
		kinds |= BIT(kind);
	}
	asi_flush_wanted = kinds;
	return 0;
}
early_param("asi_flush", asi_flush_setup);

static unsigned int __init asi_flushes_there_are(void)
{
	unsigned int kinds = BIT(ASI_FLUSH_RSB);

	if (boot_cpu_has(X86_FEATURE_IBPB))
		kinds |= BIT(ASI_FLUSH_IBPB);
	if (boot_cpu_has(X86_FEATURE_MD_CLEAR) ||
	    boot_cpu_has(X86_FEATURE_VERW_CLEAR) ||
	    x86_read_arch_cap_msr() & (ARCH_CAP_FB_CLEAR | ARCH_CAP_RFDS_CLEAR))
		kinds |= BIT(ASI_FLUSH_VERW);
	if (boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		kinds |= BIT(ASI_FLUSH_L1D);
	return kinds;
}

/* By the CPU's bugs; what it has no flush for is left out by the caller. */
static unsigned int __init asi_flushes_needed(void)
{
	unsigned int kinds = 0;

	if (boot_cpu_has_bug(X86_BUG_SPECTRE_V2)) {
		kinds |= BIT(ASI_FLUSH_IBPB);
		/* Where IBPB does not clear the return stack, write_ibpb() does. */
		if (!boot_cpu_has(X86_FEATURE_IBPB))
			kinds |= BIT(ASI_FLUSH_RSB);
	}
	if (boot_cpu_has_bug(X86_BUG_MDS) || boot_cpu_has_bug(X86_BUG_TAA) ||
	    boot_cpu_has_bug(X86_BUG_MMIO_STALE_DATA) ||
	    boot_cpu_has_bug(X86_BUG_RFDS) || boot_cpu_has_bug(X86_BUG_TSA))
		kinds |= BIT(ASI_FLUSH_VERW);
	if (boot_cpu_has_bug(X86_BUG_L1TF))
		kinds |= BIT(ASI_FLUSH_L1D);
	return kinds;
}

/* After the CPU's bugs are known, and what is done about them. */
static int __init asi_init_policy(void)
{
	unsigned int kinds = asi_flush_wanted, there_are, data, kind;
	char names[128];
	int len = 0;

	if (!asi_enabled())
		return 0;
	there_are = asi_flushes_there_are();
	if (asi_flush_wanted < 0)
		kinds = asi_flushes_needed() & there_are;

	/* To test the policy: a kind that the CPU lacks is counted, not done. */
	if (!IS_ENABLED(CONFIG_DEBUG_ASI))
		kinds &= there_are;
	data = kinds & BIT(ASI_FLUSH_VERW);
	asi_policy.exit = kinds & (BIT(ASI_FLUSH_IBPB) | BIT(ASI_FLUSH_RSB));
	/* Where each return to user mode, or each VM entry, does it anyway. */
	if (asi_flush_wanted >= 0 ||
	    !cpu_feature_enabled(X86_FEATURE_CLEAR_CPU_BUF))
		asi_policy.enter[ASI_USER] = data;
	if (asi_flush_wanted >= 0 ||
	    !cpu_feature_enabled(X86_FEATURE_CLEAR_CPU_BUF_VM))
		asi_policy.enter[ASI_GUEST] = data;
	/* The inverted entries of user page tables are enough for user mode. */
	asi_policy.enter[ASI_GUEST] |= kinds & BIT(ASI_FLUSH_L1D);

	for (kind = 0; kind < ASI_NR_FLUSH; kind++) {
		if (kinds & BIT(kind))
			len += scnprintf(names + len, sizeof(names) - len,
					 " %s%s", asi_flush_names[kind],
					 there_are & BIT(kind) ? "" :
								 " (counted only)");
	}
	pr_info("on; flushes:%s\n", len ? names : " none");
	return 0;
}
core_initcall(asi_init_policy);

/* Now, or when siblings are put online later. */
void __asi_smt_update(void)
{
	if (sched_smt_active())
		pr_warn_once("SMT is on: sibling threads are not kept apart (nosmt)\n");
}

#if IS_ENABLED(CONFIG_ASI_KUNIT_TEST)
/**
 * asi_set_policy() - choose another policy, for tests
 * @policy: The policy.
 *
 * Context: Any. CPUs may be between two flushes of the old one.
 * Return: the old one.
 */
struct asi_policy asi_set_policy(struct asi_policy policy)
{
	struct asi_policy old = asi_policy;

	asi_policy = policy;
	return old;
}
#endif

static __always_inline void asi_flush(unsigned int kind)
{
	switch (kind) {
	case ASI_FLUSH_IBPB:
		if (cpu_feature_enabled(X86_FEATURE_IBPB))
			write_ibpb();
		break;
	case ASI_FLUSH_RSB:
		asi_fill_rsb();
		break;
	case ASI_FLUSH_VERW:
		x86_clear_cpu_buffers();
		break;
	case ASI_FLUSH_L1D:
		if (cpu_feature_enabled(X86_FEATURE_FLUSH_L1D))
			native_wrmsrq(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
		break;
	}
	this_cpu_inc(asi_cpu.nr.flushed[kind]);
}

/*
 * The taints go last: an NMI that leaves meanwhile flushes as well. It taints
 * nothing, as neither user mode nor a guest runs in it.
 */
static __always_inline void asi_flush_for_exit(void)
{
	unsigned long taints = this_cpu_read(asi_cpu.taints);
	unsigned int kinds = READ_ONCE(asi_policy.exit);

	if (!(taints & ASI_TAINTS_CONTROL))
		return;
	if (kinds & BIT(ASI_FLUSH_IBPB))
		asi_flush(ASI_FLUSH_IBPB);
	if (kinds & BIT(ASI_FLUSH_RSB))
		asi_flush(ASI_FLUSH_RSB);
	this_cpu_and(asi_cpu.taints, ~ASI_TAINTS_CONTROL);
}

/* The taints go first: what an NMI touches meanwhile is flushed by itself. */
static __always_inline void asi_flush_for_enter(unsigned int class)
{
	unsigned long taints = this_cpu_read(asi_cpu.taints);
	unsigned int kinds = READ_ONCE(asi_policy.enter[class]);

	if (taints & asi_apart[class]) {
		this_cpu_and(asi_cpu.taints, ~asi_apart[class]);
		if (kinds & BIT(ASI_FLUSH_VERW))
			asi_flush(ASI_FLUSH_VERW);
		if (kinds & BIT(ASI_FLUSH_L1D))
			asi_flush(ASI_FLUSH_L1D);
	}
	this_cpu_or(asi_cpu.taints, asi_leaves[class]);
}

/* Another mm is loaded: what its last user or guest left is now another's. */
static __always_inline void asi_taints_of_other(void)
{
	unsigned long old = this_cpu_read(asi_cpu.taints), new = old;

	new &= ~(asi_leaves[ASI_USER] | asi_leaves[ASI_GUEST]);
	if (old & (ASI_TAINT_USER_CONTROL | ASI_TAINT_GUEST_CONTROL))
		new |= ASI_TAINT_OTHER_CONTROL;
	if (old & (ASI_TAINT_USER_DATA | ASI_TAINT_GUEST_DATA))
		new |= ASI_TAINT_OTHER_DATA;
	/* An NMI may have left, and flushed, meanwhile: it can but do more. */
	this_cpu_write(asi_cpu.taints, new);
}

/* === Transitions ========================================================== */

/*
 * Load CR3 with @cr3, which is not restricted, or with its counterpart of a
 * class. Where it would not flush (CR3_NOFLUSH) it does all the same if that was
 * left to do, also by an NMI that comes just now.
 */
static __always_inline void asi_load_cr3(unsigned long cr3, unsigned int class,
					 unsigned int slot)
{
	unsigned long pcid;

	if (class == ASI_NONE) {
		asi_flush_for_exit();
	} else {
		this_cpu_write(asi_cpu.space[slot].base, cr3 & ~CR3_NOFLUSH);
		/* With this what is pending goes. */
		this_cpu_write(asi_cpu.state, class);
		cr3 = asi_slot_cr3(cr3, slot);
	}
	pcid = BIT(cr3 & ASI_KPCID_MASK);
	do {
		if (this_cpu_read(asi_cpu.flush[class]) & pcid) {
			this_cpu_and(asi_cpu.flush[class], ~pcid);
			this_cpu_inc(asi_cpu.nr.late);
			cr3 &= ~CR3_NOFLUSH;
		}
		native_write_cr3(cr3);
	} while (unlikely(this_cpu_read(asi_cpu.flush[class]) & pcid));

	if (class == ASI_NONE) {
		this_cpu_write(asi_cpu.state, class);
		this_cpu_or(asi_cpu.taints, ASI_TAINT_KERNEL_DATA);
	} else {
		asi_flush_for_enter(class);
	}
}

/* A7: what is known of CR3 is what is loaded. */
static __always_inline void asi_check_cr3(void)
{
	struct mm_struct *mm;
	unsigned int class;
	unsigned long cr3;

	if (!IS_ENABLED(CONFIG_DEBUG_ASI))
		return;
	mm = this_cpu_read(cpu_tlbstate.loaded_mm);
	class = this_cpu_read(asi_cpu.class);
	cr3 = __native_read_cr3();
	WARN_ON_ONCE(asi_cr3_is_guest(cr3) != (class == ASI_GUEST));
	WARN_ON_ONCE(asi_cr3_is_restricted(cr3) != (class != ASI_NONE));
	if (mm != LOADED_MM_SWITCHING)
		WARN_ON_ONCE((asi_base_cr3(cr3) & CR3_ADDR_MASK) !=
			     __phys_addr_nodebug((unsigned long)mm->pgd));
}

/* With PCIDs to load it flushes nothing. */
static __always_inline unsigned long asi_loaded_base_cr3(void)
{
	unsigned long cr3 = asi_base_cr3(__native_read_cr3());

	if (cpu_feature_enabled(X86_FEATURE_PCID))
		cr3 |= CR3_NOFLUSH;
	return cr3;
}

noinstr void __asi_enter(unsigned int class)
{
	unsigned long cr3;

	asi_check_cr3();
	/* It is there, but has copied what another is not to find in buffers. */
	if (class == ASI_USER && this_cpu_read(asi_cpu.class) == ASI_USER) {
		this_cpu_write(asi_cpu.pending, false);
		asi_flush_for_enter(class);
		return;
	}
	cr3 = asi_loaded_base_cr3();
	asi_load_cr3(cr3, class, class == ASI_GUEST ? ASI_GUEST_SLOT :
						      asi_base_slot(cr3));
	this_cpu_inc(asi_cpu.nr.enters[class]);
}

noinstr void __asi_enter_guest(void)
{
	if (this_cpu_read(asi_cpu.class) != ASI_GUEST)
		__asi_enter(ASI_GUEST);
}
EXPORT_SYMBOL_FOR_KVM(__asi_enter_guest);

unsigned long __asi_host_cr3(unsigned long cr3)
{
	return asi_class_cr3(cr3, ASI_GUEST);
}
EXPORT_SYMBOL_FOR_KVM(__asi_host_cr3);

noinstr void __asi_exit(void)
{
	unsigned long cr3 = __native_read_cr3();

	/*
	 * An NMI comes back by it, perhaps before asi_switch_cr3() has said
	 * which one it has loaded.
	 */
	if (!cpu_feature_enabled(X86_FEATURE_PCID) &&
	    asi_cr3_slot(cr3) != ASI_GUEST_SLOT)
		this_cpu_write(asi_cpu.slot, asi_cr3_slot(cr3));
	asi_load_cr3(asi_loaded_base_cr3(), ASI_NONE, 0);
}

/**
 * asi_exit() - leave the restricted address space
 *
 * For code that cannot take a page fault. It is entered again on the way to user
 * mode, by whoever runs there.
 *
 * Context: Interrupts or preemption off, or the CPU may be in it again. In an
 *          NMI for one only that does not return.
 */
void asi_exit(void)
{
	guard(irqsave)();
	if (!asi_restricted())
		return;
	__asi_exit();
	this_cpu_inc(asi_cpu.nr.exits[ASI_EXIT_ASKED]);
}

/* This CPU is in a restricted address space, and stays in it, or is not. */
static noinstr void asi_switch_class(unsigned long cr3, bool may_stay,
				     unsigned int slot)
{
	unsigned int class = ASI_NONE;

	asi_check_cr3();
	if (!this_cpu_read(asi_cpu.class)) {
		/* Nothing is left, nothing is entered. */
	} else if (may_stay) {
		class = ASI_USER;
		this_cpu_inc(asi_cpu.nr.switches);
	} else {
		this_cpu_inc(asi_cpu.nr.exits[ASI_EXIT_SWITCH]);
	}
	asi_taints_of_other();
	/* What flushes an address space flushes its counterpart. */
	if (cpu_feature_enabled(X86_FEATURE_PCID) && !(cr3 & CR3_NOFLUSH))
		asi_flush_later(cr3 & ASI_KPCID_MASK,
				class == ASI_NONE ? ASI_USER : ASI_NONE);
	asi_load_cr3(cr3, class, slot);
	if (may_stay)
		this_cpu_write(asi_cpu.slot, slot);
}

/**
 * asi_switch_cr3() - load CR3 for another mm
 * @next: The mm.
 * @cr3: Its CR3, or what to load the restricted counterpart of.
 *
 * A CPU that is in a restricted address space goes on in that of the next mm:
 * nothing but user mode's half is another one. But a temporary mm is loaded for
 * mappings that only the other one has.
 *
 * Context: switch_mm_irqs_off(), after it has read next's tlb_gen.
 */
void asi_switch_cr3(struct mm_struct *next, unsigned long cr3)
{
	struct asi_cpu *cpu = this_cpu_ptr(&asi_cpu);
	struct asi_window *w = this_cpu_ptr(&asi_window);
	bool may_stay = !is_notrack_mm(next);
	unsigned int slot = cpu->slot;

	if (may_stay) {
		/* It may have got another ASID since. */
		if (asi_window_used(w) &&
		    (w->owner != next->context.ctx_id ||
		     w->kpcid != (cr3 & ASI_KPCID_MASK)))
			asi_window_leave(w);
		if (cpu_feature_enabled(X86_FEATURE_PCID))
			slot = asi_base_slot(cr3);
		else if (cpu->space[slot].ctx_id != next->context.ctx_id)
			/* What is loaded is never rewritten for another mm. */
			slot ^= 1;
		asi_fill(cpu, slot, next);
	}
	asi_switch_class(cr3, may_stay, slot);
}

void __asi_reset_cpu(void)
{
	struct asi_cpu *cpu = this_cpu_ptr(&asi_cpu);
	unsigned int i;

	/* It may have gone down in a restricted address space. */
	cpu->state = ASI_NONE;
	cpu->slot = 0;
	asi_window_leave(this_cpu_ptr(&asi_window));
	for (i = 0; i < ASI_NR_SLOTS; i++)
		cpu->space[i].ctx_id = 0;
	/* PCIDs that are in use again, but not loaded now. */
	if (cpu_feature_enabled(X86_FEATURE_PCID)) {
		asi_flush_later(1, ASI_USER);
		asi_flush_guest_later();
	}
}

/* It is where asi_enter_guest() has left it, but as VM exit loads it. */
noinstr void __asi_cr3_loaded(void)
{
	asi_check_cr3();
	if (this_cpu_read(asi_cpu.flush[ASI_GUEST]))
		asi_load_cr3(asi_loaded_base_cr3(), ASI_GUEST, ASI_GUEST_SLOT);
}
EXPORT_SYMBOL_FOR_KVM(__asi_cr3_loaded);

/*
 * Copy the mm's top-level entry for a user's address, if this CPU has not got it
 * yet. The mm is the one whose PGD is loaded: asked, as this may be an NMI between
 * two of them.
 */
static __always_inline bool asi_copy_user_entry(unsigned long addr,
						unsigned int slot)
{
	struct mm_struct *mm = this_cpu_read(cpu_tlbstate.loaded_mm);
	struct asi_cpu *cpu = this_cpu_ptr(&asi_cpu);
	pgd_t *root = cpu->pgds + slot * PTRS_PER_PGD;
	unsigned int entry = pgd_index(addr);
	pgd_t pgd;

	if (mm == LOADED_MM_SWITCHING ||
	    cpu->space[slot].ctx_id != mm->context.ctx_id)
		return false;
	pgd = READ_ONCE(mm->pgd[entry]);
	if (native_pgd_val(READ_ONCE(root[entry])) || !native_pgd_val(pgd))
		return false;
	/* First: an entry that is not known to be used is not cleared again. */
	this_cpu_or(asi_cpu.space[slot].used[entry / BITS_PER_LONG],
		    BIT(entry % BITS_PER_LONG));
	WRITE_ONCE(root[entry], pgd);
	return true;
}

/*
 * From the address space for guests to the user's, which has a user half and the
 * window: interrupts are off.
 */
noinstr void __asi_widen(void)
{
	unsigned long cr3 = asi_loaded_base_cr3();

	asi_flush_for_exit();
	asi_load_cr3(cr3, ASI_USER, asi_base_slot(cr3));
	this_cpu_inc(asi_cpu.nr.enters[ASI_USER]);
}

/*
 * An interrupt has left the restricted address space in the midst of a session,
 * whose window nobody else has: go back. Where this does not end the copy wants the
 * window and what is absent at once, and that is a fault.
 */
static __always_inline bool asi_rebound(unsigned long addr,
					unsigned long error_code)
{
	if (error_code & X86_PF_USER || !asi_in_window(addr) ||
	    !this_cpu_read(asi_window.open) ||
	    this_cpu_inc_return(asi_window.rebounds) > ASI_REBOUNDS)
		return false;
	__asi_enter(ASI_USER);
	this_cpu_inc(asi_cpu.nr.rebounds);
	return true;
}

/*
 * CR3 is asked, not asi_cpu::class: it is the truth at any point. What is absent
 * in init_mm as well, or in the mm, faults again, and then it is a fault.
 */
noinstr enum asi_fault __asi_fault(unsigned long addr, unsigned long error_code)
{
	unsigned long cr3;

	if (error_code & (X86_PF_PROT | X86_PF_RSVD))
		return ASI_FAULT_OTHER;
	cr3 = __native_read_cr3();
	if (!asi_cr3_is_restricted(cr3))
		return asi_rebound(addr, error_code) ? ASI_FAULT_COPIED :
						       ASI_FAULT_OTHER;
	if (addr < TASK_SIZE_MAX) {
		if (!asi_cr3_is_guest(cr3))
			return asi_copy_user_entry(addr, asi_cr3_slot(cr3)) ?
				       ASI_FAULT_COPIED : ASI_FAULT_OTHER;
		__asi_widen();
		return ASI_FAULT_LEFT;
	}
	/* WRUSS is an access by user mode, though it is never there. */
	if (error_code & X86_PF_USER || !asi_in_direct_map(addr))
		return ASI_FAULT_OTHER;
	__asi_exit();
	return ASI_FAULT_LEFT;
}

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
