// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of Address Space Isolation's page tables. The numbers A3 to A8
 * are those of the conditions in Documentation/arch/x86/asi.rst. What is
 * checked is checked on the real page tables.
 */
#include <kunit/test.h>
#include <linux/asi.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/ephmap.h>
#include <linux/file.h>
#include <linux/kdebug.h>
#include <linux/kthread.h>
#include <linux/memory_hotplug.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/pgalloc.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/set_memory.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/apic.h>
#include <asm/ephmap.h>
#include <asm/mmu_context.h>
#include <asm/nmi.h>
#include <asm/sections.h>
#include <asm/suspend.h>
#include <asm/tlbflush.h>

#include "../asi_window.h"

#define BLOCK_ORDER	PMD_ORDER
#define BLOCK_PAGES	PTRS_PER_PTE

/* === Helpers ============================================================== */

struct block {
	struct page *page;
	unsigned long addr;
};

static void free_block(void *data)
{
	struct block *block = data;

	/* As the page allocator gave it. */
	asi_restore_direct_map(page_to_pfn(block->page), BLOCK_PAGES);
	set_memory_nx(block->addr, BLOCK_PAGES);
	set_memory_rw(block->addr, BLOCK_PAGES);
	__free_pages(block->page, BLOCK_ORDER);
}

/* What a PMD maps, of kernel memory, present in the restricted direct map. */
static struct block *test_block(struct kunit *test)
{
	struct block *block = kunit_kzalloc(test, sizeof(*block), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, block);
	block->page = alloc_pages(GFP_KERNEL, BLOCK_ORDER);
	if (!block->page)
		kunit_skip(test, "no free memory in one piece");
	block->addr = (unsigned long)page_address(block->page);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_block, block));
	return block;
}

static pmd_t restricted(struct block *block)
{
	pmd_t *pmd = asi_direct_map_pmd(block->addr);

	return pmd ? READ_ONCE(*pmd) : __pmd(0);
}

/* Present, and equal to init_mm's entry. */
static bool same(struct block *block)
{
	pmd_t init = READ_ONCE(*pmd_off_k(block->addr));

	return !pmd_none(init) && pmd_same(init, restricted(block));
}

static pte_t restricted_pte(struct block *block, unsigned int page)
{
	pmd_t pmd = restricted(block);

	if (pmd_none(pmd) || pmd_leaf(pmd))
		return __pte(0);
	return ptep_get((pte_t *)pmd_page_vaddr(pmd) + page);
}

static struct asi_audit audit_block(struct block *block)
{
	unsigned long pfn = page_to_pfn(block->page);
	struct asi_audit audit = {};

	asi_audit_range(&audit, pfn, pfn + BLOCK_PAGES);
	return audit;
}

static bool maps_large(struct block *block)
{
	return pmd_leaf(restricted(block));
}

/* One that is mapped by a large page: what earlier tests have split is not. */
static struct block *large_block(struct kunit *test)
{
	struct block *block;
	unsigned int i;

	for (i = 0; i < 8; i++) {
		block = test_block(test);
		if (maps_large(block))
			return block;
	}
	kunit_skip(test, "the direct map has no large page here");
}

/*
 * One whose page table may come and go. With debug_pagealloc it is there for
 * good: the page allocator writes to it without a lock.
 */
static struct block *changing_block(struct kunit *test)
{
	if (debug_pagealloc_enabled())
		return test_block(test);
	return large_block(test);
}

/* === A3: absent or equal ================================================== */

static void a3_all_absent_or_equal(struct kunit *test)
{
	struct asi_audit audit = {};

	asi_audit_range(&audit, 0, max_pfn);
	KUNIT_EXPECT_GT(test, audit.present, 0);
	KUNIT_EXPECT_EQ(test, audit.different, 0);
}

static void a3_large_page_changes(struct kunit *test)
{
	struct block *block = large_block(test);

	KUNIT_EXPECT_TRUE(test, same(block));
	KUNIT_ASSERT_EQ(test, set_memory_ro(block->addr, BLOCK_PAGES), 0);
	KUNIT_EXPECT_TRUE(test, maps_large(block));
	KUNIT_EXPECT_TRUE(test, same(block));
	KUNIT_EXPECT_FALSE(test, pmd_write(restricted(block)));
	KUNIT_ASSERT_EQ(test, set_memory_rw(block->addr, BLOCK_PAGES), 0);
	KUNIT_EXPECT_TRUE(test, maps_large(block));
	KUNIT_EXPECT_TRUE(test, same(block));
}

static void a3_split_and_collapse(struct kunit *test)
{
	struct block *block = changing_block(test);

	KUNIT_ASSERT_EQ(test, set_memory_ro(block->addr + PAGE_SIZE, 1), 0);
	KUNIT_EXPECT_FALSE(test, maps_large(block));
	KUNIT_EXPECT_TRUE(test, same(block));
	KUNIT_EXPECT_TRUE(test, pte_write(restricted_pte(block, 0)));
	KUNIT_EXPECT_FALSE(test, pte_write(restricted_pte(block, 1)));

	/* As execmem does with a large page of text. */
	KUNIT_ASSERT_EQ(test, set_memory_rox(block->addr, BLOCK_PAGES), 0);
	KUNIT_EXPECT_EQ(test, maps_large(block), !debug_pagealloc_enabled());
	KUNIT_EXPECT_TRUE(test, same(block));
}

/* What set_direct_map_*() takes away, nobody else reaches either. */
static void a3_set_direct_map(struct kunit *test)
{
	struct block *block = test_block(test);
	struct page *page = block->page + 5;
	unsigned long addr = block->addr + 5 * PAGE_SIZE;

	KUNIT_EXPECT_EQ(test, audit_block(block).present, BLOCK_PAGES);
	KUNIT_ASSERT_EQ(test, set_direct_map_invalid_noflush(page), 0);
	flush_tlb_kernel_range(addr, addr + PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, same(block));
	KUNIT_EXPECT_EQ(test, audit_block(block).present, BLOCK_PAGES - 1);
	KUNIT_ASSERT_EQ(test, set_direct_map_default_noflush(page), 0);
	KUNIT_EXPECT_TRUE(test, same(block));
	KUNIT_EXPECT_EQ(test, audit_block(block).present, BLOCK_PAGES);
}

static void a3_absent_stays_absent(struct kunit *test)
{
	struct block *block = changing_block(test);
	unsigned long pfn = page_to_pfn(block->page);

	asi_zap_direct_map(pfn, BLOCK_PAGES);
	KUNIT_EXPECT_EQ(test, audit_block(block).present, 0);
	KUNIT_EXPECT_EQ(test, audit_block(block).absent, BLOCK_PAGES);
	KUNIT_ASSERT_EQ(test, set_memory_ro(block->addr, 1), 0);
	KUNIT_EXPECT_TRUE(test, pmd_none(restricted(block)));
	KUNIT_ASSERT_EQ(test, set_memory_rox(block->addr, BLOCK_PAGES), 0);
	KUNIT_EXPECT_TRUE(test, pmd_none(restricted(block)));

	/* It comes back as init_mm has it now. */
	asi_restore_direct_map(pfn, BLOCK_PAGES);
	KUNIT_EXPECT_TRUE(test, same(block));
	KUNIT_EXPECT_FALSE(test, maps_large(block) &&
			   pmd_write(restricted(block)));
}

static int change_attributes(void *data)
{
	struct block *block = data;

	while (!kthread_should_stop()) {
		set_memory_ro(block->addr + PAGE_SIZE, 1);
		set_memory_rox(block->addr, BLOCK_PAGES);
		set_memory_nx(block->addr, BLOCK_PAGES);
		set_memory_rw(block->addr, BLOCK_PAGES);
	}
	return 0;
}

static int change_presence(void *data)
{
	struct block *block = data;
	unsigned long pfn = page_to_pfn(block->page);

	while (!kthread_should_stop()) {
		asi_zap_direct_map(pfn, BLOCK_PAGES);
		cond_resched();
		asi_restore_direct_map(pfn, BLOCK_PAGES);
		cond_resched();
	}
	return 0;
}

static void stop_thread(void *thread)
{
	kthread_stop(thread);
}

static void run_thread(struct kunit *test, int (*fn)(void *), void *data)
{
	struct task_struct *thread = kthread_run(fn, data, "asi-kunit");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, thread);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, stop_thread, thread));
}

/* Splits, collapses and changes of presence at once, watched. */
static void a3_races(struct kunit *test)
{
	struct block *block = changing_block(test);
	unsigned long different = 0, present = 0, absent = 0;
	unsigned long end = jiffies + 2 * HZ;

	run_thread(test, change_attributes, block);
	run_thread(test, change_presence, block);
	while (time_before(jiffies, end)) {
		struct asi_audit audit = audit_block(block);

		different += audit.different;
		present += !!audit.present;
		absent += !!audit.absent;
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, different, 0);
	/* There was something to watch. */
	KUNIT_EXPECT_GT(test, present, 0);
	KUNIT_EXPECT_GT(test, absent, 0);
}

/* A user mm is loaded, and stays loaded until the end of the test. */
static void need_mm(struct kunit *test)
{
	if (kunit_attach_mm())
		kunit_skip(test, "no user mm");
}

static bool cr3_is_restricted(void)
{
	return asi_cr3_is_restricted(__read_cr3());
}

/* Both say the same. */
static bool really_restricted(void)
{
	bool says = asi_restricted();

	return says && cr3_is_restricted();
}

/* A restricted PGD of this CPU's: that of the mm that is loaded, or for guests. */
static pgd_t *restricted_pgd(unsigned int slot)
{
	return raw_cpu_read(asi_cpu.pgds) + slot * PTRS_PER_PGD;
}

static unsigned int loaded_slot(void)
{
	return cpu_feature_enabled(X86_FEATURE_PCID) ?
		       this_cpu_read(cpu_tlbstate.loaded_mm_asid) :
		       this_cpu_read(asi_cpu.slot);
}

/* Memory that is added has page tables on all CPUs before it has a direct map. */
static void a3_added_memory_is_absent(struct kunit *test)
{
	/* 8 TB from here no machine this runs on has any. */
	u64 start = ALIGN(PFN_PHYS(max_pfn), PUD_SIZE) + SZ_8T;
	unsigned long addr = (unsigned long)__va(start);
	unsigned int slot = pgd_index(addr);
	struct asi_audit audit = {};
	pgd_t entry, guest;

	if (start + PUD_SIZE > DIRECT_MAP_PHYSMEM_END)
		kunit_skip(test, "the direct map has no room");
	KUNIT_EXPECT_EQ(test, asi_add_memory(start, PUD_SIZE), 0);
	entry = restricted_pgd(0)[slot];
	guest = restricted_pgd(ASI_GUEST_SLOT)[slot];

	KUNIT_EXPECT_NE(test, pgd_val(entry), 0);
	KUNIT_EXPECT_EQ(test, pgd_val(entry), pgd_val(guest));
	KUNIT_ASSERT_NOT_NULL(test, asi_direct_map_pmd(addr));
	KUNIT_EXPECT_TRUE(test, pmd_none(*asi_direct_map_pmd(addr)));
	asi_audit_pgds(&audit);
	KUNIT_EXPECT_EQ(test, audit.wrong, 0);
}

/* No PTE table is reached through an entry of memory that is removed. */
static void a3_removed_memory_is_absent(struct kunit *test)
{
	struct block *block = test_block(test);

	asi_remove_memory(__pa(block->addr), PMD_SIZE);
	KUNIT_EXPECT_TRUE(test, pmd_none(restricted(block)));
}

#ifdef CONFIG_HIBERNATION
/* The code that replaces a kernel by the image of one runs in the direct map. */
static void a3_hibernation_makes_executable(struct kunit *test)
{
	unsigned long addr, block;
	pmd_t init, pmd;
	int err;

	/* It walks what CR3 has: on resume, save_processor_state() has left. */
	preempt_disable();
	asi_exit();
	err = relocate_restore_code();
	preempt_enable();
	KUNIT_ASSERT_EQ(test, err, 0);
	addr = relocated_restore_code;
	block = ALIGN_DOWN(addr, PMD_SIZE);
	init = READ_ONCE(*pmd_off_k(addr));
	pmd = READ_ONCE(*asi_direct_map_pmd(addr));
	/* As it was, large or not. */
	if (pmd_leaf(init))
		set_memory_nx(block, BLOCK_PAGES);
	else
		set_memory_nx(addr, 1);
	free_page(addr);

	if (!pmd_leaf(init))
		kunit_skip(test, "the direct map has no large page here");
	KUNIT_EXPECT_FALSE(test, pmd_flags(init) & _PAGE_NX);
	KUNIT_EXPECT_TRUE(test, pmd_same(pmd, init));
	KUNIT_EXPECT_TRUE(test, pmd_same(READ_ONCE(*asi_direct_map_pmd(addr)),
					 READ_ONCE(*pmd_off_k(addr))));
}
#else
static void a3_hibernation_makes_executable(struct kunit *test)
{
	kunit_skip(test, "no hibernation");
}
#endif

/* === A4, A5: the sides of the page allocator ============================== */

#define NR_BLOCKS	64

struct blocks {
	struct page *pages[NR_BLOCKS];
	unsigned int nr;
};

static void free_blocks(void *data)
{
	struct blocks *blocks = data;

	while (blocks->nr)
		__free_pages(blocks->pages[--blocks->nr], BLOCK_ORDER);
}

/* Of the node that the test began on, wherever it runs now. */
static int test_node;

static struct page *alloc_block(gfp_t gfp)
{
	return alloc_pages_node(test_node,
				gfp | __GFP_NOWARN | __GFP_NORETRY | __GFP_THISNODE,
				BLOCK_ORDER);
}

static struct blocks *test_blocks(struct kunit *test, gfp_t gfp)
{
	struct blocks *blocks = kunit_kzalloc(test, sizeof(*blocks), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, blocks);
	while (blocks->nr < NR_BLOCKS) {
		struct page *page = alloc_block(gfp);

		if (!page)
			break;
		blocks->pages[blocks->nr++] = page;
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_blocks, blocks));
	if (blocks->nr < NR_BLOCKS)
		kunit_skip(test, "not enough free memory");
	return blocks;
}

static struct blocks *copy_of(struct kunit *test, struct blocks *blocks)
{
	struct blocks *copy = kunit_kmalloc(test, sizeof(*copy), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, copy);
	*copy = *blocks;
	return copy;
}

static bool in_blocks(struct blocks *blocks, struct page *page)
{
	unsigned int i;

	for (i = 0; i < blocks->nr; i++) {
		if (blocks->pages[i] == page)
			return true;
	}
	return false;
}

/* How many of the PMD entries for a run of pages are present. */
static unsigned int nr_present(struct page *page, unsigned int order)
{
	unsigned long pfn = ALIGN_DOWN(page_to_pfn(page), BLOCK_PAGES);
	unsigned long end = page_to_pfn(page) + (1UL << order);
	unsigned int nr = 0;

	for (; pfn < end; pfn += BLOCK_PAGES)
		nr += !pmd_none(*asi_direct_map_pmd((unsigned long)__va(PFN_PHYS(pfn))));
	return nr;
}

static void a4_all_movable_is_absent(struct kunit *test)
{
	struct asi_audit audit = {};

	asi_audit_range(&audit, 0, max_pfn);
	KUNIT_EXPECT_EQ(test, audit.movable, 0);
	KUNIT_EXPECT_EQ(test, audit.user_data[ASI_ANON], 0);
	KUNIT_EXPECT_EQ(test, audit.user_data[ASI_FREE], 0);
	KUNIT_EXPECT_GT(test, audit.absent, 0);
}

static void a4_pages_are_on_their_side(struct kunit *test)
{
	static const gfp_t gfps[] = {
		GFP_KERNEL, GFP_KERNEL | __GFP_RECLAIMABLE, GFP_ATOMIC,
		GFP_HIGHUSER_MOVABLE,
	};
	unsigned int i, order, present, all;

	for (i = 0; i < ARRAY_SIZE(gfps); i++) {
		for (order = 0; order <= MAX_PAGE_ORDER; order++) {
			struct page *page = alloc_pages(gfps[i] | __GFP_NOWARN |
							__GFP_NORETRY, order);

			if (!page)
				continue;
			present = nr_present(page, order);
			all = DIV_ROUND_UP(1UL << order, BLOCK_PAGES);
			__free_pages(page, order);
			KUNIT_EXPECT_EQ_MSG(test, present,
					    gfps[i] & __GFP_MOVABLE ? 0 : all,
					    "order %u, gfp %pGg", order, &gfps[i]);
		}
	}
}

/*
 * What was reserved during boot: the kernel itself, but for what is left of its brk
 * area, and its struct pages.
 */
static void a4_boot_memory_is_present(struct kunit *test)
{
	unsigned long addr;

	for (addr = (unsigned long)_text;
	     addr < (unsigned long)__end_of_kernel_reserve;
	     addr += PAGE_SIZE) {
		struct page *page = phys_to_page(__pa_symbol(addr));

		if (!nr_present(page, 0)) {
			KUNIT_FAIL(test, "%pS is absent", (void *)addr);
			break;
		}
	}
	KUNIT_EXPECT_EQ(test, nr_present(virt_to_page(init_mm.pgd), 0), 1);
}

#define PATTERN 0x5ec7e7da7a5ec7e7UL

static unsigned long find_pattern(struct page *page)
{
	unsigned long i, nr = 0, *word = page_address(page);

	for (i = 0; i < BLOCK_PAGES * PAGE_SIZE / sizeof(long); i++)
		nr += word[i] == PATTERN;
	return nr;
}

/* Until a quarter of @old's blocks are among them, or there are no more. */
static unsigned int take_blocks(struct list_head *list, struct blocks *old,
				gfp_t gfp)
{
	unsigned int crossed = 0;
	struct page *page;

	while (crossed < NR_BLOCKS / 4) {
		page = alloc_block(gfp);
		if (!page)
			break;
		list_add(&page->lru, list);
		crossed += in_blocks(old, page);
	}
	return crossed;
}

static void give_blocks(struct list_head *list)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, list, lru)
		__free_pages(page, BLOCK_ORDER);
}

/* What users leave in their memory is gone before the kernel gets it. */
static void a4_zeroed_towards_the_kernel(struct kunit *test)
{
	struct blocks *user = test_blocks(test, GFP_HIGHUSER_MOVABLE);
	struct blocks *old = copy_of(test, user);
	unsigned int crossed, absent = 0;
	unsigned long found = 0;
	struct page *page;
	unsigned int i;
	LIST_HEAD(list);

	for (i = 0; i < user->nr; i++)
		memset64(page_address(user->pages[i]), PATTERN,
			 BLOCK_PAGES * PAGE_SIZE / sizeof(u64));
	free_blocks(user);

	/* The kernel has free blocks of its own. Until they are used up: */
	crossed = take_blocks(&list, old, GFP_KERNEL);
	list_for_each_entry(page, &list, lru) {
		found += find_pattern(page);
		absent += !nr_present(page, BLOCK_ORDER);
	}
	give_blocks(&list);

	KUNIT_EXPECT_GT(test, crossed, 0);
	KUNIT_EXPECT_EQ(test, absent, 0);
	KUNIT_EXPECT_EQ(test, found, 0);
}

#ifdef CONFIG_MEMORY_FAILURE
/* On no free list and in no allocation, as unpoison_memory() expects it. */
static bool is_taken_off(struct page *page)
{
	return PageHWPoison(page) && page_ref_count(page) == 1;
}

/*
 * M20: what has failed among free pages is neither zeroed nor handed out, and
 * the block around it stays the users'. Every second block has such a page.
 */
static void a4_poisoned_pages_are_left(struct kunit *test)
{
	struct blocks *user = test_blocks(test, GFP_HIGHUSER_MOVABLE);
	struct blocks *old = copy_of(test, user);
	unsigned int i, crossed, handed_out = 0, left = 0, present = 0;
	unsigned int changed = 0;
	struct page *page;
	LIST_HEAD(list);

	if (debug_pagealloc_enabled())
		kunit_skip(test, "free pages cannot be looked at");
	for (i = 0; i < old->nr; i++)
		memset64(page_address(old->pages[i]), PATTERN,
			 BLOCK_PAGES * PAGE_SIZE / sizeof(u64));
	free_blocks(user);
	for (i = 0; i < old->nr; i += 2)
		SetPageHWPoison(old->pages[i] + 7);

	crossed = take_blocks(&list, old, GFP_KERNEL);
	list_for_each_entry(page, &list, lru)
		handed_out += PageHWPoison(page + 7);
	for (i = 0; i < old->nr; i += 2) {
		page = old->pages[i] + 7;
		if (!is_taken_off(page)) {
			ClearPageHWPoison(page);
			continue;
		}
		left++;
		present += nr_present(page, 0);
		changed += READ_ONCE_NOCHECK(*(u64 *)page_address(page)) !=
			   PATTERN;
		num_poisoned_pages_inc(page_to_pfn(page));
		unpoison_memory(page_to_pfn(page));
	}
	give_blocks(&list);

	KUNIT_EXPECT_GT(test, crossed, 0);
	KUNIT_EXPECT_GT(test, left, 0);
	KUNIT_EXPECT_EQ(test, handed_out, 0);
	KUNIT_EXPECT_EQ(test, present, 0);
	KUNIT_EXPECT_EQ(test, changed, 0);
}
#else
static void a4_poisoned_pages_are_left(struct kunit *test)
{
	kunit_skip(test, "no handling of memory failures");
}
#endif

/* What becomes the users' was absent, and flushed, before they got it. */
static void a4_flushed_towards_users(struct kunit *test)
{
	struct blocks *kernel = test_blocks(test, GFP_KERNEL);
	struct blocks *old = copy_of(test, kernel);
	unsigned int crossed, present = 0;
	struct asi_stats before, after;
	struct page *page;
	LIST_HEAD(list);

	free_blocks(kernel);
	asi_read_stats(&before);
	/* Users have memory of their own. Until they need the kernel's: */
	crossed = take_blocks(&list, old, GFP_HIGHUSER_MOVABLE);
	asi_read_stats(&after);
	list_for_each_entry(page, &list, lru)
		present += nr_present(page, BLOCK_ORDER);
	give_blocks(&list);

	KUNIT_EXPECT_GT(test, crossed, 0);
	KUNIT_EXPECT_EQ(test, present, 0);
	KUNIT_EXPECT_GE(test, after.zapped - before.zapped, crossed);
	KUNIT_EXPECT_GE(test, after.flushes - before.flushes, crossed);
}

/* Who cannot wait for other CPUs gets no memory that they may still reach. */
static void a4_no_crossing_without_ipis(struct kunit *test)
{
	struct blocks *kernel = test_blocks(test, GFP_KERNEL);
	struct blocks *old = copy_of(test, kernel);
	unsigned int crossed = 0, present = 0, nr = 0;
	struct page *page;
	LIST_HEAD(list);

	free_blocks(kernel);
	do {
		local_irq_disable();
		page = alloc_block(GFP_NOWAIT | __GFP_MOVABLE);
		local_irq_enable();
		if (!page)
			break;
		list_add(&page->lru, &list);
		crossed += in_blocks(old, page);
		present += nr_present(page, BLOCK_ORDER);
		nr++;
	} while (!crossed);
	give_blocks(&list);

	KUNIT_EXPECT_GT(test, nr, 0);
	KUNIT_EXPECT_EQ(test, crossed, 0);
	KUNIT_EXPECT_EQ(test, present, 0);
}

/* Nobody can wait here, and all have their pages. */
static void a5_atomic_allocations(struct kunit *test)
{
	const unsigned int nr = SZ_16M >> PAGE_SHIFT;
	unsigned int i, failed = 0, absent = 0;
	LIST_HEAD(list);
	struct page *page, *next;

	for (i = 0; i < nr; i++) {
		page = alloc_page(GFP_ATOMIC | __GFP_NOWARN);
		if (!page) {
			failed++;
			continue;
		}
		absent += !nr_present(page, 0);
		list_add(&page->lru, &list);
	}
	list_for_each_entry_safe(page, next, &list, lru)
		__free_page(page);
	KUNIT_EXPECT_EQ(test, failed, 0);
	KUNIT_EXPECT_EQ(test, absent, 0);
}

/* With interrupts off no block is zeroed while another node has memory. */
static void a5_irqs_off_other_zones_first(struct kunit *test)
{
	int other = next_online_node(test_node);
	struct asi_stats before, after;
	struct blocks *blocks;
	struct page *page;
	LIST_HEAD(list);
	unsigned int i;

	if (other == MAX_NUMNODES)
		other = first_online_node;
	if (other == test_node)
		kunit_skip(test, "one node");
	/* The other node has blocks of the kernel's that are free. */
	blocks = kunit_kzalloc(test, sizeof(*blocks), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, blocks);
	for (i = 0; i < 4; i++) {
		page = alloc_pages_node(other, GFP_KERNEL | __GFP_THISNODE |
					__GFP_NOWARN, BLOCK_ORDER);
		if (page)
			blocks->pages[blocks->nr++] = page;
	}
	free_blocks(blocks);

	asi_read_stats(&before);
	do {
		scoped_guard(irqsave)
			page = alloc_pages_node(test_node,
						GFP_ATOMIC | __GFP_NOWARN,
						BLOCK_ORDER);
		if (page)
			list_add(&page->lru, &list);
	} while (page && page_to_nid(page) == test_node);
	asi_read_stats(&after);
	give_blocks(&list);

	KUNIT_EXPECT_NOT_NULL(test, page);
	KUNIT_EXPECT_EQ(test, after.restored - before.restored, 0);
}

/* How many pages of a zone kernel allocations can have at once. */
static unsigned long kernel_pages(struct zone *zone, unsigned long *blocks)
{
	static const int types[] = {
		MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE,
	};
	unsigned long nr = 0;
	unsigned int i, order;

	*blocks = 0;
	guard(spinlock_irqsave)(&zone->lock);
	for (order = 0; order < NR_PAGE_ORDERS; order++) {
		for (i = 0; i < ARRAY_SIZE(types); i++) {
			struct list_head *list =
				&zone->free_area[order].free_list[types[i]];
			unsigned long here = list_count_nodes(list) << order;

			/* Users' blocks they can have if they are wholly free. */
			if (order >= pageblock_order)
				*blocks += here;
			else if (types[i] == MIGRATE_MOVABLE)
				continue;
			nr += here;
		}
	}
	return nr;
}

/*
 * Users that take all they can get leave what the min watermark promises to
 * those who cannot wait, and no block beyond that. Counters lag a bit, and some
 * pages are on lists of CPUs.
 */
static unsigned long listed_pages(struct zone *zone)
{
	unsigned long nr = 0;
	unsigned int cpu;

	for_each_online_cpu(cpu)
		nr += READ_ONCE(per_cpu_ptr(zone->per_cpu_pageset, cpu)->count);
	return nr;
}

static void a5_blocks_are_left_for_the_kernel(struct kunit *test)
{
	unsigned long left = 0, blocks = 0, min = 0, slack = 0;
	enum { MAX_TRIES = 8 };
	struct page *page, *next;
	unsigned int tries = 0;
	struct zone *zone;
	LIST_HEAD(list);

	if (nr_online_nodes == 1)
		kunit_skip(test, "everybody would be out of memory");
	/* Others may free memory before it is counted: then there is more. */
	do {
		while ((page = alloc_page(GFP_HIGHUSER_MOVABLE |
					  __GFP_THISNODE | __GFP_NORETRY |
					  __GFP_NOWARN)))
			list_add(&page->lru, &list);
		if (list_empty(&list))
			break;
		zone = page_zone(list_first_entry(&list, struct page, lru));
		left = kernel_pages(zone, &blocks);
		min = min_wmark_pages(zone);
		/* The per-CPU lists, and what others free meanwhile. */
		slack = listed_pages(zone) + 64 * num_online_cpus() + min / 8;
	} while (blocks && left >= min + BLOCK_PAGES + slack &&
		 tries++ < MAX_TRIES - 1);
	list_for_each_entry_safe(page, next, &list, lru)
		__free_page(page);
	kunit_info(test, "%lu pages left, %lu in blocks, the min watermark %lu, %u of %u tries",
		   left, blocks, min, tries + 1, MAX_TRIES);
	KUNIT_EXPECT_GT(test, min, 0);
	KUNIT_EXPECT_GE(test, left + slack, min);
	if (blocks)
		KUNIT_EXPECT_LT(test, left, min + BLOCK_PAGES + slack);
}

/* === A8: top-level entries ================================================ */

/* An mm with page tables in a top-level slot of its own, and no memory there. */
struct lone {
	struct mm_struct *mm;
	unsigned long addr;
	unsigned int slot;
	pgd_t *pgd;
};

static void drop_lone(void *mm)
{
	mmdrop(mm);
}

static void make_lone(struct kunit *test, struct lone *lone)
{
	lone->addr = TASK_SIZE_MAX / 2;
	lone->slot = pgd_index(lone->addr);
	lone->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, lone->mm);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, drop_lone,
							   lone->mm));
	lone->pgd = pgd_offset(lone->mm, lone->addr);
}

static bool add_lone(struct lone *lone)
{
	p4d_t *p4d = p4d_alloc(lone->mm, lone->pgd, lone->addr);

	return p4d && pud_alloc(lone->mm, p4d, lone->addr);
}

/* As free_pgd_range() does, but for the flush. */
static void clear_lone(struct lone *lone)
{
	p4d_t *p4d = p4d_offset(lone->pgd, lone->addr);
	pud_t *pud;

	if (!p4d_none(*p4d)) {
		pud = pud_offset(p4d, 0);
		p4d_clear(p4d);
		pud_free(lone->mm, pud);
		mm_dec_nr_puds(lone->mm);
	}
	if (pgtable_l5_enabled() && !pgd_none(*lone->pgd)) {
		p4d = p4d_offset(lone->pgd, 0);
		pgd_clear(lone->pgd);
		p4d_free(lone->mm, p4d);
	}
	asi_user_entry_cleared(lone->mm);
}

/* What this CPU has for it when it has gone to the mm, and come back. */
static pgd_t visit_lone(struct lone *lone)
{
	struct mm_struct *mm = current->mm;
	pgd_t entry;

	guard(irqsave)();
	asi_enter();
	switch_mm_irqs_off(NULL, lone->mm, NULL);
	entry = restricted_pgd(loaded_slot())[lone->slot];
	switch_mm_irqs_off(NULL, mm, NULL);
	cpumask_clear_cpu(smp_processor_id(), mm_cpumask(lone->mm));
	return entry;
}

/* I2, I4: what was added or cleared meanwhile is seen when the mm is loaded. */
static void a8_user_entries_are_copied(struct kunit *test)
{
	pgd_t before, during, entry, after;
	struct lone lone;
	bool added;

	make_lone(test, &lone);
	need_mm(test);
	migrate_disable();
	before = visit_lone(&lone);
	added = add_lone(&lone);
	entry = READ_ONCE(*lone.pgd);
	during = visit_lone(&lone);
	clear_lone(&lone);
	after = visit_lone(&lone);
	migrate_enable();

	KUNIT_EXPECT_TRUE(test, added);
	KUNIT_EXPECT_EQ(test, pgd_val(before), 0);
	KUNIT_EXPECT_NE(test, pgd_val(entry), 0);
	KUNIT_EXPECT_EQ(test, pgd_val(during), pgd_val(entry));
	KUNIT_EXPECT_EQ(test, pgd_val(after), 0);
}

/* One that another CPU has added since is copied by a fault, without an exit. */
static void a8_missed_entry_is_copied(struct kunit *test)
{
	unsigned long word, exits, entry = 0, copied = 0;
	struct mm_struct *mm;
	struct lone lone;
	bool in = false;
	long err = 0;

	make_lone(test, &lone);
	need_mm(test);
	mm = current->mm;
	KUNIT_ASSERT_TRUE(test, add_lone(&lone));
	scoped_guard(irqsave) {
		asi_enter();
		switch_mm_irqs_off(NULL, lone.mm, NULL);
		restricted_pgd(loaded_slot())[lone.slot] = __pgd(0);
		entry = pgd_val(*lone.pgd);
		exits = this_cpu_read(asi_cpu.nr.exits[ASI_EXIT_FAULT]);
		/* There is a page table, but no page. */
		pagefault_disable();
		err = __copy_from_user_inatomic(&word,
						(void __user *)lone.addr, 1);
		pagefault_enable();
		in = really_restricted() &&
		     exits == this_cpu_read(asi_cpu.nr.exits[ASI_EXIT_FAULT]);
		copied = pgd_val(restricted_pgd(loaded_slot())[lone.slot]);
		switch_mm_irqs_off(NULL, mm, NULL);
		asi_exit();
		cpumask_clear_cpu(smp_processor_id(), mm_cpumask(lone.mm));
	}
	clear_lone(&lone);
	KUNIT_EXPECT_EQ(test, err, 1);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_NE(test, entry, 0);
	KUNIT_EXPECT_EQ(test, copied, entry);
}

static atomic_t halves_checked, halves_differ;

/* I2: once the CPU has seen the last change, what it has is what the mm has. */
static void check_user_half(void *unused)
{
	struct mm_struct *mm = this_cpu_read(cpu_tlbstate.loaded_mm);
	struct asi_space *space;
	unsigned int slot, nr = 0;
	pgd_t *root;

	if (mm == LOADED_MM_SWITCHING || is_notrack_mm(mm) || mm == &init_mm)
		return;
	space = this_cpu_ptr(&asi_cpu.space[loaded_slot()]);
	root = restricted_pgd(loaded_slot());
	if (space->ctx_id != mm->context.ctx_id ||
	    space->gen != atomic64_read(&mm->context.asi_gen))
		return;
	for (slot = 0; slot < KERNEL_PGD_BOUNDARY; slot++)
		nr += pgd_val(READ_ONCE(root[slot])) !=
		      pgd_val(READ_ONCE(mm->pgd[slot]));
	/* Somebody may have changed it while this was looking. */
	if (space->gen != atomic64_read(&mm->context.asi_gen))
		return;
	atomic_inc(&halves_checked);
	if (nr)
		atomic_inc(&halves_differ);
}

static void a8_user_halves_are_the_mms(struct kunit *test)
{
	unsigned int i;

	atomic_set(&halves_checked, 0);
	atomic_set(&halves_differ, 0);
	need_mm(test);
	for (i = 0; i < 100; i++) {
		on_each_cpu(check_user_half, NULL, 1);
		usleep_range(2000, 3000);
	}
	KUNIT_EXPECT_GT(test, atomic_read(&halves_checked), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&halves_differ), 0);
}

static void kernel_half(struct kunit *test)
{
	unsigned int slot, direct_map = pgd_index(PAGE_OFFSET);
	unsigned int window = pgd_index(EPHMAP_BASE_ADDR);
	pgd_t *pgd = restricted_pgd(0), *guest = restricted_pgd(ASI_GUEST_SLOT);

	/* Its own direct map ... */
	KUNIT_EXPECT_NE(test, pgd_val(pgd[direct_map]), 0);
	KUNIT_EXPECT_NE(test, pgd_val(pgd[direct_map]),
			pgd_val(init_mm.pgd[direct_map]));
	/* ... the CPU's window, but not for guests, and all else as init_mm. */
	KUNIT_EXPECT_NE(test, pgd_val(pgd[window]),
			pgd_val(init_mm.pgd[window]));
	for (slot = pgd_index(VMALLOC_START); slot < PTRS_PER_PGD; slot++) {
		if (slot != window)
			KUNIT_EXPECT_EQ(test, pgd_val(pgd[slot]),
					pgd_val(init_mm.pgd[slot]));
		KUNIT_EXPECT_EQ(test, pgd_val(guest[slot]),
				pgd_val(init_mm.pgd[slot]));
	}
}

static void all_kernel_halves(struct kunit *test)
{
	struct asi_audit audit = {};

	asi_audit_pgds(&audit);
	KUNIT_EXPECT_GT(test, audit.pgds, 0);
	KUNIT_EXPECT_EQ(test, audit.wrong, 0);
}

/* With 5 levels the window's top-level entry names a table that others use, too. */
static void audit_looks_beside_the_window(struct kunit *test)
{
	unsigned int slot = pgd_index(EPHMAP_BASE_ADDR), i;
	struct asi_audit audit = {};
	p4d_t *p4d, was;

	if (!pgtable_l5_enabled())
		kunit_skip(test, "needs 5-level page tables");
	p4d = (p4d_t *)pgd_page_vaddr(restricted_pgd(0)[slot]);
	for (i = 0; !p4d_none(p4d[i]) || i == p4d_index(EPHMAP_BASE_ADDR); i++)
		KUNIT_ASSERT_LT(test, i, PTRS_PER_P4D - 1);
	was = p4d[i];
	get_online_mems();
	scoped_guard(spinlock, &pgd_lock) {
		/* Not present, so that no CPU minds. */
		WRITE_ONCE(p4d[i], __p4d(PAGE_SIZE));
		asi_audit_roots(&audit);
		WRITE_ONCE(p4d[i], was);
	}
	put_online_mems();
	/* In each of the CPU's roots but the guests'. */
	KUNIT_EXPECT_EQ(test, audit.wrong, ASI_NR_SLOTS - 1);
}

/*
 * Global translations of init_mm's direct map: a CPU that has cached one has it in
 * address spaces that lack it, too.
 */
static unsigned long nr_global(void)
{
	unsigned long addr, pfn, step, nr = 0;
	unsigned int level;
	pte_t *pte;

	get_online_mems();
	for (pfn = 0; pfn < max_pfn; pfn += step) {
		step = 1;
		addr = (unsigned long)__va(PFN_PHYS(pfn));
		/* Against CPA, which frees page tables. */
		scoped_guard(spinlock, &pgd_lock) {
			pte = lookup_address(addr, &level);
			if (!pte || level != PG_LEVEL_4K)
				step = BLOCK_PAGES - pfn % BLOCK_PAGES;
			nr += pte && (pte_flags(*pte) & _PAGE_PRESENT) &&
			      (pte_flags(*pte) & _PAGE_GLOBAL);
		}
		cond_resched();
	}
	put_online_mems();
	return nr;
}

/*
 * I13: A global translation would outlive the change of address spaces, also of
 * what is restored or changed. What all address spaces have is global.
 */
static void no_global_mappings(struct kunit *test)
{
	struct block *block = test_block(test);
	unsigned long addr = block->addr;
	unsigned int level;
	pte_t *pte;

	KUNIT_ASSERT_EQ(test, set_memory_ro(addr, 1), 0);
	KUNIT_ASSERT_EQ(test, set_memory_rw(addr, 1), 0);
	KUNIT_ASSERT_EQ(test, set_direct_map_invalid_noflush(block->page), 0);
	KUNIT_ASSERT_EQ(test, set_direct_map_default_noflush(block->page), 0);
	flush_tlb_kernel_range(addr, addr + PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, set_memory_np(addr + PAGE_SIZE, 1), 0);
	KUNIT_ASSERT_EQ(test, set_memory_p(addr + PAGE_SIZE, 1), 0);
	pte = lookup_address(addr, &level);
	KUNIT_ASSERT_NOT_NULL(test, pte);
	KUNIT_EXPECT_FALSE(test, pte_flags(*pte) & _PAGE_GLOBAL);

	KUNIT_EXPECT_EQ(test, nr_global(), 0);

	if (boot_cpu_has(X86_FEATURE_PGE))
		KUNIT_EXPECT_TRUE(test, pgprot_val(PAGE_KERNEL) & _PAGE_GLOBAL);
	pte = lookup_address((unsigned long)current->stack, &level);
	KUNIT_ASSERT_NOT_NULL(test, pte);
	if (is_vmalloc_addr(current->stack) && boot_cpu_has(X86_FEATURE_PGE))
		KUNIT_EXPECT_TRUE(test, pte_flags(*pte) & _PAGE_GLOBAL);
}

/* === The audit ============================================================ */

static void audit_finds_user_data(struct kunit *test)
{
	struct asi_audit seen = {}, hidden = {}, unmapped = {}, mapped = {};
	unsigned long pfn, start;
	struct file *file;
	struct page *page;
	bool present;
	void *addr;

	file = shmem_kernel_file_setup("asi-kunit", PAGE_SIZE, EMPTY_VMA_FLAGS);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	page = shmem_read_mapping_page(file->f_mapping, 0);
	if (IS_ERR(page)) {
		fput(file);
		KUNIT_FAIL_AND_ABORT(test, "no page: %ld", PTR_ERR(page));
	}
	pfn = page_to_pfn(page);
	start = ALIGN_DOWN(pfn, BLOCK_PAGES);
	present = !pmd_none(*asi_direct_map_pmd((unsigned long)__va(PFN_PHYS(start))));

	asi_restore_direct_map(start, BLOCK_PAGES);
	asi_audit_range(&seen, start, start + BLOCK_PAGES);
	asi_zap_direct_map(start, BLOCK_PAGES);
	asi_audit_range(&hidden, start, start + BLOCK_PAGES);
	if (present)
		asi_restore_direct_map(start, BLOCK_PAGES);
	asi_audit_mapped(&unmapped);
	addr = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	asi_audit_mapped(&mapped);
	vunmap(addr);
	put_page(page);
	fput(file);

	KUNIT_EXPECT_GT(test, seen.present, 0);
	KUNIT_EXPECT_GE(test, seen.user_data[ASI_SHMEM], 1);
	KUNIT_EXPECT_EQ(test, hidden.present, 0);
	KUNIT_EXPECT_EQ(test, hidden.absent, BLOCK_PAGES);
	KUNIT_EXPECT_EQ(test, hidden.user_data[ASI_SHMEM], 0);
	KUNIT_EXPECT_NOT_NULL(test, addr);
	KUNIT_EXPECT_EQ(test, mapped.mapped, unmapped.mapped + 1);
}

/* === A2, A7: transitions ================================================== */

static void free_one(void *page)
{
	__free_page(page);
}

/* A page as users have it, with a pattern; its address in the direct map. */
static unsigned long *user_page(struct kunit *test)
{
	struct page *page = alloc_page(GFP_HIGHUSER_MOVABLE);
	unsigned long *addr;

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_one, page));
	addr = page_address(page);
	*addr = PATTERN;
	if (!pmd_none(*asi_direct_map_pmd((unsigned long)addr)))
		kunit_skip(test, "movable memory comes from a kernel block");
	return addr;
}

static bool really_not_restricted(void)
{
	return !asi_restricted() && !cr3_is_restricted();
}

static void a2_enter_and_exit(struct kunit *test)
{
	struct asi_stats before, after;
	bool in, out;

	need_mm(test);
	asi_exit();
	asi_read_stats(&before);
	scoped_guard(irqsave) {
		asi_enter();
		in = really_restricted();
		asi_exit();
		out = really_not_restricted();
	}
	asi_read_stats(&after);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, out);
	KUNIT_EXPECT_GT(test, after.cpus.enters[ASI_USER],
			before.cpus.enters[ASI_USER]);
	KUNIT_EXPECT_GT(test, after.cpus.exits[ASI_EXIT_ASKED],
			before.cpus.exits[ASI_EXIT_ASKED]);
}

static void a2_read_of_user_data_exits(struct kunit *test)
{
	unsigned long *addr = user_page(test), val;
	struct asi_stats before, after;
	bool in, out;

	need_mm(test);
	asi_read_stats(&before);
	scoped_guard(irqsave) {
		asi_enter();
		in = really_restricted();
		val = READ_ONCE(*addr);
		out = really_not_restricted();
	}
	asi_read_stats(&after);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, out);
	KUNIT_EXPECT_EQ(test, val, PATTERN);
	KUNIT_EXPECT_GT(test, after.cpus.exits[ASI_EXIT_FAULT],
			before.cpus.exits[ASI_EXIT_FAULT]);
}

static void a2_write_to_user_data_exits(struct kunit *test)
{
	unsigned long *addr = user_page(test);
	bool in, out;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_enter();
		in = really_restricted();
		WRITE_ONCE(*addr, ~PATTERN);
		out = really_not_restricted();
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, out);
	KUNIT_EXPECT_EQ(test, *addr, ~PATTERN);
}

/* With interrupts on, where the fault may end in a switch to another task. */
static void a2_exit_with_interrupts_on(struct kunit *test)
{
	unsigned long *addr = user_page(test), val = 0, i;

	need_mm(test);
	for (i = 0; i < 1000; i++) {
		scoped_guard(irqsave)
			asi_enter();
		val = READ_ONCE(*addr);
		if (val != PATTERN)
			break;
	}
	KUNIT_EXPECT_EQ(test, val, PATTERN);
}

static void a2_copy_nofault_exits(struct kunit *test)
{
	unsigned long *addr = user_page(test), val = 0;
	bool in;
	long err;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_enter();
		in = really_restricted();
		err = copy_from_kernel_nofault(&val, addr, sizeof(val));
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, val, PATTERN);
}

/* Where nothing is, there is a fault: in either address space. */
static void a2_bad_address_is_bad(struct kunit *test)
{
	unsigned long addr = PAGE_OFFSET + PFN_PHYS(max_pfn) + SZ_1G, val;
	bool in;
	long err;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_enter();
		in = really_restricted();
		err = copy_from_kernel_nofault(&val, (void *)addr, sizeof(val));
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_EQ(test, err, -EFAULT);
}

static DEFINE_PER_CPU(unsigned long, asi_test_percpu);

static void a2_kernel_memory_stays(struct kunit *test)
{
	unsigned long *slab = kunit_kzalloc(test, sizeof(*slab), GFP_KERNEL);
	unsigned long *large = kvzalloc(SZ_64K, GFP_KERNEL);
	unsigned long *mapped = vmalloc(PAGE_SIZE), sum;
	bool in, stays;

	need_mm(test);
	KUNIT_ASSERT_NOT_NULL(test, slab);
	if (large && mapped) {
		*mapped = 1;
		scoped_guard(irqsave) {
			asi_enter();
			in = really_restricted();
			sum = READ_ONCE(*slab) + READ_ONCE(*large) +
			      READ_ONCE(*mapped) + READ_ONCE(current->flags) +
			      this_cpu_read(asi_test_percpu);
			WRITE_ONCE(*slab, sum);
			this_cpu_inc(asi_test_percpu);
			stays = really_restricted();
		}
		KUNIT_EXPECT_TRUE(test, in);
		KUNIT_EXPECT_TRUE(test, stays);
	}
	vfree(mapped);
	kvfree(large);
}

/* What user mode has at a user address stays within reach. */
static void a2_user_addresses_stay(struct kunit *test)
{
	unsigned long user, val = 0;
	bool in, stays;
	unsigned long left;

	need_mm(test);
	user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(user));
	val = PATTERN;
	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)user, &val,
					      sizeof(val)));
	val = 0;
	scoped_guard(irqsave) {
		asi_enter();
		in = really_restricted();
		pagefault_disable();
		left = __copy_from_user_inatomic(&val, (void __user *)user,
						 sizeof(val));
		pagefault_enable();
		stays = really_restricted();
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, stays);
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, val, PATTERN);
}

static bool really_for_guests(void)
{
	return asi_class() == ASI_GUEST && asi_cr3_is_guest(__read_cr3()) &&
	       cr3_is_restricted();
}

static void enter_class(unsigned int class)
{
	if (class == ASI_GUEST)
		asi_enter_guest();
	else
		asi_enter();
}

static bool really_in(unsigned int class)
{
	return class == ASI_GUEST ? really_for_guests() :
				    really_restricted() && !really_for_guests();
}

/* What the exceptions that interrupt anything have seen. */
static struct {
	unsigned long *addr;
	unsigned long val;
	bool in, out;
	unsigned int times;
} seen;

static void touch_user_data(void)
{
	seen.in = really_restricted();
	seen.val = READ_ONCE(*seen.addr);
	seen.out = really_not_restricted();
	smp_wmb();	/* times is what is waited for */
	WRITE_ONCE(seen.times, seen.times + 1);
}

static int touch_in_nmi(unsigned int cmd, struct pt_regs *regs)
{
	if (READ_ONCE(seen.times))
		return NMI_DONE;
	touch_user_data();
	return NMI_HANDLED;
}

/* Ends where it began, though the handler left: that is what NMIs owe. */
static void nmi_restores(struct kunit *test, unsigned int class)
{
	struct asi_stats before, after;
	bool in, again = false;
	unsigned int i;

	memset(&seen, 0, sizeof(seen));
	seen.addr = user_page(test);
	need_mm(test);
	KUNIT_ASSERT_EQ(test, 0, register_nmi_handler(NMI_LOCAL, touch_in_nmi,
						      NMI_FLAG_FIRST,
						      "asi_test"));
	asi_read_stats(&before);
	scoped_guard(irqsave) {
		enter_class(class);
		in = really_in(class);
		__apic_send_IPI_mask(cpumask_of(smp_processor_id()),
				     NMI_VECTOR);
		for (i = 0; i < 1000000 && !READ_ONCE(seen.times); i++)
			cpu_relax();
		again = really_in(class);
		asi_exit();
	}
	unregister_nmi_handler(NMI_LOCAL, "asi_test");
	asi_read_stats(&after);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_EQ(test, seen.times, 1);
	KUNIT_EXPECT_TRUE(test, seen.in);
	KUNIT_EXPECT_TRUE(test, seen.out);
	KUNIT_EXPECT_EQ(test, seen.val, PATTERN);
	KUNIT_EXPECT_TRUE(test, again);
	KUNIT_EXPECT_GT(test, after.cpus.reenters, before.cpus.reenters);
}

static void a7_nmi_restores(struct kunit *test)
{
	nmi_restores(test, ASI_USER);
}

static void a9_nmi_restores(struct kunit *test)
{
	nmi_restores(test, ASI_GUEST);
}

static int touch_in_int3(struct notifier_block *nb, unsigned long what,
			 void *args)
{
	if (what != DIE_INT3 || READ_ONCE(seen.times))
		return NOTIFY_DONE;
	touch_user_data();
	return NOTIFY_STOP;
}

static void int3_restores(struct kunit *test, unsigned int class)
{
	struct notifier_block nb = {
		.notifier_call = touch_in_int3,
		.priority = INT_MAX,
	};
	bool in, again;

	memset(&seen, 0, sizeof(seen));
	seen.addr = user_page(test);
	need_mm(test);
	KUNIT_ASSERT_EQ(test, 0, register_die_notifier(&nb));
	scoped_guard(irqsave) {
		enter_class(class);
		in = really_in(class);
		asm volatile("int3");
		again = really_in(class);
		asi_exit();
	}
	unregister_die_notifier(&nb);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_EQ(test, seen.times, 1);
	KUNIT_EXPECT_TRUE(test, seen.in);
	KUNIT_EXPECT_TRUE(test, seen.out);
	KUNIT_EXPECT_TRUE(test, again);
}

static void a7_int3_restores(struct kunit *test)
{
	int3_restores(test, ASI_USER);
}

static void a9_int3_restores(struct kunit *test)
{
	int3_restores(test, ASI_GUEST);
}

/* An interrupt may leave: whoever it interrupts goes on in either. */
static void touch_in_irq(void *unused)
{
	touch_user_data();
}

static void a7_irq_leaves(struct kunit *test)
{
	bool out;

	memset(&seen, 0, sizeof(seen));
	seen.addr = user_page(test);
	need_mm(test);
	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU");
	scoped_guard(preempt) {
		int other = cpumask_any_but(cpu_online_mask,
					    smp_processor_id());

		/* What the other CPU runs, and where, is not known. */
		smp_call_function_single(other, touch_in_irq, NULL, 1);
		out = seen.out;
	}
	KUNIT_EXPECT_TRUE(test, out);
	KUNIT_EXPECT_EQ(test, seen.val, PATTERN);
}

static bool cr3_is_of(struct mm_struct *mm, bool restricted)
{
	unsigned long cr3 = __read_cr3();

	return (asi_base_cr3(cr3) & CR3_ADDR_MASK) == __pa(mm->pgd) &&
	       asi_cr3_is_restricted(cr3) == restricted &&
	       asi_restricted() == restricted && !asi_cr3_is_guest(cr3);
}

static void drop_mm(void *mm)
{
	mmdrop(mm);
}

static void put_mm(void *mm)
{
	mmput(mm);
}

/* From one mm to another, without an exit; not so to a temporary one. */
static void a7_switch(struct kunit *test)
{
	struct mm_struct *mm, *other = mm_alloc();
	bool in, there, back, init, again, left;
	struct asi_stats before, after;

	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, drop_mm, other));
	need_mm(test);
	mm = current->mm;
	asi_read_stats(&before);
	scoped_guard(irqsave) {
		asi_enter();
		in = cr3_is_of(mm, true);
		switch_mm_irqs_off(NULL, other, NULL);
		there = cr3_is_of(other, true);
		switch_mm_irqs_off(NULL, mm, NULL);
		back = cr3_is_of(mm, true);
		switch_mm_irqs_off(NULL, &init_mm, NULL);
		init = cr3_is_of(&init_mm, true);
		switch_mm_irqs_off(NULL, mm, NULL);
		again = cr3_is_of(mm, true);
		set_notrack_mm(other);
		switch_mm_irqs_off(NULL, other, NULL);
		left = cr3_is_of(other, false);
		switch_mm_irqs_off(NULL, mm, NULL);
		left &= cr3_is_of(mm, false);
		cpumask_clear_cpu(smp_processor_id(), mm_cpumask(other));
	}
	asi_read_stats(&after);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, there);
	KUNIT_EXPECT_TRUE(test, back);
	KUNIT_EXPECT_TRUE(test, init);
	KUNIT_EXPECT_TRUE(test, again);
	KUNIT_EXPECT_TRUE(test, left);
	KUNIT_EXPECT_GE(test, after.cpus.switches,
			before.cpus.switches + 4);
	KUNIT_EXPECT_GT(test, after.cpus.exits[ASI_EXIT_SWITCH],
			before.cpus.exits[ASI_EXIT_SWITCH]);
}

/* What a kernel thread that runs after a user's task has found. */
struct kernel_thread {
	struct mm_struct *mm, *other;
	struct completion done;
	bool lazy, used, left, unused;
};

static int run_lazily(void *data)
{
	struct kernel_thread *k = data;

	scoped_guard(irqsave)
		k->lazy = cr3_is_of(k->mm, true);
	kthread_use_mm(k->other);
	scoped_guard(irqsave) {
		k->used = cr3_is_of(k->other, true);
		touch_user_data();
		k->left = cr3_is_of(k->other, false);
	}
	kthread_unuse_mm(k->other);
	scoped_guard(irqsave)
		k->unused = cr3_is_of(k->other, false);
	complete(&k->done);
	return 0;
}

/*
 * A kernel thread begins as the user's task left the CPU, without an exit; goes
 * from there to an mm that it uses; and leaves when it touches users' data.
 * What interrupts it may be first: that a try fails says nothing.
 */
static void a7_kernel_thread(struct kunit *test)
{
	struct kernel_thread k = {};
	struct task_struct *task;
	unsigned int tries;
	bool in, back;

	memset(&seen, 0, sizeof(seen));
	seen.addr = user_page(test);
	k.other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, k.other);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, put_mm, k.other));
	need_mm(test);
	k.mm = current->mm;
	for (tries = 0; tries < 50; tries++) {
		init_completion(&k.done);
		task = kthread_create(run_lazily, &k, "asi-kunit-lazy");
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
		migrate_disable();
		kthread_bind(task, smp_processor_id());
		scoped_guard(irqsave) {
			asi_enter();
			in = cr3_is_of(k.mm, true);
			wake_up_process(task);
		}
		wait_for_completion(&k.done);
		scoped_guard(irqsave)
			back = cr3_is_of(k.mm, asi_restricted());
		migrate_enable();
		KUNIT_EXPECT_TRUE(test, in);
		KUNIT_EXPECT_TRUE(test, k.left);
		KUNIT_EXPECT_TRUE(test, seen.out);
		KUNIT_EXPECT_EQ(test, seen.val, PATTERN);
		KUNIT_EXPECT_TRUE(test, back);
		if (k.lazy && k.used && k.unused)
			break;
	}
	KUNIT_EXPECT_TRUE(test, k.lazy);
	KUNIT_EXPECT_TRUE(test, k.used);
	KUNIT_EXPECT_TRUE(test, k.unused);
}

/*
 * The next mm does not get the ASID that is loaded. Between its flush being left
 * to do and CR3 being loaded an NMI may use up the one, and fill the TLB again.
 */
static void a7_asid_of_another(struct kunit *test)
{
	struct mm_struct *other;
	u16 old, new;

	if (!cpu_feature_enabled(X86_FEATURE_PCID))
		kunit_skip(test, "no PCIDs");
	other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, drop_mm, other));
	need_mm(test);
	scoped_guard(irqsave) {
		old = this_cpu_read(cpu_tlbstate.loaded_mm_asid);
		this_cpu_write(cpu_tlbstate.next_asid, old);
		switch_mm_irqs_off(NULL, other, NULL);
		new = this_cpu_read(cpu_tlbstate.loaded_mm_asid);
		switch_mm_irqs_off(NULL, current->mm, NULL);
		cpumask_clear_cpu(smp_processor_id(), mm_cpumask(other));
	}
	KUNIT_EXPECT_NE(test, new, old);
}

/* Its window is in no restricted page table. */
static void a7_ephmap_leaves(struct kunit *test)
{
	unsigned long *addr = user_page(test), *mapped, val = 0;
	struct ephmap_session session;
	bool in, out = false;
	int err;

	need_mm(test);
	if (!ephmap_available())
		kunit_skip(test, "no ephmap");
	preempt_disable();
	scoped_guard(irqsave) {
		asi_enter();
		in = really_restricted();
	}
	err = ephmap_begin(&session);
	if (!err) {
		out = really_not_restricted();
		mapped = ephmap_map_page(&session, virt_to_page(addr),
					 EPHMAP_RO);
		val = IS_ERR(mapped) ? 0 : READ_ONCE(*mapped);
		ephmap_end(&session);
	}
	preempt_enable();
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, out);
	KUNIT_EXPECT_EQ(test, val, PATTERN);
}

/*
 * An address that is not global gets another page while its translations are
 * cached in both address spaces: after a flush in the one (@in_restricted), neither
 * has the old one. Where TLBs have no PCIDs how it was flushed is counted.
 */
static void flush_reaches_both(struct kunit *test, bool in_restricted, bool all)
{
	const pgprot_t prot = __pgprot(pgprot_val(PAGE_KERNEL) & ~_PAGE_GLOBAL);
	struct page *pages[2];
	bool late = all || !cpu_feature_enabled(X86_FEATURE_INVPCID);
	unsigned long *addr, first[2], then[2], flushes;
	unsigned long __percpu *counter;
	unsigned int i;
	pte_t *pte;

	counter = late ? &asi_cpu.nr.late : &asi_cpu.nr.invpcids;
	need_mm(test);
	for (i = 0; i < 2; i++) {
		pages[i] = alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, pages[i]);
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, free_one,
							  pages[i]));
		*(unsigned long *)page_address(pages[i]) = PATTERN + i;
	}
	addr = vmap(pages, 1, VM_MAP, prot);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	pte = virt_to_kpte((unsigned long)addr);
	scoped_guard(irqsave) {
		asi_exit();
		first[0] = READ_ONCE(*addr);
		asi_enter();
		first[1] = READ_ONCE(*addr);
		if (!in_restricted)
			asi_exit();
		set_pte(pte, mk_pte(pages[1], prot));
		flushes = this_cpu_read(*counter);
		if (all)
			flush_tlb_local();
		else
			flush_tlb_one_user((unsigned long)addr);
		then[in_restricted] = READ_ONCE(*addr);
		if (in_restricted)
			asi_exit();
		else
			asi_enter();
		then[!in_restricted] = READ_ONCE(*addr);
		flushes = this_cpu_read(*counter) - flushes;
		asi_exit();
		set_pte(pte, mk_pte(pages[0], prot));
	}
	/* vunmap() flushes what is global: no other PCID may keep this. */
	flush_tlb_all();
	vunmap(addr);
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, first[i], PATTERN);
		KUNIT_EXPECT_EQ(test, then[i], PATTERN + 1);
	}
	KUNIT_EXPECT_EQ(test, flushes, cpu_feature_enabled(X86_FEATURE_PCID));
}

static void a7_flush_in_restricted(struct kunit *test)
{
	flush_reaches_both(test, true, false);
}

static void a7_flush_outside(struct kunit *test)
{
	flush_reaches_both(test, false, false);
}

static void a7_flush_all_in_restricted(struct kunit *test)
{
	flush_reaches_both(test, true, true);
}

static void a7_flush_all_outside(struct kunit *test)
{
	flush_reaches_both(test, false, true);
}

/* Of a page of the direct map all PCIDs may have translations of their own. */
static void a7_flush_of_the_direct_map(struct kunit *test)
{
	bool elsewhere, direct;

	scoped_guard(irqsave) {
		this_cpu_write(cpu_tlbstate.invalidate_other, false);
		flush_tlb_one_kernel(VMALLOC_START);
		elsewhere = this_cpu_read(cpu_tlbstate.invalidate_other);
		flush_tlb_one_kernel(PAGE_OFFSET);
		direct = this_cpu_read(cpu_tlbstate.invalidate_other);
		/* What it may have been. */
		this_cpu_write(cpu_tlbstate.invalidate_other, true);
	}
	KUNIT_EXPECT_FALSE(test, elsewhere);
	KUNIT_EXPECT_TRUE(test, direct);
}

/* === A9: the class for guests ============================================= */

static void a9_no_user_half(struct kunit *test)
{
	pgd_t *pgd = NULL;
	unsigned int slot, entries = 0;
	bool in;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_enter_guest();
		in = really_for_guests();
		if (in)
			pgd = __va(read_cr3_pa());
		asi_exit();
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_ASSERT_NOT_NULL(test, pgd);
	for (slot = 0; slot < KERNEL_PGD_BOUNDARY; slot++)
		entries += pgd_val(pgd[slot]) != 0;
	KUNIT_EXPECT_EQ(test, entries, 0);
	for (; slot < PTRS_PER_PGD; slot++)
		entries += pgd_val(pgd[slot]) != 0;
	KUNIT_EXPECT_GT(test, entries, 0);
}

/* It goes no further than to the user's restricted address space. */
static void a9_user_address_widens(struct kunit *test)
{
	unsigned long user, val = PATTERN, left;
	struct asi_stats before, after;
	bool in, out;

	need_mm(test);
	user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(user));
	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)user, &val,
					      sizeof(val)));
	val = 0;
	asi_read_stats(&before);
	scoped_guard(irqsave) {
		asi_enter_guest();
		in = really_for_guests();
		pagefault_disable();
		left = __copy_from_user_inatomic(&val, (void __user *)user,
						 sizeof(val));
		pagefault_enable();
		out = cr3_is_of(current->mm, true);
	}
	asi_read_stats(&after);
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, out);
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, val, PATTERN);
	KUNIT_EXPECT_GT(test, after.cpus.enters[ASI_GUEST],
			before.cpus.enters[ASI_GUEST]);
	KUNIT_EXPECT_GT(test, after.cpus.exits[ASI_EXIT_USER],
			before.cpus.exits[ASI_EXIT_USER]);
}

static void a9_user_data_exits(struct kunit *test)
{
	unsigned long *addr = user_page(test), val;
	bool in, out;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_enter_guest();
		in = really_for_guests();
		val = READ_ONCE(*addr);
		out = cr3_is_of(current->mm, false);
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, out);
	KUNIT_EXPECT_EQ(test, val, PATTERN);
}

/* A user address where nothing is: a fault in the end, not an endless retry. */
static void a9_bad_user_address_is_bad(struct kunit *test)
{
	unsigned long val;
	bool in;
	long err;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_enter_guest();
		in = really_for_guests();
		err = copy_from_user_nofault(&val, (void __user *)PAGE_SIZE,
					     sizeof(val));
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_EQ(test, err, -EFAULT);
}

static void a9_to_user_mode_and_back(struct kunit *test)
{
	bool in, user, again;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_enter_guest();
		in = really_for_guests();
		asi_enter();
		user = cr3_is_of(current->mm, true);
		asi_enter_guest();
		again = really_for_guests();
		asi_exit();
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, user);
	KUNIT_EXPECT_TRUE(test, again);
}

/* A vCPU's thread is scheduled away: the next mm has its own user half. */
static void a9_switch(struct kunit *test)
{
	struct mm_struct *mm, *other = mm_alloc();
	bool in, there, init;

	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, drop_mm, other));
	need_mm(test);
	mm = current->mm;
	scoped_guard(irqsave) {
		asi_enter_guest();
		in = really_for_guests();
		switch_mm_irqs_off(NULL, other, NULL);
		there = cr3_is_of(other, true);
		switch_mm_irqs_off(NULL, mm, NULL);
		asi_enter_guest();
		switch_mm_irqs_off(NULL, &init_mm, NULL);
		init = cr3_is_of(&init_mm, true);
		switch_mm_irqs_off(NULL, mm, NULL);
		cpumask_clear_cpu(smp_processor_id(), mm_cpumask(other));
	}
	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, there);
	KUNIT_EXPECT_TRUE(test, init);
}

/* What VMX is told to load is what is loaded there, wherever it is asked. */
static void a9_host_cr3(struct kunit *test)
{
	unsigned long cr3[ASI_NR_CLASS], guest;

	need_mm(test);
	scoped_guard(irqsave) {
		asi_exit();
		cr3[ASI_NONE] = asi_host_cr3(__get_current_cr3_fast());
		asi_enter();
		cr3[ASI_USER] = asi_host_cr3(__get_current_cr3_fast());
		asi_enter_guest();
		cr3[ASI_GUEST] = asi_host_cr3(__get_current_cr3_fast());
		guest = __read_cr3();
		asi_exit();
	}
	KUNIT_EXPECT_EQ(test, cr3[ASI_NONE], guest);
	KUNIT_EXPECT_EQ(test, cr3[ASI_USER], guest);
	KUNIT_EXPECT_EQ(test, cr3[ASI_GUEST], guest);
}

/*
 * The one PCID of all guests: a kernel address that is flushed elsewhere is
 * flushed there when it is loaded next; a user address is not in it.
 */
static void a9_flush(struct kunit *test)
{
	unsigned long kernel, user, here, all;

	need_mm(test);
	if (!cpu_feature_enabled(X86_FEATURE_PCID))
		kunit_skip(test, "no PCIDs");
	scoped_guard(irqsave) {
		asi_enter_guest();
		asi_enter();
		kernel = this_cpu_read(asi_cpu.nr.late);
		flush_tlb_one_kernel(PAGE_OFFSET);
		asi_enter_guest();
		kernel = this_cpu_read(asi_cpu.nr.late) - kernel;
		asi_enter();
		user = this_cpu_read(asi_cpu.nr.late);
		flush_tlb_one_user(PAGE_SIZE);
		asi_enter_guest();
		user = this_cpu_read(asi_cpu.nr.late) - user;
		/* From there, both of the mm's are others. */
		here = this_cpu_read(asi_cpu.nr.late) +
		       this_cpu_read(asi_cpu.nr.invpcids);
		flush_tlb_one_user(PAGE_SIZE);
		asi_enter();
		asi_exit();
		here = this_cpu_read(asi_cpu.nr.late) +
		       this_cpu_read(asi_cpu.nr.invpcids) - here;
		asi_enter_guest();
		all = this_cpu_read(asi_cpu.nr.late);
		flush_tlb_local();
		asi_enter();
		asi_exit();
		all = this_cpu_read(asi_cpu.nr.late) - all;
	}
	KUNIT_EXPECT_EQ(test, kernel, 1);
	KUNIT_EXPECT_EQ(test, user, 0);
	KUNIT_EXPECT_EQ(test, here, 2);
	KUNIT_EXPECT_EQ(test, all, 2);
}

/* === A6: flushes ========================================================== */

static void restore_policy(void *policy)
{
	asi_set_policy(*(struct asi_policy *)policy);
}

static void use_policy(struct kunit *test, struct asi_policy policy)
{
	struct asi_policy *old = kunit_kzalloc(test, sizeof(*old), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, old);
	*old = asi_set_policy(policy);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, restore_policy, old));
}

static const struct asi_policy flush_all = {
	.exit = BIT(ASI_FLUSH_IBPB) | BIT(ASI_FLUSH_RSB),
	.enter[ASI_USER] = BIT(ASI_FLUSH_VERW),
	.enter[ASI_GUEST] = BIT(ASI_FLUSH_VERW) | BIT(ASI_FLUSH_L1D),
};

/* What one step has this CPU flush; interrupts are off. */
static struct asi_counters flushed_by(void (*step)(void))
{
	struct asi_counters before = this_cpu_ptr(&asi_cpu)->nr, after;
	unsigned int kind;

	step();
	after = this_cpu_ptr(&asi_cpu)->nr;
	for (kind = 0; kind < ASI_NR_FLUSH; kind++)
		after.flushed[kind] -= before.flushed[kind];
	return after;
}

static void step_enter(void)
{
	asi_enter();
}

static void step_guest(void)
{
	asi_enter_guest();
}

static void expect_flushed(struct kunit *test, struct asi_counters nr,
			   unsigned long ibpb, unsigned long rsb,
			   unsigned long verw, unsigned long l1d)
{
	KUNIT_EXPECT_EQ(test, nr.flushed[ASI_FLUSH_IBPB], ibpb);
	KUNIT_EXPECT_EQ(test, nr.flushed[ASI_FLUSH_RSB], rsb);
	KUNIT_EXPECT_EQ(test, nr.flushed[ASI_FLUSH_VERW], verw);
	KUNIT_EXPECT_EQ(test, nr.flushed[ASI_FLUSH_L1D], l1d);
}

/* Out: predictors, once. In: buffers, if anybody has been out. */
static void a6_user(struct kunit *test)
{
	struct asi_counters in, stay, out, out_again, in_again;

	need_mm(test);
	use_policy(test, flush_all);
	scoped_guard(irqsave) {
		asi_enter();
		asi_exit();
		in = flushed_by(step_enter);
		stay = flushed_by(step_enter);
		out = flushed_by(asi_exit);
		out_again = flushed_by(asi_exit);
		in_again = flushed_by(step_enter);
		asi_exit();
	}
	expect_flushed(test, in, 0, 0, 1, 0);
	expect_flushed(test, stay, 0, 0, 0, 0);
	expect_flushed(test, out, 1, 1, 0, 0);
	expect_flushed(test, out_again, 0, 0, 0, 0);
	expect_flushed(test, in_again, 0, 0, 1, 0);
}

/* What the VMM touches is kept from guests, and the other way round. */
static void a6_guest(struct kunit *test)
{
	struct asi_counters in, stay, user, again, out;

	need_mm(test);
	use_policy(test, flush_all);
	scoped_guard(irqsave) {
		asi_exit();
		in = flushed_by(step_guest);
		stay = flushed_by(step_guest);
		user = flushed_by(step_enter);
		again = flushed_by(step_guest);
		out = flushed_by(asi_exit);
	}
	expect_flushed(test, in, 0, 0, 1, 1);
	expect_flushed(test, stay, 0, 0, 0, 0);
	expect_flushed(test, user, 0, 0, 1, 0);
	expect_flushed(test, again, 0, 0, 1, 1);
	expect_flushed(test, out, 1, 1, 0, 0);
}

static unsigned long *a6_addr;

static void step_touch(void)
{
	READ_ONCE(*a6_addr);
}

/* By a fault as by asi_exit(): before the access that made it has happened. */
static void a6_fault(struct kunit *test)
{
	struct asi_counters out, again;

	a6_addr = user_page(test);
	need_mm(test);
	use_policy(test, flush_all);
	scoped_guard(irqsave) {
		asi_enter();
		out = flushed_by(step_touch);
		again = flushed_by(step_touch);
	}
	expect_flushed(test, out, 1, 1, 0, 0);
	expect_flushed(test, again, 0, 0, 0, 0);
}

/* The next process is kept apart from the last one's data. */
static void a6_switch(struct kunit *test)
{
	struct mm_struct *other = mm_alloc();
	unsigned long before, after, buffers;

	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, drop_mm, other));
	need_mm(test);
	use_policy(test, flush_all);
	scoped_guard(irqsave) {
		asi_enter();
		before = this_cpu_read(asi_cpu.taints);
		buffers = this_cpu_read(asi_cpu.nr.flushed[ASI_FLUSH_VERW]);
		switch_mm_irqs_off(NULL, other, NULL);
		buffers = this_cpu_read(asi_cpu.nr.flushed[ASI_FLUSH_VERW]) -
			  buffers;
		after = this_cpu_read(asi_cpu.taints);
		switch_mm_irqs_off(NULL, current->mm, NULL);
		cpumask_clear_cpu(smp_processor_id(), mm_cpumask(other));
		asi_exit();
	}
	KUNIT_EXPECT_FALSE(test, before & (ASI_TAINT_OTHER_DATA |
					   ASI_TAINT_KERNEL_DATA));
	KUNIT_EXPECT_TRUE(test, after & ASI_TAINT_OTHER_CONTROL);
	KUNIT_EXPECT_EQ(test, buffers, 1);
}

/* Nothing is flushed that the policy does not ask for. */
static void a6_no_policy(struct kunit *test)
{
	static const struct asi_policy none;
	struct asi_counters in, out, guest, out_again;

	need_mm(test);
	use_policy(test, none);
	scoped_guard(irqsave) {
		asi_exit();
		in = flushed_by(step_enter);
		out = flushed_by(asi_exit);
		guest = flushed_by(step_guest);
		out_again = flushed_by(asi_exit);
	}
	expect_flushed(test, in, 0, 0, 0, 0);
	expect_flushed(test, out, 0, 0, 0, 0);
	expect_flushed(test, guest, 0, 0, 0, 0);
	expect_flushed(test, out_again, 0, 0, 0, 0);
}

/* === Also with asi=off ==================================================== */

/* CONFIG_DEBUG_VM compares CR3 with the PGD, wherever that is. */
static void a7_nmi_uaccess(struct kunit *test)
{
	struct mm_struct *mms[32];
	unsigned int i, nr, odd = 0, okay = 0;

	for (nr = 0; nr < ARRAY_SIZE(mms); nr++) {
		mms[nr] = mm_alloc();
		if (!mms[nr])
			break;
		kthread_use_mm(mms[nr]);
		okay += nmi_uaccess_okay();
		kthread_unuse_mm(mms[nr]);
		odd += PFN_DOWN(__pa(mms[nr]->pgd)) & 1;
	}
	for (i = 0; i < nr; i++)
		mmput(mms[i]);
	KUNIT_EXPECT_GT(test, nr, 0);
	KUNIT_EXPECT_EQ(test, okay, nr);
	if (!odd)
		kunit_skip(test, "no PGD at an odd page");
}

static struct kunit_case asi_any_cases[] = {
	KUNIT_CASE(a7_nmi_uaccess),
	{}
};

static struct kunit_suite asi_any_suite = {
	.name = "asi_any",
	.test_cases = asi_any_cases,
};

/* === Suite ================================================================ */

static int asi_test_init(struct kunit *test)
{
	if (!asi_enabled())
		kunit_skip(test, "asi=off");
	test_node = numa_mem_id();
	return 0;
}

static struct kunit_case asi_cases[] = {
	KUNIT_CASE(a3_all_absent_or_equal),
	KUNIT_CASE(a3_large_page_changes),
	KUNIT_CASE(a3_split_and_collapse),
	KUNIT_CASE(a3_set_direct_map),
	KUNIT_CASE(a3_absent_stays_absent),
	KUNIT_CASE_SLOW(a3_races),
	KUNIT_CASE(a3_added_memory_is_absent),
	KUNIT_CASE(a3_removed_memory_is_absent),
	KUNIT_CASE(a3_hibernation_makes_executable),
	KUNIT_CASE(a4_all_movable_is_absent),
	KUNIT_CASE(a4_pages_are_on_their_side),
	KUNIT_CASE(a4_boot_memory_is_present),
	KUNIT_CASE(a4_zeroed_towards_the_kernel),
	KUNIT_CASE(a4_poisoned_pages_are_left),
	KUNIT_CASE(a4_flushed_towards_users),
	KUNIT_CASE(a4_no_crossing_without_ipis),
	KUNIT_CASE(a5_atomic_allocations),
	KUNIT_CASE(a5_irqs_off_other_zones_first),
	KUNIT_CASE_SLOW(a5_blocks_are_left_for_the_kernel),
	KUNIT_CASE(a8_user_entries_are_copied),
	KUNIT_CASE(a8_missed_entry_is_copied),
	KUNIT_CASE_SLOW(a8_user_halves_are_the_mms),
	KUNIT_CASE(kernel_half),
	KUNIT_CASE(all_kernel_halves),
	KUNIT_CASE(audit_looks_beside_the_window),
	KUNIT_CASE(no_global_mappings),
	KUNIT_CASE(audit_finds_user_data),
	KUNIT_CASE(a2_enter_and_exit),
	KUNIT_CASE(a2_read_of_user_data_exits),
	KUNIT_CASE(a2_write_to_user_data_exits),
	KUNIT_CASE(a2_exit_with_interrupts_on),
	KUNIT_CASE(a2_copy_nofault_exits),
	KUNIT_CASE(a2_bad_address_is_bad),
	KUNIT_CASE(a2_kernel_memory_stays),
	KUNIT_CASE(a2_user_addresses_stay),
	KUNIT_CASE(a7_nmi_restores),
	KUNIT_CASE(a7_int3_restores),
	KUNIT_CASE(a7_irq_leaves),
	KUNIT_CASE(a7_switch),
	KUNIT_CASE(a7_kernel_thread),
	KUNIT_CASE(a7_asid_of_another),
	KUNIT_CASE(a7_ephmap_leaves),
	KUNIT_CASE(a7_flush_in_restricted),
	KUNIT_CASE(a7_flush_outside),
	KUNIT_CASE(a7_flush_all_in_restricted),
	KUNIT_CASE(a7_flush_all_outside),
	KUNIT_CASE(a7_flush_of_the_direct_map),
	KUNIT_CASE(a9_no_user_half),
	KUNIT_CASE(a9_user_address_widens),
	KUNIT_CASE(a9_user_data_exits),
	KUNIT_CASE(a9_bad_user_address_is_bad),
	KUNIT_CASE(a9_to_user_mode_and_back),
	KUNIT_CASE(a9_switch),
	KUNIT_CASE(a9_nmi_restores),
	KUNIT_CASE(a9_int3_restores),
	KUNIT_CASE(a9_host_cr3),
	KUNIT_CASE(a9_flush),
	KUNIT_CASE(a6_user),
	KUNIT_CASE(a6_guest),
	KUNIT_CASE(a6_fault),
	KUNIT_CASE(a6_switch),
	KUNIT_CASE(a6_no_policy),
	{}
};

static struct kunit_suite asi_suite = {
	.name = "asi",
	.init = asi_test_init,
	.test_cases = asi_cases,
};

kunit_test_suites(&asi_suite, &asi_any_suite);

MODULE_DESCRIPTION("KUnit tests of Address Space Isolation");
MODULE_LICENSE("GPL");
