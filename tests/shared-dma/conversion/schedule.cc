/*
 * Simulated conversions: threads and locks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/shared-dma/conversion/schedule.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace shared_dma {

namespace {

constexpr unsigned int kMaxLocks = 64;
constexpr unsigned int kMaxHeld = 16;

/* The reason for which a thread waits */
enum class Wait {
    kNothing,
    kLock,
    kSection,
    kInhibit,
    kDone
};

struct Thread {
    pthread_t pthread;
    sem_t may_run;
    Wait wait = Wait::kDone;
    const void *mutex = nullptr;
    const char *file = "";
    int line = 0;
};

struct Held {
    const void *lock;
    bool shared;
};

/* The locks that a thread holds, in the order in which it took them */
struct HeldLocks {
    std::array<Held, kMaxHeld> locks;
    unsigned int n;
};

struct Owned {
    const void *mutex;
    unsigned int thread;
};

/* Two locks were taken in this order; @guards are always held, as bits. */
struct Edge {
    bool seen = false;
    uint64_t guards = 0;
};

SpinLock lock;
bool is_baton;
std::array<Thread, kMaxThreads> threads;
unsigned int nstarted;
sem_t all_done;
ScheduleBody *current_body;
void *current_opaque;

/* Accessed by the thread with the baton */
std::vector<Owned> owned;
unsigned int nsection;
bool inhibited;
std::vector<uint8_t> choices_left;
size_t nchosen;
uint64_t chosen_state;

std::array<const void *, kMaxLocks> known;
unsigned int nknown;
std::array<std::array<Edge, kMaxLocks>, kMaxLocks> edges;
const char section_lock = 0;

thread_local int current = -1;
thread_local HeldLocks held;
thread_local unsigned int section_depth;

[[noreturn]] void fail(const char *what)
{
    std::fprintf(stderr, "%s\n", what);
    for (unsigned int i = 0; i < nstarted; i++) {
        static const char *const names[] = {"nothing", "a lock",
                                            "the ioctl section",
                                            "ioctls to end", "no more"};

        std::fprintf(stderr, "thread %u waits for %s %p at %s:%d\n", i,
                     names[static_cast<int>(threads[i].wait)], threads[i].mutex,
                     threads[i].file, threads[i].line);
    }
    std::abort();
}

/* Order of locks */

unsigned int lock_number(const void *which)
{
    for (unsigned int i = 0; i < nknown; i++) {
        if (known[i] == which) {
            return i;
        }
    }
    if (nknown == kMaxLocks) {
        fail("too many locks");
    }
    known[nknown] = which;
    return nknown++;
}

bool is_known(const void *which)
{
    const SpinGuard guard(lock);

    for (unsigned int i = 0; i < nknown; i++) {
        if (known[i] == which) {
            return true;
        }
    }
    return false;
}

/* Whether locks are taken in a cycle that leads from @from to @to. */
bool is_circle(unsigned int from, unsigned int to, uint64_t guards,
               uint64_t seen)
{
    if (from == to) {
        return true;
    }
    for (unsigned int next = 0; next < nknown; next++) {
        const Edge &edge = edges[from][next];

        if (edge.seen && !(seen >> next & 1)) {
            const uint64_t common = guards & edge.guards;

            if (common == 0 &&
                is_circle(next, to, 0, seen | UINT64_C(1) << next)) {
                return true;
            }
            if (common != 0 &&
                is_circle(next, to, common, seen | UINT64_C(1) << next)) {
                /* A cycle, but never in two threads simultaneously. */
                continue;
            }
        }
    }
    return false;
}

void record_order(const void *which, const char *file, int line)
{
    const SpinGuard guard(lock);
    const unsigned int to = lock_number(which);
    uint64_t all = 0;

    for (unsigned int i = 0; i < held.n; i++) {
        if (!held.locks[i].shared) {
            all |= UINT64_C(1) << lock_number(held.locks[i].lock);
        }
    }
    for (unsigned int i = 0; i < held.n; i++) {
        const unsigned int from = lock_number(held.locks[i].lock);
        const uint64_t guards = all & ~(UINT64_C(1) << from);
        Edge &edge = edges[from][to];
        const Edge before = edge;

        edge.guards = edge.seen ? edge.guards & guards : guards;
        edge.seen = true;
        if (before.seen && before.guards == edge.guards) {
            continue;
        }
        if (is_circle(to, from, edge.guards, UINT64_C(1) << to)) {
            std::fprintf(stderr, "%s:%d: locks are taken in two orders\n", file,
                         line);
            fail("a deadlock is possible");
        }
    }
}

void record_taken(const void *which, bool shared)
{
    if (held.n == kMaxHeld) {
        fail("too many locks are held");
    }
    held.locks[held.n++] = {which, shared};
}

void record_released(const void *which)
{
    for (unsigned int i = held.n; i-- > 0;) {
        if (held.locks[i].lock == which) {
            for (held.n--; i < held.n; i++) {
                held.locks[i] = held.locks[i + 1];
            }
            return;
        }
    }
    /* A lock that is not known was taken before recording began. */
    if (is_known(which)) {
        fail("a lock that is not held is released");
    }
}

/* The baton */

bool is_owned(const void *mutex)
{
    for (const Owned &one : owned) {
        if (one.mutex == mutex) {
            return true;
        }
    }
    return false;
}

bool can_run(const Thread &thread)
{
    switch (thread.wait) {
    case Wait::kNothing:
        return true;
    case Wait::kLock:
        return !is_owned(thread.mutex);
    case Wait::kSection:
        return !inhibited || nsection;
    case Wait::kInhibit:
        return nsection == 0;
    case Wait::kDone:
        return false;
    }
    return false;
}

unsigned int choose(unsigned int n)
{
    if (nchosen < choices_left.size()) {
        const uint8_t choice = choices_left[nchosen++];

        chosen_state = (chosen_state ^ choice) * UINT64_C(0x9e3779b97f4a7c15);
        return choice % n;
    }
    chosen_state ^= chosen_state << 13;
    chosen_state ^= chosen_state >> 7;
    chosen_state ^= chosen_state << 17;
    return static_cast<unsigned int>((chosen_state >> 33) % n);
}

/* Pass the baton to the chosen thread; the last thread ends the round. */
void give_baton()
{
    std::array<unsigned int, kMaxThreads> ready;
    unsigned int n = 0, ndone = 0;

    for (unsigned int i = 0; i < nstarted; i++) {
        if (can_run(threads[i])) {
            ready[n++] = i;
        }
        ndone += threads[i].wait == Wait::kDone;
    }
    if (n) {
        sem_post(&threads[ready[choose(n)]].may_run);
    } else if (ndone == nstarted) {
        sem_post(&all_done);
    } else {
        fail("deadlock: every thread waits");
    }
}

void wait_for(sem_t *sem)
{
    while (sem_wait(sem)) {
        /* Interrupted by a signal. */
    }
}

void take_baton()
{
    wait_for(&threads[current].may_run);
}

/* Let other threads run until the condition of this one is fulfilled. */
void pass(Wait wait, const void *mutex, const char *file, int line)
{
    Thread &self = threads[current];

    self.wait = wait;
    self.mutex = mutex;
    self.file = file;
    self.line = line;
    give_baton();
    take_baton();
    self.wait = Wait::kNothing;
}

bool has_baton()
{
    return is_baton && current >= 0;
}

void *run_thread(void *opaque)
{
    current = static_cast<int>(reinterpret_cast<uintptr_t>(opaque));
    while (true) {
        take_baton();
        current_body(static_cast<unsigned int>(current), current_opaque);
        if (held.n) {
            fail("a lock is never released");
        }
        threads[current].wait = Wait::kDone;
        if (is_baton) {
            give_baton();
        } else {
            sem_post(&all_done);
        }
    }
    return nullptr;
}

void start_threads(unsigned int n)
{
    if (nstarted == 0) {
        sem_init(&all_done, 0, 0);
    }
    for (; nstarted < n; nstarted++) {
        sem_init(&threads[nstarted].may_run, 0, 0);
        if (pthread_create(
                &threads[nstarted].pthread, nullptr, run_thread,
                reinterpret_cast<void *>(static_cast<uintptr_t>(nstarted)))) {
            fail("cannot create a thread");
        }
    }
}

} // namespace

void SpinLock::wait()
{
    sched_yield();
}

void schedule_set_baton(bool baton)
{
    is_baton = baton;
}

void schedule_forget()
{
    nknown = 0;
    edges = {};
}

void schedule_run(unsigned int nthreads, ScheduleBody *body, void *opaque,
                  const std::vector<uint8_t> &choices)
{
    start_threads(nthreads);
    current_body = body;
    current_opaque = opaque;
    choices_left = choices;
    nchosen = 0;
    chosen_state = UINT64_C(0x2545f4914f6cdd1d);
    for (unsigned int i = 0; i < nthreads; i++) {
        threads[i].wait = Wait::kNothing;
    }
    if (is_baton) {
        give_baton();
    } else {
        for (unsigned int i = 0; i < nthreads; i++) {
            sem_post(&threads[i].may_run);
        }
    }
    /* With a baton, the last thread ends the round. */
    for (unsigned int i = is_baton ? nthreads - 1 : 0; i < nthreads; i++) {
        wait_for(&all_done);
    }
}

} // namespace shared_dma

using namespace shared_dma;

void schedule_lock(void *mutex, const char *file, int line)
{
    record_order(mutex, file, line);
    if (has_baton()) {
        pass(Wait::kLock, mutex, file, line);
        owned.push_back({mutex, static_cast<unsigned int>(current)});
    }
}

void schedule_locked(void *mutex)
{
    record_taken(mutex, false);
}

void schedule_unlock(void *mutex)
{
    record_released(mutex);
    if (has_baton()) {
        std::erase_if(owned,
                      [mutex](const Owned &o) { return o.mutex == mutex; });
    }
}

bool schedule_holds(const void *mutex)
{
    for (unsigned int i = 0; i < held.n; i++) {
        if (held.locks[i].lock == mutex) {
            return true;
        }
    }
    return false;
}

bool schedule_is_baton()
{
    return is_baton;
}

void schedule_edge()
{
    if (has_baton()) {
        pass(Wait::kNothing, nullptr, "", 0);
    }
}

void schedule_section_begin()
{
    if (section_depth++ == 0) {
        record_order(&section_lock, "accel_ioctl_begin", 0);
        record_taken(&section_lock, true);
    }
    if (has_baton()) {
        pass(Wait::kSection, nullptr, "accel_ioctl_begin", 0);
        nsection++;
    }
}

void schedule_section_end()
{
    if (has_baton()) {
        nsection--;
    }
    if (--section_depth == 0) {
        record_released(&section_lock);
    }
}

void schedule_inhibit_begin()
{
    record_order(&section_lock, "accel_ioctl_inhibit_begin", 0);
    if (has_baton()) {
        inhibited = true;
        pass(Wait::kInhibit, nullptr, "accel_ioctl_inhibit_begin", 0);
    }
    record_taken(&section_lock, false);
}

void schedule_inhibit_end()
{
    inhibited = false;
    record_released(&section_lock);
}
