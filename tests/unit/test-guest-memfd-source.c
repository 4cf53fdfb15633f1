/*
 * Test of memory devices that plug parts of RAM with a guest_memfd, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>

#include "qapi/error.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "system/guest-memfd-source.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/fakes/source.h"
#include "tests/unit/guest-memfd-rig.h"

#define CHUNK 4
#define NCHUNKS (NPAGES / CHUNK)

/* The block with a source, for the attributes that the manager sets */
static FakeBlock *plugged_block;

static int set_attributes(void *opaque, uint64_t offset, uint64_t size,
                          PageState state)
{
    g_assert_true(opaque == plugged_block->gmm);
    return plugged_block->set_attributes(plugged_block, offset, size, state);
}

static FakeBlock *source_block_new(FakeSource **source)
{
    FakeBlock *fake = fake_block_new();

    plugged_block = fake;
    guest_memfd_manager_set_accel(fake->gmm, set_attributes);
    *source = fake_source_new(CHUNK * page_size());
    g_assert_true(guest_memfd_set_source(fake->mr,
                                         RAM_DISCARD_MANAGER(*source)));
    journal_assert("s0/16 fu0/16");
    return fake;
}

static void source_block_free(FakeBlock *fake, FakeSource *source)
{
    g_assert_true(guest_memfd_set_source(fake->mr, NULL));
    object_unref(source);
    fake_block_free(fake);
}

static int plug(FakeSource *source, uint64_t chunk,
                uint64_t nchunks)
{
    return fake_source_plug(source, chunk * CHUNK * page_size(),
                            nchunks * CHUNK * page_size());
}

static void unplug(FakeSource *source, uint64_t chunk,
                   uint64_t nchunks)
{
    fake_source_unplug(source, chunk * CHUNK * page_size(),
                       nchunks * CHUNK * page_size());
}

/* Unplug as virtio-mem does, which frees the memory before it notifies. */
static void unplug_range(FakeBlock *fake, FakeSource *source, uint64_t chunk,
                         uint64_t nchunks)
{
    g_assert_cmpint(guest_memfd_unplug_range(&fake->block,
                                             chunk * CHUNK * page_size(),
                                             nchunks * CHUNK * page_size()),
                    ==, 0);
    unplug(source, chunk, nchunks);
}

static void plug_well(FakeSource *source, uint64_t chunk,
                      uint64_t nchunks)
{
    g_assert_cmpint(plug(source, chunk, nchunks), ==, 0);
}

static void test_plug(void)
{
    FakeSource *source;
    FakeBlock *fake = source_block_new(&source);

    /* The manager stays that of the region. */
    g_assert_true(fake->mr->rdm == RAM_DISCARD_MANAGER(fake->gmm));
    plug_well(source, 1, 2);
    journal_assert("p4/8 fs4/8");
    make_shared(fake, 4, 8);
    assert_states(fake, "....########....");
    journal_assert("s4/8 fp4/8");
    make_private(fake, 6, 2);
    assert_states(fake, "....##..####....");
    journal_assert("p6/2 fs6/2");
    /* Memory starts private when it is plugged again. */
    unplug(source, 1, 1);
    assert_states(fake, "........####....");
    journal_assert("s6/2 fu4/4");
    plug_well(source, 1, 1);
    assert_states(fake, "........####....");
    journal_assert("p4/4 fs4/4");
    source_block_free(fake, source);
}

static void test_unplugged(void)
{
    FakeSource *source;
    FakeBlock *fake = source_block_new(&source);
    const PageState states[] = { PAGE_STATE_SHARED, PAGE_STATE_PRIVATE };
    uint64_t offset, size = 0;

    plug_well(source, 1, 1);
    journal_clear();
    for (int i = 0; i < ARRAY_SIZE(states); i++) {
        g_assert_cmpint(convert(fake, 0, 1, states[i]), ==, -EINVAL);
        g_assert_cmpint(convert(fake, 3, 2, states[i]), ==, -EINVAL);
        g_assert_cmpint(convert(fake, 7, 2, states[i]), ==, -EINVAL);
        g_assert_cmpint(convert(fake, 8, 8, states[i]), ==, -EINVAL);
        g_assert_cmpint(convert(fake, 0, NPAGES, states[i]), ==, -EINVAL);
    }
    journal_assert("");
    assert_states(fake, "................");
    make_shared(fake, 4, 4);
    assert_states(fake, "....####........");
    /* An empty range has no plugged part, even within a chunk. */
    offset = 5 * page_size();
    g_assert_false(guest_memfd_next_plugged(fake->gmm, &offset, &size));
    source_block_free(fake, source);
}

static void test_listeners(void)
{
    FakeSource *source;
    FakeBlock *fake = source_block_new(&source);
    FakeListener a, b;

    register_all(&a, fake, 0);
    plug_well(source, 0, 3);
    make_shared(fake, 1, 2);
    make_shared(fake, 5, 2);
    make_shared(fake, 10, 1);
    journal_assert("p0/12 fs0/12 s1/2 A+1/2 fp1/2 s5/2 A+5/2 fp5/2 s10/1 A+10/1"
                   " fp10/1");
    register_section(&b, fake, 1, make_pages(fake, 6, 10), false);
    journal_assert("B+6/1 B+10/1");
    /* Devices lose access before anything is freed. */
    unplug(source, 1, 1);
    journal_assert("B-6/1 A-5/2 s4/1 s7/1 fu4/4");
    unplug(source, 0, 1);
    unplug(source, 2, 1);
    assert_states(fake, "................");
    journal_assert("A-1/2 s0/1 s3/1 fu0/4"
                   " B-10/1 A-10/1 s8/2 s11/1 fu8/4");
    unplug(source, 0, NCHUNKS);
    journal_assert("");
    plug_well(source, 0, 1);
    plug_well(source, 2, 2);
    make_shared(fake, 3, 1);
    make_shared(fake, 8, 2);
    journal_clear();
    unplug_range(fake, source, 0, NCHUNKS);
    journal_assert("A-3/1 s0/3 fu0/4 B-8/2 A-8/2 s10/6 fu8/8");
    /* Nothing is left to discard. */
    unregister(&b);
    unregister(&a);
    journal_assert("");
    source_block_free(fake, source);
}

static void test_failures(void)
{
    FakeSource *source;
    FakeBlock *fake = source_block_new(&source);
    GuestMemfdStats stats;

    journal_fail_calls(1, 1, ENOMEM);
    g_assert_cmpint(plug(source, 1, 1), ==, -ENOMEM);
    journal_assert("p4/4! fu4/4");
    g_assert_cmpint(convert(fake, 4, 1, PAGE_STATE_SHARED), ==, -EINVAL);
    g_assert_cmpint(plug(source, 1, 1), ==, 0);
    make_shared(fake, 4, 2);
    journal_clear();
    stats = fake_stats(fake);

    /* Unplugging continues after failures. */
    journal_fail_calls(1, 2, ENOMEM);
    unplug(source, 1, 1);
    journal_assert("s6/2! fu4/4!");
    assert_states(fake, "................");
    g_assert_cmpuint(fake_stats(fake).failures, ==, stats.failures + 1);
    g_assert_cmpuint(fake_stats(fake).unfreed, ==, stats.unfreed + 1);
    g_assert_cmpint(convert(fake, 4, 1, PAGE_STATE_SHARED), ==, -EINVAL);
    source_block_free(fake, source);
}

/* After a source is removed, another device can use the block. */
static void test_remove(void)
{
    FakeSource *source;
    FakeBlock *fake = source_block_new(&source);

    plug_well(source, 0, 1);
    make_shared(fake, 0, 2);
    unplug(source, 0, 1);
    g_assert_true(guest_memfd_set_source(fake->mr, NULL));
    journal_clear();
    make_shared(fake, 0, NPAGES);
    journal_assert("s0/16 fp0/16");

    /* A new source starts with nothing plugged. */
    g_assert_true(guest_memfd_set_source(fake->mr,
                                         RAM_DISCARD_MANAGER(source)));
    journal_assert("fu0/16");
    assert_states(fake, "................");
    source_block_free(fake, source);
}

/* Regions without a guest_memfd, and managers themselves, are not affected. */
static void test_others(void)
{
    FakeBlock *fake = fake_block_new();
    RAMBlock plain_block = { .guest_memfd = -1 };
    MemoryRegion plain = { .ram_block = &plain_block };

    g_assert_false(guest_memfd_set_source(&plain, NULL));
    g_assert_false(guest_memfd_set_source(&plain,
                                          RAM_DISCARD_MANAGER(fake->gmm)));
    g_assert_false(guest_memfd_set_source(fake->mr, NULL));
    journal_fail_calls(2, 2, EINVAL);
    plain_block.mr = &plain;
    g_assert_cmpint(guest_memfd_unplug_range(&plain_block, 0, page_size()), ==,
                    0);
    g_assert_cmpint(guest_memfd_unplug_range(&plain_block, 0, page_size()), ==,
                    -EINVAL);
    journal_assert("fu0/1 fu0/1!");
    fake_block_free(fake);
}

/* Blocks that nobody has shown to the guest yet have no attributes. */
static void test_invisible(void)
{
    FakeBlock *fake = fake_block_new();
    FakeSource *source = fake_source_new(CHUNK * page_size());

    guest_memfd_set_source(fake->mr, RAM_DISCARD_MANAGER(source));
    journal_assert("fu0/16");
    plug_well(source, 0, 4);
    unplug(source, 0, 1);
    journal_assert("fs0/16 fu0/4");
    source_block_free(fake, source);
}

static void test_prealloc(void)
{
    const uint64_t page = page_size();
    FakeBlock *fake = fake_block_new();
    RAMBlock plain = { .fd = -1, .guest_memfd = -1 };
    unsigned char resident[4];
    Error *err = NULL;

    g_assert_true(guest_memfd_prealloc(&fake->block, 4 * page, 8 * page,
                                       &error_abort));
    journal_assert("ap4/8");
    journal_fail_calls(1, 1, ENOMEM);
    g_assert_false(guest_memfd_prealloc(&fake->block, 4 * page, 8 * page,
                                        &err));
    error_free_or_abort(&err);
    journal_assert("ap4/8! fp4/8");
    fake_block_free(fake);

    plain.host = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(plain.host != MAP_FAILED);
    g_assert_true(guest_memfd_prealloc(&plain, page, 2 * page, &error_abort));
    g_assert_cmpint(mincore(plain.host, 4 * page, resident), ==, 0);
    g_assert_cmpint(resident[1] & resident[2] & 1, ==, 1);
    munmap(plain.host, 4 * page);
}

/* Check that an enumeration of private pages finds exactly the plugged ones. */
static void assert_private(FakeBlock *fake, const bool *is_plugged)
{
    const uint64_t page = page_size();
    bool found[NPAGES] = { };
    uint64_t offset = 0, size = NPAGES * page;

    guest_memfd_manager_lock(fake->gmm);
    while (guest_memfd_next_private(fake->gmm, &offset, &size)) {
        g_assert_cmpuint(size, >, 0);
        for (uint64_t at = offset; at < offset + size; at += page) {
            found[at / page] = true;
        }
        offset += size;
        size = NPAGES * page - offset;
    }
    for (int i = 0; i < NPAGES; i++) {
        offset = i * page;
        size = page;
        g_assert_cmpint(guest_memfd_is_plugged(fake->gmm, offset, size), ==,
                        is_plugged[i / CHUNK]);
        g_assert_cmpint(found[i], ==, is_plugged[i / CHUNK] &&
                        !guest_memfd_next_shared(fake->gmm, &offset, &size));
        /* Only private pages have an attribute. */
        g_assert_cmpint(fake->pages[i].attribute_shared, ==, !found[i]);
    }
    guest_memfd_manager_unlock(fake->gmm);
}

static void test_random(void)
{
    FakeSource *source;
    FakeBlock *fake = source_block_new(&source);
    bool is_plugged[NCHUNKS] = { };
    char expected[NPAGES + 1];
    FakeListener a;

    memset(expected, '.', NPAGES);
    expected[NPAGES] = '\0';
    register_all(&a, fake, 0);
    for (int i = 0; i < 5000; i++) {
        const int chunk = g_test_rand_int_range(0, NCHUNKS);
        const int first = g_test_rand_int_range(0, NPAGES);
        const int npages = g_test_rand_int_range(1, NPAGES - first + 1);
        const bool to_shared = g_test_rand_bit();
        bool is_valid = true;

        if (g_test_rand_int_range(0, 3) == 0) {
            if (is_plugged[chunk]) {
                unplug(source, chunk, 1);
                memset(expected + chunk * CHUNK, '.', CHUNK);
            } else {
                plug_well(source, chunk, 1);
            }
            is_plugged[chunk] = !is_plugged[chunk];
        } else {
            for (int j = first; j < first + npages; j++) {
                is_valid &= is_plugged[j / CHUNK];
            }
            g_assert_cmpint(convert(fake, first, npages,
                                    to_shared ? PAGE_STATE_SHARED
                                              : PAGE_STATE_PRIVATE),
                            ==, is_valid ? 0 : -EINVAL);
            if (is_valid) {
                memset(expected + first, to_shared ? '#' : '.', npages);
            }
        }
        assert_states(fake, expected);
        for (int j = 0; j < NPAGES; j++) {
            g_assert_cmpint(fake->pages[j].populated[0], ==,
                            expected[j] == '#');
        }
        assert_private(fake, is_plugged);
        journal_clear();
    }
    unregister(&a);
    source_block_free(fake, source);
}

/* The calls for a large block, which depend on runs and not on its size */
typedef struct Calls {
    RamDiscardListener listener;
    unsigned int npopulated;
    unsigned int ndiscarded;
    unsigned int nattributes;
} Calls;

static Calls calls;

static int calls_populate(RamDiscardListener *rdl,
                          MemoryRegionSection *section)
{
    calls.npopulated++;
    return 0;
}

static void calls_discard(RamDiscardListener *rdl,
                          MemoryRegionSection *section)
{
    calls.ndiscarded++;
}

static int calls_set_attributes(void *opaque, uint64_t offset, uint64_t size,
                                PageState state)
{
    calls.nattributes++;
    return 0;
}

static void assert_calls(unsigned int npopulated, unsigned int ndiscarded,
                         unsigned int nattributes)
{
    g_assert_cmpuint(calls.npopulated, ==, npopulated);
    g_assert_cmpuint(calls.ndiscarded, ==, ndiscarded);
    g_assert_cmpuint(calls.nattributes, ==, nattributes);
    calls.npopulated = 0;
    calls.ndiscarded = 0;
    calls.nattributes = 0;
}

#define LARGE_SIZE (1 * TiB)
#define LARGE_CHUNK (2 * MiB)
#define LARGE_RUNS 100000
/* Memory is plugged and unplugged in pieces of 64 MiB. */
#define LARGE_PIECES (LARGE_SIZE / (64 * MiB))
#define LARGE_SHARED_PIECES 313

static void test_large(void)
{
    FakeSource *source = fake_source_new(LARGE_CHUNK);
    RAMBlock block;
    MemoryRegion *mr = fake_ram_new(&block, NULL, LARGE_SIZE);
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(mr);
    MemoryRegionSection all = { .mr = mr, .size = int128_make64(LARGE_SIZE) };
    GuestMemfdConversion c = {
        .manager = gmm,
        .size = page_size(),
        .to = PAGE_STATE_SHARED,
        .set_attributes = calls_set_attributes,
    };

    guest_memfd_manager_set_accel(gmm, calls_set_attributes);
    guest_memfd_set_source(mr, RAM_DISCARD_MANAGER(source));
    assert_calls(0, 0, LARGE_PIECES);
    fake_source_plug(source, 0, LARGE_SIZE);
    assert_calls(0, 0, LARGE_PIECES);

    /* 100000 runs in 10000 chunks, ten in each */
    guest_memfd_manager_lock(gmm);
    for (unsigned int i = 0; i < LARGE_RUNS; i++) {
        c.offset = i / 10 * LARGE_CHUNK + i % 10 * 2 * page_size();
        g_assert_cmpint(guest_memfd_prepare(&c), ==, 0);
        guest_memfd_commit(&c);
    }
    guest_memfd_manager_unlock(gmm);
    assert_calls(0, 0, LARGE_RUNS);
    ram_discard_listener_init(&calls.listener, calls_populate, calls_discard,
                              false);
    ram_discard_manager_register_listener(mr->rdm, &calls.listener, &all);
    assert_calls(LARGE_RUNS, 0, 0);

    /* The ten runs of a chunk, and the private pages after each */
    fake_source_unplug(source, 0, LARGE_CHUNK);
    assert_calls(0, 10, 10);
    fake_source_plug(source, 0, LARGE_CHUNK);
    assert_calls(0, 0, 1);
    fake_source_unplug(source, 0, LARGE_SIZE);
    /* The first page of the block is private now. */
    assert_calls(0, LARGE_RUNS - 10,
                 LARGE_RUNS - 10 + 1 + LARGE_PIECES - LARGE_SHARED_PIECES);

    ram_discard_manager_unregister_listener(mr->rdm, &calls.listener);
    guest_memfd_set_source(mr, NULL);
    assert_calls(0, 0, 0);
    object_unref(source);
    object_unref(mr);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);

    g_test_add_func("/guest-memfd-source/plug", test_plug);
    g_test_add_func("/guest-memfd-source/unplugged", test_unplugged);
    g_test_add_func("/guest-memfd-source/listeners", test_listeners);
    g_test_add_func("/guest-memfd-source/failures", test_failures);
    g_test_add_func("/guest-memfd-source/remove", test_remove);
    g_test_add_func("/guest-memfd-source/others", test_others);
    g_test_add_func("/guest-memfd-source/invisible", test_invisible);
    g_test_add_func("/guest-memfd-source/prealloc", test_prealloc);
    g_test_add_func("/guest-memfd-source/random", test_random);
    g_test_add_func("/guest-memfd-source/large", test_large);
    return g_test_run();
}
