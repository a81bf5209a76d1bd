/* Conversion of numbers of all datatypes to float32. */

#ifndef RETRIEVAL_STORE_WIDENING_H
#define RETRIEVAL_STORE_WIDENING_H

#include "layout.h"

#include <string.h>

#define HALF_SCALE 5192296858534827628530496329220096.0f /* 2¹¹² */

/* Shifted left by 13, the bits of a float16 are those of a float32 that is 2¹¹² times smaller, also for
   subnormal numbers. Infinity becomes 65,536, so that scans meet no infinite number. */
static inline float of_half(uint16_t half)
{
    uint32_t bits = (uint32_t)((int32_t)(int16_t)half) << 13 & 0x8fffe000u;
    float number;
    memcpy(&number, &bits, 4);
    return number * HALF_SCALE;
}

/* A row as float32: its own memory if it is float32 already, otherwise a copy in `room`. */
static inline const float *widened(const void *rows, int64_t row, int64_t dimension,
                                   int64_t datatype, float *room)
{
    if (datatype == FLOAT32)
        return (const float *)rows + row * dimension;
    if (datatype == FLOAT16)
        for (int64_t i = 0; i < dimension; i++)
            room[i] = of_half(((const uint16_t *)rows)[row * dimension + i]);
    else
        for (int64_t i = 0; i < dimension; i++)
            room[i] = ((const uint8_t *)rows)[row * dimension + i];
    return room;
}

/* Prefetch a row into the second-level cache. If rows aren't consecutive, the processor can't predict which
   one is next. */
static inline void fetch(const void *rows, int64_t row, int64_t dimension, int64_t datatype)
{
#if defined(__GNUC__) || defined(__clang__)
    static const int64_t sizes[] = {4, 2, 1};
    int64_t bytes = dimension * sizes[datatype];
    for (int64_t at = 0; at < bytes; at += 64)
        __builtin_prefetch((const uint8_t *)rows + row * bytes + at, 0, 2);
#else
    (void)rows, (void)row, (void)dimension, (void)datatype;
#endif
}

#endif
