// SPDX-License-Identifier: GPL-2.0-only
/*
 * Can memory blocks full of secret pages go offline? Fills --pages on --node,
 * takes every memory block that those pages fill to nine tenths, takes these
 * offline one by one, checks every word and brings the blocks back.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "secret.h"

#define MEMORY "/sys/devices/system/memory"

static void block_path(char *path, size_t room, size_t block, const char *leaf)
{
	snprintf(path, room, MEMORY "/memory%zu/%s", block, leaf);
}

static bool block_is_movable(size_t block)
{
	char path[96], zones[64] = "";
	FILE *file;

	block_path(path, sizeof(path), block, "valid_zones");
	file = fopen(path, "r");
	if (!file || !fgets(zones, sizeof(zones), file))
		die(EXIT_ENVIRONMENT, "%s", path);
	fclose(file);
	return !strcmp(zones, "Movable\n");
}

static void interrupt(int signal)
{
	(void)signal;
}

/* Offlining tries for ever; the alarm's signal is what ends a lost try. */
static bool set_block(size_t block, const char *state, unsigned int seconds)
{
	char path[96];
	bool done;

	block_path(path, sizeof(path), block, "state");
	alarm(seconds);
	done = try_write(path, state);
	alarm(0);
	return done;
}

int main(int argc, char **argv)
{
	/* No SA_RESTART: the write must return. */
	const struct sigaction action = { .sa_handler = interrupt };
	struct options opts = {
		.pages = 512 << 8, .node = 1, .seconds = 20,
	};
	size_t block, blocks, page, tried = 0, offlined = 0, movable = 0;
	uint64_t *pfns, start, ns = 0;
	size_t block_pages, *held;
	struct vmstat before;
	struct area area;
	bool *gone;

	parse_options(argc, argv, &opts);
	sigaction(SIGALRM, &action, NULL);
	block_pages = read_number(MEMORY "/block_size_bytes", 16) / PAGE_SIZE;
	bind_to_node(opts.node);
	area_open(&area, opts.kind, opts.pages);
	area_stamp(&area);

	pfns = calloc(opts.pages, sizeof(*pfns));
	if (!pfns)
		die(EXIT_ENVIRONMENT, "no memory");
	area_pfns(&area, pfns);
	for (page = 0, blocks = 0; page < opts.pages; page++)
		if (blocks <= pfns[page] / block_pages)
			blocks = pfns[page] / block_pages + 1;
	held = calloc(blocks, sizeof(*held));
	gone = calloc(blocks, sizeof(*gone));
	if (!held || !gone)
		die(EXIT_ENVIRONMENT, "no memory");
	for (page = 0; page < opts.pages; page++)
		held[pfns[page] / block_pages]++;

	vmstat_read(&before);
	for (block = 0; block < blocks; block++) {
		if (held[block] < block_pages / 10 * 9)
			continue;
		tried++;
		if (block_is_movable(block))
			movable++;
		start = now_ns();
		gone[block] = set_block(block, "offline", opts.seconds);
		if (!gone[block])
			fprintf(stderr, "block %zu, %zu pages of ours: %s\n",
				block, held[block], strerror(errno));
		ns += now_ns() - start;
		offlined += gone[block];
	}

	printf("kind=%s\n", kind_name(opts.kind));
	print_value("tried", tried);
	print_value("movable", movable);
	print_value("offlined", offlined);
	print_value("ns", ns);
	vmstat_print_since(&before, "");
	print_value("wrong", area_wrong_words(&area));
	for (block = 0; block < blocks; block++)
		if (gone[block] && !set_block(block, "online_movable", 0))
			die(1, "block %zu stays offline", block);
	area_close(&area);
	return 0;
}
