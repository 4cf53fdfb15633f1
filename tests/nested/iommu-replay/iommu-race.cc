/*
 * Two containers that cut mappings of one iommufd file at the same time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each of two threads has a device with an IOAS of its own, and a model of it.
 * Both IOASes belong to the same file and have the same IOVAs, so that a cut in
 * the wrong one changes what the other thread expects.  Each thread executes
 * random maps and cuts in its IOAS and on its model, and stops at the first
 * call with different results.  At the end it compares what is mapped, page by
 * page.
 *
 * Exit status: 0 if the models and the kernel agree; 1 if they differ, or if
 * the threads did not run at the same time; 2 if the comparison could not run.
 */

#include "tests/model/iommu-model.h"
#include "tests/nested/iommu-replay/kernel-iommu.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>

#include <sched.h>
#include <sys/mman.h>

namespace shared_dma {

namespace {

constexpr uint64_t kPage = IommuModel::kPageSize;

constexpr uint64_t kArenaIova = UINT64_C(1) << 32;
constexpr uint64_t kArenaPages = 512;
constexpr uint64_t kMaxPages = 64;

/* Number of steps after which the threads wait for each other */
constexpr uint64_t kMeetEvery = 64;

/* The selected IOAS must change in at least one call out of this many. */
constexpr uint64_t kSwitchOneIn = 20;

/* Let this thread take turns with others, wherever it yields. */
void use_first_cpu()
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0) {
        die("sched_setaffinity: %s", strerror(errno));
    }
}

class Container {
public:
    Container(IommuFile *file, const char *device, const char *name,
              uint64_t seed)
        : name_(name), random_(seed),
          kernel_(KernelIommu::open_in(file, device)),
          model_(IommuKind::kIommufdCut, 0, kernel_->allowed(),
                 kernel_version())
    {
        /* The last page is a hole, which cannot be mapped. */
        char *memory = static_cast<char *>(
            mmap(nullptr, (kMaxPages + 1) * kPage, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

        if (memory == MAP_FAILED ||
            mprotect(memory + kMaxPages * kPage, kPage, PROT_NONE) < 0) {
            die("no memory: %s", strerror(errno));
        }
        memory_ = reinterpret_cast<uintptr_t>(memory);
        model_.add_memory(memory_, kMaxPages * kPage, true);
    }

    /*
     * Execute up to @steps calls, fewer if one differs or @failed is set.  The
     * threads meet at @barrier from time to time, and the second half is on the
     * first CPU, where they alternate: the CPUs of this machine may rarely run
     * at the same time.
     */
    void run(uint64_t steps, std::barrier<> &barrier, std::atomic<bool> &failed)
    {
        for (uint64_t i = 0; i < steps && !failed; i++) {
            if (i == steps / 2) {
                use_first_cpu();
            }
            if (i % kMeetEvery == 0) {
                barrier.arrive_and_wait();
            }

            const uint64_t page = below(kArenaPages);
            const uint64_t npages =
                1 + below(std::min(kMaxPages, kArenaPages - page));

            if (!(below(2) ? map(page, npages, memory_) : cut(page, npages))) {
                failed = true;
            }
        }
        barrier.arrive_and_drop();
    }

    /* Whether the same pages are mapped in the kernel and in the model */
    bool compare()
    {
        bool good = true;

        /* Mapping the hole changes nothing; the error shows what is there. */
        for (uint64_t page = 0; page < kArenaPages; page++) {
            good &= map(page, 1, memory_ + kMaxPages * kPage);
        }
        return good;
    }

    uint64_t ncuts() const { return ncuts_; }

private:
    uint64_t below(uint64_t limit) { return random_() % limit; }

    bool agree(const char *what, uint64_t page, uint64_t npages, int model_ret,
               int kernel_ret, uint64_t model_bytes = 0,
               uint64_t kernel_bytes = 0)
    {
        if (model_ret == kernel_ret && model_bytes == kernel_bytes) {
            return true;
        }
        printf("%s: %s of %" PRIu64 " pages at page %" PRIu64 ": model %d, "
               "%" PRIu64 " bytes; kernel %d, %" PRIu64 " bytes\n",
               name_, what, npages, page, model_ret, model_bytes, kernel_ret,
               kernel_bytes);
        return false;
    }

    bool map(uint64_t page, uint64_t npages, uint64_t vaddr)
    {
        const uint64_t iova = kArenaIova + page * kPage;
        const uint64_t size = npages * kPage;

        return agree("map", page, npages, model_.map(iova, size, vaddr, false),
                     kernel_->map(iova, size, vaddr, false));
    }

    bool cut(uint64_t page, uint64_t npages)
    {
        const uint64_t iova = kArenaIova + page * kPage;
        const uint64_t size = npages * kPage;
        uint64_t model_bytes = 0;
        uint64_t kernel_bytes = 0;
        const int model_ret = model_.cut(iova, size, &model_bytes);
        const int kernel_ret = kernel_->unmap(iova, size, &kernel_bytes);

        ncuts_ += model_.last_rule() == IommuRule::kUnmappedParts;
        return agree("cut", page, npages, model_ret, kernel_ret, model_bytes,
                     kernel_bytes);
    }

    const char *name_;
    std::mt19937_64 random_;
    std::unique_ptr<KernelIommu> kernel_;
    IommuModel model_;
    uint64_t memory_ = 0;
    uint64_t ncuts_ = 0;
};

constexpr char kUsage[] =
    "Usage: iommu-race DEVICE DEVICE SEED STEPS [--no-lock]\n"
    "\n"
    "Lets two threads map and cut at the same time, each with one DEVICE,\n"
    "/dev/vfio/devices/vfioN, in an IOAS of its own in the same iommufd file,\n"
    "and compares the results with those of models. SEED determines the "
    "calls,\n"
    "of which each thread makes STEPS. With --no-lock, a thread can select "
    "its\n"
    "IOAS while the other one is about to cut, so that the results differ.\n";

int race_main(int argc, char **argv)
{
    const bool no_lock = argc == 6 && !strcmp(argv[5], "--no-lock");

    if (argc == 2 && !strcmp(argv[1], "--help")) {
        fputs(kUsage, stdout);
        return 0;
    }
    if (argc != 5 && !no_lock) {
        fputs(kUsage, stderr);
        return 2;
    }

    const uint64_t seed = strtoull(argv[3], nullptr, 0);
    const uint64_t steps = strtoull(argv[4], nullptr, 0);
    IommuFile file(no_lock ? IommuFile::Locking::kNo
                           : IommuFile::Locking::kYes);
    Container first(&file, argv[1], "first", 2 * seed);
    Container second(&file, argv[2], "second", 2 * seed + 1);
    std::atomic<bool> failed = false;
    std::barrier barrier(2);
    std::thread other([&] { second.run(steps, barrier, failed); });

    first.run(steps, barrier, failed);
    other.join();

    /* Compare both, whatever the first result is. */
    const bool same_first = first.compare();
    const bool same_second = second.compare();

    printf("%" PRIu64 " steps each, %" PRIu64 " and %" PRIu64 " mappings cut, "
           "%" PRIu64 " changes of the selected IOAS\n",
           steps, first.ncuts(), second.ncuts(), file.nswitches.load());
    if (failed || !same_first || !same_second) {
        return 1;
    }
    if (file.nswitches < steps / kSwitchOneIn) {
        printf("the threads did not run at the same time\n");
        return 1;
    }
    return 0;
}

} /* namespace */

} /* namespace shared_dma */

int main(int argc, char **argv)
{
    return shared_dma::race_main(argc, argv);
}
