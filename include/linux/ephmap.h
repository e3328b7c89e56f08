/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ephemeral map (ephmap): map a few pages that have no direct-map alias, on
 * one CPU, for the duration of one copy. For more info see
 * Documentation/mm/ephmap.rst.
 */
#ifndef _LINUX_EPHMAP_H
#define _LINUX_EPHMAP_H

#include <linux/err.h>
#include <linux/types.h>

struct folio;
struct page;

/**
 * enum ephmap_prot - what a mapping allows
 * @EPHMAP_RO: Reads only; a write faults.
 * @EPHMAP_RW: Reads and writes.
 *
 * Every mapping is supervisor-only, non-executable and non-global.
 */
enum ephmap_prot {
	EPHMAP_RO,
	EPHMAP_RW,
};

/*
 * Pages one CPU can have mapped at a time, all nested sessions together. At
 * most 33 pages are worth flushing one by one on x86
 * (tlb_single_page_flush_ceiling), so that ending a session never needs a full
 * flush; and the time with preemption off stays that of copying 16 pages.
 */
#define EPHMAP_MAX_PAGES	32

/* Sessions one CPU can have open at a time, the innermost ending first. */
#define EPHMAP_MAX_DEPTH	4

/**
 * struct ephmap_session - one use of this CPU's window; lives on the stack
 * @depth: Position among the nested sessions of this CPU, 1 is the outermost.
 * @first: Index of the session's first page in the window.
 * @entered: It is this session that has loaded the private mm.
 *
 * The members are private to mm/ephmap.c.
 */
struct ephmap_session {
	unsigned int depth;
	unsigned int first;
	bool entered;
};

#ifdef CONFIG_EPHMAP

#include <linux/jump_label.h>

DECLARE_STATIC_KEY_FALSE(ephmap_key);

/**
 * ephmap_available() - whether sessions can be opened
 *
 * Settled during boot and constant after it: false with ephmap=off, on a CPU
 * or hypervisor the architecture rules out, or when boot ran out of memory.
 *
 * Context: Any.
 * Return: true when ephmap_begin() can succeed.
 */
static __always_inline bool ephmap_available(void)
{
	return static_branch_unlikely(&ephmap_key);
}

int __must_check ephmap_begin(struct ephmap_session *session);
void *ephmap_map_page(struct ephmap_session *session, struct page *page,
		      enum ephmap_prot prot);
void *ephmap_map_folio(struct ephmap_session *session, struct folio *folio,
		       unsigned long first, unsigned int nr,
		       enum ephmap_prot prot);
void ephmap_end(struct ephmap_session *session);

int ephmap_copy_pages(struct ephmap_session *session, struct folio *dst,
		      struct folio *src, unsigned long first, unsigned int nr);
int ephmap_copy_folio(struct folio *dst, struct folio *src);
int ephmap_zero_folio(struct folio *folio);
int ephmap_write_folio(struct folio *folio, size_t offset, const void *from,
		       size_t len);
int ephmap_read_folio(struct folio *folio, size_t offset, void *to, size_t len);
int ephmap_call(struct page *page, size_t offset,
		void (*fn)(void *addr, void *arg), void *arg);

void ephmap_cpu_stop(void);

void __ephmap_check_free(struct page *page, unsigned int order);

/**
 * ephmap_check_free() - hook of the page allocator: a page is being freed
 * @page: First page.
 * @order: Order of the block.
 *
 * Warns, with CONFIG_EPHMAP_DEBUG, when any CPU still maps one of the pages.
 *
 * Context: Any.
 */
static inline void ephmap_check_free(struct page *page, unsigned int order)
{
	if (IS_ENABLED(CONFIG_EPHMAP_DEBUG) && ephmap_available())
		__ephmap_check_free(page, order);
}

#else /* !CONFIG_EPHMAP */

static inline bool ephmap_available(void)
{
	return false;
}

static inline int __must_check ephmap_begin(struct ephmap_session *session)
{
	return -EOPNOTSUPP;
}

static inline void *ephmap_map_page(struct ephmap_session *session,
				    struct page *page, enum ephmap_prot prot)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void *ephmap_map_folio(struct ephmap_session *session,
				     struct folio *folio, unsigned long first,
				     unsigned int nr, enum ephmap_prot prot)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void ephmap_end(struct ephmap_session *session) { }

static inline int ephmap_copy_pages(struct ephmap_session *session,
				    struct folio *dst, struct folio *src,
				    unsigned long first, unsigned int nr)
{
	return -EOPNOTSUPP;
}

static inline int ephmap_copy_folio(struct folio *dst, struct folio *src)
{
	return -EOPNOTSUPP;
}

static inline int ephmap_zero_folio(struct folio *folio)
{
	return -EOPNOTSUPP;
}

static inline int ephmap_write_folio(struct folio *folio, size_t offset,
				     const void *from, size_t len)
{
	return -EOPNOTSUPP;
}

static inline int ephmap_read_folio(struct folio *folio, size_t offset,
				    void *to, size_t len)
{
	return -EOPNOTSUPP;
}

static inline int ephmap_call(struct page *page, size_t offset,
			      void (*fn)(void *addr, void *arg), void *arg)
{
	return -EOPNOTSUPP;
}

static inline void ephmap_cpu_stop(void) { }

static inline void ephmap_check_free(struct page *page, unsigned int order) { }

#endif /* CONFIG_EPHMAP */

#endif /* _LINUX_EPHMAP_H */
