#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run a command while a VM exists that nobody uses; the VM stays.
#
# usage: with-vm.sh COMMAND...
#
# The first VM makes the kernel patch its own code, __schedule() for one, and
# closing the last one makes it patch that back. QEMU 7.2 sometimes kept running
# what another CPU had there a moment before, and the kernel died of an int3 that
# is not in memory. Whether QEMU 11.1 does that is not known. So only one CPU is
# online while the first VM is made, and the VM is never closed.

cpus=$(ls /sys/devices/system/cpu/cpu*/online)
for cpu in $cpus; do echo 0 >"$cpu"; done 2>/dev/null
secretmem_hold -k
for cpu in $cpus; do echo 1 >"$cpu"; done 2>/dev/null
exec "$@"
