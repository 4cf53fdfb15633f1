/*
 * Sections of memory that do not consist of whole pages
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "exec/cpu-common.h"
#include "vfio-sections.h"
#include "system/report-limit.h"
#include "system/tpm.h"

MemoryRegionSection *
vfio_section_whole_pages(const MemoryRegionSection *section,
                         MemoryRegionSection *pages)
{
    const hwaddr start = section->offset_within_address_space;
    const hwaddr first = REAL_HOST_PAGE_ALIGN(start);
    const Int128 end = int128_add(int128_make64(start), section->size);
    const Int128 clipped_end =
        int128_and(end, int128_exts64(qemu_real_host_page_mask()));

    *pages = *section;
    pages->offset_within_address_space = first;
    pages->offset_within_region += first - start;
    pages->size = int128_sub(clipped_end, int128_make64(first));
    return pages;
}

bool vfio_section_has_no_page(const MemoryRegionSection *section)
{
    const hwaddr start = section->offset_within_address_space;
    MemoryRegionSection pages;

    if (TPM_IS_CRB(section->mr->owner)) {
        return false;
    }
    if (QEMU_IS_ALIGNED(start - section->offset_within_region,
                        qemu_real_host_page_size())) {
        vfio_section_whole_pages(section, &pages);
        return int128_le(pages.size, int128_zero());
    }
    warn_report_limited("vfio: devices cannot access %s at 0x%" HWADDR_PRIx
                        ", which is not page-aligned", section->mr->name,
                        start);
    return true;
}
