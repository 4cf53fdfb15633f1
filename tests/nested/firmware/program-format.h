/*
 * Format of compiled programs, for the harness and the test firmware
 *
 * The harness compiles a program into a ProgramHeader, followed by its
 * ProgramRecords, and passes it to the firmware as the fw_cfg file
 * opt/org.qemu.shared-dma/program. All fields are little endian.
 *
 * The Python side (wire.py) parses the constants and fields from this header,
 * so put each declaration on one line: "constexpr TYPE NAME = NUMBER;",
 * "NAME = NUMBER," or "TYPE name;".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_PROGRAM_FORMAT_H
#define TESTS_NESTED_PROGRAM_FORMAT_H

#include <stdint.h>

constexpr uint32_t PROGRAM_MAGIC = 0x6d656d67;
constexpr uint32_t PROGRAM_VERSION = 2;

/* Size of the ROM image, which ends at 4 GiB. */
constexpr uint64_t ROM_SIZE = 0x10000;
/* End of the firmware's own memory, which programs must not use. */
constexpr uint64_t FIRMWARE_RAM_END = 0x1000000;
/*
 * A page of the firmware that it shares, in a guest with private memory, for
 * the queue of the virtio-mem device
 */
constexpr uint64_t VMEM_QUEUE_PAGE = 0xfff000;
/* Address that the firmware assigns to the registers of the edu device. */
constexpr uint64_t EDU_BAR_BASE = 0xe0000000;
constexpr uint64_t EDU_BAR_SIZE = 0x100000;
/* Ports and registers of emulated virtio devices. */
constexpr uint64_t VIRTIO_BLK_PORT = 0xc000;
constexpr uint64_t VIRTIO_BLK_BAR_BASE = 0xe0200000;
constexpr uint64_t VIRTIO_NET_PORT = 0xc100;
constexpr uint64_t VIRTIO_NET_BAR_BASE = 0xe0201000;
/* End of the registers of PCI devices. */
constexpr uint64_t BARS_END = 0xe0300000;

enum Opcode : uint16_t {
    /* End the program. */
    OP_DONE = 0,
    /* Make @pages at @gpa shared, with @chunk pages in each hypercall. */
    OP_SHARE = 1,
    /* Make them private. */
    OP_UNSHARE = 2,
    /* Write the pattern of @seed to @size bytes at @gpa. */
    OP_FILL = 3,
    /* Compare @size bytes at @gpa with the pattern of @seed. */
    OP_VERIFY = 4,
    /* Make the device write the DMA pattern of @seed to @size bytes at @gpa. */
    OP_DMA_TO = 5,
    /* Make the device read @size bytes at @gpa, with the pattern of @seed. */
    OP_DMA_FROM = 6,
    /* Use the shared page at @gpa to access the device's buffer. */
    OP_SCRATCH = 7,
    /* Set bus mastering to @size (0 or 1) by a write of @chunk bits. */
    OP_MASTER = 8,
    /* Run the block up to record @end on @size vCPUs at once. */
    OP_PARALLEL = 9,
    /* Run the block up to record @end @size times. */
    OP_REPEAT = 10,
    /* Run the block up to record @end and report how long it took. */
    OP_MEASURE = 11,
    /* End a block. */
    OP_END = 12,
    /* Wait until the harness has compared everything. */
    OP_SYNC = 13,
    /* Reset the machine and continue with the next record. */
    OP_RESET = 14,
    /* Show (@size is 1) or hide (0) RAM below 1 MiB instead of ROMs. */
    OP_PAM = 15,
    /* Plug @pages at @gpa of virtio-mem, with @chunk pages in each request. */
    OP_PLUG = 16,
    /* Unplug them. */
    OP_UNPLUG = 17,
    /* Unplug all memory of the virtio-mem device in one request. */
    OP_UNPLUG_ALL = 18,
    /*
     * Write a word to each page of the @size bytes at @gpa, and wait until the
     * harness has inspected the shared memory there.
     */
    OP_AUDIT = 19,
    /* Write the value @seed of @size bytes to memory or registers at @gpa. */
    OP_POKE = 20,
    /* Check that the @size bytes at @gpa have the value @seed. */
    OP_PEEK = 21,
    /* Wait until they have this value. */
    OP_AWAIT = 22,
    /* Write the value @seed of @size bytes to the I/O port @gpa. */
    OP_OUT = 23,
    /* Read @size bytes from the I/O port @gpa, and check for @seed. */
    OP_IN = 24,
    /* Execute records as requested on the serial line, see main.cc. */
    OP_SERVE = 25,
};

/* Responses of a virtio-mem device, see the VIRTIO specification. */
enum VirtioMemResponse : uint16_t {
    VIRTIO_MEM_ACK = 0,
    VIRTIO_MEM_NACK = 1,
    VIRTIO_MEM_BUSY = 2,
    VIRTIO_MEM_ERROR = 3,
};

enum RecordFlag : uint16_t {
    /* OP_VERIFY, OP_DMA_FROM: expect zeroes instead of a pattern. */
    FLAG_ZERO = 1,
    /* OP_DMA_*: the IOMMU or the bus must block it. */
    FLAG_BLOCKED = 2,
    /* OP_PEEK: expect any value but @seed. */
    FLAG_NOT = 4,
};

/*
 * The address of a record is @gpa, plus @cpu_step times the number of the vCPU
 * in a parallel block, plus @loop_step times the number of completed rounds of
 * the innermost repeat block.
 */
struct ProgramRecord {
    uint16_t opcode;
    uint16_t flags;
    /* Line of the program, which results refer to. */
    uint32_t line;
    /* Expected result of a hypercall (0 or -errno) or request. */
    int64_t expect;
    uint64_t gpa;
    uint64_t cpu_step;
    uint64_t loop_step;
    /* In bytes, or a parameter of the operation. */
    uint64_t size;
    uint64_t pages;
    /* Pages in each hypercall or request; 0 for all of them. */
    uint64_t chunk;
    uint64_t seed;
    /* Index of the record that ends the block. */
    uint64_t end;
};

struct ProgramHeader {
    uint32_t magic;
    uint32_t version;
    uint32_t record_size;
    uint32_t records;
    /* Number of vCPUs of the largest parallel block. */
    uint32_t cpus;
    /* If not 0, the guest has no private memory. */
    uint32_t plain;
    /* Region and block size of the virtio-mem device, 0 if there is none. */
    uint64_t vmem_base;
    uint64_t vmem_size;
    uint64_t vmem_block;
};

#endif
