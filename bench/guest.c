// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does the memory of a guest move while it runs, and how long does its vCPU
 * wait for a page? The guest adds 1 to a counter in every page of its memory,
 * again and again, and checks that all of them are the same; meanwhile they are
 * moved between the nodes, --rounds times, --batch pages to a call of
 * move_pages(2). For each page the guest notes the longest time that the access
 * took; pauses are those longer than --rounds undisturbed passes had.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sched.h>

#include "secret.h"

/* Guest physical addresses: below 1 MB code and results, then the pages. */
#define CODE		0x1000
#define RESULTS		0x2000
#define PAGES		0x100000

struct results {
	uint32_t passes;
	uint32_t wrong;
	uint32_t longest;	/* ticks, since somebody set it to 0 */
	uint32_t stop;
};

/*
 * 32-bit protected mode, flat. Registers at the start: ebx the first page, ebp
 * the end of the last, edi the results.
 */
extern const char guest_code[], guest_code_end[];
__asm__(
"	.pushsection .rodata\n"
"	.code32\n"
"	.globl guest_code, guest_code_end\n"
"guest_code:\n"
"	xorl %ecx, %ecx\n"		/* what every counter must be */
"pass:	movl %ebx, %esi\n"
"page:	pushl %ecx\n"
"	rdtsc\n"
"	movl %eax, scratch - guest_code + 0x1000\n"
"	movl (%esi), %ecx\n"
"	incl %ecx\n"
"	movl %ecx, (%esi)\n"
"	rdtsc\n"
"	subl scratch - guest_code + 0x1000, %eax\n"
"	cmpl 8(%edi), %eax\n"
"	jbe 1f\n"
"	movl %eax, 8(%edi)\n"
"1:	popl %eax\n"
"	xchgl %eax, %ecx\n"		/* ecx: expected before, eax: after */
"	decl %eax\n"
"	cmpl %ecx, %eax\n"
"	je 2f\n"
"	incl 4(%edi)\n"
"2:	addl $0x1000, %esi\n"
"	cmpl %ebp, %esi\n"
"	jb page\n"
"	incl %ecx\n"
"	incl (%edi)\n"
"	cmpl $0, 12(%edi)\n"
"	je pass\n"
"	hlt\n"
"scratch: .long 0\n"
"guest_code_end:\n"
"	.code64\n"
"	.popsection\n");

struct guest {
	int vm, vcpu;
	struct kvm_run *run;
	struct area area;		/* its pages */
	volatile struct results *results;
	bool failed;
};

static void add_memory(struct guest *guest, unsigned int slot, uint64_t gpa,
		       void *mem, size_t pages, int fd)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = pages * PAGE_SIZE,
		.userspace_addr = (uintptr_t)mem,
	};

	if (fd >= 0) {
		region.flags = KVM_MEM_GUEST_MEMFD;
		region.guest_memfd = fd;
	}
	if (ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION2, &region))
		die(EXIT_ENVIRONMENT, "memory slot %u", slot);
}

static void set_registers(struct guest *guest)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
		.db = 1, .s = 1, .g = 1,
	};
	struct kvm_regs regs = {
		.rip = CODE, .rflags = 2, .rsp = RESULTS + 2 * PAGE_SIZE,
		.rbx = PAGES, .rbp = PAGES + guest->area.pages * PAGE_SIZE,
		.rdi = RESULTS,
	};
	struct kvm_sregs sregs;

	if (ioctl(guest->vcpu, KVM_GET_SREGS, &sregs))
		die(EXIT_ENVIRONMENT, "registers");
	sregs.cr0 |= 1;
	sregs.cs = flat;
	flat.type = 3;
	flat.selector = 16;
	sregs.ds = flat;
	sregs.es = flat;
	sregs.ss = flat;
	sregs.fs = flat;
	sregs.gs = flat;
	if (ioctl(guest->vcpu, KVM_SET_SREGS, &sregs) ||
	    ioctl(guest->vcpu, KVM_SET_REGS, &regs))
		die(EXIT_ENVIRONMENT, "registers");
}

static void guest_create(struct guest *guest, const struct options *opts)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char *low;
	int size;

	area_open(&guest->area, opts->kind, opts->pages);
	guest->vm = guest->area.vm;
	low = mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (low == MAP_FAILED || size < 0)
		die(EXIT_ENVIRONMENT, "no guest");
	memcpy(low, guest_code, guest_code_end - guest_code);
	guest->results = (void *)(low + RESULTS - CODE);

	add_memory(guest, 0, CODE, low, 4, -1);
	add_memory(guest, 1, PAGES, guest->area.mem, opts->pages,
		   guest->area.fd);
	guest->vcpu = ioctl(guest->vm, KVM_CREATE_VCPU, 0);
	if (guest->vcpu < 0)
		die(EXIT_ENVIRONMENT, "no vCPU");
	guest->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  guest->vcpu, 0);
	if (guest->run == MAP_FAILED)
		die(EXIT_ENVIRONMENT, "no vCPU");
	set_registers(guest);
	close(kvm);
}

static void *run(void *data)
{
	struct guest *guest = data;

	for (;;) {
		if (ioctl(guest->vcpu, KVM_RUN, 0)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			break;
		}
		if (guest->run->exit_reason == KVM_EXIT_HLT)
			return NULL;
		break;
	}
	fprintf(stderr, "vCPU: exit %u: %m\n", guest->run->exit_reason);
	guest->failed = true;
	return NULL;
}

static void wait_for_passes(struct guest *guest, uint32_t passes)
{
	uint32_t end = guest->results->passes + passes;

	while ((int32_t)(guest->results->passes - end) < 0 && !guest->failed)
		sched_yield();
}

int main(int argc, char **argv)
{
	struct options opts = {
		.kind = KIND_GMEM_HIDDEN, .pages = 1024, .node = 0, .to = 1,
		.rounds = 1,
	};
	size_t page, round, step, moved = 0;
	struct guest guest = { };
	struct vmstat before;
	uint32_t quiet, passes;
	pthread_t thread;
	void **pages;
	int *status;
	uint64_t ns;

	parse_options(argc, argv, &opts);
	if (!opts.batch || opts.batch > opts.pages)
		opts.batch = opts.pages;
	pages = calloc(opts.pages, sizeof(*pages));
	status = calloc(opts.pages, sizeof(*status));
	if (!pages || !status)
		die(EXIT_ENVIRONMENT, "no memory");

	bind_to_node(opts.node);
	guest_create(&guest, &opts);
	/* move_pages(2) moves what is mapped here; the guest starts with 0. */
	for (page = 0; page < opts.pages; page++) {
		pages[page] = page_of(&guest.area, page);
		*(volatile uint64_t *)pages[page] = 0;
	}
	if (pthread_create(&thread, NULL, run, &guest))
		die(EXIT_ENVIRONMENT, "no thread");

	wait_for_passes(&guest, 2);
	guest.results->longest = 0;
	wait_for_passes(&guest, 4);
	quiet = guest.results->longest;
	guest.results->longest = 0;
	vmstat_read(&before);
	passes = guest.results->passes;

	ns = now_ns();
	for (round = 0; round < opts.rounds && !guest.failed; round++) {
		int node = round % 2 ? opts.node : opts.to;

		for (page = 0; page < opts.pages; page += step) {
			step = opts.pages - page;
			if (step > opts.batch)
				step = opts.batch;
			move_to_node(pages + page, step, node, status + page);
		}
		moved += area_on_node(&guest.area, node);
		/* It must have found every page again. */
		wait_for_passes(&guest, 2);
	}
	ns = now_ns() - ns;

	printf("kind=%s\n", kind_name(opts.kind));
	print_value("pages", opts.pages * opts.rounds);
	print_value("moved", moved);
	print_value("passes", guest.results->passes - passes);
	print_value("quiet_longest_tsc", quiet);
	print_value("longest_tsc", guest.results->longest);
	print_value("ns", ns);
	vmstat_print_since(&before, "");
	guest.results->stop = 1;
	pthread_join(thread, NULL);
	print_value("wrong", guest.results->wrong + guest.failed);
	return 0;
}
