/*
 * Running something on several vCPUs at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_SMP_H
#define TESTS_NESTED_SMP_H

/*
 * Starts the other vCPUs and waits until all @cpus run. Returns false if
 * some of them do not come. If memory is @plain, none of it has to be shared.
 */
bool smp_init(unsigned cpus, bool plain);

/*
 * Calls @job with the number of the vCPU and @opaque on vCPUs 0 to @cpus - 1,
 * which all begin at the same time, and returns when all have ended. To be
 * called on vCPU 0.
 */
void smp_run(unsigned cpus, void (*job)(unsigned cpu, void *opaque),
             void *opaque);

#endif
