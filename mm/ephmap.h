/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ephemeral map (ephmap): private to mm/ephmap.c and its KUnit suite.
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

struct mm_struct;

/**
 * struct ephmap_cpu - one CPU's window and the sessions open on it
 * @mm:      The private mm; allocated before the CPU first comes up, kept for
 *           good. Only its CPU ever loads it.
 * @ptes:    The window's page table in @mm; the first EPHMAP_MAX_PAGES entries
 *           are used.
 * @base:    Address of the window.
 * @prev_mm: What was loaded before the outermost session, while there is one,
 *           else NULL.
 * @used:    Pages mapped; entries at and above it are none.
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
 * Map @nr pages from @pfn on in the innermost session, above what is used. There is
 * room for them, and they are none of them poisoned.
 */
static inline void *__ephmap_map(struct ephmap_cpu *cpu, unsigned long pfn,
				 unsigned int nr, enum ephmap_prot prot)
{
	unsigned int used = cpu->used;

	/* From none to present: no CPU caches a none entry, nothing to flush. */
	arch_ephmap_set_ptes(cpu->ptes + used, pfn, nr, prot == EPHMAP_RW);
	ephmap_note_pfns(cpu, pfn, nr);
	WRITE_ONCE(cpu->used, used + nr);
	__count_vm_events(EPHMAP_PAGES, nr);
	trace_ephmap_map(pfn, nr, prot == EPHMAP_RW);
	/* The compiler does not know that the table says what the address is. */
	barrier();
	return (void *)(cpu->base + used * PAGE_SIZE);
}

static inline void ephmap_clear_ptes(struct ephmap_cpu *cpu, unsigned int first,
				     unsigned int nr)
{
	unsigned int i;

	/* All that is done to the pages is done by now. */
	barrier();
	for (i = first; i < first + nr; i++)
		pte_clear(cpu->mm, cpu->base + i * PAGE_SIZE, cpu->ptes + i);
}

#if IS_ENABLED(CONFIG_KUNIT)
void ephmap_report_poison(unsigned long pfn);
#endif

#endif /* _MM_EPHMAP_H */
