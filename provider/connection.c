/* Copies of the strings of ConnectionInfo as C strings, kept per connection for as long as they are true. */
#include "connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* In the order of uiscsiproto_t's string members from uip_isid on, then the two IQNs. */
static const char *const STRING_NAMES[] = {"isid", "tsih", "transport", "local", "remote", "protocol", "target", "initiator"};
enum { ISID, TSIH, TRANSPORT, LOCAL, REMOTE, PROTOCOL, TARGET, INITIATOR, STRINGS };

/*
 * Direct-mapped by the object's address: bounded, and a connection that ended needs no call here. A slot holds its
 * object, so that no other can come to have the same address: one attribute is read for an event, not two.
 */
#define SLOTS 64
#define ADDRESS_SHIFT 6 /* objects are some 100 bytes apart */

struct connection {
    PyObject *object; /* NULL: free */
    long long generation;
    char *text; /* one allocation that holds all strings */
    const char *strings[STRINGS];
    struct sockaddr_storage local, remote;
};

static struct connection slots[SLOTS];
static PyObject *string_names[STRINGS], *name_generation;

int connections_init(void)
{
    for (int i = 0; i < STRINGS; i++)
        if ((string_names[i] = PyUnicode_InternFromString(STRING_NAMES[i])) == NULL)
            return -1;
    name_generation = PyUnicode_InternFromString("generation");
    return name_generation != NULL ? 0 : -1;
}

void connections_forget(void)
{
    for (int i = 0; i < SLOTS; i++) {
        PyObject *object = slots[i].object;

        free(slots[i].text);
        slots[i] = (struct connection){0};
        Py_XDECREF(object);
    }
}

/* address:port or [address]:port to a socket address; all zeros when it is neither. */
static void parse_address(const char *text, struct sockaddr_storage *storage)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
    const char *colon = strrchr(text, ':');
    char address[INET6_ADDRSTRLEN + 1];
    int bracket = text[0] == '[';
    size_t length;

    memset(storage, 0, sizeof *storage);
    if (colon == NULL || (bracket && colon[-1] != ']'))
        return;
    text += bracket;
    length = strcspn(text, bracket ? "%]" : ":"); /* the zone of a link-local address has no place here */
    if (length >= sizeof address)
        return;
    memcpy(address, text, length);
    address[length] = '\0';
    if (bracket && inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)atoi(colon + 1));
    } else if (!bracket && inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)atoi(colon + 1));
    }
}

/* Copy all strings of connection into one allocation of slot. */
static int copy_strings(struct connection *slot, PyObject *connection)
{
    PyObject *values[STRINGS] = {NULL};
    const char *texts[STRINGS];
    size_t total = 0;
    char *end = NULL;

    for (int i = 0; i < STRINGS; i++) {
        values[i] = PyObject_GetAttr(connection, string_names[i]);
        texts[i] = values[i] != NULL ? PyUnicode_AsUTF8AndSize(values[i], NULL) : NULL;
        if (texts[i] == NULL)
            goto out;
        total += strlen(texts[i]) + 1;
    }
    if ((end = malloc(total)) == NULL) {
        PyErr_NoMemory();
        goto out;
    }
    free(slot->text);
    slot->text = end;
    for (int i = 0; i < STRINGS; i++) {
        slot->strings[i] = end;
        end = stpcpy(end, texts[i]) + 1;
    }
out:
    for (int i = 0; i < STRINGS; i++)
        Py_XDECREF(values[i]);
    return end != NULL ? 0 : -1;
}

static int get_generation(PyObject *connection, long long *generation)
{
    PyObject *value = PyObject_GetAttr(connection, name_generation);

    if (value == NULL)
        return -1;
    *generation = PyLong_AsLongLong(value);
    Py_DECREF(value);
    return *generation == -1 && PyErr_Occurred() ? -1 : 0;
}

static int copy_all(struct connection *slot, PyObject *connection)
{
    if (copy_strings(slot, connection) < 0)
        return -1;
    parse_address(slot->strings[LOCAL], &slot->local);
    parse_address(slot->strings[REMOTE], &slot->remote);
    return 0;
}

/* Make a slot that of another connection, or of the same one with other strings. */
static int take_slot(struct connection *slot, PyObject *connection, long long generation)
{
    PyObject *former = slot->object;

    if (copy_all(slot, connection) < 0)
        return -1;
    Py_INCREF(connection);
    slot->object = connection;
    slot->generation = generation;
    Py_XDECREF(former);
    return 0;
}

struct connection *connection_copy(PyObject *connection)
{
    struct connection *copy = calloc(1, sizeof *copy);

    if (copy == NULL) {
        PyErr_NoMemory();
    } else if (copy_all(copy, connection) < 0) {
        free(copy);
        copy = NULL;
    }
    return copy;
}

void connection_forget(struct connection *copy)
{
    free(copy->text);
    free(copy);
}

int event_set_connection(struct event *event, PyObject *connection)
{
    long long generation;
    struct connection *slot;

    if (get_generation(connection, &generation) < 0)
        return -1;
    slot = &slots[((uintptr_t)connection >> ADDRESS_SHIFT) % SLOTS];
    if ((slot->object != connection || slot->generation != generation) && take_slot(slot, connection, generation) < 0)
        return -1;
    event_set_copy(event, slot);
    return 0;
}

void event_set_copy(struct event *event, const struct connection *slot)
{
    uiscsiproto_t *proto = &event->proto;

    proto->uip_target_addr = (uintptr_t)&slot->local;
    proto->uip_initiator_addr = (uintptr_t)&slot->remote;
    proto->uip_target = (uintptr_t)slot->strings[TARGET];
    proto->uip_initiator = (uintptr_t)slot->strings[INITIATOR];
    proto->uip_isid = (uintptr_t)slot->strings[ISID];
    proto->uip_tsih = (uintptr_t)slot->strings[TSIH];
    proto->uip_transport = (uintptr_t)slot->strings[TRANSPORT];
    proto->uip_local = (uintptr_t)slot->strings[LOCAL];
    proto->uip_remote = (uintptr_t)slot->strings[REMOTE];
    proto->uip_protocol = (uintptr_t)slot->strings[PROTOCOL];
}
