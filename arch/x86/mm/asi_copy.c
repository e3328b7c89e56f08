// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation: copies of user data that do not leave the restricted
 * address space, through the CPU's window. For more info see
 * Documentation/arch/x86/asi.rst.
 *
 * What cannot be copied here is left to the ordinary path, which gives the same
 * result and leaves the restricted address space. So nothing here can fail.
 *
 * Invariants:
 *
 * - The window is in the page tables of its CPU's restricted address spaces for
 *   users, and in no others.
 * - Parked is what the process whose mm is loaded has read by read(2) and its
 *   kind, read only: whole page cache folios of files that it may read; and new
 *   pages of its own, when they are zeroed, or copied from others of its own. Each
 *   run holds a reference: a stale translation never points to anybody else's
 *   page. When another mm is loaded, or the idle task runs, nothing is parked.
 * - A parked entry is cleared, and its PCID flushed or marked to be, before its
 *   reference is put.
 * - Parked references are as those of the LRU's per-CPU batches: none is left by
 *   lru_add_drain_all(), none is taken under lru_cache_disable(), and they are put
 *   after ASI_PARK_MS and a tick.
 * - All else is mapped for one copy, by straight code with interrupts off, which
 *   calls nothing and returns from nothing, so that predictors that somebody has
 *   trained lead nowhere with a stranger's bytes at hand; then it is cleared and
 *   flushed. But where a user's page is not there a page fault comes in between. An
 *   NMI maps nothing.
 */
#include <linux/asi_copy.h>
#include <linux/asi_park.h>
#include <linux/export.h>
#include <linux/iov_iter.h>
#include <linux/memory-failure.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/preempt.h>
#include <linux/sched/isolation.h>
#include <linux/swap.h>
#include <linux/timer.h>
#include <linux/uaccess.h>

#include <asm/mmu_context.h>
#include <asm/tlb.h>
#include <asm/tlbflush.h>

#include "asi_window.h"
#include "mm_internal.h"

DEFINE_PER_CPU_ALIGNED(struct asi_window, asi_window);

/* === Page tables ========================================================== */

static void asi_unpark_timer(struct timer_list *timer);

/*
 * With 5-level paging the window's P4D entry shares the last PGD entry with the
 * kernel image, the CPU entry area and the espfix stacks, whose P4D entries are
 * set once during boot: a copy of that P4D table stays true.
 */
static int asi_window_add_p4d(unsigned int cpu, pgd_t *entry, unsigned long pud)
{
	pgd_t *init = pgd_offset_k(ASI_WINDOW_BASE);
	p4d_t *p4d;

	if (!pgtable_l5_enabled()) {
		*entry = __pgd(pud | _KERNPG_TABLE);
		return 0;
	}
	p4d = asi_tables(cpu, 0);
	if (!p4d)
		return -ENOMEM;
	copy_page(p4d, (void *)pgd_page_vaddr(*init));
	p4d[p4d_index(ASI_WINDOW_BASE)] = __p4d(pud | _KERNPG_TABLE);
	*entry = __pgd(__pa(p4d) | pgd_flags(*init));
	return 0;
}

/*
 * Make the page tables of a CPU's window, before it first comes up. They are kept
 * for good. @entry: what its PGDs for users have to have for it.
 */
int asi_window_prepare(unsigned int cpu, pgd_t *entry)
{
	struct asi_window *w = per_cpu_ptr(&asi_window, cpu);
	pud_t *pud = asi_tables(cpu, 0);
	pmd_t *pmd = asi_tables(cpu, 0);
	unsigned int i;

	BUILD_BUG_ON(PAGE_SIZE << ASI_WINDOW_ORDER !=
		     ASI_WINDOW_PTES * sizeof(pte_t));
	BUILD_BUG_ON(ASI_WINDOW_PTES > U16_MAX);
	BUILD_BUG_ON(ASI_FIRST_LEAF * PMD_SIZE < ASI_WINDOW_PTES * PAGE_SIZE);

	w->ptes = asi_tables(cpu, ASI_WINDOW_ORDER);
	w->folios = asi_tables(cpu, ASI_WINDOW_ORDER);
	w->hash = asi_tables(cpu, ASI_WINDOW_ORDER);
	if (!pud || !pmd || !w->ptes || !w->folios || !w->hash ||
	    asi_window_add_p4d(cpu, entry, __pa(pud)))
		goto err;
	set_pud(pud + pud_index(ASI_WINDOW_BASE),
		__pud(__pa(pmd) | _KERNPG_TABLE));
	for (i = 0; i < ASI_WINDOW_PTES / PTRS_PER_PTE; i++)
		set_pmd(pmd + i, __pmd(__pa(w->ptes + i * PTRS_PER_PTE) |
				       _KERNPG_TABLE));
	w->leaves = pmd + ASI_FIRST_LEAF;
	timer_setup(&w->timer, asi_unpark_timer,
		    TIMER_PINNED | TIMER_DEFERRABLE);
	return 0;
err:
	free_page((unsigned long)pud);
	free_page((unsigned long)pmd);
	free_pages((unsigned long)w->ptes, ASI_WINDOW_ORDER);
	free_pages((unsigned long)w->folios, ASI_WINDOW_ORDER);
	free_pages((unsigned long)w->hash, ASI_WINDOW_ORDER);
	return -ENOMEM;
}

static __always_inline void *asi_slot_address(unsigned int slot)
{
	return (void *)(ASI_WINDOW_BASE + slot * PAGE_SIZE);
}

static __always_inline pteval_t asi_pte(unsigned long pfn, bool write)
{
	return (phys_addr_t)pfn << PAGE_SHIFT |
	       pgprot_val(arch_ephmap_prot(write));
}

/* === Parking ============================================================== */

static void asi_clear_parked(struct asi_window *w)
{
	unsigned int i, nr = w->used;
	pte_t *ptes = w->ptes;

	for (i = 0; i < nr; i++)
		WRITE_ONCE(ptes[i], __pte(0));
	for (i = 0; i < w->leaf_used; i++)
		WRITE_ONCE(w->leaves[i], __pmd(0));
}

static void asi_leave_to_put(struct asi_window *w)
{
	w->nput = w->used;
	w->used = 0;
	w->room = 0;
	w->leaf_nput = w->leaf_used;
	w->leaf_used = 0;
}

/*
 * Nothing is parked any more. References are put later: the runqueue's lock may be
 * held. Interrupts are off, and the mm that owns them is loaded, or the one that
 * was is a temporary one.
 */
static void asi_unpark(struct asi_window *w, enum asi_drain cause)
{
	unsigned int i;

	if (!asi_window_used(w))
		return;
	asi_clear_parked(w);
	if (this_cpu_read(asi_cpu.class) != ASI_USER) {
		if (cpu_feature_enabled(X86_FEATURE_PCID))
			asi_flush_later(w->kpcid, ASI_USER);
	} else if (w->used <= 8 && !w->leaf_used) {
		for (i = 0; i < w->used; i++)
			invlpg((unsigned long)asi_slot_address(i));
		w->flushed += w->used;
	} else {
		native_write_cr3(__native_read_cr3());
	}
	this_cpu_inc(asi_cpu.nr.drains[cause]);
	asi_leave_to_put(w);
}

/**
 * asi_window_leave() - unpark, as another mm is going to be loaded
 * @w: This CPU's window.
 *
 * With PCIDs what the TLB has is not used before that PCID is loaded again, which
 * flushes it; without, loading CR3 flushes. References are put after that.
 *
 * Context: Interrupts off, before CR3 is loaded.
 */
void asi_window_leave(struct asi_window *w)
{
	if (!asi_window_used(w))
		return;
	asi_clear_parked(w);
	if (cpu_feature_enabled(X86_FEATURE_PCID))
		asi_flush_later(w->kpcid, ASI_USER);
	this_cpu_inc(asi_cpu.nr.drains[ASI_DRAIN_SWITCH]);
	asi_leave_to_put(w);
}

/* Preemption is off. A timer that comes meanwhile leaves it to this. */
static void asi_put(struct asi_window *w)
{
	struct folio **folio, **end;
	unsigned int i;

	w->putting = true;
	barrier();
	end = w->folios + w->nput;
	for (folio = w->folios; folio < end; folio++) {
		if (*folio)
			folio_put(*folio);
	}
	for (i = 0; i < w->leaf_nput; i++)
		folio_put(w->leaf_folios[i]);
	w->nput = 0;
	w->leaf_nput = 0;
	barrier();
	w->putting = false;
}

/* A CPU is gone, by way of the idle task. */
int asi_window_dead(unsigned int cpu)
{
	struct asi_window *w = per_cpu_ptr(&asi_window, cpu);

	timer_delete_sync(&w->timer);
	WARN_ON_ONCE(asi_window_used(w));
	return 0;
}

/* Preemption is off, no session is open. */
static void asi_drain(struct asi_window *w, enum asi_drain cause)
{
	unsigned long flags;

	asi_put(w);
	w->drain = false;
	local_irq_save(flags);
	asi_unpark(w, cause);
	local_irq_restore(flags);
	asi_put(w);
}

static void asi_unpark_timer(struct timer_list *timer)
{
	struct asi_window *w = timer_container_of(w, timer, timer);

	/* Its CPU has gone down, with nothing parked. */
	if (w != this_cpu_ptr(&asi_window))
		return;
	if (w->open)
		w->drain = true;
	else if (!w->putting)
		asi_drain(w, ASI_DRAIN_TIME);
}

/**
 * asi_drain_parked() - put the references that this CPU's window has
 *
 * Context: Task context.
 */
void asi_drain_parked(void)
{
	if (!asi_enabled())
		return;
	guard(preempt)();
	asi_drain(this_cpu_ptr(&asi_window), ASI_DRAIN_ASKED);
}

/**
 * asi_cpu_has_parked() - whether a CPU's window has references
 * @cpu: The CPU.
 *
 * Context: Any.
 * Return: true if asi_drain_parked() on that CPU may put some.
 */
bool asi_cpu_has_parked(unsigned int cpu)
{
	struct asi_window *w = per_cpu_ptr(&asi_window, cpu);

	if (!asi_enabled())
		return false;
	/* Whoever asks waits for that CPU afterwards. */
	return data_race(w->used | w->leaf_used | w->nput | w->leaf_nput);
}

/**
 * asi_window_stop() - this CPU stops for good: unmap everything
 *
 * It may have been stopped in the midst of a copy. Nobody puts references.
 *
 * Context: Any, interrupts off.
 */
void asi_window_stop(void)
{
	struct asi_window *w = this_cpu_ptr(&asi_window);
	unsigned int i;

	if (!asi_enabled() || !w->ptes)
		return;
	asi_exit();
	for (i = 0; i < ASI_WINDOW_PTES; i++)
		WRITE_ONCE(w->ptes[i], __pte(0));
	for (i = 0; i < ASI_LEAVES; i++)
		WRITE_ONCE(w->leaves[i], __pmd(0));
}

/* A switch of tasks ends with preemption off, that of a kernel thread's mm on. */
void __asi_finish_switch(void)
{
	struct asi_window *w;

	guard(preempt_notrace)();
	w = this_cpu_ptr(&asi_window);
	if (w->nput | w->leaf_nput)
		asi_put(w);
	if (asi_window_used(w) && is_idle_task(current))
		asi_drain(w, ASI_DRAIN_IDLE);
}

static __always_inline bool asi_task_may_park(void)
{
	return in_task() && !(current->flags & PF_KTHREAD);
}

/* Owners of a folio look at its references: they know of the LRU's batches only. */
static __always_inline bool asi_folio_may_park(struct folio *folio)
{
	unsigned long mapping = (unsigned long)READ_ONCE(folio->mapping);

	if (!mapping || mapping & FOLIO_MAPPING_FLAGS ||
	    mapping_no_direct_map((struct address_space *)mapping))
		return false;
	return !folio_test_hugetlb(folio) && !folio_is_zone_device(folio) &&
	       !folio_contain_hwpoisoned_page(folio);
}

static bool asi_may_park(struct folio *folio)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT) || lru_cache_disabled() ||
	    tick_nohz_full_cpu(smp_processor_id()))
		return false;
	return asi_task_may_park() && asi_folio_may_park(folio);
}

static __always_inline bool asi_parked_at(struct asi_window *w,
					  unsigned int slot, pteval_t want,
					  unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (pte_val(w->ptes[slot + i]) != want + i * PAGE_SIZE)
			return false;
	}
	return true;
}

/* Where a page frame is looked for: there, and in the neighbour. */
static __always_inline u16 *asi_hash(struct asi_window *w, unsigned long pfn)
{
	return w->hash + (pfn & (ASI_HASH_SIZE - 1));
}

static __always_inline u16 *asi_hash_neighbour(u16 *hash)
{
	return (u16 *)((unsigned long)hash ^ sizeof(u16));
}

/* Another page frame that is parked is found by this entry. */
static bool asi_hash_taken(struct asi_window *w, u16 *hash)
{
	pte_t pte = w->ptes[*hash];

	return pte_present(pte) && asi_hash(w, pte_pfn(pte)) == hash;
}

/*
 * Before a page is parked: preemption is off. While something is parked the timer
 * is pending.
 */
static void asi_begin_parking(struct asi_window *w)
{
	if (w->nput | w->leaf_nput)
		asi_put(w);
	if (!timer_pending(&w->timer))
		mod_timer(&w->timer, jiffies + msecs_to_jiffies(ASI_PARK_MS));
	if (asi_window_used(w))
		return;
	w->owner = this_cpu_read(cpu_tlbstate.loaded_mm)->context.ctx_id;
	w->kpcid = cpu_feature_enabled(X86_FEATURE_PCID) ?
			   this_cpu_read(cpu_tlbstate.loaded_mm_asid) + 1 : 0;
}

/* In an open session. Returns the slot, or a negative number if it may not be. */
static noinline int asi_park(struct asi_window *w, struct folio *folio,
			     unsigned long pfn, unsigned int nr, pteval_t want)
{
	unsigned int i, slot;
	u16 *hash;

	hash = asi_hash_neighbour(asi_hash(w, pfn));
	if (asi_parked_at(w, *hash, want, nr))
		return *hash;
	if (!asi_may_park(folio))
		return -EAGAIN;
	if (w->used + nr > ASI_PARKED)
		asi_drain(w, ASI_DRAIN_FULL);
	asi_begin_parking(w);
	slot = w->used;
	folio_get(folio);
	for (i = 0; i < nr; i++) {
		w->folios[slot + i] = i ? NULL : folio;
		WRITE_ONCE(w->ptes[slot + i], __pte(want + i * PAGE_SIZE));
		hash = asi_hash(w, pfn + i);
		if (asi_hash_taken(w, hash))
			hash = asi_hash_neighbour(hash);
		*hash = slot + i;
	}
	WRITE_ONCE(w->used, slot + nr);
	w->room = ASI_PARKED;
	this_cpu_add(asi_cpu.nr.parked, nr);
	return slot;
}

/*
 * A page after others, which were parked since the last drain: the timer is pending,
 * and the owner known. lru_cache_disable() drains after it is in effect, and so need
 * not be asked. False, and no effect, if asi_park() has to be.
 */
static __always_inline bool asi_park_next(struct asi_window *w,
					  struct folio *folio,
					  unsigned long pfn, pteval_t want)
{
	u16 *hash = asi_hash(w, pfn);
	unsigned int slot = w->used;

	if (slot >= w->room || asi_hash_taken(w, hash) ||
	    !asi_task_may_park() || !asi_folio_may_park(folio))
		return false;
	folio_get(folio);
	w->folios[slot] = folio;
	WRITE_ONCE(w->ptes[slot], __pte(want));
	*hash = slot;
	WRITE_ONCE(w->used, slot + 1);
	this_cpu_inc(asi_cpu.nr.parked);
	return true;
}

/* The same of a folio that a large page maps: its leaf. */
static noinline int asi_park_leaf(struct asi_window *w, struct folio *folio,
				  unsigned long pfn, pmdval_t want)
{
	unsigned int leaf;

	if (!asi_may_park(folio))
		return -EAGAIN;
	if (w->leaf_used == ASI_LEAVES)
		asi_drain(w, ASI_DRAIN_FULL);
	asi_begin_parking(w);
	leaf = w->leaf_used;
	folio_get(folio);
	w->leaf_folios[leaf] = folio;
	WRITE_ONCE(w->leaves[leaf], __pmd(want));
	w->leaf_hash[(pfn >> PMD_ORDER) % ARRAY_SIZE(w->leaf_hash)] = leaf;
	WRITE_ONCE(w->leaf_used, leaf + 1);
	this_cpu_add(asi_cpu.nr.parked, PTRS_PER_PTE);
	return leaf;
}

/* The address of a large page in an open session, or NULL. */
static __always_inline void *asi_map_leaf(struct asi_window *w,
					  struct folio *folio,
					  unsigned long first)
{
	unsigned long pfn = folio_pfn(folio);
	pmdval_t want = asi_pte(pfn, false) | _PAGE_PSE;
	int leaf;

	leaf = w->leaf_hash[(pfn >> PMD_ORDER) % ARRAY_SIZE(w->leaf_hash)];
	if (likely(pmd_val(w->leaves[leaf]) == want))
		this_cpu_inc(asi_cpu.nr.hits);
	else
		leaf = asi_park_leaf(w, folio, pfn, want);
	if (unlikely(leaf < 0))
		return NULL;
	return (void *)(ASI_WINDOW_BASE + (ASI_FIRST_LEAF + leaf) * PMD_SIZE +
			first * PAGE_SIZE);
}

/*
 * Open a session that maps @nr pages of a folio from @first on, parked: the address, or
 * NULL without a session. Preemption and page faults are off meanwhile.
 */
static __always_inline void *asi_own_begin(struct folio *folio,
					   unsigned long first, unsigned int nr)
{
	struct asi_window *w;
	unsigned long pfn;
	pteval_t want;
	int slot;

	pfn = page_to_pfn(folio_page(folio, first));
	want = asi_pte(pfn, false);
	preempt_disable();
	pagefault_disable();
	w = this_cpu_ptr(&asi_window);
	if (likely(this_cpu_read(asi_cpu.class) == ASI_USER && !w->open)) {
		w->open = true;
		barrier();
		if (unlikely(folio_test_large(folio)) &&
		    folio_order(folio) == PMD_ORDER) {
			void *addr = asi_map_leaf(w, folio, first);

			if (likely(addr))
				return addr;
			goto close;
		}
		slot = *asi_hash(w, pfn);
		if (likely(asi_parked_at(w, slot, want, nr))) {
			this_cpu_inc(asi_cpu.nr.hits);
			return asi_slot_address(slot);
		}
		slot = w->used;
		if (nr > 1 || !asi_park_next(w, folio, pfn, want))
			slot = asi_park(w, folio, pfn, nr, want);
		if (likely(slot >= 0))
			return asi_slot_address(slot);
close:
		w->open = false;
	}
	pagefault_enable();
	preempt_enable();
	return NULL;
}

static __always_inline void asi_own_end(void)
{
	struct asi_window *w = this_cpu_ptr(&asi_window);

	barrier();
	w->open = false;
	barrier();
	if (unlikely(w->drain))
		asi_drain(w, ASI_DRAIN_TIME);
	w->rebounds = 0;
	pagefault_enable();
	preempt_enable();
}

/* === One copy ============================================================= */

/* Bytes that are not copied: fewer where the user's page is not there. */
static __always_inline size_t asi_rep_movs(void *to, const void *from, size_t len)
{
	size_t tail = 0;

	/* A step each costs less than a byte each. */
	if (!cpu_feature_enabled(X86_FEATURE_ERMS)) {
		tail = len % 8;
		len /= 8;
		asm volatile("1: rep movsq\n2:\n"
			     _ASM_EXTABLE_UA(1b, 2b)
			     : "+c" (len), "+D" (to), "+S" (from) : : "memory");
		if (len)
			return len * 8 + tail;
		len = tail;
	}
	asm volatile("1: rep movsb\n2:\n"
		     _ASM_EXTABLE_UA(1b, 2b)
		     : "+c" (len), "+D" (to), "+S" (from) : : "memory");
	return len;
}

/* The same where a machine check in @from is recovered from. */
static __always_inline size_t asi_rep_movs_mc(void *to, const void *from,
					      size_t len)
{
	/* A step each costs less than a byte each; it is a page that is copied. */
	if (!cpu_feature_enabled(X86_FEATURE_ERMS)) {
		len /= 8;
		asm volatile("1: rep movsq\n2:\n"
			     _ASM_EXTABLE_TYPE(1b, 2b, EX_TYPE_DEFAULT_MCE_SAFE)
			     : "+c" (len), "+D" (to), "+S" (from) : : "memory");
		return len * 8;
	}
	asm volatile("1: rep movsb\n2:\n"
		     _ASM_EXTABLE_TYPE(1b, 2b, EX_TYPE_DEFAULT_MCE_SAFE)
		     : "+c" (len), "+D" (to), "+S" (from) : : "memory");
	return len;
}

static __always_inline void asi_rep_stos(void *to, u8 byte, size_t len)
{
	asm volatile("rep stosb"
		     : "+c" (len), "+D" (to) : "a" (byte) : "memory");
}

static __always_inline void asi_rep_clear(void *to, unsigned int nr)
{
	size_t len = nr * (PAGE_SIZE / 8);

	asm volatile("rep stosq"
		     : "+c" (len), "+D" (to) : "a" (0UL) : "memory");
}

struct asi_once {
	unsigned long flags;
	unsigned int nr;
};

/*
 * INVLPG is about the address space that is loaded. A fault that was not one of the
 * copy's may have left: then the other is flushed when it is loaded again.
 */
static __always_inline void asi_flush_window(unsigned int slot, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		invlpg((unsigned long)asi_slot_address(slot + i));
	if (unlikely(this_cpu_read(asi_cpu.class) != ASI_USER) &&
	    cpu_feature_enabled(X86_FEATURE_PCID))
		asi_flush_later(asi_base_cr3(__native_read_cr3()) &
				ASI_KPCID_MASK, ASI_USER);
}

/*
 * Begin a copy: interrupts are off until asi_once_end(). False, and no effect, if
 * this CPU is not restricted, so that an ordinary copy is as good.
 */
static __always_inline bool asi_once_begin(struct asi_once *once)
{
	unsigned int class;

	if (unlikely(in_nmi()))
		return false;
	local_irq_save(once->flags);
	class = this_cpu_read(asi_cpu.class);
	if (unlikely(class != ASI_USER)) {
		if (class == ASI_NONE) {
			local_irq_restore(once->flags);
			return false;
		}
		__asi_widen();
	}
	once->nr = 0;
	return true;
}

static __always_inline void *asi_once_map(struct asi_once *once,
					  unsigned long pfn, unsigned int nr,
					  bool write)
{
	unsigned int i, slot = ASI_PARKED + once->nr;
	pte_t *ptes = this_cpu_read(asi_window.ptes);
	pteval_t pte = asi_pte(pfn, write);

	for (i = 0; i < nr; i++)
		WRITE_ONCE(ptes[slot + i], __pte(pte + i * PAGE_SIZE));
	once->nr += nr;
	barrier();
	return asi_slot_address(slot);
}

static __always_inline void asi_once_end(struct asi_once *once)
{
	pte_t *ptes = this_cpu_read(asi_window.ptes) + ASI_PARKED;
	unsigned int i;

	barrier();
	for (i = 0; i < once->nr; i++)
		WRITE_ONCE(ptes[i], __pte(0));
	asi_flush_window(ASI_PARKED, once->nr);
	this_cpu_add(asi_window.flushed, once->nr);
	asi_touched_stranger();
	local_irq_restore(once->flags);
}

/* Whether the restricted direct map has no page at @addr. */
static bool asi_address_is_absent(unsigned long addr)
{
	return asi_in_direct_map(addr) &&
	       asi_pfn_is_absent(PHYS_PFN(__pa(addr)));
}

static bool asi_range_is_absent(const void *addr, size_t len)
{
	return asi_address_is_absent((unsigned long)addr) ||
	       (len && asi_address_is_absent((unsigned long)addr + len - 1));
}

/* === Iterators ============================================================ */

static __always_inline size_t asi_to_user(void __user *to, size_t progress,
					  size_t len, void *from, void *unused)
{
	if (unlikely(!access_ok(to, len)))
		return len;
	stac();
	len = asi_rep_movs((__force void *)to, from + progress, len);
	clac();
	return len;
}

/* As copy_from_user() guards against speculation with a bad address. */
static __always_inline size_t asi_from_user(void *to, const void __user *from,
					    size_t len)
{
	if (can_do_masked_user_access()) {
		from = mask_user_address(from);
	} else {
		if (unlikely(!access_ok(from, len)))
			return len;
		barrier_nospec();
	}
	stac();
	len = asi_rep_movs(to, (__force const void *)from, len);
	clac();
	return len;
}

static __always_inline size_t asi_from_user_iter(void __user *from,
						 size_t progress, size_t len,
						 void *to, void *unused)
{
	return asi_from_user(to + progress, from, len);
}

static __always_inline size_t asi_to_kernel(void *to, size_t progress,
					    size_t len, void *from, void *unused)
{
	return asi_rep_movs(to, from + progress, len);
}

static __always_inline size_t asi_from_kernel(void *from, size_t progress,
					      size_t len, void *to, void *unused)
{
	return asi_rep_movs(to + progress, from, len);
}

/* The other side has to be there, without leaving: users' is, or faults. */
static bool asi_iter_ok(const struct iov_iter *iter, size_t bytes)
{
	const struct kvec *kvec;
	size_t skip;

	if (user_backed_iter(iter))
		return true;
	if (!iov_iter_is_kvec(iter))
		return false;
	skip = iter->iov_offset;
	for (kvec = iter->kvec; bytes; kvec++) {
		size_t len = min(bytes, kvec->iov_len - skip);

		if (asi_range_is_absent(kvec->iov_base + skip, len))
			return false;
		bytes -= len;
		skip = 0;
	}
	return true;
}

static __always_inline size_t asi_iterate_to(struct iov_iter *iter, size_t bytes,
					     void *from)
{
	if (likely(iter_is_ubuf(iter)))
		return iterate_ubuf(iter, bytes, from, NULL, asi_to_user);
	if (likely(iter_is_iovec(iter)))
		return iterate_iovec(iter, bytes, from, NULL, asi_to_user);
	return iterate_kvec(iter, bytes, from, NULL, asi_to_kernel);
}

static __always_inline size_t asi_iterate_from(struct iov_iter *iter,
					       size_t bytes, void *to)
{
	if (likely(iter_is_ubuf(iter)))
		return iterate_ubuf(iter, bytes, to, NULL, asi_from_user_iter);
	if (likely(iter_is_iovec(iter)))
		return iterate_iovec(iter, bytes, to, NULL, asi_from_user_iter);
	return iterate_kvec(iter, bytes, to, NULL, asi_from_kernel);
}

/*
 * Page faults are off in a copy, which is short where a page of the user's is not
 * there. Make it present, if that is allowed: false if another try makes no sense.
 */
static bool asi_fault_in(struct iov_iter *iter, size_t bytes, bool to)
{
	if (!user_backed_iter(iter) || faulthandler_disabled() || iter->nofault)
		return false;
	return (to ? fault_in_iov_iter_writeable(iter, bytes) :
		     fault_in_iov_iter_readable(iter, bytes)) < bytes;
}

/*
 * One page, or a part of it. Returns how much was copied; the caller does the rest
 * the ordinary way.
 */
static __always_inline size_t asi_copy_page_iter(struct page *page,
						 size_t offset, size_t bytes,
						 struct iov_iter *iter, bool to,
						 bool atomic)
{
	bool faulted = false;
	struct asi_once once;
	size_t done = 0, n;
	void *addr;

	bytes = min(bytes, iter->count);
	if (!asi_pfn_is_absent(page_to_pfn(page)) || PageHWPoison(page) ||
	    !asi_iter_ok(iter, bytes))
		return 0;
	while (done < bytes && asi_once_begin(&once)) {
		pagefault_disable();
		addr = asi_once_map(&once, page_to_pfn(page), 1, !to) + offset +
		       done;
		n = to ? asi_iterate_to(iter, bytes - done, addr) :
			 asi_iterate_from(iter, bytes - done, addr);
		asi_once_end(&once);
		pagefault_enable();
		done += n;
		if (done == bytes || atomic || (faulted && !n) ||
		    !asi_fault_in(iter, bytes - done, to))
			break;
		faulted = true;
	}
	return done;
}

size_t __asi_copy_page_to_iter(struct page *page, size_t offset, size_t bytes,
			       struct iov_iter *iter)
{
	return asi_copy_page_iter(page, offset, bytes, iter, true, false);
}

size_t __asi_copy_page_to_iter_nofault(struct page *page, size_t offset,
				       size_t bytes, struct iov_iter *iter)
{
	return asi_copy_page_iter(page, offset, bytes, iter, true, true);
}

size_t __asi_copy_page_from_iter(struct page *page, size_t offset, size_t bytes,
				 struct iov_iter *iter)
{
	return asi_copy_page_iter(page, offset, bytes, iter, false, false);
}

size_t __asi_copy_page_from_iter_atomic(struct page *page, size_t offset,
					size_t bytes, struct iov_iter *iter)
{
	return asi_copy_page_iter(page, offset, bytes, iter, false, true);
}

/* More than a page, or not one piece of user memory, or not at the first try. */
static noinline size_t asi_copy_folio_slowly(struct folio *folio, size_t offset,
					     size_t bytes, struct iov_iter *iter)
{
	bool faulted = false;
	size_t done = 0;

	if (!user_backed_iter(iter))
		return 0;
	bytes = min(bytes, iter->count);
	while (done < bytes) {
		size_t start = offset_in_page(offset);
		size_t n, run = min(bytes - done, ASI_RUN * PAGE_SIZE - start);
		void *addr;

		if (!asi_pfn_is_absent(folio_pfn(folio) + (offset >> PAGE_SHIFT)))
			break;
		addr = asi_own_begin(folio, offset >> PAGE_SHIFT,
				     PFN_UP(start + run));
		if (!addr)
			break;
		n = iterate_and_advance(iter, run, addr + start, asi_to_user,
					asi_to_kernel);
		asi_own_end();
		done += n;
		offset += n;
		if (n == run) {
			faulted = false;
			continue;
		}
		if ((faulted && !n) || !asi_fault_in(iter, run - n, true))
			break;
		faulted = true;
	}
	return done;
}

/*
 * What most reads are, and each instruction counts: within a page, to one piece of
 * user memory.
 */
size_t __asi_copy_folio_to_iter(struct folio *folio, size_t offset,
				size_t bytes, struct iov_iter *iter)
{
	size_t start = offset_in_page(offset), done = 0;
	void *addr;

	/* Not for 0 bytes at the end of the folio: the page there is another's. */
	if (likely(start + bytes - 1 < PAGE_SIZE && bytes <= iter->count &&
		   iter_is_ubuf(iter) &&
		   asi_pfn_is_absent(folio_pfn(folio) + (offset >> PAGE_SHIFT)))) {
		addr = asi_own_begin(folio, offset >> PAGE_SHIFT, 1);
		if (likely(addr)) {
			done = iterate_ubuf(iter, bytes, addr + start, NULL,
					    asi_to_user);
			asi_own_end();
			if (likely(done == bytes))
				return done;
		}
	}
	return done + asi_copy_folio_slowly(folio, offset + done, bytes - done,
					    iter);
}

/* === Pages ================================================================ */

bool __asi_clear_pages(struct page *page, unsigned int nr)
{
	unsigned long pfn = page_to_pfn(page);
	struct asi_once once;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (!asi_pfn_is_absent(pfn + i) || !asi_once_begin(&once))
			return false;
		asi_rep_clear(asi_once_map(&once, pfn + i, 1, true), 1);
		asi_once_end(&once);
	}
	return true;
}
EXPORT_SYMBOL(__asi_clear_pages);

bool __asi_memset_page(struct page *page, size_t offset, int byte, size_t len)
{
	struct asi_once once;

	page += offset / PAGE_SIZE;
	offset %= PAGE_SIZE;
	while (len) {
		size_t n = min(len, PAGE_SIZE - offset);
		unsigned long pfn = page_to_pfn(page);

		/* What is done already is done again: it is the same. */
		if (!asi_pfn_is_absent(pfn) || PageHWPoison(page) ||
		    !asi_once_begin(&once))
			return false;
		asi_rep_stos(asi_once_map(&once, pfn, 1, true) + offset, byte, n);
		asi_once_end(&once);
		len -= n;
		offset = 0;
		page++;
	}
	return true;
}
EXPORT_SYMBOL(__asi_memset_page);

/*
 * One page of a copy between @page and the kernel's memory, which is there in the
 * restricted address space as well.
 */
static __always_inline bool asi_memcpy_once(struct page *page, size_t offset,
					    void *buf, size_t len, bool to)
{
	struct asi_once once;
	void *addr;

	if (!asi_pfn_is_absent(page_to_pfn(page)) || PageHWPoison(page) ||
	    asi_range_is_absent(buf, len) || !asi_once_begin(&once))
		return false;
	addr = asi_once_map(&once, page_to_pfn(page), 1, to) + offset;
	len = to ? asi_rep_movs(addr, buf, len) : asi_rep_movs(buf, addr, len);
	asi_once_end(&once);
	return !len;
}

/* What is done when a later page cannot be is done again: it is the same. */
static __always_inline bool asi_memcpy_pages(struct page *page, size_t offset,
					     void *buf, size_t len, bool to)
{
	page += offset / PAGE_SIZE;
	offset %= PAGE_SIZE;
	while (len) {
		size_t n = min(len, PAGE_SIZE - offset);

		if (!asi_memcpy_once(page, offset, buf, n, to))
			return false;
		buf += n;
		len -= n;
		offset = 0;
		page++;
	}
	return true;
}

bool __asi_memcpy_to_page(struct page *page, size_t offset, const void *from,
			  size_t len)
{
	return asi_memcpy_pages(page, offset, (void *)from, len, true);
}
EXPORT_SYMBOL(__asi_memcpy_to_page);

bool __asi_memcpy_from_page(void *to, struct page *page, size_t offset,
			    size_t len)
{
	return asi_memcpy_pages(page, offset, to, len, false);
}
EXPORT_SYMBOL(__asi_memcpy_from_page);

bool __asi_memcpy_page(struct page *to, size_t to_offset, struct page *from,
		       size_t from_offset, size_t len)
{
	unsigned long pfn = page_to_pfn(from);
	struct asi_once once;
	void *vfrom, *vto;

	if ((!asi_pfn_is_absent(pfn) && !asi_pfn_is_absent(page_to_pfn(to))) ||
	    PageHWPoison(from) || !asi_once_begin(&once))
		return false;
	vfrom = asi_once_map(&once, pfn, 1, false) + from_offset;
	vto = asi_once_map(&once, page_to_pfn(to), 1, true) + to_offset;
	len = asi_rep_movs(vto, vfrom, len);
	asi_once_end(&once);
	return !len;
}
EXPORT_SYMBOL(__asi_memcpy_page);

int __asi_copy_mc_page(struct page *to, struct page *from)
{
	unsigned long pfn = page_to_pfn(from);
	struct asi_once once;
	void *vfrom, *vto;
	size_t left;

	if ((!asi_pfn_is_absent(pfn) && !asi_pfn_is_absent(page_to_pfn(to))) ||
	    PageHWPoison(from) || !asi_once_begin(&once))
		return -EPERM;
	vfrom = asi_once_map(&once, pfn, 1, false);
	vto = asi_once_map(&once, page_to_pfn(to), 1, true);
	left = asi_rep_movs_mc(vto, vfrom, PAGE_SIZE);
	asi_once_end(&once);
	if (left)
		memory_failure_queue(pfn, 0);
	return left;
}
EXPORT_SYMBOL(__asi_copy_mc_page);

bool __asi_copy_page_from_user(struct page *page, size_t offset,
			       const void __user *from, size_t len)
{
	struct asi_once once;
	size_t left;

	if (!asi_pfn_is_absent(page_to_pfn(page)) || PageHWPoison(page) ||
	    !asi_once_begin(&once))
		return false;
	pagefault_disable();
	left = asi_from_user(asi_once_map(&once, page_to_pfn(page), 1, true) +
			     offset, from, len);
	asi_once_end(&once);
	pagefault_enable();
	return !left;
}
EXPORT_SYMBOL(__asi_copy_page_from_user);

/* === New pages ============================================================ */

/*
 * A slot to be parked in, or a negative number where a copy has to do without:
 * interrupts are off.
 */
static __always_inline int asi_own_slot(struct asi_window *w)
{
	if (unlikely(w->open || w->nput | w->leaf_nput ||
		     w->used == ASI_PARKED || lru_cache_disabled() ||
		     !timer_pending(&w->timer) || current->flags & PF_KTHREAD ||
		     this_cpu_read(cpu_tlbstate.loaded_mm) != current->mm ||
		     tick_nohz_full_cpu(smp_processor_id())))
		return -1;
	return w->used;
}

static __always_inline void *asi_own_map(struct asi_window *w, unsigned int slot,
					 unsigned long pfn)
{
	WRITE_ONCE(w->ptes[slot], __pte(asi_pte(pfn, true)));
	barrier();
	return asi_slot_address(slot);
}

static __always_inline void asi_own_keep(struct asi_window *w, unsigned int slot,
					 struct page *page)
{
	barrier();
	w->folios[slot] = page_folio(page);
	folio_get(w->folios[slot]);
	w->used = slot + 1;
	this_cpu_inc(asi_cpu.nr.parked);
	asi_touched_stranger();
}

static __always_inline bool asi_own_ready(struct asi_window *w)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT) || !in_task() || irqs_disabled() ||
	    this_cpu_read(asi_cpu.class) != ASI_USER)
		return false;
	/* The timer is not to be started with interrupts off. */
	if (w->used == ASI_PARKED)
		asi_drain(w, ASI_DRAIN_FULL);
	asi_begin_parking(w);
	return true;
}

/**
 * asi_clear_own_page() - zero a new page of current's, and keep it mapped
 * @page: The page, of order 0; nobody else knows it yet.
 *
 * Context: Task context.
 * Return: true if it is done; false if the caller has to do it.
 */
bool asi_clear_own_page(struct page *page)
{
	struct asi_window *w;
	struct asi_once once;
	bool done = false;
	int slot;

	if (!asi_pfn_is_absent(page_to_pfn(page)))
		return false;
	preempt_disable();
	w = this_cpu_ptr(&asi_window);
	if (likely(asi_own_ready(w)) && likely(asi_once_begin(&once))) {
		slot = asi_own_slot(w);
		if (likely(slot >= 0)) {
			asi_rep_clear(asi_own_map(w, slot, page_to_pfn(page)), 1);
			asi_own_keep(w, slot, page);
			done = true;
		}
		local_irq_restore(once.flags);
	}
	preempt_enable();
	return done;
}

/**
 * asi_copy_own_page() - copy a page of current's to a new one, and keep it mapped
 * @page: Where to, as of asi_clear_own_page().
 * @from: Where from: current's address, of a page.
 *
 * Context: Task context.
 * Return: true if it is done; false if the caller has to do it: also where @from
 * is not there any more, or is poisoned.
 */
bool asi_copy_own_page(struct page *page, const void __user *from)
{
	struct asi_window *w;
	struct asi_once once;
	bool done = false;
	size_t left;
	int slot;

	if (!asi_pfn_is_absent(page_to_pfn(page)) || !access_ok(from, PAGE_SIZE))
		return false;
	preempt_disable();
	pagefault_disable();
	w = this_cpu_ptr(&asi_window);
	if (likely(asi_own_ready(w)) && likely(asi_once_begin(&once))) {
		slot = asi_own_slot(w);
		if (likely(slot >= 0)) {
			void *to = asi_own_map(w, slot, page_to_pfn(page));

			stac();
			left = asi_rep_movs_mc(to, (__force const void *)from,
					       PAGE_SIZE);
			clac();
			done = !left;
			if (likely(done)) {
				asi_own_keep(w, slot, page);
			} else {
				barrier();
				WRITE_ONCE(w->ptes[slot], __pte(0));
				asi_flush_window(slot, 1);
			}
		}
		local_irq_restore(once.flags);
	}
	pagefault_enable();
	preempt_enable();
	return done;
}
