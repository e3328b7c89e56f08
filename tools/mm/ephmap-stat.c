// SPDX-License-Identifier: GPL-2.0
/*
 * ephmap-stat: who holds secret memory, what it costs, and what Address Space
 * Isolation does
 *
 * It only reads: /proc, and debugfs where it may. It opens no secret file, maps
 * none, and creates none, which would change what the page allocator does. See
 * ephmap-stat.8, Documentation/mm/no_direct_map.rst and
 * Documentation/arch/x86/asi.rst.
 */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))

#ifndef DEBUGFS_MAGIC
#define DEBUGFS_MAGIC		0x64626720
#endif
#define SECRETMEM_MAGIC		0x5345434d
#define GUEST_MEMFD_MAGIC	0x474d454d

#define DEBUGFS			"/sys/kernel/debug"
#define PF_KTHREAD		0x00200000

/* Headers of the system may be older than Linux 6.7. */
#ifndef PAGEMAP_SCAN
struct page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct pm_scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_PRESENT		0x08
#define PAGE_IS_SWAPPED		0x10
#endif

static long page_size;
static bool json;

/* === Memory and errors ==================================================== */

/* One line; what has been reported so far comes before it. */
#define die(status, fmt, ...)						\
	do {								\
		fflush(stdout);						\
		fprintf(stderr, "ephmap-stat: " fmt "\n", ##__VA_ARGS__);\
		exit(status);						\
	} while (0)

static void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size);
	if (!p)
		die(1, "out of memory");
	return p;
}

static char *xstrndup(const char *s, size_t len)
{
	char *copy = strndup(s, len);

	if (!copy)
		die(1, "out of memory");
	return copy;
}

/* Room for one more element than @nr, zeroed, in an array that starts as NULL. */
static void *grow(void *array, size_t nr, size_t size)
{
	/* Doubled when the number of elements is a power of two. */
	if (!(nr & (nr - 1)))
		array = xrealloc(array, (nr ? 2 * nr : 1) * size);
	memset((char *)array + nr * size, 0, size);
	return array;
}

/* === What a report is made of ============================================= */

struct counter {
	char		*name;
	long long	value;
};

struct counters {
	struct counter	*v;
	size_t		nr;
};

enum secret_type { SECRETMEM, GUEST_MEMFD };

static const char * const type_names[] = {
	[SECRETMEM]	= "secretmem",
	[GUEST_MEMFD]	= "guest_memfd",
};

/* Pages of a file, from @first to before @end. */
struct range {
	uint64_t	first, end;
};

struct ranges {
	struct range	*v;
	size_t		nr;
	bool		unknown;	/* could not be read */
};

struct secret_file {
	enum secret_type type;
	dev_t		dev;
	ino_t		ino;
	long long	size;		/* -1: nobody was found with a descriptor */
	struct ranges	mapped;		/* by anybody */
	struct counters	gmem;		/* fdinfo's gmem-*, without that */
	bool		asked;		/* fdinfo was read */
};

/* A process and a file it holds. */
struct holder {
	int		pid;
	char		*command;
	size_t		file;
	unsigned int	fds, maps;
	struct ranges	mapped;		/* by this process */
};

/* Pageblocks of a zone on one of its free lists. */
struct block_row {
	int		node;
	char		*zone, *type;
	unsigned long long blocks, free_pages;
	bool		at_least;	/* the kernel stopped counting */
};

struct unread {
	char		*what;
	int		err;
};

enum asi_state { ASI_UNKNOWN, ASI_OFF, ASI_ON };

static const char * const asi_names[] = {
	[ASI_UNKNOWN]	= "unknown",
	[ASI_OFF]	= "off",
	[ASI_ON]	= "on",
};

/* Groups of counters; each has its differences. */
enum group { G_VMSTAT, G_BLOCKS, G_DIRECT_MAP, G_ASI, G_ASI_SITES, G_KVM, NR_GROUPS };

static const struct {
	const char *json, *text;
} groups[NR_GROUPS] = {
	[G_VMSTAT]	= { "counters",   "Moves, failures, blocks, sessions" },
	[G_BLOCKS]	= { "visibility", "Pageblocks by who sees them" },
	[G_DIRECT_MAP]	= { "direct_map_kb", "Direct map, in kB by the size of its pages" },
	[G_ASI]		= { "asi_stats",  "Address Space Isolation" },
	[G_ASI_SITES]	= { "asi_exits",  "Exits by the instruction that touched absent memory" },
	[G_KVM]		= { "kvm_stats",  "guest_memfd of all VMs" },
};

/* More exits than these are only in the JSON. */
#define TOP_SITES	10

struct report {
	struct timespec	when, mono;
	struct counters	group[NR_GROUPS];
	struct secret_file *files;
	size_t		nr_files;
	struct holder	*holders;
	size_t		nr_holders;
	struct block_row *rows;
	size_t		nr_rows;
	unsigned long	block_pages;
	struct unread	*unread;
	size_t		nr_unread;
	unsigned int	denied;		/* processes */
	enum asi_state	asi;
};

static void could_not_read(struct report *r, const char *what, int err)
{
	struct unread *u;
	size_t i;

	for (i = 0; i < r->nr_unread; i++)
		if (!strcmp(r->unread[i].what, what))
			return;
	r->unread = grow(r->unread, r->nr_unread, sizeof(*r->unread));
	u = &r->unread[r->nr_unread++];
	u->what = xstrndup(what, strlen(what));
	u->err = err;
}

static void add_counter(struct counters *c, const char *name, size_t len,
			long long value)
{
	struct counter *new;

	c->v = grow(c->v, c->nr, sizeof(*c->v));
	new = &c->v[c->nr++];
	new->name = xstrndup(name, len);
	new->value = value;
}

static struct counter *find_counter(const struct counters *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->nr; i++)
		if (!strcmp(c->v[i].name, name))
			return &c->v[i];
	return NULL;
}

static long long value_of(const struct counters *c, const char *name)
{
	const struct counter *counter = find_counter(c, name);

	return counter ? counter->value : -1;
}

static void free_counters(struct counters *c)
{
	size_t i;

	for (i = 0; i < c->nr; i++)
		free(c->v[i].name);
	free(c->v);
}

static void free_report(struct report *r)
{
	size_t i;

	for (i = 0; i < NR_GROUPS; i++)
		free_counters(&r->group[i]);
	for (i = 0; i < r->nr_files; i++) {
		free(r->files[i].mapped.v);
		free_counters(&r->files[i].gmem);
	}
	free(r->files);
	for (i = 0; i < r->nr_holders; i++) {
		free(r->holders[i].command);
		free(r->holders[i].mapped.v);
	}
	free(r->holders);
	for (i = 0; i < r->nr_rows; i++) {
		free(r->rows[i].zone);
		free(r->rows[i].type);
	}
	free(r->rows);
	for (i = 0; i < r->nr_unread; i++)
		free(r->unread[i].what);
	free(r->unread);
}

/* === Ranges of pages ====================================================== */

static int compare_ranges(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/*
 * Sort, merge what overlaps or touches, and count the pages. Nothing may be
 * added afterwards: grow() goes by the number of elements.
 */
static unsigned long long count_pages(struct ranges *ranges)
{
	unsigned long long pages = 0;
	size_t i, last = 0;

	if (!ranges->nr)
		return 0;
	qsort(ranges->v, ranges->nr, sizeof(*ranges->v), compare_ranges);
	for (i = 1; i < ranges->nr; i++) {
		if (ranges->v[i].first > ranges->v[last].end)
			ranges->v[++last] = ranges->v[i];
		else if (ranges->v[i].end > ranges->v[last].end)
			ranges->v[last].end = ranges->v[i].end;
	}
	ranges->nr = last + 1;
	for (i = 0; i < ranges->nr; i++)
		pages += ranges->v[i].end - ranges->v[i].first;
	return pages;
}

static void add_range(struct ranges *ranges, uint64_t first, uint64_t end)
{
	struct range *new;

	ranges->v = grow(ranges->v, ranges->nr, sizeof(*ranges->v));
	new = &ranges->v[ranges->nr++];
	new->first = first;
	new->end = end;
}

/* === Who holds secret memory ============================================== */

/* File systems that were seen, and what their files are; they never go. */
static struct known_fs {
	dev_t		dev;
	enum secret_type type;
} *known_fs;

static size_t nr_known_fs;

/* Anybody can delete a file of such a name: this only saves time. */
static bool looks_secret(const char *link)
{
	return !strncmp(link, "/secretmem", strlen("/secretmem")) ||
	       strstr(link, "[kvm-gmem]");
}

static bool known_type(dev_t dev, enum secret_type *type)
{
	size_t i;

	for (i = 0; i < nr_known_fs; i++) {
		if (known_fs[i].dev == dev) {
			*type = known_fs[i].type;
			return true;
		}
	}
	return false;
}

/* By the file system that @path, a link in /proc, leads to: 1, 0, or -errno. */
static int type_by_fs(const char *path, dev_t dev, enum secret_type *type)
{
	struct known_fs *fs;
	struct statfs st;

	if (known_type(dev, type))
		return 1;
	if (statfs(path, &st))
		return -errno;
	if (st.f_type == SECRETMEM_MAGIC)
		*type = SECRETMEM;
	else if (st.f_type == GUEST_MEMFD_MAGIC)
		*type = GUEST_MEMFD;
	else
		return 0;
	known_fs = grow(known_fs, nr_known_fs, sizeof(*known_fs));
	fs = &known_fs[nr_known_fs++];
	fs->dev = dev;
	fs->type = *type;
	return 1;
}

static size_t find_file(struct report *r, enum secret_type type, dev_t dev,
			ino_t ino)
{
	struct secret_file *file;
	size_t i;

	for (i = 0; i < r->nr_files; i++)
		if (r->files[i].dev == dev && r->files[i].ino == ino)
			return i;
	r->files = grow(r->files, r->nr_files, sizeof(*r->files));
	file = &r->files[r->nr_files++];
	file->type = type;
	file->dev = dev;
	file->ino = ino;
	file->size = -1;
	return i;
}

/* The holders of a process are the last ones. */
static struct holder *find_holder(struct report *r, int pid, size_t file)
{
	struct holder *holder;
	size_t i;

	for (i = r->nr_holders; i-- > 0 && r->holders[i].pid == pid; )
		if (r->holders[i].file == file)
			return &r->holders[i];
	r->holders = grow(r->holders, r->nr_holders, sizeof(*r->holders));
	holder = &r->holders[r->nr_holders++];
	holder->pid = pid;
	holder->file = file;
	return holder;
}

/* What KVM says of a guest_memfd; older kernels say nothing. */
static void read_fdinfo(struct report *r, struct secret_file *file, int pid,
			const char *fd)
{
	char path[PATH_MAX], *line = NULL, *colon;
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", pid, fd);
	f = fopen(path, "re");
	if (!f) {
		if (errno != ENOENT && errno != ESRCH)
			could_not_read(r, path, errno);
		return;
	}
	while (getline(&line, &size, f) > 0) {
		colon = strchr(line, ':');
		if (strncmp(line, "gmem-", 5) || !colon)
			continue;
		add_counter(&file->gmem, line + 5, colon - line - 5,
			    strtoll(colon + 1, NULL, 0));
	}
	file->asked = true;
	free(line);
	fclose(f);
}

/* A process ends whenever it likes; false: it may not be looked at. */
static bool may_look(struct report *r, const char *path, int err)
{
	if (err == EACCES || err == EPERM)
		return false;
	if (err != ENOENT && err != ESRCH)
		could_not_read(r, path, err);
	return true;
}

static bool scan_fds(struct report *r, int pid)
{
	char path[PATH_MAX], link[PATH_MAX];
	enum secret_type type;
	struct dirent *entry;
	struct stat st;
	bool all = true;
	ssize_t len;
	size_t file;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return may_look(r, path, errno);
	while ((entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid,
			 entry->d_name);
		len = readlink(path, link, sizeof(link) - 1);
		if (len < 0) {
			all &= may_look(r, path, errno);
			continue;
		}
		link[len] = 0;
		if (!looks_secret(link) || stat(path, &st) ||
		    type_by_fs(path, st.st_dev, &type) <= 0)
			continue;
		file = find_file(r, type, st.st_dev, st.st_ino);
		r->files[file].size = st.st_size;
		find_holder(r, pid, file)->fds++;
		if (type == GUEST_MEMFD && !r->files[file].asked)
			read_fdinfo(r, &r->files[file], pid, entry->d_name);
	}
	closedir(dir);
	return all;
}

struct vma {
	unsigned long	start, end;
	unsigned long long offset;
	dev_t		dev;
	ino_t		ino;
};

/* Pages in the page tables, and those that are moving just now. */
static void scan_pages(struct report *r, int pagemap, const struct vma *vma,
		       struct holder *holder)
{
	struct secret_file *file = &r->files[holder->file];
	struct page_region regions[256];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.end = vma->end,
		.vec = (uintptr_t)regions,
		.vec_len = ARRAY_SIZE(regions),
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT,
	};
	uint64_t pgoff = vma->offset / page_size, first, end;
	long i, nr;

	for (arg.start = vma->start; arg.start < vma->end;
	     arg.start = arg.walk_end) {
		nr = ioctl(pagemap, PAGEMAP_SCAN, &arg);
		if (nr < 0 || arg.walk_end <= arg.start) {
			holder->mapped.unknown = true;
			file->mapped.unknown = true;
			return;
		}
		for (i = 0; i < nr; i++) {
			first = pgoff + (regions[i].start - vma->start) /
					page_size;
			end = pgoff + (regions[i].end - vma->start) / page_size;
			add_range(&holder->mapped, first, end);
			add_range(&file->mapped, first, end);
		}
	}
}

/* A line of /proc/PID/maps, if it may be secret memory. */
static bool parse_vma(const char *line, struct vma *vma, const char **name)
{
	unsigned int major, minor;
	unsigned long ino;
	int at = 0;

	if (sscanf(line, "%lx-%lx %*s %llx %x:%x %lu %n", &vma->start,
		   &vma->end, &vma->offset, &major, &minor, &ino, &at) < 6 || !at)
		return false;
	vma->dev = makedev(major, minor);
	vma->ino = ino;
	*name = line + at;
	return looks_secret(*name);
}

/*
 * map_files can only be followed with CAP_CHECKPOINT_RESTORE. Without it, go by
 * the name of a file that is on no disk.
 */
static bool type_of_vma(int pid, const struct vma *vma, const char *name,
			enum secret_type *type)
{
	char path[PATH_MAX];
	int found;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid,
		 vma->start, vma->end);
	found = type_by_fs(path, vma->dev, type);
	if (found >= 0)
		return found;
	*type = strstr(name, "[kvm-gmem]") ? GUEST_MEMFD : SECRETMEM;
	return !major(vma->dev);
}

static bool scan_maps(struct report *r, int pid)
{
	char path[PATH_MAX], *line = NULL;
	enum secret_type type;
	struct holder *holder;
	size_t size = 0, file;
	const char *name;
	int pagemap = -1;
	struct vma vma;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return may_look(r, path, errno);
	while (getline(&line, &size, f) > 0) {
		if (!parse_vma(line, &vma, &name) ||
		    !type_of_vma(pid, &vma, name, &type))
			continue;
		file = find_file(r, type, vma.dev, vma.ino);
		holder = find_holder(r, pid, file);
		holder->maps++;
		if (pagemap < 0) {
			snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
			pagemap = open(path, O_RDONLY | O_CLOEXEC);
		}
		scan_pages(r, pagemap, &vma, holder);
	}
	if (pagemap >= 0)
		close(pagemap);
	free(line);
	fclose(f);
	return true;
}

/* The first line of a file, without its newline; false: there is none. */
static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool got;

	if (!f)
		return false;
	got = fgets(buf, size, f);
	fclose(f);
	if (got)
		buf[strcspn(buf, "\n")] = 0;
	return got;
}

/* They have no files, and nobody but root may see that. */
static bool is_kernel_thread(int pid)
{
	char path[64], buf[1024], *end;
	unsigned int flags;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (!read_line(path, buf, sizeof(buf)))
		return true;	/* it has ended */
	end = strrchr(buf, ')');
	return end && sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       flags & PF_KTHREAD;
}

static void scan_process(struct report *r, int pid)
{
	size_t first = r->nr_holders, i;
	char path[64], comm[64];
	bool all;

	all = scan_fds(r, pid);
	all &= scan_maps(r, pid);
	if (!all && !is_kernel_thread(pid))
		r->denied++;
	if (first == r->nr_holders)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (!read_line(path, comm, sizeof(comm)))
		strcpy(comm, "?");
	for (i = first; i < r->nr_holders; i++)
		r->holders[i].command = xstrndup(comm, strlen(comm));
}

static void scan_processes(struct report *r)
{
	struct dirent *entry;
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)
		die(1, "/proc: %s", strerror(errno));
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			scan_process(r, atoi(entry->d_name));
	closedir(dir);
}

/* === Counters ============================================================= */

/* Lines of "NAME VALUE" or "NAME: VALUE", of those names that begin so. */
static int read_counters(const char *path, struct counters *c,
			 const char * const *prefixes)
{
	const char * const *prefix;
	char *line = NULL, *end;
	size_t size = 0, len;
	long long value;
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		len = strcspn(line, "\n: ");
		for (prefix = prefixes; prefix && *prefix; prefix++)
			if (!strncmp(line, *prefix, strlen(*prefix)))
				break;
		if (prefixes && !*prefix)
			continue;
		value = strtoll(line + len + (line[len] == ':'), &end, 10);
		if (end != line + len)
			add_counter(c, line, len, value);
	}
	free(line);
	fclose(f);
	return 0;
}

static void read_vmstat(struct report *r)
{
	static const char * const vmstat[] = {
		"nr_no_direct_map", "no_direct_map_", "ephmap_", "secret_",
		"direct_map_", NULL
	};
	static const char * const meminfo[] = { "DirectMap", NULL };
	int err;

	err = read_counters("/proc/vmstat", &r->group[G_VMSTAT], vmstat);
	if (err)
		die(1, "/proc/vmstat: %s", strerror(-err));
	err = read_counters("/proc/meminfo", &r->group[G_DIRECT_MAP], meminfo);
	if (err)
		could_not_read(r, "/proc/meminfo", -err);
}

static bool has_no_direct_map(const struct report *r)
{
	return find_counter(&r->group[G_VMSTAT], "nr_no_direct_map");
}

static bool has_ephmap(const struct report *r)
{
	return find_counter(&r->group[G_VMSTAT], "ephmap_sessions");
}

static int compare_counters(const void *a, const void *b)
{
	const struct counter *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	return strcmp(x->name, y->name);
}

/*
 * Lines of "COUNT INSTRUCTION", the most frequent first. Two functions may have
 * the same name.
 */
static int read_sites(struct counters *c)
{
	char *line = NULL, *site;
	struct counter *same;
	size_t size = 0;
	long long count;
	FILE *f;

	f = fopen(DEBUGFS "/asi/exits", "re");
	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		count = strtoll(line, &site, 10);
		site += strspn(site, " ");
		site[strcspn(site, "\n")] = 0;
		same = find_counter(c, site);
		if (same)
			same->value += count;
		else
			add_counter(c, site, strlen(site), count);
	}
	free(line);
	fclose(f);
	if (c->nr)
		qsort(c->v, c->nr, sizeof(*c->v), compare_counters);
	return 0;
}

static void read_kvm(struct report *r)
{
	static const char * const names[] = { "gmem_moved", "gmem_zap_sections" };
	char path[128], buf[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), DEBUGFS "/kvm/%s", names[i]);
		if (read_line(path, buf, sizeof(buf)))
			add_counter(&r->group[G_KVM], names[i],
				    strlen(names[i]), strtoll(buf, NULL, 10));
	}
}

static void read_debugfs(struct report *r)
{
	struct statfs st;
	int err;

	if (access(DEBUGFS, X_OK)) {
		could_not_read(r, DEBUGFS, errno);
		return;
	}
	if (statfs(DEBUGFS, &st) || st.f_type != DEBUGFS_MAGIC) {
		/* Nothing is mounted there. */
		could_not_read(r, DEBUGFS, ENODEV);
		return;
	}
	read_kvm(r);
	err = read_counters(DEBUGFS "/asi/stats", &r->group[G_ASI], NULL);
	if (err == -ENOENT) {
		r->asi = ASI_OFF;
		return;
	}
	r->asi = ASI_ON;
	if (err)
		could_not_read(r, DEBUGFS "/asi/stats", -err);
	err = read_sites(&r->group[G_ASI_SITES]);
	if (err)
		could_not_read(r, DEBUGFS "/asi/exits", -err);
}

/* === Pageblocks =========================================================== */

static struct block_row *find_row(struct report *r, int node, const char *zone,
				  const char *type)
{
	struct block_row *row;
	size_t i;

	for (i = 0; i < r->nr_rows; i++) {
		row = &r->rows[i];
		if (row->node == node && !strcmp(row->zone, zone) &&
		    !strcmp(row->type, type))
			return row;
	}
	r->rows = grow(r->rows, r->nr_rows, sizeof(*r->rows));
	row = &r->rows[r->nr_rows++];
	row->node = node;
	row->zone = xstrndup(zone, strlen(zone));
	row->type = xstrndup(type, strlen(type));
	return row;
}

/* Free pages by order; ">" before a number: there are more. */
static void add_free_pages(struct block_row *row, char *counts)
{
	char *word, *save;
	int order = 0;

	for (word = strtok_r(counts, "\n ", &save); word;
	     word = strtok_r(NULL, "\n ", &save)) {
		if (*word == '>') {
			row->at_least = true;
			if (!*++word)
				continue;
		}
		row->free_pages += strtoull(word, NULL, 10) << order++;
	}
}

/* Names of free lists, as the heading of the block counts has them. */
struct headings {
	char		*v[32];
	size_t		nr;
};

static void read_headings(struct headings *types, char *line)
{
	char *word, *save;

	for (word = strtok_r(line, "\n ", &save);
	     word && types->nr < ARRAY_SIZE(types->v);
	     word = strtok_r(NULL, "\n ", &save))
		types->v[types->nr++] = xstrndup(word, strlen(word));
}

static void free_headings(struct headings *types)
{
	while (types->nr)
		free(types->v[--types->nr]);
}

static void read_zone(struct report *r, const struct headings *types,
		      char *line)
{
	char zone[32], type[32], *word;
	int node, at = 0;
	size_t i;

	if (sscanf(line, "Node %d, zone %31[^ ,], type %31s %n", &node, zone,
		   type, &at) == 3 && at) {
		add_free_pages(find_row(r, node, zone, type), line + at);
		return;
	}
	if (sscanf(line, "Node %d, zone %31s %n", &node, zone, &at) != 2 || !at)
		return;
	for (i = 0, word = line + at; i < types->nr; i++)
		find_row(r, node, zone, types->v[i])->blocks =
			strtoull(word, &word, 10);
}

static const char *visibility_of(const struct report *r, const char *type)
{
	if (!strncmp(type, "Secret", 6))
		return "secret";
	if (!strncmp(type, "User", 4))
		return "user";
	if (!strcmp(type, "Isolate"))
		return "isolated";
	/* One list, of users with asi=on, else of the kernel. */
	if (!strcmp(type, "Movable") || !strcmp(type, "CMA"))
		return r->asi == ASI_ON ? "user" :
		       r->asi == ASI_OFF ? "kernel" : "kernel_or_user";
	return "kernel";
}

static void add_to(struct counters *c, const char *what, const char *unit,
		   unsigned long long value)
{
	struct counter *counter;
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", what, unit);
	counter = find_counter(c, name);
	if (counter)
		counter->value += value;
	else
		add_counter(c, name, strlen(name), value);
}

static void read_blocks(struct report *r)
{
	struct headings types = {};
	char *line = NULL;
	size_t size = 0, i;
	FILE *f;

	f = fopen("/proc/pagetypeinfo", "re");
	if (!f) {
		could_not_read(r, "/proc/pagetypeinfo", errno);
		return;
	}
	while (getline(&line, &size, f) > 0) {
		static const char blocks[] = "Number of blocks type";

		if (sscanf(line, "Pages per block: %lu", &r->block_pages) == 1)
			continue;
		if (!strncmp(line, blocks, strlen(blocks))) {
			free_headings(&types);
			read_headings(&types, line + strlen(blocks));
		} else if (!strncmp(line, "Number of mixed", 15)) {
			free_headings(&types);
		} else {
			read_zone(r, &types, line);
		}
	}
	if (ferror(f))
		could_not_read(r, "/proc/pagetypeinfo", errno);
	free_headings(&types);
	free(line);
	fclose(f);

	for (i = 0; i < r->nr_rows; i++) {
		struct block_row *row = &r->rows[i];
		const char *who = visibility_of(r, row->type);

		add_to(&r->group[G_BLOCKS], who, "blocks", row->blocks);
		add_to(&r->group[G_BLOCKS], who, "free_pages", row->free_pages);
	}
}

/* === The report =========================================================== */

static void read_report(struct report *r)
{
	memset(r, 0, sizeof(*r));
	clock_gettime(CLOCK_REALTIME, &r->when);
	clock_gettime(CLOCK_MONOTONIC, &r->mono);
	read_vmstat(r);
	read_debugfs(r);
	read_blocks(r);
	scan_processes(r);
}

static double seconds_between(const struct timespec *a, const struct timespec *b)
{
	return b->tv_sec - a->tv_sec + (b->tv_nsec - a->tv_nsec) / 1e9;
}

/* A file's pages, as far as they are known; -1: they are not. */
static long long file_pages(struct secret_file *file)
{
	if (file->type == GUEST_MEMFD)
		return value_of(&file->gmem, "pages");
	return file->mapped.unknown ? -1 : (long long)count_pages(&file->mapped);
}

static long long file_hidden(struct secret_file *file)
{
	if (file->type == GUEST_MEMFD)
		return value_of(&file->gmem, "hidden");
	return file_pages(file);
}

static long long holder_mapped(struct holder *holder)
{
	return holder->mapped.unknown ? -1 :
	       (long long)count_pages(&holder->mapped);
}

static void format_time(const struct report *r, char *buf, size_t size)
{
	struct tm tm;

	gmtime_r(&r->when.tv_sec, &tm);
	strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* --- text ----------------------------------------------------------------- */

static const char *plural(long long nr)
{
	return nr == 1 ? "" : "s";
}

static void print_number(long long value, int width)
{
	if (value < 0)
		printf(" %*s", width, "?");
	else
		printf(" %*lld", width, value);
}

/* A command's name is its process' choice. */
static void print_command(const char *s)
{
	int width = 16;

	for (; *s && width; s++, width--)
		putchar(isprint((unsigned char)*s) ? *s : '?');
	printf("%*s", width, "");
}

static void print_holders(struct report *r)
{
	const struct counters *vmstat = &r->group[G_VMSTAT];
	long long found = 0, pages;
	bool unknown = false;
	size_t i;

	for (i = 0; i < r->nr_files; i++) {
		pages = file_hidden(&r->files[i]);
		unknown |= pages < 0;
		found += pages < 0 ? 0 : pages;
	}
	printf("Secret memory, in pages of %ld kB: %s%lld hidden in %zu file%s",
	       page_size / 1024, unknown ? "at least " : "", found,
	       r->nr_files, plural(r->nr_files));
	if (has_no_direct_map(r))
		printf("; the kernel counts %lld in %lld",
		       value_of(vmstat, "nr_no_direct_map"),
		       value_of(vmstat, "nr_no_direct_map_files"));
	putchar('\n');

	if (r->nr_holders)
		printf("  %7s %-16s %-11s %10s %5s %5s %10s %10s\n", "PID",
		       "COMMAND", "TYPE", "INODE", "FDS", "MAPS", "PAGES",
		       "MAPPED");
	for (i = 0; i < r->nr_holders; i++) {
		struct holder *holder = &r->holders[i];
		struct secret_file *file = &r->files[holder->file];

		printf("  %7d ", holder->pid);
		print_command(holder->command);
		printf(" %-11s %10llu %5u %5u", type_names[file->type],
		       (unsigned long long)file->ino, holder->fds, holder->maps);
		print_number(file_pages(file), 10);
		print_number(holder_mapped(holder), 10);
		putchar('\n');
	}
}

static void print_gmem(const struct report *r)
{
	size_t i, j;

	for (i = 0; i < r->nr_files; i++) {
		const struct secret_file *file = &r->files[i];

		if (file->type != GUEST_MEMFD)
			continue;
		printf("guest_memfd, inode %llu:", (unsigned long long)file->ino);
		for (j = 0; j < file->gmem.nr; j++) {
			const struct counter *c = &file->gmem.v[j];

			printf(strcmp(c->name, "flags") ? " %s %lld" : " %s %#llx",
			       c->name, c->value);
		}
		puts(file->gmem.nr ? "" :
		     file->asked ? " this kernel's fdinfo does not tell" :
				   " no descriptor was found");
	}
}

static void print_group(const struct report *r, const struct report *before,
			enum group group)
{
	const struct counters *c = &r->group[group];
	const struct counter *old;
	size_t i;

	if (!c->nr)
		return;
	printf("%s:\n", groups[group].text);
	for (i = 0; i < c->nr; i++) {
		if (group == G_ASI_SITES && i == TOP_SITES) {
			printf("  (%zu more)\n", c->nr - i);
			break;
		}
		printf("  %-40s %14lld", c->v[i].name, c->v[i].value);
		old = before ? find_counter(&before->group[group],
					    c->v[i].name) : NULL;
		if (before)
			printf(" %+14lld",
			       c->v[i].value - (old ? old->value : 0));
		putchar('\n');
	}
}

static void print_unread(const struct report *r)
{
	size_t i;

	for (i = 0; i < r->nr_unread; i++)
		printf("Could not read %s: %s\n", r->unread[i].what,
		       r->unread[i].err == ENODEV ? "debugfs is not mounted" :
		       strerror(r->unread[i].err));
	if (r->denied)
		printf("Could not look at %u process%s: %s\n", r->denied,
		       r->denied == 1 ? "" : "es", strerror(EACCES));
}

static void print_text(struct report *r, const struct report *before,
		       bool repeated)
{
	char when[32];
	int group;

	if (repeated) {
		format_time(r, when, sizeof(when));
		printf("--- %s", when);
		if (before)
			printf(", differences of %.3f s",
			       seconds_between(&before->mono, &r->mono));
		putchar('\n');
	}
	if (!has_no_direct_map(r))
		puts("This kernel lacks the ephmap series, or CONFIG_NO_DIRECT_MAP");
	else if (!has_ephmap(r))
		puts("This kernel has no ephmap: secret memory does not move");
	print_holders(r);
	print_gmem(r);
	for (group = 0; group < NR_GROUPS; group++) {
		if (group == G_ASI)
			printf("asi=%s\n", asi_names[r->asi]);
		print_group(r, before, group);
	}
	print_unread(r);
}

/* --- JSON ----------------------------------------------------------------- */

/* How many bytes the UTF-8 character at @s has; 0: it is none. */
static int utf8_length(const unsigned char *s)
{
	int len = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 :
		  (*s & 0xf0) == 0xe0 ? 3 : *s >= 0xf0 && *s < 0xf5 ? 4 : 0;
	int i;

	for (i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Too long, a surrogate, or beyond the last character. */
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static void json_string(const char *string)
{
	const unsigned char *s = (const unsigned char *)string;
	int len;

	putchar('"');
	while (*s) {
		len = utf8_length(s);
		if (!len)
			fputs("\\ufffd", stdout);
		else if (*s < 0x20 || *s == 0x7f)
			printf("\\u%04x", *s);
		else if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else
			fwrite(s, 1, len, stdout);
		s += len ?: 1;
	}
	putchar('"');
}

static void json_number(const char *name, long long value)
{
	if (value < 0)
		printf(",\"%s\":null", name);
	else
		printf(",\"%s\":%lld", name, value);
}

static void json_counters(const struct counters *c, const struct counters *old)
{
	const struct counter *was;
	size_t i;

	putchar('{');
	for (i = 0; i < c->nr; i++) {
		if (i)
			putchar(',');
		json_string(c->v[i].name);
		was = old ? find_counter(old, c->v[i].name) : NULL;
		printf(":%lld", c->v[i].value - (was ? was->value : 0));
	}
	putchar('}');
}

static void json_files(struct report *r)
{
	size_t i;

	fputs(",\"files\":[", stdout);
	for (i = 0; i < r->nr_files; i++) {
		struct secret_file *file = &r->files[i];

		printf("%s{\"type\":\"%s\",\"device\":\"%u:%u\",\"inode\":%llu",
		       i ? "," : "", type_names[file->type], major(file->dev),
		       minor(file->dev), (unsigned long long)file->ino);
		json_number("size", file->size);
		json_number("pages", file_pages(file));
		json_number("hidden", file_hidden(file));
		if (file->gmem.nr) {
			fputs(",\"gmem\":", stdout);
			json_counters(&file->gmem, NULL);
		}
		putchar('}');
	}
	putchar(']');
}

static void json_holders(struct report *r)
{
	size_t i;

	fputs(",\"holders\":[", stdout);
	for (i = 0; i < r->nr_holders; i++) {
		struct holder *holder = &r->holders[i];
		struct secret_file *file = &r->files[holder->file];

		printf("%s{\"pid\":%d,\"command\":", i ? "," : "", holder->pid);
		json_string(holder->command);
		printf(",\"type\":\"%s\",\"inode\":%llu,\"fds\":%u,\"maps\":%u",
		       type_names[file->type], (unsigned long long)file->ino,
		       holder->fds, holder->maps);
		json_number("mapped_pages", holder_mapped(holder));
		putchar('}');
	}
	putchar(']');
}

/* Zones have many lists, and most are empty. */
static void json_blocks(const struct report *r)
{
	bool first = true;
	size_t i;

	if (!r->block_pages) {
		fputs(",\"blocks\":null", stdout);
		return;
	}
	printf(",\"blocks\":{\"pages_per_block\":%lu,\"lists\":[", r->block_pages);
	for (i = 0; i < r->nr_rows; i++) {
		const struct block_row *row = &r->rows[i];

		if (!row->blocks && !row->free_pages)
			continue;
		printf("%s{\"node\":%d,\"zone\":", first ? "" : ",", row->node);
		json_string(row->zone);
		fputs(",\"type\":", stdout);
		json_string(row->type);
		printf(",\"visibility\":\"%s\"", visibility_of(r, row->type));
		json_number("blocks", row->blocks);
		json_number("free_pages", row->free_pages);
		printf(",\"at_least\":%s}", row->at_least ? "true" : "false");
		first = false;
	}
	fputs("]}", stdout);
}

static void json_groups(const struct report *r, const struct report *before)
{
	int group;

	for (group = 0; group < NR_GROUPS; group++) {
		printf(",\"%s\":", groups[group].json);
		json_counters(&r->group[group], NULL);
	}
	if (!before)
		return;
	printf(",\"differences\":{\"seconds\":%.3f",
	       seconds_between(&before->mono, &r->mono));
	for (group = 0; group < NR_GROUPS; group++) {
		printf(",\"%s\":", groups[group].json);
		json_counters(&r->group[group], &before->group[group]);
	}
	putchar('}');
}

/* One line, so that several are JSON Lines. */
static void print_json(struct report *r, const struct report *before)
{
	struct utsname uts;
	char when[32];
	size_t i;

	format_time(r, when, sizeof(when));
	uname(&uts);
	printf("{\"time\":\"%s\",\"kernel\":{\"release\":", when);
	json_string(uts.release);
	printf(",\"page_size\":%ld,\"no_direct_map\":%s,\"ephmap\":%s,\"asi\":\"%s\"}",
	       page_size, has_no_direct_map(r) ? "true" : "false",
	       has_ephmap(r) ? "true" : "false", asi_names[r->asi]);
	json_files(r);
	json_holders(r);
	json_blocks(r);
	json_groups(r, before);
	fputs(",\"unread\":[", stdout);
	for (i = 0; i < r->nr_unread; i++) {
		fputs(i ? ",{\"what\":" : "{\"what\":", stdout);
		json_string(r->unread[i].what);
		fputs(",\"why\":", stdout);
		json_string(strerror(r->unread[i].err));
		putchar('}');
	}
	printf("],\"processes_denied\":%u}\n", r->denied);
}

/* === main ================================================================= */

static void print_report(struct report *r, const struct report *before,
			 bool repeated)
{
	if (json)
		print_json(r, before);
	else
		print_text(r, before, repeated);
	errno = 0;
	if (fflush(stdout) || ferror(stdout))
		die(1, "standard output: %s", strerror(errno ?: EIO));
}

/* Whole intervals from the first report on; those that are missed are left out. */
static void wait_for_next(struct timespec *next, unsigned long interval)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	do
		next->tv_sec += interval;
	while (seconds_between(&now, next) <= 0);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) == EINTR)
		;
}

static unsigned long parse_number(const char *what, const char *arg)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(arg, &end, 10);
	if (!isdigit((unsigned char)*arg) || *end || errno || !value ||
	    value > INT_MAX)
		die(2, "%s is not a whole number above 0: %s", what, arg);
	return value;
}

static void print_usage(void)
{
	puts("usage: ephmap-stat [-j] [interval [count]]\n"
	     "\n"
	     "Tell who holds secret memory, and what the ephmap and Address Space\n"
	     "Isolation do: once, or every INTERVAL seconds, COUNT times or for ever.\n"
	     "\n"
	     "  -j, --json   JSON, a line for each report\n"
	     "  -h, --help   this text");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	struct report reports[2], *before = NULL, *now = &reports[0];
	unsigned long interval = 0, count = 1, i;
	struct timespec next;
	int c;

	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'h':
			print_usage();
			return 0;
		default:
			return 2;
		}
	}
	argv += optind;
	argc -= optind;
	if (argc > 2)
		die(2, "too many arguments: %s", argv[2]);
	if (argc > 0) {
		interval = parse_number("interval", argv[0]);
		count = argc > 1 ? parse_number("count", argv[1]) : ULONG_MAX;
	}

	page_size = sysconf(_SC_PAGESIZE);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (i = 0; i < count; i++) {
		if (i)
			wait_for_next(&next, interval);
		read_report(now);
		print_report(now, before, interval);
		if (before)
			free_report(before);
		before = now;
		now = &reports[before == &reports[0]];
	}
	free_report(before);
	return 0;
}
