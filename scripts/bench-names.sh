# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # variables for those who source it
# What scripts/bench and scripts/bench-host measure, and what that is called in
# results/: sourced by them.

# What bench/asi.c does.
ASI_WORKS=(
	"getppid=getppid"
	"fault_anon=fault: anonymous page"
	"fault_file=fault: cached file (16 pages)"
	"fault_cow=fault: copy of a file's page"
	"fork=fork + exit + wait"
	"exec=fork + exec + exit + wait"
	"switch_futex=switch of threads: futex"
	"switch_eventfd=switch of threads: eventfd"
	"switch_mm_eventfd=switch of processes: eventfd"
	"switch_mm_pipe=switch of processes: pipe"
	"read_4k=read 4 KB of a file"
	"read_64k=read 64 KB of a file"
	"pipe_4k=write 4 KB to a pipe + read"
)

# What the model of a TLB runs beside these: what the window keeps, what it does not.
TLB_WORKS=(
	"read_4k_few=read 4 KB: 16 pages in turn"
	"read_4k_again=read 4 KB: 1024 parked pages"
	"read_4k_fresh=read 4 KB: always fresh"
	"read_64k_few=read 64 KB: 16 pages in turn"
	"write_4k=write 4 KB of a file"
)

# What the model itself is tested with: so many pages in turn.
TLB_TESTS=(touch_32 touch_512 touch_4096)

# bench/fio/*.fio, and on what.
FIO_JOBS=(randread-4k randread-64k seqread-64k randwrite-4k)
FIO_FS=(tmpfs ext4)
