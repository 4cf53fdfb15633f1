/*
 * Jobs that run on several vCPUs at once
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "smp.h"

#include "apic.h"
#include "cpu.h"
#include "interrupts.h"

extern "C" const char wake_stub[];

namespace {

constexpr uint8_t WAKE_VECTOR = 0x40;

/* Generous limit for the start of all vCPUs, even on a slow host */
constexpr uint64_t START_TSC_TICKS = 60'000'000'000;

struct Job {
    void (*function)(unsigned cpu, void *opaque);
    void *opaque;
    unsigned cpus;
};

Job job;
/* Counts the jobs, so that vCPUs notice a new one. */
unsigned job_number;
/* Number of running vCPUs, without the first one. */
unsigned cpus_running;
unsigned cpus_ready;
unsigned cpus_ended;

unsigned load(const unsigned &counter)
{
    return __atomic_load_n(&counter, __ATOMIC_ACQUIRE);
}

void increment(unsigned &counter)
{
    __atomic_add_fetch(&counter, 1, __ATOMIC_ACQ_REL);
}

void wait_for(const unsigned &counter, unsigned value)
{
    while (load(counter) < value) {
        relax();
    }
}

/* Runs on every vCPU for each job, even if the job needs fewer vCPUs. */
void take_part(unsigned cpu)
{
    if (cpu < job.cpus) {
        increment(cpus_ready);
        wait_for(cpus_ready, job.cpus);
        job.function(cpu, job.opaque);
    }
    increment(cpus_ended);
}

} // namespace

bool smp_init(unsigned cpus)
{
    interrupts_set_handler(WAKE_VECTOR, wake_stub);
    apic_enable();
    if (cpus == 1) {
        return true;
    }

    apic_start_others(IMAGE_BASE);

    const uint64_t begin = read_tsc();

    while (load(cpus_running) < cpus - 1) {
        if (read_tsc() - begin > START_TSC_TICKS) {
            return false;
        }
        relax();
    }
    return true;
}

void smp_run(unsigned cpus, void (*function)(unsigned cpu, void *opaque),
             void *opaque)
{
    job = {function, opaque, cpus};
    cpus_ready = 0;
    cpus_ended = 0;
    increment(job_number);
    if (cpus_running) {
        apic_interrupt_others(WAKE_VECTOR);
    }
    take_part(0);
    wait_for(cpus_ended, cpus_running + 1);
}

/* Called by start.S on every vCPU except the first. */
extern "C" void other_cpu_main(unsigned cpu)
{
    unsigned jobs_seen = 0;

    interrupts_load();
    apic_enable();
    increment(cpus_running);

    for (;;) {
        while (load(job_number) == jobs_seen) {
            wait_for_interrupt();
        }
        jobs_seen++;
        take_part(cpu);
    }
}

extern "C" void handle_wake()
{
    apic_end_of_interrupt();
}
