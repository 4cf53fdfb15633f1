/*
 * Test of conversions with one backing for both states of a page
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The attributes are those of the backing.  A page cannot become private while
 * it is pinned, by a listener or by someone else.  The kernel then returns
 * EAGAIN and the offset of that page; pages before it are private already.  The
 * function that sets the attributes continues there, and after some calls gives
 * up and restores what it has changed.
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/guest-memfd-rig.h"

#define NCALLS 3

/* The page that someone else has pinned, and for how many calls */
static int pinned_page;
static unsigned int pinned_ncalls;

static void pin(int page, unsigned int ncalls)
{
    pinned_page = page;
    pinned_ncalls = ncalls;
}

/*
 * Set the attributes of pages from @first up to @end, exclusive.  After an
 * error, @first is the first page that has not changed.
 */
static int kernel_set(FakeBlock *fake, uint64_t *first, uint64_t end,
                      PageState state)
{
    const uint64_t start = *first;
    int ret = journal_call();

    for (; !ret && *first < end; ++*first) {
        if (state == PAGE_STATE_PRIVATE && *first == pinned_page &&
            pinned_ncalls) {
            pinned_ncalls--;
            ret = -EAGAIN;
            break;
        }
        fake_page_set(&fake->pages[*first], state);
    }
    journal_add(state == PAGE_STATE_PRIVATE ? "p" : "s", start * page_size(),
                (end - start) * page_size(), "", ret);
    return ret;
}

/* Make those pages shared again that the manager has as shared. */
static int restore(FakeBlock *fake, uint64_t first, uint64_t end)
{
    int ret = 0;

    while (first < end && !ret) {
        uint64_t offset = first * page_size();
        uint64_t size = (end - first) * page_size();

        if (!guest_memfd_next_shared(fake->gmm, &offset, &size)) {
            break;
        }
        first = offset / page_size();
        ret = kernel_set(fake, &first, (offset + size) / page_size(),
                         PAGE_STATE_SHARED);
    }
    return ret;
}

static int set_attributes(void *opaque, uint64_t offset, uint64_t size,
                          PageState state)
{
    FakeBlock *fake = opaque;
    uint64_t page = offset / page_size();
    int ret = -EAGAIN;

    for (int i = 0; i < NCALLS && ret == -EAGAIN; i++) {
        ret = kernel_set(fake, &page, (offset + size) / page_size(), state);
    }
    /* Nothing has changed after an error, unless that cannot be restored. */
    if (ret && state == PAGE_STATE_PRIVATE &&
        restore(fake, offset / page_size(), page)) {
        return -ENOTRECOVERABLE;
    }
    return ret;
}

/* Create a block with a listener and states "..########......". */
static FakeBlock *start(FakeListener *fl)
{
    FakeBlock *fake = fake_block_new();

    fake->set_attributes = set_attributes;
    pin(-1, 0);
    register_all(fl, fake, 0);
    make_shared(fake, 2, 8);
    journal_assert("s2/8 A+2/8 fp2/8");
    return fake;
}

static void stop(FakeBlock *fake, FakeListener *fl)
{
    unregister(fl);
    fake_block_free(fake);
    journal_fail_no_calls();
    journal_clear();
}

/* A pin that is dropped late delays the conversion. */
static void test_pin_passes(void)
{
    FakeListener a;
    FakeBlock *fake = start(&a);

    pin(6, NCALLS - 1);
    make_private(fake, 0, 12);
    journal_assert("A-2/8 p0/12! p6/6! p6/6 fs0/12");
    assert_states(fake, "................");
    assert_agreement(fake, 1);
    g_assert_cmpuint(fake_stats(fake).failures, ==, 0);
    stop(fake, &a);
}

/* If the pin stays, devices can access all pages again. */
static void test_pin_stays(void)
{
    for (int page = 2; page < 10; page++) {
        FakeListener a;
        FakeBlock *fake = start(&a);

        pin(page, UINT_MAX);
        g_assert_cmpint(convert(fake, 0, 12, PAGE_STATE_PRIVATE), ==, -EAGAIN);
        if (page == 6) {
            journal_assert("A-2/8 p0/12! p6/6! p6/6! s2/4 A+2/8");
        }
        assert_states(fake, "..########......");
        assert_agreement(fake, 1);
        g_assert_cmpuint(fake_stats(fake).failures, ==, 1);

        /* The guest tries again, as after TDVMCALL_STATUS_RETRY. */
        pin(-1, 0);
        journal_clear();
        make_private(fake, 0, 12);
        journal_assert("A-2/8 p0/12 fs0/12");
        assert_agreement(fake, 1);
        stop(fake, &a);
    }
}

/* Pages that cannot become shared again are private, as are all others. */
static void test_pin_lost(void)
{
    FakeListener a;
    FakeBlock *fake = start(&a);

    pin(6, UINT_MAX);
    journal_fail_calls(4, 4, ENOMEM);
    g_assert_cmpint(convert(fake, 0, 12, PAGE_STATE_PRIVATE), ==,
                    -ENOTRECOVERABLE);
    assert_states(fake, "................");
    for (int i = 0; i < NPAGES; i++) {
        g_assert_false(fake->pages[i].populated[0]);
    }
    pin(-1, 0);
    journal_fail_no_calls();
    make_private(fake, 0, 12);
    assert_agreement(fake, 1);
    make_shared(fake, 2, 8);
    assert_agreement(fake, 1);
    stop(fake, &a);
}

/* A listener refuses pages that are shared already; or a later part fails. */
static void test_undo_to_shared(void)
{
    FakeListener a, b;
    FakeBlock *fake = start(&a);

    register_all(&b, fake, 1);
    journal_clear();
    a.refused_page = 11;
    g_assert_cmpint(convert(fake, 0, 12, PAGE_STATE_SHARED), ==, -ENOSPC);
    journal_assert("s0/12 B+0/2 A+0/2 B+10/2 A+10/2! B-10/2 B-0/2 A-0/2"
                   " p0/2 p10/2 fs0/2 fs10/2");
    assert_states(fake, "..########......");
    assert_agreement(fake, 2);
    a.refused_page = -1;

    prepare_and_abort(fake, 0, 12, PAGE_STATE_SHARED);
    assert_states(fake, "..########......");
    assert_agreement(fake, 2);

    /* Someone has pinned a page in the meantime: the next attempt fixes it. */
    pin(10, UINT_MAX);
    prepare_and_abort(fake, 0, 12, PAGE_STATE_SHARED);
    assert_states(fake, "..########......");
    g_assert_true(fake->pages[10].attribute_shared);
    g_assert_false(fake->pages[10].populated[0]);
    pin(-1, 0);
    make_private(fake, 10, 2);
    assert_agreement(fake, 2);
    unregister(&b);
    stop(fake, &a);
}

static void test_undo_to_private(void)
{
    FakeListener a;
    FakeBlock *fake = start(&a);

    prepare_and_abort(fake, 0, 12, PAGE_STATE_PRIVATE);
    journal_assert("A-2/8 p0/12 s2/8 A+2/8");
    assert_states(fake, "..########......");
    assert_agreement(fake, 1);
    stop(fake, &a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);

    g_test_add_func("/guest-memfd-in-place/pin/passes", test_pin_passes);
    g_test_add_func("/guest-memfd-in-place/pin/stays", test_pin_stays);
    g_test_add_func("/guest-memfd-in-place/pin/lost", test_pin_lost);
    g_test_add_func("/guest-memfd-in-place/undo/to-shared",
                    test_undo_to_shared);
    g_test_add_func("/guest-memfd-in-place/undo/to-private",
                    test_undo_to_private);
    return g_test_run();
}
