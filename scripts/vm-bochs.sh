# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# scripts/vm's machine "bochs": sourced by it, uses its options. The same
# functions as in vm-qemu.sh.

machine_mem=512M

# Bochs describes this model's cores rightly only if there are at least two.
cores=$((cpus < 2 ? 2 : cpus))

# bochs_config: the emulated PC. Its time follows the count of instructions
# (ips), not the host's clock: a busy host changes nothing in the guest. The
# display is a VNC server that waits for nobody.
bochs_config() {
	local cpu="model=broadwell_ult, count=1:$cores:1, ips=50000000"
	cat <<-END
		cpu: $cpu, reset_on_triple_fault=0
		megs: $(megabytes "$mem")
		romimage: file=/usr/share/bochs/BIOS-bochs-latest
		vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
		ata0-master: type=cdrom, path="$run/boot.iso", status=inserted
		boot: cdrom
		com1: enabled=1, mode=file, dev="$run/console"
		clock: sync=none, time0=utc
		display_library: rfb, options="timeout=0"
		log: "$run/bochs.log"
		panic: action=fatal
		error: action=ignore
		info: action=ignore
		debug: action=ignore
	END
}

machine_prepare() {
	local tool
	for tool in bochs grub-mkrescue xorriso mformat; do
		[[ -n $dry_run ]] || command -v "$tool" >/dev/null ||
			die 3 "no $tool (Debian packages: bochs bochs-term" \
				"bochsbios grub-pc-bin grub-common xorriso mtools)"
	done
	[[ -z $slots$maxmem$icount$tiers$monitor$shell$disk$share &&
		${#extra[@]} -eq 0 ]] ||
		die 2 "Bochs has no hotplug, icount, tiers, monitor, disk, share, devices or shell here"
	# Bochs's XSAVE is less than this CPU model promises. Its MWAIT can miss
	# what another CPU writes: an idle CPU that is not told otherwise sleeps
	# on. It would boot again after a panic: stop, and say so.
	args+=" noxsave idle=nomwait nr_cpus=$cpus panic=0"
	emulator=(bochs -q -f "$run/bochsrc" -rc "$run/debugger")
}

# bytes WIDTH NUMBER...: each number as WIDTH little-endian bytes, in printf's
# escapes.
bytes() {
	local width=$1 number i
	shift
	for number; do
		for ((i = 0; i < width; i++)); do
			printf '\\x%02x' $((number >> (8 * i) & 255))
		done
	done
}

# srat: an ACPI System Resource Affinity Table, in printf's escapes: every CPU
# in node 0, the memory split evenly. The BIOS has none, and the kernel's own
# numa=fake= spreads the CPUs of one package over nodes, and warns of it.
srat() {
	local i sum=0 share body table
	share=$(($(megabytes "$mem") * 1048576 / nodes))
	body=$(bytes 4 1)$(bytes 8 0)
	for ((i = 0; i < cpus; i++)); do
		body+=$(bytes 1 0 16 0 "$i")$(bytes 4 1 0 0)
	done
	for ((i = 0; i < nodes; i++)); do
		body+=$(bytes 1 1 40)$(bytes 4 "$i")$(bytes 2 0)
		body+=$(bytes 8 $((i * share)) "$share")$(bytes 4 0 1)$(bytes 8 0)
	done
	# The header: signature, length, revision, checksum, who made it.
	table=$(bytes 1 83 82 65 84)$(bytes 4 $((36 + ${#body} / 4)))
	table+=$(bytes 1 3 0 69 80 72 77 65 80)$(bytes 8 0)$(bytes 4 1 0 1)
	table+=$body
	for ((i = 2; i < ${#table}; i += 4)); do
		sum=$((sum + 16#${table:i:2}))
	done
	printf '%s' "${table:0:36}$(bytes 1 $((-sum)))${table:40}"
}

# make_srat FILE: the table as an archive that comes before all others.
make_srat() {
	local dir=$run/srat
	mkdir -p "$dir/kernel/firmware/acpi"
	# shellcheck disable=SC2059 # the format is the data
	printf "$(srat)" >"$dir/kernel/firmware/acpi/srat.aml"
	(cd "$dir" && find kernel | cpio --quiet -o -H newc -R 0:0) >"$1"
}

machine_start() {
	mkdir -p "$run/iso/boot/grub"
	make_srat "$run/iso/boot/srat"
	make_initrd "$run/iso/boot/initrd"
	cp "$image" "$run/iso/boot/linux"
	cat >"$run/iso/boot/grub/grub.cfg" <<-END
		linux /boot/linux $args${append:+ $append}
		initrd /boot/srat /boot/initrd
		boot
	END
	if ! grub-mkrescue -o "$run/boot.iso" "$run/iso" >"$run/grub.log" 2>&1
	then
		cat "$run/grub.log" >&2
		die 3 "grub-mkrescue failed"
	fi
	bochs_config >"$run/bochsrc"
	# Debian's Bochs has its debugger built in, which starts stopped.
	echo c >"$run/debugger"
}

# machine_version: the emulator's name and version, which it says on its way to
# a display that it has not got.
machine_version() {
	{ bochs -n -q 'display_library: none' </dev/null 2>&1 || :; } |
		sed -n 's/^ *\(Bochs\) x86 Emulator \([0-9.]*\).*/\1 \2/p'
}

# Nothing the guest does ends Bochs.
machine_is_done() {
	grep -q '^vm: exit status [0-9]*$\|-\[ end Kernel panic' "$log"
}

machine_poke() {
	:
}

# The console's word is the only one.
machine_agrees() {
	:
}
