#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# stress-ng's stressors of memory, processes, pipes, sockets, signals, secret
# memory, NUMA policies and CPU hotplug, all at once, for SECONDS; those that take
# memory leave SPARE-MB of it. In the guest, with scripts/vm --program stress-ng.
#
# usage: test-stress-ng.sh SECONDS SPARE-MB
seconds=$1
spare=$2

command -v stress-ng >/dev/null || exit 4
available=$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)
mb=$((available / 1024 - spare))
[ $mb -gt 100 ] || exit 2
# Its shared memory, and its files, are in the current directory.
cd /tmp || exit 2

# Of the $mb anonymous memory takes a half, files in tmpfs a sixth.
exec stress-ng --timeout "$seconds" --oomable --pathological --metrics-brief \
	--vm 2 --vm-bytes "$((mb / 4))m" --vm-method all --verify \
	--mmap 2 --mmap-bytes "$((mb / 12))m" --mmap-file \
	--fork 2 --vfork 1 --pipe 2 --sockpair 1 --sockfd 1 --msg 1 \
	--signal 1 --sigq 1 --sigsegv 1 --kill 1 \
	--secretmem 1 --numa 1 --cpu-online 1
