/* meter: what a process counts and measures for Prometheus (meter_table.h). A process writes into cells
 * of its own, in memory that the process which answers scrapes can read: no lock, no system call; each
 * cell has one writer. Before meter_use they are in memory of this process alone, and cost the same.
 *
 * From the process's own thread only, not from helper threads (io/offload.h). */
#ifndef HL_BASE_METER_H
#define HL_BASE_METER_H

#include "base/buf.h"
#include "base/meter_table.h"

#include <stdatomic.h>
#include <stdint.h>

/* M_ACCEPTED, ...: the meters; SOURCE_CHANGE, ...: the values of their labels. */
#define METER_ID(id, ...) M_##id,
enum meter_id { METERS(METER_ID, METER_ID, METER_ID) METER_COUNT };
#define V(list, value, text)                 list##_##value,
#define METER_LABEL_ENUM(list, name, values) enum meter_##list{values list##_COUNT};
METER_LABELS(METER_LABEL_ENUM)
#undef V

typedef _Atomic int64_t meter_cell;
/* Cells of one process. */
size_t meter_cells(void);

/* This process writes there from now on: meter_cells() cells, NULL: memory of its own. Counters go on
 * from what is there. */
void meter_use(meter_cell *cells);
/* The process that wrote there is gone: its gauges are. */
void meter_clear_gauges(meter_cell *cells);

/* a, b: values of the meter's labels, 0 for NONE. Anything outside its list is ignored. */
void meter_add(enum meter_id id, int a, int b, int64_t n);
#define meter_inc(id, a, b) meter_add((id), (a), (b), 1)
void meter_set(enum meter_id id, int a, int b, int64_t value); /* of a gauge; _seconds: in us */
void meter_observe(enum meter_id id, int a, int64_t value);    /* microseconds, or units */

/* Reading, of the cells that this process writes: a counter or gauge; a histogram's number of
 * observations in bucket i (not cumulative; METER_BUCKETS_MAX = those beyond the last bound). */
int64_t meter_get(enum meter_id id, int a, int b);
/* The same of a counter or gauge in the cells of another process. */
int64_t meter_read(const meter_cell *cells, enum meter_id id, int a, int b);
enum { METER_BUCKETS_MAX = 16 };
int meter_bounds(enum meter_id id, const double **bounds); /* how many */
int64_t meter_bucket(enum meter_id id, int a, int i);      /* i from 0 to the number of bounds */

/* One process, for printing. */
struct meter_row {
    const meter_cell *cells;
    const char *process; /* "worker-0"; NULL = gone: only counters and histograms count */
};
enum meter_program { METER_P = 1, METER_W = 2 };
/* Appends the meters of a program in Prometheus' text format 0.0.4: of each family HELP, TYPE and all
 * its series, put together over the rows as the table says. */
void meter_print(
    enum meter_program program, const struct meter_row *rows, size_t n, struct buf *out);

#endif
