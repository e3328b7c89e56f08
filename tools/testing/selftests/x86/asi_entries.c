// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation: enter the kernel in every way there is, from a
 * program that the kernel has just left in the restricted address space, and
 * check that each has the effect it should have; and that ways which touch no
 * user data by a kernel address do not leave it. The numbers A2 and A7 are
 * those of Documentation/arch/x86/asi.rst.
 *
 * With asi=off all but what is counted runs as well: the effects are the same.
 *
 * usage: asi_entries [-s]
 *
 * -s leaves the step into a system call out: SYSCALL clears TF, but in Bochs 2.7
 * the kernel gets a trap after it, which it has no explanation for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <asm/ldt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "asi_stats.h"
#include "kselftest.h"

#define PAGE	4096UL
#define TRACING	"/sys/kernel/tracing/"

static unsigned int rounds = 50;

/* ------------------------------------------------------------- counters */

/*
 * What @fn(@nr) costs in exits, the least of a few times: other CPUs and the
 * timer have theirs.
 */
static long exits_of(void (*fn)(long nr), long nr)
{
	long least = -1, before, now;

	for (int i = 0; i < 5; i++) {
		before = exits();
		fn(nr);
		now = exits() - before;
		if (least < 0 || now < least)
			least = now;
	}
	return least;
}

/* ---------------------------------------------------------- the effects */

/* Set by a test of what this kernel has not. */
static bool missing;

static volatile sig_atomic_t got;
static volatile unsigned long got_addr;
static unsigned int skip;	/* bytes of code that the handler skips */

static void handler(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;

	got++;
	got_addr = (unsigned long)info->si_addr;
	uc->uc_mcontext.gregs[REG_RIP] += skip;
	uc->uc_mcontext.gregs[REG_EFL] &= ~0x100L;	/* TF */
}

static void catch(int sig, unsigned int bytes)
{
	struct sigaction sa = {
		.sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	got = 0;
	skip = bytes;
	sigaction(sig, &sa, NULL);
}

static void uncatch(int sig)
{
	signal(sig, SIG_DFL);
}

/* Registers that no exception may change, over code that gets one. */
#define UNCHANGED(code) ({						\
	unsigned long a = 0x1111222233334444, b = 0x5555666677778888;	\
	unsigned long x[2] = { a, b }, y[2] = {};			\
									\
	asm volatile("movups %[x], %%xmm7\n\t"				\
		     "mov %[a], %%r12\n\t"				\
		     "mov %[b], %%r13\n\t"				\
		     code "\n\t"					\
		     "movups %%xmm7, %[y]\n\t"				\
		     "xor %[a], %%r12\n\t"				\
		     "xor %[b], %%r13\n\t"				\
		     "or %%r12, %%r13\n\t"				\
		     "mov %%r13, %[b]"					\
		     : [y] "=m" (y), [b] "+r" (b)			\
		     : [x] "m" (x), [a] "r" (a)				\
		     : "xmm7", "r12", "r13", "memory", "cc", "rax",	\
		       "rcx", "rdx", "r11");				\
	!b && !memcmp(x, y, sizeof(x));					\
})

static bool test_syscall(void)
{
	pid_t pid = getpid();

	for (unsigned int i = 0; i < rounds; i++)
		if (syscall(SYS_getpid) != pid)
			return false;
	return true;
}

/* A page, or more, that 32 bits can address. */
static void *map_low(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The numbers of 32-bit system calls. */
#define NR32_READ	3
#define NR32_GETPID	20

static long int80(long nr, long arg1, long arg2, long arg3)
{
	long ret;

	asm volatile("int $0x80" : "=a" (ret)
		     : "a" (nr), "b" (arg1), "c" (arg2), "d" (arg3)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

/* Without 32-bit system calls int $0x80 is #GP. */
static bool has_int80(void)
{
	long pid;

	catch(SIGSEGV, 2);
	pid = int80(NR32_GETPID, 0, 0, 0);
	uncatch(SIGSEGV);
	missing = got == 1;
	return !missing && pid == getpid();
}

/* From 64-bit code; and with user data, new each time. */
static bool test_int80(void)
{
	unsigned int *low = map_low(PAGE);
	int fd = memfd_create("asi", 0);
	bool ok = has_int80() && low && fd >= 0;

	for (unsigned int i = 1; ok && i <= rounds; i++)
		ok = int80(NR32_GETPID, 0, 0, 0) == getpid() &&
		     pwrite(fd, &i, sizeof(i), 0) == sizeof(i) &&
		     !lseek(fd, 0, SEEK_SET) &&
		     int80(NR32_READ, fd, (long)low, sizeof(i)) == sizeof(i) &&
		     *low == i;
	close(fd);
	if (low)
		munmap(low, PAGE);
	return ok;
}

/* int $0x80; ud2 */
static const unsigned char code32[] = { 0xcd, 0x80, 0x0f, 0x0b };
#define CODE32_SIZE	(8 * PAGE)
#define USER32_CS	0x23

/*
 * A call of code32, in a code segment of 32 bits. No far call: QEMU 7.2 writes
 * its stack as the kernel would. One signal changes over, the next one back.
 */
static struct {
	gregset_t before;
	void *low;			/* the code; at its end, the stack */
	unsigned int selector;
	long regs[4];
	bool inside;
} call32;

static void change_over(int sig, siginfo_t *info, void *ctx)
{
	greg_t *regs = ((ucontext_t *)ctx)->uc_mcontext.gregs;

	if (call32.inside) {
		call32.regs[0] = (int)regs[REG_RAX];
		memcpy(regs, call32.before, sizeof(gregset_t));
		regs[REG_RIP] += 2;
		call32.inside = false;
		return;
	}
	memcpy(call32.before, regs, sizeof(gregset_t));
	regs[REG_RIP] = (long)call32.low;
	regs[REG_RSP] = (long)call32.low + CODE32_SIZE - 64;
	regs[REG_RAX] = call32.regs[0];
	regs[REG_RBX] = call32.regs[1];
	regs[REG_RCX] = call32.regs[2];
	regs[REG_RDX] = call32.regs[3];
	regs[REG_CSGSFS] = (regs[REG_CSGSFS] & ~0xffffL) | call32.selector;
	call32.inside = true;
}

static long int80_in_code32(long nr, long arg1, long arg2, long arg3)
{
	long regs[] = { nr, arg1, arg2, arg3 };

	memcpy(call32.regs, regs, sizeof(regs));
	asm volatile("ud2" : : : "memory");
	return call32.regs[0];
}

static bool calls_of_code32(unsigned int selector)
{
	struct sigaction sa = {
		.sa_sigaction = change_over,
		.sa_flags = SA_SIGINFO,
	};
	unsigned int *data = map_low(PAGE), want;
	int fd = memfd_create("asi", 0);
	bool ok;

	call32.low = map_low(CODE32_SIZE);
	call32.selector = selector;
	ok = call32.low && data && fd >= 0;
	if (ok) {
		memcpy(call32.low, code32, sizeof(code32));
		ok = !mprotect(call32.low, PAGE, PROT_READ | PROT_EXEC);
	}
	sigaction(SIGILL, &sa, NULL);
	for (unsigned int i = 1; ok && i <= rounds; i++) {
		want = i * 0x01010101;
		ok = int80_in_code32(NR32_GETPID, 0, 0, 0) == getpid() &&
		     pwrite(fd, &want, sizeof(want), 0) == sizeof(want) &&
		     !lseek(fd, 0, SEEK_SET) &&
		     int80_in_code32(NR32_READ, fd, (long)data,
				     sizeof(want)) == sizeof(want) &&
		     *data == want;
	}
	uncatch(SIGILL);
	close(fd);
	if (call32.low)
		munmap(call32.low, CODE32_SIZE);
	if (data)
		munmap(data, PAGE);
	return ok;
}

/* The same from a program's 32-bit code segment. */
static bool test_code32(void)
{
	return has_int80() && calls_of_code32(USER32_CS);
}

/* Each time the code runs it gets the signal, which skips @bytes of it. */
#define RAISES(sig, bytes, code) ({					\
	const int number = sig;						\
	bool same = true;						\
									\
	catch(number, bytes);						\
	for (unsigned int n = 0; n < rounds; n++)			\
		same = same && UNCHANGED(code);				\
	uncatch(number);						\
	same && got == (int)rounds;					\
})

static bool test_ud(void)
{
	return RAISES(SIGILL, 2, "ud2");
}

static bool test_bp(void)
{
	return RAISES(SIGTRAP, 0, "int3");
}

static bool test_single_step(void)
{
	return RAISES(SIGTRAP, 0, "sub $128, %%rsp; pushf;"
		      "orl $0x100, (%%rsp); popf; nop; nop;"
		      "add $128, %%rsp");
}

/* A step into a system call. */
static bool test_step_syscall(void)
{
	catch(SIGTRAP, 0);
	for (unsigned int i = 0; i < rounds; i++)
		if (!UNCHANGED("sub $128, %%rsp; pushf; orl $0x100, (%%rsp);"
			       "mov $39, %%eax; popf; syscall; nop;"
			       "add $128, %%rsp"))
			return false;
	uncatch(SIGTRAP);
	return got >= (int)rounds;
}

static bool test_de(void)
{
	return RAISES(SIGFPE, 2, "xor %%ecx, %%ecx; xor %%edx, %%edx;"
		      "mov $1, %%eax; div %%ecx");
}

static bool test_gp(void)
{
	return RAISES(SIGSEGV, 1, "hlt");
}

static bool test_pf_bad(void)
{
	return RAISES(SIGSEGV, 2, "xor %%eax, %%eax; mov (%%rax), %%eax") &&
	       !got_addr;
}

/* A kernel address: the fault of user mode must not be taken for ASI's. */
static bool test_pf_kernel_address(void)
{
	return RAISES(SIGSEGV, 2, "mov $0xffff888000100000, %%rax;"
		      "mov (%%rax), %%eax");
}

static bool test_pf_zero(void)
{
	size_t size = rounds * PAGE;
	unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok = p != MAP_FAILED;

	for (size_t i = 0; ok && i < size; i += PAGE) {
		for (size_t k = 0; k < PAGE; k += 64)
			ok = ok && !p[i + k];
		p[i] = 1;
	}
	munmap(p, size);
	return ok;
}

static bool test_pf_cow(void)
{
	size_t size = rounds * PAGE;
	unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t pid;

	memset(p, 7, size);
	pid = fork();
	if (!pid) {
		for (size_t i = 0; i < size; i += PAGE) {
			p[i] = 8;
			if (p[i + 1] != 7)
				_exit(1);
		}
		_exit(0);
	}
	waitpid(pid, &status, 0);
	for (size_t i = 0; i < size; i++)
		if (p[i] != 7)
			status = -1;
	munmap(p, size);
	return !status;
}

static bool test_exec(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		execl("/proc/self/exe", "asi_entries", "-x", "right", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

static bool test_file(void)
{
	unsigned char in[3 * PAGE], out[3 * PAGE];
	int fd = memfd_create("asi", 0);
	bool ok = fd >= 0;

	for (unsigned int i = 0; ok && i < rounds; i++) {
		memset(out, i + 1, sizeof(out));
		memset(in, 0, sizeof(in));
		ok = pwrite(fd, out, sizeof(out), i) == sizeof(out) &&
		     pread(fd, in, sizeof(in), i) == sizeof(in) &&
		     !memcmp(in, out, sizeof(in));
	}
	close(fd);
	return ok;
}

/* Interrupts and signals, while user mode computes. */
static bool test_timer(void)
{
	struct itimerval it = {
		.it_interval.tv_usec = 2000,
		.it_value.tv_usec = 2000,
	};
	unsigned long sum = 0, want = 0;
	struct timespec t;
	time_t end;

	catch(SIGALRM, 0);
	setitimer(ITIMER_REAL, &it, NULL);
	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec + 2;
	do {
		for (unsigned long i = 0; i < 100000; i++) {
			asm volatile("add %1, %0" : "+r" (sum) : "r" (i));
			want += i;
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec < end);
	memset(&it, 0, sizeof(it));
	setitimer(ITIMER_REAL, &it, NULL);
	uncatch(SIGALRM);
	return got > 10 && sum == want;
}

static void *ipis(void *arg)
{
	volatile bool *stop = arg;

	while (!*stop)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	return NULL;
}

/* IPIs: membarrier's, and TLB shootdowns of two threads. */
static bool test_ipi(void)
{
	volatile bool stop = false;
	pthread_t thread;
	bool ok = true;

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
		    0, 0))
		return true;
	pthread_create(&thread, NULL, ipis, (void *)&stop);
	for (unsigned int i = 0; ok && i < rounds; i++) {
		unsigned int *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ok = !*p;
		*p = i;
		ok = ok && !mprotect(p, PAGE, PROT_READ) && *p == i;
		munmap(p, PAGE);
	}
	stop = true;
	pthread_join(thread, NULL);
	return ok;
}

/* A CPU's NMIs, or -1. */
static long nr_nmis(int cpu)
{
	FILE *f = fopen("/proc/interrupts", "re");
	char *line = NULL, *p, *end, name[16];
	int column = -1;
	size_t size = 0;
	long nr = -1;

	snprintf(name, sizeof(name), "CPU%d", cpu);
	if (f && getline(&line, &size, f) > 0) {
		p = strtok(line, "\n ");
		for (int i = 0; p && column < 0; i++, p = strtok(NULL, "\n "))
			if (!strcmp(p, name))
				column = i;
	}
	while (column >= 0 && getline(&line, &size, f) > 0) {
		p = strstr(line, "NMI:");
		if (!p)
			continue;
		p += 4;
		for (int i = 0; i <= column; i++, p = end)
			nr = strtol(p, &end, 10);
		break;
	}
	free(line);
	if (f)
		fclose(f);
	return nr;
}

static bool run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

static struct {
	int cpu;
	volatile bool end;
} nmis;

/* The backtrace of all CPUs is made by NMIs to the others. */
static void *backtraces(void *unused)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	run_on(nmis.cpu);
	for (int i = 0; i < 4 && write(fd, "l", 1) == 1; i++)
		usleep(10000);
	close(fd);
	nmis.end = true;
	return NULL;
}

/* NMIs in user mode, and in system calls. */
static bool test_nmi(void)
{
	int here = sched_getcpu(), other = -1;
	pid_t pid = getpid();
	pthread_t thread;
	cpu_set_t set;
	bool ok = true;
	long before;

	sched_getaffinity(0, sizeof(set), &set);
	for (int cpu = 0; cpu < CPU_SETSIZE && other < 0; cpu++)
		if (CPU_ISSET(cpu, &set) && cpu != here)
			other = cpu;
	before = nr_nmis(here);
	missing = other < 0 || before < 0 || !run_on(here);
	if (missing)
		return false;
	nmis.cpu = other;
	nmis.end = false;
	pthread_create(&thread, NULL, backtraces, NULL);
	while (ok && !nmis.end)
		ok = UNCHANGED("mov $100000, %%ecx\n"
			       "1:\n\t"
			       "dec %%ecx\n\t"
			       "jnz 1b") &&
		     syscall(SYS_getpid) == pid;
	pthread_join(thread, NULL);
	/* No sysrq, or no NMIs for it. */
	missing = ok && nr_nmis(here) == before;
	sched_setaffinity(0, sizeof(set), &set);
	return ok;
}

static bool test_ptrace(void)
{
	struct user_regs_struct regs;
	static long word = 0x123456789;
	int status, fd;
	long seen;
	pid_t pid = fork();
	bool ok;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(word == 0x987654321 ? 42 : 1);
	}
	waitpid(pid, &status, 0);
	ok = WIFSTOPPED(status) && !ptrace(PTRACE_GETREGS, pid, 0, &regs) &&
	     ptrace(PTRACE_PEEKDATA, pid, &word, 0) == word &&
	     !ptrace(PTRACE_POKEDATA, pid, &word, 0x987654321);
	if (ok) {
		struct iovec to = { &seen, sizeof(seen) };
		struct iovec from = { &word, sizeof(word) };

		ok = process_vm_readv(pid, &to, 1, &from, 1, 0) ==
			sizeof(seen) && seen == 0x987654321;
	}
	/* A hardware breakpoint: #DB in user mode, DR7 over a switch. */
	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]),
	       &word);
	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]),
	       0xb0003UL | 1);
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &status, 0);
	if (WIFSTOPPED(status)) {
		ptrace(PTRACE_CONT, pid, 0, 0);
		waitpid(pid, &status, 0);
	}
	fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ok = ok && pread(fd, &seen, sizeof(seen), (off_t)&word) ==
		sizeof(seen) && seen == word;
	close(fd);
	return ok && WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

/* ------------------------------------------ segments, and I/O permissions */

#define SELECTOR(entry)	((entry) << 3 | 7)

/* What user mode loads a segment from is read with the page tables it has. */
static bool set_ldt(unsigned int entry, const void *base, unsigned int contents)
{
	struct user_desc desc = {
		.entry_number = entry,
		.base_addr = (unsigned long)base,
		.limit = contents ? 0xfffff : PAGE - 1,
		.limit_in_pages = contents != 0,
		.contents = contents,
		.seg_32bit = 1,
		.useable = 1,
	};

	if (!syscall(SYS_modify_ldt, 1, &desc, sizeof(desc)))
		return true;
	missing = errno == ENOSYS;
	return false;
}

/* The first word of a segment, after a system call: where that has left us. */
static unsigned int read_segment(unsigned int entry)
{
	unsigned int val;
	long nr = SYS_getppid;

	asm volatile("syscall\n\t"
		     "mov %2, %%gs\n\t"
		     "mov %%gs:0, %0\n\t"
		     "mov %3, %%gs"
		     : "=&r" (val), "+a" (nr)
		     : "r" (SELECTOR(entry)), "r" (0)
		     : "rcx", "r11", "memory");
	return val;
}

/* With one page of descriptors, and with as many as there can be. */
static const unsigned int ldt_entries[] = { 2, 8191 };

static bool read_segments(const unsigned int *low)
{
	bool ok = true;

	for (unsigned int i = 0; i < rounds; i++) {
		for (unsigned int k = 0; k < ARRAY_SIZE(ldt_entries); k++)
			ok = ok && read_segment(ldt_entries[k]) == *low;
		if (i % 8 == 0)
			sched_yield();
	}
	return ok;
}

static bool child_reads_segments(unsigned int *low)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		*low = 0x10fedcba;
		_exit(read_segments(low) ? 42 : 1);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

static bool test_ldt(void)
{
	unsigned int *low = map_low(PAGE);
	bool ok = low;

	for (unsigned int k = 0; ok && k < ARRAY_SIZE(ldt_entries); k++) {
		*low = 0xabcdef01 + k;
		ok = set_ldt(ldt_entries[k], low, 0) &&
		     read_segment(ldt_entries[k]) == *low;
	}
	ok = ok && read_segments(low) && child_reads_segments(low) &&
	     *low == 0xabcdef02 && read_segments(low);
	munmap(low, PAGE);
	return ok;
}

/* 32-bit code by a code segment of the LDT. */
static bool test_ldt_code32(void)
{
	return has_int80() && set_ldt(3, NULL, MODIFY_LDT_CONTENTS_CODE) &&
	       calls_of_code32(SELECTOR(3));
}

/*
 * The segment of entry 4 begins at one of two words. @seq is odd while it is
 * being changed; what is read while @seq stays must be what it stands for.
 */
static struct {
	unsigned int *low;
	unsigned int seq;
	bool stop;
	long right;
	long wrong;
} replaced;

static void *reads_replaced(void *arg)
{
	unsigned int before, val;

	while (!__atomic_load_n(&replaced.stop, __ATOMIC_ACQUIRE)) {
		before = __atomic_load_n(&replaced.seq, __ATOMIC_ACQUIRE);
		val = read_segment(4);
		if (val > 1)
			replaced.wrong++;
		if (before & 1 ||
		    before != __atomic_load_n(&replaced.seq, __ATOMIC_ACQUIRE))
			continue;
		if (val == (before >> 1 & 1))
			replaced.right++;
		else
			replaced.wrong++;
	}
	return NULL;
}

static bool test_ldt_replaced(void)
{
	pthread_t thread;
	bool ok;

	memset(&replaced, 0, sizeof(replaced));
	replaced.low = map_low(2 * PAGE);
	ok = replaced.low && set_ldt(4, replaced.low, 0);
	if (!ok)
		return false;
	replaced.low[PAGE / 4] = 1;
	pthread_create(&thread, NULL, reads_replaced, NULL);
	for (unsigned int i = 1; ok && (i <= 10 * rounds || !replaced.right);
	     i++) {
		__atomic_add_fetch(&replaced.seq, 1, __ATOMIC_ACQ_REL);
		ok = set_ldt(4, replaced.low + i % 2 * PAGE / 4, 0);
		__atomic_add_fetch(&replaced.seq, 1, __ATOMIC_ACQ_REL);
		usleep(100);
	}
	__atomic_store_n(&replaced.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	munmap(replaced.low, 2 * PAGE);
	return ok && !replaced.wrong;
}

static void one_cpu(void)
{
	run_on(sched_getcpu());
}

#define PORT		0x80

/* How many of @nr accesses to a port are refused. */
static int refused(unsigned int nr)
{
	catch(SIGSEGV, 2);
	for (unsigned int i = 0; i < nr; i++) {
		asm volatile("inb %0, %%al" : : "i" (PORT) : "al");
		syscall(SYS_getppid);
		if (i % 8 == 0)
			sched_yield();
	}
	uncatch(SIGSEGV);
	return got;
}

/*
 * One has it, who inherits it does too; who gave it back has not, while the other
 * one has it on the same CPU.
 */
static bool permissions(bool (*permit)(bool on))
{
	int status = -1;
	pid_t pid;
	bool ok;

	if (refused(rounds) != (int)rounds)
		return false;
	ok = permit(true) && !refused(rounds);
	pid = ok ? fork() : -1;
	if (!pid) {
		ok = !refused(rounds) && permit(false) &&
		     refused(rounds) == (int)rounds;
		_exit(ok ? 42 : 1);
	}
	while (ok && !waitpid(pid, &status, WNOHANG))
		ok = !refused(rounds);
	return permit(false) && ok && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 42 && refused(rounds) == (int)rounds;
}

static bool test_permissions(bool (*permit)(bool on))
{
	cpu_set_t before;
	bool ok;

	sched_getaffinity(0, sizeof(before), &before);
	one_cpu();
	ok = permissions(permit);
	sched_setaffinity(0, sizeof(before), &before);
	return ok;
}

static bool permit_ioperm(bool on)
{
	if (!syscall(SYS_ioperm, PORT, 1, on))
		return true;
	missing = errno == ENOSYS;
	return false;
}

static bool permit_iopl(bool on)
{
	if (!syscall(SYS_iopl, on ? 3 : 0))
		return true;
	missing = errno == ENOSYS;
	return false;
}

static bool test_ioperm(void)
{
	return test_permissions(permit_ioperm);
}

static bool test_iopl(void)
{
	return test_permissions(permit_iopl);
}

static bool test_perf_breakpoint(void)
{
	static volatile int target;
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W,
		.bp_addr = (unsigned long)&target,
		.bp_len = HW_BREAKPOINT_LEN_4,
		.exclude_kernel = 1,
	};
	long long count = 0;
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);

	if (fd < 0)
		return errno == ENOSYS || errno == ENOENT || errno == EOPNOTSUPP;
	for (unsigned int i = 0; i < rounds; i++)
		target = i;
	if (read(fd, &count, sizeof(count)) != sizeof(count))
		count = -1;
	close(fd);
	return count == rounds;
}

static bool tell(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ssize_t len = strlen(text);
	bool ok = fd >= 0 && write(fd, text, len) == len;

	if (fd >= 0)
		close(fd);
	return ok;
}

static unsigned int lines_with(const char *path, const char *text)
{
	unsigned int nr = 0;
	char line[512];
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		nr += !!strstr(line, text);
	if (f)
		fclose(f);
	return nr;
}

/* INT3 in the kernel, or the jump that replaces it; its handler reads user memory. */
static bool test_kprobe(void)
{
	static const char name[] = "/asi/kprobe/reads/this";
	unsigned int seen;
	bool ok;

	if (!tell(TRACING "kprobe_events",
		  "p:asi_open do_sys_openat2 name=+0(%si):ustring")) {
		missing = errno == ENOENT;
		return false;
	}
	ok = tell(TRACING "events/kprobes/asi_open/enable", "1");
	for (unsigned int i = 0; i < rounds; i++)
		ok &= open(name, O_RDONLY) < 0 && errno == ENOENT;
	ok &= tell(TRACING "events/kprobes/asi_open/enable", "0");
	seen = lines_with(TRACING "trace", name);
	ok &= tell(TRACING "kprobe_events", "-:asi_open");
	ksft_print_msg("a kprobe read the name %u times of %u\n", seen, rounds);
	return ok && seen == rounds;
}

/* ---------------------------------------------------------- the counts */

static void many_getppid(long nr)
{
	while (nr--)
		syscall(SYS_getppid);
}

static void *other_thread(void *arg)
{
	volatile bool *stop = arg;

	while (!*stop)
		sched_yield();
	return NULL;
}

static void many_yield(long nr)
{
	while (nr--)
		sched_yield();
}

static const struct {
	const char *name;
	bool (*fn)(void);
} effects[] = {
	{ "A7 system calls", test_syscall },
	{ "A2 A7 int $0x80", test_int80 },
	{ "A2 A7 int $0x80 of 32-bit code", test_code32 },
	{ "A7 UD", test_ud },
	{ "A7 BP", test_bp },
	{ "A7 DB: single step", test_single_step },
	{ "A7 DB: step into a system call", test_step_syscall },
	{ "A7 DE", test_de },
	{ "A7 GP", test_gp },
	{ "A7 PF: bad address", test_pf_bad },
	{ "A7 PF: kernel address", test_pf_kernel_address },
	{ "A2 PF: a new page is zeroed", test_pf_zero },
	{ "A2 PF: copy on write", test_pf_cow },
	{ "A2 fork and exec", test_exec },
	{ "A2 read and write of a file", test_file },
	{ "A7 timer interrupts and signals", test_timer },
	{ "A7 IPIs, TLB shootdowns", test_ipi },
	{ "A7 NMIs", test_nmi },
	{ "A2 A7 ptrace, process_vm_readv, /proc/self/mem", test_ptrace },
	{ "A7 LDT, also after fork", test_ldt },
	{ "A2 A7 int $0x80 of 32-bit code in the LDT", test_ldt_code32 },
	{ "A7 LDT replaced under a thread", test_ldt_replaced },
	{ "A7 ioperm", test_ioperm },
	{ "A7 iopl", test_iopl },
	{ "A7 perf breakpoint", test_perf_breakpoint },
	{ "A7 a kprobe that reads user memory", test_kprobe },
};

int main(int argc, char **argv)
{
	volatile bool stop = false;
	pthread_t thread;
	long nr = 10000, count;
	bool on = !access(STATS, R_OK), skip_step;

	if (argc == 3 && !strcmp(argv[1], "-x"))
		return strcmp(argv[2], "right") ? 1 : 42;
	skip_step = argc == 2 && !strcmp(argv[1], "-s");

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(effects) + 3);
	for (unsigned int i = 0; i < ARRAY_SIZE(effects); i++) {
		bool ok = false;

		missing = skip_step && effects[i].fn == test_step_syscall;
		if (!missing)
			ok = effects[i].fn();
		if (missing)
			ksft_test_result_skip("%s\n", effects[i].name);
		else
			ksft_test_result(ok, "%s\n", effects[i].name);
	}

	if (!on) {
		ksft_test_result_skip("exits of getppid: asi=off\n");
		ksft_test_result_skip("exits of a switch in one mm: asi=off\n");
		ksft_test_result_skip("it is entered: asi=off\n");
		ksft_finished();
	}
	one_cpu();
	count = exits_of(many_getppid, nr);
	ksft_test_result(count < nr / 100, "getppid: %ld exits in %ld calls\n",
			 count, nr);
	pthread_create(&thread, NULL, other_thread, (void *)&stop);
	count = exits_of(many_yield, nr);
	stop = true;
	pthread_join(thread, NULL);
	ksft_test_result(count < nr / 100,
			 "switch in one mm: %ld exits in %ld yields\n", count,
			 nr);
	count = stat_of("enters");
	ksft_test_result(count > 0 && stat_of("exits_fault") > 0,
			 "entered %ld times, %ld exits by fault\n", count,
			 stat_of("exits_fault"));
	ksft_finished();
}
