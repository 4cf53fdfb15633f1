/*
 * Input of a driver whose operations are chosen by bytes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An input is a header followed by records of one size, an operation each, so
 * that changing, adding or removing a byte leaves most other operations as they
 * were.  Every input is valid: numbers are brought into range.
 */

#ifndef TESTS_MODEL_BYTE_INPUT_H
#define TESTS_MODEL_BYTE_INPUT_H

#include <cstddef>
#include <cstdint>

namespace shared_dma {

class ByteInput {
public:
    ByteInput(const uint8_t *data, size_t size) : data_(data), left_(size) {}

    bool at_end() const { return left_ == 0; }

    /* Return the next byte; 0 after the end. */
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

} // namespace shared_dma

#endif
