#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2317,SC2086,SC2046,SC2015,SC2016 # called by name; words
# usage: test-qemu.sh [-m MACHINE] [-b BACKEND] [TEST...]
#
#   -m MACHINE   microvm (the default) or q35
#   -b BACKEND   options of memory-backend-guest-memfd
#                (direct-map=off,movable=on)
#   TEST         all of them by default, in this order:
#     W1  Linux boots in memory that is a guest_memfd's, hidden if so asked
#     W2  disks, buffered, with O_DIRECT, and with O_DIRECT by io_uring, while
#         the guest's memory moves
#     W3  networks, by QEMU and by vhost, likewise
#     W4  all of the guest's memory moves, twice, while the guest verifies it
#     W5  what cannot be has a message, and the guest goes on; QEMU's own test
#     W6  a dump of the guest's memory; the balloon
#     W7  poison kills the process that has it; kill -9 in the midst of a move
#   and by name only, without W2, W3 and W7, as two of these run then, and a disk
#   has to have snapshots:
#     W8  savevm and loadvm
#     W9  what the dirty log has, and live migration to another QEMU, while the
#         guest writes and its memory moves
#
# Runs in a guest (scripts/test-qemu), with a QEMU that has qemu/'s patches. TAP
# on the standard output.
set -u
# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh

machine=microvm
backend=direct-map=off,movable=on
while getopts m:b: option; do
	case $option in
	m) machine=$OPTARG ;;
	b) backend=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- W1 W2 W3 W4 W5 W6 W7

MB=256				# the guest's memory
PAGES=$((MB * 256))
DISK=16				# megabytes of a disk that are read, and written
NET=16				# megabytes that are sent each way
memory=/sys/devices/system/memory
dir=/tmp/qemu
case $backend in *direct-map=off*) hidden=1 ;; *) hidden= ;; esac
case $backend in *movable=on*) movable=1 ;; *) movable= ;; esac
case $backend in *huge=on*) huge=1 ;; *) huge= ;; esac

note() {
	echo "# $*"
}

# used: pages in use, of the kind that the guest's memory is.
used() {
	if [ "$hidden" ]; then
		vmstat nr_no_direct_map
	else
		awk '/^MemTotal/ { n = $2 } /^MemFree/ { n -= $2 } END { print n / 4 }' /proc/meminfo
	fi
}

# fdinfo NAME: a count that the kernel keeps for the guest's file.
fdinfo() {
	cat /proc/$qemu/fdinfo/* 2>/dev/null | awk -v name="$1:" '$1 == name { n += $2 } END { print n + 0 }'
}

# moves: how many of the guest's pages have moved.
moves() {
	fdinfo gmem-moved
}

# vmstat NAME: after what CPUs have counted is summed up.
vmstat() {
	cat /proc/sys/vm/stat_refresh
	awk -v name="$1" '$1 == name { print $2 }' /proc/vmstat
}

# hides_at_most PAGES TEST: a minute after QEMU has ended, to say the most.
hides_at_most() {
	local left=60 now
	while [ $left -gt 0 ]; do
		now=$(vmstat nr_no_direct_map)
		[ "$now" -gt "$1" ] || break
		sleep 1
		left=$((left - 1))
	done
	[ $left -gt 0 ]
	result $? "$2: pages out of the direct map: $now, $before_hidden before QEMU ran"
}

# --- the guest --------------------------------------------------------------

# As scripts/vm has it for this guest: interrupts of timers are late.
emulated="tsc=reliable no_timer_check"

# start OPTION...: QEMU with its monitor and the guest's console on pipes.
start() {
	local suffix
	case $machine in
	microvm) suffix=device ;;
	*) suffix=pci ;;
	esac
	rm -rf "$dir"
	mkdir -p "$dir"
	for pipe in con.in con.out mon.in mon.out; do
		mkfifo "$dir/$pipe"
	done
	: >"$dir/console"
	: >"$dir/monitor"
	# Open for both: nobody waits for a QEMU that has not come up.
	exec 3<>"$dir/con.in" 4<>"$dir/mon.in"
	mon=4
	cat "$dir/con.out" >>"$dir/console" &
	cat "$dir/mon.out" >>"$dir/monitor" &
	tag=0
	qemu-system-x86_64 -L /files -nodefaults -no-user-config -no-reboot \
		-display none -accel kvm -cpu host -m ${MB}M \
		-machine "$machine,memory-backend=m0" \
		-object "memory-backend-guest-memfd,id=m0,size=${MB}M,$backend,prealloc=on,host-nodes=1,policy=preferred" \
		-kernel /files/bzImage -initrd /files/l2.cpio \
		-append "console=ttyS0 quiet panic=-1 $emulated" \
		-chardev "pipe,id=con,path=$dir/con" -serial chardev:con \
		-chardev "pipe,id=mon,path=$dir/mon" -mon chardev=mon \
		-device "virtio-balloon-$suffix" \
		$(echo "$*" | sed "s/-SUFFIX/-$suffix/g") \
		>"$dir/output" 2>&1 &
	qemu=$!
}

# runs PID: has it not ended?
runs() {
	kill -0 "$1" 2>/dev/null && [ "$(awk '{ print $3 }' "/proc/$1/stat")" != Z ]
}

# alive: QEMU runs, and has not stopped the guest for good.
alive() {
	runs "$qemu" && ! grep -q 'kvm run failed' "$dir/output"
}

# clock: seconds since some time.
clock() {
	cut -d. -f1 /proc/uptime
}

# wait_for SECONDS FILE PATTERN
wait_for() {
	local end=$(($(clock) + $1))
	until grep -q "$3" "$2"; do
		[ "$(clock)" -lt $end ] && alive || return 1
		usleep 200000
	done
}

# l2 SECONDS COMMAND: in the guest; $dir/answer has the output.
l2() {
	tag=$((tag + 1))
	echo "$tag $2" >&3
	if ! wait_for "$1" "$dir/console" "^@$tag= "; then
		note "no answer to: $2"
		trouble
		return 1
	fi
	sed -n "s/^@$tag: //p" "$dir/console" | tr -d '\r' >"$dir/answer"
	return "$(sed -n "s/^@$tag= \([0-9]*\).*/\1/p" "$dir/console")"
}

answer() {
	cat "$dir/answer"
}

prompts() {
	grep -o '(qemu)' "$dir/monitor" | wc -l
}

# hmp COMMAND: QEMU's monitor; $dir/reply has what it says until it is ready.
hmp() {
	local before ready end=$(($(clock) + 200))
	before=$(wc -c <"$dir/monitor")
	ready=$(prompts)
	echo "$1" >&$mon
	until [ "$(prompts)" -gt "$ready" ]; do
		[ "$(clock)" -lt $end ] && runs "$qemu" || break
		usleep 200000
	done
	# Without the command's echo, as a terminal would show it.
	tail -c +$((before + 1)) "$dir/monitor" | tr -d '\r' | grep -v '\[K' >"$dir/reply"
	[ "$(prompts)" -gt "$ready" ]
}

# says TEXT: in the monitor's reply.
says() {
	grep -q "$1" "$dir/reply" || {
		tail -n 3 "$dir/reply" | sed 's/^/# monitor: /'
		return 1
	}
}

trouble() {
	{
		grep 'kvm run failed' "$dir/output"
		tail -n 5 "$dir/output"
	} | sed 's/^/# qemu: /'
	tail -n 5 "$dir/console" | sed 's/^/# console: /'
	# A node is offline now and then: two QEMUs can be more than the other holds.
	dmesg | grep -i -e 'out of memory' -e 'oom-kill' | tail -n 3 | sed 's/^/# host: /'
	awk '/^MemFree|^MemAvailable/ { printf "# host: %s %s kB\n", $1, $2 }' /proc/meminfo
}

# stop: kill QEMU, and see it gone.
stop() {
	kill -9 "$qemu" 2>/dev/null
	wait "$qemu" 2>/dev/null
}

# --- memory blocks ----------------------------------------------------------

# make_movable: all blocks that hold nothing unmovable to ZONE_MOVABLE.
make_movable() {
	local block
	for block in "$memory"/memory[0-9]*; do
		[ "$(cat "$block/state")" = online ] || continue
		(echo offline >"$block/state") 2>/dev/null &&
			echo online_movable >"$block/state"
	done
}

# movable_blocks NODE: those of a node in ZONE_MOVABLE.
movable_blocks() {
	local block
	for block in /sys/devices/system/node/"node$1"/memory[0-9]*; do
		[ "$(cat "$block/valid_zones")" = Movable ] && echo "$block"
	done
}

# empty_node NODE: take all of its movable blocks offline; how many did not go.
empty_node() {
	local block stayed=0
	for block in $(movable_blocks "$1"); do
		timeout 120 sh -c "echo offline >$block/state" 2>/dev/null ||
			stayed=$((stayed + 1))
	done
	echo "$stayed"
}

# refill: all blocks that are offline, back to ZONE_MOVABLE.
refill() {
	local block
	for block in "$memory"/memory[0-9]*; do
		[ "$(cat "$block/state")" != offline ] ||
			echo online_movable >"$block/state"
	done
}

# shake: from now on the guest's memory moves from node to node and back.
shake() {
	[ "$movable" ] || return
	: >/tmp/shaking
	shaken=$(moves)
	while [ -e /tmp/shaking ]; do
		for node in 1 0; do
			empty_node $node >/dev/null
			refill
		done
	done &
	shaker=$!
}

# calm TEST: until now. All of it has moved, to say the least.
calm() {
	[ "$movable" ] || return
	rm /tmp/shaking
	wait $shaker
	shaken=$(($(moves) - shaken))
	[ $shaken -ge $PAGES ]
	result $? "$1: pages that moved meanwhile: $shaken"
}

# --- tests ------------------------------------------------------------------

W1() {
	local total
	wait_for 300 "$dir/console" '^@boot= 0'
	result $? "W1: Linux boots ($machine, $backend)"
	[ "$failed" = 0 ] || {
		trouble
		return
	}
	l2 20 'grep MemTotal /proc/meminfo'
	total=$(awk '{ print int($2 / 1024) }' "$dir/answer")
	[ "${total:-0}" -gt $((MB * 3 / 4)) ]
	result $? "W1: it has $total MB of memory"
	now=$(vmstat nr_no_direct_map)
	note "pages out of the direct map: $before_hidden, now $now"
	if [ "$hidden" ]; then
		[ $((now - before_hidden)) -ge $PAGES ]
	else
		[ "$now" -eq "$before_hidden" ]
	fi
	result $? "W1: pages of the guest's that are hidden: $((now - before_hidden))"
	if [ "$huge" ]; then
		now=$(fdinfo gmem-huge)
		[ "$now" -ge $((PAGES * 95 / 100)) ]
		result $? "W1: pages in folios of 2 MB: $now"
	fi
}

# The hash of no bytes: what a failed read would agree on.
nothing=$(sha256sum </dev/null)

# disk NAME IMAGE: read what the host wrote, write what the host reads.
disk() {
	local there
	there=$(dd if="$2" bs=1M count=$DISK 2>/dev/null | sha256sum)
	l2 200 "dd if=/dev/\$(disk $1) bs=1M count=$DISK 2>/dev/null | sha256sum" &&
		[ "$there" != "$nothing" ] && [ "$(answer)" = "$there" ]
	result $? "W2: $DISK MB read from the disk: $3"
	l2 200 "disk=/dev/\$(disk $1); dd if=\$disk bs=1M count=$DISK 2>/dev/null | tr a-z b-za >/tmp/new; dd if=/tmp/new of=\$disk bs=1M seek=$DISK conv=notrunc,fsync 2>&1; sha256sum </tmp/new; rm /tmp/new"
	sync
	there=$(dd if="$2" bs=1M skip=$DISK 2>/dev/null | sha256sum)
	[ "$there" != "$nothing" ] && [ "$(tail -n 1 "$dir/answer")" = "$there" ]
	result $? "W2: $DISK MB written to the disk: $3"
}

W2() {
	shake
	disk d0 /disk/buffered.img "cache=writeback"
	disk d1 /disk/direct.img "cache=none"
	disk d2 /disk/uring.img "cache=none, io_uring"
	l2 100 'mkdir -p /mnt; disk=/dev/$(disk d0); mke2fs $disk >/dev/null 2>&1; mount -t ext4 $disk /mnt && dd if=/dev/urandom of=/mnt/a bs=1M count=4 2>/dev/null && sync && echo 3 >/proc/sys/vm/drop_caches && cp /mnt/a /tmp/a && umount /mnt && mount -t ext4 $disk /mnt && cmp /mnt/a /tmp/a && umount /mnt'
	result $? "W2: ext4 on the disk"
	calm W2
	alive
	result $? "W2: QEMU runs"
}

# net NUMBER TEXT: a file each way. busybox's nc ends when either side has no more
# to send: whoever receives has a pipe for its input that never ends.
net() {
	local there
	there=$(sha256sum </tmp/net)
	l2 20 "net=\$(net 52:54:00:00:00:0$1); ip addr add 10.0.$1.2/24 dev \$net; ip link set \$net up"
	nc -l -p 500$1 </tmp/net >/dev/null &
	l2 200 "nc 10.0.$1.1 500$1 <>/tmp/endless >/tmp/net; sha256sum </tmp/net" &&
		[ "$(answer)" = "$there" ]
	result $? "W3: $NET MB received by the guest: $2"
	nc -l -p 501$1 >/tmp/net.back <>/tmp/endless &
	server=$!
	l2 200 "nc 10.0.$1.1 501$1 </tmp/net" || kill $server
	wait $server
	[ "$(sha256sum </tmp/net.back)" = "$there" ]
	result $? "W3: $NET MB sent by the guest: $2"
	rm /tmp/net.back
}

W3() {
	for n in 0 1; do
		ip addr add 10.0.$n.1/24 dev tap$n
		ip link set tap$n up
	done
	dd if=/dev/urandom of=/tmp/net bs=1M count=$NET 2>/dev/null
	mkfifo /tmp/endless
	l2 20 'mkfifo /tmp/endless'
	shake
	net 0 "vhost=off"
	net 1 "vhost=on"
	calm W3
	rm /tmp/net
	alive
	result $? "W3: QEMU runs"
}

# begin_words TEST: the guest verifies and renews 64 MB from now on.
begin_words() {
	l2 60 'rm -f /tmp/stop; l2_words 64 /tmp/stop >/tmp/words 2>&1 & while ! grep -q filled /tmp/words; do usleep 100000; done'
	result $? "$1: the guest verifies 64 MB"
}

# end_words TEST: until now.
end_words() {
	l2 60 'touch /tmp/stop; while pidof l2_words >/dev/null; do usleep 100000; done; tail -n 1 /tmp/words'
	note "$(answer)"
	grep -q '^rounds=[1-9][0-9]* wrong=0$' "$dir/answer"
	result $? "$1: no word in the guest was wrong"
}

W4() {
	local from moved stayed node
	begin_words W4
	for node in 1 0; do
		# Compaction goes on all the while.
		while :; do echo 1 >/proc/sys/vm/compact_memory; sleep 1; done &
		compact=$!
		from=$(moves)
		note "node $node: $(movable_blocks $node | wc -l) blocks"
		stayed=$(empty_node $node)
		moved=$(moves)
		kill $compact
		wait $compact 2>/dev/null
		[ "$stayed" = 0 ] && [ $((moved - from)) -ge $((PAGES * 9 / 10)) ]
		result $? "W4: node $node's blocks go offline: $((moved - from)) pages moved, $stayed blocks stayed"
		refill
	done
	end_words W4
	[ -z "$huge" ] || note "pages in folios of 2 MB: $(fdinfo gmem-huge)"
}

W5() {
	local left=60
	hmp 'migrate_set_capability background-snapshot on'
	says 'Background-snapshot is not compatible'
	result $? "W5: background-snapshot: refused"
	hmp 'object_add memory-backend-guest-memfd,id=m1,size=3M,huge=on'
	says 'has to be a multiple of 2 MiB'
	result $? "W5: huge=on and 3 MB: refused"
	QTEST_QEMU_BINARY=$(command -v qemu-system-x86_64) hostmem-guest-memfd-test >/tmp/qtest 2>&1
	status=$?
	sed 's/^/# /' /tmp/qtest
	[ $status = 0 ] && grep -q '^ok .*with-kvm' /tmp/qtest && ! grep -qi skip /tmp/qtest
	result $? "W5: QEMU's own test of the backend: status $status"
	qemu-system-x86_64 -L /files -nodefaults -display none -accel kvm -cpu host \
		-m 64M -machine q35,memory-backend=m0,smm=on \
		-object "memory-backend-guest-memfd,id=m0,size=64M,$backend" \
		>/tmp/smm 2>&1 &
	smm=$!
	while [ $left -gt 0 ] && runs $smm; do
		sleep 1
		left=$((left - 1))
	done
	! runs $smm
	result $? "W5: smm=on: QEMU ends"
	kill -9 $smm 2>/dev/null
	wait $smm 2>/dev/null
	status=$?
	sed 's/^/# /' /tmp/smm
	[ $status -eq 1 ] && grep -q 'not supported with memory-backend-guest-memfd' /tmp/smm
	result $? "W5: smm=on: status $status, with a message"
	alive && l2 20 true
	result $? "W5: the guest runs"
}

W6() {
	local base new hash left=60
	# What is looked for in the dump was computed in the guest.
	hash=$(echo "$dir $PAGES" | sha256sum | cut -c1-40)
	l2 20 "echo '$dir $PAGES' | sha256sum >/tmp/hash"
	hmp 'stop'
	hmp "dump-guest-memory $dir/dump"
	hmp 'info dump'
	says 'completed'
	result $? "W6: dump-guest-memory completes"
	hmp 'cont'
	[ "$(wc -c <"$dir/dump")" -ge $((MB << 20)) ] && grep -q "$hash" "$dir/dump"
	result $? "W6: what the guest computed is in the dump of $(wc -c <"$dir/dump") bytes"
	rm -f "$dir/dump"
	base=$(used)
	hmp "balloon $((MB - 96))"
	new=$base
	while [ $left -gt 0 ] && [ $((base - new)) -lt 22000 ]; do
		sleep 1
		new=$(used)
		left=$((left - 1))
	done
	[ $((base - new)) -ge 22000 ]
	result $? "W6: 96 MB in the balloon free $((base - new)) pages"
	hmp "balloon $MB"
	l2 100 'sleep 5; dd if=/dev/zero of=/tmp/fill bs=1M count=64 2>/dev/null; rm /tmp/fill'
	result $? "W6: the guest uses what was in the balloon"
}

# corrupted: kilobytes that are poisoned.
corrupted() {
	awk '/^HardwareCorrupted/ { print $2 }' /proc/meminfo
}

W7() {
	local gpa hpa left from now
	l2 40 '(l2_words --page /tmp/read >/tmp/page 2>&1; echo $? >/tmp/page.status) >/dev/null 2>&1 & until [ -s /tmp/page ]; do usleep 100000; done; cat /tmp/page'
	gpa=$(answer)
	# Its own page table has the page after an access only.
	hmp "xp /1xg $gpa"
	hmp "gpa2hpa $gpa"
	hpa=$(sed -n 's/.* is \(0x[0-9a-f]*\).*/\1/p' "$dir/reply")
	note "the page: $gpa of the guest's, ${hpa:-nowhere}"
	from=$(corrupted)
	# That the owner keeps the page makes this fail, as of any guest_memfd.
	[ -n "$hpa" ] && printf '%d' $((hpa >> 12)) >/sys/kernel/debug/hwpoison/corrupt-pfn
	[ "$(corrupted)" = $((from + 4)) ]
	result $? "W7: a page of the guest's is poisoned"
	l2 100 'touch /tmp/read; i=0; until [ -s /tmp/page.status ] || [ $i = 40 ]; do sleep 1; i=$((i + 1)); done; cat /tmp/page.status'
	note "the process in the guest: $(answer)"
	grep -qx '135\|137' "$dir/answer"
	result $? "W7: poison kills its process in the guest"
	l2 20 'dmesg | grep -i -e "memory failure" -e "mce: Uncorrected" | tail -n 3' &&
		sed 's/^/# the guest: /' "$dir/answer"
	tail -n 3 "$dir/output" | sed 's/^/# qemu: /'
	grep -q BUS_MCEERR_AR "$dir/output"
	result $? "W7: QEMU gave it a machine check"
	alive && l2 20 true
	result $? "W7: the guest runs"

	from=$(vmstat no_direct_map_migrate_success)
	empty_node 1 >/dev/null &
	emptying=$!
	left=100
	while [ $left -gt 0 ]; do
		[ $(($(vmstat no_direct_map_migrate_success) - from)) -lt 100 ] || break
		usleep 20000
		left=$((left - 1))
	done
	kill -9 "$qemu"
	now=$(vmstat no_direct_map_migrate_success)
	wait "$qemu" 2>/dev/null
	[ $((now - from)) -ge 100 ] && [ $((now - from)) -lt $PAGES ]
	result $? "W7: killed in the midst of a move: after $((now - from)) pages"
	wait $emptying
	refill
	hides_at_most "$before_hidden" W7
	now=$(vmstat nr_no_direct_map_files)
	[ "$now" = "$before_files" ]
	result $? "W7: files without a direct map: $now, $before_files before QEMU ran"
}

W8() {
	local hash
	l2 60 'dd if=/dev/urandom of=/tmp/state bs=1M count=16 2>/dev/null; sha256sum </tmp/state'
	hash=$(answer)
	shake
	hmp 'savevm one' && ! grep -qi error "$dir/reply" && hmp 'info snapshots' && says ' one '
	result $? "W8: savevm"
	l2 60 'dd if=/dev/urandom of=/tmp/state bs=1M count=16 conv=notrunc 2>/dev/null; sha256sum </tmp/state' &&
		[ "$(answer)" != "$hash" ]
	result $? "W8: the guest goes on, and writes"
	hmp 'loadvm one' && ! grep -qi error "$dir/reply"
	result $? "W8: loadvm"
	calm W8
	l2 60 'sha256sum </tmp/state; rm /tmp/state' && [ "$hash" ] && [ "$(answer)" = "$hash" ]
	result $? "W8: the guest has what it had"
	[ -z "$huge" ] || note "pages in folios of 2 MB: $(fdinfo gmem-huge)"
}

# dirty_rate: megabytes a second, by the dirty log.
dirty_rate() {
	local left=100
	hmp 'calc_dirty_rate -b 5'
	while [ $left -gt 0 ]; do
		sleep 1
		hmp 'info dirty_rate'
		! grep -q '^Status: measured' "$dir/reply" || break
		left=$((left - 1))
	done
	sed -n 's/^Dirty rate: \([0-9]*\).*/\1/p' "$dir/reply"
}

# source_hmp COMMAND: the monitor of the QEMU that the guest is migrated from.
source_hmp() {
	local dir=/tmp/qemu qemu=$source mon=5
	hmp "$1"
	cp "$dir/reply" /tmp/source.reply
}

W9() {
	local idle busy left=300 source now there here
	shake
	idle=$(dirty_rate)
	calm "W9 (idle)"
	begin_words W9
	busy=$(dirty_rate)
	# A page that moved was not written.
	[ "${idle:-99}" -le 2 ] && [ "${busy:-0}" -ge 10 ]
	result $? "W9: dirty per second: ${idle:-?} MB while memory moves, ${busy:-?} MB while the guest writes"

	shake
	source=$qemu
	exec 5>&4
	dir=/tmp/qemu.to
	start $drives -incoming defer
	wait_for 100 "$dir/monitor" '(qemu)' && hmp 'migrate_set_capability postcopy-ram on' &&
		says 'TMPFS or HUGETLBFS only'
	result $? "W9: postcopy: refused by the destination"
	hmp 'migrate_incoming unix:/tmp/migration'
	# All of it goes at least once while the guest writes; then what the guest
	# writes to, 64 MB, fits into the time that it may stand still.
	source_hmp 'migrate_set_parameter downtime-limit 3000'
	source_hmp 'migrate_set_parameter max-bandwidth 32M'
	there=$(qemu=$source && moves)
	here=$(moves)
	source_hmp 'migrate -d unix:/tmp/migration'
	while [ $left -gt 0 ]; do
		# A machine that is too slow for that has to let the guest stand still.
		[ $left -ne 200 ] || source_hmp 'migrate_set_parameter downtime-limit 100000'
		source_hmp 'info migrate'
		! grep -q 'tatus: *\(completed\|failed\|cancelled\)' /tmp/source.reply || break
		sleep 1
		left=$((left - 1))
	done
	grep -q 'tatus: *completed' /tmp/source.reply
	status=$?
	result $status "W9: the guest is migrated to another QEMU"
	[ $status = 0 ] || {
		runs "$source" || note "the source has ended"
		(dir=/tmp/qemu && trouble)
		sed 's/^/# source: /' /tmp/source.reply
	}
	there=$(($(qemu=$source && moves) - there))
	here=$(($(moves) - here))
	[ $((there + here)) -gt 0 ]
	result $? "W9: pages that moved meanwhile: $there of the source's, $here of the destination's"
	grep -i -e 'total time' -e downtime -e precopy -e normal -e 'sync count' /tmp/source.reply | sed 's/^/# /'
	now=$(sed -n 's/^precopy ram: *\([0-9]*\).*/\1/p' /tmp/source.reply)
	[ "${now:-0}" -ge 40000 ]
	result $? "W9: ${now:-0} KB were sent while the guest ran"
	end_words W9
	source_hmp 'quit'
	kill -9 "$source" 2>/dev/null
	wait "$source" 2>/dev/null
	exec 5>&-
	shaken=0
	calm "W9 (in all)"
	[ -z "$hidden" ] || hides_at_most $((before_hidden + PAGES + 512)) W9
	alive && l2 20 true
	result $? "W9: the guest runs"
}

echo "TAP version 13"
# Memory that does not move is not for ZONE_MOVABLE, and needs the rest.
[ -z "$movable" ] || make_movable
before_hidden=$(vmstat nr_no_direct_map)
before_files=$(vmstat nr_no_direct_map_files)
drives=
case " $* " in
*" W2 "*)
	for image in buffered direct uring; do
		dd if=/dev/urandom of=/disk/$image.img bs=1M count=$((2 * DISK)) 2>/dev/null
	done
	drives="-drive if=none,id=d0,format=raw,cache=writeback,file=/disk/buffered.img
		-device virtio-blk-SUFFIX,drive=d0,serial=d0
		-drive if=none,id=d1,format=raw,cache=none,file=/disk/direct.img
		-device virtio-blk-SUFFIX,drive=d1,serial=d1
		-drive if=none,id=d2,format=raw,cache=none,aio=io_uring,file=/disk/uring.img
		-device virtio-blk-SUFFIX,drive=d2,serial=d2"
	;;
esac
case " $* " in
*" W3 "*)
	drives="$drives -netdev tap,id=n0,ifname=tap0,script=no,downscript=no,vhost=off
		-device virtio-net-SUFFIX,netdev=n0,mac=52:54:00:00:00:00
		-netdev tap,id=n1,ifname=tap1,script=no,downscript=no,vhost=on
		-device virtio-net-SUFFIX,netdev=n1,mac=52:54:00:00:00:01"
	;;
esac
case " $* " in
*" W8 "*)
	qemu-img create -q -f qcow2 /tmp/d3.qcow2 64M
	drives="$drives -drive if=none,id=d3,format=qcow2,file=/tmp/d3.qcow2
		-device virtio-blk-SUFFIX,drive=d3,serial=d3"
	;;
esac
# shellcheck disable=SC2086 # words
start $drives
for test; do
	$test
	[ "$test" != W1 ] || [ "$failed" = 0 ] || break
done
stop
echo "1..$number"
exit "$failed"
