// SPDX-License-Identifier: GPL-2.0
/*
 * Ephemeral map (ephmap): map a few pages that have no direct-map alias, on
 * one CPU, for the duration of one copy, in page tables nobody else reaches.
 * For more info see Documentation/mm/ephmap.rst.
 *
 * Invariants:
 *
 * - A window entry at or above ephmap_cpu::used is none, and its CPU's TLB
 *   holds no translation for it. Sessions nest LIFO, so that the pages of the
 *   innermost one are always the topmost.
 * - The private mm is loaded on its CPU exactly while a session is open, and on
 *   no other CPU ever.
 * - From begin to end preemption, softirqs and page faults are off. Nothing is
 *   allocated and nothing sleeps. What runs in between on this CPU is the
 *   caller, hard interrupts and NMIs, none of which opens a session: softirqs
 *   that an interrupt raises run when the outermost session has ended, with
 *   nothing mapped and the previous mm loaded.
 */
#define pr_fmt(fmt) "ephmap: " fmt

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/cpuhotplug.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/kstrtox.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mmdebug.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>

/* With tracepoints of their own. */
#include <asm/ephmap.h>

#define CREATE_TRACE_POINTS
#include "ephmap.h"

/* === Data ================================================================= */

DEFINE_STATIC_KEY_FALSE(ephmap_key);
EXPORT_SYMBOL_FOR_MODULES(ephmap_key, "kvm");

DEFINE_PER_CPU(struct ephmap_cpu, ephmap_cpus);

static bool ephmap_wanted __initdata = true;

/* === Sessions ============================================================= */

/*
 * Neither an interrupt handler nor an NMI may open a session: it could find
 * the window between two steps of the task it interrupted. With interrupts off
 * the time a session takes would add to their latency.
 */
static bool ephmap_context_ok(void)
{
	return in_task() && !irqs_disabled();
}

static int ephmap_enter(struct ephmap_session *session)
{
	struct ephmap_cpu *cpu = this_cpu_ptr(&ephmap_cpus);

	if (unlikely(cpu->depth == EPHMAP_MAX_DEPTH)) {
		VM_WARN_ONCE(1, "more than %d nested sessions\n",
			     EPHMAP_MAX_DEPTH);
		return -EBUSY;
	}
	session->entered = !cpu->prev_mm;
	if (session->entered)
		cpu->prev_mm = arch_ephmap_enter(cpu->mm);
	session->depth = ++cpu->depth;
	session->first = cpu->used;
	__count_vm_event(EPHMAP_SESSIONS);
	return 0;
}

/**
 * ephmap_begin() - open a session on this CPU's window
 * @session: The caller's, on its stack; filled in.
 *
 * Until ephmap_end() the caller stays on this CPU and must not sleep, and no
 * softirq runs on it. User addresses do not work. Sessions nest up to
 * EPHMAP_MAX_DEPTH and end in the reverse order.
 *
 * Context: Task context with interrupts on. Returns with preemption, softirqs
 *          and page faults disabled when it returns 0, else without effect.
 * Return:
 * * 0 - the session is open; it cannot fail for another reason than these:
 * * -EOPNOTSUPP - there is no ephmap (see ephmap_available()).
 * * -EPERM - called from an interrupt, an NMI, or with interrupts off.
 * * -EBUSY - EPHMAP_MAX_DEPTH sessions are open already.
 */
int ephmap_begin(struct ephmap_session *session)
{
	int err;

	if (!ephmap_available())
		return -EOPNOTSUPP;
	if (!ephmap_context_ok()) {
		VM_WARN_ONCE(1, "session outside of task context\n");
		return -EPERM;
	}
	ephmap_pin();
	pagefault_disable();
	err = ephmap_enter(session);
	if (unlikely(err)) {
		pagefault_enable();
		ephmap_unpin();
	}
	return err;
}

static int ephmap_check_pages(struct page *page, unsigned int nr)
{
	unsigned int i;

	if (!page || !pfn_to_online_page(page_to_pfn(page)))
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		if (PageHWPoison(page + i))
			return -EHWPOISON;
	}
	return 0;
}

static void *ephmap_map(struct ephmap_session *session, struct page *page,
			unsigned int nr, enum ephmap_prot prot)
{
	struct ephmap_cpu *cpu = this_cpu_ptr(&ephmap_cpus);
	int err;

	if (session->depth != cpu->depth) {
		VM_WARN_ONCE(1, "mapping in a session that is not the innermost\n");
		return ERR_PTR(-EINVAL);
	}
	if (nr > EPHMAP_MAX_PAGES - cpu->used) {
		VM_WARN_ONCE(1, "more than %d pages\n", EPHMAP_MAX_PAGES);
		return ERR_PTR(-ENOSPC);
	}
	err = ephmap_check_pages(page, nr);
	if (err)
		return ERR_PTR(err);
	return __ephmap_map(cpu, page_to_pfn(page), nr, prot);
}

/**
 * ephmap_map_page() - map a page in the innermost session
 * @session: The session.
 * @page: The page; it may or may not have a direct-map alias.
 * @prot: What the mapping allows.
 *
 * The mapping ends with the session. The caller holds a reference to the page
 * for that long.
 *
 * Context: Inside the session.
 * Return: the page's address in the window, or:
 *
 * * ERR_PTR(-EINVAL) - no such page, or @session is not the innermost.
 * * ERR_PTR(-EHWPOISON) - the page is poisoned.
 * * ERR_PTR(-ENOSPC) - EPHMAP_MAX_PAGES are mapped already.
 */
void *ephmap_map_page(struct ephmap_session *session, struct page *page,
		      enum ephmap_prot prot)
{
	return ephmap_map(session, page, 1, prot);
}

/**
 * ephmap_map_folio() - map a run of a folio's pages as one range
 * @session: The session.
 * @folio: The folio.
 * @first: Index of the first page in the folio.
 * @nr: Number of pages.
 * @prot: What the mapping allows.
 *
 * Like ephmap_map_page() for each page, all or none, at consecutive addresses.
 *
 * Context: Inside the session.
 * Return: the address of the first page in the window, or an error as from
 * ephmap_map_page(); also ERR_PTR(-EINVAL) for pages outside of the folio.
 */
void *ephmap_map_folio(struct ephmap_session *session, struct folio *folio,
		       unsigned long first, unsigned int nr,
		       enum ephmap_prot prot)
{
	const unsigned long nr_pages = folio_nr_pages(folio);

	if (!nr || nr > nr_pages || first > nr_pages - nr)
		return ERR_PTR(-EINVAL);
	return ephmap_map(session, folio_page(folio, first), nr, prot);
}

/*
 * Flush what has just been unmapped; the outermost session also returns to the mm
 * that was loaded before.
 */
static unsigned int ephmap_flush(struct ephmap_session *session,
				 struct ephmap_cpu *cpu, unsigned long addr,
				 unsigned int nr)
{
	struct mm_struct *prev_mm = cpu->prev_mm;

	if (!session->entered)
		return arch_ephmap_flush(addr, nr);
	cpu->prev_mm = NULL;
	return arch_ephmap_leave(prev_mm, addr, nr);
}

/**
 * ephmap_end() - close a session: unmap and flush all of its pages
 * @session: The innermost session of this CPU.
 *
 * Every page is flushed on this CPU, before or with the return to the previous
 * mm. No other CPU can have the translation, so no IPI is sent.
 *
 * Softirqs that were raised meanwhile run at the end of the outermost session,
 * unless the caller had them disabled before.
 *
 * Context: Inside the session, interrupts on; returns with preemption, softirqs
 *          and page faults as they were before ephmap_begin().
 */
void ephmap_end(struct ephmap_session *session)
{
	struct ephmap_cpu *cpu = this_cpu_ptr(&ephmap_cpus);
	unsigned int first = session->first, nr = cpu->used - first;
	unsigned long addr = cpu->base + first * PAGE_SIZE;
	unsigned int flushed;

	/* Nothing good can be done: leave the others' pages mapped. */
	if (unlikely(session->depth != cpu->depth)) {
		VM_WARN_ONCE(1, "sessions must end in reverse order\n");
		return;
	}

	ephmap_clear_ptes(cpu, first, nr);
	flushed = ephmap_flush(session, cpu, addr, nr);
	WRITE_ONCE(cpu->used, first);
	cpu->depth--;

	__count_vm_events(EPHMAP_FLUSHES, flushed);
	trace_ephmap_unmap(nr);
	pagefault_enable();
	ephmap_unpin();
}

/* === Folios =============================================================== */

/* The KUnit suite has something else done than to lose a page for good. */
VISIBLE_IF_KUNIT void ephmap_report_poison(unsigned long pfn)
{
	KUNIT_STATIC_STUB_REDIRECT(ephmap_report_poison, pfn);
	memory_failure_queue(pfn, 0);
}

/**
 * ephmap_copy_pages() - copy a run of a folio's pages in an open session
 * @session: The session, with room for twice @nr pages.
 * @dst: Where to.
 * @src: Where from.
 * @first: Index of the first page in both folios.
 * @nr: Number of pages.
 *
 * Like ephmap_copy_folio(), for the caller that copies several folios in one
 * session: to enter and leave the private mm is most of what a session costs.
 *
 * Context: Inside the session.
 * Return: 0, -EHWPOISON for a page that is or proves to be poisoned, or an error
 * of ephmap_map_folio().
 */
int ephmap_copy_pages(struct ephmap_session *session, struct folio *dst,
		      struct folio *src, unsigned long first, unsigned int nr)
{
	unsigned long left;
	void *from, *to;

	from = ephmap_map_folio(session, src, first, nr, EPHMAP_RO);
	if (IS_ERR(from))
		return PTR_ERR(from);
	to = ephmap_map_folio(session, dst, first, nr, EPHMAP_RW);
	if (IS_ERR(to))
		return PTR_ERR(to);

	left = copy_mc_to_kernel(to, from, nr * PAGE_SIZE);
	if (!left)
		return 0;
	ephmap_report_poison(folio_pfn(src) + first + nr -
			     DIV_ROUND_UP(left, PAGE_SIZE));
	return -EHWPOISON;
}

/**
 * ephmap_copy_folio() - copy a folio through the ephmap, machine-check safe
 * @dst: Where to; as many pages as @src.
 * @src: Where from.
 *
 * Neither folio needs a direct-map alias. A machine check while reading @src is
 * recovered from where the CPU can, and reported to memory_failure(); @dst then
 * holds the part before it.
 *
 * Context: Task context, may sleep between runs of pages; the caller holds both
 *          folios' locks or is otherwise alone with them.
 * Return: 0, -EHWPOISON for a page that is or proves to be poisoned, or an error
 * of ephmap_begin().
 */
int ephmap_copy_folio(struct folio *dst, struct folio *src)
{
	const unsigned int max = EPHMAP_MAX_PAGES / 2;
	unsigned long i, nr_pages = folio_nr_pages(src);
	struct ephmap_session session;
	int err;

	VM_WARN_ON_ONCE_FOLIO(folio_nr_pages(dst) != nr_pages, dst);

	for (i = 0; i < nr_pages; i += max) {
		if (i)
			cond_resched();
		err = ephmap_begin(&session);
		if (err)
			return err;
		err = ephmap_copy_pages(&session, dst, src, i,
					min(nr_pages - i, max));
		ephmap_end(&session);
		if (err)
			return err;
	}
	return 0;
}

/**
 * ephmap_zero_folio() - zero a folio through the ephmap
 * @folio: The folio; it needs no direct-map alias.
 *
 * Context: Task context, may sleep between runs of pages.
 * Return: 0, -EHWPOISON when a page is poisoned (it is not touched; pages before
 * its run may be zero), or an error of ephmap_begin().
 */
int ephmap_zero_folio(struct folio *folio)
{
	unsigned long i, nr_pages = folio_nr_pages(folio);
	struct ephmap_session session;
	int err;

	for (i = 0; i < nr_pages; i += EPHMAP_MAX_PAGES) {
		unsigned int nr = min(nr_pages - i, EPHMAP_MAX_PAGES);
		void *addr;

		if (i)
			cond_resched();
		err = ephmap_begin(&session);
		if (err)
			return err;
		addr = ephmap_map_folio(&session, folio, i, nr, EPHMAP_RW);
		if (IS_ERR(addr))
			err = PTR_ERR(addr);
		else
			clear_pages(addr, nr);
		ephmap_end(&session);
		if (err)
			return err;
	}
	return 0;
}

/* Inlined into both callers, neither of which has a branch on @write. */
static __always_inline int ephmap_access_folio(struct folio *folio,
					       size_t offset, void *buf,
					       size_t len, bool write)
{
	struct ephmap_session session;
	unsigned long left;
	int err;

	if (offset > folio_size(folio) || len > folio_size(folio) - offset)
		return -EINVAL;

	while (len) {
		size_t start = offset_in_page(offset);
		size_t run = min(len, EPHMAP_MAX_PAGES * PAGE_SIZE - start);
		void *addr;

		err = ephmap_begin(&session);
		if (err)
			return err;
		addr = ephmap_map_folio(&session, folio, offset >> PAGE_SHIFT,
					PFN_UP(start + run),
					write ? EPHMAP_RW : EPHMAP_RO);
		if (IS_ERR(addr)) {
			err = PTR_ERR(addr);
		} else if (write) {
			memcpy(addr + start, buf, run);
		} else {
			left = copy_mc_to_kernel(buf, addr + start, run);
			if (left) {
				ephmap_report_poison(folio_pfn(folio) +
					((offset + run - left) >> PAGE_SHIFT));
				err = -EHWPOISON;
			}
		}
		ephmap_end(&session);
		if (err)
			return err;

		offset += run;
		buf += run;
		len -= run;
		if (len)
			cond_resched();
	}
	return 0;
}

/**
 * ephmap_write_folio() - write to a folio through the ephmap
 * @folio: The folio; it needs no direct-map alias.
 * @offset: Where in the folio, in bytes.
 * @from: What to write; kernel memory, mapped in every mm.
 * @len: How much, in bytes; it ends within the folio.
 *
 * Context: Task context, may sleep between runs of pages.
 * Return: 0, -EINVAL when the range is not within the folio, -EHWPOISON for a
 * poisoned page (what precedes its run may be written), or an error of
 * ephmap_begin().
 */
int ephmap_write_folio(struct folio *folio, size_t offset, const void *from,
		       size_t len)
{
	return ephmap_access_folio(folio, offset, (void *)from, len, true);
}
EXPORT_SYMBOL_FOR_MODULES(ephmap_write_folio, "kvm");

/**
 * ephmap_read_folio() - read from a folio through the ephmap, machine-check safe
 * @folio: The folio; it needs no direct-map alias.
 * @offset: Where in the folio, in bytes.
 * @to: Where to; kernel memory, mapped in every mm.
 * @len: How much, in bytes; it ends within the folio.
 *
 * A machine check is recovered from as in ephmap_copy_folio().
 *
 * Context: Task context, may sleep between runs of pages.
 * Return: 0, -EINVAL when the range is not within the folio, -EHWPOISON for a
 * page that is or proves to be poisoned (what precedes it may be read), or an
 * error of ephmap_begin().
 */
int ephmap_read_folio(struct folio *folio, size_t offset, void *to, size_t len)
{
	return ephmap_access_folio(folio, offset, to, len, false);
}
EXPORT_SYMBOL_FOR_MODULES(ephmap_read_folio, "kvm");

/**
 * ephmap_call() - call a function in a session, with one page mapped
 * @page: The page; it needs no direct-map alias.
 * @offset: Where in the page, in bytes.
 * @fn: Gets the address of that in the window, and @arg.
 * @arg: For @fn.
 *
 * For accesses that are no plain copy, such as several stores in order.
 *
 * Context: Task context; the caller holds a reference to @page. @fn is called
 *          inside the session.
 * Return: 0 if @fn was called, -EHWPOISON for a poisoned page, or an error of
 * ephmap_begin().
 */
int ephmap_call(struct page *page, size_t offset,
		void (*fn)(void *addr, void *arg), void *arg)
{
	struct ephmap_session session;
	void *addr;
	int err;

	err = ephmap_begin(&session);
	if (err)
		return err;
	addr = ephmap_map_page(&session, page, EPHMAP_RW);
	if (IS_ERR(addr))
		err = PTR_ERR(addr);
	else
		fn(addr + offset, arg);
	ephmap_end(&session);
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(ephmap_call, "kvm");

/* === Debugging ============================================================ */

#ifdef CONFIG_EPHMAP_DEBUG
static bool ephmap_maps_pfn(struct ephmap_cpu *cpu, unsigned long start,
			    unsigned long end)
{
	unsigned int i, used = READ_ONCE(cpu->used);

	for (i = 0; i < used; i++) {
		unsigned long pfn = READ_ONCE(cpu->pfns[i]);

		if (pfn >= start && pfn < end)
			return true;
	}
	return false;
}

void __ephmap_check_free(struct page *page, unsigned int order)
{
	unsigned long pfn = page_to_pfn(page);
	int cpu;

	for_each_online_cpu(cpu)
		VM_WARN_ONCE(ephmap_maps_pfn(per_cpu_ptr(&ephmap_cpus, cpu),
					     pfn, pfn + (1UL << order)),
			     "freeing pfn %#lx, which CPU %d still maps\n",
			     pfn, cpu);
}
#endif

/* === CPU hotplug and boot ================================================= */

/*
 * Before a CPU first comes up: make its private mm, so that no session ever has
 * to allocate. It is kept when the CPU goes down, for when it returns.
 */
static int ephmap_cpu_prepare(unsigned int nr)
{
	struct ephmap_cpu *cpu = per_cpu_ptr(&ephmap_cpus, nr);
	struct mem_cgroup *memcg;

	if (cpu->mm)
		return 0;
	/* Not on the bill of whoever happens to bring the CPU up. */
	memcg = set_active_memcg(root_mem_cgroup);
	cpu->mm = arch_ephmap_create_mm(nr, &cpu->ptes);
	set_active_memcg(memcg);
	if (!cpu->mm)
		return -ENOMEM;
	cpu->base = arch_ephmap_base(nr);
	return 0;
}

/*
 * A CPU is gone: the stopper took it down between two tasks, so no session can
 * be open. Make sure all the same that nothing stays mapped.
 */
static int ephmap_cpu_dead(unsigned int nr)
{
	struct ephmap_cpu *cpu = per_cpu_ptr(&ephmap_cpus, nr);
	unsigned int i;

	WARN_ON_ONCE(cpu->depth || cpu->used);
	for (i = 0; i < EPHMAP_MAX_PAGES; i++) {
		if (WARN_ON_ONCE(!pte_none(ptep_get(cpu->ptes + i))))
			pte_clear(cpu->mm, cpu->base + i * PAGE_SIZE,
				  cpu->ptes + i);
	}
	return 0;
}

/**
 * ephmap_cpu_stop() - hook of the architecture: this CPU stops for good
 *
 * What stops a CPU for a reboot or for kexec is an interrupt, or an NMI: it may
 * have interrupted a session, which then never ends. Unmap and flush the whole
 * window: the session may have set entries that it has not counted yet.
 *
 * Context: Any, interrupts off. The CPU does not return to what it ran.
 */
void ephmap_cpu_stop(void)
{
	struct ephmap_cpu *cpu = this_cpu_ptr(&ephmap_cpus);
	unsigned int i;

	if (!ephmap_available())
		return;
	for (i = 0; i < EPHMAP_MAX_PAGES; i++)
		pte_clear(cpu->mm, cpu->base + i * PAGE_SIZE, cpu->ptes + i);
	arch_ephmap_flush(cpu->base, EPHMAP_MAX_PAGES);
}

static int __init ephmap_setup(char *str)
{
	return kstrtobool(str, &ephmap_wanted);
}
early_param("ephmap", ephmap_setup);

static int __init ephmap_init(void)
{
	int err;

	if (!ephmap_wanted || !arch_ephmap_supported()) {
		pr_info("off\n");
		return 0;
	}
	err = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "mm/ephmap:prepare",
				ephmap_cpu_prepare, ephmap_cpu_dead);
	if (err < 0) {
		pr_err("off: no memory for the windows (%d)\n", err);
		return err;
	}
	static_branch_enable(&ephmap_key);
	pr_info("%d pages a CPU at %#lx\n", EPHMAP_MAX_PAGES,
		arch_ephmap_base(0));
	return 0;
}
subsys_initcall(ephmap_init);
