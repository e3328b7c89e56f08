#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: test-asi.sh [SECONDS]
#
# Load of many kinds, while the audit of Address Space Isolation is read again
# and again: no page of user data may be reachable through restricted page
# tables (A1), and no process may be killed for want of memory (A5). In the
# guest; TAP on the standard output, exit status 4 with asi=off.

audit=/sys/kernel/debug/asi/audit
seconds=${1:-20}
[ -e $audit ] || { echo "1..0 # SKIP asi=off"; exit 4; }

# value NAME: of a line of the audit.
value() {
	echo "$state" | sed -n "s/^$1 //p"
}

# --- load -------------------------------------------------------------------

files() {
	while :; do
		dd if=/dev/zero of=/tmp/file bs=64k count=512 2>/dev/null
		md5sum /tmp/file >/dev/null
		rm /tmp/file
	done
}

forks() {
	while :; do
		for _ in 1 2 3 4 5 6 7 8; do
			ls -lR /sys/kernel/mm >/dev/null 2>&1 &
		done
		wait
	done
}

pipes() {
	while :; do
		dd if=/dev/urandom bs=4k count=256 2>/dev/null |
			gzip -1 | gzip -d | md5sum >/dev/null
	done
}

# Kernel memory that comes and goes: inodes and dentries.
inodes() {
	while :; do
		mkdir /tmp/d
		i=0
		while [ "$i" -lt 2000 ]; do
			: >"/tmp/d/$i"
			i=$((i + 1))
		done
		rm -rf /tmp/d
	done
}

# Blocks are made for the kernel when it needs some; make more.
compaction() {
	while :; do
		echo 1 >/proc/sys/vm/compact_memory
		sleep 1
	done
}

# Users' memory in pieces, nearly all there is, and a kernel that needs blocks.
pieces() {
	asi_load "$seconds" 64 >/tmp/load || touch /tmp/wrong
}

oom_before=$(sed -n 's/^oom_kill //p' /proc/vmstat)
pieces &
pieces=$!
files &
pids=$!
forks &
pids="$pids $!"
pipes &
pids="$pids $!"
inodes &
pids="$pids $!"
compaction &
pids="$pids $!"

# --- watch ------------------------------------------------------------------

kinds="anonymous shmem secretmem guest_memfd hugetlb file free_movable"
reached=
tables=0
reads=0
end=$(($(date +%s) + seconds))
while [ "$(date +%s)" -lt $end ] || [ $reads -lt 5 ]; do
	state=$(cat $audit)
	reads=$((reads + 1))
	for kind in $kinds; do
		[ "$(value "user_$kind")" = 0 ] ||
			reached="$reached $kind=$(value "user_$kind")"
	done
	for name in wrong_pgd_entries different_pmd_entries \
		movable_blocks_present; do
		tables=$((tables + $(value $name)))
	done
	sleep 1
done
# shellcheck disable=SC2086 # a list
kill $pids
wait $pieces
oom=$(($(sed -n 's/^oom_kill //p' /proc/vmstat) - oom_before))

# --- report -----------------------------------------------------------------

failed=0
# result STATUS TEXT
n=0
result() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		failed=1
	fi
}
truth() {
	if [ "$@" ]; then echo 0; else echo 1; fi
}

echo "TAP version 13"
echo "1..5"
{
	echo "$state"
	cat /sys/kernel/debug/asi/stats
	grep -E '^(allocstall|compact_(stall|success|fail)|oom_kill|pgmigrate_s)' \
		/proc/vmstat
} | sed 's/^/# /'
echo "# reached:${reached:- nothing}"
result "$(truth $reads -gt 3)" "the audit was read under load ($reads times)"
result "$(truth -z "$reached")" "A1 no page of user data is reachable"
result "$tables" "A3 A4 the tables are as they should be"
result "$oom" "A5 no OOM kill"
result "$(truth ! -e /tmp/wrong)" "every word is right ($(cat /tmp/load))"
exit $failed
