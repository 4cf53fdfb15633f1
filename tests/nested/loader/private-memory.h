/*
 * Conversion of the guest's RAM between private and shared
 *
 * After a reset, memory that the last kernel shared is still shared. The loader
 * makes all RAM private before it uses it, because the content of memory is
 * lost when it is converted. Data from the host passes through a window.
 *
 * A guest without private memory is loaded in the same way; nothing is
 * converted there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_PRIVATE_MEMORY_H
#define TESTS_NESTED_LOADER_PRIVATE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/*
 * Converts the RAM of the loader's variables and stack. Called by start.S
 * before any variable exists. Returns the result of the hypercall, which is
 * HYPERCALL_UNKNOWN if this guest cannot convert memory.
 */
extern "C" int64_t make_own_ram_private();

/* Accepts the result of make_own_ram_private(), or fails. */
void private_memory_init(int64_t result);

/* Whether the guest has private memory */
bool memory_is_private();

/* Converts the RAM from @start to @end in one request. */
void make_private(uint64_t start, uint64_t end);

/* Memory that is shared, and accessible to the host, as long as this exists */
class SharedWindow {
public:
    SharedWindow();
    ~SharedWindow();
    SharedWindow(const SharedWindow &) = delete;
    SharedWindow &operator=(const SharedWindow &) = delete;
};

#endif
