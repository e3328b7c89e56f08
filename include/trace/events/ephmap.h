/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ephmap

#if !defined(_TRACE_EPHMAP_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_EPHMAP_H

#include <linux/tracepoint.h>
#include <linux/types.h>

/*
 * Without the address: nobody but the session can use it, see
 * ephmap_window_overlaps().
 */
TRACE_EVENT(ephmap_map,

	TP_PROTO(unsigned long pfn, unsigned int nr, bool write),

	TP_ARGS(pfn, nr, write),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(unsigned int, nr)
		__field(bool, write)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->nr = nr;
		__entry->write = write;
	),

	TP_printk("pfn=%#lx nr=%u write=%d", __entry->pfn, __entry->nr,
		  __entry->write)
);

TRACE_EVENT(ephmap_unmap,

	TP_PROTO(unsigned int nr),

	TP_ARGS(nr),

	TP_STRUCT__entry(
		__field(unsigned int, nr)
	),

	TP_fast_assign(
		__entry->nr = nr;
	),

	TP_printk("nr=%u", __entry->nr)
);

#endif /* _TRACE_EPHMAP_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
