// SPDX-License-Identifier: GPL-2.0
/*
 * usage: asi_bpf SECONDS
 *
 * Have the kernel compile BPF programs, of sizes between a few instructions and
 * 4096, and free them again, on each CPU at once: filters of sockets, each of
 * which has to take exactly what it should, and seccomp filters of processes. That
 * allocates executable memory, changes the direct map's protections, splits and
 * collapses it, and writes code through a temporary mm. Prints how many; exit
 * status 1 for a packet or a system call that a filter got wrong, 4 without JIT.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define JIT	"/proc/sys/net/core/bpf_jit_enable"
#define MOST	4096U

static time_t end;
static long filters, seccomps, wrong;

static void add(long *counter, long val)
{
	__atomic_add_fetch(counter, val, __ATOMIC_RELAXED);
}

/* @nr instructions, the last two of which take the packet or drop it. */
static void make_filter(struct sock_filter *f, unsigned int nr, unsigned char key)
{
	unsigned int i = 0;

	f[i++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0);
	/* Work that changes nothing: A += i, A -= i. */
	for (; i + 5 <= nr; i += 2) {
		f[i] = (struct sock_filter)
			BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 77 * i);
		f[i + 1] = (struct sock_filter)
			BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 77 * i);
	}
	f[i++] = (struct sock_filter)
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, key, 0, 1);
	f[i++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, -1);
	f[i++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	while (i < nr)
		f[i++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
}

/* One filter: a packet with its key arrives, one with another does not. */
static bool one_filter(int sock[2], unsigned int nr, unsigned char key)
{
	static __thread struct sock_filter f[MOST];
	struct sock_fprog prog = { .len = nr, .filter = f };
	unsigned char good[64], bad[64], got[64];

	make_filter(f, nr, key);
	if (setsockopt(sock[1], SOL_SOCKET, SO_ATTACH_FILTER, &prog,
		       sizeof(prog))) {
		/* Its memory is limited, and freed after a grace period. */
		return errno == ENOMEM;
	}
	add(&filters, 1);
	memset(good, key, sizeof(good));
	memset(bad, key + 1, sizeof(bad));
	send(sock[0], bad, sizeof(bad), MSG_DONTWAIT);
	if (send(sock[0], good, sizeof(good), MSG_DONTWAIT) != sizeof(good))
		return false;
	if (recv(sock[1], got, sizeof(got), MSG_DONTWAIT) != sizeof(got) ||
	    got[0] != key)
		return false;
	return recv(sock[1], got, sizeof(got), MSG_DONTWAIT) < 0;
}

/* A process whose getppid() fails as its filter says. */
static bool one_seccomp(unsigned int error)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = 4, .filter = f };
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
			_exit(errno == ENOMEM ? 0 : 1);
		_exit(syscall(SYS_getppid) != -1 || errno != (int)error);
	}
	waitpid(pid, &status, 0);
	add(&seccomps, 1);
	return !status;
}

static void *load(void *arg)
{
	unsigned int id = (unsigned long)arg, state = id + 1;
	int sock[2];
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(id, &set);
	sched_setaffinity(0, sizeof(set), &set);
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sock)) {
		add(&wrong, 1);
		return NULL;
	}
	while (time(NULL) < end) {
		unsigned int nr;

		state = state * 1103515245 + 12345;
		nr = 4 + (state >> 8) % (MOST - 3);
		if (state >> 28 < 12)
			nr = 4 + nr % 60;
		if (!one_filter(sock, nr, state >> 16) ||
		    (!(state >> 20 & 7) && !one_seccomp(1 + (state >> 8) % 100)))
			add(&wrong, 1);
	}
	close(sock[0]);
	close(sock[1]);
	return NULL;
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread[cpus];
	FILE *f = fopen(JIT, "r+");

	if (argc != 2) {
		fprintf(stderr, "usage: asi_bpf SECONDS\n");
		return 2;
	}
	if (!f || fputs("1\n", f) < 0 || fclose(f)) {
		perror(JIT);
		return 4;
	}
	end = time(NULL) + atol(argv[1]);
	for (long i = 0; i < cpus; i++)
		pthread_create(&thread[i], NULL, load, (void *)i);
	for (long i = 0; i < cpus; i++)
		pthread_join(thread[i], NULL);
	printf("# %ld filters, %ld seccomp filters, %ld wrong\n", filters,
	       seccomps, wrong);
	return wrong || !filters;
}
