# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# What Address Space Isolation costs threads of fio: sourced by scripts/bench.

# shellcheck source=scripts/bench.d/fio.sh
. "$ROOT/scripts/bench.d/fio.sh"

bench_threads() {
	local setting
	local -a specs
	[[ -e $out/fio.md ]] || die 3 "no $out/fio.md; run scripts/bench --only fio"
	say "Costs of Address Space Isolation for threads of fio (about 3 min)"
	# Few: each IPI takes as long as the host takes to run that CPU.
	mapfile -t specs < <(fio_specs 1 "$threads_ios" "$threads_ios" 1 2 4)
	for setting in off on; do
		guest "fio-threads-$setting" "$kernel" "asi=$setting $WORDS" \
			--cpus 4 "${fio_options[@]}" -- "${specs[@]}"
	done
	reduce threads FIO_FS FIO_JOBS
}
