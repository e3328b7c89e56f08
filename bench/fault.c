// SPDX-License-Identifier: GPL-2.0-only
/*
 * What does the first touch of a page cost, and its release? Each round makes
 * the area anew, after --seconds, in which what was released before may go back
 * to where it came from. The first rounds also split the direct map and fill
 * caches, so they are printed like the others and left to the reader to skip.
 * Only the second half is profiled: the touch, or the release (--release).
 */
#include <stdio.h>

#include "secret.h"

int main(int argc, char **argv)
{
	struct options opts = { .pages = 4096, .node = 0, .rounds = 5 };
	unsigned long long touch, release;
	struct vmstat before;
	struct area area;
	size_t round, page;
	bool profiled;

	parse_options(argc, argv, &opts);
	bind_to_node(opts.node);
	printf("kind=%s\n", kind_name(opts.kind));
	print_value("pages", opts.pages);
	print_value("profiled_pages",
		    opts.pages * (opts.rounds - opts.rounds / 2));
	for (round = 1; round <= opts.rounds; round++) {
		profiled = round > opts.rounds / 2;
		sleep(opts.seconds);
		area_open(&area, opts.kind, opts.pages);
		vmstat_read(&before);
		touch = now_tsc();
		if (profiled && !opts.release)
			profile_begin();
		for (page = 0; page < opts.pages; page++)
			area.mem[page * PAGE_SIZE] = 1;
		if (profiled && !opts.release)
			profile_end();
		touch = now_tsc() - touch;
		vmstat_print_since(&before, "touch_");
		vmstat_free(&before);

		vmstat_read(&before);
		release = now_tsc();
		if (profiled && opts.release)
			profile_begin();
		area_close(&area);
		if (profiled && opts.release)
			profile_end();
		release = now_tsc() - release;
		vmstat_print_since(&before, "release_");
		vmstat_free(&before);
		printf("round_touch_tsc=%llu\n", touch);
		printf("round_release_tsc=%llu\n", release);
	}
	return 0;
}
