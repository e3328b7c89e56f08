# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# What Address Space Isolation costs fio: sourced by scripts/bench and threads.sh.

# How the patched kernel is started: without ASI; with, but without a window to
# copy through; with both.
FIO_SETTINGS=("off=asi=off" "exits=asi=on ephmap=off" "on=asi=on")

# What a guest needs to run the jobs.
fio_options=(--disk 128M --program fio)
for file in "$ROOT"/bench/fio/*.fio; do fio_options+=(--file "$file"); done

# fio_specs REPEAT IOS IOS-64K THREAD PROCESSES...: all jobs, for bench-fio.sh, of one
# guest. With THREAD=1 they are threads.
fio_specs() {
	local fs dir job jobs ios
	for fs in "${FIO_FS[@]}"; do
		dir=/tmp/fio
		[[ $fs == tmpfs ]] || dir=/disk/fio
		for job in "${FIO_JOBS[@]}"; do
			ios=$2
			[[ $job != *64k ]] || ios=$3
			for jobs in "${@:5}"; do
				echo "$fs.$job.$jobs=bench-fio.sh,$dir,$job,$jobs,$ios,$1,$4"
			done
		done
	done
}

bench_fio() {
	local entry
	local -a specs
	say "Costs of Address Space Isolation for fio (about 5 min)"
	mapfile -t specs < <(fio_specs 1 "$fio_ios" $((fio_ios / 8)) 0 1 2)
	for entry in "${FIO_SETTINGS[@]}"; do
		guest "fio-${entry%%=*}" "$kernel" "${entry#*=} $WORDS" \
			--icount "${fio_options[@]}" -- "${specs[@]}"
	done
	mapfile -t specs < <(fio_specs "$fio_repeat" $((fio_ios / 8)) $((fio_ios / 64)) 0 2)
	for entry in "${FIO_SETTINGS[@]}"; do
		[[ ! $one_cpu ]] || break
		guest "fio-smp-${entry%%=*}" "$kernel" "${entry#*=} $WORDS" \
			--cpus 2 "${fio_options[@]}" -- "${specs[@]}"
	done
	reduce fio FIO_FS FIO_JOBS fio_repeat one_cpu
}
