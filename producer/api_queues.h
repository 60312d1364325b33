/* api_queues: how the queues stand, for GET /api/queues and for what shows them beside other things. */
#ifndef HL_PRODUCER_API_QUEUES_H
#define HL_PRODUCER_API_QUEUES_H

#include "producer/api.h"

/* The first member of the route's own (call->own), zeros. */
struct api_queues_look {
    struct api_queue {
        bool paused, counted;  /* counted: stats are Redis' answer */
        int64_t oldest_age_ms; /* -1 = unknown, or there is none */
        struct queue_stats stats;
    } one[TAKES_NQUEUES];
    bool redis; /* it has answered */
    int at;     /* private: whose numbers Redis is asked for */
    void (*seen)(struct api_call *call);
};
/* Fills it; seen goes on with the call, unless that has ended with an error. */
void api_queues_ask(struct api_call *call, void (*seen)(struct api_call *call));
/* Appends its members "redis" and "queues". */
void api_queues_put(const struct api_queues_look *q, struct buf *b);

#endif
