/*
 * Simulated conversions: the kernel and the guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tests/shared-dma/conversion/world.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>

#include "tests/shared-dma/conversion/schedule.h"
#include "tests/model/check.h"
#include "tests/model/iommu-model.h"

namespace shared_dma {

namespace {

struct Page {
    bool guest_private = true;
    bool has_shared = false;
    bool has_private = false;
    /* The guest must not use it. */
    bool unplugged = false;
    /* Not freed because of a failure */
    bool kept_shared = false;
    bool kept_private = false;
    /* Setting attributes failed, so some may be wrong until all are set. */
    bool wrong = false;
    std::array<bool, CONV_CONTAINERS> populated = {};
    /*
     * A listener refused the page, so others may have discarded it.  Cleared
     * when the page becomes private.
     */
    bool refused = false;
};

struct Failure {
    unsigned int countdown = 0;
    int error = 0;
    bool goes_on = false;
    bool happened = false;
    /* A listener refused memory, so the conversion is being undone. */
    bool undoing = false;
};

struct Container {
    std::unique_ptr<IommuModel> iommu;
    /* Guest pages that the kernel refused to unmap... */
    std::array<bool, CONV_LAST> refused = {};
    /* ...and whose listener has discarded them */
    std::array<bool, CONV_LAST> stuck = {};
    unsigned int refuse_unmaps = 0;

    bool is_mapped(uint64_t gpa_page) const
    {
        return iommu->find(gpa_page << CONV_PAGE_SHIFT) != nullptr;
    }
};

struct World {
    std::array<std::array<Page, CONV_BLOCK_PAGES>, CONV_BLOCKS> pages;
    std::array<bool, CONV_LAST> gpa_private = {};
    /*
     * Addresses whose attributes follow their pages: windows that are or were
     * there, unless the guest has accessed something else there since.
     */
    std::array<bool, CONV_LAST> followed = {};
    std::array<Container, CONV_CONTAINERS> containers;
};

World world;
SpinLock lock;
thread_local Failure failure;
/* Total number of refused unmap calls... */
std::array<uint64_t, CONV_CONTAINERS> nrefused;
/* ...and that number at the last notification by this thread */
thread_local std::array<uint64_t, CONV_CONTAINERS> known_nrefused;

/* Find the page at a guest page number, with the last window at @place. */
Page *find_page_at(unsigned int place, uint64_t gpa_page,
                   unsigned int *block = nullptr,
                   unsigned int *number = nullptr)
{
    for (unsigned int i = 0; i < CONV_WINDOWS; i++) {
        ConvWindow window;

        if (conv_window(i, place, &window) && gpa_page >= window.gpa &&
            gpa_page < window.gpa + window.npages) {
            const auto at = static_cast<unsigned int>(window.first +
                                                      (gpa_page - window.gpa));

            if (block) {
                *block = window.block;
                *number = at;
            }
            return &world.pages[window.block][at];
        }
    }
    return nullptr;
}

/* Find the page at a guest page number, with the last window at any place. */
Page *find_page(uint64_t gpa_page, unsigned int *block = nullptr,
                unsigned int *number = nullptr)
{
    Page *page = nullptr;

    for (unsigned int place = 0; place < CONV_PLACES && !page; place++) {
        page = find_page_at(place, gpa_page, block, number);
    }
    return page;
}

/* Whether a page is mapped for a device at any address, and not stuck. */
bool is_mapped(const Page &page)
{
    for (uint64_t gpa = CONV_FIRST; gpa < CONV_LAST; gpa++) {
        if (find_page(gpa) != &page) {
            continue;
        }
        for (const Container &container : world.containers) {
            if (container.is_mapped(gpa) && !container.stuck[gpa]) {
                return true;
            }
        }
    }
    return false;
}

/* Return the block of a page. */
std::span<Page> block_of(const Page &page)
{
    for (auto &block : world.pages) {
        if (&page >= block.data() && &page < block.data() + block.size()) {
            return block;
        }
    }
    return {};
}

/*
 * Record that a listener has refused a page.  Others discard the whole run,
 * which can be any part of the block.
 */
void record_refusal(const Page &page)
{
    for (Page &other : block_of(page)) {
        other.refused = true;
    }
}

/* Whether a page has the same attributes at all addresses that follow it. */
bool is_alike(const Page &page)
{
    std::optional<bool> is_private;

    for (uint64_t gpa = CONV_FIRST; gpa < CONV_LAST; gpa++) {
        if (!world.followed[gpa] || find_page(gpa) != &page) {
            continue;
        }
        if (is_private.value_or(world.gpa_private[gpa]) !=
            world.gpa_private[gpa]) {
            return false;
        }
        is_private = world.gpa_private[gpa];
    }
    return true;
}

/*
 * Record that a page could not be made private again.  QEMU stops there, and
 * pages that it has not reached can remain shared.
 */
void record_wrong(Page &page)
{
    page.wrong = true;
    for (Page &other : block_of(page)) {
        other.wrong |= !other.guest_private;
    }
}

/* Whether the attributes of any address follow a page. */
bool is_followed(const Page &page)
{
    for (uint64_t gpa = CONV_FIRST; gpa < CONV_LAST; gpa++) {
        if (world.followed[gpa] && find_page(gpa) == &page) {
            return true;
        }
    }
    return false;
}

/* Make an address shared that shows no page. */
void unfollow(uint64_t gpa_page, int ret)
{
    MODEL_CHECK(!find_page_at(conv_place(), gpa_page));
    world.followed[gpa_page] = false;
    world.gpa_private[gpa_page] &= ret != 0;
}

void follow(unsigned int number, unsigned int place)
{
    ConvWindow window;

    if (conv_window(number, place, &window)) {
        std::fill_n(world.followed.begin() + window.gpa, window.npages, true);
    }
}

int fail_now()
{
    if (failure.countdown == 0 || --failure.countdown) {
        return 0;
    }
    failure.countdown = failure.goes_on;
    failure.happened = true;
    return -failure.error;
}

void check_mapping(const Container &container, const IommuMapping &mapping)
{
    for (uint64_t at = 0; at < mapping.size; at += CONV_PAGE) {
        const uint64_t gpa = (mapping.iova + at) >> CONV_PAGE_SHIFT;
        unsigned int block = 0, number = 0;
        const Page *page = find_page(gpa, &block, &number);

        if (!MODEL_CHECK(page != nullptr)) {
            continue;
        }
        MODEL_CHECK(!page->guest_private || page->wrong ||
                    container.stuck[gpa]);
        MODEL_CHECK_EQUAL(mapping.vaddr + at,
                          conv_block_host(block) + number * CONV_PAGE);
    }
}

void check_page(const Page &page, bool shared, bool plugged)
{
    MODEL_CHECK(plugged || !shared);
    MODEL_CHECK(page.guest_private == (plugged && !shared) || page.wrong ||
                !is_followed(page));
    MODEL_CHECK(shared || !page.has_shared || page.kept_shared);
    MODEL_CHECK((plugged && !shared) || !page.has_private ||
                page.kept_private || page.wrong);
}

void check_pages()
{
    for (unsigned int block = 0; block < CONV_BLOCKS; block++) {
        for (unsigned int i = 0; i < CONV_BLOCK_PAGES; i++) {
            check_page(world.pages[block][i], conv_page_is_shared(block, i),
                       conv_page_is_plugged(block, i));
        }
    }
}

void check_window(unsigned int number, const ConvWindow &window)
{
    for (unsigned int i = 0; i < window.npages; i++) {
        const unsigned int at = window.first + i;
        const Page &page = world.pages[window.block][at];
        const bool shared = conv_page_is_shared(window.block, at);

        for (unsigned int c = 0; c < CONV_CONTAINERS; c++) {
            MODEL_CHECK(shared || !page.populated[c]);
            if (conv_is_registered(c, number)) {
                MODEL_CHECK(!shared || page.populated[c] || page.refused);
            } else {
                MODEL_CHECK(!page.populated[c]);
            }
        }
    }
}

/* Check the attributes of the addresses of a possible window. */
void check_attributes(const ConvWindow &window)
{
    for (unsigned int i = 0; i < window.npages; i++) {
        const unsigned int at = window.first + i;

        MODEL_CHECK(world.gpa_private[window.gpa + i] ==
                        (conv_page_is_plugged(window.block, at) &&
                         !conv_page_is_shared(window.block, at)) ||
                    world.pages[window.block][at].wrong ||
                    !world.followed[window.gpa + i]);
    }
}

void check_container(unsigned int number)
{
    const Container &container = world.containers[number];
    const IommuModel &iommu = *container.iommu;
    const ConvLayout layout = conv_query_layout(number);
    const uint64_t stuck =
        std::ranges::count(container.stuck, true) * CONV_PAGE;
    uint64_t expected = 0;

    for (const auto &block : world.pages) {
        for (const Page &page : block) {
            expected += page.populated[number] ? CONV_PAGE : 0;
        }
    }
    MODEL_CHECK_EQUAL(layout.populated_size, expected);
    MODEL_CHECK_EQUAL(layout.stuck_size, stuck);
    MODEL_CHECK_EQUAL(layout.mapped_size, iommu.mapped_bytes());
    if (layout.is_open) {
        MODEL_CHECK_EQUAL(layout.mapped_size + layout.missing_size,
                          layout.populated_size + stuck);
    }
    for (const auto &[iova, mapping] : iommu.mappings()) {
        check_mapping(container, mapping);
        for (uint64_t at = 0; at < mapping.size; at += CONV_PAGE) {
            const uint64_t gpa = (iova + at) >> CONV_PAGE_SHIFT;
            /* There is no page if it was mapped at another place. */
            const Page *page = find_page_at(conv_place(), gpa);

            MODEL_CHECK((page && page->populated[number]) !=
                        container.stuck[gpa]);
        }
    }
}

void touch(Page &page)
{
    if (!is_followed(page) || page.unplugged) {
        return;
    }
    (page.guest_private ? page.has_private : page.has_shared) = true;
    /* Correcting wrong attributes later does not free this backing. */
    page.kept_private |= page.wrong && page.guest_private;
    page.kept_shared |= page.wrong && !page.guest_private;
}

/* Set arbitrary attributes at addresses that have no slot yet. */
void start_attributes()
{
    for (unsigned int place = 1; place < CONV_PLACES; place++) {
        ConvWindow window;

        if (conv_window(CONV_WINDOWS - 1, place, &window)) {
            for (unsigned int i = 0; i < window.npages; i++) {
                world.gpa_private[window.gpa + i] = i & 1;
            }
        }
    }
}

} // namespace

void world_start(uint32_t entry_limit)
{
    world.pages = {};
    world.gpa_private.fill(true);
    world.followed.fill(false);
    for (unsigned int i = 0; i < CONV_WINDOWS; i++) {
        follow(i, 0);
    }
    start_attributes();
    world.containers = {};
    world.containers[0].iommu =
        std::make_unique<IommuModel>(IommuKind::kType1v2, entry_limit);
    world.containers[1].iommu =
        std::make_unique<IommuModel>(IommuKind::kIommufd);
}

void world_stop()
{
    for (const Container &container : world.containers) {
        for (uint64_t gpa = CONV_FIRST; gpa < CONV_LAST; gpa++) {
            MODEL_CHECK(!container.is_mapped(gpa) || container.stuck[gpa]);
        }
    }
}

void world_touch(uint64_t gpa)
{
    const SpinGuard guard(lock);
    Page *page = find_page(gpa);

    if (page) {
        touch(*page);
    }
}

void world_check()
{
    check_pages();
    for (unsigned int i = 0; i < CONV_WINDOWS; i++) {
        ConvWindow window;

        if (conv_window(i, conv_place(), &window)) {
            check_window(i, window);
        }
        for (unsigned int place = 0; place < CONV_PLACES; place++) {
            if (conv_window(i, place, &window)) {
                check_attributes(window);
            }
        }
    }
    for (unsigned int i = 0; i < CONV_CONTAINERS; i++) {
        check_container(i);
    }
    for (auto &block : world.pages) {
        for (Page &page : block) {
            touch(page);
        }
    }
}

void world_fail(unsigned int nth, int error, bool goes_on)
{
    failure = {nth, error, goes_on, false, false};
}

void world_refuse_unmaps(unsigned int container, unsigned int ncalls)
{
    const SpinGuard guard(lock);

    world.containers[container].refuse_unmaps = ncalls;
}

} // namespace shared_dma

using namespace shared_dma;

int world_set_attributes(uint64_t gpa, uint64_t size, PageState state)
{
    const SpinGuard guard(lock);
    const int ret = fail_now();

    for (uint64_t at = gpa; at < gpa + size; at += CONV_PAGE) {
        const uint64_t gpa_page = at >> CONV_PAGE_SHIFT;
        Page *page = find_page(gpa_page);

        if (conv_shares_others() && MODEL_CHECK(state == PAGE_STATE_SHARED)) {
            unfollow(gpa_page, ret);
            continue;
        }
        if (!MODEL_CHECK(page != nullptr)) {
            continue;
        }
        if (ret) {
            if (state == PAGE_STATE_PRIVATE &&
                (failure.goes_on || failure.undoing)) {
                record_wrong(*page);
            }
            page->wrong |= page->unplugged;
            continue;
        }
        page->guest_private = state == PAGE_STATE_PRIVATE;
        page->refused &= state == PAGE_STATE_SHARED;
        world.gpa_private[gpa_page] = state == PAGE_STATE_PRIVATE;
        page->wrong = (page->wrong || failure.happened) && !is_alike(*page);
        MODEL_CHECK(state == PAGE_STATE_SHARED || !is_mapped(*page));
    }
    return ret;
}

int world_free(unsigned int block, uint64_t offset, uint64_t size,
               PageState backing)
{
    const bool shared = backing == PAGE_STATE_SHARED;
    const SpinGuard guard(lock);
    const int ret = fail_now();

    for (uint64_t at = offset; at < offset + size; at += CONV_PAGE) {
        Page &page = world.pages[block][at >> CONV_PAGE_SHIFT];

        if (shared) {
            MODEL_CHECK(!is_mapped(page));
        }
        MODEL_CHECK(page.guest_private == shared || page.wrong ||
                    page.unplugged || !is_followed(page));
        (shared ? page.kept_shared : page.kept_private) = ret != 0;
        if (!ret) {
            (shared ? page.has_shared : page.has_private) = false;
        }
    }
    return ret;
}

int world_free_unplugged(unsigned int block, uint64_t offset, uint64_t size)
{
    const SpinGuard guard(lock);
    const int ret = fail_now();

    for (uint64_t at = offset; at < offset + size; at += CONV_PAGE) {
        Page &page = world.pages[block][at >> CONV_PAGE_SHIFT];

        MODEL_CHECK(!is_mapped(page));
        MODEL_CHECK(!page.guest_private || !page.has_private || page.wrong);
        page.kept_shared = page.kept_private = ret != 0;
        page.has_shared &= ret != 0;
        page.has_private &= ret != 0;
    }
    return ret;
}

void world_set_plugged(unsigned int chunk, bool is_plugged)
{
    const SpinGuard guard(lock);

    for (unsigned int i = 0; i < CONV_CHUNK_PAGES; i++) {
        world.pages[CONV_CHUNK_BLOCK][chunk * CONV_CHUNK_PAGES + i].unplugged =
            !is_plugged;
    }
}

int world_map(unsigned int container, uint64_t iova, uint64_t size,
              uint64_t vaddr, bool readonly)
{
    const SpinGuard guard(lock);
    const int injected = fail_now();

    if (injected) {
        return injected;
    }

    const int ret =
        world.containers[container].iommu->map(iova, size, vaddr, readonly);

    MODEL_CHECK(ret == 0 || ret == -ENOSPC);
    if (ret == 0) {
        check_mapping(world.containers[container],
                      {iova, size, vaddr, readonly});
        for (uint64_t at = iova; at < iova + size; at += CONV_PAGE) {
            Page *page = find_page(at >> CONV_PAGE_SHIFT);

            if (page) {
                page->has_shared = true;
            }
        }
    }
    return ret;
}

int world_unmap(unsigned int container, uint64_t iova, uint64_t size)
{
    const SpinGuard guard(lock);
    Container &at = world.containers[container];
    const bool refuse = at.refuse_unmaps && at.refuse_unmaps--;

    nrefused[container] += refuse;
    if (!refuse) {
        MODEL_CHECK_EQUAL(at.iommu->unmap(iova, size), 0);
    }
    for (uint64_t gpa = iova >> CONV_PAGE_SHIFT;
         gpa < (iova + size) >> CONV_PAGE_SHIFT; gpa++) {
        at.refused[gpa] = refuse && at.is_mapped(gpa);
        at.stuck[gpa] &= refuse;
    }
    return refuse ? -EIO : 0;
}

unsigned int world_entries_left(unsigned int container)
{
    const SpinGuard guard(lock);

    return *world.containers[container].iommu->entries_left();
}

void world_notified(unsigned int container, uint64_t iova, uint64_t size,
                    bool populated, int ret)
{
    const SpinGuard guard(lock);
    Container &at = world.containers[container];
    bool is_stuck = false;

    for (uint64_t gpa = iova >> CONV_PAGE_SHIFT;
         gpa < (iova + size) >> CONV_PAGE_SHIFT; gpa++) {
        Page &page = *find_page(gpa);

        MODEL_CHECK(!populated || !page.populated[container]);
        page.populated[container] = populated && !ret;
        if (populated && ret) {
            record_refusal(page);
        }
        if (!page.populated[container] && at.is_mapped(gpa)) {
            MODEL_CHECK(at.refused[gpa]);
            at.stuck[gpa] = true;
        }
        is_stuck |= at.stuck[gpa];
    }
    if (populated) {
        MODEL_CHECK(ret != 0 || !is_stuck);
        MODEL_CHECK(ret == 0 || ret == -ENOSPC || failure.happened ||
                    (ret == -EBUSY && is_stuck));
    } else {
        MODEL_CHECK_EQUAL(ret, 0);
        /* Unmapping stuck memory is retried. */
        MODEL_CHECK(known_nrefused[container] != nrefused[container] ||
                    std::ranges::count(at.stuck, true) == 0);
    }
    known_nrefused[container] = nrefused[container];
    failure.undoing |= populated && ret;
}

void world_moved(unsigned int place)
{
    const SpinGuard guard(lock);

    follow(CONV_WINDOWS - 1, place);
}
