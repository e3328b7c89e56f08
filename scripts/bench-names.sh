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

# bench/fio/*.fio, and on what.
FIO_JOBS=(randread-4k randread-64k seqread-64k randwrite-4k)
FIO_FS=(tmpfs ext4)
