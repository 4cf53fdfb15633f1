/*
 * Takes back shared memory beside memory that devices use
 *
 * A part of the guest's kernel for the nested tests.  Drivers copy the data of
 * devices to and from bounce buffers (swiotlb), which are shared in one piece.
 * A thread gets bounce buffers of its own between those of the drivers, makes
 * a part of them private, and shares it again.  Another one shares single pages
 * and takes them back.  /sys/kernel/debug/dma-holes has these files:
 *
 *   holes        whether the first thread runs, 0 or 1
 *   pages        whether the second thread runs, 0 or 1
 *   conversions  the number of conversions of both
 *   failures     whether a conversion has failed, which ends a thread
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <linux/atomic.h>
#include <linux/cc_platform.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/set_memory.h>
#include <linux/string.h>

/* Bounce buffers have at most 1 << MAX_ORDER_HOLE pages. */
#define MAX_ORDER_HOLE  4

/* Number of single pages that are shared at a time */
#define SINGLE_PAGES    1024

#define BUSY_WAIT_MS    1

struct worker {
    const char *name;
    int (*run)(void *unused);
    struct task_struct *task;
};

static DEFINE_MUTEX(lock);
static atomic_t conversions;
static atomic_t failures;
static struct device *dev;
static void *original;

/* Convert pages.  Return whether it succeeded. */
static bool convert(void *start, int npages, bool to_private)
{
    unsigned long address = (unsigned long)start;
    int ret = to_private ? set_memory_encrypted(address, npages)
                         : set_memory_decrypted(address, npages);

    /* The kernel is not preemptible, and a conversion can take milliseconds. */
    cond_resched();
    if (ret) {
        atomic_inc(&failures);
        return false;
    }
    atomic_inc(&conversions);
    return true;
}

/* Take back a part of some pages, use it, and share it again. */
static bool make_hole(void *pages, int npages)
{
    int first = get_random_u32_below(npages);
    int n = 1 + get_random_u32_below(npages - first);
    void *hole = pages + first * PAGE_SIZE;

    if (!convert(hole, n, true)) {
        return false;
    }
    memset(hole, 0x5a, n * PAGE_SIZE);
    return convert(hole, n, false);
}

static int make_holes(void *unused)
{
    while (!kthread_should_stop()) {
        int npages = 1 + get_random_u32_below(1 << MAX_ORDER_HOLE);
        dma_addr_t dma = dma_map_single(dev, original, npages * PAGE_SIZE,
                                        DMA_TO_DEVICE);

        if (dma_mapping_error(dev, dma)) {
            msleep(BUSY_WAIT_MS);
            continue;
        }
        /* Drivers must not get pages that are private. */
        if (!make_hole(phys_to_virt(dma_to_phys(dev, dma)), npages)) {
            break;
        }
        dma_unmap_single(dev, dma, npages * PAGE_SIZE, DMA_TO_DEVICE);
    }
    return 0;
}

/* Share the first of two pages each time, so that they are never adjacent. */
static bool share_pages(struct list_head *pages)
{
    for (int i = 0; i < SINGLE_PAGES && !kthread_should_stop(); i++) {
        struct page *page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, 1);

        if (!page) {
            break;
        }
        if (!convert(page_address(page), 1, false)) {
            __free_pages(page, 1);
            return false;
        }
        list_add(&page->lru, pages);
    }
    return true;
}

static bool take_pages(struct list_head *pages)
{
    struct page *page, *next;

    list_for_each_entry_safe(page, next, pages, lru) {
        if (!convert(page_address(page), 1, true)) {
            return false;
        }
        list_del(&page->lru);
        __free_pages(page, 1);
    }
    return true;
}

static int convert_single_pages(void *unused)
{
    LIST_HEAD(pages);

    while (!kthread_should_stop()) {
        bool shared = share_pages(&pages);

        if (!take_pages(&pages) || !shared) {
            break;
        }
    }
    return 0;
}

static struct worker holes = { "dma-holes", make_holes };
static struct worker single_pages = { "dma-pages", convert_single_pages };

/* Start the thread on the last CPU; the first ones are for the drivers. */
static int worker_start(struct worker *worker)
{
    struct task_struct *task = kthread_create_on_cpu(
        worker->run, NULL, cpumask_last(cpu_online_mask), worker->name);

    if (IS_ERR(task)) {
        return PTR_ERR(task);
    }
    /* It may have ended when it is stopped. */
    worker->task = get_task_struct(task);
    wake_up_process(task);
    return 0;
}

static void worker_stop(struct worker *worker)
{
    kthread_stop_put(worker->task);
    worker->task = NULL;
}

static int worker_get(void *data, u64 *value)
{
    struct worker *worker = data;

    *value = worker->task != NULL;
    return 0;
}

static int worker_set(void *data, u64 value)
{
    struct worker *worker = data;
    int ret = 0;

    mutex_lock(&lock);
    if (value && !worker->task) {
        ret = worker_start(worker);
    } else if (!value && worker->task) {
        worker_stop(worker);
    }
    mutex_unlock(&lock);
    return ret;
}

DEFINE_DEBUGFS_ATTRIBUTE(worker_fops, worker_get, worker_set, "%llu\n");

static int __init dma_holes_init(void)
{
    struct platform_device *pdev;
    struct dentry *folder;

    /* The kernel of level 1 is the same, but has no private memory. */
    if (!cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT)) {
        return 0;
    }
    original = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO,
                                        MAX_ORDER_HOLE);
    if (!original) {
        return -ENOMEM;
    }
    pdev = platform_device_register_simple("dma-holes", -1, NULL, 0);
    if (IS_ERR(pdev)) {
        free_pages((unsigned long)original, MAX_ORDER_HOLE);
        return PTR_ERR(pdev);
    }
    dev = &pdev->dev;
    dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64));

    folder = debugfs_create_dir("dma-holes", NULL);
    debugfs_create_file_unsafe("holes", 0600, folder, &holes, &worker_fops);
    debugfs_create_file_unsafe("pages", 0600, folder, &single_pages,
                               &worker_fops);
    debugfs_create_atomic_t("conversions", 0400, folder, &conversions);
    debugfs_create_atomic_t("failures", 0400, folder, &failures);
    return 0;
}
late_initcall(dma_holes_init);
