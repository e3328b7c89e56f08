/* SPDX-License-Identifier: GPL-2.0 */
/* Address Space Isolation's counters, there with asi=on only. */
#ifndef ASI_STATS_H
#define ASI_STATS_H

#include <stdio.h>
#include <string.h>

#define STATS	"/sys/kernel/debug/asi/stats"

/* What a file says of @name; -1 if nothing. */
static long value_of(const char *file, const char *name)
{
	char line[128], key[64];
	long val, found = -1;
	FILE *f = fopen(file, "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", key, &val) == 2 &&
		    !strcmp(key, name))
			found = val;
	if (f)
		fclose(f);
	return found;
}

/* A counter; -1 if there is none of that name. */
static long stat_of(const char *name)
{
	return value_of(STATS, name);
}

/* How often the restricted address space was left. */
static inline long exits(void)
{
	return stat_of("exits_fault") + stat_of("exits_switch");
}

#endif /* ASI_STATS_H */
