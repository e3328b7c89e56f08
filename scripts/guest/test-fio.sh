#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# fio writes files in several ways, reads them back and compares checksums: on
# tmpfs, and on the disk if there is one (scripts/vm --disk), with ext4, xfs or
# btrfs on it. What is on the disk is read again, by way of the page cache and
# past it, and at last the file system has to be sound. In the guest, with
# scripts/vm --program fio, and --program e2fsck, xfs_repair or btrfs; TAP.
#
# usage: test-fio.sh [MB [SECTION...]]
#
# MB (4) is the size of a file. Each of two jobs has its own. Only those SECTIONs
# of the job file below, psync-4k among them.
size=${1:-4}
[ $# = 0 ] || shift
# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh
jobs=/tmp/jobs
log=/tmp/fio.log

command -v fio >/dev/null || { echo "1..0 # SKIP no fio"; exit 4; }
cd /tmp || exit 2

# A section is a group of two jobs, and runs when the one before it has ended. An
# unaligned write begins anywhere in a page and may span several; random ones of
# that kind would overwrite each other.
cat >$jobs <<END
[global]
directory=\${DIR}
size=${size}m
numjobs=2
group_reporting=1
stonewall=1
verify=crc32c
verify_fatal=1
allow_file_create=1
end_fsync=1

[psync-4k]
ioengine=psync
rw=randwrite
bs=4k

[psync-64k-threads]
ioengine=psync
rw=randwrite
bs=64k
thread=1

[psync-mixed]
ioengine=psync
rw=randwrite
bsrange=512-64k

[psync-unaligned]
ioengine=psync
rw=write
bsrange=700-70000
bs_unaligned=1

[libaio-4k]
ioengine=libaio
iodepth=8
rw=randwrite
bs=4k

[libaio-64k]
ioengine=libaio
iodepth=8
rw=write
bs=64k

[io_uring-4k]
ioengine=io_uring
iodepth=8
rw=randwrite
bs=4k

[io_uring-64k]
ioengine=io_uring
iodepth=8
rw=randwrite
bs=64k
thread=1

[io_uring-unaligned]
ioengine=io_uring
iodepth=4
rw=write
bsrange=700-70000
bs_unaligned=1

[mmap-4k]
ioengine=mmap
rw=randwrite
bs=4k

[mmap-64k]
ioengine=mmap
rw=randwrite
bs=64k
END

# all: the names of all sections. aligned: of those that direct I/O can do.
all=${*:-$(sed -n 's/^\[\(.*\)\]$/\1/p' $jobs | grep -v global)}
# shellcheck disable=SC2086 # a list
aligned=$(printf '%s\n' $all | grep -v -e mixed -e unaligned -e mmap)

# What two jobs read and write, in KB. Less than a smallest block may be left of
# each one's file.
both=$((size * 2048 - 2))

# at: when, of the guest's clock.
at() {
	read -r seconds _ </proc/uptime
	echo "# $seconds s: $fs, $what"
}

# run WHAT NAMES WRITTEN OPTION...: the sections NAMES, with a result for each:
# all of it was read back, WRITTEN KB were written, and there was no error.
run() {
	what=$1 names=$2 written=$3
	shift 3
	options=
	for name in $names; do
		options="$options --section=$name"
	done
	# shellcheck disable=SC2086 # lists
	DIR=$dir fio --minimal "$@" $options $jobs >$log 2>$log.errors
	sed 's/^/# /' $log.errors
	at
	for name in $names; do
		# Of a version 3 line: error, KB read, KB written.
		# shellcheck disable=SC2046 # words are wanted
		set -- $(awk -F ';' -v name="$name" '
			$1 == 3 && $3 == name { print $5, $6, $47 }' $log)
		[ "$#" = 3 ] && [ "$1" = 0 ] && [ "$2" -ge $both ] &&
			[ "$3" -ge "$written" ]
		result $? "$fs, $what: $name (error, KB read and written: $*)"
	done
}

# damage: is it found if one byte in the middle of a block is another one?
damage() {
	set -- "$dir"/psync-4k.0.0
	printf '\245' | dd of="$1" bs=1 seek=10001 conv=notrunc 2>/dev/null
	! DIR=$dir fio --minimal --verify_only --section=psync-4k $jobs >$log 2>&1 &&
		grep -q 'crc32c: verify failed' $log
	result $? "$fs: a wrong byte is found"
	grep -m 1 'crc32c: verify' $log | sed 's/^/# /'
}

# asi_exits: from restricted page tables, with asi=on.
asi_exits() {
	sed 's/^/# exits: /' /sys/kernel/debug/asi/exits 2>/dev/null
	grep ephmap /proc/vmstat | sed 's/^/# /'
}

echo "TAP version 13"
fs=tmpfs
dir=/tmp/fio
mkdir $dir
run written "$all" $both
damage
rm -r $dir

# sound: is the file system on the disk?
sound() {
	case $fs in
	ext4) e2fsck -fn /dev/vda ;;
	xfs) xfs_repair -n /dev/vda ;;
	btrfs) btrfs check --readonly /dev/vda ;;
	*) false ;;
	esac
}

if [ -d /disk ]; then
	fs=$(sed -n 's|^/dev/vda /disk \([^ ]*\) .*|\1|p' /proc/mounts)
	dir=/disk/fio
	mkdir $dir
	run written "$all" $both
	umount /disk && mount -t "$fs" /dev/vda /disk
	result $? "$fs: unmounted and mounted again"
	run "read from the disk" "$all" 0 --verify_only
	echo 3 >/proc/sys/vm/drop_caches
	run "read past the cache" "$aligned" 0 --verify_only --direct=1
	damage
	umount /disk && sound >$log 2>&1
	result $? "$fs: the file system is sound"
	sed 's/^/# /' $log
fi
asi_exits
echo "1..$number"
exit $failed
