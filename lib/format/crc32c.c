#include "crc32c.h"

#include <isa-l/crc.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */
#define MASK_DELTA 0xa282ead8u
#define RUN_BYTES (1u << 30) /* ISA-L counts bytes in an int */

/* Polynomials of degree below 32, reflected: the top bit is the coefficient of x^0. */
#define X_POWER_0 (1u << 31)
#define X_POWER_8 (1u << 23)

uint32_t crc32c_extend(uint32_t crc, const void *p, size_t n)
{
        const uint8_t *at = p;

        while (n > 0) {
                size_t run = n < RUN_BYTES ? n : RUN_BYTES;

                crc = ~crc32_iscsi((unsigned char *)(uintptr_t)at, (int)run, ~crc);
                at += run;
                n -= run;
        }
        return crc;
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
        uint32_t product = 0;

        for (uint32_t bit = X_POWER_0; bit; bit >>= 1) {
                if (a & bit)
                        product ^= b;
                b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
        }
        return product;
}

/* Appending n bytes multiplies the first sum by x^(8n); the initial and final inversions cancel. */
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_bytes)
{
        uint32_t power = X_POWER_0, square = X_POWER_8;

        for (; b_bytes; b_bytes >>= 1) {
                if (b_bytes & 1)
                        power = multiply(power, square);
                square = multiply(square, square);
        }
        return multiply(power, a) ^ b;
}

uint32_t crc32c_mask(uint32_t crc)
{
        return ((crc >> 15) | (crc << 17)) + MASK_DELTA;
}

uint32_t crc32c_unmask(uint32_t masked)
{
        uint32_t rotated = masked - MASK_DELTA;

        return (rotated << 15) | (rotated >> 17);
}
