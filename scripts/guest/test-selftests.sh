#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Run the kernel's own selftests for what this series touches, as installed
# in /selftests by scripts/selftests-base, each between two marker lines.
#
# usage: test-selftests.sh mm|kvm|x86 [NAME...]
set -u
suite=$1
shift
cd "/selftests/$suite" || exit 4

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
	# Not all end their last line: those that are killed do not.
	[[ -z $(tail -c 1 /tmp/output) ]] || echo ' (cut off)'
	echo "=== $name: exit $status"
}

only=${*:+ $* }
limit=120
mkdir -p /tmp/work
chmod 777 /tmp/work

suite_mm() {
	local huge call pages
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
	cd /selftests/memory-hotplug || return 0
	run mem-on-off-test bash ./mem-on-off-test.sh
}

# With a few rounds of those that would go on for minutes, and little memory.
suite_kvm() {
	local test
	with-vm.sh true
	run dirty_log_test ./dirty_log_test -i 4 -I 5
	run memslot_modification_stress_test \
		./memslot_modification_stress_test -v 2 -b 64M -i 20
	run private_mem_conversions_test ./private_mem_conversions_test -n 2 -m 2
	for test in guest_memfd_test set_memory_region_test \
		pre_fault_memory_test private_mem_kvm_exits_test \
		kvm_clock_test kvm_pv_test steal_time \
		state_test hyperv_svm_test svm_vmcall_test svm_int_ctl_test \
		svm_nested_clear_efer_svme svm_nested_pat_test \
		svm_nested_shutdown_test svm_nested_soft_inject_test \
		svm_nested_vmcb12_gpa \
		nested_close_kvm_test nested_dirty_log_test \
		nested_emulation_test nested_exceptions_test \
		nested_invalid_cr3_test nested_set_state_test \
		nested_tdp_fault_test nested_tsc_adjust_test \
		nested_vmsave_vmload_test \
		xen_shinfo_test xen_vmcall_test; do
		run "$test" "./$test"
	done
}

suite_x86() {
	local test
	for test in *_64 *_32; do
		run "${test%_64}" "./$test"
	done
}

case $suite in
mm) suite_mm ;;
kvm) suite_kvm ;;
x86) suite_x86 ;;
esac
exit 0
