#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Moves that fail (conditions M3, M11, M12): at each step always, at any step
# now and then under load, and for want of memory. Content, aliases and
# counters have to be as they were; see secretmem_migrate, secretmem_stress,
# which has guest memory as well. Each step of moving and of allocating guest
# memory is made to fail by guest_memfd_migrate_test (tests.list: kvm-debug).
#
# usage: test-fault-injection.sh [SECONDS]
#
#   SECONDS  how long to run under each kind of load (default 10)
set -u
seconds=${1:-10}
debugfs=/sys/kernel/debug
failed=0
ran=0

# Kernel messages would break into the lines of a test.
echo 5 >/proc/sys/kernel/printk

# What follows has VMs.
with-vm.sh true

# note STATUS: 4 is a skip.
note() {
	case $1 in
	0) ran=1 ;;
	4) ;;
	*) failed=1 ;;
	esac
}

# arm NAME FILE=VALUE...: probability comes last.
arm() {
	dir=$debugfs/$1
	shift
	echo 0 >"$dir/probability"
	echo -1 >"$dir/times"
	echo 0 >"$dir/verbose"
	for pair; do
		echo "${pair#*=}" >"$dir/${pair%%=*}"
	done
}

disarm() {
	echo 0 >"$debugfs/$1/probability"
}

if [ -e $debugfs/fail_no_direct_map/steps ]; then
	for condition in M3: M11: M12:; do
		secretmem_migrate -t $condition
		note $?
	done

	# Any step, one time in five.
	arm fail_no_direct_map steps=31 interval=1 task-filter=N probability=20
	secretmem_stress -t "$seconds"
	note $?
	disarm fail_no_direct_map
	grep no_direct_map_migrate /proc/vmstat | sed 's/^/# /'

	# And all is well without.
	secretmem_migrate -t M14:\ move_pages
	note $?
else
	echo "# no CONFIG_FAIL_NO_DIRECT_MAP"
fi

if [ -e $debugfs/failslab ] && [ -e $debugfs/fail_page_alloc ]; then
	arm failslab task-filter=Y ignore-gfp-wait=N probability=5
	arm fail_page_alloc task-filter=Y ignore-gfp-wait=N \
		ignore-gfp-highmem=N min-order=0 probability=5
	secretmem_stress -f -t "$seconds"
	note $?
	disarm failslab
	disarm fail_page_alloc
	grep no_direct_map_migrate /proc/vmstat | sed 's/^/# /'
else
	echo "# no CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC"
fi

[ $failed = 0 ] || exit 1
[ $ran = 1 ] || exit 4
