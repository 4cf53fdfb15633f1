/*
 * Executes a test program
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_INTERPRETER_H
#define TESTS_NESTED_INTERPRETER_H

#include <stddef.h>

#include "program-format.h"

/*
 * Executes @records from the one with index @start on, reports to the runner,
 * and returns at the end of the program. @has_device tells if there is an
 * edu device, which is then initialized.
 */
void run_program(const ProgramRecord *records, size_t start, bool has_device);

#endif
