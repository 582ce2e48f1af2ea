/* bound: what a target costs that does nothing but move the bytes. One thread, epoll, one system call of the file for a
 * command, one send for a readable event; no checks, no probes, no error handling: the lower bound for others. */
#ifndef BOUND_H
#define BOUND_H

#include <stddef.h>
#include <stdint.h>

#include "../wire.h"

#define BLOCK 512
#define WINDOW 128          /* MaxCmdSN - ExpCmdSN + 1 */
#define SEGMENT (256 << 10) /* MaxRecvDataSegmentLength */
#define WRITES 1024         /* writes under way by the lowest bits of their ITT */
#define LONGEST (1 << 20)   /* the longest I/O */

enum { FINAL = 0x80 };

/* How the file is reached: pread and pwrite; reads sent from a mapping; io_uring for reads (and for O_DIRECT writes). */
enum way { PLAIN, MAPPED, RING };

/* A WRITE from its command to its response. */
struct write {
    uint8_t itt[4], lun[8];
    uint64_t offset; /* of its first byte in the file */
    uint32_t length, received;
    uint32_t r2t_sn;
    struct transfer *transfer; /* its data is gathered there for io_uring; else NULL */
};

struct connection {
    int fd, closing, closed;
    unsigned under_way; /* transfers; a closed connection is kept for them */
    uint8_t header[BHS];
    uint32_t have;  /* bytes of it that are here */
    uint32_t left;  /* bytes of its data segment that are still to come, padding included */
    uint32_t place; /* of the next one: its offset in the write's data, or in `text` */
    struct write *write;
    uint32_t stat_sn, exp_cmd_sn, segment, max_burst;
    char text[8192];
    struct write writes[WRITES];
};

/* One read or write that io_uring does, with a page-aligned buffer. */
struct transfer {
    struct connection *connection;
    struct transfer *next;
    uint8_t itt[4];
    uint32_t length;
    int is_write;
    uint8_t *buffer;
};

struct options {
    int port, direct;
    enum way way;
    const char *path;
};
extern struct options opt;

/* receive.c */
int on_readable(struct connection *c);
/* login.c */
void answer_login(struct connection *c);
/* command.c */
void begin_command(struct connection *c);
void begin_data_out(struct connection *c);
void write_piece(struct connection *c, const uint8_t *data, uint32_t size);
void end_of_segment(struct connection *c);
void data_in(struct connection *c, const uint8_t *itt, uint8_t *memory, uint32_t length);
void good(struct connection *c, const uint8_t *itt);
/* disk.c */
extern uint64_t disk_size;
void open_disk(void);
void read_disk(struct connection *c, const uint8_t *itt, uint64_t offset, uint32_t length);
void write_disk(const uint8_t *data, uint32_t size, uint64_t offset);
/* transfers.c */
void open_transfers(int file);
struct transfer *get_transfer(struct connection *c, const uint8_t *itt, uint32_t length);
void submit_transfer(struct transfer *t, uint64_t offset);
void free_transfer(struct transfer *t);
void run_transfers(void);
void free_sent(void);
/* ring.c */
int ring_open(unsigned entries);
struct io_uring_sqe *ring_sqe(void);
void ring_submit(void);
int ring_reap(uint64_t *user_data, int *result);
/* answer.c */
uint8_t *answer(struct connection *c, uint8_t opcode, uint8_t flags, const uint8_t *itt);
uint8_t *answer_memory(struct connection *c, uint32_t size);
void answer_from(struct connection *c, uint8_t *memory, uint32_t size);
void make_room(struct connection *c, size_t size);
void flush_answers(struct connection *c);
/* main.c */
void forget(struct connection *c);
_Noreturn void die(const char *what);

#endif
