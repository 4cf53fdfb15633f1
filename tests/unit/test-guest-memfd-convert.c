/*
 * Test of conversions by a guest_memfd manager, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/guest-memfd-rig.h"

static void test_order(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a, b;

    register_all(&a, fake, 0);
    register_all(&b, fake, 1);
    journal_assert("");

    make_shared(fake, 2, 2);
    journal_assert("s2/2 B+2/2 A+2/2 fp2/2");
    make_shared(fake, 6, 2);
    journal_assert("s6/2 B+6/2 A+6/2 fp6/2");

    /* Only private runs are notified; other steps cover the whole range. */
    make_shared(fake, 0, 8);
    journal_assert("s0/8 B+0/2 A+0/2 B+4/2 A+4/2 fp0/8");
    make_shared(fake, 0, 8);
    journal_assert("s0/8 fp0/8");

    make_private(fake, 1, 2);
    journal_assert("B-1/2 A-1/2 p1/2 fs1/2");
    make_private(fake, 0, 9);
    journal_assert("B-0/1 A-0/1 B-3/5 A-3/5 p0/9 fs0/9");
    make_private(fake, 0, 9);
    journal_assert("p0/9 fs0/9");
    assert_agreement(fake, 2);

    unregister(&a);
    unregister(&b);
    fake_block_free(fake);
}

/* One of three listeners refuses the first or the second run. */
static void test_refusal(void)
{
    static const char *expected[NLISTENERS][2] = {
        { "s0/8 C+0/2 B+0/2 A+0/2! C-0/2 B-0/2"
          " p0/2 p4/4 fs0/2 fs4/4",
          "s0/8 C+0/2 B+0/2 A+0/2 C+4/4 B+4/4 A+4/4! C-4/4 B-4/4"
          " C-0/2 B-0/2 A-0/2 p0/2 p4/4 fs0/2 fs4/4" },
        { "s0/8 C+0/2 B+0/2! C-0/2 p0/2 p4/4 fs0/2 fs4/4",
          "s0/8 C+0/2 B+0/2 A+0/2 C+4/4 B+4/4! C-4/4"
          " C-0/2 B-0/2 A-0/2 p0/2 p4/4 fs0/2 fs4/4" },
        { "s0/8 C+0/2! p0/2 p4/4 fs0/2 fs4/4",
          "s0/8 C+0/2 B+0/2 A+0/2 C+4/4!"
          " C-0/2 B-0/2 A-0/2 p0/2 p4/4 fs0/2 fs4/4" },
    };
    static const int refused_pages[] = { 1, 5 };

    for (int who = 0; who < NLISTENERS; who++) {
        for (int run = 0; run < ARRAY_SIZE(refused_pages); run++) {
            FakeBlock *fake = fake_block_new();
            FakeListener listeners[NLISTENERS];

            make_shared(fake, 2, 2);
            for (int i = 0; i < NLISTENERS; i++) {
                register_all(&listeners[i], fake, i);
            }
            journal_clear();
            listeners[who].refused_page = refused_pages[run];

            g_assert_cmpint(convert(fake, 0, 8, PAGE_STATE_SHARED), ==,
                            -ENOSPC);
            journal_assert(expected[who][run]);
            assert_states(fake, "..##............");
            assert_agreement(fake, NLISTENERS);
            g_assert_cmpuint(fake_stats(fake).failures, ==, 1);

            listeners[who].refused_page = -1;
            make_shared(fake, 0, 8);
            assert_states(fake, "########........");
            assert_agreement(fake, NLISTENERS);
            for (int i = 0; i < NLISTENERS; i++) {
                unregister(&listeners[i]);
            }
            fake_block_free(fake);
        }
    }
}

static void test_attributes_refused(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    register_all(&a, fake, 0);
    make_shared(fake, 2, 2);
    journal_clear();

    journal_fail_calls(1, 1, ENOMEM);
    g_assert_cmpint(convert(fake, 0, 4, PAGE_STATE_SHARED), ==, -ENOMEM);
    journal_assert("s0/4!");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);

    journal_fail_calls(1, 1, ENOMEM);
    g_assert_cmpint(convert(fake, 0, 4, PAGE_STATE_PRIVATE), ==, -ENOMEM);
    journal_assert("A-2/2 p0/4! A+2/2");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);
    g_assert_cmpuint(fake_stats(fake).failures, ==, 2);

    unregister(&a);
    fake_block_free(fake);
}

static void test_attributes_lost(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    register_all(&a, fake, 0);
    make_shared(fake, 2, 4);
    journal_clear();

    /* An unknown part of the pages is private now. */
    journal_fail_calls(1, 1, ENOTRECOVERABLE);
    g_assert_cmpint(convert(fake, 4, 4, PAGE_STATE_PRIVATE), ==,
                    -ENOTRECOVERABLE);
    journal_assert("A-4/2 p4/4! p4/4 fs4/4");
    assert_states(fake, "..##............");
    g_assert_cmpuint(fake_stats(fake).failures, ==, 1);

    make_private(fake, 4, 2);
    journal_assert("p4/2 fs4/2");
    assert_agreement(fake, 1);
    make_shared(fake, 4, 2);
    assert_agreement(fake, 1);

    unregister(&a);
    fake_block_free(fake);
}

static void test_abort(void)
{
    FakeBlock *fake = fake_block_new();
    FakeListener a;

    register_all(&a, fake, 0);
    make_shared(fake, 2, 2);
    journal_clear();

    prepare_and_abort(fake, 0, 6, PAGE_STATE_SHARED);
    journal_assert("s0/6 A+0/2 A+4/2"
                   " A-0/2 A-4/2 p0/2 p4/2 fs0/2 fs4/2");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);

    prepare_and_abort(fake, 0, 6, PAGE_STATE_PRIVATE);
    journal_assert("A-2/2 p0/6 s2/2 A+2/2");
    assert_states(fake, "..##............");
    assert_agreement(fake, 1);
    g_assert_cmpuint(fake_stats(fake).failures, ==, 0);

    /* Pages that cannot become shared again are private. */
    make_shared(fake, 5, 1);
    journal_clear();
    journal_fail_calls(2, 2, ENOMEM);
    prepare_and_abort(fake, 0, 6, PAGE_STATE_PRIVATE);
    journal_fail_no_calls();
    journal_assert("A-2/2 A-5/1 p0/6 s2/2! p2/2 fs2/2 s5/1 A+5/1");
    assert_states(fake, ".....#..........");
    assert_agreement(fake, 1);
    g_assert_cmpuint(fake_stats(fake).failures, ==, 1);
    make_shared(fake, 2, 2);
    assert_states(fake, "..##.#..........");
    assert_agreement(fake, 1);

    unregister(&a);
    fake_block_free(fake);
}

/* A range spans two blocks: the second part fails, the first is undone. */
static void test_abort_parts(void)
{
    FakeBlock *first = fake_block_new(), *second = fake_block_new();
    FakeListener a, b;
    GuestMemfdConversion parts[2];

    register_all(&a, first, 0);
    register_all(&b, second, 1);
    make_shared(first, 14, 1);
    journal_clear();
    parts[0] = make_conversion(first, 12, 4, PAGE_STATE_SHARED);
    parts[1] = make_conversion(second, 0, 2, PAGE_STATE_SHARED);
    b.refused_page = 1;

    guest_memfd_manager_lock(first->gmm);
    guest_memfd_manager_lock(second->gmm);
    g_assert_cmpint(guest_memfd_prepare(&parts[0]), ==, 0);
    g_assert_cmpint(guest_memfd_prepare(&parts[1]), ==, -ENOSPC);
    guest_memfd_abort(&parts[0]);
    guest_memfd_manager_unlock(first->gmm);
    guest_memfd_manager_unlock(second->gmm);

    journal_assert("s12/4 A+12/2 A+15/1"
                   " s0/2 B+0/2! p0/2 fs0/2"
                   " A-12/2 A-15/1 p12/2 p15/1 fs12/2 fs15/1");
    assert_states(first, "..............#.");
    assert_states(second, "................");
    assert_agreement(first, 1);
    g_assert_cmpuint(fake_stats(first).failures, ==, 0);
    g_assert_cmpuint(fake_stats(second).failures, ==, 1);

    unregister(&a);
    unregister(&b);
    fake_block_free(first);
    fake_block_free(second);
}

/* Let the second call fail, which frees the old backing. */
static void convert_unfreed(FakeBlock *fake, PageState to, int err)
{
    journal_fail_calls(2, 2, err);
    g_assert_cmpint(convert(fake, 0, 2, to), ==, 0);
    journal_fail_no_calls();
}

/* Failures to free memory are counted, and the next conversion retries. */
static void test_unfreed(void)
{
    static const int errors[] = { ENOMEM, EIO, EINVAL, ENOTSUP };
    FakeBlock *fake = fake_block_new();

    for (int i = 0; i < ARRAY_SIZE(errors); i++) {
        convert_unfreed(fake, PAGE_STATE_SHARED, errors[i]);
        journal_assert("s0/2 fp0/2!");
        assert_states(fake, "##..............");
        make_shared(fake, 0, 2);
        journal_assert("s0/2 fp0/2");
        convert_unfreed(fake, PAGE_STATE_PRIVATE, errors[i]);
        journal_assert("p0/2 fs0/2!");
        assert_states(fake, "................");
        make_private(fake, 0, 2);
        journal_assert("p0/2 fs0/2");
        g_assert_cmpuint(fake_stats(fake).unfreed, ==, 2 * (i + 1));
    }
    g_assert_cmpuint(fake_stats(fake).failures, ==, 0);
    fake_block_free(fake);
}

/* Only pages that are still in the new state are freed. */
static void test_free_later(void)
{
    FakeBlock *fake = fake_block_new();
    const GuestMemfdConversion to_shared =
        make_conversion(fake, 0, 6, PAGE_STATE_SHARED);
    const GuestMemfdConversion to_private =
        make_conversion(fake, 0, 6, PAGE_STATE_PRIVATE);

    guest_memfd_manager_lock(fake->gmm);
    g_assert_cmpint(guest_memfd_prepare(&to_shared), ==, 0);
    guest_memfd_commit(&to_shared);
    guest_memfd_manager_unlock(fake->gmm);
    journal_assert("s0/6");
    make_private(fake, 2, 1);
    journal_assert("p2/1 fs2/1");
    guest_memfd_manager_lock(fake->gmm);
    guest_memfd_free_unused(&to_shared);
    journal_assert("fp0/2 fp3/3");
    guest_memfd_free_unused(&to_private);
    journal_assert("fs2/1");
    guest_memfd_manager_unlock(fake->gmm);
    assert_states(fake, "##.###..........");
    fake_block_free(fake);
}

static void note_changed(void *opaque, uint64_t offset, uint64_t size)
{
    journal_add("c", offset, size, "", 0);
}

static void test_changed(void)
{
    FakeBlock *fake = fake_block_new();
    GuestMemfdConversion c = make_conversion(fake, 0, 8, PAGE_STATE_SHARED);

    make_shared(fake, 2, 2);
    make_shared(fake, 6, 1);
    journal_clear();
    c.changed = note_changed;
    guest_memfd_manager_lock(fake->gmm);
    g_assert_cmpint(guest_memfd_prepare(&c), ==, 0);
    guest_memfd_commit(&c);
    guest_memfd_manager_unlock(fake->gmm);
    journal_assert("s0/8 c0/2 c4/2 c7/1");
    fake_block_free(fake);
}

/* Create a block with two listeners and states "..##...#........". */
static FakeBlock *sweep_new(FakeListener listeners[2])
{
    FakeBlock *fake = fake_block_new();

    register_all(&listeners[0], fake, 0);
    register_all(&listeners[1], fake, 1);
    make_shared(fake, 2, 2);
    make_shared(fake, 7, 1);
    return fake;
}

static void sweep_free(FakeBlock *fake, FakeListener listeners[2])
{
    unregister(&listeners[0]);
    unregister(&listeners[1]);
    fake_block_free(fake);
}

/*
 * Let calls from number @first to @last of a conversion fail.  Returns whether
 * call @first was made.
 */
static bool sweep_step(unsigned int first, unsigned int last, PageState to)
{
    const char *before = "..##...#........";
    const char *after = to == PAGE_STATE_PRIVATE ? "................"
                                                 : "##########......";
    FakeListener listeners[2];
    FakeBlock *fake = sweep_new(listeners);
    bool reached;
    int ret;

    journal_fail_calls(first, last, ENOMEM);
    ret = convert(fake, 0, 10, to);
    reached = journal_ncalls() >= first;
    journal_fail_no_calls();

    g_assert_true(ret == 0 || ret == -ENOMEM);
    g_assert_true(reached || ret == 0);
    assert_states(fake, ret ? before : after);
    if (first == last || !ret) {
        assert_agreement(fake, 2);
    }
    if (reached) {
        g_assert_cmpuint(fake_stats(fake).failures + fake_stats(fake).unfreed,
                         >, 0);
    }
    /* Private pages are never populated. */
    for (int i = 0; i < NPAGES; i++) {
        const bool shared = (ret ? before : after)[i] == '#';

        g_assert_true(shared || !fake->pages[i].populated[0]);
        g_assert_true(shared || !fake->pages[i].populated[1]);
    }

    /* The next attempt succeeds, and fixes the states of all pages. */
    g_assert_cmpint(convert(fake, 0, 10, to), ==, 0);
    assert_states(fake, after);
    assert_agreement(fake, 2);
    sweep_free(fake, listeners);
    return reached;
}

static void test_sweep(gconstpointer opaque)
{
    const PageState to = GPOINTER_TO_INT(opaque);
    const unsigned int ncalls = to == PAGE_STATE_PRIVATE ? 2 : 8;
    unsigned int n;

    for (n = 1; sweep_step(n, n, to); n++) {
        /* One call fails. */
    }
    /* Attributes, three runs for each of two listeners, and the backing */
    g_assert_cmpuint(n - 1, ==, ncalls);
    for (n = 1; sweep_step(n, UINT_MAX, to); n++) {
        /* One call and all later ones fail. */
    }
    g_assert_cmpuint(n - 1, ==, ncalls);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);

    g_test_add_func("/guest-memfd-convert/order", test_order);
    g_test_add_func("/guest-memfd-convert/refusal", test_refusal);
    g_test_add_func("/guest-memfd-convert/attributes-refused",
                    test_attributes_refused);
    g_test_add_func("/guest-memfd-convert/attributes-lost",
                    test_attributes_lost);
    g_test_add_func("/guest-memfd-convert/abort", test_abort);
    g_test_add_func("/guest-memfd-convert/abort-parts", test_abort_parts);
    g_test_add_func("/guest-memfd-convert/unfreed", test_unfreed);
    g_test_add_func("/guest-memfd-convert/free-later", test_free_later);
    g_test_add_func("/guest-memfd-convert/changed", test_changed);
    g_test_add_data_func("/guest-memfd-convert/sweep/to-shared",
                         GINT_TO_POINTER(PAGE_STATE_SHARED), test_sweep);
    g_test_add_data_func("/guest-memfd-convert/sweep/to-private",
                         GINT_TO_POINTER(PAGE_STATE_PRIVATE), test_sweep);
    return g_test_run();
}
