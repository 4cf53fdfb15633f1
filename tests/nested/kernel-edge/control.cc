/*
 * Fault injection: selects and counts the calls that fail
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "control.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

pthread_once_t opened = PTHREAD_ONCE_INIT;
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
EdgeControl *control;

/* Maps the control file. If there is none, no call fails. */
void open_control()
{
    const char *path = getenv("KERNEL_EDGE_CONTROL");
    const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0) {
        return;
    }

    void *memory = mmap(nullptr, sizeof(EdgeControl), PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);

    if (memory != MAP_FAILED) {
        control = static_cast<EdgeControl *>(memory);
    }
    close(fd);
}

volatile EdgeControl *locked_control()
{
    pthread_once(&opened, open_control);
    pthread_mutex_lock(&lock);
    return control;
}

/* Counts a call. Returns whether it must fail. */
bool must_fail(volatile EdgeControl *c, EdgeKind kind)
{
    if (c->mode == EDGE_OFF || !(c->kinds & 1u << kind)) {
        return false;
    }
    c->calls = c->calls + 1;
    if (c->calls == c->nth) {
        c->hit_kind = kind;
        return true;
    }
    return c->mode == EDGE_STICKY && c->hits && c->hit_kind == kind;
}

} // namespace

uint32_t edge_error(EdgeKind kind)
{
    volatile EdgeControl *c = locked_control();
    uint32_t error = 0;

    if (c) {
        volatile uint32_t *counts = &c->count_attributes;
        volatile uint32_t *errors = &c->error_attributes;

        counts[kind] = counts[kind] + 1;
        if (must_fail(c, kind)) {
            c->hits = c->hits + 1;
            error = errors[kind];
        }
    }
    pthread_mutex_unlock(&lock);
    return error;
}

bool edge_is_strict()
{
    volatile EdgeControl *c = locked_control();
    const bool strict = c && c->strict;

    pthread_mutex_unlock(&lock);
    return strict;
}

bool edge_traces_maps()
{
    volatile EdgeControl *c = locked_control();
    const bool traces = c && c->trace_maps;

    pthread_mutex_unlock(&lock);
    return traces;
}

bool edge_is_implicit()
{
    volatile EdgeControl *c = locked_control();
    const bool implicit = c && c->implicit;

    if (implicit) {
        c->faults = c->faults + 1;
    }
    pthread_mutex_unlock(&lock);
    return implicit;
}
