/*
 * Conversions above a model of the kernel: interface between C and C++
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The code of conversions, from kvm-convert-memory.c down to VFIO's mappings,
 * is compiled as it is for QEMU.  The functions that it calls are replaced by:
 *
 *   edge.c       QEMU, in C because of QEMU's headers: memory regions, RAM
 *                blocks, containers, devices, and actions of the VM and its
 *                vCPUs; it uses the fakes in tests/unit/fakes
 *   world.cc     the kernel and the guest: memory attributes, both backings,
 *                and IOMMUs; it checks each call
 *   schedule.cc  threads and locks
 *
 * The memory map, in pages:
 *
 *   256..287   block 0
 *   288..319   block 1
 *   320..335   the lower half of block 2
 *   344..351   MMIO
 *   352..359   RAM without a guest_memfd
 *   364..379   the upper half of block 2, which can move to 240..255, or be
 *              unmapped
 *
 * A range can be in several blocks, in any order.  Block 1 belongs to a device
 * that plugs and unplugs chunks of it; all are plugged at first.
 */

#ifndef TESTS_SHARED_DMA_CONVERSION_EDGE_H
#define TESTS_SHARED_DMA_CONVERSION_EDGE_H

#ifdef __cplusplus
#include <cstddef>
#include <cstdint>
extern "C" {
#endif

#include "system/page-state.h"

#define CONV_PAGE_SHIFT  12
#define CONV_PAGE        (1ULL << CONV_PAGE_SHIFT)
#define CONV_FIRST       236
#define CONV_LAST        390
#define CONV_BLOCKS      3
#define CONV_BLOCK_PAGES 32
#define CONV_WINDOWS     4
#define CONV_CONTAINERS  2
#define CONV_DEVICES     4
/* The block with chunks, and the pages of a chunk */
#define CONV_CHUNK_BLOCK 1
#define CONV_CHUNK_PAGES 8
/* Number of places of the last window */
#define CONV_PLACES 3

/* A part of a block that the guest sees, in pages */
typedef struct ConvWindow {
    unsigned int block;
    unsigned int first;
    unsigned int npages;
    unsigned int gpa;
} ConvWindow;

/* The state of a container's layout; sizes are in bytes */
typedef struct ConvLayout {
    uint64_t populated_size;
    uint64_t mapped_size;
    uint64_t missing_size;
    uint64_t stuck_size;
    bool is_open;
} ConvLayout;

/* Get window @number at place @place.  Returns false if it is unmapped. */
bool conv_window(unsigned int number, unsigned int place, ConvWindow *window);

/* Return the host address of a block's memory. */
uintptr_t conv_block_host(unsigned int block);

/* Actions of the machine.  They return the errors of the tested functions. */
void conv_machine_start(unsigned int config);
void conv_machine_stop(void);
int conv_convert(uint64_t gpa, uint64_t size, PageState to);
void conv_convert_fault(uint64_t gpa, uint64_t size, PageState to);
/* The following take the BQL. */
void conv_toggle_listener(unsigned int container, unsigned int window);
void conv_set_master(unsigned int device, bool on);
void conv_move_window(unsigned int place);
/* Plug a chunk, or unplug it if it is plugged. */
void conv_toggle_chunk(unsigned int chunk);
void conv_reset(void);
void conv_query(unsigned int number);

/* These are called by checks, while no other thread runs. */
unsigned int conv_place(void);
bool conv_is_registered(unsigned int container, unsigned int window);
bool conv_page_is_shared(unsigned int block, unsigned int page);
bool conv_page_is_plugged(unsigned int block, unsigned int page);
ConvLayout conv_query_layout(unsigned int container);

/*
 * Whether this thread makes addresses shared that show no page, because the
 * guest accesses them.
 */
bool conv_shares_others(void);

/* The model of the kernel */
int world_set_attributes(uint64_t gpa, uint64_t size, PageState state);
int world_free(unsigned int block, uint64_t offset, uint64_t size,
               PageState backing);
int world_free_unplugged(unsigned int block, uint64_t offset, uint64_t size);
/* The guest requests to unplug a chunk, or a chunk was plugged. */
void world_set_plugged(unsigned int chunk, bool is_plugged);
int world_map(unsigned int container, uint64_t iova, uint64_t size,
              uint64_t vaddr, bool readonly);
int world_unmap(unsigned int container, uint64_t iova, uint64_t size);
unsigned int world_entries_left(unsigned int container);
/* A listener was notified, and returned @ret. */
void world_notified(unsigned int container, uint64_t iova, uint64_t size,
                    bool populated, int ret);
/* A window has moved to @place; the BQL is held. */
void world_moved(unsigned int place);

/* Threads and locks.  @file and @line identify the caller. */
void schedule_lock(void *mutex, const char *file, int line);
void schedule_locked(void *mutex);
void schedule_unlock(void *mutex);
bool schedule_holds(const void *mutex);
bool schedule_is_baton(void);
void schedule_edge(void);
void schedule_section_begin(void);
void schedule_section_end(void);
void schedule_inhibit_begin(void);
void schedule_inhibit_end(void);

#ifdef __cplusplus
}
#endif

#endif
