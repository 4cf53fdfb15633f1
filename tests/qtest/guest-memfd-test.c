/*
 * QTest of private memory: sw-protected-vm, its manager, and queries
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Guests with private memory need KVM's software-protected VMs.  Those that
 * convert memory also need the firmware of tests/nested, at the path in
 * QTEST_SHARED_DMA_FIRMWARE.  Tests are skipped if either is missing.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>

#include "qemu/units.h"
#include "qobject/qnum.h"
#include "firmware-program.h"
#include "shared-dma-test.h"

#define PAGE 4096
#define AREA (64 * MiB)
#define ROM_START (4 * GiB - SHARED_DMA_ROM_SIZE)

/* The ID of RAM without a memory backend */
#define RAM_ID "pc.ram"

static const char *lacking;

static bool skip(void)
{
    if (lacking) {
        g_test_skip(lacking);
    }
    return lacking;
}

/* Objects */

static QList *qom_list(QTestState *qts, const char *path)
{
    g_autoptr(QDict) response = qtest_qmp(
        qts, "{ 'execute': 'qom-list', 'arguments': { 'path': %s } }", path);

    g_assert_true(qdict_haskey(response, "return"));
    return qobject_ref(qdict_get_qlist(response, "return"));
}

static const char *type_in_list(QList *list, const char *name)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(list, entry) {
        const QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(dict, "name"), name)) {
            return qdict_get_str(dict, "type");
        }
    }
    return NULL;
}

static void assert_no_property(QTestState *qts)
{
    g_autoptr(QDict) response = qtest_qmp(
        qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'sw-protected-vm', 'id': 'sp1', 'policy': 1 } }");

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(response, "error"), "desc"),
                    ==, "Parameter 'policy' is unexpected");
}

static void assert_results(QTestState *qts, const char *expected)
{
    g_autoptr(QDict) response = qtest_qmp(
        qts, "{ 'execute': 'qom-get', 'arguments': {"
        " 'path': '/objects/sp0', 'property': 'x-map-gpa-range' } }");

    g_assert_cmpstr(qdict_get_str(response, "return"), ==, expected);
}

/* The type has no options, except one for tests. */
static void test_object(void)
{
    QTestState *qts = qtest_init("-machine none");
    g_autoptr(QList) properties = NULL;
    g_autoptr(QList) objects = NULL;

    assert_no_property(qts);
    qtest_qmp_assert_success(
        qts, "{ 'execute': 'object-add', 'arguments': {"
        " 'qom-type': 'sw-protected-vm', 'id': 'sp0' } }");
    objects = qom_list(qts, "/objects");
    g_assert_cmpstr(type_in_list(objects, "sp0"), ==,
                    "child<sw-protected-vm>");
    properties = qom_list(qts, "/objects/sp0");
    g_assert_cmpuint(qlist_size(properties), ==, 2);
    g_assert_cmpstr(type_in_list(properties, "type"), ==, "string");
    g_assert_cmpstr(type_in_list(properties, "x-map-gpa-range"), ==,
                    "MapGpaRangeAbi");
    assert_results(qts, "rax");
    qtest_qmp_assert_success(
        qts, "{ 'execute': 'qom-set', 'arguments': { 'path': '/objects/sp0',"
        " 'property': 'x-map-gpa-range', 'value': 'snp' } }");
    assert_results(qts, "snp");
    qtest_qmp_assert_success(
        qts, "{ 'execute': 'object-del', 'arguments': { 'id': 'sp0' } }");
    qtest_quit(qts);
}

static void test_refused_without_kvm(void)
{
    shared_dma_assert_refused(
        "-accel tcg -machine q35,confidential-guest-support=sp0"
        " -object sw-protected-vm,id=sp0",
        "cannot set up private guest memory for sw-protected-vm: KVM required");
}

static void test_refused_id(void)
{
    shared_dma_assert_refused(
        "-accel tcg -machine q35,confidential-guest-support=sp1"
        " -object sw-protected-vm,id=sp0", "'sp1'");
}

static void test_refused_smm(void)
{
    if (!skip()) {
        shared_dma_assert_refused_private(
            "-machine smm=on", "sw-protected-vm: KVM does not support SMM for"
            " guests with private memory; use -machine smm=off");
    }
}

/* Queries */

/* Without private memory the query returns nothing. */
static void test_nothing(const void *machine)
{
    QTestState *qts = shared_dma_start_tcg(machine);
    g_autoptr(QList) blocks = shared_dma_query(qts, "query-guest-memfd", NULL);
    g_autoptr(QList) windows = shared_dma_query(
        qts, "query-guest-memfd", shared_dma_window(0, PAGE, 1, 1));
    QDict *arguments = qdict_new();

    g_assert_true(qlist_empty(blocks));
    g_assert_true(qlist_empty(windows));
    qdict_put_str(arguments, "id", RAM_ID);
    shared_dma_assert_query_fails(
        qts, "query-guest-memfd", arguments,
        "there is no RAM block '" RAM_ID "' with a guest_memfd");
    shared_dma_assert_windows_checked(qts, "query-guest-memfd");
    shared_dma_assert_info(qts, "guest-memfd",
                           "No RAM block has a guest_memfd.");
    qtest_quit(qts);
}

/* Query one RAM block; @arguments can be NULL. */
static QDict *query_block(QTestState *qts, const char *id, QDict *arguments)
{
    g_autoptr(QList) list = NULL;
    QDict *info;

    arguments = arguments ?: qdict_new();
    qdict_put_str(arguments, "id", id);
    list = shared_dma_query(qts, "query-guest-memfd", arguments);
    g_assert_cmpuint(qlist_size(list), ==, 1);
    info = qobject_ref(qobject_to(QDict, qlist_peek(list)));
    g_assert_cmpstr(qdict_get_str(info, "id"), ==, id);
    return info;
}

/* Return the ID of the block that the guest sees at @gpa, or NULL. */
static char *block_at(QTestState *qts, uint64_t gpa)
{
    g_autoptr(QList) list = shared_dma_query(qts, "query-guest-memfd", NULL);
    const QListEntry *block, *entry;

    QLIST_FOREACH_ENTRY(list, block) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(block));

        QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "sections"), entry) {
            QDict *section = qobject_to(QDict, qlist_entry_obj(entry));
            uint64_t start = qdict_get_int(section, "gpa");

            if (gpa >= start &&
                gpa - start < qdict_get_int(section, "size")) {
                return g_strdup(qdict_get_str(info, "id"));
            }
        }
    }
    return NULL;
}

/* Check that the guest sees each byte of the RAM once, in order. */
static void check_ram_sections(QDict *info)
{
    const QListEntry *entry;
    uint64_t end = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "sections"), entry) {
        QDict *section = qobject_to(QDict, qlist_entry_obj(entry));
        uint64_t start = qdict_get_int(section, "gpa");

        g_assert_cmpuint(start, >=, end);
        g_assert_cmpuint(start, ==, qdict_get_int(section, "offset"));
        end = start + qdict_get_int(section, "size");
    }
    g_assert_cmpuint(end, ==, SHARED_DMA_RAM_SIZE);
}

static void assert_shared(QDict *info, uint64_t shared, uint64_t runs)
{
    g_assert_cmpuint(qdict_get_int(info, "shared-size"), ==, shared);
    g_assert_cmpuint(qdict_get_int(info, "private-size"), ==,
                     qdict_get_int(info, "size") - shared);
    g_assert_cmpuint(qdict_get_int(info, "shared-runs"), ==, runs);
}

/* Check that only the ROM is shared, as it is before the guest runs. */
static void check_new_guest(QTestState *qts)
{
    g_autofree char *rom_id = block_at(qts, ROM_START);
    g_autoptr(QDict) ram = query_block(qts, RAM_ID, NULL);
    g_autoptr(QDict) rom = NULL;

    g_assert_nonnull(rom_id);
    rom = query_block(qts, rom_id, NULL);
    g_assert_cmpuint(qdict_get_int(rom, "size"), ==, SHARED_DMA_ROM_SIZE);
    g_assert_cmpuint(qdict_get_int(ram, "size"), ==, SHARED_DMA_RAM_SIZE);
    assert_shared(rom, SHARED_DMA_ROM_SIZE, 1);
    assert_shared(ram, 0, 0);
    check_ram_sections(ram);
    g_assert_cmpint(qdict_get_int(ram, "listeners"), ==, 0);
    g_assert_cmpint(qdict_get_int(ram, "failures"), ==, 0);
    g_assert_false(qdict_haskey(ram, "last-failure"));
    g_assert_false(qdict_haskey(ram, "window"));
}

static void test_manager(void)
{
    QTestState *qts;

    if (skip()) {
        return;
    }
    qts = shared_dma_start_private("");
    check_new_guest(qts);
    qtest_quit(qts);
}

static size_t count_blocks(QTestState *qts)
{
    g_autoptr(QList) list = shared_dma_query(qts, "query-guest-memfd", NULL);

    return qlist_size(list);
}

/* A memory backend is listed while its memory is plugged. */
static void test_unplugged(void)
{
    QTestState *qts;
    size_t nblocks;

    if (skip()) {
        return;
    }
    qts = shared_dma_start_private("-m 256M,slots=1,maxmem=1G");
    nblocks = count_blocks(qts);
    qtest_qmp_assert_success(
        qts, "{ 'execute': 'object-add', 'arguments': {"
        "  'qom-type': 'memory-backend-ram', 'id': 'backend',"
        "  'size': %" PRId64 " } }", 128 * MiB);
    g_assert_cmpuint(count_blocks(qts), ==, nblocks);
    qtest_qmp_device_add(qts, "pc-dimm", "dimm", "{ 'memdev': 'backend' }");
    g_assert_cmpuint(count_blocks(qts), ==, nblocks + 1);
    qtest_quit(qts);
}

static void check_one_more(QDict *before, QDict *after, const char *counter)
{
    g_assert_cmpint(qdict_get_int(after, counter), ==,
                    qdict_get_int(before, counter) + 1);
}

/* Each reset restores the initial state, and counts the conversions. */
static void test_reset(void)
{
    g_autofree char *rom_id = NULL;
    QTestState *qts;

    if (skip()) {
        return;
    }
    qts = shared_dma_start_private("");
    rom_id = block_at(qts, ROM_START);
    g_assert_nonnull(rom_id);
    for (int round = 0; round < 3; round++) {
        g_autoptr(QDict) before = query_block(qts, rom_id, NULL);
        g_autoptr(QDict) after = NULL;

        qtest_system_reset(qts);
        check_new_guest(qts);
        after = query_block(qts, rom_id, NULL);
        check_one_more(before, after, "conversions-to-private");
        check_one_more(before, after, "conversions-to-shared");
    }
    qtest_quit(qts);
}

/* Check the window that is returned for a window: it ends with the block. */
static void check_window(QTestState *qts, int64_t start, int64_t size,
                         uint64_t expected_size, uint64_t expected_cells,
                         uint64_t expected_cell_size)
{
    g_autoptr(QDict) info = query_block(
        qts, RAM_ID, shared_dma_window(start, size, -1, 4));
    QDict *window = qdict_get_qdict(info, "window");

    g_assert_cmpuint(qdict_get_int(window, "start"), ==,
                     MIN(start, SHARED_DMA_RAM_SIZE));
    g_assert_cmpuint(qdict_get_int(window, "size"), ==, expected_size);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(window, "cells")), ==,
                     expected_cells);
    if (expected_cells) {
        g_assert_cmpuint(qdict_get_int(window, "cell-size"), ==,
                         expected_cell_size);
    }
    g_assert_true(qlist_empty(qdict_get_qlist(window, "ranges")));
    g_assert_false(qdict_get_bool(window, "more"));
}

static void test_windows(void)
{
    QTestState *qts;

    if (skip()) {
        return;
    }
    qts = shared_dma_start_private("");
    shared_dma_assert_windows_checked(qts, "query-guest-memfd");
    check_window(qts, 0, -1, SHARED_DMA_RAM_SIZE, 4, SHARED_DMA_RAM_SIZE / 4);
    check_window(qts, PAGE, 16 * PAGE, 16 * PAGE, 4, 4 * PAGE);
    check_window(qts, PAGE, 5 * PAGE, 5 * PAGE, 3, 2 * PAGE);
    check_window(qts, PAGE, 3 * PAGE, 3 * PAGE, 3, PAGE);
    check_window(qts, SHARED_DMA_RAM_SIZE - PAGE, GiB, PAGE, 1, PAGE);
    check_window(qts, INT64_MAX - PAGE + 1, -1, 0, 0, 0);
    qtest_quit(qts);
}

/* Conversions by the firmware */

typedef struct Guest {
    QTestState *qts;
    int serial;
    char *program;
} Guest;

static const FirmwareStep steps[] = {
    { FIRMWARE_SYNC },
    { FIRMWARE_SHARE, AREA, 2 * MiB, 0 },
    { FIRMWARE_SYNC },
    { FIRMWARE_UNSHARE, AREA + MiB, 64 * KiB, 0 },
    { FIRMWARE_SHARE, AREA + 8 * MiB, PAGE, 0 },
    { FIRMWARE_SYNC },
    /* The range is not all RAM: nothing is converted. */
    { FIRMWARE_UNSHARE, SHARED_DMA_RAM_SIZE - MiB, 2 * MiB, -EINVAL },
    { FIRMWARE_UNSHARE, AREA, 16 * MiB, 0 },
    { FIRMWARE_SYNC },
    { FIRMWARE_SHARE, AREA, 16 * MiB, 0 },
    { FIRMWARE_RESET },
    { FIRMWARE_SYNC },
};

static int reset_step(void)
{
    int i = 0;

    while (steps[i].op != FIRMWARE_RESET) {
        i++;
    }
    return i;
}

static void read_line(Guest *guest, char *line, size_t size)
{
    size_t len = 0;

    while (len < size - 1) {
        g_assert_cmpint(read(guest->serial, &line[len], 1), ==, 1);
        if (line[len] == '\n') {
            break;
        }
        len += line[len] != '\r';
    }
    line[len] = '\0';
}

/* Wait until the firmware stops, and check that @reason is why. */
static void run_to(Guest *guest, const char *reason)
{
    char line[256];

    do {
        read_line(guest, line, sizeof(line));
        g_test_message("firmware: %s", line);
    } while (g_str_has_prefix(line, "ok "));
    line[strcspn(line, " ")] = '\0';
    g_assert_cmpstr(line, ==, reason);
}

static void answer(Guest *guest, const char *line)
{
    g_assert_cmpint(write(guest->serial, line, strlen(line)), ==,
                    strlen(line));
}

static void start_at(Guest *guest, int step)
{
    g_autofree char *line = g_strdup_printf("start %d\n", step);

    run_to(guest, "boot");
    answer(guest, line);
}

static void start_guest(Guest *guest, const char *firmware)
{
    const size_t size = firmware_program_size(ARRAY_SIZE(steps));
    g_autofree char *program = g_malloc(size);
    g_autofree char *options = NULL;
    g_autoptr(GError) error = NULL;

    firmware_program_pack(program, steps, ARRAY_SIZE(steps));
    close(g_file_open_tmp("qtest-program-XXXXXX", &guest->program, &error));
    g_assert_no_error(error);
    g_file_set_contents(guest->program, program, size, &error);
    g_assert_no_error(error);
    options = g_strdup_printf(
        SHARED_DMA_PRIVATE "-nodefaults -bios %s"
        " -fw_cfg name=opt/org.qemu.shared-dma/program,file=%s", firmware,
        guest->program);
    guest->qts = qtest_init_with_serial(options, &guest->serial);
    start_at(guest, 0);
}

static void end_guest(Guest *guest)
{
    qtest_quit(guest->qts);
    close(guest->serial);
    g_unlink(guest->program);
    g_free(guest->program);
}

/* A range of a window, relative to the area */
typedef struct Range {
    uint64_t offset;
    uint64_t size;
} Range;

static void check_ranges(QDict *window, const Range *ranges, size_t nranges)
{
    QList *list = qdict_get_qlist(window, "ranges");
    const QListEntry *entry;

    g_assert_cmpuint(qlist_size(list), ==, nranges);
    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *range = qobject_to(QDict, qlist_entry_obj(entry));

        g_assert_cmpuint(qdict_get_int(range, "offset"), ==,
                         AREA + ranges->offset);
        g_assert_cmpuint(qdict_get_int(range, "size"), ==, ranges->size);
        ranges++;
    }
}

/* Check that each cell, of 1 MiB, has the right number of shared bytes. */
static void check_cells(QDict *window, const Range *ranges, size_t nranges)
{
    const QListEntry *entry;
    uint64_t cell = 0;

    g_assert_cmpuint(qdict_get_int(window, "cell-size"), ==, MiB);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(window, "cells"), entry) {
        uint64_t shared = 0;

        for (size_t i = 0; i < nranges; i++) {
            uint64_t start = MAX(ranges[i].offset, cell);
            uint64_t end = MIN(ranges[i].offset + ranges[i].size, cell + MiB);

            shared += start < end ? end - start : 0;
        }
        g_assert_cmpuint(qnum_get_int(qobject_to(QNum, qlist_entry_obj(entry))),
                         ==, shared);
        cell += MiB;
    }
    g_assert_cmpuint(cell, ==, 16 * MiB);
}

/* Check what the query returns when @ranges of the area are shared. */
static void check_area(Guest *guest, QDict *before, const Range *ranges,
                       size_t nranges)
{
    g_autoptr(QDict) info = query_block(
        guest->qts, RAM_ID, shared_dma_window(AREA, 16 * MiB, -1, 16));
    g_autoptr(QDict) short_info = query_block(
        guest->qts, RAM_ID, shared_dma_window(AREA, 16 * MiB, 1, -1));
    QDict *window = qdict_get_qdict(info, "window");
    QDict *short_window = qdict_get_qdict(short_info, "window");
    uint64_t shared = qdict_get_int(before, "shared-size");

    for (size_t i = 0; i < nranges; i++) {
        shared += ranges[i].size;
    }
    assert_shared(info, shared,
                  qdict_get_int(before, "shared-runs") + nranges);
    check_ranges(window, ranges, nranges);
    check_cells(window, ranges, nranges);
    g_assert_false(qdict_get_bool(window, "more"));
    check_ranges(short_window, ranges, MIN(nranges, 1));
    g_assert_false(qdict_haskey(short_window, "cells"));
    g_assert_cmpint(qdict_get_bool(short_window, "more"), ==, nranges > 1);
}

static void check_conversions(Guest *guest, QDict *before, int to_shared,
                              int to_private)
{
    g_autoptr(QDict) info = query_block(guest->qts, RAM_ID, NULL);

    to_shared += qdict_get_int(before, "conversions-to-shared");
    to_private += qdict_get_int(before, "conversions-to-private");
    g_assert_cmpint(qdict_get_int(info, "conversions-to-shared"), ==,
                    to_shared);
    g_assert_cmpint(qdict_get_int(info, "conversions-to-private"), ==,
                    to_private);
    g_assert_cmpint(qdict_get_int(info, "failures"), ==, 0);
    shared_dma_assert_info(guest->qts, "guest-memfd",
                           "  shared runs   %" PRId64 "\r\n",
                           qdict_get_int(info, "shared-runs"));
    shared_dma_assert_info(guest->qts, "guest-memfd",
                           "  made shared   %d\r\n  made private  %d\r\n",
                           to_shared, to_private);
}

static void run_steps(Guest *guest)
{
    const Range one[] = { { 0, 2 * MiB } };
    const Range three[] = { { 0, MiB },
                            { MiB + 64 * KiB, MiB - 64 * KiB },
                            { 8 * MiB, PAGE } };
    g_autoptr(QDict) before = NULL;

    run_to(guest, "sync");
    before = query_block(guest->qts, RAM_ID, NULL);
    check_area(guest, before, NULL, 0);
    answer(guest, "go\n");

    run_to(guest, "sync");
    check_area(guest, before, one, ARRAY_SIZE(one));
    check_conversions(guest, before, 1, 0);
    answer(guest, "go\n");

    run_to(guest, "sync");
    check_area(guest, before, three, ARRAY_SIZE(three));
    check_conversions(guest, before, 2, 1);
    answer(guest, "go\n");

    run_to(guest, "sync");
    check_area(guest, before, NULL, 0);
    check_conversions(guest, before, 2, 2);
    answer(guest, "go\n");

    run_to(guest, "reset");
    start_at(guest, reset_step() + 1);
    run_to(guest, "sync");
    check_area(guest, before, NULL, 0);
    answer(guest, "go\n");
    run_to(guest, "done");
}

static void test_conversions(void)
{
    const char *firmware = getenv("QTEST_SHARED_DMA_FIRMWARE");
    Guest guest;

    if (skip()) {
        return;
    }
    if (!firmware) {
        g_test_skip("QTEST_SHARED_DMA_FIRMWARE is not set to the test"
                    " firmware");
        return;
    }
    start_guest(&guest, firmware);
    run_steps(&guest);
    end_guest(&guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    lacking = shared_dma_lacks_private_memory();

    qtest_add_func("/guest-memfd/object", test_object);
    qtest_add_data_func("/guest-memfd/nothing/none", "none", test_nothing);
    qtest_add_data_func("/guest-memfd/nothing/q35", "q35", test_nothing);
    qtest_add_func("/guest-memfd/refused/no-kvm", test_refused_without_kvm);
    qtest_add_func("/guest-memfd/refused/id", test_refused_id);
    qtest_add_func("/guest-memfd/refused/smm", test_refused_smm);
    qtest_add_func("/guest-memfd/manager", test_manager);
    qtest_add_func("/guest-memfd/unplugged", test_unplugged);
    qtest_add_func("/guest-memfd/windows", test_windows);
    qtest_add_func("/guest-memfd/reset", test_reset);
    qtest_add_func("/guest-memfd/conversions", test_conversions);
    return g_test_run();
}
