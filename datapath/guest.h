/*
 * A connection that a data thread serves. It comes with its path, its socket and what was received already, and goes
 * back with what was not served and what was not sent. Between the two the loop's thread only reads counters of it.
 */
#ifndef GUEST_H
#define GUEST_H

#include "segment.h"

/* How far a guest has come; changed under its thread's lock. */
enum stage { COMING, SERVED_THERE, GOING };

struct guest {
    struct path *path;
    PyObject *owner;            /* what the loop's thread knows it by */
    struct data_thread *thread;
    struct guest *next;         /* in the list of those that come, are called back, or go */
    struct guest *next_in_line; /* of those that have input which was received already */
    int fd;
    enum stage stage;
    bool called, in_line, sends; /* called: back; sends: it waits for its socket to take more */
    bool held_up, deaf; /* what it sent last waits for another ring's flight; and its socket is not looked at meanwhile */
    uint64_t held_since, held_at; /* when that began, or 0, and at which CmdSN */
    uint8_t *input, *output;     /* kept for later; NULL where there is none */
    size_t input_length, output_length, output_sent;
    struct segment segment; /* of its input, before what is kept: a long data segment on its way */
    uint64_t since; /* no command that waits for data has come, or got what it had asked for last, before this */
    uint64_t put; /* bytes of output that were made here */
    struct flight *landed, *landed_last; /* commands that have landed, in order, and are not answered yet */
    struct guest *next_landing;          /* of those who have such */
    bool lands;                          /* it is among them */
    const struct shortcut *slow_store; /* a store whose write was slow, and when; NULL: none was */
    int64_t slow[2];
    struct watch watch; /* who looks at what is done here; with a mask of 0: nobody */
    PyObject *tracers;  /* the set of them, or NULL */
    void *places[];     /* and what each has for this connection */
};

/* Keep bytes that "*place" had none of before; false: there is no memory for them. */
bool guest_keep(uint8_t **place, size_t *length, const uint8_t *from, size_t count);

/* Forget kept bytes. */
void guest_forget(uint8_t **place, size_t *length);

/* Send answers, of which what the socket does not take is kept, behind what is. False: there is no memory to keep it. */
bool guest_send(struct guest *guest, const uint8_t *from, size_t count);

/* Send what was kept of them, as far as the socket takes it; false: it is broken. */
bool guest_send_kept(struct guest *guest);

/*
 * A guest of a path, with the input that was received already; NULL with an exception. The path and its gates are lent.
 * "tracers": who looks, or None; "user": who serves it.
 */
struct guest *guest_new(struct path *path, int fd, PyObject *owner, const Py_buffer *input, PyObject *tracers,
                        struct user *user);

/* Around a batch of a guest at which somebody looks, and the sending of what it answers. */
void guest_begin_firing(struct guest *guest, struct user *user);
void guest_end_firing(struct guest *guest, struct user *user);

/* Take it apart: its path is the loop's thread's again. A tuple (owner, input, output, put), or NULL with an exception. */
PyObject *guest_take_home(struct guest *guest);

#endif
