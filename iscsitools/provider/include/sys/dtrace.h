/*
 * What libusdt needs of a system's <sys/dtrace.h>, for systems that do not install one: the DOF format (DTrace Object
 * Format, as published in the Solaris Dynamic Tracing Guide and read by every DTrace since), and the helper device.
 */
#ifndef ISCSITOOLS_SYS_DTRACE_H
#define ISCSITOOLS_SYS_DTRACE_H

#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

typedef uint32_t dof_secidx_t; /* index of a section */
typedef uint32_t dof_stridx_t; /* offset in the string table */
typedef uint32_t dof_attr_t;   /* stability of name, of data, and class, a byte each from the top */

enum { DOF_ID_MAG0, DOF_ID_MAG1, DOF_ID_MAG2, DOF_ID_MAG3, DOF_ID_MODEL, DOF_ID_ENCODING, DOF_ID_VERSION,
       DOF_ID_DIFVERS, DOF_ID_DIFIREG, DOF_ID_DIFTREG, DOF_ID_PAD, DOF_ID_SIZE = 16 };

#define DOF_MAG_MAG0 0x7f
#define DOF_MAG_MAG1 'D'
#define DOF_MAG_MAG2 'O'
#define DOF_MAG_MAG3 'F'
#define DOF_MODEL_NATIVE 2  /* LP64 */
#define DOF_ENCODE_NATIVE 1 /* little-endian */
#define DOF_VERSION_1 1
#define DOF_VERSION_2 2
#define DOF_VERSION_3 3
#define DOF_VERSION DOF_VERSION_2
#define DIF_VERSION 2
#define DIF_DIR_NREGS 8
#define DIF_DTR_NREGS 8

#define DOF_SECT_STRTAB 8
#define DOF_SECT_PROVIDER 15
#define DOF_SECT_PROBES 16
#define DOF_SECT_PRARGS 17
#define DOF_SECT_PROFFS 18
#define DOF_SECT_PRENOFFS 26
#define DOF_SECF_LOAD 1

#define DTRACE_STABILITY_STABLE 6
#define DOF_ATTR(name, data, class) ((uint32_t)(name) << 24 | (uint32_t)(data) << 16 | (uint32_t)(class) << 8)

typedef struct dof_hdr {
    uint8_t dofh_ident[DOF_ID_SIZE];
    uint32_t dofh_flags, dofh_hdrsize, dofh_secsize, dofh_secnum;
    uint64_t dofh_secoff, dofh_loadsz, dofh_filesz, dofh_pad;
} dof_hdr_t;

typedef struct dof_sec {
    uint32_t dofs_type, dofs_align, dofs_flags, dofs_entsize;
    uint64_t dofs_offset, dofs_size;
} dof_sec_t;

typedef struct dof_provider {
    dof_secidx_t dofpv_strtab, dofpv_probes, dofpv_prargs, dofpv_proffs;
    dof_stridx_t dofpv_name;
    dof_attr_t dofpv_provattr, dofpv_modattr, dofpv_funcattr, dofpv_nameattr, dofpv_argsattr;
    dof_secidx_t dofpv_prenoffs;
} dof_provider_t;

typedef struct dof_probe {
    uint64_t dofpr_addr;
    dof_stridx_t dofpr_func, dofpr_name, dofpr_nargv, dofpr_xargv;
    uint32_t dofpr_argidx, dofpr_offidx;
    uint8_t dofpr_nargc, dofpr_xargc;
    uint16_t dofpr_noffs;
    uint32_t dofpr_enoffidx;
    uint16_t dofpr_nenoffs, dofpr_pad1;
    uint32_t dofpr_pad2;
} dof_probe_t;

#define DTRACE_MODNAMELEN 64

typedef struct dof_helper {
    char dofhp_mod[DTRACE_MODNAMELEN];
    uint64_t dofhp_addr, dofhp_dof;
#ifdef __FreeBSD__
    pid_t dofhp_pid; /* since FreeBSD 11 */
    int gen;         /* dofhp_gen there; libusdt knows it by its former name */
#endif
} dof_helper_t;

#if defined(__linux__)
#define DTRACEHIOC_REMOVE _IOW(0xd8, 2, int)
#define DTRACEHIOC_ADDDOF _IOW(0xd8, 3, dof_helper_t)
#elif defined(__FreeBSD__)
#define DTRACEHIOC_REMOVE _IOW('z', 2, int)
#define DTRACEHIOC_ADDDOF _IOWR('z', 3, dof_helper_t)
#elif defined(__APPLE__)
/* macOS installs its own header; these let its form of the DOF be made, and tested, elsewhere. */
typedef uint64_t user_addr_t;
typedef struct dof_ioctl_data {
    uint64_t dofiod_count;
    dof_helper_t dofiod_helpers[1];
} dof_ioctl_data_t;
#define DTRACEHIOC_REMOVE _IO('h', 2)
#define DTRACEHIOC_ADDDOF _IOW('h', 4, user_addr_t)
#else
#define DTRACEHIOC_REMOVE ('d' << 24 | 't' << 16 | 'h' << 8 | 2)
#define DTRACEHIOC_ADDDOF ('d' << 24 | 't' << 16 | 'h' << 8 | 3)
#endif

#endif
