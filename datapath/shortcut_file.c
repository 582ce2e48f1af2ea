/*
 * The same steps as the try_ methods of FileBackstore (file_at_once.py), on the same words. A read never waits
 * (RWF_NOWAIT), nor does a write for pages that it covers in part; one that was slow sends the next ones to threads.
 */
#include "shortcut_file.h"

#include "clock.h"
#include "flights.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <sys/uio.h>
#endif
#if defined(__GLIBC__)
#define HAS_PREADV2 __GLIBC_PREREQ(2, 26)
#else /* musl has it since 1.2.5, and says no version */
#define HAS_PREADV2 0
#endif

enum { PAGE = 4096, PAGE_MASK = PAGE - 1 };
#define SLOW_NS INT64_C(20000000)

enum { MOST_AT_ONCE = 1024 }; /* pieces that a call of the kernel takes */

#ifdef __linux__
static ssize_t read_at(int fd, const struct iovec *pieces, size_t count, int64_t offset, int64_t flags)
{
#if HAS_PREADV2
    return preadv2(fd, pieces, (int)count, offset, (int)flags);
#else /* the kernel takes the offset in halves */
    return syscall(SYS_preadv2, fd, pieces, (long)count, (long)offset, (long)(offset >> 32), (int)flags);
#endif
}
#else
static ssize_t read_at(int fd, const struct iovec *pieces, size_t count, int64_t offset, int64_t flags)
{
    errno = ENOSYS;
    return flags == 0 ? preadv(fd, pieces, (int)count, (off_t)offset) : -1;
}
#endif

static size_t length_of(const struct iovec *pieces, size_t count)
{
    size_t length = 0;

    for (size_t i = 0; i < count; i++)
        length += pieces[i].iov_len;
    return length;
}

/* Read all of them; what cannot be read, or not without waiting, ends it: how many bytes there are, or -1. */
static ssize_t read_pieces(int fd, const struct pieces *pieces, int64_t offset, int64_t flags)
{
    ssize_t all = 0;

    if (pieces->count <= MOST_AT_ONCE)
        return read_at(fd, pieces->first, pieces->count, offset, flags);
    for (size_t i = 0; i < pieces->count; i += MOST_AT_ONCE) {
        size_t count = pieces->count - i < MOST_AT_ONCE ? pieces->count - i : MOST_AT_ONCE;
        ssize_t taken = read_at(fd, pieces->first + i, count, offset + all, flags);
        if (taken < 0)
            return taken;
        all += taken;
        if (taken != (ssize_t)length_of(pieces->first + i, count))
            break;
    }
    return all;
}

/* The descriptor by which a user reads: a data thread's own, where it has one. */
static int file_of(const struct shortcut *shortcut, const struct user *user)
{
    int64_t fd = -1;

    if (user->threaded && shortcut->words.len >= (OWN_FDS + THREAD_FILES) * (Py_ssize_t)sizeof(int64_t))
        fd = shortcut_word(shortcut, OWN_FDS + (int)((user->number - 1) % THREAD_FILES));
    return (int)(fd >= 0 ? fd : shortcut_word(shortcut, FD));
}

enum attempt file_read(const struct shortcut *shortcut, const struct user *user, uint64_t offset,
                       const struct pieces *pieces)
{
    size_t length = pieces->length;
    int64_t flags = shortcut_word(shortcut, READ_FLAGS);
    ssize_t count;

    if (flags < 0 || flights_in_the_way(shortcut, user, offset, length, false))
        return CANNOT;
    if (shortcut_word(shortcut, WRITERS) != 0)
        return ASK;
    count = read_pieces(file_of(shortcut, user), pieces, (int64_t)offset, flags);
    if (count == (ssize_t)length)
        return DONE;
    return count >= 0 || errno == EAGAIN ? CANNOT : ASK;
}

/* Its file system is busy: the backstore decides for how long it is left alone. */
void shortcut_was_slow(const struct shortcut *shortcut, const int64_t *times)
{
    PyObject *result = PyObject_CallFunction(shortcut->slow, "LL", (long long)times[0], (long long)times[1]);

    if (result == NULL)
        PyErr_Clear(); /* it only keeps times */
    Py_XDECREF(result);
}

static void was_slow(const struct shortcut *shortcut, struct user *user, int64_t begin, int64_t end)
{
    int64_t times[] = {begin, end};

    if (!user->threaded) {
        shortcut_was_slow(shortcut, times);
        return;
    }
    memcpy(user->slow, times, sizeof times);
    user->slow_store = shortcut;
}

static bool is_there(const struct shortcut *shortcut, uint64_t offset, size_t length)
{
    uint8_t bytes[2];
    struct iovec piece = {bytes, length};

    return read_at((int)shortcut_word(shortcut, FD), &piece, 1, (int64_t)offset, shortcut_word(shortcut, READ_FLAGS))
           == (ssize_t)length;
}

/*
 * Whether the pages that a write covers in part are in the page cache, and have been read: else it would wait for the
 * disk. Two that lie side by side, as those of a small write, are asked for by the two bytes where they meet.
 */
static bool edges_cached(const struct shortcut *shortcut, uint64_t start, uint64_t end)
{
    int64_t flags = shortcut_word(shortcut, READ_FLAGS);
    bool first = (start & PAGE_MASK) != 0, last = (end & PAGE_MASK) != 0;
    uint64_t last_page = (end - 1) & ~(uint64_t)PAGE_MASK;

    if (flags <= 0)
        return flags == 0 || !(first || last);
    if (first && last && last_page - (start & ~(uint64_t)PAGE_MASK) == PAGE)
        return is_there(shortcut, last_page - 1, 2);
    if (first && !is_there(shortcut, start, 1))
        return false;
    return !last || (first && last_page <= start) || is_there(shortcut, last_page, 1);
}

enum attempt file_write(const struct shortcut *shortcut, struct user *user, uint64_t offset, const struct pieces *pieces)
{
    size_t length = pieces->length;
    int fd = (int)shortcut_word(shortcut, FD);
    int64_t begin = (int64_t)monotonic_now();
    ssize_t count;

    if (begin < shortcut_word(shortcut, NO_WRITE_BEFORE) || shortcut_word(shortcut, DIRECT) != 0
        || flights_in_the_way(shortcut, user, offset, length, true))
        return CANNOT;
    if (((offset | length) & PAGE_MASK) != 0 && !edges_cached(shortcut, offset, offset + length))
        return CANNOT;
    if (shortcut_word(shortcut, HOLDS) != 0)
        return ASK;
    if ((int64_t)(offset + length) > lseek(fd, 0, SEEK_END))
        return CANNOT; /* somebody has cut the file: write() says so */
    if (user->threaded)
        shortcut_set_word(shortcut, UNFLUSHED, 1); /* somebody may read with FUA as soon as it is written */
    count = pwritev(fd, pieces->first, (int)pieces->count, (off_t)offset);
    if (count > 0)
        shortcut_set_word(shortcut, UNFLUSHED, 1); /* a flush may have begun and ended in between */
    if (count != (ssize_t)length)
        return count < 0 ? CANNOT : ASK; /* a task meets the error again; the rest is written with the beginning */
    int64_t end = (int64_t)monotonic_now();
    if (end - begin > SLOW_NS)
        was_slow(shortcut, user, begin, end);
    return DONE;
}
