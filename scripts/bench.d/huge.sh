# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What folios of 2 MB change for guest memory: sourced by scripts/bench.

HUGE_KINDS=(gmem gmem-hidden gmem-huge gmem-hidden-huge)
# How much of a file on an idle machine is in folios of 2 MB.
HUGE_MB=512

bench_huge() {
	local kind
	local -a specs=() moves=()
	say "Guest memory in folios of 2 MB (about 3 min)"
	for kind in "${HUGE_KINDS[@]}"; do
		specs+=("load.$kind=load,--pages,$((pages * 4)),--rounds,$rounds,--$kind")
		specs+=("fault.$kind=fault,--pages,$((pages * 4)),--rounds,$rounds,--$kind")
		specs+=("move.$kind=move,--pages,$pages,--rounds,$rounds,--batch,512,--$kind")
		specs+=("file.$kind=move,--pages,$pages,--rounds,$rounds,--by-file,--$kind")
		moves+=("guest.$kind=guest,--$kind,--pages,$pages,--rounds,$rounds")
	done
	guest huge "$kernel" "" --icount -- "${specs[@]}"
	guest huge-words "$kernel" "$WORDS" --icount -- "${specs[@]}"
	guest huge-smp "$kernel" "" --cpus 2 --mem 4G -- \
		"share.gmem-huge=load,--mb,$HUGE_MB,--rounds,1,--gmem-huge" \
		"share.gmem-hidden-huge=load,--mb,$HUGE_MB,--rounds,1,--gmem-hidden-huge" \
		"${moves[@]}"
	# As in the demo, but in most of the memory: 512 MB are not there in one piece.
	guest huge-frag "$kernel" "" --cpus 2 --mem 2G --nodes 1 -- \
		"frag.gmem-huge=frag,--mb,800,--huge-mb,$HUGE_MB,--gmem-huge" \
		"frag.gmem-hidden-huge=frag,--mb,800,--huge-mb,$HUGE_MB,--gmem-hidden-huge"
	reduce huge HUGE_KINDS HUGE_MB
}
