// SPDX-License-Identifier: GPL-2.0
/*
 * Secret pages under load (M19): on every CPU a thread verifies and rewrites
 * its pages word by word, while others move the same pages to and fro, two at
 * a time, compact memory, take memory blocks and CPUs offline and online, and
 * while processes that own secrets, or share them, map, unmap, remap, fork,
 * exit and are killed. No word may be wrong, and in the end every page must
 * have its direct-map alias again.
 *
 * Where there is KVM, some of these files are a VM's memory, punched and written
 * again as well, and a vCPU rewrites one that nobody else does.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <linux/kvm.h>

#include "secretmem_test.h"

#define MAX_WRITERS	64
#define NR_CHURN	2
#define NR_MOVERS	2

/* What the processes of the test share. */
struct shared {
	bool	stop;
	long	wrong;		/* words, anywhere */
	long	written;	/* pages */
	long	verified;	/* pages, by the churn */
	long	forked;
	long	killed;
	long	files;
	long	guests;		/* of them a VM's */
	long	punched;
	long	resized;	/* ftruncate() that should have failed */
	long	compacted;
	long	offlined;
	long	refused;	/* memory blocks that stayed online */
	long	unplugged;	/* CPUs */
	/* Where a churning process has secrets: others move them. */
	struct {
		pid_t	pid;
		void	*mem;
		size_t	nr;
	} target[NR_CHURN];
};

static struct shared *shared;
static struct secret region;		/* rewritten all the time */
static struct secret constant;		/* shared with forked children */
static struct secret memory;		/* rewritten by a vCPU; or no pages */
static unsigned int nr_writers;
static bool no_hotplug;
static bool may_fail;

static unsigned int rnd(unsigned int *state)
{
	*state = *state * 1103515245 + 12345;
	return *state >> 8;
}

static void add(long *counter, long val)
{
	__atomic_add_fetch(counter, val, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------- in this process */

/* A page's words depend on how often it was written, too. */
static __u64 generation_word(__u64 generation, size_t page,
			     unsigned int i)
{
	return sm_word(region.seed + (generation << 20), page, i);
}

static void *writer(void *arg)
{
	unsigned int id = (uintptr_t)arg, state = id + 1;
	size_t per = region.nr / nr_writers, first = id * per;
	__u64 *generation = calloc(per, sizeof(*generation));

	sm_run_on(id % get_nprocs_conf());

	for (size_t i = 0; i < per; i++) {
		__u64 *p = sm_page(&region, first + i);

		for (unsigned int w = 0; w < SM_WORDS; w++)
			sm_set(&p[w], generation_word(0, first + i, w));
	}
	while (!sm_get(&shared->stop)) {
		size_t i = rnd(&state) % per;
		__u64 *p = sm_page(&region, first + i);
		long wrong = 0;

		for (unsigned int w = 0; w < SM_WORDS; w++) {
			wrong += sm_get(&p[w]) !=
				 generation_word(generation[i], first + i, w);
			sm_set(&p[w], generation_word(generation[i] + 1,
						      first + i, w));
		}
		generation[i]++;
		if (wrong)
			add(&shared->wrong, wrong);
		add(&shared->written, 1);
	}
	for (size_t i = 0; i < per; i++) {
		__u64 *p = sm_page(&region, first + i);

		for (unsigned int w = 0; w < SM_WORDS; w++)
			if (sm_get(&p[w]) !=
			    generation_word(generation[i], first + i, w))
				add(&shared->wrong, 1);
	}
	free(generation);
	return NULL;
}

/*
 * With -f allocations fail in the tasks that move pages, if the caller armed
 * failslab or fail_page_alloc with its task-filter; others are spared.
 */
static void let_fail(void)
{
	char path[64];

	if (!may_fail)
		return;
	snprintf(path, sizeof(path), "/proc/self/task/%d/make-it-fail",
		 (int)syscall(__NR_gettid));
	sm_write(path, "1");
}

static const struct secret *to_move(unsigned int *state)
{
	unsigned int n = rnd(state) % (memory.nr ? 8 : 4);

	return n > 3 ? &memory : n ? &region : &constant;
}

/* Two of these meet at the same pages all the time. */
static void *mover(void *arg)
{
	unsigned int state = (uintptr_t)arg + 77;

	let_fail();
	while (!sm_get(&shared->stop)) {
		const struct secret *s = to_move(&state);
		int node = rnd(&state) & 1 ? sm_to : sm_from;
		size_t first = rnd(&state) % s->nr;
		size_t nr = rnd(&state) % (s->nr - first) + 1;
		unsigned int t = rnd(&state) % NR_CHURN;

		sm_move_pid(0, sm_page(s, first), nr, node,
			    SM_MPOL_MF_MOVE_ALL);
		/* Somebody else's, who may be dying. */
		if (shared->target[t].pid)
			sm_move_pid(shared->target[t].pid,
				    shared->target[t].mem,
				    shared->target[t].nr, node,
				    SM_MPOL_MF_MOVE_ALL);
	}
	return NULL;
}

/*
 * Compaction and offlining take turns. compact_zone() keeps no memory online:
 * with CONFIG_DEBUG_VM, which poisons the memmap of a block that goes offline,
 * set_pfnblock_bit() hits a VM_BUG_ON_PAGE() in a block that goes while it is
 * scanned, whatever memory is in it.
 */
static pthread_mutex_t blocks = PTHREAD_MUTEX_INITIALIZER;

static int write_blocks(const char *path, const char *what)
{
	int err;

	pthread_mutex_lock(&blocks);
	err = sm_write(path, what);
	pthread_mutex_unlock(&blocks);
	return err;
}

static void *compactor(void *arg)
{
	unsigned int state = 5;
	char path[128];

	(void)arg;
	let_fail();
	while (!sm_get(&shared->stop)) {
		if (rnd(&state) & 1) {
			write_blocks("/proc/sys/vm/compact_memory", "1");
		} else {
			snprintf(path, sizeof(path), SM_NODES "node%d/compact",
				 rnd(&state) & 1 ? sm_to : sm_from);
			write_blocks(path, "1");
		}
		add(&shared->compacted, 1);
		sm_sleep_ms(rnd(&state) % 100);
	}
	return NULL;
}

static void *offliner(void *arg)
{
	int block = (uintptr_t)arg;
	char path[128];

	let_fail();
	snprintf(path, sizeof(path), SM_MEMORY "memory%d/state", block);
	while (!sm_get(&shared->stop)) {
		if (write_blocks(path, "offline")) {
			add(&shared->refused, 1);
		} else {
			add(&shared->offlined, 1);
			sm_sleep_ms(20);
		}
		write_blocks(path, "online_movable");
		sm_sleep_ms(100);
	}
	return NULL;
}

static void *unplugger(void *arg)
{
	char path[128];

	(void)arg;
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online",
		 get_nprocs_conf() - 1);
	while (!sm_get(&shared->stop)) {
		if (!sm_write(path, "0"))
			add(&shared->unplugged, 1);
		sm_sleep_ms(50);
		sm_write(path, "1");
		sm_sleep_ms(300);
	}
	return NULL;
}

/* ------------------------------------------------------------- in a guest */

/* Below the pages: the guest's program, and what it reports. */
#define LOW		0x1000
#define LOW_PAGES	2

/* In the second page. */
struct report {
	__u32	passes;
	__u32	wrong;		/* words */
	__u32	stop;
};

static struct {
	int		fd;
	struct kvm_run	*run;
	struct report	*report;
	pthread_t	thread;
} vcpu;

/*
 * 32-bit protected mode, flat, interrupts on (see gm_vcpu_start()). Each 32-bit
 * word of the pages is its address plus how often it was written. Registers at
 * the start: ebx the first page, ebp the end of the last, edi the report, ecx 0.
 */
static const __u8 guest_code[] = {
	0x89, 0xde,			/* 1: mov    %ebx,%esi         */
	0x8d, 0x04, 0x0e,		/* 2: lea    (%esi,%ecx),%eax  */
	0x39, 0x06,			/*    cmp    %eax,(%esi)       */
	0x74, 0x03,			/*    je     3f                */
	0xff, 0x47, 0x04,		/*    incl   4(%edi)           */
	0x40,				/* 3: inc    %eax              */
	0x89, 0x06,			/*    mov    %eax,(%esi)       */
	0x83, 0xc6, 0x04,		/*    add    $4,%esi           */
	0x39, 0xee,			/*    cmp    %ebp,%esi         */
	0x72, 0xec,			/*    jb     2b                */
	0x41,				/*    inc    %ecx              */
	0xff, 0x07,			/*    incl   (%edi)            */
	0x83, 0x7f, 0x08, 0x00,		/*    cmpl   $0,8(%edi)        */
	0x74, 0xe1,			/*    je     1b                */
	0xf4,				/*    hlt                      */
};

static int vcpu_registers(void)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
		.db = 1, .s = 1, .g = 1,
	};
	struct kvm_regs regs = {
		.rip = LOW, .rflags = 0x202, .rbx = SM_GPA,
		.rbp = SM_GPA + memory.nr * SM_PAGE, .rdi = LOW + SM_PAGE,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu.fd, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cr0 |= 1;
	sregs.cs = flat;
	flat.type = 3;
	flat.selector = 16;
	sregs.ds = flat;
	sregs.es = flat;
	sregs.ss = flat;
	if (ioctl(vcpu.fd, KVM_SET_SREGS, &sregs) ||
	    ioctl(vcpu.fd, KVM_SET_REGS, &regs))
		return -errno;
	return 0;
}

static int vcpu_create(void)
{
	size_t size = LOW_PAGES * SM_PAGE;
	char *low = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int err = sm_vm_slot(memory.vm, 1, LOW, low, size, -1);

	if (err)
		return err;
	memcpy(low, guest_code, sizeof(guest_code));
	vcpu.report = (void *)(low + SM_PAGE);
	vcpu.fd = ioctl(memory.vm, KVM_CREATE_VCPU, 0);
	if (vcpu.fd < 0)
		return -errno;
	vcpu.run = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			vcpu.fd, 0);
	if (vcpu.run == MAP_FAILED)
		return -errno;
	for (size_t off = 0; off < memory.nr * SM_PAGE; off += 4)
		sm_set((__u32 *)((char *)memory.mem + off), SM_GPA + off);
	return vcpu_registers();
}

static void *vcpu_run(void *arg)
{
	int err;

	(void)arg;
	do {
		err = ioctl(vcpu.fd, KVM_RUN, 0) ? errno : 0;
	} while (err == EINTR || err == EAGAIN);
	if (err || vcpu.run->exit_reason != KVM_EXIT_HLT)
		ksft_print_msg("vCPU: exit %u: %s\n", vcpu.run->exit_reason,
			       strerror(err));
	return NULL;
}

/* Let the guest end its pass; the words are to be those of its last one. */
static long vcpu_stop(long *passes)
{
	__u32 *p = (void *)memory.mem;
	long wrong;

	sm_set(&vcpu.report->stop, 1);
	pthread_join(vcpu.thread, NULL);
	*passes = vcpu.report->passes;
	wrong = vcpu.report->wrong;
	for (size_t i = 0; i < memory.nr * SM_PAGE / 4; i++)
		wrong += sm_get(&p[i]) != (__u32)(SM_GPA + 4 * i + *passes);
	munmap(vcpu.run, SM_PAGE);
	close(vcpu.fd);
	sm_close(&memory);
	return wrong;
}

/* --------------------------------------------------- in other processes */

static void check(const struct secret *s)
{
	size_t wrong = sm_wrong(s);

	if (wrong)
		add(&shared->wrong, wrong);
	add(&shared->verified, s->nr);
}

/* By pwrite(2), or by the mapping where allocations are made to fail. */
static void rewrite(const struct secret *s, size_t first, size_t nr)
{
	if (sm_write_pages(s, first, nr))
		for (size_t page = first; page < first + nr; page++)
			sm_fill_page(s, page);
}

/* A hole is zeroes; what is written there again is there again. */
static void punch(const struct secret *s, unsigned int *state)
{
	size_t first = rnd(state) % s->nr;
	size_t nr = rnd(state) % (s->nr - first) + 1;
	__u64 *p = sm_page(s, first);
	long wrong = 0;

	if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      first * SM_PAGE, nr * SM_PAGE))
		return;
	add(&shared->punched, nr);
	if (rnd(state) & 1)
		for (size_t i = 0; i < nr * SM_WORDS; i++)
			wrong += sm_get(&p[i]) != 0;
	if (wrong)
		add(&shared->wrong, wrong);
	rewrite(s, first, nr);
}

static void child_new_secret(unsigned int *state, unsigned int id, bool guest)
{
	int node = rnd(state) & 1 ? sm_to : sm_from;
	size_t nr = rnd(state) % 64 + 1;
	struct secret s, second;
	void *to;
	pid_t pid;

	if (!guest) {
		if (sm_new(&s, nr, node))
			return;
	} else {
		if (sm_open_guest(&s, nr))
			return;
		sm_bind_task(node);
		rewrite(&s, 0, nr);
		sm_bind_task(-1);
		add(&shared->guests, 1);
	}
	add(&shared->files, 1);
	shared->target[id].nr = nr;
	shared->target[id].mem = s.mem;
	shared->target[id].pid = getpid();

	check(&s);
	if (!ftruncate(s.fd, (nr + 1) * SM_PAGE) || !ftruncate(s.fd, 0))
		add(&shared->resized, 1);

	/* A second mapping outlives the first, the file outlives both. */
	second = s;
	if (!sm_map(&second)) {
		sm_unmap(&s);
		check(&second);
		to = mremap(second.mem, nr * SM_PAGE, nr * SM_PAGE,
			    MREMAP_MAYMOVE | MREMAP_FIXED,
			    (char *)second.mem + (64UL << 20));
		if (to != MAP_FAILED)
			second.mem = to;
		shared->target[id].mem = second.mem;
		check(&second);
		if (guest) {
			punch(&second, state);
			check(&second);
		}
		sm_unmap(&second);
		if (sm_map(&s))
			return;
		check(&s);
	}

	/* One that shares them, and may be the last to have them. */
	pid = fork();
	if (!pid) {
		close(s.fd);
		sm_move(&s, rnd(state) & 1 ? sm_to : sm_from);
		check(&s);
		_exit(0);
	}
	add(&shared->forked, 1);
	if (rnd(state) & 1)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	sm_close(&s);
}

static void child_shared(unsigned int *state)
{
	for (int i = 0; i < 4; i++) {
		check(&constant);
		if (rnd(state) & 1)
			madvise(constant.mem, constant.nr * SM_PAGE,
				MADV_DONTNEED);
	}
}

/* Fork children with secrets, kill every second one in the middle. */
static void churn(unsigned int id)
{
	unsigned int state = id * 31 + 7;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!sm_get(&shared->stop)) {
		pid_t pid;

		rnd(&state);
		pid = fork();
		if (!pid) {
			setpgid(0, 0);
			if (!(rnd(&state) % 3))
				child_shared(&state);
			else
				child_new_secret(&state, id,
						 memory.nr && id & 1);
			_exit(0);
		}
		if (pid < 0)
			continue;
		setpgid(pid, pid);
		add(&shared->forked, 1);
		if (rnd(&state) & 1) {
			sm_sleep_ms(rnd(&state) % 50);
			kill(-pid, SIGKILL);
			add(&shared->killed, 1);
		}
		waitpid(pid, NULL, 0);
		shared->target[id].pid = 0;
	}
	exit(0);
}

/* ---------------------------------------------------------------------- */

static long long moves(void)
{
	long long n = sm_vmstat("no_direct_map_migrate_success");

	return n < 0 ? 0 : n;
}

static void help(const char *prog)
{
	printf("usage: %s [-t seconds] [-n moves] [-p pages] [-H] [-f]\n"
	       "  -t seconds  how long (default 10)\n"
	       "  -n moves    instead: until so many pages have moved\n"
	       "  -p pages    secret pages (default 512)\n"
	       "  -H          leave CPUs and memory blocks online\n"
	       "  -f          let allocations fail while pages move\n", prog);
}

int main(int argc, char **argv)
{
	struct rlimit rlim = { RLIM_INFINITY, RLIM_INFINITY };
	pthread_t thread[MAX_WRITERS + NR_MOVERS + 3];
	unsigned int nr_threads = 0;
	long guest_wrong = 0, passes = 0;
	long long start_moves, start_zapped, now_zapped, done, want = 0;
	double seconds = 10, start, said;
	size_t pages = 512;
	pid_t pid[NR_CHURN];
	bool made = false;
	int block = -1, c, fd;

	while ((c = getopt(argc, argv, "t:n:p:Hfh")) != -1) {
		switch (c) {
		case 't':
			seconds = strtod(optarg, NULL);
			break;
		case 'n':
			want = strtoll(optarg, NULL, 0);
			break;
		case 'p':
			pages = strtoul(optarg, NULL, 0);
			break;
		case 'H':
			no_hotplug = true;
			break;
		case 'f':
			may_fail = true;
			break;
		default:
			help(argv[0]);
			return c == 'h' ? 0 : 2;
		}
	}

	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("needs root\n");
	setrlimit(RLIMIT_MEMLOCK, &rlim);
	fd = sm_memfd_secret();
	if (fd < 0)
		ksft_exit_skip("memfd_secret: %s\n", strerror(errno));
	close(fd);
	if (sm_find_nodes() < 2)
		ksft_exit_skip("needs two NUMA nodes with memory\n");
	sm_on = sm_ephmap_on();
	if (!sm_on)
		want = 0;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sm_stat_refresh();
	start_zapped = sm_vmstat("nr_no_direct_map");
	start_moves = moves();

	if (!no_hotplug && sm_block_pages())
		block = sm_block_movable(sm_to, &made);
	nr_writers = get_nprocs();
	if (nr_writers > MAX_WRITERS)
		nr_writers = MAX_WRITERS;
	if (pages < nr_writers)
		pages = nr_writers;
	if (sm_new(&constant, pages / 4 + 1, sm_from) ||
	    sm_new(&region, pages, sm_to))
		ksft_exit_fail_msg("no secret memory\n");
	if (!sm_on || sm_open_guest(&memory, pages / 4 + 1))
		memory.nr = 0;
	else if (vcpu_create())
		ksft_exit_fail_msg("no vCPU\n");
	ksft_print_msg("ephmap: %s, %zu pages, %u writers, %zu pages of a vCPU, memory block %d\n",
		       sm_on ? "on" : "off", pages, nr_writers, memory.nr,
		       block);
	ksft_set_plan(5);

	/* Processes first: they are to have one thread. */
	for (unsigned int i = 0; i < NR_CHURN; i++) {
		pid[i] = fork();
		if (!pid[i])
			churn(i);
	}
	for (uintptr_t i = 0; i < nr_writers; i++)
		pthread_create(&thread[nr_threads++], NULL, writer, (void *)i);
	for (uintptr_t i = 0; i < NR_MOVERS; i++)
		pthread_create(&thread[nr_threads++], NULL, mover, (void *)i);
	pthread_create(&thread[nr_threads++], NULL, compactor, NULL);
	if (block >= 0)
		pthread_create(&thread[nr_threads++], NULL, offliner,
			       (void *)(uintptr_t)block);
	if (!no_hotplug && get_nprocs_conf() > 1)
		pthread_create(&thread[nr_threads++], NULL, unplugger, NULL);

	if (memory.nr)
		pthread_create(&vcpu.thread, NULL, vcpu_run, NULL);

	start = sm_now();
	said = start;
	for (;;) {
		sm_sleep_ms(100);
		done = moves() - start_moves;
		if (want ? done >= want : sm_now() - start >= seconds)
			break;
		if (sm_get(&shared->wrong))
			break;
		if (sm_now() - said >= 10) {
			said = sm_now();
			ksft_print_msg("%.0f s: %lld moves, %ld wrong words\n",
				       said - start, done, shared->wrong);
		}
	}
	sm_set(&shared->stop, true);
	for (unsigned int i = 0; i < nr_threads; i++)
		pthread_join(thread[i], NULL);
	for (unsigned int i = 0; i < NR_CHURN; i++)
		waitpid(pid[i], NULL, 0);
	done = moves() - start_moves;
	check(&constant);
	sm_close(&constant);
	sm_close(&region);
	if (memory.nr)
		guest_wrong = vcpu_stop(&passes);
	if (block >= 0)
		sm_block_restore(block, made);

	ksft_print_msg("%.0f s: %lld moves, %ld page writes, %ld page checks\n",
		       sm_now() - start, done, shared->written,
		       shared->verified);
	ksft_print_msg("%ld compactions, offline: memory %ld times (%ld refused), CPU %ld times\n",
		       shared->compacted, shared->offlined, shared->refused,
		       shared->unplugged);
	ksft_print_msg("%ld forks, %ld kills, %ld files; of VMs: %ld, %ld pages punched\n",
		       shared->forked, shared->killed, shared->files,
		       shared->guests, shared->punched);

	ksft_test_result(!shared->wrong && shared->written &&
			 shared->verified,
			 "M19: %ld wrong words\n", shared->wrong);
	if (memory.nr)
		ksft_test_result(!guest_wrong && passes > 1,
				 "M19: a guest's %ld passes: %ld wrong words\n",
				 passes, guest_wrong);
	else
		ksft_test_result_skip("M19: no guest memory here\n");
	ksft_test_result(sm_on ? done > 0 : done == 0,
			 "%s: %lld moves\n", sm_on ? "M14" : "M22", done);
	ksft_test_result(!shared->resized,
			 "M19: secret files are not resized\n");
	/* The last children may still be on their way out. */
	for (int i = 0; i < 50; i++) {
		sm_stat_refresh();
		now_zapped = sm_vmstat("nr_no_direct_map");
		if (now_zapped == start_zapped)
			break;
		sm_sleep_ms(100);
	}
	ksft_test_result(now_zapped == start_zapped,
			 "M11: %lld pages without alias, %lld before\n",
			 now_zapped, start_zapped);
	ksft_finished();
}
