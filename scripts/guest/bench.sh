#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run workloads in the guest, each named TAG=PROGRAM,ARGUMENT,ARGUMENT...
# Every one reports one line: @@ TAG key=value...
set -u
BENCH=${BENCH:-/tests}

# A line of ours must not be torn by one of the kernel's: errors only.
echo 3 >/proc/sys/kernel/printk

echo "@@ release release=$(uname -r)"
for spec; do
	tag=${spec%%=*}
	# shellcheck disable=SC2046 # words are wanted
	set -- $(echo "${spec#*=}" | tr ',' ' ')
	program=$1
	shift
	echo "@@ start $tag"
	if ! out=$("$BENCH/$program" "$@"); then
		echo "bench.sh: $tag failed" >&2
		exit 1
	fi
	echo "@@ $tag $(echo "$out" | tr '\n' ' ')"
done
