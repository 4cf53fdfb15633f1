/*
 * Memory for the nodes of a std::map
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The heap charges a header for each node, and grows page by page when a thread
 * other than the main one allocates, by a system call each time.  A DmaNodePool
 * takes memory from the heap in chunks, keeps nodes that are freed for reuse,
 * and gives the chunks back when no node is left.  Until then it holds as much
 * as the largest number of nodes took, and less than twice that.
 *
 * A pool is not locked: its owner serializes access.
 */

#ifndef HW_VFIO_DMA_NODE_POOL_H
#define HW_VFIO_DMA_NODE_POOL_H

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DMA_NODE_POOL_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define DMA_NODE_POOL_ASAN
#endif

#ifdef DMA_NODE_POOL_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size)   ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

namespace shared_dma {

/* A pool of nodes, all of which have the same size, in bytes. */
class DmaNodePool {
public:
    DmaNodePool() = default;

    /* Return memory for a node. */
    void *get(size_t size)
    {
        nused_++;
        if (free_) {
            Node *node = free_;

            ASAN_UNPOISON_MEMORY_REGION(node, size);
            free_ = node->next;
            return node;
        }
        if (fresh_ == fresh_end_) {
            add_chunk(size);
        }

        std::byte *node = fresh_;

        ASAN_UNPOISON_MEMORY_REGION(node, size);
        fresh_ += size;
        return node;
    }

    /* Free the memory of a node. */
    void put(void *memory, size_t size)
    {
        Node *node = static_cast<Node *>(memory);

        node->next = free_;
        free_ = node;
        ASAN_POISON_MEMORY_REGION(node, size);
        if (!--nused_ && chunks_.size() > 1) {
            *this = {};
        }
    }

    /* Return the number of chunks. */
    size_t nchunks() const { return chunks_.size(); }

    DmaNodePool(const DmaNodePool &) = delete;

private:
    /* Limits of the number of nodes in a chunk */
    static constexpr size_t kMinNodes = 16;
    static constexpr size_t kMaxNodes = 1024;

    /* A node that is free */
    struct Node {
        Node *next;
    };

    DmaNodePool &operator=(DmaNodePool &&) = default;

    /* Add a chunk for as many nodes as there are, within limits. */
    void add_chunk(size_t size)
    {
        const size_t nbytes = std::clamp(nused_, kMinNodes, kMaxNodes) * size;

        assert(size >= sizeof(Node));
        /* Leave it untouched. */
        chunks_.emplace_back(new std::byte[nbytes]);
        fresh_ = chunks_.back().get();
        fresh_end_ = fresh_ + nbytes;
        ASAN_POISON_MEMORY_REGION(fresh_, nbytes);
    }

    std::vector<std::unique_ptr<std::byte[]>> chunks_;
    Node *free_ = nullptr;
    /* The part of the last chunk that was never used */
    std::byte *fresh_ = nullptr;
    std::byte *fresh_end_ = nullptr;
    size_t nused_ = 0;
};

/*
 * The allocator of a std::map, or of another container that allocates nodes of
 * one size, one at a time.  Copies of a container share a pool.
 */
template <typename T> class DmaNodeAllocator {
public:
    using value_type = T;
    using propagate_on_container_copy_assignment = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;

    DmaNodeAllocator() : pool_(std::make_shared<DmaNodePool>()) {}
    template <typename U>
    DmaNodeAllocator(const DmaNodeAllocator<U> &other) : pool_(other.pool())
    {
    }

    T *allocate(size_t n)
    {
        static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
        assert(n == 1);
        return static_cast<T *>(pool_->get(sizeof(T)));
    }
    void deallocate(T *node, size_t) { pool_->put(node, sizeof(T)); }

    const std::shared_ptr<DmaNodePool> &pool() const { return pool_; }

    template <typename U>
    bool operator==(const DmaNodeAllocator<U> &other) const
    {
        return pool_ == other.pool();
    }

    /* An allocator always has a pool, also when it was moved from. */
    DmaNodeAllocator(const DmaNodeAllocator &) = default;
    DmaNodeAllocator &operator=(const DmaNodeAllocator &) = default;

private:
    std::shared_ptr<DmaNodePool> pool_;
};

} // namespace shared_dma

#endif
