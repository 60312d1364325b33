/* gauges: see gauges.h. */
#include "producer/gauges.h"

#include "base/clock.h"
#include "base/meter.h"

_Static_assert((int)TAKES_CHANGE == (int)SOURCE_CHANGE && (int)TAKES_CRAWL == (int)SOURCE_CRAWL,
    "what a webhook brings an event for, by its source");

void gauges_show(const struct stores *s, int connections)
{
    meter_set(M_CONNECTIONS, 0, 0, connections);
    for (int i = 0; i < TAKES_NQUEUES; i++)
        meter_set(M_IN_MEMORY, i, 0, s->taking[i]);
    meter_set(M_CAN_ACCEPT, 0, 0, stores_can_accept(s));
}

static void show_spool(struct stores *s, int source, const struct spool_folder *folder)
{
    int64_t now = clock_wall_us(), *since = &s->spool_since_us[source];
    if (!folder->bytes)
        *since = 0;
    else if (!*since || folder->written_us < *since)
        *since = folder->written_us;
    meter_set(M_SPOOL_BYTES, source, 0, folder->bytes);
    meter_set(M_SPOOL_OLDEST, source, 0, *since && now > *since ? now - *since : 0);
}

void gauges_look(struct stores *s)
{
    struct spool_folder folder;
    spool_folder_look(s->crawl_spool, &folder);
    show_spool(s, TAKES_CRAWL, &folder);
    spool_folder_look(s->spool, &folder);
    show_spool(s, TAKES_CHANGE, &folder);
}
