/*
 * The state of a page of RAM with a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * C++ code includes this inside extern "C".
 */

#ifndef SYSTEM_PAGE_STATE_H
#define SYSTEM_PAGE_STATE_H

typedef enum PageState {
    PAGE_STATE_PRIVATE,
    PAGE_STATE_SHARED,
} PageState;

static inline PageState page_state_opposite(PageState state)
{
    return state == PAGE_STATE_SHARED ? PAGE_STATE_PRIVATE : PAGE_STATE_SHARED;
}

/* Translate a flag of KVM's. */
static inline PageState page_state_from_private(bool is_private)
{
    return is_private ? PAGE_STATE_PRIVATE : PAGE_STATE_SHARED;
}

static inline const char *page_state_str(PageState state)
{
    return state == PAGE_STATE_SHARED ? "shared" : "private";
}

#endif
