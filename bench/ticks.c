// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run a command and say how many ticks of the TSC it took: under -icount two for
 * each instruction, and for what the CPU was idle.
 */
#include <sys/wait.h>

#include "secret.h"

int main(int argc, char **argv)
{
	uint64_t tsc = now_tsc();
	int status;
	pid_t pid;

	if (argc < 2)
		die(EXIT_ENVIRONMENT, "usage: ticks COMMAND...");
	pid = fork();
	if (!pid) {
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die(EXIT_ENVIRONMENT, "no child");
	if (status)
		die(EXIT_ENVIRONMENT, "%s failed", argv[1]);
	print_value("tsc", now_tsc() - tsc);
	return 0;
}
