// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of the ephmap's private scope. The numbers E1 to E10 are those of
 * the invariants in Documentation/mm/ephmap.rst, M9 to M15 those of the
 * conditions in Documentation/mm/no_direct_map.rst. What is checked is checked
 * on the real page tables, on the number of pages flushed, and on what an access
 * finds: also inside an outer session, where no CR3 write hides a missing flush
 * on a machine without PCIDs.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/ephmap.h>
#include <linux/hardirq.h>
#include <linux/highmem.h>
#include <linux/irq_work.h>
#include <linux/kexec.h>
#include <linux/kmsg_dump.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/moduleparam.h>
#include <linux/no_direct_map.h>
#include <linux/pagemap.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/set_memory.h>
#include <linux/syscore_ops.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

#ifdef CONFIG_X86_64
#include <asm/ephmap.h>
#include <asm/tlbflush.h>
#endif

#include <trace/events/ephmap.h>

#include "../ephmap.h"
#include "../internal.h"
#include "ephmap_kunit.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* === Helpers ============================================================== */

static void folio_put_wrapper(void *folio)
{
	folio_put(folio);
}

/* A zeroed folio that goes away with the test. */
static struct folio *test_folio(struct kunit *test, unsigned int order)
{
	struct folio *folio = folio_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_COMP,
					  order);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, folio_put_wrapper,
						  folio));
	return folio;
}

static struct page *test_page(struct kunit *test)
{
	return folio_page(test_folio(test, 0), 0);
}

static unsigned long pattern(unsigned long page, unsigned long word)
{
	return (page << 32 | word) * 0x9e3779b97f4a7c15UL + 1;
}

static void fill(void *addr, unsigned long first, unsigned long nr)
{
	unsigned long i, *p = addr;

	for (i = 0; i < nr * PAGE_SIZE / sizeof(long); i++)
		p[i] = pattern(first + i / (PAGE_SIZE / sizeof(long)), i);
}

static unsigned long wrong_words(void *addr, unsigned long first,
				 unsigned long nr)
{
	unsigned long i, wrong = 0, *p = addr;

	for (i = 0; i < nr * PAGE_SIZE / sizeof(long); i++)
		wrong += p[i] != pattern(first + i / (PAGE_SIZE / sizeof(long)),
					 i);
	return wrong;
}

static unsigned int mapped_in_window(struct ephmap_cpu *cpu)
{
	unsigned int i, nr = 0;

	for (i = 0; i < EPHMAP_MAX_PAGES; i++)
		nr += !pte_none(walk(cpu->mm->pgd, cpu->base + i * PAGE_SIZE));
	return nr;
}

/* Begin a session, or end the test. */
static void begin(struct kunit *test, struct ephmap_session *session)
{
	int err = ephmap_begin(session);

	/* An assertion must not leave with preemption off. */
	if (err)
		KUNIT_FAIL_AND_ABORT(test, "ephmap_begin: %d", err);
}

/* A session that ought to be refused; one that is not must not stay open. */
static int ephmap_try(struct ephmap_session *session)
{
	int err = ephmap_begin(session);

	if (!err)
		ephmap_end(session);
	return err;
}

/* === One CPU ============================================================== */

static void e1_nothing_mapped_after_end(struct kunit *test)
{
	struct page *page = test_page(test);
	struct ephmap_session session;
	unsigned long flushes, addr = 0;
	unsigned int i, during, after;
	struct ephmap_cpu *cpu;
	bool right = true;

	begin(test, &session);
	cpu = this_cpu_ptr(&ephmap_cpus);
	flushes = this_cpu_flushes();
	for (i = 0; i < EPHMAP_MAX_PAGES; i++) {
		void *p = ephmap_map_page(&session, page, EPHMAP_RW);

		addr = cpu->base + i * PAGE_SIZE;
		right &= (unsigned long)p == addr;
		right &= pte_pfn(walk(cpu->mm->pgd, addr)) == page_to_pfn(page);
		if (!IS_ERR(p))
			WRITE_ONCE(*(unsigned long *)p, i);
	}
	during = mapped_in_window(cpu);
	preempt_disable();
	ephmap_end(&session);
	flushes = this_cpu_flushes() - flushes;
	after = mapped_in_window(cpu);
	preempt_enable();

	KUNIT_EXPECT_TRUE(test, right);
	KUNIT_EXPECT_EQ(test, during, EPHMAP_MAX_PAGES);
	KUNIT_EXPECT_EQ(test, after, 0);
	KUNIT_EXPECT_EQ(test, flushes, EPHMAP_MAX_PAGES);
}

static unsigned int stale_reads(struct kunit *test, struct page **pages)
{
	struct ephmap_session session;
	unsigned int i, stale = 0;

	for (i = 0; i < 1000; i++) {
		unsigned long *p;

		begin(test, &session);
		p = ephmap_map_page(&session, pages[i % 2], EPHMAP_RO);
		stale += IS_ERR(p) || READ_ONCE(*p) != i % 2;
		ephmap_end(&session);
	}
	return stale;
}

/* The TLB keeps nothing: the same address shows the next page, not the last. */
static void e1_tlb_holds_nothing(struct kunit *test)
{
	struct page *pages[2] = { test_page(test), test_page(test) };
	struct ephmap_session outer;
	unsigned int alone, nested;

	*(unsigned long *)page_address(pages[0]) = 0;
	*(unsigned long *)page_address(pages[1]) = 1;

	alone = stale_reads(test, pages);
	begin(test, &outer);
	nested = stale_reads(test, pages);
	ephmap_end(&outer);

	KUNIT_EXPECT_EQ(test, alone, 0);
	KUNIT_EXPECT_EQ(test, nested, 0);
}

static unsigned int readable(void *addr, unsigned int nr)
{
	unsigned int i, read = 0;
	unsigned long word;

	for (i = 0; i < nr && !IS_ERR(addr); i++)
		read += !try_read(&word, addr + i * PAGE_SIZE);
	return read;
}

/*
 * After the end every address faults: in this CPU's private mm (the outer
 * session keeps it loaded, so that no CR3 write helps) and out of it.
 */
static void e1_addresses_fault_after_end(struct kunit *test)
{
	struct folio *folio = test_folio(test, 4);
	struct ephmap_session outer, inner;
	unsigned int before, in_mm, still, out_of_mm;
	void *first, *second;

	begin(test, &outer);
	first = ephmap_map_folio(&outer, folio, 0, 16, EPHMAP_RO);
	begin(test, &inner);
	second = ephmap_map_folio(&inner, folio, 0, 16, EPHMAP_RO);
	before = readable(second, 16);
	ephmap_end(&inner);
	in_mm = readable(second, 16);
	still = readable(first, 16);
	preempt_disable();
	ephmap_end(&outer);
	out_of_mm = readable(first, 16) + readable(second, 16);
	preempt_enable();

	KUNIT_EXPECT_EQ(test, before, 16);
	KUNIT_EXPECT_EQ(test, in_mm, 0);
	KUNIT_EXPECT_EQ(test, still, 16);
	KUNIT_EXPECT_EQ(test, out_of_mm, 0);
}

static void e2_protections(struct kunit *test)
{
	struct page *page = test_page(test);
	struct ephmap_session session;
	unsigned long word = 42, seen;
	long ro_write, rw_write;
	pte_t ro_pte, rw_pte;
	void *ro, *rw;

	begin(test, &session);
	ro = ephmap_map_page(&session, page, EPHMAP_RO);
	rw = ephmap_map_page(&session, page, EPHMAP_RW);
	ro_pte = walk(this_cpu_ptr(&ephmap_cpus)->mm->pgd, (unsigned long)ro);
	rw_pte = walk(this_cpu_ptr(&ephmap_cpus)->mm->pgd, (unsigned long)rw);
	ro_write = try_write(ro, word);
	rw_write = try_write(rw, word);
	seen = READ_ONCE(*(unsigned long *)ro);
	ephmap_end(&session);

	KUNIT_EXPECT_EQ(test, ro_write, -EFAULT);
	KUNIT_EXPECT_EQ(test, rw_write, 0);
	KUNIT_EXPECT_EQ(test, seen, word);
	KUNIT_EXPECT_TRUE(test, pte_present(ro_pte) && pte_present(rw_pte));
	KUNIT_EXPECT_FALSE(test, pte_write(ro_pte));
	KUNIT_EXPECT_TRUE(test, pte_write(rw_pte));
#ifdef CONFIG_X86_64
	KUNIT_EXPECT_FALSE(test, pte_exec(ro_pte) || pte_exec(rw_pte));
	KUNIT_EXPECT_FALSE(test, (pte_flags(ro_pte) | pte_flags(rw_pte)) &
			   (_PAGE_USER | _PAGE_GLOBAL));
#endif
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

/* An interrupt may allocate in the middle of a session; not in most of them. */
static void e3_no_page_allocation_no_failure(struct kunit *test)
{
	struct folio *folio = test_folio(test, 4);
	unsigned int i, failed = 0, allocating = 0, sleepy = 0;
	struct ephmap_session session;

	for (i = 0; i < 1000; i++) {
		unsigned long before;

		preempt_disable();
		before = this_cpu_allocations();
		if (ephmap_begin(&session)) {
			failed++;
		} else {
			failed += IS_ERR(ephmap_map_folio(&session, folio, 0,
							  16, EPHMAP_RO));
			sleepy += !pagefault_disabled() || preemptible();
			ephmap_end(&session);
		}
		allocating += this_cpu_allocations() != before;
		preempt_enable();
	}
	KUNIT_EXPECT_EQ(test, failed, 0);
	KUNIT_EXPECT_EQ(test, sleepy, 0);
	KUNIT_EXPECT_LT(test, allocating, 100);
}

/*
 * What is allocated for each possible CPU in each CPU's mm grows with the square
 * of their number. These are all the members that mm_alloc() allocates so.
 */
static void e3_private_mm_has_no_percpu_memory(struct kunit *test)
{
	unsigned int i;
	int cpu;

	for_each_online_cpu(cpu) {
		struct mm_struct *mm = per_cpu_ptr(&ephmap_cpus, cpu)->mm;

		for (i = 0; i < NR_MM_COUNTERS; i++)
			KUNIT_EXPECT_NULL(test, mm->rss_stat[i].counters);
#ifdef CONFIG_SCHED_MM_CID
		KUNIT_EXPECT_NULL(test, mm->mm_cid.pcpu);
#endif
#ifdef CONFIG_SCHED_CACHE
		KUNIT_EXPECT_NULL(test, mm->sched_cache_grp);
#endif
	}
}

static void e4_unreachable_from_others(struct kunit *test)
{
	struct page *page = test_page(test);
	unsigned int others = 0, init = 0, own, user = 0;
	struct ephmap_session session;
	unsigned long addr;
	int cpu;

	begin(test, &session);
	addr = (unsigned long)ephmap_map_page(&session, page, EPHMAP_RO);
	for_each_online_cpu(cpu) {
		struct ephmap_cpu *other = per_cpu_ptr(&ephmap_cpus, cpu);

		if (cpu != smp_processor_id())
			others += !pte_none(walk(other->mm->pgd, addr));
	}
	own = !pte_none(walk(this_cpu_ptr(&ephmap_cpus)->mm->pgd, addr));
	init = !pte_none(walk(init_mm.pgd, addr));
	if (current->mm)
		init += !pte_none(walk(current->mm->pgd, addr));
#ifdef CONFIG_MITIGATION_PAGE_TABLE_ISOLATION
	if (cpu_feature_enabled(X86_FEATURE_PTI)) {
		pgd_t *pgd = this_cpu_ptr(&ephmap_cpus)->mm->pgd;

		user = !pte_none(walk(kernel_to_user_pgdp(pgd), addr));
	}
#endif
	ephmap_end(&session);

	KUNIT_EXPECT_EQ(test, own, 1);
	KUNIT_EXPECT_EQ(test, others, 0);
	KUNIT_EXPECT_EQ(test, init, 0);
	KUNIT_EXPECT_EQ(test, user, 0);
}

static void e7_nesting_is_lifo_to_the_limit(struct kunit *test)
{
	struct ephmap_session sessions[EPHMAP_MAX_DEPTH + 1];
	struct page *page = test_page(test);
	unsigned int i, opened = 0, right = 0;
	struct ephmap_cpu *cpu;
	unsigned int after;
	int extra = 0;

	kunit_warning_suppress(test) {
		for (i = 0; i < EPHMAP_MAX_DEPTH; i++) {
			if (ephmap_begin(&sessions[i]))
				break;
			opened++;
			right += !IS_ERR(ephmap_map_page(&sessions[i], page,
							 EPHMAP_RO));
		}
		if (opened == EPHMAP_MAX_DEPTH)
			extra = ephmap_try(&sessions[i]);
		/* The one too many has changed nothing. */
		while (i--) {
			cpu = this_cpu_ptr(&ephmap_cpus);
			right += mapped_in_window(cpu) == i + 1;
			preempt_disable();
			ephmap_end(&sessions[i]);
			after = mapped_in_window(cpu);
			preempt_enable();
			right += after == i;
		}
	}
	KUNIT_EXPECT_EQ(test, opened, EPHMAP_MAX_DEPTH);
	KUNIT_EXPECT_EQ(test, extra, -EBUSY);
	KUNIT_EXPECT_EQ(test, right, 3 * EPHMAP_MAX_DEPTH);
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
}

static void e7_one_page_too_many_is_refused(struct kunit *test)
{
	struct folio *folio = test_folio(test, get_order(EPHMAP_MAX_PAGES *
							 PAGE_SIZE));
	struct page *page = test_page(test);
	struct ephmap_session session;
	void *all, *more, *outside;
	unsigned int mapped = 0;

	kunit_warning_suppress(test) {
		begin(test, &session);
		outside = ephmap_map_folio(&session, folio, 1,
					   EPHMAP_MAX_PAGES, EPHMAP_RO);
		all = ephmap_map_folio(&session, folio, 0, EPHMAP_MAX_PAGES,
				       EPHMAP_RO);
		more = ephmap_map_page(&session, page, EPHMAP_RO);
		mapped = mapped_in_window(this_cpu_ptr(&ephmap_cpus));
		ephmap_end(&session);
	}
	KUNIT_EXPECT_FALSE(test, IS_ERR(all));
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(outside), -EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(more), -ENOSPC);
	KUNIT_EXPECT_EQ(test, mapped, EPHMAP_MAX_PAGES);
}

static void e7_only_the_innermost_maps(struct kunit *test)
{
	struct page *page = test_page(test);
	struct ephmap_session outer, inner;
	void *p = NULL;

	kunit_warning_suppress(test) {
		begin(test, &outer);
		begin(test, &inner);
		p = ephmap_map_page(&outer, page, EPHMAP_RO);
		ephmap_end(&inner);
		ephmap_end(&outer);
	}
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(p), -EINVAL);
}

static void e7_only_the_innermost_ends(struct kunit *test)
{
	struct page *page = test_page(test);
	struct ephmap_session outer, inner;
	unsigned int mapped = 0;

	kunit_warning_suppress(test) {
		begin(test, &outer);
		ephmap_map_page(&outer, page, EPHMAP_RO);
		begin(test, &inner);
		ephmap_map_page(&inner, page, EPHMAP_RO);
		ephmap_end(&outer);
		mapped = mapped_in_window(this_cpu_ptr(&ephmap_cpus));
		ephmap_end(&inner);
		ephmap_end(&outer);
	}
	KUNIT_EXPECT_EQ(test, mapped, 2);
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
}

struct irq_probe {
	struct irq_work work;
	struct page *page;
	int begin;
	unsigned long word;
};

static void irq_probe_fn(struct irq_work *work)
{
	struct irq_probe *probe = container_of(work, struct irq_probe, work);
	struct ephmap_session session;
	unsigned long *p;

	probe->begin = ephmap_try(&session);
	p = kmap_local_page(probe->page);
	probe->word = READ_ONCE(*p);
	kunmap_local(p);
}

/* An interrupt on this CPU, here and now; irq_work_sync() may sleep. */
static void irq_probe_run(struct irq_probe *probe)
{
	irq_work_queue(&probe->work);
	while (irq_work_is_busy(&probe->work))
		cpu_relax();
}

static void e7_irq_and_nmi_are_refused(struct kunit *test)
{
	struct irq_probe probe = { .page = test_page(test) };
	struct ephmap_session session;
	int irqs_off = 0, nmi = 0;
	unsigned long flags;

	probe.work = IRQ_WORK_INIT_HARD(irq_probe_fn);
	kunit_warning_suppress(test) {
		preempt_disable();
		irq_probe_run(&probe);
		preempt_enable();

		local_irq_save(flags);
		irqs_off = ephmap_try(&session);
		nmi_enter();
		nmi = ephmap_try(&session);
		nmi_exit();
		local_irq_restore(flags);
	}
	KUNIT_EXPECT_EQ(test, probe.begin, -EPERM);
	KUNIT_EXPECT_EQ(test, irqs_off, -EPERM);
	KUNIT_EXPECT_EQ(test, nmi, -EPERM);
}

static void e8_interrupt_inside_a_session(struct kunit *test)
{
	struct irq_probe probe = { .page = test_page(test) };
	struct ephmap_session session;
	unsigned long *p, word = 0;

	*(unsigned long *)page_address(probe.page) = 0x1234;
	probe.work = IRQ_WORK_INIT_HARD(irq_probe_fn);
	kunit_warning_suppress(test) {
		begin(test, &session);
		p = ephmap_map_page(&session, probe.page, EPHMAP_RW);
		irq_probe_run(&probe);
		if (!IS_ERR(p))
			word = READ_ONCE(*p);
		ephmap_end(&session);
	}
	KUNIT_EXPECT_EQ(test, probe.begin, -EPERM);
	KUNIT_EXPECT_EQ(test, probe.word, 0x1234);
	KUNIT_EXPECT_EQ(test, word, 0x1234);
}

static unsigned int mapped_here(void)
{
	return mapped_in_window(this_cpu_ptr(&ephmap_cpus));
}

/*
 * What an interrupt raises in a session runs when the outermost one has ended:
 * nothing is mapped, and the private mm is not loaded.
 */
static void e8_softirq_waits_for_the_end(struct kunit *test)
{
	unsigned int alone, in_outer, in_inner, inner_ended, outer_ended;
	struct page *page = test_page(test);
	struct ephmap_session outer, inner;
	struct softirq_probe probe;
	struct mm_struct *mm;

	if (!softirqs_follow_interrupts())
		kunit_skip(test, "softirqs run in threads");

	/* The test does see one that does not wait. */
	softirq_probe_init(&probe, mapped_here);
	preempt_disable();
	alone = softirq_probe_raise(&probe);
	preempt_enable();
	tasklet_kill(&probe.tasklet);
	KUNIT_EXPECT_EQ(test, alone, 1);

	softirq_probe_init(&probe, mapped_here);
	begin(test, &outer);
	mm = this_cpu_ptr(&ephmap_cpus)->prev_mm;
	ephmap_map_page(&outer, page, EPHMAP_RO);
	in_outer = softirq_probe_raise(&probe);
	begin(test, &inner);
	ephmap_map_page(&inner, page, EPHMAP_RO);
	in_inner = softirq_probe_raise(&probe);
	ephmap_end(&inner);
	inner_ended = READ_ONCE(probe.runs);
	ephmap_end(&outer);
	outer_ended = READ_ONCE(probe.runs);
	tasklet_kill(&probe.tasklet);

	KUNIT_EXPECT_EQ(test, in_outer, 0);
	KUNIT_EXPECT_EQ(test, in_inner, 0);
	KUNIT_EXPECT_EQ(test, inner_ended, 0);
	KUNIT_EXPECT_EQ(test, outer_ended, 1);
	KUNIT_EXPECT_EQ(test, probe.depth, 0);
	KUNIT_EXPECT_EQ(test, probe.seen, 0);
	KUNIT_EXPECT_PTR_EQ(test, probe.mm, mm);
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
}

/* The end of a session does not turn on what was off when it began. */
static void e8_softirqs_stay_off(struct kunit *test)
{
	unsigned int in_session, ended, enabled;
	struct ephmap_session session;
	struct softirq_probe probe;
	int err;

	if (!softirqs_follow_interrupts())
		kunit_skip(test, "softirqs run in threads");
	softirq_probe_init(&probe, mapped_here);
	local_bh_disable();
	err = ephmap_begin(&session);
	in_session = softirq_probe_raise(&probe);
	if (!err)
		ephmap_end(&session);
	ended = READ_ONCE(probe.runs);
	local_bh_enable();
	enabled = READ_ONCE(probe.runs);
	tasklet_kill(&probe.tasklet);

	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, in_session, 0);
	KUNIT_EXPECT_EQ(test, ended, 0);
	KUNIT_EXPECT_EQ(test, enabled, 1);
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
}

/* What perf's user callchains and BPF ask before they read user memory. */
static void e8_no_user_reads_through_the_private_mm(struct kunit *test)
{
	struct ephmap_session session;
	unsigned long word = 0, uaddr;
	long before, inside, after;

	uaddr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, uaddr, 0);
	KUNIT_ASSERT_EQ(test, 0, put_user(1UL, (unsigned long __user *)uaddr));

	before = copy_from_user_nofault(&word, (void __user *)uaddr,
					sizeof(word));
	begin(test, &session);
	inside = copy_from_user_nofault(&word, (void __user *)uaddr,
					sizeof(word));
	ephmap_end(&session);
	after = copy_from_user_nofault(&word, (void __user *)uaddr,
				       sizeof(word));

	KUNIT_EXPECT_EQ(test, before, 0);
	KUNIT_EXPECT_EQ(test, inside, -EFAULT);
	KUNIT_EXPECT_EQ(test, after, 0);
	KUNIT_EXPECT_EQ(test, word, 1);
}

/* What BPF, kprobe events and printk formats read kernel memory with. */
static void e8_no_probe_reads_the_window(struct kunit *test)
{
	struct page *page = test_page(test);
	struct ephmap_session session;
	long direct, probe, before, beyond;
	unsigned long word = 0;
	char buf[8];
	void *p;

	*(unsigned long *)page_address(page) = 0x5ec7e7;
	begin(test, &session);
	p = ephmap_map_page(&session, page, EPHMAP_RO);
	direct = try_read(&word, p);
	probe = copy_from_kernel_nofault(buf, p, sizeof(buf));
	before = strncpy_from_kernel_nofault(buf, p - 1, sizeof(buf));
	ephmap_end(&session);
	beyond = copy_from_kernel_nofault(buf, page_address(page), sizeof(buf));

	KUNIT_EXPECT_EQ(test, direct, 0);
	KUNIT_EXPECT_EQ(test, word, 0x5ec7e7);
	KUNIT_EXPECT_EQ(test, probe, -ERANGE);
	KUNIT_EXPECT_EQ(test, before, -ERANGE);
	KUNIT_EXPECT_EQ(test, beyond, 0);
}

static void e9_poisoned_or_absent_is_refused(struct kunit *test)
{
	struct folio *folio = test_folio(test, 1);
	struct ephmap_session session;
	void *null, *run;
	int zero, copy;

	begin(test, &session);
	null = ephmap_map_page(&session, NULL, EPHMAP_RO);
	ephmap_end(&session);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(null), -EINVAL);

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		return;
	fill(folio_address(folio), 0, 2);
	SetPageHWPoison(folio_page(folio, 1));
	begin(test, &session);
	run = ephmap_map_folio(&session, folio, 0, 2, EPHMAP_RO);
	ephmap_end(&session);
	zero = ephmap_zero_folio(folio);
	copy = ephmap_copy_folio(test_folio(test, 1), folio);
	ClearPageHWPoison(folio_page(folio, 1));

	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(run), -EHWPOISON);
	KUNIT_EXPECT_EQ(test, zero, -EHWPOISON);
	KUNIT_EXPECT_EQ(test, copy, -EHWPOISON);
	KUNIT_EXPECT_EQ(test, wrong_words(folio_address(folio), 0, 2), 0);
}

/* The rest of the P4D table that a private mm copies with 5-level paging. */
static void e10_kernel_half_as_in_init_mm(struct kunit *test)
{
#ifdef CONFIG_X86_64
	unsigned int cpu, i, differ = 0;

	for_each_online_cpu(cpu) {
		struct mm_struct *mm = per_cpu_ptr(&ephmap_cpus, cpu)->mm;

		for (i = 0; i < PTRS_PER_P4D; i++) {
			unsigned long addr = (-1UL << PGDIR_SHIFT) +
					     i * P4D_SIZE;
			p4d_t *own = p4d_offset(pgd_offset(mm, addr), addr);
			p4d_t *init = p4d_offset(pgd_offset_k(addr), addr);

			if (addr >> P4D_SHIFT << P4D_SHIFT != EPHMAP_BASE_ADDR)
				differ += p4d_val(*own) != p4d_val(*init);
		}
	}
	KUNIT_EXPECT_EQ(test, differ, 0);
	kunit_info(test, "levels=%d pti=%d pcid=%d lam=%d",
		   pgtable_l5_enabled() ? 5 : 4,
		   !!cpu_feature_enabled(X86_FEATURE_PTI),
		   !!cpu_feature_enabled(X86_FEATURE_PCID),
		   !!cpu_feature_enabled(X86_FEATURE_LAM));
#endif
}

/* === Folios =============================================================== */

static void copy_and_zero_folios(struct kunit *test)
{
	/* One page, one run, several runs. */
	static const unsigned int orders[] = { 0, 4, 6 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		struct folio *src = test_folio(test, orders[i]);
		struct folio *dst = test_folio(test, orders[i]);
		unsigned long nr = 1UL << orders[i];

		fill(folio_address(src), 7, nr);
		KUNIT_EXPECT_EQ(test, ephmap_copy_folio(dst, src), 0);
		KUNIT_EXPECT_EQ(test, 0,
				wrong_words(folio_address(dst), 7, nr));
		KUNIT_EXPECT_EQ(test, ephmap_zero_folio(src), 0);
		KUNIT_EXPECT_NULL(test, memchr_inv(folio_address(src), 0,
						   nr * PAGE_SIZE));
		/* Only the source. */
		KUNIT_EXPECT_EQ(test, 0,
				wrong_words(folio_address(dst), 7, nr));
	}
}

/* Poisoned no more: it was counted as lost. */
static void count_again(struct folio *folio)
{
#ifdef CONFIG_NO_DIRECT_MAP
	no_direct_map_count_alone(folio, 1);
#endif
}

static unsigned int m20_kept;

static void m20_keep_block_online(unsigned long pfn)
{
	m20_kept++;
}

/* What lost its alias alone: one of three is poisoned before it is freed. */
static void m10_restore(struct kunit *test)
{
	struct folio *folios[3], *poisoned;
	unsigned int i, dirty = 0, present = 0;
	struct ephmap_session session;
	void *p;

	if (!IS_ENABLED(CONFIG_NO_DIRECT_MAP) ||
	    !IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "needs CONFIG_NO_DIRECT_MAP, MEMORY_FAILURE");
	for (i = 0; i < ARRAY_SIZE(folios); i++) {
		folios[i] = test_folio(test, 0);
		fill(folio_address(folios[i]), i, 1);
		KUNIT_ASSERT_EQ(test, 0, folio_zap_direct_map(folios[i]));
		present += folio_has_direct_map(folios[i]);
	}
	KUNIT_EXPECT_EQ(test, present, 0);

	poisoned = folios[1];
	SetPageHWPoison(folio_page(poisoned, 0));
	m20_kept = 0;
	kunit_activate_static_stub(test, keep_block_online,
				   m20_keep_block_online);
	for (i = 0; i < ARRAY_SIZE(folios); i++) {
		folio_restore_direct_map(folios[i]);
		present += folio_has_direct_map(folios[i]);
	}
	ClearPageHWPoison(folio_page(poisoned, 0));
	KUNIT_EXPECT_EQ(test, present, 2);
	KUNIT_EXPECT_EQ(test, m20_kept, 1);
	KUNIT_EXPECT_FALSE(test, folio_has_direct_map(poisoned));

	/* Neither mapped nor touched; then it is poisoned no more. */
	begin(test, &session);
	p = ephmap_map_folio(&session, poisoned, 0, 1, EPHMAP_RO);
	dirty = IS_ERR(p) || wrong_words(p, 1, 1);
	ephmap_end(&session);
	KUNIT_EXPECT_EQ(test, dirty, 0);
	count_again(poisoned);
	folio_restore_direct_map(poisoned);
	for (i = 0; i < ARRAY_SIZE(folios); i++)
		dirty += !!memchr_inv(folio_address(folios[i]), 0, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, dirty, 0);
}

/* Any range of a folio, and nothing beside it; what is read is what is there. */
static void write_folio(struct kunit *test)
{
	static const struct { size_t offset, len; } ranges[] = {
		{ 0, 0 }, { 0, 1 }, { 0, PAGE_SIZE }, { PAGE_SIZE - 1, 2 },
		{ 17, 3 * PAGE_SIZE }, { 63 * PAGE_SIZE + 5, PAGE_SIZE - 5 },
		{ 1, EPHMAP_MAX_PAGES * PAGE_SIZE }, { 0, 64 * PAGE_SIZE },
	};
	struct folio *folio = test_folio(test, 6);
	u8 *addr = folio_address(folio);
	void *buf = kunit_kmalloc(test, 64 * PAGE_SIZE, GFP_KERNEL);
	void *got = kunit_kmalloc(test, 64 * PAGE_SIZE, GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, buf);
	KUNIT_ASSERT_NOT_NULL(test, got);
	get_random_bytes(buf, 64 * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		size_t offset = ranges[i].offset, len = ranges[i].len;

		memset(addr, 0x5a, folio_size(folio));
		KUNIT_EXPECT_EQ(test, 0, ephmap_write_folio(folio, offset, buf,
							    len));
		KUNIT_EXPECT_NULL(test, memchr_inv(addr, 0x5a, offset));
		KUNIT_EXPECT_EQ(test, 0, memcmp(addr + offset, buf, len));
		KUNIT_EXPECT_NULL(test, memchr_inv(addr + offset + len, 0x5a,
						   folio_size(folio) - offset -
						   len));

		memset(got, 0xa5, 64 * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, 0, ephmap_read_folio(folio, offset, got,
							   len));
		KUNIT_EXPECT_EQ(test, 0, memcmp(got, buf, len));
		KUNIT_EXPECT_NULL(test, memchr_inv(got + len, 0xa5,
						   64 * PAGE_SIZE - len));
	}
	KUNIT_EXPECT_EQ(test, -EINVAL,
			ephmap_write_folio(folio, folio_size(folio), buf, 1));
	KUNIT_EXPECT_EQ(test, -EINVAL, ephmap_write_folio(folio, SIZE_MAX, buf,
							  2));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			ephmap_read_folio(folio, folio_size(folio), got, 1));
	KUNIT_EXPECT_EQ(test, -EINVAL, ephmap_read_folio(folio, SIZE_MAX, got,
							 2));
}

#ifdef CONFIG_X86_64
/*
 * Of what is mapped by single pages, at boot. Whether the direct map is global, its
 * alias of a page of the kernel's image says, which nothing has ever changed.
 */
static pteval_t direct_map_flags(void)
{
	unsigned long zeroes = (unsigned long)page_address(ZERO_PAGE(0));
	pteval_t flags = pgprot_val(PAGE_KERNEL) & PTE_FLAGS_MASK;
	unsigned int level;

	return flags & (pte_flags(*lookup_address(zeroes, &level)) | ~_PAGE_GLOBAL);
}

/*
 * A restored alias is as it was: non-global, it would be cached for the PCID
 * that happened to be loaded, and a flush by INVLPG would miss it.
 */
static void m9_restored_alias_is_global(struct kunit *test)
{
	struct folio *folio = test_folio(test, 0);
	unsigned int level;
	pte_t *pte;

	KUNIT_ASSERT_EQ(test, 0, folio_zap_direct_map(folio));
	pte = lookup_address((unsigned long)folio_address(folio), &level);
	KUNIT_EXPECT_FALSE(test, pte_present(*pte));
	KUNIT_EXPECT_EQ(test, level, PG_LEVEL_4K);

	folio_restore_direct_map(folio);
	KUNIT_EXPECT_TRUE(test, pte_present(*pte));
	KUNIT_EXPECT_TRUE(test, pte_write(*pte));
	KUNIT_EXPECT_EQ(test, pte_flags(*pte) & _PAGE_GLOBAL,
			direct_map_flags() & _PAGE_GLOBAL);
}

static pteval_t alias_flags(unsigned long addr)
{
	unsigned int level;
	pteval_t flags = pte_flags(*lookup_address(addr, &level));

	return level == PG_LEVEL_4K ? flags : flags & ~_PAGE_PSE;
}

/*
 * Every flag is, by each pair of calls that removes an alias and gives it back.
 * They are compared with those at boot: the page may have been through this before.
 */
static void m9_restored_alias_is_as_before(struct kunit *test)
{
	const pteval_t boot = direct_map_flags();
	struct folio *folio = test_folio(test, 0);
	unsigned long addr = (unsigned long)folio_address(folio);
	pteval_t before, zapped;

	before = alias_flags(addr);
	KUNIT_ASSERT_EQ(test, 0, folio_zap_direct_map(folio));
	zapped = alias_flags(addr);
	folio_restore_direct_map(folio);
	KUNIT_EXPECT_FALSE(test, zapped & (_PAGE_PRESENT | _PAGE_PROTNONE));
	KUNIT_EXPECT_EQ(test, alias_flags(addr), boot);
	/* What was the kernel image's, and read-only once, may lack this. */
	KUNIT_EXPECT_EQ(test, alias_flags(addr), before | _PAGE_DIRTY);

	/* What is done to a poisoned page, and when it is unpoisoned. */
	KUNIT_ASSERT_EQ(test, 0, set_memory_np(addr, 1));
	zapped = alias_flags(addr);
	KUNIT_EXPECT_EQ(test, 0, set_memory_p(addr, 1));
	KUNIT_EXPECT_FALSE(test, zapped & (_PAGE_PRESENT | _PAGE_PROTNONE));
	KUNIT_EXPECT_EQ(test, alias_flags(addr), boot);
}
#endif

/* How many pages GUP-fast gets of a page of @folio in user memory; or an error. */
static int gup_fast(struct kunit *test, struct folio *folio)
{
	struct page *page = folio_page(folio, folio_nr_pages(folio) - 1), *got;
	struct vm_area_struct *vma;
	unsigned long addr;
	int nr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	if (!addr)
		return -ENOMEM;
	mmap_write_lock(current->mm);
	vma = vma_lookup(current->mm, addr);
	nr = vma ? vm_insert_page(vma, addr, page) : -EFAULT;
	mmap_write_unlock(current->mm);
	if (nr)
		return nr;
	nr = get_user_pages_fast_only(addr, 1, 0, &got);
	if (nr == 1)
		put_page(got);
	vm_munmap(addr, PAGE_SIZE);
	return nr;
}

/* GUP-fast sees no VMA: the folio has to tell it, whatever its order is. */
static void m18_gup_fast_refuses_any_order(struct kunit *test)
{
	struct address_space *mapping;
	unsigned int order;

	mapping = kunit_kzalloc(test, sizeof(*mapping), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mapping);
	address_space_init_once(mapping);

	for (order = 0; order < 4; order++) {
		struct folio *folio = test_folio(test, order);
		int with, without;

		folio->mapping = mapping;
		clear_bit(AS_NO_DIRECT_MAP, &mapping->flags);
		with = gup_fast(test, folio);
		mapping_set_no_direct_map(mapping);
		without = gup_fast(test, folio);
		/* It is freed as a page of no file. */
		folio->mapping = NULL;

		KUNIT_EXPECT_EQ_MSG(test, with, 1, "order %u", order);
		KUNIT_EXPECT_EQ_MSG(test, without, 0, "order %u", order);
	}
}

/*
 * A machine check cannot be had in a test. An exception in the same copy, at a
 * window address, can: the second page of the source goes away when both folios
 * have just been mapped.
 */
static void m12_take_away(void *dst_pfn, unsigned long pfn, unsigned int nr,
			  bool write)
{
	struct ephmap_cpu *cpu = this_cpu_ptr(&ephmap_cpus);

	/* Not in the sessions of others. */
	if (pfn != *(unsigned long *)dst_pfn)
		return;
	pte_clear(cpu->mm, cpu->base + PAGE_SIZE, cpu->ptes + 1);
	arch_ephmap_flush(cpu->base + PAGE_SIZE, 1);
}

static unsigned long m12_reported;

static void m12_report(unsigned long pfn)
{
	m12_reported = pfn;
}

static void m12_exception_in_the_copy(struct kunit *test)
{
	struct folio *src = test_folio(test, 1), *dst = test_folio(test, 1);
	unsigned long dst_pfn = folio_pfn(dst);
	int err;

#ifdef CONFIG_X86_64
	if (!boot_cpu_has(X86_FEATURE_ERMS))
		kunit_skip(test, "copy_mc_to_kernel() is a memcpy() here");
#endif
	if (register_trace_ephmap_map(m12_take_away, &dst_pfn))
		kunit_skip(test, "needs CONFIG_TRACEPOINTS");
	fill(folio_address(src), 0, 2);
	m12_reported = 0;
	kunit_activate_static_stub(test, ephmap_report_poison, m12_report);
	err = ephmap_copy_folio(dst, src);
	unregister_trace_ephmap_map(m12_take_away, &dst_pfn);
	tracepoint_synchronize_unregister();

	KUNIT_EXPECT_EQ(test, err, -EHWPOISON);
	KUNIT_EXPECT_EQ(test, m12_reported, folio_pfn(src) + 1);
	KUNIT_EXPECT_EQ(test, wrong_words(folio_address(dst), 0, 1), 0);
}

static void free_while_mapped_is_loud(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);
	struct ephmap_session session;
	unsigned int warnings = 0;

	if (!IS_ENABLED(CONFIG_EPHMAP_DEBUG)) {
		if (page)
			__free_page(page);
		kunit_skip(test, "needs CONFIG_EPHMAP_DEBUG");
	}
	KUNIT_ASSERT_NOT_NULL(test, page);
	kunit_warning_suppress(test) {
		begin(test, &session);
		ephmap_map_page(&session, page, EPHMAP_RO);
		__free_page(page);
		ephmap_end(&session);
		warnings = KUNIT_SUPPRESSED_WARNING_COUNT();
	}
	KUNIT_EXPECT_EQ(test, warnings, 1);
}

/* === All CPUs at once ===================================================== */

struct hammer {
	struct task_struct *task;
	struct folio *src, *dst;
	unsigned long rounds, errors, stale, flushes_missing;
	bool wander;
};

/* A session that checks itself; preemption may move us before and after. */
static void hammer_once(struct hammer *h)
{
	unsigned int nr = get_random_u32_inclusive(1, EPHMAP_MAX_PAGES / 2);
	struct ephmap_session session;
	unsigned long flushes;
	struct ephmap_cpu *cpu;
	void *from, *to;

	preempt_disable();
	flushes = this_cpu_flushes();
	if (ephmap_begin(&session)) {
		h->errors++;
		preempt_enable();
		return;
	}
	cpu = this_cpu_ptr(&ephmap_cpus);
	from = ephmap_map_folio(&session, h->src, 0, nr, EPHMAP_RO);
	to = ephmap_map_folio(&session, h->dst, 0, nr, EPHMAP_RW);
	if (IS_ERR(from) || IS_ERR(to))
		h->errors++;
	else
		memcpy(to, from, nr * PAGE_SIZE);
	ephmap_end(&session);
	h->stale += mapped_in_window(cpu);
	h->flushes_missing += this_cpu_flushes() - flushes != 2 * nr;
	preempt_enable();

	h->errors += wrong_words(folio_address(h->dst), (unsigned long)h, nr);
	memset(folio_address(h->dst), 0, nr * PAGE_SIZE);
}

static int hammer_fn(void *data)
{
	struct hammer *h = data;

	fill(folio_address(h->src), (unsigned long)h, EPHMAP_MAX_PAGES / 2);
	while (!kthread_should_stop()) {
		hammer_once(h);
		h->rounds++;
		if (h->wander && h->rounds % 16 == 0) {
			unsigned int nr = get_random_u32_below(nr_cpu_ids);

			/* May fail: the CPU may be gone by now. */
			if (cpu_online(nr))
				set_cpus_allowed_ptr(current, cpumask_of(nr));
		}
		cond_resched();
	}
	return 0;
}

static void hammer_stop(void *data)
{
	struct hammer *h = data;

	if (h->task)
		kthread_stop(h->task);
	h->task = NULL;
}

/*
 * All that can fail comes before the first thread starts; what stops a thread
 * is registered after, and so runs before, what frees its folios.
 */
static struct hammer *hammers(struct kunit *test)
{
	struct hammer *h = kunit_kcalloc(test, nr_cpu_ids, sizeof(*h),
					 GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, h);
	for (i = 0; i < nr_cpu_ids; i++) {
		h[i].src = test_folio(test, 4);
		h[i].dst = test_folio(test, 4);
		KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, hammer_stop,
							  h + i));
	}
	return h;
}

static void hammer_start(struct kunit *test, struct hammer *h, int cpu,
			 bool wander)
{
	struct task_struct *task;

	task = kthread_create(hammer_fn, h, "ephmap/%d", cpu);
	if (IS_ERR(task)) {
		KUNIT_FAIL(test, "kthread_create: %ld", PTR_ERR(task));
		return;
	}
	h->task = task;
	h->wander = wander;
	if (!wander)
		kthread_bind(task, cpu);
	wake_up_process(task);
}

static void hammer_check(struct kunit *test, struct hammer *h)
{
	if (!h->task)
		return;
	hammer_stop(h);
	KUNIT_EXPECT_GT(test, h->rounds, 0);
	KUNIT_EXPECT_EQ(test, h->errors, 0);
	KUNIT_EXPECT_EQ(test, h->stale, 0);
	KUNIT_EXPECT_EQ(test, h->flushes_missing, 0);
}

static void all_cpus_at_once(struct kunit *test)
{
	struct hammer *h = hammers(test);
	int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu)
		hammer_start(test, h + cpu, cpu, false);
	cpus_read_unlock();
	msleep(500);
	for (cpu = 0; cpu < nr_cpu_ids; cpu++)
		hammer_check(test, h + cpu);
}

/* A CPU comes back with the window it had, and went with nothing mapped. */
static void hotplug_once(struct kunit *test, unsigned int nr)
{
	struct ephmap_cpu *cpu = per_cpu_ptr(&ephmap_cpus, nr);
	struct mm_struct *mm = cpu->mm;
	int err = remove_cpu(nr);

	KUNIT_EXPECT_EQ(test, err, 0);
	if (err)
		return;
	KUNIT_EXPECT_EQ(test, mapped_in_window(cpu), 0);
	KUNIT_EXPECT_EQ(test, cpu->depth, 0);
	KUNIT_EXPECT_EQ(test, add_cpu(nr), 0);
	KUNIT_EXPECT_PTR_EQ(test, cpu->mm, mm);
}

/*
 * As if the IPI of a reboot came in the middle of a session: nothing is left in
 * the page tables nor in the TLB. This CPU goes on, though: the session ends.
 */
static void e6_stopped_in_a_session(struct kunit *test)
{
	struct folio *folio = test_folio(test, 4);
	struct ephmap_session outer, inner;
	unsigned int before, mapped, after;
	void *first, *second;

	begin(test, &outer);
	first = ephmap_map_folio(&outer, folio, 0, 16, EPHMAP_RO);
	begin(test, &inner);
	second = ephmap_map_folio(&inner, folio, 0, 16, EPHMAP_RO);
	before = readable(first, 16) + readable(second, 16);
	local_irq_disable();
	ephmap_cpu_stop();
	mapped = mapped_in_window(this_cpu_ptr(&ephmap_cpus));
	after = readable(first, 16) + readable(second, 16);
	local_irq_enable();
	ephmap_end(&inner);
	ephmap_end(&outer);

	KUNIT_EXPECT_EQ(test, before, 32);
	KUNIT_EXPECT_EQ(test, mapped, 0);
	KUNIT_EXPECT_EQ(test, after, 0);
}

static void e6_cpu_hotplug_running(struct kunit *test)
{
	unsigned int i, cpu, nr = num_online_cpus();
	struct hammer *h;

	if (!IS_ENABLED(CONFIG_HOTPLUG_CPU) || nr < 2)
		kunit_skip(test, "needs CPU hotplug and two CPUs");

	h = hammers(test);
	for (i = 0; i < nr; i++)
		hammer_start(test, h + i, i, true);
	for (i = 0; i < 5; i++) {
		for_each_online_cpu(cpu)
			if (cpu)
				hotplug_once(test, cpu);
	}
	for (i = 0; i < nr; i++)
		hammer_check(test, h + i);
}

/* === Kexec ================================================================ */

#ifdef CONFIG_KEXEC_CORE
/*
 * No test outlives a jump by kexec. But what wants the kernel's messages is
 * called right before it, when all other CPUs have stopped: nothing is mapped,
 * also where one was stopped in a session.
 */
static void e6_kexec(struct kmsg_dumper *dumper,
		     struct kmsg_dump_detail *detail)
{
	unsigned int sessions = 0, mapped = 0;
	int cpu;

	if (detail->reason != KMSG_DUMP_SHUTDOWN || !kexec_in_progress ||
	    !ephmap_available())
		return;
	for_each_possible_cpu(cpu) {
		struct ephmap_cpu *c = per_cpu_ptr(&ephmap_cpus, cpu);

		if (!c->mm)
			continue;
		sessions += !!c->depth;
		mapped += mapped_in_window(c);
	}
	pr_warn("ephmap: kexec: %u CPUs stopped in a session, %u pages mapped\n",
		sessions, mapped);
	WARN_ON(mapped);
}

static struct kmsg_dumper e6_kexec_dumper = {
	.dump = e6_kexec,
	.max_reason = KMSG_DUMP_SHUTDOWN,
};

/* Whether the other CPUs are to be in a session when they are stopped. */
static bool hold_at_kexec;
module_param(hold_at_kexec, bool, 0444);

static atomic_t e6_held;

/*
 * Until the IPI comes. With pauses, for the one that sends it may have to wait
 * for a task that this one keeps from running.
 */
static int e6_hold_fn(void *unused)
{
	struct ephmap_session session;

	while (!ephmap_begin(&session)) {
		ephmap_map_page(&session, ZERO_PAGE(0), EPHMAP_RO);
		atomic_inc(&e6_held);
		mdelay(500);
		ephmap_end(&session);
		schedule_timeout_uninterruptible(1);
	}
	return 0;
}

static DEFINE_PER_CPU(struct task_struct *, e6_holder);

/*
 * The other CPUs are about to stop, and hardly anything waits for a task on one
 * of them any more. But what makes a thread does: make all before one runs. And
 * a timer may be such a CPU's: do not sleep.
 */
static void e6_hold(void *unused)
{
	unsigned int cpu, ms, nr = 0;
	struct task_struct *task;

	if (!hold_at_kexec || !kexec_in_progress || !ephmap_available())
		return;
	for_each_online_cpu(cpu) {
		if (cpu == task_cpu(current))
			continue;
		task = kthread_create_on_cpu(e6_hold_fn, NULL, cpu,
					     "ephmap-hold/%u");
		if (IS_ERR(task))
			continue;
		sched_set_fifo(task);
		per_cpu(e6_holder, cpu) = task;
		nr++;
	}
	for_each_online_cpu(cpu) {
		if (per_cpu(e6_holder, cpu))
			wake_up_process(per_cpu(e6_holder, cpu));
	}
	for (ms = 0; ms < 10000 && atomic_read(&e6_held) < nr; ms++)
		mdelay(1);
}

static const struct syscore_ops e6_syscore_ops = {
	.shutdown = e6_hold,
};

static struct syscore e6_syscore = {
	.ops = &e6_syscore_ops,
};

static int __init e6_kexec_init(void)
{
	register_syscore(&e6_syscore);
	return kmsg_dump_register(&e6_kexec_dumper);
}
late_initcall(e6_kexec_init);
#endif /* CONFIG_KEXEC_CORE */

/* === Suite ================================================================ */

static int ephmap_test_init(struct kunit *test)
{
	if (!ephmap_available())
		kunit_skip(test, "no ephmap: off on the command line?");
	return 0;
}

/* Whatever a test did, no CPU without a session has anything mapped. */
static void ephmap_test_exit(struct kunit *test)
{
	int cpu;

	if (!ephmap_available())
		return;
	for_each_online_cpu(cpu) {
		struct ephmap_cpu *c = per_cpu_ptr(&ephmap_cpus, cpu);
		unsigned int mapped = mapped_in_window(c);

		if (!READ_ONCE(c->depth))
			KUNIT_EXPECT_EQ(test, mapped, 0);
	}
}

static struct kunit_case ephmap_cases[] = {
	KUNIT_CASE(e1_nothing_mapped_after_end),
	KUNIT_CASE(e1_tlb_holds_nothing),
	KUNIT_CASE(e1_addresses_fault_after_end),
	KUNIT_CASE(e2_protections),
	KUNIT_CASE(e3_no_page_allocation_no_failure),
	KUNIT_CASE(e3_private_mm_has_no_percpu_memory),
	KUNIT_CASE(e4_unreachable_from_others),
	KUNIT_CASE(e6_stopped_in_a_session),
	KUNIT_CASE_SLOW(e6_cpu_hotplug_running),
	KUNIT_CASE(e7_nesting_is_lifo_to_the_limit),
	KUNIT_CASE(e7_one_page_too_many_is_refused),
	KUNIT_CASE(e7_only_the_innermost_maps),
	KUNIT_CASE(e7_only_the_innermost_ends),
	KUNIT_CASE(e7_irq_and_nmi_are_refused),
	KUNIT_CASE(e8_interrupt_inside_a_session),
	KUNIT_CASE(e8_softirq_waits_for_the_end),
	KUNIT_CASE(e8_softirqs_stay_off),
	KUNIT_CASE(e8_no_user_reads_through_the_private_mm),
	KUNIT_CASE(e8_no_probe_reads_the_window),
	KUNIT_CASE(e9_poisoned_or_absent_is_refused),
	KUNIT_CASE(e10_kernel_half_as_in_init_mm),
	KUNIT_CASE(copy_and_zero_folios),
	KUNIT_CASE(write_folio),
#ifdef CONFIG_X86_64
	KUNIT_CASE(m9_restored_alias_is_global),
	KUNIT_CASE(m9_restored_alias_is_as_before),
#endif
	KUNIT_CASE(m10_restore),
	KUNIT_CASE(m18_gup_fast_refuses_any_order),
	KUNIT_CASE(m12_exception_in_the_copy),
	KUNIT_CASE(free_while_mapped_is_loud),
	KUNIT_CASE(all_cpus_at_once),
	{}
};

static struct kunit_suite ephmap_suite = {
	.name = "ephmap",
	.init = ephmap_test_init,
	.exit = ephmap_test_exit,
	.test_cases = ephmap_cases,
};

kunit_test_suites(&ephmap_suite);

MODULE_DESCRIPTION("KUnit tests of the ephmap");
MODULE_LICENSE("GPL");
