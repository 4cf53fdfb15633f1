/*
 * Serial port COM1: lines of text in both directions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FREESTANDING_SERIAL_H
#define TESTS_FREESTANDING_SERIAL_H

#include <stddef.h>
#include <stdint.h>

void serial_init();

/*
 * Reads a line without its newline. Drops the part that does not fit into
 * @size bytes, including the terminating zero.
 */
void serial_read_line(char *line, size_t size);

/*
 * Line of words separated by blanks. It is sent when it goes out of scope, and
 * lines of several vCPUs are never mixed.
 */
class SerialLine {
public:
    explicit SerialLine(const char *word);
    ~SerialLine();
    SerialLine(const SerialLine &) = delete;
    SerialLine &operator=(const SerialLine &) = delete;

    SerialLine &word(const char *word);
    SerialLine &number(uint64_t value);
    SerialLine &field(const char *name, uint64_t value);
    SerialLine &field_signed(const char *name, int64_t value);
    SerialLine &field_hex(const char *name, uint64_t value);

private:
    void append(const char *text);
    void append_number(uint64_t value, unsigned base);

    char text_[200];
    size_t length_ = 0;
};

#endif
