// SPDX-License-Identifier: GPL-2.0
/*
 * Suspend to RAM, and be woken by the clock.
 *
 * usage: suspend_once SECONDS
 *
 * Less than about 4 seconds, and the kernel refuses: the alarm may come while it
 * is on its way. Exit status 0 if it slept, 4 if there is no clock that wakes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct itimerspec when = { .it_value.tv_sec = argc > 1 ? atoi(argv[1]) : 5 };
	int timer = timerfd_create(CLOCK_BOOTTIME_ALARM, TFD_CLOEXEC);
	int fd = open("/sys/power/state", O_WRONLY | O_CLOEXEC);

	if (timer < 0 || fd < 0 || timerfd_settime(timer, 0, &when, NULL)) {
		perror("suspend_once");
		return 4;
	}
	if (write(fd, "mem", 3) != 3) {
		perror("suspend_once: mem");
		return 1;
	}
	return 0;
}
