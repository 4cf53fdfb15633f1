/*
 * The C++ DmaLayout and its C port side by side, compared in each step
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests of the original are compiled with "-include" of this header.  It takes
 * the place of hw/vfio/dma-layout.h, where the class is called CppDmaLayout;
 * the sources of the original are compiled with -DDmaLayout=CppDmaLayout.
 *
 * Each operation is carried out by the original first.  Its calls of the
 * backend are recorded, and those of the port, which gets the same results, are
 * compared with them.  After the first difference the port is left alone.
 */

#ifndef TESTS_SHARED_DMA_C_PORT_DMA_LAYOUT_PAIR_H
#define TESTS_SHARED_DMA_C_PORT_DMA_LAYOUT_PAIR_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

extern "C" {
#include "hw/vfio/dma-layout-c.h"
}

#define DmaLayout CppDmaLayout
#include "hw/vfio/dma-layout.h"
#undef DmaLayout

namespace shared_dma {

class DmaLayout {
public:
    static constexpr uint64_t kPage = DmaExtentMap::kPage;

    DmaLayout(const DmaLayoutBackend &backend, void *opaque);
    ~DmaLayout() { dma_layout_free(port_); }

    void use_cuts();
    bool uses_cuts() const { return cpp_.uses_cuts(); }
    int set_extent_size(uint64_t extent_size);

    int populate(uint64_t iova, uint64_t size, uint64_t vaddr,
                 DmaLayoutAccess access);
    int discard(uint64_t iova, uint64_t size);

    int open();
    void close();
    bool is_open() const { return cpp_.is_open(); }

    DmaLayoutStats stats() const { return cpp_.stats(); }
    const DmaExtentMap &extents() const { return cpp_.extents(); }
    const char *broken_invariant() const;

    DmaLayout(const DmaLayout &) = delete;
    DmaLayout &operator=(const DmaLayout &) = delete;

private:
    enum class Function {
        kMap,
        kUnmap,
        kCut,
        kEntriesLeft,
        kEvent
    };

    /* A call of the backend, and what a query would return meanwhile */
    struct Call {
        Function function;
        /* The arguments, in their order; 0 if there are fewer */
        uint64_t arguments[4];
        uint64_t nextents;
        uint64_t nmapped;

        bool operator==(const Call &) const = default;
        std::string text() const;
    };
    struct Record {
        Call call;
        uint64_t result;
    };

    static DmaLayout *from(void *opaque)
    {
        return static_cast<DmaLayout *>(opaque);
    }

    static DmaLayoutBackend cpp_backend();
    static DmaLayoutBackend port_backend();

    /* Record a call of the original, and return @result. */
    uint64_t record(Function function, uint64_t a, uint64_t b, uint64_t c,
                    uint64_t d, uint64_t result);
    /* Compare a call of the port; returns the recorded result. */
    uint64_t replay(Function function, uint64_t a, uint64_t b, uint64_t c,
                    uint64_t d);

    template <typename Cpp, typename Port> int both(Cpp cpp, Port port);
    void differ(const std::string &what);
    void compare_states();
    void compare_stats();
    void compare_extents();

    DmaLayoutBackend backend_;
    void *opaque_;
    CppDmaLayout cpp_;
    ::DmaLayout *port_;
    std::vector<Record> records_;
    size_t nreplayed_ = 0;
    uint64_t nsteps_ = 0;
    bool differs_ = false;
};

} // namespace shared_dma

#endif
