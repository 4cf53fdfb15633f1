/*
 * Compares the model of the IOMMU with the kernel's IOMMU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Executes random maps and unmaps on the model and in the kernel, and stops at
 * the first call with different results.  At intervals it also compares what is
 * mapped, page by page, the number of entries left, and the number of pinned
 * pages.  At the end, every rule of the model must have been applied a minimum
 * number of times.
 *
 * Exit status: 0 if both agree; 1 if they differ or a rule was applied too
 * rarely; 2 if the comparison could not run.
 */

#include "tests/model/iommu-model.h"
#include "tests/nested/iommu-replay/kernel-iommu.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <optional>
#include <random>
#include <vector>

#include <sys/mman.h>

namespace shared_dma {

namespace {

constexpr uint64_t kPage = IommuModel::kPageSize;

/* Range of most calls; distance of the others from the allowed boundaries */
constexpr uint64_t kArenaIova = UINT64_C(1) << 32;
constexpr uint64_t kArenaPages = 8192;
constexpr uint64_t kEdgePages = 24;

/*
 * Memory: a hole, writable pages, read-only pages, a hole.  Its address is
 * fixed, because the calls that a seed generates depend on it.
 */
constexpr uintptr_t kMemoryAddress = UINT64_C(1) << 45;
constexpr uint64_t kHolePages = 64;
constexpr uint64_t kWritablePages = 2048;
constexpr uint64_t kReadonlyPages = 64;

/* Steps between two full comparisons; coprime to kPhaseSteps */
constexpr uint64_t kCompareEvery = 1777;

/* Each rule must apply to at least one call out of this many */
constexpr uint64_t kWantedOneIn = 500;

/* Steps with a constant proportion of maps and unmaps */
constexpr uint64_t kPhaseSteps = 400;

struct Call {
    bool is_map;
    uint64_t iova;
    uint64_t size;
    uint64_t vaddr;
    bool readonly;
};

/* A rule that must have been applied often enough */
struct Required {
    bool is_map;
    IommuRule rule;
};

constexpr Required kRequiredType1[] = {
    {true, IommuRule::kMapped},           {true, IommuRule::kZeroSize},
    {true, IommuRule::kUnaligned},        {true, IommuRule::kIovaWraps},
    {true, IommuRule::kVaddrWraps},       {true, IommuRule::kOverlap},
    {true, IommuRule::kNoEntryLeft},      {true, IommuRule::kReserved},
    {true, IommuRule::kNotMemory},        {false, IommuRule::kUnmapped},
    {false, IommuRule::kUnmappedNothing}, {false, IommuRule::kZeroSize},
    {false, IommuRule::kUnaligned},       {false, IommuRule::kIovaWraps},
    {false, IommuRule::kBisected},
};

/* In addition, with Linux 6.12 */
constexpr Required kRequiredType1Linux6 = {false, IommuRule::kUnmappedToTop};

constexpr Required kRequiredIommufd[] = {
    {true, IommuRule::kMapped},        {true, IommuRule::kZeroSize},
    {true, IommuRule::kNotANumber},    {true, IommuRule::kTooLarge},
    {true, IommuRule::kUnaligned},     {true, IommuRule::kUnalignedVaddr},
    {true, IommuRule::kIovaWraps},     {true, IommuRule::kVaddrWraps},
    {true, IommuRule::kOverlap},       {true, IommuRule::kReserved},
    {true, IommuRule::kNotMemory},     {false, IommuRule::kUnmapped},
    {false, IommuRule::kUnmappedAll},  {false, IommuRule::kZeroSize},
    {false, IommuRule::kNotANumber},   {false, IommuRule::kIovaWraps},
    {false, IommuRule::kBisected},     {false, IommuRule::kBisectedLate},
    {false, IommuRule::kNothingThere},
};

constexpr Required kRequiredCut[] = {
    {true, IommuRule::kMapped},     {true, IommuRule::kOverlap},
    {false, IommuRule::kUnmapped},  {false, IommuRule::kUnmappedParts},
    {false, IommuRule::kZeroSize},  {false, IommuRule::kIovaWraps},
    {false, IommuRule::kUnaligned}, {false, IommuRule::kUnmappedNothing},
};

const char *error_name(int ret)
{
    return ret ? strerrorname_np(-ret) : "success";
}

class Replay {
public:
    Replay(IommuKind kind, const char *device, uint64_t seed)
        : random_(seed), kernel_(KernelIommu::open(kind, device)),
          allowed_(kernel_->allowed()),
          model_(kind, kind == IommuKind::kType1v2 ? kernel_entry_limit() : 0,
                 allowed_, kernel_version())
    {
        make_memory();
        make_windows();
        pinned_before_ = kernel_pinned_pages();
    }

    bool run(uint64_t steps, bool verbose)
    {
        for (step_ = 0; step_ < steps; step_++) {
            if (step_ % kPhaseSteps == 0) {
                constexpr uint64_t kShares[] = {15, 40, 60, 85, 95};

                percent_maps_ = kShares[below(std::size(kShares))];
            }

            Call call = below(100) < percent_maps_ ? draw_map() : draw_unmap();

            if (!execute(call, verbose) ||
                (step_ % kCompareEvery == 0 && !compare_all())) {
                return false;
            }
        }
        return compare_all() && empty();
    }

    /* Print the counters.  Return whether every rule was applied enough. */
    bool report_counts(uint64_t steps)
    {
        bool good = true;
        uint64_t wanted = steps / kWantedOneIn;

        for (bool is_map : {true, false}) {
            for (int i = 0; i < kNumIommuRules; i++) {
                uint64_t count = counts_[is_map][i];

                if (count) {
                    printf("%-6s%-10s%7" PRIu64 "  %s\n",
                           is_map ? "map" : "unmap",
                           error_name(errors_[is_map][i]), count,
                           iommu_rule_name(static_cast<IommuRule>(i)));
                }
            }
        }
        printf("%" PRIu64 " pages compared, at most %" PRIu64
               " of them pinned; at most %zu mappings\n",
               pages_compared_, most_pinned_, most_mappings_);
        if (most_pinned_ == 0) {
            printf("no page was pinned in any comparison\n");
            good = false;
        }
        auto check = [&](const Required &required) {
            int i = static_cast<int>(required.rule);

            if (counts_[required.is_map][i] < wanted) {
                printf("only %" PRIu64 " times: %s: %s; expected %" PRIu64 "\n",
                       counts_[required.is_map][i],
                       required.is_map ? "map" : "unmap",
                       iommu_rule_name(required.rule), wanted);
                good = false;
            }
        };
        if (model_.kind() == IommuKind::kType1v2) {
            for (const Required &required : kRequiredType1) {
                check(required);
            }
            if (model_.version() == IommuVersion::kLinux6_12) {
                check(kRequiredType1Linux6);
            }
        } else if (model_.kind() == IommuKind::kIommufd) {
            for (const Required &required : kRequiredIommufd) {
                check(required);
            }
        } else {
            for (const Required &required : kRequiredCut) {
                check(required);
            }
        }
        return good;
    }

private:
    /* std::uniform_int_distribution would differ between libraries. */
    uint64_t below(uint64_t limit) { return random_() % limit; }

    bool one_in(uint64_t n) { return below(n) == 0; }

    void make_memory()
    {
        uint64_t pages = 2 * kHolePages + kWritablePages + kReadonlyPages;
        auto start = static_cast<char *>(mmap(
            reinterpret_cast<void *>(kMemoryAddress), pages * kPage, PROT_NONE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
            -1, 0));
        char *memory = start + kHolePages * kPage;
        uint64_t size = (kWritablePages + kReadonlyPages) * kPage;
        uint64_t writable_size = kWritablePages * kPage;

        if (start == MAP_FAILED ||
            mprotect(memory, size, PROT_READ | PROT_WRITE) < 0) {
            die("no memory: %s", strerror(errno));
        }
        /* Pins of the zero page are not counted, so write to all pages. */
        memset(memory, 0x5a, size);
        if (mprotect(memory + writable_size, size - writable_size, PROT_READ) <
            0) {
            die("memory stays writable: %s", strerror(errno));
        }
        memory_ = reinterpret_cast<uintptr_t>(memory);
        model_.add_memory(memory_, writable_size, true);
        model_.add_memory(memory_ + writable_size, size - writable_size, false);
    }

    void add_window(uint64_t middle)
    {
        uint64_t below = kEdgePages * kPage;

        windows_.push_back(
            {middle < below ? 0 : middle - below,
             middle + below < middle ? UINT64_MAX : middle + below - 1});
    }

    void make_windows()
    {
        uint64_t arena_size = kArenaPages * kPage;

        windows_.push_back({kArenaIova, kArenaIova + arena_size - 1});
        for (const IovaRange &range : allowed_) {
            add_window(range.first & ~(kPage - 1));
            add_window((range.last + 1) & ~(kPage - 1));
        }
        add_window(-kPage);
    }

    /* Generate random calls */

    uint64_t draw_iova()
    {
        const IovaRange &window =
            windows_[one_in(4) ? below(windows_.size()) : 0];

        return window.first +
               below((window.last - window.first) / kPage + 1) * kPage;
    }

    uint64_t draw_size()
    {
        switch (below(16)) {
        case 0:
        case 1:
            return (9 + below(40)) * kPage;
        case 2:
        case 3:
        case 4:
        case 5:
        case 6:
            return (2 + below(7)) * kPage;
        default:
            return one_in(24) ? 512 * kPage : kPage;
        }
    }

    uint64_t draw_vaddr(uint64_t size)
    {
        uint64_t pages = size / kPage;

        return memory_ +
               below(kWritablePages - (pages < kWritablePages ? pages : 0)) *
                   kPage;
    }

    uint64_t draw_bad_vaddr()
    {
        switch (below(6)) {
        case 0: /* may begin in the hole before the memory */
            return memory_ - below(4) * kPage;
        case 1: /* valid for reading only */
            return memory_ + (kWritablePages + below(kReadonlyPages)) * kPage;
        case 2:
            return memory_ + (kWritablePages - below(8)) * kPage;
        case 3:
            return memory_ +
                   (kWritablePages + kReadonlyPages - below(3)) * kPage;
        case 4: /* kernel address */
            return UINT64_C(1) << 63 | below(1 << 20) * kPage;
        default: /* last pages of the address space */
            return -(1 + below(8)) * kPage;
        }
    }

    /* Return a mapping of the model, or a made-up one if there is none. */
    IommuMapping draw_mapping()
    {
        const IommuModel::Mappings &mappings = model_.mappings();
        uint64_t iova = draw_iova();

        if (mappings.empty()) {
            return {iova, kPage, 0, false};
        }

        auto it = mappings.lower_bound(iova);

        return it == mappings.end() ? mappings.begin()->second : it->second;
    }

    /* Return the @n-th mapping after @mapping, or the last one. */
    IommuMapping further(const IommuMapping &mapping, uint64_t n)
    {
        auto it = model_.mappings().find(mapping.iova);

        if (it == model_.mappings().end()) {
            return mapping;
        }
        while (n-- > 0 && std::next(it) != model_.mappings().end()) {
            it++;
        }
        return it->second;
    }

    /* Make a call invalid, probably. */
    void spoil(Call &call)
    {
        do {
            switch (below(10)) {
            case 0:
                call.iova += 1 + below(kPage - 1);
                break;
            case 1:
                call.size += 1 + below(kPage - 1);
                break;
            case 2:
                call.vaddr += 1 + below(kPage - 1);
                break;
            case 3:
                call.size = 0;
                break;
            case 4: /* close to the maximum; wraps with any other vaddr */
                call.size = one_in(3) ? UINT64_MAX - below(2 * kPage)
                                      : -(below(4) * kPage);
                call.vaddr = 0;
                break;
            case 5:
                call.size = UINT64_MAX;
                break;
            case 6:
                call.iova = one_in(2) ? UINT64_MAX : -(1 + below(4)) * kPage;
                break;
            case 7: /* to the end of the address space */
                call.size = -call.iova;
                break;
            case 8:
                call.vaddr = draw_bad_vaddr();
                break;
            default: /* to the end of the virtual address space */
                call.size = -call.vaddr;
                break;
            }
        } while (one_in(4));
    }

    Call draw_map()
    {
        uint64_t size = draw_size();
        Call call = {true, draw_iova(), size, draw_vaddr(size), one_in(4)};
        IommuMapping mapping = draw_mapping();

        switch (below(20)) {
        case 0:
        case 1:
        case 2: /* directly after a mapping */
            call.iova = mapping.iova + mapping.size;
            break;
        case 3: /* directly before it */
            call.iova = mapping.iova - call.size;
            break;
        case 4: /* the same range */
            call.iova = mapping.iova;
            call.size = mapping.size;
            break;
        case 5: /* starting inside it */
            call.iova = mapping.iova + below(mapping.size / kPage) * kPage;
            break;
        case 6: /* ending with its first page */
            call.iova = mapping.iova - call.size + kPage;
            break;
        case 7: /* enclosing it */
            call.iova = mapping.iova - below(4) * kPage;
            call.size = mapping.size + (4 + below(4)) * kPage;
            break;
        case 8:
        case 9:
            call.vaddr = draw_bad_vaddr();
            break;
        default:
            break;
        }
        if (one_in(6)) {
            spoil(call);
        }
        return call;
    }

    /* Generate an unmap that leaves little or nothing; must be rare. */
    void draw_large_unmap(Call &call)
    {
        switch (below(6)) {
        case 0:
        case 1:
            call.iova = 0;
            call.size = UINT64_MAX;
            break;
        case 2:
            call.iova = 0;
            call.size = -(1 + below(3)) * kPage;
            break;
        case 3:
            call.iova = 0;
            call.size = UINT64_C(1) << 63;
            break;
        default:
            call.size = windows_[0].last + 1 - call.iova;
            break;
        }
    }

    Call draw_unmap()
    {
        Call call = {false, draw_iova(), draw_size(), 0, false};
        IommuMapping mapping = draw_mapping();
        IommuMapping other = further(mapping, 1 + below(4));
        uint64_t part = (1 + below(mapping.size / kPage)) * kPage;
        uint64_t other_part = (1 + below(other.size / kPage)) * kPage;

        switch (below(20)) {
        case 0: /* several mappings and the holes between them */
        case 1:
            call.iova = mapping.iova;
            call.size = other.last() - mapping.iova + 1;
            break;
        case 2: /* and a hole before them */
            call.iova = mapping.iova - kPage;
            call.size = other.last() - call.iova + 1;
            break;
        case 3: /* and a hole after them */
            call.iova = mapping.iova;
            call.size = other.last() - call.iova + 1 + kPage;
            break;
        case 4: /* several, but only part of the last one */
        case 5:
            call.iova = mapping.iova;
            call.size = other.last() - call.iova + 1 - (other_part - kPage);
            break;
        case 6: /* several, but only part of the first one */
            call.iova = mapping.iova + (part - kPage);
            call.size = other.last() - call.iova + 1;
            break;
        case 7: /* the first part of one */
            call.iova = mapping.iova;
            call.size = part;
            break;
        case 8: /* the last part of one */
            call.iova = mapping.iova + mapping.size - part;
            call.size = part;
            break;
        case 9: /* in the middle of one */
            call.iova = mapping.iova + part - kPage;
            call.size = kPage;
            break;
        case 10: /* nothing, or part of the next */
            call.iova = mapping.iova + mapping.size;
            break;
        case 11: /* anything */
        case 12:
            break;
        case 13: /* one, extended by unaligned amounts */
            call.iova = mapping.iova - below(kPage);
            call.size = mapping.last() - call.iova + 1 + below(kPage);
            break;
        case 14: /* part of one, and up to the end of the address space */
            call.iova = one_in(2) ? mapping.iova : mapping.iova + part - kPage;
            call.size = -call.iova;
            break;
        default:
            call.iova = mapping.iova;
            call.size = mapping.size;
            break;
        }
        /* Large unmaps are more frequent in phases with few maps. */
        if (one_in(percent_maps_ < 50 ? 25 : 400)) {
            draw_large_unmap(call);
        }
        if (one_in(8)) {
            spoil(call);
        }
        return call;
    }

    /* Execute and compare */

    void print_call(const char *what, const Call &call)
    {
        printf("step %" PRIu64 "%s: %s iova=0x%" PRIx64 " size=0x%" PRIx64,
               step_, what, call.is_map ? "map" : "unmap", call.iova,
               call.size);
        if (call.is_map) {
            printf(" vaddr=memory%+" PRId64 " (0x%" PRIx64 ")%s",
                   static_cast<int64_t>(call.vaddr - memory_), call.vaddr,
                   call.readonly ? " readonly" : "");
        }
        putchar('\n');
    }

    /* Execute a call on both. Return whether the results are equal. */
    bool execute(const Call &call, bool verbose, bool counts = true)
    {
        uint64_t model_bytes = 0;
        uint64_t kernel_bytes = 0;
        int model_ret;
        int kernel_ret;

        if (call.is_map) {
            model_ret =
                model_.map(call.iova, call.size, call.vaddr, call.readonly);
            kernel_ret =
                kernel_->map(call.iova, call.size, call.vaddr, call.readonly);
        } else {
            model_ret = model_.kind() == IommuKind::kIommufdCut
                            ? model_.cut(call.iova, call.size, &model_bytes)
                            : model_.unmap(call.iova, call.size, &model_bytes);
            kernel_ret = kernel_->unmap(call.iova, call.size, &kernel_bytes);
        }

        int rule = static_cast<int>(model_.last_rule());
        bool agree = model_ret == kernel_ret && model_bytes == kernel_bytes;

        if (counts) {
            counts_[call.is_map][rule]++;
            errors_[call.is_map][rule] = model_ret;
        }
        if (model_.mappings().size() > most_mappings_) {
            most_mappings_ = model_.mappings().size();
        }
        if (verbose || !agree) {
            print_call(agree ? "" : ": model and kernel differ", call);
            printf("  model:  %s (%s), %" PRIu64 " bytes unmapped\n"
                   "  kernel: %s, %" PRIu64 " bytes unmapped\n",
                   error_name(model_ret), iommu_rule_name(model_.last_rule()),
                   model_bytes, error_name(kernel_ret), kernel_bytes);
        }
        return agree;
    }

    bool compare_number(const char *what, uint64_t model, uint64_t kernel)
    {
        if (model != kernel) {
            printf("step %" PRIu64 ": %s: model %" PRIu64 ", kernel %" PRIu64
                   "\n",
                   step_, what, model, kernel);
        }
        return model == kernel;
    }

    bool compare_all()
    {
        uint64_t pinned = kernel_pinned_pages() - pinned_before_;

        if (!compare_number("pages pinned", model_.mapped_bytes() / kPage,
                            pinned) ||
            !compare_number("entries left", model_.entries_left().value_or(0),
                            kernel_->entries_left().value_or(0))) {
            return false;
        }
        if (pinned > most_pinned_) {
            most_pinned_ = pinned;
        }
        /*
         * Mapping a hole in the memory always fails and changes nothing.  The
         * error shows whether the IOVA is mapped.
         */
        for (const IovaRange &window : windows_) {
            for (uint64_t i = 0; i <= (window.last - window.first) / kPage;
                 i++) {
                Call probe = {true, window.first + i * kPage, kPage,
                              memory_ - kPage, true};

                if (!execute(probe, false, false)) {
                    return false;
                }
                pages_compared_++;
            }
        }
        return true;
    }

    /* Unmap all mappings one by one, to compare the size of each. */
    bool empty()
    {
        while (!model_.mappings().empty()) {
            const IommuMapping &mapping = model_.mappings().begin()->second;

            if (!execute({false, mapping.iova, mapping.size, 0, false}, false,
                         false)) {
                return false;
            }
        }
        return compare_all();
    }

    std::mt19937_64 random_;
    std::unique_ptr<KernelIommu> kernel_;
    std::vector<IovaRange> allowed_;
    IommuModel model_;
    uint64_t memory_ = 0;
    std::vector<IovaRange> windows_;
    uint64_t pinned_before_ = 0;
    uint64_t step_ = 0;
    uint64_t percent_maps_ = 0;
    uint64_t pages_compared_ = 0;
    uint64_t most_pinned_ = 0;
    size_t most_mappings_ = 0;
    uint64_t counts_[2][kNumIommuRules] = {};
    int errors_[2][kNumIommuRules] = {};
};

constexpr char kUsage[] =
    "Usage: iommu-replay BACKEND DEVICE SEED STEPS [--verbose]\n"
    "\n"
    "Executes STEPS random maps and unmaps on a model of the IOMMU and in the\n"
    "kernel, and compares the results. BACKEND is type1, with DEVICE\n"
    "/dev/vfio/GROUP, or iommufd, with DEVICE /dev/vfio/devices/vfioN, or\n"
    "iommufd-cut, which cuts mappings instead of unmapping them. SEED\n"
    "determines the calls. --verbose prints each of them.\n";

uint64_t parse_number(const char *name, const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 0);

    if (*text < '0' || *text > '9' || *end) {
        die("%s %s: not a number", name, text);
    }
    return number;
}

int replay_main(int argc, char **argv)
{
    IommuKind kind;
    bool verbose = argc == 6 && !strcmp(argv[5], "--verbose");

    if (argc == 2 && !strcmp(argv[1], "--help")) {
        fputs(kUsage, stdout);
        return 0;
    }
    if (argc != 5 && !verbose) {
        fputs(kUsage, stderr);
        return 2;
    }
    if (!strcmp(argv[1], "type1")) {
        kind = IommuKind::kType1v2;
    } else if (!strcmp(argv[1], "iommufd")) {
        kind = IommuKind::kIommufd;
    } else if (!strcmp(argv[1], "iommufd-cut")) {
        kind = IommuKind::kIommufdCut;
    } else {
        die("%s: unknown backend; use type1, iommufd or iommufd-cut", argv[1]);
    }

    uint64_t seed = parse_number("SEED", argv[3]);
    uint64_t steps = parse_number("STEPS", argv[4]);
    Replay replay(kind, argv[2], seed);

    if (!replay.run(steps, verbose)) {
        return 1;
    }
    return replay.report_counts(steps) ? 0 : 1;
}

} /* namespace */

} /* namespace shared_dma */

int main(int argc, char **argv)
{
    return shared_dma::replay_main(argc, argv);
}
