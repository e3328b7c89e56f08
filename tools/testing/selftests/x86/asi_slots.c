// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation: a CPU's restricted page tables have a copy of the user
 * half of an mm's top-level one. Threads on all CPUs map memory in top-level slots
 * of their own, use it and unmap it, so that page tables come and go below entries
 * that others have copied (I2 to I4 of Documentation/arch/x86/asi.rst); others
 * fork, and execute this program anew. Every word has to be right, what is unmapped
 * has to be gone, and the kernel must not complain: with CONFIG_DEBUG_ASI it looks
 * at each page that it frees.
 *
 * usage: asi_slots [SECONDS]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"

#define THREADS		8
#define PAGE		4096UL

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

static unsigned long slot_size = 1UL << 39;
static unsigned int first_slot = 16, nr_slots = 32;
static bool stop;

static unsigned long mapped, wrong, stayed, forked, failed;

static __thread sigjmp_buf gone;

static void on_segv(int sig)
{
	siglongjmp(gone, 1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void go_to_cpu(unsigned int nr)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(nr % cpus, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Map a page in a slot that nobody else is in, and use it. */
static uint64_t *map(unsigned int slot, uint64_t word)
{
	void *want = (void *)((first_slot + slot) * slot_size + PAGE);
	uint64_t *p;

	p = mmap(want, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	__atomic_store_n(p, word, __ATOMIC_RELAXED);
	return p;
}

/* What is unmapped is a signal. */
static bool still_has(uint64_t *p, uint64_t word)
{
	if (sigsetjmp(gone, 1))
		return false;
	return __atomic_load_n(p, __ATOMIC_RELAXED) == word;
}

static void *come_and_go(void *arg)
{
	unsigned long id = (unsigned long)arg;
	unsigned int seed = id + 1;
	uint64_t word = id << 32;

	go_to_cpu(id);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		/* A slot for each thread, so that it is the only user. */
		unsigned int slot = id + THREADS * (rand_r(&seed) %
						    (nr_slots / THREADS));
		uint64_t *p = map(slot, ++word);

		if (!p) {
			__atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
			continue;
		}
		if (rand_r(&seed) % 4 == 0)
			go_to_cpu(rand_r(&seed));
		if (rand_r(&seed) % 8 == 0)
			sched_yield();
		if (__atomic_load_n(p, __ATOMIC_RELAXED) != word)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
		munmap(p, PAGE);
		__atomic_fetch_add(&mapped, 1, __ATOMIC_RELAXED);
		if (rand_r(&seed) % 16 == 0 && still_has(p, word))
			__atomic_fetch_add(&stayed, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A child uses slots that its parent has tables in, and is replaced. */
static void *fork_and_exec(void *arg)
{
	unsigned long id = (unsigned long)arg;
	int status;
	pid_t pid;

	go_to_cpu(id);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		pid = fork();
		if (!pid) {
			uint64_t *p = map(nr_slots + id, id);

			if (!p || __atomic_load_n(p, __ATOMIC_RELAXED) != id)
				_exit(1);
			if (id % 2)
				_exit(0);
			execl("/proc/self/exe", "asi_slots", "exit", NULL);
			_exit(1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			__atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&forked, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_segv };
	double seconds = argc > 1 ? atof(argv[1]) : 20;
	pthread_t threads[THREADS + 2];
	unsigned long i;
	void *p;

	if (argc > 1 && !strcmp(argv[1], "exit"))
		return map(0, 1) ? 0 : 1;

	ksft_print_header();
	ksft_set_plan(4);
	sigaction(SIGSEGV, &act, NULL);

	/* With five levels a slot is 256 TB. */
	p = mmap((void *)(1UL << 48), PAGE, PROT_READ,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (p == (void *)(1UL << 48)) {
		munmap(p, PAGE);
		slot_size = 1UL << 48;
		first_slot = 1;
	}
	for (i = 0; i < THREADS + 2; i++) {
		if (pthread_create(&threads[i], NULL, i < THREADS ? come_and_go :
				   fork_and_exec, (void *)i))
			ksft_exit_fail_msg("no thread: %s\n", strerror(errno));
	}
	for (seconds += now(); now() < seconds;)
		usleep(100000);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS + 2; i++)
		pthread_join(threads[i], NULL);

	ksft_print_msg("slots of 2^%u, %lu pages mapped and unmapped, %lu children\n",
		       slot_size == 1UL << 48 ? 48 : 39, mapped, forked);
	ksft_test_result(mapped > 100 && forked > 2,
			 "I2: top-level entries come and go\n");
	ksft_test_result(!wrong, "I2: every word is right: %lu are not\n", wrong);
	ksft_test_result(!stayed, "I3: what is unmapped is gone: %lu stayed\n",
			 stayed);
	ksft_test_result(!failed, "I4: nothing failed: %lu times\n", failed);
	ksft_finished();
}
