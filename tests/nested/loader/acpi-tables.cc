/*
 * ACPI tables that QEMU generates, and the commands that assemble them
 *
 * QEMU's hw/acpi/bios-linker-loader.c describes the commands.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "acpi-tables.h"

#include "direct-map.h"
#include "fw-cfg.h"
#include "memory-layout.h"
#include "message.h"
#include "text.h"
#include "x86.h"

namespace {

constexpr char COMMANDS_FILE[] = "etc/table-loader";
constexpr char RSDP_FILE[] = "etc/acpi/rsdp";

constexpr size_t MAX_NAME_SIZE = 56;
constexpr size_t MAX_TABLE_FILES = 32;
/* The tables refer to each other by 32-bit addresses. */
constexpr uint64_t TABLES_LIMIT = 1ull << 32;

constexpr uint32_t COMMAND_NONE = 0;
constexpr uint32_t COMMAND_ALLOCATE = 1;
constexpr uint32_t COMMAND_ADD_POINTER = 2;
constexpr uint32_t COMMAND_ADD_CHECKSUM = 3;
constexpr uint32_t COMMAND_WRITE_POINTER = 4;

struct [[gnu::packed]] Allocate {
    char file[MAX_NAME_SIZE];
    uint32_t align;
    uint8_t zone;
};

struct [[gnu::packed]] AddPointer {
    char to_file[MAX_NAME_SIZE];
    char from_file[MAX_NAME_SIZE];
    uint32_t offset;
    uint8_t size;
};

struct [[gnu::packed]] AddChecksum {
    char file[MAX_NAME_SIZE];
    uint32_t offset;
    uint32_t start;
    uint32_t length;
};

struct [[gnu::packed]] WritePointer {
    char to_file[MAX_NAME_SIZE];
    char from_file[MAX_NAME_SIZE];
    uint32_t to_offset;
    uint32_t from_offset;
    uint8_t size;
};

struct [[gnu::packed]] Command {
    uint32_t type;
    union {
        Allocate allocate;
        AddPointer add_pointer;
        AddChecksum add_checksum;
        WritePointer write_pointer;
        char padding[124];
    };
};
static_assert(sizeof(Command) == 128);

/* File that has been loaded */
struct Blob {
    const char *name;
    uint64_t gpa;
    uint32_t size;

    bool contains(uint64_t offset, uint64_t length) const
    {
        return offset <= size && length <= size - offset;
    }
};

class TableLoader {
public:
    TableLoader(FwCfgDma &dma, MemoryMap &map) : dma_(dma), map_(map) {}

    void execute(const Command &command);

    /* Returns the file @name, or null if it has not been loaded. */
    const Blob *find(const char *name) const;

private:
    void allocate(const Allocate &command);
    void add_pointer(const AddPointer &command);
    void add_checksum(const AddChecksum &command);
    void write_pointer(const WritePointer &command);
    const Blob &loaded(const char *name) const;

    FwCfgDma &dma_;
    MemoryMap &map_;
    Blob blobs_[MAX_TABLE_FILES];
    size_t count_ = 0;
};

void check_name(const char (&name)[MAX_NAME_SIZE])
{
    for (char c : name) {
        if (!c) {
            return;
        }
    }
    fail_file(COMMANDS_FILE, "has a name without an end");
}

void check_pointer_size(uint8_t size)
{
    if (size != 1 && size != 2 && size != 4 && size != 8) {
        fail_file(COMMANDS_FILE, "has a pointer of unknown size");
    }
}

/* Whether @value is a number of @size bytes. */
bool fits(uint64_t value, uint8_t size)
{
    return size == sizeof(value) || !(value >> size * 8);
}

const Blob *TableLoader::find(const char *name) const
{
    for (size_t i = 0; i < count_; i++) {
        if (text_equal(blobs_[i].name, name)) {
            return &blobs_[i];
        }
    }
    return nullptr;
}

/* Returns the file @name, which must have been loaded. */
const Blob &TableLoader::loaded(const char *name) const
{
    const Blob *blob = find(name);

    if (!blob) {
        Failure()
            .word(COMMANDS_FILE)
            .word("uses a file that is not loaded:")
            .word(name);
        stop();
    }
    return *blob;
}

void TableLoader::allocate(const Allocate &command)
{
    FwCfgItem file;

    check_name(command.file);
    if (!fw_cfg_find(command.file, &file)) {
        fail_file(command.file, "does not exist");
    }
    if (find(command.file)) {
        fail_file(command.file, "is loaded twice");
    }
    if (!command.align || command.align & (command.align - 1)) {
        fail_file(command.file, "has an alignment that is not a power of two");
    }
    if (count_ == MAX_TABLE_FILES) {
        fail_file(COMMANDS_FILE, "loads too many files");
    }

    const uint64_t gpa = map_.allocate(file.size, command.align, TABLES_LIMIT);

    dma_.read(file.key, gpa, file.size);
    blobs_[count_++] = {.name = command.file, .gpa = gpa, .size = file.size};
}

void TableLoader::add_pointer(const AddPointer &command)
{
    check_name(command.to_file);
    check_name(command.from_file);
    check_pointer_size(command.size);

    const Blob &to = loaded(command.to_file);
    const Blob &from = loaded(command.from_file);
    uint64_t value = 0;

    if (!to.contains(command.offset, command.size)) {
        fail_file(command.to_file, "has no such pointer");
    }

    char *const pointer = at_gpa<char>(to.gpa + command.offset);

    memcpy(&value, pointer, command.size);
    if (!from.contains(value, 0)) {
        fail_file(command.to_file, "points beyond the end of a file");
    }
    value += from.gpa;
    if (!fits(value, command.size)) {
        fail_file(command.to_file, "has a pointer that is too small");
    }
    memcpy(pointer, &value, command.size);
}

void TableLoader::add_checksum(const AddChecksum &command)
{
    check_name(command.file);

    const Blob &file = loaded(command.file);

    if (!file.contains(command.offset, 1) ||
        !file.contains(command.start, command.length)) {
        fail_file(command.file, "has a checksum beyond its end");
    }

    const uint8_t *const bytes = at_gpa<uint8_t>(file.gpa + command.start);
    uint8_t *const checksum = at_gpa<uint8_t>(file.gpa + command.offset);
    uint8_t sum = 0;

    for (uint32_t i = 0; i < command.length; i++) {
        sum += bytes[i];
    }
    *checksum -= sum;
}

void TableLoader::write_pointer(const WritePointer &command)
{
    FwCfgItem to;

    check_name(command.to_file);
    check_name(command.from_file);
    check_pointer_size(command.size);

    const Blob &from = loaded(command.from_file);

    if (!fw_cfg_find(command.to_file, &to)) {
        fail_file(command.to_file, "does not exist");
    }
    if (command.to_offset > to.size ||
        command.size > to.size - command.to_offset) {
        fail_file(command.to_file, "has no such pointer");
    }
    if (!from.contains(command.from_offset, 0)) {
        fail_file(command.to_file, "points beyond the end of a file");
    }

    const uint64_t value = from.gpa + command.from_offset;

    if (!fits(value, command.size)) {
        fail_file(command.to_file, "has a pointer that is too small");
    }
    dma_.write(to.key, command.to_offset, value, command.size);
}

void TableLoader::execute(const Command &command)
{
    switch (command.type) {
    case COMMAND_NONE:
        /* QEMU fills up the file with these. */
        break;
    case COMMAND_ALLOCATE:
        allocate(command.allocate);
        break;
    case COMMAND_ADD_POINTER:
        add_pointer(command.add_pointer);
        break;
    case COMMAND_ADD_CHECKSUM:
        add_checksum(command.add_checksum);
        break;
    case COMMAND_WRITE_POINTER:
        write_pointer(command.write_pointer);
        break;
    default:
        fail_file(COMMANDS_FILE, "has an unknown command");
    }
}

} // namespace

uint64_t acpi_load_tables(FwCfgDma &dma, MemoryMap &map)
{
    const Command *const commands = at_gpa<Command>(SCRATCH_BASE);
    FwCfgItem file;

    if (!fw_cfg_find(COMMANDS_FILE, &file)) {
        fail_file(COMMANDS_FILE, "does not exist: QEMU has no ACPI tables");
    }
    if (file.size % sizeof(Command) || file.size > SCRATCH_SIZE) {
        fail_file(COMMANDS_FILE, "has an unexpected size");
    }
    dma.read(file.key, SCRATCH_BASE, file.size);

    TableLoader loader(dma, map);

    for (size_t i = 0; i < file.size / sizeof(Command); i++) {
        loader.execute(commands[i]);
    }
    map.reserve_allocated(E820_ACPI);

    const Blob *const rsdp = loader.find(RSDP_FILE);

    if (!rsdp) {
        fail_file(COMMANDS_FILE, "does not load the RSDP");
    }
    return rsdp->gpa;
}
