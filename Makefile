# SPDX-License-Identifier: GPL-2.0
# Everything is done by scripts/, which all have --help; results are in build/.

MAKEFLAGS += --no-print-directory
DEPS := @scripts/deps
TREE := $(DEPS) && scripts/tree

.PHONY: help demo demo-qemu check check-asi check-long check-static check-series check-arch \
	coverage stress bench shell tree refresh series \
	kernel kernel-debug kernel-off kernel-base qemu deb rpm clean distclean

help:
	@echo 'Secret memory that moves. The first build takes about 15 minutes on 2 cores;'
	@echo 'times below are without it. A slow machine takes longer. Kernels and logs are in'
	@echo 'build/.'
	@echo
	@echo '  make demo          watch secret pages move in a booted kernel (7 min; the first'
	@echo '                     time 20 to 30 min on a slow machine)'
	@echo '  make demo-qemu     the same with one row more: Linux under the QEMU of make qemu'
	@echo '                     (10 min; the first time 50)'
	@echo '  make shell         a root shell in the patched kernel (seconds)'
	@echo '  make check         the usual tests: N passed, N failed (from nothing'
	@echo '                     about an hour on a slow machine of two cores; again 1 min;'
	@echo '                     FORCE=1 also runs those with nothing changed)'
	@echo '  make bench         measure what it costs, into results/ (30 min; HOST=1: on'
	@echo '                     this machine, which runs the patched kernel, 5 min; and'
	@echo '                     QUICK=1: fewer rounds)'
	@echo
	@echo ' working on the kernel'
	@echo '  make tree          build/linux: the kernel, one commit per patch (1 min, then 1 s;'
	@echo '                     BASE=1 makes build/base too, the pristine kernel)'
	@echo '  make refresh       bring edits and commits made in build/linux into patches/ (3 s)'
	@echo '  make series        build/series: the patches as mails with cover letters (10 s)'
	@echo '  make kernel        build/lean: no debugging (cold 9 min)'
	@echo '  make kernel-debug  build/debug: KASAN, lockdep and more (cold 12 min)'
	@echo '  make kernel-off    build/off: CONFIG_EPHMAP=n (cold 5 min)'
	@echo '  make kernel-base   build/base-lean: without the patches (cold 9 min)'
	@echo '  make qemu          build/qemu-ephmap: QEMU that runs guests from hidden memory, from'
	@echo '                     Debian'\''s source and qemu/ (15 min, 41 MB to download)'
	@echo '  make deb           packages of the kernel in build/packages (35 min; CONFIG=FILE: of'
	@echo '                     a configuration of yours, /boot/config-* for one: longer)'
	@echo '  make rpm           the same for those who use RPM'
	@echo
	@echo ' single checks'
	@echo '  make check-static  W=1, sparse, kernel-doc, shellcheck and such (5 min)'
	@echo '  make check-series  every step of the series compiles (minutes per step)'
	@echo '  make check-arch    the series compiles for arm64, riscv and i386 (15 min each)'
	@echo '  make check-asi     what make check does, with asi=on, on more machines (80 min)'
	@echo '  make check-long    the other tests: more machines and kernels, W=1 and sparse,'
	@echo '                     the kernel'\''s own mm and KVM selftests (hours)'
	@echo '  make coverage      which lines the tests run, into results/coverage.md'
	@echo '                     (needs lcov)'
	@echo '  make stress        the long stress: a million moves (1 hour)'
	@echo '                     one test by name: scripts/test NAME; scripts/test --list'
	@echo
	@echo '  make clean         remove kernels and results; the trees stay'
	@echo '  make distclean     remove build/; refuses while build/linux has edits'
	@echo
	@echo 'KERNEL_SRC=PATH: your own 7.3.y tree or tarball.  QEMU=PATH: your own QEMU.'
	@echo 'JOBS=N: parallel jobs.'

demo: kernel
	@scripts/build l2
	@scripts/demo

demo-qemu: kernel
	@scripts/build l2
	@scripts/build l2-virtio
	@scripts/build vmm
	@scripts/demo --qemu

check:
	$(TREE)
	@scripts/test

check-asi:
	$(TREE)
	@scripts/test --asi

check-long:
	$(TREE)
	@scripts/test --group long

stress:
	$(TREE)
	@scripts/test --group stress

check-static:
	$(TREE)
	@scripts/check-static

check-series:
	$(DEPS)
	@scripts/series --compile

check-arch:
	$(DEPS)
	@scripts/check-arch

coverage:
	$(TREE)
	@scripts/coverage --save

ifdef HOST
bench:
	@scripts/bench-host $(if $(QUICK),--quick)
else
bench: kernel
	@scripts/bench
endif

shell: kernel
	@scripts/vm --shell

tree:
	$(TREE) $(if $(BASE),--base)

refresh:
	$(DEPS)
	@scripts/refresh

series:
	$(DEPS)
	@scripts/series

kernel:
	$(TREE)
	@scripts/build lean

kernel-debug:
	$(TREE)
	@scripts/build debug

kernel-off:
	$(TREE)
	@scripts/build off

kernel-base:
	$(TREE) --base
	@scripts/build base-lean

qemu:
	@scripts/deps qemu
	@scripts/build-qemu

deb rpm:
	@scripts/deps package
	@scripts/tree
	@scripts/package $@

clean:
	@scripts/tree --clean

distclean:
	@scripts/tree --distclean
