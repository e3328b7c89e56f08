/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ephemeral map (ephmap): private to mm/ephmap.c and its KUnit suites, and what
 * mm/asi_copy.c needs of the local scope.
 */
#ifndef _MM_EPHMAP_H
#define _MM_EPHMAP_H

#include <linux/bottom_half.h>
#include <linux/ephmap.h>
#include <linux/interrupt.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/preempt.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

#include <asm/ephmap.h>

#include <trace/events/ephmap.h>

struct cpumask;
struct mm_struct;

/**
 * struct ephmap_cpu - one CPU's window and the sessions open on it
 * @mm:      The private mm; allocated before the CPU first comes up, kept for
 *           good. Only its CPU ever loads it.
 * @ptes:    The window's page table in @mm; the first EPHMAP_MAX_PAGES entries
 *           are used.
 * @base:    Address of the window; the same in every scope.
 * @self:    cpumask_of() the CPU.
 * @local:   The window's page table in the mm that had the last local session on
 *           this CPU; it may be freed by now.
 * @local_id: What tells that mm from all others, also from later ones; 0: none.
 * @prev_mm: What was loaded before the outermost private session, while there
 *           is one, else NULL.
 * @used:    Pages mapped; entries at and above it are none in either table.
 * @depth:   Sessions open.
 * @pfns:    What is mapped, for the check of pages that are freed.
 *
 * Only the owning CPU writes it, in task context with preemption off; others
 * may look (the KUnit suite, the free check) and see a moment's state.
 */
struct ephmap_cpu {
	struct mm_struct *mm;
	pte_t *ptes;
	unsigned long base;
	const struct cpumask *self;
	pte_t *local;
	u64 local_id;
	struct mm_struct *prev_mm;
	unsigned int used;
	unsigned int depth;
#ifdef CONFIG_EPHMAP_DEBUG
	unsigned long pfns[EPHMAP_MAX_PAGES];
#endif
};

DECLARE_PER_CPU(struct ephmap_cpu, ephmap_cpus);

/*
 * Stay on this CPU and keep softirqs off it, from begin to end of a session. An
 * interrupt that arrives in between would otherwise run softirqs on its way out,
 * for up to 2 ms, with the pages mapped and another mm loaded than they expect.
 * It is one addition to preempt_count, which turns off preemption as well.
 *
 * On PREEMPT_RT softirqs run in threads only: preemption is what has to be off.
 * There local_bh_disable() does not do that, and may sleep.
 */
static __always_inline void ephmap_pin(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
	else
		local_bh_disable();
}

/*
 * Run the softirqs that are pending, unless they were off before: with interrupts
 * on, as local_bh_enable(). It is that, without the call and its checks: some
 * callers count each instruction.
 */
static __always_inline void ephmap_unpin(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		preempt_enable();
	} else if (IS_ENABLED(CONFIG_TRACE_IRQFLAGS)) {
		local_bh_enable();
	} else {
		/* As there: first off, then look, and preemption off meanwhile. */
		barrier();
		__preempt_count_sub(SOFTIRQ_DISABLE_OFFSET - 1);
		if (unlikely(local_softirq_pending()))
			do_softirq();
		preempt_count_dec();
		preempt_check_resched();
	}
}

/* For __ephmap_check_free(). */
static inline void ephmap_note_pfns(struct ephmap_cpu *cpu, unsigned long pfn,
				    unsigned int nr)
{
#ifdef CONFIG_EPHMAP_DEBUG
	unsigned int i;

	for (i = 0; i < nr; i++)
		WRITE_ONCE(cpu->pfns[cpu->used + i], pfn + i);
#endif
}

/*
 * Map @nr pages from @pfn on in the innermost session, whose page table @ptes is,
 * above the @used ones. There is room for them, and they are none of them
 * poisoned.
 */
static __always_inline void *__ephmap_map(struct ephmap_cpu *cpu, pte_t *ptes,
					  unsigned int used, unsigned long pfn,
					  unsigned int nr,
					  enum ephmap_prot prot)
{
	/* From none to present: no CPU caches a none entry, nothing to flush. */
	arch_ephmap_set_ptes(ptes + used, pfn, nr, prot == EPHMAP_RW);
	ephmap_note_pfns(cpu, pfn, nr);
	WRITE_ONCE(cpu->used, used + nr);
	__count_vm_events(EPHMAP_PAGES, nr);
	trace_ephmap_map(pfn, nr, prot == EPHMAP_RW);
	/* The compiler does not know that the table says what the address is. */
	barrier();
	return (void *)(cpu->base + used * PAGE_SIZE);
}

static __always_inline void ephmap_clear_ptes(struct ephmap_cpu *cpu,
					      pte_t *ptes, unsigned int first,
					      unsigned int nr)
{
	unsigned int i;

	/* All that is done to the pages is done by now. */
	barrier();
	for (i = first; i < first + nr; i++)
		pte_clear(cpu->mm, cpu->base + i * PAGE_SIZE, ptes + i);
}

#ifdef CONFIG_EPHMAP_LOCAL

#include <asm/ephmap_local.h>

/**
 * struct ephmap_local - a session of the local scope that is the only one
 * @cpu:   Its CPU's window.
 * @space: What arch_ephmap_space() said at the beginning.
 * @nr:    Pages mapped.
 */
struct ephmap_local {
	struct ephmap_cpu *cpu;
	unsigned long space;
	unsigned int nr;
};

bool ephmap_local_prepare(void);

/**
 * ephmap_local_begin() - open a session of the local scope
 * @session: The caller's; filled in.
 *
 * ephmap_begin(EPHMAP_LOCAL) for paths where each instruction counts: to be
 * inlined, with a number of pages that the compiler knows if possible. It does
 * not nest, and is for restricted address spaces only.
 *
 * Context: Task context with interrupts on. Returns with preemption, softirqs
 *          and page faults disabled when it returns true, else without effect.
 * Return: whether the session is open. If not, ephmap_local_prepare() may help.
 */
static __always_inline bool ephmap_local_begin(struct ephmap_local *session)
{
	struct mm_struct *mm = current->mm;
	struct ephmap_cpu *cpu;

	ephmap_pin();
	pagefault_disable();
	cpu = this_cpu_ptr(&ephmap_cpus);
	if (unlikely(!arch_ephmap_is_restricted() || cpu->depth || !mm ||
		     cpu->local_id != arch_ephmap_mm_id(mm))) {
		pagefault_enable();
		ephmap_unpin();
		return false;
	}
	cpu->depth = 1;
	session->cpu = cpu;
	session->space = arch_ephmap_space();
	session->nr = 0;
	__count_vm_event(EPHMAP_SESSIONS);
	return true;
}

/**
 * ephmap_local_map() - map a run of pages
 * @session: The session; it has room for them: EPHMAP_MAX_PAGES in all.
 * @page: The first page; the caller holds a reference, or it has just been
 *        allocated. No page is poisoned.
 * @nr: Number of pages; they are one piece of memory.
 * @prot: What the mapping allows.
 *
 * Context: Inside the session.
 * Return: the address of the first page: what is mapped next follows the last.
 */
static __always_inline void *ephmap_local_map(struct ephmap_local *session,
					      struct page *page,
					      unsigned int nr,
					      enum ephmap_prot prot)
{
	unsigned int used = session->nr;

	VM_WARN_ON_ONCE(nr > EPHMAP_MAX_PAGES - used);
	session->nr = used + nr;
	return __ephmap_map(session->cpu, session->cpu->local, used,
			    page_to_pfn(page), nr, prot);
}

/**
 * ephmap_local_end() - unmap and flush all pages
 * @session: The session.
 *
 * As ephmap_end() does it in the local scope.
 *
 * Context: Inside the session, interrupts on; returns with preemption, softirqs
 *          and page faults as they were before ephmap_local_begin().
 */
static __always_inline void ephmap_local_end(struct ephmap_local *session)
{
	struct ephmap_cpu *cpu = session->cpu;

	ephmap_clear_ptes(cpu, cpu->local, 0, session->nr);
	arch_ephmap_flush_local(current->mm, cpu->self, cpu->base, session->nr,
				session->space);
	WRITE_ONCE(cpu->used, 0);
	cpu->depth = 0;
	__count_vm_events(EPHMAP_FLUSHES, session->nr);
	trace_ephmap_unmap(session->nr);
	pagefault_enable();
	ephmap_unpin();
}
#endif /* CONFIG_EPHMAP_LOCAL */

#if IS_ENABLED(CONFIG_KUNIT)
void ephmap_report_poison(unsigned long pfn);
#endif

#endif /* _MM_EPHMAP_H */
