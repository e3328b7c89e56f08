/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM asi

#if !defined(_ASM_X86_TRACE_ASI_H) || defined(TRACE_HEADER_MULTI_READ)
#define _ASM_X86_TRACE_ASI_H

#include <linux/tracepoint.h>

/* @user: It was in user mode's half, from the address space for guests. */
TRACE_EVENT(asi_exit,
	TP_PROTO(unsigned long addr, unsigned long ip, bool user),

	TP_ARGS(addr, ip, user),

	TP_STRUCT__entry(
		__field(unsigned long, addr)
		__field(unsigned long, ip)
		__field(bool, user)
	),

	TP_fast_assign(
		__entry->addr = addr;
		__entry->ip = ip;
		__entry->user = user;
	),

	TP_printk("cause=%s addr=%#lx ip=%pS", __entry->user ? "user" : "fault",
		  __entry->addr, (void *)__entry->ip)
);

#endif /* _ASM_X86_TRACE_ASI_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH asm/trace/
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE asi
#include <trace/define_trace.h>
