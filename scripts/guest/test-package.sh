#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: test-package.sh [--no-bench]
#
# What a kernel from a package has to do in a system with systemd. Run in that
# system by scripts/test-package; the repository is in /root/ephmap. TAP on the
# standard output.

# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh

release=$(uname -r)
echo "TAP version 13"
[ "$1" = --no-bench ] && echo "1..8" || echo "1..9"

state=$(systemctl is-system-running --wait)
[ "$state" = running ]
result $? "systemd has started all of its units ($state)"
systemctl --failed --no-legend --plain | sed 's/^/# /'

dpkg-query -L "linux-image-$release" >/tmp/files &&
	grep -qx "/boot/vmlinuz-$release" /tmp/files &&
	grep -q "/modules/$release/kernel/drivers/block/virtio_blk.ko" /tmp/files
result $? "the kernel that runs, and its modules, are the package's"

lsmod >/tmp/lsmod
grep -q '^virtio_blk ' /tmp/lsmod && grep -q '^ext4 ' /tmp/lsmod &&
	grep -q '^/dev/vda / ext4 ' /proc/mounts
result $? "the root's disk and file system are modules, from an initrd of the system's"

dmesg >/tmp/dmesg
grep -q 'ephmap: [0-9]* pages a CPU at 0x' /tmp/dmesg &&
	grep -q '^CONFIG_EPHMAP=y' "/boot/config-$release" &&
	grep -q '^ephmap_sessions ' /proc/vmstat
result $? "the ephmap is there, in the kernel's log, /boot/config-* and /proc/vmstat"

/tests/ephmap-stat >/tmp/stat && grep -q ' 0 hidden in 0 files' /tmp/stat
status=$?
[ $status = 0 ] || sed 's/^/# /' /tmp/stat
result $status "ephmap-stat reports"

lsmod >/tmp/lsmod
grep -q '^kvm_' /tmp/lsmod && [ -c /dev/kvm ]
result $? "KVM is a module"

# Those that need nothing of an emulated CPU.
bugs=/sys/devices/system/cpu/vulnerabilities
grep -q '^Mitigation' $bugs/spectre_v1 && grep -q '^Mitigation' $bugs/spectre_v2
result $? "mitigations are built in"
(cd $bugs && grep . ./*) | sed 's/^/# /'

mkdir -p /tmp/module && cd /tmp/module || exit 1
cat >ephmap_hello.c <<'END'
// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/mm.h>

static int __init hello_init(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return -ENOMEM;
	pr_info("hello, %zu\n", sizeof(*page));
	__free_page(page);
	return 0;
}

static void __exit hello_exit(void)
{
}

module_init(hello_init);
module_exit(hello_exit);
MODULE_DESCRIPTION("A module of somebody else's");
MODULE_LICENSE("GPL");
END
echo 'obj-m := ephmap_hello.o' >Makefile
make -C "/lib/modules/$release/build" M="$PWD" modules >/tmp/module.log 2>&1 &&
	insmod ephmap_hello.ko && dmesg >/tmp/dmesg &&
	grep -q 'hello, [0-9]' /tmp/dmesg && rmmod ephmap_hello
status=$?
[ $status = 0 ] || sed 's/^/# /' /tmp/module.log
result $status "a module is built with the package of headers, and loads"

if [ "$1" != --no-bench ]; then
	make -C /root/ephmap bench HOST=1 QUICK=1 >/tmp/bench.log 2>&1 &&
		grep -q '^| fio: tmpfs [^|]* | [0-9][0-9.]* |' /root/ephmap/results/host.md
	status=$?
	[ $status = 0 ] || sed 's/^/# /' /tmp/bench.log
	result $status "make bench HOST=1 measures, and writes its table"
	sed -n 's/^| /# | /p' /root/ephmap/results/host.md
fi
exit $failed
