// SPDX-License-Identifier: GPL-2.0-only
/*
 * What do system calls, faults and context switches cost, and how often do they
 * leave the restricted address space of Address Space Isolation? Each kind of
 * work is done --rounds times and timed, and once more between two readings of
 * the kernel's counters, where it has them (/sys/kernel/debug/asi/stats, and of
 * the ephmap in /proc/vmstat).
 *
 * A round begins just after a timer tick, and is shorter than the time between
 * two: no tick is in it, except for reads that are always fresh. With --work NAME
 * as the first arguments, as often as wanted, only that work: for profiles and a
 * model of the TLB. With --mb another process has so much secret memory meanwhile.
 */
#include <linux/bpf.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "secret.h"

#define PAGES		1024UL	/* of the file, and of what is mapped */
#define FAULT_AROUND	16UL	/* pages that a fault on a cached file maps */
#define READ_MAX	(64UL << 10)
#define FEW		16UL	/* pages that are read again and again */
#define FRESH_PAGES	8192UL	/* of a file that no window has room for */
#define TOUCHED_MAX	4096UL
#define TOUCHES		(4 * TOUCHED_MAX)

/* --- what is worked on ---------------------------------------------------- */

static int file;		/* of PAGES pages, all of them cached */
static int fresh_file;		/* of FRESH_PAGES */
static int pipe_ends[2];
static char *buffer;		/* of READ_MAX */
static char *area;
static char *self;

static int new_file(size_t pages)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	size_t page;

	if (fd < 0)
		die(EXIT_ENVIRONMENT, "no file in /tmp");
	for (page = 0; page < pages; page++)
		if (pwrite(fd, buffer, PAGE_SIZE, page * PAGE_SIZE) !=
		    (ssize_t)PAGE_SIZE)
			die(EXIT_ENVIRONMENT, "write to /tmp");
	return fd;
}

static void open_fresh_file(void)
{
	fresh_file = new_file(FRESH_PAGES);
}

static void close_fresh_file(void)
{
	close(fresh_file);
}

static void map_area(size_t pages, int prot, int flags, int fd)
{
	area = mmap(NULL, pages * PAGE_SIZE, prot, flags, fd, 0);
	if (area == MAP_FAILED)
		die(EXIT_ENVIRONMENT, "mmap");
	/* Also for a file: what is measured is one page. */
	madvise(area, pages * PAGE_SIZE, MADV_NOHUGEPAGE);
}

static void map_anon(void)
{
	map_area(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void map_file(void)
{
	map_area(PAGES, PROT_READ, MAP_SHARED, file);
}

static void map_file_private(void)
{
	map_area(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
}

static void unmap(void)
{
	munmap(area, PAGES * PAGE_SIZE);
}

static void map_touched(void)
{
	size_t page;

	map_area(TOUCHED_MAX, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (page = 0; page < TOUCHED_MAX; page++)
		area[page * PAGE_SIZE] = 1;
}

static void unmap_touched(void)
{
	munmap(area, TOUCHED_MAX * PAGE_SIZE);
}

/* --- work that one task does ---------------------------------------------- */

static void do_nothing(size_t ops)
{
	(void)ops;
}

static void do_getppid(size_t ops)
{
	while (ops--)
		syscall(SYS_getppid);
}

static void touch_by_writing(size_t ops)
{
	while (ops--)
		*(volatile char *)(area + ops * PAGE_SIZE) = 1;
}

static void touch_by_reading(size_t ops)
{
	while (ops--)
		*(volatile char *)(area + ops * FAULT_AROUND * PAGE_SIZE);
}

/* In a circle over the first @pages of a file. */
static void read_file(int fd, size_t ops, size_t size, size_t pages)
{
	while (ops--) {
		off_t where = ops * size % (pages * PAGE_SIZE);

		if (pread(fd, buffer, size, where) != (ssize_t)size)
			die(EXIT_ENVIRONMENT, "short read");
	}
}

static void read_4k(size_t ops)
{
	read_file(file, ops, 4096, PAGES);
}

static void read_4k_few(size_t ops)
{
	read_file(file, ops, 4096, FEW);
}

static void read_4k_fresh(size_t ops)
{
	read_file(fresh_file, ops, 4096, FRESH_PAGES);
}

static void read_64k(size_t ops)
{
	read_file(file, ops, READ_MAX, PAGES);
}

static void read_64k_few(size_t ops)
{
	read_file(file, ops, READ_MAX, FEW);
}

static void write_4k(size_t ops)
{
	while (ops--)
		if (pwrite(file, buffer, 4096, ops % PAGES * PAGE_SIZE) != 4096)
			die(EXIT_ENVIRONMENT, "short write");
}

/* What a model of a TLB can be tested with. */
static void touch_some(size_t ops, size_t pages)
{
	while (ops--)
		*(volatile char *)(area + ops % pages * PAGE_SIZE);
}

static void touch_32(size_t ops)
{
	touch_some(ops, 32);
}

static void touch_512(size_t ops)
{
	touch_some(ops, 512);
}

static void touch_max(size_t ops)
{
	touch_some(ops, TOUCHED_MAX);
}

static void pipe_4k(size_t ops)
{
	while (ops--)
		if (write(pipe_ends[1], buffer, 4096) != 4096 ||
		    read(pipe_ends[0], buffer, 4096) != 4096)
			die(EXIT_ENVIRONMENT, "pipe");
}

static void spawn(size_t ops, bool exec)
{
	char *const argv[] = { self, "--exit", NULL };
	int status;
	pid_t pid;

	while (ops--) {
		pid = fork();
		if (!pid) {
			if (exec)
				execv(self, argv);
			_exit(exec);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			die(EXIT_ENVIRONMENT, "child");
	}
}

static void do_fork(size_t ops)
{
	spawn(ops, false);
}

static void do_exec(size_t ops)
{
	spawn(ops, true);
}

/* --- work of two tasks: a ball is thrown to and fro ------------------------ */

enum ball { BALL_FUTEX, BALL_EVENTFD, BALL_PIPE };

struct court {
	enum ball ball;
	int fds[2][2];		/* to throw to whom: reading and writing end */
	volatile int holder;	/* for BALL_FUTEX */
};

static struct court court;
static pthread_t other_thread;
static pid_t other_process;

/* Returns false when the game is over: the end of the pipe, or a 2. */
static bool catch_ball(int who)
{
	uint64_t value = 0;
	ssize_t size = court.ball == BALL_PIPE ? 1 : sizeof(value);

	if (court.ball != BALL_FUTEX)
		return read(court.fds[who][0], &value, size) == size &&
		       value != 2;
	while (court.holder == !who)
		syscall(SYS_futex, &court.holder, FUTEX_WAIT_PRIVATE, !who,
			NULL);
	return court.holder == who;
}

static void throw_ball(int whom, uint64_t value)
{
	ssize_t size = court.ball == BALL_PIPE ? 1 : sizeof(value);

	if (court.ball != BALL_FUTEX) {
		if (write(court.fds[whom][1], &value, size) != size)
			die(EXIT_ENVIRONMENT, "the other is gone");
		return;
	}
	court.holder = value == 2 ? 2 : whom;
	syscall(SYS_futex, &court.holder, FUTEX_WAKE_PRIVATE, 1);
}

static void *other_side(void *unused)
{
	while (catch_ball(1))
		throw_ball(0, 1);
	return unused;
}

/* Two switches to a throw and its return: neither goes on without the other. */
static void play(size_t ops)
{
	for (; ops; ops -= 2) {
		throw_ball(1, 1);
		if (!catch_ball(0))
			die(EXIT_ENVIRONMENT, "the other is gone");
	}
}

static void open_court(enum ball ball)
{
	int who;

	court = (struct court){ .ball = ball };
	for (who = 0; who < 2; who++) {
		if (ball == BALL_PIPE && pipe(court.fds[who]))
			die(EXIT_ENVIRONMENT, "pipe");
		if (ball == BALL_EVENTFD) {
			court.fds[who][0] = eventfd(0, 0);
			court.fds[who][1] = court.fds[who][0];
			if (court.fds[who][0] < 0)
				die(EXIT_ENVIRONMENT, "eventfd");
		}
	}
}

static void close_court(void)
{
	int who;

	for (who = 0; court.ball != BALL_FUTEX && who < 2; who++) {
		close(court.fds[who][0]);
		if (court.ball == BALL_PIPE)
			close(court.fds[who][1]);
	}
}

static void start_thread(enum ball ball)
{
	open_court(ball);
	if (pthread_create(&other_thread, NULL, other_side, NULL))
		die(EXIT_ENVIRONMENT, "pthread_create");
}

static void start_futex_thread(void)
{
	start_thread(BALL_FUTEX);
}

static void start_eventfd_thread(void)
{
	start_thread(BALL_EVENTFD);
}

static void end_thread(void)
{
	throw_ball(1, 2);
	pthread_join(other_thread, NULL);
	close_court();
}

static void start_process(enum ball ball)
{
	open_court(ball);
	other_process = fork();
	if (other_process < 0)
		die(EXIT_ENVIRONMENT, "fork");
	if (!other_process) {
		other_side(NULL);
		_exit(0);
	}
}

static void start_eventfd_process(void)
{
	start_process(BALL_EVENTFD);
}

static void start_pipe_process(void)
{
	start_process(BALL_PIPE);
}

static void end_process(void)
{
	throw_ball(1, 2);
	waitpid(other_process, NULL, 0);
	close_court();
}

/* --- measuring ------------------------------------------------------------ */

/*
 * @ops operations are a round, between @before and @after each, with a partner
 * that lives from @start to @end. @warm is run before each round, once the tick
 * has been waited for.
 */
struct work {
	const char *name;
	size_t ops;
	void (*run)(size_t ops);
	void (*warm)(size_t ops);
	void (*before)(void);
	void (*after)(void);
	void (*start)(void);
	void (*end)(void);
};

static const struct work works[] = {
	{ .name = "nothing", .ops = 1, .run = do_nothing },
	{ .name = "getppid", .ops = 2000, .run = do_getppid },
	{ .name = "fault_anon", .ops = PAGES, .run = touch_by_writing,
	  .before = map_anon, .after = unmap },
	{ .name = "fault_file", .ops = PAGES / FAULT_AROUND,
	  .run = touch_by_reading, .before = map_file, .after = unmap },
	{ .name = "fault_cow", .ops = PAGES, .run = touch_by_writing,
	  .before = map_file_private, .after = unmap },
	{ .name = "fork", .ops = 20, .run = do_fork },
	{ .name = "exec", .ops = 10, .run = do_exec },
	{ .name = "switch_futex", .ops = 400, .run = play,
	  .start = start_futex_thread, .end = end_thread },
	{ .name = "switch_eventfd", .ops = 400, .run = play,
	  .start = start_eventfd_thread, .end = end_thread },
	{ .name = "switch_mm_eventfd", .ops = 400, .run = play,
	  .start = start_eventfd_process, .end = end_process },
	{ .name = "switch_mm_pipe", .ops = 400, .run = play,
	  .start = start_pipe_process, .end = end_process },
	{ .name = "read_4k", .ops = 400, .run = read_4k },
	{ .name = "read_64k", .ops = 64, .run = read_64k },
	{ .name = "pipe_4k", .ops = 400, .run = pipe_4k },
	{ .name = "read_4k_few", .ops = 400, .run = read_4k_few },
	{ .name = "read_4k_again", .ops = PAGES, .run = read_4k,
	  .warm = read_4k },
	{ .name = "read_4k_fresh", .ops = FRESH_PAGES, .run = read_4k_fresh,
	  .start = open_fresh_file, .end = close_fresh_file },
	{ .name = "read_64k_few", .ops = 64, .run = read_64k_few },
	{ .name = "write_4k", .ops = 400, .run = write_4k },
	{ .name = "touch_32", .ops = TOUCHES, .run = touch_32,
	  .before = map_touched, .after = unmap_touched },
	{ .name = "touch_512", .ops = TOUCHES, .run = touch_512,
	  .before = map_touched, .after = unmap_touched },
	{ .name = "touch_4096", .ops = TOUCHES, .run = touch_max,
	  .before = map_touched, .after = unmap_touched },
};

/* What the kernel counted: "NAME NUMBER" in the lines of three files. */
struct counters {
	char asi[1024];
	char stat[16384];
};

static int asi_fd, stat_fd;

static void file_read(int fd, char *text, size_t size)
{
	ssize_t got = fd < 0 ? 0 : pread(fd, text, size - 1, 0);

	if (got < 0)
		die(EXIT_ENVIRONMENT, "counters");
	text[got] = '\0';
}

static long long counter_of(const char *text, const char *name)
{
	size_t length = strlen(name);

	while (strncmp(text, name, length) || text[length] != ' ') {
		text = strchr(text, '\n');
		if (!text++)
			die(EXIT_ENVIRONMENT, "no counter %s", name);
	}
	return atoll(text + length);
}

static void counters_print(const char *prefix, const struct counters *before,
			   const struct counters *after)
{
	static const char *const names[] = {
		"enters", "exits_fault", "exits_switch", "exits_asked",
		"reenters", "switches", "flushes", "flushed_ibpb",
		"flushed_rsb", "flushed_verw", "flushed_l1d", "parked",
		"hits", "drains_full", "drains_switch", "drains_idle",
		"drains_time", "drains_asked", "rebounds", "window_flushed",
	};
	size_t i;

	for (i = 0; asi_fd >= 0 && i < sizeof(names) / sizeof(*names); i++)
		printf("%s_%s=%lld\n", prefix, names[i],
		       counter_of(after->asi, names[i]) -
		       counter_of(before->asi, names[i]));
	printf("%s_ctxt=%lld\n", prefix, counter_of(after->stat, "ctxt") -
	       counter_of(before->stat, "ctxt"));
}

/* Others, of the fair class, run while this sleeps. */
static void wait_for_tick(void)
{
	const struct timespec sleep = { .tv_nsec = 5000000 };
	struct timespec before, now;

	nanosleep(&sleep, NULL);
	clock_gettime(CLOCK_MONOTONIC_COARSE, &before);
	do
		clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	while (now.tv_nsec == before.tv_nsec);
}

/* Inside @before and @after, if given; the one for ASI is the inner pair. */
static uint64_t one_round(const struct work *work, struct counters *before,
			  struct counters *after)
{
	uint64_t tsc;

	if (work->before)
		work->before();
	wait_for_tick();
	if (work->warm)
		work->warm(work->ops);
	if (before) {
		file_read(stat_fd, before->stat, sizeof(before->stat));
		file_read(asi_fd, before->asi, sizeof(before->asi));
	}
	profile_begin();
	tsc = now_tsc();
	work->run(work->ops);
	tsc = now_tsc() - tsc;
	profile_end();
	if (after) {
		file_read(asi_fd, after->asi, sizeof(after->asi));
		file_read(stat_fd, after->stat, sizeof(after->stat));
	}
	if (work->after)
		work->after();
	return tsc;
}

static void measure(const struct work *work, size_t rounds)
{
	static struct counters before, after;
	uint64_t tsc[rounds];
	size_t i;

	if (work->start)
		work->start();
	for (i = 0; i < rounds; i++)
		tsc[i] = one_round(work, NULL, NULL);
	one_round(work, &before, &after);
	if (work->end)
		work->end();

	printf("%s_ops=%zu\n", work->name, work->ops);
	for (i = 0; i < rounds; i++)
		printf("round_%s_tsc=%llu\n", work->name,
		       (unsigned long long)tsc[i]);
	counters_print(work->name, &before, &after);
}

/*
 * What is free in the first chunk of per-CPU memory, and how long fork(2) looks
 * for it, depends on how much of it a kernel was built with. Here nothing is.
 */
static void fill_percpu_memory(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_PERCPU_ARRAY,
		.key_size = 4,
		.value_size = 8,
		.max_entries = 16384,
	};

	if (syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)) < 0)
		die(EXIT_ENVIRONMENT, "no memory for each CPU");
}

/* The other process: has the memory until its input ends. */
static void hold(size_t pages)
{
	struct area secret;
	size_t page;
	char byte;

	area_open(&secret, KIND_SECRET, pages);
	for (page = 0; page < pages; page++)
		*page_of(&secret, page) = 1;
	if (write(STDOUT_FILENO, "", 1) != 1)
		_exit(EXIT_ENVIRONMENT);
	_exit(read(STDIN_FILENO, &byte, 1) != 0);
}

/* A program of its own, so that nothing is shared with what is measured. */
static void start_holder(size_t pages)
{
	int input[2], output[2];
	char number[24], byte;
	pid_t pid;

	if (pipe2(input, O_CLOEXEC) || pipe2(output, O_CLOEXEC))
		die(EXIT_ENVIRONMENT, "pipe");
	pid = fork();
	if (!pid) {
		snprintf(number, sizeof(number), "%zu", pages);
		dup2(input[0], STDIN_FILENO);
		dup2(output[1], STDOUT_FILENO);
		execl(self, self, "--hold", number, NULL);
		_exit(EXIT_ENVIRONMENT);
	}
	close(input[0]);
	close(output[1]);
	if (pid < 0 || read(output[0], &byte, 1) != 1)
		die(EXIT_ENVIRONMENT, "nobody holds secret memory");
	close(output[0]);
}

/* @only ends where there is NULL. */
static bool is_wanted(const char *name, const char *const *only)
{
	size_t i;

	for (i = 0; i < sizeof(works) / sizeof(*works) && only[i]; i++)
		if (!strcmp(name, only[i]))
			return true;
	return !i;
}

int main(int argc, char **argv)
{
	static char path[4096];
	const char *only[sizeof(works) / sizeof(*works)] = { NULL };
	struct options opts = { .rounds = 40 };
	/*
	 * What the fair class does depends on what times it measured. Here who
	 * is woken waits for who runs.
	 */
	const struct sched_param param = { .sched_priority = 1 };
	size_t i;

	/* What do_exec() runs. */
	if (argc == 2 && !strcmp(argv[1], "--exit"))
		_exit(0);
	if (argc == 3 && !strcmp(argv[1], "--hold"))
		hold(parse_number(argv[2]));
	for (i = 0; argc > 2 && !strcmp(argv[1], "--work"); i++) {
		if (i == sizeof(only) / sizeof(*only))
			die(EXIT_ENVIRONMENT, "too much work");
		only[i] = argv[2];
		argc -= 2;
		argv += 2;
	}
	parse_options(argc, argv, &opts);
	if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0)
		die(EXIT_ENVIRONMENT, "/proc/self/exe");
	self = path;
	if (opts.pages)
		start_holder(opts.pages);
	if (sched_setscheduler(0, SCHED_FIFO, &param))
		die(EXIT_ENVIRONMENT, "SCHED_FIFO");
	stat_fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	if (stat_fd < 0)
		die(EXIT_ENVIRONMENT, "/proc/stat");
	asi_fd = open("/sys/kernel/debug/asi/stats", O_RDONLY | O_CLOEXEC);
	buffer = mmap(NULL, READ_MAX, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffer == MAP_FAILED || pipe(pipe_ends))
		die(EXIT_ENVIRONMENT, "no memory, or no pipe");
	file = new_file(PAGES);
	fill_percpu_memory();

	print_value("asi", asi_fd >= 0);
	print_value("secrets", opts.pages);
	for (i = 0; i < sizeof(works) / sizeof(*works); i++)
		if (is_wanted(works[i].name, only))
			measure(&works[i], opts.rounds);
	return 0;
}
