/* Login, just enough: every key is agreed to as it was offered, but for digests; nobody is asked who he is. */
#define _GNU_SOURCE
#include "bound.h"

#include <stdio.h>
#include <stdlib.h>

static int is_key(const char *pair, const char *key) {
    size_t length = strlen(key);
    return !strncmp(pair, key, length) && pair[length] == '=';
}

static uint32_t value_of(const char *pair) { return (uint32_t)strtoul(strchr(pair, '=') + 1, NULL, 10); }

/* The answer to one key, into `out`; returns its length, 0 when none is due. */
static int answer_key(struct connection *c, const char *pair, char *out, size_t room) {
    if (is_key(pair, "InitiatorName") || is_key(pair, "TargetName") || is_key(pair, "SessionType") ||
        is_key(pair, "InitiatorAlias") || !strchr(pair, '=')) {
        return 0;
    }
    if (is_key(pair, "MaxRecvDataSegmentLength")) {
        c->segment = value_of(pair);
        return snprintf(out, room, "MaxRecvDataSegmentLength=%u", SEGMENT) + 1;
    }
    if (is_key(pair, "HeaderDigest") || is_key(pair, "DataDigest") || is_key(pair, "AuthMethod")) {
        return snprintf(out, room, "%.*s=None", (int)(strchr(pair, '=') - pair), pair) + 1;
    }
    if (is_key(pair, "MaxBurstLength")) {
        c->max_burst = value_of(pair);
    }
    return snprintf(out, room, "%s", pair) + 1;
}

void answer_login(struct connection *c) {
    uint32_t offered = smaller(get24(c->header + 5), sizeof c->text - 1), length = 0;
    char out[sizeof c->text];
    c->text[offered] = 0;
    if (!c->segment) { /* the defaults of RFC 7143 chapter 13 */
        c->segment = 8192;
        c->max_burst = 262144;
    }
    for (uint32_t at = 0; at < offered; at += (uint32_t)strlen(c->text + at) + 1) {
        length += (uint32_t)answer_key(c, c->text + at, out + length, sizeof out - length);
    }
    make_room(c, sizeof out);
    c->exp_cmd_sn = get32(c->header + 24);
    uint8_t *h = answer(c, LOGIN_RESPONSE, c->header[1] & 0x8f, c->header + 16);
    put24(h + 5, length);
    memcpy(h + 8, c->header + 8, 6); /* ISID */
    h[15] = 1;                       /* TSIH */
    if (length) {
        memset(out + length, 0, padded(length) - length);
        memcpy(answer_memory(c, padded(length)), out, padded(length));
    }
}
