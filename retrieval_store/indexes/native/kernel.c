/* The functions that Python calls, and the choice of the instruction set. */

#include "exported.h"
#include "layout.h"

#include <stddef.h>

#if defined(_MSC_VER)
#include <intrin.h>
/* windows.h isn't included, because it defines names that are used here, such as UINT8. */
__declspec(dllimport) int __stdcall IsProcessorFeaturePresent(unsigned long feature);
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(_MSC_VER) && defined(_M_X64)
static int has_bits(int leaf, int part, unsigned bits)
{
    int parts[4];
    __cpuidex(parts, leaf, 0);
    return ((unsigned)parts[part] & bits) == bits;
}

/* Whether the system saves these registers when it switches threads. */
static int saves(unsigned long long registers)
{
    return has_bits(1, 2, 1u << 27) && (_xgetbv(0) & registers) == registers;
}

static int has_avx2(void) { return saves(6) && has_bits(1, 2, 1u << 12) && has_bits(7, 1, 1u << 5); }

static int has_avx512(void) /* F, BW, VL; VNNI */
{
    return has_avx2() && saves(0xe6) && has_bits(7, 1, 1u << 16 | 1u << 30 | 1u << 31) &&
           has_bits(7, 2, 1u << 11);
}
#elif defined(__x86_64__)
static int has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__) || defined(_M_ARM64)
static int has_dotprod(void)
{
#if defined(__APPLE__)
    return 1; /* every Apple processor with a current system has it */
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* ASIMDDP */
#elif defined(_MSC_VER)
    return IsProcessorFeaturePresent(43); /* PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE */
#else
    return 0;
#endif
}
#endif

/* The norms of queries that float32 handles safely, as SAFE_LENGTHS in ../exact.py. */
#define LEAST_LENGTH 1e-12
#define GREATEST_LENGTH 1e12

/* The instruction set with this number among those of this processor, the fastest first; NULL after the last. */
static const InstructionSet *set_at(int64_t number)
{
    const InstructionSet *sets[4];
    int64_t count = 0;
#if defined(__x86_64__) || defined(_M_X64)
    if (has_avx512())
        sets[count++] = &avx512_set;
    if (has_avx2())
        sets[count++] = &avx2_set;
#elif defined(__aarch64__) || defined(_M_ARM64)
    if (has_dotprod())
        sets[count++] = &neon_set;
#endif
    sets[count++] = &scalar_set;
    return number < count ? sets[number] : NULL;
}

EXPORTED int64_t rs_version(void) { return KERNEL_VERSION; }

/* The name of an instruction set of this processor; NULL after the last. */
EXPORTED const char *rs_set_name(int64_t number)
{
    const InstructionSet *set = set_at(number);
    return set ? set->name : NULL;
}

EXPORTED const InstructionSet *rs_set(int64_t number) { return set_at(number); }

/* Calls `scan_codes` of scan_body.h, which is compiled once for each instruction set. */
EXPORTED int rs_scan(const InstructionSet *set, Scan *scan) { return set->scan(scan); }

/* Rotate and quantize the query, scan codes, and after the last code compute the candidates' distances. */
EXPORTED int rs_search(const InstructionSet *set, Search *search)
{
    Scan *scan = search->scan;
    if (!search->begun) {
        const Frame *frame = search->frames[0];
        double length = length_of(search->query, frame->dimension);
        int is_zero = length == 0 && frame->metric == L2;
        if (!is_zero && !(length >= LEAST_LENGTH && length <= GREATEST_LENGTH))
            return UNSAFE;
        for (int64_t i = 0; i < search->frame_count; i++)
            turn_query(search->query, length, search->frames[i], search->wide,
                       search->digits + i * DIGITS * scan->chunks,
                       search->tables ? search->tables + i * groups_of(scan->chunks) * TABLE_BYTES : NULL,
                       search->turned + i);
        search->distances->length = length;
        search->begun = 1;
    }
    int state = set->scan(scan);
    if (state != DONE || scan->sought->hard)
        return state;
    return decide(search->distances, scan->sought);
}

/* Scan vectors, and after the last one compute the candidates' distances in float64. */
EXPORTED int rs_scan_floats(const InstructionSet *set, FloatScan *scan)
{
    if (scan->row == 0) {
        scan->length = length_of(scan->query, scan->dimension);
        if (scan->length != 0 && !(scan->length >= LEAST_LENGTH && scan->length <= GREATEST_LENGTH))
            return UNSAFE;
    }
    int state = set->scan_floats(scan);
    if (state != DONE || scan->sought->hard)
        return state;
    Distances wanted = {scan->rows, NULL, scan->query, scan->room, NULL, scan->row_count, 0,
                        scan->dimension, scan->datatype, scan->metric, scan->length};
    return decide(&wanted, scan->sought);
}
