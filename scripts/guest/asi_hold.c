// SPDX-License-Identifier: GPL-2.0
/*
 * Hold user data, each word of which is known, for somebody who looks at all of
 * the machine's memory from outside (scripts/outside-asi): anonymous memory, a
 * file in tmpfs, a huge page; and for comparison what the kernel holds itself, a
 * message in a queue and the task's name. On one CPU, spin in user mode; then
 * make system calls that touch no user data; then others that do.
 *
 * usage: asi_hold SEED PAGES SECONDS
 *
 * The seeds are SEED for anonymous memory, and so on in the order above. At each
 * stage it goes on for SECONDS, or until the next clock tick after these.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "secretmem_test.h"

#define HUGE		(2UL << 20)
/* What fits in the page that the kernel takes for a message. */
#define MESSAGE_WORDS	500

enum { ANON, TMPFS, HUGETLB, MESSAGE, NR_KINDS };

static void say_where(const char *kind, const void *mem)
{
	printf("outside: %s at %p\n", kind, mem);
}

static void *fill(__u64 seed, size_t nr, int flags)
{
	struct secret s = { .seed = seed, .nr = nr };

	s.mem = mmap(NULL, nr * SM_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (s.mem == MAP_FAILED)
		return NULL;
	for (size_t page = 0; page < nr; page++)
		sm_fill_page(&s, page);
	return s.mem;
}

/* By write(2), from memory that is free again afterwards. */
static void *fill_file(int fd, __u64 seed, size_t nr)
{
	void *mem = fill(seed, nr, 0);
	bool ok = mem && write(fd, mem, nr * SM_PAGE) == (ssize_t)(nr * SM_PAGE);

	if (mem)
		munmap(mem, nr * SM_PAGE);
	if (!ok)
		return NULL;
	mem = mmap(NULL, nr * SM_PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE, fd,
		   0);
	return mem == MAP_FAILED ? NULL : mem;
}

/* The kernel's own copy of user data is kernel memory. */
static bool send_message(__u64 seed)
{
	struct {
		long type;
		__u64 word[MESSAGE_WORDS];
	} msg = { .type = 1 };
	int id = msgget(IPC_PRIVATE, 0600);
	bool ok;

	for (unsigned int i = 0; i < MESSAGE_WORDS; i++)
		sm_set(&msg.word[i], sm_word(seed, 0, i));
	ok = id >= 0 && !msgsnd(id, &msg, sizeof(msg.word), 0);
	for (unsigned int i = 0; i < MESSAGE_WORDS; i++)
		sm_set(&msg.word[i], 0);
	return ok;
}

/* Where the direct map is, and some of the kernel image. */
static void say_kernel(__u64 phys)
{
	int fd = open("/proc/kcore", O_RDONLY);
	__u64 offset, alias = fd < 0 ? 0 : sm_kcore_find(fd, phys, &offset);
	FILE *f = fopen("/proc/kallsyms", "re");
	unsigned long long addr;
	char line[256], name[64];

	if (alias)
		printf("outside: direct map at %#llx\n",
		       (unsigned long long)(alias - phys));
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx %*c %63s", &addr, name) != 2)
			continue;
		if (!strcmp(name, "_text") || !strcmp(name, "init_task") ||
		    !strcmp(name, "init_top_pgt"))
			printf("outside: %s at %#llx\n", name, addr);
	}
	if (f)
		fclose(f);
}

static void stage(const char *name)
{
	printf("outside: %s\n", name);
	fflush(stdout);
}

/* The vDSO reads the clock in user mode. */
static void spin(double end)
{
	static volatile unsigned long sum;

	while (sm_now() < end)
		for (unsigned long i = 0; i < 100000; i++)
			sum += i;
}

static void call(double end)
{
	while (sm_now() < end)
		for (int i = 0; i < 1000; i++)
			syscall(SYS_getppid);
}

/* What the kernel writes from one file to another leaves; read(2) does not. */
static void copy(double end, int from, size_t size)
{
	int to = open("/tmp/asi_copy", O_RDWR | O_CREAT | O_TRUNC, 0600);
	off_t pos;

	do {
		pos = 0;
	} while (sm_now() < end && !lseek(to, 0, SEEK_SET) &&
		 sendfile(to, from, &pos, size) > 0);
}

int main(int argc, char **argv)
{
	unsigned long nr, seconds;
	char name[16];
	cpu_set_t set;
	__u64 seed;
	void *mem;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: asi_hold SEED PAGES SECONDS\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 0);
	nr = strtoul(argv[2], NULL, 0);
	seconds = strtoul(argv[3], NULL, 0);

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	sched_setaffinity(0, sizeof(set), &set);
	printf("outside: CPU %ld\n", sysconf(_SC_NPROCESSORS_ONLN) - 1);

	mem = fill(seed + HUGETLB, HUGE / SM_PAGE, MAP_HUGETLB);
	if (mem)
		say_where("hugetlb", mem);
	fd = open("/tmp/asi_hold", O_RDWR | O_CREAT | O_TRUNC, 0600);
	mem = fill_file(fd, seed + TMPFS, nr);
	if (!mem) {
		printf("outside: no file\n");
		return 1;
	}
	say_where("tmpfs", mem);
	mem = fill(seed + ANON, nr, 0);
	if (!mem || !send_message(seed + MESSAGE)) {
		printf("outside: no memory, or no message\n");
		return 1;
	}
	say_where("anonymous", mem);
	snprintf(name, sizeof(name), "as-%012llx", (unsigned long long)seed);
	prctl(PR_SET_NAME, name);
	say_kernel(sm_pfn(mem) * SM_PAGE);

	stage("spinning");
	spin(sm_now() + seconds);
	stage("calling");
	call(sm_now() + seconds);
	stage("copying");
	copy(sm_now() + seconds, fd, nr * SM_PAGE);
	stage("end");
	return 0;
}
