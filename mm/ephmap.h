/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ephemeral map (ephmap): private to mm/ephmap.c and its KUnit suite.
 */
#ifndef _MM_EPHMAP_H
#define _MM_EPHMAP_H

#include <linux/ephmap.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>

struct mm_struct;

/**
 * struct ephmap_cpu - one CPU's window and the sessions open on it
 * @mm:      The private mm; allocated before the CPU first comes up, kept for
 *           good. Only its CPU ever loads it.
 * @ptes:    The window's page table in @mm; the first EPHMAP_MAX_PAGES entries
 *           are used.
 * @base:    Address of the window; the same in every scope.
 * @local:   The window's page table in current->mm, while a session of the local
 *           scope is open, else NULL.
 * @last:    The window's page table in the mm that had the last local session on
 *           this CPU; it may be freed by now.
 * @last_id: What tells that mm from all others, also from later ones.
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
	pte_t *local;
	pte_t *last;
	u64 last_id;
	struct mm_struct *prev_mm;
	unsigned int used;
	unsigned int depth;
#ifdef CONFIG_EPHMAP_DEBUG
	unsigned long pfns[EPHMAP_MAX_PAGES];
#endif
};

DECLARE_PER_CPU(struct ephmap_cpu, ephmap_cpus);

#if IS_ENABLED(CONFIG_KUNIT)
void ephmap_report_poison(unsigned long pfn);
#endif

#endif /* _MM_EPHMAP_H */
