// SPDX-License-Identifier: GPL-2.0
/*
 * Print how fast this machine's TSC runs, in kHz; nothing if it has none. An
 * emulated TSC runs as fast: scripts/vm-qemu.sh tells the guest's kernel.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <x86intrin.h>

struct moment {
	uint64_t ns, tsc;
};

/* The pair that was read in the least time: on a busy host most are not. */
static struct moment now(void)
{
	struct moment best = { 0, 0 };
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 100; i++) {
		struct timespec t;
		uint64_t before = __rdtsc(), after;

		clock_gettime(CLOCK_MONOTONIC_RAW, &t);
		after = __rdtsc();
		if (after - before < least) {
			least = after - before;
			best.ns = t.tv_sec * 1000000000ULL + t.tv_nsec;
			best.tsc = before + least / 2;
		}
	}
	return best;
}

int main(void)
{
	struct moment a = now(), b;

	usleep(50000);
	b = now();
	printf("%.0f\n", (b.tsc - a.tsc) * 1e6 / (b.ns - a.ns));
	return 0;
}
#else
int main(void)
{
	return 0;
}
#endif
