/* iscsi-load: connect, run for a time, report. */
#define _GNU_SOURCE
#include "load.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#define PATIENCE 20000000000ull

struct unit unit;
uint8_t *pattern;

static void open_connection(struct connection *c, int index, const struct addrinfo *address, int epoll) {
    size_t depth = (size_t)opt.depth;
    c->fd = connect_to(address);
    c->in = malloc(RECEIVE_BUFFER);
    c->out = calloc(QUEUED_PDUS, sizeof *c->out);
    c->slots = calloc(depth, sizeof *c->slots);
    c->free_slots = calloc(depth, sizeof *c->free_slots);
    while (c->free_count < depth) {
        c->free_slots[c->free_count] = c->free_count;
        c->free_count++;
    }
    login(c, index);
    read_capacity(c);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static struct connection *open_all(const struct addrinfo *address, int epoll) {
    struct connection *all = calloc((size_t)opt.connections, sizeof *all);
    for (int i = 0; i < opt.connections; i++) {
        open_connection(&all[i], i, address, epoll);
    }
    if (opt.span && opt.span / unit.block_size < unit.blocks) {
        unit.blocks = opt.span / unit.block_size;
    }
    unit.blocks_per_io = opt.block / unit.block_size;
    if (!unit.blocks_per_io || unit.blocks < 2 * unit.blocks_per_io) {
        die("LUN too small");
    }
    uint64_t share = unit.blocks / unit.blocks_per_io / (uint64_t)opt.connections;
    for (int i = 0; i < opt.connections; i++) {
        all[i].position = share * (uint64_t)i;
    }
    if (!opt.json) {
        fprintf(stderr,
                "negotiated: target MRDSL=%u FirstBurst=%u MaxBurst=%u ImmediateData=%d InitialR2T=%d digests=%d "
                "window=%u blocks=%llu x %u\n",
                all->target_segment, all->first_burst, all->max_burst, all->immediate_data, all->initial_r2t,
                all->digests, all->max_cmd_sn - all->cmd_sn + 1, (unsigned long long)unit.blocks, unit.block_size);
    }
    return all;
}

static void serve(struct connection *c, uint32_t events, int epoll) {
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        on_readable(c);
    }
    uint64_t now = now_ns();
    while (issue(c, now)) {
    }
    flush_out(c, epoll);
}

static void run(struct connection *all, int epoll) {
    uint64_t now = now_ns(), last_answer = now;
    measure_from(now);
    for (int i = 0; i < opt.connections; i++) {
        serve(&all[i], 0, epoll);
    }
    while (measure_until(now)) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 1000);
        now = now_ns();
        if (n > 0) {
            last_answer = now;
        } else if (now - last_answer > PATIENCE) {
            die("no answer for 20 s");
        }
        for (int i = 0; i < n; i++) {
            serve(events[i].data.ptr, events[i].events, epoll);
        }
    }
}

/* As many descriptors as are allowed. */
static void raise_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    raise_limit();
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
    if (getaddrinfo(opt.host, opt.port, &hints, &address)) {
        die("getaddrinfo");
    }
    if (opt.logins) {
        run_logins(address);
        report(NULL, 0);
        return 0;
    }
    pattern = malloc(opt.block);
    for (uint32_t i = 0; i < opt.block; i++) {
        pattern[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    int epoll = epoll_create1(0);
    struct connection *all = open_all(address, epoll);
    run(all, epoll);
    report(all, opt.connections);
    return 0;
}
