// SPDX-License-Identifier: GPL-2.0
/*
 * usage: l2_words MB FILE
 *
 * Fill MB megabytes with words that tell their place, then verify and renew
 * these until FILE is there; print how many rounds that were, and how many
 * words were wrong. Runs in a guest's guest (scripts/guest/test-qemu.sh).
 *
 * usage: l2_words --page FILE
 *
 * Print the physical address of a page with words of that kind; once FILE is
 * there, read the page.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL

/* No two words of a round are alike, nor is a word in two rounds. */
static uint64_t word(uint64_t i, uint64_t round)
{
	uint64_t x = i + (round << 40) + 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	return x ^ (x >> 27);
}

static volatile uint64_t *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static int one_page(const char *file)
{
	volatile uint64_t *p = map(PAGE);
	uint64_t entry = 0, i, wrong = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	for (i = 0; i < PAGE / 8; i++)
		p[i] = word(i, 0);
	if (pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) != 8 || !entry)
		return 1;
	printf("0x%llx\n", (entry & ((1ULL << 55) - 1)) * PAGE);
	fflush(stdout);
	while (access(file, F_OK))
		usleep(100000);
	for (i = 0; i < PAGE / 8; i++)
		wrong += p[i] != word(i, 0);
	printf("wrong=%llu\n", (unsigned long long)wrong);
	return wrong != 0;
}

int main(int argc, char **argv)
{
	uint64_t words, i, round = 0, wrong = 0;
	volatile uint64_t *p;

	if (argc == 3 && !strcmp(argv[1], "--page"))
		return one_page(argv[2]);
	if (argc != 3 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: l2_words MB FILE | --page FILE\n");
		return 2;
	}
	words = (uint64_t)atoi(argv[1]) << 17;
	p = map(words * 8);
	for (i = 0; i < words; i++)
		p[i] = word(i, 0);
	printf("filled\n");
	fflush(stdout);
	do {
		for (i = 0; i < words; i++) {
			wrong += p[i] != word(i, round);
			p[i] = word(i, round + 1);
		}
		round++;
	} while (access(argv[2], F_OK));
	printf("rounds=%llu wrong=%llu\n", (unsigned long long)round,
	       (unsigned long long)wrong);
	return wrong != 0;
}
