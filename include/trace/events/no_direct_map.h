/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM no_direct_map

#if !defined(_TRACE_NO_DIRECT_MAP_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_NO_DIRECT_MAP_H

#include <linux/migrate_mode.h>
#include <linux/mm.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(direct_map_alias,

	TP_PROTO(unsigned long pfn, unsigned long nr, int err),

	TP_ARGS(pfn, nr, err),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned long, nr)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->nr = nr;
		__entry->err = err;
	),

	TP_printk("pfn=%#lx nr=%lu err=%d", __entry->pfn, __entry->nr,
		  __entry->err)
);

/* One page, or a block of them. err: why the alias was kept, or 0 */
DEFINE_EVENT(direct_map_alias, direct_map_zap,
	TP_PROTO(unsigned long pfn, unsigned long nr, int err),
	TP_ARGS(pfn, nr, err)
);

/* err: why one page was not zeroed through the ephmap, or 0 */
DEFINE_EVENT(direct_map_alias, direct_map_restore,
	TP_PROTO(unsigned long pfn, unsigned long nr, int err),
	TP_ARGS(pfn, nr, err)
);

TRACE_EVENT(migrate_folio_no_direct_map,

	TP_PROTO(struct folio *src, struct folio *dst, enum migrate_mode mode,
		 const char *step, int err),

	TP_ARGS(src, dst, mode, step, err),

	TP_STRUCT__entry(
		__field(unsigned long, src)
		__field(unsigned long, dst)
		__field(unsigned long, nr)
		__field(int, mode)
		__field(int, err)
		__string(step, step)
	),

	TP_fast_assign(
		__entry->src = folio_pfn(src);
		__entry->dst = folio_pfn(dst);
		__entry->nr = folio_nr_pages(src);
		__entry->mode = mode;
		__entry->err = err;
		__assign_str(step);
	),

	TP_printk("src=%#lx dst=%#lx nr=%lu mode=%d step=%s err=%d",
		  __entry->src, __entry->dst, __entry->nr, __entry->mode,
		  __get_str(step), __entry->err)
);

#endif /* _TRACE_NO_DIRECT_MAP_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
