/*
 * The tests, by subject
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_TESTS_H
#define TESTS_SVM_TESTS_H

void test_features();
void test_instructions();
void test_page_faults();
void test_event_injection();
void test_virtual_interrupts();
void test_physical_interrupts();
void test_other_fpu();

#endif
