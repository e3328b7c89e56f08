// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite of what guest_memfd has to do, and no system call shows: on real
 * VMs, made by /dev/kvm's ioctls. The numbers M1 to M20 and G1 to G18 are those
 * of the conditions in Documentation/mm/no_direct_map.rst.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/ephmap.h>
#include <linux/falloc.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/kthread.h>
#include <linux/kvm_host.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/resource.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "guest_memfd.h"

#define GMEM_GPA	0x100000000ULL
#define GMEM_NDM	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED | \
			 GUEST_MEMFD_FLAG_NO_DIRECT_MAP)

/* === Helpers ============================================================== */

static void fput_wrapper(void *file)
{
	__fput_sync(file);
}

/* The file of a new descriptor, which is closed: it goes away with the test. */
static struct file *test_file(struct kunit *test, int fd)
{
	struct file *file;

	KUNIT_ASSERT_GE(test, fd, 0);
	file = fget(fd);
	close_fd(fd);
	KUNIT_ASSERT_NOT_NULL(test, file);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fput_wrapper, file));
	return file;
}

static struct file *test_vm(struct kunit *test)
{
	struct file *dev;
	int fd;

	scoped_with_init_fs()
		dev = filp_open("/dev/kvm", O_RDWR, 0);
	if (IS_ERR(dev))
		kunit_skip(test, "no /dev/kvm: %ld", PTR_ERR(dev));

	/* A VM belongs to an mm. */
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	fd = dev->f_op->unlocked_ioctl(dev, KVM_CREATE_VM, 0);
	__fput_sync(dev);
	return test_file(test, fd);
}

static struct kvm_vcpu *test_vcpu(struct kunit *test, struct file *vm)
{
	int fd = vm->f_op->unlocked_ioctl(vm, KVM_CREATE_VCPU, 0);

	return test_file(test, fd)->private_data;
}

/* A memslot of one page without a direct map, at GMEM_GPA; returns its file. */
static struct file *test_slot(struct kunit *test, struct file *vm)
{
	struct kvm_create_guest_memfd args = {
		.size = PAGE_SIZE,
		.flags = GMEM_NDM,
	};
	struct kvm_userspace_memory_region2 region = {
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = GMEM_GPA,
		.memory_size = PAGE_SIZE,
	};
	unsigned long addr;
	int fd;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_NE(test, 0UL, addr);

	fd = kvm_gmem_create(vm->private_data, &args);
	KUNIT_ASSERT_GE(test, fd, 0);
	region.userspace_addr = addr;
	region.guest_memfd = fd;
	KUNIT_ASSERT_EQ(test, 0UL, copy_to_user((void __user *)addr, &region,
						sizeof(region)));
	KUNIT_ASSERT_EQ(test, 0L,
			vm->f_op->unlocked_ioctl(vm,
						 KVM_SET_USER_MEMORY_REGION2,
						 addr));
	return test_file(test, fd);
}

/*
 * The vCPU of a VM that has one page, without a direct map, at GMEM_GPA. Its
 * file goes to @gmem, if that is not NULL.
 */
static struct kvm_vcpu *test_guest(struct kunit *test, struct file **gmem)
{
	struct kvm_vcpu *vcpu;
	struct file *vm, *file;

	if (!ephmap_available())
		kunit_skip(test, "ephmap=off: there is no such memory");

	vm = test_vm(test);
	vcpu = test_vcpu(test, vm);
	file = test_slot(test, vm);
	if (gmem)
		*gmem = file;
	return vcpu;
}

/* === Creation ============================================================= */

static void m1_creation_that_fails_bars_nothing(struct kunit *test)
{
	static const u64 flags[] = {
		GUEST_MEMFD_FLAG_MOVABLE, GUEST_MEMFD_FLAG_NO_DIRECT_MAP,
	};
	struct rlimit *limit = &current->signal->rlim[RLIMIT_NOFILE];
	unsigned long old = limit->rlim_cur;
	struct kvm *kvm;
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct kvm_create_guest_memfd args = {
			.size = PAGE_SIZE,
			.flags = flags[i],
		};

		if (flags[i] == GUEST_MEMFD_FLAG_NO_DIRECT_MAP &&
		    !ephmap_available())
			continue;

		kvm = test_vm(test)->private_data;
		WRITE_ONCE(limit->rlim_cur, 0);
		fd = kvm_gmem_create(kvm, &args);
		WRITE_ONCE(limit->rlim_cur, old);
		KUNIT_EXPECT_EQ(test, -EMFILE, fd);
		KUNIT_EXPECT_FALSE(test, kvm->gmem_host_copies);

		/* Of a file that is made it is remembered, also when closed. */
		test_file(test, kvm_gmem_create(kvm, &args));
		KUNIT_EXPECT_TRUE(test, kvm->gmem_host_copies);
	}
}

/* === kvm_vcpu_map() ======================================================= */

static bool can_write(void *addr)
{
	char byte = 1;

	return !copy_to_kernel_nofault(addr, &byte, 1);
}

static bool can_read(void *addr)
{
	char byte;

	return !copy_from_kernel_nofault(&byte, addr, 1);
}

static void m7_read_only_map_is_not_writable(struct kunit *test)
{
	struct kvm_host_map map = {};
	struct kvm_vcpu *vcpu;
	struct file *gmem;
	bool writable, read = false, wrote = false;
	int i, idx, r;

	vcpu = test_guest(test, &gmem);

	/* The second time the page leaves the file while it is mapped. */
	for (i = 0; i < 4; i++) {
		writable = i & 1;
		vcpu_load(vcpu);
		idx = srcu_read_lock(&vcpu->kvm->srcu);
		r = __kvm_vcpu_map(vcpu, gpa_to_gfn(GMEM_GPA), &map, writable);
		if (!r) {
			read = can_read(map.hva);
			wrote = can_write(map.hva);
		}
		if (!r && i >= 2)
			r = vfs_fallocate(gmem, FALLOC_FL_PUNCH_HOLE |
					  FALLOC_FL_KEEP_SIZE, 0, PAGE_SIZE);
		kvm_vcpu_unmap(vcpu, &map);
		srcu_read_unlock(&vcpu->kvm->srcu, idx);
		vcpu_put(vcpu);

		KUNIT_ASSERT_EQ(test, 0, r);
		KUNIT_EXPECT_TRUE(test, read);
		KUNIT_EXPECT_EQ_MSG(test, writable, wrote,
				    "mapped %s, and %s written to",
				    writable ? "writable" : "read-only",
				    wrote ? "can be" : "cannot be");
	}
}

/* === kvm_gmem_access() ==================================================== */

static void put_word(void *addr, void *arg)
{
	WRITE_ONCE(*(u64 *)addr, *(u64 *)arg);
}

static void get_word(void *addr, void *arg)
{
	*(u64 *)arg = READ_ONCE(*(u64 *)addr);
}

static int access_word(struct kvm *kvm, gpa_t gpa,
		       void (*fn)(void *addr, void *arg), u64 *word)
{
	int idx, r;

	idx = srcu_read_lock(&kvm->srcu);
	r = kvm_gmem_access(kvm, gpa, sizeof(*word), fn, word);
	srcu_read_unlock(&kvm->srcu, idx);
	return r;
}

/* What fails has not been done, not even in part. */
static void g9_access_that_fails_does_nothing(struct kunit *test)
{
	const gpa_t gpa = GMEM_GPA + 8;
	u64 first = 0x1111, second = 0x2222, got = 0;
	struct file *gmem;
	struct folio *folio;
	struct kvm *kvm;
	int r;

	kvm = test_guest(test, &gmem)->kvm;
	KUNIT_EXPECT_EQ(test, 0, access_word(kvm, gpa, put_word, &first));

	KUNIT_EXPECT_EQ(test, -EINVAL,
			access_word(kvm, GMEM_GPA + PAGE_SIZE - 4, put_word,
				    &second));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			access_word(kvm, GMEM_GPA + PAGE_SIZE, put_word,
				    &second));

	folio = filemap_get_folio(gmem->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	if (IS_ENABLED(CONFIG_MEMORY_FAILURE)) {
		SetPageHWPoison(folio_page(folio, 0));
		r = access_word(kvm, gpa, put_word, &second);
		ClearPageHWPoison(folio_page(folio, 0));
		KUNIT_EXPECT_EQ(test, -EHWPOISON, r);
	}
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
	folio_put(folio);

	KUNIT_EXPECT_EQ(test, 0, access_word(kvm, gpa, get_word, &got));
	KUNIT_EXPECT_EQ(test, first, got);
}

/* === CLASS(kvm_vcpu_map_local) ============================================ */

/* No secret stays in the direct map, in what there is of the vCPU's pages. */
static void expect_no_copies(struct kunit *test, struct kvm_vcpu *vcpu)
{
	int i;

	KUNIT_EXPECT_EQ(test, 0, vcpu->bounced);
	for (i = 0; i < KVM_BOUNCE_PAGES; i++)
		if (vcpu->bounce[i])
			KUNIT_EXPECT_NULL(test, memchr_inv(vcpu->bounce[i], 0,
							   PAGE_SIZE));
}

static u64 word_at(struct kunit *test, struct kvm *kvm, gpa_t gpa)
{
	u64 word = 0;

	KUNIT_EXPECT_EQ(test, 0, access_word(kvm, gpa, get_word, &word));
	return word;
}

/* Nobody's reference keeps the page from being migrated. */
static bool free_to_move(struct file *gmem)
{
	struct folio *folio = filemap_get_folio(gmem->f_mapping, 0);
	bool ret;

	if (IS_ERR(folio))
		return false;
	ret = folio_ref_count(folio) == folio_expected_ref_count(folio) + 1;
	folio_put(folio);
	return ret;
}

static void g10_others_words_survive(struct kunit *test)
{
	u64 words[] = { 0x1111, 0x2222, 0x3333 }, other = 0x4444;
	struct kvm_vcpu *vcpu;
	struct file *gmem;
	bool can_move = false;
	struct kvm *kvm;
	int i, idx, r;

	vcpu = test_guest(test, &gmem);
	kvm = vcpu->kvm;
	for (i = 0; i < ARRAY_SIZE(words); i++)
		KUNIT_EXPECT_EQ(test, 0, access_word(kvm, GMEM_GPA + 8 * i,
						     put_word, &words[i]));
	lru_add_drain_all();

	vcpu_load(vcpu);
	idx = srcu_read_lock(&kvm->srcu);
	scoped_class(kvm_vcpu_map_local, m, vcpu, gpa_to_gfn(GMEM_GPA)) {
		u64 *copy = m.map.hva;

		r = m.ret;
		if (r)
			break;
		can_move = free_to_move(gmem);
		KUNIT_EXPECT_EQ(test, 0, memcmp(copy, words, sizeof(words)));
		copy[0] = 0x5555;
		r = access_word(kvm, GMEM_GPA + 8, put_word, &other);
		/* KVM does not see that, nor what it writes itself. */
		KUNIT_EXPECT_EQ(test, words[1], copy[1]);
		KUNIT_EXPECT_EQ(test, words[0], word_at(test, kvm, GMEM_GPA));
	}
	srcu_read_unlock(&kvm->srcu, idx);
	vcpu_put(vcpu);

	KUNIT_EXPECT_EQ(test, 0, r);
	KUNIT_EXPECT_TRUE(test, can_move);
	KUNIT_EXPECT_EQ(test, 0x5555, word_at(test, kvm, GMEM_GPA));
	KUNIT_EXPECT_EQ(test, other, word_at(test, kvm, GMEM_GPA + 8));
	KUNIT_EXPECT_EQ(test, words[2], word_at(test, kvm, GMEM_GPA + 16));
	expect_no_copies(test, vcpu);
}

/* What KVM writes to a page that has left the file is lost. */
static void g10_hole_stays_a_hole(struct kunit *test)
{
	struct kvm_vcpu *vcpu;
	struct file *gmem;
	struct folio *folio;
	int idx, r;

	vcpu = test_guest(test, &gmem);

	vcpu_load(vcpu);
	idx = srcu_read_lock(&vcpu->kvm->srcu);
	scoped_class(kvm_vcpu_map_local, m, vcpu, gpa_to_gfn(GMEM_GPA)) {
		r = m.ret;
		if (r)
			break;
		memset(m.map.hva, 0x55, PAGE_SIZE);
		r = vfs_fallocate(gmem, FALLOC_FL_PUNCH_HOLE |
				  FALLOC_FL_KEEP_SIZE, 0, PAGE_SIZE);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	vcpu_put(vcpu);

	KUNIT_EXPECT_EQ(test, 0, r);
	folio = filemap_get_folio(gmem->f_mapping, 0);
	KUNIT_EXPECT_TRUE(test, IS_ERR(folio));
	if (!IS_ERR(folio))
		folio_put(folio);
	expect_no_copies(test, vcpu);
}

/* RSM has two pages at a time, which may be the same. */
static void g10_two_that_are_only_read(struct kunit *test)
{
	u64 word = 0x1111, got[2] = {};
	struct kvm_vcpu *vcpu;
	struct kvm *kvm;
	int i, idx, r;

	vcpu = test_guest(test, NULL);
	kvm = vcpu->kvm;
	KUNIT_EXPECT_EQ(test, 0, access_word(kvm, GMEM_GPA, put_word, &word));

	for (i = 0; i < 2; i++) {
		vcpu_load(vcpu);
		idx = srcu_read_lock(&kvm->srcu);
		{
			CLASS(kvm_vcpu_map_local_readonly, a)(vcpu, gpa_to_gfn(GMEM_GPA));
			CLASS(kvm_vcpu_map_local_readonly, b)(vcpu, gpa_to_gfn(GMEM_GPA));

			r = a.ret ?: b.ret;
			if (!r) {
				got[0] = *(u64 *)a.map.hva;
				got[1] = *(u64 *)b.map.hva;
				*(u64 *)b.map.hva = 0;
			}
		}
		srcu_read_unlock(&kvm->srcu, idx);
		vcpu_put(vcpu);

		KUNIT_EXPECT_EQ(test, 0, r);
		KUNIT_EXPECT_EQ(test, word, got[0]);
		KUNIT_EXPECT_EQ(test, word, got[1]);
		KUNIT_EXPECT_EQ(test, word, word_at(test, kvm, GMEM_GPA));
		expect_no_copies(test, vcpu);
	}
}

/* A page with a memory error is neither read nor written. */
static void g10_poison_is_refused(struct kunit *test)
{
	u64 word = 0x1111;
	struct kvm_vcpu *vcpu;
	struct file *gmem;
	struct folio *folio;
	int idx, refused = 0, r;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "no memory failure");

	vcpu = test_guest(test, &gmem);
	KUNIT_EXPECT_EQ(test, 0,
			access_word(vcpu->kvm, GMEM_GPA, put_word, &word));
	folio = filemap_get_folio(gmem->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));

	vcpu_load(vcpu);
	idx = srcu_read_lock(&vcpu->kvm->srcu);
	scoped_class(kvm_vcpu_map_local, m, vcpu, gpa_to_gfn(GMEM_GPA)) {
		r = m.ret;
		if (!r)
			*(u64 *)m.map.hva = 0x2222;
		SetPageHWPoison(folio_page(folio, 0));
	}
	scoped_class(kvm_vcpu_map_local, m, vcpu, gpa_to_gfn(GMEM_GPA))
		refused = m.ret;
	ClearPageHWPoison(folio_page(folio, 0));
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	vcpu_put(vcpu);
	folio_put(folio);

	KUNIT_EXPECT_EQ(test, 0, r);
	KUNIT_EXPECT_EQ(test, -EHWPOISON, refused);
	KUNIT_EXPECT_EQ(test, word, word_at(test, vcpu->kvm, GMEM_GPA));
	expect_no_copies(test, vcpu);
}

/* === kvm_vcpu_map_page() ================================================== */

/* The page stays where it is, and has an address in the call only. */
static void g10_page_is_reached_by_call(struct kunit *test)
{
	u64 word = 0x1111, got = 0;
	struct kvm_host_map map = {};
	struct kvm_vcpu *vcpu;
	struct file *gmem;
	bool stays = false;
	struct kvm *kvm;
	int idx, r;

	vcpu = test_guest(test, &gmem);
	kvm = vcpu->kvm;
	KUNIT_EXPECT_EQ(test, -EFAULT,
			kvm_vcpu_map_call(&map, 0, put_word, &word));

	vcpu_load(vcpu);
	idx = srcu_read_lock(&kvm->srcu);
	r = kvm_vcpu_map_page(vcpu, gpa_to_gfn(GMEM_GPA), &map);
	if (!r) {
		lru_add_drain_all();
		stays = !free_to_move(gmem);
		KUNIT_EXPECT_TRUE(test, kvm_vcpu_mapped(&map));
		KUNIT_EXPECT_NULL(test, map.hva);
		KUNIT_EXPECT_EQ(test, 0, kvm_vcpu_map_call(&map, 8, put_word,
							   &word));
		KUNIT_EXPECT_EQ(test, 0, kvm_vcpu_map_call(&map, 8, get_word,
							   &got));
	}
	kvm_vcpu_unmap(vcpu, &map);
	srcu_read_unlock(&kvm->srcu, idx);
	vcpu_put(vcpu);

	KUNIT_EXPECT_EQ(test, 0, r);
	KUNIT_EXPECT_TRUE(test, stays);
	KUNIT_EXPECT_FALSE(test, kvm_vcpu_mapped(&map));
	KUNIT_EXPECT_TRUE(test, free_to_move(gmem));
	KUNIT_EXPECT_EQ(test, word, got);
	KUNIT_EXPECT_EQ(test, word, word_at(test, kvm, GMEM_GPA + 8));
}

static void is_zero(void *addr, void *arg)
{
	*(bool *)arg = !memchr_inv(addr, 0, PAGE_SIZE);
}

/* A page that leaves the file meanwhile is zero when KVM is done with it. */
static void g10_page_that_left_is_zeroed(struct kunit *test)
{
	struct kvm_host_map map = {};
	struct kvm_vcpu *vcpu;
	struct page *page = NULL;
	struct file *gmem;
	bool zero = false;
	u64 word = 0x1111;
	int idx, r;

	vcpu = test_guest(test, &gmem);

	vcpu_load(vcpu);
	idx = srcu_read_lock(&vcpu->kvm->srcu);
	r = kvm_vcpu_map_page(vcpu, gpa_to_gfn(GMEM_GPA), &map);
	if (!r) {
		page = map.page;
		get_page(page);
		r = vfs_fallocate(gmem, FALLOC_FL_PUNCH_HOLE |
				  FALLOC_FL_KEEP_SIZE, 0, PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, 0, kvm_vcpu_map_call(&map, 0, put_word,
							   &word));
	}
	kvm_vcpu_unmap(vcpu, &map);
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	vcpu_put(vcpu);

	KUNIT_EXPECT_EQ(test, 0, r);
	if (!page)
		return;
	KUNIT_EXPECT_EQ(test, 0, ephmap_call(page, 0, is_zero, &zero));
	KUNIT_EXPECT_TRUE(test, zero);
	put_page(page);
}

/* === Folios of 2 MB ======================================================== */

/*
 * A hole in a folio that somebody has a reference to: its page is zeroed and
 * stays, and leaves the file with the next hole when it can.
 */
static void g11_hole_in_what_cannot_be_split(struct kunit *test)
{
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct kvm_create_guest_memfd args = {
		.size = PMD_SIZE,
		.flags = GMEM_NDM | GUEST_MEMFD_FLAG_HUGE,
	};
	u64 word = 0x1111, got[3] = {};
	struct folio *folio, *after;
	struct file *vm, *gmem;
	bool zero = false;
	int i;

	if (!ephmap_available() || !has_transparent_hugepage())
		kunit_skip(test, "no ephmap, or no huge pages");

	vm = test_vm(test);
	gmem = test_file(test, kvm_gmem_create(vm->private_data, &args));
	KUNIT_ASSERT_EQ(test, 0, vfs_fallocate(gmem, FALLOC_FL_KEEP_SIZE, 0,
					       PMD_SIZE));
	folio = filemap_get_folio(gmem->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	if (folio_order(folio) != PMD_SHIFT - PAGE_SHIFT) {
		folio_put(folio);
		kunit_skip(test, "no block of memory could be had");
	}
	for (i = 4; i < 7; i++)
		KUNIT_EXPECT_EQ(test, 0,
				ephmap_write_folio(folio, i * PAGE_SIZE, &word,
						   sizeof(word)));

	KUNIT_EXPECT_EQ(test, 0, vfs_fallocate(gmem, punch, 5 * PAGE_SIZE,
					       PAGE_SIZE));
	KUNIT_EXPECT_PTR_EQ(test, folio->mapping, gmem->f_mapping);
	KUNIT_EXPECT_EQ(test, folio_order(folio), PMD_SHIFT - PAGE_SHIFT);
	for (i = 4; i < 7; i++)
		KUNIT_EXPECT_EQ(test, 0,
				ephmap_read_folio(folio, i * PAGE_SIZE,
						  got + i - 4, sizeof(word)));
	KUNIT_EXPECT_EQ(test, 0, ephmap_call(folio_page(folio, 5), 0, is_zero,
					     &zero));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, word, got[0]);
	KUNIT_EXPECT_TRUE(test, zero);
	KUNIT_EXPECT_EQ(test, word, got[2]);

	KUNIT_EXPECT_EQ(test, 0, vfs_fallocate(gmem, punch, 5 * PAGE_SIZE,
					       PAGE_SIZE));
	after = filemap_get_folio(gmem->f_mapping, 5);
	KUNIT_EXPECT_TRUE(test, IS_ERR(after));
	if (!IS_ERR(after))
		folio_put(after);
	after = filemap_get_folio(gmem->f_mapping, 6);
	KUNIT_ASSERT_FALSE(test, IS_ERR(after));
	KUNIT_EXPECT_LT(test, folio_order(after), PMD_SHIFT - PAGE_SHIFT);
	got[2] = 0;
	KUNIT_EXPECT_EQ(test, 0,
			ephmap_read_folio(after, (6 - after->index) * PAGE_SIZE,
					  got + 2, sizeof(word)));
	folio_put(after);
	KUNIT_EXPECT_EQ(test, word, got[2]);
}

/* Each mapping ends with a flush of all TLBs: there are 100 a second at most. */
static void g10_mappings_are_few(struct kunit *test)
{
	struct kvm_host_map map = {};
	unsigned long start, took;
	struct kvm_vcpu *vcpu;
	int i, idx, r = 0;

	vcpu = test_guest(test, NULL);

	vcpu_load(vcpu);
	idx = srcu_read_lock(&vcpu->kvm->srcu);
	start = jiffies;
	for (i = 0; i < 11 && !r; i++) {
		r = kvm_vcpu_map(vcpu, gpa_to_gfn(GMEM_GPA), &map);
		kvm_vcpu_unmap(vcpu, &map);
	}
	took = jiffies - start;
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	vcpu_put(vcpu);

	KUNIT_EXPECT_EQ(test, 0, r);
	KUNIT_EXPECT_GE(test, took, HZ / 10);
}

/* === Waiting for a folio ================================================== */

struct gmem_waiter {
	struct kvm *kvm;
	struct file *gmem;
	struct completion done;
	bool by_file;
	int r;
};

static int test_get_pfn(struct kvm *kvm, bool nowait)
{
	gfn_t gfn = gpa_to_gfn(GMEM_GPA);
	struct kvm_memory_slot *slot;
	struct page *page = NULL;
	kvm_pfn_t pfn;
	int idx, r;

	idx = srcu_read_lock(&kvm->srcu);
	slot = gfn_to_memslot(kvm, gfn);
	if (nowait)
		r = kvm_gmem_get_pfn_nowait(kvm, slot, gfn, &pfn, &page, NULL);
	else
		r = kvm_gmem_get_pfn(kvm, slot, gfn, &pfn, &page, NULL);
	srcu_read_unlock(&kvm->srcu, idx);
	if (!r)
		put_page(page);
	return r;
}

static int gmem_waiter_fn(void *arg)
{
	struct gmem_waiter *waiter = arg;

	allow_signal(SIGKILL);
	if (waiter->by_file)
		kvm_gmem_wait(file_inode(waiter->gmem), 0);
	else
		waiter->r = test_get_pfn(waiter->kvm, false);
	complete(&waiter->done);
	/* Until it is stopped, its task is there. */
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return 0;
}

static struct task_struct *gmem_waiter_start(struct kunit *test,
					     struct gmem_waiter *waiter,
					     struct folio *folio, int refs)
{
	struct task_struct *task;
	int i;

	init_completion(&waiter->done);
	task = kthread_run(gmem_waiter_fn, waiter, "gmem_waiter");
	if (IS_ERR(task)) {
		KUNIT_FAIL(test, "no thread: %ld", PTR_ERR(task));
		return NULL;
	}
	/* The mark comes before it puts its reference. */
	for (i = 0; i < 500 && (!folio_test_waiters(folio) ||
				folio_ref_count(folio) != refs); i++)
		msleep(20);
	KUNIT_EXPECT_TRUE_MSG(test, folio_test_waiters(folio), "nobody waits");
	return task;
}

/*
 * Who waits for a folio that is migrated does not keep it from that by a
 * reference, waits no longer than it is locked, and, if it is a vCPU, can be
 * killed.
 */
static void g18_wait_for_a_folio(struct kunit *test)
{
	struct gmem_waiter waiter = {};
	struct task_struct *task;
	struct folio *folio;
	int refs;

	waiter.kvm = test_guest(test, &waiter.gmem)->kvm;
	KUNIT_ASSERT_EQ(test, 0, test_get_pfn(waiter.kvm, true));
	lru_add_drain_all();

	folio = filemap_lock_folio(waiter.gmem->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	refs = folio_ref_count(folio);
	KUNIT_EXPECT_EQ(test, -EAGAIN, test_get_pfn(waiter.kvm, true));
	/* A migration sees that somebody is going to wait. */
	KUNIT_EXPECT_TRUE(test, folio_test_waiters(folio));
	folio_clear_waiters(folio);

	task = gmem_waiter_start(test, &waiter, folio, refs);
	if (task) {
		KUNIT_EXPECT_EQ(test, refs, folio_ref_count(folio));
		send_sig(SIGKILL, task, 1);
		KUNIT_EXPECT_NE(test, 0UL,
				wait_for_completion_timeout(&waiter.done,
							    10 * HZ));
		KUNIT_EXPECT_EQ(test, -EINTR, waiter.r);
	}
	folio_unlock(folio);
	if (task)
		kthread_stop(task);

	folio_lock(folio);
	waiter.by_file = true;
	task = gmem_waiter_start(test, &waiter, folio, refs);
	KUNIT_EXPECT_EQ(test, refs, folio_ref_count(folio));
	KUNIT_EXPECT_FALSE(test, completion_done(&waiter.done));
	folio_unlock(folio);
	if (task) {
		KUNIT_EXPECT_NE(test, 0UL,
				wait_for_completion_timeout(&waiter.done,
							    10 * HZ));
		kthread_stop(task);
	}
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 0, test_get_pfn(waiter.kvm, true));
}

static struct kunit_case kvm_gmem_cases[] = {
	KUNIT_CASE(m1_creation_that_fails_bars_nothing),
	KUNIT_CASE(m7_read_only_map_is_not_writable),
	KUNIT_CASE(g9_access_that_fails_does_nothing),
	KUNIT_CASE(g10_others_words_survive),
	KUNIT_CASE(g10_hole_stays_a_hole),
	KUNIT_CASE(g10_two_that_are_only_read),
	KUNIT_CASE(g10_poison_is_refused),
	KUNIT_CASE(g10_page_is_reached_by_call),
	KUNIT_CASE(g10_page_that_left_is_zeroed),
	KUNIT_CASE(g11_hole_in_what_cannot_be_split),
	KUNIT_CASE(g18_wait_for_a_folio),
	KUNIT_CASE_SLOW(g10_mappings_are_few),
	{}
};

static struct kunit_suite kvm_gmem_suite = {
	.name = "kvm_gmem",
	.test_cases = kvm_gmem_cases,
};

kunit_test_suite(kvm_gmem_suite);
