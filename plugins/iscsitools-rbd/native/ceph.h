/* The functions of librados and librbd that are used, found when the module is loaded: nothing is linked, no header needed. */
#ifndef CEPH_H
#define CEPH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef void *rados_t;
typedef void *rados_ioctx_t;
typedef void *rbd_image_t;
typedef void *rbd_completion_t;

enum { RBD_EVENTFD = 2, RBD_EXCLUSIVE = 0 };

/* X(result, name, parameters) */
#define CEPH_FUNCTIONS(X)                                                                      \
    X(int, rados_create, (rados_t *, const char *))                                            \
    X(int, rados_conf_read_file, (rados_t, const char *))                                      \
    X(int, rados_conf_set, (rados_t, const char *, const char *))                              \
    X(int, rados_connect, (rados_t))                                                           \
    X(void, rados_shutdown, (rados_t))                                                         \
    X(int, rados_getaddrs, (rados_t, char **))                                                 \
    X(int, rados_wait_for_latest_osdmap, (rados_t))                                            \
    X(int, rados_ioctx_create, (rados_t, const char *, rados_ioctx_t *))                       \
    X(void, rados_ioctx_set_namespace, (rados_ioctx_t, const char *))                          \
    X(void, rados_ioctx_destroy, (rados_ioctx_t))                                              \
    X(int, rbd_open, (rados_ioctx_t, const char *, rbd_image_t *, const char *))               \
    X(int, rbd_open_read_only, (rados_ioctx_t, const char *, rbd_image_t *, const char *))     \
    X(int, rbd_close, (rbd_image_t))                                                           \
    X(int, rbd_get_size, (rbd_image_t, uint64_t *))                                            \
    X(int, rbd_resize, (rbd_image_t, uint64_t))                                                \
    X(int, rbd_lock_acquire, (rbd_image_t, int))                                               \
    X(int, rbd_lock_get_owners, (rbd_image_t, int *, char **, size_t *))                       \
    X(void, rbd_lock_get_owners_cleanup, (char **, size_t))                                    \
    X(int, rbd_lock_break, (rbd_image_t, int, const char *))                                   \
    X(int, rbd_set_image_notification, (rbd_image_t, int, int))                                \
    X(int, rbd_poll_io_events, (rbd_image_t, rbd_completion_t *, int))                         \
    X(int, rbd_aio_create_completion, (void *, void (*)(rbd_completion_t, void *), rbd_completion_t *)) \
    X(void *, rbd_aio_get_arg, (rbd_completion_t))                                             \
    X(ssize_t, rbd_aio_get_return_value, (rbd_completion_t))                                   \
    X(void, rbd_aio_release, (rbd_completion_t))                                               \
    X(int, rbd_aio_read, (rbd_image_t, uint64_t, size_t, char *, rbd_completion_t))            \
    X(int, rbd_aio_write, (rbd_image_t, uint64_t, size_t, const char *, rbd_completion_t))     \
    X(int, rbd_aio_discard, (rbd_image_t, uint64_t, uint64_t, rbd_completion_t))               \
    X(int, rbd_aio_write_zeroes, (rbd_image_t, uint64_t, size_t, rbd_completion_t, int, int))

struct ceph {
#define MEMBER(result, name, parameters) result(*name) parameters;
    CEPH_FUNCTIONS(MEMBER)
#undef MEMBER
};

extern struct ceph ceph;

#endif
