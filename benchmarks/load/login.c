/* Login in two stages, as usual initiators do it, and logout; with blocking calls. */
#define _GNU_SOURCE
#include "load.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { SECURITY = 0, OPERATIONAL = 1, FULL_FEATURE = 3, TRANSIT = 0x80 };
#define CHALLENGE 1024

static void receive_all(int fd, void *buffer, size_t size) {
    while (size) {
        ssize_t got = recv(fd, buffer, size, 0);
        if (got <= 0) {
            die("recv (login)");
        }
        buffer = (char *)buffer + got;
        size -= (size_t)got;
    }
}

static void send_all(int fd, const void *buffer, size_t size) {
    while (size) {
        ssize_t sent = send(fd, buffer, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            die("send (login)");
        }
        buffer = (const char *)buffer + sent;
        size -= (size_t)sent;
    }
}

int connect_to(const struct addrinfo *address) {
    int fd = socket(address->ai_family, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = 20};
    if (fd < 0 || connect(fd, address->ai_addr, address->ai_addrlen)) {
        die("connect");
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (opt.nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    return fd;
}

void receive_header(struct connection *c, uint8_t *header) {
    uint8_t digest[DIGEST];
    receive_all(c->fd, header, BHS);
    if (c->digests) {
        receive_all(c->fd, digest, DIGEST);
    }
}

/* The data segment that follows a header, with a zero byte behind it; the caller frees it. */
uint8_t *receive_data(struct connection *c, const uint8_t *header) {
    uint32_t length = get24(header + 5);
    uint32_t size = padded(length) + (c->digests && length ? DIGEST : 0);
    uint8_t *data = calloc(1, size + 4);
    receive_all(c->fd, data, size);
    return data;
}

/* Send a PDU without data. */
void send_command_pdu(struct connection *c, uint8_t *header) {
    uint8_t pdu[BHS + DIGEST];
    memcpy(pdu, header, BHS);
    if (c->digests) {
        uint32_t digest = htole32(crc32c(header, BHS));
        memcpy(pdu + BHS, &digest, DIGEST);
    }
    send_all(c->fd, pdu, c->digests ? BHS + DIGEST : BHS);
}

struct text {
    char bytes[4096];
    uint32_t length;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->bytes + text->length, sizeof text->bytes - text->length, format, arguments);
    va_end(arguments);
    text->length += (uint32_t)size + 1;
    if (text->length > sizeof text->bytes) {
        die("login text too long");
    }
}

static void add_names(struct text *text) {
    add(text, "InitiatorName=%s", opt.initiator);
    add(text, "TargetName=%s", opt.target);
    add(text, "SessionType=Normal");
    add(text, "AuthMethod=%s", opt.chap_name ? "CHAP" : "None");
}

static void add_offers(struct text *text) {
    add(text, "HeaderDigest=%s", opt.digests ? "CRC32C" : "None");
    add(text, "DataDigest=%s", opt.digests ? "CRC32C" : "None");
    add(text, "InitialR2T=%s", opt.initial_r2t ? "Yes" : "No");
    add(text, "ImmediateData=%s", opt.immediate_data ? "Yes" : "No");
    add(text, "MaxRecvDataSegmentLength=%u", opt.segment);
    add(text, "MaxBurstLength=%u", opt.max_burst);
    add(text, "FirstBurstLength=%u", opt.first_burst);
    add(text, "MaxOutstandingR2T=1");
    add(text, "MaxConnections=1");
    add(text, "ErrorRecoveryLevel=0");
    add(text, "DefaultTime2Wait=2");
    add(text, "DefaultTime2Retain=0");
    add(text, "DataPDUInOrder=Yes");
    add(text, "DataSequenceInOrder=Yes");
}

static const char *value_of(const struct text *text, const char *key) {
    size_t key_length = strlen(key);
    for (uint32_t at = 0; at < text->length; at += (uint32_t)strlen(text->bytes + at) + 1) {
        const char *pair = text->bytes + at;
        if (!strncmp(pair, key, key_length) && pair[key_length] == '=') {
            return pair + key_length + 1;
        }
    }
    return NULL;
}

static uint32_t number_of(const struct text *text, const char *key, uint32_t otherwise) {
    const char *value = value_of(text, key);
    return value ? (uint32_t)strtoul(value, NULL, 0) : otherwise;
}

static int is_yes(const struct text *text, const char *key, int otherwise) {
    const char *value = value_of(text, key);
    return value ? !strcmp(value, "Yes") : otherwise;
}

/* What counts from now on; the defaults are those of RFC 7143 chapter 13. */
static void take_answers(struct connection *c, const struct text *answer) {
    const char *digest = value_of(answer, "HeaderDigest"), *data_digest = value_of(answer, "DataDigest");
    c->target_segment = number_of(answer, "MaxRecvDataSegmentLength", 8192) & ~3u;
    c->first_burst = smaller(number_of(answer, "FirstBurstLength", 65536), opt.first_burst);
    c->max_burst = number_of(answer, "MaxBurstLength", 262144);
    c->immediate_data = is_yes(answer, "ImmediateData", 1) && opt.immediate_data;
    c->initial_r2t = is_yes(answer, "InitialR2T", 1) || opt.initial_r2t;
    c->digests = digest && !strcmp(digest, "CRC32C");
    if (opt.digests && !(c->digests && data_digest && !strcmp(data_digest, "CRC32C"))) {
        die("the target does not agree to digests");
    }
}

/* One Login request and its answer, whose keys replace those in `answer`; returns the answer's flags. */
static uint8_t exchange(struct connection *c, int index, uint8_t flags, const struct text *text, struct text *answer) {
    static const uint8_t zeros[4];
    uint8_t h[BHS] = {LOGIN_REQUEST | IMMEDIATE, flags};
    put24(h + 5, text->length);
    h[8] = 0x80; /* a random ISID (RFC 7143 11.12.5): process id and index */
    put16(h + 9, (uint32_t)getpid());
    h[11] = (uint8_t)(getpid() >> 16);
    put16(h + 12, (uint32_t)index);
    put32(h + 24, c->cmd_sn);
    put32(h + 28, c->exp_stat_sn);
    send_all(c->fd, h, BHS);
    send_all(c->fd, text->bytes, text->length);
    send_all(c->fd, zeros, padded(text->length) - text->length);
    receive_all(c->fd, h, BHS);
    if ((h[0] & 0x3f) != LOGIN_RESPONSE || h[36]) {
        fprintf(stderr, "opcode %02x, login status %02x%02x\n", h[0], h[36], h[37]);
        die("login refused");
    }
    uint8_t *data = receive_data(c, h);
    answer->length = smaller(get24(h + 5), sizeof answer->bytes);
    memcpy(answer->bytes, data, answer->length);
    free(data);
    c->exp_stat_sn = get32(h + 24) + 1;
    c->cmd_sn = get32(h + 28);
    c->max_cmd_sn = get32(h + 32);
    return h[1];
}

static uint8_t nibble(char digit) {
    return (uint8_t)(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
}

/* CHAP_R: MD5 over identifier, secret and challenge (RFC 1994 4.1); the challenge comes as 0x... . */
static void add_response(struct text *text, const struct text *answer) {
    const char *challenge = value_of(answer, "CHAP_C"), *identifier = value_of(answer, "CHAP_I");
    if (!challenge || !identifier || strncasecmp(challenge, "0x", 2) || strlen(challenge) > 2 * CHALLENGE) {
        die("no CHAP challenge in hexadecimal");
    }
    uint8_t hashed[1 + 256 + CHALLENGE], digest[16];
    size_t size = strnlen(opt.chap_secret, 256);
    hashed[0] = (uint8_t)atoi(identifier);
    memcpy(hashed + 1, opt.chap_secret, size++);
    for (challenge += 2; challenge[0] && challenge[1]; challenge += 2) {
        hashed[size++] = (uint8_t)(nibble(challenge[0]) << 4 | nibble(challenge[1]));
    }
    md5(hashed, size, digest);
    char hex[33];
    for (int i = 0; i < 16; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    add(text, "CHAP_N=%s", opt.chap_name);
    add(text, "CHAP_R=0x%s", hex);
}

static void authenticate(struct connection *c, int index) {
    const uint8_t onward = TRANSIT | SECURITY << 2 | OPERATIONAL;
    struct text text = {.length = 0}, answer = {.length = 0};
    add_names(&text);
    if (!opt.chap_name) {
        exchange(c, index, onward, &text, &answer);
        return;
    }
    exchange(c, index, SECURITY << 2, &text, &answer);
    text.length = 0;
    add(&text, "CHAP_A=5");
    exchange(c, index, SECURITY << 2, &text, &answer);
    text.length = 0;
    add_response(&text, &answer);
    exchange(c, index, onward, &text, &answer);
}

void login(struct connection *c, int index) {
    c->cmd_sn = 1;
    c->exp_stat_sn = 0;
    authenticate(c, index);
    struct text text = {.length = 0}, answer = {.length = 0};
    add_offers(&text);
    for (int round = 0; round < 4; round++) {
        uint8_t flags = exchange(c, index, TRANSIT | OPERATIONAL << 2 | FULL_FEATURE, &text, &answer);
        if (!round) {
            take_answers(c, &answer);
        }
        if ((flags & (TRANSIT | FULL_FEATURE)) == (TRANSIT | FULL_FEATURE)) {
            return;
        }
        text.length = 0;
    }
    die("login did not complete");
}

/* Close the session (RFC 7143 11.14, reason 0). */
void logout(struct connection *c) {
    uint8_t h[BHS] = {LOGOUT_REQUEST | IMMEDIATE, 0x80};
    put32(h + 24, c->cmd_sn);
    put32(h + 28, c->exp_stat_sn);
    send_command_pdu(c, h);
    do {
        receive_header(c, h);
        free(receive_data(c, h));
    } while ((h[0] & 0x3f) == NOP_IN);
    if ((h[0] & 0x3f) != LOGOUT_RESPONSE) {
        die("logout: unexpected opcode");
    }
}
