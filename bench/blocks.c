// SPDX-License-Identifier: GPL-2.0-only
/*
 * What memory without a direct map costs a machine, and how much of it there is.
 * The first argument says what to do:
 *
 * touch: touch --mb of new memory, --rounds times, one right after the other:
 *	the first round finds no memory that was secret before, if the last run
 *	ended more than two seconds ago; the others find what was just released.
 *	--seconds after that, what is left in the direct map of small pages.
 * full: touch secret memory where 90 % of what is available are in use, and the
 *	rest is in pieces of --batch pages.
 * fit: touch files of --mb in a child, one after the other, until it is killed,
 *	or for --seconds; with --batch where most of the memory is in use by
 *	pieces of so many pages, three of four of which are free.
 * huge: ask --rounds times for 60 % of the memory in huge pages, while a child
 *	has --mb, in files that it replaces again and again.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "secret.h"

#define HUGE_SIZE	(2UL << 20)
#define CHURN_FILES	16

/* An odd factor's upper half: evenly spread, and the same in each run. */
static size_t scatter(size_t n, size_t below)
{
	return (n * 0x9e3779b97f4a7c15ULL >> 32) % below;
}

static void touch(struct area *area)
{
	size_t page;

	for (page = 0; page < area->pages; page++)
		*(volatile char *)page_of(area, page) = 1;
}

static void print_difference(const char *key, long long value)
{
	printf("%s=%lld\n", key, value);
}

static void measure_touch(const struct options *opts)
{
	const long long small = meminfo_kb("DirectMap4k");
	struct vmstat before;
	struct area area;
	size_t round;
	uint64_t ns;

	/* Free blocks of one node are not used before memory of the other. */
	bind_to_node(opts->node);
	print_value("pages", opts->pages);
	print_value("direct_map_1g_kb", meminfo_kb("DirectMap1G"));
	for (round = 0; round < opts->rounds; round++) {
		const char *what = round ? "again" : "first";
		char prefix[16];

		snprintf(prefix, sizeof(prefix), "%s_", what);
		area_open(&area, opts->kind, opts->pages);
		vmstat_read(&before);
		ns = now_ns();
		touch(&area);
		ns = now_ns() - ns;
		vmstat_print_since(&before, prefix);
		vmstat_free(&before);
		printf("%s_ns=%llu\n", what, (unsigned long long)ns);

		ns = now_ns();
		area_close(&area);
		print_value("release_ns", now_ns() - ns);
	}
	sleep(opts->seconds);
	print_difference("direct_map_4k_left_kb",
			 meminfo_kb("DirectMap4k") - small);
}

/*
 * Small pages of anonymous memory, in groups of @group pieces. Of each group one
 * piece, at random, is kept and the others are freed; or, if not @keep, the
 * other way round. Not by munmap(2): a process can have few mappings only.
 */
static void fill(size_t pages, size_t piece, size_t group, bool keep)
{
	struct area area;
	size_t i, chosen = 0, pieces = pages / piece;

	area_open(&area, KIND_ANON, pieces * piece);
	touch(&area);
	for (i = 0; i < pieces; i++) {
		if (i % group == 0)
			chosen = scatter(i, group);
		if ((i % group == chosen) == keep)
			continue;
		if (madvise(page_of(&area, i * piece), piece * PAGE_SIZE,
			    MADV_DONTNEED))
			die(EXIT_ENVIRONMENT, "madvise");
	}
}

static void measure_full(const struct options *opts)
{
	/* All but what the kernel keeps free for itself, and a little. */
	const size_t pages = meminfo_kb("MemAvailable") / 4 / 100 * 98;
	struct vmstat before;
	struct area area;
	uint64_t ns;

	fill(pages, opts->batch, 10, false);
	print_value("filled", pages);
	print_value("free_kb", meminfo_kb("MemFree"));

	/* Half of what was freed. */
	area_open(&area, opts->kind, pages / 20);
	vmstat_read(&before);
	ns = now_ns();
	touch(&area);
	print_value("ns", now_ns() - ns);
	print_value("pages", area.pages);
	vmstat_print_since(&before, "");
	area_close(&area);
}

static void fit_child(const struct options *opts, volatile size_t *touched)
{
	struct area area;
	size_t page;

	if (!try_write("/proc/self/oom_score_adj", "1000"))
		die(EXIT_ENVIRONMENT, "oom_score_adj");
	alarm(opts->seconds);
	/* Files and mappings stay. */
	for (;;) {
		area_open(&area, opts->kind, opts->pages);
		for (page = 0; page < area.pages; page++) {
			*(volatile char *)page_of(&area, page) = 1;
			(*touched)++;
		}
	}
}

static volatile size_t *shared_counter(void)
{
	volatile size_t *counter = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (counter == MAP_FAILED)
		die(EXIT_ENVIRONMENT, "mmap");
	*counter = 0;
	return counter;
}

static pid_t fork_or_die(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die(EXIT_ENVIRONMENT, "fork");
	return pid;
}

static void measure_fit(const struct options *opts)
{
	volatile size_t *touched = shared_counter();
	struct vmstat before;
	int status;
	pid_t pid;

	if (opts->batch)
		fill(meminfo_kb("MemFree") / 4 / 10 * 9, opts->batch, 4, true);
	print_value("free_kb", meminfo_kb("MemFree"));
	vmstat_read(&before);

	pid = fork_or_die();
	if (!pid)
		fit_child(opts, touched);
	if (waitpid(pid, &status, 0) != pid)
		die(EXIT_ENVIRONMENT, "waitpid");
	if (!WIFSIGNALED(status))
		exit(WEXITSTATUS(status));
	print_value("pages", *touched);
	print_value("signal", WTERMSIG(status));
	vmstat_print_since(&before, "");
}

static void churn(const struct options *opts, volatile size_t *made)
{
	struct area files[CHURN_FILES] = { };
	size_t i;

	for (;; (*made)++) {
		i = *made < CHURN_FILES ? *made : scatter(*made, CHURN_FILES);
		if (files[i].mem)
			area_close(&files[i]);
		area_open(&files[i], opts->kind, opts->pages / CHURN_FILES);
		touch(&files[i]);
	}
}

/* In kB; huge pages of this process, as nobody else asks for any. */
static unsigned long long ask_for_huge_pages(size_t bytes)
{
	unsigned long long had;
	size_t offset, room = bytes + HUGE_SIZE;
	char *mem, *start;

	mem = mmap(NULL, room, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		die(EXIT_ENVIRONMENT, "mmap");
	start = mem + -(uintptr_t)mem % HUGE_SIZE;
	if (madvise(start, bytes, MADV_HUGEPAGE))
		die(EXIT_ENVIRONMENT, "MADV_HUGEPAGE");
	for (offset = 0; offset < bytes; offset += PAGE_SIZE)
		*(volatile char *)(start + offset) = 1;
	had = meminfo_kb("AnonHugePages");
	munmap(mem, room);
	return had;
}

static void measure_huge(const struct options *opts)
{
	const size_t bytes = meminfo_kb("MemTotal") * 1024 / 100 * 60 /
			     HUGE_SIZE * HUGE_SIZE;
	volatile size_t *made = shared_counter();
	size_t round;
	pid_t pid = 0;

	if (opts->pages) {
		pid = fork_or_die();
		if (!pid)
			churn(opts, made);
	}
	print_value("asked_kb", bytes >> 10);
	for (round = 0; round < opts->rounds; round++) {
		/* Since the last round, about every file was replaced. */
		while (pid && *made < (round + 2) * CHURN_FILES) {
			if (waitpid(pid, NULL, WNOHANG))
				die(EXIT_ENVIRONMENT, "no files to replace");
			usleep(10000);
		}
		print_value("huge_kb", ask_for_huge_pages(bytes));
	}
	print_value("replaced", *made);
	if (pid) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*measure)(const struct options *opts);
		struct options opts;
	} works[] = {
		{ "touch", measure_touch, { .pages = 300 << 8, .rounds = 2 } },
		{ "full", measure_full, { .batch = 1 } },
		{ "fit", measure_fit, { .pages = 128 << 8 } },
		{ "huge", measure_huge, { .pages = 64 << 8, .rounds = 4 } },
	};
	struct options opts;
	size_t i;

	for (i = 0; i < sizeof(works) / sizeof(*works); i++) {
		if (argc < 2 || strcmp(argv[1], works[i].name))
			continue;
		opts = works[i].opts;
		parse_options(argc - 1, argv + 1, &opts);
		printf("kind=%s\n", kind_name(opts.kind));
		works[i].measure(&opts);
		return 0;
	}
	errno = 0;
	die(2, "the first argument is touch, full, fit or huge");
}
