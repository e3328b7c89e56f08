// SPDX-License-Identifier: GPL-2.0
/*
 * Secret memory that moves: every way in, what follows a page to its new
 * place, what holds after a failure, and who must leave such pages alone.
 * Each test names the condition it is for, M2 to M22.
 *
 * Every word of every page is verified after every move. With ephmap=off, or
 * on a kernel without it, the same tests assert the stock behaviour: the pages
 * stay where they are, and nothing is lost (M22).
 *
 * Who must not read such pages is in secretmem_access.c, races are in
 * secretmem_stress.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/suspend_ioctls.h>

#include "secretmem_test.h"

#define CGROUP		"/sys/fs/cgroup/"

#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON		100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

/*
 * The end of most tests: content, and where the pages are. @moved says how
 * many are where they ought to be if they can move.
 */
static int verdict(const struct secret *s, size_t moved)
{
	size_t want = sm_on ? s->nr : 0;
	size_t wrong = sm_wrong(s);

	sm_note("%zu of %zu moved, %zu wrong words", moved, s->nr, wrong);
	return moved == want && !wrong ? KSFT_PASS : KSFT_FAIL;
}

/* For means that choose the pages themselves: some, or with stock none. */
static int verdict_some(const struct secret *s, size_t moved)
{
	size_t wrong = sm_wrong(s);

	sm_note("%zu of %zu moved, %zu wrong words", moved, s->nr, wrong);
	return !!moved == sm_on && !wrong ? KSFT_PASS : KSFT_FAIL;
}

/*
 * Secret pages, all on one node: most tests start so. What is not to be had
 * ends the test, which has a process of its own.
 */
static void new_secret(struct secret *s, size_t nr, int node)
{
	int err = sm_new(s, nr, node);
	size_t there;

	if (err)
		exit(sm_fail("memfd_secret: %s", strerror(-err)));
	there = sm_on_node(s, node);
	if (there != nr)
		exit(sm_fail("only %zu of %zu pages start on node %d", there,
			     nr, node));
}

/* ---------------------------------------------------- M14: every way in */

static int test_move_pages(void)
{
	struct secret s;
	long ret;

	new_secret(&s, sm_nr, sm_from);
	ret = sm_move(&s, sm_to);
	if (sm_on ? ret != 0 : ret <= 0)
		return sm_fail("move_pages returned %ld", ret);
	if (sm_on && sm_move(&s, sm_from))
		return sm_fail("could not move back");
	if (sm_on && sm_move(&s, sm_to))
		return sm_fail("could not move again");
	return verdict(&s, sm_on_node(&s, sm_to));
}

static int test_mbind(void)
{
	struct secret s;
	long ret;

	new_secret(&s, sm_nr, sm_from);
	ret = sm_mbind(s.mem, s.nr * SM_PAGE, sm_to, SM_MPOL_MF_MOVE);
	if (ret)
		return sm_fail("mbind: %s", strerror(errno));
	return verdict(&s, sm_on_node(&s, sm_to));
}

static int test_migrate_pages(void)
{
	unsigned long from = 1UL << sm_from, to = 1UL << sm_to;
	struct secret s;
	long ret;

	new_secret(&s, sm_nr, sm_from);
	ret = syscall(__NR_migrate_pages, 0, 8 * sizeof(from), &from, &to);
	if (ret < 0)
		return sm_fail("migrate_pages: %s", strerror(errno));
	return verdict(&s, sm_on_node(&s, sm_to));
}

/* A control group of its own with the controllers named ("+cpuset"). */
static int cgroup_make(const char *name, const char *controllers, char *dir,
		       size_t len)
{
	char path[256];
	int err;

	if (!sm_exists(CGROUP "cgroup.procs"))
		return -ENOENT;
	err = sm_write(CGROUP "cgroup.subtree_control", controllers);
	if (err)
		return err;
	snprintf(dir, len, CGROUP "%s.%d", name, getpid());
	if (mkdir(dir, 0755) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	return sm_write(path, "0");
}

static void cgroup_drop(const char *dir)
{
	sm_write(CGROUP "cgroup.procs", "0");
	rmdir(dir);
}

static int test_cpuset(void)
{
	char dir[128], path[160];
	struct secret s;
	int err, ret;

	err = cgroup_make("sm_cpuset", "+cpuset", dir, sizeof(dir));
	if (err)
		return sm_skip("no cpuset controller: %s", strerror(-err));
	snprintf(path, sizeof(path), "%s/cpuset.mems", dir);
	err = sm_writef(path, "%d", sm_from);
	if (err)
		return sm_skip("cpuset.mems: %s", strerror(-err));
	new_secret(&s, sm_nr, sm_from);
	sm_writef(path, "%d", sm_to);
	for (int i = 0; i < 50 && sm_on && sm_on_node(&s, sm_to) < s.nr; i++)
		sm_sleep_ms(100);
	ret = verdict(&s, sm_on_node(&s, sm_to));
	cgroup_drop(dir);
	return ret;
}

/* Two mappings here, one in a child that forked, one in a child that mapped. */
static int test_shared(void)
{
	struct secret s, second;
	int pipefd[2], status, ret = KSFT_PASS;
	size_t wrong = 0;
	pid_t pid[2];
	char c;

	new_secret(&s, sm_nr, sm_from);
	second = s;
	if (sm_map(&second) || pipe(pipefd))
		return sm_fail("second mapping: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		/* Map it all before the move, verify after. */
		if (i && sm_map(&s))
			exit(1);
		wrong = sm_wrong(&s);
		close(pipefd[1]);
		while (read(pipefd[0], &c, 1) > 0)
			;
		exit(wrong || sm_wrong(&s));
	}
	/* Let both get there; the test is no weaker if one has not. */
	sm_sleep_ms(200);

	/* Pages of several processes move only when asked for all. */
	sm_move_pid(0, s.mem, s.nr, sm_to, SM_MPOL_MF_MOVE_ALL);
	close(pipefd[1]);
	for (int i = 0; i < 2; i++) {
		waitpid(pid[i], &status, 0);
		if (status)
			ret = sm_fail("child %d saw wrong words", i);
	}
	if (sm_wrong(&second))
		ret = sm_fail("wrong words in the second mapping");
	return ret == KSFT_PASS ? verdict(&s, sm_on_node(&s, sm_to)) : ret;
}

/* A stranger moves the pages: no code path may lean on current->mm. */
static int test_other_process(void)
{
	struct secret s;
	int status;
	pid_t pid;

	new_secret(&s, sm_nr, sm_from);
	pid = fork();
	if (!pid) {
		void *mem = s.mem;

		/* With a mapping here the pages would count as shared. */
		sm_close(&s);
		sm_move_pid(getppid(), mem, s.nr, sm_to, SM_MPOL_MF_MOVE);
		exit(0);
	}
	waitpid(pid, &status, 0);
	return verdict(&s, sm_on_node(&s, sm_to));
}

/*
 * Secret memory of which three of four pages were given back: it is free in
 * pieces, in blocks that nobody else can use until what is left has moved
 * together. Little other memory is free on the node.
 */
struct fragments {
	struct secret	s;
	struct ballast	ballast;
	__u64	*pfns;
	long	blocks;		/* without a direct map, before */
};

#define GAPS	3

static int fragments_make(struct fragments *f, int node, size_t nr)
{
	/* Of CMA memory about as much is left as of other memory. */
	size_t leave = 2 * (1 + GAPS) * nr + (4 << 8) +
		       sm_zoneinfo(node, "nr_free_cma");
	struct secret gaps;
	int err;

	memset(f, 0, sizeof(*f));
	if (__sm_zoneinfo(node, "Movable", "managed"))
		return sm_skip("node %d has a ZONE_MOVABLE", node);
	if (sm_node_free(node) < (long long)(leave + sm_node_reserve(node)))
		return sm_skip("node %d has too little free memory", node);
	if (!sm_ballast_take(&f->ballast, node, leave))
		return sm_fail("no memory for the ballast");
	err = sm_open(&f->s, nr);
	if (!err)
		err = sm_open(&gaps, GAPS * nr);
	if (err)
		return sm_fail("memfd_secret: %s", strerror(-err));
	sm_bind_task(node);
	for (size_t i = 0; i < nr; i++) {
		sm_fill_page(&f->s, i);
		for (size_t j = 0; j < GAPS; j++)
			sm_fill_page(&gaps, GAPS * i + j);
	}
	sm_bind_task(-1);
	f->pfns = sm_pfns(&f->s);
	/* From here on the kernel may begin by itself, some time. */
	f->blocks = sm_secret_blocks(node);
	sm_close(&gaps);
	return KSFT_PASS;
}

static void fragments_drop(struct fragments *f)
{
	sm_ballast_drop(&f->ballast);
	sm_close(&f->s);
	free(f->pfns);
}

/* With @wait it is another task that does it, and may be at it still. */
static int compact(int (*trigger)(const struct fragments *f), bool wait)
{
	unsigned int failed = 0;
	long before, after;
	struct fragments f;
	int ret;

	ret = fragments_make(&f, sm_to, sm_long ? 16384 : 2048);
	if (ret != KSFT_PASS)
		return ret;
	before = f.blocks;
	ret = trigger(&f);
	after = sm_secret_blocks(sm_to);
	while (wait && sm_on && after >= before && sm_try_again(&failed)) {
		sm_sleep_ms(500);
		after = sm_secret_blocks(sm_to);
	}
	if (ret == KSFT_PASS)
		ret = verdict_some(&f.s, sm_moved(&f.s, f.pfns));
	sm_note("blocks without a direct map: %ld before, %ld after", before,
		after);
	if (ret == KSFT_PASS && sm_on && after >= before)
		ret = sm_fail("no block was given back");
	fragments_drop(&f);
	return ret;
}

static int trigger_memory(const struct fragments *f)
{
	int err = sm_write("/proc/sys/vm/compact_memory", "1");

	(void)f;
	return err ? sm_skip("compact_memory: %s", strerror(-err)) : KSFT_PASS;
}

static int test_compact_memory(void)
{
	return compact(trigger_memory, false);
}

static int trigger_node(const struct fragments *f)
{
	char path[128];
	int err;

	(void)f;
	snprintf(path, sizeof(path), SM_NODES "node%d/compact", sm_to);
	err = sm_write(path, "1");
	return err ? sm_skip("%s: %s", path, strerror(-err)) : KSFT_PASS;
}

static int test_compact_node(void)
{
	return compact(trigger_node, false);
}

#define PROACTIVENESS	"/proc/sys/vm/compaction_proactiveness"

static int trigger_proactive(const struct fragments *f)
{
	long long before = sm_read_num(PROACTIVENESS);
	unsigned int failed = 0;

	if (before < 0)
		return sm_skip("no %s", PROACTIVENESS);
	/* A write wakes kcompactd; so may its own timeout. */
	do {
		sm_write(PROACTIVENESS, "100");
		sm_sleep_ms(100);
	} while (!sm_moved(&f->s, f->pfns) && sm_try_again(&failed));
	sm_writef(PROACTIVENESS, "%lld", before);
	return KSFT_PASS;
}

static int test_compact_proactive(void)
{
	return compact(trigger_proactive, true);
}

static int trigger_direct(const struct fragments *f)
{
	long long before;
	char path[160];

	snprintf(path, sizeof(path), SM_NODES
		 "node%d/hugepages/hugepages-2048kB/nr_hugepages", sm_to);
	before = sm_read_num(path);
	if (before < 0)
		return sm_skip("no hugetlb pages");
	/*
	 * More than what is free in one piece: some must be made. After a
	 * failure compaction is put off, for up to 64 times.
	 */
	for (int i = 0; i < 70 && !sm_moved(&f->s, f->pfns); i++)
		sm_writef(path, "%lld", sm_read_num(path) +
			  sm_node_free(sm_to) / 512);
	sm_note("%lld huge pages", sm_read_num(path) - before);
	sm_writef(path, "%lld", before);
	return KSFT_PASS;
}

static int test_compact_direct(void)
{
	return compact(trigger_direct, true);
}

static int test_offline(void)
{
	__u64 per_block = sm_block_pages(), first;
	struct secret s;
	bool made;
	size_t in;
	int block, err, ret;

	if (!per_block)
		return sm_skip("no memory hotplug");
	block = sm_block_movable(sm_to, &made);
	if (block < 0)
		return sm_skip("no movable memory block on node %d", sm_to);
	first = block * per_block;
	if (sm_new(&s, sm_nr, sm_to)) {
		ret = sm_fail("memfd_secret: %s", strerror(errno));
		goto out;
	}
	ret = KSFT_PASS;
	/* With a large ZONE_MOVABLE they may be in another of its blocks. */
	if (sm_block_is(sm_pfn(s.mem) / per_block, "valid_zones", "Movable") &&
	    !made) {
		block = sm_pfn(s.mem) / per_block;
		first = block * per_block;
	}
	in = sm_in_range(&s, first, first + per_block);
	sm_note("memory%d holds %zu of %zu", block, in, s.nr);
	if (!sm_on) {
		/* Stock secret pages are not movable: none may be here. */
		ret = in || sm_wrong(&s) ? KSFT_FAIL : KSFT_PASS;
		goto out;
	}
	if (!in) {
		ret = sm_fail("ZONE_MOVABLE was not used");
		goto out;
	}
	for (int i = 0; i < 2; i++) {
		err = sm_block_set(block, "offline", 60);
		if (err == -EINVAL && !made)
			return sm_skip("memory%d cannot go offline", block);
		if (err) {
			ret = sm_fail("offline: %s", strerror(-err));
			goto out;
		}
		if (sm_in_range(&s, first, first + per_block) || sm_wrong(&s))
			ret = sm_fail("%zu still there, %zu wrong words",
				      sm_in_range(&s, first, first + per_block),
				      sm_wrong(&s));
		err = sm_block_set(block, "online_movable", 60);
		if (err) {
			ret = sm_fail("online: %s", strerror(-err));
			goto out;
		}
		/* The second time around, with pages that were moved in. */
		if (!i) {
			sm_move(&s, sm_from);
			sm_move(&s, sm_to);
		}
	}
	if (sm_wrong(&s))
		ret = sm_fail("%zu wrong words", sm_wrong(&s));
out:
	sm_block_restore(block, made);
	return ret;
}

struct cma {
	char		dir[300];
	long long	base, count;	/* page frames */
	int		node;
};

static bool cma_find(struct cma *cma)
{
	char path[512];
	struct dirent *d;
	DIR *dir = opendir(SM_DEBUGFS "cma");

	memset(cma, 0, sizeof(*cma));
	while (dir && cma->count <= 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(cma->dir, sizeof(cma->dir), SM_DEBUGFS "cma/%s",
			 d->d_name);
		snprintf(path, sizeof(path), "%s/base_pfn", cma->dir);
		cma->base = sm_read_num(path);
		snprintf(path, sizeof(path), "%s/count", cma->dir);
		cma->count = sm_read_num(path);
	}
	if (dir)
		closedir(dir);
	for (cma->node = 0; cma->node < 64; cma->node++)
		if (sm_block_on_node(cma->base / sm_block_pages(), cma->node))
			break;
	return cma->base > 0 && cma->count > 0 && cma->node < 64;
}

/* CMA memory is used when it is all there is for movable pages. */
static size_t cma_fill(const struct cma *cma, struct secret *s)
{
	struct ballast ballast;
	size_t in = 0;

	if (!sm_ballast_take(&ballast, cma->node,
			     cma->count + sm_nr + (4 << 8)))
		return 0;
	if (!sm_open(s, sm_node_free(cma->node) -
		     sm_zoneinfo(cma->node, "nr_free_cma") + 2 * sm_nr)) {
		sm_prefer_node(cma->node);
		for (size_t i = 0; i < s->nr; i++)
			sm_fill_page(s, i);
		sm_bind_task(-1);
		in = sm_in_range(s, cma->base, cma->base + cma->count);
		sm_note("area at pfn %#llx holds %zu of %zu", cma->base, in,
			s->nr);
	}
	sm_ballast_drop(&ballast);
	return in;
}

static int test_cma(void)
{
	char path[512];
	struct secret s = { .fd = -1 };
	struct cma cma;
	long long nr;
	size_t in = 0;
	int err;

	if (!cma_find(&cma))
		return sm_skip("no CMA area in debugfs");
	if (__sm_zoneinfo(cma.node, "Movable", "managed"))
		return sm_skip("node %d has a ZONE_MOVABLE", cma.node);
	/* Memory that others free meanwhile may be used instead. */
	for (int i = 0; i < 3 && !in; i++) {
		sm_close(&s);
		in = cma_fill(&cma, &s);
		if (!sm_on)
			return in || sm_wrong(&s) ? KSFT_FAIL : KSFT_PASS;
	}
	if (!in)
		return sm_fail("CMA memory was not used");

	snprintf(path, sizeof(path), "%s/used", cma.dir);
	nr = cma.count - sm_read_num(path);
	snprintf(path, sizeof(path), "%s/alloc", cma.dir);
	err = sm_writef(path, "%lld", nr);
	in = sm_in_range(&s, cma.base, cma.base + cma.count);
	snprintf(path, sizeof(path), "%s/free", cma.dir);
	if (!err)
		sm_writef(path, "%lld", nr);
	sm_note("%zu wrong words", sm_wrong(&s));
	if (err)
		return sm_fail("CMA allocation: %s", strerror(-err));
	if (in)
		return sm_fail("%zu still there", in);
	return sm_wrong(&s) ? KSFT_FAIL : KSFT_PASS;
}

/* Soft offline of a page that is mapped, or in the page cache only. */
static int soft_offline(bool mapped)
{
	struct secret s;
	__u64 pfn;
	size_t page;
	int err, ret;

	if (!sm_exists(SM_MEMORY "soft_offline_page"))
		return sm_skip("no memory failure handling");
	new_secret(&s, 8, sm_from);
	page = s.nr / 2;
	pfn = sm_pfn(sm_page(&s, page));
	if (!mapped)
		sm_unmap(&s);
	err = sm_writef(SM_MEMORY "soft_offline_page", "%#llx",
			(unsigned long long)pfn * SM_PAGE);
	sm_note("returned %d", err);
	if (!mapped && sm_map(&s))
		return sm_fail("mmap: %s", strerror(errno));
	ret = sm_wrong(&s) ? sm_fail("%zu wrong words", sm_wrong(&s)) :
			     KSFT_PASS;
	if (sm_on) {
		if (err)
			ret = KSFT_FAIL;
		if (sm_pfn(sm_page(&s, page)) == pfn)
			ret = sm_fail("the page has not moved");
		if (!sm_kpf(pfn, SM_KPF_HWPOISON))
			ret = sm_fail("the old page is not set aside");
		if (sm_kpf(pfn, SM_KPF_BUDDY))
			ret = sm_fail("the old page was handed back");
		/* It does not keep its block from going offline and back. */
		if (!err && sm_unpoison(pfn, false))
			ret = KSFT_FAIL;
	} else if (err != -EBUSY || sm_pfn(sm_page(&s, page)) != pfn) {
		ret = sm_fail("stock returns -EBUSY and leaves it there");
	}
	return ret;
}

static int test_soft_offline(void)
{
	return soft_offline(true);
}

static int test_soft_offline_unmapped(void)
{
	return soft_offline(false);
}

/* Errors injected by address take a reference by GUP: there is none. */
static int test_madvise_inject(void)
{
	static const int advice[] = { MADV_SOFT_OFFLINE, MADV_HWPOISON };
	struct secret s;
	__u64 *pfns;

	new_secret(&s, 8, sm_from);
	pfns = sm_pfns(&s);
	for (size_t i = 0; i < ARRAY_SIZE(advice); i++) {
		if (!madvise(sm_page(&s, i), SM_PAGE, advice[i]))
			return sm_fail("madvise %d was not refused", advice[i]);
		if (errno == EINVAL)
			return sm_skip("no memory failure handling");
		if (errno != EFAULT)
			return sm_fail("madvise %d: %s", advice[i],
				       strerror(errno));
	}
	return sm_moved(&s, pfns) || sm_wrong(&s) ? KSFT_FAIL : KSFT_PASS;
}

/* ------------------------------------- M2, M16: what follows the page */

/* Flags that say what a page is, and not what happened to it lately. */
static const unsigned int kept_flags[] = {
	SM_KPF_UPTODATE, SM_KPF_LRU, SM_KPF_MMAP, SM_KPF_ANON,
	SM_KPF_SWAPCACHE, SM_KPF_SWAPBACKED, SM_KPF_UNEVICTABLE,
};

/* The flags of all pages, once they are off the per-CPU batches. */
static __u64 *all_flags(const struct secret *s)
{
	__u64 *flags = sm_pfns(s), all, kept;

	sm_write("/proc/sys/vm/drop_caches", "1");
	for (size_t i = 0; i < s->nr; i++) {
		all = sm_kpageflags(flags[i]);
		kept = 0;
		for (size_t k = 0; k < ARRAY_SIZE(kept_flags); k++)
			kept |= all & BIT_ULL(kept_flags[k]);
		flags[i] = kept;
	}
	return flags;
}

static int test_unevictable(void)
{
	__u64 *before, *after;
	struct secret s;
	size_t evictable = 0, changed = 0;

	new_secret(&s, sm_nr, sm_from);
	before = all_flags(&s);
	sm_move(&s, sm_to);
	after = all_flags(&s);
	for (size_t i = 0; i < s.nr; i++) {
		evictable += !(after[i] & BIT_ULL(SM_KPF_UNEVICTABLE));
		changed += after[i] != before[i];
	}
	if (evictable)
		return sm_fail("%zu of %zu pages are evictable", evictable,
			       s.nr);
	if (changed)
		return sm_fail("flags of %zu of %zu pages have changed",
			       changed, s.nr);
	return verdict(&s, sm_on_node(&s, sm_to));
}

static int test_pageblocks(void)
{
	long before = sm_unmovable_used(sm_to), taken;
	size_t nr = sm_long ? 16384 : 4096;
	struct secret s;

	if (before < 0)
		return sm_skip("no /proc/pagetypeinfo");
	new_secret(&s, nr, sm_to);
	taken = sm_unmovable_used(sm_to) - before;
	sm_note("%zu pages took %ld of unmovable pageblocks", nr, taken);
	/* What CPUs have in stock counts as taken already. */
	if (sm_on)
		return taken < (long)nr / 4 ? KSFT_PASS : KSFT_FAIL;
	return taken > (long)nr / 2 ? KSFT_PASS : KSFT_FAIL;
}

struct count {
	const char *name;
	long long from, to, sum;
};

static void count_all(struct count *c, size_t nr)
{
	sm_stat_refresh();
	for (size_t i = 0; i < nr; i++) {
		c[i].from = sm_node_vmstat(sm_from, c[i].name);
		c[i].to = sm_node_vmstat(sm_to, c[i].name);
		c[i].sum = c[i].from + c[i].to;
	}
}

static bool near(long long val, long long want, long long slack)
{
	return val >= want - slack && val <= want + slack;
}

static int test_counters(void)
{
	struct count before[] = {
		{ .name = "nr_file_pages" },
		{ .name = "nr_mapped" },
		{ .name = "nr_unevictable" },
		{ .name = "nr_no_direct_map" },
	};
	struct count after[ARRAY_SIZE(before)];
	long long slack, moved;
	int ret = KSFT_PASS;
	struct secret s;

	new_secret(&s, sm_nr, sm_from);
	slack = s.nr / 8 + 4;
	memcpy(after, before, sizeof(before));
	count_all(before, ARRAY_SIZE(before));
	sm_move(&s, sm_to);
	count_all(after, ARRAY_SIZE(after));
	moved = sm_on ? s.nr : 0;
	for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
		long long left = before[i].from - after[i].from;
		long long came = after[i].to - before[i].to;
		long long sum = after[i].sum - before[i].sum;

		/* nr_no_direct_map is the ephmap's. */
		if (before[i].from < 0)
			continue;
		if (!near(left, moved, slack) || !near(came, moved, slack) ||
		    !near(sum, 0, slack))
			ret = sm_fail("%s: %lld left, %lld came, sum %+lld",
				      before[i].name, left, came, sum);
		if (!strcmp(before[i].name, "nr_no_direct_map") && sum)
			ret = sm_fail("nr_no_direct_map: sum %+lld", sum);
	}
	return ret == KSFT_PASS ? verdict(&s, sm_on_node(&s, sm_to)) : ret;
}

/*
 * mlock(2) has no effect on secret memory, and so nothing of it may be left
 * on a page that moved.
 */
static int test_mlock(void)
{
	long long before, after;
	struct secret s;

	new_secret(&s, sm_nr, sm_from);
	sm_stat_refresh();
	before = sm_vmstat("nr_mlock");
	/* It may say so: no pages can be faulted in by GUP. */
	mlock(s.mem, s.nr * SM_PAGE);
	sm_move(&s, sm_to);
	munlock(s.mem, s.nr * SM_PAGE);
	sm_stat_refresh();
	after = sm_vmstat("nr_mlock");
	if (!near(after, before, 2))
		return sm_fail("nr_mlock %lld, then %lld", before, after);
	return verdict(&s, sm_on_node(&s, sm_to));
}

static sigjmp_buf bus_env;
static siginfo_t bus_info;
static bool bus_raised;

static void bus_handler(int sig, siginfo_t *info, void *ctx)
{
	(void)sig;
	(void)ctx;
	bus_info = *info;
	bus_raised = true;
	siglongjmp(bus_env, 1);
}

/* Whether a write to the address raises SIGBUS. */
static bool bus_error(void *addr)
{
	struct sigaction sa = {
		.sa_sigaction = bus_handler,
		.sa_flags = SA_SIGINFO,
	}, old;

	sigaction(SIGBUS, &sa, &old);
	bus_raised = false;
	if (!sigsetjmp(bus_env, 1))
		sm_set((char *)addr, 1);
	sigaction(SIGBUS, &old, NULL);
	return bus_raised;
}

/*
 * Exactly as many pages as RLIMIT_MEMLOCK says: one more is refused, before
 * moves and after, and all can be had again when the file is closed.
 */
static int test_rlimit(void)
{
	struct rlimit rlim = { sm_nr * SM_PAGE, sm_nr * SM_PAGE };
	struct secret s, more;
	size_t moved;
	int ret;

	setrlimit(RLIMIT_MEMLOCK, &rlim);
	new_secret(&s, sm_nr, sm_from);
	if (sm_open(&more, 1))
		return sm_fail("memfd_secret: %s", strerror(errno));
	if (!bus_error(more.mem))
		return sm_fail("RLIMIT_MEMLOCK has no effect");
	sm_move(&s, sm_to);
	moved = sm_on_node(&s, sm_to);
	if (!bus_error(more.mem))
		return sm_fail("moved pages are no longer accounted");
	ret = verdict(&s, moved);
	sm_close(&s);
	new_secret(&s, sm_nr, sm_from);
	if (!bus_error(more.mem))
		return sm_fail("the second time the limit has no effect");
	return ret;
}

/* "name N0=1 N1=2" of memory.numa_stat; -1: no such line. */
static long long memcg_numa(const char *dir, const char *name, int node)
{
	char path[160], line[512], key[16], *p;
	size_t len = strlen(name);
	long long val = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/memory.numa_stat", dir);
	snprintf(key, sizeof(key), " N%d=", node);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, len) || line[len] != ' ')
			continue;
		p = strstr(line, key);
		if (p)
			val = strtoll(p + strlen(key), NULL, 10) /
			      (long long)SM_PAGE;
	}
	fclose(f);
	return val;
}

static int test_memcg(void)
{
	long long charge[2], file[2], unevictable[2], slack;
	char dir[128], path[160];
	int err, ret = KSFT_PASS;
	struct secret s;
	size_t moved;

	err = cgroup_make("sm_memcg", "+memory", dir, sizeof(dir));
	if (err)
		return sm_skip("no memory controller: %s", strerror(-err));
	snprintf(path, sizeof(path), "%s/memory.current", dir);
	new_secret(&s, sm_nr, sm_from);
	slack = s.nr / 8 + 64;
	for (int i = 0; i < 2; i++) {
		int node = i ? sm_to : sm_from;

		if (i)
			sm_move(&s, sm_to);
		/* The statistics are flushed every 2 seconds. */
		sm_sleep_ms(2500);
		charge[i] = sm_read_num(path) / (long long)SM_PAGE;
		file[i] = memcg_numa(dir, "file", sm_on ? node : sm_from);
		unevictable[i] = memcg_numa(dir, "unevictable",
					    sm_on ? node : sm_from);
	}
	moved = sm_on_node(&s, sm_to);
	sm_note("charged %lld and %lld pages", charge[0], charge[1]);
	if (charge[0] < (long long)s.nr || !near(charge[1], charge[0], slack))
		ret = sm_fail("the charge has changed");
	if (!near(file[1], file[0], slack) || file[1] < (long long)s.nr - slack)
		ret = sm_fail("file pages %lld, then %lld", file[0], file[1]);
	if (!near(unevictable[1], unevictable[0], slack))
		ret = sm_fail("unevictable %lld, then %lld", unevictable[0],
			      unevictable[1]);
	if (ret == KSFT_PASS)
		ret = verdict(&s, moved);
	sm_close(&s);
	sm_sleep_ms(100);
	if (sm_read_num(path) / (long long)SM_PAGE >
	    charge[1] - (long long)s.nr + slack)
		ret = sm_fail("still charged after the close");
	cgroup_drop(dir);
	return ret;
}

/* How many of the pages are dirty, that is, not to be dropped. */
static size_t nr_dirty(const struct secret *s)
{
	__u64 *pfns = sm_pfns(s);
	size_t count = 0;

	for (size_t i = 0; i < s->nr; i++)
		count += sm_kpf(pfns[i], SM_KPF_DIRTY);
	free(pfns);
	return count;
}

/* The flag that keeps an unmapped page in the cache moves too. */
static int test_unmapped_stays(void)
{
	size_t moved, dirty;
	struct secret s;

	new_secret(&s, sm_nr, sm_from);
	dirty = nr_dirty(&s);
	if (!dirty)
		return sm_fail("pages that were written are not dirty");
	sm_move(&s, sm_to);
	if (nr_dirty(&s) < dirty)
		return sm_fail("%zu pages were dirty, %zu are", dirty,
			       nr_dirty(&s));
	moved = sm_on_node(&s, sm_to);
	sm_unmap(&s);
	sm_write("/proc/sys/vm/drop_caches", "3");
	if (sm_map(&s))
		return sm_fail("mmap: %s", strerror(errno));
	return verdict(&s, moved);
}

static int test_read_only(void)
{
	struct secret s;
	size_t moved;

	new_secret(&s, sm_nr, sm_from);
	mprotect(s.mem, s.nr * SM_PAGE, PROT_READ);
	sm_move(&s, sm_to);
	moved = sm_on_node(&s, sm_to);
	mprotect(s.mem, s.nr * SM_PAGE, PROT_NONE);
	sm_move(&s, sm_from);
	sm_move(&s, sm_to);
	mprotect(s.mem, s.nr * SM_PAGE, PROT_READ | PROT_WRITE);
	return verdict(&s, moved);
}

/* After the last close every page has its alias again, none is missing. */
static int test_close(void)
{
	long long start, now;
	struct secret s;

	sm_stat_refresh();
	start = sm_vmstat("nr_no_direct_map");
	if (start < 0)
		return sm_skip("no nr_no_direct_map");
	for (int i = 0; i < 4; i++) {
		new_secret(&s, sm_nr, sm_from);
		sm_move(&s, sm_to);
		sm_stat_refresh();
		now = sm_vmstat("nr_no_direct_map");
		if (now - start != (long long)s.nr)
			return sm_fail("%lld pages without alias, not %zu",
				       now - start, s.nr);
		sm_close(&s);
	}
	sm_stat_refresh();
	now = sm_vmstat("nr_no_direct_map");
	if (now != start)
		return sm_fail("%lld pages have lost their alias", now - start);
	return KSFT_PASS;
}

/* How many of the pages show a word of the secret by their alias. */
static size_t leaked_by_alias(const struct secret *s, const __u64 *pfns,
			      size_t *seen)
{
	static __u64 buf[SM_WORDS];
	int fd = open("/proc/kcore", O_RDONLY);
	size_t leaked = 0;
	__u64 offset;

	*seen = 0;
	for (size_t i = 0; fd >= 0 && i < s->nr; i++) {
		if (!sm_kcore_find(fd, pfns[i] * SM_PAGE, &offset) ||
		    pread(fd, buf, sizeof(buf), offset) != sizeof(buf))
			continue;
		(*seen)++;
		leaked += sm_leaked(s, buf, sizeof(buf));
	}
	if (fd >= 0)
		close(fd);
	return leaked;
}

/*
 * Freed pages hold nothing of the secret, as seen by their alias, and are
 * ordinary ones: the next owner may write.
 */
static int test_reuse(void)
{
	size_t len = 4 * sm_nr * SM_PAGE, bad = 0, leaked, seen;
	struct secret s;
	__u64 *mem, *pfns;

	new_secret(&s, sm_nr, sm_from);
	sm_move(&s, sm_to);
	sm_move(&s, sm_from);
	pfns = sm_pfns(&s);
	sm_close(&s);
	leaked = leaked_by_alias(&s, pfns, &seen);
	sm_note("%zu of %zu freed pages read", seen, s.nr);
	if (leaked)
		return sm_fail("%zu show words of the secret", leaked);
	for (int node = sm_from; ; node = sm_to) {
		mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(mem, len, MADV_NOHUGEPAGE);
		sm_mbind(mem, len, node, 0);
		for (size_t i = 0; i < len / sizeof(*mem); i++) {
			bad += mem[i] != 0;
			mem[i] = i;
		}
		for (size_t i = 0; i < len / sizeof(*mem); i++)
			bad += mem[i] != i;
		/* And through the direct map, by the kernel's own copies. */
		if (read(open("/dev/zero", O_RDONLY), mem, len) != (ssize_t)len)
			bad++;
		munmap(mem, len);
		if (node == sm_to)
			break;
	}
	return bad ? sm_fail("%zu wrong words in new pages", bad) : KSFT_PASS;
}

/* ------------------------------------------------------- M15: shootdowns */

static int test_shootdowns(void)
{
	long long zaps, flushes;
	struct secret s;
	double rate;

	new_secret(&s, 512, sm_from);
	zaps = sm_vmstat("direct_map_zaps");
	flushes = sm_vmstat("direct_map_zap_shootdowns");
	if (flushes < 0)
		return sm_fail("no direct_map_zap_shootdowns in /proc/vmstat");
	if (sm_move(&s, sm_to))
		return sm_fail("not all moved");
	zaps = sm_vmstat("direct_map_zaps") - zaps;
	flushes = sm_vmstat("direct_map_zap_shootdowns") - flushes;
	rate = (double)flushes / s.nr;
	sm_note("%lld zaps, %lld shootdowns, %.4f per page", zaps, flushes,
		rate);
	/* Whole blocks lose their alias, or none does: there was room. */
	if (zaps % 512 || !zaps != !flushes)
		return sm_fail("the counters do not agree");
	return rate <= 0.05 ? verdict(&s, sm_on_node(&s, sm_to)) : KSFT_FAIL;
}

/* ------------------------------------ M3, M11, M12: after any failure */

static long long fault_count(const char *reason)
{
	char name[64];

	snprintf(name, sizeof(name), "no_direct_map_migrate_fail_%s", reason);
	return sm_vmstat(name);
}

/*
 * Fail at one step, always: no page moves, none changes, and what was
 * prepared for it is taken back. Then fail now and then: all move at last.
 */
static int fault_at(enum sm_fail_step step, const char *reason)
{
	long long zapped, now, failed;
	unsigned int failures = 0;
	__u64 *pfns;
	struct secret s;
	int ret = KSFT_PASS;

	if (!sm_exists(SM_FAULT "steps"))
		return sm_skip("no CONFIG_FAIL_NO_DIRECT_MAP");
	new_secret(&s, sm_nr, sm_from);
	pfns = sm_pfns(&s);
	sm_stat_refresh();
	zapped = sm_vmstat("nr_no_direct_map");
	failed = fault_count(reason);

	if (sm_fault_on(step, -1))
		return sm_fail("cannot arm: %s", strerror(errno));
	if (sm_move(&s, sm_to) <= 0)
		ret = sm_fail("move_pages reports success");
	if (sm_mbind(s.mem, s.nr * SM_PAGE, sm_to, SM_MPOL_MF_MOVE))
		ret = sm_fail("mbind: %s", strerror(errno));
	sm_write("/proc/sys/vm/compact_memory", "1");
	sm_fault_off();

	failed = fault_count(reason) - failed;
	sm_note("failed %lld times", failed);
	sm_stat_refresh();
	now = sm_vmstat("nr_no_direct_map");
	if (failed < (long long)s.nr)
		ret = sm_fail("the failures are not counted");
	if (sm_moved(&s, pfns))
		ret = sm_fail("%zu pages are elsewhere", sm_moved(&s, pfns));
	if (sm_wrong(&s))
		ret = sm_fail("%zu wrong words", sm_wrong(&s));
	if (now != zapped)
		ret = sm_fail("%+lld pages without alias", now - zapped);

	/* A part of a batch fails; trying again moves all. */
	sm_fault_on(step, s.nr / 4);
	do {
		sm_move(&s, sm_to);
	} while (sm_on_node(&s, sm_to) < s.nr && sm_try_again(&failures));
	sm_fault_off();
	sm_stat_refresh();
	now = sm_vmstat("nr_no_direct_map");
	if (now != zapped)
		ret = sm_fail("then %+lld pages without alias", now - zapped);
	return ret == KSFT_PASS ? verdict(&s, sm_on_node(&s, sm_to)) : ret;
}

/*
 * The direct map cannot be changed: no block is hidden, nor a single page. What
 * finds room in blocks that are hidden may move, all else stays where it is, and
 * who touches new pages waits. Then all works again.
 */
static int fault_of_direct_map(enum sm_fail_step step)
{
	long long zapped, now, hidden;
	struct secret s, more;
	int status, ret = KSFT_PASS;
	pid_t child;
	bool waits;

	if (!sm_exists(SM_FAULT "steps"))
		return sm_skip("no CONFIG_FAIL_NO_DIRECT_MAP");
	new_secret(&s, sm_nr, sm_from);
	if (sm_open(&more, 8 * sm_nr))
		return sm_fail("memfd_secret: %s", strerror(errno));
	sm_stat_refresh();
	zapped = sm_vmstat("nr_no_direct_map");
	hidden = sm_vmstat("secret_block_hide");

	if (sm_fault_on(step, -1))
		return sm_fail("cannot arm: %s", strerror(errno));
	if (sm_move(&s, sm_to) < 0 && errno != ENOMEM)
		ret = sm_fail("move_pages: %s", strerror(errno));
	child = fork();
	if (!child) {
		for (size_t i = 0; i < more.nr; i++)
			sm_fill_page(&more, i);
		_exit(0);
	}
	sm_sleep_ms(300);
	waits = waitpid(child, &status, WNOHANG) == 0;
	hidden = sm_vmstat("secret_block_hide") - hidden;
	sm_fault_off();

	sm_note("%lld blocks hidden, %zu pages moved", hidden,
		sm_on_node(&s, sm_to));
	if (hidden)
		ret = sm_fail("blocks were hidden");
	if (!waits)
		ret = sm_fail("there was memory all the same");
	else if (waitpid(child, &status, 0) != child || status)
		ret = sm_fail("no memory afterwards: status %#x", status);
	if (sm_wrong(&s))
		ret = sm_fail("%zu wrong words", sm_wrong(&s));
	sm_close(&more);
	sm_stat_refresh();
	now = sm_vmstat("nr_no_direct_map");
	if (now != zapped)
		ret = sm_fail("%+lld pages without alias", now - zapped);

	sm_move(&s, sm_to);
	return ret == KSFT_PASS ? verdict(&s, sm_on_node(&s, sm_to)) : ret;
}

static int test_fail_refs(void)
{
	return fault_at(SM_FAIL_REFS, "refs");
}

static int test_fail_split(void)
{
	return fault_of_direct_map(SM_FAIL_SPLIT);
}

static int test_fail_zap(void)
{
	return fault_of_direct_map(SM_FAIL_ZAP);
}

static int test_fail_copy(void)
{
	return fault_at(SM_FAIL_COPY, "copy");
}

static int test_fail_switch(void)
{
	return fault_at(SM_FAIL_SWITCH, "mapping");
}

/*
 * Batches are copied several folios to a session. When that fails for a reason
 * that says nothing about the source, each folio is copied alone, and moves.
 */
static int test_fail_batch(void)
{
	long long failed;
	struct secret s;
	long left;

	if (!sm_exists(SM_FAULT "steps"))
		return sm_skip("no CONFIG_FAIL_NO_DIRECT_MAP");
	new_secret(&s, sm_nr, sm_from);
	failed = fault_count("copy");
	if (sm_fault_on(SM_FAIL_BATCH, -1))
		return sm_fail("cannot arm: %s", strerror(errno));
	left = sm_move(&s, sm_to);
	sm_fault_off();
	failed = fault_count("copy") - failed;
	sm_note("%ld pages stayed, %lld copies failed", left, failed);
	if (left || failed)
		return KSFT_FAIL;
	return verdict(&s, sm_on_node(&s, sm_to));
}

#define TRACE	"/sys/kernel/tracing/instances/sm_test/"

/* How many lines of the trace have both texts. */
static size_t traced(const char *a, const char *b)
{
	FILE *f = fopen(TRACE "trace", "re");
	char line[512];
	size_t nr = 0;

	while (f && fgets(line, sizeof(line), f))
		nr += strstr(line, a) && strstr(line, b);
	if (f)
		fclose(f);
	return nr;
}

/*
 * mbind(2) tries MIGRATE_ASYNC, which is 0, with all pages; and then, one by
 * one, MIGRATE_SYNC, which is 2, with those that have failed.
 */
static int test_trace_mode(void)
{
	const char *event = TRACE
		"events/no_direct_map/migrate_folio_no_direct_map/enable";
	size_t async, sync;
	struct secret s;

	if (!sm_exists(SM_FAULT "steps"))
		return sm_skip("no CONFIG_FAIL_NO_DIRECT_MAP");
	if (!sm_exists("/sys/kernel/tracing/instances"))
		mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mkdir(TRACE, 0700);
	if (sm_write(event, "1"))
		return sm_skip("no tracing: %s", strerror(errno));
	new_secret(&s, 16, sm_from);
	sm_fault_on(SM_FAIL_COPY, -1);
	sm_mbind(s.mem, s.nr * SM_PAGE, sm_to, SM_MPOL_MF_MOVE);
	sm_fault_off();
	sm_write(event, "0");
	async = traced("mode=0", "step=copy");
	sync = traced("mode=2", "step=copy");
	rmdir(TRACE);
	sm_note("%zu failures traced with mode=0, %zu with mode=2", async,
		sync);
	if (async > s.nr || sync < s.nr)
		return KSFT_FAIL;
	return sm_wrong(&s) ? KSFT_FAIL : KSFT_PASS;
}

/* ----------------------------------- M17: who leaves such pages alone */

/*
 * One task on a CPU of one node uses pages of the other, secret ones and, for
 * comparison, as many ordinary ones of the same kind: a file's, mapped shared,
 * and clean when the kernel looks at them, for it leaves dirty ones of files
 * alone. The ordinary ones have to move to the task. Each of its own, for a file
 * page becomes dirty when it moves.
 */
#define NUMA_TUNE	SM_DEBUGFS "sched/numa_balancing/"

struct hot {
	size_t	ordinary, secret;	/* pages that came to the task */
	size_t	wrong;
	int	err;
};

/* Pages of the file, first read: what is written to them later is not noted. */
static int hot_new(struct secret *s, size_t nr, bool secret)
{
	s->nr = nr;
	s->seed = ((__u64)getpid() << 32) + secret;
	s->fd = secret ? sm_memfd_secret() : memfd_create("hot", MFD_CLOEXEC);
	if (s->fd < 0 || ftruncate(s->fd, nr * SM_PAGE) || sm_map(s))
		return -errno;
	sm_bind_task(sm_to);
	for (size_t i = 0; i < nr; i++)
		sm_get((char *)sm_page(s, i));
	sm_bind_task(-1);
	for (size_t i = 0; i < nr; i++)
		sm_fill_page(s, i);
	return sm_on_node(s, sm_to) == nr ? 0 : -ENOMEM;
}

static size_t hot_use(const struct secret *s)
{
	size_t wrong = 0;

	for (size_t i = 0; i < s->nr; i++)
		wrong += sm_get((__u64 *)sm_page(s, i)) !=
			 sm_word(s->seed, i, 0);
	return wrong;
}

#define BALANCING	"/proc/sys/kernel/numa_balancing"

static void hot_task(struct hot *hot, int mode, size_t nr, double seconds)
{
	struct secret ordinary, secret;
	double now, end, half = 0;
	cpu_set_t set;

	/* A CPU of the other node; and only one, or the task would go there. */
	CPU_ZERO(&set);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&set); cpu++) {
		char path[128];

		snprintf(path, sizeof(path), SM_NODES "node%d/cpu%d", sm_from,
			 cpu);
		if (sm_exists(path))
			CPU_SET(cpu, &set);
	}
	if (sched_setaffinity(0, sizeof(set), &set)) {
		hot->err = -errno;
		return;
	}
	hot->err = hot_new(&ordinary, nr, false);
	if (!hot->err)
		hot->err = hot_new(&secret, nr, true);
	/* Not before: pages would leave while others are made. */
	sm_writef(BALANCING, "%d", mode);
	now = sm_now();
	end = now + seconds;
	/* When the ordinary pages have come, the secret ones get as long again. */
	while (!hot->err && now < end) {
		for (int i = 0; i < 100; i++)
			hot->wrong += hot_use(&ordinary) + hot_use(&secret);
		hot->ordinary = sm_on_node(&ordinary, sm_from);
		now = sm_now();
		if (!half && hot->ordinary >= nr / 2) {
			half = now;
			end = now + (now - end + seconds) + 1;
		}
	}
	if (hot->err)
		return;
	hot->secret = sm_on_node(&secret, sm_from);
	hot->wrong += sm_wrong(&ordinary) + sm_wrong(&secret);
}

/* @mode: 1 moves pages to where they are used, 2 promotes them to a fast tier. */
static int by_hinting_faults(int mode)
{
	static const char *const tune[][2] = {
		{ "scan_delay_ms", "10" },
		{ "scan_period_min_ms", "10" },
		{ "scan_period_max_ms", "50" },
	};
	long long before = sm_read_num(BALANCING);
	long long old[ARRAY_SIZE(tune)], hints;
	char path[128];
	struct hot *hot;
	pid_t pid;

	if (before < 0)
		return sm_skip("no NUMA balancing");
	for (size_t i = 0; i < ARRAY_SIZE(tune); i++) {
		snprintf(path, sizeof(path), NUMA_TUNE "%s", tune[i][0]);
		old[i] = sm_read_num(path);
		sm_write(path, tune[i][1]);
	}
	hints = sm_vmstat("numa_hint_faults");
	hot = mmap(NULL, sizeof(*hot), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* A task that is new takes the new periods. */
	pid = fork();
	if (!pid) {
		hot_task(hot, mode, sm_nr, sm_long ? 60 : 15);
		exit(0);
	}
	waitpid(pid, NULL, 0);
	hints = sm_vmstat("numa_hint_faults") - hints;
	sm_writef(BALANCING, "%lld", before);
	for (size_t i = 0; i < ARRAY_SIZE(tune); i++) {
		snprintf(path, sizeof(path), NUMA_TUNE "%s", tune[i][0]);
		sm_writef(path, "%lld", old[i]);
	}

	if (hot->err)
		return sm_fail("%s", strerror(-hot->err));
	sm_note("%lld hinting faults; %zu of %zu ordinary pages moved, %zu secret ones",
		hints, hot->ordinary, sm_nr, hot->secret);
	if (hot->wrong)
		return sm_fail("%zu wrong words", hot->wrong);
	if (hot->secret)
		return KSFT_FAIL;
	if (hot->ordinary < sm_nr / 2)
		return sm_skip("NUMA balancing did not do its work");
	return KSFT_PASS;
}

static int test_numa_balancing(void)
{
	return by_hinting_faults(1);
}

static int test_promotion(void)
{
	if (!sm_tiered(sm_from, sm_to))
		return sm_skip("no memory tiers");
	return by_hinting_faults(2);
}

/* A file's pages on a node, to compare secret pages with. */
static void new_ordinary(struct secret *s, size_t nr, int node)
{
	sm_init(s, nr);
	s->fd = memfd_create("ordinary", MFD_CLOEXEC);
	if (s->fd < 0 || ftruncate(s->fd, nr * SM_PAGE) || sm_map(s))
		exit(sm_fail("memfd_create: %s", strerror(errno)));
	sm_bind_task(node);
	for (size_t i = 0; i < nr; i++)
		sm_fill_page(s, i);
	sm_bind_task(-1);
	if (sm_on_node(s, node) != nr)
		exit(sm_fail("the ordinary pages do not start on node %d",
			     node));
	/* Those that wait for the LRU are nobody's to isolate. */
	sm_write("/proc/sys/vm/drop_caches", "1");
}

/*
 * The end: @came of the ordinary pages have moved, and no secret one. Those are
 * read first: reclaim may have unmapped what it moved.
 */
static int compared(const struct secret *s, const __u64 *pfns,
		    const struct secret *ordinary, size_t came)
{
	size_t wrong = sm_wrong(s) + sm_wrong(ordinary);
	size_t moved = sm_moved(s, pfns);

	sm_note("%zu of %zu ordinary pages moved, %zu secret ones", came,
		ordinary->nr, moved);
	if (wrong)
		return sm_fail("%zu wrong words", wrong);
	return !moved && came >= ordinary->nr / 2 ? KSFT_PASS : KSFT_FAIL;
}

/* Let a range of addresses hold all the pages. */
static void widen(__u64 *start, __u64 *end, const struct secret *s,
		  bool physical)
{
	for (size_t i = 0; i < s->nr; i++)
		sm_widen(start, end, physical ?
			 sm_pfn(sm_page(s, i)) * SM_PAGE :
			 (uintptr_t)sm_page(s, i));
}

/*
 * When the ordinary pages have gone, the secret ones get as long again, and a
 * second.
 */
static int damon(const char *action, bool physical)
{
	struct secret s, ordinary;
	__u64 *pfns, start = ~0ULL, end = 0;
	double begin, until;
	size_t came = 0;

	if (!sm_exists(SM_DAMON "nr_kdamonds"))
		return sm_skip("no DAMON in sysfs");
	new_secret(&s, sm_nr, sm_from);
	new_ordinary(&ordinary, sm_nr, sm_from);
	pfns = sm_pfns(&s);
	widen(&start, &end, &s, physical);
	widen(&start, &end, &ordinary, physical);

	if (sm_damon_start(action, physical ? 0 : getpid(), start, end, sm_to))
		return sm_fail("cannot start DAMON");
	begin = sm_now();
	for (until = begin + 30; sm_now() < until; sm_sleep_ms(50)) {
		if (came >= ordinary.nr / 2)
			continue;
		came = sm_on_node(&ordinary, sm_to);
		if (came >= ordinary.nr / 2)
			until = 2 * sm_now() - begin + 1;
	}
	came = sm_on_node(&ordinary, sm_to);
	sm_damon_stop();
	return compared(&s, pfns, &ordinary, came);
}

static int test_damon_hot(void)
{
	return damon("migrate_hot", true);
}

static int test_damon_cold(void)
{
	return damon("migrate_cold", true);
}

static int test_damon_hot_virtual(void)
{
	return damon("migrate_hot", false);
}

static int test_damon_cold_virtual(void)
{
	return damon("migrate_cold", false);
}

/* What reclaim takes from a fast node goes to a slow one. */
static int test_demotion(void)
{
	struct secret s, ordinary;
	char dir[128], path[160], before[16];
	__u64 *pfns;
	size_t came;
	int err;

	if (!sm_tiered(sm_from, sm_to))
		return sm_skip("no memory tiers");
	err = cgroup_make("sm_demotion", "+memory", dir, sizeof(dir));
	if (err)
		return sm_skip("no memory controller: %s", strerror(-err));
	new_secret(&s, sm_nr, sm_from);
	new_ordinary(&ordinary, sm_nr, sm_from);
	pfns = sm_pfns(&s);
	sm_read(SM_DEMOTION, before, sizeof(before));
	sm_write(SM_DEMOTION, "1");
	snprintf(path, sizeof(path), "%s/memory.reclaim", dir);
	for (int i = 0; i < 20; i++) {
		sm_writef(path, "%zu", ordinary.nr * SM_PAGE);
		came = sm_on_node(&ordinary, sm_to);
		if (came >= ordinary.nr / 2)
			break;
	}
	sm_writef(path, "%zu", 2 * ordinary.nr * SM_PAGE);
	sm_write(SM_DEMOTION, before);
	cgroup_drop(dir);
	return compared(&s, pfns, &ordinary, came);
}

/* How many pages are not mapped any longer where they were. */
static size_t gone(const struct secret *s, const __u64 *old)
{
	__u64 *pfns = sm_pfns(s);
	size_t nr = 0;

	for (size_t i = 0; i < s->nr; i++)
		nr += pfns[i] != old[i];
	free(pfns);
	return nr;
}

/*
 * DAMON wants pages out: secret ones, idle and clean, and ordinary ones that can
 * go without swap. When the ordinary pages have gone, the secret ones get as
 * long again, and a second.
 */
static int test_damon_pageout(void)
{
	__u64 *pfns, *old, start = ~0ULL, end = 0;
	struct secret s, ordinary;
	double begin, until;
	size_t went = 0;

	if (!sm_exists(SM_DAMON "nr_kdamonds"))
		return sm_skip("no DAMON in sysfs");
	if (sm_open(&s, sm_nr))
		return sm_fail("memfd_secret: %s", strerror(errno));
	for (size_t i = 0; i < s.nr; i++)
		sm_get((char *)sm_page(&s, i));
	sm_init(&ordinary, sm_nr);
	ordinary.mem = mmap(NULL, ordinary.nr * SM_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ordinary.mem == MAP_FAILED)
		return sm_fail("mmap: %s", strerror(errno));
	memset(ordinary.mem, 1, ordinary.nr * SM_PAGE);
	pfns = sm_pfns(&s);
	old = sm_pfns(&ordinary);
	widen(&start, &end, &s, true);
	widen(&start, &end, &ordinary, true);
	if (madvise(ordinary.mem, ordinary.nr * SM_PAGE, MADV_FREE))
		return sm_fail("MADV_FREE: %s", strerror(errno));
	/* Those that wait for the LRU are nobody's to isolate. */
	sm_write("/proc/sys/vm/drop_caches", "1");

	if (sm_damon_start("pageout", 0, start, end, sm_to))
		return sm_fail("cannot start DAMON");
	begin = sm_now();
	for (until = begin + 30; sm_now() < until; sm_sleep_ms(50)) {
		if (went >= ordinary.nr / 2)
			continue;
		went = gone(&ordinary, old);
		if (went >= ordinary.nr / 2)
			until = 2 * sm_now() - begin + 1;
	}
	sm_damon_stop();
	sm_note("%zu of %zu ordinary pages went, %zu secret ones", went,
		ordinary.nr, gone(&s, pfns));
	if (went < ordinary.nr / 2)
		return KSFT_FAIL;
	return gone(&s, pfns) ? KSFT_FAIL : KSFT_PASS;
}

#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"

/* A huge page of anonymous memory can be made, one of secret pages cannot. */
static int test_collapse(void)
{
	const size_t huge = 2UL << 20;
	long long scans, now = 0;
	char *mem, *secret;
	struct secret s;
	__u64 *pfns;

	new_secret(&s, huge / SM_PAGE, sm_from);
	munmap(s.mem, huge);
	mem = mmap(NULL, 3 * huge, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mem = (char *)(((uintptr_t)mem + huge - 1) & ~(huge - 1));
	/* At an address where a huge page of the file would fit. */
	secret = mmap(mem + huge, huge, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_FIXED, s.fd, 0);
	if (secret == MAP_FAILED)
		return sm_fail("mmap: %s", strerror(errno));
	s.mem = (__u64 *)secret;
	if (sm_wrong(&s))
		return sm_fail("%zu wrong words", sm_wrong(&s));
	pfns = sm_pfns(&s);
	madvise(mem, huge, MADV_NOHUGEPAGE);
	memset(mem, 1, huge);
	madvise(mem, huge, MADV_HUGEPAGE);
	if (madvise(mem, huge, MADV_COLLAPSE))
		return sm_skip("MADV_COLLAPSE: %s", strerror(errno));
	madvise(secret, huge, MADV_HUGEPAGE);
	if (!madvise(secret, huge, MADV_COLLAPSE))
		return sm_fail("MADV_COLLAPSE was not refused");
	sm_note("%s", strerror(errno));
	sm_write(KHUGEPAGED "scan_sleep_millisecs", "10");
	scans = sm_read_num(KHUGEPAGED "full_scans");
	for (int i = 0; i < 100 && now < scans + 2; i++) {
		sm_sleep_ms(50);
		now = sm_read_num(KHUGEPAGED "full_scans");
	}
	sm_write(KHUGEPAGED "scan_sleep_millisecs", "10000");
	sm_note("%lld scans by khugepaged", now - scans);
	return sm_wrong(&s) || sm_moved(&s, pfns) ? KSFT_FAIL : KSFT_PASS;
}

static int test_ksm(void)
{
	struct secret a;
	__u64 *pfns;
	char *anon;
	long long scans, shared;

	if (!sm_exists("/sys/kernel/mm/ksm/run"))
		return sm_skip("no KSM");
	new_secret(&a, 8, sm_from);
	anon = mmap(NULL, a.nr * SM_PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* The same in all pages, secret and anonymous. */
	for (size_t i = 0; i < a.nr; i++) {
		memset(sm_page(&a, i), 0x5a, SM_PAGE);
		memset(anon + i * SM_PAGE, 0x5a, SM_PAGE);
	}
	pfns = sm_pfns(&a);
	madvise(a.mem, a.nr * SM_PAGE, MADV_MERGEABLE);
	if (madvise(anon, a.nr * SM_PAGE, MADV_MERGEABLE))
		return sm_skip("MADV_MERGEABLE: %s", strerror(errno));
	sm_write("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	sm_write("/sys/kernel/mm/ksm/sleep_millisecs", "10");
	scans = sm_read_num("/sys/kernel/mm/ksm/full_scans");
	sm_write("/sys/kernel/mm/ksm/run", "1");
	for (int i = 0; i < 100 &&
	     sm_read_num("/sys/kernel/mm/ksm/full_scans") < scans + 4; i++)
		sm_sleep_ms(50);
	shared = sm_read_num("/sys/kernel/mm/ksm/pages_sharing");
	sm_write("/sys/kernel/mm/ksm/run", "2");
	sm_note("%lld ordinary pages merged", shared);
	if (sm_moved(&a, pfns))
		return sm_fail("%zu secret pages merged", sm_moved(&a, pfns));
	if (shared <= 0)
		return sm_skip("KSM did nothing at all");
	return shared < (long long)a.nr ? KSFT_PASS : KSFT_FAIL;
}

/*
 * Pages that were written are dirty, which alone keeps reclaim from them; so
 * there are pages too that were only read.
 */
static int test_reclaim(void)
{
	long long before, after;
	char dir[128], path[160];
	struct secret s, clean;
	__u64 *pfns;
	int err;

	err = cgroup_make("sm_reclaim", "+memory", dir, sizeof(dir));
	new_secret(&s, sm_nr, sm_from);
	sm_move(&s, sm_to);
	pfns = sm_pfns(&s);
	if (sm_open(&clean, sm_nr))
		return sm_fail("memfd_secret: %s", strerror(errno));
	for (size_t i = 0; i < clean.nr; i++)
		sm_get((char *)sm_page(&clean, i));
	sm_stat_refresh();
	before = sm_vmstat("nr_no_direct_map");
	madvise(s.mem, s.nr * SM_PAGE, MADV_COLD);
	madvise(s.mem, s.nr * SM_PAGE, MADV_PAGEOUT);
	madvise(clean.mem, clean.nr * SM_PAGE, MADV_PAGEOUT);
	if (!err) {
		snprintf(path, sizeof(path), "%s/memory.reclaim", dir);
		sm_writef(path, "%zu", clean.nr * SM_PAGE);
		sm_note("memory.reclaim");
	}
	snprintf(path, sizeof(path), SM_NODES "node%d/reclaim", sm_to);
	if (sm_exists(path)) {
		sm_writef(path, "%zu", clean.nr * SM_PAGE);
		sm_note("the node's reclaim");
	}
	sm_write("/proc/sys/vm/drop_caches", "3");
	/* Not mapped is not a reason either. */
	madvise(s.mem, s.nr * SM_PAGE, MADV_DONTNEED);
	madvise(clean.mem, clean.nr * SM_PAGE, MADV_DONTNEED);
	if (!err)
		sm_writef(path, "%zu", clean.nr * SM_PAGE);
	sm_write("/proc/sys/vm/drop_caches", "3");
	sm_stat_refresh();
	after = sm_vmstat("nr_no_direct_map");
	if (!err)
		cgroup_drop(dir);
	if (sm_wrong(&s))
		return sm_fail("%zu wrong words", sm_wrong(&s));
	if (sm_moved(&s, pfns))
		return sm_fail("%zu pages moved", sm_moved(&s, pfns));
	if (before != after)
		return sm_fail("%+lld pages without alias", after - before);
	return KSFT_PASS;
}

/* ------------------------------------------------------- M20: hwpoison */

/*
 * A memory error in one page: it is lost, for good. The others do not notice,
 * and still move.
 */
static int test_hwpoison(void)
{
	struct secret s, rest;
	long long alone = sm_vmstat("secret_page_fallback");
	size_t page = 3;
	__u64 pfn;
	int ret = KSFT_PASS;

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return sm_skip("no CONFIG_HWPOISON_INJECT");
	new_secret(&s, 8, sm_from);
	alone = sm_vmstat("secret_page_fallback") - alone;
	pfn = sm_pfn(sm_page(&s, page));
	if (sm_poison(pfn))
		return KSFT_FAIL;
	if (!bus_error(sm_page(&s, page)))
		ret = sm_fail("no SIGBUS");
	else if (bus_info.si_code != BUS_MCEERR_AR ||
		 (uintptr_t)bus_info.si_addr / SM_PAGE !=
		 (uintptr_t)sm_page(&s, page) / SM_PAGE)
		ret = sm_fail("SIGBUS with code %d at %p", bus_info.si_code,
			      bus_info.si_addr);

	for (size_t i = 0; i < s.nr; i++)
		if (i != page && sm_wrong_page(&s, i))
			ret = sm_fail("page %zu has wrong words", i);
	/* The others still move, on their own and past the bad one. */
	rest = s;
	rest.nr = page;
	if (sm_on && sm_move(&rest, sm_to))
		ret = sm_fail("the other pages do not move");
	sm_mbind(s.mem, s.nr * SM_PAGE, sm_to, SM_MPOL_MF_MOVE);
	for (size_t i = 0; i < s.nr; i++)
		if (i != page && sm_wrong_page(&s, i))
			ret = sm_fail("moved page %zu has wrong words", i);

	sm_close(&s);
	sm_write("/proc/sys/vm/compact_memory", "1");
	if (sm_still_poisoned(pfn) || (sm_on && sm_unpoison(pfn, alone)))
		ret = KSFT_FAIL;
	return ret;
}

/*
 * The block of a poisoned page stays, with the page in its file and without:
 * what is known about the page would go with the block, while the memory, and
 * the secret in it, might come back.
 */
static int test_hwpoison_block(void)
{
	__u64 per_block = sm_block_pages(), pfn = 0;
	struct secret s;
	bool made;
	int block, err;

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return sm_skip("no CONFIG_HWPOISON_INJECT");
	if (!per_block)
		return sm_skip("no memory hotplug");
	block = sm_block_movable(sm_to, &made);
	if (block < 0)
		return sm_skip("no movable memory block on node %d", sm_to);
	if (sm_new(&s, sm_nr, sm_to))
		return sm_fail("memfd_secret: %s", strerror(errno));
	for (size_t i = 0; i < s.nr && pfn / per_block != (__u64)block; i++)
		pfn = sm_pfn(sm_page(&s, i));
	if (pfn / per_block != (__u64)block)
		return sm_skip("no page in memory%d", block);
	if (sm_poison(pfn))
		return KSFT_FAIL;

	err = sm_block_set(block, "offline", 20);
	sm_note("with the file: %s", strerror(-err));
	if (err != -EBUSY)
		return KSFT_FAIL;
	sm_close(&s);
	err = sm_block_set(block, "offline", 20);
	sm_note("without: %s", strerror(-err));
	if (err != -EBUSY)
		return KSFT_FAIL;
	return sm_still_poisoned(pfn);
}

/* ------------------------------------- M21: hibernation and suspend */

static int test_hibernation(void)
{
	char disk[64];
	struct secret s;
	int err;

	if (sm_read("/sys/power/disk", disk, sizeof(disk)) < 0)
		return sm_skip("no hibernation");
	if (!strcmp(disk, "[disabled]"))
		return sm_skip("hibernation is disabled anyway");
	new_secret(&s, sm_nr, sm_from);
	sm_move(&s, sm_to);
	sm_read("/sys/power/disk", disk, sizeof(disk));
	if (strcmp(disk, "[disabled]"))
		return sm_fail("hibernation is offered: %s", disk);
	err = sm_write("/sys/power/state", "disk");
	if (!err)
		return sm_fail("hibernation was not refused");
	sm_note("refused with %s", strerror(-err));
	sm_close(&s);
	sm_read("/sys/power/disk", disk, sizeof(disk));
	if (!strcmp(disk, "[disabled]"))
		return sm_fail("still disabled without secrets");
	return KSFT_PASS;
}

#define FILES	"nr_no_direct_map_files"

/* A file counts from its first page on; one that has none keeps no secret. */
static int test_hibernation_untouched(void)
{
	long long before = sm_vmstat(FILES);
	int ret = KSFT_PASS;
	struct secret s;

	if (!sm_hibernation_offered())
		return sm_skip("no hibernation");
	if (before < 0)
		return sm_fail("no %s in /proc/vmstat", FILES);
	if (sm_open(&s, 4))
		return sm_fail("memfd_secret: %s", strerror(errno));
	if (!sm_hibernation_offered() || sm_vmstat(FILES) != before)
		ret = sm_fail("refused for a file without a page");
	sm_fill_page(&s, 2);
	if (sm_hibernation_offered() || sm_vmstat(FILES) != before + 1)
		ret = sm_fail("not refused for a file with a page");
	sm_unmap(&s);
	if (sm_hibernation_offered() || sm_vmstat(FILES) != before + 1)
		ret = sm_fail("not refused for a file that nobody maps");
	sm_close(&s);
	if (!sm_hibernation_offered() || sm_vmstat(FILES) != before)
		ret = sm_fail("still refused when the file is gone");
	return ret;
}

/* Whether the log names, and why, what it ought to name; else why not. */
static bool named(const char *what, const char *want)
{
	char line[1024];
	const char *wrong = sm_hibernation_refusal(line, sizeof(line));

	if (!wrong && strstr(line, want))
		return true;
	sm_note("%s: %s \"%s\"", what, wrong ?: "not named in", line);
	return false;
}

static int test_hibernation_names(void)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0, want[128];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int ret = KSFT_PASS, pair[2];
	struct secret s;
	pid_t child;

	if (!sm_hibernation_offered())
		return sm_skip("no hibernation");
	new_secret(&s, 8, sm_from);
	sm_holder(want, sizeof(want), getpid(), 8, "secretmem");
	if (!named("mapping and descriptor", want))
		ret = KSFT_FAIL;

	child = fork();
	if (!child) {
		pause();
		exit(0);
	}
	if (!named("parent", want))
		ret = KSFT_FAIL;
	sm_holder(want, sizeof(want), child, 8, "secretmem");
	if (!named("child", want))
		ret = KSFT_FAIL;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);

	sm_holder(want, sizeof(want), getpid(), 8, "secretmem");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return sm_fail("socketpair: %s", strerror(errno));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &s.fd, sizeof(int));
	if (sendmsg(pair[0], &msg, 0) != 1)
		return sm_fail("sendmsg: %s", strerror(errno));
	close(s.fd);
	if (!named("mapping", want))
		ret = KSFT_FAIL;
	munmap(s.mem, s.nr * SM_PAGE);
	if (!named("message", ", 1 held by no process that can be named"))
		ret = KSFT_FAIL;
	close(pair[0]);
	close(pair[1]);
	if (!sm_hibernation_offered())
		ret = sm_fail("still refused when the file is gone");
	return ret;
}

/* Secrets that come when permission to hibernate was given already. */
static int test_hibernation_device(void)
{
	int fd, image = 0, err = 0, ret = KSFT_PASS;
	struct secret s;

	if (!sm_hibernation_offered())
		return sm_skip("no hibernation");
	fd = open("/dev/snapshot", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return sm_skip("/dev/snapshot: %s", strerror(errno));
	new_secret(&s, sm_nr, sm_from);
	if (ioctl(fd, SNAPSHOT_FREEZE))
		return sm_fail("SNAPSHOT_FREEZE: %s", strerror(errno));
	if (ioctl(fd, SNAPSHOT_CREATE_IMAGE, &image))
		err = errno;
	/* Thaws as well, with an image and without. */
	close(fd);
	sm_note("SNAPSHOT_CREATE_IMAGE: %s", strerror(err));
	if (err != EPERM)
		ret = sm_fail("an image was made");
	if (sm_wrong(&s))
		ret = sm_fail("%zu wrong words", sm_wrong(&s));
	return ret;
}

/* The last close lets hibernation in when all pages are zeroed, not before. */
static int test_hibernation_close(void)
{
	size_t nr = sm_long ? 65536 : 8192;
	int pipefd[2], status, looks = 0;
	long long before, left;
	struct secret s;
	pid_t pid;
	char c;

	if (!sm_hibernation_offered())
		return sm_skip("no hibernation");
	sm_stat_refresh();
	before = sm_vmstat("nr_no_direct_map");
	if (sm_open(&s, nr) || pipe(pipefd))
		return sm_fail("memfd_secret: %s", strerror(errno));
	for (size_t i = 0; i < s.nr; i++)
		sm_fill_page(&s, i);
	pid = fork();
	if (!pid) {
		close(pipefd[1]);
		while (read(pipefd[0], &c, 1) > 0)
			;
		sm_close(&s);
		exit(0);
	}
	sm_close(&s);
	close(pipefd[1]);
	while (!sm_hibernation_offered() && !waitpid(pid, &status, WNOHANG))
		looks++;
	/* Some are pending in counters of CPUs; more can only be fewer. */
	left = sm_vmstat("nr_no_direct_map") - before;
	sm_note("after %d looks %lld of %zu pages left", looks, left, nr);
	if (left > (long long)nr / 16)
		return sm_fail("offered too early");
	waitpid(pid, &status, 0);
	return sm_hibernation_offered() ? KSFT_PASS : KSFT_FAIL;
}

/* pm_test=core: all the way to where the hardware would take over. */
static int test_suspend(void)
{
	char state[64];
	struct secret s;
	__u64 *pfns;
	size_t moved;
	int err;

	if (!sm_exists("/sys/power/pm_test"))
		return sm_skip("no CONFIG_PM_DEBUG");
	sm_read("/sys/power/state", state, sizeof(state));
	new_secret(&s, sm_nr, sm_from);
	sm_move(&s, sm_to);
	pfns = sm_pfns(&s);
	moved = sm_on_node(&s, sm_to);
	sm_write("/sys/module/suspend/parameters/pm_test_delay", "1");
	sm_write("/sys/power/pm_test", "core");
	err = sm_write("/sys/power/state", strstr(state, "mem") ? "mem" :
		       "freeze");
	sm_write("/sys/power/pm_test", "none");
	if (err)
		return sm_fail("suspend (%s): %s", state, strerror(-err));
	/* The blocks of what has been freed are packed at any time. */
	if (sm_moved(&s, pfns))
		sm_note("%zu pages moved", sm_moved(&s, pfns));
	if (sm_wrong(&s))
		return sm_fail("%zu wrong words", sm_wrong(&s));
	if (sm_on && (sm_move(&s, sm_from) || sm_move(&s, sm_to)))
		return sm_fail("pages no longer move");
	return verdict(&s, moved);
}

/* -------------------------------------------------------------------- */

static const struct sm_test tests[] = {
	{ .on = "M14: move_pages(2) moves every page, content intact",
	  .off = "M22: move_pages(2) moves none, content intact",
	  .fn = test_move_pages },
	{ .on = "M14: mbind(2) with MPOL_MF_MOVE moves every page",
	  .off = "M22: mbind(2) moves none",
	  .fn = test_mbind },
	{ .on = "M14: migrate_pages(2) moves every page",
	  .off = "M22: migrate_pages(2) moves none",
	  .fn = test_migrate_pages },
	{ .on = "M14: pages follow cpuset.mems",
	  .off = "M22: pages stay when cpuset.mems changes",
	  .fn = test_cpuset },
	{ .on = "M14: pages that several processes map move for all of them",
	  .off = "M22: pages that several processes map stay",
	  .fn = test_shared },
	{ .on = "M14: another process moves the pages",
	  .off = "M22: another process moves none",
	  .fn = test_other_process },
	{ .on = "M14: compact_memory moves pages",
	  .off = "M22: compact_memory moves none",
	  .fn = test_compact_memory },
	{ .on = "M14: compaction of one node moves pages",
	  .off = "M22: compaction of one node moves none",
	  .fn = test_compact_node },
	{ .on = "M14: proactive compaction by kcompactd moves pages",
	  .off = "M22: proactive compaction moves none",
	  .fn = test_compact_proactive },
	{ .on = "M14: direct compaction for huge pages moves pages",
	  .off = "M22: direct compaction moves none",
	  .fn = test_compact_direct },
	{ .on = "M14: a ZONE_MOVABLE block full of secret pages goes offline",
	  .off = "M22: no secret page is in ZONE_MOVABLE",
	  .fn = test_offline, .seconds = 300 },
	{ .on = "M14: a CMA allocation moves the pages in its way",
	  .off = "M22: no secret page is in a CMA area",
	  .fn = test_cma },
	{ .on = "M14: soft offline through sysfs moves the page",
	  .off = "M22: soft offline fails with -EBUSY",
	  .fn = test_soft_offline },
	{ .on = "M20: soft offline of a page mapped nowhere loses nothing",
	  .off = "M22: soft offline of a page mapped nowhere fails",
	  .fn = test_soft_offline_unmapped },
	{ .both = "M18: MADV_SOFT_OFFLINE and MADV_HWPOISON are refused",
	  .fn = test_madvise_inject },
	{ .on = "M2: a page stays unevictable, and keeps its flags, when it moves",
	  .off = "M22: pages are unevictable",
	  .fn = test_unevictable },
	{ .on = "M2: secret pages come from movable pageblocks",
	  .off = "M22: secret pages come from unmovable pageblocks",
	  .fn = test_pageblocks },
	{ .on = "M3: an extra reference gives -EAGAIN and no effect",
	  .fn = test_fail_refs },
	{ .on = "M11: a page-table split that fails changes nothing",
	  .fn = test_fail_split },
	{ .on = "M11: a direct-map zap that fails changes nothing",
	  .fn = test_fail_zap },
	{ .on = "M12: a machine check in the copy fails, changes nothing",
	  .fn = test_fail_copy },
	{ .on = "M11: a switch of the mapping that fails changes nothing",
	  .fn = test_fail_switch },
	{ .on = "M12: when a batch cannot be copied each page is copied alone",
	  .fn = test_fail_batch },
	{ .on = "M12: a copy that fails is traced with the mode of the migration",
	  .fn = test_trace_mode },
	{ .on = "M15: at most 0.05 TLB shootdowns per page in a batch of 512",
	  .fn = test_shootdowns },
	{ .on = "M16: node counters follow the page (M8)",
	  .off = "M22: node counters stay",
	  .fn = test_counters },
	{ .on = "M16: no trace of mlock(2) on a page that moved",
	  .off = "M22: mlock(2) has no effect",
	  .fn = test_mlock },
	{ .on = "M16: RLIMIT_MEMLOCK counts moved pages once",
	  .off = "M22: RLIMIT_MEMLOCK counts pages",
	  .fn = test_rlimit },
	{ .on = "M16: the memcg charge and statistics follow the page",
	  .off = "M22: the memcg charge stays",
	  .fn = test_memcg },
	{ .on = "M16: a moved page mapped nowhere stays in the page cache",
	  .off = "M22: a page mapped nowhere stays in the page cache",
	  .fn = test_unmapped_stays },
	{ .on = "M16: read-only and inaccessible mappings move",
	  .off = "M22: read-only and inaccessible mappings stay",
	  .fn = test_read_only },
	{ .on = "M11: after close every page has its alias again",
	  .fn = test_close },
	{ .on = "M10: freed pages are zeroed and ordinary",
	  .off = "M22: freed pages are zeroed and ordinary",
	  .fn = test_reuse },
	{ .on = "M17: NUMA balancing leaves secret pages alone",
	  .fn = test_numa_balancing },
	{ .on = "M17: promotion to a faster tier leaves secret pages alone",
	  .fn = test_promotion },
	{ .both = "M17: demotion to a slower tier leaves secret pages alone",
	  .fn = test_demotion },
	{ .both = "M17: DAMON's migrate_hot leaves secret pages alone",
	  .fn = test_damon_hot },
	{ .both = "M17: DAMON's migrate_cold leaves secret pages alone",
	  .fn = test_damon_cold },
	{ .both = "M17: DAMON's migrate_hot by address leaves secret pages alone",
	  .fn = test_damon_hot_virtual },
	{ .both = "M17: DAMON's migrate_cold by address leaves secret pages alone",
	  .fn = test_damon_cold_virtual },
	{ .both = "M17: DAMON's pageout leaves secret pages alone",
	  .fn = test_damon_pageout },
	{ .both = "M17: MADV_COLLAPSE and khugepaged leave secret pages alone",
	  .fn = test_collapse },
	{ .both = "M17: KSM does not merge secret pages",
	  .fn = test_ksm },
	{ .both = "M17: nothing reclaims secret pages",
	  .fn = test_reclaim },
	{ .both = "M21: hibernation is refused while secrets exist",
	  .fn = test_hibernation },
	{ .both = "M21: a file without a page does not keep hibernation away",
	  .fn = test_hibernation_untouched },
	{ .both = "M21: the log names who keeps hibernation away",
	  .fn = test_hibernation_names },
	{ .both = "M21: no image of secrets that came after permission",
	  .fn = test_hibernation_device },
	{ .both = "M21: hibernation is offered when the last page is zeroed",
	  .fn = test_hibernation_close },
	{ .on = "M21: suspend keeps the secrets, and they still move",
	  .off = "M22: suspend keeps the secrets",
	  .fn = test_suspend },
	{ .both = "M20: a memory error costs one page, for good",
	  .fn = test_hwpoison },
	/* The last one: the block is lost for the others. */
	{ .on = "M20: the memory block of a poisoned page stays online",
	  .fn = test_hwpoison_block },
};

int main(int argc, char **argv)
{
	return sm_main(argc, argv, tests, ARRAY_SIZE(tests));
}
