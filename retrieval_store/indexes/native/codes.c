/* Quantizes rows to codes, and queries to digits. */

#include "exported.h"
#include "layout.h"
#include "widening.h"

#include <math.h>
#include <string.h>

#define NOTHING 1e-30          /* a shorter vector counts as 0 */
#define UNDERFLOW 1e-34        /* greater than the error of float32 in scores whose terms underflow */
#define UP (1 + 16 * ROUNDOFF) /* for values that are then added, and rounded to float32 */

/* The same rotation in float32, for rows, and in float64, for queries: random signs, then the Hadamard matrix
   of the greatest power of two on the first numbers, and again on the last numbers. All of this is done
   twice. The rounding error is a share of the norm: in each pass one rounding for each step and one for the
   scaling, at most log₂ 2¹⁵ + 2 = 17. With four passes these are 68 roundings. */
#define ROTATION_ROUNDINGS 68

static int64_t longest_power(int64_t dimension)
{
    int64_t power = 1;
    while (2 * power <= dimension)
        power *= 2;
    return power;
}

#define DEFINE_ROTATION(TYPE, NAME)                                                                \
    static void NAME##_pass(TYPE *x, int64_t size)                                                 \
    {                                                                                              \
        TYPE scale = (TYPE)(1 / sqrt((double)size));                                               \
        for (int64_t half = 1; half < size; half *= 2)                                             \
            for (int64_t start = 0; start < size; start += 2 * half)                               \
                for (int64_t i = start; i < start + half; i++) {                                   \
                    TYPE one = x[i], other = x[i + half];                                          \
                    x[i] = one + other;                                                            \
                    x[i + half] = one - other;                                                     \
                }                                                                                  \
        for (int64_t i = 0; i < size; i++)                                                         \
            x[i] *= scale;                                                                         \
    }                                                                                              \
                                                                                                   \
    static void NAME(TYPE *x, const Frame *frame)                                                        \
    {                                                                                              \
        int64_t dimension = frame->dimension, size = longest_power(dimension);                     \
        if (dimension < 1)                                                                         \
            return;                                                                                \
        for (int twice = 0; twice < 2; twice++) {                                                  \
            for (int64_t i = 0; i < dimension; i++)                                                \
                x[i] *= frame->signs[twice * dimension + i];                                       \
            NAME##_pass(x, size);                                                                  \
            if (size < dimension)                                                                  \
                NAME##_pass(x + dimension - size, size);                                           \
        }                                                                                          \
    }

DEFINE_ROTATION(float, rotate_row)
DEFINE_ROTATION(double, rotate_query)

static double product_of(const double *one, const float *other, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += one[i] * other[i];
    return sum;
}

static double square_of(const double *numbers, int64_t count)
{
    double sums[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int lane = 0; lane < 4; lane++)
            sums[lane] += numbers[i + lane] * numbers[i + lane];
    for (; i < count; i++)
        sums[0] += numbers[i] * numbers[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Subtract the centre or the component in its direction, which aren't quantized. share: set to that
   component. Returns the squared norm of the direction. */
static double apart_from_centre(double *x, const Frame *frame, double *share)
{
    const float *centre = frame->centre;
    int64_t dimension = frame->dimension;
    *share = 0;
    if (frame->metric == L2) {
        for (int64_t i = 0; i < dimension; i++)
            x[i] -= centre[i];
        return 0;
    }
    double size = 0;
    for (int64_t i = 0; i < dimension; i++)
        size += (double)centre[i] * centre[i];
    *share = size > 0 ? (double)(float)(product_of(x, centre, dimension) / size) : 0;
    for (int64_t i = 0; i < dimension; i++)
        x[i] -= *share * centre[i];
    return size;
}

static int is_safe(double length) { return (length >= 1e-12 && length <= 1e12) || length == 0; }

static float up(double number) { return nextafterf((float)number, INFINITY); }

/* Sums over a quantized row, each of eight lanes, so that compilers use whole registers. coarse, fine: the
   squared error of the upper four bits and of all eight bits. upper, all: the squared norm of what these bits
   stand for. */
typedef struct {
    double coarse, fine, upper, all; 
} Left;

static Left quantize(const float *x, int64_t dimension, float scale, uint8_t *codes)
{
    float coarse[8] = {0}, fine[8] = {0}, upper[8] = {0}, all[8] = {0};
    float finer = scale / 16, inverse = scale > 0 ? 1 / finer : 0;
    for (int64_t start = 0; start < dimension; start += 8) {
        int64_t count = dimension - start < 8 ? dimension - start : 8;
        for (int lane = 0; lane < count; lane++) {
            float number = x[start + lane], place = number * inverse + 128;
            int code = (int)(place > 0 ? place < 255 ? place : 255 : 0); /* NaN becomes 0 */
            float high = (float)(code >> 4) - 7.5f, whole = (float)code - 127.5f;
            float far = number - high * scale, near = number - whole * finer;
            codes[start + lane] = (uint8_t)code;
            coarse[lane] += far * far;
            fine[lane] += near * near;
            upper[lane] += high * high;
            all[lane] += whole * whole;
        }
    }
    Left left = {0, 0, 0, 0};
    for (int lane = 0; lane < 8; lane++) {
        left.coarse += coarse[lane];
        left.fine += fine[lane];
        left.upper += upper[lane];
        left.all += all[lane];
    }
    return left;
}

/* The position of the first chunk of a row's upper bits. The next chunks follow at distances of `tile_rows` ×
   4 bytes. */
static int64_t place_in_tile(int64_t row, int64_t chunks)
{
    int64_t in = row % tile_rows(chunks);
    return (row - in) * 4 * chunks + 4 * in;
}

/* Store the upper and lower halves of a row's codes. */
static void place_codes(const Encoding *to, int64_t row, const uint8_t *codes)
{
    int64_t dimension = to->frame->dimension, chunks = chunks_of(dimension);
    uint8_t *high = to->high + place_in_tile(row, chunks);
    uint8_t *low = to->low + row * 4 * chunks;
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int i = 0; i < 4; i++) {
            int64_t first = CHUNK * chunk + i, second = first + 4;
            uint8_t one = first < dimension ? codes[first] : 0;
            uint8_t other = second < dimension ? codes[second] : 0;
            high[chunk * tile_rows(chunks) * 4 + i] = (uint8_t)((one >> 4) | (other & 0xf0));
            low[4 * chunk + i] = (uint8_t)((one & 15) | (other << 4));
        }
}

/* Store the signs of a row's numbers. Returns the sum of their absolute values. */
static double place_signs(const Encoding *to, int64_t row, const float *x)
{
    int64_t dimension = to->frame->dimension, chunks = chunks_of(dimension);
    uint8_t *place = to->signs + row / BLOCK * signs_bytes(chunks) + row % BLOCK;
    double sum = 0;
    for (int64_t start = 0; start < dimension; start += 8) {
        uint8_t signs = 0;
        for (int64_t i = start; i < start + 8 && i < dimension; i++) {
            signs |= (uint8_t)((x[i] > 0) << (i - start));
            sum += fabsf(x[i]);
        }
        place[start / 8 * BLOCK] = signs;
    }
    return sum;
}

/* Store the floats that belong to the signs of a row. */
static void place_beside_signs(const Encoding *to, int64_t row, float factor, float side)
{
    int64_t chunks = chunks_of(to->frame->dimension);
    uint8_t *place = to->signs + row / BLOCK * signs_bytes(chunks) + groups_of(chunks) * GROUP_BYTES;
    memcpy(place + 4 * (FACTOR * BLOCK + row % BLOCK), &factor, 4);
    memcpy(place + 4 * (OWN_SIDE * BLOCK + row % BLOCK), &side, 4);
}

static void encode_row(const Encoding *to, int64_t index)
{
    const Frame *frame = to->frame;
    int64_t dimension = frame->dimension, row = to->at + index;
    const float *vector = widened(to->vectors, index, dimension, to->datatype, to->room);
    double *x = to->wide, share;
    for (int64_t i = 0; i < dimension; i++)
        x[i] = vector[i];
    double length = sqrt(square_of(x, dimension));
    int safe = is_safe(length);
    for (int64_t i = 0; i < dimension; i++)
        x[i] = !safe ? 0 : frame->metric == COSINE && length > 0 ? x[i] / length : x[i];
    apart_from_centre(x, frame, &share);
    double left_length = sqrt(square_of(x, dimension)), peak = 0;
    double unit = left_length < NOTHING ? 0 : left_length; /* scaled to norm 1, so that nothing underflows */
    for (int64_t i = 0; i < dimension; i++)
        to->room[i] = (float)(unit > 0 ? x[i] / unit : 0);
    rotate_row(to->room, frame);
    for (int64_t i = 0; i < dimension; i++)
        peak = fabs(to->room[i]) > peak ? fabs(to->room[i]) : peak;
    uint8_t *codes = (uint8_t *)x; /* reuses this memory */
    Left left = quantize(to->room, dimension, (float)(peak / 8), codes);
    place_codes(to, row, codes);
    double sizes = place_signs(to, row, to->room);
    float scale = (float)((double)(float)(peak / 8) * unit);
    double sums = 1 + (double)(dimension + 16) * ROUNDOFF;
    double reach = sqrt(left.upper > left.all / 256 ? left.upper : left.all / 256) * scale * sums;
    double slack = (ROTATION_ROUNDINGS + 16) * ROUNDOFF * (left_length + reach) + 2 * NOTHING;
    float *rows = to->rows + row * OF_ROW;
    rows[SCALE] = scale;
    rows[RESIDUAL] = safe ? up(sqrt(left.coarse) * unit * sums + slack) : INFINITY;
    rows[SIDE] = (float)(frame->metric == L2 ? left_length * left_length / 2 : share);
    to->finer[row] = safe ? up(sqrt(left.fine) * unit * sums + slack) : INFINITY;
    rows[REACH] = up(reach);
    place_beside_signs(to, row, (float)(sizes > 0 ? unit / sizes : 0), safe ? rows[SIDE] : NAN);
}

EXPORTED void rs_encode(const Encoding *to)
{
    for (int64_t index = 0; index < to->count; index++)
        encode_row(to, index);
}

/* The number, limited to -127 to 127; 0 for NaN. Other numbers don't fit into int8. */
static double within_127(double number)
{
    return number >= -127 ? number <= 127 ? number : 127 : number < -127 ? -127 : 0;
}

#define HIGHEST 63         /* greatest entry of a table, so that the sum of four entries fits into a byte */
#define ERROR_OF_SIGNS 0.6 /* standard error of a score by signs, divided by factor × norm of the query */

/* Compute a query's tables for scans of signs. For the rotated query p, a rotated row y of dimension D, and
   the row's signs s, p·y is estimated as |y|² p·s / y·s (RaBitQ, arXiv 2405.12497). This is unbiased, since
   after a random rotation the signs err in no preferred direction. With c = y·s / (|y| √D), the standard
   error is |p| |y| √((1 - c²) / (c² D)). That is |p| √(1 - c²) times the factor |y|² / y·s, and c is nearly
   √(2/π).

   A table contains, for four numbers, their sum with each of the sixteen choices of signs, minus the least of
   these sums. The entries are in steps of one size for all tables. Each entry is stored twice, for registers
   of 32 bytes. Rounding the entries adds to the standard error. */
static void make_tables(const double *p, int64_t dimension, double length, uint8_t *tables, Turned *turned)
{
    int64_t count = 4 * groups_of(chunks_of(dimension));
    double widest = 0;
    turned->base = 0;
    for (int64_t table = 0; table < count; table++) {
        double sum = 0;
        for (int64_t i = 4 * table; i < 4 * table + 4 && i < dimension; i++)
            sum += fabs(p[i]);
        widest = sum > widest ? sum : widest;
        turned->base -= sum;
    }
    double step = turned->step = widest > 0 ? 2 * widest / HIGHEST : 1;
    turned->by_factor = sqrt(ERROR_OF_SIGNS * ERROR_OF_SIGNS * length * length +
                             (double)count * step * step / 12);
    turned->tables = tables;
    for (int64_t table = 0; table < count; table++) {
        uint8_t *place = tables + table / 4 * TABLE_BYTES + table % 4 / 2 * 32 + table % 2 * 64;
        for (int signs = 0; signs < 16; signs++) {
            double sum = 0; /* each number with the sign that increases the sum counts twice */
            for (int i = 0; i < 4 && 4 * table + i < dimension; i++)
                sum += (signs >> i & 1) == (p[4 * table + i] > 0) ? 2 * fabs(p[4 * table + i]) : 0;
            double entry = rint(sum / step);
            place[signs] = place[signs + 16] = (uint8_t)(entry < HIGHEST ? entry : HIGHEST);
        }
    }
}

/* Quantize a query to digits. Returns the squared norm of the error. */
static double make_digits(const double *p, int64_t dimension, double scale, int8_t *digits, Turned *turned)
{
    int64_t chunks = chunks_of(dimension), rows = tile_rows(chunks);
    int8_t *tiled = digits + CHUNK * chunks;
    double error = 0;
    turned->digits = digits;
    turned->tiled = tiled;
    turned->sum = 0;
    memset(digits, 0, DIGITS * (size_t)(chunks > 0 ? chunks : 0));
    for (int64_t i = 0; i < dimension; i++) {
        double digit = within_127(rint(p[i] / scale)), far = p[i] - digit * scale;
        int64_t chunk = i % CHUNK / 4 * chunks + i / CHUNK;
        digits[4 * chunk + i % 4] = (int8_t)digit;
        for (int64_t row = 0; row < rows; row++)
            tiled[4 * (rows * chunk + row) + i % 4] = (int8_t)digit;
        turned->sum += (int64_t)digit;
        error += far * far;
    }
    return error;
}

/* Rotate and quantize a query for the codes of a frame. wide: [dimension]; digits: [DIGITS × chunks]; tables:
   [groups][TABLE_BYTES] or NULL. */
void turn_query(const float *query, double length, const Frame *frame, double *wide, int8_t *digits,
                uint8_t *tables, Turned *turned)
{
    int64_t dimension = frame->dimension;
    double share, peak = 0, size, reach;
    for (int64_t i = 0; i < dimension; i++)
        wide[i] = frame->metric == COSINE ? query[i] / length : query[i];
    double whole = frame->metric == COSINE ? 1 : length;
    size = apart_from_centre(wide, frame, &share);
    reach = sqrt(square_of(wide, dimension));
    rotate_query(wide, frame);
    for (int64_t i = 0; i < dimension; i++)
        peak = fabs(wide[i]) > peak ? fabs(wide[i]) : peak;
    double scale = (peak > NOTHING ? peak : NOTHING) / 127;
    double error = make_digits(wide, dimension, scale, digits, turned);
    turned->tables = NULL;
    if (tables)
        make_tables(wide, dimension, reach, tables, turned);
    int l2 = frame->metric == L2;
    turned->scale = scale / 2;
    turned->offset = l2 ? -reach * reach / 2 : 0;
    turned->side = l2 ? -1 : share * size;
    turned->by_residual = (reach > NOTHING ? reach : NOTHING) * UP;
    turned->by_reach = (sqrt(error) + 12 * ROUNDOFF * reach) * UP;
    turned->by_side = 10 * ROUNDOFF * fabs(turned->side) + (l2 ? 0 : 1e-12 * whole);
    turned->spread = 1 / sqrt((double)(dimension > 1 ? dimension : 1));
    double of_one = frame->metric == COSINE ? 1e-15 : 0; /* rounding error of 1 - cosine */
    turned->constant = (l2 ? reach * reach * 1e-11 : whole * 1e-12 + of_one) + UNDERFLOW;
}

EXPORTED void rs_turn(const float *query, double length, const Frame *frame, double *wide,
                      int8_t *digits, uint8_t *tables, Turned *turned)
{
    turn_query(query, length, frame, wide, digits, tables, turned);
}

/* Copy the signs of a row, and the floats that belong to them. */
static void copy_signs(const Gathering *to, int64_t row, const Piece *from, int64_t old)
{
    int64_t bytes = signs_bytes(to->chunks), beside = groups_of(to->chunks) * GROUP_BYTES;
    const uint8_t *source = from->signs + old / BLOCK * bytes;
    uint8_t *into = to->signs + row / BLOCK * bytes;
    for (int64_t byte = 0; byte < beside; byte += BLOCK)
        into[byte + row % BLOCK] = source[byte + old % BLOCK];
    for (int i = 0; i < OF_SIGNS; i++)
        memcpy(into + beside + 4 * (i * BLOCK + row % BLOCK), source + beside + 4 * (i * BLOCK + old % BLOCK), 4);
}

/* Copy the codes of some rows into one block of memory. */
EXPORTED void rs_gather(const Gathering *to)
{
    int64_t chunks = to->chunks, rows = tile_rows(chunks);
    for (int64_t row = 0; row < to->count; row++) {
        const Piece *from = to->from + to->piece_of[row];
        int64_t old = to->row_of[row];
        const uint8_t *high = from->high + place_in_tile(old, chunks);
        uint8_t *into = to->high + place_in_tile(row, chunks);
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            memcpy(into + chunk * rows * 4, high + chunk * rows * 4, 4);
        memcpy(to->low + row * 4 * chunks, from->low + old * 4 * chunks, (size_t)(4 * chunks));
        memcpy(to->rows + row * OF_ROW, from->rows + old * OF_ROW, OF_ROW * sizeof(float));
        to->finer[row] = from->finer[old];
        copy_signs(to, row, from, old);
    }
}
