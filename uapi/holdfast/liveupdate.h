/*
 * /dev/liveupdate and its session files, as user space sees them. Plain C.
 *
 * Names, numbers and layouts are Linux's, written from the facts; LIVEUPDATE_IOCTL_DROP_SESSION is ours. Every
 * structure begins with its size: shorter than known is refused (EINVAL), longer is accepted when the rest is zero
 * (else E2BIG). An ioctl answers 0 or a negative errno.
 */
#ifndef HOLDFAST_UAPI_LIVEUPDATE_H
#define HOLDFAST_UAPI_LIVEUPDATE_H

#include <stdint.h>

#define LIVEUPDATE_IOCTL_TYPE 0xBA
#define LIVEUPDATE_SESSION_NAME_LENGTH 64

/* No direction and no size in the number: (type << 8) | number. */
#define LIVEUPDATE_IOCTL(number) ((LIVEUPDATE_IOCTL_TYPE << 8) | (number))

/* On /dev/liveupdate. */
#define LIVEUPDATE_IOCTL_CREATE_SESSION LIVEUPDATE_IOCTL(0x00)
#define LIVEUPDATE_IOCTL_RETRIEVE_SESSION LIVEUPDATE_IOCTL(0x01)
#define LIVEUPDATE_IOCTL_DROP_SESSION LIVEUPDATE_IOCTL(0x80) /* ours */

/* On a session. */
#define LIVEUPDATE_SESSION_PRESERVE_FD LIVEUPDATE_IOCTL(0x40)
#define LIVEUPDATE_SESSION_RETRIEVE_FD LIVEUPDATE_IOCTL(0x41)
#define LIVEUPDATE_SESSION_FINISH LIVEUPDATE_IOCTL(0x42)

/* A new session of the running kernel; closing its last descriptor before the jump undoes it. */
struct liveupdate_ioctl_create_session {
  uint32_t size;
  int32_t fd; /* out */
  uint8_t name[LIVEUPDATE_SESSION_NAME_LENGTH];
};

/* A session that the previous kernel left. */
struct liveupdate_ioctl_retrieve_session {
  uint32_t size;
  int32_t fd; /* out */
  uint8_t name[LIVEUPDATE_SESSION_NAME_LENGTH];
};

/* Puts @fd under @token into an outgoing session. */
struct liveupdate_session_preserve_fd {
  uint32_t size;
  int32_t fd;
  uint64_t token;
};

/* Takes the file under @token out of an incoming session. */
struct liveupdate_session_retrieve_fd {
  uint32_t size;
  int32_t fd; /* out */
  uint64_t token;
};

/* Nothing of an incoming session is needed any more. */
struct liveupdate_session_finish {
  uint32_t size;
  uint32_t reserved;
};

/* Ours: the administrator gives an incoming session up; its devices are blocked, everything it holds is freed. */
struct liveupdate_ioctl_drop_session {
  uint32_t size;
  uint32_t reserved; /* 0 */
  uint8_t name[LIVEUPDATE_SESSION_NAME_LENGTH];
};

#endif
