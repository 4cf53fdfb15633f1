/*
 * A device in a process of its own, which QEMU's vfio-user-pci connects to
 *
 *   vfio-user-edu SOCKET MAPS
 *
 * It has the registers of QEMU's edu device, so that the same firmware drives
 * it: it copies up to a page between memory and a buffer.  It accesses memory
 * that QEMU has told it to map, and no other.  The file MAPS always has a line
 * "START END" for each such range; END is exclusive, and both are hexadecimal.
 * The process serves one connection, and ends with it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

/* The protocol */

enum Command : uint16_t {
    VERSION = 1,
    DMA_MAP = 2,
    DMA_UNMAP = 3,
    GET_INFO = 4,
    GET_REGION_INFO = 5,
    GET_IRQ_INFO = 7,
    SET_IRQS = 8,
    REGION_READ = 9,
    REGION_WRITE = 10,
    RESET = 13,
};

constexpr uint32_t FLAG_REPLY = 1;
constexpr uint32_t FLAG_NO_REPLY = 0x10;
constexpr uint32_t FLAG_ERROR = 0x20;

struct Header {
    uint16_t id;
    uint16_t command;
    uint32_t size;
    uint32_t flags;
    uint32_t error;
};

struct DmaMap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t offset;
    uint64_t iova;
    uint64_t size;
};

struct DmaUnmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t iova;
    uint64_t size;
};

struct Info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
};

struct RegionAccess {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
};

constexpr size_t MAX_MESSAGE = 64 << 10;
constexpr size_t MAX_FDS = 16;
constexpr char CAPABILITIES[] = "{\"capabilities\":{\"max_msg_fds\":16}}";

[[noreturn]] void die(const char *what)
{
    fprintf(stderr, "vfio-user-edu: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Memory of the guest */

struct Mapping {
    uint64_t size;
    /* Null if QEMU has sent no file */
    uint8_t *memory;
};

class Memory {
public:
    explicit Memory(std::string path) : path_(std::move(path)) { write(); }

    int map(const DmaMap &request, int fd)
    {
        uint8_t *memory = nullptr;

        if (find(request.iova, request.size)) {
            return EEXIST;
        }
        if (fd >= 0) {
            void *address = mmap(nullptr, request.size, PROT_READ | PROT_WRITE,
                                 MAP_SHARED, fd, (off_t)request.offset);

            if (address == MAP_FAILED) {
                return errno;
            }
            memory = static_cast<uint8_t *>(address);
        }
        mappings_[request.iova] = {request.size, memory};
        write();
        return 0;
    }

    /* Unmap whole mappings: none may extend beyond the range. */
    int unmap(uint64_t iova, uint64_t size)
    {
        auto at = mappings_.lower_bound(iova);

        if (at != mappings_.begin()) {
            const auto before = std::prev(at);

            if (before->first + before->second.size > iova) {
                return EINVAL;
            }
        }
        while (at != mappings_.end() && at->first - iova < size) {
            if (at->first - iova + at->second.size > size) {
                return EINVAL;
            }
            if (at->second.memory) {
                munmap(at->second.memory, at->second.size);
            }
            at = mappings_.erase(at);
        }
        write();
        return 0;
    }

    /* Return memory that is mapped, or null. */
    uint8_t *at(uint64_t iova, uint64_t size)
    {
        const auto *found = find(iova, size);

        if (!found || !found->second.memory || iova < found->first ||
            iova + size > found->first + found->second.size) {
            return nullptr;
        }
        return found->second.memory + (iova - found->first);
    }

private:
    using Mappings = std::map<uint64_t, Mapping>;

    /* Return the last mapping that overlaps a range, or null. */
    const Mappings::value_type *find(uint64_t iova, uint64_t size)
    {
        auto at = mappings_.lower_bound(iova + size);

        if (at == mappings_.begin()) {
            return nullptr;
        }
        --at;
        return at->first + at->second.size > iova ? &*at : nullptr;
    }

    void write() const
    {
        const std::string next = path_ + ".new";
        FILE *file = fopen(next.c_str(), "w");

        if (!file) {
            die(next.c_str());
        }
        for (const auto &[start, mapping] : mappings_) {
            fprintf(file, "%jx %jx\n", (uintmax_t)start,
                    (uintmax_t)(start + mapping.size));
        }
        if (fclose(file) || rename(next.c_str(), path_.c_str())) {
            die(path_.c_str());
        }
    }

    std::string path_;
    Mappings mappings_;
};

/* The device */

class Edu {
public:
    explicit Edu(Memory &memory) : memory_(memory)
    {
        put16(PCI_VENDOR_ID, 0x1234);
        put16(PCI_DEVICE_ID, 0x11e8);
        put16(PCI_CLASS_DEVICE, 0xff00);
    }

    static uint64_t region_size(uint32_t index)
    {
        switch (index) {
        case VFIO_PCI_BAR0_REGION_INDEX:
            return 1 << 20;
        case VFIO_PCI_CONFIG_REGION_INDEX:
            return sizeof(config_);
        default:
            return 0;
        }
    }

    void read(const RegionAccess &access, uint8_t *data)
    {
        const uint8_t *bytes = bytes_at(access);

        if (bytes) {
            memcpy(data, bytes, access.count);
        } else {
            memset(data, 0, access.count);
        }
    }

    void write(const RegionAccess &access, const uint8_t *data)
    {
        uint8_t *bytes = bytes_at(access);

        /* QEMU emulates the rest of the configuration space. */
        if (!bytes || (access.region == VFIO_PCI_CONFIG_REGION_INDEX &&
                       access.offset != PCI_COMMAND)) {
            return;
        }
        memcpy(bytes, data, access.count);
        if (registers_[COMMAND] & COMMAND_RUN) {
            transfer();
            registers_[COMMAND] &= ~COMMAND_RUN;
        }
    }

    void reset()
    {
        memset(registers_, 0, sizeof(registers_));
        put16(PCI_COMMAND, 0);
    }

private:
    enum {
        SOURCE,
        DESTINATION,
        COUNT,
        COMMAND,
        REGISTERS
    };
    static constexpr uint64_t REGISTERS_OFFSET = 0x80;
    static constexpr uint64_t COMMAND_RUN = 1;
    static constexpr uint64_t COMMAND_TO_MEMORY = 2;
    static constexpr uint64_t BUFFER_ADDRESS = 0x40000;

    void put16(size_t offset, uint16_t value)
    {
        memcpy(config_ + offset, &value, sizeof(value));
    }

    /* Return what an access is to, or null. */
    uint8_t *bytes_at(const RegionAccess &access)
    {
        uint8_t *bytes = config_;
        uint64_t offset = access.offset;
        uint64_t size = sizeof(config_);

        if (access.region == VFIO_PCI_BAR0_REGION_INDEX) {
            bytes = reinterpret_cast<uint8_t *>(registers_);
            offset -= REGISTERS_OFFSET;
            size = sizeof(registers_);
        }
        return offset < size && access.count <= size - offset ? bytes + offset
                                                              : nullptr;
    }

    void transfer()
    {
        const bool to_memory = registers_[COMMAND] & COMMAND_TO_MEMORY;
        const uint64_t inside = registers_[to_memory ? SOURCE : DESTINATION];
        const uint64_t outside = registers_[to_memory ? DESTINATION : SOURCE];
        const uint64_t size = registers_[COUNT];
        uint8_t *memory = memory_.at(outside, size);

        if (!(config_[PCI_COMMAND] & PCI_COMMAND_MASTER) ||
            inside != BUFFER_ADDRESS || size > sizeof(buffer_) || !memory) {
            return;
        }
        memcpy(to_memory ? memory : buffer_, to_memory ? buffer_ : memory,
               size);
    }

    Memory &memory_;
    uint8_t config_[256] = {};
    uint64_t registers_[REGISTERS] = {};
    uint8_t buffer_[4096] = {};
};

/* The server */

struct Message {
    Header header;
    uint8_t data[MAX_MESSAGE];
};

template <typename T> T parse(const Message &message)
{
    T value;

    memcpy(&value, message.data, sizeof(value));
    return value;
}

class Server {
public:
    Server(int fd, Edu &edu, Memory &memory)
        : fd_(fd), edu_(edu), memory_(memory)
    {
    }

    /* Serve requests until QEMU closes the connection. */
    void serve()
    {
        while (receive()) {
            reply_.clear();

            const int error = execute();

            for (const int fd : fds_) {
                close(fd);
            }
            if (!(message_.header.flags & FLAG_NO_REPLY)) {
                send_reply(error);
            }
        }
    }

private:
    /* Receive a part of a message, with files in front of it. */
    bool receive_bytes(std::span<uint8_t> bytes)
    {
        while (!bytes.empty()) {
            alignas(cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
            iovec part = {bytes.data(), bytes.size()};
            msghdr header = {};

            header.msg_iov = &part;
            header.msg_iovlen = 1;
            header.msg_control = control;
            header.msg_controllen = sizeof(control);

            const ssize_t got = recvmsg(fd_, &header, 0);

            if (got <= 0) {
                return false;
            }
            take_fds(&header);
            bytes = bytes.subspan((size_t)got);
        }
        return true;
    }

    void take_fds(msghdr *header)
    {
        for (cmsghdr *each = CMSG_FIRSTHDR(header); each;
             each = CMSG_NXTHDR(header, each)) {
            const size_t n = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);

            fds_.resize(n);
            memcpy(fds_.data(), CMSG_DATA(each), n * sizeof(int));
        }
    }

    bool receive()
    {
        fds_.clear();
        if (!receive_bytes({reinterpret_cast<uint8_t *>(&message_.header),
                            sizeof(message_.header)})) {
            return false;
        }

        const size_t size = message_.header.size - sizeof(message_.header);

        return size <= MAX_MESSAGE && receive_bytes({message_.data, size});
    }

    void send_reply(int error)
    {
        Header header = message_.header;

        header.flags = FLAG_REPLY | (error ? FLAG_ERROR : 0);
        header.error = (uint32_t)error;
        header.size = (uint32_t)(sizeof(header) + reply_.size());

        std::vector<uint8_t> all(sizeof(header));

        memcpy(all.data(), &header, sizeof(header));
        all.insert(all.end(), reply_.begin(), reply_.end());
        if (send(fd_, all.data(), all.size(), MSG_NOSIGNAL) !=
            (ssize_t)all.size()) {
            die("send");
        }
    }

    void put(const void *data, size_t size)
    {
        const auto *bytes = static_cast<const uint8_t *>(data);

        reply_.insert(reply_.end(), bytes, bytes + size);
    }

    /* Execute the request, and set the data of the reply. Returns an errno. */
    int execute()
    {
        switch (message_.header.command) {
        case VERSION: {
            const uint16_t version[2] = {0, 0};

            put(version, sizeof(version));
            put(CAPABILITIES, sizeof(CAPABILITIES));
            return 0;
        }
        case DMA_MAP:
            return memory_.map(parse<DmaMap>(message_),
                               fds_.empty() ? -1 : fds_[0]);
        case DMA_UNMAP: {
            const auto request = parse<DmaUnmap>(message_);

            put(&request, sizeof(request));
            return memory_.unmap(request.iova, request.size);
        }
        case GET_INFO: {
            const Info info = {sizeof(info),
                               VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
                               VFIO_PCI_NUM_REGIONS, VFIO_PCI_NUM_IRQS};

            put(&info, sizeof(info));
            return 0;
        }
        case GET_REGION_INFO: {
            auto info = parse<vfio_region_info>(message_);

            info.argsz = sizeof(info);
            info.size = Edu::region_size(info.index);
            info.flags = info.size ? VFIO_REGION_INFO_FLAG_READ |
                                         VFIO_REGION_INFO_FLAG_WRITE
                                   : 0;
            info.cap_offset = 0;
            info.offset = 0;
            put(&info, sizeof(info));
            return 0;
        }
        case GET_IRQ_INFO: {
            auto info = parse<vfio_irq_info>(message_);

            info.flags = 0;
            info.count = 0;
            put(&info, sizeof(info));
            return 0;
        }
        case SET_IRQS:
            return 0;
        case REGION_READ: {
            const auto access = parse<RegionAccess>(message_);

            if (access.count > MAX_MESSAGE) {
                return EINVAL;
            }
            put(&access, sizeof(access));
            reply_.resize(sizeof(access) + access.count);
            edu_.read(access, reply_.data() + sizeof(access));
            return 0;
        }
        case REGION_WRITE: {
            const auto access = parse<RegionAccess>(message_);

            if (access.count > MAX_MESSAGE - sizeof(access)) {
                return EINVAL;
            }
            edu_.write(access, message_.data + sizeof(access));
            put(&access, sizeof(access));
            return 0;
        }
        case RESET:
            edu_.reset();
            return 0;
        default:
            return ENOTSUP;
        }
    }

    int fd_;
    Edu &edu_;
    Memory &memory_;
    Message message_ = {};
    std::vector<int> fds_;
    std::vector<uint8_t> reply_;
};

int accept_one(const char *path)
{
    sockaddr_un address = {};
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    if (listener < 0 ||
        bind(listener, reinterpret_cast<sockaddr *>(&address),
             sizeof(address)) ||
        listen(listener, 1)) {
        die(path);
    }

    const int fd = accept(listener, nullptr, nullptr);

    if (fd < 0) {
        die("accept");
    }
    close(listener);
    return fd;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: vfio-user-edu SOCKET MAPS\n");
        return 2;
    }

    static Memory memory(argv[2]);
    static Edu edu(memory);
    static Server server(accept_one(argv[1]), edu, memory);

    server.serve();
    return 0;
}
