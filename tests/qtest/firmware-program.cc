/*
 * Programs for the test firmware, for qtests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "firmware-program.h"

#include <string.h>

#include "../nested/firmware/program-format.h"

namespace {

constexpr uint64_t PAGE_SIZE = 4096;

uint16_t opcode(FirmwareOp op)
{
    switch (op) {
    case FIRMWARE_SHARE:
        return OP_SHARE;
    case FIRMWARE_UNSHARE:
        return OP_UNSHARE;
    case FIRMWARE_SYNC:
        return OP_SYNC;
    case FIRMWARE_RESET:
        return OP_RESET;
    }
    return OP_DONE;
}

} // namespace

size_t firmware_program_size(size_t nsteps)
{
    return sizeof(ProgramHeader) + (nsteps + 1) * sizeof(ProgramRecord);
}

void firmware_program_pack(void *buf, const FirmwareStep *steps, size_t nsteps)
{
    ProgramHeader header = {};
    char *to = static_cast<char *>(buf);

    header.magic = PROGRAM_MAGIC;
    header.version = PROGRAM_VERSION;
    header.record_size = sizeof(ProgramRecord);
    header.records = nsteps + 1;
    header.cpus = 1;
    memcpy(to, &header, sizeof(header));
    to += sizeof(header);

    for (size_t i = 0; i <= nsteps; i++, to += sizeof(ProgramRecord)) {
        ProgramRecord record = {};

        record.opcode = OP_DONE;
        record.line = i;
        if (i < nsteps) {
            record.opcode = opcode(steps[i].op);
            record.gpa = steps[i].gpa;
            record.pages = steps[i].size / PAGE_SIZE;
            record.expect = steps[i].expect;
        }
        memcpy(to, &record, sizeof(record));
    }
}
