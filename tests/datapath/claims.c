/* The claims of datapath/users.c for test_claims.py: users by number, claims of several ranges. */
#include "users.h"

static struct user *made[3];

/* Two users of data threads beside the loop's, which is number 0. */
__attribute__((visibility("default"))) void begin(void)
{
    made[0] = loop_user;
    for (int i = 1; i < 3; i++)
        made[i] = users_add();
}

__attribute__((visibility("default"))) void end(void)
{
    for (int i = 1; i < 3; i++)
        users_remove(made[i]);
}

__attribute__((visibility("default"))) void claim(int number, uintptr_t store, const uint64_t *ranges, unsigned count,
                                                  int changes)
{
    struct claim *claim = &made[number]->claim;

    claim->store = (const void *)store;
    claim->changes = changes != 0;
    claim->count = count;
    for (unsigned i = 0; i < count; i++) {
        claim->ranges[i].begin = ranges[i * 2];
        claim->ranges[i].end = ranges[i * 2 + 1];
    }
    user_claim_all(made[number]);
}

__attribute__((visibility("default"))) void release(int number)
{
    user_release(made[number]);
}
