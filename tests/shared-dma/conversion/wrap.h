/*
 * Simulated conversions: replaced functions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The linker redirects calls of ioctl(), g_usleep() and
 * qemu_mutex_unlock_impl() to functions with the prefix __wrap_.  The functions
 * of accel-blocker.c have the prefix real_; they are used when threads run
 * freely.
 */

#ifndef TESTS_SHARED_DMA_CONVERSION_WRAP_H
#define TESTS_SHARED_DMA_CONVERSION_WRAP_H

#include "qemu/thread.h"

int __wrap_ioctl(int fd, unsigned long request, ...);
void __wrap_g_usleep(gulong microseconds);
void __real_qemu_mutex_unlock_impl(QemuMutex *mutex, const char *file,
                                   const int line);
void __wrap_qemu_mutex_unlock_impl(QemuMutex *mutex, const char *file,
                                   const int line);

void real_accel_ioctl_begin(void);
void real_accel_ioctl_end(void);
void real_accel_ioctl_inhibit_begin(void);
void real_accel_ioctl_inhibit_end(void);

#endif
