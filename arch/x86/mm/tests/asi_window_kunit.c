// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of the window that each CPU has in its restricted page tables. The
 * numbers W1 to W11 are those of the invariants in Documentation/arch/x86/asi.rst,
 * as are I2 and A7, of the page tables themselves.
 * What is checked is checked on the real page tables and references, on what an
 * access finds, and on the CPU's counters.
 */
#include <kunit/test.h>
#include <linux/asi_copy.h>
#include <linux/asi_park.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/smp.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include <asm/mmu_context.h>
#include <asm/tlbflush.h>

#include "../asi_window.h"
#include "../../../../mm/internal.h"

#define WORD(page, i)	(0x5ec2e70000000000UL + (page) * 0x10000UL + (i))
#define WORDS		(PAGE_SIZE / sizeof(unsigned long))

/* === Helpers ============================================================== */

struct reader {
	struct file *file;
	unsigned long addr;
	unsigned int nr;
	unsigned long *buf;
};

static void put_file(void *file)
{
	fput(file);
}

static void free_buffer(void *buf)
{
	kvfree(buf);
}

/* A file of @nr pages in users' memory, user memory of 16, and a buffer. */
static void make_user(struct kunit *test, struct reader *user, unsigned int nr)
{
	unsigned int page, i;

	if (kunit_attach_mm())
		kunit_skip(test, "no user mm");
	user->nr = nr;
	user->buf = kvzalloc(ASI_RUN * PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, user->buf);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, free_buffer,
							   user->buf));
	user->addr = kunit_vm_mmap(test, NULL, 0, ASI_RUN * PAGE_SIZE,
				   PROT_READ | PROT_WRITE,
				   MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(user->addr));
	/* It is there: no copy is cut short. */
	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)user->addr,
					      user->buf, ASI_RUN * PAGE_SIZE));
	user->file = shmem_kernel_file_setup("asi-kunit", nr * PAGE_SIZE,
					     EMPTY_VMA_FLAGS);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, user->file);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_file,
							   user->file));
	for (page = 0; page < nr; page++) {
		struct folio *folio = shmem_read_folio(user->file->f_mapping, page);
		unsigned long *p;

		KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
		if (!asi_pfn_is_absent(folio_pfn(folio))) {
			folio_put(folio);
			kunit_skip(test, "a file's page is in a kernel block");
		}
		p = folio_address(folio);
		for (i = 0; i < WORDS; i++)
			p[i] = WORD(page, i);
		folio_mark_dirty(folio);
		folio_put(folio);
	}
	lru_add_drain_all();
}

static struct folio *get_folio(struct kunit *test, struct reader *user,
			       unsigned int page)
{
	struct folio *folio = filemap_get_folio(user->file->f_mapping, page);

	if (IS_ERR(folio))
		KUNIT_FAIL_AND_ABORT(test, "page %u is gone", page);
	return folio;
}

static void enter(void)
{
	scoped_guard(irqsave)
		asi_enter();
}

static unsigned long exits(void)
{
	return this_cpu_read(asi_cpu.nr.exits[ASI_EXIT_FAULT]);
}

/*
 * Copy a page to user memory, in the restricted address space: true if that was
 * not left. What interrupts it may leave.
 */
static bool read_page(struct folio *folio, struct reader *user, bool own,
		      size_t *copied)
{
	unsigned long before;
	struct iov_iter iter;
	bool stayed;

	iov_iter_ubuf(&iter, ITER_DEST, (void __user *)user->addr, PAGE_SIZE);
	preempt_disable();
	/* This thread has a user's mm, but is a kernel thread, which parks nothing. */
	current->flags &= ~PF_KTHREAD;
	enter();
	before = exits();
	pagefault_disable();
	*copied = own ? copy_folio_to_iter(folio, 0, PAGE_SIZE, &iter) :
			copy_page_to_iter(&folio->page, 0, PAGE_SIZE, &iter);
	pagefault_enable();
	stayed = exits() == before;
	current->flags |= PF_KTHREAD;
	preempt_enable();
	return stayed;
}

static unsigned int wrong_words(struct reader *user, unsigned int page)
{
	unsigned int i, wrong = 0;

	if (copy_from_user(user->buf, (void __user *)user->addr, PAGE_SIZE))
		return WORDS;
	for (i = 0; i < WORDS; i++)
		wrong += user->buf[i] != WORD(page, i);
	return wrong;
}

/* The entry of a page table of a CPU's for an address, or none. */
static pte_t walk(pgd_t *pgd, unsigned long addr)
{
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	pgd += pgd_index(addr);
	if (pgd_none(*pgd))
		return __pte(0);
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return __pte(0);
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return __pte(0);
	pmd = pmd_offset(pud, addr);
	if (pmd_none(*pmd))
		return __pte(0);
	return ptep_get(pte_offset_kernel(pmd, addr));
}

static pgd_t *root(unsigned int cpu, unsigned int slot)
{
	return per_cpu(asi_cpu.pgds, cpu) + slot * PTRS_PER_PGD;
}

/* Entries in this CPU's window from @first on, as its page tables have them. */
static unsigned int mapped_from(unsigned int first)
{
	unsigned int i, nr = 0;

	for (i = first; i < ASI_WINDOW_PTES; i++)
		nr += !pte_none(walk(root(smp_processor_id(), 0),
				     ASI_WINDOW_BASE + i * PAGE_SIZE));
	return nr;
}

/* Whether there is nothing at an address of the window, for who comes as he is. */
static bool misses(unsigned int slot)
{
	unsigned long word;

	pagefault_disable();
	/* copy_from_kernel_nofault() refuses such addresses. */
	__get_kernel_nofault(&word, (void *)ASI_WINDOW_BASE + slot * PAGE_SIZE,
			     unsigned long, fault);
	pagefault_enable();
	return false;
fault:
	pagefault_enable();
	return true;
}

/* The same in the restricted address space, in the TLB either. */
static bool faults(unsigned int slot)
{
	enter();
	return misses(slot);
}

#define TRIES 50

/* The timer unparks in a softirq: not while a test looks at what is parked. */
static void quiet_begin(void)
{
	local_bh_disable();
	preempt_disable();
}

static void quiet_end(void)
{
	preempt_enable();
	local_bh_enable();
}

DEFINE_LOCK_GUARD_0(quiet, quiet_begin(), quiet_end())

/* === The page tables themselves =========================================== */

/* This CPU's top-level entry for an address of the mm that is loaded. */
static pgd_t user_entry(unsigned long addr)
{
	unsigned int slot;

	guard(preempt)();
	slot = cpu_feature_enabled(X86_FEATURE_PCID) ?
		       this_cpu_read(cpu_tlbstate.loaded_mm_asid) :
		       this_cpu_read(asi_cpu.slot);
	return READ_ONCE(root(smp_processor_id(), slot)[pgd_index(addr)]);
}

/* I2: what munmap() frees is in no PGD that is loaded. */
static void i2_munmap_is_followed(struct kunit *test)
{
	unsigned long addr = ALIGN_DOWN(TASK_SIZE_MAX / 2, PGDIR_SIZE), word = 1;
	pgd_t mapped, copied, unmapped, left;
	unsigned long at;
	int err = 0;

	if (kunit_attach_mm())
		kunit_skip(test, "no user mm");
	migrate_disable();
	at = vm_mmap(NULL, addr, PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0);
	enter();
	err = at != addr || copy_to_user((void __user *)addr, &word, sizeof(word));
	mapped = READ_ONCE(*pgd_offset(current->mm, addr));
	copied = user_entry(addr);
	err |= vm_munmap(addr, PAGE_SIZE);
	unmapped = READ_ONCE(*pgd_offset(current->mm, addr));
	left = user_entry(addr);
	migrate_enable();
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_NE(test, pgd_val(mapped), 0);
	KUNIT_EXPECT_EQ(test, pgd_val(copied), pgd_val(mapped));
	KUNIT_EXPECT_EQ(test, pgd_val(unmapped), 0);
	KUNIT_EXPECT_EQ(test, pgd_val(left), 0);
}

/* A7: flags that CR3 gets (LAM) are in what is loaded on exit, too. */
static void a7_flags_are_kept(struct kunit *test)
{
	unsigned long before, after, cr3;

	if (kunit_attach_mm())
		kunit_skip(test, "no user mm");
	scoped_guard(irqsave) {
		asi_enter();
		cr3 = __read_cr3();
		before = asi_base_cr3(cr3);
		asi_set_cr3_bits(X86_CR3_LAM_U57);
		after = asi_base_cr3(cr3);
		/* The CPU may have no such thing. */
		this_cpu_ptr(&asi_cpu)->space[asi_cr3_slot(cr3)].base = before;
		asi_exit();
	}
	KUNIT_EXPECT_EQ(test, after, before | X86_CR3_LAM_U57);
}

/* === Whose it is ========================================================== */

/* W1, W5: in the page tables of its CPU for users, and nowhere else. */
static void w1_window_is_one_cpus(struct kunit *test)
{
	unsigned int cpu, other, slot, own = 0, others = 0;
	struct folio *folio;
	struct reader user;
	size_t copied;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	migrate_disable();
	cpu = raw_smp_processor_id();
	scoped_guard(quiet) {
		read_page(folio, &user, true, &copied);
		if (!this_cpu_read(asi_window.used))
			read_page(folio, &user, true, &copied);
		for_each_possible_cpu(other) {
			if (!per_cpu(asi_cpu.pgds, other))
				continue;
			for (slot = 0; slot < ASI_NR_SLOTS; slot++) {
				pte_t pte = walk(root(other, slot), ASI_WINDOW_BASE);
				bool here = pte_present(pte) &&
					    pte_pfn(pte) == folio_pfn(folio);

				if (other == cpu && slot != ASI_GUEST_SLOT)
					own += here;
				else
					others += here;
			}
		}
		others += !pte_none(walk(current->mm->pgd, ASI_WINDOW_BASE));
		others += !pte_none(walk(init_mm.pgd, ASI_WINDOW_BASE));
	}
	migrate_enable();
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, own, ASI_GUEST_SLOT);
	KUNIT_EXPECT_EQ(test, others, 0);
}

/* === What is parked ======================================================= */

/* W8: what a file's reader has read stays, read only, with a reference. */
static void w8_own_is_parked(struct kunit *test)
{
	unsigned long parked, hits, hit = 0, park = 0;
	int refs_before, refs = 0;
	unsigned int i, slot = 0;
	bool stayed = false;
	struct folio *folio;
	struct reader user;
	size_t copied[2];
	pte_t pte;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	refs_before = folio_ref_count(folio);
	/* An interrupt may leave, or idle may come, in between. */
	for (i = 0; i < TRIES && !stayed; i++) {
		asi_drain_parked();
		quiet_begin();
		parked = this_cpu_read(asi_cpu.nr.parked);
		slot = this_cpu_read(asi_window.used);
		stayed = read_page(folio, &user, true, &copied[0]);
		refs = folio_ref_count(folio);
		pte = walk(root(smp_processor_id(), 0),
			   ASI_WINDOW_BASE + slot * PAGE_SIZE);
		hits = this_cpu_read(asi_cpu.nr.hits);
		stayed &= read_page(folio, &user, true, &copied[1]);
		hit = this_cpu_read(asi_cpu.nr.hits) - hits;
		park = this_cpu_read(asi_cpu.nr.parked) - parked;
		quiet_end();
	}
	KUNIT_EXPECT_TRUE(test, stayed);
	KUNIT_EXPECT_EQ(test, copied[0], PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, copied[1], PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, wrong_words(&user, 0), 0);
	KUNIT_EXPECT_EQ(test, park, 1);
	KUNIT_EXPECT_EQ(test, hit, 1);
	KUNIT_EXPECT_EQ(test, refs, refs_before + 1);
	KUNIT_EXPECT_EQ(test, pte_pfn(pte), folio_pfn(folio));
	KUNIT_EXPECT_FALSE(test, pte_flags(pte) &
			   (_PAGE_RW | _PAGE_USER | _PAGE_GLOBAL));
	KUNIT_EXPECT_FALSE(test, pte_exec(pte));
	folio_put(folio);
}

/* W8: not what somebody else may be the owner of. */
static void w8_strangers_are_not_parked(struct kunit *test)
{
	unsigned long parked, park = 0;
	unsigned int i, left = 1;
	bool stayed = false;
	struct folio *folio;
	struct reader user;
	size_t copied = 0;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	for (i = 0; i < TRIES && !stayed; i++) {
		preempt_disable();
		parked = this_cpu_read(asi_cpu.nr.parked);
		stayed = read_page(folio, &user, false, &copied);
		park = this_cpu_read(asi_cpu.nr.parked) - parked;
		left = mapped_from(ASI_PARKED);
		preempt_enable();
	}
	folio_put(folio);
	KUNIT_EXPECT_TRUE(test, stayed);
	KUNIT_EXPECT_EQ(test, copied, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, wrong_words(&user, 0), 0);
	KUNIT_EXPECT_EQ(test, park, 0);
	KUNIT_EXPECT_EQ(test, left, 0);
}

/* W6, W8: a page after others is parked as they are, if it may be. */
static void w8_after_others(struct kunit *test)
{
	unsigned int i, after = 0, wrong = 0, kept = 0, left = 0, poisoned = 0;
	struct folio *first, *next;
	struct reader user;
	size_t copied;
	int before;

	make_user(test, &user, 2);
	first = get_folio(test, &user, 0);
	next = get_folio(test, &user, 1);
	before = folio_ref_count(next);
	for (i = 0; i < 200; i++) {
		preempt_disable();
		asi_drain_parked();
		read_page(first, &user, true, &copied);
		read_page(next, &user, true, &copied);
		after += this_cpu_read(asi_window.used) == 2 &&
			 folio_ref_count(next) == before + 1;
		asi_drain_parked();
		kept += folio_ref_count(next) != before;
		left += mapped_from(0);
		read_page(first, &user, true, &copied);
		SetPageHWPoison(&next->page);
		read_page(next, &user, true, &copied);
		ClearPageHWPoison(&next->page);
		poisoned += folio_ref_count(next) != before;
		preempt_enable();
		wrong += wrong_words(&user, 1);
	}
	folio_put(first);
	folio_put(next);
	KUNIT_EXPECT_GT(test, after, 100);
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, kept, 0);
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, poisoned, 0);
}

/* W6: cleared, flushed, and the reference put. */
static void w6_drain(struct kunit *test)
{
	unsigned int i, held = 0, kept = 0, left = 0, reached = 0;
	struct folio *folio;
	struct reader user;
	size_t copied;
	int before;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	before = folio_ref_count(folio);
	for (i = 0; i < 200; i++) {
		preempt_disable();
		read_page(folio, &user, true, &copied);
		held += folio_ref_count(folio) > before;
		asi_drain_parked();
		kept += folio_ref_count(folio) != before;
		left += mapped_from(0);
		reached += !faults(0);
		preempt_enable();
	}
	folio_put(folio);
	KUNIT_EXPECT_GT(test, held, 100);
	KUNIT_EXPECT_EQ(test, kept, 0);
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, reached, 0);
}

static void drop_mm(void *mm)
{
	mmdrop(mm);
}

/*
 * W6, W7: before another mm is loaded nothing is mapped, and the PCID is marked;
 * the reference is put after that, and not before.
 */
static void w7_switch(struct kunit *test)
{
	struct mm_struct *other = mm_alloc();
	unsigned int i, left = 1, used = 0;
	int before, during = 0, after = 0;
	bool marked = false;
	struct folio *folio;
	struct reader user;
	size_t copied;
	u16 kpcid;

	KUNIT_ASSERT_NOT_NULL(test, other);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, drop_mm, other));
	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	before = folio_ref_count(folio);
	for (i = 0; i < TRIES && !used; i++) {
		quiet_begin();
		asi_drain_parked();
		read_page(folio, &user, true, &copied);
		scoped_guard(irqsave) {
			asi_enter();
			used = this_cpu_read(asi_window.used);
			kpcid = this_cpu_read(asi_window.kpcid);
			switch_mm_irqs_off(NULL, other, NULL);
			left = mapped_from(0);
			marked = this_cpu_read(asi_cpu.flush[ASI_USER]) &
				 BIT(kpcid);
			during = folio_ref_count(folio);
			switch_mm_irqs_off(NULL, current->mm, NULL);
			cpumask_clear_cpu(smp_processor_id(), mm_cpumask(other));
		}
		asi_finish_switch();
		after = folio_ref_count(folio);
		quiet_end();
	}
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, used, 1);
	KUNIT_EXPECT_EQ(test, left, 0);
	if (cpu_feature_enabled(X86_FEATURE_PCID))
		KUNIT_EXPECT_TRUE(test, marked);
	KUNIT_EXPECT_EQ(test, during, before + 1);
	KUNIT_EXPECT_EQ(test, after, before);
}

/* W7: a CPU that goes idle has nothing parked; nor has one that goes on. */
static void w7_nothing_stays(struct kunit *test)
{
	unsigned int i, kept = 0, held = 0;
	struct folio *folio;
	struct reader user;
	unsigned long end;
	size_t copied;
	int before;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	before = folio_ref_count(folio);
	migrate_disable();
	for (i = 0; i < 10; i++) {
		read_page(folio, &user, true, &copied);
		held += folio_ref_count(folio) > before;
		msleep(20 + ASI_PARK_MS);
		kept += folio_ref_count(folio) != before;
		read_page(folio, &user, true, &copied);
		held += folio_ref_count(folio) > before;
		/* Busy, so that a timer has to do it. */
		for (end = jiffies + msecs_to_jiffies(ASI_PARK_MS) + 5;
		     time_before(jiffies, end);)
			cpu_relax();
		kept += folio_ref_count(folio) != before;
	}
	migrate_enable();
	folio_put(folio);
	KUNIT_EXPECT_GT(test, held, 10);
	KUNIT_EXPECT_EQ(test, kept, 0);
}

/* W7: the idle task comes long before the timer. */
static void w7_idle(struct kunit *test)
{
	unsigned int i, held = 0;
	unsigned long drains;
	struct folio *folio;
	struct reader user;
	size_t copied;
	int before;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	before = folio_ref_count(folio);
	migrate_disable();
	drains = this_cpu_read(asi_cpu.nr.drains[ASI_DRAIN_IDLE]);
	for (i = 0; i < TRIES; i++) {
		read_page(folio, &user, true, &copied);
		held += folio_ref_count(folio) > before;
		usleep_range(1000, 2000);
	}
	drains = this_cpu_read(asi_cpu.nr.drains[ASI_DRAIN_IDLE]) - drains;
	migrate_enable();
	folio_put(folio);
	KUNIT_EXPECT_GT(test, held, TRIES / 2);
	KUNIT_EXPECT_GT(test, drains, 0);
}

/* W10: as the LRU's batches. */
static void w10_lru(struct kunit *test)
{
	unsigned int i, kept = 0, held = 0, taken = 0;
	struct folio *folio;
	struct reader user;
	size_t copied;
	int before;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	before = folio_ref_count(folio);
	for (i = 0; i < 20; i++) {
		read_page(folio, &user, true, &copied);
		held += folio_ref_count(folio) > before;
		lru_add_drain_all();
		kept += folio_ref_count(folio) != before;
	}
	lru_cache_disable();
	for (i = 0; i < 20; i++) {
		read_page(folio, &user, true, &copied);
		taken += folio_ref_count(folio) != before;
	}
	lru_cache_enable();
	KUNIT_EXPECT_EQ(test, wrong_words(&user, 0), 0);
	folio_put(folio);
	KUNIT_EXPECT_GT(test, held, 0);
	KUNIT_EXPECT_EQ(test, kept, 0);
	KUNIT_EXPECT_EQ(test, taken, 0);
}

/* More pages than there is room for: each is right, each time. */
static void w8_more_than_fits(struct kunit *test)
{
	unsigned int page, round, wrong = 0, shorter = 0;
	struct asi_stats before, after;
	struct folio *folio;
	struct reader user;
	size_t copied;

	make_user(test, &user, ASI_PARKED + 64);
	asi_read_stats(&before);
	for (round = 0; round < 2; round++) {
		for (page = 0; page < user.nr; page++) {
			folio = get_folio(test, &user, page);
			read_page(folio, &user, true, &copied);
			shorter += copied != PAGE_SIZE;
			wrong += wrong_words(&user, page);
			folio_put(folio);
		}
	}
	asi_read_stats(&after);
	KUNIT_EXPECT_EQ(test, shorter, 0);
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_GT(test, after.cpus.parked, before.cpus.parked + ASI_PARKED);
}

/* W3: what is truncated is nobody else's until nobody maps it. */
static void w3_truncated(struct kunit *test)
{
	unsigned int i, early = 0, late = 0, used = 0;
	struct folio *folio;
	struct reader user;
	size_t copied;

	make_user(test, &user, TRIES);
	for (i = 0; i < TRIES; i++) {
		folio = get_folio(test, &user, i);
		quiet_begin();
		asi_drain_parked();
		read_page(folio, &user, true, &copied);
		used += this_cpu_read(asi_window.used);
		quiet_end();
		shmem_truncate_range(file_inode(user.file), i * PAGE_SIZE,
				     (i + 1) * PAGE_SIZE - 1);
		/* This has one; so has the window, unless it was drained. */
		quiet_begin();
		if (this_cpu_read(asi_window.used))
			early += folio_ref_count(folio) < 2;
		asi_drain_parked();
		quiet_end();
		lru_add_drain_all();
		late += folio_ref_count(folio) != 1;
		folio_put(folio);
	}
	KUNIT_EXPECT_GT(test, used, TRIES / 2);
	KUNIT_EXPECT_EQ(test, early, 0);
	KUNIT_EXPECT_EQ(test, late, 0);
}

/* W3, W4, W6: a folio that a large page maps. */
static void w3_large_folio(struct kunit *test)
{
	unsigned int i, used = 0, left = 1;
	int refs = 0, after = 0;
	struct folio *folio;
	struct reader user;
	size_t copied;
	pmd_t *leaf, pmd = {};

	make_user(test, &user, 1);
	folio = folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN,
			    PMD_ORDER);
	if (!folio || !asi_pfn_is_absent(folio_pfn(folio))) {
		if (folio)
			folio_put(folio);
		kunit_skip(test, "no users' memory in one piece");
	}
	/* That it is in some file is all that is asked for. */
	folio->mapping = user.file->f_mapping;
	for (i = 0; i < TRIES && !used; i++) {
		guard(quiet)();
		asi_drain_parked();
		leaf = this_cpu_read(asi_window.leaves);
		read_page(folio, &user, true, &copied);
		used = this_cpu_read(asi_window.leaf_used);
		refs = folio_ref_count(folio);
		pmd = READ_ONCE(*leaf);
		asi_drain_parked();
		left = !pmd_none(READ_ONCE(*leaf));
		after = folio_ref_count(folio);
	}
	folio->mapping = NULL;
	KUNIT_EXPECT_EQ(test, used, 1);
	KUNIT_EXPECT_EQ(test, pmd_pfn(pmd), folio_pfn(folio));
	KUNIT_EXPECT_FALSE(test, pmd_flags(pmd) &
			   (_PAGE_RW | _PAGE_USER | _PAGE_GLOBAL));
	KUNIT_EXPECT_EQ(test, refs, 2);
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, after, 1);
	folio_put(folio);
}

/* === One copy ============================================================= */

/* @a: a folio of two pages. */
struct once {
	struct page *a, *b;
	unsigned long *buf;
	unsigned long user;
};

static void op_clear(struct once *o)
{
	clear_highpage(o->a);
}

static void op_memset(struct once *o)
{
	memset_page(o->a, 8, 0x5a, PAGE_SIZE - 16);
}

static void op_to_page(struct once *o)
{
	memcpy_to_page(o->a, 24, (char *)o->buf, 100);
}

static void op_from_page(struct once *o)
{
	memcpy_from_page((char *)o->buf, o->a, 24, 100);
}

static void op_page(struct once *o)
{
	memcpy_page(o->a, 16, o->b, 40, 1000);
}

static void op_copy(struct once *o)
{
	copy_highpage(o->a, o->b);
}

static void op_copy_mc(struct once *o)
{
	copy_mc_highpage(o->a, o->b);
}

static void op_zero_segments(struct once *o)
{
	zero_user_segments(o->a, 8, 64, 128, 1024);
}

static void op_to_kvec(struct once *o)
{
	struct kvec kvec = { .iov_base = o->buf, .iov_len = 512 };
	struct iov_iter iter;

	iov_iter_kvec(&iter, ITER_DEST, &kvec, 1, 512);
	copy_page_to_iter(o->a, 1024, 512, &iter);
}

static void op_from_kvec(struct once *o)
{
	struct kvec kvec = { .iov_base = o->buf, .iov_len = 512 };
	struct iov_iter iter;

	iov_iter_kvec(&iter, ITER_SOURCE, &kvec, 1, 512);
	copy_page_from_iter(o->a, 1024, 512, &iter);
}

static void op_to_user(struct once *o)
{
	struct iov_iter iter;

	iov_iter_ubuf(&iter, ITER_DEST, (void __user *)o->user, 777);
	copy_page_to_iter_nofault(o->a, 8, 777, &iter);
}

static void op_from_user(struct once *o)
{
	struct iov_iter iter;

	iov_iter_ubuf(&iter, ITER_SOURCE, (void __user *)o->user, 777);
	copy_folio_from_iter_atomic(page_folio(o->a), 8, 777, &iter);
}

/* Over the end of the first page. */
static void op_to_folio(struct once *o)
{
	memcpy_to_folio(page_folio(o->a), 3000, (char *)o->buf, 2500);
}

static void op_from_folio(struct once *o)
{
	memcpy_from_folio((char *)o->buf, page_folio(o->a), 3000, 2500);
}

/* More than the folio has. */
static void op_from_file_folio(struct once *o)
{
	memcpy_from_file_folio((char *)o->buf, page_folio(o->a),
			       2 * PAGE_SIZE - 100, 1000);
}

static void op_fill_tail(struct once *o)
{
	folio_fill_tail(page_folio(o->a), 4000, (char *)o->buf, 200);
}

static void op_fill_nothing(struct once *o)
{
	folio_fill_tail(page_folio(o->a), 5000, (char *)o->buf, 0);
}

static void op_memzero(struct once *o)
{
	memzero_page(o->a, 8, 1000);
}

static const struct {
	const char *name;
	void (*op)(struct once *o);
} ops[] = {
	{ "memcpy_to_folio", op_to_folio },
	{ "memcpy_from_folio", op_from_folio },
	{ "memcpy_from_file_folio", op_from_file_folio },
	{ "folio_fill_tail", op_fill_tail },
	{ "folio_fill_tail, nothing", op_fill_nothing },
	{ "memzero_page", op_memzero },
	{ "clear_highpage", op_clear },
	{ "memset_page", op_memset },
	{ "memcpy_to_page", op_to_page },
	{ "memcpy_from_page", op_from_page },
	{ "memcpy_page", op_page },
	{ "copy_highpage", op_copy },
	{ "copy_mc_highpage", op_copy_mc },
	{ "zero_user_segments", op_zero_segments },
	{ "copy_page_to_iter, kvec", op_to_kvec },
	{ "copy_page_from_iter, kvec", op_from_kvec },
	{ "copy_page_to_iter_nofault", op_to_user },
	{ "copy_folio_from_iter_atomic", op_from_user },
};

static void free_one(void *page)
{
	folio_put(page_folio((struct page *)page));
}

static struct page *user_pages(struct kunit *test, unsigned int order)
{
	struct page *page = alloc_pages(GFP_HIGHUSER_MOVABLE | __GFP_COMP, order);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_one, page));
	if (!asi_pfn_is_absent(page_to_pfn(page)))
		kunit_skip(test, "movable memory comes from a kernel block");
	return page;
}

static struct page *user_page(struct kunit *test)
{
	return user_pages(test, 0);
}

#define RESULT_SIZE	(5 * PAGE_SIZE)

/* The three places, as they are before each operation. */
static void fill(struct once *o, struct reader *user)
{
	unsigned long *a = page_address(o->a), *b = page_address(o->b);
	unsigned int i;

	for (i = 0; i < WORDS; i++) {
		a[i] = WORD(1, i);
		a[WORDS + i] = WORD(4, i);
		b[i] = WORD(2, i);
		o->buf[i] = WORD(3, i);
	}
	if (copy_to_user((void __user *)o->user, o->buf, PAGE_SIZE))
		a[0] = 0;
}

static void *result_of(struct kunit *test, struct once *o)
{
	unsigned long *result = kunit_kmalloc(test, RESULT_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, result);
	memcpy(result, page_address(o->a), 2 * PAGE_SIZE);
	memcpy(result + 2 * WORDS, page_address(o->b), PAGE_SIZE);
	memcpy(result + 3 * WORDS, o->buf, PAGE_SIZE);
	if (copy_from_user(result + 4 * WORDS, (void __user *)o->user, PAGE_SIZE))
		KUNIT_FAIL(test, "user memory is gone");
	return result;
}

/*
 * W9: each primitive does in the restricted address space what it does out of it,
 * does not leave it, and leaves nothing in the window or in the TLB.
 */
static void w9_primitives(struct kunit *test)
{
	struct once once = { user_pages(test, 1), user_page(test) };
	unsigned int i, tries;
	struct reader user;

	make_user(test, &user, 1);
	once.buf = user.buf;
	once.user = user.addr;
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		unsigned long before, left = 1, reached = 1;
		void *ordinary, *here = NULL;
		bool stayed = false;

		fill(&once, &user);
		asi_exit();
		scoped_guard(irqsave) {
			asi_exit();
			pagefault_disable();
			ops[i].op(&once);
			pagefault_enable();
		}
		ordinary = result_of(test, &once);
		for (tries = 0; tries < TRIES && !stayed; tries++) {
			fill(&once, &user);
			preempt_disable();
			enter();
			before = exits();
			pagefault_disable();
			ops[i].op(&once);
			pagefault_enable();
			stayed = exits() == before && asi_restricted();
			left = mapped_from(ASI_PARKED);
			reached = !faults(ASI_PARKED) + !faults(ASI_PARKED + 1);
			preempt_enable();
		}
		here = result_of(test, &once);
		KUNIT_EXPECT_TRUE_MSG(test, stayed, "%s leaves", ops[i].name);
		KUNIT_EXPECT_EQ_MSG(test, memcmp(ordinary, here, RESULT_SIZE),
				    0, "%s differs", ops[i].name);
		KUNIT_EXPECT_EQ_MSG(test, left, 0, "%s", ops[i].name);
		KUNIT_EXPECT_EQ_MSG(test, reached, 0, "%s", ops[i].name);
	}
}

/* A guest's address space has no window: it goes to the user's, no further. */
static void w9_widens(struct kunit *test)
{
	struct page *page = user_page(test);
	bool guest = false, user = false;
	unsigned long word = WORD(4, 0);
	struct reader unused;

	make_user(test, &unused, 1);
	scoped_guard(irqsave) {
		asi_enter_guest();
		guest = asi_class() == ASI_GUEST;
		memcpy_to_page(page, 0, (char *)&word, sizeof(word));
		user = asi_class() == ASI_USER;
		asi_exit();
	}
	KUNIT_EXPECT_TRUE(test, guest);
	KUNIT_EXPECT_TRUE(test, user);
	KUNIT_EXPECT_EQ(test, *(unsigned long *)page_address(page), WORD(4, 0));
}

/* A6: strangers' bytes are flushed before user mode, where the policy says so. */
static void w9_is_flushed_for(struct kunit *test)
{
	struct asi_policy policy = {}, old;
	struct page *page = user_page(test);
	unsigned long word = 1, nr[2] = {};
	bool pending[2] = {};
	struct reader unused;
	unsigned int i;

	make_user(test, &unused, 1);
	for (i = 0; i < 2; i++) {
		policy.enter[ASI_USER] = i ? BIT(ASI_FLUSH_VERW) : 0;
		old = asi_set_policy(policy);
		scoped_guard(irqsave) {
			asi_exit();
			asi_enter();
			nr[i] = this_cpu_read(asi_cpu.nr.flushed[ASI_FLUSH_VERW]);
			memcpy_to_page(page, 0, (char *)&word, sizeof(word));
			pending[i] = this_cpu_read(asi_cpu.pending);
			asi_enter();
			nr[i] = this_cpu_read(asi_cpu.nr.flushed[ASI_FLUSH_VERW]) -
				nr[i];
			pending[i] &= !this_cpu_read(asi_cpu.pending);
			asi_exit();
		}
		asi_set_policy(old);
	}
	KUNIT_EXPECT_FALSE(test, pending[0]);
	KUNIT_EXPECT_TRUE(test, pending[1]);
	KUNIT_EXPECT_EQ(test, nr[0], 0);
	KUNIT_EXPECT_EQ(test, nr[1], 1);
}

/* W8: new pages are parked once they are written as a whole, not before. */
static void w8_new_pages(struct kunit *test)
{
	struct page *pages[] = { user_page(test), user_page(test), user_page(test) };
	unsigned int i, used = 0, left = 1;
	bool done[3] = {};
	struct reader user;
	int refs[3];
	pte_t pte;

	make_user(test, &user, 1);
	for (i = 0; i < TRIES && !(done[0] && done[1]); i++) {
		guard(quiet)();
		asi_drain_parked();
		current->flags &= ~PF_KTHREAD;
		enter();
		done[0] = asi_clear_own_page(pages[0]);
		done[1] = asi_copy_own_page(pages[1], (void __user *)user.addr);
		/* Nothing is there. */
		done[2] = asi_copy_own_page(pages[2], (void __user *)PAGE_SIZE);
		current->flags |= PF_KTHREAD;
		used = this_cpu_read(asi_window.used);
		pte = walk(root(smp_processor_id(), 0), ASI_WINDOW_BASE);
		left = mapped_from(2);
		refs[0] = page_count(pages[0]);
		refs[1] = page_count(pages[1]);
		refs[2] = page_count(pages[2]);
		asi_drain_parked();
	}
	KUNIT_EXPECT_TRUE(test, done[0] && done[1]);
	KUNIT_EXPECT_FALSE(test, done[2]);
	KUNIT_EXPECT_EQ(test, used, 2);
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, pte_pfn(pte), page_to_pfn(pages[0]));
	KUNIT_EXPECT_FALSE(test, pte_flags(pte) & (_PAGE_USER | _PAGE_GLOBAL));
	KUNIT_EXPECT_EQ(test, refs[0], 2);
	KUNIT_EXPECT_EQ(test, refs[1], 2);
	KUNIT_EXPECT_EQ(test, refs[2], 1);
}

/* === Interrupts =========================================================== */

static struct {
	unsigned long *addr;
	int cpu;
	bool stop;
	smp_call_func_t func;
	unsigned int nr, seen;
} storm;

static void touch(void *unused)
{
	READ_ONCE(*storm.addr);
}

static int send_storm(void *unused)
{
	while (!READ_ONCE(storm.stop)) {
		smp_call_function_single(storm.cpu, storm.func, NULL, 1);
		cond_resched();
	}
	return 0;
}

/* Another CPU interrupts this one, until end_storm(). */
static struct task_struct *begin_storm(struct kunit *test, smp_call_func_t func)
{
	struct task_struct *task;

	storm.func = func;
	storm.stop = false;
	migrate_disable();
	storm.cpu = raw_smp_processor_id();
	task = kthread_create(send_storm, NULL, "asi-kunit-storm");
	if (IS_ERR(task)) {
		migrate_enable();
		KUNIT_FAIL_AND_ABORT(test, "no thread");
	}
	kthread_bind(task, cpumask_any_but(cpu_online_mask, storm.cpu));
	get_task_struct(task);
	wake_up_process(task);
	return task;
}

static void end_storm(struct task_struct *task)
{
	WRITE_ONCE(storm.stop, true);
	kthread_stop_put(task);
	migrate_enable();
}

/* What is mapped for one copy is not there when an interrupt comes. */
static void look(void *unused)
{
	storm.seen += pte_present(READ_ONCE(this_cpu_read(asi_window.ptes)[ASI_PARKED]));
	storm.nr++;
}

/* W9: interrupts are off. */
static void w9_no_interrupts(struct kunit *test)
{
	struct task_struct *task;
	struct reader unused;
	struct page *page;
	unsigned long end;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU");
	make_user(test, &unused, 1);
	page = user_page(test);
	storm.nr = 0;
	storm.seen = 0;
	task = begin_storm(test, look);
	end = jiffies + 60 * HZ;
	while (READ_ONCE(storm.nr) < 1000 && time_before(jiffies, end)) {
		enter();
		clear_highpage(page);
		cond_resched();
	}
	end_storm(task);
	KUNIT_EXPECT_GE(test, storm.nr, 1000);
	KUNIT_EXPECT_EQ(test, storm.seen, 0);
}

/* W11: not without a session; and no more than 64 times in one. */
static void w11_rebounds_end(struct kunit *test)
{
	unsigned int tries, used = 0, nr = 0;
	struct folio *folio;
	struct reader user;
	bool closed = false;
	size_t copied;

	make_user(test, &user, 1);
	folio = get_folio(test, &user, 0);
	for (tries = 0; tries < TRIES && !used; tries++) {
		guard(quiet)();
		asi_drain_parked();
		read_page(folio, &user, true, &copied);
		guard(irqsave)();
		used = this_cpu_read(asi_window.used);
		if (!used)
			continue;
		asi_exit();
		closed = misses(0);
		asi_exit();
		this_cpu_write(asi_window.open, true);
		for (nr = 0; nr < 2 * ASI_REBOUNDS && !misses(0); nr++)
			asi_exit();
		this_cpu_write(asi_window.open, false);
		this_cpu_write(asi_window.rebounds, 0);
	}
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, used, 1);
	KUNIT_EXPECT_TRUE(test, closed);
	KUNIT_EXPECT_EQ(test, nr, ASI_REBOUNDS);
}

/* W11: interrupts leave in the midst of a copy, which goes back and is right. */
static void w11_rebounds(struct kunit *test)
{
	unsigned int i, wrong = 0, shorter = 0;
	unsigned long before, rebounds = 0, end;
	struct task_struct *task;
	struct folio *folio;
	struct reader user;
	size_t copied;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU");
	make_user(test, &user, 16);
	storm.addr = page_address(user_page(test));
	task = begin_storm(test, touch);
	before = this_cpu_read(asi_cpu.nr.rebounds);
	end = jiffies + 20 * HZ;
	for (i = 0; !rebounds && time_before(jiffies, end); i++) {
		folio = filemap_get_folio(user.file->f_mapping, i % 16);
		if (IS_ERR(folio))
			break;
		read_page(folio, &user, true, &copied);
		shorter += copied != PAGE_SIZE;
		wrong += wrong_words(&user, i % 16);
		folio_put(folio);
		rebounds = this_cpu_read(asi_cpu.nr.rebounds) - before;
		cond_resched();
	}
	end_storm(task);
	kunit_info(test, "%u copies, %lu rebounds", i, rebounds);
	KUNIT_EXPECT_GT(test, rebounds, 0);
	KUNIT_EXPECT_EQ(test, shorter, 0);
	KUNIT_EXPECT_EQ(test, wrong, 0);
}

static int asi_window_init(struct kunit *test)
{
	if (!asi_enabled())
		kunit_skip(test, "asi=off");
	return 0;
}

static struct kunit_case asi_window_cases[] = {
	KUNIT_CASE(i2_munmap_is_followed),
	KUNIT_CASE(a7_flags_are_kept),
	KUNIT_CASE(w1_window_is_one_cpus),
	KUNIT_CASE(w3_truncated),
	KUNIT_CASE(w3_large_folio),
	KUNIT_CASE(w6_drain),
	KUNIT_CASE(w7_switch),
	KUNIT_CASE(w7_nothing_stays),
	KUNIT_CASE(w7_idle),
	KUNIT_CASE(w8_own_is_parked),
	KUNIT_CASE(w8_strangers_are_not_parked),
	KUNIT_CASE(w8_after_others),
	KUNIT_CASE(w8_new_pages),
	KUNIT_CASE_SLOW(w8_more_than_fits),
	KUNIT_CASE(w9_primitives),
	KUNIT_CASE(w9_widens),
	KUNIT_CASE(w9_is_flushed_for),
	KUNIT_CASE_SLOW(w9_no_interrupts),
	KUNIT_CASE(w10_lru),
	KUNIT_CASE(w11_rebounds_end),
	KUNIT_CASE_SLOW(w11_rebounds),
	{}
};

static struct kunit_suite asi_window_suite = {
	.name = "asi_window",
	.init = asi_window_init,
	.test_cases = asi_window_cases,
};

kunit_test_suite(asi_window_suite);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit suite of Address Space Isolation's windows");
