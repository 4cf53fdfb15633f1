/*
 * Messages on the serial port
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_MESSAGE_H
#define TESTS_NESTED_LOADER_MESSAGE_H

#include "serial.h"

/* Line about progress, to which the caller adds words and fields */
class Message : public SerialLine {
public:
    Message() : SerialLine("loader:") {}
};

/* Line with the reason why the guest cannot start; the caller stops after it.
 */
class Failure : public SerialLine {
public:
    Failure() : SerialLine("loader: error:") {}
};

/* Prints why the guest cannot start, and stops. */
[[noreturn]] void fail(const char *why);

/* Same, for a problem with the file @name of fw_cfg */
[[noreturn]] void fail_file(const char *name, const char *why);

#endif
