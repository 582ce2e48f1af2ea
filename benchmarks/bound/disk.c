/* The file, and the three ways to it. */
#define _GNU_SOURCE
#include "bound.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECES 128

uint64_t disk_size;
static int file;
static uint8_t *mapping;

void open_disk(void) {
    struct stat status;
    file = open(opt.path, O_RDWR | (opt.direct ? O_DIRECT : 0));
    if (file < 0 || fstat(file, &status)) {
        die(opt.path);
    }
    disk_size = (uint64_t)status.st_size;
    if (opt.way == MAPPED) {
        mapping = mmap(NULL, disk_size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
        if (mapping == MAP_FAILED) {
            die("mmap");
        }
    }
    if (opt.way == RING) {
        open_transfers(file);
    }
}

/* pread behind the headers of the Data-Ins, so that one run of bytes is sent; several PDUs take one preadv. */
static void read_into_answers(struct connection *c, const uint8_t *itt, uint64_t offset, uint32_t length) {
    struct iovec pieces[PIECES];
    int count = 0;
    make_room(c, length + (length / c->segment + 1) * BHS);
    for (uint32_t at = 0, data_sn = 0; at < length; data_sn++) {
        uint32_t size = smaller(length - at, c->segment);
        uint8_t *h = answer(c, DATA_IN, at + size == length ? FINAL | 1 : 0, itt);
        put24(h + 5, size);
        put32(h + 36, data_sn);
        put32(h + 40, at);
        pieces[count++] = (struct iovec){answer_memory(c, size), size};
        at += size;
        if (count == PIECES || at == length) {
            ssize_t got = preadv(file, pieces, count, (off_t)offset);
            if (got < 0) {
                die("preadv");
            }
            offset += (uint64_t)got;
            count = 0;
        }
    }
}

void read_disk(struct connection *c, const uint8_t *itt, uint64_t offset, uint32_t length) {
    if (opt.way == MAPPED) {
        data_in(c, itt, mapping + offset, length);
    } else if (opt.way == RING) {
        submit_transfer(get_transfer(c, itt, length), offset);
    } else {
        read_into_answers(c, itt, offset, length);
    }
}

void write_disk(const uint8_t *data, uint32_t size, uint64_t offset) {
    if (pwrite(file, data, size, (off_t)offset) != (ssize_t)size) {
        die("pwrite");
    }
}
