/* The module: finds Ceph's functions, and what a head does with an image and its lock. Calls that wait let Python go on. */
#include "image.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ceph ceph;

enum { MOST_OWNERS = 8 };

PyObject *image_failed(int code, const char *what)
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
        return image_failed(code, what);
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
        return image_failed(code, "the owners of the lock");
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
    return code < 0 ? image_failed(code, "the size") : PyLong_FromUnsignedLongLong(size);
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
    PyObject *found = code < 0 ? image_failed(code, "the client's address") : PyUnicode_FromString(address);

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
