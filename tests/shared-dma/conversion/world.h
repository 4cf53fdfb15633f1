/*
 * The conversion path above a model of the kernel: the kernel and the guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each call is checked when it is made:
 *
 *  - what becomes private is mapped for no device, and what is mapped for a
 *    device is shared and where the listener said
 *  - a shared backing that is freed is not mapped, and is one that the guest
 *    does not see; nor does it see a private one that is freed
 *  - nothing but windows of blocks has its attributes set
 *
 * and all together when no thread runs: managers, attributes, listeners,
 * layouts and IOMMUs agree, and no backing is left that is of no use.
 *
 * Injected failures make exceptions.  A backing that could not be freed may be
 * left.  When calls go on failing, what was done cannot be undone: attributes
 * may then be wrong.  What a listener refused is not mapped.  What was
 * discarded when the kernel refused to unmap it is stuck, and mapped until it
 * is unmapped; how much that is, the layout knows to the page.
 */

#ifndef TESTS_SHARED_DMA_CONVERSION_WORLD_H
#define TESTS_SHARED_DMA_CONVERSION_WORLD_H

#include <cstdint>

#include "tests/shared-dma/conversion/edge.h"

namespace shared_dma {

void world_start(uint32_t entry_limit);
void world_stop();

/* The guest accesses a page. */
void world_touch(uint64_t gpa);

/* While no thread runs, except the one that calls. */
void world_check();

/*
 * Let the @nth call that can fail of this thread fail, with the positive errno
 * @error, and all that come after it if it goes on.  0 takes it back.
 */
void world_fail(unsigned int nth, int error, bool goes_on);

/* Refuse the next @ncalls to unmap something of a container, to anybody. */
void world_refuse_unmaps(unsigned int container, unsigned int ncalls);

} // namespace shared_dma

#endif
