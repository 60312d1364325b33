/* api_rate: see api_rate.h. */
#include "producer/api_rate.h"

#include <stdio.h>
#include <string.h>

void api_rate_put(struct buf *b, double a_second)
{
    char text[40];
    int digits = a_second >= 100 ? 1 : a_second >= 1 ? 2 : 4;
    size_t len = (size_t)snprintf(text, sizeof(text), "%.*f", digits, a_second);
    while (text[len - 1] == '0')
        text[--len] = '\0';
    if (text[len - 1] == '.')
        text[--len] = '\0';
    buf_puts(b, text);
}

void api_latency_put(struct buf *b, const struct latency *l, double share)
{
    int64_t ms = latency_ms(l, share);
    if (ms < 0)
        buf_puts(b, "null");
    else
        buf_printf(b, "%lld", (long long)ms);
}
