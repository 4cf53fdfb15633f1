/*
 * Test of freeing and allocating the backings of a RAM block, with real memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>

#include "system/guest-memfd-backing.h"
#include "system/shared-dma-compat.h"

#define NPAGES 8

static size_t page_size(void)
{
    return qemu_real_host_page_size();
}

/* Replacements of functions of QEMU */

bool qemu_ram_is_shared(RAMBlock *block)
{
    return block->flags & RAM_SHARED;
}

size_t qemu_ram_pagesize(RAMBlock *block)
{
    return block->page_size;
}

typedef enum Kind {
    KIND_ANONYMOUS,
    KIND_ANONYMOUS_SHARED,
    KIND_FILE,
    KIND_FILE_PRIVATE,
} Kind;

static void make_block(RAMBlock *block, Kind kind)
{
    const size_t size = NPAGES * page_size();
    const bool is_file = kind == KIND_FILE || kind == KIND_FILE_PRIVATE;
    const bool is_shared = kind == KIND_FILE || kind == KIND_ANONYMOUS_SHARED;

    *block = (RAMBlock) {
        .fd = -1,
        .flags = is_shared ? RAM_SHARED : 0,
        .page_size = page_size(),
        .max_length = size,
        .guest_memfd = memfd_create("private", MFD_CLOEXEC),
    };
    g_assert_cmpint(ftruncate(block->guest_memfd, size), ==, 0);
    if (is_file) {
        /* RAM begins at the second page of the file. */
        block->fd = memfd_create("shared", MFD_CLOEXEC);
        block->fd_offset = page_size();
        g_assert_cmpint(ftruncate(block->fd, size + page_size()), ==, 0);
    }
    block->host = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       (is_shared ? MAP_SHARED : MAP_PRIVATE) |
                       (is_file ? 0 : MAP_ANONYMOUS),
                       block->fd, block->fd_offset);
    g_assert_true(block->host != MAP_FAILED);
    memset(block->host, 0x5a, size);
}

static void destroy_block(RAMBlock *block)
{
    munmap(block->host, block->max_length);
    close(block->guest_memfd);
    if (block->fd >= 0) {
        close(block->fd);
    }
}

/* Check that pages 2 to 4 are zero, and all others have their content. */
static void assert_freed(const RAMBlock *block)
{
    for (unsigned int page = 0; page < NPAGES; page++) {
        const uint8_t expected = page >= 2 && page < 5 ? 0 : 0x5a;

        g_assert_cmpint(block->host[page * page_size()], ==, expected);
        g_assert_cmpint(block->host[(page + 1) * page_size() - 1], ==,
                        expected);
    }
}

static uint64_t file_blocks(int fd)
{
    struct stat st;

    g_assert_cmpint(fstat(fd, &st), ==, 0);
    return st.st_blocks * 512 / page_size();
}

static int free_shared(RAMBlock *block)
{
    return guest_memfd_free_shared(block, 2 * page_size(), 3 * page_size());
}

static void test_shared(gconstpointer opaque)
{
    const Kind kind = GPOINTER_TO_INT(opaque);
    RAMBlock block;

    make_block(&block, kind);
    g_assert_cmpint(free_shared(&block), ==, 0);
    assert_freed(&block);
    if (kind == KIND_FILE) {
        /* Reading the pages has allocated them again. */
        g_assert_cmpint(free_shared(&block), ==, 0);
        g_assert_cmpuint(file_blocks(block.fd), ==, NPAGES - 3);
    }
    destroy_block(&block);
}

/* With -overcommit mem-lock=on all memory is locked. */
static void test_locked(gconstpointer opaque)
{
    RAMBlock block;

    make_block(&block, GPOINTER_TO_INT(opaque));
    if (mlock(block.host, block.max_length)) {
        g_test_skip("this process may not lock memory");
    } else {
        g_assert_cmpint(free_shared(&block), ==, 0);
        assert_freed(&block);
    }
    destroy_block(&block);
}

static void test_huge_pages(void)
{
    RAMBlock block;

    make_block(&block, KIND_ANONYMOUS);
    block.page_size = 512 * page_size();
    g_assert_cmpint(free_shared(&block), ==, 0);
    g_assert_cmpint(block.host[2 * page_size()], ==, 0x5a);
    destroy_block(&block);
}

static void test_private(void)
{
    RAMBlock block;

    make_block(&block, KIND_ANONYMOUS);
    for (unsigned int page = 0; page < NPAGES; page++) {
        g_assert_cmpint(pwrite(block.guest_memfd, "x", 1, page * page_size()),
                        ==, 1);
    }
    g_assert_cmpuint(file_blocks(block.guest_memfd), ==, NPAGES);
    g_assert_cmpint(guest_memfd_free_private(&block, 2 * page_size(),
                                             3 * page_size()), ==, 0);
    g_assert_cmpuint(file_blocks(block.guest_memfd), ==, NPAGES - 3);
    destroy_block(&block);
}

static void test_errors(void)
{
    RAMBlock block;

    make_block(&block, KIND_ANONYMOUS);
    close(block.guest_memfd);
    g_assert_cmpint(guest_memfd_free_private(&block, 0, page_size()), ==,
                    -EBADF);
    munmap(block.host, block.max_length);
    g_assert_cmpint(free_shared(&block), ==, -ENOMEM);

    make_block(&block, KIND_FILE);
    close(block.fd);
    g_assert_cmpint(free_shared(&block), ==, -EBADF);
    block.fd = -1;
    destroy_block(&block);
}

static void test_allocate(void)
{
    const size_t page = page_size();
    RAMBlock block;

    make_block(&block, KIND_ANONYMOUS);
    g_assert_cmpint(guest_memfd_allocate_private(&block, page, 4 * page), ==,
                    0);
    g_assert_cmpuint(file_blocks(block.guest_memfd), ==, 4);
    g_assert_cmpint(guest_memfd_allocate_private(&block, page, INT64_MAX), ==,
                    -EFBIG);
    destroy_block(&block);
}

/* One backing is freed even if the other cannot be freed. */
static void test_unplugged(void)
{
    const size_t page = page_size();
    RAMBlock block;

    make_block(&block, KIND_ANONYMOUS);
    g_assert_cmpint(guest_memfd_allocate_private(&block, 0, NPAGES * page), ==,
                    0);
    g_assert_cmpint(guest_memfd_free_unplugged(&block, 2 * page, 3 * page), ==,
                    0);
    assert_freed(&block);
    g_assert_cmpuint(file_blocks(block.guest_memfd), ==, NPAGES - 3);
    munmap(block.host, block.max_length);
    g_assert_cmpint(guest_memfd_free_unplugged(&block, 0, NPAGES * page), ==,
                    -ENOMEM);
    g_assert_cmpuint(file_blocks(block.guest_memfd), ==, 0);
    close(block.guest_memfd);

    make_block(&block, KIND_ANONYMOUS);
    close(block.guest_memfd);
    g_assert_cmpint(guest_memfd_free_unplugged(&block, 2 * page, 3 * page), ==,
                    -EBADF);
    assert_freed(&block);
    block.guest_memfd = memfd_create("private", MFD_CLOEXEC);
    destroy_block(&block);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        Kind kind;
    } kinds[] = {
        { "anonymous", KIND_ANONYMOUS },
        { "anonymous-shared", KIND_ANONYMOUS_SHARED },
        { "file", KIND_FILE },
        { "file-private", KIND_FILE_PRIVATE },
    };

    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(kinds); i++) {
        g_autofree char *shared =
            g_strdup_printf("/guest-memfd-backing/shared/%s", kinds[i].name);
        g_autofree char *locked =
            g_strdup_printf("/guest-memfd-backing/locked/%s", kinds[i].name);

        g_test_add_data_func(shared, GINT_TO_POINTER(kinds[i].kind),
                             test_shared);
        /* The kernel cannot free this kind; QEMU refuses it. */
        if (kinds[i].kind != KIND_ANONYMOUS_SHARED) {
            g_test_add_data_func(locked, GINT_TO_POINTER(kinds[i].kind),
                                 test_locked);
        }
    }
    g_test_add_func("/guest-memfd-backing/huge-pages", test_huge_pages);
    g_test_add_func("/guest-memfd-backing/private", test_private);
    g_test_add_func("/guest-memfd-backing/allocate", test_allocate);
    g_test_add_func("/guest-memfd-backing/unplugged", test_unplugged);
    g_test_add_func("/guest-memfd-backing/errors", test_errors);
    return g_test_run();
}
