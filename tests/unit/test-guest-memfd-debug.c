/*
 * Test of accesses to guest memory by the monitor, without KVM
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-shared-dma.h"
#include "qemu/module.h"
#include "monitor/monitor.h"
#include "system/guest-memfd-debug.h"
#include "system/guest-memfd-limits.h"
#include "tests/unit/guest-memfd-rig.h"

/* Guest memory: registers of a device, and the block of the rig behind them */
#define RAM_START 0x10000

AddressSpace address_space_memory;

static FakeBlock *ram;
static MemoryRegion mmio;

bool guest_memfd_is_required(void)
{
    return true;
}

int monitor_printf(Monitor *mon, const char *fmt, ...)
{
    return 0;
}

GuestMemfdInfoList *qmp_query_guest_memfd(const char *id,
                                          SharedDmaWindow *ranges,
                                          Error **errp)
{
    return NULL;
}

/* Like the original, clip the length to RAM only. */
MemoryRegion *flatview_translate(FlatView *fv, hwaddr addr, hwaddr *xlat,
                                 hwaddr *len, bool is_write, MemTxAttrs attrs)
{
    if (addr < RAM_START) {
        *xlat = addr;
        return &mmio;
    }
    *xlat = addr - RAM_START;
    *len = MIN(*len, NPAGES * page_size() - *xlat);
    return ram->mr;
}

/* The functions that QEMU calls to read guest memory */
void fake_physical_memory_read(hwaddr addr, void *buf, hwaddr len)
    __asm__("cpu_physical_memory_read");
void fake_physical_memory_rw(hwaddr addr, void *buf, hwaddr len, bool is_write)
    __asm__("cpu_physical_memory_rw");

/* Fill with ones, and check that private memory is not read. */
void fake_physical_memory_read(hwaddr addr, void *buf, hwaddr len)
{
    g_assert_cmpuint(addr + len, <=, RAM_START);
    memset(buf, 1, len);
}

void fake_physical_memory_rw(hwaddr addr, void *buf, hwaddr len, bool is_write)
{
    g_assert_false(is_write);
    fake_physical_memory_read(addr, buf, len);
}

static void start(void)
{
    ram = fake_block_new();
    ram->block.host = g_malloc(NPAGES * page_size());
    memset(ram->block.host, 2, NPAGES * page_size());
    guest_memfd_set_debug_ops(ram->mr);
}

static void stop(void)
{
    g_free(ram->block.host);
    fake_block_free(ram);
}

static bool accepts(hwaddr addr, unsigned size, bool is_debug)
{
    const MemTxAttrs attrs = { .debug = is_debug };

    return ram->mr->ops->valid.accepts(ram->mr, addr, size, true, attrs);
}

/* Accesses across the end of RAM, which devices can make, must fail. */
static void test_accepts(void)
{
    const uint64_t size = NPAGES * page_size();

    start();
    make_shared(ram, 0, NPAGES);
    g_assert_true(accepts(0, 8, true));
    g_assert_true(accepts(size - 4, 4, true));
    g_assert_false(accepts(size - 2, 4, true));
    g_assert_false(accepts(size, 1, true));
    g_assert_false(accepts(UINT64_MAX, 8, true));
    g_assert_false(accepts(0, 4, false));
    g_assert_false(accepts(size - 2, 4, false));
    stop();
}

static void test_access(void)
{
    const MemTxAttrs attrs = { .debug = 1 };
    const MemoryRegionOps *ops;
    uint64_t data;

    start();
    ops = ram->mr->ops;
    make_shared(ram, 1, 1);
    g_assert_cmpint(ops->read_with_attrs(ram->mr, page_size(), &data, 2, attrs),
                    ==, MEMTX_OK);
    g_assert_cmphex(data, ==, 0x0202);
    g_assert_cmpint(ops->write_with_attrs(ram->mr, 2 * page_size() - 1, 7, 1,
                                          attrs), ==, MEMTX_OK);
    g_assert_cmpint(((char *)ram->block.host)[2 * page_size() - 1], ==, 7);
    /* Any private byte makes an access fail. */
    g_assert_cmpint(ops->read_with_attrs(ram->mr, page_size() - 1, &data, 2,
                                         attrs), ==, MEMTX_ACCESS_ERROR);
    g_assert_cmpint(ops->write_with_attrs(ram->mr, 2 * page_size() - 1, 9, 2,
                                          attrs), ==, MEMTX_ACCESS_ERROR);
    g_assert_cmpint(((char *)ram->block.host)[2 * page_size() - 1], ==, 7);
    stop();
}

static void test_read_shared(void)
{
    g_autofree char *buf = g_malloc(RAM_START + NPAGES * page_size());
    Error *err = NULL;

    start();
    make_shared(ram, 0, 2);
    g_assert_true(guest_memfd_read_shared(RAM_START, buf, 2 * page_size(),
                                          &error_abort));
    g_assert_cmpint(buf[0], ==, 2);
    g_assert_cmpint(buf[2 * page_size() - 1], ==, 2);

    /* A range that starts in something other than RAM */
    g_assert_true(guest_memfd_read_shared(8, buf, RAM_START, &error_abort));
    g_assert_cmpint(buf[RAM_START - 9], ==, 1);
    g_assert_cmpint(buf[RAM_START - 8], ==, 2);
    g_assert_false(guest_memfd_read_shared(8, buf,
                                           RAM_START + 3 * page_size(), &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "at 0x12000 is not shared"));
    error_free(err);
    g_assert_cmpint(buf[RAM_START - 8 + 2 * page_size() - 1], ==, 2);
    g_assert_cmpint(buf[RAM_START - 8 + 2 * page_size()], ==, 0);
    stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);

    g_test_add_func("/guest-memfd-debug/accepts", test_accepts);
    g_test_add_func("/guest-memfd-debug/access", test_access);
    g_test_add_func("/guest-memfd-debug/read-shared", test_read_shared);
    return g_test_run();
}
