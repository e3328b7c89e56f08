#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Suspend to RAM, woken by the clock, ROUNDS times, while threads verify secret
# memory that moves and processes spin in user mode; then a snapshot as for
# hibernation, once it is not refused any more. With asi=on: the restricted address
# space is entered again, and the audit is as it should be (A1, A3, A7). In the
# guest; TAP on the standard output.
#
# What the boot CPU runs last is a process, in user mode, so that it sleeps from a
# restricted address space (exits_asked); but where there are jump labels, it left
# that when it patched one on the way.
#
# usage: test-suspend.sh [ROUNDS]
set -u
# shellcheck source=scripts/guest/asi-audit.sh
. /tests/asi-audit.sh
rounds=${1:-3}
stats=/sys/kernel/debug/asi/stats
grep -q deep /sys/power/mem_sleep ||
	{ echo "1..0 # SKIP no suspend to RAM"; exit 4; }

# Kernel messages would break into the lines of the tests.
echo 5 >/proc/sys/kernel/printk

# stat NAME: a counter since boot; 0 with asi=off.
stat() {
	if [ -e $stats ]; then sed -n "s/^$1 //p" $stats; else echo 0; fi
}

woken() {
	cat /sys/power/suspend_stats/success
}

# A snapshot is made, and there is no swap space to write it to.
snapshot() {
	echo shutdown >/sys/power/disk
	echo disk >/sys/power/state
} 2>/dev/null

snapshots() {
	dmesg | grep -c 'PM: Cannot get swap writer'
}

audit_begin
secretmem_stress -H -t $((10 * rounds + 10)) >/tmp/stress &
stress=$!
asi_hold 0x1234567 256 $((4 * rounds)) >/tmp/hold &
hold=$!
taskset 1 sh -c 'while :; do :; done' &
spin=$!
sleep 3

asleep=0
for _ in $(seq "$rounds"); do
	before=$(woken)
	taskset 2 suspend_once 5
	asleep=$((asleep + $(woken) - before))
	[ ! -e $audit ] || audit_read
	# Let those that were frozen run, and be verified.
	sleep 2
done
enters=$(stat enters)
kill $spin

wait $stress
stress=$?
wait $hold
hold=$?
secretmem_migrate -t M21 >/tmp/refused
refused=$?
before=$(snapshots)
snapshot
asi_entries >/tmp/entries
entries=$?
for _ in 1 2 3 4; do
	[ ! -e $audit ] || audit_read
done

for log in stress hold refused entries; do sed "s/^/# $log: /" /tmp/$log; done
dmesg | grep -i 'hibernation\|ACPI: PM: \|Suspending console' | sed 's/^/# /'
audit_end 7
result "$(truth "$asleep" -ge "$rounds")" \
	"suspended to RAM, and woken ($asleep times)"
if [ ! -e $stats ]; then
	result 0 "A7 # SKIP asi=off"
else
	result "$(truth "$(stat enters)" -gt "$enters")" \
		"A7 the restricted address space is entered again"
fi
result $stress "M21 secret memory is right after it"
result $hold "a process in user mode went on"
result $refused "M21 hibernation is refused while secrets exist"
result "$(truth "$(snapshots)" -gt "$before")" \
	"a snapshot is made when there are none"
result $entries "A2 A7 every way into the kernel after it"
exit "$failed"
