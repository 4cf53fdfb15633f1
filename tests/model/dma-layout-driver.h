/*
 * Operations on a DmaLayout between models, and failures, chosen by bytes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The bytes come from a fuzzer or, at random, from a unit test.  They are
 * records of 8 bytes:
 *
 *     operation | section of memory | stream, flag | position (2 bytes) |
 *     size (2 bytes) | failure during the operation
 */

#ifndef TESTS_MODEL_DMA_LAYOUT_DRIVER_H
#define TESTS_MODEL_DMA_LAYOUT_DRIVER_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/model/dma-layout-rig.h"
#include "tests/model/byte-input.h"

namespace shared_dma::rig {

/* Whether the kernel fails and other users take entries */
enum class Kernel {
    kReliable,
    kUnreliable
};

struct DriverSetup {
    IommuKind kind;
    uint32_t limit;
    /* Set before the first operation, unless it is DMA_LAYOUT_AUTO */
    uint64_t extent_size;
    /* Size of each section of memory in bytes */
    uint64_t section_size;
    Kernel kernel;
};

/* Counts of events, so that a test can check that they occur */
struct DriverTally {
    uint64_t steps = 0;
    uint64_t populated = 0;
    uint64_t refused = 0;
    uint64_t discarded = 0;
    uint64_t stuck = 0;
    uint64_t opened = 0;
    uint64_t not_opened = 0;
    uint64_t with_missing = 0;
    uint64_t cuts = 0;
    uint64_t splits = 0;
    uint64_t merges = 0;
    uint64_t calls = 0;
};

class DmaLayoutDriver {
public:
    static constexpr size_t kRecordSize = 8;

    DmaLayoutDriver(const DriverSetup &setup, DriverTally &tally);

    /* Carry out all operations, and finally discard everything. */
    void run(ByteInput input);

private:
    struct Section {
        uint64_t iova;
        uint64_t size;
        Memory memory;
        uint64_t stream_ends[4];

        uint64_t last() const { return iova + (size - 1); }
    };

    /* Position and size of an operation */
    struct Operands {
        Section &section;
        uint64_t &stream_end;
        uint64_t iova;
        uint64_t size;
        uint64_t number;
        bool flag;
    };

    using Operation = void (DmaLayoutDriver::*)(const Operands &);

    static const Operation kOperations[];

    void add_section(uint64_t &iova, const Memory &memory);
    void step(ByteInput &input);
    void check_step();
    void finish();
    void let_fail(uint8_t how, const Operands &operands);
    void stop_failures();

    /* Operations, and their helpers */
    void populate_range(const Operands &operands, uint64_t iova, uint64_t size);
    uint64_t free_size(uint64_t iova, uint64_t size) const;
    void discard_range(uint64_t iova, uint64_t size);
    void populate_stream(const Operands &operands);
    void populate_parts(const Operands &operands);
    void populate(const Operands &operands);
    void populate_free(const Operands &operands);
    void populate_holes(const Operands &operands);
    void discard(const Operands &operands);
    void discard_inside(const Operands &operands);
    void discard_ends(const Operands &operands);
    void discard_holes(const Operands &operands);
    void discard_sections(const Operands &operands);
    void open(const Operands &operands);
    void close(const Operands &operands);
    void take_entries(const Operands &operands);
    void release_entries(const Operands &operands);
    void set_extent_size(const Operands &operands);
    void try_invalid_range(const Operands &operands);
    void retry(const Operands &operands);

    DriverSetup setup_;
    DriverTally &tally_;
    Rig rig_;
    std::vector<Section> sections_;
    bool failing_ = false;
};

} // namespace shared_dma::rig

#endif
