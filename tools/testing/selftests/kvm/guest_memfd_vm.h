/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For guest_memfd_migrate_test.c: VMs with a guest_memfd of any flags, guests
 * that write and verify every word of it without pause, and where its page
 * frames are, mapped or not.
 *
 * What a host with two nodes, memory blocks and CMA needs is shared with the
 * tests of memfd_secret(2), secretmem_*.c of the mm selftests. A struct secret
 * is the VMM's mapping of the file.
 */
#ifndef _GUEST_MEMFD_VM_H
#define _GUEST_MEMFD_VM_H

#include <pthread.h>
#include <linux/sizes.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

#include "../mm/secretmem_test.h"

#define GM_GPA		SZ_4G
#define GM_SLOT		1
#define GM_VCPUS	4
#define GM_CGROUP	"/sys/fs/cgroup/gm_test"

#define GM_NDM		GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define GM_WRITE	GUEST_MEMFD_FLAG_WRITE
#define GM_MOVABLE	GUEST_MEMFD_FLAG_MOVABLE
#define GM_RDWR		GUEST_MEMFD_FLAG_RDWR
#define GM_HUGE		GUEST_MEMFD_FLAG_HUGE
#define GM_HUGE_PAGES	(SZ_2M / SM_PAGE)
#define GM_SHARED	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

/* -------------------------------------------------------------- the guest */

/* What a vCPU reports. */
struct gm_report {
	u64	passes;		/* over all of its pages */
	u64	gen;		/* of its pages now */
	u64	wrong;		/* words */
	u64	page, word, got, want;	/* the first of them */
};

/* Between guest and VMM; each VM has its own copy of the guest's program. */
struct gm_shared {
	u64			stop;
	u64			start;		/* the generation that is there */
	u64			seed;
	u64			nr;		/* pages */
	u64			arg[4];		/* as the guest's code needs it */
	u64			pause;		/* accesses before it sleeps */
	struct gm_report	report[GM_VCPUS];
};

extern struct gm_shared gm_shared;

/*
 * A page's words in its generation @gen: all differ, and differ from those of
 * any other page. In generation 0 it has not been written yet.
 */
#define GM_STEP		0x9e3779b97f4a7c15ULL

static inline u64 gm_first(u64 seed, u64 page, u64 gen)
{
	return gen ? sm_word(seed + gen, page, 0) : 0;
}

static inline u64 gm_step(u64 gen)
{
	return gen ? GM_STEP : 0;
}

static inline u64 *gm_guest_page(u64 page)
{
	return (u64 *)(GM_GPA + page * SM_PAGE);
}

void gm_guest_saw(struct gm_report *r, u64 page, u64 word, u64 got, u64 want);
void gm_guest_strict(u64 id, u64 stride);
void gm_guest_loose(u64 id, u64 stride);

/* -------------------------------------- vCPUs that were shut down, or hang */

#define GM_TRACEFS	"/sys/kernel/tracing"

/* Shared with the test's process. */
struct gm_told {
	bool		tell;		/* a vCPU that gets SIGUSR1 tells */
	struct {
		int	tid;		/* 0: there is none */
		u64	passes;		/* when it told */
		u64	rip, cr3;
		bool	told;
	}		vcpus[GM_VCPUS];
};

extern struct gm_told *gm_told;

/* ---------------------------------------------------------------- the VMM */

/*
 * Which file a test is to use, of which VM: set by the runner, but for what a
 * test asks for itself.
 */
struct gm_how {
	u64	flags;		/* GM_NDM, GM_MOVABLE, GM_HUGE */
	u64	access;		/* GM_WRITE, GM_RDWR */
	bool	private;	/* KVM_X86_SW_PROTECTED_VM, never mapped */
};

extern struct gm_how gm_how;

#define gm_movable()	(gm_how.flags & GM_MOVABLE)
#define gm_no_map()	(gm_how.flags & GM_NDM)
#define gm_huge()	(gm_how.flags & GM_HUGE)

struct gm {
	struct kvm_vm		*vm;
	struct kvm_vcpu		*vcpus[GM_VCPUS];
	struct gm_thread {
		struct gm	*g;
		unsigned int	id;
		pthread_t	thread;
		int		err;		/* of KVM_RUN */
		u32		exit;
	}			threads[GM_VCPUS];
	unsigned int		nr_vcpus;
	struct secret		s;	/* of private memory: what is shared */
	struct gm_shared	*shared;
	bool			retry;	/* KVM_RUN after a memory fault */
	bool			urgent;	/* vCPUs before all other tasks */
	unsigned long		faults;
};

static inline size_t gm_size(const struct gm *g)
{
	return g->s.nr * SM_PAGE;
}

static inline u64 gm_file_flags(void)
{
	return gm_how.flags | gm_how.access |
	       (gm_how.private ? 0 : GM_SHARED);
}

static inline u64 gm_passes(const struct gm *g, unsigned int id)
{
	return sm_get(&g->shared->report[id].passes);
}

void gm_slot(struct gm *g, bool there);
void gm_allocate(struct gm *g, int node);
void gm_touch(struct gm *g);
void gm_vcpu_start(struct kvm_vcpu *vcpu, u64 id, u64 nr);
void gm_new(struct gm *g, unsigned int nr_vcpus, size_t nr, void *code);
void gm_new_strict(struct gm *g, unsigned int nr_vcpus, size_t nr);
void gm_signal(int sig);
void *gm_run(void *arg);
void gm_start(struct gm *g);
void gm_wait(struct gm *g);
int gm_stop(struct gm *g);
size_t gm_wrong(const struct gm *g);
void gm_free(struct gm *g);
size_t gm_move(struct gm *g, int node);

/* ------------------------------------------------ page frames, unmapped */

/*
 * The frames of memory that nobody maps: a control group of its own is charged
 * for them, and nothing else there is unevictable.
 */
struct gm_frames {
	size_t	nr;
	u64	*pfn;		/* ascending */
};

int gm_cgroup_enter(void);
struct gm_frames gm_frames(size_t nr);
size_t gm_frames_new(const struct gm_frames *was, const struct gm_frames *now);
size_t gm_frames_in(const struct gm_frames *f, u64 first, u64 end);

/* ----------------------------------------------------------------- runner */

/* Which files, of which VMs, a property is about. */
enum gm_variant {
	GM_S_NONE	= 1 << 0,
	GM_S_NDM	= 1 << 1,
	GM_S_MOV	= 1 << 2,
	GM_S_BOTH	= 1 << 3,
	GM_P_NONE	= 1 << 4,
	GM_P_NDM	= 1 << 5,
	GM_P_MOV	= 1 << 6,
	GM_P_BOTH	= 1 << 7,

	GM_ONCE		= 1 << 8,	/* not about any */

	GM_H_MOV	= 1 << 9,	/* shared, in folios of 2 MB */
	GM_H_BOTH	= 1 << 10,
	GM_H_MOVE	= GM_H_MOV | GM_H_BOTH,

	GM_S_STAY	= GM_S_NONE | GM_S_NDM,
	GM_S_MOVE	= GM_S_MOV | GM_S_BOTH,
	GM_S_SECRET	= GM_S_NDM | GM_S_BOTH,
	GM_S_OPEN	= GM_S_NONE | GM_S_MOV,
	GM_S_ALL	= GM_S_STAY | GM_S_MOVE,
	GM_P_STAY	= GM_P_NONE | GM_P_NDM,
	GM_P_MOVE	= GM_P_MOV | GM_P_BOTH,
	GM_P_SECRET	= GM_P_NDM | GM_P_BOTH,
	GM_P_OPEN	= GM_P_NONE | GM_P_MOV,
	GM_P_ALL	= GM_P_STAY | GM_P_MOVE,
	GM_ALL		= GM_S_ALL | GM_P_ALL,

	/* Not on an unpatched kernel, see gm_stock. */
	GM_S_NEW	= GM_S_ALL & ~GM_S_NONE,
	GM_P_NEW	= GM_P_ALL & ~GM_P_NONE,
};

extern bool gm_stock;		/* -u: no file has any of the new flags */

struct gm_test {
	const char	*name;
	int		(*fn)(void);
	unsigned int	variants;
	unsigned int	seconds;	/* until it counts as hung; 0: 120 */
};

int gm_main(int argc, char **argv, const struct gm_test *tests, size_t nr_tests);

#endif /* _GUEST_MEMFD_VM_H */
