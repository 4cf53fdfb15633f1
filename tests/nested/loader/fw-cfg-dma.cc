/*
 * DMA by QEMU's firmware configuration device (fw_cfg)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fw-cfg-dma.h"

#include "direct-map.h"
#include "fw-cfg.h"
#include "memory-layout.h"
#include "message.h"
#include "text.h"
#include "x86.h"

namespace {

constexpr uint16_t KEY_ID = 0x01;
constexpr uint32_t ID_DMA = 1 << 1;

/* Halves of the address of a command; writing the second one executes it. */
constexpr uint16_t PORT_DMA_HIGH = 0x514;
constexpr uint16_t PORT_DMA_LOW = 0x518;

constexpr uint32_t CONTROL_ERROR = 1 << 0;
constexpr uint32_t CONTROL_READ = 1 << 1;
constexpr uint32_t CONTROL_SKIP = 1 << 2;
constexpr uint32_t CONTROL_SELECT = 1 << 3;
constexpr uint32_t CONTROL_WRITE = 1 << 4;
constexpr unsigned CONTROL_KEY_SHIFT = 16;

/* Command; numbers are big endian. */
struct Command {
    uint32_t control;
    uint32_t length;
    uint64_t address;
};

/* The window begins with a page for the command; data follow. */
constexpr uint64_t DATA_BASE = WINDOW_BASE + PAGE_SIZE;
constexpr size_t DATA_SIZE = WINDOW_SIZE - PAGE_SIZE;

constexpr uint32_t selecting(uint16_t key)
{
    return (uint32_t)key << CONTROL_KEY_SHIFT | CONTROL_SELECT;
}

} // namespace

FwCfgDma::FwCfgDma()
{
    uint32_t id;

    fw_cfg_read(KEY_ID, &id, sizeof(id));
    if (!(id & ID_DMA)) {
        fail("fw_cfg has no DMA");
    }
}

/* Executes a command on the first @size bytes of the window's data. */
void FwCfgDma::transfer(uint32_t control, size_t size)
{
    volatile Command *command = at_gpa<volatile Command>(WINDOW_BASE);
    uint32_t state;

    command->control = __builtin_bswap32(control);
    command->length = __builtin_bswap32(size);
    command->address = __builtin_bswap64(DATA_BASE);
    asm volatile("" : : : "memory");
    out32(PORT_DMA_HIGH, 0);
    out32(PORT_DMA_LOW, __builtin_bswap32(WINDOW_BASE));
    do {
        state = __builtin_bswap32(command->control);
        relax();
    } while (state & ~CONTROL_ERROR);
    asm volatile("" : : : "memory");
    if (state) {
        Failure()
            .word("fw_cfg cannot transfer:")
            .field_hex("control", control)
            .field("size", size);
        stop();
    }
}

void FwCfgDma::read(uint16_t key, uint64_t gpa, size_t size)
{
    uint32_t control = selecting(key) | CONTROL_READ;

    while (size) {
        const size_t piece = size < DATA_SIZE ? size : DATA_SIZE;

        transfer(control, piece);
        memcpy(at_gpa<char>(gpa), at_gpa<char>(DATA_BASE), piece);
        gpa += piece;
        size -= piece;
        /* Continue after the data that have been read. */
        control = CONTROL_READ;
    }
}

uint32_t FwCfgDma::read_number(uint16_t key)
{
    transfer(selecting(key) | CONTROL_READ, sizeof(uint32_t));
    return *at_gpa<uint32_t>(DATA_BASE);
}

void FwCfgDma::write(uint16_t key, uint32_t offset, uint64_t value, size_t size)
{
    transfer(selecting(key) | CONTROL_SKIP, offset);
    memcpy(at_gpa<char>(DATA_BASE), &value, size);
    transfer(CONTROL_WRITE, size);
}
