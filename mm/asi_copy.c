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
#include <linux/ephmap.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/preempt.h>
#include <linux/uaccess.h>

/*
 * Whether it is absent from the restricted direct map: all movable memory is. A
 * guess: without a mapping any more it is as good to copy it the ordinary way.
 */
static bool asi_folio_is_sensitive(struct folio *folio)
{
	struct address_space *mapping = READ_ONCE(folio->mapping);

	return mapping && (mapping_gfp_mask(mapping) & __GFP_MOVABLE);
}

/* What a driver maps is mapped by the kernel as the driver wants it cached. */
static bool asi_page_is_sensitive(struct page *page)
{
	struct folio *folio = page_folio(page);

	return folio_test_anon(folio) || asi_folio_is_sensitive(folio);
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

/*
 * One session. Page faults are off: the copy ends where a page of the user's is
 * not there.
 */
static ssize_t asi_copy_run_to_iter(struct folio *folio, size_t offset,
				    size_t bytes, struct iov_iter *iter)
{
	size_t start = offset_in_page(offset);
	struct ephmap_session session;
	size_t copied;
	void *addr;

	addr = ephmap_map_local(&session, folio_page(folio, offset >> PAGE_SHIFT),
				PFN_UP(start + bytes), EPHMAP_RO);
	if (IS_ERR(addr))
		return PTR_ERR(addr);
	copied = _copy_to_iter(addr + start, bytes, iter);
	ephmap_unmap_local(&session);
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

size_t __asi_copy_folio_to_iter(struct folio *folio, size_t offset,
				size_t bytes, struct iov_iter *iter)
{
	bool faulted = false;
	size_t done = 0;

	if (!user_backed_iter(iter) || !asi_folio_is_sensitive(folio))
		return copy_folio_to_iter(folio, offset, bytes, iter);

	while (done < bytes && asi_restricted()) {
		size_t run = asi_run(offset + done, bytes - done);
		ssize_t copied = asi_copy_run_to_iter(folio, offset + done, run,
						      iter);

		if (copied < 0)
			break;
		done += copied;
		if (copied == run) {
			faulted = false;
			continue;
		}
		/* The same page again: the ordinary path waits for it. */
		if ((faulted && !copied) || !asi_fault_in(iter, run - copied))
			break;
		faulted = true;
	}
	if (done < bytes)
		done += copy_folio_to_iter(folio, offset + done, bytes - done,
					   iter);
	return done;
}

size_t __asi_copy_folio_from_iter_atomic(struct folio *folio, size_t offset,
					 size_t bytes, struct iov_iter *iter)
{
	struct ephmap_session session;
	size_t done = 0;

	if (!user_backed_iter(iter) || !asi_folio_is_sensitive(folio))
		return copy_folio_from_iter_atomic(folio, offset, bytes, iter);

	while (done < bytes) {
		size_t run = asi_run(offset, bytes - done), copied;
		size_t start = offset_in_page(offset);
		void *addr;

		addr = ephmap_map_local(&session,
					folio_page(folio, offset >> PAGE_SHIFT),
					PFN_UP(start + run), EPHMAP_RW);
		if (IS_ERR(addr))
			return done + copy_folio_from_iter_atomic(folio, offset,
								  bytes - done,
								  iter);
		copied = _copy_from_iter(addr + start, run, iter);
		ephmap_unmap_local(&session);
		done += copied;
		offset += copied;
		if (copied < run)
			break;
	}
	return done;
}

bool __asi_clear_pages(struct page *page, unsigned int nr)
{
	struct ephmap_session session;
	unsigned int i, run;
	void *addr;

	/* The allocator may be called under any lock. */
	if (!preemptible())
		return false;
	for (i = 0; i < nr; i += run) {
		run = min(nr - i, EPHMAP_MAX_PAGES);
		addr = ephmap_map_local(&session, page + i, run, EPHMAP_RW);
		if (IS_ERR(addr))
			return false;
		clear_pages(addr, run);
		ephmap_unmap_local(&session);
	}
	return true;
}

int __asi_copy_mc_page(struct page *to, struct page *from)
{
	struct ephmap_session session;
	void *vfrom, *vto;
	int left;

	if (!asi_context_ok() || !asi_page_is_sensitive(from))
		return -EPERM;
	vfrom = ephmap_map_local(&session, from, 1, EPHMAP_RO);
	if (IS_ERR(vfrom))
		return PTR_ERR(vfrom);
	vto = ephmap_map_page(&session, to, EPHMAP_RW);
	left = IS_ERR(vto) ? PTR_ERR(vto) :
			     copy_mc_to_kernel(vto, vfrom, PAGE_SIZE);
	ephmap_unmap_local(&session);
	if (left > 0)
		memory_failure_queue(page_to_pfn(from), 0);
	return left;
}
