/* A program of user space, in C. */
#include <holdfast/holdfast.h>
#include <stdio.h>

int main(void) {
  printf("restore: %#lx\n", (unsigned long)IOMMU_HWPT_RESTORE);
  return 0;
}
