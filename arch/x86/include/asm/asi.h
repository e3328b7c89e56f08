/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address Space Isolation (ASI): restricted kernel page tables, without the
 * memory that holds user data. For more info see
 * Documentation/arch/x86/asi.rst.
 */
#ifndef _ASM_X86_ASI_H
#define _ASM_X86_ASI_H

#include <linux/cpufeature.h>
#include <linux/pgtable.h>

/**
 * enum asi_user_data - kinds of pages with user data, as the audit counts them
 * @ASI_ANON:        Anonymous memory, KSM's pages included.
 * @ASI_SHMEM:       tmpfs, shared memory, memfd.
 * @ASI_SECRETMEM:   Files without a direct-map alias: memfd_secret(2), and
 *                   guest_memfd with GUEST_MEMFD_FLAG_NO_DIRECT_MAP.
 * @ASI_GUEST_MEMFD: Other guest_memfd.
 * @ASI_HUGETLB:     hugetlbfs.
 * @ASI_BDEV:        The page cache of block devices: a filesystem's metadata,
 *                   and what is read and written through the device.
 * @ASI_FILE:        The page cache of all other files.
 * @ASI_FREE:        Free pages among movable ones: they may hold user data
 *                   still.
 * @ASI_BUSY:        Page cache whose folio stayed locked, so that its kind is
 *                   not known.
 * @ASI_NR_USER_DATA: How many kinds there are.
 */
enum asi_user_data {
	ASI_ANON,
	ASI_SHMEM,
	ASI_SECRETMEM,
	ASI_GUEST_MEMFD,
	ASI_HUGETLB,
	ASI_BDEV,
	ASI_FILE,
	ASI_FREE,
	ASI_BUSY,
	ASI_NR_USER_DATA,
};

/**
 * struct asi_audit - what is found in the restricted page tables
 * @present:   Pages that the restricted direct map has.
 * @absent:    Pages of the direct map that it has not.
 * @different: PMD entries of it that are neither absent nor equal to init_mm's.
 * @movable:   PMD entries of movable memory that are present.
 * @kernel:    PMD entries of other memory that are absent. It is no danger.
 * @pgds:      Restricted top-level page tables.
 * @wrong:     Entries in their kernel half that are not as they should be.
 * @user_data: Pages of user data among the present ones, by kind.
 */
struct asi_audit {
	unsigned long present;
	unsigned long absent;
	unsigned long different;
	unsigned long movable;
	unsigned long kernel;
	unsigned long pgds;
	unsigned long wrong;
	unsigned long user_data[ASI_NR_USER_DATA];
};

/**
 * struct asi_stats - what was done to the restricted direct map since boot
 * @zapped:   PMD entries made absent.
 * @restored: PMD entries made present.
 * @flushes:  Shootdowns for those that were made absent.
 */
struct asi_stats {
	unsigned long zapped;
	unsigned long restored;
	unsigned long flushes;
};

#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION

/**
 * asi_enabled() - whether there are restricted page tables
 *
 * Context: Any, once the boot CPU's page tables are being made. A patched jump.
 * Return: true with asi=on, if it was not refused.
 */
static __always_inline bool asi_enabled(void)
{
	return cpu_feature_enabled(X86_FEATURE_ASI);
}

/**
 * asi_restricted_pgd() - the restricted top-level page table of an mm
 * @pgd: mm->pgd, of an mm other than init_mm and EFI's.
 *
 * Context: Any; asi_enabled() is true.
 * Return: the table; it lives as long as @pgd.
 */
static inline pgd_t *asi_restricted_pgd(pgd_t *pgd)
{
	return pgd + PTRS_PER_PGD;
}

unsigned long asi_region_align(void);
void asi_check_boottime(void);
void asi_init(void);

void __asi_pgd_ctor(pgd_t *pgd);
void __asi_sync_pgds(unsigned long start, unsigned long end);
void __asi_sync_direct_map(unsigned long addr);
int __asi_add_memory(u64 start, u64 size);
void __asi_remove_memory(u64 start, u64 size);

void asi_zap_direct_map(unsigned long pfn, unsigned long nr);
void asi_restore_direct_map(unsigned long pfn, unsigned long nr);
void asi_flush_direct_map(unsigned long pfn, unsigned long nr);

pmd_t *asi_direct_map_pmd(unsigned long addr);
void asi_audit_range(struct asi_audit *audit, unsigned long start,
		     unsigned long end);
void asi_audit_pgds(struct asi_audit *audit);
void asi_read_stats(struct asi_stats *stats);

/* A new mm's PGD, under pgd_lock, before it is on pgd_list. */
static inline void asi_pgd_ctor(pgd_t *pgd)
{
	if (asi_enabled())
		__asi_pgd_ctor(pgd);
}

/* Top-level entries of init_mm for @start to @end, inclusive, are new. */
static inline void asi_sync_pgds(unsigned long start, unsigned long end)
{
	if (asi_enabled())
		__asi_sync_pgds(start, end);
}

/* init_mm's PMD entry for @addr has changed, and is not flushed yet. */
static inline void asi_sync_direct_map(unsigned long addr)
{
	if (asi_enabled())
		__asi_sync_direct_map(addr);
}

/* Before memory gets its direct map. */
static inline int asi_add_memory(u64 start, u64 size)
{
	return asi_enabled() ? __asi_add_memory(start, size) : 0;
}

/* Before memory loses its direct map, which flushes. */
static inline void asi_remove_memory(u64 start, u64 size)
{
	if (asi_enabled())
		__asi_remove_memory(start, size);
}

#else /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

static __always_inline bool asi_enabled(void)
{
	return false;
}

static inline unsigned long asi_region_align(void)
{
	return PUD_SIZE;
}

static inline void asi_zap_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_restore_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_flush_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_check_boottime(void) { }
static inline void asi_init(void) { }
static inline void asi_pgd_ctor(pgd_t *pgd) { }
static inline void asi_sync_pgds(unsigned long start, unsigned long end) { }
static inline void asi_sync_direct_map(unsigned long addr) { }
static inline int asi_add_memory(u64 start, u64 size) { return 0; }
static inline void asi_remove_memory(u64 start, u64 size) { }

#endif /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

#endif /* _ASM_X86_ASI_H */
