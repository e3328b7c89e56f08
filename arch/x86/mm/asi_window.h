/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address Space Isolation: a CPU's window, in its restricted page tables only.
 * Private to arch/x86/mm/. For more info see Documentation/arch/x86/asi.rst.
 */
#ifndef _X86_MM_ASI_WINDOW_H
#define _X86_MM_ASI_WINDOW_H

#include <linux/gfp.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/timer_types.h>
#include <linux/topology.h>

#include <asm/ephmap.h>

struct asi_audit;
struct folio;

/*
 * At the same addresses on each CPU, where the ephmap has its windows in page
 * tables of its own. Eight page tables: what is parked, and above it what is
 * mapped for one copy.
 */
#define ASI_WINDOW_BASE		EPHMAP_BASE_ADDR
#define ASI_WINDOW_PTES		(8 * PTRS_PER_PTE)
#define ASI_STRANGERS		64
#define ASI_PARKED		(ASI_WINDOW_PTES - ASI_STRANGERS)

/* Of the folios' array and of the hash: powers of two. */
#define ASI_WINDOW_ORDER	3
#define ASI_HASH_SIZE		((PAGE_SIZE << ASI_WINDOW_ORDER) / sizeof(u16))

/* Folios of a PMD's size, as large pages: their entries in the window's PMD. */
#define ASI_LEAVES		32
#define ASI_FIRST_LEAF		32

/* Pages that one session maps. */
#define ASI_RUN			16U

/* How long a page stays mapped after it was copied from, at most; and a tick. */
#define ASI_PARK_MS		10

/* More re-enters in one session are a loop: it is a fault then. */
#define ASI_REBOUNDS		64

/**
 * struct asi_window - a CPU's window
 * @ptes:     Its page tables, one after the other.
 * @folios:   For each parked slot the folio that it holds a reference to; NULL
 *            for all but the first one of a run.
 * @hash:     By page frame: the slot it was parked in last. A hint.
 * @leaves:   Entries of large pages.
 * @leaf_folios: For each of them the folio that it holds a reference to.
 * @leaf_hash: By page frame: the leaf. A hint.
 * @owner:    ctx_id of the mm whose pages are parked.
 * @used:     Slots parked; those above it are none.
 * @leaf_used: The same of leaves.
 * @room:     Below it pages may be parked with fewer questions, see asi_park_next();
 *            0 unless something is parked.
 * @nput:     Slots cleared and flushed whose references are not yet put. Nothing is
 *            parked meanwhile.
 * @leaf_nput: The same of leaves.
 * @flushed:  Pages flushed one by one since boot.
 * @rebounds: How often the session that is open has been re-entered.
 * @kpcid:    The kPCID of the mm whose pages are parked.
 * @open:     A session that maps what may be parked is open.
 * @drain:    It is to unpark when it ends.
 * @putting:  References are being put, with preemption off.
 * @timer:    To unpark after ASI_PARK_MS.
 *
 * Written by its CPU only. With interrupts off: all, but @nput may be made less
 * with preemption off, and @used greater in a session.
 */
struct asi_window {
	pte_t *ptes;
	struct folio **folios;
	u16 *hash;
	pmd_t *leaves;
	struct folio *leaf_folios[ASI_LEAVES];
	u8 leaf_hash[2 * ASI_LEAVES];
	u64 owner;
	unsigned int used;
	unsigned int leaf_used;
	unsigned int room;
	unsigned int nput;
	unsigned int leaf_nput;
	unsigned int rebounds;
	unsigned long flushed;
	u16 kpcid;
	bool open;
	bool drain;
	bool putting;
	struct timer_list timer;
};

DECLARE_PER_CPU_ALIGNED(struct asi_window, asi_window);

static __always_inline bool asi_in_window(unsigned long addr)
{
	return addr - ASI_WINDOW_BASE < (ASI_FIRST_LEAF + ASI_LEAVES) * PMD_SIZE;
}

static __always_inline bool asi_window_used(struct asi_window *w)
{
	return w->used | w->leaf_used;
}

/* Zeroed pages of the CPU's node, or NULL. May sleep. */
static inline void *asi_tables(unsigned int cpu, unsigned int order)
{
	struct page *page = alloc_pages_node(cpu_to_node(cpu),
					     GFP_KERNEL | __GFP_ZERO, order);

	return page ? page_address(page) : NULL;
}

int asi_window_prepare(unsigned int cpu, pgd_t *entry);
int asi_window_dead(unsigned int cpu);
void asi_window_leave(struct asi_window *w);
void asi_audit_roots(struct asi_audit *audit);

#endif /* _X86_MM_ASI_WINDOW_H */
