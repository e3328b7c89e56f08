// SPDX-License-Identifier: GPL-2.0
/*
 * Hold secret pages for somebody who looks at all of the machine's memory
 * from outside (M13). Fill them with what a seed says, move them about, and
 * at each stage say its name and wait, so that memory can be looked at. With
 * -g they are a VM's memory, one half of it loaded by pwrite(2), and all of it
 * read by pread(2).
 *
 * Not a test by itself: the verdict is the observer's.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "secretmem_test.h"

static unsigned int pause_ms = 3000;

/* The observer stops the machine's clock when it sees the line. */
static void stage(const char *name)
{
	printf("outside: %s\n", name);
	fflush(stdout);
	sm_sleep_ms(pause_ms);
}

static void move_about(const struct secret *s, unsigned long times)
{
	for (unsigned long i = 0; i < times; i++)
		sm_move(s, i & 1 ? sm_from : sm_to);
}

/* Each step that can fail does, for each page. */
static bool fail_about(const struct secret *s)
{
	if (!sm_exists(SM_FAULT "steps"))
		return false;
	for (int step = SM_FAIL_REFS; step <= SM_FAIL_SWITCH; step <<= 1) {
		sm_fault_on(step, -1);
		/* Every third time only. */
		sm_write(SM_FAULT "probability", "33");
		sm_move(s, sm_from);
		sm_move(s, sm_to);
		/* What succeeds writes over what a failure leaves: it is last. */
		sm_write(SM_FAULT "probability", "100");
		sm_move(s, sm_from);
		sm_move(s, sm_to);
	}
	sm_fault_off();
	return true;
}

/* How many of the pages are in memory blocks that are all ZONE_MOVABLE. */
static size_t in_movable(const struct secret *s)
{
	__u64 *pfns = sm_pfns(s), per_block = sm_block_pages();
	size_t count = 0;

	for (size_t i = 0; i < s->nr; i++)
		count += sm_block_is(pfns[i] / per_block, "valid_zones",
				     "Movable");
	free(pfns);
	return count;
}

/*
 * Memory that the observer has plugged in, as ZONE_MOVABLE, is to be taken
 * away again with secret pages in it.
 */
static int unplug(struct secret *s)
{
	bool made;
	int block = -1;

	for (int i = 0; i < 100 && block < 0; i++) {
		sm_sleep_ms(100);
		block = sm_block_movable(sm_to, &made);
		if (block >= 0 && made) {
			sm_block_restore(block, made);
			block = -1;
		}
	}
	if (sm_load(s, sm_to)) {
		printf("outside: cannot be written\n");
		return KSFT_FAIL;
	}
	printf("outside: %zu pages in movable memory\n", in_movable(s));
	printf("outside: plugged\n");
	fflush(stdout);
	/* The observer sees when the memory is gone. */
	for (int i = 0; i < 600 && in_movable(s); i++)
		sm_sleep_ms(100);
	sm_sleep_ms(pause_ms);
	printf("outside: %zu wrong words\n", sm_wrong(s));
	stage("unplugged");
	sm_close(s);
	printf("outside: end\n");
	return 0;
}

/*
 * Leave a process behind that keeps a VM: the first VM switches static keys on,
 * among them one in the scheduler, and the last one switches them off. No code
 * is patched in between.
 */
static int keep_vm(void)
{
	int vm = sm_vm_create();

	if (vm < 0) {
		fprintf(stderr, "no VM: %s\n", strerror(-vm));
		return KSFT_FAIL;
	}
	if (daemon(0, 0))
		return KSFT_FAIL;
	for (;;)
		pause();
}

static void help(const char *prog)
{
	printf("usage: %s [-s seed] [-p pages] [-n moves] [-w ms] [-c seconds] [-g] [-u]\n"
	       "       %s -k\n"
	       "  -s seed     what the pages are filled with\n"
	       "  -p pages    how many (256)\n"
	       "  -n moves    how often each moves (20)\n"
	       "  -w ms       how long to wait at each stage (3000)\n"
	       "  -c seconds  how long to go on moving at the end (4)\n"
	       "  -g          guest_memfd's, not memfd_secret(2)'s\n"
	       "  -u          instead: be in memory that is unplugged\n"
	       "  -k          only keep a VM, in the background\n",
	       prog, prog);
}

int main(int argc, char **argv)
{
	struct rlimit rlim = { RLIM_INFINITY, RLIM_INFINITY };
	unsigned long nr = 256, times = 20, seconds = 4;
	struct secret s, plain = { .fd = -1 };
	__u64 seed = 1, offset = 0, alias, phys, moved;
	bool unplugging = false, guest = false;
	double end;
	int c, fd;

	while ((c = getopt(argc, argv, "s:p:n:w:c:gukh")) != -1) {
		switch (c) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			nr = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			times = strtoul(optarg, NULL, 0);
			break;
		case 'w':
			pause_ms = strtoul(optarg, NULL, 0);
			break;
		case 'c':
			seconds = strtoul(optarg, NULL, 0);
			break;
		case 'g':
			guest = true;
			break;
		case 'u':
			unplugging = true;
			break;
		case 'k':
			return keep_vm();
		default:
			help(argv[0]);
			return c == 'h' ? 0 : 2;
		}
	}
	setrlimit(RLIMIT_MEMLOCK, &rlim);
	if (sm_find_nodes() < 2 ||
	    (guest ? sm_open_guest(&s, nr) : sm_open(&s, nr))) {
		printf("outside: no secret memory on two nodes\n");
		return KSFT_SKIP;
	}
	s.seed = seed;
	if (unplugging)
		return unplug(&s);
	stage("before");

	if (sm_load(&s, sm_from)) {
		printf("outside: cannot be written\n");
		return KSFT_FAIL;
	}
	if (guest && sm_read_pages(&s)) {
		printf("outside: cannot be read\n");
		return KSFT_FAIL;
	}

	/* One ordinary page, so that the observer can see it does see. */
	plain.seed = seed + 1;
	plain.nr = 1;
	plain.mem = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sm_fill_page(&plain, 0);
	phys = sm_pfn(plain.mem) * SM_PAGE;
	fd = open("/proc/kcore", O_RDONLY);
	alias = fd < 0 ? 0 : sm_kcore_find(fd, phys, &offset);
	if (alias)
		printf("outside: direct map at %#llx\n",
		       (unsigned long long)(alias - phys));
	stage("filled");

	moved = sm_vmstat("no_direct_map_migrate_success");
	move_about(&s, times);
	if (sm_ephmap_on())
		printf("outside: %lld pages moved\n", (long long)
		       (sm_vmstat("no_direct_map_migrate_success") - moved));
	stage("moved");

	if (fail_about(&s))
		stage("failed");

	printf("outside: moving\n");
	fflush(stdout);
	for (end = sm_now() + seconds; sm_now() < end;)
		move_about(&s, 2);
	printf("outside: %zu wrong words\n", sm_wrong(&s));
	stage("rested");

	sm_close(&s);
	stage("closed");
	printf("outside: end\n");
	return 0;
}
