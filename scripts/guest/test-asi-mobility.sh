#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: test-asi-mobility.sh
#
# A1: with asi=on the page allocator goes on grouping pages by mobility when, by
# its count, there is too little memory for that. It counts pages beyond the high
# watermark, each time a zone gets its first memory or loses its last: put a memory
# block into ZONE_MOVABLE, raise the watermarks, take it away. In the guest, which
# needs a memory block that can be offlined; TAP on the standard output.

# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh

memory=/sys/devices/system/memory
vm=/proc/sys/vm

echo "TAP version 13"
if [ ! -e /sys/kernel/debug/asi ]; then
	echo "1..0 # SKIP asi=off"
	exit 4
fi
echo "1..3"

block=
for one in "$memory"/memory[0-9]*; do
	[ "$(cat "$one/state")" = online ] || continue
	[ "$(cat "$one/removable" 2>/dev/null)" != 0 ] || continue
	if (echo offline >"$one/state") 2>/dev/null; then
		block=$one
		break
	fi
done
[ -n "$block" ] && echo online_movable >"$block/state"
result $? "a memory block is alone in ZONE_MOVABLE: ${block##*/}"

min_before=$(cat $vm/min_free_kbytes)
scale_before=$(cat $vm/watermark_scale_factor)
# Two times 30 % more than the lowest: free memory is below the highest only.
echo 3000 >$vm/watermark_scale_factor
awk '/^MemTotal/ { print int($2 * 0.45) }' /proc/meminfo >$vm/min_free_kbytes
dmesg -c >/dev/null
echo offline >"$block/state"
echo "$scale_before" >$vm/watermark_scale_factor
echo "$min_before" >$vm/min_free_kbytes

dmesg | grep 'mobility grouping' >/tmp/lines
sed 's/^/# /' /tmp/lines
grep -q 'mobility grouping on' /tmp/lines
result $? "pages are grouped by mobility, with few beyond the watermarks"

# New pages of users' are where they belong.
dd if=/dev/zero of=/tmp/some bs=1M count=32 2>/dev/null
sh -c 'x=$(head -c 4000000 /dev/zero | tr "\\0" x); cat /sys/kernel/debug/asi/audit' >/tmp/audit
rm /tmp/some
found=$(awk '/^user_(anonymous|shmem)|^movable_blocks_present/ { n += $2 }
	END { print n + 0 }' /tmp/audit)
[ "$found" = 0 ]
result $? "user data that can be reached: $found pages"
exit "$failed"
