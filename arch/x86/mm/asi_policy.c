// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation (ASI): what is flushed when a CPU enters a restricted
 * address space or leaves one. For more info see Documentation/arch/x86/asi.rst.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/cpufeature.h>
#include <linux/init.h>
#include <linux/sched/smt.h>
#include <linux/string.h>

#include <asm/cpu.h>

#include "asi_internal.h"

const char * const asi_flush_names[] = {
	[ASI_FLUSH_IBPB] = "ibpb",
	[ASI_FLUSH_RSB]	 = "rsb",
	[ASI_FLUSH_VERW] = "verw",
	[ASI_FLUSH_L1D]	 = "l1d",
};

static_assert(ARRAY_SIZE(asi_flush_names) == ASI_NR_FLUSH);

struct asi_policy asi_policy __read_mostly;

/* asi_flush=: the kinds, or -1 for what the CPU needs. */
static int asi_flush_wanted __initdata = -1;

static int __init asi_flush_setup(char *str)
{
	unsigned int kinds = 0;
	char *name;
	int kind;

	if (!str)
		return -EINVAL;
	if (!strcmp(str, "auto"))
		return 0;
	while ((name = strsep(&str, ","))) {
		if (!strcmp(name, "none"))
			continue;
		kind = match_string(asi_flush_names, ASI_NR_FLUSH, name);
		if (kind < 0) {
			pr_warn("asi_flush=: unknown: %s\n", name);
			return 0;
		}
		kinds |= BIT(kind);
	}
	asi_flush_wanted = kinds;
	return 0;
}
early_param("asi_flush", asi_flush_setup);

static unsigned int __init asi_available_flushes(void)
{
	unsigned int kinds = BIT(ASI_FLUSH_RSB);

	if (boot_cpu_has(X86_FEATURE_IBPB))
		kinds |= BIT(ASI_FLUSH_IBPB);
	if (boot_cpu_has(X86_FEATURE_MD_CLEAR) ||
	    boot_cpu_has(X86_FEATURE_VERW_CLEAR) ||
	    x86_read_arch_cap_msr() & (ARCH_CAP_FB_CLEAR | ARCH_CAP_RFDS_CLEAR))
		kinds |= BIT(ASI_FLUSH_VERW);
	if (boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		kinds |= BIT(ASI_FLUSH_L1D);
	return kinds;
}

/* By the CPU's bugs; what it has no flush for is left out by the caller. */
static unsigned int __init asi_flushes_needed(void)
{
	unsigned int kinds = 0;

	if (boot_cpu_has_bug(X86_BUG_SPECTRE_V2)) {
		kinds |= BIT(ASI_FLUSH_IBPB);
		/* Where IBPB does not clear the return stack, write_ibpb() does. */
		if (!boot_cpu_has(X86_FEATURE_IBPB))
			kinds |= BIT(ASI_FLUSH_RSB);
	}
	if (boot_cpu_has_bug(X86_BUG_MDS) || boot_cpu_has_bug(X86_BUG_TAA) ||
	    boot_cpu_has_bug(X86_BUG_MMIO_STALE_DATA) ||
	    boot_cpu_has_bug(X86_BUG_RFDS) || boot_cpu_has_bug(X86_BUG_TSA))
		kinds |= BIT(ASI_FLUSH_VERW);
	if (boot_cpu_has_bug(X86_BUG_L1TF))
		kinds |= BIT(ASI_FLUSH_L1D);
	return kinds;
}

/* After the CPU's bugs are known, and what is done about them. */
static int __init asi_init_policy(void)
{
	unsigned int kinds = asi_flush_wanted, available, data, kind;
	char names[128];
	int len = 0;

	if (!asi_enabled())
		return 0;
	available = asi_available_flushes();
	if (asi_flush_wanted < 0)
		kinds = asi_flushes_needed() & available;

	/* To test the policy: a kind that the CPU lacks is counted, not done. */
	if (!IS_ENABLED(CONFIG_DEBUG_ASI))
		kinds &= available;
	data = kinds & BIT(ASI_FLUSH_VERW);
	asi_policy.exit = kinds & (BIT(ASI_FLUSH_IBPB) | BIT(ASI_FLUSH_RSB));
	/* Where each return to user mode, or each VM entry, does it anyway. */
	if (asi_flush_wanted >= 0 ||
	    !cpu_feature_enabled(X86_FEATURE_CLEAR_CPU_BUF))
		asi_policy.enter[ASI_USER] = data;
	if (asi_flush_wanted >= 0 ||
	    !cpu_feature_enabled(X86_FEATURE_CLEAR_CPU_BUF_VM))
		asi_policy.enter[ASI_GUEST] = data;
	/* The inverted entries of user page tables are enough for user mode. */
	asi_policy.enter[ASI_GUEST] |= kinds & BIT(ASI_FLUSH_L1D);

	for (kind = 0; kind < ASI_NR_FLUSH; kind++) {
		if (kinds & BIT(kind))
			len += scnprintf(names + len, sizeof(names) - len,
					 " %s%s", asi_flush_names[kind],
					 available & BIT(kind) ? "" :
								 " (counted only)");
	}
	pr_info("on; flushes:%s\n", len ? names : " none");
	return 0;
}
core_initcall(asi_init_policy);

/* Now, or when siblings are put online later. */
void __asi_smt_update(void)
{
	if (sched_smt_active())
		pr_warn_once("SMT is on: sibling threads are not kept apart (nosmt)\n");
}

#if IS_ENABLED(CONFIG_ASI_KUNIT_TEST)
/**
 * asi_set_policy() - choose another policy, for tests
 * @policy: The policy.
 *
 * Context: Any. CPUs may be between two flushes of the old one.
 * Return: the old one.
 */
struct asi_policy asi_set_policy(struct asi_policy policy)
{
	struct asi_policy old = asi_policy;

	asi_policy = policy;
	return old;
}
#endif
