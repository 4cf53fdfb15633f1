/*
 * Serial port COM1: lines of text in both directions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "serial.h"

#include "spinlock.h"
#include "x86.h"

namespace {

constexpr uint16_t PORT = 0x3f8;
constexpr uint16_t PORT_DATA = PORT;
constexpr uint16_t PORT_DIVISOR_LOW = PORT;
constexpr uint16_t PORT_DIVISOR_HIGH = PORT + 1;
constexpr uint16_t PORT_INTERRUPT_ENABLE = PORT + 1;
constexpr uint16_t PORT_FIFO_CONTROL = PORT + 2;
constexpr uint16_t PORT_LINE_CONTROL = PORT + 3;
constexpr uint16_t PORT_MODEM_CONTROL = PORT + 4;
constexpr uint16_t PORT_LINE_STATUS = PORT + 5;

constexpr uint8_t FIFO_ENABLE_AND_CLEAR = 0x07;
constexpr uint8_t LINE_8N1 = 0x03;
constexpr uint8_t LINE_DIVISOR_ACCESS = 0x80;
constexpr uint8_t MODEM_DTR_RTS = 0x03;
constexpr uint8_t STATUS_DATA_READY = 0x01;
constexpr uint8_t STATUS_TRANSMIT_EMPTY = 0x20;

/* Size of the transmit FIFO: polling once for each fill saves exits. */
constexpr unsigned FIFO_SIZE = 16;
/* Pauses between two polls for input, each of which costs an exit. */
constexpr unsigned POLL_PAUSES = 20000;

Spinlock send_lock;

void send(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (i % FIFO_SIZE == 0) {
            while (!(in8(PORT_LINE_STATUS) & STATUS_TRANSMIT_EMPTY)) {
                relax();
            }
        }
        out8(PORT_DATA, text[i]);
    }
}

char receive()
{
    while (!(in8(PORT_LINE_STATUS) & STATUS_DATA_READY)) {
        for (unsigned i = 0; i < POLL_PAUSES; i++) {
            relax();
        }
    }
    return in8(PORT_DATA);
}

} // namespace

void serial_init()
{
    out8(PORT_INTERRUPT_ENABLE, 0);
    out8(PORT_LINE_CONTROL, LINE_DIVISOR_ACCESS);
    out8(PORT_DIVISOR_LOW, 1);
    out8(PORT_DIVISOR_HIGH, 0);
    out8(PORT_LINE_CONTROL, LINE_8N1);
    out8(PORT_FIFO_CONTROL, FIFO_ENABLE_AND_CLEAR);
    out8(PORT_MODEM_CONTROL, MODEM_DTR_RTS);
}

void serial_read_line(char *line, size_t size)
{
    size_t length = 0;

    for (;;) {
        char c = receive();

        if (c == '\n') {
            break;
        }
        if (length + 1 < size) {
            line[length++] = c;
        }
    }
    line[length] = '\0';
}

SerialLine::SerialLine(const char *word)
{
    append(word);
}

SerialLine::~SerialLine()
{
    text_[length_++] = '\n';
    send_lock.lock();
    send(text_, length_);
    send_lock.unlock();
}

SerialLine &SerialLine::word(const char *word)
{
    append(" ");
    append(word);
    return *this;
}

SerialLine &SerialLine::number(uint64_t value)
{
    append(" ");
    append_number(value, 10);
    return *this;
}

SerialLine &SerialLine::field(const char *name, uint64_t value)
{
    word(name);
    append("=");
    append_number(value, 10);
    return *this;
}

SerialLine &SerialLine::field_signed(const char *name, int64_t value)
{
    word(name);
    append(value < 0 ? "=-" : "=");
    append_number(value < 0 ? -(uint64_t)value : value, 10);
    return *this;
}

SerialLine &SerialLine::field_hex(const char *name, uint64_t value)
{
    word(name);
    append("=0x");
    append_number(value, 16);
    return *this;
}

void SerialLine::append(const char *text)
{
    /* Keep one byte for the newline. */
    while (*text && length_ + 1 < sizeof(text_)) {
        text_[length_++] = *text++;
    }
}

void SerialLine::append_number(uint64_t value, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    append(digits + at);
}
