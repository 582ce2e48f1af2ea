/*
 * Data threads without sockets: each serves a recorded stream of commands over and over, by the data path's own loop and
 * as a data thread would (a user of its own, a receive buffer that stays in its cache, an epoch around each batch).
 * Compiled together with the data path's files; lanes.py calls it.
 */
#define _GNU_SOURCE
#include "lanes.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_LANES = 64, A_WHILE = 200, CMDSN = 24 };

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

/* Headers from the recorded stream come into the receive buffer; data segments are what lies there. */
static size_t receive(const struct job *job, const uint8_t *headers)
{
    size_t stride = BHS_LENGTH + (size_t)job->lane.segment;

    for (size_t i = 0; i < BATCH; i++)
        memcpy(job->in + i * stride, headers + i * BHS_LENGTH, BHS_LENGTH);
    return BATCH * stride;
}

/* What was received, as a data thread serves it (data_thread_turn.c). */
static void serve_received(struct job *job, size_t end)
{
    struct lane *lane = &job->lane;
    struct path *path = lane->path;

    for (size_t pos = 0; pos < end && lane->left < MOST_LEFT;) {
        const struct buffers buffers = {job->in, job->out, ROOM, 0};
        struct batch batch = batch_of(path, &buffers, pos, end, ROOM);
        batch.user = job->user;
        user_enter(job->user);
        batch_serve(&batch);
        user_leave(job->user);
        batch_commit(&batch);
        pos = batch.pos;
        if (pos < end && ++lane->left < MOST_LEFT)
            usleep(A_WHILE);
    }
}

static void serve(struct job *job, const uint8_t *headers)
{
    struct path *path = job->lane.path;

    path->exp_cmdsn = path->statsn = be32(headers + CMDSN);
    for (size_t i = 0; i < job->lane.stretch; i += BATCH)
        serve_received(job, receive(job, headers + i * BHS_LENGTH));
}

/* The next commands of the stream, over and over. */
static const uint8_t *commands(const struct lane *lane, size_t number)
{
    return lane->headers + number * lane->stretch % lane->count * BHS_LENGTH;
}

static void note(struct job *job, struct stretch *stretch, const uint8_t *headers)
{
    struct rusage before, after;

    stretch->cpu = now(CLOCK_THREAD_CPUTIME_ID);
    getrusage(RUSAGE_THREAD, &before);
    job->serve(job, headers);
    getrusage(RUSAGE_THREAD, &after);
    stretch->cpu = now(CLOCK_THREAD_CPUTIME_ID) - stretch->cpu;
    stretch->end = now(CLOCK_MONOTONIC);
    stretch->waits = (uint64_t)(after.ru_nvcsw - before.ru_nvcsw);
    stretch->preempted = (uint64_t)(after.ru_nivcsw - before.ru_nivcsw);
}

static void *run_lane(void *argument)
{
    struct job *job = argument;
    struct lane *lane = &job->lane;
    cpu_set_t set;
    uint64_t until, last;

    CPU_ZERO(&set);
    CPU_SET((size_t)job->cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    for (size_t i = 0; i * lane->stretch < lane->count; i++)
        job->serve(job, commands(lane, i)); /* warm */
    pthread_barrier_wait(job->start);
    last = now(CLOCK_MONOTONIC);
    until = last + job->nanoseconds;
    for (size_t i = 0; i < MOST_STRETCHES && last < until && lane->left < MOST_LEFT; i++) {
        lane->stretches[i].begin = last;
        note(job, &lane->stretches[i], commands(lane, i));
        last = lane->stretches[i].end;
        lane->noted = i + 1;
    }
    return NULL;
}

/* Serve for so many nanoseconds, a thread for each lane, pinned to one processor each; or only move the bytes (bare). */
__attribute__((visibility("default"))) void lanes_run(struct lane *lanes, int count, uint64_t nanoseconds,
                                                      const int *cpus, int bare)
{
    static struct job jobs[MOST_LANES];
    static struct stretch stretches[MOST_LANES][MOST_STRETCHES];
    static uint8_t in[MOST_LANES][ROOM], out[MOST_LANES][ROOM];
    pthread_t threads[MOST_LANES];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        jobs[i] = (struct job){lanes[i], lane_users[i], &start, nanoseconds, cpus[i],
                               bare ? bare_serve : serve, in[i], out[i]};
        jobs[i].lane.stretches = stretches[i];
        jobs[i].lane.noted = 0;
        if (pthread_create(&threads[i], NULL, run_lane, &jobs[i]) != 0)
            abort(); /* the others would wait for it */
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        lanes[i] = jobs[i].lane;
    }
    pthread_barrier_destroy(&start);
}
