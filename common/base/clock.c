/* clock: see clock.h. */
#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A process that was suspended must see that its lease ran out meanwhile. */
static int64_t kernel_mono_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

static int64_t kernel_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

static int64_t (*mono_source)(void) = kernel_mono_us;
static int64_t (*wall_source)(void) = kernel_wall_us;

int64_t clock_mono_ms(void)
{
    return mono_source() / 1000;
}

int64_t clock_mono_us(void)
{
    return mono_source();
}

int64_t clock_wall_us(void)
{
    return wall_source();
}

void clock_replace(int64_t (*mono_us)(void), int64_t (*wall_us)(void))
{
    mono_source = mono_us ? mono_us : kernel_mono_us;
    wall_source = wall_us ? wall_us : kernel_wall_us;
}
