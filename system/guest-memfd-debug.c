/*
 * Access to guest memory by the monitor, debuggers and dumps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-shared-dma.h"
#include "monitor/monitor.h"
#include "system/guest-memfd-debug.h"
#include "system/guest-memfd-limits.h"
#include "system/guest-memfd-manager.h"
#include "system/shared-dma-compat.h"

/*
 * Shared ranges in a dump.  Each takes about 150 bytes of QEMU's memory, and a
 * guest can have as many as half its pages.
 */
#define GUEST_MEMFD_DUMP_MAX_RANGES (1 << 20)

/*
 * Whether all bytes of a range are shared.  Otherwise store the offset of the
 * first private one.  Called with the manager locked.
 */
static bool guest_memfd_all_shared(GuestMemfdManager *gmm, uint64_t offset,
                                   uint64_t size, uint64_t *private_offset)
{
    const uint64_t page_size = qemu_real_host_page_size();
    const uint64_t start = QEMU_ALIGN_DOWN(offset, page_size);
    const uint64_t end = QEMU_ALIGN_UP(offset + size, page_size);
    uint64_t run = start, run_size = end - start;

    if (!guest_memfd_next_shared(gmm, &run, &run_size) || run != start) {
        *private_offset = offset;
        return false;
    }
    *private_offset = run + run_size;
    return run + run_size == end;
}

/* Debug accesses */

static MemTxResult guest_memfd_debug_read(void *opaque, hwaddr addr,
                                          uint64_t *data, unsigned size,
                                          MemTxAttrs attrs)
{
    MemoryRegion *mr = opaque;
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);
    uint64_t private_offset;
    bool is_shared;

    guest_memfd_manager_lock_ahead(gmm);
    is_shared = guest_memfd_all_shared(gmm, addr, size, &private_offset);
    *data = is_shared ? ldn_he_p(mr->ram_block->host + addr, size) : 0;
    guest_memfd_manager_unlock(gmm);
    return is_shared ? MEMTX_OK : MEMTX_ACCESS_ERROR;
}

static MemTxResult guest_memfd_debug_write(void *opaque, hwaddr addr,
                                           uint64_t data, unsigned size,
                                           MemTxAttrs attrs)
{
    MemoryRegion *mr = opaque;
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);
    uint64_t private_offset;
    bool is_shared;

    guest_memfd_manager_lock_ahead(gmm);
    is_shared = guest_memfd_all_shared(gmm, addr, size, &private_offset);
    if (is_shared) {
        stn_he_p(mr->ram_block->host + addr, size, data);
    }
    guest_memfd_manager_unlock(gmm);
    return is_shared ? MEMTX_OK : MEMTX_ACCESS_ERROR;
}

/*
 * Other accesses get here if they cross the end of the RAM that is mapped.
 * They fail, as without these operations.
 */
static bool guest_memfd_debug_accepts(void *opaque, hwaddr addr, unsigned size,
                                      bool is_write, MemTxAttrs attrs)
{
    const uint64_t mr_size = memory_region_size(opaque);

    return attrs.debug && addr < mr_size && size <= mr_size - addr;
}

static const MemoryRegionOps guest_memfd_debug_ops = {
    .read_with_attrs = guest_memfd_debug_read,
    .write_with_attrs = guest_memfd_debug_write,
    .endianness = HOST_BIG_ENDIAN ? DEVICE_BIG_ENDIAN : DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
        .accepts = guest_memfd_debug_accepts,
    },
    .impl = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
    },
};

void guest_memfd_set_debug_ops(MemoryRegion *mr)
{
    mr->ops = &guest_memfd_debug_ops;
    mr->opaque = mr;
}

/* Reading by the monitor */

/*
 * Find the first byte in a range of guest physical addresses that is RAM and is
 * not shared, and copy what is before it to @buf, unless NULL.  Returns the
 * number of bytes before it, which is @size if there is none.
 */
static hwaddr guest_memfd_scan(hwaddr addr, hwaddr size, uint8_t *buf)
{
    const MemTxAttrs attrs = { .debug = 1 };
    const uint64_t page_size = qemu_real_host_page_size();
    hwaddr done = 0;

    RCU_READ_LOCK_GUARD();
    while (done < size) {
        hwaddr offset, len = size - done;
        MemoryRegion *mr = address_space_translate(
            &address_space_memory, addr + done, &offset, &len, false, attrs);
        GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);
        uint64_t private_offset = offset + len;
        bool is_shared = true;

        if (gmm) {
            guest_memfd_manager_lock_ahead(gmm);
            is_shared = guest_memfd_all_shared(gmm, offset, len,
                                               &private_offset);
            len = MIN(len, private_offset - offset);
            if (buf) {
                memcpy(buf + done, mr->ram_block->host + offset, len);
            }
            guest_memfd_manager_unlock(gmm);
        } else {
            /* Only RAM clips the length, and starts at the start of a page. */
            if (!memory_region_is_ram(mr)) {
                len = MIN(len, page_size - ((addr + done) & (page_size - 1)));
            }
            if (buf) {
                cpu_physical_memory_read(addr + done, buf + done, len);
            }
        }
        done += len;
        if (!is_shared) {
            break;
        }
    }
    return done;
}

bool guest_memfd_read_shared(hwaddr addr, void *buf, hwaddr size,
                             Error **errp)
{
    hwaddr done;

    if (!guest_memfd_is_required()) {
        cpu_physical_memory_read(addr, buf, size);
        return true;
    }
    done = guest_memfd_scan(addr, size, buf);
    if (done == size) {
        return true;
    }
    memset((uint8_t *)buf + done, 0, size - done);
    error_setg(errp, "guest memory at 0x%" HWADDR_PRIx " is not shared;"
               " query-guest-memfd returns what is shared", addr + done);
    return false;
}

/* Dumps */

bool guest_memfd_check_dump(bool paging, DumpGuestMemoryFormat format,
                            Error **errp)
{
    g_autoptr(GuestMemfdInfoList) list = NULL;
    uint64_t nranges = 0;

    if (!guest_memfd_is_required()) {
        return true;
    }
    if (paging || format == DUMP_GUEST_MEMORY_FORMAT_WIN_DMP) {
        error_setg(errp, "the guest's page tables and kernel are in private"
                   " memory, which cannot be read; dump the shared memory with"
                   " paging=false in another format");
        return false;
    }
    list = qmp_query_guest_memfd(NULL, NULL, NULL);
    for (GuestMemfdInfoList *it = list; it; it = it->next) {
        nranges += it->value->shared_runs;
    }
    if (nranges > GUEST_MEMFD_DUMP_MAX_RANGES) {
        error_setg(errp, "the guest shares %" PRIu64 " separate ranges of"
                   " memory, but a dump can have %d", nranges,
                   GUEST_MEMFD_DUMP_MAX_RANGES);
        return false;
    }
    return true;
}

/* Commands of the human monitor */

static bool guest_memfd_check_hmp_range(Monitor *mon, hwaddr addr, hwaddr size)
{
    const hwaddr done = guest_memfd_scan(addr, size, NULL);

    if (done < size) {
        monitor_printf(mon, "guest memory at 0x%" HWADDR_PRIx
                       " is not shared\n", addr + done);
        return false;
    }
    return true;
}

bool guest_memfd_check_hmp(Monitor *mon, const char *name,
                           const QDict *qdict)
{
    if (!guest_memfd_is_required()) {
        return true;
    }
    if (!strcmp(name, "tlb") || !strcmp(name, "mem")) {
        monitor_printf(mon, "the guest's page tables are private\n");
        return false;
    }
    if (!strcmp(name, "sum")) {
        return guest_memfd_check_hmp_range(mon,
                                           qdict_get_int(qdict, "start"),
                                           qdict_get_int(qdict, "size"));
    }
    if (!strcmp(name, "gpa2hpa")) {
        return guest_memfd_check_hmp_range(mon, qdict_get_int(qdict, "addr"),
                                           1);
    }
    return true;
}
