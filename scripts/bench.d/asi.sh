# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# What Address Space Isolation costs: sourced by scripts/bench.

bench_asi() {
	local spec=asi=asi,--rounds,$asi_rounds
	say "Costs of Address Space Isolation (about 1 min)"
	guest asi-base "$base" "$WORDS" --icount -- "$spec"
	guest asi-off "$kernel" "asi=off $WORDS" --icount -- "$spec"
	guest asi-on "$kernel" "asi=on $WORDS" --icount -- "$spec"
	guest asi-secrets "$kernel" "asi=off $WORDS" --icount -- \
		"$spec,--mb,$asi_secrets"
	reduce asi ASI_WORKS asi_rounds asi_secrets
}
