/*
 * A mediated device that accesses the memory of guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A part of level 1's kernel for the nested tests.  The mediated devices of
 * Linux's samples do no DMA.  This one has the registers of QEMU's edu device,
 * so that the same firmware drives it: it copies up to a page between memory
 * and a buffer.  There are two types, which reach memory in the two ways that
 * VFIO offers:
 *
 *   copy  through vfio_dma_rw(), which pins nothing
 *   pin   pins a page when it is first accessed, and keeps it pinned until
 *         VFIO reports that it is unmapped, or the device is closed
 *
 * The device does not report errors.  The attributes of its folder in sysfs
 * count them:
 *
 *   failures  accesses that VFIO refused, because memory was not mapped
 *   pinned    pages that are pinned now
 *   unmaps    reports that pinned pages are unmapped
 */

#include <linux/atomic.h>
#include <linux/device.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/iommu.h>
#include <linux/mdev.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pci_regs.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>
#include <linux/version.h>
#include <linux/vfio.h>

#define VENDOR_ID           0x1234
#define DEVICE_ID           0x11e8
#define CONFIG_SIZE         SZ_256
#define BAR_SIZE            SZ_1M
/* Address of the buffer in the device's own address space */
#define BUFFER_ADDRESS      0x40000

/* Registers of 64 bits, from this offset */
#define REGISTERS           0x80
#define COMMAND_RUN         BIT_ULL(0)
#define COMMAND_TO_MEMORY   BIT_ULL(1)

enum { SOURCE, DESTINATION, COUNT, COMMAND, NREGISTERS };

#define MAX_PINNED          64
#define MAX_ACCESS          8

/* File offsets of regions, as in vfio-pci */
#define REGION_SHIFT        40

struct pinned_page {
    dma_addr_t iova;
    /* NULL if the entry is unused */
    struct page *page;
};

struct mdev_dma {
    struct vfio_device vdev;
    bool pins;
    /* Protects what follows, except for the counters. */
    struct mutex lock;
    u8 config[CONFIG_SIZE];
    u64 registers[NREGISTERS];
    u8 buffer[PAGE_SIZE];
    struct pinned_page pinned[MAX_PINNED];
    atomic_t failures;
    atomic_t npinned;
    atomic_t unmaps;
};

static struct mdev_type copy_type = {
    .sysfs_name = "copy", .pretty_name = "copies memory"
};
static struct mdev_type pin_type = {
    .sysfs_name = "pin", .pretty_name = "pins memory"
};
static struct mdev_type *types[] = { &copy_type, &pin_type };
static struct mdev_parent parent;

static struct mdev_dma *to_mdev_dma(struct vfio_device *vdev)
{
    return container_of(vdev, struct mdev_dma, vdev);
}

/* Pinned pages */

static struct pinned_page *find_pinned(struct mdev_dma *mdma, dma_addr_t iova)
{
    for (int i = 0; i < MAX_PINNED; i++) {
        if (mdma->pinned[i].page && mdma->pinned[i].iova == iova) {
            return &mdma->pinned[i];
        }
    }
    return NULL;
}

/* Return the page at an address, which is pinned if necessary, or NULL. */
static struct page *pin_page(struct mdev_dma *mdma, dma_addr_t iova)
{
    struct pinned_page *entry = find_pinned(mdma, iova);

    if (entry) {
        return entry->page;
    }
    for (int i = 0; i < MAX_PINNED; i++) {
        entry = &mdma->pinned[i];
        if (entry->page) {
            continue;
        }
        if (vfio_pin_pages(&mdma->vdev, iova, 1, IOMMU_READ | IOMMU_WRITE,
                           &entry->page) != 1) {
            entry->page = NULL;
            return NULL;
        }
        entry->iova = iova;
        atomic_inc(&mdma->npinned);
        return entry->page;
    }
    return NULL;
}

/* Unpin the pages in a range, whose last byte is inclusive. */
static bool unpin_pages(struct mdev_dma *mdma, u64 first, u64 last)
{
    bool unpinned = false;

    for (int i = 0; i < MAX_PINNED; i++) {
        struct pinned_page *entry = &mdma->pinned[i];

        if (entry->page && entry->iova >= first && entry->iova <= last) {
            vfio_unpin_pages(&mdma->vdev, entry->iova, 1);
            entry->page = NULL;
            atomic_dec(&mdma->npinned);
            unpinned = true;
        }
    }
    return unpinned;
}

static void mdev_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
    struct mdev_dma *mdma = to_mdev_dma(vdev);

    mutex_lock(&mdma->lock);
    if (unpin_pages(mdma, iova, iova + length - 1)) {
        atomic_inc(&mdma->unmaps);
    }
    mutex_unlock(&mdma->lock);
}

/* Transfers */

/* Copy a part of a page. */
static bool copy_pinned(struct mdev_dma *mdma, dma_addr_t iova, u8 *data,
                        size_t size, bool to_memory)
{
    struct page *page = pin_page(mdma, ALIGN_DOWN(iova, PAGE_SIZE));
    u8 *memory;

    if (!page) {
        return false;
    }
    memory = page_address(page) + offset_in_page(iova);
    memcpy(to_memory ? memory : data, to_memory ? data : memory, size);
    return true;
}

static bool copy_memory(struct mdev_dma *mdma, dma_addr_t iova, u8 *data,
                        size_t size, bool to_memory)
{
    if (!mdma->pins) {
        return !vfio_dma_rw(&mdma->vdev, iova, data, size, to_memory);
    }
    while (size) {
        size_t piece = min_t(size_t, size, PAGE_SIZE - offset_in_page(iova));

        if (!copy_pinned(mdma, iova, data, piece, to_memory)) {
            return false;
        }
        iova += piece;
        data += piece;
        size -= piece;
    }
    return true;
}

static void transfer(struct mdev_dma *mdma)
{
    const bool to_memory = mdma->registers[COMMAND] & COMMAND_TO_MEMORY;
    const u64 inside = mdma->registers[to_memory ? SOURCE : DESTINATION];
    const u64 outside = mdma->registers[to_memory ? DESTINATION : SOURCE];
    const u64 size = mdma->registers[COUNT];

    if (!(mdma->config[PCI_COMMAND] & PCI_COMMAND_MASTER) ||
        inside != BUFFER_ADDRESS || size > sizeof(mdma->buffer) ||
        !copy_memory(mdma, outside, mdma->buffer, size, to_memory)) {
        atomic_inc(&mdma->failures);
    }
}

/* Regions */

static void access_register(struct mdev_dma *mdma, u64 offset, u8 *data,
                            size_t size, bool is_write)
{
    u64 *value;

    if (offset < REGISTERS ||
        offset + size > REGISTERS + sizeof(mdma->registers)) {
        if (!is_write) {
            memset(data, 0, size);
        }
        return;
    }
    offset -= REGISTERS;
    value = &mdma->registers[offset / sizeof(u64)];
    if (offset % sizeof(u64) + size > sizeof(u64)) {
        return;
    }
    if (!is_write) {
        memcpy(data, (u8 *)value + offset % sizeof(u64), size);
        return;
    }
    memcpy((u8 *)value + offset % sizeof(u64), data, size);
    if (mdma->registers[COMMAND] & COMMAND_RUN) {
        transfer(mdma);
        mdma->registers[COMMAND] &= ~COMMAND_RUN;
    }
}

/* Only the command register can be written; QEMU emulates the rest. */
static void access_config(struct mdev_dma *mdma, u64 offset, u8 *data,
                          size_t size, bool is_write)
{
    if (!is_write) {
        memcpy(data, mdma->config + offset, size);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (offset + i == PCI_COMMAND || offset + i == PCI_COMMAND + 1) {
            mdma->config[offset + i] = data[i];
        }
    }
}

static u64 region_size(u32 index)
{
    switch (index) {
    case VFIO_PCI_BAR0_REGION_INDEX:
        return BAR_SIZE;
    case VFIO_PCI_CONFIG_REGION_INDEX:
        return CONFIG_SIZE;
    default:
        return 0;
    }
}

/* Access up to MAX_ACCESS bytes.  Return their number, or a negative errno. */
static ssize_t access_region(struct mdev_dma *mdma, u8 *data, size_t size,
                             loff_t position, bool is_write)
{
    const u32 index = position >> REGION_SHIFT;
    const u64 offset = position & (BIT_ULL(REGION_SHIFT) - 1);

    if (offset + size > region_size(index)) {
        return -EINVAL;
    }
    mutex_lock(&mdma->lock);
    if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
        access_config(mdma, offset, data, size, is_write);
    } else {
        access_register(mdma, offset, data, size, is_write);
    }
    mutex_unlock(&mdma->lock);
    return size;
}

static ssize_t mdev_dma_read(struct vfio_device *vdev, char __user *user,
                             size_t size, loff_t *position)
{
    size_t done = 0;

    while (done < size) {
        u8 data[MAX_ACCESS];
        ssize_t n = access_region(to_mdev_dma(vdev), data,
                                  min(size - done, sizeof(data)), *position,
                                  false);

        if (n < 0) {
            return n;
        }
        if (copy_to_user(user + done, data, n)) {
            return -EFAULT;
        }
        *position += n;
        done += n;
    }
    return done;
}

static ssize_t mdev_dma_write(struct vfio_device *vdev,
                              const char __user *user, size_t size,
                              loff_t *position)
{
    size_t done = 0;

    while (done < size) {
        u8 data[MAX_ACCESS];
        size_t piece = min(size - done, sizeof(data));
        ssize_t n;

        if (copy_from_user(data, user + done, piece)) {
            return -EFAULT;
        }
        n = access_region(to_mdev_dma(vdev), data, piece, *position, true);
        if (n < 0) {
            return n;
        }
        *position += n;
        done += n;
    }
    return done;
}

/* Requests of user space */

static void describe_region(struct vfio_region_info *info)
{
    info->size = region_size(info->index);
    info->offset = (u64)info->index << REGION_SHIFT;
    info->flags = info->size ? VFIO_REGION_INFO_FLAG_READ |
                               VFIO_REGION_INFO_FLAG_WRITE : 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
static int mdev_dma_region_info(struct vfio_device *vdev,
                                struct vfio_region_info *info,
                                struct vfio_info_cap *caps)
{
    describe_region(info);
    return 0;
}
#else
static long region_info(void __user *argument)
{
    struct vfio_region_info info;
    const size_t size = offsetofend(struct vfio_region_info, offset);

    if (copy_from_user(&info, argument, size)) {
        return -EFAULT;
    }
    describe_region(&info);
    return copy_to_user(argument, &info, size) ? -EFAULT : 0;
}
#endif

static long device_info(void __user *argument)
{
    struct vfio_device_info info;
    const size_t size = offsetofend(struct vfio_device_info, num_irqs);

    if (copy_from_user(&info, argument, size)) {
        return -EFAULT;
    }
    info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
    info.num_regions = VFIO_PCI_NUM_REGIONS;
    info.num_irqs = VFIO_PCI_NUM_IRQS;
    return copy_to_user(argument, &info, size) ? -EFAULT : 0;
}

/* The device has no interrupts. */
static long irq_info(void __user *argument)
{
    struct vfio_irq_info info;
    const size_t size = offsetofend(struct vfio_irq_info, count);

    if (copy_from_user(&info, argument, size)) {
        return -EFAULT;
    }
    if (info.index > VFIO_PCI_MSIX_IRQ_INDEX) {
        return -EINVAL;
    }
    info.flags = 0;
    info.count = 0;
    return copy_to_user(argument, &info, size) ? -EFAULT : 0;
}

static void reset(struct mdev_dma *mdma)
{
    mutex_lock(&mdma->lock);
    memset(mdma->registers, 0, sizeof(mdma->registers));
    memset(mdma->buffer, 0, sizeof(mdma->buffer));
    put_unaligned_le16(0, mdma->config + PCI_COMMAND);
    unpin_pages(mdma, 0, U64_MAX);
    mutex_unlock(&mdma->lock);
}

static long mdev_dma_ioctl(struct vfio_device *vdev, unsigned int command,
                           unsigned long argument)
{
    void __user *user = (void __user *)argument;

    switch (command) {
    case VFIO_DEVICE_GET_INFO:
        return device_info(user);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
    case VFIO_DEVICE_GET_REGION_INFO:
        return region_info(user);
#endif
    case VFIO_DEVICE_GET_IRQ_INFO:
        return irq_info(user);
    case VFIO_DEVICE_RESET:
        reset(to_mdev_dma(vdev));
        return 0;
    default:
        return -ENOTTY;
    }
}

/* The life of a device */

static int mdev_dma_init_device(struct vfio_device *vdev)
{
    struct mdev_dma *mdma = to_mdev_dma(vdev);
    u8 *config = mdma->config;

    mutex_init(&mdma->lock);
    mdma->pins = to_mdev_device(vdev->dev)->type == &pin_type;
    put_unaligned_le16(VENDOR_ID, config + PCI_VENDOR_ID);
    put_unaligned_le16(DEVICE_ID, config + PCI_DEVICE_ID);
    put_unaligned_le32(PCI_BASE_ADDRESS_SPACE_MEMORY |
                       PCI_BASE_ADDRESS_MEM_TYPE_32,
                       config + PCI_BASE_ADDRESS_0);
    return 0;
}

static int mdev_dma_open(struct vfio_device *vdev)
{
    return 0;
}

static void mdev_dma_close(struct vfio_device *vdev)
{
    reset(to_mdev_dma(vdev));
}

static const struct vfio_device_ops device_ops = {
    .name = "mdev-dma",
    .init = mdev_dma_init_device,
    .bind_iommufd = vfio_iommufd_emulated_bind,
    .unbind_iommufd = vfio_iommufd_emulated_unbind,
    .attach_ioas = vfio_iommufd_emulated_attach_ioas,
    .detach_ioas = vfio_iommufd_emulated_detach_ioas,
    .open_device = mdev_dma_open,
    .close_device = mdev_dma_close,
    .read = mdev_dma_read,
    .write = mdev_dma_write,
    .ioctl = mdev_dma_ioctl,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
    .get_region_info_caps = mdev_dma_region_info,
#endif
    .dma_unmap = mdev_dma_unmap,
};

static int mdev_dma_probe(struct mdev_device *mdev)
{
    struct mdev_dma *mdma = vfio_alloc_device(mdev_dma, vdev, &mdev->dev,
                                              &device_ops);
    int ret;

    if (IS_ERR(mdma)) {
        return PTR_ERR(mdma);
    }
    dev_set_drvdata(&mdev->dev, mdma);
    ret = vfio_register_emulated_iommu_dev(&mdma->vdev);
    if (ret) {
        vfio_put_device(&mdma->vdev);
    }
    return ret;
}

static void mdev_dma_remove(struct mdev_device *mdev)
{
    struct mdev_dma *mdma = dev_get_drvdata(&mdev->dev);

    vfio_unregister_group_dev(&mdma->vdev);
    vfio_put_device(&mdma->vdev);
}

static unsigned int mdev_dma_available(struct mdev_type *type)
{
    return 8;
}

#define COUNTER(name, field)                                                \
static ssize_t name##_show(struct device *dev, struct device_attribute *a,  \
                           char *text)                                      \
{                                                                           \
    struct mdev_dma *mdma = dev_get_drvdata(dev);                           \
                                                                            \
    return sysfs_emit(text, "%d\n", atomic_read(&mdma->field));             \
}                                                                           \
static DEVICE_ATTR_RO(name)

COUNTER(failures, failures);
COUNTER(pinned, npinned);
COUNTER(unmaps, unmaps);

static struct attribute *mdev_dma_attrs[] = {
    &dev_attr_failures.attr, &dev_attr_pinned.attr, &dev_attr_unmaps.attr, NULL
};
ATTRIBUTE_GROUPS(mdev_dma);

static struct mdev_driver driver = {
    .device_api = VFIO_DEVICE_API_PCI_STRING,
    .probe = mdev_dma_probe,
    .remove = mdev_dma_remove,
    .get_available = mdev_dma_available,
    .driver = {
        .name = "mdev-dma",
        .mod_name = KBUILD_MODNAME,
        .dev_groups = mdev_dma_groups,
    },
};

static int __init mdev_dma_init(void)
{
    struct platform_device *pdev;
    int ret = mdev_register_driver(&driver);

    if (ret) {
        return ret;
    }
    pdev = platform_device_register_simple("mdev-dma", -1, NULL, 0);
    if (IS_ERR(pdev)) {
        mdev_unregister_driver(&driver);
        return PTR_ERR(pdev);
    }
    return mdev_register_parent(&parent, &pdev->dev, &driver, types,
                                ARRAY_SIZE(types));
}
late_initcall(mdev_dma_init);
