/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the secretmem_*.c tests: secret pages whose every word is known, of
 * memfd_secret(2) or of a VM, where they are, what the kernel counts, and a
 * runner for one function per property.
 *
 * No test keeps a copy of a secret: each word is computed from its seed, its
 * page and its place in the page, in registers, when written and when checked.
 */
#ifndef _SECRETMEM_TEST_H
#define _SECRETMEM_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <linux/types.h>

#include "guest_memfd_uapi.h"
#include "kselftest.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif

#define SM_PAGE			4096UL
#define SM_WORDS		(SM_PAGE / sizeof(__u64))

/* <linux/mempolicy.h> and <numaif.h> need not be installed. */
#define SM_MPOL_DEFAULT		0
#define SM_MPOL_PREFERRED	1
#define SM_MPOL_BIND		2
#define SM_MPOL_MF_MOVE		0x2
#define SM_MPOL_MF_MOVE_ALL	0x4

#ifndef BIT_ULL
#define BIT_ULL(nr)		(1ULL << (nr))
#endif

#define SM_KPF_UPTODATE		3
#define SM_KPF_DIRTY		4
#define SM_KPF_LRU		5
#define SM_KPF_BUDDY		10
#define SM_KPF_MMAP		11
#define SM_KPF_ANON		12
#define SM_KPF_SWAPCACHE	13
#define SM_KPF_SWAPBACKED	14
#define SM_KPF_UNEVICTABLE	18
#define SM_KPF_HWPOISON		19

#define SM_DEBUGFS		"/sys/kernel/debug/"
#define SM_NODES		"/sys/devices/system/node/"
#define SM_MEMORY		"/sys/devices/system/memory/"

void sm_run_on(int cpu);

/* ------------------------------------------------------------------ files */

int sm_write(const char *path, const char *val);
__printf(2, 3)
int sm_writef(const char *path, const char *fmt, ...);
int sm_read(const char *path, char *buf, size_t len);
long long sm_read_num(const char *path);
bool sm_exists(const char *path);
long long sm_vmstat(const char *name);
void sm_stat_refresh(void);
long long sm_node_vmstat(int node, const char *name);
double sm_now(void);
void sm_sleep_ms(unsigned int ms);
bool sm_cmdline(const char *word);
bool sm_ephmap_on(void);

/* ------------------------------------------------------------ the secrets */

/* Accesses that happen, each time. */
#define sm_get(p)		__atomic_load_n(p, __ATOMIC_RELAXED)
#define sm_set(p, val)		__atomic_store_n(p, val, __ATOMIC_RELAXED)

/*
 * Each word of each page differs from any other. The top three bytes are the
 * seed's tag: a search of all memory for the tag finds every word, wherever
 * it was copied to.
 */
static inline __u64 sm_tag(__u64 seed)
{
	return ((seed * 0x9e3779b97f4a7c15ULL) >> 40) | 0x800001ULL;
}

static inline __u64 sm_word(__u64 seed, __u64 page, __u64 i)
{
	__u64 x = seed + (page * SM_WORDS + i) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	x ^= x >> 31;
	return (sm_tag(seed) << 40) | (x & 0xffffffffffULL);
}

struct secret {
	int		fd;
	size_t		nr;		/* pages */
	__u64		seed;
	__u64		*mem;
	int		vm;		/* whose memory it is; 0: nobody's */
};

static inline void *sm_page(const struct secret *s, size_t page)
{
	return (char *)s->mem + page * SM_PAGE;
}

int sm_memfd_secret(void);
void sm_fill_page(const struct secret *s, size_t page);
size_t sm_wrong_page(const struct secret *s, size_t page);
size_t sm_wrong(const struct secret *s);
bool sm_leaked(const struct secret *s, const void *buf, size_t len);
int sm_map(struct secret *s);
void sm_unmap(struct secret *s);
void sm_close(struct secret *s);
void sm_init(struct secret *s, size_t nr);
int sm_open(struct secret *s, size_t nr);

/* -------------------------------------------------------- fault injection */

#define SM_FAULT	SM_DEBUGFS "fail_no_direct_map/"

/* What a fault-injection step stands for; the "steps" file is a mask. */
enum sm_fail_step {
	SM_FAIL_REFS	= 1,
	SM_FAIL_SPLIT	= 2,
	SM_FAIL_ZAP	= 4,
	SM_FAIL_COPY	= 8,
	SM_FAIL_SWITCH	= 16,
	SM_FAIL_BATCH	= 32,
};

void sm_fault_off(void);
int sm_fault_on(enum sm_fail_step step, int times);

/* ----------------------------------------------------------- guest memory */

#define SM_GPA		0x100000	/* where the guest finds it */

int sm_vm_create(void);
int sm_vm_slot(int vm, unsigned int slot, __u64 gpa, void *mem, size_t size,
	       int fd);
int sm_open_guest(struct secret *s, size_t nr);
int sm_write_pages(const struct secret *s, size_t first, size_t nr);
int sm_read_pages(const struct secret *s);

/* ------------------------------------------------------------------ nodes */

long sm_bind_task(int node);
long sm_prefer_node(int node);
long sm_mbind(void *mem, size_t len, int node, unsigned int flags);
int sm_load(const struct secret *s, int node);
int sm_new(struct secret *s, size_t nr, int node);
long sm_move_pid(pid_t pid, void *mem, size_t nr, int node, int flags);
long sm_move(const struct secret *s, int node);
size_t sm_on_node(const struct secret *s, int node);

/* ------------------------------------------------------- physical pages */

__u64 sm_pfn(void *addr);
__u64 *sm_pfns(const struct secret *s);
size_t sm_moved(const struct secret *s, const __u64 *old);
size_t sm_in_range(const struct secret *s, __u64 first, __u64 end);
__u64 sm_kpageflags(__u64 pfn);
bool sm_kpf(__u64 pfn, unsigned int bit);
__u64 sm_kcore_find(int fd, __u64 phys, __u64 *offset);

/* --------------------------------------------------------- memory blocks */

__u64 sm_block_pages(void);
int sm_block_set(unsigned int block, const char *state, unsigned int seconds);
bool sm_block_on_node(unsigned int block, int node);
bool sm_block_is(unsigned int block, const char *file, const char *val);
int sm_block_movable(int node, bool *made);
void sm_block_restore(unsigned int block, bool made);

/* ------------------------------------------- who moves memory on a guess */

#define SM_DAMON	"/sys/kernel/mm/damon/admin/kdamonds/"
#define SM_DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"

void sm_widen(__u64 *start, __u64 *end, __u64 page);
void sm_damon_stop(void);
int sm_damon_start(const char *action, pid_t pid, __u64 start, __u64 end,
		   int node);
bool sm_tiered(int fast, int slow);

/* ------------------------------------------------------------ hibernation */

bool sm_hibernation_offered(void);
const char *sm_hibernation_refusal(char *line, size_t len);
void sm_holder(char *buf, size_t len, pid_t pid, size_t pages,
	       const char *type);

/* ---------------------------------------------------------------- ballast */

struct ballast {
	void	*mem;
	size_t	len;
	int	ring;		/* holds it in place */
};

size_t __sm_zoneinfo(int node, const char *zone, const char *name);
size_t sm_zoneinfo(int node, const char *name);
long sm_unmovable_used(int node);
long sm_secret_blocks(int node);
long long sm_node_free(int node);
size_t sm_node_reserve(int node);
bool sm_ballast_take(struct ballast *b, int node, size_t leave);
void sm_ballast_drop(struct ballast *b);

/* ----------------------------------------------------------------- runner */

/*
 * One function per property. It returns a kselftest code and says in sm_note()
 * what it saw. Each runs in a child of its own: a crash, a policy or a control
 * group of one test does not reach the next.
 */
struct sm_test {
	const char	*on;	/* the property; NULL: not with the ephmap */
	const char	*off;	/* the property of a stock kernel (M22) */
	const char	*both;	/* or: the property of any kernel */
	int		(*fn)(void);
	unsigned int	seconds;	/* until it counts as hung; 0: 120 */
	unsigned int	variant;	/* the suite's */
};

struct sm_shared {
	char	note[512];
	unsigned int tries;	/* the most that one thing took */
};

extern struct sm_shared *sm_shared;
extern bool sm_on;		/* the ephmap is there: secret pages move */
extern bool sm_long;		/* -l: sizes and times for a fast machine */
extern size_t sm_nr;		/* -p: pages in an ordinary test */
extern int sm_from, sm_to;	/* two nodes with memory */

/* For a test that hangs, before it is killed: what else there is to tell. */
extern void (*sm_tell_more)(pid_t pid);

__printf(1, 2)
void sm_note(const char *fmt, ...);
bool sm_try_again(unsigned int *failed);

#define sm_skip(...) ({ sm_note(__VA_ARGS__); KSFT_SKIP; })
#define sm_fail(...) ({ sm_note(__VA_ARGS__); KSFT_FAIL; })

int sm_poison(__u64 pfn);
int sm_still_poisoned(__u64 pfn);
int sm_unpoison(__u64 pfn, bool alone);
char sm_state_times(pid_t pid, int tid, unsigned long *user,
		    unsigned long *system);
void sm_tell(pid_t pid);
int sm_run_child(const struct sm_test *t);
int sm_find_nodes(void);

/* A suite calls these in turn, or sm_main(), which is all of them. */
void sm_options(int argc, char **argv, size_t long_nr, bool *stock);
void sm_begin(const struct sm_test *tests, size_t nr_tests);
int sm_run_tests(const struct sm_test *tests, size_t nr_tests,
		 int (*run)(const struct sm_test *t));
int sm_main(int argc, char **argv, const struct sm_test *tests,
	    size_t nr_tests);

#endif /* _SECRETMEM_TEST_H */
