/*
 * Test firmware: asks the harness where to start, and executes a program
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * It reports to the harness in lines on the serial port:
 *
 *   boot                           the harness answers "start INDEX"
 *   ok LINE failures=0             the record of program line LINE succeeded
 *   fail LINE failures=N           the record failed
 *   note LINE TEXT...              description of one failure
 *   measure LINE ticks=N calls=N   a measured block has ended
 *   audit LINE nonce=N             the audit words are written; the harness
 *                                  answers "go"
 *   sync LINE calls=N arrived=N blocked=N      the harness answers "go"
 *   serve LINE                     the harness sends lines "do INDEX", each to
 *                                  execute a record, and finally "go"
 *   did, cannot                    answer to "do": success or failure
 *   reset LINE calls=N arrived=N blocked=N     "boot" follows
 *   done LINE calls=N arrived=N blocked=N      the last line
 *   exception ..., fatal ...       the last line
 */

#include "cpu.h"
#include "edu.h"
#include "fw-cfg.h"
#include "interpreter.h"
#include "interrupts.h"
#include "program-format.h"
#include "serial.h"
#include "smp.h"
#include "text.h"
#include "virtio-legacy.h"
#include "virtio-mem.h"

namespace {

constexpr char PROGRAM_FILE[] = "opt/org.qemu.shared-dma/program";

/* Address of the program: above the firmware's variables */
constexpr uint64_t PROGRAM_BASE = 0x200000;
constexpr uint64_t PROGRAM_MAX_SIZE = VMEM_QUEUE_PAGE - PROGRAM_BASE;

[[noreturn]] void fatal(const char *what)
{
    SerialLine("fatal").word(what);
    stop();
}

const ProgramHeader *load_program()
{
    ProgramHeader *header = at_gpa<ProgramHeader>(PROGRAM_BASE);
    FwCfgItem file;

    if (!fw_cfg_init() || !fw_cfg_find(PROGRAM_FILE, &file) ||
        file.size < sizeof(*header)) {
        fatal("no-program");
    }
    if (file.size > PROGRAM_MAX_SIZE) {
        fatal("program-too-large");
    }
    fw_cfg_read(file.key, header, file.size);
    if (header->magic != PROGRAM_MAGIC || header->version != PROGRAM_VERSION ||
        header->record_size != sizeof(ProgramRecord) ||
        file.size != sizeof(*header) +
                         (uint64_t)header->records * sizeof(ProgramRecord)) {
        fatal("wrong-program-version");
    }
    return header;
}

/* Asks the harness, which keeps the position in the program across resets. */
uint64_t ask_for_start()
{
    char answer[32];
    uint64_t start;

    SerialLine("boot");
    do {
        serial_read_line(answer, sizeof(answer));
    } while (!text_parse_number(answer, "start ", &start));
    return start;
}

} // namespace

extern "C" void firmware_main()
{
    serial_init();
    interrupts_init();

    const ProgramHeader *header = load_program();
    const unsigned cpus = fw_cfg_cpus();

    if (cpus < header->cpus) {
        fatal("too-few-cpus");
    }
    if (cpus > MAX_CPUS) {
        fatal("too-many-cpus");
    }
    if (!smp_init(cpus)) {
        fatal("cpus-did-not-start");
    }

    if (header->vmem_size) {
        const char *error = virtio_mem_init(*header);

        if (error) {
            fatal(error);
        }
    }

    virtio_legacy_init();

    const bool has_device = edu_init();
    const uint64_t start = ask_for_start();

    if (start >= header->records) {
        fatal("start-beyond-program");
    }
    run_program(reinterpret_cast<const ProgramRecord *>(header + 1), start,
                has_device);
    stop();
}
