/*
 * The kernel and its initrd, loaded by the Linux/x86 boot protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "linux-image.h"

#include <asm/bootparam.h>

#include "direct-map.h"
#include "memory-layout.h"
#include "message.h"
#include "text.h"
#include "x86.h"

namespace {

/* QEMU divides the image into its real-mode part, the setup, and the rest. */
constexpr uint16_t KEY_KERNEL_SIZE = 0x08;
constexpr uint16_t KEY_INITRD_SIZE = 0x0b;
constexpr uint16_t KEY_KERNEL_DATA = 0x11;
constexpr uint16_t KEY_INITRD_DATA = 0x12;
constexpr uint16_t KEY_COMMAND_LINE_SIZE = 0x14;
constexpr uint16_t KEY_COMMAND_LINE_DATA = 0x15;
constexpr uint16_t KEY_SETUP_SIZE = 0x17;
constexpr uint16_t KEY_SETUP_DATA = 0x18;

constexpr uint32_t HEADER_MAGIC = 0x53726448;
/* First version with a flag for the 64-bit entry point */
constexpr uint16_t MIN_VERSION = 0x20c;
constexpr uint64_t ENTRY_64_OFFSET = 0x200;
constexpr uint8_t UNREGISTERED_LOADER = 0xff;

constexpr size_t HEADER_OFFSET = offsetof(boot_params, hdr);
/* Offset that the header's size, in the byte before, is relative to */
constexpr size_t HEADER_SIZE_BASE = 0x202;
constexpr size_t HEADER_MAX_END = offsetof(boot_params, edd_mbr_sig_buffer);

/* The loader's page tables map these addresses 1:1. */
constexpr uint64_t KERNEL_MAX_END = 1ull << 30;

static_assert(HEADER_OFFSET == 0x1f1 && HEADER_MAX_END == 0x290);
static_assert(offsetof(boot_params, acpi_rsdp_addr) == 0x070);
static_assert(MemoryMap::MAX_ENTRIES == E820_MAX_ENTRIES_ZEROPAGE);
static_assert(sizeof(E820Entry) == sizeof(boot_e820_entry));

/* Copies the header of the kernel to the parameters, and checks it. */
void read_header(FwCfgDma &dma, boot_params *params)
{
    const uint32_t kernel_size = dma.read_number(KEY_KERNEL_SIZE);
    const uint32_t setup_size = dma.read_number(KEY_SETUP_SIZE);
    const uint8_t *const setup = at_gpa<uint8_t>(SCRATCH_BASE);

    if (!kernel_size) {
        fail("QEMU has no kernel: start it with -kernel");
    }
    if (setup_size < HEADER_MAX_END) {
        fail("the kernel is not a Linux bzImage");
    }
    dma.read(KEY_SETUP_DATA, SCRATCH_BASE, HEADER_MAX_END);

    size_t end = HEADER_SIZE_BASE + setup[HEADER_SIZE_BASE - 1];

    end = end < HEADER_MAX_END ? end : HEADER_MAX_END;
    memset(params, 0, sizeof(*params));
    memcpy(&params->hdr, setup + HEADER_OFFSET, end - HEADER_OFFSET);

    const setup_header &header = params->hdr;

    if (header.header != HEADER_MAGIC || !(header.loadflags & LOADED_HIGH)) {
        fail("the kernel is not a Linux bzImage");
    }
    if (header.version < MIN_VERSION) {
        Failure()
            .word("the kernel is too old:")
            .field_hex("boot-protocol", header.version)
            .field_hex("needed", MIN_VERSION);
        stop();
    }
    if (!(header.xloadflags & XLF_KERNEL_64)) {
        fail("the kernel has no 64-bit entry point");
    }
    if (header.setup_data) {
        fail("a device tree (-dtb) is not supported");
    }
}

void read_command_line(FwCfgDma &dma, setup_header &header)
{
    /* All sizes include the zero at the end. */
    const uint64_t size = dma.read_number(KEY_COMMAND_LINE_SIZE);
    const uint64_t supported = header.cmdline_size + 1ull;
    const uint64_t maximum =
        supported < COMMAND_LINE_MAX_SIZE ? supported : COMMAND_LINE_MAX_SIZE;

    if (size > maximum) {
        Failure()
            .word("the kernel's command line is too long:")
            .field("size", size)
            .field("maximum", maximum);
        stop();
    }
    *at_gpa<char>(COMMAND_LINE_BASE) = '\0';
    dma.read(KEY_COMMAND_LINE_DATA, COMMAND_LINE_BASE, size);
    header.cmd_line_ptr = COMMAND_LINE_BASE;
}

void read_initrd(FwCfgDma &dma, MemoryMap &map, setup_header &header)
{
    const uint32_t size = dma.read_number(KEY_INITRD_SIZE);

    header.ramdisk_size = size;
    header.ramdisk_image = 0;
    if (!size) {
        return;
    }
    header.ramdisk_image =
        map.allocate(size, PAGE_SIZE, header.initrd_addr_max + 1ull);
    dma.read(KEY_INITRD_DATA, header.ramdisk_image, size);
    Message()
        .word("initrd:")
        .field_hex("address", header.ramdisk_image)
        .field("size", size);
}

uint64_t read_kernel(FwCfgDma &dma, const MemoryMap &map, setup_header &header)
{
    const uint32_t size = dma.read_number(KEY_KERNEL_SIZE);
    const uint64_t align = header.kernel_alignment;
    const uint64_t end =
        map.free_end() < KERNEL_MAX_END ? map.free_end() : KERNEL_MAX_END;
    uint64_t base = header.pref_address;

    if (base < KERNEL_MIN_BASE) {
        if (!header.relocatable_kernel || !align || align & (align - 1)) {
            fail("the kernel cannot be loaded above 16 MiB");
        }
        base = (KERNEL_MIN_BASE + align - 1) & ~(align - 1);
    }
    /* init_size includes the memory for decompression. */
    if (base >= end || size > end - base || header.init_size > end - base) {
        Failure()
            .word("the guest needs more RAM for the kernel:")
            .field_hex("address", base)
            .field("size", header.init_size)
            .field_hex("limit", end);
        stop();
    }
    dma.read(KEY_KERNEL_DATA, base, size);
    header.code32_start = base;
    Message().word("kernel:").field_hex("address", base).field("size", size);
    return base;
}

} // namespace

uint64_t linux_load(FwCfgDma &dma, MemoryMap &map, uint64_t rsdp)
{
    boot_params *const params = at_gpa<boot_params>(BOOT_PARAMS_BASE);

    read_header(dma, params);
    params->acpi_rsdp_addr = rsdp;
    params->hdr.type_of_loader = UNREGISTERED_LOADER;
    read_command_line(dma, params->hdr);
    read_initrd(dma, map, params->hdr);
    return read_kernel(dma, map, params->hdr);
}

void linux_start(uint64_t kernel, const MemoryMap &map)
{
    boot_params *const params = at_gpa<boot_params>(BOOT_PARAMS_BASE);

    params->e820_entries = map.end() - map.begin();
    memcpy(params->e820_table, map.begin(),
           params->e820_entries * sizeof(E820Entry));

    /* Interrupts are off, and the segment registers are as Linux needs them. */
    asm volatile("jmp *%0"
                 :
                 : "r"(kernel + ENTRY_64_OFFSET),
                   "S"((uint64_t)BOOT_PARAMS_BASE)
                 : "memory");
    __builtin_unreachable();
}
