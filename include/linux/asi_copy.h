/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Copies of user data that do not leave the restricted address space of Address
 * Space Isolation: the primitives of <linux/highmem.h> and lib/iov_iter.c try
 * these first, which do nothing out of it. For more info see
 * Documentation/arch/x86/asi.rst.
 */
#ifndef _LINUX_ASI_COPY_H
#define _LINUX_ASI_COPY_H

#include <linux/asi.h>

struct folio;
struct iov_iter;
struct page;

#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION

size_t __asi_copy_folio_to_iter(struct folio *folio, size_t offset,
				size_t bytes, struct iov_iter *iter);
size_t __asi_copy_page_to_iter(struct page *page, size_t offset, size_t bytes,
			       struct iov_iter *iter);
size_t __asi_copy_page_to_iter_nofault(struct page *page, size_t offset,
				       size_t bytes, struct iov_iter *iter);
size_t __asi_copy_page_from_iter(struct page *page, size_t offset, size_t bytes,
				 struct iov_iter *iter);
size_t __asi_copy_page_from_iter_atomic(struct page *page, size_t offset,
					size_t bytes, struct iov_iter *iter);
bool __asi_clear_pages(struct page *page, unsigned int nr);
bool __asi_memset_page(struct page *page, size_t offset, int byte, size_t len);
bool __asi_memcpy_to_page(struct page *page, size_t offset, const void *from,
			  size_t len);
bool __asi_memcpy_from_page(void *to, struct page *page, size_t offset,
			    size_t len);
bool __asi_memcpy_page(struct page *to, size_t to_offset, struct page *from,
		       size_t from_offset, size_t len);
bool __asi_copy_page_from_user(struct page *page, size_t offset,
			       const void __user *from, size_t len);
int __asi_copy_mc_page(struct page *to, struct page *from);

void asi_drain_parked(void);
bool asi_cpu_has_parked(unsigned int cpu);

#else /* !CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

static inline size_t __asi_copy_folio_to_iter(struct folio *folio,
					      size_t offset, size_t bytes,
					      struct iov_iter *iter)
{
	return 0;
}

static inline size_t __asi_copy_page_to_iter(struct page *page, size_t offset,
					     size_t bytes,
					     struct iov_iter *iter)
{
	return 0;
}

static inline size_t __asi_copy_page_to_iter_nofault(struct page *page,
						     size_t offset,
						     size_t bytes,
						     struct iov_iter *iter)
{
	return 0;
}

static inline size_t __asi_copy_page_from_iter(struct page *page, size_t offset,
					       size_t bytes,
					       struct iov_iter *iter)
{
	return 0;
}

static inline size_t __asi_copy_page_from_iter_atomic(struct page *page,
						      size_t offset,
						      size_t bytes,
						      struct iov_iter *iter)
{
	return 0;
}

static inline bool __asi_clear_pages(struct page *page, unsigned int nr)
{
	return false;
}

static inline bool __asi_memset_page(struct page *page, size_t offset, int byte,
				     size_t len)
{
	return false;
}

static inline bool __asi_memcpy_to_page(struct page *page, size_t offset,
					const void *from, size_t len)
{
	return false;
}

static inline bool __asi_memcpy_from_page(void *to, struct page *page,
					  size_t offset, size_t len)
{
	return false;
}

static inline bool __asi_memcpy_page(struct page *to, size_t to_offset,
				     struct page *from, size_t from_offset,
				     size_t len)
{
	return false;
}

static inline bool __asi_copy_page_from_user(struct page *page, size_t offset,
					     const void __user *from, size_t len)
{
	return false;
}

static inline int __asi_copy_mc_page(struct page *to, struct page *from)
{
	return -EPERM;
}

static inline void asi_drain_parked(void) { }

static inline bool asi_cpu_has_parked(unsigned int cpu)
{
	return false;
}

#endif /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

/**
 * asi_clear_pages() - zero pages, if there is a better way than by their addresses
 * @page: The first page.
 * @nr: Number of pages; they are one piece of memory.
 *
 * This and its kind, below: whether it is better is asked without a lock. It may
 * not be any more when the copy begins, which is then done the ordinary way.
 *
 * Context: Any.
 * Return: true if it is done; false if the caller has to do it.
 */
static __always_inline bool asi_clear_pages(struct page *page, unsigned int nr)
{
	return asi_restricted() && __asi_clear_pages(page, nr);
}

/**
 * asi_memset_page() - the same for memset()
 * @page: The first page.
 * @offset: Where in it, in bytes.
 * @byte: What to set.
 * @len: How much, in bytes; it may end in a later page of the same folio.
 *
 * Context: Any.
 * Return: as asi_clear_pages().
 */
static __always_inline bool asi_memset_page(struct page *page, size_t offset,
					    int byte, size_t len)
{
	return asi_restricted() && __asi_memset_page(page, offset, byte, len);
}

/**
 * asi_memcpy_to_page() - the same for a copy to pages
 * @page: The first page to copy to.
 * @offset: Where in it, in bytes.
 * @from: Where from, in the kernel's memory.
 * @len: How much, in bytes; it may end in a later page of the same folio.
 *
 * Context: Any.
 * Return: as asi_clear_pages().
 */
static __always_inline bool asi_memcpy_to_page(struct page *page, size_t offset,
					       const void *from, size_t len)
{
	return asi_restricted() && __asi_memcpy_to_page(page, offset, from, len);
}

/**
 * asi_memcpy_from_page() - the same for a copy from pages
 * @to: Where to, in the kernel's memory.
 * @page: The first page to copy from.
 * @offset: Where in it, in bytes.
 * @len: How much, in bytes; it may end in a later page of the same folio.
 *
 * Context: Any.
 * Return: as asi_clear_pages().
 */
static __always_inline bool asi_memcpy_from_page(void *to, struct page *page,
						 size_t offset, size_t len)
{
	return asi_restricted() && __asi_memcpy_from_page(to, page, offset, len);
}

/**
 * asi_memcpy_page() - the same for a copy from page to page
 * @to: Where to.
 * @to_offset: Where in it, in bytes.
 * @from: Where from.
 * @from_offset: Where in it, in bytes.
 * @len: How much; it ends within both.
 *
 * Context: Any.
 * Return: as asi_clear_pages().
 */
static __always_inline bool asi_memcpy_page(struct page *to, size_t to_offset,
					    struct page *from,
					    size_t from_offset, size_t len)
{
	return asi_restricted() &&
	       __asi_memcpy_page(to, to_offset, from, from_offset, len);
}

/**
 * asi_copy_page_from_user() - the same for a copy from user memory
 * @page: Where to.
 * @offset: Where in the page, in bytes.
 * @from: Where from.
 * @len: How much; it ends within the page.
 *
 * Context: Task context.
 * Return: as asi_clear_pages(); false if a page of the user's is not there.
 */
static __always_inline bool asi_copy_page_from_user(struct page *page,
						    size_t offset,
						    const void __user *from,
						    size_t len)
{
	return asi_restricted() &&
	       __asi_copy_page_from_user(page, offset, from, len);
}

/**
 * asi_copy_mc_page() - the same for a page that may be poisoned
 * @to: Where to.
 * @from: Where from.
 *
 * Context: Any.
 * Return: the bytes that are not copied for a machine check, which is reported, or
 * a negative number if the caller has to do it.
 */
static __always_inline int asi_copy_mc_page(struct page *to, struct page *from)
{
	return asi_restricted() ? __asi_copy_mc_page(to, from) : -EPERM;
}

#endif /* _LINUX_ASI_COPY_H */
