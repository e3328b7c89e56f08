// SPDX-License-Identifier: GPL-2.0-only
/*
 * Can a CMA allocation push secret pages out of its area? Fills memory until
 * most of the area is lent to our pages, then allocates all of the area by
 * its debugfs file and looks where our pages are. --node is the area's, by
 * default the last of two.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"

#define CMA_DEBUGFS "/sys/kernel/debug/cma"

/* Large pieces, as drivers ask for them. */
#define PIECE_PAGES 4096UL

struct cma {
	char path[300];
	uint64_t base_pfn, pages;
};

static void cma_path(const struct cma *cma, char *path, size_t room,
		     const char *leaf)
{
	snprintf(path, room, "%s/%s", cma->path, leaf);
}

/* The one area that cma= on the command line made. */
static void cma_find(struct cma *cma)
{
	DIR *dir = opendir(CMA_DEBUGFS);
	struct dirent *entry;
	char path[400];

	if (!dir)
		die(EXIT_ENVIRONMENT, CMA_DEBUGFS);
	cma->path[0] = '\0';
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			snprintf(cma->path, sizeof(cma->path), "%s/%s",
				 CMA_DEBUGFS, entry->d_name);
	closedir(dir);
	if (!cma->path[0])
		die(EXIT_ENVIRONMENT, "no CMA area: boot with cma=256M");
	cma_path(cma, path, sizeof(path), "base_pfn");
	cma->base_pfn = read_number(path, 0);
	cma_path(cma, path, sizeof(path), "count");
	cma->pages = read_number(path, 0);
}

static size_t pages_inside(const struct cma *cma, const struct area *area,
			   uint64_t *pfns)
{
	size_t page, inside = 0;

	area_pfns(area, pfns);
	for (page = 0; page < area->pages; page++)
		inside += pfns[page] >= cma->base_pfn &&
			  pfns[page] < cma->base_pfn + cma->pages;
	return inside;
}

int main(int argc, char **argv)
{
	struct options opts = { .pages = 1000 << 8, .node = 1 };
	uint64_t *pfns, start, done = 0;
	struct area area;
	char path[400], text[32];
	size_t filled, page;
	struct cma cma;

	parse_options(argc, argv, &opts);
	cma_find(&cma);
	prefer_node(opts.node);
	area_open(&area, opts.kind, opts.pages);
	pfns = calloc(opts.pages, sizeof(*pfns));
	if (!pfns)
		die(EXIT_ENVIRONMENT, "no memory");

	/* Until a tenth of the area is left, or all asked for is touched. */
	for (filled = 0; filled < opts.pages; filled++) {
		if (filled % 4096 == 0 &&
		    meminfo_kb("CmaFree") < cma.pages * 4 / 10)
			break;
		area_stamp_page(&area, filled);
	}
	/* The rest was never touched: the check must not create it. */
	area.pages = filled;

	printf("kind=%s\n", kind_name(opts.kind));
	print_value("filled_mb", filled >> 8);
	print_value("inside_before", pages_inside(&cma, &area, pfns));
	cma_path(&cma, path, sizeof(path), "alloc");
	start = now_ns();
	for (page = 0; page + PIECE_PAGES <= cma.pages; page += PIECE_PAGES) {
		snprintf(text, sizeof(text), "%lu", PIECE_PAGES);
		if (try_write(path, text))
			done += PIECE_PAGES;
	}
	print_value("ns", now_ns() - start);
	print_value("asked", page);
	print_value("allocated", done);
	print_value("inside_after", pages_inside(&cma, &area, pfns));
	print_value("wrong", area_wrong_words(&area));

	cma_path(&cma, path, sizeof(path), "free");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)done);
	if (done && !try_write(path, text))
		die(1, "CMA pages stay allocated");
	area.pages = opts.pages;
	area_close(&area);
	return 0;
}
