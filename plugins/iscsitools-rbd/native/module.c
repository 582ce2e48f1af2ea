/* The module: opens an image with a client of its own, and what a head does with its lock. Calls that wait let Python go on. */
#include "image.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ceph ceph;

enum { MOST_OWNERS = 8 };

static PyObject *failed(int code, const char *what)
{
    PyObject *arguments = Py_BuildValue("(is)", -code, what);

    if (arguments != NULL)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

static PyObject *done(int code, const char *what)
{
    if (code < 0)
        return failed(code, what);
    Py_RETURN_NONE;
}

/* -- opening and closing */

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
static int image_init(PyObject *self, PyObject *args, PyObject *Py_UNUSED(named))
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
        failed(code, strerror(-code));
    return code < 0 ? -1 : 0;
}

static PyObject *image_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(named))
{
    struct image *image = (struct image *)PyType_GenericAlloc(type, 0);

    if (image != NULL)
        image->all.before = image->all.after = &image->all;
    return (PyObject *)image;
}

/* One that was not closed stays open until the process has ended: closing may wait for Ceph without an end. */
static void image_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (((struct image *)self)->image == NULL) {
        flights_free((struct image *)self);
        type->tp_free(self);
        Py_DECREF(type);
    }
}

static PyObject *image_close(PyObject *self, PyObject *Py_UNUSED(unused))
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

/* -- the lock, the client, the size */

static PyObject *image_owners(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct image *image = (struct image *)self;
    char *owners[MOST_OWNERS];
    size_t count = MOST_OWNERS;
    PyObject *found;
    int mode, code;

    Py_BEGIN_ALLOW_THREADS
    code = ceph.rbd_lock_get_owners(image->image, &mode, owners, &count);
    Py_END_ALLOW_THREADS
    if (code == -ENOENT)
        return PyList_New(0);
    if (code < 0)
        return failed(code, "the owners of the lock");
    found = PyList_New(0);
    for (size_t i = 0; found != NULL && i < count; i++) {
        PyObject *owner = PyUnicode_FromString(owners[i]);
        if (owner == NULL || PyList_Append(found, owner) < 0)
            Py_CLEAR(found);
        Py_XDECREF(owner);
    }
    ceph.rbd_lock_get_owners_cleanup(owners, count);
    return found;
}

static PyObject *image_break(PyObject *self, PyObject *owner)
{
    const char *text = PyUnicode_AsUTF8(owner);
    int code;

    if (text == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    code = ceph.rbd_lock_break(((struct image *)self)->image, RBD_EXCLUSIVE, text);
    Py_END_ALLOW_THREADS
    return done(code, "breaking the lock");
}

static PyObject *image_acquire(PyObject *self, PyObject *Py_UNUSED(unused))
{
    int code;

    Py_BEGIN_ALLOW_THREADS
    code = ceph.rbd_lock_acquire(((struct image *)self)->image, RBD_EXCLUSIVE);
    Py_END_ALLOW_THREADS
    return done(code, "acquiring the lock");
}

static PyObject *image_wait_for_map(PyObject *self, PyObject *Py_UNUSED(unused))
{
    int code;

    Py_BEGIN_ALLOW_THREADS
    code = ceph.rados_wait_for_latest_osdmap(((struct image *)self)->cluster);
    Py_END_ALLOW_THREADS
    return done(code, "the newest map");
}

static PyObject *image_size(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct image *image = (struct image *)self;
    uint64_t size = 0;
    int code = -EBADF;

    if (image->image != NULL) {
        Py_BEGIN_ALLOW_THREADS
        code = ceph.rbd_get_size(image->image, &size);
        Py_END_ALLOW_THREADS
    }
    return code < 0 ? failed(code, "the size") : PyLong_FromUnsignedLongLong(size);
}

static PyObject *image_resize(PyObject *self, PyObject *size)
{
    uint64_t wanted = PyLong_AsUnsignedLongLong(size);
    int code;

    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    code = ceph.rbd_resize(((struct image *)self)->image, wanted);
    Py_END_ALLOW_THREADS
    return done(code, code < 0 ? strerror(-code) : "");
}

static PyObject *image_address(PyObject *self, PyObject *Py_UNUSED(unused))
{
    char *address = NULL;
    int code = ceph.rados_getaddrs(((struct image *)self)->cluster, &address);
    PyObject *found = code < 0 ? failed(code, "the client's address") : PyUnicode_FromString(address);

    free(address);
    return found;
}

static PyMethodDef methods[] = {
    {"submit", (PyCFunction)(void (*)(void))image_submit, METH_FASTCALL, "Hand a request to librbd."},
    {"reap", image_reap, METH_O, "Complete what librbd has answered."},
    {"overdue", image_overdue, METH_VARARGS, "The requests that were sent longer ago than so many seconds; they are late now."},
    {"waiting", image_waiting, METH_NOARGS, "Seconds since the oldest late one was sent."},
    {"owners", image_owners, METH_NOARGS, "The owners of the exclusive lock."},
    {"break_lock", image_break, METH_O, "Take the lock from an owner."},
    {"acquire", image_acquire, METH_NOARGS, "Take the lock for as long as this is open."},
    {"wait_for_map", image_wait_for_map, METH_NOARGS, "Wait until this client has the newest map of OSDs."},
    {"size", image_size, METH_NOARGS, "The image's size, in bytes."},
    {"resize", image_resize, METH_O, "Give the image another size, in bytes."},
    {"address", image_address, METH_NOARGS, "By which the cluster shuts this client out."},
    {"close", image_close, METH_NOARGS, "Close; waits for Ceph."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, image_new},
    {Py_tp_init, image_init},
    {Py_tp_dealloc, image_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, "An open image with a client of its own."},
    {0, NULL},
};
static PyType_Spec spec = {"iscsitools_rbd._native.Image", sizeof(struct image), 0, Py_TPFLAGS_DEFAULT, slots};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "librbd's asynchronous calls.", -1, NULL,
                                        NULL, NULL, NULL, NULL};

static int load(void)
{
    void *librbd = dlopen("librbd.so.1", RTLD_NOW), *librados = dlopen("librados.so.2", RTLD_NOW);

    if (librbd == NULL || librados == NULL) {
        PyErr_Format(PyExc_ImportError, "%s", dlerror());
        return -1;
    }
#define FIND(result, name, parameters)                                                            \
    *(void **)(void *)&ceph.name = dlsym(#name[1] == 'a' ? librados : librbd, #name);             \
    if (ceph.name == NULL) {                                                                      \
        PyErr_SetString(PyExc_ImportError, "there is no " #name);                                 \
        return -1;                                                                                \
    }
    CEPH_FUNCTIONS(FIND)
#undef FIND
    return 0;
}

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module, *type;

    if (load() < 0)
        return NULL;
    module = PyModule_Create(&definition);
    type = module == NULL ? NULL : PyType_FromSpec(&spec);
    if (type == NULL || PyModule_AddObjectRef(module, "Image", type) < 0 || carrier_init(module) < 0) {
        Py_XDECREF(type);
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
