/* The command line. */
#define _GNU_SOURCE
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

struct options opt = {
    .host = "127.0.0.1",
    .port = "3260",
    .target = "iqn.2026-11.example:disk",
    .initiator = "iqn.2026-11.example:load",
    .attribute = SIMPLE,
    .cdb_size = 10,
    .depth = 1,
    .connections = 1,
    .read_percent = -1,
    .nodelay = 1,
    .immediate_data = 1,
    .block = 4096,
    .segment = 262144,
    .first_burst = 262144,
    .max_burst = 1048576,
    .seconds = 3,
    .warm_up = 0.5,
};

static _Noreturn void usage(void) {
    fputs("usage: iscsi-load [-H host] [-p port] [-n target] [-l lun] -m MODE [-b bytes] [-q depth] [-c connections]\n"
          "                  [-t seconds] [-w warm-up] [options]\n"
          "  MODE: randread randwrite seqread seqwrite nop rw:PERCENT (so many random reads in 100)\n"
          "        login (connect, log in, log out, again and again; -q, -c and -b do not count)\n"
          "  -P PID   target's pid (repeatable): report target CPU us per I/O (all threads)\n"
          "  -s MiB   span used (default: whole LUN)    -j  JSON line instead of text\n"
          "  -f FORM  how a READ or WRITE is sent (repeatable): dpo fua ordered head cdb6 cdb12 cdb16 unaligned\n"
          "           (unaligned: random places that are no multiple of the size)\n"
          "  -D       header and data digests     -C NAME:SECRET  CHAP with MD5\n"
          "  -I       ImmediateData=No      -R  InitialR2T=Yes\n"
          "  -M n     own MaxRecvDataSegmentLength   -F n FirstBurstLength   -B n MaxBurstLength\n"
          "  -g N     at most N PDUs per send() (1: like the Linux initiator; default: all at once)\n"
          "  -N       no TCP_NODELAY        -i name  initiator name\n"
          "  every completed read is checked for full length, any status but GOOD ends the run.\n",
          stderr);
    exit(1);
}

static void parse_mode(const char *mode) {
    if (!mode) {
        usage();
    }
    opt.mode = mode;
    opt.sequential = !strncmp(mode, "seq", 3);
    opt.writes = !strcmp(mode, "randwrite") || !strcmp(mode, "seqwrite");
    opt.nop = !strcmp(mode, "nop");
    opt.logins = !strcmp(mode, "login");
    if (!strncmp(mode, "rw:", 3)) {
        opt.read_percent = atoi(mode + 3);
    } else if (!opt.writes && !opt.nop && !opt.logins && strcmp(mode, "randread") && strcmp(mode, "seqread")) {
        usage();
    }
}

static void parse_form(const char *form) {
    if (!strcmp(form, "dpo")) {
        opt.cdb_flags |= CDB_DPO;
    } else if (!strcmp(form, "fua")) {
        opt.cdb_flags |= CDB_FUA;
    } else if (!strcmp(form, "ordered")) {
        opt.attribute = ORDERED;
    } else if (!strcmp(form, "head")) {
        opt.attribute = HEAD_OF_QUEUE;
    } else if (!strcmp(form, "cdb6") || !strcmp(form, "cdb12") || !strcmp(form, "cdb16")) {
        opt.cdb_size = atoi(form + 3);
    } else if (!strcmp(form, "unaligned")) {
        opt.unaligned = 1;
    } else {
        usage();
    }
}

/* NAME:SECRET into its two parts. */
static void parse_chap(char *text) {
    char *colon = strchr(text, ':');
    if (!colon) {
        usage();
    }
    *colon = 0;
    opt.chap_name = text;
    opt.chap_secret = colon + 1;
}

static void parse_number(int letter, const char *value) {
    uint32_t number = (uint32_t)strtoul(value, NULL, 0);
    switch (letter) {
    case 'l':
        opt.lun = (uint8_t)number;
        break;
    case 'b':
        opt.block = number;
        break;
    case 'q':
        opt.depth = (int)number;
        break;
    case 'c':
        opt.connections = (int)number;
        break;
    case 't':
        opt.seconds = atof(value);
        break;
    case 'w':
        opt.warm_up = atof(value);
        break;
    case 's':
        opt.span = (uint64_t)number << 20;
        break;
    case 'M':
        opt.segment = number;
        break;
    case 'F':
        opt.first_burst = number;
        break;
    case 'B':
        opt.max_burst = number;
        break;
    case 'g':
        opt.pdus_per_send = number;
        break;
    case 'P':
        if (opt.pid_count < MAX_PIDS) {
            opt.pids[opt.pid_count++] = (int)number;
        }
        break;
    default:
        usage();
    }
}

void parse_options(int argc, char **argv) {
    const char *mode = NULL;
    int letter;
    while ((letter = getopt(argc, argv, "H:p:n:l:m:b:q:c:t:w:P:s:f:C:jDIRM:F:B:i:Ng:h")) != -1) {
        switch (letter) {
        case 'H':
            opt.host = optarg;
            break;
        case 'p':
            opt.port = optarg;
            break;
        case 'n':
            opt.target = optarg;
            break;
        case 'i':
            opt.initiator = optarg;
            break;
        case 'm':
            mode = optarg;
            break;
        case 'f':
            parse_form(optarg);
            break;
        case 'C':
            parse_chap(optarg);
            break;
        case 'j':
            opt.json = 1;
            break;
        case 'D':
            opt.digests = 1;
            break;
        case 'I':
            opt.immediate_data = 0;
            break;
        case 'R':
            opt.initial_r2t = 1;
            break;
        case 'N':
            opt.nodelay = 0;
            break;
        case 'h':
        case '?': /* an unknown letter, or a value that is missing: getopt has said so */
            usage();
        default:
            parse_number(letter, optarg);
        }
    }
    parse_mode(mode);
    if (opt.depth < 1 || opt.depth > 1000 || opt.connections < 1) {
        die("queue depth is 1 to 1000, connections at least 1");
    }
}
