#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run a command while a VM exists that nobody uses; the VM stays.
#
# usage: with-vm.sh COMMAND...
#
# The first VM makes the kernel patch its code, __schedule() for one, and the
# last one makes it patch it back. QEMU 7.2 may go on running what another CPU
# had there a moment before: the kernel dies of an int3 that is none. So there
# is one CPU while the first VM is made, and never a last one.

cpus=$(ls /sys/devices/system/cpu/cpu*/online)
for cpu in $cpus; do echo 0 >"$cpu"; done 2>/dev/null
secretmem_hold -k
for cpu in $cpus; do echo 1 >"$cpu"; done 2>/dev/null
exec "$@"
