// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
/* First: <sys/sysinfo.h> takes it from a header that tools/include replaces. */
#include <linux/sysinfo.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "guest_memfd_boot_guest.h"

static uint64_t guest_ms(void)
{
	static uint64_t last;
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
	if (now < last)
		return 0;
	last = now;
	return now;
}

static bool guest_uses_kvm_clock(void)
{
	char name[32] = "";
	int fd;

	mkdir("/sys", 0755);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		  O_RDONLY);
	if (fd < 0 || read(fd, name, sizeof(name) - 1) < 0)
		name[0] = 0;
	printf("L2: clock source: %s", name);
	return !strcmp(name, "kvm-clock\n");
}

static uint64_t *guest_pattern(uint64_t *words)
{
	struct sysinfo info;
	uint64_t *mem, i;
	size_t size;

	sysinfo(&info);
	size = (uint64_t)info.freeram * info.mem_unit / 10 * 9;
	size = (size - 2 * MB) & -GUEST_PAGE;
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED) {
		perror("L2: mmap");
		outb(0, PORT_END);
	}
	*words = size / sizeof(*mem);
	for (i = 0; i < *words; i++)
		mem[i] = word_of(0, i);
	printf("L2: %lu of %lu MB hold the pattern\n", size / MB,
	       info.totalram * info.mem_unit / MB);
	return mem;
}

/* Check each word, and write what it has to be in the next round. */
static uint64_t guest_round(uint64_t *mem, uint64_t words, uint32_t round,
			    uint32_t *wrong)
{
	uint64_t sum = 0, word, i;

	for (i = 0; i < words; i++) {
		word = mem[i];
		*wrong += word != word_of(round, i);
		sum = sum_of(sum, word);
		mem[i] = word_of(round + 1, i);
	}
	return sum;
}

void guest_main(void)
{
	uint32_t round = 0, wrong = 0, backwards = 0;
	uint64_t *mem, words, sum, start;
	bool go_on;

	setlinebuf(stdout);
	puts(HELLO);
	iopl(3);
	mem = guest_pattern(&words);
	outl(1, PORT_REPORT);
	outl(words, PORT_REPORT);
	start = guest_ms();
	outl(start, PORT_REPORT);
	outl(guest_uses_kvm_clock(), PORT_REPORT);

	do {
		/*
		 * When the pages no longer move, one whole round is left. A
		 * second is what it takes to compare clocks.
		 */
		go_on = inb(PORT_GO_ON) || guest_ms() < start + 1000;
		sum = guest_round(mem, words, ++round - 1, &wrong);
		backwards += !guest_ms();
		if (!(round & (round - 1)))
			printf("L2: round %u, wrong words: %u\n", round, wrong);
	} while (go_on);

	printf("L2: checksum %016lx after %u rounds, wrong words: %u\n", sum,
	       round, wrong);
	outl(round, PORT_REPORT);
	outl(wrong, PORT_REPORT);
	outl(sum, PORT_REPORT);
	outl(sum >> 32, PORT_REPORT);
	outl(backwards, PORT_REPORT);
	outl(guest_ms(), PORT_REPORT);
	fsync(1);
	outb(1, PORT_END);
	/* Process 1 must not exit. */
	for (;;)
		pause();
}
