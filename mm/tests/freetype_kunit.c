// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of freetypes: which free list each has, and what may be merged.
 * Conditions B4 and B10, see Documentation/mm/page_visibility.rst.
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/mmzone.h>
#include <linux/page-isolation.h>

static const int mobilities[] = {
	MIGRATE_UNMOVABLE,
	MIGRATE_MOVABLE,
#ifdef CONFIG_CMA
	MIGRATE_CMA,
#endif
};

/* What the kernel has for itself is where it would be without visibility. */
static void b10_kernel_lists_keep_their_index(struct kunit *test)
{
	for (int mt = 0; mt < MIGRATE_TYPES; mt++) {
		freetype_t freetype = migrate_to_freetype(mt, VIS_KERNEL);

		KUNIT_EXPECT_EQ(test, freetype_idx(freetype), mt);
		KUNIT_EXPECT_EQ(test, free_to_migratetype(freetype), mt);
		KUNIT_EXPECT_EQ(test, freetype_visibility(freetype), VIS_KERNEL);
	}
}

/* Movable memory that users can see shares its lists with the kernel's. */
static void b4_each_freetype_has_a_list(struct kunit *test)
{
	DECLARE_BITMAP(used, NR_FREETYPES) = {};

	if (!IS_ENABLED(CONFIG_PAGE_VISIBILITY))
		kunit_skip(test, "CONFIG_PAGE_VISIBILITY is off");
	for (int mt = 0; mt < MIGRATE_TYPES; mt++)
		__set_bit(mt, used);
	for (int i = 0; i < ARRAY_SIZE(mobilities); i++) {
		const int mt = mobilities[i];
		unsigned int user, secret;

		user = freetype_idx(migrate_to_freetype(mt, VIS_USER));
		if (is_migrate_movable(mt))
			KUNIT_EXPECT_EQ(test, user, mt);
		else
			KUNIT_EXPECT_FALSE(test, __test_and_set_bit(user, used));

		secret = freetype_idx(migrate_to_freetype(mt, VIS_SECRET));
		KUNIT_EXPECT_FALSE(test, __test_and_set_bit(secret, used));
	}
	KUNIT_EXPECT_TRUE(test, bitmap_full(used, NR_FREETYPES));
}

#ifdef CONFIG_MEMORY_ISOLATION
static void b10_isolation_keeps_visibility(struct kunit *test)
{
	freetype_t kernel = migrate_to_freetype(MIGRATE_ISOLATE, VIS_KERNEL);

	KUNIT_EXPECT_TRUE(test, is_freetype_isolate(kernel));
	if (!IS_ENABLED(CONFIG_PAGE_VISIBILITY))
		kunit_skip(test, "CONFIG_PAGE_VISIBILITY is off");
	for (int vis = VIS_KERNEL + 1; vis < NR_VISIBILITIES; vis++) {
		freetype_t freetype = migrate_to_freetype(MIGRATE_ISOLATE, vis);

		KUNIT_EXPECT_TRUE(test, is_freetype_isolate(freetype));
		KUNIT_EXPECT_EQ(test, freetype_idx(freetype), MIGRATE_ISOLATE);
		KUNIT_EXPECT_EQ(test, freetype_visibility(freetype), vis);
		KUNIT_EXPECT_FALSE(test, freetypes_equal(freetype, kernel));
	}
}
#else
static void b10_isolation_keeps_visibility(struct kunit *test)
{
	kunit_skip(test, "CONFIG_MEMORY_ISOLATION is off");
}
#endif

/* No buddy spans two visibilities, nor memory that has a list for a reason. */
static void b4_merges_within_a_visibility(struct kunit *test)
{
	for (int one = 0; one < MIGRATE_TYPES; one++) {
		const freetype_t kernel = migrate_to_freetype(one, VIS_KERNEL);

		for (int other = 0; other < MIGRATE_TYPES; other++) {
			const bool plain = one < MIGRATE_PCPTYPES &&
					   other < MIGRATE_PCPTYPES;
			freetype_t with;

			with = migrate_to_freetype(other, VIS_KERNEL);
			KUNIT_EXPECT_EQ(test, plain, freetypes_mergeable(kernel, with));
			if (!IS_ENABLED(CONFIG_PAGE_VISIBILITY))
				continue;
			with = migrate_to_freetype(other, VIS_USER);
			KUNIT_EXPECT_FALSE(test, freetypes_mergeable(kernel, with));
			with = migrate_to_freetype(other, VIS_SECRET);
			KUNIT_EXPECT_FALSE(test, freetypes_mergeable(kernel, with));
		}
	}
}

static struct kunit_case freetype_cases[] = {
	KUNIT_CASE(b10_kernel_lists_keep_their_index),
	KUNIT_CASE(b4_each_freetype_has_a_list),
	KUNIT_CASE(b10_isolation_keeps_visibility),
	KUNIT_CASE(b4_merges_within_a_visibility),
	{}
};

static struct kunit_suite freetype_suite = {
	.name = "freetype",
	.test_cases = freetype_cases,
};

kunit_test_suite(freetype_suite);

MODULE_DESCRIPTION("KUnit tests of freetypes");
MODULE_LICENSE("GPL");
