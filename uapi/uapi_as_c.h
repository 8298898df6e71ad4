/* What the C compiler makes of the headers, for the test that is C++. */
#ifndef HOLDFAST_UAPI_AS_C_H
#define HOLDFAST_UAPI_AS_C_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uapi_size {
  const char* name;
  size_t bytes;
};

const struct uapi_size* uapi_sizes(size_t* count);

#ifdef __cplusplus
}
#endif

#endif
