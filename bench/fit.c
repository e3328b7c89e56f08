// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much secret memory fits before the OOM killer comes? A child that it
 * is sure to pick touches page after page; what it had when it died is left
 * in memory shared with the parent.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "secret.h"

static void touch_all(enum kind kind, size_t pages, volatile size_t *touched)
{
	struct area area;

	if (!try_write("/proc/self/oom_score_adj", "1000"))
		die(EXIT_ENVIRONMENT, "oom_score_adj");
	area_open(&area, kind, pages);
	while (*touched < pages) {
		area.mem[*touched * PAGE_SIZE] = 1;
		(*touched)++;
	}
}

int main(int argc, char **argv)
{
	/* Well beyond any guest: the file's size costs nothing. */
	struct options opts = { .pages = 64UL << 18, .node = -1 };
	volatile size_t *touched;
	int status;
	pid_t pid;

	parse_options(argc, argv, &opts);
	touched = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (touched == MAP_FAILED)
		die(EXIT_ENVIRONMENT, "mmap");
	*touched = 0;
	bind_to_node(opts.node);

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die(EXIT_ENVIRONMENT, "fork");
	if (!pid) {
		touch_all(opts.kind, opts.pages, touched);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		die(EXIT_ENVIRONMENT, "waitpid");
	printf("kind=%s\n", kind_name(opts.kind));
	print_value("fits_mb", *touched >> 8);
	print_value("killed", WIFSIGNALED(status) &&
			      WTERMSIG(status) == SIGKILL);
	if (WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	return 0;
}
