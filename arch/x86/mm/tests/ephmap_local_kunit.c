// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of the ephmap's local scope. The numbers E1 to E10 are those of
 * the invariants in Documentation/mm/ephmap.rst. What is checked is checked on
 * the real page tables, on the number of pages flushed, and on what an access
 * finds; each in the restricted address space, out of it, and in a session that
 * leaves it. The suite of the private scope is mm/tests/ephmap_kunit.c.
 */
#include <kunit/test.h>
#include <linux/asi.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/ephmap.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

#include <asm/apic.h>
#include <asm/ephmap.h>
#include <asm/ephmap_local.h>
#include <asm/mmu_context.h>
#include <asm/nmi.h>
#include <asm/tlbflush.h>

#include "../../../../mm/ephmap.h"
#include "../../../../mm/tests/ephmap_kunit.h"

/* === Helpers ============================================================== */

/* Where a session is, and goes. */
enum where {
	OUTSIDE,	/* of the restricted address space, all the time */
	RESTRICTED,	/* in it, all the time */
	LEAVES,		/* begins in it, and leaves it */
	NR_WHERE,
};

static void free_one(void *page)
{
	__free_page(page);
}

/* A page that only a kernel that is not restricted can address. */
static struct page *test_page(struct kunit *test, unsigned long word)
{
	struct page *page = alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_ZERO);

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_one, page));
	*(unsigned long *)page_address(page) = word;
	if (!pmd_none(*asi_direct_map_pmd((unsigned long)page_address(page))))
		kunit_skip(test, "movable memory comes from a kernel block");
	return page;
}

/* In the windows of all CPUs. */
static unsigned int mapped_in(pgd_t *pgd)
{
	unsigned int cpu, i, nr = 0;

	for_each_possible_cpu(cpu) {
		for (i = 0; i < EPHMAP_MAX_PAGES; i++)
			nr += !pte_none(walk(pgd, arch_ephmap_base(cpu) +
					     i * PAGE_SIZE));
	}
	return nr;
}

static void enter(void)
{
	scoped_guard(irqsave)
		asi_enter();
}

/* Where a session begins; preemption is off until it has. */
static void go(enum where where)
{
	if (where == OUTSIDE)
		asi_exit();
	else
		enter();
}

/* In the middle of it. */
static void go_on(enum where where, struct page *user)
{
	if (where == LEAVES)
		READ_ONCE(*(unsigned long *)page_address(user));
}

/*
 * Begin a session there, or end the test. Another interrupt than the test's may
 * leave: a case that needs to be in the restricted address space says so.
 */
static void begin(struct kunit *test, struct ephmap_session *session,
		  enum where where)
{
	int err;

	/* The first session on a CPU allocates, which takes preemption. */
	do {
		if (!ephmap_local_prepare())
			KUNIT_FAIL_AND_ABORT(test, "no page tables");
		preempt_disable();
		go(where);
		err = ephmap_begin(session, EPHMAP_LOCAL);
		preempt_enable();
	} while (err == -EAGAIN);
	if (err)
		KUNIT_FAIL_AND_ABORT(test, "ephmap_begin: %d", err);
}

static int ephmap_try(struct ephmap_session *session, enum ephmap_scope scope)
{
	int err = ephmap_begin(session, scope);

	if (!err)
		ephmap_end(session);
	return err;
}

/* === One CPU ============================================================== */

static void e1_nothing_mapped_after_end(struct kunit *test)
{
	struct page *page = test_page(test, 1);
	struct ephmap_session session;
	unsigned int i, where, during[2], after[2];
	unsigned long flushes, base;
	pgd_t *pgd = current->mm->pgd;
	bool right;

	for (where = 0; where < NR_WHERE; where++) {
		right = true;
		begin(test, &session, where);
		base = arch_ephmap_base(smp_processor_id());
		flushes = this_cpu_flushes();
		for (i = 0; i < EPHMAP_MAX_PAGES; i++) {
			void *p = ephmap_map_page(&session, page, EPHMAP_RW);

			right &= (unsigned long)p == base + i * PAGE_SIZE;
			right &= pte_pfn(walk(pgd, base + i * PAGE_SIZE)) ==
				 page_to_pfn(page);
			if (!IS_ERR(p))
				WRITE_ONCE(*(unsigned long *)p, i);
			if (i == EPHMAP_MAX_PAGES / 2)
				go_on(where, page);
		}
		during[0] = mapped_in(pgd);
		during[1] = mapped_in(asi_restricted_pgd(pgd));
		preempt_disable();
		ephmap_end(&session);
		flushes = this_cpu_flushes() - flushes;
		after[0] = mapped_in(pgd);
		after[1] = mapped_in(asi_restricted_pgd(pgd));
		preempt_enable();

		KUNIT_EXPECT_TRUE(test, right);
		KUNIT_EXPECT_EQ(test, during[0], EPHMAP_MAX_PAGES);
		KUNIT_EXPECT_EQ(test, during[1], EPHMAP_MAX_PAGES);
		KUNIT_EXPECT_EQ(test, after[0], 0);
		KUNIT_EXPECT_EQ(test, after[1], 0);
		KUNIT_EXPECT_EQ(test, flushes, EPHMAP_MAX_PAGES);
	}
}

/*
 * The TLB keeps nothing, of neither address space: the same address shows the
 * next page, not the last, and then faults.
 */
static void e1_tlb_holds_nothing(struct kunit *test)
{
	struct page *pages[2] = { test_page(test, 0), test_page(test, 1) };
	unsigned int i, where, stale[NR_WHERE] = {}, left[NR_WHERE] = {};
	unsigned long *p, word;
	struct ephmap_session session;

	for (i = 0; i < 1000; i++) {
		for (where = 0; where < NR_WHERE; where++) {
			begin(test, &session, where);
			p = ephmap_map_page(&session, pages[i % 2], EPHMAP_RO);
			stale[where] += IS_ERR(p) || READ_ONCE(*p) != i % 2;
			go_on(where, pages[0]);
			stale[where] += IS_ERR(p) || READ_ONCE(*p) != i % 2;
			preempt_disable();
			ephmap_end(&session);
			left[where] += !try_read(&word, p);
			enter();
			left[where] += !try_read(&word, p);
			asi_exit();
			left[where] += !try_read(&word, p);
			preempt_enable();
		}
	}
	for (where = 0; where < NR_WHERE; where++) {
		KUNIT_EXPECT_EQ(test, stale[where], 0);
		KUNIT_EXPECT_EQ(test, left[where], 0);
	}
}

/* As begin(), of what mm/asi_copy.c uses: in the restricted address space only. */
static void begin_inlined(struct kunit *test, struct ephmap_local *session)
{
	bool begun = false;
	unsigned int i;

	/* More than once if this moves to another CPU meanwhile. */
	for (i = 0; i < 100 && !begun; i++) {
		if (!ephmap_local_prepare())
			KUNIT_FAIL_AND_ABORT(test, "no page tables");
		preempt_disable();
		enter();
		begun = ephmap_local_begin(session);
		if (!begun && ephmap_local_prepare())
			begun = ephmap_local_begin(session);
		preempt_enable();
	}
	if (!begun)
		KUNIT_FAIL_AND_ABORT(test, "no session");
}

/* The same of the sessions that are inlined, of one page and of several. */
static void e1_inlined_nothing_is_left(struct kunit *test)
{
	struct page *pages[2] = { test_page(test, 0), test_page(test, 1) };
	unsigned int i, nr, where, wrong = 0, stale = 0, left = 0, mapped = 0;
	unsigned long *p[2], word, flushes;
	pgd_t *pgd = current->mm->pgd;
	struct ephmap_local session;

	for (i = 0; i < 1000; i++) {
		where = i % 2 ? LEAVES : RESTRICTED;
		nr = i / 2 % 2 + 1;
		begin_inlined(test, &session);
		flushes = this_cpu_flushes();
		p[0] = ephmap_local_map(&session, pages[i % 2], 1, EPHMAP_RO);
		stale += READ_ONCE(*p[0]) != i % 2;
		if (nr == 2) {
			p[1] = ephmap_local_map(&session, pages[1 - i % 2], 1,
						EPHMAP_RW);
			wrong += p[1] != p[0] + PAGE_SIZE / sizeof(*p[0]);
			stale += READ_ONCE(*p[1]) != 1 - i % 2;
		}
		go_on(where, pages[0]);
		stale += READ_ONCE(*p[0]) != i % 2;
		wrong += mapped_in(pgd) != nr;
		preempt_disable();
		ephmap_local_end(&session);
		wrong += this_cpu_flushes() - flushes != nr;
		mapped += mapped_in(pgd) + mapped_in(asi_restricted_pgd(pgd));
		left += !try_read(&word, p[nr - 1]);
		enter();
		left += !try_read(&word, p[nr - 1]);
		asi_exit();
		left += !try_read(&word, p[nr - 1]);
		preempt_enable();
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, stale, 0);
	KUNIT_EXPECT_EQ(test, mapped, 0);
	KUNIT_EXPECT_EQ(test, left, 0);
}

/* Flushes of the address space that is not loaded: at once, or left to do. */
static unsigned long other_flushes(void)
{
	unsigned long nr = this_cpu_read(asi_cpu.nr.invpcids);

	if (!cpu_feature_enabled(X86_FEATURE_INVPCID))
		nr = hweight_long(this_cpu_read(asi_cpu.flush[ASI_USER]));
	return nr;
}

/*
 * No emulator has TLBs with PCIDs: count what is flushed in the other one. None
 * for a session that stays where it is, each page for one that does not.
 */
static void e1_both_are_flushed_where_both_were_used(struct kunit *test)
{
	bool each = cpu_feature_enabled(X86_FEATURE_INVPCID);
	unsigned long nr[NR_WHERE] = {}, before;
	struct page *page = test_page(test, 1);
	struct ephmap_session session;
	bool in[NR_WHERE] = {}, out[NR_WHERE] = {};
	unsigned int where;

	if (!cpu_feature_enabled(X86_FEATURE_PCID))
		kunit_skip(test, "no PCIDs");
	for (where = 0; where < NR_WHERE; where++) {
		preempt_disable();
		/* Nothing is left to do. */
		enter();
		asi_exit();
		go(where);
		preempt_enable();
		begin(test, &session, where);
		before = other_flushes();
		in[where] = asi_restricted();
		ephmap_map_page(&session, page, EPHMAP_RO);
		ephmap_map_page(&session, page, EPHMAP_RO);
		go_on(where, page);
		out[where] = !asi_restricted();
		preempt_disable();
		ephmap_end(&session);
		nr[where] = other_flushes() - before;
		preempt_enable();
	}
	KUNIT_EXPECT_EQ(test, nr[OUTSIDE], 0);
	if (in[RESTRICTED] && !out[RESTRICTED])
		KUNIT_EXPECT_EQ(test, nr[RESTRICTED], 0);
	if (in[LEAVES])
		KUNIT_EXPECT_EQ(test, nr[LEAVES], each ? 2 : 1);
	KUNIT_EXPECT_TRUE(test, in[LEAVES] && out[LEAVES]);
}

static struct {
	unsigned long *addr;
	unsigned long *window;
	unsigned long val;
	unsigned int times;
} nmi;

static int touch_in_nmi(unsigned int cmd, struct pt_regs *regs)
{
	if (READ_ONCE(nmi.times))
		return NMI_DONE;
	READ_ONCE(*nmi.addr);
	/* The window stays within reach, and is now cached there, too. */
	nmi.val = READ_ONCE(*nmi.window);
	smp_wmb();	/* times is what is waited for */
	WRITE_ONCE(nmi.times, 1);
	return NMI_HANDLED;
}

/* There and back: the address space is the same, and both are flushed. */
static void e1_nmi_leaves_and_returns(struct kunit *test)
{
	struct page *page = test_page(test, 7);
	struct ephmap_session session;
	unsigned long before, word;
	unsigned int i, left = 0;
	bool in, again;

	memset(&nmi, 0, sizeof(nmi));
	nmi.addr = page_address(page);
	KUNIT_ASSERT_EQ(test, 0, register_nmi_handler(NMI_LOCAL, touch_in_nmi,
						      NMI_FLAG_FIRST,
						      "ephmap_test"));
	begin(test, &session, RESTRICTED);
	before = other_flushes();
	nmi.window = ephmap_map_page(&session, page, EPHMAP_RO);
	in = asi_restricted();
	__apic_send_IPI_mask(cpumask_of(smp_processor_id()), NMI_VECTOR);
	for (i = 0; i < 1000000 && !READ_ONCE(nmi.times); i++)
		cpu_relax();
	again = asi_restricted();
	preempt_disable();
	ephmap_end(&session);
	before = other_flushes() - before;
	left += !try_read(&word, nmi.window);
	asi_exit();
	left += !try_read(&word, nmi.window);
	preempt_enable();
	unregister_nmi_handler(NMI_LOCAL, "ephmap_test");

	KUNIT_EXPECT_EQ(test, nmi.times, 1);
	KUNIT_EXPECT_EQ(test, nmi.val, 7);
	KUNIT_EXPECT_EQ(test, in, again);
	KUNIT_EXPECT_EQ(test, left, 0);
	if (in && cpu_feature_enabled(X86_FEATURE_PCID))
		KUNIT_EXPECT_EQ(test, before, 1);
}

static void e2_protections(struct kunit *test)
{
	struct page *page = test_page(test, 0);
	unsigned long word = 42, seen;
	struct ephmap_session session;
	long ro_write, rw_write;
	pte_t ro_pte, rw_pte;
	unsigned int where;
	void *ro, *rw;

	for (where = 0; where < NR_WHERE; where++) {
		begin(test, &session, where);
		ro = ephmap_map_page(&session, page, EPHMAP_RO);
		rw = ephmap_map_page(&session, page, EPHMAP_RW);
		ro_pte = walk(current->mm->pgd, (unsigned long)ro);
		rw_pte = walk(current->mm->pgd, (unsigned long)rw);
		go_on(where, page);
		ro_write = try_write(ro, ++word);
		rw_write = try_write(rw, word);
		seen = READ_ONCE(*(unsigned long *)ro);
		ephmap_end(&session);

		KUNIT_EXPECT_EQ(test, ro_write, -EFAULT);
		KUNIT_EXPECT_EQ(test, rw_write, 0);
		KUNIT_EXPECT_EQ(test, seen, word);
		KUNIT_EXPECT_TRUE(test, pte_present(ro_pte));
		KUNIT_EXPECT_TRUE(test, pte_present(rw_pte));
		KUNIT_EXPECT_FALSE(test, pte_write(ro_pte));
		KUNIT_EXPECT_TRUE(test, pte_write(rw_pte));
		KUNIT_EXPECT_FALSE(test, pte_exec(ro_pte) || pte_exec(rw_pte));
		KUNIT_EXPECT_FALSE(test,
				   (pte_flags(ro_pte) | pte_flags(rw_pte)) &
				   (_PAGE_USER | _PAGE_GLOBAL));
	}
}

static unsigned long this_cpu_allocations(void)
{
	unsigned long nr = 0;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		nr += this_cpu_read(vm_event_states.event[PGALLOC_NORMAL -
							  ZONE_NORMAL + i]);
	return nr;
}

/* But for the first session of a CPU in an mm. */
static void e3_no_page_allocation_no_failure(struct kunit *test)
{
	unsigned int i, failed = 0, allocating = 0, sleepy = 0;
	struct page *page = test_page(test, 1);
	struct ephmap_session session;

	for (i = 0; i < 1000; i++) {
		unsigned long before;

		ephmap_try(&session, EPHMAP_LOCAL);
		preempt_disable();
		before = this_cpu_allocations();
		if (ephmap_begin(&session, EPHMAP_LOCAL)) {
			failed++;
		} else {
			failed += IS_ERR(ephmap_map_page(&session, page,
							 EPHMAP_RO));
			sleepy += !pagefault_disabled() || preemptible();
			ephmap_end(&session);
		}
		allocating += this_cpu_allocations() != before;
		preempt_enable();
	}
	KUNIT_EXPECT_LT(test, failed, 10);
	KUNIT_EXPECT_EQ(test, sleepy, 0);
	KUNIT_EXPECT_LT(test, allocating, 100);
}

static void drop_mm(void *mm)
{
	mmdrop(mm);
}

static struct mm_struct *other_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, drop_mm, mm));
	return mm;
}

/* Not in another mm, be it old, new, private or init_mm; nor in user mode. */
static void e5_unreachable_from_others(struct kunit *test)
{
	struct mm_struct *old = other_mm(test), *new;
	struct page *page = test_page(test, 1);
	unsigned int own, others = 0, cpu;
	struct ephmap_session session;
	unsigned long addr;
	pte_t pte;

	KUNIT_ASSERT_EQ(test, 0, arch_ephmap_add_local(old, 0));
	begin(test, &session, RESTRICTED);
	addr = (unsigned long)ephmap_map_page(&session, page, EPHMAP_RO);
	pte = walk(current->mm->pgd, addr);
	own = mapped_in(current->mm->pgd);
	others += mapped_in(old->pgd);
	others += mapped_in(asi_restricted_pgd(old->pgd));
	others += mapped_in(init_mm.pgd);
	for_each_online_cpu(cpu)
		others += mapped_in(per_cpu_ptr(&ephmap_cpus, cpu)->mm->pgd);
	ephmap_end(&session);
	/* What a fork or an exec begins with. */
	new = other_mm(test);

	KUNIT_EXPECT_EQ(test, own, 1);
	KUNIT_EXPECT_EQ(test, others, 0);
	KUNIT_EXPECT_FALSE(test, pte_flags(pte) & _PAGE_USER);
	for_each_possible_cpu(cpu)
		KUNIT_EXPECT_NULL(test, arch_ephmap_local_ptes(new, cpu));
	KUNIT_EXPECT_EQ(test, pgd_val(*pgd_offset(new, EPHMAP_BASE_ADDR)),
			pgd_val(*pgd_offset_k(EPHMAP_BASE_ADDR)));
}

/* What an mm has for its windows is freed with it, for all CPUs. */
static void e5_tables_go_with_the_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();
	unsigned int cpu, tables, nr = 0, again = 0, kept = 0;
	struct page *pages[NR_CPUS] = {};

	KUNIT_ASSERT_NOT_NULL(test, mm);
	for_each_possible_cpu(cpu) {
		pte_t *ptes;

		if (arch_ephmap_add_local(mm, cpu))
			break;
		ptes = arch_ephmap_local_ptes(mm, cpu);
		/* A second time there is nothing to do. */
		again += arch_ephmap_add_local(mm, cpu) ||
			 arch_ephmap_local_ptes(mm, cpu) != ptes;
		pages[nr] = virt_to_page(ptes);
		get_page(pages[nr++]);
	}
	tables = nr;
	mmdrop(mm);
	while (nr) {
		kept += page_count(pages[--nr]) != 1;
		put_page(pages[nr]);
	}
	KUNIT_EXPECT_EQ(test, tables, num_possible_cpus());
	KUNIT_EXPECT_EQ(test, again, 0);
	KUNIT_EXPECT_EQ(test, kept, 0);
}

/* As if the IPI of a reboot came in the middle of a session. */
static void e6_stopped_in_a_session(struct kunit *test)
{
	struct page *page = test_page(test, 1);
	unsigned int before = 0, mapped, after = 0, where;
	struct ephmap_session local, private;
	unsigned long word;
	void *p, *q;

	for (where = 0; where < NR_WHERE; where++) {
		begin(test, &local, where);
		p = ephmap_map_page(&local, page, EPHMAP_RO);
		go_on(where, page);
		before += !try_read(&word, p);
		local_irq_disable();
		ephmap_cpu_stop();
		mapped = mapped_in(current->mm->pgd);
		after += !try_read(&word, p);
		local_irq_enable();
		ephmap_end(&local);
		KUNIT_EXPECT_EQ(test, mapped, 0);
	}
	KUNIT_EXPECT_EQ(test, before, NR_WHERE);
	KUNIT_EXPECT_EQ(test, after, 0);

	begin(test, &local, RESTRICTED);
	ephmap_map_page(&local, page, EPHMAP_RO);
	if (!ephmap_begin(&private, EPHMAP_PRIVATE)) {
		q = ephmap_map_page(&private, page, EPHMAP_RO);
		local_irq_disable();
		ephmap_cpu_stop();
		mapped = mapped_in(current->mm->pgd) +
			 mapped_in(this_cpu_ptr(&ephmap_cpus)->mm->pgd);
		after = !try_read(&word, q);
		local_irq_enable();
		ephmap_end(&private);
	}
	ephmap_end(&local);
	KUNIT_EXPECT_EQ(test, mapped, 0);
	KUNIT_EXPECT_EQ(test, after, 0);
}

static void e7_local_in_local(struct kunit *test)
{
	struct ephmap_session sessions[EPHMAP_MAX_DEPTH + 1];
	struct page *page = test_page(test, 1);
	unsigned int i, opened = 0, right = 0;
	int extra = 0;

	kunit_warning_suppress(test) {
		for (i = 0; i < EPHMAP_MAX_DEPTH; i++) {
			if (ephmap_begin(&sessions[i], EPHMAP_LOCAL))
				break;
			opened++;
			right += !IS_ERR(ephmap_map_page(&sessions[i], page,
							 EPHMAP_RO));
		}
		if (opened == EPHMAP_MAX_DEPTH)
			extra = ephmap_try(&sessions[i], EPHMAP_LOCAL);
		while (i--) {
			right += mapped_in(current->mm->pgd) == i + 1;
			ephmap_end(&sessions[i]);
			right += mapped_in(current->mm->pgd) == i;
		}
	}
	KUNIT_EXPECT_EQ(test, opened, EPHMAP_MAX_DEPTH);
	KUNIT_EXPECT_EQ(test, extra, -EBUSY);
	KUNIT_EXPECT_EQ(test, right, 3 * EPHMAP_MAX_DEPTH);
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
}

/*
 * A private session hides what the local one has mapped, leaves the restricted
 * address space, and gives back the rest. A third one nests in it.
 */
static void e7_private_in_local(struct kunit *test)
{
	struct page *pages[2] = { test_page(test, 1), test_page(test, 2) };
	struct ephmap_session local, private[2];
	unsigned long words[4] = {}, word;
	unsigned int where, left;
	int err, refused;
	bool hidden;
	void *p, *q;

	for (where = 0; where < NR_WHERE; where++) {
		hidden = false;
		left = 0;
		refused = 0;
		begin(test, &local, where);
		p = ephmap_map_page(&local, pages[0], EPHMAP_RO);
		try_read(words, p);
		go_on(where, pages[0]);
		err = ephmap_begin(&private[0], EPHMAP_PRIVATE);
		if (!err) {
			struct ephmap_session session;

			hidden = !!try_read(&word, p);
			refused = ephmap_try(&session, EPHMAP_LOCAL);
			q = ephmap_map_page(&private[0], pages[1], EPHMAP_RO);
			try_read(words + 1, q);
			if (!ephmap_begin(&private[1], EPHMAP_PRIVATE)) {
				ephmap_map_page(&private[1], pages[1],
						EPHMAP_RO);
				ephmap_end(&private[1]);
			}
			try_read(words + 2, q);
			ephmap_end(&private[0]);
			left += !try_read(&word, q);
		}
		try_read(words + 3, p);
		preempt_disable();
		ephmap_end(&local);
		left += !try_read(&word, p);
		enter();
		left += !try_read(&word, p);
		preempt_enable();

		KUNIT_EXPECT_EQ(test, err, 0);
		KUNIT_EXPECT_TRUE(test, hidden);
		KUNIT_EXPECT_EQ(test, refused, -EBUSY);
		KUNIT_EXPECT_EQ(test, words[0], 1);
		KUNIT_EXPECT_EQ(test, words[1], 2);
		KUNIT_EXPECT_EQ(test, words[2], 2);
		KUNIT_EXPECT_EQ(test, words[3], 1);
		KUNIT_EXPECT_EQ(test, left, 0);
		KUNIT_EXPECT_EQ(test, preempt_count(), 0);
	}
}

static int irq_begin;

static void irq_try(struct irq_work *work)
{
	struct ephmap_session session;

	irq_begin = ephmap_try(&session, EPHMAP_LOCAL);
}

/* An inlined session is the only one, and refused outside: without effect. */
static void e7_inlined_is_alone(struct kunit *test)
{
	bool in_local, in_private, outside;
	struct ephmap_session session;
	struct ephmap_local inlined;
	int count;

	begin(test, &session, RESTRICTED);
	count = preempt_count();
	in_local = ephmap_local_begin(&inlined);
	KUNIT_EXPECT_EQ(test, preempt_count(), count);
	ephmap_end(&session);

	KUNIT_ASSERT_EQ(test, 0, ephmap_begin(&session, EPHMAP_PRIVATE));
	in_private = ephmap_local_begin(&inlined);
	ephmap_end(&session);

	preempt_disable();
	asi_exit();
	outside = ephmap_local_begin(&inlined);
	preempt_enable();

	KUNIT_EXPECT_FALSE(test, in_local || in_private || outside);
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
	KUNIT_EXPECT_FALSE(test, pagefault_disabled());
}

static void e7_irq_is_refused(struct kunit *test)
{
	struct irq_work work = IRQ_WORK_INIT_HARD(irq_try);
	struct ephmap_session session;
	int irqs_off;

	irq_begin = 0;
	kunit_warning_suppress(test) {
		preempt_disable();
		irq_work_queue(&work);
		while (irq_work_is_busy(&work))
			cpu_relax();
		preempt_enable();
		local_irq_disable();
		irqs_off = ephmap_try(&session, EPHMAP_LOCAL);
		local_irq_enable();
	}
	KUNIT_EXPECT_EQ(test, irq_begin, -EPERM);
	KUNIT_EXPECT_EQ(test, irqs_off, -EPERM);
}

static unsigned int mapped_here(void)
{
	return mapped_in(current->active_mm->pgd);
}

/* In sessions of either kind, softirqs wait; also where they leave. */
static void e8_softirq_waits_for_the_end(struct kunit *test)
{
	struct page *page = test_page(test, 1);
	struct ephmap_session session;
	struct ephmap_local inlined;
	struct softirq_probe probe;
	unsigned int where, in_session, ended;

	if (!softirqs_follow_interrupts())
		kunit_skip(test, "softirqs run in threads");
	for (where = 0; where < NR_WHERE; where++) {
		softirq_probe_init(&probe, mapped_here);
		begin(test, &session, where);
		ephmap_map_page(&session, page, EPHMAP_RO);
		go_on(where, page);
		in_session = softirq_probe_raise(&probe);
		ephmap_end(&session);
		ended = READ_ONCE(probe.runs);
		tasklet_kill(&probe.tasklet);

		KUNIT_EXPECT_EQ(test, in_session, 0);
		KUNIT_EXPECT_EQ(test, ended, 1);
		KUNIT_EXPECT_EQ(test, probe.depth, 0);
		KUNIT_EXPECT_EQ(test, probe.seen, 0);

		if (where == OUTSIDE)
			continue;
		softirq_probe_init(&probe, mapped_here);
		begin_inlined(test, &inlined);
		ephmap_local_map(&inlined, page, 1, EPHMAP_RO);
		go_on(where, page);
		in_session = softirq_probe_raise(&probe);
		ephmap_local_end(&inlined);
		ended = READ_ONCE(probe.runs);
		tasklet_kill(&probe.tasklet);

		KUNIT_EXPECT_EQ(test, in_session, 0);
		KUNIT_EXPECT_EQ(test, ended, 1);
		KUNIT_EXPECT_EQ(test, probe.depth, 0);
		KUNIT_EXPECT_EQ(test, probe.seen, 0);
	}
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
}

/* What the scope is for: user addresses work, and nothing else has to leave. */
static void e8_user_addresses_stay(struct kunit *test)
{
	struct page *page = test_page(test, 0x1234);
	struct ephmap_session session;
	unsigned long user, word = 0, absent, left;
	bool in, stays;
	void *p;

	user = kunit_vm_mmap(test, NULL, 0, 2 * PAGE_SIZE,
			     PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(user));
	KUNIT_ASSERT_EQ(test, 0, put_user(0UL, (unsigned long __user *)user));

	begin(test, &session, RESTRICTED);
	p = ephmap_map_page(&session, page, EPHMAP_RO);
	in = asi_restricted();
	left = __copy_to_user_inatomic((void __user *)user, p, sizeof(word));
	/* Not there yet; it does not come while faults are disabled. */
	absent = __copy_to_user_inatomic((void __user *)user + PAGE_SIZE, p,
					 sizeof(word));
	stays = asi_restricted();
	ephmap_end(&session);

	KUNIT_EXPECT_TRUE(test, in);
	KUNIT_EXPECT_TRUE(test, stays);
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_EQ(test, absent, sizeof(word));
	KUNIT_EXPECT_EQ(test, 0, get_user(word, (unsigned long __user *)user));
	KUNIT_EXPECT_EQ(test, word, 0x1234);
}

static void e8_no_probe_reads_the_window(struct kunit *test)
{
	struct page *page = test_page(test, 1);
	struct ephmap_session session;
	unsigned long word;
	long direct, probe;
	void *p;

	begin(test, &session, RESTRICTED);
	p = ephmap_map_page(&session, page, EPHMAP_RO);
	direct = try_read(&word, p);
	probe = copy_from_kernel_nofault(&word, p, sizeof(word));
	ephmap_end(&session);
	KUNIT_EXPECT_EQ(test, direct, 0);
	KUNIT_EXPECT_EQ(test, probe, -ERANGE);
}

static void e9_poisoned_is_refused(struct kunit *test)
{
	struct page *page = test_page(test, 1);
	struct ephmap_session session;
	unsigned int mapped;
	void *p;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "needs CONFIG_MEMORY_FAILURE");
	SetPageHWPoison(page);
	begin(test, &session, RESTRICTED);
	p = ephmap_map_page(&session, page, EPHMAP_RO);
	mapped = mapped_in(current->mm->pgd);
	ephmap_end(&session);
	ClearPageHWPoison(page);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(p), -EHWPOISON);
	KUNIT_EXPECT_EQ(test, mapped, 0);
}

/* The rest of the kernel half is init_mm's, also where a table was copied. */
static void e10_kernel_half_as_in_init_mm(struct kunit *test)
{
	unsigned long addr = -1UL << PGDIR_SHIFT;
	struct ephmap_session session;
	struct asi_audit audit = {};
	unsigned int i, differ = 0;

	KUNIT_ASSERT_EQ(test, 0, ephmap_try(&session, EPHMAP_LOCAL));
	for (i = 0; pgtable_l5_enabled() && i < PTRS_PER_P4D; i++) {
		unsigned long a = addr + i * P4D_SIZE;
		p4d_t *own = p4d_offset(pgd_offset(current->mm, a), a);
		p4d_t *init = p4d_offset(pgd_offset_k(a), a);

		if (a != EPHMAP_BASE_ADDR)
			differ += p4d_val(*own) != p4d_val(*init);
	}
	asi_audit_pgds(&audit);
	KUNIT_EXPECT_EQ(test, differ, 0);
	KUNIT_EXPECT_EQ(test, audit.wrong, 0);
	kunit_info(test, "levels=%d pcid=%d invpcid=%d",
		   pgtable_l5_enabled() ? 5 : 4,
		   !!cpu_feature_enabled(X86_FEATURE_PCID),
		   !!cpu_feature_enabled(X86_FEATURE_INVPCID));
}

/* === Several CPUs ========================================================= */

struct peer {
	struct mm_struct *mm;
	void *addr;
	long during, after;
	int stage;
};

/* What was written before the other side sees the stage, it sees as well. */
static void peer_reach(struct peer *peer, int stage)
{
	smp_store_release(&peer->stage, stage);	/* see above */
}

static bool peer_is_at(struct peer *peer, int stage)
{
	return smp_load_acquire(&peer->stage) == stage;	/* see above */
}

/* A thread of the process on another CPU, which does not leave the mm. */
static int peer_fn(void *data)
{
	struct peer *peer = data;
	unsigned long word;

	kthread_use_mm(peer->mm);
	peer_reach(peer, 1);
	while (!peer_is_at(peer, 2))
		cpu_relax();
	peer->during = try_read(&word, peer->addr);
	peer_reach(peer, 3);
	while (!peer_is_at(peer, 4))
		cpu_relax();
	peer->after = try_read(&word, peer->addr);
	kthread_unuse_mm(peer->mm);
	peer_reach(peer, 5);
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

/* It could reach the window: when the session has ended, no more. */
static void e5_other_threads_are_flushed(struct kunit *test)
{
	struct page *page = test_page(test, 1);
	struct peer peer = { .mm = current->mm };
	struct ephmap_session session;
	struct task_struct *task;
	unsigned int cpu;

	if (num_online_cpus() < 2)
		kunit_skip(test, "one CPU");
	cpus_read_lock();
	migrate_disable();
	cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	task = kthread_create_on_cpu(peer_fn, &peer, cpu, "ephmap-peer/%u");
	if (IS_ERR(task)) {
		migrate_enable();
		cpus_read_unlock();
		kunit_skip(test, "no thread");
	}
	wake_up_process(task);
	while (!peer_is_at(&peer, 1))
		cond_resched();

	begin(test, &session, RESTRICTED);
	peer.addr = ephmap_map_page(&session, page, EPHMAP_RO);
	peer_reach(&peer, 2);
	while (!peer_is_at(&peer, 3))
		cpu_relax();
	ephmap_end(&session);
	peer_reach(&peer, 4);
	while (!peer_is_at(&peer, 5))
		cond_resched();
	kthread_stop(task);
	migrate_enable();
	cpus_read_unlock();

	KUNIT_EXPECT_EQ(test, peer.during, 0);
	KUNIT_EXPECT_EQ(test, peer.after, -EFAULT);
}

struct hammer {
	struct task_struct *task;
	struct mm_struct *mm;
	struct page *page;
	unsigned long word, rounds, errors, stale, restricted;
};

static void hammer_once(struct hammer *h)
{
	unsigned int i, nr = get_random_u32_inclusive(1, EPHMAP_MAX_PAGES);
	enum where where = get_random_u32_below(NR_WHERE);
	struct ephmap_session session;
	unsigned long *p = NULL, word;

	preempt_disable();
	go(where);
	preempt_enable();
	if (ephmap_begin(&session, EPHMAP_LOCAL)) {
		h->errors++;
		return;
	}
	for (i = 0; i < nr; i++) {
		p = ephmap_map_page(&session, h->page, EPHMAP_RO);
		if (i == nr / 2)
			go_on(where, h->page);
		h->errors += IS_ERR(p) || READ_ONCE(*p) != h->word;
	}
	h->restricted += asi_restricted();
	preempt_disable();
	ephmap_end(&session);
	h->stale += !try_read(&word, p);
	preempt_enable();
}

static int hammer_fn(void *data)
{
	struct hammer *h = data;

	kthread_use_mm(h->mm);
	while (!kthread_should_stop()) {
		hammer_once(h);
		if (++h->rounds % 16 == 0) {
			unsigned int nr = get_random_u32_below(nr_cpu_ids);

			if (cpu_online(nr))
				set_cpus_allowed_ptr(current, cpumask_of(nr));
		}
		cond_resched();
	}
	kthread_unuse_mm(h->mm);
	return 0;
}

/* Threads of one process and another one, which wander from CPU to CPU. */
static void all_cpus_at_once(struct kunit *test)
{
	struct mm_struct *mm = current->mm;
	unsigned int i, nr = nr_cpu_ids + 1;
	struct hammer *h = kunit_kcalloc(test, nr, sizeof(*h), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, h);
	for (i = 0; i < nr; i++) {
		h[i].page = test_page(test, i + 1);
		h[i].word = i + 1;
		h[i].mm = i < nr_cpu_ids ? mm : other_mm(test);
	}
	for (i = 0; i < nr; i++)
		h[i].task = kthread_run(hammer_fn, h + i, "ephmap-local/%u", i);
	msleep(1000);
	for (i = 0; i < nr; i++) {
		if (IS_ERR(h[i].task)) {
			KUNIT_FAIL(test, "kthread_run: %ld", PTR_ERR(h[i].task));
			continue;
		}
		kthread_stop(h[i].task);
		KUNIT_EXPECT_GT(test, h[i].rounds, 0);
		KUNIT_EXPECT_EQ(test, h[i].errors, 0);
		KUNIT_EXPECT_EQ(test, h[i].stale, 0);
	}
	KUNIT_EXPECT_EQ(test, mapped_in(mm->pgd), 0);
}

/* === Suite ================================================================ */

/* A user mm is loaded, and stays loaded until the end of the test. */
static int ephmap_local_test_init(struct kunit *test)
{
	struct ephmap_session session;

	if (!asi_enabled() || !ephmap_available())
		kunit_skip(test, "asi=off, or ephmap=off");
	if (kunit_attach_mm())
		kunit_skip(test, "no user mm");
	return ephmap_try(&session, EPHMAP_LOCAL);
}

/* Whatever a test did, nothing is mapped in the mm it had. */
static void ephmap_local_test_exit(struct kunit *test)
{
	if (asi_enabled() && current->mm)
		KUNIT_EXPECT_EQ(test, mapped_in(current->mm->pgd), 0);
}

static struct kunit_case ephmap_local_cases[] = {
	KUNIT_CASE(e1_nothing_mapped_after_end),
	KUNIT_CASE(e1_tlb_holds_nothing),
	KUNIT_CASE(e1_inlined_nothing_is_left),
	KUNIT_CASE(e1_both_are_flushed_where_both_were_used),
	KUNIT_CASE(e1_nmi_leaves_and_returns),
	KUNIT_CASE(e2_protections),
	KUNIT_CASE(e3_no_page_allocation_no_failure),
	KUNIT_CASE(e5_unreachable_from_others),
	KUNIT_CASE(e5_tables_go_with_the_mm),
	KUNIT_CASE(e5_other_threads_are_flushed),
	KUNIT_CASE(e6_stopped_in_a_session),
	KUNIT_CASE(e7_local_in_local),
	KUNIT_CASE(e7_private_in_local),
	KUNIT_CASE(e7_inlined_is_alone),
	KUNIT_CASE(e7_irq_is_refused),
	KUNIT_CASE(e8_softirq_waits_for_the_end),
	KUNIT_CASE(e8_user_addresses_stay),
	KUNIT_CASE(e8_no_probe_reads_the_window),
	KUNIT_CASE(e9_poisoned_is_refused),
	KUNIT_CASE(e10_kernel_half_as_in_init_mm),
	KUNIT_CASE(all_cpus_at_once),
	{}
};

static struct kunit_suite ephmap_local_suite = {
	.name = "ephmap_local",
	.init = ephmap_local_test_init,
	.exit = ephmap_local_test_exit,
	.test_cases = ephmap_local_cases,
};

kunit_test_suites(&ephmap_local_suite);

MODULE_DESCRIPTION("KUnit tests of the ephmap's local scope");
MODULE_LICENSE("GPL");
