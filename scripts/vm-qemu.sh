# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# scripts/vm's machine "qemu": sourced by it, uses its options.

machine_mem=2G

# qemu_nodes: the machine's memory and CPUs, split over the nodes.
qemu_nodes() {
	local node first last cpu_list share more
	share=$(($(megabytes "$mem") / nodes))
	# One socket per core: a CPU package may not span nodes.
	emulator+=(-smp "$cpus,sockets=$((cpus / threads)),threads=$threads"
		-m "$((share * nodes))M${slots:+,slots=$slots}${maxmem:+,maxmem=$maxmem}")
	for ((node = 0; node < nodes; node++)); do
		first=$((node * cpus / nodes))
		last=$(((node + 1) * cpus / nodes - 1))
		more=
		if [[ -n $tiers ]]; then
			first=0
			last=$((node ? -1 : cpus - 1))
			more=,initiator=0
		fi
		cpu_list=
		[[ $first -gt $last ]] || cpu_list=",cpus=$first-$last"
		emulator+=(-object "memory-backend-ram,id=ram$node,size=${share}M"
			-numa "node,nodeid=$node,memdev=ram$node$cpu_list$more")
	done
	[[ -z $tiers ]] || qemu_tiers
}

# qemu_tiers: say by an ACPI table, the HMAT, what memory is slow.
qemu_tiers() {
	local node of
	emulator+=(-machine hmat=on)
	for ((node = 0; node < nodes; node++)); do
		of="hmat-lb,initiator=0,target=$node,hierarchy=memory"
		emulator+=(-numa "$of,data-type=access-latency,latency=$((node ? 400 : 80))"
			-numa "$of,data-type=access-bandwidth,bandwidth=$((node ? 2 : 20))G")
	done
}

# tsc_khz: how fast the TSC of this machine runs, which is an emulated CPU's, too.
tsc_khz() {
	local program=$BUILD/tsc-khz source=$ROOT/scripts/tsc-khz.c
	if [[ ! $program -nt $source ]]; then
		gcc -O2 -o "$program.$$" "$source" || return
		mv "$program.$$" "$program"
	fi
	"$program"
}

# machine_prepare: check the options, set the array emulator.
machine_prepare() {
	local qemu khz
	qemu=$("$ROOT/scripts/fetch" qemu) || exit 3
	# Emulated TSCs are one host clock; the kernel's own check of that
	# takes a host's scheduling for a skew, as that of the timer takes it
	# for one that does not tick.
	args+=" tsc=reliable no_timer_check"
	# The kernel would measure the TSC by timers that the host delays: on a
	# busy one it can be wrong by a factor of 50, and so is all time.
	if [[ -z $icount && ${ACCEL:-} != kvm* ]] && khz=$(tsc_khz); then
		args+="${khz:+ tsc_early_khz=$khz}"
	fi
	emulator=("$qemu" -nodefaults -no-user-config -no-reboot
		-display none -machine pc
		-kernel "$image" -initrd "$run/initrd"
		-append "$args${append:+ $append}"
		-device "isa-debug-exit,iobase=0x501,iosize=1")
	if [[ -n $icount ]]; then
		emulator+=(-accel "tcg,thread=single" -cpu max
			-icount "shift=1,sleep=off")
	elif [[ ${ACCEL:-} == kvm* ]]; then
		emulator+=(-accel kvm -cpu host)
	else
		emulator+=(-accel "tcg,thread=multi" -cpu max)
	fi
	qemu_nodes
	if [[ -n $shell ]]; then
		emulator+=(-chardev "stdio,id=con,mux=on,signal=off,logfile=$log"
			-serial chardev:con -mon chardev=con)
	else
		emulator+=(-serial "file:$run/console"
			-chardev "pipe,id=mon,path=$run/monitor"
			-mon chardev=mon)
	fi
	[[ -z $monitor ]] ||
		emulator+=(-monitor "unix:$monitor,server=on,wait=off")
	[[ -z $disk ]] ||
		emulator+=(-drive "id=disk,if=none,format=raw,cache=unsafe,file=$run/disk"
			-device "virtio-blk-pci,drive=disk")
	[[ -z $share ]] ||
		emulator+=(-fsdev "local,id=share,path=$run/share,security_model=none"
			-device "virtio-9p-pci,fsdev=share,mount_tag=share")
	emulator+=("${extra[@]}")
}

# machine_start: make what the emulator reads.
machine_start() {
	make_initrd "$run/initrd"
	[[ -z $disk ]] || make_disk "$run/disk"
	[[ -z $share ]] || mkdir "$run/share"
	[[ -n $shell ]] || mkfifo "$run/monitor.in" "$run/monitor.out"
}

# machine_version: the emulator's name and version.
machine_version() {
	local qemu
	qemu=$("$ROOT/scripts/fetch" qemu) || exit 3
	"$qemu" --version | sed -n '1s/ emulator version//p'
}

# machine_is_done: has a machine that cannot end itself come to its end? QEMU
# ends by itself.
machine_is_done() {
	return 1
}

# machine_poke: make a stuck kernel say where it is.
machine_poke() {
	timeout 2 sh -c "echo nmi >'$run/monitor.in'" || return 0
	sleep 3
}

# machine_agrees CODE STATUS: the machine's own word on the verdict. QEMU's
# exit status is 2 * (what init wrote to the port) + 1.
machine_agrees() {
	case $2 in
	0) [[ $1 -eq 33 ]] ;;
	4) [[ $1 -eq 37 ]] ;;
	*) [[ $1 -eq 35 ]] ;;
	esac
}
