// SPDX-License-Identifier: GPL-2.0
/*
 * Folios without a direct-map alias (AS_NO_DIRECT_MAP). From before the first
 * secret byte is written to such a folio until after the last one is zeroed,
 * the direct map does not reach it. This file is the only one that removes the
 * alias and gives it back. For more info see Documentation/mm/no_direct_map.rst.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/ephmap.h>
#include <linux/export.h>
#include <linux/fault-inject.h>
#include <linux/fdtable.h>
#include <linux/highmem.h>
#include <linux/memory.h>
#include <linux/mmdebug.h>
#include <linux/no_direct_map.h>
#include <linux/oom.h>
#include <linux/page-flags.h>
#include <linux/pid_namespace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_buf.h>
#include <linux/set_memory.h>
#include <linux/string_choices.h>
#include <linux/vmstat.h>
#include <linux/xarray.h>

#include <asm/tlbflush.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/no_direct_map.h>

/* === Fault injection ====================================================== */

#ifdef CONFIG_FAIL_NO_DIRECT_MAP
static struct {
	struct fault_attr attr;
	u32 steps;
} fail_no_direct_map = {
	.attr = FAULT_ATTR_INITIALIZER,
	.steps = ~0U,
};

static int __init setup_fail_no_direct_map(char *str)
{
	return setup_fault_attr(&fail_no_direct_map.attr, str);
}
__setup("fail_no_direct_map=", setup_fail_no_direct_map);

bool should_fail_no_direct_map(enum no_direct_map_step step)
{
	if (!(READ_ONCE(fail_no_direct_map.steps) & step))
		return false;
	return should_fail(&fail_no_direct_map.attr, 1);
}

static int __init fail_no_direct_map_debugfs(void)
{
	struct dentry *dir;

	dir = fault_create_debugfs_attr("fail_no_direct_map", NULL,
					&fail_no_direct_map.attr);
	if (IS_ERR(dir))
		return PTR_ERR(dir);
	debugfs_create_x32("steps", 0600, dir, &fail_no_direct_map.steps);
	return 0;
}
late_initcall(fail_no_direct_map_debugfs);
#endif /* CONFIG_FAIL_NO_DIRECT_MAP */

/* === The files ============================================================ */

/* Files that have, or may have, a folio: hibernation would write it to disk. */
static atomic_long_t no_direct_map_files;

/*
 * Counted before the mark is there to be seen: whoever finds it may rely on the
 * count.
 */
void __no_direct_map_file_used(struct address_space *mapping)
{
	atomic_long_inc(&no_direct_map_files);
	if (test_and_set_bit(AS_NO_DIRECT_MAP_USED, &mapping->flags))
		atomic_long_dec(&no_direct_map_files);
}
EXPORT_SYMBOL_FOR_MODULES(__no_direct_map_file_used, "kvm");

/**
 * no_direct_map_file_gone() - a file with AS_NO_DIRECT_MAP is gone
 * @mapping: The file's mapping, with or without no_direct_map_file_used().
 *
 * Context: Any, when the last folio of the file has left the page cache. It may
 *          be on its way to the page allocator, which zeroes it.
 */
void no_direct_map_file_gone(struct address_space *mapping)
{
	if (test_and_clear_bit(AS_NO_DIRECT_MAP_USED, &mapping->flags))
		atomic_long_dec(&no_direct_map_files);
}
EXPORT_SYMBOL_FOR_MODULES(no_direct_map_file_gone, "kvm");

/**
 * no_direct_map_nr_files() - how many files hibernation would leak
 *
 * Context: Any.
 * Return: the number of files between no_direct_map_file_used() and _gone().
 */
unsigned long no_direct_map_nr_files(void)
{
	return atomic_long_read(&no_direct_map_files);
}

/* === The holders ========================================================== */

struct no_direct_map_holder {
	struct xarray	seen;	/* by mapping: the process that was seen last */
	pid_t		tgid;
	const char	*type;	/* of the process' files, if all have the same */
	unsigned long	files;	/* of the process */
	unsigned long	pages;	/* in these */
	unsigned long	named;	/* files of all processes so far */
};

/* Under spinlocks. A process may hold a file more than once. */
static void holder_add(struct no_direct_map_holder *holder, struct file *file)
{
	struct address_space *mapping = file->f_mapping;
	void *self = xa_mk_value(holder->tgid), *seen;
	const char *type;

	if (!test_bit(AS_NO_DIRECT_MAP_USED, &mapping->flags))
		return;
	seen = xa_store(&holder->seen, (unsigned long)mapping, self,
			GFP_ATOMIC);
	if (seen == self || xa_is_err(seen))
		return;
	if (!seen)
		holder->named++;
	type = mapping->host->i_sb->s_type->name;
	holder->type = !holder->files || holder->type == type ? type : NULL;
	holder->files++;
	holder->pages += mapping->nrpages;
}

static int holder_add_fd(const void *holder, struct file *file, unsigned int fd)
{
	holder_add((struct no_direct_map_holder *)holder, file);
	return 0;
}

/* Threads share their files, but need not. */
static void holder_add_files(struct no_direct_map_holder *holder,
			     struct task_struct *process)
{
	struct files_struct *last = NULL;
	struct task_struct *thread;

	guard(rcu)();
	for_each_thread(process, thread) {
		guard(task_lock)(thread);
		if (thread->files && thread->files != last)
			iterate_fd(thread->files, 0, holder_add_fd, holder);
		last = thread->files;
	}
}

/*
 * Do not wait for the lock: tasks may be frozen, and one of them may keep a
 * writer waiting.
 */
static void holder_add_mappings(struct no_direct_map_holder *holder,
				struct task_struct *process)
{
	struct vm_area_struct *vma;
	struct task_struct *thread;
	struct mm_struct *mm;

	thread = find_lock_task_mm(process);
	if (!thread)
		return;
	mm = thread->mm;
	mmget(mm);
	task_unlock(thread);

	if (mmap_read_trylock(mm)) {
		VMA_ITERATOR(vmi, mm, 0);

		for_each_vma(vmi, vma) {
			if (vma->vm_file)
				holder_add(holder, vma->vm_file);
		}
		mmap_read_unlock(mm);
	}
	/* If it is the last reference, not here. */
	mmput_async(mm);
}

/* The next process from @nr on that is not a kernel thread, referenced. */
static struct task_struct *next_process(pid_t nr)
{
	struct task_struct *process;
	struct pid *pid;

	guard(rcu)();
	while ((pid = find_ge_pid(nr, &init_pid_ns))) {
		process = pid_task(pid, PIDTYPE_TGID);
		if (process && !(process->flags & PF_KTHREAD))
			return get_task_struct(process);
		nr = pid_nr(pid) + 1;
	}
	return NULL;
}

/**
 * no_direct_map_describe() - name the processes that keep hibernation away
 * @line: Where to, without a newline.
 *
 * A process holds a file by a descriptor or by a mapping. Files may also be
 * held otherwise, such as by a message that was not received yet: it is said how
 * many nobody was found for. Processes come and go meanwhile.
 *
 * Context: Process context, may sleep.
 */
void no_direct_map_describe(struct seq_buf *line)
{
	unsigned long files = no_direct_map_nr_files();
	struct no_direct_map_holder holder = {};
	struct task_struct *process;

	xa_init(&holder.seen);
	seq_buf_printf(line, "%lu file%s of memory without a direct map", files,
		       str_plural(files));
	while ((process = next_process(holder.tgid + 1))) {
		holder.tgid = task_tgid_nr(process);
		holder.files = 0;
		holder.pages = 0;
		holder_add_files(&holder, process);
		holder_add_mappings(&holder, process);
		if (holder.files)
			seq_buf_printf(line, ", %s[%d] has %lu page%s%s%s in %lu file%s",
				       process->comm, holder.tgid,
				       holder.pages, str_plural(holder.pages),
				       holder.type ? " of " : "",
				       holder.type ?: "", holder.files,
				       str_plural(holder.files));
		put_task_struct(process);
		cond_resched();
	}
	if (holder.named < files)
		seq_buf_printf(line, ", %lu held by no process that can be named",
			       files - holder.named);
	xa_destroy(&holder.seen);
}

/* === The alias ============================================================ */

/* Of NR_NO_DIRECT_MAP, those that are not in a block of VIS_SECRET. */
static atomic_long_t pages_alone[MAX_NUMNODES];

/* How many pages of a node have lost their alias alone. */
unsigned long no_direct_map_nr_alone(int nid)
{
	return atomic_long_read(&pages_alone[nid]);
}

VISIBLE_IF_KUNIT void no_direct_map_count_alone(struct folio *folio, long nr)
{
	node_stat_mod_folio(folio, NR_NO_DIRECT_MAP, nr);
	atomic_long_add(nr, &pages_alone[folio_nid(folio)]);
}

/**
 * folio_has_direct_map() - whether a folio has its direct-map alias
 * @folio: The folio, whose state the caller keeps from changing.
 *
 * The page tables are the truth; no flag could disagree with them.
 *
 * Context: Any.
 * Return: true when the kernel can reach @folio by its direct-map address.
 */
bool folio_has_direct_map(struct folio *folio)
{
	return kernel_page_present(folio_page(folio, 0));
}

/**
 * folio_zap_direct_map() - remove the direct-map alias of one page
 * @folio: The folio, of one page; it holds no secret yet and has its alias.
 *
 * When this returns 0, no CPU reaches @folio through the direct map any more.
 * Costs one TLB shootdown, and splits a large page of the direct map. This is
 * for what folio_alloc_secret() could not provide: such a folio does not move.
 *
 * Context: Process context, may sleep: splitting a large page of the direct map
 *          allocates a page table. A caller that holds folio locks does so
 *          under memalloc_noio_save().
 * Return: 0; or, with the alias as it was, -ENOMEM, or -EHWPOISON for a poisoned
 * folio.
 */
int folio_zap_direct_map(struct folio *folio)
{
	struct page *page = folio_page(folio, 0);
	unsigned long start = (unsigned long)folio_address(folio);
	int err = -ENOMEM;

	VM_WARN_ON_ONCE_FOLIO(folio_test_large(folio), folio);

	/* Its alias would never come back. */
	if (unlikely(folio_test_hwpoison(folio)))
		return -EHWPOISON;

	if (!should_fail_no_direct_map(NDM_STEP_SPLIT))
		err = set_direct_map_invalid_noflush(page);
	if (!err && should_fail_no_direct_map(NDM_STEP_ZAP))
		err = -ENOMEM;
	trace_direct_map_zap(folio_pfn(folio), 1, err);
	if (unlikely(err)) {
		/*
		 * What is gone needs no split to come back: this cannot fail.
		 * Where nothing is gone it must not be tried. No CPU has cached
		 * that an entry is not present: nothing to flush.
		 */
		if (!folio_has_direct_map(folio))
			WARN_ON_ONCE(set_direct_map_default_noflush(page));
		return err;
	}

	no_direct_map_count_alone(folio, 1);
	count_vm_event(DIRECT_MAP_ZAPS);
	flush_tlb_kernel_range(start, start + PAGE_SIZE);
	count_vm_event(DIRECT_MAP_ZAP_SHOOTDOWNS);
	return 0;
}

/* KUnit stubs this: its poisoned pages are only said to be. */
VISIBLE_IF_KUNIT void keep_block_online(unsigned long pfn)
{
	KUNIT_STATIC_STUB_REDIRECT(keep_block_online, pfn);
	memblk_set_poisoned_secret(pfn);
}

/**
 * folio_restore_direct_map() - zero a folio, then give its alias back
 * @folio: The folio, without alias and without users.
 *
 * Undoes folio_zap_direct_map(). A folio of folio_alloc_secret() is left to the
 * page allocator, which zeroes it, and keeps it hidden. Fits a_ops->free_folio().
 * A poisoned folio is neither zeroed nor mapped again: the page allocator does
 * not take it back, and its memory block stays online.
 *
 * Context: Process context, may sleep.
 */
void folio_restore_direct_map(struct folio *folio)
{
	struct page *page = folio_page(folio, 0);
	int err = -EOPNOTSUPP;

	if (folio_in_secret_block(folio)) {
		node_stat_mod_folio(folio, NR_NO_DIRECT_MAP,
				    -folio_nr_pages(folio));
		/* A CPU's batch may hold it for long that has to add it yet. */
		if (!folio_test_lru(folio))
			ephmap_zero_folio(folio);
		return;
	}
	no_direct_map_count_alone(folio, -1);
	if (ephmap_available())
		err = ephmap_zero_folio(folio);
	/* Since it was zeroed, too. */
	if (unlikely(folio_test_hwpoison(folio)))
		err = -EHWPOISON;
	trace_direct_map_restore(folio_pfn(folio), 1, err);
	if (unlikely(err == -EHWPOISON)) {
		keep_block_online(folio_pfn(folio));
		return;
	}

	/* Its page tables were split when it was zapped: this cannot fail. */
	WARN_ON_ONCE(set_direct_map_default_noflush(page));
	if (err)
		folio_zero_range(folio, 0, PAGE_SIZE);
	count_vm_event(DIRECT_MAP_RESTORES);
}
EXPORT_SYMBOL_FOR_MODULES(folio_restore_direct_map, "kvm");

/**
 * folio_alloc_no_direct_map() - allocate memory that only its owner sees
 * @gfp: GFP flags; with __GFP_MOVABLE the owner's mapping can move it.
 * @order: Its order, at most pageblock_order.
 * @policy: The NUMA policy; NULL for the task's.
 *
 * The folio is zero and uptodate. It comes from a block that nobody sees, see
 * folio_alloc_secret(). Where there is none to be had, and without the ephmap, a
 * folio of one page has lost its alias alone, and does not move. Whoever frees it
 * calls folio_restore_direct_map() first, as ->free_folio() or by himself.
 *
 * Context: Process context, may sleep. The caller holds no lock of a folio.
 * Return: the folio, or ERR_PTR(-ENOMEM).
 */
struct folio *folio_alloc_no_direct_map(gfp_t gfp, unsigned int order,
					struct mempolicy *policy)
{
	struct folio *folio;
	int err = 0;

	folio = folio_alloc_secret(gfp, order, policy);
	if (folio)
		node_stat_mod_folio(folio, NR_NO_DIRECT_MAP, 1L << order);
	else if (order)
		return ERR_PTR(-ENOMEM);
	else if (ephmap_available())
		count_vm_event(SECRET_PAGE_FALLBACK);
	if (!folio)
		gfp = (gfp & ~(__GFP_MOVABLE | __GFP_HIGHMEM)) | __GFP_ZERO;
	while (!folio) {
		folio = filemap_alloc_folio(gfp, 0, policy);
		if (!folio)
			return ERR_PTR(-ENOMEM);
		err = folio_zap_direct_map(folio);
		if (!err)
			break;
		folio_put(folio);
		/* Poisoned since it was allocated: take another. */
		if (err != -EHWPOISON)
			return ERR_PTR(err);
		folio = NULL;
	}
	__folio_mark_uptodate(folio);
	return folio;
}
EXPORT_SYMBOL_FOR_MODULES(folio_alloc_no_direct_map, "kvm");
