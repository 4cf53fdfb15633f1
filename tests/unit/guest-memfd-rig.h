/*
 * A RAM block with a guest_memfd manager, its listeners, and its conversions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All calls that the manager makes are faked, can fail, and are recorded in a
 * journal, in order:
 *
 *   s2/3 p2/3     set the attributes of 3 pages that start at page 2 to shared
 *                 or private
 *   A+2/3 A-2/3   notify listener A to populate or discard these pages
 *   fs2/3 fp2/3   free the shared or private backing of these pages
 *   fu2/3         free both backings of these pages
 *   ap2/3         allocate the private backing of these pages
 *
 * A listener must be populated only with pages whose attribute is shared, and
 * an attribute must become private only if all listeners have discarded the
 * page: each call is checked.
 */

#ifndef TESTS_UNIT_GUEST_MEMFD_RIG_H
#define TESTS_UNIT_GUEST_MEMFD_RIG_H

#include "qapi/qapi-types-shared-dma.h"
#include "tests/unit/fakes/fakes.h"

#define NPAGES 16
#define NLISTENERS 3

/* The state of a page in the kernel and in the listeners */
typedef struct FakePage {
    bool attribute_shared;
    bool populated[NLISTENERS];
} FakePage;

typedef struct FakeBlock {
    RAMBlock block;
    MemoryRegion *mr;
    GuestMemfdManager *gmm;
    FakePage pages[NPAGES];
    /* Sets the attributes in conversions, with the FakeBlock as argument. */
    GuestMemfdSetAttributes *set_attributes;
} FakeBlock;

typedef struct FakeListener {
    RamDiscardListener listener;
    FakeBlock *fake;
    int number;
    int refused_page;
} FakeListener;

uint64_t page_size(void);

FakeBlock *fake_block_new(void);
void fake_block_free(FakeBlock *fake);

/* Set the attribute of a page in the kernel. */
void fake_page_set(FakePage *page, PageState state);

RamDiscardManagerClass *manager_class(FakeBlock *fake);

/* A section in bytes; its guest physical address is its offset plus 1 MiB. */
MemoryRegionSection make_section(FakeBlock *fake, uint64_t offset,
                                 uint64_t size);
MemoryRegionSection make_pages(FakeBlock *fake, uint64_t first,
                               uint64_t npages);

void register_section(FakeListener *fl, FakeBlock *fake, int number,
                      MemoryRegionSection section, bool double_discard);
void register_all(FakeListener *fl, FakeBlock *fake, int number);
void unregister(FakeListener *fl);

GuestMemfdConversion make_conversion(FakeBlock *fake, uint64_t first,
                                     uint64_t npages, PageState to);

/* Execute a complete conversion; returns the result of its preparation. */
int convert(FakeBlock *fake, uint64_t first, uint64_t npages,
            PageState to);

void prepare_and_abort(FakeBlock *fake, uint64_t first, uint64_t npages,
                       PageState to);
void make_shared(FakeBlock *fake, uint64_t first, uint64_t npages);
void make_private(FakeBlock *fake, uint64_t first, uint64_t npages);

GuestMemfdInfo *query(FakeBlock *fake);
GuestMemfdStats fake_stats(FakeBlock *fake);

/* Check the states of all pages: "..##............", where '#' is shared. */
void assert_states(FakeBlock *fake, const char *expected);
/* Check that the kernel and the first @nlisteners agree with the manager. */
void assert_agreement(FakeBlock *fake, int nlisteners);

#endif
