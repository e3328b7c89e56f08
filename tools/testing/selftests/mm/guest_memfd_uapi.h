/* SPDX-License-Identifier: GPL-2.0 */
/*
 * <linux/kvm.h>, with what it lacks of guest_memfd and its flags if it is older
 * than these.
 */
#ifndef _GUEST_MEMFD_UAPI_H
#define _GUEST_MEMFD_UAPI_H

#include <linux/const.h>
#include <linux/kvm.h>
#include <linux/types.h>

#ifndef KVM_CREATE_GUEST_MEMFD
struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};

#define KVM_MEM_GUEST_MEMFD	_BITUL(2)
#define KVM_SET_USER_MEMORY_REGION2 \
	_IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)

struct kvm_create_guest_memfd {
	__u64 size;
	__u64 flags;
	__u64 reserved[6];
};

#define KVM_CREATE_GUEST_MEMFD	_IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
#endif

#ifndef KVM_CAP_GUEST_MEMFD_FLAGS
#define KVM_CAP_GUEST_MEMFD_FLAGS	244
#define GUEST_MEMFD_FLAG_MMAP		_BITULL(0)
#define GUEST_MEMFD_FLAG_INIT_SHARED	_BITULL(1)
#endif

#ifndef GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define GUEST_MEMFD_FLAG_NO_DIRECT_MAP	_BITULL(2)
#define GUEST_MEMFD_FLAG_WRITE		_BITULL(3)
#define GUEST_MEMFD_FLAG_MOVABLE	_BITULL(16)
#define GUEST_MEMFD_FLAG_RDWR		_BITULL(18)
#endif

#endif /* _GUEST_MEMFD_UAPI_H */
