/*
 * libusdt's file of this name for arm64. It compiles for x86 alone, because of one cast of an address to 64 bits, which
 * is right here too. The system's headers come first, so that only libusdt's own lines are told another processor.
 */
#include <sys/types.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <endian.h>
#endif

#include <sys/dtrace.h>

#define __x86_64__ 1
#include <usdt_dof_sections.c>
