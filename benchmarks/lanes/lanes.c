/*
 * Data threads without sockets: each serves a recorded stream of commands over and over, by the data path's own loop and
 * as a data thread would (a user of its own, an epoch around each batch). Compiled together with the data path's files;
 * lanes.py calls it.
 */
#define _GNU_SOURCE
#include "batch.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 20, MOST_LANES = 64, MOST_LEFT = 10000, A_WHILE = 200 };

/* One thread's part; the first five are lanes.py's. "first": CmdSN of the stream's first command. */
struct lane {
    struct path *path;
    const uint8_t *stream;
    uint64_t length, batch, first;
    uint64_t commands, cpu; /* what it has served, and nanoseconds of processor time */
    uint64_t left;          /* how often a command was left, and tried again: its page was not there */
};

struct job {
    struct lane *lane;
    struct user *user;
    pthread_barrier_t *start;
    uint64_t until; /* nanoseconds to serve */
    int cpu;
    uint8_t *out;
};

/* By number; they stay for the next run. */
static struct user *lane_users[MOST_LANES];

static uint64_t now(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Under the interpreter's lock: users for so many lanes. 0, or -1. */
__attribute__((visibility("default"))) int lanes_prepare(int count)
{
    for (int i = 0; i < count; i++)
        if (lane_users[i] == NULL && (lane_users[i] = users_add()) == NULL)
            return -1;
    return 0;
}

/* The stream once, from its first command on. */
static void serve_stream(const struct job *job)
{
    struct lane *lane = job->lane;
    struct path *path = lane->path;

    path->exp_cmdsn = path->statsn = lane->first;
    for (uint64_t pos = 0, end = lane->batch; pos < lane->length && lane->left < MOST_LEFT;) {
        const struct buffers buffers = {lane->stream, job->out, ROOM, 0};
        struct batch batch = batch_of(path, &buffers, (size_t)pos, (size_t)end, ROOM);
        uint64_t before = path->commands;
        batch.user = job->user;
        user_enter(job->user);
        batch_serve(&batch);
        user_leave(job->user);
        batch_commit(&batch);
        lane->commands += path->commands - before;
        pos = batch.pos;
        if (pos == end)
            end += lane->batch;
        else if (++lane->left < MOST_LEFT)
            usleep(A_WHILE);
    }
}

static void *run_lane(void *argument)
{
    struct job *job = argument;
    cpu_set_t set;
    uint64_t begin, spent;

    CPU_ZERO(&set);
    CPU_SET((size_t)job->cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    serve_stream(job); /* warm */
    job->lane->commands = 0;
    pthread_barrier_wait(job->start);
    begin = now(CLOCK_MONOTONIC);
    spent = now(CLOCK_THREAD_CPUTIME_ID);
    while (job->lane->left < MOST_LEFT && now(CLOCK_MONOTONIC) - begin < job->until)
        serve_stream(job);
    job->lane->cpu = now(CLOCK_THREAD_CPUTIME_ID) - spent;
    return NULL;
}

/* Serve for so many nanoseconds, a thread for each lane, pinned to one processor each. 0, or -1. */
__attribute__((visibility("default"))) int lanes_run(struct lane *lanes, int count, uint64_t nanoseconds, const int *cpus)
{
    pthread_barrier_t start;
    pthread_t threads[MOST_LANES];
    struct job jobs[MOST_LANES];
    int begun = 0;

    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        jobs[i] = (struct job){&lanes[i], lane_users[i], &start, nanoseconds, cpus[i], malloc(ROOM)};
        if (jobs[i].out == NULL || pthread_create(&threads[i], NULL, run_lane, &jobs[i]) != 0)
            abort(); /* the others would wait for it */
        begun++;
    }
    for (int i = 0; i < begun; i++) {
        pthread_join(threads[i], NULL);
        free(jobs[i].out);
    }
    pthread_barrier_destroy(&start);
    return 0;
}
