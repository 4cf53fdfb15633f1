/*
 * Test of the conversion of guest memory: replaced functions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The linker redirects calls of qapi_event_emit() and g_usleep() to these.
 */

#ifndef TESTS_UNIT_KVM_CONVERT_WRAP_H
#define TESTS_UNIT_KVM_CONVERT_WRAP_H

#include "qapi/qapi-emit-events.h"

void __wrap_qapi_event_emit(QAPIEvent event, QDict *qdict);
void __wrap_g_usleep(gulong microseconds);

#endif
