/*
 * The bound: librbd alone. "bound CONF IMAGE COUNT" reads and writes 4 KiB blocks of an image in the pool rbd, 32 at once, by
 * the calls that native/calls.c makes, and prints the CPU of the process per read and per write in microseconds.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../native/ceph.h"

#define DECLARE(result, name, parameters) extern result name parameters;
CEPH_FUNCTIONS(DECLARE)
#undef DECLARE

enum { BLOCK = 4096, DEPTH = 32, BLOCKS = 2000 };

static char buffers[DEPTH][BLOCK];
static rbd_image_t image;
static int ready;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bound: %s\n", what);
    exit(1);
}

static double cpu(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void send(int writes, char *buffer, int number)
{
    uint64_t offset = (uint64_t)(number % BLOCKS) * BLOCK;
    rbd_completion_t completion;

    if (rbd_aio_create_completion(buffer, NULL, &completion) < 0
        || (writes ? rbd_aio_write(image, offset, BLOCK, buffer, completion)
                   : rbd_aio_read(image, offset, BLOCK, buffer, completion)) < 0)
        fail("a request is refused");
}

/* Wait for some; each that is done is followed by the next. Returns how many were. */
static int reap(int writes, int *sent, int count)
{
    struct pollfd wait = {ready, POLLIN, 0};
    rbd_completion_t done[DEPTH];
    uint64_t events;
    int found;

    poll(&wait, 1, -1);
    if (read(ready, &events, sizeof events) < 0)
        fail("the eventfd");
    found = rbd_poll_io_events(image, done, DEPTH);
    for (int i = 0; i < found; i++) {
        char *buffer = rbd_aio_get_arg(done[i]);
        if (rbd_aio_get_return_value(done[i]) != (writes ? 0 : BLOCK))
            fail("a request has failed");
        rbd_aio_release(done[i]);
        if (*sent < count)
            send(writes, buffer, (*sent)++);
    }
    return found;
}

/* Microseconds of CPU for each. */
static double run(int writes, int count)
{
    double before = cpu();
    int sent = 0;

    while (sent < DEPTH) {
        send(writes, buffers[sent], sent);
        sent++;
    }
    for (int done = 0; done < count;)
        done += reap(writes, &sent, count);
    return (cpu() - before) / count;
}

int main(int count, char **words)
{
    rados_t cluster;
    rados_ioctx_t pool;

    if (count != 4)
        fail("takes CONF IMAGE COUNT");
    ready = eventfd(0, EFD_NONBLOCK);
    if (rados_create(&cluster, "admin") < 0 || rados_conf_read_file(cluster, words[1]) < 0 || rados_connect(cluster) < 0
        || rados_ioctx_create(cluster, "rbd", &pool) < 0 || rbd_open(pool, words[2], &image, NULL) < 0
        || rbd_set_image_notification(image, ready, RBD_EVENTFD) < 0)
        fail("the image cannot be opened");
    memset(buffers, 'b', sizeof buffers);
    run(1, BLOCKS);
    run(0, BLOCKS);
    double reads = run(0, atoi(words[3]));
    printf("%f %f\n", reads, run(1, atoi(words[3])));
    fflush(stdout);
    _exit(0);
}
