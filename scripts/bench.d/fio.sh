# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# What Address Space Isolation costs fio: sourced by scripts/bench and threads.sh.

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
	local setting
	local -a specs
	say "Costs of Address Space Isolation for fio (about 5 min)"
	mapfile -t specs < <(fio_specs 1 "$fio_ios" $((fio_ios / 8)) 0 1 2)
	for setting in off on; do
		guest "fio-$setting" "$kernel" "asi=$setting $WORDS" \
			--icount "${fio_options[@]}" -- "${specs[@]}"
	done
	mapfile -t specs < <(fio_specs "$fio_repeat" $((fio_ios / 8)) $((fio_ios / 64)) 0 2)
	for setting in off on; do
		[[ ! $one_cpu ]] || break
		guest "fio-smp-$setting" "$kernel" "asi=$setting $WORDS" \
			--cpus 2 "${fio_options[@]}" -- "${specs[@]}"
	done
	reduce fio FIO_FS FIO_JOBS fio_repeat one_cpu
}
