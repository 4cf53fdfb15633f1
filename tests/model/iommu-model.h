/*
 * A container's IOMMU, with exactly the rules of Linux 6.12
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What VFIO's two backends answer to a mapping or unmapping, without the
 * kernel: for tests that need very many mappings, or failures on demand.
 * tests/nested/iommu-rules holds this model against the real thing, call by
 * call, so what is said here is what the kernel does.
 *
 * Both take mappings with a size of their own and give them back only whole.
 * The first rule that is broken, in this order, is the answer:
 *
 *     map                    type1v2                 iommufd
 *     iova or size 2^64-1    -                       EOVERFLOW
 *     size 0                 EINVAL                  EINVAL
 *     size > 2^64-1-4096     -                       EINVAL
 *     vaddr wraps            (below)                 EOVERFLOW (1)
 *     unaligned              EINVAL: iova, size or   EINVAL: iova or size
 *                            vaddr
 *     iova wraps             EINVAL                  EOVERFLOW
 *     vaddr wraps            EINVAL                  (above)
 *     not an allowed IOVA    (below)                 EINVAL
 *     overlaps               EEXIST (2)              EEXIST
 *     no entry left          ENOSPC                  -
 *     not an allowed IOVA    EINVAL                  (above)
 *     unaligned vaddr        (above)                 EINVAL
 *     not memory             EFAULT                  EFAULT
 *
 *     unmap                  type1v2                 iommufd
 *     0 and size 2^64-1      -                       unmaps all, even nothing
 *     iova or size 2^64-1    -                       EOVERFLOW
 *     size 0                 EINVAL                  EINVAL
 *     unaligned              EINVAL                  allowed
 *     iova wraps             EINVAL                  EOVERFLOW
 *     bisects a mapping      EINVAL, changes         ENOENT, but what is below
 *                            nothing                 that mapping is gone (3)
 *     range ends at 2^64     unmaps nothing (2)      as any other
 *     nothing in there       unmaps nothing          ENOENT
 *     holes                  skipped                 skipped
 *
 * (1) Also if the last byte is the last there is, which type1 accepts.
 * (2) Where a range ends at 2^64, type1 computes its end as 0: it overlaps
 *     nothing (but cannot be mapped either, no IOMMU goes that far), and
 *     unmapping it finds nothing and succeeds.
 * (3) How much is gone, the kernel does not tell.
 *
 * A mapping that fails leaves nothing behind.  Errors that depend on the
 * machine (memory that runs out, RLIMIT_MEMLOCK) only come if asked for.
 */

#ifndef TESTS_MODEL_IOMMU_MODEL_H
#define TESTS_MODEL_IOMMU_MODEL_H

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace shared_dma {

enum class IommuKind {
    kType1v2,
    kIommufd
};

/* What decided about a call: a line of the tables above. */
enum class IommuRule {
    kMapped,
    kUnmapped,        /* something */
    kUnmappedNothing, /* and succeeded */
    kUnmappedToTop,   /* note (2) */
    kUnmappedAll,     /* by the special case of iommufd, even nothing */
    kZeroSize,
    kNotANumber, /* iova or size 2^64-1 */
    kTooLarge,
    kUnaligned,
    kUnalignedVaddr, /* if that is a rule of its own */
    kIovaWraps,
    kVaddrWraps,
    kReserved,
    kOverlap,
    kNoEntryLeft,
    kNotMemory,
    kBisected,
    kBisectedLate, /* and something is gone, note (3) */
    kNothingThere,
    kInjected
};

constexpr int kNumIommuRules = static_cast<int>(IommuRule::kInjected) + 1;

const char *iommu_rule_name(IommuRule rule);

struct IovaRange {
    uint64_t first;
    uint64_t last;

    bool operator==(const IovaRange &) const = default;
};

struct IommuMapping {
    uint64_t iova;
    uint64_t size;
    uint64_t vaddr;
    bool readonly;

    uint64_t last() const { return iova + (size - 1); }
    bool operator==(const IommuMapping &) const = default;
};

/* What an x86 host allows: 48 bits, without the interrupt controllers. */
std::vector<IovaRange> x86_iova_ranges();

class IommuModel {
public:
    using Mappings = std::map<uint64_t, IommuMapping>;

    /* What vfio_iommu_type1.dma_entry_limit is if nobody sets it */
    static constexpr uint32_t kDefaultEntryLimit = 65535;
    static constexpr uint64_t kPageSize = 4096;

    /*
     * @entry_limit is for type1v2: iommufd knows none.  @allowed are the IOVA
     * ranges that devices can use, ascending, with gaps in between, and not
     * up to the very end of the 64-bit space.
     */
    explicit IommuModel(IommuKind kind,
                        uint32_t entry_limit = kDefaultEntryLimit,
                        std::vector<IovaRange> allowed = x86_iova_ranges());

    /*
     * From the first call on, only what was added is memory: before, every
     * virtual address is.  Regions do not overlap.
     */
    void add_memory(uint64_t vaddr, uint64_t size, bool writable);

    /* All return 0 or a negative errno. */
    int map(uint64_t iova, uint64_t size, uint64_t vaddr, bool readonly);

    /* *@unmapped is set as the kernel does: to 0 if the call fails. */
    int unmap(uint64_t iova, uint64_t size, uint64_t *unmapped = nullptr);

    /*
     * Let the @nth map or unmap call from now on (1 is the next) fail with
     * the positive errno @error, whatever it asks for, and change nothing.
     * Replaces a failure that is still to come; @nth 0 takes it back.
     */
    void fail_map(uint64_t nth, int error) { map_failure_ = {nth, error}; }
    void fail_unmap(uint64_t nth, int error) { unmap_failure_ = {nth, error}; }

    IommuKind kind() const { return kind_; }

    /* Mappings by their IOVA. */
    const Mappings &mappings() const { return mappings_; }

    /* The mapping that @iova is in, or null. */
    const IommuMapping *find(uint64_t iova) const;

    /* VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL; nothing for iommufd. */
    std::optional<uint32_t> entries_left() const;

    /* Calls, whatever became of them. */
    uint64_t map_calls() const { return map_calls_; }
    uint64_t unmap_calls() const { return unmap_calls_; }

    uint64_t mapped_bytes() const { return mapped_bytes_; }

    /* All that was ever mapped, so pinned: again each time. */
    uint64_t bytes_ever_mapped() const { return bytes_ever_mapped_; }

    /* What decided about the last call. */
    IommuRule last_rule() const { return last_rule_; }

private:
    struct Failure {
        uint64_t countdown = 0;
        int error = 0;

        bool due() { return countdown > 0 && --countdown == 0; }
    };

    struct Memory {
        uint64_t size;
        bool writable;
    };

    /* What comes of a call: an error, or 0, and why */
    struct Verdict {
        int error;
        IommuRule rule;
    };

    Verdict judge_map_type1(uint64_t iova, uint64_t size, uint64_t vaddr,
                            bool readonly) const;
    Verdict judge_map_iommufd(uint64_t iova, uint64_t size, uint64_t vaddr,
                              bool readonly) const;
    Verdict unmap_type1(uint64_t iova, uint64_t size, uint64_t &unmapped);
    Verdict unmap_iommufd(uint64_t iova, uint64_t size, uint64_t &unmapped);

    bool allowed(uint64_t iova, uint64_t last) const;
    bool is_memory(uint64_t vaddr, uint64_t size, bool readonly) const;
    Mappings::const_iterator first_ending_from(uint64_t iova) const;
    bool overlaps(uint64_t iova, uint64_t last) const;
    Mappings::const_iterator remove(Mappings::const_iterator it,
                                    uint64_t &unmapped);
    int conclude(Verdict verdict);

    IommuKind kind_;
    uint32_t entry_limit_;
    std::vector<IovaRange> allowed_;
    std::map<uint64_t, Memory> memory_;
    Mappings mappings_;
    Failure map_failure_;
    Failure unmap_failure_;
    uint64_t map_calls_ = 0;
    uint64_t unmap_calls_ = 0;
    uint64_t mapped_bytes_ = 0;
    uint64_t bytes_ever_mapped_ = 0;
    IommuRule last_rule_ = IommuRule::kMapped;
};

} /* namespace shared_dma */

#endif /* TESTS_MODEL_IOMMU_MODEL_H */
