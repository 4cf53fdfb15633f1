/*
 * Fakes of functions about the BQL
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A test that defines bql_lock() itself cannot use QEMU's stubs, which define
 * all functions about the BQL in one file.
 */

#include "qemu/osdep.h"
#include "tests/unit/fakes/bql.h"

bool mutex_is_bql(QemuMutex *mutex)
{
    return false;
}

void bql_update_status(bool locked)
{
}
