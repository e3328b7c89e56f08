# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2034 # failed, for those who source it
# TAP's results, numbered: sourced by tests in the guest.

number=0
failed=0

# result STATUS TEXT
result() {
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
	else
		echo "not ok $number $2"
		failed=1
	fi
}
