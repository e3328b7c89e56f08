/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What runs in the guest of guest_memfd_boot_test, as its process 1, and how
 * it talks to the VMM: by ports, of which a process that may use them can
 * write and read 32 bits at a time.
 */
#ifndef SELFTEST_KVM_GUEST_MEMFD_BOOT_GUEST_H
#define SELFTEST_KVM_GUEST_MEMFD_BOOT_GUEST_H

#include <stdint.h>

#define GUEST_PAGE	4096UL
#define MB		(1UL << 20)

/* Ports that no PC has. */
enum {
	PORT_END	= 0x501,	/* out: stop the machine */
	PORT_GO_ON	= 0x510,	/* in: is there more to do? */
	PORT_REPORT	= 0x514,	/* out: the next field of the report */
};

/* What the guest's process 1 has to say, in this order, 32 bits at a time. */
enum {
	REPORT_READY,			/* the pattern is in memory */
	REPORT_WORDS,			/* how long it is */
	REPORT_START_MS,		/* the guest's clock at READY */
	REPORT_KVM_CLOCK,		/* it is the clock source */
	REPORT_ROUND,			/* how often each word was rewritten */
	REPORT_WRONG,			/* words that were not what they must be */
	REPORT_SUM_LOW, REPORT_SUM_HIGH,
	REPORT_BACKWARDS,		/* how often time went backwards */
	REPORT_END_MS,			/* the guest's clock at the end */
	NR_REPORT,
};

/* Odd factor: no two words of a round are equal. */
static inline uint64_t word_of(uint32_t round, uint64_t place)
{
	return (((uint64_t)round << 32) ^ place ^ 0x5eed000000000000ULL) *
	       0x9e3779b97f4a7c15ULL;
}

/* The order of the words counts, too. */
static inline uint64_t sum_of(uint64_t sum, uint64_t word)
{
	return (sum ^ word) * 0x100000001b3ULL;
}

#define HELLO	"L2: hello from memory that the host cannot see"

void guest_main(void);

#endif /* SELFTEST_KVM_GUEST_MEMFD_BOOT_GUEST_H */
