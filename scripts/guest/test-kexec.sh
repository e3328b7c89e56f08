#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Jump into the same kernel by kexec while secret pages move on every CPU (E6),
# again from there, ROUNDS times. Before each jump, when the other CPUs have
# stopped, the KUnit suite looks at all windows: a page in one is a warning, and
# ends the machine. With ephmap_kunit.hold_at_kexec=1 it also keeps them in
# sessions then. The last kernel runs the tests and gives the verdict.
#
# usage: test-kexec.sh ROUNDS
#
# The kernel is /files/bzImage (scripts/vm --file); its initramfs is made from
# what is in this one.
set -u
rounds=$1
round=$(sed -n 's/.* kexec_round=\([0-9]*\).*/\1/p' /proc/cmdline)
round=${round:-0}

# Kernel messages would break into the lines of a test.
echo 5 >/proc/sys/kernel/printk
echo "# kernel $round of $rounds, $(nproc) CPUs"

if [ "$round" -eq "$rounds" ]; then
	status=0
	secretmem_migrate -t 'M14: move_pages' || status=1
	echo 1 >/sys/kernel/debug/kunit/ephmap/run
	cat /sys/kernel/debug/kunit/ephmap/results
	exit $status
fi

(cd / && find . -xdev ! -path './tmp/*' | cpio -o -H newc) \
	>/tmp/initrd 2>/dev/null
kexec -l /files/bzImage /tmp/initrd \
	"$(sed 's/ kexec_round=[0-9]*//' /proc/cmdline) kexec_round=$((round + 1))" ||
	exit 1
rm /tmp/initrd

secretmem_stress -H -t 1000 >/dev/null &
sleep 5
kexec -e
exit 1
