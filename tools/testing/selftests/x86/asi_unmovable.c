// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation: a page that cannot be moved is as much its user's as
 * one that can. The audit of restricted page tables has to find none of them (A1,
 * B2 of Documentation/arch/x86/asi.rst):
 *
 *	pages that are pinned for long, by io_uring, in whatever order they are
 *	allocated, touched and pinned, and when they are freed and had again
 *	files of ramfs
 *	guest memory (guest_memfd) without GUEST_MEMFD_FLAG_MOVABLE
 *	what is in a pipe, of which the audit knows nothing: whoever copies it by
 *	the direct map leaves the restricted address space
 *	pages of 1 GB that are allocated at run time, also from the kernel's blocks
 *
 * With asi=off the same is done, without the audit.
 *
 * usage: asi_unmovable [MB]
 *
 * MB (16) is how much there is at a time. Memory that users have touched may be
 * where it must not be pinned: boot with kernelcore= or with cma= to see it moved.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../mm/guest_memfd_uapi.h"
#include "asi_stats.h"
#include "kselftest.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT	26
#endif

#define AUDIT	"/sys/kernel/debug/asi/audit"

static size_t len = 16UL << 20;
static bool asi;

static int ring_make(void)
{
	struct io_uring_params params = {};

	return syscall(__NR_io_uring_setup, 4, &params);
}

static int ring_pin(int ring, void *buffer, size_t size)
{
	struct iovec iov = { buffer, size };

	return syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS,
		       &iov, 1);
}

static void *map(int flags)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		ksft_exit_fail_msg("mmap of %zu bytes: %s\n", len,
				   strerror(errno));
	return p;
}

static void fill(uint64_t *words, uint64_t seed)
{
	for (size_t i = 0; i < len / sizeof(*words); i += 64)
		words[i] = seed + i;
}

static size_t wrong(uint64_t *words, uint64_t seed)
{
	size_t nr = 0;

	for (size_t i = 0; i < len / sizeof(*words); i += 64)
		nr += words[i] != seed + i;
	return nr;
}

static bool all_zero(const uint64_t *words)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < len / sizeof(*words); i++)
		bits |= words[i];
	return !bits;
}

/* Pages of users that restricted page tables map. */
static long reachable(void)
{
	static const char * const kinds[] = {
		"user_anonymous", "user_shmem", "user_file", "user_guest_memfd",
		"user_hugetlb",
	};
	long sum = 0;

	for (unsigned int i = 0; asi && i < ARRAY_SIZE(kinds); i++) {
		long nr = value_of(AUDIT, kinds[i]);

		if (nr < 0)
			ksft_exit_fail_msg("%s says nothing of %s\n", AUDIT,
					   kinds[i]);
		if (nr)
			ksft_print_msg("%s: %ld pages can be reached\n",
				       kinds[i], nr);
		sum += nr;
	}
	return sum;
}

/* Pin @p, look, write and read what is pinned, look again when it is not. */
static bool pinned(void *p, uint64_t seed, bool filled)
{
	int ring = ring_make();
	bool good = true;

	if (ring < 0) {
		ksft_print_msg("io_uring_setup: %s\n", strerror(errno));
		return false;
	}
	if (ring_pin(ring, p, len)) {
		ksft_print_msg("IORING_REGISTER_BUFFERS: %s\n", strerror(errno));
		good = false;
	}
	good &= !reachable();
	if (filled && wrong(p, seed)) {
		ksft_print_msg("%zu words are wrong\n", wrong(p, seed));
		good = false;
	}
	fill(p, ~seed);
	good &= !reachable() && !wrong(p, ~seed);
	close(ring);
	return good;
}

static void pin_untouched(void)
{
	void *p = map(0);

	ksft_test_result(pinned(p, 1, false),
			 "A1 B2: pages that are allocated to be pinned\n");
	munmap(p, len);
}

static void pin_touched(void)
{
	void *p = map(0);

	fill(p, 2);
	ksft_test_result(pinned(p, 2, true),
			 "A1 B2: pages that are touched, then pinned\n");
	munmap(p, len);
}

static void pin_file(void)
{
	int fd = memfd_create("asi_unmovable", MFD_CLOEXEC);
	void *p;

	if (fd < 0 || ftruncate(fd, len))
		ksft_exit_fail_msg("memfd of %zu bytes: %s\n", len,
				   strerror(errno));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		ksft_exit_fail_msg("mmap: %s\n", strerror(errno));
	ksft_test_result(pinned(p, 3, false),
			 "A1 B2: a file in memory that is allocated to be pinned\n");
	munmap(p, len);
	close(fd);
}

/* A child writes: the parent's pages stay, the child's copies are movable. */
static void pin_forked(void)
{
	void *p = map(0);
	int ring, status;
	bool good;
	pid_t pid;

	ring = ring_make();
	good = ring >= 0 && !ring_pin(ring, p, len);
	fill(p, 4);
	pid = fork();
	if (!pid) {
		fill(p, 5);
		_exit(reachable() || wrong(p, 5));
	}
	good &= pid > 0 && waitpid(pid, &status, 0) == pid && !status;
	good &= !wrong(p, 4) && !reachable();
	ksft_test_result(good, "A1 B2: pinned pages, copied for a child\n");
	close(ring);
	munmap(p, len);
}

/* What was pinned is had again by others, and what was others' is pinned. */
static void pin_again(void)
{
	bool good = true;

	for (uint64_t round = 0; round < 8; round++) {
		void *p = map(round & 1 ? MAP_POPULATE : 0);

		good &= pinned(p, 6 + round, false);
		munmap(p, len);
		p = map(0);
		good &= all_zero(p);
		munmap(p, len);
	}
	ksft_test_result(good && !reachable(),
			 "A1 B2: what was pinned is free, and had again, as zero\n");
}

static void file_of_ramfs(void)
{
	char dir[] = "/tmp/asi_unmovable.XXXXXX", path[sizeof(dir) + 2];
	bool good = false;
	uint64_t *words;
	int fd;

	if (!mkdtemp(dir) || mount("none", dir, "ramfs", 0, NULL)) {
		ksft_print_msg("ramfs: %s\n", strerror(errno));
		ksft_test_result_fail("A1 B2: a file of ramfs\n");
		return;
	}
	snprintf(path, sizeof(path), "%s/f", dir);
	words = map(0);
	fill(words, 14);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd >= 0 && write(fd, words, len) == (ssize_t)len) {
		good = !reachable();
		memset(words, 0, len);
		good &= pread(fd, words, len, 0) == (ssize_t)len &&
			!wrong(words, 14) && !reachable();
	}
	close(fd);
	munmap(words, len);
	umount(dir);
	rmdir(dir);
	ksft_test_result(good, "A1 B2: a file of ramfs\n");
}

static void guest_memory(void)
{
	static const char name[] = "A1 B2: guest memory that does not move";
	struct kvm_create_guest_memfd args = { .size = len };
	int kvm, vm = -1, fd = -1;
	bool good = false;

	kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0) {
		ksft_test_result_skip("%s: no KVM\n", name);
		return;
	}
	vm = ioctl(kvm, KVM_CREATE_VM, 1 /* KVM_X86_SW_PROTECTED_VM */);
	if (vm >= 0)
		fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd < 0) {
		ksft_test_result_skip("%s: no guest_memfd: %s\n", name,
				      strerror(errno));
	} else {
		good = !fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, len);
		if (!good)
			ksft_print_msg("fallocate: %s\n", strerror(errno));
		good &= !reachable();
		ksft_test_result(good, "%s\n", name);
	}
	close(fd);
	close(vm);
	close(kvm);
}

/* Pages that are filled and read in turn; the exits of that, or -1. */
static long pipe_exits(const int *p, const char *from, char *to, size_t size)
{
	long before = 0;

	/* The first round allocates the pages, and page tables of the window. */
	for (int i = 0; i < 100; i++) {
		if (i == 1)
			before = exits();
		if (write(p[1], from, size) != (ssize_t)size ||
		    read(p[0], to, size) != (ssize_t)size)
			return -1;
	}
	return exits() - before;
}

/* The exits of a copy by who does not know that it may leave; or -1. */
static long spliced_exits(const int *p, const char *from, char *to, size_t size)
{
	long before, ret = -1;
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return -1;
	if (write(p[1], from, size) == (ssize_t)size &&
	    splice(p[0], NULL, sock[1], NULL, size, 0) == (ssize_t)size) {
		before = exits();
		if (recv(sock[0], to, size, MSG_WAITALL) == (ssize_t)size)
			ret = exits() - before;
	}
	close(sock[0]);
	close(sock[1]);
	return ret;
}

static void in_pipe(void)
{
	const size_t size = 16 * 4096;
	uint64_t *from = map(MAP_POPULATE), *to = map(MAP_POPULATE);
	long copied, spliced, noise;
	bool good = false;
	int p[2];

	fill(from, 15);
	if (pipe(p))
		ksft_exit_fail_msg("pipe: %s\n", strerror(errno));
	copied = pipe_exits(p, (char *)from, (char *)to, size);
	good = copied >= 0 && !memcmp(from, to, size);
	memset(to, 0, size);
	noise = exits();
	noise = exits() - noise;
	spliced = spliced_exits(p, (char *)from, (char *)to, size);
	good &= spliced >= 0 && !memcmp(from, to, size);
	if (asi) {
		ksft_print_msg("exits: %ld of 198 copies, %ld past a socket, %ld of none\n",
			       copied, spliced, noise);
		/* Not one for each copy. An interrupt may leave for itself. */
		good &= copied < 50 && spliced > noise;
	}
	ksft_test_result(good, "A1 B2: what is in a pipe\n");
	close(p[0]);
	close(p[1]);
	munmap(from, len);
	munmap(to, len);
}

/*
 * Have much memory become the kernel's, and leave it free: these rings are of two
 * pieces of 4 MB each, of which nothing is left over for what stays.
 */
static bool use_for_kernel(unsigned int wanted)
{
	int rings[250];
	unsigned int nr;

	for (nr = 0; nr < wanted && nr < ARRAY_SIZE(rings); nr++) {
		struct io_uring_params params = {
			.flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
		};

		rings[nr] = syscall(__NR_io_uring_setup, 32768, &params);
		if (rings[nr] < 0)
			break;
	}
	for (unsigned int i = 0; i < nr; i++)
		close(rings[i]);
	if (nr < wanted)
		ksft_print_msg("%u of %u rings of 8 MB: %s\n", nr, wanted,
			       strerror(errno));
	return nr == wanted;
}

/* Blocks of the kernel's: unmovable and reclaimable ones. */
static long kernel_blocks(void)
{
	long sum = 0, unmovable, reclaimable;
	bool counts = false;
	char line[512];
	FILE *f;

	f = fopen("/proc/pagetypeinfo", "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "Number of blocks", 16))
			counts = true;
		else if (counts &&
			 sscanf(line, "Node %*d, zone %*s %ld %*d %ld",
				&unmovable, &reclaimable) == 2)
			sum += unmovable + reclaimable;
		else
			counts = false;
	}
	if (f)
		fclose(f);
	return sum;
}

static void gigantic(void)
{
	static const char name[] = "A1 B2: a page of 1 GB, of blocks that were the kernel's";
	static const char nr_file[] =
		"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
	const size_t size = 1UL << 30;
	/* Of 10 GB, what the kernel has used is in one of these at the latest. */
	const long most = 8;
	unsigned long pages;
	long got = 0, wanted;
	bool good, converted = false;
	uint64_t *p;
	FILE *f;

	f = fopen(nr_file, "r+e");
	if (!f) {
		ksft_test_result_skip("%s: no such pages\n", name);
		return;
	}
	/* Most of the memory, so that the page has some of it. */
	pages = sysconf(_SC_PHYS_PAGES);
	if (pages < (5UL << 30) / 4096) {
		fclose(f);
		ksft_test_result_skip("%s: less than 5 GB\n", name);
		return;
	}
	good = use_for_kernel(250);
	/*
	 * What has been closed is freed a little later. The first pages may be of
	 * blocks that were users' already: ask until one is not.
	 */
	wanted = 1;
	for (int i = 0; i < 100 && wanted <= most; i++) {
		long before = kernel_blocks(), after;

		rewind(f);
		fprintf(f, "%ld", wanted);
		fflush(f);
		rewind(f);
		if (fscanf(f, "%ld", &got) != 1)
			break;
		if (got < wanted) {
			usleep(100000);
			continue;
		}
		after = kernel_blocks();
		ksft_print_msg("page %ld: %ld blocks were the kernel's, %ld are\n",
			       got, before, after);
		converted = after < before;
		if (converted || !asi)
			break;
		wanted++;
	}
	if (!got) {
		fclose(f);
		ksft_test_result_skip("%s: none to be had\n", name);
		return;
	}
	good &= !asi || converted;
	p = mmap(NULL, got * size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT, -1, 0);
	if (p == MAP_FAILED) {
		ksft_print_msg("mmap: %s\n", strerror(errno));
		good = false;
	} else {
		for (long i = 0; i < got; i++)
			p[i * (size / 8)] = 16;
		good &= !reachable();
		for (long i = 0; i < got; i++)
			good &= p[i * (size / 8)] == 16 && !p[(i + 1) * (size / 8) - 1];
		munmap(p, got * size);
	}
	rewind(f);
	fprintf(f, "0");
	fclose(f);
	/* What was the page is users' now, and the kernel can have it again. */
	good &= !reachable() && use_for_kernel(100);
	ksft_test_result(good, "%s\n", name);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		len = strtoul(argv[1], NULL, 0) << 20;
	ksft_print_header();
	asi = !access(AUDIT, R_OK);
	ksft_print_msg("asi=%s, %zu bytes at a time\n", asi ? "on" : "off", len);
	ksft_set_plan(9);
	pin_untouched();
	pin_touched();
	pin_file();
	pin_forked();
	pin_again();
	file_of_ramfs();
	guest_memory();
	in_pipe();
	gigantic();
	ksft_finished();
}
