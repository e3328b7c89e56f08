// SPDX-License-Identifier: GPL-2.0
/*
 * guest_memfd without a direct map (GUEST_MEMFD_FLAG_NO_DIRECT_MAP), and
 * movable under a running guest (GUEST_MEMFD_FLAG_MOVABLE): the two flags in
 * all four combinations, shared memory of a default VM that the VMM maps, also
 * in folios of 2 MB (GUEST_MEMFD_FLAG_HUGE), and private memory of a
 * KVM_X86_SW_PROTECTED_VM that nobody maps. Each test names
 * the condition it is for, M1 to M21, or G1 to G18 for what a VMM asks for.
 *
 * The guest verifies every word, while its memory is moved by every means there
 * is. Without MOVABLE the same tests assert that it stays, and that nothing is
 * lost.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/stddef.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <linux/userfaultfd.h>
#include <asm/pvclock-abi.h>

#include "guest_memfd_vm.h"
#include "apic.h"
#include "svm_util.h"
#include "vmx.h"

/* Rounds of what is done again and again. */
static inline int rounds(int usual)
{
	return sm_long ? 20 * usual : usual;
}

/* Without MOVABLE all pages stay; with it, all have moved. */
static int verdict(const char *how, size_t moved, size_t nr)
{
	sm_note("%s: %zu of %zu moved", how, moved, nr);
	return moved == (gm_movable() ? nr : 0) ? KSFT_PASS : KSFT_FAIL;
}

/* For means that choose the pages themselves. */
static int verdict_some(const char *how, size_t moved, size_t nr)
{
	sm_note("%s: %zu of %zu moved", how, moved, nr);
	return !!moved == !!gm_movable() ? KSFT_PASS : KSFT_FAIL;
}

static int worse(int a, int b)
{
	return a == KSFT_PASS || (a == KSFT_SKIP && b == KSFT_FAIL) ? b : a;
}

/* The end of most tests: the guest is content, and so is the VMM. */
static int finish(struct gm *g, int ret)
{
	ret = worse(gm_stop(g), ret);
	if (gm_wrong(g))
		ret = sm_fail("the VMM sees %zu wrong words", gm_wrong(g));
	return ret;
}

/* ------------------------------------------------------- M1: who gets it */

/* The flags of VMs of one type: what is reported, and what is accepted. */
static int flags_of_type(unsigned long type, bool copies)
{
	const u64 all[] = { GM_NDM, GM_WRITE, GM_MOVABLE, GM_RDWR, GM_HUGE };
	u64 want = copies ? GM_WRITE | GM_MOVABLE | GM_RDWR | GM_HUGE |
			    (sm_on ? GM_NDM : 0) : 0, got;
	struct kvm_vm *vm = vm_create_barebones_type(type);
	int fd, ret = KSFT_PASS;

	got = vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS) &
	      (GM_NDM | GM_WRITE | GM_MOVABLE | GM_RDWR | GM_HUGE);
	if (got != want)
		ret = sm_fail("VM type %lu: flags %#lx, not %#lx", type, got,
			      want);
	for (unsigned int set = 0; set < 1 << ARRAY_SIZE(all); set++) {
		u64 flags = 0;

		for (unsigned int i = 0; i < ARRAY_SIZE(all); i++)
			flags |= set >> i & 1 ? all[i] : 0;
		fd = __vm_create_guest_memfd(vm, SZ_2M, flags);
		if (flags & ~want ? fd >= 0 || errno != EINVAL : fd < 0)
			ret = sm_fail("VM type %lu, flags %#lx: %s", type,
				      flags, fd < 0 ? strerror(errno) : "made");
		if (fd >= 0)
			close(fd);
	}
	kvm_vm_free(vm);
	return ret;
}

static int test_flags(void)
{
	u64 types = kvm_check_cap(KVM_CAP_VM_TYPES);
	int ret = KSFT_PASS, others = 0;

	for (unsigned long type = 0; type < 64; type++) {
		bool copies = type == KVM_X86_DEFAULT_VM ||
			      type == KVM_X86_SW_PROTECTED_VM;

		if (!(types >> type & 1))
			continue;
		others += !copies;
		ret = worse(flags_of_type(type, copies), ret);
	}
	if (!(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GM_NDM) == sm_on)
		ret = sm_fail("/dev/kvm says otherwise");
	sm_note("VM types %#lx, %d of them confidential", types, others);
	return ret;
}

/* Bits 0 to 3, as numbers: VMMs that are built elsewhere use them. */
static int test_flag_bits(void)
{
	const u64 bits = 1 | 2 | (sm_on ? 4 : 0) | 8;
	static char buf[SM_PAGE] __aligned(SM_PAGE);
	struct secret s = { .nr = 1 };
	struct kvm_vm *vm = vm_create_barebones();
	int ret = KSFT_PASS;

	sm_bind_task(sm_from);
	s.fd = __vm_create_guest_memfd(vm, SM_PAGE, bits);
	if (s.fd < 0)
		return sm_fail("flags %#lx: %s", bits, strerror(errno));
	if (pwrite(s.fd, buf, SM_PAGE, 0) != (ssize_t)SM_PAGE)
		ret = sm_fail("cannot be written: %s", strerror(errno));
	if (pread(s.fd, buf, 1, 0) != -1)
		ret = sm_fail("can be read");
	s.mem = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s.fd, 0);
	if (s.mem == MAP_FAILED)
		return sm_fail("mmap: %s", strerror(errno));
	sm_get((u64 *)s.mem);
	sm_move(&s, sm_to);
	if (sm_on_node(&s, sm_to))
		ret = sm_fail("can be moved");
	return ret;
}

/* ---------------------------------------------- M2: what pages they are */

/*
 * What VMs have freed that ended before is counted later, after grace periods of
 * RCU and by workers: wait for as many, and for a second without a change.
 */
static long settled_unmovable_used(int node)
{
	long was, used = sm_unmovable_used(node);

	for (int i = 0, same = 0; i < 200 && same < 10; i++) {
		if (i < 3)
			syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
		was = used;
		usleep(100000);
		used = sm_unmovable_used(node);
		same = used == was ? same + 1 : 0;
	}
	return used;
}

static int test_pageblocks(void)
{
	size_t nr = sm_long ? 16384 : 4096, evictable = 0;
	struct gm_frames frames;
	struct gm stock, g;
	long before, taken;

	/*
	 * What CPUs have in stock counts as taken already, and may be as much
	 * as the last test or the boot has freed: take it first, on one CPU,
	 * and stay on that CPU.
	 */
	sm_run_on(0);
	gm_new(&stock, 1, 4 * nr, gm_guest_strict);
	gm_allocate(&stock, sm_to);
	if (gm_cgroup_enter())
		return sm_skip("no memory controller");
	gm_new(&g, 1, nr, gm_guest_strict);
	before = settled_unmovable_used(sm_to);
	gm_allocate(&g, sm_to);
	taken = sm_unmovable_used(sm_to) - before;
	frames = gm_frames(g.s.nr);
	for (size_t i = 0; i < frames.nr; i++)
		evictable += !sm_kpf(frames.pfn[i], SM_KPF_LRU);
	sm_note("%zu pages took %ld of unmovable pageblocks, %zu unevictable",
		nr, taken, frames.nr);
	if (frames.nr != nr || evictable)
		return KSFT_FAIL;
	if (gm_movable())
		return taken < (long)nr / 4 ? KSFT_PASS : KSFT_FAIL;
	return taken > (long)nr / 2 ? KSFT_PASS : KSFT_FAIL;
}

/* -------------------------------- M5, M6, M14: every way in, under load */

static int test_move_pages(void)
{
	int nodes[] = { sm_from, sm_to }, ret = KSFT_PASS;
	size_t there = 0;
	struct gm g;

	gm_new_strict(&g, 2, gm_movable() ? sm_nr : sm_nr / 16);
	gm_start(&g);
	gm_wait(&g);
	for (int i = 1; i <= rounds(3) && ret == KSFT_PASS; i++) {
		there = gm_move(&g, nodes[i % 2]);
		gm_wait(&g);
		if (i % 2 == 0)
			continue;
		ret = there == (gm_movable() ? g.s.nr : 0) ? KSFT_PASS :
							     KSFT_FAIL;
	}
	return finish(&g, worse(ret, verdict("last", there, g.s.nr)));
}

static int test_mbind(void)
{
	unsigned int failed = 0;
	struct gm g;
	int ret;

	gm_new_strict(&g, 2, sm_nr / 16);
	gm_start(&g);
	gm_wait(&g);
	do {
		if (sm_mbind(g.s.mem, gm_size(&g), sm_to, SM_MPOL_MF_MOVE))
			return sm_fail("mbind: %s", strerror(errno));
	} while (gm_movable() && sm_on_node(&g.s, sm_to) < g.s.nr &&
		 sm_try_again(&failed));
	ret = verdict("mbind", sm_on_node(&g.s, sm_to), g.s.nr);
	gm_wait(&g);
	return finish(&g, ret);
}

static int test_migrate_pages(void)
{
	unsigned long from = 1UL << sm_from, to = 1UL << sm_to;
	unsigned int failed = 0;
	struct gm g;
	int ret;

	gm_new_strict(&g, 2, sm_nr / 16);
	gm_start(&g);
	gm_wait(&g);
	do {
		if (syscall(__NR_migrate_pages, 0, 8 * sizeof(from), &from,
			    &to) < 0)
			return sm_fail("migrate_pages: %s", strerror(errno));
	} while (gm_movable() && sm_on_node(&g.s, sm_to) < g.s.nr &&
		 sm_try_again(&failed));
	ret = verdict("migrate_pages", sm_on_node(&g.s, sm_to), g.s.nr);
	gm_wait(&g);
	return finish(&g, ret);
}

/* A page that is in use all the time moves, too. */
static int test_hot(void)
{
	int nodes[] = { sm_from, sm_to };
	size_t there = 0, moves = 0, nr = rounds(10);
	struct gm g;
	int ret;

	gm_new_strict(&g, 2, 2);
	gm_start(&g);
	gm_wait(&g);
	for (size_t i = 1; i <= nr; i++) {
		there = gm_move(&g, nodes[i % 2]);
		moves += there == g.s.nr;
	}
	sm_note("%zu of %zu times", moves, nr);
	ret = moves == nr ? KSFT_PASS : KSFT_FAIL;
	gm_wait(&g);
	return finish(&g, ret);
}

/*
 * Memory that the VMM does not map, or not any more: known by its page frames.
 */
static void unmapped_new(struct gm *g, size_t nr, int node)
{
	if (gm_cgroup_enter())
		exit(sm_skip("no memory controller, or no /proc/kpagecgroup"));
	gm_new(g, 2, nr, gm_guest_strict);
	gm_allocate(g, node);
}

#define GAPS	3

/* In memory without a direct map: other such memory between the guest's pages. */
static void fragment_secret(struct gm *g, int node)
{
	struct secret gaps;

	if (sm_open(&gaps, GAPS * g->s.nr))
		exit(sm_fail("memfd_secret: %s", strerror(errno)));
	sm_bind_task(node);
	for (size_t i = 0; i < g->s.nr; i++) {
		if (fallocate(g->s.fd, FALLOC_FL_KEEP_SIZE, i * SM_PAGE,
			      SM_PAGE))
			exit(sm_fail("fallocate: %s", strerror(errno)));
		for (size_t j = 0; j < GAPS; j++)
			sm_fill_page(&gaps, GAPS * i + j);
	}
	sm_bind_task(-1);
	sm_close(&gaps);
}

/*
 * Compaction fills the gaps high in a zone with what is low in it, and leaps
 * over blocks without any: the guest's pages in turn with others, over most of
 * what is free, and then the others freed.
 */
static void fragment(struct gm *g, struct ballast *ballast, int node)
{
	size_t len = gm_size(g);
	char *gaps;

	if (!sm_ballast_take(ballast, node, (gm_no_map() ? 8 : 2) * g->s.nr +
			     (4 << 8) + sm_zoneinfo(node, "nr_free_cma")))
		exit(sm_fail("no memory for the ballast"));
	if (gm_no_map()) {
		fragment_secret(g, node);
		return;
	}
	gaps = mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(gaps, len, MADV_NOHUGEPAGE);
	sm_bind_task(node);
	for (size_t off = 0; off < len; off += SM_PAGE) {
		if (fallocate(g->s.fd, FALLOC_FL_KEEP_SIZE, off, SM_PAGE))
			exit(sm_fail("fallocate: %s", strerror(errno)));
		sm_set(&gaps[off], 1);
	}
	sm_bind_task(-1);
	munmap(gaps, len);
}

static int compact(size_t nr, size_t *moved)
{
	struct ballast ballast = {};
	struct gm_frames was, now;
	int ret = KSFT_PASS;
	char path[128];
	struct gm g;

	gm_new(&g, 2, nr, gm_guest_strict);
	fragment(&g, &ballast, sm_to);
	gm_start(&g);
	gm_wait(&g);
	was = gm_frames(nr);
	snprintf(path, sizeof(path), SM_NODES "node%d/compact", sm_to);
	sm_write(path, "1");
	gm_wait(&g);
	/* A page that is moved meanwhile, in the background, may be missed. */
	for (unsigned int i = 0; i < 10; i++) {
		now = gm_frames(nr);
		if (now.nr == nr)
			break;
		usleep(100000);
	}
	*moved = gm_frames_new(&was, &now);
	if (now.nr != nr)
		ret = sm_fail("%zu of %zu pages left", now.nr, nr);
	ret = worse(gm_stop(&g), ret);
	sm_ballast_drop(&ballast);
	gm_free(&g);
	return ret;
}

/* It may leap over all gaps there are: then try with more. */
static int test_compaction(void)
{
	size_t nr = 2 * sm_nr, moved = 0;
	int ret;

	/* Most of the node's memory is filled first. */
	if (!sm_long && sm_exists("/proc/lockdep"))
		return sm_skip("takes a debug kernel minutes: see -l");
	if (gm_cgroup_enter())
		return sm_skip("no memory controller, or no /proc/kpagecgroup");
	for (size_t max = 4 * nr; ; nr *= 2) {
		ret = compact(nr, &moved);
		if (moved || nr == max || !gm_movable() || ret != KSFT_PASS)
			break;
	}
	return worse(verdict_some("compaction", moved, nr), ret);
}

/* A block of ZONE_MOVABLE full of guest memory goes offline. */
static int test_offline(void)
{
	u64 per_block = sm_block_pages(), first;
	struct gm_frames frames;
	int block, err, ret = KSFT_PASS;
	bool made;
	size_t in;
	struct gm g;

	if (!per_block)
		return sm_skip("no memory hotplug");
	block = sm_block_movable(sm_to, &made);
	if (block < 0)
		return sm_skip("no movable memory block on node %d", sm_to);
	first = block * per_block;
	unmapped_new(&g, sm_nr / 2, sm_to);
	gm_start(&g);
	gm_wait(&g);
	frames = gm_frames(g.s.nr);
	in = gm_frames_in(&frames, first, first + per_block);
	sm_note("memory%d holds %zu of %zu", block, in, frames.nr);
	if (!gm_movable()) {
		ret = in ? KSFT_FAIL : KSFT_PASS;
		goto out;
	}
	if (!in)
		ret = KSFT_FAIL;
	for (int i = 0; i < rounds(1) && ret == KSFT_PASS; i++) {
		err = sm_block_set(block, "offline", 60);
		if (err) {
			ret = sm_fail("offline: %s", strerror(-err));
			break;
		}
		gm_wait(&g);
		frames = gm_frames(g.s.nr);
		in = gm_frames_in(&frames, first, first + per_block);
		if (in || frames.nr != g.s.nr)
			ret = sm_fail("%zu still there, %zu in all", in,
				      frames.nr);
		err = sm_block_set(block, "online_movable", 60);
		if (err)
			ret = sm_fail("online: %s", strerror(-err));
	}
out:
	ret = worse(gm_stop(&g), ret);
	gm_free(&g);
	sm_block_restore(block, made);
	return ret;
}

static int test_soft_offline(void)
{
	const size_t nr = 3;
	struct gm_frames frames, now;
	int err = 0, ret = KSFT_PASS;
	struct gm g;

	if (!sm_exists(SM_MEMORY "soft_offline_page"))
		return sm_skip("no memory failure handling");
	unmapped_new(&g, sm_nr / 4, sm_from);
	gm_start(&g);
	gm_wait(&g);
	frames = gm_frames(g.s.nr);
	for (size_t i = 0; i < nr && i < frames.nr; i++) {
		unsigned int failed = 0;

		/* A vCPU may be busy with it. */
		do {
			err = sm_writef(SM_MEMORY "soft_offline_page", "%#lx",
					frames.pfn[i] * SM_PAGE);
		} while (err && gm_movable() && sm_try_again(&failed));
		if (!!err == !!gm_movable())
			ret = sm_fail("page %zu: %s", i, strerror(-err));
	}
	gm_wait(&g);
	now = gm_frames(g.s.nr);
	ret = worse(ret, now.nr == frames.nr ? KSFT_PASS : KSFT_FAIL);
	sm_note("%zu pages, then %zu", frames.nr, now.nr);
	if (gm_frames_new(&frames, &now) != (gm_movable() ? nr : 0))
		ret = sm_fail("%zu have moved", gm_frames_new(&frames, &now));
	for (size_t i = 0; i < nr; i++) {
		if (sm_kpf(frames.pfn[i], SM_KPF_HWPOISON) != !!gm_movable())
			ret = sm_fail("frame %zu is not as it should be", i);
		if (gm_movable())
			ret = worse(ret, sm_unpoison(frames.pfn[i], false));
	}
	return worse(gm_stop(&g), ret);
}

/* CMA memory is used when it is all there is for movable pages. */
static int test_cma(void)
{
	long long base = 0, count = 0, used;
	char dir[300], path[512];
	struct ballast ballast = {};
	struct gm_frames frames;
	struct dirent *d;
	struct gm g;
	size_t in, nr;
	int node, err, ret = KSFT_PASS;
	DIR *cma = opendir(SM_DEBUGFS "cma");

	while (cma && count <= 0 && (d = readdir(cma))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(dir, sizeof(dir), SM_DEBUGFS "cma/%s", d->d_name);
		snprintf(path, sizeof(path), "%s/base_pfn", dir);
		base = sm_read_num(path);
		snprintf(path, sizeof(path), "%s/count", dir);
		count = sm_read_num(path);
	}
	if (count <= 0)
		return sm_skip("no CMA area in debugfs");
	for (node = 0; node < 64; node++)
		if (sm_block_on_node(base / sm_block_pages(), node))
			break;
	if (__sm_zoneinfo(node, "Movable", "managed"))
		return sm_skip("node %d has a ZONE_MOVABLE", node);
	if (!sm_ballast_take(&ballast, node, count + sm_nr + (8 << 8)))
		return sm_fail("no memory for the ballast");

	if (gm_cgroup_enter())
		return sm_skip("no memory controller");
	nr = sm_node_free(node) - sm_zoneinfo(node, "nr_free_cma") +
	     2 * sm_nr;
	gm_new(&g, 2, nr, gm_guest_strict);
	sm_prefer_node(node);
	if (fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE, 0, gm_size(&g)))
		ret = sm_fail("fallocate: %s", strerror(errno));
	sm_bind_task(-1);
	sm_ballast_drop(&ballast);
	frames = gm_frames(g.s.nr);
	in = gm_frames_in(&frames, base, base + count);
	sm_note("area at pfn %#llx holds %zu of %zu", base, in, frames.nr);
	if (!in || ret != KSFT_PASS)
		return sm_fail("CMA memory was not used");

	gm_start(&g);
	gm_wait(&g);
	snprintf(path, sizeof(path), "%s/used", dir);
	used = sm_read_num(path);
	snprintf(path, sizeof(path), "%s/alloc", dir);
	err = sm_writef(path, "%lld", count - used);
	frames = gm_frames(g.s.nr);
	in = gm_frames_in(&frames, base, base + count);
	if (err)
		ret = sm_fail("CMA allocation: %s", strerror(-err));
	if (in || frames.nr != g.s.nr)
		ret = sm_fail("%zu still there, %zu in all", in, frames.nr);
	gm_wait(&g);
	snprintf(path, sizeof(path), "%s/free", dir);
	if (!err)
		sm_writef(path, "%lld", count - used);
	return worse(gm_stop(&g), ret);
}

/* --------------------------------- M3, M11, M12: references and failures */

/* Pages in a pipe have a reference more: they stay, the others move. */
static int test_extra_reference(void)
{
	const size_t nr = 8;
	struct iovec iov;
	unsigned int failed = 0;
	int pipefd[2], ret;
	u64 *pfns;
	struct gm g;
	size_t there;

	gm_new_strict(&g, 2, sm_nr / 4);
	iov.iov_base = g.s.mem;
	iov.iov_len = nr * SM_PAGE;
	if (pipe(pipefd) ||
	    vmsplice(pipefd[1], &iov, 1, 0) != (ssize_t)iov.iov_len)
		return sm_fail("vmsplice: %s", strerror(errno));
	gm_start(&g);
	gm_wait(&g);
	pfns = (u64 *)sm_pfns(&g.s);
	do {
		sm_move(&g.s, sm_to);
		there = sm_on_node(&g.s, sm_to);
	} while (there < g.s.nr - nr && sm_try_again(&failed));
	gm_wait(&g);
	ret = there == g.s.nr - nr ? KSFT_PASS : KSFT_FAIL;
	sm_note("%zu of %zu moved", there, g.s.nr);
	for (size_t i = 0; i < nr; i++)
		if (sm_pfn(sm_page(&g.s, i)) != pfns[i])
			ret = sm_fail("page %zu has moved", i);
	close(pipefd[0]);
	close(pipefd[1]);
	return finish(&g, worse(verdict("then", gm_move(&g, sm_to), g.s.nr),
				ret));
}

/* Under load, nothing moves and nothing is lost; afterwards, all moves. */
static int fault_at(enum sm_fail_step step)
{
	/* There may be room in blocks that have been taken out before. */
	const bool room = step == SM_FAIL_SPLIT || step == SM_FAIL_ZAP;
	long long zapped, now;
	int ret = KSFT_PASS;
	u64 *pfns;
	struct gm g;

	if (!sm_exists(SM_FAULT "steps"))
		return sm_skip("no CONFIG_FAIL_NO_DIRECT_MAP");
	gm_new_strict(&g, 2, sm_nr / 4);
	gm_start(&g);
	gm_wait(&g);
	pfns = (u64 *)sm_pfns(&g.s);
	sm_stat_refresh();
	zapped = sm_vmstat("nr_no_direct_map");
	if (sm_fault_on(step, -1))
		return sm_fail("cannot arm: %s", strerror(errno));
	if (sm_move(&g.s, sm_to) <= 0 && !room)
		ret = sm_fail("move_pages reports success");
	gm_wait(&g);
	sm_fault_off();
	if (sm_moved(&g.s, (__u64 *)pfns) && !room)
		ret = sm_fail("%zu pages are elsewhere",
			      sm_moved(&g.s, (__u64 *)pfns));
	sm_stat_refresh();
	now = sm_vmstat("nr_no_direct_map");
	if (now != zapped)
		ret = sm_fail("%+lld pages without alias", now - zapped);

	/* A part of a batch fails. */
	sm_fault_on(step, g.s.nr / 4);
	sm_move(&g.s, sm_to);
	sm_fault_off();
	gm_wait(&g);
	/* A huge folio for which no block was hidden is split, and unmapped. */
	gm_touch(&g);
	return finish(&g, worse(verdict("then", gm_move(&g, sm_to), g.s.nr),
				ret));
}

static int test_fail_refs(void)
{
	return fault_at(SM_FAIL_REFS);
}

static int test_fail_split(void)
{
	return fault_at(SM_FAIL_SPLIT);
}

static int test_fail_zap(void)
{
	return fault_at(SM_FAIL_ZAP);
}

static int test_fail_copy(void)
{
	return fault_at(SM_FAIL_COPY);
}

static int test_fail_switch(void)
{
	return fault_at(SM_FAIL_SWITCH);
}

/* ---------------------------------------------------------- M19: races */

/* Somebody who keeps moving pages of a guest to and fro. */
struct mover {
	struct gm	*g;
	pthread_t	thread;
	bool		stop;
	unsigned long	rounds;
};

static void mover_by_file(struct gm *g, int node)
{
	struct kvm_gmem_move move = { .size = gm_size(g), .node = node };

	/* Fails if the file is not movable. An unpatched kernel has no such call. */
	ioctl(g->s.fd, KVM_GMEM_MOVE, &move);
}

static void *mover_run(void *arg)
{
	int nodes[] = { sm_from, sm_to };
	struct mover *m = arg;

	while (!sm_get(&m->stop)) {
		/* Nobody maps it: by the file, and in turn by compaction. */
		if (gm_how.private && m->rounds++ % 4)
			mover_by_file(m->g, nodes[m->rounds % 2]);
		else if (gm_how.private)
			sm_write("/proc/sys/vm/compact_memory", "1");
		else
			sm_move(&m->g->s, nodes[++m->rounds % 2]);
	}
	return NULL;
}

static void mover_start(struct mover *m, struct gm *g)
{
	memset(m, 0, sizeof(*m));
	m->g = g;
	kvm_pthread_create(&m->thread, NULL, mover_run, m);
}

static void mover_stop(struct mover *m)
{
	sm_set(&m->stop, true);
	pthread_join(m->thread, NULL);
}

/* Two move the same pages, in opposite directions. */
static int test_two_movers(void)
{
	struct mover a, b;
	struct gm g;

	gm_new_strict(&g, 3, sm_nr / 8);
	gm_start(&g);
	mover_start(&a, &g);
	mover_start(&b, &g);
	for (int i = 0; i < rounds(3); i++)
		gm_wait(&g);
	mover_stop(&a);
	mover_stop(&b);
	return finish(&g, verdict("then", gm_move(&g, sm_to), g.s.nr));
}

static long long hidden_pages(void)
{
	sm_stat_refresh();
	return sm_vmstat("nr_no_direct_map");
}

/* ------------------------------------------ G18: asynchronous page faults */

#define GM_APF_VECTOR	0xec

/* The guest's, which has one vCPU. */
static struct gm_apf {
	struct kvm_vcpu_pv_apf_data shared __aligned(64);
	u64	not_present, ready;
	u32	token;			/* of what is ready */
} gm_apf;

/*
 * Where KVM tells the guest: in the last page of the memory that moves, or, as
 * KVM cannot write to private memory, in what is shared.
 */
static struct kvm_vcpu_pv_apf_data *gm_apf_data(void)
{
	return (void *)gm_shared.arg[0];
}

/* Not the page that is waited for: KVM does that for a guest without interrupts. */
static void gm_apf_not_present(struct ex_regs *regs)
{
	struct kvm_vcpu_pv_apf_data *data = gm_apf_data();
	u32 token = get_cr2();

	__GUEST_ASSERT(READ_ONCE(data->flags) == KVM_PV_REASON_PAGE_NOT_PRESENT,
		       "#PF at 0x%x, flags %u", token, data->flags);
	WRITE_ONCE(data->flags, 0);
	gm_apf.not_present++;
	while (READ_ONCE(gm_apf.token) != token)
		asm volatile("sti; hlt; cli" ::: "memory");
}

static void gm_apf_ready(struct ex_regs *regs)
{
	struct kvm_vcpu_pv_apf_data *data = gm_apf_data();
	u32 token = READ_ONCE(data->token);

	/* All tokens, as when it is enabled, is none of a page. */
	if (token != ~0U)
		gm_apf.ready++;
	WRITE_ONCE(gm_apf.token, token);
	WRITE_ONCE(data->token, 0);
	x2apic_write_reg(APIC_EOI, 0);
	wrmsr(MSR_KVM_ASYNC_PF_ACK, 1);
}

static void gm_guest_apf(u64 id, u64 stride)
{
	x2apic_enable();
	wrmsr(MSR_KVM_ASYNC_PF_INT, GM_APF_VECTOR);
	wrmsr(MSR_KVM_ASYNC_PF_EN,
	      gm_shared.arg[1] | KVM_ASYNC_PF_ENABLED |
	      KVM_ASYNC_PF_SEND_ALWAYS | KVM_ASYNC_PF_DELIVERY_AS_INT);
	gm_guest_strict(id, stride);
}

/*
 * A guest that asks for it is told that a page is being moved, instead of being
 * made to wait, and then that it is there. Private memory has no such thing.
 */
static int test_async_pf(void)
{
	const unsigned int most = gm_how.private ? 1000 : 4000;
	long long before = hidden_pages();
	struct mover mover;
	struct gm_apf *apf;
	unsigned int i;
	struct gm g;
	int ret;

	gm_new(&g, 1, sm_nr / 8, gm_guest_apf);
	vm_install_exception_handler(g.vm, PF_VECTOR, gm_apf_not_present);
	vm_install_exception_handler(g.vm, GM_APF_VECTOR, gm_apf_ready);
	apf = addr_gva2hva(g.vm, (gva_t)&gm_apf);
	g.shared->nr--;
	g.shared->arg[0] = gm_how.private ? (u64)&gm_apf.shared :
					    GM_GPA + g.shared->nr * SM_PAGE;
	g.shared->arg[1] = addr_gva2gpa(g.vm, g.shared->arg[0]);
	gm_allocate(&g, sm_from);
	if (!gm_how.private)
		gm_touch(&g);
	gm_start(&g);
	gm_wait(&g);
	mover_start(&mover, &g);
	for (i = 0; i < most && sm_get(&apf->not_present) < 20; i++)
		sm_sleep_ms(gm_how.private ? 2 : 20);
	mover_stop(&mover);
	ret = gm_stop(&g);
	sm_note("told %lu times, and then %lu times; %lu moves",
		(unsigned long)apf->not_present, (unsigned long)apf->ready,
		mover.rounds);
	/* Once for each lock of the folio; and if it was not yet mapped again. */
	if (gm_huge() && apf->not_present >
	    2 * mover.rounds * (g.s.nr / GM_HUGE_PAGES) + 4)
		ret = sm_fail("told again while it waits");
	if (gm_how.private ? apf->not_present : apf->not_present < 20)
		ret = sm_fail("told %lu times to wait",
			      (unsigned long)apf->not_present);
	if (apf->ready != apf->not_present)
		ret = sm_fail("told %lu times that a page is ready, not %lu",
			      (unsigned long)apf->ready,
			      (unsigned long)apf->not_present);
	gm_free(&g);
	/* Who has waited for it, too. */
	for (i = 0; i < 200 && hidden_pages() > before; i++)
		sm_sleep_ms(10);
	if (i == 200)
		ret = sm_fail("somebody still has the file");
	return ret;
}

/* Holes are punched, and filled again by the guest, by fallocate and write. */
static int test_punch(void)
{
	unsigned int seed = 1;
	char zeroes[2 * SM_PAGE] = { 0 };
	struct mover m;
	double end;
	struct gm g;
	int ret;
	u64 holes = 0;

	gm_how.access = gm_stock ? 0 : GM_RDWR;
	gm_new(&g, 2, sm_nr / 4, gm_guest_loose);
	gm_start(&g);
	mover_start(&m, &g);
	for (end = sm_now() + rounds(1) * 0.4; sm_now() < end; holes++) {
		size_t first = rand_r(&seed) % g.s.nr;
		size_t nr = 1 + rand_r(&seed) % 16;
		int mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;

		if (nr > g.s.nr - first)
			nr = g.s.nr - first;
		if (fallocate(g.s.fd, mode, first * SM_PAGE, nr * SM_PAGE))
			return sm_fail("punch hole: %s", strerror(errno));
		if (rand_r(&seed) % 2 &&
		    fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE, first * SM_PAGE,
			      nr * SM_PAGE))
			return sm_fail("fallocate: %s", strerror(errno));
		if (gm_how.access && rand_r(&seed) % 2 &&
		    pwrite(g.s.fd, zeroes, sizeof(zeroes), first * SM_PAGE) <= 0)
			return sm_fail("pwrite: %s", strerror(errno));
		if (!gm_how.private)
			sm_get((u64 *)sm_page(&g.s, first));
	}
	mover_stop(&m);
	gm_wait(&g);
	sm_note("%lu holes", holes);
	ret = gm_stop(&g);
	gm_free(&g);
	return ret;
}

/*
 * A second VM uses the first one's file by a mapping of it, as memory like any
 * other; each verifies every second page. A mapping that GUP refuses is no such
 * memory.
 */
static int test_two_vms(void)
{
	struct kvm_vcpu *vcpus[1];
	struct gm g, second;
	struct mover m;
	int ret;

	gm_new_strict(&g, 1, sm_nr / 4);
	memset(&second, 0, sizeof(second));
	second.nr_vcpus = 1;
	second.vm = __vm_create_with_vcpus(VM_SHAPE_DEFAULT, 1, g.s.nr,
					   gm_guest_strict, vcpus);
	second.vcpus[0] = vcpus[0];
	second.threads[0].g = &second;
	second.s = g.s;
	vm_set_user_memory_region(second.vm, GM_SLOT, 0, GM_GPA, gm_size(&g),
				  g.s.mem);
	virt_map(second.vm, GM_GPA, GM_GPA, g.s.nr);
	second.shared = addr_gva2hva(second.vm, (gva_t)&gm_shared);
	second.shared->seed = g.s.seed;
	second.shared->nr = g.s.nr;
	gm_vcpu_start(g.vcpus[0], 0, 2);
	/* The report of vCPU 0 is in another VM. */
	gm_vcpu_start(vcpus[0], 1, 2);

	gm_start(&g);
	if (gm_no_map()) {
		gm_run(&second.threads[0]);
		sm_note("KVM_RUN: %s", strerror(second.threads[0].err));
		ret = second.threads[0].err == EFAULT ? KSFT_PASS : KSFT_FAIL;
		return worse(gm_stop(&g), ret);
	}
	gm_start(&second);
	mover_start(&m, &g);
	for (int i = 0; i < rounds(2); i++)
		gm_wait(&g);
	while (!sm_get(&second.shared->report[1].passes) &&
	       !second.threads[0].err)
		sm_sleep_ms(5);
	mover_stop(&m);
	ret = worse(gm_stop(&g),
		    verdict("then", gm_move(&g, sm_to), g.s.nr));
	second.shared->report[0] = second.shared->report[1];
	return worse(gm_stop(&second), ret);
}

/* The memslot goes and comes back while the guest uses it and pages move. */
static int test_memslots(void)
{
	struct mover m;
	double end;
	struct gm g;
	int ret = KSFT_PASS, nr = 0;

	gm_new(&g, 2, sm_nr / 4, gm_guest_strict);
	gm_allocate(&g, sm_from);
	if (!gm_how.private)
		gm_touch(&g);
	g.retry = true;
	gm_start(&g);
	mover_start(&m, &g);
	for (end = sm_now() + rounds(1) * 0.5; sm_now() < end; nr++) {
		gm_slot(&g, false);
		sched_yield();
		gm_slot(&g, true);
		sm_sleep_ms(nr % 20);
	}
	gm_wait(&g);
	mover_stop(&m);
	sm_note("%d times, %lu accesses without a memslot", nr, g.faults);
	return finish(&g, ret);
}

/* Pages turn shared and private again, each kind with its own content. */
static int test_conversion(void)
{
	unsigned int seed = 1;
	struct mover m;
	double end;
	struct gm g;
	u64 nr = 0;

	gm_new(&g, 2, sm_nr / 4, gm_guest_loose);
	g.retry = true;
	gm_start(&g);
	mover_start(&m, &g);
	for (end = sm_now() + rounds(1) * 0.5; sm_now() < end; nr++) {
		u64 first = rand_r(&seed) % g.s.nr;
		u64 pages = 1 + rand_r(&seed) % 32;

		if (pages > g.s.nr - first)
			pages = g.s.nr - first;
		if (rand_r(&seed) % 2)
			vm_mem_set_shared(g.vm, GM_GPA + first * SM_PAGE,
					  pages * SM_PAGE);
		else
			vm_mem_set_private(g.vm, GM_GPA + first * SM_PAGE,
					   pages * SM_PAGE);
	}
	vm_mem_set_private(g.vm, GM_GPA, gm_size(&g));
	mover_stop(&m);
	gm_wait(&g);
	sm_note("%lu conversions, %lu faults", nr, g.faults);
	return gm_stop(&g);
}

/* The VMM is killed, again and again, while its memory moves. */
static int test_teardown(void)
{
	long long before, now;
	int status, ret = KSFT_PASS;
	pid_t pid;

	sm_stat_refresh();
	before = sm_vmstat("nr_no_direct_map");
	for (int i = 0; i < rounds(2); i++) {
		pid = fork();
		if (!pid) {
			struct mover m;
			struct gm g;

			gm_new(&g, 2, sm_nr / 4, gm_guest_loose);
			gm_start(&g);
			mover_start(&m, &g);
			for (;;)
				pause();
		}
		sm_sleep_ms(300 + 50 * i);
		sm_write("/proc/sys/vm/compact_memory", "1");
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (!WIFSIGNALED(status))
			ret = sm_fail("the VMM ended with %#x", status);
	}
	/* A VM's last reference may be dropped by a worker. */
	for (int i = 0; i < 50; i++) {
		sm_stat_refresh();
		now = sm_vmstat("nr_no_direct_map");
		if (now == before)
			return ret;
		sm_sleep_ms(50);
	}
	return sm_fail("%+lld pages without alias", now - before);
}

/* ---------------------------------------- M15, M16: what it costs, counts */

static int test_shootdowns(void)
{
	const char *name = "direct_map_zap_shootdowns";
	const size_t nr = 1024, single = 64;
	struct kvm_pre_fault_memory range = { .gpa = GM_GPA };
	long long fallocated, prefaulted, written, faulted;
	static char buf[SM_PAGE];
	struct gm g;

	gm_how.access = GM_RDWR;
	gm_new(&g, 1, nr, gm_guest_strict);
	fallocated = sm_vmstat(name);
	gm_allocate(&g, sm_from);
	fallocated = sm_vmstat(name) - fallocated;

	if (fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0,
		      gm_size(&g)))
		return sm_fail("punch hole: %s", strerror(errno));
	range.size = gm_size(&g);
	prefaulted = sm_vmstat(name);
	if (__vcpu_ioctl(g.vcpus[0], KVM_PRE_FAULT_MEMORY, &range))
		return sm_fail("KVM_PRE_FAULT_MEMORY: %s", strerror(errno));
	prefaulted = sm_vmstat(name) - prefaulted;

	if (fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0,
		      gm_size(&g)))
		return sm_fail("punch hole: %s", strerror(errno));
	written = sm_vmstat(name);
	for (size_t i = 0; i < single; i++)
		if (pwrite(g.s.fd, buf, SM_PAGE, i * SM_PAGE) != SM_PAGE)
			return sm_fail("pwrite: %s", strerror(errno));
	written = sm_vmstat(name) - written;

	g.shared->nr = 2 * single;
	faulted = sm_vmstat(name);
	gm_start(&g);
	gm_wait(&g);
	faulted = sm_vmstat(name) - faulted;

	sm_note("%zu pages: fallocate %lld, pre-fault %lld; %zu pages: pwrite %lld, faults %lld",
		nr, fallocated, prefaulted, single, written, faulted);
	/* A few blocks; what was punched is used again, mostly. */
	if (fallocated > 4 || prefaulted > 4 || written > 1 || faulted > 1)
		return sm_fail("too many");
	return gm_stop(&g);
}

/* After all is closed, what was taken has been given back. */
static int test_balance(void)
{
	const char *const names[] = {
		"nr_no_direct_map", "direct_map_zaps", "direct_map_restores",
		"ephmap_pages", "ephmap_flushes",
	};
	long long was[5], now[5] = { 0 };
	struct gm g;
	int ret;

	sm_stat_refresh();
	for (int i = 0; i < 5; i++)
		was[i] = sm_vmstat(names[i]);
	gm_new(&g, 2, sm_nr / 16, gm_guest_strict);
	gm_allocate(&g, sm_from);
	if (!gm_how.private)
		gm_touch(&g);
	sm_stat_refresh();
	if (sm_vmstat("nr_no_direct_map") - was[0] !=
	    (gm_no_map() ? (long long)g.s.nr : 0))
		return sm_fail("%lld of %zu pages without alias",
			       sm_vmstat("nr_no_direct_map") - was[0], g.s.nr);
	gm_start(&g);
	for (int i = 0; i < rounds(2); i++) {
		if (!gm_how.private) {
			gm_move(&g, sm_to);
			gm_move(&g, sm_from);
		} else {
			sm_write("/proc/sys/vm/compact_memory", "1");
		}
		gm_wait(&g);
	}
	ret = gm_stop(&g);
	fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0,
		  gm_size(&g) / 2);
	gm_free(&g);
	for (int tries = 0; tries < 50; tries++) {
		sm_stat_refresh();
		for (int i = 0; i < 5; i++)
			now[i] = sm_vmstat(names[i]) - was[i];
		if (!now[0])
			break;
		sm_sleep_ms(50);
	}
	sm_note("%lld zaps, %lld restores, %lld mapped, %lld flushed", now[1],
		now[2], now[3], now[4]);
	/* Of whole blocks that are hidden some are kept, others given back. */
	if (now[0] || (now[1] - now[2]) % 512 || now[3] != now[4])
		return sm_fail("%+lld pages without alias", now[0]);
	return ret;
}

/*
 * The guest's mappings come from the file: they stay when only the VMM's go. A
 * page that moves is zapped once.
 */
static int test_notifier(void)
{
	const size_t nr = 64, times = 10;
	u64 faults, flushes, moves;
	int ret = KSFT_PASS;
	struct gm g;

	gm_new_strict(&g, 1, nr);
	gm_start(&g);
	gm_wait(&g);
	faults = vcpu_get_stat(g.vcpus[0], pf_fixed);
	flushes = vm_get_stat(g.vm, remote_tlb_flush_requests);
	for (size_t i = 0; i < times; i++) {
		if (madvise(g.s.mem, gm_size(&g), MADV_DONTNEED))
			return sm_fail("madvise: %s", strerror(errno));
		gm_wait(&g);
		gm_touch(&g);
	}
	faults = vcpu_get_stat(g.vcpus[0], pf_fixed) - faults;
	flushes = vm_get_stat(g.vm, remote_tlb_flush_requests) - flushes;
	if (faults >= nr || flushes >= times)
		ret = KSFT_FAIL;

	moves = vm_get_stat(g.vm, remote_tlb_flush_requests);
	gm_move(&g, sm_to);
	gm_wait(&g);
	moves = vm_get_stat(g.vm, remote_tlb_flush_requests) - moves;
	sm_note("unmapped %zu times: %lu faults, %lu flushes; moved: %lu flushes for %zu pages",
		times, faults, flushes, moves, nr);
	return finish(&g, ret);
}

/* --------------------------------------------- G3: what fdinfo tells */

/* A number in the file's fdinfo; -1: no such name. */
static long long info_of(const struct gm *g, const char *name)
{
	long long val = -1;
	char line[256];
	FILE *f;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", g->s.fd);
	f = fopen(line, "re");
	while (f && fgets(line, sizeof(line), f)) {
		size_t len = strlen(name);

		if (!strncmp(line, name, len) && line[len] == ':')
			val = strtoll(line + len + 1, NULL, 0);
	}
	if (f)
		fclose(f);
	return val;
}

static long long fdinfo_node(const struct gm *g, int node)
{
	char name[32];

	snprintf(name, sizeof(name), "gmem-node%d", node);
	return info_of(g, name);
}

/* Each number against what is known otherwise; of memory at rest. */
static int fdinfo_is(struct gm *g, const char *when, long long pages,
		     long long there, long long hidden, long long poisoned)
{
	const struct {
		const char *name;
		long long got, want;
	} all[] = {
		{ "pages", info_of(g, "gmem-pages"), pages },
		{ "pages on the node", fdinfo_node(g, sm_to), there },
		{ "pages elsewhere", fdinfo_node(g, sm_from), pages - there },
		{ "hidden", info_of(g, "gmem-hidden"), hidden },
		{ "poisoned", info_of(g, "gmem-poisoned"), poisoned },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].got != all[i].want)
			return sm_fail("%s: %s: %lld, not %lld", when,
				       all[i].name, all[i].got, all[i].want);
	return KSFT_PASS;
}

/* Punched out, moved, poisoned: what the file tells is what the host counts. */
static int test_fdinfo(void)
{
	static const char *const failed[] = {
		"no_direct_map_migrate_fail_refs",
		"no_direct_map_migrate_fail_zap",
		"no_direct_map_migrate_fail_copy",
		"no_direct_map_migrate_fail_mapping",
	};
	const int punch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
	const char *moves = gm_no_map() ? "no_direct_map_migrate_success" :
					  "pgmigrate_success";
	long long before = hidden_pages(), moved, fails = 0;
	const size_t nr = 64, holes = 5;
	long long left = nr - holes, there;
	int ret = KSFT_PASS;
	u64 sections, pfn;
	struct gm g;

	gm_new(&g, 1, nr, gm_guest_strict);
	if (info_of(&g, "gmem-flags") != (long long)gm_file_flags())
		return sm_fail("flags %#llx", info_of(&g, "gmem-flags"));
	ret = worse(ret, fdinfo_is(&g, "empty", 0, 0, 0, 0));
	gm_allocate(&g, sm_from);
	gm_touch(&g);
	ret = worse(ret, fdinfo_is(&g, "allocated", nr, 0,
				   hidden_pages() - before, 0));

	sections = vm_get_stat(g.vm, gmem_zap_sections);
	if (fallocate(g.s.fd, punch, left * SM_PAGE, holes * SM_PAGE))
		return sm_fail("punch hole: %s", strerror(errno));
	ret = worse(ret, fdinfo_is(&g, "punched", left, 0,
				   hidden_pages() - before, 0));
	if (vm_get_stat(g.vm, gmem_zap_sections) != sections + 1)
		ret = sm_fail("punching a hole is no section of mmu_lock");

	for (size_t i = 0; i < ARRAY_SIZE(failed); i++)
		fails -= sm_vmstat(failed[i]);
	moved = sm_vmstat(moves);
	g.s.nr = left;
	there = gm_move(&g, sm_to);
	moved = sm_vmstat(moves) - moved;
	for (size_t i = 0; i < ARRAY_SIZE(failed); i++)
		fails += sm_vmstat(failed[i]);
	if (there != (gm_movable() ? left : 0))
		ret = sm_fail("%lld pages have moved", there);
	ret = worse(ret, fdinfo_is(&g, "moved", left, there,
				   hidden_pages() - before, 0));
	/* Of ordinary memory others may move some as well. */
	if (info_of(&g, "gmem-moved") != (gm_no_map() ? moved : there) ||
	    info_of(&g, "gmem-moved") > moved ||
	    info_of(&g, "gmem-moved") != (long long)vm_get_stat(g.vm, gmem_moved))
		ret = sm_fail("%lld moved, by the VM's statistics %lu, by /proc/vmstat %lld",
			      info_of(&g, "gmem-moved"),
			      vm_get_stat(g.vm, gmem_moved), moved);
	if (info_of(&g, "gmem-move-failed") < fails)
		ret = sm_fail("%lld attempts failed, by /proc/vmstat %lld",
			      info_of(&g, "gmem-move-failed"), fails);
	sm_note("%lld moved, %lld attempts failed", moved,
		info_of(&g, "gmem-move-failed"));

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return ret;
	pfn = sm_pfn(sm_page(&g.s, 3));
	ret = worse(ret, sm_poison(pfn));
	ret = worse(ret, fdinfo_is(&g, "poisoned", left, there,
				   gm_no_map() ? left : 0, 1));
	if (fallocate(g.s.fd, punch, 3 * SM_PAGE, SM_PAGE))
		return sm_fail("punch hole: %s", strerror(errno));
	left--;
	ret = worse(ret, fdinfo_is(&g, "poisoned page punched", left,
				   there ? there - 1 : 0,
				   gm_no_map() ? left : 0, 0));
	sm_writef(SM_DEBUGFS "hwpoison/unpoison-pfn", "%#llx",
		  (unsigned long long)pfn);
	g.s.nr = nr;
	gm_free(&g);
	return ret;
}

static void gm_guest_zeroes(u64 id, u64 stride)
{
	struct gm_report *r = &gm_shared.report[id];

	for (u64 page = 0; page < gm_shared.nr; page++)
		if (sm_get(gm_guest_page(page)))
			gm_guest_saw(r, page, 0, sm_get(gm_guest_page(page)), 0);
	r->passes++;
	GUEST_DONE();
}

/*
 * With a memslot's user address goes other memory than the file's: no mapping of
 * the guest's comes from there, as it would not go away with it. KVM prefetches
 * where it has no TDP MMU (kvm.tdp_mmu=0).
 */
static int test_prefetch(void)
{
	void *file, *other;
	struct gm g;
	int ret;

	gm_new(&g, 1, 64, gm_guest_zeroes);
	gm_allocate(&g, sm_from);
	other = mmap(NULL, gm_size(&g), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (other == MAP_FAILED)
		return sm_fail("mmap: %s", strerror(errno));
	memset(other, 0x5a, gm_size(&g));
	file = g.s.mem;
	gm_slot(&g, false);
	g.s.mem = other;
	gm_slot(&g, true);
	gm_start(&g);
	ret = gm_stop(&g);
	g.s.mem = file;
	munmap(other, gm_size(&g));
	gm_free(&g);
	return ret;
}

/* ------------------------- G5, G6, G7: what moving does to vCPUs */

/* One flush is for many pages. */
static int test_flushes(void)
{
	u64 moved, flushes, sections;
	int ret = KSFT_PASS;
	struct gm g;

	gm_new_strict(&g, 2, sm_nr);
	gm_start(&g);
	gm_wait(&g);
	moved = vm_get_stat(g.vm, gmem_moved);
	sections = vm_get_stat(g.vm, gmem_zap_sections);
	flushes = vm_get_stat(g.vm, remote_tlb_flush_requests);
	gm_move(&g, sm_to);
	moved = vm_get_stat(g.vm, gmem_moved) - moved;
	sections = vm_get_stat(g.vm, gmem_zap_sections) - sections;
	flushes = vm_get_stat(g.vm, remote_tlb_flush_requests) - flushes;
	sm_note("%lu pages moved: %lu flushes, %lu sections of mmu_lock", moved,
		flushes, sections);
	if (moved < g.s.nr || flushes > moved / 8 || sections > moved / 8)
		ret = KSFT_FAIL;
	gm_wait(&g);
	return finish(&g, ret);
}

/*
 * The longest that an access takes. The guest has it in arg[0], until somebody
 * sets it to 0. Its vCPUs go before all other tasks, so they sleep now and then.
 */
static void gm_guest_timed(u64 id, u64 stride)
{
	struct gm_report *r = &gm_shared.report[id];
	u64 start, ticks, nr = 0;

	do {
		for (u64 page = id; page < gm_shared.nr; page += stride) {
			u64 *p = gm_guest_page(page);

			start = rdtsc();
			sm_set(&p[id], sm_get(&p[id]) + 1);
			ticks = rdtsc() - start;
			if (ticks > sm_get(&gm_shared.arg[id]))
				sm_set(&gm_shared.arg[id], ticks);
			if (sm_get(&p[id]) != r->passes + 1)
				gm_guest_saw(r, page, id, sm_get(&p[id]),
					     r->passes + 1);
			if (!(++nr % gm_shared.pause))
				GUEST_SYNC(0);
		}
		sm_set(&r->passes, r->passes + 1);
	} while (!sm_get(&gm_shared.stop));
	GUEST_DONE();
}

static u64 longest_wait(struct gm *g)
{
	u64 longest = 0;

	gm_wait(g);
	for (unsigned int i = 0; i < g->nr_vcpus; i++) {
		u64 ticks = sm_get(&g->shared->arg[i]);

		if (ticks > longest)
			longest = ticks;
		sm_set(&g->shared->arg[i], 0);
	}
	return longest;
}

static void gm_start_timed(struct gm *g, unsigned int nr_vcpus, u64 pause)
{
	gm_new(g, nr_vcpus, 8192, gm_guest_timed);
	g->urgent = true;
	g->shared->pause = pause;
	gm_allocate(g, sm_from);
	gm_touch(g);
	gm_start(g);
	longest_wait(g);
}

/*
 * By the clock of a machine that counts instructions; others' is noise. There is
 * one CPU: of others, a vCPU waits for one access at most.
 */
static int longest_waits(unsigned int nr_vcpus)
{
	u64 rest, alone, wait, chunks = 0;
	struct secret one;
	struct gm g;
	int ret;

	if (!sm_cmdline("gm_icount"))
		return sm_skip("needs a clock that runs by instructions");
	gm_start_timed(&g, 1, 8192);
	rest = longest_wait(&g);
	one = g.s;
	one.nr = 1;
	for (size_t i = 0; i < 2048; i++) {
		one.mem = (void *)sm_page(&g.s, i);
		sm_move(&one, sm_to);
	}
	alone = longest_wait(&g);
	ret = gm_stop(&g);
	gm_free(&g);

	gm_start_timed(&g, nr_vcpus, nr_vcpus == 1 ? 8192 : 1);
	for (int round = 0; round < 2; round++) {
		sm_move(&g.s, round % 2 ? sm_from : sm_to);
		wait = longest_wait(&g);
		if (wait > chunks)
			chunks = wait;
	}
	ret = worse(ret, gm_stop(&g));
	sm_note("longest access, in ticks: at rest %lu, while a page alone moves %lu",
		rest, alone);
	sm_note("of %u vCPUs, while %zu pages move at once: %lu",
		nr_vcpus, g.s.nr, chunks);
	if (chunks > (nr_vcpus + 1) * alone)
		ret = KSFT_FAIL;
	return ret;
}

static int test_longest_wait(void)
{
	return longest_waits(1);
}

static int test_longest_wait_4(void)
{
	return longest_waits(4);
}

/* Nobody writes to a page that is being copied, nor sees one half copied. */
static int test_many_moves(void)
{
	u64 want = sm_long ? 1000000 : 4 * sm_nr, moved;
	int nodes[] = { sm_from, sm_to }, ret = KSFT_PASS;
	unsigned int i;
	double start;
	struct gm g;

	gm_new_strict(&g, 3, 256);
	gm_start(&g);
	gm_wait(&g);
	start = sm_now();
	for (i = 1; vm_get_stat(g.vm, gmem_moved) < want; i++) {
		sm_move(&g.s, nodes[i % 2]);
		if (sm_now() - start > (sm_long ? 3000 : 90)) {
			ret = sm_fail("too few moves");
			break;
		}
	}
	moved = vm_get_stat(g.vm, gmem_moved);
	sm_note("%lu moves in %.0f s, %lld failed", moved, sm_now() - start,
		info_of(&g, "gmem-move-failed"));
	gm_wait(&g);
	return finish(&g, ret);
}

/* --------------------------------------- G4: moved by the file, unmapped */

/* What calls of KVM_GMEM_MOVE have told, one after the other. */
struct told {
	u64		moved;
	u64		failed;
	unsigned int	interrupted;
};

/*
 * A range, in as many calls as it takes. Returns 0 or -errno: -EPROTO if a call
 * says that it got to where it can't be.
 */
static int move_range(struct gm *g, u64 start, u64 end, int node,
		      struct told *told)
{
	struct kvm_gmem_move move = { .next_offset = start };
	int err;

	do {
		move.offset = move.next_offset;
		move.size = end - move.offset;
		move.node = node;
		err = ioctl(g->s.fd, KVM_GMEM_MOVE, &move) ? -errno : 0;
		if (err && err != -EINTR)
			return err;
		/* Each call gets on. */
		if (move.next_offset > end || move.next_offset % SM_PAGE ||
		    (err && move.next_offset <= move.offset) ||
		    (!err && move.next_offset != end))
			return -EPROTO;
		told->moved += move.moved;
		told->failed += move.failed;
		told->interrupted += err == -EINTR;
	} while (err);
	return 0;
}

/* The same, until @want pages are on the node. vCPUs may be busy with some. */
static int move_until(struct gm *g, u64 start, u64 end, int node, long long want,
		      struct told *told)
{
	unsigned int failed = 0;
	int err;

	do {
		err = move_range(g, start, end, node, told);
	} while (!err && fdinfo_node(g, sm_to) != want && sm_try_again(&failed));
	return err;
}

/* A guest that has its memory on a node, where only it has touched it. */
static void new_untouched(struct gm *g, unsigned int nr_vcpus, size_t nr)
{
	gm_new(g, nr_vcpus, nr, gm_guest_strict);
	sm_bind_task(sm_from);
	gm_start(g);
	gm_wait(g);
	sm_bind_task(-1);
}

/* What of a guest's memory is in the VMM's page tables. */
static size_t nr_mapped(const struct gm *g)
{
	size_t mapped = 0;

	for (size_t i = 0; i < g->s.nr; i++)
		mapped += !!sm_pfn(sm_page(&g->s, i));
	return mapped;
}

/* @want, and counted by the file and the VM: packing may have moved others. */
static int told_right(const struct gm *g, const struct told *told, u64 want)
{
	u64 file = info_of(g, "gmem-moved"), vm = vm_get_stat(g->vm, gmem_moved);

	sm_note("%lu moved, %lu attempts in vain", told->moved, told->failed);
	if (told->moved == want && file >= want && vm == file)
		return KSFT_PASS;
	return sm_fail("not %lu moved: %lu by fdinfo, %lu by the VM's statistics",
		       want, file, vm);
}

static int test_move_file(void)
{
	struct told told = {}, again = {};
	int err, ret = KSFT_PASS;
	long long want;
	struct gm g;
	u64 half;

	new_untouched(&g, 2, sm_nr);
	half = gm_size(&g) / 2;
	if (fdinfo_is(&g, "at first", g.s.nr, 0, gm_no_map() ? g.s.nr : 0, 0))
		return KSFT_FAIL;
	want = gm_movable() ? g.s.nr : 0;
	err = move_until(&g, 0, gm_size(&g), sm_to, want, &told);
	if (err != (gm_movable() ? 0 : -EBUSY))
		ret = sm_fail("%s", strerror(-err));
	if (fdinfo_node(&g, sm_to) != want)
		ret = sm_fail("%lld of %zu have moved", fdinfo_node(&g, sm_to),
			      g.s.nr);
	if (!gm_movable())
		goto out;

	/* Nothing is left to do there. */
	err = move_range(&g, 0, gm_size(&g), sm_to, &again);
	if (err || again.moved || again.failed)
		ret = sm_fail("again: %s, %lu moved, %lu failed",
			      strerror(-err), again.moved, again.failed);
	err = move_until(&g, half, gm_size(&g), sm_from, want / 2, &told);
	if (err || fdinfo_node(&g, sm_to) != want / 2)
		ret = sm_fail("a half: %s, %lld have stayed", strerror(-err),
			      fdinfo_node(&g, sm_to));
	ret = worse(ret, told_right(&g, &told, want + want / 2));
out:
	if (nr_mapped(&g))
		ret = sm_fail("the VMM has %zu pages mapped", nr_mapped(&g));
	gm_wait(&g);
	return finish(&g, ret);
}

/* mbind(2) says where memory has to be; what is nowhere in page tables follows. */
static int test_move_by_policy(void)
{
	struct told told = {};
	int err, ret = KSFT_PASS;
	long long want;
	struct gm g;
	u64 half;

	new_untouched(&g, 2, sm_nr);
	half = gm_size(&g) / 2;
	err = move_range(&g, 0, gm_size(&g), -1, &told);
	if (err || told.moved || told.failed)
		ret = sm_fail("without a policy: %s, %lu moved, %lu failed",
			      strerror(-err), told.moved, told.failed);

	/* Private memory has no mapping, and so no policy of the file's. */
	if (sm_mbind((char *)g.s.mem + half, half, sm_to, 0))
		return sm_fail("mbind: %s", strerror(errno));
	want = gm_how.private ? 0 : g.s.nr / 2;
	if (fdinfo_node(&g, sm_to))
		ret = sm_fail("mbind moved %lld", fdinfo_node(&g, sm_to));
	err = move_until(&g, 0, gm_size(&g), -1, want, &told);
	if (err || fdinfo_node(&g, sm_to) != want)
		ret = sm_fail("%s, %lld have moved", strerror(-err),
			      fdinfo_node(&g, sm_to));
	ret = worse(ret, told_right(&g, &told, want));
	if (nr_mapped(&g))
		ret = sm_fail("the VMM has %zu pages mapped", nr_mapped(&g));
	gm_wait(&g);
	return finish(&g, ret);
}

/* Somebody whose signals never stop. */
struct signaller {
	pthread_t	whom;
	pthread_t	thread;
	bool		stop;
};

static void *signaller_run(void *arg)
{
	struct signaller *s = arg;

	while (!sm_get(&s->stop)) {
		pthread_kill(s->whom, SIGUSR2);
		usleep(200);
	}
	return NULL;
}

static int test_move_signals(void)
{
	struct signaller s = { .whom = pthread_self() };
	struct told told = {};
	int err, ret = KSFT_PASS;
	struct gm g;

	new_untouched(&g, 2, 4 * sm_nr);
	signal(SIGUSR2, gm_signal);
	kvm_pthread_create(&s.thread, NULL, signaller_run, &s);
	err = move_until(&g, 0, gm_size(&g), sm_to, g.s.nr, &told);
	sm_set(&s.stop, true);
	pthread_join(s.thread, NULL);
	sm_note("%u signals", told.interrupted);
	if (err || fdinfo_node(&g, sm_to) != (long long)g.s.nr)
		ret = sm_fail("%s, %lld have moved", strerror(-err),
			      fdinfo_node(&g, sm_to));
	if (!told.interrupted)
		ret = sm_fail("no signal has ended a call");
	ret = worse(ret, told_right(&g, &told, g.s.nr));
	gm_wait(&g);
	return finish(&g, ret);
}

#define MOVE_CGROUP	"/sys/fs/cgroup/gm_move"

/* A node that is there, but not for this task. */
static int move_outside_cpuset(struct gm *g)
{
	struct told told = {};
	char node[16];
	int err;

	if (sm_write("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset") ||
	    (mkdir(MOVE_CGROUP, 0755) && errno != EEXIST)) {
		sm_note("no cpuset controller");
		return KSFT_PASS;
	}
	snprintf(node, sizeof(node), "%d", sm_from);
	err = sm_write(MOVE_CGROUP "/cpuset.mems", node);
	if (!err)
		err = sm_write(MOVE_CGROUP "/cgroup.procs", "0");
	if (err)
		return sm_fail("cpuset: %s", strerror(-err));
	err = move_range(g, 0, gm_size(g), sm_to, &told);
	sm_write("/sys/fs/cgroup/cgroup.procs", "0");
	rmdir(MOVE_CGROUP);
	if (err != -EACCES)
		return sm_fail("outside of the cpuset: %s", strerror(-err));
	return KSFT_PASS;
}

/* What is not understood is refused, and nothing happens. */
static int test_move_refused(void)
{
	const u64 nr = 16, size = nr * SM_PAGE;
	const struct {
		const char		*what;
		struct kvm_gmem_move	move;
		int			err;
	} all[] = {
		{ "flags", { .size = size, .flags = 1 }, EINVAL },
		{ "the first of reserved",
		  { .size = size, .reserved = { 1 } }, EINVAL },
		{ "the last of reserved",
		  { .size = size, .reserved = { [3] = 1ULL << 63 } }, EINVAL },
		{ "offset unaligned", { .offset = 1 }, EINVAL },
		{ "size unaligned", { .size = size - 1 }, EINVAL },
		{ "past the end", { .size = size + SM_PAGE }, EINVAL },
		{ "past the end by offset",
		  { .offset = SM_PAGE, .size = size }, EINVAL },
		{ "nothing past the end", { .offset = size + SM_PAGE }, EINVAL },
		{ "offset negative", { .offset = -SM_PAGE, .size = SM_PAGE },
		  EINVAL },
		{ "size negative", { .size = -SM_PAGE }, EINVAL },
		{ "overflow",
		  { .offset = 2 * SM_PAGE, .size = -SM_PAGE }, EINVAL },
		{ "no node -2", { .size = size, .node = -2 }, ENODEV },
		{ "no such node", { .size = size, .node = 1 << 20 }, ENODEV },
		{ "a node without memory", { .size = size, .node = 63 }, ENODEV },
		{ "nothing", { .node = -1 }, 0 },
		{ "nothing at the end", { .offset = size, .node = sm_to }, 0 },
	};
	int want, err, ret = KSFT_PASS;
	struct kvm_gmem_move move;
	struct gm g;

	new_untouched(&g, 2, nr);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		move = all[i].move;
		want = gm_movable() || all[i].err == EINVAL ? all[i].err : EBUSY;
		err = ioctl(g.s.fd, KVM_GMEM_MOVE, &move) ? errno : 0;
		if (err != want)
			ret = sm_fail("%s: %s", all[i].what, strerror(err));
		if (!err && (move.next_offset != move.offset || move.moved ||
			     move.failed))
			ret = sm_fail("%s: got to %#llx", all[i].what,
				      move.next_offset);
	}
	if (!ioctl(g.s.fd, KVM_GMEM_MOVE, NULL) || errno != EFAULT)
		ret = sm_fail("no address: %s", strerror(errno));
	memset(&move, 0, sizeof(move));
	if (!ioctl(g.vm->fd, KVM_GMEM_MOVE, &move) || errno != ENOTTY)
		ret = sm_fail("of a VM: %s", strerror(errno));
	if (!ioctl(g.s.fd, KVM_CREATE_GUEST_MEMFD, &move) || errno != ENOTTY)
		ret = sm_fail("another ioctl: %s", strerror(errno));
	if (gm_movable())
		ret = worse(ret, move_outside_cpuset(&g));
	if (info_of(&g, "gmem-moved") || info_of(&g, "gmem-move-failed") ||
	    fdinfo_node(&g, sm_from) != (long long)nr)
		ret = sm_fail("memory has moved");
	gm_wait(&g);
	return finish(&g, ret);
}

/* ---------------------------------------------- G14, G15: dirty logging */

#define NR_DIRTY	100
#define DIRTY_EVERY	40

/* Pages that gm_guest_some() writes. */
static bool some_page(u64 page)
{
	return page % DIRTY_EVERY == 7 && page / DIRTY_EVERY < NR_DIRTY;
}

/* Reads all of its pages, and writes some of them. */
static void gm_guest_some(u64 id, u64 stride)
{
	struct gm_report *r = &gm_shared.report[id];
	u64 want, got, *p;

	do {
		for (u64 page = id; page < gm_shared.nr; page += stride) {
			p = gm_guest_page(page);
			want = some_page(page) ? r->passes : 0;
			got = sm_get(&p[0]);
			if (got != want)
				gm_guest_saw(r, page, 0, got, want);
			if (some_page(page))
				sm_set(&p[0], want + 1);
		}
		sm_set(&r->passes, r->passes + 1);
	} while (!sm_get(&gm_shared.stop));
	GUEST_DONE();
}

static int set_slot(struct gm *g, u32 flags, u64 gpa, int fd, u64 offset)
{
	return __vm_set_user_memory_region2(g->vm, GM_SLOT, flags, gpa,
					    gm_size(g), g->s.mem, fd,
					    offset) ? -errno : 0;
}

#define LOGGED	(KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES)

static int log_dirty(struct gm *g, bool on)
{
	return set_slot(g, on ? LOGGED : KVM_MEM_GUEST_MEMFD, GM_GPA, g->s.fd,
			0);
}

/* What was written since the log was read last, against what should have been. */
static int log_is(struct gm *g, const char *when, bool (*dirty)(u64 page))
{
	unsigned long *log = calloc((g->s.nr + 63) / 64, sizeof(*log));
	size_t extra = 0, missing = 0;

	kvm_vm_get_dirty_log(g->vm, GM_SLOT, log);
	for (u64 page = 0; page < g->s.nr; page++) {
		bool got = log[page / 64] >> page % 64 & 1;

		extra += got && !dirty(page);
		missing += !got && dirty(page);
	}
	free(log);
	if (!extra && !missing)
		return KSFT_PASS;
	return sm_fail("%s: %zu pages too many, %zu too few", when, extra,
		       missing);
}

static bool no_page(u64 page)
{
	return false;
}

static bool every_page(u64 page)
{
	return true;
}

static bool second_and_third(u64 page)
{
	return page == 1 || page == 2;
}

static int move_if_movable(struct gm *g, int node)
{
	long long want = node == sm_to ? g->s.nr : 0;
	struct told told = {};
	int err;

	if (!gm_movable())
		return KSFT_PASS;
	err = move_until(g, 0, gm_size(g), node, want, &told);
	if (err || fdinfo_node(g, sm_to) != want)
		return sm_fail("move: %s, %lld on the node", strerror(-err),
			       fdinfo_node(g, sm_to));
	sm_note("%lu moved", told.moved);
	return KSFT_PASS;
}

/* Moved, and read: neither by the guest nor by the VMM is that a write. */
static int test_dirty_log(void)
{
	char buf[SM_PAGE] = { 0 };
	int err, ret = KSFT_PASS;
	struct gm g;

	gm_how.access = GM_RDWR;
	gm_new(&g, 2, 4 * sm_nr, gm_guest_some);
	gm_allocate(&g, sm_from);
	err = log_dirty(&g, true);
	if (gm_how.private)
		return err == -EINVAL ? KSFT_PASS :
		       sm_fail("of private memory: %s", strerror(-err));
	if (err)
		return sm_fail("cannot be logged: %s", strerror(-err));
	ret = worse(ret, log_is(&g, "at first", no_page));
	gm_start(&g);
	gm_wait(&g);
	ret = worse(ret, log_is(&g, "at rest", some_page));

	ret = worse(ret, move_if_movable(&g, sm_to));
	gm_touch(&g);
	gm_wait(&g);
	ret = worse(ret, log_is(&g, "moved and read", some_page));

	/* What was written before a page moved is not forgotten. */
	gm_wait(&g);
	ret = worse(gm_stop(&g), ret);
	ret = worse(ret, move_if_movable(&g, sm_from));
	ret = worse(ret, log_is(&g, "moved later", some_page));
	ret = worse(ret, log_is(&g, "when the guest has stopped", no_page));

	if (pwrite(g.s.fd, buf, SM_PAGE, SM_PAGE + 5) != (ssize_t)SM_PAGE)
		ret = sm_fail("pwrite: %s", strerror(errno));
	ret = worse(ret, log_is(&g, "write(2)", second_and_third));
	err = log_dirty(&g, false);
	if (err)
		ret = sm_fail("logging does not end: %s", strerror(-err));
	gm_free(&g);
	return ret;
}

/*
 * What a guest has only read is not dirty while writes are logged. Soft offline
 * must not drop it: the guest has it mapped.
 */
static int test_dirty_soft_offline(void)
{
	const size_t nr = 16;
	int err, ret = KSFT_PASS;
	struct gm g;
	u64 pfn;

	if (!sm_exists(SM_MEMORY "soft_offline_page"))
		return sm_skip("no memory failure handling");
	gm_new(&g, 1, nr, gm_guest_zeroes);
	err = log_dirty(&g, true);
	if (err)
		return sm_fail("cannot be logged: %s", strerror(-err));
	gm_start(&g);
	ret = gm_stop(&g);
	if (info_of(&g, "gmem-pages") != (long long)g.s.nr)
		ret = sm_fail("%lld pages", info_of(&g, "gmem-pages"));
	pfn = sm_pfn(sm_page(&g.s, 3));
	if (!pfn) {
		sm_get((u64 *)sm_page(&g.s, 3));
		pfn = sm_pfn(sm_page(&g.s, 3));
	}
	/* What the VMM has mapped is not dropped anyway. */
	madvise(g.s.mem, gm_size(&g), MADV_DONTNEED);
	sm_writef(SM_MEMORY "soft_offline_page", "%#llx",
		  (unsigned long long)pfn * SM_PAGE);
	sm_note("%lld of %zu pages are left", info_of(&g, "gmem-pages"),
		g.s.nr);
	if (info_of(&g, "gmem-pages") != (long long)g.s.nr)
		ret = KSFT_FAIL;
	gm_free(&g);
	sm_writef(SM_DEBUGFS "hwpoison/unpoison-pfn", "%#llx",
		  (unsigned long long)pfn);
	return ret;
}

/* The flag is all that can change. */
static int test_dirty_log_refused(void)
{
	const u32 bound = KVM_MEM_GUEST_MEMFD;
	struct gm g;
	int fd;

	gm_new_strict(&g, 2, 16);
	fd = vm_create_guest_memfd(g.vm, 2 * gm_size(&g), gm_file_flags());
	gm_start(&g);
	gm_wait(&g);
	for (int on = 1; on >= 0; on--) {
		const u32 flags = on ? LOGGED : bound;
		const struct {
			const char *what;
			int err, want;
		} all[] = {
			{ "the flag", set_slot(&g, flags, GM_GPA, g.s.fd, 0), 0 },
			{ "again", set_slot(&g, flags, GM_GPA, g.s.fd, 0), 0 },
			{ "another file",
			  set_slot(&g, flags ^ KVM_MEM_LOG_DIRTY_PAGES, GM_GPA,
				   fd, 0), -EINVAL },
			{ "no file",
			  set_slot(&g, flags ^ KVM_MEM_LOG_DIRTY_PAGES, GM_GPA,
				   -1, 0), -EINVAL },
			{ "another offset",
			  set_slot(&g, flags ^ KVM_MEM_LOG_DIRTY_PAGES, GM_GPA,
				   g.s.fd, SM_PAGE), -EINVAL },
			{ "another place",
			  set_slot(&g, flags, GM_GPA + gm_size(&g), g.s.fd, 0),
			  -EINVAL },
			{ "both",
			  set_slot(&g, flags ^ KVM_MEM_LOG_DIRTY_PAGES,
				   GM_GPA + gm_size(&g), g.s.fd, 0), -EINVAL },
			{ "not bound",
			  set_slot(&g, flags & ~bound, GM_GPA, g.s.fd, 0),
			  -EINVAL },
			{ "read-only",
			  set_slot(&g, flags | KVM_MEM_READONLY, GM_GPA,
				   g.s.fd, 0), -EINVAL },
		};

		for (size_t i = 0; i < ARRAY_SIZE(all); i++)
			if (all[i].err != all[i].want)
				return sm_fail("%s: %s", all[i].what,
					       strerror(-all[i].err));
		gm_wait(&g);
		if (on && log_is(&g, "still logged", every_page))
			return KSFT_FAIL;
	}
	close(fd);
	return finish(&g, KSFT_PASS);
}

/* vCPUs meet the old memslot, the new one, and the file bound to either. */
static int test_dirty_toggle(void)
{
	unsigned int nr = sm_long ? 10000 : 200;
	int err, ret = KSFT_PASS;
	struct mover m;
	struct gm g;

	gm_new_strict(&g, 3, sm_nr / 8);
	gm_start(&g);
	mover_start(&m, &g);
	for (unsigned int i = 0; i < nr; i++) {
		err = log_dirty(&g, i % 2 == 0);
		if (err)
			return sm_fail("toggle %u: %s", i, strerror(-err));
	}
	err = log_dirty(&g, true);
	if (err)
		return sm_fail("at last: %s", strerror(-err));
	gm_wait(&g);
	ret = worse(ret, log_is(&g, "at last", every_page));
	sm_note("%u toggles, %lu rounds of moves", nr, m.rounds);
	mover_stop(&m);
	gm_wait(&g);
	return finish(&g, ret);
}

/* --------------------------------------------- G17: userfaultfd's minor faults */

static int uffd_register(struct gm *g, int uffd, u64 mode)
{
	struct uffdio_register reg = {
		.range = { .start = (u64)g->s.mem, .len = gm_size(g) },
		.mode = mode,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		return -errno;
	/* There is nothing to copy, and holes are filled by the file. */
	if (reg.ioctls & (1ULL << _UFFDIO_COPY | 1ULL << _UFFDIO_ZEROPAGE))
		return -EPROTO;
	return reg.ioctls & (1ULL << _UFFDIO_CONTINUE) ? 0 : -EPROTO;
}

/* An access to a page by somebody else. */
struct toucher {
	pthread_t	thread;
	u64		*page;
	u64		got;
	bool		done;
};

static void *toucher_run(void *arg)
{
	struct toucher *t = arg;

	t->got = sm_get(t->page);
	sm_set(&t->done, true);
	return NULL;
}

static void touch(struct toucher *t, struct gm *g, size_t page)
{
	memset(t, 0, sizeof(*t));
	t->page = sm_page(&g->s, page);
	kvm_pthread_create(&t->thread, NULL, toucher_run, t);
}

/* What an access to a page ends with. */
static u64 touched(struct toucher *t)
{
	pthread_join(t->thread, NULL);
	return t->got;
}

/* The page that somebody waits for, or -errno. */
static long uffd_event(struct gm *g, int uffd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	struct uffd_msg msg;

	if (poll(&poll_fd, 1, timeout_ms) != 1)
		return -ETIMEDOUT;
	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -errno;
	if (msg.event != UFFD_EVENT_PAGEFAULT ||
	    !(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR))
		return -EPROTO;
	return (msg.arg.pagefault.address - (u64)g->s.mem) / SM_PAGE;
}

static int uffd_continue(struct gm *g, int uffd, size_t page)
{
	struct uffdio_continue cont = {
		.range = { .start = (u64)sm_page(&g->s, page), .len = SM_PAGE },
	};

	return ioctl(uffd, UFFDIO_CONTINUE, &cont) ? -errno : 0;
}

static int uffd_fill(struct gm *g, int uffd, size_t page, bool zero)
{
	static char buf[SM_PAGE] __aligned(SM_PAGE);
	struct uffdio_zeropage zeropage = {
		.range = { .start = (u64)sm_page(&g->s, page), .len = SM_PAGE },
	};
	struct uffdio_copy copy = {
		.dst = (u64)sm_page(&g->s, page),
		.src = (u64)buf,
		.len = SM_PAGE,
	};

	if (zero)
		return ioctl(uffd, UFFDIO_ZEROPAGE, &zeropage) ? -errno : 0;
	return ioctl(uffd, UFFDIO_COPY, &copy) ? -errno : 0;
}

static int uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd >= 0 && ioctl(uffd, UFFDIO_API, &api)) {
		close(uffd);
		return -1;
	}
	return uffd;
}

/* What is there is mapped when the handler says so, as it is then. */
static int test_uffd_minor(void)
{
	const u64 before = 0x1111, after = 0x2222;
	int uffd = uffd_open(), err, ret = KSFT_PASS;
	unsigned int failed = 0;
	struct toucher t;
	struct gm g;
	long page;
	u64 got;

	if (uffd < 0)
		return sm_skip("no userfaultfd");
	gm_how.access = GM_RDWR;
	gm_new(&g, 1, 16, gm_guest_strict);
	if (uffd_register(&g, uffd, UFFDIO_REGISTER_MODE_MISSING) != -EINVAL ||
	    uffd_register(&g, uffd, UFFDIO_REGISTER_MODE_WP) != -EINVAL ||
	    uffd_register(&g, uffd, UFFDIO_REGISTER_MODE_MISSING |
			  UFFDIO_REGISTER_MODE_MINOR) != -EINVAL)
		ret = sm_fail("registers for more than minor faults");
	err = uffd_register(&g, uffd, UFFDIO_REGISTER_MODE_MINOR);
	if (err)
		return sm_fail("register: %s", strerror(-err));

	/* Written by the file, and written again before it is mapped. */
	if (pwrite(g.s.fd, &before, 8, 5 * SM_PAGE) != 8)
		return sm_fail("pwrite: %s", strerror(errno));
	touch(&t, &g, 5);
	page = uffd_event(&g, uffd, 5000);
	if (page != 5)
		return sm_fail("minor fault: %ld", page);
	if (pwrite(g.s.fd, &after, 8, 5 * SM_PAGE) != 8)
		ret = sm_fail("pwrite: %s", strerror(errno));
	if (sm_get(&t.done))
		ret = sm_fail("the access did not wait");
	err = uffd_continue(&g, uffd, 5);
	if (err)
		return sm_fail("continue: %s", strerror(-err));
	got = touched(&t);
	if (got != after)
		ret = sm_fail("%#lx was read", got);
	if (uffd_continue(&g, uffd, 5) != -EEXIST)
		ret = sm_fail("continued twice");

	/* Allocated, and never used: what was in the page before is not seen. */
	if (fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE, 6 * SM_PAGE, SM_PAGE))
		return sm_fail("fallocate: %s", strerror(errno));
	touch(&t, &g, 6);
	page = uffd_event(&g, uffd, 5000);
	err = uffd_continue(&g, uffd, 6);
	if (page != 6 || err)
		return sm_fail("allocated: %ld, %s", page, strerror(-err));
	got = touched(&t);
	for (unsigned int i = 0; i < SM_WORDS; i++)
		got |= sm_get((u64 *)sm_page(&g.s, 6) + i);
	if (got)
		ret = sm_fail("what was only allocated is not zero");

	/* A hole is none of its business. */
	err = uffd_continue(&g, uffd, 7);
	if (err != -EFAULT)
		ret = sm_fail("a hole was continued: %s", strerror(-err));
	touch(&t, &g, 7);
	page = uffd_event(&g, uffd, 500);
	if (page != -ETIMEDOUT)
		return sm_fail("a hole gives an event: %ld", page);
	touched(&t);
	for (int zero = 0; zero < 2; zero++) {
		err = uffd_fill(&g, uffd, 8, zero);
		if (err != -EINVAL)
			ret = sm_fail("filled: %s", strerror(-err));
	}

	/* A page that moves is mapped again without being asked for. */
	while (gm_movable() && sm_on_node(&g.s, sm_to) < 3) {
		sm_move(&g.s, sm_to);
		if (!sm_try_again(&failed))
			return sm_fail("mapped pages do not move");
	}
	if (sm_get((u64 *)sm_page(&g.s, 5)) != after ||
	    uffd_event(&g, uffd, 0) != -ETIMEDOUT)
		ret = sm_fail("a page that has moved gives an event");
	close(uffd);
	gm_free(&g);
	return ret;
}

/* The pages of a restored guest, one after the other, as somebody asks for them. */
static void *restorer_run(void *arg)
{
	struct gm *g = arg;
	size_t *wrong = calloc(1, sizeof(*wrong));

	for (size_t i = 0; i < g->s.nr; i++)
		*wrong += sm_wrong_page(&g->s, i);
	return wrong;
}

static int test_uffd_restore(void)
{
	int uffd = uffd_open(), ret = KSFT_PASS;
	char buf[SM_PAGE] __aligned(SM_PAGE);
	size_t continued = 0, *wrong;
	struct secret src;
	pthread_t thread;
	struct mover m;
	struct gm g;

	if (uffd < 0)
		return sm_skip("no userfaultfd");
	gm_how.access = GM_RDWR;
	gm_new(&g, 1, sm_nr / 4, gm_guest_strict);
	src = g.s;
	src.mem = mmap(NULL, gm_size(&g), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < g.s.nr; i++) {
		sm_fill_page(&src, i);
		memcpy(buf, sm_page(&src, i), SM_PAGE);
		if (pwrite(g.s.fd, buf, SM_PAGE, i * SM_PAGE) !=
		    (ssize_t)SM_PAGE)
			return sm_fail("pwrite: %s", strerror(errno));
	}
	if (uffd_register(&g, uffd, UFFDIO_REGISTER_MODE_MINOR))
		return sm_fail("cannot register");
	mover_start(&m, &g);
	kvm_pthread_create(&thread, NULL, restorer_run, &g);
	while (continued < g.s.nr) {
		long page = uffd_event(&g, uffd, 10000);
		int err = page < 0 ? page : uffd_continue(&g, uffd, page);

		if (err)
			return sm_fail("after %zu: %s", continued,
				       strerror(-err));
		continued++;
	}
	pthread_join(thread, (void **)&wrong);
	mover_stop(&m);
	sm_note("%zu continued, %lu rounds of moves, %zu wrong words", continued,
		m.rounds, *wrong);
	if (*wrong)
		ret = KSFT_FAIL;
	close(uffd);
	gm_free(&g);
	return ret;
}

/* ------------------------------------------------------ write(2), pwrite */

/* The byte of a file at an offset, once it is written. */
static inline u8 byte_at(u64 seed, u64 off)
{
	return sm_word(seed, off / 64, 1) >> (off % 32) | 1;
}

#define NR_RANGES	32

static struct range {
	u64 off, end;
} ranges[NR_RANGES];

/*
 * Bytes that were written, and zeroes between them, in so many pages; or in all
 * that there are, for 0.
 */
static void guest_verify_bytes(u64 nr_ranges, u64 nr_pages)
{
	const u8 *p = (u8 *)GM_GPA;
	struct gm_report *r = &gm_shared.report[0];
	u64 size = (nr_pages ?: gm_shared.nr) * SM_PAGE;
	u8 want;

	for (u64 off = 0; off < size; off++) {
		want = 0;
		for (u64 i = 0; i < nr_ranges; i++)
			if (off >= ranges[i].off && off < ranges[i].end)
				want = byte_at(gm_shared.seed, off);
		if (p[off] != want)
			gm_guest_saw(r, off / SM_PAGE, off % SM_PAGE, p[off],
				     want);
	}
	r->passes++;
	GUEST_DONE();
}

static void fill(u8 *buf, u64 seed, u64 off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = byte_at(seed, off + i);
}

static int test_pwrite(void)
{
	const u64 size = 96 * SM_PAGE;
	const struct range todo[] = {
		{ 0, 1 },				/* one byte */
		{ SM_PAGE - 3, SM_PAGE + 5 },		/* over a boundary */
		{ 2 * SM_PAGE, 3 * SM_PAGE },		/* a page */
		{ 4 * SM_PAGE + 7, 4 * SM_PAGE + 9 },
		{ 5 * SM_PAGE + 1, 9 * SM_PAGE - 1 },	/* several, at odd ends */
		{ 12 * SM_PAGE, 12 * SM_PAGE + 8 },
		{ 20 * SM_PAGE + 100, 85 * SM_PAGE + 200 },	/* over 128 kB */
		{ size - 10, size },			/* the end */
	};
	unsigned int nr = 0;
	struct iovec iov[2];
	struct gm g;
	ssize_t n;
	int ret = KSFT_PASS;
	u8 *buf, *back;

	gm_how.access = GM_RDWR;
	gm_new(&g, 1, size / SM_PAGE, guest_verify_bytes);
	/* The last page of the buffer is not there. */
	buf = mmap(NULL, size + SM_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(buf + size, SM_PAGE);

	for (size_t i = 0; i < ARRAY_SIZE(todo); i++) {
		size_t len = todo[i].end - todo[i].off;

		fill(buf, g.s.seed, todo[i].off, len);
		n = pwrite(g.s.fd, buf, len, todo[i].off);
		if (n != (ssize_t)len)
			ret = sm_fail("pwrite %zu at %lu: %zd", len,
				      todo[i].off, n);
		ranges[nr++] = todo[i];
	}

	/* By position, short at the end, nothing behind it. */
	fill(buf, g.s.seed, size - 2 * SM_PAGE + 5, 2 * SM_PAGE);
	lseek(g.s.fd, size - 2 * SM_PAGE + 5, SEEK_SET);
	n = write(g.s.fd, buf, 2 * SM_PAGE);
	if (n != 2 * SM_PAGE - 5)
		ret = sm_fail("short write: %zd", n);
	ranges[nr++] = (struct range){ size - 2 * SM_PAGE + 5, size };
	if (lseek(g.s.fd, 0, SEEK_CUR) != (off_t)size)
		ret = sm_fail("position %ld", lseek(g.s.fd, 0, SEEK_CUR));
	if (write(g.s.fd, buf, 1) != -1 || errno != EINVAL ||
	    pwrite(g.s.fd, buf, 1, size) != -1 || errno != EINVAL ||
	    pwrite(g.s.fd, buf, 1, size + 123456) != -1 || errno != EINVAL)
		ret = sm_fail("beyond the end: %s", strerror(errno));
	if (pwrite(g.s.fd, buf, 0, 0) != 0)
		ret = sm_fail("no bytes: %s", strerror(errno));

	/* A source that ends in the middle, or is not there at all. */
	fill(buf + size - 5000, g.s.seed, 14 * SM_PAGE, 5000);
	n = pwrite(g.s.fd, buf + size - 5000, 9000, 14 * SM_PAGE);
	if (n <= 0 || n > 5000)
		ret = sm_fail("half a source: %zd", n);
	else
		ranges[nr++] = (struct range){ 14 * SM_PAGE, 14 * SM_PAGE + n };
	sm_note("5000 of 9000 bytes: %zd written", n);
	if (pwrite(g.s.fd, buf + size, 100, 0) != -1 || errno != EFAULT)
		ret = sm_fail("no source: %s", strerror(errno));

	/* From several buffers. */
	fill(buf, g.s.seed, 10 * SM_PAGE + 50, 300);
	iov[0] = (struct iovec){ buf, 100 };
	iov[1] = (struct iovec){ buf + 100, 200 };
	if (pwritev(g.s.fd, iov, 2, 10 * SM_PAGE + 50) != 300)
		ret = sm_fail("pwritev: %s", strerror(errno));
	ranges[nr++] = (struct range){ 10 * SM_PAGE + 50, 10 * SM_PAGE + 350 };

	/* Read it all, from an odd offset on, and nothing at the end. */
	back = malloc(size);
	n = pread(g.s.fd, back, size, 3);
	if (n != (ssize_t)size - 3)
		ret = sm_fail("pread: %zd", n);
	for (ssize_t off = 3; off < n; off++) {
		u8 want = 0;

		for (unsigned int i = 0; i < nr; i++)
			if (off >= (ssize_t)ranges[i].off &&
			    off < (ssize_t)ranges[i].end)
				want = byte_at(g.s.seed, off);
		if (back[off - 3] != want)
			ret = sm_fail("byte %zd is read as %#x, not %#x", off,
				      back[off - 3], want);
	}
	if (pread(g.s.fd, back, 1, size) != 0)
		ret = sm_fail("there is something behind the end");
	/* The last page of the target is not there. */
	n = pread(g.s.fd, buf + size - SM_PAGE, 2 * SM_PAGE, 0);
	if (n <= 0 || n > (ssize_t)SM_PAGE)
		ret = sm_fail("half a target: %zd", n);

	sync_global_to_guest(g.vm, ranges);
	vcpu_args_set(g.vcpus[0], 2, (u64)nr, 0ul);
	gm_start(&g);
	return worse(gm_stop(&g), ret);
}

/* Write some of each page from @off on; returns 0 or -1. */
static int write_parts(const struct gm *g, const u8 *buf, size_t off)
{
	for (; off < gm_size(g); off += SM_PAGE)
		if (pwrite(g->s.fd, buf + off, 1000, off) <= 0)
			return sm_fail("pwrite: %s", strerror(errno));
	return 0;
}

/*
 * While all pages move, the guest reads those of the first half, which are
 * written, over and over, with what they have. Those of the second half get
 * something else each time: what was written last is to be there, by the
 * mapping, if there is one, and for the guest at the end.
 */
static int test_write_moving(void)
{
	const size_t half = 32;
	struct mover m;
	int ret, lost = 0;
	struct gm g;
	u8 *buf;

	gm_how.access = GM_RDWR;
	gm_new(&g, 2, 2 * half, guest_verify_bytes);
	buf = malloc(gm_size(&g));
	fill(buf, g.s.seed, 0, gm_size(&g));
	ranges[0] = (struct range){ 0, gm_size(&g) };
	sync_global_to_guest(g.vm, ranges);
	gm_vcpu_start(g.vcpus[0], 1, half);
	gm_vcpu_start(g.vcpus[1], 1, 0);
	g.nr_vcpus = 1;
	if (pwrite(g.s.fd, buf, gm_size(&g), 0) != (ssize_t)gm_size(&g))
		return sm_fail("pwrite: %s", strerror(errno));
	if (!gm_how.private)
		gm_touch(&g);
	mover_start(&m, &g);
	gm_start(&g);
	for (int i = rounds(20); i >= 0; i--) {
		fill(buf + half * SM_PAGE, g.s.seed + i, half * SM_PAGE,
		     half * SM_PAGE);
		for (size_t off = 0; off < SM_PAGE; off += 1000)
			if (write_parts(&g, buf, off))
				return KSFT_FAIL;
		if (!gm_how.private && memcmp(g.s.mem, buf, gm_size(&g)))
			lost++;
	}
	ret = gm_stop(&g);
	mover_stop(&m);

	g.vcpus[0] = g.vcpus[1];
	gm_start(&g);
	ret = worse(ret, gm_stop(&g));
	if (lost)
		ret = sm_fail("what was written was not there %d times", lost);
	return ret;
}

/* A page, at its beginning: what WRITE would allow. */
static int test_write_refused(void)
{
	static char buf[SM_PAGE];
	struct gm g;

	gm_new(&g, 1, 4, gm_guest_strict);
	if (write(g.s.fd, buf, sizeof(buf)) != -1 || errno != EINVAL)
		return sm_fail("write: %s", strerror(errno));
	if (pwrite(g.s.fd, buf, sizeof(buf), 0) != -1)
		return sm_fail("pwrite is possible");
	sm_note("pwrite: %s", strerror(errno));
	if (read(g.s.fd, buf, sizeof(buf)) != -1)
		return sm_fail("read is possible");
	return KSFT_PASS;
}

/* ------------------------------------------- G2, G16: populate, snapshots */

/* Populate only, where there is no direct map; page by page. */
static int test_write_flag(void)
{
	const size_t nr = 40;
	int ret = KSFT_PASS;
	struct gm g;
	ssize_t n;
	u8 *buf;

	gm_how.access = GM_WRITE;
	gm_new(&g, 1, nr, guest_verify_bytes);
	buf = mmap(NULL, 2 * gm_size(&g), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(buf, g.s.seed, 0, gm_size(&g));
	if (gm_how.private) {
		if (pwrite(g.s.fd, buf, SM_PAGE, 0) != -1 || errno != EPERM)
			ret = sm_fail("private memory: %s", strerror(errno));
		return ret;
	}

	/* Another's page, and the VMM's. */
	if (fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE, 10 * SM_PAGE, SM_PAGE))
		return sm_fail("fallocate: %s", strerror(errno));
	sm_set((u64 *)sm_page(&g.s, 20), 0x1234);
	ranges[0] = (struct range){ 0, gm_size(&g) };
	if (!gm_no_map()) {
		n = pwrite(g.s.fd, buf, gm_size(&g), 0);
		if (n != (ssize_t)gm_size(&g))
			ret = sm_fail("pwrite: %zd", n);
		goto limits;
	}
	n = pwrite(g.s.fd, buf, gm_size(&g), 0);
	if (n != 10 * (ssize_t)SM_PAGE)
		ret = sm_fail("up to a page that is there: %zd", n);
	n = pwrite(g.s.fd, buf + n, gm_size(&g) - n, n);
	if (n != -1 || errno != EEXIST)
		ret = sm_fail("at a page that is there: %zd, %s", n,
			      strerror(errno));
	n = pwrite(g.s.fd, buf + 11 * SM_PAGE, 20 * SM_PAGE, 11 * SM_PAGE);
	if (n != 9 * (ssize_t)SM_PAGE)
		ret = sm_fail("up to the VMM's page: %zd", n);
	if (sm_get((u64 *)sm_page(&g.s, 20)) != 0x1234)
		ret = sm_fail("the VMM's page was written");
	if (sm_get((u64 *)sm_page(&g.s, 10)))
		ret = sm_fail("an allocated page was written");
	if (fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		      10 * SM_PAGE, 11 * SM_PAGE))
		return sm_fail("punch hole: %s", strerror(errno));
	n = pwrite(g.s.fd, buf + 10 * SM_PAGE, 30 * SM_PAGE, 10 * SM_PAGE);
	if (n != 30 * (ssize_t)SM_PAGE)
		ret = sm_fail("into the hole: %zd, %s", n, strerror(errno));
limits:
	/* Short at the end; nothing behind it; no part of a page. */
	n = gm_size(&g) - SM_PAGE;
	if (!gm_no_map() &&
	    pwrite(g.s.fd, buf + n, 2 * SM_PAGE, n) != (ssize_t)SM_PAGE)
		ret = sm_fail("over the end");
	n = gm_size(&g);
	if (pwrite(g.s.fd, buf, SM_PAGE, n) != -1 || errno != EINVAL ||
	    pwrite(g.s.fd, buf, SM_PAGE, n + SM_PAGE) != -1 || errno != EINVAL)
		ret = sm_fail("behind the end: %s", strerror(errno));
	if (pwrite(g.s.fd, buf, 100, 0) != -1 || errno != EINVAL ||
	    pwrite(g.s.fd, buf, SM_PAGE, 8) != -1 || errno != EINVAL)
		ret = sm_fail("parts of pages: %s", strerror(errno));
	if (pread(g.s.fd, buf, SM_PAGE, 0) != -1)
		ret = sm_fail("the file can be read");

	sync_global_to_guest(g.vm, ranges);
	vcpu_args_set(g.vcpus[0], 2, 1ul, 0ul);
	gm_start(&g);
	return worse(gm_stop(&g), ret);
}

/*
 * At the moment that a page is populated, the guest uses it: it finds all of
 * what is written, or has a page of zeroes that it keeps. In every other page
 * it stores a word first.
 */
#define RACE_WORD	7
#define RACE_TAG(page)	(0x7a67000000000000ULL | (page))

static void guest_race_writer(u64 id, u64 stride)
{
	struct gm_report *r = &gm_shared.report[0];

	for (u64 page = 0; page < gm_shared.nr; page++) {
		u64 *p = gm_guest_page(page), last, want;

		sm_set(&r->gen, page + 1);
		while (sm_get(&gm_shared.arg[0]) <= page)
			cpu_relax();
		if (page % 2)
			sm_set(&p[RACE_WORD], RACE_TAG(page));
		last = sm_get(&p[SM_WORDS - 1]);
		for (u64 i = 0; i < SM_WORDS; i++) {
			want = last ? sm_word(gm_shared.seed, page, i) : 0;
			if (page % 2 && i == RACE_WORD)
				want = RACE_TAG(page);
			if (sm_get(&p[i]) != want)
				gm_guest_saw(r, page, i, sm_get(&p[i]), want);
		}
	}
	r->passes++;
	GUEST_DONE();
}

static int test_write_race(void)
{
	size_t written = 0, first = 0, nr = sm_nr / 2;
	int ret = KSFT_PASS;
	struct gm g;
	u64 *buf;

	gm_how.access = GM_WRITE;
	gm_new(&g, 1, nr, guest_race_writer);
	buf = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	gm_start(&g);
	for (size_t page = 0; page < nr; page++) {
		for (unsigned int i = 0; i < SM_WORDS; i++)
			buf[i] = sm_word(g.s.seed, page, i);
		while (sm_get(&g.shared->report[0].gen) <= page &&
		       !g.threads[0].err)
			sched_yield();
		sm_set(&g.shared->arg[0], page + 1);
		/* Sometimes one is first, sometimes the other. */
		for (size_t spin = page % 64 * 64; spin; spin--)
			asm volatile("" ::: "memory");
		if (pwrite(g.s.fd, buf, SM_PAGE, page * SM_PAGE) ==
		    (ssize_t)SM_PAGE)
			written++;
		else if (errno == EEXIST)
			first++;
		else
			ret = sm_fail("pwrite: %s", strerror(errno));
	}
	ret = worse(gm_stop(&g), ret);
	for (size_t page = 1; page < nr; page += 2)
		if (sm_get((u64 *)sm_page(&g.s, page) + RACE_WORD) !=
		    RACE_TAG(page))
			ret = sm_fail("page %zu: what the guest wrote is lost",
				      page);
	sm_note("%zu written, the guest was first %zu times", written, first);
	return ret;
}

/* A snapshot is what SEEK_DATA finds; restored into another file. */
static int snapshot(struct gm *g, int to, size_t *pages, size_t *holes)
{
	off_t data, hole = 0, size = gm_size(g);
	char *buf = malloc(size);

	for (*pages = *holes = 0; hole < size; ) {
		data = lseek(g->s.fd, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			data = size;
		if (data < hole)
			return sm_fail("SEEK_DATA: %s", strerror(errno));
		*holes += (data - hole) / SM_PAGE;
		if (data == size)
			break;
		hole = lseek(g->s.fd, data, SEEK_HOLE);
		if (hole <= data)
			return sm_fail("SEEK_HOLE: %s", strerror(errno));
		*pages += (hole - data) / SM_PAGE;
		if (pread(g->s.fd, buf, hole - data, data) != hole - data)
			return sm_fail("pread: %s", strerror(errno));
		if (to >= 0 &&
		    pwrite(to, buf, hole - data, data) != hole - data)
			return sm_fail("pwrite: %s", strerror(errno));
	}
	free(buf);
	return KSFT_PASS;
}

static int test_snapshot(void)
{
	size_t nr = 200, pages, holes, want = 0;
	char *a, *b;
	struct gm g, new;
	unsigned int seed = 5;
	int ret;

	gm_how.access = GM_RDWR;
	gm_new(&g, 1, nr, gm_guest_strict);
	gm_new(&new, 1, nr, gm_guest_strict);
	a = malloc(gm_size(&g));
	b = malloc(gm_size(&g));
	for (size_t page = 0; page < nr; page++) {
		if (rand_r(&seed) % 3 == 0)
			continue;
		fill((u8 *)a, g.s.seed, page * SM_PAGE, SM_PAGE);
		if (pwrite(g.s.fd, a, SM_PAGE, page * SM_PAGE) !=
		    (ssize_t)SM_PAGE)
			return sm_fail("pwrite: %s", strerror(errno));
		want++;
	}
	/* Reading leaves holes as they are. */
	memset(a, 1, gm_size(&g));
	if (pread(g.s.fd, a, gm_size(&g), 0) != (ssize_t)gm_size(&g))
		return sm_fail("pread: %s", strerror(errno));
	ret = snapshot(&g, new.s.fd, &pages, &holes);
	sm_note("%zu pages, %zu holes", pages, holes);
	if (ret != KSFT_PASS)
		return ret;
	if (pages != want || holes != nr - want)
		return sm_fail("not %zu and %zu", want, nr - want);
	if (pread(new.s.fd, b, gm_size(&g), 0) != (ssize_t)gm_size(&g) ||
	    memcmp(a, b, gm_size(&g)))
		return sm_fail("the new file differs");
	for (size_t i = 0; i < gm_size(&g); i++) {
		u8 byte = byte_at(g.s.seed, i);

		if (a[i] && (u8)a[i] != byte)
			return sm_fail("byte %zu: %#x, not %#x", i, (u8)a[i],
				       byte);
	}
	ret = snapshot(&new, -1, &pages, &holes);
	if (pages != want || holes != nr - want)
		ret = sm_fail("then %zu pages, %zu holes", pages, holes);
	return ret;
}

/* ------------------------------- M7: what KVM itself has in guest memory */

/* Run to the guest's next GUEST_SYNC; false at its end. */
static bool run_to_sync(struct gm *g, struct ucall *uc)
{
	vcpu_run(g->vcpus[0]);
	if (g->vcpus[0]->run->exit_reason != KVM_EXIT_IO)
		exit(sm_fail("exit %s",
			     exit_reason_str(g->vcpus[0]->run->exit_reason)));
	switch (get_ucall(g->vcpus[0], uc)) {
	case UCALL_SYNC:
		return true;
	case UCALL_DONE:
		return false;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(*uc);
	default:
		exit(sm_fail("unknown ucall"));
	}
}

/* Move the guest's pages while it does not run; false if it did not work. */
static bool moved_to(struct gm *g, int node)
{
	size_t there;

	gm_touch(g);
	there = gm_move(g, node);
	if (gm_movable() && there != g->s.nr)
		sm_fail("%zu of %zu pages moved", there, g->s.nr);
	return !gm_movable() || there == g->s.nr;
}

static u64 guest_clock(const struct pvclock_vcpu_time_info *info)
{
	u32 version;
	u64 ns;

	do {
		version = sm_get(&info->version);
		asm volatile("" ::: "memory");
		ns = rdtsc() - info->tsc_timestamp;
		if (info->tsc_shift >= 0)
			ns <<= info->tsc_shift;
		else
			ns >>= -info->tsc_shift;
		ns = (unsigned __int128)ns * info->tsc_to_system_mul >> 32;
		ns += info->system_time;
		asm volatile("" ::: "memory");
	} while (version & 1 || version != sm_get(&info->version));
	return ns;
}

static void guest_kvm_clock(u64 id, u64 stride)
{
	struct pvclock_vcpu_time_info *info = (void *)(GM_GPA + 64);

	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (GM_GPA + 64) | KVM_MSR_ENABLED);
	for (int i = 0; i < 4; i++)
		GUEST_SYNC_ARGS(i, guest_clock(info), info->version,
				info->tsc_to_system_mul, 0);
	GUEST_DONE();
}

static bool first_page(u64 page)
{
	return !page;
}

/* What KVM writes by itself is logged as well. */
static int test_dirty_clock(void)
{
	struct kvm_clock_data data;
	int err, ret = KSFT_PASS;
	struct ucall uc;
	struct gm g;

	gm_new(&g, 1, 4, guest_kvm_clock);
	gm_allocate(&g, sm_from);
	err = log_dirty(&g, true);
	if (err)
		return sm_fail("cannot be logged: %s", strerror(-err));
	for (int i = 0; i < 3; i++) {
		if (!run_to_sync(&g, &uc))
			return sm_fail("the guest has ended");
		ret = worse(ret, log_is(&g, "a clock that was set", first_page));
		memset(&data, 0, sizeof(data));
		data.clock = (i + 1) * 1000 * NSEC_PER_SEC;
		vm_ioctl(g.vm, KVM_SET_CLOCK, &data);
	}
	gm_free(&g);
	return ret;
}

static int test_kvm_clock(void)
{
	struct kvm_clock_data data;
	u64 version = 0, ns = 0, before;
	int nodes[] = { sm_from, sm_to };
	struct ucall uc;
	struct gm g;

	gm_new(&g, 1, 4, guest_kvm_clock);
	gm_allocate(&g, sm_from);
	for (int i = 0; run_to_sync(&g, &uc); i++) {
		if (uc.args[3] & 1 || uc.args[3] <= version || !uc.args[4])
			return sm_fail("update %d: version %lu, was %lu", i,
				       uc.args[3], version);
		if (uc.args[2] <= ns)
			return sm_fail("update %d: %lu ns after %lu ns", i,
				       uc.args[2], ns);
		version = uc.args[3];
		ns = uc.args[2];
		if (!moved_to(&g, nodes[(i + 1) % 2]))
			return KSFT_FAIL;
		/* Set the clock on: the guest has to be told. */
		memset(&data, 0, sizeof(data));
		vm_ioctl(g.vm, KVM_GET_CLOCK, &data);
		before = data.clock;
		memset(&data, 0, sizeof(data));
		ns = before + 1000 * NSEC_PER_SEC;
		data.clock = ns;
		vm_ioctl(g.vm, KVM_SET_CLOCK, &data);
	}
	sm_note("version %lu", version);
	return KSFT_PASS;
}

static void guest_steal_time(u64 id, u64 stride)
{
	struct kvm_steal_time *st = (void *)(GM_GPA + 128);

	wrmsr(MSR_KVM_STEAL_TIME, (GM_GPA + 128) | KVM_MSR_ENABLED);
	for (int i = 0; i < 4; i++)
		GUEST_SYNC_ARGS(i, sm_get(&st->version), sm_get(&st->steal), 0,
				0);
	GUEST_DONE();
}

static int test_steal_time(void)
{
	int nodes[] = { sm_from, sm_to };
	u64 version = 0;
	struct ucall uc;
	struct gm g;

	if (!kvm_cpu_has(X86_FEATURE_KVM_STEAL_TIME))
		return sm_skip("KVM has no steal time");
	gm_new(&g, 1, 4, guest_steal_time);
	gm_allocate(&g, sm_from);
	for (int i = 0; run_to_sync(&g, &uc); i++) {
		if (uc.args[2] & 1 || uc.args[2] <= version)
			return sm_fail("update %d: version %lu, was %lu", i,
				       uc.args[2], version);
		version = uc.args[2];
		if (!moved_to(&g, nodes[(i + 1) % 2]))
			return KSFT_FAIL;
		/* KVM looks when the vCPU is loaded. */
		sm_run_on(i % 2);
	}
	sm_note("version %lu", version);
	return KSFT_PASS;
}

/*
 * vCPU 0 has its clock and its steal time in the first page, and all vCPUs read
 * them. The VMM says when it changes something, so that no reader takes an old
 * page's version for that of a new one.
 */
#define CLOCK_SPINS	10000000UL

static bool guest_clock_once(struct gm_report *r,
			     const struct pvclock_vcpu_time_info *info, u64 *ns)
{
	unsigned long spins = 0;
	u64 change = sm_get(&gm_shared.arg[0]), delta;
	u32 version, mul;
	s8 shift;

	while ((version = sm_get(&info->version)) & 1) {
		if (++spins < CLOCK_SPINS)
			continue;
		gm_guest_saw(r, 0, 0, version, version + 1);
		return false;
	}
	asm volatile("" ::: "memory");
	delta = rdtsc() - info->tsc_timestamp;
	shift = info->tsc_shift;
	mul = info->tsc_to_system_mul;
	delta = shift >= 0 ? delta << shift : delta >> -shift;
	*ns = ((unsigned __int128)delta * mul >> 32) + info->system_time;
	asm volatile("" ::: "memory");
	return mul && version == sm_get(&info->version) && !(change & 1) &&
	       change == sm_get(&gm_shared.arg[0]);
}

static void guest_clock_reader(u64 id, u64 stride)
{
	const struct pvclock_vcpu_time_info *info = (void *)(GM_GPA + 64);
	struct gm_report *r = &gm_shared.report[id];
	u64 ns, last = 0;

	if (!id) {
		wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (GM_GPA + 64) | KVM_MSR_ENABLED);
		if (gm_shared.arg[1])
			wrmsr(MSR_KVM_STEAL_TIME,
			      (GM_GPA + 128) | KVM_MSR_ENABLED);
	}
	do {
		if (!guest_clock_once(r, info, &ns))
			continue;
		if (ns < last)
			gm_guest_saw(r, 0, 1, ns, last);
		last = ns;
		sm_set(&r->passes, r->passes + 1);
	} while (!sm_get(&gm_shared.stop));
	GUEST_DONE();
}

static void clock_changes(struct gm *g)
{
	sm_set(&g->shared->arg[0], g->shared->arg[0] + 1);
}

/* A page with an error stays for a while, then it leaves the file. */
static size_t clock_poison(struct gm *g, u64 *pfn)
{
	if (!gm_no_map() || !sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return 0;
	access((char *)g->s.mem, F_OK);
	*pfn = sm_pfn(g->s.mem);
	if (!*pfn)
		return 0;
	sm_writef(SM_DEBUGFS "hwpoison/corrupt-pfn", "%#llx",
		  (unsigned long long)*pfn);
	sm_sleep_ms(2);
	return sm_kpf(*pfn, SM_KPF_HWPOISON);
}

static int test_clock_races(void)
{
	const int punch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
	struct pvclock_vcpu_time_info *info;
	size_t times = 0, poisoned = 0;
	struct kvm_clock_data data;
	struct kvm_steal_time *st;
	int nodes[] = { sm_from, sm_to }, ret;
	double end;
	struct gm g;
	u64 pfn[8], ns;

	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	gm_new(&g, 2, 1, guest_clock_reader);
	g.shared->arg[1] = kvm_cpu_has(X86_FEATURE_KVM_STEAL_TIME);
	g.retry = true;
	gm_start(&g);
	gm_wait(&g);
	end = sm_now() + rounds(40);
	for (; times < (size_t)rounds(60) && sm_now() < end; times++) {
		bool change = times % 3 == 2;

		if (change)
			clock_changes(&g);
		if (times % 15 == 14 && poisoned < ARRAY_SIZE(pfn))
			poisoned += clock_poison(&g, &pfn[poisoned]);
		if (change && fallocate(g.s.fd, punch, 0, SM_PAGE))
			return sm_fail("punch hole: %s", strerror(errno));
		if (change)
			clock_changes(&g);
		/* The error stays in the mapping, when the page has gone. */
		if (change && mmap(g.s.mem, SM_PAGE, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED, g.s.fd, 0) !=
			      (void *)g.s.mem)
			return sm_fail("mmap: %s", strerror(errno));
		access((char *)g.s.mem, F_OK);
		sm_move(&g.s, nodes[times % 2]);

		/* All vCPUs are to be told. */
		memset(&data, 0, sizeof(data));
		vm_ioctl(g.vm, KVM_GET_CLOCK, &data);
		ns = data.clock;
		memset(&data, 0, sizeof(data));
		data.clock = ns + 10 * NSEC_PER_SEC;
		vm_ioctl(g.vm, KVM_SET_CLOCK, &data);
		sm_run_on(times % 2);
	}
	gm_wait(&g);
	ret = gm_stop(&g);
	info = (void *)((char *)g.s.mem + 64);
	st = (void *)((char *)g.s.mem + 128);
	sm_note("%zu times, %zu poisoned, versions %u and %u", times, poisoned,
		info->version, st->version);
	if (info->version & 1 || st->version & 1)
		ret = sm_fail("an odd version is left: %u, %u", info->version,
			      st->version);
	gm_free(&g);
	for (size_t i = 0; i < poisoned; i++)
		sm_writef(SM_DEBUGFS "hwpoison/unpoison-pfn", "%#llx",
			  (unsigned long long)pfn[i]);
	return ret;
}

/*
 * String I/O, and copies from where there is no memory, are emulated by KVM,
 * with the guest's memory as the other operand.
 */
#define NO_MEMORY	(GM_GPA + SZ_1G)

static void guest_string_io(u64 id, u64 stride)
{
	u64 *p = (u64 *)GM_GPA;
	void *src, *dst;
	u64 count;

	for (u64 i = 0; i < 4; i++) {
		for (u64 k = 0; k < 8; k++)
			p[k] = 0x1111111111111111ULL * (i + k + 1);
		src = p;
		count = 64;
		asm volatile("rep outsb" : "+S"(src), "+c"(count) :
			     "d"(0x70) : "memory");
		dst = p + 512;
		count = 64;
		asm volatile("rep insb" : "+D"(dst), "+c"(count) :
			     "d"(0x70) : "memory");
		src = (void *)NO_MEMORY;
		dst = p + 1024;
		count = 64;
		asm volatile("rep movsb" : "+S"(src), "+D"(dst), "+c"(count) :
			     : "memory");
		for (u64 k = 0; k < 8; k++) {
			GUEST_ASSERT_EQ(p[512 + k], ~p[k]);
			GUEST_ASSERT_EQ(p[1024 + k], ~p[k]);
		}
		GUEST_SYNC(i);
	}
	GUEST_DONE();
}

static int test_string_io(void)
{
	int nodes[] = { sm_from, sm_to }, i = 0;
	size_t out = 0, in = 0, mmio = 0;
	u8 buf[64] = { 0 }, *data;
	struct kvm_run *run;
	struct ucall uc;
	struct gm g;

	gm_new(&g, 1, 4, guest_string_io);
	virt_map(g.vm, NO_MEMORY, NO_MEMORY, 1);
	gm_allocate(&g, sm_from);
	gm_touch(&g);
	run = g.vcpus[0]->run;
	for (;;) {
		vcpu_run(g.vcpus[0]);
		if (run->exit_reason == KVM_EXIT_MMIO) {
			for (u32 k = 0; k < run->mmio.len; k++)
				run->mmio.data[k] = ~buf[mmio++ % 64];
			continue;
		}
		if (run->exit_reason != KVM_EXIT_IO)
			return sm_fail("exit %s",
				       exit_reason_str(run->exit_reason));
		data = (u8 *)run + run->io.data_offset;
		if (run->io.port != 0x70) {
			if (get_ucall(g.vcpus[0], &uc) == UCALL_DONE)
				break;
			if (uc.cmd == UCALL_ABORT)
				REPORT_GUEST_ASSERT(uc);
			if (!moved_to(&g, nodes[++i % 2]))
				return KSFT_FAIL;
			continue;
		}
		for (u32 k = 0; k < run->io.count * run->io.size; k++) {
			if (run->io.direction == KVM_EXIT_IO_OUT)
				buf[out++ % 64] = data[k];
			else
				data[k] = ~buf[in++ % 64];
		}
	}
	sm_note("%zu bytes out, %zu in, %zu from no memory", out, in, mmio);
	return out == 256 && in == 256 && mmio == 256 ? KSFT_PASS : KSFT_FAIL;
}

/* Where the pages of nested virtualization are, in the guest's memory. */
enum nested_page {
	NESTED_VMCB, NESTED_SAVE, NESTED_MSR, NESTED_MSR2, NESTED_STACK,
	NESTED_VMXON, NESTED_SHADOW, NESTED_VMREAD, NESTED_VMWRITE,
	NESTED_RESULT, NESTED_VAPIC, NESTED_APIC,
	NESTED_PML5, NESTED_PML4, NESTED_PDPT, NESTED_LOW, NESTED_HIGH,
	NESTED_NR,
};

/* Second-level page tables: what the guest has, in pages of 2 MB. */
static u64 nested_tables(u64 leaf, bool five_levels)
{
	u64 *pml5 = gm_guest_page(NESTED_PML5);
	u64 *pml4 = gm_guest_page(NESTED_PML4);
	u64 *pdpt = gm_guest_page(NESTED_PDPT);
	u64 *low = gm_guest_page(NESTED_LOW);
	u64 *high = gm_guest_page(NESTED_HIGH);

	pml5[0] = (u64)pml4 | 7;
	pml4[0] = (u64)pdpt | 7;
	pdpt[0] = (u64)low | 7;
	pdpt[GM_GPA / SZ_1G] = (u64)high | 7;
	for (u64 i = 0; i < 512; i++) {
		low[i] = i * SZ_2M | leaf;
		high[i] = (GM_GPA + i * SZ_2M) | leaf;
	}
	return (u64)(five_levels ? pml5 : pml4);
}

static void l2_code_svm(void)
{
	u64 *result = gm_guest_page(NESTED_RESULT);

	for (;;) {
		sm_set(result, sm_get(result) + 1);
		vmmcall();
	}
}

static void l2_code_vmx(void)
{
	u64 *result = gm_guest_page(NESTED_RESULT);

	for (;;) {
		sm_set(result, sm_get(result) + 1);
		vmcall();
	}
}

static void l1_code_svm(u64 id, u64 stride)
{
	struct svm_test_data svm = {
		.vmcb = (void *)gm_guest_page(NESTED_VMCB),
		.vmcb_gpa = (u64)gm_guest_page(NESTED_VMCB),
		.save_area = (void *)gm_guest_page(NESTED_SAVE),
		.save_area_gpa = (u64)gm_guest_page(NESTED_SAVE),
		.msr = gm_guest_page(NESTED_MSR),
		.msr_gpa = (u64)gm_guest_page(NESTED_MSR),
		.stack = gm_guest_page(NESTED_STACK + 1) - 8,
	};
	u64 *result = gm_guest_page(NESTED_RESULT), n = 0;
	struct gm_report *r = &gm_shared.report[0];

	if (gm_shared.arg[0])
		svm.ncr3_gpa = nested_tables(0xe7, get_cr4() & X86_CR4_LA57);
	generic_svm_setup(&svm, l2_code_svm);
	while (!sm_get(&gm_shared.stop)) {
		run_guest(svm.vmcb, svm.vmcb_gpa);
		GUEST_ASSERT_EQ(svm.vmcb->control.exit_code, SVM_EXIT_VMMCALL);
		GUEST_ASSERT_EQ(sm_get(result), ++n);
		svm.vmcb->save.rip += 3;
		sm_set(&r->passes, n);
	}
	GUEST_DONE();
}

/* The pages that KVM has from entry to exit, and the MSR bitmap. */
static void nested_vmx_pages(void)
{
	u32 can = rdmsr(MSR_IA32_VMX_TRUE_PROCBASED_CTLS) >> 32;
	u32 use = vmreadz(CPU_BASED_VM_EXEC_CONTROL);

	use |= can & (CPU_BASED_TPR_SHADOW | CPU_BASED_USE_MSR_BITMAPS);
	GUEST_ASSERT(!vmwrite(VIRTUAL_APIC_PAGE_ADDR,
			      (u64)gm_guest_page(NESTED_VAPIC)));
	GUEST_ASSERT(!vmwrite(CPU_BASED_VM_EXEC_CONTROL, use));
	if (!(use & can & CPU_BASED_ACTIVATE_SECONDARY_CONTROLS))
		return;

	can = rdmsr(MSR_IA32_VMX_PROCBASED_CTLS2) >> 32;
	use = vmreadz(SECONDARY_VM_EXEC_CONTROL);
	if (!(can & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES))
		return;
	use |= SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES;
	GUEST_ASSERT(!vmwrite(APIC_ACCESS_ADDR,
			      (u64)gm_guest_page(NESTED_APIC)));
	GUEST_ASSERT(!vmwrite(SECONDARY_VM_EXEC_CONTROL, use));
}

static void l1_code_vmx(u64 id, u64 stride)
{
	struct vmx_pages vmx = {
		.vmxon = gm_guest_page(NESTED_VMXON),
		.vmxon_gpa = (u64)gm_guest_page(NESTED_VMXON),
		.vmcs = gm_guest_page(NESTED_VMCB),
		.vmcs_gpa = (u64)gm_guest_page(NESTED_VMCB),
		.msr = gm_guest_page(NESTED_MSR),
		.msr_gpa = (u64)gm_guest_page(NESTED_MSR),
		.shadow_vmcs = gm_guest_page(NESTED_SHADOW),
		.shadow_vmcs_gpa = (u64)gm_guest_page(NESTED_SHADOW),
		.vmread = gm_guest_page(NESTED_VMREAD),
		.vmread_gpa = (u64)gm_guest_page(NESTED_VMREAD),
		.vmwrite = gm_guest_page(NESTED_VMWRITE),
		.vmwrite_gpa = (u64)gm_guest_page(NESTED_VMWRITE),
		.stack = gm_guest_page(NESTED_STACK + 1) - 8,
	};
	u64 *result = gm_guest_page(NESTED_RESULT), n = 0;
	struct gm_report *r = &gm_shared.report[0];

	/* EPT: write-back. */
	if (gm_shared.arg[0])
		vmx.eptp_gpa = nested_tables(0xb7, false);
	GUEST_ASSERT(prepare_for_vmx_operation(&vmx));
	GUEST_ASSERT(load_vmcs(&vmx));
	prepare_vmcs(&vmx, l2_code_vmx);
	nested_vmx_pages();
	vmwrite(GUEST_RSP, (u64)vmx.stack);
	while (!sm_get(&gm_shared.stop)) {
		if (n)
			GUEST_ASSERT(!vmresume());
		else
			GUEST_ASSERT(!vmlaunch());
		GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
		GUEST_ASSERT_EQ(sm_get(result), ++n);
		vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) +
			vmreadz(VM_EXIT_INSTRUCTION_LEN));
		sm_set(&r->passes, n);
	}
	GUEST_DONE();
}

/*
 * A guest that runs a guest of its own, with all its state in such memory, as
 * that moves.
 */
static int nested(bool paging)
{
	int nodes[] = { sm_from, sm_to };
	size_t there = 0;
	struct gm g;

	if (kvm_cpu_has(X86_FEATURE_SVM))
		gm_new(&g, 1, NESTED_NR, l1_code_svm);
	else if (kvm_cpu_has(X86_FEATURE_VMX))
		gm_new(&g, 1, NESTED_NR, l1_code_vmx);
	else
		return sm_skip("no nested virtualization");
	if (paging && !(kvm_cpu_has(X86_FEATURE_SVM) ? kvm_cpu_has_npt() :
						       kvm_cpu_has_ept()))
		return sm_skip("no nested paging");
	g.shared->arg[0] = paging;
	gm_allocate(&g, sm_from);
	gm_touch(&g);
	gm_start(&g);
	gm_wait(&g);
	for (int i = 1; i <= rounds(3); i++) {
		there = gm_move(&g, nodes[i % 2]);
		gm_wait(&g);
	}
	return worse(gm_stop(&g), verdict("then", there, g.s.nr));
}

static int test_nested(void)
{
	return nested(false);
}

/* Its page tables are there, too: KVM walks them, and follows their changes. */
static int test_nested_paging(void)
{
	return nested(true);
}

/*
 * vCPU 1 counts in a page that KVM uses at each entry of vCPU 0's guest, in a
 * word that KVM has nothing to do with.
 */
static void guest_neighbour(u64 id)
{
	u64 *word = gm_guest_page(gm_shared.arg[1]) + SM_WORDS - 1, n = 0, got;
	struct gm_report *r = &gm_shared.report[id];

	while (!sm_get(&gm_shared.report[0].passes))
		cpu_relax();
	sm_set(word, 0);
	do {
		got = sm_get(word);
		if (got != n)
			gm_guest_saw(r, gm_shared.arg[1], SM_WORDS - 1, got, n);
		sm_set(word, ++n);
		sm_set(&r->passes, n);
	} while (!sm_get(&gm_shared.stop));
	GUEST_DONE();
}

static void l1_and_neighbour_svm(u64 id, u64 stride)
{
	if (id)
		guest_neighbour(id);
	else
		l1_code_svm(id, stride);
}

static void l1_and_neighbour_vmx(u64 id, u64 stride)
{
	if (id)
		guest_neighbour(id);
	else
		l1_code_vmx(id, stride);
}

#define CSD_TRACE	GM_TRACEFS "/instances/gm_csd/"
#define CSD_EVENT	CSD_TRACE "events/csd/csd_queue_cpu/enable"

/* How often a thread has made another CPU flush what the kernel has mapped. */
static size_t kernel_flushes(int tid)
{
	char line[256], task[16];
	size_t nr = 0;
	FILE *f;

	/* 16 at most, as the names of tasks are. */
	snprintf(task, sizeof(task), "-%d ", tid);
	f = fopen(CSD_TRACE "trace", "re");
	while (f && fgets(line, sizeof(line), f))
		nr += strstr(line, task) &&
		      (strstr(line, "func=do_kernel_range_flush") ||
		       strstr(line, "func=do_flush_tlb_all"));
	if (f)
		fclose(f);
	return nr;
}

/*
 * What a guest does with a guest of its own interrupts no other CPU, and what
 * KVM writes meanwhile costs nobody else's writes.
 */
static int test_nested_flushes(void)
{
	const u64 entries = rounds(1000);
	bool svm = kvm_cpu_has(X86_FEATURE_SVM);
	size_t flushes;
	u64 end;
	struct gm g;
	int ret;

	if (!svm && !kvm_cpu_has(X86_FEATURE_VMX))
		return sm_skip("no nested virtualization");
	gm_new(&g, 2, NESTED_NR,
	       svm ? l1_and_neighbour_svm : l1_and_neighbour_vmx);
	/* KVM writes to SVM's VMCB; of VMX's pages it maps the MSR bitmap. */
	g.shared->arg[1] = svm ? NESTED_VMCB : NESTED_MSR;
	gm_allocate(&g, sm_from);
	gm_start(&g);
	gm_wait(&g);

	mkdir(CSD_TRACE, 0700);
	if (sm_write(CSD_EVENT, "1"))
		return sm_fail("no csd_queue_cpu");
	end = gm_passes(&g, 0) + entries;
	while (gm_passes(&g, 0) < end && !g.threads[0].err && !g.threads[1].err)
		sm_sleep_ms(5);
	sm_write(CSD_EVENT, "0");
	flushes = kernel_flushes(gm_told->vcpus[0].tid);
	rmdir(CSD_TRACE);

	ret = gm_stop(&g);
	sm_note("%lu entries, %zu flushes on %d CPUs", entries, flushes,
		get_nprocs());
	if (flushes)
		ret = sm_fail("%lu entries have flushed %zu times", entries,
			      flushes);
	return ret;
}

static int test_xen(void)
{
	struct kvm_xen_vcpu_attr attr = {
		.type = KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO,
		.u.gpa = GM_GPA,
	};
	struct gm g;
	int r;

	if (!kvm_check_cap(KVM_CAP_XEN_HVM))
		return sm_skip("no CONFIG_KVM_XEN");
	gm_new(&g, 1, 4, gm_guest_strict);
	gm_allocate(&g, sm_from);
	r = __vcpu_ioctl(g.vcpus[0], KVM_XEN_VCPU_SET_ATTR, &attr);
	sm_note("vcpu_info: %s", r ? strerror(errno) : "taken");
	if (gm_no_map())
		return r && errno == EFAULT ? KSFT_PASS : KSFT_FAIL;
	return r ? KSFT_FAIL : KSFT_PASS;
}

/* Whether a vCPU's thread has ended, as it has to when its page is poisoned. */
static bool ended_by_poison(struct gm_thread *t)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 10;
	if (pthread_timedjoin_np(t->thread, NULL, &end))
		return false;
	sm_note("KVM_RUN: %s, %s", strerror(t->err), exit_reason_str(t->exit));
	return true;
}

/* Arm one of the kernel's fault injections, which fails each time from then on. */
static void fail_always(const char *what, const char *const how[][2], size_t nr)
{
	const char *const always[][2] = {
		{ "interval", "1" }, { "times", "-1" }, { "verbose", "0" },
		{ "probability", "100" },
	};
	char path[128];

	for (size_t i = 0; i < nr + ARRAY_SIZE(always); i++) {
		const char *const *set = i < nr ? how[i] : always[i - nr];

		snprintf(path, sizeof(path), SM_DEBUGFS "%s/%s", what, set[0]);
		sm_write(path, set[1]);
	}
}

/* ------------------------------------------- G11 to G13: folios of 2 MB */

/* How many pages of the file the VMM has mapped by huge ones. */
static size_t huge_mapped(const struct gm *g)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long long kb = 0;
	char line[256], start[32];
	bool here = false;

	snprintf(start, sizeof(start), "%lx-", (unsigned long)g->s.mem);
	while (f && fgets(line, sizeof(line), f)) {
		if (isdigit(line[0]) || islower(line[0]))
			here = !strncmp(line, start, strlen(start));
		else if (here &&
			 sscanf(line, "FilePmdMapped: %llu kB", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb * 1024 / SM_PAGE;
}

/* The huge folios of files that are on a node. */
static long long file_huge(int node)
{
	sm_stat_refresh();
	return sm_node_vmstat(node, "nr_file_hugepages");
}

/* All that maps the memory maps 2 MB at a time, also when it has moved. */
static int test_huge(void)
{
	const size_t nr = 4 * GM_HUGE_PAGES;
	long long splits = sm_vmstat("direct_map_level2_splits");
	int ret = KSFT_PASS;
	long long from, to;
	u64 faults, mapped;
	struct gm g;

	gm_new_strict(&g, 1, nr);
	from = file_huge(sm_from);
	to = file_huge(sm_to);
	if (info_of(&g, "gmem-huge") != (long long)nr)
		ret = sm_fail("%lld of %zu pages are in huge folios",
			      info_of(&g, "gmem-huge"), nr);
	if (huge_mapped(&g) != nr)
		ret = sm_fail("the VMM has %zu of %zu in huge mappings",
			      huge_mapped(&g), nr);
	gm_start(&g);
	gm_wait(&g);
	faults = vcpu_get_stat(g.vcpus[0], pf_fixed);
	ret = worse(ret, verdict("then", gm_move(&g, sm_to), nr));
	gm_wait(&g);
	faults = vcpu_get_stat(g.vcpus[0], pf_fixed) - faults;
	mapped = vm_get_stat(g.vm, pages_2m);
	sm_note("%lu faults for %zu pages; pages_2m: %lu", faults, nr, mapped);
	if (faults > nr / 256 || mapped < nr / GM_HUGE_PAGES)
		ret = KSFT_FAIL;
	if (from - file_huge(sm_from) != nr / GM_HUGE_PAGES ||
	    file_huge(sm_to) - to != nr / GM_HUGE_PAGES)
		ret = sm_fail("huge folios of files: %lld to %lld, %lld to %lld",
			      from, file_huge(sm_from), to, file_huge(sm_to));
	gm_touch(&g);
	if (info_of(&g, "gmem-huge") != (long long)nr || huge_mapped(&g) != nr)
		ret = sm_fail("moved: %lld in huge folios, %zu in huge mappings",
			      info_of(&g, "gmem-huge"), huge_mapped(&g));
	splits = sm_vmstat("direct_map_level2_splits") - splits;
	if (splits)
		ret = sm_fail("%lld pages of the direct map were split", splits);
	return finish(&g, ret);
}

static bool hole_in_one(size_t page)
{
	return page == 5;
}

static bool hole_over_edge(size_t page)
{
	return hole_in_one(page) || (page >= 300 && page < 900);
}

/* Words that are other than the guest has left them, or not zero in a hole. */
static size_t hole_wrong(const struct gm *g, bool (*in_hole)(size_t page))
{
	u64 gen = g->shared->report[0].gen;
	size_t wrong = 0;

	for (size_t page = 0; page < g->s.nr; page++) {
		u64 want = gm_first(g->s.seed, page, gen);
		u64 *p = sm_page(&g->s, page);

		for (unsigned int i = 0; i < SM_WORDS; i++) {
			wrong += sm_get(&p[i]) != (in_hole(page) ? 0 : want);
			want += gm_step(gen);
		}
	}
	return wrong;
}

/* A hole, and what fdinfo has to tell of it before anybody looks into it. */
static int punch_huge(struct gm *g, size_t first, size_t nr,
		      bool (*in_hole)(size_t page), long long pages,
		      long long huge, long long failed)
{
	int ret = KSFT_PASS;
	size_t wrong;

	if (fallocate(g->s.fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		      first * SM_PAGE, nr * SM_PAGE))
		return sm_fail("punch hole: %s", strerror(errno));
	if (info_of(g, "gmem-pages") != pages ||
	    info_of(g, "gmem-huge") != huge ||
	    info_of(g, "gmem-split-failed") != failed)
		ret = sm_fail("%zu pages at %zu: %lld pages, %lld in huge folios, %lld not split",
			      nr, first, info_of(g, "gmem-pages"),
			      info_of(g, "gmem-huge"),
			      info_of(g, "gmem-split-failed"));
	wrong = hole_wrong(g, in_hole);
	if (wrong)
		ret = sm_fail("%zu pages at %zu: %zu wrong words", nr, first,
			      wrong);
	return ret;
}

/* All of it moves, and the holes are where they were. */
static int move_punched(struct gm *g)
{
	int ret = verdict("then", gm_move(g, sm_to), g->s.nr);
	size_t wrong = hole_wrong(g, hole_over_edge);

	return wrong ? sm_fail("moved: %zu wrong words", wrong) : ret;
}

static int test_huge_hole(void)
{
	const size_t nr = 3 * GM_HUGE_PAGES;
	struct gm g;
	int ret;

	gm_new_strict(&g, 1, nr);
	gm_start(&g);
	gm_wait(&g);
	ret = gm_stop(&g);
	ret = worse(ret, punch_huge(&g, 5, 1, hole_in_one, nr - 1,
				    nr - GM_HUGE_PAGES, 0));
	/* The page is there again, for the VMM has looked. */
	ret = worse(ret, punch_huge(&g, 300, 600, hole_over_edge, nr - 600,
				    nr - 2 * GM_HUGE_PAGES, 0));
	ret = worse(ret, move_punched(&g));
	gm_free(&g);
	return ret;
}

/* A page of each folio is in a pipe: none can be split, so that all is kept. */
static int test_huge_hole_held(void)
{
	const size_t nr = 3 * GM_HUGE_PAGES;
	struct iovec iov = { .iov_len = SM_PAGE };
	int pipefd[2], ret;
	struct gm g;

	gm_new_strict(&g, 1, nr);
	gm_start(&g);
	gm_wait(&g);
	ret = gm_stop(&g);
	if (pipe(pipefd))
		return sm_fail("pipe: %s", strerror(errno));
	for (size_t i = 0; i < nr; i += GM_HUGE_PAGES) {
		iov.iov_base = sm_page(&g.s, i + 9);
		if (vmsplice(pipefd[1], &iov, 1, 0) != (ssize_t)SM_PAGE)
			return sm_fail("vmsplice: %s", strerror(errno));
	}
	ret = worse(ret, punch_huge(&g, 5, 1, hole_in_one, nr, nr, 1));
	/* Of two folios, in each of which it ends. */
	ret = worse(ret, punch_huge(&g, 300, 600, hole_over_edge, nr, nr, 3));
	close(pipefd[0]);
	close(pipefd[1]);
	ret = worse(ret, verdict("then", gm_move(&g, sm_to), nr));
	ret = worse(ret, punch_huge(&g, 5, 1, hole_over_edge, nr - 1,
				    nr - GM_HUGE_PAGES, 3));
	gm_free(&g);
	return ret;
}

/* The guest loses all of a folio that has a memory error and cannot be split. */
static int test_huge_poison_held(void)
{
	struct iovec iov = { .iov_len = SM_PAGE };
	int pipefd[2], ret = KSFT_PASS;
	struct gm_thread *t;
	struct gm g;
	u64 pfn;

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return sm_skip("no CONFIG_HWPOISON_INJECT");
	gm_new_strict(&g, 1, GM_HUGE_PAGES);
	t = &g.threads[0];
	iov.iov_base = sm_page(&g.s, 9);
	if (pipe(pipefd) || vmsplice(pipefd[1], &iov, 1, 0) != (ssize_t)SM_PAGE)
		return sm_fail("vmsplice: %s", strerror(errno));
	pfn = sm_pfn(sm_page(&g.s, 100));
	gm_start(&g);
	gm_wait(&g);
	signal(SIGBUS, SIG_IGN);
	if (sm_poison(pfn))
		return KSFT_FAIL;
	if (!ended_by_poison(t))
		return sm_fail("the guest goes on using the page");
	if (t->err != EHWPOISON && t->err != EFAULT)
		ret = KSFT_FAIL;
	if (info_of(&g, "gmem-poisoned") != 1 ||
	    info_of(&g, "gmem-huge") != GM_HUGE_PAGES)
		ret = sm_fail("%lld pages poisoned, %lld in huge folios",
			      info_of(&g, "gmem-poisoned"),
			      info_of(&g, "gmem-huge"));
	close(pipefd[0]);
	close(pipefd[1]);
	gm_free(&g);
	sm_writef(SM_DEBUGFS "hwpoison/unpoison-pfn", "%#llx",
		  (unsigned long long)pfn);
	return ret;
}

/* What fills a whole hole of 2 MB is one folio, other parts are pages. */
static int test_huge_write(void)
{
	const size_t nr = 4 * GM_HUGE_PAGES, mb = SZ_1M;
	const struct {
		size_t off, len, pages, huge;
	} all[] = {
		{ 0, 4 * mb, 1024, 1024 },
		{ 4 * mb, mb, 1280, 1024 },
		{ 5 * mb, 3 * mb, 2048, 1536 },
	};
	int ret = KSFT_PASS;
	struct gm g;
	ssize_t n;
	u8 *buf;

	gm_how.access = GM_WRITE;
	gm_new(&g, 1, nr, guest_verify_bytes);
	buf = mmap(NULL, gm_size(&g), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(buf, g.s.seed, 0, gm_size(&g));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		n = pwrite(g.s.fd, buf + all[i].off, all[i].len, all[i].off);
		if (n != (ssize_t)all[i].len ||
		    info_of(&g, "gmem-pages") != (long long)all[i].pages ||
		    info_of(&g, "gmem-huge") != (long long)all[i].huge)
			ret = sm_fail("at %zu: %zd; %lld pages, %lld in huge folios",
				      all[i].off, n, info_of(&g, "gmem-pages"),
				      info_of(&g, "gmem-huge"));
	}
	if (pwrite(g.s.fd, buf, 2 * mb, 0) != -1 || errno != EEXIST)
		ret = sm_fail("over what is there: %s", strerror(errno));
	ranges[0] = (struct range){ 0, gm_size(&g) };
	sync_global_to_guest(g.vm, ranges);
	vcpu_args_set(g.vcpus[0], 2, 1ul, 0ul);
	gm_start(&g);
	return worse(gm_stop(&g), ret);
}

/* Where no 2 MB are to be had, a folio moves in 512 pages. */
static int test_huge_split(void)
{
	const char *const how[][2] = {
		{ "min-order", "9" }, { "ignore-gfp-highmem", "N" },
		{ "ignore-gfp-wait", "N" }, { "task-filter", "N" },
	};
	const size_t nr = GM_HUGE_PAGES;
	unsigned int failed = 0;
	int ret = KSFT_PASS;
	size_t there;
	struct gm g;

	if (!sm_exists(SM_DEBUGFS "fail_page_alloc"))
		return sm_skip("no CONFIG_FAIL_PAGE_ALLOC");
	gm_new_strict(&g, 2, nr);
	gm_start(&g);
	gm_wait(&g);
	fail_always("fail_page_alloc", how, ARRAY_SIZE(how));
	/* What has been split is mapped no more, and of no page's move is told. */
	do {
		sm_move(&g.s, sm_to);
		gm_touch(&g);
		there = sm_on_node(&g.s, sm_to);
	} while (there < nr && sm_try_again(&failed));
	sm_write(SM_DEBUGFS "fail_page_alloc/probability", "0");
	sm_note("%zu of %zu moved, %lld in huge folios", there, nr,
		info_of(&g, "gmem-huge"));
	if (there != nr || info_of(&g, "gmem-huge"))
		ret = KSFT_FAIL;
	gm_wait(&g);
	return finish(&g, ret);
}

/* A folio is split in part when there is no memory for more. */
static int test_huge_hole_short(void)
{
	const char *const how[][2] = {
		{ "ignore-gfp-wait", "Y" }, { "cache-filter", "N" },
		{ "task-filter", "Y" },
	};
	const size_t nr = 3 * GM_HUGE_PAGES;
	struct gm g;
	int ret;

	if (!sm_exists(SM_DEBUGFS "failslab"))
		return sm_skip("no CONFIG_FAILSLAB");
	gm_new_strict(&g, 1, nr);
	gm_start(&g);
	gm_wait(&g);
	ret = gm_stop(&g);
	fail_always("failslab", how, ARRAY_SIZE(how));
	sm_write("/proc/thread-self/make-it-fail", "1");
	/* Pieces of 64 pages are not split any further. */
	ret = worse(ret, punch_huge(&g, 5, 1, hole_in_one, nr,
				    nr - GM_HUGE_PAGES, 1));
	ret = worse(ret, punch_huge(&g, 300, 600, hole_over_edge,
				    nr - (896 - 320), nr - 2 * GM_HUGE_PAGES,
				    3));
	sm_write("/proc/thread-self/make-it-fail", "0");
	sm_write(SM_DEBUGFS "failslab/probability", "0");
	ret = worse(ret, move_punched(&g));
	gm_free(&g);
	return ret;
}

/* ------------------------------------ M17: who leaves such pages alone */

/*
 * NUMA balancing moves the VMM's ordinary memory to the node that uses it; the
 * guest's stays where it is.
 */
static int test_numa_balancing(void)
{
	const char *const tune[][2] = {
		{ "scan_delay_ms", "10" },
		{ "scan_period_min_ms", "10" },
		{ "scan_period_max_ms", "100" },
	};
	long long before = sm_read_num("/proc/sys/kernel/numa_balancing");
	struct secret anon = { .nr = 256 };
	size_t control, left;
	char path[128];
	struct gm g;
	double end;

	if (before < 0)
		return sm_skip("no NUMA balancing");
	for (size_t i = 0; i < ARRAY_SIZE(tune); i++) {
		snprintf(path, sizeof(path),
			 SM_DEBUGFS "sched/numa_balancing/%s", tune[i][0]);
		sm_write(path, tune[i][1]);
	}
	/* All threads on the first node's CPU, all memory on the second. */
	sm_run_on(0);
	gm_new(&g, 2, sm_nr / 4, gm_guest_strict);
	gm_allocate(&g, sm_to);
	gm_touch(&g);
	sm_bind_task(sm_to);
	anon.mem = mmap(NULL, anon.nr * SM_PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(anon.mem, anon.nr * SM_PAGE, MADV_NOHUGEPAGE);
	memset(anon.mem, 1, anon.nr * SM_PAGE);
	sm_bind_task(-1);
	sm_write("/proc/sys/kernel/numa_balancing", "1");
	gm_start(&g);
	for (end = sm_now() + rounds(2); sm_now() < end;) {
		for (size_t i = 0; i < anon.nr; i++)
			sm_set((u64 *)sm_page(&anon, i), i);
		gm_touch(&g);
	}
	sm_writef("/proc/sys/kernel/numa_balancing", "%lld", before);
	control = anon.nr - sm_on_node(&anon, sm_to);
	left = g.s.nr - sm_on_node(&g.s, sm_to);
	sm_note("%zu of the guest's %zu pages moved, %zu of %zu others", left,
		g.s.nr, control, anon.nr);
	if (left)
		return worse(gm_stop(&g), KSFT_FAIL);
	return worse(gm_stop(&g), control ? KSFT_PASS : KSFT_SKIP);
}

/* A file's pages on a node, to compare the guest's with. */
static void ordinary_new(struct secret *s, size_t nr, int node)
{
	sm_init(s, nr);
	s->fd = memfd_create("ordinary", MFD_CLOEXEC);
	if (s->fd < 0 || ftruncate(s->fd, nr * SM_PAGE) || sm_map(s))
		exit(sm_fail("memfd_create: %s", strerror(errno)));
	sm_bind_task(node);
	for (size_t i = 0; i < nr; i++)
		sm_fill_page(s, i);
	sm_bind_task(-1);
	/* Those that wait for the LRU are nobody's to isolate. */
	sm_write("/proc/sys/vm/drop_caches", "1");
}

/*
 * Only the guest uses its memory, and DAMON sees none of that. When the ordinary
 * pages have gone, the guest's get as long again, and a second.
 */
static int damon(const char *action, bool physical)
{
	struct gm_frames was, now;
	struct secret ordinary;
	double begin, until;
	__u64 start = ~0ULL, end = 0;
	size_t came = 0, left;
	struct gm g;
	int ret = KSFT_PASS;

	if (!sm_exists(SM_DAMON "nr_kdamonds"))
		return sm_skip("no DAMON in sysfs");
	ordinary_new(&ordinary, 256, sm_from);
	unmapped_new(&g, sm_nr / 4, sm_from);
	if (!gm_how.private)
		gm_touch(&g);
	gm_start(&g);
	gm_wait(&g);
	was = gm_frames(g.s.nr);
	if (was.nr != g.s.nr)
		return sm_fail("found %zu of %zu pages", was.nr, g.s.nr);
	for (size_t i = 0; i < was.nr; i++)
		sm_widen(&start, &end, physical ? was.pfn[i] * SM_PAGE :
			 (u64)sm_page(&g.s, i));
	for (size_t i = 0; i < ordinary.nr; i++)
		sm_widen(&start, &end, physical ?
			 sm_pfn(sm_page(&ordinary, i)) * SM_PAGE :
			 (u64)sm_page(&ordinary, i));
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
	sm_damon_stop();
	now = gm_frames(g.s.nr);
	left = gm_frames_new(&was, &now);
	sm_note("%zu of the guest's %zu pages moved, %zu of %zu others", left,
		g.s.nr, came, ordinary.nr);
	if (left || now.nr != was.nr || came < ordinary.nr / 2)
		ret = KSFT_FAIL;
	gm_wait(&g);
	return finish(&g, ret);
}

static int test_damon_hot(void)
{
	return damon("migrate_hot", true);
}

static int test_damon_cold(void)
{
	return damon("migrate_cold", true);
}

static int test_damon_virtual(void)
{
	return damon("migrate_cold", false);
}

/* Reclaim of all kinds, and with tiers demotion, while the guest runs. */
static int test_reclaim(void)
{
	struct gm_frames was, now;
	char path[128], demotion[16];
	struct secret ordinary;
	size_t left;
	struct gm g;
	int ret = KSFT_PASS;

	unmapped_new(&g, sm_nr / 4, sm_from);
	ordinary_new(&ordinary, 256, sm_from);
	if (!gm_how.private)
		gm_touch(&g);
	gm_start(&g);
	gm_wait(&g);
	was = gm_frames(g.s.nr);
	sm_read(SM_DEMOTION, demotion, sizeof(demotion));
	sm_write(SM_DEMOTION, "1");
	for (int i = 0; i < rounds(4); i++) {
		madvise(g.s.mem, gm_size(&g), MADV_COLD);
		madvise(g.s.mem, gm_size(&g), MADV_PAGEOUT);
		sm_writef(GM_CGROUP "/memory.reclaim", "%zu", gm_size(&g));
		snprintf(path, sizeof(path), SM_NODES "node%d/reclaim",
			 sm_from);
		sm_writef(path, "%zu", gm_size(&g));
		sm_write("/proc/sys/vm/drop_caches", "3");
	}
	sm_write(SM_DEMOTION, demotion);
	now = gm_frames(g.s.nr);
	left = gm_frames_new(&was, &now);
	sm_note("%zu of the guest's %zu pages gone; %s, %zu of %zu others demoted",
		left, g.s.nr, sm_tiered(sm_from, sm_to) ? "tiers" : "no tiers",
		sm_on_node(&ordinary, sm_to), ordinary.nr);
	if (left || now.nr != was.nr)
		ret = KSFT_FAIL;
	if (sm_tiered(sm_from, sm_to) &&
	    sm_on_node(&ordinary, sm_to) < ordinary.nr / 2)
		ret = KSFT_FAIL;
	gm_wait(&g);
	return finish(&g, ret);
}

/* ------------------------------------------ M18: who cannot read them */

static char reader_text[160];

/* Whether a reader did other than it should; what is in reader_text. */
static bool reader_wrong(const char *what, bool failed, bool refused,
			 bool right_error)
{
	if (failed == refused && (!refused || right_error))
		return false;
	snprintf(reader_text, sizeof(reader_text), "%s: %s", what,
		 failed ? strerror(errno) : "done");
	return true;
}

/* Returns what went wrong, or NULL: all readers were refused, or all read. */
static const char *readers(struct gm *g, bool refused)
{
	u64 *page = sm_page(&g->s, 1), word = 0;
	struct iovec local = { &word, sizeof(word) };
	struct iovec remote = { page, sizeof(word) };
	struct io_uring_params params = {};
	int fd, pipefd[2], ring, status;
	ssize_t n;
	pid_t pid;

	n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (reader_wrong("process_vm_readv", n < 0, refused,
			 errno == EFAULT))
		return reader_text;
	local.iov_base = &word;
	ring = syscall(__NR_io_uring_setup, 4, &params);
	if (ring >= 0) {
		n = syscall(__NR_io_uring_register, ring,
			    IORING_REGISTER_BUFFERS, &remote, 1);
		if (reader_wrong("io_uring", n < 0, refused, errno == EFAULT))
			return reader_text;
		close(ring);
	}
	n = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	if (reader_wrong("process_vm_writev", n < 0, refused,
			 errno == EFAULT))
		return reader_text;

	fd = open("/proc/self/mem", O_RDWR);
	n = pread(fd, &word, sizeof(word), (off_t)page);
	if (reader_wrong("/proc/self/mem", n < 0, refused,
			 errno == EIO || errno == EFAULT))
		return reader_text;
	close(fd);

	if (pipe(pipefd))
		return "pipe";
	n = vmsplice(pipefd[1], &remote, 1, 0);
	if (reader_wrong("vmsplice", n < 0, refused,
			 errno == EFAULT))
		return reader_text;
	close(pipefd[0]);
	close(pipefd[1]);

	pid = fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	errno = 0;
	ptrace(PTRACE_PEEKDATA, pid, page, 0);
	n = errno;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	errno = n;
	if (reader_wrong("ptrace", !!n, refused,
			 n == EIO || n == EFAULT))
		return reader_text;
	return NULL;
}

static int test_readers(void)
{
	const char *wrong;
	struct mover m;
	struct gm g;

	gm_new_strict(&g, 1, sm_nr / 4);
	if (gm_huge() && huge_mapped(&g) != g.s.nr)
		return sm_fail("%zu of %zu pages are mapped by huge ones",
			       huge_mapped(&g), g.s.nr);
	wrong = readers(&g, gm_no_map());
	if (wrong)
		return sm_fail("%s", wrong);
	if (!gm_no_map())
		return KSFT_PASS;
	gm_start(&g);
	mover_start(&m, &g);
	for (int i = 0; i < rounds(5) && !wrong; i++)
		wrong = readers(&g, true);
	mover_stop(&m);
	if (wrong)
		return sm_fail("%s", wrong);
	return finish(&g, KSFT_PASS);
}

/* --------------------------------------------------------- M20: hwpoison */

/* A memory error takes one page away; the guest's other pages still move. */
static int test_hwpoison(void)
{
	struct gm_thread *t;
	struct secret rest;
	const u64 page = 3;
	long long alone;
	struct gm g;
	int ret = KSFT_PASS;
	u64 pfn;

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return sm_skip("no CONFIG_HWPOISON_INJECT");
	alone = sm_vmstat("secret_page_fallback");
	gm_new_strict(&g, 1, 16);
	alone = sm_vmstat("secret_page_fallback") - alone;
	t = &g.threads[0];
	pfn = sm_pfn(sm_page(&g.s, page));
	if (sm_poison(pfn))
		return KSFT_FAIL;
	gm_run(t);
	sm_note("KVM_RUN: %s, %s", strerror(t->err), exit_reason_str(t->exit));
	if (t->err != EHWPOISON && t->err != EFAULT)
		ret = KSFT_FAIL;
	rest = g.s;
	rest.nr = page;
	/* What was in one folio with it is not mapped any more. */
	for (u64 i = 0; i < page; i++)
		sm_get((u64 *)sm_page(&g.s, i));
	if (gm_movable()) {
		sm_move(&rest, sm_to);
		if (sm_on_node(&rest, sm_to) != page)
			ret = sm_fail("the others do not move");
	}
	for (u64 i = 0; i < page; i++) {
		u64 *p = sm_page(&g.s, i);
		u64 want = gm_first(g.s.seed, i, 1);

		for (unsigned int k = 0; k < SM_WORDS; k++, want += GM_STEP)
			if (sm_get(&p[k]) != want)
				ret = sm_fail("page %lu word %u", i, k);
	}
	gm_free(&g);
	sm_write("/proc/sys/vm/compact_memory", "1");
	ret = worse(ret, sm_still_poisoned(pfn));
	if (gm_no_map())
		ret = worse(ret, sm_unpoison(pfn, !sm_ephmap_on() || alone));
	return ret;
}

/* Its content is lost: write(2) and read(2) say so as for a page of any file. */
static int test_hwpoison_write(void)
{
	struct gm_frames frames;
	int err, ret = KSFT_PASS;
	char byte = 1;
	struct gm g;
	ssize_t n;
	u64 pfn;

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return sm_skip("no CONFIG_HWPOISON_INJECT");
	if (gm_cgroup_enter())
		return sm_skip("no memory controller, or no /proc/kpagecgroup");
	gm_how.access = GM_RDWR;
	gm_new(&g, 1, 1, gm_guest_strict);
	gm_allocate(&g, sm_from);
	if (pwrite(g.s.fd, &byte, 1, 5) != 1)
		return sm_fail("before: %s", strerror(errno));
	frames = gm_frames(1);
	if (frames.nr != 1)
		return sm_fail("no page frame found");
	pfn = frames.pfn[0];
	if (sm_poison(pfn))
		return KSFT_FAIL;
	n = pwrite(g.s.fd, &byte, 1, 5);
	err = errno;
	if (n != -1 || err != EIO)
		ret = sm_fail("pwrite: %zd, %s", n, n < 0 ? strerror(err) : "");
	n = pread(g.s.fd, &byte, 1, 5);
	err = errno;
	if (n != -1 || err != EIO)
		ret = sm_fail("pread: %zd, %s", n, n < 0 ? strerror(err) : "");
	gm_free(&g);
	ret = worse(ret, sm_still_poisoned(pfn));
	return ret;
}

/* A page that is poisoned while a vCPU uses it: that ends KVM_RUN. */
static int test_hwpoison_guest(void)
{
	struct gm_frames frames;
	struct gm_thread *t;
	int ret = KSFT_PASS;
	struct gm g;
	u64 pfn;

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return sm_skip("no CONFIG_HWPOISON_INJECT");
	if (gm_cgroup_enter())
		return sm_skip("no memory controller, or no /proc/kpagecgroup");
	gm_new_strict(&g, 1, 16);
	t = &g.threads[0];
	gm_start(&g);
	gm_wait(&g);
	frames = gm_frames(g.s.nr);
	pfn = frames.pfn[frames.nr / 2];
	if (sm_poison(pfn))
		return KSFT_FAIL;

	if (!ended_by_poison(t))
		return sm_fail("the guest goes on using the page");
	if (t->err != EHWPOISON && t->err != EFAULT)
		ret = KSFT_FAIL;
	gm_free(&g);
	sm_write("/proc/sys/vm/compact_memory", "1");
	ret = worse(ret, sm_still_poisoned(pfn));
	return ret;
}

/* ------------------------------- G8: poison, holes and moves, all at once */

#define NR_POISONED	256

/* Somebody who keeps poisoning pages of a file that others use. */
struct poisoner {
	struct gm	*g;
	pthread_t	thread;
	bool		stop;
	size_t		tries;
	size_t		nr;
	u64		pfn[NR_POISONED];
};

static void *poisoner_run(void *arg)
{
	struct poisoner *p = arg;
	unsigned int seed = 2;

	while (!sm_get(&p->stop) && p->nr < NR_POISONED) {
		u64 *page = sm_page(&p->g->s, rand_r(&seed) % p->g->s.nr), pfn;
		int err;

		/* Map it: the kernel's access to a poisoned page is no SIGBUS. */
		access((char *)page, F_OK);
		pfn = sm_pfn(page);
		if (!pfn)
			continue;
		p->tries++;
		/*
		 * GUP refuses memory without a direct map.  By its number, a
		 * frame may be in no file any more, but it holds nothing else.
		 */
		if (gm_no_map())
			err = sm_writef(SM_DEBUGFS "hwpoison/corrupt-pfn",
					"%#llx", (unsigned long long)pfn);
		else
			err = madvise(page, SM_PAGE, MADV_HWPOISON);
		if (!err && sm_kpf(pfn, SM_KPF_HWPOISON)) {
			p->pfn[p->nr] = pfn;
			sm_set(&p->nr, p->nr + 1);
		}
	}
	return NULL;
}

/*
 * Memory failure has the folio locked when it zaps the guest's mappings; holes
 * are punched with the file's invalidate lock held, and wait for folios. A lock
 * taken in the wrong order ends this for good, for all three of them; an
 * invalidation without an end does so for the guest.
 */
static int test_poison_punch(void)
{
	const int punch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
	static struct poisoner p;
	unsigned int seed = 1;
	size_t unpoisoned = 0;
	u64 holes = 0;
	struct mover m;
	double end;
	struct gm g;
	int ret;

	if (!sm_exists(SM_DEBUGFS "hwpoison/corrupt-pfn"))
		return sm_skip("no CONFIG_HWPOISON_INJECT");
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	/* MADV_HWPOISON sends one to its caller. */
	signal(SIGBUS, gm_signal);
	gm_new(&g, 2, 16, gm_guest_loose);
	g.retry = true;
	gm_start(&g);
	mover_start(&m, &g);
	p.g = &g;
	kvm_pthread_create(&p.thread, NULL, poisoner_run, &p);
	for (end = sm_now() + (sm_long ? 60 : 4);
	     sm_now() < end && sm_get(&p.nr) < NR_POISONED; holes++) {
		/* Now and then pages last long enough to be poisoned. */
		useconds_t pause = rand_r(&seed) % 4000;
		size_t first = rand_r(&seed) % g.s.nr;
		size_t nr = 1 + rand_r(&seed) % 8;

		if (nr > g.s.nr - first)
			nr = g.s.nr - first;
		if (fallocate(g.s.fd, punch, first * SM_PAGE, nr * SM_PAGE))
			return sm_fail("punch hole: %s", strerror(errno));
		if (rand_r(&seed) % 2 &&
		    fallocate(g.s.fd, FALLOC_FL_KEEP_SIZE, first * SM_PAGE,
			      nr * SM_PAGE))
			return sm_fail("fallocate: %s", strerror(errno));
		usleep(pause);
	}
	sm_set(&p.stop, true);
	pthread_join(p.thread, NULL);
	mover_stop(&m);

	/* What is poisoned leaves the file, and the guest goes on. */
	if (fallocate(g.s.fd, punch, 0, gm_size(&g)))
		return sm_fail("punch hole: %s", strerror(errno));
	gm_wait(&g);
	ret = gm_stop(&g);
	gm_free(&g);
	for (size_t i = 0; i < p.nr; i++)
		unpoisoned += !sm_writef(SM_DEBUGFS "hwpoison/unpoison-pfn",
					 "%#llx", (unsigned long long)p.pfn[i]);
	/* Few leave the file: what is punched at the same time does it first. */
	sm_note("%lu holes, %zu memory failures, %zu pages poisoned, %zu unpoisoned, %lu faults",
		holes, p.tries, p.nr, unpoisoned, g.faults);
	if (!p.tries)
		ret = sm_fail("no page had a memory failure");
	return ret;
}

/* ------------------------------------------------------ M21: hibernation */

/* Refused from the first page of a guest's on, and the VMM is named. */
static int test_hibernation(void)
{
	char line[1024], want[128];
	const char *wrong;
	int ret = KSFT_PASS;
	struct gm g;

	if (!sm_hibernation_offered())
		return sm_skip("no hibernation");
	gm_new(&g, 1, 16, gm_guest_strict);
	if (!sm_hibernation_offered())
		ret = sm_fail("refused for a file without a page");
	gm_allocate(&g, sm_from);
	if (!gm_no_map()) {
		if (!sm_hibernation_offered())
			ret = sm_fail("refused for memory with a direct map");
		gm_free(&g);
		return ret;
	}
	sm_holder(want, sizeof(want), getpid(), 16, "guest_memfd");
	wrong = sm_hibernation_refusal(line, sizeof(line));
	if (wrong || !strstr(line, want))
		ret = sm_fail("%s \"%s\"", wrong ?: "not named in", line);
	gm_free(&g);
	if (!sm_hibernation_offered())
		ret = sm_fail("still refused when the file is gone");
	return ret;
}

/* -------------------------------------------------------------------- */

static const struct gm_test tests[] = {
	{ "M1: the flags are offered where memory can be copied, else -EINVAL",
	  test_flags, GM_ONCE },
	{ "G1: bits 0 to 3 make a file that is written and does not move",
	  test_flag_bits, GM_ONCE },
	{ "M2: pages are unevictable, and in movable blocks if they can move",
	  test_pageblocks, GM_S_ALL | GM_P_BOTH },

	{ "M1: without MOVABLE move_pages(2) moves none of a guest's pages",
	  test_move_pages, GM_S_STAY },
	{ "M5: a guest's pages move with move_pages(2), every word is right",
	  test_move_pages, GM_S_MOVE | GM_H_MOVE },
	{ "M6: a page that a vCPU uses all the time moves",
	  test_hot, GM_S_MOVE | GM_H_MOVE },
	{ "M14: mbind(2) with MPOL_MF_MOVE", test_mbind, GM_S_NONE | GM_S_MOVE | GM_H_MOVE },
	{ "M14: migrate_pages(2)", test_migrate_pages, GM_S_NONE | GM_S_MOVE | GM_H_MOVE },
	{ "M14: compaction moves memory that nobody maps",
	  test_compaction, GM_P_BOTH, 300 },
	{ "M14: a ZONE_MOVABLE block full of guest memory goes offline",
	  test_offline, GM_S_BOTH | GM_P_MOV | GM_H_MOVE, 300 },
	{ "M2: there is none of it in ZONE_MOVABLE that cannot move",
	  test_offline, GM_P_NDM, 300 },
	{ "M14: soft offline moves a page away",
	  test_soft_offline, GM_S_BOTH | GM_P_MOV | GM_H_MOVE },
	{ "M2: soft offline of a page that cannot move changes nothing",
	  test_soft_offline, GM_P_NDM },
	{ "M14: a CMA allocation moves the guest's pages in its way",
	  test_cma, GM_P_BOTH | GM_H_MOVE },

	{ "M3: a page with an extra reference stays, and loses nothing",
	  test_extra_reference, GM_S_MOV },
	{ "M3: an unexpected reference gives -EAGAIN and no effect",
	  test_fail_refs, GM_S_BOTH | GM_H_BOTH },
	{ "M11: a page-table split that fails changes nothing",
	  test_fail_split, GM_S_BOTH | GM_H_BOTH },
	{ "M11: a direct-map zap that fails changes nothing",
	  test_fail_zap, GM_S_BOTH | GM_H_BOTH },
	{ "M12: a machine check in the copy fails, changes nothing",
	  test_fail_copy, GM_S_BOTH | GM_H_BOTH },
	{ "M11: a switch of the mapping that fails changes nothing",
	  test_fail_switch, GM_S_BOTH | GM_H_BOTH },

	{ "M19: two move the same pages of three vCPUs",
	  test_two_movers, GM_S_MOVE | GM_H_MOVE },
	{ "M19: holes are punched and filled while pages move (M4)",
	  test_punch, GM_ALL | GM_H_MOVE },
	{ "M5: two VMs use a file while it moves",
	  test_two_vms, GM_S_OPEN | GM_H_MOV },
	{ "M18: a second VM cannot use the mapping as its memory",
	  test_two_vms, GM_S_SECRET | GM_H_BOTH },
	{ "M19: the memslot comes and goes while pages move",
	  test_memslots, GM_S_NONE | GM_S_MOVE | GM_P_NONE | GM_P_MOVE | GM_H_MOVE },
	{ "M6: pages turn shared and private while they move",
	  test_conversion, GM_P_ALL },
	{ "M19: the VMM is killed while pages move", test_teardown,
	  GM_S_MOVE | GM_P_BOTH | GM_H_MOVE },

	{ "M15: shootdowns are those of whole blocks, for the first use of each",
	  test_shootdowns, GM_S_SECRET | GM_P_SECRET | GM_H_BOTH },
	{ "M16: all that was taken is given back", test_balance, GM_ALL | GM_H_MOVE },
	{ "G5: the guest keeps its mappings when the VMM's are zapped",
	  test_notifier, GM_S_NEW | GM_H_MOVE },
	{ "G3: fdinfo tells what the host counts, of pages punched, moved, poisoned",
	  test_fdinfo, GM_S_NEW },
	{ "G5: no mapping of the guest's comes from the user address",
	  test_prefetch, GM_S_NEW | GM_H_MOVE },
	{ "G5: at most one flush for eight pages that move",
	  test_flushes, GM_S_MOVE },
	{ "G6: a vCPU waits no longer than for two pages that move alone",
	  test_longest_wait, GM_S_MOVE, 600 },
	{ "G6: of 4 vCPUs none waits longer than for five",
	  test_longest_wait_4, GM_S_MOVE, 600 },
	{ "G7: vCPUs write while pages move many times",
	  test_many_moves, GM_S_MOVE, 3600 },

	{ "G4: KVM_GMEM_MOVE moves what only the guest has touched",
	  test_move_file, GM_S_NEW | GM_P_NEW | GM_H_MOVE },
	{ "G4: it moves what is not where the file's policy says",
	  test_move_by_policy, GM_S_MOVE | GM_P_MOVE | GM_H_MOVE },
	{ "G4: a signal ends it, and the next call goes on",
	  test_move_signals, GM_S_MOVE | GM_P_MOVE },
	{ "G4: bad input is refused, and moves nothing",
	  test_move_refused, GM_S_NEW | GM_P_NEW },

	{ "G14: the dirty log has what was written, of pages moved and read",
	  test_dirty_log, GM_S_NEW | GM_P_NEW | GM_H_MOVE },
	{ "G14: soft offline drops nothing that a guest has only read",
	  test_dirty_soft_offline, GM_S_MOVE | GM_H_MOVE },
	{ "G14: it has what KVM writes by itself", test_dirty_clock, GM_S_NEW | GM_H_MOVE },
	{ "G14: of a memslot with a file only dirty logging can change",
	  test_dirty_log_refused, GM_S_NEW | GM_H_MOVE },
	{ "G15: dirty logging begins and ends while vCPUs run",
	  test_dirty_toggle, GM_S_NEW | GM_H_MOVE, 900 },

	{ "G17: userfaultfd is asked when to map what is in the file",
	  test_uffd_minor, GM_S_NEW },
	{ "G17: and while it moves", test_uffd_restore, GM_S_NEW | GM_H_MOVE },

	{ "G18: while a page moves, a guest with asynchronous page faults goes on",
	  test_async_pf, GM_S_MOVE | GM_P_MOVE | GM_H_MOVE },

	{ "write(2): any offset and length, short at the end; so is read(2)",
	  test_pwrite, GM_S_NEW | GM_P_NEW },
	{ "M19: write(2) to pages that move",
	  test_write_moving, GM_S_MOVE | GM_P_MOVE | GM_H_MOVE },
	{ "M1: without WRITE and RDWR there is no write(2), and no read(2)",
	  test_write_refused, GM_ALL },
	{ "G2: WRITE populates holes, and stops at a page without a direct map",
	  test_write_flag, GM_S_NEW | GM_P_NEW | GM_H_MOV },
	{ "G2: a page that is populated is seen whole, or not at all",
	  test_write_race, GM_S_SECRET | GM_H_BOTH },
	{ "G16: a snapshot by SEEK_DATA is exact, and holes stay holes",
	  test_snapshot, GM_S_NEW | GM_P_NEW },

	{ "G11: folios, and all mappings of them, are of 2 MB",
	  test_huge, GM_H_MOVE },
	{ "G11: a hole of one page is zero, the 511 others stay",
	  test_huge_hole, GM_H_MOVE },
	{ "G11: so it is when the folio cannot be split",
	  test_huge_hole_held, GM_H_MOV },
	{ "G11: and when there is no memory to split it",
	  test_huge_hole_short, GM_H_MOVE },
	{ "M20: of a folio that cannot be split a guest loses all",
	  test_huge_poison_held, GM_H_MOV },
	{ "G2: WRITE populates holes of 2 MB by one folio",
	  test_huge_write, GM_H_BOTH },
	{ "G13: a folio moves in pages where no 2 MB are free",
	  test_huge_split, GM_H_MOVE },

	{ "M7: kvm-clock is kept up to date, also in a page that moved",
	  test_kvm_clock, GM_S_ALL | GM_H_MOVE },
	{ "M7: so is steal time", test_steal_time, GM_S_ALL | GM_H_MOVE },
	{ "G9: clock and steal time in a page that moves, is punched, poisoned",
	  test_clock_races, GM_S_SECRET | GM_H_BOTH },
	{ "M7: instructions that KVM emulates", test_string_io, GM_S_ALL | GM_H_MOVE },
	{ "M7: nested guests run while their state moves",
	  test_nested, GM_S_ALL | GM_H_MOVE },
	{ "M7: so do those with nested paging",
	  test_nested_paging, GM_S_ALL | GM_H_MOVE },
	{ "G10: nested guests flush no other CPU, and cost nobody's writes",
	  test_nested_flushes, GM_S_ALL | GM_H_MOVE, 300 },
	{ "M7: Xen's vcpu_info is refused without a direct map",
	  test_xen, GM_S_ALL | GM_H_MOVE },

	{ "M17: NUMA balancing leaves a remote guest's memory alone",
	  test_numa_balancing, GM_S_MOVE | GM_H_MOVE },
	{ "M17: DAMON's migrate_hot leaves a guest's memory alone",
	  test_damon_hot, GM_S_MOVE | GM_P_MOVE | GM_H_MOVE },
	{ "M17: DAMON's migrate_cold leaves a guest's memory alone",
	  test_damon_cold, GM_S_MOVE | GM_P_MOVE | GM_H_MOVE },
	{ "M17: DAMON's migrate_cold by address leaves a guest's memory alone",
	  test_damon_virtual, GM_S_MOVE | GM_H_MOVE },
	{ "M17: reclaim and demotion leave a guest's memory alone",
	  test_reclaim, GM_S_MOVE | GM_P_MOVE | GM_H_MOVE },
	{ "M18: nobody reads it by GUP", test_readers, GM_S_ALL },
	{ "G12: nor by GUP of huge mappings", test_readers, GM_H_MOVE },
	{ "M21: a guest's memory without a direct map keeps hibernation away",
	  test_hibernation, GM_S_ALL | GM_P_BOTH },
	{ "M20: a memory error costs one page, for good",
	  test_hwpoison, GM_S_ALL | GM_H_MOVE },
	{ "M20: write(2) and read(2) of a page that is poisoned give EIO",
	  test_hwpoison_write, GM_S_SECRET | GM_P_SECRET | GM_H_BOTH },
	{ "M20: a vCPU cannot use a page any longer that is poisoned",
	  test_hwpoison_guest, GM_S_ALL | GM_P_BOTH | GM_H_MOVE },
	{ "G8: pages are poisoned while holes are punched and pages move (M4)",
	  test_poison_punch, GM_S_NEW | GM_H_MOVE },
};

int main(int argc, char **argv)
{
	return gm_main(argc, argv, tests, ARRAY_SIZE(tests));
}
