/*
 * Sections of memory that do not consist of whole pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An IOMMU maps pages of the host.  A guest can make a section of its RAM begin
 * and end inside pages by moving a BAR that is smaller than a page, such as the
 * 16 bytes of a watchdog's registers, into RAM.
 */

#ifndef HW_VFIO_VFIO_SECTIONS_H
#define HW_VFIO_VFIO_SECTIONS_H

#include "system/shared-dma-compat.h"

/*
 * Store in @pages the whole pages of a section, which must have at least one.
 * Listeners of RamDiscardManagers are registered for these, and found by them.
 * Returns @pages.
 */
MemoryRegionSection *
vfio_section_whole_pages(const MemoryRegionSection *section,
                         MemoryRegionSection *pages);

/*
 * Whether a section has no page that an IOMMU could map: it is too small, or
 * not aligned.  The latter is reported, at a limited rate.
 */
bool vfio_section_has_no_page(const MemoryRegionSection *section);

#endif
