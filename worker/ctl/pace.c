/* pace: see pace.h. While the rate grows evenly, what is due grows with the square of the time. */
#include "worker/ctl/pace.h"

#include <stdlib.h>
#include <string.h>

/* Newton's; libm is not linked for this one. */
static double root(double v)
{
    double x, next = v > 1 ? v : 1;
    do {
        x = next;
        next = x / 2 + v / x / 2;
    } while (next < x);
    return x;
}

static double ramp_s(const struct pace *p)
{
    return (double)p->ramp_us / 1e6;
}

int64_t pace_due_us(const struct pace *p, int64_t n)
{
    double ramp = ramp_s(p), in_ramp = p->rate * ramp / 2, s;
    if ((double)n < in_ramp)
        s = root(2 * (double)n * ramp / p->rate);
    else
        s = ramp + ((double)n - in_ramp) / p->rate;
    return (int64_t)(s * 1e6 + 0.5);
}

int64_t pace_count(const struct pace *p, int64_t us)
{
    double s = (double)us / 1e6, ramp = ramp_s(p), due;
    if (s <= 0)
        return 0;
    if (s < ramp)
        due = p->rate * s * s / (2 * ramp);
    else
        due = p->rate * ramp / 2 + p->rate * (s - ramp);
    int64_t whole = (int64_t)due;
    return whole + ((double)whole < due);
}

bool pace_rate(const char *text, double *rate)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || (*end && strcmp(end, "/s") != 0) || !(v >= PACE_MIN_RATE) ||
        v > PACE_MAX_RATE)
        return false;
    *rate = v;
    return true;
}
