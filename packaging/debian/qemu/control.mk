
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Appended to debian/control.mk of Debian's source package: build the emulators
# of x86 only. debian/rules asks for the package qemu-system, which depends on
# all emulators and is not built here, to decide whether to build any.

override system-packages := x86
override enable-system := y

# C++ code gets Debian's hardening, too
sdma-cxxflags = --extra-cxxflags="${CXXFLAGS} ${CPPFLAGS}"
QEMU_CONFIGURE_OPTIONS += ${sdma-cxxflags} \
	--target-list=i386-softmmu,x86_64-softmmu
QEMU_MICROVM_CONFIGURE_OPTIONS += ${sdma-cxxflags}
