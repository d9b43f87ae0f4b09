/* As much as blkalign.c needs: see ../kvm/disk-image.h. */
#ifndef STUB_ERR_H
#define STUB_ERR_H

#include <stdint.h>

#define ERR_PTR(error) ((void *)(intptr_t)(error))
#define PTR_ERR(pointer) ((long)(intptr_t)(pointer))
#define IS_ERR_OR_NULL(pointer) \
    ((pointer) == NULL || (uintptr_t)(pointer) >= (uintptr_t)-4095)

#endif
