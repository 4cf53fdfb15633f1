/*
 * Jobs that run on several vCPUs at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_SMP_H
#define TESTS_NESTED_SMP_H

/*
 * Starts the other vCPUs and waits until all @cpus run. Returns false if some
 * do not start.
 */
bool smp_init(unsigned cpus);

/*
 * Calls @job with the number of the vCPU and @opaque on vCPUs 0 to @cpus - 1,
 * which all start at the same time, and returns when all have finished. Must
 * be called on vCPU 0.
 */
void smp_run(unsigned cpus, void (*job)(unsigned cpu, void *opaque),
             void *opaque);

#endif
