/* LD_PRELOAD library: files are opened without O_DIRECT. tgtd's aio backing store insists on it, and would then be
 * measured against the disk while the others serve from the page cache. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>

typedef int (*open_call)(const char *path, int flags, ...);

static int open_by(const char *symbol, const char *path, int flags, mode_t mode) {
    open_call next = (open_call)dlsym(RTLD_NEXT, symbol);
    return next(path, flags & ~O_DIRECT, mode);
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_by("open", path, flags, mode);
}

/* What a fortified program calls instead of open without a mode. */
int __open_2(const char *path, int flags) { return open_by("open", path, flags, 0); }
