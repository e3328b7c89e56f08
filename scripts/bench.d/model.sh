# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# What hardware would take, by a model: sourced by scripts/bench. Nothing is measured.

bench_model() {
	local file
	for file in asi fio compile; do
		[[ -e $out/$file.csv ]] || die 3 "no $out/$file.csv for the model"
	done
	say "What hardware would take, by a model"
	reduce model
}
