/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The type of a free page, and of the pageblock it is in: whether what is
 * allocated from it can be moved, and who can see it.
 */
#ifndef _LINUX_FREETYPE_H
#define _LINUX_FREETYPE_H

#ifndef _LINUX_MMZONE_H
#error "Include <linux/mmzone.h>, which has enum migratetype."
#endif

/**
 * enum page_visibility - who can see the pages of a pageblock
 * @VIS_KERNEL: The kernel, in every address space.
 * @VIS_USER: The kernel, but not from a restricted address space: user data.
 * @VIS_SECRET: Nobody but the owner: there is no direct map.
 * @NR_VISIBILITIES: How many there are.
 */
enum page_visibility {
	VIS_KERNEL,
	VIS_USER,
	VIS_SECRET,
	NR_VISIBILITIES
};

/**
 * typedef freetype_t - mobility and visibility of free pages
 * @type: An enum migratetype, and above it an enum page_visibility.
 *
 * There is a free list for each freetype that exists, see freetype_idx(). That
 * of the kernel's is the migratetype itself, so that where there is no other
 * memory it costs what a migratetype does.
 */
typedef struct {
	unsigned int type;
} freetype_t;

#define FREETYPE_MOBILITY_BITS	3
#define FREETYPE_MOBILITY_MASK	((1U << FREETYPE_MOBILITY_BITS) - 1)

static_assert(MIGRATE_TYPES <= 1 << FREETYPE_MOBILITY_BITS);

/*
 * The free lists. Those of enum migratetype keep their index, so that nothing
 * else is used where all memory is the kernel's. Movable and CMA memory share
 * theirs with VIS_USER: whether movable pages are the kernel's or users' is
 * decided once, at boot, for all of them.
 */
enum freetype_list {
#ifdef CONFIG_PAGE_VISIBILITY
	FREETYPE_USER_UNMOVABLE = MIGRATE_TYPES,
	FREETYPE_SECRET_MOVABLE,
	FREETYPE_SECRET_UNMOVABLE,
	FREETYPE_PCP_END,	/* from MIGRATE_TYPES on, these have a PCP list */
#ifdef CONFIG_CMA
	FREETYPE_SECRET_CMA = FREETYPE_PCP_END,
#endif
	NR_FREETYPES
#else
	FREETYPE_PCP_END = MIGRATE_TYPES,
	NR_FREETYPES = MIGRATE_TYPES
#endif
};

static inline freetype_t migrate_to_freetype(int migratetype,
					     enum page_visibility visibility)
{
	return (freetype_t){ migratetype | visibility << FREETYPE_MOBILITY_BITS };
}

static inline int free_to_migratetype(freetype_t freetype)
{
	return freetype.type & FREETYPE_MOBILITY_MASK;
}

static inline enum page_visibility freetype_visibility(freetype_t freetype)
{
	if (!IS_ENABLED(CONFIG_PAGE_VISIBILITY))
		return VIS_KERNEL;
	return freetype.type >> FREETYPE_MOBILITY_BITS;
}

static inline bool is_freetype_isolate(freetype_t freetype)
{
#ifdef CONFIG_MEMORY_ISOLATION
	return free_to_migratetype(freetype) == MIGRATE_ISOLATE;
#else
	return false;
#endif
}

static inline bool freetypes_equal(freetype_t one, freetype_t other)
{
	return one.type == other.type;
}

/*
 * Whether free pages may be merged although the types of their blocks differ.
 * Isolated pages keep the visibility they had: nothing ever spans two.
 */
static inline bool freetypes_mergeable(freetype_t one, freetype_t other)
{
	return migratetype_is_mergeable(free_to_migratetype(one)) &&
	       migratetype_is_mergeable(free_to_migratetype(other)) &&
	       freetype_visibility(one) == freetype_visibility(other);
}

/**
 * freetype_idx() - the free list of a freetype
 * @freetype: The freetype.
 *
 * Context: Any.
 * Return: an index below NR_FREETYPES. One below MIGRATE_TYPES is the mobility.
 * Isolated pages have one list, whatever they were.
 */
static inline unsigned int freetype_idx(freetype_t freetype)
{
#ifdef CONFIG_PAGE_VISIBILITY
	const int mobility = free_to_migratetype(freetype);

	if (likely(freetype_visibility(freetype) == VIS_KERNEL) ||
	    is_freetype_isolate(freetype))
		return mobility;
	if (freetype_visibility(freetype) == VIS_USER)
		return is_migrate_movable(mobility) ? mobility :
						      FREETYPE_USER_UNMOVABLE;
#ifdef CONFIG_CMA
	if (mobility == MIGRATE_CMA)
		return FREETYPE_SECRET_CMA;
#endif
	return mobility == MIGRATE_MOVABLE ? FREETYPE_SECRET_MOVABLE :
					     FREETYPE_SECRET_UNMOVABLE;
#else
	return free_to_migratetype(freetype);
#endif
}

#endif /* _LINUX_FREETYPE_H */
