/* SPDX-License-Identifier: GPL-2.0 */
/* What the KUnit suites of the ephmap's scopes share. */
#ifndef _EPHMAP_KUNIT_H
#define _EPHMAP_KUNIT_H

#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/pgtable.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

#ifdef CONFIG_X86_64
#include <asm/tlbflush.h>
#endif

#include "../ephmap.h"

/* The leaf entry for @addr in @pgd; none when any level is absent. */
static inline pte_t walk(pgd_t *pgd, unsigned long addr)
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

static inline unsigned long this_cpu_flushes(void)
{
	return this_cpu_read(vm_event_states.event[EPHMAP_FLUSHES]);
}

/*
 * Accesses that may fault. Not copy_from_kernel_nofault(), which refuses the
 * window's addresses whether they are mapped or not.
 */
static inline long try_read(unsigned long *word, void *addr)
{
	pagefault_disable();
	__get_kernel_nofault(word, addr, unsigned long, fault);
	pagefault_enable();
	return 0;
fault:
	pagefault_enable();
	return -EFAULT;
}

static inline long try_write(void *addr, unsigned long word)
{
	pagefault_disable();
	__put_kernel_nofault(addr, &word, unsigned long, fault);
	pagefault_enable();
	return 0;
fault:
	pagefault_enable();
	return -EFAULT;
}

/**
 * struct softirq_probe - a softirq, and what it found when it ran
 * @work:    The interrupt that raises it.
 * @tasklet: The softirq.
 * @mapped:  How many pages are mapped in this CPU's window.
 * @runs:    How often it ran.
 * @depth:   Sessions open when it did.
 * @seen:    Pages mapped when it did.
 * @mm:      What was loaded.
 */
struct softirq_probe {
	struct irq_work work;
	struct tasklet_struct tasklet;
	unsigned int (*mapped)(void);
	unsigned int runs;
	unsigned int depth;
	unsigned int seen;
	struct mm_struct *mm;
};

static inline void softirq_probe_fn(struct tasklet_struct *tasklet)
{
	struct softirq_probe *probe = container_of(tasklet,
						   struct softirq_probe,
						   tasklet);

	probe->runs++;
	probe->depth += this_cpu_read(ephmap_cpus.depth);
	probe->seen += probe->mapped();
#ifdef CONFIG_X86_64
	probe->mm = this_cpu_read(cpu_tlbstate.loaded_mm);
#endif
}

static inline void softirq_probe_irq(struct irq_work *work)
{
	tasklet_hi_schedule(&container_of(work, struct softirq_probe,
					  work)->tasklet);
}

static inline void softirq_probe_init(struct softirq_probe *probe,
				      unsigned int (*mapped)(void))
{
	*probe = (struct softirq_probe) {
		.work = IRQ_WORK_INIT_HARD(softirq_probe_irq),
		.mapped = mapped,
	};
	tasklet_setup(&probe->tasklet, softirq_probe_fn);
}

/*
 * Raise it, by an interrupt on this CPU, here and now. Returns how often it has
 * run by then: an interrupt runs softirqs on its way out, if they are not off.
 */
static inline unsigned int softirq_probe_raise(struct softirq_probe *probe)
{
	irq_work_queue(&probe->work);
	while (irq_work_is_busy(&probe->work))
		cpu_relax();
	return READ_ONCE(probe->runs);
}

static inline bool softirqs_follow_interrupts(void)
{
	return !IS_ENABLED(CONFIG_PREEMPT_RT) && !force_irqthreads();
}

#endif /* _EPHMAP_KUNIT_H */
