#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: test-asi.sh [SECONDS]
#
# Load of many kinds, while the audit of Address Space Isolation is read again
# and again: no page of user data may be reachable through restricted page
# tables (A1), and no process may be killed for want of memory (A5). In the
# guest; TAP on the standard output, exit status 4 with asi=off.

# shellcheck source=scripts/guest/asi-audit.sh
. /tests/asi-audit.sh
seconds=${1:-20}
[ -e "$audit" ] || { echo "1..0 # SKIP asi=off"; exit 4; }

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

trace=/sys/kernel/tracing
echo 1 >$trace/events/asi/asi_exit/enable
audit_begin
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

end=$(($(date +%s) + seconds))
while [ "$(date +%s)" -lt $end ] || [ "$reads" -lt 5 ]; do
	audit_read
	sleep 1
done
# shellcheck disable=SC2086 # a list
kill $pids
wait $pieces

echo 0 >$trace/events/asi/asi_exit/enable
audit_end 3
result "$(truth ! -e /tmp/wrong)" "every word is right ($(cat /tmp/load))"
grep -q 'asi_exit: cause=fault addr=0xf[0-9a-f]* ip=[a-z_]' $trace/trace
result $? "the tracepoint says what was touched, and by what"
grep -q ' [a-z_].*+0x' /sys/kernel/debug/asi/exits
result $? "exits are listed by call site"
exit "$failed"
