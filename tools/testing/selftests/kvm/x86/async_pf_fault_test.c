// SPDX-License-Identifier: GPL-2.0
/*
 * Guest accesses to host addresses that always fault: KVM_RUN has to fail with
 * EFAULT, and must not wait for memory that never comes.  Host addresses that
 * only need time still have to become async page faults.
 *
 * Each with and without async page faults enabled by the guest: KVM waits for
 * the memory in both cases, as interrupts are on and the local APIC is in the
 * kernel.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include <linux/userfaultfd.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "apic.h"
#include "ucall_common.h"
#include "kselftest.h"

#define MEM_GPA		(4ULL << 30)
#define MEM_SLOT	10
#define MEM_SIZE	4096ULL
#define MEM_VALUE	0x1122334455667788ULL
#define APF_VECTOR	0xec
#define TIMEOUT_S	10

/* Shared by KVM and the guest. */
static struct kvm_vcpu_pv_apf_data apf __aligned(64);
static u64 nr_not_present, nr_ready;
static u32 ready_token;

static void guest_pf_handler(struct ex_regs *regs)
{
	u32 token = get_cr2();

	__GUEST_ASSERT(READ_ONCE(apf.flags) == KVM_PV_REASON_PAGE_NOT_PRESENT,
		       "#PF at 0x%x, flags %u", token, apf.flags);
	WRITE_ONCE(apf.flags, 0);
	nr_not_present++;
	while (READ_ONCE(ready_token) != token)
		asm volatile("sti; hlt; cli" ::: "memory");
}

static void guest_apf_handler(struct ex_regs *regs)
{
	u32 token = READ_ONCE(apf.token);

	/* All tokens, as when async #PF is enabled, is none of a page. */
	if (token != ~0u)
		nr_ready++;
	WRITE_ONCE(ready_token, token);
	WRITE_ONCE(apf.token, 0);
	x2apic_write_reg(APIC_EOI, 0);
	wrmsr(MSR_KVM_ASYNC_PF_ACK, 1);
}

static void guest_code(u64 apf_gpa, bool write)
{
	u64 *mem = (u64 *)MEM_GPA;

	if (apf_gpa) {
		x2apic_enable();
		wrmsr(MSR_KVM_ASYNC_PF_INT, APF_VECTOR);
		wrmsr(MSR_KVM_ASYNC_PF_EN, apf_gpa | KVM_ASYNC_PF_ENABLED |
		      KVM_ASYNC_PF_SEND_ALWAYS | KVM_ASYNC_PF_DELIVERY_AS_INT);
	}
	sti();
	if (write)
		WRITE_ONCE(*mem, MEM_VALUE);
	else
		GUEST_ASSERT_EQ(READ_ONCE(*mem), MEM_VALUE);
	GUEST_DONE();
}

/* ------------------------------------------------------ what always faults */

static int fd = -1;

/* A file that was truncated under its mapping, and grows again. */
static void *truncated_map(void)
{
	fd = kvm_memfd_alloc(MEM_SIZE, false);
	return mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static void truncated_break(void *mem)
{
	TEST_ASSERT(!ftruncate(fd, 0), __KVM_SYSCALL_ERROR("ftruncate", -1));
}

static void truncated_repair(void *mem)
{
	TEST_ASSERT(!ftruncate(fd, MEM_SIZE),
		    __KVM_SYSCALL_ERROR("ftruncate", -1));
	*(u64 *)mem = MEM_VALUE;
}

static void *anon_map(void)
{
	return mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void uffd_open(void *mem, u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = {
		.range = { (unsigned long)mem, MEM_SIZE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	fd = syscall(__NR_userfaultfd, O_CLOEXEC);
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("userfaultfd", fd));
	TEST_ASSERT(!ioctl(fd, UFFDIO_API, &api),
		    __KVM_SYSCALL_ERROR("UFFDIO_API", -1));
	TEST_ASSERT(!ioctl(fd, UFFDIO_REGISTER, &reg),
		    __KVM_SYSCALL_ERROR("UFFDIO_REGISTER", -1));
}

static void uffd_copy(void *mem)
{
	static u64 page[MEM_SIZE / sizeof(u64)] = { MEM_VALUE };
	struct uffdio_copy copy = {
		.dst = (unsigned long)mem,
		.src = (unsigned long)page,
		.len = MEM_SIZE,
	};

	TEST_ASSERT(!ioctl(fd, UFFDIO_COPY, &copy),
		    __KVM_SYSCALL_ERROR("UFFDIO_COPY", -1));
}

/* What is missing is a SIGBUS, until it is provided. */
static void uffd_break(void *mem)
{
	TEST_ASSERT(!madvise(mem, MEM_SIZE, MADV_DONTNEED),
		    __KVM_SYSCALL_ERROR("madvise", -1));
	uffd_open(mem, UFFD_FEATURE_SIGBUS);
}

/* GUP never takes secret memory, present or not. */
static void *secret_map(void)
{
	fd = syscall(__NR_memfd_secret, 0);
	if (fd < 0)
		return NULL;
	TEST_ASSERT(!ftruncate(fd, MEM_SIZE),
		    __KVM_SYSCALL_ERROR("ftruncate", -1));
	return mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static void protected_break(void *mem)
{
	mprotect(mem, MEM_SIZE, PROT_NONE);
}

static void protected_repair(void *mem)
{
	mprotect(mem, MEM_SIZE, PROT_READ | PROT_WRITE);
}

static const struct cause {
	const char *name;
	void *(*map)(void);
	void (*break_it)(void *mem);
	void (*repair)(void *mem);	/* if it can be repaired */
} causes[] = {
	{ "a truncated file", truncated_map, truncated_break,
	  truncated_repair },
	{ "userfaultfd's SIGBUS", anon_map, uffd_break, uffd_copy },
	{ "secret memory", secret_map, NULL, NULL },
	{ "a mapping without access", anon_map, protected_break,
	  protected_repair },
};

/* ------------------------------------------------------------------ the VM */

static struct kvm_vcpu *apf_vm_create(struct kvm_vm **vm, void *mem, bool pv,
				      bool write)
{
	struct kvm_vcpu *vcpu;

	*vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	vm_install_exception_handler(*vm, PF_VECTOR, guest_pf_handler);
	vm_install_exception_handler(*vm, APF_VECTOR, guest_apf_handler);
	vm_set_user_memory_region(*vm, MEM_SLOT, 0, MEM_GPA, MEM_SIZE, mem);
	virt_map(*vm, MEM_GPA, MEM_GPA, 1);
	vcpu_args_set(vcpu, 2, pv ? addr_gva2gpa(*vm, (gva_t)&apf) : 0, write);
	return vcpu;
}

static void on_alarm(int sig)
{
}

/* KVM_RUN's errno, or 0; EINTR if it does not return by itself. */
static int run(struct kvm_vcpu *vcpu)
{
	int err;

	alarm(TIMEOUT_S);
	err = __vcpu_run(vcpu) ? errno : 0;
	alarm(0);
	return err;
}

static bool guest_is_done(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		return true;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		return false;
	}
}

static void test_cause(const struct cause *c, bool pv, bool write)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	bool ok;
	void *mem;
	int err;

#define NAME "EFAULT from %s, %s, async PF %s in the guest\n", c->name, \
	     write ? "written" : "read", pv ? "on" : "off"

	mem = c->map();
	if (!mem) {
		ksft_test_result_skip(NAME);
		return;
	}
	TEST_ASSERT(mem != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap", -1));
	*(u64 *)mem = MEM_VALUE;
	vcpu = apf_vm_create(&vm, mem, pv, write);
	if (c->break_it)
		c->break_it(mem);

	err = run(vcpu);
	ok = err == EFAULT;
	if (!ok)
		ksft_print_msg("KVM_RUN: %s\n", err == EINTR ?
			       "still waiting after 10 s" : strerror(err));

	/* That it failed leaves nothing behind. */
	if (ok && c->repair) {
		c->repair(mem);
		err = run(vcpu);
		if (err || !guest_is_done(vcpu)) {
			ksft_print_msg("repaired, KVM_RUN: %s\n",
				       strerror(err));
			ok = false;
		}
	}
	ksft_test_result(ok, NAME);
#undef NAME
	kvm_vm_free(vm);
	munmap(mem, MEM_SIZE);
	if (fd >= 0)
		close(fd);
	fd = -1;
}

/* -------------------------------------------------- what only needs time */

/* Provide the page 100 ms after it is missed. */
static void *uffd_serve(void *mem)
{
	struct uffd_msg msg;

	TEST_ASSERT(read(fd, &msg, sizeof(msg)) == sizeof(msg),
		    __KVM_SYSCALL_ERROR("read", -1));
	usleep(100000);
	uffd_copy(mem);
	return NULL;
}

static void test_wait(bool pv, bool write)
{
	u64 *not_present, *ready;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	pthread_t thread;
	bool ok;
	void *mem;
	int err;

	mem = anon_map();
	TEST_ASSERT(mem != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap", -1));
	vcpu = apf_vm_create(&vm, mem, pv, write);
	uffd_open(mem, 0);
	pthread_create(&thread, NULL, uffd_serve, mem);
	err = run(vcpu);
	ok = !err && guest_is_done(vcpu);
	if (!ok)
		ksft_print_msg("KVM_RUN: %s\n", strerror(err));
	not_present = addr_gva2hva(vm, (gva_t)&nr_not_present);
	ready = addr_gva2hva(vm, (gva_t)&nr_ready);
	ksft_print_msg("the guest was told of %lu, %lu ready\n",
		       (unsigned long)*not_present, (unsigned long)*ready);
	if (!!*not_present != pv || *not_present != *ready)
		ok = false;
	ksft_test_result(ok, "waits for missing memory, %s, async PF %s in the guest\n",
			 write ? "written" : "read", pv ? "on" : "off");
	if (err)
		pthread_cancel(thread);
	pthread_join(thread, NULL);
	kvm_vm_free(vm);
	munmap(mem, MEM_SIZE);
	close(fd);
	fd = -1;
}

/* Interrupt the vCPU 100 ms after it has missed the page. */
static void *uffd_interrupt(void *vcpu_thread)
{
	struct uffd_msg msg;

	TEST_ASSERT(read(fd, &msg, sizeof(msg)) == sizeof(msg),
		    __KVM_SYSCALL_ERROR("read", -1));
	usleep(100000);
	pthread_kill(*(pthread_t *)vcpu_thread, SIGALRM);
	return NULL;
}

/*
 * A vCPU is halted until memory is there, when the VMM takes away what would
 * wake it, as it does when it resets a machine.
 */
static void test_disable(void)
{
	pthread_t thread, self = pthread_self();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *mem;
	bool ok;
	int err;

	mem = anon_map();
	TEST_ASSERT(mem != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap", -1));
	vcpu = apf_vm_create(&vm, mem, false, true);
	uffd_open(mem, 0);
	pthread_create(&thread, NULL, uffd_interrupt, &self);
	err = run(vcpu);
	pthread_join(thread, NULL);
	TEST_ASSERT(err == EINTR, "KVM_RUN without the memory: %s",
		    strerror(err));
	uffd_copy(mem);
	vcpu_set_msr(vcpu, MSR_KVM_ASYNC_PF_EN, 0);
	err = run(vcpu);
	ok = !err && guest_is_done(vcpu);
	if (!ok)
		ksft_print_msg("KVM_RUN: %s\n", strerror(err));
	ksft_test_result(ok, "runs when async PF are disabled that it waits for\n");
	kvm_vm_free(vm);
	munmap(mem, MEM_SIZE);
	close(fd);
	fd = -1;
}

int main(void)
{
	struct sigaction alarmed = { .sa_handler = on_alarm };

	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_X2APIC));
	sigaction(SIGALRM, &alarmed, NULL);
	ksft_print_header();
	ksft_set_plan(4 * (ARRAY_SIZE(causes) + 1) + 1);
	for (int i = 0; i < 4; i++) {
		for (size_t k = 0; k < ARRAY_SIZE(causes); k++)
			test_cause(&causes[k], i & 1, i & 2);
		test_wait(i & 1, i & 2);
	}
	test_disable();
	ksft_finished();
}
