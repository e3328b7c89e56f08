// SPDX-License-Identifier: GPL-2.0-only
/*
 * Can compaction win back 2 MB blocks that secret pages sit in? Two files are
 * filled side by side, page by page, and one is dropped again: what is left
 * sits in every second page slot. Then /proc/sys/vm/compact_memory is written
 * --rounds times (a single run at times gives up early), and the share of the
 * free memory that is in blocks of 2 MB or more is compared. With
 * --drop-shmem what is dropped is shmem, which is quicker; but only where secret
 * pages are movable do both come from the same blocks.
 *
 * With --gmem-huge or --gmem-hidden-huge the two files are shmem's, and instead of
 * that a file of --huge-mb megabytes of this kind is allocated: how much of it is in
 * folios of 2 MB, which compaction has to win back first?
 */
#include <stdio.h>

#include "secret.h"

#define HUGE_ORDER 9

/*
 * Which page of a pair is the kept one, at random. Were it always the same,
 * all kept pages could have even numbers; and the free scanner, which takes
 * steps of an even number of pages once it met a pageblock without free ones,
 * would find no free page anywhere and end the compaction.
 */
static bool kept_is_first(size_t pair)
{
	return pair * 0x9e3779b97f4a7c15ULL >> 63;
}

/* In parts per thousand; of all nodes when @node is negative. */
static unsigned long long share_in_huge_blocks(int node)
{
	FILE *file = fopen("/proc/buddyinfo", "r");
	unsigned long long huge = 0, all = 0, count;
	int line_node, order;
	char zone[32];

	if (!file)
		die(EXIT_ENVIRONMENT, "/proc/buddyinfo");
	while (fscanf(file, "Node %d, zone %31s", &line_node, zone) == 2) {
		for (order = 0; fscanf(file, "%llu", &count) == 1; order++) {
			if (node >= 0 && line_node != node)
				continue;
			all += count << order;
			if (order >= HUGE_ORDER)
				huge += count << order;
		}
	}
	fclose(file);
	return all ? huge * 1000 / all : 0;
}

int main(int argc, char **argv)
{
	struct options opts = {
		.pages = 600 << 8, .huge_pages = 512 << 8, .node = 0, .rounds = 1,
	};
	enum kind fill;
	struct area kept, dropped, huge;
	struct vmstat before;
	uint64_t start;
	size_t page, pass;

	parse_options(argc, argv, &opts);
	bind_to_node(opts.node);
	fill = kind_is_huge(opts.kind) ? KIND_SHMEM : opts.kind;
	/* Both runs of a pair start from the same ground. */
	try_write("/proc/sys/vm/compact_memory", "1");

	start = now_ns();
	area_open(&kept, fill, opts.pages);
	area_open(&dropped, opts.drop_shmem ? KIND_SHMEM : fill,
		  opts.pages);
	for (page = 0; page < opts.pages; page++) {
		if (kept_is_first(page))
			area_stamp_page(&kept, page);
		dropped.mem[page * PAGE_SIZE] = 1;
		if (!kept_is_first(page))
			area_stamp_page(&kept, page);
	}
	area_close(&dropped);
	printf("kind=%s\n", kind_name(opts.kind));
	print_value("fill_ns", now_ns() - start);
	print_value("share_before", share_in_huge_blocks(opts.node));

	if (kind_is_huge(opts.kind)) {
		area_open(&huge, opts.kind, opts.huge_pages);
		start = now_ns();
		area_fallocate(&huge);
		print_value("ns", now_ns() - start);
		print_value("huge_pages", huge_pages(&huge));
		area_close(&huge);
		print_value("wrong", area_wrong_words(&kept));
		return 0;
	}

	vmstat_read(&before);
	start = now_ns();
	for (pass = 0; pass < opts.rounds; pass++) {
		if (!try_write("/proc/sys/vm/compact_memory", "1"))
			die(EXIT_ENVIRONMENT, "compact_memory");
		print_value("pass_share", share_in_huge_blocks(opts.node));
	}
	print_value("ns", now_ns() - start);
	print_value("share_after", share_in_huge_blocks(opts.node));
	vmstat_print_since(&before, "");
	print_value("wrong", area_wrong_words(&kept));
	area_close(&kept);
	return 0;
}
