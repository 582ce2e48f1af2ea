/* iscsi-load: connect, run for a time, report. */
#define _GNU_SOURCE
#include "load.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct totals totals;
struct unit unit = {.blocks = 1 << 20, .block_size = 512};
uint8_t *pattern;

/* CPU time used so far, by the target and by this process. */
struct usage {
    uint64_t target_ns, own_ns;
    double user, system;
};

static struct usage usage_now(void) {
    struct usage u = {.own_ns = own_cpu_ns()};
    for (int i = 0; i < opt.pid_count; i++) {
        double user, system;
        u.target_ns += cpu_ns_of(opt.pids[i]);
        cpu_seconds_of(opt.pids[i], &user, &system);
        u.user += user;
        u.system += system;
    }
    return u;
}

static void open_connection(struct connection *c, int index, const struct addrinfo *address, int epoll) {
    c->fd = socket(address->ai_family, SOCK_STREAM, 0);
    if (connect(c->fd, address->ai_addr, address->ai_addrlen)) {
        die("connect");
    }
    if (opt.nodelay) {
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    c->in = malloc(RECEIVE_BUFFER);
    c->out = calloc(QUEUED_PDUS, sizeof *c->out);
    c->slots = calloc(opt.depth, sizeof *c->slots);
    c->free_slots = calloc(opt.depth, sizeof *c->free_slots);
    while (c->free_count < opt.depth) {
        c->free_slots[c->free_count] = c->free_count;
        c->free_count++;
    }
    if (opt.raw) {
        c->max_cmd_sn = 0x7fffffff;
    } else {
        login(c, index);
        read_capacity(c);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static struct connection *open_all(int epoll) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
    if (getaddrinfo(opt.host, opt.port, &hints, &address)) {
        die("getaddrinfo");
    }
    struct connection *all = calloc(opt.connections, sizeof *all);
    for (int i = 0; i < opt.connections; i++) {
        open_connection(&all[i], i, address, epoll);
    }
    freeaddrinfo(address);
    if (opt.span && opt.span / unit.block_size < unit.blocks) {
        unit.blocks = opt.span / unit.block_size;
    }
    unit.blocks_per_io = opt.block / unit.block_size;
    if (!unit.blocks_per_io || unit.blocks < unit.blocks_per_io) {
        die("LUN too small");
    }
    for (int i = 0; i < opt.connections; i++) {
        all[i].position = unit.blocks / unit.blocks_per_io / opt.connections * i;
    }
    if (!opt.raw && !opt.json) {
        fprintf(stderr,
                "negotiated: target MRDSL=%u FirstBurst=%u MaxBurst=%u ImmediateData=%d InitialR2T=%d window=%d "
                "blocks=%llu x %u\n",
                all->target_segment, all->first_burst, all->max_burst, all->immediate_data, all->initial_r2t,
                (int)(all->max_cmd_sn - all->cmd_sn + 1), (unsigned long long)unit.blocks, unit.block_size);
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

/* Run; returns the seconds that were measured, and the CPU time used in them in `used`. */
static double run(struct connection *all, int epoll, struct usage *used) {
    uint64_t start = now_ns() + (uint64_t)(opt.warm_up * 1e9), end = start + (uint64_t)(opt.seconds * 1e9);
    uint64_t last_answer = now_ns();
    for (int i = 0; i < opt.connections; i++) {
        serve(&all[i], 0, epoll);
    }
    struct usage before = {0};
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 1000);
        uint64_t now = now_ns();
        if (!totals.measuring && now >= start) {
            totals.measuring = 1;
            start = now;
            before = usage_now();
            totals.sends = totals.receives = 0;
        } else if (totals.measuring && now >= end) {
            struct usage after = usage_now();
            *used = (struct usage){after.target_ns - before.target_ns, after.own_ns - before.own_ns,
                                   after.user - before.user, after.system - before.system};
            return (now - start) / 1e9;
        }
        if (n > 0) {
            last_answer = now;
        } else if (now - last_answer > 20000000000ull) {
            die("no answer for 20 s");
        }
        for (int i = 0; i < n; i++) {
            serve(events[i].data.ptr, events[i].events, epoll);
        }
    }
}

/* The latency in microseconds that so many per cent of the I/Os did not exceed. */
static double percentile(int percent) {
    uint64_t count = 0;
    for (int i = 0; i < HISTOGRAM; i++) {
        count += totals.histogram[i];
        if (count * 100 >= totals.ios * percent) {
            return i / 10.0;
        }
    }
    return HISTOGRAM / 10.0;
}

static void report(const struct connection *all, double seconds, const struct usage *used) {
    double ios = totals.ios ? totals.ios : 1;
    uint64_t least = all->done, most = all->done;
    for (int i = 1; i < opt.connections; i++) {
        least = all[i].done < least ? all[i].done : least;
        most = all[i].done > most ? all[i].done : most;
    }
    const char *text = "%s bs=%u qd=%d conns=%d: iops=%.0f MB/s=%.1f lat avg=%.1f p50=%.1f p99=%.1f us | target cpu "
                       "%.2f us/io (user %.2f sys %.2f) busy %.1f%% | generator %.2f us/io busy %.1f%% sends=%llu "
                       "recvs=%llu conn_ios=%llu..%llu\n";
    const char *json = "{\"mode\":\"%s\",\"bs\":%u,\"qd\":%d,\"conns\":%d,\"iops\":%.0f,\"MBps\":%.1f,"
                       "\"lat_us\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_us_per_io\":%.2f,\"cpu_user_us\":%.2f,"
                       "\"cpu_sys_us\":%.2f,\"cpu_pct\":%.1f,\"lg_us_per_io\":%.2f,\"lg_pct\":%.1f,\"sends\":%llu,"
                       "\"recvs\":%llu,\"conn_ios_min\":%llu,\"conn_ios_max\":%llu}\n";
    printf(opt.json ? json : text, opt.mode, opt.block, opt.depth, opt.connections, totals.ios / seconds,
           totals.bytes / seconds / 1e6, totals.latency_ns / 1000.0 / ios, percentile(50), percentile(99),
           used->target_ns / 1000.0 / ios, used->user * 1e6 / ios, used->system * 1e6 / ios,
           used->target_ns / seconds / 1e7, used->own_ns / 1000.0 / ios, used->own_ns / seconds / 1e7,
           (unsigned long long)totals.sends, (unsigned long long)totals.receives, (unsigned long long)least,
           (unsigned long long)most);
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    pattern = malloc(opt.block);
    for (uint32_t i = 0; i < opt.block; i++) {
        pattern[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    totals.histogram = calloc(HISTOGRAM, sizeof *totals.histogram);
    int epoll = epoll_create1(0);
    struct connection *all = open_all(epoll);
    struct usage used;
    double seconds = run(all, epoll, &used);
    report(all, seconds, &used);
    return 0;
}
