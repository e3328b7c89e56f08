#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run a command while the audit of Address Space Isolation is read every SECONDS
# (1): no page of user data may be reachable (A1), the tables are in step (A3,
# A4), and nobody is killed for want of memory (A5). In the guest; TAP after what
# the command says. Exit status 1 if something is wrong, or if the command failed.
#
# usage: with-audit.sh [-i SECONDS] COMMAND...

# shellcheck source=scripts/guest/asi-audit.sh
. /tests/asi-audit.sh
interval=1
if [ "$1" = -i ]; then
	interval=$2
	shift 2
fi

audit_begin
"$@" &
command=$!
while kill -0 $command 2>/dev/null; do
	[ ! -e "$audit" ] || audit_read
	sleep "$interval"
done
wait $command
status=$?
for _ in 1 2 3 4; do
	[ ! -e "$audit" ] || audit_read
done

audit_end 1
result "$(truth $status = 0 -o $status = 4)" "the command's exit status ($status)"
exit "$failed"
