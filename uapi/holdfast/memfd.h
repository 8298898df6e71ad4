/*
 * Memory files: the numbers of memfd_create, fcntl and fallocate that Holdfast serves, as Linux has them.
 * Plain C, no includes. Names that <fcntl.h> or <sys/mman.h> defined already are left alone: the values are the same.
 */
#ifndef HOLDFAST_UAPI_MEMFD_H
#define HOLDFAST_UAPI_MEMFD_H

/* memfd_create flags */
#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 0x0001u
#define MFD_ALLOW_SEALING 0x0002u
#endif

/* fcntl commands */
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#endif

/* seals */
#ifndef F_SEAL_SEAL
#define F_SEAL_SEAL 0x0001   /* no further seals */
#define F_SEAL_SHRINK 0x0002 /* the file cannot get smaller */
#define F_SEAL_GROW 0x0004   /* the file cannot get larger */
#define F_SEAL_WRITE 0x0008  /* nothing can be written */
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* nothing can be written but through mappings that exist */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* the execute bits of the mode cannot change */
#endif

#endif
