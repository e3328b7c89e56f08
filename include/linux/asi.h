/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address Space Isolation (ASI): restricted kernel page tables, without the
 * memory that holds user data. For more info see
 * Documentation/arch/x86/asi.rst. Here is what the page allocator calls.
 */
#ifndef _LINUX_ASI_H
#define _LINUX_ASI_H

#include <linux/types.h>

#ifdef CONFIG_X86
#include <asm/asi.h>
#else
static __always_inline bool asi_enabled(void)
{
	return false;
}

static __always_inline bool asi_restricted(void)
{
	return false;
}

static inline void asi_zap_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_restore_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_flush_direct_map(unsigned long pfn, unsigned long nr) { }
#endif

#ifdef CONFIG_DEFERRED_STRUCT_PAGE_INIT
bool page_is_deferred(unsigned long pfn);
bool deferred_block_is_users(unsigned long pfn);
#else
static inline bool page_is_deferred(unsigned long pfn)
{
	return false;
}

static inline bool deferred_block_is_users(unsigned long pfn)
{
	return false;
}
#endif

#endif /* _LINUX_ASI_H */
