/*
 * Results in the Test Anything Protocol, on the debug console
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SVM_TAP_H
#define TESTS_SVM_TAP_H

#include <stdint.h>

/*
 * A test, which is reported when it goes out of scope. It passes if it has at
 * least one check and all checks pass.
 */
class Test {
public:
    explicit Test(const char *name, const char *aspect = nullptr);
    ~Test();
    Test(const Test &) = delete;
    Test &operator=(const Test &) = delete;

    /* Check a value, and print it if the check fails. */
    Test &equal(const char *what, uint64_t value, uint64_t expected);

private:
    const char *name_;
    const char *aspect_;
    unsigned checks_ = 0;
    unsigned failures_ = 0;
};

/* Print the test plan or an error, and reset the machine. */
[[noreturn]] void tap_done();
[[noreturn]] void tap_bail_out(const char *why, uint64_t vector, uint64_t rip);

#endif
