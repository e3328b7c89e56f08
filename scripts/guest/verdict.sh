# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# How a guest tells scripts/vm its verdict; sourced.
#
# It is given twice. The line "vm: exit status N" on the console carries the
# status; QEMU's isa-debug-exit port, where there is one, ends the machine and
# says pass (16), fail (17) or skip (18). scripts/vm wants both to agree. Without
# the port (Bochs) the guest halts, and is killed.

# Until who prints the kernel's messages has printed what there is: reading the list
# of consoles takes the console lock.
wait_for_printk() { cat /sys/class/tty/console/active >/dev/null; }

# finish STATUS: does not return.
finish() {
	case $1 in
	0) code=16 ;;
	4) code=18 ;;
	*) code=17 ;;
	esac
	sync
	# Whoever keeps it busy may keep it: it is not sound then.
	! grep -q ' /disk ' /proc/mounts || umount /disk
	# The verdict's line may not be torn by one of the kernel's, and must be
	# out before the machine is: setting a terminal drains it.
	echo 1 >/proc/sys/kernel/printk
	wait_for_printk
	echo
	echo "vm: exit status $1"
	stty -echo </dev/console
	# Port 0x501 = 1281: the write ends QEMU.
	# shellcheck disable=SC2059 # the format is the data
	[ ! -e /dev/port ] ||
		printf "\\$(printf %o "$code")" |
		dd of=/dev/port bs=1 seek=1281 conv=notrunc 2>/dev/null
	halt -f
}

# say_asi: what scripts/vm wants to know before it believes what a test says. A
# message of the kernel's: what a terminal prints, another of them may tear. Another
# task may print it, later: of a level that none that finish() sets hides.
say_asi() {
	asi=off
	[ ! -e /sys/kernel/debug/asi ] || asi=on
	echo "<0>vm: asi=$asi" >/dev/kmsg
	wait_for_printk
}
