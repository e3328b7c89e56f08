/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address Space Isolation (ASI): restricted kernel page tables, without the
 * memory that holds user data. For more info see
 * Documentation/arch/x86/asi.rst.
 */
#ifndef _ASM_X86_ASI_H
#define _ASM_X86_ASI_H

#include <linux/bits.h>
#include <linux/cpufeature.h>
#include <linux/mm_types.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>

#include <asm/invpcid.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>

struct pt_regs;

/**
 * enum asi_user_data - kinds of pages with user data, as the audit counts them
 * @ASI_ANON:        Anonymous memory, KSM's pages included.
 * @ASI_SHMEM:       tmpfs, shared memory, memfd.
 * @ASI_SECRETMEM:   Files without a direct-map alias: memfd_secret(2), and
 *                   guest_memfd with GUEST_MEMFD_FLAG_NO_DIRECT_MAP.
 * @ASI_GUEST_MEMFD: Other guest_memfd.
 * @ASI_HUGETLB:     hugetlbfs.
 * @ASI_BDEV:        The page cache of block devices: a filesystem's metadata,
 *                   and what is read and written through the device.
 * @ASI_FILE:        The page cache of all other files.
 * @ASI_FREE:        Free pages among movable ones: they may hold user data
 *                   still.
 * @ASI_BUSY:        Page cache whose folio stayed locked, so that its kind is
 *                   not known.
 * @ASI_NR_USER_DATA: How many kinds there are.
 */
enum asi_user_data {
	ASI_ANON,
	ASI_SHMEM,
	ASI_SECRETMEM,
	ASI_GUEST_MEMFD,
	ASI_HUGETLB,
	ASI_BDEV,
	ASI_FILE,
	ASI_FREE,
	ASI_BUSY,
	ASI_NR_USER_DATA,
};

/**
 * struct asi_audit - what is found in the restricted page tables
 * @present:   Pages that the restricted direct map has.
 * @absent:    Pages of the direct map that it has not.
 * @different: PMD entries of it that are neither absent nor equal to init_mm's.
 * @movable:   PMD entries of movable memory that are present.
 * @kernel:    PMD entries of other memory that are absent. It is no danger.
 * @pgds:      Restricted top-level page tables.
 * @wrong:     Entries in their kernel half that are not as they should be.
 * @user_data: Pages of user data among the present ones, by kind.
 * @mapped:    Such pages, of any kind, that the kernel has mapped elsewhere.
 */
struct asi_audit {
	unsigned long present;
	unsigned long absent;
	unsigned long different;
	unsigned long movable;
	unsigned long kernel;
	unsigned long pgds;
	unsigned long wrong;
	unsigned long user_data[ASI_NR_USER_DATA];
	unsigned long mapped;
};

/**
 * enum asi_cr3_class - in which kind of address space a CPU is
 * @ASI_NONE:     None that is restricted.
 * @ASI_USER:     The loaded mm's restricted one. User mode runs in it.
 * @ASI_GUEST:    The one for guests: as @ASI_USER, but without a user half. All
 *                mms share it. Guests are entered from it, and left to it.
 * @ASI_NR_CLASS: How many there are.
 */
enum asi_cr3_class {
	ASI_NONE,
	ASI_USER,
	ASI_GUEST,
	ASI_NR_CLASS,
};

/**
 * enum asi_exit_cause - why a CPU leaves a restricted address space
 * @ASI_EXIT_FAULT:  The kernel touched memory that is not there.
 * @ASI_EXIT_USER:   It touched user mode's half from where there is none. It goes
 *                   no further than to the user's restricted address space.
 * @ASI_EXIT_SWITCH: It went to a temporary mm.
 * @ASI_EXIT_ASKED:  asi_exit(): the CPU is about to be suspended, or to run
 *                   another kernel.
 * @ASI_NR_EXIT:     How many causes there are.
 */
enum asi_exit_cause {
	ASI_EXIT_FAULT,
	ASI_EXIT_USER,
	ASI_EXIT_SWITCH,
	ASI_EXIT_ASKED,
	ASI_NR_EXIT,
};

/**
 * enum asi_fault_type - what a page fault was
 * @ASI_FAULT_OTHER:  Not one of a restricted address space.
 * @ASI_FAULT_LEFT:   It was left, or widened: to be counted, and tried again.
 * @ASI_FAULT_COPIED: An entry of the user half was missed: to be tried again.
 */
enum asi_fault_type {
	ASI_FAULT_OTHER,
	ASI_FAULT_LEFT,
	ASI_FAULT_COPIED,
};

/**
 * enum asi_drain - why a window is unmapped
 * @ASI_DRAIN_FULL:   There was no room for more.
 * @ASI_DRAIN_SWITCH: Another mm was loaded.
 * @ASI_DRAIN_IDLE:   The CPU went idle.
 * @ASI_DRAIN_TIME:   It has been there for long enough.
 * @ASI_DRAIN_ASKED:  References are not to be held: lru_add_drain_all().
 * @ASI_NR_DRAIN:     How many causes there are.
 */
enum asi_drain {
	ASI_DRAIN_FULL,
	ASI_DRAIN_SWITCH,
	ASI_DRAIN_IDLE,
	ASI_DRAIN_TIME,
	ASI_DRAIN_ASKED,
	ASI_NR_DRAIN,
};

/**
 * enum asi_flush - what is flushed when a restricted address space is left or
 *		    entered, if the policy asks for it
 * @ASI_FLUSH_IBPB: Indirect branch predictors, before it is left.
 * @ASI_FLUSH_RSB:  The return stack, before it is left: where IBPB does not.
 * @ASI_FLUSH_VERW: Fill buffers and such, after it was entered.
 * @ASI_FLUSH_L1D:  The L1 data cache, after that for guests was entered.
 * @ASI_NR_FLUSH:   How many there are.
 */
enum asi_flush {
	ASI_FLUSH_IBPB,
	ASI_FLUSH_RSB,
	ASI_FLUSH_VERW,
	ASI_FLUSH_L1D,
	ASI_NR_FLUSH,
};

/*
 * Taints: what has been left in a CPU that a flush would remove. Control of
 * what it predicts, by whoever ran; and data that was touched. "Other" is a user
 * or a guest of another mm than the one loaded.
 */
#define ASI_TAINT_USER_CONTROL	BIT(0)
#define ASI_TAINT_GUEST_CONTROL	BIT(1)
#define ASI_TAINT_OTHER_CONTROL	BIT(2)
#define ASI_TAINT_USER_DATA	BIT(3)
#define ASI_TAINT_GUEST_DATA	BIT(4)
#define ASI_TAINT_OTHER_DATA	BIT(5)
#define ASI_TAINT_KERNEL_DATA	BIT(6)

#define ASI_TAINTS_CONTROL						\
	(ASI_TAINT_USER_CONTROL | ASI_TAINT_GUEST_CONTROL |		\
	 ASI_TAINT_OTHER_CONTROL)

/**
 * struct asi_counters - what a CPU did
 * @enters:   How often it went into a restricted address space, by class; from
 *            one of another class, too.
 * @exits:    How often it left them, by cause.
 * @switches: How often it went from that of one mm to that of another.
 * @reenters: Enters after an NMI, or another of its kind, had left it.
 * @invpcids: Pages flushed in the address spaces that were not loaded.
 * @parked:   Pages mapped in the window to stay there for a while.
 * @hits:     Copies from such pages.
 * @drains:   How often they were unmapped, with a flush, by cause.
 * @rebounds: How often an interrupt had left in the midst of a copy.
 * @late:     Loads of CR3 that flushed, because something had been left to
 *            flush.
 * @flushed:  Flushes that the policy asked for, by kind.
 */
struct asi_counters {
	unsigned long enters[ASI_NR_CLASS];
	unsigned long exits[ASI_NR_EXIT];
	unsigned long switches;
	unsigned long reenters;
	unsigned long invpcids;
	unsigned long parked;
	unsigned long hits;
	unsigned long drains[ASI_NR_DRAIN];
	unsigned long rebounds;
	unsigned long late;
	unsigned long flushed[ASI_NR_FLUSH];
};

/*
 * A CPU's restricted PGDs, a page each: one for each ASID, or two to be loaded in
 * turn where there are no PCIDs; and one for guests.
 */
#define ASI_GUEST_SLOT		6
#define ASI_NR_SLOTS		7
#define ASI_PGDS_ORDER		3
#define ASI_PGDS_MASK		((PAGE_SIZE << ASI_PGDS_ORDER) - 1)

/**
 * struct asi_space - what is in one of a CPU's restricted PGDs
 * @ctx_id: Of the mm whose user half it has; 0: of none.
 * @gen:    That mm's asi_gen when it was copied.
 * @base:   That mm's CR3 that is not restricted, without CR3_NOFLUSH; of the one
 *          for guests that of the mm that was loaded when it was entered. Valid
 *          while the PGD is loaded.
 * @used:   Entries of the user half that may be present.
 */
struct asi_space {
	u64 ctx_id;
	u64 gen;
	unsigned long base;
	unsigned long used[ASI_USER_WORDS];
};

/**
 * struct asi_cpu - where a CPU is, and what it did
 * @class:  CR3 is restricted (&enum asi_cr3_class), or is about to be, or was until
 *          just now. Written with interrupts off. Whoever interrupts that code
 *          and cannot be held back (NMI, #MC, #DB, #BP) leaves this, and CR3, as
 *          they were.
 * @pending: A flush is due before user mode: see asi_touched_stranger().
 * @state:  Both.
 * @slot:   Without PCIDs: the PGD of the mm that is loaded.
 * @taints: What has been left in the CPU.
 * @pa:     The physical address of @pgds, as CR3 has it.
 * @pgds:   The restricted PGDs.
 * @flush:  kPCIDs whose translations are out of date, by class.
 * @space:  What is in @pgds.
 * @nr:     Counters.
 */
struct asi_cpu {
	union {
		struct {
			u8 class;
			bool pending;
		};
		unsigned int state;
	};
	unsigned int slot;
	unsigned long taints;
	unsigned long pa;
	pgd_t *pgds;
	unsigned long flush[ASI_NR_CLASS];
	struct asi_space space[ASI_NR_SLOTS];
	struct asi_counters nr;
};

/**
 * struct asi_stats - what was done since boot
 * @zapped:   PMD entries made absent.
 * @restored: PMD entries made present.
 * @flushes:  Shootdowns for those that were made absent.
 * @cpus:     The counters of all CPUs.
 */
struct asi_stats {
	unsigned long zapped;
	unsigned long restored;
	unsigned long flushes;
	struct asi_counters cpus;
};

/**
 * struct asi_policy - which flushes a CPU needs; bits are &enum asi_flush
 * @exit:  Before a restricted address space is left, if it has been tainted by
 *         anybody's control.
 * @enter: After one was entered, if it has been tainted by data of those whom
 *         that class is to be kept apart from.
 */
struct asi_policy {
	unsigned int exit;
	unsigned int enter[ASI_NR_CLASS];
};

/* That of PTI: the two exclude each other. */
#define X86_CR3_ASI_PCID_BIT	11

/* CR3: which of an ASID's two PCIDs. */
#define ASI_CR3_PCID		BIT_ULL(X86_CR3_ASI_PCID_BIT)
#define ASI_KPCID_MASK		(ASI_CR3_PCID - 1)

/* Neither an address nor a PCID. A tagged address is bad without LAM. */
#define ASI_CR3_FLAGS		(CR3_NOFLUSH | X86_CR3_LAM_U57 | X86_CR3_LAM_U48)

#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION

DECLARE_PER_CPU_ALIGNED(struct asi_cpu, asi_cpu);

extern struct asi_policy asi_policy;
extern unsigned long *asi_absent;
extern unsigned long asi_nr_absent;

/**
 * asi_enabled() - whether there are restricted page tables
 *
 * Context: Any, once the boot CPU's page tables are being made. A patched jump.
 * Return: true with asi=on, if it was not refused.
 */
static __always_inline bool asi_enabled(void)
{
	return cpu_feature_enabled(X86_FEATURE_ASI);
}

/**
 * asi_class() - which restricted address space this CPU is in
 *
 * Context: Interrupts off, or the answer may be out of date: an interrupt may
 *          leave it, and a task that runs meanwhile may enter it.
 * Return: &enum asi_cr3_class.
 */
static __always_inline unsigned int asi_class(void)
{
	return asi_enabled() ? this_cpu_read(asi_cpu.class) : ASI_NONE;
}

/**
 * asi_restricted() - whether this CPU is in a restricted address space
 *
 * Context: As asi_class().
 * Return: true when a kernel access to user data would fault.
 */
static __always_inline bool asi_restricted(void)
{
	return asi_class() != ASI_NONE;
}

/* Whether a CR3 is of one of this CPU's restricted PGDs; and which. */
static __always_inline bool asi_cr3_is_restricted(unsigned long cr3)
{
	return (cr3 & ~(ASI_CR3_FLAGS | ASI_PGDS_MASK)) ==
	       this_cpu_read(asi_cpu.pa);
}

static __always_inline unsigned int asi_cr3_slot(unsigned long cr3)
{
	return (cr3 & ASI_PGDS_MASK) >> PAGE_SHIFT;
}

/* The restricted PGD for a CR3 of the mm that is loaded; a PCID is an ASID + 1. */
static __always_inline unsigned int asi_base_slot(unsigned long cr3)
{
	return cpu_feature_enabled(X86_FEATURE_PCID) ?
		       (cr3 & ASI_KPCID_MASK) - 1 :
		       this_cpu_read(asi_cpu.slot);
}

static __always_inline unsigned long asi_slot_cr3(unsigned long cr3,
						  unsigned int slot)
{
	unsigned long keep = ASI_CR3_FLAGS;

	if (slot != ASI_GUEST_SLOT)
		keep |= CR3_PCID_MASK;
	cr3 = (cr3 & keep) | this_cpu_read(asi_cpu.pa) | slot << PAGE_SHIFT;
	if (cpu_feature_enabled(X86_FEATURE_PCID))
		cr3 |= ASI_CR3_PCID;
	return cr3;
}

/* The counterpart of the CR3 of the mm that is loaded, which is not restricted. */
static __always_inline unsigned long asi_class_cr3(unsigned long cr3,
						   unsigned int class)
{
	if (class == ASI_NONE)
		return cr3;
	return asi_slot_cr3(cr3, class == ASI_GUEST ? ASI_GUEST_SLOT :
						      asi_base_slot(cr3));
}

/* @cr3, or its restricted counterpart where that is what this CPU has loaded. */
static __always_inline unsigned long asi_cr3(unsigned long cr3)
{
	return asi_class_cr3(cr3, asi_class());
}

/* Whether a CR3 is the one for guests. */
static __always_inline bool asi_cr3_is_guest(unsigned long cr3)
{
	return (cr3 & ~(ASI_CR3_FLAGS | CR3_PCID_MASK)) ==
	       (this_cpu_read(asi_cpu.pa) | ASI_GUEST_SLOT << PAGE_SHIFT);
}

/*
 * CR3 as it would be if it were not restricted: what is loaded, or what it is
 * the counterpart of.
 */
static __always_inline unsigned long asi_base_cr3(unsigned long cr3)
{
	if (!asi_cr3_is_restricted(cr3))
		return cr3;
	return this_cpu_read(asi_cpu.space[asi_cr3_slot(cr3)].base);
}

/* @pcid is out of date, in address spaces of that class. */
static __always_inline void asi_flush_later(u16 pcid, unsigned int class)
{
	this_cpu_or(asi_cpu.flush[class], BIT(pcid));
}

/* There is one PCID of the class for guests. */
static __always_inline void asi_flush_guest_later(void)
{
	asi_flush_later(0, ASI_GUEST);
}

/* Flush a page in an address space that is not loaded. */
static __always_inline void asi_invpcid(u16 pcid, unsigned long addr)
{
	invpcid_flush_one(pcid, addr);
	this_cpu_inc(asi_cpu.nr.invpcids);
}

void asi_fill_rsb(void);
void __asi_enter(unsigned int class);
void __asi_exit(void);
void __asi_widen(void);
void __asi_finish_switch(void);
void asi_exit(void);
void asi_switch_cr3(struct mm_struct *next, unsigned long cr3);
void __asi_update_space(struct mm_struct *mm);
void __asi_enter_guest(void);
unsigned long __asi_host_cr3(unsigned long cr3);
void __asi_cr3_loaded(void);
enum asi_fault_type __asi_fault(unsigned long addr, unsigned long error_code);
void asi_note_fault(struct pt_regs *regs, unsigned long addr);

/**
 * asi_enter() - go into the restricted address space of the loaded mm
 *
 * The last thing but for lockdep that happens in C before user mode: what
 * follows touches no user data by a kernel address.
 *
 * Context: Interrupts off, from here to user mode.
 */
static __always_inline void asi_enter(void)
{
	if (asi_enabled() && this_cpu_read(asi_cpu.state) != ASI_USER)
		__asi_enter(ASI_USER);
}

/**
 * asi_enter_guest() - go into the restricted address space for guests
 *
 * The last thing before VM entry but for noinstr code: who touches user data
 * after it leaves again.
 *
 * Context: Interrupts off, from here to VM entry. The loaded mm is a user's.
 */
static __always_inline void asi_enter_guest(void)
{
	if (asi_enabled())
		__asi_enter_guest();
}

/**
 * asi_host_cr3() - what VM exit has to load
 * @cr3: CR3 as it is now.
 *
 * For VMX, which takes it from the VMCS, where it is written before
 * asi_enter_guest() is called.
 *
 * Context: Interrupts off, from here to VM entry.
 * Return: what CR3 is going to be at VM entry.
 */
static __always_inline unsigned long asi_host_cr3(unsigned long cr3)
{
	return asi_enabled() ? __asi_host_cr3(cr3) : cr3;
}

/**
 * asi_pfn_is_absent() - whether the restricted direct map has no memory there
 * @pfn: The page frame.
 *
 * Context: Any; asi_enabled() is true. Without a lock it may change meanwhile.
 * Return: true if an access by the direct map leaves the restricted address space.
 */
static __always_inline bool asi_pfn_is_absent(unsigned long pfn)
{
	unsigned long bit = pfn >> (PMD_SHIFT - PAGE_SHIFT);

	return bit >= asi_nr_absent ||
	       asi_absent[bit / BITS_PER_LONG] & BIT(bit % BITS_PER_LONG);
}

/*
 * This CPU has copied bytes that need not be its user's: what they have left in
 * buffers is flushed before user mode runs, or a guest, where the policy says so.
 */
static __always_inline void asi_touched_stranger(void)
{
	this_cpu_or(asi_cpu.taints, ASI_TAINT_OTHER_DATA);
	if (READ_ONCE(asi_policy.enter[ASI_USER]))
		this_cpu_write(asi_cpu.pending, true);
}

/* After a switch of tasks, with interrupts on. */
static __always_inline void asi_finish_switch(void)
{
	if (asi_enabled())
		__asi_finish_switch();
}

/**
 * asi_nmi_exit() - leave the CPU as an NMI, or another of its kind, found it
 * @class: What asi_class() said on entry.
 *
 * Such exceptions interrupt code that relies on where it is: between asi_enter()
 * and user mode, or while it loads CR3.
 *
 * Context: The end of an exception that can occur with interrupts off.
 */
static __always_inline void asi_nmi_exit(unsigned int class)
{
	if (class != ASI_NONE && this_cpu_read(asi_cpu.class) != class) {
		this_cpu_inc(asi_cpu.nr.reenters);
		__asi_enter(class);
	}
}

/**
 * asi_fault() - leave the restricted address space if that is why this faulted
 * @addr: CR2.
 * @error_code: The error code of the page fault.
 *
 * Context: The entry of a page fault, before anything else. noinstr.
 * Return: &enum asi_fault_type.
 */
static __always_inline enum asi_fault_type asi_fault(unsigned long addr,
						     unsigned long error_code)
{
	return asi_enabled() ? __asi_fault(addr, error_code) : ASI_FAULT_OTHER;
}

/* VMX has loaded CR3, and has not flushed what had been left to flush. */
static __always_inline void asi_cr3_loaded(void)
{
	if (asi_enabled())
		__asi_cr3_loaded();
}

/* CR3 has got other flags (LAM). */
static __always_inline void asi_set_cr3_bits(unsigned long bits)
{
	unsigned long cr3;

	if (!asi_restricted())
		return;
	cr3 = __native_read_cr3();
	this_cpu_or(asi_cpu.space[asi_cr3_slot(cr3)].base, bits);
}

unsigned long asi_region_align(void);
void asi_check_boottime(void);
void asi_init(void);
void __asi_reset_cpu(void);
void __asi_smt_update(void);

void __asi_user_entry_added(struct mm_struct *mm, pgd_t *pgd);
void __asi_sync_pgds(unsigned long start, unsigned long end);
void __asi_sync_direct_map(unsigned long addr);
int __asi_add_memory(u64 start, u64 size);
void __asi_remove_memory(u64 start, u64 size);

void asi_zap_direct_map(unsigned long pfn, unsigned long nr);
void asi_restore_direct_map(unsigned long pfn, unsigned long nr);
void asi_flush_direct_map(unsigned long pfn, unsigned long nr);

pmd_t *asi_direct_map_pmd(unsigned long addr);
void asi_audit_range(struct asi_audit *audit, unsigned long start,
		     unsigned long end);
void asi_audit_pgds(struct asi_audit *audit);
void asi_audit_mapped(struct asi_audit *audit);

#if IS_ENABLED(CONFIG_ASI_KUNIT_TEST)
struct asi_policy asi_set_policy(struct asi_policy policy);
#endif
void asi_read_stats(struct asi_stats *stats);

/* CPUs have been put online or offline. */
static inline void asi_smt_update(void)
{
	if (asi_enabled())
		__asi_smt_update();
}

/* This CPU starts, or starts again, in the loaded mm's page tables. */
static inline void asi_reset_cpu(void)
{
	if (asi_enabled())
		__asi_reset_cpu();
}

static inline void asi_init_new_context(struct mm_struct *mm)
{
	memset(mm->context.asi_used, 0, sizeof(mm->context.asi_used));
	atomic64_set(&mm->context.asi_gen, 0);
}

/* An entry in a PGD of @mm, which was none, has been set. */
static inline void asi_user_entry_added(struct mm_struct *mm, pgd_t *pgd)
{
	if (asi_enabled() && pgdp_maps_userspace(pgd))
		__asi_user_entry_added(mm, pgd);
}

/*
 * An entry in the user half of @mm's PGD has been cleared. The table below it is
 * freed after a flush that makes mm->context.tlb_gen greater, and that no CPU is
 * left out of which has @mm loaded.
 */
static inline void asi_user_entry_cleared(struct mm_struct *mm)
{
	if (asi_enabled())
		atomic64_inc(&mm->context.asi_gen);
}

/* This CPU has read a new tlb_gen of @mm, which is loaded, and flushes. */
static inline void asi_update_space(struct mm_struct *mm)
{
	if (asi_enabled())
		__asi_update_space(mm);
}

/* Top-level entries of init_mm for @start to @end, inclusive, are new. */
static inline void asi_sync_pgds(unsigned long start, unsigned long end)
{
	if (asi_enabled())
		__asi_sync_pgds(start, end);
}

/* init_mm's PMD entry for @addr has changed, and is not flushed yet. */
static inline void asi_sync_direct_map(unsigned long addr)
{
	if (asi_enabled())
		__asi_sync_direct_map(addr);
}

/* Before memory gets its direct map. */
static inline int asi_add_memory(u64 start, u64 size)
{
	return asi_enabled() ? __asi_add_memory(start, size) : 0;
}

/* Before memory loses its direct map, which flushes. */
static inline void asi_remove_memory(u64 start, u64 size)
{
	if (asi_enabled())
		__asi_remove_memory(start, size);
}

#else /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

static __always_inline bool asi_enabled(void)
{
	return false;
}

static __always_inline unsigned int asi_class(void)
{
	return ASI_NONE;
}

static __always_inline bool asi_restricted(void)
{
	return false;
}

static __always_inline unsigned long asi_cr3(unsigned long cr3)
{
	return cr3;
}

static __always_inline unsigned long asi_base_cr3(unsigned long cr3)
{
	return cr3;
}

static __always_inline bool asi_cr3_is_restricted(unsigned long cr3)
{
	return false;
}

static __always_inline bool asi_cr3_is_guest(unsigned long cr3)
{
	return false;
}

static __always_inline enum asi_fault_type asi_fault(unsigned long addr,
						     unsigned long error_code)
{
	return ASI_FAULT_OTHER;
}

static inline unsigned long asi_region_align(void)
{
	return PUD_SIZE;
}

static __always_inline void asi_enter(void) { }
static __always_inline void asi_exit(void) { }
static __always_inline void asi_enter_guest(void) { }
static __always_inline void asi_nmi_exit(unsigned int class) { }
static __always_inline unsigned long asi_host_cr3(unsigned long cr3)
{
	return cr3;
}

static __always_inline void asi_cr3_loaded(void) { }
static __always_inline void asi_set_cr3_bits(unsigned long bits) { }
static __always_inline void asi_flush_later(u16 pcid, unsigned int class) { }
static __always_inline void asi_flush_guest_later(void) { }
static __always_inline void asi_invpcid(u16 pcid, unsigned long addr) { }
static inline void asi_switch_cr3(struct mm_struct *next, unsigned long cr3) { }
static inline void asi_reset_cpu(void) { }
static inline void asi_finish_switch(void) { }
static inline void asi_init_new_context(struct mm_struct *mm) { }
static inline void asi_user_entry_added(struct mm_struct *mm, pgd_t *pgd) { }
static inline void asi_user_entry_cleared(struct mm_struct *mm) { }
static inline void asi_update_space(struct mm_struct *mm) { }
static inline void asi_note_fault(struct pt_regs *regs, unsigned long addr) { }

static inline void asi_zap_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_restore_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_flush_direct_map(unsigned long pfn, unsigned long nr) { }
static inline void asi_check_boottime(void) { }
static inline void asi_init(void) { }
static inline void asi_smt_update(void) { }
static inline void asi_sync_pgds(unsigned long start, unsigned long end) { }
static inline void asi_sync_direct_map(unsigned long addr) { }
static inline int asi_add_memory(u64 start, u64 size) { return 0; }
static inline void asi_remove_memory(u64 start, u64 size) { }

#endif /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

#endif /* _ASM_X86_ASI_H */
