// SPDX-License-Identifier: GPL-2.0-only
/*
 * What does it cost to populate guest memory, and to load data into it? Each
 * way into new memory, --rounds times: fallocate(2), and the first use of what
 * it allocated, which is when memory with a direct map is zeroed; copying to a
 * mapping, which faults page after page; and write(2), which only memory
 * without a direct map has.
 */
#include <stdio.h>
#include <stdlib.h>

#include "secret.h"

static uint64_t *source;

static void load_populate(struct area *area)
{
	size_t page;

	area_fallocate(area);
	for (page = 0; page < area->pages; page++)
		*(volatile char *)page_of(area, page);
}

static void load_memcpy(struct area *area)
{
	memcpy(area->mem, source, area->pages * PAGE_SIZE);
}

static void load_write(struct area *area)
{
	size_t done = 0, all = area->pages * PAGE_SIZE;

	while (done < all) {
		ssize_t n = pwrite(area->fd, (char *)source + done, all - done,
				   done);

		if (n <= 0)
			die(EXIT_ENVIRONMENT, "write");
		done += n;
	}
}

/* How many words are neither as loaded nor, where nothing was, zero. */
static size_t wrong_words(const struct area *area, bool zero)
{
	const uint64_t *mem = (uint64_t *)area->mem;
	size_t word, wrong = 0;

	for (word = 0; word < area->pages * PAGE_WORDS; word++)
		wrong += mem[word] != (zero ? 0 : source[word]);
	return wrong;
}

static void measure(const struct options *opts, const char *name,
		    void (*load)(struct area *))
{
	struct vmstat before;
	struct area area;
	size_t round, wrong = 0;
	uint64_t tsc;
	char prefix[32];

	for (round = 1; round <= opts->rounds; round++) {
		area_open(&area, opts->kind, opts->pages);
		if (round == opts->rounds)
			vmstat_read(&before);
		tsc = now_tsc();
		load(&area);
		tsc = now_tsc() - tsc;
		if (round == opts->rounds) {
			snprintf(prefix, sizeof(prefix), "%s_", name);
			vmstat_print_since(&before, prefix);
			vmstat_free(&before);
			printf("%s", prefix);
			print_value("huge_pages", huge_pages(&area));
			wrong = wrong_words(&area, load == area_fallocate ||
					    load == load_populate);
		}
		area_close(&area);
		printf("round_%s_tsc=%llu\n", name, (unsigned long long)tsc);
	}
	printf("%s_", name);
	print_value("wrong", wrong);
}

int main(int argc, char **argv)
{
	struct options opts = {
		.kind = KIND_GMEM, .pages = 4096, .node = 0, .rounds = 5,
	};
	size_t word;

	parse_options(argc, argv, &opts);
	bind_to_node(opts.node);
	source = mmap(NULL, opts.pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (source == MAP_FAILED)
		die(EXIT_ENVIRONMENT, "no memory");
	for (word = 0; word < opts.pages * PAGE_WORDS; word++)
		source[word] = word * 0x9e3779b97f4a7c15ULL + 1;

	printf("kind=%s\n", kind_name(opts.kind));
	print_value("pages", opts.pages);
	measure(&opts, "fallocate", area_fallocate);
	measure(&opts, "populate", load_populate);
	measure(&opts, "memcpy", load_memcpy);
	if (kind_is_hidden(opts.kind))
		measure(&opts, "write", load_write);
	return 0;
}
