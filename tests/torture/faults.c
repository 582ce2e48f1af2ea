/* Preloaded into a target: calls on files whose path has $FAULT_MATCH in it fail as the file $FAULT_CONTROL says.
 *
 * The file has lines of a call, a number and a count: "sync 5 1" has the next fdatasync fail with errno 5. Calls are
 * sync, durable (a write with RWF_DSYNC, which is done all the same but not durably), write, read, and short, whose
 * number is how many bytes a write takes at most. io_uring is not to be had: what goes by it is not seen here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct fault {
    char call[16];
    long number, count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_watched(int fd)
{
    const char *match = getenv("FAULT_MATCH");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!match || length < 0)
        return false;
    path[length] = 0;
    return strstr(path, match) != NULL;
}

/* Whether this call fails now, and by what number; each change of the control file counts anew. */
static bool strikes(int fd, const char *call, long *number)
{
    static struct timespec read_at;
    static struct fault faults[8];
    static int many;
    const char *control = getenv("FAULT_CONTROL");
    struct stat status;
    if (!control || !is_watched(fd) || stat(control, &status))
        return false;
    bool found = false;
    pthread_mutex_lock(&lock);
    if (memcmp(&status.st_mtim, &read_at, sizeof read_at)) {
        FILE *file = fopen(control, "r");
        read_at = status.st_mtim;
        many = 0;
        while (file && many < 8 &&
               fscanf(file, "%15s %ld %ld", faults[many].call, &faults[many].number, &faults[many].count) == 3)
            many++;
        if (file)
            fclose(file);
    }
    for (int i = 0; i < many && !found; i++)
        if (!strcmp(faults[i].call, call) && faults[i].count > 0) {
            faults[i].count--;
            *number = faults[i].number;
            found = true;
        }
    pthread_mutex_unlock(&lock);
    return found;
}

static int fail(long number)
{
    errno = (int)number;
    return -1;
}

typedef ssize_t (*vector_call)(int, const struct iovec *, int, off64_t, int);

static vector_call next_vector(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    vector_call call;
    memcpy(&call, &found, sizeof call); /* ISO C has no cast from an object to a function */
    return call;
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    long number;
    vector_call next = next_vector("pwritev64v2");
    struct iovec first = parts[0];
    if (flags & RWF_DSYNC && strikes(fd, "durable", &number)) {
        next(fd, parts, count, offset, 0);
        return fail(number);
    }
    if (strikes(fd, "write", &number))
        return fail(number);
    if (strikes(fd, "short", &number) && first.iov_len > (size_t)number) {
        first.iov_len = (size_t)number;
        return next(fd, &first, 1, offset, flags);
    }
    return next(fd, parts, count, offset, flags);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return pwritev64v2(fd, parts, count, offset, flags);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    struct iovec part = {.iov_len = length};
    memcpy(&part.iov_base, &data, sizeof data); /* which is only read */
    return pwritev64v2(fd, &part, 1, offset, 0);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite64(fd, data, length, offset);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    long number;
    return strikes(fd, "read", &number) ? fail(number) : next_vector("preadv64v2")(fd, parts, count, offset, flags);
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return preadv64v2(fd, parts, count, offset, flags);
}

int fdatasync(int fd)
{
    long number;
    void *found = dlsym(RTLD_NEXT, "fdatasync");
    int (*next)(int);
    memcpy(&next, &found, sizeof next);
    return strikes(fd, "sync", &number) ? fail(number) : next(fd);
}

long syscall(long call, ...)
{
    long arguments[6], (*next)(long, ...);
    void *found = dlsym(RTLD_NEXT, "syscall");
    va_list list;
    memcpy(&next, &found, sizeof next);
    va_start(list, call);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long); /* those that are not there are not looked at */
    va_end(list);
    if (call == SYS_io_uring_setup)
        return fail(EPERM);
    return next(call, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
