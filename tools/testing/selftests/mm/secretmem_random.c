// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on secret memory and guest memory, compared with a model
 * of them in ordinary memory (M11, M14, M16, M18, M19, M21).
 *
 * A round starts from nothing and does some hundred operations that a seed
 * chooses: create, map, write, move, punch, fork, close, take CPUs and memory
 * offline ... The model predicts every word, every result and every signal, which
 * pages exist, how many of them have no alias, how many are charged, and
 * whether hibernation is refused. After each batch of operations all of that
 * is compared. One task does one thing after the other, so that a seed repeats
 * what it did; with -a another process moves all of the memory meanwhile.
 *
 * The first difference ends the test. It prints the seed and the last
 * operations; -s SEED repeats the round.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/kvm.h>

#include "secretmem_test.h"

#define MAX_FILES	6
#define MAX_PAGES	48
#define MAX_VIEWS	3
#define SLACK		2	/* pages that a view may reach past the end */
#define VIEW_PAGES	(MAX_PAGES + SLACK)
#define BATCH		25	/* operations from check to check */
#define LOG_LINES	100
#define LOG_WIDTH	192
#define MAX_POISON	4	/* pages a round may take out of use */
#define TOTAL_POISON	64	/* and all rounds, where they stay so */
#define HANG_SECONDS	180
#define USED_FILES	"nr_no_direct_map_files"

#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT		1
#endif
#ifndef KVM_PRE_FAULT_MEMORY
struct kvm_pre_fault_memory {
	__u64 gpa;
	__u64 size;
	__u64 flags;
	__u64 padding[5];
};

#define KVM_PRE_FAULT_MEMORY	_IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
#endif

/* What a difference is one of. */
enum verdict {
	V_WORDS,
	V_COUNT,
	V_RESULT,
	V_ALIAS,
	V_CHARGE,
	V_HIBERNATE,
	NR_VERDICTS,
};

static const char * const verdicts[NR_VERDICTS] = {
	[V_WORDS] = "M19: every word is what was written last",
	[V_COUNT] = "M11: the pages that exist, and only they, have no alias",
	[V_RESULT] = "M19: every call and every access does what the model says",
	[V_ALIAS] = "M18: secret pages are not read by an alias",
	[V_CHARGE] = "M16: RLIMIT_MEMLOCK counts every secret page once",
	[V_HIBERNATE] = "M21: hibernation is refused while there are secrets",
};

/* Of a round, for the process that watches it. */
struct shared {
	char	log[LOG_LINES][LOG_WIDTH];
	long	lines;
	char	why[512];
	bool	failed[NR_VERDICTS];
	long	op;			/* of this round */
	long	ops, checks;		/* of all rounds */
	long	moved, stayed;		/* pages */
	long	dropped;		/* clean pages */
	long	poisoned;		/* pages that stay so */
	long	count[64];		/* by operation, */
	double	seconds[64];		/* and what they took */
	double	check_seconds;
};

static struct shared *shared;
/* What refuses hibernation. */
static enum {
	HIBERNATION_NONE,	/* it cannot be told */
	HIBERNATION_FILES,	/* any file without a direct map */
	HIBERNATION_USED,	/* one that has, or had, a page */
} hibernation;
static long long base_zapped, base_used;
static long base_charged;	/* pages; -1: cannot be told */
static bool have_guest, have_ndm, have_unpoison;
static bool no_hotplug, async, verbose;
static const char *prog;

/* ---------------------------------------------------------------- numbers */

static __u64 rng;

static __u64 mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static __u64 rnd64(void)
{
	rng += 0x9e3779b97f4a7c15ULL;
	return mix(rng);
}

/* 0 to @n - 1 */
static size_t rnd(size_t n)
{
	return rnd64() % n;
}

static bool one_in(size_t n)
{
	return !rnd(n);
}

/* -------------------------------------------------------------- the model */

/* A range of addresses that were mapped at once. */
struct view {
	char	*mem;		/* NULL: none */
	size_t	first, nr;	/* pages of the file */
	int	prot[VIEW_PAGES];
	bool	guard[VIEW_PAGES];
};

struct file {
	bool	used;
	bool	guest;			/* guest_memfd */
	__u64	flags;			/* guest_memfd's */
	int	fd;			/* -1: closed */
	size_t	size, nr;		/* bytes, pages */
	struct view views[MAX_VIEWS];
	bool	held;			/* the other process has the file, */
	void	*there;			/* and has it mapped here */
	int	vm, vcpu;		/* -1: closed */
	bool	slot;			/* the VM has the memory */
	struct kvm_run *run;
	char	*low;			/* the guest's program */
	bool	touched;		/* some page existed */
	bool	exists[MAX_PAGES];
	bool	written[MAX_PAGES];
	bool	evictable[MAX_PAGES];	/* a clean page may be dropped */
	size_t	charged;
	__u64	words[MAX_PAGES][SM_WORDS];
};

static struct file files[MAX_FILES];

static bool file_ndm(const struct file *f)
{
	return !f->guest || f->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
}

static bool file_movable(const struct file *f)
{
	return f->guest ? f->flags & GUEST_MEMFD_FLAG_MOVABLE : sm_on;
}

static bool file_rdwr(const struct file *f)
{
	return f->guest && f->flags & GUEST_MEMFD_FLAG_RDWR;
}

static int file_id(const struct file *f)
{
	return f - files;
}

/* A page is there from now on, if it was not already. */
static void page_exists(struct file *f, size_t page)
{
	if (!f->exists[page]) {
		f->exists[page] = true;
		f->written[page] = false;
		memset(f->words[page], 0, SM_PAGE);
		f->charged += !f->guest;
	}
	f->evictable[page] = false;
	f->touched = true;
}

static void pages_exist(struct file *f, size_t first, size_t nr)
{
	for (size_t page = first; page < first + nr && page < f->nr; page++)
		page_exists(f, page);
}

static void pages_gone(struct file *f, size_t first, size_t nr)
{
	for (size_t page = first; page < first + nr && page < f->nr; page++) {
		f->exists[page] = false;
		f->written[page] = false;
		memset(f->words[page], 0, SM_PAGE);
	}
}

/* Bytes of the file, of which all pages exist. */
static void model_write(struct file *f, size_t off, const void *buf, size_t len)
{
	memcpy((char *)f->words + off, buf, len);
	for (size_t page = off / SM_PAGE; page * SM_PAGE < off + len; page++)
		f->written[page] = true;
}

static long pages_ndm(void)
{
	long sum = 0;

	for (struct file *f = files; f < files + MAX_FILES; f++)
		for (size_t page = 0; f->used && page < f->nr; page++)
			sum += file_ndm(f) && f->exists[page];
	return sum;
}

/* -------------------------------------------------------- log and verdict */

static void log_add(const char *fmt, va_list ap, bool more)
{
	char *line;
	size_t len;

	if (!more)
		shared->lines++;
	line = shared->log[shared->lines % LOG_LINES];
	len = more ? strlen(line) : 0;
	vsnprintf(line + len, LOG_WIDTH - len, fmt, ap);
}

/* An operation that is about to be done; its results follow. */
static __printf(1, 2)
void doing(const char *fmt, ...)
{
	va_list ap;

	if (verbose && shared->lines)
		ksft_print_msg("%s\n", shared->log[shared->lines % LOG_LINES]);
	fflush(stdout);
	va_start(ap, fmt);
	log_add(fmt, ap, false);
	va_end(ap);
}

static __printf(1, 2)
void done(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_add(fmt, ap, true);
	va_end(ap);
}

/* The first difference: the round is over. */
static __noreturn __printf(2, 3)
void differs(enum verdict v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(shared->why, sizeof(shared->why), fmt, ap);
	va_end(ap);
	shared->failed[v] = true;
	_exit(KSFT_FAIL);
}

/* A system call's result: below 0 if not @want_ok, and only then. */
static void must(bool want_ok, long ret, const char *what)
{
	bool ok = ret >= 0;

	done(" = %ld", ok ? ret : -errno);
	if (ok != want_ok)
		differs(V_RESULT, "%s: %s, should %s", what,
			ok ? "done" : strerror(errno),
			want_ok ? "succeed" : "fail");
}

/* ---------------------------------------------------------- words, signals */

static sigjmp_buf back;

static void on_fault(int sig)
{
	siglongjmp(back, sig);
}

static void catch_faults(void)
{
	struct sigaction sa = {
		.sa_handler = on_fault, .sa_flags = SA_NODEFER,
	};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

/* The signal that an access raises, or 0. */
static int touch(const void *p)
{
	int sig = sigsetjmp(back, 0);

	if (!sig)
		sm_get((const __u64 *)p);
	return sig;
}

static int touch_write(__u64 *p, __u64 seed, size_t word, size_t nr)
{
	int sig = sigsetjmp(back, 0);

	if (sig)
		return sig;
	for (size_t w = word; w < word + nr; w++)
		sm_set(&p[w], mix(seed + w));
	return 0;
}

static const char *fault_name(int sig)
{
	return sig ? strsignal(sig) : "no signal";
}

/* Which signal, if any, an access to a view's page has to raise. */
static int fault_wanted(const struct file *f, const struct view *v, size_t i,
			bool write)
{
	int need = write ? PROT_WRITE : PROT_READ;

	if (!(v->prot[i] & need) || v->guard[i])
		return SIGSEGV;
	return v->first + i < f->nr ? 0 : SIGBUS;
}

/* Compare words with the model's; returns how many differ. */
static size_t compare(struct file *f, size_t page, const __u64 *p, char *say,
		      size_t len)
{
	size_t wrong = 0;

	for (size_t i = 0; i < SM_WORDS; i++) {
		__u64 got = sm_get(&p[i]);

		if (got == f->words[page][i])
			continue;
		if (!wrong++)
			snprintf(say, len,
				 "file %d page %zu word %zu is %#llx, not %#llx",
				 file_id(f), page, i, (unsigned long long)got,
				 (unsigned long long)f->words[page][i]);
	}
	return wrong;
}

static void compare_page(struct file *f, size_t page, const __u64 *p,
			 const char *where)
{
	char say[160];
	size_t wrong = compare(f, page, p, say, sizeof(say));

	if (wrong)
		differs(V_WORDS, "%s; %zu words of the page are wrong (%s)",
			say, wrong, where);
}

/* Read a page by a view: the signal, or the words, of the model. */
static void read_page(struct file *f, struct view *v, size_t i,
		      const char *where)
{
	const __u64 *p = (void *)(v->mem + i * SM_PAGE);
	int want = fault_wanted(f, v, i, false), sig = touch(p);

	if (sig != want)
		differs(V_RESULT, "read of file %d page %zu: %s, not %s (%s)",
			file_id(f), v->first + i, fault_name(sig),
			fault_name(want), where);
	if (want)
		return;
	page_exists(f, v->first + i);
	compare_page(f, v->first + i, p, where);
}

/* Write some words of a page, by a view; in the model alone if not @really. */
static void write_page(struct file *f, struct view *v, size_t i, bool really)
{
	size_t word = rnd(SM_WORDS), nr = rnd(SM_WORDS - word) + 1;
	int want = fault_wanted(f, v, i, true), sig;
	size_t page = v->first + i;
	__u64 seed = rnd64();

	if (really) {
		sig = touch_write((void *)(v->mem + i * SM_PAGE), seed, word,
				  nr);
		if (sig != want)
			differs(V_RESULT,
				"write to file %d page %zu: %s, not %s",
				file_id(f), page, fault_name(sig),
				fault_name(want));
	}
	if (want)
		return;
	page_exists(f, page);
	for (size_t w = word; w < word + nr; w++)
		f->words[page][w] = mix(seed + w);
	f->written[page] = true;
}

/* ------------------------------------------------------------------ choices */

static struct file *any_file(bool (*good)(const struct file *f))
{
	struct file *found[MAX_FILES];
	size_t nr = 0;

	for (struct file *f = files; f < files + MAX_FILES; f++)
		if (f->used && (!good || good(f)))
			found[nr++] = f;
	return nr ? found[rnd(nr)] : NULL;
}

static bool has_fd(const struct file *f)
{
	return f->fd >= 0;
}

static bool has_pages(const struct file *f)
{
	return f->fd >= 0 && f->nr;
}

static bool is_guest(const struct file *f)
{
	return f->guest && f->fd >= 0;
}

static bool has_view(const struct file *f)
{
	for (size_t i = 0; i < MAX_VIEWS; i++)
		if (f->views[i].mem)
			return true;
	return false;
}

static bool has_vcpu(const struct file *f)
{
	/* The memslot is of no use when the last reference is gone. */
	return f->vcpu >= 0 && f->slot &&
	       (f->fd >= 0 || has_view(f) || f->held || f->there);
}

static bool is_held(const struct file *f)
{
	return f->held || f->there;
}

static struct view *free_view(struct file *f)
{
	for (size_t i = 0; i < MAX_VIEWS; i++)
		if (!f->views[i].mem)
			return &f->views[i];
	return NULL;
}

static struct view *any_view(struct file **f)
{
	struct view *v;

	*f = any_file(has_view);
	if (!*f)
		return NULL;
	do {
		v = &(*f)->views[rnd(MAX_VIEWS)];
	} while (!v->mem);
	return v;
}

/* Some pages of @nr, at least one; often all. */
static size_t some(size_t nr, size_t *first)
{
	if (one_in(3)) {
		*first = 0;
		return nr;
	}
	*first = rnd(nr);
	return rnd(nr - *first) + 1;
}

static void say_view(const char *what, const struct file *f,
		     const struct view *v, size_t i, size_t nr)
{
	doing("%ld: %s file %d view %td pages %zu+%zu", shared->op, what,
	      file_id(f), v - f->views, v->first + i, nr);
}

/* What nobody has any more is gone. */
static void reap(struct file *f)
{
	if (!f->used || f->fd >= 0 || has_view(f) || is_held(f))
		return;
	if (f->run)
		munmap(f->run, SM_PAGE);
	if (f->low)
		munmap(f->low, SM_PAGE);
	if (f->vcpu >= 0)
		close(f->vcpu);
	if (f->vm >= 0)
		close(f->vm);
	memset(f, 0, sizeof(*f));
}

/* ---------------------------------------------------------------- guests */

#define LOW		0x1000

/*
 * 32-bit protected mode, flat. From ebx to ebp: write eax, which edx is added to
 * each time; or make eax a checksum.
 */
static const __u8 guest_code[] = {
	0x89, 0x03,		/* 1: mov  %eax,(%ebx)  */
	0x01, 0xd0,		/*    add  %edx,%eax    */
	0x83, 0xc3, 0x04,	/*    add  $4,%ebx      */
	0x39, 0xeb,		/*    cmp  %ebp,%ebx    */
	0x72, 0xf5,		/*    jb   1b           */
	0xf4,			/*    hlt               */
#define GUEST_SUM	12
	0xd1, 0xc0,		/* 1: rol  $1,%eax      */
	0x33, 0x03,		/*    xor  (%ebx),%eax  */
	0x83, 0xc3, 0x04,	/*    add  $4,%ebx      */
	0x39, 0xeb,		/*    cmp  %ebp,%ebx    */
	0x72, 0xf5,		/*    jb   1b           */
	0xf4,			/*    hlt               */
};

static int guest_segments(int vcpu)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
		.db = 1, .s = 1, .g = 1,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -errno;
	sregs.cr0 |= 1;
	sregs.cs = flat;
	flat.type = 3;
	flat.selector = 16;
	sregs.ds = flat;
	sregs.es = flat;
	sregs.ss = flat;
	return ioctl(vcpu, KVM_SET_SREGS, &sregs) ? -errno : 0;
}

static int guest_slot(struct file *f, bool there)
{
	int err;

	err = sm_vm_slot(f->vm, 0, SM_GPA, f->low, there ? f->nr * SM_PAGE : 0,
			 f->fd);
	if (!err)
		f->slot = there;
	return err;
}

/* A VM with a vCPU, for a file that is about to be made. */
static int guest_create(struct file *f)
{
	struct kvm_create_guest_memfd args = {
		.size = f->size,
		.flags = f->flags | GUEST_MEMFD_FLAG_MMAP |
			 GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int err;

	f->vm = sm_vm_create();
	if (f->vm < 0)
		return f->vm;
	f->fd = ioctl(f->vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (f->fd < 0)
		return -errno;
	fcntl(f->fd, F_SETFD, FD_CLOEXEC);
	f->low = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->low == MAP_FAILED)
		return -errno;
	memcpy(f->low, guest_code, sizeof(guest_code));
	err = sm_vm_slot(f->vm, 1, LOW, f->low, SM_PAGE, -1);
	if (!err)
		err = guest_slot(f, true);
	if (err)
		return err;
	f->vcpu = ioctl(f->vm, KVM_CREATE_VCPU, 0);
	if (f->vcpu < 0)
		return -errno;
	f->run = mmap(NULL, SM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		      f->vcpu, 0);
	return f->run == MAP_FAILED ? -errno : guest_segments(f->vcpu);
}

/* Run the guest's program over some pages; returns its eax. */
static __u32 guest_run(struct file *f, __u32 code, size_t first, size_t nr,
		       __u32 eax, __u32 edx)
{
	struct kvm_regs regs = {
		.rip = LOW + code, .rflags = 0x202, .rax = eax, .rdx = edx,
		.rbx = SM_GPA + first * SM_PAGE,
		.rbp = SM_GPA + (first + nr) * SM_PAGE,
	};
	int err, tries = 0;

	if (ioctl(f->vcpu, KVM_SET_REGS, &regs))
		differs(V_RESULT, "KVM_SET_REGS: %s", strerror(errno));
	do {
		err = ioctl(f->vcpu, KVM_RUN, 0) ? errno : 0;
	} while ((err == EINTR || err == EAGAIN) && tries++ < 1000);
	if (err || f->run->exit_reason != KVM_EXIT_HLT)
		differs(V_RESULT, "KVM_RUN: exit %u: %s", f->run->exit_reason,
			strerror(err));
	ioctl(f->vcpu, KVM_GET_REGS, &regs);
	return regs.rax;
}

/* ------------------------------------------------------ the other process */

enum other_op {
	O_HOLD, O_DROP, O_GIVE, O_MAP, O_UNMAP, O_SUM, O_FILL, O_MOVE,
};

struct message {
	__u64	op, file;
	__u64	first, nr;	/* pages */
	__u64	arg;		/* or what comes back */
};

static struct {
	pid_t	pid;
	int	sock;
} other;

static int send_message(int sock, const struct message *m, int fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {
		.hdr = {
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		},
	};
	struct iovec iov = { (void *)m, sizeof(*m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	return sendmsg(sock, &msg, 0) == sizeof(*m) ? 0 : -1;
}

static int recv_message(int sock, struct message *m, int *fd)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	*fd = -1;
	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != sizeof(*m))
		return -1;
	if (msg.msg_controllen >= CMSG_LEN(sizeof(int)) &&
	    control.hdr.cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(&control.hdr), sizeof(*fd));
	return 0;
}

static __u64 sum_words(__u64 sum, const __u64 *p)
{
	for (size_t i = 0; i < SM_WORDS; i++)
		sum = mix(sum ^ sm_get(&p[i]));
	return sum;
}

/* Its process: it has files, and knows nothing of the model. */
static int other_main(int sock)
{
	struct secret s[MAX_FILES] = {};
	struct message m;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!recv_message(sock, &m, &fd)) {
		struct secret *f = &s[m.file];

		if (fd >= 0) {
			f->fd = fd;
			f->nr = m.nr;
		}
		fd = -1;
		switch (m.op) {
		case O_DROP:
			close(f->fd);
			break;
		case O_GIVE:
			fd = f->fd;
			break;
		case O_MAP:
			m.arg = sm_map(f) ? 0 : (uintptr_t)f->mem;
			break;
		case O_UNMAP:
			sm_unmap(f);
			break;
		case O_SUM:
			for (size_t i = m.first; i < m.first + m.nr; i++)
				m.arg = sum_words(m.arg, sm_page(f, i));
			break;
		case O_FILL:
			f->seed = m.arg;
			for (size_t i = m.first; i < m.first + m.nr; i++)
				sm_fill_page(f, i);
			break;
		case O_MOVE:
			m.arg = sm_move(f, m.arg);
			break;
		}
		if (send_message(sock, &m, fd))
			break;
	}
	return 0;
}

/* Without a copy of what this process has: a new program. */
static pid_t start_program(const char *what, const char *arg, int keep)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	fcntl(keep, F_SETFD, 0);
	execl("/proc/self/exe", prog, what, arg, NULL);
	_exit(KSFT_FAIL);
}

static void other_start(void)
{
	char arg[16];
	int sock[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		differs(V_RESULT, "socketpair: %s", strerror(errno));
	snprintf(arg, sizeof(arg), "%d", sock[1]);
	other.pid = start_program("--other", arg, sock[1]);
	close(sock[1]);
	other.sock = sock[0];
}

static __u64 ask(struct file *f, enum other_op op, size_t first, size_t nr,
		 __u64 arg, int *fd)
{
	struct message m = {
		.op = op, .file = file_id(f), .first = first, .nr = nr,
		.arg = arg,
	};
	int got;

	if (send_message(other.sock, &m, op == O_HOLD ? f->fd : -1) ||
	    recv_message(other.sock, &m, &got))
		differs(V_RESULT, "the other process is gone");
	if (fd)
		*fd = got;
	return m.arg;
}

static void other_kill(void)
{
	kill(other.pid, SIGKILL);
	waitpid(other.pid, NULL, 0);
	close(other.sock);
	for (struct file *f = files; f < files + MAX_FILES; f++) {
		f->held = false;
		f->there = NULL;
		reap(f);
	}
}

/* ------------------------------------------------- -a: move it meanwhile */

static pid_t mover;

/*
 * All of a process' memory to and fro. It does not compact: see compactor() in
 * secretmem_stress.c.
 */
static int mover_main(pid_t pid)
{
	unsigned long node[2] = { 1UL << sm_from, 1UL << sm_to };
	int turn = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;; turn++) {
		if (syscall(__NR_migrate_pages, pid, 8 * sizeof(node[0]),
			    &node[turn & 1], &node[!(turn & 1)]) < 0 &&
		    errno == ESRCH)
			return 0;
		/* This is about what it does to others, not about the CPU. */
		sm_sleep_ms(20);
	}
}

static void mover_pause(bool pause)
{
	if (!mover)
		return;
	kill(mover, pause ? SIGSTOP : SIGCONT);
	if (pause)
		waitpid(mover, NULL, WUNTRACED);
}

/* ------------------------------------------------------------- operations */

/* Each returns false if there was nothing to do it to. */

static bool op_create(void)
{
	const __u64 ndm = GUEST_MEMFD_FLAG_NO_DIRECT_MAP, rdwr =
		GUEST_MEMFD_FLAG_RDWR;
	const __u64 kinds[] = {
		ndm | GUEST_MEMFD_FLAG_MOVABLE | rdwr,
		ndm | GUEST_MEMFD_FLAG_MOVABLE | rdwr,
		ndm | rdwr,
		GUEST_MEMFD_FLAG_MOVABLE | rdwr,
		GUEST_MEMFD_FLAG_MOVABLE,
		0,
	};
	struct file *f = NULL;
	int err;

	for (size_t i = 0; i < MAX_FILES && !f; i++)
		if (!files[i].used)
			f = &files[i];
	if (!f)
		return false;
	f->nr = rnd(MAX_PAGES) + 1;
	f->size = f->nr * SM_PAGE;
	f->vm = -1;
	f->vcpu = -1;
	if (have_guest && one_in(2)) {
		f->guest = true;
		f->flags = kinds[rnd(ARRAY_SIZE(kinds))];
		if (!have_ndm)
			f->flags &= ~ndm;
		doing("%ld: create guest_memfd file %d, %zu pages, flags %#llx",
		      shared->op, file_id(f), f->nr,
		      (unsigned long long)f->flags);
		err = guest_create(f);
		if (err)
			differs(V_RESULT, "no VM: %s", strerror(-err));
		f->used = true;
		return true;
	}
	if (one_in(8)) {
		f->nr = 0;
		f->size = 0;
	} else if (one_in(2)) {
		f->size -= rnd(SM_PAGE);
	}
	doing("%ld: create secret file %d, %zu bytes, %zu pages", shared->op,
	      file_id(f), f->size, f->nr);
	f->fd = sm_memfd_secret();
	must(true, f->fd, "memfd_secret");
	if (f->size)
		must(true, ftruncate(f->fd, f->size), "ftruncate");
	f->used = true;
	return true;
}

static bool op_map(void)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE,
	};
	struct file *f = any_file(has_fd);
	struct view *v = f ? free_view(f) : NULL;
	bool private = one_in(16);
	void *mem;
	int prot;

	if (!v)
		return false;
	v->nr = some(f->nr + SLACK, &v->first);
	if (v->first > f->nr)
		v->first = f->nr;
	prot = prots[rnd(ARRAY_SIZE(prots))];
	say_view(private ? "map private" : "map", f, v, 0, v->nr);
	mem = mmap(NULL, v->nr * SM_PAGE, prot,
		   private ? MAP_PRIVATE : MAP_SHARED, f->fd,
		   v->first * SM_PAGE);
	done(" prot %d", prot);
	must(!private, mem == MAP_FAILED ? -1 : 0, "mmap");
	if (private)
		return true;
	v->mem = mem;
	for (size_t i = 0; i < v->nr; i++) {
		v->prot[i] = prot;
		v->guard[i] = false;
	}
	return true;
}

/* Pages of a view are others from now on: its first @skip are gone. */
static void view_cut(struct view *v, size_t skip, size_t nr)
{
	memmove(v->prot, v->prot + skip, nr * sizeof(v->prot[0]));
	memmove(v->guard, v->guard + skip, nr * sizeof(v->guard[0]));
	v->mem += skip * SM_PAGE;
	v->first += skip;
	v->nr = nr;
	if (!nr)
		v->mem = NULL;
}

/* All of it, its start, or its end. */
static bool op_unmap(void)
{
	struct file *f;
	struct view *v = any_view(&f);
	size_t cut, how = rnd(4);
	char *mem;

	if (!v)
		return false;
	cut = how < 2 ? v->nr : rnd(v->nr) + 1;
	mem = how == 3 ? v->mem + (v->nr - cut) * SM_PAGE : v->mem;
	say_view("unmap", f, v, how == 3 ? v->nr - cut : 0, cut);
	must(true, munmap(mem, cut * SM_PAGE), "munmap");
	view_cut(v, how == 3 ? 0 : cut, v->nr - cut);
	reap(f);
	return true;
}

static bool op_close(void)
{
	struct file *f = any_file(has_fd);

	if (!f)
		return false;
	doing("%ld: close file %d%s", shared->op, file_id(f),
	      has_view(f) ? ", mapped" : is_held(f) ? ", held" : "");
	must(true, close(f->fd), "close");
	f->fd = -1;
	reap(f);
	return true;
}

static bool op_write(void)
{
	struct file *f;
	struct view *v = any_view(&f);
	size_t i, nr;

	if (!v)
		return false;
	nr = some(v->nr, &i);
	say_view("write", f, v, i, nr);
	for (; nr--; i++)
		write_page(f, v, i, true);
	return true;
}

static bool op_read(void)
{
	struct file *f;
	struct view *v = any_view(&f);
	size_t i, nr;

	if (!v)
		return false;
	nr = some(v->nr, &i);
	say_view("read", f, v, i, nr);
	for (; nr--; i++)
		read_page(f, v, i, "read");
	return true;
}

/* At any byte; the source may end before @len does. */
static bool op_pwrite(void)
{
	struct file *f = any_file(has_pages);
	size_t max, off, len, avail;
	bool rdwr;
	ssize_t ret;
	char *buf;

	if (!f)
		return false;
	max = f->nr * SM_PAGE;
	off = rnd(max + SM_PAGE);
	len = rnd(one_in(2) ? 64 : max) + 1;
	avail = one_in(4) ? rnd(len) : len;
	rdwr = file_rdwr(f);
	doing("%ld: pwrite file %d at %zu, %zu bytes of %zu", shared->op,
	      file_id(f), off, len, avail);

	buf = mmap(NULL, max + 4 * SM_PAGE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		differs(V_RESULT, "mmap: %s", strerror(errno));
	/* It ends at the end of a page. */
	mprotect(buf, (avail + SM_PAGE - 1) / SM_PAGE * SM_PAGE,
		 PROT_READ | PROT_WRITE);
	if (avail % SM_PAGE)
		buf += SM_PAGE - avail % SM_PAGE;
	for (size_t i = 0; i < avail; i++)
		buf[i] = rnd64();

	ret = pwrite(f->fd, buf, len, off);
	done(" = %zd", ret < 0 ? -errno : ret);
	if (off >= max)
		avail = 0;
	else if (avail > max - off)
		avail = max - off;
	if (!rdwr || !avail ? ret >= 0 : ret != (ssize_t)avail)
		differs(V_RESULT, "pwrite: %zd of %zu, errno %d", ret,
			rdwr ? avail : 0, errno);
	if (ret > 0) {
		pages_exist(f, off / SM_PAGE,
			    (off + ret - 1) / SM_PAGE - off / SM_PAGE + 1);
		model_write(f, off, buf, ret);
	}
	munmap((void *)((uintptr_t)buf & -SM_PAGE), max + 4 * SM_PAGE);
	return true;
}

/* A hole reads as zeroes, and does not exist afterwards either. */
static void read_file(struct file *f)
{
	char say[160];
	size_t i = rnd(f->nr);
	__u64 buf[SM_WORDS];
	ssize_t ret;

	doing("%ld: read file %d page %zu", shared->op, file_id(f), i);
	ret = pread(f->fd, buf, SM_PAGE, i * SM_PAGE);
	done(" = %zd", ret < 0 ? -errno : ret);
	if (ret != (ssize_t)SM_PAGE)
		differs(V_RESULT, "pread: %zd, errno %d", ret, errno);
	if (compare(f, i, buf, say, sizeof(say)))
		differs(V_WORDS, "%s (pread)", say);
}

/* What guest memory with RDWR does not refuse. */
static bool op_refused(void)
{
	struct file *f = any_file(has_fd);
	char buf[64] = "not a secret";

	if (!f)
		return false;
	if (file_rdwr(f)) {
		read_file(f);
		return true;
	}
	doing("%ld: read file %d", shared->op, file_id(f));
	must(false, pread(f->fd, buf, sizeof(buf), 0), "read(2)");
	if (strcmp(buf, "not a secret"))
		differs(V_RESULT, "read(2) has changed the buffer");
	return true;
}

/* Access to this process' memory as a debugger has it. */
static bool op_gup(void)
{
	struct file *f;
	struct view *v = any_view(&f);
	char say[160], buf[SM_PAGE];
	struct iovec local = { buf, SM_PAGE }, remote;
	ssize_t ret;
	size_t i;

	if (!v)
		return false;
	i = rnd(v->nr);
	if (fault_wanted(f, v, i, false) || !f->exists[v->first + i])
		return false;
	say_view("process_vm_readv", f, v, i, 1);
	remote.iov_base = v->mem + i * SM_PAGE;
	remote.iov_len = SM_PAGE;
	memset(buf, 0, sizeof(buf));
	ret = syscall(__NR_process_vm_readv, getpid(), &local, 1UL, &remote,
		      1UL, 0UL);
	must(!file_ndm(f), ret, "process_vm_readv");
	if (ret > 0 && compare(f, v->first + i, (void *)buf, say, sizeof(say)))
		differs(V_WORDS, "%s (process_vm_readv)", say);
	return true;
}

/* The kernel's own way to the page, that it only has with an alias. */
static bool op_alias(void)
{
	struct file *f;
	struct view *v = any_view(&f);
	__u64 pfn, offset, buf[SM_WORDS];
	size_t i, page, same = 0;
	int fd;

	if (!v || async)
		return false;
	i = rnd(v->nr);
	page = v->first + i;
	if (fault_wanted(f, v, i, false) || !f->written[page])
		return false;
	fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	say_view("read the alias of", f, v, i, 1);
	read_page(f, v, i, "before its alias");
	pfn = sm_pfn(v->mem + i * SM_PAGE);
	memset(buf, 0, sizeof(buf));
	if (!pfn || !sm_kcore_find(fd, pfn * SM_PAGE, &offset) ||
	    pread(fd, buf, sizeof(buf), offset) < 0) {
		done(": not possible");
		close(fd);
		return false;
	}
	close(fd);
	for (size_t word = 0; word < SM_WORDS; word++)
		same += buf[word] && buf[word] == f->words[page][word];
	done(" pfn %#llx: %zu words", (unsigned long long)pfn, same);
	if (same && file_ndm(f))
		differs(V_ALIAS, "%zu words of file %d page %zu are there",
			same, file_id(f), page);
	if (!same && !file_ndm(f) && f->words[page][0])
		differs(V_ALIAS, "a page of file %d has no alias", file_id(f));
	return true;
}

static long nodes_of(struct view *v, size_t first, size_t nr, int *status)
{
	void *addr[VIEW_PAGES];

	for (size_t i = 0; i < nr; i++)
		addr[i] = v->mem + (first + i) * SM_PAGE;
	return syscall(__NR_move_pages, 0, nr, addr, NULL, status, 0);
}

/* Where pages that were on @before went; only those that can move may have. */
static void judge_move(struct file *f, struct view *v, size_t first, size_t nr,
		       const int *before, int node)
{
	int after[VIEW_PAGES];
	size_t moved = 0, stayed = 0;

	if (nodes_of(v, first, nr, after))
		differs(V_RESULT, "move_pages: %s", strerror(errno));
	for (size_t i = 0; i < nr; i++) {
		if (before[i] < 0)
			continue;
		if (after[i] != before[i])
			moved++;
		else if (node >= 0 && before[i] != node)
			stayed++;
	}
	done(" %zu moved, %zu stayed", moved, stayed);
	if (moved && !file_movable(f) && !async)
		differs(V_RESULT, "%zu pages moved that cannot", moved);
	if (!file_movable(f))
		return;
	shared->moved += moved;
	shared->stayed += stayed;
}

static int any_node(void)
{
	return one_in(2) ? sm_from : sm_to;
}

static bool op_move(void)
{
	int node = any_node(), before[VIEW_PAGES];
	int flags = one_in(4) ? SM_MPOL_MF_MOVE : SM_MPOL_MF_MOVE_ALL;
	bool touched = one_in(2);
	struct file *f;
	struct view *v = any_view(&f);
	size_t i, nr;
	long ret;

	if (!v)
		return false;
	nr = some(v->nr, &i);
	say_view("move_pages", f, v, i, nr);
	/* Only what has been touched here is mapped, and moves. */
	for (size_t n = i; touched && n < i + nr; n++)
		read_page(f, v, n, "before move_pages");
	if (nodes_of(v, i, nr, before))
		differs(V_RESULT, "move_pages: %s", strerror(errno));
	ret = sm_move_pid(0, v->mem + i * SM_PAGE, nr, node, flags);
	done(" to node %d = %ld", node, ret);
	/* MPOL_MF_MOVE leaves alone what others have mapped as well. */
	judge_move(f, v, i, nr, before,
		   flags == SM_MPOL_MF_MOVE_ALL ? node : -1);
	return true;
}

static bool op_mbind(void)
{
	static const int modes[] = {
		SM_MPOL_DEFAULT, SM_MPOL_PREFERRED, SM_MPOL_BIND, SM_MPOL_BIND,
	};
	int node = any_node(), before[VIEW_PAGES];
	int mode = modes[rnd(ARRAY_SIZE(modes))];
	unsigned int flags = one_in(4) ? 0 : SM_MPOL_MF_MOVE_ALL;
	unsigned long mask = 1UL << node;
	struct file *f;
	struct view *v = any_view(&f);
	long ret;

	if (!v)
		return false;
	/* The whole view: a policy splits it. */
	say_view("mbind", f, v, 0, v->nr);
	if (nodes_of(v, 0, v->nr, before))
		differs(V_RESULT, "move_pages: %s", strerror(errno));
	ret = syscall(__NR_mbind, v->mem, v->nr * SM_PAGE, mode,
		      mode == SM_MPOL_DEFAULT ? NULL : &mask,
		      mode == SM_MPOL_DEFAULT ? 0 : 8 * sizeof(mask), flags);
	done(" mode %d node %d flags %u = %ld", mode, node, flags,
	     ret ? -(long)errno : 0L);
	judge_move(f, v, 0, v->nr, before, -1);
	return true;
}

static bool op_migrate_pages(void)
{
	unsigned long from = 1UL << sm_from, to = 1UL << sm_to;
	bool there = one_in(2);
	long ret;

	doing("%ld: migrate_pages to node %d", shared->op,
	      there ? sm_to : sm_from);
	ret = syscall(__NR_migrate_pages, one_in(4) ? other.pid : 0,
		      8 * sizeof(from), there ? &from : &to,
		      there ? &to : &from);
	done(" = %ld", ret < 0 ? -errno : ret);
	return true;
}

static bool op_policy(void)
{
	int how = rnd(4), node = any_node();

	doing("%ld: policy %d node %d", shared->op, how, node);
	if (how == 0)
		sm_bind_task(node);
	else if (how == 1)
		sm_prefer_node(node);
	else
		sm_bind_task(-1);
	return true;
}

/*
 * Truncating a page that is mapped takes the guards away that are where it is
 * mapped as well, see unmap_mapping_folio(); they stay if it is not mapped.
 * Take them away before.
 */
static void drop_guards(struct file *f, size_t first, size_t nr)
{
	for (struct view *v = f->views; v < f->views + MAX_VIEWS; v++) {
		for (size_t i = 0; v->mem && i < v->nr; i++) {
			if (v->first + i < first || v->first + i >= first + nr)
				continue;
			if (v->guard[i])
				madvise(v->mem + i * SM_PAGE, SM_PAGE,
					MADV_GUARD_REMOVE);
			v->guard[i] = false;
		}
	}
}

static bool op_punch(void)
{
	struct file *f = any_file(has_pages);
	size_t first, nr;
	int ret;

	if (!f)
		return false;
	nr = some(f->nr, &first);
	if (one_in(8))
		nr += 3;
	doing("%ld: punch file %d pages %zu+%zu", shared->op, file_id(f), first,
	      nr);
	drop_guards(f, first, nr);
	ret = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			first * SM_PAGE, nr * SM_PAGE);
	must(f->guest, ret, "FALLOC_FL_PUNCH_HOLE");
	if (!ret)
		pages_gone(f, first, nr);
	return true;
}

static bool op_fallocate(void)
{
	struct file *f = any_file(has_pages);
	size_t first, nr;
	int ret;

	if (!f)
		return false;
	nr = some(f->nr, &first);
	if (one_in(8))
		nr = f->nr - first + 1;
	doing("%ld: fallocate file %d pages %zu+%zu", shared->op, file_id(f),
	      first, nr);
	ret = fallocate(f->fd, FALLOC_FL_KEEP_SIZE, first * SM_PAGE,
			nr * SM_PAGE);
	must(f->guest && first + nr <= f->nr, ret, "fallocate");
	/* With an alias it is zeroed, and as good as there, on first use. */
	if (!ret && file_ndm(f))
		pages_exist(f, first, nr);
	return true;
}

/* The size of a secret file is set once, that of guest memory never. */
static bool op_truncate(void)
{
	struct file *f = any_file(has_fd);
	size_t nr = rnd(MAX_PAGES) + 1;
	bool ok;

	if (!f)
		return false;
	ok = !f->guest && !f->nr;
	if (!ok && one_in(2))
		nr = 0;
	doing("%ld: truncate file %d to %zu pages", shared->op, file_id(f), nr);
	must(ok, ftruncate(f->fd, nr * SM_PAGE), "ftruncate");
	if (ok) {
		f->nr = nr;
		f->size = nr * SM_PAGE;
	}
	return true;
}

/* What a child does, and what it did: the same numbers, and no memory. */
static void child_writes(bool really)
{
	struct file *f;
	struct view *v;

	for (int n = 0; n < 4; n++) {
		v = any_view(&f);
		if (!v)
			return;
		for (size_t i = 0; i < v->nr; i++) {
			/* Guards are not inherited by every kernel. */
			if (!v->guard[i])
				write_page(f, v, i, really);
		}
	}
}

static void child_reads(void)
{
	for (struct file *f = files; f < files + MAX_FILES; f++) {
		for (struct view *v = f->views; v < f->views + MAX_VIEWS; v++) {
			if (!f->used || !v->mem)
				continue;
			for (size_t i = 0; i < v->nr; i++)
				if (v->first + i < f->nr &&
				    f->exists[v->first + i] && !v->guard[i])
					read_page(f, v, i, "child");
		}
	}
}

static bool op_fork(void)
{
	bool moves = one_in(2);
	int node = any_node(), status;
	struct file *f;
	struct view *v;
	pid_t pid;

	doing("%ld: fork%s", shared->op, moves ? ", move" : "");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		mover = 0;
		child_reads();
		child_writes(true);
		v = moves ? any_view(&f) : NULL;
		if (v)
			sm_move_pid(0, v->mem, v->nr, node,
				    SM_MPOL_MF_MOVE_ALL);
		child_reads();
		_exit(0);
	}
	if (pid < 0)
		differs(V_RESULT, "fork: %s", strerror(errno));
	if (waitpid(pid, &status, 0) != pid)
		differs(V_RESULT, "waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		differs(V_RESULT, "the child died of signal %d",
			WTERMSIG(status));
	/* It has said what it found. */
	if (WEXITSTATUS(status))
		_exit(KSFT_FAIL);
	child_writes(false);
	return true;
}

/* A view as one piece again. */
static void view_smooth(struct view *v)
{
	if (mprotect(v->mem, v->nr * SM_PAGE, PROT_READ | PROT_WRITE))
		differs(V_RESULT, "mprotect: %s", strerror(errno));
	for (size_t i = 0; i < v->nr; i++)
		v->prot[i] = PROT_READ | PROT_WRITE;
}

static void view_fresh(struct view *to, const struct view *from, void *mem)
{
	*to = *from;
	to->mem = mem;
	for (size_t i = 0; i < to->nr; i++)
		to->guard[i] = false;
}

/* Elsewhere; shrink; grow; map again; leave nothing where it was. */
static bool op_mremap(void)
{
	static const char * const names[] = {
		"mremap elsewhere", "mremap shrink", "mremap grow",
		"mremap again", "mremap and stay",
	};
	size_t how = rnd(ARRAY_SIZE(names)), nr, len;
	struct file *f;
	struct view *v = any_view(&f), *second;
	void *mem, *hole;

	if (!v)
		return false;
	second = free_view(f);
	if (how >= 3 && !second)
		return false;
	view_smooth(v);
	say_view(names[how], f, v, 0, v->nr);
	len = v->nr * SM_PAGE;
	switch (how) {
	case 0:
		hole = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
		mem = mremap(v->mem, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     hole);
		break;
	case 1:
		nr = rnd(v->nr) + 1;
		mem = mremap(v->mem, len, nr * SM_PAGE, 0);
		break;
	case 2:
		nr = v->nr + rnd(f->nr + SLACK + 1 - v->first - v->nr);
		mem = mremap(v->mem, len, nr * SM_PAGE, MREMAP_MAYMOVE);
		break;
	case 3:
		mem = mremap(v->mem, 0, len, MREMAP_MAYMOVE);
		break;
	default:
		mem = mremap(v->mem, len, len,
			     MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
		break;
	}
	must(true, mem == MAP_FAILED ? -1 : 0, "mremap");
	switch (how) {
	case 0:
		v->mem = mem;
		break;
	case 2:
		for (size_t i = v->nr; i < nr; i++) {
			v->prot[i] = PROT_READ | PROT_WRITE;
			v->guard[i] = false;
		}
		v->mem = mem;
		v->nr = nr;
		break;
	case 1:
		v->nr = nr;
		break;
	case 3:
		view_fresh(second, v, mem);
		break;
	default:
		/* The guards go along. */
		*second = *v;
		second->mem = mem;
		view_fresh(v, second, v->mem);
		break;
	}
	return true;
}

static bool op_mprotect(void)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ,
		PROT_NONE,
	};
	int prot = prots[rnd(ARRAY_SIZE(prots))];
	struct file *f;
	struct view *v = any_view(&f);
	size_t first, nr;

	if (!v)
		return false;
	nr = some(v->nr, &first);
	say_view("mprotect", f, v, first, nr);
	done(" prot %d", prot);
	must(true, mprotect(v->mem + first * SM_PAGE, nr * SM_PAGE, prot),
	     "mprotect");
	for (size_t i = first; i < first + nr; i++)
		v->prot[i] = prot;
	return true;
}

/* Memory with an alias is populated by mlock(2); only onfault, then. */
static bool op_mlock(void)
{
	struct file *f;
	struct view *v = any_view(&f);
	bool lock = one_in(2);
	int ret;

	if (!v)
		return false;
	say_view(lock ? "mlock" : "munlock", f, v, 0, v->nr);
	if (lock)
		ret = syscall(__NR_mlock2, v->mem, v->nr * SM_PAGE,
			      file_ndm(f) && one_in(2) ? 0 : MLOCK_ONFAULT);
	else
		ret = munlock(v->mem, v->nr * SM_PAGE);
	done(" = %d", ret ? -errno : 0);
	return true;
}

/* Some only for a whole view, which they would split. */
static bool op_madvise(void)
{
	static const struct {
		const char *name;
		int advice;
		bool whole;
	} table[] = {
		{ "normal", MADV_NORMAL, true },
		{ "random", MADV_RANDOM, true },
		{ "sequential", MADV_SEQUENTIAL, true },
		{ "willneed", MADV_WILLNEED, false },
		{ "dontneed", MADV_DONTNEED, false },
		{ "dontneed", MADV_DONTNEED, false },
		{ "dontneed-locked", MADV_DONTNEED_LOCKED, false },
		{ "free", MADV_FREE, false },
		{ "cold", MADV_COLD, false },
		{ "pageout", MADV_PAGEOUT, false },
		{ "mergeable", MADV_MERGEABLE, true },
		{ "unmergeable", MADV_UNMERGEABLE, true },
		{ "hugepage", MADV_HUGEPAGE, true },
		{ "nohugepage", MADV_NOHUGEPAGE, true },
		{ "collapse", MADV_COLLAPSE, false },
		{ "dontdump", MADV_DONTDUMP, true },
		{ "dodump", MADV_DODUMP, true },
		{ "wipeonfork", MADV_WIPEONFORK, true },
		{ "keeponfork", MADV_KEEPONFORK, true },
		{ "populate-read", MADV_POPULATE_READ, false },
		{ "populate-write", MADV_POPULATE_WRITE, false },
		{ "remove", MADV_REMOVE, false },
		{ "guard", MADV_GUARD_INSTALL, false },
		{ "unguard", MADV_GUARD_REMOVE, false },
		{ "unguard", MADV_GUARD_REMOVE, false },
	};
	size_t which = rnd(ARRAY_SIZE(table)), first = 0, nr;
	int ret, err, advice = table[which].advice;
	struct file *f;
	struct view *v = any_view(&f);

	if (!v)
		return false;
	nr = table[which].whole ? v->nr : some(v->nr, &first);
	say_view("madvise", f, v, first, nr);
	/* How far it came with memory that has an alias is not known. */
	if ((advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) &&
	    !file_ndm(f))
		return false;
	if (advice == MADV_REMOVE)
		drop_guards(f, v->first + first, nr);
	ret = madvise(v->mem + first * SM_PAGE, nr * SM_PAGE, advice);
	err = ret ? errno : 0;
	done(" %s = %d", table[which].name, -err);
	switch (advice) {
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		if (!ret)
			differs(V_RESULT, "memory without an alias has GUP");
		break;
	case MADV_REMOVE:
		if (!ret && !f->guest)
			differs(V_RESULT, "a secret file has holes");
		/* Refused where it is mlocked, which the whole view is. */
		if (ret && f->guest && err != EINVAL)
			differs(V_RESULT, "MADV_REMOVE: %s", strerror(err));
		if (!ret)
			pages_gone(f, v->first + first, nr);
		break;
	case MADV_GUARD_INSTALL:
	case MADV_GUARD_REMOVE:
		for (size_t i = first; !ret && i < first + nr; i++)
			v->guard[i] = advice == MADV_GUARD_INSTALL;
		break;
	}
	return true;
}

/* Which pages exist, as mincore(2) has it. */
static void check_exist(struct file *f, char *mem, size_t first, size_t nr)
{
	unsigned char in_core[VIEW_PAGES];

	if (mincore(mem, nr * SM_PAGE, in_core))
		differs(V_RESULT, "mincore: %s", strerror(errno));
	for (size_t i = 0; i < nr; i++) {
		size_t page = first + i;

		if (f->evictable[page] && !(in_core[i] & 1)) {
			pages_gone(f, page, 1);
			shared->dropped++;
		}
		f->evictable[page] = false;
		if (f->exists[page] != (in_core[i] & 1))
			differs(V_COUNT, "file %d page %zu exists: %d, not %d",
				file_id(f), page, in_core[i] & 1,
				f->exists[page]);
	}
}

static bool op_soft_offline(void)
{
	static int poisoned;
	struct file *f;
	struct view *v = any_view(&f);
	bool mapped = one_in(2), clean;
	size_t i, page;
	__u64 pfn, now;
	int err;

	if (!v || !sm_exists(SM_MEMORY "soft_offline_page") || async ||
	    poisoned >= MAX_POISON ||
	    (!have_unpoison && shared->poisoned >= TOTAL_POISON))
		return false;
	i = rnd(v->nr);
	page = v->first + i;
	if (fault_wanted(f, v, i, false))
		return false;
	read_page(f, v, i, "before soft offline");
	pfn = sm_pfn(v->mem + i * SM_PAGE);
	say_view("soft offline", f, v, i, 1);
	clean = !f->written[page];
	if (!mapped) {
		/* By no one else, if it is to be in the page cache only. */
		for (struct view *w = f->views; w < f->views + MAX_VIEWS; w++)
			if (w->mem)
				madvise(w->mem, w->nr * SM_PAGE, MADV_DONTNEED);
		if (clean)
			f->evictable[page] = true;
	}
	err = sm_writef(SM_MEMORY "soft_offline_page", "%#llx",
			(unsigned long long)pfn * SM_PAGE);
	done(" pfn %#llx %s = %d", (unsigned long long)pfn,
	     mapped ? "mapped" : "unmapped", err);
	if (err && file_movable(f))
		differs(V_RESULT, "soft offline of what is movable: %s",
			strerror(-err));
	if (!err && !file_movable(f) && !(clean && !mapped))
		differs(V_RESULT, "soft offline of what cannot move");
	/* If it was dropped, it is charged again when it comes back. */
	check_exist(f, v->mem + i * SM_PAGE, page, 1);
	read_page(f, v, i, "after soft offline");
	now = sm_pfn(v->mem + i * SM_PAGE);
	if (err ? now != pfn : now == pfn)
		differs(V_RESULT, "soft offline: %s, pfn %#llx then %#llx",
			err ? "failed" : "done", (unsigned long long)pfn,
			(unsigned long long)now);
	if (err)
		return true;
	poisoned++;
	if (!sm_kpf(pfn, SM_KPF_HWPOISON))
		differs(V_RESULT, "the page is not set aside");
	err = sm_writef(SM_DEBUGFS "hwpoison/unpoison-pfn", "%#llx",
			(unsigned long long)pfn);
	done(" unpoison %d", err);
	if (err)
		shared->poisoned++;
	return true;
}

static bool op_compact(void)
{
	char path[64];
	int node = any_node();

	doing("%ld: compact", shared->op);
	if (one_in(2)) {
		sm_write("/proc/sys/vm/compact_memory", "1");
	} else {
		snprintf(path, sizeof(path), SM_NODES "node%d/compact", node);
		sm_write(path, "1");
	}
	return true;
}

/* Clean pages that nobody has mapped may go; check_exist() sees which. */
static bool op_drop_caches(void)
{
	for (struct file *f = files; f < files + MAX_FILES; f++)
		for (size_t page = 0; f->used && page < f->nr; page++)
			if (f->fd < 0 && f->exists[page] && !f->written[page])
				return false;
	doing("%ld: drop_caches", shared->op);
	for (struct file *f = files; f < files + MAX_FILES; f++)
		for (size_t page = 0; f->used && page < f->nr; page++)
			f->evictable[page] = f->exists[page] &&
					     !f->written[page];
	sm_write("/proc/sys/vm/drop_caches", "1");
	return true;
}

static int block = -1;
static bool block_offline;

static bool op_block(void)
{
	int err;

	if (block < 0)
		return false;
	doing("%ld: memory block %d %s", shared->op, block,
	      block_offline ? "online" : "offline");
	if (block_offline)
		err = sm_block_set(block, "online_movable", 30);
	else
		err = sm_block_set(block, "offline", 30);
	done(" = %d", err);
	/* Memory that is offline has to come back; other users may stay. */
	if (err && block_offline)
		differs(V_RESULT, "memory block %d: %s", block,
			strerror(-err));
	if (!err)
		block_offline = !block_offline;
	return true;
}

static int cpu = -1;
static bool cpu_offline;

static bool op_cpu(void)
{
	char path[64];
	int err;

	if (cpu < 1)
		return false;
	doing("%ld: CPU %d %s", shared->op, cpu,
	      cpu_offline ? "online" : "offline");
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online",
		 cpu);
	err = sm_write(path, cpu_offline ? "1" : "0");
	done(" = %d", err);
	if (err)
		differs(V_RESULT, "CPU %d: %s", cpu, strerror(-err));
	cpu_offline = !cpu_offline;
	return true;
}

/* ----------------------------------------------- with the other process */

static bool op_hold(void)
{
	struct file *f = any_file(has_pages);

	if (!f || f->held || f->there)
		return false;
	doing("%ld: give file %d to the other process", shared->op, file_id(f));
	ask(f, O_HOLD, 0, f->nr, 0, NULL);
	f->held = true;
	return true;
}

static bool op_other(void)
{
	struct file *f = any_file(is_held);
	size_t first, nr, how = rnd(6);
	__u64 seed = rnd64(), want, got;
	int fd, node = any_node();

	if (!f)
		return false;
	nr = some(f->nr, &first);
	doing("%ld: the other process: file %d pages %zu+%zu", shared->op,
	      file_id(f), first, nr);
	if (how == 0 && f->held && f->fd < 0) {
		done(" gives it back");
		ask(f, O_GIVE, 0, 0, 0, &fd);
		must(true, fd, "SCM_RIGHTS");
		f->fd = fd;
	} else if (how == 1 && f->held) {
		done(" closes it");
		ask(f, O_DROP, 0, 0, 0, NULL);
		f->held = false;
	} else if (how == 2 && f->there) {
		done(" unmaps it");
		ask(f, O_UNMAP, 0, 0, 0, NULL);
		f->there = NULL;
	} else if (!f->there) {
		done(" maps it");
		f->there = (void *)ask(f, O_MAP, 0, 0, 0, NULL);
		if (!f->there)
			differs(V_RESULT, "the other process cannot map it");
	} else if (how == 3) {
		done(" moves it to node %d", node);
		if (one_in(2))
			sm_move_pid(other.pid, f->there, f->nr, node,
				    SM_MPOL_MF_MOVE_ALL);
		else
			ask(f, O_MOVE, 0, f->nr, node, NULL);
	} else if (how == 4) {
		done(" writes");
		ask(f, O_FILL, first, nr, seed, NULL);
		pages_exist(f, first, nr);
		for (size_t page = first; page < first + nr; page++) {
			for (size_t i = 0; i < SM_WORDS; i++)
				f->words[page][i] = sm_word(seed, page, i);
			f->written[page] = true;
		}
	} else {
		done(" reads");
		pages_exist(f, first, nr);
		want = seed;
		for (size_t page = first; page < first + nr; page++)
			want = sum_words(want, f->words[page]);
		got = ask(f, O_SUM, first, nr, seed, NULL);
		if (got != want)
			differs(V_WORDS,
				"the other process: file %d pages %zu+%zu have a checksum of %#llx, not %#llx",
				file_id(f), first, nr,
				(unsigned long long)got,
				(unsigned long long)want);
	}
	reap(f);
	return true;
}

static bool op_kill(void)
{
	doing("%ld: kill the other process", shared->op);
	other_kill();
	other_start();
	return true;
}

/* ------------------------------------------------------------- with a VM */

static bool op_guest(void)
{
	struct file *f = any_file(has_vcpu);
	__u32 eax = rnd64(), edx = rnd64(), want, got;
	bool writes = one_in(2);
	size_t first, nr, words;

	if (!f)
		return false;
	nr = some(f->nr, &first);
	words = nr * SM_PAGE / 4;
	doing("%ld: guest of file %d %s pages %zu+%zu", shared->op, file_id(f),
	      writes ? "writes" : "reads", first, nr);
	pages_exist(f, first, nr);
	if (writes) {
		guest_run(f, 0, first, nr, eax, edx);
		for (size_t i = 0; i < words; i++, eax += edx)
			((__u32 *)f->words[first])[i] = eax;
		for (size_t page = first; page < first + nr; page++)
			f->written[page] = true;
		return true;
	}
	want = eax;
	for (size_t i = 0; i < words; i++)
		want = (want << 1 | want >> 31) ^
		       ((__u32 *)f->words[first])[i];
	got = guest_run(f, GUEST_SUM, first, nr, eax, 0);
	if (got != want)
		differs(V_WORDS,
			"a guest: file %d pages %zu+%zu have a checksum of %#x, not %#x",
			file_id(f), first, nr, got, want);
	return true;
}

static bool op_prefault(void)
{
	struct file *f = any_file(has_vcpu);
	struct kvm_pre_fault_memory range = {};
	size_t first, nr;
	int ret, tries = 0;

	if (!f)
		return false;
	nr = some(f->nr, &first);
	range.gpa = SM_GPA + first * SM_PAGE;
	range.size = nr * SM_PAGE;
	doing("%ld: pre-fault file %d pages %zu+%zu", shared->op, file_id(f),
	      first, nr);
	do {
		ret = ioctl(f->vcpu, KVM_PRE_FAULT_MEMORY, &range);
	} while (ret && (errno == EINTR || errno == EAGAIN) && tries++ < 1000);
	/* Without two-dimensional paging there is none. */
	if (ret && errno == EOPNOTSUPP) {
		done(" not supported");
		return false;
	}
	must(true, ret, "KVM_PRE_FAULT_MEMORY");
	pages_exist(f, first, nr);
	return true;
}

/* Take the memory from the VM, or give it back. */
static bool op_slot(void)
{
	struct file *f = any_file(is_guest);
	int err;

	if (!f || f->vm < 0)
		return false;
	doing("%ld: %s the memslot of file %d", shared->op,
	      f->slot ? "delete" : "create", file_id(f));
	err = guest_slot(f, !f->slot);
	done(" = %d", err);
	if (err)
		differs(V_RESULT, "memslot: %s", strerror(-err));
	return true;
}

/* The memory outlives the VM. */
static bool op_close_vm(void)
{
	struct file *f = any_file(is_guest);

	if (!f || f->vm < 0)
		return false;
	doing("%ld: close the VM of file %d", shared->op, file_id(f));
	munmap(f->run, SM_PAGE);
	munmap(f->low, SM_PAGE);
	close(f->vcpu);
	close(f->vm);
	f->run = NULL;
	f->low = NULL;
	f->vcpu = -1;
	f->vm = -1;
	return true;
}

/* ---------------------------------------------------------------- charges */

static void set_limit(size_t pages)
{
	struct rlimit rlim = { RLIM_INFINITY, RLIM_INFINITY };

	if (pages)
		rlim.rlim_cur = pages * SM_PAGE;
	setrlimit(RLIMIT_MEMLOCK, &rlim);
}

/* At the limit there is not one more page; a page above it there is. */
static bool op_limit(void)
{
	struct file *f = NULL;
	struct view *v = NULL;
	size_t charged = base_charged, i = 0;
	int sig;

	if (base_charged < 0)
		return false;
	for (struct file *g = files; g < files + MAX_FILES; g++) {
		if (!g->used || g->guest)
			continue;
		charged += g->charged;
		for (struct view *w = g->views; w < g->views + MAX_VIEWS; w++)
			for (size_t n = 0; w->mem && n < w->nr; n++)
				if (!fault_wanted(g, w, n, false) &&
				    !g->exists[w->first + n]) {
					f = g;
					v = w;
					i = n;
				}
	}
	if (!v || !charged)
		return false;
	say_view("at the limit, touch", f, v, i, 1);
	set_limit(charged);
	sig = touch(v->mem + i * SM_PAGE);
	set_limit(0);
	done(": %s", fault_name(sig));
	if (sig != SIGBUS)
		differs(V_CHARGE, "a page more than %zu is charged", charged);
	set_limit(charged + 1);
	sig = touch(v->mem + i * SM_PAGE);
	set_limit(0);
	done(", then: %s", fault_name(sig));
	if (sig)
		differs(V_CHARGE, "more than %zu pages are charged", charged);
	page_exists(f, v->first + i);
	return true;
}

/* How many pages a new file can have below a limit, at the start. */
static long charged_before(void)
{
	const size_t limit = 64;
	size_t nr = 0;
	struct secret s;

	if (sm_open(&s, limit))
		return -1;
	catch_faults();
	set_limit(limit);
	while (nr < limit && !touch(sm_page(&s, nr)))
		nr++;
	set_limit(0);
	sm_close(&s);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	return nr ? limit - nr : -1;
}

/* ------------------------------------------------------------------ checks */

static bool hibernation_refused(void)
{
	char disk[128];

	sm_read("/sys/power/disk", disk, sizeof(disk));
	return !strcmp(disk, "[disabled]");
}

static void check_hibernation(void)
{
	long files_used = 0, used = 0, with_pages = 0;
	bool refused, must_be, may_be;
	long long counted;

	if (hibernation == HIBERNATION_NONE)
		return;
	for (struct file *f = files; f < files + MAX_FILES; f++) {
		if (!f->used || !file_ndm(f))
			continue;
		files_used++;
		used += f->touched;
		with_pages += !!memchr(f->exists, true, sizeof(f->exists));
	}
	must_be = with_pages || (hibernation == HIBERNATION_FILES && files_used);
	may_be = hibernation == HIBERNATION_FILES ? files_used : used;
	refused = hibernation_refused();
	if (refused ? !may_be : must_be)
		differs(V_HIBERNATE,
			"refused: %d; of %ld files %ld were used, %ld have pages",
			refused, files_used, used, with_pages);
	if (hibernation != HIBERNATION_USED)
		return;
	counted = sm_vmstat(USED_FILES) - base_used;
	if (counted < with_pages || counted > used)
		differs(V_HIBERNATE,
			"%lld files are counted; %ld were used, %ld have pages",
			counted, used, with_pages);
}

/* By a mapping of its own, if there is a descriptor, and by every view. */
static void check_file(struct file *f)
{
	char *mem;

	if (f->fd >= 0 && f->nr) {
		mem = mmap(NULL, f->nr * SM_PAGE, PROT_READ, MAP_SHARED, f->fd,
			   0);
		if (mem == MAP_FAILED)
			differs(V_RESULT, "mmap: %s", strerror(errno));
		check_exist(f, mem, 0, f->nr);
		for (size_t page = 0; page < f->nr; page++)
			if (f->exists[page])
				compare_page(f, page, (void *)(mem + page *
							       SM_PAGE),
					     "check");
		munmap(mem, f->nr * SM_PAGE);
	}
	for (struct view *v = f->views; v < f->views + MAX_VIEWS; v++) {
		for (size_t i = 0; v->mem && i < v->nr; i++) {
			size_t page = v->first + i;

			if (page >= f->nr || v->guard[i])
				continue;
			check_exist(f, v->mem + i * SM_PAGE, page, 1);
			if (f->exists[page] && v->prot[i] & PROT_READ)
				read_page(f, v, i, "check by view");
		}
	}
}

/* What the direct map does not have: at least the pages of files. */
static long long zaps_and_restores(void)
{
	return sm_vmstat("direct_map_zaps") - sm_vmstat("direct_map_restores");
}

/* Give what is on its way a moment: the kernel moves pages by itself, too. */
static void check_counters(void)
{
	long long zapped = 0, balance = 0;
	long want = pages_ndm();

	if (base_zapped < 0)
		return;
	mover_pause(true);
	for (int i = 0; i < 250; i++) {
		sm_stat_refresh();
		zapped = sm_vmstat("nr_no_direct_map") - base_zapped;
		balance = zaps_and_restores();
		/* Of hidden blocks some pages may be free. */
		if (zapped == want && balance >= zapped + base_zapped) {
			mover_pause(false);
			return;
		}
		sm_sleep_ms(20);
	}
	differs(V_COUNT,
		"%lld pages without an alias, %lld zapped and not restored, the model has %ld",
		zapped, balance, want);
}

static void check_all(void)
{
	double start = sm_now();

	for (struct file *f = files; f < files + MAX_FILES; f++)
		if (f->used)
			check_file(f);
	check_counters();
	check_hibernation();
	shared->checks++;
	shared->check_seconds += sm_now() - start;
}

/* ----------------------------------------------------------------- a round */

static const struct {
	const char *name;
	bool (*fn)(void);
	unsigned int weight;
} ops[] = {
	{ "create", op_create, 8 },
	{ "map", op_map, 10 },
	{ "unmap", op_unmap, 4 },
	{ "close", op_close, 2 },
	{ "write", op_write, 12 },
	{ "read", op_read, 6 },
	{ "pwrite", op_pwrite, 8 },
	{ "refused", op_refused, 1 },
	{ "gup", op_gup, 2 },
	{ "alias", op_alias, 3 },
	{ "move_pages", op_move, 12 },
	{ "mbind", op_mbind, 6 },
	{ "migrate_pages", op_migrate_pages, 2 },
	{ "policy", op_policy, 2 },
	{ "punch", op_punch, 5 },
	{ "fallocate", op_fallocate, 4 },
	{ "truncate", op_truncate, 3 },
	{ "fork", op_fork, 3 },
	{ "mremap", op_mremap, 6 },
	{ "mprotect", op_mprotect, 5 },
	{ "mlock", op_mlock, 3 },
	{ "madvise", op_madvise, 12 },
	{ "soft-offline", op_soft_offline, 2 },
	{ "compact", op_compact, 2 },
	{ "drop-caches", op_drop_caches, 1 },
	{ "memory-block", op_block, 1 },
	{ "cpu", op_cpu, 1 },
	{ "hold", op_hold, 4 },
	{ "other", op_other, 8 },
	{ "kill", op_kill, 1 },
	{ "guest", op_guest, 8 },
	{ "pre-fault", op_prefault, 3 },
	{ "memslot", op_slot, 2 },
	{ "close-vm", op_close_vm, 1 },
	{ "limit", op_limit, 3 },
};

static size_t any_op(void)
{
	size_t sum = 0, n;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	n = rnd(sum);
	for (size_t i = 0;; i++) {
		if (n < ops[i].weight)
			return i;
		n -= ops[i].weight;
	}
}

/* Nothing is left of any file, and everything is online again. */
static void close_all(void)
{
	doing("%ld: close all", shared->op);
	for (struct file *f = files; f < files + MAX_FILES; f++) {
		if (!f->used)
			continue;
		for (struct view *v = f->views; v < f->views + MAX_VIEWS; v++) {
			if (v->mem)
				munmap(v->mem, v->nr * SM_PAGE);
			v->mem = NULL;
		}
		if (f->fd >= 0)
			close(f->fd);
		f->fd = -1;
		reap(f);
	}
	other_kill();
	check_all();
}

static int round_of(__u64 seed, long nr_ops)
{
	char pid[16];

	rng = seed;
	catch_faults();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (async)
		mover = start_program("--mover", pid, 0);
	other_start();
	for (shared->op = 1; shared->op <= nr_ops; shared->op++) {
		size_t op = any_op();
		double start = sm_now();

		if (ops[op].fn())
			shared->count[op]++;
		shared->seconds[op] += sm_now() - start;
		if (shared->op % BATCH == 0)
			check_all();
		shared->ops++;
	}
	close_all();
	return KSFT_PASS;
}

/* Also after a round that came to no end. */
static void all_online(void)
{
	char path[64];

	if (cpu > 0) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/cpu/cpu%d/online", cpu);
		sm_write(path, "1");
	}
	if (block >= 0 && sm_block_is(block, "state", "offline"))
		sm_block_set(block, "online_movable", 30);
}

/* In a process of its own; returns whether the model was right. */
static bool run_round(__u64 seed, long nr_ops)
{
	long seen = -1;
	double since = sm_now();
	int status;
	pid_t pid;

	shared->lines = 0;
	memset(shared->log, 0, sizeof(shared->log));
	shared->why[0] = 0;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		_exit(round_of(seed, nr_ops));
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (sm_get(&shared->lines) != seen) {
			seen = sm_get(&shared->lines);
			since = sm_now();
		}
		if (sm_now() - since > HANG_SECONDS) {
			snprintf(shared->why, sizeof(shared->why),
				 "no end of an operation after %d s",
				 HANG_SECONDS);
			shared->failed[V_RESULT] = true;
			sm_tell(pid);
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		sm_sleep_ms(10);
	}
	kill(-pid, SIGKILL);
	all_online();
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return true;
	if (!shared->why[0]) {
		snprintf(shared->why, sizeof(shared->why),
			 WIFSIGNALED(status) ? "died of signal %d" :
			 "exit status %d", WIFSIGNALED(status) ?
			 WTERMSIG(status) : WEXITSTATUS(status));
		shared->failed[V_RESULT] = true;
	}
	return false;
}

static void tell_log(void)
{
	long first = shared->lines - LOG_LINES + 1;

	for (long i = first < 1 ? 1 : first; i <= shared->lines; i++)
		ksft_print_msg("  %s\n", shared->log[i % LOG_LINES]);
}

/* ------------------------------------------------------------------- main */

static void find_guest(void)
{
	struct kvm_create_guest_memfd args = {
		.size = SM_PAGE,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |
			 GUEST_MEMFD_FLAG_MOVABLE,
	};
	int vm = sm_vm_create(), fd;

	if (vm < 0)
		return;
	fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	have_guest = fd >= 0;
	if (fd >= 0)
		close(fd);
	args.flags |= GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
	fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	have_ndm = fd >= 0;
	if (fd >= 0)
		close(fd);
	close(vm);
}

/* A kernel that counts used files lets hibernation be with others. */
static void find_hibernation(void)
{
	base_used = sm_vmstat(USED_FILES);
	if (!sm_exists("/sys/power/disk") || hibernation_refused())
		return;
	hibernation = base_used < 0 ? HIBERNATION_FILES : HIBERNATION_USED;
}

static void help(void)
{
	printf("usage: %s [-t seconds] [-s seed] [-n operations] [-a] [-H] [-v]\n"
	       "  -t seconds     how long (default 20)\n"
	       "  -S seed        of the first round (default: from the clock)\n"
	       "  -s seed        one round with this seed, to repeat it\n"
	       "  -n operations  in a round (default 500)\n"
	       "  -a             another process moves everything meanwhile\n"
	       "  -H             leave CPUs and memory blocks online\n"
	       "  -v             print each operation\n", prog);
}

int main(int argc, char **argv)
{
	__u64 seed = (__u64)time(NULL) * 1000;
	double seconds = 20, start, said;
	bool once = false, made = false, ok;
	unsigned int failures = 0;
	long nr_ops = 500, rounds = 0;
	int c, fd;

	prog = argv[0];
	if (argc == 3 && !strcmp(argv[1], "--other"))
		return other_main(atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "--mover")) {
		if (sm_find_nodes() < 2)
			sm_to = sm_from;
		return mover_main(atoi(argv[2]));
	}
	while ((c = getopt(argc, argv, "t:S:s:n:aHvh")) != -1) {
		switch (c) {
		case 't':
			seconds = strtod(optarg, NULL);
			break;
		case 's':
			once = true;
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'S':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			nr_ops = strtol(optarg, NULL, 0);
			break;
		case 'a':
			async = true;
			break;
		case 'H':
			no_hotplug = true;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			help();
			return c == 'h' ? 0 : 2;
		}
	}

	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("needs root\n");
	set_limit(0);
	fd = sm_memfd_secret();
	if (fd < 0)
		ksft_exit_skip("memfd_secret: %s\n", strerror(errno));
	close(fd);
	if (sm_find_nodes() < 2)
		sm_to = sm_from;
	sm_on = sm_ephmap_on();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	find_guest();
	find_hibernation();
	have_unpoison = sm_exists(SM_DEBUGFS "hwpoison/unpoison-pfn");
	base_charged = charged_before();
	if (!no_hotplug) {
		if (sm_on && sm_block_pages())
			block = sm_block_movable(sm_to, &made);
		cpu = sysconf(_SC_NPROCESSORS_CONF) - 1;
	}
	sm_stat_refresh();
	base_zapped = sm_vmstat("nr_no_direct_map");
	ksft_print_msg("ephmap: %s, guest memory: %s, nodes %d and %d, memory block %d, CPU %d\n",
		       sm_on ? "on" : "off", have_ndm ? "without a direct map" :
		       have_guest ? "with one" : "none", sm_from, sm_to, block,
		       cpu);
	ksft_print_msg("hibernation: %s; charged before: %ld pages\n",
		       hibernation == HIBERNATION_NONE ? "no" :
		       hibernation == HIBERNATION_FILES ? "refused by files" :
		       "refused by files in use", base_charged);
	ksft_set_plan(NR_VERDICTS + 1);

	start = sm_now();
	said = start;
	do {
		ok = run_round(seed + rounds, nr_ops);
		rounds++;
		if (sm_now() - said >= 10) {
			said = sm_now();
			ksft_print_msg("%.0f s: %ld rounds, %ld operations\n",
				       said - start, rounds, shared->ops);
		}
	} while (ok && !once && sm_now() - start < seconds);

	if (block >= 0)
		sm_block_restore(block, made);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (shared->count[i] || verbose)
			ksft_print_msg("%s: %ld (%.1f s)\n", ops[i].name,
				       shared->count[i], shared->seconds[i]);
	ksft_print_msg("%.0f s: %ld rounds, %ld operations, %ld checks of everything (%.1f s)\n",
		       sm_now() - start, rounds, shared->ops, shared->checks,
		       shared->check_seconds);
	ksft_print_msg("%ld pages moved, %ld stayed, %ld clean ones dropped, %ld lost\n",
		       shared->moved, shared->stayed, shared->dropped,
		       shared->poisoned);
	if (!ok) {
		ksft_print_msg("seed %llu failed in operation %ld: %s\n",
			       (unsigned long long)(seed + rounds - 1),
			       shared->op, shared->why);
		tell_log();
		ksft_print_msg("to repeat it: %s -s %llu -n %ld%s%s\n", prog,
			       (unsigned long long)(seed + rounds - 1), nr_ops,
			       async ? " -a" : "", no_hotplug ? " -H" : "");
	}
	for (size_t i = 0; i < NR_VERDICTS; i++) {
		failures += shared->failed[i];
		if ((i == V_HIBERNATE && !hibernation) ||
		    (i == V_COUNT && base_zapped < 0) ||
		    (i == V_CHARGE && base_charged < 0))
			ksft_test_result_skip("%s\n", verdicts[i]);
		else
			ksft_test_result(!shared->failed[i], "%s%s%s\n",
					 verdicts[i],
					 shared->failed[i] ? ": " : "",
					 shared->failed[i] ? shared->why : "");
	}
	if (sm_from == sm_to || once || !ok)
		ksft_test_result_skip("M14: one node, or too little was done\n");
	else
		ksft_test_result(sm_on || have_guest ? shared->moved &&
				 (async || shared->stayed <= shared->moved / 10)
				 : !shared->moved,
				 "%s: %ld pages moved, %ld stayed\n",
				 sm_on ? "M14" : "M22", shared->moved,
				 shared->stayed);
	ksft_finished();
}
