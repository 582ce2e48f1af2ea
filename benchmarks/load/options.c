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

static void usage(void) {
    fputs("usage: iscsi-load [-H host] [-p port] [-n target] [-l lun] -m MODE [-b bytes] [-q depth] [-c connections]\n"
          "                  [-t seconds] [-w warm-up] [options]\n"
          "  MODE: randread randwrite seqread seqwrite nop rw:PERCENT (so many random reads in 100)\n"
          "  -P PID   target's pid (repeatable): report target CPU us per I/O (all threads)\n"
          "  -s MiB   span used (default: whole LUN)    -j  JSON line instead of text\n"
          "  -I       ImmediateData=No      -R  InitialR2T=Yes\n"
          "  -M n     own MaxRecvDataSegmentLength   -F n FirstBurstLength   -B n MaxBurstLength\n"
          "  -g N     at most N PDUs per send() (1: like the Linux initiator; default: all at once)\n"
          "  -N       no TCP_NODELAY        -i name  initiator name\n"
          "  -r       raw: no login and no READ CAPACITY (for echo48), writes fully immediate\n"
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
    if (!strncmp(mode, "rw:", 3)) {
        opt.read_percent = atoi(mode + 3);
    } else if (!opt.writes && !opt.nop && strcmp(mode, "randread") && strcmp(mode, "seqread")) {
        usage();
    }
}

static void parse_number(int letter, const char *value) {
    switch (letter) {
    case 'l':
        opt.lun = atoi(value);
        break;
    case 'b':
        opt.block = atoi(value);
        break;
    case 'q':
        opt.depth = atoi(value);
        break;
    case 'c':
        opt.connections = atoi(value);
        break;
    case 't':
        opt.seconds = atof(value);
        break;
    case 'w':
        opt.warm_up = atof(value);
        break;
    case 's':
        opt.span = strtoull(value, NULL, 0) << 20;
        break;
    case 'M':
        opt.segment = atoi(value);
        break;
    case 'F':
        opt.first_burst = atoi(value);
        break;
    case 'B':
        opt.max_burst = atoi(value);
        break;
    case 'g':
        opt.pdus_per_send = atoi(value);
        break;
    case 'P':
        if (opt.pid_count < MAX_PIDS) {
            opt.pids[opt.pid_count++] = atoi(value);
        }
        break;
    default:
        usage();
    }
}

void parse_options(int argc, char **argv) {
    const char *mode = NULL;
    int letter;
    while ((letter = getopt(argc, argv, "H:p:n:l:m:b:q:c:t:w:P:s:jIRM:F:B:i:rNg:")) != -1) {
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
        case 'j':
            opt.json = 1;
            break;
        case 'I':
            opt.immediate_data = 0;
            break;
        case 'R':
            opt.initial_r2t = 1;
            break;
        case 'r':
            opt.raw = 1;
            break;
        case 'N':
            opt.nodelay = 0;
            break;
        default:
            parse_number(letter, optarg);
        }
    }
    parse_mode(mode);
    if (opt.depth < 1 || opt.depth > 1000 || opt.connections < 1) {
        die("queue depth is 1 to 1000, connections at least 1");
    }
}
