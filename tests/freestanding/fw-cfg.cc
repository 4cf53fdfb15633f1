/*
 * QEMU's firmware configuration device (fw_cfg), by port I/O
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fw-cfg.h"

#include "text.h"
#include "x86.h"

namespace {

constexpr uint16_t PORT_SELECTOR = 0x510;
constexpr uint16_t PORT_DATA = 0x511;
constexpr uint16_t KEY_SIGNATURE = 0x00;
constexpr uint16_t KEY_NB_CPUS = 0x05;
constexpr uint16_t KEY_FILE_DIR = 0x19;

constexpr char SIGNATURE[] = {'Q', 'E', 'M', 'U'};

/* Limit of the number of files; QEMU has 32 unless it is told otherwise. */
constexpr size_t MAX_FILES = 128;

/* Entry of the file directory; numbers are big endian. */
struct DirectoryEntry {
    uint32_t size;
    uint16_t key;
    uint16_t reserved;
    char name[56];
};

DirectoryEntry directory[MAX_FILES];
size_t files;

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

bool fw_cfg_init()
{
    uint32_t signature, expected, count;

    fw_cfg_read(KEY_SIGNATURE, &signature, sizeof(signature));
    memcpy(&expected, SIGNATURE, sizeof(expected));
    if (signature != expected) {
        return false;
    }
    select(KEY_FILE_DIR);
    read(&count, sizeof(count));
    files = __builtin_bswap32(count);
    if (files > MAX_FILES) {
        return false;
    }
    read(directory, files * sizeof(directory[0]));
    return true;
}

bool fw_cfg_find(const char *name, FwCfgItem *file)
{
    for (size_t i = 0; i < files; i++) {
        const DirectoryEntry &entry = directory[i];

        if (text_equal(entry.name, name)) {
            *file = {.key = __builtin_bswap16(entry.key),
                     .size = __builtin_bswap32(entry.size)};
            return true;
        }
    }
    return false;
}

void fw_cfg_read(uint16_t key, void *to, size_t size)
{
    select(key);
    read(to, size);
}

unsigned fw_cfg_cpus()
{
    uint16_t cpus;

    fw_cfg_read(KEY_NB_CPUS, &cpus, sizeof(cpus));
    return cpus;
}
