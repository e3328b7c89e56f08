// SPDX-License-Identifier: GPL-2.0
/*
 * usage: asi_load SECONDS SPARE-MB
 *
 * Make the kernel need memory when users have nearly all, in pieces: fill
 * anonymous memory until SPARE-MB are available, give every second page back,
 * so that no pageblock is free, then have the kernel allocate page tables, half
 * of what is free. In between, every word that was written is verified. Prints
 * the rounds; exit status 1 for a wrong word.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE	4096UL
#define PMD	(2UL << 20)

static unsigned long available_mb(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long kb = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %lu", &kb) == 1)
			break;
	if (file)
		fclose(file);
	return kb >> 10;
}

static void *map(unsigned long size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

/* Page tables for @nr PTE tables, and hardly anything else: the zero page. */
static void page_tables(unsigned long nr)
{
	volatile char *p = map(nr * PMD);
	unsigned long i;

	for (i = 0; i < nr; i++)
		(void)p[i * PMD];
	munmap((void *)p, nr * PMD);
}

static unsigned long round_of_load(unsigned long spare)
{
	unsigned long mb = available_mb(), pages, i, wrong = 0;
	char *p;

	if (mb <= spare)
		return 0;
	pages = (mb - spare) * 256;
	p = map(pages * PAGE);
	for (i = 0; i < pages; i++)
		*(unsigned long *)(p + i * PAGE) = i ^ 0x5a5a5a5a;
	for (i = 0; i < pages; i += 2)
		madvise(p + i * PAGE, PAGE, MADV_DONTNEED);
	page_tables(pages / 4);
	for (i = 1; i < pages; i += 2)
		wrong += *(unsigned long *)(p + i * PAGE) != (i ^ 0x5a5a5a5a);
	munmap(p, pages * PAGE);
	return wrong;
}

int main(int argc, char **argv)
{
	unsigned long wrong = 0, rounds = 0;
	time_t end;

	if (argc != 3) {
		fprintf(stderr, "usage: asi_load SECONDS SPARE-MB\n");
		return 2;
	}
	end = time(NULL) + atol(argv[1]);
	while (time(NULL) < end) {
		wrong += round_of_load(strtoul(argv[2], NULL, 0));
		rounds++;
	}
	printf("%lu rounds, %lu words wrong\n", rounds, wrong);
	return wrong != 0;
}
