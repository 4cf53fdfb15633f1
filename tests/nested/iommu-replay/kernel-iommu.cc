/*
 * The kernel's IOMMU, with the interface of its model
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/nested/iommu-replay/kernel-iommu.h"

#include <cerrno>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/vfio.h>

namespace shared_dma {

void die(const char *format, ...)
{
    va_list args;

    fputs("iommu-replay: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

namespace {

/*
 * iommufd's interface: the oldest supported build machine has no
 * <linux/iommufd.h>, and a <linux/vfio.h> without the last two structures.
 */
struct IoasAlloc {
    uint32_t size;
    uint32_t flags;
    uint32_t out_ioas_id;
};

struct IoasIovaRanges {
    uint32_t size;
    uint32_t ioas_id;
    uint32_t num_iovas;
    uint32_t reserved;
    uint64_t allowed_iovas;
    uint64_t out_iova_alignment;
};

struct IoasMap {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t reserved;
    uint64_t user_va;
    uint64_t length;
    uint64_t iova;
};

struct IoasUnmap {
    uint32_t size;
    uint32_t ioas_id;
    uint64_t iova;
    uint64_t length;
};

struct IommuOption {
    uint32_t size;
    uint32_t option_id;
    uint16_t op;
    uint16_t reserved;
    uint32_t object_id;
    uint64_t val64;
};

struct VfioIoas {
    uint32_t size;
    uint32_t ioas_id;
    uint16_t op;
    uint16_t reserved;
};

struct DeviceBind {
    uint32_t argsz;
    uint32_t flags;
    int32_t iommufd;
    uint32_t out_devid;
};

struct DeviceAttach {
    uint32_t argsz;
    uint32_t flags;
    uint32_t pt_id;
};

constexpr unsigned long kIoasAlloc = _IO(';', 0x81);
constexpr unsigned long kIoasIovaRanges = _IO(';', 0x84);
constexpr unsigned long kIoasMap = _IO(';', 0x85);
constexpr unsigned long kIoasUnmap = _IO(';', 0x86);
constexpr unsigned long kIommuOption = _IO(';', 0x87);
constexpr unsigned long kVfioIoas = _IO(';', 0x88);
constexpr unsigned long kDeviceBind = _IO(VFIO_TYPE, VFIO_BASE + 18);
constexpr unsigned long kDeviceAttach = _IO(VFIO_TYPE, VFIO_BASE + 19);

constexpr uint32_t kMapFixedIova = 1;
constexpr uint32_t kMapWriteable = 2;
constexpr uint32_t kMapReadable = 4;

/* To set the option that an IOAS maps superpages, which is on by default */
constexpr uint32_t kOptionHugePages = 1;
constexpr uint16_t kOptionSet = 0;

/* To set the IOAS that VFIO's ioctls on the file are for */
constexpr uint16_t kVfioIoasSet = 1;

constexpr uint32_t kMaxRanges = 64;

int open_device(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        die("%s: %s", path, strerror(errno));
    }
    return fd;
}

/* Execute an ioctl that must succeed. */
void call(int fd, unsigned long request, const char *name, void *argument)
{
    if (ioctl(fd, request, argument) < 0) {
        die("%s: %s", name, strerror(errno));
    }
}

/* Execute an ioctl. Return 0 or -errno. */
int try_call(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument) < 0 ? -errno : 0;
}

/* VFIO's unmap: of a container, or of the compatibility IOAS of /dev/iommu */
int unmap_by_vfio(int fd, uint64_t iova, uint64_t size, uint64_t *unmapped)
{
    vfio_iommu_type1_dma_unmap request = {};
    int ret;

    request.argsz = sizeof(request);
    request.iova = iova;
    request.size = size;
    ret = try_call(fd, VFIO_IOMMU_UNMAP_DMA, &request);
    *unmapped = ret ? 0 : request.size;
    return ret;
}

class Type1Iommu : public KernelIommu {
public:
    explicit Type1Iommu(const char *group)
        : container_(open_device("/dev/vfio/vfio"))
    {
        int group_fd = open_device(group);
        auto type = reinterpret_cast<void *>(
            static_cast<uintptr_t>(VFIO_TYPE1v2_IOMMU));

        call(group_fd, VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER",
             &container_);
        call(container_, VFIO_SET_IOMMU, "VFIO_SET_IOMMU", type);
    }

    int map(uint64_t iova, uint64_t size, uint64_t vaddr,
            bool readonly) override
    {
        vfio_iommu_type1_dma_map request = {};

        request.argsz = sizeof(request);
        request.flags = VFIO_DMA_MAP_FLAG_READ;
        if (!readonly) {
            request.flags |= VFIO_DMA_MAP_FLAG_WRITE;
        }
        request.vaddr = vaddr;
        request.iova = iova;
        request.size = size;
        return try_call(container_, VFIO_IOMMU_MAP_DMA, &request);
    }

    int unmap(uint64_t iova, uint64_t size, uint64_t *unmapped) override
    {
        return unmap_by_vfio(container_, iova, size, unmapped);
    }

    std::optional<uint32_t> entries_left() override
    {
        return reinterpret_cast<const vfio_iommu_type1_info_dma_avail *>(
                   find_capability(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL))
            ->avail;
    }

    std::vector<IovaRange> allowed() override
    {
        auto capability =
            reinterpret_cast<const vfio_iommu_type1_info_cap_iova_range *>(
                find_capability(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE));
        std::vector<IovaRange> ranges;

        for (uint32_t i = 0; i < capability->nr_iovas; i++) {
            const vfio_iova_range &range = capability->iova_ranges[i];

            ranges.push_back({range.start, range.end});
        }
        return ranges;
    }

private:
    const vfio_info_cap_header *find_capability(uint16_t id)
    {
        auto info = reinterpret_cast<vfio_iommu_type1_info *>(info_);
        uint32_t offset;

        info->argsz = sizeof(info_);
        call(container_, VFIO_IOMMU_GET_INFO, "VFIO_IOMMU_GET_INFO", info);
        if (info->argsz > sizeof(info_)) {
            die("VFIO_IOMMU_GET_INFO needs %u bytes", info->argsz);
        }
        offset = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;
        while (offset) {
            auto header =
                reinterpret_cast<vfio_info_cap_header *>(info_ + offset);

            if (header->id == id) {
                return header;
            }
            offset = header->next;
        }
        die("VFIO_IOMMU_GET_INFO has no capability %u", id);
    }

    int container_;
    alignas(8) char info_[4096] = {};
};

class IoasIommu : public KernelIommu {
public:
    enum class Superpages {
        kYes,
        kNo
    };

    IoasIommu(int iommufd, const char *device, Superpages superpages)
        : iommufd_(iommufd)
    {
        int device_fd = open_device(device);
        DeviceBind bind = {sizeof(bind), 0, iommufd_, 0};
        IoasAlloc alloc = {sizeof(alloc), 0, 0};

        call(device_fd, kDeviceBind, "VFIO_DEVICE_BIND_IOMMUFD", &bind);
        call(iommufd_, kIoasAlloc, "IOMMU_IOAS_ALLOC", &alloc);
        ioas_ = alloc.out_ioas_id;

        if (superpages == Superpages::kNo) {
            IommuOption option = {
                sizeof(option), kOptionHugePages, kOptionSet, 0, ioas_, 0};

            call(iommufd_, kIommuOption, "IOMMU_OPTION", &option);
        }

        DeviceAttach attach = {sizeof(attach), 0, ioas_};

        call(device_fd, kDeviceAttach, "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
             &attach);
    }

    int map(uint64_t iova, uint64_t size, uint64_t vaddr,
            bool readonly) override
    {
        IoasMap request = {sizeof(request),
                           kMapFixedIova | kMapReadable |
                               (readonly ? 0 : kMapWriteable),
                           ioas_,
                           0,
                           vaddr,
                           size,
                           iova};

        return try_call(iommufd_, kIoasMap, &request);
    }

    int unmap(uint64_t iova, uint64_t size, uint64_t *unmapped) override
    {
        IoasUnmap request = {sizeof(request), ioas_, iova, size};
        int ret = try_call(iommufd_, kIoasUnmap, &request);

        *unmapped = ret ? 0 : request.length;
        return ret;
    }

    std::optional<uint32_t> entries_left() override { return std::nullopt; }

    std::vector<IovaRange> allowed() override
    {
        std::vector<IovaRange> ranges(kMaxRanges);
        IoasIovaRanges request = {sizeof(request),
                                  ioas_,
                                  kMaxRanges,
                                  0,
                                  reinterpret_cast<uintptr_t>(ranges.data()),
                                  0};

        call(iommufd_, kIoasIovaRanges, "IOMMU_IOAS_IOVA_RANGES", &request);
        if (request.out_iova_alignment != IommuModel::kPageSize) {
            die("IOVA alignment is %" PRIu64 ", not a page",
                request.out_iova_alignment);
        }
        ranges.resize(request.num_iovas);
        return ranges;
    }

protected:
    int iommufd_;
    uint32_t ioas_;
};

/* unmap() cuts. */
class CutIommu : public IoasIommu {
public:
    CutIommu(IommuFile *file, const char *device)
        : IoasIommu(file->fd, device, Superpages::kNo), file_(file)
    {
    }

    int unmap(uint64_t iova, uint64_t size, uint64_t *unmapped) override
    {
        std::unique_lock guard(file_->lock, std::defer_lock);

        if (file_->locking == IommuFile::Locking::kYes) {
            guard.lock();
        }
        select();
        /* Let a thread that does not wait for the lock select another IOAS. */
        std::this_thread::yield();
        return unmap_by_vfio(iommufd_, iova, size, unmapped);
    }

private:
    void select()
    {
        VfioIoas selection = {sizeof(selection), ioas_, kVfioIoasSet, 0};

        call(iommufd_, kVfioIoas, "IOMMU_VFIO_IOAS", &selection);
        file_->nswitches += file_->selected.exchange(ioas_) != ioas_;
    }

    IommuFile *file_;
};

/* Read a small file completely. Return its size. */
size_t read_file(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t done = 0;
    ssize_t got;

    if (fd < 0) {
        die("%s: %s", path, strerror(errno));
    }
    do {
        got = read(fd, buffer + done, size - 1 - done);
        if (got < 0) {
            die("%s: %s", path, strerror(errno));
        }
        done += got;
    } while (got > 0);
    close(fd);
    buffer[done] = '\0';
    return done;
}

/* Return NUMBER from the line "@name NUMBER" of /proc/vmstat. */
uint64_t find_count(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    if (!at) {
        die("/proc/vmstat has no %s", name);
    }
    return strtoull(at + strlen(name), nullptr, 10);
}

} /* namespace */

std::unique_ptr<KernelIommu> KernelIommu::open(IommuKind kind,
                                               const char *device)
{
    if (kind == IommuKind::kType1v2) {
        return std::make_unique<Type1Iommu>(device);
    }
    if (kind == IommuKind::kIommufdCut) {
        static IommuFile file;

        return open_in(&file, device);
    }
    return std::make_unique<IoasIommu>(open_device("/dev/iommu"), device,
                                       IoasIommu::Superpages::kYes);
}

std::unique_ptr<KernelIommu> KernelIommu::open_in(IommuFile *file,
                                                  const char *device)
{
    return std::make_unique<CutIommu>(file, device);
}

IommuFile::IommuFile(Locking locking)
    : fd(open_device("/dev/iommu")), locking(locking)
{
}

IommuVersion kernel_version()
{
    struct utsname name;

    if (uname(&name) < 0) {
        die("uname: %s", strerror(errno));
    }
    if (!strncmp(name.release, "6.12.", 5)) {
        return IommuVersion::kLinux6_12;
    }
    if (!strncmp(name.release, "7.3.", 4)) {
        return IommuVersion::kLinux7_3;
    }
    die("Linux %s: the model does not know its rules", name.release);
}

uint32_t kernel_entry_limit()
{
    char text[64];

    read_file("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", text,
              sizeof(text));
    return strtoul(text, nullptr, 10);
}

uint64_t kernel_pinned_pages()
{
    static char text[1 << 16];
    int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);

    /* Make the kernel add up its per-CPU counters. */
    if (fd < 0 || write(fd, "1", 1) != 1) {
        die("/proc/sys/vm/stat_refresh: %s", strerror(errno));
    }
    close(fd);
    read_file("/proc/vmstat", text, sizeof(text));
    return find_count(text, "\nnr_foll_pin_acquired ") -
           find_count(text, "\nnr_foll_pin_released ");
}

} /* namespace shared_dma */
