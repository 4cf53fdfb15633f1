/*
 * System calls and structures of the kernel that conversions use
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_KERNEL_EDGE_KERNEL_ABI_H
#define TESTS_NESTED_KERNEL_EDGE_KERNEL_ABI_H

#include <stdint.h>

/*
 * Build machines may have <linux/kvm.h> and <linux/vfio.h> without most of
 * these definitions, and no <linux/iommufd.h>.
 */
constexpr unsigned long KVM_RUN_CALL = 0xae80;
constexpr unsigned long KVM_SET_REGS_CALL = 0x4090ae82;
constexpr unsigned long KVM_SET_USER_MEMORY_REGION2_CALL = 0x40a0ae49;
constexpr unsigned long KVM_SET_MEMORY_ATTRIBUTES_CALL = 0x4020aed2;
constexpr unsigned long VFIO_SET_IOMMU_CALL = 0x3b66;
constexpr unsigned long VFIO_GROUP_SET_CONTAINER_CALL = 0x3b68;
constexpr unsigned long VFIO_IOMMU_MAP_DMA_CALL = 0x3b71;
constexpr unsigned long VFIO_IOMMU_UNMAP_DMA_CALL = 0x3b72;
constexpr unsigned long IOMMU_IOAS_MAP_CALL = 0x3b85;
constexpr unsigned long IOMMU_IOAS_UNMAP_CALL = 0x3b86;

struct KvmMemoryRegion2 {
    uint32_t slot;
    uint32_t flags;
    uint64_t guest_phys_addr;
    uint64_t memory_size;
    uint64_t userspace_addr;
    uint64_t guest_memfd_offset;
    uint32_t guest_memfd;
    uint32_t padding[29];
};

static_assert(sizeof(KvmMemoryRegion2) ==
              (KVM_SET_USER_MEMORY_REGION2_CALL >> 16 & 0x3fff));

constexpr uint32_t KVM_MEMORY_HAS_GUEST_MEMFD = 1 << 2;

struct KvmMemoryAttributes {
    uint64_t address;
    uint64_t size;
    uint64_t attributes;
    uint64_t flags;
};

static_assert(sizeof(KvmMemoryAttributes) ==
              (KVM_SET_MEMORY_ATTRIBUTES_CALL >> 16 & 0x3fff));

struct VfioDmaMap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t vaddr;
    uint64_t iova;
    uint64_t size;
};

struct VfioDmaUnmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t iova;
    uint64_t size;
};

struct IommuIoasMap {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t reserved;
    uint64_t user_va;
    uint64_t length;
    uint64_t iova;
};

struct IommuIoasUnmap {
    uint32_t size;
    uint32_t ioas_id;
    uint64_t iova;
    uint64_t length;
};

/* <sys/mman.h> may lack MADV_DONTNEED_LOCKED as well. */
constexpr int ADVICE_DONTNEED_LOCKED = 24;

constexpr uint64_t KVM_ATTRIBUTE_PRIVATE = 1 << 3;

/* Start of struct kvm_run, which the kernel and user space share per vCPU. */
struct KvmRun {
    uint8_t request_interrupt_window;
    /* Makes KVM_RUN return at once, with EINTR. */
    uint8_t immediate_exit;
    uint8_t other[6];
    uint32_t exit_reason;
    uint8_t more[20];
    union {
        struct {
            uint64_t nr;
            uint64_t args[6];
            uint64_t ret;
        } hypercall;
        struct {
            uint64_t flags;
            uint64_t gpa;
            uint64_t size;
        } memory_fault;
    };
};

constexpr uint32_t KVM_EXIT_REASON_HYPERCALL = 3;
constexpr uint32_t KVM_EXIT_REASON_MEMORY_FAULT = 39;
constexpr uint64_t KVM_CALL_MAP_GPA_RANGE = 12;
constexpr uint64_t KVM_CALL_MAP_ENCRYPTED = 1 << 4;
constexpr uint64_t KVM_FAULT_IS_PRIVATE = 1 << 3;

#endif
