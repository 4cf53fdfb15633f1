/*
 * Interpreter of test programs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "interpreter.h"

#include "cpu.h"
#include "device-check.h"
#include "hypercall.h"
#include "pattern.h"
#include "pci.h"
#include "serial.h"
#include "smp.h"
#include "text.h"
#include "virtio-mem.h"

namespace {

/* The chipset's reset control register, and its value for a full reset */
constexpr uint16_t PORT_RESET = 0xcf9;
constexpr uint8_t RESET_FULL = 0x06;

/* Number of failures of one top-level record that are described */
constexpr uint64_t MAX_NOTES = 8;

/* Sums over all vCPUs since the last report */
struct Counters {
    uint64_t calls;
    uint64_t arrived;
    uint64_t blocked;
    uint64_t failures;
};

class Interpreter {
public:
    Interpreter(const ProgramRecord *records, bool has_device)
        : records_(records), has_device_(has_device)
    {
    }

    void run(size_t start);

private:
    /* State of one vCPU */
    struct Context {
        unsigned cpu;
        uint64_t round;
        bool in_block;
    };

    struct ParallelBlock {
        Interpreter *interpreter;
        size_t begin, end;
        uint64_t round;
    };

    void run_range(const Context &context, size_t begin, size_t end);
    void run_block(const Context &context, size_t index);
    void run_simple(const Context &context, const ProgramRecord &record);
    void run_access(const Context &context, const ProgramRecord &record);
    void run_with_harness(const Context &context, const ProgramRecord &record);
    static void run_on_cpu(unsigned cpu, void *opaque);

    void convert(const Context &context, const ProgramRecord &record);
    void verify(const Context &context, const ProgramRecord &record);
    void device(const Context &context, const ProgramRecord &record);
    void audit(const ProgramRecord &record, uint64_t gpa);
    void expect_value(const Context &context, const ProgramRecord &record);
    void sync(const ProgramRecord &record);
    void serve(const Context &context, const ProgramRecord &record);
    bool serve_one(const Context &context, const ProgramRecord &record);
    [[noreturn]] void reset(const ProgramRecord &record);

    bool note_failure();
    void report(const char *word, const ProgramRecord &record);

    const ProgramRecord *records_;
    bool has_device_;
    Counters counters_ = {};
};

void add(uint64_t &counter, uint64_t count)
{
    __atomic_add_fetch(&counter, count, __ATOMIC_RELAXED);
}

uint64_t address(const ProgramRecord &record, unsigned cpu, uint64_t round)
{
    return record.gpa + cpu * record.cpu_step + round * record.loop_step;
}

/* Counts a failure. Returns whether to describe it. */
bool Interpreter::note_failure()
{
    return __atomic_add_fetch(&counters_.failures, 1, __ATOMIC_RELAXED) <=
           MAX_NOTES;
}

/* Whether an operation is a request to the host or the virtio-mem device. */
bool is_request(uint16_t opcode)
{
    return opcode == OP_SHARE || opcode == OP_UNSHARE || opcode == OP_PLUG ||
           opcode == OP_UNPLUG || opcode == OP_UNPLUG_ALL;
}

/* Sends a record's request to the host or to the virtio-mem device. */
int64_t request(const ProgramRecord &record, uint64_t gpa, uint64_t pages)
{
    switch (record.opcode) {
    case OP_PLUG:
        return virtio_mem_plug(gpa, pages * PAGE_SIZE);
    case OP_UNPLUG:
        return virtio_mem_unplug(gpa, pages * PAGE_SIZE);
    case OP_UNPLUG_ALL:
        return virtio_mem_unplug_all();
    default:
        return map_gpa_range(gpa, pages,
                             record.opcode == OP_UNSHARE ? PageState::Private
                                                         : PageState::Shared);
    }
}

void Interpreter::convert(const Context &context, const ProgramRecord &record)
{
    const uint64_t gpa = address(record, context.cpu, context.round);
    const bool is_hypercall =
        record.opcode == OP_SHARE || record.opcode == OP_UNSHARE;
    const uint64_t chunk = record.chunk ? record.chunk : record.pages;
    uint64_t done = 0;
    uint64_t calls = 0;

    do {
        const uint64_t left = record.pages - done;
        const uint64_t pages = left < chunk ? left : chunk;
        const uint64_t at = gpa + done * PAGE_SIZE;
        const int64_t result = request(record, at, pages);

        calls++;
        done += pages;
        if (result != record.expect && note_failure()) {
            SerialLine("note")
                .number(record.line)
                .word(is_hypercall ? "hypercall" : "virtio-mem")
                .field("cpu", context.cpu)
                .field_hex("gpa", at)
                .field_hex("pages", pages)
                .field_signed("ret", result)
                .field_signed("expected", record.expect);
        }
    } while (done != record.pages);
    add(counters_.calls, calls);
}

void fill(uint64_t gpa, uint64_t size, uint64_t seed)
{
    volatile uint64_t *word = at_gpa<volatile uint64_t>(gpa);

    for (uint64_t at = 0; at < size; at += sizeof(*word)) {
        *word++ = memory_pattern(gpa + at, seed);
    }
}

void Interpreter::verify(const Context &context, const ProgramRecord &record)
{
    const uint64_t gpa = address(record, context.cpu, context.round);
    const bool zero = record.flags & FLAG_ZERO;
    volatile uint64_t *word = at_gpa<volatile uint64_t>(gpa);
    uint64_t wrong = 0, first_gpa = 0, first_word = 0;

    for (uint64_t at = 0; at < record.size; at += sizeof(*word)) {
        const uint64_t value = *word++;

        if (value != (zero ? 0 : memory_pattern(gpa + at, record.seed))) {
            if (!wrong) {
                first_gpa = gpa + at;
                first_word = value;
            }
            wrong++;
        }
    }
    if (wrong && note_failure()) {
        SerialLine("note")
            .number(record.line)
            .word("memory")
            .field("cpu", context.cpu)
            .field("wrong_words", wrong)
            .field_hex("first_gpa", first_gpa)
            .field_hex("word", first_word);
    }
}

void Interpreter::device(const Context &context, const ProgramRecord &record)
{
    const uint64_t gpa = address(record, context.cpu, context.round);
    const bool blocked = record.flags & FLAG_BLOCKED;
    const bool zero = record.flags & FLAG_ZERO;
    const char *error = nullptr;

    if (record.opcode == OP_MASTER) {
        /* Setting bus mastering without a device is not an error. */
        if (has_device_) {
            error = device_set_master(record.size, record.chunk);
        }
    } else if (!has_device_) {
        error = "no-device";
    } else if (record.opcode == OP_DMA_TO) {
        error = device_check_write(gpa, record.size, record.seed, blocked);
    } else {
        error = device_check_read(gpa, record.size, record.seed, zero, blocked);
    }

    if (error) {
        if (note_failure()) {
            SerialLine("note")
                .number(record.line)
                .word("device")
                .word(error)
                .field_hex("gpa", gpa);
        }
    } else if (record.opcode != OP_MASTER) {
        add(blocked ? counters_.blocked : counters_.arrived, 1);
    }
}

void poke(uint64_t gpa, uint64_t size, uint64_t value)
{
    switch (size) {
    case 1:
        *at_gpa<volatile uint8_t>(gpa) = value;
        break;
    case 2:
        *at_gpa<volatile uint16_t>(gpa) = value;
        break;
    case 4:
        *at_gpa<volatile uint32_t>(gpa) = value;
        break;
    default:
        *at_gpa<volatile uint64_t>(gpa) = value;
    }
}

uint64_t peek(uint64_t gpa, uint64_t size)
{
    switch (size) {
    case 1:
        return *at_gpa<volatile uint8_t>(gpa);
    case 2:
        return *at_gpa<volatile uint16_t>(gpa);
    case 4:
        return *at_gpa<volatile uint32_t>(gpa);
    default:
        return *at_gpa<volatile uint64_t>(gpa);
    }
}

void write_port(uint16_t port, uint64_t size, uint32_t value)
{
    switch (size) {
    case 1:
        out8(port, value);
        break;
    case 2:
        out16(port, value);
        break;
    default:
        out32(port, value);
    }
}

uint32_t read_port(uint16_t port, uint64_t size)
{
    switch (size) {
    case 1:
        return in8(port);
    case 2:
        return in16(port);
    default:
        return in32(port);
    }
}

void Interpreter::expect_value(const Context &context,
                               const ProgramRecord &record)
{
    const uint64_t at = address(record, context.cpu, context.round);
    const bool is_port = record.opcode == OP_IN;
    const uint64_t value =
        is_port ? read_port(at, record.size) : peek(at, record.size);

    const bool is_not = record.flags & FLAG_NOT;

    if ((value == record.seed) == is_not && note_failure()) {
        SerialLine("note")
            .number(record.line)
            .word(is_port ? "port" : "value")
            .field_hex("at", at)
            .field_hex("is", value)
            .field_hex(is_not ? "not_expected" : "expected", record.seed);
    }
}

/* Reports the counters and resets them. */
void Interpreter::report(const char *word, const ProgramRecord &record)
{
    SerialLine(word)
        .number(record.line)
        .field("calls", counters_.calls)
        .field("arrived", counters_.arrived)
        .field("blocked", counters_.blocked);
    counters_.calls = 0;
    counters_.arrived = 0;
    counters_.blocked = 0;
}

void wait_for_go()
{
    char answer[8];

    do {
        serial_read_line(answer, sizeof(answer));
    } while (!text_equal(answer, "go"));
}

void Interpreter::audit(const ProgramRecord &record, uint64_t gpa)
{
    /* The nonce makes the words differ from those of earlier audits. */
    const uint64_t nonce = read_tsc();

    for (uint64_t at = gpa; at < gpa + record.size; at += PAGE_SIZE) {
        *at_gpa<volatile uint64_t>(at) = audit_word(at, nonce);
    }
    SerialLine("audit").number(record.line).field_hex("nonce", nonce);
    wait_for_go();
}

void Interpreter::sync(const ProgramRecord &record)
{
    report("sync", record);
    wait_for_go();
}

/* Executes a record. Returns whether it succeeded. */
bool Interpreter::serve_one(const Context &context, const ProgramRecord &record)
{
    if (is_request(record.opcode)) {
        return !request(record, record.gpa, record.pages);
    }
    counters_.failures = 0;
    run_simple(context, record);
    return !counters_.failures;
}

/* Executes records of the program that the harness chooses by their index. */
void Interpreter::serve(const Context &context, const ProgramRecord &record)
{
    char line[16];
    uint64_t index;

    SerialLine("serve").number(record.line);
    for (;;) {
        serial_read_line(line, sizeof(line));
        if (text_equal(line, "go")) {
            return;
        }
        if (!text_parse_number(line, "do ", &index)) {
            SerialLine("fatal").word("unknown-command");
            stop();
        }
        SerialLine(serve_one(context, records_[index]) ? "did" : "cannot");
    }
}

void Interpreter::reset(const ProgramRecord &record)
{
    report("reset", record);
    out8(PORT_RESET, RESET_FULL);
    stop();
}

/*
 * Whether only the first vCPU executes an operation: there is one edu device,
 * and one pair of ports for PCI configuration space.
 */
bool is_for_first_cpu(uint16_t opcode)
{
    return opcode == OP_DMA_TO || opcode == OP_DMA_FROM ||
           opcode == OP_MASTER || opcode == OP_PAM;
}

/* Executes an access to a single value in memory or at a port. */
void Interpreter::run_access(const Context &context,
                             const ProgramRecord &record)
{
    const uint64_t at = address(record, context.cpu, context.round);

    switch (record.opcode) {
    case OP_POKE:
        poke(at, record.size, record.seed);
        break;
    case OP_OUT:
        write_port(at, record.size, record.seed);
        break;
    case OP_AWAIT:
        while (peek(at, record.size) != record.seed) {
            relax();
        }
        break;
    default:
        expect_value(context, record);
    }
}

/* Executes an operation in which the harness takes part. */
void Interpreter::run_with_harness(const Context &context,
                                   const ProgramRecord &record)
{
    switch (record.opcode) {
    case OP_AUDIT:
        audit(record, address(record, context.cpu, context.round));
        break;
    case OP_SYNC:
        sync(record);
        break;
    case OP_SERVE:
        serve(context, record);
        break;
    case OP_RESET:
        reset(record);
    default:
        SerialLine("fatal").word("unknown-opcode").number(record.opcode);
        stop();
    }
}

void Interpreter::run_simple(const Context &context,
                             const ProgramRecord &record)
{
    const uint64_t gpa = address(record, context.cpu, context.round);

    if (context.cpu && is_for_first_cpu(record.opcode)) {
        return;
    }
    if (is_request(record.opcode)) {
        convert(context, record);
        return;
    }
    switch (record.opcode) {
    case OP_FILL:
        fill(gpa, record.size, record.seed);
        break;
    case OP_VERIFY:
        verify(context, record);
        break;
    case OP_DMA_TO:
    case OP_DMA_FROM:
    case OP_MASTER:
        device(context, record);
        break;
    case OP_SCRATCH:
        device_set_scratch(gpa);
        break;
    case OP_PAM:
        pci_set_pam(record.size);
        break;
    case OP_POKE:
    case OP_PEEK:
    case OP_AWAIT:
    case OP_OUT:
    case OP_IN:
        run_access(context, record);
        break;
    default:
        run_with_harness(context, record);
    }
}

void Interpreter::run_on_cpu(unsigned cpu, void *opaque)
{
    const ParallelBlock *block = static_cast<const ParallelBlock *>(opaque);
    const Context context = {cpu, block->round, true};

    block->interpreter->run_range(context, block->begin, block->end);
}

void Interpreter::run_block(const Context &context, size_t index)
{
    const ProgramRecord &record = records_[index];
    const size_t begin = index + 1;

    if (record.opcode == OP_PARALLEL) {
        ParallelBlock block = {this, begin, record.end, context.round};

        smp_run(record.size, run_on_cpu, &block);
    } else if (record.opcode == OP_REPEAT) {
        for (uint64_t round = 0; round < record.size; round++) {
            run_range({context.cpu, round, true}, begin, record.end);
        }
    } else {
        const uint64_t calls = counters_.calls;
        const uint64_t tsc = read_tsc();

        run_range({context.cpu, context.round, true}, begin, record.end);

        const uint64_t ticks = read_tsc() - tsc;

        SerialLine("measure")
            .number(record.line)
            .field("ticks", ticks)
            .field("calls", counters_.calls - calls);
    }
}

/* Executes the records from @begin up to but excluding @end. */
void Interpreter::run_range(const Context &context, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        const ProgramRecord &record = records_[i];

        if (record.opcode == OP_PARALLEL || record.opcode == OP_REPEAT ||
            record.opcode == OP_MEASURE) {
            run_block(context, i);
            i = record.end;
        } else {
            run_simple(context, record);
        }
    }
}

void Interpreter::run(size_t start)
{
    const Context context = {};
    size_t i = start;

    for (; records_[i].opcode != OP_DONE; i++) {
        const ProgramRecord &record = records_[i];

        counters_.failures = 0;
        run_range(context, i, i + 1);
        if (record.end) {
            i = record.end;
        }

        SerialLine(counters_.failures ? "fail" : "ok")
            .number(record.line)
            .field("failures", counters_.failures);
    }
    report("done", records_[i]);
}

} // namespace

void run_program(const ProgramRecord *records, size_t start, bool has_device)
{
    Interpreter(records, has_device).run(start);
}
