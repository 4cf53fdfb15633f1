/*
 * Messages on the serial port
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "message.h"

#include "x86.h"

void fail(const char *why)
{
    Failure().word(why);
    stop();
}

void fail_file(const char *name, const char *why)
{
    Failure().word(name).word(why);
    stop();
}
