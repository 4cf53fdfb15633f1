/*
 * Simulated conversions: the kernel and the guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each call is checked when it is made:
 *
 *  - memory that becomes private is not mapped for any device; memory that is
 *    mapped for a device is shared, and at the address in the notification
 *  - a backing that is freed is not visible to the guest, and, if it is the
 *    shared one, not mapped for any device
 *  - attributes are set for windows of blocks only, and become shared where the
 *    guest accesses something else
 *
 * When no thread runs, managers, attributes, listeners, layouts and IOMMUs must
 * agree, and no unused backing may be left.
 *
 * Injected failures cause exceptions.  A backing that could not be freed can
 * remain.  If calls keep failing, a conversion cannot be undone, so that
 * attributes can be wrong.  Memory that a listener has refused is not mapped.
 * Memory that the kernel refused to unmap when it was discarded is stuck: it
 * stays mapped until it is unmapped, and the layout must know exactly which
 * pages these are.
 */

#ifndef TESTS_SHARED_DMA_CONVERSION_WORLD_H
#define TESTS_SHARED_DMA_CONVERSION_WORLD_H

#include <cstdint>

#include "tests/shared-dma/conversion/edge.h"

namespace shared_dma {

void world_start(uint32_t entry_limit);
void world_stop();

/* Let the guest access a page. */
void world_touch(uint64_t gpa);

/* Check everything, while no thread runs except the caller. */
void world_check();

/*
 * Let call number @nth of this thread fail with the positive errno @error, and
 * all later calls if @goes_on.  Counts calls that can fail; 0 cancels this.
 */
void world_fail(unsigned int nth, int error, bool goes_on);

/* Let the next @ncalls unmap calls for a container fail, in any thread. */
void world_refuse_unmaps(unsigned int container, unsigned int ncalls);

} // namespace shared_dma

#endif
