/* bound: options, and the event loop. */
#define _GNU_SOURCE
#include "bound.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct options opt;

void die(const char *what) {
    fprintf(stderr, "bound: %s: %s\n", what, strerror(errno));
    exit(1);
}

static _Noreturn void usage(void) {
    fputs("usage: bound [-p PORT] [-w plain|mapped|ring] [-d] FILE\n"
          "  -p  port on 127.0.0.1 (default: any; it is printed)\n"
          "  -w  how the file is reached: pread and pwrite; reads sent from a mapping of it; io_uring\n"
          "  -d  O_DIRECT (with -w ring)\n",
          stderr);
    exit(2);
}

static void parse_options(int argc, char **argv) {
    static const char *const ways[] = {[PLAIN] = "plain", [MAPPED] = "mapped", [RING] = "ring"};
    int letter;
    while ((letter = getopt(argc, argv, "p:w:d")) != -1) {
        if (letter == 'p') {
            opt.port = atoi(optarg);
        } else if (letter == 'd') {
            opt.direct = 1;
        } else if (letter == 'w') {
            for (opt.way = PLAIN; opt.way <= RING && strcmp(optarg, ways[opt.way]); opt.way++) {
            }
        } else {
            usage();
        }
    }
    if (optind != argc - 1 || opt.way > RING || (opt.direct && opt.way != RING)) {
        usage();
    }
    opt.path = argv[optind];
}

static int start_listening(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (void *)&address, size) || listen(listener, 1024)) {
        die("listen");
    }
    getsockname(listener, (void *)&address, &size);
    printf("bound listens on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void on_connection(int listener, int epoll) {
    struct connection *c = calloc(1, sizeof *c);
    c->fd = accept(listener, NULL, NULL);
    if (c->fd < 0) {
        die("accept");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

/* Free a closed connection when nothing is under way for it any more. */
void forget(struct connection *c) {
    if (!c->under_way) {
        free(c);
    }
}

static void end_connection(struct connection *c) {
    close(c->fd);
    c->closed = 1;
    for (int i = 0; opt.direct && i < WRITES; i++) {
        if (c->writes[i].transfer) {
            free_transfer(c->writes[i].transfer);
        }
    }
    forget(c);
}

static void watch(int epoll, int fd, void *pointer) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = pointer};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* As many descriptors as are allowed. */
static void raise_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    static int listener, ring; /* their addresses tell them from connections */
    parse_options(argc, argv);
    raise_limit();
    open_disk();
    int epoll = epoll_create1(0);
    if (opt.way == RING) {
        ring = ring_open(256);
        watch(epoll, ring, &ring);
    }
    listener = start_listening();
    watch(epoll, listener, &listener);
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            void *pointer = events[i].data.ptr;
            if (pointer == &listener) {
                on_connection(listener, epoll);
            } else if (pointer != &ring && !on_readable(pointer)) {
                end_connection(pointer);
            }
        }
        if (opt.way == RING) {
            run_transfers();
        }
    }
}
