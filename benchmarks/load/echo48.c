/* echo48 PORT: the lower bound. Each 48-byte request (laid out as a SCSI Command) is answered by a 48-byte Data-In
 * header and as many bytes out of memory as it expects; a write by a 48-byte response after its immediate data was
 * swallowed. No login: iscsi-load -r. One connection at a time. */
#define _GNU_SOURCE
#include "load.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define ANSWERS 1024 /* at most this many in one go; the generator has at most 1000 outstanding */

static uint8_t in[RECEIVE_BUFFER], memory[1 << 20], headers[ANSWERS][BHS];
static struct iovec vectors[2 * ANSWERS];

struct state {
    uint32_t end;       /* bytes in `in` */
    uint64_t skip;      /* of a write's data */
    uint32_t write_itt; /* as on the wire */
    int write_open;
    int vector_count, answer_count;
};

static uint8_t *answer(struct state *s, int opcode, int flags, const void *itt) {
    uint8_t *h = headers[s->answer_count++];
    memset(h, 0, BHS);
    h[0] = opcode;
    h[1] = flags;
    memcpy(h + 16, itt, 4);
    vectors[s->vector_count++] = (struct iovec){h, BHS};
    return h;
}

static void on_request(struct state *s, const uint8_t *h) {
    if (h[1] & 0x20) { /* W: answered when its data is through */
        memcpy(&s->write_itt, h + 16, 4);
        s->write_open = 1;
        s->skip = get24(h + 5);
        return;
    }
    memcpy(answer(s, DATA_IN, 0x81, h + 16) + 5, h + 21, 3);
    vectors[s->vector_count++] = (struct iovec){memory, smaller(get32(h + 20), sizeof memory)};
}

static void parse(struct state *s) {
    uint32_t at = 0;
    s->vector_count = s->answer_count = 0;
    while (s->answer_count < ANSWERS - 1) {
        uint64_t skipped = s->skip < s->end - at ? s->skip : s->end - at;
        at += skipped;
        s->skip -= skipped;
        if (s->skip) {
            break;
        }
        if (s->write_open) {
            answer(s, SCSI_RESPONSE, 0x80, &s->write_itt);
            s->write_open = 0;
        }
        if (s->end - at < BHS) {
            break;
        }
        on_request(s, in + at);
        at += BHS;
    }
    memmove(in, in + at, s->end - at);
    s->end -= at;
}

static int send_answers(int fd, int count) {
    struct iovec *v = vectors;
    while (count) {
        struct msghdr message = {.msg_iov = v, .msg_iovlen = count > 1000 ? 1000 : count};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            return 0;
        }
        while (count && (size_t)sent >= v->iov_len) {
            sent -= v->iov_len;
            v++;
            count--;
        }
        if (count) {
            v->iov_base = (char *)v->iov_base + sent;
            v->iov_len -= sent;
        }
    }
    return 1;
}

static void serve(int fd) {
    struct state s = {0};
    for (;;) {
        ssize_t got = recv(fd, in + s.end, sizeof in - s.end, 0);
        if (got <= 0) {
            return;
        }
        s.end += got;
        parse(&s);
        if (!send_answers(fd, s.vector_count)) {
            return;
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: echo48 PORT\n", stderr);
        return 1;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 5)) {
        perror("echo48");
        return 1;
    }
    memset(memory, 1, sizeof memory);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        serve(fd);
        close(fd);
    }
}
