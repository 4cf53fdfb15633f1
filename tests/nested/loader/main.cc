/*
 * Boot loader for Linux in a q35 machine, also with private memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU starts it instead of a BIOS and provides the kernel (-kernel, -initrd,
 * -append) and the ACPI tables. Linux assigns the resources of PCI devices. The
 * loader prints a line for each step on the serial port, or why it stops.
 */

#include "acpi-tables.h"
#include "fw-cfg-dma.h"
#include "fw-cfg.h"
#include "interrupts.h"
#include "linux-image.h"
#include "memory-map.h"
#include "message.h"
#include "private-memory.h"
#include "q35.h"

namespace {

constinit MemoryMap map;

void make_ram_private()
{
    for (const E820Entry &entry : map) {
        if (entry.type == E820_RAM) {
            make_private(entry.start, entry.end());
        }
    }
    Message()
        .word(memory_is_private() ? "private" : "shared")
        .word("RAM:")
        .field("KiB", map.ram_size() >> 10);
}

uint64_t load()
{
    FwCfgDma dma;
    const uint64_t rsdp = acpi_load_tables(dma, map);

    Message().word("ACPI tables:").field_hex("root", rsdp);
    return linux_load(dma, map, rsdp);
}

} // namespace

/* Called by start.S with the result of make_own_ram_private(). */
extern "C" void loader_main(int64_t converted)
{
    serial_init();
    interrupts_init();
    private_memory_init(converted);
    q35_check();
    if (!fw_cfg_init()) {
        fail("fw_cfg does not exist, or has too many files");
    }
    map.read();
    make_ram_private();
    q35_init(map);

    const uint64_t kernel = load();

    Message().word("starting Linux");
    linux_start(kernel, map);
}
