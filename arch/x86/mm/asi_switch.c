// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation (ASI): how a CPU gets into restricted address spaces, and
 * out of them. For more info see
 * Documentation/arch/x86/asi.rst.
 *
 * Invariants:
 *
 * - asi_cpu::class is set before a CPU loads restricted page tables, and reset
 *   after it has loaded others. Exceptions that come with interrupts off leave
 *   both as they were.
 * - In its user half what is present is the mm's to which the PGD belongs, once
 *   the flushes are done that its tlb_gen counts. It is written by its CPU only,
 *   with interrupts off. While the PGD is not loaded what it names may have been
 *   freed: it is brought up to date before it is loaded. That for guests has no
 *   user half.
 * - What the policy has flushed when a CPU leaves is flushed while it is still
 *   restricted; what it has flushed on entry, while it is so already.
 */
#include <linux/asi.h>
#include <linux/kvm_types.h>
#include <linux/mm.h>

#include <asm/ephmap.h>
#include <asm/mmu_context.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/tlbflush.h>
#include <asm/trap_pf.h>

#include "asi_internal.h"
#include "asi_window.h"
#include "mm_internal.h"

/* === User halves ========================================================== */

/* The restricted PGD of the mm that is loaded, if it is a tracked one. */
static unsigned int asi_loaded_slot(void)
{
	return cpu_feature_enabled(X86_FEATURE_PCID) ?
		       this_cpu_read(cpu_tlbstate.loaded_mm_asid) :
		       this_cpu_read(asi_cpu.slot);
}

/*
 * Make the user half of a PGD that of @mm. asi_gen is read first: who clears an
 * entry counts afterwards, so whatever is copied here and is cleared later makes
 * the two differ. Whoever calls this has read tlb_gen before, so that no table is
 * freed whose entry this CPU still has: who frees it has it flushed by a greater
 * tlb_gen, here as well.
 */
static void asi_fill(struct asi_cpu *cpu, unsigned int slot, struct mm_struct *mm)
{
	struct asi_space *space = &cpu->space[slot];
	u64 gen = atomic64_read(&mm->context.asi_gen);
	bool same = space->ctx_id == mm->context.ctx_id;
	unsigned int word, i;

	if (same && space->gen == gen)
		return;
	smp_rmb();	/* Pairs with atomic64_inc() after an entry is written. */
	for (word = 0; word < ASI_USER_WORDS; word++) {
		unsigned long used = READ_ONCE(mm->context.asi_used[word]);
		unsigned long bits = used | space->used[word];

		for_each_set_bit(i, &bits, BITS_PER_LONG) {
			unsigned int entry = word * BITS_PER_LONG + i;

			WRITE_ONCE(asi_root(cpu, slot)[entry],
				   READ_ONCE(mm->pgd[entry]));
		}
		/* An NMI may add one to what is loaded. */
		if (same)
			this_cpu_or(asi_cpu.space[slot].used[word], used);
		else
			space->used[word] = used;
	}
	space->ctx_id = mm->context.ctx_id;
	space->gen = gen;
}

/*
 * An entry that is added is never cached before: other CPUs copy it when they miss
 * it. If nothing else has changed this CPU's copy is the latest one.
 */
void __asi_user_entry_added(struct mm_struct *mm, pgd_t *pgd)
{
	unsigned int slot, entry = offset_in_page(pgd) / sizeof(pgd_t);
	struct asi_space *space;
	struct asi_cpu *cpu;
	u64 gen;

	set_bit(entry, mm->context.asi_used);
	gen = atomic64_inc_return(&mm->context.asi_gen);

	guard(irqsave)();
	if (this_cpu_read(cpu_tlbstate.loaded_mm) != mm)
		return;
	cpu = this_cpu_ptr(&asi_cpu);
	slot = asi_loaded_slot();
	space = &cpu->space[slot];
	if (space->ctx_id != mm->context.ctx_id)
		return;
	__set_bit(entry, space->used);
	WRITE_ONCE(asi_root(cpu, slot)[entry], READ_ONCE(*pgd));
	if (space->gen == gen - 1)
		space->gen = gen;
}

/* @mm is loaded: a tracked one, or the caller does not care. */
void __asi_update_space(struct mm_struct *mm)
{
	if (!is_notrack_mm(mm))
		asi_fill(this_cpu_ptr(&asi_cpu), asi_loaded_slot(), mm);
}

/* === Flushes ============================================================== */

/*
 * What a class is to be kept apart from: whose data may not be in buffers when
 * it is entered. What processes do to each other, and what a guest's control does
 * to its VMM, is left to the mitigations that there are without ASI.
 */
static const unsigned long asi_apart[] = {
	[ASI_USER]  = ASI_TAINT_KERNEL_DATA | ASI_TAINT_OTHER_DATA |
		      ASI_TAINT_GUEST_DATA,
	[ASI_GUEST] = ASI_TAINT_KERNEL_DATA | ASI_TAINT_OTHER_DATA |
		      ASI_TAINT_USER_DATA,
};

/* What a class leaves in the CPU. */
static const unsigned long asi_leaves[] = {
	[ASI_USER]  = ASI_TAINT_USER_CONTROL | ASI_TAINT_USER_DATA,
	[ASI_GUEST] = ASI_TAINT_GUEST_CONTROL | ASI_TAINT_GUEST_DATA,
};

static __always_inline void asi_flush(unsigned int kind)
{
	switch (kind) {
	case ASI_FLUSH_IBPB:
		if (cpu_feature_enabled(X86_FEATURE_IBPB))
			write_ibpb();
		break;
	case ASI_FLUSH_RSB:
		asi_fill_rsb();
		break;
	case ASI_FLUSH_VERW:
		x86_clear_cpu_buffers();
		break;
	case ASI_FLUSH_L1D:
		if (cpu_feature_enabled(X86_FEATURE_FLUSH_L1D))
			native_wrmsrq(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
		break;
	}
	this_cpu_inc(asi_cpu.nr.flushed[kind]);
}

/*
 * The taints go last: an NMI that leaves meanwhile flushes as well. It taints
 * nothing, as neither user mode nor a guest runs in it.
 */
static __always_inline void asi_flush_for_exit(void)
{
	unsigned long taints = this_cpu_read(asi_cpu.taints);
	unsigned int kinds = READ_ONCE(asi_policy.exit);

	if (!(taints & ASI_TAINTS_CONTROL))
		return;
	if (kinds & BIT(ASI_FLUSH_IBPB))
		asi_flush(ASI_FLUSH_IBPB);
	if (kinds & BIT(ASI_FLUSH_RSB))
		asi_flush(ASI_FLUSH_RSB);
	this_cpu_and(asi_cpu.taints, ~ASI_TAINTS_CONTROL);
}

/* The taints go first: what an NMI touches meanwhile is flushed by itself. */
static __always_inline void asi_flush_for_enter(unsigned int class)
{
	unsigned long taints = this_cpu_read(asi_cpu.taints);
	unsigned int kinds = READ_ONCE(asi_policy.enter[class]);

	if (taints & asi_apart[class]) {
		this_cpu_and(asi_cpu.taints, ~asi_apart[class]);
		if (kinds & BIT(ASI_FLUSH_VERW))
			asi_flush(ASI_FLUSH_VERW);
		if (kinds & BIT(ASI_FLUSH_L1D))
			asi_flush(ASI_FLUSH_L1D);
	}
	this_cpu_or(asi_cpu.taints, asi_leaves[class]);
}

/* Another mm is loaded: what its last user or guest left is now another's. */
static __always_inline void asi_taints_of_other(void)
{
	unsigned long old = this_cpu_read(asi_cpu.taints), new = old;

	new &= ~(asi_leaves[ASI_USER] | asi_leaves[ASI_GUEST]);
	if (old & (ASI_TAINT_USER_CONTROL | ASI_TAINT_GUEST_CONTROL))
		new |= ASI_TAINT_OTHER_CONTROL;
	if (old & (ASI_TAINT_USER_DATA | ASI_TAINT_GUEST_DATA))
		new |= ASI_TAINT_OTHER_DATA;
	/* An NMI may have left, and flushed, meanwhile: it can but do more. */
	this_cpu_write(asi_cpu.taints, new);
}

/* === Transitions ========================================================== */

/*
 * Load CR3 with @cr3, which is not restricted, or with its counterpart of a
 * class. Where it would not flush (CR3_NOFLUSH) it does all the same if that was
 * left to do, also by an NMI that comes just now.
 */
static __always_inline void asi_load_cr3(unsigned long cr3, unsigned int class,
					 unsigned int slot)
{
	unsigned long pcid;

	if (class == ASI_NONE) {
		asi_flush_for_exit();
	} else {
		this_cpu_write(asi_cpu.space[slot].base, cr3 & ~CR3_NOFLUSH);
		/* With this what is pending goes. */
		this_cpu_write(asi_cpu.state, class);
		cr3 = asi_slot_cr3(cr3, slot);
	}
	pcid = BIT(cr3 & ASI_KPCID_MASK);
	do {
		if (this_cpu_read(asi_cpu.flush[class]) & pcid) {
			this_cpu_and(asi_cpu.flush[class], ~pcid);
			this_cpu_inc(asi_cpu.nr.late);
			cr3 &= ~CR3_NOFLUSH;
		}
		native_write_cr3(cr3);
	} while (unlikely(this_cpu_read(asi_cpu.flush[class]) & pcid));

	if (class == ASI_NONE) {
		this_cpu_write(asi_cpu.state, class);
		this_cpu_or(asi_cpu.taints, ASI_TAINT_KERNEL_DATA);
	} else {
		asi_flush_for_enter(class);
	}
}

/* A7: what is known of CR3 is what is loaded. */
static __always_inline void asi_check_cr3(void)
{
	struct mm_struct *mm;
	unsigned int class;
	unsigned long cr3;

	if (!IS_ENABLED(CONFIG_DEBUG_ASI))
		return;
	mm = this_cpu_read(cpu_tlbstate.loaded_mm);
	class = this_cpu_read(asi_cpu.class);
	cr3 = __native_read_cr3();
	WARN_ON_ONCE(asi_cr3_is_guest(cr3) != (class == ASI_GUEST));
	WARN_ON_ONCE(asi_cr3_is_restricted(cr3) != (class != ASI_NONE));
	if (mm != LOADED_MM_SWITCHING)
		WARN_ON_ONCE((asi_base_cr3(cr3) & CR3_ADDR_MASK) !=
			     __phys_addr_nodebug((unsigned long)mm->pgd));
}

/* With PCIDs to load it flushes nothing. */
static __always_inline unsigned long asi_loaded_base_cr3(void)
{
	unsigned long cr3 = asi_base_cr3(__native_read_cr3());

	if (cpu_feature_enabled(X86_FEATURE_PCID))
		cr3 |= CR3_NOFLUSH;
	return cr3;
}

noinstr void __asi_enter(unsigned int class)
{
	unsigned long cr3;

	asi_check_cr3();
	/* It is there, but has copied what another is not to find in buffers. */
	if (class == ASI_USER && this_cpu_read(asi_cpu.class) == ASI_USER) {
		this_cpu_write(asi_cpu.pending, false);
		asi_flush_for_enter(class);
		return;
	}
	cr3 = asi_loaded_base_cr3();
	asi_load_cr3(cr3, class, class == ASI_GUEST ? ASI_GUEST_SLOT :
						      asi_base_slot(cr3));
	this_cpu_inc(asi_cpu.nr.enters[class]);
}

noinstr void __asi_enter_guest(void)
{
	if (this_cpu_read(asi_cpu.class) != ASI_GUEST)
		__asi_enter(ASI_GUEST);
}
EXPORT_SYMBOL_FOR_KVM(__asi_enter_guest);

unsigned long __asi_host_cr3(unsigned long cr3)
{
	return asi_class_cr3(cr3, ASI_GUEST);
}
EXPORT_SYMBOL_FOR_KVM(__asi_host_cr3);

noinstr void __asi_exit(void)
{
	unsigned long cr3 = __native_read_cr3();

	/*
	 * An NMI comes back by it, perhaps before asi_switch_cr3() has said
	 * which one it has loaded.
	 */
	if (!cpu_feature_enabled(X86_FEATURE_PCID) &&
	    asi_cr3_slot(cr3) != ASI_GUEST_SLOT)
		this_cpu_write(asi_cpu.slot, asi_cr3_slot(cr3));
	asi_load_cr3(asi_loaded_base_cr3(), ASI_NONE, 0);
}

/**
 * asi_exit() - leave the restricted address space
 *
 * For code that cannot take a page fault. It is entered again on the way to user
 * mode, by whoever runs there.
 *
 * Context: Interrupts or preemption off, or the CPU may be in it again. In an
 *          NMI for one only that does not return.
 */
void asi_exit(void)
{
	guard(irqsave)();
	if (!asi_restricted())
		return;
	__asi_exit();
	this_cpu_inc(asi_cpu.nr.exits[ASI_EXIT_ASKED]);
}

/* This CPU is in a restricted address space, and stays in it, or is not. */
static noinstr void asi_switch_class(unsigned long cr3, bool may_stay,
				     unsigned int slot)
{
	unsigned int class = ASI_NONE;

	asi_check_cr3();
	if (!this_cpu_read(asi_cpu.class)) {
		/* Nothing is left, nothing is entered. */
	} else if (may_stay) {
		class = ASI_USER;
		this_cpu_inc(asi_cpu.nr.switches);
	} else {
		this_cpu_inc(asi_cpu.nr.exits[ASI_EXIT_SWITCH]);
	}
	asi_taints_of_other();
	/* What flushes an address space flushes its counterpart. */
	if (cpu_feature_enabled(X86_FEATURE_PCID) && !(cr3 & CR3_NOFLUSH))
		asi_flush_later(cr3 & ASI_KPCID_MASK,
				class == ASI_NONE ? ASI_USER : ASI_NONE);
	asi_load_cr3(cr3, class, slot);
	if (may_stay)
		this_cpu_write(asi_cpu.slot, slot);
}

/**
 * asi_switch_cr3() - load CR3 for another mm
 * @next: The mm.
 * @cr3: Its CR3, or what to load the restricted counterpart of.
 *
 * A CPU that is in a restricted address space goes on in that of the next mm:
 * nothing but user mode's half is another one. But a temporary mm is loaded for
 * mappings that only the other one has.
 *
 * Context: switch_mm_irqs_off(), after it has read next's tlb_gen.
 */
void asi_switch_cr3(struct mm_struct *next, unsigned long cr3)
{
	struct asi_cpu *cpu = this_cpu_ptr(&asi_cpu);
	struct asi_window *w = this_cpu_ptr(&asi_window);
	bool may_stay = !is_notrack_mm(next);
	unsigned int slot = cpu->slot;

	if (may_stay) {
		/* It may have got another ASID since. */
		if (asi_window_used(w) &&
		    (w->owner != next->context.ctx_id ||
		     w->kpcid != (cr3 & ASI_KPCID_MASK)))
			asi_window_leave(w);
		if (cpu_feature_enabled(X86_FEATURE_PCID))
			slot = asi_base_slot(cr3);
		else if (cpu->space[slot].ctx_id != next->context.ctx_id)
			/* What is loaded is never rewritten for another mm. */
			slot ^= 1;
		asi_fill(cpu, slot, next);
	}
	asi_switch_class(cr3, may_stay, slot);
}

void __asi_reset_cpu(void)
{
	struct asi_cpu *cpu = this_cpu_ptr(&asi_cpu);
	unsigned int i;

	/* It may have gone down in a restricted address space. */
	cpu->state = ASI_NONE;
	cpu->slot = 0;
	asi_window_leave(this_cpu_ptr(&asi_window));
	for (i = 0; i < ASI_NR_SLOTS; i++)
		cpu->space[i].ctx_id = 0;
	/* PCIDs that are in use again, but not loaded now. */
	if (cpu_feature_enabled(X86_FEATURE_PCID)) {
		asi_flush_later(1, ASI_USER);
		asi_flush_guest_later();
	}
}

/* It is where asi_enter_guest() has left it, but as VM exit loads it. */
noinstr void __asi_cr3_loaded(void)
{
	asi_check_cr3();
	if (this_cpu_read(asi_cpu.flush[ASI_GUEST]))
		asi_load_cr3(asi_loaded_base_cr3(), ASI_GUEST, ASI_GUEST_SLOT);
}
EXPORT_SYMBOL_FOR_KVM(__asi_cr3_loaded);

/*
 * Copy the mm's top-level entry for a user's address, if this CPU has not got it
 * yet. The mm is the one whose PGD is loaded: asked, as this may be an NMI between
 * two of them.
 */
static __always_inline bool asi_copy_user_entry(unsigned long addr,
						unsigned int slot)
{
	struct mm_struct *mm = this_cpu_read(cpu_tlbstate.loaded_mm);
	struct asi_cpu *cpu = this_cpu_ptr(&asi_cpu);
	pgd_t *root = asi_root(cpu, slot);
	unsigned int entry = pgd_index(addr);
	pgd_t pgd;

	if (mm == LOADED_MM_SWITCHING ||
	    cpu->space[slot].ctx_id != mm->context.ctx_id)
		return false;
	pgd = READ_ONCE(mm->pgd[entry]);
	if (native_pgd_val(READ_ONCE(root[entry])) || !native_pgd_val(pgd))
		return false;
	/* First: an entry that is not known to be used is not cleared again. */
	this_cpu_or(asi_cpu.space[slot].used[entry / BITS_PER_LONG],
		    BIT(entry % BITS_PER_LONG));
	WRITE_ONCE(root[entry], pgd);
	return true;
}

/*
 * From the address space for guests to the user's, which has a user half and the
 * window: interrupts are off.
 */
noinstr void __asi_widen(void)
{
	unsigned long cr3 = asi_loaded_base_cr3();

	asi_flush_for_exit();
	asi_load_cr3(cr3, ASI_USER, asi_base_slot(cr3));
	this_cpu_inc(asi_cpu.nr.enters[ASI_USER]);
}

/*
 * An interrupt has left the restricted address space in the midst of a session,
 * whose window nobody else has: go back. Where this does not end the copy wants the
 * window and what is absent at once, and that is a fault.
 */
static __always_inline bool asi_rebound(unsigned long addr,
					unsigned long error_code)
{
	if (error_code & X86_PF_USER || !asi_in_window(addr) ||
	    !this_cpu_read(asi_window.open) ||
	    this_cpu_inc_return(asi_window.rebounds) > ASI_REBOUNDS)
		return false;
	__asi_enter(ASI_USER);
	this_cpu_inc(asi_cpu.nr.rebounds);
	return true;
}

/*
 * CR3 is asked, not asi_cpu::class: it is the truth at any point. What is absent
 * in init_mm as well, or in the mm, faults again, and then it is a fault.
 */
noinstr enum asi_fault_type __asi_fault(unsigned long addr,
					unsigned long error_code)
{
	unsigned long cr3;

	if (error_code & (X86_PF_PROT | X86_PF_RSVD))
		return ASI_FAULT_OTHER;
	cr3 = __native_read_cr3();
	if (!asi_cr3_is_restricted(cr3))
		return asi_rebound(addr, error_code) ? ASI_FAULT_COPIED :
						       ASI_FAULT_OTHER;
	if (addr < TASK_SIZE_MAX) {
		if (!asi_cr3_is_guest(cr3))
			return asi_copy_user_entry(addr, asi_cr3_slot(cr3)) ?
				       ASI_FAULT_COPIED : ASI_FAULT_OTHER;
		__asi_widen();
		return ASI_FAULT_LEFT;
	}
	/* WRUSS is an access by user mode, though it is never there. */
	if (error_code & X86_PF_USER || !asi_in_direct_map(addr))
		return ASI_FAULT_OTHER;
	__asi_exit();
	return ASI_FAULT_LEFT;
}
