/* histogram: see histogram.h. Cells 0 to 255 are the values themselves; then follow 128 for each power
 * of two, each twice as wide as those before. */
#include "worker/ctl/histogram.h"

static int cell_of(int64_t value)
{
    if (value < 2 * HISTOGRAM_HALF)
        return (int)value;
    int power = 63 - __builtin_clzll((unsigned long long)value), shift = power - 7;
    if (power >= HISTOGRAM_POWERS)
        return HISTOGRAM_CELLS - 1;
    return shift * HISTOGRAM_HALF + (int)(value >> shift);
}

/* The largest value of a cell. */
static int64_t top_of(int cell)
{
    if (cell < 2 * HISTOGRAM_HALF)
        return cell;
    int shift = cell / HISTOGRAM_HALF - 1;
    return ((int64_t)(cell - shift * HISTOGRAM_HALF + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, int64_t value)
{
    if (value < 0)
        value = 0;
    h->cells[cell_of(value)]++;
    h->n++;
    h->max = value > h->max ? value : h->max;
}

int64_t histogram_at(const struct histogram *h, double percent)
{
    double wanted = (double)h->n * percent / 100;
    int64_t seen = 0;
    for (int i = 0; i < HISTOGRAM_CELLS; i++) {
        seen += h->cells[i];
        if (seen > 0 && (double)seen >= wanted)
            return top_of(i) < h->max && i < HISTOGRAM_CELLS - 1 ? top_of(i) : h->max;
    }
    return h->max;
}
