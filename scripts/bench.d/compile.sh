# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What Address Space Isolation costs a compiler: sourced by scripts/bench.

compile_sources=("$ROOT"/bench/{fault.c,move.c,secret.h}
	"$ROOT"/tools/testing/selftests/mm/guest_memfd_uapi.h)

# toolchain DIR: gcc, and all that it reads to build what bench/compile.mk names,
# at the paths they have here; in build/ what it builds.
toolchain() {
	local dir=$1 name file
	local -a files flags=(-O2 -D_GNU_SOURCE -pthread)
	rm -rf "$dir"
	mkdir -p "$dir"/{usr,build,dev,tmp}
	for name in bin lib lib64; do
		mkdir -p "$dir/usr/$name"
		[[ ! -L /$name ]] || ln -s "usr/$name" "$dir/$name"
	done
	mkdir -p "$dir/bin"
	cp "${compile_sources[@]}" "$dir/build/"
	cp "$ROOT/bench/compile.mk" "$dir/build/Makefile"
	mapfile -t files < <(
		cd "$dir/build" || exit
		for name in gcc make as ld; do command -v "$name"; done
		for name in cc1 collect2; do gcc -print-prog-name="$name"; done
		gcc "${flags[@]}" -M fault.c move.c | tr ' ' '\n' | grep '^/'
		gcc "${flags[@]}" -fno-use-linker-plugin -Wl,--trace -o ../tmp/x \
			fault.c | grep '^/' | grep -v '^/tmp/'
		rm ../tmp/x
	)
	for file in "${files[@]}"; do
		install -D "$file" "$dir$(realpath -s "$file")"
	done
	copy_libraries "$dir" "${files[@]:0:6}"
}

bench_compile() {
	local disk=$BUILD/bench/toolchain setting lines compiler
	say "Costs of Address Space Isolation for a compiler (about 3 min)"
	[[ $reuse ]] || toolchain "$disk"
	for setting in off on; do
		guest "compile-$setting" "$kernel" "asi=$setting $WORDS" --icount \
			--disk 256M --disk-from "$disk" -- compile=bench-compile.sh
	done
	lines=$(cat "${compile_sources[@]}" | wc -l)
	compiler=$(gcc --version | head -n 1)
	reduce compile lines compiler
}
