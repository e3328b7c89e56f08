# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2034 # variables for those who source it
# Watch Address Space Isolation under load: sourced by test-asi.sh, with-audit.sh.
# Calls audit_begin, audit_read again and again, audit_end.

# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh

audit=/sys/kernel/debug/asi/audit

# All but block_device, known to be reachable, and busy, which may be either.
audit_kinds="anonymous shmem secretmem guest_memfd hugetlb file free_movable"
audit_tables="wrong_pgd_entries different_pmd_entries movable_blocks_present"

oom_kills() {
	sed -n 's/^oom_kill //p' /proc/vmstat
}

# audit_value NAME: of a line of the audit that was read last.
audit_value() {
	echo "$state" | sed -n "s/^$1 //p"
}

audit_begin() {
	reads=0
	reached=
	wrong_tables=0
	oom_before=$(oom_kills)
}

audit_read() {
	state=$(cat $audit) && [ -n "$state" ] || return
	reads=$((reads + 1))
	for kind in $audit_kinds; do
		[ "$(audit_value "user_$kind")" = 0 ] ||
			reached="$reached $kind=$(audit_value "user_$kind")"
	done
	for name in $audit_tables; do
		wrong_tables=$((wrong_tables + $(audit_value "$name")))
	done
}

truth() {
	if [ "$@" ]; then echo 0; else echo 1; fi
}

# audit_end EXTRA: the report, as TAP; EXTRA results of the caller's follow. With
# asi=off there is only A5 in it.
audit_end() {
	oom=$(($(oom_kills) - oom_before))
	echo "TAP version 13"
	echo "1..$((4 + $1))"
	{
		[ ! -e $audit ] || cat /sys/kernel/debug/asi/stats
		echo "${state:-}"
		grep -E '^(allocstall|compact_(stall|success|fail)|oom_kill|pgmigrate_s)' \
			/proc/vmstat
	} | sed 's/^/# /'
	if [ -e $audit ]; then
		echo "# reached:${reached:- nothing}"
		result "$(truth "$reads" -gt 3)" \
			"the audit was read under load ($reads times)"
		result "$(truth -z "$reached")" \
			"A1 no page of user data is reachable"
		result "$wrong_tables" "A3 A4 the tables are as they should be"
	else
		result 0 "the audit # SKIP asi=off"
		result 0 "A1 # SKIP asi=off"
		result 0 "A3 A4 # SKIP asi=off"
	fi
	result "$oom" "A5 no OOM kill"
}
