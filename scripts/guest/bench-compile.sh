#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Build what is in /disk/build with the gcc that is on /disk, several times, and
# report what bench.sh passes on: ticks of the first time that finds everything in
# the page cache, and what the kernel counted meanwhile. Then once more, with
# tracing, the switches from one mm to another; and, in lines of their own, where
# the restricted address space was left. In the guest, on one CPU.
set -eu
stats=/sys/kernel/debug/asi/stats
exits=/sys/kernel/debug/asi/exits
tracing=/sys/kernel/tracing

build() {
	rm -f /disk/build/*.o /disk/build/fault /disk/build/move
	ticks chroot /disk make -s -j2 -C /build
}

counters() {
	[ ! -e $stats ] || cat $stats
	grep pgfault /proc/vmstat
	awk '/^cpu / { print "idle " $5 } /^ctxt|^processes/' /proc/stat
}

# trace NAME EVENT: an instance of its own for it.
trace() {
	mkdir "$tracing/instances/$1"
	echo 16384 >"$tracing/instances/$1/buffer_size_kb"
	[ ! -d "$tracing/instances/$1/events/$2" ] ||
		echo 1 >"$tracing/instances/$1/events/$2/enable"
}

cp /bin/busybox /disk/bin/sh
mount -t devtmpfs dev /disk/dev
echo 0 >/proc/sys/vm/dirty_writeback_centisecs
build >/tmp/first
sync
counters >/tmp/0
[ ! -e $exits ] || cat $exits >/tmp/exits0
build
counters >/tmp/1
if [ -e $exits ]; then
	awk 'NR == FNR { n[$2] = $1; next } $1 > n[$2] { print "@exits", $1 - n[$2], $2 }' \
		/tmp/exits0 $exits | sort -k2,2nr >&2
fi
awk 'NR == FNR { n[$1] = $2; next } { print $1 "=" $2 - n[$1] }' /tmp/0 /tmp/1

[ -e $exits ] || { umount /disk/dev; exit 0; }

trace switch tlb/tlb_flush
trace exit asi/asi_exit
echo stacktrace >$tracing/instances/exit/trace_options
build >/dev/null
echo 0 >$tracing/instances/switch/tracing_on
echo 0 >$tracing/instances/exit/tracing_on
echo "switches_mm=$(grep -c 'reason:flush on task switch' $tracing/instances/switch/trace || :)"
awk '/asi_exit:/ { at = 0 }
	/^ => asm_exc_page_fault/ { at = 1; next }
	/^ => / && at && at < 6 {
		chain = at == 1 ? $2 : chain " < " $2
		if (at++ == 5)
			n[chain]++
	}
	END { for (chain in n) print "@stack", n[chain], chain }' \
	$tracing/instances/exit/trace | sort -k2,2nr | head -n 40 >&2
umount /disk/dev
