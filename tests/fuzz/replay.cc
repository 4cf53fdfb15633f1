/*
 * Run a fuzz target on files, without libFuzzer, with any compiler
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

namespace fs = std::filesystem;

/* Return the sorted files of a folder, or @name if it is not a folder. */
std::vector<fs::path> list_files(const char *name)
{
    std::vector<fs::path> files;
    std::error_code error;

    if (!fs::is_directory(name, error)) {
        return {name};
    }
    for (const fs::path &file : fs::directory_iterator(name, error)) {
        files.push_back(file);
    }
    std::sort(files.begin(), files.end());
    return files;
}

bool replay(const fs::path &file)
{
    std::ifstream stream(file, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};

    /* Print the name first, in case the target crashes. */
    std::fprintf(stderr, "%s\n", file.c_str());
    if (!stream) {
        std::fprintf(stderr, "error: %s: cannot be read\n", file.c_str());
        return false;
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(bytes.data()),
                           bytes.size());
    return true;
}

} // namespace

int main(int argc, char **argv)
{
    size_t nfiles = 0;

    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        for (const fs::path &file : list_files(argv[i])) {
            if (!replay(file)) {
                return 1;
            }
            nfiles++;
        }
    }
    std::fprintf(stderr, "%zu files\n", nfiles);
    if (!nfiles) {
        std::fprintf(stderr, "error: no input: pass files or folders of "
                             "files\n");
    }
    return nfiles ? 0 : 1;
}
