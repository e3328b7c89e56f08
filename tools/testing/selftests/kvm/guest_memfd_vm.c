// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "guest_memfd_vm.h"

/* -------------------------------------------------------------- the guest */

struct gm_shared gm_shared;

void gm_guest_saw(struct gm_report *r, u64 page, u64 word, u64 got, u64 want)
{
	if (r->wrong++)
		return;
	r->page = page;
	r->word = word;
	r->got = got;
	r->want = want;
}

/* Verify each word of a page and write the next generation, word by word. */
static void gm_guest_renew(struct gm_report *r, u64 page, u64 gen)
{
	u64 old = gm_first(gm_shared.seed, page, gen);
	u64 new = gm_first(gm_shared.seed, page, gen + 1);
	u64 step = gm_step(gen), *p = gm_guest_page(page), got;

	for (unsigned int i = 0; i < SM_WORDS; i++) {
		got = sm_get(&p[i]);
		if (got != old)
			gm_guest_saw(r, page, i, got, old);
		sm_set(&p[i], new);
		old += step;
		new += GM_STEP;
	}
}

/* vCPU @id of @stride has every stride-th page. */
void gm_guest_strict(u64 id, u64 stride)
{
	struct gm_report *r = &gm_shared.report[id];
	u64 gen = gm_shared.start;

	do {
		for (u64 page = id; page < gm_shared.nr; page += stride)
			gm_guest_renew(r, page, gen);
		sm_set(&r->gen, ++gen);
		sm_set(&r->passes, r->passes + 1);
	} while (!sm_get(&gm_shared.stop));
	GUEST_DONE();
}

/*
 * For memory that comes and goes: a word is 0, or one that was once written
 * here; the last two bytes count. Zeroes that are written meanwhile arrive byte
 * by byte.
 */
#define GM_COUNT	0xffffULL

static bool gm_loose_ok(u64 got, u64 tag)
{
	for (u64 byte = 0xff0000; byte; byte <<= 8)
		if (got & byte && (got ^ tag) & byte)
			return false;
	return true;
}

static u64 gm_tag(u64 seed, u64 page, u64 i)
{
	return sm_word(seed, page, i) & ~GM_COUNT;
}

void gm_guest_loose(u64 id, u64 stride)
{
	struct gm_report *r = &gm_shared.report[id];
	u64 count = 0, tag, got, *p;

	do {
		count = (count + 1) & GM_COUNT;
		for (u64 page = id; page < gm_shared.nr; page += stride) {
			p = gm_guest_page(page);
			for (unsigned int i = 0; i < SM_WORDS; i += 4) {
				tag = gm_tag(gm_shared.seed, page, i);
				got = sm_get(&p[i]);
				if (!gm_loose_ok(got, tag))
					gm_guest_saw(r, page, i, got, tag);
				sm_set(&p[i], tag | count);
			}
		}
		sm_set(&r->passes, r->passes + 1);
	} while (!sm_get(&gm_shared.stop));
	GUEST_DONE();
}

/* -------------------------------------- vCPUs that were shut down, or hang */

#define GM_TRACE	GM_TRACEFS "/instances/gm_test/"
#define GM_TRACE_LINES	80

struct gm_told *gm_told;

/* From here on, what vCPUs do can be told. */
static void gm_trace_start(void)
{
	if (!sm_exists(GM_TRACEFS "/instances"))
		mount("tracefs", GM_TRACEFS, "tracefs", 0, NULL);
	mkdir(GM_TRACE, 0700);
	sm_write(GM_TRACE "events/kvm/kvm_exit/enable", "1");
	sm_write(GM_TRACE "events/kvm/kvm_inj_exception/enable", "1");
	sm_write(GM_TRACE "events/kvm/kvm_emulate_insn/enable", "1");
}

/* Of the test before, which had vCPUs of the same names. */
static void gm_trace_forget(void)
{
	int fd = open(GM_TRACE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
}

/* What a vCPU did at last. */
static void gm_trace_tell(unsigned int id)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char lines[GM_TRACE_LINES][256];
	unsigned long nr = 0;
	char line[256], task[16];
	FILE *f;

	/* Not all of the events name the vCPU: its task does. */
	snprintf(task, sizeof(task), "-%d ", gm_told->vcpus[id].tid);
	pthread_mutex_lock(&lock);
	sm_write(GM_TRACE "tracing_on", "0");
	f = fopen(GM_TRACE "trace", "re");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, task))
			strcpy(lines[nr++ % GM_TRACE_LINES], line);
	if (f)
		fclose(f);
	for (unsigned long i = nr > GM_TRACE_LINES ? nr - GM_TRACE_LINES : 0;
	     i < nr; i++)
		ksft_print_msg("%s", lines[i % GM_TRACE_LINES]);
	sm_write(GM_TRACE "tracing_on", "1");
	pthread_mutex_unlock(&lock);
}

/* A triple fault leaves nothing of the vCPU's state: KVM resets it. */
static void gm_vcpu_shut_down(unsigned int id)
{
	ksft_print_msg("vCPU %u was shut down; before that:\n", id);
	gm_trace_tell(id);
}

/* What a vCPU's thread has run, in ticks. */
struct gm_ran {
	unsigned long user, system;
	u64 passes;
};

/* A signal makes a vCPU leave the guest, and tell where it is. */
static void gm_ask(struct gm_ran *ran)
{
	for (unsigned int i = 0; i < GM_VCPUS; i++) {
		gm_told->vcpus[i].told = false;
		if (gm_told->vcpus[i].tid)
			syscall(SYS_tkill, gm_told->vcpus[i].tid, SIGUSR1);
	}
	sm_sleep_ms(1000);
	for (unsigned int i = 0; i < GM_VCPUS; i++) {
		int tid = gm_told->vcpus[i].tid;

		if (tid)
			sm_state_times(tid, tid, &ran[i].user, &ran[i].system);
		ran[i].passes = sm_get(&gm_told->vcpus[i].passes);
	}
}

/*
 * For a test that hangs: what its vCPUs did, and then where they are, twice. One
 * of them is astray if it spends its time in the guest, hardly any in the
 * kernel, and makes no pass even after the first signal. That KVM waits, or
 * faults again and again, is something else. No guest changes its cr3: if that
 * and rip are the host's after VMRUN, as was seen once under QEMU's code
 * generator, the emulator has saved the host's state for the guest's.
 */
static void gm_tell_more(pid_t pid)
{
	struct gm_ran first[GM_VCPUS], then[GM_VCPUS];

	for (unsigned int i = 0; i < GM_VCPUS; i++) {
		if (!gm_told->vcpus[i].tid)
			continue;
		ksft_print_msg("vCPU %u, before a signal:\n", i);
		gm_trace_tell(i);
	}
	sm_set(&gm_told->tell, true);
	gm_ask(first);
	sm_sleep_ms(4000);
	gm_ask(then);
	sm_set(&gm_told->tell, false);
	for (unsigned int i = 0; i < GM_VCPUS; i++) {
		unsigned long user = then[i].user - first[i].user;
		unsigned long system = then[i].system - first[i].system;

		if (gm_told->vcpus[i].told && user > 20 && user > 4 * system &&
		    then[i].passes == first[i].passes)
			ksft_print_msg("vCPU %u runs, and makes no pass: rip %#lx cr3 %#lx\n",
				       i, gm_told->vcpus[i].rip,
				       gm_told->vcpus[i].cr3);
	}
}

/* ---------------------------------------------------------------- the VMM */

struct gm_how gm_how;

void gm_slot(struct gm *g, bool there)
{
	vm_set_user_memory_region2(g->vm, GM_SLOT, KVM_MEM_GUEST_MEMFD, GM_GPA,
				   there ? gm_size(g) : 0, g->s.mem, g->s.fd, 0);
}

/*
 * All pages of the file on a node, without a mapping. The policy is the
 * task's.
 */
void gm_allocate(struct gm *g, int node)
{
	int r;

	sm_bind_task(node);
	r = fallocate(g->s.fd, FALLOC_FL_KEEP_SIZE, 0, gm_size(g));
	sm_bind_task(-1);
	if (r)
		exit(sm_fail("fallocate: %s", strerror(errno)));
}

/* Map what is allocated: move_pages(2) only sees pages that are mapped. */
void gm_touch(struct gm *g)
{
	for (size_t i = 0; i < g->s.nr; i++)
		sm_get((u64 *)sm_page(&g->s, i));
}

/*
 * The code that vCPUs run gets two numbers. Interrupts are on in it, though
 * there are none: Bochs 2.7 holds back those of the host, and so never ends
 * KVM_RUN, when a guest is entered that has them off.
 */
void gm_vcpu_start(struct kvm_vcpu *vcpu, u64 id, u64 nr)
{
	struct kvm_regs regs;

	vcpu_args_set(vcpu, 2, id, nr);
	vcpu_regs_get(vcpu, &regs);
	regs.rflags |= X86_EFLAGS_IF;
	vcpu_regs_set(vcpu, &regs);
}

/*
 * A VM of @nr_vcpus that run @code, with @nr pages that are not there yet, and of
 * a file of huge folios with what is missing to a whole one.
 */
void gm_new(struct gm *g, unsigned int nr_vcpus, size_t nr, void *code)
{
	struct vm_shape shape = VM_SHAPE_DEFAULT;
	int map = MAP_SHARED;

	memset(g, 0, sizeof(*g));
	if (gm_huge())
		nr = align_up(nr, GM_HUGE_PAGES);
	if (gm_how.private) {
		shape.type = KVM_X86_SW_PROTECTED_VM;
		map = MAP_PRIVATE | MAP_ANONYMOUS;
	}
	g->nr_vcpus = nr_vcpus;
	g->vm = __vm_create_with_vcpus(shape, nr_vcpus, nr, code, g->vcpus);
	g->s.nr = nr;
	g->s.seed = (u64)getpid() << 32;
	g->s.fd = vm_create_guest_memfd(g->vm, gm_size(g), gm_file_flags());
	g->s.mem = mmap(NULL, gm_size(g), PROT_READ | PROT_WRITE, map,
			gm_how.private ? -1 : g->s.fd, 0);
	if (g->s.mem == MAP_FAILED)
		exit(sm_fail("mmap: %s", strerror(errno)));
	gm_slot(g, true);
	if (gm_how.private)
		vm_mem_set_private(g->vm, GM_GPA, gm_size(g));
	virt_map(g->vm, GM_GPA, GM_GPA, nr);
	for (unsigned int i = 0; i < nr_vcpus; i++) {
		g->threads[i].g = g;
		g->threads[i].id = i;
		gm_vcpu_start(g->vcpus[i], i, nr_vcpus);
	}
	g->shared = addr_gva2hva(g->vm, (gva_t)&gm_shared);
	g->shared->seed = g->s.seed;
	g->shared->nr = nr;
}

/* The same, with all memory there, on the first node. */
void gm_new_strict(struct gm *g, unsigned int nr_vcpus, size_t nr)
{
	gm_new(g, nr_vcpus, nr, gm_guest_strict);
	gm_allocate(g, sm_from);
	if (gm_how.private)
		return;
	gm_touch(g);
	if (sm_on_node(&g->s, sm_from) != g->s.nr)
		exit(sm_fail("only %zu of %zu pages start on node %d",
			     sm_on_node(&g->s, sm_from), g->s.nr, sm_from));
}

/*
 * The guest found no memslot: stand in for it, with the VMM's mapping of the
 * memory that is meant.
 */
static bool gm_mmio(struct gm *g, struct kvm_run *run)
{
	u64 off = run->mmio.phys_addr - GM_GPA;
	void *mem = (char *)g->s.mem + off;

	if (!g->retry || gm_how.private || off >= gm_size(g))
		return false;
	if (run->mmio.is_write)
		memcpy(mem, run->mmio.data, run->mmio.len);
	else
		memcpy(run->mmio.data, mem, run->mmio.len);
	return true;
}

/* Where a vCPU is, by its thread. */
static void gm_vcpu_tell(struct gm_thread *t)
{
	struct kvm_vcpu *vcpu = t->g->vcpus[t->id];
	struct gm_report *r = &t->g->shared->report[t->id];
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	vcpu_regs_get(vcpu, &regs);
	vcpu_sregs_get(vcpu, &sregs);
	sm_set(&gm_told->vcpus[t->id].passes, sm_get(&r->passes));
	gm_told->vcpus[t->id].rip = regs.rip;
	gm_told->vcpus[t->id].cr3 = sregs.cr3;
	sm_set(&gm_told->vcpus[t->id].told, true);
	ksft_print_msg("vCPU %u: %lu passes, rip %llx rsp %llx rflags %llx\n",
		       t->id, (unsigned long)sm_get(&r->passes), regs.rip,
		       regs.rsp, regs.rflags);
	ksft_print_msg("  rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi %llx rbp %llx\n",
		       regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi,
		       regs.rdi, regs.rbp);
	ksft_print_msg("  r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx r13 %llx r14 %llx r15 %llx\n",
		       regs.r8, regs.r9, regs.r10, regs.r11, regs.r12,
		       regs.r13, regs.r14, regs.r15);
	ksft_print_msg("  cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx\n",
		       sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer);
}

void gm_signal(int sig)
{
}

void *gm_run(void *arg)
{
	struct gm_thread *t = arg;
	struct kvm_vcpu *vcpu = t->g->vcpus[t->id];
	struct kvm_run *run = vcpu->run;
	struct ucall uc;
	u64 cmd;

	gm_told->vcpus[t->id].tid = syscall(SYS_gettid);
	if (t->g->urgent)
		sched_setscheduler(0, SCHED_FIFO,
				   &(struct sched_param){ .sched_priority = 1 });
	for (;;) {
		t->err = __vcpu_run(vcpu) ? errno : 0;
		t->exit = run->exit_reason;
		if (t->err == EINTR && sm_get(&gm_told->tell))
			gm_vcpu_tell(t);
		if (t->err == EINTR || t->err == EAGAIN)
			continue;
		if ((t->err == EFAULT || t->err == EHWPOISON) &&
		    t->exit == KVM_EXIT_MEMORY_FAULT && t->g->retry) {
			__atomic_add_fetch(&t->g->faults, 1, __ATOMIC_RELAXED);
			sched_yield();
			continue;
		}
		if (t->err)
			return NULL;
		if (t->exit == KVM_EXIT_MMIO && gm_mmio(t->g, run)) {
			__atomic_add_fetch(&t->g->faults, 1, __ATOMIC_RELAXED);
			continue;
		}
		if (t->exit != KVM_EXIT_IO) {
			if (t->exit == KVM_EXIT_SHUTDOWN)
				gm_vcpu_shut_down(t->id);
			t->err = EPROTO;
			return NULL;
		}
		cmd = get_ucall(vcpu, &uc);
		if (cmd == UCALL_DONE)
			return NULL;
		if (cmd == UCALL_SYNC) {
			sm_sleep_ms(1);
			continue;
		}
		if (cmd == UCALL_ABORT)
			REPORT_GUEST_ASSERT(uc);
		t->err = EPROTO;
		return NULL;
	}
}

void gm_start(struct gm *g)
{
	for (unsigned int i = 0; i < g->nr_vcpus; i++)
		kvm_pthread_create(&g->threads[i].thread, NULL, gm_run,
				   &g->threads[i]);
}

/* Until each vCPU has seen each of its pages again, from here on. */
void gm_wait(struct gm *g)
{
	u64 want[GM_VCPUS];

	for (unsigned int i = 0; i < g->nr_vcpus; i++)
		want[i] = gm_passes(g, i) + 2;
	for (unsigned int i = 0; i < g->nr_vcpus; i++)
		while (gm_passes(g, i) < want[i] && !g->threads[i].err)
			sm_sleep_ms(5);
}

/* End the guest and say whether it was content. */
int gm_stop(struct gm *g)
{
	u64 passes = 0, wrong = 0;
	int ret = KSFT_PASS;

	sm_set(&g->shared->stop, 1);
	for (unsigned int i = 0; i < g->nr_vcpus; i++) {
		struct gm_report *r = &g->shared->report[i];
		struct gm_thread *t = &g->threads[i];

		pthread_join(t->thread, NULL);
		passes += r->passes;
		wrong += r->wrong;
		if (t->err)
			ret = sm_fail("vCPU %u: KVM_RUN: %s, %s", i,
				      strerror(t->err),
				      exit_reason_str(t->exit));
		else if (!r->passes)
			ret = sm_fail("vCPU %u has made no pass", i);
		if (r->wrong)
			ret = sm_fail("vCPU %u, pass %lu: page %lu word %lu: %#lx, not %#lx",
				      i, r->passes, r->page, r->word, r->got,
				      r->want);
	}
	sm_note("%lu passes, %lu wrong words", passes, wrong);
	return ret;
}

/* What the guest has left, by the VMM's mapping; with gm_guest_strict() only. */
size_t gm_wrong(const struct gm *g)
{
	size_t wrong = 0;

	for (size_t page = 0; page < g->s.nr && !gm_how.private; page++) {
		u64 gen = g->shared->report[page % g->nr_vcpus].gen;
		u64 want = gm_first(g->s.seed, page, gen);
		u64 *p = sm_page(&g->s, page);

		for (unsigned int i = 0; i < SM_WORDS; i++) {
			wrong += sm_get(&p[i]) != want;
			want += gm_step(gen);
		}
	}
	return wrong;
}

void gm_free(struct gm *g)
{
	kvm_vm_free(g->vm);
	if (g->s.mem)
		munmap(g->s.mem, gm_size(g));
	close(g->s.fd);
}

/*
 * Pages that a vCPU faults in right now are busy and stay: ask again. Returns
 * how many are on the node at last.
 */
size_t gm_move(struct gm *g, int node)
{
	unsigned int failed = 0;
	size_t there;

	do {
		sm_move(&g->s, node);
		there = sm_on_node(&g->s, node);
	} while (gm_movable() && there < g->s.nr && sm_try_again(&failed));
	return there;
}

/* ------------------------------------------------ page frames, unmapped */

int gm_cgroup_enter(void)
{
	int err;

	if (!sm_exists("/sys/fs/cgroup/cgroup.procs") ||
	    !sm_exists("/proc/kpagecgroup"))
		return -ENOENT;
	err = sm_write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (err)
		return err;
	if (mkdir(GM_CGROUP, 0755) && errno != EEXIST)
		return -errno;
	return sm_write(GM_CGROUP "/cgroup.procs", "0");
}

/* Looks no further when it has found the @nr that there are. */
struct gm_frames gm_frames(size_t nr)
{
	const size_t chunk = 65536;
	struct gm_frames f = { 0 };
	struct stat st;
	ssize_t n;
	u64 *group;
	int fd;

	fd = open("/proc/kpagecgroup", O_RDONLY);
	group = malloc(chunk * sizeof(u64));
	f.pfn = malloc(nr * sizeof(u64));
	if (stat(GM_CGROUP, &st) || fd < 0)
		exit(sm_fail("cannot find page frames: %s", strerror(errno)));
	/* Flags are set when a page leaves a CPU's batch for the LRU. */
	sm_write("/proc/sys/vm/drop_caches", "1");
	for (u64 base = 0; f.nr < nr; base += chunk) {
		n = pread(fd, group, chunk * sizeof(u64), base * sizeof(u64));
		if (n <= 0)
			break;
		n /= sizeof(u64);
		for (ssize_t i = 0; i < n && f.nr < nr; i++)
			if (group[i] == st.st_ino &&
			    sm_kpf(base + i, SM_KPF_UNEVICTABLE))
				f.pfn[f.nr++] = base + i;
	}
	free(group);
	close(fd);
	return f;
}

/* How many of the frames in @now are not in @was. */
size_t gm_frames_new(const struct gm_frames *was, const struct gm_frames *now)
{
	size_t i = 0, new = 0;

	for (size_t k = 0; k < now->nr; k++) {
		while (i < was->nr && was->pfn[i] < now->pfn[k])
			i++;
		new += i == was->nr || was->pfn[i] != now->pfn[k];
	}
	return new;
}

size_t gm_frames_in(const struct gm_frames *f, u64 first, u64 end)
{
	size_t in = 0;

	for (size_t k = 0; k < f->nr; k++)
		in += f->pfn[k] >= first && f->pfn[k] < end;
	return in;
}

/* ----------------------------------------------------------------- runner */

bool gm_stock;

static const char *const gm_variant_names[] = {
	"shared", "shared, no direct map", "shared, movable",
	"shared, no direct map, movable",
	"private", "private, no direct map", "private, movable",
	"private, no direct map, movable",
	"",
	"shared, movable, 2 MB",
	"shared, no direct map, movable, 2 MB",
};

static u64 gm_variant_flags(unsigned int v)
{
	const unsigned int hidden = GM_S_SECRET | GM_P_SECRET | GM_H_BOTH;
	const unsigned int movable = GM_S_MOVE | GM_P_MOVE | GM_H_MOVE;

	return (hidden >> v & 1 ? GM_NDM : 0) |
	       (movable >> v & 1 ? GM_MOVABLE : 0) |
	       (GM_H_MOVE >> v & 1 ? GM_HUGE : 0);
}

static bool gm_has_variant(const struct gm_test *t, unsigned int v)
{
	if (!(t->variants >> v & 1))
		return false;
	/* With ephmap=off there are no such files: one test says so. */
	if (!sm_on && ((GM_S_SECRET | GM_P_SECRET | GM_H_BOTH) >> v & 1))
		return false;
	return !gm_stock || ((GM_S_NONE | GM_P_NONE) >> v & 1);
}

/* Each test with each of its variants. */
static struct sm_test *gm_cases(const struct gm_test *tests, size_t nr_tests,
				size_t *nr)
{
	const unsigned int nr_variants = ARRAY_SIZE(gm_variant_names);
	struct sm_test *cases, *c;

	cases = calloc(nr_tests * nr_variants, sizeof(*cases));
	TEST_ASSERT(cases, "no memory");
	c = cases;
	for (size_t i = 0; i < nr_tests; i++) {
		for (unsigned int v = 0; v < nr_variants; v++) {
			if (!gm_has_variant(&tests[i], v))
				continue;
			c->both = tests[i].name;
			if (1 << v != GM_ONCE)
				c->both = strdup_printf("%s [%s]",
							tests[i].name,
							gm_variant_names[v]);
			c->fn = tests[i].fn;
			c->seconds = tests[i].seconds;
			c->variant = v;
			c++;
		}
	}
	*nr = c - cases;
	return cases;
}

static int gm_run_test(const struct sm_test *t)
{
	int code;

	gm_how.private = (GM_P_ALL >> t->variant & 1);
	gm_how.flags = gm_variant_flags(t->variant);
	memset(gm_told, 0, sizeof(*gm_told));
	gm_trace_forget();
	code = sm_run_child(t);
	rmdir(GM_CGROUP);
	return code;
}

int gm_main(int argc, char **argv, const struct gm_test *tests, size_t nr_tests)
{
	struct sigaction tell = { .sa_handler = gm_signal };
	struct sm_test *cases;
	size_t nr;

	sm_nr = 1024;
	sm_options(argc, argv, sm_nr, &gm_stock);
	cases = gm_cases(tests, nr_tests, &nr);
	sm_begin(cases, nr);
	if (access("/dev/kvm", R_OK | W_OK))
		ksft_exit_skip("no /dev/kvm\n");
	if (!gm_stock &&
	    !(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GM_MOVABLE))
		ksft_exit_skip("no GUEST_MEMFD_FLAG_MOVABLE\n");

	gm_told = mmap(NULL, sizeof(*gm_told), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sm_tell_more = gm_tell_more;
	sigaction(SIGUSR1, &tell, NULL);
	gm_trace_start();
	return sm_run_tests(cases, nr, gm_run_test);
}
