// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation: read(2) and write(2) of cached files, of pipes and of
 * hugetlbfs, what exec reads, new pages, and pages that are copied on write: what
 * the kernel copies through its CPU's window where it is in the restricted address
 * space. What arrives is right to the byte, and so are counts and errors, for every
 * class of offset and length, and whatever becomes of the buffer and the file
 * meanwhile; and the restricted address space is not left. The number A11 is that
 * of Documentation/arch/x86/asi.rst.
 *
 * With asi=off all but what is counted runs as well: the effects are the same.
 *
 * usage: asi_read [-s] [DIR...]
 *
 * -s skips, after they have run, the counts of what is done by asking a server
 * in this system (FUSE), who gets what he is asked by ways of his own.
 *
 * Each DIR is on a file system to test; without, tmpfs with and without huge
 * pages, and what is in no directory.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "asi_stats.h"
#include "kselftest.h"

#define PAGE	4096UL
#define HUGE	(2UL << 20)
#define SIZE	(3 * HUGE + 5 * PAGE + 123)
#define GUARD	0xa5

#define PATH_LEN	256

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

static const char *dir;
static int fd;			/* a file of SIZE bytes, as pattern() has it */
static unsigned char *buf;	/* room for SIZE and a guard at both ends */

static unsigned char pattern(size_t pos)
{
	return (pos * 0x9e3779b1UL >> 13) ^ pos;
}

/* How many of @len bytes are not those of the file at @pos. */
static size_t wrong(const void *data, size_t len, size_t pos)
{
	const unsigned char *p = data;
	size_t nr = 0;

	for (size_t i = 0; i < len; i++)
		nr += p[i] != pattern(pos + i);
	return nr;
}

static bool all(const void *data, size_t len, unsigned char byte)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		if (p[i] != byte)
			return false;
	return true;
}

static int make_file(const char *name, size_t size)
{
	static unsigned char chunk[64 << 10];
	char path[PATH_LEN];
	int f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (f < 0)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	unlink(path);
	for (size_t pos = 0; pos < size; ) {
		size_t len = size - pos < sizeof(chunk) ? size - pos :
							  sizeof(chunk);

		for (size_t i = 0; i < len; i++)
			chunk[i] = pattern(pos + i);
		if (write(f, chunk, len) != (ssize_t)len)
			ksft_exit_fail_msg("write: %s\n", strerror(errno));
		pos += len;
	}
	return f;
}

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		ksft_exit_fail_msg("mmap: %s\n", strerror(errno));
	return p;
}

static bool complain(const char *what, ssize_t got, ssize_t want)
{
	if (got == want)
		return false;
	ksft_print_msg("%s: %zd, not %zd (%s)\n", what, got, want,
		       got < 0 ? strerror(errno) : "");
	return true;
}

/* The rest of the file goes instead where the file system has no holes. */
static bool punch(int f, size_t pos, size_t len)
{
	struct stat st;

	if (!fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len))
		return true;
	return errno == EOPNOTSUPP && !fstat(f, &st) &&
	       !ftruncate(f, pos) && !ftruncate(f, st.st_size);
}

/* -------------------------------------------------- offsets and lengths */

static const size_t offsets[] = {
	0, 1, 7, 8, 63, 4088, 4095, 4096, 4097, 65535, 65536, 131071, 131072,
	HUGE - 4097, HUGE - 1, HUGE, HUGE + 1, SIZE - 4097, SIZE - 1, SIZE,
};

static const size_t lengths[] = {
	0, 1, 7, 8, 9, 4095, 4096, 4097, 8191, 65536, 131071, 131072, 131073,
	HUGE, HUGE + 4097,
};

static bool test_classes(void)
{
	for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lengths); j++) {
			size_t pos = offsets[i], len = lengths[j];
			size_t want = len < SIZE - pos ? len : SIZE - pos;
			/* The buffer is not aligned like the file. */
			unsigned char *to = buf + PAGE + (i * 5 + j) % 11;
			ssize_t got;

			memset(to - 8, GUARD, want + 16);
			got = pread(fd, to, len, pos);
			if (complain("pread", got, want) ||
			    wrong(to, want, pos) || !all(to - 8, 8, GUARD) ||
			    !all(to + want, 8, GUARD)) {
				ksft_print_msg("%zu bytes at %zu\n", len, pos);
				return false;
			}
		}
	}
	return true;
}

/* Byte by byte over the boundaries of pages: each offset, each length. */
static bool test_every_offset(void)
{
	for (size_t pos = 0; pos < 2 * PAGE; pos += pos % PAGE < 40 ||
	     pos % PAGE > PAGE - 40 ? 1 : 61) {
		for (size_t len = 1; len <= 2 * PAGE; len += len < 20 ? 1 : 509) {
			memset(buf, GUARD, len + 1);
			if (complain("pread", pread(fd, buf, len, pos), len) ||
			    wrong(buf, len, pos) || buf[len] != GUARD) {
				ksft_print_msg("%zu bytes at %zu\n", len, pos);
				return false;
			}
		}
	}
	return true;
}

static bool test_sequential(void)
{
	size_t pos = 0;
	ssize_t got;

	lseek(fd, 0, SEEK_SET);
	while ((got = read(fd, buf, 12345)) > 0) {
		if (wrong(buf, got, pos))
			return false;
		pos += got;
	}
	return got == 0 && pos == SIZE &&
	       lseek(fd, 0, SEEK_CUR) == (off_t)SIZE;
}

static bool test_readv(void)
{
	static const size_t lens[] = {
		1, 0, 4095, 7, 4097, 0, 65536, 3, 131072, 8,
	};
	struct iovec iov[ARRAY_LEN(lens)];
	size_t total = 0, pos = 4090, start;

	memset(buf, GUARD, 2 * HUGE);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		iov[i].iov_base = buf + total + 32 * (i + 1);
		iov[i].iov_len = lens[i];
		total += lens[i];
	}
	if (complain("preadv", preadv(fd, iov, ARRAY_LEN(lens), pos), total))
		return false;
	start = pos;
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		unsigned char *p = iov[i].iov_base;

		if (wrong(p, lens[i], start) || !all(p - 32, 32, GUARD) ||
		    !all(p + lens[i], 32, GUARD))
			return false;
		start += lens[i];
	}
	/* What is cached is there without waiting. */
	return !complain("preadv2", preadv2(fd, iov, ARRAY_LEN(lens), pos,
					    RWF_NOWAIT), total) ||
	       errno == EOPNOTSUPP;
}

static bool test_holes(void)
{
	int f = make_file("holes", PAGE);
	bool ok;

	ok = !ftruncate(f, 64 * PAGE) &&
	     pwrite(f, "x", 1, 40 * PAGE + 5) == 1;
	memset(buf, GUARD, 65 * PAGE);
	ok = ok && !complain("pread", pread(f, buf, 65 * PAGE, 0), 64 * PAGE) &&
	     !wrong(buf, PAGE, 0) && all(buf + PAGE, 39 * PAGE + 5, 0) &&
	     buf[40 * PAGE + 5] == 'x' &&
	     all(buf + 40 * PAGE + 6, 24 * PAGE - 6, 0) &&
	     all(buf + 64 * PAGE, PAGE, GUARD);
	close(f);
	return ok;
}

/* ----------------------------------------------------------- the buffer */

/* Not there when the copy begins, of any kind. */
static bool test_fresh_buffer(void)
{
	static const size_t lens[] = { 1, PAGE, 10 * PAGE + 1, HUGE };

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		for (int populate = 0; populate < 3; populate++) {
			unsigned char *p = map(HUGE + PAGE);
			bool bad;

			/* All absent; the first there; every second there. */
			for (size_t a = 0; populate && a < lens[i];
			     a += populate == 1 ? HUGE : 2 * PAGE)
				p[a] = 1;
			bad = complain("pread", pread(fd, p + 5, lens[i], 3),
				       lens[i]) || wrong(p + 5, lens[i], 3);
			munmap(p, HUGE + PAGE);
			if (bad)
				return false;
		}
	}
	return true;
}

/*
 * A page in the middle is not mapped, or not writable: all bytes before it
 * arrive, and are counted.
 */
static bool test_short(void)
{
	static const size_t before[] = { 0, 1, 7, 8, 13, 4095, 4096, 4097,
					 65536 + 5, 131072 + 1 };

	for (int kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < ARRAY_LEN(before); i++) {
			size_t len = 64 * PAGE, n = before[i];
			unsigned char *p = map(len), *to;
			ssize_t got;
			bool bad;

			memset(p, GUARD, len);
			to = p + 40 * PAGE - n;
			if (kind == 0)
				munmap(p + 40 * PAGE, PAGE);
			else
				mprotect(p + 40 * PAGE, PAGE, kind == 1 ?
					 PROT_NONE : PROT_READ);
			errno = 0;
			got = pread(fd, to, n + 3 * PAGE, 77);
			bad = n ? complain("pread", got, n) :
				  complain("pread", got, -1) || errno != EFAULT;
			bad = bad || wrong(to, n, 77) ||
			      !all(to - 16, 16, GUARD) ||
			      !all(p + 41 * PAGE, 4 * PAGE, GUARD);
			munmap(p, len);
			if (bad) {
				ksft_print_msg("kind %d, %zu before\n", kind, n);
				return false;
			}
		}
	}
	return true;
}

/* The position moves by what was read. */
static bool test_short_position(void)
{
	unsigned char *p = map(2 * PAGE);
	bool ok;

	munmap(p + PAGE, PAGE);
	lseek(fd, 100, SEEK_SET);
	ok = !complain("read", read(fd, p + PAGE - 50, 100), 50) &&
	     lseek(fd, 0, SEEK_CUR) == 150 &&
	     !complain("read", read(fd, p + PAGE, 10), -1) &&
	     errno == EFAULT && lseek(fd, 0, SEEK_CUR) == 150;
	munmap(p, PAGE);
	return ok;
}

static bool test_bad_addresses(void)
{
	/* The kernel's, a window's, non-canonical. */
	static const unsigned long addrs[] = {
		0, 0xffff888000000000, 0xfffffe8000000000, 0x0000900000000000,
		0x8000000000000000,
	};

	for (size_t i = 0; i < ARRAY_LEN(addrs); i++)
		if (!complain("pread", pread(fd, (void *)addrs[i], 100, 0),
			      -1) ? errno != EFAULT : true)
			return false;
	return true;
}

/* Copied on write: a child's, the zero page, a private mapping of a file. */
static bool test_cow_buffer(void)
{
	unsigned char *p = map(4 * PAGE);
	unsigned char *q = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE, fd, 0);
	unsigned char sum = 0;
	int status = -1;
	bool ok;
	pid_t pid;

	for (size_t i = 0; i < 4; i++)
		sum |= p[i * PAGE] | q[i * PAGE];
	ok = sum && pread(fd, p, 4 * PAGE, 9) == 4 * PAGE &&
	     !wrong(p, 4 * PAGE, 9) &&
	     pread(fd, q, 4 * PAGE, 9) == 4 * PAGE && !wrong(q, 4 * PAGE, 9) &&
	     pread(fd, buf, 4 * PAGE, 0) == 4 * PAGE && !wrong(buf, 4 * PAGE, 0);
	memset(p, GUARD, 4 * PAGE);
	pid = fork();
	if (!pid)
		_exit(pread(fd, p, 4 * PAGE, 1) != 4 * PAGE ||
		      wrong(p, 4 * PAGE, 1));
	ok = ok && waitpid(pid, &status, 0) == pid && !status &&
	     all(p, 4 * PAGE, GUARD);
	munmap(p, 4 * PAGE);
	munmap(q, 4 * PAGE);
	return ok;
}

/* The buffer is the file itself: the same page, and another one. */
static bool test_buffer_is_the_file(void)
{
	int f = make_file("self", 64 * PAGE);
	unsigned char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
				MAP_SHARED, f, 0);
	bool ok = p != MAP_FAILED;

	ok = ok && !complain("same", pread(f, p, 8 * PAGE, 0), 8 * PAGE) &&
	     !wrong(p, 64 * PAGE, 0);
	ok = ok && !complain("other", pread(f, p + 32 * PAGE, 8 * PAGE, 5),
			     8 * PAGE) &&
	     !wrong(p, 32 * PAGE, 0) && !wrong(p + 32 * PAGE, 8 * PAGE, 5) &&
	     !wrong(p + 40 * PAGE, 24 * PAGE, 40 * PAGE) &&
	     !complain("back", pread(f, buf, 8 * PAGE, 32 * PAGE), 8 * PAGE) &&
	     !wrong(buf, 8 * PAGE, 5);
	if (p != MAP_FAILED)
		munmap(p, 64 * PAGE);
	close(f);
	return ok;
}

/* ----------------------------------------- writes, new and copied pages */

/* What is written is seen by who has the file mapped, and nothing beside it. */
static bool test_write(void)
{
	static const size_t at[] = { 0, 1, 7, 4095, 4096, 4097, 131071, HUGE - 3 };
	static const size_t lens[] = { 1, 7, 8, 4095, 4096, 4097, 65536, 131073 };
	size_t size = HUGE + 256 * 1024;
	int f = make_file("write", size);
	unsigned char *p = mmap(NULL, size, PROT_READ, MAP_SHARED, f, 0);
	bool ok = p != MAP_FAILED;

	/* As it was, but for one bit. */
	for (size_t i = 0; i < size; i++)
		buf[i] = pattern(i) ^ 1;
	for (size_t i = 0; ok && i < ARRAY_LEN(at); i++) {
		for (size_t j = 0; ok && j < ARRAY_LEN(lens); j++) {
			size_t a = at[i], n = lens[j];

			ok = !complain("pwrite", pwrite(f, buf + a, n, a), n) &&
			     !memcmp(p + a, buf + a, n) &&
			     (!a || p[a - 1] == pattern(a - 1)) &&
			     p[a + n] == pattern(a + n);
			for (size_t k = 0; k < n; k++)
				buf[a + k] ^= 1;
			ok = ok && pwrite(f, buf + a, n, a) == (ssize_t)n &&
			     !wrong(p + a, n, a);
			for (size_t k = 0; k < n; k++)
				buf[a + k] ^= 1;
		}
	}
	if (p != MAP_FAILED)
		munmap(p, size);
	close(f);
	return ok;
}

/*
 * What is to be written ends early, or is not there yet. btrfs writes the whole of
 * what it is given of a new block, or nothing.
 */
static bool test_write_short(void)
{
	static const size_t before[] = { 1, 7, 4095, 4096, 4097, 131073 };
	int f = make_file("short", 0);
	struct statfs fs;
	bool ok = !fstatfs(f, &fs);

	for (size_t i = 0; ok && i < ARRAY_LEN(before); i++) {
		size_t n = before[i], end;
		unsigned char *p = map(64 * PAGE);
		ssize_t got;

		memset(p, GUARD, 64 * PAGE);
		munmap(p + 40 * PAGE, PAGE);
		got = pwrite(f, p + 40 * PAGE - n, n + 2 * PAGE, 5);
		if (fs.f_type == BTRFS_SUPER_MAGIC && got < (ssize_t)n) {
			ksft_print_msg("%zd of %zu written\n", got, n);
			ok = got == -1 ? errno == EFAULT :
			     got > 0 && (got + 5) % PAGE == 0;
			n = got < 0 ? 0 : got;
			got = n;
		}
		end = n ? n + 5 : 0;
		ok = ok && !complain("pwrite", got, n) &&
		     lseek(f, 0, SEEK_END) == (off_t)end &&
		     !complain("pwrite", pwrite(f, p + 40 * PAGE, 10, 0), -1) &&
		     errno == EFAULT &&
		     pread(f, buf, end, 0) == (ssize_t)end &&
		     (!n || (all(buf, 5, 0) && all(buf + 5, n, GUARD)));
		munmap(p, 64 * PAGE);
		p = map(64 * PAGE);
		ok = ok && pwrite(f, p, 64 * PAGE, 0) == 64 * PAGE &&
		     pread(f, buf, 64 * PAGE, 0) == 64 * PAGE &&
		     all(buf, 64 * PAGE, 0);
		munmap(p, 64 * PAGE);
		ftruncate(f, 0);
	}
	close(f);
	return ok;
}

static void touch_all(unsigned char *p, size_t size)
{
	for (size_t a = 0; a < size; a += PAGE)
		p[a] += 1;
}

/* New pages are zeroes, of any size; copies are copies. */
static bool test_new_and_copied(void)
{
	size_t size = 3 * HUGE;
	bool ok = true;

	for (int round = 0; ok && round < 4; round++) {
		unsigned char *p = map(size);
		int status = -1;
		pid_t pid;

		madvise(p, size, round % 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		touch_all(p, size);
		for (size_t a = 0; ok && a < size; a += PAGE)
			ok = p[a] == 1 && all(p + a + 1, PAGE - 1, 0);
		for (size_t i = 0; i < size; i++)
			p[i] = pattern(i);
		pid = fork();
		if (!pid) {
			touch_all(p, size);
			for (size_t a = 0; a < size; a += PAGE)
				p[a] -= 1;
			_exit(!!wrong(p, size, 0));
		}
		touch_all(p, size);
		ok = ok && waitpid(pid, &status, 0) == pid && !status;
		for (size_t a = 0; ok && a < size; a += PAGE)
			ok = p[a] == (unsigned char)(pattern(a) + 1) &&
			     !wrong(p + a + 1, PAGE - 1, a + 1);
		munmap(p, size);
	}
	return ok;
}

/* -------------------------------------------------------------- racing */

static bool stop_flag;

/* For other threads to see. */
#define stop_now(val)	__atomic_store_n(&stop_flag, val, __ATOMIC_SEQ_CST)
#define stopped()	__atomic_load_n(&stop_flag, __ATOMIC_SEQ_CST)
static unsigned char *racy;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void *change_protection(void *unused)
{
	while (!stopped()) {
		mprotect(racy + 4 * PAGE, 4 * PAGE, PROT_NONE);
		mprotect(racy + 4 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

static void *change_mapping(void *unused)
{
	while (!stopped()) {
		mmap(racy + 4 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		madvise(racy, 4 * PAGE, MADV_DONTNEED);
		munmap(racy + 4 * PAGE, 4 * PAGE);
	}
	return NULL;
}

static bool race_buffer(void *(*fn)(void *), bool content)
{
	double end = now() + 2;
	bool ok = true;
	pthread_t thread;
	long full = 0, cut = 0;

	racy = map(12 * PAGE);
	stop_now(false);
	pthread_create(&thread, NULL, fn, NULL);
	while (ok && now() < end) {
		size_t len = 12 * PAGE - 10;
		ssize_t got = pread(fd, racy + 3, len, 0);

		if (got == (ssize_t)len)
			full++;
		else
			cut++;
		/* It ends where the page begins that goes, or in it. */
		ok = got == (ssize_t)len ||
		     (got >= (ssize_t)(4 * PAGE - 3) &&
		      got < (ssize_t)(8 * PAGE - 3));
		if (!ok)
			complain("pread", got, len);
		if (content) {
			stop_now(true);
			pthread_join(thread, NULL);
			if (got > 0)
				ok = ok && !wrong(racy + 3, got, 0);
			stop_now(false);
			pthread_create(&thread, NULL, fn, NULL);
		}
	}
	stop_now(true);
	pthread_join(thread, NULL);
	munmap(racy, 12 * PAGE);
	ksft_print_msg("%ld whole, %ld cut short\n", full, cut);
	return ok && full;
}

static bool test_race_mprotect(void)
{
	return race_buffer(change_protection, true);
}

static bool test_race_munmap(void)
{
	return race_buffer(change_mapping, false);
}

static void *write_back(void *arg)
{
	int f = *(int *)arg;

	while (!stopped()) {
		fsync(f);
		sync_file_range(f, 0, 64 * PAGE, SYNC_FILE_RANGE_WRITE);
		posix_fadvise(f, 0, 0, POSIX_FADV_DONTNEED);
	}
	return NULL;
}

/* What was written is read, while it goes to the disk and out of the cache. */
static bool test_race_writeback(void)
{
	int file = make_file("writeback", 64 * PAGE);
	pthread_t thread;
	bool ok = true;

	stop_now(false);
	pthread_create(&thread, NULL, write_back, &file);
	for (size_t i = 0; i < 600 && ok; i++) {
		size_t pos = i * 7919 % (60 * PAGE), len = i * 997 % (3 * PAGE) + 1;

		memset(buf, i, len);
		ok &= pwrite(file, buf, len, pos) == (ssize_t)len;
		memset(buf, ~i, len);
		ok &= pread(file, buf, len, pos) == (ssize_t)len;
		for (size_t j = 0; j < len; j++)
			ok &= buf[j] == (unsigned char)i;
	}
	stop_now(true);
	pthread_join(thread, NULL);
	close(file);
	return ok || !complain("writeback", -1, 0);
}

static void *change_size(void *arg)
{
	int f = *(int *)arg;

	while (!stopped()) {
		ftruncate(f, 3 * PAGE + 7);
		ftruncate(f, 64 * PAGE);
	}
	return NULL;
}

/* What was cut off reads as zeroes, or not at all; the rest stays. */
static bool test_race_truncate(void)
{
	int f = make_file("truncate", 64 * PAGE);
	double end = now() + 2;
	pthread_t thread;
	bool ok = true;

	stop_now(false);
	pthread_create(&thread, NULL, change_size, &f);
	while (ok && now() < end) {
		ssize_t got = pread(f, buf, 64 * PAGE, 0);
		size_t keep = 3 * PAGE + 7;

		ok = got >= (ssize_t)keep && got <= (ssize_t)(64 * PAGE) &&
		     !wrong(buf, keep, 0);
		for (size_t i = keep; ok && i < (size_t)got; i++)
			ok = !buf[i] || buf[i] == pattern(i);
		if (!ok)
			complain("pread", got, 64 * PAGE);
	}
	stop_now(true);
	pthread_join(thread, NULL);
	close(f);
	return ok;
}

/* Threads on all CPUs, each with a buffer of its own; some fork. */
static void *read_and_check(void *arg)
{
	unsigned int seed = (long)arg;
	unsigned char *p = map(256 << 10);
	long bad = 0;

	while (!stopped() && !bad) {
		size_t pos = rand_r(&seed) % (SIZE - (256 << 10));
		size_t len = 1 + rand_r(&seed) % (rand_r(&seed) % 4 ?
						  PAGE : 256 << 10);
		cpu_set_t cpus;

		bad += pread(fd, p, len, pos) != (ssize_t)len ||
		       wrong(p, len, pos);
		if (rand_r(&seed) % 16)
			continue;
		CPU_ZERO(&cpus);
		CPU_SET(rand_r(&seed) % sysconf(_SC_NPROCESSORS_CONF), &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
		if (rand_r(&seed) % 2) {
			pid_t pid = fork();
			int status = 0;

			if (!pid)
				_exit(pread(fd, p, len, pos) != (ssize_t)len ||
				      wrong(p, len, pos));
			bad += pid > 0 && (waitpid(pid, &status, 0) != pid ||
					   status);
		} else {
			madvise(p, 256 << 10, MADV_DONTNEED);
		}
	}
	munmap(p, 256 << 10);
	return (void *)bad;
}

static bool test_threads(void)
{
	pthread_t threads[6];
	long bad = 0;
	void *ret;

	stop_now(false);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_create(threads + i, NULL, read_and_check,
			       (void *)(i + 1));
	sleep(3);
	stop_now(true);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], &ret);
		bad += (long)ret;
	}
	return !bad;
}

static void *serve_faults(void *arg)
{
	int uffd = *(int *)arg;
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		struct uffdio_zeropage zero = {
			.range = {
				.start = msg.arg.pagefault.address & -PAGE,
				.len = PAGE,
			},
		};

		if (msg.event == UFFD_EVENT_PAGEFAULT)
			ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
	}
	return NULL;
}

static int uffd_open(void *p, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)p, .len = len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd >= 0 && (ioctl(uffd, UFFDIO_API, &api) ||
			  ioctl(uffd, UFFDIO_REGISTER, &reg))) {
		close(uffd);
		return -1;
	}
	return uffd;
}

/* Somebody else brings the pages of the buffer, one by one. */
static bool test_userfaultfd(void)
{
	size_t len = 40 * PAGE;
	unsigned char *p = map(len);
	int uffd = uffd_open(p, len);
	pthread_t thread;
	bool ok;

	if (uffd < 0) {
		ksft_print_msg("no userfaultfd\n");
		return true;
	}
	pthread_create(&thread, NULL, serve_faults, &uffd);
	ok = !complain("pread", pread(fd, p + 9, len - 18, 33), len - 18) &&
	     !wrong(p + 9, len - 18, 33);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	close(uffd);
	munmap(p, len);
	return ok;
}

/* ------------------------------------------------------- other ways out */

static bool test_splice(void)
{
	loff_t pos = 4090;
	size_t len = 30 * PAGE, done = 0;
	int p[2];

	if (pipe(p))
		return false;
	while (done < len) {
		ssize_t n = splice(fd, &pos, p[1], NULL, len - done, 0);

		for (ssize_t i = 0; i < n; ) {
			ssize_t got = read(p[0], buf + done, n - i);

			if (got <= 0)
				return false;
			i += got;
			done += got;
		}
		if (n <= 0)
			break;
	}
	close(p[0]);
	close(p[1]);
	return !complain("splice", done, len) && !wrong(buf, len, 4090);
}

static bool test_sendfile(void)
{
	off_t pos = 100;
	size_t len = 20 * PAGE, done = 0;
	int s[2], f = make_file("copy", 0);
	bool ok;

	ok = !complain("sendfile", sendfile(f, fd, &pos, len), len) &&
	     !complain("pread", pread(f, buf, len, 0), len) &&
	     !wrong(buf, len, 100);
	close(f);
	if (!ok || socketpair(AF_UNIX, SOCK_STREAM, 0, s))
		return ok;
	pos = 200;
	while (done < len) {
		ssize_t n = sendfile(s[0], fd, &pos, PAGE);

		if (n <= 0 || recv(s[1], buf + done, n, MSG_WAITALL) != n)
			break;
		done += n;
	}
	close(s[0]);
	close(s[1]);
	return !complain("socket", done, len) && !wrong(buf, len, 200);
}

static bool test_aio(void)
{
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = fd,
		.aio_buf = (unsigned long)buf,
		.aio_nbytes = 10 * PAGE,
		.aio_offset = 17,
	}, *cbs[] = { &cb };
	struct io_event event = {};
	aio_context_t ctx = 0;
	bool ok;

	if (syscall(SYS_io_setup, 1, &ctx)) {
		ksft_print_msg("no AIO\n");
		return true;
	}
	memset(buf, GUARD, 11 * PAGE);
	ok = syscall(SYS_io_submit, ctx, 1, cbs) == 1 &&
	     syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL) == 1 &&
	     !complain("aio", event.res, 10 * PAGE) &&
	     !wrong(buf, 10 * PAGE, 17) && buf[10 * PAGE] == GUARD;
	syscall(SYS_io_destroy, ctx);
	return ok;
}

/* What is cut off, by truncation or as a hole, reads as zeroes afterwards. */
static bool test_zeroed_parts(void)
{
	static const size_t cuts[] = { 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 77 };
	const size_t len = 16 * PAGE;
	int file = make_file("cut", len);
	bool ok = true, punched;

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		memset(buf, 0xab, len);
		ok &= pwrite(file, buf, len, 0) == (ssize_t)len;
		ok &= !ftruncate(file, cuts[i]) && !ftruncate(file, len);
		memset(buf, 0xcd, len);
		ok &= pread(file, buf, len, 0) == (ssize_t)len;
		for (size_t j = 0; j < len; j++)
			ok &= buf[j] == (j < cuts[i] ? 0xab : 0);

		memset(buf, 0xab, len);
		ok &= pwrite(file, buf, len, 0) == (ssize_t)len;
		punched = !fallocate(file, FALLOC_FL_PUNCH_HOLE |
				     FALLOC_FL_KEEP_SIZE, cuts[i], 5 * PAGE);
		ok &= punched || errno == EOPNOTSUPP;
		memset(buf, 0xcd, len);
		ok &= pread(file, buf, len, 0) == (ssize_t)len;
		for (size_t j = 0; j < len; j++)
			ok &= buf[j] == (!punched || j < cuts[i] ||
					 j >= cuts[i] + 5 * PAGE ? 0xab : 0);
	}
	/* The rest of a page where a write began and ended. */
	ok &= !ftruncate(file, 0) && pwrite(file, buf, 100, PAGE + 50) == 100;
	ok &= !ftruncate(file, 3 * PAGE);
	memset(buf + 200, 0xcd, 3 * PAGE);
	ok &= pread(file, buf + 200, 3 * PAGE, 0) == 3 * (ssize_t)PAGE;
	for (size_t j = 0; j < 3 * PAGE; j++) {
		bool in = j >= PAGE + 50 && j < PAGE + 150;

		ok &= buf[200 + j] == (in ? buf[j - PAGE - 50] : 0);
	}
	close(file);
	return ok || !complain("zeroed parts", -1, 0);
}

#define NR_ARGS 60

static size_t arg_len(size_t i)
{
	return i * 777 + 1;
}

/* What test_arguments() has passed on. */
static int check_arguments(char **argv)
{
	for (size_t i = 0; i < NR_ARGS; i++) {
		if (!argv[i] || strlen(argv[i]) != arg_len(i))
			return 1;
		for (size_t j = 0; j < arg_len(i); j++)
			if (argv[i][j] != (char)('a' + (i + j) % 26))
				return 1;
	}
	return 0;
}

/* Does a program, which is this one, find its arguments? */
static bool pass_arguments(const char *path)
{
	char *argv[NR_ARGS + 3] = { "asi_read", "--arguments" };
	int status = -1;
	pid_t pid;

	for (size_t i = 0; i < NR_ARGS; i++) {
		char *arg = calloc(1, arg_len(i) + 1);

		for (size_t j = 0; j < arg_len(i); j++)
			arg[j] = 'a' + (i + j) % 26;
		argv[i + 2] = arg;
	}
	pid = fork();
	if (!pid) {
		execv(path, argv);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	for (size_t i = 0; i < NR_ARGS; i++)
		free(argv[i + 2]);
	return !status || !complain("arguments", status, 0);
}

static bool test_arguments(void)
{
	return pass_arguments("/proc/self/exe");
}

/* A file that can be executed; @data may be NULL, for a copy of this program. */
static bool make_program(char *path, const char *name, const void *data,
			 size_t len)
{
	int self, f;
	bool ok;

	snprintf(path, PATH_LEN, "%s/%s", dir, name);
	f = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	if (data) {
		ok = f >= 0 && write(f, data, len) == (ssize_t)len;
	} else {
		ssize_t got;

		self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		while ((got = read(self, buf, HUGE)) > 0)
			if (f < 0 || write(f, buf, got) != got)
				break;
		ok = !got;
		close(self);
	}
	close(f);
	return ok || !complain(path, -1, 0);
}

/* The kernel's own reads: exec of a file, a script's interpreter. */
static bool test_kernel_reads(void)
{
	static const char script[] = "#!/bin/sh\nexit 42\n";
	char path[PATH_LEN];
	int status = 0;
	bool ok;
	pid_t pid;

	if (!make_program(path, "script", script, strlen(script)))
		return false;
	pid = fork();
	if (!pid) {
		execl(path, path, NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	unlink(path);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 42)
		return !complain("script", status, 42 << 8);

	ok = make_program(path, "program", NULL, 0) && pass_arguments(path);
	unlink(path);
	return ok;
}

/* Another process, with the same memory to begin with. */
static struct {
	pid_t pid;
	int mem;
	int cmdline;
} other;

static bool other_begin(void)
{
	char path[32];

	other.pid = fork();
	if (!other.pid)
		for (;;)
			pause();
	snprintf(path, sizeof(path), "/proc/%d/mem", other.pid);
	other.mem = open(path, O_RDWR);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", other.pid);
	other.cmdline = open(path, O_RDONLY);
	return other.pid > 0 && other.mem >= 0 && other.cmdline >= 0;
}

static void other_end(void)
{
	close(other.mem);
	close(other.cmdline);
	kill(other.pid, SIGKILL);
	waitpid(other.pid, NULL, 0);
}

static bool other_vm(void *local, size_t pos, size_t len, bool write)
{
	struct iovec here = { local, len }, there = { buf + pos, len };

	return (write ? process_vm_writev(other.pid, &here, 1, &there, 1, 0) :
		process_vm_readv(other.pid, &here, 1, &there, 1, 0)) ==
	       (ssize_t)len;
}

static bool other_file(void *local, size_t pos, size_t len, bool write)
{
	off_t addr = (unsigned long)buf + pos;

	return (write ? pwrite(other.mem, local, len, addr) :
		pread(other.mem, local, len, addr)) == (ssize_t)len;
}

static bool test_other_process(void)
{
	static const size_t lens[] = { 1, 8, 4095, 4096, 4097, 3 * 4096 + 5 };
	unsigned char *local = map(8 * PAGE);
	bool ok;

	for (size_t j = 0; j < 64 * PAGE; j++)
		buf[j] = j * 31 >> 3;
	ok = other_begin();
	/* Ours is written from here on; theirs has to stay. */
	memset(buf, 0, 64 * PAGE);
	for (size_t i = 0; i < 200 && ok; i++) {
		size_t pos = i * 7919 % (60 * PAGE);
		size_t len = lens[i % ARRAY_LEN(lens)];

		memset(local, 0xee, len);
		ok &= (i & 1 ? other_vm : other_file)(local, pos, len, false);
		for (size_t j = 0; j < len; j++)
			ok &= local[j] ==
			      (unsigned char)((pos + j) * 31 >> 3);
		/* And back, by the other way: the same, or a mark and back. */
		memset(local, 0x11, len);
		ok &= (i & 2 ? other_vm : other_file)(local, pos, len, true);
		memset(local, 0xee, len);
		ok &= (i & 1 ? other_file : other_vm)(local, pos, len, false);
		for (size_t j = 0; j < len; j++) {
			ok &= local[j] == 0x11;
			local[j] = (pos + j) * 31 >> 3;
		}
		ok &= (i & 2 ? other_file : other_vm)(local, pos, len, true);
	}
	/* It is theirs, and nothing of ours has changed. */
	for (size_t j = 0; j < 64 * PAGE; j++)
		ok &= !buf[j];
	other_end();
	munmap(local, 8 * PAGE);
	return ok || !complain("another process", -1, 0);
}

/* ----------------------------------------------------- pipes, hugetlbfs */

/* What is written to a pipe is read from it, in pieces of other sizes. */
static bool pipe_through(int *p, size_t len, size_t piece, size_t shift)
{
	unsigned char *to = buf + 2 * HUGE + shift % 11;
	size_t done = 0;

	memset(to - 8, GUARD, len + 16);
	if (complain("write", write(p[1], buf + shift, len), len))
		return false;
	while (done < len) {
		size_t want = len - done < piece ? len - done : piece;

		if (complain("read", read(p[0], to + done, piece), want))
			return false;
		done += want;
	}
	return !wrong(to, len, shift) && all(to - 8, 8, GUARD) &&
	       all(to + len, 8, GUARD);
}

static bool test_pipe(void)
{
	static const size_t lens[] = { 1, 7, 8, 4095, 4096, 4097, 20000, 65536 };
	static const size_t pieces[] = { 1, 13, 4095, 4096, 4097, 65536 };
	bool ok;
	int p[2];

	if (pipe(p))
		return false;
	for (size_t i = 0; i < HUGE; i++)
		buf[i] = pattern(i);
	ok = true;
	for (size_t i = 0; i < ARRAY_LEN(lens); i++)
		for (size_t j = 0; j < ARRAY_LEN(pieces); j++)
			if (lens[i] / pieces[j] < 5000)
				ok &= pipe_through(p, lens[i], pieces[j],
						   4090 + i * 5 + j);
	/* Small ones share a page. */
	for (size_t i = 0; i < 300; i++)
		ok &= write(p[1], buf + i * 11, 11) == 11;
	ok &= read(p[0], buf + 2 * HUGE, HUGE) == 3300 &&
	      !wrong(buf + 2 * HUGE, 3300, 0);
	close(p[0]);
	close(p[1]);
	return ok;
}

/* Whole pages are written or nothing, and what could not be read stays. */
static bool test_pipe_short(void)
{
	unsigned char *map_2 = map(3 * PAGE), *end = map_2 + 2 * PAGE;
	bool ok;
	int p[2];

	if (pipe(p))
		return false;
	for (size_t i = 0; i < 2 * PAGE; i++)
		map_2[i] = pattern(i);
	munmap(end, PAGE);
	ok = !complain("write", write(p[1], end - PAGE - 99, 3 * PAGE), PAGE) &&
	     !complain("write", write(p[1], end - 99, PAGE), -1) &&
	     errno == EFAULT &&
	     !complain("read", read(p[0], end - 50, PAGE), -1) &&
	     errno == EFAULT &&
	     !complain("read", read(p[0], buf, 3 * PAGE), PAGE) &&
	     !wrong(buf, PAGE, PAGE - 99);
	close(p[0]);
	close(p[1]);
	munmap(map_2, 2 * PAGE);
	return ok;
}

#define HUGE_POOL	"/proc/sys/vm/nr_hugepages"
#define NR_HUGE		4

static void huge_pool(int nr)
{
	FILE *f = fopen(HUGE_POOL, "we");

	if (!f || fprintf(f, "%d\n", nr) < 0 || fclose(f))
		ksft_print_msg("%s: %s\n", HUGE_POOL, strerror(errno));
}

/* read(2) from huge pages, which only mappings write; the last one is a hole. */
static bool test_hugetlb(void)
{
	static const size_t at[] = { 0, 1, 4095, HUGE - 1, HUGE + 4097,
				     2 * HUGE - 4097, 2 * HUGE + 5, 3 * HUGE };
	static const size_t lens[] = { 1, 8, 4095, 4096, 65537, HUGE };
	int f = make_file("huge", 0);
	unsigned char *p;
	bool ok;

	ok = !ftruncate(f, 3 * HUGE);
	p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
	if (p == MAP_FAILED)
		return !complain("mmap", -1, 0);
	for (size_t i = 0; i < 2 * HUGE; i++)
		p[i] = pattern(i);
	munmap(p, 2 * HUGE);
	for (size_t i = 0; ok && i < ARRAY_LEN(at); i++) {
		for (size_t j = 0; ok && j < ARRAY_LEN(lens); j++) {
			size_t left = 3 * HUGE - at[i];
			size_t n = lens[j] < left ? lens[j] : left;
			size_t full = at[i] < 2 * HUGE ? 2 * HUGE - at[i] : 0;
			unsigned char *to = buf + PAGE + i + j;

			if (full > n)
				full = n;
			memset(to - 8, GUARD, n + 16);
			ok = !complain("pread", pread(f, to, lens[j], at[i]), n) &&
			     !wrong(to, full, at[i]) &&
			     all(to + full, n - full, 0) &&
			     all(to - 8, 8, GUARD) && all(to + n, 8, GUARD);
		}
	}
	close(f);
	return ok;
}

/* ------------------------------------------------------------- counters */

/*
 * Exits in @nr calls of @fn, the least of a few times: the timer and other
 * processes have exits as well.
 */
static long least_exits(const char *what, bool (*fn)(size_t i), long nr)
{
	long least = -1;

	for (int i = 0; i < 5; i++) {
		long before = exits(), now;

		for (long j = 0; j < nr; j++) {
			if (!fn(j)) {
				complain(what, -1, 0);
				return -1;
			}
		}
		now = exits() - before;
		if (least < 0 || now < least)
			least = now;
	}
	ksft_print_msg("%ld exits in %ld: %s\n", least, nr, what);
	return least;
}

static bool no_exits(const char *what, bool (*fn)(size_t i), long nr)
{
	long least = least_exits(what, fn, nr);

	/* Those of the counting, and one of a timer now and then. */
	return least >= 0 && least <= nr / 100 + 1;
}

static bool read_at(size_t len, size_t pos)
{
	return pread(fd, buf, len, pos % (SIZE - len)) == (ssize_t)len;
}

static bool read_1(size_t i)
{
	return read_at(1, i * (PAGE + 1));
}

static bool read_4k(size_t i)
{
	return read_at(PAGE, i * PAGE);
}

static bool read_64k(size_t i)
{
	return read_at(16 * PAGE, i * 12345);
}

static bool read_huge(size_t i)
{
	return read_at(HUGE, i * PAGE);
}

static bool test_no_exits(void)
{
	memset(buf, 0, HUGE + 2 * PAGE);
	return no_exits("reads of 1 byte", read_1, 1000) &
	       no_exits("reads of 4 KB", read_4k, 1000) &
	       no_exits("reads of 64 KB", read_64k, 500) &
	       no_exits("reads of 2 MB", read_huge, 50);
}

static int scratch;

static bool write_4k(size_t i)
{
	return pwrite(scratch, buf, PAGE, i % 64 * PAGE) == PAGE;
}

static bool write_64k(size_t i)
{
	return pwrite(scratch, buf, 16 * PAGE, i % 48 * PAGE) == 16 * PAGE;
}

static bool test_no_exits_write(void)
{
	bool ok;

	scratch = make_file("scratch", 64 * PAGE);
	ok = no_exits("writes of 4 KB", write_4k, 1000) &
	     no_exits("writes of 64 KB", write_64k, 500);
	close(scratch);
	return ok;
}

static int pipe_fds[2];

static bool pipe_pass(size_t len)
{
	return write(pipe_fds[1], buf, len) == (ssize_t)len &&
	       read(pipe_fds[0], buf + HUGE, len) == (ssize_t)len;
}

static bool pipe_1(size_t i)
{
	return pipe_pass(1);
}

static bool pipe_4k(size_t i)
{
	return pipe_pass(PAGE);
}

static bool pipe_64k(size_t i)
{
	return pipe_pass(16 * PAGE);
}

static bool test_no_exits_pipe(void)
{
	bool ok;

	if (pipe(pipe_fds))
		return false;
	memset(buf, 1, HUGE + 16 * PAGE);
	ok = no_exits("1 byte through a pipe", pipe_1, 1000) &
	     no_exits("4 KB through a pipe", pipe_4k, 1000) &
	     no_exits("64 KB through a pipe", pipe_64k, 300);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return ok;
}

static unsigned char *fresh;

static bool fault_anon(size_t i)
{
	fresh[i * PAGE] = 1;
	return i < 1023 || !madvise(fresh, 1024 * PAGE, MADV_DONTNEED);
}

/* Of a private mapping of the file. */
static bool fault_cow(size_t i)
{
	fresh[i * PAGE] = 1;
	return i < 1023 || !madvise(fresh, 1024 * PAGE, MADV_DONTNEED);
}

static bool test_no_exits_faults(void)
{
	bool ok;

	fresh = map(1024 * PAGE);
	madvise(fresh, 1024 * PAGE, MADV_NOHUGEPAGE);
	ok = no_exits("new pages", fault_anon, 1024);
	munmap(fresh, 1024 * PAGE);
	fresh = mmap(NULL, 1024 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		     0);
	ok &= no_exits("pages copied on write", fault_cow, 1024);
	munmap(fresh, 1024 * PAGE);
	return ok;
}

static bool huge_read_4k(size_t i)
{
	return pread(scratch, buf, PAGE, i * 4321 % HUGE) == PAGE;
}

static bool huge_read_64k(size_t i)
{
	return pread(scratch, buf, 16 * PAGE, i * 4321 % HUGE) == 16 * PAGE;
}

/* A new page, which goes again. */
static bool huge_fault(size_t i)
{
	fresh[2 * HUGE] = 1;
	return punch(scratch, 2 * HUGE, HUGE);
}

/* Of a private mapping. */
static bool huge_cow(size_t i)
{
	fresh[0] = 1;
	return !madvise(fresh, HUGE, MADV_DONTNEED);
}

static bool test_no_exits_hugetlb(void)
{
	bool ok = true;

	scratch = make_file("huge", 0);
	ok = !ftruncate(scratch, 3 * HUGE);
	fresh = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, scratch,
		     0);
	if (fresh == MAP_FAILED)
		return !complain("mmap", -1, 0);
	memset(fresh, 1, 2 * HUGE);
	memset(buf, 0, 16 * PAGE);
	ok &= no_exits("reads of 4 KB from a huge page", huge_read_4k, 500) &
	      no_exits("reads of 64 KB from a huge page", huge_read_64k, 200) &
	      no_exits("new huge pages", huge_fault, 10);
	munmap(fresh, 3 * HUGE);
	fresh = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, scratch, 0);
	ok &= fresh != MAP_FAILED &&
	      no_exits("huge pages copied on write", huge_cow, 10);
	munmap(fresh, HUGE);
	close(scratch);
	return ok;
}

static bool cut_and_write(size_t i)
{
	size_t cut = (i * 997 + 1) % (8 * PAGE);

	return !ftruncate(scratch, cut) && pwrite(scratch, buf, 100, cut) == 100;
}

static bool fault_shared(size_t i)
{
	fresh[i * PAGE] = 1;
	return i < 1023 || punch(scratch, 0, 1024 * PAGE);
}

/* Truncation to an odd size, and new pages of the file that are mapped. */
static bool test_no_exits_zeroing(void)
{
	bool ok;

	scratch = make_file("scratch", 8 * PAGE);
	ok = no_exits("truncations and appending writes", cut_and_write, 500);
	if (ftruncate(scratch, 1024 * PAGE))
		return false;
	fresh = mmap(NULL, 1024 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     scratch, 0);
	ok &= no_exits("new pages of a file", fault_shared, 1024);
	munmap(fresh, 1024 * PAGE);
	close(scratch);
	return ok;
}

static bool other_read(size_t i)
{
	return other_vm(fresh, i % 64 * PAGE, PAGE, false);
}

static bool other_write(size_t i)
{
	return other_vm(fresh, i % 64 * PAGE, PAGE, true);
}

static bool other_read_file(size_t i)
{
	return other_file(fresh, i % 64 * PAGE, PAGE, false);
}

static bool other_arguments(size_t i)
{
	char c;

	return pread(other.cmdline, &c, 1, 0) == 1;
}

/* Anybody may read them, but not what is in the same page: no window for it. */
static bool test_exits_arguments(void)
{
	bool ok;

	if (!other_begin())
		return false;
	ok = least_exits("reads of /proc/PID/cmdline", other_arguments, 500) >=
	     500;
	other_end();
	return ok;
}

static bool test_no_exits_other(void)
{
	bool ok;

	memset(buf, 1, 64 * PAGE);
	fresh = map(PAGE);
	fresh[0] = 1;
	if (!other_begin())
		return false;
	ok = no_exits("process_vm_readv", other_read, 500) &
	     no_exits("process_vm_writev", other_write, 500) &
	     no_exits("reads of /proc/PID/mem", other_read_file, 500);
	other_end();
	munmap(fresh, PAGE);
	return ok;
}

static const char *exec_path;
static int exec_error;

/* The kernel reads the beginning of a file, and what that names, in vain. */
static bool exec_fails(size_t i)
{
	char *argv[] = { "asi_read", "argument", NULL };

	execv(exec_path, argv);
	return errno == exec_error;
}

static bool exec_fails_with(const char *what, const char *path, int error)
{
	exec_path = path;
	exec_error = error;
	return no_exits(what, exec_fails, 200);
}

/*
 * A file that is no program; a script, and an ELF program, that have it for their
 * interpreter: of these the kernel reads more. It ends before there is a process
 * to be replaced.
 */
static bool test_no_exits_exec(void)
{
	char none[PATH_LEN], script[PATH_LEN], elf[PATH_LEN];
	char line[PATH_LEN + 8];
	struct {
		Elf64_Ehdr head;
		Elf64_Phdr interp;
		char name[PATH_LEN];
	} image = {
		.head = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
				     ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_DYN,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_phoff = sizeof(image.head),
			.e_ehsize = sizeof(image.head),
			.e_phentsize = sizeof(image.interp),
			.e_phnum = 1,
		},
		.interp = {
			.p_type = PT_INTERP,
			.p_offset = sizeof(image.head) + sizeof(image.interp),
		},
	};
	bool ok;

	memset(buf, 'x', PAGE);
	ok = make_program(none, "none", buf, PAGE);
	snprintf(line, sizeof(line), "#!%s\n", none);
	ok &= make_program(script, "script", line, strlen(line));
	strcpy(image.name, none);
	image.interp.p_filesz = strlen(none) + 1;
	ok &= make_program(elf, "elf", &image, sizeof(image));
	ok = ok && exec_fails_with("exec of what is no program", none, ENOEXEC) &&
	     exec_fails_with("exec of a script", script, ENOEXEC) &&
	     exec_fails_with("exec of an ELF file", elf, ELIBBAD);
	unlink(none);
	unlink(script);
	unlink(elf);
	return ok;
}

static void *spin(void *unused)
{
	while (!stopped())
		;
	return NULL;
}

/* With a thread elsewhere, for which the window has to be flushed. */
static bool test_no_exits_threads(void)
{
	pthread_t thread;
	bool ok;

	stop_now(false);
	pthread_create(&thread, NULL, spin, NULL);
	ok = no_exits("reads of 4 KB", read_4k, 200);
	stop_now(true);
	pthread_join(thread, NULL);
	return ok;
}

static void *wait_for_all(void *barrier)
{
	pthread_barrier_wait(barrier);
	return NULL;
}

/*
 * More threads than CPUs switch MM CIDs to per CPU mode; an execve() that fails
 * left it in part, and the next thread looked for a CID for good.
 */
static bool test_thread_after_exec(void)
{
	int nr = sysconf(_SC_NPROCESSORS_ONLN) + 3, i;
	pthread_t threads[nr];
	pthread_barrier_t barrier;
	char none[PATH_LEN];
	cpu_set_t all, one;
	bool ok;

	memset(buf, 'x', PAGE);
	ok = make_program(none, "none", buf, PAGE);
	exec_path = none;
	exec_error = ENOEXEC;

	pthread_barrier_init(&barrier, NULL, nr);
	for (i = 0; i < nr; i++)
		pthread_create(threads + i, NULL, wait_for_all, &barrier);
	for (i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);

	/* Not on the other CPUs again, which would give their CIDs back. */
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	ok = ok && exec_fails(0);
	pthread_barrier_init(&barrier, NULL, 1);
	pthread_create(threads, NULL, wait_for_all, &barrier);
	pthread_join(threads[0], NULL);
	sched_setaffinity(0, sizeof(all), &all);

	pthread_barrier_destroy(&barrier);
	unlink(none);
	return ok;
}

/* ----------------------------------------------------------------- main */

static const struct test {
	const char *name;
	bool (*fn)(void);
	enum {
		BYTES,
		COUNTS,
		COUNTS_SERVED,	/* what the file system's server may be asked */
	} kind;
} tests[] = {
	{ "classes of offset and length", test_classes, BYTES },
	{ "offsets and lengths around pages", test_every_offset, BYTES },
	{ "read to the end", test_sequential, BYTES },
	{ "readv", test_readv, BYTES },
	{ "holes read as zeroes", test_holes, BYTES },
	{ "a buffer that is not there yet", test_fresh_buffer, BYTES },
	{ "a buffer that ends early: the count is exact", test_short, BYTES },
	{ "a buffer that ends early: the position", test_short_position, BYTES },
	{ "addresses that are no user's", test_bad_addresses, BYTES },
	{ "a buffer that is copied on write", test_cow_buffer, BYTES },
	{ "a buffer that is the file", test_buffer_is_the_file, BYTES },
	{ "write", test_write, BYTES },
	{ "write from a buffer that ends early", test_write_short, BYTES },
	{ "new pages, pages copied on write", test_new_and_copied, BYTES },
	{ "mprotect meanwhile", test_race_mprotect, BYTES },
	{ "munmap meanwhile", test_race_munmap, BYTES },
	{ "truncate meanwhile", test_race_truncate, BYTES },
	{ "writeback meanwhile", test_race_writeback, BYTES },
	{ "threads on all CPUs, and forks", test_threads, BYTES },
	{ "userfaultfd brings the buffer", test_userfaultfd, BYTES },
	{ "splice to a pipe", test_splice, BYTES },
	{ "sendfile to a file and a socket", test_sendfile, BYTES },
	{ "AIO", test_aio, BYTES },
	{ "what the kernel reads", test_kernel_reads, BYTES },
	{ "truncated, punched and unwritten parts are zero", test_zeroed_parts,
	  BYTES },
	{ "arguments of execve", test_arguments, BYTES },
	{ "a thread after an execve that failed", test_thread_after_exec, BYTES },
	{ "memory of another process", test_other_process, BYTES },
	{ "no exits", test_no_exits, COUNTS },
	{ "no exits in writes", test_no_exits_write, COUNTS_SERVED },
	{ "no exits in faults", test_no_exits_faults, COUNTS },
	{ "no exits in zeroing parts of files", test_no_exits_zeroing, COUNTS_SERVED },
	{ "no exits in what exec reads", test_no_exits_exec, COUNTS_SERVED },
	{ "no exits in access to another process", test_no_exits_other, COUNTS },
	{ "another process' arguments are not mapped for that",
	  test_exits_arguments, COUNTS },
	{ "no exits with another thread", test_no_exits_threads, COUNTS },
};

/* In no directory, and in hugetlbfs. */
static const struct test pipe_tests[] = {
	{ "write and read", test_pipe, BYTES },
	{ "buffers that end early", test_pipe_short, BYTES },
	{ "no exits", test_no_exits_pipe, COUNTS },
};

static const struct test huge_tests[] = {
	{ "read, and holes", test_hugetlb, BYTES },
	{ "no exits", test_no_exits_hugetlb, COUNTS },
};

static bool counted;	/* exits are */
static bool served;	/* by a server of this system */

static void run(const struct test *test, size_t nr, const char *name)
{
	for (; nr; nr--, test++) {
		if (test->kind != BYTES && !counted) {
			ksft_test_result_skip("A11: %s: %s\n", name, test->name);
		} else if (test->kind == COUNTS_SERVED && served) {
			test->fn();
			ksft_test_result_skip("A11: %s: %s: a server is asked\n",
					      name, test->name);
		} else {
			ksft_test_result(test->fn(), "A11: %s: %s\n", name,
					 test->name);
		}
	}
}

static void run_in(const char *where, const char *name)
{
	dir = where;
	fd = make_file("file", SIZE);
	run(tests, ARRAY_LEN(tests), name);
	close(fd);
}

/* @where: a directory to mount file systems on. */
static void run_without_dir(const char *where)
{
	static const char * const options[] = { "huge=never", "huge=always" };
	static const char * const names[] = { "tmpfs", "huge tmpfs" };

	for (int i = 0; i < 2; i++) {
		if (mount("none", where, "tmpfs", 0, options[i]))
			ksft_exit_fail_msg("mount: %s\n", strerror(errno));
		run_in(where, names[i]);
		umount(where);
	}

	run(pipe_tests, ARRAY_LEN(pipe_tests), "pipe");

	huge_pool(NR_HUGE);
	if (mount("none", where, "hugetlbfs", 0, "pagesize=2M"))
		ksft_exit_fail_msg("mount: %s\n", strerror(errno));
	dir = where;
	run(huge_tests, ARRAY_LEN(huge_tests), "hugetlbfs");
	umount(where);
	huge_pool(0);
}

int main(int argc, char **argv)
{
	char where[] = "/tmp/asi_readXXXXXX";
	size_t nr = ARRAY_LEN(tests);

	if (argc > 2 && !strcmp(argv[1], "--arguments"))
		return check_arguments(argv + 2);
	ksft_print_header();
	counted = !access(STATS, R_OK);
	if (argc > 1 && !strcmp(argv[1], "-s")) {
		served = true;
		argc--;
		argv++;
	}
	ksft_set_plan(argc > 1 ? (argc - 1) * nr :
		      2 * nr + ARRAY_LEN(pipe_tests) + ARRAY_LEN(huge_tests));
	ksft_print_msg("asi=%s\n", counted ? "on" : "off");
	buf = map(SIZE + 3 * HUGE);

	for (int i = 1; i < argc; i++)
		run_in(argv[i], argv[i]);
	if (argc > 1)
		ksft_finished();

	if (!mkdtemp(where))
		ksft_exit_fail_msg("%s: %s\n", where, strerror(errno));
	run_without_dir(where);
	rmdir(where);
	ksft_finished();
}
