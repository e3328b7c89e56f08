#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: test-asi-boot.sh on|off TEXT [LINE...]
#        test-asi-boot.sh silent
#
# What the kernel says of Address Space Isolation when it boots: that it is on
# or off, and TEXT; each LINE; and nothing else. What it says is so. It gives no
# advice to switch another protection off. With "silent" it says nothing, and is
# off. In the guest; TAP on the standard output.

# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh

state=$1
wanted=
if [ "$state" != silent ]; then
	wanted=$2
	shift 2
else
	shift
fi
dmesg | grep '\] asi: ' >/tmp/lines
sed 's/^/# /' /tmp/lines
echo "TAP version 13"
echo "1..$(($# + 4))"
lines=$(($# + 1))
[ "$state" != silent ] || lines=0
[ "$(wc -l </tmp/lines)" = "$lines" ]
result $? "lines about it: $lines"
[ "$state" = silent ] ||
	grep -F "] asi: $state" /tmp/lines | grep -q -F "$wanted"
result $? "it says: $state${wanted:+, and: $wanted}"
for line; do
	grep -q -F "] asi: $line" /tmp/lines
	result $? "it says: $line"
done
if [ "$state" = on ]; then
	grep -q '^enters [1-9]' /sys/kernel/debug/asi/stats
else
	[ ! -e /sys/kernel/debug/asi ]
fi
result $? "and so it is"
! grep -q -E 'pti=off|nopti' /tmp/lines
result $? "it does not advise against page-table isolation"
exit "$failed"
