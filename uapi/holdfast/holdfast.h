/*
 * Everything a program for Holdfast includes: /dev/iommu, /dev/vfio/devices/, /dev/liveupdate, memory files. Plain C.
 */
#ifndef HOLDFAST_UAPI_HOLDFAST_H
#define HOLDFAST_UAPI_HOLDFAST_H

#include "iommufd.h"
#include "liveupdate.h"
#include "memfd.h"
#include "vfio.h"

#endif
