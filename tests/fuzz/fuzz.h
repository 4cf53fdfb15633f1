/*
 * What fuzz targets share: their input, and a count of what they did
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An input is a header and then records of one size, an operation each, so
 * that a byte that changes, comes or goes leaves most of the others what they
 * were.  Each input is valid: numbers are brought into their range.
 */

#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <cstddef>
#include <cstdint>

extern "C" {
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
}

namespace shared_dma {

class FuzzInput {
public:
    FuzzInput(const uint8_t *data, size_t size) : data_(data), left_(size) {}

    bool at_end() const { return left_ == 0; }

    /* After the end all is 0. */
    uint8_t byte()
    {
        if (at_end()) {
            return 0;
        }
        left_--;
        return *data_++;
    }

    uint16_t number()
    {
        const uint8_t low = byte();

        return static_cast<uint16_t>(low | byte() << 8);
    }

    template <typename T, size_t n> T choose(const T (&choices)[n])
    {
        return choices[byte() % n];
    }

private:
    const uint8_t *data_;
    size_t left_;
};

/*
 * An operation was done and its result checked.  How many there were is
 * printed at the end, as "steps N".
 */
void count_fuzz_step();

} // namespace shared_dma

#endif
