/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VMM as small as can be, with one VM in guest_memfd's memory: the kernel's
 * 64-bit boot protocol, KVM's interrupt controllers and PIT, a serial port,
 * and the ports of guest_memfd_boot_guest.h. No ACPI, no PCI.
 *
 * Memory without a direct map is loaded by write(2), other memory through its
 * mapping.
 */
#ifndef SELFTEST_KVM_GUEST_MEMFD_BOOT_VMM_H
#define SELFTEST_KVM_GUEST_MEMFD_BOOT_VMM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../mm/guest_memfd_uapi.h"
#include "guest_memfd_boot_guest.h"

struct uart {
	uint8_t ier, lcr, mcr, fcr, scratch, dll, dlm;
	bool empty;		/* an interrupt says so, until it is seen */
	bool line;
};

struct vm {
	/* Options */
	const char *kernel;
	const char *initrd;
	const char *append;
	uint64_t flags;
	size_t size;
	unsigned int seconds;

	int fd, vcpu, memfd;
	struct kvm_run *run;
	char *mem;
	size_t pages;
	struct uart uart;

	/* Written by the vCPU's thread. */
	char line[512];
	size_t line_length;
	unsigned int splats;
	bool hello;
	bool reached_end;
	uint32_t report[NR_REPORT];
	atomic_uint reported;
	double ready_at, end_at;
	atomic_bool stopped;

	/* Written by the test: what the guest is to go on for is over. */
	atomic_bool over;
};

extern struct vm vm;

double now(void);

uint64_t parse_flags(char *list);
int open_kvm(void);
void make_machine(int kvm);
void *run_vcpu(void *arg);
void stop_vcpu(pthread_t thread);

#endif /* SELFTEST_KVM_GUEST_MEMFD_BOOT_VMM_H */
