// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of pageblocks without a direct map. The numbers B1 to B13 are those
 * of the rules in Documentation/mm/page_visibility.rst. The cases look at the real
 * page tables, and at the memory itself.
 */
#include <kunit/test.h>
#include <linux/asi.h>
#include <linux/delay.h>
#include <linux/ephmap.h>
#include <linux/folio_batch.h>
#include <linux/gfp.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/no_direct_map.h>
#include <linux/page-isolation.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/set_memory.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

#include <asm/sections.h>
#include <asm/tlbflush.h>

#include "../internal.h"
#include "../page_alloc.h"

/* === Helpers ============================================================== */

#define MAX_FOLIOS	2048
#define PATTERN		0x5a

struct block {
	unsigned long pfn;
	unsigned int nr;	/* of the test's folios */
	bool large;		/* mapped by a large page before and after */
};

struct secrets {
	struct folio *folios[MAX_FOLIOS];
	struct block blocks[MAX_FOLIOS];
	unsigned int nr_blocks;
};

static unsigned long event(enum vm_event_item item)
{
	unsigned long nr = 0;
	int cpu;

	for_each_online_cpu(cpu)
		nr += per_cpu(vm_event_states, cpu).event[item];
	return nr;
}

static unsigned long nr_secret_blocks(void)
{
	unsigned long nr = 0;
	struct zone *zone;

	for_each_populated_zone(zone)
		nr += READ_ONCE(zone->nr_secret_blocks);
	return nr;
}

/* The worker may have taken some blocks, or pages, to give them back later. */
static bool blocks_come_back(unsigned long before)
{
	unsigned int i;

	for (i = 0; i < 500; i++) {
		secret_blocks_show_all();
		if (nr_secret_blocks() <= before)
			return true;
		fsleep(10 * USEC_PER_MSEC);
	}
	return false;
}

static enum page_visibility visibility(unsigned long pfn)
{
	return get_pageblock_visibility(pfn_to_page(pfn));
}

/* The pages of a block that are present in init_mm. */
static unsigned long nr_mapped(unsigned long pfn)
{
	unsigned long i, nr = 0;

	for (i = 0; i < pageblock_nr_pages; i++)
		nr += kernel_page_present(pfn_to_page(pfn + i));
	return nr;
}

/* The pages of a block that are present in the restricted page tables. */
static unsigned long nr_restricted(unsigned long pfn)
{
#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION
	struct asi_audit audit = {};

	if (asi_enabled())
		asi_audit_range(&audit, pfn, pfn + pageblock_nr_pages);
	return audit.present;
#else
	return 0;
#endif
}

static void *map_page(struct kunit *test, struct ephmap_session *session,
		      struct page *page)
{
	int err = ephmap_begin(session);
	void *addr;

	/* An assertion must not leave with preemption off. */
	if (err)
		KUNIT_FAIL_AND_ABORT(test, "ephmap_begin: %d", err);
	addr = ephmap_map_page(session, page, EPHMAP_RW);
	if (IS_ERR(addr)) {
		ephmap_end(session);
		KUNIT_FAIL_AND_ABORT(test, "ephmap_map_page: %ld",
				     PTR_ERR(addr));
	}
	return addr;
}

/* Whether all of a page has this value. */
static bool page_is(struct kunit *test, struct page *page, int value)
{
	struct ephmap_session session;
	bool ret;

	ret = !memchr_inv(map_page(test, &session, page), value, PAGE_SIZE);
	ephmap_end(&session);
	return ret;
}

static void fill_page(struct kunit *test, struct page *page)
{
	struct ephmap_session session;

	memset(map_page(test, &session, page), PATTERN, PAGE_SIZE);
	ephmap_end(&session);
}

static void fill(struct kunit *test, struct secrets *s)
{
	unsigned int i;

	for (i = 0; i < MAX_FOLIOS; i++) {
		if (s->folios[i])
			fill_page(test, folio_page(s->folios[i], 0));
	}
}

static struct block *block_of(struct secrets *s, struct folio *folio)
{
	unsigned long pfn = pageblock_start_pfn(folio_pfn(folio));
	unsigned int i;

	for (i = 0; i < s->nr_blocks; i++) {
		if (s->blocks[i].pfn == pfn)
			return s->blocks + i;
	}
	s->blocks[i] = (struct block){ .pfn = pfn };
	s->nr_blocks++;
	return s->blocks + i;
}

/* Allocate what is missing of the first @nr folios. All of it is zero. */
static void allocate(struct kunit *test, struct secrets *s, unsigned int nr)
{
	unsigned int i, dirty = 0;

	s->nr_blocks = 0;
	for (i = 0; i < nr; i++) {
		if (!s->folios[i]) {
			s->folios[i] = folio_alloc_secret(GFP_HIGHUSER_MOVABLE, 0,
							  NULL);
			KUNIT_ASSERT_NOT_NULL(test, s->folios[i]);
			dirty += !page_is(test, folio_page(s->folios[i], 0), 0);
		}
		block_of(s, s->folios[i])->nr++;
	}
	KUNIT_EXPECT_EQ(test, dirty, 0);
}

static void put_all(void *data)
{
	struct secrets *s = data;
	unsigned int i;

	for (i = 0; i < MAX_FOLIOS; i++) {
		if (s->folios[i])
			folio_put(s->folios[i]);
		s->folios[i] = NULL;
	}
}

/* All blocks keep some pages that are in use, and so stay as they are. */
static void put_half(struct secrets *s)
{
	unsigned int i;

	for (i = 1; i < MAX_FOLIOS; i += 2) {
		if (s->folios[i])
			folio_put(s->folios[i]);
		s->folios[i] = NULL;
	}
}

static void put_half_batched(struct secrets *s)
{
	struct folio_batch batch;
	unsigned int i;

	folio_batch_init(&batch);
	for (i = 1; i < MAX_FOLIOS; i += 2) {
		if (s->folios[i] && !folio_batch_add(&batch, s->folios[i]))
			folios_put(&batch);
		s->folios[i] = NULL;
	}
	folios_put(&batch);
}

/* Memory that is free holds what its last owner left there. */
static void dirty_free_memory(void)
{
	struct page *pages[16];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		pages[i] = alloc_pages((i % 2 ? GFP_KERNEL : GFP_USER |
					__GFP_MOVABLE) | __GFP_NOWARN,
				       pageblock_order);
		if (pages[i])
			memset(page_address(pages[i]), PATTERN,
			       pageblock_nr_pages * PAGE_SIZE);
	}
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		if (pages[i])
			__free_pages(pages[i], pageblock_order);
	}
}

/* Folios that go away with the test. */
static struct secrets *secrets(struct kunit *test, unsigned int nr)
{
	struct secrets *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, put_all, s));
	allocate(test, s, nr);
	return s;
}

/* Free pages that are not zero, in the blocks that stay hidden. */
static unsigned int nr_dirty(struct kunit *test, struct secrets *s)
{
	unsigned int block, nr = 0;
	unsigned long i;

	for (block = 0; block < s->nr_blocks; block++) {
		struct page *page = pfn_to_page(s->blocks[block].pfn);

		for (i = 0; i < pageblock_nr_pages; i++)
			nr += !page_count(page + i) &&
			      visibility(page_to_pfn(page)) == VIS_SECRET &&
			      !page_is(test, page + i, 0);
	}
	return nr;
}

/* === B1, B6, B12: blocks leave the direct map, and come back ============== */

static void b1_secret_blocks_are_absent(struct kunit *test)
{
	struct secrets *s = secrets(test, 600);
	unsigned long mapped = 0, restricted = 0;
	unsigned int i, other = 0;

	for (i = 0; i < s->nr_blocks; i++) {
		mapped += nr_mapped(s->blocks[i].pfn);
		restricted += nr_restricted(s->blocks[i].pfn);
		other += visibility(s->blocks[i].pfn) != VIS_SECRET;
	}
	for (i = 0; i < 600; i++)
		other += !folio_in_secret_block(s->folios[i]);
	KUNIT_EXPECT_EQ(test, mapped, 0);
	KUNIT_EXPECT_EQ(test, restricted, 0);
	KUNIT_EXPECT_EQ(test, other, 0);
}

/* The entries of a PMD, or of its page table. */
static void entries(unsigned long pfn, pteval_t *vals)
{
	unsigned int i, level;

	for (i = 0; i < PTRS_PER_PMD; i++) {
		pte_t *pte = lookup_address((unsigned long)pfn_to_kaddr(pfn + i),
					    &level);

		vals[i] = pte ? pte_val(*pte) & ~(_PAGE_ACCESSED | _PAGE_DIRTY) : 0;
	}
}

static void b1_only_plain_memory_is_zapped(struct kunit *test)
{
	const size_t size = PTRS_PER_PMD * sizeof(pteval_t);
	pteval_t *before = kunit_kzalloc(test, size, GFP_KERNEL);
	pteval_t *after = kunit_kzalloc(test, size, GFP_KERNEL);
	unsigned int i, present = 0;
	unsigned long pfn, addr;
	struct page *page;

	KUNIT_ASSERT_NOT_NULL(test, before);
	KUNIT_ASSERT_NOT_NULL(test, after);
	pfn = ALIGN_DOWN(PHYS_PFN(__pa_symbol(_text)), PTRS_PER_PMD);
	entries(pfn, before);
	KUNIT_EXPECT_EQ(test, direct_map_zap_block(pfn), -EBUSY);
	entries(pfn, after);
	KUNIT_EXPECT_MEMEQ(test, before, after, size);

	page = alloc_pages(GFP_KERNEL, PMD_ORDER);
	if (!page)
		kunit_skip(test, "no free memory in one piece");
	pfn = page_to_pfn(page);
	addr = (unsigned long)page_address(page);
	KUNIT_EXPECT_EQ(test, set_memory_ro(addr, PTRS_PER_PMD), 0);
	entries(pfn, before);
	KUNIT_EXPECT_EQ(test, direct_map_zap_block(pfn), -EBUSY);
	entries(pfn, after);
	KUNIT_EXPECT_MEMEQ(test, before, after, size);
	KUNIT_EXPECT_EQ(test, set_memory_rw(addr, PTRS_PER_PMD), 0);

	entries(pfn, before);
	asi_zap_direct_map(pfn, PTRS_PER_PMD);
	KUNIT_EXPECT_EQ(test, direct_map_zap_block(pfn), 0);
	flush_tlb_kernel_range(addr, addr + PMD_SIZE);
	for (i = 0; i < PTRS_PER_PMD; i++)
		present += kernel_page_present(page + i);
	direct_map_restore_block(pfn);
	asi_restore_direct_map(pfn, PTRS_PER_PMD);
	entries(pfn, after);
	KUNIT_EXPECT_EQ(test, present, 0);
	KUNIT_EXPECT_MEMEQ(test, before, after, size);
	__free_pages(page, PMD_ORDER);
}

/* The pages of a block that this CPU can read: those zeroed last come first. */
static unsigned int nr_readable(unsigned long pfn)
{
	unsigned int i = pageblock_nr_pages, nr = 0;
	unsigned long word;

	while (i--)
		nr += !copy_from_kernel_nofault(&word, pfn_to_kaddr(pfn + i),
						sizeof(word));
	return nr;
}

/*
 * This CPU has the block in its TLB, for it has zeroed it: it must not read it
 * any more. Nothing is mapped by the ephmap before: to load another CR3 may flush
 * the TLB as well.
 */
static void b6_hidden_blocks_are_flushed(struct kunit *test)
{
	unsigned int i, readable = 0;
	struct folio *folio;

	for (i = 0; i < 8; i++) {
		folio = folio_alloc_secret(GFP_HIGHUSER_MOVABLE, 0, NULL);
		KUNIT_ASSERT_NOT_NULL(test, folio);
		readable += nr_readable(pageblock_start_pfn(folio_pfn(folio)));
		folio_put(folio);
		secret_blocks_show_all();
	}
	KUNIT_EXPECT_EQ(test, readable, 0);
}

/* Large ones, up to @nr. */
static unsigned int take_secrets(struct list_head *folios, unsigned int order,
				 unsigned int nr)
{
	const gfp_t gfp = (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOWARN;
	const int nid = numa_node_id();
	nodemask_t node = nodemask_of_node(nid);
	struct folio *folio;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		folio = __folio_alloc_secret(gfp, order, nid, &node, false);
		if (!folio)
			break;
		list_add(&folio->lru, folios);
	}
	return i;
}

static void put_secrets(struct list_head *folios)
{
	struct folio *folio, *next;

	list_for_each_entry_safe(folio, next, folios, lru) {
		list_del(&folio->lru);
		folio_put(folio);
		cond_resched();
	}
}

#define NR_MANY	32	/* blocks */

/* Those of a large file, once it is one: a flush each would be 32. */
static void b6_one_flush_hides_many(struct kunit *test)
{
	unsigned long flushes, hidden;
	unsigned int nr;
	LIST_HEAD(folios);

	if (global_zone_page_state(NR_FREE_PAGES_BLOCKS) <
	    3 * NR_MANY * pageblock_nr_pages)
		kunit_skip(test, "too little memory is free in one piece");
	/* It is not more of what others wanted just now. */
	fsleep(1100 * USEC_PER_MSEC);
	flushes = event(DIRECT_MAP_ZAP_SHOOTDOWNS);
	hidden = event(SECRET_BLOCK_HIDE);
	nr = take_secrets(&folios, pageblock_order - 1, 2 * NR_MANY);
	flushes = event(DIRECT_MAP_ZAP_SHOOTDOWNS) - flushes;
	hidden = event(SECRET_BLOCK_HIDE) - hidden;
	put_secrets(&folios);
	KUNIT_EXPECT_EQ(test, nr, 2 * NR_MANY);
	KUNIT_EXPECT_GE(test, hidden, NR_MANY);
	KUNIT_EXPECT_LE(test, hidden, NR_MANY + NR_MANY / 8);
	KUNIT_EXPECT_GT(test, flushes, 0);
	KUNIT_EXPECT_LT(test, flushes, hidden);
}

/*
 * Whoever wants little does not have others' memory hidden, and zeroed, as well.
 * Blocks that are used again cost nothing; but the worker may have given some
 * back in between.
 */
static void b6_little_hides_little(struct kunit *test)
{
	unsigned long flushes, hidden, shown;
	struct secrets *s;
	unsigned int i;

	/* It is not more of what others wanted just now. */
	fsleep(1100 * USEC_PER_MSEC);
	flushes = event(DIRECT_MAP_ZAP_SHOOTDOWNS);
	hidden = event(SECRET_BLOCK_HIDE);
	s = secrets(test, MAX_FOLIOS);
	flushes = event(DIRECT_MAP_ZAP_SHOOTDOWNS) - flushes;
	hidden = event(SECRET_BLOCK_HIDE) - hidden;
	KUNIT_EXPECT_GT(test, hidden, 0);
	KUNIT_EXPECT_LE(test, hidden, MAX_FOLIOS / pageblock_nr_pages);
	KUNIT_EXPECT_GT(test, flushes, 0);
	KUNIT_EXPECT_LE(test, flushes, hidden);

	/* So few that it takes less than the worker waits. */
	for (i = 0; i < 8; i++) {
		put_all(s);
		allocate(test, s, 300);
		shown = event(SECRET_BLOCK_SHOW);
		flushes = event(DIRECT_MAP_ZAP_SHOOTDOWNS);
		hidden = event(SECRET_BLOCK_HIDE);
		put_all(s);
		allocate(test, s, 300);
		if (event(SECRET_BLOCK_SHOW) == shown)
			break;
	}
	KUNIT_ASSERT_LT(test, i, 8);
	KUNIT_EXPECT_EQ(test, event(DIRECT_MAP_ZAP_SHOOTDOWNS), flushes);
	KUNIT_EXPECT_EQ(test, event(SECRET_BLOCK_HIDE), hidden);
}

/* Pages of a block that are not mapped as they were at boot. */
static unsigned int nr_mapped_otherwise(struct block *block)
{
	pgprot_t prot = block->large ? PAGE_KERNEL_LARGE : PAGE_KERNEL;
	unsigned int i, level, nr = 0;

	/* With ASI the direct map is not global. */
	if (asi_enabled())
		pgprot_val(prot) &= ~_PAGE_GLOBAL;
	for (i = 0; i < pageblock_nr_pages; i++) {
		void *addr = pfn_to_kaddr(block->pfn + i);
		pte_t *pte = lookup_address((unsigned long)addr, &level);

		nr += !pte || (level == PG_LEVEL_2M) != block->large ||
		      pte_flags(*pte) != (pgprot_val(prot) & PTE_FLAGS_MASK &
					  __supported_pte_mask);
	}
	return nr;
}

static void b12_blocks_come_back(struct kunit *test)
{
	unsigned long splits = event(DIRECT_MAP_LEVEL2_SPLIT);
	unsigned long blocks = nr_secret_blocks();
	unsigned int i, different = 0;
	struct secrets *s;

	s = secrets(test, 1024);
	KUNIT_EXPECT_GT(test, nr_secret_blocks(), blocks);
	for (i = 0; i < s->nr_blocks; i++) {
		void *addr = pfn_to_kaddr(s->blocks[i].pfn);

		s->blocks[i].large = pmd_none(*pmd_off_k((unsigned long)addr));
	}
	put_all(s);
	KUNIT_EXPECT_TRUE(test, blocks_come_back(blocks));
	for (i = 0; i < s->nr_blocks; i++) {
		if (visibility(s->blocks[i].pfn) != VIS_SECRET)
			different += nr_mapped_otherwise(s->blocks + i);
	}
	KUNIT_EXPECT_EQ(test, different, 0);
	KUNIT_EXPECT_EQ(test, event(DIRECT_MAP_LEVEL2_SPLIT), splits);
}

#define NR_ALONE	512

static void restore_alone(void *data)
{
	struct folio **alone = data;
	unsigned int i;

	for (i = 0; i < NR_ALONE && alone[i]; i++) {
		folio_restore_direct_map(alone[i]);
		folio_put(alone[i]);
	}
}

/*
 * Pages that have lost their alias alone are in no block. The worker has to see
 * that others are on a PCP list, and keep their blocks from being free.
 */
static void b12_pages_alone_do_not_count(struct kunit *test)
{
	unsigned long blocks = nr_secret_blocks();
	struct folio *folio, **alone;
	struct secrets *s;
	unsigned int i;

	alone = kunit_kcalloc(test, NR_ALONE, sizeof(*alone), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, alone);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, restore_alone, alone));
	for (i = 0; i < NR_ALONE; i++) {
		folio = folio_alloc(GFP_USER, 0);
		KUNIT_ASSERT_NOT_NULL(test, folio);
		if (folio_zap_direct_map(folio)) {
			folio_put(folio);
			KUNIT_FAIL_AND_ABORT(test, "no page table");
		}
		alone[i] = folio;
	}
	s = secrets(test, MAX_FOLIOS);
	KUNIT_EXPECT_GT(test, nr_secret_blocks(), blocks + 1);
	/* One page of each block stays, for all else to be free. */
	for (i = 0; i < MAX_FOLIOS; i++) {
		if (i % pageblock_nr_pages == 7)
			continue;
		folio_put(s->folios[i]);
		s->folios[i] = NULL;
	}
	drain_all_pages(page_zone(folio_page(s->folios[7], 0)));
	/* So few that they stay on the PCP list. */
	put_all(s);

	/* It keeps one block where there is much memory. */
	for (i = 0; i < 600 && nr_secret_blocks() > blocks + 1; i++)
		fsleep(10 * USEC_PER_MSEC);
	KUNIT_EXPECT_LE(test, nr_secret_blocks(), blocks + 1);
}

/* === B3, B13: free pages are zero ========================================= */

static void b3_free_secret_pages_are_zero(struct kunit *test)
{
	struct folio *large;
	struct secrets *s;

	dirty_free_memory();
	s = secrets(test, 600);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
	fill(test, s);
	put_half(s);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
	allocate(test, s, 600);

	fill(test, s);
	put_half_batched(s);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
	allocate(test, s, 1200);

	put_half(s);
	large = __folio_alloc_secret(GFP_HIGHUSER_MOVABLE, 1, numa_node_id(),
				     NULL, true);
	KUNIT_ASSERT_NOT_NULL(test, large);
	/* It is put as if it were one of the others. */
	s->folios[1] = large;
	block_of(s, large);
	fill(test, s);
	put_half(s);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
}

/* What another kernel leaves in memory that is not saved, and hidden. */
static void b3_hibernation_zeroes_what_is_free(struct kunit *test)
{
	struct secrets *s = secrets(test, 600);
	struct ephmap_session session;
	unsigned int dirty, block;
	unsigned long i;

	put_half(s);
	/* Nobody else asks for such memory here. */
	for (block = 0; block < s->nr_blocks; block++) {
		struct page *page = pfn_to_page(s->blocks[block].pfn);

		for (i = 0; i < pageblock_nr_pages; i++) {
			if (page_count(page + i))
				continue;
			memset(map_page(test, &session, page + i), PATTERN,
			       PAGE_SIZE);
			ephmap_end(&session);
		}
	}
	dirty = nr_dirty(test, s);
	secret_blocks_zero_free();
	KUNIT_EXPECT_GT(test, dirty, 0);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
}

static void b13_last_put(struct kunit *test, void (*put)(struct secrets *s))
{
	unsigned long blocks = nr_secret_blocks();
	struct secrets *s = secrets(test, 600);
	unsigned int i;

	fill(test, s);
	put(s);
	for (i = 0; i < 500 && nr_dirty(test, s); i++)
		fsleep(10 * USEC_PER_MSEC);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
	allocate(test, s, 600);
	put_all(s);
	KUNIT_EXPECT_TRUE(test, blocks_come_back(blocks));
}

struct put_irq {
	struct irq_work work;
	struct secrets *s;
};

static void put_irq_fn(struct irq_work *work)
{
	put_half(container_of(work, struct put_irq, work)->s);
}

static void put_in_hard_interrupt(struct secrets *s)
{
	struct put_irq put = { .work = IRQ_WORK_INIT_HARD(put_irq_fn), .s = s };

	irq_work_queue(&put.work);
	irq_work_sync(&put.work);
}

static void b13_last_put_in_hard_interrupt(struct kunit *test)
{
	b13_last_put(test, put_in_hard_interrupt);
}

struct put_timer {
	struct timer_list timer;
	struct secrets *s;
};

static void put_timer_fn(struct timer_list *timer)
{
	put_half_batched(container_of(timer, struct put_timer, timer)->s);
}

static void put_in_softirq(struct secrets *s)
{
	struct put_timer put = { .s = s };

	timer_setup_on_stack(&put.timer, put_timer_fn, 0);
	mod_timer(&put.timer, jiffies + 1);
	while (timer_pending(&put.timer))
		fsleep(1 * USEC_PER_MSEC);
	timer_delete_sync(&put.timer);
	timer_destroy_on_stack(&put.timer);
}

static void b13_last_put_in_softirq(struct kunit *test)
{
	b13_last_put(test, put_in_softirq);
}

static void put_with_interrupts_off(struct secrets *s)
{
	local_irq_disable();
	put_half(s);
	local_irq_enable();
}

static void b13_last_put_with_interrupts_off(struct kunit *test)
{
	b13_last_put(test, put_with_interrupts_off);
}

/*
 * As in an NMI, or with any lock held: nothing is zeroed, nor waited for. Then the
 * worker is told, also if nothing else is freed.
 */
static void b13_last_put_without_locks(struct kunit *test)
{
	struct secrets *s = secrets(test, 600);
	unsigned long sessions;
	unsigned int i;

	fill(test, s);
	/* On this CPU nobody else has a session meanwhile. */
	preempt_disable();
	sessions = __this_cpu_read(vm_event_states.event[EPHMAP_SESSIONS]);
	for (i = 1; i < 600; i += 2)
		free_pages_nolock(folio_page(s->folios[i], 0), 0);
	sessions = __this_cpu_read(vm_event_states.event[EPHMAP_SESSIONS]) -
		   sessions;
	preempt_enable();
	for (i = 1; i < 600; i += 2)
		s->folios[i] = NULL;
	KUNIT_EXPECT_EQ(test, sessions, 0);
	for (i = 0; i < 500 && nr_dirty(test, s); i++)
		fsleep(10 * USEC_PER_MSEC);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
	allocate(test, s, 600);
}

/* === B8: what is left to the kernel ======================================= */

static unsigned int nr_zones_drained(int nid)
{
	unsigned int nr = 0;
	struct zone *zone;

	for_each_populated_zone(zone) {
		long usable = zone_page_state_snapshot(zone, NR_FREE_PAGES);

		if (zone_to_nid(zone) != nid || !zone->nr_secret_blocks ||
		    zone_idx(zone) == ZONE_MOVABLE)
			continue;
#ifdef CONFIG_CMA
		usable -= zone_page_state_snapshot(zone, NR_FREE_CMA_PAGES);
#endif
		usable -= zone_free_pieces(zone, VIS_USER) +
			  zone_free_pieces(zone, VIS_SECRET);
		nr += usable < (long)zone->_watermark[WMARK_MIN];
	}
	return nr;
}

/* Secrets take all of a node that they can have. */
static void b8_the_kernel_keeps_its_reserve(struct kunit *test)
{
	unsigned long before = nr_secret_blocks(), blocks;
	unsigned int drained;
	LIST_HEAD(folios);

	take_secrets(&folios, pageblock_order - 1, UINT_MAX);
	blocks = nr_secret_blocks();
	drained = nr_zones_drained(numa_node_id());
	/* Only now is there memory for what KUnit says. */
	put_secrets(&folios);
	KUNIT_EXPECT_GT(test, blocks, before);
	KUNIT_EXPECT_EQ(test, drained, 0);
	KUNIT_EXPECT_TRUE(test, blocks_come_back(before));
}

#define NR_ATOMIC	256

static unsigned long take_pages(struct list_head *pages, gfp_t gfp,
				unsigned long max)
{
	struct page *page;
	unsigned long nr;

	for (nr = 0; nr < max; nr++) {
		page = alloc_page(gfp | __GFP_NOWARN);
		if (!page)
			break;
		list_add(&page->lru, pages);
		if (gfpflags_allow_blocking(gfp))
			cond_resched();
	}
	return nr;
}

/* Every @step-th. */
static void free_pages_of(struct list_head *pages, unsigned int step)
{
	struct page *page, *next;
	unsigned long i = 0;

	list_for_each_entry_safe(page, next, pages, lru) {
		if (++i % step)
			continue;
		list_del(&page->lru);
		__free_page(page);
		cond_resched();
	}
}

/*
 * The kernel takes all that it can have, while much is free that it cannot have.
 * Then somebody needs memory who cannot wait.
 */
static void b8_kernel_eats_its_fill(struct kunit *test)
{
	const unsigned long max = totalram_pages();
	unsigned long movable, kernel, atomic;
	LIST_HEAD(movable_pages);
	LIST_HEAD(pages);

	/* Not on an LRU list: it does not move, and is not reclaimed. */
	movable = take_pages(&movable_pages,
			     GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM,
			     global_zone_page_state(NR_FREE_PAGES) / 3);
	free_pages_of(&movable_pages, 2);

	kernel = take_pages(&pages, GFP_KERNEL | __GFP_NORETRY, max);
	atomic = take_pages(&pages, GFP_ATOMIC, NR_ATOMIC);

	/* Only now is there memory for what KUnit says. */
	free_pages_of(&pages, 1);
	free_pages_of(&movable_pages, 1);
	kunit_info(test, "%lu movable, %lu kernel, %lu atomic pages", movable,
		   kernel, atomic);
	KUNIT_EXPECT_GT(test, movable, 0);
	KUNIT_EXPECT_GT(test, kernel, 0);
	KUNIT_EXPECT_LT(test, kernel, max);
	KUNIT_EXPECT_EQ(test, atomic, NR_ATOMIC);
}

/* === B5, B9, B10: isolation =============================================== */

/* A block of which all pages are the test's, with the pattern in them. */
static struct secrets *whole_block(struct kunit *test, unsigned long *pfn)
{
	struct secrets *s = secrets(test, min(2 * pageblock_nr_pages,
					      MAX_FOLIOS));
	unsigned int i;

	fill(test, s);
	for (i = 0; i < s->nr_blocks; i++) {
		*pfn = s->blocks[i].pfn;
		if (s->blocks[i].nr == pageblock_nr_pages)
			return s;
	}
	KUNIT_FAIL_AND_ABORT(test, "no block is all the test's");
	return NULL;
}

static void put_block(struct secrets *s, unsigned long pfn, struct folio *keep)
{
	unsigned int i;

	for (i = 0; i < MAX_FOLIOS; i++) {
		struct folio *folio = s->folios[i];

		if (folio && folio != keep &&
		    pageblock_start_pfn(folio_pfn(folio)) == pfn) {
			s->folios[i] = NULL;
			folio_put(folio);
		}
	}
}

#define NR_CONTIG	16

static int try_contig(unsigned long pfn)
{
	int err = alloc_contig_range(pfn, pfn + NR_CONTIG, ACR_FLAGS_NONE,
				     GFP_KERNEL | __GFP_NOWARN);

	if (!err)
		free_contig_range(pfn, NR_CONTIG);
	return err;
}

/* One page keeps all of its block; also if it can only be seen that it is used. */
static void b5_block_in_use_stays_secret(struct kunit *test)
{
	struct folio *keep;
	struct secrets *s;
	unsigned long pfn;

	s = whole_block(test, &pfn);
	keep = page_folio(pfn_to_page(pfn + 7));
	put_block(s, pfn, keep);
	KUNIT_EXPECT_EQ(test, try_contig(pfn), -EBUSY);
	KUNIT_EXPECT_EQ(test, try_contig(pfn + 100), -EBUSY);
	KUNIT_ASSERT_TRUE(test, folio_ref_freeze(keep, 1));
	KUNIT_EXPECT_EQ(test, try_contig(pfn + 100), -EBUSY);
	folio_ref_unfreeze(keep, 1);

	KUNIT_EXPECT_EQ(test, visibility(pfn), VIS_SECRET);
	KUNIT_EXPECT_FALSE(test, is_migrate_isolate_page(pfn_to_page(pfn)));
	KUNIT_EXPECT_EQ(test, nr_mapped(pfn), 0);
	KUNIT_EXPECT_TRUE(test, page_is(test, folio_page(keep, 0), PATTERN));
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
}

static void b9_contig_memory_is_mapped(struct kunit *test)
{
	unsigned long pfn, mapped, shown = event(SECRET_BLOCK_SHOW);
	const size_t size = NR_CONTIG * PAGE_SIZE;
	bool zero, pattern, writable;
	enum page_visibility vis;
	struct secrets *s;
	void *addr;

	s = whole_block(test, &pfn);
	KUNIT_ASSERT_EQ(test, visibility(pfn), VIS_SECRET);
	addr = pfn_to_kaddr(pfn + 100);
	put_block(s, pfn, NULL);
	KUNIT_ASSERT_EQ(test, 0, alloc_contig_range(pfn + 100,
						    pfn + 100 + NR_CONTIG,
						    ACR_FLAGS_NONE, GFP_KERNEL));
	shown = event(SECRET_BLOCK_SHOW) - shown;
	mapped = nr_mapped(pfn);
	vis = visibility(pfn);
	KUNIT_EXPECT_GT(test, shown, 0);
	KUNIT_EXPECT_EQ(test, mapped, pageblock_nr_pages);
	KUNIT_EXPECT_EQ(test, vis, movable_visibility());
	if (mapped == pageblock_nr_pages) {
		zero = !memchr_inv(addr, 0, size);
		pattern = memchr(addr, PATTERN, size);
		memset(addr, PATTERN, size);
		writable = !memchr_inv(addr, PATTERN, size);
		KUNIT_EXPECT_TRUE(test, zero || page_poisoning_enabled_static());
		KUNIT_EXPECT_FALSE(test, pattern);
		KUNIT_EXPECT_TRUE(test, writable);
	}
	free_contig_range(pfn + 100, NR_CONTIG);
}

static void isolate(void *data, bool on)
{
	struct page *page = data;
	struct zone *zone = page_zone(page);

	guard(spinlock_irqsave)(&zone->lock);
	if (on && pageblock_isolate_and_move_free_pages(zone, page))
		zone->nr_isolate_pageblock++;
	if (!on && pageblock_unisolate_and_move_free_pages(zone, page))
		zone->nr_isolate_pageblock--;
}

static void unisolate(void *data)
{
	isolate(data, false);
}

/* Pages that are freed meanwhile have no other owner until it ends. */
static void b10_isolated_block_stays_secret(struct kunit *test)
{
	struct secrets *s = secrets(test, 600);
	unsigned long pfn = s->blocks[0].pfn;
	struct page *page = pfn_to_page(pfn);
	unsigned int i, nr = 0;

	isolate(page, true);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, unisolate, page));
	KUNIT_ASSERT_TRUE(test, is_migrate_isolate_page(page));
	fill(test, s);
	put_half(s);
	drain_all_pages(page_zone(page));
	KUNIT_EXPECT_EQ(test, visibility(pfn), VIS_SECRET);
	KUNIT_EXPECT_EQ(test, nr_mapped(pfn), 0);
	KUNIT_EXPECT_EQ(test, nr_dirty(test, s), 0);
	allocate(test, s, 600);
	for (i = 1; i < 600; i += 2)
		nr += pageblock_start_pfn(folio_pfn(s->folios[i])) == pfn;
	KUNIT_EXPECT_EQ(test, nr, 0);

	kunit_release_action(test, unisolate, page);
	KUNIT_EXPECT_FALSE(test, is_migrate_isolate_page(page));
	KUNIT_EXPECT_EQ(test, visibility(pfn), VIS_SECRET);
	KUNIT_EXPECT_EQ(test, nr_mapped(pfn), 0);
	put_half(s);
	allocate(test, s, 600);
}

/* === M20: poisoned pages =================================================== */

#ifdef CONFIG_MEMORY_FAILURE
static void unpoison(void *data)
{
	ClearPageHWPoison((struct page *)data);
}

/* As offlining does it, with a page in the block that is only said to be poisoned. */
static void m20_poisoned_block_stays_hidden(struct kunit *test)
{
	unsigned long pfn, mapped, shown;
	struct page *block, *page;
	struct folio *keep;
	struct secrets *s;

	if (page_poisoning_enabled_static())
		kunit_skip(test, "free memory that is hidden has no poison");
	s = whole_block(test, &pfn);
	block = pfn_to_page(pfn);
	page = pfn_to_page(pfn + 7);
	keep = page_folio(page);
	isolate(block, true);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, unisolate, block));
	put_block(s, pfn, keep);
	drain_all_pages(page_zone(page));
	SetPageHWPoison(page);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, unpoison, page));

	shown = event(SECRET_BLOCK_SHOW);
	KUNIT_EXPECT_EQ(test, -EBUSY,
			secret_blocks_show_isolated(pfn + 100,
						    pfn + 100 + NR_CONTIG,
						    false));
	KUNIT_EXPECT_EQ(test, visibility(pfn), VIS_SECRET);
	KUNIT_EXPECT_EQ(test, nr_mapped(pfn), 0);
	KUNIT_EXPECT_EQ(test, 0,
			secret_blocks_show_isolated(pfn,
						    pfn + pageblock_nr_pages,
						    true));
	mapped = nr_mapped(pfn);
	KUNIT_EXPECT_EQ(test, mapped, 0);
	KUNIT_EXPECT_EQ(test, event(SECRET_BLOCK_SHOW), shown);

	/* It does not go offline here: the page is still the test's to put. */
	if (!mapped)
		direct_map_restore_block(pfn);
	kunit_release_action(test, unpoison, page);
	kunit_release_action(test, unisolate, block);
}

/* Whether a page is free, alone or as part of a larger one. */
static bool page_is_free(unsigned long pfn)
{
	unsigned int order;

	for (order = 0; order < pageblock_order; order++) {
		struct page *head = pfn_to_page(ALIGN_DOWN(pfn, 1UL << order));

		if (PageBuddy(head) && buddy_order(head) >= order)
			return true;
	}
	return false;
}

/* The worker may have taken some, to free them a little later. */
static unsigned long nr_free_of_block(unsigned long pfn, unsigned long wanted)
{
	unsigned int i, tries;
	unsigned long nr = 0;

	for (tries = 0; nr < wanted && tries < 500; tries++) {
		if (tries)
			fsleep(10 * USEC_PER_MSEC);
		secret_blocks_drain(page_zone(pfn_to_page(pfn)));
		drain_all_pages(page_zone(pfn_to_page(pfn)));
		for (i = nr = 0; i < pageblock_nr_pages; i++)
			nr += page_is_free(pfn + i);
	}
	return nr;
}

/* What is freed with one poisoned page in it: all others are zeroed, and free. */
static void m20_rest_of_poisoned_folio_is_freed(struct kunit *test)
{
	unsigned long i, pfn, dirty = 0;
	const unsigned long poisoned = 7;
	struct folio *folio;
	struct page *page;

	folio = folio_alloc_secret(GFP_HIGHUSER_MOVABLE, pageblock_order, NULL);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	pfn = folio_pfn(folio);
	for (i = 0; i < pageblock_nr_pages; i++)
		fill_page(test, pfn_to_page(pfn + i));
	page = pfn_to_page(pfn + poisoned);
	SetPageHWPoison(page);
	folio_set_has_hwpoisoned(folio);
	folio_put(folio);

	KUNIT_EXPECT_EQ(test, nr_free_of_block(pfn, pageblock_nr_pages - 1),
			pageblock_nr_pages - 1);
	KUNIT_EXPECT_FALSE(test, page_is_free(pfn + poisoned));
	for (i = 0; i < pageblock_nr_pages; i++)
		dirty += i != poisoned &&
			 !page_is(test, pfn_to_page(pfn + i), 0);
	KUNIT_EXPECT_EQ(test, dirty, 0);
	KUNIT_EXPECT_EQ(test, visibility(pfn), VIS_SECRET);

	/* As it was: nobody else has it. */
	ClearPageHWPoison(page);
	set_page_count(page, 1);
	__free_page(page);
}
#endif

/* === Suite ================================================================ */

static int secret_blocks_test_init(struct kunit *test)
{
	if (!ephmap_available())
		kunit_skip(test, "no ephmap: off on the command line?");
	if (debug_pagealloc_enabled())
		kunit_skip(test, "debug_pagealloc maps memory page by page");
	secret_blocks_enable();
	/* One CPU, one PCP list, one node; its thread ends with the test. */
	KUNIT_ASSERT_EQ(test, 0,
			set_cpus_allowed_ptr(current,
					     cpumask_of(raw_smp_processor_id())));
	secret_blocks_show_all();
	return 0;
}

static struct kunit_case secret_blocks_cases[] = {
	KUNIT_CASE(b1_secret_blocks_are_absent),
	KUNIT_CASE(b1_only_plain_memory_is_zapped),
	KUNIT_CASE(b3_free_secret_pages_are_zero),
	KUNIT_CASE(b3_hibernation_zeroes_what_is_free),
	KUNIT_CASE(b5_block_in_use_stays_secret),
	KUNIT_CASE(b6_hidden_blocks_are_flushed),
	KUNIT_CASE(b6_one_flush_hides_many),
	KUNIT_CASE_SLOW(b6_little_hides_little),
	KUNIT_CASE_SLOW(b8_the_kernel_keeps_its_reserve),
	KUNIT_CASE_SLOW(b8_kernel_eats_its_fill),
	KUNIT_CASE(b9_contig_memory_is_mapped),
	KUNIT_CASE(b10_isolated_block_stays_secret),
	KUNIT_CASE(b12_blocks_come_back),
	KUNIT_CASE_SLOW(b12_pages_alone_do_not_count),
	KUNIT_CASE(b13_last_put_in_hard_interrupt),
	KUNIT_CASE(b13_last_put_in_softirq),
	KUNIT_CASE(b13_last_put_with_interrupts_off),
	KUNIT_CASE(b13_last_put_without_locks),
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(m20_poisoned_block_stays_hidden),
	KUNIT_CASE(m20_rest_of_poisoned_folio_is_freed),
#endif
	{}
};

static struct kunit_suite secret_blocks_suite = {
	.name = "secret_blocks",
	.init = secret_blocks_test_init,
	.test_cases = secret_blocks_cases,
};

kunit_test_suite(secret_blocks_suite);

MODULE_DESCRIPTION("KUnit tests of blocks without a direct map");
MODULE_LICENSE("GPL");
