/*
 * Test of the conversion of guest memory, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Conversions and memory slots are in pages.
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>

#include "qemu/error-report.h"
#include "qemu/module.h"
#include "system/guest-memfd-source.h"
#include "system/kvm-convert-memory.h"
#include "tests/unit/fakes/journal.h"
#include "tests/unit/fakes/source.h"
#include "tests/unit/kvm-convert-rig.h"

static void test_piece(void)
{
    start_machine();
    add_ram(100, 50, 0, 10);
    rig.nsections = 0;
    share(102, 4);
    journal_assert("s102/4 fp12/4a");
    make_private(103, 2);
    journal_assert("p103/2 fs13/2a");
    assert_shared(0, "12/1 15/1");
    g_assert_cmpuint(rig.nsections, ==, 2);
    stop_machine();
}

static void test_pieces(void)
{
    start_machine();
    add_ram(0, BLOCK_PAGES, 0, 0);
    rig.nsections = 0;
    share(8, 2 * PIECE + 100);
    journal_assert("s8/16384 s16392/16384 s32776/100"
                   " fp8/16384a fp16392/16384a fp32776/100a");
    assert_shared(0, "8/32868");
    g_assert_cmpuint(rig.nsections, ==, 6);
    make_private(0, BLOCK_PAGES);
    journal_assert("p0/16384 p16384/16384 p32768/16384 p49152/16384"
                   " fs0/16384a fs16384/16384a fs32768/16384a fs49152/16384a");
    assert_shared(0, "");
    stop_machine();
}

/* A piece can have parts of several blocks. */
static void test_parts(void)
{
    start_machine();
    add_ram(0, PIECE + 10, 0, 0);
    add_ram(PIECE + 10, PIECE, 1, 5);
    share(10, 2 * PIECE);
    journal_assert("s10/16384 s16394/16384 fp10/16384a fp5/16384b");
    make_private(PIECE, 20);
    journal_assert("p16384/10 p16394/10 fs16384/10a fs5/10b");
    assert_shared(0, "10/16374");
    assert_shared(1, "15/16374");
    stop_machine();
}

/* If a piece fails, earlier pieces are undone; nothing has been freed. */
static void test_undo_to_shared(void)
{
    start_machine();
    add_ram(0, BLOCK_PAGES, 0, 0);
    share(4, 2);
    journal_clear();
    journal_fail_calls(3, 3, ENOMEM);
    g_assert_cmpint(convert(0, 3 * PIECE, PAGE_STATE_SHARED), ==, -ENOMEM);
    journal_assert("s0/16384 s16384/16384 s32768/16384!"
                   /* Each run that was changed */
                   " p0/4 fs0/4a p6/16384 fs6/16384a p16390/16378"
                   " fs16390/16378a"
                   /* Pages that were shared before */
                   " fp4/2a");
    assert_shared(0, "4/2");
    stop_machine();
}

static void test_undo_to_private(void)
{
    start_machine();
    add_ram(0, BLOCK_PAGES, 0, 0);
    share(0, 10);
    share(PIECE - 1, 2);
    journal_clear();
    journal_fail_calls(2, 2, EINVAL);
    /* -EINVAL is reserved for invalid requests. */
    g_assert_cmpint(convert(0, 2 * PIECE, PAGE_STATE_PRIVATE), ==, -EIO);
    journal_assert("p0/16384 p16384/16384! s0/10 fp0/10a s16383/1 fp16383/1a"
                   " fs10/16373a fs16385/16383a");
    assert_shared(0, "0/10 16383/2");
    stop_machine();
}

/* Pages whose conversion cannot be undone are private, and freed. */
static void test_undo_fails(void)
{
    start_machine();
    add_ram(0, BLOCK_PAGES, 0, 0);
    share(0, 10);
    share(20, 10);
    journal_clear();
    journal_fail_calls(2, 3, ENOMEM);
    g_assert_cmpint(convert(0, 2 * PIECE, PAGE_STATE_PRIVATE), ==, -ENOMEM);
    journal_assert("p0/16384 p16384/16384! s0/10! s20/10 fp20/10a"
                   " fs0/20a fs30/16354a fs16384/16384a");
    assert_shared(0, "20/10");
    stop_machine();
}

static void test_not_ram(void)
{
    start_machine();
    add_ram(100, 50, 0, 0);
    add_window_bytes(150 * PAGE, 10 * PAGE, rig.mmio, 0);
    add_window_bytes(160 * PAGE, 10 * PAGE, rig.plain, 0);

    /* Everything else counts as shared. */
    share(150, 20);
    share(200, 1);
    share(50, 10);
    journal_assert("");
    share(90, 200);
    journal_assert("s100/50 fp0/50a");
    /* The whole address space; with one more page the range wraps. */
    share(1, UINT64_MAX / PAGE);
    journal_assert("s100/50 fp0/50a");
    g_assert_cmpint(convert(2, UINT64_MAX / PAGE, PAGE_STATE_SHARED), ==,
                    -EINVAL);

    /* A range that is not all RAM cannot become private. */
    g_assert_cmpint(convert(150, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(160, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(200, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(140, 11, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(99, 2, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(100, 2 * PIECE, PAGE_STATE_PRIVATE), ==, -EINVAL);
    /* This includes pages in the second piece. */
    add_ram(1000, PIECE + 10, 1, 0);
    share(1000, PIECE);
    journal_clear();
    g_assert_cmpint(convert(1000, 2 * PIECE, PAGE_STATE_PRIVATE), ==, -EINVAL);
    journal_assert("");
    assert_shared(0, "0/50");
    assert_shared(1, "0/16384");
    stop_machine();
}

/* A page that is only partly RAM counts as not RAM. */
static void test_parts_of_pages(void)
{
    start_machine();
    add_ram(100, 10, 0, 0);
    remove_windows();
    /* 16 bytes in the middle of page 102, at the end of 104, in front of 107 */
    add_window_bytes(100 * PAGE, 2 * PAGE + 512, rig.regions[0], 0);
    add_window_bytes(102 * PAGE + 512, 16, rig.mmio, 0);
    add_window_bytes(102 * PAGE + 528, 3 * PAGE - 544, rig.regions[0],
                     2 * PAGE + 528);
    add_window_bytes(105 * PAGE - 16, 16, rig.mmio, 0);
    add_window_bytes(105 * PAGE, 2 * PAGE, rig.regions[0], 5 * PAGE);
    add_window_bytes(107 * PAGE, 16, rig.mmio, 0);
    add_window_bytes(107 * PAGE + 16, 3 * PAGE - 16, rig.regions[0],
                     7 * PAGE + 16);

    share(100, 10);
    assert_shared(0, "0/2 3/1 5/2 8/2");
    make_private(100, 2);
    make_private(103, 1);
    assert_shared(0, "5/2 8/2");
    g_assert_cmpint(convert(100, 10, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(102, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(104, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(107, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(convert(106, 3, PAGE_STATE_PRIVATE), ==, -EINVAL);
    share(102, 1);
    assert_shared(0, "5/2 8/2");

    /* RAM that begins and ends inside pages, next to unmapped addresses */
    add_window_bytes(120 * PAGE + 16, 3 * PAGE, rig.regions[0], 20 * PAGE + 16);
    share(115, 20);
    assert_shared(0, "5/2 8/2 21/2");
    g_assert_cmpint(convert(120, 3, PAGE_STATE_PRIVATE), ==, -EINVAL);
    make_private(121, 2);
    assert_shared(0, "5/2 8/2");
    stop_machine();
}

static void test_slots(void)
{
    start_machine();
    add_ram(0, 100, 0, 0);
    share(10, 2);
    share(50, 10);
    journal_clear();

    /* The same slot again, a part of it, and a larger one */
    g_assert_cmpint(add_slot(0, 100, 0, 0), ==, 0);
    g_assert_cmpint(add_slot(20, 30, 0, 20), ==, 0);
    journal_assert("");
    g_assert_cmpint(add_slot(0, 120, 0, 0), ==, 0);
    journal_assert("p100/20");

    /* Attributes follow at addresses that have no slot now. */
    share(15, 1);
    journal_assert("s15/1 fp15/1a");

    /* Another block replaces a part temporarily. */
    g_assert_cmpint(add_slot(8, 8, 1, 0), ==, 0);
    journal_assert("p8/8");
    share(10, 3);
    journal_assert("fp10/3a");
    g_assert_cmpint(add_slot(0, 120, 0, 0), ==, 0);
    journal_assert("p8/2 s10/3 p13/2 s15/1");

    /* Other pages of the same block */
    g_assert_cmpint(add_slot(50, 10, 0, 40), ==, 0);
    journal_assert("p50/10");
    g_assert_cmpint(add_slot(0, 120, 0, 0), ==, 0);
    journal_assert("s50/10");

    /* Gaps in the known places */
    g_assert_cmpint(add_slot(30, 1, 1, 0), ==, 0);
    g_assert_cmpint(add_slot(52, 1, 1, 0), ==, 0);
    journal_assert("p30/1 p52/1");
    g_assert_cmpint(add_slot(0, 120, 0, 0), ==, 0);
    journal_assert("p30/1 s52/1");
    stop_machine();
}

/* A block that is seen twice has the same attributes at both places. */
static void test_two_places(void)
{
    start_machine();
    add_ram(0, 20, 0, 0);
    add_ram(100, 10, 0, 5);
    share(0, 8);
    journal_assert("s0/8 s100/3 fp0/8a");
    make_private(104, 1);
    journal_assert("p9/1 p104/1 fs9/1a");

    /* If the second place fails, the first one is restored. */
    journal_fail_calls(2, 2, ENOMEM);
    g_assert_cmpint(convert(4, 6, PAGE_STATE_PRIVATE), ==, -ENOMEM);
    journal_assert("p4/6 p100/5! s4/4 p8/2");
    assert_shared(0, "0/8");

    /* If that fails too, all pages are private, their shared backing freed. */
    journal_fail_calls(2, 3, ENOMEM);
    g_assert_cmpint(convert(4, 6, PAGE_STATE_PRIVATE), ==, -ENOTRECOVERABLE);
    journal_assert("p4/6 p100/5! s4/4! p8/2 p4/6 p100/5 fs4/6a");
    assert_shared(0, "0/4");
    journal_fail_calls(2, 3, ENOMEM);
    g_assert_cmpint(convert(4, 6, PAGE_STATE_SHARED), ==, -ENOMEM);
    assert_shared(0, "0/4");
    journal_fail_no_calls();
    share(4, 6);
    assert_shared(0, "0/10");
    stop_machine();
}

static void test_plug(void)
{
    const uint64_t chunk = 16;
    FakeSource *source = fake_source_new(chunk * PAGE);
    const struct kvm_run run = {
        .memory_fault = {
            .flags = KVM_MEMORY_EXIT_FLAG_PRIVATE,
            .gpa = 100 * PAGE,
            .size = PAGE,
        },
    };

    start_machine();
    g_assert_true(guest_memfd_set_source(rig.regions[0],
                                         RAM_DISCARD_MANAGER(source)));
    journal_assert("fu0/16384a fu16384/16384a fu32768/16384a fu49152/16384a");
    add_window_bytes(100 * PAGE, 64 * PAGE, rig.regions[0], 0);
    /* Unplugged memory has no attributes, and cannot be converted. */
    g_assert_cmpint(add_slot(100, 64, 0, 0), ==, 0);
    journal_assert("s100/64");
    g_assert_cmpint(convert(100, 1, PAGE_STATE_SHARED), ==, -EINVAL);
    g_assert_cmpint(convert(100, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpint(kvm_convert_memory_fault(&run), ==, -EINVAL);
    journal_assert("");

    g_assert_cmpint(fake_source_plug(source, chunk * PAGE, 2 * chunk * PAGE),
                    ==, 0);
    journal_assert("p116/32 fs16/32a");
    share(120, 4);
    journal_assert("s120/4 fp20/4a");
    g_assert_cmpint(convert(115, 2, PAGE_STATE_SHARED), ==, -EINVAL);
    g_assert_cmpint(convert(147, 2, PAGE_STATE_PRIVATE), ==, -EINVAL);
    journal_assert("");
    /* Only private pages of a new slot have attributes. */
    g_assert_cmpint(add_slot(1000, 64, 0, 0), ==, 0);
    journal_assert("s1000/16 p1016/4 s1020/4 p1024/24 s1048/16");
    fake_source_unplug(source, chunk * PAGE, chunk * PAGE);
    journal_assert("s116/4 s1016/4 s124/8 s1024/8 fu16/16a");
    assert_shared(0, "");

    /* If one of two places fails, none has attributes. */
    journal_fail_calls(2, 2, ENOMEM);
    g_assert_cmpint(fake_source_plug(source, 0, chunk * PAGE), !=, 0);
    journal_assert("p100/16 p1000/16! s100/16 fu0/16a");
    g_assert_cmpint(convert(100, 1, PAGE_STATE_SHARED), ==, -EINVAL);
    fake_source_unplug(source, 0, BLOCK_PAGES * PAGE);
    g_assert_true(guest_memfd_set_source(rig.regions[0], NULL));
    object_unref(source);
    /* For another device, all memory is private, wherever it appears. */
    journal_clear();
    g_assert_cmpint(add_slot(100, 64, 0, 0), ==, 0);
    journal_assert("p100/64");
    stop_machine();
}

static void test_reset(void)
{
    start_machine();
    add_ram(0, 20, 0, 0);
    add_ram(100, 20, 1, 0);
    share(3, 2);
    share(8, 1);
    share(100, 4);
    journal_clear();
    g_assert_cmpint(kvm_convert_all_to_private(), ==, 0);
    assert_shared(0, "");
    assert_shared(1, "");
    /* The list begins with the block that was added last. */
    journal_assert("p100/4 fs0/4b p3/2 fs3/2a p8/1 fs8/1a");
    stop_machine();
}

static int fault(uint64_t page, uint64_t npages, PageState to)
{
    const struct kvm_run run = {
        .memory_fault = {
            .flags = to == PAGE_STATE_PRIVATE ? KVM_MEMORY_EXIT_FLAG_PRIVATE
                                              : 0,
            .gpa = page * PAGE,
            .size = npages * PAGE,
        },
    };

    rig.npauses = 0;
    return kvm_convert_memory_fault(&run);
}

static void test_fault(void)
{
    static const int passing[] = { ENOMEM, ENOSPC, EAGAIN, EBUSY, EINTR };
    static const int lasting[] = { EIO, EFAULT, EPERM };

    start_machine();
    add_ram(0, 20, 0, 0);
    g_assert_cmpint(fault(3, 1, PAGE_STATE_SHARED), ==, 0);
    assert_shared(0, "3/1");
    g_assert_cmpint(fault(3, 1, PAGE_STATE_PRIVATE), ==, 0);
    assert_shared(0, "");
    g_assert_cmpint(fault(50, 1, PAGE_STATE_SHARED), ==, 0);
    g_assert_cmpuint(rig.npauses, ==, 0);
    for (int i = 0; i < ARRAY_SIZE(passing); i++) {
        journal_fail_calls(1, 1, passing[i]);
        g_assert_cmpint(fault(3, 1, PAGE_STATE_SHARED), ==, 0);
        g_assert_cmpuint(rig.npauses, ==, 1);
        assert_shared(0, "");
    }
    for (int i = 0; i < ARRAY_SIZE(lasting); i++) {
        journal_fail_calls(1, 1, lasting[i]);
        g_assert_cmpint(fault(3, 1, PAGE_STATE_SHARED), ==, -lasting[i]);
        g_assert_cmpuint(rig.npauses, ==, 0);
    }
    /* -EINVAL from the kernel is not the guest's error. */
    journal_fail_calls(1, 1, EINVAL);
    g_assert_cmpint(fault(3, 1, PAGE_STATE_SHARED), ==, -EIO);
    g_assert_cmpint(fault(50, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    stop_machine();
}

/* An access is repeated, or several vCPUs access a page at once. */
static void test_fault_again(void)
{
    start_machine();
    add_ram(0, 20, 0, 0);
    add_ram(20, 20, 1, 0);
    g_assert_cmpint(fault(3, 1, PAGE_STATE_PRIVATE), ==, 0);
    journal_assert("p3/1 fs3/1a");
    share(4, 2);
    journal_clear();
    g_assert_cmpint(fault(4, 1, PAGE_STATE_SHARED), ==, 0);
    journal_assert("s4/1 fp4/1a");
    assert_shared(0, "4/2");

    /* Pages of both states, and of two blocks */
    g_assert_cmpint(fault(2, 6, PAGE_STATE_SHARED), ==, 0);
    assert_shared(0, "2/6");
    g_assert_cmpint(fault(6, 4, PAGE_STATE_PRIVATE), ==, 0);
    assert_shared(0, "2/4");
    g_assert_cmpint(fault(18, 4, PAGE_STATE_SHARED), ==, 0);
    assert_shared(0, "2/4 18/2");
    assert_shared(1, "0/2");
    g_assert_cmpuint(rig.npauses, ==, 0);

    /* The second block fails: the guest repeats its access. */
    journal_clear();
    journal_fail_calls(2, 2, EAGAIN);
    g_assert_cmpint(fault(18, 4, PAGE_STATE_PRIVATE), ==, 0);
    journal_assert("p18/2 p20/2! s18/2");
    g_assert_cmpuint(rig.npauses, ==, 1);
    assert_shared(0, "2/4 18/2");
    assert_shared(1, "0/2");
    journal_fail_no_calls();
    g_assert_cmpint(fault(18, 4, PAGE_STATE_PRIVATE), ==, 0);
    journal_assert("p18/2 p20/2 fs18/2a fs0/2b");
    assert_shared(0, "2/4");
    assert_shared(1, "");
    stop_machine();
}

/*
 * A guest accesses a device at addresses that had RAM, such as the VGA memory.
 * They are private until then, and the access would fault forever.
 */
static void test_fault_where_ram_was(void)
{
    start_machine();
    add_ram(0, 100, 0, 0);
    share(40, 2);
    journal_clear();
    remove_windows();
    add_window_bytes(0, 30 * PAGE, rig.regions[0], 0);
    add_window_bytes(30 * PAGE, 4 * PAGE, rig.mmio, 0);
    add_window_bytes(60 * PAGE, 40 * PAGE, rig.regions[0], 60 * PAGE);

    g_assert_cmpint(fault(30, 1, PAGE_STATE_SHARED), ==, 0);
    journal_assert("s30/1");
    /* RAM, a device, unassigned addresses, and RAM */
    g_assert_cmpint(fault(29, 32, PAGE_STATE_SHARED), ==, 0);
    journal_assert("s29/1 s60/1 fp29/1a fp60/1a s30/4 s34/26");
    assert_shared(0, "29/1 40/2 60/1");

    /* Attributes no longer follow the pages that are hidden. */
    g_assert_cmpint(kvm_convert_all_to_private(), ==, 0);
    journal_assert("p29/1 fs29/1a fs40/2a p60/1 fs60/1a");

    /* They do so again when the RAM is back. */
    remove_windows();
    add_window_bytes(0, 100 * PAGE, rig.regions[0], 0);
    g_assert_cmpint(add_slot(0, 100, 0, 0), ==, 0);
    journal_assert("p30/30");
    share(30, 1);
    journal_assert("s30/1 fp30/1a");

    /* The kernel refuses: the guest repeats its access. */
    remove_windows();
    journal_fail_calls(1, 1, ENOMEM);
    g_assert_cmpint(fault(30, 1, PAGE_STATE_SHARED), ==, 0);
    g_assert_cmpuint(rig.npauses, ==, 1);
    journal_fail_calls(1, 1, EIO);
    g_assert_cmpint(fault(30, 1, PAGE_STATE_SHARED), ==, -EIO);
    g_assert_cmpint(fault(30, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    stop_machine();
}

/* A thread that waits for a manager's lock gets it between two pieces. */
typedef struct Other {
    GuestMemfdManager *gmm;
    QemuSemaphore start;
    bool is_about_to;
    bool had_it;
} Other;

#define NROUNDS 50
#define NTURNS (NROUNDS * BLOCK_PAGES / PIECE)

static Other other;
static unsigned int nturns;

static void *take_turns(void *opaque)
{
    for (unsigned int i = 0; i < NTURNS; i++) {
        qemu_sem_wait(&other.start);
        qatomic_set(&other.is_about_to, true);
        guest_memfd_manager_lock_ahead(other.gmm);
        qatomic_set(&other.had_it, true);
        guest_memfd_manager_unlock(other.gmm);
    }
    return NULL;
}

/* Count whether the other thread had the lock; called for each piece. */
static void give_turn(void)
{
    nturns += qatomic_read(&other.had_it);
    while (!qatomic_read(&other.had_it)) {
        /* The thread had no turn: unlock for it. */
        guest_memfd_manager_unlock(other.gmm);
        sched_yield();
        guest_memfd_manager_lock(other.gmm);
    }
    qatomic_set(&other.had_it, false);
    qatomic_set(&other.is_about_to, false);
    qemu_sem_post(&other.start);
    while (!qatomic_read(&other.is_about_to)) {
        sched_yield();
    }
    /* Give the thread time to block on the lock. */
    usleep(2000);
}

static void test_turn(void)
{
    QemuThread thread;

    start_machine();
    add_ram(0, BLOCK_PAGES, 0, 0);
    other.gmm = guest_memfd_manager_from_region(rig.regions[0]);
    other.had_it = true;
    nturns = 0;
    qemu_sem_init(&other.start, 0);
    qemu_thread_create(&thread, "other", take_turns, NULL,
                       QEMU_THREAD_JOINABLE);
    rig.on_attributes = give_turn;
    for (unsigned int i = 0; i < NROUNDS; i++) {
        g_assert_cmpint(convert(0, BLOCK_PAGES,
                                page_state_from_private(i & 1)), ==, 0);
    }
    rig.on_attributes = NULL;
    qemu_thread_join(&thread);
    qemu_sem_destroy(&other.start);
    g_test_message("%u turns of %u", nturns, NTURNS);
    /* On a busy machine the thread can be late. */
    g_assert_cmpuint(nturns, >=, NTURNS * 98 / 100);
    stop_machine();
}

/* Reports are rate-limited; events are limited by the monitor. */
static void test_reports(void)
{
    start_machine();
    add_ram(0, 20, 0, 0);
    rig.nevents = 0;
    g_assert_cmpint(convert(50, 1, PAGE_STATE_PRIVATE), ==, -EINVAL);
    g_assert_cmpuint(fake_nreports(), ==, 1);
    g_assert_cmpuint(rig.nevents, ==, 0);
    for (int i = 1; i <= 1000; i++) {
        journal_fail_calls(1, 1, ENOMEM);
        g_assert_cmpint(convert(0, 1, PAGE_STATE_SHARED), ==, -ENOMEM);
        g_assert_cmpuint(rig.nevents, ==, i);
        g_assert_cmpuint(rig.nfailures, ==, i);
    }
    /* There is one for each five seconds that this takes. */
    g_assert_cmpuint(fake_nreports(), <, 10);
    stop_machine();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);
    error_init(argv[0]);

    /* This comes first, because other tests cause reports. */
    g_test_add_func("/kvm-convert-memory/reports", test_reports);
    g_test_add_func("/kvm-convert-memory/piece", test_piece);
    g_test_add_func("/kvm-convert-memory/pieces", test_pieces);
    g_test_add_func("/kvm-convert-memory/parts", test_parts);
    g_test_add_func("/kvm-convert-memory/undo/to-shared",
                    test_undo_to_shared);
    g_test_add_func("/kvm-convert-memory/undo/to-private",
                    test_undo_to_private);
    g_test_add_func("/kvm-convert-memory/undo/fails", test_undo_fails);
    g_test_add_func("/kvm-convert-memory/not-ram", test_not_ram);
    g_test_add_func("/kvm-convert-memory/parts-of-pages",
                    test_parts_of_pages);
    g_test_add_func("/kvm-convert-memory/slots", test_slots);
    g_test_add_func("/kvm-convert-memory/two-places", test_two_places);
    g_test_add_func("/kvm-convert-memory/plug", test_plug);
    g_test_add_func("/kvm-convert-memory/reset", test_reset);
    g_test_add_func("/kvm-convert-memory/fault/errors", test_fault);
    g_test_add_func("/kvm-convert-memory/fault/again", test_fault_again);
    g_test_add_func("/kvm-convert-memory/fault/where-ram-was",
                    test_fault_where_ram_was);
    g_test_add_func("/kvm-convert-memory/turn", test_turn);
    return g_test_run();
}
