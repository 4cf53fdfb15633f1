/*
 * QTest of VFIO devices that do DMA to shared memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QTEST_VFIO_HOSTS must contain the PCI addresses of two host devices, such as
 * "0000:01:00.0 0000:02:00.0", that are bound to vfio-pci and that may master
 * the bus.  The guest has private memory, which requires software-protected VMs
 * in KVM.  It does not run: the test accesses I/O ports in place of the guest.
 * Tests are skipped if the host lacks their requirements.
 */

#include "qemu/osdep.h"

#include "qemu/units.h"
#include "hw/pci/pci_regs.h"
#include "shared-dma-test.h"

#define PAGE 4096
#define ROM_START (4 * GiB - SHARED_DMA_ROM_SIZE)

#define NDEVICES 2

/* Root ports, each with a bus */
#define PORTS \
    " -device pcie-root-port,id=port0,addr=4,chassis=1" \
    " -device pcie-root-port,id=port1,addr=5,chassis=2"
#define FIRST_SLOT 4

/* q35's ACPI hotplug */
#define EJECT_SLOTS 0xcc8
#define EJECT_BUS 0xcd0

typedef enum Backend { TYPE1, IOMMUFD } Backend;

static const char *const backend_names[] = { "type1", "iommufd" };

static char *hosts[NDEVICES];

typedef struct Guest {
    QTestState *qts;
    Backend backend;
} Guest;

static const char *find_lacking(Backend backend)
{
    const char *lacking = shared_dma_lacks_private_memory();

    if (lacking) {
        return lacking;
    }
    if (!hosts[NDEVICES - 1]) {
        return "QTEST_VFIO_HOSTS does not contain two devices";
    }
    if (backend == IOMMUFD && access("/dev/iommu", R_OK | W_OK)) {
        return "/dev/iommu cannot be opened";
    }
    return NULL;
}

/* PCI configuration space */

static void select_config(Guest *guest, int bus, int slot, int offset)
{
    qtest_outl(guest->qts, 0xcf8,
               1u << 31 | bus << 16 | slot << 11 | (offset & ~3));
}

/* Number the buses behind root ports, starting at 1. */
static void number_buses(Guest *guest)
{
    for (int port = 0; port < NDEVICES; port++) {
        select_config(guest, 0, FIRST_SLOT + port, PCI_PRIMARY_BUS);
        qtest_outl(guest->qts, 0xcfc, (port + 1) << 8 | (port + 1) << 16);
    }
}

static void set_master(Guest *guest, int device, bool master)
{
    select_config(guest, device + 1, 0, PCI_COMMAND);
    qtest_outw(guest->qts, 0xcfc, master ? PCI_COMMAND_MASTER : 0);
}

static bool is_master(Guest *guest, int device)
{
    select_config(guest, device + 1, 0, PCI_COMMAND);
    return qtest_inw(guest->qts, 0xcfc) & PCI_COMMAND_MASTER;
}

/* Machines and devices */

static bool start(Guest *guest, const void *backend)
{
    const char *lacking;

    guest->backend = *(const Backend *)backend;
    lacking = find_lacking(guest->backend);
    if (lacking) {
        g_test_skip(lacking);
        return false;
    }
    guest->qts = shared_dma_start_private(
        guest->backend == IOMMUFD ? PORTS " -object iommufd,id=iommufd0"
                                  : PORTS);
    number_buses(guest);
    return true;
}

/* Return the response to device_add. */
static QDict *try_plug(Guest *guest, int device, const char *extent)
{
    g_autofree char *id = g_strdup_printf("edu%d", device);
    g_autofree char *bus = g_strdup_printf("port%d", device);
    QDict *arguments = qdict_new();

    qdict_put_str(arguments, "driver", "vfio-pci");
    qdict_put_str(arguments, "id", id);
    qdict_put_str(arguments, "bus", bus);
    qdict_put_str(arguments, "host", hosts[device]);
    if (guest->backend == IOMMUFD) {
        qdict_put_str(arguments, "iommufd", "iommufd0");
    }
    if (extent) {
        qdict_put_str(arguments, "x-shared-dma-extent", extent);
    }
    return qtest_qmp(guest->qts,
                     "{ 'execute': 'device_add', 'arguments': %p }",
                     arguments);
}

static void plug(Guest *guest, int device, const char *extent)
{
    g_autoptr(QDict) response = try_plug(guest, device, extent);

    g_assert_true(qdict_haskey(response, "return"));
}

static void assert_refused(Guest *guest, int device, const char *extent,
                           const char *message)
{
    g_autoptr(QDict) response = try_plug(guest, device, extent);
    const char *desc;

    g_assert_true(qdict_haskey(response, "error"));
    desc = qdict_get_str(qdict_get_qdict(response, "error"), "desc");
    g_test_message("%s", desc);
    g_assert_true(g_str_has_suffix(desc, message));
}

/* Unplug a device, and eject it in place of the guest. */
static void unplug(Guest *guest, int device)
{
    g_autofree char *id = g_strdup_printf("edu%d", device);

    qtest_qmp_device_del_send(guest->qts, id);
    /* QEMU numbers the buses of root ports starting with the last one. */
    qtest_outl(guest->qts, EJECT_BUS, NDEVICES - 1 - device);
    qtest_outl(guest->qts, EJECT_SLOTS, 1);
    qtest_qmp_eventwait(guest->qts, "DEVICE_DELETED");
}

/* Results of queries */

static void assert_nothing(QTestState *qts)
{
    g_autoptr(QList) list = shared_dma_query(qts, "x-query-vfio-dma", NULL);

    g_assert_true(qlist_empty(list));
    shared_dma_assert_info(qts, "vfio-dma", "There is no VFIO container.");
}

/* Return the result for the only container. */
static QDict *query_container(Guest *guest, QDict *arguments)
{
    g_autoptr(QList) list = shared_dma_query(guest->qts, "x-query-vfio-dma",
                                             arguments);

    g_assert_cmpuint(qlist_size(list), ==, 1);
    return qobject_ref(qobject_to(QDict, qlist_peek(list)));
}

static QDict *find_device(QDict *info, int device)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "devices"), entry) {
        QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(dict, "name"), hosts[device])) {
            return dict;
        }
    }
    return NULL;
}

static void check_device(Guest *guest, QDict *info, int device, bool master)
{
    g_autofree char *id = g_strdup_printf("edu%d", device);
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);
    QDict *dict = find_device(info, device);

    g_assert_nonnull(dict);
    g_assert_cmpstr(qdict_get_str(dict, "id"), ==, id);
    g_assert_cmpstr(qdict_get_str(dict, "qom-path"), ==, path);
    g_assert_cmpint(qdict_get_bool(dict, "may-do-dma"), ==, master);
    g_assert_false(qdict_get_bool(dict, "refused"));
    g_assert_cmpint(is_master(guest, device), ==, master);
    shared_dma_assert_info(guest->qts, "vfio-dma", "%s (%s), %s", id,
                           hosts[device],
                           master ? "may do DMA" : "may not do DMA");
}

/* Check that only the ROM is populated, and whether all of it is mapped. */
static void check_memory(Guest *guest, QDict *info, bool mapped)
{
    const uint64_t extents = qdict_get_int(info, "extents");
    const uint64_t size = mapped ? SHARED_DMA_ROM_SIZE : 0;

    g_assert_cmpuint(extents, >, 0);
    g_assert_cmpuint(qdict_get_int(info, "mapped-extents"), ==,
                     mapped ? extents : 0);
    g_assert_cmpuint(qdict_get_int(info, "populated-size"), ==,
                     SHARED_DMA_ROM_SIZE);
    g_assert_cmpuint(qdict_get_int(info, "mapped-size"), ==, size);
    g_assert_cmpuint(qdict_get_int(info, "missing-size"), ==, 0);
    g_assert_cmpuint(qdict_get_int(info, "stuck-size"), ==, 0);
    g_assert_cmpuint(qdict_get_int(info, "failures"), ==, 0);
    shared_dma_assert_info(guest->qts, "vfio-dma", "64 KiB populated, %s"
                           " mapped, 0 B missing, 0 B stuck",
                           mapped ? "64 KiB" : "0 B");
}

/*
 * Without a kernel limit, QEMU's limit applies, unless mappings are cut or
 * extents are pages.
 */
static void check_budget(Guest *guest, QDict *info)
{
    QDict *budget = qdict_get_qdict(info, "budget");
    const char *extent_size = qdict_get_str(info, "extent-size");
    const bool cutting = guest->backend != TYPE1 &&
                         !strcmp(extent_size, "auto");

    g_assert_cmpint(qdict_get_bool(info, "cutting"), ==, cutting);
    if (cutting ||
        (guest->backend != TYPE1 && !strcmp(extent_size, "page"))) {
        g_assert_null(budget);
    } else {
        g_assert_nonnull(budget);
        g_assert_cmpint(qdict_get_int(budget, "limit") == 1048576, ==,
                        guest->backend != TYPE1);
    }
}

static void check_container(Guest *guest, bool is_open, bool mapped)
{
    g_autoptr(QDict) info = query_container(guest, NULL);

    g_assert_cmpstr(qdict_get_str(info, "backend"), ==,
                    backend_names[guest->backend]);
    check_budget(guest, info);
    g_assert_false(qdict_haskey(info, "window"));
    g_assert_cmpint(qdict_get_bool(info, "open"), ==, is_open);
    check_memory(guest, info, mapped);
    shared_dma_assert_info(guest->qts, "vfio-dma", is_open
                           ? "open, memory is mapped"
                           : "closed, new memory is not mapped");
}

static void check_master(Guest *guest, int device, bool master)
{
    g_autoptr(QDict) info = query_container(guest, NULL);

    check_device(guest, info, device, master);
}

/* Check whether a listener is registered with each RAM block, or with none. */
static void check_listeners(Guest *guest, bool any)
{
    g_autoptr(QList) blocks = shared_dma_query(guest->qts,
                                               "query-guest-memfd", NULL);
    const QListEntry *entry;

    g_assert_false(qlist_empty(blocks));
    QLIST_FOREACH_ENTRY(blocks, entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        g_assert_cmpint(qdict_get_int(info, "listeners") > 0, ==, any);
    }
}

/* Tests without a device */

static void test_property(void)
{
    QTestState *qts = qtest_init("-machine none");
    g_autoptr(QDict) response = qtest_qmp(
        qts, "{ 'execute': 'device-list-properties', 'arguments': {"
        " 'typename': 'vfio-pci' } }");
    const char *type = NULL, *description = NULL;
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        const QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(dict, "name"), "x-shared-dma-extent")) {
            type = qdict_get_str(dict, "type");
            description = qdict_get_try_str(dict, "description");
        }
    }
    g_assert_cmpstr(type, ==, "str");
    g_assert_nonnull(description);
    g_assert_nonnull(strstr(description, "IOMMU mappings"));
    qtest_quit(qts);
}

static QDict *named_container(const char *path)
{
    QDict *arguments = qdict_new();

    qdict_put_str(arguments, "qom-path", path);
    return arguments;
}

static void test_nothing(const void *machine)
{
    QTestState *qts = shared_dma_start_tcg(machine);
    g_autoptr(QList) windows = shared_dma_query(
        qts, "x-query-vfio-dma", shared_dma_window(0, PAGE, 1, 1));

    assert_nothing(qts);
    g_assert_true(qlist_empty(windows));
    shared_dma_assert_query_fails(qts, "x-query-vfio-dma",
                                  named_container("/machine"),
                                  "there is no VFIO container '/machine'");
    shared_dma_assert_windows_checked(qts, "x-query-vfio-dma");
    qtest_quit(qts);
}

/* Tests with devices */

static void test_plug(const void *backend)
{
    Guest guest;

    if (!start(&guest, backend)) {
        return;
    }
    for (int round = 0; round < 2; round++) {
        assert_nothing(guest.qts);
        check_listeners(&guest, false);
        plug(&guest, 0, NULL);
        check_listeners(&guest, true);
        check_container(&guest, false, false);
        check_master(&guest, 0, false);
        plug(&guest, 1, NULL);
        check_container(&guest, false, false);
        check_master(&guest, 1, false);
        unplug(&guest, 0);
        check_container(&guest, false, false);
        check_master(&guest, 1, false);
        set_master(&guest, 1, true);
        check_container(&guest, true, true);
        unplug(&guest, 1);
    }
    assert_nothing(guest.qts);
    check_listeners(&guest, false);
    qtest_quit(guest.qts);
}

static void test_gate(const void *backend)
{
    Guest guest;

    if (!start(&guest, backend)) {
        return;
    }
    plug(&guest, 0, NULL);
    check_container(&guest, false, false);
    set_master(&guest, 0, true);
    check_container(&guest, true, true);
    check_master(&guest, 0, true);
    set_master(&guest, 0, false);
    check_container(&guest, false, true);
    check_master(&guest, 0, false);

    plug(&guest, 1, NULL);
    set_master(&guest, 1, true);
    check_container(&guest, true, true);
    set_master(&guest, 0, true);
    set_master(&guest, 1, false);
    check_container(&guest, true, true);
    check_master(&guest, 0, true);
    check_master(&guest, 1, false);
    unplug(&guest, 0);
    check_container(&guest, false, true);
    qtest_quit(guest.qts);
}

static void test_reset(const void *backend)
{
    Guest guest;

    if (!start(&guest, backend)) {
        return;
    }
    plug(&guest, 0, NULL);
    for (int round = 0; round < 2; round++) {
        set_master(&guest, 0, true);
        check_container(&guest, true, true);
        qtest_system_reset(guest.qts);
        number_buses(&guest);
        check_container(&guest, false, false);
        check_master(&guest, 0, false);
    }
    qtest_quit(guest.qts);
}

typedef struct Extent {
    const char *value;
    /* Number of extents that the ROM needs */
    int extents;
} Extent;

static const Extent good_extents[] = {
    { "auto", 1 }, { "page", 16 }, { "4K", 16 }, { "4096", 16 }, { "16K", 4 },
    { "64K", 1 }, { "2M", 1 }, { "1T", 1 },
};

static const char *const bad_extents[] = {
    "", "pages", "3M", "2K", "2T", "-1", "0", "4K4K",
};

static void check_extent(Guest *guest, const Extent *extent)
{
    g_autoptr(QDict) info = query_container(guest, NULL);

    g_assert_cmpstr(qdict_get_str(info, "extent-size"), ==, extent->value);
    g_assert_cmpint(qdict_get_int(info, "mapped-extents"), ==,
                    extent->extents);
    g_assert_cmpint(qdict_get_int(info, "largest-extent"), ==,
                    SHARED_DMA_ROM_SIZE / extent->extents);
    g_assert_cmpint(qdict_get_int(info, "smallest-extent"), ==,
                    SHARED_DMA_ROM_SIZE / extent->extents);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "extents-by-size")), ==,
                     1);
    shared_dma_assert_info(guest->qts, "vfio-dma", "%d, %d of them mapped",
                           extent->extents, extent->extents);
}

static void test_extents(const void *backend)
{
    Guest guest;

    if (!start(&guest, backend)) {
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(good_extents); i++) {
        plug(&guest, 0, good_extents[i].value);
        set_master(&guest, 0, true);
        check_container(&guest, true, true);
        check_extent(&guest, &good_extents[i]);
        unplug(&guest, 0);
        assert_nothing(guest.qts);
    }
    qtest_quit(guest.qts);
}

static void test_bad_extents(const void *backend)
{
    Guest guest;

    if (!start(&guest, backend)) {
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad_extents); i++) {
        g_autofree char *message = g_strdup_printf(
            "x-shared-dma-extent: '%s' is none of 'auto', 'superpage', 'page'"
            " and a power of two from 4K to 1T", bad_extents[i]);

        assert_refused(&guest, 0, bad_extents[i], message);
        assert_nothing(guest.qts);
    }
    plug(&guest, 0, "page");
    assert_refused(&guest, 1, "2M", "x-shared-dma-extent=2M contradicts"
                   " 'page', which another device of the same VFIO container"
                   " has");
    assert_refused(&guest, 1, "auto", "x-shared-dma-extent=auto contradicts"
                   " 'page', which another device of the same VFIO container"
                   " has");
    check_container(&guest, false, false);
    plug(&guest, 1, "page");
    check_master(&guest, 0, false);
    check_master(&guest, 1, false);
    unplug(&guest, 1);
    unplug(&guest, 0);
    plug(&guest, 0, "superpage");
    assert_refused(&guest, 1, "auto", "x-shared-dma-extent=auto contradicts"
                   " 'superpage', which another device of the same VFIO"
                   " container has");
    check_container(&guest, false, false);
    qtest_quit(guest.qts);
}

/* Windows of a guest whose ROM is mapped page by page */

static void check_window(Guest *guest, uint64_t start, int64_t size,
                         int64_t max, size_t expected)
{
    g_autoptr(QDict) info = query_container(
        guest, shared_dma_window(start, size, max, -1));
    QDict *window = qdict_get_qdict(info, "window");
    QList *extents = qdict_get_qlist(window, "extents");
    uint64_t iova = MAX(start, ROM_START);
    const QListEntry *entry;

    g_assert_cmpuint(qlist_size(extents), ==, expected);
    QLIST_FOREACH_ENTRY(extents, entry) {
        QDict *extent = qobject_to(QDict, qlist_entry_obj(entry));

        g_assert_cmpuint(qdict_get_int(extent, "iova"), ==, iova);
        g_assert_cmpuint(qdict_get_int(extent, "size"), ==, PAGE);
        g_assert_true(qdict_get_bool(extent, "mapped"));
        iova += PAGE;
    }
    g_assert_cmpint(qdict_get_bool(window, "more"), ==, max == expected);
}

/* Check eight cells; the first four are below the ROM. */
static void check_cells(Guest *guest)
{
    g_autoptr(QDict) info = query_container(
        guest, shared_dma_window(ROM_START - SHARED_DMA_ROM_SIZE,
                                 2 * SHARED_DMA_ROM_SIZE, 1, 8));
    QDict *window = qdict_get_qdict(info, "window");
    const QListEntry *entry;
    int cell = 0;

    g_assert_cmpuint(qdict_get_int(window, "cell-size"), ==,
                     SHARED_DMA_ROM_SIZE / 4);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(window, "cells"), entry) {
        QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));

        g_assert_cmpint(qdict_get_int(dict, "size"), ==, cell < 4 ? 0 : PAGE);
        g_assert_cmpint(qdict_get_bool(dict, "mapped"), ==, cell >= 4);
        cell++;
    }
    g_assert_cmpint(cell, ==, 8);
}

static void test_windows(const void *backend)
{
    Guest guest;

    if (!start(&guest, backend)) {
        return;
    }
    plug(&guest, 0, "page");
    set_master(&guest, 0, true);
    shared_dma_assert_windows_checked(guest.qts, "x-query-vfio-dma");
    check_window(&guest, 0, -1, -1, 16);
    check_window(&guest, 0, ROM_START, -1, 0);
    check_window(&guest, 0, -1, 3, 3);
    check_window(&guest, ROM_START + PAGE, 2 * PAGE, -1, 2);
    check_window(&guest, 4 * GiB, -1, -1, 0);
    check_cells(&guest);
    qtest_quit(guest.qts);
}

static void find_hosts(void)
{
    const char *variable = getenv("QTEST_VFIO_HOSTS");
    g_auto(GStrv) names = g_strsplit(variable ?: "", " ", -1);

    if (g_strv_length(names) == NDEVICES) {
        for (int i = 0; i < NDEVICES; i++) {
            hosts[i] = g_strdup(names[i]);
        }
    }
}

static void add_test(const char *name, void (*test)(const void *),
                     const Backend *backend)
{
    g_autofree char *path = g_strdup_printf(
        "/vfio-shared-dma/%s/%s", backend_names[*backend], name);

    qtest_add_data_func(path, backend, test);
}

int main(int argc, char **argv)
{
    static const Backend backends[] = { TYPE1, IOMMUFD };

    g_test_init(&argc, &argv, NULL);
    find_hosts();

    qtest_add_func("/vfio-shared-dma/property", test_property);
    qtest_add_data_func("/vfio-shared-dma/nothing/none", "none", test_nothing);
    qtest_add_data_func("/vfio-shared-dma/nothing/q35", "q35", test_nothing);
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        add_test("plug", test_plug, &backends[i]);
        add_test("gate", test_gate, &backends[i]);
        add_test("reset", test_reset, &backends[i]);
        add_test("extents", test_extents, &backends[i]);
        add_test("bad-extents", test_bad_extents, &backends[i]);
        add_test("windows", test_windows, &backends[i]);
    }
    return g_test_run();
}
