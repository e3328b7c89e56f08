// SPDX-License-Identifier: GPL-2.0
/*
 * What the secretmem_*.c tests share: see secretmem_test.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/elf.h>
#include <linux/stddef.h>
#include <linux/io_uring.h>

#include "secretmem_test.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret	447
#endif

/* On this CPU only: the calling thread, and those it makes from here on. */
void sm_run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* ------------------------------------------------------------------ files */

int sm_write(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, val, strlen(val)) < 0)
		err = -errno;
	close(fd);
	return err;
}

int sm_writef(const char *path, const char *fmt, ...)
{
	char buf[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	return sm_write(path, buf);
}

/* Read a small file as a string without its last newline; length or -errno. */
int sm_read(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n;

	buf[0] = 0;
	if (fd < 0)
		return -errno;
	while (got < len - 1 && (n = read(fd, buf + got, len - 1 - got)) > 0)
		got += n;
	close(fd);
	if (got && buf[got - 1] == '\n')
		got--;
	buf[got] = 0;
	return got;
}

long long sm_read_num(const char *path)
{
	char buf[64];

	return sm_read(path, buf, sizeof(buf)) > 0 ? strtoll(buf, NULL, 0) : -1;
}

bool sm_exists(const char *path)
{
	return !access(path, F_OK);
}

/* The number after @name in a file of "name number" lines; -1: no such name. */
static long long sm_stat(const char *path, const char *name)
{
	size_t len = strlen(name);
	long long val = -1;
	char line[256];
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, len) || line[len] != ' ')
			continue;
		val = strtoll(line + len, NULL, 10);
		break;
	}
	fclose(f);
	return val;
}

long long sm_vmstat(const char *name)
{
	return sm_stat("/proc/vmstat", name);
}

/* Fold what each CPU still holds back into the counters. */
void sm_stat_refresh(void)
{
	char buf[64];

	sm_read("/proc/sys/vm/stat_refresh", buf, sizeof(buf));
}

long long sm_node_vmstat(int node, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), SM_NODES "node%d/vmstat", node);
	return sm_stat(path, name);
}

/* A "Node N Name:   123 kB" line of a node's meminfo, in pages. */
static long long sm_node_meminfo(int node, const char *name)
{
	char path[128], line[256], key[64];
	long long val = -1, kb;
	FILE *f;

	snprintf(path, sizeof(path), SM_NODES "node%d/meminfo", node);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*d %63[^:]: %lld", key, &kb) == 2 &&
		    !strcmp(key, name)) {
			val = kb * 1024 / (long long)SM_PAGE;
			break;
		}
	}
	fclose(f);
	return val;
}

double sm_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void sm_sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

bool sm_cmdline(const char *word)
{
	char buf[4096];

	sm_read("/proc/cmdline", buf, sizeof(buf));
	for (char *p = strtok(buf, "\n "); p; p = strtok(NULL, "\n "))
		if (!strcmp(p, word))
			return true;
	return false;
}

/*
 * Secret pages are to move on a kernel that has the ephmap, unless it was
 * switched off on the command line. Anything else is stock behaviour (M22).
 */
bool sm_ephmap_on(void)
{
	return sm_vmstat("ephmap_sessions") >= 0 && !sm_cmdline("ephmap=off");
}

/* ------------------------------------------------------------ the secrets */

int sm_memfd_secret(void)
{
	return syscall(__NR_memfd_secret, O_CLOEXEC);
}

void sm_fill_page(const struct secret *s, size_t page)
{
	__u64 *p = sm_page(s, page);

	for (unsigned int i = 0; i < SM_WORDS; i++)
		sm_set(&p[i], sm_word(s->seed, page, i));
}

size_t sm_wrong_page(const struct secret *s, size_t page)
{
	__u64 *p = sm_page(s, page);
	size_t wrong = 0;

	for (unsigned int i = 0; i < SM_WORDS; i++)
		wrong += sm_get(&p[i]) != sm_word(s->seed, page, i);
	return wrong;
}

/* How many words of all pages are not what was written. */
size_t sm_wrong(const struct secret *s)
{
	size_t wrong = 0;

	for (size_t page = 0; page < s->nr; page++)
		wrong += sm_wrong_page(s, page);
	return wrong;
}

/* Whether a buffer holds a word of any of the pages. */
bool sm_leaked(const struct secret *s, const void *buf, size_t len)
{
	const __u64 tag = sm_tag(s->seed);
	__u64 w;

	for (size_t off = 0; off + sizeof(w) <= len; off++) {
		memcpy(&w, (const char *)buf + off, sizeof(w));
		if (w >> 40 != tag)
			continue;
		for (size_t page = 0; page < s->nr; page++)
			for (unsigned int i = 0; i < SM_WORDS; i++)
				if (w == sm_word(s->seed, page, i))
					return true;
	}
	return false;
}

int sm_map(struct secret *s)
{
	void *mem = mmap(NULL, s->nr * SM_PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED, s->fd, 0);

	if (mem == MAP_FAILED)
		return -errno;
	s->mem = mem;
	return 0;
}

void sm_unmap(struct secret *s)
{
	if (s->mem)
		munmap(s->mem, s->nr * SM_PAGE);
	s->mem = NULL;
}

void sm_close(struct secret *s)
{
	sm_unmap(s);
	if (s->fd >= 0)
		close(s->fd);
	if (s->vm > 0)
		close(s->vm);
	s->fd = -1;
	s->vm = 0;
}

void sm_init(struct secret *s, size_t nr)
{
	static unsigned int count;

	memset(s, 0, sizeof(*s));
	s->nr = nr;
	s->seed = ((__u64)getpid() << 32) + ++count;
}

int sm_open(struct secret *s, size_t nr)
{
	int err;

	sm_init(s, nr);
	s->fd = sm_memfd_secret();
	if (s->fd < 0)
		return -errno;
	if (ftruncate(s->fd, nr * SM_PAGE))
		err = -errno;
	else
		err = sm_map(s);
	if (err)
		close(s->fd);
	return err;
}

/* -------------------------------------------------------- fault injection */

void sm_fault_off(void)
{
	sm_write(SM_FAULT "probability", "0");
	sm_write(SM_FAULT "steps", "0");
}

/* From now on, @times in all; -1: always. Returns 0, or below. */
int sm_fault_on(enum sm_fail_step step, int times)
{
	sm_fault_off();
	sm_write(SM_FAULT "interval", "1");
	sm_write(SM_FAULT "verbose", "0");
	sm_write(SM_FAULT "space", "0");
	sm_write(SM_FAULT "task-filter", "N");
	if (sm_writef(SM_FAULT "times", "%d", times) ||
	    sm_writef(SM_FAULT "steps", "%d", step))
		return -1;
	return sm_write(SM_FAULT "probability", "100");
}

/* ----------------------------------------------------------- guest memory */

int sm_vm_create(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (kvm < 0)
		return -errno;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		vm = -errno;
	close(kvm);
	return vm;
}

/* guest_memfd's memory, if @fd is one; ordinary memory if it is -1. */
int sm_vm_slot(int vm, unsigned int slot, __u64 gpa, void *mem, size_t size,
	       int fd)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)mem,
	};

	if (fd >= 0) {
		region.flags = KVM_MEM_GUEST_MEMFD;
		region.guest_memfd = fd;
	}
	return ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region) ? -errno : 0;
}

/*
 * As sm_open(), but the memory of a new VM: without a direct map, movable, to be
 * read and written, and mapped here. The kernel does not know the flags, or has
 * no KVM: -errno.
 */
int sm_open_guest(struct secret *s, size_t nr)
{
	struct kvm_create_guest_memfd args = {
		.size = nr * SM_PAGE,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |
			 GUEST_MEMFD_FLAG_NO_DIRECT_MAP |
			 GUEST_MEMFD_FLAG_MOVABLE | GUEST_MEMFD_FLAG_RDWR,
	};
	int err;

	sm_init(s, nr);
	s->fd = -1;
	s->vm = sm_vm_create();
	if (s->vm < 0)
		return s->vm;
	s->fd = ioctl(s->vm, KVM_CREATE_GUEST_MEMFD, &args);
	err = s->fd < 0 ? -errno : sm_map(s);
	if (!err)
		err = sm_vm_slot(s->vm, 0, SM_GPA, s->mem, nr * SM_PAGE, s->fd);
	if (err)
		sm_close(s);
	return err;
}

/*
 * Fill pages by pwrite(2), all in one call; returns 0 or -errno. What they are
 * written from is wiped, but for single words in registers.
 */
int sm_write_pages(const struct secret *s, size_t first, size_t nr)
{
	ssize_t len = nr * SM_PAGE, done;
	__u64 *buf = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < nr * SM_WORDS; i++)
		sm_set(&buf[i], sm_word(s->seed, first + i / SM_WORDS,
					i % SM_WORDS));
	done = pwrite(s->fd, buf, len, first * SM_PAGE);
	if (done < 0)
		done = -errno;
	explicit_bzero(buf, len);
	munmap(buf, len);
	return done == len ? 0 : done < 0 ? done : -EIO;
}

/* Read and verify all pages by pread(2), and wipe what they are read to. */
int sm_read_pages(const struct secret *s)
{
	__u64 *buf = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err = 0;

	if (buf == MAP_FAILED)
		return -errno;
	for (size_t page = 0; page < s->nr && !err; page++) {
		if (pread(s->fd, buf, SM_PAGE, page * SM_PAGE) !=
		    (ssize_t)SM_PAGE)
			err = -EIO;
		for (unsigned int i = 0; i < SM_WORDS && !err; i++)
			if (sm_get(&buf[i]) != sm_word(s->seed, page, i))
				err = -EILSEQ;
	}
	explicit_bzero(buf, SM_PAGE);
	munmap(buf, SM_PAGE);
	return err;
}

/* ------------------------------------------------------------------ nodes */

long sm_bind_task(int node)
{
	unsigned long mask = 1UL << node;

	if (node < 0)
		return syscall(__NR_set_mempolicy, SM_MPOL_DEFAULT, NULL, 0);
	return syscall(__NR_set_mempolicy, SM_MPOL_BIND, &mask,
		       8 * sizeof(mask));
}

/* The same, but other nodes will do when this one is full. */
long sm_prefer_node(int node)
{
	unsigned long mask = 1UL << node;

	return syscall(__NR_set_mempolicy, SM_MPOL_PREFERRED, &mask,
		       8 * sizeof(mask));
}

long sm_mbind(void *mem, size_t len, int node, unsigned int flags)
{
	unsigned long mask = 1UL << node;

	return syscall(__NR_mbind, mem, len, SM_MPOL_BIND, &mask,
		       8 * sizeof(mask), flags);
}

/*
 * Fill all pages. They come from where the task's policy says: the VMA has
 * none. Guest memory is filled in both ways, its second half by pwrite(2).
 */
int sm_load(const struct secret *s, int node)
{
	size_t mapped = s->vm ? s->nr / 2 : s->nr;
	int err = 0;

	sm_bind_task(node);
	for (size_t page = 0; page < mapped; page++)
		sm_fill_page(s, page);
	if (mapped < s->nr)
		err = sm_write_pages(s, mapped, s->nr - mapped);
	sm_bind_task(-1);
	/* move_pages(2) moves what is mapped here. */
	for (size_t page = mapped; !err && page < s->nr; page++)
		sm_get((__u64 *)sm_page(s, page));
	return err;
}

int sm_new(struct secret *s, size_t nr, int node)
{
	int err = sm_open(s, nr);

	return err ? err : sm_load(s, node);
}

/*
 * move_pages(2) of @nr pages; returns what it returns: 0 all moved, above 0
 * how many were not, below 0 an error.
 */
long sm_move_pid(pid_t pid, void *mem, size_t nr, int node, int flags)
{
	void **addr = calloc(nr, sizeof(*addr));
	int *nodes = calloc(nr, sizeof(*nodes));
	int *status = calloc(nr, sizeof(*status));
	long ret = -ENOMEM;

	/* With allocations made to fail, this may be one of them. */
	if (!addr || !nodes || !status)
		goto out;
	for (size_t i = 0; i < nr; i++) {
		addr[i] = (char *)mem + i * SM_PAGE;
		nodes[i] = node;
	}
	ret = syscall(__NR_move_pages, pid, nr, addr, nodes, status, flags);
	if (ret < 0)
		ret = -errno;
	for (size_t i = 0; !ret && i < nr; i++)
		ret = status[i] < 0 ? status[i] : 0;
out:
	free(addr);
	free(nodes);
	free(status);
	return ret;
}

long sm_move(const struct secret *s, int node)
{
	return sm_move_pid(0, s->mem, s->nr, node, SM_MPOL_MF_MOVE);
}

/* How many of the pages are on a node. */
size_t sm_on_node(const struct secret *s, int node)
{
	void **addr = calloc(s->nr, sizeof(*addr));
	int *status = calloc(s->nr, sizeof(*status));
	size_t count = 0;

	for (size_t i = 0; i < s->nr; i++)
		addr[i] = sm_page(s, i);
	if (!syscall(__NR_move_pages, 0, s->nr, addr, NULL, status, 0))
		for (size_t i = 0; i < s->nr; i++)
			count += status[i] == node;
	free(addr);
	free(status);
	return count;
}

/* ------------------------------------------------------- physical pages */

__u64 sm_pfn(void *addr)
{
	__u64 entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)addr / SM_PAGE * sizeof(entry)) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

/* The pfn of each page, 0 where none is mapped; the caller frees it. */
__u64 *sm_pfns(const struct secret *s)
{
	__u64 *pfns = calloc(s->nr, sizeof(*pfns));
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t len = s->nr * sizeof(*pfns);

	if (fd < 0)
		return pfns;
	if (pread(fd, pfns, len, (uintptr_t)s->mem / SM_PAGE *
		  sizeof(*pfns)) != (ssize_t)len)
		memset(pfns, 0, len);
	close(fd);
	for (size_t i = 0; i < s->nr; i++)
		pfns[i] = pfns[i] >> 63 ? pfns[i] & ((1ULL << 55) - 1) : 0;
	return pfns;
}

/* How many pages are elsewhere than @old says. */
size_t sm_moved(const struct secret *s, const __u64 *old)
{
	__u64 *pfns = sm_pfns(s);
	size_t moved = 0;

	for (size_t i = 0; i < s->nr; i++)
		moved += pfns[i] && pfns[i] != old[i];
	free(pfns);
	return moved;
}

/* How many pages lie in [first, end). */
size_t sm_in_range(const struct secret *s, __u64 first, __u64 end)
{
	__u64 *pfns = sm_pfns(s);
	size_t count = 0;

	for (size_t i = 0; i < s->nr; i++)
		count += pfns[i] >= first && pfns[i] < end;
	free(pfns);
	return count;
}

__u64 sm_kpageflags(__u64 pfn)
{
	__u64 flags = 0;
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) !=
	    sizeof(flags))
		flags = 0;
	close(fd);
	return flags;
}

bool sm_kpf(__u64 pfn, unsigned int bit)
{
	return sm_kpageflags(pfn) >> bit & 1;
}

/*
 * Where /proc/kcore has the direct map's alias of a physical address;
 * returns the alias, 0: none.
 */
__u64 sm_kcore_find(int fd, __u64 phys, __u64 *offset)
{
	struct elf64_hdr ehdr;
	struct elf64_phdr phdr;

	if (pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr))
		return 0;
	for (int i = 0; i < ehdr.e_phnum; i++) {
		if (pread(fd, &phdr, sizeof(phdr), ehdr.e_phoff +
			  i * sizeof(phdr)) != sizeof(phdr))
			return 0;
		/* Kernel text is mapped a second time, at the top. */
		if (phdr.p_type != PT_LOAD || phdr.p_paddr == (__u64)-1 ||
		    phdr.p_vaddr >= 0xffffffff80000000ULL)
			continue;
		if (phys < phdr.p_paddr ||
		    phys >= phdr.p_paddr + phdr.p_memsz)
			continue;
		*offset = phdr.p_offset + (phys - phdr.p_paddr);
		return phdr.p_vaddr + (phys - phdr.p_paddr);
	}
	return 0;
}

/* --------------------------------------------------------- memory blocks */

__u64 sm_block_pages(void)
{
	char buf[64];

	if (sm_read(SM_MEMORY "block_size_bytes", buf, sizeof(buf)) <= 0)
		return 0;
	return strtoull(buf, NULL, 16) / SM_PAGE;
}

static int sm_block_get(unsigned int block, const char *file, char *buf,
			size_t len)
{
	char path[128];

	snprintf(path, sizeof(path), SM_MEMORY "memory%u/%s", block, file);
	return sm_read(path, buf, len);
}

static void sm_block_alarm(int sig)
{
	(void)sig;
}

/* Offlining goes on until a signal comes: give it @seconds. */
int sm_block_set(unsigned int block, const char *state, unsigned int seconds)
{
	struct sigaction sa = { .sa_handler = sm_block_alarm }, old;
	char path[128];
	int err;

	sigaction(SIGALRM, &sa, &old);
	alarm(seconds);
	snprintf(path, sizeof(path), SM_MEMORY "memory%u/state", block);
	err = sm_write(path, state);
	alarm(0);
	sigaction(SIGALRM, &old, NULL);
	return err;
}

bool sm_block_on_node(unsigned int block, int node)
{
	char path[128];

	snprintf(path, sizeof(path), SM_NODES "node%d/memory%u", node, block);
	return sm_exists(path);
}

bool sm_block_is(unsigned int block, const char *file, const char *val)
{
	char buf[64];

	return sm_block_get(block, file, buf, sizeof(buf)) > 0 &&
	       !strcmp(buf, val);
}

/*
 * A memory block of @node that is wholly ZONE_MOVABLE, made from an ordinary
 * one where there is none; -1: impossible here. *made says it has to be put
 * back by sm_block_restore().
 */
int sm_block_movable(int node, bool *made)
{
	int max = -1, found = -1;
	char printk[64];
	struct dirent *d;
	unsigned int n;
	DIR *dir;

	*made = false;
	dir = opendir(SM_MEMORY);
	if (!dir)
		return -1;
	while ((d = readdir(dir))) {
		if (sscanf(d->d_name, "memory%u", &n) != 1)
			continue;
		if (sm_block_on_node(n, node) && (int)n > max)
			max = n;
	}
	closedir(dir);

	/* A block with a hole never goes offline: see if it does. */
	for (int b = max; b >= 0; b--)
		if (sm_block_on_node(b, node) &&
		    sm_block_is(b, "state", "online") &&
		    sm_block_is(b, "valid_zones", "Movable") &&
		    !sm_block_set(b, "offline", 20) &&
		    !sm_block_set(b, "online_movable", 20))
			return b;

	/* What cannot be offlined is described at length. */
	sm_read("/proc/sys/kernel/printk", printk, sizeof(printk));
	sm_write("/proc/sys/kernel/printk", "4");
	for (int b = max, tries = 0; b >= 0 && tries < 8; b--) {
		if (!sm_block_on_node(b, node) ||
		    !sm_block_is(b, "state", "online"))
			continue;
		/* A block over two nodes cannot be offlined. */
		if (node > 0 && sm_block_on_node(b, node - 1))
			continue;
		tries++;
		if (sm_block_set(b, "offline", 20))
			continue;
		if (!sm_block_set(b, "online_movable", 20)) {
			*made = true;
			found = b;
			break;
		}
		sm_block_set(b, "online", 20);
	}
	sm_write("/proc/sys/kernel/printk", printk);
	return found;
}

void sm_block_restore(unsigned int block, bool made)
{
	if (!made)
		return;
	if (sm_block_is(block, "state", "online") &&
	    sm_block_set(block, "offline", 20))
		return;
	sm_block_set(block, "online_kernel", 20);
}

/* ------------------------------------------- who moves memory on a guess */

#define SM_TIERS	"/sys/devices/virtual/memory_tiering/"

/* Let a range of addresses hold one more page. */
void sm_widen(__u64 *start, __u64 *end, __u64 page)
{
	if (page < *start)
		*start = page;
	if (page + SM_PAGE > *end)
		*end = page + SM_PAGE;
}

void sm_damon_stop(void)
{
	if (sm_exists(SM_DAMON "0/state"))
		sm_write(SM_DAMON "0/state", "off");
	sm_write(SM_DAMON "nr_kdamonds", "0");
}

/*
 * From now on DAMON does @action to all memory from @start to @end, however it
 * is used: to addresses of @pid, or physical memory if that is 0. Returns 0, or
 * below.
 */
int sm_damon_start(const char *action, pid_t pid, __u64 start, __u64 end,
		   int node)
{
	const char *ctx = "0/contexts/0/", *scheme = "0/contexts/0/schemes/0/";
	const struct {
		const char *dir, *file, *text;
		__u64 num;
	} settings[] = {
		{ "", "nr_kdamonds", NULL, 1 },
		{ "0/contexts/", "nr_contexts", NULL, 1 },
		{ ctx, "operations", pid ? "fvaddr" : "paddr", 0 },
		{ ctx, "monitoring_attrs/intervals/sample_us", NULL, 5000 },
		{ ctx, "monitoring_attrs/intervals/aggr_us", NULL, 50000 },
		{ ctx, "targets/nr_targets", NULL, 1 },
		{ ctx, "targets/0/pid_target", NULL, pid },
		{ ctx, "targets/0/regions/nr_regions", NULL, 1 },
		{ ctx, "targets/0/regions/0/start", NULL, start },
		{ ctx, "targets/0/regions/0/end", NULL, end },
		{ ctx, "schemes/nr_schemes", NULL, 1 },
		{ scheme, "action", action, 0 },
		{ scheme, "target_nid", NULL, node },
		{ scheme, "access_pattern/sz/max", NULL, ~0UL },
		{ scheme, "access_pattern/nr_accesses/max", NULL, ~0U },
		{ scheme, "access_pattern/age/max", NULL, ~0U },
		{ "0/", "state", "on", 0 },
	};

	sm_damon_stop();
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		char path[128], num[32];
		int err;

		snprintf(path, sizeof(path), SM_DAMON "%s%s", settings[i].dir,
			 settings[i].file);
		snprintf(num, sizeof(num), "%llu",
			 (unsigned long long)settings[i].num);
		err = sm_write(path, settings[i].text ?: num);
		if (err) {
			ksft_print_msg("%s: %s\n", path, strerror(-err));
			sm_damon_stop();
			return err;
		}
	}
	return 0;
}

/* The memory tier of a node, a lower one is faster; -1: none. */
static int sm_tier(int node)
{
	DIR *dir = opendir(SM_TIERS);
	char path[512], nodes[64];
	int tier = -1, n;
	struct dirent *d;

	while (dir && tier < 0 && (d = readdir(dir))) {
		if (sscanf(d->d_name, "memory_tier%d", &n) != 1)
			continue;
		snprintf(path, sizeof(path), SM_TIERS "%s/nodelist", d->d_name);
		sm_read(path, nodes, sizeof(nodes));
		for (char *p = strtok(nodes, ","); p; p = strtok(NULL, ",")) {
			int first = -1, last = -1;

			if (sscanf(p, "%d-%d", &first, &last) != 2)
				last = first;
			if (node >= first && node <= last)
				tier = n;
		}
	}
	if (dir)
		closedir(dir);
	return tier;
}

/* Whether one node's memory is faster than the other's. */
bool sm_tiered(int fast, int slow)
{
	return sm_tier(fast) >= 0 && sm_tier(fast) < sm_tier(slow);
}

/* ------------------------------------------------------------ hibernation */

bool sm_hibernation_offered(void)
{
	char disk[128];

	return sm_read("/sys/power/disk", disk, sizeof(disk)) > 0 &&
	       strcmp(disk, "[disabled]");
}

/*
 * Try to hibernate, which has to be refused: what the log says about that, or
 * an empty line. Returns 0, or what is wrong.
 */
const char *sm_hibernation_refusal(char *line, size_t len)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char record[2048], *found;
	int err, lines = 0;
	ssize_t n;

	line[0] = 0;
	if (fd < 0)
		return "cannot read /dev/kmsg";
	lseek(fd, 0, SEEK_END);
	err = sm_write("/sys/power/state", "disk");
	while ((n = read(fd, record, sizeof(record) - 1)) > 0) {
		record[n] = 0;
		found = strstr(record, "hibernation: refused: ");
		if (!found)
			continue;
		found[strcspn(found, "\n")] = 0;
		snprintf(line, len, "%s", found);
		lines++;
	}
	close(fd);
	if (err != -EPERM)
		return "hibernation was not refused";
	return lines == 1 ? NULL : "not one line in the log";
}

/* How the log names process @pid, which runs this program. */
void sm_holder(char *buf, size_t len, pid_t pid, size_t pages, const char *type)
{
	char comm[32];

	sm_read("/proc/self/comm", comm, sizeof(comm));
	snprintf(buf, len, ", %s[%d] has %zu page%s of %s in 1 file", comm,
		 pid, pages, pages == 1 ? "" : "s", type);
}

/* ---------------------------------------------------------------- ballast */

/* The sum over a node's zones, or of one @zone, of a line of /proc/zoneinfo. */
size_t __sm_zoneinfo(int node, const char *zone, const char *name)
{
	char line[256], key[32];
	bool here = false;
	size_t sum = 0;
	long val;
	int n;
	FILE *f = fopen("/proc/zoneinfo", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone %31s", &n, key) == 2)
			here = n == node && (!zone || !strcmp(key, zone));
		else if (here && sscanf(line, " %31s %ld", key, &val) == 2 &&
			 !strcmp(key, name))
			sum += val;
	}
	fclose(f);
	return sum;
}

size_t sm_zoneinfo(int node, const char *name)
{
	return __sm_zoneinfo(node, NULL, name);
}

/* Whether it is a kind of memory that cannot be moved: the kernel's, or users'. */
static bool sm_type_unmovable(const char *type)
{
	return !strcmp(type, "Unmovable") || !strcmp(type, "UserUnmovable") ||
	       !strcmp(type, "SecretUnmovable");
}

static bool sm_type_secret(const char *type)
{
	return !strncmp(type, "Secret", 6);
}

static bool sm_type_kernel(const char *type)
{
	return !strcmp(type, "Unmovable") || !strcmp(type, "Reclaimable") ||
	       !strcmp(type, "HighAtomic");
}

/* What /proc/pagetypeinfo tells of the pageblocks of some types. */
struct sm_blocks {
	long	nr;
	long	free;		/* pages in them */
	long	split;		/* those in less than whole blocks */
};

#define SM_BLOCK_ORDER	9

/* Those of a node whose type is wanted. False: there is no such file. */
static bool sm_blocks(struct sm_blocks *b, int node,
		      bool (*wanted)(const char *type))
{
	FILE *f = fopen("/proc/pagetypeinfo", "re");
	char line[1024], type[32];
	unsigned long columns = 0;
	int n, pos, len;
	long val;

	memset(b, 0, sizeof(*b));
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		char *p = line;

		if (!strncmp(p, "Number of blocks type", 21)) {
			p += 21;
			for (int col = 0; sscanf(p, "%31s%n", type, &len) == 1;
			     col++, p += len)
				columns |= (unsigned long)wanted(type) << col;
		} else if (!strncmp(p, "Free pages count", 16) ||
			   !strncmp(p, "Number of mixed blocks", 22)) {
			columns = 0;
		} else if (columns && sscanf(p, "Node %d, zone %*s%n", &n,
					     &pos) == 1 && n == node) {
			p += pos;
			for (int col = 0; sscanf(p, "%ld%n", &val, &len) == 1;
			     col++, p += len)
				b->nr += columns >> col & 1 ? val : 0;
		} else if (sscanf(p, "Node %d, zone %*[^,], type %31s%n", &n,
				  type, &pos) == 2 && n == node &&
			   wanted(type)) {
			p += pos;
			for (int order = 0; sscanf(p, "%ld%n", &val, &len) == 1;
			     order++, p += len) {
				b->free += val << order;
				if (order < SM_BLOCK_ORDER)
					b->split += val << order;
			}
		}
	}
	fclose(f);
	return true;
}

/*
 * With Address Space Isolation what is free in the kernel's pageblocks is not
 * for user memory, unless it is whole blocks.
 */
static size_t sm_free_for_kernel(int node)
{
	struct sm_blocks b;

	if (!sm_exists(SM_DEBUGFS "asi"))
		return 0;
	sm_blocks(&b, node, sm_type_kernel);
	return b.split;
}

/*
 * How many pages of a node are taken in unmovable pageblocks. A block that
 * changes sides wholly free makes no difference.
 */
long sm_unmovable_used(int node)
{
	struct sm_blocks b;

	if (!sm_blocks(&b, node, sm_type_unmovable))
		return -1;
	return (b.nr << SM_BLOCK_ORDER) - b.free;
}

/* How many pageblocks of a node the direct map does not have. */
long sm_secret_blocks(int node)
{
	struct sm_blocks b;

	return sm_blocks(&b, node, sm_type_secret) ? b.nr : -1;
}

/* The free pages of a node that user memory can have, its reserve included. */
long long sm_node_free(int node)
{
	return sm_node_meminfo(node, "MemFree") - sm_free_for_kernel(node);
}

/*
 * The free pages that a node keeps for the kernel: with less than that an
 * allocation bound to the node meets the OOM killer.
 */
size_t sm_node_reserve(int node)
{
	return sm_zoneinfo(node, "high");
}

/*
 * Ballast that is pinned does not move: compaction has nothing else to do
 * than what the test is about. Pins are for whole gigabytes.
 */
static void sm_ballast_pin(struct ballast *b, size_t len)
{
	struct io_uring_params params = {};
	struct iovec iov[64];
	unsigned int n = 0;

	for (size_t off = 0; off < len && n < ARRAY_SIZE(iov); n++) {
		iov[n].iov_base = (char *)b->mem + off;
		iov[n].iov_len = len - off < 1UL << 30 ? len - off : 1UL << 30;
		off += iov[n].iov_len;
	}
	b->ring = syscall(__NR_io_uring_setup, 4, &params);
	if (b->ring >= 0 && n &&
	    syscall(__NR_io_uring_register, b->ring, IORING_REGISTER_BUFFERS,
		    iov, n))
		ksft_print_msg("ballast is not pinned: %s\n", strerror(errno));
}

/* Take the free memory of a node but for @leave pages and its reserve. */
bool sm_ballast_take(struct ballast *b, int node, size_t leave)
{
	long long nr_free = sm_node_free(node);
	size_t off, len;

	b->ring = 0;
	leave += sm_node_reserve(node);
	b->mem = NULL;
	if (nr_free <= (long long)leave)
		return true;
	b->len = (nr_free - leave) * SM_PAGE;
	b->mem = mmap(NULL, b->len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->mem == MAP_FAILED)
		return false;
	madvise(b->mem, b->len, MADV_HUGEPAGE);
	sm_mbind(b->mem, b->len, node, 0);
	/* In steps: the kernel may need some meanwhile. */
	for (off = 0; off < b->len; off += len) {
		len = b->len - off < 4UL << 20 ? b->len - off : 4UL << 20;
		if (sm_node_free(node) < (long long)leave)
			break;
		if (madvise((char *)b->mem + off, len, MADV_POPULATE_WRITE))
			break;
	}
	sm_ballast_pin(b, off);
	return true;
}

void sm_ballast_drop(struct ballast *b)
{
	if (b->ring > 0) {
		syscall(__NR_io_uring_register, b->ring,
			IORING_UNREGISTER_BUFFERS, NULL, 0);
		close(b->ring);
	}
	b->ring = 0;
	if (b->mem && b->mem != MAP_FAILED)
		munmap(b->mem, b->len);
	b->mem = NULL;
}

/* ----------------------------------------------------------------- runner */

struct sm_shared *sm_shared;
bool sm_on;
bool sm_long;
size_t sm_nr = 256;
int sm_from, sm_to = 1;
void (*sm_tell_more)(pid_t pid);

void sm_note(const char *fmt, ...)
{
	size_t len = strlen(sm_shared->note);
	va_list ap;

	if (len) {
		snprintf(sm_shared->note + len,
			 sizeof(sm_shared->note) - len, "; ");
		len = strlen(sm_shared->note);
	}
	va_start(ap, fmt);
	vsnprintf(sm_shared->note + len, sizeof(sm_shared->note) - len,
		  fmt, ap);
	va_end(ap);
}

/*
 * What may fail because a page is in use just then is tried again, SM_TRIES
 * times in all. How many it took at most is told with the result.
 */
#define SM_TRIES	20

bool sm_try_again(unsigned int *failed)
{
	unsigned int tries = ++*failed + 1;

	if (tries > SM_TRIES)
		return false;
	if (tries > sm_shared->tries)
		sm_shared->tries = tries;
	return true;
}

/* A memory error in a page: SIGBUS comes with an access to it, not at once. */
int sm_poison(__u64 pfn)
{
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	/* This says -EBUSY if the page cannot be truncated: no matter. */
	sm_writef(SM_DEBUGFS "hwpoison/corrupt-pfn", "%#llx",
		  (unsigned long long)pfn);
	if (!sm_kpf(pfn, SM_KPF_HWPOISON))
		return sm_fail("the page is not marked");
	return KSFT_PASS;
}

/* Once the page is in no file any more. */
int sm_still_poisoned(__u64 pfn)
{
	if (!sm_kpf(pfn, SM_KPF_HWPOISON) || sm_kpf(pfn, SM_KPF_BUDDY))
		return sm_fail("the page was handed back");
	return KSFT_PASS;
}

/*
 * Unpoison a page that held a secret, and is in no file any more. One of a secret
 * block is freed once more by that, and zeroed. One that lost its alias alone, as
 * all do without the ephmap, is not, and must not be handed out.
 */
int sm_unpoison(__u64 pfn, bool alone)
{
	int err = sm_writef(SM_DEBUGFS "hwpoison/unpoison-pfn", "%#llx",
			    (unsigned long long)pfn);

	if (err != (alone ? -EOPNOTSUPP : 0))
		return sm_fail("unpoisoning returned %d", err);
	if (!sm_kpf(pfn, SM_KPF_HWPOISON) != !alone)
		return sm_fail("unpoisoned, or not: the flag tells otherwise");
	return KSFT_PASS;
}

/* A thread's state, and what it has run, in ticks. */
char sm_state_times(pid_t pid, int tid, unsigned long *user,
		    unsigned long *system)
{
	char path[128], line[512], state = '?', *stat;

	*user = *system = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	sm_read(path, line, sizeof(line));
	stat = strrchr(line, ')');
	if (stat)
		sscanf(stat, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		       &state, user, system);
	return state;
}

/* Where each thread of a test that hangs is. */
void sm_tell(pid_t pid)
{
	unsigned long user, system;
	char path[128], line[512];
	struct dirent *d;
	FILE *f;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		int tid = atoi(d->d_name);
		char state;

		if (!tid)
			continue;
		state = sm_state_times(pid, tid, &user, &system);
		ksft_print_msg("thread %d: %c, user %lu, system %lu\n", tid,
			       state, user, system);
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stack", pid,
			 tid);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			ksft_print_msg("  %s", line);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	if (sm_tell_more)
		sm_tell_more(pid);
}

int sm_run_child(const struct sm_test *t)
{
	unsigned int limit = t->seconds ? t->seconds : 120;
	double end = sm_now() + limit * (sm_long ? 10 : 1);
	int status;
	pid_t pid;

	sm_shared->note[0] = 0;
	sm_shared->tries = 0;
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return sm_fail("fork: %s", strerror(errno));
	if (!pid) {
		setpgid(0, 0);
		exit(t->fn());
	}
	setpgid(pid, pid);
	while (!waitpid(pid, &status, WNOHANG)) {
		if (sm_now() > end) {
			sm_tell(pid);
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			return sm_fail("no end after %u s", limit);
		}
		sm_sleep_ms(10);
	}
	/* Whatever it left running must not disturb the next one. */
	kill(-pid, SIGKILL);
	if (sm_shared->tries)
		sm_note("%u of %u tries", sm_shared->tries, SM_TRIES);
	if (WIFSIGNALED(status))
		return sm_fail("killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

int sm_find_nodes(void)
{
	char buf[64];
	int nodes[2], count = 0;

	for (int n = 0; n < 64 && count < 2; n++) {
		snprintf(buf, sizeof(buf), SM_NODES "node%d", n);
		if (sm_exists(buf) && sm_node_meminfo(n, "MemTotal") > 0)
			nodes[count++] = n;
	}
	if (count == 2) {
		sm_from = nodes[0];
		sm_to = nodes[1];
	}
	return count;
}

/*
 * What is freed has to be there for all to see, and not kept by one CPU or
 * in a reserve, for a test that counts free pages or needs single ones.
 */
static struct {
	const char *path;
	const char *val;
	long long before;
} sm_tunables[] = {
	{ "/proc/sys/vm/percpu_pagelist_high_fraction", "10000", 0 },
	{ "/proc/sys/vm/min_free_kbytes", "4096", 0 },
	{ "/proc/sys/vm/watermark_boost_factor", "0", 0 },
};

static void sm_remember(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(sm_tunables); i++)
		sm_tunables[i].before = sm_read_num(sm_tunables[i].path);
}

/* For each test: khugepaged has its own mind when memory comes and goes. */
static void sm_tune(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(sm_tunables); i++)
		sm_write(sm_tunables[i].path, sm_tunables[i].val);
}

static void sm_untune(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(sm_tunables); i++)
		sm_writef(sm_tunables[i].path, "%lld", sm_tunables[i].before);
}

static const char *sm_only;	/* -t */
static bool sm_list;		/* -L */

static void sm_help(const char *prog, bool stock)
{
	printf("usage: %s [-l]%s [-p pages] [-t text] [-L]\n"
	       "  -l        long: larger sizes and times\n", prog,
	       stock ? " [-u]" : "");
	if (stock)
		printf("  -u        only what an unpatched kernel has, too\n");
	printf("  -p pages  pages in an ordinary test (default %zu)\n"
	       "  -t text   only the properties whose name contains the text\n"
	       "  -L        list the properties\n", sm_nr);
}

/*
 * The command line of a suite, whose tests have @long_nr pages with -l. If
 * @stock is not NULL, the suite has the option -u, which sets it.
 */
void sm_options(int argc, char **argv, size_t long_nr, bool *stock)
{
	int c;

	while ((c = getopt(argc, argv, stock ? "lp:t:Lhu" : "lp:t:Lh")) != -1) {
		switch (c) {
		case 'l':
			sm_long = true;
			sm_nr = long_nr;
			break;
		case 'u':
			*stock = true;
			break;
		case 'p':
			sm_nr = strtoul(optarg, NULL, 0);
			break;
		case 't':
			sm_only = optarg;
			break;
		case 'L':
			sm_list = true;
			break;
		default:
			sm_help(argv[0], stock);
			exit(c == 'h' ? 0 : 2);
		}
	}
	sm_on = sm_list || sm_ephmap_on();
}

/* The name of a test, if it is to run. */
static const char *sm_selected(const struct sm_test *t)
{
	const char *name = sm_on ? t->on : t->off;

	if (t->both)
		name = t->both;
	return name && (!sm_only || strstr(name, sm_only)) ? name : NULL;
}

/* With -L this ends the program. */
void sm_begin(const struct sm_test *tests, size_t nr_tests)
{
	struct rlimit rlim = { RLIM_INFINITY, RLIM_INFINITY };

	if (sm_list) {
		for (size_t i = 0; i < nr_tests; i++)
			if (sm_selected(&tests[i]))
				printf("%s\n", sm_selected(&tests[i]));
		exit(0);
	}
	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("needs root\n");
	setrlimit(RLIMIT_MEMLOCK, &rlim);
}

int sm_run_tests(const struct sm_test *tests, size_t nr_tests,
		 int (*run)(const struct sm_test *t))
{
	unsigned int plan = 0;

	if (sm_find_nodes() < 2)
		ksft_exit_skip("needs two NUMA nodes with memory\n");

	sm_remember();
	sm_shared = mmap(NULL, sizeof(*sm_shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksft_print_msg("ephmap: %s, %zu pages, nodes %d and %d\n",
		       sm_on ? "on" : "off", sm_nr, sm_from, sm_to);
	for (size_t i = 0; i < nr_tests; i++)
		plan += !!sm_selected(&tests[i]);
	ksft_set_plan(plan);
	for (size_t i = 0; i < nr_tests; i++) {
		const char *name = sm_selected(&tests[i]);
		double start = sm_now();
		int code;

		if (!name)
			continue;
		sm_tune();
		code = run(&tests[i]);
		if (code != KSFT_PASS && code != KSFT_SKIP)
			code = KSFT_FAIL;
		ksft_test_result_report(code, "%s%s%s (%.1f s)\n", name,
					sm_shared->note[0] ? ": " : "",
					sm_shared->note, sm_now() - start);
	}
	sm_untune();
	ksft_finished();
}

int sm_main(int argc, char **argv, const struct sm_test *tests, size_t nr_tests)
{
	int fd;

	sm_options(argc, argv, 2048, NULL);
	sm_begin(tests, nr_tests);
	fd = sm_memfd_secret();
	if (fd < 0)
		ksft_exit_skip("memfd_secret: %s\n", strerror(errno));
	close(fd);
	return sm_run_tests(tests, nr_tests, sm_run_child);
}
