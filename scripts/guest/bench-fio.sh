#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run one of bench/fio/*.fio on cached files and report what bench.sh passes on:
# fio's IOPS, how long it took a call, and what the kernel counted, without what
# it takes fio to begin and to end. In the guest, with scripts/vm --program fio.
#
# usage: bench-fio.sh DIR JOB JOBS IOS REPEAT [THREAD]
#
#   DIR     on the file system
#   JOB     a job file in /files, without .fio
#   JOBS    processes (or threads), each with a file of its own
#   IOS     reads or writes, of each process
#   REPEAT  how often; no counters if it is more than once
#   THREAD  1: threads of one process (0)
set -eu
dir=$1 job=$2 jobs=$3 ios=$4 repeat=$5 thread=${6:-0}
few=64
# Of threads the first are done before the last begin: what is not shared by then
# should not count.
[ "$thread" = 0 ] || few=8
stats=/sys/kernel/debug/asi/stats

# Files that are in the page cache as readahead puts them there, and nothing to
# be written back in between.
make_files() {
	mkdir -p "$dir"
	DIR=$dir fio --minimal --numjobs="$((jobs > 2 ? jobs : 2))" \
		--create_only=1 "/files/$job.fio" >/dev/null
	sync
	echo 1 >/proc/sys/vm/drop_caches
	cat "$dir"/* "$dir"/* >/dev/null
	echo 0 >/proc/sys/vm/dirty_writeback_centisecs
}

# run IOS: fio's line of results.
run() {
	DIR=$dir fio --minimal --numjobs="$jobs" --thread="$thread" \
		--number_ios="$1" --io_size=1g "/files/$job.fio" | grep '^3;'
}

counters() {
	[ ! -e $stats ] || cat $stats
	grep ctxt /proc/stat
	# On all CPUs: flushes that another one asked for, by an IPI.
	awk '$1 == "TLB:" { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i }
		END { print "tlb_ipis", n + 0 }' /proc/interrupts
}

[ -e "$dir/file.$((jobs - 1))" ] || make_files
if [ "$repeat" = 1 ]; then
	counters >/tmp/0
	run $few >/dev/null
	counters >/tmp/1
	run "$ios" >/tmp/line
	counters >/tmp/2
	awk 'FILENAME == "/tmp/0" { a[$1] = $2 }
		FILENAME == "/tmp/1" { b[$1] = $2 }
		FILENAME == "/tmp/2" { print $1 "=" $2 - 2 * b[$1] + a[$1] }' \
		/tmp/0 /tmp/1 /tmp/2
	echo "ios=$(((ios - few) * jobs))"
fi
while [ "$repeat" -gt 0 ]; do
	[ -e /tmp/line ] || run "$ios" >/tmp/line
	# Of a version 3 line: error, KB, IOPS, ns of a call.
	awk -F ';' '{ w = $6 > 0 ? 0 : 41
		print "error=" $5 "\nkb=" $(6 + w) "\niops=" $(8 + w) "\nruntime_ms=" $(9 + w)
		printf "call_ns=%.0f\n", $(16 + w) * 1000 }' /tmp/line
	rm /tmp/line
	repeat=$((repeat - 1))
done
