// SPDX-License-Identifier: GPL-2.0
/*
 * Two processes that hold secret memory in all the ways that ephmap-stat has to
 * tell apart, for test-stat.sh. They stay until the first one is killed.
 *
 *                        first process              second process
 *   file 1, 64 pages     2 descriptors, 2 maps      2 descriptors, 2 maps
 *                        pages 0-9 by one map,      page 20
 *                        5-14 by the other
 *   file 2, 8 pages      1 map: pages 0-2           none
 *   /secretmem, deleted  a descriptor, a map        a descriptor, a map
 *
 * The last one is an ordinary file whose name looks like a secret one's. The
 * first process has a name that no JSON may have as it is.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __NR_memfd_secret
#define __NR_memfd_secret	447
#endif

#define PAGE	4096UL

static int open_secret(size_t pages)
{
	int fd = syscall(__NR_memfd_secret, 0);

	if (fd < 0 || ftruncate(fd, pages * PAGE)) {
		perror("memfd_secret");
		exit(1);
	}
	return fd;
}

static volatile char *map(int fd, size_t first, size_t pages)
{
	void *mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, first * PAGE);

	if (mem == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return mem;
}

/* Pages @first to @last of a mapping. */
static void touch(volatile char *mem, size_t first, size_t last)
{
	for (; first <= last; first++)
		mem[first * PAGE] = 1;
}

int main(void)
{
	volatile char *all, *upper, *second;
	int fd1 = open_secret(64), fd2 = open_secret(8), plain;
	int ready[2];
	pid_t pid;

	if (pipe(ready) || dup(fd1) < 0)
		return 1;
	all = map(fd1, 0, 64);
	upper = map(fd1, 5, 59);
	touch(all, 0, 9);
	touch(upper, 0, 9);
	second = map(fd2, 0, 8);
	touch(second, 0, 2);
	close(fd2);

	plain = open("/secretmem", O_CREAT | O_RDWR, 0600);
	if (plain < 0 || ftruncate(plain, 4 * PAGE))
		return 1;
	touch(map(plain, 0, 4), 0, 3);
	unlink("/secretmem");

	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "second");
		munmap((void *)second, 8 * PAGE);
		touch(all, 20, 20);
		close(ready[0]);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	/* The end of the file: the second process is where it stays. */
	if (read(ready[0], &ready[1], 1))
		return 1;
	prctl(PR_SET_NAME, "we\"ird\\\xff\t\xc3\xa9");
	printf("%d %d\n", getpid(), pid);
	fflush(stdout);
	for (;;)
		pause();
}
