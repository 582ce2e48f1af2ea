/* An image is opened with a client of its own, and closed. Calls that wait let Python go on. */
#include "image.h"

#include <errno.h>
#include <string.h>

struct wish {
    const char *conf, *user, *pool, *space, *name, *snapshot;
    int read_only, eventfd;
};

static int open_image(struct image *image, const struct wish *wish)
{
    int code = ceph.rados_ioctx_create(image->cluster, wish->pool, &image->pool);

    if (code < 0)
        return code;
    ceph.rados_ioctx_set_namespace(image->pool, wish->space);
    code = (wish->read_only ? ceph.rbd_open_read_only : ceph.rbd_open)(image->pool, wish->name, &image->image,
                                                                       *wish->snapshot ? wish->snapshot : NULL);
    if (code < 0)
        image->image = NULL;
    else
        code = ceph.rbd_set_image_notification(image->image, wish->eventfd, RBD_EVENTFD);
    return code;
}

static void close_all(rbd_image_t image, rados_ioctx_t pool, rados_t cluster)
{
    if (image != NULL)
        ceph.rbd_close(image);
    if (pool != NULL)
        ceph.rados_ioctx_destroy(pool);
    if (cluster != NULL)
        ceph.rados_shutdown(cluster);
}

static int set_all(rados_t cluster, PyObject *settings)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    int code = 0;

    while (code == 0 && PyDict_Next(settings, &at, &name, &value)) {
        const char *texts[] = {PyUnicode_AsUTF8(name), PyUnicode_AsUTF8(value)};
        code = texts[0] == NULL || texts[1] == NULL ? -EINVAL : ceph.rados_conf_set(cluster, texts[0], texts[1]);
    }
    return code;
}

/* Image(conf, user, settings, pool, namespace, name, snapshot, read_only, eventfd). Raises OSError. */
int image_init(PyObject *self, PyObject *args, PyObject *Py_UNUSED(named))
{
    struct image *image = (struct image *)self;
    struct wish wish;
    PyObject *settings;
    int code;

    if (image->cluster != NULL || !PyArg_ParseTuple(args, "ssO!sssspi:Image", &wish.conf, &wish.user, &PyDict_Type, &settings,
                                                    &wish.pool, &wish.space, &wish.name, &wish.snapshot,
                                                    &wish.read_only, &wish.eventfd))
        return -1;
    code = ceph.rados_create(&image->cluster, wish.user);
    if (code == 0)
        code = ceph.rados_conf_read_file(image->cluster, *wish.conf ? wish.conf : NULL);
    if (code == 0)
        code = set_all(image->cluster, settings);
    if (code == 0 && !PyErr_Occurred()) {
        Py_BEGIN_ALLOW_THREADS
        code = ceph.rados_connect(image->cluster);
        if (code == 0)
            code = open_image(image, &wish);
        if (code < 0) {
            close_all(image->image, image->pool, image->cluster);
            image->image = image->pool = image->cluster = NULL;
        }
        Py_END_ALLOW_THREADS
    }
    if (code < 0 && !PyErr_Occurred())
        image_failed(code, strerror(-code));
    return code < 0 ? -1 : 0;
}

PyObject *image_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(named))
{
    struct image *image = (struct image *)PyType_GenericAlloc(type, 0);

    if (image != NULL)
        image->all.before = image->all.after = &image->all;
    return (PyObject *)image;
}

/* One that was not closed stays open until the process has ended: closing may wait for Ceph without an end. */
void image_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (((struct image *)self)->image == NULL) {
        flights_free((struct image *)self);
        type->tp_free(self);
        Py_DECREF(type);
    }
}

PyObject *image_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct image *image = (struct image *)self;
    rbd_image_t opened = image->image;

    image->image = NULL; /* nobody reaps or submits any more */
    if (opened == NULL)
        Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS
    close_all(opened, image->pool, image->cluster); /* when it returns, librbd has answered all */
    Py_END_ALLOW_THREADS
    flights_free(image);
    Py_RETURN_NONE;
}
