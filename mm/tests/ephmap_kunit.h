/* SPDX-License-Identifier: GPL-2.0 */
/* What the KUnit suites of the ephmap's scopes share. */
#ifndef _EPHMAP_KUNIT_H
#define _EPHMAP_KUNIT_H

#include <linux/pgtable.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

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

#endif /* _EPHMAP_KUNIT_H */
