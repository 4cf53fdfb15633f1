/*
 * What the runner and the test firmware agree on
 *
 * The runner compiles a program text into a ProgramHeader and that many
 * ProgramRecords, and hands them to the firmware as the fw_cfg file
 * opt/org.qemu.shared-dma/program. Everything is little endian.
 *
 * This header is the only definition: the Python side (wire.py) reads the
 * constants and the fields from here, so keep to one declaration a line,
 * "constexpr TYPE NAME = NUMBER;", "NAME = NUMBER," or "TYPE name;".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_PROGRAM_FORMAT_H
#define TESTS_NESTED_PROGRAM_FORMAT_H

#include <stdint.h>

constexpr uint32_t PROGRAM_MAGIC = 0x6d656d67;
constexpr uint32_t PROGRAM_VERSION = 2;

/* The size of the ROM image, which ends at 4 GiB. */
constexpr uint64_t ROM_SIZE = 0x10000;
/* Below this the firmware keeps its own data: programs stay away. */
constexpr uint64_t FIRMWARE_RAM_END = 0x1000000;
/* Where the firmware puts the registers of the edu device. */
constexpr uint64_t EDU_BAR_BASE = 0xe0000000;
constexpr uint64_t EDU_BAR_SIZE = 0x100000;
/* Where it puts the ports and the registers of emulated virtio devices. */
constexpr uint64_t VIRTIO_BLK_PORT = 0xc000;
constexpr uint64_t VIRTIO_BLK_BAR_BASE = 0xe0200000;
constexpr uint64_t VIRTIO_NET_PORT = 0xc100;
constexpr uint64_t VIRTIO_NET_BAR_BASE = 0xe0201000;
/* There are no registers of PCI devices from here on. */
constexpr uint64_t BARS_END = 0xe0300000;

enum Opcode : uint16_t {
    /* The program has ended. */
    OP_DONE = 0,
    /* Ask the host to make @pages at @gpa shared, @chunk pages a call. */
    OP_SHARE = 1,
    /* The same, to private. */
    OP_UNSHARE = 2,
    /* Write the pattern of @seed to @size bytes at @gpa. */
    OP_FILL = 3,
    /* Compare @size bytes at @gpa with the pattern of @seed. */
    OP_VERIFY = 4,
    /* The device writes @size bytes with the DMA pattern of @seed to @gpa. */
    OP_DMA_TO = 5,
    /* The device reads @size bytes at @gpa, which hold a pattern of @seed. */
    OP_DMA_FROM = 6,
    /* The shared page at @gpa is the one the device's buffer is seen by. */
    OP_SCRATCH = 7,
    /* Set bus mastering to @size (0 or 1), by a write of @chunk bits. */
    OP_MASTER = 8,
    /* Run the block up to record @end on @size vCPUs at once. */
    OP_PARALLEL = 9,
    /* Run the block up to record @end @size times. */
    OP_REPEAT = 10,
    /* Run the block up to record @end, and say how long it took. */
    OP_MEASURE = 11,
    /* End of a block. */
    OP_END = 12,
    /* Stop until the runner has compared everything. */
    OP_SYNC = 13,
    /* Reset the machine and go on with the next record. */
    OP_RESET = 14,
    /* Show RAM below 1 MiB where ROMs are, or not, as @size is 1 or 0. */
    OP_PAM = 15,
    /* Ask the virtio-mem device for @pages at @gpa, @chunk pages a request. */
    OP_PLUG = 16,
    /* Give them back. */
    OP_UNPLUG = 17,
    /* Give back all that the virtio-mem device has, in one request. */
    OP_UNPLUG_ALL = 18,
    /*
     * Write a word to each page of the @size bytes at @gpa, and stop until the
     * runner has looked at the shared memory there.
     */
    OP_AUDIT = 19,
    /* Write @seed, of @size bytes, to memory or registers at @gpa. */
    OP_POKE = 20,
    /* What is there, @size bytes, must be @seed. */
    OP_PEEK = 21,
    /* Wait until it is. */
    OP_AWAIT = 22,
    /* Write @seed, of @size bytes, to the I/O port @gpa. */
    OP_OUT = 23,
    /* What is read from there must be @seed. */
    OP_IN = 24,
    /* Execute the records that the serial line says, see main.cc. */
    OP_SERVE = 25,
};

/* What a virtio-mem device answers, see the VIRTIO specification. */
enum VirtioMemResponse : uint16_t {
    VIRTIO_MEM_ACK = 0,
    VIRTIO_MEM_NACK = 1,
    VIRTIO_MEM_BUSY = 2,
    VIRTIO_MEM_ERROR = 3,
};

enum RecordFlag : uint16_t {
    /* OP_VERIFY, OP_DMA_FROM: zeroes in place of a pattern. */
    FLAG_ZERO = 1,
    /* OP_DMA_*: the IOMMU or the bus must not let it through. */
    FLAG_BLOCKED = 2,
    /* OP_PEEK: any value but that one. */
    FLAG_NOT = 4,
};

/*
 * A record's address is @gpa, plus @cpu_step for each vCPU below the one in a
 * parallel block, plus @loop_step for each round of the innermost repeat block
 * done.
 */
struct ProgramRecord {
    uint16_t opcode;
    uint16_t flags;
    /* Line of the program text, to report results by. */
    uint32_t line;
    /* What a hypercall (0 or a negative errno) or a request must return. */
    int64_t expect;
    uint64_t gpa;
    uint64_t cpu_step;
    uint64_t loop_step;
    /* Bytes, or a number of the operation's own. */
    uint64_t size;
    uint64_t pages;
    /* Pages a hypercall or request is for; 0 for all of them. */
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
    /* The most vCPUs a parallel block runs on. */
    uint32_t cpus;
    /* Not 0: a guest without private memory, but with a virtio-mem device. */
    uint32_t plain;
    /* The region of this device, and what can be plugged at once. */
    uint64_t vmem_base;
    uint64_t vmem_size;
    uint64_t vmem_block;
};

#endif
