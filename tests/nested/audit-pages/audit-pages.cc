/*
 * Finds the pages in a copy of guest memory that hold the word of an audit
 *
 *   audit-pages FILE GPA NONCE
 *
 * GPA is the guest address of the memory in FILE. Prints a line "START END" for
 * each run of pages that hold the word; END is exclusive. All numbers are
 * hexadecimal.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "../firmware/pattern.h"

namespace {

constexpr size_t PAGE_SIZE = 4096;

struct FileCloser {
    void operator()(FILE *file) const { fclose(file); }
};

/* Run of pages, which is printed when it cannot grow further */
class Run {
public:
    void add(uint64_t gpa)
    {
        if (gpa != end_) {
            print();
            start_ = gpa;
        }
        end_ = gpa + PAGE_SIZE;
    }

    void print() const
    {
        if (start_ != end_) {
            printf("%jx %jx\n", (uintmax_t)start_, (uintmax_t)end_);
        }
    }

private:
    uint64_t start_ = 0;
    uint64_t end_ = 0;
};

uint64_t parse(const char *text)
{
    char *end;
    const uint64_t value = strtoull(text, &end, 16);

    if (!*text || *end) {
        fprintf(stderr, "audit-pages: %s: not a hexadecimal number\n", text);
        exit(2);
    }
    return value;
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: audit-pages FILE GPA NONCE\n");
        return 2;
    }

    const std::unique_ptr<FILE, FileCloser> file(fopen(argv[1], "rb"));
    uint64_t gpa = parse(argv[2]);
    const uint64_t nonce = parse(argv[3]);
    static uint64_t page[PAGE_SIZE / sizeof(uint64_t)];
    Run run;

    if (!file) {
        perror(argv[1]);
        return 2;
    }
    for (; fread(page, PAGE_SIZE, 1, file.get()) == 1; gpa += PAGE_SIZE) {
        if (page[0] == audit_word(gpa, nonce)) {
            run.add(gpa);
        }
    }
    if (ferror(file.get())) {
        perror(argv[1]);
        return 2;
    }
    run.print();
    return 0;
}
