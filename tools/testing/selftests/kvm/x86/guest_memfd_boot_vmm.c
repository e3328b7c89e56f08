// SPDX-License-Identifier: GPL-2.0
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <asm/bootparam.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kselftest.h"
#include "guest_memfd_boot_vmm.h"

struct vm vm = {
	.kernel	= "/files/bzImage",
	.append	= "",
	.flags	= GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |
		  GUEST_MEMFD_FLAG_NO_DIRECT_MAP | GUEST_MEMFD_FLAG_MOVABLE |
		  GUEST_MEMFD_FLAG_RDWR,
	.size	= 32 * MB,
	.seconds = 300,
};

static const struct {
	const char *name;
	uint64_t flag;
} flag_names[] = {
	{ "mmap",		GUEST_MEMFD_FLAG_MMAP },
	{ "init_shared",	GUEST_MEMFD_FLAG_INIT_SHARED },
	{ "no_direct_map",	GUEST_MEMFD_FLAG_NO_DIRECT_MAP },
	{ "movable",		GUEST_MEMFD_FLAG_MOVABLE },
	{ "rdwr",		GUEST_MEMFD_FLAG_RDWR },
};

uint64_t parse_flags(char *list)
{
	uint64_t flags = 0;
	char *name;
	size_t i;

	while ((name = strsep(&list, ","))) {
		for (i = 0; i < ARRAY_SIZE(flag_names); i++)
			if (!strcmp(name, flag_names[i].name))
				break;
		if (i == ARRAY_SIZE(flag_names)) {
			fprintf(stderr, "unknown flag: %s\n", name);
			exit(2);
		}
		flags |= flag_names[i].flag;
	}
	return flags;
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int vm_ioctl(int fd, unsigned long request, const char *name, void *arg)
{
	int r = ioctl(fd, request, arg);

	if (r < 0)
		ksft_exit_fail_msg("%s: %s\n", name, strerror(errno));
	return r;
}

#define vm_do(fd, request, arg)	vm_ioctl(fd, request, #request, arg)

/* ------------------------------------------------------------ guest memory */

/* By write(2), which takes RDWR; else by the mapping. */
static void load(uint64_t where, const void *data, size_t size)
{
	size_t done = 0;
	ssize_t r;

	if (where > vm.size || size > vm.size - where)
		ksft_exit_fail_msg("%zu bytes at %lx: --mem is too small\n",
				   size, where);
	if (!(vm.flags & GUEST_MEMFD_FLAG_RDWR)) {
		memcpy(vm.mem + where, data, size);
		return;
	}
	while (done < size) {
		r = pwrite(vm.memfd, data + done, size - done, where + done);
		if (r <= 0)
			ksft_exit_fail_msg("write of %zu bytes at %lx: %s\n",
					   size - done, where + done,
					   r ? strerror(errno) : "nothing");
		done += r;
	}
}

/* Every page exists, and the VMM's page tables map it: others can't be moved. */
static void make_memory(void)
{
	struct kvm_create_guest_memfd gmem = {
		.size = vm.size,
		.flags = vm.flags,
	};
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.memory_size = vm.size,
	};
	double start = now();

	vm.memfd = vm_do(vm.fd, KVM_CREATE_GUEST_MEMFD, &gmem);
	if (fallocate(vm.memfd, FALLOC_FL_KEEP_SIZE, 0, vm.size))
		ksft_exit_fail_perror("fallocate");
	vm.mem = mmap(NULL, vm.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      vm.memfd, 0);
	if (vm.mem == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	for (size_t i = 0; i < vm.pages; i++)
		(void)*(volatile char *)(vm.mem + i * GUEST_PAGE);
	ksft_print_msg("%zu pages allocated and mapped in %.2f s\n", vm.pages,
		       now() - start);

	region.userspace_addr = (uintptr_t)vm.mem;
	region.guest_memfd = vm.memfd;
	vm_do(vm.fd, KVM_SET_USER_MEMORY_REGION2, &region);
}

/* ------------------------------------------------------------- how to boot */

/* Below the first megabyte, clear of what a PC's firmware has there. */
#define AT_GDT		0x6000UL
#define AT_PARAMS	0x7000UL
#define AT_TABLES	0x8000UL	/* a PML4, a PDPT, four PDs */
#define AT_CMDLINE	0x20000UL
#define LOW_END		0x9f000UL
#define HIGH_START	0x100000UL

#define BOOT_CS		0x10
#define BOOT_DS		0x18

static char *read_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	char *data;

	if (fd < 0 || fstat(fd, &st))
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	data = malloc(st.st_size);
	for (*size = 0; *size < (size_t)st.st_size;) {
		ssize_t r = read(fd, data + *size, st.st_size - *size);

		if (r <= 0)
			ksft_exit_fail_msg("read of %s\n", path);
		*size += r;
	}
	close(fd);
	return data;
}

/* A member of a cpio archive in the "newc" format. */
static size_t cpio_add(char *at, const char *name, const char *data,
		       size_t size)
{
	size_t header = 110 + strlen(name) + 1;
	int mode = data ? S_IFREG | 0755 : 0;

	sprintf(at, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s",
		0, mode, 0, 0, 1, 0, (int)size, 0, 0, 0, 0,
		(int)strlen(name) + 1, 0, name);
	header = (header + 3) & -4UL;
	if (data)
		memcpy(at + header, data, size);
	return header + ((size + 3) & -4UL);
}

/* This program as /init, unless there is an archive. */
static char *make_initrd(size_t *size)
{
	size_t program_size;
	char *program, *archive;

	if (vm.initrd)
		return read_file(vm.initrd, size);
	program = read_file("/proc/self/exe", &program_size);
	archive = calloc(1, program_size + 1024);
	*size = cpio_add(archive, "init", program, program_size);
	*size += cpio_add(archive + *size, "TRAILER!!!", NULL, 0);
	free(program);
	return archive;
}

/* What is virtual is physical, in the first 4 GB. */
static void load_tables(void)
{
	const uint64_t present = 3, large = 0x80;
	uint64_t tables[6][512] = { };

	tables[0][0] = (AT_TABLES + GUEST_PAGE) | present;
	for (uint64_t gb = 0; gb < 4; gb++) {
		tables[1][gb] = (AT_TABLES + (2 + gb) * GUEST_PAGE) | present;
		for (uint64_t i = 0; i < 512; i++)
			tables[2 + gb][i] = (gb << 30) | (i << 21) | large |
					    present;
	}
	load(AT_TABLES, tables, sizeof(tables));
}

static void load_gdt(void)
{
	const uint64_t gdt[] = {
		[BOOT_CS / 8] = 0x00af9b000000ffffULL,
		[BOOT_DS / 8] = 0x00cf93000000ffffULL,
	};

	load(AT_GDT, gdt, sizeof(gdt));
}

static void load_initrd(struct boot_params *params)
{
	size_t size;
	char *initrd = make_initrd(&size);
	uint64_t at = (vm.size - size) & -GUEST_PAGE;

	if (at < params->hdr.pref_address + params->hdr.init_size)
		ksft_exit_fail_msg("the kernel and %zu kB of initrd need %llu MB\n",
				   size >> 10,
				   (params->hdr.pref_address +
				    params->hdr.init_size + size) / MB + 1);
	load(at, initrd, size);
	params->hdr.ramdisk_image = at;
	params->hdr.ramdisk_size = size;
	free(initrd);
}

static void load_cmdline(struct boot_params *params)
{
	char line[1024];

	/*
	 * A PIC, no ACPI. Warnings end the machine; what is less than that is
	 * not printed, as each character is an exit.
	 */
	snprintf(line, sizeof(line), "%s %s %s",
		 "console=ttyS0 panic=-1 panic_on_warn=1 reboot=t loglevel=5",
		 "clocksource=kvm-clock no5lvl noxsave", vm.append);
	load(AT_CMDLINE, line, strlen(line) + 1);
	params->hdr.cmd_line_ptr = AT_CMDLINE;
}

/* Returns the address of the kernel's 64-bit entry. */
static uint64_t load_kernel(void)
{
	struct boot_params params = { };
	struct setup_header *hdr = &params.hdr;
	size_t size, setup;
	char *image = read_file(vm.kernel, &size);

	memcpy(hdr, image + offsetof(struct boot_params, hdr), sizeof(*hdr));
	if (hdr->header != 0x53726448 || hdr->version < 0x20c ||
	    !(hdr->xloadflags & XLF_KERNEL_64))
		ksft_exit_fail_msg("%s: no 64-bit bzImage\n", vm.kernel);
	setup = ((hdr->setup_sects ?: 4) + 1) * 512;
	load(hdr->pref_address, image + setup, size - setup);
	free(image);

	hdr->type_of_loader = 0xff;
	params.e820_entries = 2;
	params.e820_table[0] = (struct boot_e820_entry){ 0, LOW_END, 1 };
	params.e820_table[1] = (struct boot_e820_entry){
		HIGH_START, vm.size - HIGH_START, 1
	};
	load_initrd(&params);
	load_cmdline(&params);
	load(AT_PARAMS, &params, sizeof(params));
	load_tables();
	load_gdt();
	return hdr->pref_address + 0x200;
}

/* ----------------------------------------------------------------- the vCPU */

static void set_cpuid(int kvm)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid = { .head.nent = 256 };

	vm_do(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
	for (unsigned int i = 0; i < cpuid.head.nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid.entries[i];

		/* These have the number of the CPU that we run on. */
		if (entry->function == 1)
			entry->ebx &= 0x00ffffff;
		if (entry->function == 0xb || entry->function == 0x1f)
			entry->edx = 0;
	}
	vm_do(vm.vcpu, KVM_SET_CPUID2, &cpuid);
}

static void set_registers(uint64_t entry)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = BOOT_CS, .type = 0xb,
		.present = 1, .s = 1, .l = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = BOOT_DS, .type = 0x3,
		.present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_regs regs = {
		.rip = entry, .rsi = AT_PARAMS, .rflags = 2,
	};
	struct kvm_sregs sregs;

	vm_do(vm.vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.gdt.base = AT_GDT;
	sregs.gdt.limit = BOOT_DS + 7;
	sregs.cr0 |= 0x80000001;	/* PG, PE */
	sregs.cr3 = AT_TABLES;
	sregs.cr4 |= 0x20;		/* PAE */
	sregs.efer |= 0x500;		/* LMA, LME */
	vm_do(vm.vcpu, KVM_SET_SREGS, &sregs);
	vm_do(vm.vcpu, KVM_SET_REGS, &regs);
}

/* ------------------------------------------------------------- the serial port */

/* How a kernel starts a message about its own mistakes. */
static bool is_splat(const char *line)
{
	static const char *const marks[] = {
		"BUG: ", "WARNING: ", "Oops", "Kernel panic", "kernel BUG at",
		"general protection fault", "Unable to handle", "cut here ]",
		"INFO: task", "INFO: rcu", "PANIC: ", "segfault at",
	};

	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (strstr(line, marks[i]))
			return true;
	return false;
}

static void console_line(void)
{
	vm.line[vm.line_length] = 0;
	vm.line_length = 0;
	ksft_print_msg("| %s\n", vm.line);
	vm.splats += is_splat(vm.line);
	vm.hello |= !strcmp(vm.line, HELLO);
}

static void console_put(char c)
{
	if (c == '\n' || vm.line_length == sizeof(vm.line) - 1)
		console_line();
	else if (c != '\r')
		vm.line[vm.line_length++] = c;
}

static void uart_update(struct uart *u)
{
	struct kvm_irq_level irq = {
		.irq = 4,
		.level = u->empty && (u->ier & 2),
	};

	if (irq.level == u->line)
		return;
	u->line = irq.level;
	vm_do(vm.fd, KVM_IRQ_LINE, &irq);
}

static void uart_write(struct uart *u, unsigned int reg, uint8_t val)
{
	bool dlab = u->lcr & 0x80;

	switch (reg) {
	case 0:
		if (dlab) {
			u->dll = val;
		} else if (!(u->mcr & 0x10)) {
			console_put(val);
			u->empty = true;
		}
		break;
	case 1:
		if (dlab) {
			u->dlm = val;
		} else {
			u->empty |= val & ~u->ier & 2;
			u->ier = val & 0xf;
		}
		break;
	case 2:
		u->fcr = val;
		break;
	case 3:
		u->lcr = val;
		break;
	case 4:
		u->mcr = val;
		break;
	case 7:
		u->scratch = val;
		break;
	}
	uart_update(u);
}

static uint8_t uart_read_iir(struct uart *u)
{
	uint8_t fifo = u->fcr & 1 ? 0xc0 : 0;

	if (!u->empty || !(u->ier & 2))
		return fifo | 1;
	u->empty = false;
	uart_update(u);
	return fifo | 2;
}

/* The modem is ready, or what the port itself says to it in loopback mode. */
static uint8_t uart_read_msr(struct uart *u)
{
	if (!(u->mcr & 0x10))
		return 0xb0;
	return (u->mcr & 1) << 5 | (u->mcr & 2) << 3 | (u->mcr & 0xc) << 4;
}

static uint8_t uart_read(struct uart *u, unsigned int reg)
{
	bool dlab = u->lcr & 0x80;

	switch (reg) {
	case 0:
		return dlab ? u->dll : 0;
	case 1:
		return dlab ? u->dlm : u->ier;
	case 2:
		return uart_read_iir(u);
	case 3:
		return u->lcr;
	case 4:
		return u->mcr;
	case 5:
		return 0x60;		/* room for more */
	case 6:
		return uart_read_msr(u);
	default:
		return u->scratch;
	}
}

/* -------------------------------------------------------------------- ports */

#define COM1	0x3f8

static void take_report(uint32_t val)
{
	unsigned int field = vm.reported;

	if (field >= NR_REPORT)
		return;
	vm.report[field] = val;
	if (field == REPORT_START_MS)
		vm.ready_at = now();
	if (field == REPORT_END_MS)
		vm.end_at = now();
	vm.reported = field + 1;
}

static uint32_t port_read(uint16_t port)
{
	switch (port) {
	case COM1 ... COM1 + 7:
		return uart_read(&vm.uart, port - COM1);
	case PORT_GO_ON:
		return !vm.over;
	case 0x71:			/* the RTC is not being updated */
		return 0;
	default:
		return ~0u;
	}
}

/* True: the machine stops. */
static bool port_write(uint16_t port, uint32_t val)
{
	switch (port) {
	case COM1 ... COM1 + 7:
		uart_write(&vm.uart, port - COM1, val);
		return false;
	case PORT_REPORT:
		take_report(val);
		return false;
	case PORT_END:
		vm.reached_end = val == 1;
		return true;
	case 0x64:			/* the keyboard controller's reset */
		return val == 0xfe;
	default:
		return false;
	}
}

static bool exit_io(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (unsigned int i = 0; i < run->io.count; i++) {
		uint32_t val = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&val, data, run->io.size);
			if (port_write(run->io.port, val))
				return true;
		} else {
			val = port_read(run->io.port);
			memcpy(data, &val, run->io.size);
		}
		data += run->io.size;
	}
	return false;
}

/* ------------------------------------------------------------- the machine */

/* Returns /dev/kvm; a VM on it is made as well. */
int open_kvm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), have;

	if (kvm < 0)
		ksft_exit_skip("/dev/kvm: %s\n", strerror(errno));
	vm.fd = vm_do(kvm, KVM_CREATE_VM, NULL);
	have = ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++)
		if (vm.flags & ~(uint64_t)(have < 0 ? 0 : have) &
		    flag_names[i].flag)
			ksft_exit_skip("no guest_memfd with the flag %s\n",
				       flag_names[i].name);
	return kvm;
}

void make_machine(int kvm)
{
	struct kvm_pit_config pit = { };
	uint64_t identity_map = 0xfffbc000;
	int size;

	ioctl(vm.fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	ioctl(vm.fd, KVM_SET_TSS_ADDR, 0xfffbd000UL);
	vm_do(vm.fd, KVM_CREATE_IRQCHIP, NULL);
	vm_do(vm.fd, KVM_CREATE_PIT2, &pit);
	make_memory();
	vm.vcpu = vm_do(vm.fd, KVM_CREATE_VCPU, NULL);
	size = vm_do(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	vm.run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm.vcpu,
		      0);
	if (vm.run == MAP_FAILED)
		ksft_exit_fail_perror("mmap of the vCPU");
	set_cpuid(kvm);
	set_registers(load_kernel());
}

/* ------------------------------------------------------------------ run it */

static void say_where(const char *why)
{
	struct kvm_regs regs = { };

	ioctl(vm.vcpu, KVM_GET_REGS, &regs);
	ksft_print_msg("%s: exit reason %u, rip %llx, rsp %llx\n", why,
		       vm.run->exit_reason, regs.rip, regs.rsp);
	if (vm.run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		ksft_print_msg("internal error %u\n", vm.run->internal.suberror);
}

/* True: the machine stops. */
static bool handle_exit(struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return exit_io(run);
	case KVM_EXIT_MMIO:
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return false;
	case KVM_EXIT_SHUTDOWN:
		say_where("the guest had a triple fault, or its kernel panicked");
		return true;
	default:
		say_where("unexpected exit");
		return true;
	}
}

void *run_vcpu(void *arg)
{
	bool stop = false;

	while (!stop && !vm.run->immediate_exit) {
		if (!ioctl(vm.vcpu, KVM_RUN, NULL)) {
			stop = handle_exit(vm.run);
		} else if (errno != EINTR && errno != EAGAIN) {
			ksft_print_msg("KVM_RUN: %s\n", strerror(errno));
			say_where("stopped");
			stop = true;
		}
	}
	if (vm.line_length)
		console_line();
	vm.stopped = true;
	return arg;
}

/* The time is up: have the vCPU leave the guest. */
void stop_vcpu(pthread_t thread)
{
	vm.run->immediate_exit = 1;
	while (!vm.stopped) {
		pthread_kill(thread, SIGUSR1);
		usleep(10000);
	}
	say_where("the time is up");
}
