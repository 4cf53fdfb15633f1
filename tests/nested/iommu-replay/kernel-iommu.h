/*
 * The kernel's IOMMU, with the interface of its model
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A VFIO container or an iommufd IOAS with a device attached, so that mapped
 * memory is pinned and in the IOMMU's page tables.  It exists as long as the
 * process.
 */

#ifndef IOMMU_REPLAY_KERNEL_IOMMU_H
#define IOMMU_REPLAY_KERNEL_IOMMU_H

#include "tests/model/iommu-model.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace shared_dma {

/* Print an error message, as with printf(), and exit with status 2. */
[[noreturn]] __attribute__((format(printf, 1, 2))) void die(const char *format,
                                                            ...);

/*
 * A file of iommufd.  VFIO's unmap, which cuts, is for the IOAS of the file
 * that was selected last.
 */
struct IommuFile {
    /* Whether to select and unmap under the lock, as in vfio-dma-cut.c */
    enum class Locking {
        kYes,
        kNo
    };

    /* Open /dev/iommu.  Exits on failure. */
    explicit IommuFile(Locking locking = Locking::kYes);

    const int fd;
    const Locking locking;
    std::mutex lock;
    /* The selected IOAS, and how often it has changed */
    std::atomic<uint32_t> selected = 0;
    std::atomic<uint64_t> nswitches = 0;
};

class KernelIommu {
public:
    /*
     * Open @device, which is /dev/vfio/GROUP for type1v2 and
     * /dev/vfio/devices/vfioN for iommufd.  Exits on failure.
     */
    static std::unique_ptr<KernelIommu> open(IommuKind kind,
                                             const char *device);

    /*
     * Open @device with an IOAS of its own in @file, which outlives it, for
     * cuts.  Exits on failure.
     */
    static std::unique_ptr<KernelIommu> open_in(IommuFile *file,
                                                const char *device);

    virtual ~KernelIommu() = default;

    /* See IommuModel. */
    virtual int map(uint64_t iova, uint64_t size, uint64_t vaddr,
                    bool readonly) = 0;
    virtual int unmap(uint64_t iova, uint64_t size, uint64_t *unmapped) = 0;
    virtual std::optional<uint32_t> entries_left() = 0;

    virtual std::vector<IovaRange> allowed() = 0;
};

/* Return the version of the kernel.  Exits if the model does not know it. */
IommuVersion kernel_version();

/* Return vfio_iommu_type1.dma_entry_limit. */
uint32_t kernel_entry_limit();

/* Return the number of pages that the kernel has pinned for anyone. */
uint64_t kernel_pinned_pages();

} /* namespace shared_dma */

#endif /* IOMMU_REPLAY_KERNEL_IOMMU_H */
