# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What moving and faulting secret pages and guest memory without a direct map costs:
# sourced by scripts/bench.

BATCHES=(1 8 64 512)
FAULT_KINDS=(anon shmem secret)
GMEM_KINDS=(gmem gmem-hidden)
FIRST_MB=300

# move_specs KIND...: one workload per kind and batch size.
move_specs() {
	local kind batch flag
	for kind; do
		flag=
		[[ $kind == secret ]] || flag=,--$kind
		for batch in "${BATCHES[@]}"; do
			printf 'move.%s.%s=move,--pages,%s,--rounds,%s' \
				"$kind" "$batch" "$pages" "$rounds"
			printf ',--batch,%s%s\n' "$batch" "$flag"
		done
	done
}

fault_specs() {
	local kind flag
	for kind in "${FAULT_KINDS[@]}"; do
		flag=
		[[ $kind == secret ]] || flag=,--$kind
		echo "fault.$kind=fault,--pages,$((pages * 4)),--rounds,$rounds$flag"
	done
}

# first_specs: the first use of memory, so much that what is hidden in advance does
# not matter, and of less; its blocks went back two seconds after it was released.
# Shmem first, and as much of it: no per-CPU list has that.
first_specs() {
	echo "first.shmem=fault,--shmem,--mb,$FIRST_MB,--rounds,2,--seconds,3"
	echo "first.most=fault,--mb,$FIRST_MB,--rounds,2,--seconds,3"
	echo "first.some=fault,--pages,$((pages * 4)),--rounds,2,--seconds,3"
}

gmem_specs() {
	local kind
	for kind in "${GMEM_KINDS[@]}"; do
		echo "load.$kind=load,--pages,$((pages * 4)),--rounds,$rounds,--$kind"
		echo "fault.$kind=fault,--pages,$((pages * 4)),--rounds,$rounds,--$kind"
	done
	move_specs "${GMEM_KINDS[@]}"
}

bench_secret() {
	local kind what kernel_map base_map
	local -a common faults firsts moves secret_moves gmem gmem_moves
	say "Costs of secret pages (about 8 min)"
	kernel_map=$(map_of "$kernel")
	base_map=$(map_of "$base")
	mapfile -t common < <(move_specs shmem)
	mapfile -t faults < <(fault_specs)
	mapfile -t firsts < <(first_specs)
	mapfile -t moves < <(move_specs secret shmem)
	mapfile -t secret_moves < <(move_specs secret)
	mapfile -t gmem < <(gmem_specs)
	mapfile -t gmem_moves < <(move_specs "${GMEM_KINDS[@]}")

	# Compared with each other: the same workloads in the same order.
	guest base "$base" "" --icount -- "${common[@]}" "${faults[@]}"
	guest off "$kernel" ephmap=off --icount -- "${common[@]}" "${faults[@]}"
	guest on "$kernel" "" --icount -- "${common[@]}" "${faults[@]}"
	guest on-words "$kernel" "$WORDS" --icount -- "${faults[@]}" "${moves[@]}"
	guest first "$kernel" "" --icount -- "${firsts[@]}"
	guest first-words "$kernel" "$WORDS" --icount -- "${firsts[@]}"
	guest on-move "$kernel" "" --icount -- "${moves[@]}"
	guest smp "$kernel" "" --cpus 2 -- "${secret_moves[@]}"
	guest gmem "$kernel" "" --icount -- "${gmem[@]}"
	guest gmem-words "$kernel" "$WORDS" --icount -- "${gmem_moves[@]}"
	guest gmem-smp "$kernel" "" --cpus 2 -- "${gmem[@]}" \
		"guest.gmem=guest,--gmem,--pages,$pages,--rounds,$rounds" \
		"guest.gmem-hidden=guest,--gmem-hidden,--pages,$pages,--rounds,$rounds"
	profile profile-move-secret "$kernel" \
		"move=move,--pages,$pages,--rounds,$rounds,--batch,512"
	profile profile-move-shmem "$kernel" \
		"move=move,--shmem,--pages,$pages,--rounds,$rounds,--batch,512"
	profile profile-fault-on "$kernel" \
		"fault=fault,--pages,$((pages * 4)),--rounds,$rounds"
	profile profile-fault-base "$base" \
		"fault=fault,--pages,$((pages * 4)),--rounds,$rounds"
	for kind in secret shmem; do
		what=
		[[ $kind == secret ]] || what=,--shmem
		profile "profile-release-$kind" "$kernel" \
			"fault=fault,--release,--pages,$((pages * 4)),--rounds,$rounds$what"
	done

	say "Writing tables and plots"
	reduce secret BATCHES FAULT_KINDS GMEM_KINDS FIRST_MB kernel_map base_map
}
