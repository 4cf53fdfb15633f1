/*
 * Interpreter of test programs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_INTERPRETER_H
#define TESTS_NESTED_INTERPRETER_H

#include <stddef.h>

#include "program-format.h"

/*
 * Executes @records from index @start to the end of the program, and reports
 * to the harness. @has_device: whether there is an edu device; it has been
 * initialized.
 */
void run_program(const ProgramRecord *records, size_t start, bool has_device);

#endif
