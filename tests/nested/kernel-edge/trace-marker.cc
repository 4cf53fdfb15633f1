/*
 * Writes lines to the kernel's trace
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "trace-marker.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

namespace {

pthread_once_t opened = PTHREAD_ONCE_INIT;
int marker = -1;

void open_marker()
{
    const char *path = getenv("KERNEL_EDGE_TRACE");

    if (path) {
        marker = open(path, O_WRONLY | O_CLOEXEC);
    }
}

} // namespace

void trace_edge(const char *word, uint64_t gpa, uint64_t size)
{
    const int saved_errno = errno;
    char line[80];

    pthread_once(&opened, open_marker);
    if (marker >= 0) {
        const int length =
            snprintf(line, sizeof(line), "edge %s 0x%" PRIx64 " 0x%" PRIx64,
                     word, gpa, size);

        /* A test must not pass if it misses events. */
        if (write(marker, line, length) != length) {
            abort();
        }
    }
    errno = saved_errno;
}
