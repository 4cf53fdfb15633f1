/*
 * A machine whose memory is converted, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A test creates its own memory map.  All calls that a conversion makes to the
 * kernel are faked, can fail, and are recorded in the journal, with pages of
 * the guest (s, p) or of a block (f):
 *
 *   s2/3 p2/3       set the attributes of 3 pages that start at page 2 to
 *                   shared or private
 *   fs2/3a fp2/3b   free the shared backing of pages of block a, or the private
 *                   backing of pages of block b
 */

#ifndef TESTS_UNIT_KVM_CONVERT_RIG_H
#define TESTS_UNIT_KVM_CONVERT_RIG_H

#include "tests/unit/fakes/fakes.h"

#define PAGE UINT64_C(4096)
/* Pages of a piece of a conversion */
#define PIECE 16384
#define NBLOCKS 2
#define BLOCK_PAGES (4 * PIECE)

typedef struct FakeMachine {
    /* The regions of blocks a and b, which have a guest_memfd */
    MemoryRegion *regions[NBLOCKS];
    MemoryRegion *mmio;
    /* RAM without a guest_memfd */
    MemoryRegion *plain;

    /* Calls of accel_ioctl_begin() */
    unsigned int nsections;
    unsigned int nevents;
    /* The count in the last event */
    uint64_t nfailures;
    unsigned int npauses;
    /* Called, unless NULL, when attributes are set. */
    void (*on_attributes)(void);
} FakeMachine;

extern FakeMachine rig;

void start_machine(void);

/* Check that all references to regions were dropped, and free them. */
void stop_machine(void);

/* Show a window of a region in guest memory, without a memory slot. */
void add_window_bytes(hwaddr gpa, uint64_t size, MemoryRegion *mr,
                      uint64_t offset);

/* Remove all windows.  Slots, and the attributes of addresses, stay. */
void remove_windows(void);

int add_slot(uint64_t page, uint64_t npages, unsigned int block,
             uint64_t block_page);

/* Show a window of a block in guest memory, with a memory slot. */
void add_ram(uint64_t page, uint64_t npages, unsigned int block,
             uint64_t block_page);

int convert(uint64_t page, uint64_t npages, PageState to);
void share(uint64_t page, uint64_t npages);
void make_private(uint64_t page, uint64_t npages);

/* Check which pages of a block are shared, such as "2/3 7/1". */
void assert_shared(unsigned int block, const char *expected);

#endif
