// SPDX-License-Identifier: GPL-2.0
/*
 * Address Space Isolation: what filesystems read for themselves is mapped, so that
 * they read it without leaving the restricted address space; what users read of a
 * block device is not. Filesystems differ in how they read metadata:
 *
 *	erofs	read_cache_folio() of the device
 *	cramfs	page_cache_sync_readahead() and read_mapping_page() of the device
 *	minix	directories: read_mapping_folio() of the directory itself
 *	ext4	buffers, and page_cache_sync_readahead() of the device
 *
 * The first three are images with a directory of empty files, made here. The
 * numbers A1 and A11 are those of Documentation/arch/x86/asi.rst.
 *
 * usage: asi_metadata [DIR...]
 *
 * Each DIR is on a filesystem to test, on a disk from which it can be read again
 * without the kernel touching it (DMA).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/cramfs_fs.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/minix_fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asi_stats.h"
#include "kselftest.h"

#define AUDIT		"/sys/kernel/debug/asi/audit"
#define IMAGE_SIZE	(8UL << 20)
#define NR_FILES	1000
#define NAME_LEN	24
#define PASSES		4

/* --------------------------------------------------------------- images */

/* In the order of their names, and of NAME_LEN bytes. */
static const char *file_name(unsigned int i)
{
	static char name[32];

	snprintf(name, sizeof(name), "a-file-of-the-image-%04u", i);
	return name;
}

struct erofs_inode {
	uint16_t format, xattrs, mode, nlink;
	uint32_t size, mtime, start, ino;
	uint16_t uid, gid;
	uint32_t reserved;
};

/* Of 12 bytes, so that the number is in halves. */
struct erofs_dirent {
	uint32_t nid, nid_high;
	uint16_t name;
	uint8_t type, reserved;
};

/* Blocks: the superblock; inodes; the directory. */
static void make_erofs(unsigned char *image)
{
	enum { BLOCK = 4096, INODES = 1, DIR_ = 9, ROOT = 1, FIRST = 2,
	       PER_BLOCK = BLOCK / (sizeof(struct erofs_dirent) + NAME_LEN),
	       BLOCKS = (NR_FILES + 2 + PER_BLOCK - 1) / PER_BLOCK };
	struct erofs_inode *inodes = (void *)(image + INODES * BLOCK);

	*(uint32_t *)(image + 1024) = 0xe0f5e1e2;	/* magic */
	image[1024 + 12] = 12;				/* bits of a block */
	*(uint16_t *)(image + 1024 + 14) = ROOT;
	*(uint64_t *)(image + 1024 + 16) = NR_FILES + 1;
	*(uint32_t *)(image + 1024 + 36) = DIR_ + BLOCKS;
	*(uint32_t *)(image + 1024 + 40) = INODES;

	inodes[ROOT] = (struct erofs_inode) {
		.mode = S_IFDIR | 0755, .nlink = 2, .size = BLOCKS * BLOCK,
		.start = DIR_,
	};
	for (unsigned int i = 0; i < NR_FILES; i++)
		inodes[FIRST + i] = (struct erofs_inode) {
			.mode = S_IFREG | 0644, .nlink = 1, .ino = FIRST + i,
		};
	for (unsigned int b = 0, i = 0; b < BLOCKS; b++) {
		unsigned char *block = image + (DIR_ + b) * BLOCK;
		struct erofs_dirent *entries = (void *)block;
		unsigned int left = NR_FILES + 2 - i;
		unsigned int n = left < PER_BLOCK ? left : PER_BLOCK;
		unsigned int at = n * sizeof(*entries);

		for (unsigned int j = 0; j < n; j++, i++) {
			const char *name = i == 0 ? "." : i == 1 ? ".." :
					   file_name(i - 2);

			entries[j] = (struct erofs_dirent) {
				.nid = i < 2 ? ROOT : FIRST + i - 2, .name = at,
				.type = i < 2 ? 2 : 1,
			};
			memcpy(block + at, name, strlen(name));
			at += strlen(name);
		}
	}
}

/* The superblock, and inodes with their names. */
static void make_cramfs(unsigned char *image)
{
	struct cramfs_super *super = (void *)image;
	unsigned int size = NR_FILES * (sizeof(super->root) + NAME_LEN);
	unsigned char *at = image + sizeof(*super);

	super->magic = CRAMFS_MAGIC;
	super->size = IMAGE_SIZE;
	super->flags = CRAMFS_FLAG_FSID_VERSION_2 | CRAMFS_FLAG_SORTED_DIRS;
	memcpy(super->signature, CRAMFS_SIGNATURE, sizeof(super->signature));
	super->fsid.blocks = 1;
	super->fsid.files = NR_FILES + 1;
	super->root.mode = S_IFDIR | 0755;
	super->root.size = size;
	super->root.offset = sizeof(*super) / 4;
	for (unsigned int i = 0; i < NR_FILES; i++) {
		struct cramfs_inode inode = {
			.mode = S_IFREG | 0644, .namelen = NAME_LEN / 4,
		};

		memcpy(at, &inode, sizeof(inode));
		memcpy(at + sizeof(inode), file_name(i), NAME_LEN);
		at += sizeof(inode) + NAME_LEN;
	}
}

/*
 * Blocks: of the boot loader, the superblock, two bitmaps; inodes; the directory's
 * list of blocks; the directory.
 */
static void make_minix(unsigned char *image)
{
	enum { BLOCK = 1024, INODES = 4, ENTRY = 32, ROOT = MINIX_ROOT_INO,
	       INODE_BLOCKS = (NR_FILES + 2) * sizeof(struct minix_inode) /
			      BLOCK + 1,
	       LIST = INODES + INODE_BLOCKS, DIR_ = LIST + 1,
	       BLOCKS = (NR_FILES + 2) * ENTRY / BLOCK + 1 };
	struct minix_super_block *super = (void *)(image + BLOCK);
	struct minix_inode *inodes = (void *)(image + INODES * BLOCK);
	uint16_t *list = (void *)(image + LIST * BLOCK);
	struct minix_inode *root = &inodes[ROOT - 1];

	*super = (struct minix_super_block) {
		.s_ninodes = NR_FILES + 1, .s_nzones = DIR_ + BLOCKS,
		.s_imap_blocks = 1, .s_zmap_blocks = 1,
		.s_firstdatazone = LIST, .s_max_size = 7 * BLOCK + 512 * BLOCK,
		.s_magic = MINIX_SUPER_MAGIC2, .s_state = MINIX_VALID_FS,
	};
	root->i_mode = S_IFDIR | 0755;
	root->i_size = (NR_FILES + 2) * ENTRY;
	root->i_nlinks = 2;
	root->i_zone[7] = LIST;
	for (unsigned int b = 0; b < BLOCKS; b++) {
		if (b < 7)
			root->i_zone[b] = DIR_ + b;
		else
			list[b - 7] = DIR_ + b;
	}
	for (unsigned int i = 0; i < NR_FILES + 2; i++) {
		unsigned char *entry = image + DIR_ * BLOCK + i * ENTRY;

		*(uint16_t *)entry = i < 2 ? ROOT : ROOT + i - 1;
		strcpy((char *)entry + 2, i == 0 ? "." : i == 1 ? ".." :
		       file_name(i - 2));
		if (i < 2)
			continue;
		inodes[ROOT - 1 + i - 1].i_mode = S_IFREG | 0644;
		inodes[ROOT - 1 + i - 1].i_nlinks = 1;
	}
}

/* -------------------------------------------------------------- devices */

static char device[32];

/*
 * A loop device of an image, which is gone when it is closed; -1 if none. It can be
 * written to if it is empty: what is mounted may not be.
 */
static int open_image(void (*make)(unsigned char *image))
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int image = memfd_create("image", MFD_CLOEXEC), control, nr, fd;
	unsigned char *p;

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (image < 0 || control < 0 || ftruncate(image, IMAGE_SIZE))
		return -1;
	p = mmap(NULL, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, image, 0);
	if (p == MAP_FAILED)
		return -1;
	if (make)
		make(p);
	munmap(p, IMAGE_SIZE);
	nr = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(device, sizeof(device), "/dev/loop%d", nr);
	fd = open(device, (make ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	config.fd = image;
	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config)) {
		close(fd);
		fd = -1;
	}
	close(image);
	return fd;
}

static bool drop(const char *which)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, which, 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* How many files are in @dir, by their names and by their inodes. */
static int walk(const char *dir)
{
	int nr = 0, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct stat st;

	if (!d)
		return -1;
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.' &&
		    !fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISREG(st.st_mode))
			nr++;
	closedir(d);
	return nr;
}

/*
 * The least exits in a few passes over a directory whose inodes and names have to
 * be looked up again (@cold "2"), or read again, too ("3"). -1 if the files are
 * not all found.
 */
static long exits_of(const char *dir, const char *cold)
{
	long least = -1;

	for (int i = 0; i < PASSES; i++) {
		long before, now;
		int nr;

		if (!drop(cold))
			return -1;
		before = exits();
		nr = walk(dir);
		now = exits() - before;
		if (nr != NR_FILES) {
			ksft_print_msg("%s: %d files, not %d\n", dir, nr,
				       NR_FILES);
			return -1;
		}
		if (least < 0 || now < least)
			least = now;
	}
	return least;
}

static bool no_exits(const char *what, const char *dir, const char *cold)
{
	long least = exits_of(dir, cold);

	ksft_print_msg("%ld exits for %d files: %s\n", least, NR_FILES, what);
	/* Those of the counting, and one of a timer now and then. */
	return least >= 0 && least <= NR_FILES / 100;
}

/* ---------------------------------------------------------------- tests */

static const struct {
	const char *name;
	void (*make)(unsigned char *image);
} images[] = {
	{ "erofs", make_erofs },
	{ "cramfs", make_cramfs },
	{ "minix", make_minix },
};

static void test_image(int i, const char *where, bool on)
{
	const char *name = images[i].name;
	int fd = open_image(images[i].make);
	long files;
	bool ok;

	if (fd < 0)
		ksft_exit_fail_msg("no loop device: %s\n", strerror(errno));
	if (mount(device, where, name, MS_RDONLY, NULL)) {
		int error = errno;

		ksft_print_msg("mount %s: %s\n", name, strerror(error));
		for (int j = 0; j < 2; j++)
			if (error == ENODEV)
				ksft_test_result_skip("%s: absent\n", name);
			else
				ksft_test_result_fail("%s: mount\n", name);
		close(fd);
		return;
	}
	files = value_of(AUDIT, "user_file");
	/* All that can be read is read now: from a loop device with exits. */
	ok = walk(where) == NR_FILES;
	if (!on) {
		ksft_test_result(ok, "A11: %s: all files are found\n", name);
		ksft_test_result_skip("A1: %s: the audit\n", name);
	} else {
		ksft_test_result(ok && no_exits(name, where, "2"),
				 "A11: %s: no exits for metadata\n", name);
		files = value_of(AUDIT, "user_file") - files;
		ksft_print_msg("%ld pages of files more\n", files);
		ksft_test_result(files <= 0, "A1: %s: names are not taken for users' data\n",
				 name);
	}
	umount(where);
	close(fd);
}

/* What a user reads of a device, and has mapped, can be any file's content. */
static void test_device(bool on)
{
	static char buf[64 << 10];
	int fd = open_image(NULL);
	long before, more;
	size_t done = 0;
	ssize_t n;
	char *p;

	if (fd < 0)
		ksft_exit_fail_msg("no loop device: %s\n", strerror(errno));
	before = value_of(AUDIT, "user_block_device");
	while (done < IMAGE_SIZE / 2 && (n = read(fd, buf, sizeof(buf))) > 0)
		done += n;
	p = mmap(NULL, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (; p != MAP_FAILED && done < IMAGE_SIZE; done += 4096)
		p[done] = 1;
	more = value_of(AUDIT, "user_block_device") - before;
	ksft_print_msg("%zu bytes of a device: %ld pages of devices more\n",
		       done, more);
	if (on)
		/* Others may mount something meanwhile. */
		ksft_test_result(done >= IMAGE_SIZE && more < 16,
				 "A1: what users read of a device is absent\n");
	else
		ksft_test_result_skip("A1: what users read of a device\n");
	if (p != MAP_FAILED)
		munmap(p, IMAGE_SIZE);
	close(fd);
}

static void test_dir(const char *where, bool on)
{
	char path[256];
	bool ok;
	int dir;

	snprintf(path, sizeof(path), "%s/asi_metadata", where);
	ok = !mkdir(path, 0700) && !chdir(path);
	for (unsigned int i = 0; ok && i < NR_FILES; i++) {
		int fd = open(file_name(i), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		ok = fd >= 0 && !close(fd);
	}
	/* To freeze a filesystem empties its journal, which keeps caches busy. */
	dir = open(".", O_RDONLY | O_CLOEXEC);
	sync();
	if (ioctl(dir, FIFREEZE, 0) || ioctl(dir, FITHAW, 0))
		ksft_print_msg("no freeze: %s\n", strerror(errno));
	close(dir);
	if (on)
		ksft_test_result(ok && no_exits(where, ".", "3"),
				 "A11: %s: no exits for metadata\n", where);
	else
		ksft_test_result(ok && walk(".") == NR_FILES,
				 "A11: %s: all files are found\n", where);
	for (unsigned int i = 0; i < NR_FILES; i++)
		unlink(file_name(i));
	chdir("/");
	rmdir(path);
}

int main(int argc, char **argv)
{
	char where[] = "/tmp/asi_metadataXXXXXX";
	bool on = !access(STATS, R_OK);

	ksft_print_header();
	if (!mkdtemp(where))
		ksft_exit_fail_msg("%s: %s\n", where, strerror(errno));
	ksft_set_plan(2 * (int)ARRAY_SIZE(images) + 1 + argc - 1);
	ksft_print_msg("asi=%s\n", on ? "on" : "off");
	for (int i = 0; i < (int)ARRAY_SIZE(images); i++)
		test_image(i, where, on);
	test_device(on);
	for (int i = 1; i < argc; i++)
		test_dir(argv[i], on);
	rmdir(where);
	ksft_finished();
}
