// SPDX-License-Identifier: GPL-2.0
/*
 * Boot Linux in memory of guest_memfd, and move every page of it between two
 * NUMA nodes, many times, while it boots and while it computes.
 *
 * The guest's initramfs is this very program, which as process 1 fills most of
 * the memory with a known pattern, checks and rewrites each word again and
 * again, and reports a checksum of the last time. What that must be is known
 * without any memory.
 *
 * The program has to be linked statically.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "kselftest.h"
#include "guest_memfd_boot_vmm.h"

/* <linux/mempolicy.h> and <numaif.h> need not be installed. */
#define MOVE_OWN_PAGES	0x2	/* MPOL_MF_MOVE */

/* A page may be in use just when it is to move. */
#define MOVE_TRIES	20

static unsigned int wanted_moves = 3;

static struct mover {
	void **pages;
	int *nodes;		/* where each page is */
	int *before;		/* where each page was */
	unsigned int *moves;	/* of each page, since the guest was ready */
	unsigned long early;	/* moves of all pages before that */
	unsigned long again;	/* moves that had to be tried again */
	unsigned int tries;	/* the most that a round took */
	size_t stuck;		/* pages that did not move in MOVE_TRIES */
	unsigned long rounds;
	double seconds;

	/* What move_pages(2) is asked for */
	void **list;
	int *to;
	int *status;
} mover;

/* ------------------------------------------------------------- move its pages */

static bool movable(void)
{
	return vm.flags & GUEST_MEMFD_FLAG_MOVABLE;
}

static void find_pages(struct mover *m)
{
	if (syscall(SYS_move_pages, 0, vm.pages, m->pages, NULL, m->nodes, 0))
		ksft_exit_fail_perror("move_pages, to ask");
}

/* Returns how many pages are not on the node. */
static size_t list_pages(struct mover *m, int node)
{
	size_t count = 0;

	for (size_t i = 0; i < vm.pages; i++) {
		if (m->nodes[i] == node)
			continue;
		m->list[count] = m->pages[i];
		m->to[count++] = node;
	}
	return count;
}

/*
 * A page that KVM is just mapping stays where it is: try again. After such a
 * page the status is not to be trusted: ask where the pages are.
 */
static void move_round(struct mover *m, int node)
{
	bool early = !vm.reported;
	unsigned int tries = 0;
	size_t count;

	find_pages(m);
	while ((count = list_pages(m, node)) && !vm.stopped) {
		if (tries == MOVE_TRIES) {
			m->stuck = count;
			break;
		}
		if (tries++)
			m->again += count;
		if (tries > m->tries)
			m->tries = tries;
		memcpy(m->before, m->nodes, vm.pages * sizeof(*m->before));
		syscall(SYS_move_pages, 0, count, m->list, m->to, m->status,
			MOVE_OWN_PAGES);
		find_pages(m);
		for (size_t i = 0; i < vm.pages; i++) {
			if (m->nodes[i] == m->before[i])
				continue;
			if (early)
				m->early++;
			else
				m->moves[i]++;
		}
		if (!movable())
			break;
	}
	m->rounds++;
}

static unsigned int least_moves(struct mover *m)
{
	unsigned int least = -1;

	for (size_t i = 0; i < vm.pages; i++)
		if (m->moves[i] < least)
			least = m->moves[i];
	return least;
}

static void *run_mover(void *arg)
{
	struct mover *m = &mover;
	double start = now();

	while (!vm.stopped && !m->stuck && least_moves(m) < wanted_moves) {
		move_round(m, m->rounds & 1);
		if (!(m->rounds & (m->rounds - 1)))
			ksft_print_msg("%lu times to a node, %.1f s\n",
				       m->rounds, now() - start);
		/* Once to either node is enough to see that nothing moves. */
		if (!movable() && m->rounds == 2)
			break;
	}
	m->seconds = now() - start;
	vm.over = true;
	return arg;
}

static void make_mover(struct mover *m)
{
	m->pages = calloc(vm.pages, sizeof(*m->pages));
	m->nodes = calloc(vm.pages, sizeof(*m->nodes));
	m->before = calloc(vm.pages, sizeof(*m->before));
	m->moves = calloc(vm.pages, sizeof(*m->moves));
	m->list = calloc(vm.pages, sizeof(*m->list));
	m->to = calloc(vm.pages, sizeof(*m->to));
	m->status = calloc(vm.pages, sizeof(*m->status));
	for (size_t i = 0; i < vm.pages; i++)
		m->pages[i] = vm.mem + i * GUEST_PAGE;
}

/* -------------------------------------------------------------- the verdict */

static uint64_t expected_sum(uint64_t words, uint32_t round)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < words; i++)
		sum = sum_of(sum, word_of(round, i));
	return sum;
}

static void judge_moves(void)
{
	struct mover *m = &mover;
	unsigned int least = least_moves(m);
	unsigned long all = m->early;

	for (size_t i = 0; i < vm.pages; i++)
		all += m->moves[i];
	ksft_print_msg("%lu moves of %zu pages in %.1f s, %lu while it booted; %lu tried again\n",
		       all, vm.pages, m->seconds, m->early, m->again);
	ksft_print_msg("at most %u of %u tries, %zu pages stuck\n", m->tries,
		       MOVE_TRIES, m->stuck);
	if (!wanted_moves)
		ksft_test_result_skip("every page moved 0 times\n");
	else if (!movable())
		ksft_test_result(!all, "no page moved without the flag\n");
	else
		ksft_test_result(least >= wanted_moves,
				 "every page moved %u times\n",
				 least < wanted_moves ? least : wanted_moves);
}

static void judge_sum(void)
{
	uint32_t *report = vm.report;
	uint64_t sum, expected;

	if (vm.reported < NR_REPORT) {
		ksft_test_result_fail("checksum: the guest did not get that far\n");
		return;
	}
	sum = (uint64_t)report[REPORT_SUM_HIGH] << 32 | report[REPORT_SUM_LOW];
	expected = expected_sum(report[REPORT_WORDS], report[REPORT_ROUND] - 1);
	ksft_test_result(sum == expected && !report[REPORT_WRONG] &&
			 report[REPORT_WORDS],
			 "checksum of %lu MB, rewritten %u times: %016lx, wanted %016lx\n",
			 report[REPORT_WORDS] * sizeof(uint64_t) / MB,
			 report[REPORT_ROUND], sum, expected);
}

static void judge_clock(void)
{
	double guest = (int)(vm.report[REPORT_END_MS] -
			     vm.report[REPORT_START_MS]) / 1000.0;
	double host = vm.end_at - vm.ready_at;

	if (vm.reported < NR_REPORT) {
		ksft_test_result_fail("kvm-clock: the guest did not get that far\n");
		return;
	}
	ksft_test_result(vm.report[REPORT_KVM_CLOCK] &&
			 !vm.report[REPORT_BACKWARDS] &&
			 guest > 0.9 * host - 0.1 && guest < 1.1 * host + 0.1,
			 "kvm-clock: %.2f s in the guest, %.2f s outside\n",
			 guest, host);
}

static void print_vmstat(void)
{
	static const char *const names[] = {
		"pgmigrate_success", "pgmigrate_fail", "no_direct_map_",
		"direct_map_zap", "direct_map_restores", "ephmap_",
	};
	FILE *file = fopen("/proc/vmstat", "r");
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (!strncmp(line, names[i], strlen(names[i])))
				ksft_print_msg("%s", line);
	if (file)
		fclose(file);
}

static void judge(void)
{
	bool none = vm.flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP;

	print_vmstat();
	ksft_test_result(vm.hello && vm.reached_end,
			 "L2 kernel boots from memory with%s a direct map\n",
			 none ? "out" : "");
	ksft_test_result(!vm.splats, "L2 kernel has nothing to complain of\n");
	judge_moves();
	judge_sum();
	judge_clock();
}

/* ------------------------------------------------------------------- options */

static void help(const char *prog)
{
	printf("usage: %s [options]\n"
	       "  --kernel PATH  a bzImage (%s)\n"
	       "  --initrd PATH  instead of this program itself\n"
	       "  --append ARGS  more kernel arguments\n"
	       "  --mem MB       the guest's memory (%zu)\n"
	       "  --moves N      how often each page moves, at least, once the guest\n"
	       "                 computes (%u); 0: they stay\n"
	       "  --flags LIST   of mmap, init_shared, no_direct_map, movable (all)\n"
	       "  --timeout S    for all of it (%u)\n"
	       "Exit status: 0 pass, 1 fail, 2 usage, 4 no KVM that has the flags.\n",
	       prog, vm.kernel, vm.size / MB, wanted_moves, vm.seconds);
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "kernel",	required_argument,	NULL, 'k' },
		{ "initrd",	required_argument,	NULL, 'i' },
		{ "append",	required_argument,	NULL, 'a' },
		{ "mem",	required_argument,	NULL, 'm' },
		{ "moves",	required_argument,	NULL, 'n' },
		{ "flags",	required_argument,	NULL, 'f' },
		{ "timeout",	required_argument,	NULL, 't' },
		{ "help",	no_argument,		NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (c) {
		case 'k':
			vm.kernel = optarg;
			break;
		case 'i':
			vm.initrd = optarg;
			break;
		case 'a':
			vm.append = optarg;
			break;
		case 'm':
			vm.size = strtoul(optarg, NULL, 0) * MB;
			break;
		case 'n':
			wanted_moves = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			vm.flags = parse_flags(optarg);
			break;
		case 't':
			vm.seconds = strtoul(optarg, NULL, 0);
			break;
		case 'h':
			help(argv[0]);
			exit(0);
		default:
			help(argv[0]);
			exit(2);
		}
	}
	vm.pages = vm.size / GUEST_PAGE;
}

/* ---------------------------------------------------------------------- main */

static void nothing(int sig)
{
}

static void run_machine(void)
{
	struct sigaction act = { .sa_handler = nothing };
	pthread_t vcpu, moving;
	struct timespec end;

	sigaction(SIGUSR1, &act, NULL);
	make_mover(&mover);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += vm.seconds;
	if (pthread_create(&vcpu, NULL, run_vcpu, NULL) ||
	    pthread_create(&moving, NULL, run_mover, NULL))
		ksft_exit_fail_msg("no thread\n");
	if (pthread_timedjoin_np(vcpu, NULL, &end)) {
		stop_vcpu(vcpu);
		pthread_join(vcpu, NULL);
	}
	pthread_join(moving, NULL);
}

int main(int argc, char **argv)
{
	double start = now();
	int kvm;

	if (getpid() == 1)
		guest_main();

	parse_options(argc, argv);
	ksft_print_header();
	kvm = open_kvm();
	if (wanted_moves && access("/sys/devices/system/node/node1", F_OK))
		ksft_exit_skip("needs two NUMA nodes, 0 and 1\n");
	ksft_set_plan(5);
	make_machine(kvm);
	ksft_print_msg("the machine starts, %.2f s\n", now() - start);
	run_machine();
	ksft_print_msg("the machine stopped, %.2f s\n", now() - start);
	judge();
	ksft_finished();
}
