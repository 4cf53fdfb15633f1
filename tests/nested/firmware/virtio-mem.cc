/*
 * Driver of a virtio-mem device, which plugs memory when the guest asks for it
 *
 * The device is a modern virtio PCI device with one queue. The driver has at
 * most one request in flight and waits for its response.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "virtio-mem.h"

#include <initializer_list>
#include <new>

#include "cpu.h"
#include "hypercall.h"
#include "pci.h"
#include "program-format.h"

namespace {

constexpr uint16_t VENDOR_ID = 0x1af4;
constexpr uint16_t DEVICE_ID = 0x1058;

/* Address of the registers: after those of the edu device */
constexpr uint64_t BAR_BASE = EDU_BAR_BASE + EDU_BAR_SIZE;
constexpr uint32_t BAR_MAX_SIZE = 0x100000;
constexpr uint32_t BAR_FLAGS = 0xf;
constexpr uint32_t BAR_TYPE_MASK = 0x7;
constexpr uint32_t BAR_TYPE_MEMORY_64 = 0x4;

/* Capabilities contain the BARs and offsets of the device's structures. */
constexpr uint8_t CAPABILITY_VENDOR = 0x09;
constexpr uint8_t CAPABILITY_BAR = 4;
constexpr uint8_t CAPABILITY_OFFSET = 8;
constexpr uint8_t CAPABILITY_NOTIFY_MULTIPLIER = 16;
constexpr unsigned STRUCTURE_COMMON = 1;
constexpr unsigned STRUCTURE_NOTIFY = 2;
constexpr unsigned STRUCTURE_DEVICE = 4;
constexpr unsigned STRUCTURES = 5;

constexpr uint8_t STATUS_ACKNOWLEDGE = 1;
constexpr uint8_t STATUS_DRIVER = 2;
constexpr uint8_t STATUS_DRIVER_OK = 4;
constexpr uint8_t STATUS_FEATURES_OK = 8;

constexpr uint32_t FEATURE_UNPLUGGED_INACCESSIBLE = 1 << 1;
/* In the upper 32 feature bits */
constexpr uint32_t FEATURE_VERSION_1 = 1 << 0;
constexpr uint32_t FEATURE_ACCESS_PLATFORM = 1 << 1;

constexpr uint16_t DESCRIPTOR_NEXT = 1;
constexpr uint16_t DESCRIPTOR_WRITE = 2;
constexpr uint16_t AVAILABLE_NO_INTERRUPT = 1;
constexpr unsigned QUEUE_SIZE = 2;

constexpr uint16_t REQUEST_PLUG = 0;
constexpr uint16_t REQUEST_UNPLUG = 1;
constexpr uint16_t REQUEST_UNPLUG_ALL = 2;

constexpr int64_t PLUGGED_SIZE_IS_WRONG = -1;

struct CommonConfig {
    uint32_t device_feature_select;
    uint32_t device_feature;
    uint32_t driver_feature_select;
    uint32_t driver_feature;
    uint16_t msix_config;
    uint16_t num_queues;
    uint8_t device_status;
    uint8_t config_generation;
    uint16_t queue_select;
    uint16_t queue_size;
    uint16_t queue_msix_vector;
    uint16_t queue_enable;
    uint16_t queue_notify_off;
    /* Halves of physical addresses */
    uint32_t queue_descriptors[2];
    uint32_t queue_driver[2];
    uint32_t queue_device[2];
};

struct MemConfig {
    uint64_t block_size;
    uint16_t node_id;
    uint16_t padding[3];
    uint64_t addr;
    uint64_t region_size;
    uint64_t usable_region_size;
    uint64_t plugged_size;
    uint64_t requested_size;
};

struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

struct Request {
    uint16_t type;
    uint16_t padding[3];
    uint64_t address;
    uint16_t blocks;
    uint16_t padding2[3];
};

struct Response {
    uint16_t type;
    uint16_t padding[3];
    uint16_t state;
};

/* Memory that the device accesses; fields that it writes are volatile */
struct Queue {
    alignas(16) Descriptor descriptors[QUEUE_SIZE];
    struct {
        uint16_t flags;
        volatile uint16_t index;
        uint16_t ring[QUEUE_SIZE];
    } available;
    struct alignas(4) {
        uint16_t flags;
        volatile uint16_t index;
        struct {
            uint32_t id;
            uint32_t length;
        } ring[QUEUE_SIZE];
    } used;
    Request request;
    volatile Response response;
};

Queue *queue;
volatile CommonConfig *common;
volatile MemConfig *config;
volatile uint16_t *doorbell;

/* Returns the physical address of a part of the queue. */
uint64_t physical(const volatile void *part)
{
    return VMEM_QUEUE_PAGE + (reinterpret_cast<uint64_t>(part) -
                              reinterpret_cast<uint64_t>(queue));
}

void set_address(volatile uint32_t (&halves)[2], const volatile void *variable)
{
    halves[0] = physical(variable);
    halves[1] = physical(variable) >> 32;
}

/*
 * Reads a 64-bit device register in halves. This is safe because registers only
 * change by requests of this driver.
 */
uint64_t read64(const volatile uint64_t &value)
{
    const volatile uint32_t *halves =
        reinterpret_cast<const volatile uint32_t *>(&value);

    return halves[0] | (uint64_t)halves[1] << 32;
}

/* Sets a BAR to BAR_BASE. Returns false if it is not 64-bit or too large. */
bool place_bar(uint8_t devfn, uint8_t bar)
{
    const uint8_t at = PCI_BASE_ADDRESS_0 + bar * sizeof(uint32_t);

    pci_write32(devfn, at, ~0u);

    const uint32_t mask = pci_read32(devfn, at);

    if ((mask & BAR_TYPE_MASK) != BAR_TYPE_MEMORY_64 ||
        ~(mask & ~BAR_FLAGS) >= BAR_MAX_SIZE) {
        return false;
    }
    pci_write32(devfn, at, BAR_BASE);
    pci_write32(devfn, at + sizeof(uint32_t), 0);
    return true;
}

/* Finds the structures of the device and makes them accessible. */
const char *map_structures(uint8_t devfn)
{
    uint8_t found[STRUCTURES] = {};
    uint8_t at = pci_read32(devfn, PCI_CAPABILITIES);

    while (at) {
        const uint32_t head = pci_read32(devfn, at);
        const unsigned structure = head >> 24;

        /* The device prefers the first one of each kind. */
        if ((head & 0xff) == CAPABILITY_VENDOR && structure < STRUCTURES &&
            !found[structure]) {
            found[structure] = at;
        }
        at = head >> 8;
    }

    uint64_t address[STRUCTURES];
    const uint8_t bar =
        pci_read32(devfn, found[STRUCTURE_COMMON] + CAPABILITY_BAR);

    for (unsigned i : {STRUCTURE_COMMON, STRUCTURE_NOTIFY, STRUCTURE_DEVICE}) {
        if (!found[i]) {
            return "no-modern-virtio-device";
        }
        if ((uint8_t)pci_read32(devfn, found[i] + CAPABILITY_BAR) != bar) {
            return "virtio-structures-in-several-bars";
        }
        address[i] = BAR_BASE + pci_read32(devfn, found[i] + CAPABILITY_OFFSET);
    }
    if (!place_bar(devfn, bar)) {
        return "unsupported-bar-type";
    }
    /* The device must be bus master to access the queue. */
    pci_write16(devfn, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

    common = at_gpa<volatile CommonConfig>(address[STRUCTURE_COMMON]);
    config = at_gpa<volatile MemConfig>(address[STRUCTURE_DEVICE]);
    common->queue_select = 0;
    doorbell = at_gpa<volatile uint16_t>(
        address[STRUCTURE_NOTIFY] +
        common->queue_notify_off *
            pci_read32(devfn,
                       found[STRUCTURE_NOTIFY] + CAPABILITY_NOTIFY_MULTIPLIER));
    return nullptr;
}

uint32_t offered_features(unsigned word)
{
    common->device_feature_select = word;
    return common->device_feature;
}

void accept_features(unsigned word, uint32_t features)
{
    common->driver_feature_select = word;
    common->driver_feature = features;
}

bool negotiate()
{
    common->device_status = 0;
    while (common->device_status) {
        relax();
    }
    common->device_status = STATUS_ACKNOWLEDGE;
    common->device_status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
    accept_features(0, offered_features(0) & FEATURE_UNPLUGGED_INACCESSIBLE);
    accept_features(1, offered_features(1) &
                           (FEATURE_VERSION_1 | FEATURE_ACCESS_PLATFORM));
    common->device_status =
        STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
    return common->device_status & STATUS_FEATURES_OK;
}

void start_queue()
{
    queue->descriptors[0] = {physical(&queue->request), sizeof(queue->request),
                             DESCRIPTOR_NEXT, 1};
    queue->descriptors[1] = {physical(&queue->response),
                             sizeof(queue->response), DESCRIPTOR_WRITE, 0};
    queue->available.flags = AVAILABLE_NO_INTERRUPT;

    common->queue_select = 0;
    common->queue_size = QUEUE_SIZE;
    set_address(common->queue_descriptors, queue->descriptors);
    set_address(common->queue_driver, &queue->available);
    set_address(common->queue_device, &queue->used);
    common->queue_enable = 1;
    common->device_status = STATUS_ACKNOWLEDGE | STATUS_DRIVER |
                            STATUS_FEATURES_OK | STATUS_DRIVER_OK;
}

/*
 * Sends a request. If the device acknowledges it, its plugged size must have
 * grown by @plugged bytes; otherwise it must not have changed. Returns the
 * response, or a negative number if the plugged size is wrong.
 */
int64_t make_request(const Request &request, uint64_t plugged)
{
    const uint64_t before = read64(config->plugged_size);
    const uint16_t index = queue->available.index;

    queue->request = request;
    /* All requests use the same descriptors. */
    queue->available.ring[index % QUEUE_SIZE] = 0;
    asm volatile("" : : : "memory");
    queue->available.index = index + 1;
    *doorbell = 0;
    while (queue->used.index != queue->available.index) {
        relax();
    }

    const uint16_t answer = queue->response.type;
    const uint64_t expected =
        answer == VIRTIO_MEM_ACK ? before + plugged : before;

    return read64(config->plugged_size) == expected ? answer
                                                    : PLUGGED_SIZE_IS_WRONG;
}

uint16_t block_count(uint64_t size)
{
    return size / read64(config->block_size);
}

} // namespace

const char *virtio_mem_init(const ProgramHeader &header)
{
    uint8_t devfn;

    if (!pci_find(VENDOR_ID, DEVICE_ID, &devfn)) {
        return "no-virtio-mem-device";
    }

    const char *error = map_structures(devfn);

    if (error) {
        return error;
    }
    if (!negotiate()) {
        return "virtio-mem-refuses-features";
    }
    if (read64(config->addr) != header.vmem_base ||
        read64(config->region_size) != header.vmem_size ||
        read64(config->usable_region_size) != header.vmem_size ||
        read64(config->requested_size) != header.vmem_size ||
        read64(config->block_size) != header.vmem_block) {
        return "unexpected-virtio-mem-config";
    }
    if (read64(config->plugged_size)) {
        return "virtio-mem-plugged-at-start";
    }
    if (!header.plain &&
        map_gpa_range(VMEM_QUEUE_PAGE, 1, PageState::Shared) != 0) {
        return "queue-page-not-shared";
    }
    queue = new (at_gpa<Queue>(VMEM_QUEUE_PAGE)) Queue{};
    start_queue();
    return nullptr;
}

int64_t virtio_mem_plug(uint64_t gpa, uint64_t size)
{
    return make_request({.type = REQUEST_PLUG,
                         .padding = {},
                         .address = gpa,
                         .blocks = block_count(size),
                         .padding2 = {}},
                        size);
}

int64_t virtio_mem_unplug(uint64_t gpa, uint64_t size)
{
    return make_request({.type = REQUEST_UNPLUG,
                         .padding = {},
                         .address = gpa,
                         .blocks = block_count(size),
                         .padding2 = {}},
                        -size);
}

int64_t virtio_mem_unplug_all()
{
    return make_request({.type = REQUEST_UNPLUG_ALL,
                         .padding = {},
                         .address = 0,
                         .blocks = 0,
                         .padding2 = {}},
                        -read64(config->plugged_size));
}
