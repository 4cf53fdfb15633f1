/*
 * Entry points of the exceptions, which give all of them the same stack frame
 * (struct ExceptionFrame)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "start-macros.S"

    .text
    .code64
    .globl exception_stubs
    .balign STUB_SIZE
exception_stubs:
    STUBS   32, exception_common
exception_common:
    movq    %rsp, %rdi
    cld
    call    handle_exception

    .section .note.GNU-stack, "", @progbits
