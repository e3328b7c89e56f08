/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Copies of user data that do not leave the restricted address space of Address
 * Space Isolation: through the local scope of the ephmap. Where there is none,
 * and out of the restricted address space, they are the ordinary copies. For
 * more info see Documentation/arch/x86/asi.rst.
 */
#ifndef _LINUX_ASI_COPY_H
#define _LINUX_ASI_COPY_H

#include <linux/highmem.h>
#include <linux/uio.h>

/* asi_copy_folios_to_iter() out of the restricted address space. */
static inline size_t copy_folios_to_iter(struct folio **folios, size_t offset,
					 size_t bytes, struct iov_iter *iter)
{
	size_t done = 0;

	while (done < bytes) {
		size_t size = min(bytes - done, folio_size(*folios) - offset);
		size_t copied = copy_folio_to_iter(*folios++, offset, size, iter);

		done += copied;
		if (copied < size)
			break;
		offset = 0;
	}
	return done;
}

#ifdef CONFIG_EPHMAP_LOCAL

#include <linux/asi.h>

size_t __asi_copy_folio_to_iter(struct folio *folio, size_t offset,
				size_t bytes, struct iov_iter *iter);
size_t __asi_copy_folios_to_iter(struct folio **folios, size_t offset,
				 size_t bytes, struct iov_iter *iter);
size_t __asi_copy_folio_from_iter_atomic(struct folio *folio, size_t offset,
					 size_t bytes, struct iov_iter *iter);
bool __asi_clear_pages(struct page *page, unsigned int nr);
void __asi_folio_zero_range(struct folio *folio, size_t offset, size_t len);
bool __asi_copy_page_from_user(struct page *page, size_t offset,
			       const void __user *from, size_t len);
bool __asi_memcpy_to_page(struct page *page, size_t offset, const void *from,
			  size_t len);
bool __asi_memcpy_from_page(void *to, struct page *page, size_t offset,
			    size_t len);
size_t __asi_copy_page_to_iter(struct page *page, size_t offset, size_t bytes,
			       struct iov_iter *iter);
size_t __asi_copy_page_from_iter(struct page *page, size_t offset, size_t bytes,
				 struct iov_iter *iter);
int __asi_copy_mc_page(struct page *to, struct page *from);

/**
 * asi_copy_folio_to_iter() - copy_folio_to_iter() of a folio with user data
 * @folio: The folio.
 * @offset: Where in the folio, in bytes.
 * @bytes: How much; it ends within the folio.
 * @iter: Where to.
 *
 * Context: As of copy_folio_to_iter().
 * Return: as copy_folio_to_iter().
 */
static inline size_t asi_copy_folio_to_iter(struct folio *folio, size_t offset,
					    size_t bytes, struct iov_iter *iter)
{
	/* A hint: it may have changed by the time the copy begins. */
	if (asi_restricted())
		return __asi_copy_folio_to_iter(folio, offset, bytes, iter);
	return copy_folio_to_iter(folio, offset, bytes, iter);
}

/**
 * asi_copy_folios_to_iter() - copy from consecutive folios of a file
 * @folios: The folios.
 * @offset: Where in the first one, in bytes.
 * @bytes: How much; it ends within the last one.
 * @iter: Where to.
 *
 * In the restricted address space it costs less than one by one.
 *
 * Context: As of copy_folio_to_iter().
 * Return: as copy_folio_to_iter().
 */
static inline size_t asi_copy_folios_to_iter(struct folio **folios,
					     size_t offset, size_t bytes,
					     struct iov_iter *iter)
{
	if (asi_restricted())
		return __asi_copy_folios_to_iter(folios, offset, bytes, iter);
	return copy_folios_to_iter(folios, offset, bytes, iter);
}

/**
 * asi_copy_folio_from_iter_atomic() - copy_folio_from_iter_atomic() of user data
 * @folio: The folio.
 * @offset: Where in the folio, in bytes.
 * @bytes: How much; it ends within the folio.
 * @iter: Where from.
 *
 * Context: As of copy_folio_from_iter_atomic(); task context, interrupts on.
 * Return: as copy_folio_from_iter_atomic().
 */
static inline size_t asi_copy_folio_from_iter_atomic(struct folio *folio,
						     size_t offset,
						     size_t bytes,
						     struct iov_iter *iter)
{
	if (asi_restricted())
		return __asi_copy_folio_from_iter_atomic(folio, offset, bytes,
							 iter);
	return copy_folio_from_iter_atomic(folio, offset, bytes, iter);
}

/**
 * asi_clear_pages() - zero pages that become a user's, if that is better
 * @page: The first page.
 * @nr: Number of pages; they are one piece of memory.
 *
 * Context: Any.
 * Return: true if they are zeroed; false if the caller has to do it.
 */
static inline bool asi_clear_pages(struct page *page, unsigned int nr)
{
	return asi_restricted() && __asi_clear_pages(page, nr);
}

/**
 * asi_folio_zero_range() - folio_zero_range() of a folio with user data
 * @folio: The folio.
 * @offset: Where in the folio, in bytes.
 * @len: How much, in bytes.
 *
 * Context: As of folio_zero_range().
 */
static inline void asi_folio_zero_range(struct folio *folio, size_t offset,
					size_t len)
{
	if (asi_restricted())
		__asi_folio_zero_range(folio, offset, len);
	else
		folio_zero_range(folio, offset, len);
}

/**
 * asi_copy_page_from_user() - copy to a page of a user's, if that is better
 * @page: Where to: a page that the caller has made the user's.
 * @offset: Where in the page, in bytes.
 * @from: Where from.
 * @len: How much; it ends within the page.
 *
 * Context: Task context.
 * Return: true if all is copied; false if the caller has to do it.
 */
static inline bool asi_copy_page_from_user(struct page *page, size_t offset,
					   const void __user *from, size_t len)
{
	return asi_restricted() &&
	       __asi_copy_page_from_user(page, offset, from, len);
}

/**
 * asi_memcpy_to_page() - write to a page of a user's, if that is better
 * @page: Where to: a page that current may write to.
 * @offset: Where in the page, in bytes.
 * @from: Where from, in the kernel's memory.
 * @len: How much; it ends within the page.
 *
 * Context: Task context.
 * Return: true if all is copied; false if the caller has to do it.
 */
static inline bool asi_memcpy_to_page(struct page *page, size_t offset,
				      const void *from, size_t len)
{
	return asi_restricted() && __asi_memcpy_to_page(page, offset, from, len);
}

/**
 * asi_memcpy_from_page() - read from a page of a user's, if that is better
 * @to: Where to, in the kernel's memory.
 * @page: Where from: a page that current may read.
 * @offset: Where in the page, in bytes.
 * @len: How much; it ends within the page.
 *
 * Context: Task context.
 * Return: true if all is copied; false if the caller has to do it.
 */
static inline bool asi_memcpy_from_page(void *to, struct page *page,
					size_t offset, size_t len)
{
	return asi_restricted() && __asi_memcpy_from_page(to, page, offset, len);
}

/**
 * asi_copy_page_to_iter() - copy_page_to_iter() of a page with user data
 * @page: The page: one that current may read.
 * @offset: Where in the page, in bytes.
 * @bytes: How much; if it ends within the page it is done in a session.
 * @iter: Where to.
 *
 * Context: As of copy_page_to_iter().
 * Return: as copy_page_to_iter().
 */
static inline size_t asi_copy_page_to_iter(struct page *page, size_t offset,
					   size_t bytes, struct iov_iter *iter)
{
	if (asi_restricted())
		return __asi_copy_page_to_iter(page, offset, bytes, iter);
	return copy_page_to_iter(page, offset, bytes, iter);
}

/**
 * asi_copy_page_from_iter() - copy_page_from_iter() of a page with user data
 * @page: The page: one that current may write to.
 * @offset: Where in the page, in bytes.
 * @bytes: How much; if it ends within the page it is done in a session.
 * @iter: Where from.
 *
 * Context: As of copy_page_from_iter().
 * Return: as copy_page_from_iter().
 */
static inline size_t asi_copy_page_from_iter(struct page *page, size_t offset,
					     size_t bytes,
					     struct iov_iter *iter)
{
	if (asi_restricted())
		return __asi_copy_page_from_iter(page, offset, bytes, iter);
	return copy_page_from_iter(page, offset, bytes, iter);
}

/**
 * asi_copy_mc_user_highpage() - copy_mc_user_highpage() of a user's page
 * @to: Where to.
 * @from: Where from.
 * @vaddr: The user's address.
 * @vma: The user's mapping.
 *
 * Context: As of copy_mc_user_highpage().
 * Return: as copy_mc_user_highpage().
 */
static inline int asi_copy_mc_user_highpage(struct page *to, struct page *from,
					    unsigned long vaddr,
					    struct vm_area_struct *vma)
{
	if (asi_restricted()) {
		int left = __asi_copy_mc_page(to, from);

		if (left >= 0)
			return left;
	}
	return copy_mc_user_highpage(to, from, vaddr, vma);
}

#else /* !CONFIG_EPHMAP_LOCAL */

static inline size_t asi_copy_folio_to_iter(struct folio *folio, size_t offset,
					    size_t bytes, struct iov_iter *iter)
{
	return copy_folio_to_iter(folio, offset, bytes, iter);
}

static inline size_t asi_copy_folios_to_iter(struct folio **folios,
					     size_t offset, size_t bytes,
					     struct iov_iter *iter)
{
	return copy_folios_to_iter(folios, offset, bytes, iter);
}

static inline size_t asi_copy_folio_from_iter_atomic(struct folio *folio,
						     size_t offset,
						     size_t bytes,
						     struct iov_iter *iter)
{
	return copy_folio_from_iter_atomic(folio, offset, bytes, iter);
}

static inline bool asi_clear_pages(struct page *page, unsigned int nr)
{
	return false;
}

static inline void asi_folio_zero_range(struct folio *folio, size_t offset,
					size_t len)
{
	folio_zero_range(folio, offset, len);
}

static inline bool asi_copy_page_from_user(struct page *page, size_t offset,
					   const void __user *from, size_t len)
{
	return false;
}

static inline bool asi_memcpy_to_page(struct page *page, size_t offset,
				      const void *from, size_t len)
{
	return false;
}

static inline bool asi_memcpy_from_page(void *to, struct page *page,
					size_t offset, size_t len)
{
	return false;
}

static inline size_t asi_copy_page_to_iter(struct page *page, size_t offset,
					   size_t bytes, struct iov_iter *iter)
{
	return copy_page_to_iter(page, offset, bytes, iter);
}

static inline size_t asi_copy_page_from_iter(struct page *page, size_t offset,
					     size_t bytes,
					     struct iov_iter *iter)
{
	return copy_page_from_iter(page, offset, bytes, iter);
}

static inline int asi_copy_mc_user_highpage(struct page *to, struct page *from,
					    unsigned long vaddr,
					    struct vm_area_struct *vma)
{
	return copy_mc_user_highpage(to, from, vaddr, vma);
}

#endif /* CONFIG_EPHMAP_LOCAL */

/* folio_zero_segments() of a folio with user data. */
static inline void asi_folio_zero_segments(struct folio *folio, size_t start1,
					   size_t xend1, size_t start2,
					   size_t xend2)
{
	if (xend1 > start1)
		asi_folio_zero_range(folio, start1, xend1 - start1);
	if (xend2 > start2)
		asi_folio_zero_range(folio, start2, xend2 - start2);
}

#endif /* _LINUX_ASI_COPY_H */
