/*
 * Functions about the BQL that QEMU's threads call since QEMU 10.1
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_FAKES_BQL_H
#define TESTS_UNIT_FAKES_BQL_H

#include "qemu/thread.h"

bool mutex_is_bql(QemuMutex *mutex);
void bql_update_status(bool locked);

#endif
