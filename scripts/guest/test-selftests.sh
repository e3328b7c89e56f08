#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Run the kernel's own selftests for what this series touches, as installed
# in /selftests by scripts/selftests-base, each between two marker lines.
#
# usage: test-selftests.sh [NAME...]
set -u
cd /selftests/mm || exit 4

# Kernel messages would break into the lines of a test. What a test says is
# shown when it is over: it makes the kernel talk.
echo 5 >/proc/sys/kernel/printk
ulimit -l unlimited

# run NAME COMMAND...
run() {
	local name=$1 status=0
	shift
	[[ -z $only || $only == *" ${name%% *} "* ]] || return 0
	echo "=== $name"
	timeout -k 5 "$limit" "$@" </dev/null >/tmp/output 2>&1 || status=$?
	cat /tmp/output
	echo "=== $name: exit $status"
}

only=${*:+ $* }
limit=120
mkdir -p /tmp/work
chmod 777 /tmp/work

run memfd_secret ./memfd_secret
run mlock-random-test ./mlock-random-test
run mlock2-tests ./mlock2-tests
run gup_longterm ./gup_longterm
run rmap ./rmap
run migration ./migration
run memory-failure ./memory-failure
for huge in -t -T; do
	for call in -u -U -a -b -L; do
		for pages in 1 123; do
			run "gup_test $huge $call -n $pages" \
				./gup_test "$huge" "$call" -w -S -n "$pages"
		done
	done
done
run compaction_test ./compaction_test
run cow ./cow
cd /selftests/memory-hotplug || exit 0
run mem-on-off-test bash ./mem-on-off-test.sh
exit 0
