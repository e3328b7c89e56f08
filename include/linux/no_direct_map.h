/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Folios without a direct-map alias: the one pair of helpers that changes it.
 * For more info see Documentation/mm/no_direct_map.rst.
 */
#ifndef _LINUX_NO_DIRECT_MAP_H
#define _LINUX_NO_DIRECT_MAP_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

/**
 * vma_is_no_direct_map() - whether a VMA maps folios without a direct-map alias
 * @vma: The VMA.
 *
 * Context: Any in which @vma is stable.
 * Return: true for a VMA of a file with AS_NO_DIRECT_MAP.
 */
static inline bool vma_is_no_direct_map(const struct vm_area_struct *vma)
{
	return IS_ENABLED(CONFIG_NO_DIRECT_MAP) && vma->vm_file &&
	       mapping_no_direct_map(vma->vm_file->f_mapping);
}

/**
 * vma_allows_numa_balancing() - whether NUMA balancing may move a VMA's folios
 * @vma: The VMA.
 *
 * It may not for memory that costs more than a page fault to move: folios
 * without a direct-map alias, and those of a mapping that is inaccessible to
 * the host, whose users are not the ones that take the hinting faults.
 *
 * Context: Any in which @vma is stable.
 * Return: false for a VMA of a file with AS_NO_DIRECT_MAP or AS_INACCESSIBLE.
 */
static inline bool vma_allows_numa_balancing(const struct vm_area_struct *vma)
{
	return !vma_is_no_direct_map(vma) &&
	       !(vma->vm_file && mapping_inaccessible(vma->vm_file->f_mapping));
}

/**
 * struct direct_map_batch - folios to be zapped with one TLB shootdown
 * @start: Lowest direct-map address zapped since the last flush.
 * @end: End of the highest.
 * @nr: Pages zapped since the last flush.
 *
 * Starts all zero. A folio in a batch must not receive a secret before
 * direct_map_batch_flush().
 */
struct direct_map_batch {
	unsigned long start;
	unsigned long end;
	unsigned long nr;
};

#ifdef CONFIG_NO_DIRECT_MAP

/* Steps of a migration that fault injection can make fail. */
enum no_direct_map_step {
	NDM_STEP_REFS		= BIT(0),
	NDM_STEP_SPLIT		= BIT(1),
	NDM_STEP_ZAP		= BIT(2),
	NDM_STEP_COPY		= BIT(3),
	NDM_STEP_MAPPING	= BIT(4),
};

#ifdef CONFIG_FAIL_NO_DIRECT_MAP
bool should_fail_no_direct_map(enum no_direct_map_step step);
#else
static inline bool should_fail_no_direct_map(enum no_direct_map_step step)
{
	return false;
}
#endif

void no_direct_map_file_created(void);
void no_direct_map_file_gone(void);
bool no_direct_map_active(void);

bool folio_has_direct_map(struct folio *folio);
int folio_zap_direct_map(struct folio *folio);
int folios_zap_direct_map(struct list_head *folios);
void folio_restore_direct_map(struct folio *folio);
void folios_restore_direct_map(struct list_head *folios);
int direct_map_batch_zap(struct direct_map_batch *batch, struct folio *folio);
void direct_map_batch_flush(struct direct_map_batch *batch);

#else /* !CONFIG_NO_DIRECT_MAP */

static inline void no_direct_map_file_created(void) { }
static inline void no_direct_map_file_gone(void) { }

static inline bool no_direct_map_active(void)
{
	return false;
}

static inline bool folio_has_direct_map(struct folio *folio)
{
	return true;
}

static inline int folio_zap_direct_map(struct folio *folio)
{
	return -EOPNOTSUPP;
}

static inline int folios_zap_direct_map(struct list_head *folios)
{
	return -EOPNOTSUPP;
}

static inline void folio_restore_direct_map(struct folio *folio) { }
static inline void folios_restore_direct_map(struct list_head *folios) { }

static inline int direct_map_batch_zap(struct direct_map_batch *batch,
				       struct folio *folio)
{
	return -EOPNOTSUPP;
}

static inline void direct_map_batch_flush(struct direct_map_batch *batch) { }

#endif /* CONFIG_NO_DIRECT_MAP */

#endif /* _LINUX_NO_DIRECT_MAP_H */
