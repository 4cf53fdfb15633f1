/*
 * Shares memory at given addresses
 *
 * A part of the guest's kernel for the nested tests.  It allocates memory of a
 * DIMM that was plugged, wherever the kernel's own allocator would look first,
 * and shares it as drivers do.  /sys/kernel/debug/share-range has these files,
 * to which "START SIZE" is written, physical addresses in bytes:
 *
 *   share    allocate a range of free or movable memory, and share it
 *   unshare  make a range that was shared private, and free it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <linux/cc_platform.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define CONTIG_RANGE_FLAGS  ACR_FLAGS_NONE
#else
#define CONTIG_RANGE_FLAGS  MIGRATE_MOVABLE
#endif

/* Share pages.  The content of shared memory is arbitrary: fill it. */
static int share(unsigned long pfn, unsigned long npages)
{
    void *address = pfn_to_kaddr(pfn);
    int ret = alloc_contig_range(pfn, pfn + npages, CONTIG_RANGE_FLAGS,
                                 GFP_KERNEL);

    if (ret) {
        return ret;
    }
    ret = set_memory_decrypted((unsigned long)address, npages);
    if (ret) {
        /* It may be shared in part, and must not be used again. */
        return ret;
    }
    memset(address, 0x5a, npages * PAGE_SIZE);
    return 0;
}

/* Make pages private and free them, if nobody has written to them. */
static int unshare(unsigned long pfn, unsigned long npages)
{
    void *address = pfn_to_kaddr(pfn);
    int ret;

    if (memchr_inv(address, 0x5a, npages * PAGE_SIZE)) {
        return -EILSEQ;
    }
    ret = set_memory_encrypted((unsigned long)address, npages);
    if (!ret) {
        free_contig_range(pfn, npages);
    }
    return ret;
}

static int change(const char __user *user, size_t size,
                  int (*convert)(unsigned long pfn, unsigned long npages))
{
    unsigned long long start, length;
    char *text = memdup_user_nul(user, size);
    int ret = -EINVAL;

    if (IS_ERR(text)) {
        return PTR_ERR(text);
    }
    if (sscanf(text, "%lli %lli", &start, &length) == 2 && length &&
        PAGE_ALIGNED(start | length) &&
        pfn_to_online_page(PHYS_PFN(start)) &&
        pfn_to_online_page(PHYS_PFN(start + length - 1))) {
        ret = convert(PHYS_PFN(start), PHYS_PFN(length));
    }
    kfree(text);
    return ret;
}

static ssize_t share_write(struct file *file, const char __user *user,
                           size_t size, loff_t *position)
{
    return change(user, size, share) ?: size;
}

static ssize_t unshare_write(struct file *file, const char __user *user,
                             size_t size, loff_t *position)
{
    return change(user, size, unshare) ?: size;
}

static const struct file_operations share_fops = { .write = share_write };
static const struct file_operations unshare_fops = { .write = unshare_write };

static int __init share_range_init(void)
{
    struct dentry *folder;

    /* The kernel of level 1 is the same, but has no private memory. */
    if (!cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT)) {
        return 0;
    }
    folder = debugfs_create_dir("share-range", NULL);
    debugfs_create_file("share", 0200, folder, NULL, &share_fops);
    debugfs_create_file("unshare", 0200, folder, NULL, &unshare_fops);
    return 0;
}
late_initcall(share_range_init);
