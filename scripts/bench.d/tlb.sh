# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# TLB misses, by a model: sourced by scripts/bench.

# tlb_selftest: the model, by bench/qemu/tlb-test.S, whose counts are known.
tlb_selftest() {
	local dir=$BUILD/bench qemu model status
	qemu=$("$ROOT/scripts/fetch" qemu)
	gcc -nostdlib -static -no-pie -o "$dir/tlb-test.64" \
		-Wl,-N,-Ttext=0x100000,--build-id=none,--no-warn-rwx-segments \
		"$ROOT/bench/qemu/tlb-test.S"
	# What multiboot starts is of 32 bits.
	objcopy -R .wants -O elf32-i386 "$dir/tlb-test.64" "$dir/tlb-test"
	objcopy -O binary -j .wants --set-section-flags .wants=alloc \
		"$dir/tlb-test.64" "$dir/tlb-test.wants"
	for model in tlb-model tlb-model-pcid; do
		status=0
		timeout 300 "$qemu" -nodefaults -no-user-config -no-reboot \
			-display none -machine pc -m 64 -cpu max \
			-accel tcg,thread=single -icount shift=1,sleep=off \
			-device isa-debug-exit,iobase=0x501,iosize=1 \
			-kernel "$dir/tlb-test" \
			-plugin "$dir/$model.so,pcid=$([[ $model == *-pcid ]] &&
				echo on || echo off),out=$dir/tlb-test.$model" ||
			status=$?
		[[ $status -eq 33 ]] || die 1 "tlb-test ended with status $status"
		awk '
			NR == FNR { wanted[FNR] = $0; n = FNR; next }
			FNR == 1 {
				columns = split($0, name, ",")
				next
			}
			# The first line is of nothing.
			FNR == 2 { next }
			{
				split($0, value, ",")
				split("", want)
				k = split(wanted[FNR - 2], pair, " ")
				for (i = 1; i <= k; i++) {
					split(pair[i], part, "=")
					want[part[1]] = part[2]
				}
				for (i = 1; i <= columns; i++)
					if (name[i] != "fetches" &&
					    value[i] != want[name[i]] + 0) {
						printf "region %d: %s is %s, wanted %d\n",
							FNR - 2, name[i], value[i],
							want[name[i]]
						bad = 1
					}
			}
			END { exit bad || FNR != n + 2 }' "$dir/tlb-test.wants" \
			"$dir/tlb-test.$model" >&2 || die 1 "$model does not count right"
	done
}

bench_tlb() {
	local setting entry boot dir=$BUILD/bench spec=asi=asi
	say "TLB misses, by a model (about 5 min)"
	if [[ ! $reuse ]]; then
		make_plugin tlb-model
		# Once more: a plugin is loaded once from a file.
		cp -u "$dir/tlb-model.so" "$dir/tlb-model-pcid.so"
		tlb_selftest
	fi
	for entry in "${ASI_WORKS[@]}" "${TLB_WORKS[@]}" "${TLB_TESTS[@]}"; do
		spec+=",--work,${entry%%=*}"
	done
	for setting in off on; do
		boot=tlb-$setting
		guest "$boot" "$kernel" "asi=$setting $WORDS" --icount \
			--plugin "$dir/tlb-model.so,out=$dir/$boot.tlb" \
			--plugin "$dir/tlb-model-pcid.so,pcid=on,out=$dir/$boot.pcid" \
			-- "$spec,--rounds,$tlb_rounds"
	done
	reduce tlb ASI_WORKS TLB_WORKS tlb_rounds
}
