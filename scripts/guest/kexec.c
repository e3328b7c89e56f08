// SPDX-License-Identifier: GPL-2.0
/*
 * Load a kernel, and jump into it. Not Debian's kexec-tools: installing these
 * changes how the host itself reboots.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/reboot.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int load(const char *kernel, const char *initrd, const char *cmdline)
{
	int kernel_fd = open(kernel, O_RDONLY);
	int initrd_fd = open(initrd, O_RDONLY);

	if (kernel_fd < 0)
		return fail(kernel);
	if (initrd_fd < 0)
		return fail(initrd);
	if (syscall(SYS_kexec_file_load, kernel_fd, initrd_fd,
		    strlen(cmdline) + 1, cmdline, 0UL))
		return fail("kexec_file_load");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "-l"))
		return load(argv[2], argv[3], argv[4]);
	if (argc == 2 && !strcmp(argv[1], "-e")) {
		reboot(LINUX_REBOOT_CMD_KEXEC);
		return fail("reboot");
	}
	fprintf(stderr, "usage: kexec -l KERNEL INITRD COMMAND-LINE\n"
		"       kexec -e\n");
	return 2;
}
