/*
 * Access to guest memory by the monitor, debuggers and dumps
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU cannot read private pages.  Their addresses in QEMU lead to the unused
 * shared backing, which an access would allocate.  These accesses therefore
 * fail.  Emulated devices are not affected.
 *
 * Without private memory, the functions do what QEMU does otherwise.
 */

#ifndef SYSTEM_GUEST_MEMFD_DEBUG_H
#define SYSTEM_GUEST_MEMFD_DEBUG_H

#include "qapi/qapi-types-dump.h"
#include "qobject/qdict.h"
#include "system/shared-dma-compat.h"

/**
 * guest_memfd_set_debug_ops: let debug accesses respect the states of pages
 *
 * @mr: a region whose RAM block has a guest_memfd and a manager
 *
 * Accesses with MemTxAttrs.debug are not direct in such a region, see
 * memory_access_is_direct(), and use the operations that this sets: they access
 * shared pages, and return MEMTX_ACCESS_ERROR for private ones.
 *
 * Called with the BQL held.
 */
void guest_memfd_set_debug_ops(MemoryRegion *mr);

/**
 * guest_memfd_read_shared: read guest memory that is not private
 *
 * @addr: guest physical address
 * @size: in bytes
 *
 * Like cpu_physical_memory_read(), but fails if any of the memory is private:
 * then the rest of @buf is filled with zeroes.
 *
 * Called with the BQL held.  Returns false and sets @errp on failure.
 */
bool guest_memfd_read_shared(hwaddr addr, void *buf, hwaddr size,
                             Error **errp);

/**
 * guest_memfd_check_dump: check whether the guest's memory can be dumped
 *
 * Dumps contain the shared memory only.  Called with the BQL held, when the
 * guest is stopped.  Returns false and sets @errp if the dump must be refused.
 */
bool guest_memfd_check_dump(bool paging, DumpGuestMemoryFormat format,
                            Error **errp);

/**
 * guest_memfd_check_hmp: check whether a monitor command can be executed
 *
 * @name: name of the command; of the subcommand, for "info"
 * @qdict: its arguments
 *
 * Refuses commands that would access private memory in their own ways.  Called
 * with the BQL held.  Returns false after it has printed the reason.
 */
bool guest_memfd_check_hmp(Monitor *mon, const char *name,
                           const QDict *qdict);

#endif
