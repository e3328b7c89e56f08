#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run a command while a FUSE file system is mounted as /fuse: bindfs passes on what
# it is asked to a directory on tmpfs. In the guest, with scripts/vm --program
# bindfs.
#
# usage: with-fuse.sh COMMAND...

command -v bindfs >/dev/null || { echo "1..0 # SKIP no bindfs"; exit 4; }
mkdir /tmp/below /fuse
# Nobody else changes what is below: what is known of a file stays true.
bindfs --multithreaded -o big_writes,kernel_cache,attr_timeout=3600,entry_timeout=3600 \
	/tmp/below /fuse || exit 1
"$@"
status=$?
umount /fuse
exit $status
