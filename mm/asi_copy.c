// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of user data that do not leave the restricted address space of Address
 * Space Isolation. For more info see Documentation/arch/x86/asi.rst.
 *
 * What can be copied through a window of the ephmap is; all else, and whatever a
 * window does not do, is left to the ordinary path, which gives the same result
 * and leaves the restricted address space. So nothing here can fail.
 */
#include <linux/asi_copy.h>
#include <linux/export.h>
#include <linux/iov_iter.h>
#include <linux/nospec.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/preempt.h>
#include <linux/uaccess.h>

#include "ephmap.h"

/*
 * Whether it may be absent from the restricted direct map: all users' memory is.
 * A guess: without a mapping any more it is as good to copy it the ordinary way.
 * The caller sees to it that the mapping is there, while it is the folio's: by an
 * open file, the folio's lock, or RCU.
 */
static bool asi_folio_is_sensitive(struct folio *folio)
{
	struct address_space *mapping = READ_ONCE(folio->mapping);

	return mapping && (mapping_gfp_mask(mapping) &
			   (__GFP_MOVABLE | __GFP_SENSITIVE));
}

/*
 * What a driver maps is mapped by the kernel as the driver wants it cached: it is
 * in no mapping, but not in a block of users' either, as what a pipe holds is, or
 * in a CMA block.
 */
static bool asi_page_is_sensitive(struct page *page)
{
	struct folio *folio = page_folio(page);

	guard(rcu)();
	return folio_test_anon(folio) || asi_folio_is_sensitive(folio) ||
	       (!READ_ONCE(folio->mapping) &&
		get_pageblock_visibility(page) == VIS_USER &&
		!is_migrate_cma_page(page));
}

/* A session may wait for other CPUs when it ends. */
static bool asi_context_ok(void)
{
	return in_task() && !irqs_disabled();
}

/* How much of @bytes at @offset one session maps. */
static size_t asi_run(size_t offset, size_t bytes)
{
	return min(bytes, EPHMAP_MAX_PAGES * PAGE_SIZE - offset_in_page(offset));
}

/* A session, with page tables made or found if that is what is missing. */
static __always_inline bool asi_begin(struct ephmap_local *session)
{
	bool prepared = false;

	while (unlikely(!ephmap_local_begin(session))) {
		if (prepared || !asi_restricted() || !ephmap_local_prepare())
			return false;
		prepared = true;
	}
	return true;
}

static __always_inline size_t asi_to_user(void __user *to, size_t progress,
					  size_t len, void *from, void *unused)
{
	if (unlikely(!access_ok(to, len)))
		return len;
	return __copy_to_user_inatomic(to, from + progress, len);
}

/* As copy_from_user() guards against speculation with a bad address. */
static __always_inline size_t asi_from_user(const void __user *from,
					    void *to, size_t len)
{
	if (can_do_masked_user_access()) {
		from = mask_user_address(from);
	} else {
		if (unlikely(!access_ok(from, len)))
			return len;
		barrier_nospec();
	}
	return __copy_from_user_inatomic(to, from, len);
}

static __always_inline size_t asi_from_user_iter(void __user *from,
						 size_t progress, size_t len,
						 void *to, void *unused)
{
	return asi_from_user(from, to + progress, len);
}

/*
 * What most reads and writes are, and each instruction counts: within a page, one
 * piece of user memory. Returns the bytes copied, which is fewer where that is not
 * there, or a negative number if it cannot be done like this.
 */
static __always_inline ssize_t asi_copy_in_page(struct folio *folio,
						size_t offset, size_t bytes,
						struct iov_iter *iter,
						enum ephmap_prot prot)
{
	size_t start = offset_in_page(offset);
	struct ephmap_local session;
	void *addr;

	if (start + bytes > PAGE_SIZE || bytes > iter->count ||
	    !iter_is_ubuf(iter) || !asi_folio_is_sensitive(folio) ||
	    folio_contain_hwpoisoned_page(folio) || !asi_begin(&session))
		return -EAGAIN;
	addr = ephmap_local_map(&session, folio_page(folio, offset >> PAGE_SHIFT),
				1, prot) + start;
	bytes = prot == EPHMAP_RO ?
		iterate_ubuf(iter, bytes, addr, NULL, asi_to_user) :
		iterate_ubuf(iter, bytes, addr, NULL, asi_from_user_iter);
	ephmap_local_end(&session);
	return bytes;
}

/*
 * One session: from consecutive folios to consecutive addresses, so that one copy
 * will do. Page faults are off: it ends where a page of the user's is not there.
 */
static ssize_t asi_copy_run_to_iter(struct folio **folios, size_t offset,
				    size_t bytes, struct iov_iter *iter)
{
	size_t start = offset_in_page(offset);
	size_t first = offset >> PAGE_SHIFT;
	unsigned int nr = PFN_UP(start + bytes);
	struct ephmap_local session;
	void *addr = NULL;
	size_t copied;

	if (!asi_begin(&session))
		return -EAGAIN;
	while (nr) {
		struct folio *folio = *folios++;
		unsigned int run = min(nr, folio_nr_pages(folio) - first);
		void *next;

		next = ephmap_local_map(&session, folio_page(folio, first), run,
					EPHMAP_RO);
		addr = addr ?: next;
		nr -= run;
		first = 0;
	}
	copied = _copy_to_iter(addr + start, bytes, iter);
	ephmap_local_end(&session);
	return copied;
}

/*
 * Make what @iter points to present, if that is allowed. Returns false if
 * another try makes no sense.
 */
static bool asi_fault_in(struct iov_iter *iter, size_t bytes)
{
	if (pagefault_disabled() || iter->nofault)
		return false;
	return fault_in_iov_iter_writeable(iter, bytes) < bytes;
}

static bool asi_folios_are_poisoned(struct folio **folios, size_t bytes)
{
	size_t size = 0;

	while (size < bytes) {
		if (unlikely(folio_contain_hwpoisoned_page(*folios)))
			return true;
		size += folio_size(*folios++);
	}
	return false;
}

size_t __asi_copy_folio_to_iter(struct folio *folio, size_t offset,
				size_t bytes, struct iov_iter *iter)
{
	ssize_t copied = asi_copy_in_page(folio, offset, bytes, iter, EPHMAP_RO);

	if (likely(copied == bytes))
		return copied;
	copied = max(copied, 0);
	return copied + __asi_copy_folios_to_iter(&folio, offset + copied,
						  bytes - copied, iter);
}

size_t __asi_copy_folios_to_iter(struct folio **folios, size_t offset,
				 size_t bytes, struct iov_iter *iter)
{
	bool faulted = false;
	size_t done = 0;

	if (!user_backed_iter(iter) || !asi_folio_is_sensitive(*folios) ||
	    asi_folios_are_poisoned(folios, offset + bytes))
		return copy_folios_to_iter(folios, offset, bytes, iter);

	while (asi_restricted()) {
		size_t run = asi_run(offset, bytes - done);
		ssize_t copied = asi_copy_run_to_iter(folios, offset, run, iter);

		if (copied < 0)
			break;
		done += copied;
		if (done == bytes)
			return done;
		offset += copied;
		while (offset >= folio_size(*folios))
			offset -= folio_size(*folios++);
		if (copied == run) {
			faulted = false;
			continue;
		}
		/* The same page again: the ordinary path waits for it. */
		if ((faulted && !copied) || !asi_fault_in(iter, run - copied))
			break;
		faulted = true;
	}
	return done + copy_folios_to_iter(folios, offset, bytes - done, iter);
}

static noinline size_t asi_copy_folio_from_iter(struct folio *folio,
						size_t offset, size_t bytes,
						struct iov_iter *iter)
{
	struct ephmap_local session;
	size_t done = 0;

	if (!user_backed_iter(iter) || !asi_folio_is_sensitive(folio) ||
	    folio_contain_hwpoisoned_page(folio))
		return copy_folio_from_iter_atomic(folio, offset, bytes, iter);

	while (done < bytes) {
		size_t run = asi_run(offset, bytes - done), copied;
		size_t start = offset_in_page(offset);
		void *addr;

		if (!asi_begin(&session))
			return done + copy_folio_from_iter_atomic(folio, offset,
								  bytes - done,
								  iter);
		addr = ephmap_local_map(&session,
					folio_page(folio, offset >> PAGE_SHIFT),
					PFN_UP(start + run), EPHMAP_RW);
		copied = _copy_from_iter(addr + start, run, iter);
		ephmap_local_end(&session);
		done += copied;
		offset += copied;
		if (copied < run)
			break;
	}
	return done;
}

size_t __asi_copy_folio_from_iter_atomic(struct folio *folio, size_t offset,
					 size_t bytes, struct iov_iter *iter)
{
	ssize_t copied = asi_copy_in_page(folio, offset, bytes, iter, EPHMAP_RW);

	return likely(copied >= 0) ? copied :
		asi_copy_folio_from_iter(folio, offset, bytes, iter);
}

static __always_inline bool asi_clear_run(struct page *page, unsigned int nr)
{
	struct ephmap_local session;

	if (!asi_begin(&session))
		return false;
	clear_pages(ephmap_local_map(&session, page, nr, EPHMAP_RW), nr);
	ephmap_local_end(&session);
	return true;
}

bool __asi_clear_pages(struct page *page, unsigned int nr)
{
	unsigned int i, run;

	/* The allocator may be called under any lock. */
	if (!preemptible())
		return false;
	/* Most are, and each instruction counts. */
	if (likely(nr == 1))
		return asi_clear_run(page, 1);
	for (i = 0; i < nr; i += run) {
		run = min(nr - i, EPHMAP_MAX_PAGES);
		if (!asi_clear_run(page + i, run))
			return false;
	}
	return true;
}

static bool asi_zero_run(struct folio *folio, size_t offset, size_t len)
{
	struct ephmap_local session;
	size_t start = offset_in_page(offset);

	if (!asi_begin(&session))
		return false;
	memset(ephmap_local_map(&session, folio_page(folio, offset >> PAGE_SHIFT),
				PFN_UP(start + len), EPHMAP_RW) + start, 0, len);
	ephmap_local_end(&session);
	return true;
}

void __asi_folio_zero_range(struct folio *folio, size_t offset, size_t len)
{
	size_t end = offset + len;

	if (asi_context_ok() && asi_folio_is_sensitive(folio) &&
	    !folio_contain_hwpoisoned_page(folio)) {
		while (offset < end) {
			size_t run = asi_run(offset, end - offset);

			if (!asi_zero_run(folio, offset, run))
				break;
			offset += run;
		}
	}
	if (offset < end)
		folio_zero_range(folio, offset, end - offset);
	else
		flush_dcache_folio(folio);
}
EXPORT_SYMBOL_FOR_MODULES(__asi_folio_zero_range, "ext4");

/*
 * A session for a page that GUP has found, or that has just been made a user's.
 * Inlined for copy on write: the call is 1 % of what such a fault takes.
 */
static __always_inline bool asi_begin_page(struct ephmap_local *session,
					   struct page *page)
{
	return asi_context_ok() && asi_page_is_sensitive(page) &&
	       !PageHWPoison(page) && asi_begin(session);
}

bool __asi_copy_page_from_user(struct page *page, size_t offset,
			       const void __user *from, size_t len)
{
	struct ephmap_local session;
	size_t left;

	if (!asi_begin_page(&session, page))
		return false;
	left = asi_from_user(from,
			     ephmap_local_map(&session, page, 1, EPHMAP_RW) +
			     offset, len);
	ephmap_local_end(&session);
	return !left;
}

bool __asi_memcpy_to_page(struct page *page, size_t offset, const void *from,
			  size_t len)
{
	struct ephmap_local session;

	if (!asi_begin_page(&session, page))
		return false;
	memcpy(ephmap_local_map(&session, page, 1, EPHMAP_RW) + offset, from, len);
	ephmap_local_end(&session);
	return true;
}

bool __asi_memcpy_from_page(void *to, struct page *page, size_t offset,
			    size_t len)
{
	struct ephmap_local session;

	if (!asi_begin_page(&session, page))
		return false;
	memcpy(to, ephmap_local_map(&session, page, 1, EPHMAP_RO) + offset, len);
	ephmap_local_end(&session);
	return true;
}

static size_t asi_copy_page(struct page *page, size_t offset, size_t bytes,
			    struct iov_iter *iter, enum ephmap_prot prot)
{
	struct ephmap_local session;
	size_t done = 0;
	void *addr;

	/* A pipe may hold more than a page, of a socket's. */
	if (offset + bytes <= PAGE_SIZE && user_backed_iter(iter) &&
	    asi_begin_page(&session, page)) {
		addr = ephmap_local_map(&session, page, 1, prot) + offset;
		done = prot == EPHMAP_RO ? _copy_to_iter(addr, bytes, iter) :
					   _copy_from_iter(addr, bytes, iter);
		ephmap_local_end(&session);
		if (done == bytes)
			return done;
	}
	offset += done;
	bytes -= done;
	return done + (prot == EPHMAP_RO ?
		       copy_page_to_iter(page, offset, bytes, iter) :
		       copy_page_from_iter(page, offset, bytes, iter));
}

size_t __asi_copy_page_to_iter(struct page *page, size_t offset, size_t bytes,
			       struct iov_iter *iter)
{
	return asi_copy_page(page, offset, bytes, iter, EPHMAP_RO);
}

size_t __asi_copy_page_from_iter(struct page *page, size_t offset,
				 size_t bytes, struct iov_iter *iter)
{
	return asi_copy_page(page, offset, bytes, iter, EPHMAP_RW);
}

int __asi_copy_mc_page(struct page *to, struct page *from)
{
	struct ephmap_local session;
	void *vfrom, *vto;
	int left;

	if (!asi_begin_page(&session, from))
		return -EPERM;
	vfrom = ephmap_local_map(&session, from, 1, EPHMAP_RO);
	vto = ephmap_local_map(&session, to, 1, EPHMAP_RW);
	left = copy_mc_to_kernel(vto, vfrom, PAGE_SIZE);
	ephmap_local_end(&session);
	if (left)
		memory_failure_queue(page_to_pfn(from), 0);
	return left;
}
