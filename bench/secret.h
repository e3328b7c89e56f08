/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the workloads share: an area of secret or shmem pages whose every word
 * is known, and what the kernel says about it. A workload prints key=value
 * lines; its exit status says only whether it could run (0, or 3 when the
 * environment lacks something): whether a figure is good is the caller's to
 * judge.
 */
#ifndef BENCH_SECRET_H
#define BENCH_SECRET_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/mempolicy.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "guest_memfd_uapi.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

/* The system's headers may be older. */
#ifndef KVM_GMEM_MOVE
struct kvm_gmem_move {
	__u64 offset;
	__u64 size;
	__s32 node;
	__u32 flags;
	__u64 moved;
	__u64 failed;
	__u64 next_offset;
	__u64 reserved[4];
};

#define KVM_GMEM_MOVE		_IOWR(KVMIO, 0xd8, struct kvm_gmem_move)
#endif
#ifndef GUEST_MEMFD_FLAG_HUGE
#define GUEST_MEMFD_FLAG_HUGE	(1ULL << 17)
#endif

#define PAGEMAP_PRESENT		(1ULL << 63)
#define PAGEMAP_PFN_MASK	((1ULL << 55) - 1)

#define PAGE_SIZE	4096UL
#define PAGE_WORDS	(PAGE_SIZE / sizeof(uint64_t))

#define EXIT_ENVIRONMENT	3

enum kind {
	KIND_SECRET,		/* memfd_secret(2) */
	KIND_SHMEM,		/* memfd_create(2): the ordinary page cache */
	KIND_ANON,		/* private anonymous memory */
	KIND_GMEM_STOCK,	/* guest_memfd, as unpatched kernels have it */
	KIND_GMEM,		/* guest_memfd that is movable */
	KIND_GMEM_HIDDEN,	/* the same, without a direct map */
	KIND_GMEM_HUGE,		/* as KIND_GMEM, in folios of 2 MB */
	KIND_GMEM_HIDDEN_HUGE,
};

struct area {
	enum kind kind;
	int fd;			/* -1: anonymous */
	int vm;			/* guest_memfd's; -1: none */
	uint64_t seed;		/* what makes its words differ from others' */
	size_t pages;
	char *mem;
};

/* One command line for all workloads; each reads the fields it needs. */
struct options {
	enum kind kind;
	size_t pages;
	int node;		/* -1: no binding */
	int to;
	size_t batch;
	size_t rounds;
	bool drop_shmem;	/* what frag drops again is shmem */
	bool release;		/* profile the release, not the touch */
	size_t huge_pages;	/* what frag allocates in folios of 2 MB */
	bool by_file;		/* move by KVM_GMEM_MOVE, not move_pages(2) */
	unsigned int seconds;	/* patience per step that may never end */
};

/* Counters of /proc/vmstat; one that this kernel lacks is not printed. */
struct vmstat {
	char *text;
};

__attribute__((noreturn, format(printf, 2, 3)))
static inline void die(int status, const char *format, ...)
{
	int error = errno;
	va_list args;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	if (error)
		fprintf(stderr, ": %s", strerror(error));
	fputc('\n', stderr);
	exit(status);
}

static inline size_t parse_number(const char *text)
{
	char *end;
	size_t number = strtoul(text, &end, 0);

	errno = 0;
	if (end == text || *end)
		die(2, "not a number: %s", text);
	return number;
}

static inline void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"Usage: %s [--shmem | --anon | --gmem | --gmem-hidden | --gmem-huge |\n"
		"       --gmem-hidden-huge |\n"
		"          --gmem-stock] [--pages N | --mb N] [--node N]\n"
		"          [--to N] [--batch N] [--rounds N] [--seconds N]\n"
		"          [--drop-shmem] [--release] [--by-file] [--huge-mb N]\n",
		program_invocation_short_name);
	exit(status);
}

static inline void parse_options(int argc, char **argv, struct options *opts)
{
	static const struct option known[] = {
		{ "shmem",	no_argument,		NULL, 's' },
		{ "anon",	no_argument,		NULL, 'a' },
		{ "gmem",	no_argument,		NULL, 'G' },
		{ "gmem-hidden", no_argument,		NULL, 'H' },
		{ "gmem-huge",	no_argument,		NULL, 'U' },
		{ "gmem-hidden-huge", no_argument,	NULL, 'V' },
		{ "gmem-stock",	no_argument,		NULL, 'S' },
		{ "pages",	required_argument,	NULL, 'p' },
		{ "mb",		required_argument,	NULL, 'm' },
		{ "node",	required_argument,	NULL, 'n' },
		{ "to",		required_argument,	NULL, 't' },
		{ "batch",	required_argument,	NULL, 'b' },
		{ "rounds",	required_argument,	NULL, 'r' },
		{ "seconds",	required_argument,	NULL, 'c' },
		{ "drop-shmem",	no_argument,		NULL, 'd' },
		{ "release",	no_argument,		NULL, 'R' },
		{ "by-file",	no_argument,		NULL, 'F' },
		{ "huge-mb",	required_argument,	NULL, 'M' },
		{ "help",	no_argument,		NULL, 'h' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (option) {
		case 's':
			opts->kind = KIND_SHMEM;
			break;
		case 'a':
			opts->kind = KIND_ANON;
			break;
		case 'G':
			opts->kind = KIND_GMEM;
			break;
		case 'H':
			opts->kind = KIND_GMEM_HIDDEN;
			break;
		case 'U':
			opts->kind = KIND_GMEM_HUGE;
			break;
		case 'V':
			opts->kind = KIND_GMEM_HIDDEN_HUGE;
			break;
		case 'S':
			opts->kind = KIND_GMEM_STOCK;
			break;
		case 'p':
			opts->pages = parse_number(optarg);
			break;
		case 'm':
			opts->pages = parse_number(optarg) << 8;
			break;
		case 'n':
			opts->node = parse_number(optarg);
			break;
		case 't':
			opts->to = parse_number(optarg);
			break;
		case 'b':
			opts->batch = parse_number(optarg);
			break;
		case 'r':
			opts->rounds = parse_number(optarg);
			break;
		case 'c':
			opts->seconds = parse_number(optarg);
			break;
		case 'd':
			opts->drop_shmem = true;
			break;
		case 'R':
			opts->release = true;
			break;
		case 'F':
			opts->by_file = true;
			break;
		case 'M':
			opts->huge_pages = parse_number(optarg) << 8;
			break;
		case 'h':
			usage(0);
			break;
		default:
			usage(2);
		}
	}
	if (optind != argc)
		usage(2);
	/* Every line counts when the next step may kill us. */
	setlinebuf(stdout);
}

static inline const char *kind_name(enum kind kind)
{
	static const char *const names[] = {
		[KIND_SECRET]	= "secret",
		[KIND_SHMEM]	= "shmem",
		[KIND_ANON]	= "anon",
		[KIND_GMEM_STOCK] = "gmem-stock",
		[KIND_GMEM]	= "gmem",
		[KIND_GMEM_HIDDEN] = "gmem-hidden",
		[KIND_GMEM_HUGE] = "gmem-huge",
		[KIND_GMEM_HIDDEN_HUGE] = "gmem-hidden-huge",
	};

	return names[kind];
}

static inline bool kind_is_hidden(enum kind kind)
{
	return kind == KIND_GMEM_HIDDEN || kind == KIND_GMEM_HIDDEN_HUGE;
}

static inline bool kind_is_huge(enum kind kind)
{
	return kind == KIND_GMEM_HUGE || kind == KIND_GMEM_HIDDEN_HUGE;
}

static inline int kvm_create_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0)
		die(EXIT_ENVIRONMENT, "no VM");
	close(kvm);
	return vm;
}

/* Returns -1 where the kernel does not know the kind. */
static inline int guest_memfd(int vm, enum kind kind, size_t pages)
{
	struct kvm_create_guest_memfd args = {
		.size = pages * PAGE_SIZE,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};

	if (kind != KIND_GMEM_STOCK)
		args.flags |= GUEST_MEMFD_FLAG_MOVABLE;
	if (kind_is_hidden(kind))
		args.flags |= GUEST_MEMFD_FLAG_NO_DIRECT_MAP |
			      GUEST_MEMFD_FLAG_WRITE;
	if (kind_is_huge(kind))
		args.flags |= GUEST_MEMFD_FLAG_HUGE;
	return ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
}

/* The area's pages do not exist before area_stamp() or a touch. */
static inline void area_open(struct area *area, enum kind kind, size_t pages)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	static uint64_t next_seed = 0x5ec2e700;
	int flags = MAP_SHARED;

	*area = (struct area){
		.kind = kind,
		.fd = -1,
		.vm = -1,
		.seed = next_seed++,
		.pages = pages,
	};
	switch (kind) {
	case KIND_SECRET:
		/* Secret pages count as locked ones. */
		if (setrlimit(RLIMIT_MEMLOCK, &unlimited))
			die(EXIT_ENVIRONMENT, "RLIMIT_MEMLOCK");
		area->fd = syscall(SYS_memfd_secret, 0);
		break;
	case KIND_SHMEM:
		area->fd = memfd_create("bench", 0);
		break;
	case KIND_ANON:
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case KIND_GMEM_STOCK:
	case KIND_GMEM:
	case KIND_GMEM_HIDDEN:
	case KIND_GMEM_HUGE:
	case KIND_GMEM_HIDDEN_HUGE:
		area->vm = kvm_create_vm();
		area->fd = guest_memfd(area->vm, kind, pages);
		break;
	}
	if (kind != KIND_ANON && area->fd < 0)
		die(EXIT_ENVIRONMENT, "no %s file", kind_name(kind));
	if (area->fd >= 0 && area->vm < 0 &&
	    ftruncate(area->fd, pages * PAGE_SIZE))
		die(EXIT_ENVIRONMENT, "size of a %s file", kind_name(kind));
	area->mem = mmap(NULL, pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
			 flags, area->fd, 0);
	if (area->mem == MAP_FAILED)
		die(EXIT_ENVIRONMENT, "mmap of %s memory", kind_name(kind));
	/* One fault per page is what all others have in common. */
	if (!kind_is_huge(kind))
		madvise(area->mem, pages * PAGE_SIZE, MADV_NOHUGEPAGE);
}

static inline void area_close(struct area *area)
{
	munmap(area->mem, area->pages * PAGE_SIZE);
	if (area->fd >= 0)
		close(area->fd);
	if (area->vm >= 0)
		close(area->vm);
	area->mem = NULL;
}

static inline void area_fallocate(struct area *area)
{
	if (fallocate(area->fd, FALLOC_FL_KEEP_SIZE, 0,
		      area->pages * PAGE_SIZE))
		die(EXIT_ENVIRONMENT, "fallocate");
}

/* The pages in folios of 2 MB; 0 where the kernel does not tell. */
static inline size_t huge_pages(const struct area *area)
{
	char line[128];
	size_t pages = 0;
	FILE *info;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", area->fd);
	info = fopen(line, "re");
	while (info && fgets(line, sizeof(line), info) &&
	       sscanf(line, "gmem-huge: %zu", &pages) != 1)
		;
	if (info)
		fclose(info);
	return pages;
}

/* Odd factor: no two words of a run are equal. */
static inline uint64_t word_of(const struct area *area, size_t page,
			       size_t word)
{
	uint64_t place = page * PAGE_WORDS + word;

	return ((area->seed << 32) ^ place) * 0x9e3779b97f4a7c15ULL;
}

static inline uint64_t *page_of(const struct area *area, size_t page)
{
	return (uint64_t *)(area->mem + page * PAGE_SIZE);
}

static inline void area_stamp_page(struct area *area, size_t page)
{
	uint64_t *words = page_of(area, page);
	size_t word;

	for (word = 0; word < PAGE_WORDS; word++)
		words[word] = word_of(area, page, word);
}

static inline void area_stamp(struct area *area)
{
	size_t page;

	for (page = 0; page < area->pages; page++)
		area_stamp_page(area, page);
}

static inline size_t area_wrong_words(const struct area *area)
{
	size_t page, word, wrong = 0;

	for (page = 0; page < area->pages; page++) {
		const uint64_t *words = page_of(area, page);

		for (word = 0; word < PAGE_WORDS; word++)
			wrong += words[word] != word_of(area, page, word);
	}
	return wrong;
}

static inline void area_pfns(const struct area *area, uint64_t *pfns)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t bytes = area->pages * sizeof(*pfns);
	off_t where = (uintptr_t)area->mem / PAGE_SIZE * sizeof(*pfns);
	size_t done = 0, page;
	ssize_t got;

	if (fd < 0)
		die(EXIT_ENVIRONMENT, "/proc/self/pagemap");
	while (done < bytes) {
		got = pread(fd, (char *)pfns + done, bytes - done,
			    where + done);
		if (got <= 0)
			die(EXIT_ENVIRONMENT, "read of pagemap");
		done += got;
	}
	close(fd);
	/* 0 stands for "no page". */
	for (page = 0; page < area->pages; page++)
		pfns[page] = pfns[page] & PAGEMAP_PRESENT ?
			     pfns[page] & PAGEMAP_PFN_MASK : 0;
}

static inline long move_to_node(void **pages, size_t count, int node,
				int *status)
{
	static int *nodes;
	static size_t room;
	size_t i;

	if (room < count) {
		nodes = realloc(nodes, count * sizeof(*nodes));
		if (!nodes)
			die(EXIT_ENVIRONMENT, "no memory");
		room = count;
	}
	for (i = 0; i < count; i++)
		nodes[i] = node;
	return syscall(SYS_move_pages, 0, count, pages, nodes, status,
		       MPOL_MF_MOVE);
}

static inline size_t area_on_node(const struct area *area, int node)
{
	void **pages = calloc(area->pages, sizeof(*pages));
	int *status = calloc(area->pages, sizeof(*status));
	size_t page, there = 0;

	if (!pages || !status)
		die(EXIT_ENVIRONMENT, "no memory");
	for (page = 0; page < area->pages; page++)
		pages[page] = page_of(area, page);
	/* Without target nodes the call only reports. */
	if (syscall(SYS_move_pages, 0, area->pages, pages, NULL, status, 0))
		die(EXIT_ENVIRONMENT, "move_pages");
	for (page = 0; page < area->pages; page++)
		there += status[page] == node;
	free(pages);
	free(status);
	return there;
}

static inline void set_policy(int mode, int node)
{
	unsigned long mask = 1UL << node;

	if (node < 0)
		return;
	if (syscall(SYS_set_mempolicy, mode, &mask, 8 * sizeof(mask)))
		die(EXIT_ENVIRONMENT, "no node %d", node);
}

static inline void bind_to_node(int node)
{
	set_policy(MPOL_BIND, node);
}

/* Another node takes what this one has no room for. */
static inline void prefer_node(int node)
{
	set_policy(MPOL_PREFERRED, node);
}

static inline void print_value(const char *key, unsigned long long value)
{
	printf("%s=%llu\n", key, value);
}

static inline bool try_write(const char *path, const char *text)
{
	ssize_t wrote = -1;
	int fd = open(path, O_WRONLY);
	int error;

	if (fd < 0)
		return false;
	wrote = write(fd, text, strlen(text));
	error = errno;
	close(fd);
	errno = error;
	return wrote == (ssize_t)strlen(text);
}

static inline unsigned long long read_number(const char *path, int base)
{
	char text[64] = "";
	FILE *file = fopen(path, "r");

	if (!file || !fgets(text, sizeof(text), file))
		die(EXIT_ENVIRONMENT, "%s", path);
	fclose(file);
	return strtoull(text, NULL, base);
}

static inline unsigned long long meminfo_kb(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long long value = 0, kb = 0;
	char line[128], key[64];

	if (!file)
		die(EXIT_ENVIRONMENT, "/proc/meminfo");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63[^:]: %llu", key, &value) == 2 &&
		    !strcmp(key, name))
			kb = value;
	fclose(file);
	return kb;
}

static inline void vmstat_read(struct vmstat *vmstat)
{
	FILE *file = fopen("/proc/vmstat", "r");
	size_t room = 0;

	vmstat->text = NULL;
	if (!file || getdelim(&vmstat->text, &room, '\0', file) < 0)
		die(EXIT_ENVIRONMENT, "/proc/vmstat");
	fclose(file);
}

static inline void vmstat_free(struct vmstat *vmstat)
{
	free(vmstat->text);
	vmstat->text = NULL;
}

/* Points behind the name, at the value; NULL when there is no such line. */
static const char *vmstat_find(const struct vmstat *vmstat, const char *name)
{
	const char *line = vmstat->text;
	size_t length = strlen(name);

	while (line && *line) {
		if (!strncmp(line, name, length) && line[length] == ' ')
			return line + length;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return NULL;
}

static inline bool vmstat_has(const struct vmstat *vmstat, const char *name)
{
	return vmstat_find(vmstat, name);
}

static inline long long vmstat_value(const struct vmstat *vmstat,
				     const char *name)
{
	const char *value = vmstat_find(vmstat, name);

	return value ? atoll(value) : 0;
}

static inline void vmstat_print_since(const struct vmstat *before,
				      const char *prefix)
{
	static const char *const names[] = {
		"pgmigrate_success",
		"pgmigrate_fail",
		"direct_map_zaps",
		"direct_map_restores",
		"direct_map_zap_shootdowns",
		"secret_block_hide",
		"secret_block_show",
		"secret_block_evacuate",
		"secret_page_fallback",
		"ephmap_sessions",
		"ephmap_pages",
		"ephmap_flushes",
		"no_direct_map_migrate_success",
		"no_direct_map_migrate_fail_refs",
		"no_direct_map_migrate_fail_zap",
		"no_direct_map_migrate_fail_copy",
		"no_direct_map_migrate_fail_mapping",
		"nr_tlb_remote_flush",
		"nr_tlb_remote_flush_received",
		"nr_tlb_local_flush_all",
		"nr_tlb_local_flush_one",
	};
	struct vmstat after;
	size_t i;

	vmstat_read(&after);
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (vmstat_has(&after, names[i]))
			printf("%s%s=%lld\n", prefix, names[i],
			       vmstat_value(&after, names[i]) -
			       vmstat_value(before, names[i]));
	vmstat_free(&after);
}

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static inline uint64_t now_tsc(void)
{
	return __rdtsc();
}

/*
 * Brackets what an instruction profile is to count: bench/qemu/insn-profile.c
 * looks for this no-op's displacement. Without it nothing happens.
 */
static inline void profile_begin(void)
{
	__asm__ volatile("nopl 0x45500001(%%rax)" ::: "memory");
}

static inline void profile_end(void)
{
	__asm__ volatile("nopl 0x45500002(%%rax)" ::: "memory");
}

#endif
