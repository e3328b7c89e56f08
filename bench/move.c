// SPDX-License-Identifier: GPL-2.0-only
/*
 * Do secret pages move between nodes, and what does a page cost? Moves the
 * area from --node to --to and back, --rounds times, --batch pages to a call
 * of move_pages(2), or of KVM_GMEM_MOVE. Every word is checked after every round. Only the second
 * half of the rounds is profiled: the first also splits the direct map.
 */
#include <stdio.h>
#include <stdlib.h>

#include "secret.h"

static void move_by_file(const struct area *area, size_t page, size_t nr,
			 int node)
{
	struct kvm_gmem_move move = {
		.offset = page * PAGE_SIZE,
		.size = nr * PAGE_SIZE,
		.node = node,
	};

	if (ioctl(area->fd, KVM_GMEM_MOVE, &move))
		die(EXIT_ENVIRONMENT, "KVM_GMEM_MOVE");
}

int main(int argc, char **argv)
{
	struct options opts = {
		.pages = 1024, .node = 0, .to = 1, .rounds = 1,
	};
	size_t page, round, step, moved = 0, wrong = 0;
	uint64_t ns = 0, tsc = 0, start_ns, start_tsc;
	struct vmstat before;
	struct area area;
	void **pages;
	int *status;

	parse_options(argc, argv, &opts);
	if (!opts.batch || opts.batch > opts.pages)
		opts.batch = opts.pages;
	pages = calloc(opts.pages, sizeof(*pages));
	status = calloc(opts.pages, sizeof(*status));
	if (!pages || !status)
		die(EXIT_ENVIRONMENT, "no memory");

	bind_to_node(opts.node);
	area_open(&area, opts.kind, opts.pages);
	area_stamp(&area);
	for (page = 0; page < opts.pages; page++)
		pages[page] = area.mem + page * PAGE_SIZE;
	/* Sizes its node list now, so that no round pays for that. */
	move_to_node(pages, opts.pages, opts.node, status);
	vmstat_read(&before);

	for (round = 0; round < opts.rounds; round++) {
		int node = round % 2 ? opts.node : opts.to;

		start_ns = now_ns();
		start_tsc = now_tsc();
		if (round >= opts.rounds / 2)
			profile_begin();
		for (page = 0; page < opts.pages; page += step) {
			step = opts.pages - page;
			if (step > opts.batch)
				step = opts.batch;
			if (opts.by_file)
				move_by_file(&area, page, step, node);
			else
				move_to_node(pages + page, step, node,
					     status + page);
		}
		if (round >= opts.rounds / 2)
			profile_end();
		start_tsc = now_tsc() - start_tsc;
		ns += now_ns() - start_ns;
		tsc += start_tsc;
		printf("round_tsc=%llu\n", (unsigned long long)start_tsc);
		moved += area_on_node(&area, node);
		wrong += area_wrong_words(&area);
	}

	printf("kind=%s\n", kind_name(opts.kind));
	print_value("batch", opts.batch);
	print_value("pages", opts.pages * opts.rounds);
	print_value("profiled_pages",
		    opts.pages * (opts.rounds - opts.rounds / 2));
	print_value("moved", moved);
	print_value("wrong", wrong);
	print_value("ns", ns);
	print_value("tsc", tsc);
	vmstat_print_since(&before, "");
	area_close(&area);
	return 0;
}
