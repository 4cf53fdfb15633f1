/*
 * Preloaded library that intercepts QEMU's calls to the kernel
 *
 * It announces QEMU's operations on guest memory in the kernel's trace, so that
 * their order relative to IOMMU events can be checked. It also fails the calls
 * that a test selects, without executing them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <cerrno>
#include <cstdarg>
#include <cstdint>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "control.h"
#include "kernel-abi.h"
#include "memory-slots.h"
#include "trace-marker.h"

namespace {

/* Whether a call of this thread failed since its last memory fault. */
thread_local bool has_failed __attribute__((tls_model("initial-exec"))) = false;

int fail(uint32_t error)
{
    errno = static_cast<int>(error);
    return -1;
}

uint32_t error_of(EdgeKind kind)
{
    const uint32_t error = edge_error(kind);

    has_failed = has_failed || error;
    return error;
}

int do_ioctl(int fd, unsigned long request, void *argument)
{
    return static_cast<int>(syscall(SYS_ioctl, fd, request, argument));
}

/* Executes an ioctl, unless it must fail. */
int try_ioctl(EdgeKind kind, int fd, unsigned long request, void *argument)
{
    const uint32_t error = error_of(kind);

    return error ? fail(error) : do_ioctl(fd, request, argument);
}

int set_attributes(int fd, unsigned long request, void *argument)
{
    const auto *attributes = static_cast<KvmMemoryAttributes *>(argument);
    const uint64_t gpa = attributes->address;
    const uint64_t size = attributes->size;
    const bool to_private = attributes->attributes & KVM_ATTRIBUTE_PRIVATE;

    if (to_private) {
        trace_edge("private", gpa, size);
    }

    const int ret = try_ioctl(EDGE_ATTRIBUTES, fd, request, argument);

    if (to_private && ret) {
        trace_edge("kept", gpa, size);
    } else if (!to_private && !ret) {
        trace_edge("shared", gpa, size);
    }
    return ret;
}

int set_memory_region(int fd, unsigned long request, void *argument)
{
    const auto *region = static_cast<KvmMemoryRegion2 *>(argument);
    const KvmMemoryRegion2 before = slots_get(region->slot);
    const int ret = do_ioctl(fd, request, argument);

    if (ret) {
        return ret;
    }
    slots_set(*region);
    if (!region->memory_size) {
        trace_edge("gone", before.guest_phys_addr, before.memory_size);
    } else if (region->flags & KVM_MEMORY_HAS_GUEST_MEMFD) {
        trace_edge("slot", region->guest_phys_addr, region->memory_size);
    }
    return 0;
}

/* Maps or unmaps memory, and traces it. The kernel may change @argument. */
int change_maps(EdgeKind kind, int fd, unsigned long request, void *argument,
                uint64_t iova, uint64_t size)
{
    const int ret = try_ioctl(kind, fd, request, argument);

    if (!ret && edge_traces_maps()) {
        trace_edge(kind == EDGE_MAP ? "mapped" : "unmapped", iova, size);
    }
    return ret;
}

int vfio_map(int fd, unsigned long request, void *argument)
{
    const auto *map = static_cast<VfioDmaMap *>(argument);

    return change_maps(EDGE_MAP, fd, request, argument, map->iova, map->size);
}

int vfio_unmap(int fd, unsigned long request, void *argument)
{
    const auto *unmap = static_cast<VfioDmaUnmap *>(argument);

    return change_maps(EDGE_UNMAP, fd, request, argument, unmap->iova,
                       unmap->size);
}

int iommufd_map(int fd, unsigned long request, void *argument)
{
    const auto *map = static_cast<IommuIoasMap *>(argument);

    return change_maps(EDGE_MAP, fd, request, argument, map->iova, map->length);
}

int iommufd_unmap(int fd, unsigned long request, void *argument)
{
    const auto *unmap = static_cast<IommuIoasUnmap *>(argument);

    return change_maps(EDGE_UNMAP, fd, request, argument, unmap->iova,
                       unmap->length);
}

/* Attaches a container: the kernel may map pages of its own meanwhile. */
int attach(int fd, unsigned long request, void *argument)
{
    trace_edge("attaching", 0, 0);

    const int ret = do_ioctl(fd, request, argument);

    trace_edge("attached", 0, 0);
    return ret;
}

/* Maps the kvm_run structure of the vCPU that this thread runs. */
KvmRun *map_run(int fd)
{
    static thread_local KvmRun *run __attribute__((tls_model("initial-exec"))) =
        nullptr;

    if (!run) {
        void *memory = mmap(nullptr, sizeof(KvmRun), PROT_READ | PROT_WRITE,
                            MAP_SHARED, fd, 0);

        run = memory == MAP_FAILED ? nullptr : static_cast<KvmRun *>(memory);
    }
    return run;
}

/* Whether this thread's vCPU has a hypercall that looks like a memory fault. */
thread_local bool has_hypercall __attribute__((tls_model("initial-exec"))) =
    false;

/*
 * Turns an explicit conversion into an implicit one: shows the hypercall as a
 * memory fault. Returns false if the test has not enabled this.
 */
bool make_memory_fault(KvmRun *run)
{
    if (!edge_is_implicit()) {
        return false;
    }

    const uint64_t gpa = run->hypercall.args[0];
    const uint64_t size = run->hypercall.args[1] * 0x1000;
    const bool to_private = run->hypercall.args[2] & KVM_CALL_MAP_ENCRYPTED;

    has_failed = false;
    has_hypercall = true;
    run->hypercall.ret = 0;
    run->exit_reason = KVM_EXIT_REASON_MEMORY_FAULT;
    run->memory_fault.flags = to_private ? KVM_FAULT_IS_PRIVATE : 0;
    run->memory_fault.gpa = gpa;
    run->memory_fault.size = size;
    return true;
}

bool is_conversion(const KvmRun *run)
{
    return run->exit_reason == KVM_EXIT_REASON_HYPERCALL &&
           run->hypercall.nr == KVM_CALL_MAP_GPA_RANGE;
}

/*
 * Validates the result of a conversion like Linux 7.3 does for guests other
 * than software-protected VMs, and translates it for this guest, which is one.
 * Returns false if the kernel would reject the result.
 */
bool take_result(KvmRun *run)
{
    const uint64_t result = run->hypercall.ret;

    if (result != 0 && result != EINVAL && result != EAGAIN) {
        return false;
    }
    run->hypercall.ret = -result;
    return true;
}

/* Whether the last exit was an access, which the guest will repeat. */
bool is_access(const KvmRun *run)
{
    return run->exit_reason == KVM_EXIT_REASON_MEMORY_FAULT &&
           edge_is_implicit();
}

int run_vcpu(int fd, unsigned long request, void *argument)
{
    /* Whether the kernel is about to read the result of a conversion. */
    static thread_local bool has_result
        __attribute__((tls_model("initial-exec"))) = false;

    if (has_failed && is_access(map_run(fd))) {
        if (map_run(fd)->immediate_exit) {
            return fail(EINTR);
        }
        has_failed = false;
        return fail(EFAULT);
    }
    if (has_result && edge_is_strict() && !take_result(map_run(fd))) {
        return fail(EINVAL);
    }
    has_result = false;
    has_hypercall = false;

    const int ret = do_ioctl(fd, request, argument);
    const int saved_errno = errno;
    KvmRun *run = ret ? nullptr : map_run(fd);

    if (run && is_conversion(run)) {
        if (make_memory_fault(run)) {
            return fail(EFAULT);
        }
        has_result = true;
    }
    errno = saved_errno;
    return ret;
}

/*
 * Sets the registers of a vCPU.  If its last exit was a hypercall, the kernel
 * completes that when the vCPU runs next, and goes to the instruction after it.
 * After a memory fault, the registers are what QEMU sets: after a reset, for
 * example.  So a hypercall that looks like a fault is completed first.
 */
int set_registers(int fd, unsigned long request, void *argument)
{
    KvmRun *run = has_hypercall ? map_run(fd) : nullptr;

    if (run) {
        const uint8_t immediate_exit = run->immediate_exit;

        run->immediate_exit = 1;
        do_ioctl(fd, KVM_RUN_CALL, nullptr);
        run->immediate_exit = immediate_exit;
        has_hypercall = false;
        has_failed = false;
    }
    return do_ioctl(fd, request, argument);
}

void trace_free(uint64_t gpa, uint64_t size)
{
    trace_edge("free", gpa, size);
}

/* Announces and detects calls that free guest memory. */
bool frees_guest_memory(const void *address, size_t size, int advice)
{
    const uint64_t at = reinterpret_cast<uintptr_t>(address);

    return (advice == MADV_DONTNEED || advice == ADVICE_DONTNEED_LOCKED ||
            advice == MADV_REMOVE) &&
           slots_find(at, size, trace_free);
}

} // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;

    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);

    switch (request) {
    case KVM_RUN_CALL:
        return run_vcpu(fd, request, argument);
    case KVM_SET_REGS_CALL:
        return set_registers(fd, request, argument);
    case KVM_SET_MEMORY_ATTRIBUTES_CALL:
        return set_attributes(fd, request, argument);
    case KVM_SET_USER_MEMORY_REGION2_CALL:
        return set_memory_region(fd, request, argument);
    case VFIO_SET_IOMMU_CALL:
    case VFIO_GROUP_SET_CONTAINER_CALL:
        return attach(fd, request, argument);
    case VFIO_IOMMU_MAP_DMA_CALL:
        return vfio_map(fd, request, argument);
    case IOMMU_IOAS_MAP_CALL:
        return iommufd_map(fd, request, argument);
    case VFIO_IOMMU_UNMAP_DMA_CALL:
        return vfio_unmap(fd, request, argument);
    case IOMMU_IOAS_UNMAP_CALL:
        return iommufd_unmap(fd, request, argument);
    default:
        return do_ioctl(fd, request, argument);
    }
}

EXPORTED int madvise(void *address, size_t size, int advice) noexcept
{
    if (frees_guest_memory(address, size, advice)) {
        const uint32_t error = edge_error(EDGE_FREE_SHARED);

        if (error) {
            return fail(error);
        }
    }
    return static_cast<int>(syscall(SYS_madvise, address, size, advice));
}

/* QEMU punches holes only to free guest memory. */
EXPORTED int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
    if (mode & FALLOC_FL_PUNCH_HOLE) {
        const uint32_t error = edge_error(
            slots_is_guest_memfd(fd) ? EDGE_FREE_PRIVATE : EDGE_FREE_SHARED);

        if (error) {
            return fail(error);
        }
    }
    return static_cast<int>(syscall(SYS_fallocate, fd, mode, offset, size));
}
