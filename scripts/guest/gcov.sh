#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run a command, then print the kernel's coverage data on the console: a
# compressed archive in base64 between two marked lines, for scripts/coverage.
#
# usage: gcov.sh COMMAND...

sh -c "$*"
status=$?

# Files in debugfs have no size: copy what can be read.
mkdir -p /tmp/gcov
cd /sys/kernel/debug/gcov || exit 3
find . -name '*.gcda' | while read -r file; do
	mkdir -p "/tmp/gcov/${file%/*}"
	cat "$file" >"/tmp/gcov/$file"
done
echo 1 >/proc/sys/kernel/printk
echo
echo "gcov: begin"
tar -C /tmp/gcov -cf - . | gzip | base64
echo "gcov: end"
exit $status
