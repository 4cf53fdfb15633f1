/*
 * A machine whose memory is converted, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qobject/qdict.h"
#include "system/accel-blocker.h"
#include "system/kvm-convert-memory.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/kvm-convert-rig.h"
#include "tests/unit/kvm-convert-wrap.h"

#define NWINDOWS 8

FakeMachine rig;

static FakeWindow windows[NWINDOWS];
static unsigned int nwindows;
static RAMBlock blocks[NBLOCKS];
static RAMBlock plain_block = { .guest_memfd = -1 };
/* Whether this thread has the BQL; vCPUs convert memory without it. */
static __thread bool has_bql;

/* Replacements of functions of QEMU */

MemoryRegionSection memory_region_find(MemoryRegion *mr, hwaddr addr,
                                       uint64_t size)
{
    MemoryRegionSection section = { };

    for (unsigned int i = 0; i < nwindows; i++) {
        fake_window_find(&windows[i], addr, size, &section);
    }
    if (section.mr) {
        memory_region_ref(section.mr);
    }
    return section;
}

static const char *block_name(const RAMBlock *block)
{
    return block == &blocks[0] ? "a" : "b";
}

int fake_free(RAMBlock *block, uint64_t offset, uint64_t size,
              PageState backing)
{
    int ret = journal_call();

    journal_add(backing == PAGE_STATE_SHARED ? "fs" : "fp", offset, size,
                block_name(block), ret);
    return ret;
}

int fake_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size)
{
    int ret = journal_call();

    journal_add("fu", offset, size, block_name(block), ret);
    return ret;
}

int fake_allocate(RAMBlock *block, uint64_t offset, uint64_t size)
{
    g_assert_not_reached();
}

int fake_set_attributes(uint64_t gpa, uint64_t size, PageState state)
{
    int ret;

    if (rig.on_attributes) {
        rig.on_attributes();
    }
    ret = journal_call();
    journal_add(state == PAGE_STATE_PRIVATE ? "p" : "s", gpa, size, "", ret);
    return ret;
}

void accel_ioctl_begin(void)
{
    qatomic_inc(&rig.nsections);
}

void accel_ioctl_end(void)
{
}

bool bql_locked(void)
{
    return has_bql;
}

void bql_lock_impl(const char *file, int line)
{
    g_assert_false(has_bql);
    has_bql = true;
}

void bql_unlock(void)
{
    g_assert_true(has_bql);
    has_bql = false;
}

void __wrap_qapi_event_emit(QAPIEvent event, QDict *qdict)
{
    g_assert_true(bql_locked());
    rig.nevents++;
    rig.nfailures = qdict_get_int(qdict_get_qdict(qdict, "data"), "failures");
}

void __wrap_g_usleep(gulong microseconds)
{
    rig.npauses++;
}

/* The machine */

void start_machine(void)
{
    for (int i = 0; i < NBLOCKS; i++) {
        rig.regions[i] = fake_ram_new(&blocks[i], NULL, BLOCK_PAGES * PAGE);
        QLIST_INSERT_HEAD_RCU(&ram_list.blocks, &blocks[i], next);
    }
    rig.mmio = MEMORY_REGION(object_new(TYPE_MEMORY_REGION));
    rig.plain = MEMORY_REGION(object_new(TYPE_MEMORY_REGION));
    rig.plain->ram_block = &plain_block;
    remove_windows();
    journal_fail_no_calls();
}

void stop_machine(void)
{
    for (int i = 0; i < NBLOCKS; i++) {
        g_assert_cmpuint(OBJECT(rig.regions[i])->ref, ==, 1);
        QLIST_REMOVE_RCU(&blocks[i], next);
        object_unref(rig.regions[i]);
    }
    g_assert_cmpuint(OBJECT(rig.mmio)->ref, ==, 1);
    g_assert_cmpuint(OBJECT(rig.plain)->ref, ==, 1);
    object_unref(rig.mmio);
    object_unref(rig.plain);
    journal_clear();
}

void add_window_bytes(hwaddr gpa, uint64_t size, MemoryRegion *mr,
                      uint64_t offset)
{
    g_assert_cmpuint(nwindows, <, NWINDOWS);
    windows[nwindows++] = (FakeWindow) {
        .gpa = gpa, .size = size, .mr = mr, .offset = offset,
    };
}

void remove_windows(void)
{
    nwindows = 0;
}

int add_slot(uint64_t page, uint64_t npages, unsigned int block,
             uint64_t block_page)
{
    return kvm_init_memory_attributes(rig.regions[block], block_page * PAGE,
                                      page * PAGE, npages * PAGE);
}

void add_ram(uint64_t page, uint64_t npages, unsigned int block,
             uint64_t block_page)
{
    add_window_bytes(page * PAGE, npages * PAGE, rig.regions[block],
                     block_page * PAGE);
    g_assert_cmpint(add_slot(page, npages, block, block_page), ==, 0);
    journal_clear();
    journal_fail_no_calls();
}

int convert(uint64_t page, uint64_t npages, PageState to)
{
    return kvm_convert_range(page * PAGE, npages * PAGE, to);
}

void share(uint64_t page, uint64_t npages)
{
    g_assert_cmpint(convert(page, npages, PAGE_STATE_SHARED), ==, 0);
}

void make_private(uint64_t page, uint64_t npages)
{
    g_assert_cmpint(convert(page, npages, PAGE_STATE_PRIVATE), ==, 0);
}

void assert_shared(unsigned int block, const char *expected)
{
    GuestMemfdManager *gmm =
        guest_memfd_manager_from_region(rig.regions[block]);
    uint64_t offset = 0, size = BLOCK_PAGES * PAGE;
    g_autoptr(GString) states = g_string_new("");

    guest_memfd_manager_lock(gmm);
    while (guest_memfd_next_shared(gmm, &offset, &size)) {
        g_string_append_printf(states, "%s%" PRIu64 "/%" PRIu64,
                               states->len ? " " : "", offset / PAGE,
                               size / PAGE);
        offset += size;
        size = BLOCK_PAGES * PAGE - offset;
    }
    guest_memfd_manager_unlock(gmm);
    g_assert_cmpstr(states->str, ==, expected);
}
