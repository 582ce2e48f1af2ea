/* Mode login: connect, log in, log out and close, one after the other. */
#define _GNU_SOURCE
#include "load.h"

#include <unistd.h>

void run_logins(const struct addrinfo *address) {
    uint64_t now = now_ns();
    measure_from(now);
    for (int index = 0; measure_until(now); index++) {
        struct connection c = {.fd = connect_to(address)};
        login(&c, index);
        logout(&c);
        close(c.fd);
        uint64_t end = now_ns();
        if (measuring()) {
            count_io(end - now);
        }
        now = end;
    }
}
