/*
 * Conversions above a model of the kernel: QEMU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qapi/qapi-types-shared-dma.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/qdev-core.h"
#include "system/accel-blocker.h"
#include "system/guest-memfd-manager.h"
#include "system/guest-memfd-source.h"
#include "system/kvm-convert-memory.h"
#include "system/shared-dma-compat.h"
#include "tests/shared-dma/conversion/edge.h"
#include "tests/shared-dma/conversion/wrap.h"
#include "tests/unit/fakes/fakes.h"
#include "tests/unit/fakes/source.h"
#include "tests/unit/fakes/vfio-io.h"

#define TYPE_CONV_LEGACY TYPE_VFIO_IOMMU_LEGACY
#define TYPE_CONV_IOMMUFD TYPE_VFIO_IOMMU_IOMMUFD

typedef struct ConvListener {
    VFIORamDiscardListener vrdl;
    /* VFIO's own functions. */
    NotifyRamPopulate populate;
    NotifyRamDiscard discard;
    unsigned int container;
    bool is_registered;
} ConvListener;

/* Regions without a guest_memfd */
enum {
    CONV_MMIO,
    CONV_PLAIN_RAM,
    CONV_OTHERS,
};

static const ConvWindow other_windows[CONV_OTHERS] = {
    [CONV_MMIO] = { .gpa = 344, .npages = 8 },
    [CONV_PLAIN_RAM] = { .gpa = 352, .npages = 8 },
};

static const unsigned int places[CONV_PLACES] = { 364, 240, 0 };

/* QEMU functions that the tested code calls */

MachineState *current_machine;
CPUTailQ cpus_queue = QTAILQ_HEAD_INITIALIZER(cpus_queue);
__thread CPUState *current_cpu;

static Object *machine;
static QemuMutex bql;
static QemuMutex slots_lock;
static MemoryRegion *regions[CONV_BLOCKS];
static MemoryRegion others[CONV_OTHERS];
static RAMBlock blocks[CONV_BLOCKS];
static RAMBlock plain_block = { .guest_memfd = -1 };
static VFIOContainerBase *containers[CONV_CONTAINERS];
static VFIOAddressSpace vfio_space = { .as = &address_space_memory };
static VFIOPCIDevice devices[CONV_DEVICES];
static ConvListener listeners[CONV_CONTAINERS][CONV_WINDOWS];
static FakeSource *source;
/* Protected by the BQL */
static bool plugged_chunks[CONV_BLOCK_PAGES / CONV_CHUNK_PAGES];
static int current_place;
/* Whether this thread handles an access to shared memory */
static __thread bool is_shared_fault;
static QEMU_ALIGNED(4096)
char memory[CONV_BLOCKS][CONV_BLOCK_PAGES * CONV_PAGE];

bool conv_window(unsigned int number, unsigned int place, ConvWindow *window)
{
    static const ConvWindow windows[CONV_WINDOWS] = {
        { .block = 0, .gpa = 256, .npages = 32 },
        { .block = 1, .gpa = 288, .npages = 32 },
        { .block = 2, .gpa = 320, .npages = 16 },
        { .block = 2, .first = 16, .npages = 16 },
    };

    *window = windows[number];
    if (number == CONV_WINDOWS - 1) {
        window->gpa = places[place];
    }
    return window->gpa;
}

uintptr_t conv_block_host(unsigned int block)
{
    return (uintptr_t)memory[block];
}

unsigned int conv_place(void)
{
    return qatomic_read(&current_place);
}

static unsigned int block_number(const RAMBlock *block)
{
    return block - blocks;
}

static void find_in_window(const ConvWindow *window, MemoryRegion *mr,
                           hwaddr addr, uint64_t size,
                           MemoryRegionSection *section)
{
    const FakeWindow bytes = {
        .gpa = window->gpa * CONV_PAGE,
        .size = window->npages * CONV_PAGE,
        .mr = mr,
        .offset = window->first * CONV_PAGE,
    };

    fake_window_find(&bytes, addr, size, section);
}

MemoryRegionSection memory_region_find(MemoryRegion *mr, hwaddr addr,
                                       uint64_t size)
{
    const unsigned int place = conv_place();
    MemoryRegionSection section = { };
    ConvWindow window;

    schedule_edge();
    for (int i = 0; i < CONV_WINDOWS; i++) {
        if (conv_window(i, place, &window)) {
            find_in_window(&window, regions[window.block], addr, size,
                           &section);
        }
    }
    for (int i = 0; i < CONV_OTHERS; i++) {
        find_in_window(&other_windows[i], &others[i], addr, size, &section);
    }
    if (section.mr) {
        memory_region_ref(section.mr);
    }
    return section;
}

RamDiscardManager *memory_region_get_ram_discard_manager(MemoryRegion *mr)
{
    return mr->rdm;
}

void *qemu_ram_get_host_addr(RAMBlock *block)
{
    return block->host;
}

bool memory_region_is_ram_device(MemoryRegion *mr)
{
    return mr->ram_device;
}

MemoryRegion *memory_region_from_host(void *ptr, ram_addr_t *offset)
{
    return NULL;
}

int fake_free(RAMBlock *block, uint64_t offset, uint64_t size,
              PageState backing)
{
    schedule_edge();
    return world_free(block_number(block), offset, size, backing);
}

int fake_free_unplugged(RAMBlock *block, uint64_t offset, uint64_t size)
{
    schedule_edge();
    return world_free_unplugged(block_number(block), offset, size);
}

int fake_allocate(RAMBlock *block, uint64_t offset, uint64_t size)
{
    g_assert_not_reached();
}

int fake_set_attributes(uint64_t gpa, uint64_t size, PageState state)
{
    int ret;

    accel_ioctl_begin();
    schedule_edge();
    ret = world_set_attributes(gpa, size, state);
    accel_ioctl_end();
    return ret;
}

/* Do not wait while vCPUs are paused. */
void __wrap_g_usleep(gulong microseconds)
{
}

/* Locks */

static void hooked_lock(QemuMutex *mutex, const char *file, int line)
{
    schedule_lock(mutex, file, line);
    qemu_mutex_lock_impl(mutex, file, line);
    schedule_locked(mutex);
}

void __wrap_qemu_mutex_unlock_impl(QemuMutex *mutex, const char *file,
                                   const int line)
{
    __real_qemu_mutex_unlock_impl(mutex, file, line);
    schedule_unlock(mutex);
}

bool bql_locked(void)
{
    return schedule_holds(&bql);
}

void qemu_cpu_kick(CPUState *cpu)
{
    g_assert_not_reached();
}

void accel_ioctl_begin(void)
{
    if (!bql_locked()) {
        schedule_section_begin();
        if (!schedule_is_baton()) {
            real_accel_ioctl_begin();
        }
    }
}

void accel_ioctl_end(void)
{
    if (!bql_locked()) {
        if (!schedule_is_baton()) {
            real_accel_ioctl_end();
        }
        schedule_section_end();
    }
}

static void inhibit_begin(void)
{
    schedule_inhibit_begin();
    if (!schedule_is_baton()) {
        real_accel_ioctl_inhibit_begin();
    }
}

static void inhibit_end(void)
{
    if (!schedule_is_baton()) {
        real_accel_ioctl_inhibit_end();
    }
    schedule_inhibit_end();
}

/* VFIO */

static unsigned int container_number(const VFIOContainerBase *bcontainer)
{
    return bcontainer == containers[0] ? 0 : 1;
}

static int conv_dma_map(const VFIOContainerBase *bcontainer, hwaddr iova,
                        uint64_t size, void *vaddr,
                        bool readonly VFIO_DMA_MAP_MORE)
{
    schedule_edge();
    return world_map(container_number(bcontainer), iova, size,
                     (uintptr_t)vaddr, readonly);
}

static int conv_dma_unmap(const VFIOContainerBase *bcontainer, hwaddr iova,
                          uint64_t size,
                          IOMMUTLBEntry *iotlb VFIO_DMA_UNMAP_MORE)
{
    schedule_edge();
    return world_unmap(container_number(bcontainer), iova, size);
}

static void conv_iommu_class_init(ObjectClass *oc, ClassInitData *data)
{
    VFIOIOMMUClass *vioc = VFIO_IOMMU_CLASS(oc);

    vioc->dma_map = conv_dma_map;
    vioc->dma_unmap = conv_dma_unmap;
}

/* VFIO_IOMMU_GET_INFO; vfio_get_info_dma_avail() has the result. */
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    g_assert(request == VFIO_IOMMU_GET_INFO);
    return 0;
}

bool vfio_get_info_dma_avail(struct vfio_iommu_type1_info *info,
                             unsigned int *avail)
{
    *avail = world_entries_left(0);
    return true;
}

void vfio_device_detach(VFIODevice *vbasedev)
{
    g_assert_not_reached();
}

bool machine_require_guest_memfd(MachineState *ms)
{
    return true;
}

Object *qdev_get_machine(void)
{
    return machine;
}

static void conv_container_init(Object *obj)
{
    VFIOContainerBase *bcontainer = VFIO_IOMMU(obj);

    QLIST_INIT(&bcontainer->vrdl_list);
    bcontainer->dma_layout = vfio_dma_layout_new(bcontainer);
}

static const TypeInfo conv_types[] = {
    {
        .name = TYPE_VFIO_IOMMU,
        .parent = TYPE_OBJECT,
        .instance_init = conv_container_init,
        .instance_size = sizeof(VFIOContainerBase),
        .class_size = sizeof(VFIOIOMMUClass),
        .abstract = true,
    },
    {
        .name = TYPE_CONV_LEGACY,
        .parent = TYPE_VFIO_IOMMU,
        .instance_size = sizeof(VFIOLegacyContainer),
        .class_init = conv_iommu_class_init,
    },
    {
        .name = TYPE_CONV_IOMMUFD,
        .parent = TYPE_VFIO_IOMMU,
        .instance_size = sizeof(VFIOIOMMUFDContainer),
        .class_init = conv_iommu_class_init,
    },
};

DEFINE_TYPES(conv_types)

/* A listener that does the same as VFIO's listener */

static void conv_notify_discard(RamDiscardListener *rdl,
                                MemoryRegionSection *section)
{
    ConvListener *listener = container_of(rdl, ConvListener, vrdl.listener);

    listener->discard(rdl, section);
    world_notified(listener->container, section->offset_within_address_space,
                   int128_get64(section->size), false, 0);
}

static int conv_notify_populate(RamDiscardListener *rdl,
                                MemoryRegionSection *section)
{
    ConvListener *listener = container_of(rdl, ConvListener, vrdl.listener);
    int ret = listener->populate(rdl, section);

    world_notified(listener->container, section->offset_within_address_space,
                   int128_get64(section->size), true, ret);
    return ret;
}

static void set_registered(unsigned int container, unsigned int number,
                           unsigned int place, bool wanted)
{
    ConvListener *listener = &listeners[container][number];
    RamDiscardListener *rdl = &listener->vrdl.listener;
    RamDiscardManager *rdm;
    RamDiscardManagerClass *rdmc;
    ConvWindow window;

    if (!conv_window(number, place, &window) ||
        listener->is_registered == wanted) {
        return;
    }
    rdm = regions[window.block]->rdm;
    rdmc = RAM_DISCARD_MANAGER_GET_CLASS(rdm);
    listener->is_registered = wanted;
    if (wanted) {
        MemoryRegionSection section = {
            .mr = regions[window.block],
            .offset_within_region = window.first * CONV_PAGE,
            .offset_within_address_space = window.gpa * CONV_PAGE,
            .size = int128_make64(window.npages * CONV_PAGE),
        };

        listener->container = container;
        listener->vrdl.bcontainer = containers[container];
        listener->vrdl.mr = section.mr;
        listener->vrdl.size = window.npages * CONV_PAGE;
        ram_discard_listener_init(rdl, NULL, NULL, true);
        vfio_dma_layout_adopt(&listener->vrdl);
        listener->populate = rdl->notify_populate;
        listener->discard = rdl->notify_discard;
        rdl->notify_populate = conv_notify_populate;
        rdl->notify_discard = conv_notify_discard;
        rdmc->register_listener(rdm, rdl, &section);
        QLIST_INSERT_HEAD(&containers[container]->vrdl_list, &listener->vrdl,
                          next);
    } else {
        QLIST_REMOVE(&listener->vrdl, next);
        rdmc->unregister_listener(rdm, rdl);
    }
}

bool conv_is_registered(unsigned int container, unsigned int window)
{
    return listeners[container][window].is_registered;
}

/* The machine */

static void start_block(unsigned int number)
{
    RAMBlock *block = &blocks[number];

    regions[number] = fake_ram_new(block, memory[number], sizeof(memory[0]));
    QLIST_INSERT_HEAD_RCU(&ram_list.blocks, block, next);
}

static void plug_chunk(unsigned int chunk)
{
    const uint64_t size = CONV_CHUNK_PAGES * CONV_PAGE;

    if (!fake_source_plug(source, chunk * size, size)) {
        world_set_plugged(chunk, true);
        plugged_chunks[chunk] = true;
    }
}

/* Unplug like virtio-mem, which notifies after it has freed the memory. */
static void unplug_chunk(unsigned int chunk)
{
    const uint64_t size = CONV_CHUNK_PAGES * CONV_PAGE;

    world_set_plugged(chunk, false);
    guest_memfd_unplug_range(&blocks[CONV_CHUNK_BLOCK], chunk * size, size);
    fake_source_unplug(source, chunk * size, size);
    plugged_chunks[chunk] = false;
}

void conv_toggle_chunk(unsigned int chunk)
{
    bql_lock();
    if (plugged_chunks[chunk]) {
        unplug_chunk(chunk);
    } else {
        plug_chunk(chunk);
    }
    bql_unlock();
}

bool conv_page_is_plugged(unsigned int block, unsigned int page)
{
    return block != CONV_CHUNK_BLOCK || plugged_chunks[page / CONV_CHUNK_PAGES];
}

static void start_source(void)
{
    source = fake_source_new(CONV_CHUNK_PAGES * CONV_PAGE);
    memset(plugged_chunks, 0, sizeof(plugged_chunks));
    guest_memfd_set_source(regions[CONV_CHUNK_BLOCK],
                           RAM_DISCARD_MANAGER(source));
}

static void start_others(void)
{
    for (int i = 0; i < CONV_OTHERS; i++) {
        object_initialize(&others[i], sizeof(others[i]), TYPE_MEMORY_REGION);
    }
    others[CONV_PLAIN_RAM].ram = true;
    others[CONV_PLAIN_RAM].ram_block = &plain_block;
}

static void start_device(unsigned int number, unsigned int config)
{
    static const char *extents[] = { NULL, "page", "16K", "auto" };
    VFIOPCIDevice *vdev = &devices[number];
    VFIODevice *vbasedev = &vdev->vbasedev;
    VFIOContainerBase *bcontainer = containers[number % CONV_CONTAINERS];

    memset(vdev, 0, sizeof(*vdev));
    vbasedev->type = VFIO_DEVICE_TYPE_PCI;
    vbasedev->dev = &vfio_dma_pci_device(vdev)->qdev;
    vbasedev->bcontainer = bcontainer;
    vbasedev->name = (char *)"device";
    vbasedev->fd = memfd_create("config", MFD_CLOEXEC);
    fake_vfio_set_io(vbasedev);
    vbasedev->shared_dma_extent = (char *)extents[config & 3];
    g_assert(ftruncate(vbasedev->fd, 256) == 0);
    QLIST_INSERT_HEAD(&bcontainer->device_list, vbasedev, container_next);
    vfio_dma_layout_attach(vbasedev, &error_abort);
}

static void start_once(void)
{
    qemu_mutex_lock_func = hooked_lock;
    error_init("conversion");
    module_call_init(MODULE_INIT_QOM);
    accel_blocker_init();
    qemu_mutex_init(&bql);
    qemu_mutex_init(&slots_lock);
    machine = object_new(TYPE_CONTAINER);
    current_machine = (MachineState *)machine;
}

static void init_attributes(unsigned int number, unsigned int place)
{
    ConvWindow window;

    if (conv_window(number, place, &window)) {
        kvm_init_memory_attributes(regions[window.block],
                                   window.first * CONV_PAGE,
                                   window.gpa * CONV_PAGE,
                                   window.npages * CONV_PAGE);
    }
}

void conv_machine_start(unsigned int config)
{
    static gsize once;

    if (g_once_init_enter(&once)) {
        start_once();
        g_once_init_leave(&once, 1);
    }
    qatomic_set(&current_place, 0);
    bql_lock();
    start_others();
    for (int i = 0; i < CONV_BLOCKS; i++) {
        start_block(i);
    }
    start_source();
    for (int i = 0; i < CONV_WINDOWS; i++) {
        init_attributes(i, 0);
    }
    for (int i = 0; i < ARRAY_SIZE(plugged_chunks); i++) {
        plug_chunk(i);
    }
    for (int i = 0; i < CONV_CONTAINERS; i++) {
        containers[i] = VFIO_IOMMU(object_new(i ? TYPE_CONV_IOMMUFD
                                                : TYPE_CONV_LEGACY));
        containers[i]->space = &vfio_space;
        containers[i]->dma_max_mappings = world_entries_left(0);
    }
    for (int i = 0; i < CONV_DEVICES; i++) {
        start_device(i, config >> (i % CONV_CONTAINERS * 2));
    }
    bql_unlock();
}

void conv_machine_stop(void)
{
    bql_lock();
    for (int i = 0; i < CONV_CONTAINERS; i++) {
        for (int j = 0; j < CONV_WINDOWS; j++) {
            set_registered(i, j, conv_place(), false);
        }
    }
    for (int i = 0; i < CONV_DEVICES; i++) {
        vfio_dma_layout_detach(&devices[i].vbasedev);
        QLIST_REMOVE(&devices[i].vbasedev, container_next);
        close(devices[i].vbasedev.fd);
    }
    for (int i = 0; i < CONV_CONTAINERS; i++) {
        g_assert(OBJECT(containers[i])->ref == 1);
        object_unref(containers[i]);
    }
    guest_memfd_set_source(regions[CONV_CHUNK_BLOCK], NULL);
    object_unref(source);
    for (int i = 0; i < CONV_BLOCKS; i++) {
        g_assert_cmpuint(OBJECT(regions[i])->ref, ==, 1);
        QLIST_REMOVE_RCU(&blocks[i], next);
        object_unref(regions[i]);
    }
    for (int i = 0; i < CONV_OTHERS; i++) {
        g_assert(OBJECT(&others[i])->ref == 1);
        object_unref(&others[i]);
    }
    bql_unlock();
}

void bql_lock_impl(const char *file, int line)
{
    qemu_mutex_lock(&bql);
}

void bql_unlock(void)
{
    qemu_mutex_unlock(&bql);
}

int conv_convert(uint64_t gpa, uint64_t size, PageState to)
{
    return kvm_convert_range(gpa, size, to);
}

void conv_convert_fault(uint64_t gpa, uint64_t size, PageState to)
{
    struct kvm_run run = {
        .memory_fault = {
            .flags = to == PAGE_STATE_PRIVATE ? KVM_MEMORY_EXIT_FLAG_PRIVATE
                                              : 0,
            .gpa = gpa,
            .size = size,
        },
    };

    is_shared_fault = to == PAGE_STATE_SHARED;
    kvm_convert_memory_fault(&run);
    is_shared_fault = false;
}

bool conv_shares_others(void)
{
    /* A conversion sets attributes without the BQL. */
    return is_shared_fault && bql_locked();
}

void conv_toggle_listener(unsigned int container, unsigned int window)
{
    bql_lock();
    set_registered(container, window, conv_place(),
                   !listeners[container][window].is_registered);
    bql_unlock();
}

void conv_set_master(unsigned int device, bool on)
{
    uint32_t value = on ? PCI_COMMAND_MASTER : 0;

    bql_lock();
    vfio_dma_layout_write_config(&devices[device], PCI_COMMAND, &value, 2);
    bql_unlock();
}

/* Change the memory map in QEMU's order: VFIO, the map, KVM's slots. */
void conv_move_window(unsigned int place)
{
    const unsigned int number = CONV_WINDOWS - 1;
    bool was_registered[CONV_CONTAINERS];

    bql_lock();
    for (int i = 0; i < CONV_CONTAINERS; i++) {
        was_registered[i] = listeners[i][number].is_registered;
        set_registered(i, number, conv_place(), false);
    }
    for (int i = 0; i < CONV_CONTAINERS; i++) {
        set_registered(i, number, place, was_registered[i]);
    }
    qatomic_set(&current_place, place);

    qemu_mutex_lock(&slots_lock);
    inhibit_begin();
    world_moved(place);
    init_attributes(number, place);
    inhibit_end();
    qemu_mutex_unlock(&slots_lock);
    bql_unlock();
}

void conv_reset(void)
{
    bql_lock();
    inhibit_begin();
    kvm_convert_all_to_private();
    inhibit_end();
    bql_unlock();
}

/* Query a container or a block, and discard the result. */
void conv_query(unsigned int number)
{
    bql_lock();
    if (number < CONV_CONTAINERS) {
        conv_query_layout(number);
        for (unsigned int i = 0; i < G_N_ELEMENTS(listeners[number]); i++) {
            if (listeners[number][i].is_registered) {
                vfio_dma_layout_is_short(&listeners[number][i].vrdl);
            }
        }
    } else {
        qapi_free_GuestMemfdInfo(guest_memfd_manager_query(
            guest_memfd_manager_from_region(regions[number % CONV_BLOCKS]),
            NULL));
    }
    bql_unlock();
}

bool conv_page_is_shared(unsigned int block, unsigned int page)
{
    GuestMemfdManager *gmm = guest_memfd_manager_from_region(regions[block]);
    uint64_t offset = page * CONV_PAGE, size = CONV_PAGE;
    bool shared;

    guest_memfd_manager_lock(gmm);
    shared = guest_memfd_next_shared(gmm, &offset, &size);
    guest_memfd_manager_unlock(gmm);
    return shared;
}

ConvLayout conv_query_layout(unsigned int container)
{
    VFIODmaLayout *vdl = containers[container]->dma_layout;
    VfioDmaInfo *info = VFIO_DMA_LAYOUT_GET_CLASS(vdl)->query(vdl, NULL);
    const ConvLayout layout = {
        .populated_size = info->populated_size,
        .mapped_size = info->mapped_size,
        .missing_size = info->missing_size,
        .stuck_size = info->stuck_size,
        .is_open = info->open,
    };

    qapi_free_VfioDmaInfo(info);
    return layout;
}
