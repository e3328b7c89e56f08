/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address Space Isolation: new pages of a process', which its CPU goes on mapping
 * for a while: a flush serves for many. And what the page allocator checks. For
 * more info see Documentation/arch/x86/asi.rst.
 */
#ifndef _LINUX_ASI_PARK_H
#define _LINUX_ASI_PARK_H

#include <linux/asi.h>

struct page;

#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION
bool asi_clear_own_page(struct page *page);
bool asi_copy_own_page(struct page *page, const void __user *from);
void asi_window_stop(void);
void __asi_check_free(unsigned long pfn, unsigned int order);
#else
static inline bool asi_clear_own_page(struct page *page)
{
	return false;
}

static inline bool asi_copy_own_page(struct page *page, const void __user *from)
{
	return false;
}

static inline void asi_window_stop(void) { }
static inline void __asi_check_free(unsigned long pfn, unsigned int order) { }
#endif

/* With CONFIG_DEBUG_ASI: warn when memory is freed that a CPU has as a page table. */
static inline void asi_check_free(unsigned long pfn, unsigned int order)
{
	if (IS_ENABLED(CONFIG_DEBUG_ASI) && asi_enabled())
		__asi_check_free(pfn, order);
}

#endif /* _LINUX_ASI_PARK_H */
