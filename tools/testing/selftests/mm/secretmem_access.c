// SPDX-License-Identifier: GPL-2.0
/*
 * M18: what must not read secret memory cannot, not while its pages move
 * either. A thread keeps all pages on the move between two nodes; meanwhile
 * each way in is tried again and again. It has to fail, or to return no word
 * of the secret. Each way in is tried on an ordinary page first and has to
 * work there: a test that cannot fail shows nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/loop.h>

#include "secretmem_test.h"

static struct secret secret;
static bool stop;
static long moves;

static void *mover(void *arg)
{
	(void)arg;
	for (int i = 0; !sm_get(&stop); i++) {
		sm_move(&secret, i & 1 ? sm_from : sm_to);
		moves++;
	}
	return NULL;
}

/* One word of ordinary memory that any reader may find. */
#define ORDINARY	0x6f7264696e617279ULL

static __u64 *ordinary;

static pthread_t thread;

static int start(void)
{
	int err = sm_new(&secret, sm_nr, sm_from);

	if (err)
		return sm_fail("memfd_secret: %s", strerror(-err));
	ordinary = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	for (unsigned int i = 0; i < SM_WORDS; i++)
		ordinary[i] = ORDINARY;
	sm_set(&stop, false);
	if (pthread_create(&thread, NULL, mover, NULL))
		return sm_fail("pthread_create");
	return KSFT_PASS;
}

static int finish(long tries, long reads, long leaks)
{
	sm_set(&stop, true);
	pthread_join(thread, NULL);
	sm_note("%ld tries, %ld returned data, %ld leaked, %ld moves", tries,
		reads, leaks, moves);
	if (sm_wrong(&secret))
		return sm_fail("%zu wrong words", sm_wrong(&secret));
	return leaks ? KSFT_FAIL : KSFT_PASS;
}

static double deadline(void)
{
	return sm_now() + (sm_long ? 10 : 1);
}

/*
 * Try @reader on page after page until the time is over. It fills the buffer
 * with what it could read of the page at an address and returns how much;
 * 0 or less: refused.
 */
typedef ssize_t (*reader_fn)(void *ctx, void *addr, void *buf, size_t len);

static int try_reader(reader_fn reader, void *ctx, bool may_return)
{
	static __u64 buf[SM_WORDS];
	long tries = 0, reads = 0, leaks = 0;
	double end;
	int ret;

	ret = start();
	if (ret != KSFT_PASS)
		return ret;
	if (reader(ctx, ordinary, buf, sizeof(buf)) <= 0 ||
	    buf[0] != ORDINARY) {
		sm_note("an ordinary page cannot be read either: %s",
			strerror(errno));
		finish(0, 0, 0);
		return KSFT_SKIP;
	}
	for (end = deadline(); sm_now() < end; tries++) {
		ssize_t got;

		memset(buf, 0, sizeof(buf));
		got = reader(ctx, sm_page(&secret, tries % secret.nr), buf,
			     sizeof(buf));
		if (got <= 0)
			continue;
		reads++;
		leaks += sm_leaked(&secret, buf, got);
	}
	ret = finish(tries, reads, leaks);
	if (reads && !may_return)
		ret = sm_fail("not refused");
	return ret;
}

/* ------------------------------------------- by way of the user's address */

static ssize_t read_vmsplice(void *ctx, void *addr, void *buf, size_t len)
{
	struct iovec iov = { addr, len };
	ssize_t got;
	int fds[2];

	(void)ctx;
	if (pipe(fds))
		return -1;
	got = vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK);
	/* Taken is as bad as read, also when the pipe cannot be read. */
	if (got > 0 && read(fds[0], buf, got) < 0)
		memset(buf, 0, got);
	close(fds[0]);
	close(fds[1]);
	return got;
}

static int test_vmsplice(void)
{
	return try_reader(read_vmsplice, NULL, false);
}

static ssize_t read_process_vm(void *ctx, void *addr, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { addr, len };

	return process_vm_readv(*(pid_t *)ctx, &local, 1, &remote, 1, 0);
}

static int test_process_vm(void)
{
	pid_t self = getpid();

	return try_reader(read_process_vm, &self, false);
}

/* Writing would tell where the pages are, and destroy them. */
static ssize_t write_process_vm(void *ctx, void *addr, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { addr, len };
	ssize_t got;

	if (addr == ordinary)
		memcpy(buf, ordinary, len);
	got = process_vm_writev(*(pid_t *)ctx, &local, 1, &remote, 1, 0);
	return got;
}

static int test_process_vm_write(void)
{
	pid_t self = getpid();

	return try_reader(write_process_vm, &self, false);
}

static ssize_t read_proc_mem(void *ctx, void *addr, void *buf, size_t len)
{
	return pread(*(int *)ctx, buf, len, (off_t)(uintptr_t)addr);
}

static int test_proc_mem(void)
{
	int fd = open("/proc/self/mem", O_RDONLY);

	if (fd < 0)
		return sm_skip("/proc/self/mem: %s", strerror(errno));
	return try_reader(read_proc_mem, &fd, false);
}

/* A fixed buffer is a long-term pin of its pages. */
static ssize_t read_uring(void *ctx, void *addr, void *buf, size_t len)
{
	int *ring = ctx;
	struct iovec iov = { addr, len };

	if (syscall(__NR_io_uring_register, *ring, IORING_REGISTER_BUFFERS,
		    &iov, 1))
		return -1;
	syscall(__NR_io_uring_register, *ring, IORING_UNREGISTER_BUFFERS,
		NULL, 0);
	/* Pinned is as bad as read. */
	memcpy(buf, addr, len);
	return len;
}

static int test_uring(void)
{
	struct io_uring_params params = {};
	int ring = syscall(__NR_io_uring_setup, 4, &params);

	if (ring < 0)
		return sm_skip("io_uring: %s", strerror(errno));
	return try_reader(read_uring, &ring, false);
}

/* A device would write into the page by its physical address. */
static ssize_t read_direct(void *ctx, void *addr, void *buf, size_t len)
{
	ssize_t got = pread(*(int *)ctx, addr, len, 0);

	if (got > 0 && addr == ordinary)
		*(__u64 *)buf = ORDINARY;
	return got;
}

/* A block device over a file in memory. */
static int loop_device(void)
{
	int file = memfd_create("disk", MFD_CLOEXEC), loop;

	loop = open("/dev/loop0", O_RDWR | O_CLOEXEC);
	if (loop < 0 || ftruncate(file, 1 << 20) ||
	    ioctl(loop, LOOP_SET_FD, file))
		return -1;
	return loop;
}

static int test_direct(void)
{
	int loop = loop_device(), fd, ret;

	if (loop < 0)
		return sm_skip("no loop device: %s", strerror(errno));
	fd = open("/dev/loop0", O_RDONLY | O_DIRECT);
	ret = try_reader(read_direct, &fd, false);
	close(fd);
	ioctl(loop, LOOP_CLR_FD, 0);
	return ret;
}

/* A tracer: the secrets and the mover are in the child. */
static int test_ptrace(void)
{
	long tries = 0, leaks = 0, reads = 0;
	int status, ret = KSFT_PASS;
	int pipefd[2];
	double end;
	pid_t pid;

	ret = sm_new(&secret, sm_nr, sm_from);
	if (ret)
		return sm_fail("memfd_secret: %s", strerror(-ret));
	ordinary = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ordinary[0] = ORDINARY;
	if (pipe(pipefd))
		return sm_fail("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		/* The child's main thread is traced, its mover is not. */
		pthread_create(&thread, NULL, mover, NULL);
		pause();
		exit(0);
	}
	sm_sleep_ms(50);
	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL)) {
		kill(pid, SIGKILL);
		return sm_skip("ptrace: %s", strerror(errno));
	}
	waitpid(pid, &status, __WALL);
	errno = 0;
	if ((__u64)ptrace(PTRACE_PEEKDATA, pid, ordinary, NULL) != ORDINARY)
		ret = sm_fail("an ordinary page cannot be read either");
	for (end = deadline(); sm_now() < end; tries++) {
		__u64 val;

		errno = 0;
		val = ptrace(PTRACE_PEEKDATA, pid,
			     sm_page(&secret, tries % secret.nr), NULL);
		if (errno)
			continue;
		reads++;
		leaks += sm_leaked(&secret, &val, sizeof(val));
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, __WALL);
	sm_note("%ld tries, %ld returned data, %ld leaked", tries, reads,
		leaks);
	if (reads || leaks)
		return KSFT_FAIL;
	if (sm_wrong(&secret))
		return sm_fail("%zu wrong words", sm_wrong(&secret));
	return ret;
}

/* A core dump, while the pages are moved by the parent. */
static int test_coredump(void)
{
	const char *pattern = "/proc/sys/kernel/core_pattern";
	struct rlimit rlim = { RLIM_INFINITY, RLIM_INFINITY };
	char before[256], path[64], buf[65536];
	bool seen = false, leaked = false;
	const __u64 ordinary_word = ORDINARY;
	size_t size = 0;
	int status, fd, err;
	ssize_t got;
	pid_t pid;

	if (sm_read(pattern, before, sizeof(before)) < 0)
		return sm_skip("no core dumps");
	err = sm_new(&secret, sm_nr, sm_from);
	if (err)
		return sm_fail("memfd_secret: %s", strerror(-err));
	ordinary = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	for (unsigned int i = 0; i < SM_WORDS; i++)
		ordinary[i] = ORDINARY;
	sm_write(pattern, "/tmp/core.secretmem");
	setrlimit(RLIMIT_CORE, &rlim);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_DUMPABLE, 1);
		/* All there is: mappings of files are left out by default. */
		sm_write("/proc/self/coredump_filter", "0x1ff");
		abort();
	}
	while (!waitpid(pid, &status, WNOHANG))
		sm_move_pid(0, secret.mem, secret.nr, size++ & 1 ? sm_from :
			    sm_to, SM_MPOL_MF_MOVE_ALL);
	sm_write(pattern, before);

	size = 0;
	snprintf(path, sizeof(path), "/tmp/core.secretmem");
	fd = open(path, O_RDONLY);
	if (fd < 0) {
		snprintf(path, sizeof(path), "/tmp/core.secretmem.%d", pid);
		fd = open(path, O_RDONLY);
	}
	if (fd < 0)
		return sm_skip("no core file");
	while ((got = read(fd, buf, sizeof(buf))) > 0) {
		seen |= !!memmem(buf, got, &ordinary_word,
				 sizeof(ordinary_word));
		leaked |= sm_leaked(&secret, buf, got);
		size += got;
	}
	close(fd);
	unlink(path);
	sm_note("%zu bytes", size);
	if (leaked || sm_wrong(&secret))
		return KSFT_FAIL;
	return seen ? KSFT_PASS : sm_skip("ordinary memory is not in it");
}

/* -------------------------------------------- by way of the direct map */

static ssize_t read_kcore(void *ctx, void *addr, void *buf, size_t len)
{
	__u64 phys = sm_pfn(addr) * SM_PAGE, offset;

	if (!phys || !sm_kcore_find(*(int *)ctx, phys, &offset))
		return -1;
	return pread(*(int *)ctx, buf, len, offset);
}

static int test_kcore(void)
{
	int fd = open("/proc/kcore", O_RDONLY);

	if (fd < 0)
		return sm_skip("/proc/kcore: %s", strerror(errno));
	return try_reader(read_kcore, &fd, true);
}

static ssize_t read_devmem(void *ctx, void *addr, void *buf, size_t len)
{
	__u64 phys = sm_pfn(addr) * SM_PAGE;

	return phys ? pread(*(int *)ctx, buf, len, phys) : -1;
}

static int test_devmem(void)
{
	int fd = open("/dev/mem", O_RDONLY);

	if (fd < 0)
		return sm_skip("/dev/mem: %s", strerror(errno));
	return try_reader(read_devmem, &fd, true);
}

/*
 * A CPU that has read a page by its alias keeps the translation until it is told
 * not to: that has to happen before the page takes a secret (M9). The reader is
 * a process of its own, on a CPU of its own: nothing that is flushed for other
 * reasons helps. It reads each page that ever held a secret, over and over.
 */
#define CACHED_PAGES	4096

struct cached {
	bool	stop;
	size_t	nr;
	__u64	offset[CACHED_PAGES];	/* in /proc/kcore */
	long	tries, reads, leaks;
};

static void read_cached(struct cached *c, int kcore)
{
	static __u64 buf[SM_WORDS];
	const __u64 tag = sm_tag(secret.seed);

	while (!sm_get(&c->stop)) {
		size_t nr = sm_get(&c->nr);

		for (size_t i = 0; i < nr; i++, c->tries++) {
			if (pread(kcore, buf, sizeof(buf), c->offset[i]) <= 0)
				continue;
			c->reads++;
			/* A copy may be under way: begin where it does. */
			if (buf[0] >> 40 == tag)
				c->leaks += sm_leaked(&secret, buf,
						      sizeof(*buf));
		}
	}
}

/* Remember the pages that hold the secret now. */
static void note_cached(struct cached *c, int kcore)
{
	__u64 *pfns = sm_pfns(&secret), offset;

	for (size_t i = 0; i < secret.nr; i++) {
		size_t k = 0;

		if (!sm_kcore_find(kcore, pfns[i] * SM_PAGE, &offset))
			continue;
		while (k < c->nr && c->offset[k] != offset)
			k++;
		if (k < c->nr || k == CACHED_PAGES)
			continue;
		c->offset[k] = offset;
		sm_set(&c->nr, k + 1);
	}
	free(pfns);
}

static int test_cached_alias(void)
{
	int kcore = open("/proc/kcore", O_RDONLY);
	struct cached *c;
	double end;
	pid_t pid;

	if (kcore < 0)
		return sm_skip("/proc/kcore: %s", strerror(errno));
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return sm_skip("needs two CPUs");
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (sm_new(&secret, 64, sm_from))
		return sm_fail("memfd_secret: %s", strerror(errno));
	pid = fork();
	sm_run_on(pid ? 0 : 1);
	if (!pid) {
		read_cached(c, kcore);
		exit(0);
	}
	for (end = sm_now() + (sm_long ? 20 : 3); sm_now() < end; moves++) {
		sm_move(&secret, moves & 1 ? sm_from : sm_to);
		note_cached(c, kcore);
	}
	sm_set(&c->stop, true);
	waitpid(pid, NULL, 0);
	sm_note("%ld tries on %zu pages, %ld returned data, %ld leaked, %ld moves",
		c->tries, c->nr, c->reads, c->leaks, moves);
	if (sm_wrong(&secret))
		return sm_fail("%zu wrong words", sm_wrong(&secret));
	if (!c->reads)
		return sm_skip("nothing could be read");
	/* Pages that are used only once show nothing. */
	if (c->nr > 8 * secret.nr)
		return sm_skip("no page was used again");
	return c->leaks ? KSFT_FAIL : KSFT_PASS;
}

/*
 * A page that was left behind: what its alias shows once it has one again
 * must not be the secret (M10).
 */
static int test_left_behind(void)
{
	static __u64 buf[SM_WORDS];
	long tries = 0, reads = 0, leaks = 0;
	int fd = open("/proc/kcore", O_RDONLY);
	__u64 *pfns, offset;
	double end;

	if (fd < 0)
		return sm_skip("/proc/kcore: %s", strerror(errno));
	if (sm_new(&secret, sm_nr, sm_from))
		return sm_fail("memfd_secret: %s", strerror(errno));
	for (end = deadline(); sm_now() < end; ) {
		pfns = sm_pfns(&secret);
		sm_move(&secret, tries & secret.nr ? sm_from : sm_to);
		for (size_t i = 0; i < secret.nr; i++, tries++) {
			if (!sm_kcore_find(fd, pfns[i] * SM_PAGE, &offset))
				continue;
			if (pread(fd, buf, sizeof(buf), offset) <= 0)
				continue;
			reads++;
			leaks += sm_leaked(&secret, buf, sizeof(buf));
		}
		free(pfns);
	}
	sm_note("%ld tries, %ld returned data, %ld leaked", tries, reads,
		leaks);
	if (!reads)
		return sm_skip("nothing could be read");
	return leaks || sm_wrong(&secret) ? KSFT_FAIL : KSFT_PASS;
}

/* What a BPF program and its user share. */
struct probe {
	__u64	addr;
	__u64	data[8];
	__u64	ret;
	__u64	runs;
};

struct bpf {
	int map;
	int kcore;
};

static long bpf(int cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){ .code = c, .dst_reg = d, .src_reg = s, \
			    .off = o, .imm = i })

/* When a tracepoint is hit: read what the map's addr says into its data. */
static int bpf_attach(int map, const char *tracepoint)
{
	const struct bpf_insn prog[] = {
		/* *(u32 *)(fp - 4) = 0 */
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
		/* r2 = fp - 4 */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
		/* r1 = map */
		INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		/* if (!r0) goto out */
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 12, 0),
		/* r6 = r0; r3 = addr; if (!r3) goto out */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 3, 6,
		     offsetof(struct probe, addr), 0),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 9, 0),
		/* ret = bpf_probe_read_kernel(data, sizeof(data), addr) */
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0,
		     offsetof(struct probe, data)),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0,
		     sizeof(((struct probe *)0)->data)),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 0,
		     offsetof(struct probe, ret), 0),
		/* runs++ */
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 6,
		     offsetof(struct probe, runs), 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 1,
		     offsetof(struct probe, runs), 0),
		/* (out) */
		INSN(BPF_JMP | BPF_JA, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
		.insns = (uintptr_t)prog,
		.insn_cnt = ARRAY_SIZE(prog),
		.license = (uintptr_t)"GPL",
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0)
		return -errno;
	memset(&attr, 0, sizeof(attr));
	attr.raw_tracepoint.name = (uintptr_t)tracepoint;
	attr.raw_tracepoint.prog_fd = fd;
	fd = bpf(BPF_RAW_TRACEPOINT_OPEN, &attr);
	return fd < 0 ? -errno : fd;
}

static ssize_t read_bpf(void *ctx, void *addr, void *buf, size_t len)
{
	struct bpf *b = ctx;
	struct probe probe = {};
	__u32 key = 0;
	__u64 phys = sm_pfn(addr) * SM_PAGE, offset;
	union bpf_attr attr = {
		.map_fd = b->map,
		.key = (uintptr_t)&key,
		.value = (uintptr_t)&probe,
	};

	(void)len;
	probe.addr = phys ? sm_kcore_find(b->kcore, phys, &offset) : 0;
	if (!probe.addr)
		return -1;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		return -1;
	syscall(__NR_getppid);
	if (bpf(BPF_MAP_LOOKUP_ELEM, &attr))
		return -1;
	memcpy(buf, probe.data, sizeof(probe.data));
	return probe.runs && !probe.ret ? (ssize_t)sizeof(probe.data) : -1;
}

static int bpf_map(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(__u32),
		.value_size = sizeof(struct probe),
		.max_entries = 1,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

static int test_bpf(void)
{
	struct bpf b;
	int err;

	b.kcore = open("/proc/kcore", O_RDONLY);
	if (b.kcore < 0)
		return sm_skip("/proc/kcore: %s", strerror(errno));
	b.map = bpf_map();
	if (b.map < 0)
		return sm_skip("bpf: %s", strerror(errno));
	err = bpf_attach(b.map, "sys_enter");
	if (err < 0)
		return sm_skip("BPF program: %s", strerror(-err));
	/* A page may move on, be freed and used between look-up and read. */
	return try_reader(read_bpf, &b, true);
}

/* Where the first CPU's window is: the kernel says so when it boots. */
static __u64 window_base(void)
{
	static char log[1 << 20];
	int len = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, log, sizeof(log) - 1);
	__u64 addr = 0;
	char *line;

	log[len < 0 ? 0 : len] = 0;
	line = strstr(log, "ephmap: ");
	if (line && sscanf(line, "ephmap: %*d pages a CPU at %llx", &addr) != 1)
		addr = 0;
	return addr;
}

/* Let the program read at @addr for a while. */
static struct probe probe_at(int map, __u64 addr, double seconds)
{
	struct probe probe = { .addr = addr };
	__u32 key = 0;
	union bpf_attr attr = {
		.map_fd = map,
		.key = (uintptr_t)&key,
		.value = (uintptr_t)&probe,
	};

	bpf(BPF_MAP_UPDATE_ELEM, &attr);
	for (double end = sm_now() + seconds; sm_now() < end; sm_sleep_ms(10)) {
		bpf(BPF_MAP_LOOKUP_ELEM, &attr);
		if (sm_leaked(&secret, probe.data, sizeof(probe.data)))
			break;
	}
	return probe;
}

/*
 * A program that runs inside of a session, on its CPU, with its page tables,
 * when a secret page has just been mapped: it must not read the window.
 */
static int test_window(void)
{
	__u64 window = window_base(), offset;
	int kcore = open("/proc/kcore", O_RDONLY), map = bpf_map(), fd, ret;
	struct probe probe;

	if (!window)
		return sm_skip("the window's address is not in the log");
	if (kcore < 0 || map < 0)
		return sm_skip("bpf, /proc/kcore: %s", strerror(errno));
	fd = bpf_attach(map, "ephmap_map");
	if (fd < 0)
		return sm_skip("BPF program: %s", strerror(-fd));
	sm_run_on(0);
	ret = start();
	if (ret != KSFT_PASS)
		return ret;

	probe = probe_at(map, sm_kcore_find(kcore, sm_pfn(ordinary) * SM_PAGE,
					    &offset), 1);
	if (!probe.runs || probe.ret || probe.data[0] != ORDINARY) {
		sm_note("an ordinary page cannot be read either");
		finish(0, 0, 0);
		return KSFT_SKIP;
	}
	probe = probe_at(map, window, sm_long ? 10 : 2);
	close(fd);
	return finish(probe.runs, !probe.ret,
		      sm_leaked(&secret, probe.data, sizeof(probe.data)));
}

/* ------------------------------------------------- what files may do */

static int test_file(void)
{
	char buf[64] = {};
	long tries = 0, leaks = 0, done = 0;
	double end;
	int ret = start();

	if (ret != KSFT_PASS)
		return ret;
	for (end = deadline(); sm_now() < end; tries++) {
		done = read(secret.fd, buf, sizeof(buf)) >= 0;
		done += pread(secret.fd, buf, sizeof(buf), 0) >= 0;
		done += write(secret.fd, buf, sizeof(buf)) >= 0;
		done += pwrite(secret.fd, buf, sizeof(buf), 0) >= 0;
		done += !ftruncate(secret.fd, SM_PAGE);
		done += !ftruncate(secret.fd, 0);
		done += !fallocate(secret.fd, 3, 0, SM_PAGE);
		leaks += sm_leaked(&secret, buf, sizeof(buf));
		/* Of a file that was truncated there is nothing to verify. */
		if (done)
			return sm_fail("the file lets itself be used");
	}
	return finish(tries, done, leaks);
}

/* The pages of a file that splice(2) takes are the file's own, not copies. */
static int test_splice(void)
{
	static __u64 buf[SM_WORDS];
	long tries = 0, leaks = 0, done = 0;
	int fds[2], ret;
	double end;

	if (pipe(fds))
		return sm_skip("pipe: %s", strerror(errno));
	ret = start();
	if (ret != KSFT_PASS)
		return ret;
	for (end = deadline(); sm_now() < end; tries++) {
		loff_t from = tries % secret.nr * SM_PAGE, to = from;
		ssize_t got;

		got = splice(secret.fd, &from, fds[1], NULL, SM_PAGE,
			     SPLICE_F_NONBLOCK);
		if (got <= 0)
			got = sendfile(fds[1], secret.fd, &from, SM_PAGE);
		if (got > 0) {
			done++;
			got = read(fds[0], buf, sizeof(buf));
			leaks += got > 0 && sm_leaked(&secret, buf, got);
		}
		/* Nor do they become its pages. */
		if (write(fds[1], "x", 1) == 1) {
			got = splice(fds[0], NULL, secret.fd, &to, 1,
				     SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (got > 0 || read(fds[0], buf, 1) != 1)
				done++;
		}
		if (done)
			break;
	}
	close(fds[0]);
	close(fds[1]);
	ret = finish(tries, done, leaks);
	return done ? sm_fail("splice or sendfile is not refused") : ret;
}

static const struct sm_test tests[] = {
	{ .both = "M18: vmsplice cannot take secret pages",
	  .fn = test_vmsplice },
	{ .both = "M18: process_vm_readv cannot read secret pages",
	  .fn = test_process_vm },
	{ .both = "M18: process_vm_writev cannot write them",
	  .fn = test_process_vm_write },
	{ .both = "M18: /proc/PID/mem does not show secret pages",
	  .fn = test_proc_mem },
	{ .both = "M18: ptrace cannot read secret pages",
	  .fn = test_ptrace },
	{ .both = "M18: io_uring cannot pin secret pages",
	  .fn = test_uring },
	{ .both = "M18: O_DIRECT cannot read into secret pages",
	  .fn = test_direct },
	{ .both = "M18: secret pages are not in a core dump",
	  .fn = test_coredump },
	{ .both = "M18: /proc/kcore does not show secret pages",
	  .fn = test_kcore },
	{ .both = "M18: /dev/mem does not show secret pages",
	  .fn = test_devmem },
	{ .both = "M18: a BPF probe cannot read secret pages",
	  .fn = test_bpf },
	{ .on = "M18: a BPF probe cannot read the ephmap's window",
	  .fn = test_window },
	{ .both = "M18: splice and sendfile are refused",
	  .fn = test_splice },
	{ .both = "M18: read, write, truncate and fallocate are refused",
	  .fn = test_file },
	{ .on = "M9: no CPU reaches secret pages by an alias it has cached",
	  .fn = test_cached_alias },
	{ .on = "M10: no word of the secret in the page it left",
	  .off = "M22: no word of the secret through its alias",
	  .fn = test_left_behind },
};

int main(int argc, char **argv)
{
	return sm_main(argc, argv, tests, ARRAY_SIZE(tests));
}
