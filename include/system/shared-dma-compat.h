/*
 * Differences between the versions of QEMU that shared DMA supports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Code is written for the newest version.  Where an older one lacks a header, a
 * type or a function, this file provides it; hw/vfio/vfio-dma-compat.h does the
 * same for VFIO.
 */

#ifndef SYSTEM_SHARED_DMA_COMPAT_H
#define SYSTEM_SHARED_DMA_COMPAT_H

#include "exec/ramlist.h"

#if QEMU_VERSION_MAJOR == 10 && QEMU_VERSION_MINOR == 0

#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "exec/ramblock.h"

/* The type of the data of a class_init() */
typedef void ClassInitData;

/* The part of a VFIO container that does not depend on the backend */
typedef struct VFIOContainerBase VFIOContainerBase;
/* A type1 container */
typedef struct VFIOContainer VFIOLegacyContainer;

typedef ReplayRamPopulate ReplayRamDiscardState;

/* A ReplayRamDiscard, which returns nothing, and its argument */
typedef struct ReplayDiscarded {
    ReplayRamDiscard fn;
    void *opaque;
} ReplayDiscarded;

static inline int replay_discarded_call(MemoryRegionSection *section,
                                        void *opaque)
{
    const ReplayDiscarded *replay = opaque;

    replay->fn(section, replay->opaque);
    return 0;
}

/*
 * Define @name for RamDiscardManagerClass.replay_discarded, which calls @replay
 * with a ReplayRamDiscardState.
 */
#define DEFINE_REPLAY_DISCARDED(name, replay)                                \
    static void name(const RamDiscardManager *rdm,                           \
                     MemoryRegionSection *section, ReplayRamDiscard fn,      \
                     void *opaque)                                           \
    {                                                                        \
        ReplayDiscarded discarded = { fn, opaque };                          \
                                                                             \
        replay(rdm, section, replay_discarded_call, &discarded);             \
    }

#else

#include "system/address-spaces.h"
#include "system/memory.h"
#include "system/ramblock.h"

typedef const void ClassInitData;

typedef struct VFIOContainer VFIOContainerBase;
typedef struct VFIOLegacyContainer VFIOLegacyContainer;

#define DEFINE_REPLAY_DISCARDED(name, replay)                                \
    static int name(const RamDiscardManager *rdm,                            \
                    MemoryRegionSection *section, ReplayRamDiscardState fn,  \
                    void *opaque)                                            \
    {                                                                        \
        return replay(rdm, section, fn, opaque);                             \
    }

#endif

#endif
