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

struct seq_buf;

struct mempolicy;

#ifdef CONFIG_SECRET_BLOCKS
void secret_blocks_enable(void);
void secret_blocks_show_all(void);
void secret_blocks_zero_free(void);
bool folio_in_secret_block(struct folio *folio);
struct folio *folio_alloc_secret(gfp_t gfp, unsigned int order,
				 struct mempolicy *policy);
#else
static inline void secret_blocks_enable(void) { }
static inline void secret_blocks_show_all(void) { }
static inline void secret_blocks_zero_free(void) { }

static inline bool folio_in_secret_block(struct folio *folio)
{
	return false;
}

static inline struct folio *folio_alloc_secret(gfp_t gfp, unsigned int order,
					       struct mempolicy *policy)
{
	return NULL;
}
#endif

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
 * mapping_allows_auto_migration() - whether folios may be moved on a guess
 * @mapping: The mapping.
 *
 * The one policy of all that moves folios because of how they seem to be used:
 * NUMA balancing, promotion, DAMON's schemes. A move that somebody asks for, or
 * that makes room (compaction, offlining), is none of these.
 *
 * Folios without a direct-map alias cost too much for a guess. Those of a
 * mapping that is inaccessible to the host look idle: only guests use them, by
 * page tables that none of the above reads.
 *
 * Context: Any in which @mapping is stable.
 * Return: false for a mapping with AS_NO_DIRECT_MAP or AS_INACCESSIBLE.
 */
static inline bool
mapping_allows_auto_migration(const struct address_space *mapping)
{
	return !mapping_no_direct_map(mapping) &&
	       !mapping_inaccessible(mapping);
}

/**
 * vma_allows_auto_migration() - whether a VMA's folios may be moved on a guess
 * @vma: The VMA.
 *
 * Context: Any in which @vma is stable.
 * Return: as mapping_allows_auto_migration(), true if no file is mapped.
 */
static inline bool vma_allows_auto_migration(const struct vm_area_struct *vma)
{
	return !vma->vm_file ||
	       mapping_allows_auto_migration(vma->vm_file->f_mapping);
}

/**
 * folio_allows_auto_migration() - whether a folio may be moved on a guess
 * @folio: The folio, which the caller has a reference to.
 *
 * Context: Any. The folio need not be locked: RCU keeps its mapping from being
 *          freed, and a folio that is truncated meanwhile will not move anyway.
 * Return: as mapping_allows_auto_migration(), true for a folio of no file.
 */
static inline bool folio_allows_auto_migration(const struct folio *folio)
{
	const struct address_space *mapping;

	guard(rcu)();
	mapping = folio_mapping(folio);
	return !mapping || mapping_allows_auto_migration(mapping);
}

#ifdef CONFIG_NO_DIRECT_MAP

/* Steps of a migration that fault injection can make fail. */
enum no_direct_map_step {
	NDM_STEP_REFS		= BIT(0),
	NDM_STEP_SPLIT		= BIT(1),
	NDM_STEP_ZAP		= BIT(2),
	NDM_STEP_COPY		= BIT(3),
	NDM_STEP_MAPPING	= BIT(4),
	NDM_STEP_BATCH_COPY	= BIT(5),	/* no machine check */
};

#ifdef CONFIG_FAIL_NO_DIRECT_MAP
bool should_fail_no_direct_map(enum no_direct_map_step step);
#else
static inline bool should_fail_no_direct_map(enum no_direct_map_step step)
{
	return false;
}
#endif

void __no_direct_map_file_used(struct address_space *mapping);
void no_direct_map_file_gone(struct address_space *mapping);
unsigned long no_direct_map_nr_files(void);
void no_direct_map_describe(struct seq_buf *line);
unsigned long no_direct_map_nr_alone(int nid);
#if IS_ENABLED(CONFIG_KUNIT)
void no_direct_map_count_alone(struct folio *folio, long nr);
#endif

bool folio_has_direct_map(struct folio *folio);
int folio_zap_direct_map(struct folio *folio);
void folio_restore_direct_map(struct folio *folio);
struct folio *folio_alloc_no_direct_map(gfp_t gfp, unsigned int order,
					struct mempolicy *policy);
#if IS_ENABLED(CONFIG_KUNIT)
void keep_block_online(unsigned long pfn);
#endif

#else /* !CONFIG_NO_DIRECT_MAP */

static inline void __no_direct_map_file_used(struct address_space *mapping) { }
static inline void no_direct_map_file_gone(struct address_space *mapping) { }

static inline unsigned long no_direct_map_nr_files(void)
{
	return 0;
}

static inline void no_direct_map_describe(struct seq_buf *line) { }

static inline bool folio_has_direct_map(struct folio *folio)
{
	return true;
}

static inline int folio_zap_direct_map(struct folio *folio)
{
	return -EOPNOTSUPP;
}

static inline void folio_restore_direct_map(struct folio *folio) { }
#endif /* CONFIG_NO_DIRECT_MAP */

/**
 * no_direct_map_file_used() - a file with AS_NO_DIRECT_MAP gets a folio
 * @mapping: The file's mapping.
 *
 * The owner calls this before the first folio is in the page cache; to call it
 * for each costs a test of a bit. Hibernation is refused from then on until
 * no_direct_map_file_gone(): holes may be punched meanwhile, and filled again.
 *
 * Context: Any.
 */
static inline void no_direct_map_file_used(struct address_space *mapping)
{
	if (!test_bit(AS_NO_DIRECT_MAP_USED, &mapping->flags))
		__no_direct_map_file_used(mapping);
}

/**
 * no_direct_map_active() - whether there are files that hibernation would leak
 *
 * Context: Any.
 * Return: true if there are.
 */
static inline bool no_direct_map_active(void)
{
	return no_direct_map_nr_files() != 0;
}

#endif /* _LINUX_NO_DIRECT_MAP_H */
