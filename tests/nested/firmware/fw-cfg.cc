/*
 * QEMU's firmware configuration device (fw_cfg), by port I/O
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fw-cfg.h"

#include "cpu.h"
#include "text.h"

namespace {

constexpr uint16_t PORT_SELECTOR = 0x510;
constexpr uint16_t PORT_DATA = 0x511;
constexpr uint16_t KEY_NB_CPUS = 0x05;
constexpr uint16_t KEY_FILE_DIR = 0x19;

/* Entry of the file directory; numbers are big endian. */
struct DirectoryEntry {
    uint32_t size;
    uint16_t key;
    uint16_t reserved;
    char name[56];
};

void select(uint16_t key)
{
    out16(PORT_SELECTOR, key);
}

/*
 * Reads byte by byte. To emulate a string instruction, the host may have to
 * write to guest memory, which is impossible if it is private.
 */
void read(void *to, size_t size)
{
    uint8_t *byte = static_cast<uint8_t *>(to);

    while (size--) {
        *byte++ = in8(PORT_DATA);
    }
}

} // namespace

unsigned fw_cfg_cpus()
{
    uint16_t cpus;

    select(KEY_NB_CPUS);
    read(&cpus, sizeof(cpus));
    return cpus;
}

int64_t fw_cfg_read_file(const char *name, void *to, size_t size)
{
    uint32_t entries;

    select(KEY_FILE_DIR);
    read(&entries, sizeof(entries));
    entries = __builtin_bswap32(entries);

    while (entries--) {
        DirectoryEntry entry;

        read(&entry, sizeof(entry));
        if (text_equal(entry.name, name)) {
            size_t file_size = __builtin_bswap32(entry.size);

            select(__builtin_bswap16(entry.key));
            read(to, file_size < size ? file_size : size);
            return file_size;
        }
    }
    return -1;
}
