/*
 * A container's IOMMU, with exactly the rules of Linux 6.12 or 7.3
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Models the results of VFIO's two backends without the kernel, for tests that
 * need very many mappings or failures on demand.  tests/nested/iommu-replay
 * compares the model with the kernel, call by call.
 *
 * Both backends map any number of pages, and unmap only whole mappings. Without
 * huge IOPTEs, iommufd also cuts mappings: VFIO_IOMMU_UNMAP_DMA on its file
 * makes the range's borders borders of mappings, then unmaps the range.  The
 * first of these rules that a call breaks determines its result, with Linux
 * 6.12:
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
 *     bisects a mapping      EINVAL, changes         ENOENT, unmaps mappings
 *                            nothing                 below that one (3)
 *     range ends at 2^64     unmaps nothing (2)      like other ranges
 *     no mapping in range    unmaps nothing          ENOENT
 *     holes                  skipped                 skipped
 *
 * (1) Also if the last byte is at 2^64-1, which type1 accepts.
 * (2) If a range ends at 2^64, type1 computes its end as 0.  It overlaps
 *     nothing, but no IOMMU supports the address; unmapping the range finds
 *     nothing and succeeds.
 * (3) The kernel does not report how much it has unmapped.
 *
 * Cutting has the rules of unmapping with iommufd, with these differences:
 * neither 2^64-1 nor "0 and size 2^64-1" is special; no mapping is bisected; if
 * there is none, it succeeds; and a border in the middle of a mapped page is
 * refused first: EINVAL.  Even if it fails, mappings can be cut already, but
 * all that was mapped still is.
 *
 * Linux 7.3 differs:
 * - With type1, a range that wraps is EOVERFLOW.  Mapping checks this before
 *   the alignment.
 * - With type1, a range that ends at 2^64 is like other ranges.
 * - With iommufd, mapping checks whether vaddr wraps before it compares the
 *   size with 2^64-1-4096.
 *
 * A mapping that fails changes nothing.  Errors that depend on the host (lack
 * of memory, RLIMIT_MEMLOCK) only occur on request.
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
    kIommufd,
    /* iommufd without huge IOPTEs, which can cut mappings */
    kIommufdCut
};

/* The version of Linux whose rules apply */
enum class IommuVersion {
    kLinux6_12,
    kLinux7_3
};

/* The rule that determined the result of a call: a line of the tables above */
enum class IommuRule {
    kMapped,
    kUnmapped,        /* at least one mapping */
    kUnmappedParts,   /* at least one mapping was cut */
    kUnmappedNothing, /* and succeeded */
    kUnmappedToTop,   /* note (2) */
    kUnmappedAll,     /* by the special case of iommufd, even nothing */
    kZeroSize,
    kNotANumber, /* iova or size 2^64-1 */
    kTooLarge,
    kUnaligned,
    kUnalignedVaddr, /* if that is a separate rule */
    kIovaWraps,
    kVaddrWraps,
    kReserved,
    kOverlap,
    kNoEntryLeft,
    kNotMemory,
    kBisected,
    kBisectedLate, /* after others were unmapped, note (3) */
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

/* IOVAs that an x86 host allows: 48 bits without the interrupt controllers */
std::vector<IovaRange> x86_iova_ranges();

class IommuModel {
public:
    using Mappings = std::map<uint64_t, IommuMapping>;

    /* Default of vfio_iommu_type1.dma_entry_limit */
    static constexpr uint32_t kDefaultEntryLimit = 65535;
    static constexpr uint64_t kPageSize = 4096;

    /*
     * @entry_limit applies to type1v2; iommufd has no limit.  @allowed are the
     * IOVA ranges that devices can use: ascending, with gaps in between, and
     * not up to the end of the 64-bit space.
     */
    explicit IommuModel(IommuKind kind,
                        uint32_t entry_limit = kDefaultEntryLimit,
                        std::vector<IovaRange> allowed = x86_iova_ranges(),
                        IommuVersion version = IommuVersion::kLinux6_12);

    /*
     * Add a region of memory, which must not overlap others.  Before the first
     * call, every virtual address is memory.
     */
    void add_memory(uint64_t vaddr, uint64_t size, bool writable);

    /* The calls return 0 or a negative errno. */
    int map(uint64_t iova, uint64_t size, uint64_t vaddr, bool readonly);

    /* *@unmapped is set to the unmapped bytes, 0 if the call fails. */
    int unmap(uint64_t iova, uint64_t size, uint64_t *unmapped = nullptr);

    /* Cut and unmap; only iommufd without huge IOPTEs can. */
    int cut(uint64_t iova, uint64_t size, uint64_t *unmapped = nullptr);

    /*
     * Let the @nth step of a cut from now on (1 is the next) fail with the
     * positive errno @error: a cut divides up to two mappings, and unmaps.
     */
    void fail_cut(uint64_t nth, int error) { cut_failure_ = {nth, error}; }

    /*
     * Let the @nth map or unmap call from now on (1 is the next) fail with
     * the positive errno @error, regardless of its arguments, and change
     * nothing.  Replaces a pending failure; @nth 0 cancels it.
     */
    void fail_map(uint64_t nth, int error) { map_failure_ = {nth, error}; }
    void fail_unmap(uint64_t nth, int error) { unmap_failure_ = {nth, error}; }

    IommuKind kind() const { return kind_; }
    IommuVersion version() const { return version_; }

    /* Return all mappings by their IOVA. */
    const Mappings &mappings() const { return mappings_; }

    /* Return the mapping that contains @iova, or null. */
    const IommuMapping *find(uint64_t iova) const;

    /* VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, or nullopt for iommufd */
    std::optional<uint32_t> entries_left() const;

    /* Number of calls, including those that failed */
    uint64_t map_calls() const { return map_calls_; }
    uint64_t unmap_calls() const { return unmap_calls_; } /* and cuts */

    uint64_t mapped_bytes() const { return mapped_bytes_; }

    /* Total size of all successful mappings, each of which pinned memory */
    uint64_t bytes_ever_mapped() const { return bytes_ever_mapped_; }

    /* The rule that determined the result of the last call */
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

    /* Result of a call, 0 or an error, and the rule that determined it */
    struct Verdict {
        int error;
        IommuRule rule;
    };

    int wrap_error_type1() const;
    Verdict judge_map_type1(uint64_t iova, uint64_t size, uint64_t vaddr,
                            bool readonly) const;
    Verdict judge_map_iommufd(uint64_t iova, uint64_t size, uint64_t vaddr,
                              bool readonly) const;
    Verdict unmap_type1(uint64_t iova, uint64_t size, uint64_t &unmapped);
    Verdict unmap_iommufd(uint64_t iova, uint64_t size, uint64_t &unmapped);
    Verdict unmap_ioas(uint64_t iova, uint64_t size, uint64_t &unmapped);
    Verdict cut_iommufd(uint64_t iova, uint64_t size, uint64_t &unmapped);
    Verdict divide_at(uint64_t iova);

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
    IommuVersion version_;
    std::map<uint64_t, Memory> memory_;
    Mappings mappings_;
    Failure map_failure_;
    Failure unmap_failure_;
    Failure cut_failure_;
    uint64_t map_calls_ = 0;
    uint64_t unmap_calls_ = 0;
    uint64_t mapped_bytes_ = 0;
    uint64_t bytes_ever_mapped_ = 0;
    IommuRule last_rule_ = IommuRule::kMapped;
};

} /* namespace shared_dma */

#endif /* TESTS_MODEL_IOMMU_MODEL_H */
