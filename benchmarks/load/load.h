/* A small epoll load generator that speaks raw iSCSI, so that the target and not the initiator is what is measured. */
#ifndef LOAD_H
#define LOAD_H

#include <netdb.h>
#include <stdint.h>
#include <sys/types.h>

#include "../wire.h"

#define DIGEST 4
#define RECEIVE_BUFFER (1 << 20)
#define QUEUED_PDUS 4096
#define HISTOGRAM 200000 /* buckets of 100 ns */
#define MAX_PIDS 16
#define NO_TAG 0xffffffffu

enum { IMMEDIATE = 0x40 }; /* of a request */

/* Task attributes of a SCSI Command PDU (RFC 7143 11.3.1). */
enum { SIMPLE = 1, ORDERED = 2, HEAD_OF_QUEUE = 3 };

/* Bits of byte 1 of READ and WRITE with 10 to 16 bytes (SBC-3 5.11). */
enum { CDB_FUA = 0x08, CDB_DPO = 0x10 };

/* The command line; sizes in bytes, times in seconds. */
struct options {
    const char *host, *port, *target, *initiator, *mode;
    const char *chap_name, *chap_secret; /* NULL: no CHAP */
    uint8_t lun, attribute, cdb_flags;
    int cdb_size; /* 6, 10, 12 or 16; where the numbers do not fit the next longer form is sent */
    int depth, connections;
    int json, nop, logins, sequential, unaligned, writes, read_percent, nodelay, digests;
    int immediate_data, initial_r2t;
    uint32_t block, segment, first_burst, max_burst, pdus_per_send;
    uint64_t span;
    double seconds, warm_up;
    int pids[MAX_PIDS], pid_count;
};
extern struct options opt;

/* One outstanding command; its index is its ITT. */
struct slot {
    uint64_t started;
    uint32_t received;
    int busy, is_write;
};

/* A PDU to send: its header and header digest, data that lies elsewhere, and the data digest. */
struct queued {
    uint8_t header[BHS + DIGEST];
    const uint8_t *data;
    uint32_t data_length, data_digest;
    int sealed; /* the digests have been computed */
};

struct connection {
    int fd, wants_out, digests;
    uint32_t cmd_sn, exp_stat_sn, max_cmd_sn;
    uint32_t target_segment, first_burst, max_burst;
    int immediate_data, initial_r2t;
    struct slot *slots;
    uint32_t *free_slots, free_count;
    uint8_t *in;
    uint32_t in_start, in_end;
    uint64_t skip; /* bytes of data segments still to be thrown away */
    struct queued *out;
    uint32_t out_head, out_tail, out_offset;
    uint64_t position; /* of sequential modes, in units of one I/O */
    uint64_t done;     /* I/Os while measuring */
};

/* The unit as READ CAPACITY says, in its blocks. */
struct unit {
    uint64_t blocks;
    uint32_t block_size, blocks_per_io;
};
extern struct unit unit;
extern uint8_t *pattern;

/* options.c */
void parse_options(int argc, char **argv);
/* cpu.c */
uint64_t now_ns(void);
uint64_t own_cpu_ns(void);
uint64_t cpu_ns_of(int pid);
void cpu_seconds_of(int pid, double *user, double *system);
_Noreturn void die(const char *what);
/* measure.c */
void measure_from(uint64_t now);
int measure_until(uint64_t now);
void count_io(uint64_t latency);
void count_calls(uint32_t sends, uint32_t receives);
int measuring(void);
void report(const struct connection *all, int count);
/* crc32c.c */
uint32_t crc32c(const uint8_t *data, size_t size);
/* md5.c */
void md5(const uint8_t *data, size_t size, uint8_t digest[16]);
/* login.c */
int connect_to(const struct addrinfo *address);
void login(struct connection *c, int index);
void logout(struct connection *c);
void receive_header(struct connection *c, uint8_t *header);
uint8_t *receive_data(struct connection *c, const uint8_t *header);
void send_command_pdu(struct connection *c, uint8_t *header);
/* capacity.c */
void read_capacity(struct connection *c);
/* logins.c */
void run_logins(const struct addrinfo *address);
/* send.c */
int issue(struct connection *c, uint64_t now);
struct queued *enqueue(struct connection *c);
void queue_data(struct connection *c, uint32_t itt, const uint8_t *lun, uint32_t ttt, uint32_t offset, uint32_t end);
void flush_out(struct connection *c, int epoll);
/* receive.c */
void on_readable(struct connection *c);

#endif
