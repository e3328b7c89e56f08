#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: test-asi-boot.sh on|off TEXT
#
# What the kernel says of Address Space Isolation when it boots: one line, that
# it is on or off, and TEXT; and what it says is so. In the guest; TAP on the
# standard output.

# shellcheck source=scripts/guest/tap.sh
. /tests/tap.sh

dmesg | grep '\] asi: ' >/tmp/lines
sed 's/^/# /' /tmp/lines
echo "TAP version 13"
echo "1..3"
[ "$(wc -l </tmp/lines)" = 1 ]
result $? "there is one line about it"
grep -F "] asi: $1" /tmp/lines | grep -q -F "$2"
result $? "it says: $1, and: $2"
if [ "$1" = on ]; then
	grep -q '^enters [1-9]' /sys/kernel/debug/asi/stats
else
	[ ! -e /sys/kernel/debug/asi ]
fi
result $? "and so it is"
exit "$failed"
