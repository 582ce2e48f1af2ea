/*
 * What a data path in C is offered: one capsule for the whole time that the disk is served, and behind it the image that
 * this head serves from now, or none. All under the interpreter's lock.
 */
#include "image.h"

#include <errno.h>

struct carrier {
    PyObject_HEAD
    struct iscsitools_carrier offer;
    PyObject *image; /* an Image, or None */
};

static PyTypeObject *image_type;

static int submit(void *store, struct iscsitools_call *call)
{
    struct carrier *carrier = store;

    return carrier->image == Py_None ? -ENODEV : image_begin((struct image *)carrier->image, call);
}

static PyObject *carrier_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(named))
{
    struct carrier *carrier = (struct carrier *)PyType_GenericAlloc(type, 0);

    if (carrier != NULL) {
        carrier->offer = (struct iscsitools_carrier){carrier, submit};
        carrier->image = Py_NewRef(Py_None);
    }
    return (PyObject *)carrier;
}

static void carrier_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(((struct carrier *)self)->image);
    type->tp_free(self);
    Py_DECREF(type);
}

static void leave(PyObject *capsule)
{
    Py_DECREF((PyObject *)PyCapsule_GetContext(capsule));
}

/* capsule(): it keeps this. */
static PyObject *carrier_capsule(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *capsule = PyCapsule_New(&((struct carrier *)self)->offer, ISCSITOOLS_CARRIER, leave);

    if (capsule != NULL)
        (void)PyCapsule_SetContext(capsule, Py_NewRef(self));
    return capsule;
}

/* use(image): from now on; None: there is none. */
static PyObject *carrier_use(PyObject *self, PyObject *image)
{
    struct carrier *carrier = (struct carrier *)self;
    PyObject *before = carrier->image;

    if (image != Py_None && !PyObject_TypeCheck(image, image_type))
        return PyErr_Format(PyExc_TypeError, "not an image");
    carrier->image = Py_NewRef(image);
    Py_DECREF(before);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"capsule", carrier_capsule, METH_NOARGS, "What a data path takes."},
    {"use", carrier_use, METH_O, "Calls go to this image from now on; None: they are refused."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, carrier_new},
    {Py_tp_dealloc, carrier_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, "READs and WRITEs of a data path in C."},
    {0, NULL},
};
static PyType_Spec spec = {"iscsitools_rbd._native.Carrier", sizeof(struct carrier), 0, Py_TPFLAGS_DEFAULT, slots};

int carrier_init(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    int failed;

    image_type = (PyTypeObject *)PyObject_GetAttrString(module, "Image");
    failed = image_type == NULL || type == NULL || PyModule_AddObjectRef(module, "Carrier", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}
