/*
 * Where the loader keeps what in the RAM below 16 MiB
 *
 * The variables and the stack are between 1 MiB and 2 MiB, see loader.ld. The
 * kernel is loaded above all of this; what Linux does not read is free then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_NESTED_LOADER_MEMORY_LAYOUT_H
#define TESTS_NESTED_LOADER_MEMORY_LAYOUT_H

/*
 * Physical minus linked address of the ROM. It ends at 4 GiB, but is linked 2
 * GiB lower, so that the small code model can address both the ROM and the RAM
 * below 2 GiB. The page tables map the linked addresses to the ROM.
 */
#define ROM_LINK_OFFSET 0x80000000

/* End of the stack that is in use before the variables' RAM is private */
#define EARLY_STACK_END 0x8000

#define STACK_SIZE 0x4000

/* Read by Linux: the "zero page" and the command line */
#define BOOT_PARAMS_BASE      0x10000
#define COMMAND_LINE_BASE     0x20000
#define COMMAND_LINE_MAX_SIZE 0x10000

/* End of the RAM below the VGA memory and the ROMs, and start of the rest */
#define LOW_RAM_END   0xa0000
#define HIGH_RAM_BASE 0x100000

/* The start of the kernel's image, and the commands for ACPI tables */
#define SCRATCH_BASE 0x200000
#define SCRATCH_SIZE 0x200000

/* Memory that the host can access, see private-memory.h */
#define WINDOW_BASE 0x400000
#define WINDOW_SIZE 0x400000

/* Lowest address of the kernel */
#define KERNEL_MIN_BASE 0x1000000

#endif
