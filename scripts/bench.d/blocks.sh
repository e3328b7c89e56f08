# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What secret blocks leave to others: sourced by scripts/bench.

# Seconds, after which a process that fills memory has enough.
BLOCKS_PATIENCE=100
# Pages of a piece of free memory.
BLOCKS_PIECES=(1 16)

# touch_specs ROUNDS KIND...: in turn, so that all see the same machine. "touch" is
# the first use. The second one, "reuse", has to come before blocks go back, two
# seconds after the first page was released: of little memory. The first run gives
# blocks 10 s to go back, the others 3.
touch_specs() {
	local round kind flag wait=10
	for ((round = 0; round < $1; round++)); do
		for kind in "${@:2}"; do
			flag=
			[[ $kind == secret ]] || flag=,--$kind
			echo "touch.$kind=blocks,touch,--rounds,1,--seconds,$wait$flag"
			echo "reuse.$kind=blocks,touch,--mb,32,--seconds,3$flag"
		done
		wait=3
	done
}

bench_blocks() {
	local setting append piece kind what
	local -a fulls fits specs
	say "What secret blocks leave to others (about 7 min)"
	for piece in "${BLOCKS_PIECES[@]}"; do
		fulls+=("full.$piece=blocks,full,--batch,$piece")
	done
	for setting in on off; do
		append=clearcpuid=erms
		if [[ $setting == off ]]; then
			append+=" ephmap=off"
			mapfile -t specs < <(touch_specs 1 secret)
			fits=(secret)
		else
			mapfile -t specs < <(touch_specs "$blocks_rounds" secret shmem
				touch_specs 1 gmem-hidden)
			specs+=("huge.shmem=blocks,huge,--shmem")
			fits=(shmem secret)
		fi
		guest "blocks-$setting" "$kernel" "$append" -- "${specs[@]}" \
			"huge.none=blocks,huge,--mb,0" "huge.secret=blocks,huge"
		guest "blocks-gb-$setting" "$kernel" "$append" --mem 4G -- \
			"touch.shmem=blocks,touch,--shmem,--rounds,1" \
			"touch.secret=blocks,touch,--rounds,1,--seconds,10"
		specs=()
		for kind in "${fits[@]}"; do
			what=${kind/#/,--}
			what=${what/,--secret/},--seconds,$BLOCKS_PATIENCE
			specs+=("fit.clean.$kind=blocks,fit$what"
				"fit.fragmented.$kind=blocks,fit,--batch,16$what")
		done
		# Less memory, as stock takes long to fill it.
		guest "blocks-full-$setting" "$kernel" "$append" --nodes 1 --mem 1G \
			-- "${fulls[@]}" "${specs[@]}"
	done
	reduce blocks BLOCKS_PIECES BLOCKS_PATIENCE
}
