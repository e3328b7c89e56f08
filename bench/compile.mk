# SPDX-License-Identifier: GPL-2.0
# What bench-compile.sh builds in the guest: two programs of bench/, file by file.
CFLAGS = -O2 -D_GNU_SOURCE -pthread
LDFLAGS = -fno-use-linker-plugin

all: fault move

%.o: %.c secret.h guest_memfd_uapi.h
	gcc $(CFLAGS) -c -o $@ $<

%: %.o
	gcc $(CFLAGS) $(LDFLAGS) -o $@ $<

.PRECIOUS: %.o
.SUFFIXES:
