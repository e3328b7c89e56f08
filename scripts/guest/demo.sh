#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run demo steps in the guest, each named STEP:KIND (KIND secret, or another
# that bench/secret.h knows).
# Every step reports one line: @@ STEP KIND key=value...
set -u
BENCH=${BENCH:-/tests}

# l2 --KIND: Linux as a guest, each page of which moves once while it computes a
# checksum that must be right; or none of which moves.
l2() {
	flags=mmap,init_shared
	[ "$1" = --gmem-stock ] || flags=$flags,no_direct_map,movable,rdwr
	"$BENCH/guest_memfd_boot_test" --moves 1 --flags "$flags" >/tmp/l2 || return
	awk '/ moves of / { all = $2; pages = $5 }
		/^ok .*every page moved/ { each = 1 }
		/^ok .*checksum/ { right = 1 }
		END {
			print "pages=" pages, "moved=" (each ? pages : all),
				"wrong=" !right
		}' /tmp/l2
}

# A line of ours must not be torn by one of the kernel's: errors only.
echo 3 >/proc/sys/kernel/printk

echo "@@ release - release=$(uname -r)"
for step; do
	kind=${step#*:}
	step=${step%%:*}
	case $step in
	move) set -- move --pages 1024 --node 0 --to 1 ;;
	frag) set -- frag --mb 600 --node 0 --rounds 2 --drop-shmem ;;
	# Unmovable pages share no block with shmem: drop pages of their kind.
	pinfrag) set -- frag --mb 600 --node 0 --rounds 2 ;;
	fit) set -- fit ;;
	offline) set -- offline --mb 512 --node 1 ;;
	# Stock pages go to no movable block: ordinary ones, that fail at once.
	pinned) set -- offline --mb 256 --node 1 --seconds 5 ;;
	guest) set -- guest --pages 1024 --node 0 --to 1 ;;
	goffline) set -- offline --mb 512 --node 1 ;;
	gpinned) set -- offline --mb 256 --node 1 --seconds 5 ;;
	soft) set -- softoffline --pages 16 ;;
	cma) set -- cma --mb 1000 --node 1 ;;
	# After 5 s free blocks are back in the direct map.
	touch) set -- blocks touch --mb 300 --rounds 1 --seconds 5 ;;
	l2) set -- l2 ;;
	*)
		echo "demo.sh: unknown step $step" >&2
		exit 2
		;;
	esac
	[ "$kind" = secret ] || set -- "$@" "--$kind"
	program=$1
	shift
	[ "$program" = l2 ] || program=$BENCH/$program
	echo "@@ start $step $kind"
	if out=$("$program" "$@" 2>/tmp/errors); then
		status=0
	else
		status=$?
	fi
	cat /tmp/errors
	echo "@@ $step $kind status=$status $(echo "$out" | tr '\n' ' ')"
done
