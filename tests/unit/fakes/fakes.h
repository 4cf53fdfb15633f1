/*
 * Fakes of the functions of QEMU and the kernel that guest_memfd code calls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each source file in this folder replaces functions of one kind.  The test
 * must define the functions that are documented as provided by the test.
 */

#ifndef TESTS_UNIT_FAKES_FAKES_H
#define TESTS_UNIT_FAKES_FAKES_H

#include "system/guest-memfd-manager.h"
#include "system/shared-dma-compat.h"

/* memory.c: memory regions and RAM blocks */

/*
 * Initialize @block with a guest_memfd and @size bytes at @host, and create its
 * memory region and manager.
 */
MemoryRegion *fake_ram_new(RAMBlock *block, void *host, uint64_t size);

int fake_set_ram_discard_manager(MemoryRegion *mr, RamDiscardManager *rdm)
    __asm__("memory_region_set_ram_discard_manager");

/* @size bytes at guest physical address @gpa that map @mr at @offset */
typedef struct FakeWindow {
    hwaddr gpa;
    uint64_t size;
    MemoryRegion *mr;
    uint64_t offset;
} FakeWindow;

/*
 * Set @section to the intersection of a window with @size bytes at @addr.  Does
 * nothing if they do not intersect, or if @section has a lower address already.
 */
void fake_window_find(const FakeWindow *window, hwaddr addr, uint64_t size,
                      MemoryRegionSection *section);

/* backing.c: the backings of RAM blocks */

/* Free a backing.  Provided by the test; returns 0 or a negative errno. */
int fake_free(RAMBlock *block, uint64_t offset, uint64_t size,
              PageState backing);

/*
 * Free both backings, or all the memory of a block without a guest_memfd.
 * Provided by the test; returns 0 or a negative errno.
 */
int fake_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size);

/*
 * Allocate the private backing.  Provided by the test; returns 0 or a negative
 * errno.
 */
int fake_allocate(RAMBlock *block, uint64_t offset, uint64_t size);

/* kvm.c: KVM */

/*
 * Execute KVM_SET_MEMORY_ATTRIBUTES.  Provided by the test; returns 0 or a
 * negative errno.
 */
int fake_set_attributes(uint64_t gpa, uint64_t size, PageState state);

/* reports.c: error_report() and similar functions, which print nothing */

/* Return the number of reports so far. */
unsigned int fake_nreports(void);

#endif
