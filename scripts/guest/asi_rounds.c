// SPDX-License-Identifier: GPL-2.0
/*
 * Rounds as a test framework has them: fork and exec, a test in a child of that,
 * signals and an alarm as its heartbeat, futexes in shared memory to meet at; and
 * in the child the system calls of NUMA policies, on fresh mappings. A round that
 * takes too long is shown: where its tasks are, and where all CPUs are.
 *
 * usage: asi_rounds SECONDS [LIMIT [CPU-HOGS]]
 *
 * LIMIT (10) is how long a round may take, in seconds. If one takes longer, it is
 * given 60 s more to end, so that a lost wakeup can be told from a slow host. The
 * exit status is 1 then. CPU-HOGS (0) processes compute meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE	4096UL
#define PAGES	16
#define SIZE	(PAGES * PAGE)
#define MAXNODE	1024

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* --- where a round's two processes meet ----------------------------------------- */

static unsigned int *meet;	/* shared: a futex */

static void futex_wait(unsigned int *at, unsigned int until)
{
	struct timespec give_up = { .tv_sec = 100 };
	unsigned int val;

	while ((val = __atomic_load_n(at, __ATOMIC_ACQUIRE)) < until)
		syscall(SYS_futex, at, FUTEX_WAIT, val, &give_up, NULL, 0);
}

static void futex_up(unsigned int *at)
{
	__atomic_add_fetch(at, 1, __ATOMIC_ACQ_REL);
	syscall(SYS_futex, at, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* --- what the child does ---------------------------------------------------------- */

static unsigned long nodes;	/* mask of those with memory */

static void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	fflush(stdout);
	/* Nobody is to wait for it. */
	if (meet) {
		futex_up(meet);
		futex_up(meet + 1);
	}
	_exit(2);
}

#define TRY(name, ...)							\
	({								\
		long ret_ = syscall(SYS_##name, __VA_ARGS__);		\
									\
		/* Not with this policy, or not in this kernel. */	\
		if (ret_ < 0 && errno != EINVAL && errno != EIO &&	\
		    errno != ENOENT && errno != EOPNOTSUPP &&		\
		    errno != ENOSYS)					\
			die(#name);					\
		ret_;							\
	})

static void *map(int flags)
{
	void *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void policies(unsigned int seed)
{
	static const int modes[] = {
		MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE,
		MPOL_LOCAL, MPOL_PREFERRED_MANY,
	};
	unsigned long mask[MAXNODE / 64], got[MAXNODE / 64];
	void *pages[PAGES];
	int status[PAGES], to[PAGES], mode;

	for (unsigned int i = 0; i < 12; i++, seed = seed * 1103515245 + 12345) {
		int policy = modes[i % 6];
		unsigned char *p = map(i & 1 ? MAP_PRIVATE : MAP_SHARED);

		memset(mask, 0, sizeof(mask));
		if (policy != MPOL_DEFAULT && policy != MPOL_LOCAL)
			mask[0] = nodes & (seed >> 16) ?: nodes;
		TRY(set_mempolicy, policy, mask, MAXNODE);
		TRY(get_mempolicy, &mode, got, MAXNODE, NULL, 0);
		TRY(get_mempolicy, NULL, got, MAXNODE, NULL,
		    MPOL_F_MEMS_ALLOWED);
		TRY(mbind, p, SIZE, policy, mask, MAXNODE, 0);
		TRY(set_mempolicy_home_node, (unsigned long)p, SIZE, 0, 0);
		TRY(get_mempolicy, &mode, got, MAXNODE, p, MPOL_F_ADDR);
		TRY(get_mempolicy, &mode, NULL, 0, p + PAGE,
		    MPOL_F_ADDR | MPOL_F_NODE);
		for (int j = 0; j < PAGES; j++) {
			p[j * PAGE] = j;
			pages[j] = p + j * PAGE;
			to[j] = j & 1 && nodes & 2 ? 1 : 0;
		}
		TRY(move_pages, 0, PAGES, pages, to, status, MPOL_MF_MOVE);
		TRY(mbind, p, SIZE, policy, mask, MAXNODE, MPOL_MF_MOVE);
		mask[0] = 1;
		got[0] = 2;
		TRY(migrate_pages, 0, 64, mask, got);
		/* Bad ones: too many nodes, no address, no memory there. */
		syscall(SYS_get_mempolicy, &mode, got, PAGE * 8 + 1, NULL, 0);
		syscall(SYS_get_mempolicy, &mode, (void *)8, MAXNODE, NULL, 0);
		syscall(SYS_get_mempolicy, &mode, NULL, 0, (void *)PAGE,
			MPOL_F_ADDR | MPOL_F_NODE);
		for (int j = 0; j < PAGES; j++)
			if (p[j * PAGE] != j)
				die("a page has other contents");
		munmap(p, SIZE);
	}
	TRY(set_mempolicy, MPOL_DEFAULT, NULL, 0);
}

/* --- a round: the framework's process, and the test's -------------------------- */

static volatile sig_atomic_t beats;

static void heartbeat(int sig)
{
	beats++;
	alarm(300);
}

static void tick(int sig)
{
}

static void child(unsigned int seed)
{
	struct itimerval timer = { { 0, 5000 }, { 0, 5000 } };

	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &timer, NULL);
	kill(getppid(), SIGUSR1);
	futex_up(meet);
	futex_wait(meet, 2);
	policies(seed);
	kill(getppid(), SIGUSR1);
	futex_up(meet + 1);
	futex_wait(meet + 1, 2);
	usleep(seed % 3000);
	_exit(0);
}

static int one_round(unsigned int seed)
{
	char line[64] = "";
	unsigned int last = 0;
	int status = -1, file;
	pid_t pid;
	FILE *f = fopen("/sys/devices/system/node/has_memory", "re");

	if (f && fgets(line, sizeof(line), f) && strchr(line, '-'))
		last = atoi(strchr(line, '-') + 1);
	if (f)
		fclose(f);
	nodes = (1UL << (last + 1)) - 1;

	/* As a framework does: results in a file that parent and child map. */
	snprintf(line, sizeof(line), "/dev/shm/rounds-%d", getpid());
	file = open(line, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, PAGE))
		die(line);
	meet = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	unlink(line);
	if (meet == MAP_FAILED)
		die("mmap");
	signal(SIGUSR1, heartbeat);
	signal(SIGALRM, SIG_DFL);
	alarm(300);
	fflush(NULL);
	pid = fork();
	if (!pid)
		child(seed);
	setpgid(pid, pid);
	futex_wait(meet, 1);
	futex_up(meet);
	futex_wait(meet + 1, 1);
	futex_up(meet + 1);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? 1 : 0;
}

/* --- who watches --------------------------------------------------------------- */

static void say_to(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, what, strlen(what)) < 0)
		printf("%s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* States of all tasks, those that wait, all CPUs, timers. */
static void show(unsigned long round, double took)
{
	printf("asi_rounds: round %lu takes %.1f s\n", round, took);
	fflush(stdout);
	for (const char *key = "tlwqm"; *key; key++) {
		char one[2] = { *key };

		say_to("/proc/sysrq-trigger", one);
		usleep(200000);
	}
	system("ps -o pid,ppid,stat,vsz,args; for p in /proc/[0-9]*; do "
	       "echo $p $(cut -d' ' -f1-15 $p/stat) $(cat $p/wchan $p/stack); "
	       "done; cat /proc/interrupts /proc/softirqs");
}

int main(int argc, char **argv)
{
	unsigned long rounds = 0, failed = 0;
	double end, limit, longest = 0;
	bool slow = false;

	if (argc == 3 && !strcmp(argv[1], "--round"))
		return one_round(strtoul(argv[2], NULL, 0));
	if (argc < 2)
		return 2;
	end = now() + atof(argv[1]);
	limit = argc > 2 ? atof(argv[2]) : 10;
	for (int i = argc > 3 ? atoi(argv[3]) : 0; i > 0; i--) {
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				;
		}
	}

	while (now() < end && !slow) {
		double start = now(), took;
		char seed[16];
		int status = 0, to[2];
		struct pollfd ended;
		pid_t pid;

		if (pipe2(to, O_CLOEXEC))
			die("pipe");
		snprintf(seed, sizeof(seed), "%lu", ++rounds);
		fflush(NULL);
		pid = fork();
		if (!pid) {
			/* What says that all of the round has ended. */
			fcntl(to[1], F_SETFD, 0);
			execl("/proc/self/exe", "asi_rounds", "--round", seed,
			      NULL);
			_exit(127);
		}
		close(to[1]);
		ended = (struct pollfd) { .fd = to[0] };
		if (!poll(&ended, 1, limit * 1000)) {
			slow = true;
			show(rounds, now() - start);
			if (!poll(&ended, 1, 60000)) {
				printf("asi_rounds: it does not end\n");
				show(rounds, now() - start);
				kill(pid, SIGKILL);
			}
		}
		waitpid(pid, &status, 0);
		close(to[0]);
		failed += status != 0;
		took = now() - start;
		if (took > longest)
			longest = took;
		if (rounds % 1000 == 0) {
			printf("%lu rounds, the longest %.2f s\n", rounds,
			       longest);
			fflush(stdout);
		}
	}
	printf("# %lu rounds, %lu failed, the longest took %.2f s\n", rounds,
	       failed, longest);
	printf("TAP version 13\n1..1\n%sok 1 no round of system calls hangs or fails\n",
	       slow || failed ? "not " : "");
	return slow || failed;
}
