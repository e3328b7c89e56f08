// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does soft offline of a secret page move its content away? Each page is
 * named by its physical address, as a memory error log would name it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "secret.h"

int main(int argc, char **argv)
{
	struct options opts = { .pages = 16, .node = 0 };
	uint64_t *before, *after;
	size_t page, accepted = 0, moved = 0;
	struct area area;
	char text[32];

	parse_options(argc, argv, &opts);
	bind_to_node(opts.node);
	area_open(&area, opts.kind, opts.pages);
	area_stamp(&area);
	before = calloc(opts.pages, sizeof(*before));
	after = calloc(opts.pages, sizeof(*after));
	if (!before || !after)
		die(EXIT_ENVIRONMENT, "no memory");

	area_pfns(&area, before);
	for (page = 0; page < opts.pages; page++) {
		snprintf(text, sizeof(text), "0x%llx",
			 (unsigned long long)before[page] * PAGE_SIZE);
		accepted += try_write("/sys/devices/system/memory/"
				      "soft_offline_page", text);
	}
	/* What was only unmapped is mapped again by this. */
	printf("kind=%s\n", kind_name(opts.kind));
	print_value("wrong", area_wrong_words(&area));
	area_pfns(&area, after);
	for (page = 0; page < opts.pages; page++)
		moved += after[page] && after[page] != before[page];
	print_value("pages", opts.pages);
	print_value("accepted", accepted);
	print_value("moved", moved);
	print_value("hardware_corrupted_kb", meminfo_kb("HardwareCorrupted"));
	area_close(&area);
	return 0;
}
